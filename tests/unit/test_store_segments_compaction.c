/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_segments_compaction.c -- what lives is copied, segments go, and nothing comes back.
 */
#include "tests/unit/segments_store.h"

#include <errno.h>
#include <fcntl.h>

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

/* Zeros the sector behind the one where a record begins, as when it was not written. */
static void tear(struct segment_place at)
{
	static const uint8_t zeros[512];
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/s/%08x", dir, at.segment);
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, zeros, sizeof(zeros), (at.offset / 512 + 1) * 512), sizeof(zeros));
	close(fd);
}

/* The power goes while a round replaces a version, by compaction or by a client: what it wrote last is there, and what it
 * wrote first is not. Then nothing was replaced, whatever is compacted later. */
static void test_torn_replacement(void **state)
{
	struct version v = version_of(5000);
	struct segment_place first, second;

	(void)state;
	for (int client = 0; client < 2; client++) {
		assert_int_equal(store_setup(state), 0);
		put_version(&v, 5000, 4000);
		for (unsigned int i = 0; i < 60; i++)
			put(i);
		first = place_of(v);
		for (unsigned int i = 0; i < 35; i++)
			if (!client && i != 7)
				forget(i);
		run("rm -rf %s/s.old && cp -r %s/s %s/s.old", dir, dir, dir);
		if (client)
			put_version(&v, 5000, 4000);
		else
			assert_true(segments_compact(chunks_segments(chunks)) > 0);
		second = place_of(v);
		put(99); /* nothing behind it would cut it off */
		assert_int_not_equal(first.segment, second.segment);
		close_as(true);
		run("cp -n %s/s.old/0* %s/s/", dir, dir);
		tear(second);
		for (char boot[2] = "A"; boot[0] < 'D'; boot[0]++) {
			assert_int_equal(open_as(boot), 0);
			assert_int_equal(check_version(&v, 5000, 4000), 0);
			assert_true(segments_compact(chunks_segments(chunks)) >= 0);
			assert_int_equal(check_version(&v, 5000, 4000), 0);
			for (unsigned int i = 35; i < 60; i++)
				assert_int_equal(check(i), 0);
			/* What is torn comes to lie among older segments. */
			for (unsigned int i = 0; i < 60; i++)
				put(100u * (unsigned int)boot[0] + i);
			close_as(true);
		}
		assert_int_equal(open_as("last"), 0);
		close_as(false);
	}
}

/* Jobs of one version never share a round: what the power leaves of one could be their end without their beginning. */
static void test_rounds_of_one_version(void **state)
{
	struct segments_job jobs[40] = { 0 };
	unsigned long before = counts().rounds;
	uint8_t data[400];

	(void)state;
	fill(data, sizeof(data), 1);
	for (unsigned int i = 0; i < 40; i++) {
		jobs[i].what = i % 2 ? SEGMENTS_FORGET : SEGMENTS_STORE;
		jobs[i].version = version_of(5);
		jobs[i].data = i % 2 ? NULL : data;
		jobs[i].len = i % 2 ? 0 : sizeof(data);
		segments_begin(chunks_segments(chunks), &jobs[i]);
	}
	for (unsigned int i = 0; i < 40; i++)
		assert_int_equal(segments_wait(chunks_segments(chunks), &jobs[i]), 0);
	assert_int_equal(counts().rounds - before, 40);
	assert_int_equal(counts().versions, 0);
}

/* A version that was stored twice, forgotten, and of which one segment after the other goes: at its second place, or
 * at a third to which it was moved. */
static void forgotten_stays_so(bool moved)
{
	struct version v = version_of(7777);
	char boot[2] = "A";

	put_version(&v, 7777, 3000);
	for (unsigned int i = 0; i < 50; i++) /* its first segment stays */
		put(i);
	put_version(&v, 7777, 3000);
	for (unsigned int i = 100; i < 140; i++)
		put(i);
	if (moved) {
		struct segment_place second = place_of(v);

		for (unsigned int i = 100; i < 140; i++)
			forget(i);
		assert_true(segments_compact(chunks_segments(chunks)) > 0);
		assert_int_not_equal(place_of(v).segment, second.segment);
		for (unsigned int i = 100; i < 140; i++)
			put(i);
	}
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
		for (unsigned int i = 0; i < 50; i++)
			assert_int_equal(check(i), 0);
	}
}

static void test_forgotten_stays_so(void **state)
{
	forgotten_stays_so(false);
	assert_int_equal(store_teardown(state), 0);
	assert_int_equal(store_setup(state), 0);
	forgotten_stays_so(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_compaction, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_killed_in_compaction, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_torn_replacement, NULL, store_teardown),
		cmocka_unit_test_setup_teardown(test_rounds_of_one_version, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_forgotten_stays_so, store_setup, store_teardown),
	};

	return cmocka_run_group_tests(tests, store_folder, store_folder_remove);
}
