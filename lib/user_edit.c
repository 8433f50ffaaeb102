/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_edit.c -- see user_edit.h.
 */
#include "lib/user_edit.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/password.h"
#include "lib/token_issue.h"

#define WAIT_S 5 /* for a signing key */

void user_key_hash(const char *salt, const char *secret, char hash[65])
{
	struct sha256 *h = sha256_new();
	uint8_t digest[32] = { 0 };

	if (!h)
		abort();
	sha256_add(h, salt, strlen(salt));
	sha256_add(h, secret, strlen(secret));
	sha256_end(h, digest);
	hex_encode(digest, sizeof(digest), hash);
}

bool user_name_valid(const char *name)
{
	return token_name_valid(name);
}

/* The user's value and revision; 0 or an error. */
static int read_user(struct registry *reg, const char *name, json_t **user, int64_t *revision)
{
	char path[128];
	struct reg_kv kv;
	int rc;

	if (!user_name_valid(name))
		return -EINVAL;
	snprintf(path, sizeof(path), REG_USERS "%s", name);
	rc = registry_get(reg, path, &kv);
	if (rc)
		return rc;
	*user = json_loadb(kv.value, kv.value_len, 0, NULL);
	*revision = kv.mod_revision;
	reg_kv_free(&kv);
	if (json_is_object(*user))
		return 0;
	json_decref(*user);
	return -EPROTO;
}

/* Takes the reference; revision 0: must not exist. */
static int write_user(struct registry *reg, const char *name, json_t *user, int64_t revision)
{
	char path[128], *text = json_dumps(user, JSON_COMPACT);
	struct reg_cond same = { path, revision };
	struct reg_change change = { path, text, 0 };
	int rc;

	snprintf(path, sizeof(path), REG_USERS "%s", name);
	rc = text ? registry_txn(reg, &same, 1, &change, 1, NULL) : -ENOMEM;
	free(text);
	json_decref(user);
	return rc;
}

/* A new key: the user's part into *key, the registry's part is returned. */
static json_t *make_key(struct user_key *key)
{
	uint8_t id[USER_KEY_ID_LEN / 2], salt[16], secret[32];
	char salt_text[33], hash[65];

	random_bytes(id, sizeof(id));
	random_bytes(salt, sizeof(salt));
	random_bytes(secret, sizeof(secret));
	hex_encode(id, sizeof(id), key->id);
	hex_encode(salt, sizeof(salt), salt_text);
	base64url_encode(secret, sizeof(secret), key->secret);
	OPENSSL_cleanse(secret, sizeof(secret));
	user_key_hash(salt_text, key->secret, hash);
	return json_pack("{s:s, s:s, s:s, s:I}", "id", key->id, "salt", salt_text, "hash", hash,
			 "created", (json_int_t)time(NULL));
}

/* What people/ has of the name; 0 with *person NULL and *revision 0: nothing. */
static int read_person(struct registry *reg, const char *name, json_t **person, int64_t *revision)
{
	char path[128];
	struct reg_kv kv;
	int rc;

	*person = NULL;
	*revision = 0;
	snprintf(path, sizeof(path), REG_PEOPLE "%s", name);
	rc = registry_get(reg, path, &kv);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	*person = json_loadb(kv.value, kv.value_len, 0, NULL);
	*revision = kv.mod_revision;
	reg_kv_free(&kv);
	return 0;
}

static bool is_of_provider(const json_t *person)
{
	return json_object_get(person, "issuer") != NULL;
}

int user_add(struct registry *reg, const char *name, const struct user_grant *grant,
	     struct user_key *key)
{
	json_t *user, *person;
	int64_t revision;
	int rc;

	if (!user_name_valid(name) || (grant && !rights_parse(grant->rights)))
		return -EINVAL;
	rc = read_person(reg, name, &person, &revision);
	if (!rc && is_of_provider(person))
		rc = -ENOTUNIQ;
	json_decref(person);
	if (rc)
		return rc;
	user = json_pack("{s:s, s:b, s:[], s:[o]}", "name", name, "disabled", 0, "grants", "keys",
			 make_key(key));
	if (user && grant)
		json_array_append_new(json_object_get(user, "grants"),
				      json_pack("{s:s, s:s, s:s}", "bucket", grant->bucket,
						"prefix", grant->prefix, "rights", grant->rights));
	rc = user ? write_user(reg, name, user, 0) : -EINVAL;
	return rc == -EAGAIN ? -EEXIST : rc;
}

int user_add_key(struct registry *reg, const char *name, struct user_key *key)
{
	int64_t revision;
	json_t *user;
	int rc = read_user(reg, name, &user, &revision);

	if (rc)
		return rc;
	if (json_array_append_new(json_object_get(user, "keys"), make_key(key))) {
		json_decref(user);
		return -EPROTO;
	}
	return write_user(reg, name, user, revision);
}

