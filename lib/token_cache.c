/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_cache.c -- see token_cache.h.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "lib/hash.h"
#include "lib/token_cache.h"

#define SETS 256 /* a token belongs to one of them */
#define WAYS 4	 /* in a set; the one that was put first goes */

struct kept {
	char *token; /* NULL: empty */
	size_t len;
	struct token_scope scope;
};

struct set {
	pthread_mutex_t lock;
	unsigned int next; /* the way to be filled */
	struct kept kept[WAYS];
};

struct token_cache {
	uint64_t seed;
	struct set sets[SETS];
};

static struct set *set_of(struct token_cache *c, const char *token, size_t len)
{
	return &c->sets[XXH3_64bits_withSeed(token, len, c->seed) % SETS];
}

static void empty(struct kept *k)
{
	if (k->token)
		OPENSSL_cleanse(k->token, k->len);
	free(k->token);
	k->token = NULL;
}

int token_cache_new(struct token_cache **out)
{
	struct token_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	random_bytes(&c->seed, sizeof(c->seed));
	for (size_t i = 0; i < SETS; i++)
		pthread_mutex_init(&c->sets[i].lock, NULL);
	*out = c;
	return 0;
}

void token_cache_free(struct token_cache *c)
{
	if (!c)
		return;
	token_cache_clear(c);
	for (size_t i = 0; i < SETS; i++)
		pthread_mutex_destroy(&c->sets[i].lock);
	free(c);
}

static struct kept *find(struct set *set, const char *token, size_t len)
{
	for (size_t i = 0; i < WAYS; i++)
		if (set->kept[i].token && set->kept[i].len == len && hash_same(set->kept[i].token, token, len))
			return &set->kept[i];
	return NULL;
}

bool token_cache_get(struct token_cache *c, const char *token, int64_t now, struct token_scope *out)
{
	size_t len = strnlen(token, TOKEN_MAX);
	struct set *set = set_of(c, token, len);
	const struct kept *k;
	bool good;

	pthread_mutex_lock(&set->lock);
	k = find(set, token, len);
	good = k && now < k->scope.expires;
	if (good)
		*out = k->scope;
	pthread_mutex_unlock(&set->lock);
	return good;
}

void token_cache_put(struct token_cache *c, const char *token, const struct token_scope *scope)
{
	size_t len = strnlen(token, TOKEN_MAX);
	struct set *set = set_of(c, token, len);
	char *copy = strndup(token, len);
	struct kept *k;

	if (!copy)
		return;
	pthread_mutex_lock(&set->lock);
	k = find(set, token, len);
	if (!k) {
		k = &set->kept[set->next++ % WAYS];
		empty(k);
		*k = (struct kept){ .token = copy, .len = len, .scope = *scope };
		copy = NULL;
	}
	pthread_mutex_unlock(&set->lock);
	free(copy);
}

void token_cache_clear(struct token_cache *c)
{
	for (size_t i = 0; i < SETS; i++) {
		pthread_mutex_lock(&c->sets[i].lock);
		for (size_t k = 0; k < WAYS; k++)
			empty(&c->sets[i].kept[k]);
		pthread_mutex_unlock(&c->sets[i].lock);
	}
}
