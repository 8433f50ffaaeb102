/* SPDX-License-Identifier: Apache-2.0 */
/* gateway_back.h -- what gateway_back.c and gateway_endpoints.c share; nobody else includes it. */
#ifndef WEIR_TUNNEL_GATEWAY_BACK_H
#define WEIR_TUNNEL_GATEWAY_BACK_H

#include "user/tunnel/front_impl.h"

struct endpoints;

struct gateway {
	struct front *front;
	struct h1_pool *pool;
	struct endpoints *endpoints;
};

int endpoints_open(struct endpoints **out, struct edge *edge); /* watches: a thread */
void endpoints_close(struct endpoints *all);		       /* accepts NULL */
/* The endpoint to which a Location leads, with the path behind its URL in *path. NULL: it is no
 * endpoint of the installation, or one that speaks HTTPS itself. */
struct h1_pool *endpoints_find(struct endpoints *all, const char *location, const char **path,
			       const char **authority);

#endif
