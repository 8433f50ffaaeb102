// SPDX-License-Identifier: Apache-2.0
/*
 * supply.c -- what is rare in a grouping, and who receives from whom: greedy cover, by what is known to be held.
 */
#include <string.h>

#include "http/peers/supply.h"

static void range_set(uint64_t *set, size_t words, uint32_t first, uint32_t last)
{
	for (size_t w = first / 64; w < words && w <= last / 64; w++) {
		uint64_t mask = ~0ull;

		if (w == first / 64)
			mask &= ~0ull << (first % 64);
		if (w == last / 64)
			mask &= ~0ull >> (63 - last % 64);
		set[w] |= mask;
	}
}

bool supply_shares(const struct supply_member *m)
{
	return m->cap > 0 && m->cap >= m->demand;
}

void supply_rare(const struct supply_member *m, size_t n, size_t words, uint64_t *rare, uint64_t *none)
{
	uint64_t once[SUPPLY_WORDS_MAX] = { 0 }, twice[SUPPLY_WORDS_MAX] = { 0 }, need[SUPPLY_WORDS_MAX] = { 0 };

	for (size_t i = 0; i < n; i++) {
		if (m[i].last >= m[i].position)
			range_set(need, words, m[i].position, m[i].last);
		for (size_t w = 0; supply_shares(&m[i]) && w < words; w++) {
			twice[w] |= once[w] & m[i].have[w];
			once[w] |= m[i].have[w];
		}
	}
	for (size_t w = 0; w < words; w++) {
		rare[w] = need[w] & ~twice[w];
		none[w] = need[w] & ~once[w];
	}
}

static int gain(const uint64_t *have, const uint64_t *open, size_t first, size_t words)
{
	int bits = 0;

	for (size_t w = first; w < words; w++)
		bits += __builtin_popcountll(have[w] & open[w]);
	return bits;
}

static bool among(const uint32_t *out, size_t nout, size_t i)
{
	for (size_t k = 0; k < nout; k++)
		if (out[k] == i)
			return true;
	return false;
}

#define COVER 3 /* sources of each wanted segment, when there are so many */

struct choice {
	struct supply_member *m;
	size_t n, who, first, words;
	const uint32_t *now;
	size_t nnow;
	uint64_t open[COVER][SUPPLY_WORDS_MAX]; /* wanted, and had from fewer than 1, 2, … of those chosen */
};

/* What is had from one more. */
static void covered(struct choice *c, const uint64_t *have)
{
	for (size_t w = c->first; w < c->words; w++) {
		uint64_t got = have[w];

		for (int k = 0; k < COVER && got; k++) {
			uint64_t still = c->open[k][w];

			c->open[k][w] &= ~got;
			got &= ~still; /* what this level did not need counts for the next */
		}
	}
}

/* The best to add for what is still open on that level; n: nobody adds anything. */
static size_t best(const struct choice *c, int level, const uint32_t *out, size_t nout)
{
	const struct supply_member *me = &c->m[c->who];
	size_t at = c->n;
	float most = 0;

	for (size_t i = 0; i < c->n; i++) {
		const struct supply_member *m = &c->m[i];
		float room, score;

		if (i == c->who || !supply_shares(m) || among(out, nout, i))
			continue;
		room = m->cap / (m->load + me->demand);
		score = (float)gain(m->have, c->open[level], c->first, c->words) * (room < 8 ? room : 8);
		if (m->as && m->as == me->as)
			score *= 4;
		if (among(c->now, c->nnow, i))
			score *= 2;
		if (score > most) {
			most = score;
			at = i;
		}
	}
	return at;
}

size_t supply_sources(struct supply_member *m, size_t n, size_t who, const uint64_t *want, size_t words, const uint32_t *now,
		      size_t nnow, uint32_t *out, size_t nout, size_t max)
{
	struct choice c = { .m = m, .n = n, .who = who, .words = words, .now = now, .nnow = nnow };
	size_t at;

	c.first = m[who].position / 64 < words ? m[who].position / 64 : 0;
	for (int k = 0; k < COVER; k++)
		memcpy(c.open[k], want, words * sizeof(*want));
	for (size_t k = 0; k < nout; k++)
		covered(&c, m[out[k]].have);
	for (int level = 0; level < COVER; level++)
		while (nout < max && (at = best(&c, level, out, nout)) < n) {
			covered(&c, m[at].have);
			m[at].load += m[who].demand / COVER;
			out[nout++] = (uint32_t)at;
		}
	return nout;
}
