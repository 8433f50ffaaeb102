/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments_compact.c -- the thread that takes what lives out of segments that are mostly empty
 * (segments_int.h).
 *
 * A record is copied by a round like any other, and only while the index still says that it lies
 * where it was read: so what is forgotten or replaced meanwhile stays so. A FORGOT, and what a
 * STORED says of the one that it replaced, is kept as long as the segment that it speaks of is
 * there; without it an index made anew would bring the version back. The file goes when nothing
 * lives in it any more, which is when all copies are on stable storage, and its folder is synced,
 * so that FORGOTs which speak of it may go, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "http/store/segments_int.h"
#include "lib/log.h"

#define COMPACT_RATE  (32u << 20) /* bytes a second that are copied */
#define COMPACT_STEP  64	  /* copies that share a round */
#define COMPACT_IDLE  2		  /* seconds until it looks again */

struct compaction {
	struct segments *s;
	struct segment_file *file;
	int fd;
	uint32_t kept;                  /* bytes that would go on living; counted first */
	struct segments_job jobs[COMPACT_STEP + 1]; /* a record may need two */
	unsigned int njobs;
	uint64_t bytes;                 /* since the last pause */
};

/* What has to go on of a record: the version that it stores, and that its target is no more. */
struct living {
	bool version, end;
};

/* By the index. 0 or -errno. */
static int what_lives(struct segments *s, uint32_t number, uint32_t offset,
		      const struct segment_record *r, struct living *out)
{
	struct segments_found found = { .file = NULL };
	int rc;

	*out = (struct living){ false, false };
	if (r->target.segment && r->target.segment != number) {
		pthread_mutex_lock(&s->lock);
		out->end = file_find(s, r->target.segment);
		pthread_mutex_unlock(&s->lock);
	}
	if (r->kind == SEGMENT_FORGOT && !out->end)
		return 0;
	rc = segments_find(s, &r->version, &found);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	out->version = r->kind == SEGMENT_STORED && found.place.segment == number &&
		       found.place.offset == offset;
	/* A STORED that was torn replaced nothing, and what was not acknowledged ended nothing. */
	if (found.place.segment == r->target.segment && found.place.offset == r->target.offset)
		out->end = false;
	segment_file_put(found.file);
	return 0;
}

static int flush(struct compaction *c)
{
	int rc = 0;

	for (unsigned int i = 0; i < c->njobs; i++)
		segments_begin(c->s, &c->jobs[i]);
	for (unsigned int i = 0; i < c->njobs; i++) {
		int one = segments_wait(c->s, &c->jobs[i]);

		if (!rc)
			rc = one;
		free((void *)c->jobs[i].data);
	}
	c->njobs = 0;
	if (!rc && c->s->throttled && c->bytes >= COMPACT_RATE / 16) {
		c->bytes = 0;
		if (!pace_wait(&c->s->compaction, 1000 / 16))
			rc = -ECANCELED;
	}
	return rc;
}

static int count_record(void *arg, uint32_t offset, const struct segment_record *r, bool whole)
{
	struct compaction *c = arg;
	struct living l;
	int rc = what_lives(c->s, c->file->number, offset, r, &l);

	(void)whole;
	c->kept += (l.version ? segment_room(r->length) : 0) + (l.end ? SEGMENT_HEADER : 0);
	return rc ? rc : c->s->compaction.stop ? -ECANCELED : 0;
}

static void add_job(struct compaction *c, const struct segments_job *job)
{
	c->jobs[c->njobs++] = *job;
	c->bytes += segment_room(job->len);
	pthread_mutex_lock(&c->s->lock);
	c->s->moved += segment_room(job->len);
	pthread_mutex_unlock(&c->s->lock);
}

static int move_version(struct compaction *c, uint32_t offset, const struct segment_record *r)
{
	struct segments_job job = { .what = SEGMENTS_MOVE,
				    .version = r->version,
				    .len = r->length,
				    .crc = r->crc,
				    .stored = r->stored,
				    .from = { c->file->number, offset, r->length } };
	uint8_t *data = malloc(r->length + 1);
	ssize_t n;

	if (!data)
		return -ENOMEM;
	/* Damaged bytes keep the checksums that show it. */
	n = pread(c->fd, data, r->length, (off_t)offset + SEGMENT_HEADER);
	if (n != (ssize_t)r->length) {
		bool disk = n < 0 && errno == EIO;

		free(data);
		return disk ? 0 : -EIO; /* it stays, and its segment with it */
	}
	job.data = data;
	add_job(c, &job);
	return 0;
}

