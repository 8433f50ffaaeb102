/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h -- the agent's parts among themselves: services (service.c), the registry's side
 * (exchange.c), what people see (status.c), and the whole (agent.c).
 *
 * All of it lives on the main thread but the exchange's worker, which makes the registry's blocking
 * calls and posts results back.
 */
#ifndef WEIR_AGENT_H
#define WEIR_AGENT_H

#include "lib/daemon.h"
#include "lib/inside.h"
#include "lib/load.h"
#include "user/agent/blind.h"
#include "user/agent/dataplane.h"
#include "user/agent/filter.h"
#include "user/agent/health.h"
#include "user/agent/publish.h"
#include "user/agent/route.h"
#include "user/agent/weight.h"

struct agent;
struct service;

/* ---- what was counted, and how fast (seen.c) ------------------------------------------------------- */

struct seen_rate {
	double packets, bits;           /* a second */
};

struct service_seen {
	struct weir_count count;
	struct weir_flag_count flags;
	struct seen_rate rate;
	double syn, fin, rst;           /* a second */
	bool there;
};

/* ---- backends and services (service.c) ---------------------------------------------------------- */

struct backend {
	char name[CONF_NAME_MAX];
	struct service *service;
	struct addr address;
	double size;                    /* configured capacity */
	int index;                      /* in the data plane, 0: not there */
	bool told_up;                   /* as the data plane has it */
	bool learned_up;                /* as the learner has it */
	struct health *health;          /* NULL: no check, always up */
	struct health_spec spec;
	char check[96];                 /* last result, for people */
	struct sight sight;
	bool through;                   /* … of a check that travelled as traffic does */
	bool fresh;                     /* the report is new since the last tick */
	struct weight_report report;
	bool draining;
	struct weir_count count, was;   /* was: a tick ago, of was_index */
	int was_index;
	struct seen_rate rate;
};

struct service {
	struct agent *agent;
	char name[CONF_NAME_MAX];
	const struct conf_service *conf;        /* in the agent's current configuration */
	int number;                     /* in the data plane, -1: only measured */
	struct backend **backends;
	size_t n;
	struct weight *weight;
	struct publish *publish;        /* what we publish, or would */
	struct rates *rates;            /* in force; NULL: none yet */
	struct ring *ring;              /* tables for rates->slots */
	uint32_t *slots;                /* [n] slots of each backend in the ring in force */
	uint16_t *owner;                /* [nowner] that ring, in the data plane's indexes; NULL: none */
	uint32_t nowner;
	char *published;                /* the registry's rates, JSON; NULL: none */
	bool publisher;
	struct blind blind;             /* who sees too little learns no death from it, and publishes nothing */
	bool forked;                    /* the registry is silent and we took dead backends out ourselves */
	uint32_t transition, moved;
	struct service_seen seen, was;
	/* A sister's slot table is waited for before rates are put in force (sister.c). */
	enum { COPY_DONE, COPY_EMPTY, COPY_OLDER } copy;
	bool copy_asked;
	uint32_t copy_generation;       /* of the pinned slots */
	uint64_t copy_begun_us, copy_packets;
	struct held *held;              /* weights frozen by an operator (freeze.c); NULL: none */
	double told_capacity;           /* as published */
	size_t told_healthy;
	uint64_t told_generation, told_s, started_s;
	uint64_t checks[2][2];          /* made: by a backend's own address, through the packet path; failed, well */
	bool told_direct;               /* that checks cannot travel as traffic does */
	struct weight_input *inputs;    /* [n] scratch */
	struct publish_want *wants;     /* [n] scratch */
	struct blind_view *views;       /* [n] scratch */
};

/* Makes the service, or changes an existing one (keeping what was learned). 0 or -errno, logged. */
int service_set(struct agent *agent, struct service **service, const struct conf_service *conf,
		double move_budget);
