/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.c -- the bytes of segments (segment.h).
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/store/segment.h"

#define WINDOW (1u << 20) /* read at once by a scan; longer than any record */
#define SECTOR 4096u	  /* what a disk loses at once */

static const uint8_t file_magic[8] = { 'w', 'e', 'i', 'r', 's', 'e', 'g', '1' };
static const uint8_t record_magic[4] = { 'w', 's', 'e', 'g' };

struct file_head {
	uint8_t magic[8];
	uint32_t format, number;
	uint8_t salt[SEGMENT_SALT];
	uint8_t reserved[36];
	uint32_t crc;
};

struct record_head {
	uint8_t magic[4];
	uint8_t kind, reserved[3];
	uint32_t length, crc;
	uint8_t version[VERSION_BYTES];
	uint32_t segment, offset, target_length;
	uint8_t salt_begin[4];
	uint64_t stored;
	uint8_t salt_end[4];
	uint32_t head_crc;
};

_Static_assert(sizeof(struct file_head) == SEGMENT_HEADER, "a header of 64 bytes");
_Static_assert(sizeof(struct record_head) == SEGMENT_HEADER, "a header of 64 bytes");
_Static_assert(WINDOW > 2 * (SEGMENT_RECORD + SEGMENT_HEADER), "a record fits the window");

static uint32_t head_crc(const void *head)
{
	return crc32c(0, head, SEGMENT_HEADER - sizeof(uint32_t));
}

void segment_head_encode(uint32_t number, const uint8_t salt[SEGMENT_SALT], uint8_t out[SEGMENT_HEADER])
{
	struct file_head h = { .format = htole32(SEGMENT_FORMAT), .number = htole32(number) };

	memcpy(h.magic, file_magic, sizeof(h.magic));
	memcpy(h.salt, salt, SEGMENT_SALT);
	h.crc = htole32(head_crc(&h));
	memcpy(out, &h, sizeof(h));
}

int segment_head_decode(uint32_t *number, uint8_t salt[SEGMENT_SALT], const uint8_t in[SEGMENT_HEADER])
{
	struct file_head h;

	memcpy(&h, in, sizeof(h));
	if (memcmp(h.magic, file_magic, sizeof(h.magic)) || le32toh(h.crc) != head_crc(&h))
		return -EBADMSG;
	if (!le32toh(h.format) || le32toh(h.format) > SEGMENT_FORMAT)
		return -EPROTONOSUPPORT;
	*number = le32toh(h.number);
	memcpy(salt, h.salt, SEGMENT_SALT); /* zeros in format 1 */
	return 0;
}

void segment_record_encode(const struct segment_record *r, uint8_t out[SEGMENT_HEADER])
{
	struct record_head h = {
		.kind = (uint8_t)r->kind,
		.length = htole32(r->length),
		.crc = htole32(r->crc),
		.segment = htole32(r->target.segment),
		.offset = htole32(r->target.offset),
		.target_length = htole32(r->target.length),
		.stored = htole64((uint64_t)r->stored),
	};

	memcpy(h.magic, record_magic, sizeof(h.magic));
	memcpy(h.version, r->version.id, VERSION_BYTES);
	memcpy(h.salt_begin, r->salt, 4);
	memcpy(h.salt_end, r->salt + 4, 4);
	h.head_crc = htole32(head_crc(&h));
	memcpy(out, &h, sizeof(h));
}

int segment_record_decode(struct segment_record *r, const uint8_t in[SEGMENT_HEADER])
{
	struct record_head h;

	if (memcmp(in, record_magic, sizeof(record_magic)))
		return -EBADMSG;
	memcpy(&h, in, sizeof(h));
	if (le32toh(h.head_crc) != head_crc(&h) || le32toh(h.length) > SEGMENT_RECORD ||
	    (h.kind != SEGMENT_STORED && (h.kind != SEGMENT_FORGOT || h.length)))
		return -EBADMSG;
	*r = (struct segment_record){
		.kind = (enum segment_kind)h.kind,
		.length = le32toh(h.length),
		.crc = le32toh(h.crc),
		.target = { le32toh(h.segment), le32toh(h.offset), le32toh(h.target_length) },
		.stored = (int64_t)le64toh(h.stored),
	};
	memcpy(r->version.id, h.version, VERSION_BYTES);
	memcpy(r->salt, h.salt_begin, 4);
	memcpy(r->salt + 4, h.salt_end, 4);
	return 0;
}

/* ---- reading one from end to end ---- */

