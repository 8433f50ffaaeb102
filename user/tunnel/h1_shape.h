/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_shape.h -- the shape of an HTTP/1 message (RFC 9112), byte by byte: where its head, chunks and
 * trailers begin and end, and that its lines are what the grammar says. It reads before llhttp and
 * stricter: no bare CR or LF, no folded lines, no space before a colon, no control characters. A
 * message goes on only when both readers agree about its end, so that nobody behind us, who reads
 * what we composed, and nobody in front of us can have meant another. Pure, and the same however
 * the bytes were cut.
 */
#ifndef WEIR_TUNNEL_H1_SHAPE_H
#define WEIR_TUNNEL_H1_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "user/tunnel/h1_text.h"

#define H1_EXTENSION_LINE 256	/* bytes of chunk extensions, of one chunk */
#define H1_EXTENSION_ALL  16384 /* and of a whole message */

enum h1_part {
	H1_PART_HEAD,
	H1_PART_BODY,	    /* of a known length */
	H1_PART_STREAM,	    /* until the connection ends */
	H1_PART_CHUNK_LINE, /* with the CRLF of the chunk before */
	H1_PART_CHUNK_DATA,
	H1_PART_TRAILERS,
	H1_PART_END,
};

struct h1_shape {
	enum h1_part part;
	uint8_t state;
	bool response;
	uint8_t digits;		 /* of a chunk's size */
	uint64_t left;		 /* of the body or the chunk */
	size_t lines, lines_max; /* bytes of head or trailers so far */
	uint32_t line, extensions;
};

void h1_shape_begin(struct h1_shape *s, bool response, size_t header_bytes_max);
/* After the head: what follows it. */
void h1_shape_body(struct h1_shape *s, enum h1_framing framing, uint64_t length);
/* How many of len bytes belong to the present part; when it ended, s->part is the next (after a
 * head: H1_PART_END). -EBADMSG, or -EMSGSIZE for head, trailers or extensions that are too long. */
long h1_shape_take(struct h1_shape *s, const uint8_t *data, size_t len);

#endif
