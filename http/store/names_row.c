/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_row.c -- rows and what hangs on them: the index, hashes, versions, counters; the history of
 * operations. See names_db.h for the tables.
 */
#include <errno.h>
#include <stdio.h>

#include "http/store/names_db_internal.h"
#include "lib/hash.h"

/* A row's fixed part; the key, the ETag and the holders' names, each ended by 0, and the meta
 * without an end follow. */
struct row_head {
	uint64_t epoch, size, order;
	int64_t modified;
	uint8_t sha256[32];
	uint8_t version[16];
	uint32_t nparts, part;
	uint16_t meta_len;
	uint8_t flags, nholders; /* flags: INDEX_… */
	uint8_t pad[4];
};
_Static_assert(sizeof(struct row_head) == 96, "layout");
_Static_assert(sizeof(struct row_head) + NAMES_KEY_MAX + 1 + NAMES_ETAG_MAX + 1 + NAMES_META_MAX +
			       NAMES_HOLDERS_MAX * CONF_NAME_MAX <=
		       NAMES_ROW_MAX,
	       "a row fits");

static size_t text_add(unsigned char *out, size_t len, const char *text)
{
	size_t n = strlen(text) + 1;

	memcpy(out + len, text, n);
	return len + n;
}

static size_t row_pack(const struct name_entry *e, unsigned char *out)
{
	struct row_head h = {
		.epoch = e->epoch,
		.size = e->size,
		.order = e->order,
		.modified = e->modified,
		.nparts = e->nparts,
		.part = e->part,
		.meta_len = (uint16_t)e->meta_len,
		.flags = (uint8_t)names_index_flags(e),
		.nholders = (uint8_t)e->nholders,
	};
	size_t len = sizeof(h);

	memcpy(h.sha256, e->sha256, 32);
	names_version_pack(h.version, e->version);
	memcpy(out, &h, sizeof(h));
	len = text_add(out, len, e->key);
	len = text_add(out, len, e->etag);
	for (unsigned int i = 0; i < e->nholders; i++)
		len = text_add(out, len, e->holders[i]);
	memcpy(out + len, e->meta, e->meta_len);
	return len + e->meta_len;
}

static int text_take(const char **p, const char *end, char *out, size_t room)
{
	size_t len = strnlen(*p, (size_t)(end - *p));

	if (*p + len >= end || len >= room)
		return -EIO;
	memcpy(out, *p, len + 1);
	*p += len + 1;
	return 0;
}

int names_row_unpack(struct name_entry *e, const MDB_val *val, uint64_t seq)
{
	const char *p = val->mv_data, *end = p + val->mv_size;
	struct row_head h;

	if (val->mv_size < sizeof(h))
		return -EIO;
	memcpy(&h, p, sizeof(h));
	p += sizeof(h);
	memset(e, 0, offsetof(struct name_entry, holders));
	e->epoch = h.epoch;
	e->seq = seq;
	e->order = h.order;
	e->size = h.size;
	e->modified = h.modified;
	e->deleted = h.flags & INDEX_DELETED;
	e->marker = h.flags & INDEX_MARKER;
	e->null_version = h.flags & INDEX_NULL;
	e->nparts = h.nparts;
	e->part = h.part;
	e->meta_len = h.meta_len;
	memcpy(e->sha256, h.sha256, 32);
	hex_encode(h.version, 16, e->version);
	if (h.nholders > NAMES_HOLDERS_MAX || text_take(&p, end, e->key, sizeof(e->key)) ||
	    text_take(&p, end, e->etag, sizeof(e->etag)))
		return -EIO;
	for (; e->nholders < h.nholders; e->nholders++)
		if (text_take(&p, end, e->holders[e->nholders], CONF_NAME_MAX))
			return -EIO;
	if (h.meta_len > NAMES_META_MAX || end - p != h.meta_len)
		return -EIO;
	memcpy(e->meta, p, h.meta_len);
	e->meta[h.meta_len] = '\0';
	return 0;
}

/* ---- versions ---- */

static void kb_version(struct keybuf *k, uint32_t id, const uint8_t version[16])
{
	k->len = 0;
	kb_u32(k, id);
	kb_add(k, version, 16);
}

static bool id_is_set(const uint8_t id[16])
{
	static const uint8_t none[16];

	return memcmp(id, none, 16) != 0;
}

/* What is known of a version; zero when nothing is. */
static int version_load(struct names_txn *t, struct keybuf *k, struct version_value *v)
{
	MDB_val key = kb_val(k), val;
	int rc = names_errno(mdb_get(t->txn, names_table(t->db, T_VERSIONS), &key, &val));

	memset(v, 0, sizeof(*v));
	if (!rc)
		memcpy(v, val.mv_data, sizeof(*v));
	return rc == -ENOENT ? 0 : rc;
}

