/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_list.c -- each tunnel's origins and connections at this edge, the attachment that says so
 * in the registry, and requests that wait for an origin to come back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/tunnel/attach.h"

#define EXPECT_MS   5000  /* a lost origin comes back within */
#define REMEMBER_MS 60000 /* what was learned of an origin process that has gone */

/* ---- the tunnels' lists ---- */

struct attached *attached_of(struct attach *a, struct edge_tunnel *t, bool make)
{
	struct attached *to = t->origins;
	const char *name = t->t.name;

	if (to || !make)
		return to;
	to = calloc(1, sizeof(*to));
	if (!to)
		return NULL;
	to->t = t;
	to->rtt = metric_series(a->metric_rtt, name, NULL);
	to->connections = metric_series(a->metric_connections, name, NULL);
	to->processes = metric_series(a->metric_processes, name, NULL);
	to->reconnects = metric_series(a->metric_reconnects, name, NULL);
	to->next = a->tunnels;
	a->tunnels = to;
	t->origins = to;
	return to;
}

void origin_release(struct origin *o)
{
	if (o->orphan && !o->pick.open)
		free(o);
}

static struct origin *origin_of(struct attached *to, const char *id)
{
	struct origin *o;

	for (o = to->origins; o; o = o->next)
		if (!strcmp(o->id, id))
			return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	snprintf(o->id, sizeof(o->id), "%s", id);
	o->pick.weight = 1;
	o->next = to->origins;
	to->origins = o;
	return o;
}

static int make_room(struct attached *to)
{
	size_t room = to->room ? to->room * 2 : 8;
	struct oconn **conns;
	struct pick_conn **picks;

	if (to->n < to->room)
		return 0;
	conns = reallocarray(to->conns, room, sizeof(struct oconn *));
	if (conns)
		to->conns = conns;
	picks = reallocarray(to->picks, room, sizeof(struct pick_conn *));
	if (picks)
		to->picks = picks;
	if (!conns || !picks)
		return -ENOMEM;
	to->room = room;
	return 0;
}

size_t attached_origins(const struct attached *to, struct pick_origin *out[ATTACHED_LEARN_MAX])
{
	size_t n = 0;

	for (struct origin *o = to->origins; o && n < ATTACHED_LEARN_MAX; o = o->next)
		if (o->conns)
			out[n++] = &o->pick;
	return n;
}

int attached_add(struct attached *to, struct oconn *oc, const char *origin_id)
{
	struct attach *a = oc->a;
	struct origin *o = origin_of(to, origin_id);
	struct pick_origin *others[ATTACHED_LEARN_MAX];
	char from[ADDR_PORT_STRLEN];

	if (!o || make_room(to))
		return -ENOMEM;
	if (!o->conns && o->left_ms)
		metric_inc(to->reconnects, 1);
	if (!o->conns)
		pick_join(&o->pick, others, attached_origins(to, others));
	o->conns++;
	oc->t = to->t;
	oc->origin = o;
	oc->pick.origin = &o->pick;
	to->conns[to->n] = oc;
	to->picks[to->n++] = &oc->pick;
	to->back_ms = 0;
	a->nwaiting--;
	log_info("origin %s at %s is attached to tunnel %s", o->id,
		 addr_port_format(&oc->peer, from, sizeof(from)), oc->tunnel);
	attached_tell(a, to, true);
	attached_wake(a, to, true);
	return 0;
}

void attached_expect(struct attach *a, struct attached *to)
{
	to->back_ms = reactor_now_ms(a->edge->reactor);
}

void attached_remove(struct attached *to, struct oconn *oc)
{
	struct attach *a = oc->a;
	uint64_t now = reactor_now_ms(a->edge->reactor);
	size_t i = 0;

	while (i < to->n && to->conns[i] != oc)
		i++;
	if (i < to->n) {
		to->n--;
		to->conns[i] = to->conns[to->n];
		to->picks[i] = to->picks[to->n];
	}
	if (to->refused == &oc->pick)
		to->refused = NULL;
	if (oc->state == OCONN_ATTACHED)
		to->left_ms = now; /* lost: it is likely to come back */
	if (!--oc->origin->conns)
		oc->origin->left_ms = now;
	attached_tell(a, to, true);
}

void attached_forget(struct attached **at, uint64_t now)
{
	struct attached *to = *at;
	struct origin **op = &to->origins, *o;

	while ((o = *op)) {
		if (o->conns || o->pick.open || (!to->t->gone && now - o->left_ms < REMEMBER_MS)) {
			op = &o->next;
			continue;
		}
		*op = o->next;
		free(o);
	}
	if (to->origins || to->n || to->waiters || to->told.there)
		return;
	*at = to->next;
	to->t->origins = NULL;
	metric_set(to->rtt, 0);
	metric_set(to->connections, 0);
	metric_set(to->processes, 0);
	free(to->conns);
	free(to->picks);
	free(to);
}

/* ---- the attachment in the registry ---- */

struct attached_count attached_count(const struct attached *to)
{
	struct attached_count c = { 0 };

	for (const struct origin *o = to->origins; o; o = o->next) {
		bool any = false;

		for (size_t i = 0; i < to->n; i++) {
			const struct oconn *oc = to->conns[i];

			if (oc->origin != o || oc->state != OCONN_ATTACHED)
				continue;
			any = true;
			c.connections++;
			if (oc->pick.rtt_us && (!c.rtt_us || oc->pick.rtt_us < c.rtt_us))
				c.rtt_us = oc->pick.rtt_us;
		}
		c.origins += any;
	}
	return c;
}

