/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws.h -- many WebSockets (RFC 6455, by libwslay) at few bytes each: a socket that the HTTP server upgraded is taken over
 * by a thread of this service's own, so that nothing of the HTTP server remains of it.
 *
 * Text messages alone; a message is handed over whole. Limits: message size, messages per second, bytes waiting to be
 * sent; who exceeds one is closed with the code that says so (1009, 1008, 1013). A connection that answers no ping is
 * closed. How many of them one address may have is the caller's to limit. No extension and no subprotocol is agreed on.
 */
#ifndef WEIR_WS_H
#define WEIR_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/httpd.h"

struct ws_server;
struct ws_conn; /* lives from `opened` until `closed` returned */

struct ws_options {
	unsigned int threads;	  /* 0: 1 */
	unsigned int max;	  /* connections; more get 503. 0: 18,000 */
	size_t message_max;	  /* bytes; 0: 64 KiB */
	size_t backlog_max;	  /* bytes waiting for one client; 0: 256 KiB */
	/* Messages and pings per second of a client, and at once; a fragment costs a sixteenth. 0: 20, 100 */
	unsigned int rate, burst;
	unsigned int ping_s; /* who is silent for so long was pinged, for twice as long is soon closed (1001). 0: 30 */
	/* On the service's threads, for one connection never two at a time: opened (may be NULL) once before all else,
	 * closed once at the end, as soon as the connection is given up, by whomever. text is terminated, valid UTF-8. */
	void (*opened)(void *arg, struct ws_conn *c);
	void (*message)(void *arg, struct ws_conn *c, const char *text, size_t len);
	void (*closed)(void *arg, struct ws_conn *c);
	void *arg;
};
int ws_start(struct ws_server **out, const struct ws_options *opt);
/* 1001 to all, waits for them (a second at most), closes, joins. Requests that ws_accept() answered and that did not
 * get as far as `opened` are refused, and so is who comes later. Once more does nothing. Accepts NULL. */
void ws_stop(struct ws_server *s);
void ws_free(struct ws_server *s); /* when the HTTP server has stopped, whose routes may use it until then; accepts NULL */
unsigned int ws_count(const struct ws_server *s); /* sockets held, those on their way in and out among them; NULL: 0 */

/* In a route's begin: answers 101 and takes the socket over, or answers 400, 426, 503. The user pointer is the
 * caller's (ws_user()); when no `opened` comes of it (another answer, the client left), `refused` is called with it
 * instead (may be NULL; on any thread, also before this returns). */
enum http_next ws_accept(struct ws_server *s, struct http_req *req, void *user, void (*refused)(void *user));
void *ws_user(const struct ws_conn *c);

/* Thread-safe, and none calls back: a caller may hold locks that its `closed` takes. From another thread than the
 * service's the caller must know that `closed` did not yet return for c (a table that `closed` removes c from, and a
 * lock over both). text is copied. -EPIPE: it is closing; -ENOBUFS: too far behind, it is closed (1013); -ENOMEM. */
int ws_send(struct ws_conn *c, const char *text, size_t len);
void ws_close(struct ws_conn *c, uint16_t code, const char *reason); /* what waits to be sent is dropped */
/* The same without waiting for the client's end: its place is free at once. It may not see the code. */
void ws_cut(struct ws_conn *c, uint16_t code, const char *reason);

#endif
