/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_lifecycle.c -- what lifecycle rules do to a bucket of real names: objects expire (with
 * a marker where versions are kept), old versions and lone markers go, uploads are aborted, tags
 * and prefixes choose, and what is young stays.
 */
#include "http/store/lifecycle.h"
#include "tests/unit/names_cluster.h"

#include <errno.h>

#define DAY 86400

static struct cluster cluster; /* for its registry alone */
static struct child node;
static char text[4096];

static int tell(void *arg, const char *bucket, const struct name_entry *e)
{
	(void)arg;
	(void)bucket;
	snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s%s ", e->key,
		 e->marker ? "!" : "", e->current ? "*" : "");
	return 0;
}

static void versions_are(const char *bucket, const char *want)
{
	struct names_select s = { .limit = 0 };
	struct names_page page;

	text[0] = '\0';
	assert_int_equal(names_versions(node.names, bucket, &s, tell, NULL, NULL, &page), 0);
	assert_string_equal(text, want);
}

static void add(const char *bucket, const char *key, enum names_mode mode, const char *meta)
{
	static struct name_entry e;
	struct names_how how = { .mode = mode };

	memset(&e, 0, sizeof(e));
	snprintf(e.key, sizeof(e.key), "%s", key);
	new_version(e.version);
	e.version[31] = '1';
	e.size = 5;
	e.meta_len = (unsigned int)snprintf(e.meta, sizeof(e.meta), "%s", meta);
	assert_int_equal(names_put_with(node.names, bucket, &e, &how, NULL), 0);
}

static void drop(const char *bucket, const char *key, enum names_mode mode)
{
	struct names_how how = { .mode = mode };

	assert_int_equal(names_delete_with(node.names, bucket, key, NULL, &how, NULL), 0);
}

/* One walk, so many days from now. */
static void walk(const char *bucket, enum names_mode mode, const char *rules, int days)
{
	char record[1024];
	struct lifecycle_task task = { .bucket = bucket,
				       .mode = mode,
				       .rules = record,
				       .now = time(NULL) + (int64_t)days * DAY };

	snprintf(record, sizeof(record), "{\"rules\":%s}", rules);
	assert_int_equal(lifecycle_walk(NULL, node.names, &task), 0);
}

static bool holds_for(void *arg)
{
	return (*(int *)arg)-- > 0;
}

static uint64_t objects_of(const char *bucket)
{
	struct names_usage u;

	assert_int_equal(names_usage(node.names, bucket, &u), 0);
	return u.objects;
}

/* The rules are taken away, or versions are kept from now on, while a walk is under way: nothing is
 * deleted by the old ones any more. */
static void rules_change(void **state)
{
	int times = 7;
	struct lifecycle_task task = { .bucket = "changed",
				       .mode = NAMES_PLAIN,
				       .rules = "{\"rules\":[{\"enabled\":true,\"prefix\":\"\",\"days\":"
						"1,\"abort_days\":1}]}",
				       .now = time(NULL) + 9 * DAY,
				       .holds = holds_for,
				       .arg = &times };
	static struct name_entry e;
	struct names_usage u;

	(void)state;
	for (int i = 0; i < 60; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%03d", i);
		add("changed", key, NAMES_PLAIN, "");
	}
	assert_int_equal(lifecycle_walk(NULL, node.names, &task), -ESTALE);
	assert_int_equal(objects_of("changed"), 53);
	strcpy(e.key, "up");
	assert_int_equal(names_upload_create(node.names, "changed", &e), 0);
	times = 53;
	assert_int_equal(lifecycle_walk(NULL, node.names, &task), -ESTALE);
	assert_int_equal(names_usage(node.names, "changed", &u), 0);
	assert_true(u.objects == 0 && u.uploads == 1);
}

