/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c -- see watch.h. The store tells the hub of changes; the hub wakes the streams whose span
 * was touched; a stream's reader takes what is new from the store.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "http/registry/watch.h"

/* A stream that nothing concerned is woken all the same before the history forgets where it stands.
 */
#define LAG_MAX	   4096
#define LINE_BYTES (256u << 10) /* of keys and values, about, in one line */

struct watch {
	struct watches *hub;
	struct watch *next_watch, **at; /* at NULL: not in the hub's list any more */
	struct watch **slot;		/* the request's, or NULL when that is over */
	struct http_req *req;
	struct request_watch wanted;
	_Atomic int64_t next; /* revision at which it goes on */
	bool waiting;	      /* hub's lock: the reader said LATER */
	bool progress;	      /* hub's lock: say how far we are */
	bool ended;
	char *line;
	size_t len, pos;
};

struct watches {
	struct store *store;
	pthread_mutex_t lock;
	struct watch *list;
	size_t count;
	bool stopping;
};

/* ---- lines ---- */

static void set_line(struct watch *w, json_t *result)
{
	json_t *root = json_pack("{s:o}", "result", result);
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

	json_decref(root);
	free(w->line);
	w->line = text;
	w->pos = 0;
	w->len = text ? strlen(text) : 0;
	if (text)
		text[w->len++] =
			'\n'; /* in the terminator's place: lines are counted, not terminated */
	else
		w->ended = true; /* without memory: the client comes again */
}

static void line_progress(struct watch *w, int64_t revision)
{
	set_line(w, json_pack("{s:o}", "header", request_header(w->hub->store, revision)));
}

static void line_too_old(struct watch *w, int64_t oldest)
{
	json_t *result = json_pack("{s:o,s:b}", "header",
				   request_header(w->hub->store, store_revision(w->hub->store)),
				   "canceled", 1);
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)oldest);
	json_object_set_new(result, "compact_revision", json_string(text));
	json_object_set_new(result, "cancel_reason",
			    json_string("etcdserver: mvcc: required revision has been compacted"));
	set_line(w, result);
	w->ended = true;
}

static void line_events(struct watch *w, struct kv **kvs, size_t n)
{
	json_t *events = json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *event = json_pack("{s:o}", "kv", request_kv(kvs[i], false));

		if (!kvs[i]->version)
			json_object_set_new(event, "type", json_string("DELETE"));
		json_array_append_new(events, event);
	}
	set_line(w, json_pack("{s:o,s:o}", "header",
			      request_header(w->hub->store, kvs[n - 1]->mod_revision), "events",
			      events));
}

/* The next line, if there is something to say. */
static bool next_line(struct watch *w)
{
	int64_t next = atomic_load(&w->next);
	struct kv **kvs = NULL;
	bool progress;
	size_t n = 0;
	int rc;

	pthread_mutex_lock(&w->hub->lock);
	progress = w->progress;
	w->progress = false;
	if (w->hub->stopping)
		w->ended = true;
	pthread_mutex_unlock(&w->hub->lock);
	if (w->ended)
		return false;
	rc = store_changes(w->hub->store, &w->wanted.span, &next, LINE_BYTES, &kvs, &n);
	if (rc == -ESTALE) {
		line_too_old(w, next);
		return true;
	}
	if (rc) {
		w->ended = true;
		return false;
	}
	if (n)
		line_events(w, kvs, n);
	else if (progress)
		line_progress(w, next - 1);
	atomic_store(&w->next, next);
	for (size_t i = 0; i < n; i++)
		kv_put(kvs[i]);
	free(kvs);
	return n || progress;
}

/* ---- the stream ---- */

/* Nothing to say. Says so to the hub first and then looks again, so that no change falls in
 * between. */
static bool fall_asleep(struct watch *w)
{
	bool asleep;

	pthread_mutex_lock(&w->hub->lock);
	w->waiting = true;
	pthread_mutex_unlock(&w->hub->lock);
	asleep = store_revision(w->hub->store) < atomic_load(&w->next);
	pthread_mutex_lock(&w->hub->lock);
	if (!asleep || w->hub->stopping || w->progress) {
		asleep = !w->waiting; /* woken meanwhile: http_resume() is on its way */
		w->waiting = false;
	} else {
		asleep = true;
	}
	pthread_mutex_unlock(&w->hub->lock);
	return asleep;
}

static ssize_t watch_read(void *ctx, uint64_t pos, char *buf, size_t max)
{
	struct watch *w = ctx;
	size_t n;

	(void)pos;
	while (w->pos == w->len) {
		if (w->ended)
			return HTTP_READ_END;
		if (next_line(w) || w->ended)
			continue;
		if (fall_asleep(w))
			return HTTP_READ_LATER;
	}
	n = w->len - w->pos < max ? w->len - w->pos : max;
	memcpy(buf, w->line + w->pos, n);
	w->pos += n;
	return (ssize_t)n;
}

