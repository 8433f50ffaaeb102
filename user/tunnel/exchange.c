// SPDX-License-Identifier: Apache-2.0
/*
 * exchange.c -- joins a front and a back.
 *
 * The front's request goes to the back that options.open gives, the back's response to the front,
 * each through a pump. Until the front has seen a response, another back may be tried; afterwards a
 * fault breaks the transfer, so that the client sees that it is not whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/exchange.h"
#include "user/tunnel/pump.h"
#include "user/tunnel/spare.h"

#define TRIES_MAX    3
#define INTERIM_MAX  32 /* 1xx before a response: each waits for a client that does not read */
#define UNWANTED_MAX (1u << 20) /* bytes of a request that are read after its response was sent */

struct exchange {
	struct exchange_options opt;
	struct end *front, *back;
	struct head *request;
	struct pump up, down;
	struct reactor_timer timer;
	struct reactor_defer done;
	struct exchange_account account;
	uint64_t moved_us; /* the last byte */
	uint64_t unwanted; /* bytes */
	unsigned int interims;
	bool tunnel;	/* CONNECT: both ways as long as both want */
	bool bodiless;	/* the request ended with its head */
	bool waits;	/* for exchange_retry() */
	bool begun;	/* the front was sent something */
	bool answered;	/* with a final response */
	bool opening;	/* try_back() runs */
	bool too_large; /* the request's body */
	bool finished;
};

static const struct end_events back_events;

/* ---- the end ------------------------------------------------------------------------------ */

static void finish(struct exchange *x, enum end_why why)
{
	struct end *front = x->front, *back = x->back;

	if (x->finished)
		return;
	x->finished = true;
	if (why != END_DONE)
		x->account.why =
			why; /* a page that was sent in order tells of a fault nevertheless */
	x->account.ended_us = reactor_now_us();
	x->front = x->back = NULL;
	reactor_timer_stop(x->opt.reactor, &x->timer);
	reactor_defer(x->opt.reactor, &x->done);
	if (back)
		back->ops->abort(back, why);
	if (front)
		front->ops->abort(front, why);
}

static void done(struct reactor_defer *d)
{
	struct exchange *x = (struct exchange *)((char *)d - offsetof(struct exchange, done));

	if (x->opt.ended)
		x->opt.ended(x->opt.arg, x, &x->account);
	pump_clear(&x->up);
	pump_clear(&x->down);
	head_free(x->request);
	spare_put(x);
}

static void drop_back(struct exchange *x, enum end_why why)
{
	struct end *back = x->back;

	x->back = NULL;
	if (back)
		back->ops->abort(back, why);
}

/* When the front has the whole response: the rest of the request is read, for a while, since many
 * clients do not look for an answer before they have sent everything. */
static void see_end(struct exchange *x)
{
	if (x->finished || !x->down.passed || (x->tunnel && !x->up.passed))
		return;
	if (x->up.ended) {
		finish(x, END_DONE);
		return;
	}
	drop_back(x, END_DONE);
	if (x->up.waiting && x->front) {
		x->unwanted += x->up.waiting;
		x->front->ops->taken(x->front, x->up.waiting);
	}
	pump_clear(&x->up);
	if (x->unwanted > UNWANTED_MAX)
		finish(x, END_DONE);
}

/* ---- answers of our own ------------------------------------------------------------------- */

static unsigned int status_of(const struct exchange *x, enum end_why why)
{
	if (why == END_TIMEOUT)
		return x->up.ended ? 504 : 408;
	if (why == END_LIMIT && x->too_large)
		return 413;
	return why == END_ERROR ? 500 : 502;
}

static int front_head(struct exchange *x, const struct head *h, bool last)
{
	int err = x->front->ops->head(x->front, h, last);

	if (err)
		return err;
	x->begun = true;
	pump_no_replay(&x->up);
	if (h->status >= 200) {
		x->answered = true;
		x->account.status = h->status;
		x->account.first_us = reactor_now_us();
		x->tunnel &= h->status < 300;
	}
	return 0;
}

static int page(struct exchange *x, enum end_why why)
{
	struct head *h = head_new();
	const char *body = NULL;
	size_t len;
	int err = -ENOMEM;

	if (!h)
		return err;
	if (x->opt.failure)
		body = x->opt.failure(x->opt.arg, x, why, status_of(x, why), h);
	len = body ? strlen(body) : 0;
	err = h->status ? 0 : head_set_status(h, status_of(x, why));
	if (!err && !head_get(h, "content-length"))
		err = head_addf(h, "content-length", "%zu", len);
	if (!err)
		err = front_head(x, h, !len);
	head_free(h);
	if (err)
		return err;
	x->account.bytes_down += len;
	if (!len)
		x->down.ended = x->down.passed = true;
	else
		err = pump_data(&x->down, NULL, x->front, body, len, true);
	return err;
}

