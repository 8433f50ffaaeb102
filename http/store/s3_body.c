/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_body.c -- what an S3 request carries: decoded, counted, hashed; gathered (XML) or on its way to the disk (data); and at
 * its end compared with all that the client said of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/store/quota.h"
#include "http/store/s3.h"
#include "lib/hash.h"

#define IGNORED_MAX (64u << 10) /* bytes of a body where none is wanted */

/* ---- the head ---- */

static bool is_data(const struct s3 *s3)
{
	return s3->op->body == S3_BODY_DATA || s3->body.upload; /* copies have data, too */
}

static bool is_stream(const struct s3 *s3)
{
	return s3->sig.payload == SIGV4_STREAM || s3->sig.payload == SIGV4_STREAM_TRAILER ||
	       s3->sig.payload == SIGV4_STREAM_UNSIGNED_TRAILER;
}

static enum s3_error expect_stream(struct s3 *s3)
{
	const char *decoded = s3_header(s3, "x-amz-decoded-content-length");
	char *end = NULL;
	int rc;

	if (decoded)
		s3->body.want = strtoull(decoded, &end, 10);
	if (!decoded || !*decoded || *end || *decoded == '-')
		return s3_fault(&s3->fault, S3_MISSING_CONTENT_LENGTH,
				"x-amz-decoded-content-length must say how many bytes the payload has.");
	rc = awschunked_new(&s3->body.chunked, &s3->sig, s3->signing, s3->body.want, s3_header(s3, "x-amz-trailer"));
	return rc ? s3_fault(&s3->fault, S3_INTERNAL, NULL) : S3_OK;
}

static enum s3_error expect_length(struct s3 *s3)
{
	struct s3_payload *body = &s3->body;

	/* A stream of unsigned chunks needs no signature. */
	if (s3->sig.kind == SIGV4_NONE && s3_header_is(s3, "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"))
		s3->sig.payload = SIGV4_STREAM_UNSIGNED_TRAILER;
	if (is_stream(s3))
		return expect_stream(s3);
	body->want = http_content_length(s3->req);
	if (is_data(s3) && body->want == UINT64_MAX)
		return s3_fault(&s3->fault, S3_NOT_IMPLEMENTED,
				"A header you provided implies functionality that is not implemented: Transfer-Encoding "
				"without x-amz-decoded-content-length.");
	if (is_data(s3) && !s3_header(s3, "Content-Length"))
		return s3_fault(&s3->fault, S3_MISSING_CONTENT_LENGTH, NULL);
	return S3_OK;
}

static enum s3_error expect_md5(struct s3 *s3)
{
	const char *text = s3_header(s3, "Content-MD5");

	if (!text)
		return S3_OK;
	if (checksum_parse(CHECKSUM_MD5, text, s3->body.md5))
		return s3_fault(&s3->fault, S3_INVALID_DIGEST, "The Content-MD5 you specified is not valid.");
	s3->body.has_md5 = true;
	return S3_OK;
}

/* The checksum in a header, or announced for the trailer. */
static enum s3_error expect_kind(struct s3 *s3, enum checksum_kind kind)
{
	const char *header = checksum_header(kind), *text = s3_header(s3, header);
	const char *trailer = s3->body.chunked ? s3_header(s3, "x-amz-trailer") : NULL;
	bool in_trailer = trailer && strcasestr(trailer, header);
	struct s3_payload *body = &s3->body;

	/* "x-amz-checksum-crc32" begins "x-amz-checksum-crc32c", too. */
	if (in_trailer && kind == CHECKSUM_CRC32) {
		const char *at = strcasestr(trailer, header);

		in_trailer = !strchr("cC", at[strlen(header)]) || !at[strlen(header)];
	}
	if (!text && !in_trailer)
		return S3_OK;
	if (body->has_kind)
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.");
	body->has_kind = true;
	body->kind = kind;
	body->in_trailer = in_trailer;
	body->has_value = text != NULL;
	if (text && checksum_parse(kind, text, body->value))
		return s3_fault(&s3->fault, S3_INVALID_REQUEST, "Value for %s header is invalid.", header);
	return S3_OK;
}

/* A checksum that is not known here would be stored unchecked. */
static bool is_unknown_sum(const char *header)
{
	enum checksum_kind kind;

	if (strncasecmp(header, "x-amz-checksum-", 15))
		return false;
	header += 15;
	return !checksum_by_name(&kind, header) && strcasecmp(header, "algorithm") && strcasecmp(header, "type") &&
	       strcasecmp(header, "mode");
}

static enum s3_error refuse_unknown(struct s3 *s3)
{
	struct http_pair headers[HTTP_HEADERS_MAX];
	size_t n = s3->asks_more ? http_headers(s3->req, headers, HTTP_HEADERS_MAX) : 0;

	for (size_t i = 0; i < n; i++)
		if (is_unknown_sum(headers[i].name))
			return s3_fault(&s3->fault, S3_INVALID_REQUEST,
					"The algorithm type you specified in x-amz-checksum- "
					"header is invalid.");
	return S3_OK;
}

