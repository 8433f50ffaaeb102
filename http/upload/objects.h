/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects.h -- a dataset's objects at the endpoints, as the gateway itself reads and writes them: by tokens that it
 * signs after it had checked the rights (via_gateway), at an endpoint that is picked anew for each try.
 *
 * All block, and try for some seconds. 0, -ENOENT, -ECANCELED (If-Match, If-None-Match), -EACCES, -EKEYREJECTED (the token:
 * an endpoint that has not heard of a new key yet, or a user who is gone), -EFBIG, or -EAGAIN: no endpoint could just now;
 * objects_error() says why.
 */
#ifndef WEIR_UPLOAD_OBJECTS_H
#define WEIR_UPLOAD_OBJECTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct uploads;
/* Where: a key of a bucket, in whose name (for the endpoints' audit log). */
struct object_at {
	const char *bucket, *key, *user;
};
const char *objects_error(void); /* of this thread's last call */

/* JSON of at most 16 MiB, a new reference. etag may be NULL. */
int objects_get_json(struct uploads *u, const struct object_at *at, json_t **out, char etag[80]);
/* Into a file, from its beginning. */
int objects_get_file(struct uploads *u, const struct object_at *at, int fd, uint64_t *size, char etag[80]);
/* Only its ETag; "" and 0 when there is none. */
int objects_head(struct uploads *u, const struct object_at *at, char etag[80]);
/* Does If-Match or If-None-Match name this ETag (with its quotes; "": there is no file, nothing does)? "*" does, and what S3 calls the
 * file: "-0" more, as it is no MD5. */
bool objects_etag_named(const char *list, const char *etag);

/* Bytes [0, len) of a file. if_match: an ETag; "": there must be none (If-None-Match: *); NULL: whatever is there.
 * etag (may be NULL): of what was written; sha256 (may be NULL) likewise, 65 bytes. */
int objects_put_file(struct uploads *u, const struct object_at *at, int fd, uint64_t len, const char *if_match,
		     char etag[80], char *sha256);
int objects_put_json(struct uploads *u, const struct object_at *at, const json_t *value, const char *if_match,
		     char etag[80]);
int objects_delete(struct uploads *u, const struct object_at *at); /* 0 also when there was none */

/* All with the prefix: [{"key","size","etag","sha256","version","modified"}], a new reference. */
int objects_list(struct uploads *u, const char *bucket, const char *prefix, const char *user, json_t **out);
/* One page: at most max keys after `after`; *more: there are others. */
int objects_page(struct uploads *u, const char *bucket, const char *prefix, const char *after, unsigned int max,
		 const char *user, json_t **out, bool *more);

/* The values that a column of a dataset's files has, as one key set in a file without name. -ENOENT: it has none. */
int objects_keys(struct uploads *u, const char *dataset, const char *column, const char *user, int *fd);
/* Names of the dataset's columns that other datasets refer to; a new reference to an array. */
json_t *objects_referred(struct uploads *u, const char *dataset);

/* ".weir/FILE/WHAT"; malloc'ed, NULL without memory. */
char *weir_key(const char *file, const char *what);
/* Is the key one of what stands beside the file (outputs, quarantine, key sets, earlier versions; not the manifest)? ".weir/a/"
 * is the beginning of what belongs to a file "a/b", too; none is named "a/keys/…" (file_name_valid()). */
bool weir_key_beside(const char *file, const char *key);

#endif
