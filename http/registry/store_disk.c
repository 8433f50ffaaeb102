/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_disk.c -- the store in LMDB: one write transaction for each change, synced before it is
 * answered.
 *
 * LMDB's keys end at 511 bytes and ours at 4 KiB, so a key is stored under its SHA-256; order is
 * memory's business. LMDB never overwrites what the last commit refers to: a crash or a full disk
 * leaves that commit. Locking is ours (one process, one writer), hence MDB_NOLOCK and a locked file
 * beside it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "http/registry/store_internal.h"
#include "lib/hash.h"

/* Live keys, the history, and room for the pages that a commit replaces. */
#define MAP_BYTES (1ull << 30)
#define FORMAT	  1u
/* Less than this left: a write of the largest transaction may not fit. */
#define FULL_BYTES (8u << 20)

struct record {
	int64_t create_revision, mod_revision, version, lease;
	uint32_t key_len, value_len;
};
_Static_assert(sizeof(struct record) == 40, "the record is a file format");

struct meta {
	uint32_t format, reserved;
	uint64_t cluster;
	int64_t revision, oldest;
};
_Static_assert(sizeof(struct meta) == 32, "the record is a file format");

/* LMDB says EIO for a write that was cut short, which is what a full disk does to large ones. */
static bool disk_full(const struct disk *disk)
{
	struct statvfs st;

	return !fstatvfs(disk->lock_fd, &st) && (uint64_t)st.f_bavail * st.f_frsize < FULL_BYTES;
}

static int disk_errno(const struct disk *disk, int rc)
{
	if (rc == EIO && disk_full(disk))
		return -ENOSPC;
	if (rc == MDB_MAP_FULL || rc == ENOSPC || rc == EDQUOT || rc == MDB_TXN_FULL)
		return -ENOSPC;
	return rc == ENOMEM ? -ENOMEM : -EIO;
}

/* Big-endian, so that LMDB's order is the order of time. */
static void history_key(uint8_t out[12], int64_t revision, uint32_t sub)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)((uint64_t)revision >> (56 - 8 * i));
	for (int i = 0; i < 4; i++)
		out[8 + i] = (uint8_t)(sub >> (24 - 8 * i));
}

/* ---- writing ---- */

static int put_record(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, const struct kv *kv)
{
	struct record r = { kv->create_revision, kv->mod_revision, kv->version,
			    kv->lease,		 kv->key_len,	   kv->value_len };
	MDB_val value = { sizeof(r) + kv->key_len + kv->value_len, NULL };
	int rc = mdb_put(txn, dbi, key, &value, MDB_RESERVE);

	if (rc)
		return rc;
	memcpy(value.mv_data, &r, sizeof(r));
	memcpy((char *)value.mv_data + sizeof(r), kv->data, kv->key_len + kv->value_len);
	return 0;
}

static int write_change(struct disk *disk, MDB_txn *txn, const struct change *c, uint32_t sub,
			bool history)
{
	uint8_t digest[32], place[12];
	MDB_val key = { sizeof(digest), digest }, past = { sizeof(place), place };
	int rc;

	sha256_once(c->now->data, c->now->key_len, digest);
	if (c->now->version)
		rc = put_record(txn, disk->keys, &key, c->now);
	else
		rc = mdb_del(txn, disk->keys, &key, NULL);
	if (rc || !history)
		return rc;
	history_key(place, c->now->mod_revision, sub);
	return put_record(txn, disk->history, &past, c->now);
}

static int write_meta(struct store *s, MDB_txn *txn, int64_t revision, int64_t oldest)
{
	struct meta meta = { FORMAT, 0, s->cluster, revision, oldest };
	MDB_val key = { 5, "store" }, value = { sizeof(meta), &meta };

	return mdb_put(txn, s->disk.meta, &key, &value, 0);
}

static int write_leases(struct disk *disk, MDB_txn *txn, const struct changes *changes)
{
	MDB_val key = { sizeof(int64_t), NULL }, value = { sizeof(int64_t), NULL };
	int64_t gone = changes->lease_gone;
	int rc = 0;

	if (changes->lease_new) {
		struct lease fresh = *changes->lease_new;

		key.mv_data = &fresh.id;
		value.mv_data = &fresh.ttl;
		rc = mdb_put(txn, disk->leases, &key, &value, 0);
	}
	if (!rc && gone) {
		key.mv_data = &gone;
		rc = mdb_del(txn, disk->leases, &key, NULL);
	}
	return rc;
}

