// SPDX-License-Identifier: Apache-2.0
/* group.c -- a run: who is here still, who is new, and the order of the steps; see group_internal.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/group_internal.h"

struct groups *groups_new(const struct group_options *opt)
{
	struct groups *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->o = opt ? *opt : (struct group_options){ 0 };
	g->o.size = !g->o.size ? 48 : g->o.size < 2 ? 2 : g->o.size < GROUP_SIZE_MAX ? g->o.size : GROUP_SIZE_MAX;
	g->o.helpers = !g->o.helpers ? 3 : g->o.helpers < 2 ? 2 : g->o.helpers;
	g->o.helpers = g->o.helpers < GROUP_HELPERS_MAX ? g->o.helpers : GROUP_HELPERS_MAX;
	g->o.margin = g->o.margin > 0 ? g->o.margin : 1.3f;
	g->o.first_margin = g->o.first_margin > 0 ? g->o.first_margin : 2 * g->o.margin;
	g->o.uplink_share = g->o.uplink_share > 0 ? g->o.uplink_share : 0.8f;
	g->o.unknown_uplink = g->o.unknown_uplink > 0 ? g->o.unknown_uplink : 64 * 1024;
	g->o.copies = g->o.copies ? g->o.copies : 2;
	g->o.least = g->o.least ? g->o.least : g->o.size / 3;
	g->o.least = g->o.least < 2 ? 2 : g->o.least;
	return g;
}

void groups_free(struct groups *g)
{
	if (!g)
		return;
	free(g->seat), free(g->next), free(g->slot), free(g->old_of), free(g->new_of), free(g->place);
	free(g->weight), free(g->member), free(g->rank), free(g->order), free(g->table), free(g->asset);
	free(g->pair), free(g->pair_table), free(g->key), free(g->key2);
	free(g);
}

static bool grow(void *p, size_t count, size_t each)
{
	void *old, *bigger;

	memcpy(&old, p, sizeof(old));
	bigger = realloc(old, count * each);
	if (bigger)
		memcpy(p, &bigger, sizeof(bigger));
	return bigger;
}

static size_t power_above(size_t n)
{
	size_t p = 64;

	while (p < n)
		p *= 2;
	return p;
}

/* Room for n viewers and slots more groupings than there are. */
static int make_room(struct groups *g, size_t n, size_t more_slots)
{
	size_t slots = g->slots + more_slots, cap = power_above(n);

	if (cap > g->n_cap) {
		if (!grow(&g->seat, cap, sizeof(*g->seat)) || !grow(&g->next, cap, sizeof(*g->next)) ||
		    !grow(&g->old_of, cap, sizeof(*g->old_of)) || !grow(&g->new_of, cap, sizeof(*g->new_of)) ||
		    !grow(&g->place, cap, sizeof(*g->place)) || !grow(&g->weight, cap, sizeof(*g->weight)) ||
		    !grow(&g->rank, cap, sizeof(*g->rank)) || !grow(&g->table, 2 * cap, sizeof(*g->table)) ||
		    !grow(&g->asset, 4 * cap, sizeof(*g->asset)) || !grow(&g->pair, cap, sizeof(*g->pair)) ||
		    !grow(&g->pair_table, 2 * cap, sizeof(*g->pair_table)) ||
		    !grow(&g->key, cap, sizeof(*g->key)) || !grow(&g->key2, cap, sizeof(*g->key2)))
			return -ENOMEM;
		g->n_cap = cap;
		g->indexed = false;
	}
	if (slots > g->slot_cap) {
		slots = power_above(slots);
		if (!grow(&g->slot, slots, sizeof(*g->slot)) || !grow(&g->order, slots, sizeof(*g->order)))
			return -ENOMEM;
		g->slot_cap = slots;
	}
	return 0;
}

static void index_seats(struct groups *g)
{
	g->mask = 2 * power_above(g->seats) - 1;
	memset(g->table, 0xff, (g->mask + 1) * sizeof(*g->table));
	for (size_t o = 0; o < g->seats; o++) {
		size_t at = group_mix(g->seat[o].id) & g->mask;

		while (g->table[at] != GROUP_NONE)
			at = (at + 1) & g->mask;
		g->table[at] = (uint32_t)o;
	}
	g->indexed = true;
}

