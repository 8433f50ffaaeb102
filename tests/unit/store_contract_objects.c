/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_contract_objects.c -- objects: what replaces what, versions and delete markers, ETags,
 * meta.
 */
#include "tests/unit/store_contract.h"

#include <errno.h>

void plain_replaces(void **state)
{
	char v1[33], v2[33];
	struct names_deleted gone;
	struct name_entry got;

	(void)state;
	get_is("cat", NULL, -ENOENT, NULL);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v1), 0);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v2), 0);
	assert_int_equal(engine->get(names, bucket, "cat", NULL, &got), 0);
	assert_string_equal(got.version, v2);
	assert_true(got.null_version && got.current && !got.marker);
	get_is("cat", "null", 0, v2);
	get_is("cat", v2, -ENOENT, NULL); /* the null version's name is null */
	get_is("dog", "null", -ENOENT, NULL);
	assert_int_equal(engine->find(names, bucket, v2, &got), 0);
	assert_int_equal(engine->find(names, bucket, v1, &got), -ENOENT);
	usage_is(1, 5, 0, 0, 0);
	wait_until(5, !data_anywhere(v1));
	assert_true(data_anywhere(v2));
	assert_int_equal(delete_mode("cat", NULL, NAMES_PLAIN, &gone), 0);
	assert_true(!gone.marker && gone.null_version);
	assert_int_equal(delete_mode("cat", NULL, NAMES_PLAIN, &gone), -ENOENT);
	get_is("cat", NULL, -ENOENT, NULL);
	usage_is(0, 0, 0, 0, 0);
	wait_until(5, !data_anywhere(v2));
}

void etag_and_meta(void **state)
{
	struct names_how how = { .if_none_match = "*" };
	struct name_entry got;
	char v[33];
	bool replaced;
	struct name_entry *mine = entry_of("cat", v);
	uint64_t seq;

	(void)state;
	strcpy(mine->etag, "9a0364b9e99bb480dd25e1f0284c8555");
	strcpy(mine->meta, "{\"type\":\"image/png\",\"user\":{\"a\":\"\xc3\xa4\\n\"}}");
	mine->meta_len = (unsigned int)strlen(mine->meta);
	assert_int_equal(engine->put(names, bucket, mine, &how, &replaced), 0);
	assert_int_equal(engine->put(names, bucket, mine, &how, &replaced), 0); /* the same again */
	assert_int_equal(engine->get(names, bucket, "cat", NULL, &got), 0);
	assert_string_equal(got.etag, mine->etag);
	assert_string_equal(got.meta, mine->meta);
	assert_int_equal(got.meta_len, mine->meta_len);
	seq = got.seq;
	assert_int_equal(engine->put(names, bucket, entry_of("cat", v), &how, &replaced),
			 -ECANCELED);
	how = (struct names_how){ .if_match = "\"0000\"" };
	assert_int_equal(engine->put(names, bucket, entry_of("cat", v), &how, &replaced),
			 -ECANCELED);
	assert_int_equal(engine->set_meta(names, bucket, "cat", NULL, seq + 1, "{}", NULL),
			 -ECANCELED);
	assert_int_equal(engine->set_meta(names, bucket, "cat", NULL, seq, "{\"b\":2}", &got), 0);
	assert_string_equal(got.meta, "{\"b\":2}");
	assert_int_equal(engine->set_meta(names, bucket, "dog", NULL, 0, "{}", NULL), -ENOENT);
	how = (struct names_how){ .if_match = "\"1\", \"9a0364b9e99bb480dd25e1f0284c8555\"" };
	assert_int_equal(engine->put(names, bucket, entry_of("cat", v), &how, &replaced), 0);
	assert_true(replaced);
	mine = entry_of("cat", v);
	strcpy(mine->etag, "a\"b");
	assert_int_equal(engine->put(names, bucket, mine, &how, &replaced), -EINVAL);
}

void versions_are_kept(void **state)
{
	struct names_select all = { .limit = 0 };
	struct names_deleted gone;
	struct name_entry got;
	char v0[33], v1[33], v2[33], v3[33];

	(void)state;
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v0), 0);
	assert_int_equal(put_mode("cat", NAMES_VERSIONED, v1), 0);
	assert_int_equal(put_mode("cat", NAMES_VERSIONED, v2), 0);
	assert_int_equal(put_mode("cow", NAMES_VERSIONED, v3), 0);
	versions_are(&all, "cat* cat cat cow* ", false, NULL);
	listed(&all, "cat* cow* ", false, NULL);
	get_is("cat", NULL, 0, v2);
	get_is("cat", v1, 0, v1);
	get_is("cat", "null", 0, v0);
	get_is("cow", v1, -ENOENT, NULL);
	assert_int_equal(delete_mode("cat", NULL, NAMES_VERSIONED, &gone), 0);
	assert_true(gone.marker && !gone.null_version);
	assert_int_equal(engine->get(names, bucket, "cat", NULL, &got), -ENOENT);
	assert_true(got.marker);
	assert_string_equal(got.version, gone.version);
	assert_int_equal(engine->get(names, bucket, "cat", gone.version, &got), 0);
	assert_true(got.marker && got.current);
	assert_int_equal(engine->get(names, bucket, "none", NULL, &got), -ENOENT);
	assert_false(got.marker);
	listed(&all, "cow* ", false, NULL);
	versions_are(&all, "cat!* cat cat cat cow* ", false, NULL);
	usage_is(4, 20, 1, 0, 0);
	/* Without its marker the newest is there again; without that the next. */
	assert_int_equal(delete_mode("cat", gone.version, NAMES_VERSIONED, &gone), 0);
	assert_true(gone.marker);
	get_is("cat", NULL, 0, v2);
	assert_int_equal(delete_mode("cat", v2, NAMES_VERSIONED, &gone), 0);
	assert_true(!gone.marker && !strcmp(gone.version, v2));
	get_is("cat", NULL, 0, v1);
	assert_int_equal(delete_mode("cat", v2, NAMES_VERSIONED, &gone), -ENOENT);
	wait_until(5, !data_anywhere(v2));
	assert_true(data_anywhere(v1) && data_anywhere(v0));
	assert_int_equal(delete_mode("cat", "null", NAMES_VERSIONED, &gone), 0);
	versions_are(&all, "cat* cow* ", false, NULL);
	/* Only while it is as it was when it was looked at. */
	assert_int_equal(engine->get(names, bucket, "cow", NULL, &got), 0);
	assert_int_equal(
		engine->del(names, bucket, "cow", NULL,
			    &(struct names_how){ .mode = NAMES_VERSIONED, .if_seq = got.seq - 1 },
			    &gone),
		-ECANCELED);
	assert_int_equal(engine->del(names, bucket, "cow", v3,
				     &(struct names_how){ .if_seq = got.seq + 1 }, &gone),
			 -ECANCELED);
	get_is("cow", NULL, 0, v3);
	/* A marker where nothing was. */
	assert_int_equal(delete_mode("dog", NULL, NAMES_VERSIONED, &gone), 0);
	versions_are(&all, "cat* cow* dog!* ", false, NULL);
	usage_is(2, 10, 1, 0, 0);
}

