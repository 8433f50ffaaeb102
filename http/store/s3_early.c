/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_early.c -- an answer that begins before its operation has ended (Amazon's API reference, CopyObject: "If the error occurs
 * during the copy operation, the error response is embedded in the 200 OK response").
 *
 * Clients give up after a minute of silence. So what takes longer than a few seconds answers 200 with XML's declaration and goes on
 * with white space; the result or the error comes behind it. The request may be over at any time from then on, on a thread of the
 * server, which must not wait for the worker: the worker has struct s3 alone, in which there is no request any more, and who is
 * the later of the two, the worker or the request's end, frees it (s3_early_leave()).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/store/s3.h"

#define EARLY_MS 5000 /* until the answer begins, and between two blanks */

static const char declaration[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

struct s3_early {
	pthread_mutex_t lock;
	unsigned int refs;	 /* that of struct s3, and the stream's */
	struct http_req *req;	 /* not when gone */
	_Atomic bool gone;	 /* the request is over; set with the lock */
	bool left;		 /* the worker has */
	bool over, failed;	 /* rest is all there is; the end was lost */
	size_t said;		 /* of the declaration */
	char *rest;
	size_t rest_len, rest_at;
	unsigned int blanks;	 /* to be sent */
	char id[S3_SEEN_ID], from[ADDR_PORT_STRLEN]; /* of the request, for struct s3 */
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
		n = e->failed ? HTTP_READ_FAIL : HTTP_READ_END;
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
	struct http_req *req = s3->req;

	if (!e)
		return;
	pthread_mutex_init(&e->lock, NULL);
	e->refs = 2;
	e->req = req;
	s3->early = e;
	s3_add_ids(s3);
	if (s3->body.sealer)
		http_add_header(req, "x-amz-server-side-encryption", "AES256");
	s3_seen_keep(s3, e->id, e->from);
	s3->req = NULL;
	http_reply_stream(req, 200, S3_XML_TYPE, UINT64_MAX, read_early, unref, e);
	http_work_go_on(req);
}

/* With the lock: the end of the request waits for it, so the request is there. */
static void wake(struct s3_early *e)
{
	if (!atomic_load(&e->gone))
		http_resume(e->req);
}

bool s3_early_tick(struct s3 *s3)
{
	struct s3_early *e = s3->early;
	int64_t now = now_ms();

	if (e && atomic_load(&e->gone))
		return false;
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
	e->blanks++;
	wake(e);
	pthread_mutex_unlock(&e->lock);
	return true;
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
	e->failed = !text;
	wake(e);
	pthread_mutex_unlock(&e->lock);
	return true;
}

bool s3_early_leave(struct s3_early *e, bool worker)
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

void s3_early_free(struct s3_early *e)
{
	if (e)
		unref(e);
}
