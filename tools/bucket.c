/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket.c -- `weir bucket`: what buckets are told to be (lib/bucket.h). Clients of S3 change the same by its API.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/bucket.h"
#include "lib/user_edit.h"
#include "tools/cmd.h"
#include "tools/web.h"

struct flags {
	const char *quota, *objects, *is_public, *browse, *owner, *versioning, *acl, *encrypt, *policy, *block, *ownership;
	bool json;
};

static int say_failure(const char *name, int rc, const char *sentence)
{
	switch (rc) {
	case -ENOENT:
		return cmd_fail("there is no bucket %s (weir bucket list); it comes to be by its first object, or `weir bucket add`", name);
	case -EALREADY:
	case -EEXIST:
		return cmd_fail("there is a bucket %s already (weir bucket show %s)", name, name);
	case -EAGAIN:
		return cmd_fail("somebody else changed %s at the same time; try again", name);
	case -EINVAL:
	case -E2BIG:
		return *sentence ? cmd_fail("%s: %s", name, sentence)
				 : cmd_fail("%s: a bucket's name has 3 to 63 of a-z 0-9 - .; an owner is a user's name", name);
	case -EPROTO:
		return cmd_fail("what the registry holds for bucket %s is no record", name);
	default:
		return cmd_fail("cannot change bucket %s: %s", name, registry_error());
	}
}

/* ---- records --------------------------------------------------------------------------------- */

static json_t *records(struct registry *reg)
{
	struct reg_kv *kvs = NULL;
	json_t *list = json_array();
	size_t n = 0;

	if (registry_list(reg, REG_BUCKETS, &kvs, &n, NULL)) {
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		json_t *one = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);

		if (json_is_object(one))
			json_array_append(list, one);
		json_decref(one);
	}
	reg_kv_list_free(kvs, n);
	return list;
}

/* A bucket's record, a new reference. -ENOENT; -EIO: the registry does not tell. */
static int find(struct registry *reg, const char *name, json_t **out)
{
	json_t *all = records(reg), *one;
	size_t i;

	*out = NULL;
	if (!all)
		return -EIO;
	json_array_foreach (all, i, one)
		if (!*out && !strcmp(js_text(one, "name", ""), name))
			*out = json_incref(one);
	json_decref(all);
	return *out ? 0 : -ENOENT;
}

/* ---- set ------------------------------------------------------------------------------------- */

/* "yes" or "no"; NULL text: not asked. -1 after saying what is wrong. */
static int yes(const struct cmd *cmd, const char *flag, const char *text)
{
	if (!strcmp(text, "yes") || !strcmp(text, "no"))
		return text[0] == 'y';
	cmd_usage(cmd, "%s wants yes or no", flag);
	return -1;
}

/* A file's text, or of standard input ("-"); malloc'ed, NULL after saying why not. */
static char *read_text(const char *path)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "r") : stdin;
	char *text = f ? calloc(1, POLICY_MAX + 2) : NULL;
	size_t n = text ? fread(text, 1, POLICY_MAX + 1, f) : 0;

	if (!f)
		cmd_fail("%s: %s", path, strerror(errno));
	else if (strlen(text ? text : "") != n) {
		cmd_fail("%s has NUL bytes in it", path);
		free(text);
		text = NULL;
	}
	if (f && f != stdin)
		fclose(f);
	return text;
}

static int set_policy(struct registry *reg, const char *name, const char *path, char err[256])
{
	char *text;
	int rc;

	if (!strcmp(path, "none"))
		return bucket_edit_part(reg, name, BUCKET_POLICY, NULL, err);
	text = read_text(path);
	if (!text)
		return 1; /* said */
	rc = bucket_edit_part(reg, name, BUCKET_POLICY, text, err);
	free(text);
	return rc;
}

/* The half of the quota that is not given stays; --quota none alone ends both. */
static int set_quota(const struct cmd *cmd, struct registry *reg, const char *name, const struct flags *f)
{
	struct bucket_quota quota = { 0, 0 };
	json_t *record, *was;
	bool none = f->quota && !strcmp(f->quota, "none");
	int rc;

	if (f->quota && !none && !cmd_parse_size(f->quota, &quota.bytes))
		return cmd_usage(cmd, "--quota %s: a size such as 500MiB or 2TiB, or none", f->quota), 1;
	if (f->objects && (f->objects[strspn(f->objects, "0123456789")] || !cmd_parse_size(f->objects, &quota.objects)))
		return cmd_usage(cmd, "--objects %s: a number such as 100000; 0: no limit", f->objects), 1;
	rc = find(reg, name, &record);
	if (rc)
		return rc;
	was = json_object_get(record, "quota");
	if (!f->quota)
		quota.bytes = (uint64_t)json_integer_value(json_object_get(was, "bytes"));
	if (!f->objects && !none)
		quota.objects = (uint64_t)json_integer_value(json_object_get(was, "objects"));
	json_decref(record);
	return bucket_edit_quota(reg, name, &quota);
}

