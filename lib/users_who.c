/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users_who.c -- who asks: tokens, keys, passwords against the table (token.h).
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/password.h"
#include "lib/user_edit.h"
#include "lib/users_internal.h"

#define BASIC_MAX 512

const char *users_text(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

const json_t *users_active(const struct users *u, const char *name)
{
	const json_t *user = json_object_get(u->known[USERS], name);

	return user && !json_is_true(json_object_get(user, "disabled")) ? user : NULL;
}

/* people/NAME says when somebody last signed in, and whether they may no longer: of a provider's
 * people, and of users of the table whom an admin signed out. */
static int person_blocked(const struct users *u, const char *name, int64_t issued)
{
	const json_t *person = json_object_get(u->known[PEOPLE], name);

	if (json_is_true(json_object_get(person, "disabled")))
		return -EACCES;
	return issued < json_integer_value(json_object_get(person, "not_before")) ? -EKEYREVOKED
										  : 0;
}

int users_bearer(const struct users *u, const struct token_scope *scope)
{
	/* Until all was heard once, who was signed out could not be told from others, nor a dataset from a bucket. */
	if (u->synced != SYNCED_ALL)
		return -EACCES;
	if (scope->via_gateway)
		return u->via_gateway ? 0 : -EACCES;
	if (!*scope->user)
		return -EACCES;
	if (scope->provider ? json_object_get(u->known[USERS], scope->user) != NULL
			    : !users_active(u, scope->user))
		return -EACCES;
	if (*scope->id && json_object_get(u->known[ENDED], scope->id))
		return -EKEYREVOKED;
	if (*scope->access_key && !users_key(u, scope->access_key, scope->user, time(NULL), NULL))
		return -EKEYREVOKED;
	return person_blocked(u, scope->user, scope->issued);
}

const json_t *users_key(const struct users *u, const char *id, const char *name, int64_t now, const char **owner)
{
	const char *has = json_string_value(json_object_get(u->ids, id));
	const json_t *user = has && (!name || !strcmp(name, has)) ? users_active(u, has) : NULL, *key;
	int64_t expires;
	size_t i;

	json_array_foreach (json_object_get(user, "keys"), i, key) {
		if (strcmp(users_text(key, "id"), id))
			continue;
		expires = json_integer_value(json_object_get(key, "expires"));
		if (json_is_true(json_object_get(key, "disabled")) || (expires && now >= expires))
			return NULL;
		if (owner)
			*owner = has;
		return key;
	}
	return NULL;
}

/* Held: the key whose secret it is, and whose. The hash is compared in constant time. */
static const json_t *find_key(const struct users *u, const char *id, const char *secret, int64_t now, const char **owner)
{
	const json_t *key = users_key(u, id, NULL, now, owner);
	const char *known = users_text(key, "hash");
	char hash[65];

	if (!key)
		return NULL;
	user_key_hash(users_text(key, "salt"), secret, hash);
	return strlen(known) == 64 && !CRYPTO_memcmp(known, hash, 64) ? key : NULL;
}

static unsigned int rights_of_scopes(const json_t *key)
{
	const json_t *scopes = json_object_get(key, "scopes"), *one;
	unsigned int rights = json_array_size(scopes) ? 0 : ~0u;
	size_t i;

	json_array_foreach (scopes, i, one)
		rights |= rights_parse(users_text(one, "rights"));
	return rights;
}

/* A scope for everything is none, but for its rights. */
static bool is_scoped(const json_t *key)
{
	const json_t *scopes = json_object_get(key, "scopes"), *one;
	size_t i;

	json_array_foreach (scopes, i, one)
		if (!strcmp(users_text(one, "bucket"), "*") && !*users_text(one, "prefix"))
			return false;
	return json_array_size(scopes) > 0;
}

int users_scope(const struct users *u, const char *name, const json_t *key, int64_t now, struct token_scope *out)
{
	struct token_scope scope = { .bucket = "*", .issued = now };
	const char *id = users_text(key, "id");

	if (strlen(name) >= sizeof(scope.user) || strlen(id) >= sizeof(scope.access_key))
		return -EACCES;
	memcpy(scope.user, name, strlen(name));
	memcpy(scope.access_key, id, strlen(id));
	scope.expires = json_integer_value(json_object_get(key, "expires"));
	if (users_bearer(u, &scope))
		return -EACCES;
	scope.rights = users_most(u, &scope) & rights_of_scopes(key);
	scope.scoped = is_scoped(key);
	*out = scope;
	return 0;
}

static int authorize_key(struct users *u, const char *base64, int64_t now, struct token_scope *out)
{
	char text[BASIC_MAX], *colon;
	long n = base64_decode(base64, strlen(base64), text, sizeof(text) - 1);
	const char *name;
	const json_t *key;
	int rc = -EACCES;

	if (n < 0)
		return -EINVAL;
	text[n] = '\0';
	colon = strchr(text, ':');
	if (!colon || strlen(text) != (size_t)n)
		return -EINVAL;
	*colon = '\0';
	pthread_rwlock_rdlock(&u->lock);
	key = find_key(u, text, colon + 1, now, &name);
	if (key)
		rc = users_scope(u, name, key, now, out);
	pthread_rwlock_unlock(&u->lock);
	OPENSSL_cleanse(text, sizeof(text));
	return rc;
}

/* Held: so a key that is taken away meanwhile cannot leave a token behind. */
static int verify_anew(struct users *u, const char *token, int64_t now, struct token_scope *out)
{
	int rc = token_verify(out, token, u->signing.keys, u->signing.n, now);

	if (!rc)
		token_cache_put(u->tokens, token, out);
	return rc;
}

int users_verify(struct users *u, const char *token, int64_t now, struct token_scope *out)
{
	struct token_scope scope;
	int rc;

	pthread_rwlock_rdlock(&u->lock);
	rc = token_cache_get(u->tokens, token, now, &scope) ? 0 : verify_anew(u, token, now, &scope);
	if (!rc)
		rc = users_bearer(u, &scope);
	if (!rc && *scope.access_key)
		scope.scoped = is_scoped(users_key(u, scope.access_key, scope.user, now, NULL));
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
		return authorize_key(u, authorization + 6, now, out);
	return -EINVAL;
}

/* The hash is made without the lock, also for who is not there or has no password: it takes as
 * long. */
int users_password(struct users *u, const char *name, const char *password, struct token_scope *out)
{
	json_t *record;
	int rc;

	pthread_rwlock_rdlock(&u->lock);
	record = json_deep_copy(json_object_get(users_active(u, name), "password"));
	pthread_rwlock_unlock(&u->lock);
	rc = password_check(record, password) ? 0 : record ? -EACCES : -ENOENT;
	json_decref(record);
	if (rc)
		return rc;
	pthread_rwlock_rdlock(&u->lock);
	rc = users_scope(u, name, NULL, time(NULL), out);
	pthread_rwlock_unlock(&u->lock);
	return rc;
}

int users_sign(struct users *u, const struct token_scope *scope, char out[TOKEN_MAX])
{
	int rc;

	pthread_rwlock_rdlock(&u->lock);
	rc = u->signing.n ? token_sign(out, scope, &u->signing.keys[0]) : -ENOKEY;
	pthread_rwlock_unlock(&u->lock);
	return rc;
}
