/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a message: what may be added, what is a request, a response, trailers. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "user/tunnel/head.h"

static int add(struct head *h, const char *name, const char *value)
{
	return head_add(h, name, strlen(name), value, strlen(value));
}

/* "name: value\n…", pseudo-fields too. */
static struct head *head_of(const char *text)
{
	struct head *h = head_new();
	char *copy = strdup(text), *save = NULL;

	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(line + 1, ':');

		assert_non_null(colon);
		*colon = '\0';
		if (add(h, line, colon[1] == ' ' ? colon + 2 : colon + 1))
			fail_msg("not added: %s", line);
	}
	free(copy);
	return h;
}

static void adding(void **state)
{
	struct head *h = head_new();
	static const char *const bad_names[] = { "", "a b", "a:", "a\t", "\xc3\xa4", "a\n", "(a)" };
	static const char *const bad_values[] = { "a\r", "a\nb", "\x01", "a\x7f" };

	(void)state;
	assert_int_equal(add(h, ":method", "GET"), 0);
	assert_int_equal(add(h, ":method", "GET"), -EINVAL);
	assert_int_equal(add(h, ":unknown", "GET"), -EINVAL);
	assert_int_equal(add(h, ":path", "/\n"), -EINVAL);
	assert_int_equal(head_add(h, ":path", 5, "/\0", 2), -EINVAL);
	assert_int_equal(add(h, "X-Thing", " \t a\tb \t"), 0);
	assert_string_equal(head_get(h, "x-thing"), "a\tb");
	assert_int_equal(add(h, ":path", "/"), -EINVAL); /* after fields */
	for (size_t i = 0; i < sizeof(bad_names) / sizeof(*bad_names); i++)
		assert_int_equal(add(h, bad_names[i], "v"), -EINVAL);
	for (size_t i = 0; i < sizeof(bad_values) / sizeof(*bad_values); i++)
		assert_int_equal(add(h, "a", bad_values[i]), -EINVAL);
	assert_int_equal(head_add(h, "a", 1, "x\0y", 3), -EINVAL);
	assert_int_equal(h->n, 1);
	assert_int_equal(add(h, "Authorization", "Bearer x"), 0);
	assert_true(h->fields[1].secret);
	assert_false(h->fields[0].secret);
	assert_int_equal(head_addf(h, "x-number", "%d", 42), 0);
	assert_string_equal(head_get(h, "x-number"), "42");
	head_free(h);
}

static void limits(void **state)
{
	struct head *h = head_new(), *copy;
	static char big[HEAD_BYTES_MAX + 1];
	int n = 0, rc;

	(void)state;
	memset(big, 'a', sizeof(big));
	assert_int_equal(head_add(h, "a", 1, big, sizeof(big)), -E2BIG);
	assert_int_equal(head_add(h, ":path", 5, big, sizeof(big)), -E2BIG);
	while (!(rc = head_add(h, "name", 4, "value", 5)))
		n++;
	assert_int_equal(rc, -E2BIG);
	assert_int_equal(n, HEAD_FIELDS_MAX);
	head_remove(h, "name");
	assert_int_equal(h->n, 0);
	head_clear(h);
	/* grows, and what was there stays where the pointers say */
	for (int i = 0; i < 60; i++)
		assert_int_equal(head_add(h, "name", 4, big, 1000), 0);
	for (size_t i = 0; i < h->n; i++) {
		assert_string_equal(h->fields[i].name, "name");
		assert_int_equal(strlen(h->fields[i].value), 1000);
	}
	copy = head_copy(h);
	head_free(h);
	assert_int_equal(head_count(copy, "name"), 60);
	assert_int_equal(strlen(copy->fields[59].value), 1000);
	head_free(copy);
}

