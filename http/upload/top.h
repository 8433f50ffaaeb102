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

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TOP_TEXT 38 /* bytes of a value that are kept: an entry is a cache line */

struct top_entry {
	uint64_t hash, count, error;
	uint8_t len;
	bool cut;
	char text[TOP_TEXT];
};
_Static_assert(sizeof(struct top_entry) == 64, "one cache line");

/* The index: groups of eight tags, looked at together as one word (as Swiss tables do). A group is
 * half full at most times, so that nearly every value without a place is told by one compare and
 * one branch that always goes the same way. */
struct top {
	struct top_entry *entries;
	uint8_t *tags;	/* 7 bits of the hash and 0x80; 0: free; 4 × places */
	uint8_t *slots; /* the entry of each tag */
	uint32_t mask;	/* of groups */
	uint32_t n, places;
	uint32_t cursor, wait, random;
	bool exact;
	uint64_t least; /* no entry counts less */
};
#define TOP_BYTES(b) (UINT64_C(0x0101010101010101) * (b))

int top_init(struct top *t, uint32_t places); /* a power of two, 2 to 256; 0 or -ENOMEM */
void top_fini(struct top *t);
/* The value has no place: true when all places are taken and it is the first that finds none; then
 * the caller may look at all that came so far, before anything else changes. */
bool top_miss(struct top *t, uint64_t hash, const char *text, size_t len);
/* The n most frequent into out, by count, then by text; the number. */
size_t top_list(const struct top *t, const struct top_entry **out, size_t n);

static inline uint64_t top_tag(uint64_t hash)
{
	return hash >> 57 | 0x80;
}

/* The value's place, or NULL. */
static inline struct top_entry *top_find(const struct top *t, uint64_t hash)
{
	for (uint32_t group = (uint32_t)hash & t->mask;; group = (group + 1) & t->mask) {
		uint64_t tags, other, same;

		memcpy(&tags, t->tags + 8 * (size_t)group, 8);
		tags = le64toh(tags);
		other = tags ^ TOP_BYTES(top_tag(hash));
		for (same = (other - TOP_BYTES(0x01)) & ~other & TOP_BYTES(0x80); same; same &= same - 1) {
			uint32_t slot = 8 * group + (uint32_t)__builtin_ctzll(same) / 8;
			struct top_entry *e = &t->entries[t->slots[slot]];

			if (e->hash == hash)
				return e;
		}
		if (~tags & TOP_BYTES(0x80))
			return NULL;
	}
}

/* Whether a value without a place is to be given one (top_miss()): all while there are places,
 * then some. */
static inline bool top_wants(struct top *t)
{
	return t->exact || !--t->wait;
}

/* As top_miss(). */
static inline bool top_add(struct top *t, uint64_t hash, const char *text, size_t len)
{
	struct top_entry *e = top_find(t, hash);

	if (e)
		e->count++;
	return !e && top_wants(t) && top_miss(t, hash, text, len);
}

#endif
