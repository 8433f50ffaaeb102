/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.h -- how often somebody may try, and what was seen already: tables of a fixed size, thread-safe. Time is passed
 * in (milliseconds of any steady clock).
 */
#ifndef WEIR_LIMIT_H
#define WEIR_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Token buckets by name: `burst` at once, then one every `every_ms`. */
struct limits;
struct limits *limits_new(unsigned int burst, unsigned int every_ms); /* NULL without memory */
void limits_free(struct limits *l);				      /* accepts NULL */
bool limits_take(struct limits *l, const char *name, int64_t now_ms);
void limits_give(struct limits *l, const char *name, int64_t now_ms); /* it was no failure */

/* What was seen (by name), each with a number, until a time. At most `max`; the ones that end first make room. */
struct seen;
struct seen *seen_new(size_t max);
void seen_free(struct seen *s); /* accepts NULL */
/* True when it is new; then it is remembered. */
bool seen_first(struct seen *s, const char *name, int64_t now_ms, int64_t until_ms);
/* May it be done now? Then it may not before `every_ms` have passed. */
bool seen_pace(struct seen *s, const char *name, int64_t now_ms, int64_t every_ms, int64_t until_ms);
size_t seen_count(struct seen *s, int64_t now_ms);

#endif
