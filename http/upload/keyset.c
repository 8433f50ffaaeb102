// SPDX-License-Identifier: Apache-2.0
/*
 * keyset.c -- key files: a head of 16 bytes ("WEIRKEY1", seed), then the hashes of a column's
 * values, each 16 bytes (high and low half, little endian), ascending and without duplicates.
 * Written, merged, and asked by interpolation: hashes are spread evenly, so where one stands
 * follows from its value.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "http/upload/runs.h"
#include "http/upload/uniques.h"
#include "http/upload/uniques_keys.h"

static const char magic[8] = "WEIRKEY1";
struct head {
	char magic[8];
	uint64_t seed;
};
struct key {
	uint64_t hi, lo;
};
_Static_assert(sizeof(struct head) == 16 && sizeof(struct key) == 16, "key file");
#define PIECE 4096u /* keys in memory */

struct keys_out {
	int fd;
	uint64_t at;
	bool any;
	struct key last, piece[PIECE];
	size_t n;
};

int keys_out_new(struct keys_out **out, int fd, uint64_t seed)
{
	struct keys_out *o = malloc(sizeof(*o));
	struct head head = { .seed = htole64(seed) };
	int err;

	if (!o)
		return -ENOMEM;
	memcpy(head.magic, magic, sizeof(magic));
	err = runs_pwrite(fd, &head, sizeof(head), 0);
	if (err) {
		free(o);
		return err;
	}
	o->fd = fd;
	o->at = sizeof(head);
	o->any = false;
	o->n = 0;
	*out = o;
	return 0;
}

static int flush(struct keys_out *o)
{
	int err = runs_pwrite(o->fd, o->piece, o->n * sizeof(*o->piece), o->at);

	o->at += o->n * sizeof(*o->piece);
	o->n = 0;
	return err;
}

int keys_out_put(struct keys_out *o, uint64_t hi, uint64_t lo)
{
	if (o->any && o->last.hi == hi && o->last.lo == lo)
		return 0;
	o->any = true;
	o->last = (struct key){ hi, lo };
	o->piece[o->n++] = (struct key){ htole64(hi), htole64(lo) };
	return o->n == PIECE ? flush(o) : 0;
}

int keys_out_end(struct keys_out *o, int err)
{
	if (o && !err)
		err = flush(o);
	free(o);
	return err;
}

/* ---- asking ---- */

struct keyset {
	void *map;
	size_t size;
	const struct key *keys;
	size_t n;
	uint64_t seed;
};

int keyset_open(struct keyset **out, int fd)
{
	struct keyset *k;
	struct head head;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (st.st_size < (off_t)sizeof(head) || st.st_size % (off_t)sizeof(struct key))
		return -EBADMSG;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->size = (size_t)st.st_size;
	k->map = mmap(NULL, k->size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (k->map == MAP_FAILED) {
		int err = -errno;

		free(k);
		return err;
	}
	memcpy(&head, k->map, sizeof(head));
	k->keys = (const struct key *)((const char *)k->map + sizeof(head));
	k->n = (k->size - sizeof(head)) / sizeof(struct key);
	k->seed = le64toh(head.seed);
	if (memcmp(head.magic, magic, sizeof(magic))) {
		keyset_close(k);
		return -EBADMSG;
	}
	*out = k;
	return 0;
}

void keyset_close(struct keyset *k)
{
	if (!k)
		return;
	munmap(k->map, k->size);
	free(k);
}

uint64_t keyset_count(const struct keyset *k)
{
	return k->n;
}

bool keyset_has(const struct keyset *k, const void *data, size_t len)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(data, len, k->seed);
	uint64_t low = 0, high = UINT64_MAX; /* hashes of [begin, end) are in [low, high] */
	size_t begin = 0, end = k->n, stride = 1;
	bool right = true; /* it is right of what was looked at last */

	for (unsigned int step = 0; begin < end; step++) {
		size_t half = (end - begin) / 2, at;
		uint64_t hi, lo;

		if (step < 3 && h.high64 >= low && h.high64 <= high) {
			at = (size_t)((double)(h.high64 - low) / ((double)(high - low) + 1) *
				      (double)(end - begin));
			at = begin + (at < end - begin ? at : end - begin - 1);
		} else { /* a few places from the last guess; halving ends it whatever the file
			    holds */
			at = stride < half ? stride : half;
			at = right ? begin + at : end - 1 - at;
			stride *= 4;
		}
		hi = le64toh(k->keys[at].hi);
		lo = le64toh(k->keys[at].lo);
		if (hi == h.high64 && lo == h.low64)
			return true;
		right = hi < h.high64 || (hi == h.high64 && lo < h.low64);
		if (right) {
			begin = at + 1;
			low = hi;
		} else {
			end = at;
			high = hi;
		}
	}
	return false;
}

