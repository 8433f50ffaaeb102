/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_copy.c -- a bucket's content as pages: all of it, or what came after a position that both
 * sides have in their history. First the outbox (always whole), then the rows in order, then the
 * history.
 */
#include <errno.h>

#include "http/store/names_db_internal.h"
#include "lib/hash.h"

/* So many of the longest fit into NAMES_BODY_MAX with JSON around them; rows are weighed, too. */
#define PAGE_TASKS   3000
#define PAGE_ROWS    1000
#define PAGE_HISTORY 4000

/* A walk over one table's part of a bucket; returns 1 when a page is full, 0 at the end, -errno. */
struct walk {
	struct names_txn *t;
	uint32_t id;
	unsigned int room;
	size_t bytes;
	json_t *list;
	unsigned char last[NAMES_CURSOR_MAX / 2 - 2]; /* key of the last entry told */
	size_t last_len;
};

static json_t *task_json(struct walk *w, const MDB_val *k, const MDB_val *v)
{
	const char *node = (char *)k->mv_data + 5;
	char version[33];

	(void)w;
	return json_pack("{s:i s:s s:I s:s}", "kind", ((unsigned char *)k->mv_data)[4], "node",
			 node, "seq", (json_int_t)get_u64(node + strlen(node) + 1), "version",
			 hex_encode(v->mv_data, 16, version));
}

static json_t *row_json(struct walk *w, const MDB_val *k, const MDB_val *v)
{
	struct name_entry e;

	if (names_row_unpack(&e, v, get_u64((char *)k->mv_data + 4)))
		return NULL;
	w->bytes += names_entry_weight(&e);
	return names_entry_encode(&e);
}

static json_t *history_json(struct walk *w, const MDB_val *k, const MDB_val *v)
{
	struct history_value h;
	char id[33];

	(void)w;
	memcpy(&h, v->mv_data, sizeof(h));
	return json_pack("[I I s b]", (json_int_t)get_u64((char *)k->mv_data + 4),
			 (json_int_t)h.epoch, hex_encode(h.id, 16, id), h.replaced);
}

static int walk_table(struct walk *w, enum names_table table, struct keybuf *from, bool beyond,
		      json_t *(*encode)(struct walk *w, const MDB_val *k, const MDB_val *v))
{
	MDB_val k = kb_val(from), v;
	MDB_cursor *c;
	int rc = names_errno(mdb_cursor_open(w->t->txn, names_table(w->t->db, table), &c));

	if (rc)
		return rc;
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	if (!rc && beyond && k.mv_size == from->len && !memcmp(k.mv_data, from->bytes, from->len))
		rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
	for (; !rc && get_u32(k.mv_data) == w->id; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		if (w->room-- == 0 || w->bytes > NAMES_BATCH_BYTES) {
			mdb_cursor_close(c);
			return 1;
		}
		if (json_array_append_new(w->list, encode(w, &k, &v))) {
			mdb_cursor_close(c);
			return -EIO;
		}
		memcpy(w->last, k.mv_data, k.mv_size);
		w->last_len = k.mv_size;
	}
	mdb_cursor_close(c);
	return !rc || rc == MDB_NOTFOUND ? 0 : names_errno(rc);
}