/* It may be given to somebody who comes later, but mostly that is a slip of the pen. */
static void warn_of_stranger(struct registry *reg, const char *owner)
{
	char path[sizeof(REG_USERS) + 64];
	struct reg_kv kv;
	int rc;

	snprintf(path, sizeof(path), REG_USERS "%.63s", owner);
	rc = registry_get(reg, path, &kv);
	if (!rc)
		reg_kv_free(&kv);
	else if (rc == -ENOENT)
		fprintf(stderr, "weir: there is no user %s yet (weir user list; weir user add %s)\n", owner, owner);
}

/* "acls,policy", "all" or "none" → BLOCK_…; false: it is none of them. */
static bool block_parse(const char *list, unsigned int *out)
{
	char word[32];

	*out = strcmp(list, "all") ? 0 : BLOCK_ALL;
	if (!strcmp(list, "all") || !strcmp(list, "none"))
		return true;
	for (;; list++) {
		size_t len = strcspn(list, ",");
		unsigned int bit = BLOCK_ACLS;

		while (bit < BLOCK_ALL && (strlen(bucket_block_text(bit, word)) != len || memcmp(list, word, len)))
			bit <<= 1;
		if (bit > BLOCK_ALL)
			return false;
		*out |= bit;
		list += len;
		if (!*list)
			return true;
	}
}

static int set_block(const struct cmd *cmd, struct registry *reg, const char *name, const char *list, char err[256])
{
	char words[32];
	unsigned int bits;

	if (!block_parse(list, &bits))
		return cmd_usage(cmd, "--block %s: all, none, or of acls,ignore,policy,restrict those that hold", list), 1;
	return bucket_edit_part(reg, name, BUCKET_BLOCK, bits ? bucket_block_text(bits, words) : NULL, err);
}

static int set_ownership(struct registry *reg, const char *name, const char *text, char err[256])
{
	return bucket_edit_part(reg, name, BUCKET_OWNERSHIP, strcmp(text, "none") ? text : NULL, err);
}

static int set_parts(const struct cmd *cmd, struct registry *reg, const char *name, const struct flags *f, char err[256])
{
	const struct {
		enum bucket_part part;
		const char *flag, *text, *yes;
	} switches[] = { { BUCKET_ENCRYPTION, "--encrypt", f->encrypt, "AES256" }, { BUCKET_BROWSE, "--browse", f->browse, "true" } };
	bool enforced = f->ownership && !strcmp(f->ownership, "BucketOwnerEnforced");
	int rc = 0, on;

	for (size_t i = 0; i < 2 && !rc; i++) {
		if (!switches[i].text)
			continue;
		on = yes(cmd, switches[i].flag, switches[i].text);
		rc = on < 0 ? 1 : bucket_edit_part(reg, name, switches[i].part, on ? switches[i].yes : NULL, err);
	}
	if (!rc && f->versioning)
		rc = bucket_edit_part(reg, name, BUCKET_VERSIONING, f->versioning, err);
	/* What lets ACLs count comes before one, what forbids them behind it. */
	if (!rc && f->ownership && !enforced)
		rc = set_ownership(reg, name, f->ownership, err);
	if (!rc && f->acl)
		rc = bucket_edit_part(reg, name, BUCKET_ACL, strcmp(f->acl, "private") ? f->acl : NULL, err);
	if (!rc && f->ownership && enforced)
		rc = set_ownership(reg, name, f->ownership, err);
	if (!rc && f->block)
		rc = set_block(cmd, reg, name, f->block, err);
	return !rc && f->policy ? set_policy(reg, name, f->policy, err) : rc;
}

static bool is_asked(const struct flags *f)
{
	return f->quota || f->objects || f->is_public || f->browse || f->owner || f->versioning || f->acl || f->encrypt || f->policy ||
	       f->block || f->ownership;
}

static int set(const struct cmd *cmd, struct registry *reg, const char *name, const struct flags *f)
{
	char err[256] = "";
	int rc, on;

	if (!is_asked(f))
		return cmd_usage(cmd, "what of %s? --quota, --policy, --versioning, … (weir bucket show %s says what it is)", name, name);
	rc = set_parts(cmd, reg, name, f, err);
	if (!rc && f->is_public) {
		on = yes(cmd, "--public", f->is_public);
		rc = on < 0 ? 1 : bucket_edit_public(reg, name, on);
	}
	if (!rc && f->owner)
		rc = bucket_edit_owner(reg, name, f->owner);
	if (!rc && f->owner)
		warn_of_stranger(reg, f->owner);
	if (!rc && (f->quota || f->objects))
		rc = set_quota(cmd, reg, name, f);
	if (rc > 0)
		return CMD_USAGE;
	if (rc)
		return say_failure(name, rc, err);
	if (f->json)
		return cmd_print_json(json_pack("{s:s, s:s}", "bucket", name, "done", "set"));
	printf("%s: changed\n", name);
	return CMD_OK;
}

/* ---- list, show ------------------------------------------------------------------------------ */

