/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_impl.h -- what the files of the HTTP server share; nobody else includes it.
 *
 * httpd.c starts and stops, httpd_request.c leads a request through its route, after httpd_check.c took its head;
 * httpd_ask.c says what it says. httpd_reply.c builds answers, httpd_early.c sends those in the middle of a body,
 * httpd_file.c files in larger pieces, httpd_hot.c ready ones before libmicrohttpd sees the request (httpd_hot_head.c
 * reads it, httpd_hot_start.c begins them), httpd_events.c events; httpd_upgrade.c gives sockets away. httpd_wait.c suspends and resumes and runs
 * workers, httpd_conn.c keeps watch over connections, httpd_address.c counts them by client, httpd_metrics.c counts
 * the rest. httpd_text.c and httpd_hot_head.c are pure.
 */
#ifndef WEIR_HTTPD_IMPL_H
#define WEIR_HTTPD_IMPL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/httpd.h"
#include "lib/httpd_text.h"

#define HTTP_GATHER_MAX (1u << 20)      /* a gathered body that is announced so small gets its memory at once */
#define HTTP_DRAIN_MS   10000           /* a refused body is read to its end for so long */
#define HTTP_DRAIN_SMALL (1u << 20)     /* … if it is so small, else it is answered first */
#define HTTP_DRAIN_TOLD_MS 30000        /* … and read for so long yet: many clients send all before they listen */
#define HTTP_HELD_MS    1000            /* a client that sends nothing of the rest for so long is answered */
#define HTTP_QUEUE_MAX  1024
#define HTTP_LINGER_MAX 256
#define HTTP_LINGER_MS  2000            /* without a byte */

/* One connection. Made and freed by its pool thread; the watcher looks at it under conns_lock. */
struct http_conn {
	struct http_conn *next, *prev;
	struct httpd *server;
	int fd;
	_Atomic int64_t deadline_ms;    /* monotonic; then the watcher cuts it; 0: none */
	struct addr_port peer;
	bool local;
	int64_t uid;                    /* of a Unix socket's peer; -1 */
	bool tls_checked, tls_ok;
	bool apart;                     /* counts for apart_max */
	bool linger;                    /* answered before its body was read: see httpd_conn.c */
	_Atomic bool told;              /* … and the answer went past libmicrohttpd */
	struct http_req *_Atomic held;  /* answered in the middle of its body; under conns_lock, see httpd_early.c */
	_Atomic int64_t held_ms;        /* until when the client may go on by itself; 0: it was told */
	char peer_name[128];
};

struct http_upgrade;                    /* httpd_upgrade.c */

/* What a worker is to do. drop: the server stops, and it is to be refused. */
struct http_job { struct http_job *next; void (*run)(struct http_job *job, bool drop); };

enum http_phase { PHASE_HEAD, PHASE_BEGIN, PHASE_BEGUN, PHASE_BODY, PHASE_END };

struct http_header_pair { struct http_header_pair *next; char *value; char name[]; };

/* Where an answer's headers are: most answers have one block. */
struct http_header_block { struct http_header_block *next; size_t used, size; char room[] __attribute__((aligned(8))); };

struct http_req {
	struct httpd *server;
	struct MHD_Connection *mhd;
	struct http_conn *conn;
	const struct http_route *route;
	size_t route_index;             /* for metrics; nroutes: none matched */
	void *state;

	enum http_method method;
	enum http_phase phase;
	bool has_body, draining, in_flight, refused, corked, http11;
	uint64_t content_length;        /* UINT64_MAX: chunked */
	uint64_t received;
	int64_t started_us;
	char id[17];

	struct http_target target;
	struct http_param_at param[HTTP_PARAMS_MAX];
	char *param_value[HTTP_PARAMS_MAX];     /* decoded, made at first use */
	int nparams;
	char *path;                     /* as sent, without query */
	char *target_text;              /* see http_target(): seldom needed */
	char *query_copy;               /* name\0value\0… decoded */
	size_t query_len;

	char *gathered;
	size_t gathered_len, gathered_size;

	/* The answer: made by whoever replies, queued by the pool thread. */
	struct MHD_Response *response;
	struct http_cached *cached;
	unsigned int status;
	uint64_t answer_bytes;
	const void *answer_data;        /* of a small answer: in response */
	bool queued;                    /* libmicrohttpd has its answer */
	bool told;                      /* it was sent in the middle of the body; see httpd_early.c */
	struct http_header_pair *headers;       /* in blocks */
	struct http_header_block *blocks;
	struct http_upgrade *upgrade;

