/* SPDX-License-Identifier: Apache-2.0 */
/* test_upload_value.c -- text as values: every type, its edges, guesses, canonical text, order; findings' values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/finding.h"
#include "http/upload/value.h"

static int parse(struct value *v, const struct field *f, const char *text)
{
	return value_parse(v, f, text, strlen(text));
}

static void integers(void **state)
{
	struct field f = { .type = FIELD_INTEGER };
	struct value v;

	(void)state;
	assert_int_equal(parse(&v, &f, "9223372036854775807"), 0);
	assert_true(v.i == INT64_MAX && v.d == 9223372036854775807.0);
	assert_int_equal(parse(&v, &f, "-9223372036854775808"), 0);
	assert_true(v.i == INT64_MIN);
	assert_int_equal(parse(&v, &f, "+007"), 0);
	assert_int_equal(v.i, 7);
	assert_int_equal(parse(&v, &f, "9223372036854775808"), -ERANGE);
	assert_int_equal(parse(&v, &f, "99999999999999999999999"), -ERANGE);
	for (const char *const *bad = (const char *const[]){ "", "-", "1.0", "1 ", " 1", "0x1", "1e3", "1,000", "--1", NULL }; *bad; bad++)
		assert_int_equal(parse(&v, &f, *bad), -EINVAL);
	f.group = ',';
	assert_int_equal(parse(&v, &f, "-1,234,567"), 0);
	assert_int_equal(v.i, -1234567);
	assert_int_equal(parse(&v, &f, ",1"), -EINVAL);
	assert_int_equal(parse(&v, &f, "1,"), -EINVAL);
}

static void numbers(void **state)
{
	struct field f = { .type = FIELD_NUMBER, .decimal = '.' };
	struct value v;

	(void)state;
	for (const char *const *bad = (const char *const[]){ "", ".", "-", "1e", "1e+", "e1", "1.2.3", "0x1p3", "inf", "nan", "1 ", "1,5", NULL }; *bad; bad++)
		assert_int_equal(parse(&v, &f, *bad), -EINVAL);
	assert_int_equal(parse(&v, &f, "1e999"), -ERANGE);
	assert_int_equal(parse(&v, &f, "0e999"), 0);
	assert_int_equal(parse(&v, &f, "NaN"), 0);
	assert_true(isnan(v.d));
	assert_int_equal(parse(&v, &f, "-INF"), 0);
	assert_true(isinf(v.d) && v.d < 0);
	f.decimal = ',';
	f.group = '.';
	assert_int_equal(parse(&v, &f, "-1.234.567,25"), 0);
	assert_true(v.d == -1234567.25);
}

/* The same double as strtod's, which rounds correctly. */
static void numbers_round_correctly(void **state)
{
	struct field f = { .type = FIELD_NUMBER, .decimal = '.' };
	const char *const hard[] = { "0.1", "9007199254740993", "9007199254740992", "1e22", "1e23", "123456789012345678901234567890", "2.2250738585072011e-308",
				     "4.9e-324", "1.7976931348623157e308", "0.000000000000000000000000000001", "179769313486231580793e288", "1.5e-5", ".5", "5.",
				     "100000000000000000000.0", "0.00000000000000000000", "-0", "18446744073709551616", "18446744073709551617.5", NULL };
	uint64_t rng = 1;
	struct value v;
	char text[64];

	(void)state;
	for (int i = 0; hard[i]; i++) {
		assert_int_equal(parse(&v, &f, hard[i]), 0);
		if (v.d != strtod(hard[i], NULL))
			fail_msg("%s is %.17g", hard[i], v.d);
	}
	for (int i = 0; i < 200000; i++) {
		rng = rng * 6364136223846793005u + 1442695040888963407u;
		snprintf(text, sizeof(text), "%.*g", 1 + (int)(rng >> 60), ldexp((double)(rng >> 11), (int)(rng % 200) - 150));
		assert_int_equal(parse(&v, &f, text), 0);
		if (v.d != strtod(text, NULL))
			fail_msg("%s is %.17g", text, v.d);
	}
}

static int64_t time_of(enum field_type type, const char *pattern, const char *text)
{
	struct field f = { .type = type, .format = pattern ? FORMAT_PATTERN : FORMAT_NONE, .time_pattern = (char *)pattern };
	struct value v;

	return parse(&v, &f, text) ? INT64_MIN : v.i;
}

#define BAD INT64_MIN

