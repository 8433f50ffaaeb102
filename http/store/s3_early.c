/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_early.c -- an answer that begins before its operation has ended (Amazon's API reference, CopyObject: "If the error occurs
 * during the copy operation, the error response is embedded in the 200 OK response").
 *
 * Clients give up after a minute of silence. So what takes longer than a few seconds answers 200 with XML's declaration and goes on
 * with white space; the result or the error comes behind it. The worker goes on with the request meanwhile: s3_early_wait(), at the
 * request's end, tells it that nobody listens any more, and waits until it has left.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/store/s3.h"

#define EARLY_MS 5000 /* until the answer begins, and between two blanks */

static const char declaration[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

struct s3_early {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int refs;	 /* the request's, the worker's and the stream's */
	bool gone, left;	 /* nobody listens; the worker has left */
	bool over;		 /* rest is all there is */
	size_t said;		 /* of the declaration */
	char *rest;
	size_t rest_len, rest_at;
	unsigned int blanks;	 /* to be sent */
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Tests shorten it. */
static int64_t early_ms(void)
{
	const char *text = getenv("WEIR_S3_EARLY_MS");

	return text ? atoll(text) : EARLY_MS;
}

static void unref(void *arg)
{
	struct s3_early *e = arg;
	bool last;

	pthread_mutex_lock(&e->lock);
	last = --e->refs == 0;
	pthread_mutex_unlock(&e->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&e->lock);
	pthread_cond_destroy(&e->changed);
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
	struct s3_early *e = arg;
	ssize_t n = HTTP_READ_LATER;

	(void)pos;
	pthread_mutex_lock(&e->lock);
	if (e->said < sizeof(declaration) - 1) {
		n = take(buf, max, declaration, sizeof(declaration) - 1, &e->said);
	} else if (e->rest_at < e->rest_len) {
		n = take(buf, max, e->rest, e->rest_len, &e->rest_at);
	} else if (e->over) {
		n = HTTP_READ_END;
	} else if (e->blanks && max) {
		e->blanks = 0;
		buf[0] = ' ';
		n = 1;
	}
	pthread_mutex_unlock(&e->lock);
	return n;
}

static void begin(struct s3 *s3)
{
	struct s3_early *e = calloc(1, sizeof(*e));

	if (!e)
		return;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->changed, NULL);
	e->refs = 3;
	s3->early = e;
	s3_add_ids(s3);
	if (s3->body.sealer)
		http_add_header(s3->req, "x-amz-server-side-encryption", "AES256");
	http_reply_stream(s3->req, 200, S3_XML_TYPE, UINT64_MAX, read_early, unref, e);
	http_work_go_on(s3->req);
}

bool s3_early_tick(struct s3 *s3)
{
	struct s3_early *e = s3->early;
	int64_t now = now_ms();
	bool gone;

	if (!s3->early_ms)
		s3->early_ms = now + early_ms();
	if (now < s3->early_ms)
		return true;
	s3->early_ms = now + early_ms();
	if (!e) {
		begin(s3); /* without memory it is answered at the end */
		return true;
	}
	pthread_mutex_lock(&e->lock);
	gone = e->gone;
	e->blanks++;
	pthread_mutex_unlock(&e->lock);
	http_resume(s3->req);
	return !gone;
}

bool s3_early_say(struct s3 *s3, char *text, size_t len)
{
	struct s3_early *e = s3->early;
	size_t skip = sizeof(declaration) - 1;

	if (!e)
		return false;
	if (!text || len < skip || memcmp(text, declaration, skip))
		skip = 0;
	pthread_mutex_lock(&e->lock);
	e->rest = text;
	e->rest_len = text ? len : 0;
	e->rest_at = text ? skip : 0;
	e->over = true;
	pthread_mutex_unlock(&e->lock);
	http_resume(s3->req);
	return true;
}

void s3_early_left(struct s3_early *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->left = true;
	pthread_cond_signal(&e->changed);
	pthread_mutex_unlock(&e->lock);
	unref(e);
}

void s3_early_wait(struct s3_early *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->gone = true;
	while (!e->left)
		pthread_cond_wait(&e->changed, &e->lock);
	pthread_mutex_unlock(&e->lock);
	unref(e);
}
