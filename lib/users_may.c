/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users_may.c -- what somebody may: grants, groups, roles, datasets (token.h).
 *
 * What the token says is a limit; within it the rights of the user add up: grants of the user,
 * grants of the user's groups, the role admin, and what datasets say of groups and owner.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/users_internal.h"

#define RIGHTS_ALL   (RIGHT_READ | RIGHT_WRITE | RIGHT_DELETE | RIGHT_LIST | RIGHT_ADMIN)
#define DATASET_KEPT ".weir/" /* manifests, quarantines, earlier versions: for who may write */

const char *const role_names[4] = { "member", "auditor", "steward", "admin" };

enum role role_parse(const char *name)
{
	for (int role = ROLE_ADMIN; role > ROLE_MEMBER; role--)
		if (!strcmp(name, role_names[role]))
			return (enum role)role;
	return ROLE_MEMBER;
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* Appends a name of len bytes to the list when there is room for it. */
static bool append_name(char out[512], const char *name, size_t len)
{
	size_t at = strlen(out);

	if (!len || at + len + 2 > 512)
		return false;
	if (at)
		out[at++] = ',';
	memcpy(out + at, name, len);
	out[at + len] = '\0';
	return true;
}

static void append_known(const struct users *u, const char *name, size_t len, char out[512])
{
	if (json_object_getn(u->known[GROUPS], name, len))
		append_name(out, name, len);
}

/* Does the provider still say so? Who signed in again after the token was issued has the groups of that moment, at most:
 * else an API token would keep for a year what its owner lost. */
static bool still_claimed(const struct users *u, const struct token_scope *scope, const char *name, size_t len)
{
	const json_t *person = json_object_get(u->known[PEOPLE], scope->user), *one,
		     *groups = json_object_get(person, "groups");
	size_t i;

	if (!json_is_array(groups) || scope->issued >= json_integer_value(json_object_get(person, "last")))
		return true;
	json_array_foreach (groups, i, one)
		if (json_string_length(one) == len && !memcmp(json_string_value(one), name, len))
			return true;
	return false;
}

void users_groups_held(const struct users *u, const struct token_scope *scope, char out[512])
{
	const json_t *name;
	size_t i, len;

	out[0] = '\0';
	for (const char *at = scope->groups; scope->provider && *at; at += len + (at[len] == ',')) {
		len = strcspn(at, ",");
		if (still_claimed(u, scope, at, len))
			append_known(u, at, len, out);
	}
	if (scope->provider)
		return;
	json_array_foreach (json_object_get(users_active(u, scope->user), "groups"), i, name) {
		const char *text = json_string_value(name);

		if (text && token_name_valid(text))
			append_known(u, text, strlen(text), out);
	}
}

/* The next group of a list as the registry has it; *at moves on. NULL: no more. */
static const json_t *next_group(const struct users *u, const char **at)
{
	size_t len = strcspn(*at, ",");
	const json_t *group = len ? json_object_getn(u->known[GROUPS], *at, len) : NULL;

	*at += len + ((*at)[len] == ',');
	return group;
}

void users_groups(struct users *u, const struct token_scope *scope, char out[512])
{
	pthread_rwlock_rdlock(&u->lock);
	users_groups_held(u, scope, out);
	pthread_rwlock_unlock(&u->lock);
}

/* Is the name in the claim (an array of names, or one name)? */
static bool claimed(const json_t *claim, const char *name)
{
	const json_t *one;
	size_t i;

	if (json_is_string(claim))
		return !strcmp(json_string_value(claim), name);
	json_array_foreach (claim, i, one)
		if (json_is_string(one) && !strcmp(json_string_value(one), name))
			return true;
	return false;
}

static bool group_claimed(const char *name, const json_t *group, const json_t *claim)
{
	const json_t *from = json_object_get(group, "from"), *one;
	size_t i;

	if (!json_is_array(from))
		return claimed(claim, name);
	json_array_foreach (from, i, one)
		if (json_is_string(one) && claimed(claim, json_string_value(one)))
			return true;
	return false;
}

size_t users_groups_from(struct users *u, const json_t *claim, char out[512])
{
	const char *name;
	json_t *group;
	size_t n = 0;

	out[0] = '\0';
	pthread_rwlock_rdlock(&u->lock);
	json_object_foreach (u->known[GROUPS], name, group)
		if (token_name_valid(name) && group_claimed(name, group, claim))
			n += append_name(out, name, strlen(name));
	pthread_rwlock_unlock(&u->lock);
	return n;
}

/* ---- grants and roles ------------------------------------------------------------------------ */

/* Does one grant, or one scope of an access key, cover it? Without a bucket: only one on everything does. */
static bool covers(const json_t *grant, unsigned int right, const char *bucket, const char *key)
{
	const char *in = users_text(grant, "bucket"), *prefix = users_text(grant, "prefix");

	return (rights_parse(users_text(grant, "rights")) & right) == right &&
	       (!strcmp(in, "*") || (bucket && !strcmp(in, bucket))) &&
	       (!*prefix || (key && !strncmp(prefix, key, strlen(prefix))));
}

/* Does one of the holder's grants allow it? */
static bool granted(const json_t *holder, unsigned int right, const char *bucket, const char *key)
{
	const json_t *grant;
	size_t i;

	json_array_foreach (json_object_get(holder, "grants"), i, grant)
		if (covers(grant, right, bucket, key))
			return true;
	return false;
}

/* Held: the user's own grants, and those of the groups. */
static bool granted_to(const struct users *u, const struct token_scope *scope, const char *groups,
		       unsigned int right, const char *bucket, const char *key)
{
	const json_t *group;

	if (!scope->provider && granted(users_active(u, scope->user), right, bucket, key))
		return true;
	while (*groups)
		if ((group = next_group(u, &groups)) && granted(group, right, bucket, key))
			return true;
	return false;
}

bool users_within(const struct users *u, const struct token_scope *scope, unsigned int right, const char *bucket,
		  const char *key)
{
	const json_t *record, *scopes, *one;
	size_t i;

	if (!token_allows(scope, right, bucket, key))
		return false;
	if (!*scope->access_key)
		return true;
	record = users_key(u, scope->access_key, scope->user, time(NULL), NULL);
	scopes = json_object_get(record, "scopes");
	json_array_foreach (scopes, i, one)
		if (covers(one, right, bucket, key))
			return true;
	return record && !json_array_size(scopes);
}

/* Held: the role by groups and grants, whatever the token says. The right a alone only watches: who could not read data may
 * not make themselves readers either. */
enum role users_role_held(const struct users *u, const struct token_scope *scope, const char *groups)
{
	enum role most = ROLE_MEMBER, role;
	const char *at = groups;

