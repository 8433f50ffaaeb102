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
#include <time.h>

#include "user/tunnel/h1.h"
#include "user/tunnel/h1_out.h"
#include "user/tunnel/h1_read.h"

#define DRAIN_BYTES (256u << 10)
#define DRAIN_MS    1000

enum server_state {
	IDLE,
	HEAD,	 /* a request's first byte came */
	RUN,	 /* its head was told; until both directions ended */
	DRAIN,	 /* the response ended before the request */
	CLOSING, /* conn_close() was called */
	OVER,	 /* no conn any more */
};

struct h1_server {
	struct end front;
	struct conn *conn; /* NULL: gone */
	struct reactor *reactor;
	struct h1_server_options opt;
	struct h1_read *read; /* while a request runs */
	struct h1_out out;
	struct reactor_timer timer;
	struct reactor_defer later;
	size_t untaken; /* told to the receiver, not taken yet */
	size_t drained;
	unsigned int grace_ms;
	enum end_why gone_why; /* that the receiver is told when it is over */
	enum server_state state;
	bool draining, closed_told;
	bool eof;	/* the client sends no more */
	bool paused;	/* the conn tells no data */
	bool want_room; /* data() took less than it was given */

	/* of the request that runs */
	bool attached; /* its receiver was not told `gone` */
	bool is_head;  /* HEAD */
	bool tunnel;   /* CONNECT or WebSocket */
	bool raw;      /* and accepted */
	bool request_ended, response_begun, response_ended;
	bool continued; /* 100 was sent */
	bool close_after;
};

static struct h1_server *of(struct end *e)
{
	return (struct h1_server *)((char *)e - offsetof(struct h1_server, front));
}

static const char *date_now(void)
{
	static char text[H1_DATE];
	static time_t of_second;
	time_t now = time(NULL);

	if (now != of_second) {
		h1_date(now, text);
		of_second = now;
	}
	return text;
}

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
	s->state = OVER;
	s->conn = NULL;
	reactor_timer_stop(s->reactor, &s->timer);
	reactor_defer(s->reactor, &s->later);
}

/* At once; the receiver is told why, later, if it has not left. */
static void kill_conn(struct h1_server *s, enum end_why why)
{
	if (s->state == OVER)
		return;
	s->gone_why = why;
	conn_abort(s->conn);
	over(s);
}

/* Everything that was written arrives; what still comes is not looked at. */
static void close_conn(struct h1_server *s)
{
	reactor_timer_stop(s->reactor, &s->timer);
	s->state = CLOSING;
	conn_close(s->conn);
}

static void conn_wants(struct h1_server *s)
{
	if (s->paused)
		conn_resume(s->conn);
	s->paused = false;
}

static void idle(struct h1_server *s)
{
	h1_read_free(s->read);
	s->read = NULL;
	s->state = IDLE;
	if (s->eof) {
		close_conn(s);
		return;
	}
	reactor_timer_set(s->reactor, &s->timer, s->draining ? s->grace_ms : s->opt.idle_ms);
	conn_wants(s);
}

/* Both directions ended, or at least the response. */
static void finished(struct h1_server *s)
{
	tell_gone(s, END_DONE);
	if (s->state != RUN)
		return;
	s->untaken = 0;
	if (s->raw || s->close_after) {
		close_conn(s);
	} else if (!s->request_ended) {
		s->state = DRAIN;
		s->drained = 0;
		reactor_timer_set(s->reactor, &s->timer, DRAIN_MS);
		conn_wants(s);
	} else {
		idle(s);
	}
}

static bool is_finished(const struct h1_server *s)
{
	return s->state == RUN && s->response_ended && !s->out.len && (!s->raw || s->request_ended);
}

static void check_finished(struct h1_server *s)
{
	if (s->state == RUN && s->raw && s->response_ended && !s->out.len)
		conn_finish(s->conn);
	if (is_finished(s))
		reactor_defer(s->reactor, &s->later);
}

static void on_later(struct reactor_defer *d)
{
	struct h1_server *s = (struct h1_server *)((char *)d - offsetof(struct h1_server, later));

	if (is_finished(s))
		finished(s);
	if (s->state != OVER)
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

static void write_page(struct h1_server *s, unsigned int status, const char *why)
{
	char text[640], body[160];
	int body_len = snprintf(body, sizeof(body), "%u %s: %s\n", status, h1_reason(status), why);
	const char *more =
		status == 426 ? "upgrade: websocket\r\nsec-websocket-version: 13\r\n" : "";
	int n = snprintf(text, sizeof(text),
			 "HTTP/1.1 %u %s\r\ndate: %s\r\ncontent-type: text/plain\r\n%s"
			 "content-length: %d\r\nconnection: %sclose\r\n\r\n%s",
			 status, h1_reason(status), date_now(), more, body_len,
			 status == 426 ? "upgrade, " : "", body);

	h1_out_put(&s->out, text, (size_t)n);
}

static void refuse(struct h1_server *s, unsigned int status, const char *why)
{
	bool answered = s->state == RUN && s->response_begun;

	tell_gone(s, status == 408 ? END_TIMEOUT : END_PROTOCOL);
	if (s->state == OVER)
		return;
	if (s->opt.refused)
		s->opt.refused(s->opt.arg, status, why);
	if (s->state == OVER)
		return;
	if (answered) {
		kill_conn(s, END_PROTOCOL);
		return;
	}
	if (s->state != DRAIN)
		write_page(s, status, why);
	close_conn(s);
}

static void send_continue(struct h1_server *s)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

	s->continued = true;
	h1_out_put(&s->out, text, sizeof(text) - 1);
}

