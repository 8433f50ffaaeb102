/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_fake.h -- for tests: an exchange between ends that the test plays itself.
 */
#ifndef WEIR_TESTS_TUNNEL_FAKE_H
#define WEIR_TESTS_TUNNEL_FAKE_H

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

static inline int fake_head(struct end *e, const struct head *h, bool last)
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

static inline size_t fake_data(struct end *e, const void *data, size_t len, bool last)
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

static inline int fake_trailers(struct end *e, const struct head *h)
{
	struct fake *f = (struct fake *)e;

	assert_int_equal(f->aborts, 0);
	assert_false(f->last);
	f->trailers = head_copy(h);
	f->last = true;
	return 0;
}

static inline void fake_taken(struct end *e, size_t len)
{
	((struct fake *)e)->taken += len;
}

static inline void fake_abort(struct end *e, enum end_why why)
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

static inline void fake_open(struct fake *f, size_t window)
{
	*f = (struct fake){ .end.ops = &fake_ops, .window = window };
}

/* What a fake's peer sends. */
static size_t told[6]; /* bytes, of the front and of each back */

static inline void tell(struct fake *f, size_t len, bool last)
{
	size_t *at = &told[f == &front ? 0 : 1 + (f - back)];
	uint8_t *buf = malloc(len + 1);

	pattern(buf, *at, len);
	*at += len;
	f->end.on->data(&f->end, f->end.arg, buf, len, last);
	free(buf);
}

static inline void answer(struct fake *f, unsigned int status, bool last)
{
	struct head *h = response(status);

	f->end.on->head(&f->end, f->end.arg, h, last);
	head_free(h);
}

static inline void tell_trailers(struct fake *f)
{
	struct head *h = head_new();

	assert_int_equal(head_addf(h, "x-sum", "%d", 7), 0);
	f->end.on->trailers(&f->end, f->end.arg, h);
	head_free(h);
}

static inline void tell_gone(struct fake *f, enum end_why why)
{
	f->end.on->gone(&f->end, f->end.arg, why);
	f->aborts = 1; /* nobody may touch it any more */
}

static inline void room(struct fake *f, size_t window)
{
	f->window = window;
	assert_true(f->wanted);
	f->end.on->room(&f->end, f->end.arg);
}

/* ---- the exchange's user ---- */

static inline int open_back(void *arg, struct exchange *ex, unsigned int tries, struct end **out)
{
	int err = open_err[open_calls++];

	(void)arg, (void)ex;
	if (err)
		return err;
	assert_true(tries <= opened || open_calls > opened + 1);
	*out = &back[opened++].end;
	return 0;
}

static inline const char *failure(void *arg, struct exchange *ex, enum end_why why,
				  unsigned int status, struct head *h)
{
	(void)arg, (void)ex;
	n_failures++;
	fail_status = status;
	failure_why = why;
	assert_int_equal(head_set_status(h, status), 0);
	assert_int_equal(head_addf(h, "content-type", "%s", "text/plain"), 0);
	return "sorry\n";
}

static inline void ended(void *arg, struct exchange *ex, const struct exchange_account *a)
{
	(void)arg, (void)ex;
	n_ended++;
	account = *a;
	account.request = NULL;
	assert_non_null(a->request->method);
}

static struct exchange_options opt;

static inline void start(const char *method, bool last)
{
	assert_int_equal(exchange_start(&x, &front.end,
					request(method, strcmp(method, "CONNECT") ? "/" : NULL),
					last, &opt),
			 0);
}

static inline void over(enum end_why why, unsigned int status)
{
	io_until(n_ended == 1);
	io_run_for(1);
	assert_int_equal(n_ended, 1);
	assert_int_equal(account.why, why);
	assert_int_equal(account.status, status);
	x = NULL;
}

static inline int setup(void **state)
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

static inline void fake_free(struct fake *f)
{
	head_free(f->head);
	head_free(f->trailers);
}

static inline int teardown(void **state)
{
	assert_null(x); /* every test looks at the end of its exchange */
	fake_free(&front);
	for (int i = 0; i < 5; i++)
		fake_free(&back[i]);
	return io_teardown(state);
}

#endif
