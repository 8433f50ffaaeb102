// SPDX-License-Identifier: Apache-2.0
/*
 * count.c -- metrics of S3's operations.
 */
#include "http/s3/count.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { REQUESTS, RECEIVED, SENT, SECONDS, FAMILIES };

struct s3_counts {
	struct metric *families[FAMILIES], *errors;
	_Atomic(struct metric_series *) series[FAMILIES][S3_OPS_N]; /* NULL: not seen yet */
};

static const struct {
	const char *name, *help;
	enum metric_type type;
} families[FAMILIES] = {
	[REQUESTS] = { "s3_requests_total", "Requests of S3, by operation.", METRIC_COUNTER },
	[RECEIVED] = { "s3_received_bytes_total", "Bytes of bodies that S3 requests brought.", METRIC_COUNTER },
	[SENT] = { "s3_sent_bytes_total", "Bytes of bodies that answered S3 requests.", METRIC_COUNTER },
	[SECONDS] = { "s3_request_seconds", "From the head of an S3 request to the end of its answer.", METRIC_HISTOGRAM },
};

int s3_counts_new(struct s3_counts **out, struct metrics *metrics)
{
	static const double bounds[] = { 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064,
					 0.128,	  0.256,  0.512, 1,	2,     4,     8,     16,    64 };
	struct s3_counts *counts;

	*out = NULL;
	if (!metrics)
		return 0;
	counts = calloc(1, sizeof(*counts));
	if (!counts)
		return -ENOMEM;
	for (int i = 0; i < FAMILIES; i++) {
		counts->families[i] =
			metric_add(metrics, families[i].type, families[i].name, families[i].help, "operation");
		if (!counts->families[i])
			goto memory;
	}
	metric_buckets(counts->families[SECONDS], bounds, sizeof(bounds) / sizeof(bounds[0]));
	counts->errors = metric_add(metrics, METRIC_COUNTER, "s3_errors_total",
				    "Requests of S3 that were answered with an error, by operation and code.",
				    "operation,code");
	if (!counts->errors)
		goto memory;
	*out = counts;
	return 0;
memory:
	free(counts);
	return -ENOMEM;
}

void s3_counts_free(struct s3_counts *counts)
{
	free(counts);
}

static const char *label(enum s3_op op)
{
	return op == S3_OP_NONE ? "unknown" : s3_operations[op].name;
}

static struct metric_series *series_of(struct s3_counts *counts, int family, enum s3_op op)
{
	struct metric_series *series = atomic_load_explicit(&counts->series[family][op], memory_order_acquire);

	if (series)
		return series;
	series = metric_series(counts->families[family], label(op), NULL);
	atomic_store_explicit(&counts->series[family][op], series, memory_order_release);
	return series;
}

void s3_counts_add(struct s3_counts *counts, const struct s3_counted *request)
{
	enum s3_op op = request->op;

	if (!counts)
		return;
	metric_inc(series_of(counts, REQUESTS, op), 1);
	metric_observe(series_of(counts, SECONDS, op), request->seconds);
	if (request->received)
		metric_inc(series_of(counts, RECEIVED, op), request->received);
	if (request->sent)
		metric_inc(series_of(counts, SENT, op), request->sent);
	if (request->code)
		metric_inc(metric_series(counts->errors, label(op), request->code, NULL), 1);
}
