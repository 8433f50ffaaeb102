/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_state.h -- what `weir sync` knows of each file, and the journal that keeps it through kill -9.
 *
 * The journal is a file of JSON lines, each the whole of what is known of one file; the last one counts, half a line
 * at its end does not. It is written anew at each start. Losing it loses no data: files are compared by SHA-256 with
 * what the dataset has.
 */
#ifndef WEIR_TOOLS_SYNC_STATE_H
#define WEIR_TOOLS_SYNC_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "tools/tus.h"

enum known {
	KNOWN_NONE,
	KNOWN_EQUAL,	/* both sides have this content */
	KNOWN_REJECTED, /* the dataset does not take it */
	KNOWN_DROPPED,	/* reverse: removed here, or never wanted */
};

struct entry {
	struct entry *next, *queue_next;
	char *path;
	enum known known;
	uint64_t size, inode, version;
	int64_t mtime_ns;
	char sha256[65];
	char why[200]; /* of a rejection */
	/* an upload that was begun: its key, and its id when the answer came */
	char key[TUS_KEY_MAX], id[TUS_ID_MAX];
	/* not kept */
	bool seen, gone, queued, busy, again;
	int64_t due_ms;
	unsigned int tries;
};

struct sync_state;

/* Opens (and locks) the state named by `name` below $XDG_STATE_HOME/weir/sync. 0, -EBUSY (another process has it), -errno. */
int sync_state_open(struct sync_state **out, const char *name);
void sync_state_close(struct sync_state *s); /* accepts NULL */

/* The entry of a path, made when it is not there; NULL without memory. */
struct entry *sync_state_entry(struct sync_state *s, const char *path);
struct entry *sync_state_find(struct sync_state *s, const char *path); /* or NULL */
/* Writes down what is known. */
void sync_state_save(struct sync_state *s, const struct entry *e);
void sync_state_sync(struct sync_state *s); /* to stable storage, at most once a second */
/* All, in no order. */
struct entry *sync_state_first(struct sync_state *s);
struct entry *sync_state_next(struct sync_state *s, const struct entry *e);
size_t sync_state_count(const struct sync_state *s);

/* Is the file as it was when it was noted? */
bool entry_same(const struct entry *e, const struct stat *st);
void entry_note(struct entry *e, const struct stat *st);
int64_t stat_mtime_ns(const struct stat *st);

#endif
