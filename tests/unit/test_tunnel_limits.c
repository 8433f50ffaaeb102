/* SPDX-License-Identifier: Apache-2.0 */
/* limits.c: connections are counted by client (IPv6: by /64), buckets fill at the rate, nothing is kept
 * for clients that are gone. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "user/tunnel/limits.h"

static struct limits *l;

static int make(void **state)
{
	(void)state;
	return limits_new(&l);
}

static int drop(void **state)
{
	(void)state;
	limits_free(l);
	return 0;
}

static int enter(const char *client, unsigned int max, struct limits_address **out)
{
	struct addr a;

	assert_int_equal(addr_parse(&a, client), 0);
	return limits_enter(l, &a, max, out);
}

static void counts_by_client(void **state)
{
	struct limits_address *a, *b, *c, *d, *none = NULL;

	(void)state;
	assert_int_equal(enter("198.51.100.1", 2, &a), 0);
	assert_int_equal(enter("198.51.100.1", 2, &b), 0);
	assert_ptr_equal(a, b);
	assert_int_equal(enter("198.51.100.1", 2, &none), -EUSERS);
	assert_null(none);
	assert_int_equal(enter("198.51.100.2", 2, &c), 0);
	limits_leave(l, a);
	assert_int_equal(enter("198.51.100.1", 2, &a), 0);
	/* one host has a whole /64 */
	assert_int_equal(enter("2001:db8::1", 1, &d), 0);
	assert_int_equal(enter("2001:db8::ffff:1", 1, &none), -EUSERS);
	assert_int_equal(enter("2001:db8:0:1::1", 1, &none), 0);
	limits_leave(l, none);
	limits_leave(l, a);
	limits_leave(l, b);
	limits_leave(l, c);
	limits_leave(l, d);
	limits_leave(l, NULL);
	assert_int_equal(limits_count(l), 0);
}

static unsigned int burst(struct limits_address *a, unsigned int rate, uint64_t now)
{
	unsigned int n = 0;

	while (n < 1000 && limits_request(a, rate, now))
		n++;
	return n;
}

static void buckets_fill_at_the_rate(void **state)
{
	struct limits_address *a;

	(void)state;
	assert_int_equal(enter("198.51.100.1", 2, &a), 0);
	assert_int_equal(burst(a, 10, 5000), 10);
	assert_int_equal(burst(a, 10, 5000), 0);
	assert_int_equal(burst(a, 10, 5099), 0);
	assert_int_equal(burst(a, 10, 5100), 1);
	assert_int_equal(burst(a, 10, 5350), 2);
	assert_int_equal(burst(a, 10, 5400), 1); /* the half of before was not lost */
	assert_int_equal(burst(a, 10, 1000000), 10);
	assert_int_equal(burst(a, 1, 2000000), 1);
	assert_int_equal(burst(a, 0, 2000000), 1000); /* no limit */
	limits_leave(l, a);
}

/* Whoever reconnects for each request has the same bucket. */
static void a_new_connection_is_no_new_bucket(void **state)
{
	struct limits_address *a;
	unsigned int passed = 0;

	(void)state;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(enter("198.51.100.1", 2, &a), 0);
		passed += limits_request(a, 10, 5000);
		limits_leave(l, a);
		limits_sweep(l, 10, 5500);
	}
	assert_int_equal(passed, 10);
	limits_sweep(l, 10, 6000);
	assert_int_equal(limits_count(l), 0);
}

static void many_clients(void **state)
{
	static struct limits_address *all[20000];
	struct addr a = { .family = AF_INET };

	(void)state;
	for (unsigned int i = 0; i < 20000; i++) {
		memcpy(a.bytes, &i, 4);
		assert_int_equal(limits_enter(l, &a, 1, &all[i]), 0);
		if (i % 2)
			limits_request(all[i], 5, 1000);
	}
	assert_int_equal(limits_count(l), 20000);
	limits_sweep(l, 5, 100000); /* they still hold connections */
	assert_int_equal(limits_count(l), 20000);
	for (unsigned int i = 0; i < 20000; i++)
		limits_leave(l, all[i]);
	assert_int_equal(limits_count(l), 10000);
	limits_sweep(l, 5, 100000);
	assert_int_equal(limits_count(l), 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, make, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(counts_by_client),
		T(buckets_fill_at_the_rate),
		T(a_new_connection_is_no_new_bucket),
		T(many_clients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
