/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operation.h -- which operation of S3 is a request, on which bucket and key: method, Host and raw target
 * in, a row of the one table of operations out.
 *
 * Pure; nothing is allocated but by s3_target_parse().
 */
#ifndef WEIR_S3_OPERATION_H
#define WEIR_S3_OPERATION_H

#include <stdbool.h>
#include <stddef.h>

#include "http/s3/errors.h"
#include "lib/httpd.h"
#include "lib/token.h"

#define S3_KEY_MAX	1024 /* bytes of UTF-8, decoded, without terminator */
#define S3_BUCKET_MAX	63
#define S3_QUERY_MAX	64 /* parameters of one request */
#define S3_TARGET_MAX	16384 /* bytes of a raw target */
#define S3_PARTS_MAX	10000
#define S3_DELETES_MAX	1000
#define S3_PART_MIN	((uint64_t)5 << 20)  /* but the last */
#define S3_PART_MAX	((uint64_t)5 << 30)
#define S3_OBJECT_MAX	((uint64_t)5 << 40)

enum s3_level { S3_SERVICE, S3_BUCKET, S3_OBJECT };

/* How a body is taken: none; gathered in memory and parsed as XML (at most S3_XML_MAX) or JSON; streamed as the object's data. */
enum s3_body { S3_BODY_NONE, S3_BODY_XML, S3_BODY_JSON, S3_BODY_DATA };
#define S3_XML_MAX ((size_t)2 << 20) /* 10,000 parts or 1,000 keys of 1,024 bytes, escaped, fit */

/* X(NAME, METHOD, LEVEL, QUERY, ACTION, ACTION_VERSION, RIGHT, BODY, DONE)
 * QUERY: the parameter that chooses it, "" none. ACTION: of policies; ACTION_VERSION: the same when versionId is given, or
 * NULL. RIGHT: of weir's grants. DONE: 0 is answered NotImplemented. Of rows with the same method and level the first whose
 * QUERY is there wins; copies are told by x-amz-copy-source, ListObjectsV2 by list-type=2, PostObject by its content type. */
