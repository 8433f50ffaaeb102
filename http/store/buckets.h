/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buckets.h -- a bucket comes to be by the first permitted PUT: buckets/NAME in the registry.
 */
#ifndef WEIR_STORE_BUCKETS_H
#define WEIR_STORE_BUCKETS_H

#include "lib/bucket.h"
#include "lib/registry.h"

struct buckets;

int buckets_new(struct buckets **out, struct registry *reg);
void buckets_free(struct buckets *b);           /* accepts NULL */
/* Makes it when it is not there; remembers what it saw. A registry that is silent is no failure:
 * the primary
 * knows whether the bucket has an order. Blocks. 0 or -ENOMEM. */
int buckets_ensure(struct buckets *b, const char *bucket, const char *owner);

/* S3's CreateBucket and DeleteBucket: bucket_edit_create() and bucket_edit_remove() with what was seen kept right. They block.
 * The caller has opened the names (names_bucket_open) before, or closed them (names_bucket_close, which knows whether it is empty).
 * Reading is users_bucket() (lib/token.h), changes of parts are bucket_edit_part() (lib/bucket.h). What was changed is
 * seen by every users_bucket() within milliseconds, not at once. */
int buckets_create(struct buckets *b, const char *bucket, const char *owner, enum canned_acl acl);
int buckets_remove(struct buckets *b, const char *bucket);
/* Another way it went (names said that it is closed): the next buckets_ensure() asks again. */
void buckets_forget(struct buckets *b, const char *bucket);

#endif