/* ---- the response ---------------------------------------------------------------------------- */

static int interim(struct h1_server *s, const struct head *h)
{
	struct h1_how how = { .framing = H1_NONE, .length = -1 };
	char *text = h1_out_text();
	size_t n;

	if (h->status == 101)
		return -EINVAL;
	if (h->status == 100) {
		if (s->read->expects && !s->continued)
			send_continue(s);
		return 0;
	}
	if (s->read->http10)
		return 0;
	n = h1_compose_response(text, H1_HEAD_MAX, h, &how);
	return n ? h1_out_put(&s->out, text, n) : -E2BIG;
}

static void accept_tunnel(struct h1_server *s, struct h1_how *how, char accept[H1_WS_ACCEPT])
{
	s->raw = true;
	how->framing = H1_RAW;
	if (s->read->websocket) {
		h1_ws_accept(s->read->key, accept);
		how->connection = "upgrade";
		how->upgrade = "websocket";
		how->key = accept;
	}
}

/* How the body is framed, and whether the connection goes on. */
static int choose(struct h1_server *s, const struct head *h, bool last, struct h1_how *how)
{
	struct h1_read *r = s->read;

	how->length = h->content_length;
	if (s->is_head || h->status == 204 || h->status == 304) {
		how->framing = H1_NONE;
		if (h->status == 204)
			how->length = -1;
	} else if (last) {
		if (h->content_length > 0)
			return -EPROTO;
		how->framing = H1_NONE;
		how->length = 0;
	} else {
		how->framing = h->content_length >= 0 ? H1_LENGTH
			       : r->http10	      ? H1_CLOSE
						      : H1_CHUNKED;
	}
	s->close_after = !r->keep_alive || s->draining || s->eof || how->framing == H1_CLOSE ||
			 r->connect || (r->expects && !s->continued && !s->request_ended);
	if (s->close_after)
		how->connection = "close";
	else if (r->http10)
		how->connection = "keep-alive";
	return 0;
}

static void end_response(struct h1_server *s)
{
	s->response_ended = true;
	check_finished(s);
}

static int front_head(struct end *e, const struct head *h, bool last)
{
	struct h1_server *s = of(e);
	struct h1_how how = { .length = -1, .date = date_now() };
	char accept[H1_WS_ACCEPT], *text = h1_out_text();
	size_t n;
	int rc;

	if (s->state != RUN || !s->attached || s->response_begun)
		return -EPIPE;
	if (h->status < 200)
		return last ? -EINVAL : interim(s, h);
	if (s->tunnel && h->status < 300) {
		accept_tunnel(s, &how, accept);
	} else {
		s->request_ended = s->request_ended || s->tunnel;
		rc = choose(s, h, last, &how);
		if (rc)
			return rc;
	}
	n = h1_compose_response(text, H1_HEAD_MAX, h, &how);
	if (!n)
		return -E2BIG;
	s->response_begun = true;
	s->out.framing = how.framing;
	s->out.left = how.length;
	rc = h1_out_put(&s->out, text, n);
	if (rc)
		return rc;
	if (s->raw)
		conn_wants(s);
	if (last)
		end_response(s);
	return 0;
}

static size_t front_data(struct end *e, const void *data, size_t len, bool last)
{
	struct h1_server *s = of(e);
	long n;

	if (s->state != RUN || !s->attached || !s->response_begun || s->response_ended)
		return 0;
	n = h1_out_body(&s->out, data, len, last);
	if (n < 0) {
		kill_conn(s, n == -EPROTO ? END_PROTOCOL : END_ERROR);
		return 0;
	}
	s->want_room = (size_t)n < len;
	if (last && (size_t)n == len)
		end_response(s);
	return (size_t)n;
}

static int front_trailers(struct end *e, const struct head *h)
{
	struct h1_server *s = of(e);
	int rc;

	if (s->state != RUN || !s->attached || !s->response_begun || s->response_ended)
		return -EPIPE;
	rc = h1_out_end(&s->out, h);
	if (rc)
		kill_conn(s, rc == -EPROTO ? END_PROTOCOL : END_ERROR);
	else
		end_response(s);
	return rc;
}

