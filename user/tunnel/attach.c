/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.c -- origins at this edge: the listener, each tunnel's connections, which of them a
 * request gets, the attachment in the registry, requests that wait for an origin to come back.
 */
#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/attach.h"

#define WAITING_MAX 1024 /* connections that are not attached: strangers */
#define TICK_MS	    1000
#define EXPECT_MS   5000  /* a lost origin comes back within */
#define REMEMBER_MS 60000 /* what was learned of an origin process that has gone */
#define PEM_MAX	    65536
#define GOAWAY_MS   1000 /* after origins were told that this edge stops */

struct listener {
	struct reactor_io io;
	struct attach *a;
};

/* ---- the tunnels' lists ---- */

struct attached *attached_of(struct attach *a, struct edge_tunnel *t, bool make)
{
	struct attached *to = t->origins;
	const char *name = t->t.name;

	if (to || !make)
		return to;
	to = calloc(1, sizeof(*to));
	if (!to)
		return NULL;
	to->t = t;
	to->rtt = metric_series(a->metric_rtt, name, NULL);
	to->connections = metric_series(a->metric_connections, name, NULL);
	to->processes = metric_series(a->metric_processes, name, NULL);
	to->reconnects = metric_series(a->metric_reconnects, name, NULL);
	to->next = a->tunnels;
	a->tunnels = to;
	t->origins = to;
	return to;
}

static struct origin *origin_of(struct attached *to, const char *id)
{
	struct origin *o;

	for (o = to->origins; o; o = o->next)
		if (!strcmp(o->id, id))
			return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	snprintf(o->id, sizeof(o->id), "%s", id);
	o->pick.weight = 1;
	o->next = to->origins;
	to->origins = o;
	return o;
}

static int make_room(struct attached *to)
{
	size_t room = to->room ? to->room * 2 : 8;
	struct oconn **conns;
	struct pick_conn **picks;

	if (to->n < to->room)
		return 0;
	conns = reallocarray(to->conns, room, sizeof(struct oconn *));
	if (conns)
		to->conns = conns;
	picks = reallocarray(to->picks, room, sizeof(struct pick_conn *));
	if (picks)
		to->picks = picks;
	if (!conns || !picks)
		return -ENOMEM;
	to->room = room;
	return 0;
}

int attached_add(struct attached *to, struct oconn *oc, const char *origin_id)
{
	struct attach *a = oc->a;
	struct origin *o = origin_of(to, origin_id);
	char from[ADDR_PORT_STRLEN];

	if (!o || make_room(to))
		return -ENOMEM;
	if (!o->conns && o->left_ms)
		metric_inc(to->reconnects, 1);
	o->conns++;
	oc->t = to->t;
	oc->origin = o;
	oc->pick.origin = &o->pick;
	to->conns[to->n] = oc;
	to->picks[to->n++] = &oc->pick;
	a->nwaiting--;
	log_info("origin %s at %s is attached to tunnel %s", o->id,
		 addr_port_format(&oc->peer, from, sizeof(from)), oc->tunnel);
	attached_tell(a, to, true);
	attached_wake(a, to, true);
	return 0;
}

void attached_remove(struct attached *to, struct oconn *oc)
{
	struct attach *a = oc->a;
	uint64_t now = reactor_now_ms(a->edge->reactor);
	size_t i = 0;

	while (i < to->n && to->conns[i] != oc)
		i++;
	if (i < to->n) {
		to->n--;
		to->conns[i] = to->conns[to->n];
		to->picks[i] = to->picks[to->n];
	}
	if (to->refused == &oc->pick)
		to->refused = NULL;
	if (oc->state == OCONN_ATTACHED)
		to->left_ms = now; /* lost: it is likely to come back */
	if (!--oc->origin->conns)
		oc->origin->left_ms = now;
	attached_tell(a, to, true);
}

/* What was learned of processes that are gone, and lists that are empty. */
static void attached_forget(struct attach *a, struct attached **at, uint64_t now)
{
	struct attached *to = *at;
	struct origin **op = &to->origins, *o;

	while ((o = *op)) {
		if (o->conns || o->pick.open || (!to->t->gone && now - o->left_ms < REMEMBER_MS)) {
			op = &o->next;
			continue;
		}
		*op = o->next;
		free(o);
	}
	if (to->origins || to->n || to->waiters || to->told.there)
		return;
	*at = to->next;
	to->t->origins = NULL;
	metric_set(to->rtt, 0);
	metric_set(to->connections, 0);
	metric_set(to->processes, 0);
	free(to->conns);
	free(to->picks);
	free(to);
	(void)a;
}

/* ---- the attachment in the registry ---- */

struct count {
	unsigned int connections, origins;
	uint32_t rtt_us;
};

static struct count count(const struct attached *to)
{
	struct count c = { 0 };