static uint32_t seat_of(struct groups *g, uint64_t id)
{
	if (!g->seats)
		return GROUP_NONE;
	if (!g->indexed)
		index_seats(g);
	for (size_t at = group_mix(id) & g->mask; g->table[at] != GROUP_NONE; at = (at + 1) & g->mask)
		if (g->seat[g->table[at]].id == id)
			return g->table[at];
	return GROUP_NONE;
}

struct group_asset *group_asset_of(struct groups *g, uint64_t asset)
{
	size_t at = group_mix(asset) & g->asset_mask;

	while (g->asset[at].total && g->asset[at].asset != asset)
		at = (at + 1) & g->asset_mask;
	g->asset[at].asset = asset;
	return &g->asset[at];
}

void group_enter(struct groups *g, const struct group_viewer *v, uint32_t i, uint32_t slot)
{
	struct group_slot *s = &g->slot[slot];

	g->place[i] = slot;
	s->count++;
	s->position_sum += v[i].position;
	s->prefixes |= (uint64_t)1 << (v[i].prefix & 63);
	s->ases |= (uint64_t)1 << (v[i].as & 63);
}

void group_leave(struct groups *g, const struct group_viewer *v, uint32_t i)
{
	struct group_slot *s = &g->slot[g->place[i]];

	g->place[i] = GROUP_NONE;
	s->count--;
	s->position_sum -= v[i].position;
}

/* Bytes/s that it may upload: nobody's word for its own uplink counts for more than that of one who said nothing. */
static float cap_of(const struct group_options *o, const struct group_viewer *v)
{
	uint32_t never = GROUP_METERED | GROUP_UNREACHABLE | GROUP_EXCLUDED | (o->cellular ? 0 : GROUP_CELLULAR);
	float uplink = v->uplink > 0 ? v->uplink : o->unknown_uplink;

	if (!(v->flags & GROUP_CONSENT) || v->flags & never)
		return 0;
	if (!(v->flags & GROUP_MEASURED) && uplink > o->unknown_uplink)
		uplink = o->unknown_uplink;
	return uplink * o->uplink_share;
}

static float weight_of(const struct group_options *o, const struct group_viewer *v)
{
	float stability = v->stability > 0 ? v->stability : 0;

	return cap_of(o, v) * (0.25f + 0.75f * (stability < 1 ? stability : 1));
}

/* Finds seats of the last run and enters those who keep their place; who does not is GROUP_NONE in place. */
static void map(struct groups *g, const struct group_viewer *v, size_t n)
{
	size_t guess = 0;

	memset(g->new_of, 0xff, g->seats * sizeof(*g->new_of));
	for (size_t s = 0; s < g->slots; s++) {
		g->slot[s].count = 0;
		g->slot[s].position_sum = g->slot[s].prefixes = g->slot[s].ases = 0;
		g->slot[s].closed = g->slot[s].fresh = false;
	}
	for (size_t i = 0; i < n; i++) {
		uint32_t old;

		if (guess < g->seats && g->seat[guess].id == v[i].id)
			old = (uint32_t)guess;
		else if (i < g->seats && g->seat[i].id == v[i].id)
			old = (uint32_t)i;
		else
			old = seat_of(g, v[i].id);
		if (old != GROUP_NONE && g->new_of[old] != GROUP_NONE)
			old = GROUP_NONE; /* the same id twice: the second is as new */
		g->old_of[i] = old;
		g->place[i] = GROUP_NONE;
		g->weight[i] = weight_of(&g->o, &v[i]);
		if (old == GROUP_NONE)
			continue;
		guess = old + 1;
		g->new_of[old] = (uint32_t)i;
		if (g->seat[old].grouping != GROUP_NONE && g->seat[old].asset == v[i].asset &&
		    !(v[i].flags & GROUP_EXCLUDED))
			group_enter(g, v, (uint32_t)i, g->seat[old].grouping);
	}
}

static int order_compare(const void *pa, const void *pb, void *arg)
{
	const struct groups *g = arg;
	uint32_t ia = *(const uint32_t *)pa, ib = *(const uint32_t *)pb;
	const struct group_slot *a = &g->slot[ia], *b = &g->slot[ib];
	uint32_t at_a = group_position(a), at_b = group_position(b);

	if (a->asset != b->asset)
		return a->asset < b->asset ? -1 : 1;
	if (a->as != b->as)
		return a->as < b->as ? -1 : 1;
	if (at_a != at_b)
		return at_a < at_b ? -1 : 1;
	return ia < ib ? -1 : 1;
}

