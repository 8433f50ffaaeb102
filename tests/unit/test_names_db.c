/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_names_db.c -- the local copy of the names against a model: random operations, listings, the
 * hash index, the outbox, retried versions, copies by pages, a killed writer.
 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/store/names_db.h"
#include "lib/hash.h"
#include "tests/unit/names_top.h"
#include "tests/unit/unit.h"

#define KEYS   120

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 33) % n;
}

/* ---- a model: what each key names ---- */
struct model {
	char key[NAMES_KEY_MAX + 1];
	bool live;
	struct name_entry entry;
};
static struct model model[KEYS];

/* Short keys, keys that end in a child of the index and in a child of that. */
static void model_fill(void)
{
	for (int i = 0; i < KEYS; i++) {
		struct model *m = &model[i];

		memset(m, 0, sizeof(*m));
		if (i % 3 == 0) {
			snprintf(m->key, sizeof(m->key), "dir%d/file-%d.txt", i % 7, i);
		} else {
			static const int lens[] = { 498, 500, 988, 1000, 486, 987 };
			int len = lens[i % 6];

			memset(m->key, i % 2 ? 'x' : 'y', (size_t)len);
			snprintf(m->key + len, sizeof(m->key) - (size_t)len, "%0*d", i % 5 ? 12 : 3,
				 i);
		}
	}
}

static int model_order(const void *a, const void *b)
{
	return strcmp(((const struct model *)a)->key, ((const struct model *)b)->key);
}

/* ---- applying ---- */
static void version_new(char out[33])
{
	uint8_t bytes[16];

	for (int i = 0; i < 16; i++)
		bytes[i] = (uint8_t)rnd(256);
	hex_encode(bytes, 16, out);
}

static void do_put(struct names_db *db, struct model *m)
{
	struct names_op op = { .kind = NAMES_OP_PUT, .epoch = 1, .replaced = m->live };

	op.entry.epoch = 1;
	strcpy(op.entry.key, m->key);
	version_new(op.entry.version);
	op.entry.size = rnd(1000000);
	op.entry.modified = 1700000000 + rnd(1000);
	memset(op.entry.sha256, 1 + (int)rnd(10), 32);
	if (rnd(2)) {
		op.entry.meta_len = rnd(rnd(20) ? 300 : NAMES_META_MAX);
		memset(op.entry.meta, rnd(2) ? 'm' : '"', op.entry.meta_len);
		strcpy(op.entry.etag, "etag-1");
	}
	op.entry.nholders = 2;
	strcpy(op.entry.holders[0], "ep-1");
	strcpy(op.entry.holders[1], "ep-2");
	if (m->live)
		strcpy(op.forget, m->entry.version);
	if (rnd(4) == 0) {
		op.nfetch = 1;
		strcpy(op.fetch[0], "ep-3");
	}
	assert_int_equal(names_db_write(db, top_apply, &op), 0);
	m->live = true;
	m->entry = op.entry;
}

static void do_delete(struct names_db *db, struct model *m)
{
	struct names_op op = { .kind = NAMES_OP_DELETE, .epoch = 1, .replaced = true };

	op.entry.epoch = 1;
	op.entry.deleted = true;
	op.entry.order = m->entry.order;
	strcpy(op.entry.key, m->key);
	version_new(op.entry.version);
	strcpy(op.forget, m->entry.version);
	assert_int_equal(names_db_write(db, top_apply, &op), 0);
	m->live = false;
}

static int tasks_fn(struct names_txn *t, void *arg)
{
	struct names_op *op = arg;
	struct names_task tasks[8];
	struct names_meta meta;
	int n;

	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	n = names_tasks_of(t, meta.id, NAMES_TASK_FORGET, op->node, tasks, 8);
	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		assert_true(i == 0 || tasks[i].seq > tasks[i - 1].seq);
		op->seqs[op->nseqs++] = tasks[i].seq;
	}
	return 0;
}

static void do_forgotten(struct names_db *db)
{
	struct names_op op = { .kind = NAMES_OP_FORGOTTEN, .epoch = 1 };

	strcpy(op.node, targets[rnd(3)]);
	assert_int_equal(names_db_read(db, tasks_fn, &op), 0);
	if (op.nseqs)
		assert_int_equal(names_db_write(db, top_apply, &op), 0);
}

