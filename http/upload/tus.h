/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tus.h -- the headers of tus 1.0 (https://tus.io/protocols/resumable-upload) as values. Pure.
 */
#ifndef WEIR_UPLOAD_TUS_H
#define WEIR_UPLOAD_TUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define TUS_VERSION    "1.0.0"
#define TUS_EXTENSIONS "creation,creation-with-upload,creation-defer-length,checksum,expiration,termination,concatenation"
#define TUS_CHECKSUMS  "sha1,sha256,md5,crc32"
#define TUS_TYPE       "application/offset+octet-stream"
#define TUS_PARTS_MAX  256 /* uploads that one final upload may be made of */

/* A decimal number without sign, up to 2^63 - 1: Upload-Length, Upload-Offset. 0 or -EINVAL. */
int tus_number(uint64_t *out, const char *text);

/* A value of Upload-Metadata ("key base64,key2 base64,flag") as text: its length, -ENOENT when the key is not there,
 * -EINVAL when the header, the base64 or the text (NUL, longer than size - 1) is malformed. out is terminated. */
long tus_metadata(const char *header, const char *key, char *out, size_t size);
/* Is the whole header well formed (each key once)? 0 or -EINVAL. */
int tus_metadata_check(const char *header);

/* Upload-Checksum: "algorithm base64". -ENOTSUP: an algorithm that is not offered. */
enum tus_algorithm { TUS_SHA1, TUS_SHA256, TUS_MD5, TUS_CRC32 };
struct tus_checksum {
	enum tus_algorithm algorithm;
	uint8_t value[32];
	size_t len;
};
int tus_checksum_parse(struct tus_checksum *out, const char *header);
/* A running one. */
struct tus_digest;
struct tus_digest *tus_digest_new(enum tus_algorithm algorithm); /* NULL without memory */
void tus_digest_add(struct tus_digest *d, const void *data, size_t len);
bool tus_digest_is(struct tus_digest *d, const struct tus_checksum *wanted); /* ends it */
void tus_digest_free(struct tus_digest *d);				      /* accepts NULL */

/* Upload-Concat: "partial", or "final;URL URL…". The last segments of the URLs are the ids. */
enum tus_concat { TUS_WHOLE, TUS_PARTIAL, TUS_FINAL };
struct tus_parts {
	size_t n;
	char id[TUS_PARTS_MAX][48];
};
int tus_concat_parse(enum tus_concat *out, struct tus_parts *parts, const char *header);

/* RFC 9110 section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT". */
char *tus_date(time_t at, char buf[32]);

#endif
