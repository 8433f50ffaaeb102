/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conditions.h -- conditional requests as S3 evaluates them (RFC 9110 section 13, Amazon's rules for pairs), dates of HTTP.
 */
#ifndef WEIR_S3_CONDITIONS_H
#define WEIR_S3_CONDITIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "http/s3/errors.h"

/* The headers' values, NULL where absent. Of a copy source: the x-amz-copy-source-if-… ones. */
struct s3_conditions {
	const char *if_match, *if_none_match;
	const char *if_modified_since, *if_unmodified_since;
};
/* For GET and HEAD: S3_OK, S3_NOT_MODIFIED or S3_PRECONDITION_FAILED. etag with or without quotes. A date that cannot be
 * read is ignored. If-Match that holds outweighs If-Unmodified-Since; If-None-Match that fails outweighs If-Modified-Since. */
enum s3_error s3_conditions_read(const struct s3_conditions *c, const char *etag, int64_t modified);
/* Of a copy source: the same, but 412 where a GET would say 304. */
enum s3_error s3_conditions_copy(const struct s3_conditions *c, const char *etag, int64_t modified);
/* For PUT, CompleteMultipartUpload: what may be asked. If-None-Match may only be "*" and If-Match only one etag
 * (S3_NOT_IMPLEMENTED otherwise); both together: S3_NOT_IMPLEMENTED. */
enum s3_error s3_conditions_write_valid(const struct s3_conditions *c, struct s3_fault *fault);

/* Does a list of entity tags ("*", quoted, unquoted, W/"…", commas) name this one? */
bool s3_etag_listed(const char *list, const char *etag);

/* "Fri, 27 Nov 2026 13:18:42 GMT", the two obsolete forms, and ISO 8601 ("2026-11-27T13:18:42Z"); -1: no date. */
int64_t s3_date_parse(const char *text);
void s3_date_format(char out[30], int64_t unix_s);
/* "2026-11-27T13:18:42.000Z" */
void s3_iso_format(char out[25], int64_t unix_s);

#endif
