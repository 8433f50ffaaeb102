/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments_index.c -- where small versions lie (segments_int.h): LMDB without syncs.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/store/segments_int.h"

#define INDEX_MAP ((size_t)1 << 37) /* address space, not disk */
#define READERS	  512

int segments_errno(int mdb)
{
	switch (mdb) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
		return -ENOSPC;
	case MDB_READERS_FULL:
		return -EAGAIN;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_PANIC:
	case MDB_VERSION_MISMATCH:
	case MDB_INVALID:
	case MDB_INCOMPATIBLE:
		return -EBADMSG;
	default:
		return mdb > 0 ? -mdb : -EIO;
	}
}

static int tables_open(struct segments *s)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, 0, &txn);

	if (rc)
		return rc;
	rc = mdb_dbi_open(txn, "places", MDB_CREATE, &s->places);
	if (!rc)
		rc = mdb_dbi_open(txn, "segments", MDB_CREATE, &s->rows);
	if (!rc)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return rc;
}

int index_open(struct segments *s, bool fresh)
{
	char path[4200];
	int rc;

	if (mkdirat(s->root, "index", 0700) && errno != EEXIST)
		return -errno;
	if (fresh && ((unlinkat(s->root, "index/data.mdb", 0) && errno != ENOENT) ||
		      (unlinkat(s->root, "index/lock.mdb", 0) && errno != ENOENT)))
		return -errno;
	snprintf(path, sizeof(path), "%s/index", s->dir);
	rc = mdb_env_create(&s->env);
	if (!rc)
		rc = mdb_env_set_maxdbs(s->env, 4);
	if (!rc)
		rc = mdb_env_set_mapsize(s->env, INDEX_MAP);
	if (!rc)
		rc = mdb_env_set_maxreaders(s->env, READERS);
	if (!rc)
		rc = mdb_env_open(s->env, path, MDB_NOTLS | MDB_NORDAHEAD | MDB_NOSYNC, 0600);
	if (!rc)
		rc = tables_open(s);
	if (rc && s->env) {
		mdb_env_close(s->env);
		s->env = NULL;
	}
	return segments_errno(rc);
}

int index_read_begin(struct segments *s, MDB_txn **txn)
{
	int rc;

	pthread_rwlock_rdlock(&s->opened);
	rc = s->env ? segments_errno(mdb_txn_begin(s->env, NULL, MDB_RDONLY, txn)) : -EIO;
	if (rc)
		pthread_rwlock_unlock(&s->opened);
	return rc;
}

void index_read_end(struct segments *s, MDB_txn *txn)
{
	mdb_txn_abort(txn);
	pthread_rwlock_unlock(&s->opened);
}

int index_write_begin(struct segments *s, MDB_txn **txn)
{
	int rc = s->env ? mdb_txn_begin(s->env, NULL, 0, txn) : MDB_PANIC;

	if (rc != MDB_PANIC)
		return segments_errno(rc);
	pthread_rwlock_wrlock(&s->opened);
	index_close(s, false);
	rc = index_open(s, false);
	pthread_rwlock_unlock(&s->opened);
	return rc ? rc : segments_errno(mdb_txn_begin(s->env, NULL, 0, txn));
}

int index_close(struct segments *s, bool sync)
{
	int rc;

	if (!s->env)
		return -EIO;
	rc = sync ? segments_errno(mdb_env_sync(s->env, 1)) : 0;
	mdb_env_close(s->env);
	s->env = NULL;
	return rc;
}

struct stored_place {
	uint32_t segment, offset, length;
};

int index_get(struct segments *s, MDB_txn *txn, const struct version *v, struct segment_place *out)
{
	MDB_val key = { VERSION_BYTES, (void *)v->id }, val;
	struct stored_place p;
	int rc = mdb_get(txn, s->places, &key, &val);

	if (rc)
		return segments_errno(rc);
	if (val.mv_size != sizeof(p))
		return -EBADMSG;
	memcpy(&p, val.mv_data, sizeof(p));
	*out = (struct segment_place){ le32toh(p.segment), le32toh(p.offset), le32toh(p.length) };
	return 0;
}

int index_put(struct segments *s, MDB_txn *txn, const struct version *v,
	      const struct segment_place *place)
{
	struct stored_place p = { htole32(place->segment), htole32(place->offset),
				  htole32(place->length) };
	MDB_val key = { VERSION_BYTES, (void *)v->id }, val = { sizeof(p), &p };

	return segments_errno(mdb_put(txn, s->places, &key, &val, 0));
}

int index_del(struct segments *s, MDB_txn *txn, const struct version *v)
{
	MDB_val key = { VERSION_BYTES, (void *)v->id };

	return segments_errno(mdb_del(txn, s->places, &key, NULL));
}

int index_row_put(struct segments *s, MDB_txn *txn, const struct segment_file *f)
{
	uint32_t number = htobe32(f->number);
	struct segment_row row = { htole32(f->row.end), htole32(f->row.live),
				   htole32(f->row.forgets), htole32(f->row.versions) };
	MDB_val key = { sizeof(number), &number }, val = { sizeof(row), &row };

	return segments_errno(mdb_put(txn, s->rows, &key, &val, 0));
}

int index_rows(struct segments *s,
	       int (*fn)(void *arg, uint32_t number, const struct segment_row *row), void *arg)
{
	MDB_cursor *c = NULL;
	MDB_txn *txn;
	MDB_val key, val;
	int rc = index_read_begin(s, &txn);

	if (rc)
		return rc;
	rc = segments_errno(mdb_cursor_open(txn, s->rows, &c));
	while (!rc && !(rc = segments_errno(mdb_cursor_get(c, &key, &val, MDB_NEXT)))) {
		struct segment_row row;
		uint32_t number;

		if (key.mv_size != sizeof(number) || val.mv_size != sizeof(row)) {
			rc = -EBADMSG;
			break;
		}
		memcpy(&number, key.mv_data, sizeof(number));
		memcpy(&row, val.mv_data, sizeof(row));
		row = (struct segment_row){ le32toh(row.end), le32toh(row.live),
					    le32toh(row.forgets), le32toh(row.versions) };
		rc = fn(arg, be32toh(number), &row);
	}
	if (c)
		mdb_cursor_close(c);
	index_read_end(s, txn);
	return rc == -ENOENT ? 0 : rc;
}
