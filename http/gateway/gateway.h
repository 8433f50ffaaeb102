/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway.h -- the parts of weir-gateway and what they share.
 */
#ifndef WEIR_GATEWAY_H
#define WEIR_GATEWAY_H

#include <stdatomic.h>

#include "http/gateway/carry.h"
#include "http/gateway/neighbours.h"
#include "http/gateway/view.h"
#include "http/peers/peers.h"
#include "http/upload/uploads.h"
#include "http/identity/identity.h"
#include "lib/access.h"
#include "lib/audit.h"
#include "lib/daemon.h"
#include "lib/httpd.h"
#include "lib/inside.h"
#include "lib/load.h"
#include "lib/token.h"

#define GATEWAY_LISTEN_MAX 64

struct s3_counts;

struct gateway {
	struct uploads *uploads; /* the first: its routes find it so */
	struct peers *peers;
	struct neighbours *neighbours;
	struct daemon *daemon;
	struct httpc *client; /* of services */
	struct http_route *routes, *inside_routes;
	char spool[4096 + 8], peers_folder[4096 + 8];
	char node[CONF_NAME_MAX]; /* a copy: a reload frees the configuration while threads look */
	char folder[4096]; /* STATE/gateway: the audit log, and what else this gateway keeps */
	struct audit *audit;
	struct users *users;
	struct identity *identity;
	struct view *view;
	struct httpd *server;
	struct inside *inside;
	struct load *load;
	struct reg_lease *lease;
	struct console *console;
	int player; /* the folder of the player's libraries; -1: there is none */
	int fds[GATEWAY_LISTEN_MAX];
	atomic_bool listening; /* off loopback too */
	atomic_llong token_ttl_s;
	_Atomic uint64_t object_max; /* bytes */
	struct carriers *carriers; /* of S3 requests */
	const struct http_route *s3_route; /* in routes */
	struct s3_counts *s3_counts; /* of what was refused here */
	_Atomic unsigned int s3_slow; /* changes of datasets that may take minutes */
	char *s3_domain;	   /* a copy; NULL: path style alone */
	atomic_ullong redirected, refused, no_endpoint, carried, broken;
	struct metric_series *counted[5]; /* the same, for the metrics page */
};

/* redirect.c: /b/BUCKET/KEY and /o/SHA256 → 307 to a ranked endpoint with a short token; arg is the
 * gateway. */
enum http_next redirect_object(struct http_req *req, void *arg);
enum http_next redirect_hash(struct http_req *req, void *arg);
/* The short token for an endpoint, or "" for a public bucket that nobody in particular reads. 0, or there is no key to sign
 * with. */
int redirect_token(struct gateway *gw, const struct token_scope *who, const struct token_scope *want,
		   char token[TOKEN_MAX]);

/* s3.c: S3 requests are carried to an endpoint. prepare: while privileged; choose: of httpd_options. */
int s3_prepare(struct gateway *gw, const struct conf *conf);
int s3_start(struct gateway *gw);
void s3_stop(struct gateway *gw); /* before the server */
void s3_free(struct gateway *gw);
const struct http_route *s3_choose(struct http_req *req, void *arg);
bool s3_refuse(struct http_req *req, void *arg, unsigned int status, const char *code, const char *sentence); /* for httpd_options.refuse */
/* The row "s3" of the routes. */
enum http_next s3_begin(struct http_req *req, void *arg);
enum http_next s3_body(struct http_req *req, void *arg, const void *data, size_t len, size_t *taken);
enum http_next s3_end(struct http_req *req, void *arg);
void s3_done(struct http_req *req, void *arg);

/* services.c: what the gateway composes. prepare: privileged, one thread; start: before the servers; stop: before they
 * stop; free: after. */
int services_prepare(struct gateway *gw, const struct daemon *d);
int services_start(struct gateway *gw, const struct http_route *own, const struct http_route *own_inside);
int services_serve(struct gateway *gw); /* when gw->server is there */
void services_configure(struct gateway *gw, const struct conf *conf);
void services_stop(struct gateway *gw);
void services_free(struct gateway *gw);
/* /b/BUCKET/KEY, of whichever part the bucket is. */
enum http_next object_begin(struct http_req *req, void *arg);
enum http_next object_body(struct http_req *req, void *arg, const void *data, size_t len, size_t *taken);
enum http_next object_end(struct http_req *req, void *arg);
void object_done(struct http_req *req, void *arg);
/* signon.c: routes of http/identity. */
enum http_next signon_start(struct http_req *req, void *arg);
enum http_next signon_callback(struct http_req *req, void *arg);
enum http_next signon_password(struct http_req *req, void *arg);
enum http_next signon_device(struct http_req *req, void *arg);
enum http_next signon_device_token(struct http_req *req, void *arg);
enum http_next signon_logout(struct http_req *req, void *arg);
enum http_next signon_session(struct http_req *req, void *arg);
enum http_next signon_tokens(struct http_req *req, void *arg);
enum http_next signon_people(struct http_req *req, void *arg);
enum http_next signon_audit(struct http_req *req, void *arg);

/* player_files.c: the page that plays assets, and the shim for anybody's page. player_open: the folder of the libraries,
 * while privileged; -1: `make player` was not run, which the page says. */
int player_open(void);
void player_close(int fd); /* accepts -1 */
enum http_next player_page(struct http_req *req, void *arg);
enum http_next player_file(struct http_req *req, void *arg);
enum http_next player_shim_file(struct http_req *req, void *arg);

/* console.c: what the console shows of the machines (JSON and events). console_files.c: the page and
 * its files. */
int console_open(struct console **out, struct gateway *gw,
		 struct httpc *client);	    /* takes the client; privileged */
int console_start(struct console *console); /* when gw->server and gw->view are there */
void console_stop(
	struct console *console); /* ends the thread; before the server stops. Accepts NULL */
void console_free(struct console *console); /* after the server stopped. Accepts NULL */
/* What /_/status answers, asked anew when it is older than two seconds; a new reference, NULL without memory. On a worker. */
json_t *console_overview(struct console *console);
enum http_next console_page(struct http_req *req, void *arg);
enum http_next console_file(struct http_req *req, void *arg);
enum http_next console_status(struct http_req *req, void *arg);
enum http_next console_events(struct http_req *req, void *arg);
/* POST /_/token: a key (Basic) for a token of 12 hours, so that a browser need not keep the key. */
enum http_next console_token(struct http_req *req, void *arg);

#endif