	/* Waiting (httpd_wait.c). lock guards these. */
	pthread_mutex_t lock;
	bool suspended, awaits_answer;
	bool resume_pending, answer_pending;
	bool in_work;                   /* a worker has it: nobody else resumes it */
	_Atomic bool answered;
	pthread_t answered_by;
	bool working;                   /* the pool thread's own: LATER is http_work()'s */
	bool pause_next;                /* … its own: body said LATER */
	struct http_job job;
	struct http_req *all_next, *all_prev;   /* every live request of the server */
	http_work_fn *work_fn;
	void *work_arg;
	http_then_fn *then_fn;          /* released: what goes on with it */
	void *then_arg;

	struct http_listener *listener; /* of an event stream */
	const char *target_at;          /* where libmicrohttpd has it; compared, never read */
	char raw[];                     /* the target as sent */
};

struct http_cached {
	struct MHD_Response *_Atomic response; /* of the body in text, which is freed with it; NULL: not asked for yet */
	unsigned int status;
	size_t len; /* of the body */
	/* As libmicrohttpd would send it, but for the Date, which stands behind the status line: status line, the other
	 * lines, body. */
	char *text;
	size_t status_len, head_len;
	const char *data; /* the body: in text, or that of another answer */
	struct http_cached *other; /* this one, or NULL */
	const char *const *ids; /* lines of the request's id, behind the Date; NULL: none */
	size_t ids_len;
	_Atomic unsigned int refs;
};

struct httpd_counts;                    /* httpd_metrics.c */

struct httpd_socket { int fd; struct MHD_Daemon *mhd; };        /* mhd NULL: not listening yet */

/* Threads that work for requests, and the work that waits for one. */
struct http_workers {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct http_job *head, **tail;
	_Atomic unsigned int queued;
	unsigned int idle;
	bool waking;                    /* one was signalled and did not run yet */
	bool quit;
	bool drops;                     /* at the server's stop who waits is refused, not served */
	pthread_t *threads;
	unsigned int n;
};

struct httpd {
	struct httpd_options opt;
	const struct http_route *routes;
	size_t nroutes;
	void *arg;
	unsigned int threads_each;

	struct httpd_socket *sockets;
	size_t nsockets;

	_Atomic bool stopping;          /* nothing waits any more */
	_Atomic uint64_t next_id;
	uint64_t id_seed;
	_Atomic unsigned int in_flight, connections, apart; /* apart: of connections */

	/* connections and their watcher */
	pthread_mutex_t conns_lock;
	struct http_conn *conns;
	struct { int fd; int64_t until_ms, last_ms; } linger[HTTP_LINGER_MAX];
	size_t nlinger;
	pthread_t watcher;
	bool watcher_runs;
	_Atomic bool watcher_quit;
	int watcher_wake;               /* eventfd */

	/* requests and workers */
	struct http_workers workers, slow;

	pthread_mutex_t reqs_lock;
	unsigned int held;              /* requests; with reqs_lock */
	pthread_cond_t held_none;
	struct http_req *reqs;

	pthread_mutex_t topics_lock;
	struct http_topic *topics;

	struct httpd_counts *counts;

	/* answers in front of libmicrohttpd */
	struct http_hot *hot;           /* threads */
	_Atomic unsigned int warming;   /* answers that workers make ready for them */
	struct http_addresses *addresses;
	_Atomic int64_t *handed;        /* by descriptor: a connection's deadline while it is handed over; 0: none */
};

/* httpd_request.c: libmicrohttpd's callbacks */
void *http_on_target(void *server, const char *target, struct MHD_Connection *mhd);
enum MHD_Result http_on_request(void *server, struct MHD_Connection *mhd, const char *url,
				const char *method, const char *version, const char *data,
				size_t *size, void **req);
void http_on_done(void *server, struct MHD_Connection *mhd, void **req,
		  enum MHD_RequestTerminationCode why);

/* A new request's name: 16 hex digits. */
#define HTTP_ID_LEN 16
void http_make_id(struct httpd *server, char id[HTTP_ID_LEN + 1]);

/* httpd_check.c. NULL when the head may be served, else a reason; fills method, target, body. */
const char *http_check_head(struct http_req *req, const char *method, const char *version,
			    unsigned int *status, const char **sentence);

/* httpd_conn.c */
void http_on_connection(void *server, struct MHD_Connection *mhd, void **conn,
			enum MHD_ConnectionNotificationCode what);
/* May another one come? For libmicrohttpd, before it takes it. */
enum MHD_Result http_may_connect(void *server, const struct sockaddr *addr, socklen_t len);
int http_watcher_start(struct httpd *server);
void http_watcher_stop(struct httpd *server);
int64_t http_now_ms(void);
/* Is the client's certificate there and good? Fills peer_name. Always true without client CA. */
bool http_conn_trusted(struct http_conn *conn, struct MHD_Connection *mhd);

