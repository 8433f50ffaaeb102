// SPDX-License-Identifier: Apache-2.0
/*
 * h1_client.c -- HTTP/1.1 to targets and the gateway: a pool of connections to one address, and one
 * exchange at a time on each.
 *
 * A connection goes back to the pool only when both messages ended in order, not a byte followed
 * the response, and everything was sent; else it is closed. The last used is the first taken.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "user/tunnel/h1.h"
#include "user/tunnel/h1_out.h"
#include "user/tunnel/h1_read.h"

#define HEADER_MAX  HEAD_BYTES_MAX
#define IDLE_MAX    32
#define IDLE_MS	    30000
#define PREFACE_MAX 1024
#define INTERIM_MAX 32 /* 1xx before a response */

struct h1_pool {
	struct reactor *reactor;
	struct h1_pool_options opt;
	char *server_name;
	struct back *idle; /* the last used first */
	unsigned int n_idle;
	size_t users; /* connections, and the owner until h1_pool_free() */
	bool freed;
};

enum back_state {
	IDLE, /* in the pool */
	OPEN, /* somebody's */
	OVER, /* no conn any more; freed by `later` */
};

struct back {
	struct end end;
	struct h1_pool *pool;
	struct back *next, **at; /* in the pool */
	struct conn *conn;
	struct h1_read *read;
	struct h1_out out;
	struct reactor_timer timer;
	struct reactor_defer later;
	size_t untaken;
	enum end_why gone_why;
	enum back_state state;
	char accept[H1_WS_ACCEPT]; /* that a 101 must show */
	uint8_t interims;
	bool ready, reused, attached, paused, want_room;
	bool sent;     /* the request's head */
	bool answered; /* the response's */
	bool began;    /* a byte of it came */
	bool tunnel, raw;
	bool request_ended, response_ended, keep;
};

