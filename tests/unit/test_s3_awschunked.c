/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies in aws-chunked: the examples of Amazon's S3 API reference in every split, what clients send besides, and
 * every changed byte of a signed body refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/s3/awschunked.h"
#include "lib/hash.h"

#define LEN 66560u /* 65 KiB of the letter a, as in the examples */

static uint8_t key[32];
static char letters[LEN], got[LEN + 1];
static size_t got_len;

static struct sigv4 seed(enum sigv4_payload payload, const char *signature)
{
	struct sigv4 sig = { .payload = payload, .date = "20130524", .region = "us-east-1", .timestamp = "20130524T000000Z" };

	assert_int_equal(hex_decode(signature, sig.signature, 32), 0);
	return sig;
}

static int begin(void **state)
{
	(void)state;
	memset(letters, 'a', sizeof(letters));
	sigv4_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3", key);
	return 0;
}

/* Feeds text in pieces of `step` bytes; the payload lands in got. */
static enum s3_error feed(struct awschunked *c, const char *text, size_t len, size_t step)
{
	got_len = 0;
	for (size_t at = 0; at < len;) {
		size_t piece = len - at < step ? len - at : step, used, n;
		const char *data;
		enum s3_error error = awschunked_next(c, text + at, piece, &used, &data, &n);

		if (error)
			return error;
		assert_true(used <= piece && (used > 0 || n > 0) && got_len + n <= LEN);
		if (n)
			memcpy(got + got_len, data, n);
		got_len += n;
		at += used;
	}
	return awschunked_end(c);
}

static enum s3_error decode(const struct sigv4 *sig, const char *text, size_t len, uint64_t decoded, const char *trailers, size_t step)
{
	struct awschunked *c;
	enum s3_error error;

	assert_int_equal(awschunked_new(&c, sig, key, decoded, trailers), 0);
	error = feed(c, text, len, step);
	awschunked_free(c);
	return error;
}

/* The body of the examples with the three signatures, and what comes after the last chunk's line. */
static char *example(const char *const signature[3], const char *after, size_t *len)
{
	char *text;
	FILE *out = open_memstream(&text, len);

	fprintf(out, "10000;chunk-signature=%s\r\n", signature[0]);
	fwrite(letters, 1, 65536, out);
	fprintf(out, "\r\n400;chunk-signature=%s\r\n", signature[1]);
	fwrite(letters, 1, 1024, out);
	fprintf(out, "\r\n0;chunk-signature=%s\r\n%s", signature[2], after);
	fclose(out);
	return text;
}

static const size_t steps[] = { 1, 2, 3, 7, 85, 87, 4096, 65536, 1 << 20 };

static void expect(const struct sigv4 *sig, const char *text, size_t len, const char *trailers)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		assert_int_equal(decode(sig, text, len, LEN, trailers, steps[i]), S3_OK);
		assert_int_equal(got_len, LEN);
		assert_memory_equal(got, letters, LEN);
	}
}

