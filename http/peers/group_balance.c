// SPDX-License-Identifier: Apache-2.0
/*
 * group_balance.c -- groupings short of uplink get spare helpers from their neighbours: first from those of the same AS,
 * then from others of the asset. A helper moves where there is room, else it changes places with one who has nothing to
 * give. As few as possible; who is in a first group moves only when nobody else can: those whom it helped then get another.
 */
#include "http/peers/group_internal.h"

#define NEIGHBOURS 32 /* on each side, in the order of asset, AS and position */

/* What a member brings who was never measured, over the mean of those who were: of newcomers it is not known, and to count
 * them as nearly nothing made each grouping that got some borrow helpers, of other networks too, whom it then had to spare. */
#define GUESS 0.5

static void sum_up(struct groups *g, const struct group_viewer *v, struct group_slot *s)
{
	double supply = 0, demand = 0;
	uint32_t measured = 0, guessed = 0;

	for (uint32_t k = 0; k < s->count; k++) {
		uint32_t i = g->member[s->start + k];

		demand += v[i].demand;
		if (v[i].flags & GROUP_MEASURED) {
			supply += g->weight[i];
			measured += g->weight[i] > 0;
		} else {
			guessed += g->weight[i] > 0;
		}
	}
	if (measured)
		supply += guessed * GUESS * supply / measured;
	else
		for (uint32_t k = 0; k < s->count; k++)
			supply += g->weight[g->member[s->start + k]];
	s->supply = (float)supply;
	/* What `copies` members' worth holds by itself, nobody has to bring. */
	s->need = s->count > g->o.copies ? (float)(g->o.margin * demand * (s->count - g->o.copies) / s->count) : 0;
}

static bool serves(const struct groups *g, uint32_t i)
{
	return group_stands(g, i) && g->seat[g->old_of[i]].role == GROUP_FIRST;
}

/* Whom the donor can spare most usefully: its place in the list, or GROUP_NONE. */
static uint32_t spare_of(const struct groups *g, const struct group_viewer *v, const struct group_slot *donor, float missing,
			 bool serving)
{
	float spare = donor->supply - 1.05f * donor->need, best = 0;
	uint32_t at = GROUP_NONE;

	for (uint32_t k = 0; k < donor->count; k++) {
		uint32_t i = g->member[donor->start + k];
		float w = g->weight[i];

		if (w <= 0 || w > spare || v[i].flags & GROUP_BATTERY_LOW || serves(g, i) != serving)
			continue;
		/* The smallest that is enough, else the largest. */
		if (at == GROUP_NONE || (best < missing ? w > best : w >= missing && w < best)) {
			best = w;
			at = k;
		}
	}
	return at;
}

/* Who has least to give, the newest among them; GROUP_NONE when nobody has less than `w`. */
static uint32_t least_of(const struct groups *g, const struct group_slot *s, float w)
{
	uint32_t at = GROUP_NONE;
	float best = w / 2;
	bool best_stands = true;

	for (uint32_t k = 0; k < s->count; k++) {
		uint32_t i = g->member[s->start + k];
		bool stands = group_stands(g, i);

		if (g->weight[i] < best || (g->weight[i] <= best && best_stands && !stands && at != GROUP_NONE)) {
			best = g->weight[i];
			best_stands = stands;
			at = k;
		}
	}
	return at;
}

/* One helper from donor to s. False: nothing to be had. */
static bool lend(struct groups *g, const struct group_viewer *v, uint32_t donor_number, uint32_t number)
{
	struct group_slot *donor = &g->slot[donor_number], *s = &g->slot[number];
	uint32_t k = spare_of(g, v, donor, s->need - s->supply, false), helper, other;

	if (k == GROUP_NONE)
		k = spare_of(g, v, donor, s->need - s->supply, true);
	if (k == GROUP_NONE)
		return false;
	helper = g->member[donor->start + k];
	if (s->count < s->room && donor->count > g->o.least) {
		g->member[donor->start + k] = g->member[donor->start + donor->count - 1];
		group_leave(g, v, helper);
		g->member[s->start + s->count] = helper;
		group_enter(g, v, helper, number);
	} else {
		uint32_t j = least_of(g, s, g->weight[helper]);

		if (j == GROUP_NONE)
			return false;
		other = g->member[s->start + j];
		g->member[donor->start + k] = other;
		g->member[s->start + j] = helper;
		group_leave(g, v, helper), group_leave(g, v, other);
		group_enter(g, v, helper, number), group_enter(g, v, other, donor_number);
	}
	sum_up(g, v, donor);
	sum_up(g, v, s);
	return true;
}

static void borrow(struct groups *g, const struct group_viewer *v, size_t at, bool same_as)
{
	struct group_slot *s = &g->slot[g->order[at]];
	unsigned int moves = 0;

	for (size_t far = 1; far <= NEIGHBOURS; far++)
		for (int side = 0; side < 2; side++) {
			size_t o = side ? at - far : at + far;
			const struct group_slot *donor;

			if (o >= g->ordered) /* below 0 it wraps */
				continue;
			donor = &g->slot[g->order[o]];
			if (donor->asset != s->asset || (donor->as == s->as && donor->as != GROUP_AS_REST) != same_as)
				continue;
			while (s->supply < s->need && donor->supply > donor->need && moves < g->o.size &&
			       lend(g, v, g->order[o], g->order[at]))
				moves++;
			if (s->supply >= s->need)
				return;
		}
}

void group_balance(struct groups *g, const struct group_viewer *v)
{
	group_order(g);
	for (size_t o = 0; o < g->ordered; o++)
		sum_up(g, v, &g->slot[g->order[o]]);
	for (size_t o = 0; o < g->ordered; o++) {
		const struct group_slot *s = &g->slot[g->order[o]];

		/* One that stood before is mended only when it is short by more than what measurements vary. */
		if (s->supply < s->need * (s->fresh ? 1 : 0.9f)) {
			borrow(g, v, o, true);
			borrow(g, v, o, false);
		}
	}
}
