/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.h -- which backend owns which slot: rendezvous by claims.
 *
 * A ring is a pure function of the published set of (backend id, rate), the number of slots and the
 * seed, so that all balancers agree without talking. Backend i walks the slots in its own order
 * (offset + k * skip) mod slots and claims the k-th at time g[k] / rate, g[k] = -ln(1 - (k+1/2)/slots);
 * the earliest claim of a slot wins, ties go to the smaller id. That is weighted rendezvous hashing
 * with one division of work: only claims earlier than 12 / (sum of rates) are walked, the few slots
 * that nobody claimed by then are decided by comparing all backends. Times are integers, so that
 * every machine and compiler computes the same ring.
 *
 * Shares follow the rates statistically (a few per cent at some hundred slots a backend);
 * publish.h calibrates the rates. One changed rate moves about as few slots as possible.
 */
#ifndef WEIR_RING_H
#define WEIR_RING_H

#include <stddef.h>
#include <stdint.h>

#define RING_SLOTS_MAX    (1u << 22)
#define RING_BACKENDS_MAX 65535u
#define RING_NONE         UINT32_MAX    /* a slot without an owner: every rate is 0 */

struct ring_backend {
	uint64_t id;            /* ring_id() of its name; distinct in a set */
	uint32_t rate;          /* 0: owns no slot */
};

/* The id that a backend has in every ring: a 64-bit hash of its name. */
uint64_t ring_id(const char *name);

/* The tables that depend on the number of slots alone; reused from build to build. */
struct ring;
int  ring_new(struct ring **out, uint32_t slots);       /* 0, -EINVAL or -ENOMEM */
void ring_free(struct ring *ring);                      /* accepts NULL */
uint32_t ring_slots(const struct ring *ring);

/* Writes for each slot the index in set[] of its owner. The order of set does not matter to who
 * owns what. 0, -EINVAL (too many backends) or -ENOMEM; owner[] is untouched on failure. */
int ring_build(struct ring *ring, const struct ring_backend *set, size_t n, uint64_t seed,
	       uint32_t *owner);

/* How many slots each backend owns: count[n]. */
void ring_count(const uint32_t *owner, uint32_t slots, uint32_t *count, size_t n);

#endif
