/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_front.h -- what the two files of HTTP/1's server share: h1_server.c (the connection and its
 * requests) and h1_front.c (their responses).
 */
#ifndef WEIR_TUNNEL_H1_FRONT_H
#define WEIR_TUNNEL_H1_FRONT_H

#include "user/tunnel/h1.h"
#include "user/tunnel/h1_out.h"
#include "user/tunnel/h1_read.h"

enum h1_server_state {
	SERVER_IDLE,
	SERVER_HEAD,	/* a request's first byte came */
	SERVER_RUN,	/* its head was told; until both directions ended */
	SERVER_DRAIN,	/* the response ended before the request */
	SERVER_CLOSING, /* conn_close() was called */
	SERVER_OVER,	/* no conn any more */
};

struct h1_server {
	struct end front;
	struct conn *conn; /* NULL: gone */
	struct reactor *reactor;
	struct h1_server_options opt;
	struct h1_read *read; /* while a request runs */
	struct h1_out out;
	struct reactor_timer timer;
	struct reactor_defer later;
	size_t untaken; /* told to the receiver, not taken yet */
	size_t drained;
	unsigned int grace_ms;
	enum end_why gone_why; /* that the receiver is told when it is over */
	enum h1_server_state state;
	bool draining, closed_told;
	bool eof;	/* the client sends no more */
	bool paused;	/* the conn tells no data */
	bool want_room; /* data() took less than it was given */

	/* of the request that runs */
	bool attached; /* its receiver was not told `gone` */
	bool is_head;  /* HEAD */
	bool tunnel;   /* CONNECT or WebSocket */
	bool raw;      /* and accepted */
	bool request_ended, response_begun, response_ended;
	bool continued; /* 100 was sent */
	bool close_after;
};

/* ---- h1_front.c ---- */
extern const struct end_ops h1_front_ops;
const char *h1_date_now(void);

/* ---- h1_server.c ---- */
/* At once; the receiver is told why, later, if it has not left. */
void h1_server_kill(struct h1_server *s, enum end_why why);
/* The conn may tell data again. */
void h1_server_resume(struct h1_server *s);
/* Something ended: is there more to wait for? */
void h1_server_check(struct h1_server *s);

#endif
