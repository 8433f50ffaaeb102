// SPDX-License-Identifier: Apache-2.0
/*
 * h1_server.c -- HTTP/1.1 for clients: one request after the other on a conn.
 *
 * A request is read as far as its receiver takes it. When its response has ended the rest of the
 * request is drained for a moment, so that the connection can be used again, or closed in a way
 * that lets the client read the response. Whatever an op causes is told by `later`, from the
 * reactor; memory goes there too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/h1_front.h"

#define DRAIN_BYTES (256u << 10)
#define DRAIN_MS    1000

/* ---- ends ------------------------------------------------------------------------------------ */

static void tell_gone(struct h1_server *s, enum end_why why)
{
	bool attached = s->attached;

	s->attached = false;
	if (attached && s->front.on && s->front.on->gone)
		s->front.on->gone(&s->front, s->front.arg, why);
}

static void over(struct h1_server *s)
{
	s->state = SERVER_OVER;
	s->conn = NULL;
	reactor_timer_stop(s->reactor, &s->timer);
	reactor_defer(s->reactor, &s->later);
}

void h1_server_kill(struct h1_server *s, enum end_why why)
{
	if (s->state == SERVER_OVER)
		return;
	s->gone_why = why;
	conn_abort(s->conn);
	over(s);
}

/* Everything that was written arrives; what still comes is not looked at. */
static void close_conn(struct h1_server *s)
{
	reactor_timer_stop(s->reactor, &s->timer);
	s->state = SERVER_CLOSING;
	conn_close(s->conn);
}

void h1_server_resume(struct h1_server *s)
{
	if (s->paused)
		conn_resume(s->conn);
	s->paused = false;
}

static void idle(struct h1_server *s)
{
	h1_read_free(s->read);
	s->read = NULL;
	s->state = SERVER_IDLE;
	if (s->eof) {
		close_conn(s);
		return;
	}
	reactor_timer_set(s->reactor, &s->timer, s->draining ? s->grace_ms : s->opt.idle_ms);
	h1_server_resume(s);
}

/* Both directions ended, or at least the response. */
static void finished(struct h1_server *s)
{
	tell_gone(s, END_DONE);
	if (s->state != SERVER_RUN)
		return;
	s->untaken = 0;
	if (s->raw || s->close_after) {
		close_conn(s);
	} else if (!s->request_ended) {
		s->state = SERVER_DRAIN;
		s->drained = 0;
		reactor_timer_set(s->reactor, &s->timer, DRAIN_MS);
		h1_server_resume(s);
	} else {
		idle(s);
	}
}

static bool is_finished(const struct h1_server *s)
{
	return s->state == SERVER_RUN && s->response_ended && !s->out.len &&
	       (!s->raw || s->request_ended);
}

void h1_server_check(struct h1_server *s)
{
	if (s->state == SERVER_RUN && s->raw && s->response_ended && !s->out.len)
		conn_finish(s->conn);
	if (is_finished(s))
		reactor_defer(s->reactor, &s->later);
	else if (s->state == SERVER_RUN && s->response_ended && s->out.len)
		/* its end waits here, and the receiver looks after it no more */
		reactor_timer_set(s->reactor, &s->timer, s->opt.idle_ms);
}

static void on_later(struct reactor_defer *d)
{
	struct h1_server *s = (struct h1_server *)((char *)d - offsetof(struct h1_server, later));

	if (is_finished(s))
		finished(s);
	if (s->state != SERVER_OVER)
		return;
	tell_gone(s, s->gone_why);
	if (!s->closed_told && s->opt.closed) {
		s->closed_told = true;
		s->opt.closed(s->opt.arg);
	}
	h1_read_free(s->read);
	h1_out_reset(&s->out);
	reactor_defer_cancel(s->reactor, &s->later);
	free(s);
}

/* ---- answers of our own ---------------------------------------------------------------------- */

static void write_page(struct h1_server *s, unsigned int status, const char *why, const char *id)
{
	char text[640], body[160];
	int body_len = snprintf(body, sizeof(body), "%u %s: %s\n%s%s%s", status, h1_reason(status),
				why, id ? "request " : "", id ? id : "", id ? "\n" : "");
	const char *more =
		status == 426 ? "upgrade: websocket\r\nsec-websocket-version: 13\r\n" : "";
	int n = snprintf(text, sizeof(text),
			 "HTTP/1.1 %u %s\r\ndate: %s\r\ncontent-type: text/plain\r\n%s%s%s%s"
			 "content-length: %d\r\nconnection: %sclose\r\n\r\n%s",
			 status, h1_reason(status), h1_date_now(), more, id ? "x-request-id: " : "",
			 id ? id : "", id ? "\r\n" : "", body_len, status == 426 ? "upgrade, " : "",
			 body);

	h1_out_put(&s->out, text, (size_t)n);
}

