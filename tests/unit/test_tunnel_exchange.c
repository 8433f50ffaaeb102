// SPDX-License-Identifier: Apache-2.0
/* Exchanges between ends that the test plays itself: every order of events, faults and other tries,
 * back pressure, time. */
#include "tests/unit/tunnel_end.h"
#include "user/tunnel/exchange.h"

/* An end as a peer of the exchange: notes what it is given, takes no more than `window`. */
struct fake {
	struct end end;
	struct head *head, *trailers;
	unsigned int heads, infos, aborts;
	size_t got, taken, window;
	bool last, wanted;
	enum end_why why;
	int head_err;
	char text[2000];
};

static struct fake front, back[5];
static unsigned int opened, n_ended, n_failures, fail_status;
static int open_err[8]; /* of each call */
static unsigned int open_calls;
static struct exchange *x;
static struct exchange_account account;
static enum end_why failure_why;

static int fake_head(struct end *e, const struct head *h, bool last)
{
	struct fake *f = (struct fake *)e;

	assert_int_equal(f->aborts, 0);
	assert_false(f->last);
	if (f->head_err)
		return f->head_err;
	if (h->status && h->status < 200) {
		f->infos++;
		return 0;
	}
	f->heads++;
	head_free(f->head);
	f->head = head_copy(h);
	f->last = last;
	return 0;
}

static size_t fake_data(struct end *e, const void *data, size_t len, bool last)
{
	struct fake *f = (struct fake *)e;
	size_t n = len < f->window ? len : f->window;

	assert_int_equal(f->aborts, 0);
	assert_int_equal(f->heads, 1);
	assert_false(f->last);
	for (size_t i = 0; i < n; i++) {
		if (f->got + i < sizeof(f->text) - 1)
			f->text[f->got + i] = ((const char *)data)[i];
		if (n_failures == 0 || f != &front)
			assert_int_equal(((const uint8_t *)data)[i], pattern_at(f->got + i));
	}
	f->got += n;
	f->window -= n;
	f->wanted = n < len;
	f->last = last && n == len;
	return n;
}

static int fake_trailers(struct end *e, const struct head *h)
{
	struct fake *f = (struct fake *)e;

	assert_int_equal(f->aborts, 0);
	assert_false(f->last);
	f->trailers = head_copy(h);
	f->last = true;
	return 0;
}

static void fake_taken(struct end *e, size_t len)
{
	((struct fake *)e)->taken += len;
}

static void fake_abort(struct end *e, enum end_why why)
{
	struct fake *f = (struct fake *)e;

	f->aborts++;
	f->why = why;
}

static const struct end_ops fake_ops = {
	.head = fake_head,
	.data = fake_data,
	.trailers = fake_trailers,
	.taken = fake_taken,
	.abort = fake_abort,
};

static void fake_open(struct fake *f, size_t window)
{
	*f = (struct fake){ .end.ops = &fake_ops, .window = window };
}

/* What a fake's peer sends. */
static size_t told[6]; /* bytes, of the front and of each back */

static void tell(struct fake *f, size_t len, bool last)
{
	size_t *at = &told[f == &front ? 0 : 1 + (f - back)];
	uint8_t *buf = malloc(len + 1);

	pattern(buf, *at, len);
	*at += len;
	f->end.on->data(&f->end, f->end.arg, buf, len, last);
	free(buf);
}

static void answer(struct fake *f, unsigned int status, bool last)
{
	struct head *h = response(status);

	f->end.on->head(&f->end, f->end.arg, h, last);
	head_free(h);
}

static void tell_trailers(struct fake *f)
{
	struct head *h = head_new();

	assert_int_equal(head_addf(h, "x-sum", "%d", 7), 0);
	f->end.on->trailers(&f->end, f->end.arg, h);
	head_free(h);
}

static void tell_gone(struct fake *f, enum end_why why)
{
	f->end.on->gone(&f->end, f->end.arg, why);
	f->aborts = 1; /* nobody may touch it any more */
}

