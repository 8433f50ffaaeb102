/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement.c -- weighted rendezvous over endpoints, spread over failure domains (placement.h).
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "http/store/placement.h"
#include "lib/hash.h"

#define PLACEMENT_TAKEN_MAX 16

/* How near two nodes fail together: 0 other site, 1 other domain, 2 other endpoint, 3 the same. */
static int nearness(const struct placement_node *a, const struct placement_node *b)
{
	if (!strcmp(a->name, b->name))
		return 3;
	if (strcmp(a->site, b->site))
		return 0;
	return strcmp(a->domain, b->domain) ? 1 : 2;
}

unsigned int placement_group(const struct version *v)
{
	/* The id is random: its first ten bits are as good as any. */
	return ((unsigned int)v->id[0] << 2 | v->id[1] >> 6) % PLACEMENT_GROUPS;
}

void placement_alike(struct placement_alike *a, struct version *v)
{
	if (a->n++ % PLACEMENT_ALIKE)
		memcpy(v->id, a->begin, PLACEMENT_ALIKE_BYTES);
	else
		memcpy(a->begin, v->id, PLACEMENT_ALIKE_BYTES);
}

static double score(const struct placement_node *node, unsigned int group)
{
	uint64_t h = hash64(node->name, strlen(node->name), 0x77656972ULL << 16 | group);
	double u = ((double)(h >> 11) + 0.5) / 9007199254740992.0; /* in (0, 1): 53 bits */

	return -node->weight / log(u);
}

/* The best node that is not taken: least near to any taken one, then by score. */
static bool best(const struct placement_node *nodes, size_t n, unsigned int group,
		 const struct placement_node *const *taken, size_t ntaken, size_t *out)
{
	double best_score = 0;
	int best_near = 3;

	for (size_t i = 0; i < n; i++) {
		int near = 0;
		double s;

		if (!(nodes[i].weight > 0))
			continue;
		for (size_t t = 0; t < ntaken; t++) {
			int d = nearness(&nodes[i], taken[t]);

			near = d > near ? d : near;
		}
		if (near >= 3 || near > best_near)
			continue;
		s = score(&nodes[i], group);
		if (near < best_near || s > best_score) {
			best_near = near;
			best_score = s;
			*out = i;
		}
	}
	return best_near < 3;
}

size_t placement_choose(const struct placement_node *nodes, size_t n, unsigned int group,
			const struct placement_node *const *taken, size_t ntaken, size_t *out,
			size_t want)
{
	const struct placement_node *all[PLACEMENT_TAKEN_MAX];
	size_t found = 0;

	for (size_t i = 0; i < ntaken && i < PLACEMENT_TAKEN_MAX; i++)
		all[i] = taken[i];
	if (ntaken > PLACEMENT_TAKEN_MAX)
		ntaken = PLACEMENT_TAKEN_MAX;
	while (found < want && ntaken < PLACEMENT_TAKEN_MAX) {
		if (!best(nodes, n, group, all, ntaken, &out[found]))
			break;
		all[ntaken++] = &nodes[out[found++]];
	}
	return found;
}