static void refuse(struct h1_server *s, unsigned int status, const char *why)
{
	bool answered = s->state == SERVER_RUN && s->response_begun;
	const char *id = NULL;

	tell_gone(s, status == 408 ? END_TIMEOUT : END_PROTOCOL);
	if (s->state == SERVER_OVER)
		return;
	if (s->opt.refused)
		id = s->opt.refused(s->opt.arg, status, why);
	if (s->state == SERVER_OVER)
		return;
	if (answered) {
		h1_server_kill(s, END_PROTOCOL);
		return;
	}
	if (s->state != SERVER_DRAIN)
		write_page(s, status, why, id);
	close_conn(s);
}

/* ---- the request ----------------------------------------------------------------------------- */

static bool begin(struct h1_server *s)
{
	s->read = h1_read_request(s->opt.scheme, s->opt.header_bytes_max);
	if (!s->read) {
		h1_server_kill(s, END_ERROR);
		return false;
	}
	s->state = SERVER_HEAD;
	reactor_timer_set(s->reactor, &s->timer, s->opt.head_ms);
	return true;
}

static void got_head(struct h1_server *s)
{
	struct h1_read *r = s->read;

	reactor_timer_stop(s->reactor, &s->timer);
	s->state = SERVER_RUN;
	s->attached = true;
	s->tunnel = r->connect || r->websocket;
	s->is_head = !strcmp(r->head->method, "HEAD");
	s->request_ended = r->last && !s->tunnel;
	s->raw = s->response_begun = s->response_ended = s->continued = s->close_after = false;
	s->want_room = false;
	s->untaken = 0;
	s->front.on = NULL;
	s->out.framing = H1_NONE;
	s->opt.request(s->opt.arg, &s->front, r->head, s->request_ended);
}

static void got_data(struct h1_server *s, const uint8_t *data, size_t len, bool last)
{
	s->request_ended = s->request_ended || last;
	if (s->state == SERVER_RUN && s->attached && !s->response_ended) {
		if (!s->front.on || !s->front.on->data)
			return;
		s->untaken += len;
		s->front.on->data(&s->front, s->front.arg, data, len, last);
		return;
	}
	s->drained += len;
}

static void got_trailers(struct h1_server *s)
{
	const struct end_events *on = s->front.on;

	s->request_ended = true;
	if (s->state != SERVER_RUN || !s->attached || s->response_ended || !on)
		return;
	if (on->trailers)
		on->trailers(&s->front, s->front.arg, s->read->head);
	else if (on->data)
		on->data(&s->front, s->front.arg, NULL, 0, true);
}

static size_t read_some(struct h1_server *s, const uint8_t *data, size_t len)
{
	struct h1_read *r = s->read;
	enum h1_event event;
	size_t used = h1_read_take(r, data, len, &event);

	switch (event) {
	case H1_MORE:
		break;
	case H1_HEAD:
		got_head(s);
		break;
	case H1_DATA:
		got_data(s, r->data, r->len, r->last);
		break;
	case H1_TRAILERS:
		got_trailers(s);
		break;
	case H1_END:
		got_data(s, NULL, 0, true);
		break;
	case H1_BAD:
		refuse(s, r->status, r->why);
		return len;
	}
	if (s->state == SERVER_DRAIN && s->request_ended)
		idle(s);
	else if (s->state == SERVER_DRAIN && s->drained > DRAIN_BYTES)
		close_conn(s);
	else if (is_finished(s)) /* it waited for the request's end */
		h1_server_check(s);
	return used;
}

static size_t read_raw(struct h1_server *s, const uint8_t *data, size_t len)
{
	if (s->attached && s->front.on && s->front.on->data) {
		s->untaken += len;
		s->front.on->data(&s->front, s->front.arg, data, len, false);
	}
	return len;
}