static int version_store(struct names_txn *t, struct keybuf *k, const struct version_value *v)
{
	int rc;

	if (v->op || v->row)
		return names_kv_put(t, T_VERSIONS, k, v, sizeof(*v));
	rc = names_kv_del(t, T_VERSIONS, k, NULL);
	return rc == -ENOENT ? 0 : rc;
}

static int version_row_set(struct names_txn *t, uint32_t id, const char *version, uint64_t row)
{
	struct version_value v;
	uint8_t packed[16];
	struct keybuf k;
	int rc = names_version_pack(packed, version);

	if (rc)
		return rc;
	kb_version(&k, id, packed);
	rc = version_load(t, &k, &v);
	v.row = row;
	return rc ? rc : version_store(t, &k, &v);
}

int names_version_get(struct names_txn *t, uint32_t id, const char *version,
		      struct version_value *v)
{
	uint8_t packed[16];
	struct keybuf k;
	int rc = names_version_pack(packed, version);

	if (rc)
		return rc;
	kb_version(&k, id, packed);
	return version_load(t, &k, v);
}

/* ---- history ---- */

/* Removes the operation that leaves the window when `seq` enters. */
static int history_trim(struct names_txn *t, uint32_t id, uint64_t seq)
{
	struct history_value h;
	struct version_value v;
	struct keybuf place, k;
	MDB_val key, val;
	int rc;

	if (seq <= NAMES_HISTORY)
		return 0;
	kb_place(&place, id, seq - NAMES_HISTORY);
	key = kb_val(&place);
	rc = names_errno(mdb_get(t->txn, names_table(t->db, T_HISTORY), &key, &val));
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	memcpy(&h, val.mv_data, sizeof(h));
	rc = names_kv_del(t, T_HISTORY, &place, NULL);
	if (rc || !id_is_set(h.id))
		return rc;
	kb_version(&k, id, h.id);
	rc = version_load(t, &k, &v);
	v.op = 0;
	v.replaced = 0;
	return rc ? rc : version_store(t, &k, &v);
}

int names_history_add(struct names_txn *t, uint32_t id, uint64_t seq, const struct history_value *h)
{
	struct version_value v;
	struct keybuf place, k;
	int rc = history_trim(t, id, seq);

	kb_place(&place, id, seq);
	if (!rc)
		rc = names_kv_put(t, T_HISTORY, &place, h, sizeof(*h));
	if (rc || !id_is_set(h->id))
		return rc;
	kb_version(&k, id, h->id);
	rc = version_load(t, &k, &v);
	v.op = seq;
	v.replaced = h->replaced;
	return rc ? rc : version_store(t, &k, &v);
}

int names_version_find(struct names_txn *t, uint32_t id, const char *version, uint64_t *seq,
		       bool *replaced)
{
	struct version_value v;
	int rc = names_version_get(t, id, version, &v);

	if (rc || !v.op)
		return rc ? rc : -ENOENT;
	*seq = v.op;
	*replaced = v.replaced;
	return 0;
}

bool names_history_has(struct names_txn *t, uint32_t id, uint64_t epoch, uint64_t seq)
{
	struct history_value h;
	struct keybuf place;
	MDB_val key, val;

	if (seq == 0)
		return true;
	kb_place(&place, id, seq);
	key = kb_val(&place);
	if (mdb_get(t->txn, names_table(t->db, T_HISTORY), &key, &val))
		return false;
	memcpy(&h, val.mv_data, sizeof(h));
	return h.epoch == epoch;
}

/* ---- writing and dropping ---- */

static bool has_hash(enum names_space space, const struct name_entry *e)
{
	static const uint8_t none[32];

	return space == NAMES_OBJECTS && !e->deleted && !e->marker && memcmp(e->sha256, none, 32);
}

/* The index, hash and version entries of e. */
static int hang(struct names_txn *t, uint32_t id, enum names_space space,
		const struct name_entry *e, bool add)
{
	uint32_t at = names_space_id(id, space);
	struct keybuf hash = { .len = 0 }, place;
	int rc = add ? names_index_put(t, at, e) : names_index_del(t, at, e);

	if (!rc && !e->deleted)
		rc = version_row_set(t, at, e->version, add ? e->seq : 0);
	if (rc || !has_hash(space, e))
		return rc;
	kb_add(&hash, e->sha256, 32);
	kb_place(&place, id, e->seq);
	return add ? names_kv_put(t, T_HASHES, &hash, place.bytes, place.len)
		   : names_kv_del(t, T_HASHES, &hash, &place);
}