static int forget_oldest(struct store *s, MDB_txn *txn, size_t n)
{
	uint8_t place[12];
	MDB_val key = { sizeof(place), place };
	int rc = 0;

	for (size_t i = 0; i < n && !rc; i++) {
		const struct past *past = store_past(s, i);

		history_key(place, past->kv->mod_revision, past->sub);
		rc = mdb_del(txn, s->disk.history, &key, NULL);
	}
	return rc;
}

static int64_t oldest_after(struct store *s, size_t forget)
{
	int64_t last = forget ? store_past(s, forget - 1)->kv->mod_revision : 0;

	return last >= s->oldest ? last + 1 : s->oldest;
}

int disk_commit(struct store *s, const struct changes *changes, size_t forget)
{
	bool history = changes->n <= STORE_HISTORY_MAX;
	int64_t revision = changes->n ? changes->revision : s->revision;
	int64_t oldest = history ? oldest_after(s, forget) : revision + 1;
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->disk.env, NULL, 0, &txn);

	if (rc)
		return disk_errno(&s->disk, rc);
	for (size_t i = 0; i < changes->n && !rc; i++)
		rc = write_change(&s->disk, txn, &changes->list[i], (uint32_t)i, history);
	if (!rc)
		rc = forget_oldest(s, txn, forget);
	if (!rc)
		rc = write_leases(&s->disk, txn, changes);
	if (!rc)
		rc = write_meta(s, txn, revision, oldest);
	if (!rc)
		rc = mdb_txn_commit(txn);
	else
		mdb_txn_abort(txn);
	return rc ? disk_errno(&s->disk, rc) : 0;
}

int disk_compact(struct store *s, size_t forget, int64_t oldest)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->disk.env, NULL, 0, &txn);

	if (rc)
		return disk_errno(&s->disk, rc);
	rc = forget_oldest(s, txn, forget);
	if (!rc)
		rc = write_meta(s, txn, s->revision, oldest);
	if (!rc)
		rc = mdb_txn_commit(txn);
	else
		mdb_txn_abort(txn);
	return rc ? disk_errno(&s->disk, rc) : 0;
}

/* ---- loading ---- */

static struct kv *read_record(const MDB_val *value)
{
	struct record r;
	struct kv *kv;

	if (value->mv_size < sizeof(r))
		return NULL;
	memcpy(&r, value->mv_data, sizeof(r));
	if (value->mv_size != sizeof(r) + (uint64_t)r.key_len + r.value_len)
		return NULL;
	kv = kv_new((char *)value->mv_data + sizeof(r), r.key_len,
		    (char *)value->mv_data + sizeof(r) + r.key_len, r.value_len);
	if (!kv)
		return NULL;
	kv->create_revision = r.create_revision;
	kv->mod_revision = r.mod_revision;
	kv->version = r.version;
	kv->lease = r.lease;
	return kv;
}

typedef int load_fn(struct store *s, const MDB_val *key, const MDB_val *value);

static int load_key(struct store *s, const MDB_val *key, const MDB_val *value)
{
	struct kv *kv = read_record(value);

	(void)key;
	return kv ? store_keys_insert(s, s->nkeys, kv) : MDB_CORRUPTED;
}

static int load_past(struct store *s, const MDB_val *key, const MDB_val *value)
{
	const uint8_t *place = key->mv_data;
	struct kv *kv = read_record(value);

	if (!kv || key->mv_size != 12 || s->nhistory == STORE_HISTORY_MAX) {
		kv_put(kv);
		return MDB_CORRUPTED;
	}
	store_history_add(s, kv,
			  (uint32_t)place[8] << 24 | (uint32_t)place[9] << 16 |
				  (uint32_t)place[10] << 8 | place[11]);
	kv_put(kv);
	return 0;
}

static int load_lease(struct store *s, const MDB_val *key, const MDB_val *value)
{
	int64_t id, ttl;

	if (key->mv_size != sizeof(id) || value->mv_size != sizeof(ttl))
		return MDB_CORRUPTED;
	memcpy(&id, key->mv_data, sizeof(id));
	memcpy(&ttl, value->mv_data, sizeof(ttl));
	return store_lease_add(s, id, ttl) ? ENOMEM : 0;
}

