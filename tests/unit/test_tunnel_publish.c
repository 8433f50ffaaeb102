/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tunnel_publish.c -- when names are published and what they lead to; the table from bytes to
 * pointers that the edge keeps tunnels in.
 */
#include "tests/unit/unit.h"

#include "user/tunnel/index.h"
#include "user/tunnel/publish_plan.h"

static char *silent_text(const json_t *silent)
{
	static char text[256];
	char *s = json_dumps(silent, JSON_COMPACT);

	snprintf(text, sizeof(text), "%s", s);
	free(s);
	return text;
}

static void all_have_acknowledged(void **state)
{
	const struct publish_live live[] = { { "n1", 12 }, { "n2", 14 }, { "n1", 12 } };
	json_t *silent;

	(void)state;
	assert_true(publish_may(12, live, 3, 0, 5000, &silent));
	assert_string_equal(silent_text(silent), "[]");
	json_decref(silent);
	assert_true(publish_may(12, live, 0, 0, 5000,
				&silent)); /* nobody lives: nobody is waited for */
	json_decref(silent);
}

static void one_is_waited_for_then_named(void **state)
{
	const struct publish_live live[] = { { "n1", 12 }, { "n2", 11 }, { "n3", 0 }, { "n2", 3 } };
	json_t *silent;

	(void)state;
	assert_false(publish_may(12, live, 4, 4999, 5000, &silent));
	assert_string_equal(silent_text(silent), "[]");
	json_decref(silent);
	assert_true(publish_may(12, live, 4, 5000, 5000, &silent));
	assert_string_equal(silent_text(silent),
			    "[\"n2\",\"n3\"]"); /* its agent and its edge: once */
	json_decref(silent);
}

static void names_in_a_zone(void **state)
{
	char out[64];

	(void)state;
	assert_true(publish_relative("app.edge.example", "edge.example", out, sizeof(out)));
	assert_string_equal(out, "app");
	assert_true(publish_relative("a.b.edge.example", "edge.example.", out, sizeof(out)));
	assert_string_equal(out, "a.b");
	assert_true(publish_relative("edge.example", "edge.example", out, sizeof(out)));
	assert_string_equal(out, "@");
	assert_true(publish_relative("app.edge.example", "Edge.Example", out, sizeof(out)));
	assert_string_equal(out, "app");
	assert_false(publish_relative("notedge.example", "edge.example", out, sizeof(out)));
	assert_false(publish_relative("app.other.example", "edge.example", out, sizeof(out)));
	assert_false(publish_relative("example", "edge.example", out, sizeof(out)));
	assert_false(publish_relative("app.edge.example", "edge.example", out, 3));
}

static char *records_text(const struct tunnel *t, const char *zone, const char *v4, const char *v6)
{
	json_t *a = json_loads(v4, 0, NULL), *b = json_loads(v6, 0, NULL);
	json_t *records = publish_records(t, zone, a, b);
	char *text = json_dumps(records, JSON_COMPACT | JSON_SORT_KEYS);

	json_decref(a);
	json_decref(b);
	json_decref(records);
	return text;
}

static void records_of_a_tunnel(void **state)
{
	struct tunnel t = { .nhostnames = 3 };
	char *text;

	(void)state;
	strcpy(t.hostnames[0], "app.edge.example");
	strcpy(t.hostnames[1], "www.elsewhere.example");
	strcpy(t.hostnames[2], "edge.example");
	text = records_text(&t, "edge.example.", "[\"198.51.100.7\"]", "[\"2001:db8::7\"]");
	assert_string_equal(text, "{\"edge.example/@/A\":[\"198.51.100.7\"],"
				  "\"edge.example/@/AAAA\":[\"2001:db8::7\"],"
				  "\"edge.example/app/A\":[\"198.51.100.7\"],"
				  "\"edge.example/app/AAAA\":[\"2001:db8::7\"]}");
	free(text);
	text = records_text(&t, "edge.example", "[\"198.51.100.7\",\"198.51.100.8\"]", "[]");
	assert_string_equal(text, "{\"edge.example/@/A\":[\"198.51.100.7\",\"198.51.100.8\"],"
				  "\"edge.example/app/A\":[\"198.51.100.7\",\"198.51.100.8\"]}");
	free(text);
	text = records_text(&t, NULL, "[\"198.51.100.7\"]", "[]");
	assert_string_equal(text, "{}");
	free(text);
}

static void what_was_published_is_read_again(void **state)
{
	json_t *records = json_pack("{s:[s]}", "z.example/a/A", "198.51.100.1"), *value;
	json_t *silent = json_pack("[s]", "n2");
	struct published p;

	(void)state;
	value = published_make(77, 1000, records, silent);
	published_read(&p, value);
	assert_int_equal(p.revision, 77);
	assert_true(json_equal(p.records, records));
	assert_true(json_equal(p.silent, silent));
	json_decref(value);
	json_decref(records);
	json_decref(silent);
	published_read(&p, NULL);
	assert_int_equal(p.revision, 0);
	assert_null(p.records);
	assert_null(p.silent);
}

static void index_finds_what_was_added(void **state)
{
	struct index ix = { 0 };
	static int values[2000];
	struct index_node *node = NULL;
	char key[16];
	size_t n = 0;

	(void)state;
	assert_null(index_find(&ix, "x", 1));
	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		assert_int_equal(index_add(&ix, key, strlen(key), &values[i]), 0);
	}
	for (int i = 0; i < 2000; i += 2) {
		snprintf(key, sizeof(key), "key%d", i);
		index_remove(&ix, key, strlen(key), &values[i]);
	}
	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		node = index_find(&ix, key, strlen(key));
		if (i % 2)
			assert_ptr_equal(node->value, &values[i]);
		else
			assert_null(node);
	}
	for (node = index_next(&ix, NULL); node; node = index_next(&ix, node))
		n++;
	assert_int_equal(n, 1000);
	index_free(&ix);
	assert_null(index_next(&ix, NULL));
}

/* Two tunnels have one hostname for the moment in which it moves. */
static void index_keeps_both_of_one_key(void **state)
{
	struct index ix = { 0 };
	int a, b;
	struct index_node *node;

	(void)state;
	index_add(&ix, "h", 1, &a);
	index_add(&ix, "h", 1, &b);
	index_remove(&ix, "h", 1, &a);
	node = index_find(&ix, "h", 1);
	assert_ptr_equal(node->value, &b);
	assert_null(index_again(node));
	index_add(&ix, "h", 1, &a);
	node = index_find(&ix, "h", 1);
	assert_non_null(index_again(node));
	assert_ptr_not_equal(node->value, index_again(node)->value);
	index_free(&ix);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_have_acknowledged),
		cmocka_unit_test(one_is_waited_for_then_named),
		cmocka_unit_test(names_in_a_zone),
		cmocka_unit_test(records_of_a_tunnel),
		cmocka_unit_test(what_was_published_is_read_again),
		cmocka_unit_test(index_finds_what_was_added),
		cmocka_unit_test(index_keeps_both_of_one_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
