/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_text.h -- HTTP/1.1's text as it leaves (RFC 9112): heads composed from struct head, chunks,
 * dates, and what a WebSocket handshake computes. Pure: values in, bytes out.
 */
#ifndef WEIR_TUNNEL_H1_TEXT_H
#define WEIR_TUNNEL_H1_TEXT_H

#include "user/tunnel/head.h"

/* The largest head that can be composed: every name and value, what stands between them, the first
 * line, and our own fields. */
#define H1_HEAD_MAX (HEAD_BYTES_MAX + 8 * HEAD_FIELDS_MAX + 1024)

enum h1_framing {
	H1_NONE,    /* no body */
	H1_LENGTH,  /* Content-Length */
	H1_CHUNKED, /* Transfer-Encoding: chunked */
	H1_CLOSE,   /* until the connection ends: responses alone */
	H1_RAW,	    /* no messages any more: after CONNECT and Upgrade */
};

/* What a head says beside its fields. */
struct h1_how {
	enum h1_framing framing;
	int64_t length;		/* -1: no Content-Length; of H1_NONE too (HEAD, 304) */
	const char *connection; /* "close" …, NULL: not said */
	const char *upgrade;	/* "websocket", NULL: none */
	const char *key;	/* Sec-WebSocket-Key of a request, -Accept of a response */
	const char *date;	/* of a response that has none; NULL: none */
};

/* Both return the length, or 0 when the head does not fit. A CONNECT with :protocol is written as
 * the GET of RFC 6455. */
size_t h1_compose_request(char *out, size_t max, const struct head *h, const struct h1_how *how);
size_t h1_compose_response(char *out, size_t max, const struct head *h, const struct h1_how *how);
/* The last chunk and the trailers; h may be NULL. */
size_t h1_compose_trailers(char *out, size_t max, const struct head *h);

#define H1_CHUNK_LINE 20
/* The line before a chunk of len bytes: its length. */
size_t h1_chunk_line(char out[H1_CHUNK_LINE], size_t len);

const char *h1_reason(unsigned int status); /* "Not Found"; "" when unknown */
/* RFC 9110 section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT". */
#define H1_DATE 30
char *h1_date(int64_t unix_seconds, char out[H1_DATE]);

#define H1_WS_KEY    25 /* with terminator */
#define H1_WS_ACCEPT 29
bool h1_ws_key_valid(const char *key); /* 16 bytes in base64 */
void h1_ws_accept(const char *key, char out[H1_WS_ACCEPT]);

#endif
