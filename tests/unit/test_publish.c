/* SPDX-License-Identifier: Apache-2.0 */
/* publish.c: exact shares, few moves, the move budget, bursts for what is gone, adoption, JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/unit/ring_moves.h"
#include "user/agent/publish.h"

#define MAX 1000

static uint64_t random_state = 42;
static char names[MAX][PUBLISH_NAME_MAX];

static double random_unit(void)
{
	uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static size_t random_below(size_t n)
{
	return (size_t)(random_unit() * (double)n);
}

static void fill(struct publish_want *want, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "backend-%03zu", i);
		want[i] = (struct publish_want){ names[i], 1, PUBLISH_CALM };
	}
}

static void check_shares(const struct publish *p, const struct publish_want *want, size_t n,
			 uint32_t slots)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += want[i].urgency == PUBLISH_GONE ? 0 : want[i].weight;
	for (size_t i = 0; i < n; i++) {
		double weight = want[i].urgency == PUBLISH_GONE ? 0 : want[i].weight;
		double aim = weight / sum * slots;
		uint32_t count = publish_count(p, want[i].name);

		if (fabs(count - aim) > publish_tolerance(aim) + 1e-6)
			fail_msg("%s has %u slots, should have %.1f", want[i].name, count, aim);
	}
}

static uint32_t *ring_of(const struct publish *p)
{
	uint32_t *owner;

	assert_int_equal(rates_ring(publish_rates(p), NULL, &owner), 0);
	return owner;
}

/* 1,000 random single changes at 600 and more slots a backend: exact shares, at most 1.2 x the
 * fewest moves in sum. */
static void one_change(void **state)
{
	struct publish_want want[20];
	double moves = 0, least = 0;

	(void)state;
	for (int series = 0; series < 50; series++) {
		size_t n = 2 + random_below(9);
		uint32_t slots = 8009;
		struct publish *p;
		uint32_t *before;

		assert_int_equal(publish_new(&p, slots, (uint64_t)series, 1), 0);
		fill(want, n);
		assert_int_equal(publish_tick(p, want, n, 1), 1);
		check_shares(p, want, n, slots);
		before = ring_of(p);
		for (int change = 0; change < 20; change++) {
			double fewest;
			uint32_t *after;
			int rc;

			want[random_below(n)].weight = 0.8 + 0.4 * random_unit();
			rc = publish_tick(p, want, n, 1000);
			assert_in_range(rc, 0, 1);
			after = ring_of(p);
			moves += ring_moves(before, after, slots, n, &fewest);
			least += fewest;
			free(before);
			before = after;
			if (rc == 1)
				check_shares(p, want, n, slots);
		}
		free(before);
		publish_free(p);
	}
	print_message("# one changed, calibrated: %.3f of the fewest moves\n", moves / least);
	assert_true(moves <= 1.2 * least);
}

static void all_change(void **state)
{
	enum { N = 12, SLOTS = 8009 };
	struct publish_want want[N];
	double moves = 0, least = 0;
	struct publish *p;
	uint32_t *before;

	(void)state;
	assert_int_equal(publish_new(&p, SLOTS, 3, 1), 0);
	fill(want, N);
	assert_int_equal(publish_tick(p, want, N, 1), 1);
	before = ring_of(p);
	for (int round = 0; round < 200; round++) {
		double fewest;
		uint32_t *after;

		for (int i = 0; i < N; i++)
			want[i].weight = 0.9 + 0.4 * random_unit();
		assert_int_equal(publish_tick(p, want, N, 1000), 1);
		check_shares(p, want, N, SLOTS);
		after = ring_of(p);
		moves += ring_moves(before, after, SLOTS, N, &fewest);
		least += fewest;
		free(before);
		before = after;
	}
	free(before);
	publish_free(p);
	print_message("# all changed, calibrated: %.3f of the fewest moves\n", moves / least);
	assert_true(moves <= 1.4 * least);
}

