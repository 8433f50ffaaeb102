/* SPDX-License-Identifier: Apache-2.0 */
/*
 * people.c -- who came by the provider, in the registry (people/NAME), and the administrators' list of them and of local
 * users. A name belongs to the first (issuer, subject) that brought it: nobody becomes somebody else by a change of a
 * claim.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/identity/identity_impl.h"
#include "lib/user_edit.h"

#define TRIES 3

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

/* ---- sign-in --------------------------------------------------------------------------------- */

/* Does a local user bear the name? 0 no, -EEXIST yes, else the registry's error. */
static int local_user(struct identity *id, const char *name, char why[256])
{
	struct reg_kv kv = { 0 };
	char key[128];
	int rc;

	snprintf(key, sizeof(key), REG_USERS "%s", name);
	rc = registry_get(id->reg, key, &kv);
	if (rc == -ENOENT)
		return 0;
	if (!rc) {
		reg_kv_free(&kv);
		snprintf(why, 256, "the provider calls you %s, which is the name of a local user here; an administrator has to rename "
			 "one of the two", name);
		return -EEXIST;
	}
	return rc;
}

/* The record as it shall be, from the one that was (NULL: none). */
static json_t *record(const struct identity *id, const struct person *p, const json_t *old)
{
	json_int_t now = (json_int_t)time(NULL);
	json_t *o = old ? json_copy((json_t *)(uintptr_t)old) : json_pack("{s:s, s:I, s:b, s:I}", "name", p->name, "first", now, "disabled", 0,
								"not_before", (json_int_t)0);

	json_object_set_new(o, "issuer", json_string(id->issuer));
	json_object_set_new(o, "subject", json_string(p->subject));
	json_object_set_new(o, "email", json_string(p->email));
	json_object_set_new(o, "shown", json_string(p->shown));
	json_object_set_new(o, "groups", session_groups(p->groups));
	json_object_set_new(o, "last", json_integer(now));
	return o;
}

static int judge(const struct identity *id, const struct person *p, const json_t *old, char why[256])
{
	if (strcmp(text_of(old, "issuer"), id->issuer) || strcmp(text_of(old, "subject"), p->subject)) {
		snprintf(why, 256, "the provider calls you %s, and so it called somebody else before; an administrator has to look into "
			 "it (weir user)", p->name);
		return -EEXIST;
	}
	if (json_is_true(json_object_get(old, "disabled"))) {
		snprintf(why, 256, "%s is disabled here; ask an administrator", p->name);
		return -EACCES;
	}
	return 0;
}

static int put(struct identity *id, const char *key, int64_t revision, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	struct reg_cond cond = { key, revision };
	struct reg_change change = { key, text, 0 };
	int rc = text ? registry_txn(id->reg, &cond, 1, &change, 1, NULL) : -ENOMEM;

	json_decref(value);
	free(text);
	return rc;
}

static int upsert_once(struct identity *id, const struct person *p, const char *key, char why[256])
{
	struct reg_kv kv = { 0 };
	int rc = registry_get(id->reg, key, &kv);
	json_t *old = NULL;

	if (rc && rc != -ENOENT)
		return rc;
	if (!rc) {
		old = json_loadb(kv.value, kv.value_len, 0, NULL);
		rc = old ? judge(id, p, old, why) : -EPROTO;
	} else {
		rc = 0;
	}
	if (!rc)
		rc = put(id, key, kv.mod_revision, record(id, p, old));
	reg_kv_free(&kv);
	json_decref(old);
	return rc;
}

int people_upsert(struct identity *id, const struct person *p, char why[256])
{
	char key[128];
	int rc = local_user(id, p->name, why);

	snprintf(key, sizeof(key), REG_PEOPLE "%s", p->name);
	for (int i = 0; !rc && i < TRIES; i++) {
		rc = upsert_once(id, p, key, why);
		if (rc != -EAGAIN)
			break;
		rc = i + 1 < TRIES ? 0 : rc; /* somebody else changed it meanwhile */
	}
	if (rc && rc != -EEXIST && rc != -EACCES)
		snprintf(why, 256, "the registry does not answer, so that nobody new can sign in; try again");
	return rc;
}

/* ---- GET /_/people --------------------------------------------------------------------------- */

#define ALL_RIGHTS (RIGHT_READ | RIGHT_WRITE | RIGHT_DELETE | RIGHT_LIST | RIGHT_ADMIN)

struct job {
	struct identity *id;
	char who[64], name[64];
	bool signout, set_disabled, disabled;
};

static const char *role_of(struct identity *id, const char *name, const json_t *groups, bool provider)
{
	struct token_scope scope = { .bucket = "*", .rights = ALL_RIGHTS, .provider = provider };
	const json_t *group;
	size_t i;

	snprintf(scope.user, sizeof(scope.user), "%s", name);
	json_array_foreach (groups, i, group) {
		size_t at = strlen(scope.groups);

		if (provider && json_is_string(group))
			snprintf(scope.groups + at, sizeof(scope.groups) - at, "%s%s", at ? "," : "", json_string_value(group));
	}
	return role_names[users_role(id->users, &scope)];
}

/* One of the provider's is a line of its own; what stands there of a local user belongs to that one's line. */
static void add_person(struct identity *id, json_t *list, json_t *person)
{
	const char *name = text_of(person, "name");
	json_t *one;
	size_t i;

	if (*text_of(person, "issuer")) {
		json_object_set_new(person, "role", json_string(role_of(id, name, json_object_get(person, "groups"), true)));
		json_object_set_new(person, "local", json_false());
		json_array_append(list, person);
		return;
	}
	json_array_foreach (list, i, one)
		if (!strcmp(text_of(one, "name"), name) && json_is_true(json_object_get(person, "disabled")))
			json_object_set_new(one, "disabled", json_true());
}

