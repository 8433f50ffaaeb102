/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_contract_buckets.c -- buckets: closed and opened, also while somebody writes.
 */
#include "tests/unit/store_contract.h"

#include <errno.h>
#include <pthread.h>

#include "http/store/buckets.h"

void closed_buckets(void **state)
{
	struct name_entry got = { .size = 0 };
	struct names_deleted gone;
	struct names_usage u;
	char v[33], id[33];

	(void)state;
	assert_int_equal(engine->close(names, bucket), 0); /* never written */
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), -ENOENT);
	assert_int_equal(engine->open(names, bucket), 0);
	assert_int_equal(engine->open(names, bucket), 0);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), 0);
	assert_int_equal(engine->close(names, bucket), -ENOTEMPTY);
	assert_int_equal(delete_mode("cat", NULL, NAMES_VERSIONED, &gone), 0);
	assert_int_equal(delete_mode("cat", "null", NAMES_VERSIONED, NULL), 0);
	assert_int_equal(engine->close(names, bucket), -ENOTEMPTY); /* the marker */
	assert_int_equal(delete_mode("cat", gone.version, NAMES_VERSIONED, NULL), 0);
	upload_new("cat", id);
	assert_int_equal(engine->close(names, bucket), -ENOTEMPTY);
	assert_int_equal(engine->abort(names, bucket, "cat", id), 0);
	assert_int_equal(engine->close(names, bucket), 0);
	assert_int_equal(engine->close(names, bucket), 0);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), -ENOENT);
	strcpy(got.key, "cat");
	assert_int_equal(engine->create(names, bucket, &got), -ENOENT);
	assert_int_equal(engine->usage(names, bucket, &u), 0);
	assert_true(u.closed);
	assert_int_equal(engine->open(names, bucket), 0);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), 0);
	usage_is(1, 5, 0, 0, 0);
}

/* Who looked at a closed bucket does not open it when it was closed again since. */
void opened_as_seen(void **state)
{
	struct names_usage before, u;
	char v[33];

	(void)state;
	assert_int_equal(engine->usage(names, bucket, &u), 0);
	assert_true(!u.closed);
	assert_int_equal(engine->close(names, bucket), 0);
	assert_int_equal(engine->usage(names, bucket, &before), 0);
	assert_true(before.closed && before.seq);
	assert_int_equal(engine->close(names, bucket), 0);
	assert_int_equal(engine->open_if(names, bucket, before.seq), -ECANCELED);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), -ENOENT);
	assert_int_equal(engine->usage(names, bucket, &u), 0);
	assert_true(u.closed && u.seq > before.seq);
	assert_int_equal(engine->open_if(names, bucket, u.seq), 0);
	assert_int_equal(engine->open_if(names, bucket, u.seq), 0); /* it is open */
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), 0);
}

static struct buckets *buckets;

static void *remover(void *arg)
{
	bool registry;
	int rc = buckets_remove(buckets, names, bucket, &registry);

	(void)arg;
	assert_true(!rc || rc == -ENOENT || rc == -ENOTEMPTY || rc == -EAGAIN);
	return NULL;
}

static void *maker(void *arg)
{
	int opened;

	(void)arg;
	for (int i = 0; i < 3; i++)
		buckets_create(buckets, names, bucket, "otto", ACL_PRIVATE, &opened);
	return NULL;
}

static bool has_record(void)
{
	char key[128];
	struct reg_kv kv;
	int rc;

	snprintf(key, sizeof(key), REG_BUCKETS "%s", bucket);
	rc = registry_get(nodes[0].registry, key, &kv);
	if (!rc)
		reg_kv_free(&kv);
	assert_true(!rc || rc == -ENOENT);
	return !rc;
}

/* A write is acknowledged while the bucket is removed and made: then it has a record. */
void removed_while_written(void **state)
{
	int opened, kept = 0;
	char v[33];

	(void)state;
	assert_int_equal(buckets_new(&buckets, nodes[0].registry), 0);
	for (int round = 0; round < 40; round++) {
		pthread_t threads[3];
		int rc = -ENOENT;

		buckets_create(buckets, names, bucket, "otto", ACL_PRIVATE, &opened);
		assert_int_equal(opened, 0);
		pthread_create(&threads[0], NULL, remover, NULL);
		pthread_create(&threads[1], NULL, maker, NULL);
		pthread_create(&threads[2], NULL, round % 2 ? maker : remover, NULL);
		rest_ms(round % 8); /* else it is there before it is closed */
		for (int i = 0; i < 100 && rc == -ENOENT; i++)
			rc = put_mode("cat", NAMES_PLAIN, v);
		for (int i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
		if (!rc) {
			assert_true(has_record());
			assert_int_equal(delete_mode("cat", NULL, NAMES_PLAIN, NULL), 0);
		}
		kept += !rc;
		if (has_record())
			assert_int_equal(buckets_open(buckets, names, bucket), 0);
	}
	assert_true(kept > 0);
	buckets_free(buckets);
}
