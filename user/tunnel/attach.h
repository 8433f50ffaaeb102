/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.h -- what the files of the edge's tunnel side share; nobody else includes it.
 *
 *	leased.c	 keys on the edge's lease, written in order off the main thread
 *	tunnels.c	 watches, tables, acknowledgement
 *	announce.c	 this edge's own entry in the registry
 *	attach.c	 the listener, which connection a request gets, each second, drain
 *	attach_list.c	 the tunnels' origins, the attachment in the registry, waiters
 *	attach_tls.c	 the listener's certificates
 *	attach_cert.c	 what stands in an origin's certificate
 *	attach_conn.c	 one connection of an origin: may it, its hello, its control stream
 *	attach_stream.c	 a request on its way to an origin
 *	enroll.c	 an origin that has a token and no certificate yet
 */
#ifndef WEIR_TUNNEL_ATTACH_H
#define WEIR_TUNNEL_ATTACH_H

#include "user/tunnel/attach_pick.h"
#include "user/tunnel/cert.h"
#include "user/tunnel/control.h"
#include "user/tunnel/edge.h"
#include "user/tunnel/h2.h"

#define EDGE_LEASE_S 5

struct enroll;

/* ---- leased.c ---- */
int leased_open(struct leased **out, struct edge *edge);
bool leased_idle(const struct leased *l); /* all is written */
void leased_stop(struct leased *l);  /* begins nothing any more; accepts NULL */
void leased_close(struct leased *l); /* after reactor_free(); accepts NULL */
/* The key's value from now on; NULL: withdrawn. Written soon, again and again until it is; of
 * several values only the last one counts. */
void leased_put(struct leased *l, const char *key, const char *value);
void leased_announce(struct leased *l, const char *extra); /* members/edge/NODE */

/* ---- tunnels.c ---- */
bool edge_tunnels_known(const struct edge_tunnels *all); /* heard once, tunnels and revocations */
/* HOST:PORT of the attach listeners of all edges (own: this one too). Returns the count. */
size_t edge_tunnels_peers(const struct edge_tunnels *all, bool own,
			  char (*out)[sizeof(((struct control *)0)->edges[0])], size_t max);

/* ---- announce.c ---- */
void edge_announce(struct edge *edge); /* again after a reload */
/* This edge's own addresses for encapsulation (AF_UNSPEC: none). */
void edge_addresses(const struct conf *conf, struct addr *v4, struct addr *v6);

struct origin { /* a process of an origin, known for a while after its last connection */
	struct origin *next;
	char id[33];
	struct pick_origin pick;
	unsigned int conns;
	uint64_t left_ms;
	double cpu;
	unsigned int inflight; /* as it said last */
	uint64_t requests, failed;
	bool orphan; /* in no list: freed with its last stream */
};

/* edge_tunnel.origins: what is attached here. */
struct attached {
	struct attached *next;
	struct edge_tunnel *t;
	struct oconn **conns;
	struct pick_conn **picks; /* of the same ones, in the same order */
	size_t n, room;
	struct origin *origins;
	struct attach_waiter *waiters;
	const struct pick_conn *refused; /* whose stream was refused last: not the next one */
	/* When the last one was lost, but not by its own wish; 0: never. When one said last that it
	 * will be back; 0: none, or it is. */
	uint64_t left_ms, back_ms;
	struct {
		bool there;
		uint64_t generation;
		unsigned int connections, origins;
		uint32_t rtt_us;
	} told; /* the attachment in the registry */
	struct metric_series *rtt, *connections, *processes, *reconnects;
};

enum oconn_state { OCONN_HANDSHAKE, OCONN_HELLO, OCONN_ATTACHED, OCONN_LEAVING, OCONN_OVER };

/* One connection of an origin. */
struct oconn {
	struct oconn *next, **at; /* of all */
	struct attach *a;
	enum oconn_state state;
	unsigned int holders; /* the connection itself, and each of its streams */
	struct addr_port peer;
	struct conn *c; /* until h2 has it */
	struct h2 *h2;
	struct reactor_timer patience; /* for handshake and hello */
	/* the certificate */
	char tunnel[TUNNEL_NAME_MAX];
	char serial[CERT_SERIAL_MAX];
	int64_t not_after; /* unix seconds */
	int64_t born;	   /* when the tunnel was made for which it was signed; 0: not said */
	char (*names)[TUNNEL_HOSTNAME_MAX];
	size_t nnames;
	/* the hello */
	char (*asked)[TUNNEL_HOSTNAME_MAX]; /* NULL: all that it may */
	size_t nasked;
	uint16_t ports[TUNNEL_PORTS_MAX];
	size_t nports;
	/* attached */
	struct edge_tunnel *t;
	struct origin *origin;
	struct pick_conn pick;
	uint32_t serves; /* bit i: t->t.hostnames[i] */
	/* control stream */
	struct end *control;
	struct control_reader reader;
	struct control_writer out;
};

