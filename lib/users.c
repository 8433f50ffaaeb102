/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.c -- the table of users in memory, kept by watches (the second half of token.h).
 *
 * Users, signing keys and buckets are read as JSON and parsed once into arrays; a request takes the read lock for the
 * time of a search. A registry that is silent leaves all as it was.
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

#define KEYS_MAX     16         /* signing keys */
#define BASIC_MAX    512

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
	json_t *known[PREFIXES];        /* rest of the key → value */
	struct token_key keys[KEYS_MAX];
	int64_t created[KEYS_MAX];
	size_t nkeys;                   /* newest first */
	struct source sources[PREFIXES];
	void (*on_change)(void *arg);
	void *arg;
};

/* ---- what the registry says ------------------------------------------------------------------ */

/* Called with the lock held: the newest KEYS_MAX keys, newest first. */
static void read_signing(struct users *u)
{
	const char *kid;
	json_t *value;

	u->nkeys = 0;
	json_object_foreach(u->known[SIGNING], kid, value) {
		const char *text = json_string_value(json_object_get(value, "secret"));
		int64_t created = json_integer_value(json_object_get(value, "created"));
		struct token_key key = { { 0 }, { 0 } };
		size_t at = 0;

		if (!text || strlen(kid) >= sizeof(key.kid) ||
		    base64url_decode(text, strlen(text), key.secret, sizeof(key.secret)) != sizeof(key.secret))
			continue;
		memcpy(key.kid, kid, strlen(kid));
		while (at < u->nkeys && (u->created[at] > created || (u->created[at] == created && strcmp(u->keys[at].kid, kid) > 0)))
			at++;
		if (at == KEYS_MAX)
			continue;
		if (u->nkeys < KEYS_MAX)
			u->nkeys++;
		memmove(&u->keys[at + 1], &u->keys[at], (u->nkeys - at - 1) * sizeof(key));
		memmove(&u->created[at + 1], &u->created[at], (u->nkeys - at - 1) * sizeof(created));
		u->keys[at] = key;
		u->created[at] = created;
	}
}

/* The first who needs one makes it; when two do at once, one of them wins and both use it. */
static void make_signing_key(struct users *u)
{
	uint8_t id[8], secret[TOKEN_KEY_BYTES];
	char kid[17], text[64], key[128];
	struct reg_cond absent = { REG_SIGNING "first", 0 };
	struct reg_change changes[2] = { { REG_SIGNING "first", "{\"marker\":true}", 0 }, { key, NULL, 0 } };
	json_t *value;
	char *dump;

	random_bytes(id, sizeof(id));
	random_bytes(secret, sizeof(secret));
	hex_encode(id, sizeof(id), kid);
	base64url_encode(secret, sizeof(secret), text);
	snprintf(key, sizeof(key), REG_SIGNING "%s", kid);
	value = json_pack("{s:s, s:s, s:I}", "kid", kid, "secret", text, "created", (json_int_t)time(NULL));
	dump = json_dumps(value, JSON_COMPACT);
	json_decref(value);
	changes[1].value = dump;
	if (registry_txn(u->reg, &absent, 1, changes, 2, NULL) == 0)
		log_info("made the installation's first signing key %s", kid);
	if (dump)
		OPENSSL_cleanse(dump, strlen(dump));
	free(dump);
	OPENSSL_cleanse(secret, sizeof(secret));
	OPENSSL_cleanse(text, sizeof(text));
}

static void changed(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct source *source = arg;
	struct users *u = source->users;
	const char *rest = kv ? kv->key + strlen(prefixes[source->which]) : NULL;
	bool no_key;

	pthread_rwlock_wrlock(&u->lock);
	if (event == REG_PUT) {
		json_t *value = json_loadb(kv->value, kv->value_len, 0, NULL);

		if (json_is_object(value))
			json_object_set(u->known[source->which], rest, value);
		else
			log_limited(LOG_LEVEL_WARN, 6, "the registry's %s is not a JSON object; it is ignored", kv->key);
		json_decref(value);
	} else if (event == REG_DELETE) {
		json_object_del(u->known[source->which], rest);
	}
	if (source->which == SIGNING)
		read_signing(u);
	no_key = u->nkeys == 0;
	pthread_rwlock_unlock(&u->lock);
	if (source->which == SIGNING && event == REG_SYNCED && no_key)
		make_signing_key(u);
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
	*out = u;               /* on_change may come before this returns */
	for (int i = 0; i < PREFIXES && !rc; i++) {
		u->sources[i] = (struct source){ .users = u, .which = i };
		rc = registry_watch(reg, &u->sources[i].watch, prefixes[i], changed, &u->sources[i]);
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

	json_array_foreach(json_object_get(user, "grants"), i, grant)
		rights |= rights_parse(text_of(grant, "rights"));
	return rights;
}

/* Held: whose key is it? The hash is compared in constant time. */
static const json_t *find_key(const struct users *u, const char *id, const char *secret)
{
	const char *name;
	json_t *user, *key;
	char hash[65];
	size_t i;

	json_object_foreach(u->known[USERS], name, user)
		json_array_foreach(json_object_get(user, "keys"), i, key) {
			const char *known = text_of(key, "hash");

			if (strcmp(text_of(key, "id"), id))
				continue;
			user_key_hash(text_of(key, "salt"), secret, hash);
			return strlen(known) == 64 && !CRYPTO_memcmp(known, hash, 64) ? active_user(u, name) : NULL;
		}
	return NULL;
}

static int authorize_key(struct users *u, const char *base64, struct token_scope *out)
{
	char text[BASIC_MAX], *colon;
	long n = base64_decode(base64, strlen(base64), text, sizeof(text) - 1);
	const json_t *user;
	int rc = -EACCES;

	if (n < 0)
		return -EINVAL;
	text[n] = '\0';
	colon = strchr(text, ':');
	if (!colon || strlen(text) != (size_t)n)
		return -EINVAL;
	*colon = '\0';
	pthread_rwlock_rdlock(&u->lock);
	user = find_key(u, text, colon + 1);
	if (user && strlen(text_of(user, "name")) < sizeof(out->user)) {
		struct token_scope scope = { .bucket = "*", .rights = all_rights(user) };

		memcpy(scope.user, text_of(user, "name"), strlen(text_of(user, "name")));
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

int users_authorize(struct users *u, const char *authorization, int64_t now, struct token_scope *out)
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

	json_array_foreach(json_object_get(user, "grants"), i, grant) {
		const char *in = text_of(grant, "bucket"), *prefix = text_of(grant, "prefix");

		if ((rights_parse(text_of(grant, "rights")) & right) == right &&
		    (!strcmp(in, "*") || (bucket && !strcmp(in, bucket))) &&
		    (!*prefix || (key && !strncmp(prefix, key, strlen(prefix)))))
			return true;
	}
	return false;
}

bool users_allow(struct users *u, const struct token_scope *scope, unsigned int right, const char *bucket, const char *key)
{
	const json_t *user;
	bool allowed;

	if (!*scope->user)
		return right == RIGHT_READ && bucket && users_bucket_public(u, bucket);
	if (!token_allows(scope, right, bucket, key))
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
	is_public = json_is_true(json_object_get(json_object_get(u->known[BUCKETS], bucket), "public"));
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
