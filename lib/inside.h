/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inside.h -- a daemon's listener for its own kind: "/_/health", "/_/metrics", "/_/status" and the
 * routes that the program adds. Client certificates of the installation's CA are required off
 * loopback.
 */
#ifndef WEIR_INSIDE_H
#define WEIR_INSIDE_H

#include "lib/daemon.h"
#include "lib/httpc.h"
#include "lib/httpd.h"
#include "lib/load.h"

struct inside;

/* While privileged: binds addr and reads the certificate files of conf->tls. An address off
 * loopback without conf->tls is refused with a sentence in the log (-EINVAL). addr with AF_UNSPEC
 * and no path: no listener; *out is NULL then and the others accept it. */
int inside_bind(struct inside **out, const struct conf *conf, const struct addr_port *addr);
/* extra: more routes, ended by a NULL path, or NULL. options may be NULL; name, metrics and TLS are
 * set here. load may be NULL. */
int inside_serve(struct inside *inside, struct daemon *d, struct load *load,
		 const struct httpd_options *options, const struct http_route *extra, void *arg);
/* Gives up the address, for another process; accepts NULL. */
void inside_stop_accepting(struct inside *inside);
void inside_stop(struct inside *inside); /* accepts NULL */

/* What fn(d, text) gives, asked of the main thread (a new reference; NULL: it gave none, or none within
 * 5 s). From any thread but the main one; text is copied. */
json_t *daemon_ask(struct daemon *d, json_t *(*fn)(struct daemon *d, const char *text),
		   const char *text);

/* "/_/health" for a public server too: "ok" and the load report, when there is a load. */
enum http_next inside_health_begin(struct http_req *req, void *load);

/* A client with the installation's certificates (or plain when there are none); while files can be
 * read. */
int inside_client(struct httpc **out, const struct conf *conf, const char *user_agent);

#endif
