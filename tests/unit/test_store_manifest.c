/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes behind a version's data: offsets, round trips, every damaged byte found. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "http/store/manifest.h"

static void test_sizes(void **state)
{
	(void)state;
	assert_int_equal(manifest_chunks(0), 0);
	assert_int_equal(manifest_chunks(1), 1);
	assert_int_equal(manifest_chunks(CHUNK_SIZE), 1);
	assert_int_equal(manifest_chunks(CHUNK_SIZE + 1), 2);
	assert_int_equal(chunk_length(CHUNK_SIZE + 1, 0), CHUNK_SIZE);
	assert_int_equal(chunk_length(CHUNK_SIZE + 1, 1), 1);
	assert_int_equal(chunk_length(CHUNK_SIZE + 1, 2), 0);
	assert_int_equal(chunk_blocks(BLOCK_SIZE + 1), 2);
	assert_int_equal(record_offset(0, 0), 0);
	assert_int_equal(record_offset(5, 1), 5 + 32 + 4 + 4);
	assert_int_equal(record_offset(CHUNK_SIZE, 1), CHUNK_SIZE + RECORD_MAX);
	assert_int_equal(record_offset(CHUNK_SIZE + 7, 1), CHUNK_SIZE + 7 + RECORD_MAX);
	assert_int_equal(record_offset(CHUNK_SIZE + 7, 2), CHUNK_SIZE + 7 + RECORD_MAX + 40);
}

static void test_record(void **state)
{
	struct chunk_record rec = { .sha256 = { 1, 2, 3 } }, back;
	uint32_t len = 3 * BLOCK_SIZE - 5;
	uint8_t raw[RECORD_MAX];

	(void)state;
	rec.blocks[0] = 0x11223344;
	rec.blocks[2] = 0xdeadbeef;
	record_encode(&rec, 7, len, raw);
	assert_int_equal(record_decode(&back, 7, len, raw), 0);
	assert_memory_equal(back.sha256, rec.sha256, 32);
	assert_int_equal(back.blocks[2], 0xdeadbeef);
	assert_int_equal(record_decode(&back, 8, len, raw), -EBADMSG);
	for (uint32_t i = 0; i < record_length(len); i++) {
		raw[i] ^= 4;
		assert_int_equal(record_decode(&back, 7, len, raw), -EBADMSG);
		raw[i] ^= 4;
	}
}

static struct manifest sample(void)
{
	struct manifest m = { .size = 12345, .created = 1700000000, .nholders = 2 };

	random_bytes(m.version.id, VERSION_BYTES);
	random_bytes(m.sha256, 32);
	strcpy(m.bucket, "pictures");
	strcpy(m.key, "a \"quoted\" key/\xc3\xa4\xe2\x82\xac");
	strcpy(m.holders[0], "ep-a1");
	strcpy(m.holders[1], "ep-b1");
	return m;
}

static void test_manifest(void **state)
{
	struct manifest m = sample(), back;
	size_t len;
	char *text = manifest_encode(&m, &len);

	(void)state;
	assert_non_null(text);
	assert_int_equal(manifest_decode(&back, text, len), 0);
	assert_memory_equal(&back, &m, sizeof(m));
	assert_int_equal(manifest_decode(&back, text, len - 1), -EBADMSG);
	assert_int_equal(manifest_decode(&back, "{}", 2), -EBADMSG);
	assert_int_equal(manifest_decode(&back, "[1]", 3), -EBADMSG);
	free(text);
}

static void test_longest_manifest_fits(void **state)
{
	struct manifest m = sample();
	size_t len;
	char *text;

	(void)state;
	memset(m.bucket, 'b', BUCKET_MAX - 1);
	/* A control character becomes six characters of JSON: nothing grows more. */
	memset(m.key, 1, KEY_MAX - 1);
	m.nholders = HOLDERS_MAX;
	for (int i = 0; i < HOLDERS_MAX; i++)
		memset(m.holders[i], 'h', NODE_MAX - 1);
	m.size = OBJECT_MAX;
	text = manifest_encode(&m, &len);
	assert_true(len <= HEAD_MAX);
	free(text);
}

/* Any key comes back as it was, and a JSON library reads the same of it. */
static void test_any_key(void **state)
{
	static const char *const keys[] = { "a", "a\"b\\c", "\x01\x1f\n\t\x7f", "\xc3\xa4/\xe2\x82\xac",
					    "\xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf", "//", "%41 +" };

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		struct manifest m = { .size = 1, .bucket = "b-1", .nholders = 2, .created = -5 }, back;
		size_t len;
		char *text;

		strcpy(m.key, keys[i]);
		strcpy(m.holders[0], "n1");
		strcpy(m.holders[1], "n2");
		text = manifest_encode(&m, &len);
		assert_int_equal(strlen(text), len);
		for (size_t k = 0; k < len; k++)
			assert_true(text[k] >= 0x20 && text[k] < 0x7f);
		assert_int_equal(manifest_decode(&back, text, len), 0);
		assert_string_equal(back.key, keys[i]);
		assert_string_equal(back.holders[1], "n2");
		assert_int_equal(back.created, -5);
		free(text);
	}
}

static void test_footer(void **state)
{
	struct footer f = { .size = CHUNK_SIZE + 9, .head_len = 300, .head_crc = 77 }, back;
	uint64_t file = record_offset(f.size, 2) + 300 + FOOTER_SIZE;
	uint8_t raw[FOOTER_SIZE];

	(void)state;
	footer_encode(&f, raw);
	assert_int_equal(footer_decode(&back, raw, file), 0);
	assert_int_equal(back.size, f.size);
	assert_int_equal(back.head_crc, 77);
	assert_int_equal(footer_decode(&back, raw, file + 1), -EBADMSG);
	for (int i = 0; i < FOOTER_SIZE; i++) {
		raw[i] ^= 1;
		assert_int_equal(footer_decode(&back, raw, file), -EBADMSG);
		raw[i] ^= 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),	 cmocka_unit_test(test_record),
		cmocka_unit_test(test_manifest), cmocka_unit_test(test_longest_manifest_fits),
		cmocka_unit_test(test_any_key),
		cmocka_unit_test(test_footer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
