/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tunnel_publish.c -- when names are published and what they lead to; the table from bytes to
 * pointers that the edge keeps tunnels in.
 */
#include "tests/unit/unit.h"

#include "user/tunnel/index.h"
#include "user/tunnel/publish_model.h"
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
	assert_false(publish_relative("edge.example", "edge.example", out, sizeof(out)));
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
	assert_string_equal(text, "{\"edge.example/app/A\":[\"198.51.100.7\"],"
				  "\"edge.example/app/AAAA\":[\"2001:db8::7\"]}");
	free(text);
	text = records_text(&t, "edge.example", "[\"198.51.100.7\",\"198.51.100.8\"]", "[]");
	assert_string_equal(text, "{\"edge.example/app/A\":[\"198.51.100.7\",\"198.51.100.8\"]}");
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
	value = published_make(77, 1000, records, silent, NULL);
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

/* ---- the model ---- */

static struct model model;
static struct model_plan todo;
static int64_t clock_ms, revision;

static void tell(enum model_table table, const char *key, const char *text)
{
	model_put(&model, table, key, text, ++revision, clock_ms);
}

static void tunnel(const char *name, const char *hostname, const char *address)
{
	struct tunnel t = { .nhostnames = 1, .generation = 1, .nports = 1 };
	char *text;

	snprintf(t.name, sizeof(t.name), "%s", name);
	snprintf(t.hostnames[0], sizeof(t.hostnames[0]), "%s", hostname);
	if (*address)
		addr_parse(&t.address, address);
	t.ports[0] = (struct tunnel_port){ 80, TUNNEL_HTTP };
	text = tunnel_format(&t);
	assert_non_null(text);
	tell(MODEL_TUNNELS, name, text);
	free(text);
}

static void acknowledge(const char *who)
{
	char text[64];

	snprintf(text, sizeof(text), "{\"revision\":%lld}", (long long)revision);
	tell(MODEL_ROUTED, who, text);
}

static size_t think(void)
{
	model_plan_free(&todo);
	model_plan(&model, clock_ms, 1000, &todo);
	return todo.n;
}

/* As the registry would: the transaction is done, and heard of. */
static void act(void)
{
	for (size_t i = 0; i < todo.n; i++) {
		const char *name = todo.actions[i].key + strlen(REG_PUBLISHED), *record;
		char mark[TUNNEL_NAME_MAX + 32];
		json_t *value;
		size_t k;

		snprintf(mark, sizeof(mark), "{\"tunnel\":\"%s\"}", name);
		json_array_foreach (todo.actions[i].deletes, k, value)
			model_delete(&model, MODEL_RECORDS, json_string_value(value));
		json_object_foreach (todo.actions[i].puts, record, value)
			tell(MODEL_RECORDS, record, mark);
		if (todo.actions[i].value)
			tell(MODEL_PUBLISHED, name, todo.actions[i].value);
		else
			model_delete(&model, MODEL_PUBLISHED, name);
	}
}

static char *dump(const json_t *o)
{
	static char text[512];
	char *s = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	snprintf(text, sizeof(text), "%s", s ? s : "null");
	free(s);
	return text;
}

static int two_edges(void **state)
{
	(void)state;
	model = (struct model){ .zone = "edge.example", .timeout_ms = 5000 };
	todo = (struct model_plan){ 0 };
	clock_ms = 1000000;
	revision = 100;
	tell(MODEL_EDGES, "n1", "{\"public\":[\"192.0.2.1\"]}");
	tell(MODEL_EDGES, "n2", "{\"public\":[\"192.0.2.2\",\"2001:db8::2\"]}");
	tell(MODEL_AGENTS, "n2", "{\"tunnels\":true}");
	tell(MODEL_AGENTS, "n3", "{\"services\":[]}"); /* has no tunnels: not asked */
	return 0;
}

static int model_over(void **state)
{
	(void)state;
	model_plan_free(&todo);
	model_clear(&model);
	return 0;
}

static void published_when_all_route_it(void **state)
{
	(void)state;
	tunnel("app", "app.edge.example", "198.51.100.7");
	assert_int_equal(think(), 0);
	acknowledge("edge/n1");
	acknowledge("edge/n2");
	clock_ms += 4999;
	assert_int_equal(think(), 0); /* n2's agent is silent */
	acknowledge("agent/n2");
	assert_int_equal(think(), 1);
	assert_string_equal(todo.actions[0].key, REG_PUBLISHED "app");
	assert_string_equal(todo.actions[0].guard, REG_TUNNELS "app");
	assert_int_equal(todo.actions[0].guard_revision, 105);
	assert_int_equal(todo.actions[0].was_revision, 0);
	assert_string_equal(dump(todo.actions[0].puts),
			    "{\"edge.example/app/A\":[\"198.51.100.7\"]}");
	assert_null(todo.actions[0].silent);
	act();
	assert_int_equal(think(), 0);
	clock_ms += 100000;
	assert_int_equal(think(), 0);
}