static int load_all(struct store *s, MDB_txn *txn, MDB_dbi dbi, load_fn *fn)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc = mdb_cursor_open(txn, dbi, &cursor);

	if (rc)
		return rc;
	while (!(rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
		rc = fn(s, &key, &value);
		if (rc)
			break;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int by_key(const void *a, const void *b)
{
	const struct kv *x = *(struct kv *const *)a, *y = *(struct kv *const *)b;
	int order = memcmp(x->data, y->data, x->key_len < y->key_len ? x->key_len : y->key_len);

	return order ? order : (x->key_len > y->key_len) - (x->key_len < y->key_len);
}

static int load(struct store *s, MDB_txn *txn)
{
	MDB_val key = { 5, "store" }, value;
	struct meta meta;
	int rc = mdb_get(txn, s->disk.meta, &key, &value);

	if (rc == MDB_NOTFOUND) { /* a new store; etcd's first revision is 1 too */
		random_bytes(&s->cluster, sizeof(s->cluster));
		s->revision = 1;
		s->oldest = 1;
		return write_meta(s, txn, s->revision, s->oldest);
	}
	if (rc)
		return rc;
	if (value.mv_size != sizeof(meta))
		return MDB_VERSION_MISMATCH;
	memcpy(&meta, value.mv_data, sizeof(meta));
	if (meta.format != FORMAT)
		return MDB_VERSION_MISMATCH;
	s->cluster = meta.cluster;
	s->revision = meta.revision;
	s->oldest = meta.oldest;
	rc = load_all(s, txn, s->disk.keys, load_key);
	if (!rc)
		rc = load_all(s, txn, s->disk.history, load_past);
	if (!rc)
		rc = load_all(s, txn, s->disk.leases, load_lease);
	if (!rc && s->nkeys)
		qsort(s->keys, s->nkeys, sizeof(struct kv *), by_key);
	return rc;
}

static int open_tables(struct store *s)
{
	static const char *const names[] = { "keys", "history", "leases", "meta" };
	MDB_dbi *dbis[] = { &s->disk.keys, &s->disk.history, &s->disk.leases, &s->disk.meta };
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->disk.env, NULL, 0, &txn);

	if (rc)
		return rc;
	for (size_t i = 0; i < 4 && !rc; i++)
		rc = mdb_dbi_open(txn, names[i], MDB_CREATE, dbis[i]);
	if (!rc)
		rc = load(s, txn);
	if (!rc)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return rc;
}

int disk_open(struct store *s, const char *folder, char *err, size_t err_len)
{
	char path[4096];
	int rc;

	s->disk.lock_fd = -1;
	if ((size_t)snprintf(path, sizeof(path), "%s/lock", folder) >= sizeof(path))
		return -ENAMETOOLONG;
	s->disk.lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->disk.lock_fd < 0) {
		rc = -errno;
		snprintf(err, err_len,
			 "%s cannot be made: %s; the folder must belong to the daemons' user", path,
			 strerror(-rc));
		return rc;
	}
	if (flock(s->disk.lock_fd, LOCK_EX | LOCK_NB)) {
		snprintf(err, err_len, "%s is in use by another weir-registry; stop that one first",
			 folder);
		return -EBUSY;
	}
	rc = mdb_env_create(&s->disk.env);
	if (!rc)
		rc = mdb_env_set_maxdbs(s->disk.env, 4);
	if (!rc)
		rc = mdb_env_set_mapsize(s->disk.env, MAP_BYTES);
	if (!rc)
		rc = mdb_env_open(s->disk.env, folder, MDB_NOLOCK, 0600);
	if (!rc)
		rc = open_tables(s);
	if (!rc)
		return 0;
	snprintf(err, err_len, "the database in %s cannot be opened: %s", folder, mdb_strerror(rc));
	return disk_errno(&s->disk, rc);
}

void disk_close(struct disk *disk)
{
	if (disk->env)
		mdb_env_close(disk->env);
	if (disk->lock_fd >= 0)
		close(disk->lock_fd);
}