	for (const struct origin *o = to->origins; o; o = o->next) {
		bool any = false;

		for (size_t i = 0; i < to->n; i++) {
			const struct oconn *oc = to->conns[i];

			if (oc->origin != o || oc->state != OCONN_ATTACHED)
				continue;
			any = true;
			c.connections++;
			if (oc->pick.rtt_us && (!c.rtt_us || oc->pick.rtt_us < c.rtt_us))
				c.rtt_us = oc->pick.rtt_us;
		}
		c.origins += any;
	}
	return c;
}

static void write_attachment(struct attach *a, struct attached *to)
{
	const struct conf *conf = a->edge->d->conf;
	char key[sizeof(REG_ATTACHMENTS) + TUNNEL_NAME_MAX + CONF_NAME_MAX];
	struct attachment at = { .generation = to->told.generation,
				 .connections = to->told.connections,
				 .origins = to->told.origins,
				 .rtt_us = to->told.rtt_us };
	char *value = NULL;

	snprintf(key, sizeof(key), REG_ATTACHMENTS "%s/%s", to->t->t.name, conf->node);
	if (to->told.there) {
		snprintf(at.tunnel, sizeof(at.tunnel), "%s", to->t->t.name);
		snprintf(at.edge, sizeof(at.edge), "%s", conf->node);
		edge_addresses(conf, &at.address, &at.address6);
		value = attachment_format(&at);
		if (!value)
			return;
	}
	leased_put(a->edge->leased, key, value);
	free(value);
}

void attached_tell(struct attach *a, struct attached *to, bool now)
{
	struct count c = count(to);
	bool there = c.connections && !a->draining && !to->t->gone;
	uint32_t rtt = pick_rtt_step(to->told.rtt_us, c.rtt_us);
	bool changed =
		there != to->told.there || (there && to->told.generation != to->t->t.generation);

	/* numbers alone can wait for the next second */
	if (!now && there)
		changed |= c.connections != to->told.connections || c.origins != to->told.origins ||
			   rtt != to->told.rtt_us;
	if (!changed)
		return;
	to->told.there = there;
	to->told.generation = to->t->t.generation;
	to->told.connections = c.connections;
	to->told.origins = c.origins;
	to->told.rtt_us = there ? rtt : 0;
	write_attachment(a, to);
}

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
	i = pick(to->picks, to->n, tries ? to->refused : NULL);
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

/* ---- waiting for an origin ---- */

void attach_wait_stop(struct attach *a, struct attach_waiter *w)
{
	reactor_timer_stop(a->edge->reactor, &w->timer);
	if (!w->at)
		return;
	*w->at = w->next;
	if (w->next)
		w->next->at = w->at;
	w->at = NULL;
}

/* The timer has no way to its attach: the waiter only leaves its list. */
static void on_wait_over(struct reactor_timer *timer)
{
	struct attach_waiter *w =
		(struct attach_waiter *)((char *)timer - offsetof(struct attach_waiter, timer));

	if (w->at) {
		*w->at = w->next;
		if (w->next)
			w->next->at = w->at;
		w->at = NULL;
	}
	w->fn(w, false);
}

void attach_wait(struct attach *a, struct edge_tunnel *t, unsigned int ms, struct attach_waiter *w)
{
	struct attached *to = attached_of(a, t, true);

	w->t = t;
	w->at = NULL;
	w->next = NULL;
	w->timer = (struct reactor_timer){ .fn = on_wait_over };
	reactor_timer_set(a->edge->reactor, &w->timer, to ? ms : 0);
	if (!to)
		return;
	w->next = to->waiters;
	w->at = &to->waiters;
	if (w->next)
		w->next->at = &w->next;
	to->waiters = w;
}

void attached_wake(struct attach *a, struct attached *to, bool attached)
{
	struct attach_waiter *mine = to->waiters, *w;

	/* those that begin to wait meanwhile are not woken again */
	to->waiters = NULL;
	if (mine)
		mine->at = &mine;
	while ((w = mine)) {
		attach_wait_stop(a, w);
		w->fn(w, attached);
	}
}

