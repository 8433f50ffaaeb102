// SPDX-License-Identifier: Apache-2.0
/*
 * front_accept.c -- listeners, and what a connection of a client becomes.
 *
 * The first look is by MSG_PEEK: a PROXY header (from conf's balancers alone), a ClientHello's name
 * or the first bytes of HTTP stay in the kernel's buffer until it is known who shall read them. So
 * TLS that goes through to an origin was never touched, and a connection that says nothing costs
 * two hundred bytes.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/budget.h"
#include "user/tunnel/front_impl.h"
#include "user/tunnel/proxy.h"
#include "user/tunnel/raw.h"
#include "user/tunnel/sni.h"

#define BATCH	   64			/* connections accepted before others get their turn */
#define AGAIN_MS   100			/* after the last descriptor was used */
#define PREFACE	   "PRI * HTTP/2.0\r\n" /* RFC 9113 section 3.4 */
#define STREAM_WIN (256u << 10)

struct look {
	struct client *client;
	struct reactor_io io;
	struct reactor_timer timer;
	uint8_t mode; /* enum tunnel_mode: what this port is for */
	bool proxy;   /* a PROXY header is to come */
	bool passed;  /* the fd is another's now */
};

/* ---- modes ----------------------------------------------------------------------------------- */

int tunnel_mode_here(const struct edge_tunnel *t, enum listener_kind kind, uint16_t local_port)
{
	int mode = tunnel_port_mode(&t->t, local_port);

	if (kind == LISTENER_TUNNEL)
		return mode;
	/* The edge's own listeners stand for any port of that kind, the same number first. */
	if (kind == LISTENER_PLAIN ? mode == TUNNEL_HTTP
				   : mode == TUNNEL_HTTPS || mode == TUNNEL_TLS)
		return mode;
	for (size_t i = 0; i < t->t.nports; i++) {
		mode = (int)t->t.ports[i].mode;
		if (kind == LISTENER_PLAIN ? mode == TUNNEL_HTTP
					   : mode == TUNNEL_HTTPS || mode == TUNNEL_TLS)
			return mode;
	}
	return -1;
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

static void on_closed(void *arg)
{
	struct client *c = arg;

	c->h1 = NULL;
	client_free(c);
}

static void on_closed2(void *arg, const char *why)
{
	struct client *c = arg;

	if (why && *why)
		log_debug("a client's HTTP/2 connection ended: %s", why);
	c->h2 = NULL;
	client_free(c);
}

static int serve_http1(struct client *c, struct conn *conn)
{
	const struct conf_edge *conf = front_conf(c->front);
	struct h1_server_options opt = {
		.scheme = c->tls ? "https" : "http",
		.header_bytes_max = conf->limits.header_bytes,
		.head_ms = (unsigned int)(conf->limits.request_us / 1000),
		.idle_ms = (unsigned int)(conf->limits.idle_us / 1000),
		.request = request_begin,
		.refused = request_refused,
		.closed = on_closed,
		.arg = c,
	};
	int rc = h1_server_new(&c->h1, conn, &opt);

	if (!rc)
		client_state(c, CLIENT_HTTP1);
	return rc;
}

static int serve_http2(struct client *c, struct conn *conn)
{
	const struct conf_edge *conf = front_conf(c->front);
	struct h2_options opt = {
		.server = true,
		.scheme = c->tls ? "https" : "http",
		.header_bytes_max = conf->limits.header_bytes,
		.streams_max = conf->limits.streams,
		.stream_window = STREAM_WIN,
		.idle_ms = (unsigned int)(conf->limits.idle_us / 1000),
		.request = request_begin,
		.refused = request_refused,
		.closed = on_closed2,
		.arg = c,
	};
	int rc = h2_new(&c->h2, conn, &opt);

	if (!rc)
		client_state(c, CLIENT_HTTP2);
	return rc;
}

/* conn is the client's; when that fails both are ended. */
static void serve(struct client *c, struct conn *conn, bool h2)
{
	int rc = h2 ? serve_http2(c, conn) : serve_http1(c, conn);

	if (rc) {
		log_limited(LOG_LEVEL_WARN, 6, "a client cannot be served: %s", strerror(-rc));
		conn_abort(conn);
		client_free(c);
		return;
	}
	if (c->front->draining)
		client_drain(c);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static void on_shaken(struct conn *conn, void *arg)
{
	struct client *c = arg;
	struct front *f = c->front;

	metric_inc(f->m.shaken, 1);
	serve(c, conn, !strcmp(conn_alpn(conn), "h2"));
}

static void on_shake_failed(struct conn *conn, void *arg, int err)
{
	struct client *c = arg;

	(void)err;
	metric_inc(c->front->m.shake_failed, 1);
	log_debug("a client's TLS handshake failed: %s", conn_error(conn));
	client_free(c);
}

static const struct conn_events shake_events = { .ready = on_shaken, .closed = on_shake_failed };
static const struct conn_events no_events;

/* The fd belongs to whoever is called next. */
static int take_fd(struct client *c)
{
	int fd = c->look->io.fd;

	c->look->passed = true;
	look_free(c);
	return fd;
}

/* RFC 8446 section 6: nothing of ours fits this name. */
static void refuse_name(struct client *c)
{
	static const uint8_t alert[] = { 21, 3, 3, 0, 2, 2, 112 /* unrecognized_name */ };

	if (send(c->look->io.fd, alert, sizeof(alert), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("a client left before it was refused");
	front_refused(c->front, "name");
	client_free(c);
}

/* TLS ends here. t: whose name it is; NULL: the gateway's, or nobody's. */
static void terminate(struct client *c, struct edge_tunnel *t)
{
	struct front *f = c->front;
	const char *name = c->server_name ? c->server_name
			   : c->tunnel	  ? c->tunnel->t.hostnames[0]
					  : "";
	SSL_CTX *ctx = certificates_find(f->certificates, name);
	struct conn *conn;
	int rc;

	if (!ctx) {
		refuse_name(c);
		return;
	}
	rc = conn_accept(&conn, f->reactor, take_fd(c), ctx, &shake_events, c);
	if (rc) {
		client_free(c);
		return;
	}
	conn_set_handshake_ms(conn, (unsigned int)(front_conf(f)->limits.request_us / 1000));
	c->tls = true;
	c->conn = conn;
	client_state(c, CLIENT_SHAKE);
	if (t && t->t.client_ca && client_ask_certificate(c, conn_tls(conn), site_of(f, t))) {
		conn_abort(conn);
		client_free(c);
	}
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* The connection as it is goes to the origin. */
static void pass(struct client *c, struct edge_tunnel *t, const char *hostname, uint16_t port)
{
	struct front *f = c->front;
	struct conn *conn;
	int rc;

	if (!tunnel_admits(&t->t, &c->peer)) {
		front_refused(f, "forbidden");
		client_free(c);
		return;
	}
	if (!limits_request(c->address, front_conf(f)->limits.rate, reactor_now_ms(f->reactor))) {
		front_refused(f, "rate");
		client_free(c);
		return;
	}
	if (budget_tight()) {
		front_refused(f, "memory");
		client_free(c);
		return;
	}
	if (edge_is_stale(f->edge->tunnels)) {
		front_refused(f, "stale");
		client_free(c);
		return;
	}
	rc = conn_accept(&conn, f->reactor, take_fd(c), NULL, &no_events, NULL);
	if (rc) {
		client_free(c);
		return;
	}
	if (!c->tunnel) {
		c->tunnel = t;
		t->users++;
	}
	c->conn = conn;
	client_state(c, CLIENT_BYTES);
	request_bytes(c, t, hostname, port);
}

/* The tunnel's port of TLS that goes through, for a client of the edge's own listeners. */
static uint16_t tls_port(const struct edge_tunnel *t, uint16_t local_port)
{
	if (tunnel_port_mode(&t->t, local_port) == TUNNEL_TLS)
		return local_port;
	for (size_t i = 0; i < t->t.nports; i++)
		if (t->t.ports[i].mode == TUNNEL_TLS)
			return t->t.ports[i].port;
	return 443;
}

/* A whole ClientHello was seen. */
static void hello(struct client *c, const char *name)
{
	struct edge_tunnel *t = c->tunnel;
	int mode;

	if (*name) {
		c->server_name = strdup(name);
		if (!c->server_name) {
			client_free(c);
			return;
		}
		if (t && (!tunnel_has_hostname(&t->t, name) || front_is_gateway(c->front, name))) {
			refuse_name(c);
			return;
		}
		if (!t && !front_is_gateway(c->front, name))
			t = edge_tunnel_of_hostname(c->front->edge->tunnels, name);
	}
	mode = t ? tunnel_mode_here(t, c->kind, c->local_port) : -1;
	if (mode == TUNNEL_TLS)
		pass(c, t,
		     *name ? name
			   : attach_hostname(c->front->edge->attach, t, tls_port(t, c->local_port)),
		     tls_port(t, c->local_port));
	else
		terminate(c, mode == TUNNEL_HTTPS ? t : NULL);
}

/* ---- the first look -------------------------------------------------------------------------- */

void look_free(struct client *c)
{
	struct look *l = c->look;

	if (!l)
		return;
	reactor_remove(c->front->reactor, &l->io);
	reactor_timer_stop(c->front->reactor, &l->timer);
	if (!l->passed)
		close(l->io.fd);
	free(l);
	c->look = NULL;
}

/* Who it is, is known now. 0, or the client is gone. */
static int identify(struct client *c)
{
	struct front *f = c->front;
	const struct conf_edge *conf = front_conf(f);
	unsigned int max = conf->limits.per_address ? conf->limits.per_address
						    : (conf->limits.connections + 1) / 2;
	int rc = limits_enter(f->limits, &c->peer, max, &c->address);

	if (rc) {
		front_refused(f, "per_address");
		client_free(c);
	}
	return rc;
}

/* Returns the bytes that the header had and were read away, 0: wait, -1: the client is gone. */
static long take_proxy(struct client *c, const uint8_t *data, size_t len)
{
	struct proxy p;
	long n = proxy_parse(&p, data, len);
	uint8_t away[PROXY_HEADER_MAX];

	if (n == 0 && len < PROXY_HEADER_MAX)
		return 0;
	if (n <= 0 || recv(c->look->io.fd, away, (size_t)n, MSG_DONTWAIT) != n) {
		front_refused(c->front, "proxy");
		client_free(c);
		return -1;
	}
	c->look->proxy = false;
	if (!p.local) {
		c->peer = p.client.addr;
		c->peer_port = p.client.port;
		c->local = p.server.addr;
		c->local_port = p.server.port;
	}
	return identify(c) ? -1 : n;
}

static void look_tls(struct client *c, const uint8_t *data, size_t len)
{
	char name[256];
	int rc = sni_parse(name, data, len);

	if (rc > 0) {
		hello(c, name);
	} else if (rc < 0) {
		front_refused(c->front, "hello");
		client_free(c);
	}
}

static void look_http(struct client *c, const uint8_t *data, size_t len)
{
	size_t n = len < strlen(PREFACE) ? len : strlen(PREFACE);
	bool h2 = !memcmp(data, PREFACE, n);
	struct conn *conn;

	if (h2 && n < strlen("PRI "))
		return; /* not known yet */
	if (conn_accept(&conn, c->front->reactor, take_fd(c), NULL, &no_events, NULL)) {
		client_free(c);
		return;
	}
	serve(c, conn, h2);
}

static void on_look(struct reactor_io *io, uint32_t events)
{
	struct look *l = (struct look *)((char *)io - offsetof(struct look, io));
	struct client *c = l->client;
	uint8_t *data = reactor_scratch(c->front->reactor);
	ssize_t n;
	long used = 0;

	(void)events;
	n = recv(io->fd, data, SNI_HELLO_MAX + PROXY_HEADER_MAX, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_free(c);
		return;
	}
	if (l->proxy) {
		used = take_proxy(c, data, (size_t)n);
		if (used <= 0 || used == n)
			return; /* more is told by epoll */
	}
	if (l->mode == TUNNEL_HTTP)
		look_http(c, data + used, (size_t)(n - used));
	else
		look_tls(c, data + used, (size_t)(n - used));
}

static void on_look_late(struct reactor_timer *t)
{
	struct look *l = (struct look *)((char *)t - offsetof(struct look, timer));

	client_free(l->client);
}

void looks_drain(struct front *f, unsigned int ms)
{
	for (struct client *c = f->clients; c; c = c->next)
		if (c->look)
			reactor_timer_set(f->reactor, &c->look->timer, ms);
}

/* ---- accepting ------------------------------------------------------------------------------- */

static bool sends_proxy(const struct front *f, const struct addr *from)
{
	const struct conf_edge *conf = front_conf(f);

	for (size_t i = 0; i < conf->nproxy_from; i++)
		if (addr_prefix_contains(&conf->proxy_from[i], from))
			return true;
	return false;
}

static struct client *client_new(struct front *f, int fd, const struct addr_port *peer)
{
	struct sockaddr_storage ss;
	struct client *c = calloc(1, sizeof(*c));
	struct look *l = calloc(1, sizeof(*l));
	socklen_t len = sizeof(ss);
	struct addr_port local = { 0 };

	if (!c || !l) {
		free(c);
		free(l);
		return NULL;
	}
	if (!getsockname(fd, (struct sockaddr *)&ss, &len))
		addr_from_sockaddr(&local, (struct sockaddr *)&ss);
	*l = (struct look){ .client = c,
			    .io = { .fd = fd, .fn = on_look },
			    .timer = { .fn = on_look_late } };
	*c = (struct client){ .front = f,
			      .look = l,
			      .peer = peer->addr,
			      .peer_port = peer->port,
			      .local = local.addr,
			      .local_port = local.port,
			      .state = CLIENT_LOOK,
			      .next = f->clients,
			      .at = &f->clients };
	if (c->next)
		c->next->at = &c->next;
	f->clients = c;
	f->nclients++;
	f->open[CLIENT_LOOK]++;
	metric_set(f->m.open[CLIENT_LOOK], (double)f->open[CLIENT_LOOK]);
	return c;
}

/* A connection to a tunnel's address: -1 when that port is not open, else its mode. */
static int take_tunnel(struct client *c)
{
	struct edge_tunnel *t = edge_tunnel_of_address(c->front->edge->tunnels, &c->local);

	if (!t || t->gone)
		return -1;
	c->tunnel = t;
	t->users++;
	return tunnel_mode_here(t, LISTENER_TUNNEL, c->local_port);
}

/* The fd is taken. */
static void accepted(struct listener *ls, int fd, const struct addr_port *peer)
{
	struct front *f = ls->front;
	const struct conf_edge *conf = front_conf(f);
	struct client *c = f->nclients < conf->limits.connections ? client_new(f, fd, peer) : NULL;
	uint64_t patience_us = conf->limits.request_us;
	int mode = ls->kind == LISTENER_PLAIN ? TUNNEL_HTTP : TUNNEL_HTTPS;

	metric_inc(f->m.accepted, 1);
	if (!c) {
		front_refused(f, "connections");
		close(fd);
		return;
	}
	c->kind = (uint8_t)ls->kind;
	c->look->proxy = ls->kind != LISTENER_TUNNEL && sends_proxy(f, &c->peer);
	if (!c->look->proxy && identify(c))
		return;
	if (ls->kind == LISTENER_TUNNEL)
		mode = take_tunnel(c);
	if (mode < 0) {
		front_refused(f, "port");
		client_free(c);
		return;
	}
	c->look->mode = (uint8_t)mode;
	if (mode == TUNNEL_TCP) { /* it may be the server who speaks first */
		pass(c, c->tunnel, attach_hostname(f->edge->attach, c->tunnel, c->local_port),
		     c->local_port);
		return;
	}
	if (reactor_add(f->reactor, &c->look->io)) {
		client_free(c);
		return;
	}
	if (mode == TUNNEL_HTTP && !c->look->proxy)
		patience_us = conf->limits.idle_us;
	reactor_timer_set(f->reactor, &c->look->timer, patience_us / 1000);
}

static bool out_of_descriptors(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

static void accept_some(struct listener *ls)
{
	struct front *f = ls->front;

	for (int i = 0; i < BATCH; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		struct addr_port peer = { 0 };
		int fd = accept4(ls->io.fd, (struct sockaddr *)&ss, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			addr_from_sockaddr(&peer, (struct sockaddr *)&ss);
			accepted(ls, fd, &peer);
		} else if (errno == EAGAIN) {
			return;
		} else if (out_of_descriptors(errno)) {
			log_limited(LOG_LEVEL_WARN, 2, "cannot accept: %s; raise LimitNOFILE",
				    strerror(errno));
			front_refused(f, "descriptors");
			reactor_timer_set(f->reactor, &f->accept_again, AGAIN_MS);
			return;
		}
	}
	reactor_defer(f->reactor, &ls->more);
}

static void on_listen(struct reactor_io *io, uint32_t events)
{
	(void)events;
	accept_some((struct listener *)((char *)io - offsetof(struct listener, io)));
}

static void on_more(struct reactor_defer *d)
{
	accept_some((struct listener *)((char *)d - offsetof(struct listener, more)));
}

static void on_accept_again(struct reactor_timer *t)
{
	struct front *f = (struct front *)((char *)t - offsetof(struct front, accept_again));

	for (size_t i = 0; i < f->nlisteners; i++)
		if (f->listeners[i].io.fd >= 0)
			accept_some(&f->listeners[i]);
}

int listeners_start(struct front *f)
{
	int rc = 0;

	f->accept_again.fn = on_accept_again;
	for (size_t i = 0; i < f->nlisteners && !rc; i++) {
		struct listener *ls = &f->listeners[i];

		ls->io.fn = on_listen;
		ls->more.fn = on_more;
		rc = reactor_add(f->reactor, &ls->io);
	}
	return rc;
}

/* Their sockets stay with whoever keeps them for the next process; our copies are closed. */
void listeners_stop(struct front *f)
{
	reactor_timer_stop(f->reactor, &f->accept_again);
	for (size_t i = 0; i < f->nlisteners; i++) {
		struct listener *ls = &f->listeners[i];

		if (ls->io.fd < 0)
			continue;
		reactor_defer_cancel(f->reactor, &ls->more);
		if (ls->io.fn)
			reactor_remove(f->reactor, &ls->io);
		close(ls->io.fd);
		ls->io.fd = -1;
	}
}