static void write_attachment(struct attach *a, struct attached *to)
{
	const struct conf *conf = a->edge->d->conf;
	char key[sizeof(REG_ATTACHMENTS) + TUNNEL_NAME_MAX + CONF_NAME_MAX];
	struct attachment at = { .generation = to->told.generation,
				 .connections = to->told.connections,
				 .origins = to->told.origins,
				 .rtt_us = to->told.rtt_us };
	char *value = NULL;

	snprintf(key, sizeof(key), REG_ATTACHMENTS "%s/%s", to->t->t.name, conf->node);
	if (to->told.there) {
		snprintf(at.tunnel, sizeof(at.tunnel), "%s", to->t->t.name);
		snprintf(at.edge, sizeof(at.edge), "%s", conf->node);
		edge_addresses(conf, &at.address, &at.address6);
		value = attachment_format(&at);
		if (!value)
			return;
	}
	leased_put(a->edge->leased, key, value);
	free(value);
}

void attached_tell(struct attach *a, struct attached *to, bool now)
{
	struct attached_count c = attached_count(to);
	/* Of an origin that is being restarted nobody else hears: requests wait for it here. */
	bool back = to->back_ms && reactor_now_ms(a->edge->reactor) - to->back_ms < EXPECT_MS;
	bool there = (c.connections || back) && !a->draining && !to->t->gone;
	uint32_t rtt = pick_rtt_step(to->told.rtt_us, c.rtt_us);
	bool changed =
		there != to->told.there || (there && to->told.generation != to->t->t.generation);

	if (back && !c.connections)
		c = (struct attached_count){ to->told.connections, to->told.origins, 0 };

	/* numbers alone can wait for the next second */
	if (!now && there)
		changed |= c.connections != to->told.connections || c.origins != to->told.origins ||
			   rtt != to->told.rtt_us;
	if (!changed)
		return;
	to->told.there = there;
	to->told.generation = to->t->t.generation;
	to->told.connections = c.connections;
	to->told.origins = c.origins;
	to->told.rtt_us = there ? rtt : 0;
	write_attachment(a, to);
}

/* ---- waiting for an origin ---- */

void attach_wait_stop(struct attach *a, struct attach_waiter *w)
{
	reactor_timer_stop(a->edge->reactor, &w->timer);
	if (!w->at)
		return;
	*w->at = w->next;
	if (w->next)
		w->next->at = w->at;
	w->at = NULL;
}

/* The timer has no way to its attach: the waiter only leaves its list. */
static void on_wait_over(struct reactor_timer *timer)
{
	struct attach_waiter *w =
		(struct attach_waiter *)((char *)timer - offsetof(struct attach_waiter, timer));

	if (w->at) {
		*w->at = w->next;
		if (w->next)
			w->next->at = w->at;
		w->at = NULL;
	}
	w->fn(w, false);
}

void attach_wait(struct attach *a, struct edge_tunnel *t, unsigned int ms, struct attach_waiter *w)
{
	struct attached *to = attached_of(a, t, true);

	w->t = t;
	w->at = NULL;
	w->next = NULL;
	w->timer = (struct reactor_timer){ .fn = on_wait_over };
	reactor_timer_set(a->edge->reactor, &w->timer, to ? ms : 0);
	if (!to)
		return;
	w->next = to->waiters;
	w->at = &to->waiters;
	if (w->next)
		w->next->at = &w->next;
	to->waiters = w;
}

void attached_wake(struct attach *a, struct attached *to, bool attached)
{
	struct attach_waiter *mine = to->waiters, *w;

	/* those that begin to wait meanwhile are not woken again */
	to->waiters = NULL;
	if (mine)
		mine->at = &mine;
	while ((w = mine)) {
		attach_wait_stop(a, w);
		w->fn(w, attached);
	}
}

bool attach_expected(struct attach *a, struct edge_tunnel *t)
{
	struct attached *to = attached_of(a, t, false);
	uint64_t now = reactor_now_ms(a->edge->reactor);

	if (a->draining || t->gone)
		return false;
	if (now - a->opened_ms < EXPECT_MS)
		return true;
	if (to && to->back_ms && now - to->back_ms < EXPECT_MS)
		return true;
	return to && to->left_ms && now - to->left_ms < EXPECT_MS;
}

/* ---- status ---- */

json_t *attach_status(struct attach *a, struct edge_tunnel *t)
{
	struct attached *to = attached_of(a, t, false);
	json_t *list = json_array();

	for (const struct origin *o = to ? to->origins : NULL; o; o = o->next) {
		json_t *from = json_array();
		uint32_t rtt = 0;

		for (size_t i = 0; i < to->n; i++) {
			const struct oconn *oc = to->conns[i];
			char text[ADDR_PORT_STRLEN];

			if (oc->origin != o)
				continue;
			if (oc->pick.rtt_us && (!rtt || oc->pick.rtt_us < rtt))
				rtt = oc->pick.rtt_us;
			json_array_append_new(
				from, json_string(addr_port_format(&oc->peer, text, sizeof(text))));
		}
		json_array_append_new(list, json_pack("{s:s,s:i,s:f,s:i,s:f,s:I,s:I,s:f,s:i,s:o}",
						      "origin", o->id, "connections", (int)o->conns,
						      "rtt_ms", rtt / 1000.0, "open",
						      (int)o->pick.open, "weight", o->pick.weight,
						      "requests", (json_int_t)o->requests, "failed",
						      (json_int_t)o->failed, "cpu", o->cpu,
						      "inflight", (int)o->inflight, "from", from));
	}
	return list;
}