static void dates_and_times(void **state)
{
	(void)state;
	assert_true(time_of(FIELD_DATE, NULL, "1970-01-01") == 0);
	assert_true(time_of(FIELD_DATE, NULL, "2000-03-01") == 11017);
	assert_true(time_of(FIELD_DATE, NULL, "1900-02-28") == -25509);
	for (const char *const *bad = (const char *const[]){ "1900-02-29", "2026-13-01", "2026-00-01", "2026-01-32", "2026-1-1", "2026/01/01", "", NULL }; *bad; bad++)
		assert_true(time_of(FIELD_DATE, NULL, *bad) == BAD);
	assert_true(time_of(FIELD_TIME, NULL, "00:00") == 0);
	assert_true(time_of(FIELD_TIME, NULL, "23:59:59.5") == 86399500000);
	assert_true(time_of(FIELD_TIME, NULL, "01:00:00+02:00") == 82800000000);
	assert_true(time_of(FIELD_TIME, NULL, "24:00:00") == BAD);
	assert_true(time_of(FIELD_DATETIME, NULL, "1970-01-02T00:00:01Z") == 86401000000);
	assert_true(time_of(FIELD_DATETIME, NULL, "1970-01-01 01:00:00.000001+01:00") == 1);
	assert_true(time_of(FIELD_DATETIME, NULL, "1970-01-01T00:00:00-0030") == 1800000000);
	assert_true(time_of(FIELD_DATETIME, NULL, "1970-01-01T00:00") == 0);
	for (const char *const *bad = (const char *const[]){ "1970-01-01", "1970-01-01T", "1970-01-01T00:00:00X", "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00+1", NULL }; *bad; bad++)
		assert_true(time_of(FIELD_DATETIME, NULL, *bad) == BAD);
	assert_true(time_of(FIELD_YEAR, NULL, "2026") == 2026);
	assert_true(time_of(FIELD_YEAR, NULL, "26") == BAD);
	assert_true(time_of(FIELD_YEARMONTH, NULL, "2026-03") == 2026 * 12 + 2);
	assert_true(time_of(FIELD_YEARMONTH, NULL, "2026-13") == BAD);
	assert_true(time_of(FIELD_DURATION, NULL, "P1DT2H3.5S") == 93603500000);
	assert_true(time_of(FIELD_DURATION, NULL, "-P2W") == -1209600000000);
	for (const char *const *bad = (const char *const[]){ "P", "PT", "1D", "P1H", "PT1D", "P1D1Y", "P1DT", NULL }; *bad; bad++)
		assert_true(time_of(FIELD_DURATION, NULL, *bad) == BAD);
}

static void patterns_of_times(void **state)
{
	(void)state;
	assert_true(time_of(FIELD_DATE, "%d/%m/%Y", "01/03/2000") == 11017);
	assert_true(time_of(FIELD_DATE, "%d/%m/%Y", "1/3/2000") == 11017);
	assert_true(time_of(FIELD_DATE, "%d/%m/%Y", "30/02/2000") == BAD);
	assert_true(time_of(FIELD_DATE, "%d/%m/%Y", "01/03/2000 ") == BAD);
	assert_true(time_of(FIELD_DATE, "%d %b %y", "01 mar 00") == 11017);
	assert_true(time_of(FIELD_DATE, "%A, %B %d, %Y", "Wednesday, March 1, 2000") == 11017);
	assert_true(time_of(FIELD_DATE, "%Y-%j", "2000-061") == 11017);
	assert_true(time_of(FIELD_DATE, "%F", "2000-03-01") == 11017);
	assert_true(time_of(FIELD_TIME, "%I:%M %p", "12:30 AM") == 1800000000);
	assert_true(time_of(FIELD_TIME, "%I:%M %p", "01:30 pm") == 48600000000);
	assert_true(time_of(FIELD_DATETIME, "%d.%m.%Y %H:%M:%S.%f%z", "02.01.1970 01:00:00.5+01:00") == 86400500000);
	assert_true(time_of(FIELD_DATETIME, "%T 100%%", "00:00:01 100%") == -2208988799000000);
}

