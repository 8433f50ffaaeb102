/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_read.h -- reads one HTTP/1 message: bytes in, a checked head, pieces of a body and trailers
 * out. Two readers must agree on every byte: h1_shape.h, strict about lines, and llhttp. The
 * server, the client, the unit tests and the fuzzer call the same functions. Nothing here touches a
 * socket or a clock.
 */
#ifndef WEIR_TUNNEL_H1_READ_H
#define WEIR_TUNNEL_H1_READ_H

#include <llhttp.h>

#include "user/tunnel/h1_shape.h"
#include "user/tunnel/h1_text.h"
#include "user/tunnel/head.h"

enum h1_event {
	H1_MORE,     /* everything was used, nothing to tell yet */
	H1_HEAD,     /* head, checked; `last`: there is no body */
	H1_DATA,     /* data, len, `last` */
	H1_TRAILERS, /* head; they are the last */
	H1_END,	     /* the body ended with the data before */
	H1_BAD,	     /* status, why: the peer broke the rules */
};

struct h1_read {
	/* what the last event told */
	struct head *head;
	const uint8_t *data;
	size_t len;
	bool last;
	unsigned int status; /* that a server answers */
	const char *why;

	/* known with the head */
	enum h1_framing framing; /* of the body */
	bool http10;
	bool keep_alive; /* the peer would go on after this message */
	bool websocket; /* request: a valid handshake, made a CONNECT; response: 101 with an upgrade
			 */
	bool expects;	/* request: 100-continue */
	char key[H1_WS_ACCEPT]; /* request: Sec-WebSocket-Key; response: -Accept */

	/* its own */
	bool response, connect, ended, bodyless;
	const char *scheme; /* of requests; borrowed */
	char method[16];    /* that a response answers */
	llhttp_t parser;
	struct h1_shape shape;
	char *kept; /* of a head or trailers that are not whole yet */
	size_t kept_len, kept_size;
	const char *name, *value, *url;
	size_t name_len, value_len, url_len;
	struct h1_read *next_spare;
};

/* For a request (scheme: what its head shall say), or a response to `method`. NULL without memory.
 * A few are kept when freed, with their memory, so that a request costs no allocation. */
struct h1_read *h1_read_request(const char *scheme, size_t header_bytes_max);
struct h1_read *h1_read_response(const char *method, size_t header_bytes_max);
void h1_read_free(struct h1_read *r); /* accepts NULL */
/* The next response on the same connection (after a 1xx). */
void h1_read_again(struct h1_read *r, size_t header_bytes_max);

/* Uses up to len bytes, until there is something to tell; how many. After H1_HEAD or H1_DATA with
 * `last`, H1_TRAILERS, H1_END: the message is over, not a byte behind it was used. */
size_t h1_read_take(struct h1_read *r, const uint8_t *data, size_t len, enum h1_event *event);
/* The connection ended: H1_END when that is how the body ends, else H1_BAD. */
enum h1_event h1_read_eof(struct h1_read *r);

#endif
