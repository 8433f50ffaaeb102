/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_upgrade.c -- from the layout of format 1 (until November 2026; it had no table "format") to
 * the present one, when the files are opened. The old tables stay until everything is in the new
 * ones: an upgrade that was cut off begins anew.
 *
 * Format 1 had one entry a key (what is now a null version), keys of at most 512 bytes, no meta:
 *   buckets   name → struct meta1
 *   names     (not needed: the rows say it)
 *   rows      id, seq → struct row1, key, 0, holders each with 0
 *   versions  id, version → struct version1
 *   tasks     as now, but the key behind the version
 */
#include <errno.h>

#include "http/store/names_db_internal.h"
#include "lib/hash.h"

#define STEP 5000 /* entries of one transaction */

enum { OLD_BUCKETS, OLD_NAMES, OLD_ROWS, OLD_VERSIONS, OLD_TASKS, OLD_TABLES };
static const char *const old_names[OLD_TABLES] = { "buckets", "names", "rows", "versions",
						   "tasks" };

struct meta1 {
	uint32_t id, state;
	uint64_t epoch, seq, seq_epoch, purged, objects, bytes, tasks;
	char primary[CONF_NAME_MAX], secondary[CONF_NAME_MAX];
};

struct row1 {
	uint64_t epoch, size;
	int64_t modified;
	uint8_t sha256[32];
	uint8_t version[16];
	uint8_t deleted, nholders, pad[6];
};
_Static_assert(sizeof(struct row1) == 80, "layout");

struct version1 {
	uint64_t seq;
	uint8_t replaced, pad[7];
};

struct upgrade {
	struct names_txn t;
	MDB_dbi old[OLD_TABLES];
	/* where the present step begins and how far it came */
	struct keybuf at;
	unsigned int left;
	bool done;
};

static int format_read(struct names_txn *t, uint32_t *format)
{
	MDB_val k = { 7, "version" }, v;
	int rc = names_errno(mdb_get(t->txn, names_table(t->db, T_FORMAT), &k, &v));

	*format = 0;
	if (!rc && v.mv_size == sizeof(*format))
		memcpy(format, v.mv_data, sizeof(*format));
	return rc == -ENOENT ? 0 : rc;
}

static int format_write(struct names_txn *t)
{
	uint32_t format = NAMES_FORMAT;
	MDB_val k = { 7, "version" }, v = { sizeof(format), &format };

	return names_errno(mdb_put(t->txn, names_table(t->db, T_FORMAT), &k, &v, 0));
}

/* ---- one entry of each table ---- */

static int meta_convert(struct upgrade *u, const MDB_val *k, const MDB_val *v)
{
	char name[NAMES_BUCKET_MAX + 1] = "";
	struct names_meta meta = { .id = 0 };
	struct meta1 old;

	if (v->mv_size != sizeof(old) || k->mv_size > NAMES_BUCKET_MAX)
		return -EIO;
	memcpy(&old, v->mv_data, sizeof(old));
	memcpy(name, k->mv_data, k->mv_size);
	meta.id = old.id;
	meta.state = old.state;
	meta.epoch = old.epoch;
	meta.seq = old.seq;
	meta.seq_epoch = old.seq_epoch;
	meta.purged = old.purged;
	meta.objects = old.objects;
	meta.bytes = old.bytes;
	meta.tasks = old.tasks;
	memcpy(meta.primary, old.primary, sizeof(meta.primary));
	memcpy(meta.secondary, old.secondary, sizeof(meta.secondary));
	return names_meta_put(&u->t, name, &meta);
}

static int row_read(struct name_entry *e, const MDB_val *v)
{
	const char *p = v->mv_data, *end = p + v->mv_size;
	struct row1 h;

	if (v->mv_size <= sizeof(h) || end[-1])
		return -EIO;
	memset(e, 0, sizeof(*e));
	memcpy(&h, p, sizeof(h));
	p += sizeof(h);
	if (strlen(p) > NAMES_KEY_MAX || h.nholders > NAMES_HOLDERS_MAX)
		return -EIO;
	strcpy(e->key, p);
	p += strlen(p) + 1;
	for (; e->nholders < h.nholders; p += strlen(p) + 1) {
		if (p >= end || strlen(p) >= CONF_NAME_MAX)
			return -EIO;
		strcpy(e->holders[e->nholders++], p);
	}
	e->epoch = h.epoch;
	e->size = h.size;
	e->modified = h.modified;
	e->deleted = h.deleted;
	e->null_version = true;
	memcpy(e->sha256, h.sha256, sizeof(e->sha256));
	hex_encode(h.version, sizeof(h.version), e->version);
	return 0;
}

static int row_convert(struct upgrade *u, const MDB_val *k, const MDB_val *v)
{
	struct names_meta counted = { .id = get_u32(
					      k->mv_data) }; /* the counters came with meta1 */
	struct name_entry e;
	int rc = k->mv_size == 12 ? row_read(&e, v) : -EIO;

	if (rc)
		return rc;
	e.seq = e.order = get_u64((char *)k->mv_data + 4);
	return names_row_write(&u->t, &counted, NAMES_OBJECTS, &e);
}

