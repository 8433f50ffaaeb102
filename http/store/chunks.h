/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunks.h -- the folder in which an endpoint keeps versions: where files lie, how much room there
 * is, what is thrown away.
 *
 *	DIR/tmp/HEX.SERIAL      a version that is being written; all are removed at start
 *	DIR/d/A/BC/HEX          a version (manifest.h); A, BC: the id's first digits, 4,096 folders
 *
 * Writing is staged.h, reading held.h. Functions return 0 or -errno and log nothing, but for what
 * the
 * sweep at start removed.
 */
#ifndef WEIR_STORE_CHUNKS_H
#define WEIR_STORE_CHUNKS_H

#include <sys/types.h>

#include "http/store/commit.h"
#include "http/store/manifest.h"

struct chunks;

struct chunks_options {
	const char *dir;
	uint64_t reserve_bytes;         /* disk space that stays free: the larger of both */
	double reserve_fraction;
};

/* Makes the folders that are missing, removes temporaries, starts the commit thread. -EBUSY:
 * another
 * endpoint runs in this folder. */
int chunks_open(struct chunks **out, const struct chunks_options *options);
void chunks_close(struct chunks *c);    /* accepts NULL */

int chunks_root(const struct chunks *c);                /* descriptor of DIR */
struct commit *chunks_commit(const struct chunks *c);

/* Paths below DIR, of the version's file and its folder. */
char *chunks_path(const struct version *v, char path[COMMIT_PATH]);
char *chunks_folder(const struct version *v, char path[COMMIT_PATH]);
/* A new temporary's path. */
char *chunks_temporary(struct chunks *c, const struct version *v, char path[COMMIT_PATH]);

/* Bytes; free includes the reserve. */
struct chunks_space {
	uint64_t total, free, reserve;
};
int chunks_space(const struct chunks *c, struct chunks_space *out);
/* -ENOSPC when so many more bytes would touch the reserve. */
int chunks_room(const struct chunks *c, uint64_t bytes);

bool chunks_has(const struct chunks *c, const struct version *v);
/* Removes a version durably; 0 also when there was none. */
int chunks_forget(struct chunks *c, const struct version *v);
/* Calls fn for each version in the folder, until it returns non-zero, which is then returned. */
int chunks_each(const struct chunks *c, int (*fn)(void *arg, const struct version *v), void *arg);

#endif