static const char *quota_text(const json_t *record, char out[64])
{
	const json_t *quota = json_object_get(record, "quota");
	json_int_t bytes = json_integer_value(json_object_get(quota, "bytes")),
		   objects = json_integer_value(json_object_get(quota, "objects"));
	char size[16];

	out[0] = '\0';
	if (bytes)
		snprintf(out, 64, "%s", cmd_bytes((uint64_t)bytes, size));
	if (objects)
		snprintf(out + strlen(out), 64 - strlen(out), "%s%lld objects", bytes ? ", " : "", (long long)objects);
	return out;
}

static int list(struct registry *reg, bool as_json)
{
	json_t *all = records(reg), *one;
	struct table *t;
	size_t i;

	if (!all)
		return cmd_fail("cannot read the buckets: %s", registry_error());
	if (as_json)
		return cmd_print_json(all);
	t = table_new("BUCKET|OWNER|PUBLIC|ACL|POLICY|VERSIONS|ENCRYPTED|QUOTA");
	json_array_foreach (all, i, one) {
		char quota[64];

		table_row(t, js_text(one, "name", "?"), js_text(one, "owner", ""),
			  json_is_true(json_object_get(one, "public")) ? "yes" : "no", js_text(one, "acl", "private"),
			  json_object_get(one, "policy") ? "yes" : "no", js_text(one, "versioning", "no"),
			  js_text(one, "encryption", "no"), quota_text(one, quota), NULL);
	}
	table_print(t);
	json_decref(all);
	return CMD_OK;
}

static const char *moment(json_int_t t, char out[64])
{
	time_t at = (time_t)t;
	struct tm tm;

	if (!gmtime_r(&at, &tm))
		return "?";
	strftime(out, 64, "%Y-%m-%d %H:%MZ", &tm);
	return out;
}

static int show(struct registry *reg, const char *name, bool as_json)
{
	char quota[64], *text;
	json_t *found, *value;
	const char *key;
	int rc = find(reg, name, &found);

	if (rc)
		return rc == -ENOENT ? say_failure(name, rc, "") : cmd_fail("cannot read the buckets: %s", registry_error());
	if (as_json)
		return cmd_print_json(found);
	json_object_foreach (found, key, value) {
		text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
		printf("%-12s %s\n", key,
		       !strcmp(key, "quota")	 ? quota_text(found, quota)
		       : !strcmp(key, "created") ? moment(json_integer_value(value), quota)
		       : text			 ? text
						 : web_safe(json_string_value(value)));
		free(text);
	}
	json_decref(found);
	return CMD_OK;
}

static int add(struct registry *reg, const char *name, const struct flags *f)
{
	char err[256] = "";
	enum canned_acl acl = ACL_PRIVATE;
	int rc;

	if (f->acl && acl_parse(f->acl, &acl))
		return cmd_fail("%s is no canned ACL (private, public-read, public-read-write, authenticated-read)", f->acl);
	rc = token_name_valid(f->owner) ? bucket_edit_create(reg, name, f->owner, acl) : -EINVAL;
	if (rc)
		return say_failure(name, rc, err);
	warn_of_stranger(reg, f->owner);
	if (f->json)
		return cmd_print_json(json_pack("{s:s, s:s}", "bucket", name, "done", "add"));
	printf("%s: made, %s owns it\n", name, f->owner);
	return CMD_OK;
}

static int run(const struct cmd *cmd, struct registry *reg, int n, char **words, const struct flags *f)
{
	if (!n || (n == 1 && !strcmp(words[0], "list")))
		return list(reg, f->json);
	if (!strcmp(words[0], "remove") || !strcmp(words[0], "rm") || !strcmp(words[0], "delete"))
		return cmd_usage(cmd, "an S3 client removes a bucket, once it is empty: aws --endpoint-url URL s3 rb s3://%s", n > 1 ? words[1] : "NAME");
	if (n != 2)
		return cmd_usage(cmd, "wants list, show NAME, set NAME --… or add NAME --owner USER");
	if (!strcmp(words[0], "show"))
		return show(reg, words[1], f->json);
	if (!strcmp(words[0], "set"))
		return set(cmd, reg, words[1], f);
	if (!strcmp(words[0], "add") && f->owner)
		return add(reg, words[1], f);
	return cmd_usage(cmd, strcmp(words[0], "add") ? "there is no `weir bucket %s`" : "%s wants --owner USER", words[0]);
}

int cmd_bucket(const struct cmd *cmd, int argc, char **argv)
{
	struct flags f = { .json = false };
	const struct cmd_flag own[] = { { "--quota", &f.quota, NULL },	       { "--objects", &f.objects, NULL },
					{ "--public", &f.is_public, NULL },    { "--browse", &f.browse, NULL },
					{ "--owner", &f.owner, NULL },	       { "--versioning", &f.versioning, NULL },
					{ "--acl", &f.acl, NULL },	       { "--encrypt", &f.encrypt, NULL },
					{ "--policy", &f.policy, NULL },       { "--block", &f.block, NULL },
					{ "--ownership", &f.ownership, NULL }, { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc = CMD_FAILED;
	struct registry *reg;
	struct conf *conf;

	if (n < 0)
		return cmd_exit_of(n);
	f.json = opt.json;
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	if (reg)
		rc = run(cmd, reg, n, argv, &f);
	registry_close(reg);
	conf_free(conf);
	return rc;
}
