/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_db_internal.h -- what the files of the local copy (names_db.c, names_index.c, names_row.c,
 * names_apply.c, names_scan.c, names_copy.c, names_upgrade.c) share: the tables, and how their keys
 * are composed.
 */
#ifndef WEIR_STORE_NAMES_DB_INTERNAL_H
#define WEIR_STORE_NAMES_DB_INTERNAL_H

#include <endian.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
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
	T_FORMAT,
	T_TABLES
};

#define NAMES_IDLE_MAX 32

/* By which names_mark.c knows the files again. */
struct names_seen {
	uint64_t transactions, inode;
	int64_t ctime_ns;
};

struct names_db {
	MDB_env *env;           /* NULL: could not be opened again */
	MDB_dbi tables[T_TABLES];
	char *dir;
	/* LMDB wants no more of an environment after its last page could not be written: it is
	 * closed and opened again, alone. Held for reading by every transaction. */
	pthread_rwlock_t opened;
	unsigned int generation;
	bool readonly;          /* the disk takes no writes: opened for reading */
	_Atomic uint64_t commits;
	uint64_t zeroed; /* the file is so long, as the last writer found it */
	struct names_seen found; /* what the files were when they were opened */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct waiter *first, **tail;
	bool led; /* a waiter is writing for the others */
	/* Read transactions that ended: to renew one costs a third of a new one. */
	pthread_mutex_t idle_lock;
	MDB_txn *idle[NAMES_IDLE_MAX];
	unsigned int nidle;
};

/* inode and ctime_ns, 0 when there is no file. */
void names_seen_file(const char *dir, struct names_seen *out);

/* Brings files of an older layout to the present one, before the tables are used. 0, -errno;
 * -EPROTO: they are of a newer program. */
int names_upgrade(struct names_db *db);
/* 0: of the present format; -ENOENT: an older one; -EPROTO: a later one. */
int names_format_check(struct names_db *db);
#define NAMES_FORMAT 2

MDB_dbi names_table(const struct names_db *db, enum names_table table);
/* LMDB's results as -errno. */
int names_errno(int mdb);

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

/* A bucket's number with the bits of a space; and back. Bit 29 is the index's. */
static inline uint32_t names_space_id(uint32_t id, enum names_space space)
{
	return id | (uint32_t)space << 30;
}

static inline enum names_space names_id_space(uint32_t id)
{
	return (enum names_space)(id >> 30);
}

/* id, seq */
static inline void kb_place(struct keybuf *k, uint32_t id, uint64_t seq)
{
	k->len = 0;
	kb_u32(k, id);
	kb_u64(k, seq);
}

static inline int names_kv_put(struct names_txn *t, enum names_table table, struct keybuf *k,
			       const void *data, size_t len)
{
	MDB_val key = kb_val(k), val = { len, (void *)data };

	return names_errno(mdb_put(t->txn, names_table(t->db, table), &key, &val, 0));
}

static inline int names_kv_del(struct names_txn *t, enum names_table table, struct keybuf *k,
			       struct keybuf *dup)
{
	MDB_val key = kb_val(k), val = dup ? kb_val(dup) : (MDB_val){ 0 };

	return names_errno(mdb_del(t->txn, names_table(t->db, table), &key, dup ? &val : NULL));
}

/* history's value; versions' is struct version_value */
struct history_value {
	uint64_t epoch;
	uint8_t id[16]; /* of the operation; zero: it has none */
	uint8_t replaced, pad[7];
};
struct version_value {
	uint64_t op;  /* the operation with this id, 0: not among the last NAMES_HISTORY */
	uint64_t row; /* the row of this version, 0: none */
	uint8_t replaced, pad[7];
};
_Static_assert(sizeof(struct history_value) == 32, "layout");
_Static_assert(sizeof(struct version_value) == 24, "layout");

/* id, kind, node, 0 [, seq] */
void kb_task(struct keybuf *k, uint32_t id, enum names_task_kind kind, const char *node);

/* ---- names_index.c: keys in order ---- */
#define INDEX_CHILD   (1u << 29) /* a bit of the number: a child */
#define INDEX_DELETED 1		 /* a tombstone */
#define INDEX_MARKER  2
#define INDEX_NULL    4
unsigned int names_index_flags(const struct name_entry *e);
/* id: the bucket's with its space. */
int names_index_put(struct names_txn *t, uint32_t id, const struct name_entry *e);
int names_index_del(struct names_txn *t, uint32_t id, const struct name_entry *e);

#define INDEX_DEPTH 3
/* A walk through the index. After 0 of a call the fields are those of an entry; -ENOENT: the end.
 */
struct names_walk {
	char key[NAMES_KEY_MAX + 1];
	size_t len;
	uint64_t order, seq;
	unsigned int flags;
	/* private */
	struct names_txn *t;
	MDB_cursor *c;
	uint32_t id;
	unsigned int depth;
	struct {
		struct keybuf node;
		size_t from; /* bytes of the key that are above */
	} level[INDEX_DEPTH];
};
int names_walk_open(struct names_walk *w, struct names_txn *t, uint32_t id);
void names_walk_close(struct names_walk *w);
/* The first whose key is not less than these bytes. */
int names_walk_seek(struct names_walk *w, const char *bytes, size_t len);
/* The first that is not before (key, order): newer versions come first, uploads oldest first. */
int names_walk_seek_order(struct names_walk *w, const char *key, uint64_t order);
int names_walk_next(struct names_walk *w);
/* The newest of a key that is not a tombstone, -ENOENT. */
int names_walk_current(struct names_walk *w, const char *key);

/* ---- names_row.c: rows, and what hangs on them ---- */
/* The packed form is at most NAMES_ROW_MAX long. */
#define NAMES_ROW_MAX 10240
int names_row_unpack(struct name_entry *e, const MDB_val *val, uint64_t seq);

/* Puts e at e->seq into its slot (a null version: its key's only one; else key and order), removing
 * what was in the slot before from all tables and counters; with an object of parts that is
 * replaced, its parts; with an object that has parts, its upload. */
int names_row_write(struct names_txn *t, struct names_meta *meta, enum names_space space,
		    const struct name_entry *e);
int names_row_drop(struct names_txn *t, struct names_meta *meta, enum names_space space,
		   const struct name_entry *e);
/* Moves the parts of `group` that are not kept to NAMES_DROPPED, as of the operation `seq`. */
int names_parts_leave(struct names_txn *t, struct names_meta *meta, const char *group,
		      const uint8_t keep[NAMES_KEEP_BYTES], uint64_t seq);
int names_history_add(struct names_txn *t, uint32_t id, uint64_t seq,
		      const struct history_value *h);
int names_version_get(struct names_txn *t, uint32_t id, const char *version,
		      struct version_value *v);

/* ---- names_apply.c: the outbox ---- */
int names_task_add(struct names_txn *t, struct names_meta *meta, const struct names_task *task);
int names_pending_add(struct names_txn *t, uint32_t id, uint64_t seq, uint32_t n);

#endif
