/* SPDX-License-Identifier: Apache-2.0 */
/* test_upload_csv.c -- the CSV reader: dialects, encodings, faults, limits, pieces of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "http/upload/csv.h"
#include "http/upload/csv_scan.h"

/* All that a reader told, as text: "n[a|b]" names, "1[a|b]" rows (quoted cells in "", null ones as ~), "!FAULT@ROW,COLUMN+OFFSET". */
struct told {
	char text[65536];
	size_t len;
	uint64_t rows, cells, bytes;
	int stop;
};

static void add(struct told *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct told *t, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	t->len += (size_t)vsnprintf(t->text + t->len, sizeof(t->text) - t->len, format, ap);
	va_end(ap);
	assert_true(t->len < sizeof(t->text));
}

static void add_cells(struct told *t, const struct cell *cells, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const char *q = cells[i].quoted ? "\"" : "";

		if (cells[i].null)
			add(t, "%s~", i ? "|" : "[");
		else
			add(t, "%s%s%.*s%s", i ? "|" : "[", q, (int)cells[i].len, cells[i].text, q);
	}
	add(t, "]");
}

static int on_names(void *arg, const struct cell *cells, uint32_t n)
{
	add(arg, "n");
	add_cells(arg, cells, n);
	return 0;
}

static int on_row(void *arg, const struct row *row)
{
	struct told *t = arg;

	add(t, "%d", (int)row->number);
	add_cells(t, row->cells, row->ncells);
	return t->stop;
}

static int on_fault(void *arg, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal)
{
	static const char *const names[] = { "QUOTE", "UNCLOSED", "LONG_CELL", "LONG_ROW", "COLUMNS", "ENCODING", "NUL" };

	add(arg, "!%s@%d,%d+%d%s", names[fault], (int)row, (int)column, (int)offset, fatal ? "!" : "");
	return 0;
}

static const struct csv_dialect comma = { .delimiter = ',', .quote = '"', .header = true };

static int run(struct told *t, const struct csv_dialect *d, const char *text, size_t len, size_t piece)
{
	struct row_sink sink = { .names = on_names, .row = on_row, .fault = on_fault, .arg = t };
	struct csv *csv;
	int rc = 0;

	t->len = 0;
	t->text[0] = '\0';
	assert_int_equal(csv_new(&csv, d, &sink), 0);
	for (size_t at = 0; at < len && !rc; at += piece)
		rc = csv_feed(csv, text + at, len - at < piece ? len - at : piece);
	rc = rc ? rc : csv_end(csv);
	csv_free(csv);
	return rc;
}

static struct told told;

#define CHECK(dialect, given, want)                                                              \
	do {                                                                                    \
		for (size_t piece_ = 1; piece_ <= sizeof(given); piece_++) {                     \
			assert_int_equal(run(&told, dialect, given, sizeof(given) - 1, piece_), 0); \
			assert_string_equal(told.text, want);                                   \
		}                                                                               \
	} while (0)

static void rows_are_read(void **state)
{
	(void)state;
	CHECK(&comma, "a,b\n1,2\n3,4\n", "n[a|b]1[1|2]2[3|4]");
	CHECK(&comma, "a,b\r\n1,2\r\n3,4", "n[a|b]1[1|2]2[3|4]");
	CHECK(&comma, "a,b\r1,2\r3,", "n[a|b]1[1|2]2[3|~]");
	CHECK(&comma, "a,b\n\n\n1,2\n\r\n3,4\n\n", "n[a|b]1[1|2]2[3|4]");
	CHECK(&comma, "a\n\"\"\n\nx\n", "n[a]1[\"\"]2[x]");
	CHECK(&comma, "a,b\n1\n1,2,3\n,\n", "n[a|b]1[1]2[1|2|3]3[~|~]");
	CHECK(&comma, "", "");
	CHECK(&comma, "a,b", "n[a|b]");
}

static void quotes_are_taken_off(void **state)
{
	(void)state;
	CHECK(&comma, "a,b\n\"1,\n2\",\"x \"\"y\"\"\"\n", "n[a|b]1[\"1,\n2\"|\"x \"y\"\"]");
	CHECK(&comma, "\"a\",\"\"\"\"\n\"\",\"\"\"\"\"\"\n", "n[\"a\"|\"\"\"]1[\"\"|\"\"\"\"]");
	CHECK(&comma, "a\n\"x\r\ny\"\r\n", "n[a]1[\"x\r\ny\"]");
}