static int version_convert(struct upgrade *u, const MDB_val *k, const MDB_val *v)
{
	struct version_value now;
	struct version1 old;
	struct keybuf key = { .len = 0 };
	char version[33];
	int rc;

	if (v->mv_size != sizeof(old) || k->mv_size != 20)
		return -EIO;
	memcpy(&old, v->mv_data, sizeof(old));
	hex_encode((uint8_t *)k->mv_data + 4, 16, version);
	rc = names_version_get(&u->t, get_u32(k->mv_data), version, &now);
	now.op = old.seq;
	now.replaced = old.replaced;
	kb_add(&key, k->mv_data, k->mv_size);
	return rc ? rc : names_kv_put(&u->t, T_VERSIONS, &key, &now, sizeof(now));
}

static int task_convert(struct upgrade *u, const MDB_val *k, const MDB_val *v)
{
	struct keybuf key = { .len = 0 };

	if (v->mv_size < 16 || k->mv_size > sizeof(key.bytes))
		return -EIO;
	kb_add(&key, k->mv_data, k->mv_size);
	return names_kv_put(&u->t, T_TASKS, &key, v->mv_data, 16);
}

/* ---- all of them ---- */

/* So many entries of an old table, from where the last step ended. */
static int step(struct upgrade *u, int table,
		int (*convert)(struct upgrade *u, const MDB_val *k, const MDB_val *v))
{
	MDB_val k = kb_val(&u->at), v;
	MDB_cursor *c;
	int rc = mdb_cursor_open(u->t.txn, u->old[table], &c);

	if (rc)
		return names_errno(rc);
	rc = names_errno(mdb_cursor_get(c, &k, &v, u->at.len ? MDB_SET_RANGE : MDB_FIRST));
	for (u->left = STEP; !rc && u->left; u->left--) {
		rc = convert(u, &k, &v);
		if (!rc)
			rc = names_errno(mdb_cursor_get(c, &k, &v, MDB_NEXT));
	}
	u->at.len = 0;
	u->done = rc == -ENOENT;
	if (!rc && k.mv_size <= sizeof(u->at.bytes))
		kb_add(&u->at, k.mv_data, k.mv_size);
	mdb_cursor_close(c);
	return u->done ? 0 : rc;
}

static int old_open(struct upgrade *u)
{
	int rc = 0;

	for (int i = 0; i < OLD_TABLES && !rc; i++)
		rc = mdb_dbi_open(u->t.txn, old_names[i], i == OLD_NAMES ? MDB_DUPSORT : 0,
				  &u->old[i]);
	return names_errno(rc);
}

/* What an upgrade that was cut off left behind. */
static int begin(struct upgrade *u)
{
	static const enum names_table fresh[] = { T_BUCKETS, T_NAMES, T_ROWS, T_VERSIONS, T_TASKS };
	int rc = 0;

	for (size_t i = 0; i < sizeof(fresh) / sizeof(fresh[0]) && !rc; i++)
		rc = names_errno(mdb_drop(u->t.txn, names_table(u->t.db, fresh[i]), 0));
	return rc;
}

static int finish(struct upgrade *u)
{
	int rc = 0;

	for (int i = 0; i < OLD_TABLES && !rc; i++)
		rc = names_errno(mdb_drop(u->t.txn, u->old[i], 1));
	return rc ? rc : format_write(&u->t);
}

static const struct {
	int table;
	int (*convert)(struct upgrade *u, const MDB_val *k, const MDB_val *v);
} conversions[] = {
	{ OLD_BUCKETS, meta_convert },
	{ OLD_ROWS, row_convert },
	{ OLD_VERSIONS, version_convert },
	{ OLD_TASKS, task_convert },
};
#define CONVERSIONS (sizeof(conversions) / sizeof(conversions[0]))

static int convert_all(struct upgrade *u)
{
	int rc = 0;

	for (size_t i = 0; i < CONVERSIONS && !rc; i++) {
		u->at.len = 0;
		do {
			rc = names_errno(mdb_txn_begin(u->t.db->env, NULL, 0, &u->t.txn));
			if (rc)
				return rc;
			rc = i || u->at.len ? 0 : begin(u);
			if (!rc)
				rc = step(u, conversions[i].table, conversions[i].convert);
			if (!rc && u->done && i + 1 == CONVERSIONS)
				rc = finish(u);
			if (rc)
				mdb_txn_abort(u->t.txn);
			else
				rc = names_errno(mdb_txn_commit(u->t.txn));
		} while (!rc && !u->done);
	}
	return rc;
}

int names_format_check(struct names_db *db)
{
	struct names_txn t = { .db = db };
	uint32_t format;
	int rc = names_errno(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &t.txn));

	if (rc)
		return rc;
	rc = format_read(&t, &format);
	mdb_txn_abort(t.txn);
	if (!rc && format > NAMES_FORMAT)
		rc = -EPROTO;
	return rc || format == NAMES_FORMAT ? rc : -ENOENT;
}

int names_upgrade(struct names_db *db)
{
	struct upgrade *u = calloc(1, sizeof(*u));
	uint32_t format;
	bool old = false;
	int rc;

	if (!u)
		return -ENOMEM;
	u->t.db = db;
	rc = names_errno(mdb_txn_begin(db->env, NULL, 0, &u->t.txn));
	if (rc) {
		free(u);
		return rc;
	}
	rc = format_read(&u->t, &format);
	if (!rc && format > NAMES_FORMAT)
		rc = -EPROTO;
	if (!rc && !format) {
		rc = old_open(u);
		old = !rc;
		if (rc == -ENOENT)
			rc = format_write(&u->t);
	}
	if (rc)
		mdb_txn_abort(u->t.txn);
	else
		rc = names_errno(mdb_txn_commit(u->t.txn));
	if (!rc && old)
		rc = convert_all(u);
	free(u);
	return rc;
}
