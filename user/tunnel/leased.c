/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leased.c -- keys on the edge's lease. Calls of the registry block, so that a job makes them, one
 * job at a time: an older value never overwrites a newer one. What fails is tried again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/tunnel/attach.h"
#include "user/tunnel/index.h"

#define AGAIN_MS  500
#define BATCH_MAX 256

struct entry {
	char *key, *value; /* NULL: withdrawn */
	struct conf
		*conf; /* to announce with; a copy, of which only what has no pointers is used */
	struct entry *next; /* dirty ones */
	bool dirty, in_flight;
};

struct leased {
	struct edge *edge;
	struct index entries;
	struct entry *dirty, **last;
	struct batch *running;
	struct reactor_timer again;
	bool stopped;
};

struct write {
	struct entry *entry;
	char *key, *value;
	struct conf *conf;
	int rc;
};

struct batch {
	struct leased *owner;
	struct reg_lease *lease;
	size_t n;
	struct write writes[BATCH_MAX];
};

static void kick(struct leased *l);

/* ---- the job's thread ---- */

static int write_one(struct reg_lease *lease, const struct write *w)
{
	if (w->conf)
		return registry_announce(lease, w->conf, "edge", w->value);
	return w->value ? registry_lease_put(lease, w->key, w->value)
			: registry_lease_withdraw(lease, w->key);
}

static void batch_run(void *arg)
{
	struct batch *b = arg;
	int silent = 0;

	for (size_t i = 0; i < b->n; i++) {
		b->writes[i].rc = silent ? silent : write_one(b->lease, &b->writes[i]);
		if (b->writes[i].rc == -ETIMEDOUT || b->writes[i].rc == -ECONNREFUSED)
			silent = b->writes[i].rc; /* each would wait as long */
	}
}

/* ---- the main thread ---- */

static void batch_free(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		free(b->writes[i].key);
		free(b->writes[i].value);
		free(b->writes[i].conf);
	}
	free(b);
}

static void entry_free(struct entry *e)
{
	free(e->key);
	free(e->value);
	free(e->conf);
	free(e);
}

static void mark(struct leased *l, struct entry *e)
{
	if (e->dirty)
		return;
	e->dirty = true;
	e->next = NULL;
	*l->last = e;
	l->last = &e->next;
}

static void batch_done(void *arg)
{
	struct batch *b = arg;
	struct leased *l = b->owner;
	bool failed = false;

	for (size_t i = 0; i < b->n; i++) {
		struct entry *e = b->writes[i].entry;

		e->in_flight = false;
		if (b->writes[i].rc) {
			failed = true;
			mark(l, e);
		} else if (!e->dirty && !e->value) {
			index_remove(&l->entries, e->key, strlen(e->key), e);
			entry_free(e);
		}
	}
	l->running = NULL;
	if (failed && !l->stopped)
		reactor_timer_set(l->edge->reactor, &l->again, AGAIN_MS);
	else
		kick(l);
	batch_free(b);
}

static int add_write(struct batch *b, struct entry *e)
{
	struct write w = { .entry = e, .key = strdup(e->key) };

	w.value = e->value ? strdup(e->value) : NULL;
	w.conf = e->conf ? malloc(sizeof(*e->conf)) : NULL;
	if (!w.key || (e->value && !w.value) || (e->conf && !w.conf)) {
		free(w.key);
		free(w.value);
		free(w.conf);
		return -ENOMEM;
	}
	if (e->conf)
		*w.conf = *e->conf;
	b->writes[b->n++] = w;
	return 0;
}

/* Begins a job with what is to be written, when none runs. */
static void kick(struct leased *l)
{
	struct batch *b;

	if (l->running || l->stopped || !l->dirty || !l->edge->lease)
		return;
	b = calloc(1, sizeof(*b));
	if (b) {
		b->owner = l;
		b->lease = l->edge->lease;
	}
	while (b && l->dirty && b->n < BATCH_MAX && !add_write(b, l->dirty)) {
		struct entry *e = l->dirty;

		l->dirty = e->next;
		if (!l->dirty)
			l->last = &l->dirty;
		e->dirty = false;
		e->in_flight = true;
	}
	if (b && b->n && !reactor_work(l->edge->reactor, batch_run, batch_done, b)) {
		l->running = b;
		return;
	}
	for (size_t i = 0; b && i < b->n; i++) {
		b->writes[i].entry->in_flight = false;
		mark(l, b->writes[i].entry);
	}
	if (b)
		batch_free(b);
	reactor_timer_set(l->edge->reactor, &l->again, AGAIN_MS);
}

static void on_again(struct reactor_timer *t)
{
	kick((struct leased *)((char *)t - offsetof(struct leased, again)));
}

static struct entry *entry_of(struct leased *l, const char *key)
{
	struct index_node *node = index_find(&l->entries, key, strlen(key));
	struct entry *e;

	if (node)
		return node->value;
	e = calloc(1, sizeof(*e));
	if (e)
		e->key = strdup(key);
	if (e && (!e->key || index_add(&l->entries, key, strlen(key), e))) {
		entry_free(e);
		e = NULL;
	}
	return e;
}

static void put(struct leased *l, const char *key, const char *value, const struct conf *conf)
{
	struct entry *e = entry_of(l, key);
	char *copy = value ? strdup(value) : NULL;

	if (!e || (value && !copy)) {
		log_error("no memory to say %s to the registry", key);
		free(copy);
		return;
	}
	if (conf && !e->conf)
		e->conf = malloc(sizeof(*conf));
	if (conf && e->conf)
		*e->conf = *conf;
	free(e->value);
	e->value = copy;
	mark(l, e);
	kick(l);
}

/* ---- public ---- */

int leased_open(struct leased **out, struct edge *edge)
{
	struct leased *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->edge = edge;
	l->last = &l->dirty;
	l->again.fn = on_again;
	*out = l;
	return 0;
}

bool leased_idle(const struct leased *l)
{
	return !l->running && !l->dirty;
}

void leased_stop(struct leased *l)
{
	if (!l)
		return;
	reactor_timer_stop(l->edge->reactor, &l->again);
	l->stopped = true;
}

void leased_close(struct leased *l)
{
	struct index_node *node = NULL, *next;

	if (!l)
		return;
	if (l->running) /* its job has ended, and nobody will be told */
		batch_free(l->running);
	for (node = index_next(&l->entries, NULL); node; node = next) {
		next = index_next(&l->entries, node);
		entry_free(node->value);
	}
	index_free(&l->entries);
	free(l);
}

void leased_put(struct leased *l, const char *key, const char *value)
{
	if (l)
		put(l, key, value, NULL);
}

void leased_announce(struct leased *l, const char *extra)
{
	if (l)
		put(l, REG_MEMBERS "edge", extra, l->edge->d->conf);
}