static struct back *of(struct end *e)
{
	return (struct back *)((char *)e - offsetof(struct back, end));
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void pool_leave(struct h1_pool *p)
{
	if (--p->users)
		return;
	SSL_CTX_free(p->opt.dial.tls);
	free(p->server_name);
	free(p);
}

static void pool_unlink(struct back *b)
{
	if (!b->at)
		return;
	*b->at = b->next;
	if (b->next)
		b->next->at = b->at;
	b->at = NULL;
	b->pool->n_idle--;
}

static void tell_gone(struct back *b, enum end_why why)
{
	bool attached = b->attached;

	b->attached = false;
	if (attached && b->end.on && b->end.on->gone)
		b->end.on->gone(&b->end, b->end.arg, why);
}

static void over(struct back *b)
{
	pool_unlink(b);
	b->state = OVER;
	b->conn = NULL;
	reactor_timer_stop(b->pool->reactor, &b->timer);
	reactor_defer(b->pool->reactor, &b->later);
}

/* At once; who has the end is told why, later. */
static void kill_conn(struct back *b, enum end_why why)
{
	if (b->state == OVER)
		return;
	b->gone_why = why;
	conn_abort(b->conn);
	over(b);
}

/* The same from an event: told now. */
static void fail(struct back *b, enum end_why why)
{
	kill_conn(b, why);
	tell_gone(b, why);
}

static void wants_data(struct back *b)
{
	if (b->paused)
		conn_resume(b->conn);
	b->paused = false;
}

static void to_pool(struct back *b)
{
	struct h1_pool *p = b->pool;

	h1_read_free(b->read);
	b->read = NULL;
	b->state = IDLE;
	b->next = p->idle;
	b->at = &p->idle;
	if (b->next)
		b->next->at = &b->next;
	p->idle = b;
	p->n_idle++;
	reactor_timer_set(p->reactor, &b->timer, p->opt.idle_ms);
	wants_data(b);
}

static bool may_keep(const struct back *b)
{
	const struct h1_pool *p = b->pool;

	return b->keep && b->request_ended && !b->raw && !b->out.len && !conn_waiting(b->conn) &&
	       !p->opt.preface && !p->freed && p->n_idle < p->opt.idle_max;
}

/* Both directions ended; the response alone is enough but for raw bytes. */
static bool is_finished(const struct back *b)
{
	return b->state == OPEN && b->response_ended &&
	       (!b->raw || (b->request_ended && !b->out.len));
}

static void finished(struct back *b)
{
	bool keep = may_keep(b);

	reactor_timer_stop(b->pool->reactor, &b->timer);
	if (keep) {
		to_pool(b);
	} else if (b->raw) {
		conn_handler(b->conn, &(const struct conn_events){ 0 }, NULL);
		conn_close(b->conn);
		over(b);
	} else {
		conn_abort(b->conn);
		over(b);
	}
	tell_gone(b, END_DONE);
}

static void check_finished(struct back *b)
{
	if (b->state == OPEN && b->raw && b->request_ended && !b->out.len)
		conn_finish(b->conn);
	if (is_finished(b))
		reactor_defer(b->pool->reactor, &b->later);
}

static void on_later(struct reactor_defer *d)
{
	struct back *b = (struct back *)((char *)d - offsetof(struct back, later));

	if (is_finished(b))
		finished(b);
	if (b->state != OVER)
		return;
	tell_gone(b, b->gone_why);
	h1_read_free(b->read);
	h1_out_reset(&b->out);
	reactor_defer_cancel(b->pool->reactor, &b->later);
	pool_leave(b->pool);
	free(b);
}

/* ---- the request ----------------------------------------------------------------------------- */

static int choose(struct back *b, const struct head *h, bool last, struct h1_how *how, char *key)
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

static int put_preface(struct back *b)
{
	uint8_t text[PREFACE_MAX];
	size_t n;

	if (!b->pool->opt.preface)
		return 0;
	n = b->pool->opt.preface(b->pool->opt.arg, &b->end, text, sizeof(text));
	return n > sizeof(text) ? -E2BIG : h1_out_put(&b->out, text, n);
}

static void end_request(struct back *b)
{
	b->request_ended = true;
	check_finished(b);
}

static void answer_timer(struct back *b)
{
	if (b->pool->opt.answer_ms && !b->answered)
		reactor_timer_set(b->pool->reactor, &b->timer, b->pool->opt.answer_ms);
}

static int back_head(struct end *e, const struct head *h, bool last)
{
	struct back *b = of(e);
	struct h1_how how = { .framing = H1_NONE, .length = -1 };
	char key[H1_WS_KEY], *text = h1_out_text();
	size_t n;
	int rc;

	if (b->state == OVER && b->attached)
		return 0; /* `gone` is on its way, and says why */
	if (b->state != OPEN || b->sent || !h->method || !h->authority)
		return -EPIPE;
	rc = choose(b, h, last, &how, key);
	if (rc)
		return rc;
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
	if (last && !b->tunnel)
		end_request(b);
	return 0;
}

static size_t back_data(struct end *e, const void *data, size_t len, bool last)
{
	struct back *b = of(e);
	long n;

	if (b->state != OPEN || !b->sent || b->request_ended)
		return 0;
	if (b->tunnel && !b->raw) { /* not accepted yet */
		b->want_room = true;
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
	struct back *b = of(e);
	int rc;

	if (b->state != OPEN || !b->sent || b->request_ended)
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
	struct back *b = of(e);

	if (b->state != OPEN || !b->untaken)
		return;
	b->untaken -= len < b->untaken ? len : b->untaken;
	if (!b->untaken)
		wants_data(b);
}

static void back_abort(struct end *e, enum end_why why)
{
	struct back *b = of(e);

	b->attached = false;
	if (b->state != OPEN)
		return;
	if (why == END_DONE && b->raw && b->request_ended) /* what still comes is not wanted */
		b->response_ended = true;
	if (why == END_DONE && b->response_ended && (!b->raw || b->request_ended))
		check_finished(b);
	else
		kill_conn(b, why);
}

static const struct end_ops back_ops = {
	.head = back_head,
	.data = back_data,
	.trailers = back_trailers,
	.taken = back_taken,
	.abort = back_abort,
};

/* ---- the response ---------------------------------------------------------------------------- */

/* The connection broke before the response was whole. */
static void lost(struct back *b)
{
	fail(b, !b->began && (b->reused || !b->sent) ? END_REFUSED : END_LOST);
}

static void tell_room(struct back *b)
{
	if (!b->want_room || b->state != OPEN || !b->attached)
		return;
	b->want_room = false;
	if (b->end.on && b->end.on->room)
		b->end.on->room(&b->end, b->end.arg);
}

static void tell_data(struct back *b, const uint8_t *data, size_t len, bool last)
{
	if (b->raw || b->answered)
		b->response_ended = b->response_ended || last;
	if (!b->attached || !b->end.on || !b->end.on->data)
		return;
	b->untaken += len;
	b->end.on->data(&b->end, b->end.arg, data, len, last);
}

static void tell_head(struct back *b, bool last)
{
	b->response_ended = last;
	if (b->attached && b->end.on && b->end.on->head)
		b->end.on->head(&b->end, b->end.arg, b->read->head, last);
}

static void accepted(struct back *b)
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
	tell_room(b);
}

static void got_head(struct back *b)
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
		if (b->state == OPEN)
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

static void got_trailers(struct back *b)
{
	b->response_ended = true;
	if (!b->attached || !b->end.on)
		return;
	if (b->end.on->trailers)
		b->end.on->trailers(&b->end, b->end.arg, b->read->head);
	else if (b->end.on->data)
		b->end.on->data(&b->end, b->end.arg, NULL, 0, true);
}

static size_t read_some(struct back *b, const uint8_t *data, size_t len)
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
	struct back *b = arg;
	size_t used = 0;

