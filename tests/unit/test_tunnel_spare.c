/* SPDX-License-Identifier: Apache-2.0 */
/* test_tunnel_spare.c -- pieces of memory keep what is in them, and are not given out twice. */
#include "tests/unit/unit.h"

#include "user/tunnel/spare.h"

#define PIECES 3000

static size_t size_of(size_t i)
{
	return i * 7919 % 9000; /* all classes, nothing, and what is malloc()'s */
}

static void pieces_do_not_overlap(void **state)
{
	static unsigned char *piece[PIECES];

	(void)state;
	for (int round = 0; round < 3; round++) { /* the later ones from what was given back */
		for (size_t i = 0; i < PIECES; i++) {
			piece[i] = spare_get(size_of(i));
			assert_non_null(piece[i]);
			assert_int_equal((uintptr_t)piece[i] % 16, 0);
			memset(piece[i], (int)i & 0xff, size_of(i));
		}
		for (size_t i = 0; i < PIECES; i++)
			for (size_t k = 0; k < size_of(i); k++)
				assert_int_equal(piece[i][k], i & 0xff);
		for (size_t i = 0; i < PIECES; i++)
			spare_put(piece[i]);
	}
	spare_put(NULL);
}

static void zero_is_zero_on_used_memory(void **state)
{
	(void)state;
	for (size_t size = 1; size < 6000; size += 61) {
		unsigned char *p = spare_get(size);

		memset(p, 0xff, size);
		spare_put(p);
		p = spare_zero(size);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		spare_put(p);
	}
}

static void resizing_keeps_the_bytes(void **state)
{
	unsigned char *p = spare_resize(NULL, 10);

	(void)state;
	memset(p, 'a', 10);
	for (size_t size = 10; size < 20000; size = size * 2 + 1) {
		p = spare_resize(p, size);
		assert_non_null(p);
		for (size_t i = 0; i < 10; i++)
			assert_int_equal(p[i], 'a');
	}
	p = spare_resize(p, 5);
	assert_int_equal(p[4], 'a');
	spare_put(p);
}

static void no_memory_is_told(void **state)
{
	(void)state;
	assert_null(spare_get(SIZE_MAX));
	assert_null(spare_zero(SIZE_MAX - 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_do_not_overlap),
		cmocka_unit_test(zero_is_zero_on_used_memory),
		cmocka_unit_test(resizing_keeps_the_bytes),
		cmocka_unit_test(no_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