static void count(struct names_meta *meta, enum names_space space, const struct name_entry *e,
		  bool add)
{
	uint64_t one = add ? 1 : UINT64_MAX, size = add ? e->size : -e->size;

	if (e->deleted)
		return;
	switch (space) {
	case NAMES_OBJECTS:
		if (e->marker)
			meta->markers += one;
		else
			meta->objects += one;
		if (!e->marker && !e->nparts)
			meta->bytes += size;
		break;
	case NAMES_UPLOADS:
		meta->uploads += one;
		break;
	case NAMES_PARTS:
		meta->parts += one;
		meta->bytes += size;
		break;
	case NAMES_DROPPED:
		meta->dropped += (uint32_t)one;
		break;
	}
}

int names_row_drop(struct names_txn *t, struct names_meta *meta, enum names_space space,
		   const struct name_entry *e)
{
	struct keybuf place;
	int rc = hang(t, meta->id, space, e, false);

	kb_place(&place, names_space_id(meta->id, space), e->seq);
	if (!rc)
		rc = names_kv_del(t, T_ROWS, &place, NULL);
	if (!rc)
		count(meta, space, e, false);
	return rc;
}

/* All parts of a group that is gone. */
static int parts_drop(struct names_txn *t, struct names_meta *meta, const char *group)
{
	uint32_t id = names_space_id(meta->id, NAMES_PARTS);
	struct names_walk w;
	struct name_entry *e = malloc(sizeof(*e));
	int rc = e ? names_walk_open(&w, t, id) : -ENOMEM;

	if (rc) {
		free(e);
		return rc;
	}
	while (!(rc = names_walk_seek(&w, group, 32)) && !strncmp(w.key, group, 32)) {
		rc = names_row_get(t, meta->id, NAMES_PARTS, w.seq, e);
		if (!rc)
			rc = names_row_drop(t, meta, NAMES_PARTS, e);
		if (rc)
			break;
	}
	names_walk_close(&w);
	free(e);
	return rc == -ENOENT ? 0 : rc;
}

/* The row that is in e's slot; -ENOENT. */
static int slot_find(struct names_txn *t, uint32_t id, const struct name_entry *e, uint64_t *seq)
{
	struct names_walk w;
	int rc = names_walk_open(&w, t, id);

	if (rc)
		return rc;
	rc = names_walk_seek_order(&w, e->key, e->null_version ? UINT64_MAX : e->order);
	while (!rc && e->null_version && !(w.flags & INDEX_NULL) && !strcmp(w.key, e->key))
		rc = names_walk_next(&w);
	if (!rc && (strcmp(w.key, e->key) || (!e->null_version && w.order != e->order)))
		rc = -ENOENT;
	*seq = w.seq;
	names_walk_close(&w);
	return rc;
}

int names_row_slot(struct names_txn *t, uint32_t id, enum names_space space,
		   const struct name_entry *e, struct name_entry *row)
{
	uint64_t seq;
	int rc = slot_find(t, names_space_id(id, space), e, &seq);

	return rc ? rc : names_row_get(t, id, space, seq, row);
}

/* Empties the slot. */
static int slot_clear(struct names_txn *t, struct names_meta *meta, enum names_space space,
		      const struct name_entry *e)
{
	struct name_entry old;
	uint64_t seq;
	bool parts;
	int rc = slot_find(t, names_space_id(meta->id, space), e, &seq);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	rc = names_row_get(t, meta->id, space, seq, &old);
	if (!rc)
		rc = names_row_drop(t, meta, space, &old);
	parts = space == NAMES_UPLOADS ? e->deleted : space == NAMES_OBJECTS && old.nparts > 0;
	if (rc || !parts || !strcmp(old.version, e->version))
		return rc;
	/* They leave no tombstones: a copy that is behind must be made anew. */
	if (e->seq > meta->purged)
		meta->purged = e->seq;
	return parts_drop(t, meta, old.version);
}

/* The upload has become the object. */
static int upload_end(struct names_txn *t, struct names_meta *meta, const struct name_entry *e)
{
	struct name_entry upload;
	int rc = names_row_of(t, meta->id, NAMES_UPLOADS, e->version, &upload);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	return names_row_drop(t, meta, NAMES_UPLOADS, &upload);
}

int names_row_write(struct names_txn *t, struct names_meta *meta, enum names_space space,
		    const struct name_entry *e)
{
	unsigned char row[NAMES_ROW_MAX];
	struct keybuf place;
	int rc = slot_clear(t, meta, space, e);

	if (!rc && space == NAMES_OBJECTS && e->nparts && !e->deleted)
		rc = upload_end(t, meta, e);
	kb_place(&place, names_space_id(meta->id, space), e->seq);
	if (!rc)
		rc = names_kv_put(t, T_ROWS, &place, row, row_pack(e, row));
	if (!rc)
		rc = hang(t, meta->id, space, e, true);
	if (!rc)
		count(meta, space, e, true);
	return rc;
}

