/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.c -- a small pool of threads (jobs.h).
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "http/store/jobs.h"

#define JOBS_MAX    4096
#define THREADS_MAX 64

struct job {
	struct job *next;
	void (*fn)(void *arg);
	void *arg;
};

struct jobs {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct job *head, **tail;
	unsigned int waiting, threads;
	bool stop;
	pthread_t thread[THREADS_MAX];
};

static void *jobs_main(void *arg)
{
	struct jobs *jobs = arg;

	pthread_mutex_lock(&jobs->lock);
	for (;;) {
		struct job *job;

		while (!jobs->head && !jobs->stop)
			pthread_cond_wait(&jobs->work, &jobs->lock);
		job = jobs->head;
		if (!job)
			break;
		jobs->head = job->next;
		if (!jobs->head)
			jobs->tail = &jobs->head;
		jobs->waiting--;
		pthread_mutex_unlock(&jobs->lock);
		job->fn(job->arg);
		free(job);
		pthread_mutex_lock(&jobs->lock);
	}
	pthread_mutex_unlock(&jobs->lock);
	return NULL;
}

int jobs_new(struct jobs **out, const char *name, unsigned int threads)
{
	struct jobs *jobs = calloc(1, sizeof(*jobs));

	if (!jobs)
		return -ENOMEM;
	pthread_mutex_init(&jobs->lock, NULL);
	pthread_cond_init(&jobs->work, NULL);
	jobs->tail = &jobs->head;
	for (; jobs->threads < threads && jobs->threads < THREADS_MAX; jobs->threads++) {
		int rc = pthread_create(&jobs->thread[jobs->threads], NULL, jobs_main, jobs);

		if (rc) {
			jobs_free(jobs);
			return -rc;
		}
		pthread_setname_np(jobs->thread[jobs->threads], name);
	}
	*out = jobs;
	return 0;
}

void jobs_free(struct jobs *jobs)
{
	if (!jobs)
		return;
	pthread_mutex_lock(&jobs->lock);
	jobs->stop = true;
	pthread_cond_broadcast(&jobs->work);
	pthread_mutex_unlock(&jobs->lock);
	for (unsigned int i = 0; i < jobs->threads; i++)
		pthread_join(jobs->thread[i], NULL);
	pthread_mutex_destroy(&jobs->lock);
	pthread_cond_destroy(&jobs->work);
	free(jobs);
}

int jobs_add(struct jobs *jobs, void (*fn)(void *arg), void *arg)
{
	struct job *job = malloc(sizeof(*job));
	int rc = 0;

	if (!job)
		return -ENOMEM;
	*job = (struct job){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&jobs->lock);
	if (jobs->waiting >= JOBS_MAX || jobs->stop) {
		rc = -EAGAIN;
	} else {
		*jobs->tail = job;
		jobs->tail = &job->next;
		jobs->waiting++;
		pthread_cond_signal(&jobs->work);
	}
	pthread_mutex_unlock(&jobs->lock);
	if (rc)
		free(job);
	return rc;
}
