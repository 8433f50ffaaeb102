/* SPDX-License-Identifier: Apache-2.0 */
/* hll.c -- hashes into registers, and what that says (hll.h). */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "http/upload/hll.h"

int hll_init(struct hll *h, unsigned int bits)
{
	h->registers = calloc((size_t)1 << bits, 1);
	if (!h->registers)
		return -ENOMEM;
	h->bits = bits;
	h->nwaiting = 0;
	h->estimate = 0;
	h->chance = 1;
	return 0;
}

void hll_fini(struct hll *h)
{
	free(h->registers);
	h->registers = NULL;
}

/* Of values like this one, a share `chance` is noticed: the one noticed stands for 1/chance. */
static void raise(struct hll *h, uint32_t at, uint8_t rank)
{
	double m = (double)(UINT64_C(1) << h->bits);

	h->estimate += 1 / h->chance;
	h->chance -= (ldexp(1, -h->registers[at]) - ldexp(1, -rank)) / m;
	h->registers[at] = rank;
}

void hll_flush(struct hll *h)
{
	const uint64_t end = UINT64_C(1) << (h->bits - 1); /* ends the run of zeros at the latest */

	for (uint32_t i = 0; i < h->nwaiting; i++) {
		uint64_t hash = h->waiting[i];
		uint32_t at = (uint32_t)(hash >> (64 - h->bits));
		uint8_t rank = (uint8_t)(__builtin_clzll(hash << h->bits | end) + 1);

		if (__builtin_expect(rank > h->registers[at], 0))
			raise(h, at, rank);
	}
	h->nwaiting = 0;
}

void hll_known(struct hll *h, uint64_t n)
{
	hll_flush(h);
	h->estimate = (double)n;
}

double hll_error(unsigned int bits)
{
	return 0.8326 / sqrt((double)(UINT64_C(1) << bits)); /* sqrt(ln 2 / m) */
}
