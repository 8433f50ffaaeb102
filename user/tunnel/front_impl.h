/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front_impl.h -- what the files of the edge's client side share; nobody else includes it.
 *
 *	front.c		     the whole: open, drain, reload, status
 *	front_accept.c	     listeners, the first look at a connection, what it becomes
 *	front_tls.c	     certificates by hostname, client certificates
 *	front_metrics.c	     counters
 *	request.c	     one request, from its head to its line in the log
 *	request_route.c	     which tunnel it is for, and whether it may
 *	gateway_back.c	     requests to the local gateway, and on to an endpoint
 *	gateway_endpoints.c  which endpoints there are
 */
#ifndef WEIR_TUNNEL_FRONT_IMPL_H
#define WEIR_TUNNEL_FRONT_IMPL_H

#include "user/tunnel/access_log.h"
#include "user/tunnel/edge.h"
#include "user/tunnel/exchange.h"
#include "user/tunnel/h1.h"
#include "user/tunnel/h2.h"
#include "user/tunnel/limits.h"
#include "user/tunnel/page.h"
#include "user/tunnel/request_fields.h"

struct certificates;
struct gateway;

enum listener_kind {
	LISTENER_PLAIN,	 /* the edge's own addresses: HTTP */
	LISTENER_TLS,	 /* the edge's own addresses: HTTPS, or TLS that goes through */
	LISTENER_TUNNEL, /* tunnels' addresses, any port that they opened */
};

struct listener {
	struct front *front;
	struct reactor_io io;
	struct reactor_defer more;
	enum listener_kind kind;
};

enum client_state {
	CLIENT_LOOK, /* PROXY header, ClientHello, first bytes of HTTP: still in the kernel's buffer
		      */
	CLIENT_SHAKE, /* TLS handshake */
	CLIENT_HTTP1,
	CLIENT_HTTP2,
	CLIENT_BYTES, /* a port's bytes, or TLS that goes through */
	CLIENT_STATES
};

/* One connection of a client. Ten thousand idle ones are the rule: everything large is on demand.
 */
struct client {
	struct client *next, **at; /* of all */
	struct front *front;
	struct limits_address *address; /* NULL until it is known who it is */
	struct look *look;		/* in CLIENT_LOOK */
	union {
		struct conn *conn; /* CLIENT_SHAKE, CLIENT_BYTES */
		struct h1_server *h1;
		struct h2 *h2;
	};
	struct request *running;    /* its requests; CLIENT_BYTES: what it became */
	struct edge_tunnel *tunnel; /* whose address it dialled, or whose bytes these are; held */
	char *server_name;	    /* SNI; NULL: none, or no TLS */
	struct edge_tunnel *shown;  /* whose client_ca its certificate satisfied; held */
	uint64_t shown_generation;
	struct addr peer, local;
	uint16_t peer_port, local_port;
	uint8_t state, kind; /* enum client_state, enum listener_kind */
	bool tls;
};

/* Counted by tunnel, and what belongs to one on this side. Found by pointer. */
struct site {
	struct site *next;
	struct edge_tunnel *t;		   /* NULL: the gateway, or nobody's */
	struct metric_series *requests[6]; /* by status class; 0: none was sent */
	struct metric_series *up, *down;
	X509_STORE *clients; /* client_ca of this generation; NULL: not made */
	STACK_OF(X509_NAME) * client_names;
	uint64_t generation;
};

#define SITE_CHAINS 1024

struct front_metrics {
	struct metric *requests, *bytes;
	struct metric_series *open[CLIENT_STATES], *accepted, *waiting;
	struct metric_series *shaken, *shake_failed;
	struct metric_series *causes[PAGE_N], *aborted, *malformed;
	struct metric_series *seconds, *first_seconds;
	struct metric *refused;
};

struct front {
	struct edge *edge;
	struct reactor *reactor;
	struct listener *listeners;
	size_t nlisteners;
	struct reactor_timer accept_again; /* no descriptor was left */
	struct reactor_timer sweep;
	struct client *clients;
	size_t nclients, open[CLIENT_STATES];
	struct limits *limits;
	struct certificates *certificates;
	uint64_t tickets_ms; /* when their ticket keys were made */
	struct access_log *log;
	struct gateway *gateway; /* NULL: none */
	struct request *orphans; /* requests that run, of clients that are gone */
	size_t nrequests;	 /* all that run */
	struct site *sites[SITE_CHAINS];
	struct site gateway_site, nobody;
	struct front_metrics m;
	uint8_t random[1024]; /* for ids; used from the end */
	size_t random_left;
	char refused_id[REQUEST_ID_LEN + 1]; /* of the last request that was malformed */
	uint64_t served, refused; /* for status */
	bool draining;
};

