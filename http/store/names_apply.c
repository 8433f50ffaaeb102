/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_apply.c -- what an operation does to the tables. See names_db.h.
 */
#include <errno.h>

#include "http/store/names_db_internal.h"

void kb_task(struct keybuf *k, uint32_t id, enum names_task_kind kind, const char *node)
{
	unsigned char b = (unsigned char)kind;

	k->len = 0;
	kb_u32(k, id);
	kb_add(k, &b, 1);
	kb_add(k, node, strlen(node) + 1);
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
	return names_kv_put(t, T_PENDING, &place, &now, sizeof(now));
}

int names_task_add(struct names_txn *t, struct names_meta *meta, const struct names_task *task)
{
	uint8_t version[16];
	struct keybuf k;
	int rc = names_version_pack(version, task->version);

	if (rc)
		return rc;
	kb_task(&k, meta->id, task->kind, task->node);
	kb_u64(&k, task->seq);
	rc = names_kv_put(t, T_TASKS, &k, version, sizeof(version));
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
	rc = names_kv_del(t, T_TASKS, &k, NULL);
	if (!rc)
		meta->tasks--;
	return rc;
}

static int apply_write(struct names_txn *t, struct names_meta *meta, const struct names_op *op,
		       char (*targets)[CONF_NAME_MAX], unsigned int ntargets)
{
	struct history_value h = { .epoch = op->epoch, .replaced = op->replaced };
	struct names_task task = { .kind = NAMES_TASK_FORGET, .seq = op->seq };
	int rc = op->id[0] ? names_version_pack(h.id, op->id) : 0;

	if (!rc && op->kind == NAMES_OP_COMPLETE)
		rc = names_parts_leave(t, meta, op->entry.version, op->keep, op->seq);
	if (!rc)
		rc = names_row_write(t, meta, op->space, &op->entry);
	if (!rc)
		rc = names_history_add(t, meta->id, op->seq, &h);
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

/* A tombstone that everybody confirmed goes. */
static int tombstone_drop(struct names_txn *t, struct names_meta *meta, uint64_t seq)
{
	struct name_entry e;
	int rc = 0;

	for (int space = NAMES_OBJECTS; space <= NAMES_DROPPED && !rc; space++) {
		rc = names_row_get(t, meta->id, (enum names_space)space, seq, &e);
		if (!rc && e.deleted) {
			if (seq > meta->purged)
				meta->purged = seq;
			rc = names_row_drop(t, meta, (enum names_space)space, &e);
		}
		rc = rc == -ENOENT ? 0 : rc;
	}
	return rc;
}

/* One node fewer to wait for. */
static int pending_drop(struct names_txn *t, struct names_meta *meta, uint64_t seq)
{
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
		return names_kv_put(t, T_PENDING, &place, &left, sizeof(left));
	}
	rc = names_kv_del(t, T_PENDING, &place, NULL);
	return rc ? rc : tombstone_drop(t, meta, seq);
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
	enum names_space space;
	struct name_entry e;
	int rc = task_drop(t, meta, NAMES_TASK_FETCH, op->node, op->seqs[0]);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	rc = names_row_data(t, meta->id, op->entry.version, &space, &e);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (!op->holds || e.nholders >= NAMES_HOLDERS_MAX)
		return 0;
	for (unsigned int i = 0; i < e.nholders; i++)
		if (!strcmp(e.holders[i], op->node))
			return 0;
	strcpy(e.holders[e.nholders++], op->node);
	e.epoch = op->epoch;
	e.seq = op->seq;
	return names_row_write(t, meta, space, &e);
}

static int apply_other(struct names_txn *t, struct names_meta *meta, const struct names_op *op)
{
	struct history_value h = { .epoch = op->epoch };
	int rc = op->id[0] ? names_version_pack(h.id, op->id) : 0;

	if (!rc)
		rc = names_history_add(t, meta->id, op->seq, &h);
	if (rc)
		return rc;
	switch (op->kind) {
	case NAMES_OP_FORGOTTEN:
		return apply_forgotten(t, meta, op);
	case NAMES_OP_FETCHED:
		return apply_fetched(t, meta, op);
	case NAMES_OP_OPEN:
	case NAMES_OP_CLOSE:
		meta->closed = op->kind == NAMES_OP_CLOSE;
		return 0;
	default:
		return -EPROTO;
	}
}

int names_apply(struct names_txn *t, struct names_meta *meta, const struct names_op *op,
		char (*targets)[CONF_NAME_MAX], unsigned int ntargets)
{
	int rc;

	if (op->seq != meta->seq + 1 || op->epoch < meta->seq_epoch)
		return -EPROTO;
	if (op->kind == NAMES_OP_PUT || op->kind == NAMES_OP_DELETE ||
	    op->kind == NAMES_OP_COMPLETE)
		rc = apply_write(t, meta, op, targets, ntargets);
	else
		rc = apply_other(t, meta, op);
	if (rc)
		return rc;
	meta->seq = op->seq;
	meta->seq_epoch = op->epoch;
	return 0;
}
