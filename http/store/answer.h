/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.h -- what an endpoint tells of an object beside its bytes: ETag, digest, type, caching, cross-origin reading; and
 * ready answers of small objects, which have all of it.
 */
#ifndef WEIR_STORE_ANSWER_H
#define WEIR_STORE_ANSWER_H

#include "http/store/endpoint.h"
#include "lib/media_type.h"

#define TOLD_SMALL_MAX 65536 /* bytes of an object that is kept as a ready answer while it is open */

struct told {
	char etag[NAMES_ETAG_MAX + 3];
	char sha[65]; /* "": not known (an object of parts) */
	const struct media_type *media;
	bool open; /* of a public bucket; asked for types alone that say something of caches */
};
void told_fill(struct told *out, struct endpoint *ep, const char *bucket, const struct name_entry *entry);
void told_add(struct http_req *req, const struct told *told); /* the headers */
bool told_here(const struct endpoint *ep, const struct name_entry *entry); /* is this node one of its holders? */
/* A small object's ready answer, checked when it was made, which may wait for the disk. NULL when it cannot be made, or was
 * made while the bucket was public and is not, or the other way round. This and the next two are held's, and good as long as
 * the caller holds that; http_cached_hold() makes them last longer. */
struct http_cached *told_small(struct endpoint *ep, struct held *held, const struct told *told);
/* For a small object that this node has, and nobody read yet: a worker makes its ready answer. *warm is left alone when it cannot. */
void told_warm(struct http_warm *warm, struct endpoint *ep, const char *bucket, const struct name_entry *entry);
/* The ready answer of whatever kind, for its body. NULL: there is none. */
struct http_cached *told_body(struct held *held);
/* The 304 that was made beside it; NULL: there is none. */
struct http_cached *told_unchanged(struct held *held, const struct told *told);

#endif