static void room(struct fake *f, size_t window)
{
	f->window = window;
	assert_true(f->wanted);
	f->end.on->room(&f->end, f->end.arg);
}

/* ---- the exchange's user ---- */

static int open_back(void *arg, struct exchange *ex, unsigned int tries, struct end **out)
{
	int err = open_err[open_calls++];

	(void)arg, (void)ex;
	if (err)
		return err;
	assert_true(tries <= opened || open_calls > opened + 1);
	*out = &back[opened++].end;
	return 0;
}

static const char *failure(void *arg, struct exchange *ex, enum end_why why, unsigned int status,
			   struct head *h)
{
	(void)arg, (void)ex;
	n_failures++;
	fail_status = status;
	failure_why = why;
	assert_int_equal(head_set_status(h, status), 0);
	assert_int_equal(head_addf(h, "content-type", "%s", "text/plain"), 0);
	return "sorry\n";
}

static void ended(void *arg, struct exchange *ex, const struct exchange_account *a)
{
	(void)arg, (void)ex;
	n_ended++;
	account = *a;
	account.request = NULL;
	assert_non_null(a->request->method);
}

static struct exchange_options opt;

static void start(const char *method, bool last)
{
	assert_int_equal(exchange_start(&x, &front.end,
					request(method, strcmp(method, "CONNECT") ? "/" : NULL),
					last, &opt),
			 0);
}

static void over(enum end_why why, unsigned int status)
{
	io_until(n_ended == 1);
	io_run_for(1);
	assert_int_equal(n_ended, 1);
	assert_int_equal(account.why, why);
	assert_int_equal(account.status, status);
	x = NULL;
}

static int setup(void **state)
{
	opened = n_ended = n_failures = open_calls = fail_status = 0;
	memset(open_err, 0, sizeof(open_err));
	memset(told, 0, sizeof(told));
	io_setup(state);
	opt = (struct exchange_options){
		.reactor = io_reactor, .open = open_back, .failure = failure, .ended = ended
	};
	fake_open(&front, SIZE_MAX);
	for (int i = 0; i < 5; i++)
		fake_open(&back[i], SIZE_MAX);
	return 0;
}

static void fake_free(struct fake *f)
{
	head_free(f->head);
	head_free(f->trailers);
}

static int teardown(void **state)
{
	assert_null(x); /* every test looks at the end of its exchange */
	fake_free(&front);
	for (int i = 0; i < 5; i++)
		fake_free(&back[i]);
	return io_teardown(state);
}

/* ---- in order ---- */

static void in_order(void **state)
{
	(void)state;
	start("POST", false);
	assert_string_equal(back[0].head->method, "POST");
	tell(&front, 1000, false);
	tell(&front, 100000, true);
	assert_int_equal(back[0].got, 101000);
	assert_true(back[0].last);
	assert_int_equal(front.taken, 101000);
	answer(&back[0], 103, false);
	assert_int_equal(front.infos, 1);
	answer(&back[0], 200, false);
	tell(&back[0], 5000, false);
	tell(&back[0], 70000, false);
	assert_int_equal(back[0].taken, 75000);
	tell_trailers(&back[0]);
	assert_non_null(front.trailers);
	over(END_DONE, 200);
	assert_int_equal(account.bytes_up, 101000);
	assert_int_equal(account.bytes_down, 75000);
	assert_int_equal(account.tries, 1);
	assert_true(account.began_us <= account.first_us && account.first_us <= account.ended_us);
	assert_int_equal(front.why, END_DONE);
	assert_int_equal(back[0].why, END_DONE);
}

static void without_bodies(void **state)
{
	(void)state;
	start("GET", true);
	assert_true(back[0].last);
	answer(&back[0], 204, true);
	assert_true(front.last);
	over(END_DONE, 204);
}

static void set_field(void *arg, struct exchange *ex, struct head *h)
{
	(void)arg, (void)ex;
	assert_int_equal(head_addf(h, "x-edge", "%s", "a"), 0);
}

