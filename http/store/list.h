/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.h -- listings of the plain interface: GET /b/BUCKET/?prefix=&delimiter=&after=&limit=&versions=1&after_version=
 *
 *	{"bucket", "objects": [{"key","size","etag","sha256","version","modified"}…], "prefixes": ["a/"…], "next", "next_version"}
 *
 * prefixes: with a delimiter alone, the common prefixes of this page. next is `after` of the next page, null at the end. Of
 * versions=1 every version is told, newest first: with "current", and "marker" for delete markers; "version" is "null" for the null
 * version; next_version is `after_version` of the next page. sha256 is left out where it is not known (objects of parts).
 */
#ifndef WEIR_STORE_LIST_H
#define WEIR_STORE_LIST_H

#include "http/store/endpoint.h"

/* Behind dataset_check(): who may list may not always list versions=1 (s3:ListBucketVersions). False: answered. */
bool list_check(struct endpoint *ep, struct http_req *req, const struct token_scope *who);
/* Answers; on a worker. hides: what a dataset keeps for itself is left out. 0, or the failure of names, not answered. */
int list_reply(struct endpoint *ep, struct http_req *req, bool hides);

#endif
