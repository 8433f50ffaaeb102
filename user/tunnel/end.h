/* SPDX-License-Identifier: Apache-2.0 */
/*
 * end.h -- one end of an exchange: the side where a request came in, or the side to which it goes.
 *
 * HTTP/1 and HTTP/2, server and client, and bare byte streams all look like this, so that
 * exchange.c joins any two. Data are handed on in the memory where they were read; what the other
 * end does not take is the joiner's to keep. Flow control is by `taken`: an end reads no more than
 * its window of bytes that were not yet taken (HTTP/2: the stream's window; others: one read).
 *
 * Rules: ops never call events of the same end before they return, but for events told through
 * the reactor. After `abort`, or after the event `gone`, the end is not touched any more. Each
 * direction ends once, with `last` set on a head or on data (len may be 0), or with trailers.
 *
 * Letting go: when both directions ended, the end tells `gone` with END_DONE, through the reactor.
 * Or the receiver is quicker and calls abort(END_DONE), which breaks nothing: what ended in both
 * directions was in order (HTTP/1 keeps the connection for the next message); what the peer still
 * sends is not wanted any more (HTTP/2: RST_STREAM with NO_ERROR or CANCEL; HTTP/1: the connection
 * ends after what was sent). No event after it.
 */
#ifndef WEIR_TUNNEL_END_H
#define WEIR_TUNNEL_END_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "user/tunnel/head.h"

struct end;

enum end_why {
	END_DONE,      /* both directions ended in order */
	END_CANCEL,    /* the other side went away */
	END_REFUSED,   /* not begun by the peer: may be sent elsewhere (REFUSED_STREAM, GOAWAY, no connection) */
	END_PROTOCOL,  /* the peer broke the rules */
	END_LOST,      /* the connection broke */
	END_TIMEOUT,
	END_LIMIT,     /* too large, too many */
	END_ERROR,     /* ours: memory, … */
};
const char *end_why_word(enum end_why why); /* "lost" …: label of metrics and logs */

struct end_ops {
	/* A front takes responses (1xx first, then one final), a back takes the request. 0 or
	 * -errno. */
	int (*head)(struct end *e, const struct head *h, bool last);
	/* Takes a part and returns its size. Less than len: the event `room` comes when it is worth
	 * trying again. `last` counts only when everything was taken. */
	size_t (*data)(struct end *e, const void *data, size_t len, bool last);
	int (*trailers)(struct end *e, const struct head *h);
	/* So many bytes told by the event `data` have left: the peer may send as many more. */
	void (*taken)(struct end *e, size_t len);
	void (*abort)(struct end *e, enum end_why why);
};

struct end_events {
	/* h is the receiver's to copy from, and gone when it returns. A back tells responses (1xx
	 * too); a front's request is told to the server's accept function instead. */
	void (*head)(struct end *e, void *arg, const struct head *h, bool last);
	void (*data)(struct end *e, void *arg, const void *data, size_t len, bool last);
	void (*trailers)(struct end *e, void *arg, const struct head *h);
	void (*room)(struct end *e, void *arg);
	void (*gone)(struct end *e, void *arg, enum end_why why);
};

struct end {
	const struct end_ops *ops;
	const struct end_events *on; /* set by the receiver with end_listen() */
	void *arg;
};

static inline void end_listen(struct end *e, const struct end_events *on, void *arg)
{
	e->on = on;
	e->arg = arg;
}

#endif
