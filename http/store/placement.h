/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement.h -- which endpoints shall hold a version.
 *
 * Pure: version and endpoints in, a ranking out. A version belongs to one of 1,024 placement
 * groups; endpoints are ranked for a group by weighted rendezvous (Thaler & Ravishankar 1998; the
 * weighted form -w/ln u, Schindelhauer & Schomaker 2005), so that an endpoint that comes or goes
 * moves only the groups that it gains or loses. Copies are spread: another site before another
 * domain before another endpoint of the same domain.
 */
#ifndef WEIR_STORE_PLACEMENT_H
#define WEIR_STORE_PLACEMENT_H

#include <stddef.h>

#include "http/store/version.h"

#define PLACEMENT_GROUPS 1024
#define PLACEMENT_NAME   64

struct placement_node {
	char name[PLACEMENT_NAME], site[PLACEMENT_NAME], domain[PLACEMENT_NAME];
	double weight;          /* relative room; 0 or less: takes nothing new */
};

unsigned int placement_group(const struct version *v);

/* Versions that are made one after the other shall lie together in every index by version: then a
 * round of small puts changes a page or two of each, not as many as it has puts. v, which is
 * random, comes to begin like the last one, but for one of PLACEMENT_ALIKE: few enough that the
 * groups fill alike. What is behind the beginning stays. Begins with zeros. */
#define PLACEMENT_ALIKE	      64
#define PLACEMENT_ALIKE_BYTES 4
struct placement_alike {
	uint8_t begin[PLACEMENT_ALIKE_BYTES];
	unsigned int n;
};
void placement_alike(struct placement_alike *a, struct version *v);

/* Chooses up to `want` of the n nodes for a group, best first, as indexes into nodes; taken are
 * nodes that hold the version already (they are never chosen, and the others are spread away from
 * them). Returns how many were found. */
size_t placement_choose(const struct placement_node *nodes, size_t n, unsigned int group,
			const struct placement_node *const *taken, size_t ntaken,
			size_t *out, size_t want);

#endif