struct window {
	int fd;
	uint8_t *data;
	uint64_t at, len; /* what it holds of the file */
	uint64_t size;    /* of the file */
	uint64_t unreadable, last_unreadable; /* bytes; the end of the last ones */
};

/* pread(2), with zeros for a sector that the disk does not give. */
static ssize_t window_read(struct window *w, uint8_t *to, size_t len, uint64_t at)
{
	ssize_t n = pread(w->fd, to, len, (off_t)at);
	size_t step = SECTOR - at % SECTOR;

	if (n >= 0 || errno != EIO || at >= w->size)
		return n;
	if (step > len)
		step = len;
	n = pread(w->fd, to, step, (off_t)at);
	if (n >= 0 || errno != EIO)
		return n;
	memset(to, 0, step);
	if (at + step > w->last_unreadable) {
		w->unreadable += step;
		w->last_unreadable = at + step;
	}
	return (ssize_t)step;
}

/* The bytes at [offset, offset+len), or NULL: the file ends before; *rc a failure. */
static const uint8_t *window_get(struct window *w, uint64_t offset, uint32_t len, int *rc)
{
	uint64_t got = 0;

	if (offset >= w->at && offset + len <= w->at + w->len)
		return w->data + (offset - w->at);
	while (got < WINDOW) {
		ssize_t n = window_read(w, w->data + got, WINDOW - got, offset + got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			*rc = -errno;
		if (n <= 0)
			break;
		got += (uint64_t)n;
	}
	w->at = offset;
	w->len = got;
	return got >= len ? w->data : NULL;
}

struct scan {
	struct window w;
	bool salted; /* it is known */
	uint8_t salt[SEGMENT_SALT];
};

static int scan_begin(struct scan *s, int fd)
{
	const uint8_t *head;
	uint32_t number;
	struct stat st;
	int rc = 0;

	s->w.fd = fd;
	if (fstat(fd, &st))
		return -errno;
	s->w.size = (uint64_t)st.st_size;
	s->w.data = malloc(WINDOW);
	if (!s->w.data)
		return -ENOMEM;
	head = window_get(&s->w, 0, SEGMENT_HEADER, &rc);
	if (!head || rc)
		return rc;
	rc = segment_head_decode(&number, s->salt, head);
	s->salted = !rc;
	return rc == -EBADMSG ? 0 : rc;
}

/* Is there a record of this file at offset? 1, 0, or -errno. *end: the file has no more. */
static int scan_head(struct scan *s, uint64_t offset, struct segment_record *r, bool *end)
{
	int rc = 0;
	const uint8_t *head = window_get(&s->w, offset, SEGMENT_HEADER, &rc);

	*end = !head;
	if (rc || !head || segment_record_decode(r, head))
		return rc;
	if (!s->salted)
		memcpy(s->salt, r->salt, SEGMENT_SALT);
	s->salted = true;
	return !memcmp(s->salt, r->salt, SEGMENT_SALT);
}

/* Where to look on behind a record that is torn or rotten: at its end, when there is one, for its data
 * are a client's; else something may begin in its middle. */
static uint32_t scan_behind(struct scan *s, uint32_t offset, uint32_t length)
{
	uint32_t behind = offset + segment_room(length);
	struct segment_record r;
	bool end;

	return scan_head(s, behind, &r, &end) > 0 ? behind : offset + SEGMENT_ALIGN;
}

int segment_scan(int fd, uint32_t offset, bool check, segment_fn *fn, void *arg, struct segment_seen *seen)
{
	struct scan s = { .salted = false };
	uint32_t last = offset;
	struct segment_record r;
	bool end = false;
	int rc = scan_begin(&s, fd);

	while (rc >= 0 && !end) {
		const uint8_t *body = NULL;
		bool whole;

		rc = scan_head(&s, offset, &r, &end);
		if (rc < 0 || end)
			break;
		if (!rc) {
			offset += SEGMENT_ALIGN;
			continue;
		}
		rc = 0;
		if (check && r.length)
			body = window_get(&s.w, offset + SEGMENT_HEADER, r.length, &rc);
		whole = !check || !r.length || (body && crc32c(0, body, r.length) == r.crc);
		if (whole)
			last = offset + segment_room(r.length);
		if (!rc)
			rc = fn(arg, offset, &r, whole);
		if (rc)
			break;
		offset = whole ? offset + segment_room(r.length) : scan_behind(&s, offset, r.length);
	}
	free(s.w.data);
	if (seen)
		*seen = (struct segment_seen){ last, s.w.unreadable };
	return rc;
}
