/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot.h -- an endpoint's ready answers: which request is answered by what is open in memory. Those that are signed are S3's
 * (s3_hot.h), the others are the plain interface's.
 */
#ifndef WEIR_STORE_HOT_H
#define WEIR_STORE_HOT_H

#include "lib/httpd.h"

/* For httpd_options.hot; arg is the endpoint. The rights, the name and its condition are looked at as for every GET of
 * "/b/BUCKET/KEY" (object.c), or of S3; NULL for all that is not a 200 or 304 from memory, with *warm when a worker may read it from
 * this node's disk. */
struct http_cached *hot_answer(const struct http_hot_ask *ask, const struct http_route **route, struct http_warm *warm, void *arg);

#endif
