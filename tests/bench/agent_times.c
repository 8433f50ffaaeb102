/* SPDX-License-Identifier: Apache-2.0 */
/* agent_times.c -- CPU time of the agent's pure parts, medians and 5th percentiles; see bench-agent. */
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "user/agent/publish.h"
#include "user/agent/weight.h"

#define BACKENDS 1000
#define METRICS  8
#define SLOTS    65537
#define ROUNDS   41

static char names[BACKENDS][16];
static const char *name_list[BACKENDS];
static double sizes[BACKENDS];
static uint64_t random_state = 1;

static double random_unit(void)
{
	uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void tell(json_t *out, const char *name, double *ms, size_t n)
{
	qsort(ms, n, sizeof(*ms), order);
	printf("%-44s %9.3f ms median %9.3f ms p5\n", name, ms[n / 2], ms[n / 20]);
	json_array_append_new(out, json_pack("{ss sf ss ss sn sn sn}", "name", name, "value", ms[n / 2],
					     "unit", "ms", "stat", "median", "peer", "peer_value", "ratio"));
}

static void bench_tick(json_t *out)
{
	static struct weight_input in[BACKENDS];
	double ms[ROUNDS];
	struct weight *w;

	if (weight_new(&w) < 0 || weight_backends(w, name_list, sizes, BACKENDS) < 0)
		exit(1);
	for (int j = 1; j < METRICS; j++) {
		char name[8];

		snprintf(name, sizeof(name), "m%d", j);
		weight_metric(w, name);
	}
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < BACKENDS; i++) {
			in[i].up = in[i].fresh = true;
			for (int j = 0; j < MODEL_METRICS_MAX; j++)
				in[i].report.metric[j] = j < METRICS ? random_unit() : NAN;
			in[i].report.rate = 100 * random_unit();
			in[i].report.inflight = random_unit();
		}
		ms[round] = now_ms();
		weight_tick(w, in, 1);
		ms[round] = now_ms() - ms[round];
	}
	weight_free(w);
	tell(out, "tick.1000x8", ms, ROUNDS);
}

static void bench_ring(json_t *out)
{
	static struct ring_backend set[BACKENDS];
	static uint32_t owner[SLOTS];
	double ms[ROUNDS];
	struct ring *ring;

	if (ring_new(&ring, SLOTS) < 0)
		exit(1);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < BACKENDS; i++)
			set[i] = (struct ring_backend){ ring_id(names[i]), (uint32_t)(1e9 * (0.2 + random_unit())) };
		ms[round] = now_ms();
		ring_build(ring, set, BACKENDS, 7, owner);
		ms[round] = now_ms() - ms[round];
	}
	ring_free(ring);
	tell(out, "ring.65537x1000", ms, ROUNDS);
}

/* One backend's weight changes: plan, calibrate, count, publish. */
static void bench_publish(json_t *out, const char *name, uint32_t slots, size_t n)
{
	static struct publish_want want[BACKENDS];
	double ms[ROUNDS];
	struct publish *p;

	for (size_t i = 0; i < n; i++)
		want[i] = (struct publish_want){ names[i], 1, PUBLISH_CALM };
	if (publish_new(&p, slots, 7, 1) < 0 || publish_tick(p, want, n, 1) != 1)
		exit(1);
	for (int round = 0; round < ROUNDS; round++) {
		want[(size_t)round % n].weight = 0.5 + random_unit();
		ms[round] = now_ms();
		publish_tick(p, want, n, 100);
		ms[round] = now_ms() - ms[round];
	}
	publish_free(p);
	tell(out, name, ms, ROUNDS);
}

int main(int argc, char **argv)
{
	json_t *out = json_array();

	for (int i = 0; i < BACKENDS; i++) {
		snprintf(names[i], sizeof(names[i]), "backend-%d", i);
		name_list[i] = names[i];
		sizes[i] = 1;
	}
	bench_tick(out);
	bench_ring(out);
	bench_publish(out, "publish.65537x1000", SLOTS, BACKENDS);
	bench_publish(out, "publish.4099x10", 4099, 10);
	return argc < 2 || json_dump_file(out, argv[1], JSON_INDENT(1)) < 0;
}
