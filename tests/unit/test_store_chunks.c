/* SPDX-License-Identifier: Apache-2.0 */
/* Versions on disk: written, committed, read, checked, repaired, forgotten, swept. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "http/store/held.h"
#include "http/store/staged.h"

static char dir[64];
static struct chunks *chunks;
static uint64_t announced; /* of what is staged; 0: nothing was said */
static struct held_cache *cache;

static int open_store(void)
{
	const struct chunks_options options = { .dir = dir };

	return chunks_open(&chunks, &options) || held_cache_new(&cache, chunks, 4);
}

static int setup(void **state)
{
	(void)state;
	unit_folder(dir, sizeof(dir));
	return open_store();
}

static int teardown(void **state)
{
	(void)state;
	held_cache_free(cache);
	chunks_close(chunks);
	unit_folder_remove(dir);
	return 0;
}

static uint8_t *pattern(size_t len)
{
	uint8_t *data = malloc(len + 1);
	uint32_t x = 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		data[i] = (uint8_t)(x >> 24);
	}
	return data;
}

static int stage(const struct version *v, const uint8_t *data, size_t len, size_t step,
		 struct staged **out)
{
	struct manifest m = { .version = *v, .bucket = "b", .key = "k" };
	struct staged *s;
	int rc = staged_new(&s, chunks, v);

	if (!rc && announced)
		staged_expect(s, announced);
	for (size_t at = 0; !rc && at < len; at += step)
		rc = staged_append(s, data + at, len - at < step ? len - at : step);
	if (!rc)
		rc = staged_seal(s, &m.size, m.sha256);
	if (!rc)
		rc = staged_finish(s, &m);
	*out = s;
	return rc;
}

static struct version store(const uint8_t *data, size_t len, size_t step)
{
	struct version v;
	struct staged *s;

	random_bytes(v.id, VERSION_BYTES);
	assert_int_equal(stage(&v, data, len, step, &s), 0);
	assert_false(chunks_has(chunks, &v));
	staged_commit_begin(s);
	assert_int_equal(staged_commit_wait(s), 0);
	assert_true(chunks_has(chunks, &v));
	staged_free(s);
	return v;
}

static int read_all(struct held *h, uint8_t *out, size_t step, uint64_t *bad)
{
	struct held_cursor *cur = held_cursor_new(h);
	uint64_t pos = 0;
	ssize_t n;

	while ((n = held_read(cur, pos, out + pos, step)) > 0)
		pos += (uint64_t)n;
	if (bad)
		*bad = cur->bad;
	held_cursor_free(cur);
	return n < 0 ? (int)n : pos == held_manifest(h)->size ? 0 : -EIO;
}