void group_order(struct groups *g)
{
	g->ordered = 0;
	for (size_t s = 0; s < g->slots; s++)
		if (g->slot[s].live && g->slot[s].count && !g->slot[s].closed)
			g->order[g->ordered++] = (uint32_t)s;
	if (g->ordered)
		qsort_r(g->order, g->ordered, sizeof(*g->order), order_compare, g);
}

int group_list(struct groups *g, const struct group_viewer *v, size_t n)
{
	size_t at = 0;

	(void)v;
	for (size_t s = 0; s < g->slots; s++) {
		struct group_slot *slot = &g->slot[s];

		slot->start = (uint32_t)at;
		slot->room = slot->count + 8 < g->o.size ? slot->count + 8 : g->o.size;
		at += slot->count ? slot->room : 0;
		slot->count = 0;
	}
	if (at > g->member_cap) {
		size_t cap = power_above(at);

		if (!grow(&g->member, cap, sizeof(*g->member)))
			return -ENOMEM;
		g->member_cap = cap;
	}
	for (size_t i = 0; i < n; i++)
		if (g->place[i] != GROUP_NONE) {
			struct group_slot *slot = &g->slot[g->place[i]];

			g->member[slot->start + slot->count++] = (uint32_t)i;
		}
	return 0;
}

static void remember(struct groups *g, struct group_viewer *v, size_t n)
{
	struct group_seat *was = g->seat;

	for (size_t i = 0; i < n; i++) {
		struct group_seat *s = &g->next[i];

		*s = (struct group_seat){ .id = v[i].id, .asset = v[i].asset, .grouping = v[i].grouping,
					  .as = v[i].as, .role = v[i].role, .nhelpers = v[i].nhelpers };
		memcpy(s->helper, v[i].helper, sizeof(s->helper));
	}
	g->seat = g->next;
	g->next = was;
	/* The index holds while nobody came, left or moved in the array. */
	if (n != g->seats)
		g->indexed = false;
	for (size_t i = 0; i < n && g->indexed; i++)
		g->indexed = g->old_of[i] == i;
	g->seats = n;
}

static void plan_all(struct groups *g, struct group_viewer *v, size_t n, struct group_result *result)
{
	struct group_sums sums = { 0 };
	uint32_t live = 0;

	for (size_t i = 0; i < n; i++) {
		v[i].cap = cap_of(&g->o, &v[i]);
		if (g->place[i] != GROUP_NONE)
			continue;
		sums.moved += g->old_of[i] == GROUP_NONE || g->seat[g->old_of[i]].grouping != GROUP_NONE;
		sums.alone++;
		v[i].grouping = GROUP_NONE;
		v[i].role = GROUP_ALONE;
		v[i].nhelpers = v[i].standing = 0;
		v[i].load = 0;
	}
	for (size_t s = 0; s < g->slots; s++) {
		if (g->slot[s].count)
			group_plan(g, v, (uint32_t)s, &sums);
		else
			g->slot[s].live = false;
		live += g->slot[s].live;
	}
	g->slot_free = 0;
	*result = (struct group_result){ .groupings = live, .first = sums.first, .second = sums.second,
					 .alone = sums.alone, .moved = sums.moved,
					 .cross_share = sums.bytes > 0 ? (float)(sums.crossing / sums.bytes) : 0,
					 .capacity = sums.worst };
}

int group_run(struct groups *g, struct group_viewer *v, size_t n, struct group_result *result)
{
	int err;

	if (n > g->n_cap || g->seats > g->n_cap || !g->n_cap) {
		err = make_room(g, n > g->seats ? n : g->seats, 0);
		if (err)
			return err;
	}
	map(g, v, n);
	err = make_room(g, n, n);
	if (!err)
		err = group_place(g, v, n);
	if (!err)
		err = group_list(g, v, n);
	if (err)
		return err;
	group_balance(g, v);
	plan_all(g, v, n, result);
	remember(g, v, n);
	return 0;
}
