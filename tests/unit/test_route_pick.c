/* SPDX-License-Identifier: Apache-2.0 */
/* route_pick.c: which edge answers for a tunnel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "user/agent/route_pick.h"

static struct route_choice c[3];
static enum route_why why;

/* a, b, c: alive, attached, 10 ms from the origin. */
static int start(void **state)
{
	static const char *const names[] = { "a", "b", "c" };

	(void)state;
	for (int i = 0; i < 3; i++)
		c[i] = (struct route_choice){
			.edge = names[i], .attached = true, .alive = true, .rtt_us = 10000
		};
	return 0;
}

static int pick(int current)
{
	return route_pick("tunnel", c, 3, current, &why);
}

static void own_edge_before_all(void **state)
{
	(void)state;
	c[1].local = true;
	c[1].rtt_us = 90000;
	assert_int_equal(pick(-1), 1);
	assert_int_equal(why, ROUTE_LOCAL);
	assert_int_equal(pick(0), 1);
	/* … but not without an attachment, nor when it drains or is dead */
	c[1].attached = false;
	assert_int_equal(pick(0), 0);
	c[1].attached = true;
	c[1].draining = true;
	assert_int_equal(pick(2), 2);
	assert_int_equal(why, ROUTE_KEPT);
	c[1].draining = false;
	c[1].alive = false;
	assert_int_equal(pick(2), 2);
}

static void the_nearest_to_the_origin(void **state)
{
	(void)state;
	c[0].rtt_us = 50000;
	c[1].rtt_us = 0; /* not known: behind what is */
	assert_int_equal(pick(-1), 2);
	assert_int_equal(why, ROUTE_NEAREST);
	c[2].attached = false;
	assert_int_equal(pick(-1), 0);
}

static void kept_until_another_is_much_nearer(void **state)
{
	(void)state;
	c[0].rtt_us = 16000;
	assert_int_equal(pick(0), 0);
	assert_int_equal(why, ROUTE_KEPT);
	c[0].rtt_us = 17000; /* 10 ms and a half, and 2 ms: the limit */
	assert_int_equal(pick(0), 0);
	c[0].rtt_us = 17100;
	assert_int_not_equal(pick(0), 0);
	assert_int_equal(why, ROUTE_NEAREST);
	/* what came instead stays, although the first is back at 10 ms: no to and fro */
	c[0].rtt_us = 10000;
	assert_int_equal(pick(1), 1);
	c[1].rtt_us = 0;
	assert_int_not_equal(pick(1), 1);
}

static void names_decide_among_equals(void **state)
{
	int counts[3] = { 0 };

	(void)state;
	c[1].rtt_us = 10900; /* within 1 ms or a quarter */
	for (int i = 0; i < 300; i++) {
		struct route_choice turned[3] = { c[2], c[0], c[1] };
		char name[16];
		int at;

		snprintf(name, sizeof(name), "t%d", i);
		at = route_pick(name, c, 3, -1, NULL);
		assert_true(at >= 0);
		counts[at]++;
		/* whatever the order in which a node heard of them */
		assert_string_equal(turned[route_pick(name, turned, 3, -1, NULL)].edge, c[at].edge);
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(counts[i], 60, 140);
}

static void draining_only_when_no_other(void **state)
{
	(void)state;
	c[0].draining = c[1].draining = true;
	assert_int_equal(pick(0), 2);
	c[2].attached = false; /* alive, but empty: worse than one that drains */
	assert_int_equal(pick(0), 0);
	assert_int_equal(why, ROUTE_DRAINING);
	c[2].attached = c[2].draining = true;
	assert_int_equal(pick(1), 1);
}

static void nothing_attached(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		c[i].attached = false;
	c[2].local = true;
	assert_int_equal(pick(-1), 2);
	assert_int_equal(why, ROUTE_UNATTACHED);
	assert_int_equal(pick(0), 0); /* holds requests for the origin that was there */
	c[0].alive = false;
	assert_int_equal(pick(0), 2);
	c[2].draining = true;
	assert_int_equal(pick(0), 1);
}

static void nobody_lives(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		c[i].alive = false;
	assert_int_equal(pick(1), 1);
	assert_int_equal(why, ROUTE_ALL_DEAD);
	c[0].attached = false;
	assert_int_equal(pick(-1), 1);
	c[1].attached = c[2].attached = false;
	assert_int_equal(pick(-1), -1);
	assert_int_equal(why, ROUTE_NONE);
	assert_int_equal(route_pick("t", NULL, 0, -1, &why), -1);
	assert_int_equal(why, ROUTE_NONE);
	assert_int_equal(route_pick("t", NULL, 0, 5, &why), -1);
	for (int w = ROUTE_NONE; w <= ROUTE_ALL_DEAD; w++)
		assert_true(strlen(route_why_text((enum route_why)w)) > 5);
}

#define T(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(own_edge_before_all),
		T(the_nearest_to_the_origin),
		T(kept_until_another_is_much_nearer),
		T(names_decide_among_equals),
		T(draining_only_when_no_other),
		T(nothing_attached),
		T(nobody_lives),
	};

	return cmocka_run_group_tests_name("route_pick", tests, NULL, NULL);
}
