/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nearest.c -- the distance of every word, one row of the table at a time.
 */
#include "lib/nearest.h"

#include <string.h>

#define WORD_MAX 48

/* Letters to change, add or remove between two words (Levenshtein). */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[WORD_MAX];
	size_t n = strlen(b);

	if (n >= WORD_MAX || strlen(a) >= WORD_MAX)
		return 99;
	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 1; a[i - 1]; i++) {
		unsigned int corner = row[0];

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= n; j++) {
			unsigned int best = corner + (a[i - 1] != b[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			corner = row[j];
			row[j] = best;
		}
	}
	return row[n];
}

const char *nearest_word(const char *word, const char *const *words, size_t n)
{
	unsigned int best = 4, d;
	const char *nearest = NULL;

	for (size_t i = 0; i < n; i++) {
		d = distance(word, words[i]);
		if (d < best && d < strlen(words[i])) {
			best = d;
			nearest = words[i];
		}
	}
	return nearest;
}
