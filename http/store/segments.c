/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments.c -- opening the segments, catching up with what the index has not, looking up
 * (segments.h).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "http/store/segments_int.h"
#include "lib/log.h"

#define CATCH_UP_TXN 50000 /* records of one transaction */

char *segments_path(uint32_t number, char *out, size_t room)
{
	snprintf(out, room, "s/%08x", number);
	return out;
}

/* ---- the list of files ---- */

struct segment_file *file_find(struct segments *s, uint32_t number)
{
	struct segment_file *f = s->by_number[number % FILE_SLOTS];

	while (f && f->number != number)
		f = f->hash_next;
	return f;
}

struct segment_file *file_add(struct segments *s, uint32_t number)
{
	struct segment_file *f = calloc(1, sizeof(*f)), **p = &s->files;

	if (!f)
		return NULL;
	f->refs = 1;
	f->number = number;
	while (*p && (*p)->number > number)
		p = &(*p)->next;
	f->next = *p;
	*p = f;
	f->hash_next = s->by_number[number % FILE_SLOTS];
	s->by_number[number % FILE_SLOTS] = f;
	return f;
}

void segment_file_put(struct segment_file *f)
{
	if (f && atomic_fetch_sub(&f->refs, 1) == 1)
		free(f);
}

void file_unlist(struct segments *s, struct segment_file *f)
{
	struct segment_file **p = &s->files;

	while (*p != f)
		p = &(*p)->next;
	*p = f->next;
	p = &s->by_number[f->number % FILE_SLOTS];
	while (*p != f)
		p = &(*p)->hash_next;
	*p = f->hash_next;
	f->gone = true;
	segment_file_put(f);
}

static int64_t ctime_of(const struct stat *st)
{
	return st->st_ctim.tv_sec * 1000000000LL + st->st_ctim.tv_nsec;
}

void file_remember(struct segment_file *f, int fd)
{
	struct stat st;

	if (!fstat(fd, &st))
		f->ctime_ns = ctime_of(&st);
}

bool file_unchanged(const struct segment_file *f, const struct stat *st)
{
	return ctime_of(st) <= f->ctime_ns;
}

atomic_uint *forget_slot(struct segments *s, const struct version *v)
{
	return &s->forgets[(v->id[8] | v->id[9] << 8) % FORGET_SLOTS];
}

/* ---- accounts ---- */

static void account(struct segments *s, const struct segment_place *at, int sign)
{
	struct segment_file *f = file_find(s, at->segment);

	if (!f)
		return;
	f->row.live += (uint32_t)sign * segment_room(at->length);
	f->row.versions += (uint32_t)sign;
	f->dirty = true;
}

static bool place_after(const struct segment_place *a, const struct segment_place *b)
{
	return a->segment > b->segment || (a->segment == b->segment && a->offset > b->offset);
}

static int apply_forgot(struct segments *s, MDB_txn *txn, const struct segment_record *r)
{
	struct segment_place now;
	int rc = index_get(s, txn, &r->version, &now);

	/* Another record by now. An earlier one than it names goes, too: it was replaced by that one,
	 * and stands only where that one is damaged, see catch_damaged(). */
	if (rc == -ENOENT || (!rc && place_after(&now, &r->target)))
		return 0;
	if (!rc)
		rc = index_del(s, txn, &r->version);
	if (!rc)
		account(s, &now, -1);
	return rc;
}

static int apply_stored(struct segments *s, MDB_txn *txn, const struct segment_record *r,
			const struct segment_place *at)
{
	struct segment_place old;
	int rc = index_get(s, txn, &r->version, &old);

	if (!rc)
		account(s, &old, -1);
	else if (rc != -ENOENT)
		return rc;
	rc = index_put(s, txn, &r->version, at);
	if (!rc)
		account(s, at, 1);
	return rc;
}

