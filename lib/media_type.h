/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_type.h -- how objects that players fetch are told: Content-Type and Cache-Control by the key's end, and cross-origin
 * reading. The store keeps no Content-Type of a PUT: all other keys are application/octet-stream, as ever, so that nothing
 * that somebody stored becomes a page of this host.
 */
#ifndef WEIR_MEDIA_TYPE_H
#define WEIR_MEDIA_TYPE_H

#include <stdbool.h>

#include "lib/httpd.h"

struct media_type {
	const char *type;     /* never NULL */
	const char *cache[2]; /* Cache-Control for readers with a right ([0]) and in a public bucket ([1]); NULL: none is said */
	bool markup;	      /* a browser would show it as a document: it gets a sandbox (Content-Security-Policy) */
};
#define MEDIA_TYPE_SANDBOX "default-src 'none'; sandbox"
/* Static. Immutable is what lies in a folder "vHASH" (v and 16 hex digits: a digest of its content, as `weir media add`
 * makes it) and has one of the types of media. */
const struct media_type *media_type_of(const char *key);

/* Of any Content-Type that somebody may have chosen: does no browser run what stands in it, or show it as a document that could hold a
 * script? Such types alone may come without MEDIA_TYPE_SANDBOX from a host that has pages of its own; what is not known is not inert. */
bool media_type_is_inert(const char *type);

/* Reading from pages of any origin (Fetch standard, CORS): without credentials, so that it gives what a token in the address
 * or a public bucket gives anyway. */
#define MEDIA_CORS_EXPOSE "Content-Length, Content-Range, Accept-Ranges, ETag, X-Weir-Sha256"
void media_cors_add(struct http_req *req);
/* Answers OPTIONS: GET and HEAD with Range and conditions may be sent. */
enum http_next media_cors_preflight(struct http_req *req, void *arg);

#endif
