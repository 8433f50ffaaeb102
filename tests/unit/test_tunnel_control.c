/* SPDX-License-Identifier: Apache-2.0 */
/* control.c: each kind of line survives writing and reading, strangers' lines are refused, streams
 * are cut into lines however they arrive. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "user/tunnel/control.h"

static int parse(struct control *c, const char *line)
{
	return control_parse(c, line, strlen(line));
}

/* Written, read and written again gives the same. */
static void round_trip(const struct control *c, const char *want)
{
	struct control again;
	char *first = control_format(c), *second;

	assert_non_null(first);
	assert_string_equal(first, want);
	assert_int_equal(control_parse(&again, first, strlen(first) - 1), 0);
	assert_int_equal(again.kind, c->kind);
	second = control_format(&again);
	assert_string_equal(first, second);
	free(first);
	free(second);
}

static void every_kind_survives(void **state)
{
	struct control c = { .kind = CONTROL_EDGE_HELLO,
			     .version = "0.1.0",
			     .edge = "edge-a",
			     .site = "athens",
			     .tunnel = "app",
			     .generation = 1ull << 40,
			     .edges = { "198.18.0.1:8443", "[2001:db8::1]:8443", "edge.example:1" },
			     .nedges = 3 };

	(void)state;
	round_trip(&c,
		   "{\"hello\":{\"version\":\"0.1.0\",\"edge\":\"edge-a\",\"site\":\"athens\","
		   "\"tunnel\":\"app\",\"generation\":1099511627776,\"edges\":[\"198.18.0.1:8443\","
		   "\"[2001:db8::1]:8443\",\"edge.example:1\"]}}\n");
	c.kind = CONTROL_EDGES;
	c.nedges = 1;
	round_trip(&c, "{\"edges\":[\"198.18.0.1:8443\"]}\n");
	c.nedges = 0;
	round_trip(&c, "{\"edges\":[]}\n");
	c = (struct control){ .kind = CONTROL_ORIGIN_HELLO,
			      .version = "0.1.0",
			      .origin = "0123abcd",
			      .hostnames = { "app.edge.example", "www.edge.example" },
			      .nhostnames = 2,
			      .ports = { 22, 65535 },
			      .nports = 2,
			      .connections = 4 };
	round_trip(&c, "{\"hello\":{\"version\":\"0.1.0\",\"origin\":\"0123abcd\",\"hostnames\":"
		       "[\"app.edge.example\",\"www.edge.example\"],\"ports\":[22,65535],"
		       "\"connections\":4}}\n");
	c = (struct control){ .kind = CONTROL_LOAD, .cpu = 0.31, .inflight = 3 };
	round_trip(&c, "{\"load\":{\"cpu\":0.31,\"inflight\":3}}\n");
	c = (struct control){ .kind = CONTROL_DRAIN };
	round_trip(&c, "{\"drain\":true}\n");
	c.kind = CONTROL_DETACH;
	round_trip(&c, "{\"detach\":true}\n");
	c.back = true;
	round_trip(&c, "{\"detach\":true,\"back\":true}\n");
}

static void full_hellos_fit_a_line(void **state)
{
	struct control *c = calloc(1, sizeof(*c)), *again = calloc(1, sizeof(*again));
	char *line;

	(void)state;
	c->kind = CONTROL_ORIGIN_HELLO;
	strcpy(c->origin, "x");
	for (c->nhostnames = 0; c->nhostnames < TUNNEL_HOSTNAMES_MAX; c->nhostnames++)
		memset(c->hostnames[c->nhostnames], 'a', TUNNEL_HOSTNAME_MAX - 1);
	for (c->nports = 0; c->nports < TUNNEL_PORTS_MAX; c->nports++)
		c->ports[c->nports] = 65535;
	line = control_format(c);
	assert_int_equal(control_parse(again, line, strlen(line) - 1), 0);
	assert_memory_equal(again->hostnames, c->hostnames, sizeof(c->hostnames));
	free(line);
	memset(c, 0, sizeof(*c));
	c->kind = CONTROL_EDGES;
	for (c->nedges = 0; c->nedges < CONTROL_EDGES_MAX; c->nedges++)
		snprintf(c->edges[c->nedges], sizeof(c->edges[0]), "%0*d.example:65535", 65, 1);
	line = control_format(c);
	assert_int_equal(control_parse(again, line, strlen(line) - 1), 0);
	assert_int_equal(again->nedges, CONTROL_EDGES_MAX);
	free(line);
	free(again);
	free(c);
}

