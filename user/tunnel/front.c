// SPDX-License-Identifier: Apache-2.0
/*
 * front.c -- the edge's side towards clients as a whole: what it is made of, draining, reloading,
 * what it says about itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/log.h"
#include "user/tunnel/budget.h"
#include "user/tunnel/front_impl.h"

#define SWEEP_MS   1000
#define TICKETS_MS 3600000u /* a key for session tickets lives an hour */
#define GRACE_MS   300 /* for a request that is on its way on an idle connection while draining */

/* ---- clients --------------------------------------------------------------------------------- */

void client_state(struct client *c, enum client_state state)
{
	struct front *f = c->front;

	f->open[c->state]--;
	f->open[state]++;
	metric_set(f->m.open[c->state], (double)f->open[c->state]);
	metric_set(f->m.open[state], (double)f->open[state]);
	c->state = (uint8_t)state;
}

static void forget_tunnels(struct client *c)
{
	if (c->tunnel)
		c->tunnel->users--;
	if (c->shown)
		c->shown->users--;
	c->tunnel = c->shown = NULL;
}

void client_free(struct client *c)
{
	struct front *f = c->front;

	look_free(c);
	requests_forget(c);
	limits_leave(f->limits, c->address);
	forget_tunnels(c);
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	f->nclients--;
	f->open[c->state]--;
	metric_set(f->m.open[c->state], (double)f->open[c->state]);
	free(c->server_name);
	free(c);
	front_ended(f);
}

void client_abort(struct client *c)
{
	switch (c->state) {
	case CLIENT_SHAKE:
		conn_abort(c->conn);
		break;
	case CLIENT_HTTP1:
		h1_server_abort(c->h1);
		return; /* freed when `closed` is told */
	case CLIENT_HTTP2:
		h2_abort(c->h2, "the site was removed");
		break;
	case CLIENT_BYTES:
		if (!c->running) /* there was no memory for what it should become */
			break;
		exchange_abort(c->running->exchange, END_CANCEL);
		return; /* freed when that has ended */
	default:
		break;
	}
	client_free(c);
}

const char *client_protocol(const struct client *c)
{
	return c->state == CLIENT_HTTP2 ? "h2" : c->state == CLIENT_HTTP1 ? "http/1.1" : NULL;
}

void front_random(struct front *f, void *out, size_t len)
{
	if (f->random_left < len) {
		random_bytes(f->random, sizeof(f->random));
		f->random_left = sizeof(f->random);
	}
	f->random_left -= len;
	memcpy(out, f->random + f->random_left, len);
}

/* ---- drain ----------------------------------------------------------------------------------- */

void client_drain(struct client *c)
{
	if (c->state == CLIENT_HTTP1)
		h1_server_drain(c->h1, GRACE_MS);
	else if (c->state == CLIENT_HTTP2)
		h2_drain(c->h2);
}

void front_drain(struct front *f)
{
	f->draining = true;
	listeners_stop(f);
	for (struct client *c = f->clients, *next; c; c = next) {
		next = c->next;
		client_drain(c);
	}
	looks_drain(f, GRACE_MS);
	front_ended(f);
}

bool front_is_idle(const struct front *f)
{
	return !f->nclients && !f->nrequests;
}

void front_ended(struct front *f)
{
	if (f->draining && front_is_idle(f) && f->edge->idle)
		f->edge->idle(f->edge);
}