#define S3_OPERATIONS(X)                                                                                              \
	X(ListBuckets, GET, SERVICE, "", "s3:ListAllMyBuckets", NULL, LIST, NONE, 1)                                  \
	X(GetBucketLocation, GET, BUCKET, "location", "s3:GetBucketLocation", NULL, LIST, NONE, 1)                    \
	X(GetBucketVersioning, GET, BUCKET, "versioning", "s3:GetBucketVersioning", NULL, LIST, NONE, 1)              \
	X(GetBucketLifecycle, GET, BUCKET, "lifecycle", "s3:GetLifecycleConfiguration", NULL, LIST, NONE, 1)          \
	X(GetBucketCors, GET, BUCKET, "cors", "s3:GetBucketCORS", NULL, LIST, NONE, 1)                                \
	X(GetBucketPolicy, GET, BUCKET, "policy", "s3:GetBucketPolicy", NULL, ADMIN, NONE, 1)                         \
	X(GetBucketPolicyStatus, GET, BUCKET, "policyStatus", "s3:GetBucketPolicyStatus", NULL, LIST, NONE, 1)        \
	X(GetBucketAcl, GET, BUCKET, "acl", "s3:GetBucketAcl", NULL, LIST, NONE, 1)                                   \
	X(GetBucketTagging, GET, BUCKET, "tagging", "s3:GetBucketTagging", NULL, LIST, NONE, 1)                       \
	X(GetBucketEncryption, GET, BUCKET, "encryption", "s3:GetEncryptionConfiguration", NULL, LIST, NONE, 1)       \
	X(GetPublicAccessBlock, GET, BUCKET, "publicAccessBlock", "s3:GetBucketPublicAccessBlock", NULL, LIST, NONE, 1) \
	X(GetOwnershipControls, GET, BUCKET, "ownershipControls", "s3:GetBucketOwnershipControls", NULL, LIST, NONE, 1) \
	X(GetObjectLock, GET, BUCKET, "object-lock", "s3:GetBucketObjectLockConfiguration", NULL, LIST, NONE, 1)      \
	X(GetBucketWebsite, GET, BUCKET, "website", "s3:GetBucketWebsite", NULL, LIST, NONE, 1)                       \
	X(GetBucketReplication, GET, BUCKET, "replication", "s3:GetReplicationConfiguration", NULL, LIST, NONE, 1)    \
	X(GetBucketNotification, GET, BUCKET, "notification", "s3:GetBucketNotification", NULL, LIST, NONE, 1)        \
	X(GetBucketInventory, GET, BUCKET, "inventory", "s3:GetInventoryConfiguration", NULL, LIST, NONE, 1)          \
	X(GetBucketAccelerate, GET, BUCKET, "accelerate", "s3:GetAccelerateConfiguration", NULL, LIST, NONE, 1)       \
	X(GetBucketRequestPayment, GET, BUCKET, "requestPayment", "s3:GetBucketRequestPayment", NULL, LIST, NONE, 1)  \
	X(GetBucketLogging, GET, BUCKET, "logging", "s3:GetBucketLogging", NULL, LIST, NONE, 1)                       \
	X(GetBucketAnalytics, GET, BUCKET, "analytics", "s3:GetAnalyticsConfiguration", NULL, LIST, NONE, 1)          \
	X(GetBucketMetrics, GET, BUCKET, "metrics", "s3:GetMetricsConfiguration", NULL, LIST, NONE, 1)                \
	X(GetBucketTiering, GET, BUCKET, "intelligent-tiering", "s3:GetIntelligentTieringConfiguration", NULL, LIST,  \
	  NONE, 1)                                                                                                    \
	X(CreateSession, GET, BUCKET, "session", "s3express:CreateSession", NULL, LIST, NONE, 0)                      \
	X(ListObjectVersions, GET, BUCKET, "versions", "s3:ListBucketVersions", NULL, LIST, NONE, 1)                  \
	X(ListMultipartUploads, GET, BUCKET, "uploads", "s3:ListBucketMultipartUploads", NULL, LIST, NONE, 1)         \
	X(ListObjectsV2, GET, BUCKET, "list-type", "s3:ListBucket", NULL, LIST, NONE, 1)                              \
	X(ListObjects, GET, BUCKET, "", "s3:ListBucket", NULL, LIST, NONE, 1)                                         \
	X(HeadBucket, HEAD, BUCKET, "", "s3:ListBucket", NULL, LIST, NONE, 1)                                         \
	X(PutBucketVersioning, PUT, BUCKET, "versioning", "s3:PutBucketVersioning", NULL, ADMIN, XML, 1)              \
	X(PutBucketLifecycle, PUT, BUCKET, "lifecycle", "s3:PutLifecycleConfiguration", NULL, ADMIN, XML, 1)          \
	X(PutBucketCors, PUT, BUCKET, "cors", "s3:PutBucketCORS", NULL, ADMIN, XML, 1)                                \
	X(PutBucketPolicy, PUT, BUCKET, "policy", "s3:PutBucketPolicy", NULL, ADMIN, JSON, 1)                         \
	X(PutBucketAcl, PUT, BUCKET, "acl", "s3:PutBucketAcl", NULL, ADMIN, XML, 1)                                   \
	X(PutBucketTagging, PUT, BUCKET, "tagging", "s3:PutBucketTagging", NULL, ADMIN, XML, 1)                       \
	X(PutBucketEncryption, PUT, BUCKET, "encryption", "s3:PutEncryptionConfiguration", NULL, ADMIN, XML, 1)       \
	X(PutPublicAccessBlock, PUT, BUCKET, "publicAccessBlock", "s3:PutBucketPublicAccessBlock", NULL, ADMIN, XML, 1) \
	X(PutOwnershipControls, PUT, BUCKET, "ownershipControls", "s3:PutBucketOwnershipControls", NULL, ADMIN, XML, 1) \
	X(PutObjectLock, PUT, BUCKET, "object-lock", "s3:PutBucketObjectLockConfiguration", NULL, ADMIN, XML, 0)      \
	X(PutBucketWebsite, PUT, BUCKET, "website", "s3:PutBucketWebsite", NULL, ADMIN, XML, 0)                       \
	X(PutBucketReplication, PUT, BUCKET, "replication", "s3:PutReplicationConfiguration", NULL, ADMIN, XML, 0)    \
	X(PutBucketNotification, PUT, BUCKET, "notification", "s3:PutBucketNotification", NULL, ADMIN, XML, 1)        \
	X(PutBucketInventory, PUT, BUCKET, "inventory", "s3:PutInventoryConfiguration", NULL, ADMIN, XML, 0)          \
	X(PutBucketAccelerate, PUT, BUCKET, "accelerate", "s3:PutAccelerateConfiguration", NULL, ADMIN, XML, 0)       \
	X(PutBucketRequestPayment, PUT, BUCKET, "requestPayment", "s3:PutBucketRequestPayment", NULL, ADMIN, XML, 1)  \
	X(PutBucketLogging, PUT, BUCKET, "logging", "s3:PutBucketLogging", NULL, ADMIN, XML, 1)                       \
	X(PutBucketAnalytics, PUT, BUCKET, "analytics", "s3:PutAnalyticsConfiguration", NULL, ADMIN, XML, 0)          \
	X(PutBucketMetrics, PUT, BUCKET, "metrics", "s3:PutMetricsConfiguration", NULL, ADMIN, XML, 0)                \
	X(PutBucketTiering, PUT, BUCKET, "intelligent-tiering", "s3:PutIntelligentTieringConfiguration", NULL, ADMIN, \
	  XML, 0)                                                                                                     \
	X(CreateBucket, PUT, BUCKET, "", "s3:CreateBucket", NULL, ADMIN, XML, 1)                                      \
	X(DeleteBucketLifecycle, DELETE, BUCKET, "lifecycle", "s3:PutLifecycleConfiguration", NULL, ADMIN, NONE, 1)   \
	X(DeleteBucketCors, DELETE, BUCKET, "cors", "s3:PutBucketCORS", NULL, ADMIN, NONE, 1)                         \
	X(DeleteBucketPolicy, DELETE, BUCKET, "policy", "s3:DeleteBucketPolicy", NULL, ADMIN, NONE, 1)                \
	X(DeleteBucketTagging, DELETE, BUCKET, "tagging", "s3:PutBucketTagging", NULL, ADMIN, NONE, 1)                \
	X(DeleteBucketEncryption, DELETE, BUCKET, "encryption", "s3:PutEncryptionConfiguration", NULL, ADMIN, NONE, 1) \
	X(DeletePublicAccessBlock, DELETE, BUCKET, "publicAccessBlock", "s3:PutBucketPublicAccessBlock", NULL, ADMIN, \
	  NONE, 1)                                                                                                    \
	X(DeleteOwnershipControls, DELETE, BUCKET, "ownershipControls", "s3:PutBucketOwnershipControls", NULL, ADMIN, \
	  NONE, 1)                                                                                                    \
	X(DeleteBucketWebsite, DELETE, BUCKET, "website", "s3:DeleteBucketWebsite", NULL, ADMIN, NONE, 1)             \
	X(DeleteBucketReplication, DELETE, BUCKET, "replication", "s3:PutReplicationConfiguration", NULL, ADMIN, NONE, 1) \
	X(DeleteBucketInventory, DELETE, BUCKET, "inventory", "s3:PutInventoryConfiguration", NULL, ADMIN, NONE, 1)   \
	X(DeleteBucketAnalytics, DELETE, BUCKET, "analytics", "s3:PutAnalyticsConfiguration", NULL, ADMIN, NONE, 1)   \
	X(DeleteBucketMetrics, DELETE, BUCKET, "metrics", "s3:PutMetricsConfiguration", NULL, ADMIN, NONE, 1)         \
	X(DeleteBucketTiering, DELETE, BUCKET, "intelligent-tiering", "s3:PutIntelligentTieringConfiguration", NULL,  \
	  ADMIN, NONE, 1)                                                                                             \
	X(DeleteBucket, DELETE, BUCKET, "", "s3:DeleteBucket", NULL, ADMIN, NONE, 1)                                  \
	X(DeleteObjects, POST, BUCKET, "delete", "s3:DeleteObject", NULL, DELETE, XML, 1)                             \
	X(PostObject, POST, BUCKET, "", "s3:PutObject", NULL, WRITE, NONE, 0)                                         \
	X(PreflightBucket, OPTIONS, BUCKET, "", NULL, NULL, LIST, NONE, 1)                                            \
	X(GetObjectTagging, GET, OBJECT, "tagging", "s3:GetObjectTagging", "s3:GetObjectVersionTagging", READ, NONE, 1) \
	X(GetObjectAcl, GET, OBJECT, "acl", "s3:GetObjectAcl", "s3:GetObjectVersionAcl", READ, NONE, 1)               \
	X(GetObjectAttributes, GET, OBJECT, "attributes", "s3:GetObjectAttributes", "s3:GetObjectVersionAttributes",  \
	  READ, NONE, 1)                                                                                              \
	X(GetObjectTorrent, GET, OBJECT, "torrent", "s3:GetObjectTorrent", "s3:GetObjectVersionTorrent", READ, NONE, 0) \
	X(GetObjectRetention, GET, OBJECT, "retention", "s3:GetObjectRetention", NULL, READ, NONE, 1)                 \
	X(GetObjectLegalHold, GET, OBJECT, "legal-hold", "s3:GetObjectLegalHold", NULL, READ, NONE, 1)                \
	X(ListParts, GET, OBJECT, "uploadId", "s3:ListMultipartUploadParts", NULL, WRITE, NONE, 1)                    \
	X(GetObject, GET, OBJECT, "", "s3:GetObject", "s3:GetObjectVersion", READ, NONE, 1)                           \
	X(HeadObject, HEAD, OBJECT, "", "s3:GetObject", "s3:GetObjectVersion", READ, NONE, 1)                         \
	X(PutObjectTagging, PUT, OBJECT, "tagging", "s3:PutObjectTagging", "s3:PutObjectVersionTagging", WRITE, XML, 1) \
	X(PutObjectAcl, PUT, OBJECT, "acl", "s3:PutObjectAcl", "s3:PutObjectVersionAcl", WRITE, XML, 1)               \
	X(PutObjectRetention, PUT, OBJECT, "retention", "s3:PutObjectRetention", NULL, WRITE, XML, 0)                 \
	X(PutObjectLegalHold, PUT, OBJECT, "legal-hold", "s3:PutObjectLegalHold", NULL, WRITE, XML, 0)                \
	X(RenameObject, PUT, OBJECT, "renameObject", "s3express:RenameObject", NULL, WRITE, NONE, 0)                  \
	X(UploadPart, PUT, OBJECT, "uploadId", "s3:PutObject", NULL, WRITE, DATA, 1)                                  \
	X(UploadPartCopy, PUT, OBJECT, "uploadId", "s3:PutObject", NULL, WRITE, NONE, 1)                              \
	X(PutObject, PUT, OBJECT, "", "s3:PutObject", NULL, WRITE, DATA, 1)                                           \
	X(CopyObject, PUT, OBJECT, "", "s3:PutObject", NULL, WRITE, NONE, 1)                                          \
	X(CreateMultipartUpload, POST, OBJECT, "uploads", "s3:PutObject", NULL, WRITE, NONE, 1)                       \
	X(SelectObjectContent, POST, OBJECT, "select", "s3:GetObject", NULL, READ, XML, 0)                            \
	X(RestoreObject, POST, OBJECT, "restore", "s3:RestoreObject", NULL, WRITE, XML, 0)                            \
	X(CompleteMultipartUpload, POST, OBJECT, "uploadId", "s3:PutObject", NULL, WRITE, XML, 1)                     \
	X(DeleteObjectTagging, DELETE, OBJECT, "tagging", "s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging",  \
	  WRITE, NONE, 1)                                                                                             \
	X(AbortMultipartUpload, DELETE, OBJECT, "uploadId", "s3:AbortMultipartUpload", NULL, WRITE, NONE, 1)          \
	X(DeleteObject, DELETE, OBJECT, "", "s3:DeleteObject", "s3:DeleteObjectVersion", DELETE, NONE, 1)             \
	X(PreflightObject, OPTIONS, OBJECT, "", NULL, NULL, READ, NONE, 1)