static void an_old_acknowledgement_is_none(void **state)
{
	(void)state;
	tunnel("one", "one.edge.example", "198.51.100.7");
	acknowledge("edge/n1");
	acknowledge("edge/n2");
	acknowledge("agent/n2");
	assert_int_equal(think(), 1);
	act();
	tunnel("one", "other.edge.example", "198.51.100.7");
	assert_int_equal(think(), 1); /* the name that went does not wait */
	assert_string_equal(dump(todo.actions[0].deletes), "[\"edge.example/one/A\"]");
	assert_null(todo.actions[0].puts);
	act();
	assert_int_equal(think(), 0); /* … the one that comes does */
	acknowledge("edge/n1");
	acknowledge("edge/n2");
	acknowledge("agent/n2");
	assert_int_equal(think(), 1);
	assert_string_equal(dump(todo.actions[0].puts),
			    "{\"edge.example/other/A\":[\"198.51.100.7\"]}");
}

static void the_silent_are_named_until_they_speak(void **state)
{
	(void)state;
	tunnel("app", "app.edge.example", "198.51.100.7");
	acknowledge("edge/n1");
	clock_ms += 5000;
	assert_int_equal(think(), 1);
	assert_string_equal(dump(todo.actions[0].silent), "[\"n2\"]");
	assert_non_null(strstr(todo.actions[0].value, "\"silent\":[\"n2\"]"));
	act();
	assert_int_equal(think(), 0);
	tell(MODEL_EDGES, "n4", "{}"); /* new since: was not asked, is not named */
	assert_int_equal(think(), 0);
	acknowledge("edge/n4");
	acknowledge("edge/n2");
	acknowledge("agent/n2");
	assert_int_equal(think(), 1);
	assert_non_null(strstr(todo.actions[0].value, "\"silent\":[]"));
	act();
	assert_int_equal(think(), 0);
}

static void a_node_that_dies_is_not_waited_for(void **state)
{
	(void)state;
	tunnel("app", "app.edge.example", "198.51.100.7");
	acknowledge("edge/n1");
	assert_int_equal(think(), 0);
	model_delete(&model, MODEL_EDGES, "n2");
	model_delete(&model, MODEL_AGENTS, "n2");
	assert_int_equal(think(), 1);
	assert_null(todo.actions[0].silent);
}

static void a_removed_tunnel_takes_its_names(void **state)
{
	(void)state;
	tunnel("app", "app.edge.example", "198.51.100.7");
	clock_ms += 5000;
	think();
	act();
	model_delete(&model, MODEL_TUNNELS, "app");
	assert_int_equal(think(), 1);
	assert_null(todo.actions[0].value);
	assert_int_equal(todo.actions[0].guard_revision, 0); /* must still be gone */
	assert_int_equal(todo.actions[0].was_revision, revision);
	assert_string_equal(dump(todo.actions[0].deletes), "[\"edge.example/app/A\"]");
	act();
	assert_int_equal(think(), 0);
}

/* Another tenant has the hostname, and is published already: its record stays. */
static void what_is_anothers_now_stays(void **state)
{
	(void)state;
	tunnel("old", "app.edge.example", "198.51.100.7");
	clock_ms += 5000;
	think();
	act();
	model_delete(&model, MODEL_TUNNELS, "old");
	tell(MODEL_PUBLISHED, "new",
	     "{\"revision\":1000,\"at\":1,\"silent\":[],\"records\":"
	     "{\"edge.example/app/A\":[\"198.51.100.8\"]}}");
	tell(MODEL_RECORDS, "edge.example/app/A", "{\"tunnel\":\"new\"}");
	tunnel("new", "app.edge.example", "198.51.100.8");
	assert_int_equal(think(), 1);
	assert_string_equal(todo.actions[0].key, REG_PUBLISHED "old");
	assert_string_equal(dump(todo.actions[0].deletes), "[]");
}

/* Records that people, or other programs, put into the zone are never replaced and never removed.
 */