void service_free(struct service *service);     /* accepts NULL */
void service_tick(struct service *service, double dt);
/* The registry's rates came or changed. */
void service_published(struct service *service, const char *json);
/* We are the publisher from now on, or not any more. */
void service_set_publisher(struct service *service, bool publisher);
void service_set_drain(struct service *service, const char *node, bool draining);
/* Puts the registry's rates in force, which had to wait. */
void service_readopt(struct service *service);
bool backend_up(const struct backend *b);
/* Why what is applied is not what is wanted, "" when it is. */
const char *service_why(const struct service *service, size_t i);
size_t service_healthy(const struct service *service);
/* A backend's share of the slots in force. */
double service_applied(const struct service *service, size_t i);

/* ---- rates into the maps (swap.c) --------------------------------------------------------------------- */

/* Builds the ring of these rates and swaps it in; they are in force then. 0 or -errno, logged. */
int service_apply(struct service *service, const struct rates *rates);
/* The backend of that name and its place in the list, or NULL. */
struct backend *service_backend(const struct service *service, const char *name, size_t *at);

/* ---- what a restart goes on from (saved.c) --------------------------------------------------------- */

int saved_write(const struct service *service); /* its rates in force; 0 or -errno */
int saved_read(const struct service *service, struct rates **out);      /* 0, -ENOENT, -EINVAL … */

/* ---- weights held by an operator (freeze.c) ---------------------------------------------------------- */

/* The registry's weights/SERVICE; NULL: thawed. */
void service_hold(struct service *service, const char *json);
/* Its share while weights are held; false: they are not. */
bool service_held_share(const struct service *service, const char *name, double *share);
json_t *service_held_json(const struct service *service);       /* {"by","since","generation"} or null */
void service_free_held(struct service *service);

/* ---- slot tables between agents (sister.c) --------------------------------------------------------- */

struct table;
extern const struct http_route agent_routes[];  /* /_/slots/SERVICE */
/* After a service's backends are set: does it need a sister's table? */
void sister_begin(struct service *service);
/* Is one still waited for? Asks for it as soon as that makes sense, and gives up in time. */
bool sister_waits(struct service *service);
/* On a worker thread: the table of the first sister that has one, and who that is. -ENOENT: there is none. */
int sister_fetch(struct registry *reg, struct httpc *client, const char *self, const char *service,
		 struct table **out, char node[CONF_NAME_MAX]);
/* What came of it: a table (may be NULL; it is changed), or a sentence why none could be had (NULL: nobody has one). */
void sister_copied(struct service *service, struct table *t, const char *from, const char *why);

/* ---- routers (announce.c) -------------------------------------------------------------------------- */

struct announce;
int announce_new(struct announce **out);
void announce_free(struct announce *a);         /* accepts NULL */
/* Once a second, and when a backend came or went. */
void announce_tick(struct agent *agent);
/* Does this node ask routers for the service's addresses? */
bool service_announced(const struct service *service);
/* Every backend was looked at, or had its time for it. */
bool service_looked_at(const struct service *service);

/* ---- the registry (exchange.c) ---------------------------------------------------------------------- */

struct exchange;

enum exchange_state { EXCHANGE_NONE, EXCHANGE_WAITING, EXCHANGE_OK, EXCHANGE_SILENT };

/* Watches rates and drains, announces this agent, claims publisherships. d->registry NULL: does nothing. */
int exchange_start(struct exchange **out, struct agent *agent);
void exchange_stop(struct exchange *x); /* accepts NULL */
/* WAITING: never answered yet; SILENT: not for some seconds. */
enum exchange_state exchange_state(const struct exchange *x);
/* Queued for the worker: */
void exchange_announce(struct exchange *x);             /* member and services/… keys */
void exchange_claim(struct exchange *x, const char *service);
void exchange_put_rates(struct exchange *x, const struct rates *rates, const char *service);
void exchange_put_capacity(struct exchange *x, const char *service, json_t *value /* taken */);
void exchange_copy(struct exchange *x, const char *service);    /* sister_copied() hears the end */
bool exchange_draining(const struct exchange *x, const char *node);
/* The last rates that the registry told, NULL: none. */
const char *exchange_rates(const struct exchange *x, const char *service);
/* The registry's weights/SERVICE, NULL: not frozen. */
const char *exchange_held(const struct exchange *x, const char *service);

