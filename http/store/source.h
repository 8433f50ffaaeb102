/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.h -- reads an object's bytes on a worker thread, for copies: from this disk, checked, and from an endpoint that has
 * them where this one has not; of an object of parts one part after another.
 */
#ifndef WEIR_STORE_SOURCE_H
#define WEIR_STORE_SOURCE_H

#include "http/store/endpoint.h"

/* A piece, in order; another result than 0 ends it. */
typedef int source_fn(void *arg, const void *data, size_t len);
/* Bytes [first, first+len) of the entry as they are stored. 0, what fn returned, -EAGAIN (nobody who has them can be reached) or
 * -errno. Blocks. */
int source_read(struct endpoint *ep, const char *bucket, const struct name_entry *entry, uint64_t first, uint64_t len,
		source_fn *fn, void *arg);

#endif
