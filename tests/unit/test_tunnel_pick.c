/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tunnel_pick.c -- to which connection of a tunnel a request goes, and what is learned of
 * origins.
 */
#include "tests/unit/unit.h"

#include "user/tunnel/attach_pick.h"

#define CONNS 4 /* of each origin */

/* A tunnel with up to three origins, each with CONNS connections. */
struct world {
	struct pick_origin origin[3];
	struct pick_conn conn[3 * CONNS], *conns[3 * CONNS];
	struct pick_origin *origins[3];
	size_t n, norigins;
	uint64_t turn;
	unsigned int picks[3], by_conn[3 * CONNS];
};

static void world_make(struct world *w, size_t norigins)
{
	memset(w, 0, sizeof(*w));
	w->norigins = norigins;
	for (size_t o = 0; o < norigins; o++) {
		w->origin[o].weight = 1;
		w->origins[o] = &w->origin[o];
		for (size_t c = 0; c < CONNS; c++) {
			w->conn[w->n] =
				(struct pick_conn){ .origin = &w->origin[o], .usable = true };
			w->conns[w->n] = &w->conn[w->n];
			w->n++;
		}
	}
}

static long take(struct world *w, const struct pick_conn *avoid)
{
	long i = pick(w->conns, w->n, avoid, ++w->turn);

	if (i < 0)
		return i;
	w->picks[(size_t)i / CONNS]++;
	w->by_conn[i]++;
	w->conn[i].open++;
	w->conn[i].origin->open++;
	return i;
}

static void give(struct world *w, long i, double busy_s, bool good)
{
	w->conn[i].open--;
	w->conn[i].origin->open--;
	pick_answered(w->conn[i].origin, busy_s, good);
}

/* Requests at a steady rate for some seconds; each origin takes its own time and may fail. */
struct job {
	double ends;
	long conn;
	double took;
};

static void run(struct world *w, double seconds, double rate, const double *took, const bool *fails)
{
	static struct job jobs[4096];
	static double now;
	size_t n = 0;
	double start = now, next = now, learn = now + 1;

	memset(w->picks, 0, sizeof(w->picks));
	memset(w->by_conn, 0, sizeof(w->by_conn));
	while (now < start + seconds || n) {
		for (size_t i = 0; i < n;)
			if (jobs[i].ends <= now) {
				give(w, jobs[i].conn, jobs[i].took,
				     !fails || !fails[jobs[i].conn / CONNS]);
				jobs[i] = jobs[--n];
			} else {
				i++;
			}
		if (now >= next && now < start + seconds && n < 4096) {
			long i = take(w, NULL);
			double t = took[i / CONNS];

			jobs[n++] = (struct job){ now + t, i, t };
			next += 1 / rate;
		}
		if (now >= learn) {
			pick_learn(w->origins, w->norigins, 1);
			learn += 1;
		}
		now += 0.0005;
	}
}

static void least_open_connection(void **state)
{
	struct world w;

	(void)state;
	world_make(&w, 1);
	for (int i = 0; i < CONNS * 5; i++)
		assert_true(take(&w, NULL) >= 0);
	for (size_t i = 0; i < CONNS; i++)
		assert_int_equal(w.by_conn[i], 5);
}

static void ties_go_to_the_shortest_way(void **state)
{
	struct world w;

	(void)state;
	world_make(&w, 1);
	w.conn[0].rtt_us = 9000;
	w.conn[1].rtt_us = 0; /* not known: as if long */
	w.conn[2].rtt_us = 800;
	w.conn[3].rtt_us = 5000;
	assert_int_equal(take(&w, NULL), 2);
	assert_int_equal(take(&w, NULL), 3);
	assert_int_equal(take(&w, NULL), 0);
	assert_int_equal(take(&w, NULL), 1);
}

static void another_than_the_last_one(void **state)
{
	struct world w;

	(void)state;
	world_make(&w, 1);
	w.conn[2].rtt_us = 1;
	assert_int_equal(pick(w.conns, w.n, NULL, ++w.turn), 2);
	assert_true(pick(w.conns, w.n, &w.conn[2], ++w.turn) != 2);
	for (size_t i = 0; i < w.n; i++)
		w.conn[i].usable = i == 2;
	assert_int_equal(pick(w.conns, w.n, &w.conn[2], ++w.turn), 2); /* there is no other */
	w.conn[2].usable = false;
	assert_int_equal(pick(w.conns, w.n, &w.conn[2], ++w.turn), -1);
	assert_int_equal(pick(w.conns, w.n, NULL, ++w.turn), -1);
	assert_int_equal(pick(w.conns, 0, NULL, ++w.turn), -1);
}

static void what_is_not_usable_gets_nothing(void **state)
{
	struct world w;

	(void)state;
	world_make(&w, 2);
	for (size_t i = 0; i < CONNS; i++)
		w.conn[i].usable = false; /* all of the first origin */
	for (int i = 0; i < 100; i++)
		assert_true(take(&w, NULL) >= CONNS);
	assert_int_equal(w.picks[0], 0);
	assert_int_equal(w.picks[1], 100);
}

static void equal_origins_share(void **state)
{
	const double took[] = { 0.010, 0.010 };
	struct world w;

	(void)state;
	world_make(&w, 2);
	run(&w, 20, 200, took, NULL);
	assert_in_range(w.picks[0], 1900, 2100);
	assert_true(w.origin[0].weight > 0.95 && w.origin[0].weight < 1.05);
}

/* An origin with twice the connections must not get twice the requests. */
static void connections_are_not_capacity(void **state)
{
	const double took[] = { 0.010, 0.010 };
	struct world w;

	(void)state;
	world_make(&w, 2);
	for (size_t i = 1; i < CONNS; i++)
		w.conn[i].usable = false;
	run(&w, 10, 200, took, NULL);
	assert_in_range(w.picks[0], 900, 1100);
}

