/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket_impl.h -- what bucket.c and bucket_edit.c share; nobody else includes it.
 */
#ifndef WEIR_BUCKET_IMPL_H
#define WEIR_BUCKET_IMPL_H

#include "lib/bucket.h"

/* Is the text what the part may be? 0, or -EINVAL with a sentence. */
int bucket_part_check(const char *bucket, enum bucket_part part, const char *text, char err[256]);

#endif
