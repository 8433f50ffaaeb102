/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.h -- a few threads that run what they are given: chunks to the second copy, repairs, the
 * steps of buckets, reads for other endpoints.
 */
#ifndef WEIR_STORE_JOBS_H
#define WEIR_STORE_JOBS_H

struct jobs;

/* threads: 64 at most. 0 or -errno. */
int jobs_new(struct jobs **out, const char *name, unsigned int threads);
/* Runs what was added, then ends the threads. Accepts NULL. */
void jobs_free(struct jobs *jobs);
/* fn(arg) runs soon; they begin in the order of the calls. 0, -ENOMEM, or -EAGAIN: 4,096 wait already, or it ends. */
int jobs_add(struct jobs *jobs, void (*fn)(void *arg), void *arg);

#endif
