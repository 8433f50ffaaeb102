/* SPDX-License-Identifier: Apache-2.0 */
/*
 * staged.c -- a version that is being written (staged.h).
 *
 * A small version stays in memory and goes to a segment when it is committed. One that grows beyond
 * SEGMENT_SMALL goes to a file; then memory does not grow with the object: the first chunk's record
 * is kept here (most objects have no other), later ones go to an unlinked file and are copied
 * behind the data at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "http/store/staged.h"

struct staged {
	struct chunks *chunks;
	struct version version;
	/* The version while it is small; then what is next to be written to the file at small_at, so that large writes
	 * make large folios of the page cache, which sendfile(2) later sends faster. NULL: memory is short. */
	uint8_t *small;
	size_t small_len, small_room;
	uint64_t small_at;
	struct segments_job small_job;
	int fd, records_fd;	     /* the file, or -1; encoded records from number 1 on, or -1 */
	_Atomic uint64_t done, size; /* complete chunks, their bytes; read by senders too */
	uint8_t first[RECORD_MAX];   /* encoded record of chunk 0 */
	/* the chunk under way */
	bool open;
	uint64_t number;
	uint32_t fill; /* its bytes so far */
	struct chunk_record record;
	struct sha256 *sha;
	/* the whole, when it is a stream of more than one chunk; one chunk's hash is the whole's */
	struct sha256 *whole;
	struct commit_job job;
	bool committing, committed, discarded;
	size_t piece; /* of a file, when that much was announced; else 0 */
	void (*told)(void *arg, int rc); /* of staged_commit_later() */
	void *told_arg;
};

#define SMALL_FIRST (8u << 10) /* bytes of memory that it begins with; doubled */
#define FILE_PIECE  (128u << 10) /* … that a file is gathered in: those of several uploads stay in a core's cache */
#define LARGE_PIECE (256u << 10) /* … of more than one chunk: larger folios, which are sent faster */

int staged_new(struct staged **out, struct chunks *c, const struct version *v)
{
	struct staged *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->chunks = c;
	s->version = *v;
	s->fd = s->records_fd = -1;
	*out = s;
	return 0;
}

void staged_expect(struct staged *s, uint64_t size)
{
	if (size > SEGMENT_SMALL)
		s->piece = size > CHUNK_SIZE ? LARGE_PIECE : FILE_PIECE;
}

static void small_free(struct staged *s)
{
	chunks_memory_give(s->chunks, s->small_room);
	free(s->small);
	s->small = NULL;
	s->small_room = s->small_len = 0;
}

/* Room for so many bytes; false: it is to become a file. */
static bool small_grow(struct staged *s, size_t room)
{
	size_t want = s->small_room ? s->small_room : SMALL_FIRST;
	uint8_t *more;

	if (room <= s->small_room)
		return true;
	while (want < room)
		want *= 2;
	if (room > SEGMENT_RECORD || !chunks_memory_take(s->chunks, want - s->small_room))
		return false;
	more = realloc(s->small, want);
	if (!more) {
		chunks_memory_give(s->chunks, want - s->small_room);
		return false;
	}
	s->small = more;
	s->small_room = want;
	return true;
}

static int file_new(struct staged *s)
{
	chunks_temporary(s->chunks, &s->version, s->job.from);
	chunks_path(&s->version, s->job.to);
	chunks_folder(&s->version, s->job.folder);
	s->fd = openat(chunks_root(s->chunks), s->job.from, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s->fd < 0) {
		s->job.from[0] = 0;
		return -errno;
	}
	s->job.fd = s->fd;
	return 0;
}

void staged_free(struct staged *s)
{
	if (!s)
		return;
	if (s->committing)
		staged_commit_wait(s);
	if (!s->committed && s->fd >= 0)
		unlinkat(chunks_root(s->chunks), s->job.from, 0);
	if (s->records_fd >= 0)
		close(s->records_fd);
	if (s->fd >= 0)
		close(s->fd);
	small_free(s);
	sha256_drop(s->sha);
	sha256_drop(s->whole);
	free(s);
}

