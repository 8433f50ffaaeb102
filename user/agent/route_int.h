/* SPDX-License-Identifier: Apache-2.0 */
/* route_int.h -- what route.c (tunnels), route_edges.c (edges) and route_show.c share. */
#ifndef WEIR_ROUTE_INT_H
#define WEIR_ROUTE_INT_H

#include "lib/tunnels.h"
#include "user/agent/agent.h"
#include "user/agent/route.h"
#include "user/agent/route_pick.h"

#define ROUTE_ENDS_MAX 8 /* edges that a tunnel has, or had, in its slot */

/* An edge of the installation: known by its membership or by an attachment. */
struct route_edge {
	struct route *route;
	char name[CONF_NAME_MAX];
	bool member;		/* its lease is there */
	bool local;		/* this node's */
	bool leaving;		/* it drains: its old connections are still its own */
	struct addr address[2]; /* as a member: IPv4, IPv6 */
	bool agent; /* its node's agent is there, which encapsulates also when the edge is not */
	struct addr agent_address[2];
	struct health *health; /* NULL: nothing to probe */
	struct health_spec spec;
	bool refused; /* the last probe that failed was answered, by a reset */
	char check[96];
};

struct route_held { /* an attachment */
	struct route_edge *edge;
	struct addr address[2];
	uint64_t generation;
	uint32_t rtt_us;
	bool draining;
};

struct route_end { /* a backend in the maps */
	struct route_edge *edge;
	struct addr address;
	int index;
	bool up;
};

struct route_tunnel {
	char name[TUNNEL_NAME_MAX];
	bool known; /* a tunnel of the registry; else only attachments of that name were heard of */
	bool dirty;
	bool failed; /* could not be written: tried again each second */
	bool reset;  /* addresses or ports are to be written */
	struct addr address[2];
	struct tunnel_port ports[TUNNEL_PORTS_MAX];
	size_t nports;
	uint64_t generation;
	int64_t revision; /* of its last change */
	struct route_held *held;
	size_t nheld;
	int number; /* in the data plane, -1: not there */
	struct route_end ends[ROUTE_ENDS_MAX];
	size_t nends;
	struct route_edge *owner; /* NULL: none, or not known */
	uint16_t slot;		  /* index in the maps, 0: none */
	enum route_why why;
	const char *fault; /* why it is not routed; NULL: it is */
	struct weir_count count;
};

enum { ROUTE_TUNNELS, ROUTE_ATTACHMENTS, ROUTE_EDGES, ROUTE_AGENTS, ROUTE_WATCHES };

struct route_metrics;

struct route {
	struct agent *agent;
	struct reg_watch *watch[ROUTE_WATCHES];
	struct route_watch_arg {
		struct route *route;
		int which;
	} watch_arg[ROUTE_WATCHES];
	bool synced[ROUTE_WATCHES];
	bool swept;		       /* what an earlier process left is gone */
	bool pending;		       /* work is posted */
	struct route_tunnel **tunnels; /* by name */
	size_t n;
	struct route_edge **edges;
	size_t nedges;
	struct addr *told; /* sources of decapsulation, as the loader has them */
	size_t ntold;
	struct addr told_self[2];
	bool told_once;
	bool listener;
	int64_t revision, acked; /* highest of tunnels/ heard, and told */
	size_t moved;		 /* since the last word in the log */
	struct route_metrics *metrics;
};

/* ---- route_edges.c ---- */
struct route_edge *route_edge_of(struct route *route,
				 const char *name); /* made when new; NULL: memory */
/* json NULL: gone */
void route_edge_heard(struct route *route, const char *name, const char *json);
void route_agent_heard(struct route *route, const char *name, const char *json);
bool route_edge_alive(const struct route_edge *e);
/* May packets of old connections still go there? */
bool route_edge_serves_old(const struct route_edge *e);
bool route_edge_draining(const struct route_edge *e);
void route_edges_tell(struct route *route); /* sources, to the loader, when they changed */
void route_edges_free(struct route *route);

/* ---- route.c ---- */
void route_dirty_all(struct route *route);
bool route_is_synced(const struct route *route);

#endif
