/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers_regroup.c -- how long group_run() takes: `peers_regroup [ROUNDS]`. Populations of 1,000 to 100,000 viewers
 * of one asset in 200 AS (sizes by Zipf), from scratch and with 1% and 20% departed and as many come; medians of ROUNDS
 * (21), CPU time of this thread beside the wall's. A table to standard error, JSON to standard output:
 * {"regroup100k":{"ms":…,"stat":"median","n":ROUNDS,"wall_ms":…},…}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "http/peers/group.h"

static uint64_t state = 1;

static uint64_t next(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static double unit(void)
{
	return (double)(next() >> 11) * 0x1p-53;
}

static void one(struct group_viewer *v, uint64_t id)
{
	static double sum[200];

	if (!sum[199])
		for (int k = 0; k < 200; k++)
			sum[k] = (k ? sum[k - 1] : 0) + 1.0 / (k + 1);
	*v = (struct group_viewer){ .id = id * 0x9e3779b97f4a7c15u, .asset = 7, .demand = 312500, .stability = 0.9f };
	for (double at = unit() * sum[199]; sum[v->as] < at;)
		v->as++;
	v->prefix = (uint32_t)((v->as + 1) * 2654435761u + next() % 64 * 40503u * 65537u);
	v->as += 64500;
	v->uplink = unit() < 0.25 ? 0 : (float)(250000 + 1250000 * unit());
	v->flags = (v->uplink > 0 ? GROUP_CONSENT | GROUP_MEASURED : 0) | (unit() < 0.1 ? GROUP_CELLULAR : 0);
	v->rtt_ms = (float)(10 + 90 * unit());
	v->position = 1000 + next() % 4;
}

static double clock_ms(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_value);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* share of them leave (the array closes up), as many come at its end. */
static void change(struct group_viewer *v, size_t n, double share, uint64_t *id)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (unit() >= share)
			v[kept++] = v[i];
	for (; kept < n; kept++)
		one(&v[kept], ++*id);
}

static int measure(size_t n, double share, size_t rounds, double *cpu, double *wall, struct group_result *r)
{
	struct group_viewer *v = calloc(n, sizeof(*v));
	double *c = calloc(rounds, sizeof(*c)), *w = calloc(rounds, sizeof(*w));
	struct groups *g = NULL;
	uint64_t id = 0;
	int err = v && c && w ? 0 : -1;

	for (size_t i = 0; i < n && !err; i++)
		one(&v[i], ++id);
	for (size_t k = 0; k < rounds && !err; k++) {
		if (share < 0 || !g) {
			groups_free(g);
			g = groups_new(NULL);
			if (share >= 0)
				group_run(g, v, n, r);
		}
		if (share >= 0)
			change(v, n, share, &id);
		c[k] = clock_ms(CLOCK_THREAD_CPUTIME_ID);
		w[k] = clock_ms(CLOCK_MONOTONIC);
		err = g ? group_run(g, v, n, r) : -1;
		c[k] = clock_ms(CLOCK_THREAD_CPUTIME_ID) - c[k];
		w[k] = clock_ms(CLOCK_MONOTONIC) - w[k];
	}
	if (!err) {
		*cpu = median(c, rounds);
		*wall = median(w, rounds);
	}
	groups_free(g);
	free(v), free(c), free(w);
	return err;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *suffix;
		double share;
	} kinds[] = { { "", -1 }, { ".unchanged", 0 }, { ".changed1", 0.01 }, { ".changed20", 0.2 } };
	size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 21;
	const char *comma = "{";

	fprintf(stderr, "%9s %-11s %8s %8s %9s %7s %7s %7s %7s %8s\n", "viewers", "changed", "cpu ms", "wall ms",
		"groupings", "first", "alone", "moved", "cross", "capacity");
	for (size_t n = 1000; n <= 100000; n *= 10)
		for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
			struct group_result r = { 0 };
			double cpu, wall;

			if (!rounds || measure(n, kinds[k].share, rounds, &cpu, &wall, &r)) {
				fprintf(stderr, "peers_regroup: no memory for %zu viewers, or no rounds\n", n);
				return 1;
			}
			fprintf(stderr, "%9zu %-11s %8.3f %8.3f %9u %7u %7u %7u %7.4f %8.3f\n", n,
				kinds[k].share < 0 ? "all" : kinds[k].suffix + 1, cpu, wall, r.groupings, r.first, r.alone,
				r.moved, (double)r.cross_share, (double)r.capacity);
			printf("%s\"regroup%zuk%s\":{\"ms\":%.3f,\"stat\":\"median\",\"n\":%zu,\"wall_ms\":%.3f}", comma, n / 1000,
			       kinds[k].suffix, cpu, rounds, wall);
			comma = ",";
		}
	printf("}\n");
	return 0;
}
