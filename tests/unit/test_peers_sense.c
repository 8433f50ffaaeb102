// SPDX-License-Identifier: Apache-2.0
/*
 * sense: at once upwards by independent witnesses, by patience downwards; noise at a threshold, words of one prefix and a
 * switch by hand change no more than they may.
 */
#include "http/peers/sense.h"
#include "tests/unit/unit.h"

#define TICK 250

static struct sense s;
static struct sense_input in;
static unsigned int changes;

static void begin(uint32_t prefixes)
{
	sense_init(&s);
	in = (struct sense_input){ .now_ms = 1000000, .viewers = prefixes * 3, .prefixes = prefixes, .demand = 50e6,
				   .egress = 50e6, .capacity = 100e6 };
	changes = 0;
}

static bool tick(void)
{
	bool changed;

	in.now_ms += TICK;
	changed = sense_tick(&s, NULL, &in);
	changes += changed;
	return changed;
}

/* How many ms until it is in that state; the test ends when it never is. */
static int64_t until(enum sense_state state)
{
	int64_t from = in.now_ms;

	for (unsigned int k = 0; s.state != state; k++) {
		assert_true(k < 1000);
		tick();
	}
	return in.now_ms - from;
}

static void starts_calm(void **unused)
{
	(void)unused;
	begin(10);
	for (int k = 0; k < 100; k++)
		assert_false(tick());
	assert_int_equal(s.state, SENSE_CALM);
	/* Nobody there, nothing known. */
	in = (struct sense_input){ .now_ms = in.now_ms };
	assert_false(tick());
	assert_int_equal(s.state, SENSE_CALM);
}

static void outage_at_once(void **unused)
{
	(void)unused;
	begin(30);
	in.egress = 0;
	in.failing = 2; /* a tenth of 30 are three */
	assert_false(tick());
	in.failing = 3;
	assert_true(tick());
	assert_int_equal(s.state, SENSE_OUTAGE);
	assert_non_null(strstr(s.why, "3 of 30"));
	/* Something comes while requests fail: not all is lost. */
	begin(30);
	in.failing = 3;
	in.egress = 2.5e6;
	assert_true(tick());
	assert_int_equal(s.state, SENSE_STRAINED);
	in.egress = 0;
	assert_true(tick());
	assert_int_equal(s.state, SENSE_OUTAGE);
}

static void endpoints(void **unused)
{
	(void)unused;
	begin(1);
	in.endpoints_known = 3;
	in.endpoints_alive = 1;
	assert_false(tick());
	in.endpoints_alive = 0;
	assert_true(tick());
	assert_int_equal(s.state, SENSE_STRAINED); /* something comes still */
	in.egress = 0;
	assert_true(tick());
	assert_int_equal(s.state, SENSE_OUTAGE);
}

/* One prefix says all it can, for an hour: nothing moves while two others watch, whatever the share. */
static void forged(void **unused)
{
	(void)unused;
	for (uint32_t prefixes = 3; prefixes < 200; prefixes += 7) {
		begin(prefixes);
		in.failing = in.slow = in.starving = 1;
		in.egress = prefixes % 2 ? 0 : in.egress;
		for (int k = 0; k < 4 * 3600; k++)
			assert_false(tick());
		/* … nor does it hold down what others began. */
		in.slow = 50;
		in.slow = prefixes < in.slow ? prefixes : in.slow;
		in.egress = 50e6;
		assert_true(tick());
		in.slow = 1;
		until(SENSE_CALM);
	}
	/* A viewer alone is its own witness; of two, both must say it. */
	begin(1);
	in.slow = 1;
	assert_true(tick());
	begin(2);
	in.slow = 1;
	assert_false(tick());
	in.slow = 2;
	assert_true(tick());
}

/* Of a hundred networks ten report at all: it takes their share, and never one alone. */
static void few_report(void **unused)
{
	(void)unused;
	begin(100);
	in.asking = 10;
	in.slow = 1;
	for (int k = 0; k < 100; k++)
		assert_false(tick());
	in.slow = 2;
	assert_true(tick());
	begin(100);
	in.slow = 9;
	assert_false(tick());
}

static uint32_t noise_state = 7;

static double noise(void)
{
	noise_state = noise_state * 1664525u + 1013904223u;
	return (double)(noise_state >> 8) / (1 << 24) - 0.5;
}