static void flip(const struct version *v, off_t at)
{
	struct segments_found found;
	char path[COMMIT_PATH], byte;
	int fd;

	if (!segments_find(chunks_segments(chunks), v, &found)) {
		segments_path(found.place.segment, path, sizeof(path));
		at += found.place.offset + SEGMENT_HEADER;
		segment_file_put(found.file);
	} else {
		chunks_path(v, path);
	}
	fd = openat(chunks_root(chunks), path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void round_trip(void)
{
	static const size_t sizes[] = { 0,
					1,
					4096,
					BLOCK_SIZE,
					BLOCK_SIZE + 1,
					CHUNK_SIZE,
					CHUNK_SIZE + 1,
					2 * CHUNK_SIZE,
					2 * CHUNK_SIZE + 100001 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint8_t *data = pattern(sizes[i]), *back = malloc(sizes[i] + 1), sha[32];
		struct version v = store(data, sizes[i], 70001);
		struct held *h;

		assert_int_equal(held_get(cache, &v, &h), 0);
		sha256_once(data, sizes[i], sha);
		assert_memory_equal(held_manifest(h)->sha256, sha, 32);
		assert_int_equal(held_manifest(h)->size, sizes[i]);
		assert_true(!sizes[i] || !held_ready(h, 0, sizes[i]));
		assert_int_equal(read_all(h, back, 30000, NULL), 0);
		assert_memory_equal(back, data, sizes[i]);
		/* The kernel may have taken pages back meanwhile: then reading brings them again. */
		for (int tries = 0; tries < 5 && !held_ready(h, 0, sizes[i]); tries++)
			assert_int_equal(read_all(h, back, 30000, NULL), 0);
		assert_true(held_ready(h, 0, sizes[i]));
		held_put(h);
		free(data);
		free(back);
	}
}

static void test_round_trip(void **state)
{
	(void)state;
	round_trip();
	announced = SEGMENT_SMALL + 1; /* files from the first byte on, whatever came */
	round_trip();
	announced = 0;
}

/* Every flipped byte is found: in data, records, head and footer. */
static void test_damage_is_found(void **state)
{
	size_t len = CHUNK_SIZE + 3 * BLOCK_SIZE + 5;
	uint8_t *data = pattern(len), *back = malloc(len);
	struct version v = store(data, len, 1 << 20);
	char path[COMMIT_PATH];
	struct stat st;
	struct held *h;
	uint64_t bad;

	(void)state;
	assert_int_equal(fstatat(chunks_root(chunks), chunks_path(&v, path), &st, 0), 0);
	for (off_t at = 1000; at < st.st_size; at += at < (off_t)len ? 900001 : 97) {
		int rc;

		flip(&v, at);
		rc = held_get(cache, &v, &h);
		if (!rc) {
			rc = read_all(h, back, BLOCK_SIZE, &bad);
			assert_int_equal(rc, -EBADMSG);
			if (at < (off_t)len)
				assert_int_equal(bad, (uint64_t)at / CHUNK_SIZE);
			assert_false(held_ready(h, 0, len));
			held_put(h);
		}
		assert_int_equal(rc, -EBADMSG);
		flip(&v, at);
	}
	assert_int_equal(held_get(cache, &v, &h), 0);
	assert_int_equal(read_all(h, back, BLOCK_SIZE, NULL), 0);
	held_put(h);
	free(data);
	free(back);
}

/* A file that was whole and hot, and then is changed, is not sent from the cache. */
static void test_checked_is_not_for_ever(void **state)
{
	uint8_t *data = pattern(100000), back[100000];
	struct version v = store(data, 100000, 100000);
	struct held *h;

	(void)state;
	assert_int_equal(held_get(cache, &v, &h), 0);
	assert_int_equal(read_all(h, back, 65536, NULL), 0);
	assert_true(held_ready(h, 5, 70000));
	held_put(h);
	flip(&v, 77777);
	assert_int_equal(held_get(cache, &v, &h), 0);
	assert_false(held_ready(h, 5, 70000));
	assert_int_equal(read_all(h, back, 65536, NULL), -EBADMSG);
	held_put(h);
	free(data);
}

static void test_repair(void **state)
{
	size_t len = CHUNK_SIZE + 500;
	uint8_t *data = pattern(len), *back = malloc(len);
	struct version v = store(data, len, len);
	struct held *h;
	uint64_t bad;

	(void)state;
	flip(&v, CHUNK_SIZE + 17);
	assert_int_equal(held_get(cache, &v, &h), 0);
	assert_int_equal(read_all(h, back, 65536, &bad), -EBADMSG);
	assert_int_equal(bad, 1);
	assert_int_equal(held_repair(h, 1, data, 500), -EBADMSG); /* other data */
	assert_int_equal(held_repair(h, 1, data + CHUNK_SIZE, 499), -EBADMSG);
	assert_int_equal(held_repair(h, 1, data + CHUNK_SIZE, 500), 0);
	held_put(h);
	assert_int_equal(held_get(cache, &v, &h), 0);
	assert_int_equal(read_all(h, back, 65536, NULL), 0);
	assert_memory_equal(back, data, len);
	held_put(h);
	free(data);
	free(back);
}

static void test_chunk_by_chunk(void **state)
{
	size_t len = CHUNK_SIZE + 70000;
	uint8_t *data = pattern(len), *back = malloc(len), sha[32], expect[32];
	struct manifest m = { .size = len, .bucket = "b", .key = "k" };
	struct staged *s;
	struct held *h;

	(void)state;
	random_bytes(m.version.id, VERSION_BYTES);
	sha256_once(data, len, m.sha256);
	assert_int_equal(staged_new(&s, chunks, &m.version), 0);
	assert_int_equal(staged_chunk_begin(s, 1), -EINVAL);
	assert_int_equal(staged_chunk_begin(s, 0), 0);
	assert_int_equal(staged_chunk_add(s, data, 1000), 0);
	staged_chunk_drop(s); /* broke off: again from its start */
	assert_int_equal(staged_chunk_begin(s, 0), 0);
	assert_int_equal(staged_chunk_add(s, data, CHUNK_SIZE), 0);
	assert_int_equal(staged_chunk_add(s, data, 1), -EFBIG);
	assert_int_equal(staged_chunk_end(s, sha), 0);
	sha256_once(data, CHUNK_SIZE, expect);
	assert_memory_equal(sha, expect, 32);
	/* Longer first, then again as it should be. */
	assert_int_equal(staged_chunk_begin(s, 1), 0);
	assert_int_equal(staged_chunk_add(s, data, 200000), 0);
	assert_int_equal(staged_chunk_end(s, sha), 0);
	assert_int_equal(staged_finish(s, &m), -EBADMSG);
	assert_int_equal(staged_chunk_begin(s, 1), 0);
	assert_int_equal(staged_chunk_add(s, data + CHUNK_SIZE, 70000), 0);
	assert_int_equal(staged_chunk_end(s, sha), 0);
	assert_int_equal(staged_finish(s, &m), 0);
	staged_commit_begin(s);
	assert_int_equal(staged_commit_wait(s), 0);
	staged_free(s);
	assert_int_equal(held_get(cache, &m.version, &h), 0);
	assert_int_equal(read_all(h, back, 65536, NULL), 0);
	assert_memory_equal(back, data, len);
	held_put(h);
	free(data);
	free(back);
}

/* What was not committed leaves nothing: dropped, or found at the next start. */
static void test_sweep(void **state)
{
	uint8_t *data = pattern(300000);
	struct version v = { { 9 } };
	struct staged *s;
	int fd;

	(void)state;
	assert_int_equal(stage(&v, data, 300000, 5000, &s), 0);
	assert_int_equal(unit_files(dir, "tmp"), 1);
	staged_free(s);
	assert_int_equal(unit_files(dir, "tmp"), 0);
	fd = openat(chunks_root(chunks), "tmp/left-by-a-kill", O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	held_cache_free(cache);
	chunks_close(chunks);
	assert_int_equal(open_store(), 0);
	assert_int_equal(unit_files(dir, "tmp"), 0);
	assert_int_equal(held_get(cache, &v, &(struct held *){ NULL }), -ENOENT);
	free(data);
}

static int count_one(void *arg, const struct version *v)
{
	(void)v;
	++*(unsigned int *)arg;
	return 0;
}

static void test_forget(void **state)
{
	unsigned int before = 0, after = 0;
	struct version v = store((const uint8_t *)"hello", 5, 5);
	struct held *h;

	(void)state;
	assert_int_equal(held_get(cache, &v, &h), 0);
	held_put(h);
	chunks_each(chunks, count_one, &before);
	assert_int_equal(chunks_forget(chunks, &v), 0);
	assert_int_equal(chunks_forget(chunks, &v), 0);
	chunks_each(chunks, count_one, &after);
	assert_int_equal(before, after + 1);
	/* A kept open one is noticed, too. */
	assert_int_equal(held_get(cache, &v, &h), -ENOENT);
}

static void test_reserve(void **state)
{
	char sub[80];
	struct chunks_options options = { .dir = dir, .reserve_bytes = 1ULL << 60 };
	struct version v = { { 1 } };
	struct chunks *full;
	struct staged *s;

	(void)state;
	assert_int_equal(chunks_room(chunks, 1), 0);
	assert_int_equal(chunks_open(&full, &options), -EBUSY);
	snprintf(sub, sizeof(sub), "%s/full", dir);
	options.dir = sub;
	assert_int_equal(chunks_open(&full, &options), 0);
	assert_int_equal(chunks_room(full, 1), -ENOSPC);
	assert_int_equal(staged_new(&s, full, &v), 0);
	assert_int_equal(staged_append(s, "x", 1), -ENOSPC);
	staged_free(s);
	chunks_close(full);
}

static void *store_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++)
		store((const uint8_t *)"small", 5, 5);
	return NULL;
}

/* Many at once share rounds: fewer rounds than files. */
static void test_group_commit(void **state)
{
	unsigned long rounds, jobs, rounds_before, jobs_before;
	pthread_t threads[8];

	(void)state;
	chunks_counts(chunks, &rounds_before, &jobs_before);
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, store_many, NULL), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	chunks_counts(chunks, &rounds, &jobs);
	assert_int_equal(jobs - jobs_before, 160);
	assert_true(rounds - rounds_before < 160);
}