static int add_people(struct identity *id, json_t *list)
{
	struct reg_kv *kvs = NULL;
	size_t n = 0;
	int rc = registry_list(id->reg, REG_PEOPLE, &kvs, &n, NULL);

	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++) {
		json_t *one = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);

		if (json_is_object(one))
			add_person(id, list, one);
		json_decref(one);
	}
	reg_kv_list_free(kvs, n);
	return 0;
}

static void list_work(struct http_req *req, void *arg)
{
	struct job *j = arg;
	json_t *list = json_array(), *locals = user_list(j->id->reg), *one;
	int rc = locals ? 0 : -EIO;
	size_t i;

	json_array_foreach (locals, i, one)
		json_array_append_new(list, json_pack("{s:s, s:b, s:O*, s:b, s:s}", "name", text_of(one, "name"), "local", 1, "groups",
						      json_object_get(one, "groups"), "disabled",
						      json_is_true(json_object_get(one, "disabled")), "role",
						      role_of(j->id, text_of(one, "name"), NULL, false)));
	if (!rc)
		rc = add_people(j->id, list);
	json_decref(locals);
	if (rc) {
		json_decref(list);
		http_reply_error(req, 503, "registry", "the registry does not answer; try again");
	} else {
		http_reply_json(req, 200, json_pack("{s:o}", "people", list));
	}
	free(j);
}

/* ---- POST /_/people/NAME --------------------------------------------------------------------- */

/* Of a local user nothing is in people/ until somebody is signed out: gateways may not write users/. */
static int first_of_local(struct job *j, json_t **out)
{
	char why[256];
	int rc = local_user(j->id, j->name, why);

	if (rc != -EEXIST)
		return rc ? rc : -ENOENT;
	*out = json_pack("{s:s, s:b}", "name", j->name, "local", 1);
	return 0;
}

static int change_once(struct job *j, const char *key)
{
	struct reg_kv kv = { 0 };
	int rc = registry_get(j->id->reg, key, &kv);
	json_t *o = NULL;

	if (rc == -ENOENT)
		rc = first_of_local(j, &o);
	else if (!rc)
		o = json_loadb(kv.value, kv.value_len, 0, NULL);
	if (rc)
		return rc;
	if (o && (j->signout || (j->set_disabled && j->disabled))) /* tokens of this second too */
		json_object_set_new(o, "not_before", json_integer((json_int_t)time(NULL) + 1));
	if (o && j->set_disabled)
		json_object_set_new(o, "disabled", json_boolean(j->disabled));
	rc = o ? put(j->id, key, kv.mod_revision, o) : -EPROTO;
	reg_kv_free(&kv);
	return rc;
}

static void change_work(struct http_req *req, void *arg)
{
	struct job *j = arg;
	const char *what = j->set_disabled ? j->disabled ? "disabled" : "enabled" : "signed out everywhere";
	char key[128];
	int rc = -EAGAIN;

	snprintf(key, sizeof(key), REG_PEOPLE "%s", j->name);
	for (int i = 0; rc == -EAGAIN && i < TRIES; i++)
		rc = change_once(j, key);
	session_audit(j->id, req, j->who, "people", j->name, rc ? "failed" : "ok", what);
	if (rc == -ENOENT)
		http_reply_error(req, 404, "no_such_person", "nobody is called %s here", j->name);
	else if (rc)
		http_reply_error(req, 503, "registry", "the registry does not answer; try again");
	else
		http_reply_json(req, 200, json_pack("{s:s, s:s}", "name", j->name, "now", what));
	free(j);
}

/* Fills the job from the request; false: answered. */
static bool read_change(struct http_req *req, struct job *j)
{
	const char *name = http_param(req, "name");
	json_t *o = session_body(req), *disabled = json_object_get(o, "disabled");
	bool good;

	if (!o)
		return false;
	j->signout = json_is_true(json_object_get(o, "signout"));
	j->set_disabled = json_is_boolean(disabled);
	j->disabled = json_is_true(disabled);
	good = name && token_name_valid(name) && (j->signout || j->set_disabled);
	if (good)
		snprintf(j->name, sizeof(j->name), "%s", name);
	else
		http_reply_error(req, 422, "bad_change", "send {\"signout\": true} or {\"disabled\": true or false} to /_/people/NAME");
	json_decref(o);
	return good;
}

enum http_next identity_people(struct http_req *req, struct identity *id)
{
	struct token_scope who;
	enum http_next next;
	struct job *j;

	http_add_header(req, "Cache-Control", "no-store");
	if (!access_role(req, id->users, ROLE_ADMIN, &who))
		return HTTP_ANSWERED;
	j = calloc(1, sizeof(*j));
	if (!j)
		return http_reply_error(req, 500, "memory", "out of memory");
	j->id = id;
	snprintf(j->who, sizeof(j->who), "%s", who.user);
	if (http_method(req) == HTTP_POST && !read_change(req, j)) {
		free(j);
		return HTTP_ANSWERED;
	}
	next = http_work(req, http_method(req) == HTTP_POST ? change_work : list_work, j);
	if (next == HTTP_ANSWERED)
		free(j);
	return next;
}
