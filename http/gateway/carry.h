/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry.h -- a request that is carried to an endpoint and its answer back, in streams of bounded memory both ways.
 *
 * A few threads, each with libcurl's multi interface, hold any number of requests: a client that sends or reads slowly
 * stops the endpoint, and the other way round, and costs no thread. The request goes to the endpoints' inside listener,
 * composed anew by the caller. Another endpoint is tried only while nothing was sent to the former one, or, for GET and
 * HEAD, while nothing of the answer was told to the client. An endpoint that dies later cuts an answer that has begun
 * (the client sees that it is short), and is an error otherwise.
 *
 * The caller's handlers call carry_begin(), _body, _end and _done in theirs.
 */
#ifndef WEIR_CARRY_H
#define WEIR_CARRY_H

#include "lib/conf.h"
#include "lib/httpd.h"

#define CARRY_TRIES   4
#define CARRY_HEADERS 160 /* of an answer: metadata of 2 KiB may be many lines */

struct carriers;
/* While privileged: reads the certificates of conf->tls. 0 or -errno, which is logged. */
int carriers_new(struct carriers **out, const struct conf *conf, unsigned int threads);
int carriers_start(struct carriers *all);
/* How many requests are carried now. */
size_t carriers_active(struct carriers *all);
/* Before the server stops: what is carried is given up. Accepts NULL. */
void carriers_stop(struct carriers *all);
void carriers_free(struct carriers *all); /* after the server stopped; accepts NULL */

enum carry_fault {
	CARRY_NONE,	   /* no endpoint is alive */
	CARRY_UNREACHABLE, /* none of those that are could be reached */
	CARRY_LOST,	   /* the endpoint went away before it answered: what it did is not known */
	CARRY_SLOW,	   /* it was silent for too long: the same */
	CARRY_MEMORY,
};

struct carry_order {
	const char *method, *target; /* "/i/s3/…", encoded */
	const char *const *headers;  /* "Name: value", ended by NULL */
	uint64_t body_len;	     /* UINT64_MAX: chunked */
	bool has_body;		     /* also of no byte */
	bool expects;		     /* the client waits for "100 Continue": it is told so when the endpoint wants the body */
	/* The next endpoint ("http(s)://HOST:PORT") that is none of `tried`: 0, or -ENOENT. */
	int (*pick)(void *arg, char (*tried)[64], size_t ntried, char base[256], char node[64]);
	/* Answers for the endpoint; node: of the last try, "" when there was none. Under a lock: short, and nothing of carry.h. */
	enum http_next (*refuse)(void *arg, struct http_req *req, enum carry_fault fault, const char *node);
	/* The status is known: for counts. May be NULL. */
	void (*answered)(void *arg, unsigned int status);
	void *arg; /* lives until carriers_stop() */
};

struct carry;
/* All is copied. NULL without memory. The caller keeps it as the request's state, and returns from begin what carry_next() says. */
struct carry *carry_begin(struct carriers *all, struct http_req *req, const struct carry_order *order);
enum http_next carry_next(struct carry *c);
enum http_next carry_body(struct carry *c, const void *data, size_t len, size_t *taken);
enum http_next carry_end(struct carry *c);
void carry_done(struct carry *c); /* accepts NULL */

#endif
