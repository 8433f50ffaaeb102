/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_names_parts.c -- parts in the local copy of the names: very many of them, and an object that
 * leaves most of its parts out.
 */
#include <errno.h>

#include "http/store/names_int.h"
#include "tests/unit/names_top.h"
#include "tests/unit/unit.h"

#define GROUP  "aaaaaaaaaaaaaaaaaaaaaaaa00000000"
#define PARTS  450 /* more than one batch can drop */
#define KEPT   250


/* ---- very many ---- */

static int parts_fn(struct names_txn *t, void *arg)
{
	static struct names_op op;
	struct names_meta meta = { .state = NAMES_STATE_COMPLETE };

	(void)arg;
	assert_int_equal(names_meta_put(t, BUCKET, &meta), 0);
	for (unsigned int i = 1; i <= NAMES_PARTS_MAX; i++) {
		memset(&op, 0, sizeof(op));
		op.kind = NAMES_OP_PUT;
		op.space = NAMES_PARTS;
		op.epoch = op.entry.epoch = 1;
		op.seq = op.entry.seq = op.entry.order = i;
		op.entry.part = i;
		op.entry.size = 1;
		op.entry.null_version = true;
		names_part_key(op.entry.key, GROUP, i);
		assert_int_equal(names_part_version(GROUP, i, 1, op.entry.version), 0);
		memset(op.entry.etag, 'e', NAMES_ETAG_MAX);
		assert_int_equal(names_apply(t, &meta, &op, targets, 3), 0);
	}
	assert_int_equal(meta.parts, NAMES_PARTS_MAX);
	return names_meta_put(t, BUCKET, &meta);
}

static int parts_told_fn(void *arg, const char *bucket, const struct name_entry *e)
{
	(void)bucket;
	assert_int_equal(e->part, ++*(unsigned int *)arg);
	return 0;
}

static int parts_check_fn(struct names_txn *t, void *arg)
{
	unsigned int told = 0;
	struct names_meta meta;
	bool more;

	(void)arg;
	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	assert_int_equal(names_scan_parts(t, meta.id, BUCKET, GROUP, 0, UINT32_MAX, false,
					  parts_told_fn, &told, &more),
			 0);
	assert_true(told == NAMES_PARTS_MAX && !more);
	told = 9500;
	assert_int_equal(names_scan_parts(t, meta.id, BUCKET, GROUP, 9500, 400, false,
					  parts_told_fn, &told, &more),
			 0);
	assert_true(told == 9900 && more);
	return 0;
}

/* Completing sees all of them, however long they are. */
static void ten_thousand_parts(void **state)
{
	struct names_db *db = open_at("ten-thousand");

	(void)state;
	assert_int_equal(names_db_write(db, parts_fn, NULL), 0);
	assert_int_equal(names_db_read(db, parts_check_fn, NULL), 0);
	names_db_close(db);
}

/* ---- leaving parts out ---- */

/* One operation of a test's own. */
static void apply(struct names_txn *t, struct names_meta *meta, struct names_op *op)
{
	op->epoch = op->entry.epoch = 1;
	op->seq = op->entry.seq = op->entry.order = meta->seq + 1;
	assert_int_equal(names_apply(t, meta, op, targets, 3), 0);
}

static int upload_fn(struct names_txn *t, void *arg)
{
	static struct names_op op;
	struct names_meta meta = { .state = NAMES_STATE_COMPLETE };

	(void)arg;
	assert_int_equal(names_meta_put(t, BUCKET, &meta), 0);
	memset(&op, 0, sizeof(op));
	op.kind = NAMES_OP_PUT;
	op.space = NAMES_UPLOADS;
	strcpy(op.entry.key, "big");
	strcpy(op.entry.version, GROUP);
	apply(t, &meta, &op);
	for (unsigned int i = 1; i <= PARTS; i++) {
		memset(&op, 0, sizeof(op));
		op.kind = NAMES_OP_PUT;
		op.space = NAMES_PARTS;
		op.entry.part = i;
		op.entry.size = 1;
		op.entry.null_version = true;
		names_part_key(op.entry.key, GROUP, i);
		assert_int_equal(names_part_version(GROUP, i, 1, op.entry.version), 0);
		apply(t, &meta, &op);
	}
	return names_meta_put(t, BUCKET, &meta);
}

static int object_fn(struct names_txn *t, void *arg)
{
	static struct names_op op;
	struct names_meta meta;

	(void)arg;
	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	memset(&op, 0, sizeof(op));
	op.kind = NAMES_OP_PUT;
	strcpy(op.entry.key, "big");
	strcpy(op.entry.version, "00000000000000000000000000000001");
	op.entry.null_version = true;
	apply(t, &meta, &op);
	return names_meta_put(t, BUCKET, &meta);
}

/* A primary's batch with one write. */
struct batch {
	struct write *w;
	struct plan *plan;
	struct names_op ops[NAMES_BATCH_MAX];
	struct names_meta meta; /* after it */
	int rc;
};

static int plan_fn(struct names_txn *t, void *arg)
{
	struct batch *b = arg;
	struct names_meta meta;

	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	*b->plan = (struct plan){ .t = t,
				  .meta = &meta,
				  .w = b->w,
				  .epoch = 1,
				  .seq = meta.seq + 1,
				  .ops = b->ops,
				  .room = NAMES_BATCH_MAX };
	b->rc = write_plan(b->plan);
	return 0;
}

static int commit_fn(struct names_txn *t, void *arg)
{
	struct batch *b = arg;

	assert_int_equal(names_meta_get(t, BUCKET, &b->meta), 0);
	for (unsigned int i = 0; i < b->plan->n; i++)
		assert_int_equal(names_apply(t, &b->meta, &b->ops[i], targets, 3), 0);
	return names_meta_put(t, BUCKET, &b->meta);
}

