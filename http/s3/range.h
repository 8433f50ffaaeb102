/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range.h -- ranges of S3: of a GET, of a copied part, of one part of an object (partNumber).
 */
#ifndef WEIR_S3_RANGE_H
#define WEIR_S3_RANGE_H

#include <stddef.h>
#include <stdint.h>

#include "http/s3/errors.h"
#include "lib/httpd.h"

/* Range of a GET or HEAD: S3_OK and *ranged says whether it is a 206; S3_INVALID_RANGE (416). What is malformed, of another
 * unit, or several ranges, is ignored, as Amazon does. */
enum s3_error s3_range_read(struct http_range *out, int *ranged, const char *header, uint64_t size);
/* x-amz-copy-source-range: "bytes=FIRST-LAST", both, within the object: else S3_INVALID_ARGUMENT. */
enum s3_error s3_range_copy(struct http_range *out, const char *header, uint64_t size, struct s3_fault *fault);
/* partNumber and the like: a number from 1 to max. S3_INVALID_ARGUMENT. */
enum s3_error s3_number_parse(unsigned int *out, const char *text, unsigned int min, unsigned int max, const char *what,
			      struct s3_fault *fault);
/* Which bytes are part `number` (from 1) of an object with these part sizes; nparts 0: one part, the whole object.
 * S3_INVALID_PART_NUMBER (416). */
enum s3_error s3_range_part(struct http_range *out, unsigned int number, const uint64_t *sizes, unsigned int nparts,
			    uint64_t size);

#endif