/* The front hears what went wrong: by a page as long as it had no answer, else by a broken one. */
static void fail(struct exchange *x, enum end_why why)
{
	if (x->finished)
		return;
	x->waits = false;
	drop_back(x, why == END_LOST || why == END_PROTOCOL ? END_CANCEL : why);
	if (!x->front || x->answered || page(x, why)) {
		finish(x, why);
		return;
	}
	x->account.why = why;
	see_end(x);
}

/* ---- the back ----------------------------------------------------------------------------- */

static bool may_retry(const struct exchange *x, enum end_why why)
{
	unsigned int max = x->opt.tries_max ? x->opt.tries_max : TRIES_MAX;

	if (x->begun || !x->front || x->account.tries >= max)
		return false;
	if (!x->bodiless && !x->up.replay && x->up.told)
		return false;
	return why == END_REFUSED || (why == END_LOST && head_is_safe(x->request));
}

static int give_request(struct exchange *x)
{
	int err = x->back->ops->head(x->back, x->request, x->bodiless);

	if (!err && x->back && !x->bodiless)
		err = pump_move(&x->up, x->front, x->back);
	return err;
}

/* 0 with x->back, or not: it is over, or another time. */
static int open_back(struct exchange *x)
{
	struct end *back = NULL;
	int err = x->opt.open(x->opt.arg, x, x->account.tries, &back);

	if (x->finished) {
		if (!err)
			back->ops->abort(back, END_CANCEL);
		return -ECANCELED;
	}
	if (err == -EAGAIN) {
		x->waits = true;
		return err;
	}
	x->account.tries++;
	if (err) {
		fail(x, END_REFUSED);
		return err;
	}
	x->back = back;
	end_listen(back, &back_events, x);
	pump_rewind(&x->up);
	x->up.passed = x->bodiless;
	return 0;
}

static void try_back(struct exchange *x)
{
	int err;

	x->opening = true;
	do {
		if (open_back(x))
			break;
		err = give_request(x);
		if (!err)
			break;
		drop_back(x, END_CANCEL);
		if (err == -EAGAIN || err == -EPIPE)
			err = may_retry(x, END_REFUSED) ? -EAGAIN : -EPIPE;
		if (err != -EAGAIN)
			fail(x, err == -EPIPE ? END_REFUSED : END_ERROR);
	} while (err == -EAGAIN);
	x->opening = false;
}

static void moved(struct exchange *x)
{
	x->moved_us = reactor_now_ms(x->opt.reactor) * 1000;
}

static void back_head(struct end *e, void *arg, const struct head *h, bool last)
{
	struct exchange *x = arg;
	struct head *own = NULL;
	int err;

	(void)e;
	moved(x);
	if (h->status < 200 && ++x->interims > INTERIM_MAX) {
		fail(x, END_PROTOCOL);
		return;
	}
	if (x->opt.response) {
		own = head_copy(h);
		if (!own) {
			fail(x, END_ERROR);
			return;
		}
		x->opt.response(x->opt.arg, x, own);
	}
	err = x->finished ? 0 : front_head(x, own ? own : h, last);
	head_free(own);
	if (x->finished)
		return;
	if (err && err != -EPIPE) {
		finish(x, END_ERROR);
		return;
	}
	if (last)
		x->down.ended = x->down.passed = true;
	see_end(x);
}

static void back_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	struct exchange *x = arg;

	moved(x);
	x->account.bytes_down += len;
	if (pump_data(&x->down, e, x->front, data, len, last))
		finish(x, END_ERROR);
	else if (last)
		see_end(x);
}

static void back_trailers(struct end *e, void *arg, const struct head *h)
{
	struct exchange *x = arg;

	moved(x);
	if (pump_trailers(&x->down, e, x->front, h))
		finish(x, END_ERROR);
	else
		see_end(x);
}

static void back_room(struct end *e, void *arg)
{
	struct exchange *x = arg;

	moved(x);
	if (pump_move(&x->up, x->front, e))
		fail(x, END_ERROR);
	else if (x->up.passed)
		see_end(x);
}

static void back_gone(struct end *e, void *arg, enum end_why why)
{
	struct exchange *x = arg;

	(void)e;
	x->back = NULL;
	if (x->down.ended) {
		/* what waits for the front is still passed on */
		if (x->tunnel)
			x->up.passed = x->up.ended = true;
		see_end(x);
		return;
	}
	if (why == END_DONE || why == END_CANCEL)
		why = END_LOST;
	if (may_retry(x, why))
		try_back(x);
	else
		fail(x, why);
}

static const struct end_events back_events = {
	.head = back_head,
	.data = back_data,
	.trailers = back_trailers,
	.room = back_room,
	.gone = back_gone,
};

/* ---- the front ---------------------------------------------------------------------------- */

