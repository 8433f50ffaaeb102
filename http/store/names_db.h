/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_db.h -- this node's copy of the names, in LMDB: what a key is now, by hash, the recent
 * order of operations, and the outbox of tasks for other nodes.
 *
 * Every change of a bucket is one names_op, applied in order in a transaction; the same operations
 * give the same content on every node. Writers wait for the disk and share transactions:
 * names_db_write() from many threads costs few syncs. Returns 0 or -errno (-ENOSPC: the disk is
 * full, nothing was written). Nothing here logs.
 *
 * A bucket has four spaces (enum names_space), told apart by the high bits of its number.
 *
 * Tables (numbers big-endian, so that order is numeric; `id` is the bucket's number, 4 bytes, where
 * marked * with the bits of a space):
 *   format    "version" → NAMES_FORMAT
 *   buckets   name → struct names_meta
 *   index     id *, key, 0, order → seq, flags. Keys of LMDB end at 511 bytes: a longer one goes on
 *             in a child, see names_index.c. Listings have the order of this table.
 *   rows      id *, seq → the entry that this operation wrote, while it is in its slot
 *   hashes    SHA-256 → id, seq (sorted duplicates), objects with data only
 *   history   id, seq → epoch and id of the last NAMES_HISTORY operations
 *   versions  id *, version → the row that has it; and the operation that had it as its id, among
 *             the same last ones, and whether it replaced an object: what makes a retried write
 *             harmless
 *   tasks     id, kind, node, 0, seq → version: the outbox
 *   pending   id, seq → how many nodes have not yet confirmed that they forgot
 *   nodes     name → endpoints/NODE as last heard
 */
#ifndef WEIR_STORE_NAMES_DB_H
#define WEIR_STORE_NAMES_DB_H

#include <lmdb.h>

#include "http/store/names_op.h"

#define NAMES_HISTORY 65536 /* operations of a bucket that can be told from new ones */

enum names_state {
	NAMES_STATE_NEW,      /* nothing here yet */
	NAMES_STATE_COMPLETE, /* everything up to seq */
	NAMES_STATE_SYNCING,  /* a copy is being received: good for nothing */
};

/* What this node knows of a bucket, durably. Host byte order: the files stay on one machine. */
struct names_meta {
	uint32_t id;
	uint32_t state;
	uint64_t epoch;		 /* of the configuration that the copy belongs to */
	uint64_t seq, seq_epoch; /* the last operation applied */
	uint64_t purged;	 /* the newest row that was removed and left no tombstone */
	uint64_t objects;	 /* versions with data */
	uint64_t bytes;		 /* theirs and the parts' of uploads */
	uint64_t markers, uploads, parts, tasks;
	uint32_t closed;
	uint32_t dropped; /* parts that their objects left out: still to be forgotten */
	char primary[CONF_NAME_MAX];
	char secondary[CONF_NAME_MAX];
};

struct names_db;
int names_db_open(struct names_db **out, const char *dir);
/* For reading, while nobody has them open: no file is changed or made. -ENOENT: of an older layout (or
 * none), which names_db_open() would change. */
int names_db_look(struct names_db **out, const char *dir);
void names_db_close(struct names_db *db); /* accepts NULL */

/* One transaction. Writing happens inside a names_txn_fn alone. */
struct names_txn {
	struct names_db *db;
	MDB_txn *txn;
};

/* Runs fn in a write transaction and waits until it is on stable storage. A result other than 0
 * undoes what fn did. fn may run more than once (its effects count once): it must not keep state
 * between runs. */
typedef int names_txn_fn(struct names_txn *t, void *arg);
int names_db_write(struct names_db *db, names_txn_fn *fn, void *arg);
/* A consistent snapshot. */
int names_db_read(struct names_db *db, names_txn_fn *fn, void *arg);
/* A number that another one follows when something may have changed, before the writer's names_db_write() returns. Who takes
 * it, reads, and finds it again later has read what is there now. */
uint64_t names_db_commits(const struct names_db *db);
/* Frees the slots of readers that were killed (weir-endpoint backup-names), which keep old pages. */
void names_db_readers_check(struct names_db *db);
/* Room that the file system has left, in bytes; UINT64_MAX when it cannot be said. */
uint64_t names_db_room(const struct names_db *db);

