/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_conn.c -- one connection of an origin: TLS by its certificate, the hello on the control
 * stream, what it may serve, and what is said later on.
 *
 * The certificate's common name is the tunnel. What a connection serves is what stands in three
 * places: the certificate (signed by the authority), the tunnel (in the registry), the origin's own
 * hello. It is looked at again whenever one of them changes. What is refused is told as the debug
 * data of a GOAWAY, which the origin logs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/attach.h"

#define PATIENCE_MS 10000 /* for handshake and hello */
#define NAMES_MAX   64	  /* of a certificate */
#define PER_TUNNEL  256	  /* connections */

/* ---- the end ---- */

static void oconn_free(struct oconn *oc)
{
	control_reader_free(&oc->reader);
	free(oc->names);
	free(oc->asked);
	control_writer_free(&oc->out);
	free(oc);
}

void oconn_release(struct oconn *oc)
{
	if (!--oc->holders)
		oconn_free(oc);
}

/* The control stream of a connection that is over: nobody hears it any more. */
static void deaf_head(struct end *e, void *arg, const struct head *h, bool last)
{
	(void)e, (void)arg, (void)h, (void)last;
}

static void deaf_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	(void)e, (void)arg, (void)data, (void)len, (void)last;
}

static void deaf_trailers(struct end *e, void *arg, const struct head *h)
{
	(void)e, (void)arg, (void)h;
}

static void deaf_room(struct end *e, void *arg)
{
	(void)e, (void)arg;
}

static void deaf_gone(struct end *e, void *arg, enum end_why why)
{
	(void)e, (void)arg, (void)why;
}

static const struct end_events deaf = { deaf_head, deaf_data, deaf_trailers, deaf_room, deaf_gone };

/* Out of all lists; the connection itself is closed already or by the caller. */
static void forget(struct oconn *oc)
{
	struct attach *a = oc->a;

	reactor_timer_stop(a->edge->reactor, &oc->patience);
	if (oc->t)
		attached_remove(oc->t->origins, oc);
	else
		a->nwaiting--;
	*oc->at = oc->next;
	if (oc->next)
		oc->next->at = oc->at;
	a->nconns--;
	oc->state = OCONN_OVER;
	if (oc->control)
		end_listen(oc->control, &deaf, NULL);
	oc->control = NULL;
	oc->h2 = NULL;
	oc->c = NULL;
	oconn_release(oc);
}

void oconn_end(struct oconn *oc, const char *cause, const char *why)
{
	char from[ADDR_PORT_STRLEN];
	struct h2 *h2 = oc->h2;
	struct conn *c = oc->c;

	if (cause) {
		log_limited(LOG_LEVEL_WARN, 60, "origin %s of tunnel %s: %s",
			    addr_port_format(&oc->peer, from, sizeof(from)),
			    *oc->tunnel ? oc->tunnel : "?", why);
		attach_refused(oc->a, cause);
	}
	if (oc->state == OCONN_ATTACHED)
		oc->state = OCONN_LEAVING; /* it is not expected back */
	forget(oc);
	if (h2)
		h2_end(h2, why);
	else if (c)
		conn_abort(c);
}

static void on_closed(void *arg, const char *why)
{
	struct oconn *oc = arg;
	char from[ADDR_PORT_STRLEN];

	log_info("origin %s of tunnel %s is gone: %s",
		 addr_port_format(&oc->peer, from, sizeof(from)), oc->tunnel, why ? why : "closed");
	forget(oc);
}

static void on_patience(struct reactor_timer *t)
{
	struct oconn *oc = (struct oconn *)((char *)t - offsetof(struct oconn, patience));

	oconn_end(oc, "timeout", "no hello came in time");
}

/* ---- what it may serve ---- */

static bool listed(char (*list)[TUNNEL_HOSTNAME_MAX], size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i], name) || !strcmp(list[i], "*"))
			return true;
	return false;
}

/* The intersection; bit i: the tunnel's hostname i. */
static uint32_t may_serve(const struct oconn *oc, const struct tunnel *t)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < t->nhostnames; i++)
		if (listed(oc->names, oc->nnames, t->hostnames[i]) &&
		    (!oc->nasked || listed(oc->asked, oc->nasked, t->hostnames[i])))
			bits |= 1u << i;
	return bits;
}

