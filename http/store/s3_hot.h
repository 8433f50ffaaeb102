/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_hot.h -- signed GETs and HEADs of small objects, answered in front of the common way (hot.h).
 *
 * They are asked and told by the functions of the common way: a signature is read and checked for each of them, and what
 * is not certainly a 200 is not answered here, be it a refusal, a condition or a bucket with a policy.
 */
#ifndef WEIR_STORE_S3_HOT_H
#define WEIR_STORE_S3_HOT_H

#include "http/store/endpoint.h"
#include "lib/httpd.h"

/* Of a request whose Authorization is SIGV4_HEADER; as hot_answer(), a 200 or NULL. */
struct http_cached *s3_hot_answer(struct endpoint *ep, const struct http_hot_ask *ask, struct http_warm *warm);

/* What such a request has in place of a struct http_req, for s3_header() and s3_add_header() alone. */
struct s3_hot;
const char *s3_hot_header(const struct s3_hot *hot, const char *name);
int s3_hot_add(struct s3_hot *hot, const char *name, const char *value);

#endif
