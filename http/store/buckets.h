/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buckets.h -- a bucket comes to be by the first permitted PUT: buckets/NAME in the registry.
 */
#ifndef WEIR_STORE_BUCKETS_H
#define WEIR_STORE_BUCKETS_H

#include "lib/registry.h"

struct buckets;

int buckets_new(struct buckets **out, struct registry *reg);
void buckets_free(struct buckets *b);           /* accepts NULL */
/* Makes it when it is not there; remembers what it saw. A registry that is silent is no failure:
 * the primary
 * knows whether the bucket has an order. Blocks. 0 or -ENOMEM. */
int buckets_ensure(struct buckets *b, const char *bucket, const char *owner);

#endif