static void other_versions_are_understood(void **state)
{
	struct control c;

	(void)state;
	assert_int_equal(parse(&c, "{\"hello\":{\"edge\":\"e\",\"tunnel\":\"t\",\"generation\":0,"
				   "\"new\":{\"x\":[1]}},\"more\":1}"),
			 0);
	assert_int_equal(c.kind, CONTROL_EDGE_HELLO);
	assert_string_equal(c.version, "");
	assert_int_equal(parse(&c, " {\"load\":{}} "), 0);
	assert_int_equal(parse(&c, "{\"load\":{\"cpu\":1,\"memory\":0.5}}"), 0);
	assert_true(c.cpu == 1 && c.inflight == 0);
}

static void refuses_the_rest(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"null",
		"1",
		"{}",
		"{\"what\":1}",
		"{\"drain\":true}x",
		"{\"drain\":true}{\"drain\":true}",
		"{\"drain\":false}",
		"{\"drain\":1}",
		"{\"detach\":null}",
		"{\"drain\":true,\"drain\":true}",
		"{\"hello\":[]}",
		"{\"hello\":{}}",
		"{\"hello\":{\"origin\":\"\"}}",
		"{\"hello\":{\"origin\":\"012345678901234567890123456789012\"}}",
		"{\"hello\":{\"origin\":\"a b\"}}",
		"{\"hello\":{\"origin\":\"a\\u0000\"}}",
		"{\"hello\":{\"origin\":\"a\",\"version\":\"1\\n2\"}}",
		"{\"hello\":{\"origin\":\"a\",\"ports\":[0]}}",
		"{\"hello\":{\"origin\":\"a\",\"ports\":[65536]}}",
		"{\"hello\":{\"origin\":\"a\",\"ports\":[1.5]}}",
		"{\"hello\":{\"origin\":\"a\",\"ports\":80}}",
		"{\"hello\":{\"origin\":\"a\",\"hostnames\":[\"A.example\"]}}",
		"{\"hello\":{\"origin\":\"a\",\"hostnames\":[\"\"]}}",
		"{\"hello\":{\"origin\":\"a\",\"hostnames\":[1]}}",
		"{\"hello\":{\"origin\":\"a\",\"connections\":-1}}",
		"{\"hello\":{\"edge\":\"e\",\"generation\":1}}",
		"{\"hello\":{\"edge\":\"e\",\"tunnel\":\"T\",\"generation\":1}}",
		"{\"hello\":{\"edge\":\"e\",\"tunnel\":\"t\",\"generation\":-1}}",
		"{\"hello\":{\"edge\":\"e\",\"tunnel\":\"t\",\"generation\":\"1\"}}",
		"{\"hello\":{\"edge\":1,\"tunnel\":\"t\",\"generation\":1}}",
		"{\"edges\":{}}",
		"{\"edges\":[\"x\"]}",
		"{\"edges\":[\":1\"]}",
		"{\"edges\":[\"x:\"]}",
		"{\"edges\":[\"x:0\"]}",
		"{\"edges\":[\"x:65536\"]}",
		"{\"edges\":[\"x:1a\"]}",
		"{\"edges\":[\"x y:1\"]}",
		"{\"edges\":[1]}",
		"{\"load\":1}",
		"{\"load\":{\"cpu\":-1}}",
		"{\"load\":{\"cpu\":\"1\"}}",
		"{\"load\":{\"cpu\":1e300}}",
		"{\"load\":{\"inflight\":-1}}",
		"{\"load\":{\"inflight\":0.5}}",
	};
	struct control c = { .kind = CONTROL_LOAD, .inflight = 77 };
	char *deep = malloc(CONTROL_LINE_MAX + 2);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(parse(&c, bad[i]), -EINVAL);
		assert_int_equal(c.inflight, 77);
	}
	memset(deep, '[', CONTROL_LINE_MAX + 1);
	assert_int_equal(control_parse(&c, deep, CONTROL_LINE_MAX), -EINVAL);
	memset(deep, ' ', CONTROL_LINE_MAX + 1);
	memcpy(deep, "{\"drain\":true}", 14);
	assert_int_equal(control_parse(&c, deep, CONTROL_LINE_MAX), 0);
	assert_int_equal(control_parse(&c, deep, CONTROL_LINE_MAX + 1), -EINVAL);
	free(deep);
}