static enum s3_error expect_checksum(struct s3 *s3)
{
	const char *algorithm = s3_header(s3, "x-amz-sdk-checksum-algorithm");
	enum checksum_kind said;
	enum s3_error error = S3_OK;

	if (s3->op->op == S3_OP_CompleteMultipartUpload)
		return S3_OK; /* there it is the object's, not the body's: s3_multipart.c */
	error = refuse_unknown(s3);
	for (enum checksum_kind kind = 0; !error && kind < CHECKSUM_MD5; kind++)
		error = expect_kind(s3, kind);
	if (error || !algorithm || s3->op->body == S3_BODY_NONE)
		return error;
	if (!checksum_by_name(&said, algorithm))
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"Value for x-amz-sdk-checksum-algorithm header is invalid.");
	if (!s3->body.has_kind)
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "
				"x-amz-trailer headers were found.");
	if (s3->body.kind != said)
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"Value for x-amz-sdk-checksum-algorithm header is invalid.");
	return S3_OK;
}

enum s3_error s3_body_expect(struct s3 *s3, uint64_t max)
{
	struct s3_payload *body = &s3->body;
	enum s3_error error;

	if (s3->op->body == S3_BODY_NONE && !http_content_length(s3->req)) /* most requests: nothing to look for */
		return S3_OK;
	if (s3->op->op == S3_OP_CopyObject || s3->op->op == S3_OP_UploadPartCopy)
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"The request included a body. Requests of this type must not "
				"include a non-empty body.");
	body->max = is_data(s3) ? max : s3->op->body == S3_BODY_NONE ? IGNORED_MAX : S3_XML_MAX;
	error = expect_length(s3);
	if (!error)
		error = expect_md5(s3);
	if (!error)
		error = expect_checksum(s3);
	if (!error && body->want != UINT64_MAX && body->want > body->max)
		error = s3_fault(&s3->fault, is_data(s3) ? S3_ENTITY_TOO_LARGE : S3_MAX_MESSAGE_LENGTH, NULL);
	if (error)
		return error;
	body->kinds = is_data(s3) || body->has_md5 ? 1u << CHECKSUM_MD5 : 0;
	if (body->has_kind)
		body->kinds |= 1u << body->kind;
	if (!is_data(s3) && s3->sig.payload == SIGV4_SIGNED)
		body->kinds |= 1u << CHECKSUM_SHA256;
	return S3_OK;
}

void s3_body_choose(struct s3 *s3, enum checksum_kind kind)
{
	struct s3_payload *body = &s3->body;

	if (body->has_kind)
		return;
	body->has_kind = true;
	body->kind = kind;
	body->kinds |= 1u << kind;
}

static enum s3_error begin_sealing(struct s3 *s3)
{
	int rc = upload_sealer(s3->body.upload, &s3->body.sealer, s3->body.sealed_key);

	if (rc == -ENOKEY || rc == -ENOMEM)
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, "The installation's sealing key is not here yet; try again.");
	return rc ? s3_fault(&s3->fault, S3_INTERNAL, NULL) : S3_OK;
}

enum s3_error s3_body_store(struct s3 *s3, const struct version *version)
{
	struct s3_payload *body = &s3->body;
	uint64_t announced =
		s3->encrypt && body->want != UINT64_MAX ? sealed_size(body->want) : body->want;
	char why[QUOTA_WHY];
	int rc;

	if (body->want != UINT64_MAX && quota_begin(s3->ep, s3->bucket, body->want, why))
		return s3_fault(&s3->fault, S3_QUOTA_EXCEEDED, "%s", why);
	rc = upload_new(&body->upload, s3->ep, s3->bucket, s3->key, announced, version);
	if (rc)
		return s3_store_error(s3, rc);
	if (s3->encrypt) {
		body->kinds |= 1u << CHECKSUM_SHA256;
		return begin_sealing(s3);
	}
	body->sha_by_upload = true;
	body->kinds &= ~(1u << CHECKSUM_SHA256);
	return S3_OK;
}

/* ---- the bytes ---- */

static enum s3_error gather(struct s3_payload *body, const char *data, size_t len)
{
	if (body->len + len + 1 > body->room) {
		/* As much as it says that it has, and max is small; else twice what is there. */
		size_t said = body->want <= body->max ? (size_t)body->want + 1 : 0, least = body->len + len + 1;
		size_t room = said >= least ? said : least * 2;
		char *text = realloc(body->text, room);

		if (!text)
			return S3_SERVICE_UNAVAILABLE;
		body->text = text;
		body->room = room;
	}
	memcpy(body->text + body->len, data, len);
	body->len += len;
	body->text[body->len] = '\0';
	return S3_OK;
}

static int keep_sealed(void *upload, const void *data, size_t len)
{
	return upload_add(upload, data, len);
}

enum s3_error s3_body_take(struct s3 *s3, const char *data, size_t len)
{
	struct s3_payload *body = &s3->body;
	int rc;