void front_tunnel_gone(struct front *f, struct edge_tunnel *t)
{
	for (struct client *c = f->clients, *next; c; c = next) {
		next = c->next;
		if (c->shown == t) {
			c->shown->users--;
			c->shown = NULL;
		}
		if (c->tunnel == t)
			client_abort(c);
	}
	requests_abort(f, t);
	site_drop(f, t);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_sweep(struct reactor_timer *t)
{
	struct front *f = (struct front *)((char *)t - offsetof(struct front, sweep));
	uint64_t now = reactor_now_ms(f->reactor);

	metric_set(f->m.waiting, (double)budget_used());
	limits_sweep(f->limits, front_conf(f)->limits.rate, now);
	if (f->certificates && now - f->tickets_ms >= TICKETS_MS) {
		certificates_new_tickets(f->certificates);
		f->tickets_ms = now;
	}
	reactor_timer_set(f->reactor, t, SWEEP_MS);
}

static int add_listeners(struct front *f, const struct front_fds *fds)
{
	const struct {
		const int *fds;
		size_t n;
		enum listener_kind kind;
	} kinds[] = { { fds->plain, fds->nplain, LISTENER_PLAIN },
		      { fds->tls, fds->ntls, LISTENER_TLS },
		      { fds->tunnel, fds->ntunnel, LISTENER_TUNNEL } };
	size_t n = fds->nplain + fds->ntls + fds->ntunnel;

	f->listeners = calloc(n ? n : 1, sizeof(*f->listeners));
	if (!f->listeners)
		return -ENOMEM;
	for (size_t k = 0; k < 3; k++)
		for (size_t i = 0; i < kinds[k].n; i++)
			f->listeners[f->nlisteners++] = (struct listener){ .front = f,
									   .io.fd = kinds[k].fds[i],
									   .kind = kinds[k].kind };
	return 0;
}

static void set_budget(const struct conf_edge *conf)
{
	budget_limit(conf->limits.memory ? (size_t)conf->limits.memory : budget_default());
}

int front_open(struct front **out, struct edge *edge, const struct front_fds *fds)
{
	const struct conf_edge *conf = &edge->d->conf->edge;
	struct front *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return -ENOMEM;
	f->edge = edge;
	f->reactor = edge->reactor;
	set_budget(conf);
	rc = add_listeners(f, fds);
	if (!rc)
		rc = limits_new(&f->limits);
	if (!rc)
		rc = front_metrics_add(f);
	if (!rc)
		rc = certificates_new(&f->certificates, conf);
	if (!rc)
		rc = access_log_open(&f->log, conf->access_log, conf->access_log_common,
				     edge->d->user.uid, edge->d->user.gid);
	if (!rc && conf->ngateway_hostnames)
		rc = gateway_open(&f->gateway, f);
	if (rc) {
		front_free(f);
		return rc;
	}
	*out = f;
	return 0;
}

int front_start(struct front *f)
{
	int rc = f->gateway ? gateway_start(f->gateway) : 0;

	if (rc)
		return rc;
	access_log_start(f->log, f->reactor);
	f->sweep.fn = on_sweep;
	reactor_timer_set(f->reactor, &f->sweep, SWEEP_MS);
	return listeners_start(f);
}

void front_close(struct front *f)
{
	if (!f)
		return;
	f->draining = true;
	f->edge->idle = NULL;
	listeners_stop(f);
	reactor_timer_stop(f->reactor, &f->sweep);
	requests_abort(f, NULL);
	for (struct client *c = f->clients, *next; c; c = next) {
		next = c->next;
		forget_tunnels(c); /* the registry's copy goes before the clients that end later */
		client_abort(c);
	}
	gateway_close(f->gateway);
	f->gateway = NULL;
}

void front_free(struct front *f)
{
	if (!f)
		return;
	access_log_close(f->log);
	certificates_free(f->certificates);
	limits_free(f->limits);
	sites_free(f);
	free(f->listeners);
	free(f);
}

int front_reload(struct front *f)
{
	const struct conf_edge *conf = front_conf(f);
	struct certificates *new = NULL;
	int rc = certificates_new(&new, conf);

	if (rc)
		return rc;
	certificates_free(f->certificates); /* connections hold theirs */
	f->certificates = new;
	set_budget(conf);
	access_log_reopen(f->log, conf->access_log, conf->access_log_common);
	return 0;
}

json_t *front_log_lines(struct front *f, const char *tunnel, uint64_t after, size_t max)
{
	return access_log_lines(f->log, tunnel, after, max);
}

json_t *front_status(struct front *f)
{
	return json_pack(
		"{s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I}, s:I, s:o}", "waiting_bytes",
		(json_int_t)budget_used(), "served", (json_int_t)f->served, "refused",
		(json_int_t)f->refused, "requests", (json_int_t)f->nrequests, "connections", "new",
		(json_int_t)f->open[CLIENT_LOOK], "handshakes", (json_int_t)f->open[CLIENT_SHAKE],
		"http1", (json_int_t)f->open[CLIENT_HTTP1], "http2",
		(json_int_t)f->open[CLIENT_HTTP2], "bytes", (json_int_t)f->open[CLIENT_BYTES],
		"addresses", (json_int_t)limits_count(f->limits), "certificates",
		certificates_status(f->certificates));
}