void suspended_replaces_null(void **state)
{
	struct names_select all = { .limit = 0 };
	struct names_deleted gone;
	char v1[33], v2[33], v3[33], v4[33];

	(void)state;
	assert_int_equal(put_mode("cat", NAMES_VERSIONED, v1), 0);
	assert_int_equal(put_mode("cat", NAMES_SUSPENDED, v2), 0);
	assert_int_equal(put_mode("cat", NAMES_VERSIONED, v3), 0);
	/* The null version is not the newest, and is replaced all the same. */
	assert_int_equal(put_mode("cat", NAMES_SUSPENDED, v4), 0);
	versions_are(&all, "cat* cat cat ", false, NULL);
	get_is("cat", "null", 0, v4);
	wait_until(5, !data_anywhere(v2));
	assert_int_equal(delete_mode("cat", NULL, NAMES_SUSPENDED, &gone), 0);
	assert_true(gone.marker && gone.null_version);
	versions_are(&all, "cat!* cat cat ", false, NULL);
	wait_until(5, !data_anywhere(v4));
	assert_int_equal(delete_mode("cat", "null", NAMES_SUSPENDED, &gone), 0);
	assert_true(gone.marker && gone.null_version);
	get_is("cat", NULL, 0, v3);
	/* As if it had never been versioned: what was kept does not come to light. */
	assert_int_equal(delete_mode("cat", NULL, NAMES_PLAIN, &gone), 0);
	get_is("cat", NULL, -ENOENT, NULL);
	get_is("cat", v3, 0, v3);
	/* Another version's meta is changed where it is. */
	assert_int_equal(engine->set_meta(names, bucket, "cat", v1, 0, "{\"old\":1}", NULL), 0);
	versions_are(&all, "cat!* cat cat ", false, NULL);
}

static _Atomic int writes_done;

static void write_done(struct write *w)
{
	assert_int_equal(w->rc, 0);
	write_free(w);
	writes_done++;
}

/* Another node has the data now, and the tags change, both in the same moment: both are kept. */
void fetched_and_meta(void **state)
{
	const char *ideal[] = { "n9" };
	struct names_how how = { .nideal = 1, .ideal = ideal };
	struct bucket *b = bucket_find(names, bucket);
	struct write *fetched = write_new(WRITE_FETCHED), *meta = write_new(WRITE_META);
	struct names_op *done = calloc(1, sizeof(*done));
	struct name_entry got;
	bool replaced;
	char v[33];

	(void)state;
	assert_int_equal(engine->put(names, bucket, entry_of("cat", v), &how, &replaced), 0);
	assert_int_equal(engine->get(names, bucket, "cat", NULL, &got), 0);
	done->kind = NAMES_OP_FETCHED;
	strcpy(done->node, "n9");
	done->holds = true;
	done->nseqs = 1;
	done->seqs[0] = got.seq;
	strcpy(done->entry.version, v);
	fetched->done = done;
	strcpy(meta->entry.key, "cat");
	version_random(meta->entry.version);
	meta->entry.meta_len = (unsigned int)sprintf(meta->entry.meta, "{\"tag\":1}");
	fetched->complete = meta->complete = write_done;
	pthread_mutex_lock(&names->lock);
	b->not_before = INT64_MAX; /* both wait in the queue */
	pthread_mutex_unlock(&names->lock);
	bucket_enqueue(names, b, fetched);
	bucket_enqueue(names, b, meta);
	pthread_mutex_lock(&names->lock);
	b->not_before = 0;
	bucket_schedule_locked(names, b);
	pthread_mutex_unlock(&names->lock);
	wait_until(5, writes_done == 2);
	free(done);
	assert_int_equal(engine->get(names, bucket, "cat", NULL, &got), 0);
	assert_string_equal(got.meta, "{\"tag\":1}");
	assert_int_equal(got.nholders, 2);
	assert_string_equal(got.holders[1], "n9");
}
