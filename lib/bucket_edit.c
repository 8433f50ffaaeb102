/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket_edit.c -- changes of buckets' records in the registry: read, change, compare and swap (bucket.h).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/bucket_impl.h"
#include "lib/token.h"

#define TRIES	 8 /* when others change it meanwhile */
#define KEY_LEN	 128

struct change {
	enum bucket_part part;
	const char *text; /* NULL: taken away */
	const struct bucket_quota *quota;
	const char *owner;
	bool is_public, is_dataset;
	char *err;
};

static int path_of(char path[KEY_LEN], const char *prefix, const char *name)
{
	size_t len = strlen(name);

	if (len < 3 || len > BUCKET_NAME_MAX || len != strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-"))
		return -EINVAL;
	snprintf(path, KEY_LEN, "%s%s", prefix, name);
	return 0;
}

static int read_record(struct registry *reg, const char *path, json_t **record, int64_t *revision)
{
	struct reg_kv kv;
	int rc = registry_get(reg, path, &kv);

	if (rc)
		return rc;
	*record = json_loadb(kv.value, kv.value_len, 0, NULL);
	*revision = kv.mod_revision;
	reg_kv_free(&kv);
	if (json_is_object(*record))
		return 0;
	json_decref(*record);
	return -EPROTO;
}

/* Takes the record. */
static int write_record(struct registry *reg, const char *path, json_t *record, int64_t revision)
{
	char *text = json_dumps(record, JSON_COMPACT);
	struct reg_cond same = { path, revision };
	struct reg_change change = { path, text, 0 };
	int rc = text ? registry_txn(reg, &same, 1, &change, 1, NULL) : -ENOMEM;

	free(text);
	json_decref(record);
	return rc;
}

static int edit(struct registry *reg, const char *name, int (*fn)(json_t *record, const struct change *c),
		const struct change *c)
{
	char path[KEY_LEN];
	json_t *record;
	int64_t revision;
	int rc = path_of(path, REG_BUCKETS, name);

	if (rc)
		return -ENOENT; /* no bucket has such a name */
	for (int i = 0; i < TRIES; i++) {
		rc = read_record(reg, path, &record, &revision);
		if (rc)
			return rc;
		rc = fn(record, c);
		if (rc) {
			json_decref(record);
			return rc;
		}
		rc = write_record(reg, path, record, revision);
		if (rc != -EAGAIN)
			return rc;
	}
	return -EAGAIN;
}

/* Files of a dataset are replaced and deleted by the upload service with all that was made of them: an older version would stay for
 * every reader. What is enabled from before may be suspended. */
static bool keeps_no_versions(const json_t *record, const struct change *c)
{
	return c->is_dataset && c->part == BUCKET_VERSIONING &&
	       (!strcmp(c->text, "enabled") || !json_object_get(record, bucket_part_names[BUCKET_VERSIONING]));
}

/* An ACL that gives to others would stop to count without a word, or be taken and not count. */
static bool acl_unsaid(const json_t *record, const struct change *c)
{
	const char *acl = json_string_value(json_object_get(record, bucket_part_names[BUCKET_ACL]));
	const char *ownership = json_string_value(json_object_get(record, bucket_part_names[BUCKET_OWNERSHIP]));

	if (c->part == BUCKET_ACL)
		acl = c->text;
	else if (c->part == BUCKET_OWNERSHIP)
		ownership = c->text;
	else
		return false;
	return acl && strcmp(acl, "private") && ownership && !strcmp(ownership, "BucketOwnerEnforced");
}

static int set_part(json_t *record, const struct change *c)
{
	json_t *value;

	if (c->text && acl_unsaid(record, c)) {
		snprintf(c->err, 256, "an ACL that gives to others and the ownership BucketOwnerEnforced, by which none counts, do not go together");
		return -EINVAL;
	}

	if (c->text && keeps_no_versions(record, c)) {
		snprintf(c->err, 256, "it is a dataset, whose files have no versions: what is deleted of it is to be gone");
		return -EINVAL;
	}
	if (!c->text) {
		json_object_del(record, bucket_part_names[c->part]);
		return 0;
	}
	value = json_string(c->text);
	if (value)
		return json_object_set_new(record, bucket_part_names[c->part], value) ? -ENOMEM : 0;
	if (c->err)
		snprintf(c->err, 256, "%s is not UTF-8", bucket_part_names[c->part]);
	return -EINVAL;
}

static int ask_dataset(struct registry *reg, const char *name, bool *out)
{
	char path[KEY_LEN];
	struct reg_kv kv;
	int rc = path_of(path, REG_DATASETS, name);

	*out = false;
	if (rc)
		return -ENOENT;
	rc = registry_get(reg, path, &kv);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	*out = true;
	reg_kv_free(&kv);
	return 0;
}

int bucket_edit_part(struct registry *reg, const char *name, enum bucket_part part, const char *text, char err[256])
{
	char sentence[256] = "";
	struct change c = { .part = part, .text = text, .err = err ? err : sentence };
	int rc = text ? bucket_part_check(name, part, text, c.err) : 0;

	if (!rc && text && part == BUCKET_VERSIONING)
		rc = ask_dataset(reg, name, &c.is_dataset);
	return rc ? rc : edit(reg, name, set_part, &c);
}

static int set_quota(json_t *record, const struct change *c)
{
	if (!c->quota->bytes && !c->quota->objects) {
		json_object_del(record, "quota");
		return 0;
	}
	return json_object_set_new(record, "quota",
				   json_pack("{s:I, s:I}", "bytes", (json_int_t)c->quota->bytes, "objects",
					     (json_int_t)c->quota->objects))
		       ? -ENOMEM
		       : 0;
}

int bucket_edit_quota(struct registry *reg, const char *name, const struct bucket_quota *quota)
{
	struct change c = { .quota = quota };

	return quota->bytes > INT64_MAX || quota->objects > INT64_MAX ? -EINVAL : edit(reg, name, set_quota, &c);
}

static int set_public(json_t *record, const struct change *c)
{
	return json_object_set_new(record, "public", json_boolean(c->is_public)) ? -ENOMEM : 0;
}

int bucket_edit_public(struct registry *reg, const char *name, bool is_public)
{
	struct change c = { .is_public = is_public };

	return edit(reg, name, set_public, &c);
}

static int set_owner(json_t *record, const struct change *c)
{
	return json_object_set_new(record, "owner", json_string(c->owner)) ? -ENOMEM : 0;
}

int bucket_edit_owner(struct registry *reg, const char *name, const char *owner)
{
	struct change c = { .owner = owner };

	return token_name_valid(owner) ? edit(reg, name, set_owner, &c) : -EINVAL;
}

int bucket_edit_create(struct registry *reg, const char *name, const char *owner, enum canned_acl acl)
{
	char path[KEY_LEN];
	json_t *record;
	int64_t revision;
	const char *has;
	int rc = path_of(path, REG_BUCKETS, name);

	if (rc)
		return rc;
	record = json_pack("{s:s, s:b, s:s, s:I}", "name", name, "public", 0, "owner", owner, "created", (json_int_t)time(NULL));
	if (!record)
		return -EINVAL;
	if (acl != ACL_PRIVATE)
		json_object_set_new(record, bucket_part_names[BUCKET_ACL], json_string(acl_text(acl)));
	rc = write_record(reg, path, record, 0);
	if (rc != -EAGAIN)
		return rc;
	rc = read_record(reg, path, &record, &revision);
	if (rc == -ENOENT)
		return -EAGAIN; /* it was there and went */
	if (rc)
		return rc == -EPROTO ? -EEXIST : rc;
	has = json_string_value(json_object_get(record, "owner"));
	rc = has && !strcmp(has, owner) ? -EALREADY : -EEXIST;
	json_decref(record);
	return rc;
}

static int keep_record(json_t *record, const struct change *c)
{
	(void)record;
	(void)c;
	return 0;
}

int bucket_edit_touch(struct registry *reg, const char *name)
{
	return edit(reg, name, keep_record, NULL);
}

int bucket_edit_look(struct registry *reg, const char *name, int64_t *revision)
{
	char path[KEY_LEN], dataset[KEY_LEN];
	struct reg_kv kv;
	int rc = path_of(path, REG_BUCKETS, name);

	if (rc)
		return -ENOENT;
	path_of(dataset, REG_DATASETS, name);
	rc = registry_get(reg, dataset, &kv);
	if (!rc) {
		reg_kv_free(&kv);
		return -EBUSY;
	}
	if (rc != -ENOENT)
		return rc;
	rc = registry_get(reg, path, &kv);
	if (rc)
		return rc;
	*revision = kv.mod_revision;
	reg_kv_free(&kv);
	return 0;
}

int bucket_edit_remove(struct registry *reg, const char *name, int64_t revision)
{
	char path[KEY_LEN], dataset[KEY_LEN];
	struct reg_cond same[2] = { { path, revision }, { dataset, 0 } };
	struct reg_change change = { path, NULL, 0 };
	int rc = path_of(path, REG_BUCKETS, name);

	if (rc)
		return -ENOENT;
	path_of(dataset, REG_DATASETS, name);
	for (int i = 0; i < TRIES; i++) {
		if (!revision)
			rc = bucket_edit_look(reg, name, &same[0].mod_revision);
		if (!rc)
			rc = registry_txn(reg, same, 2, &change, 1, NULL);
		if (rc != -EAGAIN || revision)
			return rc;
		rc = 0;
	}
	return -EAGAIN;
}