/* The part at w goes to the other space. */
static int part_leave(struct names_txn *t, struct names_meta *meta, const struct names_walk *w,
		      const uint8_t keep[NAMES_KEEP_BYTES], bool *moved, struct name_entry *e)
{
	int rc = names_row_get(t, meta->id, NAMES_PARTS, w->seq, e);

	if (rc || e->deleted || names_keeps(keep, e->part))
		return rc;
	*moved = true;
	rc = names_row_drop(t, meta, NAMES_PARTS, e);
	return rc ? rc : names_row_write(t, meta, NAMES_DROPPED, e);
}

int names_parts_leave(struct names_txn *t, struct names_meta *meta, const char *group,
		      const uint8_t keep[NAMES_KEEP_BYTES], uint64_t seq)
{
	struct name_entry *e = malloc(sizeof(*e));
	struct names_walk w;
	bool moved = false;
	int rc = e ? names_walk_open(&w, t, names_space_id(meta->id, NAMES_PARTS)) : -ENOMEM;

	if (rc) {
		free(e);
		return rc;
	}
	/* Looked for anew behind each: a cursor does not outlive what is written. */
	rc = names_walk_seek(&w, group, 32);
	while (!rc && !strncmp(w.key, group, 32)) {
		char behind[NAMES_KEY_MAX + 2];

		snprintf(behind, sizeof(behind), "%s\1", w.key);
		rc = part_leave(t, meta, &w, keep, &moved, e);
		if (!rc)
			rc = names_walk_seek(&w, behind, strlen(behind));
	}
	names_walk_close(&w);
	free(e);
	/* These rows keep their places in the order: a copy that is behind must be made anew. */
	if (moved && seq > meta->purged)
		meta->purged = seq;
	return rc == -ENOENT ? 0 : rc;
}

/* ---- finding ---- */

int names_row_get(struct names_txn *t, uint32_t id, enum names_space space, uint64_t seq,
		  struct name_entry *entry)
{
	struct keybuf place;
	MDB_val key, val;
	int rc;

	kb_place(&place, names_space_id(id, space), seq);
	key = kb_val(&place);
	rc = names_errno(mdb_get(t->txn, names_table(t->db, T_ROWS), &key, &val));
	return rc ? rc : names_row_unpack(entry, &val, seq);
}

int names_row_find(struct names_txn *t, uint32_t id, const char *name, struct name_entry *entry)
{
	struct names_walk w;
	int rc = names_walk_open(&w, t, id);

	if (rc)
		return rc;
	rc = names_walk_current(&w, name);
	names_walk_close(&w);
	if (!rc)
		rc = names_row_get(t, id, NAMES_OBJECTS, w.seq, entry);
	if (!rc)
		entry->current = true;
	return rc;
}

int names_row_of(struct names_txn *t, uint32_t id, enum names_space space, const char *version,
		 struct name_entry *entry)
{
	struct version_value v;
	int rc = names_version_get(t, names_space_id(id, space), version, &v);

	if (rc || !v.row)
		return rc ? rc : -ENOENT;
	return names_row_get(t, id, space, v.row, entry);
}

int names_row_data(struct names_txn *t, uint32_t id, const char *version, enum names_space *space,
		   struct name_entry *entry)
{
	int rc = names_row_of(t, id, NAMES_OBJECTS, version, entry);

	*space = NAMES_OBJECTS;
	if (rc != -ENOENT)
		return rc;
	*space = NAMES_PARTS;
	return names_row_of(t, id, NAMES_PARTS, version, entry);
}

static int null_find(struct names_walk *w, const char *key)
{
	int rc = names_walk_current(w, key);

	while (!rc && !strcmp(w->key, key) &&
	       (w->flags & (INDEX_NULL | INDEX_DELETED)) != INDEX_NULL)
		rc = names_walk_next(w);
	return !rc && strcmp(w->key, key) ? -ENOENT : rc;
}

int names_row_version(struct names_txn *t, uint32_t id, const char *key, const char *version,
		      struct name_entry *entry)
{
	struct names_walk w;
	int rc = names_walk_open(&w, t, id);

	if (rc)
		return rc;
	if (!strcmp(version, "null")) {
		rc = null_find(&w, key);
		if (!rc)
			rc = names_row_get(t, id, NAMES_OBJECTS, w.seq, entry);
	} else {
		rc = names_row_of(t, id, NAMES_OBJECTS, version, entry);
		/* The null version is called null. */
		if (!rc && (strcmp(entry->key, key) || entry->null_version))
			rc = -ENOENT;
	}
	if (!rc && !names_walk_current(&w, key))
		entry->current = w.order == entry->order;
	names_walk_close(&w);
	return rc == -EINVAL ? -ENOENT : rc;
}
