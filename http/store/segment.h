/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.h -- how small versions lie on disk: pure functions over bytes.
 *
 * A segment is a file of about 64 MiB to which records are appended and in which nothing is ever
 * changed but by a repair. It begins with a header; each record begins at a multiple of 64 bytes:
 *
 *	STORED  header, then a version as manifest.h lays it out (data, records, head, footer)
 *	FORGOT  header alone: the version that lay at (segment, offset) is gone
 *
 * Data of clients may look like records. Where a scan has to search for the next one (a damaged
 * header, torn data) such bytes must not count, so every header has the file's salt: random bytes
 * that nobody knows who does not read the disk.
 *
 * Segments are numbered from 1; their records, in the order of number and offset, are a log from
 * which the index can be made anew: a later STORED replaces an earlier one of the same version, a
 * FORGOT ends the record that it names and those that it had replaced. A STORED names the one that it
 * replaces itself: of two records, a power loss could leave the one without the other. (An earlier
 * program wrote a FORGOT behind it.) Integers are little-endian; every header has a crc32c of its
 * own, and one of what follows it.
 */
#ifndef WEIR_STORE_SEGMENT_H
#define WEIR_STORE_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

#include "http/store/version.h"

#define SEGMENT_SIZE   (64u << 20)  /* a new one is begun when the last has so much */
#define SEGMENT_HEADER 64u          /* of the file, and of each record */
#define SEGMENT_ALIGN  64u
#define SEGMENT_SMALL  (256u << 10) /* versions of at most so many bytes lie in segments */
#define SEGMENT_RECORD (SEGMENT_SMALL + (16u << 10)) /* the longest version with what follows it */
#define SEGMENT_FORMAT 2 /* 1: the same with a salt of zeros; read, not appended to */
#define SEGMENT_SALT   8

enum segment_kind { SEGMENT_STORED = 1, SEGMENT_FORGOT = 2 };

/* Where a record begins. segment 0: nowhere. */
struct segment_place {
	uint32_t segment, offset;
	uint32_t length;                /* bytes behind its header */
};

struct segment_record {
	enum segment_kind kind;
	uint32_t length;                /* bytes that follow, without padding */
	uint32_t crc;                   /* crc32c of them */
	struct version version;
	struct segment_place target;    /* what it ends, or replaces */
	int64_t stored;                 /* unix seconds */
	uint8_t salt[SEGMENT_SALT];     /* the file's */
};

/* Bytes that a record takes, padding included. */
static inline uint32_t segment_room(uint32_t length)
{
	return SEGMENT_HEADER + (length + SEGMENT_ALIGN - 1) / SEGMENT_ALIGN * SEGMENT_ALIGN;
}

void segment_head_encode(uint32_t number, const uint8_t salt[SEGMENT_SALT], uint8_t out[SEGMENT_HEADER]);
/* 0, -EBADMSG (no segment, damaged), or -EPROTONOSUPPORT (a later format). */
int segment_head_decode(uint32_t *number, uint8_t salt[SEGMENT_SALT], const uint8_t in[SEGMENT_HEADER]);

void segment_record_encode(const struct segment_record *r, uint8_t out[SEGMENT_HEADER]);
/* 0 or -EBADMSG. Whether it has the file's salt is for the caller to see. */
int segment_record_decode(struct segment_record *r, const uint8_t in[SEGMENT_HEADER]);

/* Calls fn for each record from `offset` on (SEGMENT_HEADER: the first), with its offset; *whole:
 * what follows is there and has its checksum (looked at only with check). Bytes that are no record
 * are skipped to the next that is one; so are sectors that cannot be read. When the file's header is
 * damaged the first record tells the salt. seen may be NULL. fn returns 0 to go on. 0, what fn
 * returned, or -errno. */
struct segment_seen {
	uint32_t end;                   /* where the last record ended */
	uint64_t unreadable;            /* bytes that the disk does not give */
};
typedef int segment_fn(void *arg, uint32_t offset, const struct segment_record *r, bool whole);
int segment_scan(int fd, uint32_t offset, bool check, segment_fn *fn, void *arg, struct segment_seen *seen);

#endif