	if (granted_to(u, scope, groups, RIGHTS_ALL, NULL, NULL))
		return ROLE_ADMIN;
	while (*at) {
		role = role_parse(users_text(next_group(u, &at), "role"));
		most = role > most ? role : most;
	}
	return most;
}

enum role users_role(struct users *u, const struct token_scope *scope)
{
	static const unsigned int needs[] = { 0, RIGHT_READ, RIGHT_WRITE, RIGHT_ADMIN };
	enum role role = ROLE_MEMBER;
	char groups[512];

	pthread_rwlock_rdlock(&u->lock);
	if (!scope->via_gateway && !users_bearer(u, scope)) {
		users_groups_held(u, scope, groups);
		role = users_role_held(u, scope, groups);
	}
	while (role > ROLE_MEMBER && !users_within(u, scope, needs[role], NULL, NULL))
		role--;
	pthread_rwlock_unlock(&u->lock);
	return role;
}

static unsigned int rights_of_grants(const json_t *holder)
{
	const json_t *grant;
	unsigned int rights = 0;
	size_t i;

	json_array_foreach (json_object_get(holder, "grants"), i, grant)
		rights |= rights_parse(users_text(grant, "rights"));
	return rights;
}

/* What datasets give may come to anybody at any time; the right a comes with grants and the role
 * alone. */
unsigned int users_most(const struct users *u, const struct token_scope *scope)
{
	unsigned int rights = RIGHTS_ALL & ~RIGHT_ADMIN;
	char groups[512];
	const char *at = groups;

	users_groups_held(u, scope, groups);
	if (!scope->provider)
		rights |= rights_of_grants(users_active(u, scope->user));
	while (*at)
		rights |= rights_of_grants(next_group(u, &at));
	return users_role_held(u, scope, groups) == ROLE_ADMIN ? RIGHTS_ALL : rights;
}

/* ---- datasets -------------------------------------------------------------------------------- */

static bool one_of(const char *groups, const json_t *names)
{
	const json_t *name;
	size_t i;

	json_array_foreach (names, i, name)
		if (json_is_string(name) && token_groups_have(groups, json_string_value(name)))
			return true;
	return false;
}

/* Held: what a dataset gives to the scope's user: r l for readers, and w for writers, and d for the
 * owner. */
static unsigned int dataset_rights(const struct token_scope *scope, const char *groups,
				   const json_t *dataset)
{
	if (!strcmp(users_text(dataset, "owner"), scope->user))
		return RIGHT_READ | RIGHT_LIST | RIGHT_WRITE | RIGHT_DELETE;
	if (one_of(groups, json_object_get(dataset, "writers")))
		return RIGHT_READ | RIGHT_LIST | RIGHT_WRITE;
	return one_of(groups, json_object_get(dataset, "readers")) ? RIGHT_READ | RIGHT_LIST : 0;
}

bool users_granted(const struct users *u, const struct token_scope *scope, const char *groups, unsigned int right,
		   const char *bucket, const char *key)
{
	const json_t *dataset = bucket ? json_object_get(u->known[DATASETS], bucket) : NULL;

	if (dataset && key && !strncmp(key, DATASET_KEPT, strlen(DATASET_KEPT)))
		right |= RIGHT_WRITE;
	return granted_to(u, scope, groups, right, bucket, key) || users_role_held(u, scope, groups) == ROLE_ADMIN ||
	       (dataset && (dataset_rights(scope, groups, dataset) & right) == right);
}

/* Held. Is the token for all of the bucket, with this right? */
static bool token_covers(const struct users *u, const struct token_scope *scope, unsigned int right, const char *bucket)
{
	return !scope->via_gateway && users_within(u, scope, right, bucket, NULL);
}

/* Held: of a bucket as a whole, and by a token that is good. */
static bool may_all(const struct users *u, const struct token_scope *scope, unsigned int right, const char *bucket)
{
	char groups[512];

	if (!token_covers(u, scope, right, bucket) || users_bearer(u, scope))
		return false;
	users_groups_held(u, scope, groups);
	return users_granted(u, scope, groups, right, bucket, NULL);
}

/* Does a grant, or a scope, say something about the bucket? */
static bool names_bucket(const json_t *grants, const char *bucket)
{
	const json_t *grant;
	size_t i;

	json_array_foreach (grants, i, grant) {
		const char *in = users_text(grant, "bucket");

		if (rights_parse(users_text(grant, "rights")) && (!strcmp(in, "*") || !strcmp(in, bucket)))
			return true;
	}
	return false;
}

/* Held: may the token, and the key behind it, do anything at all in the bucket? */
static bool within_any(const struct users *u, const struct token_scope *scope, const char *bucket)
{
	const json_t *scopes = json_object_get(
		*scope->access_key ? users_key(u, scope->access_key, scope->user, time(NULL), NULL) : NULL, "scopes");

	return (!strcmp(scope->bucket, "*") || !strcmp(scope->bucket, bucket)) &&
	       (!json_array_size(scopes) || names_bucket(scopes, bucket));
}

bool users_sees(const struct users *u, const struct token_scope *scope, const char *bucket)
{
	const json_t *dataset = json_object_get(u->known[DATASETS], bucket);
	const struct bucket *b = users_bucket_held(u, bucket);
	char groups[512];
	const char *at = groups;

	if (scope->via_gateway || users_bearer(u, scope) || !within_any(u, scope, bucket))
		return false;
	users_groups_held(u, scope, groups);
	if ((b && !dataset && !strcmp(b->owner, scope->user)) || (dataset && dataset_rights(scope, groups, dataset)) ||
	    (!scope->provider && names_bucket(json_object_get(users_active(u, scope->user), "grants"), bucket)) ||
	    users_role_held(u, scope, groups) == ROLE_ADMIN)
		return true;
	while (*at)
		if (names_bucket(json_object_get(next_group(u, &at), "grants"), bucket))
			return true;
	return false;
}

bool users_dataset(struct users *u, const char *bucket)
{
	bool is;

	pthread_rwlock_rdlock(&u->lock);
	is = json_object_get(u->known[DATASETS], bucket) != NULL;
	pthread_rwlock_unlock(&u->lock);
	return is;
}

json_t *users_dataset_record(struct users *u, const char *bucket)
{
	json_t *record;

	pthread_rwlock_rdlock(&u->lock);
	record = json_deep_copy(json_object_get(u->known[DATASETS], bucket));
	pthread_rwlock_unlock(&u->lock);
	return record;
}

bool users_covers(struct users *u, const struct token_scope *scope, unsigned int right, const char *bucket)
{
	bool covers_it;

	pthread_rwlock_rdlock(&u->lock);
	covers_it = token_covers(u, scope, right, bucket);
	pthread_rwlock_unlock(&u->lock);
	return covers_it;
}

static bool owns(const struct users *u, const struct token_scope *scope, const char *bucket)
{
	const json_t *dataset = json_object_get(u->known[DATASETS], bucket);
	char groups[512];

	if (!dataset || !token_covers(u, scope, RIGHT_WRITE, bucket) || users_bearer(u, scope))
		return false;
	users_groups_held(u, scope, groups);
	return !strcmp(users_text(dataset, "owner"), scope->user) ||
	       users_role_held(u, scope, groups) == ROLE_ADMIN;
}

bool users_dataset_owned(struct users *u, const struct token_scope *scope, const char *bucket)
{
	bool is;

	pthread_rwlock_rdlock(&u->lock);
	is = owns(u, scope, bucket);
	pthread_rwlock_unlock(&u->lock);
	return is;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Held: the names of all datasets in order; freed by the caller. */
static const char **dataset_names(const struct users *u, size_t *n)
{
	const char **names = calloc(json_object_size(u->known[DATASETS]) + 1, sizeof(*names)),
		   *name;
	json_t *value;

	*n = 0;
	if (!names)
		return NULL;
	json_object_foreach (u->known[DATASETS], name, value)
		names[(*n)++] = name;
	qsort(names, *n, sizeof(*names), by_name);
	return names;
}

json_t *users_datasets(struct users *u, const struct token_scope *scope)
{
	json_t *list = json_array();
	const char **names;
	size_t n;

	pthread_rwlock_rdlock(&u->lock);
	names = dataset_names(u, &n);
	for (size_t i = 0; names && i < n; i++) {
		bool read = may_all(u, scope, RIGHT_READ, names[i]), write = may_all(u, scope, RIGHT_WRITE, names[i]);

		if (read || write)
			json_array_append_new(
				list, json_pack("{s:s, s:b, s:b, s:b, s:o}", "name", names[i],
						"read", read, "write", write, "own",
						owns(u, scope, names[i]), "record",
						json_deep_copy(json_object_get(u->known[DATASETS],
									       names[i]))));
	}
	pthread_rwlock_unlock(&u->lock);
	free(names);
	return list;
}
