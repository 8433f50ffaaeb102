/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jsonrows.c, json_row.c: rows of JSON Lines and of an array are the same whatever the pieces are, offsets name the
 * bytes, and no form of nonsense takes memory or the rows behind it.
 */
#include "tests/unit/unit.h"

#include <errno.h>

#include "http/upload/jsonrows.h"

/* What a reader said, as text: one line a call. */
struct said {
	char text[65536];
	size_t len;
	int stop_at; /* row that wants no more */
};

static void say(struct said *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct said *s, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	s->len += (size_t)vsnprintf(s->text + s->len, sizeof(s->text) - s->len, fmt, args);
	va_end(args);
	assert_true(s->len < sizeof(s->text));
}

static void say_cells(struct said *s, const struct cell *cells, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (cells[i].null)
			say(s, " null");
		else
			say(s, cells[i].quoted ? " '%.*s'" : " %.*s", (int)(cells[i].len < 40 ? cells[i].len : 40), cells[i].text);
		say(s, "@%llu", (unsigned long long)cells[i].offset);
	}
	say(s, "\n");
}

static int on_names(void *arg, const struct cell *names, uint32_t n)
{
	say(arg, "names");
	say_cells(arg, names, n);
	return 0;
}

static int on_row(void *arg, const struct row *row)
{
	struct said *s = arg;

	say(s, "%llu [%llu+%llu]", (unsigned long long)row->number, (unsigned long long)row->offset,
	    (unsigned long long)row->length);
	say_cells(s, row->cells, row->ncells);
	return s->stop_at && row->number == (uint64_t)s->stop_at ? -ECANCELED : 0;
}

static const char *const faults[] = { "QUOTE", "UNCLOSED", "LONG_CELL", "LONG_ROW", "COLUMNS",
				      "ENCODING", "NUL", "JSON", "DEPTH", "NOT_ROWS" };

static int on_fault(void *arg, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal)
{
	say(arg, "%s%s row %llu column %u @%llu\n", fatal ? "fatal " : "", faults[fault], (unsigned long long)row, column,
	    (unsigned long long)offset);
	return 0;
}

/* Reads the text in pieces of `piece` bytes. */
static int read_text(struct said *s, bool lines, const char *text, size_t len, size_t piece)
{
	const struct row_sink sink = { on_names, on_row, on_fault, s };
	struct jsonrows *j;
	int rc = 0;

	s->len = 0;
	s->text[0] = '\0';
	assert_int_equal(jsonrows_new(&j, lines, &sink), 0);
	for (size_t at = 0; at < len && !rc; at += piece) {
		size_t n = len - at < piece ? len - at : piece;
		/* A copy of its own: a byte read behind it is found by the sanitizer. */
		char *copy = malloc(n);

		assert_non_null(copy);
		memcpy(copy, text + at, n);
		rc = jsonrows_feed(j, copy, n);
		free(copy);
	}
	if (!rc)
		rc = jsonrows_end(j);
	jsonrows_free(j);
	return rc;
}

static void expect(bool lines, const char *text, int rc, const char *want)
{
	static struct said s;

	for (size_t piece = 1; piece <= 64; piece = piece < 8 ? piece + 1 : piece * 2) {
		memset(&s, 0, sizeof(s));
		assert_int_equal(read_text(&s, lines, text, strlen(text), piece), rc);
		assert_string_equal(s.text, want);
	}
	memset(&s, 0, sizeof(s));
	assert_int_equal(read_text(&s, lines, text, strlen(text), strlen(text) + 1), rc);
	assert_string_equal(s.text, want);
}

static void reads_lines(void **state)
{
	(void)state;
	expect(true, "{\"a\":1,\"b\":\"x\"}\n{\"b\":\"y\",\"a\":null}\r\n\n  \n{\"a\":true}",
	       0,
	       "names 'a'@1 'b'@7\n1 [0+16] 1@5 'x'@11\n"
	       "2 [16+20] null@29 'y'@21\n"
	       "3 [40+10] true@45 null@40\n");
}

static void reads_an_array(void **state)
{
	(void)state;
	expect(false, " [ {\"a\": 1 , \"b\" : \"x\\n\\u20ac\"},\n{\"a\":-2.5e3,\"b\":{\"c\":[1,\"]\"]}} ] \n", 0,
	       "names 'a'@4 'b'@13\n1 [3+28] 1@9 'x\n€'@19\n"
	       "2 [33+30] -2.5e3@38 {\"c\":[1,\"]\"]}@49\n");
	expect(false, "[]", 0, "");
}

