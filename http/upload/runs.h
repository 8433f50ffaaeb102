/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runs.h -- sorted runs of records in a file, and their merge: what uniques.c spills.
 *
 * A record is compared by (hi, lo, row). Runs lie one behind the other in the file; nothing is ever overwritten.
 */
#ifndef WEIR_UPLOAD_RUNS_H
#define WEIR_UPLOAD_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct record { uint64_t hi, lo, row; };

struct run { uint64_t at, n; /* byte in the file, records */ };
struct runs {
	int fd;
	uint64_t end; /* of what was written */
	struct run *list;
	size_t n;
};

static inline bool record_less(const struct record *a, const struct record *b)
{
	if (a->hi != b->hi)
		return a->hi < b->hi;
	return a->lo != b->lo ? a->lo < b->lo : a->row < b->row;
}

void runs_sort(struct record *records, size_t n);
/* Writes sorted records as one more run. 0 or -errno (-ENOSPC without a file). */
int runs_write(struct runs *runs, const struct record *records, size_t n);
void runs_free(struct runs *runs);

/* Whole reads and writes at a place, whatever the kernel gives at once. 0 or -errno (-EIO: the file is too short). */
int runs_pread(int fd, void *buf, size_t len, uint64_t at);
int runs_pwrite(int fd, const void *buf, size_t len, uint64_t at);

/* All records of runs [first, n) in order. */
struct merge;
int merge_new(struct merge **out, const struct runs *runs, size_t first, size_t memory_max);
/* 1 with a record, 0 at the end, -errno. */
int merge_next(struct merge *m, struct record *out);
void merge_free(struct merge *m); /* accepts NULL */

#endif
