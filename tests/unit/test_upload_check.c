/* SPDX-License-Identifier: Apache-2.0 */
/* test_upload_check.c -- rows against rules: every rule's finding, tolerance, quarantine, header faults, what is never shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/check.h"
#include "http/upload/csv.h"

/* "LEVEL RULE@ROW,COLUMN=VALUE" a line; messages and mends beside it. */
struct told {
	char text[8192], says[32768], good[4096], bad[4096];
	unsigned int n;
	struct finding last;
	struct check_counts counts;
	enum verdict verdict;
	json_t *summary;
	bool stopped, later;
	int keys; /* file for keys of column "id", or -1 */
	struct keyset *const *keysets;
	size_t memory;
};

static struct told told;

static void append(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *out, size_t size, const char *format, ...)
{
	size_t at = strlen(out);
	va_list ap;

	va_start(ap, format);
	vsnprintf(out + at, size - at, format, ap);
	va_end(ap);
}

static int on_found(void *arg, const struct finding *f)
{
	struct told *t = arg;

	t->n++;
	t->last = *f;
	append(t->text, sizeof(t->text), "%c %s@%d,%s=%s\n", "WQR"[f->level], f->rule, (int)f->row, f->column, f->value);
	append(t->says, sizeof(t->says), "%s | %s\n", f->message, f->mend);
	assert_true(f->message[0] && f->mend[0]);
	return 0;
}

static int on_good(void *arg, const struct row *row)
{
	append(((struct told *)arg)->good, sizeof(told.good), "%d ", (int)row->number);
	return 0;
}

static int on_bad(void *arg, const struct row *row)
{
	append(((struct told *)arg)->bad, sizeof(told.bad), "%d ", (int)row->number);
	return 0;
}

static struct rules *rules_of(const char *yaml)
{
	struct rules *rules;

	if (rules_parse(&rules, yaml, strlen(yaml), "test", stderr))
		fail_msg("rules");
	return rules;
}

static void run_n(const char *yaml, const char *csv, size_t len)
{
	static const uint8_t seed[16] = "0123456789abcdef";
	const struct csv_dialect dialect = { .delimiter = ',', .quote = '"', .header = true };
	struct rules *rules = rules_of(yaml);
	FILE *spill[8] = { 0 };
	int fds[8] = { -1, -1, -1, -1, -1, -1, -1, -1 }, rc;
	struct check_options opt = { .rules = rules, .found = on_found, .good = on_good, .bad = on_bad, .arg = &told, .seed = seed, .spill_fds = fds,
				     .keysets = told.keysets, .memory_max = told.memory };
	struct row_sink sink;
	struct check *check;
	struct csv *reader;

	json_decref(told.summary);
	memset(&told, 0, offsetof(struct told, later));
	for (size_t i = 0; i < check_spills(rules); i++)
		fds[i] = fileno(spill[i] = tmpfile());
	assert_int_equal(check_new(&check, &opt), 0);
	if (told.later)
		check_later_names(check);
	check_sink(check, &sink);
	assert_int_equal(csv_new(&reader, &dialect, &sink), 0);
	rc = csv_feed(reader, csv, len);
	rc = rc ? rc : csv_end(reader);
	told.stopped = rc == -ECANCELED;
	csv_free(reader);
	assert_int_equal(check_end(check), 0);
	check_counts(check, &told.counts);
	told.verdict = check_verdict(check);
	told.summary = check_summary(check);
	if (told.keys > 0)
		assert_int_equal(check_write_keys(check, "id", told.keys), 0);
	assert_int_equal(check_write_keys(check, "nothing", -1), -ENOENT);
	check_free(check);
	rules_free(rules);
	for (int i = 0; i < 8; i++)
		if (spill[i])
			fclose(spill[i]);
}

static void run(const char *yaml, const char *csv)
{
	run_n(yaml, csv, strlen(csv));
}

static void says(const char *text)
{
	if (!strstr(told.says, text))
		fail_msg("\"%s\" is not in:\n%s", text, told.says);
}

