/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments_round.c -- the thread that appends to segments (segments_int.h): group commit.
 *
 * A round, in this order: the records are written behind the last one, fdatasync(2), the index's
 * transaction is committed, those that wait are woken. What fails before the commit has not
 * happened: the file is cut where the round began, and when a sync failed nothing more is
 * written to that file, for its pages may be called clean and not be on the disk.
 *
 * A power loss before the sync may leave any of a round's records and not the others, for there are
 * zeros where they are written. So no two are of the same version, and none relies on another: what
 * a STORED replaces it names itself, and a FORGOT speaks of what an earlier round has made durable.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "http/store/segments_int.h"
#include "lib/log.h"

#define ROUND_JOBS  256	       /* at most in one round */
#define ROUND_BYTES (16u << 20)
#define BATCH_BITS  4096	       /* of a filter of a round's versions */
#define GATHER_US   500	       /* a round may wait so long for more */
#define AHEAD	    (4u << 20) /* disk space is taken so much at once */
/* A flush of bytes that were written before costs one write and one flush; of such as make the file
 * longer, or were only allocated, a commit of the file system's journal besides. So zeros are
 * written so far ahead, unless the rounds are so large that writing twice would cost more. */
#define ZEROS_AHEAD (1u << 20)
#define ZEROS_ROUND (128u << 10)

struct round {
	struct segments *s;
	MDB_txn *txn;
	uint32_t begin, end;
	struct iovec iov[3 * ROUND_JOBS]; /* below IOV_MAX */
	int niov;
	uint8_t heads[ROUND_JOBS][SEGMENT_HEADER];
	unsigned int nheads;
};

static uint8_t zeros[64 << 10]; /* never written to */

/* cut: what lies behind the last record that counts is nothing. */
static void seal(struct segments *s, bool cut)
{
	struct segment_file *f = s->active;

	if (s->active_fd < 0)
		return;
	/* Room that was taken ahead is given back. Durably, for records of a round that failed are
	 * older than what comes in the next file: they must not be among it after a power loss. A disk
	 * that refuses this, too, may bring them back. */
	if (f && cut && !ftruncate(s->active_fd, (off_t)f->row.end)) {
		if (fsync(s->active_fd))
			log_limited(LOG_LEVEL_WARN, 30, "store: the cut of a segment cannot be synced: %s",
				    strerror(errno));
		file_remember(f, s->active_fd);
	}
	close(s->active_fd);
	s->active_fd = -1;
	pthread_mutex_lock(&s->lock);
	s->active = NULL;
	pthread_mutex_unlock(&s->lock);
}