struct lines {
	char text[256];
	int n, fail_at;
};

static int gather(void *arg, const char *line, size_t len)
{
	struct lines *l = arg;

	if (++l->n == l->fail_at)
		return -ECANCELED;
	strncat(l->text, line, len);
	strcat(l->text, "|");
	return 0;
}

static void cuts_streams(void **state)
{
	static const char stream[] = "one\ntwo\n\nthree and more\nfour";

	(void)state;
	for (size_t part = 1; part <= sizeof(stream); part++) {
		struct control_reader r = { 0 };
		struct lines l = { 0 };

		for (size_t at = 0; at < sizeof(stream) - 1; at += part) {
			size_t n = sizeof(stream) - 1 - at < part ? sizeof(stream) - 1 - at : part;

			assert_int_equal(control_feed(&r, stream + at, n, gather, &l), 0);
		}
		assert_string_equal(l.text, "one|two||three and more|");
		assert_int_equal(control_feed(&r, "!\n", 2, gather, &l), 0);
		assert_string_equal(l.text, "one|two||three and more|four!|");
		control_reader_free(&r);
	}
}

static void stops_where_it_must(void **state)
{
	struct control_reader r = { 0 };
	struct lines l = { .fail_at = 2 };
	char *much = malloc(CONTROL_LINE_MAX + 2);

	(void)state;
	assert_int_equal(control_feed(&r, "a\nb\nc\n", 6, gather, &l), -ECANCELED);
	assert_string_equal(l.text, "a|");
	control_reader_free(&r);
	memset(much, 'x', CONTROL_LINE_MAX + 1);
	assert_int_equal(control_feed(&r, much, CONTROL_LINE_MAX, gather, &l), 0);
	assert_int_equal(control_feed(&r, "x", 1, gather, &l), -EMSGSIZE);
	control_reader_free(&r);
	much[CONTROL_LINE_MAX + 1] = '\n';
	assert_int_equal(control_feed(&r, much, CONTROL_LINE_MAX + 2, gather, &l), -EMSGSIZE);
	control_reader_free(&r);
	free(much);
}

static void waits_within_bounds(void **state)
{
	const struct control drain = { .kind = CONTROL_DRAIN };
	struct control_writer w = { 0 };
	size_t one;

	(void)state;
	control_write(&w, &drain);
	one = w.len;
	assert_int_equal(one, strlen("{\"drain\":true}\n"));
	control_write(&w, &drain);
	control_written(&w, one + 2); /* in the middle of the second */
	assert_int_equal(w.len, one - 2);
	assert_memory_equal(w.text, "drain\":true}\n", w.len);
	for (int i = 0; i < 100000; i++)
		control_write(&w, &drain);
	assert_in_range(w.len, CONTROL_WAIT_MAX - one, CONTROL_WAIT_MAX);
	assert_int_equal(w.text[w.len - 1], '\n'); /* whole lines are left out */
	control_written(&w, w.len);
	assert_int_equal(w.len, 0);
	control_write(&w, &drain);
	assert_int_equal(w.len, one);
	control_writer_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_survives),
		cmocka_unit_test(full_hellos_fit_a_line),
		cmocka_unit_test(other_versions_are_understood),
		cmocka_unit_test(refuses_the_rest),
		cmocka_unit_test(cuts_streams),
		cmocka_unit_test(stops_where_it_must),
		cmocka_unit_test(waits_within_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
