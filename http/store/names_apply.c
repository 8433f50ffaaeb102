/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_apply.c -- what an operation does to the tables. See names_db.h.
 */
#include <errno.h>

#include "http/store/names_db_internal.h"
#include "lib/hash.h"

/* A row's fixed part; the key and the holders' names, each ended by 0, follow. */
struct row_head {
	uint64_t epoch, size;
	int64_t modified;
	uint8_t sha256[32];
	uint8_t version[16];
	uint8_t deleted, nholders, pad[6];
};
_Static_assert(sizeof(struct row_head) == 80, "layout");
_Static_assert(sizeof(struct row_head) + 512 + 1 + NAMES_HOLDERS_MAX * CONF_NAME_MAX <=
		       NAMES_ROW_MAX,
	       "a row fits");

void kb_task(struct keybuf *k, uint32_t id, enum names_task_kind kind, const char *node)
{
	unsigned char b = (unsigned char)kind;

	k->len = 0;
	kb_u32(k, id);
	kb_add(k, &b, 1);
	kb_add(k, node, strlen(node) + 1);
}

void kb_name(struct keybuf *key, struct keybuf *rest, uint32_t id, const char *name)
{
	size_t len = strlen(name), head = len < NAMES_SPLIT ? len : NAMES_SPLIT;

	key->len = rest->len = 0;
	kb_u32(key, id);
	kb_add(key, name, head);
	kb_add(rest, name + head, len - head + 1);
}

size_t names_row_pack(const struct name_entry *e, unsigned char *out)
{
	struct row_head h = {
		.epoch = e->epoch,
		.size = e->size,
		.modified = e->modified,
		.deleted = e->deleted,
		.nholders = (uint8_t)e->nholders,
	};
	size_t len = sizeof(h);

	memcpy(h.sha256, e->sha256, 32);
	names_version_pack(h.version, e->version);
	memcpy(out, &h, sizeof(h));
	memcpy(out + len, e->key, strlen(e->key) + 1);
	len += strlen(e->key) + 1;
	for (unsigned int i = 0; i < e->nholders; i++) {
		memcpy(out + len, e->holders[i], strlen(e->holders[i]) + 1);
		len += strlen(e->holders[i]) + 1;
	}
	return len;
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
	memset(e, 0, sizeof(*e));
	e->epoch = h.epoch;
	e->seq = seq;
	e->size = h.size;
	e->modified = h.modified;
	e->deleted = h.deleted;
	memcpy(e->sha256, h.sha256, 32);
	hex_encode(h.version, 16, e->version);
	if (h.nholders > NAMES_HOLDERS_MAX || text_take(&p, end, e->key, sizeof(e->key)))
		return -EIO;
	for (; e->nholders < h.nholders; e->nholders++)
		if (text_take(&p, end, e->holders[e->nholders], CONF_NAME_MAX))
			return -EIO;
	return 0;
}

static int put(struct names_txn *t, enum names_table table, struct keybuf *k, const void *data,
	       size_t len)
{
	MDB_val key = kb_val(k), val = { len, (void *)data };

	return names_errno(mdb_put(t->txn, names_table(t->db, table), &key, &val, 0));
}

static int del(struct names_txn *t, enum names_table table, struct keybuf *k, struct keybuf *dup)
{
	MDB_val key = kb_val(k), val = dup ? kb_val(dup) : (MDB_val){ 0 };

	return names_errno(mdb_del(t->txn, names_table(t->db, table), &key, dup ? &val : NULL));
}

/* The index and hash entries of e: `fn` is applied to both. */
static int index_change(struct names_txn *t, uint32_t id, const struct name_entry *e, bool add)
{
	struct keybuf key, rest, hash = { .len = 0 }, place;
	unsigned char deleted = e->deleted;
	int rc;

	kb_name(&key, &rest, id, e->key);
	kb_u64(&rest, e->seq);
	kb_add(&rest, &deleted, 1);
	rc = add ? put(t, T_NAMES, &key, rest.bytes, rest.len) : del(t, T_NAMES, &key, &rest);
	if (rc || e->deleted)
		return rc;
	kb_add(&hash, e->sha256, 32);
	kb_place(&place, id, e->seq);
	return add ? put(t, T_HASHES, &hash, place.bytes, place.len)
		   : del(t, T_HASHES, &hash, &place);
}

