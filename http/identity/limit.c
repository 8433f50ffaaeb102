/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.c -- see limit.h.
 *
 * Names are kept as 64-bit hashes with a secret seed, so that nobody can look for two that collide.
 */
#include "http/identity/limit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"

#define SETS 1024
#define WAYS 4

struct bucket {
	uint64_t name;
	int64_t at_ms;
	double left;
};

struct limits {
	pthread_mutex_t lock;
	uint64_t seed;
	double burst, every_ms;
	struct bucket buckets[SETS][WAYS];
};

struct limits *limits_new(unsigned int burst, unsigned int every_ms)
{
	struct limits *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	pthread_mutex_init(&l->lock, NULL);
	random_bytes(&l->seed, sizeof(l->seed));
	l->burst = burst;
	l->every_ms = every_ms;
	return l;
}

void limits_free(struct limits *l)
{
	if (l)
		pthread_mutex_destroy(&l->lock);
	free(l);
}

/* The bucket of that name, refilled up to now; in a full set the one that is the fullest gives way. */
static struct bucket *find(struct limits *l, const char *name, int64_t now_ms)
{
	uint64_t hash = hash64(name, strlen(name), l->seed) | 1; /* 0: free */
	struct bucket *set = l->buckets[(hash >> 8) % SETS], *at = NULL;

	for (int i = 0; i < WAYS; i++) {
		struct bucket *b = &set[i];

		if (b->name && now_ms > b->at_ms) {
			b->left += (double)(now_ms - b->at_ms) / l->every_ms;
			b->left = b->left > l->burst ? l->burst : b->left;
			b->at_ms = now_ms;
		}
		if (b->name == hash)
			return b;
	}
	for (int i = 0; i < WAYS; i++)
		if (!at || !set[i].name || (at->name && set[i].left > at->left))
			at = &set[i];
	*at = (struct bucket){ hash, now_ms, l->burst };
	return at;
}

bool limits_take(struct limits *l, const char *name, int64_t now_ms)
{
	struct bucket *b;
	bool may;

	pthread_mutex_lock(&l->lock);
	b = find(l, name, now_ms);
	may = b->left >= 1;
	b->left -= may ? 1 : 0;
	pthread_mutex_unlock(&l->lock);
	return may;
}

void limits_give(struct limits *l, const char *name, int64_t now_ms)
{
	struct bucket *b;

	pthread_mutex_lock(&l->lock);
	b = find(l, name, now_ms);
	b->left = b->left + 1 > l->burst ? l->burst : b->left + 1;
	pthread_mutex_unlock(&l->lock);
}

/* ---- what was seen --------------------------------------------------------------------------- */

struct sight {
	uint64_t name;
	int64_t next_ms, until_ms;
};

struct seen {
	pthread_mutex_t lock;
	uint64_t seed;
	size_t max, n;
	struct sight sights[];
};

struct seen *seen_new(size_t max)
{
	struct seen *s = calloc(1, sizeof(*s) + max * sizeof(struct sight));

	if (!s)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
	random_bytes(&s->seed, sizeof(s->seed));
	s->max = max;
	return s;
}

void seen_free(struct seen *s)
{
	if (s)
		pthread_mutex_destroy(&s->lock);
	free(s);
}

/* What is over goes; the one of that name, or NULL. The lock is held. */
static struct sight *look(struct seen *s, uint64_t name, int64_t now_ms)
{
	struct sight *found = NULL;

	for (size_t i = 0; i < s->n;) {
		if (s->sights[i].until_ms <= now_ms) {
			s->sights[i] = s->sights[--s->n];
			continue;
		}
		if (s->sights[i].name == name)
			found = &s->sights[i];
		i++;
	}
	return found;
}

static struct sight *add(struct seen *s, uint64_t name, int64_t until_ms)
{
	struct sight *at = &s->sights[s->n];

	if (s->n < s->max) {
		s->n++;
	} else {
		at = &s->sights[0];
		for (size_t i = 1; i < s->n; i++)
			if (s->sights[i].until_ms < at->until_ms)
				at = &s->sights[i];
	}
	*at = (struct sight){ name, 0, until_ms };
	return at;
}

bool seen_pace(struct seen *s, const char *name, int64_t now_ms, int64_t every_ms, int64_t until_ms)
{
	uint64_t hash = hash64(name, strlen(name), s->seed);
	struct sight *at;
	bool may;

	pthread_mutex_lock(&s->lock);
	at = look(s, hash, now_ms);
	if (!at)
		at = add(s, hash, until_ms);
	may = now_ms >= at->next_ms;
	if (may)
		at->next_ms = now_ms + every_ms;
	pthread_mutex_unlock(&s->lock);
	return may;
}

bool seen_first(struct seen *s, const char *name, int64_t now_ms, int64_t until_ms)
{
	return seen_pace(s, name, now_ms, INT64_MAX - now_ms, until_ms);
}

size_t seen_count(struct seen *s, int64_t now_ms)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	look(s, 0, now_ms);
	n = s->n;
	pthread_mutex_unlock(&s->lock);
	return n;
}
