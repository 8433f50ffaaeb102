/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edge.h -- the parts of `weir-tunnel edge` among themselves.
 *
 *	front*.c    clients: listeners, TLS by hostname or passed through, HTTP/1 and HTTP/2, limits
 *	request.c   one request: which tunnel or the gateway, rights, fields, error pages, access log
 *	attach*.c   origins: connections that dialled in, their hello, balancing over them
 *	tunnels.c   what the registry says: tunnels by hostname and address, revoked certificates
 *	publish.c   one edge of the installation: names into the zone, addresses out of quarantine
 *	enroll.c    a CSR and a token go to the authority through the registry
 *	edge.c      the whole: prepare, start, reload, drain, status
 *
 * All on the main thread; calls of the registry block and run by reactor_work().
 */
#ifndef WEIR_TUNNEL_EDGE_H
#define WEIR_TUNNEL_EDGE_H

#include "lib/daemon.h"
#include "lib/inside.h"
#include "lib/tunnels.h"
#include "user/tunnel/conn.h"
#include "user/tunnel/end.h"
#include "user/tunnel/reactor.h"

struct front;
struct attach;
struct edge_tunnels;
struct publish;
struct leased;

struct edge {
	struct daemon *d;
	struct reactor *reactor;
	struct front *front;
	struct attach *attach;
	struct edge_tunnels *tunnels;
	struct publish *publish;
	struct inside *inside;
	struct load *load;
	/* The one of this edge: its member, attachments, acknowledgement. Made by edge_tunnels_open();
	 * ended by edge.c after reactor_free(), because jobs use it. */
	struct reg_lease *lease;
	struct leased *leased; /* keys on it, written in order (attach.h); edge_tunnels_open() makes it */
	bool draining;
	void (*idle)(struct edge *edge); /* the front calls it when it drains and nothing runs any more */
};

/* ---- tunnels.c: what the registry says ---- */

/* A tunnel as this edge knows it; lives until the registry's copy is gone and nothing uses it. */
struct edge_tunnel {
	struct tunnel t;
	int64_t revision; /* of its key */
	bool gone;	  /* removed; open requests are ended, new ones refused */
	unsigned int users;
	void *origins; /* attach.c's list */
	/* counted here: requests, bytes, open now, errors by cause */
	uint64_t requests, bytes_up, bytes_down, open, errors;
};

/* Makes edge->lease, announces this edge, begins to watch: threads, so in `start`. *out is set before
 * anything is heard. */
int edge_tunnels_open(struct edge_tunnels **out, struct edge *edge);
void edge_tunnels_close(struct edge_tunnels *all); /* hears and says no more; accepts NULL */
void edge_tunnels_free(struct edge_tunnels *all);  /* after reactor_free(): what runs has its tunnel */
/* NULL: none. hostname: lower case, without port. */
struct edge_tunnel *edge_tunnel_of_hostname(struct edge_tunnels *all, const char *hostname);
struct edge_tunnel *edge_tunnel_of_address(struct edge_tunnels *all, const struct addr *address);
struct edge_tunnel *edge_tunnel_of_name(struct edge_tunnels *all, const char *name);
void edge_tunnels_each(struct edge_tunnels *all, void (*fn)(void *arg, struct edge_tunnel *t), void *arg);
bool edge_serial_revoked(struct edge_tunnels *all, const char *serial_hex);
/* Was this process stopped (SIGSTOP, a suspended machine) for longer than its lease, or than the publisher
 * waits for acknowledgements, and has not yet heard the registry since? Then what it knows may be another's by now: answer 503 and wait. A
 * registry that is merely silent never makes it stale; but one that was never heard does: a process
 * that has just started knows no tunnel. Cheap: ask for each request of a tunnel or unknown name. */
bool edge_is_stale(const struct edge_tunnels *all);

/* ---- attach.c: origins ---- */

/* Takes the listeners. Reads conf.tls's files and edge.origins and makes no thread: best in
 * `prepare`, while keys can be read. */
int attach_open(struct attach **out, struct edge *edge, const int *fds, size_t nfds);
void attach_close(struct attach *a);
void attach_drain(struct attach *a); /* withdraws the attachments, GOAWAY to the origins */
int attach_reload(struct attach *a);
/* A stream to an origin that is attached here and may serve the hostname (NULL: any, for bytes of a
 * port) and the port (0: requests): 0; -ENOENT none is; -EAGAIN all streams are in use. tries > 0:
 * another connection than the last time, where there is one. */
int attach_stream(struct attach *a, struct edge_tunnel *t, const char *hostname, uint16_t port,
		  unsigned int tries, struct end **back);
/* The hostname under which bytes of the port can go: one that an origin which is attached here may serve,
 * else the tunnel's first. The tunnel's own text. */
const char *attach_hostname(struct attach *a, const struct edge_tunnel *t, uint16_t port);
/* Calls fn once when an origin of the tunnel attaches, or after ms; to hold requests while origins
 * come back. The waiter is embedded in its owner. */
struct attach_waiter {
	void (*fn)(struct attach_waiter *w, bool attached);
	struct attach_waiter *next, **at;
	struct edge_tunnel *t;
	struct reactor_timer timer;
};
void attach_wait(struct attach *a, struct edge_tunnel *t, unsigned int ms, struct attach_waiter *w);
void attach_wait_stop(struct attach *a, struct attach_waiter *w);
/* Did an origin of the tunnel leave this edge, or did this edge start, within the last few seconds? */
bool attach_expected(struct attach *a, struct edge_tunnel *t);
json_t *attach_status(struct attach *a, struct edge_tunnel *t); /* [{origin, connections, rtt_ms, open, weight, …}] */
/* A tunnel was removed or changed (tunnels.c tells). */
void attach_tunnel_changed(struct attach *a, struct edge_tunnel *t);

/* ---- front.c: clients ---- */

struct front_fds { /* bound by the caller while privileged, or handed down */
	int *plain, *tls, *tunnel; /* tunnel: listeners that sk_lookup feeds, at most v4 and v6 */
	size_t nplain, ntls, ntunnel;
};
/* Takes the listeners. Reads certificates and makes no thread: in `prepare`. */
int front_open(struct front **out, struct edge *edge, const struct front_fds *fds);
int front_start(struct front *f);
/* Breaks off everything. What ended is told after the batch: the memory is freed by front_free(), after
 * reactor_free(). */
void front_close(struct front *f);
void front_free(struct front *f); /* accepts NULL */
void front_drain(struct front *f);  /* accepts no more, lets run what runs */
bool front_is_idle(const struct front *f);
int front_reload(struct front *f); /* certificates, limits: the new ones or the old ones */
json_t *front_status(struct front *f);
/* The last lines of the access log of a tunnel (NULL: all) after sequence number `after`. */
json_t *front_log_lines(struct front *f, const char *tunnel, uint64_t after, size_t max);
/* Ends every request and connection of a tunnel that was removed. */
void front_tunnel_gone(struct front *f, struct edge_tunnel *t);

/* ---- enroll.c ---- */
/* Serves POST /_/tunnel/enroll on a connection to the attach listener that showed no certificate. */
int enroll_serve(struct edge *edge, struct conn *c);

/* ---- publish.c ---- */
int publish_open(struct publish **out, struct edge *edge);
void publish_close(struct publish *p);

#endif
