/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blind.c: a backend that died is told from a link that did, whichever check runs out first.
 */
#include "tests/unit/unit.h"

#include <math.h>

#include "user/agent/blind.h"
#include "user/agent/weight.h"

#define MS	 1000ull
#define PATIENCE (600 * MS)

static struct sight sights[3];
static struct blind_view view[3];
static struct blind blind;

static int set_up(void **state)
{
	(void)state;
	memset(sights, 0, sizeof(sights));
	blind = (struct blind){ 0 };
	for (size_t i = 0; i < 3; i++) {
		view[i] = (struct blind_view){ true, &sights[i] };
		sight_take(&sights[i], true, (100 + i) * MS);
	}
	return 0;
}

static bool is_blind(uint64_t ms)
{
	return blind_is(&blind, view, 3, ms * MS, PATIENCE);
}

static void one_that_dies_is_seen_to(void **state)
{
	(void)state;
	assert_false(is_blind(150));
	sight_take(&sights[0], false, 300 * MS);
	sight_take(&sights[1], true, 301 * MS);
	view[0].up = false;
	assert_false(is_blind(302));
	/* It stays away; what happens to the others' checks later is about them. */
	sight_take(&sights[0], false, 500 * MS);
	sight_take(&sights[1], false, 501 * MS);
	sight_take(&sights[2], true, 502 * MS);
	assert_false(is_blind(503));
}

/* The first of them is down; the others are about to be. */
static void losing_all_is_not_the_first_ones_death(void **state)
{
	(void)state;
	sight_take(&sights[0], false, 300 * MS);
	view[0].up = false;
	/* By a limit of one failure: the others were not asked since. */
	assert_true(is_blind(301));
	sight_take(&sights[1], false, 301 * MS);
	sight_take(&sights[2], false, 302 * MS);
	assert_true(is_blind(303));
	view[1].up = false;
	assert_true(is_blind(304));
	/* One answers yet: they are gone indeed. */
	sight_take(&sights[2], true, 502 * MS);
	assert_false(is_blind(503));
}

/* A link that flapped once: the good check before the last bad one proves nothing. */
static void an_answer_of_before_is_no_sight(void **state)
{
	(void)state;
	sight_take(&sights[0], false, 300 * MS);
	sight_take(&sights[1], true, 310 * MS);
	sight_take(&sights[2], true, 311 * MS);
	sight_take(&sights[1], false, 510 * MS);
	sight_take(&sights[2], false, 511 * MS);
	view[0].up = false;
	assert_true(is_blind(600));
}

static void coming_back_takes_its_time(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		sight_take(&sights[i], false, (300 + i) * MS);
		view[i].up = false;
	}
	assert_true(is_blind(400));
	for (size_t i = 0; i < 3; i++)
		sight_take(&sights[i], true, (1000 + i) * MS);
	view[1].up = true;
	assert_true(is_blind(1100));
	view[0].up = true;
	assert_true(is_blind(1699));
	/* The third did not come: it is gone. */
	assert_false(is_blind(1700));
	assert_false(is_blind(1701));
	/* All at once need no patience, and the next time is as the first. */
	for (size_t i = 0; i < 3; i++)
		view[i].up = false;
	assert_true(is_blind(2000));
	view[0].up = true;
	sight_take(&sights[0], true, 2050 * MS);
	assert_true(is_blind(2100));
	view[1].up = view[2].up = true;
	assert_false(is_blind(2101));
}

static void what_is_not_checked_is_there(void **state)
{
	(void)state;
	assert_false(blind_is(&blind, NULL, 0, 0, PATIENCE));
	view[2] = (struct blind_view){ true, NULL };
	sight_take(&sights[0], false, 300 * MS);
	sight_take(&sights[1], false, 300 * MS);
	view[0].up = view[1].up = false;
	assert_false(is_blind(400));
}

/* Three are up for ten seconds, and backend i again from second back[i] on: the shares that are wanted then. */
static void learn_shares(const int back[3], bool when_blind, double share[3])
{
	const char *const names[] = { "a", "b", "c" };
	const double sizes[] = { 1, 1, 1 };
	struct weight_input in[3];
	bool learned[3] = { false };
	struct weight *w;

	memset(in, 0, sizeof(in));
	assert_int_equal(weight_new(&w), 0);
	assert_int_equal(weight_backends(w, names, sizes, 3), 0);
	for (int second = 0; second < 25; second++) {
		bool sees = second < 10, all = true;

		for (int i = 0; i < 3; i++)
			all &= second >= back[i];
		for (int i = 0; i < 3; i++) {
			learned[i] = blind_up(when_blind && !sees && !all,
					      sees || second >= back[i], learned[i]);
			in[i].up = learned[i];
		}
		weight_tick(w, in, 1);
	}
	for (size_t i = 0; i < 3; i++)
		share[i] = weight_state(w, i)->target;
	weight_free(w);
}

/* Backends that come back one after another because the link did are not new: nothing moves. */
static void what_was_not_seen_is_not_new(void **state)
{
	static const int back[] = { 20, 22, 21 };
	double share[3];

	(void)state;
	learn_shares(back, true, share);
	for (int i = 0; i < 3; i++)
		assert_true(fabs(share[i] - 1 / 3.0) < 0.001);
	learn_shares(back, false, share);
	assert_true(share[0] > 0.36 && share[1] < 0.3);
	/* Of what was never up nobody says that it is. */
	assert_false(blind_up(true, false, false));
	assert_false(blind_up(false, false, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(one_that_dies_is_seen_to, set_up),
		cmocka_unit_test_setup(losing_all_is_not_the_first_ones_death, set_up),
		cmocka_unit_test_setup(an_answer_of_before_is_no_sight, set_up),
		cmocka_unit_test_setup(coming_back_takes_its_time, set_up),
		cmocka_unit_test_setup(what_is_not_checked_is_there, set_up),
		cmocka_unit_test_setup(what_was_not_seen_is_not_new, set_up),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
