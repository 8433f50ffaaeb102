/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instruct.c -- what each viewer is told (record.h): complete in itself, when something of it changed, when it asks, and
 * before the last one ends.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "http/peers/record.h"
#include "lib/hash.h"

#define UNTIL_MS   60000 /* an instruction holds so long, and up to a quarter more, so that not all end at once */
#define REFRESH_MS 20000 /* before its end */
#define CAP_NONE   125e6f /* bytes/s: 1 Gbit/s, more than any report is believed */
#define TEXT_MAX   (2 * RECORD_LINKS * (TRACKER_ID_TEXT_MAX + 3) + RECORD_HOLD * 36 + 2048)

static const char *const roles[] = { "alone", "first", "second" };
static const char *const sources[] = { "both", "server", "peers" };

enum group_role instruct_role(const struct viewer *v)
{
	const struct asset *a = v->asset;

	if (v->at == GROUP_NONE || v->at >= a->nedged || v->excluded || a->sense.mode == SENSE_OFF ||
	    a->plan[v->at].grouping == GROUP_NONE)
		return GROUP_ALONE;
	return a->plan[v->at].role;
}

static bool linked(const struct viewer *v)
{
	for (const struct present *p = v->presents; p; p = p->next)
		for (uint32_t i = 0; i < p->nlinks; i++)
			if (p->links[i].answered && (p->links[i].connected || !p->links[i].checked_ms))
				return true;
	return false;
}

enum instruct_source instruct_source(const struct viewer *v)
{
	switch (instruct_role(v)) {
	case GROUP_ALONE:
		return SOURCE_SERVER;
	case GROUP_FIRST:
		return v->asset->sense.state == SENSE_OUTAGE ? SOURCE_PEERS : SOURCE_BOTH;
	case GROUP_SECOND:
		break;
	}
	if (v->asset->sense.state == SENSE_CALM)
		return SOURCE_BOTH;
	/* a strained server still is better than nobody */
	return v->asset->sense.state == SENSE_STRAINED && !linked(v) ? SOURCE_BOTH : SOURCE_PEERS;
}

struct lists {
	const struct present *share[RECORD_LINKS], *from[RECORD_LINKS];
	size_t nshare, nfrom;
};

static bool helps(const struct asset *a, uint32_t who, uint32_t whom)
{
	const struct group_viewer *g = &a->plan[whom];

	for (uint8_t h = 0; h < g->nhelpers; h++)
		if (g->helper[h] == who)
			return true;
	return false;
}

/* Whom it may give to and have from: of its grouping alone, and only who consented. */
static void lists_of(const struct coordinator *c, const struct viewer *v, struct lists *out)
{
	const struct asset *a = v->asset;

	out->nshare = out->nfrom = 0;
	if (instruct_role(v) == GROUP_ALONE)
		return;
	for (uint32_t e = a->edge_at[v->at]; e < a->edge_at[v->at + 1]; e++) {
		const struct viewer *w = a->members[a->edges[e]];

		if (!w || !tracker_may_meet(c, v, w))
			continue;
		for (const struct present *p = v->presents; p; p = p->next) {
			const struct present *q = tracker_present(w, p->swarm);

			if (q && helps(a, v->at, w->at) && record_may_upload(c, v) && out->nshare < RECORD_LINKS)
				out->share[out->nshare++] = q;
			if (q && helps(a, w->at, v->at) && record_may_upload(c, w) && out->nfrom < RECORD_LINKS)
				out->from[out->nfrom++] = q;
		}
	}
}

/* Bytes/s that it may upload. Nobody knows what one can that was never measured, and under the cap of the little that is
 * assumed of it nobody ever would: the plan gives it few to feed, and it feeds them as it can. */
static float cap_of(const struct coordinator *c, const struct viewer *v)
{
	float cap = instruct_role(v) != GROUP_ALONE && record_may_upload(c, v) ? v->asset->plan[v->at].cap : 0;

	return cap > 0 && !v->measured ? CAP_NONE : cap;
}

/* Upload caps in steps of a fifth: less is not worth a message. */
static uint32_t cap_step(float cap)
{
	return cap > 1 ? (uint32_t)(log2f(cap) * 4) : 0;
}