static void reads_arrays_of_arrays(void **state)
{
	(void)state;
	expect(false, "[[\"a\",\"b\"],[1,2],[3],[4,5,6]]", 0,
	       "names 'a'@2 'b'@6\n1 [11+5] 1@12 2@14\n2 [17+3] 3@18\n3 [21+7] 4@22 5@24 6@26\n");
	expect(true, "[\"a\"]\n[1]\n{\"a\":1}\n[2]\n", 0,
	       "names 'a'@1\n1 [6+4] 1@7\nNOT_ROWS row 2 column 0 @11\n3 [18+4] 2@19\n");
	expect(false, "[[\"a\",\"a\"]]", -EBADMSG, "fatal NOT_ROWS row 1 column 1 @10\n");
}

static void names_come_up_later(void **state)
{
	(void)state;
	expect(true, "{\"a\":1}\n{\"b\":2}\n{\"a\":3}\n", 0,
	       "names 'a'@1\n1 [0+8] 1@5\nnames 'a'@1 'b'@9\n2 [8+8] null@8 2@13\n3 [16+8] 3@21 null@16\n");
}

/* A fault is one line's: the ones behind it are read, and its names are not. */
static void lines_go_on_behind_faults(void **state)
{
	(void)state;
	expect(true, "{\"a\":1}\n{\"z\":1,}\n{\"a\":2\n{\"a\":\"3}\n{\"a\":4} 5\n{\"a\":5}{\"a\":6}\nx\n\"s\"\n{\"a\":7,\"a\":8}\n{\"a\":9}\n", 0,
	       "names 'a'@1\n1 [0+8] 1@5\nJSON row 2 column 1 @14\nUNCLOSED row 3 column 0 @21\nUNCLOSED row 4 column 0 @28\n"
	       "JSON row 5 column 0 @40\nJSON row 6 column 0 @51\nJSON row 7 column 0 @58\nNOT_ROWS row 8 column 0 @63\n"
	       "JSON row 9 column 0 @74\n10 [78+8] 9@83\n");
}

static void arrays_go_on_behind_faults(void **state)
{
	(void)state;
	expect(false, "[{\"a\":1},{\"a\":tru},7,\"]\",null,{\"a\":2}]", 0,
	       "names 'a'@2\n1 [1+7] 1@6\nJSON row 2 column 0 @13\nNOT_ROWS row 3 column 0 @19\nNOT_ROWS row 4 column 0 @21\n"
	       "NOT_ROWS row 5 column 0 @25\n6 [30+7] 2@35\n");
}

static void says_what_is_no_array_of_rows(void **state)
{
	(void)state;
	expect(false, "{\"a\":[1]}", -EBADMSG, "fatal NOT_ROWS row 0 column 0 @0\n");
	expect(false, "[1,2]", -EBADMSG, "fatal NOT_ROWS row 1 column 0 @1\n");
	expect(false, "", -EBADMSG, "fatal NOT_ROWS row 1 column 0 @0\n");
	expect(false, "[{\"a\":1}", -EBADMSG, "names 'a'@2\n1 [1+7] 1@6\nfatal UNCLOSED row 2 column 0 @8\n");
	expect(false, "[{\"a\":1] ", -EBADMSG, "fatal JSON row 1 column 0 @7\n");
	expect(false, "[{\"a\":1} {\"a\":1}]", -EBADMSG, "names 'a'@2\n1 [1+7] 1@6\nfatal JSON row 2 column 0 @9\n");
	expect(false, "[{\"a\":1}] x", -EBADMSG, "names 'a'@2\n1 [1+7] 1@6\nfatal JSON row 0 column 0 @10\n");
	expect(false, "[,]", -EBADMSG, "fatal JSON row 1 column 0 @1\n");
	expect(true, "\xef\xbb{\"a\":1}", -EBADMSG, "fatal ENCODING row 0 column 0 @0\n");
}

static void passes_a_bom(void **state)
{
	(void)state;
	expect(true, "\xef\xbb\xbf{\"a\":1}\n", 0, "names 'a'@4\n1 [3+8] 1@8\n");
	expect(false, "\xef\xbb\xbf[{\"a\":1}]", 0, "names 'a'@5\n1 [4+7] 1@9\n");
}