/* On average no more than the budget moves, however much is wanted, and the goal is reached. */
static void budget_holds(void **state)
{
	enum { N = 4, SLOTS = 4099 };
	struct publish_want want[N];
	double paid = 0;
	struct publish *p;
	int ticks = 0;

	(void)state;
	assert_int_equal(publish_new(&p, SLOTS, 3, 0.001), 0);
	fill(want, N);
	assert_int_equal(publish_tick(p, want, N, 1), 1);
	want[0].weight = 0.25;
	while (fabs(publish_count(p, names[0]) / (double)SLOTS - 0.25 / 3.25) > 0.005) {
		int rc = publish_tick(p, want, N, 1);

		assert_in_range(rc, 0, 1);
		paid += rc == 1 ? publish_moved(p) : 0;
		assert_true(++ticks < 400);
		assert_true(paid <= 0.001 * SLOTS * (ticks + 2) * 1.2 + 8);
	}
	print_message("# 17%% of the slots at 0.1%% a second: %d s, %.0f moves\n", ticks, paid);
	assert_true(ticks > 100);
	publish_free(p);
}

static void gone_at_once(void **state)
{
	enum { N = 6, SLOTS = 4099 };
	struct publish_want want[N];
	struct publish *p;
	uint32_t had;
	double saved;

	(void)state;
	assert_int_equal(publish_new(&p, SLOTS, 3, 0.001), 0);
	fill(want, N);
	assert_int_equal(publish_tick(p, want, N, 1), 1);
	had = publish_count(p, names[2]);
	saved = publish_allowance(p);
	want[2].urgency = PUBLISH_GONE;
	assert_int_equal(publish_tick(p, want, N, 0), 1);
	assert_int_equal(publish_count(p, names[2]), 0);
	assert_true(publish_moved(p) <= 1.2 * had);
	assert_true(publish_allowance(p) <= saved);
	check_shares(p, want, N, SLOTS);
	assert_int_equal(publish_tick(p, want, N, 0), 0);
	/* Failing: down at once to what is wanted, no further. */
	want[0].urgency = PUBLISH_FAILING;
	want[0].weight = 0.1;
	assert_int_equal(publish_tick(p, want, N, 0), 1);
	check_shares(p, want, N, SLOTS);
	/* All gone: nobody owns anything, once. Then one is back, and has everything at once. */
	for (int i = 0; i < N; i++)
		want[i].urgency = PUBLISH_GONE;
	assert_int_equal(publish_tick(p, want, N, 1), 1);
	assert_int_equal(publish_tick(p, want, N, 1), 0);
	assert_int_equal(publish_count(p, names[1]), 0);
	want[1].urgency = PUBLISH_CALM;
	assert_int_equal(publish_tick(p, want, N, 1), 1);
	assert_int_equal(publish_count(p, names[1]), SLOTS);
	publish_free(p);
}

static void set_changes(void **state)
{
	enum { SLOTS = 4099 };
	struct publish_want want[5];
	struct publish *p;

	(void)state;
	assert_int_equal(publish_new(&p, SLOTS, 3, 0.05), 0);
	fill(want, 5);
	assert_int_equal(publish_tick(p, want, 4, 1), 1);
	assert_int_equal(publish_tick(p, want, 5, 1), 1);
	assert_int_equal(publish_rates(p)->n, 5);
	for (int i = 0; i < 60; i++)
		assert_in_range(publish_tick(p, want, 5, 1), 0, 1);
	check_shares(p, want, 5, SLOTS);
	/* Removed: its slots go at once. */
	assert_int_equal(publish_tick(p, want + 1, 4, 1), 1);
	check_shares(p, want + 1, 4, SLOTS);
	assert_int_equal(publish_rates(p)->n, 4);
	want[1].name = want[2].name;
	assert_int_equal(publish_tick(p, want + 1, 4, 1), -EINVAL);
	publish_free(p);
}

