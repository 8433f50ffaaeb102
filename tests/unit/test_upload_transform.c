/* SPDX-License-Identifier: Apache-2.0 */
/* test_upload_transform.c -- outputs of transform.h: what they hold, packed and not; CSV text;
 * masks; lineage. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <openssl/hmac.h>
#include <zlib.h>
#include <zstd.h>

#include "http/upload/transform.h"
#include "http/upload/transform_parts.h"

/* ---- files in memory ---- */

#define FILES 300
static struct {
	char *name, *data;
	size_t len;
} files[FILES];
static int nfiles;

static int memory_open(void *arg, const struct output *output, const char *name)
{
	(void)arg, (void)output;
	assert_true(nfiles < FILES);
	files[nfiles].name = strdup(name);
	return nfiles++;
}

static int memory_write(void *arg, int handle, const void *data, size_t len)
{
	(void)arg;
	files[handle].data = realloc(files[handle].data, files[handle].len + len + 1);
	memcpy(files[handle].data + files[handle].len, data, len);
	files[handle].len += len;
	files[handle].data[files[handle].len] = '\0';
	return 0;
}

static void forget_files(void)
{
	for (; nfiles > 0; nfiles--) {
		free(files[nfiles - 1].name);
		free(files[nfiles - 1].data);
		memset(&files[nfiles - 1], 0, sizeof(files[0]));
	}
}

static const struct transform_files memory = { memory_open, memory_write, NULL };

static const char *file_named(const char *name)
{
	for (int i = 0; i < nfiles; i++)
		if (!strcmp(files[i].name, name))
			return files[i].data ? files[i].data : "";
	fail_msg("no file %s", name);
	return NULL;
}

static int row_of(struct row *row, struct cell cells[16], const char *line)
{
	*row = (struct row){ .cells = cells };
	for (const char *at = line;; at++) {
		size_t len = strcspn(at, "|");

		cells[row->ncells++] =
			(struct cell){ .text = at, .len = (uint32_t)len, .null = !len };
		at += len;
		if (!*at)
			return 0;
	}
}

/* lines: names, then rows, cells between '|'. */
static json_t *run(const struct rules *rules, const char *const *lines)
{
	struct transform *t;
	json_t *lineage;

	assert_int_equal(transform_new(&t, rules, &memory), 0);
	for (size_t i = 0; lines[i]; i++) {
		struct cell cells[16];
		struct row row;

		row_of(&row, cells, lines[i]);
		assert_int_equal(i ? transform_row(t, &row) : transform_names(t, cells, row.ncells),
				 0);
	}
	assert_int_equal(transform_end(t), 0);
	lineage = transform_lineage(t);
	transform_free(t);
	return lineage;
}

#define NAME(s) (char *)(s)
static struct field fields[] = {
	{ .name = NAME("id"), .type = FIELD_INTEGER, .decimal = '.' },
	{ .name = NAME("price"), .type = FIELD_NUMBER, .decimal = ',', .group = '.' },
	{ .name = NAME("paid"), .type = FIELD_BOOLEAN, .decimal = '.' },
	{ .name = NAME("who"), .type = FIELD_STRING, .decimal = '.' },
	{ .name = NAME("more"), .type = FIELD_OBJECT, .decimal = '.' },
	{ .name = NAME("gone"), .type = FIELD_STRING, .decimal = '.' },
};
static char *missing[] = { NAME(""), NAME("n/a") };
static const char *const lines[] = {
	"id|price|paid|who|more|free",
	"1|1.234,50|true|Ann \"A\"|{ \"a\" : [1, 2] }|12",
	"2|n/a|0|Ünal\t,x|{}|007",
	"9007199254740993|-0,5|TRUE|=cmd()||2026-01-31",
	NULL,
};

static struct rules rules_for(struct output *outputs, size_t n)
{
	return (struct rules){ .fields = fields,
			       .nfields = 6,
			       .missing_values = missing,
			       .nmissing = 2,
			       .outputs = outputs,
			       .noutputs = n,
			       .mask_salt = "00112233445566778899aabbccddeeff" };
}

/* ---- tests ---- */

