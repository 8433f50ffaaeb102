/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.c -- a moment from a time.
 */
#include "lib/clock.h"

struct timespec clock_in_ms(clockid_t clock, int64_t ms)
{
	struct timespec at;

	clock_gettime(clock, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += (long)(ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}
