/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_moves.c -- counts before and after.
 */
#include "tests/unit/ring_moves.h"

#include <stdlib.h>

#include "user/agent/ring.h"

double ring_moves(const uint32_t *a, const uint32_t *b, uint32_t slots, size_t n, double *least)
{
	uint32_t *ca = calloc(n, sizeof(*ca)), *cb = calloc(n, sizeof(*cb)), moved = 0;

	ring_count(a, slots, ca, n);
	ring_count(b, slots, cb, n);
	for (uint32_t i = 0; i < slots; i++)
		moved += a[i] != b[i];
	*least = 0;
	for (size_t i = 0; i < n; i++)
		*least += cb[i] > ca[i] ? cb[i] - ca[i] : 0;
	free(ca);
	free(cb);
	return moved;
}
