// SPDX-License-Identifier: Apache-2.0
/* route_show.c -- what people see of tunnels: `status` and metrics (see route.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/agent/route_int.h"

#define COUNTS_MAX 1024 /* services a call, dataplane.h */

struct route_metrics {
	struct metric *packets, *bytes, *local, *known, *attached, *edge_up, *listener;
};

static const char *const listen_names[] = {
#define LISTEN_NAME(name, meaning) #name,
	WEIR_LISTEN_COUNTS(LISTEN_NAME)
#undef LISTEN_NAME
};

static void read_counts(struct route *route)
{
	struct route_tunnel *which[COUNTS_MAX];
	struct weir_count count[COUNTS_MAX];
	uint32_t number[COUNTS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < route->n; i++) {
		if (route->tunnels[i]->number >= 0) {
			which[n] = route->tunnels[i];
			number[n++] = (uint32_t)route->tunnels[i]->number;
		}
		if (!n || (n < COUNTS_MAX && i + 1 < route->n))
			continue;
		if (dataplane_service_counts(route->agent->dp, number, n, count) < 0)
			return;
		for (size_t k = 0; k < n; k++)
			which[k]->count = count[k];
		n = 0;
	}
}

/* ---- names -------------------------------------------------------------------------------------
 */

int route_tunnel_number(const struct route *route, const char *name)
{
	for (size_t i = 0; route && i < route->n; i++)
		if (!strcmp(route->tunnels[i]->name, name))
			return route->tunnels[i]->number;
	return -1;
}

const char *route_tunnel_name(const struct route *route, int number)
{
	for (size_t i = 0; route && i < route->n; i++)
		if (route->tunnels[i]->number == number)
			return route->tunnels[i]->name;
	return NULL;
}

const char *route_end_name(const struct route *route, uint16_t index)
{
	for (size_t i = 0; route && i < route->n; i++)
		for (size_t k = 0; k < route->tunnels[i]->nends; k++)
			if (route->tunnels[i]->ends[k].index == index)
				return route->tunnels[i]->ends[k].edge->name;
	return NULL;
}

/* ---- status ------------------------------------------------------------------------------------
 */

static json_t *text_of(const struct addr *a)
{
	char text[ADDR_STRLEN];

	return a->family == AF_UNSPEC ? json_null()
				      : json_string(addr_format(a, text, sizeof(text)));
}

static json_t *tunnel_json(const struct route_tunnel *t)
{
	json_t *ports = json_array(), *attached = json_array();

	for (size_t i = 0; i < t->nports; i++)
		json_array_append_new(ports, json_integer(t->ports[i].port));
	for (size_t i = 0; i < t->nheld; i++)
		if (t->held[i].generation == t->generation)
			json_array_append_new(attached, json_string(t->held[i].edge->name));
	return json_pack("{ss so so so sI so so sb sI sI ss}", "name", t->name, "address",
			 text_of(&t->address[0]), "address6", text_of(&t->address[1]), "ports",
			 ports, "generation", (json_int_t)t->generation, "attached", attached,
			 "owner", t->owner ? json_string(t->owner->name) : json_null(), "local",
			 t->owner && t->owner->local, "packets", (json_int_t)t->count.packets,
			 "bytes", (json_int_t)t->count.bytes, "why",
			 t->fault ? t->fault : route_why_text(t->why));
}

static json_t *edge_json(const struct route_edge *e)
{
	return json_pack("{ss so so sb sb sb ss}", "name", e->name, "address",
			 text_of(&e->address[0]), "address6", text_of(&e->address[1]), "alive",
			 route_edge_alive(e), "local", e->local, "draining", route_edge_draining(e),
			 "check", e->member ? e->check : "its lease ended");
}