static int fetch_find(struct names_txn *t, void *arg)
{
	struct names_op *op = arg;
	struct names_task task;
	struct names_meta meta;

	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	if (names_tasks_of(t, meta.id, NAMES_TASK_FETCH, "ep-3", &task, 1) < 1)
		return -ENOENT;
	strcpy(op->node, "ep-3");
	strcpy(op->entry.version, task.version);
	op->seqs[0] = task.seq;
	op->nseqs = 1;
	return 0;
}

static void do_fetched(struct names_db *db)
{
	struct names_op op = { .kind = NAMES_OP_FETCHED, .epoch = 1, .holds = true };

	if (names_db_read(db, fetch_find, &op))
		return;
	assert_int_equal(names_db_write(db, top_apply, &op), 0);
	for (int i = 0; i < KEYS; i++)
		if (model[i].live && !strcmp(model[i].entry.version, op.entry.version)) {
			strcpy(model[i].entry.holders[2], "ep-3");
			model[i].entry.nholders = 3;
			model[i].entry.seq = op.seq;
		}
}

static void do_random(struct names_db *db, int n)
{
	do_put(db, &model[0]);
	while (n-- > 0) {
		struct model *m = &model[rnd(KEYS)];
		uint32_t what = rnd(10);

		if (what < 5)
			do_put(db, m);
		else if (what < 7 && m->live)
			do_delete(db, m);
		else if (what == 8)
			do_forgotten(db);
		else if (what == 9)
			do_fetched(db);
	}
}

/* ---- checking ---- */

/* What is behind the end of a text is anything. */
static void tidy(struct name_entry *to, const struct name_entry *from)
{
	memset(to, 0, sizeof(*to));
	memcpy(to, from, offsetof(struct name_entry, holders));
	for (unsigned int i = 0; i < from->nholders; i++)
		strcpy(to->holders[i], from->holders[i]);
	to->epoch = from->epoch;
	to->seq = from->seq;
	to->order = from->order;
	strcpy(to->etag, from->etag);
	strcpy(to->key, from->key);
	to->meta_len = from->meta_len;
	memcpy(to->meta, from->meta, from->meta_len);
	to->current = false;
}

static void same_entry(const struct name_entry *a, const struct name_entry *b)
{
	struct name_entry x, y;

	tidy(&x, a);
	tidy(&y, b);
	assert_memory_equal(&x, &y, sizeof(x));
}

struct expect {
	struct model *at, *end;
	const char *prefix, *after;
	unsigned int told;
};

static int expect_next(void *arg, const char *bucket, const struct name_entry *e)
{
	struct expect *x = arg;

	assert_string_equal(bucket, BUCKET);
	for (; x->at < x->end; x->at++)
		if (x->at->live && strcmp(x->at->key, x->after) > 0 &&
		    !strncmp(x->at->key, x->prefix, strlen(x->prefix)))
			break;
	assert_true(x->at < x->end);
	assert_string_equal(e->key, x->at->key);
	same_entry(e, &x->at->entry);
	x->at++;
	x->told++;
	return 0;
}

static int check_fn(struct names_txn *t, void *arg)
{
	static const char *const prefixes[] = { "", "dir", "dir3/", "x", "nothing", "y" };
	struct names_meta meta;
	uint64_t live = 0, bytes = 0;

	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	qsort(model, KEYS, sizeof(model[0]), model_order);
	for (int i = 0; i < KEYS; i++) {
		struct name_entry e;
		int rc = names_row_find(t, meta.id, model[i].key, &e);

		live += model[i].live;
		bytes += model[i].live ? model[i].entry.size : 0;
		if (model[i].live) {
			assert_int_equal(rc, 0);
			same_entry(&e, &model[i].entry);
		} else {
			assert_true(rc == -ENOENT || e.deleted);
		}
	}
	assert_int_equal(meta.objects, live);
	assert_int_equal(meta.bytes, bytes);
	for (int i = 0; i < 40; i++) {
		struct expect x = { model, model + KEYS, prefixes[rnd(6)], "", 0 };
		unsigned int limit = 1 + rnd(KEYS);
		const char *after = rnd(3) ? model[rnd(KEYS)].key : NULL;
		struct names_scan o = { .select = { .prefix = x.prefix,
						    .after = after,
						    .limit = limit,
						    .meta = true },
					.fn = expect_next,
					.arg = &x };
		struct names_page page;

		x.after = after ? after : "";
		assert_int_equal(names_scan(t, meta.id, BUCKET, &o, &page), 0);
		for (; x.at < x.end; x.at++)
			if (x.at->live && strcmp(x.at->key, x.after) > 0 &&
			    !strncmp(x.at->key, x.prefix, strlen(x.prefix)))
				break;
		assert_int_equal(page.more, x.at < x.end);
		assert_true(!page.more || x.told == limit);
	}
	(void)arg;
	return 0;
}