static void words_and_forms(void **state)
{
	struct field f = { .type = FIELD_BOOLEAN };
	char *yes[] = { "ja" }, *no[] = { "nein" };
	static const struct {
		enum field_format format;
		const char *text;
		bool fine;
	} forms[] = {
		{ FORMAT_EMAIL, "a.b+c@example.org", true }, { FORMAT_EMAIL, "a@b", true },	       { FORMAT_EMAIL, "@b", false },
		{ FORMAT_EMAIL, "a@", false },		     { FORMAT_EMAIL, "a b@c.d", false },       { FORMAT_EMAIL, ".a@c.d", false },
		{ FORMAT_EMAIL, "a..b@c.d", false },	     { FORMAT_EMAIL, "a@-c.d", false },	       { FORMAT_EMAIL, "plain", false },
		{ FORMAT_URI, "https://x.org/a?b=c#d", true }, { FORMAT_URI, "urn:isbn:1", true },     { FORMAT_URI, "x", false },
		{ FORMAT_URI, "http://a b", false },	     { FORMAT_URI, "http:/%zz", false },       { FORMAT_URI, "1http:x", false },
		{ FORMAT_UUID, "123e4567-e89b-12d3-a456-426614174000", true }, { FORMAT_UUID, "123e4567e89b12d3a456426614174000", false },
		{ FORMAT_BINARY, "aGk=", true },	     { FORMAT_BINARY, "aGk", false },	       { FORMAT_BINARY, "a=k=", false },
		{ FORMAT_IPV4, "192.0.2.1", true },	     { FORMAT_IPV4, "192.0.2.256", false },    { FORMAT_IPV6, "2001:db8::1", true },
		{ FORMAT_IPV6, "2001:db8:::1", false },	     { FORMAT_HOSTNAME, "a-b.example", true }, { FORMAT_HOSTNAME, "-a", false },
		{ FORMAT_HOSTNAME, "a..b", false },	     { FORMAT_HOSTNAME, "a_b", false },
	};
	struct value v;

	(void)state;
	assert_int_equal(parse(&v, &f, "True"), 0);
	assert_int_equal(v.i, 1);
	assert_int_equal(parse(&v, &f, "0"), 0);
	assert_int_equal(parse(&v, &f, "yes"), -EINVAL);
	assert_int_equal(value_parse(&v, &f, "true\0", 5), -EINVAL);
	f.true_values = yes;
	f.false_values = no;
	f.ntrue = f.nfalse = 1;
	assert_int_equal(parse(&v, &f, "ja"), 0);
	assert_int_equal(parse(&v, &f, "true"), -EINVAL);
	f.type = FIELD_STRING;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		f.format = forms[i].format;
		if ((parse(&v, &f, forms[i].text) == 0) != forms[i].fine)
			fail_msg("%s", forms[i].text);
	}
	f.format = FORMAT_NONE;
	f.type = FIELD_OBJECT;
	assert_int_equal(parse(&v, &f, "{\"a\":1}"), 0);
	assert_int_equal(parse(&v, &f, "[1]"), -EINVAL);
	f.type = FIELD_GEOPOINT;
	assert_int_equal(parse(&v, &f, "13.4, 52.5"), 0);
	assert_int_equal(parse(&v, &f, "181, 0"), -EINVAL);
}

static void guesses(void **state)
{
	static const struct {
		const char *text;
		enum field_type type;
	} all[] = { { "1", FIELD_INTEGER },	 { "-12", FIELD_INTEGER },  { "007", FIELD_STRING },	{ "0", FIELD_INTEGER },
		    { "1.5", FIELD_NUMBER },	 { ".5", FIELD_NUMBER },    { "1e5", FIELD_NUMBER },	{ "99999999999999999999", FIELD_NUMBER },
		    { "0.10", FIELD_NUMBER },	 { "1e", FIELD_STRING },    { "-", FIELD_STRING },	{ "1.2.3", FIELD_STRING },
		    { "true", FIELD_BOOLEAN },	 { "tRue", FIELD_STRING },  { "2026-01-31", FIELD_DATE }, { "2026-02-31", FIELD_STRING },
		    { "10:30", FIELD_TIME },	 { "10:30:15Z", FIELD_TIME }, { "2026-01-31T10:30Z", FIELD_DATETIME },
		    { "2026-01-31 10:30:00", FIELD_DATETIME }, { "", FIELD_STRING }, { "abc", FIELD_STRING }, { "+49 30 1", FIELD_STRING } };
	struct value v;

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (value_guess(all[i].text, strlen(all[i].text)) != all[i].type)
			fail_msg("%s", all[i].text);
		assert_int_equal(parse(&v, NULL, all[i].text), 0);
		assert_int_equal(v.type, all[i].type);
	}
}