int names_row_drop(struct names_txn *t, struct names_meta *meta, const struct name_entry *e)
{
	struct keybuf place;
	int rc = index_change(t, meta->id, e, false);

	kb_place(&place, meta->id, e->seq);
	if (!rc)
		rc = del(t, T_ROWS, &place, NULL);
	if (!rc && !e->deleted) {
		meta->objects--;
		meta->bytes -= e->size;
	}
	return rc;
}

int names_row_write(struct names_txn *t, struct names_meta *meta, const struct name_entry *e)
{
	unsigned char row[NAMES_ROW_MAX];
	struct name_entry old;
	struct keybuf place;
	int rc = names_row_find(t, meta->id, e->key, &old);

	if (!rc)
		rc = names_row_drop(t, meta, &old);
	else if (rc == -ENOENT)
		rc = 0;
	kb_place(&place, meta->id, e->seq);
	if (!rc)
		rc = put(t, T_ROWS, &place, row, names_row_pack(e, row));
	if (!rc)
		rc = index_change(t, meta->id, e, true);
	if (!rc && !e->deleted) {
		meta->objects++;
		meta->bytes += e->size;
	}
	return rc;
}

static void kb_version(struct keybuf *k, uint32_t id, const uint8_t version[16])
{
	k->len = 0;
	kb_u32(k, id);
	kb_add(k, version, 16);
}

static bool version_is_set(const uint8_t version[16])
{
	static const uint8_t none[16];

	return memcmp(version, none, 16) != 0;
}

/* Removes the operation that leaves the window when `seq` enters. */
static int history_trim(struct names_txn *t, uint32_t id, uint64_t seq)
{
	struct history_value h;
	struct keybuf place, version;
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
	rc = del(t, T_HISTORY, &place, NULL);
	if (rc || !version_is_set(h.version))
		return rc;
	kb_version(&version, id, h.version);
	rc = del(t, T_VERSIONS, &version, NULL);
	return rc == -ENOENT ? 0 : rc;
}

int names_history_add(struct names_txn *t, uint32_t id, uint64_t seq, const struct history_value *h)
{
	struct version_value v = { .seq = seq, .replaced = h->replaced };
	struct keybuf place, version;
	int rc = history_trim(t, id, seq);

	kb_place(&place, id, seq);
	if (!rc)
		rc = put(t, T_HISTORY, &place, h, sizeof(*h));
	if (rc || !version_is_set(h->version))
		return rc;
	kb_version(&version, id, h->version);
	return put(t, T_VERSIONS, &version, &v, sizeof(v));
}