/* Another publisher goes on from what was published: no slot moves by the change of publisher. */
static void adoption(void **state)
{
	enum { N = 5, SLOTS = 4099 };
	struct publish_want want[N];
	struct publish *p, *q;
	struct rates *rates;
	uint64_t generation;
	char *json;
	int moved = 0;

	(void)state;
	assert_int_equal(publish_new(&p, SLOTS, 3, 0.001), 0);
	assert_int_equal(publish_new(&q, SLOTS, 3, 0.001), 0);
	fill(want, N);
	want[3].weight = 2;
	assert_int_equal(publish_tick(p, want, N, 1), 1);
	json = rates_to_json(publish_rates(p));
	assert_non_null(json);
	assert_int_equal(rates_from_json(&rates, json), 0);
	generation = rates->generation;
	assert_int_equal(publish_adopt(q, rates), 0);
	for (int i = 0; i < N; i++)
		assert_int_equal(publish_count(p, names[i]), publish_count(q, names[i]));
	for (int i = 0; i < 30; i++)
		if (publish_tick(q, want, N, 1) == 1)
			moved += (int)publish_moved(q);
	assert_in_range(moved, 0, 40);
	assert_true(publish_rates(q)->generation >= generation);
	publish_free(q);
	/* Another number of slots is published anew, above the old generation. */
	assert_int_equal(publish_new(&q, 101, 3, 0.001), 0);
	rates->generation = 500;
	assert_int_equal(publish_adopt(q, rates), 0);
	assert_int_equal(publish_tick(q, want, N, 1), 1);
	assert_int_equal(publish_rates(q)->slots, 101);
	assert_int_equal(publish_rates(q)->generation, 501);
	rates_free(rates);
	free(json);
	publish_free(p);
	publish_free(q);
}

static void bad_json(void **state)
{
	static const char *const bad[] = {
		"", "[]", "{}", "{\"slots\":0,\"seed\":1,\"generation\":1,\"rates\":[]}",
		"{\"slots\":5,\"seed\":-1,\"generation\":1,\"rates\":[]}",
		"{\"slots\":5,\"seed\":1,\"generation\":1,\"rates\":{}}",
		"{\"slots\":5,\"seed\":1,\"generation\":1,\"rates\":[[\"a\"]]}",
		"{\"slots\":5,\"seed\":1,\"generation\":1,\"rates\":[[\"a\",-1]]}",
		"{\"slots\":5,\"seed\":1,\"generation\":1,\"rates\":[[\"a\",4294967296]]}",
		"{\"slots\":5,\"seed\":1,\"generation\":1,\"rates\":[[\"\",1]]}",
		"{\"slots\":5,\"seed\":1,\"generation\":1,\"rates\":[[\"a\",1],[\"a\",2]]}",
		"{\"slots\":4194305,\"seed\":1,\"generation\":1,\"rates\":[]}",
	};
	struct rates *rates = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (rates_from_json(&rates, bad[i]) != -EINVAL || rates)
			fail_msg("accepted: %s", bad[i]);
}

static void small_rings(void **state)
{
	struct publish_want want[10];

	(void)state;
	for (uint32_t slots = 1; slots < 200; slots += 7) {
		struct publish *p;
		uint32_t sum = 0;

		assert_int_equal(publish_new(&p, slots, slots, 0.05), 0);
		fill(want, 10);
		assert_int_equal(publish_tick(p, want, 10, 1), 1);
		for (int i = 0; i < 10; i++)
			sum += publish_count(p, names[i]);
		assert_int_equal(sum, slots);
		publish_free(p);
	}
}

static void large(void **state)
{
	static struct publish_want want[MAX];
	struct timespec a, b;
	struct publish *p;

	(void)state;
	fill(want, MAX);
	for (int i = 0; i < MAX; i++)
		want[i].weight = 0.5 + random_unit();
	assert_int_equal(publish_new(&p, 65537, 1, 0.01), 0);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	assert_int_equal(publish_tick(p, want, MAX, 1), 1);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	check_shares(p, want, MAX, 65537);
	print_message("# 65,537 slots, 1,000 backends calibrated from nothing in %.0f ms\n",
		      (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6);
	publish_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_change),
		cmocka_unit_test(all_change),
		cmocka_unit_test(budget_holds),
		cmocka_unit_test(gone_at_once),
		cmocka_unit_test(set_changes),
		cmocka_unit_test(adoption),
		cmocka_unit_test(bad_json),
		cmocka_unit_test(small_rings),
		cmocka_unit_test(large),
	};

	return cmocka_run_group_tests_name("publish", tests, NULL, NULL);
}
