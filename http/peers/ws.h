/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws.h -- many WebSockets (RFC 6455, by libwslay) at few bytes each: a socket that the HTTP server upgraded is taken over
 * by a thread of this service's own, so that nothing of the HTTP server remains of it.
 *
 * Text messages alone; a message is handed over whole. Limits: message size, messages per second, bytes waiting to be
 * sent; who exceeds one is closed with the code that says so (1009, 1008, 1013). A connection that answers no ping is
 * closed.
 */
#ifndef WEIR_WS_H
#define WEIR_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/httpd.h"

struct ws_server;
struct ws_conn; /* lives from ws_open() until `closed` returned */

struct ws_options {
	unsigned int threads;	  /* 0: 1 */
	unsigned int max;	  /* connections; more get 503. 0: 18,000 */
	size_t message_max;	  /* bytes; 0: 64 KiB */
	size_t backlog_max;	  /* bytes waiting for one client; 0: 256 KiB */
	unsigned int rate, burst; /* messages per second of a client, and at once; 0: 20, 100 */
	unsigned int ping_s;	  /* 0: 30; closed when silent for two of them */
	/* On the service's threads. text is terminated, valid UTF-8. Never called after `closed`. */
	void (*message)(void *arg, struct ws_conn *c, const char *text, size_t len);
	void (*closed)(void *arg, struct ws_conn *c);
	void *arg;
};
int ws_start(struct ws_server **out, const struct ws_options *opt);
void ws_stop(struct ws_server *s); /* 1001 to all, closes, joins; accepts NULL */
unsigned int ws_count(const struct ws_server *s);

/* In a route's begin: answers 101 and takes the socket over, or answers 400, 426, 503. The user pointer is the
 * caller's (ws_user()); when the answer is not 101, `refused` is called with it instead (may be NULL). */
enum http_next ws_accept(struct ws_server *s, struct http_req *req, void *user, void (*refused)(void *user));
void *ws_user(const struct ws_conn *c);

/* Thread-safe; text is copied. -EPIPE: it is closing; -ENOBUFS: too far behind, it is closed. From another thread
 * than the service's the caller must hold a reference, or know that `closed` was not yet called. */
int ws_send(struct ws_conn *c, const char *text, size_t len);
void ws_close(struct ws_conn *c, uint16_t code, const char *reason);

#endif
