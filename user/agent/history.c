// SPDX-License-Identifier: Apache-2.0
/* history.c -- the thinning of kept generations (see history.h). */
#include "user/agent/history.h"

#include <string.h>

/* Of those that are not fresh the one that leaves the smallest gap, relative to its age. The oldest is how far
 * one can go back: it goes for its age alone. */
static size_t victim(const struct history *h, int64_t now)
{
	double least = 0;
	size_t best = 0;

	if (now - h->at[0] > HISTORY_OLDEST_S)
		return 0;
	for (size_t i = 1; i + HISTORY_FRESH < h->n; i++) {
		double gap = (double)(h->at[i + 1] - h->at[i - 1]);
		double weight = gap / (double)(now - h->at[i] + 1);

		if (!best || weight < least) {
			least = weight;
			best = i;
		}
	}
	return best;
}

bool history_add(struct history *h, uint64_t generation, int64_t at, uint64_t *drop)
{
	size_t gone;

	if (h->n && h->generation[h->n - 1] >= generation)
		return false;
	if (h->n && at < h->at[h->n - 1])
		at = h->at[h->n - 1];
	h->generation[h->n] = generation;
	h->at[h->n++] = at;
	if (h->n <= HISTORY_MAX)
		return false;
	gone = victim(h, at);
	*drop = h->generation[gone];
	h->n--;
	memmove(&h->generation[gone], &h->generation[gone + 1], (h->n - gone) * sizeof(*h->generation));
	memmove(&h->at[gone], &h->at[gone + 1], (h->n - gone) * sizeof(*h->at));
	return true;
}