/* Of ports alone, whose bytes need no hostname. */
static bool serves_bytes(const struct oconn *oc, const struct tunnel *t)
{
	for (size_t i = 0; i < oc->nports; i++)
		if (tunnel_port_mode(t, oc->ports[i]) == TUNNEL_TCP)
			return true;
	return false;
}

bool oconn_serves(const struct oconn *oc, const char *hostname, uint16_t port)
{
	const struct tunnel *t = &oc->t->t;
	bool found = !hostname;

	for (size_t i = 0; i < t->nhostnames && !found; i++)
		found = (oc->serves & 1u << i) && !strcmp(t->hostnames[i], hostname);
	if (!found || !port)
		return found;
	for (size_t i = 0; i < oc->nports; i++)
		if (oc->ports[i] == port)
			return true;
	return false;
}

/* Why the certificate is not good for the tunnel now: a sentence and *cause, or NULL. */
static const char *wrong_certificate(const struct oconn *oc, const struct edge_tunnel *t,
				     const char **cause)
{
	if (time(NULL) > oc->not_after) {
		*cause = "expired";
		return "the certificate has expired; enrol again with a new token";
	}
	if (edge_serial_revoked(oc->a->edge->tunnels, oc->serial)) {
		*cause = "revoked";
		return "the certificate was revoked";
	}
	if (!t || t->gone) {
		*cause = "tunnel";
		return "there is no such tunnel";
	}
	/* Revocations are heard by a watch of their own: the new tunnel may be known before. */
	if (oc->born && oc->born != t->t.created) {
		*cause = "tunnel";
		return "the certificate is of an earlier tunnel of this name; enrol with a token "
		       "of this one";
	}
	return NULL;
}

void oconn_check(struct oconn *oc)
{
	const char *cause, *why = wrong_certificate(oc, oc->t, &cause);

	if (!why && oc->t) {
		oc->serves = may_serve(oc, &oc->t->t);
		if (!oc->serves && !serves_bytes(oc, &oc->t->t)) {
			cause = "hostname";
			why = "the tunnel has none of the certificate's hostnames any more";
		}
	}
	if (why)
		oconn_end(oc, cause, why);
}

/* ---- control stream ---- */

/* Sends what waits. */
static void push(struct oconn *oc)
{
	if (oc->out.len && oc->control)
		control_written(&oc->out, oc->control->ops->data(oc->control, oc->out.text,
								 oc->out.len, false));
}

static void say(struct oconn *oc, const struct control *line)
{
	control_write(&oc->out, line);
	push(oc);
}

static void fill_edges(struct oconn *oc, struct control *line)
{
	line->nedges =
		edge_tunnels_peers(oc->a->edge->tunnels, false, line->edges, CONTROL_EDGES_MAX);
}

void oconn_tell_edges(struct oconn *oc)
{
	struct control line = { .kind = CONTROL_EDGES };

	fill_edges(oc, &line);
	say(oc, &line);
}

void oconn_tell_drain(struct oconn *oc)
{
	struct control line = { .kind = CONTROL_DRAIN };

	say(oc, &line);
}

static int keep_hello(struct oconn *oc, const struct control *hello)
{
	if (hello->nhostnames) {
		oc->asked = calloc(hello->nhostnames, sizeof(*oc->asked));
		if (!oc->asked)
			return -ENOMEM;
		memcpy(oc->asked, hello->hostnames, hello->nhostnames * sizeof(*oc->asked));
		oc->nasked = hello->nhostnames;
	}
	memcpy(oc->ports, hello->ports, sizeof(oc->ports));
	oc->nports = hello->nports;
	return 0;
}

static void on_hello(struct oconn *oc, const struct control *hello)
{
	struct edge_tunnel *t = edge_tunnel_of_name(oc->a->edge->tunnels, oc->tunnel);
	struct attached *to;
	const char *cause, *why = wrong_certificate(oc, t, &cause);

	if (why) {
		oconn_end(oc, cause, why);
		return;
	}
	if (keep_hello(oc, hello)) {
		oconn_end(oc, "memory", "this edge has no memory");
		return;
	}
	oc->serves = may_serve(oc, &t->t);
	if (!oc->serves && !serves_bytes(oc, &t->t)) {
		oconn_end(oc, "hostname",
			  "no hostname stands in the certificate, in the tunnel and in this "
			  "origin's configuration");
		return;
	}
	to = attached_of(oc->a, t, true);
	if (!to || to->n >= PER_TUNNEL) {
		oconn_end(oc, "many", "the tunnel has too many connections at this edge");
		return;
	}
	reactor_timer_stop(oc->a->edge->reactor, &oc->patience);
	oc->state = OCONN_ATTACHED;
	if (attached_add(to, oc, hello->origin))
		oconn_end(oc, "memory", "this edge has no memory");
}

