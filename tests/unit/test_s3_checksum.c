/* SPDX-License-Identifier: Apache-2.0 */
/* S3's checksums against published values, against each other in every split, combined over parts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/s3/checksum.h"
#include "lib/hash.h"

#define BYTES (256u << 10)

static uint8_t data[BYTES];

static int fill(void **state)
{
	uint64_t x = 1;

	(void)state;
	for (unsigned int i = 0; i < BYTES; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		data[i] = (uint8_t)(x >> 56);
	}
	return 0;
}

static void expect(enum checksum_kind kind, const char *text, const char *want)
{
	uint8_t value[CHECKSUM_MAX], parsed[CHECKSUM_MAX];
	char got[CHECKSUM_TEXT_MAX];

	checksum_once(kind, text, strlen(text), value);
	checksum_text(kind, value, got);
	assert_string_equal(got, want);
	assert_int_equal(checksum_parse(kind, got, parsed), 0);
	assert_memory_equal(value, parsed, checksum_size(kind));
}

/* The check values of the CRC catalogue ("123456789") and of FIPS 180-4, RFC 1321. */
static void known_values(void **state)
{
	uint8_t value[CHECKSUM_MAX];

	(void)state;
	assert_int_equal(crc32_zlib(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_true(crc64_nvme(0, "123456789", 9) == 0xae8b14860a799888u);
	expect(CHECKSUM_CRC32C, "a", "wdBDMA==");
	expect(CHECKSUM_CRC32, "123456789", "y/Q5Jg==");
	expect(CHECKSUM_CRC64NVME, "123456789", "rosUhgp5mIg=");
	expect(CHECKSUM_SHA1, "abc", "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
	expect(CHECKSUM_SHA256, "abc", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
	expect(CHECKSUM_MD5, "", "1B2M2Y8AsgTpgAmY7PhCfg==");
	checksum_once(CHECKSUM_CRC64NVME, "", 0, value);
	assert_memory_equal(value, "\0\0\0\0\0\0\0\0", 8);
}

/* Bit by bit, as the polynomial says. */
static uint64_t slow_crc64(const uint8_t *p, size_t len)
{
	uint64_t crc = ~0ull;

	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x9a6c9329ac4bc9b5u : 0);
	}
	return ~crc;
}

static void crc64_of_every_length(void **state)
{
	(void)state;
	for (size_t len = 0; len < 700; len++)
		if (crc64_nvme(0, data + len % 7, len) != slow_crc64(data + len % 7, len))
			fail_msg("%zu bytes", len);
	assert_true(crc64_nvme(0, data, BYTES) == slow_crc64(data, BYTES));
}

static void running_in_pieces(void **state)
{
	const unsigned int all = (1u << CHECKSUM_KINDS) - 1;

	(void)state;
	for (size_t step = 1; step < 100000; step = step * 3 + 1) {
		struct checksums *c = checksums_new(all);

		for (size_t at = 0; at < BYTES; at += step)
			checksums_add(c, data + at, BYTES - at < step ? BYTES - at : step);
		for (int k = 0; k < CHECKSUM_KINDS; k++) {
			uint8_t got[CHECKSUM_MAX], want[CHECKSUM_MAX];

			checksums_get(c, (enum checksum_kind)k, got);
			checksum_once((enum checksum_kind)k, data, BYTES, want);
			assert_memory_equal(got, want, checksum_size((enum checksum_kind)k));
		}
		checksums_free(c);
	}
	checksums_free(NULL);
}

static void combined(void **state)
{
	static const size_t cuts[] = { 0, 1, 63, 64, 65, 4096, 100000, BYTES - 1, BYTES };

	(void)state;
	for (int k = CHECKSUM_CRC32; k <= CHECKSUM_CRC64NVME; k++) {
		for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
			uint8_t a[CHECKSUM_MAX], b[CHECKSUM_MAX], all[CHECKSUM_MAX];

			checksum_once((enum checksum_kind)k, data, cuts[i], a);
			checksum_once((enum checksum_kind)k, data + cuts[i], BYTES - cuts[i], b);
			checksum_once((enum checksum_kind)k, data, BYTES, all);
			assert_int_equal(checksum_combine((enum checksum_kind)k, a, b, BYTES - cuts[i]), 0);
			assert_memory_equal(a, all, checksum_size((enum checksum_kind)k));
		}
	}
	for (int k = CHECKSUM_SHA1; k <= CHECKSUM_MD5; k++)
		assert_int_equal(checksum_combine((enum checksum_kind)k, data, data, 1), -EINVAL);
}

/* A multipart upload's ETag of two parts: the MD5 of their MD5s. */
static void composite(void **state)
{
	uint8_t parts[2 * CHECKSUM_MAX], out[CHECKSUM_MAX], want[CHECKSUM_MAX];
	char hex[33];

	(void)state;
	checksum_once(CHECKSUM_MD5, "a", 1, parts);
	checksum_once(CHECKSUM_MD5, "b", 1, parts + 16);
	checksum_composite(CHECKSUM_MD5, parts, 2, out);
	/* printf of md5(a), md5(b) in binary | md5sum */
	assert_string_equal(hex_encode(out, 16, hex), "96e024ba2074fe77e8e965ba43a704be");
	checksum_once(CHECKSUM_MD5, parts, 32, want);
	assert_memory_equal(out, want, 16);
}

static void text_is_strict(void **state)
{
	uint8_t out[CHECKSUM_MAX];
	static const char *const bad[] = { "", "wdBDMA", "wdBDMA=", "wdBDMA===", "wdBDMB==", "wdBDMAA=", "wd DMA==",
					   "rosUhgp5mIg=", "wdBDMA==\n", "====" };
	enum checksum_kind kind;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (checksum_parse(CHECKSUM_CRC32C, bad[i], out) != -EINVAL)
			fail_msg("%s", bad[i]);
	assert_true(checksum_by_name(&kind, "crc64nvme") && kind == CHECKSUM_CRC64NVME);
	assert_false(checksum_by_name(&kind, "MD5"));
	assert_null(checksum_header(CHECKSUM_MD5));
	assert_string_equal(checksum_name(CHECKSUM_CRC32C), "CRC32C");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values), cmocka_unit_test(crc64_of_every_length), cmocka_unit_test(running_in_pieces),
		cmocka_unit_test(combined),	cmocka_unit_test(composite),		 cmocka_unit_test(text_is_strict),
	};

	return cmocka_run_group_tests(tests, fill, NULL);
}
