/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry_int.h -- what carry.c (the client's side) and carry_curl.c (the endpoint's side) share.
 *
 * Who may hold a carry: the request's handlers, the stream of its answer, its carrier, the carrier's inbox. Its lock comes before
 * a carrier's.
 */
#ifndef WEIR_CARRY_INT_H
#define WEIR_CARRY_INT_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "http/gateway/carry.h"

#define CARRY_RING (128u << 10)

struct ring {
	char *data;	/* CARRY_RING bytes, made at first use */
	size_t at, len; /* [at, at + len) modulo CARRY_RING */
};

struct carrier {
	struct carriers *all;
	pthread_t thread;
	CURLM *multi;
	CURL *idle[64];
	size_t nidle;
	struct carry *first; /* the thread's own: those under way */
	pthread_mutex_t lock;
	struct carry *inbox; /* told to look at; under the lock */
	bool quit;
};

struct carriers {
	char *ca, *cert, *key; /* PEM, NULL: plain */
	size_t ca_len, cert_len, key_len;
	struct carrier *carriers;
	unsigned int ncarriers, started;
	atomic_uint next;
	atomic_size_t active;
};

struct carry {
	struct carrier *by;
	atomic_uint refs;
	pthread_mutex_t lock; /* of what follows, up to the carrier's own */
	struct http_req *req; /* NULL: the request is over */
	bool asked;	      /* its handlers wait for the answer */
	bool waits_room;      /* the client is not read until there is room */
	bool held;	      /* … until the endpoint wants the body, or answers */
	struct ring in, out;
	bool in_ended, in_paused; /* all of the body is here; libcurl waits for more */
	bool out_paused;	  /* libcurl waits for room */
	bool out_wanted;	  /* the client's stream waits for bytes */
	bool ready, replied;	  /* the answer can be told; was told */
	bool over;		  /* the carrier has nothing more to do: whole or fault */
	bool failed;
	enum carry_fault fault;
	bool cancelled; /* nobody wants it any more */
	unsigned int status;
	uint64_t length; /* of the answer, UINT64_MAX: not said */
	char *names[CARRY_HEADERS], *values[CARRY_HEADERS];
	size_t nheaders;
	char tried[CARRY_TRIES][64];
	size_t ntried;

	bool told; /* in the inbox; under the carrier's lock */
	struct carry *inbox_next;

	/* the carrier's own */
	bool started;
	struct carry *next, **link;
	CURL *curl;
	struct curl_slist *sent;
	char error[CURL_ERROR_SIZE];
	bool taken; /* something of the body was handed to libcurl */
	bool head_over;
	int64_t moved_ms;

	/* the order, constant */
	char *method, *target;
	uint64_t body_len;
	bool has_body, is_head;
	int (*pick)(void *arg, char (*tried)[64], size_t ntried, char base[256], char node[64]);
	enum http_next (*refuse)(void *arg, struct http_req *req, enum carry_fault fault, const char *node);
	void (*answered)(void *arg, unsigned int status);
	void *arg;
};

/* What fitted; a ring without memory takes nothing. */
size_t ring_put(struct ring *r, const void *data, size_t len);
size_t ring_get(struct ring *r, void *buf, size_t max);

/* carry.c */
void carry_unref(struct carry *c);
/* The carrier looks at it; with or without the lock. False: it ended, and looks at nothing any more. */
bool carry_tell(struct carry *c);
/* Under the lock: answers the client when it can be answered now, by whoever is here; the carrier resumes it. */
bool carry_may_reply(const struct carry *c);
void carry_reply(struct carry *c);

/* carry_curl.c */
void *carrier_run(void *carrier);

#endif
