/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_reseal.c -- objects' keys in a bucket of real names under a newer sealing key: what is counted, what changes and what
 * stays; a meta that is changed only while its entry is the one that was looked at; which sealing keys may go.
 */
#include <errno.h>
#include <poll.h>
#include <time.h>

#include "http/s3/meta.h"
#include "http/store/reseal.h"
#include "http/store/sealed.h"
#include "lib/reseal_ask.h"
#include "lib/hash.h"
#include "lib/sealing.h"
#include "tests/unit/names_cluster.h"

#define BUCKET "vault"
#define OBJECTS 120 /* more than two pages */
#define PARTS	"{\"k\":\"parts\"}"

static struct cluster cluster; /* for its registry alone */
static struct child node;
static struct users *users;
static struct name_entry entry;

/* ---- keys ---- */

/* A sealing key that seals at once. */
static void add_key(const char *kid, int64_t created)
{
	char path[80], value[200], text[64];
	uint8_t secret[32];

	random_bytes(secret, sizeof(secret));
	base64url_encode(secret, sizeof(secret), text);
	snprintf(path, sizeof(path), REG_SEALING "%s", kid);
	snprintf(value, sizeof(value), "{\"kid\":\"%s\",\"secret\":\"%s\",\"created\":%lld}", kid, text, (long long)created);
	assert_int_equal(registry_put(node.registry, path, value, 0), 0);
}

static void wait_for_key(const char *kid)
{
	char now[SEALING_KID_MAX] = "";

	for (int i = 0; i < 1000 && (users_sealing_kid(users, now) || strcmp(now, kid)); i++)
		poll(NULL, 0, 10);
	assert_string_equal(now, kid);
}

/* ---- what there is ---- */

/* The meta of a version with a key of its own, which is its id twice. */
static void seal_meta(struct name_entry *e, const char *more)
{
	char about[SEALED_ABOUT], text[SEALED_TEXT_MAX(SEALED_KEY)];
	struct version v;

	assert_int_equal(version_parse(&v, e->version), 0);
	assert_int_equal(users_seal(users, sealed_about(&v, about), e->version, SEALED_KEY, text, sizeof(text)), 0);
	e->meta_len = (unsigned int)snprintf(e->meta, sizeof(e->meta), "{\"k\":\"%s\"%s}", text, more);
}

static void add(const char *key, bool sealed)
{
	struct names_how how = { .mode = NAMES_VERSIONED };

	names_entry_clear(&entry);
	snprintf(entry.key, sizeof(entry.key), "%s", key);
	new_version(entry.version);
	entry.version[31] = '1';
	entry.size = 5;
	strcpy(entry.etag, "etag");
	if (sealed)
		seal_meta(&entry, ",\"g\":{\"a\":\"b\"}");
	assert_int_equal(names_put_with(node.names, BUCKET, &entry, &how, NULL), 0);
}

static void add_part(const char *key, const char *id, unsigned int number, bool sealed)
{
	struct names_how how = { .mode = NAMES_VERSIONED };

	names_entry_clear(&entry);
	assert_int_equal(names_part_version(id, number, 1, entry.version), 0);
	entry.size = 7;
	snprintf(entry.etag, sizeof(entry.etag), "part%u", number);
	if (sealed)
		seal_meta(&entry, "");
	assert_int_equal(names_part_put(node.names, BUCKET, key, id, number, &entry, &how), 0);
}

/* An upload of two parts. */
static void add_upload(const char *key, char id[33])
{
	names_entry_clear(&entry);
	snprintf(entry.key, sizeof(entry.key), "%s", key);
	entry.meta_len = (unsigned int)snprintf(entry.meta, sizeof(entry.meta), "{\"k\":\"parts\"}");
	assert_int_equal(names_upload_create(node.names, BUCKET, &entry), 0);
	strcpy(id, entry.version);
	add_part(key, id, 1, true);
	add_part(key, id, 2, true);
}

static void complete(const char *key, const char *id, const char *meta)
{
	struct names_part list[] = { { 1, "part1" }, { 2, "part2" } };
	struct names_how how = { .mode = NAMES_VERSIONED };

	names_entry_clear(&entry);
	strcpy(entry.etag, "whole-2");
	entry.meta_len = (unsigned int)snprintf(entry.meta, sizeof(entry.meta), "%s", meta);
	assert_int_equal(names_upload_complete(node.names, BUCKET, key, id, list, 2, 0, &entry, &how, NULL), 0);
}

/* Of a plain upload, whose second part programs of before have sealed: neither the upload nor the
 * object says so. */