static int move_record(void *arg, uint32_t offset, const struct segment_record *r, bool whole)
{
	struct compaction *c = arg;
	const struct segments_job keep = { .what = SEGMENTS_KEEP,
					   .version = r->version,
					   .stored = r->stored,
					   .from = r->target };
	struct living l;
	int rc = what_lives(c->s, c->file->number, offset, r, &l);

	(void)whole;
	if (!rc && l.version)
		rc = move_version(c, offset, r);
	if (!rc && l.end)
		add_job(c, &keep);
	return !rc && c->njobs >= COMPACT_STEP ? flush(c) : rc;
}

/* Nothing lives in it: away with it, durably. */
static int remove_file(struct segments *s, struct segment_file *f)
{
	char path[32];

	if (unlinkat(s->root, segments_path(f->number, path, sizeof(path)), 0) && errno != ENOENT)
		return -errno;
	if (fsync(s->folder))
		return -errno;
	pthread_mutex_lock(&s->lock);
	file_unlist(s, f);
	s->removed++;
	s->compacted++;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* 1: the segment went; 0: too much of it lives; or -errno. */
static int compact_one(struct segments *s, struct segment_file *f)
{
	struct compaction *c = calloc(1, sizeof(*c));
	struct segment_row row;
	char path[32];
	int rc;

	if (!c)
		return -ENOMEM;
	c->s = s;
	c->file = f;
	pthread_mutex_lock(&s->lock);
	f->tried = s->removed + 1;
	f->tried_live = f->row.live;
	row = f->row;
	pthread_mutex_unlock(&s->lock);
	c->fd = openat(s->root, segments_path(f->number, path, sizeof(path)), O_RDONLY | O_CLOEXEC);
	rc = c->fd < 0 ? -errno : 0;
	/* Also when the accounts say that nothing lives: the index decides. */
	if (!rc) {
		rc = segment_scan(c->fd, SEGMENT_HEADER, false, count_record, c, NULL);
		if (!rc && c->kept > row.end / 2)
			goto out;
		if (!rc)
			rc = segment_scan(c->fd, SEGMENT_HEADER, false, move_record, c, NULL);
		if (c->njobs) {
			int last = flush(c);

			rc = rc ? rc : last;
		}
	}
	pthread_mutex_lock(&s->lock);
	row = f->row;
	pthread_mutex_unlock(&s->lock);
	if (!rc && row.live) {
		f->stuck = true;
		log_error("store: segment %s has %u versions whose records are damaged; it is kept", path,
			  row.versions);
	} else if (!rc) {
		rc = remove_file(s, f);
		rc = rc ? rc : 1;
	}
out:
	if (c->fd >= 0)
		close(c->fd);
	free(c);
	return rc;
}

/* The one of which least lives, of those that are at most half alive. The last one is never: its
 * number must not be used again. */
static struct segment_file *choose(struct segments *s)
{
	struct segment_file *best = NULL;

	pthread_mutex_lock(&s->lock);
	for (struct segment_file *f = s->files ? s->files->next : NULL; f; f = f->next) {
		if (f == s->active || f->stuck || f->row.live > f->row.end / 2 ||
		    (f->tried > s->removed && f->row.live + f->row.end / 8 >= f->tried_live))
			continue;
		if (!best || (uint64_t)f->row.live * best->row.end < (uint64_t)best->row.live * f->row.end)
			best = f;
	}
	pthread_mutex_unlock(&s->lock);
	return best;
}

int segments_compact(struct segments *s)
{
	struct segment_file *f;
	int rc = 0, went = 0;

	while (rc >= 0 && (f = choose(s))) {
		rc = compact_one(s, f);
		went += rc > 0;
	}
	return rc < 0 ? rc : went;
}

static void *compactor_main(void *arg)
{
	struct segments *s = arg;

	while (pace_wait(&s->compaction, COMPACT_IDLE * 1000)) {
		int rc = segments_compact(s);

		if (rc < 0 && rc != -ECANCELED)
			log_limited(LOG_LEVEL_ERROR, 60, "store: compaction of small versions: %s",
				    strerror(-rc));
	}
	return NULL;
}

int compactor_start(struct segments *s)
{
	int rc;

	s->throttled = true;
	rc = pthread_create(&s->compactor, NULL, compactor_main, s);
	if (rc)
		return -rc;
	s->compactor_runs = true;
	pthread_setname_np(s->compactor, "compact");
	return 0;
}

void compactor_stop(struct segments *s)
{
	if (!s->compactor_runs)
		return;
	pace_stop(&s->compaction);
	pthread_join(s->compactor, NULL);
	s->compactor_runs = false;
}