/* A head's own text may be given to it again while it moves. */
static void from_itself(void **state)
{
	struct head *h = head_of(":method: GET\n:authority: a.example\nx: 1");

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(add(h, "x-forwarded-host", h->authority), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(head_set(h, ":authority", h->authority), 0);
	assert_string_equal(h->authority, "a.example");
	assert_string_equal(h->fields[100].value, "a.example");
	assert_int_equal(head_set(h, ":status", "200"), -EINVAL);
	assert_int_equal(head_set(h, ":path", "/\r"), -EINVAL);
	assert_int_equal(head_set(h, ":authority", NULL), 0);
	assert_null(h->authority);
	head_free(h);
}

static void lists(void **state)
{
	struct head *h = head_of("a: x, Y ,,z\na: w\ncontent-length: 17");

	(void)state;
	assert_true(head_has_token(h, "a", "y"));
	assert_true(head_has_token(h, "a", "z"));
	assert_true(head_has_token(h, "a", "W"));
	assert_false(head_has_token(h, "a", "v"));
	assert_false(head_has_token(h, "b", "x"));
	assert_int_equal(head_count(h, "a"), 2);
	assert_int_equal(h->content_length, 17);
	head_remove(h, "content-length");
	assert_int_equal(h->content_length, -1);
	head_remove(h, "a");
	assert_int_equal(h->n, 0);
	head_free(h);
}

#define GET  ":method: GET\n:scheme: http\n:path: /\n"
#define AUTH ":authority: a.example\n"

static void requests(void **state)
{
	static const struct {
		const char *head;
		int rc;
	} cases[] = {
		{ GET AUTH, 0 },
		{ GET "host: a.example", 0 },
		{ GET AUTH "host: a.example", 0 },
		{ GET AUTH "host: A.Example:80", 0 },
		{ GET AUTH "host: a.example:81", -EINVAL },
		{ GET AUTH "host: b.example", -EINVAL },
		{ GET AUTH "host: a.example\nhost: a.example", -EINVAL },
		{ GET "host: a.example\nhost: b.example", -EINVAL },
		{ GET, -EINVAL },
		{ GET "host: ", -EINVAL },
		{ GET "host: u@a.example", -EINVAL },
		{ GET "host: a.example:", -EINVAL },
		{ GET "host: a.example:0", -EINVAL },
		{ GET "host: a.example:65536", -EINVAL },
		{ GET "host: a.example:8080", 0 },
		{ GET "host: a.example/x", -EINVAL },
		{ GET "host: a example", -EINVAL },
		{ GET "host: a.example, b.example", -EINVAL },
		{ GET "host: [::1]:80", 0 },
		{ GET "host: [::1", -EINVAL },
		{ GET "host: [::1]80", -EINVAL },
		{ GET "host: 198.18.0.1", 0 },
		{ GET "host: a_b.example", 0 },
		{ GET "host: a%00.example", -EINVAL },
		{ ":scheme: http\n:path: /\n" AUTH, -EINVAL },
		{ ":method: GET\n:path: /\n" AUTH, -EINVAL },
		{ ":method: GET\n:scheme: http\n" AUTH, -EINVAL },
		{ ":method: G T\n:scheme: http\n:path: /\n" AUTH, -EINVAL },
		{ ":method: GET\n:scheme: ftp\n:path: /\n" AUTH, -EINVAL },
		{ ":method: GET\n:scheme: http\n:path: a\n" AUTH, -EINVAL },
		{ ":method: GET\n:scheme: http\n:path: /a b\n" AUTH, -EINVAL },
		{ ":method: GET\n:scheme: http\n:path: /a#b\n" AUTH, -EINVAL },
		{ ":method: GET\n:scheme: http\n:path: /\xc3\xa4\n" AUTH, -EINVAL },
		{ ":method: GET\n:scheme: http\n:path: *\n" AUTH, -EINVAL },
		{ ":method: OPTIONS\n:scheme: http\n:path: *\n" AUTH, 0 },
		{ GET AUTH "content-length: 5", 0 },
		{ GET AUTH "content-length: 5\ncontent-length: 5", -EINVAL },
		{ GET AUTH "content-length: 5, 5", -EINVAL },
		{ GET AUTH "content-length: +5", -EINVAL },
		{ GET AUTH "content-length: -5", -EINVAL },
		{ GET AUTH "content-length: 0x5", -EINVAL },
		{ GET AUTH "content-length: ", -EINVAL },
		{ GET AUTH "content-length: 99999999999999999999", -EINVAL },
		{ GET AUTH "content-length: 5\ntransfer-encoding: chunked", -EINVAL },
		{ ":method: CONNECT\n:authority: a.example:22", 0 },
		{ ":method: CONNECT\n:authority: a.example", -EINVAL },
		{ ":method: CONNECT\n:authority: a.example:22\nhost: a.example", 0 },
		{ ":method: CONNECT\n:authority: a.example:22\nhost: a.example:23", -EINVAL },
		{ ":method: CONNECT\n:scheme: http\n:path: /\n:authority: a.example:22", -EINVAL },
		{ ":method: CONNECT\n:protocol: websocket\n:scheme: http\n:path: /\n" AUTH, 0 },
		{ ":method: CONNECT\n:protocol: websocket\n" AUTH, -EINVAL },
		{ ":method: GET\n:protocol: websocket\n:scheme: http\n:path: /\n" AUTH, -EINVAL },
		{ ":status: 200\n", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct head *h = head_of(cases[i].head);
		const char *why = NULL;
		int rc = head_check_request(h, &why);

		if (rc != cases[i].rc)
			fail_msg("%s: %d (%s)", cases[i].head, rc, why ? why : "");
		assert_true(!rc == !why);
		if (!rc)
			assert_int_equal(head_count(h, "host"), 0);
		head_free(h);
	}
}

/* What belongs to a connection goes no further, and takes nothing with it that routing stands on.
 */
static void connection_fields(void **state)
{
	struct head *h =
		head_of(GET AUTH "Connection: close, X-Mine , host, content-length\n"
				 "x-mine: 1\nKeep-Alive: 5\nProxy-Connection: x\nupgrade: h2c\n"
				 "te: gzip, trailers\ncontent-length: 3\nx-other: 2");
	const char *why;

	(void)state;
	assert_int_equal(head_check_request(h, &why), 0);
	assert_int_equal(h->n, 3);
	assert_string_equal(head_get(h, "te"), "trailers");
	assert_string_equal(head_get(h, "x-other"), "2");
	assert_int_equal(h->content_length, 3);
	assert_string_equal(h->authority, "a.example");
	head_free(h);
}

static void responses(void **state)
{
	static const struct {
		const char *head, *method;
		int rc;
		int64_t length;
	} cases[] = {
		{ ":status: 200\ncontent-length: 3", "GET", 0, 3 },
		{ ":status: 200\ncontent-length: 3", "HEAD", 0, 3 },
		{ ":status: 204\ncontent-length: 3", "GET", 0, -1 },
		{ ":status: 304\ncontent-length: 3", "GET", 0, 3 },
		{ ":status: 200\ncontent-length: 3", "CONNECT", 0, -1 },
		{ ":status: 404\ncontent-length: 3", "CONNECT", 0, 3 },
		{ ":status: 200\ncontent-length: 3\ntransfer-encoding: chunked", "GET", -EINVAL,
		  0 },
		{ ":status: 200\ncontent-length: 3\ncontent-length: 4", "GET", -EINVAL, 0 },
		{ "content-length: 3", "GET", -EINVAL, 0 },
		{ ":status: 200\n:path: /", "GET", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct head *h = head_of(cases[i].head);
		const char *why = NULL;
		int rc = head_check_response(h, cases[i].method, &why);

		if (rc != cases[i].rc || (!rc && h->content_length != cases[i].length))
			fail_msg("%s to %s: %d (%s)", cases[i].head, cases[i].method, rc,
				 why ? why : "");
		head_free(h);
	}
}

static void bodies(void **state)
{
	struct head *h = head_new();

	(void)state;
	head_set_status(h, 200);
	assert_true(head_response_has_body(h, "GET"));
	assert_false(head_response_has_body(h, "HEAD"));
	head_set_status(h, 204);
	assert_false(head_response_has_body(h, "GET"));
	head_set_status(h, 103);
	assert_false(head_response_has_body(h, "GET"));
	assert_int_equal(head_set_status(h, 99), -EINVAL);
	assert_int_equal(head_set_status(h, 600), -EINVAL);
	assert_int_equal(add(h, ":status", "20"), -EINVAL);
	head_free(h);
}

static void trailers(void **state)
{
	static const struct {
		const char *head;
		int rc;
	} cases[] = {
		{ "grpc-status: 0\ngrpc-message: x", 0 },
		{ "content-length: 3", -EINVAL },
		{ "transfer-encoding: chunked", -EINVAL },
		{ "host: a", -EINVAL },
		{ "authorization: x", -EINVAL },
		{ "set-cookie: a=b", -EINVAL },
		{ ":status: 200", -EINVAL },
		{ ":path: /", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct head *h = head_of(cases[i].head);

		if (head_check_trailers(h) != cases[i].rc)
			fail_msg("%s", cases[i].head);
		head_free(h);
	}
}

/* A target that merges them into the head must not find another client there. */
static void trailers_name_no_client(void **state)
{
	struct head *h =
		head_of("x-sum: 1\nx-forwarded-for: 10.0.0.1\nX-Weir-Client: a\nx_real_ip: b\n"
			"forwarded: for=c\nx-forward: 2");

	(void)state;
	assert_int_equal(head_check_trailers(h), 0);
	assert_int_equal(h->n, 2);
	assert_string_equal(head_get(h, "x-sum"), "1");
	assert_string_equal(head_get(h, "x-forward"), "2");
	head_free(h);
}

static void hostnames(void **state)
{
	static const struct {
		const char *authority, *name;
	} cases[] = {
		{ "App.Edge.Example", "app.edge.example" },
		{ "app.edge.example.:443", "app.edge.example" },
		{ "198.18.0.1:80", "198.18.0.1" },
		{ "[2001:DB8::1]:80", "[2001:db8::1]" },
		{ "", NULL },
		{ ".", NULL },
		{ "a b", NULL },
		{ "a:b", NULL },
		{ "averylongnamethatdoesnotfit.example", NULL },
	};
	char out[24];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int rc = head_hostname(cases[i].authority, out, sizeof(out));

		if (!cases[i].name ? !rc : rc || strcmp(out, cases[i].name) != 0)
			fail_msg("%s: %d %s", cases[i].authority, rc, rc ? "" : out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adding),
		cmocka_unit_test(limits),
		cmocka_unit_test(from_itself),
		cmocka_unit_test(lists),
		cmocka_unit_test(requests),
		cmocka_unit_test(connection_fields),
		cmocka_unit_test(responses),
		cmocka_unit_test(bodies),
		cmocka_unit_test(trailers_name_no_client),
		cmocka_unit_test(trailers),
		cmocka_unit_test(hostnames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
