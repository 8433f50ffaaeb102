/* SPDX-License-Identifier: Apache-2.0 */
/* Small versions in segments: stored, found, forgotten, compacted; killed at any step; after a power
 * loss; damaged. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "http/store/held.h"
#include "http/store/staged.h"
#include "lib/log.h"

#define SMALL_SEGMENT (64u << 10)
#define MANY	      200

static char dir[64];
static struct chunks *chunks;
static struct held_cache *cache;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static int open_as(const char *boot)
{
	const struct segments_options segments = { .boot = boot,
						   .segment_size = SMALL_SEGMENT,
						   .index_txn = 5,
						   .no_compaction = true };
	const struct chunks_options options = { .dir = dir, .segments = &segments };

	return chunks_open(&chunks, &options) || held_cache_new(&cache, chunks, 64);
}

static void close_as(bool kill)
{
	held_cache_free(cache);
	if (kill)
		chunks_kill(chunks);
	else
		chunks_close(chunks);
	chunks = NULL;
	cache = NULL;
}

/* ---- faults: the store's own calls come here ---- */

static const char *sync_fails; /* part of the path */

static bool path_has(int fd, const char *part)
{
	char link[40], path[512];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = 0;
	return strstr(path, part);
}

static off_t bad_sector = -1; /* of files below /s/ */

ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
	if (bad_sector >= 0 && at < bad_sector + 4096 && at + (off_t)len > bad_sector && path_has(fd, "/s/")) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, buf, len, at);
}

int fdatasync(int fd)
{
	if (sync_fails && path_has(fd, sync_fails)) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

/* One folder for all tests: to make its 4,096 folders takes longer than most of them. */
static int make_folder(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/weir-segments-XXXXXX");
	if (!mkdtemp(dir) || open_as("one"))
		return -1;
	close_as(false);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int setup(void **state)
{
	char command[300];

	(void)state;
	snprintf(command, sizeof(command), "cd %s && rm -rf s s.old index index.old && find d -type f -delete", dir);
	return system(command) || open_as("one");
}

static int teardown(void **state)
{
	(void)state;
	if (chunks)
		close_as(false);
	return 0;
}

/* A version whose bytes follow from its number. */
static void fill(uint8_t *data, size_t len, unsigned int number)
{
	uint32_t x = number * 2654435761u + 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		data[i] = (uint8_t)(x >> 24);
	}
}

static struct version version_of(unsigned int number)
{
	struct version v = { { 0 } };

	for (size_t i = 0; i < VERSION_BYTES; i++)
		v.id[i] = (uint8_t)((number + 1) * 73 + i * (number + 3));
	v.id[14] = (uint8_t)(number >> 8);
	v.id[15] = (uint8_t)(number | 1);
	memcpy(v.id, &number, sizeof(number));
	return v;
}

static size_t size_of(unsigned int number)
{
	return number % 7 == 0 ? number % 70 : 500 + number * 37 % 6000;
}

static void put_version(const struct version *v, unsigned int number, size_t len)
{
	struct manifest m = { .version = *v, .bucket = "b", .key = "k" };
	uint8_t *data = malloc(len + 1);
	struct staged *s;

	fill(data, len, number);
	assert_int_equal(staged_new(&s, chunks, v), 0);
	assert_int_equal(staged_append(s, data, len), 0);
	assert_int_equal(staged_seal(s, &m.size, m.sha256), 0);
	assert_int_equal(staged_finish(s, &m), 0);
	staged_commit_begin(s);
	assert_int_equal(staged_commit_wait(s), 0);
	staged_free(s);
	free(data);
}

static void put(unsigned int number)
{
	struct version v = version_of(number);

	put_version(&v, number, size_of(number));
}

/* 0: whole, with its own bytes; -ENOENT; -EBADMSG. */
static int check_version(const struct version *v, unsigned int number, size_t len)
{
	uint8_t *want = malloc(len + 1), *got = malloc(len + 1);
	struct held_cursor *cur;
	struct held *h;
	uint64_t pos = 0;
	ssize_t n = 0;
	int rc = held_get(cache, v, &h);

	if (!rc) {
		cur = held_cursor_new(h);
		assert_int_equal(held_manifest(h)->size, len);
		while (pos < len && (n = held_read(cur, pos, got + pos, len - pos)) > 0)
			pos += (uint64_t)n;
		fill(want, len, number);
		rc = n < 0 ? (int)n : 0;
		if (!rc)
			assert_memory_equal(got, want, len);
		held_cursor_free(cur);
		held_put(h);
	}
	free(want);
	free(got);
	return rc;
}

static int check(unsigned int number)
{
	struct version v = version_of(number);

	return check_version(&v, number, size_of(number));
}

static void forget(unsigned int number)
{
	struct version v = version_of(number);

	assert_int_equal(chunks_forget(chunks, &v), 0);
	assert_false(chunks_has(chunks, &v));
}

static struct segments_counts counts(void)
{
	struct segments_counts c;

	segments_count(chunks_segments(chunks), &c);
	return c;
}

static int count_one(void *arg, const struct version *v)
{
	(void)v;
	++*(unsigned int *)arg;
	return 0;
}

static unsigned int files_below(const char *sub)
{
	char command[160];
	unsigned int n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "find %s/%s -type f | wc -l", dir, sub);
	f = popen(command, "r");
	assert_int_equal(fscanf(f, "%u", &n), 1);
	pclose(f);
	return n;
}

static void __attribute__((format(printf, 1, 2))) run(const char *fmt, ...)
{
	char command[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

/* A third is forgotten, a few are stored twice. */
static void mixed_load(void)
{
	for (unsigned int i = 0; i < MANY; i++) {
		put(i);
		if (i % 3 == 0)
			forget(i);
		if (i % 10 == 4)
			put(i);
		if (i % 10 == 9) {
			forget(i);
			put(i);
		}
	}
}

static bool expected(unsigned int i)
{
	return i % 3 != 0 || i % 10 == 4 || i % 10 == 9;
}

static void check_mixed(void)
{
	unsigned int live = 0, seen = 0;

	for (unsigned int i = 0; i < MANY; i++) {
		assert_int_equal(check(i), expected(i) ? 0 : -ENOENT);
		live += expected(i);
	}
	assert_int_equal(chunks_each(chunks, count_one, &seen), 0);
	assert_int_equal(seen, live);
	assert_int_equal(counts().versions, live);
}

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

static void store(struct version v, const void *data, uint32_t len)
{
	struct segments_job job = { .what = SEGMENTS_STORE, .version = v, .data = data, .len = len };

	segments_begin(chunks_segments(chunks), &job);
	assert_int_equal(segments_wait(chunks_segments(chunks), &job), 0);
}

static struct segment_place place_of(struct version v)
{
	struct segments_found found;

	assert_int_equal(segments_find(chunks_segments(chunks), &v, &found), 0);
	segment_file_put(found.file);
	return found.place;
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
		assert_int_equal(setup(state), 0);
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
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_power_loss, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_rebuild, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unsynced_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unseen_segment, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taken_number, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forged, NULL, teardown),
		cmocka_unit_test_setup_teardown(test_format_1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_sector, setup, teardown),
		cmocka_unit_test_setup_teardown(test_index_not_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_torn_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zeros_ahead, setup, teardown),
		cmocka_unit_test_setup_teardown(test_compaction, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_in_compaction, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forgotten_stays_so, setup, teardown),
		cmocka_unit_test_setup_teardown(test_held, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repair, setup, teardown),
		cmocka_unit_test_setup_teardown(test_group, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
