/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_db_internal.h -- what the files of the local copy (names_db.c, names_apply.c, names_scan.c,
 * names_copy.c) share: the tables, and how their keys are composed.
 */
#ifndef WEIR_STORE_NAMES_DB_INTERNAL_H
#define WEIR_STORE_NAMES_DB_INTERNAL_H

#include <endian.h>
#include <string.h>

#include "http/store/names_db.h"

enum names_table {
	T_BUCKETS,
	T_NAMES,
	T_ROWS,
	T_HASHES,
	T_HISTORY,
	T_VERSIONS,
	T_TASKS,
	T_PENDING,
	T_NODES,
	T_TABLES
};

MDB_dbi names_table(const struct names_db *db, enum names_table table);
/* LMDB's results as -errno. */
int names_errno(int mdb);

#define NAMES_SPLIT 496 /* bytes of a key that are in the index key */

/* A key composed of numbers and bytes. */
struct keybuf {
	size_t len;
	unsigned char bytes[520];
};

static inline void kb_add(struct keybuf *k, const void *data, size_t len)
{
	memcpy(k->bytes + k->len, data, len);
	k->len += len;
}

static inline void kb_u32(struct keybuf *k, uint32_t v)
{
	uint32_t be = htobe32(v);

	kb_add(k, &be, sizeof(be));
}

static inline void kb_u64(struct keybuf *k, uint64_t v)
{
	uint64_t be = htobe64(v);

	kb_add(k, &be, sizeof(be));
}

static inline MDB_val kb_val(struct keybuf *k)
{
	return (MDB_val){ .mv_size = k->len, .mv_data = k->bytes };
}

static inline uint32_t get_u32(const void *p)
{
	uint32_t be;

	memcpy(&be, p, sizeof(be));
	return be32toh(be);
}

static inline uint64_t get_u64(const void *p)
{
	uint64_t be;

	memcpy(&be, p, sizeof(be));
	return be64toh(be);
}

/* id, seq */
static inline void kb_place(struct keybuf *k, uint32_t id, uint64_t seq)
{
	k->len = 0;
	kb_u32(k, id);
	kb_u64(k, seq);
}

/* history's value; versions' is struct version_value */
struct history_value {
	uint64_t epoch;
	uint8_t version[16]; /* zero: the operation has none */
	uint8_t replaced, pad[7];
};
struct version_value {
	uint64_t seq;
	uint8_t replaced, pad[7];
};
_Static_assert(sizeof(struct history_value) == 32, "layout");
_Static_assert(sizeof(struct version_value) == 16, "layout");

/* id, kind, node, 0 [, seq] */
void kb_task(struct keybuf *k, uint32_t id, enum names_task_kind kind, const char *node);
/* The index key and the beginning (rest, 0) of its value. */
void kb_name(struct keybuf *key, struct keybuf *rest, uint32_t id, const char *name);

/* Rows as bytes. The packed form is at most NAMES_ROW_MAX long. */
#define NAMES_ROW_MAX (2048)
size_t names_row_pack(const struct name_entry *e, unsigned char *out);
int names_row_unpack(struct name_entry *e, const MDB_val *val, uint64_t seq);

/* Puts e at e->seq as the key's newest, removing what was there before from all tables and
 * counters. */
int names_row_write(struct names_txn *t, struct names_meta *meta, const struct name_entry *e);
int names_row_drop(struct names_txn *t, struct names_meta *meta, const struct name_entry *e);
int names_history_add(struct names_txn *t, uint32_t id, uint64_t seq,
		      const struct history_value *h);
int names_task_add(struct names_txn *t, struct names_meta *meta, const struct names_task *task);
int names_pending_add(struct names_txn *t, uint32_t id, uint64_t seq, uint32_t n);

#endif
