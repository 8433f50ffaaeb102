/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_issue.c -- see token_issue.h.
 */
#include "lib/token_issue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/hash.h"

#define LEASE_MORE_S 60 /* beyond the token's end: clocks differ */
#define KEY_MAX	     256

void token_id_new(char id[17], bool api)
{
	uint8_t random[8];

	random_bytes(random, sizeof(random));
	random[0] = api ? (random[0] & 0x0f) | 0xa0 : random[0] & 0x7f;
	hex_encode(random, sizeof(random), id);
}

bool token_id_is_api(const char *id)
{
	return *id == 'a';
}

/* Takes value. */
static int put_until(struct registry *reg, const char *key, json_t *value, int64_t until)
{
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	int64_t lease = 0, left = until - time(NULL);
	int rc = text ? 0 : -ENOMEM;

	json_decref(value);
	if (!rc)
		rc = registry_grant(reg, (left > 0 ? left : 0) + LEASE_MORE_S, &lease);
	if (!rc)
		rc = registry_put(reg, key, text, lease);
	free(text);
	return rc;
}

int token_issued(struct registry *reg, const struct token_scope *s, const char *note)
{
	char key[KEY_MAX], rights[8];

	if (!token_name_valid(s->user) || !token_id_valid(s->id))
		return -EINVAL;
	snprintf(key, sizeof(key), REG_TOKENS "%s/%s", s->user, s->id);
	return put_until(reg, key,
			 json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s}", "id", s->id, "note", note, "created",
				   (json_int_t)s->issued, "expires", (json_int_t)s->expires, "bucket", s->bucket, "prefix",
				   s->prefix, "rights", rights_format(s->rights, rights)),
			 s->expires);
}

int token_list(struct registry *reg, const char *user, json_t **out)
{
	char prefix[KEY_MAX];
	struct reg_kv *kvs = NULL;
	json_t *list;
	size_t n = 0;
	int rc;

	if (!token_name_valid(user))
		return -EINVAL;
	snprintf(prefix, sizeof(prefix), REG_TOKENS "%s/", user);
	rc = registry_list(reg, prefix, &kvs, &n, NULL);
	if (rc)
		return rc;
	list = json_array();
	for (size_t i = 0; i < n; i++) {
		json_t *one = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);

		if (one)
			json_array_append_new(list, one);
	}
	reg_kv_list_free(kvs, n);
	*out = list;
	return list ? 0 : -ENOMEM;
}

int token_end(struct registry *reg, const char *id, const char *user, int64_t until)
{
	char key[KEY_MAX];

	if (!token_id_valid(id))
		return -EINVAL;
	if (until <= time(NULL))
		return -ERANGE;
	snprintf(key, sizeof(key), REG_ENDED "%s", id);
	return put_until(reg, key, json_pack("{s:s, s:I}", "user", user, "until", (json_int_t)until), until);
}

int token_revoke(struct registry *reg, const char *user, const char *id)
{
	char key[KEY_MAX];
	struct reg_kv kv = { 0 };
	json_t *record;
	int rc;

	if (!token_name_valid(user) || !token_id_valid(id))
		return -ENOENT;
	snprintf(key, sizeof(key), REG_TOKENS "%s/%s", user, id);
	rc = registry_get(reg, key, &kv);
	if (rc)
		return rc;
	record = json_loadb(kv.value, kv.value_len, 0, NULL);
	rc = token_end(reg, id, user, json_integer_value(json_object_get(record, "expires")));
	json_decref(record);
	reg_kv_free(&kv);
	if (!rc || rc == -ERANGE)
		rc = registry_delete(reg, key);
	return rc == -ENOENT ? 0 : rc;
}
