/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_names_wire.c -- the messages of ordered names from bytes: what is accepted must come out of
 * an encoder as it went in, and must be applied to (or refused by) a real local copy without harm.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/store/names_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct names_db *db;
static char folder[] = "/tmp/weir-fuzz-names.XXXXXX";

static void folder_remove(void)
{
	char path[64];

	names_db_close(db);
	snprintf(path, sizeof(path), "%s/data.mdb", folder);
	unlink(path);
	snprintf(path, sizeof(path), "%s/lock.mdb", folder);
	unlink(path);
	rmdir(folder);
}

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* In a read-write transaction that is always undone: quick, and every input meets the same copy. */
static int try_batch(struct names_txn *t, void *arg)
{
	struct names_batch *b = arg;
	struct names_meta meta = { .state = NAMES_STATE_COMPLETE,
				   .epoch = b->epoch,
				   .seq = b->prev_seq,
				   .seq_epoch = b->prev_epoch };
	struct name_entry e;
	int rc = names_meta_put(t, b->bucket, &meta);

	for (unsigned int i = 0; i < b->nops && !rc; i++) {
		rc = names_apply(t, &meta, &b->ops[i], b->targets, b->ntargets);
		must(rc || meta.seq == b->ops[i].seq);
		if (!rc && b->ops[i].kind == NAMES_OP_PUT && !b->ops[i].entry.deleted)
			must(!names_row_get(t, meta.id, b->ops[i].space, b->ops[i].seq, &e) &&
			     !strcmp(e.version, b->ops[i].entry.version) &&
			     !strcmp(e.key, b->ops[i].entry.key));
	}
	must(rc != -EIO);
	return -ECANCELED;
}

static int try_page(struct names_txn *t, void *arg)
{
	struct names_meta meta = { .state = NAMES_STATE_SYNCING, .epoch = 1 };
	char cursor[NAMES_CURSOR_MAX] = "";
	bool last = false;
	json_t *page;

	must(!names_meta_put(t, "bucket", &meta));
	if (!names_import(t, &meta, arg))
		while (!last && !names_export(t, &meta, 0, cursor, &page, &last))
			json_decref(page);
	return -ECANCELED;
}

static void one_batch(const json_t *value)
{
	struct names_batch batch, again;
	json_t *back;

	if (names_batch_decode(&batch, value))
		return;
	back = names_batch_encode(&batch);
	must(!names_batch_decode(&again, back));
	must(again.nops == batch.nops &&
	     !memcmp(again.ops, batch.ops, batch.nops * sizeof(*batch.ops)));
	json_decref(back);
	names_batch_free(&again);
	names_db_write(db, try_batch, &batch);
	names_batch_free(&batch);
}

static void one_write(const json_t *value)
{
	char bucket[NAMES_BUCKET_MAX + 1], again_bucket[NAMES_BUCKET_MAX + 1];
	struct write *w, *again;
	json_t *back;

	if (!names_write_decode(value, bucket, &w)) {
		must(names_bucket_valid(bucket) && names_key_valid(w->entry.key));
		back = names_write_encode(bucket, w, 1);
		must(!names_write_decode(back, again_bucket, &again));
		must(again->kind == w->kind && again->nlist == w->nlist &&
		     !memcmp(&again->entry, &w->entry, sizeof(w->entry)));
		write_free(again);
		json_decref(back);
		names_conditions(w->if_match, w->if_none_match, &w->entry);
	}
	write_free(w);
}

static void one_query(const json_t *value)
{
	struct query *q = calloc(1, sizeof(*q)), *again = calloc(1, sizeof(*again));
	json_t *back;

	must(q && again);
	if (!query_decode(q, value)) {
		back = query_encode(q);
		must(!query_decode(again, back) && !memcmp(again, q, sizeof(*q)));
		json_decref(back);
	}
	free(q);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct names_record record;
	struct name_entry entry;
	json_t *value;

	if (!db) {
		must(mkdtemp(folder) && !names_db_open(&db, folder));
		atexit(folder_remove);
	}
	names_record_decode(&record, (const char *)data, size);
	value = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(value)) {
		json_decref(value);
		return 0;
	}
	names_entry_decode(&entry, value);
	one_batch(value);
	one_write(value);
	one_query(value);
	if (json_object_get(value, "purged"))
		names_db_write(db, try_page, value);
	json_decref(value);
	return 0;
}
