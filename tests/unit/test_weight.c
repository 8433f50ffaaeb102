/* SPDX-License-Identifier: Apache-2.0 */
/* weight.c, model.c: what is learned from known truths, and how weights follow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "user/agent/weight.h"

static uint64_t random_state;

static double random_unit(void)
{
	uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

/* Sum of 12 uniform numbers: as good as normal here. */
static double random_normal(void)
{
	double sum = -6;

	for (int i = 0; i < 12; i++)
		sum += random_unit();
	return sum;
}

static struct weight *make(size_t n)
{
	static char text[1000][16];
	const char *names[1000];
	double sizes[1000];
	struct weight *w;

	for (size_t i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "b%zu", i);
		names[i] = text[i];
		sizes[i] = 1;
	}
	assert_int_equal(weight_new(&w), 0);
	assert_int_equal(weight_backends(w, names, sizes, n), 0);
	return w;
}

static void clear(struct weight_input *in)
{
	memset(in, 0, sizeof(*in));
	in->up = in->fresh = true;
	for (int j = 0; j < MODEL_METRICS_MAX; j++)
		in->report.metric[j] = NAN;
	in->report.inflight = NAN;
}

enum { CPU, PRESSURE, CONNECTIONS, NOISE, CONSTANT };

/* One backend, so that 120 ticks are 120 samples: the target follows the last tick's pressure. */
static void known_truth(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct weight *w = make(1);
		const struct model *m = weight_model(w);
		double pressure = 0.5, before;
		struct weight_input in;

		random_state = seed;
		assert_int_equal(weight_metric(w, "cpu"), CPU);
		assert_int_equal(weight_metric(w, "pressure"), PRESSURE);
		assert_int_equal(weight_metric(w, "connections"), CONNECTIONS);
		assert_int_equal(weight_metric(w, "noise"), NOISE);
		assert_int_equal(weight_metric(w, "constant"), CONSTANT);
		for (int t = 0; t < 120; t++) {
			clear(&in);
			before = pressure;
			pressure = fmin(1, fmax(0, 0.5 + 0.8 * (pressure - 0.5) + 0.15 * random_normal()));
			in.report.metric[CPU] = 0.4 + 0.1 * random_unit();
			in.report.metric[PRESSURE] = pressure;
			in.report.metric[CONNECTIONS] = random_unit();
			in.report.metric[NOISE] = random_unit();
			in.report.metric[CONSTANT] = 0.7;
			in.report.rate = 50;
			in.report.inflight = 1.6 * before + 0.05 * random_normal() + 0.1;
			weight_tick(w, &in, 1);
		}
		/* Every unit of pressure is 1.6 in flight; loads are counted in units of the mean cpu. */
		before = 1.6 * 0.45 / (0.1 + 1.6 * 0.5);
		if (fabs(model_theta(m, PRESSURE) - before) > 0.35 * before ||
		    model_theta(m, PRESSURE) < 5 * model_theta(m, CONNECTIONS) ||
		    model_theta(m, NOISE) >= 0.05 || model_theta(m, CONSTANT) != 0)
			fail_msg("seed %d: cpu %.3f pressure %.3f (true %.3f) connections %.3f noise %.3f "
				 "constant %.3f", (int)seed, model_theta(m, CPU), model_theta(m, PRESSURE),
				 before, model_theta(m, CONNECTIONS), model_theta(m, NOISE),
				 model_theta(m, CONSTANT));
		assert_true(m->error < m->prior_error);
		assert_false(m->fallback);
		weight_free(w);
	}
}

/* Before anything varied the load is the cpu, and capacity the rate per cpu. */
static void day_zero(void **state)
{
	struct weight *w = make(2);
	struct weight_input in[2];

	(void)state;
	for (int t = 0; t < 40; t++) {
		for (int i = 0; i < 2; i++) {
			clear(&in[i]);
			in[i].report.metric[CPU] = i ? 0.2 : 0.4;
			in[i].report.rate = 1000;
		}
		weight_tick(w, in, 1);
	}
	assert_true(fabs(weight_state(w, 0)->load - 0.4) < 1e-6);
	assert_true(weight_state(w, 1)->wanted > 1.5 * weight_state(w, 0)->wanted);
	assert_true(fabs(weight_state(w, 1)->target - weight_state(w, 1)->wanted) < 0.05);
	assert_true(fabs(weight_capacity(w) - 7500) < 0.15 * 7500);
	weight_free(w);
}

