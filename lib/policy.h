/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h -- bucket policies (the JSON of Amazon's "Policies and permissions in Amazon S3") and
 * what is asked of them.
 *
 * Pure: text in, a compiled policy out; a question in, a verdict out. An explicit Deny wins over
 * every Allow. Nothing here logs. users_may() (token.h) asks the policy of the bucket together with
 * grants, groups, datasets and canned ACLs.
 *
 * Understood: Version "2012-10-17" or "2008-10-17" (absent: the latter), Id, Statement (one or a
 * list) of Sid, Effect, Principal or NotPrincipal ("*", {"AWS": ...} with "*",
 * "arn:aws:iam::weir:user/NAME", "arn:aws:iam::weir:group/NAME", "arn:aws:iam::weir:root" (the
 * bucket's owner)), Action or NotAction ("s3:*", "s3:Get*", ...), Resource or NotResource
 * (arn:aws:s3:::BUCKET, arn:aws:s3:::BUCKET/KEY with * and ?, ${aws:username}), Condition (below).
 * What is not understood is refused when it is put: a policy never says something that is not done.
 *
 * Conditions: String(Not)Equals(IgnoreCase), String(Not)Like,
 * Numeric(Not)Equals/LessThan(Equals)/GreaterThan(Equals), Date..., Bool, (Not)IpAddress, Null,
 * each also with IfExists, on aws:SourceIp, aws:SecureTransport, aws:CurrentTime, aws:EpochTime,
 * aws:UserAgent, aws:Referer, aws:username, aws:PrincipalType, s3:prefix, s3:delimiter,
 * s3:max-keys, s3:VersionId, s3:x-amz-acl, s3:x-amz-server-side-encryption, s3:x-amz-storage-class,
 * s3:x-amz-copy-source, s3:x-amz-metadata-directive, s3:x-amz-content-sha256, s3:if-match,
 * s3:if-none-match, s3:ObjectCreationOperation, s3:ExistingObjectTag/KEY, s3:RequestObjectTag/KEY,
 * s3:authType, s3:signatureversion, s3:signatureAge.
 */
#ifndef WEIR_POLICY_H
#define WEIR_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

struct json_t;

#define POLICY_MAX 20480 /* bytes of its text, as Amazon's */

/* The canned ACLs of buckets and objects (x-amz-acl). Bucket: public-read lets anybody list, public-read-write also put
 * and delete, authenticated-read lets every user list. Object: the same for reading it. bucket-owner-*: as private here, where the
 * bucket's owner has the objects anyway. */
enum canned_acl {
	ACL_PRIVATE,
	ACL_PUBLIC_READ,
	ACL_PUBLIC_READ_WRITE,
	ACL_AUTHENTICATED_READ,
	ACL_OWNER_READ,
	ACL_OWNER_FULL,
};
/* -EINVAL: none of them ("log-delivery-write", "aws-exec-read" neither). */
int acl_parse(const char *text, enum canned_acl *out);
const char *acl_text(enum canned_acl acl);

/* What somebody asks. All that is not known stays zero. */
struct policy_ask {
	const char *action; /* "s3:GetObject"...: a name of policy_action(); NULL: derived from `right` */
	unsigned int right; /* what grants must give (token.h); 0: as policy_action() says */
	const char *bucket; /* NULL: the whole installation */
	const char *key;    /* the object; for ListBucket: the prefix that is listed; NULL: the bucket as a whole */
	/* the question's circumstances, for conditions */
	struct addr source; /* of the client, AF_UNSPEC when not known */
	int64_t now;	    /* unix seconds; 0: the clock is read when a condition wants it */
	bool known;	    /* source, https, ... were looked at. Else a Deny whose condition cannot be judged counts as met */
	/* When not known: users_may() calls this once when the bucket has a policy; it fills what is below. May be NULL. */
	void (*look)(struct policy_ask *ask, void *arg);
	void *look_arg;
	bool https;
	bool presigned; /* s3:authType REST-QUERY-STRING */
	bool sigv4;	/* s3:signatureversion */
	int64_t signature_age_ms;
	const char *agent, *referer; /* User-Agent, Referer */
	const char *delimiter, *max_keys, *version_id, *acl, *encryption; /* as sent (of parts: see begun_unknown); NULL: not sent */
	const char *storage_class, *copy_source /* "BUCKET/KEY", decoded */,
		*directive; /* x-amz-metadata-directive */
	const char *content_sha256, *if_match, *if_none_match;
	bool begun_unknown; /* acl and encryption are what the upload was begun with, which was not looked up: as with tags */
	bool staged; /* begins an upload or sends a part of it: no object comes of this request
		      * (s3:ObjectCreationOperation) */
	/* {"key":"value",…}, NULL: none. Of those that are not known a Deny's condition counts as
	 * met, an Allow's does not. */
	const struct json_t *tags,
		*new_tags; /* of the object as it is; as the request sends them */
	bool tags_known, new_tags_known;
	bool *unsure; /* becomes true when the verdict hung on what is not known of tags or of what an upload was begun with; may
		       * be NULL */
	bool object_known;	/* the object was looked up: its ACL is */
	enum canned_acl object; /* this */
};

struct policy_who {
	const char *user;   /* "": nobody in particular */
	const char *groups; /* names with commas between */
	bool owner;	    /* of the bucket */
};

/* What S3's actions need of the platform's rights. */
enum policy_kind {
	ASK_SERVICE, /* no bucket: ListAllMyBuckets */
	ASK_BUCKET,
	ASK_OBJECT,
	ASK_CONFIG, /* of a bucket: its owner and administrators, or by policy */
};
struct policy_action {
	const char *name; /* "s3:GetObject" */
	enum policy_kind kind;
	unsigned int right; /* ASK_CONFIG: of the whole bucket, in addition to being its owner */
};
/* NULL: there is none of this name ("s3:" may be left out). */
const struct policy_action *policy_action(const char *name);
/* "s3:GetObject" for RIGHT_READ, "s3:ListBucket" for RIGHT_LIST and so on; NULL: none of one right. */
const char *policy_action_of(unsigned int right);

struct policy;
enum policy_verdict { POLICY_SILENT, POLICY_ALLOW, POLICY_DENY };

/* 0; -EINVAL with a sentence that says where and what would be right; -E2BIG; -ENOMEM. Every resource must be the
 * bucket's own. The policy is immutable then: any number of threads may ask. */
int policy_parse(struct policy **out, const char *text, size_t len, const char *bucket, char err[256]);
void policy_free(struct policy *p); /* accepts NULL */
enum policy_verdict policy_evaluate(const struct policy *p /* NULL: silent */, const struct policy_who *who,
				    const struct policy_ask *ask);
/* Does it allow something to anybody, whoever that is (GetBucketPolicyStatus)? Conditions on fixed addresses make it not public. */
bool policy_is_public(const struct policy *p);

#endif
