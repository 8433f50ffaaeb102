/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h -- a stream of bytes: TCP or Unix socket, plain or TLS (OpenSSL), accepted or dialled.
 *
 * An idle connection holds no buffer: input is read into the reactor's scratch memory, output that
 * the kernel does not take at once is kept (at most CONN_OUT_MAX), TLS buffers are released when
 * empty. Output written during a batch leaves at its end in as few system calls and TLS records as
 * possible. Callbacks may call everything here, conn_abort() included; the memory lives until the
 * batch ends.
 */
#ifndef WEIR_TUNNEL_CONN_H
#define WEIR_TUNNEL_CONN_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "user/tunnel/reactor.h"

#define CONN_OUT_MAX                                                                               \
	(512u << 10) /* bytes that wait for the kernel before conn_write() takes no more */

struct conn;

struct conn_events {
	/* Connected and, with TLS, shaken hands. Not called for accepted plain connections. */
	void (*ready)(struct conn *c, void *arg);
	/* Returns how many of len bytes were used. When fewer, the rest is kept, reading stops, and
	 * conn_resume() hands it in again. */
	size_t (*data)(struct conn *c, void *arg, const uint8_t *data, size_t len);
	/* The kernel took what waited, after conn_write() had taken less than was given. */
	void (*writable)(struct conn *c, void *arg);
	/* The peer will send no more (FIN, close_notify). Writing is still possible. */
	void (*eof)(struct conn *c, void *arg);
	/* It is over, told once and last: 0 closed by us after everything was sent, else -errno
	 * (-ECONNREFUSED, -ETIMEDOUT, -ECONNRESET, -EPROTO: TLS, see conn_error()). Not told after
	 * conn_abort(). The conn is freed after it. */
	void (*closed)(struct conn *c, void *arg, int err);
};

/* Takes fd (non-blocking). tls NULL: plain. Events begin with the next batch. 0 or -errno (fd is
 * closed then). */
int conn_accept(struct conn **out, struct reactor *r, int fd, SSL_CTX *tls,
		const struct conn_events *on, void *arg);
/* The same for a socket of which bytes were read already (they are told first, or fed to TLS). */
int conn_accept_with(struct conn **out, struct reactor *r, int fd, SSL_CTX *tls,
		     const struct conn_events *on, void *arg, const void *read, size_t len);

/* Time for the handshake of an accepted TLS connection, from now; 10,000 when not said. */
void conn_set_handshake_ms(struct conn *c, unsigned int ms);

struct conn_dial {
	struct addr_port to;	 /* TCP or Unix */
	SSL_CTX *tls;		 /* NULL: plain */
	const char *server_name; /* SNI, and the name or address that the certificate must have;
				    NULL: not checked */
	unsigned int timeout_ms; /* to connect and shake hands; 0: 3,000 */
};
int conn_dial(struct conn **out, struct reactor *r, const struct conn_dial *dial,
	      const struct conn_events *on, void *arg);

/* Other callbacks from now on (after a first look at what the client speaks). */
void conn_handler(struct conn *c, const struct conn_events *on, void *arg);

/* Takes up to len bytes, all when there is room; returns the count. TLS: records are made of what
 * was gathered in the batch. After less than len `writable` is told. */
size_t conn_write(struct conn *c, const void *data, size_t len);
/* Bytes that wait, and whether conn_write() would take any. */
size_t conn_waiting(const struct conn *c);
bool conn_has_room(const struct conn *c);
/* Sends what waits now, not at the end of the batch. */
void conn_flush(struct conn *c);

/* TCP: acknowledges what came without waiting for something to send with it. */
void conn_ack_now(struct conn *c);

void conn_pause(struct conn *c);  /* no `data` until conn_resume(): the peer feels it through TCP */
void conn_resume(struct conn *c); /* from a callback: data comes after it returned */

void conn_finish(struct conn *c); /* FIN (and close_notify) after what waits */
/* The same, what still comes is dropped; `closed` follows when the peer has closed too, 5 s after
 * everything was sent, or when the peer took nothing for 20 s. */
void conn_close(struct conn *c);
void conn_abort(struct conn *c); /* at once, with a reset; no event any more */

const struct addr_port *conn_peer(const struct conn *c);
const struct addr_port *conn_local(const struct conn *c); /* what the client dialled */
SSL *conn_tls(const struct conn *c);			  /* NULL: plain */
const char *conn_alpn(const struct conn *c);		  /* "" when none */
const char *conn_error(const struct conn *c);		  /* a sentence for the last failure */
uint64_t conn_bytes_in(const struct conn *c), conn_bytes_out(const struct conn *c);
/* Something came, or the end of it, that was not told yet. */
bool conn_has_input(const struct conn *c);
/* Milliseconds since something moved. */
uint64_t conn_idle_ms(const struct conn *c);
struct reactor *conn_reactor(const struct conn *c);

/* ---- TLS contexts ---- */
struct conn_tls_files {
	const char *cert, *key; /* PEM files; cert may hold the chain; NULL: none */
	const char *ca;		/* whose peers are verified; NULL: the system's, for clients */
	bool server, require_client, tls13_only;
	const char *const *alpn; /* in order of preference, NULL-terminated; NULL: none */
};
/* 0, or -errno with a sentence (which file, what about it) in why. TLS 1.2+ with forward secrecy
 * and AEAD alone, no renegotiation, no compression. */
int conn_tls_new(SSL_CTX **out, const struct conn_tls_files *files, char *why, size_t why_len);
/* Keys for session tickets, made anew: what a stolen key opens ends here (TLS 1.2 with a ticket has no
 * forward secrecy of its own). Clients with a ticket of before shake hands in full. */
void conn_tls_new_tickets(SSL_CTX *ctx);

#endif
