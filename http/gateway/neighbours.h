/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neighbours.h -- other machines as the peers service asks for them.
 */
#ifndef WEIR_NEIGHBOURS_H
#define WEIR_NEIGHBOURS_H

#include "http/gateway/view.h"

struct neighbours; /* remembers endpoints: one that died is in no list any more */
int neighbours_new(struct neighbours **out);
void neighbours_free(struct neighbours *n); /* accepts NULL */
/* Endpoints that serve, and how many there were: drained ones do not count, nor those that were away for 10 minutes while
 * others served. */
void neighbours_endpoints(struct neighbours *n, struct view *view, unsigned int *alive, unsigned int *known);
/* [{node, inside: "http(s)://HOST:PORT" or null, public: ["http://HOST:PORT"]}]: gateways that live; a new reference. */
json_t *neighbours_gateways(struct view *view);
/* What a gateway adds to its member record: {"public": [URL]}, where a browser can be sent to; malloc'ed. */
char *neighbours_announcement(const struct conf *conf);

#endif
