// SPDX-License-Identifier: Apache-2.0
/*
 * expr: what expressions mean, null by null and type by type; what they refuse, and where; and that a row rule over two
 * columns is cheap.
 */
#include <errno.h>
#include <time.h>

#include "http/upload/expr.h"
#include "tests/unit/unit.h"

static const struct { const char *name; struct value v; } row[] = {
	{ "a", { .type = FIELD_INTEGER, .i = 7, .d = 7 } },
	{ "b", { .type = FIELD_INTEGER, .i = -3, .d = -3 } },
	{ "big", { .type = FIELD_INTEGER, .i = INT64_MAX, .d = (double)INT64_MAX } },
	{ "x", { .type = FIELD_NUMBER, .d = 2.5 } },
	{ "n", { .type = FIELD_ANY } },
	{ "yes", { .type = FIELD_BOOLEAN, .i = 1 } },
	{ "no", { .type = FIELD_BOOLEAN, .i = 0 } },
	{ "s", { .type = FIELD_STRING, .text = "Grüße", .len = 7 } },
	{ "t", { .type = FIELD_STRING, .text = " ab ", .len = 4 } },
	{ "empty", { .type = FIELD_STRING, .text = "", .len = 0 } },
	{ "first name", { .type = FIELD_STRING, .text = "Ada", .len = 3 } },
	{ "start", { .type = FIELD_DATE, .i = 20454 } }, /* 2026-01-01 */
	{ "end", { .type = FIELD_DATE, .i = 20484 } },	 /* 2026-01-31 */
	{ "at", { .type = FIELD_DATETIME, .i = 20454ll * 86400000000ll + 3600000000ll } },
	{ "year_", { .type = FIELD_YEAR, .i = 2026 } },
	{ "clock", { .type = FIELD_TIME, .i = 3600000000ll } },
};

/* Parses, binds and evaluates over the row; the result as text, "!" when it could not be worked out. */
static const char *result(const char *text, bool bind)
{
	static char buf[8300];
	static struct expr_scratch scratch;
	enum field_type types[64], type = FIELD_ANY;
	struct value columns[64], out;
	const char *const *names;
	struct expr *e = NULL;
	char why[160];
	size_t at, n;
	int err;

	if (expr_parse(&e, text, why, &at))
		fail_msg("%s: %s", text, why);
	n = expr_columns(e, &names);
	for (size_t i = 0; i < n; i++) {
		size_t j = 0;

		while (j < sizeof(row) / sizeof(*row) && strcmp(row[j].name, names[i]))
			j++;
		assert_true(j < sizeof(row) / sizeof(*row));
		columns[i] = row[j].v;
		types[i] = row[j].v.type;
	}
	if (bind && expr_bind(e, types, &type, why))
		fail_msg("%s: %s", text, why);
	scratch.used = 0;
	err = expr_eval(e, columns, &scratch, &out);
	if (!err && out.type != FIELD_ANY && type != FIELD_ANY && type != out.type && !(type == FIELD_NUMBER && out.type == FIELD_INTEGER) && type != FIELD_YEAR)
		fail_msg("%s: bound as %s, is %s", text, field_type_names[type], field_type_names[out.type]);
	if (err)
		snprintf(buf, sizeof(buf), "!");
	else if (out.type == FIELD_ANY)
		snprintf(buf, sizeof(buf), "null");
	else
		buf[value_format(buf, sizeof(buf) - 1, &out)] = '\0';
	expr_free(e);
	return buf;
}

