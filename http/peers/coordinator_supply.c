/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coordinator_supply.c -- from whom each member of a grouping receives, by what the others said that they hold (supply.h):
 * group_run() knows uplinks and networks, and not who has the segments that one will play next. Its helpers stay behind
 * those chosen here, as far as there is room.
 */
#include <stdlib.h>
#include <string.h>

#include "http/peers/media.h"
#include "http/peers/record.h"
#include "http/peers/supply.h"

#define AHEAD_MAX 64 /* segments that one wants */
#define HUNGRY_MS 16000
/* Above that it would hold the coordinator's lock for longer than an announce may wait: those keep group_run()'s helpers. */
#define VIEWERS_MAX 6000

struct supply_work {
	uint32_t base; /* the segment of bit 0 */
	size_t n, words;
	uint32_t who[SUPPLY_MEMBERS_MAX];
	uint16_t order[SUPPLY_MEMBERS_MAX];
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

/* Whose buffer runs low chooses first, then who is farthest: he has the fewest to choose from. */
static uint64_t turn(const struct asset *a, const struct supply_work *w, size_t k)
{
	return w->m[k].position + (a->plan[w->who[k]].buffer_ms < HUNGRY_MS ? 1ull << 40 : 0);
}

static void members(const struct coordinator *c, const struct asset *a, const struct grouping *g, struct supply_work *w)
{
	uint32_t low = UINT32_MAX, high = 0;

	w->n = 0;
	for (uint32_t i = 0; i < g->n && w->n < SUPPLY_MEMBERS_MAX; i++) {
		uint32_t at = a->order[g->first + i];
		const struct viewer *v = a->members[at];

		if (!v || !v->reported_ms)
			continue;
		low = v->segment < low ? v->segment : low;
		high = v->segment > high ? v->segment : high;
		w->who[w->n++] = at;
	}
	if (!w->n)
		return;
	w->base = low;
	w->words = (high - low + AHEAD_MAX) / 64 + 1 < SUPPLY_WORDS_MAX ? (high - low + AHEAD_MAX) / 64 + 1 : SUPPLY_WORDS_MAX;
	for (size_t k = 0; k < w->n; k++) {
		const struct group_viewer *p = &a->plan[w->who[k]];
		float cap = p->role == GROUP_FIRST && record_may_upload(c, a->members[w->who[k]]) ? p->cap : 0;
		size_t j = k;

		/* Nobody knows what it can: it is tried out with one. */
		if (cap > 0 && !(p->flags & GROUP_MEASURED) && cap < p->demand)
			cap = p->demand;
		have_of(w, k, a->members[w->who[k]]);
		w->m[k] = (struct supply_member){ .have = w->have[k], .as = p->as, .cap = cap, .demand = p->demand,
						  .position = p->position - low };
		for (; j && turn(a, w, w->order[j - 1]) < turn(a, w, k); j--)
			w->order[j] = w->order[j - 1];
		w->order[j] = (uint16_t)k;
	}
}

static size_t index_of(const struct supply_work *w, uint32_t at)
{
	size_t k = 0;

	while (k < w->n && w->who[k] != at)
		k++;
	return k;
}

static void choose(const struct coordinator *c, struct asset *a, struct supply_work *w, size_t k)
{
	struct group_viewer *p = &a->plan[w->who[k]];
	const struct media_rendition *r = record_rendition(a->members[w->who[k]]);
	uint32_t segment_ms = r && r->nsegments && r->segments[0].duration_ms ? r->segments[0].duration_ms : 4000;
	uint32_t ahead = c->opt.ahead_ms / segment_ms, now[GROUP_HELPERS_MAX], out[GROUP_HELPERS_MAX], list[GROUP_HELPERS_MAX];
	uint64_t want[SUPPLY_WORDS_MAX] = { 0 }, lacking[SUPPLY_WORDS_MAX];
	size_t nnow = 0, n, got;

	ahead = ahead < AHEAD_MAX ? ahead : AHEAD_MAX;
	supply_range(want, w->words, w->m[k].position, w->m[k].position + ahead);
	for (size_t i = 0; i < w->words; i++)
		want[i] &= ~w->have[k][i];
	for (uint8_t h = 0; h < p->nhelpers; h++)
		now[nnow++] = (uint32_t)index_of(w, p->helper[h]);
	got = supply_sources(w->m, w->n, k, want, w->words, now, nnow, out, GROUP_HELPERS_MAX, lacking);
	for (n = 0; n < got; n++)
		list[n] = w->who[out[n]];
	for (uint8_t h = 0; h < p->nhelpers && n < GROUP_HELPERS_MAX; h++) {
		bool there = false;

		for (size_t i = 0; i < n; i++)
			there |= list[i] == p->helper[h];
		if (!there)
			list[n++] = p->helper[h];
	}
	memcpy(p->helper, list, n * sizeof(*list));
	p->nhelpers = (uint8_t)n;
}

void coordinator_supply(const struct coordinator *c, struct asset *a)
{
	struct supply_work *w = a->nmembers > VIEWERS_MAX ? NULL : malloc(sizeof(*w));

	for (uint32_t i = 0; w && i < a->ngroupings; i++) {
		members(c, a, &a->groupings[i], w);
		for (size_t k = 0; k < w->n; k++)
			if (a->plan[w->who[w->order[k]]].role != GROUP_ALONE)
				choose(c, a, w, w->order[k]);
	}
	free(w);
}
