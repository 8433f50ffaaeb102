/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange_link.c -- one gateway's way to another.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/peers/exchange_link.h"
#include "lib/clock.h"
#include "lib/log.h"

#define QUEUE_MAX (16u << 20) /* bytes of text that may wait for one gateway */
#define BATCH_MAX (512u << 10) /* of text in one request; the server takes 1 MiB of JSON */
#define AGAIN_MS  1000	       /* between attempts at one that does not answer */
#define CALL_MS	  3000

struct note {
	struct note *next;
	int kind;
	size_t size;
	const char *viewer, *asset, *text; /* in bytes */
	char bytes[];
};

struct queue {
	struct note *head, **tail;
};

struct link {
	struct link_options opt;
	char from[64], node[64], url[256];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct queue queue[LINK_QUEUES];
	size_t waiting; /* bytes in both */
	bool away;	/* does not answer */
	bool greeted;	/* it was told that we are there */
	bool overflowed;
	volatile bool quit;
};

static struct note *note_new(int kind, const char *viewer, const char *asset, const char *text)
{
	size_t v = strlen(viewer) + 1, a = strlen(asset) + 1, t = strlen(text) + 1;
	struct note *n = malloc(sizeof(*n) + v + a + t);

	if (!n)
		return NULL;
	n->next = NULL;
	n->kind = kind;
	n->size = sizeof(*n) + v + a + t;
	n->viewer = memcpy(n->bytes, viewer, v);
	n->asset = memcpy(n->bytes + v, asset, a);
	n->text = memcpy(n->bytes + v + a, text, t);
	return n;
}

static void forget(struct link *l)
{
	for (int q = 0; q < LINK_QUEUES; q++) {
		for (struct note *n = l->queue[q].head, *next; n; n = next) {
			next = n->next;
			free(n);
			l->opt.shared->lost++;
		}
		l->queue[q].head = NULL;
		l->queue[q].tail = &l->queue[q].head;
	}
	l->waiting = 0;
}

void link_send(struct link *l, enum link_queue queue, int kind, const char *viewer, const char *asset, const char *text)
{
	struct note *n = note_new(kind, viewer, asset, text);

	pthread_mutex_lock(&l->lock);
	if (l->away) {
		free(n); /* its viewers are told of again when it answers */
	} else if (!n || l->waiting + n->size > QUEUE_MAX) {
		free(n);
		l->opt.shared->lost++;
		l->overflowed = true;
	} else {
		*l->queue[queue].tail = n;
		l->queue[queue].tail = &n->next;
		l->waiting += n->size;
	}
	pthread_cond_signal(&l->cond);
	pthread_mutex_unlock(&l->lock);
}

/* A request's body, malloc'ed: from whom, to whom, when, and a number that grows, so that the MAC over it is good there,
 * now, and once (exchange.c). NULL: no memory. */
