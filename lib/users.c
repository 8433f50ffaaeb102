/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.c -- who there is and what they may, in memory, kept by watches (the second half of
 * token.h).
 *
 * Users, people, groups, datasets, ended tokens and buckets are kept as JSON, signing keys as an
 * array; a request takes the read lock for the time of a search. A registry that is silent leaves
 * all as it was. Who asks stands in users_who.c, what they may in users_may.c.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/log.h"
#include "lib/registry.h"
#include "lib/users_internal.h"

#define MAKE_TRIES 3
#define FIRST_KID  "first"

static const char *const prefixes[PREFIXES] = { REG_USERS,  REG_SIGNING,  REG_BUCKETS, REG_GROUPS,
						REG_PEOPLE, REG_DATASETS, REG_ENDED };

/* ---- what the registry says ------------------------------------------------------------------ */

/* All these are called with the lock held for writing. */

static void signing_remove(struct users *u, const char *kid)
{
	for (size_t i = 0; i < u->nkeys; i++) {
		if (strcmp(u->keys[i].kid, kid))
			continue;
		u->nkeys--;
		memmove(&u->keys[i], &u->keys[i + 1], (u->nkeys - i) * sizeof(u->keys[0]));
		memmove(&u->created[i], &u->created[i + 1], (u->nkeys - i) * sizeof(u->created[0]));
		OPENSSL_cleanse(&u->keys[u->nkeys], sizeof(u->keys[0]));
		return;
	}
}

/* Newest first, so that all daemons sign with the same one. */
static void signing_add(struct users *u, const char *kid, json_t *value)
{
	char *text = (char *)json_string_value(json_object_get(value, "secret"));
	int64_t created = json_integer_value(json_object_get(value, "created"));
	struct token_key key = { { 0 }, { 0 } };
	size_t at = 0, last;

	if (!text || strlen(kid) >= sizeof(key.kid) ||
	    base64url_decode(text, strlen(text), key.secret, sizeof(key.secret)) !=
		    sizeof(key.secret))
		return;
	memcpy(key.kid, kid, strlen(kid));
	OPENSSL_cleanse(text, strlen(text)); /* jansson's copy */
	while (at < u->nkeys && (u->created[at] > created ||
				 (u->created[at] == created && strcmp(u->keys[at].kid, kid) > 0)))
		at++;
	if (at < KEYS_MAX) {
		last = u->nkeys < KEYS_MAX ? u->nkeys++ : KEYS_MAX - 1;
		memmove(&u->keys[at + 1], &u->keys[at], (last - at) * sizeof(key));
		memmove(&u->created[at + 1], &u->created[at], (last - at) * sizeof(created));
		u->keys[at] = key;
		u->created[at] = created;
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

static void take_change(struct users *u, int which, const char *rest, json_t *value)
{
	if (which == SIGNING) {
		signing_remove(u, rest);
		if (value)
			signing_add(u, rest, value);
		return;
	}
	if (which == USERS)
		index_user(u, rest, false);
	if (value)
		json_object_set(u->known[which], rest, value);
	else
		json_object_del(u->known[which], rest);
	if (which == USERS && value)
		index_user(u, rest, true);
}

/* The first who needs one makes it, under one name: when two do at once, one of them wins and both
 * use it. */
static int make_signing_key(struct users *u)
{
	uint8_t secret[TOKEN_KEY_BYTES];
	char text[64];
	struct reg_cond absent = { REG_SIGNING FIRST_KID, 0 };
	struct reg_change change = { REG_SIGNING FIRST_KID, NULL, 0 };
	json_t *value;
	char *dump;
	int rc;

	random_bytes(secret, sizeof(secret));
	base64url_encode(secret, sizeof(secret), text);
	value = json_pack("{s:s, s:s, s:I}", "kid", FIRST_KID, "secret", text, "created",
			  (json_int_t)time(NULL));
	dump = json_dumps(value, JSON_COMPACT);
	json_decref(value);
	change.value = dump;
	rc = dump ? registry_txn(u->reg, &absent, 1, &change, 1, NULL) : -ENOMEM;
	if (!rc)
		log_info("made the installation's first signing key");
	if (dump)
		OPENSSL_cleanse(dump, strlen(dump));
	free(dump);
	OPENSSL_cleanse(secret, sizeof(secret));
	OPENSSL_cleanse(text, sizeof(text));
	return rc == -EAGAIN ? 0 : rc;
}

static void changed(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct source *source = arg;
	struct users *u = source->users;
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
	if (event == REG_SYNCED)
		u->synced |= 1u << source->which;
	if (event != REG_SYNCED)
		take_change(u, source->which, rest, value);
	else if (source->which == SIGNING)
		u->signing_synced = true;
	no_key = source->which == SIGNING && u->signing_synced && u->nkeys == 0;
	pthread_rwlock_unlock(&u->lock);
	json_decref(value);
	for (int i = 0; no_key && i < MAKE_TRIES && make_signing_key(u); i++)
		;
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
	u->reg = reg;
	u->on_change = on_change;
	u->arg = arg;
	for (int i = 0; i < PREFIXES; i++)
		u->known[i] = json_object();
	u->ids = json_object();
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

void users_close(struct users *u)
{
	if (!u)
		return;
	for (int i = 0; i < PREFIXES; i++)
		registry_unwatch(u->sources[i].watch);
	for (int i = 0; i < PREFIXES; i++)
		json_decref(u->known[i]);
	json_decref(u->ids);
	OPENSSL_cleanse(u->keys, sizeof(u->keys));
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

void users_take_via_gateway(struct users *u)
{
	pthread_rwlock_wrlock(&u->lock);
	u->via_gateway = true;
	pthread_rwlock_unlock(&u->lock);
}