/* Rates with their history, on the worker (exchange_history.c). past: what is known to be kept there; forget: of a
 * service, or NULL: all. */
struct past;
int past_put(struct past **list, struct registry *reg, const struct reg_cond *cond, const char *service,
	     const char *node, const char *rates);
void past_forget(struct past **list, const char *service);
/* Puts a key that lives as long as this agent's lease. */
void exchange_put_leased(struct exchange *x, const char *key, const char *value);
/* Once a second. */
void exchange_tick(struct exchange *x);
/* This node's addresses as other edges know them (IPv4, IPv6; AF_UNSPEC: not configured). */
void agent_edge_addresses(const struct conf_edge *conf, struct addr out[2]);

#define SEEN_CPUS_MAX 1024

struct seen;
struct seen_metrics {
	struct metric *backend_packets, *backend_bytes, *service_packets, *service_bytes, *service_flags;
	struct metric *reasons, *reason_bytes, *cpus, *traces, *samples, *lost;
};
int seen_new(struct agent *agent);      /* makes agent->seen */
void seen_free(struct agent *agent);
void seen_read(struct agent *agent);    /* counters as they are now */
void seen_tick(struct agent *agent, double dt); /* once a second: counters and rates */
/* Members of `status`: counters, rates, cpus, trace; those of a service; the rates of a backend. */
void seen_json(const struct agent *agent, json_t *answer);
void seen_service_json(const struct service *service, json_t *out);
json_t *seen_backend_json(const struct backend *b);
int seen_metrics_new(struct seen_metrics *a, struct metrics *m);
void seen_metrics_update(const struct seen_metrics *a, const struct agent *agent);

/* ---- what people see (status.c) ---------------------------------------------------------------------- */

struct agent_metrics;
int agent_metrics_new(struct agent_metrics **out, struct metrics *m);
void agent_metrics_update(struct agent *agent);
void agent_status(struct daemon *d, json_t *answer);
json_t *agent_weights(void *daemon, const json_t *request, char *err, size_t err_len);

/* ---- the edge's listener (handover.c) ------------------------------------------------------------------ */

struct handover;
/* Privileged: makes RUN/agent-listener.sock for the daemons' user. Without `tunnels:` *out is NULL. 0 or
 * -errno, logged. */
int handover_bind(struct handover **out, struct agent *agent);
int handover_start(struct handover *h);
void handover_stop(struct handover *h);         /* accepts NULL */

/* ---- packets for people to look at (trace.c) ----------------------------------------------------------- */

struct trace;
/* Privileged: makes RUN/agent-trace.sock. 0 or -errno, logged. */
int trace_bind(struct trace **out, struct agent *agent);
int trace_start(struct trace *t);
void trace_stop(struct trace *t);               /* accepts NULL; ends all traces */
size_t trace_running(const struct trace *t);    /* accepts NULL */

/* ---- the whole (agent.c) ------------------------------------------------------------------------------- */

struct agent {
	struct daemon *d;
	struct dataplane *dp;
	struct loop_fd *dp_watch;
	struct loop_timer *timer;
	struct inside *inside;
	struct load *load;
	struct httpc *client;           /* to sisters' inside listeners */
	struct exchange *exchange;
	struct route *route;            /* NULL: no tunnels here */
	struct handover *handover;
	struct announce *announce;
	struct trace *trace;
	struct seen *seen;
	struct filter *filter;
	struct dataplane_notes notes;   /* as counted at notes_at_us */
	uint64_t notes_at_us;
	bool notes_alarm;
	struct agent_metrics *metrics;
	bool nat_shown;
	struct service **services;
	size_t n;
	uint64_t last_tick_us;
};

/* notes.c */
void notes_tick(struct agent *agent);
json_t *notes_json(const struct agent *agent);
void notes_loads(const struct service *service);        /* after the learner's step */

struct service *agent_service(struct agent *agent, const char *name);   /* NULL: none of that name */
uint64_t agent_now_us(void);                                            /* monotonic */

int agent_prepare(struct daemon *d);
int agent_start(struct daemon *d);
void agent_stop(struct daemon *d);
int agent_reload(struct daemon *d, const struct conf *old);

#endif
