/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck_read.c -- see fsck_read.h.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/store/fsck_read.h"

struct reading {
	int root, fd;
	const char *dir;
	uint32_t number;                /* of the segment that is read; at the end: the highest */
	uint32_t cut;                   /* from where the next start cuts that one, see cut_from() */
	uint64_t unreadable;
	struct fsck_version *v;
	size_t n, room;
	/* records of segments, in order */
	struct logged {
		struct version version;
		struct segment_place at, target;
		size_t order;
		bool whole;
	} *log;
	size_t nlog, log_room;
};

static bool read_at(int fd, void *buf, size_t len, uint64_t offset)
{
	return pread(fd, buf, len, (off_t)offset) == (ssize_t)len;
}

/* Reads a version that lies at base, with all its blocks; NULL, or what is wrong. */
static const char *verify(int fd, uint64_t base, uint64_t length, struct fsck_version *out)
{
	uint8_t raw[RECORD_MAX], *block;
	char head[HEAD_MAX];
	struct chunk_record rec;
	struct manifest m;
	struct footer f;
	const char *why = NULL;

	if (length < FOOTER_SIZE || !read_at(fd, raw, FOOTER_SIZE, base + length - FOOTER_SIZE) ||
	    footer_decode(&f, raw, length))
		return "its footer is damaged";
	if (!read_at(fd, head, f.head_len, base + length - FOOTER_SIZE - f.head_len) ||
	    crc32c(0, head, f.head_len) != f.head_crc || manifest_decode(&m, head, f.head_len) ||
	    m.size != f.size || !version_equal(&m.version, &out->version))
		return "its head is damaged";
	out->size = m.size;
	memcpy(out->sha256, m.sha256, 32);
	strcpy(out->bucket, m.bucket);
	block = malloc(BLOCK_SIZE);
	for (uint64_t n = 0; block && !why && n < manifest_chunks(m.size); n++) {
		uint32_t len = chunk_length(m.size, n);

		if (!read_at(fd, raw, record_length(len), base + record_offset(m.size, n)) ||
		    record_decode(&rec, n, len, raw))
			why = "the checksums of a chunk are damaged";
		for (uint32_t at = 0; !why && at < len; at += BLOCK_SIZE) {
			uint32_t part = len - at < BLOCK_SIZE ? len - at : BLOCK_SIZE;

			if (!read_at(fd, block, part, base + n * CHUNK_SIZE + at) ||
			    crc32c(0, block, part) != rec.blocks[at / BLOCK_SIZE])
				why = "a block has a wrong checksum";
		}
	}
	free(block);
	return block ? why : "no memory to look at it";
}

