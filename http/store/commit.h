/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit.h -- the group-commit thread: makes finished files durable, many callers sharing each
 * round.
 *
 * One round takes everything that waits: it starts write-back of all files, fdatasync(2)s each,
 * renames each to its final name, then fsync(2)s each folder that changed, once. The journal
 * commits of a round are shared, which is why 16 callers at once get about four times the rate of
 * one.
 * Thread-safe; nothing here logs.
 */
#ifndef WEIR_STORE_COMMIT_H
#define WEIR_STORE_COMMIT_H

#include <stdbool.h>

struct commit;

/* root: the folder that all paths are relative to; kept, not closed. 0 or -errno. */
int commit_new(struct commit **out, int root);
void commit_free(struct commit *c);     /* finishes what waits; accepts NULL */

#define COMMIT_PATH 96
/* One thing to make durable. The caller keeps it until commit_wait() returned. */
struct commit_job {
	int fd;                         /* the file to sync; -1: only the folders */
	char from[COMMIT_PATH], to[COMMIT_PATH];   /* rename; from "": none */
	char folder[COMMIT_PATH];       /* the folder to sync after it; "": none */
	/* the thread's own */
	int rc;
	bool folder_synced;
	bool done;
	struct commit_job *next;
};

void commit_begin(struct commit *c, struct commit_job *job);
/* 0 when it is on stable storage under its name, else -errno: then `from` is still there, or the
 * outcome of the rename is unknown (the folder could not be synced). */
int commit_wait(struct commit *c, struct commit_job *job);

/* Rounds and jobs so far, for metrics. */
void commit_counts(struct commit *c, unsigned long *rounds, unsigned long *jobs);

#endif
