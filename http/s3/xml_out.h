/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xml_out.h -- answers of S3 as XML: a growing writer, and the documents made with it.
 *
 * The writer escapes; characters that XML 1.0 cannot hold (S3 keys may have them) are written as references (&#x1;), as
 * Amazon does. Running out of memory is remembered and told by xml_take(). Documents: malloc'ed text, *len bytes without
 * terminator counted, NULL without memory.
 */
#ifndef WEIR_S3_XML_OUT_H
#define WEIR_S3_XML_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define S3_XML_TYPE "application/xml"
#define S3_XML_NS   "http://s3.amazonaws.com/doc/2006-03-01/"

struct xml {
	char *text;
	size_t len, room;
	bool failed;
};
/* Begins with the declaration; the root element gets the name space when ns. */
void xml_begin(struct xml *xml, const char *root, bool ns);
void xml_open(struct xml *xml, const char *name);
void xml_close(struct xml *xml, const char *name);
/* <name>value</name>; value NULL: nothing is written. */
void xml_text(struct xml *xml, const char *name, const char *value);
/* The same, percent-encoded when url (encoding-type=url: all but A–Z a–z 0–9 - _ . ~ / and *). */
void xml_key(struct xml *xml, const char *name, const char *value, bool url);
void xml_uint(struct xml *xml, const char *name, uint64_t value);
void xml_bool(struct xml *xml, const char *name, bool value);
/* "2026-11-27T13:18:42.000Z" */
void xml_time(struct xml *xml, const char *name, int64_t unix_s);
/* "<ETag>&quot;…&quot;</ETag>": etag with or without its quotes */
void xml_etag(struct xml *xml, const char *name, const char *etag);
void xml_append(struct xml *xml, const char *text, size_t len); /* as it is */
void xml_escape(struct xml *xml, const char *text, size_t len);
/* Ends the root element and hands the text over (freed by the caller), NULL when memory ran out. */
char *xml_take(struct xml *xml, const char *root, size_t *len);
void xml_drop(struct xml *xml);

struct s3_owner {
	const char *id, *name; /* NULL: the name is the id */
};

/* ListBuckets: in three steps, as buckets come. */
void s3_out_buckets_begin(struct xml *xml, const struct s3_owner *owner);
void s3_out_bucket(struct xml *xml, const char *name, int64_t created, const char *region); /* region may be NULL */
char *s3_out_buckets_end(struct xml *xml, const char *prefix, const char *next_token, size_t *len);

char *s3_out_location(const char *region, size_t *len); /* NULL or "us-east-1": empty, as Amazon */
char *s3_out_versioning(const char *state, size_t *len); /* "enabled", "suspended", NULL or "": never set */
char *s3_out_tagging(const json_t *tags, size_t *len);	 /* {"key":"value",…} */
char *s3_out_lifecycle(const json_t *lifecycle, size_t *len);
char *s3_out_cors(const json_t *cors, size_t *len);
char *s3_out_encryption(const json_t *encryption, size_t *len);
char *s3_out_public_block(unsigned int bits, size_t *len); /* as s3_in_public_block() has them */
char *s3_out_ownership(const char *ownership, size_t *len);
char *s3_out_policy_status(bool is_public, size_t *len);
char *s3_out_acl(const struct s3_owner *owner, const char *canned, size_t *len);

/* Checksums as headers and XML name them: {"CRC32","…"}; algorithm NULL or "": none. */
struct s3_checksum_text {
	const char *algorithm, *value; /* base64; "CRC32" → ChecksumCRC32 */
	const char *type;	       /* "FULL_OBJECT", "COMPOSITE", or NULL */
};
/* root: "CopyObjectResult" or "CopyPartResult" */
char *s3_out_copy(const char *root, const char *etag, int64_t modified, const struct s3_checksum_text *checksum,
		  size_t *len);

/* DeleteObjects. */
void s3_out_delete_begin(struct xml *xml);
void s3_out_deleted(struct xml *xml, const char *key, const char *version, bool marker, const char *marker_version);
void s3_out_delete_error(struct xml *xml, const char *key, const char *version, const char *code, const char *message);
char *s3_out_delete_end(struct xml *xml, size_t *len);

char *s3_out_upload_created(const char *bucket, const char *key, const char *id, size_t *len);
char *s3_out_upload_complete(const char *location, const char *bucket, const char *key, const char *etag,
			     const struct s3_checksum_text *checksum, size_t *len);

/* GetObjectAttributes: which were asked for (x-amz-object-attributes), and their values. */
enum {
	S3_ATTR_ETAG = 1,
	S3_ATTR_CHECKSUM = 2,
	S3_ATTR_PARTS = 4,
	S3_ATTR_CLASS = 8,
	S3_ATTR_SIZE = 16
};
unsigned int s3_attributes_parse(const char *header); /* 0: none, or one that is unknown (InvalidArgument) */
struct s3_part_text {
	unsigned int number;
	uint64_t size;
	int64_t modified;
	const char *etag;
	struct s3_checksum_text checksum;
};
struct s3_attributes {
	unsigned int asked;
	const char *etag;
	uint64_t size;
	struct s3_checksum_text checksum;
	unsigned int nparts_total;		       /* 0: was no multipart upload */
	unsigned int part_after, parts_max;	       /* x-amz-part-number-marker, x-amz-max-parts */
	const struct s3_part_text *parts; size_t nparts; /* of this page; NULL: sizes are not told (no checksum was stored) */
	bool more;
};
char *s3_out_attributes(const struct s3_attributes *attributes, size_t *len);

#endif
