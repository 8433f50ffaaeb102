/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uniques.h -- have I seen this value? Exact (128-bit hashes) at bounded memory for any number of values: a table in
 * memory answers at once; when it is full it is written as a sorted run to a spill file, and duplicates across runs
 * are found by a merge at the end. The same files answer foreign keys (keyset).
 */
#ifndef WEIR_UPLOAD_UNIQUES_H
#define WEIR_UPLOAD_UNIQUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uniques;
/* spill_fd: a file for reading and writing, owned by the caller; -1: none, then -ENOSPC when full. */
int uniques_new(struct uniques **out, size_t memory_max, int spill_fd, const uint8_t seed[16]);
void uniques_free(struct uniques *u); /* accepts NULL */
/* 0 new (as far as memory tells), 1 seen before in row *first, or -errno. */
int uniques_add(struct uniques *u, const void *data, size_t len, uint64_t row, uint64_t *first);
/* Tells each duplicate across runs (row, first), in order of row. 0 or what fn returned. */
int uniques_end(struct uniques *u, int (*fn)(void *arg, uint64_t row, uint64_t first), void *arg);

/* The set of a column's values as a sorted file of 16-byte hashes (seed 0) behind a 16-byte head: what a foreign
 * key asks. Written from an ended set, without duplicates. */
int uniques_write_keys(struct uniques *u, int fd);
/* The union of several such files (a dataset with several files). */
int uniques_merge_keys(const int *fds, size_t n, int out_fd);
struct keyset;
int keyset_open(struct keyset **out, int fd); /* maps it; 0, -EBADMSG, -errno */
void keyset_close(struct keyset *k);	      /* accepts NULL */
bool keyset_has(const struct keyset *k, const void *data, size_t len);
uint64_t keyset_count(const struct keyset *k);

#endif
