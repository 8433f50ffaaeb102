/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin.h -- the parts of `weir-tunnel origin` among themselves.
 *
 *	origin_cred.c     the folder that `weir tunnel enroll` filled: certificate, key, authority
 *	origin_names.c    names into addresses, on a thread
 *	origin_places.c   which edges there are
 *	origin_dial.c     how many connections to which
 *	origin_link.c     one connection to one edge, and the control stream on it
 *	origin_targets.c  the set of targets that runs
 *	origin_probe.c    why a target does not answer
 *	origin_back.c     a target in use: addresses, pools, PROXY
 *	origin_h2.c       HTTP/2 connections to one target
 *	origin_request.c  one request: its target, fields, error answers
 *	origin_metrics.c  what it counts
 *	origin.c          the whole: prepare, start, reload, drain, status
 *
 * All on the main thread; only names are resolved elsewhere, by reactor_work().
 */
#ifndef WEIR_TUNNEL_ORIGIN_H
#define WEIR_TUNNEL_ORIGIN_H

#include "lib/daemon.h"
#include "lib/inside.h"
#include "lib/load.h"
#include "lib/tunnels.h"
#include "user/tunnel/access_log.h"
#include "user/tunnel/cert.h"
#include "user/tunnel/conn.h"
#include "user/tunnel/control.h"
#include "user/tunnel/end.h"
#include "user/tunnel/exchange.h"
#include "user/tunnel/h2.h"
#include "lib/target.h"
#include "user/tunnel/proxy.h"
#include "user/tunnel/reactor.h"

extern const struct daemon_program origin_program;

#define ORIGIN_WHY_MAX 512

struct origin_dial;
struct targets;

struct origin {
	struct daemon *d;
	struct reactor *reactor;
	struct origin_cred *cred;
	struct origin_dial *dial;
	struct targets *targets;
	struct inside *inside;
	struct load *load;
	char id[33]; /* of this process, random */
	struct access_log *log;
	unsigned int inflight;
	bool draining, ready, said; /* ready: the service manager knows; said: the URLs */
	unsigned int seconds;
	struct loop_timer *second;
	struct reactor_timer drain;
	uint64_t drain_until_ms;
	struct origin_metrics *metrics;
	/* For the metrics page, which another thread makes. */
	_Atomic uint32_t up, edges, rtt_us;
	_Atomic int64_t until;
	/* Since the start. */
	uint64_t requests, failed, bytes_up, bytes_down;
};

void origin_attached(struct origin *o); /* origin.c: a connection stands */

/* ---- origin_cred.c: the folder of `weir tunnel enroll` ---- */

struct origin_cred {
	SSL_CTX *tls; /* towards edges */
	char tunnel[TUNNEL_NAME_MAX];
	char hostnames[TUNNEL_HOSTNAMES_MAX][TUNNEL_HOSTNAME_MAX];
	size_t nhostnames;
	int64_t until;	     /* unix seconds */
	char until_text[40]; /* "2027-03-01 12:00 UTC" */
	char serial[CERT_SERIAL_MAX];
	uint8_t print[32];   /* over all three files: did they change? */
};
/* 0, or -errno with the sentence in why: what is missing or wrong, and which command makes it. */
int origin_cred_load(struct origin_cred **out, const char *folder, char why[ORIGIN_WHY_MAX]);
void origin_cred_free(struct origin_cred *cred); /* accepts NULL */
bool origin_cred_names(const struct origin_cred *cred, const char *hostname);

/* ---- origin_names.c ---- */

#define NAMES_MAX 16
/* Embedded in its owner, who lives until `done`, or until the reactor is freed. */
struct names_job {
	char host[TARGET_HOST_MAX]; /* a name or an address */
	uint16_t port;
	void (*done)(struct names_job *job);
	bool running;
	struct addr_port found[NAMES_MAX];
	size_t n;
	char error[160]; /* a sentence when n is 0 */
};
/* Asks, unless it is being asked. 0 or -errno; an address is answered by the next batch too. */
int names_ask(struct names_job *job, struct reactor *r);
/* "HOST:PORT" or "[ADDRESS]:PORT". 0 or -EINVAL. */
int names_split(const char *text, char host[TARGET_HOST_MAX], uint16_t *port);

/* ---- origin_dial.c: edges ---- */

struct origin_link;
int origin_dial_open(struct origin_dial **out, struct origin *o);
void origin_dial_close(struct origin_dial *d); /* ends every connection at once; accepts NULL */
void origin_dial_free(
	struct origin_dial *d); /* after reactor_free(), which waits for names; accepts NULL */
/* After a change of o->d->conf or o->cred. recredential: connections with the old certificate are
 * replaced, each when its successor stands. */
void origin_dial_reload(struct origin_dial *d, bool recredential);
void origin_dial_second(struct origin_dial *d);	       /* each second: load, names, balance */
void origin_dial_drain(struct origin_dial *d);	       /* {"detach":true} everywhere, then GOAWAY */
bool origin_dial_is_idle(const struct origin_dial *d); /* no connection is left */
void origin_dial_settle(struct origin_dial *d);	       /* often while draining */
size_t origin_dial_up(const struct origin_dial *d, size_t *edges);
json_t *origin_dial_status(const struct origin_dial *d);     /* connections */
json_t *origin_dial_candidates(const struct origin_dial *d); /* edges that are known */

/* ---- origin_link.c: one connection ---- */

