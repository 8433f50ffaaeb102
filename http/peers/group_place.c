// SPDX-License-Identifier: Apache-2.0
/*
 * group_place.c -- a place for those who have none: in a grouping of their AS, near in position and prefix; in a new one
 * of their AS, when there are enough of them; else among the rest of the asset. Sorted by radix, no comparison of viewers.
 */
#include <stdlib.h>
#include <string.h>

#include "http/peers/group_internal.h"

#define CANDIDATES 8  /* groupings with room looked at for one viewer */
#define SPLITS	   64 /* a run; each looks through all viewers */

struct place {
	struct groups *g;
	const struct group_viewer *v;
	size_t n;
	struct group_asset *asset;
	size_t from, to;       /* its slots in g->order */
	size_t new_from, new_to; /* those made in this run, behind all others in g->order */
	size_t splits;
};

static uint32_t slot_open(struct place *p, uint64_t asset, uint32_t as)
{
	struct groups *g = p->g;
	uint32_t s;

	while (g->slot_free < g->slots && g->slot[g->slot_free].live)
		g->slot_free++;
	if (g->slot_free == g->slots)
		g->slots++;
	s = (uint32_t)g->slot_free++;
	g->slot[s] = (struct group_slot){ .asset = asset, .as = as, .live = true, .fresh = true };
	g->order[p->new_to++] = s;
	p->asset->groupings++;
	return s;
}

static size_t mask_for(size_t entries)
{
	size_t size = 64;

	while (size < 2 * entries)
		size *= 2;
	return size - 1;
}

/* Asset totals; groupings of which hardly anybody is left are closed when others have room. Whether there are any. */
static bool count_assets(struct groups *g, const struct group_viewer *v, size_t n)
{
	uint32_t hardly = g->o.size / 8 < g->o.least / 2 ? g->o.size / 8 : g->o.least / 2;
	struct group_asset *a = NULL;
	bool closed = false;

	memset(g->asset, 0, (g->asset_mask + 1) * sizeof(*g->asset));
	for (size_t s = 0; s < g->slots; s++)
		if (g->slot[s].count) {
			a = group_asset_of(g, g->slot[s].asset);
			a->total += g->slot[s].count;
			a->groupings++;
		}
	a = NULL;
	for (size_t i = 0; i < n; i++)
		if (g->place[i] == GROUP_NONE && !(v[i].flags & GROUP_EXCLUDED)) {
			if (!a || a->asset != v[i].asset)
				a = group_asset_of(g, v[i].asset);
			a->total++;
		}
	for (size_t s = 0; s < g->slots; s++) {
		struct group_slot *slot = &g->slot[s];

		if (!slot->count || slot->count >= hardly)
			continue;
		a = group_asset_of(g, slot->asset);
		if (a->total + 8 > (uint64_t)(a->groupings - 1) * g->o.size)
			continue;
		a->groupings--;
		slot->closed = closed = true;
	}
	for (size_t i = 0; closed && i < n; i++)
		if (g->place[i] != GROUP_NONE && g->slot[g->place[i]].closed)
			group_leave(g, v, (uint32_t)i);
	return closed;
}

static uint32_t pair_of(struct groups *g, uint64_t asset, uint32_t as)
{
	size_t at = group_mix(asset ^ (as + 1) * 0x9e3779b97f4a7c15u) & g->pair_mask;
	uint32_t p;

	for (; (p = g->pair_table[at]) != GROUP_NONE; at = (at + 1) & g->pair_mask)
		if (g->pair[p].asset == asset && g->pair[p].as == as)
			return p;
	g->pair[g->pairs] = (struct group_pair){ .asset = asset, .as = as };
	return g->pair_table[at] = (uint32_t)g->pairs++;
}

/* Members among the rest who might by now fill a grouping of their AS: no small swarm is divided. */
static bool among_rest(struct groups *g, const struct group_viewer *v, size_t i)
{
	return g->place[i] != GROUP_NONE && g->slot[g->place[i]].as == GROUP_AS_REST && v[i].as &&
	       group_asset_of(g, v[i].asset)->total > g->o.size;
}