static void what_no_tunnel_made_stays(void **state)
{
	(void)state;
	tell(MODEL_RECORDS, "edge.example/app/A", "{\"ttl\":60,\"values\":[\"192.0.2.99\"]}");
	tunnel("app", "app.edge.example", "198.51.100.7");
	clock_ms += 5000;
	assert_int_equal(think(), 1);
	assert_string_equal(dump(todo.actions[0].puts), "{}");
	assert_string_equal(dump(todo.actions[0].taken), "[\"edge.example/app/A\"]");
	assert_non_null(strstr(todo.actions[0].value, "\"taken\":[\"edge.example/app/A\"]"));
	act();
	assert_int_equal(think(), 0);
	/* It is given up: the tunnel gets its name by itself, and only if nobody was faster. */
	model_delete(&model, MODEL_RECORDS, "edge.example/app/A");
	assert_int_equal(think(), 1);
	assert_string_equal(dump(todo.actions[0].puts),
			    "{\"edge.example/app/A\":[\"198.51.100.7\"]}");
	assert_string_equal(dump(todo.actions[0].were), "{\"edge.example/app/A\":0}");
	act();
	assert_int_equal(think(), 0);
	/* It is overwritten by hand, then the tunnel goes. */
	tell(MODEL_RECORDS, "edge.example/app/A", "{\"ttl\":60,\"values\":[\"192.0.2.99\"]}");
	model_delete(&model, MODEL_TUNNELS, "app");
	assert_int_equal(think(), 1);
	assert_string_equal(dump(todo.actions[0].deletes), "[]");
}

/* A record goes only as it was seen. */
static void a_removal_names_the_revision(void **state)
{
	char were[80];

	(void)state;
	tunnel("app", "app.edge.example", "198.51.100.7");
	clock_ms += 5000;
	think();
	act();
	snprintf(were, sizeof(were), "{\"edge.example/app/A\":%lld}", (long long)revision - 1);
	model_delete(&model, MODEL_TUNNELS, "app");
	assert_int_equal(think(), 1);
	assert_string_equal(dump(todo.actions[0].were), were);
}

/* Without addresses of their own tunnels are where their origins are. */
static void names_follow_attachments(void **state)
{
	(void)state;
	tunnel("app", "app.edge.example", "");
	clock_ms += 5000;
	assert_int_equal(think(), 1); /* nowhere yet: any edge says so */
	assert_string_equal(dump(todo.actions[0].puts),
			    "{\"edge.example/app/A\":[\"192.0.2.1\",\"192.0.2.2\"],"
			    "\"edge.example/app/AAAA\":[\"2001:db8::2\"]}");
	act();
	tell(MODEL_ATTACHED, "app/n1", "{}");
	assert_int_equal(think(), 1); /* AAAA goes first */
	act();
	assert_int_equal(think(), 1);
	assert_string_equal(dump(todo.actions[0].puts), "{\"edge.example/app/A\":[\"192.0.2.1\"]}");
	act();
	assert_int_equal(think(), 0);
	model_delete(&model, MODEL_ATTACHED, "app/n1"); /* the origin stops: its name stays */
	assert_int_equal(think(), 0);
	tell(MODEL_ATTACHED, "app/n2", "{}");
	assert_int_equal(think(), 1);
	assert_string_equal(dump(todo.actions[0].puts),
			    "{\"edge.example/app/A\":[\"192.0.2.2\"],"
			    "\"edge.example/app/AAAA\":[\"2001:db8::2\"]}");
}

static void addresses_leave_quarantine(void **state)
{
	char key[128];
	int64_t at;

	(void)state;
	tell(MODEL_ADDRESSES, "198.51.100.1", "{\"tunnel\":\"app\"}");
	tell(MODEL_ADDRESSES, "198.51.100.2", "{\"until\":1001}");
	assert_false(model_free_address(&model, 1000, key, sizeof(key), &at));
	assert_true(model_free_address(&model, 1001, key, sizeof(key), &at));
	assert_string_equal(key, REG_ADDRESSES "198.51.100.2");
	assert_int_equal(at, revision);
}

#define MODEL(f) cmocka_unit_test_setup_teardown(f, two_edges, model_over)

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
		MODEL(published_when_all_route_it),
		MODEL(an_old_acknowledgement_is_none),
		MODEL(the_silent_are_named_until_they_speak),
		MODEL(a_node_that_dies_is_not_waited_for),
		MODEL(a_removed_tunnel_takes_its_names),
		MODEL(what_is_anothers_now_stays),
		MODEL(what_no_tunnel_made_stays),
		MODEL(a_removal_names_the_revision),
		MODEL(names_follow_attachments),
		MODEL(addresses_leave_quarantine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