static void front_taken(struct end *e, size_t len)
{
	struct h1_server *s = of(e);

	if (s->state != RUN || !s->untaken)
		return;
	s->untaken -= len < s->untaken ? len : s->untaken;
	if (!s->untaken)
		conn_wants(s);
}

static void front_abort(struct end *e, enum end_why why)
{
	struct h1_server *s = of(e);

	s->attached = false;
	if (s->state != RUN)
		return;
	if (why != END_DONE || !s->response_ended) {
		kill_conn(s, why);
		return;
	}
	if (s->raw) /* what the client still sends is not wanted any more */
		s->request_ended = true;
	check_finished(s);
}

static const struct end_ops front_ops = {
	.head = front_head,
	.data = front_data,
	.trailers = front_trailers,
	.taken = front_taken,
	.abort = front_abort,
};

/* ---- the request ----------------------------------------------------------------------------- */

static bool begin(struct h1_server *s)
{
	s->read = h1_read_request(s->opt.scheme, s->opt.header_bytes_max);
	if (!s->read) {
		kill_conn(s, END_ERROR);
		return false;
	}
	s->state = HEAD;
	reactor_timer_set(s->reactor, &s->timer, s->opt.head_ms);
	return true;
}

static void got_head(struct h1_server *s)
{
	struct h1_read *r = s->read;

	reactor_timer_stop(s->reactor, &s->timer);
	s->state = RUN;
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
	if (s->state == RUN && s->attached && r->expects && !s->response_begun && !s->continued)
		send_continue(s);
}

static void got_data(struct h1_server *s, const uint8_t *data, size_t len, bool last)
{
	s->request_ended = s->request_ended || last;
	if (s->state == RUN && s->attached && !s->response_ended) {
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
	if (s->state != RUN || !s->attached || s->response_ended || !on)
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
	if (s->state == DRAIN && s->request_ended)
		idle(s);
	else if (s->state == DRAIN && s->drained > DRAIN_BYTES)
		close_conn(s);
	else if (is_finished(s)) /* it waited for the request's end */
		check_finished(s);
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

	while (used < len && s->state < CLOSING) {
		if (s->state == IDLE && !begin(s))
			break;
		if (s->state == RUN && s->raw) {
			used += read_raw(s, data + used, len - used);
		} else if (s->state == RUN && (s->request_ended || s->tunnel)) {
			s->paused = true; /* pipelined, or before the tunnel is accepted */
			return used;
		} else {
			used += read_some(s, data + used, len - used);
		}
	}
	if (s->state >= CLOSING)
		return len;
	if (s->untaken && s->state == RUN && s->attached && !s->paused) {
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
	if (s->state >= CLOSING)
		return;
	if (s->state != RUN) {
		close_conn(s);
	} else if (s->raw) {
		got_data(s, NULL, 0, true);
		check_finished(s);
	} else if (!s->request_ended && !s->response_ended) {
		tell_gone(s, END_CANCEL);
		kill_conn(s, END_CANCEL);
	} else {
		s->close_after = true; /* a client may half-close after its last request */
	}
}

static void on_writable(struct conn *c, void *arg)
{
	struct h1_server *s = arg;

	(void)c;
	if (s->state >= CLOSING || !h1_out_flush(&s->out))
		return;
	if (s->response_ended) {
		check_finished(s);
	} else if (s->want_room && s->state == RUN && s->attached) {
		s->want_room = false;
		if (s->front.on && s->front.on->room)
			s->front.on->room(&s->front, s->front.arg);
	}
}

static void on_closed(struct conn *c, void *arg, int err)
{
	struct h1_server *s = arg;

	(void)c, (void)err;
	if (s->state == OVER)
		return;
	tell_gone(s, is_finished(s) ? END_DONE : END_CANCEL);
	if (s->state == OVER)
		return;
	s->closed_told = true;
	if (s->opt.closed)
		s->opt.closed(s->opt.arg);
	if (s->state != OVER)
		over(s);
}

static const struct conn_events server_events = {
	.data = on_data,
	.writable = on_writable,
	.eof = on_eof,
	.closed = on_closed,
};

static void on_timer(struct reactor_timer *t)
{
	struct h1_server *s = (struct h1_server *)((char *)t - offsetof(struct h1_server, timer));

	switch (s->state) {
	case HEAD:
		refuse(s, 408, "no whole request in time");
		break;
	case IDLE:
	case DRAIN:
		close_conn(s);
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
	s->front.ops = &front_ops;
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
	if (s->state == IDLE)
		reactor_timer_set(s->reactor, &s->timer, grace_ms);
}

void h1_server_abort(struct h1_server *s)
{
	kill_conn(s, END_CANCEL);
}

struct conn *h1_server_conn(struct h1_server *s)
{
	return s->conn;
}