static void add_mixed(const char *key, char id[33])
{
	names_entry_clear(&entry);
	snprintf(entry.key, sizeof(entry.key), "%s", key);
	assert_int_equal(names_upload_create(node.names, BUCKET, &entry), 0);
	strcpy(id, entry.version);
	add_part(key, id, 1, false);
	add_part(key, id, 2, true);
	complete(key, id, "{\"t\":\"text/plain\"}");
}

static struct names_usage usage(void)
{
	struct names_usage u;

	assert_int_equal(names_usage(node.names, BUCKET, &u), 0);
	return u;
}

/* Opens it, with all keys that are there? */
static void opens(const struct name_entry *e)
{
	json_t *meta = s3_meta_read(e->meta);
	char about[SEALED_ABOUT], out[64];
	struct version v;

	assert_int_equal(version_parse(&v, e->version), 0);
	assert_int_equal(users_unseal(users, sealed_about(&v, about), s3_meta_text(meta, S3_META_KEY), out, sizeof(out)), SEALED_KEY);
	assert_memory_equal(out, e->version, SEALED_KEY);
	json_decref(meta);
}

/* ---- walks ---- */

static int rests, rests_max = 1000000;

static bool rest(void *arg)
{
	(void)arg;
	return rests++ < rests_max;
}

static int walk(bool change, const char *newest, struct reseal_task *task)
{
	*task = (struct reseal_task){ .names = node.names, .users = users, .bucket = BUCKET, .newest = newest, .change = change, .rest = rest };
	task->keys = json_object();
	return reseal_walk(task);
}

static long long of(const struct reseal_task *task, const char *kid, const char *what)
{
	return (long long)json_integer_value(json_object_get(json_object_get(task->keys, kid), what));
}

static int check_etag(void *arg, const char *bucket, const struct name_entry *e)
{
	(void)bucket;
	++*(int *)arg;
	opens(e);
	assert_int_equal(e->size, 7);
	assert_int_equal(strncmp(e->etag, "part", 4), 0);
	return 0;
}

static void all_are_sealed_anew(void **state)
{
	static struct name_entry before, after;
	char whole[33], open[33], mixed[33];
	struct reseal_task task;
	struct names_usage u;
	bool more;
	int n = 0;

	(void)state;
	wait_for_key("first");
	for (int i = 0; i < OBJECTS; i++) {
		char key[16];

		snprintf(key, sizeof(key), "o/%03d", i);
		add(key, i % 3 > 0);
	}
	add("twice", true);
	add("twice", true);
	add_upload("whole", whole);
	complete("whole", whole, PARTS);
	add_upload("open", open);
	add_mixed("mixed", mixed);
	assert_int_equal(names_get(node.names, BUCKET, "o/001", &before), 0);
	assert_int_equal(walk(false, "first", &task), 0);
	assert_int_equal(of(&task, "first", "objects"), OBJECTS / 3 * 2 + 2);
	assert_int_equal(of(&task, "first", "parts"), 5);
	json_decref(task.keys);
	u = usage();

	add_key("second", time(NULL) + 1);
	add_key("second", time(NULL)); /* the registry's later word counts */
	wait_for_key("second");
	add("new", true);
	/* interrupted at the second page: what was done is done */
	rests = 0;
	rests_max = 1;
	assert_int_equal(walk(true, "second", &task), -EAGAIN);
	assert_true(task.resealed > 0 && task.resealed < OBJECTS / 3 * 2);
	assert_int_equal(json_object_size(task.keys), 0);
	json_decref(task.keys);
	rests_max = 1000000;
	assert_int_equal(walk(true, "second", &task), 0);
	assert_int_equal(of(&task, "first", "objects") + of(&task, "first", "parts"), 0);
	assert_int_equal(of(&task, "second", "objects"), OBJECTS / 3 * 2 + 3);
	assert_int_equal(of(&task, "second", "parts"), 5);
	assert_int_equal(of(&task, "second", "lost"), 0);
	json_decref(task.keys);
	assert_int_equal(walk(true, "second", &task), 0);
	assert_int_equal(task.resealed, 0);
	json_decref(task.keys);

	assert_int_equal(names_get(node.names, BUCKET, "o/001", &after), 0);
	opens(&after);
	assert_true(strstr(after.meta, "\"k\":\"second.") && strstr(after.meta, "\"g\":{\"a\":\"b\"}"));
	assert_string_equal(before.version, after.version);
	assert_string_equal(before.etag, after.etag);
	assert_true(before.order == after.order && before.modified == after.modified && before.seq < after.seq);
	assert_int_equal(names_parts(node.names, BUCKET, whole, 0, 0, true, check_etag, &n, &more), 0);
	assert_int_equal(names_parts(node.names, BUCKET, open, 0, 0, true, check_etag, &n, &more), 0);
	assert_int_equal(names_parts(node.names, BUCKET, mixed, 1, 0, true, check_etag, &n, &more),
			 0);
	assert_int_equal(n, 5);
	assert_true(usage().objects == u.objects + 1 && usage().bytes == u.bytes + 5 && usage().parts == u.parts && usage().uploads == u.uploads);
	complete("open", open, PARTS);
}

