/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h -- from what a backend says (ORCA) and what the check saw to what the learner takes.
 *
 * Pure. The metrics' names, as `weir weights` shows them: cpu, memory, application, pressure,
 * throttled, connections, rate, latency, errors, probe (the check's own milliseconds), and whatever
 * else a backend names.
 */
#ifndef WEIR_REPORT_H
#define WEIR_REPORT_H

#include <stdbool.h>

#include "lib/orca.h"
#include "user/agent/weight.h"

/* Metrics that are new are made known to the learner. false: the report says nothing about the rate of
 * requests, so that no capacity follows from it. */
bool report_take(struct weight *w, const struct orca_report *orca, double probe_ms,
		 struct weight_report *out);

#endif
