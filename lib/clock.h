/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h -- when a wait ends, for pthread_cond_timedwait(), sem_clockwait() and their like, which
 * want a moment and not a time. Any thread; nothing fails.
 */
#ifndef WEIR_CLOCK_H
#define WEIR_CLOCK_H

#include <stdint.h>
#include <time.h>

/* What `clock` says in so many milliseconds (not negative). It must be the clock that the condition
 * was made with. */
struct timespec clock_in_ms(clockid_t clock, int64_t ms);

#endif
