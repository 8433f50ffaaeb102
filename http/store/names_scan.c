/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_scan.c -- reading the tables: one key, listings in key order, by hash, the tasks of a node.
 */
#include <errno.h>
#include <stdlib.h>

#include "http/store/names_db_internal.h"
#include "lib/hash.h"

static int cursor_open(struct names_txn *t, enum names_table table, MDB_cursor **c)
{
	return names_errno(mdb_cursor_open(t->txn, names_table(t->db, table), c));
}

int names_row_get(struct names_txn *t, uint32_t id, uint64_t seq, struct name_entry *entry)
{
	struct keybuf place;
	MDB_val key, val;
	int rc;

	kb_place(&place, id, seq);
	key = kb_val(&place);
	rc = names_errno(mdb_get(t->txn, names_table(t->db, T_ROWS), &key, &val));
	return rc ? rc : names_row_unpack(entry, &val, seq);
}

int names_row_find(struct names_txn *t, uint32_t id, const char *name, struct name_entry *entry)
{
	struct keybuf key, rest;
	MDB_val k, v;
	MDB_cursor *c;
	int rc = cursor_open(t, T_NAMES, &c);

	if (rc)
		return rc;
	kb_name(&key, &rest, id, name);
	k = kb_val(&key);
	v = kb_val(&rest);
	/* The value begins with the rest of the key and its end: the smallest such is the only one.
	 */
	rc = names_errno(mdb_cursor_get(c, &k, &v, MDB_GET_BOTH_RANGE));
	if (!rc && (v.mv_size != rest.len + 9 || memcmp(v.mv_data, rest.bytes, rest.len)))
		rc = -ENOENT;
	if (!rc)
		rc = names_row_get(t, id, get_u64((char *)v.mv_data + rest.len), entry);
	mdb_cursor_close(c);
	return rc;
}

/* Places the cursor on the first index entry that may be told: at or after `from`, or after it when
 * `beyond`. */
static int scan_start(MDB_cursor *c, uint32_t id, const char *from, bool beyond, MDB_val *k,
		      MDB_val *v)
{
	struct keybuf key, rest;
	int rc;

	kb_name(&key, &rest, id, from);
	if (beyond)
		rest.bytes[rest.len - 1] = 1; /* keys hold no byte below 0x20: behind `from` itself,
						 before all longer */
	*k = kb_val(&key);
	*v = kb_val(&rest);
	rc = mdb_cursor_get(c, k, v, MDB_GET_BOTH_RANGE);
	if (!rc)
		return mdb_cursor_get(c, k, v, MDB_GET_CURRENT); /* k becomes LMDB's */
	if (rc != MDB_NOTFOUND)
		return rc;
	*k = kb_val(&key);
	rc = mdb_cursor_get(c, k, v, MDB_SET_RANGE);
	if (!rc && k->mv_size == key.len && !memcmp(k->mv_data, key.bytes, key.len))
		rc = mdb_cursor_get(c, k, v, MDB_NEXT_NODUP);
	return rc;
}

struct scan {
	struct names_txn *t;
	uint32_t id;
	const char *bucket, *prefix;
	unsigned int limit, told;
	names_entry_fn *fn;
	void *arg;
	bool more;
};

/* One index entry: 0 go on, 1 past the end, -errno. */
static int scan_one(struct scan *s, const MDB_val *k, const MDB_val *v)
{
	const unsigned char *seq = (unsigned char *)v->mv_data + v->mv_size - 9;
	size_t plen = strlen(s->prefix), head = plen < NAMES_SPLIT ? plen : NAMES_SPLIT;
	struct name_entry e;
	int rc;

	if (k->mv_size < 4 || get_u32(k->mv_data) != s->id || v->mv_size < 10)
		return 1;
	if (k->mv_size - 4 < head || memcmp((char *)k->mv_data + 4, s->prefix, head))
		return 1;
	if (plen > head &&
	    (v->mv_size - 10 < plen - head || memcmp(v->mv_data, s->prefix + head, plen - head)))
		return 1;
	if (seq[8])
		return 0;
	if (s->told == s->limit) {
		s->more = true;
		return 1;
	}
	rc = names_row_get(s->t, s->id, get_u64(seq), &e);
	if (rc)
		return rc == -ENOENT ? -EIO : rc;
	s->told++;
	return s->fn(s->arg, s->bucket, &e);
}