enum s3_op {
	S3_OP_NONE,
#define S3_OP_NAME(name, ...) S3_OP_##name,
	S3_OPERATIONS(S3_OP_NAME)
#undef S3_OP_NAME
	S3_OPS_N
};

struct s3_operation {
	enum s3_op op;
	const char *name; /* "GetObject": for metrics, audit lines, messages */
	enum http_method method;
	enum s3_level level;
	const char *query;	    /* "" none */
	const char *action;	    /* "s3:GetObject"; NULL: needs no right (preflight) */
	const char *action_version; /* with versionId; NULL: as action */
	unsigned int right;	    /* RIGHT_READ, … */
	enum s3_body body;
	bool implemented;
};
extern const struct s3_operation s3_operations[S3_OPS_N]; /* by enum s3_op; [0] is all zero, named "" */

/* What was asked for. All strings are in `text`, decoded, without NUL. */
struct s3_target {
	char bucket[S3_BUCKET_MAX + 1]; /* "": the service */
	const char *key;		/* "": the bucket; at most S3_KEY_MAX bytes of valid UTF-8 */
	bool virtual_host;		/* the bucket was in Host */
	unsigned int nquery;
	struct {
		const char *name, *value; /* value "" when there was no '=' */
	} query[S3_QUERY_MAX];
	char *text;
};
/* Parses Host ("BUCKET.DOMAIN[:PORT]" is virtual-host style for each of domains, ended by NULL; the array may be NULL) and the raw
 * target as sent ("/bucket/key?…"; "http://host/…" too). "//" and "." in keys stay as they are; '+' in the path is a plus,
 * in the query a space. S3_INVALID_URI (bad escape, NUL, not UTF-8), S3_INVALID_BUCKET_NAME, S3_KEY_TOO_LONG; on failure *out
 * holds what was understood (for Resource) and is to be freed all the same. */
