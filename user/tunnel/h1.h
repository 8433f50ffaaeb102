/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1.h -- HTTP/1.1 (RFC 9112) over a conn: a server for clients, a client for targets and the
 * gateway. Parsed by llhttp in its strict mode, composed anew from struct head.
 */
#ifndef WEIR_TUNNEL_H1_H
#define WEIR_TUNNEL_H1_H

#include "user/tunnel/conn.h"
#include "user/tunnel/end.h"

/* ---- server -------------------------------------------------------------------------------- */

struct h1_server;

struct h1_server_options {
	const char *scheme;	   /* "http" or "https", what requests get */
	size_t header_bytes_max;   /* 431 */
	unsigned int head_ms;	   /* for a whole head, from its first byte */
	unsigned int idle_ms;	   /* between two requests */
	/* A request came, checked. The receiver listens to `front` and answers through it, now or
	 * later; last: it has no body. WebSocket upgrades arrive as an extended CONNECT with
	 * `protocol` (RFC 8441), and a 2xx to it becomes 101. CONNECT arrives as such. */
	void (*request)(void *arg, struct end *front, const struct head *h, bool last);
	/* A request that was refused here (400, 431, 408 …) and answered with a plain page; returns
	 * its id, which the page then bears, or NULL. */
	const char *(*refused)(void *arg, unsigned int status, const char *why);
	/* The connection is gone, told once; the server is freed after it. */
	void (*closed)(void *arg);
	void *arg;
};
/* Takes over the conn. One request at a time; pipelined ones wait in the conn. */
int h1_server_new(struct h1_server **out, struct conn *c, const struct h1_server_options *opt);
/* Answers what runs with "Connection: close" and ends; an idle connection is left for grace_ms for
 * the request that may be on its way, which is then the last. */
void h1_server_drain(struct h1_server *s, unsigned int grace_ms);
void h1_server_abort(struct h1_server *s); /* ends get `gone` with END_CANCEL */
struct conn *h1_server_conn(struct h1_server *s);

/* ---- client -------------------------------------------------------------------------------- */

/* Connections to one address, kept for reuse. */
struct h1_pool;
struct h1_pool_options {
	struct conn_dial dial;
	unsigned int idle_max;	 /* kept; 0: 32 */
	unsigned int idle_ms;	 /* closed after; 0: 30,000 */
	unsigned int answer_ms;	 /* until a response's head; 0: none */
	/* Bytes that each new connection sends first (PROXY protocol); then nothing is kept. */
	size_t (*preface)(void *arg, struct end *back, uint8_t *out, size_t max);
	void *arg;
};
int h1_pool_new(struct h1_pool **out, struct reactor *r, const struct h1_pool_options *opt);
void h1_pool_free(struct h1_pool *p); /* idle ones are closed; running ones go on */
/* Begins an exchange; the request goes by back->ops->head. A connection that was kept and turns out
 * to be closed before any answer tells END_REFUSED (it may be sent again), unless a request whose
 * method is not safe was sent on it: END_LOST. 0 or -errno. */
int h1_open(struct h1_pool *p, struct end **back);

#endif
