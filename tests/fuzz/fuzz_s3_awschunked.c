/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A body in aws-chunked as a stranger writes it, in pieces of two sizes: the payload lies inside what was handed
 * in, is never longer than announced, and the outcome does not depend on how the bytes were cut. What we encode
 * ourselves is decoded to the same bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/awschunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t key[32] = { 1, 2, 3 };

static void require(int truth)
{
	if (!truth)
		abort();
}

static enum s3_error decode(const struct sigv4 *sig, const char *text, size_t len, uint64_t decoded, size_t step, char *out, size_t *out_len)
{
	struct awschunked *c;
	enum s3_error error = S3_OK;

	*out_len = 0;
	require(awschunked_new(&c, sig, key, decoded, "x-amz-checksum-crc32, b") == 0);
	for (size_t at = 0; at < len && !error;) {
		size_t piece = len - at < step ? len - at : step, used, n;
		const char *data;

		error = awschunked_next(c, text + at, piece, &used, &data, &n);
		require(used <= piece);
		if (error)
			break;
		require(used > 0);
		if (n) {
			require(data >= text + at && data + n <= text + at + piece && *out_len + n <= decoded);
			memcpy(out + *out_len, data, n);
			*out_len += n;
		}
		at += used;
	}
	if (!error)
		error = awschunked_end(c);
	else
		require(awschunked_end(c) == error);
	if (!error)
		require(*out_len == decoded);
	awschunked_free(c);
	return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sigv4 sig = { .date = "20130524", .region = "r", .timestamp = "20130524T000000Z" };
	const char *text = (const char *)data + 2;
	const struct http_pair trailers[] = { { "x-amz-checksum-crc32", "AAAAAA==" }, { "b", "c" }, { NULL, NULL } };
	char *one, *two, *made;
	size_t one_len, two_len, len, made_len;
	uint64_t decoded;
	enum s3_error error;

	if (size < 2)
		return 0;
	len = size - 2;
	sig.payload = SIGV4_STREAM + data[0] % 3;
	decoded = data[1] % (len + 1);
	one = malloc(size);
	two = malloc(size);
	error = decode(&sig, text, len, decoded, 1, one, &one_len);
	require(decode(&sig, text, len, decoded, 1 + data[1] % 61, two, &two_len) == error);
	require(error || (one_len == two_len && !memcmp(one, two, one_len)));
	if (len < 4096) { /* one chunk: small ones after another are refused */
		made = awschunked_encode(&sig, key, text, len, len ? len : 1, trailers, &made_len);
		require(made != NULL);
		require(decode(&sig, made, made_len, len, 7, one, &one_len) == S3_OK || sig.payload == SIGV4_STREAM);
		require(one_len == len && !memcmp(one, text, len));
		free(made);
	}
	free(one);
	free(two);
	return 0;
}