static const struct part {
	char letter;
	const char *member;
	enum names_table table;
	enum names_space space;
	unsigned int room;
	json_t *(*encode)(struct walk *w, const MDB_val *k, const MDB_val *v);
} parts[] = {
	{ 't', "tasks", T_TASKS, NAMES_OBJECTS, PAGE_TASKS, task_json },
	{ 'r', "rows", T_ROWS, NAMES_OBJECTS, PAGE_ROWS, row_json },
	{ 'u', "uploads", T_ROWS, NAMES_UPLOADS, PAGE_ROWS, row_json },
	{ 'p', "parts", T_ROWS, NAMES_PARTS, PAGE_ROWS, row_json },
	{ 'd', "dropped", T_ROWS, NAMES_DROPPED, PAGE_ROWS, row_json },
	{ 'h', "history", T_HISTORY, NAMES_OBJECTS, PAGE_HISTORY, history_json },
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

/* The cursor: the part's letter and the last key in hex; only the letter at a part's beginning. */
static int cursor_read(const char *cursor, uint32_t id, uint64_t from, size_t *part,
		       struct keybuf *key, bool *beyond)
{
	size_t len;

	for (*part = 0; *part < PARTS && *cursor && parts[*part].letter != *cursor; (*part)++)
		;
	if (*part == PARTS)
		return -EINVAL;
	id = names_space_id(id, parts[*part].space);
	len = *cursor ? strlen(cursor + 1) : 0;
	if (len) {
		if (len % 2 || len / 2 > sizeof(key->bytes) || len / 2 < 4 ||
		    hex_decode(cursor + 1, key->bytes, len / 2))
			return -EINVAL;
		key->len = len / 2;
		*beyond = true;
		return get_u32(key->bytes) == id ? 0 : -EINVAL;
	}
	key->len = 0;
	kb_u32(key, id);
	if (*part > 0)
		kb_u64(key, from + 1);
	*beyond = false;
	return 0;
}

int names_export(struct names_txn *t, const struct names_meta *meta, uint64_t from,
		 char cursor[NAMES_CURSOR_MAX], json_t **page, bool *last)
{
	struct walk w = { .t = t, .id = meta->id };
	struct keybuf key = { .len = 0 };
	bool beyond;
	size_t part;
	int rc = cursor_read(cursor, meta->id, from, &part, &key, &beyond);

	if (rc)
		return rc;
	w.id = names_space_id(meta->id, parts[part].space);
	w.room = parts[part].room;
	w.list = json_array();
	rc = walk_table(&w, parts[part].table, &key, beyond, parts[part].encode);
	if (rc < 0) {
		json_decref(w.list);
		return rc;
	}
	*page = json_pack("{s:o s:I s:b}", parts[part].member, w.list, "purged",
			  (json_int_t)meta->purged, "closed", meta->closed != 0);
	*last = !rc && part + 1 == PARTS;
	cursor[0] = parts[rc || *last ? part : part + 1].letter;
	cursor[1] = '\0';
	if (rc)
		hex_encode(w.last, w.last_len, cursor + 1);
	return 0;
}

/* ---- receiving ---- */

/* Removes all entries of the bucket from a table whose keys begin with its id. */
static int table_wipe(struct names_txn *t, enum names_table table, uint32_t id)
{
	struct keybuf from = { .len = 0 };
	MDB_cursor *c;
	MDB_val k, v;
	int rc = mdb_cursor_open(t->txn, names_table(t->db, table), &c);

	if (rc)
		return names_errno(rc);
	kb_u32(&from, id);
	k = kb_val(&from);
	while (!(rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE)) && get_u32(k.mv_data) == id) {
		rc = mdb_cursor_del(c, 0);
		if (rc)
			break;
		k = kb_val(&from);
	}
	mdb_cursor_close(c);
	return !rc || rc == MDB_NOTFOUND ? 0 : names_errno(rc);
}

/* The hash index has no bucket in front: its entries go row by row. */
static int hashes_wipe(struct names_txn *t, uint32_t id)
{
	struct keybuf from;
	MDB_cursor *c;
	MDB_val k, v;
	int rc = mdb_cursor_open(t->txn, names_table(t->db, T_ROWS), &c);

	if (rc)
		return names_errno(rc);
	kb_place(&from, id, 0);
	k = kb_val(&from);
	for (rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE); !rc && get_u32(k.mv_data) == id;
	     rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		struct name_entry e;
		struct keybuf place;
		MDB_val hash = { 32, e.sha256 }, where;

		rc = names_row_unpack(&e, &v, get_u64((char *)k.mv_data + 4));
		if (rc)
			break;
		kb_place(&place, id, e.seq);
		where = kb_val(&place);
		if (!e.deleted && !e.marker)
			rc = mdb_del(t->txn, names_table(t->db, T_HASHES), &hash, &where);
		if (rc && rc != MDB_NOTFOUND)
			break;
	}
	mdb_cursor_close(c);
	return !rc || rc == MDB_NOTFOUND ? 0 : rc == -EIO ? rc : names_errno(rc);
}