/* The relation turns round: the model is worse than cpu alone for a minute, says so, and recovers. */
static void drift(void **state)
{
	struct weight *w = make(4);
	const struct model *m = weight_model(w);
	int given_up = -1, used_again = -1;
	double last[4] = { 0 };

	(void)state;
	random_state = 5;
	weight_metric(w, "pressure");
	for (int t = 0; t < 900; t++) {
		struct weight_input in[4];

		for (int i = 0; i < 4; i++) {
			double cpu = random_unit(), pressure = random_unit();
			int rc;

			clear(&in[i]);
			in[i].report.metric[CPU] = cpu;
			in[i].report.metric[PRESSURE] = pressure;
			in[i].report.rate = 100;
			in[i].report.inflight = fmax(0, last[i] + 0.02 * random_normal());
			last[i] = t < 300 ? 3 * pressure : fmax(0, 1.2 * cpu - 0.9 * pressure + 0.6);
			if (i < 3)
				continue;
			rc = weight_tick(w, in, 1);
			if (rc == 1 && given_up < 0)
				given_up = t;
			if (rc == -1 && used_again < 0)
				used_again = t;
		}
		if (t == 299)
			assert_true(model_theta(m, PRESSURE) > 0.8 && m->error < m->prior_error);
	}
	print_message("# turned round at 300, prior at %d, model again at %d\n", given_up, used_again);
	assert_in_range(given_up, 340, 460);
	assert_true(used_again > given_up);
	weight_free(w);
}

/* A closed world: four servers, one of them four times slower; traffic follows the weights. */
static void run_world(struct weight *w, struct weight_input *in, const double *speed, double total,
		      int ticks)
{
	static double last_load[4];

	for (int t = 0; t < ticks; t++) {
		for (int i = 0; i < 4; i++) {
			double rate = total * weight_state(w, (size_t)i)->target;
			double busy = fmin(0.98, rate / speed[i]);

			if (!in[i].up)
				continue;
			clear(&in[i]);
			in[i].report.metric[CPU] = busy * (1 + 0.03 * random_normal());
			in[i].report.rate = fmin(rate, speed[i]);
			in[i].report.errors = 0;
			in[i].report.inflight = last_load[i];
			last_load[i] = busy / (1 - busy);
		}
		weight_tick(w, in, 1);
	}
}

static void slow_one_gets_less(void **state)
{
	double speed[4] = { 100, 100, 100, 100 };
	struct weight *w = make(4);
	struct weight_input in[4];

	(void)state;
	random_state = 9;
	for (int i = 0; i < 4; i++)
		clear(&in[i]);
	weight_tick(w, in, 1);
	run_world(w, in, speed, 160, 60);
	for (size_t i = 0; i < 4; i++)
		assert_true(fabs(weight_state(w, i)->target - 0.25) < 0.05);
	speed[2] = 25;
	run_world(w, in, speed, 160, 60);
	assert_true(weight_state(w, 2)->target < 0.15);
	speed[2] = 100;
	run_world(w, in, speed, 160, 120);
	assert_true(weight_state(w, 2)->target > 0.19);
	weight_free(w);
}

