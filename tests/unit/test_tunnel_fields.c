/* SPDX-License-Identifier: Apache-2.0 */
/* request_fields.c, page.c: nobody but the edge says who a client is; a valid trace goes on; pages name
 * the request. */
#include "tests/unit/unit.h"

#include <jansson.h>

#include "user/tunnel/page.h"
#include "user/tunnel/request_fields.h"

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define OTHER "00-11111111111111111111111111111111-2222222222222222-01"

static struct addr client, local;
static struct request_origin from = { .id = "0123456789abcdef", .traceparent = OTHER,
				      .client = &client, .client_port = 40000, .local_port = 443 };

static struct head *request(const char *who, const char *const *fields)
{
	struct head *h = head_new();

	assert_int_equal(addr_parse(&client, who), 0);
	assert_int_equal(head_set(h, ":method", "GET"), 0);
	assert_int_equal(head_set(h, ":scheme", "https"), 0);
	assert_int_equal(head_set(h, ":authority", "app.edge.example:8443"), 0);
	assert_int_equal(head_set(h, ":path", "/"), 0);
	for (; fields && *fields; fields += 2)
		assert_int_equal(head_add(h, fields[0], strlen(fields[0]), fields[1], strlen(fields[1])), 0);
	return h;
}

static void is(const struct head *h, const char *name, const char *value)
{
	assert_int_equal(head_count(h, name), value ? 1 : 0);
	if (value)
		assert_string_equal(head_get(h, name), value);
}

static void adds_who_asks(void **state)
{
	struct head *h = request("198.51.100.7", NULL);

	(void)state;
	from.local = NULL;
	assert_int_equal(request_fields_forward(h, &from), 0);
	is(h, "x-request-id", "0123456789abcdef");
	is(h, "traceparent", OTHER);
	is(h, "x-forwarded-for", "198.51.100.7");
	is(h, "x-forwarded-proto", "https");
	is(h, "x-forwarded-host", "app.edge.example:8443");
	is(h, "forwarded", "for=198.51.100.7;host=\"app.edge.example:8443\";proto=https");
	is(h, "x-weir-client", "198.51.100.7:40000");
	is(h, "x-weir-local", NULL);
	head_free(h);
	h = request("2001:db8::7", NULL);
	assert_int_equal(addr_parse(&local, "2001:db8:64::1"), 0);
	from.local = &local;
	assert_int_equal(request_fields_forward(h, &from), 0);
	is(h, "x-forwarded-for", "2001:db8::7");
	is(h, "forwarded", "for=\"[2001:db8::7]\";host=\"app.edge.example:8443\";proto=https");
	is(h, "x-weir-client", "[2001:db8::7]:40000");
	is(h, "x-weir-local", "[2001:db8:64::1]:443");
	head_free(h);
}

/* What an edge leaves to the origin comes out the same in the end. */
static void edge_and_origin_together(void **state)
{
	struct head *h = request("2001:db8::7", NULL);

	(void)state;
	from.local = NULL;
	assert_int_equal(request_fields_tunnel(h, &from), 0);
	is(h, "x-request-id", "0123456789abcdef");
	is(h, "traceparent", OTHER);
	is(h, "x-weir-client", "[2001:db8::7]:40000");
	is(h, "x-forwarded-for", NULL);
	is(h, "forwarded", NULL);
	assert_int_equal(request_fields_target(h, &client), 0);
	is(h, "x-forwarded-for", "2001:db8::7");
	is(h, "x-forwarded-proto", "https");
	is(h, "x-forwarded-host", "app.edge.example:8443");
	is(h, "forwarded", "for=\"[2001:db8::7]\";host=\"app.edge.example:8443\";proto=https");
	head_free(h);
}

static void bytes_have_no_scheme(void **state)
{
	struct head *h = request("198.51.100.7", NULL);

	(void)state;
	from.local = NULL;
	assert_int_equal(head_set(h, ":method", "CONNECT"), 0);
	assert_int_equal(head_set(h, ":scheme", NULL), 0);
	assert_int_equal(head_set(h, ":path", NULL), 0);
	assert_int_equal(request_fields_forward(h, &from), 0);
	is(h, "x-forwarded-proto", NULL);
	is(h, "forwarded", "for=198.51.100.7;host=\"app.edge.example:8443\";proto=tcp");
	head_free(h);
}

