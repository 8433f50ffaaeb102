/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_pool.c -- threads that run jobs in order of arrival.
 */
#include <errno.h>
#include <stdlib.h>

#include "http/store/names_int.h"

#define JOBS_MAX 10000

struct job {
	void (*fn)(void *arg);
	void *arg;
	struct job *next;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *first, **tail;
	unsigned int waiting, nthreads;
	bool ending;
	pthread_t threads[];
};

static void *pool_run(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct job *job = p->first;

		if (!job) {
			if (p->ending)
				break;
			pthread_cond_wait(&p->wake, &p->lock);
			continue;
		}
		p->first = job->next;
		if (!p->first)
			p->tail = &p->first;
		p->waiting--;
		pthread_mutex_unlock(&p->lock);
		job->fn(job->arg);
		free(job);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int pool_new(struct pool **out, unsigned int threads)
{
	struct pool *p = calloc(1, sizeof(*p) + threads * sizeof(p->threads[0]));

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	p->tail = &p->first;
	for (; p->nthreads < threads; p->nthreads++) {
		int rc = pthread_create(&p->threads[p->nthreads], NULL, pool_run, p);

		if (rc) {
			pool_free(p);
			return -rc;
		}
	}
	*out = p;
	return 0;
}

int pool_add(struct pool *p, void (*fn)(void *arg), void *arg)
{
	struct job *job = malloc(sizeof(*job));

	if (!job)
		return -ENOMEM;
	*job = (struct job){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&p->lock);
	if (p->waiting >= JOBS_MAX) {
		pthread_mutex_unlock(&p->lock);
		free(job);
		return -EAGAIN;
	}
	*p->tail = job;
	p->tail = &job->next;
	p->waiting++;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (unsigned int i = 0; i < p->nthreads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->wake);
	free(p);
}
