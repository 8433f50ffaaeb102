// SPDX-License-Identifier: Apache-2.0
/*
 * route.c -- tunnels and attachments as the registry tells them, and the service of each in the
 * packet path (see route.h).
 *
 * Watches run on threads of the registry's client; everything they say goes to the main thread,
 * which notes it and marks tunnels; marked ones are written some at a time between other work.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/agent/route_int.h"

#define BATCH 64 /* tunnels a turn of the loop: a few milliseconds */

static void schedule(struct route *route);

/* ---- what is known -----------------------------------------------------------------------------
 */

/* Where the name is in the sorted list, or would be. */
static size_t place_of(const struct route *route, const char *name, bool *found)
{
	size_t low = 0, high = route->n;

	*found = false;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strcmp(route->tunnels[middle]->name, name);

		if (order == 0) {
			*found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Made when it is new; NULL without memory. */
static struct route_tunnel *tunnel_of(struct route *route, const char *name)
{
	struct route_tunnel **tunnels, *t;
	bool found;
	size_t at = place_of(route, name, &found);

	if (found)
		return route->tunnels[at];
	tunnels = realloc(route->tunnels, (route->n + 1) * sizeof(*tunnels));
	if (!tunnels)
		return NULL;
	route->tunnels = tunnels;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->number = -1;
	memmove(tunnels + at + 1, tunnels + at, (route->n - at) * sizeof(*tunnels));
	tunnels[at] = t;
	route->n++;
	return t;
}

static void tunnel_free(struct route_tunnel *t)
{
	free(t->held);
	free(t);
}

static void mark(struct route *route, struct route_tunnel *t)
{
	t->dirty = true;
	schedule(route);
}

void route_dirty_all(struct route *route)
{
	for (size_t i = 0; i < route->n; i++)
		route->tunnels[i]->dirty = true;
	schedule(route);
}

bool route_is_synced(const struct route *route)
{
	for (int i = 0; i < ROUTE_WATCHES; i++)
		if (!route->synced[i])
			return false;
	return true;
}

/* An address outside of this node's prefixes could be any service's. */
static bool is_routable(const struct route *route, const struct addr *a)
{
	const struct conf_tunnels *conf = &route->agent->d->conf->tunnels;

	for (size_t i = 0; i < conf->nprefix; i++)
		if (addr_prefix_contains(&conf->prefix[i], a))
			return true;
	return false;
}

static void hear_tunnel(struct route *route, const char *name, const char *json, int64_t revision)
{
	struct route_tunnel *t = tunnel_name_valid(name) ? tunnel_of(route, name) : NULL;
	struct tunnel *said = json && t ? malloc(sizeof(*said)) : NULL;
	int err = said ? tunnel_parse(said, json) : json ? -ENOMEM : 0;

	if (revision > route->revision)
		route->revision = revision;
	if (!t && !err)
		err = -EINVAL;
	if (err) {
		log_error("tunnel %s: what the registry says is not readable (%s) and was left out",
			  name, strerror(-err));
		free(said);
		return;
	}
	t->revision = revision;
	t->known = json != NULL;
	if (said) {
		struct addr address[2] = { said->address, said->address6 };

		t->reset |= t->nports != said->nports ||
			    memcmp(t->ports, said->ports, sizeof(t->ports)) != 0 ||
			    memcmp(t->address, address, sizeof(address)) != 0;
		memcpy(t->address, address, sizeof(address));
		memcpy(t->ports, said->ports, sizeof(t->ports));
		t->nports = said->nports;
		t->generation = said->generation;
		tunnel_clear(said);
	}
	free(said);
	mark(route, t);
}

static void forget_held(struct route_tunnel *t, const struct route_edge *e)
{
	for (size_t i = 0; i < t->nheld; i++)
		if (t->held[i].edge == e)
			t->held[i--] = t->held[--t->nheld];
}

static void hear_attachment(struct route *route, const char *key, const char *json)
{
	struct attachment a;
	struct route_tunnel *t;
	struct route_held *held;
	struct route_edge *e;
	/* A removed key says nothing: its name alone is read. */
	int err = attachment_parse(&a, key, json ? json : "{\"generation\":1}");

	t = err ? NULL : tunnel_of(route, a.tunnel);
	e = err ? NULL : route_edge_of(route, a.edge);
	if (!t || !e) {
		log_limited(LOG_LEVEL_WARN, 6, "attachment %s is not readable and was left out",
			    key);
		return;
	}
	forget_held(t, e);
	e->leaving = !json || a.draining;
	held = json ? realloc(t->held, (t->nheld + 1) * sizeof(*held)) : NULL;
	if (held) {
		t->held = held;
		held[t->nheld++] = (struct route_held){
			.edge = e,
			.address = { a.address, a.address6 },
			.generation = a.generation,
			.rtt_us = a.rtt_us,
			.draining = a.draining,
		};
	}
	mark(route, t);
}

/* ---- writing -----------------------------------------------------------------------------------
 */

static const struct route_held *held_by(const struct route_tunnel *t, const struct route_edge *e)
{
	for (size_t i = 0; i < t->nheld; i++)
		if (t->held[i].edge == e && t->held[i].generation == t->generation)
			return &t->held[i];
	return NULL;
}

/* Where packets for the edge go: as it is attached, else as a member; the family in which this node
 * has an address, IPv4 first. */
static struct addr end_address(const struct route *route, const struct route_tunnel *t,
			       const struct route_edge *e)
{
	const struct route_held *held = held_by(t, e);
	const struct addr *a = held ? held->address : e->address;
	const struct addr *self = route->told_self;
	bool four = a[0].family && (self[0].family || !self[1].family || !a[1].family);

	return four ? a[0] : a[1];
}

static struct route_end *end_of(struct route_tunnel *t, const struct route_edge *e)
{
	for (size_t i = 0; i < t->nends; i++)
		if (t->ends[i].edge == e)
			return &t->ends[i];
	return NULL;
}

/* Room for one more: what is not in the slot goes first. */
static struct route_end *end_new(struct route_tunnel *t)
{
	if (t->nends < ROUTE_ENDS_MAX)
		return &t->ends[t->nends++];
	for (size_t i = 0; i < t->nends; i++)
		if (t->ends[i].index != t->slot)
			return &t->ends[i];
	return &t->ends[0];
}

/* The edge as a backend of the tunnel, up or down. Returns its index or -errno. */
static int end_set(struct route *route, struct route_tunnel *t, struct route_edge *e, bool up)
{
	struct addr address = end_address(route, t, e);
	struct route_end *end = end_of(t, e);
	int index;

	if (end && end->up == up && addr_equal(&end->address, &address))
		return end->index;
	if (address.family == AF_UNSPEC)
		return -EADDRNOTAVAIL;
	index = dataplane_backend_set(route->agent->dp, t->number, e->name, &address, up);
	if (index < 0)
		return index;
	if (!end)
		end = end_new(t);
	*end = (struct route_end){ e, address, index, up };
	return index;
}

/* After a restart: which edge is it that the maps name? */
static void find_owner(struct route *route, struct route_tunnel *t)
{
	uint16_t slot = 0;

	if (dataplane_slots_get(route->agent->dp, t->number, &slot, 1) < 0 || !slot)
		return;
	t->slot = slot;
	for (size_t i = 0; i < route->nedges && !t->owner; i++) {
		struct route_edge *e = route->edges[i];

		if ((e->member || held_by(t, e)) && end_set(route, t, e, true) == slot)
			t->owner = e;
	}
}

static int set_service(struct route *route, struct route_tunnel *t)
{
	struct addr_port addresses[2 * TUNNEL_PORTS_MAX];
	struct conf_service s = { .slots = 1, .encap = CONF_ENCAP_GUE, .addresses = addresses };
	bool first = t->number < 0;
	int number;

	for (int k = 0; k < 2; k++) {
		if (t->address[k].family == AF_UNSPEC || !is_routable(route, &t->address[k]))
			continue;
		for (size_t i = 0; i < t->nports; i++)
			addresses[s.naddresses++] = (struct addr_port){
				.addr = t->address[k],
				.port = t->ports[i].port,
				.proto = IPPROTO_TCP,
			};
	}
	snprintf(s.name, sizeof(s.name), WEIR_TUNNEL_NAME "%s", t->name);
	number = dataplane_service_set(route->agent->dp, &s);
	if (number < 0)
		return number;
	t->number = number;
	t->reset = false;
	if (first)
		find_owner(route, t);
	return 0;
}

static int choose(const struct route *route, const struct route_tunnel *t, enum route_why *why)
{
	struct route_choice *c = calloc(route->nedges ? route->nedges : 1, sizeof(*c));
	int current = -1, at;

	if (!c)
		return -1;
	for (size_t i = 0; i < route->nedges; i++) {
		const struct route_edge *e = route->edges[i];
		const struct route_held *held = held_by(t, e);

		c[i].edge = e->name;
		c[i].attached = held != NULL;
		c[i].alive = route_edge_alive(e);
		c[i].draining = (held && held->draining) || route_edge_draining(e);
		c[i].local = e->local;
		c[i].rtt_us = held ? held->rtt_us : 0;
		if (e == t->owner)
			current = (int)i;
	}
	at = route_pick(t->name, c, route->nedges, current, why);
	free(c);
	return at;
}

/* Backends that are not the owner: up as long as old connections may be theirs. */
static int set_others(struct route *route, struct route_tunnel *t, const struct route_edge *owner)
{
	for (size_t i = 0; i < t->nends; i++) {
		struct route_end *end = &t->ends[i];
		int rc = end->edge == owner
				 ? 0
				 : end_set(route, t, end->edge, route_edge_serves_old(end->edge));

		if (rc < 0 && rc != -EADDRNOTAVAIL)
			return rc;
	}
	return 0;
}

static int set_owner(struct route *route, struct route_tunnel *t)
{
	int at = choose(route, t, &t->why), index, rc;
	struct route_edge *owner = at >= 0 ? route->edges[at] : NULL;
	uint16_t slot;

	/* The old owner first: whether it is up decides whether its connections stay there. */
	rc = set_others(route, t, owner);
	if (rc < 0)
		return rc;
	if (!owner)
		return 0;
	index = end_set(route, t, owner, true);
	if (index < 0)
		return index;
	if (t->owner == owner && t->slot == index)
		return 0;
	slot = (uint16_t)index;
	rc = dataplane_slots_set(route->agent->dp, t->number, &slot, 1, (uint32_t)t->generation,
				 NULL);
	if (rc < 0)
		return rc;
	log_debug("tunnel %s: %s answers (%s), before %s", t->name, owner->name,
		  route_why_text(t->why), t->owner ? t->owner->name : "none");
	route->moved++;
	t->owner = owner;
	t->slot = slot;
	return 0;
}

static int unset(struct route *route, struct route_tunnel *t)
{
	int rc = t->number < 0 ? 0 : dataplane_service_remove(route->agent->dp, t->number);

	t->number = -1;
	t->nends = 0;
	t->owner = NULL;
	t->slot = 0;
	return rc;
}

/* Why the tunnel cannot be routed here; NULL: it can. */
static const char *fault_of(const struct route *route, const struct route_tunnel *t)
{
	bool some = t->address[0].family || t->address[1].family;

	if (!some)
		return "has no address of its own";
	if (!t->nports)
		return "has no open port";
	if (!(t->address[0].family && is_routable(route, &t->address[0])) &&
	    !(t->address[1].family && is_routable(route, &t->address[1])))
		return "its address is not of tunnels.prefix of this node";
	return NULL;
}

/* Returns 0 when the maps are as the registry says. */
static int apply(struct route *route, struct route_tunnel *t)
{
	int rc = 0;

	t->fault = t->known ? fault_of(route, t) : NULL;
	if (!t->known || t->fault)
		return unset(route, t);
	if (t->number < 0 || t->reset)
		rc = set_service(route, t);
	if (!rc)
		rc = set_owner(route, t);
	if (rc < 0) {
		log_limited(LOG_LEVEL_ERROR, 6, "tunnel %s is not routed as it should be: %s",
			    t->name,
			    rc == -EADDRNOTAVAIL ? "its edge has no address"
						 : dataplane_error(route->agent->dp));
		t->fault = "could not be written into the maps";
	}
	return rc;
}

/* ---- acknowledgement ---------------------------------------------------------------------------
 */

/* Says up to where the maps follow the registry; what could not be written holds it back. */
static void acknowledge(struct route *route, int64_t failed)
{
	int64_t revision = failed && failed <= route->revision ? failed - 1 : route->revision;
	char key[192], value[64];

	if (revision == route->acked)
		return;
	route->acked = revision;
	snprintf(key, sizeof(key), REG_ROUTED "agent/%s", route->agent->d->conf->node);
	snprintf(value, sizeof(value), "{\"revision\":%lld}", (long long)revision);
	exchange_put_leased(route->agent->exchange, key, value);
}

static void first_sweep(struct route *route)
{
	if (dataplane_sweep(route->agent->dp, MAPS_TUNNELS) < 0)
		log_error("tunnels that are gone could not be removed: %s",
			  dataplane_error(route->agent->dp));
	route->swept = true;
	log_info("tunnels: %zu known, %zu edges", route->n, route->nedges);
}

/* Frees what was removed and is written. */
static void drop_gone(struct route *route)
{
	size_t kept = 0;

	for (size_t i = 0; i < route->n; i++) {
		struct route_tunnel *t = route->tunnels[i];

		if (!t->known && !t->dirty && !t->failed && !t->nheld)
			tunnel_free(t);
		else
			route->tunnels[kept++] = t;
	}
	route->n = kept;
}

/* A batch of what is marked; the rest in the loop's next turn. */
static void work(void *arg)
{
	struct route *route = arg;
	int64_t failed = 0;
	size_t done = 0;

	route->pending = false;
	if (!route_is_synced(route))
		return;
	route_edges_tell(route);
	for (size_t i = 0; i < route->n; i++) {
		struct route_tunnel *t = route->tunnels[i];

		if (t->dirty && done++ < BATCH) {
			t->dirty = false;
			t->failed = apply(route, t) < 0;
		}
		if (t->failed && (!failed || t->revision < failed))
			failed = t->revision;
	}
	if (done > BATCH) {
		schedule(route);
		return;
	}
	if (route->moved)
		log_info("tunnels: %zu got another edge", route->moved);
	route->moved = 0;
	drop_gone(route);
	if (!route->swept)
		first_sweep(route);
	acknowledge(route, failed);
}

static void schedule(struct route *route)
{
	if (route->pending || !route_is_synced(route))
		return;
	route->pending = loop_post(route->agent->d->loop, work, route) == 0;
}

/* ---- from the watches --------------------------------------------------------------------------
 */

static const char *const prefixes[ROUTE_WATCHES] = {
	[ROUTE_TUNNELS] = REG_TUNNELS,
	[ROUTE_ATTACHMENTS] = REG_ATTACHMENTS,
	[ROUTE_EDGES] = REG_MEMBERS "edge/",
	[ROUTE_AGENTS] = REG_MEMBERS "agent/",
};

struct heard {
	struct route *route;
	int which;
	enum reg_event event;
	int64_t revision;
	char *key, *value; /* key: after the prefix */
};

static void on_heard(void *arg)
{
	struct heard *h = arg;
	struct route *route = h->route;

	if (h->event == REG_SYNCED) {
		route->synced[h->which] = true;
		schedule(route);
	} else if (h->which == ROUTE_TUNNELS) {
		hear_tunnel(route, h->key, h->value, h->revision);
	} else if (h->which == ROUTE_ATTACHMENTS) {
		hear_attachment(route, h->key, h->value);
	} else if (h->which == ROUTE_EDGES) {
		route_edge_heard(route, h->key, h->value);
	} else {
		route_agent_heard(route, h->key, h->value);
	}
	free(h->key);
	free(h->value);
	free(h);
}

static void on_watch(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	const struct route_watch_arg *w = arg;
	struct heard *h = calloc(1, sizeof(*h));
	bool ok = h != NULL;

	if (ok) {
		h->route = w->route;
		h->which = w->which;
		h->event = event;
	}
	if (ok && event != REG_SYNCED) {
		h->revision = kv->mod_revision;
		h->key = strdup(kv->key + strlen(prefixes[w->which]));
		h->value = event == REG_PUT ? strdup(kv->value) : NULL;
		ok = h->key && (event != REG_PUT || h->value);
	}
	if (ok && loop_post(w->route->agent->d->loop, on_heard, h) == 0)
		return;
	log_error("no memory for what the registry says of tunnels: restart weir-agent");
	if (h) {
		free(h->key);
		free(h->value);
	}
	free(h);
}

/* ---- start and end -----------------------------------------------------------------------------
 */

int route_start(struct route **out, struct agent *agent)
{
	struct route *route;
	int err = 0;

	*out = NULL;
	if (!agent->d->conf->tunnels.enabled || !agent->d->registry)
		return dataplane_sweep(agent->dp, MAPS_TUNNELS);
	route = calloc(1, sizeof(*route));
	if (!route)
		return -ENOMEM;
	route->agent = agent;
	for (int i = 0; i < ROUTE_WATCHES && !err; i++) {
		route->watch_arg[i] = (struct route_watch_arg){ route, i };
		err = registry_watch(agent->d->registry, &route->watch[i], prefixes[i], on_watch,
				     &route->watch_arg[i]);
	}
	if (err) {
		log_error("tunnels cannot be watched: %s", strerror(-err));
		route_stop(route);
		return err;
	}
	*out = route;
	return 0;
}

void route_stop(struct route *route)
{
	if (!route)
		return;
	for (int i = 0; i < ROUTE_WATCHES; i++)
		registry_unwatch(route->watch[i]);
	route_edges_free(route);
	for (size_t i = 0; i < route->n; i++)
		tunnel_free(route->tunnels[i]);
	free(route->tunnels);
	free(route->metrics);
	free(route);
}

void route_tick(struct route *route)
{
	for (size_t i = 0; route && i < route->n; i++)
		if (route->tunnels[i]->failed)
			mark(route, route->tunnels[i]);
}

void route_changed(struct route *route)
{
	if (!route)
		return;
	for (size_t i = 0; i < route->n; i++)
		route->tunnels[i]->reset = true; /* the prefixes may be others */
	route_dirty_all(route);
}

void route_listener(struct route *route, bool there)
{
	if (route)
		route->listener = there;
}

void route_drained(struct route *route)
{
	if (route)
		route_dirty_all(route);
}
