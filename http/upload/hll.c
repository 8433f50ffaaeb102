/* SPDX-License-Identifier: Apache-2.0 */
/* hll.c -- the rare part of hll.h: a register rises. */
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
void hll_raise(struct hll *h, uint32_t at, uint8_t rank)
{
	double m = (double)(UINT64_C(1) << h->bits);

	h->estimate += 1 / h->chance;
	h->chance -= (ldexp(1, -h->registers[at]) - ldexp(1, -rank)) / m;
	h->registers[at] = rank;
}

void hll_known(struct hll *h, uint64_t n)
{
	h->estimate = (double)n;
}

double hll_error(unsigned int bits)
{
	return 0.8326 / sqrt((double)(UINT64_C(1) << bits)); /* sqrt(ln 2 / m) */
}
