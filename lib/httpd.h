/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd.h -- the one HTTP server of weir, on libmicrohttpd: routes, limits, refusals, streaming
 * with back-pressure, answers from memory, files and streams, server-sent events, upgrades, TLS with
 * client certificates.
 *
 * A request runs through a route's functions on a thread of the server's pool: `begin` when the
 * headers are there, `body` for each piece, `end` when the body is complete, `done` when the
 * request is over, whatever its end (the place to free). They must not block: work that waits for
 * disk or network goes through http_work(). Malformed requests (conflicting Content-Length,
 * Transfer-Encoding with Content-Length, duplicate Host, bad targets, oversized headers) are
 * refused before `begin` and the connection is closed (RFC 9112 section 6.3, 11.2).
 */
#ifndef WEIR_HTTPD_H
#define WEIR_HTTPD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "lib/addr.h"
#include "lib/metrics.h"

struct load;
struct httpd;	 /* a server: listeners, routes, pool */
struct http_req; /* one request, owned by the server */

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_PUT,
	HTTP_POST,
	HTTP_DELETE,
	HTTP_PATCH,
	HTTP_OPTIONS,
	HTTP_METHODS
};

/* What a handler returns: an answer was queued (any http_reply function returns this), the request
 * goes on (begin: the body is wanted), or the answer comes later from http_work() or
 * http_resume(). HOLD, of begin alone: nothing of the body is read, and a client that waits for it is told no "100 Continue",
 * before http_resume(); when it was answered by then, the body is not wanted. */
enum http_next { HTTP_ANSWERED, HTTP_CONTINUE, HTTP_LATER, HTTP_HOLD };

/* One header line, as a name and its value. */
struct http_pair {
	const char *name, *value;
};
#define HTTP_HEADERS_MAX 128 /* a request with more is refused */

struct http_route {
	unsigned int methods; /* bit set of 1u << HTTP_GET, …; HEAD is implied by GET */
	/* "/_/health", "/o/:sha256", "/b/:bucket/" and "*key": the rest, may be empty. What does not begin
	 * with a slash ("s3") is a name for choose alone. */
	const char *path;
	uint64_t body_max; /* bytes; larger ones get 413. 0: no body allowed */
	enum http_next (*begin)(struct http_req *req, void *arg);
	/* Takes all of len bytes (*taken is len already), or says by *taken that fewer fit now:
	 * then the client is not read until http_resume() and the rest is handed in again. A reply
	 * from here is sent when the rest of the body was read and dropped, if that is little, or if it is a file, a
	 * stream or a kept answer; else, and when the client holds the rest back, in the middle of the body, and the
	 * connection ends. Returns CONTINUE, ANSWERED, or LATER (took all of it, but wants no more before
	 * http_resume()). NULL: the body is gathered in memory (body_max of a few MiB at most then, and of strangers'
	 * far less), see http_body(). */
	enum http_next (*body)(struct http_req *req, void *arg, const void *data, size_t len,
			       size_t *taken);
	enum http_next (*end)(struct http_req *req, void *arg); /* NULL: begin answers */
	void (*done)(struct http_req *req, void *arg);		/* may be NULL */
	void *arg; /* for these functions; NULL: the server's */
};

/* "METHOD PATH" lines, in the order in which they are looked at: for tests that know every route. */
void http_routes_print(const struct http_route *routes, FILE *out);

/* Asked for each good head before the routes are looked at: the row of the server's table that takes the
 * request whatever its method and path, or NULL: the routes decide. Such a row has no parameters (see
 * http_target()), its target may hold dot segments, and body_max holds as for all. On the pool thread: looks at what the request says, and answers nothing. */
typedef const struct http_route *http_choose_fn(struct http_req *req, void *arg);

/* A request of the plainest kind (GET or HEAD, no body, no query, nothing but well-known header lines) before libmicrohttpd
 * sees it. Texts are NULL when absent, and valid during the call. */
struct http_cached;
struct http_hot_ask {
	enum http_method method;
	const char *target, *host, *authorization, *if_none_match, *origin;
	const struct http_pair *lines; /* all of them, as http_headers() has them */
	size_t nlines;
	const struct addr_port *peer;
};
/* What may make an answer ready: run(what, arg) on a worker, where it may block. what is malloc'ed, and freed by the server. */
struct http_warm {
	void (*run)(void *what, void *arg);
	void *what;
};
/* The answer that is ready for it, a reference that the server gives back by http_cached_free(), and the row of the table
 * that it counts for; a 304 is an answer, too. NULL: the request goes the common way through the routes, where the same
 * answer, or another one, is made; but when *warm was filled in, that is run first as a rule, and then the same is asked
 * once more. Called on a thread of the server, must not block, and is asked for every request: what
 * it says must be true now. */
