/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coordinator_supply.c -- from whom each member of a grouping receives, by what the others said that they hold (supply.h):
 * group_run() knows uplinks and networks, and not who has the segments that one will play next. Its helpers stay behind
 * those chosen here, as far as there is room. A grouping is looked at when its members changed, and every few seconds;
 * what was chosen holds until then.
 */
#include <stdlib.h>
#include <string.h>

#include "http/peers/media.h"
#include "http/peers/record.h"
#include "http/peers/supply.h"

#define AHEAD_MAX 64 /* segments that one wants */
#define HUNGRY_MS 16000
#define CALM_MS	  4000 /* between two looks at a grouping … */
#define WORSE_MS  2000 /* … when the server is not well */
#define URGENT_S  0.15 /* of a pass, for groupings of which somebody lost a source … */
#define BUDGET_S  0.06 /* … and when no more were used, for those whose time has come */

enum due { DUE_NOT, DUE_TIME, DUE_URGENT, DUE_DONE };

struct supply_work {
	uint32_t base; /* the segment of bit 0 */
	size_t n, words;
	uint32_t who[SUPPLY_MEMBERS_MAX]; /* in the pass */
	uint16_t order[SUPPLY_MEMBERS_MAX];
	uint32_t ahead[SUPPLY_MEMBERS_MAX]; /* segments that it wants */
	struct supply_member m[SUPPLY_MEMBERS_MAX];
	uint64_t have[SUPPLY_MEMBERS_MAX][SUPPLY_WORDS_MAX];
};

static void have_of(struct supply_work *w, size_t k, const struct viewer *v)
{
	memset(w->have[k], 0, w->words * sizeof(uint64_t));
	for (uint16_t i = 0; i < v->nhave; i++)
		if (v->have[i].r == v->rendition && v->have[i].last >= w->base)
			supply_range(w->have[k], w->words, v->have[i].first > w->base ? v->have[i].first - w->base : 0,
				     v->have[i].last - w->base);
}

/* Who lost those it received from chooses first, and again until it can be linked with whom it got; then whose buffer runs
 * low, then who is farthest: he has the fewest to choose from. */
static uint64_t turn(const struct pass *p, const struct supply_work *w, size_t k)
{
	return w->m[k].position + (p->old[w->who[k]].settles ? 2ull << 40 : p->plan[w->who[k]].buffer_ms < HUNGRY_MS ? 1ull << 40 : 0);
}

static uint32_t ahead_of(const struct coordinator *c, const struct viewer *v)
{
	const struct media_rendition *r = record_rendition(v);
	uint32_t segment_ms = r && r->nsegments && r->segments[0].duration_ms ? r->segments[0].duration_ms : 4000;

	return c->opt.ahead_ms / segment_ms < AHEAD_MAX ? c->opt.ahead_ms / segment_ms : AHEAD_MAX;
}

static int by_value(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return a < b ? -1 : a > b;
}

/* The segment of bit 0, such that the middle one of the members is well within the bits: one who is far away, or says so, does
 * not take the others out of sight. */
static uint32_t base_of(const struct asset *a, const struct pass *p, const struct grouping *g)
{
	uint32_t at[SUPPLY_MEMBERS_MAX], n = 0;

	for (uint32_t i = 0; i < g->n && n < SUPPLY_MEMBERS_MAX; i++) {
		const struct viewer *v = a->members[p->who[p->order[g->first + i]]];

		if (v && v->reported_ms)
			at[n++] = v->segment;
	}
	if (!n)
		return 0;
	qsort(at, n, sizeof(*at), by_value);
	return at[n / 2] - at[0] < SUPPLY_WORDS_MAX * 64 / 2 ? at[0] : at[n / 2] - SUPPLY_WORDS_MAX * 64 / 2;
}

/* What the grouping's members said: under the lock. */
static void members(const struct coordinator *c, const struct asset *a, const struct pass *p, const struct grouping *g,
		    struct supply_work *w)
{
	uint32_t low = base_of(a, p, g), high = 0;

