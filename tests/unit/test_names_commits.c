/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_names_commits.c -- how the local copy of the names is written: many share a transaction, a
 * full disk, and how the file grows.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "lib/hash.h"
#include "tests/unit/names_top.h"
#include "tests/unit/unit.h"

static void version_new(char out[33])
{
	uint8_t bytes[16];

	random_bytes(bytes, sizeof(bytes));
	hex_encode(bytes, 16, out);
}

static int refuse_fn(struct names_txn *t, void *arg)
{
	struct names_meta meta = { .seq = 7 };

	(void)arg;
	assert_int_equal(names_meta_put(t, "refused", &meta), 0);
	return -ECANCELED;
}

static void *writer(void *arg)
{
	struct names_db *db = arg;

	for (int i = 0; i < 25; i++) {
		struct names_op op = { .kind = NAMES_OP_PUT, .epoch = 1 };

		version_new(op.entry.version);
		strcpy(op.entry.key, op.entry.version);
		op.entry.epoch = 1;
		assert_int_equal(names_db_write(db, top_apply, &op), 0);
		if (i % 5 == 0)
			assert_int_equal(names_db_write(db, refuse_fn, NULL), -ECANCELED);
	}
	return NULL;
}

static int refused_check(struct names_txn *t, void *arg)
{
	struct names_meta meta;

	assert_int_equal(names_meta_get(t, "refused", &meta), -ENOENT);
	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	assert_int_equal(meta.seq, 200);
	assert_int_equal(meta.objects, 200);
	(void)arg;
	return 0;
}

static void writers_share_and_do_not_spoil(void **state)
{
	struct names_db *db = open_at("group");
	pthread_t threads[8];

	(void)state;
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, db), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(names_db_read(db, refused_check, NULL), 0);
	names_db_close(db);
}

/* No room: a clear error, what was there is there, and with room again it goes on. */
static void full_disk(void **state)
{
	struct rlimit all, little = { 512 * 1024, RLIM_INFINITY };
	struct names_db *db = open_at("full");
	struct names_op op = { .kind = NAMES_OP_PUT, .epoch = 1, .entry = { .epoch = 1 } };
	struct names_meta meta;
	int rc = 0, n = 0;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &all);
	little.rlim_max = all.rlim_max;
	setrlimit(RLIMIT_FSIZE, &little);
	for (; !rc && n < 5000; n++) {
		snprintf(op.entry.key, sizeof(op.entry.key), "%0400d", n);
		op.entry.order = 0;
		version_new(op.entry.version);
		rc = names_db_write(db, top_apply, &op);
	}
	/* A write that the limit cuts short is EIO for LMDB; on a file system without room it is
	 * told apart. */
	assert_true(rc == -EIO || rc == -ENOSPC);
	assert_int_equal(names_db_write(db, top_apply, &op), rc);
	setrlimit(RLIMIT_FSIZE, &all);
	assert_int_equal(names_db_read(db, top_position, &meta), 0);
	assert_int_equal(meta.seq, n - 1);
	assert_int_equal(names_db_write(db, top_apply, &op), 0);
	names_db_close(db);
	db = open_at("full");
	assert_int_equal(names_db_read(db, top_position, &meta), 0);
	assert_int_equal(meta.objects, n);
	names_db_close(db);
}

/* The file grows in steps of which a commit needs none; what is there stays, whoever opens it. */
static void grows_ahead(void **state)
{
	struct names_op op = { .kind = NAMES_OP_PUT, .epoch = 1, .entry = { .epoch = 1 } };
	struct names_db *db = open_at("ahead");
	struct names_meta meta;
	struct stat st;
	unsigned int steps = 0;
	off_t size = 0;
	char path[80];

	(void)state;
	snprintf(path, sizeof(path), "%s/ahead/data.mdb", top);
	for (int n = 0; n < 600; n++) {
		snprintf(op.entry.key, sizeof(op.entry.key), "%0400d", n);
		op.entry.order = 0;
		version_new(op.entry.version);
		assert_int_equal(names_db_write(db, top_apply, &op), 0);
		assert_int_equal(stat(path, &st), 0);
		steps += st.st_size != size;
		size = st.st_size;
		if (n % 200 == 199) {
			names_db_close(db);
			db = open_at("ahead");
			assert_int_equal(names_db_read(db, top_position, &meta), 0);
			assert_int_equal(meta.objects, n + 1);
		}
	}
	names_db_close(db);
	assert_in_range(steps, 1, 1 + size / (1 << 20));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writers_share_and_do_not_spoil),
		cmocka_unit_test(full_disk),
		cmocka_unit_test(grows_ahead),
	};

	return cmocka_run_group_tests(tests, top_make, top_remove);
}
