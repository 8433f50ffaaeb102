/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top.h -- the values that come most often, by their hashes: exact (and with it the number of
 * distinct values) while there are no more of them than it has places, then SpaceSaving (Metwally
 * 2005): a value without a place takes that of the rarest one and inherits its count as the error.
 * Once full only about one of 16 values without a place gets one (sample and hold, Estan and
 * Varghese 2002): what comes often gets in all the same, a column of keys costs little.
 *
 * A count is at most `error` too high, and, when no longer exact, some 16 too low. Two values with
 * one hash are one.
 */
#ifndef WEIR_UPLOAD_TOP_H
#define WEIR_UPLOAD_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_TEXT 38 /* bytes of a value that are kept: an entry is a cache line */

struct top_entry {
	uint64_t hash, count, error;
	uint8_t len;
	bool cut;
	char text[TOP_TEXT];
};
_Static_assert(sizeof(struct top_entry) == 64, "one cache line");

struct top {
	struct top_entry *entries;
	uint32_t *index; /* tag (16 bits of the hash) << 16 | entry + 1; 0: free */
	uint32_t mask, n, places;
	uint32_t cursor, wait, random;
	bool exact;
	uint64_t least; /* no entry counts less */
};

int top_init(struct top *t, uint32_t places); /* a power of two, at most 32,768; 0 or -ENOMEM */
void top_fini(struct top *t);
/* The value has no place: true when all places are taken and it is the first that finds none; then
 * the caller may look at all that came so far, before anything else changes. */
bool top_miss(struct top *t, uint64_t hash, const char *text, size_t len);
/* The n most frequent into out, by count, then by text; the number. */
size_t top_list(const struct top *t, const struct top_entry **out, size_t n);

/* As top_miss(). */
static inline bool top_add(struct top *t, uint64_t hash, const char *text, size_t len)
{
	uint32_t tag = (uint32_t)(hash >> 48);

	for (uint32_t slot = (uint32_t)hash & t->mask, e; (e = t->index[slot]) != 0;
	     slot = (slot + 1) & t->mask)
		if (e >> 16 == tag && t->entries[(e & 0xffff) - 1].hash == hash) {
			t->entries[(e & 0xffff) - 1].count++;
			return false;
		}
	if (!t->exact && --t->wait)
		return false;
	return top_miss(t, hash, text, len);
}

#endif
