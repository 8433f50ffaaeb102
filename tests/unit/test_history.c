/* SPDX-License-Identifier: Apache-2.0 */
/* history.c: never more than HISTORY_MAX, the last ones all, older ones spread over the time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "user/agent/history.h"

static void test_thins(void **state)
{
	struct history h = { .n = 0 };
	uint64_t drop = 0;
	unsigned int dropped = 0;

	(void)state;
	for (uint64_t g = 1; g <= 1000; g++) {
		bool went = history_add(&h, g, (int64_t)(2 * g), &drop);

		dropped += went;
		assert_true(h.n <= HISTORY_MAX);
		for (size_t i = 1; i < h.n; i++)
			assert_true(h.generation[i - 1] < h.generation[i] && h.at[i - 1] <= h.at[i]);
		for (size_t i = 0; went && i < h.n; i++)
			assert_true(h.generation[i] != drop);
	}
	assert_int_equal(h.n, HISTORY_MAX);
	assert_int_equal(dropped, 1000 - HISTORY_MAX);
	for (size_t i = 0; i < HISTORY_FRESH; i++)
		assert_int_equal(h.generation[h.n - 1 - i], 1000 - i);
	assert_true(h.generation[0] < 900);     /* reaches back, further than 16 generations */
}

static void test_ignores_old(void **state)
{
	struct history h = { .n = 0 };
	uint64_t drop;

	(void)state;
	assert_false(history_add(&h, 5, 100, &drop));
	assert_false(history_add(&h, 5, 101, &drop));
	assert_false(history_add(&h, 4, 102, &drop));
	assert_int_equal(h.n, 1);
	assert_false(history_add(&h, 6, 50, &drop));    /* a clock that went back */
	assert_int_equal(h.at[1], 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_thins), cmocka_unit_test(test_ignores_old) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