static void quotes_where_none_may_be(void **state)
{
	(void)state;
	CHECK(&comma, "a,b\n5\" x,1\n", "n[a|b]!QUOTE@1,0+4" "1[5\" x|1]");
	CHECK(&comma, "a,b\n\"x\"y,\"z\" \n", "n[a|b]!QUOTE@1,0+4" "1[\"xy\"|\"z \"]");
	CHECK(&comma, "a,b\n1,\"x,2\n3,4\n", "n[a|b]!UNCLOSED@1,1+6" "1[1|\"x,2\n3,4\n\"]");
	CHECK(&comma, "a,b\n1,\"\"\"", "n[a|b]!UNCLOSED@1,1+6" "1[1|\"\"\"]");
}

static void dialects(void **state)
{
	const struct csv_dialect none = { .delimiter = '\t', .header = false }, hash = { ';', '\'', '#', true, ENC_UTF8 };

	(void)state;
	CHECK(&none, "a\t\"b\n1\t2\n", "n[column1|column2]1[a|\"b]2[1|2]");
	CHECK(&hash, "# one, 'two\na;b\n#x\n'#1';2\n#end", "n[a|b]1[\"#1\"|2]");
	CHECK(&hash, "a;b\n1;#2\n", "n[a|b]1[1|#2]");
}

static void encodings(void **state)
{
	struct csv_dialect d = comma;

	(void)state;
	CHECK(&d, "\xef\xbb\xbf" "a,b\n\xc3\xa9,\xf0\x9f\x98\x80\n", "n[a|b]1[\xc3\xa9|\xf0\x9f\x98\x80]");
	CHECK(&d, "a,b\nx,\xe9y\xff\n\xed\xa0\x80,1\n", "n[a|b]!ENCODING@1,1+6" "1[x|?y?]!ENCODING@2,0+10" "2[???|1]");
	CHECK(&d, "a,\xc3", "!ENCODING@0,1+2n[a|?]");
	d.encoding = ENC_LATIN1;
	CHECK(&d, "a,b\n\xe9\x80,5\" \n", "n[a|b]!QUOTE@1,1+7" "1[\xc3\xa9\xe2\x82\xac|5\" ]");
	d.encoding = ENC_UTF16LE;
	CHECK(&d, "\xff\xfe" "a\0\n\0\x3d\xd8\0\xde\n\0" "5\0\"\0\n\0", "n[a]1[\xf0\x9f\x98\x80]!QUOTE@2,0+12" "2[5\"]");
	CHECK(&d, "a\0\n\0\x3d\xd8x\0\n\0y", "n[a]!ENCODING@1,0+4" "1[\xef\xbf\xbdx]!ENCODING@2,0+10" "2[\xef\xbf\xbd]");
	d.encoding = ENC_UTF16BE;
	CHECK(&d, "\xfe\xff\0a\0\r\0\n\0\"\0\"\0\"\0\"\0,\x20\xac\0\n", "n[a]1[\"\"\"|\xe2\x82\xac]");
}

static void nul_bytes(void **state)
{
	(void)state;
	CHECK(&comma, "a,b\n1,x\0y\n\0,\0\n", "n[a|b]!NUL@1,1+7" "1[1|x]!NUL@2,0+10" "2[|]");
}

static int count_names(void *arg, const struct cell *cells, uint32_t n)
{
	(void)cells;
	((struct told *)arg)->cells += n;
	return 0;
}

static int count_row(void *arg, const struct row *row)
{
	struct told *t = arg;

	t->rows++;
	t->cells += row->ncells;
	for (uint32_t i = 0; i < row->ncells; i++)
		t->bytes += row->cells[i].len;
	return 0;
}

/* A cell of 1 GB takes no memory, is told once, and what follows is read. */
static void a_cell_of_a_gigabyte(void **state)
{
	struct row_sink sink = { .names = count_names, .row = count_row, .fault = on_fault, .arg = &told };
	static char piece[1 << 20];
	struct csv *csv;
	size_t before;

	(void)state;
	for (int quoted = 0; quoted < 2; quoted++) {
		memset(&told, 0, sizeof(told));
		memset(piece, quoted ? ',' : 'x', sizeof(piece));
		before = mallinfo2().uordblks + mallinfo2().hblkhd;
		assert_int_equal(csv_new(&csv, &comma, &sink), 0);
		assert_int_equal(csv_feed(csv, quoted ? "a,b\n1,\"" : "a,b\n1,", quoted ? 7 : 6), 0);
		for (int i = 0; i < (quoted ? 64 : 1024); i++)
			assert_int_equal(csv_feed(csv, piece, sizeof(piece)), 0);
		assert_int_equal(csv_feed(csv, quoted ? "\",x\n3,4\n" : ",x\n3,4\n", quoted ? 8 : 7), 0);
		assert_true(mallinfo2().uordblks + mallinfo2().hblkhd - before < 4 << 20);
		assert_int_equal(csv_end(csv), 0);
		csv_free(csv);
		assert_string_equal(told.text, "!LONG_CELL@1,1+6");
		assert_int_equal(told.rows, 1);
		assert_int_equal(told.bytes, 2);
	}
}