static void every_rule(void **state)
{
	(void)state;
	run("columns:\n"
	    "  - {name: id, type: integer, required: true, unique: true, minimum: 1, maximum: 99}\n"
	    "  - {name: n, type: number, minimum: 0.5}\n"
	    "  - {name: day, type: date, minimum: '2020-01-01', maximum: '2029-12-31'}\n"
	    "  - {name: color, type: string, enum: [red, green, blue]}\n"
	    "  - {name: code, type: string, pattern: '[A-Z]{2}[0-9]+'}\n"
	    "  - {name: word, type: string, min_length: 2, max_length: 4}\n"
	    "  - {name: mail, type: string, format: email}\n",
	    "id,n,day,color,code,word,mail\n"
	    "1,0.5,2026-01-31,red,AB1,\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9,a@b.org\n"
	    "x,,,,,,\n"
	    ",,,,,,\n"
	    "1,,,,,,\n"
	    "0,0.4,2019-12-31,gren,ab1,x,a.b.org\n"
	    "100,abc,2026-02-30,Red,AB1 ,\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9,\n"
	    "7.5,\"1,5\",2030-01-01, red,,,\n");
	assert_string_equal(told.text, "R type@2,id=x\nR required@3,id=\nR unique@4,id=1\n"
				       "R minimum@5,id=0\nR minimum@5,n=0.4\nR minimum@5,day=2019-12-31\nR enum@5,color=gren\nR pattern@5,code=ab1\n"
				       "R min_length@5,word=x\nR format@5,mail=a.b.org\n"
				       "R maximum@6,id=100\nR type@6,n=abc\nR type@6,day=2026-02-30\nR enum@6,color=Red\nR pattern@6,code=AB1 \n"
				       "R max_length@6,word=\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\n"
				       "R type@7,id=7.5\nR type@7,n=1,5\nR maximum@7,day=2030-01-01\nR enum@7,color= red\n");
	says("row 1 already");
	says("Did you mean \"green\"? Allowed: blue, green, red.");
	says("Did you mean \"red\"?");
	says("Take the spaces around the value away.");
	says("below 0.5");
	says("below 2020-01-01");
	says("Write numbers with '.' before the decimals");
	says("without decimals");
	says("has 5 characters, at most 4");
	says("matches [A-Z]{2}[0-9]+ as a whole");
	assert_int_equal(told.verdict, VERDICT_REJECTED);
	assert_true(told.counts.rows == 7 && told.counts.good == 1 && told.counts.bad == 6 && told.counts.findings == 20);
	assert_string_equal(told.good, "1 ");
	assert_true(told.last.row_offset < told.last.offset && told.last.row_length > 10);
}

static void headers(void **state)
{
	static const char *const rules = "columns:\n  - {name: Email}\n  - {name: amount, type: integer}\n  - {name: city}\n";

	(void)state;
	run(rules, "email,amount,city,\nx,1,y,\n");
	assert_string_equal(told.text, "W columns@0,email=\nW columns@0,=\nR columns@0,Email=\n");
	says("Did you mean \"Email\"?");
	says("Did you mean \"email\"? Rename this column of the file to Email.");
	run(rules, "Email,amonut,city,city,extra\n");
	assert_string_equal(told.text, "W columns@0,amonut=\nR columns@0,city=\nW columns@0,extra=\nR columns@0,amount=\n");
	says("Did you mean \"amount\"?");
	says("Columns 3 and 4 have the same name.");
	run("columns_exact: yes\ncolumns:\n  - {name: a}\n", "a,b\n1,2\n");
	assert_string_equal(told.text, "R columns@0,b=\n");
	run(rules, "");
	assert_string_equal(told.text, "R columns@0,=\n");
	told.later = true;
	run(rules, "city,amount\n1,x\n");
	assert_string_equal(told.text, "R type@1,amount=x\nR columns@0,Email=\n");
	told.later = false;
}

