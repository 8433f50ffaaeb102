/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate.h -- a token bucket that several threads share: so many bytes a second, all together.
 */
#ifndef WEIR_TOOLS_RATE_H
#define WEIR_TOOLS_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rate;

/* bytes a second; a quarter of a second may be saved up. NULL without memory. */
struct rate *rate_new(uint64_t bytes_per_second);
void rate_free(struct rate *r); /* accepts NULL */
/* Waits until at least one of `max` bytes may go and returns how many may (all when r is NULL); 0 when
 * *stop was set meanwhile. */
size_t rate_take(struct rate *r, size_t max, const volatile bool *stop);

/* "10MiB", "500KiB", "3MB", "12345"; 0 when malformed. */
uint64_t rate_parse(const char *text);

#endif