static void limits(void **state)
{
	struct row_sink sink = { .names = count_names, .row = count_row, .fault = on_fault, .arg = &told };
	static char cell[ROWS_CELL_MAX];
	struct csv *csv;

	(void)state;
	memset(&told, 0, sizeof(told));
	memset(cell, 'x', sizeof(cell));
	assert_int_equal(csv_new(&csv, &comma, &sink), 0);
	csv_feed(csv, "a\n", 2);
	for (int i = 0; i < 3; i++) { /* just not too long, three times */
		csv_feed(csv, cell, sizeof(cell));
		csv_feed(csv, "\n", 1);
	}
	for (int i = 0; i < 6; i++) { /* a row of 6 MiB */
		csv_feed(csv, cell, sizeof(cell) - 1);
		csv_feed(csv, i < 5 ? "," : "\n", 1);
	}
	for (uint32_t i = 0; i < ROWS_COLUMNS_MAX; i++)
		csv_feed(csv, "1,", 2);
	csv_feed(csv, "1\n1\n", 4);
	assert_int_equal(csv_end(csv), 0);
	csv_free(csv);
	assert_string_equal(told.text, "!LONG_ROW@4,-1+3145733!COLUMNS@5,-1+9439237");
	assert_int_equal(told.rows, 4);
}

static void names_that_are_too_many(void **state)
{
	struct row_sink sink = { .names = count_names, .row = count_row, .fault = on_fault, .arg = &told };
	struct csv *csv;
	int rc = 0;

	(void)state;
	memset(&told, 0, sizeof(told));
	assert_int_equal(csv_new(&csv, &comma, &sink), 0);
	for (uint32_t i = 0; i <= ROWS_COLUMNS_MAX && !rc; i++)
		rc = csv_feed(csv, "n,", 2);
	assert_int_equal(rc, -EBADMSG);
	assert_int_equal(csv_end(csv), -EBADMSG);
	csv_free(csv);
	assert_string_equal(told.text, "!COLUMNS@0,-1+2048!");
}

static void the_sink_stops(void **state)
{
	(void)state;
	told.stop = -ECANCELED;
	assert_int_equal(run(&told, &comma, "a\n1\n2\n3\n", 8, 8), -ECANCELED);
	assert_string_equal(told.text, "n[a]1[1]");
	told.stop = 0;
}

/* Every way of scanning finds the same, at every alignment and length. */
static void scans_agree(void **state)
{
	static char text[CSV_SCAN_MAX + CSV_SCAN_PAD + 64];
	static const char bytes[] = ",\"\n\rabc\0\xe9 ,,x";
	static struct csv_scan a, b;
	csv_scan_fn *const *all = csv_scan_all();
	uint32_t rng = 7;

	(void)state;
	for (int round = 0; round < 2000; round++) {
		size_t len = 1 + (rng >> 8) % CSV_SCAN_MAX, from = rng % 64;

		for (size_t i = 0; i < sizeof(text); i++) {
			rng = rng * 1664525 + 1013904223;
			text[i] = bytes[(rng >> 16) % (round & 1 ? sizeof(bytes) - 1 : 7)];
		}
		a.delimiter = b.delimiter = ',';
		a.quote = b.quote = round & 2 ? '"' : '\0';
		all[0](&a, text + from, len);
		for (int i = 1; all[i]; i++) {
			all[i](&b, text + from, len);
			assert_int_equal(a.n, b.n);
			assert_memory_equal(a.at, b.at, a.n * sizeof(a.at[0]));
			assert_int_equal(a.high, b.high);
			assert_int_equal(a.nul, b.nul);
		}
		for (size_t i = 0, n = 0; i < len; i++)
			if (memchr(round & 2 ? ",\"\n\r" : ",\n\r", text[from + i], round & 2 ? 4 : 3))
				assert_int_equal(a.at[n++], i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_read),	   cmocka_unit_test(quotes_are_taken_off),
		cmocka_unit_test(quotes_where_none_may_be), cmocka_unit_test(dialects),
		cmocka_unit_test(encodings),		   cmocka_unit_test(nul_bytes),
		cmocka_unit_test(a_cell_of_a_gigabyte),	   cmocka_unit_test(limits),
		cmocka_unit_test(names_that_are_too_many), cmocka_unit_test(the_sink_stops),
		cmocka_unit_test(scans_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