static void json_lines_have_the_types_of_the_fields(void **state)
{
	struct output o = { .name = NAME("all.jsonl"),
			    .format = OUTPUT_JSONL,
			    .all_columns = true };
	struct rules rules = rules_for(&o, 1);
	json_t *lineage = run(&rules, lines);
	const char *text = file_named("all.jsonl");

	(void)state;
	assert_string_equal(text, "{\"id\":1,\"price\":1234.5,\"paid\":true,\"who\":\"Ann "
				  "\\\"A\\\"\",\"more\":{\"a\":[1,2]},\"free\":\"12\"}\n"
				  "{\"id\":2,\"price\":null,\"paid\":false,\"who\":\"Ünal\\t,x\","
				  "\"more\":{},\"free\":\"007\"}\n"
				  "{\"id\":9007199254740993,\"price\":-0.5,\"paid\":true,\"who\":"
				  "\"=cmd()\",\"more\":null,\"free\":\"2026-01-31\"}\n");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(lineage, 0), "rows")),
			 3);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(lineage, 0), "bytes")),
			 strlen(text));
	json_decref(lineage);
	forget_files();
}

static void columns_are_renamed_cast_and_masked(void **state)
{
	struct output_column columns[] = {
		{ .name = NAME("key"), .from = NAME("id"), .masked = true, .mask = MASK_HASH },
		{ .name = NAME("euro"),
		  .from = NAME("price"),
		  .has_cast = true,
		  .cast = FIELD_INTEGER },
		{ .name = NAME("who"),
		  .from = NAME("who"),
		  .masked = true,
		  .mask = MASK_TRUNCATE,
		  .mask_keep = 2 },
		{ .name = NAME("more"), .from = NAME("more"), .masked = true, .mask = MASK_REMOVE },
		{ .name = NAME("gone"), .from = NAME("gone") },
		{ .name = NAME("n"), .from = NAME("free"), .has_cast = true, .cast = FIELD_NUMBER },
	};
	struct output o = {
		.name = NAME("few.csv"), .format = OUTPUT_CSV, .columns = columns, .ncolumns = 6
	};
	struct rules rules = rules_for(&o, 1);
	json_t *lineage = run(&rules, lines), *one = json_array_get(lineage, 0);
	unsigned char mac[32];
	char expect[256], hex[33];

	(void)state;
	HMAC(EVP_sha256(), rules.mask_salt, 32, (const unsigned char *)"1", 1, mac, NULL);
	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", mac[i]);
	snprintf(expect, sizeof(expect), "key,euro,who,gone,n\n%s,1235,An…,,12\n", hex);
	if (strncmp(file_named("few.csv"), expect, strlen(expect)))
		fail_msg("%s", file_named("few.csv"));
	assert_non_null(strstr(file_named("few.csv"),
			       ",,Ün…,,")); /* 007 is a text to who guesses, and no number */
	assert_non_null(strstr(file_named("few.csv"), ",-1,'=c…,,")); /* a date is none */
	assert_int_equal(json_array_size(json_object_get(one, "columns")), 5);
	assert_int_equal(json_integer_value(json_object_get(one, "failed")), 1);
	json_decref(lineage);
	forget_files();
}

/* 1,000 rows by a column of 300 values: 256 files and "other"; packed ones hold what plain ones
 * hold. */
static void split(enum output_packing packing)
{
	struct output o = { .name = NAME("by-{value}.csv"),
			    .packing = packing,
			    .split = NAME("v"),
			    .all_columns = true };
	struct rules rules = rules_for(&o, 1);
	struct transform *t;
	struct cell cells[2] = { { .text = "n", .len = 1 }, { .text = "v", .len = 1 } };
	struct row row = { .cells = cells, .ncells = 2 };
	char n[16], v[16];

	assert_int_equal(transform_new(&t, &rules, &memory), 0);
	assert_int_equal(transform_names(t, cells, 2), 0);
	for (int i = 0; i < 1000; i++) {
		cells[0] = (struct cell){ .text = n, .len = (uint32_t)snprintf(n, 16, "%d", i) };
		v[0] = '\0';
		if (i % 300)
			snprintf(v, 16, "../%d", i % 300);
		cells[1] = (struct cell){ .text = v, .len = (uint32_t)strlen(v) };
		assert_int_equal(transform_row(t, &row), 0);
	}
	assert_int_equal(transform_end(t), 0);
	assert_int_equal(nfiles, 257);
	transform_free(t);
}

static void a_split_makes_a_file_a_value(void **state)
{
	(void)state;
	split(PACK_NONE);
	assert_string_equal(file_named("by-empty.csv"), "n,v\n0,\n300,\n600,\n900,\n");
	assert_string_equal(file_named("by-_._7.csv"),
			    "n,v\n7,../7\n307,../7\n607,../7\n907,../7\n");
	assert_memory_equal(file_named("by-other.csv"), "n,v\n256,../256\n257,../257\n", 26);
	forget_files();
}

