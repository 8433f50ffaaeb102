/* SPDX-License-Identifier: Apache-2.0 */
/*
 * early.c -- see early.h.
 */
#include "lib/early.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct early {
	pthread_mutex_t lock;
	unsigned int refs; /* the owner's, and the stream's */
	struct http_req *req; /* not when gone */
	_Atomic bool gone; /* the request is over; set with the lock */
	bool left;	   /* the worker has */
	bool over, failed; /* rest is all there is; the end was lost */
	const char *head;
	size_t said; /* of it */
	char *rest;
	size_t rest_len, rest_at;
	unsigned int blanks; /* to be sent */
};

static void unref(void *arg)
{
	struct early *e = arg;
	bool last;

	pthread_mutex_lock(&e->lock);
	last = --e->refs == 0;
	pthread_mutex_unlock(&e->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&e->lock);
	free(e->rest);
	free(e);
}

static ssize_t take(char *buf, size_t max, const char *text, size_t len, size_t *at)
{
	size_t n = len - *at < max ? len - *at : max;

	memcpy(buf, text + *at, n);
	*at += n;
	return (ssize_t)n;
}

static ssize_t read_early(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct early *e = arg;
	ssize_t n = HTTP_READ_LATER;

	(void)pos;
	pthread_mutex_lock(&e->lock);
	if (e->head[e->said]) {
		n = take(buf, max, e->head, strlen(e->head), &e->said);
	} else if (e->rest_at < e->rest_len) {
		n = take(buf, max, e->rest, e->rest_len, &e->rest_at);
	} else if (e->over) {
		n = e->failed ? HTTP_READ_FAIL : HTTP_READ_END;
	} else if (e->blanks && max) {
		e->blanks = 0;
		buf[0] = ' ';
		n = 1;
	}
	pthread_mutex_unlock(&e->lock);
	return n;
}

struct early *early_new(const char *head)
{
	struct early *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	pthread_mutex_init(&e->lock, NULL);
	e->refs = 1;
	e->head = head;
	return e;
}

void early_begin(struct early *e, struct http_req *req, const char *type)
{
	e->refs++;
	e->req = req;
	http_reply_stream(req, 200, type, UINT64_MAX, read_early, unref, e);
	http_work_go_on(req);
}

bool early_is_gone(const struct early *e)
{
	return atomic_load(&e->gone);
}

/* With the lock: the end of the request waits for it, so the request is there. */
static void wake(struct early *e)
{
	if (!atomic_load(&e->gone))
		http_resume(e->req);
}

void early_blank(struct early *e)
{
	pthread_mutex_lock(&e->lock);
	e->blanks++;
	wake(e);
	pthread_mutex_unlock(&e->lock);
}

void early_say(struct early *e, char *text, size_t len)
{
	size_t skip = strlen(e->head);

	if (!text || len < skip || memcmp(text, e->head, skip))
		skip = 0;
	pthread_mutex_lock(&e->lock);
	e->rest = text;
	e->rest_len = text ? len : 0;
	e->rest_at = text ? skip : 0;
	e->over = true;
	e->failed = !text;
	wake(e);
	pthread_mutex_unlock(&e->lock);
}

bool early_leave(struct early *e, bool worker)
{
	bool last;

	pthread_mutex_lock(&e->lock);
	if (worker)
		e->left = true;
	else
		atomic_store(&e->gone, true);
	last = e->left && atomic_load(&e->gone);
	pthread_mutex_unlock(&e->lock);
	return last;
}

void early_free(struct early *e)
{
	if (e)
		unref(e);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool early_is_due(int64_t *due)
{
	const char *text = getenv("WEIR_S3_EARLY_MS");
	int64_t now = now_ms(), step = text ? atoll(text) : EARLY_MS;
	bool is;

	if (!*due)
		*due = now + step;
	is = now >= *due;
	if (is)
		*due = now + step;
	return is;
}
