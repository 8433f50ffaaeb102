/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.h -- the service that the gateway composes to let viewers of one asset carry each other: sessions of viewers, a
 * WebTorrent-compatible tracker that chooses who meets whom, instructions as server-sent events, a record of who holds
 * and shares what. It runs on gateways alone and does not share the endpoints' fate.
 *
 * Two halves meet here. The *home* of a viewer is the gateway that its connections reached; the *owner* of an asset is
 * the one gateway that groups its viewers: the first of the living gateways by rendezvous over (asset, node), so that
 * all know it without asking. Homes tell owners what viewers say (peers_up), owners tell homes what viewers shall hear
 * (peers_down); on one gateway both are function calls. An owner that dies is replaced by the next; homes then tell
 * the new one all that they know, and nobody reloads a page.
 */
#ifndef WEIR_PEERS_H
#define WEIR_PEERS_H

#include <jansson.h>

#include "lib/audit.h"
#include "lib/conf.h"
#include "lib/httpc.h"
#include "lib/httpd.h"
#include "lib/metrics.h"
#include "lib/registry.h"
#include "lib/token.h"

struct peers;
struct peers_options {
	const char *folder; /* STATE/gateway/peers, exists: copies of media lists */
	const char *node;
	struct users *users;
	struct registry *registry;
	struct audit *audit;
	struct httpc *client; /* to endpoints and other gateways */
	struct metrics *metrics;
	/* An endpoint for objects: 0 or -ENOENT. */
	int (*pick)(void *arg, char url[256]);
	/* Endpoints alive and known, for the sensing of an outage. */
	void (*endpoints)(void *arg, unsigned int *alive, unsigned int *known);
	/* The gateways that live, this one among them: [{node, inside: "http(s)://HOST:PORT" or null, public: ["http(s)://…"]}]; a
	 * new reference. */
	json_t *(*gateways)(void *arg);
	void *arg;
};
/* While privileged: the network database (gateway.peers.networks) is opened. All functions accept NULL. */
int peers_prepare(struct peers **out, const struct conf *conf);
void peers_configure(struct peers *p, const struct conf *conf); /* after a reload */
int peers_start(struct peers *p, const struct peers_options *opt);
int peers_serve(struct peers *p, struct httpd *server); /* when the server is there */
void peers_stop(struct peers *p);			 /* before the server stops: closes WebSockets, ends threads */
void peers_free(struct peers *p);			 /* after it stopped; accepts NULL */
json_t *peers_status(struct peers *p);			 /* for `status`: a new reference, NULL when off */
/* No endpoint lives, and the caller has checked that the client may read BUCKET/KEY: is it a playlist, MPD, list or init
 * segment of an asset that is known? Then it is answered from the copy. Accepts NULL. */
bool peers_media_reply(struct peers *p, struct http_req *req, const char *bucket, const char *key);
/* So many WebSockets, and so many event streams: some viewers have a second one for a moment. */
unsigned int peers_connections(unsigned int viewers);
/* What main() does first: --peers-simulate …; -1 when argv says nothing of it, else an exit code. */
int peers_modes(int argc, char **argv);

/* Public and inside routes, ended by a NULL path; who serves them sets their `arg` (struct http_route) to the peers. */
const struct http_route *peers_routes(void);
const struct http_route *peers_inside_routes(void);

#endif
