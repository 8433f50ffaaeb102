/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace.c -- see pace.h.
 */
#include <errno.h>

#include "http/store/pace.h"
#include "lib/clock.h"

void pace_init(struct pace *p)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	p->stop = false;
	p->now = false;
}

void pace_destroy(struct pace *p)
{
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->wake);
}

static bool wait(struct pace *p, int64_t ms, bool early)
{
	struct timespec until = clock_in_ms(CLOCK_MONOTONIC, ms);
	bool go;

	pthread_mutex_lock(&p->lock);
	while (!p->stop && !(early && p->now))
		if (pthread_cond_timedwait(&p->wake, &p->lock, &until) == ETIMEDOUT)
			break;
	if (early)
		p->now = false;
	go = !p->stop;
	pthread_mutex_unlock(&p->lock);
	return go;
}

bool pace_wait(struct pace *p, int64_t ms)
{
	return wait(p, ms, false);
}

bool pace_wait_early(struct pace *p, int64_t ms)
{
	return wait(p, ms, true);
}

void pace_now(struct pace *p)
{
	pthread_mutex_lock(&p->lock);
	p->now = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void pace_stop(struct pace *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
}