static void canonical_text(void **state)
{
	static const struct {
		enum field_type type;
		const char *from, *to;
	} all[] = { { FIELD_INTEGER, "+07", "7" },
		    { FIELD_NUMBER, "1.50", "1.5" },
		    { FIELD_NUMBER, "1e3", "1000" },
		    { FIELD_NUMBER, "-0", "0" },
		    { FIELD_NUMBER, "0.1", "0.1" },
		    { FIELD_NUMBER, "1.7976931348623157e308", "1.7976931348623157e+308" },
		    { FIELD_BOOLEAN, "1", "true" },
		    { FIELD_DATE, "1969-12-31", "1969-12-31" },
		    { FIELD_TIME, "10:30", "10:30:00" },
		    { FIELD_DATETIME, "1969-12-31 23:59:59.25", "1969-12-31T23:59:59.25Z" },
		    { FIELD_DATETIME, "2026-01-31T10:30:00+01:00", "2026-01-31T09:30:00Z" },
		    { FIELD_YEARMONTH, "2026-03", "2026-03" },
		    { FIELD_YEAR, "+33333", "+33333" },
		    { FIELD_YEARMONTH, "-114-10", "-114-10" },
		    { FIELD_DURATION, "-PT1M0.5S", "-PT60.5S" },
		    { FIELD_STRING, "a b", "a b" } };
	char text[64];
	struct value v;

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct field f = { .type = all[i].type };

		assert_int_equal(parse(&v, &f, all[i].from), 0);
		assert_int_equal(value_format(text, sizeof(text), &v), strlen(all[i].to));
		assert_string_equal(text, all[i].to);
	}
	assert_int_equal(value_format(text, 3, &v), 2);
	assert_string_equal(text, "a ");
}

/* Against C's own: the fewest of 15 to 17 digits that read as the same double. */
static void numbers_are_written_with_the_fewest_digits(void **state)
{
	struct value v = { .type = FIELD_NUMBER };
	unsigned int seed = 11;
	char ours[64], theirs[64];

	(void)state;
	for (int i = 0; i < 100000; i++) {
		double whole = (double)(rand_r(&seed) >> (rand_r(&seed) % 31)), tens = pow(10, (int)(rand_r(&seed) % 12) - 2);

		v.d = (i & 1 ? -1 : 1) * (i % 3 == 0 ? whole / tens : i % 3 == 1 ? whole * 0.01 * (rand_r(&seed) % 1000) : whole / 3.7 / tens);
		if (v.d == floor(v.d))
			continue;
		for (int digits = 15; digits <= 17; digits++) {
			snprintf(theirs, sizeof(theirs), "%.*g", digits, v.d);
			if (strtod(theirs, NULL) == v.d)
				break;
		}
		value_format(ours, sizeof(ours), &v);
		assert_string_equal(ours, theirs);
	}
}

static void order(void **state)
{
	struct value a, b;

	(void)state;
	parse(&a, NULL, "2");
	parse(&b, NULL, "10.5");
	assert_true(value_compare(&a, &b) < 0);
	parse(&b, NULL, "2.0");
	assert_int_equal(value_compare(&a, &b), 0);
	parse(&a, NULL, "b");
	parse(&b, NULL, "abc");
	assert_true(value_compare(&a, &b) > 0);
	parse(&a, NULL, "2026-01-31");
	parse(&b, NULL, "2026-01-31T00:00:01Z");
	assert_true(value_compare(&a, &b) < 0);
}

static void values_in_findings(void **state)
{
	char out[FINDING_VALUE_MAX + 8], text[200];
	struct finding f = { .level = FINDING_REJECT, .row = 3, .column = "<b>", .rule = "type", .value = "x", .message = "m", .mend = "n" };
	json_t *j;

	(void)state;
	finding_value(out, "a\tb\n\x7f\0" "c", 7);
	assert_string_equal(out, "a\xe2\x90\x89" "b\xe2\x90\x8a\xe2\x90\xa1\xe2\x90\x80" "c");
	finding_value(out, "\xff\xc3\xa9\xe2\x80\xae", 6);
	assert_string_equal(out, "\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd");
	memset(text, 'x', sizeof(text));
	memcpy(text + 79, "\xc3\xa9", 2);
	finding_value(out, text, sizeof(text));
	assert_int_equal(strlen(out), 79 + 3);
	finding_value(out, text, 79);
	assert_int_equal(strlen(out), 79);
	j = finding_json(&f);
	assert_string_equal(json_string_value(json_object_get(j, "level")), "reject");
	assert_string_equal(json_string_value(json_object_get(j, "column")), "<b>");
	json_decref(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers),	     cmocka_unit_test(numbers),		cmocka_unit_test(numbers_round_correctly),
		cmocka_unit_test(dates_and_times),   cmocka_unit_test(patterns_of_times), cmocka_unit_test(words_and_forms),
		cmocka_unit_test(guesses),	     cmocka_unit_test(canonical_text),	cmocka_unit_test(order),
		cmocka_unit_test(values_in_findings), cmocka_unit_test(numbers_are_written_with_the_fewest_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