enum s3_error s3_target_parse(struct s3_target *out, const char *host, const char *raw, const char *const *domains,
			      struct s3_fault *fault);
void s3_target_free(struct s3_target *target);
/* May a bucket be created with that name? Amazon's rules, which are narrower than those of names that are only looked up: 3 to 63
 * of a-z 0-9 - . between letters or digits, no "..", no address, no reserved beginning or end. */
bool s3_bucket_name_valid(const char *bucket);
/* NULL: not there. The first of that name. */
const char *s3_target_query(const struct s3_target *target, const char *name);
/* A header that a presigned URL holds as a parameter: clients put x-amz-… there, in any case. NULL: not there, or the URL is not
 * presigned. Never the checksum of a body, which was not known when the URL was made (Amazon looks for it among headers alone). */
const char *s3_target_header(const struct s3_target *target, const char *name);

/* May be NULL where a header is absent. */
struct s3_choice {
	const char *copy_source;  /* x-amz-copy-source of the headers */
	const char *content_type; /* multipart/form-data: PostObject */
};
/* S3_OK and *out; S3_NOT_IMPLEMENTED (*out is known all the same, for metrics), S3_METHOD_NOT_ALLOWED (*out is NULL),
 * S3_INVALID_ARGUMENT (two sub-resources, list-type not 2, partNumber without uploadId and the like). */
