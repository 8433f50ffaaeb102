/* SPDX-License-Identifier: Apache-2.0 */
/* test_upload_pattern.c -- regular expressions as tables: by hand, against regexec, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "http/upload/pattern.h"

static void by_hand(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool fits;
	} all[] = {
		{ "a*", "", true },		  { "a*", "aaa", true },	    { "a*", "ab", false },	   { "a+b?", "aab", true },
		{ "(ab|c){2,3}", "abcab", true }, { "(ab|c){2,3}", "ab", false },  { "(ab|c){2,3}", "cccc", false }, { "x{0}y", "y", true },
		{ "[A-Z]{2}-\\d{4}", "AB-0123", true }, { "[A-Z]{2}-\\d{4}", "AB-012", false }, { "^a|b$", "b", true }, { "^(a|b)$", "ab", false },
		{ ".", "\xc3\xa9", true },	  { "..", "\xc3\xa9", false },	    { "...", "a\xf0\x9f\x98\x80z", true }, { "[^a]", "\xe2\x82\xac", true },
		{ "[^a]", "a", false },		  { "\xc3\xa9+", "\xc3\xa9\xc3\xa9", true }, { "[]a]+", "]a", true }, { "[a-]+", "-a", true },
		{ "[[:alpha:]_][\\w]*", "_x1", true }, { "\\D+", "a\xc3\xa9", true }, { "\\D+", "a1", false }, { "a{2,}", "aaaa", true },
		{ "a{2,}", "a", false },	  { "(a*)+", "aa", true },	    { "()", "", true },		   { "a||b", "", true },
		{ "\\.\\[\\]", ".[]", true },	  { "[\\d.]+", "1.5", true },	    { "(?:a)b", "ab", true },
	};
	struct pattern *p;
	char why[160];

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (pattern_new(&p, all[i].pattern, why))
			fail_msg("%s: %s", all[i].pattern, why);
		if (pattern_match(p, all[i].text, strlen(all[i].text)) != all[i].fits)
			fail_msg("%s and %s", all[i].pattern, all[i].text);
		pattern_free(p);
	}
}

static void refused(void **state)
{
	static const char *const all[] = { "(", ")", "[a", "a{2", "a{3,2}", "*a", "a**", "(?=a)", "\\1", "\\bx", "[b-a]", ".{250}", "((((){256}){256}){256}){256}", "(a|b)*a(a|b){12}" };
	struct pattern *p;
	char why[160];

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		why[0] = '\0';
		if (!pattern_new(&p, all[i], why))
			fail_msg("%s", all[i]);
		assert_non_null(strstr(why, " at "));
	}
}

static void append(char *out, size_t size, const char *text)
{
	if (strlen(out) + strlen(text) < size)
		strcat(out, text);
}

/* Patterns and texts at random: the same as POSIX's own. */
static void as_regexec(void **state)
{
	static const char *const parts[] = { "a", "b", "c", "[ab]", "[^a]", ".", "(a|bc)", "(b*|c)", "a{1,2}", "(ab){2}", "[[:digit:]a]" };
	static const char *const times[] = { "", "", "", "*", "+", "?" };
	uint32_t rng = 1;
	int compared = 0;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		char text[64] = "", full[80], why[160];
		struct pattern *p;
		regex_t re;

		for (uint32_t n = 1 + (rng >> 20) % 4; n; n--) {
			const char *part = parts[((rng = rng * 1664525 + 1013904223) >> 8) % 11];

			append(text, sizeof(text), part);
			if (part[strlen(part) - 1] != '}')
				append(text, sizeof(text), times[(rng >> 8) % 6]);
			if (n > 1 && (rng >> 28) == 7)
				append(text, sizeof(text), "|");
		}
		snprintf(full, sizeof(full), "^(%s)$", text);
		assert_int_equal(regcomp(&re, full, REG_EXTENDED | REG_NOSUB), 0);
		if (pattern_new(&p, text, why))
			fail_msg("%s: %s", text, why);
		for (int i = 0; i < 30; i++, compared++) {
			char value[12];
			size_t len = (rng >> 24) % 8;

			for (size_t k = 0; k < len; k++)
				value[k] = "abc1"[(rng = rng * 1664525 + 1013904223) >> 30];
			value[len] = '\0';
			rng = rng * 1664525 + 1013904223;
			if (pattern_match(p, value, len) != !regexec(&re, value, 0, NULL, 0))
				fail_msg("%s and \"%s\"", text, value);
		}
		pattern_free(p);
		regfree(&re);
	}
	assert_true(compared > 50000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(by_hand), cmocka_unit_test(refused), cmocka_unit_test(as_regexec) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
