/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_digest.c -- see s3_digest.h.
 */
#include "http/gateway/s3_digest.h"

#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"

struct s3_digest {
	struct awschunked *chunked; /* NULL: as it is */
	struct checksums *sums;
	bool has_sha256, has_md5, has_kind, in_trailer;
	uint8_t sha256[32], md5[CHECKSUM_MAX], value[CHECKSUM_MAX];
	enum checksum_kind kind;
};

static bool is_stream(const struct sigv4 *sig)
{
	return sig->payload == SIGV4_STREAM || sig->payload == SIGV4_STREAM_TRAILER || sig->payload == SIGV4_STREAM_UNSIGNED_TRAILER;
}

/* Is the name one of a list with commas? */
static bool is_listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; at && (at = strcasestr(at, name)); at += len)
		if ((at == list || strchr(", ", at[-1])) && strchr(", ", at[len]))
			return true;
	return false;
}

static enum s3_error read_checksum(struct s3_digest *d, struct http_req *req, bool whole, struct s3_fault *fault)
{
	const char *md5 = http_header(req, "Content-MD5"), *trailer = d->chunked ? http_header(req, "x-amz-trailer") : NULL;

	d->has_md5 = md5 != NULL;
	if (md5 && checksum_parse(CHECKSUM_MD5, md5, d->md5))
		return s3_fault(fault, S3_INVALID_DIGEST, "The Content-MD5 you specified is not valid.");
	for (enum checksum_kind kind = 0; !whole && kind < CHECKSUM_MD5; kind++) {
		const char *text = http_header(req, checksum_header(kind));

		d->in_trailer |= !text && is_listed(trailer, checksum_header(kind));
		if (!text && !is_listed(trailer, checksum_header(kind)))
			continue;
		if (d->has_kind || (text && checksum_parse(kind, text, d->value)))
			return s3_fault(fault, S3_INVALID_REQUEST, "Value for %s header is invalid.", checksum_header(kind));
		d->has_kind = true;
		d->kind = kind;
	}
	return S3_OK;
}

static enum s3_error read_length(struct s3_digest *d, struct http_req *req, const struct sigv4 *sig, const uint8_t key[32],
				 uint64_t *size, struct s3_fault *fault)
{
	const char *decoded = http_header(req, "x-amz-decoded-content-length");
	char *end = NULL;

	*size = http_content_length(req);
	if (!is_stream(sig))
		return S3_OK;
	if (!decoded || *decoded < '0' || *decoded > '9')
		return s3_fault(fault, S3_MISSING_CONTENT_LENGTH, "x-amz-decoded-content-length must say how many bytes the payload has.");
	*size = strtoull(decoded, &end, 10);
	if (*end)
		return s3_fault(fault, S3_MISSING_CONTENT_LENGTH, NULL);
	return awschunked_new(&d->chunked, sig, key, *size, http_header(req, "x-amz-trailer")) ? S3_SERVICE_UNAVAILABLE : S3_OK;
}

enum s3_error s3_digest_new(struct s3_digest **out, struct http_req *req, const struct sigv4 *sig, const uint8_t key[32],
			    bool whole, uint64_t *size, struct s3_fault *fault)
{
	struct s3_digest *d = calloc(1, sizeof(*d));
	unsigned int kinds = 1u << CHECKSUM_MD5;
	enum s3_error error;

	if (!d)
		return S3_SERVICE_UNAVAILABLE;
	d->has_sha256 = sig->payload == SIGV4_SIGNED;
	memcpy(d->sha256, sig->payload_sha256, sizeof(d->sha256));
	error = read_length(d, req, sig, key, size, fault);
	if (!error)
		error = read_checksum(d, req, whole, fault);
	if (d->has_kind)
		kinds |= 1u << d->kind;
	if (d->has_sha256)
		kinds |= 1u << CHECKSUM_SHA256;
	if (!error)
		d->sums = checksums_new(kinds);
	if (!error && !d->sums)
		error = S3_SERVICE_UNAVAILABLE;
	if (error)
		s3_digest_free(d);
	else
		*out = d;
	return error;
}

void s3_digest_free(struct s3_digest *d)
{
	if (!d)
		return;
	awschunked_free(d->chunked);
	checksums_free(d->sums);
	free(d);
}

enum s3_error s3_digest_take(struct s3_digest *d, const void *data, size_t len, int (*put)(void *arg, const void *data, size_t len),
			     void *arg, int *rc)
{
	enum s3_error error = S3_OK;
	const char *in = data, *piece;
	size_t used, n;

	*rc = 0;
	if (!d->chunked) {
		checksums_add(d->sums, data, len);
		*rc = put(arg, data, len);
		return S3_OK;
	}
	while (!error && !*rc && len) {
		error = awschunked_next(d->chunked, in, len, &used, &piece, &n);
		if (!error && n) {
			checksums_add(d->sums, piece, n);
			*rc = put(arg, piece, n);
		}
		in += used;
		len -= used;
	}
	return error;
}

static bool is_right(struct s3_digest *d, enum checksum_kind kind, const uint8_t *want, const uint8_t *sha256)
{
	uint8_t sum[CHECKSUM_MAX];

	if (kind == CHECKSUM_SHA256) /* each is given once */
		memcpy(sum, sha256, 32);
	else
		checksums_get(d->sums, kind, sum);
	return !memcmp(sum, want, checksum_size(kind));
}

static enum s3_error end_chunks(struct s3_digest *d, struct s3_fault *fault)
{
	enum s3_error error = d->chunked ? awschunked_end(d->chunked) : S3_OK;
	const char *text;

	if (error || !d->in_trailer)
		return error;
	text = awschunked_trailer(d->chunked, checksum_header(d->kind));
	if (!text || checksum_parse(d->kind, text, d->value))
		return s3_fault(fault, S3_INVALID_REQUEST, "Value for %s trailing header is invalid.", checksum_header(d->kind));
	return S3_OK;
}

enum s3_error s3_digest_end(struct s3_digest *d, char etag[33], struct s3_fault *fault)
{
	enum s3_error error = end_chunks(d, fault);
	uint8_t md5[CHECKSUM_MAX], sha256[CHECKSUM_MAX];

	if (error)
		return error;
	checksums_get(d->sums, CHECKSUM_MD5, md5);
	hex_encode(md5, 16, etag);
	if (d->has_md5 && memcmp(md5, d->md5, 16))
		return s3_fault(fault, S3_BAD_DIGEST, "The Content-MD5 you specified did not match what we received.");
	if (d->has_sha256 || (d->has_kind && d->kind == CHECKSUM_SHA256))
		checksums_get(d->sums, CHECKSUM_SHA256, sha256);
	if (d->has_sha256 && memcmp(sha256, d->sha256, 32))
		return s3_fault(fault, S3_CONTENT_SHA256_MISMATCH, NULL);
	if (d->has_kind && !is_right(d, d->kind, d->value, sha256))
		return s3_fault(fault, S3_BAD_DIGEST, "The %s you specified did not match the calculated checksum.", checksum_name(d->kind));
	return S3_OK;
}
