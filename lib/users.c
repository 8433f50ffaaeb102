/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.c -- the table of users in memory, kept by watches (the second half of token.h).
 *
 * Users, signing keys and buckets are read as JSON and parsed once into arrays; a request takes the
 * read lock for the time of a search. A registry that is silent leaves all as it was.
 */
#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/log.h"
#include "lib/registry.h"
#include "lib/token.h"
#include "lib/user_edit.h"

#define KEYS_MAX   64 /* signing keys; the oldest go */
#define BASIC_MAX  512
#define MAKE_TRIES 3
#define FIRST_KID  "first"

enum { USERS, SIGNING, BUCKETS, PREFIXES };
static const char *const prefixes[PREFIXES] = { REG_USERS, REG_SIGNING, REG_BUCKETS };

struct source {
	struct users *users;
	int which;
	struct reg_watch *watch;
};

struct users {
	pthread_rwlock_t lock;
	struct registry *reg;
	json_t *known[PREFIXES]; /* rest of the key → value; none for signing keys, which are kept
				    in `keys` */
	json_t *ids;		 /* key id → user's name */
	struct token_key keys[KEYS_MAX];
	int64_t created[KEYS_MAX];
	size_t nkeys; /* newest first */
	bool signing_synced;
	struct source sources[PREFIXES];
	void (*on_change)(void *arg);
	void *arg;
};

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
	size_t n;

	if (!u)
		return 0;
	pthread_rwlock_rdlock((pthread_rwlock_t *)&u->lock);
	n = json_object_size(u->known[USERS]);
	pthread_rwlock_unlock((pthread_rwlock_t *)&u->lock);
	return n;
}

/* ---- who, and may they ----------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

/* Held: the user when it exists and is not disabled. */
static const json_t *active_user(const struct users *u, const char *name)
{
	const json_t *user = json_object_get(u->known[USERS], name);

	return user && !json_is_true(json_object_get(user, "disabled")) ? user : NULL;
}

static unsigned int all_rights(const json_t *user)
{
	const json_t *grant;
	unsigned int rights = 0;
	size_t i;

	json_array_foreach (json_object_get(user, "grants"), i, grant)
		rights |= rights_parse(text_of(grant, "rights"));
	return rights;
}

/* Held: the name of the user whose key it is. The hash is compared in constant time. */
static const char *find_key(const struct users *u, const char *id, const char *secret)
{
	const char *name = json_string_value(json_object_get(u->ids, id));
	const json_t *user = name ? active_user(u, name) : NULL, *key;
	char hash[65];
	size_t i;

	json_array_foreach (json_object_get(user, "keys"), i, key) {
		const char *known = text_of(key, "hash");

		if (strcmp(text_of(key, "id"), id))
			continue;
		user_key_hash(text_of(key, "salt"), secret, hash);
		return strlen(known) == 64 && !CRYPTO_memcmp(known, hash, 64) ? name : NULL;
	}
	return NULL;
}

static int authorize_key(struct users *u, const char *base64, struct token_scope *out)
{
	char text[BASIC_MAX], *colon;
	long n = base64_decode(base64, strlen(base64), text, sizeof(text) - 1);
	const char *name;
	int rc = -EACCES;

	if (n < 0)
		return -EINVAL;
	text[n] = '\0';
	colon = strchr(text, ':');
	if (!colon || strlen(text) != (size_t)n)
		return -EINVAL;
	*colon = '\0';
	pthread_rwlock_rdlock(&u->lock);
	name = find_key(u, text, colon + 1);
	if (name && strlen(name) < sizeof(out->user)) {
		struct token_scope scope = { .bucket = "*",
					     .rights = all_rights(active_user(u, name)) };

		memcpy(scope.user, name, strlen(name));
		*out = scope;
		rc = 0;
	}
	pthread_rwlock_unlock(&u->lock);
	OPENSSL_cleanse(text, sizeof(text));
	return rc;
}

int users_verify(struct users *u, const char *token, int64_t now, struct token_scope *out)
{
	struct token_scope scope;
	int rc;

	pthread_rwlock_rdlock(&u->lock);
	rc = token_verify(&scope, token, u->keys, u->nkeys, now);
	if (!rc && !active_user(u, scope.user))
		rc = -EACCES;
	pthread_rwlock_unlock(&u->lock);
	if (!rc)
		*out = scope;
	return rc;
}

int users_authorize(struct users *u, const char *authorization, int64_t now,
		    struct token_scope *out)
{
	if (!authorization)
		return -ENOENT;
	if (!strncasecmp(authorization, "Bearer ", 7))
		return users_verify(u, authorization + 7, now, out);
	if (!strncasecmp(authorization, "Basic ", 6))
		return authorize_key(u, authorization + 6, out);
	return -EINVAL;
}

/* Does one of the user's grants allow it? Without a bucket: only a grant on everything does. */
static bool granted(const json_t *user, unsigned int right, const char *bucket, const char *key)
{
	const json_t *grant;
	size_t i;

	json_array_foreach (json_object_get(user, "grants"), i, grant) {
		const char *in = text_of(grant, "bucket"), *prefix = text_of(grant, "prefix");

		if ((rights_parse(text_of(grant, "rights")) & right) == right &&
		    (!strcmp(in, "*") || (bucket && !strcmp(in, bucket))) &&
		    (!*prefix || (key && !strncmp(prefix, key, strlen(prefix)))))
			return true;
	}
	return false;
}

bool users_allow(struct users *u, const struct token_scope *scope, unsigned int right,
		 const char *bucket, const char *key)
{
	const json_t *user;
	bool allowed;

	if (right == RIGHT_READ && bucket && users_bucket_public(u, bucket))
		return true; /* what nobody in particular may, everybody may */
	if (!*scope->user || !token_allows(scope, right, bucket, key))
		return false;
	pthread_rwlock_rdlock(&u->lock);
	user = active_user(u, scope->user);
	allowed = user && granted(user, right, bucket, key);
	pthread_rwlock_unlock(&u->lock);
	return allowed;
}

bool users_bucket_public(struct users *u, const char *bucket)
{
	bool is_public;

	pthread_rwlock_rdlock(&u->lock);
	is_public =
		json_is_true(json_object_get(json_object_get(u->known[BUCKETS], bucket), "public"));
	pthread_rwlock_unlock(&u->lock);
	return is_public;
}

int users_sign(struct users *u, const struct token_scope *scope, char out[TOKEN_MAX])
{
	int rc;

	pthread_rwlock_rdlock(&u->lock);
	rc = u->nkeys ? token_sign(out, scope, &u->keys[0]) : -ENOKEY;
	pthread_rwlock_unlock(&u->lock);
	return rc;
}
