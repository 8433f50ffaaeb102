/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern.h -- does a regular expression fit a whole value? Compiled once into an automaton over bytes: time is that
 * of the value's length whatever the expression, matching allocates nothing, and a pattern may be shared by threads.
 *
 * Characters are those of UTF-8. Known are: literals, ., [a-z], [^…], \d \D \w \W \s \S \t \n \r and \ before any sign,
 * (…), (?:…), |, *, +, ?, {n}, {n,}, {n,m}; ^ at the beginning and $ at the end mean nothing, as the whole value
 * must fit. Refused: references to groups, looking around, \b, and what would need too large an automaton.
 */
#ifndef WEIR_UPLOAD_PATTERN_H
#define WEIR_UPLOAD_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#define PATTERN_TEXT_MAX 1000u

struct pattern;
/* 0, -EINVAL with why ("what is wrong at N; what would be right"), -ENOMEM. */
int pattern_new(struct pattern **out, const char *text, char why[160]);
void pattern_free(struct pattern *p); /* accepts NULL */
bool pattern_match(const struct pattern *p, const char *text, size_t len);

#endif
