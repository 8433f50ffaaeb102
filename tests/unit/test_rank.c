/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rank.c -- which endpoint a gateway redirects to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "http/gateway/rank.h"

#define E(n, s, w) { .node = n, .site = s, .url = "http://" n, .weight = w, .measured = true }

static void own_site_comes_first(void **state)
{
	struct rank_endpoint e[] = { E("b1", "b", 2), E("a1", "a", 0.5), E("a2", "a", 1) };

	(void)state;
	rank_sort(e, 3, "a");
	assert_string_equal(e[0].node, "a2");
	assert_string_equal(e[1].node, "a1");
	assert_string_equal(e[2].node, "b1");
	for (double u = 0; u < 1; u += 0.01)
		assert_string_equal(rank_pick(e, 3, 2, u)->site, "a");
}

static void draws_follow_weights(void **state)
{
	struct rank_endpoint e[] = { E("x", "a", 3), E("y", "a", 1) };
	int x = 0;

	(void)state;
	rank_sort(e, 2, "a");
	for (int i = 0; i < 1000; i++)
		x += rank_pick(e, 2, 2, i / 1000.0)->node[0] == 'x';
	assert_int_equal(x, 750);
}

static void top_limits_the_choice(void **state)
{
	struct rank_endpoint e[] = { E("x", "a", 1), E("y", "a", 2), E("z", "a", 3) };

	(void)state;
	rank_sort(e, 3, "a");
	for (double u = 0; u < 1; u += 0.01)
		assert_string_equal(rank_pick(e, 3, 1, u)->node, "z");
	assert_string_equal(rank_pick(e, 3, 0, 0.5)->node, "z");
}

static void another_site_when_ours_is_unwell(void **state)
{
	struct rank_endpoint e[] = { E("a1", "a", 0), E("b1", "b", 1), E("a2", "a", 1) };

	(void)state;
	e[2].draining = true;
	rank_sort(e, 3, "a");
	for (double u = 0; u < 1; u += 0.01)
		assert_string_equal(rank_pick(e, 3, 2, u)->node, "b1");
	assert_string_equal(e[0].node, "b1");
	assert_non_null(e[1].why);
}

static void nobody_is_well(void **state)
{
	struct rank_endpoint e[] = { E("a1", "a", 0), E("a2", "a", 1), E("b1", "b", 0) };
	bool a1 = false, b1 = false;

	(void)state;
	e[1].draining = true;
	rank_sort(e, 3, "a");
	for (double u = 0; u < 1; u += 0.01) {
		const char *node = rank_pick(e, 3, 2, u)->node;

		assert_string_not_equal(node, "a2");
		a1 = a1 || !strcmp(node, "a1");
		b1 = b1 || !strcmp(node, "b1");
	}
	assert_true(a1 && b1);
	for (int i = 0; i < 3; i++)
		e[i].draining = true;
	rank_sort(e, 3, "a");
	assert_non_null(rank_pick(e, 3, 2, 0.999999));
}

static void nobody_at_all(void **state)
{
	(void)state;
	assert_null(rank_pick(NULL, 0, 2, 0.5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_site_comes_first), cmocka_unit_test(draws_follow_weights),
		cmocka_unit_test(top_limits_the_choice), cmocka_unit_test(another_site_when_ours_is_unwell),
		cmocka_unit_test(nobody_is_well), cmocka_unit_test(nobody_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
