/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_events.c -- server-sent events (HTML Living Standard, section 9.2): one topic, many
 * listeners, each with its own bounded buffer.
 *
 * Locks: topics_lock, then a topic's, then a request's. A listener lives until its request is
 * done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/httpd_impl.h"

#define BEHIND_MAX (256u << 10)
#define LAST_MAX   64 /* names of events that new listeners get */

struct http_listener {
	struct http_listener *next, *prev;
	struct http_topic *topic;
	struct http_req *req;
	char *buf;
	size_t len, size;
	size_t behind_max; /* what was given at the beginning is no fault of the listener's */
	bool closed;
};

struct last_event {
	char *name, *text;
	size_t len;
};

struct http_topic {
	struct http_topic *next, *prev;
	struct httpd *server; /* NULL after its end */
	pthread_mutex_t lock;
	struct http_listener *listeners;
	unsigned int nlisteners, listeners_max;
	struct last_event last[LAST_MAX];
	size_t nlast;
	bool freed, ended;
};

size_t http_topic_listeners(struct http_topic *topic)
{
	size_t n;

	pthread_mutex_lock(&topic->lock);
	n = topic->nlisteners;
	pthread_mutex_unlock(&topic->lock);
	return n;
}

struct http_topic *http_topic_new(struct httpd *server, unsigned int listeners_max)
{
	struct http_topic *topic = calloc(1, sizeof(*topic));

	if (!topic)
		return NULL;
	topic->server = server;
	topic->listeners_max = listeners_max;
	pthread_mutex_init(&topic->lock, NULL);
	pthread_mutex_lock(&server->topics_lock);
	topic->next = server->topics;
	if (topic->next)
		topic->next->prev = topic;
	server->topics = topic;
	pthread_mutex_unlock(&server->topics_lock);
	return topic;
}

static void topic_destroy(struct http_topic *topic)
{
	for (size_t i = 0; i < topic->nlast; i++) {
		free(topic->last[i].name);
		free(topic->last[i].text);
	}
	pthread_mutex_destroy(&topic->lock);
	free(topic);
}

void http_topic_free(struct http_topic *topic)
{
	struct httpd *server = topic ? topic->server : NULL;
	bool empty;

	if (!topic)
		return;
	if (server) {
		pthread_mutex_lock(&server->topics_lock);
		if (topic->next)
			topic->next->prev = topic->prev;
		if (topic->prev)
			topic->prev->next = topic->next;
		else
			server->topics = topic->next;
		pthread_mutex_unlock(&server->topics_lock);
	}
	pthread_mutex_lock(&topic->lock);
	topic->freed = true;
	for (struct http_listener *l = topic->listeners; l; l = l->next) {
		l->closed = true;
		http_resume(l->req);
	}
	empty = !topic->listeners;
	pthread_mutex_unlock(&topic->lock);
	if (empty) /* else the last listener's end frees it */
		topic_destroy(topic);
}

/* Under the topic's lock. A listener that is too far behind is cut at once. */
static void listener_add(struct http_listener *l, const char *text, size_t len)
{
	if (l->closed)
		return;
	if (l->len + len > l->size) {
		size_t size = l->len + len < 4096 ? 4096 : 2 * (l->len + len);
		char *grown = l->len + len > l->behind_max ? NULL : realloc(l->buf, size);

		if (!grown) {
			l->closed = true;
			shutdown(l->req->conn->fd, SHUT_RDWR);
			http_resume(l->req);
			return;
		}
		l->buf = grown;
		l->size = size;
	}
	memcpy(l->buf + l->len, text, len);
	l->len += len;
	http_resume(l->req);
}

static ssize_t listener_read(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct http_listener *l = arg;
	ssize_t n = HTTP_READ_LATER;

	(void)pos;
	pthread_mutex_lock(&l->topic->lock);
	if (l->closed) {
		n = HTTP_READ_END;
	} else if (l->len) {
		n = (ssize_t)(l->len < max ? l->len : max);
		memcpy(buf, l->buf, (size_t)n);
		l->len -= (size_t)n;
		memmove(l->buf, l->buf + n, l->len);
	}
	pthread_mutex_unlock(&l->topic->lock);
	return n;
}

void http_listener_gone(struct http_req *req)
{
	struct http_listener *l = req->listener;
	struct http_topic *topic;
	bool last;

	if (!l)
		return;
	req->listener = NULL;
	topic = l->topic;
	pthread_mutex_lock(&topic->lock);
	if (l->next)
		l->next->prev = l->prev;
	if (l->prev)
		l->prev->next = l->next;
	else
		topic->listeners = l->next;
	topic->nlisteners--;
	last = topic->freed && !topic->listeners;
	pthread_mutex_unlock(&topic->lock);
	free(l->buf);
	free(l);
	if (last)
		topic_destroy(topic);
}