struct attach {
	struct edge *edge;
	SSL_CTX *tls;
	char *ca_pem; /* of the nodes' authority: newcomers get it */
	struct enroll *enroll;
	struct listener *listeners;
	size_t nlisteners;
	struct reactor_timer accept_again;
	struct reactor_timer tick;
	struct oconn *conns;
	unsigned int nconns, nwaiting; /* waiting: not attached yet */
	struct attached *tunnels;
	uint64_t opened_ms;
	bool draining, goaway;
	struct metric *metric_rtt, *metric_connections, *metric_processes, *metric_reconnects;
	struct metric *metric_refused;
	struct metric_series *metric_tunnels;
};

/* ---- attach_tls.c ---- */
/* The context, and the nodes' authority as text (replaced); logs what is wrong. */
int attach_tls(SSL_CTX **out, char **ca_pem, const struct conf *conf);

/* ---- attach_list.c ---- */
struct attached_count { /* what can take requests */
	unsigned int connections, origins;
	uint32_t rtt_us; /* the shortest */
};
/* The origins that are connected, at most so many. */
#define ATTACHED_LEARN_MAX 64
size_t attached_origins(const struct attached *to, struct pick_origin *out[ATTACHED_LEARN_MAX]);
struct attached_count attached_count(const struct attached *to);
void origin_release(struct origin *o); /* frees an orphan without streams */
struct attached *attached_of(struct attach *a, struct edge_tunnel *t, bool make);
int attached_add(struct attached *to, struct oconn *oc, const char *origin_id);
void attached_remove(struct attached *to, struct oconn *oc);
/* An origin is being restarted: requests and the attachment wait for it. */
void attached_expect(struct attach *a, struct attached *to);
/* Says in the registry what has changed; now: also what can wait for the next second. */
void attached_tell(struct attach *a, struct attached *to, bool now);
/* Calls the waiters: an origin came, or none will. */
void attached_wake(struct attach *a, struct attached *to, bool attached);
/* What was learned of processes that are gone, and the list itself when it is empty: *at is the
 * next one then. */
void attached_forget(struct attached **at, uint64_t now_ms);

/* ---- attach.c ---- */
void attach_serial_revoked(struct attach *a, const char *serial);
void attach_peers_changed(struct attach *a);
void attach_refused(struct attach *a, const char *cause); /* counts */
/* Are they one party, as far as strangers are counted? IPv6: the same /64. */
bool attach_same_source(const struct addr *a, const struct addr *b);

/* ---- attach_cert.c ---- */
/* Fills tunnel, serial, not_after, born, names. 0, -EINVAL (no tunnel's), -ENOMEM. */
int oconn_read_certificate(struct oconn *oc, X509 *cert);

/* ---- attach_conn.c ---- */
/* Strangers, who are not attached (yet): of one address half of them at most, so that nobody alone keeps
 * the others out. */
#define WAITING_MAX 1024
void oconn_accept(struct attach *a, int fd);
/* Ends it; why is told to the origin (GOAWAY) and logged. */
void oconn_end(struct oconn *oc, const char *cause, const char *why);
/* May it still serve what it serves? Ends it when not. */
void oconn_check(struct oconn *oc);
void oconn_tell_edges(struct oconn *oc);
void oconn_tell_drain(struct oconn *oc);
bool oconn_serves(const struct oconn *oc, const char *hostname, uint16_t port);

/* One holder less; its memory goes with the last one. */
void oconn_release(struct oconn *oc);

/* ---- enroll.c ---- */
int enroll_open(struct enroll **out, struct edge *edge);
void enroll_close(struct enroll *e); /* accepts NULL */

/* ---- attach_stream.c ---- */
/* Wraps a stream of the connection, which counts it as open until it is over. */
int attach_stream_wrap(struct oconn *oc, struct end *inner, struct end **out);

#endif