static int run(struct names_db *db, struct batch *b)
{
	assert_int_equal(names_db_read(db, plan_fn, b), 0);
	assert_int_equal(names_db_write(db, commit_fn, b), 0);
	return b->rc;
}

static struct write *completing(const char *if_none_match)
{
	struct write *w = write_new(WRITE_COMPLETE);

	strcpy(w->entry.key, "big");
	strcpy(w->entry.version, "00000000000000000000000000000009");
	strcpy(w->target, GROUP);
	w->list = calloc(1, sizeof(*w->list));
	w->list[0].number = KEPT;
	w->nlist = 1;
	w->if_none_match = if_none_match ? strdup(if_none_match) : NULL;
	return w;
}

static int count_part(void *arg, const char *bucket, const struct name_entry *e)
{
	(void)bucket;
	(void)e;
	++*(unsigned int *)arg;
	return 0;
}

struct seen {
	bool upload, object;
	unsigned int parts;
};

static int seen_fn(struct names_txn *t, void *arg)
{
	static struct name_entry row;
	struct seen *s = arg;
	struct names_meta meta;
	bool more;

	*s = (struct seen){ .parts = 0 };
	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	s->upload = !names_row_of(t, meta.id, NAMES_UPLOADS, GROUP, &row);
	s->object = !names_row_find(t, meta.id, "big", &row) && row.nparts;
	assert_int_equal(names_scan_parts(t, meta.id, BUCKET, GROUP, 0, UINT32_MAX, false,
					  count_part, &s->parts, &more),
			 0);
	return 0;
}

static struct seen look(struct names_db *db)
{
	struct seen s;

	assert_int_equal(names_db_read(db, seen_fn, &s), 0);
	return s;
}

static struct batch *batch_new(void)
{
	struct batch *b = calloc(1, sizeof(*b));

	b->plan = calloc(1, sizeof(*b->plan));
	return b;
}

static void batch_end(struct batch *b)
{
	free(b->plan);
	free(b);
}

static int copy_out(struct names_txn *t, void *arg)
{
	char cursor[NAMES_CURSOR_MAX] = "";
	json_t *pages = arg, *page;
	struct names_meta meta;
	bool last = false;

	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	while (!last) {
		assert_int_equal(names_export(t, &meta, 0, cursor, &page, &last), 0);
		json_array_append_new(pages, page);
	}
	return 0;
}

static int copy_in(struct names_txn *t, void *arg)
{
	struct names_meta meta = { .state = NAMES_STATE_COMPLETE };
	const json_t *page;
	size_t i;

	assert_int_equal(names_meta_put(t, BUCKET, &meta), 0);
	assert_int_equal(names_import_begin(t, &meta, 0), 0);
	json_array_foreach ((json_t *)arg, i, page)
		assert_int_equal(names_import(t, &meta, page), 0);
	assert_int_equal(meta.dropped, PARTS - 1);
	assert_int_equal(meta.parts, 1);
	meta.seq = PARTS + 3; /* of the source */
	return names_meta_put(t, BUCKET, &meta);
}

/* A refused one leaves all as it was, and there is no moment at which parts are missing and the
 * object is not there. */
static void completed_at_once(void **state)
{
	struct names_db *db = open_at("left-out");
	struct batch *b = batch_new();
	struct seen s;

	(void)state;
	assert_int_equal(names_db_write(db, upload_fn, NULL), 0);
	assert_int_equal(names_db_write(db, object_fn, NULL), 0);
	b->w = completing("*");
	assert_int_equal(run(db, b), -ECANCELED);
	write_free(b->w);
	s = look(db);
	assert_true(s.upload && !s.object && s.parts == PARTS);
	b->w = completing(NULL);
	assert_int_equal(run(db, b), 0);
	write_free(b->w);
	s = look(db);
	assert_true(!s.upload && s.object);
	assert_int_equal(s.parts, 1);
	assert_int_equal(b->meta.parts, 1);
	assert_int_equal(b->meta.bytes, 1);
	batch_end(b);
	names_db_close(db);
}

/* What was left out is forgotten by whoever is primary then, a batch at a time. */
static void left_out_is_forgotten(void **state)
{
	struct names_db *db = open_at("left-out"), *copy = open_at("left-out-copy");
	struct batch *b = batch_new();
	json_t *pages = json_array();
	unsigned int rounds = 0, told = 0;

	(void)state;
	assert_int_equal(names_db_read(db, copy_out, pages), 0);
	assert_int_equal(names_db_write(copy, copy_in, pages), 0);
	json_decref(pages);
	b->w = write_new(WRITE_DROP);
	do {
		assert_int_equal(run(copy, b), 0);
		for (unsigned int i = 0; i < b->plan->n; i++) {
			assert_int_equal(strncmp(b->ops[i].forget, GROUP, 24), 0);
			assert_true(b->ops[i].entry.part != KEPT);
			told++;
		}
		rounds++;
	} while (b->plan->n);
	assert_int_equal(told, PARTS - 1);
	assert_true(rounds > 2);
	assert_int_equal(b->meta.dropped, 0);
	assert_int_equal(b->meta.tasks, (PARTS - 1 + 1) * 3); /* and the object that was replaced */
	assert_int_equal(look(copy).parts, 1);
	write_free(b->w);
	batch_end(b);
	names_db_close(copy);
	names_db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_thousand_parts),
		cmocka_unit_test(completed_at_once),
		cmocka_unit_test(left_out_is_forgotten),
	};

	return cmocka_run_group_tests(tests, top_make, top_remove);
}