int user_set_disabled(struct registry *reg, const char *name, bool disabled)
{
	int64_t revision;
	json_t *user;
	int rc = read_user(reg, name, &user, &revision);

	if (rc)
		return rc;
	json_object_set_new(user, "disabled", json_boolean(disabled));
	return write_user(reg, name, user, revision);
}

static int key_exists(struct registry *reg, const char *prefix, const char *name)
{
	char path[160];
	struct reg_kv kv;
	int rc;

	snprintf(path, sizeof(path), "%s%s", prefix, name);
	rc = token_name_valid(name) ? registry_get(reg, path, &kv) : -ENOENT;
	if (!rc)
		reg_kv_free(&kv);
	return rc;
}

int user_set_groups(struct registry *reg, const char *name, const char *const *groups, size_t n,
		    const char **missing)
{
	json_t *user, *list = json_array();
	int64_t revision;
	int rc = 0;

	for (size_t i = 0; i < n && !rc; i++) {
		rc = key_exists(reg, REG_GROUPS, groups[i]);
		if (rc == -ENOENT && missing)
			*missing = groups[i];
		rc = rc == -ENOENT ? -ENOKEY : rc;
		json_array_append_new(list, json_string(groups[i]));
	}
	if (!rc)
		rc = read_user(reg, name, &user, &revision);
	if (rc) {
		json_decref(list);
		return rc;
	}
	json_object_set_new(user, "groups", list);
	return write_user(reg, name, user, revision);
}

int user_set_password(struct registry *reg, const char *name, const char *password)
{
	json_t *record = password ? password_hash(password) : NULL, *user;
	int64_t revision;
	int rc;

	if (password && !record)
		return -ERANGE;
	rc = read_user(reg, name, &user, &revision);
	if (rc) {
		json_decref(record);
		return rc;
	}
	if (record)
		json_object_set_new(user, "password", record);
	else
		json_object_del(user, "password");
	return write_user(reg, name, user, revision);
}

int user_remove(struct registry *reg, const char *name)
{
	char path[128], trace[128], *text;
	struct reg_cond same[2] = { { path, 0 }, { trace, 0 } };
	struct reg_change changes[2] = { { path, NULL, 0 }, { trace, NULL, 0 } };
	json_t *user, *person = NULL, *removed;
	int rc = read_user(reg, name, &user, &same[0].mod_revision);

	if (rc == -EPROTO) { /* what is broken can be removed, too */
		snprintf(path, sizeof(path), REG_USERS "%s", name);
		return registry_delete(reg, path);
	}
	if (!rc)
		json_decref(user);
	if (!rc)
		rc = read_person(reg, name, &person, &same[1].mod_revision);
	if (rc)
		return rc;
	removed = json_pack("{s:s, s:b, s:b, s:I}", "name", name, "local", 1, "removed", 1,
			    "not_before", (json_int_t)time(NULL));
	text = removed ? json_dumps(removed, JSON_COMPACT) : NULL;
	snprintf(path, sizeof(path), REG_USERS "%s", name);
	snprintf(trace, sizeof(trace), REG_PEOPLE "%s", name);
	changes[1].value = text;
	rc = text ? registry_txn(reg, same, 2, changes, is_of_provider(person) ? 1 : 2, NULL)
		  : -ENOMEM;
	free(text);
	json_decref(removed);
	json_decref(person);
	return rc;
}

json_t *user_list(struct registry *reg)
{
	struct reg_kv *kvs = NULL;
	json_t *list = json_array(), *key;
	size_t n = 0, k;

	if (registry_list(reg, REG_USERS, &kvs, &n, NULL)) {
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		json_t *user = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);

		json_array_foreach (json_object_get(user, "keys"), k, key) {
			json_object_del(key, "salt");
			json_object_del(key, "hash");
		}
		if (!user)
			continue;
		json_object_set_new(user, "password",
				    json_boolean(json_object_get(user, "password") != NULL));
		json_array_append_new(list, user);
	}
	reg_kv_list_free(kvs, n);
	return list;
}

/* ---- tokens: the daemons' own table, opened for a moment ------------------------------------- */

struct table {
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

static void table_changed(void *arg)
{
	struct table *t = arg;

	pthread_mutex_lock(&t->lock);
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

int user_token(struct registry *reg, const struct token_scope *scope, char out[TOKEN_MAX])
{
	struct table t = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER };
	struct token_scope endable = *scope;
	struct users *users = NULL;
	struct timespec until;
	int64_t revision;
	json_t *user;
	int rc = read_user(reg, scope->user, &user, &revision);

	if (rc)
		return rc;
	json_decref(user);
	token_id_new(endable.id, false);
	endable.issued = time(NULL);
	rc = users_open(&users, reg, table_changed, &t);
	if (rc)
		return rc;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&t.lock);
	while ((rc = users_sign(users, &endable, out)) == -ENOKEY)
		if (pthread_cond_timedwait(&t.changed, &t.lock, &until))
			break;
	pthread_mutex_unlock(&t.lock);
	users_close(users);
	return rc;
}
