/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.h -- what the files of `weir sync` share; nobody else includes it.
 *
 * sync.c        the command: options, worker threads, the queue, the end
 * sync_up.c     folder → dataset: scanning, inotify, deletions
 * sync_send.c   one file of that way
 * sync_down.c   dataset → folder: listing, deletions
 * sync_fetch.c  one file of that way
 * sync_remote.c what the dataset has, by its listing; redirects
 * sync_state.c  what is known of each file, kept in a journal; sync_ignore.c patterns
 *
 * The main thread watches and fills the queue; workers take entries from it, one thread an entry at a time. All of
 * `struct sync` and the entries are under `lock`, but for what a worker's own entry holds.
 */
#ifndef WEIR_TOOLS_SYNC_H
#define WEIR_TOOLS_SYNC_H

#include <pthread.h>
#include <semaphore.h>

#include "tools/rate.h"
#include "tools/sync_ignore.h"
#include "tools/sync_state.h"
#include "tools/tus.h"

#define SYNC_FOLDER ".weir-sync" /* in the folder: what is being downloaded */

struct sync_options {
	struct web *web;
	const char *folder, *dataset;
	bool reverse, once, delete, quiet, json;
	unsigned int parallel, interval_s, retry_s;
};

enum outcome {
	OUT_DONE,
	OUT_WRITING,  /* somebody has it open for writing */
	OUT_CHANGED,  /* while it was sent */
	OUT_AWAY,     /* the gateway or an endpoint cannot: all wait */
	OUT_LATER,    /* this one failed: it waits */
	OUT_VANISHED, /* it is not there */
	OUT_REFUSED,  /* no right, no dataset: the command ends */
	OUT_STOPPED,
};

struct sync {
	struct sync_options o;
	struct rate *rate;
	int root; /* the folder */
	struct ignore *ignore;
	struct sync_state *state;
	volatile bool stop;
	sem_t senders; /* so many send at once; more wait for answers */

	pthread_mutex_t lock;
	pthread_cond_t work;
	struct entry *first, *last; /* the queue */
	size_t queued, busy;
	int64_t away_until_ms, away_since_ms;
	unsigned int away_tries;
	int done_fd; /* eventfd: a worker ended something */
	int fatal;   /* exit code that ends the command */
	json_t *remote; /* NULL: not asked yet; {FILE: {"sha256","size"}} */
	uint64_t files, bytes, equal, deleted, left, conflicts;
	char left_why[160];

	/* sync_up.c */
	int inotify;
	char **watches; /* by descriptor: the folder's path below the root */
	size_t nwatches;
	bool rescan, reload;

	pthread_mutex_t listing; /* one asks for `remote`, the others wait; before `lock` */
	pthread_mutex_t print;	 /* after `lock` */
};

/* ---- sync.c ---- */
int64_t sync_now_ms(void);
void sync_queue(struct sync *s, struct entry *e); /* under the lock */
void sync_save(struct sync *s, const struct entry *e); /* takes the lock */
/* One line: a sentence for people, or JSON with these members (taken; may be NULL). */
void sync_say(struct sync *s, const char *event, const char *file, json_t *members, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* Can a file of this name be on both sides? */
bool sync_name_ok(const char *path);

/* ---- the two ways; the main thread ---- */
int sync_up_run(struct sync *s);
enum outcome sync_send(struct sync *s, struct entry *e);
int sync_down_run(struct sync *s);
enum outcome sync_fetch(struct sync *s, struct entry *e);
/* Waits for a worker, at most so long; false: stop. */
bool sync_rest(struct sync *s, int timeout_ms, bool *events);
/* Under the lock: nothing is queued or under way. */
bool sync_idle(const struct sync *s);

/* ---- sync_remote.c ---- */
/* {FILE: {"sha256","size"}} of all files that people see: a new reference. */
int sync_list(struct sync *s, json_t **out, struct tus_why *why);
/* GET of a file by way of its redirect, from a byte on, into fd (opened for writing). */
int sync_get(struct sync *s, const char *file, const char *sha256, int fd, uint64_t from, struct tus_why *why);
/* Is this content the file's newest version? 1, 0 or -errno. */
int sync_has(struct sync *s, const char *file, const char *sha256, struct tus_why *why);
/* The gateway copies a file that the dataset has to another name, as a new upload: its id. */
int sync_copy(struct sync *s, const char *from, const char *to, const char *key, char id[TUS_ID_MAX], struct tus_why *why);
/* DELETE when it still has this content. */
int sync_delete(struct sync *s, const char *file, const char *sha256, struct tus_why *why);
/* The SHA-256 of an open file. 0, -errno, -ECANCELED. */
int sync_digest(struct sync *s, int fd, char sha256[65]);

#endif