/* It takes no new requests; those that run go on. */
static void leave(struct oconn *oc)
{
	oc->state = OCONN_LEAVING;
	attached_tell(oc->a, oc->t->origins, true);
}

static int on_line(void *arg, const char *line, size_t len)
{
	struct oconn *oc = arg;
	struct control said;
	int rc = control_parse(&said, line, len);

	if (rc)
		return rc;
	if (said.kind == CONTROL_ORIGIN_HELLO && oc->state == OCONN_HELLO) {
		on_hello(oc, &said);
	} else if (said.kind == CONTROL_LOAD && oc->origin) {
		oc->origin->cpu = said.cpu;
		oc->origin->inflight = said.inflight;
	} else if (said.kind == CONTROL_DETACH && oc->state == OCONN_ATTACHED) {
		if (said.back)
			attached_expect(oc->a, oc->t->origins);
		leave(oc);
	}
	/* stops the reader: oc may be gone */
	return oc->state == OCONN_OVER ? -ECANCELED : 0;
}

static void on_control_head(struct end *e, void *arg, const struct head *h, bool last)
{
	struct oconn *oc = arg;

	(void)e;
	if (h->status >= 200 && (h->status != 200 || last))
		oconn_end(oc, "protocol", "the control stream was not opened");
}

static void on_control_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	struct oconn *oc = arg;
	int rc;

	oc->holders++; /* its memory stays until this is done */
	rc = control_feed(&oc->reader, data, len, on_line, oc);
	if (oc->state != OCONN_OVER) {
		if (rc)
			oconn_end(oc, "protocol", "what came on the control stream cannot be read");
		else if (last)
			oconn_end(oc, NULL, "the origin ended the control stream");
		else
			e->ops->taken(e, len);
	}
	oconn_release(oc);
}

static void on_control_trailers(struct end *e, void *arg, const struct head *h)
{
	(void)e, (void)h;
	oconn_end(arg, NULL, "the origin ended the control stream");
}

static void on_control_room(struct end *e, void *arg)
{
	(void)e;
	push(arg);
}

static void on_control_gone(struct end *e, void *arg, enum end_why why)
{
	struct oconn *oc = arg;

	(void)e;
	oc->control = NULL;
	/* when the whole connection is lost, `closed` follows and says why */
	if (oc->state == OCONN_ATTACHED && why != END_LOST)
		leave(oc);
}

static const struct end_events control_events = {
	on_control_head, on_control_data, on_control_trailers, on_control_room, on_control_gone,
};

/* Opens the control stream and says hello. */
static int open_control(struct oconn *oc, const struct edge_tunnel *t)
{
	const struct conf *conf = oc->a->edge->d->conf;
	struct control hello = { .kind = CONTROL_EDGE_HELLO, .generation = t->t.generation };
	struct head *h = head_new();
	int rc = h ? h2_open(oc->h2, &oc->control) : -ENOMEM;

	if (!rc) {
		end_listen(oc->control, &control_events, oc);
		rc = head_addf(h, ":method", "POST") || head_addf(h, ":scheme", "https") ||
				     head_addf(h, ":authority", "%s", t->t.name) ||
				     head_addf(h, ":path", CONTROL_PATH)
			     ? -ENOMEM
			     : oc->control->ops->head(oc->control, h, false);
	}
	head_free(h);
	if (rc)
		return rc;
	snprintf(hello.version, sizeof(hello.version), "%s", WEIR_VERSION);
	snprintf(hello.edge, sizeof(hello.edge), "%s", conf->node);
	snprintf(hello.site, sizeof(hello.site), "%s", conf->site);
	snprintf(hello.tunnel, sizeof(hello.tunnel), "%s", t->t.name);
	fill_edges(oc, &hello);
	say(oc, &hello);
	return 0;
}

static void on_goaway(void *arg)
{
	struct oconn *oc = arg;

	if (oc->state == OCONN_ATTACHED)
		leave(oc);
}

/* ---- the beginning ---- */