void staged_discard(struct staged *s)
{
	s->discarded = true;
	small_free(s);
	if (s->fd < 0)
		return;
	unlinkat(chunks_root(s->chunks), s->job.from, 0);
	if (ftruncate(s->fd, 0))
		return; /* the space comes back with the descriptor's end */
}

static int write_all(int fd, const void *data, size_t len, uint64_t offset)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EDQUOT ? -ENOSPC : -errno;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* To the file, what was gathered for it. */
static int flush(struct staged *s)
{
	int rc = s->fd >= 0 && s->small_len ? write_all(s->fd, s->small, s->small_len, s->small_at) : 0;

	if (!rc && s->fd >= 0)
		s->small_len = 0;
	return rc;
}

/* It is small no more, or memory is short. What is in memory is written once that is full, so that all writes but the
 * last begin at a multiple of their length: else the folios would be small. */
static int become_file(struct staged *s)
{
	s->small_at = 0;
	return file_new(s);
}

/* Into the file, by way of the memory that it had while it was small. */
static int file_put(struct staged *s, const uint8_t *data, size_t len, uint64_t offset)
{
	int rc = s->small_len && offset != s->small_at + s->small_len ? flush(s) : 0;

	while (!rc && len) {
		size_t n = s->small_room - s->small_len;

		if (!s->small_len && len >= s->small_room)
			return write_all(s->fd, data, len, offset);
		if (n > len)
			n = len;
		if (!s->small_len)
			s->small_at = offset;
		memcpy(s->small + s->small_len, data, n);
		s->small_len += n;
		data += n;
		offset += n;
		len -= n;
		if (s->small_len == s->small_room)
			rc = flush(s);
	}
	return rc;
}

/* Writes at an offset of the version, wherever it is kept by then. */
static int put_bytes(struct staged *s, const void *data, size_t len, uint64_t offset)
{
	int rc = 0;

	if (s->discarded)
		return -EIO;
	if (s->fd < 0 && s->piece && !s->small_len)
		small_grow(s, s->piece); /* or it is written as it comes */
	if (s->fd < 0 && (s->piece || !small_grow(s, (size_t)offset + len)))
		rc = become_file(s);
	if (rc)
		return rc;
	if (s->fd >= 0)
		return file_put(s, data, len, offset);
	memcpy(s->small + offset, data, len);
	if (offset + len > s->small_len)
		s->small_len = (size_t)offset + len;
	return 0;
}

int staged_chunk_begin(struct staged *s, uint64_t number)
{
	int rc;

	if (s->open || number > s->done || number + 1 < s->done)
		return -EINVAL;
	if (number * (uint64_t)CHUNK_SIZE >= OBJECT_MAX)
		return -EFBIG;
	/* Only full chunks have one behind them. */
	if (number == s->done && s->size != number * CHUNK_SIZE)
		return -EINVAL;
	rc = chunks_room(s->chunks, 0);
	if (rc)
		return rc;
	s->sha = sha256_new();
	if (!s->sha)
		return -ENOMEM;
	if (number < s->done) {
		s->done = number;
		s->size = number * CHUNK_SIZE;
	}
	s->number = number;
	s->fill = 0;
	s->open = true;
	return 0;
}

/* Block checksums over data that arrives in any portions. */
static void add_checksums(struct staged *s, const uint8_t *p, size_t len)
{
	uint32_t fill = s->fill;

	while (len) {
		uint32_t block = fill / BLOCK_SIZE, room = BLOCK_SIZE - fill % BLOCK_SIZE;
		uint32_t n = len < room ? (uint32_t)len : room;

		s->record.blocks[block] =
			crc32c(fill % BLOCK_SIZE ? s->record.blocks[block] : 0, p, n);
		p += n;
		len -= n;
		fill += n;
	}
}

