/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checksum.h -- the checksums that S3 clients send and ask for: CRC32 (zlib's), CRC32C, CRC64NVME, SHA-1,
 * SHA-256, and MD5 for ETag and Content-MD5; running, combined over the parts of a multipart upload, and as text.
 *
 * Big-endian bytes and base64, as S3 writes them. Source: "Checking object integrity" of Amazon's S3 guide;
 * CRC64NVME: NVM Express command set specification, polynomial 0xad93d23594c93659, reflected.
 */
#ifndef WEIR_S3_CHECKSUM_H
#define WEIR_S3_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum checksum_kind {
	CHECKSUM_CRC32,
	CHECKSUM_CRC32C,
	CHECKSUM_CRC64NVME,
	CHECKSUM_SHA1,
	CHECKSUM_SHA256,
	CHECKSUM_MD5, /* never an x-amz-checksum-… */
	CHECKSUM_KINDS
};
#define CHECKSUM_MAX	  32 /* bytes of the longest */
#define CHECKSUM_TEXT_MAX 52 /* base64, "-10000" and the NUL */

size_t checksum_size(enum checksum_kind kind);		  /* bytes: 4, 4, 8, 20, 32, 16 */
const char *checksum_name(enum checksum_kind kind);	  /* "CRC32C", as in XML and x-amz-checksum-algorithm */
const char *checksum_header(enum checksum_kind kind);	  /* "x-amz-checksum-crc32c"; NULL for MD5 */
/* Upper or lower case; false when there is none of that name (MD5 is none). */
bool checksum_by_name(enum checksum_kind *out, const char *name);

/* ---- running: several kinds over the same bytes in one pass ---- */
struct checksums;
/* kinds: bits 1u << CHECKSUM_…. NULL without memory. */
struct checksums *checksums_new(unsigned int kinds);
void checksums_add(struct checksums *c, const void *data, size_t len);
/* The bytes of one of its kinds, big-endian; may be called once a kind, after the last add. */
void checksums_get(struct checksums *c, enum checksum_kind kind, uint8_t out[CHECKSUM_MAX]);
void checksums_free(struct checksums *c); /* accepts NULL */

void checksum_once(enum checksum_kind kind, const void *data, size_t len, uint8_t out[CHECKSUM_MAX]);

/* ---- text ---- */
void checksum_text(enum checksum_kind kind, const uint8_t *value, char out[CHECKSUM_TEXT_MAX]);
/* Strict base64 of exactly the kind's size: 0 or -EINVAL. */
int checksum_parse(enum checksum_kind kind, const char *text, uint8_t out[CHECKSUM_MAX]);

/* ---- of the parts of a multipart upload ---- */
/* FULL_OBJECT, CRCs only: the checksum of a followed by b, whose length is b_len, into a. -EINVAL for hashes. */
int checksum_combine(enum checksum_kind kind, uint8_t a[CHECKSUM_MAX], const uint8_t b[CHECKSUM_MAX], uint64_t b_len);
/* COMPOSITE (SHA-1, SHA-256, CRC32, CRC32C) and the ETag of a multipart object (MD5): the checksum of the n
 * parts' checksums, each of checksum_size() bytes, one after another. The text is then "BASE64-N", the ETag's
 * 32 hex digits, "-" and N. */
void checksum_composite(enum checksum_kind kind, const uint8_t *parts, size_t n, uint8_t out[CHECKSUM_MAX]);

/* The CRCs themselves, on the machine's fastest way; start with 0, go on with what came before. */
uint32_t crc32_zlib(uint32_t crc, const void *data, size_t len);
uint64_t crc64_nvme(uint64_t crc, const void *data, size_t len);

#endif