	w->n = 0;
	for (uint32_t i = 0; i < g->n && w->n < SUPPLY_MEMBERS_MAX; i++) {
		const struct viewer *v = a->members[p->who[p->order[g->first + i]]];

		if (!v || !v->reported_ms || v->segment < low || v->segment - low >= SUPPLY_WORDS_MAX * 64)
			continue;
		high = v->segment > high ? v->segment : high;
		w->who[w->n++] = p->order[g->first + i];
	}
	if (!w->n)
		return;
	w->base = low;
	w->words = (high - low + AHEAD_MAX) / 64 + 1 < SUPPLY_WORDS_MAX ? (high - low + AHEAD_MAX) / 64 + 1 : SUPPLY_WORDS_MAX;
	for (size_t k = 0; k < w->n; k++) {
		const struct viewer *v = a->members[p->who[w->who[k]]];
		const struct group_viewer *in = &p->plan[w->who[k]];
		float cap = in->role == GROUP_FIRST && record_may_upload(c, v) ? in->cap : 0;
		size_t j = k;

		/* Nobody knows what it can: it is tried out with one. */
		if (cap > 0 && !(in->flags & GROUP_MEASURED) && cap < in->demand)
			cap = in->demand;
		have_of(w, k, v);
		w->ahead[k] = ahead_of(c, v);
		w->m[k] = (struct supply_member){ .have = w->have[k], .as = in->as, .cap = cap, .demand = in->demand,
						  .near = a->sense.state == SENSE_CALM, .position = v->segment - low };
		for (; j && turn(p, w, w->order[j - 1]) < turn(p, w, k); j--)
			w->order[j] = w->order[j - 1];
		w->order[j] = (uint16_t)k;
	}
}

/* The old plan's choice number h, in the new one; GROUP_NONE: has left, moved, or shares no more. */
static uint32_t still(const struct pass *p, uint32_t i, uint8_t h)
{
	uint32_t at = p->place[p->old[i].helper[h]];

	if (at == GROUP_NONE || p->plan[at].grouping != p->plan[i].grouping || p->plan[at].role != GROUP_FIRST)
		return GROUP_NONE;
	return at;
}

/* Where all of the list are of one network and group_run() found one of another, that one is the last: nobody is fed by one
 * network alone, whatever its viewers say that they hold. */
static void mix(const struct pass *p, struct group_viewer *g, uint32_t *list, size_t n)
{
	uint32_t prefix = n ? p->plan[list[0]].prefix : 0;

	for (size_t i = 1; i < n; i++)
		if (p->plan[list[i]].prefix != prefix)
			return;
	for (uint8_t h = 0; n > 1 && h < g->nhelpers; h++) {
		if (p->plan[g->helper[h]].prefix == prefix)
			continue;
		list[n - 1] = g->helper[h];
		g->sure = g->sure < n ? g->sure : (uint8_t)(n - 1);
		return;
	}
}

/* Those first, then group_run()'s, as far as there is room. */
static void put_before(const struct pass *p, struct group_viewer *g, uint32_t *list, size_t n)
{
	g->sure = (uint8_t)n;
	for (uint8_t h = 0; h < g->nhelpers && n < GROUP_HELPERS_MAX; h++) {
		bool there = false;

		for (size_t i = 0; i < n; i++)
			there |= list[i] == g->helper[h];
		if (!there)
			list[n++] = g->helper[h];
	}
	mix(p, g, list, n);
	memcpy(g->helper, list, n * sizeof(*list));
	g->nhelpers = (uint8_t)n;
}

static uint32_t index_of(const struct supply_work *w, uint32_t i)
{
	uint32_t k = 0;

	while (k < w->n && w->who[k] != i)
		k++;
	return k;
}

static void choose(struct pass *p, struct supply_work *w, size_t k)
{
	uint32_t i = w->who[k], now[2 * GROUP_HELPERS_MAX], out[GROUP_HELPERS_MAX], list[GROUP_HELPERS_MAX];
	uint64_t want[SUPPLY_WORDS_MAX] = { 0 }, lacking[SUPPLY_WORDS_MAX];
	struct group_viewer *g = &p->plan[i];
	size_t nnow = 0, got;

	supply_range(want, w->words, w->m[k].position, w->m[k].position + w->ahead[k]);
	for (size_t j = 0; j < w->words; j++)
		want[j] &= ~w->have[k][j];
	for (uint8_t h = 0; h < p->old[i].sure; h++)
		if (still(p, i, h) != GROUP_NONE)
			now[nnow++] = index_of(w, still(p, i, h)) | (p->old[i].settles ? SUPPLY_FIRM : 0);
	for (uint8_t h = 0; h < g->nhelpers; h++)
		now[nnow++] = index_of(w, g->helper[h]);
	got = supply_sources(w->m, w->n, k, want, w->words, now, nnow, out, GROUP_HELPERS_MAX, lacking);
	for (size_t n = 0; n < got; n++)
		list[n] = w->who[out[n]];
	put_before(p, g, list, got);
}

