/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_contract.c -- the engine that is tested, and the short hands of its tests.
 */
#include "tests/unit/store_contract.h"

#include <fcntl.h>

#include "lib/hash.h"

static const struct engine ordered_names = {
	names_put_with,	     names_delete_with,	   names_set_meta,	  names_get_version,
	names_find,	     names_version_used,   names_list_with,	  names_versions,
	names_upload_create, names_upload_get,	   names_part_attempt,	  names_part_put,
	names_parts,	     names_uploads,	   names_upload_complete, names_upload_abort,
	names_bucket_open,   names_bucket_open_if, names_bucket_close,	  names_usage,
	names_each,
};

const struct engine *const engine = &ordered_names;
struct child nodes[2];
unsigned int nnodes;
struct names *names;
char bucket[32];
char order_text[8192];

int tell(void *arg, const char *b, const struct name_entry *entry)
{
	(void)arg;
	assert_string_equal(b, bucket);
	assert_false(entry->deleted);
	snprintf(order_text + strlen(order_text), sizeof(order_text) - strlen(order_text),
		 "%s%s%s ", entry->key, entry->marker ? "!" : "", entry->current ? "*" : "");
	return 0;
}

int tell_prefix(void *arg, const char *b, const char *prefix)
{
	(void)arg;
	assert_string_equal(b, bucket);
	snprintf(order_text + strlen(order_text), sizeof(order_text) - strlen(order_text), "<%s> ",
		 prefix);
	return 0;
}

struct name_entry *entry_of(const char *key, char version[33])
{
	static struct name_entry entry;

	new_version(version);
	version[31] = '1'; /* not a group */
	memset(&entry, 0, sizeof(entry));
	snprintf(entry.key, sizeof(entry.key), "%s", key);
	strcpy(entry.version, version);
	entry.size = 5;
	sha256_once(version, 32, entry.sha256);
	entry.nholders = 1;
	strcpy(entry.holders[0], nodes[0].name);
	return &entry;
}

void data_here(const char *version)
{
	char path[256];

	for (unsigned int i = 0; i < nnodes; i++) {
		snprintf(path, sizeof(path), "%s/data/%s", nodes[i].dir, version);
		close(open(path, O_CREAT | O_WRONLY, 0600));
	}
}

bool data_anywhere(const char *version)
{
	char path[256];
	bool there = false;

	for (unsigned int i = 0; i < nnodes; i++) {
		snprintf(path, sizeof(path), "%s/data/%s", nodes[i].dir, version);
		there |= access(path, F_OK) == 0;
	}
	return there;
}

int put_mode(const char *key, enum names_mode mode, char version[33])
{
	struct names_how how = { .mode = mode };
	bool replaced;
	int rc = engine->put(names, bucket, entry_of(key, version), &how, &replaced);

	data_here(version);
	return rc;
}

int delete_mode(const char *key, const char *version, enum names_mode mode,
		struct names_deleted *out)
{
	struct names_how how = { .mode = mode };

	return engine->del(names, bucket, key, version, &how, out);
}

void listed(const struct names_select *s, const char *want, bool more, struct names_page *page)
{
	struct names_page mine;

	order_text[0] = '\0';
	assert_int_equal(
		engine->list(names, bucket, s, tell, tell_prefix, NULL, page ? page : &mine), 0);
	assert_string_equal(order_text, want);
	assert_int_equal((page ? page : &mine)->more, more);
}

void versions_are(const struct names_select *s, const char *want, bool more,
		  struct names_page *page)
{
	struct names_page mine;

	order_text[0] = '\0';
	assert_int_equal(
		engine->versions(names, bucket, s, tell, tell_prefix, NULL, page ? page : &mine),
		0);
	assert_string_equal(order_text, want);
	assert_int_equal((page ? page : &mine)->more, more);
}

void usage_is(uint64_t objects, uint64_t bytes, uint64_t markers, uint64_t uploads, uint64_t parts)
{
	struct names_usage u;

	assert_int_equal(engine->usage(names, bucket, &u), 0);
	assert_int_equal(u.objects, objects);
	assert_int_equal(u.bytes, bytes);
	assert_int_equal(u.markers, markers);
	assert_int_equal(u.uploads, uploads);
	assert_int_equal(u.parts, parts);
}

void get_is(const char *key, const char *version, int rc, const char *want)
{
	struct name_entry got;

	assert_int_equal(engine->get(names, bucket, key, version, &got), rc);
	if (want)
		assert_string_equal(got.version, want);
}

void upload_new(const char *key, char id[33])
{
	static struct name_entry u;

	memset(&u, 0, sizeof(u));
	snprintf(u.key, sizeof(u.key), "%s", key);
	strcpy(u.meta, "{\"owner\":\"ann\"}");
	u.meta_len = (unsigned int)strlen(u.meta);
	assert_int_equal(engine->create(names, bucket, &u), 0);
	assert_true(names_is_group(u.version));
	strcpy(id, u.version);
}