/* Removes everything of the bucket but its meta, whose counters and position become 0. */
static int bucket_wipe(struct names_txn *t, struct names_meta *meta)
{
	static const enum names_table spaced[] = { T_NAMES, T_ROWS, T_VERSIONS },
				      plain[] = { T_HISTORY, T_TASKS, T_PENDING };
	int rc = hashes_wipe(t, meta->id);

	for (size_t i = 0; i < sizeof(spaced) / sizeof(spaced[0]); i++)
		for (int space = NAMES_OBJECTS; space <= NAMES_DROPPED && !rc; space++)
			rc = table_wipe(t, spaced[i],
					names_space_id(meta->id, (enum names_space)space));
	for (int space = NAMES_OBJECTS; space <= NAMES_DROPPED && !rc; space++)
		rc = table_wipe(t, T_NAMES,
				names_space_id(meta->id, (enum names_space)space) | INDEX_CHILD);
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]) && !rc; i++)
		rc = table_wipe(t, plain[i], meta->id);
	if (rc)
		return rc;
	meta->seq = meta->seq_epoch = meta->purged = 0;
	meta->objects = meta->bytes = meta->tasks = 0;
	meta->markers = meta->uploads = meta->parts = 0;
	meta->dropped = 0;
	return 0;
}

int names_import_begin(struct names_txn *t, struct names_meta *meta, uint64_t from)
{
	int rc;

	if (!from)
		return bucket_wipe(t, meta);
	rc = table_wipe(t, T_TASKS, meta->id);
	if (!rc)
		rc = table_wipe(t, T_PENDING, meta->id);
	if (!rc)
		meta->tasks = 0;
	return rc;
}

static int task_import(struct names_txn *t, struct names_meta *meta, const json_t *value)
{
	struct names_task task;
	uint64_t kind;
	int rc;

	if (names_json_u64(value, "kind", &kind) ||
	    (kind != NAMES_TASK_FORGET && kind != NAMES_TASK_FETCH) ||
	    names_json_text(value, "node", task.node, sizeof(task.node)) ||
	    !names_node_valid(task.node) || names_json_u64(value, "seq", &task.seq) ||
	    names_json_text(value, "version", task.version, sizeof(task.version)))
		return -EINVAL;
	task.kind = (enum names_task_kind)kind;
	rc = names_task_add(t, meta, &task);
	if (!rc && task.kind == NAMES_TASK_FORGET)
		rc = names_pending_add(t, meta->id, task.seq, 1);
	return rc;
}

static int space_import(struct names_txn *t, struct names_meta *meta, enum names_space space,
			const json_t *value)
{
	struct name_entry e;

	if (names_entry_decode(&e, value) || e.seq < 1)
		return -EINVAL;
	return names_row_write(t, meta, space, &e);
}

static int row_import(struct names_txn *t, struct names_meta *meta, const json_t *value)
{
	return space_import(t, meta, NAMES_OBJECTS, value);
}

static int upload_import(struct names_txn *t, struct names_meta *meta, const json_t *value)
{
	return space_import(t, meta, NAMES_UPLOADS, value);
}

static int part_import(struct names_txn *t, struct names_meta *meta, const json_t *value)
{
	return space_import(t, meta, NAMES_PARTS, value);
}

static int dropped_import(struct names_txn *t, struct names_meta *meta, const json_t *value)
{
	return space_import(t, meta, NAMES_DROPPED, value);
}

static int history_import(struct names_txn *t, struct names_meta *meta, const json_t *value)
{
	struct history_value h = { 0 };
	json_int_t seq, epoch;
	const char *id;
	int replaced;

	if (json_unpack_ex((json_t *)value, NULL, JSON_STRICT, "[I I s b]", &seq, &epoch, &id,
			   &replaced) ||
	    seq < 1 || epoch < 1 || names_version_pack(h.id, id))
		return -EINVAL;
	h.epoch = (uint64_t)epoch;
	h.replaced = replaced != 0;
	return names_history_add(t, meta->id, (uint64_t)seq, &h);
}

int names_import(struct names_txn *t, struct names_meta *meta, const json_t *page)
{
	static int (*const imports[PARTS])(struct names_txn *, struct names_meta *,
					   const json_t *) = {
		task_import, row_import, upload_import, part_import, dropped_import, history_import,
	};
	uint64_t purged;

	if (names_json_u64(page, "purged", &purged))
		return -EINVAL;
	for (size_t i = 0; i < PARTS; i++) {
		const json_t *list = json_object_get(page, parts[i].member), *value;
		size_t at;

		json_array_foreach (list, at, value) {
			int rc = imports[i](t, meta, value);

			if (rc)
				return rc;
		}
	}
	meta->purged = purged;
	meta->closed = json_is_true(json_object_get(page, "closed"));
	return 0;
}