static void responses_may_be_changed(void **state)
{
	(void)state;
	opt.response = set_field;
	start("GET", true);
	answer(&back[0], 200, true);
	assert_string_equal(head_get(front.head, "x-edge"), "a");
	over(END_DONE, 200);
}

static void request_trailers(void **state)
{
	(void)state;
	back[0].window = 0;
	start("POST", false);
	tell(&front, 10, false);
	tell_trailers(&front);
	assert_null(back[0].trailers);
	room(&back[0], SIZE_MAX);
	assert_int_equal(back[0].got, 10);
	assert_non_null(back[0].trailers);
	answer(&back[0], 200, true);
	over(END_DONE, 200);
}

static void slow_front(void **state)
{
	(void)state;
	start("GET", true);
	answer(&back[0], 200, false);
	front.window = 1000;
	tell(&back[0], 30000, false);
	assert_int_equal(front.got, 1000);
	assert_int_equal(back[0].taken, 1000);
	tell(&back[0], 30000, true);
	assert_int_equal(back[0].taken, 1000);
	room(&front, 40000);
	assert_int_equal(back[0].taken, 41000);
	tell_gone(&back[0], END_DONE); /* what waits is still passed on */
	assert_int_equal(n_ended, 0);
	room(&front, SIZE_MAX);
	assert_int_equal(front.got, 60000);
	assert_true(front.last);
	over(END_DONE, 200);
	assert_int_equal(n_failures, 0);
}

static void slow_back(void **state)
{
	(void)state;
	back[0].window = 100000;
	start("PUT", false);
	for (int i = 0; i < 20; i++)
		tell(&front, 10000, i == 19);
	assert_int_equal(back[0].got, 100000);
	assert_int_equal(front.taken, 100000);
	room(&back[0], 50000);
	assert_int_equal(front.taken, 150000);
	room(&back[0], SIZE_MAX);
	assert_int_equal(back[0].got, 200000);
	assert_int_equal(front.taken, 200000);
	assert_true(back[0].last);
	answer(&back[0], 201, true);
	over(END_DONE, 201);
}

static void an_end_alone(void **state)
{
	(void)state;
	start("POST", false);
	tell(&front, 500, false);
	tell(&front, 0, true);
	assert_true(back[0].last);
	answer(&back[0], 200, false);
	tell(&back[0], 500, false);
	tell(&back[0], 0, true);
	assert_true(front.last);
	over(END_DONE, 200);
}

static void connect_goes_both_ways_to_the_end(void **state)
{
	(void)state;
	start("CONNECT", false);
	answer(&back[0], 200, false);
	tell(&back[0], 100, true);
	assert_true(front.last);
	tell(&front, 70000, false);
	tell(&front, 70000, true);
	assert_int_equal(back[0].got, 140000);
	assert_true(back[0].last);
	over(END_DONE, 200);
}

static void connect_refused(void **state)
{
	(void)state;
	start("CONNECT", false);
	answer(&back[0], 403, true);
	assert_int_equal(back[0].why, END_DONE);
	tell(&front, 0, true);
	over(END_DONE, 403);
}

/* ---- early answers ---- */

static void answer_before_the_request_ended(void **state)
{
	(void)state;
	start("POST", false);
	tell(&front, 100000, false);
	answer(&back[0], 403, true);
	assert_true(front.last);
	assert_int_equal(back[0].aborts, 1);
	assert_int_equal(back[0].why, END_DONE);
	assert_int_equal(front.aborts, 0);
	tell(&front, 100000, false);
	assert_int_equal(front.taken, 200000); /* read, for nobody */
	tell(&front, 0, true);
	over(END_DONE, 403);
	assert_int_equal(front.why, END_DONE);
}

static void answer_to_an_endless_request(void **state)
{
	(void)state;
	start("POST", false);
	answer(&back[0], 403, true);
	for (int i = 0; i < 20 && !front.aborts; i++)
		tell(&front, 100000, false);
	over(END_DONE, 403);
	assert_int_equal(front.why, END_DONE);
	assert_true(front.taken <= 1 << 20);
}

