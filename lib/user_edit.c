/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_edit.c -- see user_edit.h.
 */
#include "lib/user_edit_impl.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/password.h"
#include "lib/token_issue.h"

#define WAIT_S 5 /* for a signing key */

bool user_name_valid(const char *name)
{
	return token_name_valid(name);
}

int user_read(struct registry *reg, const char *name, json_t **user, int64_t *revision)
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

int user_write(struct registry *reg, const char *name, json_t *user, int64_t revision)
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
	json_t *user, *person, *record = NULL;
	int64_t revision;
	int rc;

	if (!user_name_valid(name) || (grant && !rights_parse(grant->rights)))
		return -EINVAL;
	rc = read_person(reg, name, &person, &revision);
	if (!rc && is_of_provider(person))
		rc = -ENOTUNIQ;
	json_decref(person);
	if (!rc)
		rc = user_key_new(reg, NULL, key, &record);
	if (rc)
		return rc;
	user = json_pack("{s:s, s:b, s:[], s:[o]}", "name", name, "disabled", 0, "grants", "keys", record);
	if (user && grant)
		json_array_append_new(json_object_get(user, "grants"),
				      json_pack("{s:s, s:s, s:s}", "bucket", grant->bucket,
						"prefix", grant->prefix, "rights", grant->rights));
	rc = user ? user_write(reg, name, user, 0) : -EINVAL;
	return rc == -EAGAIN ? -EEXIST : rc;
}

int user_set_disabled(struct registry *reg, const char *name, bool disabled)
{
	int64_t revision;
	json_t *user;
	int rc = user_read(reg, name, &user, &revision);

	if (rc)
		return rc;
	json_object_set_new(user, "disabled", json_boolean(disabled));
	return user_write(reg, name, user, revision);
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
		rc = user_read(reg, name, &user, &revision);
	if (rc) {
		json_decref(list);
		return rc;
	}
	json_object_set_new(user, "groups", list);
	return user_write(reg, name, user, revision);
}

int user_set_password(struct registry *reg, const char *name, const char *password)
{
	json_t *record = password ? password_hash(password) : NULL, *user;
	int64_t revision;
	int rc;

	if (password && !record)
		return -ERANGE;
	rc = user_read(reg, name, &user, &revision);
	if (rc) {
		json_decref(record);
		return rc;
	}
	if (record)
		json_object_set_new(user, "password", record);
	else
		json_object_del(user, "password");
	return user_write(reg, name, user, revision);
}

int user_set_quota(struct registry *reg, const char *name, const struct bucket_quota *quota)
{
	int64_t revision;
	json_t *user;
	int rc = quota->bytes > INT64_MAX || quota->objects > INT64_MAX ? -ERANGE : user_read(reg, name, &user, &revision);

	if (rc)
		return rc;
	if (quota->bytes || quota->objects)
		json_object_set_new(user, "quota", json_pack("{s:I, s:I}", "bytes", (json_int_t)quota->bytes, "objects",
							     (json_int_t)quota->objects));
	else
		json_object_del(user, "quota");
	return user_write(reg, name, user, revision);
}

int user_remove(struct registry *reg, const char *name)
{
	char path[128], trace[128], *text;
	struct reg_cond same[2] = { { path, 0 }, { trace, 0 } };
	struct reg_change changes[2] = { { path, NULL, 0 }, { trace, NULL, 0 } };
	json_t *user, *person = NULL, *removed;
	int rc = user_read(reg, name, &user, &same[0].mod_revision);

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

json_t *user_list_sealed(struct registry *reg)
{
	struct reg_kv *kvs = NULL;
	json_t *list = json_array();
	size_t n = 0;

	if (registry_list(reg, REG_USERS, &kvs, &n, NULL)) {
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		json_t *user = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);

		if (user)
			json_array_append_new(list, user);
	}
	reg_kv_list_free(kvs, n);
	return list;
}

json_t *user_list(struct registry *reg)
{
	json_t *list = user_list_sealed(reg), *user, *key;
	size_t i, k;

	json_array_foreach (list, i, user) {
		json_array_foreach (json_object_get(user, "keys"), k, key)
			user_key_public(key);
		json_object_set_new(user, "password", json_boolean(json_object_get(user, "password") != NULL));
	}
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
	int rc = user_read(reg, scope->user, &user, &revision);

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
