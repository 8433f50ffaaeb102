/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uniques.h -- have I seen this value? Exact (128-bit hashes) at bounded memory for any number of values: a table in
 * memory answers at once; when it is full it is written as a sorted run to a spill file, and duplicates across runs
 * are found by a merge at the end. The same files answer foreign keys (keyset).
 *
 * Hashes are XXH3 with the first 8 bytes of the seed, so that nobody can choose values that fall together. A key file
 * says its seed; those that are to be merged must have the same (rules_seed() gives a dataset its own).
 *
 * Whole numbers that come one after the other (1, 2, 3 …, up to 64 such stretches at the beginning) take neither
 * memory nor a look into it.
 */
#ifndef WEIR_UPLOAD_UNIQUES_H
#define WEIR_UPLOAD_UNIQUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uniques;
/* memory_max: at least 64 KiB are taken. spill_fd: a file for reading and writing, owned by the caller; -1: none, then
 * -ENOSPC when full. */
int uniques_new(struct uniques **out, size_t memory_max, int spill_fd, const uint8_t seed[16]);
void uniques_free(struct uniques *u); /* accepts NULL */
/* 0 new (as far as memory tells), 1 seen before in row *first, or -errno. Rows ascend. */
int uniques_add(struct uniques *u, const void *data, size_t len, uint64_t row, uint64_t *first);
/* The bytes that uniques_add() will most likely get for this row: memory is fetched meanwhile. For speed only; they stay
 * as they are until then. */
void uniques_ahead(struct uniques *u, const void *data, size_t len, uint64_t row);
/* Tells each duplicate across runs (row, first), in order of row. 0 or what fn returned, or -errno. Once; afterwards
 * nothing may be added. */
int uniques_end(struct uniques *u, int (*fn)(void *arg, uint64_t row, uint64_t first), void *arg);

/* The set of a column's values as a sorted file of 16-byte hashes behind a 16-byte head (magic, seed): what a foreign
 * key asks. Written from offset 0 from an ended set, without duplicates. */
int uniques_write_keys(struct uniques *u, int fd);
/* The union of several such files (a dataset with several files). -EBADMSG: no key files, or not of one seed. */
int uniques_merge_keys(const int *fds, size_t n, int out_fd);
struct keyset;
int keyset_open(struct keyset **out, int fd); /* maps it; 0, -EBADMSG, -errno */
void keyset_close(struct keyset *k);	      /* accepts NULL */
bool keyset_has(const struct keyset *k, const void *data, size_t len);
uint64_t keyset_count(const struct keyset *k);

#endif