/* In every spelling; what only looks alike stays. */
static void clients_claims_are_dropped(void **state)
{
	static const char *const claims[] = {
		"X-Forwarded-For", "203.0.113.9", "x-forwarded-for", "203.0.113.8", "x_forwarded_for", "1.2.3.4",
		"x-forwarded_proto", "http", "x-forwarded-port", "1", "x-forwarded", "for=1", "forwarded", "for=203.0.113.9",
		"x-weir-client", "203.0.113.9:1", "x-weir-local", "203.0.113.9:1", "X-Weir-Anything", "1", "x_weir_client", "1",
		"x-request-id", "mine", "x_request_id", "mine", "x-real-ip", "203.0.113.9", "proxy", "http://evil",
		"x-forwarde", "stays", "x-weirdo", "stays", "x-request-ids", "stays", "forwarded-x", "stays",
		"proxy-authorization", "stays", "accept", "stays", "X-Weir-CSRF", "stays", NULL,
	};
	struct head *h = request("198.51.100.7", claims);

	(void)state;
	from.local = NULL;
	assert_int_equal(request_fields_forward(h, &from), 0);
	is(h, "x-forwarded-for", "198.51.100.7");
	is(h, "x-request-id", "0123456789abcdef");
	is(h, "x-weir-client", "198.51.100.7:40000");
	for (size_t i = 0; i < h->n; i++) {
		assert_null(strstr(h->fields[i].value, "203.0.113."));
		assert_null(strchr(h->fields[i].name, '_'));
		assert_string_not_equal(h->fields[i].value, "mine");
	}
	is(h, "x-weir-anything", NULL);
	is(h, "x-weir-csrf", "stays");
	is(h, "x-real-ip", NULL);
	is(h, "proxy", NULL);
	is(h, "x-forwarded-port", NULL);
	is(h, "x-forwarded", NULL);
	for (size_t i = 30; claims[i]; i += 2)
		is(h, claims[i][0] == 'X' ? "x-weir-csrf" : claims[i], "stays");
	head_free(h);
}

static void traces(void **state)
{
	static const char *const kept[] = { "traceparent", TRACE, "tracestate", "a=1", NULL };
	static const char *const twice[] = { "traceparent", TRACE, "traceparent", TRACE, "tracestate", "a=1", NULL };
	static const char *const wrong[] = { "traceparent", "00-0", "tracestate", "a=1", NULL };
	char made[TRACEPARENT_LEN + 1];
	uint8_t random[24];
	struct head *h;

	(void)state;
	h = request("198.51.100.7", kept);
	assert_int_equal(request_fields_forward(h, &from), 0);
	is(h, "traceparent", TRACE);
	is(h, "tracestate", "a=1");
	head_free(h);
	h = request("198.51.100.7", twice);
	assert_int_equal(request_fields_forward(h, &from), 0);
	is(h, "traceparent", OTHER);
	is(h, "tracestate", NULL);
	head_free(h);
	h = request("198.51.100.7", wrong);
	assert_int_equal(request_fields_forward(h, &from), 0);
	is(h, "traceparent", OTHER);
	is(h, "tracestate", NULL);
	head_free(h);
	memset(random, 0xab, sizeof(random));
	traceparent_make(made, random);
	assert_string_equal(made, "00-abababababababababababababababab-abababababababab-01");
	assert_true(traceparent_valid(made));
	assert_true(traceparent_valid("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later"));
	assert_false(traceparent_valid(TRACE "-later"));
	assert_false(traceparent_valid("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
	assert_false(traceparent_valid("00-00000000000000000000000000000000-b7ad6b7169203331-01"));
	assert_false(traceparent_valid("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"));
	assert_false(traceparent_valid("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
	assert_false(traceparent_valid("00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01"));
	assert_false(traceparent_valid(""));
}

static void answers_bear_the_id(void **state)
{
	struct head *h = head_new();

	(void)state;
	assert_int_equal(head_set_status(h, 200), 0);
	assert_int_equal(head_addf(h, "X-Request-Id", "another"), 0);
	assert_int_equal(head_addf(h, "x-weir-cause", "inner"), 0);
	assert_int_equal(head_addf(h, "x-weir-endpoint", "ep-1"), 0);
	assert_int_equal(head_addf(h, "content-type", "text/plain"), 0);
	assert_int_equal(request_fields_answer(h, "0123456789abcdef"), 0);
	is(h, "x-request-id", "0123456789abcdef");
	is(h, "x-weir-cause", NULL);
	is(h, "x-weir-endpoint", "ep-1");
	is(h, "content-type", "text/plain");
	head_free(h);
}

static void pages(void **state)
{
	json_t *root;
	char *text;

	(void)state;
	assert_int_equal(page_type_of(NULL), PAGE_TEXT);
	assert_int_equal(page_type_of("*/*"), PAGE_TEXT);
	assert_int_equal(page_type_of("text/html,application/xhtml+xml,*/*;q=0.8"), PAGE_HTML);
	assert_int_equal(page_type_of("application/json"), PAGE_JSON);
	for (int cause = 0; cause < PAGE_N; cause++) {
		assert_true(page_status(cause) >= 400 && page_status(cause) < 600);
		for (int type = PAGE_TEXT; type <= PAGE_JSON; type++) {
			text = page_format(cause, type, "0123456789abcdef");
			assert_non_null(strstr(text, "0123456789abcdef"));
			if (type == PAGE_JSON) {
				root = json_loads(text, 0, NULL);
				assert_string_equal(json_string_value(json_object_get(root, "error")),
						    page_label(cause));
				json_decref(root);
			}
			free(text);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adds_who_asks), cmocka_unit_test(edge_and_origin_together),
		cmocka_unit_test(bytes_have_no_scheme),
		cmocka_unit_test(clients_claims_are_dropped), cmocka_unit_test(traces),
		cmocka_unit_test(answers_bear_the_id), cmocka_unit_test(pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