static inline const struct conf_edge *front_conf(const struct front *f)
{
	return &f->edge->d->conf->edge;
}

/* ---- front.c ---- */
void client_state(struct client *c, enum client_state state);
/* Takes it off all lists and frees it; what it was made of has ended. */
void client_free(struct client *c);
void client_abort(struct client *c); /* ends what it is made of, and frees it */
void client_drain(struct client *c); /* what runs goes on, then it ends */
void front_random(struct front *f, void *out, size_t len); /* for ids, not for keys */
void front_ended(struct front *f); /* a client or a request ended: perhaps the drain has */
const char *client_protocol(const struct client *c); /* "h2", "http/1.1", … for logs */

/* ---- front_accept.c ---- */
int listeners_start(struct front *f);
void listeners_stop(struct front *f);
void look_free(struct client *c);
void looks_drain(struct front *f, unsigned int ms); /* who says nothing for so long is let go */
/* The port's mode of a tunnel for a connection that came to `kind`; -1: not offered there. */
int tunnel_mode_here(const struct edge_tunnel *t, enum listener_kind kind, uint16_t local_port);

/* ---- front_tls.c ---- */
int certificates_new(struct certificates **out, const struct conf_edge *conf);
void certificates_free(struct certificates *all); /* accepts NULL */
void certificates_new_tickets(struct certificates *all);
/* By exact name, by wildcard, else the first; NULL: there is none. host "" or lower case. */
SSL_CTX *certificates_find(const struct certificates *all, const char *host);
json_t *certificates_status(const struct certificates *all);
/* Asks the client of this connection for a certificate of the tunnel's client_ca. 0 or -errno. */
int client_ask_certificate(struct client *c, SSL *ssl, struct site *site);
/* Does the certificate that this connection showed the client also bear host? */
bool client_serves_name(const struct client *c, const char *host);
SSL *client_ssl(const struct client *c);

/* ---- front_metrics.c ---- */
int front_metrics_add(struct front *f);
struct site *site_of(struct front *f, struct edge_tunnel *t); /* never NULL */
void site_drop(struct front *f, struct edge_tunnel *t);
void sites_free(struct front *f);
void front_refused(struct front *f, const char *reason); /* a connection */

/* ---- request.c ---- */
struct request {
	struct request *next, **at; /* of its client, or orphans */
	struct front *front;
	struct client *client; /* NULL: it is gone */
	struct exchange *exchange;
	struct edge_tunnel *tunnel; /* NULL: the gateway's or nobody's; held */
	struct attach_waiter waiter;
	struct reactor_timer busy;
	uint64_t wait_until_ms;
	int64_t came_us; /* unix */
	enum page_type type;
	uint16_t port; /* of a tunnel's bytes; 0: a request */
	uint8_t cause; /* enum page_cause, PAGE_N: none */
	bool gateway, secure, head_only, waiting, held;
	char id[REQUEST_ID_LEN + 1];
	const char *protocol;
	char *body; /* of the error page */
	struct addr peer;
	char hostname[TUNNEL_HOSTNAME_MAX];
};

void request_begin(void *client, struct end *front, const struct head *h, bool last);
const char *request_refused(void *client, unsigned int status, const char *why); /* its id */
/* The client's connection as bytes for a port of the tunnel. */
int request_bytes(struct client *c, struct edge_tunnel *t, const char *hostname, uint16_t port);
/* Its client is gone. */
void requests_forget(struct client *c);
/* Breaks off those of a tunnel; NULL: all. They are told `ended` after the batch. */
void requests_abort(struct front *f, struct edge_tunnel *t);

/* ---- request_route.c ---- */
struct route {
	struct edge_tunnel *tunnel; /* NULL: the gateway */
	char hostname[TUNNEL_HOSTNAME_MAX];
};
/* Where it goes, or PAGE_N for fine, or why not. */
/* Is it of edge.gateway_hostnames? Then no tunnel has it, whatever the registry says. */
bool front_is_gateway(const struct front *f, const char *hostname);
enum page_cause request_route(struct client *c, const struct head *h, struct route *out);

/* ---- gateway_back.c, gateway_endpoints.c ---- */
int gateway_open(struct gateway **out, struct front *f);
int gateway_start(struct gateway *g);  /* watches the registry: threads */
void gateway_close(struct gateway *g); /* accepts NULL */
/* A back that leads to the gateway; secure: a redirect to an endpoint is followed here, because the
 * client asked by HTTPS and endpoints speak HTTP. 0 or -errno. */
int gateway_stream(struct gateway *g, bool secure, struct end **back);

#endif