/* Keys of all who need a place, by their pair of asset and AS. */
static void collect(struct groups *g, const struct group_viewer *v, size_t n)
{
	size_t kept = 0, entries = 0;

	for (size_t s = 0; s < g->slots; s++)
		if (g->slot[s].count && g->slot[s].as == GROUP_AS_REST)
			entries += g->slot[s].count;
	for (size_t i = 0; i < n; i++)
		entries += g->place[i] == GROUP_NONE;
	g->pair_mask = mask_for(entries < n ? entries : n);
	memset(g->pair_table, 0xff, (g->pair_mask + 1) * sizeof(*g->pair_table));
	g->pairs = g->unplaced = 0;
	for (size_t i = 0; i < n; i++) {
		uint32_t pair;

		if (g->place[i] == GROUP_NONE ? v[i].flags & GROUP_EXCLUDED : !among_rest(g, v, i))
			continue;
		if (g->unplaced && v[i].as == g->pair[g->key[g->unplaced - 1].pair].as &&
		    v[i].asset == g->pair[g->key[g->unplaced - 1].pair].asset)
			pair = g->key[g->unplaced - 1].pair;
		else
			pair = pair_of(g, v[i].asset, v[i].as);
		g->pair[pair].count++;
		g->key[g->unplaced++] = (struct group_key){ .i = (uint32_t)i, .pair = pair };
	}
	for (size_t k = 0; k < g->unplaced; k++) {
		struct group_key key = g->key[k];

		if (g->place[key.i] != GROUP_NONE) {
			if (g->pair[key.pair].count < g->o.least)
				continue;
			group_leave(g, v, key.i);
		}
		g->key[kept++] = key;
	}
	g->unplaced = kept;
}

static int pair_compare(const void *pa, const void *pb, void *arg)
{
	const struct groups *g = arg;
	const struct group_pair *a = &g->pair[*(const uint32_t *)pa], *b = &g->pair[*(const uint32_t *)pb];

	if (a->asset != b->asset)
		return a->asset < b->asset ? -1 : 1;
	return a->as < b->as ? -1 : a->as > b->as;
}

static void radix_pass(struct group_key *from, struct group_key *to, size_t n, unsigned int shift)
{
	uint32_t at[2048] = { 0 }, sum = 0;

	for (size_t k = 0; k < n; k++)
		at[from[k].key >> shift & 2047]++;
	for (size_t d = 0; d < 2048; d++) {
		uint32_t count = at[d];

		at[d] = sum;
		sum += count;
	}
	for (size_t k = 0; k < n; k++)
		to[at[from[k].key >> shift & 2047]++] = from[k];
}

/* By asset, AS, prefix; then mixed: who is ahead has what those behind him will want, so a grouping is made of all
 * positions. One of viewers at the same place would have nobody to take from but the server. */
static void sort_keys(struct groups *g, const struct group_viewer *v)
{
	uint32_t *by = g->pair_table; /* the table has done its work */
	uint64_t bits = 0, all = ~(uint64_t)0;

	for (size_t p = 0; p < g->pairs; p++)
		by[p] = (uint32_t)p;
	qsort_r(by, g->pairs, sizeof(*by), pair_compare, g);
	for (size_t p = 0; p < g->pairs; p++)
		g->pair[by[p]].rank = (uint32_t)p;
	for (size_t k = 0; k < g->unplaced; k++) {
		const struct group_viewer *w = &v[g->key[k].i];

		g->key[k].key = (uint64_t)g->pair[g->key[k].pair].rank << 40 | (uint64_t)(w->prefix >> 16) << 24 |
				group_mix(w->id) >> 40;
		bits |= g->key[k].key;
		all &= g->key[k].key;
	}
	for (unsigned int shift = 0; shift < 64; shift += 11) {
		struct group_key *was = g->key;

		if (!((bits ^ all) >> shift & 2047))
			continue; /* all alike */
		radix_pass(g->key, g->key2, g->unplaced, shift);
		g->key = g->key2;
		g->key2 = was;
	}
}

/* The best of some slots of order[from…to) that have room: with viewers of its prefix, with few; GROUP_NONE: none has. */
static uint32_t best_slot(const struct groups *g, size_t from, size_t to, const struct group_viewer *w)
{
	size_t n = to - from, at = n ? from + group_mix(w->id) % n : from;
	uint32_t best = GROUP_NONE, best_score = UINT32_MAX;

	for (size_t k = 0, seen = 0; k < n && seen < CANDIDATES; k++, at = at + 1 < to ? at + 1 : from) {
		const struct group_slot *s = &g->slot[g->order[at]];
		uint32_t score = s->count + (s->prefixes >> (w->prefix & 63) & 1 ? 0 : g->o.size / 4) +
				 (s->ases >> (w->as & 63) & 1 ? 0 : g->o.size / 2);

		if (s->count >= g->o.size)
			continue;
		seen++;
		if (score < best_score) {
			best_score = score;
			best = g->order[at];
		}
	}
	return best;
}

/* Fills what room there is in order[from…to); those who found none are the first of keys then: how many. */
static size_t fill(struct place *p, struct group_key *keys, size_t n, size_t from, size_t to)
{
	struct groups *g = p->g;
	size_t room = 0, kept = 0;

	for (size_t o = from; o < to; o++)
		room += g->o.size - g->slot[g->order[o]].count;
	for (size_t k = 0; k < n; k++) {
		uint32_t s = room ? best_slot(g, from, to, &p->v[keys[k].i]) : GROUP_NONE;

		if (s == GROUP_NONE) {
			keys[kept++] = keys[k];
			continue;
		}
		group_enter(g, p->v, keys[k].i, s);
		g->slot[s].fresh = true;
		room--;
	}
	return kept;
}