int segments_apply(struct segments *s, MDB_txn *txn, const struct segment_record *r,
		   const struct segment_place *at)
{
	struct segment_file *f;
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = r->kind == SEGMENT_STORED ? apply_stored(s, txn, r, at) : apply_forgot(s, txn, r);
	f = rc ? NULL : file_find(s, at->segment);
	if (f) {
		f->row.end = at->offset + segment_room(r->length);
		f->row.forgets += r->kind == SEGMENT_FORGOT ? SEGMENT_HEADER : 0;
		f->dirty = true;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int segments_rows_write(struct segments *s, MDB_txn *txn)
{
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	for (struct segment_file *f = s->files; f && !rc; f = f->next) {
		if (!f->dirty)
			continue;
		rc = index_row_put(s, txn, f);
		f->dirty = rc != 0;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* ---- opening ---- */

static bool number_parse(const char *name, uint32_t *out)
{
	char *end;

	if (strlen(name) != 8 || strspn(name, "0123456789abcdef") != 8)
		return false;
	*out = (uint32_t)strtoul(name, &end, 16);
	return *out != 0;
}

/* Every segment of the folder into s->files. */
static int files_list(struct segments *s)
{
	struct dirent *e;
	uint32_t number;
	struct stat st;
	int fd = openat(s->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	/* One that is passed over would be missing from an index that is made anew. */
	while (!rc && (errno = 0, e = readdir(dir))) {
		struct segment_file *f;

		if (!number_parse(e->d_name, &number))
			continue;
		if (fstatat(fd, e->d_name, &st, 0)) {
			rc = -errno;
			log_error("store: segment %s/s/%s: %s", s->dir, e->d_name, strerror(-rc));
			continue;
		}
		f = file_add(s, number);
		if (f)
			f->ctime_ns = ctime_of(&st);
		else
			rc = -ENOMEM;
	}
	if (!rc && errno)
		rc = -errno;
	closedir(dir);
	return rc;
}

static int row_load(void *arg, uint32_t number, const struct segment_row *row)
{
	struct segments *s = arg;
	struct segment_file *f = file_find(s, number);

	if (!f && !row->live)
		return 0; /* removed just before a kill */
	if (!f)
		return -EBADMSG;
	f->row = *row;
	return 0;
}

struct catching_up {
	struct segments *s;
	MDB_txn *txn;
	uint32_t number, last;          /* of the segment that is read, of the last one */
	unsigned int pending;
	unsigned long records, torn;
};

static int catch_commit(struct catching_up *c, bool more)
{
	int rc = segments_rows_write(c->s, c->txn);

	if (rc)
		return rc;
	rc = mdb_txn_commit(c->txn);
	c->txn = NULL;
	c->pending = 0;
	if (!rc && more)
		rc = mdb_txn_begin(c->s->env, NULL, 0, &c->txn);
	return segments_errno(rc);
}

/* Does a record count that has not the bytes that it was written with? What a power loss tore is in what
 * was written last, and was never acknowledged. Later it lies among others and looks like one that has
 * rotted: then a copy that is whole is the version, and without one it is better damaged than
 * gone. 1, 0 or -errno. */
static int catch_damaged(struct catching_up *c, const struct segment_record *r)
{
	struct segment_place whole;
	int rc;

	if (c->number + 2 > c->last)
		return 0;
	rc = index_get(c->s, c->txn, &r->version, &whole);
	return rc == -ENOENT ? 1 : rc;
}

static int catch_record(void *arg, uint32_t offset, const struct segment_record *r, bool whole)
{
	struct catching_up *c = arg;
	struct segment_place at = { c->number, offset, r->length };
	int rc = whole ? 1 : catch_damaged(c, r);

	if (rc <= 0) {
		c->torn += !rc;
		return rc;
	}
	c->records++;
	rc = segments_apply(c->s, c->txn, r, &at);
	if (!rc && ++c->pending == c->s->index_txn)
		rc = catch_commit(c, true);
	return rc;
}

static int catch_file(struct catching_up *c, struct segment_file *f)
{
	struct segment_seen seen = { 0 };
	char path[32];
	int fd, rc;

	fd = openat(c->s->root, segments_path(f->number, path, sizeof(path)), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	c->number = f->number;
	if (!f->row.end)
		f->row.end = SEGMENT_HEADER;
	rc = segment_scan(fd, f->row.end, true, catch_record, c, &seen);
	if (rc == -EPROTONOSUPPORT)
		log_error("store: segment %s was written by a later version of this program", path);
	if (!rc && seen.end > f->row.end)
		f->row.end = seen.end;
	if (seen.unreadable)
		log_error("store: segment %s/%s: %llu bytes cannot be read from the disk; what lay there is fetched "
			  "from another copy by the scrubber", c->s->dir, path, (unsigned long long)seen.unreadable);
	f->unreadable = seen.unreadable != 0;
	f->dirty = true;
	close(fd);
	return rc;
}

/* The files are in descending order. */
static struct segment_file *file_after(struct segments *s, uint32_t number)
{
	struct segment_file *f, *best = NULL;

	for (f = s->files; f && f->number > number; f = f->next)
		best = f;
	return best;
}

/* Everything that the index has not: all when it is fresh, else what the last run's end left. */
static int catch_up(struct segments *s, bool fresh)
{
	struct catching_up c = { .s = s, .last = s->files ? s->files->number : 0 };
	struct segment_file *f;
	int rc = segments_errno(mdb_txn_begin(s->env, NULL, 0, &c.txn));

	for (f = file_after(s, 0); f && !rc; f = file_after(s, f->number))
		if (!f->row.end || f->number == c.last)
			rc = catch_file(&c, f);
	if (!rc)
		rc = catch_commit(&c, false);
	if (c.txn)
		mdb_txn_abort(c.txn);
	if (!rc && (c.torn || (fresh && c.records)))
		log_info("store: indexed %lu small versions%s; %lu records were not finished", c.records,
			 fresh ? " anew" : "", c.torn);
	return rc;
}

/* One that is older than others and not in the index, or none in it: the index is not of these
 * segments. */
static bool rows_fit(struct segments *s)
{
	bool seen = false;

	for (struct segment_file *f = s->files; f; f = f->next) {
		if (f->row.end)
			seen = true;
		else if (seen)
			return false;
	}
	return seen || !s->files;
}

/* Throws the index away. Until it is whole again no start may believe it, however this one ends. */
static int index_anew(struct segments *s)
{
	int rc = state_write(s, STATE_MAKING);

	index_close(s, false);
	for (struct segment_file *f = s->files; f; f = f->next)
		f->row = (struct segment_row){ 0 };
	return rc ? rc : index_open(s, true);
}

/* Leaves the state "open BOOT". */
static int open_index(struct segments *s)
{
	bool fresh = segments_state(s->root, s->boot) == SEGMENTS_UNSURE;
	char open_by[96];
	int rc = fresh ? 0 : index_open(s, false);

	snprintf(open_by, sizeof(open_by), "open %s\n", s->boot);
	if (!rc && !fresh)
		rc = index_rows(s, row_load, s);
	if (rc == -EBADMSG || (!rc && !fresh && !rows_fit(s))) {
		if (s->files && s->files->next)
			log_warn("store: the index of small versions is missing or damaged; it is made anew");
		fresh = true;
		rc = 0;
	}
	/* Not synced from here on: "clean" must not stay. */
	if (!rc)
		rc = fresh ? index_anew(s) : state_write(s, open_by);
	if (!rc)
		rc = catch_up(s, fresh);
	return rc || !fresh ? rc : state_write(s, open_by);
}

static bool salted(const uint8_t salt[SEGMENT_SALT])
{
	static const uint8_t none[SEGMENT_SALT];

	return memcmp(salt, none, SEGMENT_SALT);
}

/* Goes on with the last segment, behind its last record. */
static int open_active(struct segments *s)
{
	struct segment_file *f = s->files;
	uint8_t head[SEGMENT_HEADER];
	char path[32];
	uint32_t number;

	s->active_fd = -1;
	/* Where something cannot be read nothing may be cut. */
	if (!f || f->row.end >= s->size || f->unreadable)
		return 0;
	s->active_fd = openat(s->root, segments_path(f->number, path, sizeof(path)), O_RDWR | O_CLOEXEC);
	if (s->active_fd < 0)
		return -errno;
	/* Of format 1 or with a damaged header: it stays as it is, and a new one is begun. */
	if (pread(s->active_fd, head, sizeof(head), 0) != sizeof(head) ||
	    segment_head_decode(&number, s->salt, head) || !salted(s->salt)) {
		close(s->active_fd);
		s->active_fd = -1;
		return 0;
	}
	/* Nothing behind it is a record: it was torn, or is room that was taken ahead. */
	if (ftruncate(s->active_fd, (off_t)f->row.end))
		return -errno;
	file_remember(f, s->active_fd);
	s->active = f;
	s->allocated = s->zeroed = f->row.end;
	return 0;
}

/* After a kill the kernel has what was written and maybe not synced, here and in files of their own;
 * it is taken for stored from now on, so it has to be on the disk. */
static int sync_unsynced(struct segments *s)
{
	enum segments_state state = segments_state(s->root, s->boot);
	int rc;

	/* Also of another boot: the file that says which can be missing. */
	if (state == SEGMENTS_CLEAN || (state == SEGMENTS_UNSURE && !s->files))
		return 0;
	rc = syncfs(s->root) ? -errno : 0;
	if (rc)
		log_error("store: what the last run left cannot be brought to the disk of %s: %s; look at the "
			  "kernel's log, and at the disk", s->dir, strerror(-rc));
	return rc;
}

int segments_open(struct segments **out, int root, const struct segments_options *options)
{
	struct segments *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	int rc;

	if (!s)
		return -ENOMEM;
	s->root = root;
	s->active_fd = s->folder = -1;
	s->tail = &s->head;
	s->dir = strdup(options->dir);
	s->size = options->segment_size ? options->segment_size : SEGMENT_SIZE;
	s->index_txn = options->index_txn ? options->index_txn : CATCH_UP_TXN;
	pthread_mutex_init(&s->lock, NULL);
	pthread_rwlock_init(&s->opened, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->work, &attr);
	pthread_condattr_destroy(&attr);
	pace_init(&s->compaction);
	if (options->boot)
		snprintf(s->boot, sizeof(s->boot), "%s", options->boot);
	else
		state_boot(s->boot, sizeof(s->boot));
	rc = mkdirat(root, "s", 0700) && errno != EEXIST ? -errno : 0;
	if (!rc) {
		s->folder = openat(root, "s", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = s->folder < 0 || fsync(root) ? -errno : files_list(s);
	}
	if (!rc)
		rc = sync_unsynced(s);
	if (!rc)
		rc = open_index(s);
	if (!rc)
		rc = open_active(s);
	if (!rc)
		rc = rounds_start(s);
	if (!rc && !options->no_compaction)
		rc = compactor_start(s);
	if (rc) {
		segments_kill(s);
		return rc;
	}
	*out = s;
	return 0;
}

/* Only an index that is on the disk may be believed by the next start. */
static void close_clean(struct segments *s)
{
	int rc = 0;

	if (s->active && ftruncate(s->active_fd, (off_t)s->active->row.end)) {
		rc = -errno;
		log_warn("store: cannot give back the room of a segment: %s", strerror(-rc));
	}
	if (!rc) {
		rc = index_close(s, true);
		if (rc)
			log_error("store: the index of small versions cannot be synced: %s; the next start makes "
				  "it anew", strerror(-rc));
	}
	rc = state_write(s, rc ? STATE_MAKING : STATE_CLEAN);
	if (rc)
		log_error("store: %s/s/state: %s", s->dir, strerror(-rc));
}

static void close_all(struct segments *s, bool clean)
{
	if (!s)
		return;
	compactor_stop(s);
	rounds_stop(s);
	if (clean)
		close_clean(s);
	index_close(s, false);
	if (s->active_fd >= 0)
		close(s->active_fd);
	if (s->folder >= 0)
		close(s->folder);
	while (s->files)
		file_unlist(s, s->files);
	pthread_mutex_destroy(&s->lock);
	pthread_rwlock_destroy(&s->opened);
	pthread_cond_destroy(&s->work);
	pace_destroy(&s->compaction);
	free(s->dir);
	free(s);
}

void segments_close(struct segments *s)
{
	close_all(s, true);
}

void segments_kill(struct segments *s)
{
	close_all(s, false);
}

/* ---- looking up ---- */

static int place_of(struct segments *s, const struct version *v, struct segment_place *out)
{
	MDB_txn *txn;
	int rc = index_read_begin(s, &txn);

	if (rc)
		return rc;
	rc = index_get(s, txn, v, out);
	index_read_end(s, txn);
	return rc;
}

int segments_look(struct segments *s, const struct version *v)
{
	struct segment_place place;

	return place_of(s, v, &place);
}

bool segments_has(struct segments *s, const struct version *v)
{
	return !segments_look(s, v);
}

int segments_find(struct segments *s, const struct version *v, struct segments_found *out)
{
	int rc;

	/* Compaction may remove the segment between the two steps: then it lies elsewhere. */
	for (int tries = 0; tries < 10; tries++) {
		out->changes = atomic_load(forget_slot(s, v));
		rc = place_of(s, v, &out->place);
		if (rc)
			return rc;
		pthread_mutex_lock(&s->lock);
		out->file = file_find(s, out->place.segment);
		if (out->file) {
			atomic_fetch_add(&out->file->refs, 1);
			out->generation = out->file->generation;
		}
		pthread_mutex_unlock(&s->lock);
		if (out->file)
			return 0;
	}
	return -ENOENT;
}

bool segments_same(struct segments *s, const struct version *v, const struct segments_found *found,
		   const struct stat *st)
{
	struct segment_file *f = found->file;

	if (f->gone || f->generation != found->generation ||
	    atomic_load(forget_slot(s, v)) != found->changes)
		return false;
	if (!st || f->appending || file_unchanged(f, st))
		return true;
	/* Somebody else wrote to it: all that was checked is to be checked again. */
	atomic_fetch_add(&f->generation, 1);
	f->ctime_ns = ctime_of(st);
	return false;
}

int segments_head(struct segments *s, const struct segment_place *place, struct segment_record *r)
{
	uint8_t raw[SEGMENT_HEADER];
	char path[32];
	ssize_t n;
	int fd;

	fd = openat(s->root, segments_path(place->segment, path, sizeof(path)), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = pread(fd, raw, sizeof(raw), (off_t)place->offset);
	close(fd);
	return n == sizeof(raw) ? segment_record_decode(r, raw) : -EBADMSG;
}

int segments_each(struct segments *s, const struct version *prefix, unsigned int prefix_bytes,
		  int (*fn)(void *arg, const struct version *v), void *arg)
{
	MDB_val key = { prefix_bytes, prefix_bytes ? (void *)prefix->id : NULL }, val;
	MDB_cursor_op op = prefix_bytes ? MDB_SET_RANGE : MDB_FIRST;
	MDB_cursor *c = NULL;
	MDB_txn *txn;
	int rc = index_read_begin(s, &txn);

	if (rc)
		return rc;
	rc = segments_errno(mdb_cursor_open(txn, s->places, &c));
	while (!rc && !(rc = segments_errno(mdb_cursor_get(c, &key, &val, op)))) {
		struct version v;

		if (key.mv_size != VERSION_BYTES ||
		    (prefix_bytes && memcmp(key.mv_data, prefix->id, prefix_bytes)))
			break;
		memcpy(v.id, key.mv_data, VERSION_BYTES);
		rc = fn(arg, &v);
		op = MDB_NEXT;
	}
	if (c)
		mdb_cursor_close(c);
	index_read_end(s, txn);
	return rc == -ENOENT ? 0 : rc;
}

void segments_count(struct segments *s, struct segments_counts *out)
{
	*out = (struct segments_counts){ 0 };
	pthread_mutex_lock(&s->lock);
	out->rounds = s->nrounds;
	out->jobs = s->njobs;
	out->compacted = s->compacted;
	out->moved_bytes = s->moved;
	for (const struct segment_file *f = s->files; f; f = f->next) {
		out->segments++;
		out->bytes += f->row.end;
		out->live += f->row.live;
		out->versions += f->row.versions;
	}
	pthread_mutex_unlock(&s->lock);
}
