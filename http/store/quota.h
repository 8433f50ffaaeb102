/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.h -- may a bucket grow: limits of the bucket and of its owner (users_limits) against what the primaries count.
 *
 * Uploads that end at the same moment do not know of each other: a limit may be passed by what is under way then.
 */
#ifndef WEIR_STORE_QUOTA_H
#define WEIR_STORE_QUOTA_H

#include "http/store/endpoint.h"

#define QUOTA_WHY 240

/* Is so much more than any limit allows, whatever is there? Never blocks: -EDQUOT and why, or 0. */
int quota_begin(struct endpoint *ep, const char *bucket, uint64_t bytes, char why[QUOTA_WHY]);
/* On a worker thread: 0, -EDQUOT and why (a sentence), or what names_usage() says (-EAGAIN, -ETIMEDOUT: the primary is silent).
 * What the key holds now does not count where it is replaced. Buckets without a limit, and such of owners without one, cost a search. */
int quota_check(struct endpoint *ep, const char *bucket, const char *key, uint64_t bytes, char why[QUOTA_WHY]);

#endif
