// SPDX-License-Identifier: Apache-2.0
/*
 * uniques: every duplicate is told, exactly, with the memory that was allowed, against a plain reference; key files hold
 * each value once and are asked and merged; whole numbers in order cost nothing.
 */
#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/uniques.h"
#include "tests/unit/unit.h"

static const uint8_t seed[16] = { 1, 2, 3, 4, 5, 6, 7, 8 };

static int file(void)
{
	char path[] = "/tmp/weir-uniques-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The reference: by value 1 … max, the row that had it first. */
struct reference {
	uint32_t *first;   /* of a value, 0: none */
	uint8_t *told;	   /* of a row: it was told as a duplicate */
	uint64_t last_row; /* told at the end: in order of row */
	uint64_t (*value)(uint64_t row);
	uint64_t at_once, at_end;
};

static int tell(void *arg, uint64_t row, uint64_t first)
{
	struct reference *ref = arg;

	if (row < ref->last_row || first >= row || ref->value(first) != ref->value(row) || ref->told[row])
		return -EINVAL;
	ref->last_row = row;
	ref->told[row] = 1;
	ref->at_end++;
	return 0;
}

/* n rows of value(row) ≤ max; checks that exactly the rows that are not first are told. */
static void against_reference(uint64_t (*value)(uint64_t), const char *form, uint64_t n, uint64_t max, size_t memory, uint64_t *runs)
{
	struct reference ref = { .first = calloc(max + 1, 4), .told = calloc(n + 1, 1), .value = value };
	struct uniques *u = NULL;
	uint64_t first, wrong = 0;
	int fd = file(), err;
	double begin = seconds(), filled;
	struct stat st;

	assert_int_equal(uniques_new(&u, memory, fd, seed), 0);
	for (uint64_t row = 1; row <= n; row++) {
		char text[40];
		int len = snprintf(text, sizeof(text), form, (unsigned long long)value(row));

		if (row % 3) /* of these bytes, of others, of none */
			uniques_ahead(u, text, (size_t)len - row % 3 + 1, row);
		err = uniques_add(u, text, (size_t)len, row, &first);
		if (err < 0)
			fail_msg("add: %s", strerror(-err));
		if (err == 1) {
			wrong += first >= row || value(first) != value(row);
			ref.told[row] = 1;
			ref.at_once++;
		}
		if (!ref.first[value(row)])
			ref.first[value(row)] = (uint32_t)row;
	}
	filled = seconds() - begin;
	err = uniques_end(u, tell, &ref);
	assert_int_equal(err, 0);
	for (uint64_t row = 1; row <= n; row++)
		wrong += ref.told[row] != (ref.first[value(row)] != row);
	assert_int_equal(wrong, 0);
	fstat(fd, &st);
	*runs = (uint64_t)st.st_size / 24;
	print_message("# %llu values, %zu KiB: %llu duplicates at once, %llu at the end; %.0f ns an add, %.2f s at the end, %llu MiB spilled\n",
		      (unsigned long long)n, memory / 1024, (unsigned long long)ref.at_once, (unsigned long long)ref.at_end, filled * 1e9 / (double)n,
		      seconds() - begin - filled, (unsigned long long)st.st_size >> 20);
	uniques_free(u);
	close(fd);
	free(ref.first);
	free(ref.told);
}

static uint64_t mixed(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint64_t in_order(uint64_t row)
{
	return row;
}

/* A few stand again far behind, some at once. */
static uint64_t few_twice(uint64_t row)
{
	return row % 100003 == 0 ? row / 2 : row % 50021 == 0 ? row - 1 : row;
}

static uint64_t scattered(uint64_t row)
{
	return mixed(row) % 300000 + 1;
}

static uint64_t in_stretches(uint64_t row)
{
	return row < 1000 ? row : row < 2000 ? row + 500 : row < 2500 ? row - 1000 : 3000 + mixed(row) % 3000;
}

/* The issue's: 10 million values with 8 MiB. (Sanitizers and slow machines: a tenth.) */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_UNDEFINED__)
#define MANY 1000000ull
#else
#define MANY 10000000ull
#endif

static void millions_in_eight_mebibytes(void **state)
{
	uint64_t spilled;

	(void)state;
	against_reference(few_twice, "id-%llu", MANY, MANY, 8 << 20, &spilled);
	assert_true(spilled > MANY / 2);
}

static void many_duplicates_across_runs(void **state)
{
	uint64_t spilled;

	(void)state;
	against_reference(scattered, "%llu", 1000000, 300001, 256 << 10, &spilled); /* more are found than memory holds */
	assert_true(spilled > 1000000);
	against_reference(scattered, "x%llu", 300000, 300001, 64 << 20, &spilled);
	assert_int_equal(spilled, 0);
}

static void numbers_in_order_take_no_memory(void **state)
{
	uint64_t spilled;

	(void)state;
	against_reference(in_order, "%llu", 1000000, 1000000, 64 << 10, &spilled);
	assert_int_equal(spilled, 0);
	against_reference(in_stretches, "%llu", 20000, 6000, 64 << 10, &spilled);
	against_reference(few_twice, "%llu", 300000, 300000, 64 << 10, &spilled);
}

/* 007 is not 7: what is compared is the text. */
static void texts_are_compared(void **state)
{
	static const char *const texts[] = { "1", "2", "02", "+2", "", "2.0", "x" };
	struct uniques *u = NULL;
	uint64_t first = 0;

	(void)state;
	assert_int_equal(uniques_new(&u, 1, -1, seed), 0);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(uniques_add(u, texts[i], strlen(texts[i]), i + 1, &first), 0);
	for (size_t i = 0; i < 7; i++) {
		assert_int_equal(uniques_add(u, texts[i], strlen(texts[i]), i + 8, &first), 1);
		assert_int_equal(first, i + 1);
	}
	assert_int_equal(uniques_end(u, tell, NULL), 0);
	assert_int_equal(uniques_add(u, "y", 1, 99, &first), -EINVAL);
	uniques_free(u);
}

static void without_a_file_it_is_full_one_day(void **state)
{
	struct uniques *u = NULL;
	uint64_t first, n = 0;
	char text[24];
	int err = 0;

	(void)state;
	assert_int_equal(uniques_new(&u, 64 << 10, -1, seed), 0);
	while (!err && ++n < 100000)
		err = uniques_add(u, text, (size_t)snprintf(text, sizeof(text), "v%llu", (unsigned long long)n), n, &first);
	assert_int_equal(err, -ENOSPC);
	assert_true(n > 1000);
	uniques_free(u);
}

/* ---- key files ---- */

static bool has(const struct keyset *k, const char *prefix, uint64_t i)
{
	char text[40];

	return keyset_has(k, text, (size_t)snprintf(text, sizeof(text), "%s%llu", prefix, (unsigned long long)i));
}

static void assert_keys(int fd, const char *prefix, uint64_t n, uint64_t count)
{
	struct keyset *k = NULL;
	uint64_t missing = 0, wrong = 0;
	double begin;

	assert_int_equal(keyset_open(&k, fd), 0);
	assert_int_equal(keyset_count(k), count);
	begin = seconds();
	for (uint64_t i = 1; i <= n; i++)
		missing += !has(k, prefix, i);
	for (uint64_t i = n + 1; i <= 2 * n; i++)
		wrong += has(k, prefix, i);
	assert_int_equal(missing, 0);
	assert_int_equal(wrong, 0);
	if (n > 10000)
		print_message("# %llu keys: %.0f ns a question\n", (unsigned long long)count, (seconds() - begin) * 1e9 / (double)(2 * n));
	keyset_close(k);
}

static int discard(void *arg, uint64_t row, uint64_t first)
{
	(void)arg, (void)row, (void)first;
	return 0;
}

static void key_files(void **state)
{
	static const struct { const char *prefix; uint64_t n; size_t memory; } cases[] = {
		{ "k", 0, 65536 }, { "k", 1, 65536 }, { "k", 700, 65536 }, { "k", 50000, 65536 }, { "", 50000, 65536 }, { "", 1, 65536 }, { "k", 200000, 64 << 20 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct uniques *u = NULL;
		int spill = file(), fd = file();
		uint64_t first;
		char text[40];

		assert_int_equal(uniques_new(&u, cases[i].memory, spill, seed), 0);
		for (uint64_t v = 1; v <= cases[i].n; v++)
			assert_int_equal(uniques_add(u, text, (size_t)snprintf(text, sizeof(text), "%s%llu", cases[i].prefix, (unsigned long long)v), v, &first), 0);
		for (uint64_t v = 1; v <= cases[i].n; v += 7) /* again: no second key */
			assert_true(uniques_add(u, text, (size_t)snprintf(text, sizeof(text), "%s%llu", cases[i].prefix, (unsigned long long)v), cases[i].n + v, &first) >= 0);
		assert_int_equal(uniques_write_keys(u, fd), -EINVAL); /* not ended */
		assert_int_equal(uniques_end(u, discard, NULL), 0);
		assert_int_equal(uniques_write_keys(u, fd), 0);
		assert_keys(fd, cases[i].prefix, cases[i].n, cases[i].n);
		uniques_free(u);
		close(spill);
		close(fd);
	}
}

static int keys_of(const char *prefix, uint64_t from, uint64_t to, const uint8_t *with)
{
	struct uniques *u = NULL;
	int spill = file(), fd = file();
	uint64_t first;
	char text[40];

	assert_int_equal(uniques_new(&u, 65536, spill, with), 0);
	for (uint64_t v = from; v <= to; v++)
		assert_int_equal(uniques_add(u, text, (size_t)snprintf(text, sizeof(text), "%s%llu", prefix, (unsigned long long)v), v, &first), 0);
	assert_int_equal(uniques_end(u, discard, NULL), 0);
	assert_int_equal(uniques_write_keys(u, fd), 0);
	uniques_free(u);
	close(spill);
	return fd;
}

static void key_files_merge(void **state)
{
	static const uint8_t other[16] = { 9 };
	int fds[4], out = file(), strange;
	struct keyset *k = NULL;

	(void)state;
	fds[0] = keys_of("k", 1, 1000, seed);
	fds[1] = keys_of("k", 1, 0, seed);
	fds[2] = keys_of("k", 500, 3000, seed);
	fds[3] = keys_of("k", 2999, 5000, seed);
	assert_int_equal(uniques_merge_keys(fds, 4, out), 0);
	assert_keys(out, "k", 5000, 5000);
	close(out);
	out = file();
	assert_int_equal(uniques_merge_keys(fds, 0, out), 0);
	assert_keys(out, "k", 0, 0);
	strange = keys_of("k", 1, 10, other);
	close(fds[1]);
	fds[1] = strange;
	assert_int_equal(uniques_merge_keys(fds, 4, out), -EBADMSG);
	assert_int_equal(ftruncate(fds[0], 1001), 0);
	assert_int_equal(keyset_open(&k, fds[0]), -EBADMSG);
	assert_int_equal(ftruncate(fds[0], 0), 0);
	assert_int_equal(keyset_open(&k, fds[0]), -EBADMSG);
	assert_int_equal(ftruncate(fds[0], 32), 0);
	assert_int_equal(keyset_open(&k, fds[0]), -EBADMSG);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	close(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(millions_in_eight_mebibytes), cmocka_unit_test(many_duplicates_across_runs),
		cmocka_unit_test(numbers_in_order_take_no_memory), cmocka_unit_test(texts_are_compared),
		cmocka_unit_test(without_a_file_it_is_full_one_day), cmocka_unit_test(key_files), cmocka_unit_test(key_files_merge),
	};

	return cmocka_run_group_tests_name("upload_uniques", tests, NULL, NULL);
}
