/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_segments_restart.c -- segments that are opened again: killed at any step, after a power loss, torn, damaged,
 * forged, of an older format, on a disk with a bad sector.
 */
#include "tests/unit/segments_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static void store(struct version v, const void *data, uint32_t len)
{
	struct segments_job job = { .what = SEGMENTS_STORE, .version = v, .data = data, .len = len };

	segments_begin(chunks_segments(chunks), &job);
	assert_int_equal(segments_wait(chunks_segments(chunks), &job), 0);
}

/* Changes one byte of the first segment. */
static void flip(off_t at)
{
	char path[128];
	uint8_t byte;
	int fd;

	snprintf(path, sizeof(path), "%s/s/00000001", dir);
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void newest_path(char *path, size_t room)
{
	char command[160];
	FILE *f;

	snprintf(command, sizeof(command), "ls %s/s/0* | tail -1", dir);
	f = popen(command, "r");
	assert_non_null(fgets(path, (int)room, f));
	path[strcspn(path, "\n")] = 0;
	pclose(f);
}

/* Killed, on the same boot: the index is as it was. And killed with an index that is behind. */
static void test_kill(void **state)
{
	char command[256];

	(void)state;
	mixed_load();
	snprintf(command, sizeof(command), "cp -r %s/index %s/index.old", dir, dir);
	assert_int_equal(system(command), 0);
	put(1000);
	forget(1);
	close_as(true);
	assert_int_equal(open_as("one"), 0);
	assert_int_equal(check(1000), 0);
	assert_int_equal(check(1), -ENOENT);
	put(1001);
	close_as(true);
	/* As if it died between the sync and the index. */
	snprintf(command, sizeof(command), "rm -r %s/index && mv %s/index.old %s/index", dir, dir, dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(open_as("one"), 0);
	assert_int_equal(check(1000), 0);
	assert_int_equal(check(1001), 0);
	assert_int_equal(check(1), -ENOENT);
	put(1);
	forget(1000);
	forget(1001);
	check_mixed();
}

/* What a kill left in the kernel alone is on the disk before it is believed, or there is no start. */
static void test_kill_is_synced(void **state)
{
	(void)state;
	put(1);
	for (int killed = 0; killed < 3; killed++) {
		unsigned int before = syncfs_calls;

		close_as(killed);
		/* 2: as if the boot were another, which fsck --repair says, too. */
		assert_int_equal(open_as(killed == 2 ? "two" : "one"), 0);
		assert_int_equal(syncfs_calls - before, killed ? 1 : 0);
		assert_int_equal(check(1), 0);
	}
	close_as(true);
	sync_fails = dir;
	assert_int_not_equal(open_as("two"), 0);
	sync_fails = NULL;
	assert_int_equal(open_as("two"), 0);
	assert_int_equal(check(1), 0);
}

/* The index is made anew from the segments after a power loss, or when it is damaged or gone. */
static void test_power_loss(void **state)
{
	char command[200];

	(void)state;
	mixed_load();
	close_as(true);
	snprintf(command, sizeof(command), "head -c 100000 /dev/urandom >%s/index/data.mdb", dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(open_as("two"), 0); /* not even looked at */
	check_mixed();
	close_as(false);
	snprintf(command, sizeof(command), "rm -r %s/index", dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(open_as("two"), 0);
	check_mixed();
}

/* An index that is made anew is cut off in the middle: the next start does not believe it. */
static void test_cut_rebuild(void **state)
{
	static const char *const damages[] = { "rm -r %s/index", "head -c 9000 /dev/urandom >%s/index/data.mdb",
					       "echo other >%s/s/state" };

	(void)state;
	mixed_load();
	for (unsigned int i = 0; i < 3; i++) {
		unsigned int second = (unsigned int)counts().segments - 1;
		char path[128];

		close_as(i == 2);
		run(damages[i], dir);
		/* The last one but one cannot be read: what comes before is indexed by then. */
		for (unsigned int cut = second; cut > second - 4; cut--) {
			snprintf(path, sizeof(path), "%s/s/%08x", dir, cut);
			run("mv %s %s/moved && mkdir %s", path, dir, path);
			assert_int_not_equal(open_as("one"), 0);
			run("rmdir %s && mv %s/moved %s", path, dir, path);
		}
		assert_int_equal(open_as("one"), 0);
		check_mixed();
	}
}

/* The index's last pages cannot be written when it is closed. */
static void test_unsynced_close(void **state)
{
	(void)state;
	mixed_load();
	run("cp -r %s/index %s/index.old", dir, dir);
	close_as(false);
	assert_int_equal(open_as("one"), 0);
	put(1000);
	sync_fails = "/index/";
	close_as(false);
	sync_fails = NULL;
	/* What was not written is not there. */
	run("rm -r %s/index && mv %s/index.old %s/index", dir, dir, dir);
	run("! grep -q clean %s/s/state", dir);
	assert_int_equal(open_as("one"), 0);
	assert_int_equal(check(1000), 0);
	forget(1000);
	check_mixed();
}

/* A segment that cannot be looked at is not passed over. */
static void test_unseen_segment(void **state)
{
	unsigned long last;

	(void)state;
	mixed_load();
	last = counts().segments;
	close_as(false);
	run("mv %s/s/%08lx %s/moved && ln -s %08lx %s/s/%08lx", dir, last, dir, last, dir, last);
	assert_int_not_equal(open_as("one"), 0);
	run("mv %s/moved %s/s/%08lx", dir, dir, last);
	assert_int_equal(open_as("one"), 0);
	check_mixed();
}

/* An object that is made of records: one of another's version, and one that forgets a third's. Its own
 * record is damaged, and the index made anew: the others are what they were. */
static void test_forged(void **state)
{
	struct version v1 = version_of(1), v2 = version_of(2), v3 = version_of(3);
	struct segment_place own1, own2, forger;
	struct segment_record r = { .kind = SEGMENT_STORED, .length = 6, .version = v1 };
	uint8_t body[192] = { 0 };

	(void)state;
	for (off_t damage = 0; damage < 3; damage++) {
		assert_int_equal(store_setup(state), 0);
		put(1);
		put(2);
		own1 = place_of(v1);
		own2 = place_of(v2);
		r.kind = SEGMENT_STORED;
		r.length = 6;
		r.version = v1;
		memcpy(body + SEGMENT_HEADER, "EVIL!!", 6);
		r.crc = crc32c(0, body + SEGMENT_HEADER, 6);
		segment_record_encode(&r, body);
		r = (struct segment_record){ .kind = SEGMENT_FORGOT, .version = v2, .target = own2 };
		segment_record_encode(&r, body + 128);
		store(v3, body, sizeof(body));
		forger = place_of(v3);
		put(4);
		close_as(true);
		flip(damage == 0 ? forger.offset + 17 : forger.offset + SEGMENT_HEADER + 70);
		if (damage == 2)
			flip(20); /* the salt of the file's header */
		assert_int_equal(open_as("two"), 0);
		assert_int_equal(check(1), 0);
		assert_int_equal(check(2), 0);
		assert_int_equal(check(4), 0);
		assert_int_equal(place_of(v1).offset, own1.offset);
		if (damage < 2)
			close_as(false);
	}
}

/* A segment of before there were salts is read, and not gone on with. */
static void test_format_1(void **state)
{
	static const uint8_t zeros[SEGMENT_SALT];
	struct version v = version_of(9);
	struct segment_record r = { .kind = SEGMENT_STORED, .length = 5, .version = v, .stored = 7 };
	uint8_t file[3 * SEGMENT_HEADER] = { 0 };
	uint32_t format = 1, crc;
	char path[128];
	int fd;

	(void)state;
	close_as(false);
	segment_head_encode(1, zeros, file);
	memcpy(file + 8, &format, 4);
	crc = crc32c(0, file, 60);
	memcpy(file + 60, &crc, 4);
	memcpy(file + 2 * SEGMENT_HEADER, "hello", 5);
	r.crc = crc32c(0, file + 2 * SEGMENT_HEADER, 5);
	segment_record_encode(&r, file + SEGMENT_HEADER);
	snprintf(path, sizeof(path), "%s/s/00000001", dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, file, sizeof(file)), sizeof(file));
	close(fd);
	assert_int_equal(open_as("two"), 0);
	assert_int_equal(place_of(v).offset, SEGMENT_HEADER);
	put(1);
	assert_int_equal(place_of(version_of(1)).segment, 2);
	close_as(true);
	assert_int_equal(open_as("three"), 0);
	assert_int_equal(place_of(v).segment, 1);
	assert_int_equal(check(1), 0);
}

/* A sector of a segment cannot be read while the index is made anew: all else is there, nothing is cut,
 * and when it can be read again it is back. */
static void test_bad_sector(void **state)
{
	struct segment_place bad;
	unsigned int lost = 0;

	(void)state;
	for (unsigned int i = 0; i < 50; i++)
		put(i);
	bad = place_of(version_of(48));
	close_as(true);
	bad_sector = bad.offset / 4096 * 4096;
	assert_int_equal(open_as("two"), 0);
	for (unsigned int i = 0; i < 50; i++)
		lost += !chunks_has(chunks, &(struct version[]){ version_of(i) }[0]);
	assert_in_range(lost, 1, 12);
	put(60);
	assert_int_not_equal(place_of(version_of(60)).segment, bad.segment);
	close_as(true);
	bad_sector = -1;
	assert_int_equal(open_as("three"), 0);
	for (unsigned int i = 0; i < 50; i++)
		assert_int_equal(check(i), 0);
	assert_int_equal(check(60), 0);
}

/* What was being written when the power went: any part of it is there. Nothing before it suffers,
 * and what comes after is found. */
static void test_torn_end(void **state)
{
	char path[128];
	struct stat st;

	(void)state;
	for (unsigned int i = 0; i < 5; i++)
		put(i);
	close_as(false);
	newest_path(path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	for (off_t cut = 1; cut < 400; cut += 23) {
		char command[300];

		assert_int_equal(open_as("a"), 0);
		put(500);
		close_as(true);
		/* Half of it is not there; the other half is, but for a hole. */
		if (cut % 2)
			assert_int_equal(truncate(path, st.st_size + cut), 0);
		snprintf(command, sizeof(command),
			 "dd if=/dev/zero of=%s bs=1 seek=%ld count=40 conv=notrunc 2>/dev/null", path,
			 (long)(st.st_size + cut));
		assert_int_equal(system(command), 0);
		assert_int_equal(open_as("b"), 0);
		assert_int_equal(check(500), -ENOENT);
		for (unsigned int i = 0; i < 5; i++)
			assert_int_equal(check(i), 0);
		put(501);
		assert_int_equal(check(501), 0);
		close_as(true);
		assert_int_equal(open_as("c"), 0);
		assert_int_equal(check(501), 0);
		forget(501);
		close_as(false);
		assert_int_equal(truncate(path, st.st_size), 0);
		snprintf(command, sizeof(command), "rm -r %s/index", dir);
		assert_int_equal(system(command), 0);
	}
	assert_int_equal(open_as("d"), 0);
}

/* Small rounds write over zeros, so that a flush changes nothing about the file; whoever opens or closes it cuts them off. */
static void test_zeros_ahead(void **state)
{
	char path[128];
	struct stat st;
	off_t size;

	(void)state;
	put(1);
	newest_path(path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	size = st.st_size;
	assert_true((uint64_t)size > counts().bytes);
	for (unsigned int i = 2; i < 8; i++)
		put(i);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, size);
	for (int boot = 0; boot < 2; boot++) {
		close_as(true);
		assert_int_equal(open_as(boot ? "two" : "one"), 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, counts().bytes);
		for (unsigned int i = 1; i < 8; i++)
			assert_int_equal(check(i), 0);
		put(8);
		assert_int_equal(stat(path, &st), 0);
		assert_true((uint64_t)st.st_size > counts().bytes);
	}
	size = (off_t)counts().bytes;
	close_as(false);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, size);
	assert_int_equal(open_as("three"), 0);
	assert_int_equal(check(8), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kill, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_kill_is_synced, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_power_loss, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_cut_rebuild, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_unsynced_close, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_unseen_segment, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_forged, NULL, store_teardown),
		cmocka_unit_test_setup_teardown(test_format_1, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_bad_sector, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_torn_end, store_setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_zeros_ahead, store_setup, store_teardown),
	};

	return cmocka_run_group_tests(tests, store_folder, store_folder_remove);
}
