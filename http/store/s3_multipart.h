/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_multipart.h -- uploads in parts: what s3_multipart.c (begin, end, abort, lists) and s3_part.c (parts) share.
 *
 * The upload's id is the version that the object will have. Its entry keeps the object's metadata (meta.h) and two members
 * more, which the object does not get: the checksum's algorithm and its type, when the client chose one. A part's entry has
 * its MD5 as etag and its checksum in its meta.
 */
#ifndef WEIR_STORE_S3_MULTIPART_H
#define WEIR_STORE_S3_MULTIPART_H

#include "http/store/s3_ops.h"

#define UPLOAD_META_ALGORITHM "xa" /* "CRC32", … */
#define UPLOAD_META_TYPE      "xt" /* "FULL_OBJECT" or "COMPOSITE" */

/* What was chosen when an upload was begun. */
struct upload_choice {
	bool chosen;
	enum checksum_kind kind;
	bool full; /* FULL_OBJECT */
};
void upload_choice_of(const json_t *meta, struct upload_choice *out);
const char *upload_choice_type(const struct upload_choice *choice);

/* The upload that the query names, of the key of the target: its entry (the caller's place) and its meta, a new reference.
 * meta may be NULL. On a worker. S3_NO_SUCH_UPLOAD. */
enum s3_error upload_find(struct s3 *s3, struct name_entry *entry, json_t **meta);
/* After upload_find(): what it answered, or, where the policy hangs on it, whether the upload's meta makes the operation allowed. */
enum s3_error upload_may(struct s3 *s3, enum s3_error found, const json_t *meta);
/* Is uploadId a text that can be one? */
enum s3_error upload_id_valid(struct s3 *s3, const char **id);

#endif
