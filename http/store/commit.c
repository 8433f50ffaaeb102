/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit.c -- group commit (commit.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/store/commit.h"

struct commit {
	int root;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct commit_job *head, **tail;
	unsigned long rounds, jobs;
	bool stop;
};

static int last_errno(int rc)
{
	return rc < 0 ? -errno : 0;
}

/* Once a round for each folder. */
static int folder_sync(const struct commit *c, struct commit_job *batch, struct commit_job *job)
{
	int fd, rc;

	for (struct commit_job *o = batch; o != job; o = o->next)
		if (o->folder_synced && !strcmp(o->folder, job->folder))
			return 0;
	fd = openat(c->root, job->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = last_errno(fsync(fd));
	close(fd);
	job->folder_synced = !rc;
	return rc;
}

static void round_run(const struct commit *c, struct commit_job *batch)
{
	struct commit_job *job;

	for (job = batch; job; job = job->next)
		if (job->fd >= 0)
			sync_file_range(job->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	for (job = batch; job; job = job->next)
		if (job->fd >= 0)
			job->rc = last_errno(fdatasync(job->fd));
	for (job = batch; job; job = job->next)
		if (!job->rc && job->from[0])
			job->rc = last_errno(renameat(c->root, job->from, c->root, job->to));
	for (job = batch; job; job = job->next)
		if (!job->rc && job->folder[0])
			job->rc = folder_sync(c, batch, job);
}

static void *commit_main(void *arg)
{
	struct commit *c = arg;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		struct commit_job *batch, *job, *next;

		while (!c->head && !c->stop)
			pthread_cond_wait(&c->work, &c->lock);
		if (!c->head)
			break;
		batch = c->head;
		c->head = NULL;
		c->tail = &c->head;
		pthread_mutex_unlock(&c->lock);
		round_run(c, batch);
		pthread_mutex_lock(&c->lock);
		c->rounds++;
		for (job = batch; job; job = next) {
			next = job->next;
			job->done = true;
			c->jobs++;
		}
		pthread_cond_broadcast(&c->done);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

int commit_new(struct commit **out, int root)
{
	struct commit *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	c->root = root;
	c->tail = &c->head;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->work, NULL);
	pthread_cond_init(&c->done, NULL);
	rc = pthread_create(&c->thread, NULL, commit_main, c);
	if (rc) {
		free(c);
		return -rc;
	}
	pthread_setname_np(c->thread, "commit");
	*out = c;
	return 0;
}

void commit_free(struct commit *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_signal(&c->work);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->work);
	pthread_cond_destroy(&c->done);
	free(c);
}

void commit_begin(struct commit *c, struct commit_job *job)
{
	job->rc = 0;
	job->folder_synced = false;
	job->done = false;
	job->next = NULL;
	pthread_mutex_lock(&c->lock);
	*c->tail = job;
	c->tail = &job->next;
	pthread_cond_signal(&c->work);
	pthread_mutex_unlock(&c->lock);
}

int commit_wait(struct commit *c, struct commit_job *job)
{
	int rc;

	pthread_mutex_lock(&c->lock);
	while (!job->done)
		pthread_cond_wait(&c->done, &c->lock);
	rc = job->rc;
	pthread_mutex_unlock(&c->lock);
	return rc;
}

void commit_counts(struct commit *c, unsigned long *rounds, unsigned long *jobs)
{
	pthread_mutex_lock(&c->lock);
	*rounds = c->rounds;
	*jobs = c->jobs;
	pthread_mutex_unlock(&c->lock);
}