int staged_chunk_add(struct staged *s, const void *data, size_t len)
{
	int rc;

	if (!s->open)
		return -EINVAL;
	if (len > CHUNK_SIZE - s->fill)
		return -EFBIG;
	/* What is longer than a segment takes is a file from there on. */
	rc = s->fd < 0 && !s->discarded && s->fill + len > SEGMENT_SMALL ? become_file(s) : 0;
	if (!rc)
		rc = put_bytes(s, data, len, s->number * (uint64_t)CHUNK_SIZE + s->fill);
	if (rc)
		return rc;
	sha256_add(s->sha, data, len);
	if (s->whole)
		sha256_add(s->whole, data, len);
	add_checksums(s, data, len);
	s->fill += (uint32_t)len;
	return 0;
}

static int record_keep(struct staged *s)
{
	uint8_t rec[RECORD_MAX];

	if (!s->number) {
		record_encode(&s->record, 0, s->fill, s->first);
		return 0;
	}
	if (s->records_fd < 0) {
		s->records_fd =
			openat(chunks_root(s->chunks), "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (s->records_fd < 0)
			return -errno;
	}
	record_encode(&s->record, s->number, s->fill, rec);
	return write_all(s->records_fd, rec, record_length(s->fill), (s->number - 1) * RECORD_MAX);
}

int staged_chunk_end(struct staged *s, uint8_t sha256[32])
{
	if (!s->open)
		return -EINVAL;
	sha256_end(s->sha, s->record.sha256);
	s->sha = NULL;
	s->open = false;
	if (s->fill) {
		int rc = flush(s); /* senders read it from now on */

		if (!rc)
			rc = record_keep(s);
		if (rc)
			return rc;
	}
	memcpy(sha256, s->record.sha256, 32);
	s->size = s->number * CHUNK_SIZE + s->fill;
	s->done = s->number + (s->fill > 0); /* an empty object has no chunk */
	/* Write-back begins now, so that the commit at the end is short. */
	if (s->fill == CHUNK_SIZE)
		sync_file_range(s->fd, (off_t)(s->number * CHUNK_SIZE), CHUNK_SIZE,
				SYNC_FILE_RANGE_WRITE);
	return 0;
}

void staged_chunk_drop(struct staged *s)
{
	sha256_drop(s->sha);
	s->sha = NULL;
	s->open = false;
}

int staged_append(struct staged *s, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sha256[32];
	int rc = 0;

	while (!rc && len) {
		size_t n;

		/* A second chunk begins: from here on the whole is hashed beside the chunks. */
		if (s->open && s->fill == CHUNK_SIZE) {
			if (!s->number) {
				s->whole = sha256_copy(s->sha);
				if (!s->whole)
					return -ENOMEM;
			}
			rc = staged_chunk_end(s, sha256);
		}
		if (!rc && !s->open)
			rc = staged_chunk_begin(s, s->done);
		if (rc)
			break;
		n = len < CHUNK_SIZE - s->fill ? len : CHUNK_SIZE - s->fill;
		rc = staged_chunk_add(s, p, n);
		p += n;
		len -= n;
	}
	return rc;
}

int staged_seal(struct staged *s, uint64_t *size, uint8_t sha256[32])
{
	int rc = 0;

	if (s->open)
		rc = staged_chunk_end(s, sha256);
	else
		sha256_once("", 0, sha256); /* nothing was appended */
	if (rc)
		return rc;
	if (s->whole)
		sha256_end(s->whole, sha256);
	s->whole = NULL;
	*size = s->size;
	return 0;
}

uint64_t staged_chunks(const struct staged *s)
{
	return s->done;
}

uint64_t staged_size(const struct staged *s)
{
	return s->size;
}

ssize_t staged_read(const struct staged *s, void *buf, size_t len, uint64_t offset)
{
	ssize_t n;

	if (s->fd < 0) {
		if (offset >= s->size)
			return 0;
		n = (ssize_t)(s->size - offset < len ? s->size - offset : len);
		memcpy(buf, s->small + offset, (size_t)n);
		return n;
	}
	n = pread(s->fd, buf, len, (off_t)offset);
	return n < 0 ? -errno : n;
}

int staged_chunk_hash(const struct staged *s, uint64_t number, uint8_t sha256[32])
{
	if (!number && !s->size) {
		sha256_once("", 0, sha256);
		return 0;
	}
	if (number >= s->done)
		return -EINVAL;
	if (!number)
		memcpy(sha256, s->first, 32);
	else if (pread(s->records_fd, sha256, 32, (off_t)((number - 1) * RECORD_MAX)) != 32)
		return -EIO;
	return 0;
}

/* Records behind the data: the first from memory, the others from their file. */
static int write_records(struct staged *s)
{
	uint64_t from = 0, to, left;
	uint8_t buf[16384];
	int rc;

	if (!s->done)
		return 0;
	rc = put_bytes(s, s->first, record_length(chunk_length(s->size, 0)),
		       record_offset(s->size, 0));
	to = record_offset(s->size, 1);
	left = record_offset(s->size, s->done) - to;
	while (!rc && left) {
		ssize_t n = pread(s->records_fd, buf, left < sizeof(buf) ? left : sizeof(buf),
				  (off_t)from);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		rc = file_put(s, buf, (size_t)n, to + from);
		from += (uint64_t)n;
		left -= (uint64_t)n;
	}
	return rc;
}

int staged_finish(struct staged *s, const struct manifest *m)
{
	uint8_t footer[FOOTER_SIZE];
	struct footer f;
	size_t head_len;
	uint64_t at;
	char *head;
	int rc;

	if (s->open || m->size != s->size || !version_equal(&m->version, &s->version) ||
	    (s->done == 1 && memcmp(m->sha256, s->first, 32)))
		return -EBADMSG;
	head = manifest_encode(m, &head_len);
	if (!head)
		return -ENOMEM;
	rc = head_len > HEAD_MAX ? -EBADMSG : write_records(s);
	at = record_offset(s->size, s->done);
	f = (struct footer){ .size = s->size,
			     .head_len = (uint32_t)head_len,
			     .head_crc = crc32c(0, head, head_len) };
	footer_encode(&f, footer);
	if (!rc)
		rc = put_bytes(s, head, head_len, at);
	if (!rc)
		rc = put_bytes(s, footer, sizeof(footer), at + head_len);
	free(head);
	if (!rc)
		rc = flush(s);
	/* A retried chunk may have been longer before: nothing may lie behind the footer. */
	at += head_len + FOOTER_SIZE;
	if (!rc && s->fd < 0)
		s->small_len = (size_t)at;
	else if (!rc && ftruncate(s->fd, (off_t)at))
		rc = -errno;
	return rc;
}

void staged_commit_begin(struct staged *s)
{
	s->committing = true;
	if (s->fd >= 0) {
		commit_begin(chunks_commit(s->chunks), &s->job);
		return;
	}
	s->small_job = (struct segments_job){ .what = SEGMENTS_STORE,
					      .version = s->version,
					      .data = s->small,
					      .len = (uint32_t)s->small_len };
	segments_begin(chunks_segments(s->chunks), &s->small_job);
}

bool staged_is_small(const struct staged *s)
{
	return s->fd < 0;
}

static void small_complete(struct segments_job *job)
{
	struct staged *s = job->arg;

	s->committing = false;
	s->committed = !job->rc;
	s->told(s->told_arg, job->rc);
}

void staged_commit_later(struct staged *s, void (*done)(void *arg, int rc), void *arg)
{
	s->committing = true;
	s->told = done;
	s->told_arg = arg;
	s->small_job = (struct segments_job){ .what = SEGMENTS_STORE,
					      .version = s->version,
					      .data = s->small,
					      .len = (uint32_t)s->small_len,
					      .complete = small_complete,
					      .arg = s };
	segments_begin(chunks_segments(s->chunks), &s->small_job);
}

int staged_commit_wait(struct staged *s)
{
	int rc = s->fd < 0 ? segments_wait(chunks_segments(s->chunks), &s->small_job)
			   : commit_wait(chunks_commit(s->chunks), &s->job);

	s->committing = false;
	if (!rc)
		s->committed = true;
	/* Fetched anew while memory was short: the file counts, not what it was to replace. */
	if (!rc && s->fd >= 0 && s->size <= SEGMENT_SMALL)
		rc = chunks_forget_packed(s->chunks, &s->version);
	return rc;
}
