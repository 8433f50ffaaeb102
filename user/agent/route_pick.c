// SPDX-License-Identifier: Apache-2.0
/* route_pick.c -- the choice of an edge (see route_pick.h). */
#include "user/agent/route_pick.h"

#include "bpf/abi/hash.h"

#define NEAR_US 1000 /* so much further, or a quarter, is as near: measurements are no better */
#define MUCH_US 2000 /* so much further, and by half, is not kept */

/* From worst to best; what is not alive has no rank. */
enum rank { RANK_DEAD, RANK_EMPTY_DRAINING, RANK_EMPTY, RANK_DRAINING, RANK_SERVES };

static enum rank rank_of(const struct route_choice *c)
{
	if (!c->alive)
		return RANK_DEAD;
	if (c->attached)
		return c->draining ? RANK_DRAINING : RANK_SERVES;
	return c->draining ? RANK_EMPTY_DRAINING : RANK_EMPTY;
}

static uint64_t distance(const struct route_choice *c)
{
	return c->rtt_us ? c->rtt_us : UINT32_MAX;
}

static uint64_t name_hash(uint64_t hash, const char *name)
{
	for (; *name; name++)
		hash = weir_hash_mix(hash, (uint8_t)*name);
	return weir_hash_mix(hash, 0);
}

static int local_of(const struct route_choice *c, size_t n, enum rank rank)
{
	for (size_t i = 0; i < n; i++)
		if (c[i].local && rank_of(&c[i]) == rank)
			return (int)i;
	return -1;
}

static uint64_t least_distance(const struct route_choice *c, size_t n, enum rank rank)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < n; i++)
		if (rank_of(&c[i]) == rank && distance(&c[i]) < least)
			least = distance(&c[i]);
	return least;
}

/* Rendezvous hashing among those about as near as the nearest. */
static int nearest_of(const char *tunnel, const struct route_choice *c, size_t n, enum rank rank)
{
	uint64_t least = least_distance(c, n, rank), best = 0;
	uint64_t near = least + (least / 4 > NEAR_US ? least / 4 : NEAR_US);
	int found = -1;

	for (size_t i = 0; i < n; i++) {
		uint64_t score;

		if (rank_of(&c[i]) != rank || distance(&c[i]) > near)
			continue;
		score = name_hash(name_hash(0, tunnel), c[i].edge);
		if (found >= 0 && score < best)
			continue;
		best = score;
		found = (int)i;
	}
	return found;
}

static bool may_stay(const struct route_choice *c, size_t n, int current, enum rank rank)
{
	uint64_t least, here;

	if (current < 0 || (size_t)current >= n || rank_of(&c[current]) != rank)
		return false;
	least = least_distance(c, n, rank);
	here = distance(&c[current]);
	return here <= least + least / 2 + MUCH_US;
}

static enum rank best_rank(const struct route_choice *c, size_t n)
{
	enum rank best = RANK_DEAD;

	for (size_t i = 0; i < n; i++)
		if (rank_of(&c[i]) > best)
			best = rank_of(&c[i]);
	return best;
}

/* All look dead: more likely it is this node that is cut off. */
static int pick_dead(const struct route_choice *c, size_t n, int current)
{
	if (current >= 0 && (size_t)current < n)
		return current;
	for (size_t i = 0; i < n; i++)
		if (c[i].attached)
			return (int)i;
	return -1;
}

static enum route_why why_of(enum rank rank, bool local, bool kept)
{
	if (rank == RANK_DRAINING)
		return ROUTE_DRAINING;
	if (rank < RANK_DRAINING)
		return ROUTE_UNATTACHED;
	return local ? ROUTE_LOCAL : kept ? ROUTE_KEPT : ROUTE_NEAREST;
}

int route_pick(const char *tunnel, const struct route_choice *c, size_t n, int current,
	       enum route_why *why)
{
	enum rank rank = best_rank(c, n);
	enum route_why reason;
	bool kept = false;
	int at;

	if (rank == RANK_DEAD) {
		at = pick_dead(c, n, current);
		reason = at < 0 ? ROUTE_NONE : ROUTE_ALL_DEAD;
		goto out;
	}
	at = local_of(c, n, rank);
	/* The last one knows that an origin was there, and holds requests while it comes back. */
	if (at < 0 || rank < RANK_DRAINING)
		kept = may_stay(c, n, current, rank);
	if (kept)
		at = current;
	else if (at < 0)
		at = nearest_of(tunnel, c, n, rank);
	reason = why_of(rank, c[at].local, kept);
out:
	if (why)
		*why = reason;
	return at;
}

const char *route_why_text(enum route_why why)
{
	switch (why) {
	case ROUTE_NONE:
		return "no edge is known";
	case ROUTE_LOCAL:
		return "attached here";
	case ROUTE_NEAREST:
		return "nearest to the origin";
	case ROUTE_KEPT:
		return "answered before, none is much nearer";
	case ROUTE_DRAINING:
		return "all that are attached drain";
	case ROUTE_UNATTACHED:
		return "no origin is attached";
	case ROUTE_ALL_DEAD:
		return "no edge seems to live, the last one stays";
	}
	return "";
}