static size_t unpack(enum output_packing packing, int file, char *out, size_t size)
{
	size_t len = 0;

	if (packing == PACK_GZIP) {
		z_stream z = { .next_in = (unsigned char *)files[file].data,
			       .avail_in = (unsigned int)files[file].len,
			       .next_out = (unsigned char *)out,
			       .avail_out = (unsigned int)size };

		assert_int_equal(inflateInit2(&z, 16 + 15), Z_OK);
		assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
		assert_int_equal(z.avail_in, 0);
		len = size - z.avail_out;
		inflateEnd(&z);
	} else {
		ZSTD_DCtx *d = ZSTD_createDCtx();

		len = ZSTD_decompressDCtx(d, out, size, files[file].data, files[file].len);
		assert_false(ZSTD_isError(len));
		ZSTD_freeDCtx(d);
	}
	return len;
}

static void packed_files_hold_the_same(void **state)
{
	enum { ROWS = 60000, SIZE = 8 << 20 };
	char *plain = malloc(SIZE), *packed = malloc(SIZE);
	struct output o[3] = { { .name = NAME("a"), .all_columns = true },
			       { .name = NAME("b"), .all_columns = true, .packing = PACK_GZIP },
			       { .name = NAME("c"), .all_columns = true, .packing = PACK_ZSTD } };
	struct rules rules = rules_for(o, 3);
	struct transform *t;
	struct cell cell = { .text = "text", .len = 4 };
	struct row row = { .cells = &cell, .ncells = 1 };

	(void)state;
	assert_int_equal(transform_new(&t, &rules, &memory), 0);
	assert_int_equal(transform_names(t, &cell, 1), 0);
	for (int i = 0; i < ROWS; i++) {
		char text[64];

		cell = (struct cell){ .text = text,
				      .len = (uint32_t)snprintf(text, 64, "row \"%d\" of many, %d",
								i, i * 7919) };
		assert_int_equal(transform_row(t, &row), 0);
	}
	assert_int_equal(transform_end(t), 0);
	transform_free(t);
	assert_int_equal(nfiles, 3);
	assert_true(files[0].len > 1000000);
	for (int i = 1; i < 3; i++) {
		assert_true(files[i].len < files[0].len / 3);
		assert_int_equal(unpack(i == 1 ? PACK_GZIP : PACK_ZSTD, i, packed, SIZE),
				 files[0].len);
		assert_memory_equal(packed, files[0].data, files[0].len);
	}
	forget_files();
	split(PACK_NONE);
	for (int i = 0; i < 257; i++) {
		memcpy(plain + i * 16384, &files[i].len, sizeof(size_t));
		memcpy(plain + i * 16384 + 8, files[i].data, files[i].len);
	}
	for (int p = PACK_GZIP; p <= PACK_ZSTD; p++) {
		forget_files();
		split((enum output_packing)p);
		for (int i = 0; i < 257; i++) {
			size_t len = unpack((enum output_packing)p, i, packed, SIZE);

			assert_memory_equal(&len, plain + i * 16384, sizeof(len));
			assert_memory_equal(packed, plain + i * 16384 + 8, len);
		}
	}
	forget_files();
	free(plain);
	free(packed);
}

static void an_output_without_rows_is_there(void **state)
{
	static const char *const none[] = { "id|free", NULL };
	struct output o[2] = {
		{ .name = NAME("a.csv"), .all_columns = true },
		{ .name = NAME("b.jsonl"), .all_columns = true, .format = OUTPUT_JSONL }
	};
	struct rules rules = rules_for(o, 2);

	(void)state;
	json_decref(run(&rules, none));
	assert_string_equal(file_named("a.csv"), "id,free\n");
	assert_string_equal(file_named("b.jsonl"), "");
	forget_files();
}

static void what_cannot_be_made_is_said(void **state)
{
	struct output_column columns[] = { { .name = NAME("x"), .from = NAME("nowhere") } };
	struct output o = { .name = NAME("a.csv"), .columns = columns, .ncolumns = 1 };
	struct rules rules = rules_for(&o, 1);
	struct cell name = { .text = "id", .len = 2 };
	struct transform *t;

	(void)state;
	assert_int_equal(transform_new(&t, &rules, &memory), 0);
	assert_int_equal(transform_names(t, &name, 1), -EINVAL);
	assert_string_equal(transform_why(t), "output \"a.csv\": there is no column \"nowhere\"");
	transform_free(t);
	columns[0] = (struct output_column){
		.name = NAME("x"), .from = NAME("id"), .masked = true, .mask = MASK_HASH
	};
	rules.mask_salt[0] = '\0';
	assert_int_equal(transform_new(&t, &rules, &memory), 0);
	assert_int_equal(transform_names(t, &name, 1), -EINVAL);
	transform_free(t);
}

