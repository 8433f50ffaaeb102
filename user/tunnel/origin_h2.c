// SPDX-License-Identifier: Apache-2.0
/*
 * origin_h2.c -- HTTP/2 connections to one address of a target: a few, shared by all requests,
 * opened when they are wanted. A request that finds none ready waits for one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/origin.h"

#define PEERS_MAX 8  /* connections to one address */
#define SPREAD	  64 /* requests at once on one before another is opened */
#define IDLE_MS	  60000
#define PING_MS	  10000 /* finds a target that is gone without a word */
#define DEAD_MS	  20000
#define RETRY_MS  50

struct peer {
	struct h2_target *target; /* NULL: let go */
	struct peer *next, **at;
	struct conn *conn; /* until there is h2 */
	struct h2 *h2;
};

struct h2_target {
	struct reactor *r;
	struct h2_target_options opt;
	struct peer *peers;
	size_t npeers, dialling;
	struct target_use *waiting;
	struct reactor_timer retry;
};

/* ---- waiting ---- */

void target_use_wait(struct target_use *use, struct target_use **list)
{
	while (*list) /* in the order in which they came */
		list = &(*list)->next;
	use->err = 0;
	use->next = NULL;
	use->at = list;
	*list = use;
}

void target_use_stop(struct target_use *use)
{
	if (!use->at)
		return;
	*use->at = use->next;
	if (use->next)
		use->next->at = use->at;
	use->next = NULL;
	use->at = NULL;
}

void target_uses_wake(struct target_use **list, int err)
{
	struct target_use *use, *all = *list;

	/* Those that must wait again come back to *list: the old one is emptied first. */
	*list = NULL;
	if (all)
		all->at = &all;
	while ((use = all)) {
		target_use_stop(use);
		use->err = err;
		use->again(use);
	}
}

/* ---- one connection ---- */

static void peer_free(struct peer *p)
{
	if (p->target) {
		*p->at = p->next;
		if (p->next)
			p->next->at = p->at;
		p->target->npeers--;
		p->target->dialling -= !p->h2;
	}
	free(p);
}

static void peer_failed(struct peer *p, int err, const char *why)
{
	struct h2_target *t = p->target;

	p->conn = NULL;
	peer_free(p);
	if (!t)
		return;
	t->opt.failed(t->opt.arg, err, why);
	/* With another connection in reach they go on waiting for that. */
	if (!t->dialling)
		target_uses_wake(&t->waiting, err);
}

static void peer_closed(void *arg, const char *why)
{
	struct peer *p = arg;
	struct h2_target *t = p->target;

	(void)why; /* requests that it took down tell their own */
	peer_free(p);
	if (t && !t->npeers)
		target_uses_wake(&t->waiting, 0);
}

static void peer_goaway(void *arg)
{
	struct peer *p = arg;

	/* It goes on by itself until its last stream has ended. */
	if (p->target) {
		*p->at = p->next;
		if (p->next)
			p->next->at = p->at;
		p->target->npeers--;
		p->target = NULL;
	}
}

static void peer_ready(struct conn *c, void *arg)
{
	struct peer *p = arg;
	struct h2_target *t = p->target;
	const struct h2_options opt = {
		.header_bytes_max = HEAD_BYTES_MAX,
		.ping_ms = PING_MS,
		.dead_ms = DEAD_MS,
		.idle_ms = IDLE_MS,
		.goaway = peer_goaway,
		.closed = peer_closed,
		.arg = p,
	};

	if (!t) {
		conn_abort(c);
		peer_free(p);
		return;
	}
	if (t->opt.dial.tls && strcmp(conn_alpn(c), "h2")) {
		conn_abort(c);
		peer_failed(p, -EPROTO,
			    "it speaks TLS, but not HTTP/2 (no \"h2\" by ALPN); write https:// "
			    "instead of h2://");
		return;
	}
	if (h2_new(&p->h2, c, &opt)) {
		conn_abort(c);
		peer_failed(p, -ENOMEM, "out of memory");
		return;
	}
	p->conn = NULL;
	t->dialling--;
	target_uses_wake(&t->waiting, 0);
}

static void peer_conn_closed(struct conn *c, void *arg, int err)
{
	peer_failed(arg, err ? err : -ECONNRESET, *conn_error(c) ? conn_error(c) : strerror(-err));
}

static const struct conn_events peer_on = { .ready = peer_ready, .closed = peer_conn_closed };

static int peer_dial(struct h2_target *t)
{
	struct peer *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	err = conn_dial(&p->conn, t->r, &t->opt.dial, &peer_on, p);
	if (err) {
		free(p);
		return err;
	}
	p->target = t;
	p->next = t->peers;
	if (p->next)
		p->next->at = &p->next;
	p->at = &t->peers;
	t->peers = p;
	t->npeers++;
	t->dialling++;
	return 0;
}

/* ---- opening ---- */

static struct peer *least_busy(const struct h2_target *t)
{
	struct peer *best = NULL;

	for (struct peer *p = t->peers; p; p = p->next)
		if (p->h2 && h2_can_open(p->h2) &&
		    (!best || h2_streams(p->h2) < h2_streams(best->h2)))
			best = p;
	return best;
}

/* Streams become free without a word: those that wait look again soon. */
static void on_retry(struct reactor_timer *timer)
{
	struct h2_target *t =
		(struct h2_target *)((char *)timer - offsetof(struct h2_target, retry));

	target_uses_wake(&t->waiting, 0);
}

static int wait_soon(struct h2_target *t, struct target_use *use)
{
	if (!t->dialling)
		reactor_timer_set(t->r, &t->retry, RETRY_MS);
	target_use_wait(use, &t->waiting);
	return -EAGAIN;
}

int h2_target_open(struct h2_target *t, struct target_use *use, struct end **back)
{
	struct peer *p;
	int err = use->err;

	use->err = 0;
	if (err)
		return err;
	p = least_busy(t);
	if (p && use->websocket && !h2_peer_settled(p->h2)) /* it is about to say what it can */
		return wait_soon(t, use);
	if (p && use->websocket && !h2_peer_connects(p->h2))
		return -EOPNOTSUPP;
	if (!t->dialling && t->npeers < PEERS_MAX && (!p || h2_streams(p->h2) >= SPREAD))
		err = peer_dial(t);
	if (p)
		return h2_open(p->h2, back);
	if (err)
		return err;
	return wait_soon(t, use);
}

int h2_target_new(struct h2_target **out, struct reactor *r, const struct h2_target_options *opt)
{
	struct h2_target *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->r = r;
	t->opt = *opt;
	t->retry.fn = on_retry;
	*out = t;
	return 0;
}

void h2_target_free(struct h2_target *t, struct target_use **list)
{
	struct target_use *use;
	struct peer *p;

	if (!t)
		return;
	reactor_timer_stop(t->r, &t->retry);
	while ((use = t->waiting)) {
		target_use_stop(use);
		target_use_wait(use, list);
	}
	while ((p = t->peers)) {
		t->peers = p->next;
		p->target = NULL;
		if (p->h2) {
			h2_drain(p->h2);
		} else {
			conn_abort(p->conn);
			free(p);
		}
	}
	free(t);
}
