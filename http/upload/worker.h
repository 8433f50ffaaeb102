/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h -- foreign bytes are parsed in processes that can do next to nothing: no files to open, no sockets, no
 * other process; caps on memory, CPU time and what they write.
 *
 * A nursery (one small process: the program itself, executed anew with --nursery, so that nothing of the daemon's
 * memory, keys among it, is in a worker) forks one worker a job. It is started before the daemon's own filter, which
 * allows no processes, and drops its user itself. A worker gets the job and its open files over a socket pair, closes the rest, enters its seccomp filter, runs
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
#include "lib/priv.h"

struct nursery;
struct nursery_limits {
	uint64_t memory; /* bytes of address space; 0: 256 MiB */
	uint64_t file;	 /* bytes of one file that it writes; 0: 64 GiB */
	unsigned int cpu_s; /* CPU seconds; 0: 3,600 */
	unsigned int workers; /* at the same time; 0: 64 */
};
/* The first act of main() of each program that has workers: what argv asks for in place of the program, a nursery or
 * `--check-file RULES FILE`. -1: nothing, go on; else the exit code. */
int worker_modes(int argc, char **argv);
/* Forks and executes the program: call while there is one thread only and before the filter (a daemon's prepare).
 * user: who the nursery becomes when it is root; NULL: it stays. */
int nursery_start(struct nursery **out, const struct nursery_limits *limits, const struct priv_user *user);
/* Ends the workers too and waits for each on_done: not from a worker's functions. Accepts NULL. */
void nursery_stop(struct nursery *n);
pid_t nursery_pid(const struct nursery *n);
/* Its process is gone for good: no worker will start any more, and a daemon that is started anew is better. */
bool nursery_gone(const struct nursery *n);

struct worker;
struct worker_job {
	const json_t *rules;	 /* rules->json with mask_salt, or NULL */
	int file_fd;		 /* the spool file, open for reading alone */
	int spill_fds[64];
	size_t nspill;
	int keyset_fds[64];
	size_t nkeysets;
	const char **key_columns;
	int *key_fds;
	size_t nkeys;
	/* Both 0: checks the file. Else looks for these data rows only, as worker_locate() says. */
	uint64_t locate_first, locate_last;
	/* On the worker's reader thread of the daemon; must not block for long. */
	void (*on_event)(void *arg, const char *name, const json_t *value);
	/* So many bytes of the file were read and checked: every MiB, every 50 ms, and when it waits for more; may be NULL. */
	void (*on_checked)(void *arg, uint64_t bytes);
	/* An output file is wanted: an open descriptor for writing (it is closed after it was passed), or -errno.
	 * NULL: no outputs and no quarantine. The name is a worker's word: no control characters, no '/', not
	 * empty, 255 bytes at most, and else whatever a file made it say. */
	int (*on_open)(void *arg, const char *name);
	/* Once, at the end: the pipeline's result (borrowed), or NULL and why when the worker died or hit a cap:
	 * the end of a sentence ("the file could not be checked: …"). */
	void (*on_done)(void *arg, json_t *result, const char *why);
	void *arg;
};
/* Copies of all descriptors, names and rules are made: the caller may close and free its own at once. 0, -EAGAIN when
 * so many workers run already, -EPIPE when the nursery is gone, -errno. */
int worker_start(struct worker **out, struct nursery *n, const struct worker_job *job);
void worker_available(struct worker *w, uint64_t bytes, bool whole); /* so many bytes of the file are there; whole: no more come */
void worker_cancel(struct worker *w);				       /* on_done follows, why "cancelled" */
/* After on_done, of a worker without a result, whose fault it was: 0: the file's; -EPIPE: the process was taken away (the
 * kernel was short of memory, the nursery died), a second try may end well; -ENOSPC: this machine's disk is full. */
int worker_fault(const struct worker *w);
/* Waits for on_done, unless it is called from there. Accepts NULL. */
void worker_free(struct worker *w);
/* A whole file checked without outputs, blocking: {"findings":[…],"type":{…},"columns":[…],"result":{…}}; for previews
 * (a memfd) and the command line. 0, or -errno and why. */
int worker_check(struct nursery *n, const json_t *rules, int file_fd, json_t **out, char why[160]);
/* Finds rows of a file without checking: {"offset","length"} of data rows [first, last] in the unpacked text. Blocking.
 * 0, -ENOENT no such rows, -ENOTSUP the file is packed, or has no rows. */
int worker_locate(struct nursery *n, const json_t *rules, int file_fd, uint64_t first, uint64_t last, uint64_t *offset, uint64_t *length);

#endif
