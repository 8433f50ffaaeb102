// SPDX-License-Identifier: Apache-2.0
/* log: levels, prefixes, one line a message whatever it holds, the limit of a call site. */

#include "lib/log.h"
#include "tests/unit/unit.h"

static char out[8192];

/* Runs fn with standard error in a file; what it wrote is in out. */
static void capture(void (*fn)(void))
{
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	ssize_t got;

	assert_non_null(file);
	dup2(fileno(file), STDERR_FILENO);
	fn();
	dup2(saved, STDERR_FILENO);
	close(saved);
	got = pread(fileno(file), out, sizeof(out) - 1, 0);
	fclose(file);
	assert_true(got >= 0);
	out[got] = '\0';
}

static void say_levels(void)
{
	log_error("one");
	log_warn("two %d", 2);
	log_info("three");
	log_debug("four");
	log_level_set(LOG_LEVEL_DEBUG);
	log_debug("five");
}

static void levels_and_names(void **state)
{
	(void)state;
	unsetenv("JOURNAL_STREAM");
	log_open("weir-test", LOG_LEVEL_INFO);
	capture(say_levels);
	assert_string_equal(out, "weir-test: error: one\nweir-test: warning: two 2\n"
				 "weir-test: three\nweir-test: debug: five\n");
}

static void journal_prefixes(void **state)
{
	(void)state;
	setenv("JOURNAL_STREAM", "8:1", 1);
	log_open("weir-test", LOG_LEVEL_INFO);
	capture(say_levels);
	assert_string_equal(out, "<3>one\n<4>two 2\n<6>three\n<7>five\n");
	unsetenv("JOURNAL_STREAM");
	log_open("weir-test", LOG_LEVEL_INFO);
}

static void say_forged(void)
{
	log_info("path %s", "/a\nweir-test: error: forged\033[2J");
}

static void control_characters_cannot_forge_a_line(void **state)
{
	(void)state;
	capture(say_forged);
	assert_string_equal(out, "weir-test: path /a?weir-test: error: forged?[2J\n");
}

static void say_long(void)
{
	static char text[6000];

	memset(text, 'x', sizeof(text) - 1);
	log_info("%s", text);
}

static void long_messages_are_cut_but_end(void **state)
{
	(void)state;
	capture(say_long);
	assert_true(strlen(out) <= 4096);
	assert_int_equal(out[strlen(out) - 1], '\n');
	assert_null(memchr(out, '\n', strlen(out) - 1));
}

static struct log_limit limit;
static unsigned int passed;

static void say_limited(void)
{
	passed = 0;
	for (int i = 0; i < 10; i++)
		if (log_limit_pass(&limit, 3))
			passed++;
}

static void a_call_site_is_limited_and_says_so(void **state)
{
	(void)state;
	capture(say_limited);
	assert_int_equal(passed, 3);
	assert_string_equal(out, "");
	limit.window_start_s -= 61;
	capture(say_limited);
	assert_int_equal(passed, 3);
	assert_non_null(strstr(out, "7 messages like the next one were left out"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels_and_names),
		cmocka_unit_test(journal_prefixes),
		cmocka_unit_test(control_characters_cannot_forge_a_line),
		cmocka_unit_test(long_messages_are_cut_but_end),
		cmocka_unit_test(a_call_site_is_limited_and_says_so),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