static void answer_while_the_back_takes_nothing(void **state)
{
	(void)state;
	back[0].window = 10;
	start("POST", false);
	tell(&front, 1000, false);
	answer(&back[0], 413, true);
	assert_int_equal(front.taken, 1000);
	tell(&front, 1000, true);
	over(END_DONE, 413);
}

/* ---- other tries ---- */

static void refused_ones_are_sent_elsewhere(void **state)
{
	(void)state;
	back[1].window = 30000;
	start("POST", false);
	tell(&front, 20000, false);
	tell(&front, 20000, false);
	assert_int_equal(back[0].got, 40000);
	tell_gone(&back[0], END_REFUSED);
	assert_int_equal(back[1].got, 30000); /* from the beginning */
	tell(&front, 10000, true);
	assert_int_equal(front.taken, 40000); /* not twice */
	room(&back[1], SIZE_MAX);
	assert_int_equal(back[1].got, 50000);
	assert_int_equal(front.taken, 50000);
	assert_true(back[1].last);
	tell_gone(&back[1], END_REFUSED);
	assert_int_equal(back[2].got, 50000);
	assert_true(back[2].last);
	answer(&back[2], 200, true);
	over(END_DONE, 200);
	assert_int_equal(account.tries, 3);
	assert_int_equal(account.bytes_up, 50000);
}

static void not_for_ever(void **state)
{
	(void)state;
	start("GET", true);
	for (int i = 0; i < 3; i++)
		tell_gone(&back[i], END_REFUSED);
	assert_int_equal(front.head->status, 502);
	assert_string_equal(front.text, "sorry\n");
	assert_string_equal(head_get(front.head, "content-length"), "6");
	over(END_REFUSED, 502);
	assert_int_equal(opened, 3);
}

static void lost_ones_when_safe(void **state)
{
	(void)state;
	start("GET", true);
	tell_gone(&back[0], END_LOST);
	answer(&back[1], 200, true);
	over(END_DONE, 200);
	assert_int_equal(account.tries, 2);
}

static void lost_ones_when_not_safe(void **state)
{
	(void)state;
	start("POST", false);
	tell(&front, 10, true);
	tell_gone(&back[0], END_LOST);
	assert_int_equal(opened, 1);
	assert_int_equal(front.head->status, 502);
	over(END_LOST, 502);
}

static void large_bodies_once(void **state)
{
	(void)state;
	start("POST", false);
	tell(&front, EXCHANGE_REPLAY, false);
	tell(&front, 1, false);
	assert_int_equal(back[0].got, EXCHANGE_REPLAY + 1);
	tell_gone(&back[0], END_REFUSED);
	assert_int_equal(opened, 1);
	assert_int_equal(front.head->status, 502);
	tell(&front, 1000, true);
	over(END_REFUSED, 502);
}

/* Nothing of it left: it can go elsewhere whole, whatever its size. */
static void large_bodies_that_never_left(void **state)
{
	(void)state;
	back[0].window = 0;
	start("POST", false);
	tell(&front, 200000, true);
	assert_int_equal(front.taken, 0);
	tell_gone(&back[0], END_REFUSED);
	assert_int_equal(back[1].got, 200000);
	assert_int_equal(front.taken, 200000);
	answer(&back[1], 200, true);
	over(END_DONE, 200);
}

static void not_after_something_was_sent(void **state)
{
	(void)state;
	start("GET", true);
	answer(&back[0], 103, false);
	tell_gone(&back[0], END_REFUSED);
	assert_int_equal(opened, 1);
	assert_int_equal(front.head->status, 502);
	over(END_REFUSED, 502);
}

static void a_back_that_takes_no_head(void **state)
{
	(void)state;
	back[0].head_err = -EPIPE;
	start("GET", true);
	assert_int_equal(back[0].aborts, 1);
	answer(&back[1], 200, true);
	over(END_DONE, 200);
}