/* Failing at once makes no capacity: the backend is ejected; when most fail, none is. */
static void fast_errors(void **state)
{
	struct weight *w = make(4);
	struct weight_input in[4];

	(void)state;
	for (int t = 0; t < 30; t++) {
		for (int i = 0; i < 4; i++) {
			clear(&in[i]);
			in[i].report.metric[CPU] = i ? 0.4 : 0.02;
			in[i].report.rate = i ? 100 : 2000;
			in[i].report.errors = i ? 0 : 1990;
		}
		weight_tick(w, in, 1);
	}
	assert_true(weight_state(w, 0)->failing);
	assert_true(weight_state(w, 0)->target < 0.03);
	for (int t = 0; t < 30; t++) {
		for (int i = 0; i < 4; i++) {
			clear(&in[i]);
			in[i].report.metric[CPU] = 0.4;
			in[i].report.rate = 100;
			in[i].report.errors = i < 3 ? 95 : 0;
		}
		weight_tick(w, in, 1);
	}
	for (size_t i = 0; i < 4; i++)
		assert_false(weight_state(w, i)->failing);
	weight_free(w);
}

static void down_draining_and_back(void **state)
{
	double speed[4] = { 100, 100, 100, 100 };
	struct weight *w = make(4);
	struct weight_input in[4];

	(void)state;
	random_state = 3;
	for (int i = 0; i < 4; i++)
		clear(&in[i]);
	weight_tick(w, in, 1);
	run_world(w, in, speed, 160, 30);
	in[1].up = false;
	in[1].fresh = false;
	run_world(w, in, speed, 160, 1);
	assert_true(weight_state(w, 1)->wanted == 0 && weight_state(w, 1)->target == 0);
	assert_string_equal(weight_state(w, 1)->why, "down");
	run_world(w, in, speed, 160, 20);
	in[1].up = true;
	run_world(w, in, speed, 160, 2);
	assert_true(weight_state(w, 1)->target < 0.1);
	assert_string_equal(weight_state(w, 1)->why, "slow start");
	run_world(w, in, speed, 160, 80);
	assert_true(weight_state(w, 1)->target > 0.2);
	for (int i = 0; i < 4; i++)
		in[i].draining = i < 2;
	weight_tick(w, in, 1);
	assert_true(weight_state(w, 0)->target == 0 && weight_state(w, 1)->target == 0);
	assert_string_equal(weight_state(w, 0)->why, "draining");
	for (int i = 0; i < 4; i++)
		in[i].up = false;
	weight_tick(w, in, 1);
	for (size_t i = 0; i < 4; i++)
		assert_true(weight_state(w, i)->target == 0);
	weight_free(w);
}

/* Sites are compared by capacity: one that is idle looks as large as it was when it was busy. */
static void idle_is_not_small(void **state)
{
	double speed[4] = { 500, 500, 500, 500 }, busy, idle;
	struct weight *w = make(4);
	struct weight_input in[4];

	(void)state;
	random_state = 11;
	for (int i = 0; i < 4; i++)
		clear(&in[i]);
	weight_tick(w, in, 1);
	idle = weight_capacity(w);
	assert_true(idle > 2000 && idle < 5000);
	run_world(w, in, speed, 1000, 400);
	busy = weight_capacity(w);
	assert_true(fabs(busy - 2000) < 400);
	run_world(w, in, speed, 1, 200);
	idle = weight_capacity(w);
	print_message("# capacity 2,000: seen as %.0f when busy, %.0f when idle\n", busy, idle);
	assert_true(idle > 0.5 * busy && idle < 2 * busy);
	weight_free(w);
}

static void silence(void **state)
{
	struct weight *w = make(3);
	struct weight_input in[3];
	double kept = 0;

	(void)state;
	for (int t = 0; t < 200; t++) {
		for (int i = 0; i < 3; i++) {
			clear(&in[i]);
			in[i].report.metric[CPU] = i ? 0.3 : 0.6;
			in[i].report.rate = 100;
			in[i].fresh = i > 0 || t < 60;
		}
		weight_tick(w, in, 1);
		if (t == 59)
			kept = weight_state(w, 0)->wanted;
		if (t == 70)
			assert_true(fabs(weight_state(w, 0)->wanted - kept) < 0.02);
	}
	/* Aged to the mean of the others. */
	assert_true(fabs(weight_state(w, 0)->wanted - 1 / 3.0) < 0.01);
	assert_non_null(strstr(weight_state(w, 0)->why, "silent"));
	weight_free(w);
	/* Nobody ever reports: configured sizes. */
	w = make(2);
	for (int i = 0; i < 2; i++) {
		clear(&in[i]);
		in[i].fresh = false;
	}
	for (int t = 0; t < 50; t++)
		weight_tick(w, in, 1);
	assert_true(fabs(weight_state(w, 0)->target - 0.5) < 1e-9);
	weight_free(w);
}

