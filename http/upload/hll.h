/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hll.h -- about how many distinct hashes came by: HyperLogLog registers (Flajolet 2007) read by
 * the historic inverse probability estimator (Cohen 2015, Ting 2014). One stream, no merging: in
 * exchange the standard error is 0.84 / sqrt(m) instead of 1.04, and neither small nor middle
 * ranges need a correction or tables of bias.
 *
 * 15 bits: 32 KiB and 0.46%; 11 bits: 2 KiB and 1.85%. Hashes must be uniform in all 64 bits
 * (XXH3).
 */
#ifndef WEIR_UPLOAD_HLL_H
#define WEIR_UPLOAD_HLL_H

#include <stdint.h>

#define HLL_WAITING 32u

struct hll {
	uint8_t *registers; /* NULL: not made yet */
	/* Hashes that the registers have not seen: taken together, so that their cache misses are waited for together. */
	uint32_t nwaiting;
	uint64_t waiting[HLL_WAITING];
	unsigned int bits;
	double estimate; /* without those that wait: hll_estimate() */
	double chance; /* that a hash not seen yet raises a register: the sum of 2^-register over m
			*/
};

int hll_init(struct hll *h, unsigned int bits); /* 4 to 18; 0 or -ENOMEM */
void hll_fini(struct hll *h);
/* The caller knows that exactly n distinct hashes were added so far (it kept them all until now).
 */
void hll_known(struct hll *h, uint64_t n);
double hll_error(unsigned int bits); /* relative standard error */

void hll_flush(struct hll *h);

static inline void hll_add(struct hll *h, uint64_t hash)
{
	h->waiting[h->nwaiting++] = hash;
	if (h->nwaiting == HLL_WAITING)
		hll_flush(h);
}

static inline double hll_estimate(struct hll *h)
{
	hll_flush(h);
	return h->estimate;
}

#endif