static int count_fn(void *arg, const char *bucket, const struct name_entry *e)
{
	assert_string_equal(bucket, BUCKET);
	assert_false(e->deleted);
	(*(unsigned int *)arg)++;
	return 0;
}

static int hash_fn(struct names_txn *t, void *arg)
{
	for (int b = 1; b <= 10; b++) {
		unsigned int want = 0, got = 0;
		uint8_t sha[32];

		memset(sha, b, 32);
		for (int i = 0; i < KEYS; i++)
			want += model[i].live && model[i].entry.sha256[0] == b;
		assert_int_equal(names_scan_hash(t, sha, 1000, count_fn, &got), 0);
		assert_int_equal(got, want);
	}
	(void)arg;
	return 0;
}

static void random_against_model(void **state)
{
	struct names_db *db = open_at("random");

	(void)state;
	model_fill();
	for (int round = 0; round < 8; round++) {
		do_random(db, 150);
		assert_int_equal(names_db_read(db, check_fn, NULL), 0);
		assert_int_equal(names_db_read(db, hash_fn, NULL), 0);
		names_db_close(db);
		db = open_at("random");
	}
	names_db_close(db);
}

/* When every node has forgotten, no tombstone, no task and nothing pending is left. */
static int empty_fn(struct names_txn *t, void *arg)
{
	struct names_meta meta;
	char nodes[4][CONF_NAME_MAX];

	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	assert_int_equal(names_tasks_nodes(t, meta.id, NAMES_TASK_FORGET, nodes, 4), 0);
	for (int i = 0; i < KEYS; i++) {
		struct name_entry e;

		if (!model[i].live)
			assert_int_equal(names_row_find(t, meta.id, model[i].key, &e), -ENOENT);
	}
	(void)arg;
	return 0;
}

static void tombstones_go(void **state)
{
	struct names_db *db = open_at("tombs");
	uint64_t commits;

	(void)state;
	model_fill();
	do_random(db, 400);
	commits = names_db_commits(db);
	do_put(db, &model[0]);
	assert_int_equal(names_db_commits(db), commits + 1); /* each write tells of itself */
	for (int i = 0; i < 2000; i++)
		do_forgotten(db);
	assert_int_equal(names_db_read(db, empty_fn, NULL), 0);
	assert_int_equal(names_db_read(db, check_fn, NULL), 0);
	names_db_close(db);
}

static int retried_fn(struct names_txn *t, void *arg)
{
	struct names_meta meta;
	const char *version = arg;
	uint64_t seq;
	bool replaced;

	assert_int_equal(names_meta_get(t, BUCKET, &meta), 0);
	assert_int_equal(names_version_find(t, meta.id, version, &seq, &replaced), 0);
	assert_true(replaced);
	assert_int_equal(seq, 2);
	assert_true(names_history_has(t, meta.id, 1, 2));
	assert_false(names_history_has(t, meta.id, 2, 2));
	assert_false(names_history_has(t, meta.id, 1, 3));
	assert_int_equal(
		names_version_find(t, meta.id, "00112233445566778899aabbccddeeff", &seq, &replaced),
		-ENOENT);
	return 0;
}

static void retried_version_is_known(void **state)
{
	struct names_db *db = open_at("retry");

	(void)state;
	model_fill();
	do_put(db, &model[0]);
	do_put(db, &model[0]);
	assert_int_equal(names_db_read(db, retried_fn, model[0].entry.version), 0);
	names_db_close(db);
}

/* ---- copies ---- */
struct copy {
	struct names_db *to;
	uint64_t from;
	json_t *page;
	bool begin;
	struct names_meta source;
};