typedef struct http_cached *http_hot_fn(const struct http_hot_ask *ask, const struct http_route **route, struct http_warm *warm,
					void *arg);

/* Answers an error of the server's own (a malformed head, a body that is too large, a full queue of workers) in the words of what
 * the request speaks. status and code as http_reply_error() would have them; sentence is for people. True: it replied. Of a malformed
 * request some is not known: http_target() may be NULL. On the thread that refuses, in place of the handler's reply. */
typedef bool http_refuse_fn(struct http_req *req, void *arg, unsigned int status, const char *code, const char *sentence);

struct httpd_options {
	const char *name;	      /* for logs and metrics: "gateway", "inside" */
	unsigned int threads;	      /* pool; 0: as many as CPUs */
	unsigned int connections_max; /* 0: 4096 */
	unsigned int apart_max;	      /* more, of answers that stand apart (http_stand_apart()) */
	unsigned int per_address_max; /* connections of one client address; 0: half of all */
	size_t header_bytes_max;      /* 0: 16 KiB; larger: 431 */
	size_t upload_chunk;	      /* memory for one upload's pieces; 0: 16 KiB. libmicrohttpd
				       * clears it after every request: when it is large, small
				       * requests get slower */
	unsigned int idle_s;	      /* connection time-out; 0: 30 */
	unsigned int header_s;	      /* for a whole request head; 0: 10 */
	unsigned int workers;	      /* threads for http_work(); 0: 4 */
	unsigned int queue_max;	      /* requests that wait for a worker; 0: 1,024; more get a 503 */
	unsigned int slow_workers;    /* threads for http_work_slow(); 0: the same ones as for http_work() */
	struct metrics *metrics;      /* may be NULL */
	http_choose_fn *choose;	      /* may be NULL; gets the server's arg */
	http_hot_fn *hot;	      /* the same; not with TLS */
	http_refuse_fn *refuse;	      /* may be NULL; gets the server's arg */
	struct load *load;	      /* told of each request and connection; may be NULL */
	/* TLS (PEM files read by the caller while privileged; NULL: plain). With client_ca a client
	 * certificate is required and checked; its common name is http_peer_name(). */
	const char *tls_cert, *tls_key, *tls_client_ca; /* contents, not paths */
};

/* fds: bound sockets (addr_bind), the server's from now on; those not yet listening are left alone until
 * httpd_listen(). routes ends with a NULL path; it, and what opt points to but the TLS texts, is kept and not copied.
 * The first match wins. arg goes to every handler. 0 or -errno; then the sockets that it had not begun to serve stay
 * the caller's. */
int httpd_start(struct httpd **out, const struct httpd_options *opt, const int *fds, size_t nfds,
		const struct http_route *routes, void *arg);
/* Begins to listen on the sockets that do not yet; the others are left alone. 0 or -errno. */
int httpd_listen(struct httpd *server);
/* Accepts no more and closes the sockets; what is connected goes on. Accepts NULL. */
void httpd_stop_accepting(struct httpd *server);
/* Stops accepting, lets running requests end for at most grace_ms, then closes; what workers are at, and who is held
 * (http_hold()), is waited for longer. Accepts NULL. */
void httpd_stop(struct httpd *server, unsigned int grace_ms);

/* ---- what the request says: valid until done; NULL when absent ---- */
enum http_method http_method(const struct http_req *req);
const char *http_method_name(enum http_method method); /* "GET" */
const char *http_path(const struct http_req *req); /* still encoded, without query */
/* What stood between method and version, byte for byte; of an absolute target what follows the authority
 * (a path of "/" when none does); NULL without memory. It was checked: no space or control character, no broken escape, no %00. */
const char *http_target(const struct http_req *req);
/* The first max header lines as sent, in that order, values without the blanks before them; all there are
 * when max is HTTP_HEADERS_MAX. Returns how many were filled in. */
size_t http_headers(const struct http_req *req, struct http_pair *out, size_t max);
/* From the route, decoded; never contains NUL. */
const char *http_param(const struct http_req *req, const char *name);
const char *http_query(const struct http_req *req, const char *name); /* decoded */
const char *http_header(const struct http_req *req, const char *name);
bool http_header_repeated(const struct http_req *req, const char *name); /* http_header() says the first */
uint64_t http_content_length(const struct http_req *req); /* UINT64_MAX: chunked */
const char *http_peer_name(const struct http_req *req);	  /* CN of the client certificate, or NULL */
const struct addr_port *http_peer(const struct http_req *req);
/* The user at the other end of a Unix socket (SO_PEERCRED), -1 on other sockets. */
int64_t http_peer_uid(const struct http_req *req);
const char *http_id(const struct http_req *req); /* 16 hex digits; X-Request-Id */
bool http_is_local(const struct http_req *req);	 /* came over loopback or a Unix socket */
const void *http_body(const struct http_req *req, size_t *len); /* the gathered body, in end; ends with NUL */
/* A place for the handler's own state. */
void http_set_state(struct http_req *req, void *state);
void *http_state(const struct http_req *req);