static void fills_by_delay(void **state)
{
	const double capacity[4] = { 100, 50, 10, 0 };
	double share[4], marginal;

	(void)state;
	weight_fill(capacity, 4, 80, share);
	assert_true(fabs(share[0] + share[1] + share[2] - 1) < 1e-9 && share[3] == 0);
	/* Where there is traffic the marginal delay is the same, elsewhere it would be larger. */
	marginal = capacity[0] / pow(capacity[0] - 80 * share[0], 2);
	assert_true(fabs(capacity[1] / pow(capacity[1] - 80 * share[1], 2) - marginal) < 1e-9);
	assert_true(share[2] == 0 && 1 / capacity[2] >= marginal);
	weight_fill(capacity, 4, 500, share);
	assert_true(fabs(share[0] - 100 / 160.0) < 1e-9);
	weight_fill(capacity, 0, 5, share);
	weight_fill(capacity + 3, 1, 5, share);
	assert_true(share[0] == 0);
}

static void set_of_backends(void **state)
{
	const char *names[3] = { "b1", "new", "b0" }, *twice[2] = { "x", "x" };
	double sizes[3] = { 1, 1, 1 };
	struct weight *w = make(2);
	struct weight_input in[3];
	double load;

	(void)state;
	for (int i = 0; i < 3; i++) {
		clear(&in[i]);
		in[i].report.metric[CPU] = 0.1 * (i + 1);
		in[i].report.rate = 10;
	}
	for (int t = 0; t < 10; t++)
		weight_tick(w, in, 1);
	load = weight_state(w, 0)->load;
	assert_int_equal(weight_backends(w, twice, sizes, 2), -EINVAL);
	assert_int_equal(weight_count(w), 2);
	assert_int_equal(weight_backends(w, names, sizes, 3), 0);
	assert_true(weight_state(w, 2)->load == load);
	assert_true(isnan(weight_state(w, 1)->load));
	weight_tick(w, in, 1);
	weight_free(w);
}

static void tick_is_fast(void **state)
{
	enum { N = 1000, METRICS = 8 };
	static struct weight_input in[N];
	struct weight *w = make(N);
	double best = 1e9, limit = 5;
	struct timespec a, b;
	char name[8];

	(void)state;
#if defined(__SANITIZE_ADDRESS__)
	limit = 50;
#endif
	for (int j = 1; j < METRICS; j++) {
		snprintf(name, sizeof(name), "m%d", j);
		assert_int_equal(weight_metric(w, name), j);
	}
	for (int round = 0; round < 30; round++) {
		for (int i = 0; i < N; i++) {
			clear(&in[i]);
			for (int j = 0; j < METRICS; j++)
				in[i].report.metric[j] = random_unit();
			in[i].report.rate = 100 * random_unit();
			in[i].report.inflight = random_unit();
		}
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
		weight_tick(w, in, 1);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
		if (round > 2)
			best = fmin(best, (double)(b.tv_sec - a.tv_sec) * 1e3 +
					  (double)(b.tv_nsec - a.tv_nsec) / 1e6);
	}
	print_message("# one tick, 1,000 backends, 8 metrics: %.3f ms\n", best);
	assert_true(best <= limit);
	weight_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_truth),
		cmocka_unit_test(day_zero),
		cmocka_unit_test(drift),
		cmocka_unit_test(slow_one_gets_less),
		cmocka_unit_test(fast_errors),
		cmocka_unit_test(down_draining_and_back),
		cmocka_unit_test(idle_is_not_small),
		cmocka_unit_test(silence),
		cmocka_unit_test(fills_by_delay),
		cmocka_unit_test(set_of_backends),
		cmocka_unit_test(tick_is_fast),
	};

	return cmocka_run_group_tests_name("weight", tests, NULL, NULL);
}