static void columns_may_come_later(void **state)
{
	struct output o[2] = {
		{ .name = NAME("a.csv"), .all_columns = true },
		{ .name = NAME("b.jsonl"), .all_columns = true, .format = OUTPUT_JSONL }
	};
	struct rules rules = rules_for(o, 2);
	struct cell names[2] = { { .text = "x", .len = 1 }, { .text = "y", .len = 1 } };
	struct cell cells[2] = { { .text = "1", .len = 1 }, { .text = "[2 ]", .len = 4 } };
	struct row row = { .cells = cells, .ncells = 1 };
	struct transform *t;

	(void)state;
	assert_int_equal(transform_new(&t, &rules, &memory), 0);
	transform_typed(t, true);
	assert_int_equal(transform_names(t, names, 1), 0);
	assert_int_equal(transform_row(t, &row), 0);
	assert_int_equal(transform_names(t, names, 2), 0);
	row.ncells = 2;
	assert_int_equal(transform_row(t, &row), 0);
	assert_int_equal(transform_end(t), 0);
	transform_free(t);
	assert_string_equal(file_named("a.csv"), "x\n1\n1\n"); /* its header was written */
	assert_string_equal(file_named("b.jsonl"), "{\"x\":1}\n{\"x\":1,\"y\":[2]}\n");
	forget_files();
}

/* From the rules as people write them. */
static void rows_are_filtered_and_columns_derived(void **state)
{
	static const char text[] =
		"columns:\n"
		"  - name: id\n    type: integer\n"
		"  - name: day\n    type: date\n"
		"  - name: net\n    type: number\n"
		"  - name: mail\n    type: string\n    personal: yes\n"
		"transform:\n"
		"  - output: big-{value}.csv\n    filter: net > 10\n    split: day\n"
		"    rename:\n      net: euro\n    drop: [mail]\n"
		"    derive:\n      gross: round(net * 1.19, 2)\n      year: year(day)\n"
		"  - output: all.jsonl\n    format: jsonl\n    keep: [mail, id]\n"
		"    mask:\n      mail: truncate 3\n    cast:\n      id: string\n"
		"    derive:\n      none: net / (id - 1)\n";
	static const char *const rows[] = { "id|day|net|mail",	  "1|2026-01-31|100|ann@x.org",
					    "2|2026-02-01|5|bob", "3|2026-01-31|10.5|",
					    "4|2026-02-01|",	  NULL };
	struct rules *rules;
	json_t *lineage;

	(void)state;
	assert_int_equal(rules_parse(&rules, text, sizeof(text) - 1, "test", stderr), 0);
	lineage = run(rules, rows);
	assert_int_equal(nfiles, 2);
	assert_string_equal(file_named("big-2026-01-31.csv"),
			    "id,day,euro,gross,year\n"
			    "1,2026-01-31,100,119,2026\n3,2026-01-31,10.5,12.5,2026\n");
	assert_string_equal(file_named("all.jsonl"),
			    "{\"mail\":\"ann…\",\"id\":\"1\",\"none\":null}\n"
			    "{\"mail\":\"bob\",\"id\":\"2\",\"none\":5}\n"
			    "{\"mail\":null,\"id\":\"3\",\"none\":5.25}\n"
			    "{\"mail\":null,\"id\":\"4\",\"none\":null}\n");
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(lineage, 0), "filter")),
		"net > 10");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(lineage, 1), "failed")),
			 1);
	json_decref(lineage);
	rules_free(rules);
	forget_files();
}

