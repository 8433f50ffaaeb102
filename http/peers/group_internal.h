/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group_internal.h -- what the files of group.h share: the state between runs and the work of one. A run maps viewers to
 * their seats of the last run (group.c), gives the rest a place (group_place.c), lets neighbours lend each other helpers
 * (group_balance.c), and plans each grouping by itself (group_plan.c). v is written by the last step alone.
 */
#ifndef WEIR_GROUP_INTERNAL_H
#define WEIR_GROUP_INTERNAL_H

#include "http/peers/group.h"

#define GROUP_SIZE_MAX 128
#define GROUP_SMALL    6 /* members: all who may upload are first */
#define GROUP_AS_REST  UINT32_MAX /* reserved as a number: groupings of several AS */

struct group_seat { /* what was planned for a viewer in the last run; helpers are indices of that run */
	uint64_t id, asset;
	uint32_t grouping, as;
	uint32_t helper[GROUP_HELPERS_MAX];
	uint8_t role, nhelpers;
};

struct group_slot { /* a grouping; its number is its index */
	uint64_t asset;
	uint64_t position_sum;
	uint64_t prefixes, ases; /* a bit for each, by its last six bits: may tell too much, never too little */
	uint32_t as;	   /* of nearly all members, or GROUP_AS_REST */
	uint32_t count;
	uint32_t start, room; /* of its members in work.member */
	float supply, need;   /* bytes/s that its members could upload; that its peers must carry, with margin */
	bool live, closed, fresh; /* closed: takes nobody in this run. fresh: got somebody in this run */
};

struct group_asset {
	uint64_t asset;
	uint32_t total, groupings;
};

struct group_pair { /* those of one asset and AS who have no place, or one among the rest */
	uint64_t asset;
	uint32_t as, count, rank;
};

struct group_key {
	uint64_t key;
	uint32_t i, pair;
};

struct groups {
	struct group_options o; /* no field is 0 */
	struct group_seat *seat, *next;
	size_t seats;
	struct group_slot *slot;
	size_t slots, slot_free;
	/* of one run; all grow together and stay */
	uint32_t *old_of, *new_of; /* index of the last run by this run's and back; GROUP_NONE */
	uint32_t *place;	   /* grouping */
	float *weight;		   /* bytes/s to plan with; 0: is no helper */
	uint32_t *member;	   /* by slot.start */
	uint8_t *rank;		   /* among the first of its grouping */
	uint32_t *order;	   /* live slots by asset, AS, position */
	size_t ordered;
	uint32_t *table;	   /* of seats by id; built when it is needed */
	size_t mask;
	bool indexed;
	struct group_asset *asset; /* open addressing; total 0: free */
	struct group_pair *pair;
	uint32_t *pair_table;
	size_t pairs, asset_mask, pair_mask;
	struct group_key *key, *key2;
	size_t unplaced;
	size_t n_cap, slot_cap, member_cap;
};

static inline uint64_t group_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static inline bool group_stands(const struct groups *g, uint32_t i)
{
	uint32_t old = g->old_of[i];

	return old != GROUP_NONE && g->seat[old].grouping == g->place[i];
}

static inline uint32_t group_position(const struct group_slot *s)
{
	return s->count ? (uint32_t)(s->position_sum / s->count) : 0;
}

struct group_asset *group_asset_of(struct groups *g, uint64_t asset); /* made when it is not there */
void group_enter(struct groups *g, const struct group_viewer *v, uint32_t i, uint32_t slot);
void group_leave(struct groups *g, const struct group_viewer *v, uint32_t i);
/* g->order anew. */
void group_order(struct groups *g);
/* Members of all slots into g->member, with room for some more each; -ENOMEM. */
int group_list(struct groups *g, const struct group_viewer *v, size_t n);

int group_place(struct groups *g, const struct group_viewer *v, size_t n);
void group_balance(struct groups *g, const struct group_viewer *v);
struct group_sums {
	double bytes, crossing; /* planned; those that cross an AS, of those where both are known */
	uint32_t first, second, alone, moved;
	float worst;
};
void group_plan(struct groups *g, struct group_viewer *v, uint32_t slot, struct group_sums *sums);

#endif
