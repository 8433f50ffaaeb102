/* SPDX-License-Identifier: Apache-2.0 */
/*
 * held.h -- versions that this endpoint has, opened for reading and checked.
 *
 * No byte is sent that was not checked against its block's crc32c since it came from the disk, and
 * still hot objects cost what a plain sendfile(2) costs:
 *
 *  - the first reader of a chunk reads and checks it block by block (held_cursor), and what it
 *    sends is the very memory that was checked; after a wrong block it goes on from another copy,
 *    and the file is repaired behind it, so the client never notices;
 *  - a chunk that was wholly checked is remembered. As long as the file was not changed (ctime)
 *    and its pages never left the page cache (mincore(2)), the pages that sendfile(2) sends are
 *    those that were checked. One that left is read from the disk again, and so checked again.
 *    That a range is there is believed for a second, and that the file is the same for 10 ms.
 *
 * Open versions are kept, with their descriptor, least recently used out first. Thread-safe but for
 * a cursor, which belongs to one reader. Nothing here logs.
 */
#ifndef WEIR_STORE_HELD_H
#define WEIR_STORE_HELD_H

#include "http/store/chunks.h"

struct held_cache;
struct held;

int held_cache_new(struct held_cache **out, struct chunks *c, unsigned int open_max);
void held_cache_free(struct held_cache *cache);         /* accepts NULL */

/* 0 and a counted reference, -ENOENT, -EBADMSG (head damaged), or -errno. */
int held_get(struct held_cache *cache, const struct version *v, struct held **out);
/* Only one that is open already: NULL when it is not. Reads nothing. */
struct held *held_hot(struct held_cache *cache, const struct version *v);
void held_put(struct held *h);          /* accepts NULL */
/* The file was replaced or removed: the next held_get() opens anew. */
void held_drop(struct held_cache *cache, const struct version *v);

const struct manifest *held_manifest(const struct held *h);
/* May [first, first+len) be sent straight from the file? */
bool held_ready(struct held *h, uint64_t first, uint64_t len);
/* A descriptor of the file for sendfile, to be closed by the taker; or -errno. The version's first
 * byte is at held_base() of it. */
int held_fd(const struct held *h);
uint64_t held_base(const struct held *h);

/* Something small that the server keeps for a hot object (a ready answer), freed with it. */
void *held_attached(struct held *h);
/* Only the first is kept: returns what is attached then; the caller frees its own if it is
 * another. */
void *held_attach(struct held *h, void *thing, void (*free_thing)(void *));

struct held_cursor {
	struct held *held;
	uint64_t bad;                   /* the chunk that was found damaged, after -EBADMSG */
	uint64_t chunk;                 /* whose record is loaded; UINT64_MAX: none */
	uint32_t checked;               /* its blocks checked so far, from the first, in order */
	uint64_t block;                 /* in buf; UINT64_MAX: none */
	uint32_t block_len;
	struct chunk_record record;
	uint8_t buf[BLOCK_SIZE];
};

/* Takes a reference of its own. NULL: no memory. */
struct held_cursor *held_cursor_new(struct held *h);
void held_cursor_free(struct held_cursor *cur);         /* accepts NULL */
/* Up to max checked bytes at pos, not past the end of a block; 0 at the end of the object;
 * -EBADMSG when the chunk cur->bad is damaged or cannot be read. */
ssize_t held_read(struct held_cursor *cur, uint64_t pos, void *buf, size_t max);

/* Overwrites a damaged chunk in place by data that has the hash of its record: durable when 0.
 * -EBADMSG: the data are not that chunk, or the record itself is damaged (fetch the version
 * anew); or another -errno. */
int held_repair(struct held *h, uint64_t chunk, const void *data, uint32_t len);

#endif
