/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_names_upgrade.c -- files of the layout before format 2 are what they were after they are
 * opened: entries, tombstones, counters, the order of listings, tasks, retried versions; also when
 * an upgrade was cut off. Files of a newer layout are refused. A backup opens like the original.
 */
#include <sys/syscall.h>
#include <unistd.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "http/store/names_backup.h"
#include "http/store/names_db_internal.h"
#include "lib/hash.h"
#include "tests/unit/names_top.h"
#include "tests/unit/unit.h"

#define ROWS 12000 /* more than two steps */

/* ---- the old layout, as it was written ---- */
struct old_meta {
	uint32_t id, state;
	uint64_t epoch, seq, seq_epoch, purged, objects, bytes, tasks;
	char primary[64], secondary[64];
};
struct old_row {
	uint64_t epoch, size;
	int64_t modified;
	uint8_t sha256[32], version[16], deleted, nholders, pad[6];
};
struct old_version {
	uint64_t seq;
	uint8_t replaced, pad[7];
};

struct old {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi buckets, names, rows, hashes, history, versions, tasks, pending, nodes;
};

static void old_put(struct old *o, MDB_dbi table, const struct keybuf *k, const void *data,
		    size_t len)
{
	MDB_val key = { k->len, (void *)k->bytes }, val = { len, (void *)data };

	assert_int_equal(mdb_put(o->txn, table, &key, &val, 0), 0);
}

static void key_of(int i, char out[NAMES_KEY_MAX + 1])
{
	if (i % 3)
		snprintf(out, NAMES_KEY_MAX, "d%d/%07d", i % 5, i);
	else
		snprintf(out, NAMES_KEY_MAX, "%0505d%07d", 7, i); /* 512 bytes */
}

static bool is_deleted(int i)
{
	return i % 7 == 0;
}

static void old_row(struct old *o, uint32_t id, int i)
{
	static const char holders[] = "ep-1\0ep-2";
	struct old_row h = { .epoch = 2, .size = (uint64_t)i, .modified = 1700000000 + i };
	struct history_value history = { .epoch = 2, .replaced = i % 2 };
	struct old_version version = { .seq = (uint64_t)i, .replaced = i % 2 };
	unsigned char row[2048], rest[64];
	char key[NAMES_KEY_MAX + 1];
	size_t len = sizeof(h), head;
	struct keybuf k, hash = { .len = 0 };
	uint64_t seq = htobe64((uint64_t)i);

	memset(h.sha256, 1 + i % 200, 32);
	memcpy(h.version, &i, sizeof(i));
	h.deleted = is_deleted(i);
	h.nholders = 2;
	key_of(i, key);
	memcpy(row, &h, len);
	memcpy(row + len, key, strlen(key) + 1);
	len += strlen(key) + 1;
	memcpy(row + len, holders, sizeof(holders));
	kb_place(&k, id, (uint64_t)i);
	old_put(o, o->rows, &k, row, len + sizeof(holders));
	memcpy(history.id, h.version, 16);
	old_put(o, o->history, &k, &history, sizeof(history));
	if (!h.deleted) {
		kb_add(&hash, h.sha256, 32);
		old_put(o, o->hashes, &hash, k.bytes, k.len);
	}
	k.len = 0;
	kb_u32(&k, id);
	kb_add(&k, h.version, 16);
	old_put(o, o->versions, &k, &version, sizeof(version));
	head = strlen(key) < 496 ? strlen(key) : 496;
	k.len = 0;
	kb_u32(&k, id);
	kb_add(&k, key, head);
	len = strlen(key) - head + 1;
	memcpy(rest, key + head, len);
	memcpy(rest + len, &seq, 8);
	rest[len + 8] = h.deleted;
	old_put(o, o->names, &k, rest, len + 9);
}

static void old_fill(struct old *o, uint32_t id, const char *bucket, int rows)
{
	struct old_meta m = { .id = id,
			      .state = NAMES_STATE_COMPLETE,
			      .epoch = 2,
			      .seq = (uint64_t)rows,
			      .seq_epoch = 2,
			      .tasks = 1,
			      .primary = "ep-1",
			      .secondary = "ep-2" };
	struct keybuf k = { .len = 0 };
	unsigned char task[20] = { 0xaa };
	uint32_t left = 1;

	for (int i = 1; i <= rows; i++) {
		old_row(o, id, i);
		m.objects += !is_deleted(i);
		m.bytes += is_deleted(i) ? 0 : (uint64_t)i;
	}
	kb_add(&k, bucket, strlen(bucket));
	old_put(o, o->buckets, &k, &m, sizeof(m));
	kb_task(&k, id, NAMES_TASK_FORGET, "ep-2");
	kb_u64(&k, 7);
	old_put(o, o->tasks, &k, task, sizeof(task));
	kb_place(&k, id, 7);
	old_put(o, o->pending, &k, &left, sizeof(left));
}

