/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_back.h -- what the two files of HTTP/1's client share: h1_pool.c (connections and where they
 * wait) and h1_client.c (the exchange on one of them).
 */
#ifndef WEIR_TUNNEL_H1_BACK_H
#define WEIR_TUNNEL_H1_BACK_H

#include "user/tunnel/h1.h"
#include "user/tunnel/h1_out.h"
#include "user/tunnel/h1_read.h"

struct h1_pool {
	struct reactor *reactor;
	struct h1_pool_options opt;
	char *server_name;
	struct h1_back *idle; /* the last used first */
	unsigned int n_idle;
	size_t users; /* connections, and the owner until h1_pool_free() */
	bool freed;
};

enum h1_back_state {
	BACK_IDLE, /* in the pool */
	BACK_OPEN, /* somebody's */
	BACK_OVER, /* no conn any more; freed by `later` */
};

struct h1_back {
	struct end end;
	struct h1_pool *pool;
	struct h1_back *next, **at; /* in the pool */
	struct conn *conn;
	struct h1_read *read;
	struct h1_out out;
	struct reactor_timer timer;
	struct reactor_defer later;
	size_t untaken;
	enum end_why gone_why;
	enum h1_back_state state;
	char accept[H1_WS_ACCEPT]; /* that a 101 must show */
	uint8_t interims;
	bool ready, reused, attached, paused, want_room;
	bool sent;     /* the request's head */
	bool safe;     /* its method */
	bool answered; /* the response's */
	bool began;    /* a byte of it came */
	bool tunnel, raw;
	bool end_owed; /* of a tunnel's request, before it was accepted */
	bool request_ended, response_ended, keep;
};

/* ---- h1_client.c ---- */
extern const struct end_ops h1_back_ops;
extern const struct conn_events h1_back_events;
void h1_back_timer(struct reactor_timer *t);
void h1_back_later(struct reactor_defer *d);

/* ---- h1_pool.c ---- */
/* The connection waits for the next exchange. */
void h1_pool_keep(struct h1_back *b);
bool h1_pool_wants(const struct h1_pool *p); /* another one to keep */
/* There is no conn any more; the memory goes from h1_back_later(). */
void h1_back_over(struct h1_back *b);
/* The same, and what was written still arrives. */
void h1_back_close(struct h1_back *b);
void h1_back_free(struct h1_back *b);

#endif
