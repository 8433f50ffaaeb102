/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_moves.h -- what a change of a ring cost.
 */
#ifndef WEIR_TESTS_RING_MOVES_H
#define WEIR_TESTS_RING_MOVES_H

#include <stddef.h>
#include <stdint.h>

/* How many slots have another owner in b than in a; *least: the fewest that could have, for the
 * counts that resulted. Both are rings of `slots` over the same n backends. */
double ring_moves(const uint32_t *a, const uint32_t *b, uint32_t slots, size_t n, double *least);

#endif