	body->got += len;
	if (body->got > body->max)
		return s3_fault(&s3->fault, is_data(s3) ? S3_ENTITY_TOO_LARGE : S3_MAX_MESSAGE_LENGTH, NULL);
	if (body->kinds && !body->sums) {
		body->sums = checksums_new(body->kinds);
		if (!body->sums)
			return S3_SERVICE_UNAVAILABLE;
	}
	if (body->sums)
		checksums_add(body->sums, data, len);
	if (!is_data(s3))
		return s3->op->body == S3_BODY_NONE ? S3_OK : gather(body, data, len);
	rc = body->sealer ? sealer_add(body->sealer, data, len, keep_sealed, body->upload)
			  : upload_add(body->upload, data, len);
	return rc ? s3_store_error(s3, rc) : S3_OK;
}

enum s3_error s3_body_add(struct s3 *s3, const char *data, size_t len)
{
	enum s3_error error = S3_OK;

	if (!s3->body.chunked)
		return s3_body_take(s3, data, len);
	while (!error && len) {
		const char *piece;
		size_t used, n;

		error = awschunked_next(s3->body.chunked, data, len, &used, &piece, &n);
		if (error)
			return s3_fault(&s3->fault, error, NULL);
		if (n)
			error = s3_body_take(s3, piece, n);
		data += used;
		len -= used;
	}
	return error;
}

/* ---- the end ---- */

static enum s3_error end_stream(struct s3 *s3)
{
	struct s3_payload *body = &s3->body;
	enum s3_error error;
	const char *text;

	if (!body->chunked)
		return S3_OK;
	error = awschunked_end(body->chunked);
	if (error)
		return s3_fault(&s3->fault, error, NULL);
	if (!body->in_trailer)
		return S3_OK;
	text = awschunked_trailer(body->chunked, checksum_header(body->kind));
	if (!text || checksum_parse(body->kind, text, body->value))
		return s3_fault(&s3->fault, S3_INVALID_REQUEST, "Value for %s trailing header is invalid.",
				checksum_header(body->kind));
	body->has_value = true;
	return S3_OK;
}

/* SHA-256 of the payload, from where it was computed. */
static enum s3_error find_sha256(struct s3 *s3)
{
	struct s3_payload *body = &s3->body;
	uint8_t sum[CHECKSUM_MAX];
	int rc = 0;

	if (body->upload) {
		if (body->sealer)
			rc = sealer_end(body->sealer, keep_sealed, body->upload);
		if (!rc)
			rc = upload_seal(body->upload, &body->size, body->sha_by_upload ? body->sha256 : sum);
		if (rc)
			return s3_store_error(s3, rc);
	}
	body->size = body->got; /* what is stored may be longer */
	if (body->sums && body->kinds & 1u << CHECKSUM_SHA256) {
		checksums_get(body->sums, CHECKSUM_SHA256, sum);
		memcpy(body->sha256, sum, 32);
	}
	return S3_OK;
}

static enum s3_error compare_checksum(struct s3 *s3)
{
	struct s3_payload *body = &s3->body;
	uint8_t sum[CHECKSUM_MAX];

	if (!body->has_kind)
		return S3_OK;
	if (body->kind == CHECKSUM_SHA256)
		memcpy(sum, body->sha256, 32);
	else
		checksums_get(body->sums, body->kind, sum);
	if (body->has_value && memcmp(sum, body->value, checksum_size(body->kind)))
		return s3_fault(&s3->fault, S3_BAD_DIGEST, "The %s you specified did not match the calculated checksum.",
				checksum_name(body->kind));
	checksum_text(body->kind, sum, body->checksum);
	return S3_OK;
}

static enum s3_error compare_md5(struct s3 *s3)
{
	struct s3_payload *body = &s3->body;
	uint8_t sum[CHECKSUM_MAX];

	if (!(body->kinds & 1u << CHECKSUM_MD5))
		return S3_OK;
	checksums_get(body->sums, CHECKSUM_MD5, sum);
	if (body->has_md5 && memcmp(sum, body->md5, 16))
		return s3_fault(&s3->fault, S3_BAD_DIGEST,
				"The Content-MD5 you specified did not match what we received.");
	hex_encode(sum, 16, body->etag);
	return S3_OK;
}

enum s3_error s3_body_check(struct s3 *s3)
{
	struct s3_payload *body = &s3->body;
	enum s3_error error;

	error = end_stream(s3);
	if (!error && body->kinds && !body->sums) { /* nothing came */
		body->sums = checksums_new(body->kinds);
		error = body->sums ? S3_OK : S3_SERVICE_UNAVAILABLE;
	}
	if (!error)
		error = find_sha256(s3);
	if (!error && s3->sig.payload == SIGV4_SIGNED && (is_data(s3) || body->kinds & 1u << CHECKSUM_SHA256) &&
	    memcmp(body->sha256, s3->sig.payload_sha256, 32))
		error = s3_fault(&s3->fault, S3_CONTENT_SHA256_MISMATCH, NULL);
	if (!error)
		error = compare_md5(s3);
	if (!error)
		error = compare_checksum(s3);
	return error;
}

void s3_body_free(struct s3 *s3)
{
	awschunked_free(s3->body.chunked);
	checksums_free(s3->body.sums);
	sealer_free(s3->body.sealer);
	upload_end(s3->body.upload);
	free(s3->body.text);
}
