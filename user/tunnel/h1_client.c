// SPDX-License-Identifier: Apache-2.0
/*
 * h1_client.c -- HTTP/1.1 to targets and the gateway: one exchange at a time on a connection.
 *
 * A connection goes back to the pool only when both messages ended in order, not a byte followed
 * the response, and everything was sent; else it is closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "user/tunnel/h1_back.h"

#define SMALL 4096 /* bytes of one read */

#define HEADER_MAX  HEAD_BYTES_MAX
#define PREFACE_MAX 1024
#define INTERIM_MAX 32 /* 1xx before a response */

static struct h1_back *of(struct end *e)
{
	return (struct h1_back *)((char *)e - offsetof(struct h1_back, end));
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void tell_gone(struct h1_back *b, enum end_why why)
{
	bool attached = b->attached;

	b->attached = false;
	if (attached && b->end.on && b->end.on->gone)
		b->end.on->gone(&b->end, b->end.arg, why);
}

/* At once; who has the end is told why, later. */
static void kill_conn(struct h1_back *b, enum end_why why)
{
	if (b->state == BACK_OVER)
		return;
	b->gone_why = why;
	conn_abort(b->conn);
	h1_back_over(b);
}

/* The same from an event: told now. */
static void fail(struct h1_back *b, enum end_why why)
{
	kill_conn(b, why);
	tell_gone(b, why);
}

static void wants_data(struct h1_back *b)
{
	if (b->paused)
		conn_resume(b->conn);
	b->paused = false;
}

static bool may_keep(const struct h1_back *b)
{
	return b->keep && b->request_ended && !b->raw && !b->out.len && !conn_waiting(b->conn) &&
	       h1_pool_wants(b->pool);
}

/* Both directions ended; the response alone is enough but for raw bytes. */
static bool is_finished(const struct h1_back *b)
{
	return b->state == BACK_OPEN && b->response_ended &&
	       (!b->raw || (b->request_ended && !b->out.len));
}

static void finished(struct h1_back *b)
{
	bool keep = may_keep(b);

	reactor_timer_stop(b->pool->reactor, &b->timer);
	if (keep) {
		h1_pool_keep(b);
	} else if (b->request_ended) {
		h1_back_close(b);
	} else {
		conn_abort(b->conn);
		h1_back_over(b);
	}
	tell_gone(b, END_DONE);
}

static void check_finished(struct h1_back *b)
{
	if (b->state == BACK_OPEN && b->raw && b->request_ended && !b->out.len)
		conn_finish(b->conn);
	if (is_finished(b))
		reactor_defer(b->pool->reactor, &b->later);
}

void h1_back_later(struct reactor_defer *d)
{
	struct h1_back *b = (struct h1_back *)((char *)d - offsetof(struct h1_back, later));

	if (is_finished(b))
		finished(b);
	if (b->state != BACK_OVER)
		return;
	tell_gone(b, b->gone_why);
	h1_back_free(b);
}

/* ---- the request ----------------------------------------------------------------------------- */

static int choose(struct h1_back *b, const struct head *h, bool last, struct h1_how *how, char *key)
{
	uint8_t random[16];

	if (h->protocol) {
		if (strcmp(h->protocol, "websocket") != 0)
			return -EOPNOTSUPP;
		random_bytes(random, sizeof(random));
		EVP_EncodeBlock((unsigned char *)key, random, sizeof(random));
		h1_ws_accept(key, b->accept);
		b->tunnel = true;
		how->connection = "upgrade";
		how->upgrade = "websocket";
		how->key = key;
		return 0;
	}
	if (!strcmp(h->method, "CONNECT"))
		return -EOPNOTSUPP;
	if (!last) {
		how->framing = h->content_length >= 0 ? H1_LENGTH : H1_CHUNKED;
		how->length = h->content_length;
		return 0;
	}
	if (h->content_length > 0)
		return -EPROTO;
	/* RFC 9110 section 8.6: what could have a body says that it has none */
	if (!strcmp(h->method, "POST") || !strcmp(h->method, "PUT") || !strcmp(h->method, "PATCH"))
		how->length = 0;
	return 0;
}

static int put_preface(struct h1_back *b)
{
	uint8_t text[PREFACE_MAX];
	size_t n;

	if (!b->pool->opt.preface)
		return 0;
	n = b->pool->opt.preface(b->pool->opt.arg, &b->end, text, sizeof(text));
	return n > sizeof(text) ? -E2BIG : h1_out_put(&b->out, text, n);
}

static void end_request(struct h1_back *b)
{
	b->request_ended = true;
	check_finished(b);
}

static void answer_timer(struct h1_back *b)
{
	if (b->pool->opt.answer_ms && !b->answered)
		reactor_timer_set(b->pool->reactor, &b->timer, b->pool->opt.answer_ms);
}

static int back_head(struct end *e, const struct head *h, bool last)
{
	struct h1_back *b = of(e);
	struct h1_how how = { .framing = H1_NONE, .length = -1 };
	char key[H1_WS_KEY], *text = h1_out_text();
	size_t n;
	int rc;

	if (b->state == BACK_OVER && b->attached)
		return 0; /* `gone` is on its way, and says why */
	if (b->state != BACK_OPEN || b->sent || !h->method || !h->authority)
		return -EPIPE;
	rc = choose(b, h, last, &how, key);
	if (rc)
		return rc;
	b->safe = head_is_safe(h);
	if (b->reused && !b->safe && conn_has_input(b->conn)) { /* it is about to end */
		kill_conn(b, END_REFUSED);
		return 0;
	}
	n = h1_compose_request(text, H1_HEAD_MAX, h, &how);
	if (!n)
		return -E2BIG;
	b->read = h1_read_response(h->method, HEADER_MAX);
	if (!b->read)
		return -ENOMEM;
	b->sent = true;
	b->out.framing = how.framing;
	b->out.left = how.length;
	rc = put_preface(b);
	if (!rc)
		rc = h1_out_put(&b->out, text, n);
	if (rc)
		return rc;
	answer_timer(b);
	b->end_owed = last && b->tunnel;
	if (last && !b->tunnel)
		end_request(b);
	return 0;
}

static size_t back_data(struct end *e, const void *data, size_t len, bool last)
{
	struct h1_back *b = of(e);
	long n;

	if (b->state != BACK_OPEN || !b->sent || b->request_ended)
		return 0;
	if (b->tunnel && !b->raw) { /* not accepted yet */
		b->want_room = true;
		b->end_owed |= last && !len;
		return 0;
	}
	n = h1_out_body(&b->out, data, len, last);
	if (n < 0) {
		kill_conn(b, n == -EPROTO ? END_PROTOCOL : END_ERROR);
		return 0;
	}
	b->want_room = (size_t)n < len;
	if (n)
		answer_timer(b);
	if (last && (size_t)n == len)
		end_request(b);
	return (size_t)n;
}

static int back_trailers(struct end *e, const struct head *h)
{
	struct h1_back *b = of(e);
	int rc;

	if (b->state != BACK_OPEN || !b->sent || b->request_ended)
		return -EPIPE;
	rc = h1_out_end(&b->out, h);
	if (rc)
		kill_conn(b, rc == -EPROTO ? END_PROTOCOL : END_ERROR);
	else
		end_request(b);
	return rc;
}

static void back_taken(struct end *e, size_t len)
{
	struct h1_back *b = of(e);

	if (b->state != BACK_OPEN || !b->untaken)
		return;
	b->untaken -= len < b->untaken ? len : b->untaken;
	if (!b->untaken)
		wants_data(b);
}

static void back_abort(struct end *e, enum end_why why)
{
	struct h1_back *b = of(e);

	b->attached = false;
	if (b->state != BACK_OPEN)
		return;
	if (why == END_DONE && b->raw && b->request_ended) /* what still comes is not wanted */
		b->response_ended = true;
	if (why == END_DONE && b->response_ended && (!b->raw || b->request_ended))
		check_finished(b);
	else
		kill_conn(b, why);
}

const struct end_ops h1_back_ops = {
	.head = back_head,
	.data = back_data,
	.trailers = back_trailers,
	.taken = back_taken,
	.abort = back_abort,
};

/* ---- the response ---------------------------------------------------------------------------- */

/* The connection broke before the response was whole. One that was kept has most often been closed
 * before the request came there; but that is not known, and what is not safe must not be done
 * twice (RFC 9110 section 9.2.2). */
static enum end_why why_lost(const struct h1_back *b)
{
	return !b->began && ((b->reused && b->safe) || !b->sent) ? END_REFUSED : END_LOST;
}

static void lost(struct h1_back *b)
{
	fail(b, why_lost(b));
}

static void tell_room(struct h1_back *b)
{
	if (!b->want_room || b->state != BACK_OPEN || !b->attached)
		return;
	b->want_room = false;
	if (b->end.on && b->end.on->room)
		b->end.on->room(&b->end, b->end.arg);
}

static void tell_data(struct h1_back *b, const uint8_t *data, size_t len, bool last)
{
	if (b->raw || b->answered)
		b->response_ended = b->response_ended || last;
	if (!b->attached || !b->end.on || !b->end.on->data)
		return;
	b->untaken += len;
	b->end.on->data(&b->end, b->end.arg, data, len, last);
}

static void tell_head(struct h1_back *b, bool last)
{
	b->response_ended = last;
	if (b->attached && b->end.on && b->end.on->head)
		b->end.on->head(&b->end, b->end.arg, b->read->head, last);
}

static void accepted(struct h1_back *b)
{
	struct h1_read *r = b->read;

	if (!b->tunnel || !r->websocket || strcmp(r->key, b->accept) != 0) {
		fail(b, END_PROTOCOL);
		return;
	}
	b->raw = b->answered = true;
	b->out.framing = H1_RAW;
	reactor_timer_stop(b->pool->reactor, &b->timer);
	head_set_status(r->head, 200);
	tell_head(b, false);
	if (b->end_owed && b->state == BACK_OPEN)
		end_request(b);
	else
		tell_room(b);
}

static void got_head(struct h1_back *b)
{
	struct h1_read *r = b->read;

	if (r->head->status == 101) {
		accepted(b);
		return;
	}
	if (r->head->status < 200) {
		if (++b->interims > INTERIM_MAX) {
			fail(b, END_PROTOCOL);
			return;
		}
		tell_head(b, false);
		if (b->state == BACK_OPEN)
			h1_read_again(r, HEADER_MAX);
		return;
	}
	if (b->tunnel && r->head->status < 300) { /* would be taken for a tunnel that is open */
		fail(b, END_PROTOCOL);
		return;
	}
	b->answered = true;
	b->request_ended = b->request_ended || b->tunnel;
	b->keep = r->keep_alive && r->framing != H1_CLOSE;
	reactor_timer_stop(b->pool->reactor, &b->timer);
	tell_head(b, r->last);
}

static void got_trailers(struct h1_back *b)
{
	b->response_ended = true;
	if (!b->attached || !b->end.on)
		return;
	if (b->end.on->trailers)
		b->end.on->trailers(&b->end, b->end.arg, b->read->head);
	else if (b->end.on->data)
		b->end.on->data(&b->end, b->end.arg, NULL, 0, true);
}

static size_t read_some(struct h1_back *b, const uint8_t *data, size_t len)
{
	struct h1_read *r = b->read;
	enum h1_event event;
	size_t used = h1_read_take(r, data, len, &event);

	b->began = true;
	switch (event) {
	case H1_MORE:
		break;
	case H1_HEAD:
		got_head(b);
		break;
	case H1_DATA:
		tell_data(b, r->data, r->len, r->last);
		break;
	case H1_TRAILERS:
		got_trailers(b);
		break;
	case H1_END:
		tell_data(b, NULL, 0, true);
		break;
	case H1_BAD:
		fail(b, r->status == 431 ? END_LIMIT : END_PROTOCOL);
		break;
	}
	return used;
}

static size_t on_data(struct conn *c, void *arg, const uint8_t *data, size_t len)
{
	struct h1_back *b = arg;
	size_t used = 0;

	if (b->state == BACK_IDLE) /* nobody asked */
		fail(b, END_PROTOCOL);
	else if (b->state == BACK_OPEN && !b->sent)
		fail(b, END_REFUSED);
	while (used < len && b->state == BACK_OPEN && (b->raw || !b->response_ended)) {
		if (b->raw) {
			tell_data(b, data + used, len - used, false);
			used = len;
		} else {
			used += read_some(b, data + used, len - used);
		}
	}
	if (b->state != BACK_OPEN)
		return len;
	if (used < len) /* more than a response: whose would it be? */
		b->keep = false;
	if (is_finished(b)) {
		finished(b);
		return len;
	}
	if (b->untaken && b->attached && !b->paused) {
		b->paused = true;
		conn_pause(c);
	}
	/* Many servers write head and body apart, with Nagle's algorithm: the body then waits for
	 * our delayed acknowledgement, 40 ms. */
	if (len < SMALL && b->began && !b->raw)
		conn_ack_now(c);
	return len;
}

/* ---- the conn's other events ----------------------------------------------------------------- */

static void on_ready(struct conn *c, void *arg)
{
	struct h1_back *b = arg;

	(void)c;
	b->ready = true;
}

static void on_eof(struct conn *c, void *arg)
{
	struct h1_back *b = arg;

	(void)c;
	if (b->state == BACK_OVER)
		return;
	b->keep = false;
	if (b->state == BACK_IDLE) {
		h1_back_close(b);
	} else if (b->raw) {
		if (!b->response_ended)
			tell_data(b, NULL, 0, true);
		check_finished(b);
	} else if (b->read && b->answered && h1_read_eof(b->read) == H1_END) {
		tell_data(b, NULL, 0, true);
		if (is_finished(b))
			finished(b);
	} else {
		lost(b);
	}
}

static void on_writable(struct conn *c, void *arg)
{
	struct h1_back *b = arg;

	(void)c;
	if (b->state != BACK_OPEN || !h1_out_flush(&b->out))
		return;
	if (b->request_ended)
		check_finished(b);
	else
		tell_room(b);
}

static void on_closed(struct conn *c, void *arg, int err)
{
	struct h1_back *b = arg;
	enum end_why why = why_lost(b);

	(void)c;
	if (b->state == BACK_OVER)
		return;
	if (is_finished(b))
		why = END_DONE;
	else if (!b->ready)
		why = err == -ETIMEDOUT ? END_TIMEOUT : err == -EPROTO ? END_PROTOCOL : END_REFUSED;
	b->gone_why = why;
	h1_back_over(b);
	tell_gone(b, why);
}

const struct conn_events h1_back_events = {
	.ready = on_ready,
	.data = on_data,
	.writable = on_writable,
	.eof = on_eof,
	.closed = on_closed,
};

void h1_back_timer(struct reactor_timer *t)
{
	struct h1_back *b = (struct h1_back *)((char *)t - offsetof(struct h1_back, timer));

	if (b->state == BACK_IDLE)
		h1_back_close(b);
	else if (b->state == BACK_OPEN)
		fail(b, END_TIMEOUT);
}
