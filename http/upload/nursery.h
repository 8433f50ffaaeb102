/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nursery.h -- what the parts of worker.h share: the daemon's handle of its nursery, and the mains of the processes.
 */
#ifndef WEIR_UPLOAD_NURSERY_H
#define WEIR_UPLOAD_NURSERY_H

#include <pthread.h>
#include <sys/types.h>

#include "http/upload/worker.h"

#define WORKER_NURSERY_OPTION "--nursery"

struct nursery {
	pid_t pid;
	int sock;
	struct nursery_limits limits; /* as asked for: 0 is the default */
	unsigned int workers_max;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t idle;
	unsigned int running;
	bool ended;
};

/* A place for one worker: 0, -EAGAIN, -EPIPE. Each take has its give. */
int nursery_take(struct nursery *n);
void nursery_give(struct nursery *n);
/* Asks for a worker that has this end of a pair; the caller closes its copy. 0 or -errno. */
int nursery_fork(struct nursery *n, int sock);

/* The nursery's process, its socket at WIRE_FD; returns the exit code. */
int nursery_main(void);
/* A worker's, behind its walls, its socket at WIRE_FD; returns the exit code. memory: its limit. */
int worker_main(void);

#endif
