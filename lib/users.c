/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.c -- who there is and what they may, in memory, kept by watches (the second half of
 * token.h).
 *
 * Users, people, groups, datasets, ended tokens and buckets are kept as JSON, signing and sealing
 * keys as arrays; a request takes the read lock for the time of a search. A registry that is silent leaves
 * all as it was. Who asks stands in users_who.c, what they may in users_may.c.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "lib/registry.h"
#include "lib/sealing.h"
#include "lib/users_internal.h"

#define MAKE_TRIES 3

static const char *const prefixes[PREFIXES] = { REG_USERS,  REG_SIGNING,  REG_BUCKETS, REG_GROUPS,
						REG_PEOPLE, REG_DATASETS, REG_ENDED,  REG_SEALING };

/* ---- what the registry says ------------------------------------------------------------------ */

/* All these are called with the lock held for writing. */

static struct keyring *keyring_of(struct users *u, int which)
{
	return which == SIGNING ? &u->signing : which == SEALING ? &u->sealing : NULL;
}

static void keyring_remove(struct keyring *r, const char *kid)
{
	for (size_t i = 0; i < r->n; i++) {
		if (strcmp(r->keys[i].kid, kid))
			continue;
		r->n--;
		memmove(&r->keys[i], &r->keys[i + 1], (r->n - i) * sizeof(r->keys[0]));
		memmove(&r->created[i], &r->created[i + 1], (r->n - i) * sizeof(r->created[0]));
		OPENSSL_cleanse(&r->keys[r->n], sizeof(r->keys[0]));
		return;
	}
}

static void keyring_add(struct keyring *r, const char *kid, json_t *value)
{
	struct token_key key;
	int64_t created;
	size_t at = 0, last;

	if (sealing_key_parse(kid, value, &key, &created))
		return;
	while (at < r->n &&
	       (r->created[at] > created || (r->created[at] == created && strcmp(r->keys[at].kid, kid) > 0)))
		at++;
	if (at < KEYS_MAX) {
		last = r->n < KEYS_MAX ? r->n++ : KEYS_MAX - 1;
		memmove(&r->keys[at + 1], &r->keys[at], (last - at) * sizeof(key));
		memmove(&r->created[at + 1], &r->created[at], (last - at) * sizeof(created));
		r->keys[at] = key;
		r->created[at] = created;
	}
	OPENSSL_cleanse(&key, sizeof(key));
}

/* Enters or removes the ids of a user's keys. */
static void index_user(struct users *u, const char *name, bool enter)
{
	const json_t *key;
	size_t i;

	json_array_foreach (json_object_get(json_object_get(u->known[USERS], name), "keys"), i,
			    key) {
		const char *id = json_string_value(json_object_get(key, "id"));

		if (id && enter)
			json_object_set_new(u->ids, id, json_string(name));
		else if (id)
			json_object_del(u->ids, id);
	}
}

static int by_bucket(const void *a, const void *b)
{
	return strcmp(((const struct bucket *)a)->name, ((const struct bucket *)b)->name);
}

const struct bucket *users_bucket_held(const struct users *u, const char *name)
{
	struct bucket wanted;
	struct bucket **node;
	size_t len = strlen(name);

	if (len >= sizeof(wanted.name))
		return NULL;
	memcpy(wanted.name, name, len + 1);
	node = tfind(&wanted, &u->buckets, by_bucket);
	return node ? *node : NULL;
}

/* Who holds the old one goes on with it. */
static void take_bucket(struct users *u, const char *name, const json_t *value, int64_t revision)
{
	const struct bucket *old = users_bucket_held(u, name);
	struct bucket *made = value && strlen(name) <= BUCKET_NAME_MAX ? bucket_compile(name, value, revision) : NULL;

	if (old)
		tdelete(old, &u->buckets, by_bucket);
	bucket_put(old);
	if (made && !tsearch(made, &u->buckets, by_bucket))
		bucket_put(made);
}

static void take_change(struct users *u, int which, const char *rest, json_t *value, int64_t revision)
{
	struct keyring *ring = keyring_of(u, which);

	if (ring || which == USERS)
		users_s3_forget(u);
	if (ring) {
		token_cache_clear(u->tokens);
		keyring_remove(ring, rest);
		if (value)
			keyring_add(ring, rest, value);
		return;
	}
	if (which == BUCKETS)
		take_bucket(u, rest, value, revision);
	if (which == USERS)
		index_user(u, rest, false);
	if (value)
		json_object_set(u->known[which], rest, value);
	else
		json_object_del(u->known[which], rest);
	if (which == USERS && value)
		index_user(u, rest, true);
}