static void refuses_other_encodings_and_nul(void **state)
{
	(void)state;
	expect(true, "{\"a\":\"\xe9\"}\n{\"a\":\"\\u0000\"}\n{\"a\":1}\n", 0,
	       "ENCODING row 1 column 0 @4\nNUL row 2 column 0 @14\nnames 'a'@26\n3 [25+8] 1@30\n");
}

/* 64 brackets are read, 65 are a fault; a million are one, too. */
static void depth_has_a_limit(void **state)
{
	static struct said s;
	static char text[2100000];
	size_t len = 0;

	(void)state;
	for (unsigned int depth = 63; depth <= 64; depth++) {
		len = (size_t)sprintf(text, "{\"a\":");
		memset(text + len, '[', depth);
		memset(text + len + depth, ']', depth);
		len += 2 * depth;
		text[len++] = '}';
		assert_int_equal(read_text(&s, true, text, len, 7), 0);
		assert_true((strstr(s.text, "DEPTH") != NULL) == (depth == 64));
	}
	memset(text, '[', 1000000);
	memset(text + 1000000, ']', 1000000);
	assert_int_equal(read_text(&s, false, text, 2000000, 65536), 0);
	assert_string_equal(s.text, "DEPTH row 1 column 0 @66\n");
}

/* A value over its limit costs its row; a row over its limit is never kept. */
static void lengths_have_limits(void **state)
{
	static struct said s;
	char *text = malloc(6 << 20);
	size_t len;

	(void)state;
	assert_non_null(text);
	for (size_t size = ROWS_CELL_MAX; size <= ROWS_CELL_MAX + 1; size++) {
		len = (size_t)sprintf(text, "[{\"a\":\"");
		memset(text + len, 'x', size);
		len += size;
		len += (size_t)sprintf(text + len, "\"},{\"a\":1}]");
		assert_int_equal(read_text(&s, false, text, len, 65536), 0);
		assert_true((strstr(s.text, "LONG_CELL row 1") != NULL) == (size > ROWS_CELL_MAX));
		assert_non_null(strstr(s.text, "\n2 ["));
	}
	len = (size_t)sprintf(text, "{\"a\":1}\n{\"a\":\"");
	memset(text + len, 'x', 5 << 20);
	len += 5 << 20;
	len += (size_t)sprintf(text + len, "\"}\n{\"a\":1}\n");
	assert_int_equal(read_text(&s, true, text, len, 65536), 0);
	assert_non_null(strstr(s.text, "LONG_ROW row 2 column 0 @8\n3 ["));
	free(text);
}

static void columns_have_a_limit(void **state)
{
	static struct said s;
	static char text[65536];

	(void)state;
	for (int n = 1024; n <= 1025; n++) {
		size_t len = (size_t)sprintf(text, "{");
		const struct row_sink sink = { NULL, NULL, on_fault, &s };
		struct jsonrows *j;
		int rc;

		(void)sink;
		for (int i = 0; i < n; i++)
			len += (size_t)sprintf(text + len, "%s\"n%d\":1", i ? "," : "", i);
		len += (size_t)sprintf(text + len, "}\n");
		assert_int_equal(jsonrows_new(&j, true, &(struct row_sink){ on_names, on_row, on_fault, &s }), 0);
		s.len = 0;
		rc = jsonrows_feed(j, text, len);
		assert_int_equal(rc, 0);
		assert_true((strstr(s.text, "COLUMNS row 1 column") != NULL) == (n == 1025));
		jsonrows_free(j);
	}
}

static void ends_when_the_sink_wants_no_more(void **state)
{
	static struct said s;

	(void)state;
	s.stop_at = 2;
	assert_int_equal(read_text(&s, true, "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n", 24, 5), -ECANCELED);
	assert_null(strstr(s.text, "\n3 ["));
	s.stop_at = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_lines),
		cmocka_unit_test(reads_an_array),
		cmocka_unit_test(reads_arrays_of_arrays),
		cmocka_unit_test(names_come_up_later),
		cmocka_unit_test(lines_go_on_behind_faults),
		cmocka_unit_test(arrays_go_on_behind_faults),
		cmocka_unit_test(says_what_is_no_array_of_rows),
		cmocka_unit_test(passes_a_bom),
		cmocka_unit_test(refuses_other_encodings_and_nul),
		cmocka_unit_test(depth_has_a_limit),
		cmocka_unit_test(lengths_have_limits),
		cmocka_unit_test(columns_have_a_limit),
		cmocka_unit_test(ends_when_the_sink_wants_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