enum s3_error s3_operation_of(const struct s3_operation **out, enum http_method method, const struct s3_target *target,
			      const struct s3_choice *choice, struct s3_fault *fault);
/* The policy action of a request: action_version when versionId was given. */
const char *s3_operation_action(const struct s3_operation *op, const struct s3_target *target);

/* Headers that imply what is not implemented (object lock, SSE-C, SSE-KMS, website redirects, requester pays, ACL grants): the
 * name of the first that `get` knows, or NULL. x-amz-server-side-encryption: AES256 is fine, aws:kms is not. */
const char *s3_header_unsupported(const char *(*get)(void *arg, const char *name), void *arg);

/* x-amz-copy-source: "/bucket/key?versionId=…" or "bucket/key", percent-encoded. key: S3_KEY_MAX + 1 bytes, version: 65 ("": none).
 * S3_INVALID_ARGUMENT. */
enum s3_error s3_copy_source_parse(const char *header, char bucket[S3_BUCKET_MAX + 1], char key[S3_KEY_MAX + 1],
				   char version[65], struct s3_fault *fault);
/* x-amz-tagging: "a=b&c=d" → {"a":"b",…} (a new reference), checked as s3_in_tagging() does. */
enum s3_error s3_tags_parse(json_t **out, const char *header, struct s3_fault *fault);

/* Is a request S3's, and not the plain interface's? By its signature, a path that begins with a bucket, or a Host of the
 * domain. target: as sent; the others may be NULL. */
bool s3_request_is(const char *target, const char *authorization, const char *host, const char *domain);

#endif
