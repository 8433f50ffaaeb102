/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_db.c -- the LMDB environment of the names: opening, transactions shared by many writers,
 * and what is known of each bucket. See names_db.h for the tables.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "http/store/names_db_internal.h"

/* Address space, not disk: the file grows as needed. */
#define MAP_SIZE    ((size_t)1 << 38)
#define READERS_MAX 512
/* Writers that share one transaction. */
#define GROUP_MAX 64
/* A flush of pages that were written before costs one write and one flush; of such as make the file
 * longer, a commit of the file system's journal, or the inode, besides. So zeros are written so far
 * ahead of the last page, while the disk has so much room, whenever less than a part of them is
 * left. */
#define ZEROS_AHEAD (1u << 20)
#define ZEROS_LEFT  (256u << 10)
#define ZEROS_ROOM  (256u << 20)

struct waiter {
	names_txn_fn *fn;
	void *arg;
	int rc;
	bool done;
	struct waiter *next;
};

MDB_dbi names_table(const struct names_db *db, enum names_table table)
{
	return db->tables[table];
}

int names_errno(int mdb)
{
	switch (mdb) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
	case EDQUOT:
	case EFBIG:
		return -ENOSPC;
	case MDB_READERS_FULL:
		return -EAGAIN;
	default:
		return mdb > 0 ? -mdb : -EIO;
	}
}

static int tables_open(struct names_db *db, bool readonly)
{
	static const struct {
		const char *name;
		unsigned int flags;
	} tables[T_TABLES] = {
		/* Those that were laid out anew have a new name, see names_upgrade.c. */
		[T_BUCKETS] = { "buckets2", 0 }, [T_NAMES] = { "index2", 0 },
		[T_ROWS] = { "rows2", 0 },	 [T_HASHES] = { "hashes", MDB_DUPSORT },
		[T_HISTORY] = { "history", 0 },	 [T_VERSIONS] = { "versions2", 0 },
		[T_TASKS] = { "tasks2", 0 },	 [T_PENDING] = { "pending", 0 },
		[T_NODES] = { "nodes", 0 },	 [T_FORMAT] = { "format", 0 },
	};
	MDB_txn *txn;
	int rc = mdb_txn_begin(db->env, NULL, readonly ? MDB_RDONLY : 0, &txn);

	if (rc)
		return names_errno(rc);
	for (int i = 0; i < T_TABLES && !rc; i++)
		rc = mdb_dbi_open(txn, tables[i].name,
				  tables[i].flags | (readonly ? 0 : MDB_CREATE), &db->tables[i]);
	if (rc) {
		mdb_txn_abort(txn);
		return names_errno(rc);
	}
	return names_errno(mdb_txn_commit(txn));
}

/* The files may just have been made: their names must last as long as what is in them. */
static int folders_sync(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), up, rc;

	if (fd < 0)
		return -errno;
	up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = up < 0 || fsync(fd) || fsync(up) ? -errno : 0;
	if (up >= 0)
		close(up);
	close(fd);
	return rc;
}

static int env_open(struct names_db *db, unsigned int flags)
{
	int rc = mdb_env_create(&db->env);

	db->zeroed = 0;
	if (!rc)
		rc = mdb_env_set_maxdbs(db->env, 2 * T_TABLES);
	if (!rc)
		rc = mdb_env_set_mapsize(db->env, MAP_SIZE);
	if (!rc)
		rc = mdb_env_set_maxreaders(db->env, READERS_MAX);
	/* Read transactions move between threads of pools: no thread-local slots. */
	if (!rc)
		rc = mdb_env_open(db->env, db->dir, flags | MDB_NOTLS | MDB_NORDAHEAD, 0600);
	rc = rc ? names_errno(rc) : tables_open(db, flags & MDB_RDONLY);
	if (rc && db->env) {
		mdb_env_close(db->env);
		db->env = NULL;
	}
	return rc;
}

static void env_close(struct names_db *db)
{
	while (db->nidle)
		mdb_txn_abort(db->idle[--db->nidle]);
	if (db->env)
		mdb_env_close(db->env);
	db->env = NULL;
}

