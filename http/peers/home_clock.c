/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home_clock.c -- the table of this gateway's viewers: what time does to them, and what owners are told again.
 */
#include <stdlib.h>

#include "http/peers/home_int.h"

#define SIGN_MS	       10000 /* of life, on streams */
#define SWEEP_AT_ONCE  256  /* who leave; and … */
#define SWEEP_BUCKETS  1024 /* … how much is looked at, before others get the lock */
#define RETOLD_AT_ONCE 1024
#define AGAIN_MS       2000 /* between two times that an owner asks for one viewer */

/* ---- the clock ---- */

static bool is_gone(const struct viewer *v, int64_t now_ms)
{
	/* One whom the owner closed is kept, and so refused, here and there, for as long as its token is good. */
	return !v->sockets && now_ms - v->seen_ms > HOME_GRACE_MS && (!v->excluded || v->over);
}

static void sweep_viewer(struct home *h, struct viewer *v, int64_t now_ms, int64_t now_unix_s, bool sign)
{
	/* A stream whose client vanished is noticed late: it counts only for one that never had a socket, or reports. */
	if (v->sockets || (v->stream && !v->had_socket))
		v->seen_ms = v->excluded || v->over ? v->seen_ms : now_ms;
	if (!v->over && v->expires <= now_unix_s) {
		v->over = true;
		viewer_close(v, "the session is over: open another one");
	}
	if (v->barred_until && now_ms >= v->barred_until) {
		v->barred_until = 0;
		v->again = !v->excluded;
		h->asked++;
	}
	if (sign && v->stream)
		v->stream->push(v->stream, ":\n\n", 3);
}

/* Removes it if it is still gone; the owner hears it. */
static void leave(struct home *h, const char *id, int64_t now_ms)
{
	pthread_mutex_t *order = order_of(h, id);
	struct viewer **at, *v;

	pthread_mutex_lock(order);
	lock(h);
	at = viewer_at(h, id);
	v = *at;
	if (v && is_gone(v, now_ms)) {
		*at = v->next;
		h->nviewers--;
		address_remove(h, v->address);
		viewer_close(v, "");
	} else {
		v = NULL;
	}
	unlock(h);
	if (v)
		h->opt.up(h->opt.arg, UP_LEAVE, v->id, v->asset, "");
	pthread_mutex_unlock(order);
	viewer_free(v);
}

void home_sweep(struct home *h, int64_t now_ms, int64_t now_unix_s)
{
	char ids[SWEEP_AT_ONCE][PEERS_VIEWER_LEN + 1];
	size_t at = 0, end, n;
	bool sign;

	lock(h);
	sign = now_ms - h->signed_ms >= SIGN_MS;
	h->signed_ms = sign ? now_ms : h->signed_ms;
	unlock(h);
	/* in parts, each with the lock, between which others get it */
	for (; at < BUCKETS; at = end) {
		lock(h);
		for (n = 0, end = at; end < BUCKETS && end < at + SWEEP_BUCKETS && n < SWEEP_AT_ONCE; end++)
			for (struct viewer *v = h->viewers[end]; v; v = v->next) {
				sweep_viewer(h, v, now_ms, now_unix_s, sign);
				if (is_gone(v, now_ms) && n < SWEEP_AT_ONCE)
					memcpy(ids[n++], v->id, sizeof(v->id));
			}
		unlock(h);
		end -= n == SWEEP_AT_ONCE; /* there may be more in the last */
		for (size_t i = 0; i < n; i++)
			leave(h, ids[i], now_ms);
	}
}

/* ---- owners who must be told (again) ---- */

void viewer_announced(struct viewer *v, struct home_announce *a)
{
	unsigned int i = 0;

	if (!a->brief)
		return;
	/* briefs of one swarm begin alike */
	while (i < v->nannounces && strncmp(v->announces[i], a->brief, a->swarm_len))
		i++;
	if (i < v->nannounces)
		free(v->announces[i]);
	if (a->stopped) {
		free(a->brief);
		if (i < v->nannounces)
			v->announces[i] = v->announces[--v->nannounces];
		return;
	}
	if (i == HOME_SWARMS) {
		free(v->announces[0]);
		memmove(&v->announces[0], &v->announces[1], (HOME_SWARMS - 1) * sizeof(v->announces[0]));
		i = HOME_SWARMS - 1;
	} else if (i == v->nannounces) {
		v->nannounces++;
	}
	v->announces[i] = a->brief;
}

