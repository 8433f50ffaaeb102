/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group_edit.c -- groups in the registry; see user_edit.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/user_edit.h"

static int group_key(char path[128], const char *name)
{
	if (!token_name_valid(name))
		return -EINVAL;
	snprintf(path, 128, REG_GROUPS "%s", name);
	return 0;
}

/* Takes the reference; revision 0: must not exist. */
static int write_group(struct registry *reg, const char *path, json_t *group, int64_t revision)
{
	char *text = json_dumps(group, JSON_COMPACT);
	struct reg_cond same = { path, revision };
	struct reg_change change = { path, text, 0 };
	int rc = text ? registry_txn(reg, &same, 1, &change, 1, NULL) : -ENOMEM;

	free(text);
	json_decref(group);
	return rc;
}

static json_t *grant_list(const struct user_grant *grants, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "bucket", grants[i].bucket,
						      "prefix", grants[i].prefix, "rights",
						      grants[i].rights));
	return list;
}

static int apply(json_t *group, const struct group_change *change)
{
	json_t *from = json_array();

	for (size_t i = 0; i < change->nfrom; i++)
		json_array_append_new(from, json_string(change->from[i]));
	if (change->has_from && change->nfrom)
		json_object_set(group, "from", from);
	else if (change->has_from)
		json_object_del(group, "from");
	json_decref(from);
	if (change->role && role_parse(change->role) == ROLE_MEMBER &&
	    strcmp(change->role, role_names[ROLE_MEMBER]))
		return -EINVAL;
	if (change->role)
		json_object_set_new(group, "role", json_string(change->role));
	for (size_t i = 0; i < change->ngrants; i++)
		if (!rights_parse(change->grants[i].rights))
			return -EINVAL;
	if (change->has_grants)
		json_object_set_new(group, "grants", grant_list(change->grants, change->ngrants));
	return 0;
}

int group_add(struct registry *reg, const char *name, const struct group_change *change)
{
	char path[128];
	json_t *group;
	int rc = group_key(path, name);

	if (rc)
		return rc;
	group = json_pack("{s:s, s:s, s:[]}", "name", name, "role", role_names[ROLE_MEMBER],
			  "grants");
	if (!group || apply(group, change)) {
		json_decref(group);
		return -EINVAL;
	}
	rc = write_group(reg, path, group, 0);
	return rc == -EAGAIN ? -EEXIST : rc;
}

int group_set(struct registry *reg, const char *name, const struct group_change *change)
{
	char path[128];
	struct reg_kv kv;
	int64_t revision;
	json_t *group;
	int rc = group_key(path, name);

	if (!rc)
		rc = registry_get(reg, path, &kv);
	if (rc)
		return rc;
	group = json_loadb(kv.value, kv.value_len, 0, NULL);
	revision = kv.mod_revision;
	reg_kv_free(&kv);
	rc = json_is_object(group) ? apply(group, change) : -EPROTO;
	if (!rc)
		return write_group(reg, path, group, revision);
	json_decref(group);
	return rc;
}

int group_remove(struct registry *reg, const char *name)
{
	char path[128];
	int rc = group_key(path, name);

	return rc ? rc : registry_delete(reg, path);
}

json_t *group_list(struct registry *reg)
{
	struct reg_kv *kvs = NULL;
	json_t *list = json_array();
	size_t n = 0;

	if (registry_list(reg, REG_GROUPS, &kvs, &n, NULL)) {
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		json_t *group = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);

		if (group)
			json_array_append_new(list, group);
	}
	reg_kv_list_free(kvs, n);
	return list;
}
