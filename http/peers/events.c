/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c -- GET /_/peers/events: one viewer's instructions as server-sent events. A listener that is too far behind is
 * ended: its browser connects again and gets the last instruction, which is complete in itself.
 *
 * push and end are called under the table's lock (home.h); a listener's own lock is taken last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/peers_int.h"

#define BACKLOG_MAX (64u << 10)

struct listener {
	struct home_stream stream; /* the first */
	struct peers *p;
	pthread_mutex_t lock;
	struct http_req *req; /* NULL: it is done */
	char *buf;
	size_t len, size;
	bool ended;
};

static void push(struct home_stream *s, const char *text, size_t len)
{
	struct listener *l = (struct listener *)s;

	pthread_mutex_lock(&l->lock);
	if (l->len + len > l->size) {
		char *grown = l->len + len > BACKLOG_MAX ? NULL : realloc(l->buf, l->len + len);

		l->ended |= !grown;
		l->buf = grown ? grown : l->buf;
		l->size = grown ? l->len + len : l->size;
	}
	if (l->ended) {
		l->len = 0; /* an event that is cut short is none (HTML, section 9.2.6) */
	} else {
		memcpy(l->buf + l->len, text, len);
		l->len += len;
	}
	if (l->req)
		http_resume(l->req);
	pthread_mutex_unlock(&l->lock);
}

static void end(struct home_stream *s)
{
	struct listener *l = (struct listener *)s;

	pthread_mutex_lock(&l->lock);
	l->ended = true;
	if (l->req)
		http_resume(l->req);
	pthread_mutex_unlock(&l->lock);
}

static ssize_t listener_read(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct listener *l = arg;
	ssize_t n = HTTP_READ_LATER;

	(void)pos;
	pthread_mutex_lock(&l->lock);
	if (l->len) {
		n = (ssize_t)(l->len < max ? l->len : max);
		memcpy(buf, l->buf, (size_t)n);
		l->len -= (size_t)n;
		memmove(l->buf, l->buf + n, l->len);
	} else if (l->ended) {
		n = HTTP_READ_END;
	} else if (l->size) {
		free(l->buf); /* nothing is kept for one that hears nothing for a while */
		l->buf = NULL;
		l->size = 0;
	}
	pthread_mutex_unlock(&l->lock);
	return n;
}

static void detach(struct listener *l)
{
	home_stream_remove(l->p->home, &l->stream);
	pthread_mutex_lock(&l->lock);
	l->req = NULL;
	pthread_mutex_unlock(&l->lock);
}

/* The answer's end: after `done`, or in its place when there was no memory for an answer. */
static void listener_free(void *arg)
{
	struct listener *l = arg;

	if (l->req) {
		http_set_state(l->req, NULL);
		detach(l);
	}
	pthread_mutex_destroy(&l->lock);
	free(l->buf);
	free(l);
}

void peers_events_done(struct http_req *req, void *arg)
{
	struct listener *l = http_state(req);

	(void)arg;
	if (l)
		detach(l);
}

enum http_next peers_events(struct http_req *req, void *arg)
{
	char client[ADDR_PORT_STRLEN], *facts;
	struct peers *p = arg;
	struct viewer_token t;
	struct listener *l;
	struct home_guest g;
	int rc;

	if (!peers_token(req, p, &t))
		return HTTP_ANSWERED;
	if (!http_stand_apart(req))
		return peers_no_room(req, -ENOSPC);
	facts = peers_facts(req, p, &t, client);
	l = facts ? calloc(1, sizeof(*l)) : NULL;
	if (!l) {
		free(facts);
		return http_reply_error(req, 503, "memory", "there is no memory for another viewer");
	}
	*l = (struct listener){ .stream = { .push = push, .end = end }, .p = p, .req = req };
	pthread_mutex_init(&l->lock, NULL);
	push(&l->stream, ":\n\n", 3); /* the head goes out now, not with the first instruction */
	g = (struct home_guest){ .token = &t, .client = client, .facts = facts, .now_ms = peers_now_ms() };
	rc = home_stream_add(p->home, &g, &l->stream);
	free(facts);
	if (rc) {
		pthread_mutex_destroy(&l->lock);
		free(l->buf);
		free(l);
		return peers_no_room(req, rc);
	}
	http_set_state(req, l);
	return http_reply_stream(req, 200, "text/event-stream", UINT64_MAX, listener_read, listener_free, l);
}
