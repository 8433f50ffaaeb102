/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2.h -- HTTP/2 (RFC 9113) over a conn by libnghttp2, in all four roles: server for clients, client
 * to targets, and over a tunnel both ways round (the origin dials and is the server).
 *
 * DATA goes out of the memory where it was read, and is told in the memory of the read. A stream's
 * window bounds what a slow reader may hold back; the connection's window is given back at once, so
 * that one slow stream does not slow the others.
 */
#ifndef WEIR_TUNNEL_H2_H
#define WEIR_TUNNEL_H2_H

#include "user/tunnel/conn.h"
#include "user/tunnel/end.h"

struct h2;

/* Of a tunnel's DATA: one read goes in one frame, so that TLS makes most of its records from where
 * the bytes lie. */
#define H2_TUNNEL_FRAME (256u << 10)

struct h2_options {
	bool server;
	const char *scheme;	     /* server: checked against :scheme when set */
	size_t header_bytes_max;
	uint32_t streams_max;	     /* that the peer may open */
	uint32_t stream_window;	     /* bytes, reached as its receiver keeps up; 0: 1 MiB */
	uint32_t connection_window;  /* bytes; 0: 16 MiB */
	uint32_t frame_max;	     /* SETTINGS_MAX_FRAME_SIZE; 0: 16 KiB */
	unsigned int ping_ms, dead_ms; /* a PING each, dead after; 0: none */
	unsigned int idle_ms;	     /* without streams; 0: none */
	/* Streams that a client reset before their answer: so many within ten seconds end the
	 * connection with ENHANCE_YOUR_CALM (CVE-2023-44487); 0: 200. */
	unsigned int resets_max;
	void (*request)(void *arg, struct end *front, const struct head *h, bool last); /* server */
	/* server: returns the request's id for the answer, or NULL */
	const char *(*refused)(void *arg, unsigned int status, const char *why);
	void (*goaway)(void *arg);	 /* the peer drains: open no more here; what runs goes on */
	void (*closed)(void *arg, const char *why); /* once, last; streams were told `gone` before */
	void *arg;
};
/* Takes over the conn, which is ready; read: bytes that came already. */
int h2_new(struct h2 **out, struct conn *c, const struct h2_options *opt);
/* Client: a new stream; the request goes by back->ops->head. -EAGAIN: no stream is free, the peer
 * drains. */
int h2_open(struct h2 *h, struct end **back);
/* Server: GOAWAY in two steps (RFC 9113 section 6.8). Client: opens no more, ends when idle. */
void h2_drain(struct h2 *h);
/* Ends it with GOAWAY and a sentence as its debug data, which the other side's `closed` is told behind
 * H2_PEER_SAYS; the streams are lost. `closed` is not told here. */
#define H2_PEER_SAYS "the peer says: "
void h2_end(struct h2 *h, const char *why);
void h2_abort(struct h2 *h, const char *why); /* `closed` is not told */
struct conn *h2_conn(struct h2 *h);
size_t h2_streams(const struct h2 *h);	  /* open now */
bool h2_can_open(const struct h2 *h);
bool h2_peer_settled(const struct h2 *h);  /* its SETTINGS came */
bool h2_peer_connects(const struct h2 *h); /* … with SETTINGS_ENABLE_CONNECT_PROTOCOL */
uint32_t h2_rtt_us(const struct h2 *h);	  /* smoothed, of PINGs; 0: not known */

#endif
