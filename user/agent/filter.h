/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h -- the agent's side of the filter: lists from the configuration and by hand, limits, and what
 * people see of them.
 *
 * Files are read and resolved by a thread, because a million lines take a second; the result is put into
 * the packet path a part at a time, so that checks of backends go on. What was in force stays until all
 * of it is there. Entries made by hand are kept in STATE/agent/filter.
 */
#ifndef WEIR_FILTER_H
#define WEIR_FILTER_H

#include <jansson.h>

#include "lib/conf.h"
#include "lib/metrics.h"

struct agent;
struct filter;

int filter_start(struct filter **out, struct agent *agent);
void filter_stop(struct filter *f);     /* accepts NULL */
void filter_tick(struct filter *f);     /* once a second: what has expired */
void filter_changed(struct filter *f);  /* the configuration may be another: limits at once, lists soon */

/* The control command `filter` (ARCHITECTURE.md), and the member of `status`. */
json_t *agent_filter(void *daemon, const json_t *request, char *err, size_t err_len);
void filter_status(struct filter *f, json_t *answer);
int filter_metrics_new(struct filter *f, struct metrics *m);
void filter_metrics_update(struct filter *f);

/* For -n: says the faults of all lists on standard error. 0 or -EINVAL. */
int filter_check(const struct conf *conf);

#endif
