/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens: what was signed is what is read; everything else is refused, and for the right reason. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "lib/hash.h"
#include "lib/token.h"

static const struct token_key keys[2] = { { "one", { 1, 2, 3 } }, { "two", { 4, 5, 6 } } };
static const struct token_scope scope = { .user = "ann",
					  .bucket = "data",
					  .prefix = "2026/",
					  .exact = false,
					  .rights = RIGHT_READ | RIGHT_LIST,
					  .expires = 1000 };

static void signed_here(char out[TOKEN_MAX], const struct token_scope *s, int key)
{
	assert_int_equal(token_sign(out, s, &keys[key]), 0);
}

/* A token with any payload, rightly signed. */
static void forge(char out[TOKEN_MAX], const char *payload)
{
	uint8_t mac[32];
	size_t n = 6;

	memcpy(out, "weir1.", 7);
	n += base64url_encode(payload, strlen(payload), out + 6);
	hmac_sha256(keys[0].secret, sizeof(keys[0].secret), out, n, mac);
	out[n++] = '.';
	base64url_encode(mac, sizeof(mac), out + n);
}

static int verify(const char *token)
{
	struct token_scope out;

	return token_verify(&out, token, keys, 2, 999);
}

static void test_round(void **state)
{
	struct token_scope out, odd = scope;
	char text[TOKEN_MAX];

	(void)state;
	for (int key = 0; key < 2; key++) {
		signed_here(text, &scope, key);
		assert_memory_equal(text, "weir1.", 6);
		assert_int_equal(token_verify(&out, text, keys, 2, 999), 0);
		assert_string_equal(out.user, "ann");
		assert_string_equal(out.bucket, "data");
		assert_string_equal(out.prefix, "2026/");
		assert_false(out.exact);
		assert_int_equal(out.rights, RIGHT_READ | RIGHT_LIST);
		assert_int_equal(out.expires, 1000);
	}
	memset(odd.prefix, '"', sizeof(odd.prefix) - 1); /* the longest key, every byte escaped */
	odd.exact = true;
	signed_here(text, &odd, 0);
	assert_int_equal(token_verify(&out, text, keys, 2, 999), 0);
	assert_string_equal(out.prefix, odd.prefix);
	assert_true(out.exact);
}

/* What a token may say beside: all of it comes back, and a token without it is as it always was. */
static void test_options(void **state)
{
	struct token_scope full = scope, out;
	char text[TOKEN_MAX], plain[TOKEN_MAX];

	(void)state;
	signed_here(plain, &scope, 0);
	full.issued = 900;
	strcpy(full.id, "0123456789abcdef");
	full.provider = full.via_gateway = true;
	strcpy(full.groups, "data-team,ops@example.org");
	signed_here(text, &full, 0);
	assert_int_equal(token_verify(&out, text, keys, 2, 999), 0);
	assert_memory_equal(&out, &full, sizeof(out));
	strcpy(full.prefix, "");
	memset(full.groups, 'g', sizeof(full.groups) - 1);
	for (size_t i = 60; i < sizeof(full.groups) - 1; i += 61)
		full.groups[i] = ',';
	signed_here(text, &full, 0);
	assert_int_equal(token_verify(&out, text, keys, 2, 999), 0);
	assert_string_equal(out.groups, full.groups);
	full.provider = full.via_gateway = false; /* users of the table have their groups there */
	full.issued = 0;
	full.id[0] = '\0';
	strcpy(full.prefix, scope.prefix);
	signed_here(text, &full, 0);
	assert_string_equal(text, plain);
	assert_true(token_groups_have("ab,b,cb", "b") && token_groups_have("b", "b"));
	assert_false(token_groups_have("ab,bc", "b") || token_groups_have("", "b") ||
		     token_groups_have("a,b", ""));
}

static void test_sign_refuses(void **state)
{
	struct token_scope bad = scope;
	char text[TOKEN_MAX];

	(void)state;
	strcpy(bad.prefix, "not \xff utf-8");
	assert_int_equal(token_sign(text, &bad, &keys[0]), -EINVAL);
	bad = scope;
	strcpy(bad.id, "no hex");
	assert_int_equal(token_sign(text, &bad, &keys[0]), -EINVAL);
	bad = scope;
	bad.provider = true;
	strcpy(bad.groups, "a,,b");
	assert_int_equal(token_sign(text, &bad, &keys[0]), -EINVAL);
	strcpy(bad.groups, "a b");
	assert_int_equal(token_sign(text, &bad, &keys[0]), -EINVAL);
}

