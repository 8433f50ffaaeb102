// SPDX-License-Identifier: Apache-2.0
/*
 * raw.c -- a conn as an end of an exchange: bytes without messages.
 *
 * A FIN (close_notify) is `last`, and the other way round. One read is told at a time: the next one
 * waits until all of it was taken, which in the common case is before the event returns.
 */
#include <errno.h>
#include <stdlib.h>

#include "user/tunnel/raw.h"

struct raw {
	struct end end;	   /* first */
	struct conn *conn; /* NULL: it is over */
	struct reactor *reactor;
	struct reactor_timer timer; /* idle_ms */
	struct reactor_defer later; /* `gone` that an op caused; freeing */
	unsigned int idle_ms;
	size_t untaken;
	enum end_why why;
	bool front, connected;
	bool telling; /* within the event `data` */
	bool aborted; /* by the other side: nothing is told any more */
};

/* ---- the end of it --------------------------------------------------------------------------- */

static void raw_free(struct raw *raw)
{
	reactor_timer_stop(raw->reactor, &raw->timer);
	reactor_defer_cancel(raw->reactor, &raw->later);
	free(raw);
}

static void on_later(struct reactor_defer *d)
{
	struct raw *raw = (struct raw *)((char *)d - offsetof(struct raw, later));

	if (!raw->aborted && raw->end.on->gone)
		raw->end.on->gone(&raw->end, raw->end.arg, raw->why);
	raw_free(raw);
}

/* The connection goes; `gone` follows from the reactor, and the memory goes with it. */
static void drop(struct raw *raw, enum end_why why)
{
	if (raw->conn)
		conn_abort(raw->conn);
	raw->conn = NULL;
	raw->why = why;
	reactor_timer_stop(raw->reactor, &raw->timer);
	reactor_defer(raw->reactor, &raw->later);
}

/* ---- ops ------------------------------------------------------------------------------------- */

/* Messages have no form here: a front swallows the 2xx that lets bytes through, a back the request.
 */
static int op_head(struct end *e, const struct head *h, bool last)
{
	struct raw *raw = (struct raw *)e;

	if (!raw->conn)
		return -EPIPE;
	if (raw->front && h->status >= 300) {
		drop(raw, END_CANCEL);
		return 0;
	}
	if (last && (!raw->front || h->status >= 200))
		conn_finish(raw->conn);
	return 0;
}

static size_t op_data(struct end *e, const void *data, size_t len, bool last)
{
	struct raw *raw = (struct raw *)e;
	size_t n;

	if (!raw->conn)
		return len; /* `gone` is on its way */
	n = conn_write(raw->conn, data, len);
	if (last && n == len)
		conn_finish(raw->conn);
	return n;
}

static int op_trailers(struct end *e, const struct head *h)
{
	struct raw *raw = (struct raw *)e;

	(void)h; /* there is no place for them */
	if (raw->conn)
		conn_finish(raw->conn);
	return 0;
}

static void op_taken(struct end *e, size_t len)
{
	struct raw *raw = (struct raw *)e;

	raw->untaken -= len < raw->untaken ? len : raw->untaken;
	if (!raw->untaken && !raw->telling && raw->conn)
		conn_resume(raw->conn);
}

static const struct conn_events nobody;

static void op_abort(struct end *e, enum end_why why)
{
	struct raw *raw = (struct raw *)e;

	raw->aborted = true;
	/* What waits of a message that is whole is still sent. */
	if (why == END_DONE && raw->conn) {
		conn_handler(raw->conn, &nobody, NULL);
		conn_close(raw->conn);
		raw->conn = NULL;
	}
	drop(raw, why);
}

static const struct end_ops ops = { op_head, op_data, op_trailers, op_taken, op_abort };

/* ---- events of the conn ---------------------------------------------------------------------- */

static void on_ready(struct conn *c, void *arg)
{
	static const struct head connected = { .status = 200, .content_length = -1 };
	struct raw *raw = arg;

	(void)c;
	if (raw->front)
		return;
	raw->connected = true;
	raw->end.on->head(&raw->end, raw->end.arg, &connected, false);
}

static size_t on_data(struct conn *c, void *arg, const uint8_t *data, size_t len)
{
	struct raw *raw = arg;

	raw->untaken += len;
	raw->telling = true;
	raw->end.on->data(&raw->end, raw->end.arg, data, len, false);
	raw->telling = false;
	if (raw->untaken && raw->conn)
		conn_pause(c);
	return len;
}

static void on_writable(struct conn *c, void *arg)
{
	struct raw *raw = arg;

	(void)c;
	if (raw->end.on->room)
		raw->end.on->room(&raw->end, raw->end.arg);
}

static void on_eof(struct conn *c, void *arg)
{
	struct raw *raw = arg;

	(void)c;
	raw->end.on->data(&raw->end, raw->end.arg, NULL, 0, true);
}

static void on_closed(struct conn *c, void *arg, int err)
{
	struct raw *raw = arg;

	(void)c;
	raw->conn = NULL;
	if (!raw->connected)
		raw->why = END_REFUSED;
	else if (!err)
		raw->why = END_DONE;
	else
		raw->why = err == -ETIMEDOUT ? END_TIMEOUT : END_LOST;
	on_later(&raw->later);
}

static const struct conn_events events = { on_ready, on_data, on_writable, on_eof, on_closed };

static void on_timer(struct reactor_timer *t)
{
	struct raw *raw = (struct raw *)((char *)t - offsetof(struct raw, timer));
	uint64_t idle = conn_idle_ms(raw->conn);

	if (idle >= raw->idle_ms)
		drop(raw, raw->connected ? END_TIMEOUT : END_REFUSED);
	else
		reactor_timer_set(raw->reactor, t, raw->idle_ms - idle);
}

/* ---- making one ------------------------------------------------------------------------------ */

static struct raw *raw_make(struct reactor *r, unsigned int idle_ms)
{
	struct raw *raw = calloc(1, sizeof(*raw));

	if (!raw)
		return NULL;
	*raw = (struct raw){ .end.ops = &ops,
			     .reactor = r,
			     .timer.fn = on_timer,
			     .later.fn = on_later,
			     .idle_ms = idle_ms };
	return raw;
}

int raw_front(struct end **out, struct conn *c, unsigned int idle_ms)
{
	struct raw *raw = raw_make(conn_reactor(c), idle_ms);

	if (!raw)
		return -ENOMEM;
	raw->front = raw->connected = true;
	raw->conn = c;
	conn_handler(c, &events, raw);
	conn_resume(c); /* what a first look left */
	if (idle_ms)
		reactor_timer_set(raw->reactor, &raw->timer, idle_ms);
	*out = &raw->end;
	return 0;
}

int raw_dial(struct end **out, struct reactor *r, const struct conn_dial *dial,
	     unsigned int idle_ms, const void *preface, size_t preface_len)
{
	struct raw *raw = raw_make(r, idle_ms);
	int err;

	if (!raw)
		return -ENOMEM;
	err = conn_dial(&raw->conn, r, dial, &events, raw);
	if (!err && preface_len && conn_write(raw->conn, preface, preface_len) < preface_len) {
		conn_abort(raw->conn);
		err = -E2BIG;
	}
	if (err) {
		free(raw);
		return err;
	}
	if (idle_ms)
		reactor_timer_set(r, &raw->timer, idle_ms);
	*out = &raw->end;
	return 0;
}
