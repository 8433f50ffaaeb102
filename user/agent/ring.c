/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.c -- rendezvous by claims, in integers (see ring.h).
 *
 * Units: g[k] is a fixed-point number with 60 fraction bits (g < ln(2 * 2^22) < 16, so it fits in 64
 * bits); a claim's time is g * 2^64 / rate / 2^64, that is g / rate with 60 fraction bits. The largest
 * rate is 2^32-1, so the earliest times still have about 11 bits below one slot at 65,537 slots.
 *
 * Changing anything here changes rings: balancers of different versions would then disagree while
 * both run. tests/unit/test_ring.c holds a known ring to notice it.
 */
#include "user/agent/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define G_BITS     60
#define G_ONE      (UINT64_C(1) << G_BITS)
#define WALK_UNTIL 12           /* in units of 1 / (sum of rates): e^-12 of the slots stay unclaimed */

typedef unsigned __int128 u128;

struct claim {
	uint32_t offset, skip;
	uint64_t inverse;       /* 2^64 / rate */
};

struct ring {
	uint32_t slots;
	uint64_t *g;            /* [slots] */
	uint64_t *time;         /* [slots] scratch: the earliest claim so far */
	uint32_t *owner;        /* [slots] scratch */
};

static uint64_t mix64(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

uint64_t ring_id(const char *name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);   /* FNV-1a, then mixed: its high bits are poor */

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return mix64(hash);
}

/* 2 * atanh(1/n) = ln((n+1)/(n-1)) with G_BITS fraction bits, n >= 2. */
static uint64_t two_atanh_inverse(uint64_t n)
{
	uint64_t power = 2 * (G_ONE / n);       /* 2/n; for n = 2 this is G_ONE */
	uint64_t sum = power, square = n * n;

	for (uint64_t odd = 3; power; odd += 2) {
		power /= square;
		sum += power / odd;
	}
	return sum;
}

/* g[0] = ln(2M / (2M-1)); g[k] - g[k-1] = ln((2M-2k+1) / (2M-2k-1)). */
static void fill_times(uint64_t *g, uint32_t slots)
{
	uint64_t twice = 2 * (uint64_t)slots;

	g[0] = two_atanh_inverse(2 * twice - 1);
	for (uint32_t k = 1; k < slots; k++)
		g[k] = g[k - 1] + two_atanh_inverse(twice - 2 * k);
}

int ring_new(struct ring **out, uint32_t slots)
{
	struct ring *ring;

	if (slots == 0 || slots > RING_SLOTS_MAX)
		return -EINVAL;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	ring->slots = slots;
	ring->g = malloc(slots * sizeof(*ring->g));
	ring->time = malloc(slots * sizeof(*ring->time));
	ring->owner = malloc(slots * sizeof(*ring->owner));
	if (!ring->g || !ring->time || !ring->owner) {
		ring_free(ring);
		return -ENOMEM;
	}
	fill_times(ring->g, slots);
	*out = ring;
	return 0;
}

void ring_free(struct ring *ring)
{
	if (!ring)
		return;
	free(ring->g);
	free(ring->time);
	free(ring->owner);
	free(ring);
}

uint32_t ring_slots(const struct ring *ring)
{
	return ring->slots;
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static struct claim make_claim(const struct ring_backend *backend, uint64_t seed, uint32_t slots)
{
	uint64_t hash = mix64(backend->id ^ mix64(seed + UINT64_C(0x9e3779b97f4a7c15)));
	struct claim claim = { .offset = (uint32_t)(hash % slots), .skip = 1 };

	if (slots > 2) {
		claim.skip = 1 + (uint32_t)(mix64(hash + UINT64_C(0x9e3779b97f4a7c15)) % (slots - 1));
		while (gcd(claim.skip, slots) != 1)
			claim.skip = claim.skip % (slots - 1) + 1;
	}
	claim.inverse = backend->rate ? UINT64_MAX / backend->rate : 0;
	return claim;
}

static inline uint64_t claim_time(uint64_t g, uint64_t inverse)
{
	return (uint64_t)(((u128)g * inverse) >> 64);
}

/* Claims every slot that this backend reaches by the time `until`. */
static void walk(struct ring *ring, const struct ring_backend *set, const struct claim *claim,
		 uint32_t i, uint64_t until)
{
	uint32_t slots = ring->slots, slot = claim->offset;

	for (uint32_t k = 0; k < slots; k++) {
		uint64_t time = claim_time(ring->g[k], claim->inverse);

		if (time > until)
			return;
		if (time < ring->time[slot] ||
		    (time == ring->time[slot] && set[i].id < set[ring->owner[slot]].id)) {
			ring->time[slot] = time;
			ring->owner[slot] = i;
		}
		slot += claim->skip;
		if (slot >= slots)
			slot -= slots;
	}
}

/* The x with skip * x = 1 mod slots; skip and slots are coprime. */
static uint32_t inverse_mod(uint32_t skip, uint32_t slots)
{
	int64_t r0 = slots, r1 = skip % slots, t0 = 0, t1 = 1;

	while (r1) {
		int64_t quotient = r0 / r1, next;

		next = r0 - quotient * r1;
		r0 = r1;
		r1 = next;
		next = t0 - quotient * t1;
		t0 = t1;
		t1 = next;
	}
	return (uint32_t)(t0 < 0 ? t0 + slots : t0);
}

/* The winner of one slot among all backends, by computing where each has it in its walk. */
static uint32_t decide(const struct ring *ring, const struct ring_backend *set,
		       const struct claim *claims, size_t n, uint32_t slot)
{
	uint32_t slots = ring->slots, best = RING_NONE;
	uint64_t best_time = UINT64_MAX;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t steps, time;

		if (!set[i].rate)
			continue;
		steps = (slot + (uint64_t)slots - claims[i].offset) % slots;
		steps = steps * inverse_mod(claims[i].skip, slots) % slots;
		time = claim_time(ring->g[steps], claims[i].inverse);
		if (best == RING_NONE || time < best_time ||
		    (time == best_time && set[i].id < set[best].id)) {
			best_time = time;
			best = i;
		}
	}
	return best;
}

static uint64_t walk_limit(const struct ring_backend *set, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += set[i].rate;
	/* 12 / sum with 60 fraction bits; the largest 64-bit number stays free: it means unclaimed. */
	return sum ? (uint64_t)(((u128)WALK_UNTIL << G_BITS) / sum) : 0;
}

int ring_build(struct ring *ring, const struct ring_backend *set, size_t n, uint64_t seed,
	       uint32_t *owner)
{
	uint64_t until = walk_limit(set, n);
	struct claim *claims;

	if (n > RING_BACKENDS_MAX)
		return -EINVAL;
	claims = malloc((n ? n : 1) * sizeof(*claims));
	if (!claims)
		return -ENOMEM;
	memset(ring->time, 0xff, ring->slots * sizeof(*ring->time));
	for (uint32_t i = 0; i < n; i++) {
		claims[i] = make_claim(&set[i], seed, ring->slots);
		if (set[i].rate)
			walk(ring, set, &claims[i], i, until < UINT64_MAX ? until : until - 1);
	}
	for (uint32_t slot = 0; slot < ring->slots; slot++)
		owner[slot] = ring->time[slot] != UINT64_MAX ? ring->owner[slot] :
			      decide(ring, set, claims, n, slot);
	free(claims);
	return 0;
}

void ring_count(const uint32_t *owner, uint32_t slots, uint32_t *count, size_t n)
{
	memset(count, 0, n * sizeof(*count));
	for (uint32_t slot = 0; slot < slots; slot++)
		if (owner[slot] < n)
			count[owner[slot]]++;
}
