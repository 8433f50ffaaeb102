/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buckets.h -- a bucket comes to be by the first permitted PUT: buckets/NAME in the registry.
 */
#ifndef WEIR_STORE_BUCKETS_H
#define WEIR_STORE_BUCKETS_H

#include "http/store/names.h"
#include "lib/policy.h"
#include "lib/registry.h"

struct buckets;

int buckets_new(struct buckets **out, struct registry *reg);
void buckets_free(struct buckets *b);           /* accepts NULL */
/* Makes it when it is not there; remembers what it saw. A registry that is silent is no failure:
 * the primary knows whether the bucket has an order. Blocks. 0 or -ENOMEM. */
int buckets_ensure(struct buckets *b, const char *bucket, const char *owner);
bool buckets_known(struct buckets *b, const char *bucket); /* it would not ask */

/* S3's CreateBucket and DeleteBucket. They block. Reading is users_bucket() (lib/token.h), changes of parts are
 * bucket_edit_part() (lib/bucket.h). What was changed is seen by every users_bucket() within milliseconds, not at once.
 *
 * A bucket is a record in the registry and names that are open, and goes by closing the names, which knows whether it is
 * empty, then removing the record. A write that was acknowledged must not be in a bucket whose record is removed then, so
 * who opens closed names looks at them, gives the record another revision, and opens what it looked at; who removes reads
 * the record's revision before it closes, and removes that one only. */

/* Makes the record and opens the names. Results of bucket_edit_create(); names_open: of buckets_open(), when the record is
 * this owner's (0 or -EALREADY), else 0. */
int buckets_create(struct buckets *b, struct names *names, const char *bucket, const char *owner, enum canned_acl acl,
		   int *names_open);
/* Opens the names of a bucket that has a record; costs a question when they are open. 0, -ENOENT: there is no record, -EAGAIN: the
 * registry did not answer or others change it all the time, or a failure of names. */
int buckets_open(struct buckets *b, struct names *names, const char *bucket);
/* 0, -ENOENT, -ENOTEMPTY, -EBUSY (a dataset's), or a failure of names; *registry: of the registry (registry_error()). */
int buckets_remove(struct buckets *b, struct names *names, const char *bucket, bool *registry);
/* Another way it went (names said that it is closed): the next buckets_ensure() asks again. */
void buckets_forget(struct buckets *b, const char *bucket);

#endif