/* With the hub's lock held: nobody wakes it any more. */
static void unlist(struct watch *w)
{
	if (!w->at)
		return;
	*w->at = w->next_watch;
	if (w->next_watch)
		w->next_watch->at = w->at;
	w->at = NULL;
	w->hub->count--;
}

/* The stream's end and the request's come in either order. */
static void watch_free(void *ctx)
{
	struct watch *w = ctx;

	pthread_mutex_lock(&w->hub->lock);
	unlist(w);
	if (w->slot)
		*w->slot = NULL;
	pthread_mutex_unlock(&w->hub->lock);
	free(w->wanted.key);
	free(w->wanted.end);
	free(w->line);
	free(w);
}

void watches_detach(struct watches *ws, struct watch **slot)
{
	pthread_mutex_lock(&ws->lock);
	if (*slot) {
		unlist(*slot);
		(*slot)->slot = NULL;
	}
	pthread_mutex_unlock(&ws->lock);
}

/* ---- the hub ---- */

static void wake(struct watch *w)
{
	if (!w->waiting)
		return;
	w->waiting = false;
	http_resume(w->req);
}

static void on_change(void *arg, struct kv *const *changes, size_t n, int64_t revision)
{
	struct watches *ws = arg;

	pthread_mutex_lock(&ws->lock);
	for (struct watch *w = ws->list; w; w = w->next_watch) {
		bool touched = revision - atomic_load(&w->next) > LAG_MAX;

		for (size_t i = 0; i < n && !touched; i++)
			touched =
				span_has(&w->wanted.span, kv_key(changes[i]), changes[i]->key_len);
		if (touched)
			wake(w);
	}
	pthread_mutex_unlock(&ws->lock);
}

void watches_progress(struct watches *ws)
{
	pthread_mutex_lock(&ws->lock);
	for (struct watch *w = ws->list; w; w = w->next_watch) {
		w->progress = true;
		wake(w);
	}
	pthread_mutex_unlock(&ws->lock);
}

void watches_stop(struct watches *ws)
{
	pthread_mutex_lock(&ws->lock);
	ws->stopping = true;
	for (struct watch *w = ws->list; w; w = w->next_watch)
		wake(w);
	pthread_mutex_unlock(&ws->lock);
}

size_t watches_count(struct watches *ws)
{
	size_t n;

	pthread_mutex_lock(&ws->lock);
	n = ws->count;
	pthread_mutex_unlock(&ws->lock);
	return n;
}

/* false: there are too many, or no memory. */
static bool watch_add(struct watches *ws, struct watch *w)
{
	bool fits;

	pthread_mutex_lock(&ws->lock);
	fits = ws->count < WATCHES_MAX && !ws->stopping;
	if (fits) {
		w->next_watch = ws->list;
		w->at = &ws->list;
		if (ws->list)
			ws->list->at = &w->next_watch;
		ws->list = w;
		ws->count++;
	}
	pthread_mutex_unlock(&ws->lock);
	return fits;
}

enum http_next watches_reply(struct watches *ws, struct http_req *req, struct request_watch *wanted,
			     struct watch **slot)
{
	struct watch *w = calloc(1, sizeof(*w));
	int64_t revision = store_revision(ws->store);

	if (w) {
		w->hub = ws;
		w->req = req;
		w->slot = slot;
		*slot = w;
		w->wanted = *wanted;
		atomic_init(&w->next, wanted->start ? wanted->start : revision + 1);
		set_line(w, json_pack("{s:o,s:b}", "header", request_header(ws->store, revision),
				      "created", 1));
	}
	if (w && watch_add(ws, w))
		return http_reply_stream(req, 200, "application/json", UINT64_MAX, watch_read,
					 watch_free, w);
	free(wanted->key);
	free(wanted->end);
	*slot = NULL;
	if (w)
		free(w->line);
	free(w);
	return http_reply_json(
		req, 429, request_error(8, "weir-registry has 1024 watches already; end some"));
}

int watches_new(struct watches **out, struct store *store)
{
	struct watches *ws = calloc(1, sizeof(*ws));

	if (!ws)
		return -ENOMEM;
	ws->store = store;
	pthread_mutex_init(&ws->lock, NULL);
	store_on_change(store, on_change, ws);
	*out = ws;
	return 0;
}

void watches_free(struct watches *ws)
{
	if (!ws)
		return;
	pthread_mutex_destroy(&ws->lock);
	free(ws);
}
