/* SPDX-License-Identifier: Apache-2.0 */
/* ring.c: a known ring, independence of order, shares, few moves, and the time of a full build. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/unit/ring_moves.h"
#include "user/agent/ring.h"

static uint64_t random_state = 1;

static uint64_t random_next(void)
{
	uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static double random_unit(void)
{
	return (double)(random_next() >> 11) / 9007199254740992.0;
}

static void fill(struct ring_backend *set, size_t n, uint32_t rate)
{
	char name[32];

	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "backend-%zu", i);
		set[i] = (struct ring_backend){ ring_id(name), rate };
	}
}

static void build(uint32_t slots, const struct ring_backend *set, size_t n, uint32_t *owner)
{
	struct ring *ring;

	assert_int_equal(ring_new(&ring, slots), 0);
	assert_int_equal(ring_build(ring, set, n, 7, owner), 0);
	ring_free(ring);
}

/* Balancers of different versions must agree: this ring never changes. */
static void known_ring(void **state)
{
	static const uint32_t want[31] = {
		0, 3, 1, 1, 2, 1, 1, 1, 2, 0, 0, 1, 2, 1, 1, 1, 2, 2, 1, 0, 0, 2, 1, 2, 1, 1, 3, 1, 3, 1, 0,
	};
	struct ring_backend set[4];
	uint32_t owner[31];

	(void)state;
	fill(set, 4, 1000000);
	set[1].rate = 2000000;
	set[3].rate = 500000;
	build(31, set, 4, owner);
	for (int i = 0; i < 31; i++)
		if (owner[i] != want[i])
			fail_msg("slot %d: %u instead of %u", i, owner[i], want[i]);
	assert_true(ring_id("gw-a1") == UINT64_C(0x675d958ab19f0673));
}

static void order_does_not_matter(void **state)
{
	enum { N = 50, SLOTS = 4099 };
	static struct ring_backend set[N], shuffled[N];
	static uint32_t owner[SLOTS], again[SLOTS];

	(void)state;
	fill(set, N, 0);
	for (int i = 0; i < N; i++)
		set[i].rate = (uint32_t)(random_next() % 4000000000u);
	memcpy(shuffled, set, sizeof(set));
	for (int i = N - 1; i > 0; i--) {
		int j = (int)(random_next() % (uint64_t)(i + 1));
		struct ring_backend kept = shuffled[i];

		shuffled[i] = shuffled[j];
		shuffled[j] = kept;
	}
	build(SLOTS, set, N, owner);
	build(SLOTS, shuffled, N, again);
	for (int slot = 0; slot < SLOTS; slot++)
		assert_true(set[owner[slot]].id == shuffled[again[slot]].id);
}

static void edges(void **state)
{
	struct ring_backend set[3];
	struct ring *ring;
	uint32_t owner[8], count[3];

	(void)state;
	assert_int_equal(ring_new(&ring, 0), -EINVAL);
	assert_int_equal(ring_new(&ring, RING_SLOTS_MAX + 1), -EINVAL);
	fill(set, 3, 0);
	build(8, set, 3, owner);
	for (int i = 0; i < 8; i++)
		assert_true(owner[i] == RING_NONE);
	build(8, set, 0, owner);
	assert_true(owner[0] == RING_NONE);
	set[1].rate = 1;
	for (uint32_t slots = 1; slots <= 8; slots++) {
		build(slots, set, 3, owner);
		ring_count(owner, slots, count, 3);
		assert_int_equal(count[1], slots);
	}
	set[0].rate = set[1].rate = set[2].rate = UINT32_MAX;
	build(8, set, 3, owner);
	ring_count(owner, 8, count, 3);
	assert_int_equal(count[0] + count[1] + count[2], 8);
}

static void shares_follow_rates(void **state)
{
	enum { N = 10, SLOTS = 65537 };
	static struct ring_backend set[N];
	static uint32_t owner[SLOTS], count[N];

	(void)state;
	fill(set, N, 0);
	for (uint32_t i = 0; i < N; i++)
		set[i].rate = (i + 1) * 10000000u;
	build(SLOTS, set, N, owner);
	ring_count(owner, SLOTS, count, N);
	for (uint32_t i = 0; i < N; i++) {
		double expected = SLOTS * (i + 1) / 55.0;

		/* five standard deviations of a binomial share */
		assert_true(fabs(count[i] - expected) < 5 * sqrt(expected));
	}
}

/* One backend's rate changes (also to and from 0): 1,000 times, at most 1.1 x the fewest moves. */
static void one_change_moves_little(void **state)
{
	enum { SLOTS = 12007 };
	static uint32_t before[SLOTS], after[SLOTS];
	static struct ring_backend set[20];
	double moves = 0, least = 0;
	struct ring *ring;

	(void)state;
	assert_int_equal(ring_new(&ring, SLOTS), 0);
	for (int round = 0; round < 1000; round++) {
		size_t n = 2 + random_next() % 19, i = random_next() % n;
		double kind = random_unit(), fewest, moved;

		fill(set, n, 0);
		for (size_t j = 0; j < n; j++)
			set[j].rate = (uint32_t)(1e9 * (0.5 + random_unit()));
		assert_int_equal(ring_build(ring, set, n, (uint64_t)round, before), 0);
		set[i].rate = kind < 0.1 ? 0 : (uint32_t)(set[i].rate * (0.3 + 1.7 * random_unit()));
		assert_int_equal(ring_build(ring, set, n, (uint64_t)round, after), 0);
		moved = ring_moves(before, after, SLOTS, n, &fewest);
		/* A change of few slots may go both ways by chance: allow eight of them. */
		if (moved > 1.1 * fewest + 8)
			fail_msg("round %d: %g moves, fewest %g", round, moved, fewest);
		moves += moved;
		least += fewest;
	}
	ring_free(ring);
	print_message("# moves %.4f of the fewest over 1,000 changes\n", moves / least);
	assert_true(moves <= 1.1 * least);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void full_build_is_fast(void **state)
{
	enum { N = 1000, SLOTS = 65537 };
	static struct ring_backend set[N];
	static uint32_t owner[SLOTS];
	double best = 1e9, limit = 10;
	struct ring *ring;

	(void)state;
#if defined(__SANITIZE_ADDRESS__)
	limit = 100;
#endif
	fill(set, N, 0);
	for (int i = 0; i < N; i++)
		set[i].rate = (uint32_t)(1e9 * (0.2 + random_unit()));
	assert_int_equal(ring_new(&ring, SLOTS), 0);
	for (int round = 0; round < 15; round++) {
		double start = now_ms();

		assert_int_equal(ring_build(ring, set, N, 7, owner), 0);
		best = fmin(best, now_ms() - start);
	}
	ring_free(ring);
	print_message("# 65,537 slots, 1,000 backends: %.2f ms\n", best);
	assert_true(best <= limit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_ring),
		cmocka_unit_test(order_does_not_matter),
		cmocka_unit_test(edges),
		cmocka_unit_test(shares_follow_rates),
		cmocka_unit_test(one_change_moves_little),
		cmocka_unit_test(full_build_is_fast),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
