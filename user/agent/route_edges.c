// SPDX-License-Identifier: Apache-2.0
/*
 * route_edges.c -- the edges of the installation: who they are (members/edge), whether their attach
 * port answers, and from where they encapsulate (see route.h).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/agent/route_int.h"

/* A dead edge is noticed within 0.5 s + 0.4 s + 0.5 s, long before its lease ends (5 s). */
#define PROBE_INTERVAL_US 500000
#define PROBE_TIMEOUT_US  400000
#define PROBE_RISE	  2
#define PROBE_FALL	  2

bool route_edge_alive(const struct route_edge *e)
{
	const struct health_verdict *v = e->health ? health_verdict(e->health) : NULL;

	return e->member && (!v || !v->known || v->up);
}

bool route_edge_serves_old(const struct route_edge *e)
{
	/* An edge that drains may have closed its attach port and still serve what is open. */
	return e->member && (route_edge_alive(e) || (e->leaving && e->refused));
}

bool route_edge_draining(const struct route_edge *e)
{
	return exchange_draining(e->route->agent->exchange, e->name);
}

struct route_edge *route_edge_of(struct route *route, const char *name)
{
	struct route_edge **edges, *e;

	for (size_t i = 0; i < route->nedges; i++)
		if (!strcmp(route->edges[i]->name, name))
			return route->edges[i];
	edges = realloc(route->edges, (route->nedges + 1) * sizeof(*edges));
	if (!edges)
		return NULL;
	route->edges = edges;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->route = route;
	snprintf(e->name, sizeof(e->name), "%s", name);
	e->local = !strcmp(name, route->agent->d->conf->node);
	snprintf(e->check, sizeof(e->check), "not yet");
	edges[route->nedges++] = e;
	return e;
}

/* ---- probes -----------------------------------------------------------------------------------
 */

static int open_socket(void *arg, struct addr_port *target)
{
	const struct route_edge *e = arg;

	return dataplane_socket(e->route->agent->dp, target->addr.family);
}

static void on_probe(void *arg, const struct health_result *result)
{
	struct route_edge *e = arg;

	if (result->ok)
		snprintf(e->check, sizeof(e->check), "ok, %.1f ms", result->took_ms);
	else
		snprintf(e->check, sizeof(e->check), "%s", result->why);
	if (!result->ok)
		e->refused = strstr(result->why, strerror(ECONNREFUSED)) != NULL;
	if (!result->changed)
		return;
	if (health_verdict(e->health)->up)
		log_info("edge %s answers (%s)", e->name, e->check);
	else
		log_warn("edge %s does not answer: %s; its tunnels go to others that hold them",
			 e->name, e->check);
	route_dirty_all(e->route);
}

static void probe_stop(struct route_edge *e)
{
	health_stop(e->health);
	e->health = NULL;
	snprintf(e->check, sizeof(e->check), "not yet");
}

static void probe_start(struct route_edge *e, const struct addr_port *target)
{
	struct health_spec spec;
	int err;

	memset(&spec, 0, sizeof(spec));
	spec.type = CONF_CHECK_TCP;
	spec.target.addr = target->addr;
	spec.target.port = target->port;
	spec.interval_us = PROBE_INTERVAL_US;
	spec.timeout_us = PROBE_TIMEOUT_US;
	spec.rise = PROBE_RISE;
	spec.fall = PROBE_FALL;
	if (e->health && !memcmp(&spec, &e->spec, sizeof(spec)))
		return;
	probe_stop(e);
	e->spec = spec;
	err = health_start(&e->health, loop_event(e->route->agent->d->loop), &spec, open_socket, e,
			   on_probe, e);
	if (err)
		log_error("edge %s cannot be probed: %s", e->name, strerror(-err));
}

/* ---- members ----------------------------------------------------------------------------------
 */

static void take_address(const json_t *o, const char *key, int family, struct addr *out)
{
	const char *text = json_string_value(json_object_get(o, key));
	struct addr a;

	memset(out, 0, sizeof(*out));
	if (text && !addr_parse(&a, text) && a.family == family)
		*out = a;
}

/* The first attach listener that can be dialled; one on every address is dialled at the edge's. */
static bool take_target(const json_t *o, const struct route_edge *e, struct addr_port *out)
{
	static const uint8_t zeros[16];
	const json_t *one;
	size_t i;

	json_array_foreach (json_object_get(o, "attach"), i, one) {
		const char *text = json_string_value(one);
		struct addr_port ap;

		if (!text || addr_port_parse(&ap, text) || ap.path[0] || !ap.port)
			continue;
		if (!memcmp(ap.addr.bytes, zeros, sizeof(zeros)))
			ap.addr = e->address[ap.addr.family == AF_INET6];
		if (ap.addr.family == AF_UNSPEC)
			continue;
		*out = ap;
		return true;
	}
	return false;
}

