/* SPDX-License-Identifier: Apache-2.0 */
/*
 * put.h -- a plain PUT: its data as the bucket wants them kept (encrypted or not, beside older versions or not), its name, its answer.
 */
#ifndef WEIR_STORE_PUT_H
#define WEIR_STORE_PUT_H

#include "http/store/upload.h"

struct put;

/* As upload_new(); -ENOKEY: the bucket's objects are encrypted, and the installation's sealing key is not here yet. */
int put_new(struct put **out, struct endpoint *ep, const char *bucket, const char *key, uint64_t announced);
/* 0 or -errno: then put_refuse() answers and gives the disk back. */
int put_add(struct put *put, const void *data, size_t len);
enum http_next put_refuse(struct put *put, struct http_req *req);
/* On a worker thread: makes the bucket when it is the first object's, names, replies; true when it answered 2xx. */
bool put_finish(struct put *put, struct http_req *req, const char *owner);
/* Without a worker, on the server's thread: true: then(req, arg) will be called, which calls put_later_end(). False: it is
 * put_finish()'s, on a worker. */
bool put_later(struct put *put, struct http_req *req, http_then_fn *then, void *arg);
/* 0: stored, named, answered. -EAGAIN: put_finish() on a worker tries again. Else refused, and answered. */
int put_later_end(struct put *put, struct http_req *req);
void put_free(struct put *put); /* the request is over; accepts NULL */

/* What becomes of older versions, as the bucket's record says: a bucket that keeps them keeps them from the plain interface, too. */
enum names_mode put_mode(struct endpoint *ep, const char *bucket);

#endif
