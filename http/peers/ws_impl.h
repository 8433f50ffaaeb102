/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws_impl.h -- what the files of the WebSockets share; nobody else includes it.
 *
 * ws.c starts and stops, ws_accept.c answers handshakes, ws_loop.c waits for sockets and for time, ws_conn.c reads,
 * sends and closes, ws_frame.c is pure.
 *
 * A connection belongs to one thread, which alone reads it and frees it. Any thread may send: c->lock guards what is
 * sent and that it is closing. What a thread has to be told (a new connection, one that another thread closed) waits
 * in a list under its own lock. Order of locks: the caller's, c->lock, ws_thread.lock.
 */
#ifndef WEIR_WS_IMPL_H
#define WEIR_WS_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "http/peers/ws.h"
#include "http/peers/ws_frame.h"

#define WS_CLOSE_S	 3    /* for the client to end its side after our close frame */
#define WS_STOP_MS	 1000
#define WS_CODE_TRY_LATER 1013 /* registered with IANA; libwslay has no name for it */
#define WS_MESSAGE_COST	 16   /* of the bucket, whose unit is a fragment */
#define WS_READ_ONCE	 (64u << 10)

/* A frame, or the rest of one, that the socket did not take. */
struct ws_out {
	struct ws_out *next;
	uint32_t len, sent;
	bool begun; /* the client has a part of the frame: it must get the rest */
	uint8_t data[];
};

/* Small: there are thousands, and most of them are silent. */
struct ws_conn {
	struct ws_conn *next, *prev; /* in a line of its thread; next also in its list of fresh ones */
	struct ws_conn *next_told;
	struct ws_thread *thread;
	void *user;
	struct ws_in in;
	pthread_mutex_t lock;
	struct ws_out *out, **out_tail; /* under lock, as are these: */
	uint32_t out_bytes;
	uint16_t close_code; /* 0: open */
	bool wants_out;	     /* EPOLLOUT is asked for */
	bool broken;	     /* there is nobody to send to */
	bool told;	     /* under thread->lock: in its list */
	bool ending;	     /* the thread's own: `closed` was called */
	struct ws_out *extra; /* what came with the handshake */
	int fd;
	uint32_t heard_s, due_s; /* monotonic seconds */
	uint32_t tokens;	 /* of the bucket */
	uint32_t tokens_ms;	 /* when they were counted, wraps */
};

/* All wait equally long in a line, so that the first is always the next whose time comes. */
struct ws_line {
	struct ws_conn *first, *last;
};

struct ws_thread {
	struct ws_server *server;
	pthread_t id;
	bool runs;
	int epoll, wake;
	struct ws_reader reader;
	uint8_t *buf;		     /* WS_READ_ONCE */
	struct ws_line open, ending; /* due for a ping; for the end */
	_Atomic int64_t held;	     /* bytes waiting to be sent, of all */
	int64_t held_most;	     /* since memory was given back */

	pthread_mutex_t lock;
	struct ws_conn *told;  /* look at these */
	struct ws_conn *fresh; /* and take these */
};

struct ws_server {
	struct ws_options opt;
	_Atomic unsigned int count, next_thread;
	_Atomic unsigned int refs; /* its starter, and handshakes under way */
	pthread_rwlock_t gate;	   /* handshakes pass under it; ws_stop() shuts it */
	bool stopping;		   /* under gate for writing */
	_Atomic bool quit;
	unsigned int nthreads;
	struct ws_thread threads[];
};

/* ws.c */
int64_t ws_now_ms(void);
void ws_server_put(struct ws_server *s);

/* ws_loop.c */
void *ws_thread_run(void *thread);
/* Its thread will look at it; on any thread. */
void ws_conn_tell(struct ws_conn *c);
void ws_thread_wake(struct ws_thread *t);

/* ws_conn.c; on its thread. They mark what ended and tell; ws_loop.c frees. */
void ws_conn_readable(struct ws_conn *c);
void ws_conn_writable(struct ws_conn *c);
void ws_conn_feed(struct ws_conn *c, const void *data, size_t len);
void ws_conn_ping(struct ws_conn *c);
void ws_conn_break(struct ws_conn *c); /* nothing can be sent any more */
void ws_conn_free(struct ws_conn *c);  /* of no list; closes the socket */

#endif