static int add(struct reading *r, const struct fsck_version *v)
{
	if (r->n == r->room) {
		size_t room = r->room ? 2 * r->room : 1024;
		struct fsck_version *more = realloc(r->v, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		r->v = more;
		r->room = room;
	}
	r->v[r->n++] = *v;
	return 0;
}

/* ---- the index, as it lies there ---- */

/* 0 or -EBADMSG; then index_unlook(). */
static int index_look(const char *dir, const char *table, MDB_env **env, MDB_txn **txn, MDB_dbi *dbi)
{
	char path[4200];

	*env = NULL;
	*txn = NULL;
	snprintf(path, sizeof(path), "%s/index", dir);
	if (mdb_env_create(env) || mdb_env_set_maxdbs(*env, 4) ||
	    mdb_env_open(*env, path, MDB_RDONLY | MDB_NOLOCK, 0600) ||
	    mdb_txn_begin(*env, NULL, MDB_RDONLY, txn) || mdb_dbi_open(*txn, table, 0, dbi))
		return -EBADMSG;
	return 0;
}

static void index_unlook(MDB_env *env, MDB_txn *txn)
{
	if (txn)
		mdb_txn_abort(txn);
	if (env)
		mdb_env_close(env);
}

/* ---- segments ---- */

static int log_record(void *arg, uint32_t offset, const struct segment_record *rec, bool whole)
{
	struct reading *r = arg;

	if (r->nlog == r->log_room) {
		size_t room = r->log_room ? 2 * r->log_room : 4096;
		struct logged *more = realloc(r->log, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		r->log = more;
		r->log_room = room;
	}
	r->log[r->nlog] = (struct logged){ .version = rec->version,
					   .at = { r->number, offset, rec->length },
					   .order = r->nlog,
					   .whole = whole };
	if (rec->kind == SEGMENT_FORGOT)
		r->log[r->nlog].target = rec->target;
	r->nlog++;
	return 0;
}

static int by_version_and_order(const void *a, const void *b)
{
	const struct logged *x = a, *y = b;
	int d = memcmp(x->version.id, y->version.id, VERSION_BYTES);

	return d ? d : (x->order > y->order) - (x->order < y->order);
}

static int add_packed(struct reading *r, const struct logged *l)
{
	struct fsck_version v = { .version = l->version,
				  .packed = l->at,
				  .unfinished = !l->whole && l->at.segment == r->number && l->at.offset >= r->cut };
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "s/%08x", l->at.segment);
	snprintf(v.place, sizeof(v.place), "%s at %u", path, l->at.offset);
	fd = openat(r->root, path, O_RDONLY | O_CLOEXEC);
	v.why = fd < 0 ? strerror(errno) : verify(fd, l->at.offset + SEGMENT_HEADER, l->at.length, &v);
	v.rc = v.why ? -EBADMSG : 0;
	if (fd >= 0)
		close(fd);
	return add(r, &v);
}

/* What each version's records come to. */
static int log_replay(struct reading *r)
{
	int rc = 0;

	qsort(r->log, r->nlog, sizeof(*r->log), by_version_and_order);
	for (size_t i = 0, k; !rc && i < r->nlog; i = k) {
		const struct logged *now = NULL;

		for (k = i; k < r->nlog && version_equal(&r->log[k].version, &r->log[i].version); k++) {
			const struct logged *l = &r->log[k];

			if (!l->target.segment)
				now = l->whole || !now ? l : now;
			else if (now && (now->at.segment < l->target.segment ||
					 (now->at.segment == l->target.segment && now->at.offset <= l->target.offset)))
				now = NULL; /* as apply_forgot() */
		}
		if (now)
			rc = add_packed(r, now);
	}
	return rc;
}

/* ---- what the end of the last run cut ---- */

/* What the index, which nobody has open, knows of a segment: up to where rounds had ended. -ENOENT, -EBADMSG. */
static int index_end(const char *dir, uint32_t number, uint32_t *end)
{
	uint32_t be = htobe32(number), row[4];
	MDB_val key = { sizeof(be), &be }, val;
	MDB_txn *txn = NULL;
	MDB_env *env;
	MDB_dbi rows;
	int rc = index_look(dir, "segments", &env, &txn, &rows);

	if (!rc)
		rc = mdb_get(txn, rows, &key, &val) ? -ENOENT : val.mv_size != sizeof(row) ? -EBADMSG : 0;
	if (!rc) {
		memcpy(row, val.mv_data, sizeof(row));
		*end = le32toh(row[0]);
	}
	index_unlook(env, txn);
	return rc;
}

/* A record that is not whole was never acknowledged when it lies, in the highest segment, behind what the index has; or, where
 * that is not believed, behind the last whole one, whole_end. Segments that were closed cleanly have no such end. */
static uint32_t cut_from(struct reading *r, uint32_t whole_end)
{
	enum segments_state state = segments_state(r->root, NULL);
	uint32_t end = 0;

	if (state == SEGMENTS_CLEAN)
		return UINT32_MAX;
	if (state == SEGMENTS_OPEN && !index_end(r->dir, r->number, &end))
		return end;
	return whole_end;
}

static int number_filter(const struct dirent *e)
{
	return strlen(e->d_name) == 8 && strspn(e->d_name, "0123456789abcdef") == 8;
}

static int read_segments(struct reading *r)
{
	struct dirent **list;
	int n = scandirat(r->root, "s", &list, number_filter, alphasort), rc = 0;
	uint32_t whole_end = 0;

	if (n < 0)
		return errno == ENOENT ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		struct segment_seen seen = { 0 };
		char path[32];

		snprintf(path, sizeof(path), "s/%.8s", list[i]->d_name);
		r->number = (uint32_t)strtoul(list[i]->d_name, NULL, 16);
		r->fd = rc ? -1 : openat(r->root, path, O_RDONLY | O_CLOEXEC);
		if (r->fd >= 0) {
			rc = segment_scan(r->fd, SEGMENT_HEADER, true, log_record, r, &seen);
			r->unreadable += seen.unreadable;
			whole_end = seen.end;
			close(r->fd);
		}
		free(list[i]);
	}
	free(list);
	r->cut = cut_from(r, whole_end);
	return rc ? rc : log_replay(r);
}

