/* SPDX-License-Identifier: Apache-2.0 */
/*
 * awschunked.h -- a body in Content-Encoding aws-chunked, decoded while it comes in: signed chunks, signed
 * chunks with signed trailers, unsigned chunks with trailers.
 *
 * 	SIZE-IN-HEX[;chunk-signature=64 hex digits] CR LF bytes CR LF … 0[;chunk-signature=…] CR LF
 * 	[NAME:VALUE CR LF … [x-amz-trailer-signature:… CR LF]] CR LF
 *
 * Bytes are handed out as they come, before the signature of their chunk was seen to fit: nothing of them may
 * be visible to anybody before awschunked_end() said S3_OK. No clock, no socket, no logging. Sources:
 * "Transferring Payload in Multiple Chunks" and "Including Trailing Headers" of Amazon's S3 API reference.
 */
#ifndef WEIR_S3_AWSCHUNKED_H
#define WEIR_S3_AWSCHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "http/s3/sigv4.h"

#define AWSCHUNKED_TRAILERS_MAX 8    /* trailer lines */
#define AWSCHUNKED_TRAILER_LEN	4096 /* bytes of all trailers together */
#define AWSCHUNKED_CHUNK_MIN	8192 /* bytes of each signed chunk but the last that holds any */

struct awschunked;

/* sig: as verified; its payload is one of SIGV4_STREAM… (-EINVAL else). key: the signing key. decoded:
 * x-amz-decoded-content-length. trailers: the header x-amz-trailer, a comma-separated list of names (all
 * announced must come, others are refused), or NULL. Copies what it needs. 0 or -errno. */
int awschunked_new(struct awschunked **out, const struct sigv4 *sig, const uint8_t key[32], uint64_t decoded,
		   const char *trailers);
void awschunked_free(struct awschunked *c); /* accepts NULL */

/* One step. Takes *used of the len bytes at in; when that brought bytes of the payload, *data points to *n of
 * them, inside in, else *n is 0. Call again while *used < len and it returned 0; all of in may be taken
 * without a byte of payload. S3_OK, or what the answer is (then the body is lost): S3_INCOMPLETE_BODY for what is
 * malformed, cut, or of another length than decoded; S3_SIGNATURE_MISMATCH; S3_INVALID_CHUNK_SIZE;
 * S3_MALFORMED_TRAILER; S3_SERVICE_UNAVAILABLE without memory. */
enum s3_error awschunked_next(struct awschunked *c, const char *in, size_t len, size_t *used, const char **data, size_t *n);

/* The body of the request is complete: S3_OK when the stream is, and every signature and length fits. */
enum s3_error awschunked_end(struct awschunked *c);

/* A trailer's value (the name's case does not matter) after end said S3_OK; NULL when it did not come. */
const char *awschunked_trailer(const struct awschunked *c, const char *name);

/* For clients: the body of a signed stream. chunk_len as the client likes; trailers: pairs of name and value
 * ending with a NULL name, or NULL. *out_len bytes, malloc'ed; NULL without memory. sig.signature is the seed. */
char *awschunked_encode(const struct sigv4 *sig, const uint8_t key[32], const void *data, size_t len,
			size_t chunk_len, const struct http_pair *trailers, size_t *out_len);

#endif
