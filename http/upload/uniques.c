// SPDX-License-Identifier: Apache-2.0
/*
 * uniques.c -- the table of what was seen, its runs on disk, and the duplicates across them.
 *
 * A hash's place in the table follows its order (multiplied into the table's length), and
 * collisions go to the next free place: read from the beginning the table is sorted but for
 * neighbours, so that writing a run costs little more than copying it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "http/upload/runs.h"
#include "http/upload/uniques.h"
#include "http/upload/uniques_keys.h"

#define TAIL	    512u /* places behind the last one, for its neighbours */
#define SLOTS_FIRST 1024u
#define MEMORY_MIN  65536u
#define STRETCHES   64u
#define DIGITS	    18u /* of a number in a stretch */

/* Whole numbers from `first`, one more each row. */
struct stretch {
	uint64_t first, n, row;
};

struct uniques {
	struct record *table; /* row + 1; 0: free */
	size_t slots, used, limit, slots_max;
	size_t memory_max;
	struct runs runs;
	uint64_t seed;
	struct stretch stretches[STRETCHES];
	size_t nstretches;
	char next_text[24]; /* how the number that would lengthen the last stretch is written, at
			       the end of the room */
	size_t next_len;
	uint64_t next_row;
	struct {
		const void *data;
		size_t len;
		uint64_t row, hi, lo;
	} ahead;	  /* the value that comes next; row 0: none */
	bool table_began; /* a value went to the table: stretches only answer from now on */
	bool ended;
};

