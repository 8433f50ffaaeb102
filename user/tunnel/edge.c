// SPDX-License-Identifier: Apache-2.0
/*
 * edge.c -- `weir-tunnel edge` as a whole: puts the parts together, drains them, takes them apart.
 *
 * Order of the end: nothing is accepted any more, everything is broken off, the reactor tells what
 * ended, and only then is the memory of the parts freed.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/load.h"
#include "lib/log.h"
#include "user/tunnel/attach.h"
#include "user/tunnel/edge.h"
#include "user/tunnel/edge_listen.h"
#include "user/tunnel/edge_program.h"
#include "user/tunnel/handover.h"

#define LOOK_MS	 20
#define LOOKS	 100 /* then clients are served without: about 3 s */
#define YIELD_MS 10
#define YIELDS	 50 /* then the successor starts though the registry has not been told */

/* What edge.h does not show to the parts. */
struct whole {
	struct edge edge; /* first: a program's state is the edge */
	struct edge_sockets sockets;
	struct handover *handover;
	struct reactor_timer late; /* the drain has lasted long enough */
	struct reactor_timer look; /* was the registry heard */
	unsigned int looks;
	struct reactor_timer yield; /* to the successor, when all is withdrawn */
	unsigned int yields;
};

static bool enabled(const struct conf *conf)
{
	return conf->edge.enabled;
}

static int open_front(struct whole *w)
{
	struct front_fds fds = { .plain = w->sockets.plain,
				 .nplain = w->sockets.nplain,
				 .tls = w->sockets.tls,
				 .ntls = w->sockets.ntls,
				 .tunnel = w->sockets.tunnel };

	/* v4 alone, or both */
	while (fds.ntunnel < 2 && w->sockets.tunnel[fds.ntunnel] >= 0)
		fds.ntunnel++;
	return front_open(&w->edge.front, &w->edge, &fds);
}

static int prepare(struct daemon *d)
{
	struct whole *w = calloc(1, sizeof(*w));
	struct edge *e = &w->edge;
	int rc;

	if (!w)
		return -ENOMEM;
	d->state = w;
	e->d = d;
	priv_raise_descriptors();
	rc = reactor_new(&e->reactor, d->loop);
	if (!rc)
		rc = edge_sockets_open(&w->sockets, d->conf);
	if (!rc)
		rc = open_front(w);
	if (!rc && w->sockets.nattach)
		rc = attach_open(&e->attach, e, w->sockets.attach, w->sockets.nattach);
	if (!rc)
		rc = inside_bind(&e->inside, d->conf, &d->conf->edge.inside);
	if (!rc)
		rc = load_new(&e->load);
	return rc;
}

static int start_handover(struct whole *w)
{
	const struct conf *conf = w->edge.d->conf;
	char path[PATH_MAX];

	if (w->sockets.tunnel[0] < 0 && w->sockets.tunnel[1] < 0)
		return 0;
	snprintf(path, sizeof(path), "%s/agent-listener.sock", conf->run);
	return handover_start(&w->handover, w->edge.reactor,
			      conf->edge.agent ? conf->edge.agent : path, w->sockets.tunnel, 2);
}

static int serve(struct whole *w)
{
	int rc = front_start(w->edge.front);

	if (!rc)
		rc = start_handover(w);
	if (rc)
		log_error("cannot serve: %s", strerror(-rc));
	else
		loop_notify_ready("serving clients and origins");
	return rc;
}

/* Until the registry was heard nobody's tunnel is known: clients wait in the backlog instead of
 * being told so, which makes a restart of this edge one that no client sees. */
static void on_look(struct reactor_timer *t)
{
	struct whole *w = (struct whole *)((char *)t - offsetof(struct whole, look));
	struct edge *e = &w->edge;

	if (e->draining)
		return;
	if (!edge_tunnels_known(e->tunnels) && ++w->looks < LOOKS) {
		reactor_timer_set(e->reactor, t, LOOK_MS);
		return;
	}
	if (!edge_tunnels_known(e->tunnels))
		log_warn("the registry is silent: tunnels are served when it was heard");
	if (serve(w))
		loop_quit(e->d->loop, EXIT_FAILURE);
}