/* A new file, durable under its name before anything is appended. */
static int begin_segment(struct segments *s)
{
	uint32_t number = s->files ? s->files->number + 1 : 1;
	uint8_t head[SEGMENT_HEADER];
	struct segment_file *f;
	char path[32];
	int fd, rc = 0;

	/* One that is not known, but there, is somebody's data: never cut. */
	do {
		fd = openat(s->root, segments_path(number, path, sizeof(path)),
			    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	} while (fd < 0 && errno == EEXIST && number++ < UINT32_MAX);
	if (fd < 0)
		return errno == EDQUOT ? -ENOSPC : -errno;
	/* Odd, for zeros are no salt. */
	rc = getrandom(s->salt, SEGMENT_SALT, 0) == SEGMENT_SALT ? 0 : -EIO;
	s->salt[0] |= 1;
	segment_head_encode(number, s->salt, head);
	if (!rc && pwrite(fd, head, sizeof(head), 0) != sizeof(head))
		rc = errno == EDQUOT || !errno ? -ENOSPC : -errno;
	else if (!rc && (fsync(fd) || fsync(s->folder)))
		rc = -errno;
	pthread_mutex_lock(&s->lock);
	f = rc ? NULL : file_add(s, number);
	if (f) {
		f->row.end = SEGMENT_HEADER;
		f->dirty = true;
		s->active = f;
	}
	pthread_mutex_unlock(&s->lock);
	if (!f) {
		unlinkat(s->root, path, 0);
		close(fd);
		return rc ? rc : -ENOMEM;
	}
	file_remember(f, fd);
	s->active_fd = fd;
	s->allocated = s->zeroed = SEGMENT_HEADER;
	return 0;
}

static void add_iov(struct round *r, const void *data, size_t len)
{
	if (len)
		r->iov[r->niov++] = (struct iovec){ (void *)data, len };
}

static int add_record(struct round *r, struct segment_record *rec, const void *data,
		      struct segment_place *at)
{
	uint8_t *head = r->heads[r->nheads++];
	uint32_t room = segment_room(rec->length);

	*at = (struct segment_place){ r->s->active->number, r->end, rec->length };
	memcpy(rec->salt, r->s->salt, SEGMENT_SALT);
	segment_record_encode(rec, head);
	add_iov(r, head, SEGMENT_HEADER);
	add_iov(r, data, rec->length);
	add_iov(r, zeros, room - SEGMENT_HEADER - rec->length);
	r->end += room;
	return segments_apply(r->s, r->txn, rec, at);
}

static bool place_equal(const struct segment_place *a, const struct segment_place *b)
{
	return a->segment == b->segment && a->offset == b->offset;
}

/* 0: a record, or nothing to do. */
static int add_job(struct round *r, struct segments_job *job)
{
	struct segment_record rec = { .kind = SEGMENT_STORED,
				      .version = job->version,
				      .length = job->len,
				      .crc = job->crc,
				      .stored = job->stored };
	struct segment_place now = { 0 };
	int rc = index_get(r->s, r->txn, &job->version, &now);

	if (rc && rc != -ENOENT)
		return rc;
	job->place = (struct segment_place){ 0 };
	switch (job->what) {
	case SEGMENTS_STORE:
		break;
	case SEGMENTS_MOVE:
		if (rc || !place_equal(&now, &job->from))
			return 0; /* forgotten or replaced meanwhile */
		break;
	case SEGMENTS_FORGET:
		if (rc)
			return 0;
		rec.kind = SEGMENT_FORGOT;
		rec.target = now;
		break;
	case SEGMENTS_KEEP:
		rec.kind = SEGMENT_FORGOT;
		rec.target = job->from;
		break;
	}
	if (rec.kind == SEGMENT_FORGOT)
		rec.length = rec.crc = 0;
	else if (!rc)
		/* Otherwise it would come back from its segment when this record was forgotten and
		 * both this and the FORGOT were compacted away. */
		rec.target = now;
	return add_record(r, &rec, job->data, &job->place) ? -EIO : 0;
}

/* What is behind the last record is nothing, zeros or not: should it fail, the next round is
 * slower. */
static void zeros_write(struct segments *s, uint64_t at)
{
	struct iovec iov[ZEROS_AHEAD / sizeof(zeros)];
	const int n = sizeof(iov) / sizeof(*iov);
	ssize_t done;

	for (int i = 0; i < n; i++)
		iov[i] = (struct iovec){ zeros, sizeof(zeros) };
	done = pwritev(s->active_fd, iov, n, (off_t)at);
	s->zeroed = done > 0 ? at + (uint64_t)done : at;
}

/* Room ahead makes the file's blocks lie together; without it the write itself will say. */
static void take_room(struct round *r)
{
	struct segments *s = r->s;
	bool zero = r->end > s->zeroed && r->end - r->begin <= ZEROS_ROUND;

	if (r->end + (zero ? ZEROS_AHEAD : 0) > s->allocated &&
	    !fallocate(s->active_fd, FALLOC_FL_KEEP_SIZE, r->begin,
		       (off_t)(r->end - r->begin + AHEAD)))
		s->allocated = r->end + AHEAD;
	if (zero && r->end + ZEROS_AHEAD <= s->allocated)
		zeros_write(s, r->end);
}

static int write_all(struct round *r)
{
	struct iovec *iov = r->iov;
	int n = r->niov, fd = r->s->active_fd;
	uint64_t at = r->begin;

	take_room(r);
	while (n) {
		ssize_t done = pwritev(fd, iov, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return !done || errno == EDQUOT ? -ENOSPC : -errno;
		at += (uint64_t)done;
		while (n && (size_t)done >= iov->iov_len) {
			done -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n) {
			iov->iov_base = (uint8_t *)iov->iov_base + done;
			iov->iov_len -= (size_t)done;
		}
	}
	return 0;
}

static int row_reload(void *arg, uint32_t number, const struct segment_row *row)
{
	struct segments *s = arg;
	struct segment_file *f = file_find(s, number);

	if (f && f->dirty)
		f->row = *row;
	return 0;
}

/* The accounts as they were before a round that failed. */
static void rows_restore(struct segments *s, uint32_t active_end)
{
	pthread_mutex_lock(&s->lock);
	if (s->active && s->active->dirty)
		s->active->row = (struct segment_row){ .end = SEGMENT_HEADER }; /* when it has no row */
	index_rows(s, row_reload, s);
	for (struct segment_file *f = s->files; f; f = f->next)
		f->dirty = f == s->active && f->dirty;
	if (s->active)
		s->active->row.end = active_end;
	pthread_mutex_unlock(&s->lock);
}

/* Writes, syncs. */
static int round_append(struct round *r)
{
	struct segments *s = r->s;
	struct segment_file *f = s->active;
	struct stat st;
	int rc;

	if (!fstat(s->active_fd, &st) && !file_unchanged(f, &st))
		atomic_fetch_add(&f->generation, 1);
	f->appending = true;
	rc = write_all(r);
	if (!rc && fdatasync(s->active_fd))
		rc = -errno;
	if (rc) {
		s->allocated = s->zeroed = r->begin;
		if (ftruncate(s->active_fd, (off_t)r->begin))
			rc = -EIO;
	}
	file_remember(f, s->active_fd);
	f->appending = false;
	return rc;
}

static int round_try(struct round *r, struct segments_job *batch)
{
	struct segments *s = r->s;
	bool unsure = false;
	int rc = 0;

	if (s->active && s->active->row.end >= s->size)
		seal(s, true);
	if (!s->active)
		rc = begin_segment(s);
	if (!rc)
		rc = index_write_begin(s, &r->txn);
	if (rc)
		return rc;
	r->begin = r->end = s->active->row.end;
	for (struct segments_job *job = batch; job && !rc; job = job->next)
		rc = add_job(r, job);
	if (!rc && r->niov)
		rc = round_append(r);
	if (!rc)
		rc = segments_rows_write(s, r->txn);
	if (!rc) {
		rc = segments_errno(mdb_txn_commit(r->txn));
		r->txn = NULL;
		unsure = rc != 0;
	}
	if (!rc)
		return 0;
	if (r->txn)
		mdb_txn_abort(r->txn);
	rows_restore(s, r->begin);
	/* The index may come to say that they are there, after all: then they are. */
	if (rc != -ENOSPC || unsure)
		seal(s, !unsure);
	return rc;
}

static void round_run(struct segments *s, struct round *r, struct segments_job *batch)
{
	struct segments_job *next;
	bool completed = false;
	int rc;

	/* Its arrays are filled as they are used. */
	r->s = s;
	r->txn = NULL;
	r->niov = 0;
	r->nheads = 0;
	rc = round_try(r, batch);
	if (rc)
		log_limited(LOG_LEVEL_ERROR, 30, "store: cannot write small versions: %s", strerror(-rc));
	for (struct segments_job *job = batch; job; job = next) {
		next = job->next;
		if (!rc && (job->what == SEGMENTS_STORE || job->what == SEGMENTS_FORGET))
			atomic_fetch_add(forget_slot(s, &job->version), 1);
		job->rc = rc;
		/* The job is somebody else's from here on. */
		if (job->complete) {
			completed = true;
			job->complete(job);
		} else {
			sem_post(&job->done);
		}
	}
	if (completed && s->after)
		s->after(s->after_arg);
}

void segments_after(struct segments *s, void (*fn)(void *arg), void *arg)
{
	s->after = fn;
	s->after_arg = arg;
}

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* A round costs nearly the same for one and for many. Those whose work was in the last one are
 * likely to come again in a moment: they are waited for, and no more than them, with those who came
 * meanwhile; a part of a round's own time at most. One alone never waits. Lock held. */
static void gather(struct segments *s)
{
	int64_t us = s->round_us / 4 < GATHER_US ? s->round_us / 4 : GATHER_US;
	struct timespec until;

	s->want = s->writers < ROUND_JOBS ? s->writers : ROUND_JOBS;
	if (s->nqueue >= s->want || s->stop)
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += us * 1000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	s->gathers = true;
	while (s->nqueue < s->want && !s->stop)
		if (pthread_cond_timedwait(&s->work, &s->lock, &until))
			break;
	s->gathers = false;
}

/* Has what is between batch and last job's version? seen: a filter, to which job's is added. */
static bool batch_has(const struct segments_job *batch, const struct segments_job *last,
		      const struct segments_job *job, uint64_t seen[BATCH_BITS / 64])
{
	unsigned int n = crc32c(0, job->version.id, VERSION_BYTES) % BATCH_BITS;
	bool maybe = seen[n / 64] >> n % 64 & 1;

	seen[n / 64] |= 1ull << n % 64;
	for (; maybe && batch != last->next; batch = batch->next)
		if (version_equal(&batch->version, &job->version))
			return true;
	return false;
}

/* Lock held. A version's second job waits for the next round, see above. */
static struct segments_job *batch_take(struct segments *s)
{
	struct segments_job *batch = s->head, *last = batch;
	uint64_t bytes = batch->len, seen[BATCH_BITS / 64] = { 0 };
	unsigned int n = 1;

	batch_has(batch, last, batch, seen);
	for (; n < ROUND_JOBS && last->next && bytes + last->next->len < ROUND_BYTES; n++) {
		if (batch_has(batch, last, last->next, seen))
			break;
		last = last->next;
		bytes += last->len;
	}
	s->njobs += n;
	s->nqueue -= n;
	s->taken = n;
	s->head = last->next;
	if (!s->head)
		s->tail = &s->head;
	last->next = NULL;
	s->nrounds++;
	return batch;
}

static void *rounds_main(void *arg)
{
	struct segments *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct segments_job *batch;
		int64_t begun;

		while (!s->head && !s->stop)
			pthread_cond_wait(&s->work, &s->lock);
		if (!s->head)
			break;
		gather(s);
		batch = batch_take(s);
		pthread_mutex_unlock(&s->lock);
		begun = now_us();
		round_run(s, s->round, batch);
		pthread_mutex_lock(&s->lock);
		s->round_us = now_us() - begun;
		s->writers = s->taken + s->nqueue;
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int rounds_start(struct segments *s)
{
	int rc;

	s->round = malloc(sizeof(*s->round));
	if (!s->round)
		return -ENOMEM;
	rc = pthread_create(&s->thread, NULL, rounds_main, s);
	if (rc)
		return -rc;
	s->thread_runs = true;
	pthread_setname_np(s->thread, "segments");
	return 0;
}

void rounds_stop(struct segments *s)
{
	if (s->thread_runs) {
		pthread_mutex_lock(&s->lock);
		s->stop = true;
		pthread_cond_signal(&s->work);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
		s->thread_runs = false;
	}
	free(s->round);
	s->round = NULL;
}

void segments_begin(struct segments *s, struct segments_job *job)
{
	bool wake;

	if (!job->complete)
		sem_init(&job->done, 0, 0);
	job->next = NULL;
	if (job->what == SEGMENTS_STORE) {
		job->stored = time(NULL);
		job->crc = crc32c(0, job->data, job->len);
	}
	pthread_mutex_lock(&s->lock);
	wake = !s->head;
	*s->tail = job;
	s->tail = &job->next;
	s->nqueue++;
	if (s->gathers)
		wake = s->nqueue == s->want;
	pthread_mutex_unlock(&s->lock);
	if (wake)
		pthread_cond_signal(&s->work);
}

int segments_wait(struct segments *s, struct segments_job *job)
{
	(void)s;
	while (sem_wait(&job->done) && errno == EINTR)
		;
	sem_destroy(&job->done);
	return job->rc;
}