/* The first who needs a key makes it, under one name: when two do at once, one of them wins and both
 * use it. */
static void make_first_key(struct users *u, int which)
{
	for (int i = 0; i < MAKE_TRIES; i++)
		if (!sealing_key_make(u->reg, prefixes[which])) {
			log_info("made the installation's first %s key", which == SIGNING ? "signing" : "sealing");
			return;
		}
}

static atomic_uint_fast64_t generations = 1;

static void changed(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct source *source = arg;
	struct users *u = source->users;
	struct keyring *ring = keyring_of(u, source->which);
	const char *rest = kv ? kv->key + strlen(prefixes[source->which]) : NULL;
	json_t *value = NULL;
	bool no_key;

	if (event == REG_PUT) {
		value = json_loadb(kv->value, kv->value_len, 0, NULL);
		if (!json_is_object(value)) {
			log_limited(LOG_LEVEL_WARN, 6,
				    "the registry's %s is not a JSON object; it counts as absent",
				    kv->key);
			json_decref(value);
			value = NULL;
		}
	}
	pthread_rwlock_wrlock(&u->lock);
	u->generation = atomic_fetch_add(&generations, 1);
	if (event == REG_SYNCED)
		u->synced |= 1u << source->which;
	if (event != REG_SYNCED)
		take_change(u, source->which, rest, value, kv->mod_revision);
	else if (ring)
		ring->synced = true;
	no_key = ring && ring->synced && ring->n == 0;
	pthread_rwlock_unlock(&u->lock);
	json_decref(value);
	if (no_key)
		make_first_key(u, source->which);
	if (u->on_change)
		u->on_change(u->arg);
}

int users_open(struct users **out, struct registry *reg, void (*on_change)(void *arg), void *arg)
{
	struct users *u = calloc(1, sizeof(*u));
	int rc = 0;

	if (!u)
		return -ENOMEM;
	pthread_rwlock_init(&u->lock, NULL);
	pthread_mutex_init(&u->s3_lock, NULL);
	u->reg = reg;
	u->generation = atomic_fetch_add(&generations, 1);
	u->on_change = on_change;
	u->arg = arg;
	for (int i = 0; i < PREFIXES; i++)
		u->known[i] = json_object();
	u->ids = json_object();
	rc = token_cache_new(&u->tokens);
	*out = u; /* on_change may come before this returns */
	for (int i = 0; i < PREFIXES && !rc; i++) {
		u->sources[i] = (struct source){ .users = u, .which = i };
		rc = registry_watch(reg, &u->sources[i].watch, prefixes[i], changed,
				    &u->sources[i]);
	}
	if (rc) {
		*out = NULL;
		users_close(u);
	}
	return rc;
}

bool users_wait(struct users *u, unsigned int ms)
{
	const struct timespec pause = { 0, 5000000 };
	bool all = false;

	for (unsigned int waited = 0; !all && waited <= ms; waited += 5) {
		pthread_rwlock_rdlock(&u->lock);
		all = u->synced == SYNCED_ALL;
		pthread_rwlock_unlock(&u->lock);
		if (!all)
			nanosleep(&pause, NULL);
	}
	return all;
}

static void free_bucket(void *bucket)
{
	bucket_put(bucket);
}

void users_close(struct users *u)
{
	if (!u)
		return;
	for (int i = 0; i < PREFIXES; i++)
		registry_unwatch(u->sources[i].watch);
	for (int i = 0; i < PREFIXES; i++)
		json_decref(u->known[i]);
	json_decref(u->ids);
	tdestroy(u->buckets, free_bucket);
	OPENSSL_cleanse(&u->signing, sizeof(u->signing));
	OPENSSL_cleanse(&u->sealing, sizeof(u->sealing));
	users_s3_forget(u);
	token_cache_free(u->tokens);
	pthread_mutex_destroy(&u->s3_lock);
	pthread_rwlock_destroy(&u->lock);
	free(u);
}

size_t users_count(const struct users *u)
{
	const json_t *person;
	const char *name;
	size_t n;

	if (!u)
		return 0;
	pthread_rwlock_rdlock((pthread_rwlock_t *)&u->lock);
	n = json_object_size(u->known[USERS]);
	json_object_foreach (u->known[PEOPLE], name, person)
		n += !json_is_true(json_object_get(person, "removed"));
	pthread_rwlock_unlock((pthread_rwlock_t *)&u->lock);
	return n;
}

uint64_t users_generation(const struct users *u)
{
	return u->generation;
}

void users_take_via_gateway(struct users *u)
{
	pthread_rwlock_wrlock(&u->lock);
	u->via_gateway = true;
	pthread_rwlock_unlock(&u->lock);
}
