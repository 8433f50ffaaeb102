/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buckets.h -- what a gateway shows of buckets, objects, versions and access keys: JSON for the console and `weir du`, and pages of
 * buckets that may be browsed.
 *
 *	GET  /_/buckets                 {"buckets": [bucket…]}: those that the caller owns or may list
 *	GET  /_/buckets/BUCKET          bucket, with what it is told to be
 *	POST /_/buckets/BUCKET          {"browse": bool}: the owner, or an administrator
 *	GET  /_/buckets/BUCKET/objects  a page of a listing, as endpoints give it (http/store/list.h)
 *	GET  /_/keys                    {"keys": [key…]}: the caller's, or with all=1 everybody's (administrators)
 *
 * bucket: {"name","owner","created","objects","bytes","uploads","public","browse","versioning","acl","encrypted","policy": bool,
 * "dataset": bool, "quota": {"bytes","objects"}}; objects, bytes and uploads are null while the primary is silent.
 */
#ifndef WEIR_GATEWAY_BUCKETS_H
#define WEIR_GATEWAY_BUCKETS_H

#include <jansson.h>

#include "http/gateway/gateway.h"

enum http_next buckets_list(struct http_req *req, void *arg);
enum http_next buckets_one(struct http_req *req, void *arg);
enum http_next buckets_change(struct http_req *req, void *arg); /* end */
enum http_next buckets_objects(struct http_req *req, void *arg);
enum http_next keys_list(struct http_req *req, void *arg);

/* One page of a listing, asked of an endpoint in the name of who. On a worker. 0 and a new reference; else -errno, with a sentence
 * and the endpoint's status (0: none answered). */
struct listing_ask {
	const char *bucket, *prefix, *delimiter, *after, *after_version, *limit; /* NULL: not said */
	bool versions;
};
int buckets_page(struct gateway *gw, const struct token_scope *who, const struct listing_ask *ask, json_t **out,
		 unsigned int *status, char err[256]);

/* browse.c: the page of a bucket that may be browsed, for a request of /b/BUCKET/ by who, who may list it. False: it may not be
 * browsed, or the client did not ask for a page; nothing was answered. */
bool browse_reply(struct gateway *gw, struct http_req *req, const struct token_scope *who, enum http_next *next);

#endif