static json_t *listener_json(const struct route *route)
{
	uint64_t count[WEIR_LISTEN_COUNT];
	json_t *out = json_pack("{sb}", "there", route->listener);

	if (dataplane_listen_counts(route->agent->dp, count) < 0)
		return out;
	for (int i = 0; i < WEIR_LISTEN_COUNT; i++)
		json_object_set_new(out, listen_names[i], json_integer((json_int_t)count[i]));
	return out;
}

void route_status(struct route *route, json_t *answer)
{
	json_t *tunnels = json_array(), *edges = json_array();

	if (!route) {
		json_decref(tunnels);
		json_decref(edges);
		return;
	}
	read_counts(route);
	for (size_t i = 0; i < route->n; i++)
		if (route->tunnels[i]->known)
			json_array_append_new(tunnels, tunnel_json(route->tunnels[i]));
	for (size_t i = 0; i < route->nedges; i++)
		if (route->edges[i]->member || route->edges[i]->local)
			json_array_append_new(edges, edge_json(route->edges[i]));
	json_object_set_new(answer, "tunnels", tunnels);
	json_object_set_new(answer, "edges", edges);
	json_object_set_new(answer, "listener", listener_json(route));
	json_object_set_new(answer, "revision", json_integer(route->acked));
}

/* ---- metrics -----------------------------------------------------------------------------------
 */

int route_metrics_new(struct route *route, struct metrics *m)
{
	struct route_metrics made = { 0 }, *a = &made;
	const struct {
		struct metric **to;
		enum metric_type type;
		const char *name, *help, *labels;
	} all[] = {
		{ &a->packets, METRIC_COUNTER, "tunnel_packets_total",
		  "Packets for the tunnel's address at this node", "tunnel" },
		{ &a->bytes, METRIC_COUNTER, "tunnel_bytes_total", "Bytes of these packets",
		  "tunnel" },
		{ &a->local, METRIC_GAUGE, "tunnel_local", "1 when this node's edge answers for it",
		  "tunnel" },
		{ &a->attached, METRIC_GAUGE, "tunnel_attached_edges",
		  "Edges that hold an attachment of the present generation", "tunnel" },
		{ &a->known, METRIC_GAUGE, "tunnels", "Tunnels that are routed", NULL },
		{ &a->edge_up, METRIC_GAUGE, "tunnel_edge_up", "1 when the edge lives", "edge" },
		{ &a->listener, METRIC_COUNTER, "tunnel_connections_total",
		  "Look-ups of a listener for tunnels' addresses by what became of them",
		  "result" },
	};

	if (!route)
		return 0;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		*all[i].to = metric_add(m, all[i].type, all[i].name, all[i].help, all[i].labels);
		if (!*all[i].to)
			return -ENOMEM;
	}
	route->metrics = malloc(sizeof(made));
	if (!route->metrics)
		return -ENOMEM;
	*route->metrics = made;
	return 0;
}

static void set(struct metric *metric, const char *label, double value)
{
	metric_set(metric_series(metric, label, NULL), value);
}

void route_metrics_update(struct route *route)
{
	const struct route_metrics *a = route ? route->metrics : NULL;
	uint64_t count[WEIR_LISTEN_COUNT];
	size_t routed = 0;

	if (!a)
		return;
	read_counts(route);
	for (size_t i = 0; i < route->n; i++) {
		const struct route_tunnel *t = route->tunnels[i];

		if (t->number < 0)
			continue;
		routed++;
		set(a->packets, t->name, (double)t->count.packets);
		set(a->bytes, t->name, (double)t->count.bytes);
		set(a->local, t->name, t->owner && t->owner->local);
		set(a->attached, t->name, (double)t->nheld);
	}
	metric_set(metric_series(a->known, NULL), (double)routed);
	for (size_t i = 0; i < route->nedges; i++)
		set(a->edge_up, route->edges[i]->name, route_edge_alive(route->edges[i]));
	if (dataplane_listen_counts(route->agent->dp, count) == 0)
		for (int i = 0; i < WEIR_LISTEN_COUNT; i++)
			set(a->listener, listen_names[i], (double)count[i]);
}
