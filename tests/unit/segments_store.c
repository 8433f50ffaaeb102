/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments_store.c -- opens, fills, looks.
 */
#include "tests/unit/segments_store.h"

#include <errno.h>
#include <sys/syscall.h>

#include "http/store/staged.h"

#define SMALL_SEGMENT (64u << 10)

char dir[64];
struct chunks *chunks;
struct held_cache *cache;

int open_as(const char *boot)
{
	const struct segments_options segments = { .boot = boot,
						   .segment_size = SMALL_SEGMENT,
						   .index_txn = 5,
						   .no_compaction = true };
	const struct chunks_options options = { .dir = dir, .segments = &segments };

	return chunks_open(&chunks, &options) || held_cache_new(&cache, chunks, 64);
}

void close_as(bool kill)
{
	held_cache_free(cache);
	if (kill)
		chunks_kill(chunks);
	else
		chunks_close(chunks);
	chunks = NULL;
	cache = NULL;
}

const char *sync_fails;

static bool path_has(int fd, const char *part)
{
	char link[40], path[512];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = 0;
	return strstr(path, part);
}

off_t bad_sector = -1;

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

unsigned int syncfs_calls;

int syncfs(int fd)
{
	syncfs_calls++;
	if (sync_fails && path_has(fd, sync_fails)) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_syncfs, fd);
}

/* To make its 4,096 folders takes longer than most tests. */
int store_folder(void **state)
{
	(void)state;
	unit_folder(dir, sizeof(dir));
	if (open_as("one"))
		return -1;
	close_as(false);
	return 0;
}

int store_folder_remove(void **state)
{
	(void)state;
	unit_folder_remove(dir);
	return 0;
}

int store_setup(void **state)
{
	char command[300];

	(void)state;
	snprintf(command, sizeof(command), "cd %s && rm -rf s s.old index index.old && find d -type f -delete", dir);
	return system(command) || open_as("one");
}

int store_teardown(void **state)
{
	(void)state;
	if (chunks)
		close_as(false);
	return 0;
}

void fill(uint8_t *data, size_t len, unsigned int number)
{
	uint32_t x = number * 2654435761u + 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		data[i] = (uint8_t)(x >> 24);
	}
}

struct version version_of(unsigned int number)
{
	struct version v = { { 0 } };

	for (size_t i = 0; i < VERSION_BYTES; i++)
		v.id[i] = (uint8_t)((number + 1) * 73 + i * (number + 3));
	v.id[14] = (uint8_t)(number >> 8);
	v.id[15] = (uint8_t)(number | 1);
	memcpy(v.id, &number, sizeof(number));
	return v;
}

size_t size_of(unsigned int number)
{
	return number % 7 == 0 ? number % 70 : 500 + number * 37 % 6000;
}

void put_version(const struct version *v, unsigned int number, size_t len)
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

void put(unsigned int number)
{
	struct version v = version_of(number);

	put_version(&v, number, size_of(number));
}

int check_version(const struct version *v, unsigned int number, size_t len)
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

int check(unsigned int number)
{
	struct version v = version_of(number);

	return check_version(&v, number, size_of(number));
}

void forget(unsigned int number)
{
	struct version v = version_of(number);

	assert_int_equal(chunks_forget(chunks, &v), 0);
	assert_false(chunks_has(chunks, &v));
}

struct segment_place place_of(struct version v)
{
	struct segments_found found;

	assert_int_equal(segments_find(chunks_segments(chunks), &v, &found), 0);
	segment_file_put(found.file);
	return found.place;
}

struct segments_counts counts(void)
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

unsigned int files_below(const char *sub)
{
	return unit_files(dir, sub);
}

void run(const char *fmt, ...)
{
	char command[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

void mixed_load(void)
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

bool expected(unsigned int i)
{
	return i % 3 != 0 || i % 10 == 4 || i % 10 == 9;
}

void check_mixed(void)
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
