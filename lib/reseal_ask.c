/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reseal_ask.c -- see reseal_ask.h.
 */
#include "lib/reseal_ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/sealing.h"
#include "lib/user_edit_impl.h"

#define POST_TRIES 16 /* while others wish, too */

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name)) ?: "";
}

static bool is_id(const char *id)
{
	return strlen(id) == 32 && strspn(id, "0123456789abcdef") == 32;
}

int reseal_wish_parse(const char *text, size_t len, struct reseal_wish *out)
{
	json_t *value = json_loadb(text, len, 0, NULL);
	const json_t *last = json_object_get(value, "reseal");
	const char *id = text_of(value, "id"), *what = text_of(value, "what");
	int rc = -EINVAL;

	if (is_id(id) &&
	    (!strcmp(what, RESEAL_STILL) || !strcmp(what, RESEAL_COUNT) || !strcmp(what, RESEAL_RESEAL))) {
		strcpy(out->id, id);
		strcpy(out->what, what);
		out->at = json_integer_value(json_object_get(value, "at"));
		out->reseal[0] = '\0';
		out->reseal_at = 0;
		if (!strcmp(what, RESEAL_RESEAL)) {
			strcpy(out->reseal, id);
			out->reseal_at = out->at;
		} else if (is_id(text_of(last, "id"))) {
			strcpy(out->reseal, text_of(last, "id"));
			out->reseal_at = json_integer_value(json_object_get(last, "at"));
		}
		rc = 0;
	}
	json_decref(value);
	return rc;
}

static char *wish_text(const struct reseal_wish *w)
{
	json_t *value = json_pack("{s:s, s:s, s:I}", "id", w->id, "what", w->what, "at", (json_int_t)w->at);
	char *text;

	if (*w->reseal && strcmp(w->reseal, w->id))
		json_object_set_new(value, "reseal", json_pack("{s:s, s:I}", "id", w->reseal, "at", (json_int_t)w->reseal_at));
	text = json_dumps(value, JSON_COMPACT);
	json_decref(value);
	return text;
}

/* Over the one that is there: -EAGAIN when that is another one now. */
static int post_once(struct registry *reg, struct reseal_wish *w)
{
	struct reg_cond cond = { REG_RESEAL_WISH, 0 };
	struct reg_change change = { REG_RESEAL_WISH, NULL, 0 };
	struct reseal_wish before = { .reseal = "" };
	struct reg_kv kv;
	int rc = registry_get(reg, REG_RESEAL_WISH, &kv);
	char *text;

	if (rc && rc != -ENOENT)
		return rc;
	if (!rc) {
		cond.mod_revision = kv.mod_revision;
		reseal_wish_parse(kv.value, kv.value_len, &before);
		reg_kv_free(&kv);
	}
	strcpy(w->reseal, strcmp(w->what, RESEAL_RESEAL) ? before.reseal : w->id);
	w->reseal_at = strcmp(w->what, RESEAL_RESEAL) ? before.reseal_at : w->at;
	text = wish_text(w);
	change.value = text;
	rc = text ? registry_txn(reg, &cond, 1, &change, 1, NULL) : -ENOMEM;
	free(text);
	return rc;
}

int reseal_wish_post(struct registry *reg, const char *what, struct reseal_wish *out)
{
	uint8_t random[16];
	int rc = -EAGAIN;

	random_bytes(random, sizeof(random));
	hex_encode(random, sizeof(random), out->id);
	snprintf(out->what, sizeof(out->what), "%s", what);
	out->at = time(NULL);
	for (int i = 0; rc == -EAGAIN && i < POST_TRIES; i++)
		rc = post_once(reg, out);
	return rc;
}

int reseal_wish_get(struct registry *reg, struct reseal_wish *out)
{
	struct reg_kv kv;
	int rc = registry_get(reg, REG_RESEAL_WISH, &kv);

	if (rc)
		return rc;
	rc = reseal_wish_parse(kv.value, kv.value_len, out) ? -ENOENT : 0;
	reg_kv_free(&kv);
	return rc;
}