/* -ENOENT: unknown bucket. */
int names_meta_get(struct names_txn *t, const char *bucket, struct names_meta *meta);
/* Gives meta->id a value when it is 0. */
int names_meta_put(struct names_txn *t, const char *bucket, struct names_meta *meta);
typedef int names_meta_fn(void *arg, const char *bucket, const struct names_meta *meta);
int names_meta_each(struct names_txn *t, names_meta_fn *fn, void *arg);
/* The endpoints that registered; text NULL removes. */
typedef int names_node_fn(void *arg, const char *node, const char *text);
int names_node_each(struct names_txn *t, names_node_fn *fn, void *arg);
int names_node_put(struct names_txn *t, const char *node, const char *text);

/* Applies op, which must be the next (meta->seq + 1), and changes meta (the caller puts it). */
int names_apply(struct names_txn *t, struct names_meta *meta, const struct names_op *op,
		char (*targets)[CONF_NAME_MAX], unsigned int ntargets);

/* The newest entry of a key that is not a tombstone (it may be a marker); -ENOENT. */
int names_row_find(struct names_txn *t, uint32_t id, const char *key, struct name_entry *entry);
/* A key's version: hex or "null"; -ENOENT. `current` is filled in. */
int names_row_version(struct names_txn *t, uint32_t id, const char *key, const char *version,
		      struct name_entry *entry);
int names_row_get(struct names_txn *t, uint32_t id, enum names_space space, uint64_t seq,
		  struct name_entry *entry);
/* What is in e's slot, also a tombstone; -ENOENT. */
int names_row_slot(struct names_txn *t, uint32_t id, enum names_space space,
		   const struct name_entry *e, struct name_entry *row);
/* The row of a version in a space; -ENOENT. */
int names_row_of(struct names_txn *t, uint32_t id, enum names_space space, const char *version,
		 struct name_entry *entry);
/* What has the data of a version: an object or a part. */
int names_row_data(struct names_txn *t, uint32_t id, const char *version, enum names_space *space,
		   struct name_entry *entry);
/* Has an operation with this id been applied (among the last NAMES_HISTORY)? 0 or -ENOENT. */
int names_version_find(struct names_txn *t, uint32_t id, const char *version, uint64_t *seq,
		       bool *replaced);
/* Was (epoch, seq) applied here? Position 0 always was. */
bool names_history_has(struct names_txn *t, uint32_t id, uint64_t epoch, uint64_t seq);

/* A listing of one space; see struct names_select for what is not said here. */
struct names_scan {
	enum names_space space;
	bool versions; /* all, markers too; else what each key names */
	struct names_select select;
	names_entry_fn *fn;
	names_prefix_fn *prefix_fn;
	void *arg;
};
int names_scan(struct names_txn *t, uint32_t id, const char *bucket, const struct names_scan *scan,
	       struct names_page *page);
/* The parts of an upload or object, by number. */
int names_scan_parts(struct names_txn *t, uint32_t id, const char *bucket, const char *group,
		     unsigned int after, unsigned int limit, bool meta, names_entry_fn *fn,
		     void *arg, bool *more);
int names_scan_hash(struct names_txn *t, const uint8_t sha256[32], unsigned int limit,
		    names_entry_fn *fn, void *arg);

/* A task of the outbox: node has to forget or fetch `version`. */
struct names_task {
	enum names_task_kind kind;
	char node[CONF_NAME_MAX];
	uint64_t seq; /* of the operation that made it */
	char version[33];
};
/* The first max tasks of one node, oldest first; the count or -errno. */
int names_tasks_of(struct names_txn *t, uint32_t id, enum names_task_kind kind, const char *node,
		   struct names_task *out, unsigned int max);
/* The nodes that have tasks in the bucket; the count or -errno. */
int names_tasks_nodes(struct names_txn *t, uint32_t id, enum names_task_kind kind,
		      char (*out)[CONF_NAME_MAX], unsigned int max);

/* ---- copying a bucket to another node, see names_copy.c ---- */
/* A page of the bucket's content: tasks first, then rows and history after `from`. *cursor starts
 * as "" and is the place to go on; *last says that it was the final page. The page is a new
 * reference. */
#define NAMES_CURSOR_MAX 256
int names_export(struct names_txn *t, const struct names_meta *meta, uint64_t from,
		 char cursor[NAMES_CURSOR_MAX], json_t **page, bool *last);
/* Before the first page: removes the tasks (and with from 0 everything). */
int names_import_begin(struct names_txn *t, struct names_meta *meta, uint64_t from);
/* -EINVAL: the page is malformed. The counters of meta follow; its position is set by the caller
 * after the last. */
int names_import(struct names_txn *t, struct names_meta *meta, const json_t *page);

#endif
