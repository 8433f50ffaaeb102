/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_segments.c -- small versions in segments: stored, found, held, repaired, forgotten, their limits.
 */
#include "tests/unit/segments_store.h"

#include <errno.h>
#include <fcntl.h>

static void test_round_trip(void **state)
{
	(void)state;
	mixed_load();
	check_mixed();
	assert_int_equal(files_below("d"), 0);
	assert_true(counts().segments > 4);
	close_as(false);
	assert_int_equal(open_as("two"), 0); /* cleanly closed: another boot does not matter */
	check_mixed();
}

/* A segment whose name is not known to be taken is not cut. */
static void test_taken_number(void **state)
{
	unsigned long last;

	(void)state;
	put(1);
	last = counts().segments;
	run("cp %s/s/%08lx %s/s/%08lx", dir, last, dir, last + 1);
	for (unsigned int i = 0; i < 100; i++)
		put(i);
	run("cmp -n 64 %s/s/%08lx %s/s/%08lx", dir, last, dir, last + 1);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(check(i), 0);
	run("test -s %s/s/%08lx", dir, last + 2);
}

static unsigned int readers;

/* Takes a reader of the index at each step down; at the end there is none left. */
static int deeper(void *arg, const struct version *v)
{
	(void)arg;
	if (segments_look(chunks_segments(chunks), v) == -EAGAIN)
		return chunks_forget(chunks, v);
	readers++;
	return segments_each(chunks_segments(chunks), NULL, 0, deeper, NULL);
}

/* When the index cannot be asked, forgetting does not say that it is done. */
static void test_index_not_asked(void **state)
{
	(void)state;
	put(1);
	assert_int_equal(segments_each(chunks_segments(chunks), NULL, 0, deeper, NULL), -EAGAIN);
	assert_true(readers > 100);
	assert_int_equal(check(1), 0);
	forget(1);
}

/* The kept open one is noticed: forgotten, replaced, changed from outside, moved. */
static void test_held(void **state)
{
	struct version v = version_of(1);
	struct segments_found found;
	struct held *h;
	char path[128], byte;
	int fd;

	(void)state;
	put(1);
	assert_int_equal(check(1), 0);
	assert_int_equal(held_get(cache, &v, &h), 0);
	for (int tries = 0; tries < 5 && !held_ready(h, 0, size_of(1)); tries++)
		assert_int_equal(check(1), 0);
	assert_true(held_ready(h, 0, size_of(1)));
	held_put(h);
	put(2); /* an append changes nothing for it */
	h = held_hot(cache, &v);
	assert_non_null(h);
	assert_true(held_ready(h, 0, size_of(1)));
	held_put(h);
	assert_int_equal(segments_find(chunks_segments(chunks), &v, &found), 0);
	snprintf(path, sizeof(path), "%s/s/%08x", dir, found.place.segment);
	segment_file_put(found.file);
	usleep(20000); /* the clock of files is coarse */
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, found.place.offset + SEGMENT_HEADER + 5), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, found.place.offset + SEGMENT_HEADER + 5), 1);
	assert_int_equal(check(1), -EBADMSG);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, found.place.offset + SEGMENT_HEADER + 5), 1);
	close(fd);
	assert_int_equal(check(1), 0);
	forget(1);
	assert_null(held_hot(cache, &v));
	assert_int_equal(check(1), -ENOENT);
	put(1);
	assert_int_equal(check(1), 0);
}

static void test_repair(void **state)
{
	struct version v = version_of(3);
	size_t len = size_of(3);
	struct segments_found found;
	uint8_t *data = malloc(len);
	struct held *h;
	char path[128];
	int fd;

	(void)state;
	put(2);
	put(3);
	put(4);
	assert_int_equal(segments_find(chunks_segments(chunks), &v, &found), 0);
	snprintf(path, sizeof(path), "%s/s/%08x", dir, found.place.segment);
	segment_file_put(found.file);
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "damage", 6, found.place.offset + SEGMENT_HEADER + 100), 6);
	close(fd);
	assert_int_equal(check(3), -EBADMSG);
	fill(data, len, 3);
	assert_int_equal(held_get(cache, &v, &h), 0);
	assert_int_equal(held_repair(h, 0, data, (uint32_t)len), 0);
	held_put(h);
	for (unsigned int i = 2; i < 5; i++)
		assert_int_equal(check(i), 0);
	free(data);
}

/* Parts of a group, small ones and a file, go at once; others stay. */
static void test_group(void **state)
{
	struct version group = version_of(5), part, other = group;
	uint8_t big = 0;

	(void)state;
	memset(group.id + VERSION_GROUP_BYTES, 0, 4);
	other.id[11] ^= 1;
	memset(other.id + VERSION_GROUP_BYTES, 1, 4);
	put_version(&other, 1, 100);
	for (unsigned int i = 1; i <= 300; i++) {
		part = group;
		part.id[13] = (uint8_t)i;
		part.id[12] = (uint8_t)(i >> 8);
		part.id[15] = 1;
		put_version(&part, i, i == 7 ? 300000 : 900);
	}
	assert_int_equal(files_below("d"), 1);
	assert_int_equal(chunks_forget(chunks, &group), 0);
	assert_int_equal(chunks_forget(chunks, &group), 0);
	assert_int_equal(files_below("d"), 0);
	assert_int_equal(counts().versions, 1);
	assert_int_equal(check_version(&other, 1, 100), 0);
	(void)big;
}

/* What lies in the limits, and just beyond them. */
static void test_limits(void **state)
{
	static const size_t sizes[] = { 0, 1, SEGMENT_SMALL - 1, SEGMENT_SMALL, SEGMENT_SMALL + 1 };

	(void)state;
	for (unsigned int i = 0; i < 5; i++) {
		struct version v = version_of(i);

		put_version(&v, i, sizes[i]);
		assert_int_equal(check_version(&v, i, sizes[i]), 0);
		assert_int_equal(files_below("d"), i == 4);
	}
	close_as(true);
	assert_int_equal(open_as("other"), 0);
	for (unsigned int i = 0; i < 5; i++) {
		struct version v = version_of(i);

		assert_int_equal(check_version(&v, i, sizes[i]), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_taken_number, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_index_not_asked, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_held, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_repair, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_group, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_limits, store_setup, store_teardown),
	};

	return cmocka_run_group_tests(tests, store_folder, store_folder_remove);
}
