/* SPDX-License-Identifier: Apache-2.0 */
/* top.c -- the rarer part of top.h: a value gets a place, another loses it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/top.h"

int top_init(struct top *t, uint32_t places)
{
	memset(t, 0, sizeof(*t));
	t->entries = aligned_alloc(64, places * sizeof(*t->entries));
	t->tags = calloc(places, 4);
	t->slots = calloc(places, 4);
	if (!t->entries || !t->tags || !t->slots) {
		top_fini(t);
		return -ENOMEM;
	}
	t->places = places;
	t->mask = places / 2 - 1;
	t->exact = true;
	t->random = 2463534242;
	return 0;
}

void top_fini(struct top *t)
{
	free(t->entries);
	free(t->tags);
	free(t->slots);
	t->entries = NULL;
	t->tags = t->slots = NULL;
}

static void index_put(struct top *t, uint64_t hash, uint32_t entry)
{
	uint32_t slot = ((uint32_t)hash & t->mask) * 8, last = t->mask * 8 + 7;

	while (t->tags[slot])
		slot = slot == last ? 0 : slot + 1;
	t->tags[slot] = (uint8_t)top_tag(hash);
	t->slots[slot] = (uint8_t)entry;
}

/* A full group sends those who look on to the next one: when it is no longer full, they would not
 * be found there. That is rare enough to make the index anew. */
static void index_drop(struct top *t, uint32_t entry)
{
	uint32_t group = (uint32_t)t->entries[entry].hash & t->mask, slot;
	uint64_t tags;

	for (slot = group * 8; !t->tags[slot] || t->slots[slot] != entry;)
		slot = (slot + 1) & (t->mask * 8 + 7);
	memcpy(&tags, t->tags + slot / 8 * 8, 8);
	t->tags[slot] = 0;
	if (~tags & TOP_BYTES(0x80))
		return;
	memset(t->tags, 0, (size_t)t->places * 4);
	for (uint32_t i = 0; i < t->n; i++)
		if (i != entry)
			index_put(t, t->entries[i].hash, i);
}

/* The rarest entry: those that count `least` one after the other, then the new least is looked for.
 */
static uint32_t rarest(struct top *t)
{
	for (;;) {
		uint64_t least = UINT64_MAX;

		for (; t->cursor < t->n; t->cursor++)
			if (t->entries[t->cursor].count <= t->least)
				return t->cursor++;
		for (uint32_t i = 0; i < t->n; i++)
			if (t->entries[i].count < least)
				least = t->entries[i].count;
		t->least = least;
		t->cursor = 0;
	}
}

bool top_miss(struct top *t, uint64_t hash, const char *text, size_t len)
{
	uint32_t at = t->n;
	struct top_entry *e;

	t->random ^= t->random << 13, t->random ^= t->random >> 17, t->random ^= t->random << 5;
	t->wait = 1 + (t->random & 31);
	if (t->n == t->places) {
		if (t->exact) {
			t->exact = false;
			return true;
		}
		at = rarest(t);
		index_drop(t, at);
	} else {
		t->n++;
	}
	e = &t->entries[at];
	e->error = t->exact ? 0 : t->least;
	e->count = e->error + 1;
	e->hash = hash;
	e->cut = len > TOP_TEXT;
	e->len = (uint8_t)(e->cut ? TOP_TEXT : len);
	memcpy(e->text, text, e->len);
	index_put(t, hash, at);
	return false;
}

static bool before(const struct top_entry *a, const struct top_entry *b)
{
	int order;

	if (a->count != b->count)
		return a->count > b->count;
	order = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
	return order ? order < 0 : a->len < b->len;
}

size_t top_list(const struct top *t, const struct top_entry **out, size_t n)
{
	size_t have = 0;

	for (uint32_t i = 0; i < t->n; i++) {
		size_t at = have < n ? have++ : n;

		if (at == n && !before(&t->entries[i], out[--at]))
			continue;
		for (; at && before(&t->entries[i], out[at - 1]); at--)
			out[at] = out[at - 1];
		out[at] = &t->entries[i];
	}
	return have;
}
