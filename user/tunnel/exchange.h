/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.h -- joins a front and a back: heads, data both ways with back pressure, trailers,
 * time-outs, another try when nothing was lost by the first, and an account of it all.
 *
 * What one end does not take is kept here: at most what the other end's window lets through.
 */
#ifndef WEIR_TUNNEL_EXCHANGE_H
#define WEIR_TUNNEL_EXCHANGE_H

#include "user/tunnel/end.h"
#include "user/tunnel/reactor.h"

struct exchange;

#define EXCHANGE_REPLAY (64u << 10) /* bytes of a request's body kept for another try */

struct exchange_account { /* for logs and counters; valid during `ended` */
	const struct head *request;
	unsigned int status; /* that the front was sent; 0: none */
	uint64_t bytes_up, bytes_down;
	uint64_t began_us, first_us, ended_us; /* monotonic; first: the response's head */
	unsigned int tries;
	enum end_why why; /* END_DONE when whole */
};

struct exchange_options {
	struct reactor *reactor;
	unsigned int idle_ms, total_ms; /* without a byte; of all; 0: none */
	uint64_t body_max; /* bytes of a request's body; past it: 413, END_LIMIT; 0: none */
	/* Opens a back for the request: 0 and *back, or -errno, or -EAGAIN: later, by
	 * exchange_retry(). Asked again after END_REFUSED, and after END_LOST when the method is
	 * safe, as long as nothing was sent to the front and the body fits EXCHANGE_REPLAY; `tries`
	 * counts from 0. */
	int (*open)(void *arg, struct exchange *x, unsigned int tries, struct end **back);
	/* May change a response before it is sent. May be NULL. */
	void (*response)(void *arg, struct exchange *x, struct head *h);
	/* There is no back, or it failed before a response: the caller fills *h and returns the
	 * body (kept until ended). status: 502, 503, 504 … */
	const char *(*failure)(void *arg, struct exchange *x, enum end_why why, unsigned int status,
			       struct head *h);
	void (*ended)(void *arg, struct exchange *x, const struct exchange_account *a);
	unsigned int tries_max; /* 0: 3 */
	void *arg;
};

/* The request as it shall be sent to backs (taken); last: it has no body. The exchange frees itself
 * after `ended`. */
int exchange_start(struct exchange **out, struct end *front, struct head *request, bool last,
		   const struct exchange_options *opt);
void exchange_retry(struct exchange *x);		   /* after -EAGAIN */
void exchange_abort(struct exchange *x, enum end_why why); /* both ends; `ended` is told */
/* Answers the front without a back; a client that does not take the answer within 30 s is let go.
 */
int exchange_answer(struct reactor *r, struct end *front, unsigned int status, const char *type,
		    const char *body,
		    const char *const *fields /* name, value, …, NULL; may be NULL */);

#endif