/* After MDB_PANIC, or when the last time failed. seen: the generation that was found broken. */
static void env_reopen(struct names_db *db, unsigned int seen)
{
	pthread_rwlock_wrlock(&db->opened);
	if (db->generation == seen) {
		env_close(db);
		db->readonly = env_open(db, 0) != 0;
		if (db->readonly)
			env_open(db, MDB_RDONLY);
		db->generation++;
		db->commits++;
	}
	pthread_rwlock_unlock(&db->opened);
}

static struct names_db *db_new(const char *dir)
{
	struct names_db *db = calloc(1, sizeof(*db));

	if (!db)
		return NULL;
	pthread_mutex_init(&db->lock, NULL);
	pthread_mutex_init(&db->idle_lock, NULL);
	pthread_rwlock_init(&db->opened, NULL);
	pthread_cond_init(&db->changed, NULL);
	db->tail = &db->first;
	db->dir = strdup(dir);
	return db;
}

int names_db_look(struct names_db **out, const char *dir)
{
	struct names_db *db = db_new(dir);
	int rc = db ? env_open(db, MDB_RDONLY | MDB_NOLOCK) : -ENOMEM;

	if (!rc)
		rc = names_format_check(db);
	if (rc) {
		names_db_close(db);
		return rc;
	}
	*out = db;
	return 0;
}

