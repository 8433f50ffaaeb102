/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server's pure part: ranges, conditions, targets, routes, escapes. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "lib/httpd_text.h"

static void ranges(void **state)
{
	static const struct { const char *header; uint64_t size; int rc; uint64_t first, len; } cases[] = {
		{ NULL, 100, 0, 0, 0 },
		{ "bytes=0-0", 100, 1, 0, 1 },
		{ "bytes=0-99", 100, 1, 0, 100 },
		{ "bytes=0-100", 100, 1, 0, 100 },
		{ "bytes=10-", 100, 1, 10, 90 },
		{ "bytes=-10", 100, 1, 90, 10 },
		{ "bytes=-1000", 100, 1, 0, 100 },
		{ "bytes= 5-6", 100, 1, 5, 2 },
		{ "Bytes=5-6 ", 100, 1, 5, 2 },
		{ "bytes=99-", 100, 1, 99, 1 },
		{ "bytes=100-", 100, -ERANGE, 0, 0 },
		{ "bytes=100-200", 100, -ERANGE, 0, 0 },
		{ "bytes=0-", 0, -ERANGE, 0, 0 },
		{ "bytes=-5", 0, -ERANGE, 0, 0 },
		{ "bytes=-0", 100, -ERANGE, 0, 0 },
		{ "bytes=6-5", 100, 0, 0, 0 },
		{ "bytes=-", 100, 0, 0, 0 },
		{ "bytes=", 100, 0, 0, 0 },
		{ "bytes=0-1,3-4", 100, 0, 0, 0 },
		{ "bytes=a-b", 100, 0, 0, 0 },
		{ "bytes=0x1-2", 100, 0, 0, 0 },
		{ "bytes=+1-2", 100, 0, 0, 0 },
		{ "bytes=1-2-3", 100, 0, 0, 0 },
		{ "lines=0-1", 100, 0, 0, 0 },
		{ "bytes 0-1", 100, 0, 0, 0 },
		{ "bytes=99999999999999999999-", 100, -ERANGE, 0, 0 },
		{ "bytes=0-99999999999999999999", 100, 1, 0, 100 },
		{ "bytes=-99999999999999999999", 100, 1, 0, 100 },
		{ "bytes=5-", UINT64_MAX, 1, 5, UINT64_MAX - 5 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_range range = { 0, 0 };

		if (http_range_parse(&range, cases[i].header, cases[i].size) != cases[i].rc ||
		    range.first != cases[i].first || range.len != cases[i].len)
			fail_msg("range %s of %llu", cases[i].header, (unsigned long long)cases[i].size);
	}
}

static void conditions(void **state)
{
	static const char *const a = "\"a\"";

	(void)state;
	assert_int_equal(http_conditions_eval(NULL, NULL, a, true), 0);
	assert_int_equal(http_conditions_eval("\"a\"", NULL, a, true), 0);
	assert_int_equal(http_conditions_eval("\"x\", \"a\"", NULL, a, false), 0);
	assert_int_equal(http_conditions_eval("*", NULL, a, false), 0);
	assert_int_equal(http_conditions_eval("*", NULL, NULL, false), 412);
	assert_int_equal(http_conditions_eval("\"b\"", NULL, a, false), 412);
	assert_int_equal(http_conditions_eval("W/\"a\"", NULL, a, false), 412);      /* strong comparison */
	assert_int_equal(http_conditions_eval("a", NULL, a, false), 412);
	assert_int_equal(http_conditions_eval("\"\"a\"", NULL, a, false), 412);
	assert_int_equal(http_conditions_eval(NULL, "\"a\"", a, true), 304);
	assert_int_equal(http_conditions_eval(NULL, "W/\"a\"", a, true), 304);       /* weak comparison */
	assert_int_equal(http_conditions_eval(NULL, "\"a\"", a, false), 412);
	assert_int_equal(http_conditions_eval(NULL, "*", a, false), 412);
	assert_int_equal(http_conditions_eval(NULL, " * ", a, false), 412);
	assert_int_equal(http_conditions_eval(NULL, "*", NULL, false), 0);
	assert_int_equal(http_conditions_eval(NULL, "\"b\"", a, true), 0);
	assert_int_equal(http_conditions_eval(NULL, "\"a,\"", "\"a,\"", true), 304);
	assert_int_equal(http_conditions_eval("\"b\"", "\"a\"", a, true), 412);      /* If-Match comes first */
}

static void targets(void **state)
{
	static const char *const good[] = {
		"/", "/a", "/a?b=c", "/b/x/a%2Fb", "/%c3%a9", "/a/...", "/.a", "/a..", "*", "http://h/", "http://h",
		"HTTPS://h:80/x?y", "//x", "/a//b", "/\xc3\xa9", "/a?b=../c",
	};
	static const char *const bad[] = {
		"", "a", "http:///x", "ftp://h/x", "http://u@h/", "/a b", "/a\tb", "/a\x7f", "/a#b", "/%", "/%0",
		"/%0g", "/%00", "/a%00b", "/..", "/../a", "/a/..", "/a/./b", "/%2e%2E/a", "/a%2f..%2fb", "/.%2e", "/.",
		"*x", "?a", "http://h/../a", "/a?%", "/a?%00",
	};
	struct http_target t;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		if (http_target_parse(&t, good[i]))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (!http_target_parse(&t, bad[i]))
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(http_target_parse(&t, "http://h:1/a%20b?c=d"), 0);
	assert_memory_equal(t.authority, "h:1", t.authority_len);
	assert_int_equal(t.path_len, 6);
	assert_string_equal(t.query, "c=d");
	assert_int_equal(http_target_parse(&t, "http://h?x"), 0);
	assert_memory_equal(t.path, "/", t.path_len);
	assert_string_equal(t.query, "x");
}

static int match(const char *pattern, const char *path, struct http_param_at *params)
{
	return http_route_match(pattern, path, strlen(path), params);
}

static void routes(void **state)
{
	struct http_param_at p[HTTP_PARAMS_MAX];

	(void)state;
	assert_int_equal(match("/", "/", p), 0);
	assert_int_equal(match("/", "/a", p), -1);
	assert_int_equal(match("/a", "/a/", p), -1);
	assert_int_equal(match("/a/", "/a", p), -1);
	assert_int_equal(match("/_/health", "/_/health", p), 0);
	assert_int_equal(match("/_/health", "/_/healthy", p), -1);
	assert_int_equal(match("/o/:sha256", "/o/abc", p), 1);
	assert_memory_equal(p[0].text, "abc", p[0].len);
	assert_int_equal(match("/o/:sha256", "/o/", p), -1);
	assert_int_equal(match("/o/:sha256", "/o/a/b", p), -1);
	assert_int_equal(match("/b/:bucket/" "*key", "/b/x/a/b%2Fc", p), 2);
	assert_memory_equal(p[0].text, "x", p[0].len);
	assert_int_equal(p[1].len, 7);
	assert_memory_equal(p[1].name, "key", p[1].name_len);
	assert_int_equal(match("/b/:bucket/" "*key", "/b/x/", p), 2);
	assert_int_equal(p[1].len, 0);
	assert_int_equal(match("/b/:bucket/" "*key", "/b/x", p), -1);
	assert_int_equal(match("/b/:bucket/" "*key", "/b/a%2Fb/c", p), 2);
	assert_int_equal(p[0].len, 5);
}

static void escapes(void **state)
{
	char out[64];
	char *text;

	(void)state;
	assert_int_equal(http_percent_decode("a%2Fb+c", 7, out, false), 5);
	assert_string_equal(out, "a/b+c");
	assert_int_equal(http_percent_decode("a+b%2B", 6, out, true), 4);
	assert_string_equal(out, "a b+");
	assert_int_equal(http_percent_decode("%41", 2, out, false), -EINVAL);
	assert_int_equal(http_percent_decode("%4", 2, out, false), -EINVAL);
	assert_int_equal(http_percent_decode("%00", 3, out, false), -EINVAL);
	assert_int_equal(http_percent_decode("", 0, out, false), 0);
	text = http_percent_encode("a/b c\xc3\xa9~", false);
	assert_string_equal(text, "a%2Fb%20c%C3%A9~");
	free(text);
	text = http_percent_encode("a/b?", true);
	assert_string_equal(text, "a/b%3F");
	free(text);
}

static void words(void **state)
{
	uint64_t n = 5;

	(void)state;
	assert_true(http_is_token("X-Request-Id", 12));
	assert_false(http_is_token("", 0));
	assert_false(http_is_token("a b", 3));
	assert_false(http_is_token("a:", 2));
	assert_false(http_is_token("a\0b", 3));
	assert_true(http_is_field_value("a\tb \xff", 5));
	assert_false(http_is_field_value("a\rb", 3));
	assert_false(http_is_field_value("a\0b", 3));
	/* Each byte at each place of a long value, among ordinary ones and beside others that are allowed. */
	for (unsigned int c = 0; c < 256; c++)
		for (size_t at = 0; at < 24; at++) {
			char text[25] = "abcdefgh\xff\t ~\x80zyxwvutsrqp";

			text[at] = (char)c;
			assert_int_equal(http_is_field_value(text, 24), (c >= 0x20 && c != 0x7f) || c == '\t');
		}
	assert_int_equal(http_length_parse(&n, "0123", 4), 0);
	assert_int_equal(n, 123);
	assert_int_equal(http_length_parse(&n, "", 0), -EINVAL);
	assert_int_equal(http_length_parse(&n, "-1", 2), -EINVAL);
	assert_int_equal(http_length_parse(&n, "1234567890123456789", 19), -EINVAL);
	assert_int_equal(n, 123);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges), cmocka_unit_test(conditions), cmocka_unit_test(targets),
		cmocka_unit_test(routes), cmocka_unit_test(escapes), cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
