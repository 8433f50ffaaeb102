/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.c -- origins at this edge: the listener, each tunnel's connections, which of them a
 * request gets, the attachment in the registry, requests that wait for an origin to come back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/attach.h"

#define BATCH	   64 /* connections accepted before others get their turn */
#define TICK_MS	   1000
#define UNKNOWN_MS 20
#define GOAWAY_MS  1000 /* after origins were told that this edge stops */

struct listener {
	struct reactor_io io;
	struct attach *a;
};

/* ---- streams ---- */

static bool prepare_picks(struct attached *to, const char *hostname, uint16_t port, bool *any)
{
	bool usable = false;

	*any = false;
	for (size_t i = 0; i < to->n; i++) {
		struct oconn *oc = to->conns[i];
		bool fits = oc->state == OCONN_ATTACHED && oconn_serves(oc, hostname, port);

		*any |= fits;
		oc->pick.usable = fits && h2_can_open(oc->h2);
		usable |= oc->pick.usable;
	}
	return usable;
}

int attach_stream(struct attach *a, struct edge_tunnel *t, const char *hostname, uint16_t port,
		  unsigned int tries, struct end **back)
{
	struct attached *to = attached_of(a, t, false);
	struct end *inner;
	bool any;
	long i;
	int rc;

	if (!to || t->gone)
		return -ENOENT;
	if (!prepare_picks(to, hostname, port, &any))
		return any ? -EAGAIN : -ENOENT;
	i = pick(to->picks, to->n, tries ? to->refused : NULL,
		 reactor_now_ms(a->edge->reactor) + 1);
	if (i < 0)
		return -EAGAIN;
	rc = h2_open(to->conns[i]->h2, &inner);
	if (rc)
		return rc;
	rc = attach_stream_wrap(to->conns[i], inner, back);
	if (rc)
		inner->ops->abort(inner, END_ERROR);
	return rc;
}

const char *attach_hostname(struct attach *a, const struct edge_tunnel *t, uint16_t port)
{
	const struct attached *to = a ? t->origins : NULL;

	/* one that is new may not be in any origin's certificate yet */
	for (size_t i = 0; to && i < t->t.nhostnames; i++)
		for (size_t k = 0; k < to->n; k++)
			if (to->conns[k]->state == OCONN_ATTACHED &&
			    oconn_serves(to->conns[k], t->t.hostnames[i], port))
				return t->t.hostnames[i];
	return t->t.hostnames[0];
}

/* ---- what tunnels.c tells ---- */

void attach_tunnel_changed(struct attach *a, struct edge_tunnel *t)
{
	struct attached *to = attached_of(a, t, false);

	if (!to)
		return;
	for (size_t i = to->n; i-- > 0;) {
		/* ends that of others perhaps: none is passed over that way round */
		if (i < to->n)
			oconn_check(to->conns[i]);
	}
	attached_tell(a, to, true);
	if (t->gone)
		attached_wake(a, to, false);
}

void attach_serial_revoked(struct attach *a, const char *serial)
{
	struct oconn *oc = a->conns;

	/* from the beginning again: what ends with one may end others */
	while (oc) {
		bool is_its = !strcmp(oc->serial, serial);

		if (is_its)
			oconn_end(oc, "revoked", "the certificate was revoked");
		oc = is_its ? a->conns : oc->next;
	}
}

void attach_peers_changed(struct attach *a)
{
	for (struct oconn *oc = a->conns; oc; oc = oc->next)
		if (oc->state == OCONN_ATTACHED)
			oconn_tell_edges(oc);
}

void attach_refused(struct attach *a, const char *cause)
{
	metric_inc(metric_series(a->metric_refused, cause, NULL), 1);
}

bool attach_same_source(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && !memcmp(a->bytes, b->bytes, a->family == AF_INET ? 4 : 8);
}

/* ---- each second ---- */

