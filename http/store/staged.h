/* SPDX-License-Identifier: Apache-2.0 */
/*
 * staged.h -- a version that is being written: data are kept in memory while they are few, and go to
 * a temporary file else, while checksums and hashes are computed; a commit makes it durable and
 * visible; until then it is nothing.
 *
 * Chunks come in order. One thread at a time. Functions return 0 or -errno (-ENOSPC: disk full or
 * its reserve reached); nothing here logs.
 */
#ifndef WEIR_STORE_STAGED_H
#define WEIR_STORE_STAGED_H

#include "http/store/chunks.h"

struct staged;

int staged_new(struct staged **out, struct chunks *c, const struct version *v);
/* It will have so many bytes: when a segment takes no such version, it is a file from its first byte on. */
void staged_expect(struct staged *s, uint64_t size);
/* Removes what was not committed. Accepts NULL. */
void staged_free(struct staged *s);

/* Gives its disk space back at once; every later call but staged_free() fails. */
void staged_discard(struct staged *s);

/* Either a whole stream: appended, cut into chunks here, hashed as a whole too, sealed. */
int staged_append(struct staged *s, const void *data, size_t len);
int staged_seal(struct staged *s, uint64_t *size, uint8_t sha256[32]);

/* Or chunk by chunk: number is the next one, or the last one again (a retry). */
int staged_chunk_begin(struct staged *s, uint64_t number);
int staged_chunk_add(struct staged *s, const void *data, size_t len); /* -EFBIG: over a chunk */
int staged_chunk_end(struct staged *s, uint8_t sha256[32]);
/* Forgets a chunk that broke off. */
void staged_chunk_drop(struct staged *s);

uint64_t staged_chunks(const struct staged *s);         /* complete chunks */
uint64_t staged_size(const struct staged *s);           /* bytes of complete chunks */
/* Bytes of complete chunks, for sending them on: like pread(2). From any thread. */
ssize_t staged_read(const struct staged *s, void *buf, size_t len, uint64_t offset);

/* The hash of a complete chunk (of nothing, for chunk 0 of an empty object). */
int staged_chunk_hash(const struct staged *s, uint64_t number, uint8_t sha256[32]);

/* Writes records, head and footer. -EBADMSG when the manifest does not fit the data. */
int staged_finish(struct staged *s, const struct manifest *m);
/* Through the group-commit thread: 0 when data and name are on stable storage. */
void staged_commit_begin(struct staged *s);
int staged_commit_wait(struct staged *s);
/* Is it still in memory, to be a record of a segment? */
bool staged_is_small(const struct staged *s);
/* Such a one, instead of begin and wait: done(arg, rc) is called on the thread that appends, and must not wait for it. */
void staged_commit_later(struct staged *s, void (*done)(void *arg, int rc), void *arg);

#endif