static void test_reasons(void **state)
{
	struct token_scope out = { .user = "untouched" };
	char text[TOKEN_MAX];

	(void)state;
	signed_here(text, &scope, 1);
	assert_int_equal(token_verify(&out, text, keys, 1, 999), -ENOKEY);
	assert_int_equal(token_verify(&out, text, keys, 2, 1000), -ETIME);
	assert_int_equal(token_verify(&out, text, keys, 2, INT64_MAX), -ETIME);
	text[strlen(text) - 3] ^= 1;
	assert_int_equal(token_verify(&out, text, keys, 2, 999), -EBADMSG);
	assert_string_equal(out.user, "untouched");
}

/* No single character can be changed, dropped or added. */
static void test_every_byte(void **state)
{
	char text[TOKEN_MAX], broken[TOKEN_MAX + 1];
	size_t len;

	(void)state;
	signed_here(text, &scope, 0);
	len = strlen(text);
	for (size_t i = 0; i < len; i++) {
		for (const char *c = "A-_.=+/ z0"; *c; c++) {
			memcpy(broken, text, len + 1);
			broken[i] = *c;
			assert_true(broken[i] == text[i] || verify(broken) < 0);
		}
		memcpy(broken, text, i);
		memcpy(broken + i, text + i + 1, len - i);
		assert_true(verify(broken) < 0);
		memcpy(broken, text, i);
		broken[i] = 'A';
		memcpy(broken + i + 1, text + i, len - i + 1);
		assert_true(verify(broken) < 0);
	}
	memset(broken, 'A', TOKEN_MAX);
	broken[TOKEN_MAX] = '\0';
	memcpy(broken, "weir1.", 6);
	assert_int_equal(verify(broken), -EINVAL);
	assert_int_equal(verify(""), -EINVAL);
	assert_int_equal(verify("weir1.."), -EINVAL);
}

/* Rightly signed, yet not what a token says: strict members, types and lengths. */
static void test_strict(void **state)
{
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"{}",
		"{\"k\":\"one\"}",
		"{\"k\":\"one\",\"u\":\"a\",\"b\":\"b\",\"p\":\"\",\"x\":false,\"r\":\"r\"}",
		"{\"k\":\"one\",\"u\":\"a\",\"b\":\"b\",\"p\":\"\",\"x\":false,\"r\":\"r\",\"e\":"
		"\"1000\"}",
		"{\"k\":\"one\",\"u\":\"a\",\"b\":\"b\",\"p\":\"\",\"x\":0,\"r\":\"r\",\"e\":1000}",
		"{\"k\":\"one\",\"u\":\"a\",\"b\":\"b\",\"p\":\"\",\"x\":false,\"r\":\"rz\",\"e\":"
		"1000}",
		"{\"k\":\"one\",\"u\":\"a\",\"b\":\"b\",\"p\":\"\",\"x\":false,\"r\":\"r\",\"e\":"
		"1000.5}",
		"{\"k\":\"one\",\"u\":\"a\",\"b\":\"b\",\"p\":\"\",\"x\":false,\"r\":\"r\",\"e\":"
		"1000,\"z\":1}",
		"{\"k\":\"one\",\"u\":\"a\",\"u\":\"b\",\"b\":\"b\",\"p\":\"\",\"x\":false,\"r\":"
		"\"r\",\"e\":1000}",
		"{\"k\":\"one\",\"u\":\"a\\u0000b\",\"b\":\"b\",\"p\":\"\",\"x\":false,\"r\":\"r\","
		"\"e\":1000}",
		"{\"k\":\"a kid of more than "
		"sixteen\",\"u\":\"a\",\"b\":\"b\",\"p\":\"\",\"x\":false,\"r\":\"r\",\"e\":1000}",
		"{\"k\":\"one\",\"u\":\"a\",\"b\":\"b\",\"p\":\"\",\"x\":false,\"r\":\"r\",\"e\":"
		"1000}x",
	};
	char text[TOKEN_MAX];

	(void)state;
	forge(text, "{\"k\":\"one\",\"u\":\"a\",\"b\":\"b\",\"p\":\"\",\"x\":false,\"r\":\"r\","
		    "\"e\":1000}");
	assert_int_equal(verify(text), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		forge(text, bad[i]);
		assert_int_equal(verify(text), -EINVAL);
	}
}