/* The entry was looked at, and is another one when its meta is to be changed. */
static void only_what_was_looked_at(void **state)
{
	static struct name_entry e, now;
	struct names_how how = { .mode = NAMES_PLAIN };
	char id[33];

	(void)state;
	add("changed", true);
	assert_int_equal(names_get(node.names, BUCKET, "changed", &e), 0);
	assert_int_equal(names_set_meta(node.names, BUCKET, "changed", NULL, 0, "{\"a\":\"tags of a client\"}", NULL), 0);
	assert_int_equal(names_set_meta_here(node.names, BUCKET, "changed", &e, "{}"), -ECANCELED);
	assert_int_equal(names_get(node.names, BUCKET, "changed", &now), 0);
	assert_string_equal(now.meta, "{\"a\":\"tags of a client\"}");
	assert_int_equal(names_set_meta_here(node.names, BUCKET, "changed", &now, "{\"b\":\"1\"}"), 0);
	assert_int_equal(names_set_meta_here(node.names, BUCKET, "changed", &now, "{}"), -ECANCELED); /* it was that one a moment ago */
	assert_int_equal(names_get(node.names, BUCKET, "changed", &now), 0);
	assert_string_equal(now.meta, "{\"b\":\"1\"}");
	assert_int_equal(names_delete_with(node.names, BUCKET, "changed", now.version, &how, NULL), 0);
	assert_int_equal(names_set_meta_here(node.names, BUCKET, "changed", &now, "{}"), -ENOENT);
	/* A part goes with its object, and does not come back. */
	add_upload("gone", id);
	complete("gone", id, PARTS);
	assert_int_equal(names_find(node.names, BUCKET, (names_part_version(id, 1, 1, now.version), now.version), &e), 0);
	assert_int_equal(names_delete_with(node.names, BUCKET, "gone", id, &how, NULL), 0);
	assert_int_equal(names_set_meta_here(node.names, BUCKET, "gone", &e, "{}"), -ENOENT);
	assert_int_equal(names_set_meta_here(node.names, "elsewhere", "gone", &e, "{}"), -ENOENT);
}

/* What no key opens is counted under its key's name, and stays. */
static void lost_ones_stay(void **state)
{
	struct reseal_task task;

	(void)state;
	names_entry_clear(&entry);
	add("lost", true);
	assert_int_equal(names_get(node.names, BUCKET, "lost", &entry), 0);
	memcpy(strstr(entry.meta, "second."), "absent", 6);
	assert_int_equal(names_set_meta_here(node.names, BUCKET, "lost", &entry, entry.meta), 0);
	assert_false(users_sealing_lost(users, "second.AAAA"));
	assert_true(users_sealing_lost(users, "absent.AAAA"));
	assert_int_equal(walk(true, "second", &task), 0);
	assert_int_equal(of(&task, "absent", "objects"), 1);
	assert_int_equal(of(&task, "absent", "lost"), 1);
	assert_int_equal(task.resealed, 0);
	json_decref(task.keys);
}

