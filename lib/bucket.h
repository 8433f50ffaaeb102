/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket.h -- what a bucket is told to be: buckets/NAME of the registry, compiled once when it changes.
 *
 * users.c keeps one for every bucket, by its watch; users_bucket() gives a counted reference, so that a request costs a
 * search. Immutable but for what bucket_made() keeps. Changes are bucket_edit_*() below: compare-and-swap on the record, tried
 * again when somebody else was first.
 */
#ifndef WEIR_BUCKET_H
#define WEIR_BUCKET_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/policy.h"
#include "lib/registry.h"
#include "lib/token.h"

#define BUCKET_NAME_MAX 63
#define BUCKET_PART_MAX 65536 /* bytes of one part's text */

enum bucket_versioning { VERSIONING_OFF, VERSIONING_ENABLED, VERSIONING_SUSPENDED };

/* The sub-resources, each kept as a text in the record. Those marked are understood here; the others belong to who puts
 * them (http/s3). */
enum bucket_part {
	BUCKET_VERSIONING, /* "enabled", "suspended" */
	BUCKET_ACL,	   /* a canned ACL's name */
	BUCKET_POLICY,	   /* the policy's text as it was put */
	BUCKET_ENCRYPTION, /* "AES256" */
	BUCKET_CORS,	   /* opaque */
	BUCKET_LIFECYCLE,  /* opaque */
	BUCKET_TAGS,	   /* opaque */
	BUCKET_BROWSE,	   /* "true": who may list may browse it as a page */
	BUCKET_BLOCK,	   /* "none", or of "acls ignore policy restrict" those that hold */
	BUCKET_OWNERSHIP,  /* "BucketOwnerEnforced": no ACL counts; "BucketOwnerPreferred", "ObjectWriter": as without */
	BUCKET_PARTS
};
extern const char *const bucket_part_names[BUCKET_PARTS]; /* the record's members */

/* Amazon's public access block. */
enum {
	BLOCK_ACLS = 1,	    /* no ACL is taken that gives to others */
	BLOCK_IGNORE = 2,   /* those that are there give nothing */
	BLOCK_POLICY = 4,   /* no policy is taken that gives to anybody */
	BLOCK_RESTRICT = 8, /* neither such a policy nor `public` gives to strangers */
	BLOCK_ALL = 15
};
/* The text of BUCKET_BLOCK → its bits. -EINVAL: BLOCK_ALL. */
int bucket_block_parse(const char *text, unsigned int *out);
const char *bucket_block_text(unsigned int block, char out[32]);

struct bucket {
	char name[BUCKET_NAME_MAX + 1];
	char owner[64]; /* "": nobody */
	int64_t created; /* unix seconds */
	int64_t revision; /* of the record */
	bool is_public;	 /* for reading, by `weir bucket` or datasets */
	bool encrypt;	 /* every object that is put: AES256 */
	bool browse;
	bool no_acls;
	unsigned int block; /* BLOCK_…, 0 when nothing was said */
	enum bucket_versioning versioning;
	enum canned_acl acl;
	struct bucket_quota quota;
	const struct policy *policy; /* NULL: none. A record's policy that cannot be understood denies everything */
	const char *part[BUCKET_PARTS]; /* the texts, NULL: not there */
};

void bucket_put(const struct bucket *b); /* gives the reference back; accepts NULL */
const struct bucket *bucket_hold(const struct bucket *b); /* one more */

/* What a part's text means to who put it: made by make() at the first call, kept until the record changes, freed by drop().
 * NULL: no such part, or make() gave NULL (asked again the next time). One kind of make and drop for each part. */
const void *bucket_made(const struct bucket *b, enum bucket_part part, void *(*make)(const char *text, size_t len),
			void (*drop)(void *made));

/* A record's JSON → a bucket with one reference; NULL without memory. value is not kept. For users.c and tests. */
struct bucket *bucket_compile(const char *name, const json_t *value, int64_t revision);

/* ---- changes, in the registry (they block) --------------------------------------------------- */

/* All return 0, -ENOENT (no such bucket), -EINVAL with a sentence (may be NULL), -EAGAIN (others changed it all the time), or the
 * registry's error (registry_error() has the sentence). */

/* -EALREADY: the owner has it; -EEXIST: somebody else has. acl is kept when it is not private. */
int bucket_edit_create(struct registry *reg, const char *name, const char *owner, enum canned_acl acl);
/* *revision: of the record as it is now; -EBUSY: a dataset's (datasets/NAME). */
int bucket_edit_look(struct registry *reg, const char *name, int64_t *revision);
/* The record stays as it is and gets another revision: who removes it by the one before does not. */
int bucket_edit_touch(struct registry *reg, const char *name);
/* Only what is told about the bucket; -EBUSY as above. revision: -EAGAIN when the record has another one; 0: whatever it has. */
int bucket_edit_remove(struct registry *reg, const char *name, int64_t revision);
/* text NULL: the part is taken away (0 also when it was not there). A dataset's bucket keeps no versions: -EINVAL. */
int bucket_edit_part(struct registry *reg, const char *name, enum bucket_part part, const char *text, char err[256]);
int bucket_edit_quota(struct registry *reg, const char *name, const struct bucket_quota *quota);
int bucket_edit_public(struct registry *reg, const char *name, bool is_public);
int bucket_edit_owner(struct registry *reg, const char *name, const char *owner);

#endif