static void later(void **state)
{
	(void)state;
	open_err[0] = open_err[1] = -EAGAIN;
	start("POST", false);
	tell(&front, 5000, false);
	assert_int_equal(opened, 0);
	assert_int_equal(front.taken, 0);
	exchange_retry(x);
	assert_int_equal(opened, 0);
	tell(&front, 5000, true);
	exchange_retry(x);
	assert_int_equal(back[0].got, 10000);
	assert_true(back[0].last);
	exchange_retry(x); /* nothing waits: nothing happens */
	answer(&back[0], 200, true);
	over(END_DONE, 200);
	assert_int_equal(account.tries, 1);
}

static void later_but_never(void **state)
{
	(void)state;
	open_err[0] = -EAGAIN;
	open_err[1] = -ENOENT;
	start("GET", true);
	exchange_retry(x);
	assert_int_equal(front.head->status, 502);
	over(END_REFUSED, 502);
}

static void later_but_the_client_went(void **state)
{
	(void)state;
	open_err[0] = -EAGAIN;
	start("GET", true);
	tell_gone(&front, END_CANCEL);
	exchange_retry(x); /* between the end and its being told */
	over(END_CANCEL, 0);
	assert_int_equal(opened, 0);
}

/* ---- faults ---- */

static void no_back(void **state)
{
	(void)state;
	open_err[0] = -ENOENT;
	front.window = 2;
	start("POST", false);
	tell(&front, 100, false);
	tell(&front, 100, true);
	assert_int_equal(n_ended, 0);
	room(&front, SIZE_MAX);
	assert_string_equal(front.text, "sorry\n");
	over(END_REFUSED, 502);
	assert_int_equal(account.tries, 1);
}

static void broken_in_the_middle(void **state)
{
	(void)state;
	start("GET", true);
	answer(&back[0], 200, false);
	tell(&back[0], 1000, false);
	tell_gone(&back[0], END_LOST);
	assert_int_equal(front.aborts, 1); /* the client must see that it is not whole */
	assert_int_equal(front.why, END_LOST);
	assert_false(front.last);
	over(END_LOST, 200);
	assert_int_equal(n_failures, 0);
}

static void peers_that_break_rules(void **state)
{
	(void)state;
	start("GET", true);
	tell_gone(&back[0], END_PROTOCOL);
	assert_int_equal(front.head->status, 502);
	assert_int_equal(failure_why, END_PROTOCOL);
	over(END_PROTOCOL, 502);
}

static void the_client_goes(void **state)
{
	(void)state;
	start("POST", false);
	tell(&front, 1000, false);
	tell_gone(&front, END_LOST);
	assert_int_equal(back[0].aborts, 1);
	assert_int_equal(back[0].why, END_CANCEL);
	over(END_LOST, 0);
}

static void the_client_goes_in_the_middle(void **state)
{
	(void)state;
	start("GET", true);
	answer(&back[0], 200, false);
	front.window = 0;
	tell(&back[0], 1000, false);
	tell_gone(&front, END_CANCEL);
	assert_int_equal(back[0].why, END_CANCEL);
	over(END_CANCEL, 200);
}

static void both_go(void **state)
{
	(void)state;
	start("POST", false);
	tell_gone(&front, END_CANCEL);
	over(END_CANCEL, 0);
	assert_int_equal(back[0].aborts, 1);
}

static void aborted(void **state)
{
	(void)state;
	start("POST", false);
	exchange_abort(x, END_LIMIT);
	exchange_abort(x, END_ERROR);
	assert_int_equal(front.why, END_LIMIT);
	assert_int_equal(back[0].why, END_LIMIT);
	over(END_LIMIT, 0);
}

/* ---- time ---- */

static void a_silent_back(void **state)
{
	(void)state;
	opt.idle_ms = 100;
	start("GET", true);
	io_until(front.heads);
	assert_int_equal(fail_status, 504);
	assert_int_equal(back[0].why, END_TIMEOUT);
	over(END_TIMEOUT, 504);
}