void route_edge_heard(struct route *route, const char *name, const char *json)
{
	struct route_edge *e = route_edge_of(route, name);
	json_t *o = json && e ? json_loads(json, 0, NULL) : NULL;
	struct addr_port target;

	if (!e || (json && !json_is_object(o))) {
		log_limited(LOG_LEVEL_WARN, 6,
			    "what the registry says of edge %s is not readable and "
			    "was left out",
			    name);
		json_decref(o);
		return;
	}
	if (e->member != (json != NULL))
		log_info("edge %s %s", name, json ? "is there" : "is gone: its lease ended");
	e->member = json != NULL;
	if (json) {
		take_address(o, "address", AF_INET, &e->address[0]);
		take_address(o, "address6", AF_INET6, &e->address[1]);
		if (take_target(o, e, &target))
			probe_start(e, &target);
		else
			probe_stop(e);
	} else {
		e->leaving = false;
		probe_stop(e);
	}
	json_decref(o);
	route_dirty_all(route);
}

/* An agent whose node has tunnels encapsulates for them, whether its edge runs or not. */
void route_agent_heard(struct route *route, const char *name, const char *json)
{
	struct route_edge *e = route_edge_of(route, name);
	json_t *o = json && e ? json_loads(json, 0, NULL) : NULL;

	if (e) {
		e->agent = json_is_true(json_object_get(o, "tunnels"));
		take_address(o, "address", AF_INET, &e->agent_address[0]);
		take_address(o, "address6", AF_INET6, &e->agent_address[1]);
		route_dirty_all(route);
	}
	json_decref(o);
}

/* ---- sources ----------------------------------------------------------------------------------
 */

void agent_edge_addresses(const struct conf_edge *conf, struct addr out[2])
{
	static const uint8_t zeros[16];

	memset(out, 0, 2 * sizeof(*out));
	if (!conf->enabled)
		return;
	out[0] = conf->address;
	out[1] = conf->address6;
	for (size_t i = 0; i < conf->nattach; i++) {
		const struct addr *a = &conf->attach[i].addr;
		struct addr *to = &out[a->family == AF_INET6];

		if (a->family != AF_UNSPEC && to->family == AF_UNSPEC &&
		    memcmp(a->bytes, zeros, sizeof(zeros)) != 0)
			*to = *a;
	}
}

struct sources {
	struct addr *list;
	size_t n;
};

static void add_source(struct sources *s, const struct addr *a)
{
	for (size_t i = 0; i < s->n; i++)
		if (addr_equal(&s->list[i], a))
			return;
	if (a->family != AF_UNSPEC)
		s->list[s->n++] = *a;
}

static void collect(const struct route *route, struct sources *s, struct addr self[2])
{
	agent_edge_addresses(&route->agent->d->conf->edge, self);
	for (size_t i = 0; i < route->nedges; i++) {
		const struct route_edge *e = route->edges[i];

		for (int k = 0; k < 2; k++) {
			if (e->local && e->member)
				self[k] = e->address[k];
			if (!e->local && e->member)
				add_source(s, &e->address[k]);
			if (!e->local && e->agent)
				add_source(s, &e->agent_address[k]);
		}
	}
}

void route_edges_tell(struct route *route)
{
	struct sources s = { calloc(4 * route->nedges + 1, sizeof(*s.list)), 0 };
	struct addr self[2];
	int err;

	if (!s.list)
		return;
	collect(route, &s, self);
	if (route->told_once && s.n == route->ntold &&
	    !memcmp(self, route->told_self, sizeof(self)) &&
	    !memcmp(s.list, route->told, s.n * sizeof(*s.list))) {
		free(s.list);
		return;
	}
	err = dataplane_edges(route->agent->dp, self, s.list, s.n);
	if (err < 0) {
		log_limited(LOG_LEVEL_ERROR, 6, "packets of other edges cannot be let in: %s",
			    dataplane_error(route->agent->dp));
		free(s.list);
		return;
	}
	free(route->told);
	route->told = s.list;
	route->ntold = s.n;
	memcpy(route->told_self, self, sizeof(self));
	route->told_once = true;
}

void route_edges_free(struct route *route)
{
	for (size_t i = 0; i < route->nedges; i++) {
		health_stop(route->edges[i]->health);
		free(route->edges[i]);
	}
	free(route->edges);
	free(route->told);
}