static void objects_expire(void **state)
{
	static const char rules[] =
		"[{\"id\":\"a\",\"enabled\":true,\"prefix\":\"tmp/\",\"days\":3},"
		"{\"id\":\"b\",\"enabled\":true,\"tags\":{\"k\":\"v\"},\"days\":3},"
		"{\"id\":\"c\",\"enabled\":false,\"prefix\":\"\",\"days\":1}]";

	(void)state;
	add("plain", "keep", NAMES_PLAIN, "");
	add("plain", "tagged", NAMES_PLAIN, "{\"g\":{\"k\":\"v\"}}");
	add("plain", "other", NAMES_PLAIN, "{\"g\":{\"k\":\"w\"}}");
	for (int i = 0; i < 120; i++) { /* more than two pages */
		char key[16];

		snprintf(key, sizeof(key), "tmp/%03d", i);
		add("plain", key, NAMES_PLAIN, "");
	}
	walk("plain", NAMES_PLAIN, rules, 1);
	assert_true(node.names != NULL);
	{
		struct names_usage u;

		assert_int_equal(names_usage(node.names, "plain", &u), 0);
		assert_int_equal(u.objects, 123);
	}
	walk("plain", NAMES_PLAIN, rules, 6);
	versions_are("plain", "keep* other* ");
}

static void versions_expire(void **state)
{
	static const char current[] = "[{\"enabled\":true,\"prefix\":\"\",\"days\":3}]",
			  old[] = "[{\"enabled\":true,\"prefix\":\"\",\"noncurrent_days\":3,"
				  "\"noncurrent_keep\":1,\"marker\":true}]",
			  older[] = "[{\"enabled\":true,\"prefix\":\"\",\"noncurrent_days\":3,"
				    "\"marker\":true}]";

	(void)state;
	for (int i = 0; i < 4; i++)
		add("kept", "a", NAMES_VERSIONED, "");
	add("kept", "b", NAMES_VERSIONED, "");
	drop("kept", "c", NAMES_VERSIONED);
	versions_are("kept", "a* a a a b* c!* ");
	walk("kept", NAMES_VERSIONED, current, 6);
	versions_are("kept", "a!* a a a a b!* b "); /* a lone marker has expired */
	walk("kept", NAMES_VERSIONED, current, 6);  /* a marker does not expire again */
	versions_are("kept", "a!* a a a a b!* b "); /* a lone marker has expired */
	walk("kept", NAMES_VERSIONED, old, 1);
	versions_are("kept", "a!* a a a a b!* b ");
	walk("kept", NAMES_VERSIONED, old, 6);
	versions_are("kept", "a!* a b!* b ");
	/* The first walk leaves the markers alone, the next takes them. */
	walk("kept", NAMES_VERSIONED, older, 6);
	walk("kept", NAMES_VERSIONED, older, 6);
	versions_are("kept", "");
	assert_int_equal(names_bucket_close(node.names, "kept"), 0);
}

static void uploads_are_aborted(void **state)
{
	static const char rules[] = "[{\"enabled\":true,\"prefix\":\"a\",\"abort_days\":2}]";
	static struct name_entry e;
	struct names_usage u;

	(void)state;
	for (int i = 0; i < 130; i++) {
		memset(&e, 0, sizeof(e));
		snprintf(e.key, sizeof(e.key), "%c/%d", i % 13 ? 'a' : 'b', i);
		assert_int_equal(names_upload_create(node.names, "uploads", &e), 0);
	}
	walk("uploads", NAMES_PLAIN, rules, 1);
	assert_int_equal(names_usage(node.names, "uploads", &u), 0);
	assert_int_equal(u.uploads, 130);
	walk("uploads", NAMES_PLAIN, rules, 4);
	assert_int_equal(names_usage(node.names, "uploads", &u), 0);
	assert_int_equal(u.uploads, 10);
}

static int up(void **state)
{
	(void)state;
	cluster_start_lone(&cluster, &node);
	return 0;
}

static int down(void **state)
{
	(void)state;
	cluster_end_lone(&cluster, &node);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_expire),
		cmocka_unit_test(versions_expire),
		cmocka_unit_test(uploads_are_aborted),
		cmocka_unit_test(rules_change),
	};

	log_open("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, up, down);
}
