/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_out.h -- what HTTP/1 writes to a conn: heads, which are taken whole or not at all, and bodies
 * in their framing. What the conn did not take of a head or of a chunk that was begun waits here.
 */
#ifndef WEIR_TUNNEL_H1_OUT_H
#define WEIR_TUNNEL_H1_OUT_H

#include "user/tunnel/conn.h"
#include "user/tunnel/h1_text.h"

struct h1_out {
	struct conn *conn;
	enum h1_framing framing; /* of the body */
	int64_t left;		 /* H1_LENGTH: of the body */
	uint8_t *pending;
	size_t at, len; /* of what waits */
};

int h1_out_put(struct h1_out *o, const void *data, size_t len); /* all of it; 0 or -ENOMEM */
/* A part of the body: how much was taken; when less than len, the conn tells `writable`. -EPROTO:
 * more than the length that was said, -ENOMEM. */
long h1_out_body(struct h1_out *o, const void *data, size_t len, bool last);
/* The end of a body without data, or with trailers (h may be NULL): 0, -EPROTO: the length was not
 * reached, -ENOMEM. */
int h1_out_end(struct h1_out *o, const struct head *trailers);
bool h1_out_flush(struct h1_out *o); /* upon `writable`: nothing waits here any more */
void h1_out_reset(struct h1_out *o); /* forgets what waits */

/* A head that is composed: memory for one, shared by all. */
char *h1_out_text(void);

#endif
