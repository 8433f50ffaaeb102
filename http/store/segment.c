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

static const uint8_t file_magic[8] = { 'w', 'e', 'i', 'r', 's', 'e', 'g', '1' };
static const uint8_t record_magic[4] = { 'w', 's', 'e', 'g' };

struct file_head {
	uint8_t magic[8];
	uint32_t format, number;
	uint8_t reserved[44];
	uint32_t crc;
};

struct record_head {
	uint8_t magic[4];
	uint8_t kind, reserved[3];
	uint32_t length, crc;
	uint8_t version[VERSION_BYTES];
	uint32_t segment, offset, target_length;
	uint32_t reserved2;
	uint64_t stored;
	uint32_t reserved3;
	uint32_t head_crc;
};

_Static_assert(sizeof(struct file_head) == SEGMENT_HEADER, "a header of 64 bytes");
_Static_assert(sizeof(struct record_head) == SEGMENT_HEADER, "a header of 64 bytes");
_Static_assert(WINDOW > 2 * (SEGMENT_RECORD + SEGMENT_HEADER), "a record fits the window");

static uint32_t head_crc(const void *head)
{
	return crc32c(0, head, SEGMENT_HEADER - sizeof(uint32_t));
}

void segment_head_encode(uint32_t number, uint8_t out[SEGMENT_HEADER])
{
	struct file_head h = { .format = htole32(SEGMENT_FORMAT), .number = htole32(number) };

	memcpy(h.magic, file_magic, sizeof(h.magic));
	h.crc = htole32(head_crc(&h));
	memcpy(out, &h, sizeof(h));
}

int segment_head_decode(uint32_t *number, const uint8_t in[SEGMENT_HEADER])
{
	struct file_head h;

	memcpy(&h, in, sizeof(h));
	if (memcmp(h.magic, file_magic, sizeof(h.magic)) || le32toh(h.crc) != head_crc(&h))
		return -EBADMSG;
	if (le32toh(h.format) != SEGMENT_FORMAT)
		return -EPROTONOSUPPORT;
	*number = le32toh(h.number);
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
	return 0;
}

/* ---- reading one from end to end ---- */

struct window {
	int fd;
	uint8_t *data;
	uint64_t at, len; /* what it holds of the file */
};

/* The bytes at [offset, offset+len), or NULL: the file ends before; *rc a failure. */
static const uint8_t *window_get(struct window *w, uint64_t offset, uint32_t len, int *rc)
{
	uint64_t got = 0;

	if (offset >= w->at && offset + len <= w->at + w->len)
		return w->data + (offset - w->at);
	while (got < WINDOW) {
		ssize_t n = pread(w->fd, w->data + got, WINDOW - got, (off_t)(offset + got));

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

int segment_scan(int fd, uint32_t offset, bool check, segment_fn *fn, void *arg, uint32_t *end)
{
	struct window w = { .fd = fd, .data = malloc(WINDOW) };
	uint32_t last = offset;
	struct segment_record r;
	int rc = w.data ? 0 : -ENOMEM;

	while (!rc) {
		const uint8_t *head = window_get(&w, offset, SEGMENT_HEADER, &rc), *body = NULL;
		bool whole;

		if (!head || rc)
			break;
		if (segment_record_decode(&r, head)) {
			offset += SEGMENT_ALIGN;
			continue;
		}
		if (check && r.length)
			body = window_get(&w, offset + SEGMENT_HEADER, r.length, &rc);
		whole = !check || !r.length || (body && crc32c(0, body, r.length) == r.crc);
		/* What is torn may have others behind it that are not: looked for in its middle. */
		if (whole || !check)
			last = offset + segment_room(r.length);
		if (!rc)
			rc = fn(arg, offset, &r, whole);
		offset = whole ? offset + segment_room(r.length) : offset + SEGMENT_ALIGN;
	}
	free(w.data);
	if (end)
		*end = last;
	return rc;
}
