/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.h -- tunnels in this node's packet path: what the registry says of tunnels, attachments and edges
 * becomes one service a tunnel, whose one slot is the edge that answers for it.
 *
 * Nothing is set or taken away before the registry was heard once: until then the maps hold what an
 * earlier process knew. A registry that falls silent later changes nothing, but that an edge whose
 * attach port does not answer any more is left.
 */
#ifndef WEIR_ROUTE_H
#define WEIR_ROUTE_H

#include <jansson.h>
#include <stdint.h>

struct agent;
struct metrics;
struct route;

/* Watches the registry. Without `tunnels:` what an earlier process left is swept, and *out is NULL; all
 * others accept that. 0 or -errno, logged. */
int route_start(struct route **out, struct agent *agent);
void route_stop(struct route *route);
void route_tick(struct route *route); /* once a second */
void route_changed(struct route *route); /* the configuration was loaded anew */
void route_drained(struct route *route); /* a node begins or ends to drain (drain/NODE) */
/* This node's edge handed over its listener (true), or is gone. */
void route_listener(struct route *route, bool there);
/* A tunnel's number in the data plane, or -1; the name behind one, and behind a backend's index (an edge), or NULL.
 * They accept a NULL route. */
int route_tunnel_number(const struct route *route, const char *name);
const char *route_tunnel_name(const struct route *route, int number);
const char *route_end_name(const struct route *route, uint16_t index);
void route_status(struct route *route, json_t *answer);
int route_metrics_new(struct route *route, struct metrics *m);
void route_metrics_update(struct route *route);

#endif
