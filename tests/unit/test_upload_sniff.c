/* SPDX-License-Identifier: Apache-2.0 */
/* test_upload_sniff.c -- what files are by their content: kinds, encodings, dialects; one column stays one column. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <magic.h>
#include <string.h>

#include "http/upload/sniff.h"

static magic_t cookie;

static struct sniffed look(const char *text, size_t len)
{
	struct sniffed s;

	sniff(&s, text, len, true, cookie);
	return s;
}

#define LOOK(text) look(text, sizeof(text) - 1)

static void kinds(void **state)
{
	static const struct {
		const char *text;
		enum file_kind kind;
		const char *mime;
	} all[] = {
		{ "", KIND_EMPTY, "application/x-empty" },
		{ "a,b\n1,2\n", KIND_CSV, "text/csv" },
		{ "a\tb\n1\t2\n", KIND_CSV, "text/tab-separated-values" },
		{ "[{\"a\":1},{\"a\":2}]", KIND_JSON, "application/json" },
		{ "[\n  {\n \"a\": 1\n }\n]\n", KIND_JSON, "application/json" },
		{ "[[\"a\"],[1]]", KIND_JSON, "application/json" },
		{ "[]", KIND_JSON, "application/json" },
		{ "[{\"a\":1},{\"a\" 2}]", KIND_JSON, "application/json" },
		{ "{\"a\":1}\n{\"a\":2}\n", KIND_JSONL, "application/x-ndjson" },
		{ "{\"a\":1}", KIND_JSONL, "application/x-ndjson" },
		{ "{\"a\":x}\n{\"a\":2}\n", KIND_JSONL, "application/x-ndjson" },
		{ "[1,2]\n[3,4]\n", KIND_JSONL, "application/x-ndjson" },
		{ "{\n \"a\": [1]\n}\n", KIND_JSON, "application/json" },
		{ "{a},b\n1,2\n", KIND_CSV, "text/csv" },
		{ "[a],b\n1,2\n", KIND_CSV, "text/csv" },
		{ "\x1f\x8b\x08", KIND_GZIP, "application/gzip" },
		{ "\x28\xb5\x2f\xfd", KIND_ZSTD, "application/zstd" },
		{ "PK\3\4", KIND_ZIP, "application/zip" },
		{ "%PDF-1.4\n%\xe2\xe3\n", KIND_OTHER, "application/pdf" },
		{ "<?xml version=\"1.0\"?>\n<a/>\n", KIND_OTHER, "text/xml" },
		{ "<!DOCTYPE html>\n<html><body>a,b</body></html>\n", KIND_OTHER, "text/html" },
		{ "\x89PNG\r\n\x1a\n", KIND_OTHER, "image/png" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct sniffed s = look(all[i].text, strlen(all[i].text));

		if (s.kind != all[i].kind || strcmp(s.mime, all[i].mime))
			fail_msg("%s: %d %s", all[i].text, s.kind, s.mime);
	}
}

static void without_libmagic(void **state)
{
	struct sniffed s;

	(void)state;
	sniff(&s, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16, true, NULL);
	assert_true(s.kind == KIND_OTHER && !strcmp(s.mime, "image/png"));
	sniff(&s, "\1\2\3\4\5\0\0\0\0", 9, true, NULL);
	assert_true(s.kind == KIND_OTHER && !strcmp(s.mime, "application/octet-stream"));
	sniff(&s, "PK\3\4\24\0\6\0\10\0\0\0!\0aaaabbbbcccc\23\0\0\0[Content_Types].xml....", 60, true, NULL);
	assert_int_equal(s.kind, KIND_OTHER);
}

static void encodings(void **state)
{
	struct sniffed s;

	(void)state;
	assert_int_equal(LOOK("a,b\n\xc3\xa9,1\n").encoding, ENC_UTF8);
	assert_int_equal(LOOK("\xef\xbb\xbf" "a,b\n1,2\n").encoding, ENC_UTF8_BOM);
	assert_int_equal(LOOK("a,b\ncaf\xe9,1\nM\xfcller,2\n").encoding, ENC_LATIN1);
	assert_int_equal(LOOK("a,b\n\xc3\xa9\xc3\xa9,1\n\xff,2\n").encoding, ENC_UTF8); /* one byte is wrong, not all */
	s = LOOK("\xff\xfe" "a\0;\0b\0\n\0" "1\0;\0" "2\0\n\0");
	assert_true(s.encoding == ENC_UTF16LE && s.kind == KIND_CSV && s.delimiter == ';');
	s = LOOK("\0a\0,\0b\0\n\0" "1\0,\0" "2\0\n");
	assert_true(s.encoding == ENC_UTF16BE && s.kind == KIND_CSV && s.delimiter == ',');
	sniff(&s, "a,b\nx,\xc3", 7, false, NULL);
	assert_int_equal(s.encoding, ENC_UTF8);
	s = LOOK("a,b\n1,x\0y\n1,2\n1,2\n");
	assert_int_equal(s.kind, KIND_CSV);
}

