/* SPDX-License-Identifier: Apache-2.0 */
/*
 * count.h -- metrics of S3, one set per operation: requests, bytes both ways, how long they took, errors by code.
 *
 *	weir_s3_requests_total{operation}           weir_s3_received_bytes_total{operation}
 *	weir_s3_errors_total{operation,code}        weir_s3_sent_bytes_total{operation}
 *	weir_s3_request_seconds{operation}          a histogram, 250 µs to 64 s
 *
 * Series come to be when an operation is first seen, so that the page has no row for what nobody asks for.
 */
#ifndef WEIR_S3_COUNT_H
#define WEIR_S3_COUNT_H

#include <stdint.h>

#include "http/s3/operation.h"
#include "lib/metrics.h"

struct s3_counts;
/* metrics may be NULL: then nothing is counted. 0 or -ENOMEM. */
int s3_counts_new(struct s3_counts **out, struct metrics *metrics);
void s3_counts_free(struct s3_counts *counts); /* accepts NULL */

struct s3_counted {
	enum s3_op op;		 /* S3_OP_NONE: it was none, "unknown" */
	const char *code;	 /* of the error, NULL: none */
	uint64_t received, sent; /* bytes of bodies */
	double seconds;
};
/* From any thread; counts may be NULL. */
void s3_counts_add(struct s3_counts *counts, const struct s3_counted *request);

#endif
