// SPDX-License-Identifier: Apache-2.0
/*
 * h1_pool.c -- the connections to one address that HTTP/1's client keeps: the last used is the
 * first taken, so that the others can end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/h1_back.h"

#define IDLE_MAX 32
#define IDLE_MS	 30000

static void pool_leave(struct h1_pool *p)
{
	if (--p->users)
		return;
	SSL_CTX_free(p->opt.dial.tls);
	free(p->server_name);
	free(p);
}

static void pool_unlink(struct h1_back *b)
{
	if (!b->at)
		return;
	*b->at = b->next;
	if (b->next)
		b->next->at = b->at;
	b->at = NULL;
	b->pool->n_idle--;
}

void h1_back_over(struct h1_back *b)
{
	pool_unlink(b);
	b->state = BACK_OVER;
	b->conn = NULL;
	reactor_timer_stop(b->pool->reactor, &b->timer);
	reactor_defer(b->pool->reactor, &b->later);
}

void h1_back_close(struct h1_back *b)
{
	static const struct conn_events nobody;

	conn_handler(b->conn, &nobody, NULL);
	conn_close(b->conn);
	h1_back_over(b);
}

void h1_back_free(struct h1_back *b)
{
	h1_read_free(b->read);
	h1_out_reset(&b->out);
	reactor_defer_cancel(b->pool->reactor, &b->later);
	pool_leave(b->pool);
	free(b);
}

bool h1_pool_wants(const struct h1_pool *p)
{
	return !p->opt.preface && !p->freed && p->n_idle < p->opt.idle_max;
}

void h1_pool_keep(struct h1_back *b)
{
	struct h1_pool *p = b->pool;

	h1_read_free(b->read);
	b->read = NULL;
	b->state = BACK_IDLE;
	b->next = p->idle;
	b->at = &p->idle;
	if (b->next)
		b->next->at = &b->next;
	p->idle = b;
	p->n_idle++;
	reactor_timer_set(p->reactor, &b->timer, p->opt.idle_ms);
	if (b->paused)
		conn_resume(b->conn);
	b->paused = false;
}

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
		h1_back_close(p->idle);
	pool_leave(p);
}

static struct h1_back *from_pool(struct h1_pool *p)
{
	struct h1_back *b = p->idle;

	if (!b)
		return NULL;
	pool_unlink(b);
	reactor_timer_stop(p->reactor, &b->timer);
	b->untaken = 0;
	b->interims = 0;
	b->reused = true;
	b->want_room = b->sent = b->answered = b->began = b->tunnel = b->raw = false;
	b->end_owed = false;
	b->request_ended = b->response_ended = b->keep = false;
	return b;
}

int h1_open(struct h1_pool *p, struct end **back)
{
	struct h1_back *b = from_pool(p);
	int rc;

	if (!b) {
		b = calloc(1, sizeof(*b));
		if (!b)
			return -ENOMEM;
		b->pool = p;
		b->end.ops = &h1_back_ops;
		b->timer.fn = h1_back_timer;
		b->later.fn = h1_back_later;
		rc = conn_dial(&b->conn, p->reactor, &p->opt.dial, &h1_back_events, b);
		if (rc) {
			free(b);
			return rc;
		}
		b->out.conn = b->conn;
		p->users++;
	}
	b->state = BACK_OPEN;
	b->attached = true;
	b->end.on = NULL;
	*back = &b->end;
	return 0;
}