static void forms(void **state)
{
	static const char data[] = "a,b\n1,2\n1\n1,2,3\n5\" x,1\n\xff,1\n\0,1\nx,\"y";

	(void)state;
	run_n("columns: [{name: a}, {name: b}]\ntolerance: {on_fault: quarantine}\n", data, sizeof(data) - 1);
	assert_string_equal(told.text, "Q columns@2,=\nQ columns@3,=\nQ quote@4,a=\nQ encoding@5,a=\nQ encoding@6,a=\nQ quote@7,b=\n");
	assert_string_equal(told.good, "1 ");
	assert_string_equal(told.bad, "2 3 4 5 6 7 ");
	says("has 1 cells, the header 2");
	says("UTF-8");
	assert_int_equal(told.last.row_length, 4);
}

static void tolerance(void **state)
{
	static const char *const data = "n\n1\nx\n3\ny\n5\n";
	char rules[256];

	(void)state;
	snprintf(rules, sizeof(rules), "columns: [{name: n, type: integer}]\ntolerance: {on_fault: %s}\n", "warn");
	run(rules, data);
	assert_int_equal(told.verdict, VERDICT_ACCEPTED);
	assert_true(told.counts.good == 5 && told.counts.warned == 2 && told.counts.findings == 2);
	run("columns: [{name: n, type: integer}]\ntolerance: {on_fault: quarantine}\n", data);
	assert_int_equal(told.verdict, VERDICT_ACCEPTED);
	assert_string_equal(told.good, "1 3 5 ");
	assert_string_equal(told.bad, "2 4 ");
	run("columns: [{name: n, type: integer}]\ntolerance: {on_fault: quarantine, max_faults: 1}\n", data);
	assert_string_equal(told.text, "Q type@2,n=x\nQ type@4,n=y\nR tolerance@0,=\n");
	assert_int_equal(told.verdict, VERDICT_REJECTED);
	run("columns: [{name: n, type: integer}]\ntolerance: {on_fault: quarantine, max_share: 30%}\n", data);
	assert_int_equal(told.verdict, VERDICT_REJECTED);
	says("2 of 5 rows are faulty, more than 30%");
	run("columns: [{name: n, type: integer}]\ntolerance: {stop: yes}\n", data);
	assert_true(told.stopped && told.verdict == VERDICT_REJECTED && told.n == 1);
	run("max_rows: 3\ncolumns: [{name: n}]\n", data);
	assert_string_equal(told.text, "R size@4,=\n");
	assert_true(told.stopped);
	run("columns: [{name: n, type: integer, level: warn}]\n", data);
	assert_int_equal(told.verdict, VERDICT_ACCEPTED);
}

static void only_so_many_are_shown(void **state)
{
	char data[4096] = "a,b\n";

	(void)state;
	for (int i = 0; i < 100; i++)
		append(data, sizeof(data), "x,%s\n", i < 50 ? "1" : "y");
	run("columns: [{name: a, type: integer}, {name: b, type: integer}]\ntolerance: {show: 10}\n", data);
	assert_int_equal(told.n, 11); /* and the first of a kind that told nothing yet */
	assert_int_equal(told.counts.findings, 150);
	assert_int_equal(json_array_size(told.summary), 2);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(told.summary, 1), "count")), 50);
	assert_string_equal(json_string_value(json_object_get(json_array_get(told.summary, 1), "column")), "b");
}

static void personal_data_is_not_shown(void **state)
{
	(void)state;
	run("columns: [{name: mail, format: email, type: string, personal: yes}, {name: k, enum: [abcdefgh], personal: yes}]\n", "mail,k\nsecret,hidden\n");
	assert_string_equal(told.text, "R format@1,mail=\nR enum@1,k=\n");
	assert_null(strstr(told.says, "secret"));
	assert_null(strstr(told.says, "hidden"));
}

