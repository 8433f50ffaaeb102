/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_choose.h -- which requests of an endpoint are S3's: on its public listener, and those that gateways carry to the inside one.
 *
 * A gateway sends the client's request to "/i/s3" + the client's raw target, with the headers that S3 knows, and says
 *
 *	X-Weir-S3-Host	   the Host that the client used: it is signed
 *	X-Weir-S3-Client   the client's address, without a port, for policies and the audit log
 *	X-Weir-S3-Proto	   "https" or "http", as the client came
 *
 * The signature is checked again here, so nothing is taken on trust but these three.
 */
#ifndef WEIR_STORE_S3_CHOOSE_H
#define WEIR_STORE_S3_CHOOSE_H

#include "http/store/endpoint.h"

/* For httpd_options.choose; arg is the endpoint. */
const struct http_route *s3_choose(struct http_req *req, void *arg);
const struct http_route *s3_choose_inside(struct http_req *req, void *arg);
/* For httpd_options.refuse: in S3's words. */
bool s3_refuse(struct http_req *req, void *arg, unsigned int status, const char *code, const char *sentence);
bool s3_refuse_inside(struct http_req *req, void *arg, unsigned int status, const char *code, const char *sentence);
extern const struct http_route s3_route, s3_inside_route; /* rows of the two tables */

#endif