/* first NULL: the last event of each name. */
static enum http_next listen_to(struct http_req *req, struct http_topic *topic, const char *first,
				size_t len)
{
	struct http_listener *l = calloc(1, sizeof(*l));

	if (!l)
		return http_reply_error(req, 503, "memory",
					"there is no memory for another listener");
	l->topic = topic;
	l->req = req;
	l->behind_max = BEHIND_MAX + len;
	pthread_mutex_lock(&topic->lock);
	if (topic->freed || topic->ended || topic->nlisteners >= topic->listeners_max) {
		pthread_mutex_unlock(&topic->lock);
		free(l);
		return http_reply_error(req, 503, "busy", "too many listeners; try again later");
	}
	l->next = topic->listeners;
	if (l->next)
		l->next->prev = l;
	topic->listeners = l;
	topic->nlisteners++;
	req->listener = l;
	listener_add(l, ":\n\n", 3); /* the head goes out now, not with the first event */
	if (first)
		listener_add(l, first, len);
	for (size_t i = 0; i < topic->nlast && !first; i++)
		listener_add(l, topic->last[i].text, topic->last[i].len);
	pthread_mutex_unlock(&topic->lock);
	http_add_header(req, "Cache-Control", "no-store");
	return http_reply_stream(req, 200, "text/event-stream", UINT64_MAX, listener_read, NULL, l);
}

enum http_next http_reply_events(struct http_req *req, struct http_topic *topic)
{
	return listen_to(req, topic, NULL, 0);
}

enum http_next http_reply_events_from(struct http_req *req, struct http_topic *topic,
				      const char *first, size_t len)
{
	return listen_to(req, topic, first, len);
}

/* "event: NAME" and a "data:" line for each line of the text. */
char *http_event_format(const char *event, const char *data, size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	if (!out)
		return NULL;
	if (event)
		fprintf(out, "event: %s\n", event);
	for (;;) {
		size_t line = strcspn(data, "\r\n");

		fprintf(out, "data: %.*s\n", (int)line, data);
		data += line;
		if (!*data)
			break;
		data++;
	}
	fputc('\n', out);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

/* Under the lock; takes text. */
static void keep_last(struct http_topic *topic, const char *event, char *text, size_t len)
{
	struct last_event *last = NULL;

	for (size_t i = 0; i < topic->nlast && !last; i++)
		if (!strcmp(topic->last[i].name, event))
			last = &topic->last[i];
	if (!last && topic->nlast < LAST_MAX) {
		last = &topic->last[topic->nlast];
		last->name = strdup(event);
		last->text = NULL;
		topic->nlast += last->name != NULL;
		if (!last->name)
			last = NULL;
	}
	if (!last) {
		free(text);
		return;
	}
	free(last->text);
	last->text = text;
	last->len = len;
}

void http_topic_send(struct http_topic *topic, const char *event, const char *data)
{
	size_t len = 0;
	char *text = http_event_format(event, data, &len);

	if (!text)
		return;
	pthread_mutex_lock(&topic->lock);
	for (struct http_listener *l = topic->listeners; l; l = l->next)
		listener_add(l, text, len);
	if (event)
		keep_last(topic, event, text, len);
	else
		free(text);
	pthread_mutex_unlock(&topic->lock);
}

void http_events_tick(struct httpd *server)
{
	pthread_mutex_lock(&server->topics_lock);
	for (struct http_topic *topic = server->topics; topic; topic = topic->next) {
		pthread_mutex_lock(&topic->lock);
		for (struct http_listener *l = topic->listeners; l; l = l->next)
			listener_add(l, ":\n\n", 3);
		pthread_mutex_unlock(&topic->lock);
	}
	pthread_mutex_unlock(&server->topics_lock);
}

void http_events_end(struct httpd *server)
{
	pthread_mutex_lock(&server->topics_lock);
	for (struct http_topic *topic = server->topics; topic; topic = topic->next) {
		pthread_mutex_lock(&topic->lock);
		topic->ended = true;
		for (struct http_listener *l = topic->listeners; l; l = l->next) {
			l->closed = true;
			http_resume(l->req);
		}
		pthread_mutex_unlock(&topic->lock);
	}
	pthread_mutex_unlock(&server->topics_lock);
}

void http_topics_detach(struct httpd *server)
{
	for (struct http_topic *topic = server->topics; topic; topic = topic->next)
		topic->server = NULL;
}