int names_version_find(struct names_txn *t, uint32_t id, const char *version, uint64_t *seq,
		       bool *replaced)
{
	struct version_value v;
	struct keybuf k;
	uint8_t packed[16];
	MDB_val key, val;
	int rc = names_version_pack(packed, version);

	if (rc)
		return rc;
	kb_version(&k, id, packed);
	key = kb_val(&k);
	rc = names_errno(mdb_get(t->txn, names_table(t->db, T_VERSIONS), &key, &val));
	if (rc)
		return rc;
	memcpy(&v, val.mv_data, sizeof(v));
	*seq = v.seq;
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

int names_pending_add(struct names_txn *t, uint32_t id, uint64_t seq, uint32_t n)
{
	struct keybuf place;
	MDB_val key, val;
	uint32_t now = 0;
	int rc;

	kb_place(&place, id, seq);
	key = kb_val(&place);
	rc = names_errno(mdb_get(t->txn, names_table(t->db, T_PENDING), &key, &val));
	if (rc && rc != -ENOENT)
		return rc;
	if (!rc)
		memcpy(&now, val.mv_data, sizeof(now));
	now += n;
	return put(t, T_PENDING, &place, &now, sizeof(now));
}

int names_task_add(struct names_txn *t, struct names_meta *meta, const struct names_task *task)
{
	unsigned char value[16 + NAMES_KEY_MAX];
	size_t len = strlen(task->key);
	struct keybuf k;
	int rc = names_version_pack(value, task->version);

	if (rc)
		return rc;
	memcpy(value + 16, task->key, len);
	kb_task(&k, meta->id, task->kind, task->node);
	kb_u64(&k, task->seq);
	rc = put(t, T_TASKS, &k, value, 16 + len);
	if (!rc)
		meta->tasks++;
	return rc;
}

/* Removes a task; -ENOENT when it was not there. */
static int task_drop(struct names_txn *t, struct names_meta *meta, enum names_task_kind kind,
		     const char *node, uint64_t seq)
{
	struct keybuf k;
	int rc;

	kb_task(&k, meta->id, kind, node);
	kb_u64(&k, seq);
	rc = del(t, T_TASKS, &k, NULL);
	if (!rc)
		meta->tasks--;
	return rc;
}

static int apply_write(struct names_txn *t, struct names_meta *meta, const struct names_op *op,
		       char (*targets)[CONF_NAME_MAX], unsigned int ntargets)
{
	struct history_value h = { .epoch = op->epoch, .replaced = op->replaced };
	struct names_task task = { .kind = NAMES_TASK_FORGET, .seq = op->seq };
	int rc = names_version_pack(h.version, op->entry.version);

	if (!rc)
		rc = names_row_write(t, meta, &op->entry);
	if (!rc)
		rc = names_history_add(t, meta->id, op->seq, &h);
	strcpy(task.key, op->entry.key);
	strcpy(task.version, op->forget);
	for (unsigned int i = 0; i < ntargets && op->forget[0] && !rc; i++) {
		strcpy(task.node, targets[i]);
		rc = names_task_add(t, meta, &task);
	}
	if (!rc && op->forget[0] && ntargets)
		rc = names_pending_add(t, meta->id, op->seq, ntargets);
	task.kind = NAMES_TASK_FETCH;
	strcpy(task.version, op->entry.version);
	for (unsigned int i = 0; i < op->nfetch && !rc; i++) {
		strcpy(task.node, op->fetch[i]);
		rc = names_task_add(t, meta, &task);
	}
	return rc;
}

/* One node fewer to wait for. A tombstone that everybody confirmed goes. */
static int pending_drop(struct names_txn *t, struct names_meta *meta, uint64_t seq)
{
	struct name_entry e;
	struct keybuf place;
	MDB_val key, val;
	uint32_t left;
	int rc;

	kb_place(&place, meta->id, seq);
	key = kb_val(&place);
	rc = names_errno(mdb_get(t->txn, names_table(t->db, T_PENDING), &key, &val));
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	memcpy(&left, val.mv_data, sizeof(left));
	if (left > 1) {
		left--;
		return put(t, T_PENDING, &place, &left, sizeof(left));
	}
	rc = del(t, T_PENDING, &place, NULL);
	if (rc)
		return rc;
	rc = names_row_get(t, meta->id, seq, &e);
	if (rc || !e.deleted)
		return rc == -ENOENT ? 0 : rc;
	if (seq > meta->purged)
		meta->purged = seq;
	return names_row_drop(t, meta, &e);
}

static int apply_forgotten(struct names_txn *t, struct names_meta *meta, const struct names_op *op)
{
	for (unsigned int i = 0; i < op->nseqs; i++) {
		int rc = task_drop(t, meta, NAMES_TASK_FORGET, op->node, op->seqs[i]);

		if (!rc)
			rc = pending_drop(t, meta, op->seqs[i]);
		if (rc && rc != -ENOENT)
			return rc;
	}
	return 0;
}

static int apply_fetched(struct names_txn *t, struct names_meta *meta, const struct names_op *op)
{
	struct name_entry e;
	int rc = task_drop(t, meta, NAMES_TASK_FETCH, op->node, op->seqs[0]);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	rc = names_row_find(t, meta->id, op->entry.key, &e);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (!op->holds || e.deleted || strcmp(e.version, op->entry.version) ||
	    e.nholders >= NAMES_HOLDERS_MAX)
		return 0;
	for (unsigned int i = 0; i < e.nholders; i++)
		if (!strcmp(e.holders[i], op->node))
			return 0;
	strcpy(e.holders[e.nholders++], op->node);
	e.epoch = op->epoch;
	e.seq = op->seq;
	return names_row_write(t, meta, &e);
}

int names_apply(struct names_txn *t, struct names_meta *meta, const struct names_op *op,
		char (*targets)[CONF_NAME_MAX], unsigned int ntargets)
{
	struct history_value h = { .epoch = op->epoch };
	int rc;

	if (op->seq != meta->seq + 1 || op->epoch < meta->seq_epoch)
		return -EPROTO;
	if (op->kind == NAMES_OP_PUT || op->kind == NAMES_OP_DELETE) {
		rc = apply_write(t, meta, op, targets, ntargets);
	} else {
		rc = names_history_add(t, meta->id, op->seq, &h);
		if (!rc)
			rc = op->kind == NAMES_OP_FETCHED ? apply_fetched(t, meta, op)
							  : apply_forgotten(t, meta, op);
	}
	if (rc)
		return rc;
	meta->seq = op->seq;
	meta->seq_epoch = op->epoch;
	return 0;
}