static size_t on_data(struct conn *c, void *arg, const uint8_t *data, size_t len)
{
	struct h1_server *s = arg;
	size_t used = 0;

	while (used < len && s->state < SERVER_CLOSING) {
		if (s->state == SERVER_IDLE && !begin(s))
			break;
		if (s->state == SERVER_RUN && s->raw) {
			used += read_raw(s, data + used, len - used);
		} else if (s->state == SERVER_RUN && (s->request_ended || s->tunnel)) {
			s->paused = true; /* pipelined, or before the tunnel is accepted */
			return used;
		} else {
			used += read_some(s, data + used, len - used);
		}
	}
	if (s->state >= SERVER_CLOSING)
		return len;
	if (s->untaken && s->state == SERVER_RUN && s->attached && !s->paused) {
		s->paused = true;
		conn_pause(c);
	}
	return used;
}

/* ---- the conn's other events ----------------------------------------------------------------- */

static void on_eof(struct conn *c, void *arg)
{
	struct h1_server *s = arg;

	(void)c;
	s->eof = true;
	if (s->state >= SERVER_CLOSING)
		return;
	if (s->state != SERVER_RUN) {
		close_conn(s);
	} else if (s->raw) {
		got_data(s, NULL, 0, true);
		h1_server_check(s);
	} else if (!s->request_ended && !s->response_ended) {
		tell_gone(s, END_CANCEL);
		h1_server_kill(s, END_CANCEL);
	} else {
		s->close_after = true; /* a client may half-close after its last request */
	}
}

static void on_writable(struct conn *c, void *arg)
{
	struct h1_server *s = arg;

	(void)c;
	if (s->state >= SERVER_CLOSING || !h1_out_flush(&s->out))
		return;
	if (s->response_ended) {
		h1_server_check(s);
	} else if (s->want_room && s->state == SERVER_RUN && s->attached) {
		s->want_room = false;
		if (s->front.on && s->front.on->room)
			s->front.on->room(&s->front, s->front.arg);
	}
}

static void on_closed(struct conn *c, void *arg, int err)
{
	struct h1_server *s = arg;

	(void)c, (void)err;
	if (s->state == SERVER_OVER)
		return;
	tell_gone(s, is_finished(s) ? END_DONE : END_CANCEL);
	if (s->state == SERVER_OVER)
		return;
	s->closed_told = true;
	if (s->opt.closed)
		s->opt.closed(s->opt.arg);
	if (s->state != SERVER_OVER)
		over(s);
}

static const struct conn_events server_events = {
	.data = on_data,
	.writable = on_writable,
	.eof = on_eof,
	.closed = on_closed,
};

/* The end of a response waits for a client that takes nothing. */
static void see_taken(struct h1_server *s)
{
	uint64_t idle = conn_idle_ms(s->conn);

	if (!s->response_ended || !s->out.len)
		return;
	if (idle >= s->opt.idle_ms)
		h1_server_kill(s, END_TIMEOUT);
	else
		reactor_timer_set(s->reactor, &s->timer, s->opt.idle_ms - idle);
}

static void on_timer(struct reactor_timer *t)
{
	struct h1_server *s = (struct h1_server *)((char *)t - offsetof(struct h1_server, timer));

	switch (s->state) {
	case SERVER_HEAD:
		refuse(s, 408, "no whole request in time");
		break;
	case SERVER_IDLE:
	case SERVER_DRAIN:
		close_conn(s);
		break;
	case SERVER_RUN:
		see_taken(s);
		break;
	default:
		break;
	}
}

/* ---- what users call ------------------------------------------------------------------------- */

int h1_server_new(struct h1_server **out, struct conn *c, const struct h1_server_options *opt)
{
	struct h1_server *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->front.ops = &h1_front_ops;
	s->conn = s->out.conn = c;
	s->reactor = conn_reactor(c);
	s->opt = *opt;
	s->timer.fn = on_timer;
	s->later.fn = on_later;
	conn_handler(c, &server_events, s);
	reactor_timer_set(s->reactor, &s->timer, opt->idle_ms);
	*out = s;
	return 0;
}

void h1_server_drain(struct h1_server *s, unsigned int grace_ms)
{
	s->draining = true;
	s->grace_ms = grace_ms;
	if (s->state == SERVER_IDLE)
		reactor_timer_set(s->reactor, &s->timer, grace_ms);
}

void h1_server_abort(struct h1_server *s)
{
	h1_server_kill(s, END_CANCEL);
}

struct conn *h1_server_conn(struct h1_server *s)
{
	return s->conn;
}