static void a_key_goes(void **state)
{
	struct reseal_wish wish, again;
	json_t *list, *told;

	(void)state;
	assert_int_equal(sealing_key_remove(node.registry, "second"), -EBUSY);
	assert_int_equal(sealing_key_remove(node.registry, "other"), -ENOENT);
	assert_int_equal(sealing_key_remove(node.registry, "first"), 0);
	assert_int_equal(sealing_key_remove(node.registry, "first"), -ENOENT);
	list = sealing_key_list(node.registry);
	assert_int_equal(json_array_size(list), 1);
	assert_true(json_is_true(json_object_get(json_array_get(list, 0), "now")));
	json_decref(list);
	assert_int_equal(reseal_wish_get(node.registry, &wish), -ENOENT);
	assert_int_equal(reseal_wish_post(node.registry, RESEAL_COUNT, &wish), 0);
	assert_int_equal(reseal_wish_get(node.registry, &again), 0);
	assert_true(!strcmp(wish.id, again.id) && !strcmp(again.what, RESEAL_COUNT));
	assert_string_equal(wish.reseal, "");
	/* A reseal is not forgotten when something else is asked for. */
	assert_int_equal(reseal_wish_post(node.registry, RESEAL_RESEAL, &again), 0);
	assert_string_equal(again.reseal, again.id);
	assert_int_equal(reseal_wish_post(node.registry, RESEAL_STILL, &wish), 0);
	assert_int_equal(reseal_wish_post(node.registry, RESEAL_COUNT, &wish), 0);
	assert_true(!strcmp(wish.reseal, again.id) && wish.reseal_at == again.at);
	assert_int_equal(reseal_wish_get(node.registry, &wish), 0);
	assert_true(!strcmp(wish.what, RESEAL_COUNT) && !strcmp(wish.reseal, again.id) && wish.reseal_at == again.at);
	assert_int_equal(reseal_wish_parse("{\"id\":\"0123456789abcdef0123456789abcdef\",\"what\":\"other\"}", 58, &again), -EINVAL);
	assert_int_equal(reseal_wish_parse("{\"id\":\"0\",\"what\":\"count\"}", 25, &again), -EINVAL);
	/* What was told of another wish is no answer to this one. */
	assert_int_equal(registry_put(node.registry, REG_RESEAL_TOLD "ep-0", "{\"id\":\"0\",\"done\":true}", 0), 0);
	assert_int_equal(reseal_told(node.registry, &wish, &told), 0);
	assert_true(json_is_null(json_object_get(json_object_get(told, "ep-0"), "told")));
	json_decref(told);
}

/* Who looks for buckets that came looks only when one did. */
static void buckets_that_come_are_counted(void **state)
{
	struct names_how how = { .mode = NAMES_PLAIN };
	uint64_t before = names_came(node.names);
	struct names_record moved = { .epoch = 99 };
	struct bucket *b;

	(void)state;
	for (int i = 0; i < 3; i++) {
		names_entry_clear(&entry);
		snprintf(entry.key, sizeof(entry.key), "k%d", i);
		new_version(entry.version);
		assert_int_equal(names_put_with(node.names, "comes", &entry, &how, NULL), 0);
	}
	assert_int_equal(names_came(node.names), before + 1);
	b = bucket_look(node.names, "comes");
	assert_non_null(b);
	strcpy(moved.primary, "ep-9");
	record_learn(node.names, b, &moved, INT64_MAX - 1);
	assert_int_equal(names_came(node.names), before + 1);
	moved.epoch++;
	strcpy(moved.primary, node.name);
	record_learn(node.names, b, &moved, INT64_MAX);
	assert_int_equal(names_came(node.names), before + 2);
}

/* What opens and cannot be sealed by a key of a longer name is no lost one. */
static void full_ones_stay(void **state)
{
	struct names_how how = { .mode = NAMES_VERSIONED };
	char more[NAMES_META_MAX], fill[NAMES_META_MAX];
	struct reseal_task task;

	(void)state;
	names_entry_clear(&entry);
	strcpy(entry.key, "full");
	new_version(entry.version);
	entry.version[31] = '1';
	entry.size = 5;
	strcpy(entry.etag, "etag");
	seal_meta(&entry, ",\"u\":{\"a\":\"\"}");
	memset(fill, 'x', sizeof(fill));
	snprintf(more, sizeof(more), ",\"u\":{\"a\":\"%.*s\"}",
		 (int)(NAMES_META_MAX - entry.meta_len), fill);
	seal_meta(&entry, more);
	assert_int_equal(entry.meta_len, NAMES_META_MAX);
	assert_int_equal(names_put_with(node.names, BUCKET, &entry, &how, NULL), 0);
	add_key("longername", time(NULL) + 1);
	wait_for_key("longername");
	assert_int_equal(walk(true, "longername", &task), 0);
	assert_int_equal(of(&task, "second", "objects"), 1);
	assert_int_equal(of(&task, "second", "full"), 1);
	assert_int_equal(of(&task, "second", "lost"), 0);
	assert_int_equal(of(&task, "second", "parts"), 0);
	assert_int_equal(of(&task, "longername", "full"), 0);
	json_decref(task.keys);
}

static int up(void **state)
{
	(void)state;
	cluster_start_lone(&cluster, &node);
	return users_open(&users, node.registry, NULL, NULL);
}

static int down(void **state)
{
	(void)state;
	users_close(users);
	cluster_end_lone(&cluster, &node);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_are_sealed_anew),
		cmocka_unit_test(only_what_was_looked_at),
		cmocka_unit_test(lost_ones_stay),
		cmocka_unit_test(a_key_goes),
		cmocka_unit_test(buckets_that_come_are_counted),
		cmocka_unit_test(full_ones_stay),
	};

	log_open("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, up, down);
}