static int start(struct daemon *d)
{
	struct whole *w = d->state;
	struct edge *e = &w->edge;
	int rc;

	rc = edge_tunnels_open(&e->tunnels, e);
	if (!rc)
		rc = publish_open(&e->publish, e);
	if (!rc)
		rc = inside_serve(e->inside, d, e->load, NULL, NULL, NULL);
	if (rc) {
		log_error("cannot start: %s", strerror(-rc));
		return rc;
	}
	edge_sockets_store(&w->sockets);
	w->look.fn = on_look;
	reactor_timer_set(e->reactor, &w->look, 0);
	return 0;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void on_idle(struct edge *e)
{
	log_info("nothing runs any more");
	e->idle = NULL;
	loop_quit(e->d->loop, 0);
}

static void on_late(struct reactor_timer *t)
{
	struct whole *w = (struct whole *)((char *)t - offsetof(struct whole, late));

	log_warn("edge.drain is over: what still runs is broken off");
	loop_quit(w->edge.d->loop, 0);
}

/* What only one process can have goes to the successor, which starts when it was told: after the
 * attachments were withdrawn, so that its own are not. */
static void on_yield(struct reactor_timer *t)
{
	struct whole *w = (struct whole *)((char *)t - offsetof(struct whole, yield));
	struct edge *e = &w->edge;

	if (e->leased && !leased_idle(e->leased) && ++w->yields < YIELDS) {
		reactor_timer_set(e->reactor, t, YIELD_MS);
		return;
	}
	leased_stop(e->leased);
	if (e->lease)
		registry_lease_retire(e->lease);
	inside_stop_accepting(e->inside);
	daemon_give_way(e->d);
}

static void drain(struct daemon *d)
{
	struct whole *w = d->state;
	struct edge *e = &w->edge;

	e->draining = true;
	e->idle = on_idle;
	w->late.fn = on_late;
	reactor_timer_set(e->reactor, &w->late, d->conf->edge.drain_us / 1000);
	if (e->attach)
		attach_drain(e->attach);
	front_drain(e->front);
	w->yield.fn = on_yield;
	if (daemon_has_successor())
		reactor_timer_set(e->reactor, &w->yield, 0);
}

static void stop(struct daemon *d)
{
	struct whole *w = d->state;
	struct edge *e;

	if (!w)
		return;
	e = &w->edge;
	inside_stop(e->inside);
	handover_stop(w->handover);
	reactor_timer_stop(e->reactor, &w->late);
	reactor_timer_stop(e->reactor, &w->look);
	reactor_timer_stop(e->reactor, &w->yield);
	front_close(e->front);
	publish_close(e->publish);
	if (e->attach)
		attach_close(e->attach);
	edge_tunnels_close(e->tunnels);
	reactor_free(e->reactor);
	front_free(e->front);
	edge_tunnels_free(e->tunnels);
	registry_lease_end(e->lease, true);
	load_free(e->load);
	edge_sockets_forget(&w->sockets);
	free(w);
	d->state = NULL;
}

/* ---- reload ---------------------------------------------------------------------------------- */

static bool same_addresses(const struct addr_port *a, size_t na, const struct addr_port *b,
			   size_t nb)
{
	return na == nb && (!na || !memcmp(a, b, na * sizeof(*a)));
}

static void warn_fixed(const struct conf_edge *old, const struct conf_edge *new)
{
	if (!same_addresses(old->listen, old->nlisten, new->listen, new->nlisten) ||
	    !same_addresses(old->listen_tls, old->nlisten_tls, new->listen_tls, new->nlisten_tls) ||
	    !same_addresses(old->attach, old->nattach, new->attach, new->nattach) ||
	    !same_addresses(&old->gateway, 1, &new->gateway, 1) || old->mss != new->mss)
		log_warn("edge: listeners, mss or gateway changed: that takes a restart");
}

/* The publisher's thread has a copy. */
static void warn_published(const struct conf_tunnels *old, const struct conf_tunnels *new)
{
	if (strcmp(old->zone ? old->zone : "", new->zone ? new->zone : "") != 0 ||
	    old->ttl_us != new->ttl_us || old->ack_timeout_us != new->ack_timeout_us)
		log_warn("tunnels: zone, ttl or ack_timeout changed: that takes a restart of every "
			 "edge");
}

static int reload(struct daemon *d, const struct conf *old)
{
	struct whole *w = d->state;
	int rc = front_reload(w->edge.front);

	if (!rc && w->edge.attach)
		rc = attach_reload(w->edge.attach);
	if (rc)
		return rc;
	warn_fixed(&old->edge, &d->conf->edge);
	warn_published(&old->tunnels, &d->conf->tunnels);
	return 0;
}

/* ---- status ---------------------------------------------------------------------------------- */

struct listing {
	struct edge *edge;
	json_t *list;
};

static void add_tunnel(void *arg, struct edge_tunnel *t)
{
	struct listing *l = arg;
	struct attach *a = l->edge->attach;
	json_t *origins = a ? attach_status(a, t) : json_array(), *hostnames = json_array();
	char address[ADDR_STRLEN] = "", address6[ADDR_STRLEN] = "";

	for (size_t i = 0; i < t->t.nhostnames; i++)
		json_array_append_new(hostnames, json_string(t->t.hostnames[i]));
	if (t->t.address.family)
		addr_format(&t->t.address, address, sizeof(address));
	if (t->t.address6.family)
		addr_format(&t->t.address6, address6, sizeof(address6));
	json_array_append_new(
		l->list, json_pack("{s:s, s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
				   "name", t->t.name, "hostnames", hostnames, "address", address,
				   "address6", address6, "generation", (json_int_t)t->t.generation,
				   "requests", (json_int_t)t->requests, "open", (json_int_t)t->open,
				   "bytes_up", (json_int_t)t->bytes_up, "bytes_down",
				   (json_int_t)t->bytes_down, "errors", (json_int_t)t->errors,
				   "origins", origins ? origins : json_array()));
}

static json_t *addresses_json(const struct addr_port *list, size_t n)
{
	json_t *out = json_array();
	char text[ADDR_PORT_STRLEN];

	for (size_t i = 0; i < n; i++)
		json_array_append_new(out,
				      json_string(addr_port_format(&list[i], text, sizeof(text))));
	return out;
}

static void status(struct daemon *d, json_t *answer)
{
	const struct conf_edge *conf = &d->conf->edge;
	struct whole *w = d->state;
	struct edge *e = &w->edge;
	struct listing listing = { e, json_array() };

	json_object_set_new(answer, "clients", front_status(e->front));
	json_object_set_new(answer, "listeners",
			    json_pack("{s:o, s:o, s:o, s:b}", "http",
				      addresses_json(conf->listen, conf->nlisten), "https",
				      addresses_json(conf->listen_tls, conf->nlisten_tls), "attach",
				      addresses_json(conf->attach, conf->nattach),
				      "tunnel_addresses", (int)handover_done(w->handover)));
	json_object_set_new(answer, "draining", json_boolean(e->draining));
	json_object_set_new(answer, "stale", json_boolean(e->tunnels && edge_is_stale(e->tunnels)));
	if (e->tunnels)
		edge_tunnels_each(e->tunnels, add_tunnel, &listing);
	json_object_set_new(answer, "tunnels", listing.list);
}

static json_t *command_logs(void *arg, const json_t *request, char *err, size_t err_len)
{
	struct daemon *d = arg;
	struct whole *w = d->state;
	const char *tunnel = json_string_value(json_object_get(request, "tunnel"));
	json_int_t after = json_integer_value(json_object_get(request, "after"));
	json_int_t max = json_integer_value(json_object_get(request, "max"));

	(void)err, (void)err_len;
	return front_log_lines(w->edge.front, tunnel, after > 0 ? (uint64_t)after : 0,
			       max > 0 ? (size_t)max : 100);
}

static const struct ctl_command commands[] = { { "logs", command_logs }, { NULL, NULL } };

const struct daemon_program edge_program = {
	.name = "weir-tunnel edge",
	.role = "edge",
	.summary =
		"the public front: clients' requests go to origins over their tunnels, or to the "
		"gateway",
	.enabled = enabled,
	/* Files: the access log is opened again after a rotation. */
	.profile = PRIV_NET_FILES,
	.prepare = prepare,
	.start = start,
	.stop = stop,
	.drain = drain,
	.reload = reload,
	.status = status,
	.commands = commands,
};
