/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home.h -- the viewers whose connections this gateway holds: their tracker sockets, their event stream, what the owner
 * of their asset must be told again when it is another one.
 *
 * A viewer enters with its first connection or report and leaves when nothing was heard of it for 10 s; the owner is told
 * of both (exchange.h), in order for each viewer. Thread-safe. Nothing here blocks, or calls `up` with the table's lock
 * held: the owner may answer at once, on the same thread.
 */
#ifndef WEIR_HOME_H
#define WEIR_HOME_H

#include "http/peers/secret.h"
#include "http/peers/ws.h"
#include "lib/addr.h"

#define HOME_GRACE_MS	10000
#define HOME_EXCLUDED	2      /* viewers of one address, and new ones of it help nobody … */
#define HOME_BARRED_MS	600000 /* … for so long after the last */

struct home;
struct home_options {
	/* Who owns an asset now, as a number; with the table's lock held. NULL: the same for ever, but home_retell() tells all. */
	uint64_t (*owner)(void *arg, const char *asset);
	void (*up)(void *arg, enum peers_up kind, const char *viewer, const char *asset, const char *text);
	void *arg;
};
int home_new(struct home **out, const struct home_options *opt);
void home_free(struct home *h); /* accepts NULL; every socket and stream must be gone */
void home_limits(struct home *h, unsigned int viewers, unsigned int per_address);

/* Who comes, and from where. */
struct home_guest {
	const struct viewer_token *token;
	const char *client; /* its address, as access_client() says it: for the cap alone */
	const char *facts;  /* UP_JOIN's text */
	int64_t now_ms;
};
/* Would one from this address be let in? 0, -ENOSPC (no room here), -EUSERS (too many of this address). */
int home_room(struct home *h, const char *client);

/* A tracker's socket, before ws_accept(); its connection; what is said by it; its end (also when it was refused). 0,
 * -ENOSPC, -EUSERS, or -EACCES (excluded by the owner). A fifth socket closes the eldest. */
struct home_socket;
int home_socket_new(struct home *h, const struct home_guest *g, struct home_socket **out);
void home_socket_opened(struct home_socket *s, struct ws_conn *c);
void home_socket_said(struct home_socket *s, int64_t now_ms, const char *text);
void home_socket_free(struct home_socket *s);

/* An event stream: push is given ready events, end closes it; both are called with the table's lock held and must not call
 * back. The last instruction is pushed at once. Returns as home_socket_new(). A second stream ends the first. */
struct home_stream {
	void (*push)(struct home_stream *s, const char *text, size_t len);
	void (*end)(struct home_stream *s);
	void *viewer; /* the table's */
};
int home_stream_add(struct home *h, const struct home_guest *g, struct home_stream *s);
void home_stream_remove(struct home *h, struct home_stream *s); /* may have been ended */

/* A report's text, checked for shape. 0, as home_socket_new(), or -EBUSY: less than gap_ms after the last one. consent:
 * 1, 0, or -1 when it says nothing of it. */
int home_report(struct home *h, const struct home_guest *g, int64_t gap_ms, int consent, const char *text);

/* What is kept of an announce: the same without offers, malloc'ed; NULL: that was none. Its first swarm_len bytes name the
 * swarm. */
struct home_announce {
	char *brief;
	size_t swarm_len;
	bool stopped;
};
void home_announce_read(struct home_announce *out, const char *text);

/* From the owner. event: an instruction, ready for a stream; kept for the next one; one whose epoch is before that of another
 * is of a former owner and goes nowhere. text of DOWN_CLOSE: why. */
void home_track(struct home *h, const char *viewer, const char *text);
void home_instruct(struct home *h, const char *viewer, int64_t epoch, const char *event, size_t len);
void home_close(struct home *h, const char *viewer, int64_t now_ms, const char *why);
/* What it said of its consent at another home, or here under another owner. */
void home_consent(struct home *h, const char *viewer, bool consent);

/* Once a second: who left leaves, whose session is over is closed; every 10 s a sign of life on each stream. */
void home_sweep(struct home *h, int64_t now_ms, int64_t now_unix_s);
/* Another gateway owns some assets now: their viewers join again, with the epoch that they know, the last report and the
 * last announces; of those who are excluded it hears that they are. */
void home_retell(struct home *h, int64_t now_ms);
/* The owner does not know that viewer: it joins again, with the next home_retell_asked() (a few times a second). */
void home_again(struct home *h, const char *viewer);
void home_retell_asked(struct home *h, int64_t now_ms);
/* Ends every stream: the server stops. */
void home_end(struct home *h);

struct home_counts {
	unsigned int viewers, sockets, streams;
};
void home_counts(struct home *h, struct home_counts *out);

#endif