bool attach_expected(struct attach *a, struct edge_tunnel *t)
{
	struct attached *to = attached_of(a, t, false);
	uint64_t now = reactor_now_ms(a->edge->reactor);

	if (a->draining || t->gone)
		return false;
	if (now - a->opened_ms < EXPECT_MS)
		return true;
	return to && to->left_ms && now - to->left_ms < EXPECT_MS;
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
	struct oconn *oc, *next;

	for (oc = a->conns; oc; oc = next) {
		next = oc->next;
		if (!strcmp(oc->serial, serial))
			oconn_end(oc, "revoked", "the certificate was revoked");
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

/* ---- each second ---- */

static void learn(struct attached *to)
{
	struct pick_origin *origins[64];
	size_t n = 0;

	for (struct origin *o = to->origins; o && n < 64; o = o->next)
		if (o->conns)
			origins[n++] = &o->pick;
	pick_learn(origins, n, TICK_MS / 1000.0);
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
		struct count c = count(to);

		learn(to);
		to->refused = NULL;
		attached_tell(a, to, false);
		metric_set(to->rtt, c.rtt_us / 1e6);
		metric_set(to->connections, c.connections);
		metric_set(to->processes, c.origins);
		there += c.connections > 0;
		attached_forget(a, at, now);
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
	for (;;) {
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
}

static void on_accept_again(struct reactor_timer *t)
{
	struct attach *a = (struct attach *)((char *)t - offsetof(struct attach, accept_again));

	for (size_t i = 0; i < a->nlisteners; i++)
		on_listener(&a->listeners[i].io, EPOLLIN);
}

/* The chain that is sent ends with the authority's certificate, by whose digest a newcomer with
 * nothing but a token knows the edge. */
static int add_authority(SSL_CTX *ctx, const char *path, char *why, size_t why_len)
{
	FILE *in = fopen(path, "re");
	X509 *cert;
	int n = 0;

	while (in && (cert = PEM_read_X509(in, NULL, NULL, NULL))) {
		n += SSL_CTX_add1_chain_cert(ctx, cert) == 1;
		X509_free(cert);
	}
	if (in)
		fclose(in);
	if (n)
		return 0;
	snprintf(why, why_len, "%s: cannot read a certificate from it", path);
	return -EINVAL;
}

static char *read_pem(const char *path)
{
	FILE *in = fopen(path, "re");
	char *text = in ? calloc(1, PEM_MAX + 1) : NULL;

	if (text && !fread(text, 1, PEM_MAX, in)) {
		free(text);
		text = NULL;
	}
	if (in)
		fclose(in);
	return text;
}

static int make_tls(SSL_CTX **out, char **ca_pem, const struct conf *conf)
{
	static const char *const alpn[] = { CONTROL_ALPN, "http/1.1", NULL };
	struct conn_tls_files files = { .cert = conf->tls.cert,
					.key = conf->tls.key,
					.ca = conf->edge.origins,
					.server = true,
					.tls13_only = true,
					.alpn = alpn };
	SSL_CTX *ctx = NULL;
	char why[512] = "", *pem;
	int rc;

	if (!conf->tls.cert || !conf->tls.key || !conf->tls.ca || !conf->edge.origins) {
		log_error("edge.attach: origins are known by certificates: tls.ca, tls.cert, "
			  "tls.key and edge.origins must be set (weir ca)");
		return -EINVAL;
	}
	rc = conn_tls_new(&ctx, &files, why, sizeof(why));
	if (!rc)
		rc = add_authority(ctx, conf->tls.ca, why, sizeof(why));
	pem = rc ? NULL : read_pem(conf->tls.ca);
	if (!rc && !pem)
		rc = -ENOMEM;
	if (rc) {
		log_error("edge.attach: %s", why);
		SSL_CTX_free(ctx);
		return rc;
	}
	free(*ca_pem);
	*ca_pem = pem;
	*out = ctx;
	return 0;
}

/* ---- status ---- */

json_t *attach_status(struct attach *a, struct edge_tunnel *t)
{
	struct attached *to = attached_of(a, t, false);
	json_t *list = json_array();

	for (const struct origin *o = to ? to->origins : NULL; o; o = o->next) {
		json_t *from = json_array();
		uint32_t rtt = 0;

		for (size_t i = 0; i < to->n; i++) {
			const struct oconn *oc = to->conns[i];
			char text[ADDR_PORT_STRLEN];

			if (oc->origin != o)
				continue;
			if (oc->pick.rtt_us && (!rtt || oc->pick.rtt_us < rtt))
				rtt = oc->pick.rtt_us;
			json_array_append_new(
				from, json_string(addr_port_format(&oc->peer, text, sizeof(text))));
		}
		json_array_append_new(list, json_pack("{s:s,s:i,s:f,s:i,s:f,s:I,s:I,s:f,s:i,s:o}",
						      "origin", o->id, "connections", (int)o->conns,
						      "rtt_ms", rtt / 1000.0, "open",
						      (int)o->pick.open, "weight", o->pick.weight,
						      "requests", (json_int_t)o->requests, "failed",
						      (json_int_t)o->failed, "cpu", o->cpu,
						      "inflight", (int)o->inflight, "from", from));
	}
	return list;
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
		rc = make_tls(&a->tls, &a->ca_pem, edge->d->conf);
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
			if (!o->pick.open) /* a stream that outlives us still has it */
				free(o);
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
	int rc = a->tls ? make_tls(&tls, &a->ca_pem, a->edge->d->conf) : 0;

	if (rc)
		return rc;
	if (tls) {
		SSL_CTX_free(a->tls); /* connections hold theirs */
		a->tls = tls;
	}
	if (a->edge->tunnels)
		edge_tunnels_announce(a->edge->tunnels);
	return 0;
}