int names_scan(struct names_txn *t, uint32_t id, const char *bucket, const char *prefix,
	       const char *after, unsigned int limit, names_entry_fn *fn, void *arg, bool *more)
{
	struct scan s = { .t = t,
			  .id = id,
			  .bucket = bucket,
			  .prefix = prefix ? prefix : "",
			  .limit = limit,
			  .fn = fn,
			  .arg = arg };
	bool beyond = after && *after && strcmp(after, s.prefix) >= 0;
	MDB_cursor *c;
	MDB_val k, v;
	int rc = cursor_open(t, T_NAMES, &c);

	if (rc)
		return rc;
	rc = scan_start(c, id, beyond ? after : s.prefix, beyond, &k, &v);
	if (rc) {
		mdb_cursor_close(c);
		*more = false;
		return rc == MDB_NOTFOUND ? 0 : names_errno(rc);
	}
	do {
		rc = scan_one(&s, &k, &v);
		if (rc)
			break;
		rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
		if (rc)
			rc = rc == MDB_NOTFOUND ? 1 : names_errno(rc);
	} while (!rc);
	mdb_cursor_close(c);
	*more = s.more;
	return rc < 0 ? rc : 0;
}

struct bucket_of {
	uint32_t id;
	char name[NAMES_BUCKET_MAX + 1];
	bool complete;
};

static int bucket_match(void *arg, const char *bucket, const struct names_meta *meta)
{
	struct bucket_of *b = arg;

	if (meta->id == b->id) {
		strcpy(b->name, bucket);
		b->complete = meta->state == NAMES_STATE_COMPLETE;
	}
	return 0;
}

int names_scan_hash(struct names_txn *t, const uint8_t sha256[32], unsigned int limit,
		    names_entry_fn *fn, void *arg)
{
	MDB_val k = { 32, (void *)sha256 }, v;
	MDB_cursor *c;
	int rc = cursor_open(t, T_HASHES, &c);

	if (rc)
		return rc;
	rc = names_errno(mdb_cursor_get(c, &k, &v, MDB_SET_KEY));
	while (!rc && limit > 0 && v.mv_size == 12) {
		struct bucket_of b = { .id = get_u32(v.mv_data) };
		struct name_entry e;

		rc = names_meta_each(t, bucket_match, &b);
		if (!rc)
			rc = names_row_get(t, b.id, get_u64((char *)v.mv_data + 4), &e);
		if (!rc && b.complete) {
			limit--;
			rc = fn(arg, b.name, &e);
		}
		if (!rc)
			rc = names_errno(mdb_cursor_get(c, &k, &v, MDB_NEXT_DUP));
	}
	mdb_cursor_close(c);
	return rc == -ENOENT ? 0 : rc;
}

/* ---- tasks ---- */

static int task_unpack(struct names_task *task, const MDB_val *k, const MDB_val *v)
{
	const char *node = (char *)k->mv_data + 5;
	size_t len = strnlen(node, k->mv_size - 5);

	if (len >= CONF_NAME_MAX || k->mv_size != 5 + len + 1 + 8 || v->mv_size < 16 ||
	    v->mv_size > 16 + NAMES_KEY_MAX)
		return -EIO;
	memset(task, 0, sizeof(*task));
	task->kind = ((unsigned char *)k->mv_data)[4];
	memcpy(task->node, node, len);
	task->seq = get_u64(node + len + 1);
	hex_encode(v->mv_data, 16, task->version);
	memcpy(task->key, (char *)v->mv_data + 16, v->mv_size - 16);
	return 0;
}

int names_tasks_of(struct names_txn *t, uint32_t id, enum names_task_kind kind, const char *node,
		   struct names_task *out, unsigned int max)
{
	struct keybuf from;
	MDB_cursor *c;
	MDB_val k, v;
	unsigned int n = 0;
	int rc = cursor_open(t, T_TASKS, &c);

	if (rc)
		return rc;
	kb_task(&from, id, kind, node);
	k = kb_val(&from);
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	while (!rc && n < max && k.mv_size == from.len + 8 &&
	       !memcmp(k.mv_data, from.bytes, from.len)) {
		rc = task_unpack(&out[n++], &k, &v);
		if (!rc)
			rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		return rc == -EIO ? rc : names_errno(rc);
	return (int)n;
}

int names_tasks_nodes(struct names_txn *t, uint32_t id, enum names_task_kind kind,
		      char (*out)[CONF_NAME_MAX], unsigned int max)
{
	struct keybuf from = { .len = 0 };
	struct names_task task;
	unsigned char b = (unsigned char)kind;
	MDB_cursor *c;
	MDB_val k, v;
	unsigned int n = 0;
	int rc = cursor_open(t, T_TASKS, &c);

	if (rc)
		return rc;
	kb_u32(&from, id);
	kb_add(&from, &b, 1);
	k = kb_val(&from);
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	while (!rc && n < max && k.mv_size > 5 && !memcmp(k.mv_data, from.bytes, 5)) {
		struct keybuf next;

		rc = task_unpack(&task, &k, &v);
		if (rc)
			break;
		strcpy(out[n++], task.node);
		kb_task(&next, id, kind, task.node); /* behind all of this node's */
		kb_u64(&next, UINT64_MAX);
		k = kb_val(&next);
		rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	}
	mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		return rc == -EIO ? rc : names_errno(rc);
	return (int)n;
}
