/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers_int.h -- the service's parts that routes share (peers.c and its neighbours).
 */
#ifndef WEIR_PEERS_INT_H
#define WEIR_PEERS_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "http/peers/coordinator.h"
#include "http/peers/home.h"
#include "http/peers/media.h"
#include "http/peers/network.h"
#include "http/peers/peers.h"
#include "http/peers/secret.h"
#include "http/peers/ws.h"

#define PEERS_REPORT_MS	   2000 /* between a player's reports */
#define PEERS_URLS_MAX	   8	/* gateways that a page is told of */
#define PEERS_KNOWN_MAX	   64	/* public URLs of gateways that lived once */
#define PEERS_SWITCHES_MAX 256

/* A copy of conf->gateway.peers: a reload frees the configuration while requests look. */
struct peers_settings {
	int mode;
	uint32_t ahead_ms;
	int64_t session_s;
	unsigned int viewers, per_address;
	json_t *origins;
	struct coordinator_options coordinator;
};

struct peers_measures; /* measure.c */

struct peers {
	struct peers_options opt;
	char node[64], folder[4096];
	char networks[4096]; /* for the log */
	pthread_mutex_t lock; /* settings, switches, known, said */
	struct peers_settings set;
	json_t *switches; /* asset → mode, as the registry has it */
	json_t *known;	  /* public URLs of gateways, the newest last */
	struct network_db *db;
	uint8_t network_key[16];
	struct peers_secret secret;
	atomic_bool ready; /* the secret is known, and does not change any more */
	char said[200];	   /* why not */
	struct home *home;
	struct coordinator *coordinator;
	struct exchange *exchange;
	struct media *media;
	struct ws_server *ws;
	struct reg_watch *watch;
	struct peers_measures *measures;
	pthread_t clock, fetcher;
	bool has_clock, has_fetcher;
	pthread_mutex_t quit_lock;
	pthread_cond_t quit_cond;
	bool quit;
	atomic_bool stopping;
	atomic_llong wall_offset_ms; /* unix time less CLOCK_BOOTTIME */
	atomic_ullong reports[3], sessions[3];
	atomic_int entering; /* requests that are about to hand over their socket */
	atomic_int looking; /* requests that ask all gateways */
};

enum { REPORT_TAKEN, REPORT_REFUSED, REPORT_EARLY };
enum { SESSION_OPENED, SESSION_REFUSED, SESSION_FULL };

/* peers.c: CLOCK_BOOTTIME; the same in unix milliseconds, without its jumps but those of more than two seconds. */
int64_t peers_now_ms(void);
int64_t peers_unix_ms(struct peers *p);

/* guest.c: what viewers' routes have in common. Each answers and returns false when the request is not to be served. */
/* Has the service its secret, and is it not stopping? */
bool peers_serves(struct http_req *req, struct peers *p);
/* CORS: adds the headers for an origin that may come: our own, one of gateway.peers.origins, or `also` (may be NULL); 403
 * else. A request without Origin comes from no page of another. */
bool peers_origin(struct http_req *req, struct peers *p, const char *also);
/* The token of the query; its origin may come. */
bool peers_token(struct http_req *req, struct peers *p, struct viewer_token *t);
/* May there be an asset of that name? The bucket's is `len` bytes long. */
bool peers_asset_valid(const char *bucket, size_t len, const char *asset);
/* UP_JOIN's text for a viewer, malloc'ed; client: access_client()'s room. */
char *peers_facts(const struct http_req *req, struct peers *p, const struct viewer_token *t, char client[ADDR_PORT_STRLEN]);
/* 503, 429 or 403 for what home.h says. */
enum http_next peers_no_room(struct http_req *req, int rc);
enum http_next peers_preflight(struct http_req *req, void *arg);
enum http_next peers_preflight_token(struct http_req *req, void *arg);

/* session.c */
enum http_next peers_session(struct http_req *req, void *arg);
/* connect.c: the tracker's socket. */
enum http_next peers_tracker(struct http_req *req, void *arg);
int connect_start(struct peers *p);
void connect_stop(struct peers *p); /* p->stopping is true */
/* events.c */
enum http_next peers_events(struct http_req *req, void *arg);
void peers_events_done(struct http_req *req, void *arg);
/* report.c */
enum http_next peers_report(struct http_req *req, void *arg);
/* show.c: of all gateways; of this one, on its inside listener. */
enum http_next peers_show(struct http_req *req, void *arg);
enum http_next peers_show_groups(struct http_req *req, void *arg);
enum http_next peers_show_top(struct http_req *req, void *arg);
enum http_next peers_inside_show(struct http_req *req, void *arg);
enum http_next peers_inside_groups(struct http_req *req, void *arg);
enum http_next peers_inside_top(struct http_req *req, void *arg);
/* switch.c */
enum http_next peers_switch(struct http_req *req, void *arg);
int switch_watch(struct peers *p);
void switch_apply(struct peers *p); /* after a reload: the mode of all others may be another */
/* measure.c */
int measure_start(struct peers *p);
void measure_stop(struct peers *p);

#endif
