// SPDX-License-Identifier: Apache-2.0
/* What goes wrong in exchanges: other tries, faults of both sides, time, answers without a back. */
#include "tests/unit/tunnel_fake.h"

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

/* Each would wait for a client that does not read. */
static void interims_without_end(void **state)
{
	(void)state;
	start("GET", true);
	for (int i = 0; i < 32; i++)
		answer(&back[0], 103, false);
	assert_int_equal(front.infos, 32);
	assert_int_equal(back[0].aborts, 0);
	answer(&back[0], 103, false);
	assert_int_equal(front.infos, 32);
	assert_int_equal(back[0].aborts, 1);
	assert_int_equal(fail_status, 502);
	over(END_PROTOCOL, 502);
}

/* ---- answers without an exchange ---- */

static void answers_alone(void **state)
{
	static const char *const fields[] = { "retry-after", "5", NULL };

	(void)state;
	n_failures = 1; /* its body is no pattern */
	front.window = 3;
	assert_int_equal(
		exchange_answer(io_reactor, &front.end, 503, "text/plain", "busy\n", fields), 0);
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
	assert_int_equal(exchange_answer(io_reactor, &front.end, 503, NULL, "busy\n", NULL), 0);
	tell_gone(&front, END_CANCEL);
	fake_free(&front);
	fake_open(&front, SIZE_MAX);
	front.head_err = -EPIPE;
	assert_int_equal(exchange_answer(io_reactor, &front.end, 204, NULL, NULL, NULL), -EPIPE);
	assert_int_equal(front.aborts, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
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
		TEST(interims_without_end),
		TEST(answers_alone),
		TEST(answers_that_nobody_hears),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