static void example_in_chunks(void **state)
{
	static const char *const signatures[] = { "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
						  "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
						  "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9" };
	struct sigv4 sig = seed(SIGV4_STREAM, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
	size_t len, made_len;
	char *text = example(signatures, "\r\n", &len), *made;

	(void)state;
	assert_int_equal(len, 66824);
	expect(&sig, text, len, NULL);
	expect(&sig, text, len - 2, NULL);
	made = awschunked_encode(&sig, key, letters, LEN, 65536, NULL, &made_len);
	assert_int_equal(made_len, len);
	assert_memory_equal(made, text, len);
	assert_int_equal(decode(&sig, text, len, LEN + 1, NULL, 999), S3_INCOMPLETE_BODY);
	assert_int_equal(decode(&sig, text, len, LEN - 1, NULL, 999), S3_INCOMPLETE_BODY);
	sig.signature[3] ^= 1;
	assert_int_equal(decode(&sig, text, len, LEN, NULL, 999), S3_SIGNATURE_MISMATCH);
	free(text);
	free(made);
}

#define TRAILER_SIGNATURE "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"

static void example_with_trailer(void **state)
{
	static const char *const signatures[] = { "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
						  "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
						  "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992" };
	static const struct {
		const char *after;
		enum s3_error want;
	} ends[] = {
		{ "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:" TRAILER_SIGNATURE "\r\n\r\n", S3_OK },
		{ "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:" TRAILER_SIGNATURE "\r\n", S3_OK },
		{ "x-amz-checksum-crc32c:sOO8/Q==\nx-amz-trailer-signature:" TRAILER_SIGNATURE, S3_OK },
		{ "X-Amz-Checksum-Crc32c: sOO8/Q== \r\nX-Amz-Trailer-Signature: " TRAILER_SIGNATURE "\r\n\r\n", S3_OK },
		{ "x-amz-checksum-crc32c:sOO8/Q==\n\r\nx-amz-trailer-signature:" TRAILER_SIGNATURE "\r\n\r\n", S3_OK },
		{ "x-amz-checksum-crc32c:sOO8/R==\r\nx-amz-trailer-signature:" TRAILER_SIGNATURE "\r\n\r\n", S3_SIGNATURE_MISMATCH },
		{ "x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n", S3_SIGNATURE_MISMATCH },
		{ "\r\n", S3_MALFORMED_TRAILER },
		{ "x-amz-checksum-crc32:sOO8/Q==\r\nx-amz-trailer-signature:" TRAILER_SIGNATURE "\r\n\r\n", S3_MALFORMED_TRAILER },
		{ "x-amz-trailer-signature:" TRAILER_SIGNATURE "\r\n\r\n", S3_SIGNATURE_MISMATCH },
		{ "x-amz-checksum-crc32c\r\n\r\n", S3_MALFORMED_TRAILER },
		{ "x-amz-checksum-crc32c:a\r\nx-amz-checksum-crc32c:b\r\n\r\n", S3_MALFORMED_TRAILER },
		{ "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:" TRAILER_SIGNATURE "\r\na:b\r\n", S3_MALFORMED_TRAILER },
	};
	struct sigv4 sig = seed(SIGV4_STREAM_TRAILER, "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
	const struct http_pair trailers[] = { { "x-amz-checksum-crc32c", "sOO8/Q==" }, { NULL, NULL } };

	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		size_t len, made_len;
		char *text = example(signatures, ends[i].after, &len), *made;
		enum s3_error error = decode(&sig, text, len, LEN, "x-amz-checksum-crc32c", 1000);

		if (error != ends[i].want)
			fail_msg("%s: %s", ends[i].after, s3_error_code(error));
		if (i == 0) {
			made = awschunked_encode(&sig, key, letters, LEN, 65536, trailers, &made_len);
			assert_int_equal(made_len, len);
			assert_memory_equal(made, text, len);
			free(made);
			expect(&sig, text, len, "x-amz-checksum-crc32c");
		}
		free(text);
	}
}

static void unsigned_with_trailer(void **state)
{
	static const char *const bodies[] = {
		"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
		"B\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\n\r\n\r\n",
		"b;x=y\r\nhello world\r\n0\r\nX-AMZ-Checksum-CRC32:  DUoRhQ==\r\n",
		"00000b\r\nhello world\r\n00\r\n\r\nx-amz-checksum-crc32:DUoRhQ==",
	};
	static const struct {
		const char *text;
		enum s3_error want;
	} bad[] = {
		{ "", S3_INCOMPLETE_BODY },
		{ "b\r\nhello worl", S3_INCOMPLETE_BODY },
		{ "b\r\nhello world", S3_INCOMPLETE_BODY },
		{ "b\r\nhello worlds\r\n0\r\n\r\n", S3_INCOMPLETE_BODY },
		{ "b\r\nhello world\r\n", S3_INCOMPLETE_BODY },
		{ "c\r\nhello worlds\r\n0\r\n\r\n", S3_INCOMPLETE_BODY },
		{ "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:a\r\n\r\n", S3_INCOMPLETE_BODY },
		{ "\r\n", S3_INCOMPLETE_BODY },
		{ "xyz\r\n", S3_INCOMPLETE_BODY },
		{ "-1\r\n", S3_INCOMPLETE_BODY },
		{ "ffffffffffffffff\r\n", S3_INCOMPLETE_BODY },
		{ "b\r\nhello world\r\n0\r\n\r\n", S3_MALFORMED_TRAILER },
		{ "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:a\r\nx-amz-trailer-signature:b\r\n", S3_MALFORMED_TRAILER },
		{ "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:a\001b\r\n", S3_MALFORMED_TRAILER },
	};
	struct sigv4 sig = { .payload = SIGV4_STREAM_UNSIGNED_TRAILER };
	struct awschunked *c;
	char *line;

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		for (size_t step = 1; step < 80; step++) {
			assert_int_equal(awschunked_new(&c, &sig, key, 11, " x-amz-checksum-crc32 ,"), 0);
			if (feed(c, bodies[i], strlen(bodies[i]), step) != S3_OK)
				fail_msg("%s", bodies[i]);
			assert_int_equal(got_len, 11);
			assert_memory_equal(got, "hello world", 11);
			assert_string_equal(awschunked_trailer(c, "x-amz-checksum-CRC32"), "DUoRhQ==");
			assert_null(awschunked_trailer(c, "x-amz-checksum-sha1"));
			awschunked_free(c);
		}
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		for (size_t step = 1; step < 80; step += 3)
			if (decode(&sig, bad[i].text, strlen(bad[i].text), 11, "x-amz-checksum-crc32", step) != bad[i].want)
				fail_msg("%s", bad[i].text);
	line = malloc(10000);
	memset(line, 'a', 10000);
	assert_int_equal(decode(&sig, line, 10000, 11, NULL, 100), S3_INCOMPLETE_BODY);
	memcpy(line, "0\r\n", 3);
	assert_int_equal(decode(&sig, line, 10000, 0, NULL, 100), S3_MALFORMED_TRAILER);
	free(line);
	sig.payload = SIGV4_SIGNED;
	assert_int_equal(awschunked_new(&c, &sig, key, 11, NULL), -EINVAL);
	awschunked_free(NULL);
}

/* Chunks below 8 KiB cost a signature each: but the last one with bytes, none may be so small. */
static void small_chunks(void **state)
{
	struct sigv4 sig = seed(SIGV4_STREAM, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
	size_t len;
	char *text = awschunked_encode(&sig, key, letters, 8192 + 1, 8192, NULL, &len);

	(void)state;
	assert_int_equal(decode(&sig, text, len, 8193, NULL, 512), S3_OK);
	free(text);
	text = awschunked_encode(&sig, key, letters, 8192, 8191, NULL, &len);
	assert_int_equal(decode(&sig, text, len, 8192, NULL, 512), S3_INVALID_CHUNK_SIZE);
	free(text);
	text = awschunked_encode(&sig, key, letters, 0, 8191, NULL, &len);
	assert_int_equal(decode(&sig, text, len, 0, NULL, 512), S3_OK);
	free(text);
}

/* One bit of a byte, each byte in turn. Line breaks and the case of digits carry nothing. */
static void every_changed_byte_is_refused(void **state)
{
	const struct http_pair trailers[] = { { "x-amz-checksum-crc32c", "sOO8/Q==" }, { NULL, NULL } };
	struct sigv4 sig = seed(SIGV4_STREAM_TRAILER, "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
	size_t len;
	char *text = awschunked_encode(&sig, key, letters, 8192 + 100, 8192, trailers, &len);
	unsigned int changed = 0;

	(void)state;
	for (size_t i = 0; i < len; i++) {
		char was = text[i];

		if (was == '\r' || was == '\n' || (was == 'a' && i > 100 && i < 8192)) /* the long run: once in its midst */
			continue;
		text[i] ^= 1;
		if (decode(&sig, text, len, 8192 + 100, "x-amz-checksum-crc32c", 3000) == S3_OK)
			fail_msg("byte %zu: %c for %c", i, text[i], was);
		text[i] = was;
		changed++;
	}
	assert_true(changed > 500);
	text[4000] ^= 1;
	assert_int_equal(decode(&sig, text, len, 8192 + 100, "x-amz-checksum-crc32c", 3000), S3_SIGNATURE_MISMATCH);
	text[4000] ^= 1;
	assert_int_equal(decode(&sig, text, len, 8192 + 100, "x-amz-checksum-crc32c", 3000), S3_OK);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(example_in_chunks),	 cmocka_unit_test(example_with_trailer),
		cmocka_unit_test(unsigned_with_trailer), cmocka_unit_test(small_chunks),
		cmocka_unit_test(every_changed_byte_is_refused),
	};

	return cmocka_run_group_tests(tests, begin, NULL);
}
