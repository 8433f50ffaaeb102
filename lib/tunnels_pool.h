/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnels_pool.h -- the addresses of tunnels: those that are taken, and the lowest that is not. For
 * tunnels_edit.c.
 */
#ifndef WEIR_TUNNELS_POOL_H
#define WEIR_TUNNELS_POOL_H

#include "lib/tunnels.h"

struct taken_address {
	struct addr addr;
	int64_t free_at; /* the revision of its key when its quarantine is over, else 0: not free */
};

/* All addresses that are somebody's or were, in order (the caller frees); *revision: of this reading.
 * 0 or the registry's error. */
int tunnels_taken(struct registry *reg, struct taken_address **out, size_t *n, int64_t *revision);

/* Pure: 1 and the lowest free address of a family with the revision of its key (0: there is none), 0
 * when the pool has no network of the family, -ENOSPC when all are taken. The first address of a
 * network, and in IPv4 the last, are left out (RFC 4291 section 2.6.1, RFC 919). */
int tunnels_choose(const struct tunnel_pool *pool, uint8_t family, const struct taken_address *list,
		   size_t n, struct addr *out, int64_t *revision);

#endif
