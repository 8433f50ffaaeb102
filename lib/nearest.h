/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nearest.h -- what somebody may have meant, for "did you mean". Pure.
 */
#ifndef WEIR_NEAREST_H
#define WEIR_NEAREST_H

#include <stddef.h>

/* The first of the words that are the fewest letters away (Levenshtein), three at most and fewer
 * than it has; NULL: none is. It is one of `words`, whose lifetime it has. A word of 48 bytes or
 * more is far from all. */
const char *nearest_word(const char *word, const char *const *words, size_t n);

#endif
