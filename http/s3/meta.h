/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta.h -- what S3 keeps of an object beside its bytes: one compact JSON object, which the index of names keeps
 * with the entry and does not look into.
 *
 *	{"m": MD5 of the data, 32 hex digits, or of an object of parts "HEX-N": the ETag,
 *	 "t": Content-Type, "cc","cd","ce","cl","ex","wr": the headers of s3_meta_headers[],
 *	 "u": {"name": "value"}    user metadata (x-amz-meta-NAME), names in lower case,
 *	 "g": {"key": "value"}     tags,
 *	 "c": {"CRC32": "BASE64"}  checksums, by Amazon's names; "ct": "COMPOSITE" when it is one of parts' checksums,
 *	 "a": canned ACL, "k": sealed key of an encrypted object}
 *
 * All members may be absent. Pure: texts in, texts out.
 */
#ifndef WEIR_S3_META_H
#define WEIR_S3_META_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define S3_META_USER_MAX 2048 /* bytes of names and values, as Amazon's */
#define S3_META_ETAG_MAX 48 /* with terminator, without quotes */

#define S3_META_ETAG	 "m"
#define S3_META_TYPE	 "t"
#define S3_META_USER	 "u"
#define S3_META_TAGS	 "g"
#define S3_META_CHECKSUM "c"
#define S3_META_KIND	 "ct"
#define S3_META_ACL	 "a"
#define S3_META_KEY	 "k"
#define S3_META_KEY_PARTS "parts" /* of an object of parts, each of which has a key of its own, and of its upload */

/* The standard headers that are kept: in which member, under which name they come and go. Ends with NULL. */
struct s3_meta_header {
	const char *member, *header;
};
extern const struct s3_meta_header s3_meta_headers[];

/* A new object: what text ("" or NULL: nothing) says. NULL: no memory, or it is not such a text. */
json_t *s3_meta_read(const char *text);
/* The text into out. 0, or -E2BIG when it has not room (MetadataTooLarge). */
int s3_meta_write(const json_t *meta, char *out, size_t size);

/* Takes a request's header when it is one of those that are kept (standard ones and x-amz-meta-). 0 taken or none of
 * ours, -E2BIG user metadata together are too large, -ENOMEM. A name that comes twice: joined by a comma, as Amazon does. */
int s3_meta_take(json_t *meta, const char *name, const char *value);

/* Of a text that s3_meta_write() made, without reading the rest of it (a listing asks it of each
 * row): the name of the checksum, and whether it is one of parts' checksums. False: it has none. */
bool s3_meta_has_checksum(const char *text, char algorithm[16], bool *composite);

/* A member that is a text, or NULL. */
const char *s3_meta_text(const json_t *meta, const char *member);

#endif