enum link_state { LINK_DIALLING, LINK_GREETING, LINK_UP, LINK_LEAVING };

struct origin_link {
	struct origin *o;
	struct origin_link *next, **at; /* dial's list */
	struct candidate *candidate;	/* dial's; NULL once it is not known any more */
	enum link_state state;
	bool stale; /* to be replaced: another certificate, or an edge that is no longer named */
	struct addr_port to;
	struct conn *conn; /* until there is h2 */
	struct h2 *h2;
	struct end *control;
	struct control_reader reader;
	struct control_writer unsent;
	struct reactor_timer timer; /* for the hello */
	struct reactor_defer fall;  /* ends it outside of a callback */
	char edge[CONF_NAME_MAX], site[CONF_NAME_MAX];
	char why[ORIGIN_WHY_MAX];
	uint64_t began_ms, up_ms;
	bool detached;	  /* {"detach":true} was sent */
	bool parted;	  /* the edge opens no more */
	bool finished;	  /* our half of the control stream has ended */
	uint64_t busy_ms; /* when a request ran last, once detached or parted */
};
int origin_link_dial(struct origin_link **out, struct origin *o, const struct addr_port *to);
void origin_link_load(struct origin_link *l, double cpu); /* one control line */
/* Takes no new requests; ends by itself when those that run are done. */
void origin_link_settle(struct origin_link *l); /* ends it when it was let go and nothing runs */
void origin_link_detach(struct origin_link *l);
size_t origin_link_open(const struct origin_link *l); /* requests that run on it */
void origin_link_free(struct origin_link *l);	      /* at once, with what runs on it */

/* What a link tells dial. down: it is gone, and freed when this returns. */
void origin_dial_link_up(struct origin_link *l);
void origin_dial_link_leaving(struct origin_link *l);
void origin_dial_link_down(struct origin_link *l, const char *why);
void origin_dial_learned(struct origin_dial *d, const struct control *told);

/* ---- origin_back.c: targets that run ---- */

struct target;

/* One request's use of a target; embedded in the request. */
struct target_use {
	struct target *target;
	struct target_use *next, **at; /* those that wait for a name or an HTTP/2 connection */
	struct target_use *used_next, **used_at; /* of the target */
	struct end *back;
	int err;	     /* what waiting ended with; 0: not yet */
	int last;	     /* what opening failed with last; 0: it did not */
	unsigned int failed; /* addresses that could not be reached while it waited */
	size_t address;	     /* which of the target's is tried */
	bool raw, websocket;
	struct proxy proxy;		       /* for the PROXY protocol */
	void (*again)(struct target_use *use); /* exchange_retry() */
};

/* Reads the files that targets name; 0, or -EINVAL with the sentence in why. old (may be NULL):
 * addresses that are known there are kept. Names are asked by targets_start(). */
int targets_new(struct targets **out, struct origin *o, const struct conf_origin *conf,
		const struct targets *old, char why[ORIGIN_WHY_MAX]);
void targets_start(struct targets *t); /* needs o->reactor */
void targets_free(struct targets *t); /* what runs goes on; accepts NULL */
void targets_second(struct targets *t);
/* NULL: none is configured. */
struct target *targets_find(struct targets *t, const char *hostname, uint16_t port);
json_t *targets_status(const struct targets *t);
/* The ports for which there are targets of bytes. */
size_t targets_ports(const struct targets *t, uint16_t ports[TUNNEL_PORTS_MAX]);
bool targets_serve(const struct targets *t, const char *hostname);

/* Between target_use_begin() and target_use_end() the target stays, whatever is reloaded. */
void target_use_begin(struct target_use *use, struct target *t);
void target_use_end(struct target_use *use);
/* For exchange_options.open: 0 and *back; -EAGAIN: `again` is called; or -errno. */
int target_open(struct target_use *use, unsigned int tries, struct end **back);
unsigned int target_tries(const struct target *t);
/* The back answered, or did not; a failure is looked into and logged, once in a while. */
void target_answered(struct target_use *use);
void target_failed(struct target_use *use, enum end_why why);
const struct conf_target *target_conf(const struct target *t);
const struct target_spec *target_spec_of(const struct target *t);

/* ---- origin_h2.c: HTTP/2 to one target ---- */

struct h2_target;
struct h2_target_options {
	struct conn_dial dial;
	void (*failed)(void *arg, int err, const char *why);
	void *arg;
};
int h2_target_new(struct h2_target **out, struct reactor *r, const struct h2_target_options *opt);
/* What runs goes on; those that wait here wait in *list from now on. Accepts NULL. */
void h2_target_free(struct h2_target *t, struct target_use **list);
/* As target_open(). */
int h2_target_open(struct h2_target *t, struct target_use *use, struct end **back);

void target_use_wait(struct target_use *use, struct target_use **list);
void target_use_stop(struct target_use *use); /* waits no more */
void target_uses_wake(struct target_use **list, int err);

/* ---- origin_request.c ---- */

/* A request came over a link. */
void origin_request(struct origin_link *l, struct end *front, const struct head *h, bool last);

/* ---- origin_metrics.c ---- */

int origin_metrics_open(struct origin *o);
void origin_metrics_close(struct origin *o);
void origin_count_request(struct origin *o, unsigned int status, uint64_t up, uint64_t down,
			  uint64_t took_us);
void origin_count_error(struct origin *o, const char *cause);
void origin_count_link(struct origin *o,
		       const char *what); /* "attached", "lost", "refused", "drained" */

#endif