struct retold {
	char *asset, *facts, *report, *announces[HOME_SWARMS];
	unsigned int nannounces;
};

static void retold_take(struct retold *out, const struct viewer *v)
{
	out->asset = strdup(v->asset);
	out->facts = viewer_facts(v);
	if (v->excluded)
		return; /* that is all that counts of it */
	out->report = v->report ? strdup(v->report) : NULL;
	for (; out->nannounces < v->nannounces; out->nannounces++)
		out->announces[out->nannounces] = strdup(v->announces[out->nannounces]);
}

/* Tells its owner all that is known of it. asked: by the owner, who does not know it; else only an owner who is another. */
static void retell(struct home *h, const char *id, bool asked, int64_t now_ms)
{
	pthread_mutex_t *order = order_of(h, id);
	struct retold what = { 0 };
	struct viewer *v;
	uint64_t owner;

	pthread_mutex_lock(order);
	lock(h);
	v = *viewer_at(h, id);
	owner = v && h->opt.owner ? h->opt.owner(h->opt.arg, v->asset) : 0;
	if (v && (asked ? v->again : owner != v->owner || !h->opt.owner)) {
		v->owner = owner;
		v->again = false;
		v->retold_ms = now_ms;
		retold_take(&what, v);
	}
	unlock(h);
	if (what.asset && what.facts)
		h->opt.up(h->opt.arg, UP_JOIN, id, what.asset, what.facts);
	if (what.asset && what.facts && what.report)
		h->opt.up(h->opt.arg, UP_REPORT, id, what.asset, what.report);
	for (unsigned int i = 0; i < what.nannounces; i++) {
		if (what.asset && what.facts && what.announces[i])
			h->opt.up(h->opt.arg, UP_TRACK, id, what.asset, what.announces[i]);
		free(what.announces[i]);
	}
	pthread_mutex_unlock(order);
	free(what.asset);
	free(what.facts);
	free(what.report);
}

void home_retell(struct home *h, int64_t now_ms)
{
	char (*ids)[PEERS_VIEWER_LEN + 1];
	size_t n = 0;

	lock(h);
	ids = calloc(h->nviewers + 1, sizeof(*ids));
	for (size_t i = 0; ids && i < BUCKETS; i++)
		for (const struct viewer *v = h->viewers[i]; v; v = v->next)
			memcpy(ids[n++], v->id, sizeof(v->id));
	unlock(h);
	for (size_t i = 0; i < n; i++)
		retell(h, ids[i], false, now_ms);
	free(ids);
}

void home_again(struct home *h, const char *viewer)
{
	struct viewer *v;

	lock(h);
	v = *viewer_at(h, viewer);
	if (v && !v->excluded) {
		v->again = true;
		h->asked++;
	}
	unlock(h);
}

void home_retell_asked(struct home *h, int64_t now_ms)
{
	char ids[RETOLD_AT_ONCE][PEERS_VIEWER_LEN + 1];
	size_t n = 0;

	lock(h);
	/* an owner who has no room for one would ask for it with each report */
	for (size_t i = 0; h->asked && i < BUCKETS; i++)
		for (const struct viewer *v = h->viewers[i]; v; v = v->next)
			if (v->again && now_ms - v->retold_ms >= AGAIN_MS && n < RETOLD_AT_ONCE)
				memcpy(ids[n++], v->id, sizeof(v->id));
	if (!n)
		h->asked = 0; /* who waits asks again */
	unlock(h);
	for (size_t i = 0; i < n; i++)
		retell(h, ids[i], true, now_ms);
}

void home_end(struct home *h)
{
	lock(h);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct viewer *v = h->viewers[i]; v; v = v->next)
			viewer_close(v, "the gateway stops");
	unlock(h);
}

void home_counts(struct home *h, struct home_counts *out)
{
	*out = (struct home_counts){ 0 };
	lock(h);
	out->viewers = h->nviewers;
	for (size_t i = 0; i < BUCKETS; i++)
		for (const struct viewer *v = h->viewers[i]; v; v = v->next) {
			out->sockets += v->nsockets;
			out->streams += v->stream != NULL;
		}
	unlock(h);
}