static void choose_all(struct coordinator *c, struct asset *a, struct pass *p, struct grouping *g, struct supply_work *w)
{
	pass_go_on(c, p);
	members(c, a, p, g, w);
	pass_let_in(c, p);
	for (uint32_t j = 0; j < g->n; j++)
		p->plan[p->order[g->first + j]].sure = 0;
	for (size_t k = 0; k < w->n; k++)
		if (p->plan[w->who[w->order[k]]].role != GROUP_ALONE)
			choose(p, w, w->order[k]);
}

/* What was chosen before holds. */
static void keep(struct pass *p, const struct grouping *g)
{
	for (uint32_t j = 0; j < g->n; j++) {
		uint32_t i = p->order[g->first + j], list[GROUP_HELPERS_MAX], at;
		size_t n = 0;

		for (uint8_t h = 0; p->plan[i].role != GROUP_ALONE && h < p->old[i].sure; h++)
			if ((at = still(p, i, h)) != GROUP_NONE)
				list[n++] = at;
		put_before(p, &p->plan[i], list, n);
	}
}

static enum due due_of(const struct pass *p, const struct grouping *g, int64_t now, int64_t every)
{
	for (uint32_t j = 0; j < g->n; j++) {
		uint32_t i = p->order[g->first + j];

		if (p->plan[i].role != p->old[i].role)
			return DUE_URGENT;
		for (uint8_t h = 0; h < p->old[i].sure; h++)
			if (still(p, i, h) == GROUP_NONE)
				return DUE_URGENT;
	}
	return now - g->supplied_ms >= every ? DUE_TIME : DUE_NOT;
}

/* When they were looked at, here and for portions, of those that the old plan had too: both are sorted by number. */
static void times_take(const struct asset *a, struct pass *p)
{
	for (uint32_t i = 0, was = 0; i < p->ngroupings; i++) {
		while (was < a->ngroupings && a->groupings[was].number < p->groupings[i].number)
			was++;
		if (was == a->ngroupings || a->groupings[was].number != p->groupings[i].number)
			continue;
		p->groupings[i].supplied_ms = a->groupings[was].supplied_ms;
		p->groupings[i].dealt_ms = a->groupings[was].dealt_ms;
		p->groupings[i].window = a->groupings[was].window;
	}
}

/* Those that are due so much, from where the last pass left off, until the budget is used up. How many are left. */
static uint32_t choose_due(struct coordinator *c, struct asset *a, struct pass *p, uint8_t *due, enum due what, int64_t now,
			   double until)
{
	struct supply_work *w = malloc(sizeof(*w));
	uint32_t left = 0, from = a->next_supply;

	for (uint32_t k = 0; k < p->ngroupings; k++) {
		uint32_t i = (from + k) % p->ngroupings;

		if (due[i] != what)
			continue;
		if (!w || coordinator_cpu() > until) {
			a->next_supply = left++ ? a->next_supply : i;
			continue;
		}
		choose_all(c, a, p, &p->groupings[i], w);
		p->groupings[i].supplied_ms = now;
		due[i] = DUE_DONE;
	}
	free(w);
	return left;
}

bool supply_pass(struct coordinator *c, struct asset *a, struct pass *p, int64_t now)
{
	int64_t every = a->sense.state == SENSE_CALM ? CALM_MS : WORSE_MS;
	uint8_t *due = malloc(p->ngroupings + 1);
	double began = coordinator_cpu();
	uint32_t left = 0;

	if (!due)
		return true;
	times_take(a, p);
	for (uint32_t i = 0; i < p->ngroupings; i++)
		due[i] = due_of(p, &p->groupings[i], now, every);
	left += choose_due(c, a, p, due, DUE_URGENT, now, began + URGENT_S);
	left += choose_due(c, a, p, due, DUE_TIME, now, began + BUDGET_S);
	for (uint32_t i = 0; i < p->ngroupings; i++)
		if (due[i] != DUE_DONE)
			keep(p, &p->groupings[i]);
	free(due);
	return left > 0;
}
