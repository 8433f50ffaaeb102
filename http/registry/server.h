/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h -- the registry's HTTP server: routes, who may, and the way of a request to the store.
 *
 * On a Unix socket the peer is known by its credentials: root may do everything, the user that this
 * process runs as everything but writing users. On TCP a request carries the token and may do
 * everything.
 */
#ifndef WEIR_REGISTRY_SERVER_H
#define WEIR_REGISTRY_SERVER_H

#include "http/registry/store.h"
#include "lib/metrics.h"

struct server;
struct server_options {
	char token[256];	 /* for TCP; "": none may */
	struct metrics *metrics; /* may be NULL */
};

/* The sockets are the server's afterwards; options are copied. 0 or -errno. */
int server_start(struct server **out, struct store *store, const int *fds, size_t nfds,
		 const struct server_options *options);
void server_stop(struct server *server, unsigned int grace_ms); /* accepts NULL */
void server_progress(struct server *server); /* call every few seconds; see watches_progress() */
size_t server_watches(struct server *server);

#endif
