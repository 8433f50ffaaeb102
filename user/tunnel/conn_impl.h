/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_impl.h -- what the files of a conn share: conn.c (life, events), conn_out.c (what waits
 * to be sent), conn_tls.c (records). Nobody else includes it.
 */
#ifndef WEIR_TUNNEL_CONN_IMPL_H
#define WEIR_TUNNEL_CONN_IMPL_H

#include <openssl/ssl.h>
#include <sys/types.h>

#include "user/tunnel/conn.h"

#define CONN_RECORD 16384u /* RFC 8446 section 5.1: the most that a record carries */

/* A piece of output. They come from a free list: an idle connection has none. */
struct conn_chunk {
	struct conn_chunk *next;
	uint32_t begin, end; /* of data, what was not sent yet */
	uint8_t data[];
};

enum conn_state {
	CONN_CONNECTING,
	CONN_SHAKING,
	CONN_OPEN,
	CONN_OVER, /* closed or aborted: the memory waits for the end of the batch */
};

struct conn_bytes { /* allocated input that was not used yet */
	uint8_t *data;
	size_t at, len;
};

struct conn {
	struct reactor_io io;
	struct reactor *reactor;
	const struct conn_events *on;
	void *arg;
	struct reactor_defer work, reap;
	struct reactor_timer timer; /* connecting, shaking, closing */
	struct reactor_last last;   /* closing: its user may be gone before it is */

	struct conn_chunk *first, *end; /* for the kernel, in order */
	size_t out;			/* bytes in them */
	struct conn_chunk *plain;	/* TLS: gathered for a record */
	size_t plain_len;

	SSL *ssl;
	size_t tls_left;	/* bytes that this turn may still read */
	unsigned int rekeyed;	/* by the peer's KeyUpdate, since the last byte of data */
	char *alpn;		/* NULL: none */
	struct conn_bytes kept; /* `data` did not use it */
	struct conn_bytes fed;	/* TLS: read before by somebody else */

	uint64_t bytes_in, bytes_out, moved_ms;
	uint64_t deadline_ms; /* connecting, closing */
	struct addr_port peer;
	struct addr_port *local; /* when asked for */
	char *error;
	int failed;	    /* -errno: to be told */
	int receive_failed; /* TLS: of the socket, 1 for a FIN without close_notify */
	int write_failed;   /* -errno: nothing can be sent, what came before is still read */

	uint8_t state;
	bool sock_readable, sock_writable; /* as epoll last said, until the kernel says otherwise */
	bool readable;			   /* the same after TLS, which holds records of its own */
	bool hangup;			   /* no short read is the last one */
	bool keeps_up;			   /* `data` took a large read at once */
	bool paused, resumed;		   /* resumed: within the running callback */
	bool want_room;			   /* `writable` is owed */
	bool ready_owed;
	bool watched;			 /* by the reactor */
	bool read_ended;		 /* eof */
	bool finish, notified, fin_sent; /* asked for; close_notify written; FIN sent */
	bool closing;
	bool ended; /* `closed` is owed */
};

/* ---- conn.c ---- */
void conn_work_soon(struct conn *c);
/* To be told as `closed` from the reactor; the first failure counts. say may be NULL. */
void conn_fail(struct conn *c, int err, const char *say);

/* ---- conn_out.c ---- */
int conn_out_add(struct conn *c, const void *data, size_t len); /* 0 or -ENOMEM */
void conn_out_send(struct conn *c);				/* what the kernel takes */
void conn_out_drop(struct conn *c);
size_t conn_out_max(void); /* bytes that a connection may keep now */
struct conn_chunk *conn_chunk_get(void);
void conn_chunk_put(struct conn_chunk *chunk);

/* ---- conn_tls.c ---- */
int conn_tls_begin(struct conn *c, SSL_CTX *ctx, const char *server_name, bool server);
/* 1 done, 0 needs more, else failed (conn_fail() was called). */
int conn_tls_shake(struct conn *c);
/* Like read(): 0 at close_notify, -EAGAIN. */
ssize_t conn_tls_read(struct conn *c, uint8_t *buf, size_t len);
size_t conn_tls_write(struct conn *c, const uint8_t *data, size_t len);
void conn_tls_gathered(struct conn *c); /* makes a record of what was gathered */
void conn_tls_notify(struct conn *c);	/* close_notify */
/* Input for TLS: like read(), with what was fed before it. */
ssize_t conn_receive(struct conn *c, void *buf, size_t len);

#endif
