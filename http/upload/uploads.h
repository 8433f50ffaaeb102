/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads.h -- the upload service that the gateway composes: tus 1.0, PUT, HTML forms, replacing a part; events;
 * datasets and their catalogue; downloads of what a dataset holds.
 *
 * An upload's bytes go to a spool file in the gateway's state folder (durable: a 2xx of tus means synced) and are
 * checked by a worker while they arrive. When all are there and the verdict is good, the file and what was derived
 * from it become objects of the dataset's bucket at the endpoints, the manifest last. ARCHITECTURE.md has the routes,
 * states and object names.
 */
#ifndef WEIR_UPLOAD_UPLOADS_H
#define WEIR_UPLOAD_UPLOADS_H

#include <jansson.h>

#include "http/upload/worker.h"
#include "lib/audit.h"
#include "lib/conf.h"
#include "lib/httpc.h"
#include "lib/httpd.h"
#include "lib/metrics.h"
#include "lib/registry.h"
#include "lib/token.h"

struct uploads;
struct uploads_options {
	const struct conf *conf;
	const char *folder; /* STATE/gateway/uploads, exists */
	struct users *users;
	struct registry *registry;
	struct audit *audit;
	struct httpc *client; /* to endpoints and other gateways */
	struct metrics *metrics;
	/* An endpoint for objects (view_pick with a draw): 0 or -ENOENT. */
	int (*pick)(void *arg, char url[256]);
	/* Inside address of another gateway by node, "http(s)://HOST:PORT"; 0 or -ENOENT. */
	int (*gateway)(void *arg, const char *node, char url[256]);
	void *arg;
};
/* In the daemon's prepare: starts the nursery (worker.h), which drops its user itself. main() begins with
 * worker_modes(). */
int uploads_prepare(struct uploads **out, const struct conf *conf);
int uploads_start(struct uploads *u, const struct uploads_options *opt);
/* When the server is there: topics of events. Takes up what a former process left. */
int uploads_serve(struct uploads *u, struct httpd *server);
void uploads_stop(struct uploads *u); /* before the server stops: cancels workers, ends threads */
void uploads_free(struct uploads *u); /* after it stopped; accepts NULL */

/* Routes; the handlers' arg is the gateway: it calls these with its uploads. Each macro row is
 * (METHODS, PATH, BODY_MAX, function stem): begin, body, end, done functions where they exist. */
enum http_next uploads_tus_begin(struct http_req *req, struct uploads *u);
/* … the owner of this file lays down the rest; main.c of the gateway has the table. */

/* Is the bucket a dataset's? Then the gateway hands PUT and DELETE of /b/BUCKET/KEY to uploads. */
bool uploads_owns(struct uploads *u, const char *bucket);

#endif
