/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate.c -- see rate.h.
 */
#include "tools/rate.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAVED_S 0.25 /* seconds */
#define SLEEP_MS 100 /* at most, so that a stop is seen */

struct rate {
	pthread_mutex_t lock;
	double per_s, saved, at;
};

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct rate *rate_new(uint64_t bytes_per_second)
{
	struct rate *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	pthread_mutex_init(&r->lock, NULL);
	r->per_s = (double)bytes_per_second;
	r->at = now_s();
	return r;
}

void rate_free(struct rate *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r);
}

size_t rate_take(struct rate *r, size_t max, const volatile bool *stop)
{
	/* not one byte at a time when the bucket is empty */
	double least, wait;

	if (!r || !max)
		return max;
	least = fmin(fmin((double)max, 16384), fmax(1, r->per_s * SAVED_S / 2));
	for (;;) {
		struct timespec pause;
		double now = now_s();

		pthread_mutex_lock(&r->lock);
		r->saved = fmin(r->saved + (now - r->at) * r->per_s, r->per_s * SAVED_S);
		r->at = now;
		if (r->saved >= least) {
			size_t n = r->saved < (double)max ? (size_t)r->saved : max;

			r->saved -= (double)n;
			pthread_mutex_unlock(&r->lock);
			return n;
		}
		wait = fmin((least - r->saved) / r->per_s, SLEEP_MS / 1e3) + 0.001;
		pthread_mutex_unlock(&r->lock);
		if (stop && *stop)
			return 0;
		pause.tv_sec = 0;
		pause.tv_nsec = (long)(wait * 1e9);
		nanosleep(&pause, NULL);
	}
}

uint64_t rate_parse(const char *text)
{
	static const struct {
		const char *name;
		double factor;
	} units[] = { { "", 1 },	     { "B", 1 },	   { "KiB", 1024 },
		      { "MiB", 1048576 },    { "GiB", 1073741824 }, { "kB", 1e3 },
		      { "KB", 1e3 },	     { "MB", 1e6 },	   { "GB", 1e9 } };
	char *end;
	double n = strtod(text, &end);
	size_t len = strlen(end);

	if (len > 2 && !strcmp(end + len - 2, "/s"))
		len -= 2;
	for (size_t i = 0; end != text && n > 0 && i < sizeof(units) / sizeof(*units); i++)
		if (strlen(units[i].name) == len && !strncmp(units[i].name, end, len) && n * units[i].factor >= 1 &&
		    n * units[i].factor < 1e15)
			return (uint64_t)(n * units[i].factor);
	return 0;
}