static void no_flapping(void **unused)
{
	(void)unused;
	/* Demand around the upper threshold: up once, and no more. */
	begin(10);
	for (int k = 0; k < 4 * 600; k++) {
		in.demand = 90e6 + 10e6 * noise();
		tick();
	}
	assert_int_equal(changes, 1);
	/* Around the lower one: down at most once, and it stays. */
	for (int k = 0; k < 4 * 600; k++) {
		in.demand = 70e6 + 10e6 * noise();
		tick();
	}
	assert_in_range(changes, 1, 2);
	/* Witnesses around the quorum. */
	begin(10);
	for (int k = 0; k < 4 * 600; k++) {
		in.slow = noise() > 0 ? 2 : 1;
		tick();
	}
	assert_int_equal(changes, 1);
	/* Bursts with pauses just longer than it takes to settle: patience grows, at most one change in a settle time. */
	begin(10);
	for (int k = 0; k < 4 * 600; k++) {
		in.slow = k % 48 == 0 ? 2 : 0;
		tick();
	}
	assert_true(changes <= 5);
}

/* It relapses while it settles slower and slower; a quiet time makes it as quick as it was. */
static void relapses(void **unused)
{
	int64_t waited[6];

	(void)unused;
	begin(10);
	for (int k = 0; k < 6; k++) {
		in.slow = 2;
		until(SENSE_STRAINED);
		in.slow = 0;
		waited[k] = until(SENSE_CALM);
	}
	assert_in_range(waited[0], 10000, 10500);
	assert_in_range(waited[1], 20000, 20500);
	assert_in_range(waited[2], 40000, 40500);
	assert_in_range(waited[3], 80000, 80500);
	assert_in_range(waited[5], 80000, 80500);
	in.now_ms += 600000;
	in.slow = 2;
	until(SENSE_STRAINED);
	in.slow = 0;
	assert_in_range(until(SENSE_CALM), 10000, 10500);
}

static void predicts(void **unused)
{
	bool acted = false;

	(void)unused;
	begin(10);
	in.demand_slope = 2e6; /* 20 s until capacity */
	for (in.demand = 60e6; in.demand < 100e6 && !acted; in.demand += in.demand_slope * TICK / 1000)
		acted = tick();
	assert_true(acted);
	assert_int_equal(s.state, SENSE_STRAINED);
	assert_true(in.demand < 82e6);
	assert_non_null(strstr(s.why, "will be"));
	/* Without a capacity nothing can be predicted; a demand that falls is no threat. */
	begin(10);
	in.capacity = 0;
	in.demand_slope = 1e9;
	assert_false(tick());
	begin(10);
	in.demand = 85e6;
	in.demand_slope = -5e6;
	assert_false(tick());
}

static void down_stepwise(void **unused)
{
	int64_t waited;

	(void)unused;
	begin(10);
	in.egress = 0;
	in.failing = 5;
	assert_true(tick());
	assert_int_equal(s.state, SENSE_OUTAGE);
	in.failing = 0;
	in.egress = 50e6;
	waited = until(SENSE_STRAINED);
	assert_in_range(waited, 10000, 10500);
	waited = until(SENSE_CALM);
	assert_in_range(waited, 10000, 10500);
	/* A sign in between begins the waiting anew. */
	in.now_ms += 3600000;
	in.slow = 5;
	until(SENSE_STRAINED);
	in.slow = 0;
	for (int k = 0; k < 36; k++)
		assert_false(tick());
	in.slow = 5;
	assert_false(tick());
	in.slow = 0;
	assert_in_range(until(SENSE_CALM), 10000, 10500);
}

static void switched(void **unused)
{
	(void)unused;
	begin(10);
	s.mode = SENSE_ON;
	assert_true(tick());
	assert_int_equal(s.state, SENSE_STRAINED);
	assert_non_null(strstr(s.why, "operator"));
	for (int k = 0; k < 400; k++)
		assert_false(tick());
	in.failing = 5;
	in.egress = 0;
	assert_true(tick());
	assert_int_equal(s.state, SENSE_OUTAGE);
	in.failing = 0;
	in.egress = 50e6;
	until(SENSE_STRAINED);
	for (int k = 0; k < 400; k++)
		assert_false(tick());
	s.mode = SENSE_OFF;
	in.failing = 5;
	in.egress = 0;
	assert_true(tick());
	assert_int_equal(s.state, SENSE_CALM);
	for (int k = 0; k < 400; k++)
		assert_false(tick());
	s.mode = SENSE_AUTO;
	assert_true(tick());
	assert_int_equal(s.state, SENSE_OUTAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_calm), cmocka_unit_test(outage_at_once), cmocka_unit_test(endpoints),
		cmocka_unit_test(forged), cmocka_unit_test(few_report),      cmocka_unit_test(no_flapping),	 cmocka_unit_test(relapses),
		cmocka_unit_test(predicts),    cmocka_unit_test(down_stepwise),	 cmocka_unit_test(switched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
