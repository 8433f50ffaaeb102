/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpc.h -- the HTTP client between daemons: libcurl with kept connections, certificates of the
 * installation, limits and clear errors.
 *
 * Blocking calls for worker threads; a client is thread-safe and keeps a pool of idle
 * connections. TLS 1.2+, the peer's certificate is always verified against the CA given.
 */
#ifndef WEIR_HTTPC_H
#define WEIR_HTTPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct httpc;

struct httpc_options {
	/* Paths of files read at httpc_new (blobs are kept: works after the privileges are gone);
	 * NULL: no TLS. */
	const char *ca, *cert, *key;
	unsigned int connect_ms;     /* 0: 1,000 */
	unsigned int stall_ms;	     /* no byte for so long: failed; 0: 10,000 */
	unsigned int idle_max;	     /* kept idle connections; 0: 32 */
	const char *user_agent;
};

int httpc_new(struct httpc **out, const struct httpc_options *opt);
void httpc_free(struct httpc *c); /* accepts NULL */

struct httpc_answer {
	long status; /* 0: no answer */
	char *body;  /* gathered, terminated; NULL when on_data took it */
	size_t len;
	char etag[80];
	uint64_t content_length; /* UINT64_MAX when not said */
	char error[256];	 /* a sentence when the call failed */
};

struct httpc_call {
	const char *method; /* "GET" when NULL */
	const char *url;    /* http:// or https://; "unix:/path:/target" for a Unix socket */
	const char *const *headers; /* "Name: value", NULL-terminated; may be NULL. Content-Type
				     * is JSON when none of them says another */
	const void *body;	    /* request body in memory, or */
	size_t body_len;
	ssize_t (*read)(void *arg, char *buf,
			size_t max); /* … pulled: count, 0 end, -errno abort */
	uint64_t read_len;	     /* UINT64_MAX: chunked */
	/* Answer pieces: return 0, or -errno to abort. on_head is called once when the status is
	 * known, before the first piece; returning -errno aborts. */
	int (*on_head)(void *arg, const struct httpc_answer *head);
	int (*on_data)(void *arg, const void *data, size_t len);
	/* Each header line of the answer, before on_head; may be NULL. */
	void (*on_header)(void *arg, const char *name, const char *value);
	void *arg;
	size_t body_max;	 /* of a gathered answer; 0: 1 MiB; more: -EMSGSIZE */
	unsigned int timeout_ms; /* whole call; 0: none (stall_ms guards) */
	/* Becomes true in another thread: the call is given up within a second or so; may be NULL. */
	const volatile bool *stop;
};

/* 0 when an answer came, whatever its status; -errno otherwise (-ECONNREFUSED, -ETIMEDOUT,
 * -EHOSTUNREACH, -EPROTO for TLS, -ECONNRESET, -ECANCELED when a callback aborted). */
int httpc_do(struct httpc *c, const struct httpc_call *call, struct httpc_answer *answer);
void httpc_answer_free(struct httpc_answer *answer);

#endif
