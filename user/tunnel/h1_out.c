// SPDX-License-Identifier: Apache-2.0
/*
 * h1_out.c -- see h1_out.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/h1_out.h"

#define CHUNK_MAX (64u << 10) /* of what a chunk may leave waiting here */

char *h1_out_text(void)
{
	static char text[H1_HEAD_MAX]; /* the main thread's */

	return text;
}

static int keep_waiting(struct h1_out *o, const void *data, size_t len)
{
	uint8_t *pending = realloc(o->pending, o->at + o->len + len);

	if (!pending)
		return -ENOMEM;
	memcpy(pending + o->at + o->len, data, len);
	o->pending = pending;
	o->len += len;
	return 0;
}

int h1_out_put(struct h1_out *o, const void *data, size_t len)
{
	size_t n = o->len ? 0 : conn_write(o->conn, data, len);

	return n < len ? keep_waiting(o, (const uint8_t *)data + n, len - n) : 0;
}

static long put_chunks(struct h1_out *o, const uint8_t *data, size_t len, bool last)
{
	char line[H1_CHUNK_LINE];
	size_t done = 0;

	while (done < len && !o->len) {
		size_t n = len - done < CHUNK_MAX ? len - done : CHUNK_MAX;
		bool end = last && done + n == len;

		if (h1_out_put(o, line, h1_chunk_line(line, n)) || h1_out_put(o, data + done, n) ||
		    h1_out_put(o, "\r\n0\r\n\r\n", end ? 7 : 2))
			return -ENOMEM;
		done += n;
	}
	return (long)done;
}

static int put_end(struct h1_out *o, const struct head *trailers)
{
	char *text = h1_out_text();

	return h1_out_put(o, text, h1_compose_trailers(text, H1_HEAD_MAX, trailers));
}

long h1_out_body(struct h1_out *o, const void *data, size_t len, bool last)
{
	size_t n;
	int rc;

	if (o->framing == H1_NONE)
		return (long)len;
	if (!len) {
		rc = last ? h1_out_end(o, NULL) : 0;
		return rc;
	}
	if (o->len) /* `writable` is owed since then */
		return 0;
	if (o->framing == H1_CHUNKED)
		return put_chunks(o, data, len, last);
	if (o->framing == H1_LENGTH && (uint64_t)o->left < len)
		return -EPROTO;
	n = conn_write(o->conn, data, len);
	if (o->framing == H1_LENGTH)
		o->left -= (int64_t)n;
	return last && n == len && o->framing == H1_LENGTH && o->left ? -EPROTO : (long)n;
}

int h1_out_end(struct h1_out *o, const struct head *trailers)
{
	if (o->framing == H1_CHUNKED)
		return put_end(o, trailers);
	return o->framing == H1_LENGTH && o->left ? -EPROTO : 0;
}

bool h1_out_flush(struct h1_out *o)
{
	size_t n;

	if (!o->len)
		return true;
	n = conn_write(o->conn, o->pending + o->at, o->len);
	o->at += n;
	o->len -= n;
	if (o->len)
		return false;
	h1_out_reset(o);
	return true;
}

void h1_out_reset(struct h1_out *o)
{
	free(o->pending);
	o->pending = NULL;
	o->at = o->len = 0;
}