/* More versions than may stay open. */
static void test_cache_is_bounded(void **state)
{
	struct version v[12];
	struct held *h[12];
	uint8_t back[8];

	(void)state;
	for (int i = 0; i < 12; i++) {
		v[i] = store((const uint8_t *)"cached", 6, 6);
		assert_int_equal(held_get(cache, &v[i], &h[i]), 0);
	}
	for (int i = 0; i < 12; i++) {
		assert_int_equal(read_all(h[i], back, 8, NULL), 0);
		held_put(h[i]);
	}
	held_drop(cache, &v[11]);
	assert_int_equal(held_get(cache, &v[11], &h[0]), 0);
	held_put(h[0]);
}

/* A file for want of memory and, fetched again, a record of a segment; or a kill between the steps of replacing one by the other. */
static void test_forget_both(void **state)
{
	struct version v[3];
	char path[COMMIT_PATH];
	struct staged *s;
	int rc[3];

	(void)state;
	announced = SEGMENT_SMALL + 1;
	v[0] = store((const uint8_t *)"twins", 5, 5);
	v[1] = store((const uint8_t *)"file", 4, 4);
	announced = 0;
	v[2] = store((const uint8_t *)"packed", 6, 6);
	assert_int_equal(stage(&v[0], (const uint8_t *)"twins", 5, 5, &s), 0);
	staged_commit_begin(s);
	assert_int_equal(staged_commit_wait(s), 0);
	staged_free(s);
	assert_int_equal(segments_look(chunks_segments(chunks), &v[0]), 0);
	assert_int_equal(faccessat(chunks_root(chunks), chunks_path(&v[0], path), F_OK, 0), 0);
	chunks_forget_many(chunks, v, 3, rc);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rc[i], 0);
		assert_false(chunks_has(chunks, &v[i]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_damage_is_found),
		cmocka_unit_test(test_checked_is_not_for_ever),
		cmocka_unit_test(test_repair),
		cmocka_unit_test(test_chunk_by_chunk),
		cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_forget_both),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_group_commit),
		cmocka_unit_test(test_cache_is_bounded),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
