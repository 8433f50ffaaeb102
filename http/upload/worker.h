/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h -- foreign bytes are parsed in processes that can do next to nothing: no files to open, no sockets, no
 * other process; caps on memory, CPU time and what they write.
 *
 * A nursery (one small process, forked before the daemon has threads, after it dropped its user) forks one worker a
 * job. A worker gets the job and its open files over a socket pair, closes the rest, enters its seccomp filter, runs
 * pipeline_run(), and says events. It reads the upload itself, from a descriptor of the spool file that it may only
 * read, as far as the daemon says that bytes are there: the daemon never waits for it, it never waits for a socket
 * full of bytes. A worker that dies is a finding ("the file could not be read within its limits"), never an outage.
 */
#ifndef WEIR_UPLOAD_WORKER_H
#define WEIR_UPLOAD_WORKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "http/upload/rules.h"

struct nursery;
struct nursery_limits {
	uint64_t memory; /* bytes of address space; 0: 256 MiB */
	uint64_t file;	 /* bytes of one file that it writes; 0: 64 GiB */
	unsigned int cpu_s; /* CPU seconds; 0: 3,600 */
};
/* Forks: call while there is one thread only (daemon prepare, or start's first act). */
int nursery_start(struct nursery **out, const struct nursery_limits *limits);
void nursery_stop(struct nursery *n); /* ends the workers too; accepts NULL */

struct worker;
struct worker_job {
	const json_t *rules;	 /* rules->json with mask_salt, or NULL */
	int file_fd;		 /* the spool file, open for reading; the worker's own copy is made */
	int spill_fds[64];
	size_t nspill;
	int keyset_fds[64];
	size_t nkeysets;
	const char **key_columns;
	int *key_fds;
	size_t nkeys;
	/* On the worker's reader thread of the daemon; must not block for long. */
	void (*on_event)(void *arg, const char *name, const json_t *value);
	/* An output file is wanted: an open descriptor for writing (it is closed after it was passed), or -errno. */
	int (*on_open)(void *arg, const char *name);
	/* Once, at the end: the pipeline's result, or NULL and why when the worker died or hit a cap. */
	void (*on_done)(void *arg, json_t *result, const char *why);
	void *arg;
};
/* 0, -EAGAIN when max workers run already, -errno. */
int worker_start(struct worker **out, struct nursery *n, const struct worker_job *job);
void worker_available(struct worker *w, uint64_t bytes, bool whole); /* so many bytes of the file are there; whole: no more come */
void worker_cancel(struct worker *w);				       /* on_done follows, why "cancelled" */
void worker_free(struct worker *w);				       /* waits for on_done; accepts NULL */
/* Finds rows of a file without checking: {"offset","length"} of data rows [first, last] in the unpacked text. Blocking. */
int worker_locate(struct nursery *n, const json_t *rules, int file_fd, uint64_t first, uint64_t last, uint64_t *offset, uint64_t *length);

#endif
