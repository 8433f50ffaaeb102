/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inbound.c -- versions under way from other endpoints (inbound.h).
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "http/store/inbound.h"

#define INBOUND_MAX 2048 /* a descriptor each */
#define BUCKETS	    256

struct entry {
	struct entry *next;
	struct version version;
	struct staged *staged;
	char from[NODE_MAX];
	time_t used;
	bool lent, dropped;
};

struct inbound {
	struct chunks *chunks;
	pthread_mutex_t lock;
	struct entry *bucket[BUCKETS];
	unsigned int count;
};

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

int inbound_new(struct inbound **out, struct chunks *chunks)
{
	struct inbound *in = calloc(1, sizeof(*in));

	if (!in)
		return -ENOMEM;
	in->chunks = chunks;
	pthread_mutex_init(&in->lock, NULL);
	*out = in;
	return 0;
}

static struct entry **find(struct inbound *in, const struct version *v)
{
	struct entry **p = &in->bucket[v->id[8]];

	while (*p && !version_equal(&(*p)->version, v))
		p = &(*p)->next;
	return p;
}

static void drop(struct inbound *in, struct entry **p)
{
	struct entry *e = *p;

	*p = e->next;
	in->count--;
	staged_free(e->staged);
	free(e);
}

void inbound_free(struct inbound *in)
{
	if (!in)
		return;
	for (int i = 0; i < BUCKETS; i++)
		while (in->bucket[i])
			drop(in, &in->bucket[i]);
	pthread_mutex_destroy(&in->lock);
	free(in);
}

static int add(struct inbound *in, const struct version *v, const char *from, struct entry **p)
{
	struct entry *e;
	int rc;

	if (in->count >= INBOUND_MAX)
		return -EAGAIN;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	rc = staged_new(&e->staged, in->chunks, v);
	if (rc) {
		free(e);
		return rc;
	}
	e->version = *v;
	snprintf(e->from, sizeof(e->from), "%s", from);
	*p = e;
	in->count++;
	return 0;
}

int inbound_take(struct inbound *in, const struct version *v, const char *from, uint64_t number,
		 struct staged **out)
{
	struct entry **p;
	int rc = 0;

	pthread_mutex_lock(&in->lock);
	p = find(in, v);
	if (*p && (*p)->lent)
		rc = -EBUSY;
	else if (!*p)
		rc = number ? -ESTALE : add(in, v, from, p);
	if (!rc) {
		(*p)->lent = true;
		*out = (*p)->staged;
	}
	pthread_mutex_unlock(&in->lock);
	return rc;
}

bool inbound_give(struct inbound *in, const struct version *v, bool keep)
{
	struct entry **p;
	bool dropped = false;

	pthread_mutex_lock(&in->lock);
	p = find(in, v);
	if (*p) {
		(*p)->lent = false;
		(*p)->used = now_s();
		dropped = (*p)->dropped;
		if (!keep || dropped)
			drop(in, p);
	}
	pthread_mutex_unlock(&in->lock);
	return dropped;
}

void inbound_forget(struct inbound *in, const struct version *v)
{
	struct entry **p = &in->bucket[v->id[8]];
	bool group = version_is_group(v);

	pthread_mutex_lock(&in->lock);
	while (*p) {
		struct entry *e = *p;
		bool meant = group ? version_same_group(&e->version, v) : version_equal(&e->version, v);

		if (meant && !e->lent) {
			drop(in, p);
			continue;
		}
		e->dropped |= meant;
		p = &e->next;
	}
	pthread_mutex_unlock(&in->lock);
}

/* Drops what `from` (NULL: anybody) last touched before `limit`. */
static void drop_many(struct inbound *in, const char *from, time_t limit)
{
	pthread_mutex_lock(&in->lock);
	for (int i = 0; i < BUCKETS; i++) {
		struct entry **p = &in->bucket[i];

		while (*p) {
			if (!(*p)->lent && (*p)->used < limit &&
			    (!from || !strcmp((*p)->from, from)))
				drop(in, p);
			else
				p = &(*p)->next;
		}
	}
	pthread_mutex_unlock(&in->lock);
}

void inbound_expire(struct inbound *in, unsigned int seconds)
{
	drop_many(in, NULL, now_s() - (time_t)seconds);
}

void inbound_forget_from(struct inbound *in, const char *from)
{
	drop_many(in, from, now_s() + 1);
}