/* httpd_address.c: connections by client address, of servers with options.hot; without a table nothing is counted, and
 * Unix sockets never are. */
int http_addresses_new(struct httpd *server);
void http_addresses_free(struct httpd *server);
void http_address_count(struct httpd *server, const struct addr_port *peer, int change);
bool http_address_full(struct httpd *server, const struct addr_port *peer); /* has it per_address_max? */

/* httpd_hot.c: threads that accept on a listening socket, whose daemon runs already. */
#define HTTP_HANDED_MAX 65536 /* descriptors whose deadline can be handed over with them */
int http_hot_start(struct httpd *server, struct httpd_socket *s);
void http_hot_stop_accepting(struct httpd *server);
void http_hot_stop(struct httpd *server); /* and closes what they have */

/* httpd_hot_start.c: what stands before the kept lines of a ready answer: status, date, ids. */
struct http_start {
	char text[128 + HTTP_IDS_LEN];
	time_t date_of;
	size_t date_at; /* in text */
};
size_t http_start_len(const struct http_cached *answer);
/* All of them, with a new id. */
void http_start_write(struct http_start *start, struct httpd *server, const struct http_cached *answer);

/* httpd_wait.c */
void http_workers_init(struct http_workers *w, bool drops);
void http_workers_destroy(struct http_workers *w);
int http_workers_start(struct http_workers *w, unsigned int threads);
void http_workers_stop(struct http_workers *w);
void http_wait_held(struct httpd *server);
/* Has a worker run it, and afterwards forgets it. False: too much waits, or the server stops. */
bool http_workers_add(struct http_workers *w, struct http_job *job, unsigned int queue_max);
/* Forgets resumes that came before; called before a handler or reader is. */
void http_arm(struct http_req *req);
/* Suspends (return to libmicrohttpd at once), unless a resume came first or the server stops. On a
 * pool thread. */
enum http_waited { HTTP_WAIT_SUSPENDED, HTTP_WAIT_GO, HTTP_WAIT_STOP };
enum http_waited http_wait(struct http_req *req, bool for_answer);
/* Resumes everything that waits. */
void http_resume_all(struct httpd *server);

/* httpd_reply.c */
enum MHD_Result http_queue(struct http_req *req);
void http_drop_answer(struct http_req *req);
/* Takes the response (NULL: none could be made). */
enum http_next http_answer(struct http_req *req, unsigned int status, const char *type, struct MHD_Response *response,
			   uint64_t len);
/* Holds back what does not fill a segment, while a file is sent; off sends the rest. */
void http_cork(struct http_req *req, bool on);

/* httpd_file.c: a file is sent over the socket from now on, up to this offset of it; 0: no more. From any thread. */
void http_file_begin(int socket, uint64_t end);

/* An error of the server's own: by httpd_options.refuse, or as JSON. */
enum http_next http_refuse(struct http_req *req, unsigned int status, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* httpd_early.c: answers in the middle of a body, which libmicrohttpd cannot send. */
/* It is answered and the rest of its body is dropped. On its pool thread. */
void http_drain(struct http_req *req);
/* Its body is over: may libmicrohttpd be given the answer? False: it was sent. */
bool http_drained(struct http_req *req);
/* Is it still libmicrohttpd's to answer? From now on it is. False: it was sent. */
bool http_may_queue(struct http_req *req);
/* The watcher's, under conns_lock: the client of this connection sends nothing. */
void http_tell_held(struct http_conn *conn, int64_t now);
/* The request ends, whatever its answer. */
void http_held_gone(struct http_req *req);

/* httpd_upgrade.c: the request is over; whoever was to take its socket hears of it. Accepts NULL. */
void http_upgrade_drop(struct http_upgrade *up);

/* httpd_events.c */
void http_events_tick(struct httpd *server);
/* Event streams would go on for ever: ends them, and takes no more listeners. */
void http_events_end(struct httpd *server);
void http_listener_gone(struct http_req *req);
void http_topics_detach(struct httpd *server);

/* httpd_metrics.c; all accept a server without metrics */
int http_counts_new(struct httpd *server);
void http_counts_free(struct httpd *server);
void http_count_end(struct http_req *req, bool complete, uint64_t took_us);
void http_count_refusal(struct httpd *server, const char *reason);
/* An answer without a struct http_req; body: its bytes that were sent whole. */
void http_count_answer(struct httpd *server, size_t route_index, unsigned int status, uint64_t took_us, uint64_t body);

#endif
