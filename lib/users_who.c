/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users_who.c -- who asks: tokens, keys, passwords against the table (token.h).
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
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
	return person_blocked(u, scope->user, scope->issued);
}

/* Held: the name of the user whose key it is. The hash is compared in constant time. */
static const char *find_key(const struct users *u, const char *id, const char *secret)
{
	const char *name = json_string_value(json_object_get(u->ids, id));
	const json_t *user = name ? users_active(u, name) : NULL, *key;
	char hash[65];
	size_t i;

	json_array_foreach (json_object_get(user, "keys"), i, key) {
		const char *known = users_text(key, "hash");

		if (strcmp(users_text(key, "id"), id))
			continue;
		user_key_hash(users_text(key, "salt"), secret, hash);
		return strlen(known) == 64 && !CRYPTO_memcmp(known, hash, 64) ? name : NULL;
	}
	return NULL;
}

/* Held: the scope of a user of the table who has proved to be it now. */
static int scope_of(const struct users *u, const char *name, int64_t now, struct token_scope *out)
{
	struct token_scope scope = { .bucket = "*", .issued = now };

	if (strlen(name) >= sizeof(scope.user))
		return -EACCES;
	memcpy(scope.user, name, strlen(name));
	if (users_bearer(u, &scope))
		return -EACCES;
	scope.rights = users_most(u, &scope);
	*out = scope;
	return 0;
}

static int authorize_key(struct users *u, const char *base64, int64_t now, struct token_scope *out)
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
	if (name)
		rc = scope_of(u, name, now, out);
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
	if (!rc)
		rc = users_bearer(u, &scope);
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
	rc = scope_of(u, name, time(NULL), out);
	pthread_rwlock_unlock(&u->lock);
	return rc;
}

int users_sign(struct users *u, const struct token_scope *scope, char out[TOKEN_MAX])
{
	int rc;

	pthread_rwlock_rdlock(&u->lock);
	rc = u->nkeys ? token_sign(out, scope, &u->keys[0]) : -ENOKEY;
	pthread_rwlock_unlock(&u->lock);
	return rc;
}