static struct record *table_map(size_t slots)
{
	void *p = mmap(NULL, (slots + TAIL) * sizeof(struct record), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void table_unmap(struct uniques *u)
{
	if (u->table)
		munmap(u->table, (u->slots + TAIL) * sizeof(*u->table));
	u->table = NULL;
}

int uniques_new(struct uniques **out, size_t memory_max, int spill_fd, const uint8_t seed[16])
{
	struct uniques *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->memory_max = memory_max > MEMORY_MIN ? memory_max : MEMORY_MIN;
	/* Growing takes a quarter more for a moment. */
	u->slots_max = u->memory_max / sizeof(struct record) * 4 / 5 - TAIL;
	u->slots = u->slots_max < SLOTS_FIRST ? u->slots_max : SLOTS_FIRST;
	u->limit = u->slots / 10 * 7;
	u->table = table_map(u->slots);
	u->runs.fd = spill_fd;
	memcpy(&u->seed, seed, sizeof(u->seed));
	if (!u->table) {
		free(u);
		return -ENOMEM;
	}
	*out = u;
	return 0;
}

void uniques_free(struct uniques *u)
{
	if (!u)
		return;
	table_unmap(u);
	runs_free(&u->runs);
	free(u);
}

/* ---- the table ---- */

static size_t place_of(uint64_t hi, size_t slots)
{
	return (size_t)((unsigned __int128)hi * slots >> 64);
}

/* All entries to the front, sorted. They are so but for neighbours: insertion is linear. */
static void table_gather(struct uniques *u)
{
	struct record *t = u->table;
	size_t n = 0;

	for (size_t i = 0; i < u->slots + TAIL; i++) {
		struct record r = t[i];
		size_t j = n;

		if (!r.row)
			continue;
		while (j && record_less(&r, &t[j - 1])) {
			t[j] = t[j - 1];
			j--;
		}
		t[j] = r;
		n++;
	}
}

/* Writes the table as a run and empties it; rows become those that people count. */
static int table_spill(struct uniques *u)
{
	int err;

	if (u->runs.fd < 0)
		return -ENOSPC;
	table_gather(u);
	for (size_t i = 0; i < u->used; i++)
		u->table[i].row--;
	err = runs_write(&u->runs, u->table, u->used);
	if (err)
		return err;
	memset(u->table, 0, (u->slots + TAIL) * sizeof(*u->table));
	u->used = 0;
	return 0;
}

/* Where the hash is or would be; NULL when the tail is full. */
static struct record *table_find(struct record *table, size_t slots, uint64_t hi, uint64_t lo)
{
	struct record *r = table + place_of(hi, slots), *end = table + slots + TAIL;

	for (; r < end; r++)
		if (!r->row || (r->hi == hi && r->lo == lo))
			return r;
	return NULL;
}

/* Four times as large, or as large as it may become. */
static int table_grow(struct uniques *u)
{
	size_t slots = u->slots * 4 < u->slots_max ? u->slots * 4 : u->slots_max;
	struct record *bigger = table_map(slots), *r;

	if (!bigger)
		return -ENOMEM;
	for (size_t i = 0; i < u->slots + TAIL; i++) {
		if (!u->table[i].row)
			continue;
		r = table_find(bigger, slots, u->table[i].hi, u->table[i].lo);
		if (!r) {
			munmap(bigger, (slots + TAIL) * sizeof(*bigger));
			return -ENOSPC;
		}
		*r = u->table[i];
	}
	table_unmap(u);
	u->table = bigger;
	u->slots = slots;
	u->limit = slots / 10 * 7;
	return 0;
}

static int table_full(struct uniques *u)
{
	int err = u->slots < u->slots_max ? table_grow(u) : -ENOSPC;

	return err ? table_spill(u) : 0;
}

static int table_add(struct uniques *u, XXH128_hash_t h, uint64_t row, uint64_t *first)
{
	struct record *r;
	int err;

	while (!(r = table_find(u->table, u->slots, h.high64, h.low64)) ||
	       (!r->row && u->used >= u->limit)) {
		err = table_full(u);
		if (err)
			return err;
	}
	if (r->row) {
		*first = r->row - 1;
		return 1;
	}
	*r = (struct record){ h.high64, h.low64, row + 1 };
	u->used++;
	return 0;
}

/* ---- whole numbers one after the other ---- */

/* A whole number as it is written shortest: its text is known from its value. */
static bool plain_number(const char *s, size_t len, uint64_t *out)
{
	uint64_t v = 0;

	if (!len || len > DIGITS || (*s == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned int d = (unsigned char)s[i] - '0';

		if (d > 9)
			return false;
		v = v * 10 + d;
	}
	*out = v;
	return true;
}

/* The stretch that holds the number, or NULL. */
static const struct stretch *stretch_of(const struct uniques *u, uint64_t v)
{
	size_t lo = 0, hi = u->nstretches;

	while (lo < hi) { /* the last one that begins at v or before */
		size_t mid = (lo + hi) / 2;

		if (u->stretches[mid].first <= v)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && v - u->stretches[lo - 1].first < u->stretches[lo - 1].n ? &u->stretches[lo - 1]
									     : NULL;
}

/* The text of next_text one higher. */
static void next_count_up(struct uniques *u)
{
	char *last = u->next_text + sizeof(u->next_text) - 1, *c = last;

	while (c > last - u->next_len && *c == '9')
		*c-- = '0';
	if (c == last - u->next_len) {
		*c = '1';
		u->next_len++;
	} else {
		++*c;
	}
	u->next_row++;
}

/* Is this the number that is waited for? Text and row say so, without reading the number. */
static bool stretch_next(struct uniques *u, const char *text, size_t len, uint64_t row)
{
	if (len != u->next_len || row != u->next_row || !len || len > DIGITS ||
	    memcmp(text, u->next_text + sizeof(u->next_text) - len, len))
		return false;
	u->stretches[u->nstretches - 1].n++;
	next_count_up(u);
	return true;
}

/* Begins a stretch: false when the number is not above the last one, or there are too many. */
static bool stretch_begin(struct uniques *u, uint64_t v, const char *text, size_t len, uint64_t row)
{
	const struct stretch *last = u->nstretches ? &u->stretches[u->nstretches - 1] : NULL;

	if (u->nstretches == STRETCHES || (last && v < last->first + last->n))
		return false;
	u->stretches[u->nstretches++] = (struct stretch){ v, 1, row };
	memcpy(u->next_text + sizeof(u->next_text) - len, text, len);
	u->next_len = len;
	u->next_row = row;
	next_count_up(u);
	return true;
}

void uniques_ahead(struct uniques *u, const void *data, size_t len, uint64_t row)
{
	XXH128_hash_t h;
	const char *at;

	if (!u->table_began || u->ended)
		return;
	h = XXH3_128bits_withSeed(data, len, u->seed);
	at = (const char *)(u->table + place_of(h.high64, u->slots));
	__builtin_prefetch(at, 1);
	__builtin_prefetch(at + 64, 1);
	u->ahead.row = row;
	u->ahead.data = data;
	u->ahead.len = len;
	u->ahead.hi = h.high64;
	u->ahead.lo = h.low64;
}

int uniques_add(struct uniques *u, const void *data, size_t len, uint64_t row, uint64_t *first)
{
	const struct stretch *s;
	XXH128_hash_t h;
	uint64_t v;

	if (u->ended)
		return -EINVAL;
	if (!u->table_began && stretch_next(u, data, len, row))
		return 0;
	if ((u->nstretches || !u->table_began) && plain_number(data, len, &v)) {
		s = stretch_of(u, v);
		if (s) {
			*first = s->row + (v - s->first);
			return 1;
		}
		if (!u->table_began && stretch_begin(u, v, data, len, row))
			return 0;
	}
	u->table_began = true;
	if (row == u->ahead.row && row && data == u->ahead.data && len == u->ahead.len)
		h = (XXH128_hash_t){ .high64 = u->ahead.hi, .low64 = u->ahead.lo };
	else
		h = XXH3_128bits_withSeed(data, len, u->seed);
	return table_add(u, h, row, first);
}

/* ---- the end ---- */

/* Duplicates by row: kept in memory, in runs of their own when they are many. */
struct found {
	struct record *list; /* hi: row, lo: first */
	size_t n, max;
	struct runs *runs;
	size_t first_run;
};

static int found_add(struct found *f, uint64_t row, uint64_t first)
{
	int err = 0;

	if (f->n == f->max) {
		runs_sort(f->list, f->n);
		err = runs_write(f->runs, f->list, f->n);
		f->n = 0;
	}
	if (!err)
		f->list[f->n++] = (struct record){ row, first, 0 };
	return err;
}

static int found_tell(struct found *f, size_t memory_max,
		      int (*fn)(void *arg, uint64_t row, uint64_t first), void *arg)
{
	struct merge *m = NULL;
	struct record r;
	int err = 0;

	runs_sort(f->list, f->n);
	if (f->runs->n == f->first_run) {
		for (size_t i = 0; !err && i < f->n; i++)
			err = fn(arg, f->list[i].hi, f->list[i].lo);
		return err;
	}
	err = runs_write(f->runs, f->list, f->n);
	if (!err)
		err = merge_new(&m, f->runs, f->first_run, memory_max);
	while (!err && (err = merge_next(m, &r)) > 0)
		err = fn(arg, r.hi, r.lo);
	merge_free(m);
	return err;
}

/* Equal hashes stand side by side, the lowest row first. */
static int find_across(struct uniques *u, struct found *f)
{
	struct merge *m = NULL;
	struct record r, first = { 0 };
	bool any = false;
	int err = merge_new(&m, &u->runs, 0, u->memory_max / 2);

	while (!err && (err = merge_next(m, &r)) > 0) {
		err = 0;
		if (any && r.hi == first.hi && r.lo == first.lo)
			err = found_add(f, r.row, first.row);
		else
			first = r;
		any = true;
	}
	merge_free(m);
	return err;
}

int uniques_end(struct uniques *u, int (*fn)(void *arg, uint64_t row, uint64_t first), void *arg)
{
	struct found f = { .runs = &u->runs };
	size_t runs;
	int err;

	if (u->ended)
		return -EINVAL;
	u->ended = true;
	if (!u->runs.n)
		return 0; /* all were told at once */
	err = table_spill(u);
	if (err)
		return err;
	table_unmap(u);
	runs = f.first_run = u->runs.n;
	f.max = u->memory_max / 4 / sizeof(*f.list);
	f.list = malloc(f.max * sizeof(*f.list));
	err = f.list ? find_across(u, &f) : -ENOMEM;
	if (!err)
		err = found_tell(&f, u->memory_max / 2, fn, arg);
	free(f.list);
	u->runs.n = runs; /* key files are made of the others */
	return err;
}

/* The numbers of the stretches, as their text, go where the others are. */
static int pour_stretches(struct uniques *u)
{
	char text[24];
	uint64_t first;
	int err = 0;

	if (!u->table)
		u->table = table_map(u->slots);
	if (!u->table)
		return -ENOMEM;
	for (size_t i = 0; i < u->nstretches; i++)
		for (uint64_t k = 0; err >= 0 && k < u->stretches[i].n; k++) {
			size_t at = sizeof(text);
			uint64_t v = u->stretches[i].first + k;

			do
				text[--at] = (char)('0' + v % 10);
			while (v /= 10);
			err = table_add(
				u, XXH3_128bits_withSeed(text + at, sizeof(text) - at, u->seed), 0,
				&first);
		}
	u->nstretches = 0;
	return err < 0 ? err : 0;
}

int uniques_write_keys(struct uniques *u, int fd)
{
	struct keys_out *out = NULL;
	struct merge *m = NULL;
	struct record r;
	int err;

	if (!u->ended)
		return -EINVAL;
	err = u->nstretches ? pour_stretches(u) : 0;
	if (!err && u->runs.n && u->table)
		err = table_spill(u);
	if (!err)
		err = keys_out_new(&out, fd, u->seed);
	if (!err && u->runs.n) {
		table_unmap(u);
		err = merge_new(&m, &u->runs, 0, u->memory_max / 2);
		while (!err && (err = merge_next(m, &r)) > 0)
			err = keys_out_put(out, r.hi, r.lo);
		merge_free(m);
	} else if (!err) {
		table_gather(u);
		for (size_t i = 0; !err && i < u->used; i++)
			err = keys_out_put(out, u->table[i].hi, u->table[i].lo);
		memset(u->table + u->used, 0,
		       (u->slots + TAIL - u->used) *
			       sizeof(*u->table)); /* once more writes the same */
	}
	return keys_out_end(out, err);
}