static void csv_is_quoted_and_marked(void **state)
{
	static const struct {
		const char *text, *plain, *marked;
	} cases[] = {
		{ "a", "a", "a" },
		{ "", "\"\"", "\"\"" },
		{ " a", "\" a\"", "\" a\"" },
		{ "a,b", "\"a,b\"", "\"a,b\"" },
		{ "a\"b", "\"a\"\"b\"", "\"a\"\"b\"" },
		{ "a\r\nb", "\"a\r\nb\"", "\"a\r\nb\"" },
		{ "=1+1", "=1+1", "'=1+1" },
		{ "@SUM(A1)", "@SUM(A1)", "'@SUM(A1)" },
		{ "+1", "+1", "+1" },
		{ "-12.5", "-12.5", "-12.5" },
		{ "-1.234,5", "\"-1.234,5\"", "\"-1.234,5\"" },
		{ "-1e-9", "-1e-9", "-1e-9" },
		{ "-", "-", "'-" },
		{ "-1+cmd|'/c calc'!A0", "-1+cmd|'/c calc'!A0", "'-1+cmd|'/c calc'!A0" },
		{ "\t=1", "\t=1", "'\t=1" },
		{ "\r=1", "\"\r=1\"", "\"'\r=1\"" },
		{ "1=1", "1=1", "1=1" },
	};
	struct csv_out out = { NULL, 0, 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		for (int mark = 0; mark < 2; mark++) {
			const char *expect = mark ? cases[i].marked : cases[i].plain;
			struct cell cells[2] = { { .text = cases[i].text,
						   .len = (uint32_t)strlen(cases[i].text) },
						 { .null = true } };
			struct row row = { .cells = cells, .ncells = 2 };

			out.len = 0;
			assert_int_equal(csv_out_row(&out, &row, mark), 0);
			assert_int_equal(out.len, strlen(expect) + 2);
			assert_memory_equal(out.data, expect, strlen(expect));
		}
	free(out.data);
}

/* jansson reads back every string that we write. */
/* Wherever in a cell the character stands that wants quotes. */
static void quotes_are_where_they_must_be(void **state)
{
	struct csv_out out = { NULL, 0, 0 };

	(void)state;
	for (size_t len = 1; len < 20; len++)
		for (size_t at = 0; at < len; at++)
			for (int b = 0; b < 256; b++) {
				char text[20];
				struct cell cell = { .text = text, .len = (uint32_t)len };
				const struct row row = { .cells = &cell, .ncells = 1 };
				bool quotes;

				memset(text, 'x', sizeof(text));
				text[at] = (char)b;
				quotes = memchr(text, ',', len) || memchr(text, '"', len) || memchr(text, '\n', len) ||
					 memchr(text, '\r', len) || text[0] == ' ' || text[len - 1] == ' ';
				out.len = 0;
				assert_int_equal(csv_out_row(&out, &row, false), 0);
				assert_int_equal(out.data[0] == '"' && out.len > len + 1, quotes);
			}
	free(out.data);
}

static void json_strings_are_json(void **state)
{
	struct csv_out out = { NULL, 0, 0 };
	unsigned int seed = 5;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		char text[24];
		size_t len = (size_t)rand_r(&seed) % sizeof(text);
		json_t *j, *same;

		for (size_t k = 0; k < len; k++)
			text[k] = (char)(i % 2 ? rand_r(&seed) % 128 : rand_r(&seed));
		out.len = 0;
		assert_int_equal(json_out_string(&out, text, len), 0);
		j = json_loadb(out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		assert_non_null(j);
		same = json_stringn(text, len);
		if (same)
			assert_true(json_equal(j, same));
		json_decref(same);
		json_decref(j);
	}
	free(out.data);
}

/* A value of exactly as many bytes as a name takes stays whole: what stands behind it is not looked at. */
static void names_of_split_files(void **state)
{
	const struct output output = { .name = (char *)"{value}.csv", .split = (char *)"x" };
	char value[101], *name;

	(void)state;
	for (int i = 0; i < 50; i++)
		memcpy(value + 2 * i, "\xc3\xa4", 2);
	value[100] = (char)0x80;
	name = out_file_name(&output, value, 100, 0);
	assert_int_equal(strlen(name), 104);
	free(name);
	memcpy(value, "a", 1);
	memcpy(value + 1, "b", 1);
	memcpy(value + 99, "\xc3\xa4", 2); /* half of it would fit */
	name = out_file_name(&output, value, 101, 0);
	assert_int_equal(strlen(name), 103);
	free(name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_lines_have_the_types_of_the_fields),
		cmocka_unit_test(columns_are_renamed_cast_and_masked),
		cmocka_unit_test(a_split_makes_a_file_a_value),
		cmocka_unit_test(packed_files_hold_the_same),
		cmocka_unit_test(an_output_without_rows_is_there),
		cmocka_unit_test(what_cannot_be_made_is_said),
		cmocka_unit_test(columns_may_come_later),
		cmocka_unit_test(rows_are_filtered_and_columns_derived),
		cmocka_unit_test(csv_is_quoted_and_marked),
		cmocka_unit_test(quotes_are_where_they_must_be),
		cmocka_unit_test(names_of_split_files),
		cmocka_unit_test(json_strings_are_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