static char *envelope(struct link *l, json_t *messages)
{
	struct timespec now;
	json_t *body;
	char *text;

	clock_gettime(CLOCK_REALTIME, &now);
	body = json_pack("{s:s, s:s, s:I, s:I, s:I, s:O}", "from", l->from, "to", l->node, "run", (json_int_t)l->opt.shared->run,
			 "at", (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, "n", (json_int_t)++l->opt.shared->number,
			 "messages", messages);
	text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	return text;
}

/* Into the batch; false: no memory. What is no text is passed over. */
static bool write_note(struct link *l, json_t *messages, const struct note *n)
{
	json_error_t error;
	json_t *one = json_pack_ex(&error, 0, "[i, s, s, s]", n->kind, n->viewer, n->asset, n->text);

	if (!one && json_error_code(&error) == json_error_invalid_utf8) {
		l->opt.shared->lost++;
		return true;
	}
	return one && !json_array_append_new(messages, one);
}

/* Takes off the queue what one request carries, *taken messages: the body's text, malloc'ed; NULL: none, or no memory. */
static char *batch(struct link *l, enum link_queue queue, size_t *taken)
{
	struct queue *q = &l->queue[queue];
	json_t *messages = q->head ? json_array() : NULL;
	bool whole = messages != NULL;
	size_t bytes = 0;
	char *text;

	*taken = 0;
	while (q->head && (!bytes || bytes + q->head->size < BATCH_MAX)) {
		struct note *n = q->head;

		q->head = n->next;
		bytes += n->size;
		++*taken;
		whole = whole && write_note(l, messages, n);
		free(n);
	}
	if (!q->head)
		q->tail = &q->head;
	l->waiting -= bytes;
	text = whole ? envelope(l, messages) : NULL;
	json_decref(messages);
	return text;
}

/* Whom it is to; without the lock. False: that it is away was said already. */
static bool to_say(struct link *l, char node[64])
{
	bool away;

	pthread_mutex_lock(&l->lock);
	memcpy(node, l->node, sizeof(l->node));
	away = l->away;
	pthread_mutex_unlock(&l->lock);
	return !away;
}

/* True: the other took it. Without the lock: base is a copy. */
static bool post(struct link *l, const char *base, enum link_queue queue, const char *text)
{
	const char *way = queue == LINK_UP ? "up" : "down";
	char url[320], node[sizeof(l->node)], header[64] = "X-Weir-Peers: ";
	const char *const headers[] = { header, NULL };
	struct httpc_call call = { .method = "POST", .url = url, .body = text, .body_len = strlen(text), .timeout_ms = CALL_MS,
				   .stop = &l->quit };
	struct httpc_answer answer = { 0 };
	bool taken;
	int rc;

	snprintf(url, sizeof(url), "%s/_/peers/%s", base, way);
	if (l->opt.sign) {
		l->opt.sign(l->opt.arg, way, text, header + strlen(header));
		call.headers = headers;
	}
	rc = httpc_do(l->opt.client, &call, &answer);
	taken = rc == 0 && answer.status / 100 == 2;
	if (!taken && !l->quit && to_say(l, node))
		log_warn("gateway %s does not take what is said of viewers (%s): %.300s", node, url,
			 rc ? answer.error : answer.body ? answer.body : "it answers with an error");
	httpc_answer_free(&answer);
	return taken;
}

static void wait_ms(struct link *l, unsigned int ms)
{
	struct timespec until = clock_in_ms(CLOCK_MONOTONIC, ms);

	while (!l->quit && pthread_cond_timedwait(&l->cond, &l->lock, &until) != ETIMEDOUT)
		;
}

static bool idle(const struct link *l)
{
	return (l->greeted || !*l->url) && !l->queue[LINK_UP].head && !l->queue[LINK_DOWN].head && !l->overflowed;
}

/* With the lock held, which it lets go meanwhile. */
static void tell(struct link *l, void (*what)(void *arg, const char *node))
{
	char node[sizeof(l->node)];

	memcpy(node, l->node, sizeof(node));
	pthread_mutex_unlock(&l->lock);
	what(l->opt.arg, node);
	pthread_mutex_lock(&l->lock);
}

/* Says that we are there; with the lock held, which it lets go meanwhile. */
static bool greet(struct link *l, const char *base)
{
	json_t *none = json_array();
	char *hello = none ? envelope(l, none) : NULL;
	bool taken;

	json_decref(none);
	pthread_mutex_unlock(&l->lock);
	taken = hello && post(l, base, LINK_UP, hello);
	free(hello);
	pthread_mutex_lock(&l->lock);
	l->greeted = true;
	return taken;
}

/* Sends what waits; with the lock held, which it lets go meanwhile. */
static void send_waiting(struct link *l)
{
	bool ok = !l->overflowed && *l->url;
	char base[sizeof(l->url)], node[sizeof(l->node)];

	memcpy(base, l->url, sizeof(base));
	l->overflowed = false;
	if (ok && !l->greeted)
		ok = greet(l, base);
	for (int q = 0; ok && q < LINK_QUEUES; q++) {
		size_t taken;
		char *text = batch(l, q, &taken);

		if (!taken)
			continue;
		pthread_mutex_unlock(&l->lock);
		if (!text && to_say(l, node))
			log_warn("there is no memory for what gateway %s is to hear of viewers: it is told again in a moment", node);
		ok = text && post(l, base, q, text);
		free(text);
		pthread_mutex_lock(&l->lock);
		if (!ok)
			l->opt.shared->lost += taken;
	}
	if (ok || l->quit)
		return;
	forget(l);
	l->away = true;
	tell(l, l->opt.lost);
}

/* Does it answer again? */
static void look_again(struct link *l)
{
	char base[sizeof(l->url)];

	wait_ms(l, AGAIN_MS);
	if (l->quit || !*l->url)
		return;
	memcpy(base, l->url, sizeof(base));
	if (!greet(l, base))
		return;
	l->away = false;
	tell(l, l->opt.found);
}

static void *run(void *arg)
{
	struct link *l = arg;

	pthread_mutex_lock(&l->lock);
	while (!l->quit) {
		if (l->away)
			look_again(l);
		else if (idle(l))
			pthread_cond_wait(&l->cond, &l->lock);
		else
			send_waiting(l);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

struct link *link_start(const struct link_options *opt)
{
	struct link *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;

	if (!l)
		return NULL;
	l->opt = *opt;
	snprintf(l->from, sizeof(l->from), "%s", opt->from);
	snprintf(l->node, sizeof(l->node), "%s", opt->node);
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->cond, &attr);
	pthread_condattr_destroy(&attr);
	forget(l);
	if (pthread_create(&l->thread, NULL, run, l)) {
		pthread_cond_destroy(&l->cond);
		pthread_mutex_destroy(&l->lock);
		free(l);
		return NULL;
	}
	return l;
}

void link_set_node(struct link *l, const char *node)
{
	pthread_mutex_lock(&l->lock);
	snprintf(l->node, sizeof(l->node), "%s", node);
	l->url[0] = '\0';
	l->away = l->greeted = l->overflowed = false;
	forget(l);
	pthread_mutex_unlock(&l->lock);
}

void link_set_url(struct link *l, const char *url)
{
	pthread_mutex_lock(&l->lock);
	snprintf(l->url, sizeof(l->url), "%s", url);
	pthread_cond_signal(&l->cond);
	pthread_mutex_unlock(&l->lock);
}

void link_stop(struct link *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->quit = true;
	pthread_cond_broadcast(&l->cond);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
}

void link_free(struct link *l)
{
	if (!l)
		return;
	forget(l);
	pthread_cond_destroy(&l->cond);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