/* ---- what was told ---- */

/* The rests of the keys with a prefix → their values. */
static int read_all(struct registry *reg, const char *prefix, json_t **out)
{
	struct reg_kv *kvs = NULL;
	size_t n = 0;
	int rc = registry_list(reg, prefix, &kvs, &n, NULL);

	*out = rc ? NULL : json_object();
	for (size_t i = 0; !rc && i < n; i++) {
		json_t *value = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);

		json_object_set_new(*out, kvs[i].key + strlen(prefix), value ? value : json_null());
	}
	reg_kv_list_free(kvs, n);
	return rc;
}

int reseal_told(struct registry *reg, const struct reseal_wish *wish, json_t **out)
{
	json_t *nodes = NULL, *told = NULL, *alive = NULL, *value;
	const char *node;
	int rc = read_all(reg, REG_ENDPOINTS, &nodes);

	if (!rc)
		rc = read_all(reg, REG_RESEAL_TOLD, &told);
	if (!rc)
		rc = read_all(reg, REG_MEMBERS "endpoint/", &alive);
	*out = rc ? NULL : json_object();
	if (!rc)
		json_object_foreach (nodes, node, value) {
			json_t *one = json_object_get(told, node);

			if (strcmp(text_of(one, "id"), wish->id))
				one = NULL;
			json_object_set_new(*out, node, json_pack("{s:b, s:O?}", "alive", json_object_get(alive, node) != NULL, "told", one));
		}
	json_decref(nodes);
	json_decref(told);
	json_decref(alive);
	return rc;
}

bool reseal_unfinished(struct registry *reg, char *node, size_t size)
{
	json_t *nodes = NULL, *one;
	struct reseal_wish wish;
	const char *name;
	bool found = false;

	if (reseal_wish_get(reg, &wish) || strcmp(wish.what, RESEAL_RESEAL) || reseal_told(reg, &wish, &nodes))
		return false;
	json_object_foreach (nodes, name, one)
		if (json_is_true(json_object_get(one, "alive")) && !json_is_true(json_object_get(json_object_get(one, "told"), "done"))) {
			snprintf(node, size, "%s", name);
			found = true;
		}
	json_decref(nodes);
	return found;
}

int reseal_orders(struct registry *reg, json_t **out)
{
	struct reg_kv *kvs = NULL;
	json_t *nodes = json_object();
	uint64_t at = 0;
	size_t n = 0;
	int rc = registry_list(reg, REG_NAMES, &kvs, &n, NULL);

	for (size_t i = 0; !rc && i < n; i++) {
		json_t *value = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);
		const char *primary = text_of(value, "primary");

		at = hash64(kvs[i].key, strlen(kvs[i].key), at) + (uint64_t)kvs[i].mod_revision;
		json_object_set_new(nodes, primary, json_integer(json_integer_value(json_object_get(nodes, primary)) + 1));
		json_decref(value);
	}
	reg_kv_list_free(kvs, n);
	*out = rc ? NULL : json_pack("{s:O, s:I}", "buckets", nodes, "at", (json_int_t)(at & INT64_MAX));
	json_decref(nodes);
	return rc;
}

json_t *reseal_secrets(struct registry *reg)
{
	json_t *users = user_list_sealed(reg), *out = users ? json_object() : NULL;
	const json_t *user, *key;
	size_t i, k;

	json_array_foreach (users, i, user)
		json_array_foreach (json_object_get(user, "keys"), k, key) {
			char kid[SEALING_KID_MAX];
			json_t *one;

			if (sealing_kid(text_of(key, "secret_sealed"), kid))
				continue; /* one of before, that cannot sign */
			one = json_object_get(out, kid);
			if (!one) {
				one = json_pack("{s:i, s:s}", "secrets", 0, "user", text_of(user, "name"));
				json_object_set_new(out, kid, one);
			}
			json_object_set_new(one, "secrets", json_integer(json_integer_value(json_object_get(one, "secrets")) + 1));
		}
	json_decref(users);
	return out;
}