static void a_slow_origin_gets_less_and_learns_back(void **state)
{
	double took[] = { 0.010, 0.040, 0.010 };
	struct world w;
	unsigned int slow;

	(void)state;
	world_make(&w, 3);
	run(&w, 30, 100, took, NULL); /* little load: `open` alone would not show it */
	run(&w, 30, 100, took, NULL);
	slow = w.picks[1];
	assert_true(w.origin[1].weight < 0.5);
	assert_true(slow > 30);		    /* it is still looked at */
	assert_true(slow * 3 < w.picks[0]); /* a quarter of the speed */
	assert_in_range(w.picks[0], w.picks[2] * 9 / 10, w.picks[2] * 11 / 10);
	took[1] = 0.010;
	run(&w, 60, 100, took, NULL);
	run(&w, 20, 100, took, NULL);
	assert_true(w.picks[1] * 10 > w.picks[0] * 8);
}

/* One that fails at once has always few open: without learning it would draw all requests. */
static void a_failing_origin_is_no_magnet(void **state)
{
	const double took[] = { 0.020, 0.0005 };
	bool fails[] = { false, true };
	struct world w;

	(void)state;
	world_make(&w, 2);
	run(&w, 20, 300, took, fails);
	run(&w, 20, 300, took, fails);
	assert_true(w.picks[1] * 10 < w.picks[0]);
	assert_true(w.picks[1] > 0);
	fails[1] = false;
	run(&w, 60, 300, took, fails);
	run(&w, 10, 300, took, fails);
	assert_true(w.picks[1] > w.picks[0]); /* it is the faster one now */
}

/* A process that was just started shall not be given everything at once. */
static void a_newcomer_is_not_flooded(void **state)
{
	const double took[] = { 0.010, 0.010 };
	struct world w;

	(void)state;
	world_make(&w, 2);
	for (size_t i = CONNS; i < w.n; i++)
		w.conn[i].usable = false;
	run(&w, 20, 200, took, NULL);
	assert_int_equal(w.picks[1], 0);
	for (size_t i = CONNS; i < w.n; i++)
		w.conn[i].usable = true;
	pick_join(&w.origin[1], w.origins, 1);
	run(&w, 1, 200, took, NULL);
	assert_in_range(w.picks[1], 80, 120);
}

static void few_samples_tell_nothing(void **state)
{
	struct world w;

	(void)state;
	world_make(&w, 2);
	for (int i = 0; i < (int)PICK_SAMPLES / 2; i++) {
		pick_answered(&w.origin[0], 0.001, true);
		pick_answered(&w.origin[1], 5, false);
	}
	pick_learn(w.origins, 2, 1);
	assert_true(w.origin[0].weight == 1 && w.origin[1].weight == 1);
}

static void weights_are_bounded(void **state)
{
	struct world w;

	(void)state;
	world_make(&w, 2);
	for (int s = 0; s < 60; s++) {
		for (int i = 0; i < 100; i++) {
			pick_answered(&w.origin[0], 0.0001, true);
			pick_answered(&w.origin[1], 10, i == 0);
		}
		pick_learn(w.origins, 2, 1);
		for (size_t o = 0; o < 2; o++)
			assert_true(w.origin[o].weight >= PICK_WEIGHT_MIN * 0.999 &&
				    w.origin[o].weight <= PICK_WEIGHT_MAX * 1.001);
	}
	assert_true(w.origin[1].weight < 0.2);
}

static void waiting_counts_against_it(void **state)
{
	struct world w;

	(void)state;
	world_make(&w, 2);
	for (int s = 0; s < 20; s++) {
		for (int i = 0; i < 30; i++) {
			pick_answered(&w.origin[0], 0.01, true);
			pick_answered(&w.origin[1], 0.01, true);
			pick_waited(&w.origin[1], 0.05); /* clients gave up */
		}
		pick_learn(w.origins, 2, 1);
	}
	assert_true(w.origin[1].weight < w.origin[0].weight / 3);
}

static void told_round_trip_times_are_calm(void **state)
{
	uint32_t told = pick_rtt_step(0, 1234), writes = 0;

	(void)state;
	assert_int_equal(told, 1200);
	for (uint32_t now = 900; now < 1550; now += 7) {
		uint32_t step = pick_rtt_step(told, now);

		writes += step != told;
		told = step;
	}
	assert_int_equal(writes, 0);
	assert_int_equal(pick_rtt_step(1200, 2000), 2000);
	assert_int_equal(pick_rtt_step(1200, 0), 1200); /* not known now: as before */
	assert_int_equal(pick_rtt_step(40, 180), 40);
	assert_int_equal(pick_rtt_step(0, 42), 42);
	assert_int_equal(pick_rtt_step(80000, 90000), 80000);
	assert_int_equal(pick_rtt_step(80000, 20000), 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(least_open_connection),
		cmocka_unit_test(ties_go_to_the_shortest_way),
		cmocka_unit_test(another_than_the_last_one),
		cmocka_unit_test(what_is_not_usable_gets_nothing),
		cmocka_unit_test(equal_origins_share),
		cmocka_unit_test(connections_are_not_capacity),
		cmocka_unit_test(a_slow_origin_gets_less_and_learns_back),
		cmocka_unit_test(a_failing_origin_is_no_magnet),
		cmocka_unit_test(a_newcomer_is_not_flooded),
		cmocka_unit_test(few_samples_tell_nothing),
		cmocka_unit_test(weights_are_bounded),
		cmocka_unit_test(waiting_counts_against_it),
		cmocka_unit_test(told_round_trip_times_are_calm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
