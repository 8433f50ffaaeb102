/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.h -- the public routes of an endpoint: PUT, GET, HEAD, DELETE of objects, listing, by
 * hash.
 */
#ifndef WEIR_STORE_OBJECT_H
#define WEIR_STORE_OBJECT_H

#include "http/store/endpoint.h"

/* The public routes, that of S3 first, ended by a NULL path; the handlers' arg is the struct endpoint. Valid as long
 * as the program runs. */
const struct http_route *object_routes(const struct endpoint *ep);
const struct http_route *object_route_s3(void); /* of S3 */
const struct http_route *object_route_get(void); /* the row of an object's GET */

#endif