void names_seen_file(const char *dir, struct names_seen *out)
{
	char path[4200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	if (stat(path, &st))
		st = (struct stat){ 0 };
	out->inode = (uint64_t)st.st_ino;
	out->ctime_ns = st.st_ctim.tv_sec * 1000000000LL + st.st_ctim.tv_nsec;
}

int names_db_open(struct names_db **out, const char *dir)
{
	MDB_envinfo info = { .me_last_txnid = 0 };
	struct names_db *db = db_new(dir);
	int rc;

	if (!db)
		return -ENOMEM;
	rc = mkdir(dir, 0700) && errno != EEXIST ? errno : 0;
	names_seen_file(dir, &db->found);
	rc = rc ? names_errno(rc) : env_open(db, 0);
	if (!rc && !mdb_env_info(db->env, &info))
		db->found.transactions = info.me_last_txnid;
	if (!rc)
		rc = names_upgrade(db);
	if (!rc)
		rc = folders_sync(dir);
	if (rc) {
		names_db_close(db);
		return rc;
	}
	*out = db;
	return 0;
}

void names_db_close(struct names_db *db)
{
	if (!db)
		return;
	env_close(db);
	pthread_rwlock_destroy(&db->opened);
	pthread_mutex_destroy(&db->lock);
	pthread_mutex_destroy(&db->idle_lock);
	pthread_cond_destroy(&db->changed);
	free(db->dir);
	free(db);
}

void names_db_readers_check(struct names_db *db)
{
	int dead;

	pthread_rwlock_rdlock(&db->opened);
	if (db->env)
		mdb_reader_check(db->env, &dead);
	pthread_rwlock_unlock(&db->opened);
}

uint64_t names_db_room(const struct names_db *db)
{
	struct statvfs st;

	if (statvfs(db->dir, &st))
		return UINT64_MAX;
	return (uint64_t)st.f_bavail * st.f_frsize;
}

/* A read transaction that sees what is there now. */
static int reader_take(struct names_db *db, MDB_txn **txn)
{
	pthread_mutex_lock(&db->idle_lock);
	*txn = db->nidle ? db->idle[--db->nidle] : NULL;
	pthread_mutex_unlock(&db->idle_lock);
	if (*txn && !mdb_txn_renew(*txn))
		return 0;
	mdb_txn_abort(*txn); /* accepts NULL */
	return db->env ? mdb_txn_begin(db->env, NULL, MDB_RDONLY, txn) : MDB_PANIC;
}

uint64_t names_db_commits(const struct names_db *db)
{
	return db->commits;
}

/* It holds back no page from now on. */
static void reader_give(struct names_db *db, MDB_txn *txn)
{
	mdb_txn_reset(txn);
	pthread_mutex_lock(&db->idle_lock);
	if (db->nidle < NAMES_IDLE_MAX) {
		db->idle[db->nidle++] = txn;
		txn = NULL;
	}
	pthread_mutex_unlock(&db->idle_lock);
	mdb_txn_abort(txn);
}

int names_db_read(struct names_db *db, names_txn_fn *fn, void *arg)
{
	struct names_txn t = { .db = db };
	unsigned int seen;
	int rc;

	pthread_rwlock_rdlock(&db->opened);
	rc = reader_take(db, &t.txn);
	if (rc == MDB_PANIC) {
		seen = db->generation;
		pthread_rwlock_unlock(&db->opened);
		env_reopen(db, seen);
		pthread_rwlock_rdlock(&db->opened);
		rc = reader_take(db, &t.txn);
	}
	rc = names_errno(rc);
	if (!rc) {
		rc = fn(&t, arg);
		reader_give(db, t.txn);
	}
	pthread_rwlock_unlock(&db->opened);
	return rc;
}

/* Begins a transaction, of an environment that takes writes. Returns with db->opened held. */
static int writer_begin(struct names_db *db, MDB_txn **txn)
{
	for (int tries = 0;; tries++) {
		unsigned int seen;
		int rc;

		pthread_rwlock_rdlock(&db->opened);
		rc = db->env && !db->readonly ? mdb_txn_begin(db->env, NULL, 0, txn) : MDB_PANIC;
		if (rc != MDB_PANIC || tries)
			return names_errno(rc);
		seen = db->generation;
		pthread_rwlock_unlock(&db->opened);
		env_reopen(db, seen);
	}
}

/* LMDB's pages beyond its last one are nobody's, and beyond the file's end nobody has written any:
 * the transaction that is begun is the only one. Should it fail, pages are appended as they come.
 */
static void zeros_ahead(struct names_db *db)
{
	static uint8_t zeros[64 << 10]; /* never written to */
	struct iovec iov[ZEROS_AHEAD / sizeof(zeros)];
	MDB_envinfo info;
	uint64_t used;
	struct stat st;
	MDB_stat pages;
	int fd;

	if (mdb_env_info(db->env, &info) || mdb_env_stat(db->env, &pages))
		return;
	used = ((uint64_t)info.me_last_pgno + 1) * pages.ms_psize;
	if (used + ZEROS_LEFT <= db->zeroed || mdb_env_get_fd(db->env, &fd) || fstat(fd, &st))
		return;
	db->zeroed = (uint64_t)st.st_size;
	if (used + ZEROS_LEFT <= db->zeroed || names_db_room(db) < ZEROS_ROOM)
		return;
	for (size_t i = 0; i < sizeof(iov) / sizeof(*iov); i++)
		iov[i] = (struct iovec){ zeros, sizeof(zeros) };
	if (pwritev(fd, iov, sizeof(iov) / sizeof(*iov), st.st_size) > 0 && !fstat(fd, &st))
		db->zeroed = (uint64_t)st.st_size;
}

/* Runs the waiters' functions in one transaction. The first that refuses undoes it all. */
static int group_run(struct names_db *db, struct waiter *list)
{
	struct names_txn t = { .db = db };
	int rc = writer_begin(db, &t.txn);

	if (rc)
		goto out;
	zeros_ahead(db);
	for (struct waiter *w = list; w && !rc; w = w->next)
		rc = w->fn(&t, w->arg);
	if (rc) {
		mdb_txn_abort(t.txn);
		goto out;
	}
	rc = names_errno(mdb_txn_commit(t.txn));
	db->commits++; /* before any writer hears of it */
	/* LMDB says EIO for a write that was cut short: by a full disk, as a rule. */
	if (rc == -EIO && names_db_room(db) < (1u << 20))
		rc = -ENOSPC;
out:
	pthread_rwlock_unlock(&db->opened);
	return rc;
}

/* All together; when that fails, each on its own, so that one does not spoil the others. */
static void group_write(struct names_db *db, struct waiter *list)
{
	int rc = group_run(db, list);

	if (!rc || !list->next) {
		for (struct waiter *w = list; w; w = w->next)
			w->rc = rc;
		return;
	}
	for (struct waiter *w = list, *next; w; w = next) {
		next = w->next;
		w->next = NULL;
		w->rc = group_run(db, w);
		w->next = next;
	}
}

static struct waiter *group_take(struct names_db *db)
{
	struct waiter *list = db->first, *last = list;

	for (int n = 1; n < GROUP_MAX && last->next; n++)
		last = last->next;
	db->first = last->next;
	if (!db->first)
		db->tail = &db->first;
	last->next = NULL;
	return list;
}

int names_db_write(struct names_db *db, names_txn_fn *fn, void *arg)
{
	struct waiter me = { .fn = fn, .arg = arg };

	pthread_mutex_lock(&db->lock);
	*db->tail = &me;
	db->tail = &me.next;
	while (!me.done) {
		struct waiter *list, *next;

		if (db->led) {
			pthread_cond_wait(&db->changed, &db->lock);
			continue;
		}
		db->led = true;
		list = group_take(db);
		pthread_mutex_unlock(&db->lock);
		group_write(db, list);
		pthread_mutex_lock(&db->lock);
		for (; list; list = next) {
			next = list->next;
			list->done = true;
		}
		db->led = false;
		pthread_cond_broadcast(&db->changed);
	}
	pthread_mutex_unlock(&db->lock);
	return me.rc;
}

/* ---- what is known of a bucket ---- */

int names_meta_get(struct names_txn *t, const char *bucket, struct names_meta *meta)
{
	MDB_val key = { strlen(bucket), (void *)bucket }, val;
	int rc = names_errno(mdb_get(t->txn, names_table(t->db, T_BUCKETS), &key, &val));

	if (rc)
		return rc;
	if (val.mv_size != sizeof(*meta))
		return -EIO;
	memcpy(meta, val.mv_data, sizeof(*meta));
	return 0;
}

/* The next unused bucket number: names are few, a walk is fine. */
static int meta_next_id(struct names_txn *t, uint32_t *id)
{
	MDB_cursor *c;
	MDB_val key, val;
	int rc = mdb_cursor_open(t->txn, names_table(t->db, T_BUCKETS), &c);

	*id = 1;
	if (rc)
		return names_errno(rc);
	while (!(rc = mdb_cursor_get(c, &key, &val, MDB_NEXT))) {
		struct names_meta m;

		memcpy(&m, val.mv_data, sizeof(m));
		if (m.id >= *id)
			*id = m.id + 1;
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : names_errno(rc);
}

int names_meta_put(struct names_txn *t, const char *bucket, struct names_meta *meta)
{
	MDB_val key = { strlen(bucket), (void *)bucket };
	MDB_val val = { sizeof(*meta), meta };
	int rc = meta->id ? 0 : meta_next_id(t, &meta->id);

	return rc ? rc : names_errno(mdb_put(t->txn, names_table(t->db, T_BUCKETS), &key, &val, 0));
}

int names_meta_each(struct names_txn *t, names_meta_fn *fn, void *arg)
{
	MDB_cursor *c;
	MDB_val key, val;
	int rc = mdb_cursor_open(t->txn, names_table(t->db, T_BUCKETS), &c);

	if (rc)
		return names_errno(rc);
	while (!(rc = names_errno(mdb_cursor_get(c, &key, &val, MDB_NEXT)))) {
		char bucket[NAMES_BUCKET_MAX + 1] = "";
		struct names_meta m;

		memcpy(bucket, key.mv_data, key.mv_size < sizeof(bucket) ? key.mv_size : 0);
		memcpy(&m, val.mv_data, sizeof(m));
		rc = fn(arg, bucket, &m);
		if (rc)
			break;
	}
	mdb_cursor_close(c);
	return rc == -ENOENT ? 0 : rc;
}

int names_node_put(struct names_txn *t, const char *node, const char *text)
{
	MDB_val key = { strlen(node), (void *)node }, val;
	MDB_dbi table = names_table(t->db, T_NODES);
	int rc;

	if (!text) {
		rc = mdb_del(t->txn, table, &key, NULL);
		return rc == MDB_NOTFOUND ? 0 : names_errno(rc);
	}
	val.mv_size = strlen(text) + 1;
	val.mv_data = (void *)text;
	return names_errno(mdb_put(t->txn, table, &key, &val, 0));
}

int names_node_each(struct names_txn *t, names_node_fn *fn, void *arg)
{
	MDB_cursor *c;
	MDB_val key, val;
	int rc = mdb_cursor_open(t->txn, names_table(t->db, T_NODES), &c);

	if (rc)
		return names_errno(rc);
	while (!(rc = names_errno(mdb_cursor_get(c, &key, &val, MDB_NEXT)))) {
		char node[CONF_NAME_MAX] = "";

		memcpy(node, key.mv_data, key.mv_size < sizeof(node) ? key.mv_size : 0);
		rc = fn(arg, node, val.mv_data);
		if (rc)
			break;
	}
	mdb_cursor_close(c);
	return rc == -ENOENT ? 0 : rc;
}
