/* SPDX-License-Identifier: Apache-2.0 */
/*
 * put.h -- the end of a plain PUT: what was received is stored, named and told.
 */
#ifndef WEIR_STORE_PUT_H
#define WEIR_STORE_PUT_H

#include "http/store/upload.h"

/* On a worker thread: makes the bucket when it is the first object's, names, replies; true when it answered 2xx. */
bool put_finish(struct endpoint *ep, struct upload *up, struct http_req *req, const char *bucket,
		const char *owner);
/* What becomes of older versions, as the bucket's record says: a bucket that keeps them keeps them from the plain interface, too. */
enum names_mode put_mode(struct endpoint *ep, const char *bucket);
/* upload_add() failed: answers, and gives the disk back. */
enum http_next put_refuse(struct upload *up, struct http_req *req);

#endif
