/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h -- is what the edge program let out well formed, and is it what came in?
 *
 * Written from the RFCs and abi/gue.h alone. A header that the program wrote itself must be right; one that it
 * only changed must be right if it was right when it came.
 */
#ifndef WEIR_TESTS_CHECK_H
#define WEIR_TESTS_CHECK_H

#include "tests/bpf/edge.h"

/* NULL, or what is wrong with the outcome of `in`. */
const char *check_outcome(const struct frame *in, const struct outcome *o);

#endif