static void row_rules(void **state)
{
	(void)state;
	run("columns: [{name: from, type: date}, {name: to, type: date}, {name: n, type: integer}]\n"
	    "rows:\n  - {rule: '`to` >= `from`', message: ends before it begins, level: warn}\n  - {rule: n > 0}\n",
	    "from,to,n\n2026-01-01,2026-01-02,1\n2026-01-02,2026-01-01,1\n2026-01-02,,0\nx,2026-01-01,\n");
	assert_string_equal(told.text, "W row@2,=\nR row@3,=\nR type@4,from=x\n");
	says("ends before it begins");
	says("The row does not fulfil \"n > 0\".");
	run("columns: [{name: a, level: warn}, {name: b, level: warn}]\nrows: [{rule: a = b}]\n", "a\n1\n");
	assert_string_equal(told.text, "W columns@0,b=\nR row@0,=\n");
}

static void missing_values(void **state)
{
	(void)state;
	run("missing_values: ['', '-', 'n/a']\ncolumns: [{name: a, type: integer, unique: true}, {name: b, required: true}]\n",
	    "a,b\n-,1\nn/a,2\n\"\",3\n,-\n--,x\n");
	assert_string_equal(told.text, "R required@4,b=-\nR type@5,a=--\n");
}

static void primary_keys(void **state)
{
	(void)state;
	run("columns: [{name: a}, {name: b}]\nprimary_key: [a, b]\n", "a,b\nx,yz\nxy,z\nx,yz\nx,\n");
	assert_string_equal(told.text, "R unique@3,=\nR required@4,b=\n");
	run("columns: [{name: a}]\nprimary_key: [a]\n", "a\n1\n2\n1\n");
	assert_string_equal(told.text, "R unique@3,a=\n");
	run("columns: [{name: a, type: integer, unique: true}]\nprimary_key: [a]\n", "a\n7\n007\n");
	assert_string_equal(told.text, "R unique@2,a=007\n");
}

static void references(void **state)
{
	FILE *keys = tmpfile();
	struct keyset *set, *sets[1];

	(void)state;
	told.keys = fileno(keys);
	run("columns: [{name: id, type: integer, unique: true}]\n", "id\n1\n2\n30\n");
	told.keys = -1;
	assert_int_equal(keyset_open(&set, fileno(keys)), 0);
	sets[0] = set;
	told.keysets = sets;
	run("columns: [{name: of, type: integer, references: {dataset: others, column: id}}]\n", "of\n2\n+30\n\n3\n");
	assert_string_equal(told.text, "R reference@3,of=3\n");
	says("is not in column id of dataset others");
	sets[0] = NULL;
	run("columns: [{name: of, type: integer, references: {dataset: others, column: id}}]\n", "of\n2\n");
	assert_string_equal(told.text, "R reference@0,of=\n");
	told.keysets = NULL;
	keyset_close(set);
	fclose(keys);
}

/* More values than memory holds: duplicates are found at the end, and refuse the file since the rows have gone on. */
static void duplicates_beyond_memory(void **state)
{
	enum { N = 300000 };
	char *data = malloc(N * 10);
	size_t len = (size_t)sprintf(data, "a\n");

	(void)state;
	for (int i = 0; i < N; i++)
		len += (size_t)sprintf(data + len, "v%d\n", i == N - 1 ? 17 : i);
	told.memory = 1 << 20;
	run_n("columns: [{name: a, unique: true}]\ntolerance: {on_fault: quarantine}\n", data, len);
	told.memory = 0;
	assert_string_equal(told.text, "R unique@300000,a=\n");
	says("row 18 already");
	assert_int_equal(told.verdict, VERDICT_REJECTED);
	free(data);
}

static int free_summary(void **state)
{
	(void)state;
	json_decref(told.summary);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_rule),	   cmocka_unit_test(headers),	    cmocka_unit_test(forms),
		cmocka_unit_test(tolerance),	   cmocka_unit_test(only_so_many_are_shown), cmocka_unit_test(personal_data_is_not_shown),
		cmocka_unit_test(row_rules),	   cmocka_unit_test(missing_values), cmocka_unit_test(primary_keys),
		cmocka_unit_test(references),	   cmocka_unit_test(duplicates_beyond_memory),
	};

	return cmocka_run_group_tests(tests, NULL, free_summary);
}