static void dialects(void **state)
{
	static const struct {
		const char *text;
		char delimiter, quote;
		bool header;
	} all[] = {
		{ "a,b,c\n1,2,3\n", ',', '"', true },
		{ "1,2,3\n4,5,6\n", ',', '"', false },
		{ "a;b;c\n1,5;2,5;3,5\n2,5;1,1;0,0\n", ';', '"', true },
		{ "name|age\nx|1\ny|2\n", '|', '"', true },
		{ "root:x:0\nbin:x:1\n", ':', '"', false },
		{ "name,note\nx,\"a;b;c\"\ny,\"d;e;f\"\n", ',', '"', true },
		{ "name,note\n'x','a, b'\n'y','c'\n", ',', '\'', true },
		{ "a\tb\n5\" pipe\t1\n3\" pipe\t2\n", '\t', '\0', true },
		{ "a,b\n\"x\ny,z\",1\n\"p\nq\",2\n", ',', '"', true },
		{ "a,b,c\n1,2\n3,4,5\n6,7,8\n", ',', '"', true },
		{ "country,2019,2020\nFR,1,2\nDE,3,4\n", ',', '"', true },
		{ "id,when\n1,2026-01-31T10:30:00Z\n2,2026-01-31T10:31:00Z\n", ',', '"', true },
		{ "name,city\nAnna,Paris\nBob,Rome\n", ',', '"', true },
		{ "\n\na,b\n1,2\n", ',', '"', true },
		{ "a,b\r1,2\r3,4\r", ',', '"', true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct sniffed s = look(all[i].text, strlen(all[i].text));

		if (s.kind != KIND_CSV || s.delimiter != all[i].delimiter || s.quote != all[i].quote || s.header != all[i].header)
			fail_msg("%s: kind %d delimiter '%c' quote '%c' header %d", all[i].text, s.kind, s.delimiter, s.quote, s.header);
		assert_true(s.confidence > 0.4 && s.confidence <= 1);
	}
}

/* Whatever the values have in them, no delimiter that the lines have is taken. */
static void one_column(void **state)
{
	static const struct {
		const char *text;
		bool header;
	} all[] = {
		{ "name\nanna\nbob\n", true },
		{ "1\n2\n3\n", false },
		{ "n\n1\n2\n", true },
		{ "time\n10:30:00\n10:31:00\n", true },
		{ "10:30\n10:31\n", false },
		{ "url\nhttps://a.org/x\nhttps://b.org/y\n", true },
		{ "mac\n00:11:22:33:44:55\n00:11:22:33:44:56\n", true },
		{ "amount\n1,5\n2,75\n", true },
		{ "text\nHello, world\nno comma\nOne, two, three\n", true },
		{ "Dear all,\nplease find, as agreed, the list.\nRegards\n", true },
		{ "word\n\"a, b\"\n\"c, d\"\n", true },
		{ "x", true },
		{ "#include\nint\nvoid\n", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct sniffed s = look(all[i].text, strlen(all[i].text));

		if (s.kind != KIND_CSV || s.header != all[i].header)
			fail_msg("%s: kind %d %s header %d", all[i].text, s.kind, s.mime, s.header);
		if (!strchr(all[i].text, '"') && strchr(all[i].text, s.delimiter))
			fail_msg("%s: delimiter '%c'", all[i].text, s.delimiter);
	}
}

static int open_magic(void **state)
{
	(void)state;
	cookie = magic_open(MAGIC_MIME_TYPE);
	return cookie ? magic_load(cookie, NULL) : -1;
}

static int close_magic(void **state)
{
	(void)state;
	magic_close(cookie);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds),    cmocka_unit_test(without_libmagic), cmocka_unit_test(encodings),
		cmocka_unit_test(dialects), cmocka_unit_test(one_column),
	};

	return cmocka_run_group_tests(tests, open_magic, close_magic);
}
