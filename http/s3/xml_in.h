/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xml_in.h -- bodies of S3 requests: XML in, structs or the JSON of a bucket's record out.
 *
 * By expat. A DTD, an entity of one's own, a processing instruction after the declaration, more than 12 levels or more than
 * S3_XML_MAX bytes are refused; so are elements that the schema does not know, twice what may be there once, and values out
 * of range, each with a sentence that names the element. With or without the name space of 2006-03-01. All return S3_OK or
 * fill *fault and leave *out alone. fault may be NULL.
 */
#ifndef WEIR_S3_XML_IN_H
#define WEIR_S3_XML_IN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/s3/errors.h"
#include "http/s3/operation.h"

/* <CreateBucketConfiguration>: the region in location ("": none said), the tags as of
 * s3_in_tagging(). len 0 is fine. S3_NOT_IMPLEMENTED: directory buckets. */
enum s3_error s3_in_create_bucket(char location[64], json_t **tags, const void *body, size_t len,
				  struct s3_fault *fault);

/* <Delete>: at most S3_DELETES_MAX. Freed by s3_deletes_free(). */
struct s3_delete {
	const char *key;
	const char *version; /* "": none said */
	const char *etag;    /* "": none said; the delete is conditional then */
};
struct s3_deletes {
	bool quiet;
	size_t n;
	struct s3_delete *items;
	struct xml_tree *tree; /* owns the strings */
};
enum s3_error s3_in_delete(struct s3_deletes *out, const void *body, size_t len, struct s3_fault *fault);
void s3_deletes_free(struct s3_deletes *deletes);

/* <CompleteMultipartUpload>: in ascending order of number (else S3_INVALID_PART_ORDER), 1 to S3_PARTS_MAX. */
struct s3_complete_part {
	unsigned int number;
	char etag[80];	   /* without quotes */
	char checksum[96]; /* base64; "": none said */
	char algorithm[12]; /* of checksum: CRC32, CRC32C, CRC64NVME, SHA1, SHA256; "" */
};
struct s3_complete {
	size_t n;
	struct s3_complete_part *parts;
};
enum s3_error s3_in_complete(struct s3_complete *out, const void *body, size_t len, struct s3_fault *fault);
void s3_complete_free(struct s3_complete *complete);

/* <Tagging> → {"key":"value",…}, in the order sent. More than max: S3_BAD_REQUEST; keys of 1 to 128
 * and values of 0 to 256 characters; twice the same key, "aws:": S3_INVALID_TAG. */
#define S3_OBJECT_TAGS 10
#define S3_BUCKET_TAGS 50
enum s3_error s3_in_tagging(json_t **out, unsigned int max, const void *body, size_t len, struct s3_fault *fault);

/* <VersioningConfiguration> → "enabled" or "suspended"; no Status: S3_ILLEGAL_VERSIONING; MfaDelete Enabled:
 * S3_NOT_IMPLEMENTED. */
enum s3_error s3_in_versioning(const char **out, const void *body, size_t len, struct s3_fault *fault);

/* <LifecycleConfiguration>, <CORSConfiguration>, <ServerSideEncryptionConfiguration> → what the bucket's record keeps (see
 * lifecycle.h, cors.h; encryption: {"algorithm":"AES256"}). */
enum s3_error s3_in_lifecycle(json_t **out, const void *body, size_t len, struct s3_fault *fault);
enum s3_error s3_in_cors(json_t **out, const void *body, size_t len, struct s3_fault *fault);
enum s3_error s3_in_encryption(json_t **out, const void *body, size_t len, struct s3_fault *fault);

/* <PublicAccessBlockConfiguration> → bits in the order of s3_public_block (lib/bucket.h's BLOCK_…). What is not said is false. */
extern const char *const s3_public_block[4];
enum s3_error s3_in_public_block(unsigned int *out, const void *body, size_t len, struct s3_fault *fault);

/* <OwnershipControls> → its one rule's ObjectOwnership, one of s3_ownerships. */
extern const char *const s3_ownerships[4]; /* ended by NULL */
enum s3_error s3_in_ownership(const char **out, const void *body, size_t len, struct s3_fault *fault);
/* NULL: none that there is. */
const char *s3_ownership_of(const char *text);

/* <AccessControlPolicy> → the canned ACL that says the same ("private", "public-read", "public-read-write",
 * "authenticated-read"); other grants: S3_NOT_IMPLEMENTED. */
enum s3_error s3_in_acl(const char **out, const void *body, size_t len, struct s3_fault *fault);
/* x-amz-acl: a canned ACL's name, S3_INVALID_ARGUMENT for an unknown one; NULL header: "private". */
enum s3_error s3_acl_parse(const char **out, const char *header, struct s3_fault *fault);

#endif
