/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_later.c -- puts that nobody waits for (names.h), of buckets that this node orders alone.
 *
 * The thread that has made a round of data durable begins their names one after the other and then
 * runs the buckets' rounds itself: a group of uploads costs one transaction and no other thread.
 */
#include <stdlib.h>

#include "http/store/names_int.h"

#define WAITING_MAX 8

struct names_later {
	struct names *n;
	struct bucket *b;
	struct write *w;
	void (*done)(void *arg);
	void *arg;
};

/* The buckets whose writes this thread has begun and not run yet. */
static _Thread_local struct {
	struct bucket *b[WAITING_MAX];
	unsigned int n;
} waiting;

struct names_later *names_later_new(struct names *n, const char *bucket, const struct name_entry *entry,
				    const struct names_how *how, void (*done)(void *arg), void *arg)
{
	struct bucket *b = bucket_look(n, bucket);
	struct names_later *l = b && bucket_is_mine_alone(n, b) ? calloc(1, sizeof(*l)) : NULL;

	if (!l)
		return NULL;
	*l = (struct names_later){ .n = n, .b = b, .done = done, .arg = arg };
	if (write_put(&l->w, entry, how)) {
		names_later_free(l);
		return NULL;
	}
	return l;
}

void names_later_free(struct names_later *l)
{
	if (!l)
		return;
	write_free(l->w);
	free(l);
}

static void later_complete(struct write *w)
{
	struct names_later *l = w->arg;

	l->done(l->arg);
}

void names_later_begin(struct names_later *l)
{
	struct bucket *b = l->b;
	struct names *n = l->n;
	unsigned int i = 0;

	l->w->deadline = now_ms() + NAMES_TIMEOUT_MS;
	l->w->complete = later_complete;
	l->w->arg = l;
	while (i < waiting.n && waiting.b[i] != b)
		i++;
	if (i == WAITING_MAX) {
		bucket_enqueue(n, b, l->w);
		return;
	}
	/* Somebody else may take the write and end its request; then names are closed while this thread has not run yet. */
	if (!waiting.n)
		names_visit(n, 1);
	waiting.b[i] = b;
	if (i == waiting.n)
		waiting.n++;
	bucket_enqueue_quiet(n, b, l->w);
}

void names_later_run(struct names *n)
{
	if (!waiting.n)
		return;
	/* Several buckets' rounds side by side share a transaction. */
	while (waiting.n > 1)
		bucket_schedule(n, waiting.b[--waiting.n]);
	bucket_run_here(n, waiting.b[--waiting.n]);
	names_visit(n, -1);
}

int names_later_end(const struct names_later *l, struct name_entry *entry, bool *replaced)
{
	const struct write *w = l->w;

	if (w->rc) {
		names_fail("%s", w->why);
		return w->rc;
	}
	if (entry)
		names_entry_copy(entry, &w->entry);
	if (replaced)
		*replaced = w->replaced;
	return 0;
}
