/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.h -- one PUT: data to this disk while a second endpoint receives the same chunks; stable
 * on both,
 * then named by the bucket's primary, then answered.
 */
#ifndef WEIR_STORE_UPLOAD_H
#define WEIR_STORE_UPLOAD_H

#include "http/store/endpoint.h"

struct upload;

/* bucket and key are valid. 0 or -errno (-ENOSPC). */
int upload_new(struct upload **out, struct endpoint *ep, const char *bucket, const char *key,
	       const char *owner, uint64_t announced);
/* A piece of the body; never blocks for a peer. 0, or -errno: then upload_refuse() answers. */
int upload_add(struct upload *up, const void *data, size_t len);
enum http_next upload_refuse(struct upload *up, struct http_req *req);
/* On a worker thread: commits, names, replies; true when it answered 2xx. */
bool upload_finish(struct upload *up, struct http_req *req);
/* The request is over: what was not finished vanishes, here and elsewhere. Accepts NULL. */
void upload_end(struct upload *up);

#endif