static void learn(struct attached *to)
{
	struct pick_origin *origins[ATTACHED_LEARN_MAX];

	pick_learn(origins, attached_origins(to, origins), TICK_MS / 1000.0);
}

static void on_tick(struct reactor_timer *timer)
{
	struct attach *a = (struct attach *)((char *)timer - offsetof(struct attach, tick));
	uint64_t now = reactor_now_ms(a->edge->reactor);
	int64_t date = time(NULL);
	struct oconn *oc, *next;
	double there = 0;

	for (oc = a->conns; oc; oc = next) {
		next = oc->next;
		if (oc->t && date > oc->not_after)
			oconn_check(oc);
		else if (oc->h2)
			oc->pick.rtt_us = h2_rtt_us(oc->h2);
	}
	for (struct attached **at = &a->tunnels, *to; (to = *at);) {
		struct attached_count c = attached_count(to);

		learn(to);
		to->refused = NULL;
		attached_tell(a, to, false);
		metric_set(to->rtt, c.rtt_us / 1e6);
		metric_set(to->connections, c.connections);
		metric_set(to->processes, c.origins);
		there += c.connections > 0;
		attached_forget(at, now);
		if (*at == to)
			at = &to->next;
	}
	metric_set(a->metric_tunnels, there);
	if (a->draining && !a->goaway && (!a->edge->front || front_is_idle(a->edge->front))) {
		a->goaway = true;
		for (oc = a->conns; oc; oc = oc->next)
			if (oc->h2)
				h2_drain(oc->h2);
	}
	reactor_timer_set(a->edge->reactor, timer, a->draining ? GOAWAY_MS : TICK_MS);
}

/* ---- the listener ---- */

static void on_listener(struct reactor_io *io, uint32_t events)
{
	struct attach *a = ((struct listener *)io)->a;

	(void)events;
	/* Nobody can be known before the registry was heard: they wait instead of being refused. */
	if (!a->draining && !edge_tunnels_known(a->edge->tunnels)) {
		reactor_timer_set(a->edge->reactor, &a->accept_again, UNKNOWN_MS);
		return;
	}
	for (int i = 0; i < BATCH; i++) {
		int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0 && (a->draining || a->nwaiting >= WAITING_MAX)) {
			close(fd);
			attach_refused(a, a->draining ? "busy" : "many");
		} else if (fd >= 0) {
			oconn_accept(a, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
			   errno == ENOBUFS) {
			/* told once only: look again soon */
			reactor_timer_set(a->edge->reactor, &a->accept_again, 100);
			return;
		} else if (errno == EAGAIN || (errno != EINTR && errno != ECONNABORTED)) {
			return;
		}
	}
	reactor_timer_set(a->edge->reactor, &a->accept_again, 1);
}

static void on_accept_again(struct reactor_timer *t)
{
	struct attach *a = (struct attach *)((char *)t - offsetof(struct attach, accept_again));

	for (size_t i = 0; i < a->nlisteners; i++)
		on_listener(&a->listeners[i].io, EPOLLIN);
}

/* ---- open and close ---- */

static int add_metrics(struct attach *a)
{
	struct metrics *m = a->edge->d->metrics;
	struct metric *tunnels = metric_add(m, METRIC_GAUGE, "edge_attachments",
					    "Tunnels that have an origin at this edge.", NULL);

	a->metric_connections = metric_add(m, METRIC_GAUGE, "edge_origin_connections",
					   "Connections of origins.", "tunnel");
	a->metric_processes = metric_add(m, METRIC_GAUGE, "edge_origins",
					 "Origin processes that are attached.", "tunnel");
	a->metric_rtt = metric_add(m, METRIC_GAUGE, "edge_origin_rtt_seconds",
				   "Round-trip time to the nearest origin.", "tunnel");
	a->metric_reconnects = metric_add(m, METRIC_COUNTER, "edge_origin_reconnects_total",
					  "Origins that came back.", "tunnel");
	a->metric_refused =
		metric_add(m, METRIC_COUNTER, "edge_origin_refused_total",
			   "Connections of origins that were refused or ended.", "cause");
	if (!tunnels || !a->metric_connections || !a->metric_processes || !a->metric_rtt ||
	    !a->metric_reconnects || !a->metric_refused)
		return -ENOMEM;
	a->metric_tunnels = metric_series(tunnels, NULL);
	return 0;
}

