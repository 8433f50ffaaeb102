/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.h -- how loaded this process is: its own CPU and its cgroup's (v1 and v2: usage against the
 * quota, throttling), memory, pressure (PSI, or time that runnable threads waited: schedstat),
 * requests in flight, rates and latency. What /_/health reports.
 *
 * Thread-safe. Files of /proc and /sys are opened by load_new() and read again and again.
 */
#ifndef WEIR_LOAD_H
#define WEIR_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/orca.h"

struct load;

int load_new(struct load **out);   /* call while files may be opened; what is absent is left out of
				      reports */
void load_free(struct load *load); /* accepts NULL */

/* Around each request; accept NULL. failed: the server's fault (5xx). */
void load_begin(struct load *load);
void load_end(struct load *load, uint64_t took_us, bool failed);

/* A request that was answered at once, without a begin and an end. */
void load_passed(struct load *load, uint64_t took_us);

/* Rates are over the time since the values were last refreshed, at least 250 ms: frequent callers
 * get the same report. cpu_utilization is relative to what the process may use (quota or CPUs).
 * Named: "inflight", "latency_ms", "pressure", "throttled", "connections". */
void load_report(struct load *load, struct orca_report *out);
void load_connections(struct load *load, int change);

#endif
