/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instruct_hold.c -- who of a first group holds what (record.h): the segments that the grouping's viewers will play in
 * the next `ahead`, dealt out as group_portion() says. A window moves with its viewers, one segment at a time; by rendezvous
 * only those who got the new segment hear of it.
 */
#include <stdlib.h>
#include <string.h>

#include "http/peers/media.h"
#include "http/peers/record.h"
#include "lib/hash.h"

#define WINDOWS	     6	 /* apart from each other: viewers at very different places */
#define SEGMENTS_MAX 240 /* of all windows */
#define SUPPLIED_MAX 128 /* segments of one viewer's window that are looked at */
#define LOOK_MS      1000 /* between two looks at a grouping */

struct window {
	uint32_t first, last;
};

static int by_first(const void *x, const void *y)
{
	const struct window *a = x, *b = y;

	return a->first < b->first ? -1 : a->first > b->first;
}

/* The segment that begins ahead_ms after the given one. */
static uint32_t segment_after(const struct media_rendition *r, uint32_t n, uint32_t ahead_ms)
{
	uint32_t i = n - r->segments[0].n, ms = 0;

	while (i + 1 < r->nsegments && ms < ahead_ms)
		ms += r->segments[i++].duration_ms;
	return r->segments[i].n;
}

/* All of it is held by enough of the first group already: by those who are ahead, as a rule. Where there are several networks
 * that is said in two of them: else two who only claim to have everything would keep all others from holding anything. */
static bool supplied(const struct coordinator *c, const struct asset *a, const struct grouping *g, uint16_t rendition,
		     const struct window *w)
{
	uint16_t held[SUPPLIED_MAX] = { 0 };
	const struct prefix *by[SUPPLIED_MAX], *any = NULL;
	bool both[SUPPLIED_MAX] = { false }, mixed = false;
	uint32_t n = w->last - w->first + 1;

	if (n > SUPPLIED_MAX)
		return false;
	for (uint32_t i = 0; i < g->n; i++) {
		uint32_t at = a->order[g->first + i];
		const struct viewer *v = a->plan[at].role == GROUP_FIRST ? a->members[at] : NULL;

		if (!v)
			continue;
		any = any ? any : v->prefix;
		mixed |= v->prefix != any;
		for (uint16_t k = 0; k < v->nhave; k++) {
			const struct viewer_range *h = &v->have[k];
			uint32_t first = h->first > w->first ? h->first : w->first, last = h->last < w->last ? h->last : w->last;

			for (uint32_t s = first; h->r == rendition && s <= last; s++) {
				if (!held[s - w->first]++)
					by[s - w->first] = v->prefix;
				both[s - w->first] |= by[s - w->first] != v->prefix;
			}
		}
	}
	for (uint32_t s = 0; s < n; s++)
		if (held[s] < c->opt.copies || (mixed && c->opt.copies > 1 && !both[s]))
			return false;
	return true;
}

/* What the grouping's viewers will play and too few hold, as windows that do not touch. How many. */
static size_t windows_of(const struct coordinator *c, const struct asset *a, const struct grouping *g,
			 const struct media_rendition *r, struct window out[WINDOWS])
{
	struct window *all = malloc(g->n * sizeof(*all));
	uint32_t first = r->segments[0].n, last = r->segments[r->nsegments - 1].n, room = SEGMENTS_MAX;
	size_t n = 0, kept = 0;

	for (uint32_t i = 0; all && i < g->n; i++) {
		const struct viewer *v = a->members[a->order[g->first + i]];

		if (!v || !v->reported_ms || v->segment < first || v->segment > last)
			continue;
		all[n] = (struct window){ v->segment, segment_after(r, v->segment, c->opt.ahead_ms) };
		n += !supplied(c, a, g, v->rendition, &all[n]);
	}
	if (n)
		qsort(all, n, sizeof(*all), by_first);
	for (size_t i = 0; i < n; i++) {
		struct window w = all[i];

		if (kept && w.first <= out[kept - 1].last + 1) {
			w.first = out[kept - 1].last + 1;
			if (w.last < w.first)
				continue;
		} else if (kept == WINDOWS) {
			break;
		} else {
			out[kept++] = (struct window){ w.first, w.first - 1 };
		}
		if (w.last - w.first + 1 > room)
			w.last = w.first + room - 1;
		out[kept - 1].last = w.last;
		room -= w.last - w.first + 1;
		if (!room)
			break;
	}
	free(all);
	return kept;
}

static void count_have(const struct asset *a, const struct grouping *g, uint16_t rendition, const struct window *w,
		       uint16_t have[SEGMENTS_MAX])
{
	memset(have, 0, SEGMENTS_MAX * sizeof(*have));
	for (uint32_t i = 0; i < g->n; i++) {
		const struct viewer *v = a->members[a->order[g->first + i]];

		for (uint16_t k = 0; v && k < v->nhave; k++) {
			const struct viewer_range *h = &v->have[k];
			uint32_t first = h->first > w->first ? h->first : w->first, last = h->last < w->last ? h->last : w->last;

			for (uint32_t s = first; h->r == rendition && s <= last; s++)
				have[s - w->first]++;
		}
	}
}