/* ---- answering: each may be called once a request; all return HTTP_ANSWERED ---- */
/* Before the reply: this answer takes so long, and is so little work, that its connection does not count for connections_max;
 * it ends with the answer. False: there are apart_max of them already. When connections_max others are there, who comes
 * is closed at once. On the pool thread (begin, end). */
bool http_stand_apart(struct http_req *req);
/* Before the reply: adds a header (both texts are copied). 0, -ENOMEM, or -EINVAL for a name that is no token and a
 * value with control characters, which may come from elsewhere. */
int http_add_header(struct http_req *req, const char *name, const char *value);
enum http_next http_reply(struct http_req *req, unsigned int status, const char *type,
			  const void *data, size_t len); /* data is copied */
enum http_next http_reply_owned(struct http_req *req, unsigned int status, const char *type,
				void *data, size_t len); /* data is freed by the server */
/* Takes the reference. */
enum http_next http_reply_json(struct http_req *req, unsigned int status, json_t *value);
/* {"error": code, "message": sentence, "request": id}. What is unread of a body is dropped when it
 * is small and ends the connection otherwise. */
enum http_next http_reply_error(struct http_req *req, unsigned int status, const char *code,
				const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Bytes [offset, offset+len) of a file: up to 64 KiB are read here, which may wait for the disk, more go by sendfile
 * (not over TLS). fd is closed by the server, whatever comes of it. */
enum http_next http_reply_fd(struct http_req *req, unsigned int status, const char *type, int fd,
			     uint64_t offset, uint64_t len);
/* A body that comes in pieces. read: up to max bytes into buf from position pos; returns the
 * count, HTTP_READ_LATER (call http_resume() when there is more), HTTP_READ_END, or HTTP_READ_FAIL
 * (the connection is cut, so that the client sees that it is short). length UINT64_MAX: chunked.
 * free(ctx) is called once at the end, also when the client went away. */
#define HTTP_READ_LATER (-1)
#define HTTP_READ_END	(-2)
#define HTTP_READ_FAIL	(-3)
typedef ssize_t http_read_fn(void *ctx, uint64_t pos, char *buf, size_t max);
enum http_next http_reply_stream(struct http_req *req, unsigned int status, const char *type,
				 uint64_t length, http_read_fn *read, void (*free_ctx)(void *),
				 void *ctx);

/* A small answer kept and sent many times (status, type, headers, body); freed by
 * http_cached_free() also while it is being sent. header_pairs: name, value, …, NULL; or NULL.
 * Such an answer has no request id, and headers added to the request are left out. */
struct http_cached *http_cached_new(unsigned int status, const char *type, const void *data,
				    size_t len, const char *const *header_pairs);
void http_cached_free(struct http_cached *cached);
struct http_cached *http_cached_hold(struct http_cached *cached); /* one more reference, for http_cached_free() */
unsigned int http_cached_status(const struct http_cached *cached);
size_t http_cached_len(const struct http_cached *cached); /* bytes of its body */
/* For http_hot_fn alone: another answer's body, of which it keeps a reference, behind a head of its own. Each time that it is sent the
 * request's id stands in the lines named by ids (ended by NULL, kept; HTTP_IDS_LEN bytes at most). */
#define HTTP_IDS_LEN 128
struct http_cached *http_cached_over(struct http_cached *body, const char *type, const char *const *header_pairs,
				     const char *const *ids);
enum http_next http_reply_cached(struct http_req *req, struct http_cached *cached);
/* The body alone, as an answer of this request's own: its status, type and headers. */
enum http_next http_reply_cached_body(struct http_req *req, unsigned int status, const char *type, struct http_cached *cached);

/* 101 Switching Protocols to `protocol` (RFC 9110 section 7.8); other headers by http_add_header(). When the answer was
 * sent, take() gets the socket, non-blocking, and what the client sent after its head (valid during the call alone):
 * from then on both are the taker's, and the server knows nothing of them. Its memory for the connection is freed,
 * its limits, time-outs and metrics no longer count it, httpd_stop() leaves it alone: who takes sockets limits, times
 * and counts them itself. take() is called once, on a thread of the pool, which it must not block; fd is -1 when the
 * client was gone before. The server closes its own descriptor of the socket a moment later: to leave an epoll, the
 * taker removes the socket from it and does not rely on close(). A request that cannot be upgraded (it has a body, is no GET of HTTP/1.1, or came over TLS of
 * this server, whose socket speaks no plain text) gets an error instead, and take() an fd of -1 as well. */
typedef void http_take_fn(void *ctx, int fd, const void *extra, size_t len);
enum http_next http_reply_upgrade(struct http_req *req, const char *protocol, http_take_fn *take, void *ctx);

/* ---- waiting ---- */
/* Runs fn(req, arg) on a worker thread; there it may block, and replies. The request cannot be
 * freed before; the client going away does not stop fn. Returns HTTP_LATER, or answers 503 when
 * the queue (queue_max) is full or the server stops. May be called from begin and end, as their last act: `return
 * http_work(…)`. When fn was called from begin and did not reply, the body is wanted, as with
 * HTTP_CONTINUE. */
typedef void http_work_fn(struct http_req *req, void *arg);
enum http_next http_work(struct http_req *req, http_work_fn *fn, void *arg);
/* The same on threads of its own, for what may take minutes: it waits for its like, and nobody else for it. Who still waits for a
 * thread when the server stops gets a 503. */
enum http_next http_work_slow(struct http_req *req, http_work_fn *fn, void *arg);
/* In fn, on its worker, after it replied with a stream: the connection goes on now, and fn, too. From then on `done` may be called at any
 * time, and fn may call http_resume() for the stream until then, and nothing else: a lock of both orders the two. `done` runs on a
 * thread of the server, so it must not wait for fn's work. */
void http_work_go_on(struct http_req *req);
/* Without a worker: from end, before the request is given to whoever will call http_release() for it, once, from any thread (it
 * may do so at once); neither the client nor the server's stop ends the request before. Then fn(req, arg) runs on the server's
 * thread, as if it were end. `http_hold(req); …; return HTTP_LATER`. False: the server stops and holds nobody any more; http_work()
 * says so to the client. */
typedef enum http_next http_then_fn(struct http_req *req, void *arg);
bool http_hold(struct http_req *req);
void http_release(struct http_req *req, http_then_fn *fn, void *arg);
/* From any thread: a body function that took too little, a reader that said LATER, or a handler
 * that returned HTTP_LATER of itself (then the thread that replied calls it, after its reply) goes
 * on. Too many calls do no harm, calls after `done` do: `done` must end whoever might call. */
void http_resume(struct http_req *req);
/* By the thread that replied while the client's body is read and no handler waits for it: the answer goes out with the next piece of
 * the body or, when the client holds it back, about a second later. As with http_resume(), `done` must end whoever might call. */
void http_interrupt(struct http_req *req);

/* ---- server-sent events ---- */
struct http_topic; /* a stream of events with any number of listeners */
/* NULL without memory. */
struct http_topic *http_topic_new(struct httpd *server, unsigned int listeners_max);
/* Its listeners' answers end. Also after the server was stopped; accepts NULL. */
void http_topic_free(struct http_topic *topic);
/* How many listen now: who has none need not make events. */
size_t http_topic_listeners(struct http_topic *topic);
/* The answer lasts until the topic, the server or the client ends it; 503 when listeners_max listen. */
enum http_next http_reply_events(struct http_req *req, struct http_topic *topic);
/* The same, but a listener first gets `first` (ready text of events, any size, copied) in place of the last
 * event of each name: who sends and calls this under one lock loses nothing and says nothing twice. */
enum http_next http_reply_events_from(struct http_req *req, struct http_topic *topic,
				      const char *first, size_t len);
/* One event as it goes over the wire; malloc'ed, NULL without memory. */
char *http_event_format(const char *event, const char *data, size_t *len);
/* Thread-safe. event may be NULL; data is one JSON text. A listener that is 256 KiB behind is
 * closed (its browser reconnects). The last event of each name is sent to new listeners first. */
void http_topic_send(struct http_topic *topic, const char *event, const char *data);

/* ---- helpers ---- */
struct http_range {
	uint64_t first, len;
};
/* RFC 9110 section 14: one range of `bytes=`. Returns 1 and fills *out, 0 when there is none or it
 * is to be ignored (several ranges, other unit, malformed), -ERANGE when it cannot be satisfied
 * (416). */
int http_range_parse(struct http_range *out, const char *header, uint64_t size);
/* If-Match / If-None-Match against a strong etag (NULL: the object does not exist): 0 go on, 304,
 * or 412. */
int http_conditions(const struct http_req *req, const char *etag);
/* The text percent-encoded, all but unreserved characters ('/' is kept when keep_slash); malloc'ed, NULL without memory. */
char *http_percent_encode(const char *text, bool keep_slash);

#endif