static int add_listeners(struct attach *a, const int *fds, size_t nfds)
{
	a->listeners = calloc(nfds ? nfds : 1, sizeof(*a->listeners));
	if (!a->listeners)
		return -ENOMEM;
	for (size_t i = 0; i < nfds; i++) {
		struct listener *l = &a->listeners[i];
		int rc;

		l->a = a;
		l->io = (struct reactor_io){ .fd = fds[i], .fn = on_listener };
		rc = reactor_add(a->edge->reactor, &l->io);
		if (rc)
			return rc;
		a->nlisteners++;
	}
	return 0;
}

int attach_open(struct attach **out, struct edge *edge, const int *fds, size_t nfds)
{
	struct attach *a = calloc(1, sizeof(*a));
	int rc = a ? 0 : -ENOMEM;

	if (rc)
		return rc;
	a->edge = edge;
	a->tick.fn = on_tick;
	a->accept_again.fn = on_accept_again;
	a->opened_ms = reactor_now_ms(edge->reactor);
	rc = add_metrics(a);
	if (!rc && nfds)
		rc = attach_tls(&a->tls, &a->ca_pem, edge->d->conf);
	if (!rc)
		rc = enroll_open(&a->enroll, edge);
	if (!rc)
		rc = add_listeners(a, fds, nfds);
	if (rc) {
		attach_close(a);
		return rc;
	}
	reactor_timer_set(edge->reactor, &a->tick, TICK_MS);
	*out = a;
	return 0;
}

void attach_close(struct attach *a)
{
	if (!a)
		return;
	a->draining = true;
	for (size_t i = 0; i < a->nlisteners; i++)
		reactor_remove(a->edge->reactor, &a->listeners[i].io);
	while (a->conns)
		oconn_end(a->conns, NULL, "this edge stops");
	reactor_timer_stop(a->edge->reactor, &a->tick);
	reactor_timer_stop(a->edge->reactor, &a->accept_again);
	while (a->tunnels) {
		struct attached *to = a->tunnels;
		struct origin *o, *next;

		attached_wake(a, to, false);
		for (o = to->origins; o; o = next) {
			next = o->next;
			o->orphan = true;
			origin_release(o);
		}
		a->tunnels = to->next;
		to->t->origins = NULL;
		free(to->conns);
		free(to->picks);
		free(to);
	}
	enroll_close(a->enroll);
	SSL_CTX_free(a->tls);
	free(a->ca_pem);
	free(a->listeners);
	free(a);
}

void attach_drain(struct attach *a)
{
	a->draining = true;
	while (daemon_has_successor() && a->nlisteners) /* who comes now waits for it */
		reactor_remove(a->edge->reactor, &a->listeners[--a->nlisteners].io);
	for (struct attached *to = a->tunnels; to; to = to->next)
		attached_tell(a, to, true);
	for (struct oconn *oc = a->conns; oc; oc = oc->next)
		if (oc->t)
			oconn_tell_drain(oc);
	reactor_timer_set(a->edge->reactor, &a->tick, GOAWAY_MS);
}

int attach_reload(struct attach *a)
{
	SSL_CTX *tls = NULL;

	/* The node's key may be root's alone: then its certificate changes with a restart. */
	if (a->tls && attach_tls(&tls, &a->ca_pem, a->edge->d->conf))
		log_warn("edge.attach: the certificate of before stays");
	if (tls) {
		SSL_CTX_free(a->tls); /* connections hold theirs */
		a->tls = tls;
	}
	if (a->edge->tunnels)
		edge_announce(a->edge);
	return 0;
}