	if (b->state == IDLE) /* nobody asked */
		fail(b, END_PROTOCOL);
	else if (b->state == OPEN && !b->sent)
		fail(b, END_REFUSED);
	while (used < len && b->state == OPEN && (b->raw || !b->response_ended)) {
		if (b->raw) {
			tell_data(b, data + used, len - used, false);
			used = len;
		} else {
			used += read_some(b, data + used, len - used);
		}
	}
	if (b->state != OPEN)
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
	return len;
}

/* ---- the conn's other events ----------------------------------------------------------------- */

static void on_ready(struct conn *c, void *arg)
{
	struct back *b = arg;

	(void)c;
	b->ready = true;
}

static void on_eof(struct conn *c, void *arg)
{
	struct back *b = arg;

	(void)c;
	if (b->state == OVER)
		return;
	b->keep = false;
	if (b->state == IDLE) {
		kill_conn(b, END_LOST);
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
	struct back *b = arg;

	(void)c;
	if (b->state != OPEN || !h1_out_flush(&b->out))
		return;
	if (b->request_ended)
		check_finished(b);
	else
		tell_room(b);
}

static void on_closed(struct conn *c, void *arg, int err)
{
	struct back *b = arg;
	enum end_why why = END_LOST;

	(void)c;
	if (b->state == OVER)
		return;
	if (is_finished(b))
		why = END_DONE;
	else if (!b->ready)
		why = err == -ETIMEDOUT ? END_TIMEOUT : err == -EPROTO ? END_PROTOCOL : END_REFUSED;
	else if (!b->began && (b->reused || !b->sent))
		why = END_REFUSED;
	b->gone_why = why;
	over(b);
	tell_gone(b, why);
}

static const struct conn_events back_events = {
	.ready = on_ready,
	.data = on_data,
	.writable = on_writable,
	.eof = on_eof,
	.closed = on_closed,
};

static void on_timer(struct reactor_timer *t)
{
	struct back *b = (struct back *)((char *)t - offsetof(struct back, timer));

	if (b->state == IDLE)
		kill_conn(b, END_DONE);
	else if (b->state == OPEN)
		fail(b, END_TIMEOUT);
}

/* ---- what users call ------------------------------------------------------------------------- */

int h1_pool_new(struct h1_pool **out, struct reactor *r, const struct h1_pool_options *opt)
{
	struct h1_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->reactor = r;
	p->opt = *opt;
	p->users = 1;
	if (!p->opt.idle_max)
		p->opt.idle_max = IDLE_MAX;
	if (!p->opt.idle_ms)
		p->opt.idle_ms = IDLE_MS;
	if (opt->dial.server_name) {
		p->opt.dial.server_name = p->server_name = strdup(opt->dial.server_name);
		if (!p->server_name) {
			free(p);
			return -ENOMEM;
		}
	}
	if (opt->dial.tls)
		SSL_CTX_up_ref(opt->dial.tls);
	*out = p;
	return 0;
}

void h1_pool_free(struct h1_pool *p)
{
	if (!p)
		return;
	p->freed = true;
	while (p->idle)
		kill_conn(p->idle, END_DONE);
	pool_leave(p);
}

static struct back *from_pool(struct h1_pool *p)
{
	struct back *b = p->idle;

	if (!b)
		return NULL;
	pool_unlink(b);
	reactor_timer_stop(p->reactor, &b->timer);
	b->untaken = 0;
	b->interims = 0;
	b->reused = true;
	b->want_room = b->sent = b->answered = b->began = b->tunnel = b->raw = false;
	b->request_ended = b->response_ended = b->keep = false;
	return b;
}

int h1_open(struct h1_pool *p, struct end **back)
{
	struct back *b = from_pool(p);
	int rc;

	if (!b) {
		b = calloc(1, sizeof(*b));
		if (!b)
			return -ENOMEM;
		b->pool = p;
		b->end.ops = &back_ops;
		b->timer.fn = on_timer;
		b->later.fn = on_later;
		rc = conn_dial(&b->conn, p->reactor, &p->opt.dial, &back_events, b);
		if (rc) {
			free(b);
			return rc;
		}
		b->out.conn = b->conn;
		p->users++;
	}
	b->state = OPEN;
	b->attached = true;
	b->end.on = NULL;
	*back = &b->end;
	return 0;
}
