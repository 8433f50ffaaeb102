/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace.h -- how a thread that works in the background waits: between its rounds, and between two
 * pieces of one, so that clients come first. The end, or an impatient caller, cuts the wait.
 *
 * Thread-safe. Its owner makes it before the thread and destroys it behind pthread_join(). Nothing
 * fails.
 */
#ifndef WEIR_STORE_PACE_H
#define WEIR_STORE_PACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pace {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool stop;       /* read at will: the thread should end */
	bool now;
};

void pace_init(struct pace *p);
void pace_destroy(struct pace *p);

/* The thread waits so long. True: go on; false: the end. */
bool pace_wait(struct pace *p, int64_t ms);
/* The same, also until pace_now(), which counts when it came before. */
bool pace_wait_early(struct pace *p, int64_t ms);

void pace_now(struct pace *p);
/* Every wait ends, now and later. */
void pace_stop(struct pace *p);

#endif
