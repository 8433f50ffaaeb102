/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunks.h -- the folder in which an endpoint keeps versions: where files lie, how much room there
 * is, what is thrown away.
 *
 *	DIR/tmp/HEX.SERIAL      a version that is being written; all are removed at start
 *	DIR/d/A/BC/HEX          a version (manifest.h); A, BC: the id's first digits, 4,096 folders
 *	DIR/s, DIR/index        versions of at most SEGMENT_SMALL bytes, packed (segments.h); such as
 *	                        were stored before there were segments are files still
 *
 * Writing is staged.h, reading held.h. Functions return 0 or -errno and log nothing, but for what
 * the sweep at start removed, and what segments.h logs.
 */
#ifndef WEIR_STORE_CHUNKS_H
#define WEIR_STORE_CHUNKS_H

#include <sys/types.h>

#include "http/store/commit.h"
#include "http/store/manifest.h"
#include "http/store/segments.h"

struct chunks;

struct chunks_options {
	const char *dir;
	uint64_t reserve_bytes;         /* disk space that stays free: the larger of both */
	double reserve_fraction;
	const struct segments_options *segments; /* NULL: as usual; dir is filled in here */
};

/* Makes the folders that are missing, removes temporaries, starts the commit thread. -EBUSY:
 * another endpoint runs in this folder. */
int chunks_open(struct chunks **out, const struct chunks_options *options);
void chunks_close(struct chunks *c);    /* accepts NULL */
void chunks_kill(struct chunks *c);     /* the same as if it were killed (tests) */

int chunks_root(const struct chunks *c);                /* descriptor of DIR */
struct commit *chunks_commit(const struct chunks *c);
struct segments *chunks_segments(const struct chunks *c);

/* Memory for versions that will lie in segments; false: so much is taken that files are used. */
bool chunks_memory_take(struct chunks *c, size_t bytes);
void chunks_memory_give(struct chunks *c, size_t bytes);

/* Paths below DIR, of the version's file and its folder. */
char *chunks_path(const struct version *v, char path[COMMIT_PATH]);
char *chunks_folder(const struct version *v, char path[COMMIT_PATH]);
/* A new temporary's path. */
char *chunks_temporary(struct chunks *c, const struct version *v, char path[COMMIT_PATH]);

/* Rounds of group commit and what they made durable so far, of files and segments together. */
void chunks_counts(const struct chunks *c, unsigned long *rounds, unsigned long *jobs);

/* Bytes; free includes the reserve. */
struct chunks_space {
	uint64_t total, free, reserve;
};
int chunks_space(const struct chunks *c, struct chunks_space *out);
/* -ENOSPC when so many more bytes would touch the reserve. */
int chunks_room(struct chunks *c, uint64_t bytes);

bool chunks_has(const struct chunks *c, const struct version *v);
/* Unix seconds by this machine's clock when it was stored here. */
int chunks_stored(const struct chunks *c, const struct version *v, int64_t *when);
/* Removes a version durably; 0 also when there was none. A group's id (version.h) removes all
 * versions of the group. */
int chunks_forget(struct chunks *c, const struct version *v);
/* Many, which share rounds: rc[i] is v[i]'s result. */
void chunks_forget_many(struct chunks *c, const struct version *v, size_t n, int *rc);
/* Only its copy in a segment. */
int chunks_forget_packed(struct chunks *c, const struct version *v);
/* Calls fn for each version in the folder, until it returns non-zero, which is then returned. */
int chunks_each(const struct chunks *c, int (*fn)(void *arg, const struct version *v), void *arg);

#endif
