/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready.c -- see ready.h. Each place has one answer and a lock; a request looks at one place.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/store/ready.h"
#include "lib/hash.h"
#include "lib/httpd_hot_head.h"
#include "lib/httpd_text.h"

struct place {
	pthread_mutex_t lock;
	char *key; /* NULL: nothing is kept */
	size_t len;
	struct ready_now now;
	struct ready_answer ready;
};

struct ready_cache {
	uint64_t seed;
	struct place places[READY_MAX];
};

/* A request's texts, one after the other, each with its end. They come from one head, so they fit; len is 0 when not. */
struct key {
	char text[HTTP_HOT_HEAD_MAX + 32];
	size_t len;
};

static struct place *place_of(struct ready_cache *c, const struct ready_for *whose, struct key *key)
{
	const char *const texts[] = { whose->kind, whose->target, whose->host, whose->who ? whose->who : "" };
	bool fits = true;

	key->len = 0;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && fits; i++) {
		size_t len = strlen(texts[i]) + 1;

		fits = len <= sizeof(key->text) - key->len;
		if (fits)
			memcpy(key->text + key->len, texts[i], len);
		key->len = fits ? key->len + len : 0;
	}
	return &c->places[hash64(key->text, key->len, c->seed) % READY_MAX];
}

int ready_cache_new(struct ready_cache **out)
{
	struct ready_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	random_bytes(&c->seed, sizeof(c->seed));
	for (size_t i = 0; i < READY_MAX; i++)
		pthread_mutex_init(&c->places[i].lock, NULL);
	*out = c;
	return 0;
}

static void empty(struct place *p)
{
	if (!p->key)
		return;
	OPENSSL_cleanse(p->key, p->len);
	free(p->key);
	p->key = NULL;
	http_cached_free(p->ready.answer);
	http_cached_free(p->ready.unchanged);
}

void ready_cache_free(struct ready_cache *c)
{
	for (size_t i = 0; c && i < READY_MAX; i++) {
		empty(&c->places[i]);
		pthread_mutex_destroy(&c->places[i].lock);
	}
	free(c);
}

struct http_cached *ready_pick(const struct ready_answer *r, const char *if_none_match)
{
	bool unchanged = if_none_match && http_conditions_eval(NULL, if_none_match, r->etag, true) == 304;

	return unchanged ? r->unchanged : r->answer;
}

static bool is_good(struct endpoint *ep, const struct ready_now *then)
{
	return then->second == (int64_t)time(NULL) && then->users == users_generation(ep->users) &&
	       names_moment_lasts(ep->names, &then->names);
}

struct http_cached *ready_find(struct endpoint *ep, const struct ready_for *whose, const char *if_none_match)
{
	struct http_cached *found = NULL;
	struct key key;
	struct place *p = place_of(ep->ready, whose, &key);

	pthread_mutex_lock(&p->lock);
	if (p->key && p->len == key.len && hash_same(p->key, key.text, key.len) && is_good(ep, &p->now))
		found = http_cached_hold(ready_pick(&p->ready, if_none_match));
	pthread_mutex_unlock(&p->lock);
	OPENSSL_cleanse(key.text, key.len);
	return found;
}

void ready_keep(struct endpoint *ep, const struct ready_for *whose, const struct ready_now *now, const struct ready_answer *answer)
{
	struct key key;
	struct place *p = place_of(ep->ready, whose, &key);

	pthread_mutex_lock(&p->lock);
	empty(p);
	p->key = key.len ? malloc(key.len) : NULL;
	if (p->key) {
		memcpy(p->key, key.text, key.len);
		p->len = key.len;
		p->now = *now;
		p->ready = *answer;
		http_cached_hold(p->ready.answer);
		if (p->ready.unchanged)
			http_cached_hold(p->ready.unchanged);
	}
	pthread_mutex_unlock(&p->lock);
	OPENSSL_cleanse(key.text, key.len);
}
