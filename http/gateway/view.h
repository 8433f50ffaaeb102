/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.h -- what the gateway knows of the installation: members, endpoints with their weights,
 * drains, tunnels. Kept by watches; a registry that is silent leaves it as it was.
 */
#ifndef WEIR_VIEW_H
#define WEIR_VIEW_H

#include <jansson.h>

#include "http/gateway/rank.h"
#include "lib/conf.h"
#include "lib/registry.h"

struct view;

/* Watches the registry until view_close(). services: those whose rates rank the endpoints. */
int view_open(struct view **out, struct registry *reg, const struct conf *conf);
void view_close(struct view *view); /* accepts NULL */
/* New settings after a reload. */
void view_configure(struct view *view, const struct conf *conf);

/* Copies the endpoint for a draw u; 0 or -ENOENT when no endpoint is alive. Thread-safe. */
int view_pick(struct view *view, double u, char url[256], char node[64]);
/* The same for its inside listener ("http(s)://HOST:PORT"), but none of `tried` (ntried of them). */
int view_pick_inside(struct view *view, double u, char (*tried)[64], size_t ntried, char base[256], char node[64]);
/* [{node, site, url, up, weight, why}] ranked; a new reference. */
json_t *view_endpoints(struct view *view);
/* [{node, site, role, inside, tls, url, …}]: every member; a new reference. */
json_t *view_members(struct view *view);
/* [{name, owner, hostnames, address, address6, ports, generation, created, up, published, silent,
 * attachments: [{edge, up, draining, why, connections, origins, rtt_us}]}]: what anybody who may look
 * may see of them; a new reference. */
json_t *view_tunnels(struct view *view);

#endif
