// SPDX-License-Identifier: Apache-2.0
/*
 * portion.c -- who holds which segment: weighted rendezvous hashing, so that everybody who knows the holders agrees
 * without a table, and a departure moves only what the departed held.
 */
#include <string.h>

#include "http/peers/group.h"

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/*
 * -ln of a number in (0, 1), by its exponent and four terms of the series of artanh: the relative error is below 1e-8
 * (the first term left out is s^10/11 of the result, |s| at most 0.172), which moves no more than one segment in 10^7.
 */
static double minus_ln(double u)
{
	uint64_t bits;
	double m, s, s2;
	int e;

	memcpy(&bits, &u, sizeof(bits));
	e = (int)(bits >> 52) - 1023;
	bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
	memcpy(&m, &bits, sizeof(m));
	if (m > 1.4142135623730951) {
		m *= 0.5;
		e++;
	}
	s = (m - 1) / (m + 1);
	s2 = s * s;
	return -(e * 0.6931471805599453 +
		 2 * s * (1 + s2 * (1.0 / 3 + s2 * (1.0 / 5 + s2 * (1.0 / 7 + s2 * (1.0 / 9))))));
}

/* The higher, the sooner it holds the segment. */
static double score(const struct group_holder *h, uint64_t about)
{
	uint64_t bits = mix(about ^ mix(h->id + 0x9e3779b97f4a7c15u));
	double u = ((double)(bits >> 12) + 0.5) * 0x1p-52;

	return h->weight > 0 ? (double)h->weight / minus_ln(u) : 0;
}

static uint64_t about(uint64_t asset, uint32_t segment)
{
	return mix(asset + 0x632be59bd9b4e019u * ((uint64_t)segment + 1));
}

static bool before(double a, uint64_t a_id, double b, uint64_t b_id)
{
	return a > b || (a == b && a_id < b_id);
}

size_t group_holders(const struct group_holder *h, size_t n, uint64_t asset, uint32_t segment, unsigned int copies,
		     uint32_t *out)
{
	uint64_t what = about(asset, segment);
	double scores[16];
	size_t got = 0, at;

	if (copies > sizeof(scores) / sizeof(*scores))
		copies = sizeof(scores) / sizeof(*scores);
	for (size_t i = 0; i < n && copies; i++) {
		double s = score(&h[i], what);

		for (at = got; at && before(s, h[i].id, scores[at - 1], h[out[at - 1]].id); at--)
			if (at < copies) {
				scores[at] = scores[at - 1];
				out[at] = out[at - 1];
			}
		if (at == copies)
			continue;
		scores[at] = s;
		out[at] = (uint32_t)i;
		got += got < copies;
	}
	return got;
}

static bool holds(const struct group_holder *h, size_t n, uint32_t who, uint64_t what, unsigned int copies)
{
	double mine;

	if (n <= copies)
		return true;
	mine = score(&h[who], what);
	for (size_t i = 0; i < n; i++)
		if (i != who && before(score(&h[i], what), h[i].id, mine, h[who].id) && !copies--)
			return false;
	return copies > 0;
}

size_t group_portion(const struct group_holder *h, size_t n, uint32_t who, uint64_t asset, uint32_t first, uint32_t last,
		     unsigned int copies, const uint16_t *have, struct group_range *out, size_t max)
{
	size_t ranges = 0;

	if (who >= n || last < first || !copies)
		return 0;
	/* Each segment belongs to one level of rarity, so that its scores are computed once. */
	for (unsigned int level = have ? 0 : copies; level <= copies; level++)
		for (uint64_t s = first; s <= last; s++) {
			unsigned int now = have && have[s - first] < copies ? have[s - first] : copies;

			if (now != level || !holds(h, n, who, about(asset, (uint32_t)s), copies + (now < copies)))
				continue;
			if (ranges && out[ranges - 1].last + 1 == s) {
				out[ranges - 1].last = (uint32_t)s;
				continue;
			}
			if (ranges == max)
				return ranges;
			out[ranges++] = (struct group_range){ (uint32_t)s, (uint32_t)s };
		}
	return ranges;
}
