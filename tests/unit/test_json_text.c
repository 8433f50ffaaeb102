// SPDX-License-Identifier: Apache-2.0
/* json_text: strings come out as jansson writes them, whatever is in them and wherever; a page made
 * of pieces can be read. */
#include <jansson.h>

#include "lib/json_text.h"
#include "tests/unit/unit.h"

static void same_as_jansson(const char *text, size_t len)
{
	json_t *value = json_stringn(text, len);
	char *want = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY),
	     *got = malloc(JSON_TEXT_STRING(len));
	size_t n = json_text_put(got, text, len);

	assert_non_null(want);
	assert_true(n <= JSON_TEXT_STRING(len));
	assert_int_equal(n, strlen(want));
	assert_memory_equal(got, want, n);
	json_decref(value);
	free(want);
	free(got);
}

/* Each ASCII byte, alone and at each place of a word, with each length behind it. */
static void test_bytes(void **state)
{
	char text[40];

	(void)state;
	same_as_jansson("", 0);
	for (int c = 0; c < 0x80; c++)
		for (size_t len = 1; len < 20; len++)
			for (size_t at = 0; at < len; at++) {
				memset(text, 'x', len);
				text[at] = (char)c;
				same_as_jansson(text, len);
			}
	memset(text, 1, sizeof(text)); /* the longest that it can become */
	same_as_jansson(text, sizeof(text));
}

static size_t utf8(char *out, unsigned int c)
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xff) | c);
	return n;
}

static void test_characters(void **state)
{
	char text[4 * 64];

	(void)state;
	for (unsigned int c = 0; c < 0x110000;) {
		size_t len = 0;

		for (int i = 0; i < 61 && c < 0x110000; i++, c++)
			if (c < 0xd800 || c > 0xdfff)
				len += utf8(text + len, c);
		same_as_jansson(text, len);
	}
}

static void becomes(const char *text, const char *want)
{
	char got[JSON_TEXT_STRING(32)];
	size_t n = json_text_put(got, text, strlen(text));
	json_t *value = json_loadb(got, n, JSON_DECODE_ANY, NULL);

	assert_string_equal(json_string_value(value), want);
	json_decref(value);
}

#define BAD "\xef\xbf\xbd"

/* jansson refuses these; we answer. */
static void test_no_utf8(void **state)
{
	char text[3] = "";

	(void)state;
	for (int c = 0x80; c < 0x100; c++) {
		text[0] = (char)c;
		text[1] = '\0';
		becomes(text, BAD);
		text[1] = '"';
		becomes(text, BAD "\"");
	}
	becomes("odd/\xc3", "odd/" BAD); /* a delimiter cut a character */
	becomes("a\xe2\x82z", "a" BAD BAD "z");
	becomes("\xc0\xaf", BAD BAD); /* overlong */
	becomes("\xe0\x9f\xbf", BAD BAD BAD);
	becomes("\xf0\x8f\xbf\xbf", BAD BAD BAD BAD);
	becomes("\xed\xa0\x80", BAD BAD BAD);	      /* a surrogate */
	becomes("\xf4\x90\x80\x80", BAD BAD BAD BAD); /* behind U+10FFFF */
	becomes("12345678\xff"
		"12345678",
		"12345678" BAD "12345678");
}

static void test_numbers(void **state)
{
	static const int64_t values[] = {
		0, 1, -1, 9, 10, 4096, -1234567890, INT64_MAX, INT64_MIN
	};
	char want[32];

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		struct json_text json = { 0 };
		size_t len;
		char *text;

		json_text_int(&json, values[i]);
		text = json_text_take(&json, &len);
		snprintf(want, sizeof(want), "%lld", (long long)values[i]);
		assert_int_equal(len, strlen(want));
		assert_memory_equal(text, want, len);
		free(text);
	}
}

static void test_grows(void **state)
{
	struct json_text json = { 0 };
	json_t *value;
	size_t len;
	char *text;

	(void)state;
	assert_null(json_text_take(&json, &len)); /* nothing was written */
	json_text_raw(&json, NULL, 0);
	json_text_raw(&json, "[\"\"", 3);
	for (int i = 0; i < 2000; i++) {
		char item[64];

		snprintf(item, sizeof(item), "%*d\n\x01", i % 40, i);
		json_text_raw(&json, ",", 1);
		json_text_string(&json, item);
	}
	json_text_raw(&json, "]", 1);
	text = json_text_take(&json, &len);
	assert_null(json.text);
	json_text_drop(&json);
	value = json_loadb(text, len, 0, NULL);
	free(text);
	assert_int_equal(json_array_size(value), 2001);
	assert_string_equal(json_string_value(json_array_get(value, 2000)),
			    "                                   1999\n\x01");
	json_decref(value);
	json_text_string(&json, "dropped");
	json_text_drop(&json);
	json_text_drop(&json);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),	cmocka_unit_test(test_characters),
		cmocka_unit_test(test_no_utf8), cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
