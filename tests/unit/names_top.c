/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_top.c -- makes, opens, applies, removes.
 */
#include "tests/unit/names_top.h"

#include <errno.h>

#include "tests/unit/unit.h"

char top[64];
char targets[3][CONF_NAME_MAX] = { "ep-1", "ep-2", "ep-3" };

int top_make(void **state)
{
	(void)state;
	unit_folder(top, sizeof(top));
	return 0;
}

int top_remove(void **state)
{
	(void)state;
	unit_folder_remove(top);
	return 0;
}

struct names_db *open_at(const char *name)
{
	struct names_db *db;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	assert_int_equal(names_db_open(&db, path), 0);
	return db;
}

int top_apply(struct names_txn *t, void *arg)
{
	struct names_op *op = arg;
	struct names_meta meta = { .state = NAMES_STATE_COMPLETE };
	int rc = names_meta_get(t, BUCKET, &meta);

	if (rc == -ENOENT)
		rc = names_meta_put(t, BUCKET, &meta);
	if (rc)
		return rc;
	op->seq = meta.seq + 1;
	op->entry.seq = op->seq;
	if (!op->entry.order)
		op->entry.order = op->seq;
	if (op->kind == NAMES_OP_PUT || op->kind == NAMES_OP_DELETE) {
		op->entry.null_version = true;
		strcpy(op->id, op->entry.version);
	}
	rc = names_apply(t, &meta, op, targets, 3);
	return rc ? rc : names_meta_put(t, BUCKET, &meta);
}

int top_position(struct names_txn *t, void *arg)
{
	return names_meta_get(t, BUCKET, arg);
}