static uint64_t digest(const struct coordinator *c, const struct viewer *v, const struct lists *l)
{
	const struct asset *a = v->asset;
	enum group_role role = instruct_role(v);
	uint64_t sum[10] = { a->sense.state,
			     a->sense.mode == SENSE_OFF,
			     role,
			     instruct_source(v),
			     role == GROUP_ALONE ? 0 : a->plan[v->at].grouping,
			     cap_step(cap_of(c, v)),
			     record_may_upload(c, v),
			     v->excluded | v->receive << 1,
			     v->hold_version,
			     v->rendition };
	uint64_t h = hash64(sum, sizeof(sum), 0);

	for (size_t i = 0; i < l->nshare; i++)
		h += hash64(l->share[i]->peer_id, TRACKER_ID_LEN, 1);
	for (size_t i = 0; i < l->nfrom; i++)
		h += hash64(l->from[i]->peer_id, TRACKER_ID_LEN, 2);
	return h ? h : 1;
}

/* ---- written by hand: thousands at once when the state changes ---- */
struct text {
	char at[TEXT_MAX];
	size_t n;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->at + t->n, TEXT_MAX - t->n, fmt, ap);
	va_end(ap);
	t->n = n < 0 || t->n + (size_t)n >= TEXT_MAX ? TEXT_MAX - 1 : t->n + (size_t)n;
}

static void put_ids(struct text *t, const char *key, const struct present *const *list, size_t n)
{
	char id[TRACKER_ID_TEXT_MAX];

	put(t, ",\"%s\":[", key);
	for (size_t i = 0; i < n; i++)
		put(t, "%s\"%s\"", i ? "," : "", tracker_id_text(id, list[i]->peer_id));
	put(t, "]");
}

static void put_hold(struct text *t, const struct viewer *v)
{
	put(t, ",\"hold\":[");
	for (uint8_t i = 0; instruct_role(v) == GROUP_FIRST && i < v->nhold; i++)
		put(t, "%s[%u,%u,%u]", i ? "," : "", v->rendition, v->hold[i].first, v->hold[i].last);
	put(t, "]");
}

static void instruct(struct coordinator *c, struct viewer *v, int64_t now, const struct lists *l, struct settings_cache *cache)
{
	const struct asset *a = v->asset;
	enum group_role role = instruct_role(v);
	const struct group_viewer *g = role == GROUP_ALONE ? NULL : &a->plan[v->at];
	struct text t;

	t.n = 0;
	v->told_until = now + UNTIL_MS + (int64_t)(v->number % (UNTIL_MS / 4));
	put(&t, "{\"v\":1,\"seq\":%u,\"epoch\":%lld,\"viewer\":\"%s\",\"state\":\"%s\",\"role\":\"%s\",\"source\":\"%s\",\"group\":%u", ++v->seq,
	    (long long)v->epoch, v->id, sense_names[a->sense.state], roles[role], sources[instruct_source(v)], g ? g->grouping : 0);
	put_hold(&t, v);
	put_ids(&t, "share", l->share, l->nshare);
	put_ids(&t, "from", l->from, l->nfrom);
	put(&t, ",\"cap\":%.0f,\"until\":%lld,\"report\":%u,\"settings\":%s}", (double)cap_of(c, v),
	    (long long)v->told_until, a->report_ms, instruct_settings(c, v, cache));
	if (t.n < TEXT_MAX - 1) /* cannot be: the parts are bounded */
		coordinator_say(c, v->home, DOWN_INSTRUCT, v->id, strdup(t.at));
	c->counts.instructions++;
}

/* Tells it when there is something to tell. */
static void look(struct coordinator *c, struct viewer *v, int64_t now, struct settings_cache *cache)
{
	bool end = now > v->told_until - REFRESH_MS;
	struct lists l;
	uint64_t sum;

	if ((!v->stale && !v->resync && !end) || now < v->quiet_until)
		return;
	lists_of(c, v, &l);
	sum = digest(c, v, &l);
	if (v->resync || end || sum != v->told) {
		if (now - v->heard_ms <= SILENT_BLIND_MS)
			instruct(c, v, now, &l, cache);
		else /* nobody is there to hear it */
			v->told_until = now + UNTIL_MS;
		v->told = sum;
	}
	v->stale = v->resync = v->orphan = false;
}

bool instruct_asset(struct coordinator *c, struct asset *a, int64_t now, double budget_s)
{
	struct settings_cache cache = { 0 };
	double began = coordinator_clock();
	bool more = false;

	for (uint32_t n = 0; a->told_next < 2 * a->nviewers && !more; n++) {
		uint32_t at = a->told_next++;
		struct viewer *v = a->viewers[at % a->nviewers];

		if (at >= a->nviewers || v->orphan)
			look(c, v, now, &cache);
		more = n % 64 == 63 && coordinator_clock() - began > budget_s;
	}
	if (!more)
		a->told_next = 0;
	instruct_settings_done(&cache);
	return more;
}