static int import_fn(struct names_txn *t, void *arg)
{
	struct copy *c = arg;
	struct names_meta meta = { .state = NAMES_STATE_SYNCING };
	int rc = names_meta_get(t, BUCKET, &meta);

	if (rc == -ENOENT)
		assert_int_equal(names_meta_put(t, BUCKET, &meta), 0);
	if (c->begin)
		assert_int_equal(names_import_begin(t, &meta, c->from), 0);
	else if (c->page)
		assert_int_equal(names_import(t, &meta, c->page), 0);
	else {
		meta.state = NAMES_STATE_COMPLETE;
		meta.seq = c->source.seq;
		meta.seq_epoch = c->source.seq_epoch;
		assert_int_equal(meta.tasks, c->source.tasks);
		assert_int_equal(meta.objects, c->source.objects);
		assert_int_equal(meta.purged, c->source.purged);
	}
	return names_meta_put(t, BUCKET, &meta);
}

static int export_fn(struct names_txn *t, void *arg)
{
	struct copy *c = arg;
	char cursor[NAMES_CURSOR_MAX] = "";
	bool last = false;
	int pages = 0;

	assert_int_equal(names_meta_get(t, BUCKET, &c->source), 0);
	c->begin = true;
	assert_int_equal(names_db_write(c->to, import_fn, c), 0);
	c->begin = false;
	while (!last) {
		char *text;

		assert_int_equal(names_export(t, &c->source, c->from, cursor, &c->page, &last), 0);
		text = json_dumps(c->page, JSON_COMPACT);
		assert_true(strlen(text) < NAMES_BODY_MAX);
		free(text);
		assert_int_equal(names_db_write(c->to, import_fn, c), 0);
		json_decref(c->page);
		assert_true(++pages < 100);
	}
	c->page = NULL;
	return names_db_write(c->to, import_fn, c);
}

static void copy_whole_and_difference(void **state)
{
	struct names_db *a = open_at("copy-a"), *b = open_at("copy-b");
	struct copy c = { .to = b };
	struct names_meta meta;

	(void)state;
	model_fill();
	do_random(a, 800);
	assert_int_equal(names_db_read(a, export_fn, &c), 0);
	assert_int_equal(names_db_read(b, check_fn, NULL), 0);
	assert_int_equal(names_db_read(b, hash_fn, NULL), 0);
	/* More happens at a, without tombstones that b would miss: the difference is enough. */
	c.from = c.source.seq;
	for (int i = 0; i < 100; i++) {
		struct model *m = &model[rnd(KEYS)];

		if (m->live && rnd(2))
			do_delete(a, m);
		else
			do_put(a, m);
	}
	assert_int_equal(names_db_read(a, top_position, &meta), 0);
	assert_true(meta.purged <= c.from);
	assert_int_equal(names_db_read(a, export_fn, &c), 0);
	assert_int_equal(names_db_read(b, check_fn, NULL), 0);
	/* The copy goes on like the original. */
	do_random(b, 100);
	assert_int_equal(names_db_read(b, check_fn, NULL), 0);
	/* Whole again over what is there. */
	c.to = a;
	c.from = 0;
	assert_int_equal(names_db_read(b, export_fn, &c), 0);
	assert_int_equal(names_db_read(a, check_fn, NULL), 0);
	assert_int_equal(names_db_read(a, hash_fn, NULL), 0);
	names_db_close(a);
	names_db_close(b);
}

/* What was acknowledged before SIGKILL is there. */
static void killed_writer(void **state)
{
	struct names_db *db;
	int said[2];
	pid_t pid;
	char version[33];
	unsigned int n = 0;

	(void)state;
	assert_int_equal(pipe(said), 0);
	pid = fork();
	if (pid == 0) {
		db = open_at("killed");
		model_fill();
		for (int i = 0;; i++) {
			do_put(db, &model[0]);
			if (write(said[1], model[0].entry.version, 33) != 33)
				_exit(1);
		}
	}
	close(said[1]);
	while (n < 40 && read(said[0], version, 33) == 33)
		n++;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	while (read(said[0], version, 33) == 33)
		n++;
	close(said[0]);
	db = open_at("killed");
	{
		struct names_meta meta;

		assert_int_equal(names_db_read(db, top_position, &meta), 0);
		assert_true(meta.seq == n || meta.seq == n + 1);
	}
	names_db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_against_model),
		cmocka_unit_test(tombstones_go),
		cmocka_unit_test(retried_version_is_known),
		cmocka_unit_test(copy_whole_and_difference),
		cmocka_unit_test(killed_writer),
	};

	return cmocka_run_group_tests(tests, top_make, top_remove);
}
