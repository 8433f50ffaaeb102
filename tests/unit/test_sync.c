// SPDX-License-Identifier: Apache-2.0
/* weir sync's parts: patterns of .weirignore, the journal with half a line at its end, the throttle. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tools/rate.h"
#include "tools/sync_ignore.h"
#include "tools/sync_state.h"

static void test_patterns(void **state)
{
	static const struct {
		const char *text, *path;
		bool ignored;
	} cases[] = {
		{ "", "a.csv", false },		     { "", "a.csv~", true },
		{ "", "b/.a.csv.swp", true },	     { "", ".weirignore", true },
		{ "", ".weir-sync/x", true },	     { "", "b/#a#", true },
		{ "!*~\n", "a.csv~", false },	     { "*.log\n", "b/c/a.log", true },
		{ "*.log\n!keep.log\n", "b/keep.log", false }, { "/a.csv\n", "a.csv", true },
		{ "/a.csv\n", "b/a.csv", false },    { "b/a.csv\n", "c/b/a.csv", false },
		{ "skip/\n", "b/skip/a.csv", true }, { "skip/\n", "skip", false },
		{ "**/c/*.csv\n", "c/a.csv", true }, { "**/c/*.csv\n", "a/b/c/a.csv", true },
		{ "a/**/d.csv\n", "a/d.csv", true }, { "a/**/d.csv\n", "a/b/c/d.csv", true },
		{ "a/**\n", "a/b/c", true },	     { "a/*\n", "a/b", true },
		{ "a/*.csv\n", "a/b/c.csv", false }, { "[a-c]?.csv\r\n", "b1.csv", true },
		{ "[!a-c]?.csv\n", "b1.csv", false }, { "# c\n\\#x\n", "#x", true },
		{ "[\n", "[", true },		     { "\\*\n", "*", true },
		{ "\\*\n", "a", false },	     { "a  \n", "a", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ignore *ig = ignore_new(cases[i].text);

		assert_non_null(ig);
		if (ignore_path(ig, cases[i].path) != cases[i].ignored)
			fail_msg("%s: %s", cases[i].text, cases[i].path);
		ignore_free(ig);
	}
}

/* Many stars end, whatever they say. */
static void test_stars(void **state)
{
	struct ignore *ig = ignore_new("*a*a*a*a*a*a*a*a*a*a*a*a*b\n");
	char name[241];

	(void)state;
	memset(name, 'a', 240);
	name[240] = '\0';
	assert_false(ignore_path(ig, name));
	ignore_free(ig);
}

static void test_journal(void **state)
{
	char folder[] = "/tmp/weir-sync.XXXXXX", path[256], command[300];
	struct sync_state *s, *other;
	struct entry *e;
	FILE *out;

	(void)state;
	assert_non_null(mkdtemp(folder));
	setenv("XDG_STATE_HOME", folder, 1);
	assert_int_equal(sync_state_open(&s, "t"), 0);
	assert_int_equal(sync_state_open(&other, "t"), -EBUSY);
	for (int i = 0; i < 1000; i++) {
		snprintf(path, sizeof(path), "d/\"f\\%d\xc3\xa4.csv", i);
		e = sync_state_entry(s, path);
		e->known = i % 2 ? KNOWN_EQUAL : KNOWN_REJECTED;
		e->size = (uint64_t)i;
		e->mtime_ns = 1700000000123456789 + i;
		e->key[0] = '\0';
		if (i % 3 == 0)
			snprintf(e->key, sizeof(e->key), "k%d", i);
		sync_state_save(s, e);
	}
	sync_state_close(s);
	snprintf(path, sizeof(path), "%s/weir/sync/t/journal", folder);
	out = fopen(path, "a");
	fputs("{\"p\":\"torn\",\"k\":\"equal\",\"s\":1", out);
	fclose(out);
	assert_int_equal(sync_state_open(&s, "t"), 0);
	assert_null(sync_state_find(s, "torn"));
	assert_int_equal(sync_state_count(s), 1000);
	e = sync_state_find(s, "d/\"f\\999\xc3\xa4.csv");
	assert_non_null(e);
	assert_int_equal(e->known, KNOWN_EQUAL);
	assert_int_equal(e->mtime_ns, 1700000000123456789 + 999);
	assert_string_equal(e->key, "k999");
	sync_state_close(s);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

static void test_rate(void **state)
{
	struct rate *r = rate_new(1000000);
	struct timespec a, b;
	size_t sent = 0;
	double s;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &a);
	while (sent < 300000) {
		size_t n = rate_take(r, 300000 - sent, NULL);

		assert_in_range(n, 1, 300000);
		sent += n;
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	assert_true(s > 0.25);
	rate_free(r);
	assert_int_equal(rate_take(NULL, 5, NULL), 5);
	assert_int_equal(rate_parse("10MiB"), 10 << 20);
	assert_int_equal(rate_parse("1.5kB/s"), 1500);
	assert_int_equal(rate_parse("12"), 12);
	assert_int_equal(rate_parse("0"), 0);
	assert_int_equal(rate_parse("MiB"), 0);
	assert_int_equal(rate_parse("1 parsec"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_stars),
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