/* As many new groupings as it takes, evenly, with some room left in each. */
static void open_for(struct place *p, const struct group_key *keys, size_t n, uint32_t as)
{
	size_t fill_to = p->g->o.size - p->g->o.size / 8;
	size_t k = n <= p->g->o.size ? 1 : (n + fill_to - 1) / fill_to, at = 0;

	for (size_t j = 0; j < k; j++) {
		size_t end = n * (j + 1) / k;
		uint32_t s = slot_open(p, p->v[keys[0].i].asset, as);

		for (; at < end; at++)
			group_enter(p->g, p->v, keys[at].i, s);
	}
}

/* Everybody's grouping is full: every second member of the largest makes one more, with those who are left over. */
static void split_for(struct place *p, const struct group_key *keys, size_t n)
{
	struct groups *g = p->g;
	uint32_t donor = GROUP_NONE, s, turn = 0;

	for (size_t o = p->from; o < p->to; o++) {
		const struct group_slot *slot = &g->slot[g->order[o]];
		bool better = donor == GROUP_NONE || slot->count > g->slot[donor].count ||
			      (slot->count == g->slot[donor].count && slot->as == GROUP_AS_REST);

		if (slot->count >= 4 && better)
			donor = g->order[o];
	}
	open_for(p, keys, n, GROUP_AS_REST);
	if (donor == GROUP_NONE || p->splits++ >= SPLITS)
		return;
	s = g->order[p->new_to - 1];
	for (size_t i = 0; i < p->n; i++)
		if (g->place[i] == donor && turn++ % 2) {
			group_leave(g, p->v, (uint32_t)i);
			group_enter(g, p->v, (uint32_t)i, s);
		}
}

static void place_rest(struct place *p, struct group_key *keys, size_t n)
{
	size_t rest = p->to;

	while (rest > p->from && p->g->slot[p->g->order[rest - 1]].as == GROUP_AS_REST)
		rest--;
	n = fill(p, keys, n, rest, p->to);
	if (n < p->g->o.least && n)
		n = fill(p, keys, n, p->from, p->to);
	if (n < p->g->o.least && n)
		n = fill(p, keys, n, p->new_from, p->new_to);
	if (!n)
		return;
	if (n < 4 && p->asset->groupings)
		split_for(p, keys, n);
	else
		open_for(p, keys, n, GROUP_AS_REST);
}

/* keys: all of one asset. Those of no AS's grouping are gathered in key2, which nobody uses now. */
static void place_asset(struct place *p, struct group_key *keys, size_t n)
{
	struct groups *g = p->g;
	struct group_key *rest = g->key2;
	size_t nrest = 0, slot = p->from;

	p->asset = group_asset_of(g, p->v[keys[0].i].asset);
	p->new_from = p->new_to;
	for (size_t a = 0, b, left; a < n; a = b) {
		uint32_t as = p->v[keys[a].i].as;
		size_t end;

		for (b = a + 1; b < n && p->v[keys[b].i].as == as; b++)
			;
		while (slot < p->to && g->slot[g->order[slot]].as < as)
			slot++;
		for (end = slot; end < p->to && g->slot[g->order[end]].as == as; end++)
			;
		left = fill(p, keys + a, b - a, slot, end);
		if (left >= g->o.least && p->asset->total > g->o.size) {
			open_for(p, keys + a, left, as);
			left = 0;
		}
		memcpy(rest + nrest, keys + a, left * sizeof(*keys));
		nrest += left;
		slot = end;
	}
	place_rest(p, rest, nrest);
}

int group_place(struct groups *g, const struct group_viewer *v, size_t n)
{
	struct place p = { .g = g, .v = v, .n = n };
	size_t need = 0, live = 0;

	for (size_t s = 0; s < g->slots; s++)
		live += g->slot[s].count > 0;
	for (size_t i = 0; i < n; i++)
		need += g->place[i] == GROUP_NONE && !(v[i].flags & GROUP_EXCLUDED);
	g->asset_mask = mask_for(need + live);
	if (!count_assets(g, v, n) && !need) {
		group_order(g);
		return 0;
	}
	collect(g, v, n);
	group_order(g);
	sort_keys(g, v);
	p.new_to = g->ordered;
	for (size_t a = 0, b; a < g->unplaced; a = b) {
		uint64_t asset = v[g->key[a].i].asset;

		for (b = a + 1; b < g->unplaced && v[g->key[b].i].asset == asset; b++)
			;
		for (p.from = p.to; p.from < g->ordered && g->slot[g->order[p.from]].asset < asset; p.from++)
			;
		for (p.to = p.from; p.to < g->ordered && g->slot[g->order[p.to]].asset == asset; p.to++)
			;
		place_asset(&p, g->key + a, b - a);
	}
	return 0;
}
