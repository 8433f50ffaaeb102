// SPDX-License-Identifier: Apache-2.0
/*
 * supply.c -- what is rare in a grouping, and who receives from whom: greedy cover, by what is known to be held.
 */
#include <string.h>

#include "http/peers/supply.h"

void supply_range(uint64_t *set, size_t words, uint32_t first, uint32_t last)
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

void supply_rare(const struct supply_member *m, size_t n, size_t words, unsigned int copies, uint64_t *rare, uint64_t *none)
{
	/* at[k]: held by more than k */
	uint64_t at[SUPPLY_COPIES_MAX][SUPPLY_WORDS_MAX] = { 0 }, need[SUPPLY_WORDS_MAX] = { 0 };

	copies = copies < 1 ? 1 : copies < SUPPLY_COPIES_MAX ? copies : SUPPLY_COPIES_MAX;
	for (size_t i = 0; i < n; i++) {
		if (m[i].last >= m[i].position)
			supply_range(need, words, m[i].position, m[i].last);
		for (size_t w = 0; supply_shares(&m[i]) && w < words; w++) {
			for (unsigned int k = copies - 1; k; k--)
				at[k][w] |= at[k - 1][w] & m[i].have[w];
			at[0][w] |= m[i].have[w];
		}
	}
	for (size_t w = 0; w < words; w++) {
		rare[w] = need[w] & ~at[copies - 1][w];
		none[w] = need[w] & ~at[0][w];
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

#define COVER	    3	  /* sources of each wanted segment, when there are so many */
/* Of a receiver's demand, what is reckoned for the sources of each level: the first could carry all of it. */
static const float parts[COVER] = { 1, 0.25f, 0.25f };

struct choice {
	struct supply_member *m;
	size_t n, who, first, words; /* words first…words - 1: outside them nothing is wanted */
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

/* Of those it is connected with, or told to be. firm: a moment ago, so that to change that would take as long again. */
static bool has_now(const struct choice *c, size_t i, bool *firm)
{
	for (size_t k = 0; k < c->nnow; k++)
		if ((c->now[k] & ~SUPPLY_FIRM) == i) {
			*firm = c->now[k] & SUPPLY_FIRM;
			return true;
		}
	return *firm = false;
}

static float room(const struct choice *c, size_t i, int level)
{
	return c->m[i].cap / (c->m[i].load + c->m[c->who].demand * parts[level]);
}

/* The best to add for what is still open on that level; n: nobody adds anything. */
static size_t best(const struct choice *c, int level, const uint32_t *out, size_t nout)
{
	const struct supply_member *me = &c->m[c->who];
	size_t at = c->n;
	float most = 0;

	for (size_t i = 0; i < c->n; i++) {
		const struct supply_member *m = &c->m[i];
		float score, left;
		bool now, firm;

		if (i == c->who || !supply_shares(m) || among(out, nout, i))
			continue;
		now = has_now(c, i, &firm);
		left = room(c, i, level);
		if (left < 1 && level && !firm)
			continue;
		if (me->near && level && nout >= 2 && m->as != me->as && !firm)
			continue;
		score = (float)gain(m->have, c->open[level], c->first, c->words) * (left < 4 ? left : 4);
		/* Who has nothing left is asked for what nobody else has, and never as a second. */
		if (left < 1 && !firm)
			score *= 0.02f;
		if (firm && score > 0)
			score += 1e6f;
		if (m->as && m->as == me->as)
			score *= 4;
		if (now)
			score *= 8;
		if (score > most) {
			most = score;
			at = i;
		}
	}
	return at;
}

size_t supply_sources(struct supply_member *m, size_t n, size_t who, const uint64_t *want, size_t words, const uint32_t *now,
		      size_t nnow, uint32_t *out, size_t max, uint64_t *lacking)
{
	struct choice c = { .m = m, .n = n, .who = who, .words = words, .now = now, .nnow = nnow };
	size_t at, nout = 0;

	for (int k = 0; k < COVER; k++)
		memcpy(c.open[k], want, words * sizeof(*want));
	memcpy(lacking, want, words * sizeof(*want));
	while (c.words && !want[c.words - 1])
		c.words--;
	while (c.first < c.words && !want[c.first])
		c.first++;
	for (int level = 0; level < COVER; level++)
		while (nout < max && (at = best(&c, level, out, nout)) < n) {
			for (size_t w = c.first; w < c.words && room(&c, at, level) >= 1; w++)
				lacking[w] &= ~m[at].have[w];
			covered(&c, m[at].have);
			m[at].load += m[who].demand * parts[level];
			out[nout++] = (uint32_t)at;
		}
	return nout;
}