/* After the response: nobody wants it any more. */
static void front_unwanted(struct exchange *x, size_t len, bool last)
{
	x->unwanted += len;
	x->up.ended |= last;
	if (x->unwanted <= UNWANTED_MAX && !last)
		x->front->ops->taken(x->front, len);
	see_end(x);
}

static bool unwanted(const struct exchange *x)
{
	return x->answered && !x->back && x->down.ended;
}

/* A body that is larger than allowed: one that said its length was refused before. */
static void front_too_large(struct exchange *x, size_t len, bool last)
{
	x->too_large = true;
	fail(x, END_LIMIT);
	if (!x->finished && x->front)
		front_unwanted(x, len, last);
}

static void front_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	struct exchange *x = arg;

	moved(x);
	x->account.bytes_up += len;
	if (unwanted(x)) {
		front_unwanted(x, len, last);
		return;
	}
	if (x->opt.body_max && x->account.bytes_up > x->opt.body_max && !x->tunnel) {
		front_too_large(x, len, last);
		return;
	}
	if (pump_data(&x->up, e, x->back, data, len, last))
		fail(x, END_ERROR);
	else if (last)
		see_end(x);
}

static void front_trailers(struct end *e, void *arg, const struct head *h)
{
	struct exchange *x = arg;

	moved(x);
	if (unwanted(x)) {
		front_unwanted(x, 0, true);
		return;
	}
	if (pump_trailers(&x->up, e, x->back, h))
		fail(x, END_ERROR);
	else
		see_end(x);
}

static void front_room(struct end *e, void *arg)
{
	struct exchange *x = arg;

	moved(x);
	if (pump_move(&x->down, x->back, e))
		finish(x, END_ERROR);
	else if (x->down.passed)
		see_end(x);
}

static void front_gone(struct end *e, void *arg, enum end_why why)
{
	struct exchange *x = arg;

	(void)e;
	x->front = NULL;
	if (why == END_DONE)
		drop_back(x, END_DONE);
	else
		drop_back(x, END_CANCEL);
	finish(x, why);
}

static const struct end_events front_events = {
	.data = front_data,
	.trailers = front_trailers,
	.room = front_room,
	.gone = front_gone,
};

/* ---- time --------------------------------------------------------------------------------- */

static uint64_t time_left(const struct exchange *x, uint64_t now_us)
{
	uint64_t left = UINT64_MAX, at;

	if (x->opt.idle_ms) {
		at = x->moved_us + x->opt.idle_ms * 1000ull;
		left = at > now_us ? at - now_us : 0;
	}
	if (x->opt.total_ms) {
		at = x->account.began_us + x->opt.total_ms * 1000ull;
		at = at > now_us ? at - now_us : 0;
		left = at < left ? at : left;
	}
	return left;
}

static void timer_set(struct exchange *x, uint64_t left_us)
{
	if (left_us != UINT64_MAX)
		reactor_timer_set(x->opt.reactor, &x->timer, left_us / 1000 + 1);
}

static void timed(struct reactor_timer *t)
{
	struct exchange *x = (struct exchange *)((char *)t - offsetof(struct exchange, timer));
	uint64_t left = time_left(x, reactor_now_us());

	if (left) {
		timer_set(x, left);
		return;
	}
	if (x->answered) {
		/* a response that is whole is not spoiled by a client that never ends its request
		 */
		finish(x, x->down.passed && !x->tunnel ? END_DONE : END_TIMEOUT);
		return;
	}
	x->opt.total_ms = 0; /* the page has the idle time to leave */
	moved(x);
	fail(x, END_TIMEOUT);
	if (!x->finished)
		timer_set(x, time_left(x, reactor_now_us()));
}

/* ---- public ------------------------------------------------------------------------------- */

int exchange_start(struct exchange **out, struct end *front, struct head *request, bool last,
		   const struct exchange_options *opt)
{
	struct exchange *x = spare_zero(sizeof(*x));

	if (!x) {
		head_free(request);
		return -ENOMEM;
	}
	x->opt = *opt;
	x->front = front;
	x->request = request;
	x->tunnel = request->method && !strcmp(request->method, "CONNECT");
	x->bodiless = last;
	x->up.ended = x->up.passed = last;
	x->up.replay = last ? 0 : EXCHANGE_REPLAY;
	x->timer.fn = timed;
	x->done.fn = done;
	x->account.request = request;
	x->account.began_us = reactor_now_us();
	moved(x);
	end_listen(front, &front_events, x);
	if (out)
		*out = x;
	timer_set(x, time_left(x, x->account.began_us));
	try_back(x);
	return 0;
}

void exchange_retry(struct exchange *x)
{
	if (!x->waits || x->finished || x->opening)
		return;
	x->waits = false;
	try_back(x);
}

void exchange_abort(struct exchange *x, enum end_why why)
{
	finish(x, why);
}