/* ---- the union of several files ---- */

struct cursor {
	int fd;
	uint64_t at, left;
	struct key *piece;
	size_t pos, have;
};

/* 1 with the key at pos, 0 at the end, -errno. */
static int cursor_fill(struct cursor *c)
{
	size_t want = c->left < 256 ? (size_t)c->left : 256;
	int err;

	if (c->pos < c->have)
		return 1;
	if (!want)
		return 0;
	err = runs_pread(c->fd, c->piece, want * sizeof(*c->piece), c->at);
	if (err)
		return err;
	c->at += want * sizeof(*c->piece);
	c->left -= want;
	c->have = want;
	c->pos = 0;
	return 1;
}

static int cursor_open(struct cursor *c, int fd, uint64_t *seed, bool first)
{
	struct head head;
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return -errno;
	if (st.st_size < (off_t)sizeof(head) || st.st_size % (off_t)sizeof(struct key))
		return -EBADMSG;
	err = runs_pread(fd, &head, sizeof(head), 0);
	if (err)
		return err;
	if (memcmp(head.magic, magic, sizeof(magic)) || (!first && le64toh(head.seed) != *seed))
		return -EBADMSG;
	*seed = le64toh(head.seed);
	*c = (struct cursor){ .fd = fd,
			      .at = sizeof(head),
			      .left = ((uint64_t)st.st_size - sizeof(head)) / sizeof(struct key) };
	c->piece = malloc(256 * sizeof(*c->piece));
	return c->piece ? cursor_fill(c) : -ENOMEM;
}

static bool key_less(const struct key *a, const struct key *b)
{
	return a->hi != b->hi ? le64toh(a->hi) < le64toh(b->hi) : le64toh(a->lo) < le64toh(b->lo);
}

static int merge_cursors(struct cursor *c, size_t n, struct keys_out *out)
{
	int err = 0;

	while (!err && n) {
		size_t least = 0;
		const struct key *k;

		for (size_t i = 1; i < n; i++)
			if (key_less(&c[i].piece[c[i].pos], &c[least].piece[c[least].pos]))
				least = i;
		k = &c[least].piece[c[least].pos];
		err = keys_out_put(out, le64toh(k->hi), le64toh(k->lo));
		c[least].pos++;
		if (!err && (err = cursor_fill(&c[least])) > 0)
			err = 0;
		else if (!err) { /* this one is done: it changes places with the last */
			struct cursor done = c[least];

			c[least] = c[--n];
			c[n] = done;
		}
	}
	return err;
}

int uniques_merge_keys(const int *fds, size_t n, int out_fd)
{
	struct cursor *c = calloc(n + 1, sizeof(*c));
	struct keys_out *out = NULL;
	size_t opened = 0, live = 0;
	uint64_t seed = 0;
	int err = c ? 0 : -ENOMEM;

	for (; !err && opened < n; opened++) {
		err = cursor_open(&c[opened], fds[opened], &seed, !opened);
		if (err == 1) { /* those with keys stand in front */
			struct cursor full = c[opened];

			c[opened] = c[live];
			c[live++] = full;
			err = 0;
		}
	}
	if (!err)
		err = keys_out_new(&out, out_fd, seed);
	if (!err)
		err = merge_cursors(c, live, out);
	err = keys_out_end(out, err);
	for (size_t i = 0; c && i < n; i++)
		free(c[i].piece);
	free(c);
	return err;
}
