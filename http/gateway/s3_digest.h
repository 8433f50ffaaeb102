/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_digest.h -- a body that the gateway itself takes: decoded when it is aws-chunked, hashed, and at its end compared with all
 * that the request says of it (x-amz-content-sha256, Content-MD5, one x-amz-checksum-…). Pure but for memory.
 */
#ifndef WEIR_S3_DIGEST_H
#define WEIR_S3_DIGEST_H

#include <stdbool.h>

#include "http/s3/awschunked.h"
#include "http/s3/checksum.h"
#include "http/s3/errors.h"
#include "http/s3/sigv4.h"
#include "lib/httpd.h"

struct s3_digest;
/* key: the signing key, or NULL of an unsigned request. whole: x-amz-checksum-… is of the object that is completed, not of this
 * body, and another's to compare. *size: bytes of payload, UINT64_MAX: not said. */
enum s3_error s3_digest_new(struct s3_digest **out, struct http_req *req, const struct sigv4 *sig, const uint8_t key[32],
			    bool whole, uint64_t *size, struct s3_fault *fault);
void s3_digest_free(struct s3_digest *d); /* accepts NULL */
/* All of the received bytes; put() gets the payload's: what it returns other than 0 ends it, in *rc. */
enum s3_error s3_digest_take(struct s3_digest *d, const void *data, size_t len, int (*put)(void *arg, const void *data, size_t len),
			     void *arg, int *rc);
/* The body is complete. etag: MD5 of the payload, 32 hex digits. */
enum s3_error s3_digest_end(struct s3_digest *d, char etag[33], struct s3_fault *fault);

#endif