static void a_silent_client(void **state)
{
	(void)state;
	opt.idle_ms = 100;
	start("POST", false);
	io_until(front.heads);
	assert_int_equal(fail_status, 408);
	io_until(front.aborts); /* it stays silent */
	over(END_TIMEOUT, 408);
}

static void a_slow_back_is_not_silent(void **state)
{
	(void)state;
	opt.idle_ms = 200;
	start("GET", true);
	answer(&back[0], 200, false);
	for (int i = 0; i < 8; i++) {
		io_run_for(50);
		tell(&back[0], 1, false);
	}
	assert_int_equal(front.aborts, 0);
	io_until(front.aborts);
	assert_int_equal(front.why, END_TIMEOUT);
	over(END_TIMEOUT, 200);
}

static void no_longer_than_this(void **state)
{
	(void)state;
	opt.total_ms = 150;
	opt.idle_ms = 10000;
	start("GET", true);
	for (int i = 0; i < 30 && !front.heads; i++) {
		io_run_for(20);
		if (!back[0].aborts)
			answer(&back[0], 103, false);
	}
	assert_int_equal(fail_status, 504);
	over(END_TIMEOUT, 504);
}

/* ---- answers without an exchange ---- */

static void answers_alone(void **state)
{
	static const char *const fields[] = { "retry-after", "5", NULL };

	(void)state;
	n_failures = 1; /* its body is no pattern */
	front.window = 3;
	assert_int_equal(exchange_answer(&front.end, 503, "text/plain", "busy\n", fields), 0);
	assert_int_equal(front.aborts, 0);
	assert_string_equal(head_get(front.head, "retry-after"), "5");
	assert_string_equal(head_get(front.head, "content-length"), "5");
	tell(&front, 100, false);
	assert_int_equal(front.taken, 100);
	room(&front, 10);
	assert_true(front.last);
	assert_string_equal(front.text, "busy\n");
	assert_int_equal(front.aborts, 1);
	assert_int_equal(front.why, END_DONE);
}

static void answers_that_nobody_hears(void **state)
{
	(void)state;
	front.window = 0;
	assert_int_equal(exchange_answer(&front.end, 503, NULL, "busy\n", NULL), 0);
	tell_gone(&front, END_CANCEL);
	fake_free(&front);
	fake_open(&front, SIZE_MAX);
	front.head_err = -EPIPE;
	assert_int_equal(exchange_answer(&front.end, 204, NULL, NULL, NULL), -EPIPE);
	assert_int_equal(front.aborts, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(in_order),
		TEST(without_bodies),
		TEST(responses_may_be_changed),
		TEST(request_trailers),
		TEST(slow_front),
		TEST(slow_back),
		TEST(an_end_alone),
		TEST(connect_goes_both_ways_to_the_end),
		TEST(connect_refused),
		TEST(answer_before_the_request_ended),
		TEST(answer_to_an_endless_request),
		TEST(answer_while_the_back_takes_nothing),
		TEST(refused_ones_are_sent_elsewhere),
		TEST(not_for_ever),
		TEST(lost_ones_when_safe),
		TEST(lost_ones_when_not_safe),
		TEST(large_bodies_once),
		TEST(large_bodies_that_never_left),
		TEST(not_after_something_was_sent),
		TEST(a_back_that_takes_no_head),
		TEST(later),
		TEST(later_but_never),
		TEST(later_but_the_client_went),
		TEST(no_back),
		TEST(broken_in_the_middle),
		TEST(peers_that_break_rules),
		TEST(the_client_goes),
		TEST(the_client_goes_in_the_middle),
		TEST(both_go),
		TEST(aborted),
		TEST(a_silent_back),
		TEST(a_silent_client),
		TEST(a_slow_back_is_not_silent),
		TEST(no_longer_than_this),
		TEST(answers_alone),
		TEST(answers_that_nobody_hears),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
