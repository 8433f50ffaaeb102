/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_impl.h -- what h2.c (the connection), h2_recv.c (frames that came) and h2_stream.c (one stream
 * as an end) share; nobody else includes it.
 *
 * libnghttp2 must not be entered from its own callbacks: `inside` says that it runs. What streams
 * have to be told of their own (room, gone) waits in `tell` for the deferred h2_run(), which is
 * also the only place where a stream is freed.
 */
#ifndef WEIR_TUNNEL_H2_IMPL_H
#define WEIR_TUNNEL_H2_IMPL_H

#include <nghttp2/nghttp2.h>

#include "user/tunnel/h2.h"

struct stream {
	struct end end; /* first: an end is its stream */
	struct h2 *h;
	struct stream *next, **at; /* all streams of the connection */
	struct stream *tell_next;  /* in h->tell */
	struct stream *wait_next;  /* in h->waiting */
	const uint8_t *span;	   /* what ops->data() was given, only while it runs */
	size_t span_len;
	struct head *trailers; /* to be sent after the data */
	int64_t in_length;     /* content-length of what comes; -1: not said */
	int64_t in_bytes, in_taken;
	int64_t grown_at; /* in_taken when the window grew last */
	uint32_t window;
	size_t burst;	/* bytes sent in this turn */
	int32_t id;	/* 0: a client's, before its head */
	char method[8]; /* of the request, as far as an answer depends on it */
	enum end_why why;
	bool queued, tell_room, tell_gone, in_waiting;
	bool no_body;	/* server: HEAD, 204, 304 */
	bool told;	/* server: the request went to opt.request */
	bool in_final;	/* a client's: the final response came */
	bool in_last;	/* the receiver was told the end */
	bool out_final; /* a server's: the final response was submitted */
	bool out_last;	/* the end was taken from the receiver */
	bool span_last;
	bool eof_sent;	 /* END_STREAM or trailers went to libnghttp2 */
	bool reset;	 /* RST_STREAM is to be sent, of `why` */
	bool deferred;	 /* libnghttp2 waits for nghttp2_session_resume_data() */
	bool wants_room; /* data were refused */
	bool closed;	 /* libnghttp2 forgot it, or never knew it */
	bool let_go;	 /* aborted, or told `gone`: the receiver's no more */
};

/* How many within ten seconds. */
struct flood {
	uint64_t since_ms;
	unsigned int n;
};

struct h2 {
	struct h2_options opt;
	struct conn *conn; /* NULL: closed or aborted */
	struct reactor *reactor;
	nghttp2_session *ng;
	struct stream *streams;
	size_t n; /* of them not closed */
	struct stream *tell, **tell_end;
	struct stream *waiting, **waiting_end; /* for room in the conn */
	struct stream *sending;		       /* whose ops->data() runs */
	struct reactor_defer run;
	struct reactor_timer ping, idle, drain;
	struct reactor_last last; /* while the conn closes */
	uint8_t *rest;		  /* of the last frame: what the conn did not take */
	size_t rest_len, rest_at;
	struct head *in; /* that is coming, and of which stream */
	struct stream *in_stream;
	size_t in_size;
	bool in_bad, in_large;
	size_t frame_left; /* of the DATA frame that is coming */
	bool frame_plain;  /* it is not padded */
	struct stream *last_found;
	unsigned int heads; /* sent */
	struct flood resets, useless;
	bool annoyed;	       /* there were too many of `useless` */
	uint64_t quiet_ms;     /* since when there is no stream that anybody uses */
	uint64_t ping_sent_us; /* 0: no answer is awaited */
	uint64_t heard_ms;     /* when bytes came last */
	unsigned int silent;   /* ticks of `ping` since */
	uint32_t rtt_us;
	bool settled; /* the peer's SETTINGS came */
	bool inside, draining, drained, goaway, goaway_told;
	bool ending;	   /* GOAWAY is the last that is sent */
	bool closing;	   /* conn_close() was called */
	bool dead;	   /* over: the next h2_run() tells and frees */
	enum end_why lost; /* what streams are told then */
	char why[192];
};

/* h2.c */
void h2_run_soon(struct h2 *h);
void h2_send(struct h2 *h);
void h2_over(struct h2 *h, enum end_why lost, const char *why); /* ends it without more words */
void h2_drained(struct h2 *h);					/* the second GOAWAY */
/* Bytes to the conn behind what waits; what it does not take waits in `rest`. 0 or -ENOMEM. */
int h2_write(struct h2 *h, const void *data, size_t len);

/* h2_recv.c */
void recv_excuse(struct h2 *h, size_t bytes); /* something useful came or went */
void recv_see_floods(struct h2 *h);
void recv_callbacks(nghttp2_session_callbacks *cb);

/* h2_stream.c */
struct stream *stream_new(struct h2 *h, int32_t id);
void stream_free(struct stream *s);
void stream_tell(struct stream *s);		      /* something of it waits to be told */
void stream_told(struct stream *s);		      /* tells it; may free */
void stream_gone(struct stream *s, enum end_why why); /* to be told, unless it was let go */
void stream_closed(struct stream *s);		      /* libnghttp2 knows it no more */
void stream_room(struct h2 *h); /* those who wait for the conn get their turns */
void stream_settings(const struct h2_options *o, uint32_t *first, uint32_t *max);
/* Server: an answer without a body to a request that nobody was told of. */
void stream_refuse(struct stream *s, unsigned int status, const char *id); /* id: or NULL */
void stream_callbacks(nghttp2_session_callbacks *cb);

#endif