/* Shaken hands: who is it, may it attach? NULL or why not. */
static const char *admit(struct oconn *oc, struct edge_tunnel **t, const char **cause)
{
	X509 *cert = SSL_get0_peer_certificate(conn_tls(oc->c));
	struct edge *edge = oc->a->edge;

	*cause = "certificate";
	if (!cert)
		return "a client certificate is needed (weir tunnel enroll)";
	if (oconn_read_certificate(oc, cert))
		return "the certificate names no tunnel";
	*cause = "busy";
	if (oc->a->draining)
		return "this edge is about to stop";
	if (!edge->tunnels || edge_is_stale(edge->tunnels))
		return "this edge has not heard the registry yet";
	*t = edge_tunnel_of_name(edge->tunnels, oc->tunnel);
	return wrong_certificate(oc, *t, cause);
}

static void begin_tunnel(struct oconn *oc)
{
	struct h2_options opt = {
		.header_bytes_max = HEAD_BYTES_MAX,
		.frame_max = H2_TUNNEL_FRAME,
		.ping_ms = 1000,
		.dead_ms = 4000,
		.goaway = on_goaway,
		.closed = on_closed,
		.arg = oc,
	};
	struct edge_tunnel *t = NULL;
	const char *cause, *why = admit(oc, &t, &cause);
	struct conn *c = oc->c;

	oc->c = NULL;
	if (h2_new(&oc->h2, c, &opt)) {
		oc->h2 = NULL;
		oc->c = c;
		oconn_end(oc, "memory", "this edge has no memory");
		return;
	}
	oc->state = OCONN_HELLO;
	if (why)
		oconn_end(oc, cause, why);
	else if (open_control(oc, t))
		oconn_end(oc, "memory", "the control stream cannot be opened");
}

static void on_ready(struct conn *c, void *arg)
{
	struct oconn *oc = arg;
	struct edge *edge = oc->a->edge;

	if (!strcmp(conn_alpn(c), CONTROL_ALPN)) {
		begin_tunnel(oc);
		return;
	}
	if (strcmp(conn_alpn(c), "http/1.1")) {
		oconn_end(oc, "protocol", "neither weir-tunnel/1 nor http/1.1 was asked for");
		return;
	}
	forget(oc); /* it is enrolment's now */
	if (enroll_serve(edge, c))
		conn_abort(c);
}

static size_t on_early(struct conn *c, void *arg, const uint8_t *data, size_t len)
{
	(void)c, (void)arg, (void)data, (void)len;
	return 0; /* kept for whom the connection is given to */
}

static void on_nothing(struct conn *c, void *arg)
{
	(void)c, (void)arg;
}

static void on_handshake_failed(struct conn *c, void *arg, int err)
{
	struct oconn *oc = arg;
	char from[ADDR_PORT_STRLEN];

	if (err == -EPROTO) {
		log_limited(LOG_LEVEL_WARN, 60, "attach: %s: %s",
			    addr_port_format(&oc->peer, from, sizeof(from)), conn_error(c));
		attach_refused(oc->a, "tls");
	}
	oc->c = NULL;
	forget(oc);
}

static const struct conn_events handshake_events = {
	on_ready, on_early, on_nothing, on_nothing, on_handshake_failed,
};

static bool too_many_of(const struct attach *a, const struct addr *from)
{
	unsigned int n = 0;

	if (a->nwaiting < WAITING_MAX / 2)
		return false;
	for (const struct oconn *oc = a->conns; oc; oc = oc->next)
		n += !oc->t && attach_same_source(&oc->peer.addr, from);
	return n >= WAITING_MAX / 2;
}

void oconn_accept(struct attach *a, int fd)
{
	struct oconn *oc = calloc(1, sizeof(*oc));

	if (!oc) {
		close(fd);
		return;
	}
	oc->a = a;
	oc->holders = 1;
	oc->patience.fn = on_patience;
	if (conn_accept(&oc->c, a->edge->reactor, fd, a->tls, &handshake_events, oc)) {
		free(oc);
		return;
	}
	oc->peer = *conn_peer(oc->c);
	if (too_many_of(a, &oc->peer.addr)) {
		attach_refused(a, "many");
		conn_abort(oc->c);
		free(oc);
		return;
	}
	oc->at = &a->conns;
	oc->next = a->conns;
	if (oc->next)
		oc->next->at = &oc->next;
	a->conns = oc;
	a->nconns++;
	a->nwaiting++;
	reactor_timer_set(a->edge->reactor, &oc->patience, PATIENCE_MS);
}
