/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_sealed.c -- encrypted objects: every range of every size comes back, stored bytes tell nothing, and a changed, moved
 * or foreign block is found out.
 */
#include <stdlib.h>

#include "http/store/sealed.h"
#include "tests/unit/unit.h"

#define SIZE_MAX_TESTED (3 * SEALED_BLOCK + 17)

struct stored {
	uint8_t bytes[4 * SEALED_STEP];
	size_t len, at, end; /* reading: from at to end */
	size_t portion;	     /* bytes a read gives at most */
	unsigned int later;  /* every so many reads say "later" */
	unsigned int reads;
};

static const uint8_t key[SEALED_KEY] = { 1, 2, 3 };
static const struct version version = { { 9, 8, 7 } };

static int store(void *arg, const void *data, size_t len)
{
	struct stored *s = arg;

	memcpy(s->bytes + s->len, data, len);
	s->len += len;
	return 0;
}

static ssize_t load(void *arg, char *buf, size_t max)
{
	struct stored *s = arg;
	size_t n = s->end - s->at < max ? s->end - s->at : max;

	if (s->later && ++s->reads % s->later == 0)
		return -1;
	if (s->portion && n > s->portion)
		n = s->portion;
	memcpy(buf, s->bytes + s->at, n);
	s->at += n;
	return (ssize_t)n;
}

static uint8_t *plain_text(void)
{
	uint8_t *plain = malloc(SIZE_MAX_TESTED);

	assert_non_null(plain);
	for (size_t i = 0; i < SIZE_MAX_TESTED; i++)
		plain[i] = (uint8_t)(i * 31 + i / 251);
	return plain;
}

static struct stored *seal(const uint8_t *plain, size_t size, size_t portion)
{
	struct sealer *sealer = sealer_new(key, &version);
	struct stored *s = calloc(1, sizeof(*s));

	for (size_t at = 0; at < size; at += portion)
		assert_int_equal(sealer_add(sealer, plain + at, size - at < portion ? size - at : portion, store, s), 0);
	assert_int_equal(sealer_end(sealer, store, s), 0);
	sealer_free(sealer);
	assert_int_equal(s->len, sealed_size(size));
	return s;
}

/* Reads a range; the count, or the failure. */
static ssize_t open_range(struct stored *s, const struct version *v, size_t size, size_t first, size_t len, uint8_t *out)
{
	uint64_t raw_first, raw_len;
	struct opener *o = opener_new(key, v, size, first, len, &raw_first, &raw_len);
	size_t got = 0;
	ssize_t n;

	s->at = raw_first;
	s->end = raw_first + raw_len;
	assert_true(s->end <= s->len);
	for (;;) {
		n = opener_read(o, (char *)out + got, 10007, load, s);
		if (n == -1)
			continue; /* later */
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	opener_free(o);
	return n < 0 ? n : (ssize_t)got;
}

static void every_range_comes_back(void **state)
{
	static const size_t sizes[] = { 0, 1, 100, SEALED_BLOCK - 1, SEALED_BLOCK, SEALED_BLOCK + 1, 2 * SEALED_BLOCK, SIZE_MAX_TESTED };
	static const size_t firsts[] = { 0, 1, SEALED_BLOCK - 1, SEALED_BLOCK, SEALED_BLOCK + 5, 2 * SEALED_BLOCK };
	static const size_t lens[] = { 0, 1, 99, SEALED_BLOCK, SEALED_BLOCK + 2, SIZE_MAX_TESTED };
	uint8_t *plain = plain_text(), *out = malloc(SIZE_MAX_TESTED);

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct stored *s = seal(plain, sizes[i], i % 2 ? 777 : 100000);

		s->portion = i % 3 ? 0 : 5000;
		s->later = i % 2 ? 3 : 0;
		for (size_t k = 0; k < 36; k++) {
			size_t first = firsts[k / 6], len = lens[k % 6];

			if (first > sizes[i])
				continue;
			if (len > sizes[i] - first)
				len = sizes[i] - first;
			assert_int_equal(open_range(s, &version, sizes[i], first, len, out), len);
			assert_memory_equal(out, plain + first, len);
		}
		free(s);
	}
	free(out);
	free(plain);
}

static void what_was_changed_is_found_out(void **state)
{
	uint8_t *plain = plain_text(), *out = malloc(SIZE_MAX_TESTED), swap[SEALED_STEP];
	struct stored *s = seal(plain, SIZE_MAX_TESTED, 4096);
	struct version other = version;

	(void)state;
	for (size_t at = 0; at < s->len; at += 4999) {
		s->bytes[at] ^= 1;
		assert_int_equal(open_range(s, &version, SIZE_MAX_TESTED, 0, SIZE_MAX_TESTED, out), OPENER_BAD);
		s->bytes[at] ^= 1;
	}
	other.id[15] ^= 1;
	assert_int_equal(open_range(s, &other, SIZE_MAX_TESTED, 0, 10, out), OPENER_BAD);
	memcpy(swap, s->bytes, SEALED_STEP);
	memcpy(s->bytes, s->bytes + SEALED_STEP, SEALED_STEP);
	memcpy(s->bytes + SEALED_STEP, swap, SEALED_STEP);
	assert_int_equal(open_range(s, &version, SIZE_MAX_TESTED, 0, 10, out), OPENER_BAD);
	free(s);
	free(out);
	free(plain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_range_comes_back),
		cmocka_unit_test(what_was_changed_is_found_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