static void what_expressions_mean(void **state)
{
	static const char *const cases[][2] = {
		{ "1 + 2 * 3", "7" }, { "(1 + 2) * 3", "9" }, { "10 - 3 - 2", "5" }, { "-a + 1", "-6" }, { "7 / 2", "3.5" },
		{ "a % 4", "3" }, { "b % 2", "-1" }, { "x * 2", "5" }, { "1e3", "1000" }, { ".5 + .5", "1" }, { "2 - -2", "4" },
		{ "a / 0", "!" }, { "a % 0", "!" }, { "x % 0", "!" }, { "big + 1 > big", "true" }, { "-(-big)", "9223372036854775807" },
		{ "1e308 * 10", "!" }, { "a = 7", "true" }, { "a == 7.0", "true" }, { "a != 7", "false" }, { "a <> 8", "true" },
		{ "x < a", "true" }, { "x >= 2.5", "true" }, { "a + b <= 4", "true" },
		{ "big = 9223372036854775807.0", "false" },
		/* null in, null out */
		{ "n + 1", "null" }, { "n = n", "null" }, { "n = 1", "null" }, { "n is null", "true" }, { "n is not null", "false" },
		{ "a is null", "false" }, { "empty is null", "false" }, { "not n", "null" }, { "null", "null" },
		{ "no and n", "false" }, { "n and no", "false" }, { "yes and n", "null" }, { "yes or n", "true" }, { "n or yes", "true" },
		{ "n or no", "null" }, { "a = 7 or a / 0 > 1", "true" }, { "a / 0 > 1 or a = 7", "true" }, { "a / 0 > 1 and a = 7", "!" },
		{ "coalesce(n, 5)", "5" }, { "coalesce(n, n)", "null" }, { "coalesce(a, 5)", "7" }, { "len(n)", "null" },
		{ "if(n, 1, 2)", "2" }, { "if(yes, 1, 2)", "1" }, { "if(a > 5, 'big', 'small')", "big" }, { "if(yes, 1, 1 / 0)", "1" },
		{ "n in (1, 2)", "null" }, { "1 in (1, n)", "true" }, { "2 in (1, n)", "null" }, { "2 not in (1, n)", "null" },
		{ "2 not in (1, 3)", "true" }, { "a in (1, 7)", "true" }, { "not a in (1, 7)", "false" },
		/* precedence */
		{ "yes or yes and no", "true" }, { "not no and no", "false" }, { "not a = 7", "false" }, { "1 + 1 in (2)", "true" },
		{ "a > 1 AND NOT b > 1", "true" }, { "a - 1 is null or yes", "true" },
		/* text */
		{ "len(s)", "5" }, { "upper(s)", "GRÜßE" }, { "lower('ÄÖÜ ŽŁ ΑΩ ЖЁ')", "äöü žł αω жё" }, { "upper('äöü žł αω жё')", "ÄÖÜ ŽŁ ΑΩ ЖЁ" },
		{ "trim(t)", "ab" }, { "substr(s, 3, 2)", "üß" }, { "substr(s, 4)", "ße" }, { "substr(s, 0, 2)", "G" }, { "substr(s, 9)", "" },
		{ "substr(s, -5, 3)", "" }, { "substr(s, 2, -1)", "" }, { "concat(`first name`, ' ', a, ' ', start)", "Ada 7 2026-01-01" },
		{ "'it''s'", "it's" }, { "s = 'Grüße'", "true" }, { "'a' < 'b'", "true" }, { "'a' < 'ab'", "true" }, { "empty = ''", "true" },
		{ "matches(s, '[A-Z].*')", "true" }, { "matches(s, '[A-Z]')", "false" }, { "matches(empty, '')", "true" },
		/* numbers */
		{ "round(2.5)", "3" }, { "round(-2.5)", "-3" }, { "round(2.345, 2)", "2.35" }, { "round(1234, -2)", "1200" }, { "round(a)", "7" },
		{ "abs(b)", "3" }, { "abs(-2.5)", "2.5" }, { "round(x, 99)", "!" },
		/* times */
		{ "end >= start", "true" }, { "end - start", "30" }, { "start + 30 = end", "true" }, { "start < '2026-01-02'", "true" },
		{ "at > start", "true" }, { "at < end", "true" }, { "at >= '2026-01-01T01:00:00Z'", "true" }, { "at > '2026-01-01'", "true" },
		{ "start = date('2026-01-01')", "true" }, { "year(at) * 10000 + month(at) * 100 + day(at)", "20260101" }, { "month(end)", "1" },
		{ "date(at) = start", "true" }, { "day(date('2024-02-29'))", "29" }, { "year('1969-12-31')", "1969" }, { "year_ + 1", "2027" },
		{ "year_ = year(start)", "true" }, { "at - start > at - at", "true" }, { "clock > '00:59'", "true" }, { "start in ('2026-01-01')", "true" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (strcmp(result(cases[i][0], true), cases[i][1]))
			fail_msg("%s is %s, not %s", cases[i][0], result(cases[i][0], true), cases[i][1]);
}

/* Types that nobody said: what cannot be worked out is null and says so. */
static void kinds_that_do_not_fit(void **state)
{
	static const char *const cases[] = { "s > 1", "start > 'x'", "s + 1", "start * 2", "len(a)", "a and yes", "not s", "if(a, 1, 2)", "a in ('x')",
					     "start + start", "-s", "abs(s)", "round(s)", "year(a)", "date('x')", "matches(a, 'x')", "substr(s, 'x')", "-start" };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (strcmp(result(cases[i], false), "!"))
			fail_msg("%s is %s", cases[i], result(cases[i], false));
}

static void refused_where_it_stands(void **state)
{
	static const struct { const char *text, *why; size_t at; } cases[] = {
		{ "", "column 1: the expression ends", 0 }, { "a +", "column 4: the expression ends", 3 }, { "a b", "column 3: the expression goes on", 2 },
		{ "a > > b", "column 5: a value is wanted", 4 }, { "(a", "column 3: the expression ends; \")\"", 2 }, { "'abc", "column 1: the text does not end", 0 },
		{ "'abc''", "column 1: the text does not end", 0 }, { "a = \"x\"", "column 5: \" is not known; put texts", 4 }, { "a && b", "column 3: \"&\" is not known; write and", 2 },
		{ "tooday()", "column 1: there is no function tooday()", 0 }, { "today()", "column 1: today() is not there", 0 }, { "len()", "column 1: len() does not take 0", 0 },
		{ "if(a, b)", "column 1: if() does not take 2 values; write if(", 0 }, { "len(a, b)", "column 1: len() does not take 2", 0 },
		{ "matches(a, b)", "column 12: a pattern is a text", 11 }, { "matches(a, '[')", "column 12: ", 11 }, { "1 < 2 < 3", "column 7: comparisons do not chain", 6 },
		{ "a is 3", "column 6: \"is\" stands before null", 5 }, { "a in 3", "column 6: \"(\" is missing", 5 }, { "and a", "column 1: \"and\" stands where", 0 },
		{ "ä + 3x", "column 5: a name cannot begin", 5 }, { "a not b", "column 7: \"not\" stands", 6 }, { "a ! b", "column 3: \"!\"", 2 }, { "``", "", 0 },
		{ "1e999", "column 1: the number is too large", 0 }, { "a\x01", "column 2: \"?\"", 1 },
	};
	struct expr *e = NULL;
	char why[160];
	size_t at;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (!*cases[i].why)
			continue;
		if (expr_parse(&e, cases[i].text, why, &at) != -EINVAL)
			fail_msg("%s is taken", cases[i].text);
		if (strncmp(why, cases[i].why, strlen(cases[i].why)) || at != cases[i].at)
			fail_msg("%s: at %zu: %s", cases[i].text, at, why);
	}
}

static void bound_types_fit(void **state)
{
	static const struct { const char *text; enum field_type a, b; const char *why; } cases[] = {
		{ "a > b", FIELD_DATE, FIELD_STRING, "column 5: date does not compare with string" },
		{ "a > 3", FIELD_STRING, 0, "column 5: string does not compare with integer" },
		{ "a > '3'", FIELD_INTEGER, 0, "column 5: integer does not compare with string" },
		{ "a > '2026-13-01'", FIELD_DATE, 0, "column 5: '2026-13-01' is no date" },
		{ "a + b", FIELD_STRING, FIELD_STRING, "column 3: string and string cannot be added; write concat" },
		{ "a and b", FIELD_BOOLEAN, FIELD_INTEGER, "column 7: is of type integer; something true or false" },
		{ "len(a)", FIELD_DATE, 0, "column 5: is of type date; text is wanted" },
		{ "date('2026-02-30') > a", FIELD_DATE, 0, "column 6: '2026-02-30' is no date" },
		{ "a in (b, 1)", FIELD_TIME, FIELD_TIME, "column 10: time does not compare with integer" },
		{ "year(a)", FIELD_STRING, 0, "column 6: is of type string; a date is wanted" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		enum field_type types[2] = { cases[i].a, cases[i].b };
		struct expr *e = NULL;
		char why[160] = "";
		size_t at;

		assert_int_equal(expr_parse(&e, cases[i].text, why, &at), 0);
		if (expr_bind(e, types, NULL, why) != -EINVAL || strncmp(why, cases[i].why, strlen(cases[i].why)))
			fail_msg("%s: %s", cases[i].text, why);
		expr_free(e);
	}
}

static char *repeated(const char *begin, const char *part, size_t n, const char *end)
{
	size_t len = strlen(part);
	char *text = malloc(strlen(begin) + len * n + strlen(end) + 1), *p;

	p = stpcpy(text, begin);
	for (size_t i = 0; i < n; i++)
		p = stpcpy(p, part);
	strcpy(p, end);
	return text;
}

static void limits(void **state)
{
	static const struct { const char *begin, *part; size_t n; const char *end; int err; } cases[] = {
		{ "", "(", 2000, "1", -EINVAL }, { "", "-", 2000, "1", -EINVAL }, { "", "not ", 1000, "yes", -EINVAL }, { "1", "+1", 2000, "", -EINVAL },
		{ "1", " ", 5000, "", -EINVAL }, { "1", "+1", 90, "", 0 }, { "coalesce(1", ",1", 31, ")", 0 }, { "coalesce(1", ",1", 32, ")", -EINVAL },
		{ "a in (1", ",1", 900, ")", 0 }, { "", "len(", 1000, "", -EINVAL },
		{ "no", " or matches(s, 'a')", 16, "", 0 }, { "no", " or matches(s, 'a')", 17, "", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = repeated(cases[i].begin, cases[i].part, cases[i].n, cases[i].end), why[160];
		struct expr *e = NULL;
		size_t at;

		if (expr_parse(&e, text, why, &at) != cases[i].err)
			fail_msg("case %zu: %s", i, why);
		expr_free(e);
		free(text);
	}
}

/* A text that does not fit into the scratch is refused, and nothing is overrun. */
static void scratch_is_bounded(void **state)
{
	struct value s = { .type = FIELD_STRING, .text = calloc(1, 5000), .len = 5000 }, out;
	static struct expr_scratch scratch;
	struct expr *e = NULL;
	char why[160];
	size_t at;

	(void)state;
	assert_int_equal(expr_parse(&e, "concat(s, s)", why, &at), 0);
	scratch.used = 0;
	assert_int_equal(expr_eval(e, &s, &scratch, &out), -ERANGE);
	assert_int_equal(out.type, FIELD_ANY);
	s.len = 4096;
	scratch.used = 0;
	assert_int_equal(expr_eval(e, &s, &scratch, &out), 0);
	assert_int_equal(out.len, 8192);
	expr_free(e);
	free((char *)s.text);
}

static double nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* 50 ns are aimed at; other jobs and sanitizers get room. */
static void a_row_rule_is_cheap(void **state)
{
	struct value columns[2] = { { .type = FIELD_DATE, .i = 2 }, { .type = FIELD_DATE, .i = 1 } }, out;
	enum { N = 1000000 };
	static struct expr_scratch scratch;
	struct expr *e = NULL;
	char why[160];
	double begin, ns;
	size_t at, held = 0;

	(void)state;
	assert_int_equal(expr_parse(&e, "end >= start", why, &at), 0);
	begin = nanoseconds();
	for (int i = 0; i < N; i++) {
		columns[0].i = i & 3;
		scratch.used = 0;
		expr_eval(e, columns, &scratch, &out);
		held += out.i == 1;
	}
	ns = (nanoseconds() - begin) / N;
	assert_int_equal(held, N * 3 / 4);
	print_message("# a rule over two columns: %.1f ns\n", ns);
#if defined(__SANITIZE_ADDRESS__)
	assert_true(ns < 20000);
#else
	assert_true(ns < 1000);
#endif
	expr_free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_expressions_mean), cmocka_unit_test(kinds_that_do_not_fit), cmocka_unit_test(refused_where_it_stands),
		cmocka_unit_test(bound_types_fit),	 cmocka_unit_test(limits),		  cmocka_unit_test(scratch_is_bounded),
		cmocka_unit_test(a_row_rule_is_cheap),
	};

	return cmocka_run_group_tests_name("upload_expr", tests, NULL, NULL);
}
