/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_fields.h -- the fields that an edge takes away from a request and those that it adds.
 * Pure.
 *
 * Only the edge says who the client is: what a client itself says about that never goes through, in
 * any spelling that a server might take for it (x_forwarded_for).
 */
#ifndef WEIR_TUNNEL_REQUEST_FIELDS_H
#define WEIR_TUNNEL_REQUEST_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"
#include "user/tunnel/head.h"

#define REQUEST_ID_LEN	16 /* hexadecimal digits */
#define TRACEPARENT_LEN 55 /* version 00 (W3C Trace Context, section 3.2) */

/* Room that the added fields take, for head_copy_room(). */
#define REQUEST_FIELDS_TEXT 512
#define REQUEST_FIELDS	    8

struct request_origin {
	const char *id;		   /* REQUEST_ID_LEN digits */
	const char *traceparent;   /* used when the client sent none that is valid */
	const struct addr *client; /* who asks */
	uint16_t client_port;
	const struct addr *local; /* what the client dialled; NULL: not told (x-weir-local) */
	uint16_t local_port;
};

/* For the gateway: removes and adds all. 0, -E2BIG or -ENOMEM. */
int request_fields_forward(struct head *h, const struct request_origin *from);
/* For an origin: the same, but for what it can tell its target by itself from the client's address.
 */
int request_fields_tunnel(struct head *h, const struct request_origin *from);
/* The rest, by the origin: x-forwarded-for, -proto and -host, and forwarded. */
int request_fields_target(struct head *h, const struct addr *client);
/* Of a response: what is only for the edge goes, x-request-id comes. 0, -E2BIG or -ENOMEM. */
int request_fields_answer(struct head *h, const char *id);

bool traceparent_valid(const char *text);
/* random: 24 bytes; a trace that is sampled. */
void traceparent_make(char out[TRACEPARENT_LEN + 1], const uint8_t random[24]);

#endif
