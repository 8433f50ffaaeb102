/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_segments_compaction.c -- what lives is copied, segments go, and nothing comes back.
 */
#include "tests/unit/segments_store.h"

#include <errno.h>

/* What lives is copied, the files go, nothing comes back: not by a kill in the middle, not by an index
 * made anew at any time. */
static void test_compaction(void **state)
{
	struct segments_counts before, after;

	(void)state;
	mixed_load();
	for (unsigned int i = 0; i < MANY; i++)
		if (expected(i) && i % 4)
			forget(i);
	before = counts();
	run("cp -r %s/s %s/s.old", dir, dir);
	assert_true(segments_compact(chunks_segments(chunks)) > 0);
	after = counts();
	assert_true(after.segments < before.segments / 2 + 2);
	assert_int_equal(after.versions, before.versions);
	assert_true(after.bytes < before.bytes / 2);
	assert_int_equal(files_below("s"), after.segments + 1);
	for (int again = 0; again < 3; again++) {
		for (unsigned int i = 0; i < MANY; i++)
			assert_int_equal(check(i), expected(i) && i % 4 == 0 ? 0 : -ENOENT);
		close_as(true);
		assert_int_equal(open_as(again == 0 ? "one" : again == 1 ? "two" : "three"), 0);
		if (again == 1)
			segments_compact(chunks_segments(chunks));
	}
}

/* Killed when everything was copied and no file had gone yet: what lives is there once, what does not
 * is not. On the same boot, and after a power loss. */
static void test_killed_in_compaction(void **state)
{
	(void)state;
	for (int power = 0; power < 2; power++) {
		mixed_load();
		for (unsigned int i = 0; i < MANY; i++)
			if (expected(i) && i % 4)
				forget(i);
		run("rm -rf %s/s.old && cp -r %s/s %s/s.old", dir, dir, dir);
		assert_true(segments_compact(chunks_segments(chunks)) > 0);
		forget(4);
		put(600);
		close_as(true);
		run("cp -n %s/s.old/0* %s/s/", dir, dir);
		assert_int_equal(open_as(power ? "two" : "one"), 0);
		for (unsigned int i = 0; i < MANY; i++)
			assert_int_equal(check(i), expected(i) && i % 4 == 0 && i != 4 ? 0 : -ENOENT);
		assert_int_equal(check(600), 0);
		segments_compact(chunks_segments(chunks));
		close_as(true);
		assert_int_equal(open_as(power ? "three" : "one"), 0);
		assert_int_equal(check(4), -ENOENT);
		assert_int_equal(check(600), 0);
		assert_int_equal(check(8), 0);
		forget(600);
	}
}

/* A version that was stored twice, forgotten, and of which one segment after the other goes. */
static void test_forgotten_stays_so(void **state)
{
	struct version v = version_of(7777);
	char boot[2] = "A";

	(void)state;
	put_version(&v, 7777, 3000);
	for (unsigned int i = 0; i < 40; i++) /* its first segment stays */
		put(i);
	put_version(&v, 7777, 3000);
	for (unsigned int i = 100; i < 140; i++)
		put(i);
	assert_int_equal(chunks_forget(chunks, &v), 0);
	for (unsigned int i = 200; i < 240; i++)
		put(i);
	for (unsigned int i = 100; i < 140; i++)
		forget(i);
	for (unsigned int i = 200; i < 235; i++)
		forget(i);
	for (int again = 0; again < 6; again++) {
		segments_compact(chunks_segments(chunks));
		put(300 + (unsigned int)again);
		boot[0]++;
		close_as(true);
		assert_int_equal(open_as(boot), 0);
		assert_int_equal(held_get(cache, &v, &(struct held *){ NULL }), -ENOENT);
		for (unsigned int i = 0; i < 40; i++)
			assert_int_equal(check(i), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_compaction, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_killed_in_compaction, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_forgotten_stays_so, store_setup, store_teardown),
	};

	return cmocka_run_group_tests(tests, store_folder, store_folder_remove);
}