static void old_write(const char *dir, bool cut_off, int rows)
{
	struct old o;
	MDB_dbi extra;
	MDB_val junk = { 12, "junkjunkjunk" };

	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(mdb_env_create(&o.env), 0);
	assert_int_equal(mdb_env_set_maxdbs(o.env, 16), 0);
	assert_int_equal(mdb_env_set_mapsize(o.env, (size_t)1 << 30), 0);
	assert_int_equal(mdb_env_open(o.env, dir, MDB_NOSYNC, 0600), 0);
	assert_int_equal(mdb_txn_begin(o.env, NULL, 0, &o.txn), 0);
	mdb_dbi_open(o.txn, "buckets", MDB_CREATE, &o.buckets);
	mdb_dbi_open(o.txn, "names", MDB_CREATE | MDB_DUPSORT, &o.names);
	mdb_dbi_open(o.txn, "rows", MDB_CREATE, &o.rows);
	mdb_dbi_open(o.txn, "hashes", MDB_CREATE | MDB_DUPSORT, &o.hashes);
	mdb_dbi_open(o.txn, "history", MDB_CREATE, &o.history);
	mdb_dbi_open(o.txn, "versions", MDB_CREATE, &o.versions);
	mdb_dbi_open(o.txn, "tasks", MDB_CREATE, &o.tasks);
	mdb_dbi_open(o.txn, "pending", MDB_CREATE, &o.pending);
	mdb_dbi_open(o.txn, "nodes", MDB_CREATE, &o.nodes);
	old_fill(&o, 1, "photos", rows);
	old_fill(&o, 2, "tiny", 10);
	if (cut_off) {
		mdb_dbi_open(o.txn, "rows2", MDB_CREATE, &extra);
		assert_int_equal(mdb_put(o.txn, extra, &junk, &junk, 0), 0);
		mdb_dbi_open(o.txn, "index2", MDB_CREATE, &extra);
		assert_int_equal(mdb_put(o.txn, extra, &junk, &junk, 0), 0);
	}
	assert_int_equal(mdb_txn_commit(o.txn), 0);
	mdb_env_close(o.env);
}

/* ---- what is there now ---- */
struct told {
	char last[NAMES_KEY_MAX + 1];
	uint64_t count, bytes;
};

static int tell(void *arg, const char *bucket, const struct name_entry *e)
{
	struct told *t = arg;

	(void)bucket;
	assert_true(strcmp(e->key, t->last) > 0);
	strcpy(t->last, e->key);
	t->count++;
	t->bytes += e->size;
	return 0;
}

static void check_bucket(struct names_txn *t, const char *bucket, int rows)
{
	struct told told = { .count = 0 };
	struct names_scan o = {
		.select = { .limit = 1000000 }, .fn = tell, .arg = &told, .versions = true
	};
	struct names_page page;
	struct names_task tasks[4];
	struct names_meta m;

	assert_int_equal(names_meta_get(t, bucket, &m), 0);
	assert_int_equal(m.seq, rows);
	assert_string_equal(m.secondary, "ep-2");
	assert_int_equal(names_scan(t, m.id, bucket, &o, &page), 0);
	assert_int_equal(told.count, m.objects);
	assert_int_equal(told.bytes, m.bytes);
	assert_int_equal(names_tasks_of(t, m.id, NAMES_TASK_FORGET, "ep-2", tasks, 4), 1);
	assert_int_equal(tasks[0].seq, 7);
	assert_memory_equal(tasks[0].version, "aa00", 4);
	for (int i = 1; i <= rows; i += 97) {
		uint8_t packed[16] = { 0 };
		struct name_entry e;
		char version[33], key[NAMES_KEY_MAX + 1];
		uint64_t seq;
		bool replaced;

		memcpy(packed, &i, sizeof(i));
		hex_encode(packed, 16, version);
		key_of(i, key);
		assert_int_equal(names_row_find(t, m.id, key, &e), is_deleted(i) ? -ENOENT : 0);
		assert_int_equal(names_version_find(t, m.id, version, &seq, &replaced), 0);
		assert_int_equal(seq, i);
		assert_int_equal(replaced, i % 2);
		assert_true(names_history_has(t, m.id, 2, (uint64_t)i));
		if (is_deleted(i))
			continue;
		assert_string_equal(e.version, version);
		assert_true(e.null_version && e.seq == (uint64_t)i && e.order == (uint64_t)i);
		assert_int_equal(e.nholders, 2);
		assert_string_equal(e.holders[1], "ep-2");
		assert_int_equal(names_row_of(t, m.id, NAMES_OBJECTS, version, &e), 0);
	}
}

static int found(void *arg, const char *bucket, const struct name_entry *e)
{
	(void)bucket;
	(void)e;
	++*(int *)arg;
	return 0;
}

static int check(struct names_txn *t, void *arg)
{
	int rows = *(int *)arg, count = 0, want = 0;
	uint8_t sha[32];

	check_bucket(t, "photos", rows);
	check_bucket(t, "tiny", 10);
	memset(sha, 6, sizeof(sha));
	assert_int_equal(names_scan_hash(t, sha, 1000, found, &count), 0);
	for (int i = 1; i <= rows; i++)
		want += i % 200 == 5 && !is_deleted(i);
	assert_int_equal(count, want + 1); /* one of tiny's */
	return 0;
}