static bool covered(const struct viewer *v, uint32_t segment)
{
	for (uint8_t i = 0; i < v->nhold; i++)
		if (segment >= v->hold[i].first && segment <= v->hold[i].last)
			return true;
	return false;
}

static void hold_set(struct viewer *v, const struct group_range *hold, size_t n)
{
	bool gained = false;

	for (size_t i = 0; i < n && !gained; i++)
		for (uint32_t s = hold[i].first; s <= hold[i].last && !gained; s++)
			gained = !covered(v, s);
	memcpy(v->hold, hold, n * sizeof(*hold));
	v->nhold = (uint8_t)n;
	if (gained) {
		v->hold_version++;
		v->stale = true;
	}
}

struct holding {
	struct group_range hold[RECORD_HOLD];
	size_t n;
};

static void hold_add(struct holding *h, uint32_t segment)
{
	if (h->n && h->hold[h->n - 1].last + 1 == segment)
		h->hold[h->n - 1].last = segment;
	else if (h->n < RECORD_HOLD)
		h->hold[h->n++] = (struct group_range){ segment, segment };
}

/* What group_portion() says of each holder, for all of them in one pass: the scores of a segment are computed once. */
static void deal_windows(const struct coordinator *c, const struct group_holder *holders, uint32_t n, uint64_t key,
			 const struct window *w, size_t nw, uint16_t have[WINDOWS][SEGMENTS_MAX], struct holding *out)
{
	uint32_t best[16], copies = c->opt.copies < 15 ? c->opt.copies : 15;

	for (uint32_t level = 0; level <= copies; level++) {
		for (size_t k = 0; k < nw; k++) {
			for (uint32_t s = w[k].first; s <= w[k].last; s++) {
				uint32_t now = have[k][s - w[k].first] < copies ? have[k][s - w[k].first] : copies;
				size_t got;

				if (now != level)
					continue;
				got = group_holders(holders, n, key, s, copies + (now < copies), best);
				for (size_t i = 0; i < got; i++)
					hold_add(&out[best[i]], s);
			}
		}
	}
}

static void deal(struct coordinator *c, struct asset *a, const struct grouping *g, uint16_t rendition, const struct window *w, size_t nw)
{
	struct group_holder *holders = malloc(g->nfirst * sizeof(*holders));
	struct holding *holding = calloc(g->nfirst, sizeof(*holding));
	uint32_t *who = malloc(g->nfirst * sizeof(*who)), n = 0;
	uint16_t(*have)[SEGMENTS_MAX] = malloc(WINDOWS * sizeof(*have));

	for (uint32_t i = 0; holders && who && have && holding && i < g->n; i++) {
		uint32_t m = a->order[g->first + i];

		if (a->members[m] && a->plan[m].role == GROUP_FIRST && n < g->nfirst) {
			holders[n] = (struct group_holder){ a->plan[m].id, a->plan[m].cap > 1 ? a->plan[m].cap : 1 };
			who[n++] = m;
		}
	}
	for (size_t k = 0; n && k < nw; k++)
		count_have(a, g, rendition, &w[k], have[k]);
	if (n)
		deal_windows(c, holders, n, hash64(&rendition, sizeof(rendition), a->node.hash), w, nw, have, holding);
	for (uint32_t i = 0; i < n; i++)
		hold_set(a->members[who[i]], holding[i].hold, holding[i].n);
	free(holders);
	free(holding);
	free(who);
	free(have);
}

/* The first of the grouping that says which rendition it plays. */
static const struct viewer *speaker(const struct asset *a, const struct grouping *g)
{
	for (uint32_t i = 0; i < g->n; i++) {
		const struct viewer *v = a->members[a->order[g->first + i]];

		if (v && v->reported_ms)
			return v;
	}
	return NULL;
}

/* A mark that changes when a window moves or who is there does: the sum of its viewers, their roles, and what they play. */
static uint32_t mark(const struct asset *a, const struct grouping *g)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < g->n; i++) {
		uint32_t at = a->order[g->first + i];
		const struct viewer *v = a->members[at];

		if (v)
			sum = ((sum * 31 + v->segment) * 31 + (uint32_t)v->number) * 4 + a->plan[at].role;
	}
	return sum == GROUP_NONE ? 0 : sum;
}

bool instruct_holds(struct coordinator *c, struct asset *a, int64_t now, double budget_s)
{
	double began = coordinator_clock();
	struct window w[WINDOWS];
	uint32_t from = 0;

	/* where the budget ended the last time, by number: with thousands of groupings they are listed anew before all had their turn */
	while (from < a->ngroupings && a->groupings[from].number < a->deal_from)
		from++;
	for (uint32_t i = 0; i < a->ngroupings; i++) {
		struct grouping *g = &a->groupings[(from + i) % a->ngroupings];
		const struct media_rendition *r;
		const struct viewer *v;

		if (!g->nfirst || now - g->dealt_ms < LOOK_MS)
			continue;
		g->dealt_ms = now;
		v = speaker(a, g);
		r = v ? record_rendition(v) : NULL;
		if (r && r->nsegments && mark(a, g) != g->window) {
			g->window = mark(a, g);
			deal(c, a, g, v->rendition, w, windows_of(c, a, g, r, w));
		}
		if (coordinator_clock() - began > budget_s) {
			a->deal_from = g->number + 1;
			return true;
		}
	}
	return false;
}