/* ---- files ---- */

static int read_folder(struct reading *r, const char *path)
{
	int at = openat(r->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *dir = at < 0 ? NULL : fdopendir(at);
	struct dirent *e;

	if (!dir)
		return at < 0 && errno == ENOENT ? 0 : -errno;
	while (!rc && (e = readdir(dir))) {
		struct fsck_version v = { 0 };
		struct stat st;
		int fd;

		if (version_parse(&v.version, e->d_name))
			continue;
		snprintf(v.place, sizeof(v.place), "%.8s/%.32s", path, e->d_name);
		fd = openat(at, e->d_name, O_RDONLY | O_CLOEXEC);
		v.why = fd < 0 || fstat(fd, &st) ? strerror(errno) : verify(fd, 0, (uint64_t)st.st_size, &v);
		v.rc = v.why ? -EBADMSG : 0;
		if (fd >= 0)
			close(fd);
		rc = add(r, &v);
	}
	closedir(dir);
	return rc;
}

int fsck_read(int root, const char *dir, struct fsck_version **out, size_t *n, uint64_t *unreadable)
{
	struct reading r = { .root = root, .dir = dir, .fd = -1 };
	char path[16];
	int rc = read_segments(&r);

	for (unsigned int i = 0; !rc && i < 4096; i++) {
		snprintf(path, sizeof(path), "d/%x/%02x", i >> 8, i & 255);
		rc = read_folder(&r, path);
	}
	free(r.log);
	*out = r.v;
	*n = r.n;
	*unreadable = r.unreadable;
	return rc;
}

/* ---- does it say the same? ---- */

static int index_compare(MDB_txn *txn, MDB_dbi places, const struct fsck_version *v, size_t n)
{
	MDB_stat st;
	size_t packed = 0;

	for (size_t i = 0; i < n; i++) {
		MDB_val key = { VERSION_BYTES, (void *)v[i].version.id }, val;
		uint32_t p[3];

		if (!v[i].packed.segment)
			continue;
		packed++;
		if (mdb_get(txn, places, &key, &val) || val.mv_size != sizeof(p))
			return -EBADMSG;
		memcpy(p, val.mv_data, sizeof(p));
		if (le32toh(p[0]) != v[i].packed.segment || le32toh(p[1]) != v[i].packed.offset)
			return -EBADMSG;
	}
	return mdb_stat(txn, places, &st) || st.ms_entries != packed ? -EBADMSG : 0;
}

int fsck_index(int root, const char *dir, const struct fsck_version *v, size_t n)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi places;
	int rc;

	/* After a kill it may be behind, and after a power loss it is not looked at. */
	if (segments_state(root, NULL) != SEGMENTS_CLEAN)
		return 0;
	rc = index_look(dir, "places", &env, &txn, &places);
	if (!rc)
		rc = index_compare(txn, places, v, n);
	index_unlook(env, txn);
	return rc;
}