/* The node that had to forget has: the last tombstone of format 1 can go. */
static int forgotten(struct names_txn *t, void *arg)
{
	struct names_op op = {
		.kind = NAMES_OP_FORGOTTEN, .epoch = 2, .node = "ep-2", .nseqs = 1, .seqs = { 7 }
	};
	struct names_meta m;
	struct name_entry e;

	(void)arg;
	assert_int_equal(names_meta_get(t, "tiny", &m), 0);
	op.seq = m.seq + 1;
	assert_int_equal(names_apply(t, &m, &op, NULL, 0), 0);
	assert_int_equal(names_row_get(t, m.id, NAMES_OBJECTS, 7, &e), -ENOENT);
	assert_int_equal(m.purged, 7);
	return -ECANCELED;
}

static void opened_is_the_same(const char *name, bool cut_off, int rows)
{
	struct names_db *db;
	char dir[128];

	snprintf(dir, sizeof(dir), "%s/%s", top, name);
	old_write(dir, cut_off, rows);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(names_db_open(&db, dir), 0);
		assert_int_equal(names_db_read(db, check, &rows), 0);
		assert_int_equal(names_db_write(db, forgotten, NULL), -ECANCELED);
		names_db_close(db);
	}
}

static void old_files(void **state)
{
	(void)state;
	opened_is_the_same("old", false, ROWS);
}

static void cut_off(void **state)
{
	(void)state;
	opened_is_the_same("cut", true, 600);
}

static int make_newer(struct names_txn *t, void *arg)
{
	uint32_t format = NAMES_FORMAT + 1;
	MDB_val k = { 7, "version" }, v = { sizeof(format), &format };

	(void)arg;
	return names_errno(mdb_put(t->txn, names_table(t->db, T_FORMAT), &k, &v, 0));
}

static void looking_changes_nothing(void **state)
{
	struct names_db *db;
	char dir[128], command[300];

	(void)state;
	snprintf(dir, sizeof(dir), "%s/looked", top);
	old_write(dir, false, 20);
	snprintf(command, sizeof(command), "cd %s && rm -f lock.mdb && cp data.mdb ../looked.mdb", dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(names_db_look(&db, dir), -ENOENT);
	snprintf(command, sizeof(command), "cd %s && test ! -e lock.mdb && cmp data.mdb ../looked.mdb", dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(names_db_open(&db, dir), 0);
	names_db_close(db);
	snprintf(command, sizeof(command), "cd %s && rm -f lock.mdb && cp data.mdb ../looked.mdb", dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(names_db_look(&db, dir), 0);
	names_db_close(db);
	snprintf(command, sizeof(command), "cd %s && test ! -e lock.mdb && cmp data.mdb ../looked.mdb", dir);
	assert_int_equal(system(command), 0);
}

static void newer_files_are_refused(void **state)
{
	struct names_db *db;
	char dir[128];

	(void)state;
	snprintf(dir, sizeof(dir), "%s/newer", top);
	assert_int_equal(names_db_open(&db, dir), 0);
	assert_int_equal(names_db_write(db, make_newer, NULL), 0);
	names_db_close(db);
	assert_int_equal(names_db_open(&db, dir), -EPROTO);
}

static bool sync_fails; /* of a copy's data */

int fsync(int fd)
{
	char link[40], path[512];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = 0;
	if (sync_fails && strstr(path, "/copy/data.mdb")) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

static void backup_opens(void **state)
{
	struct names_db *db;
	char dir[128], copy[128], cut[160];
	int rows = 600;
	FILE *f;

	(void)state;
	snprintf(dir, sizeof(dir), "%s/cut", top);
	snprintf(copy, sizeof(copy), "%s/copy", top);
	/* Synced before it is called a copy; one that was cut off is none. */
	sync_fails = true;
	assert_int_equal(names_backup(dir, copy), -EIO);
	sync_fails = false;
	snprintf(cut, sizeof(cut), "%s/data.mdb", copy);
	assert_int_equal(access(cut, F_OK), -1);
	snprintf(cut, sizeof(cut), "%s/data.mdb.new", copy);
	f = fopen(cut, "w");
	assert_true(f && fputs("the beginning of one", f) >= 0 && !fclose(f));
	assert_int_equal(names_backup(dir, copy), 0);
	assert_int_equal(names_backup(dir, copy), -EEXIST);
	assert_int_equal(names_backup("/nowhere", copy), -EEXIST);
	assert_int_equal(names_backup("/nowhere", dir), -EEXIST);
	assert_int_equal(names_db_open(&db, copy), 0);
	assert_int_equal(names_db_read(db, check, &rows), 0);
	names_db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(old_files),
		cmocka_unit_test(cut_off),
		cmocka_unit_test(looking_changes_nothing),
		cmocka_unit_test(newer_files_are_refused),
		cmocka_unit_test(backup_opens),
	};

	return cmocka_run_group_tests(tests, top_make, top_remove);
}
