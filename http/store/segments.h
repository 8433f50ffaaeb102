/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments.h -- the small versions of an endpoint, packed into segments (segment.h), so that
 * neither inodes nor folder syncs are spent on each.
 *
 *	DIR/s/NUMBER    segments, 8 hex digits
 *	DIR/s/state     "clean", which boot has them open, or "making": whether the index can be believed
 *	DIR/index/      LMDB: version -> place, segment -> how much of it lives
 *
 * One thread appends: each round takes everything that waits, writes it behind one another, does
 * one fdatasync(2), commits the index and wakes those that wait. The index is not synced: after a
 * kill it is at most a round behind and caught up from the last segment's end; after a power loss
 * (another boot, no clean close) it is made anew from the segments.
 *
 * Another thread copies what lives in segments that are half empty to the end of the log, throttled,
 * and removes them once that is durable.
 *
 * Thread-safe. Functions return 0 or -errno; opening, damage and what the disk refuses are logged.
 */
#ifndef WEIR_STORE_SEGMENTS_H
#define WEIR_STORE_SEGMENTS_H

#include <semaphore.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "http/store/segment.h"

struct segments;

struct segments_options {
	const char *dir;                /* the same folder as root */
	const char *boot;               /* which boot this is; NULL: the kernel's boot_id */
	uint32_t segment_size;          /* 0: SEGMENT_SIZE (tests: smaller) */
	unsigned int index_txn;         /* 0: many records of one transaction at open (tests: fewer) */
	bool no_compaction;             /* the thread is not started (tests, fsck) */
};

/* root: descriptor of DIR, kept, not closed. Makes what is missing. */
int segments_open(struct segments **out, int root, const struct segments_options *options);
/* What DIR/s/state says of the index that lies there: closed with all that it has on the disk; open, by this boot (a kill:
 * the kernel has all of it, and of what was acknowledged it lacks nothing); or not to be believed. boot as in the options. */
enum segments_state { SEGMENTS_CLEAN, SEGMENTS_OPEN, SEGMENTS_UNSURE };
enum segments_state segments_state(int root, const char *boot);
/* Finishes what waits. Accepts NULL. */
void segments_close(struct segments *s);
/* The same without saying that all is well: as if it were killed (tests). */
void segments_kill(struct segments *s);

/* ---- writing ---- */

struct segments_job {
	enum { SEGMENTS_STORE, SEGMENTS_FORGET, SEGMENTS_MOVE, SEGMENTS_KEEP } what;
	struct version version;
	const void *data;               /* store, move: kept by the caller until the end */
	uint32_t len;
	/* the thread's own, and of compaction */
	int64_t stored;
	uint32_t crc;
	struct segment_place from, place;
	int rc;
	sem_t done;
	/* NULL: somebody calls segments_wait(). Else called with rc set on the thread that appends, which it must not stop for
	 * long; the job is its own from then on. */
	void (*complete)(struct segments_job *job);
	void *arg;
	struct segments_job *next;
};

/* Called on the thread that appends after each round in which something was completed. Before the first job. */
void segments_after(struct segments *s, void (*fn)(void *arg), void *arg);

/* The caller keeps the job until segments_wait() returned: 0 when it is on stable storage. Storing a
 * version that is there replaces it; forgetting one that is not is 0. */
void segments_begin(struct segments *s, struct segments_job *job);
int segments_wait(struct segments *s, struct segments_job *job);

/* ---- reading ---- */

/* One segment, as those who have it open for reading know it. Counted. */
struct segment_file;
void segment_file_put(struct segment_file *f);  /* accepts NULL */

struct segments_found {
	struct segment_place place;
	struct segment_file *file;      /* a reference */
	uint32_t changes, generation;   /* for segments_same() */
};

bool segments_has(struct segments *s, const struct version *v);
/* The same: 0, -ENOENT, or -errno when it cannot be said. */
int segments_look(struct segments *s, const struct version *v);
/* 0, -ENOENT or -errno; with a reference. */
int segments_find(struct segments *s, const struct version *v, struct segments_found *out);
/* Is what was found still the version's place, and its file unchanged but by appending? st: of the
 * file, now. May say no without a reason while something is appended. */
bool segments_same(struct segments *s, const struct version *v, const struct segments_found *found,
		   const struct stat *st);
/* The path below DIR. */
char *segments_path(uint32_t number, char *out, size_t room);
/* The record's header, read anew: when it was stored. */
int segments_head(struct segments *s, const struct segment_place *place, struct segment_record *r);

/* Calls fn for each version until it returns non-zero, which is then returned. Those that come or
 * go meanwhile may be told or not. With prefix_bytes: only ids that begin like prefix's. */
int segments_each(struct segments *s, const struct version *prefix, unsigned int prefix_bytes,
		  int (*fn)(void *arg, const struct version *v), void *arg);

struct segments_counts {
	unsigned long rounds, jobs;
	unsigned long segments, compacted, moved_bytes;
	uint64_t bytes, live;           /* of all segments; of versions that are there */
	uint64_t versions;
};
void segments_count(struct segments *s, struct segments_counts *out);

/* One pass of compaction now, on the caller's thread (tests; not beside the thread): how many
 * segments went, or -errno. */
int segments_compact(struct segments *s);

#endif
