/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h -- Prometheus text, format 0.0.4: HELP, TYPE, units in the name.
 *
 * Families are registered once at start; counters are bumped without locks (atomic) by any thread;
 * values that live elsewhere are read by a collect function when the page is asked for.
 */
#ifndef WEIR_METRICS_H
#define WEIR_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metrics;
struct metric; /* one family */

int metrics_new(struct metrics **out);
void metrics_free(struct metrics *m);

/* name without the "weir_" prefix and with its unit ("http_request_seconds"; counters end in
 * "_total"). labels: comma-separated label names or NULL. Strings are kept, not copied. A family of
 * that name and type is returned when it exists (two servers in one program share theirs). NULL on
 * lack of memory. */
struct metric *metric_add(struct metrics *m, enum metric_type type, const char *name,
			  const char *help, const char *labels);
/* Histogram buckets, ascending, in the metric's unit; call before the first observation. */
int metric_buckets(struct metric *metric, const double *bounds, size_t n);

/* One series of a family: values are the label values in order, NULL-terminated varargs. The
 * series is made at its first use and lives as long as the family: keep the pointer on hot paths.
 * At most 10,000 series a family; past that the series "other" is returned. Never NULL. */
struct metric_series;
struct metric_series *metric_series(struct metric *metric, ...) __attribute__((sentinel));
void metric_inc(struct metric_series *s, uint64_t by);
void metric_set(struct metric_series *s, double value);
void metric_observe(struct metric_series *s, double value);

/* Called before each rendering, to set gauges and counters from elsewhere. */
typedef void metrics_collect_fn(void *arg);
int metrics_on_collect(struct metrics *m, metrics_collect_fn *fn, void *arg);
/* Undoes that; fn does not run any more when this returns. */
void metrics_off_collect(struct metrics *m, metrics_collect_fn *fn, void *arg);

/* A malloc'ed, terminated page that the caller frees; *len without the terminator. */
char *metrics_render(struct metrics *m, size_t *len);

/* process_* and build_info of this program. */
int metrics_add_process(struct metrics *m, const char *program);

#endif
