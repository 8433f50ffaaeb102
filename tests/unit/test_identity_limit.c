/* SPDX-License-Identifier: Apache-2.0 */
/* How often somebody may try: a burst, then one at a time; others are not slowed; what was seen is seen once, and is
 * forgotten when its time is over; both stay within their size whatever strangers send. */
#include "tests/unit/unit.h"

#include "http/identity/limit.h"

static void test_bucket(void **state)
{
	struct limits *l = limits_new(3, 1000);

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(limits_take(l, "ann", 0));
	assert_false(limits_take(l, "ann", 0));
	assert_false(limits_take(l, "ann", 999));
	assert_true(limits_take(l, "bob", 999));
	assert_true(limits_take(l, "ann", 1000));
	assert_false(limits_take(l, "ann", 1001));
	limits_give(l, "ann", 1001);
	assert_true(limits_take(l, "ann", 1001));
	for (int i = 0; i < 3; i++) /* a long pause fills it up, not more */
		assert_true(limits_take(l, "ann", 1000000));
	assert_false(limits_take(l, "ann", 1000000));
	limits_free(l);
	limits_free(NULL);
}

/* Many names do not make room for one that is at its limit: emptier ones stay. */
static void test_flood(void **state)
{
	struct limits *l = limits_new(2, 1000000000);
	char name[32];
	int again = 0;

	(void)state;
	while (limits_take(l, "ann", 0))
		;
	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "stranger-%d", i);
		assert_true(limits_take(l, name, 0));
	}
	while (limits_take(l, "ann", 0))
		again++;
	assert_int_equal(again, 0);
	limits_free(l);
}

static void test_seen(void **state)
{
	struct seen *s = seen_new(4);
	char name[32];

	(void)state;
	assert_true(seen_first(s, "a", 0, 1000));
	assert_false(seen_first(s, "a", 500, 1500));
	assert_true(seen_first(s, "b", 500, 1500));
	assert_int_equal(seen_count(s, 500), 2);
	assert_int_equal(seen_count(s, 1000), 1);
	assert_true(seen_first(s, "a", 1000, 5000)); /* its time was over */
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_true(seen_first(s, name, 1000, 2000));
	}
	assert_int_equal(seen_count(s, 1000), 4);
	assert_false(seen_first(s, "a", 1001, 5000)); /* what ends last is kept */
	seen_free(s);
	seen_free(NULL);
}

static void test_pace(void **state)
{
	struct seen *s = seen_new(8);

	(void)state;
	assert_true(seen_pace(s, "h", 0, 5000, 600000));
	assert_false(seen_pace(s, "h", 4999, 5000, 600000));
	assert_true(seen_pace(s, "g", 4999, 5000, 600000));
	assert_true(seen_pace(s, "h", 5000, 5000, 600000));
	assert_false(seen_pace(s, "h", 5001, 5000, 600000));
	seen_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_seen),
		cmocka_unit_test(test_pace),
	};

	return cmocka_run_group_tests_name("identity_limit", tests, NULL, NULL);
}
