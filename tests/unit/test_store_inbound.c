/* SPDX-License-Identifier: Apache-2.0 */
/* Versions under way from other endpoints: lent to one at a time, dropped, expired; and the job threads. */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "http/store/inbound.h"
#include "http/store/jobs.h"

static char dir[64];
static struct chunks *chunks;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static int setup(void **state)
{
	const struct chunks_options options = { .dir = dir };

	(void)state;
	strcpy(dir, "/tmp/weir-inbound-XXXXXX");
	return !mkdtemp(dir) || chunks_open(&chunks, &options);
}

static int teardown(void **state)
{
	(void)state;
	chunks_close(chunks);
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_lent_to_one(void **state)
{
	struct version a = { { 1 } }, b = { { 2 } };
	struct staged *s, *again;
	struct inbound *in;
	uint8_t sha[32];

	(void)state;
	assert_int_equal(inbound_new(&in, chunks), 0);
	assert_int_equal(inbound_take(in, &a, "ep-1", 1, &s), -ESTALE);
	assert_int_equal(inbound_take(in, &a, "ep-1", 0, &s), 0);
	assert_int_equal(inbound_take(in, &a, "ep-1", 0, &again), -EBUSY);
	assert_int_equal(inbound_take(in, &b, "ep-1", 0, &again), 0);
	assert_false(inbound_give(in, &b, false));
	assert_int_equal(staged_chunk_begin(s, 0), 0);
	assert_int_equal(staged_chunk_add(s, "abc", 3), 0);
	assert_int_equal(staged_chunk_end(s, sha), 0);
	inbound_give(in, &a, true);
	/* The same one comes back, with what it had. */
	assert_int_equal(inbound_take(in, &a, "ep-1", 0, &again), 0);
	assert_ptr_equal(again, s);
	assert_int_equal(staged_size(s), 3);
	/* Forgotten while it is lent: gone when it comes back. */
	inbound_forget(in, &a);
	assert_int_equal(staged_size(s), 3);
	assert_true(inbound_give(in, &a, true));
	assert_int_equal(inbound_take(in, &a, "ep-1", 1, &s), -ESTALE);
	inbound_free(in);
}

static void test_expire(void **state)
{
	struct version a = { { 1 } }, b = { { 1, 2 } };
	struct inbound *in;
	struct staged *s;

	(void)state;
	assert_int_equal(inbound_new(&in, chunks), 0);
	assert_int_equal(inbound_take(in, &a, "ep-1", 0, &s), 0);
	inbound_give(in, &a, true);
	assert_int_equal(inbound_take(in, &b, "ep-1", 0, &s), 0);
	inbound_expire(in, 100);
	assert_int_equal(inbound_take(in, &a, "ep-1", 1, &s), 0);
	inbound_give(in, &a, true);
	inbound_expire(in, 0);
	/* What was used in this very second stays, and what is lent. */
	assert_int_equal(inbound_take(in, &a, "ep-1", 1, &s), 0);
	inbound_give(in, &a, true);
	inbound_give(in, &b, true);
	assert_int_equal(inbound_take(in, &b, "ep-1", 1, &s), 0);
	inbound_give(in, &b, true);
	/* The sender started anew. */
	inbound_forget_from(in, "ep-2");
	assert_int_equal(inbound_take(in, &b, "ep-1", 1, &s), 0);
	inbound_give(in, &b, true);
	inbound_forget_from(in, "ep-1");
	assert_int_equal(inbound_take(in, &b, "ep-1", 1, &s), -ESTALE);
	assert_int_equal(inbound_take(in, &a, "ep-1", 1, &s), -ESTALE);
	inbound_free(in);
}

static void bump(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

static void test_jobs(void **state)
{
	atomic_uint n = 0;
	struct jobs *jobs;

	(void)state;
	assert_int_equal(jobs_new(&jobs, "test", 3), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(jobs_add(jobs, bump, &n), 0);
	jobs_free(jobs);        /* runs what waits */
	assert_int_equal(n, 1000);
	jobs_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lent_to_one),
		cmocka_unit_test(test_expire),
		cmocka_unit_test(test_jobs),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