/* The members that may be absent are as strict as the others where they stand. */
static void test_strict_options(void **state)
{
	static const char *const bad[] = {
		"\"i\":0",
		"\"i\":-5",
		"\"i\":1.5",
		"\"i\":\"9\"",
		"\"j\":\"\"",
		"\"j\":\"xyz\"",
		"\"j\":\"ABC\"",
		"\"j\":7",
		"\"v\":false",
		"\"v\":1",
		"\"w\":false",
		"\"w\":null",
		"\"g\":\"a\"",
		"\"v\":true,\"g\":\"\"",
		"\"j\":\"0123456789abcdef0\"",
		"\"v\":true,\"g\":\"a,\"",
		"\"v\":true,\"g\":[\"a\"]",
		"\"i\":900,\"i\":901",
		"\"i\":900,\"z\":1",
		"\"v\":true,\"g\":\"a\\u0000b\"",
	};
	static const char *const good[] = { "\"i\":900", "\"j\":\"0f\"", "\"w\":true",
					    "\"v\":true,\"g\":\"a,b\"", "\"v\":true" };
	static const char start[] = "{\"k\":\"one\",\"u\":\"a\",\"b\":\"b\",\"p\":\"\",\"x\":false,"
				    "\"r\":\"r\",\"e\":1000,";
	char payload[512], text[TOKEN_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		snprintf(payload, sizeof(payload), "%s%s}", start, good[i]);
		forge(text, payload);
		assert_int_equal(verify(text), 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(payload, sizeof(payload), "%s%s}", start, bad[i]);
		forge(text, payload);
		assert_int_equal(verify(text), -EINVAL);
	}
}

static void test_rights(void **state)
{
	char buf[8];

	(void)state;
	assert_int_equal(rights_parse("rwdla"), 31);
	assert_string_equal(rights_format(31, buf), "rwdla");
	assert_string_equal(rights_format(RIGHT_WRITE | RIGHT_READ, buf), "rw");
	assert_int_equal(rights_parse("rx"), 0);
	assert_int_equal(rights_parse("R"), 0);
	assert_int_equal(rights_parse(""), 0);
}

static void test_allows(void **state)
{
	struct token_scope exact = {
		.bucket = "data", .prefix = "a", .exact = true, .rights = RIGHT_READ
	};
	struct token_scope all = { .bucket = "*", .rights = RIGHT_READ | RIGHT_LIST };

	(void)state;
	assert_true(token_allows(&scope, RIGHT_READ, "data", "2026/x"));
	assert_true(token_allows(&scope, RIGHT_LIST, "data", "2026/"));
	assert_false(token_allows(&scope, RIGHT_READ, "data", "2025/x"));
	assert_false(token_allows(&scope, RIGHT_READ, "data", "2026"));
	assert_false(token_allows(&scope, RIGHT_READ, "data", NULL));
	assert_false(token_allows(&scope, RIGHT_READ, "datas", "2026/x"));
	assert_false(token_allows(&scope, RIGHT_READ, NULL, NULL));
	assert_false(token_allows(&scope, RIGHT_WRITE, "data", "2026/x"));
	assert_false(token_allows(&scope, RIGHT_READ | RIGHT_WRITE, "data", "2026/x"));
	assert_true(token_allows(&exact, RIGHT_READ, "data", "a"));
	assert_false(token_allows(&exact, RIGHT_READ, "data", "ab"));
	assert_false(token_allows(&exact, RIGHT_READ, "data", NULL));
	assert_true(token_allows(&all, RIGHT_LIST, NULL, NULL));
	assert_true(token_allows(&all, RIGHT_READ, "any", "key"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round),	       cmocka_unit_test(test_sign_refuses),
		cmocka_unit_test(test_reasons),	       cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_strict),	       cmocka_unit_test(test_rights),
		cmocka_unit_test(test_allows),	       cmocka_unit_test(test_options),
		cmocka_unit_test(test_strict_options),
	};

	return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
