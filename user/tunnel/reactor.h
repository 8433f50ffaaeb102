/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reactor.h -- the packet-path loop of weir-tunnel: one epoll set, edge-triggered, that the
 * daemon's sd-event loop sees as a single descriptor, so that ten thousand sockets cost it one
 * source.
 *
 * Everything here happens on the main thread. A batch is one epoll_wait and its callbacks; what was
 * deferred runs after it, so that output of many small writes leaves in one system call and nothing
 * is freed under a caller's feet.
 */
#ifndef WEIR_TUNNEL_REACTOR_H
#define WEIR_TUNNEL_REACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "lib/loop.h"

struct reactor;

int reactor_new(struct reactor **out, struct loop *loop); /* 0 or -errno */
void reactor_free(struct reactor *r);			  /* accepts NULL */

/* ---- descriptors: embedded in their owner ---- */
struct reactor_io {
	int fd;
	void (*fn)(struct reactor_io *io, uint32_t events); /* EPOLLIN | EPOLLOUT | EPOLLRDHUP … */
};
/* Edge-triggered for input, output and hang-up: fn is told once for each change, and once at the
 * beginning. 0 or -errno. */
int reactor_add(struct reactor *r, struct reactor_io *io);
/* Call before closing fd. Events of the same batch are not told any more. */
void reactor_remove(struct reactor *r, struct reactor_io *io);

/* ---- timers: embedded, one shot, about 32 ms exact (a wheel: setting one costs nothing) ---- */
struct reactor_timer {
	void (*fn)(struct reactor_timer *t);
	struct reactor_timer *next, **at; /* the wheel's own */
	uint64_t due_ms;
};
void reactor_timer_set(struct reactor *r, struct reactor_timer *t,
		       uint64_t delay_ms); /* again: moves it */
void reactor_timer_stop(struct reactor *r, struct reactor_timer *t);
uint64_t reactor_now_ms(const struct reactor *r); /* monotonic, of this batch */
uint64_t reactor_now_us(void);			  /* monotonic, now */

/* ---- deferred: embedded; runs once after the batch (or soon, outside of one) ---- */
struct reactor_defer {
	void (*fn)(struct reactor_defer *d);
	struct reactor_defer *next; /* the reactor's own */
	bool queued;
};
void reactor_defer(struct reactor *r, struct reactor_defer *d);
void reactor_defer_cancel(struct reactor *r, struct reactor_defer *d);

/* ---- last: embedded; what lives on without an owner says how reactor_free() ends it ---- */
struct reactor_last {
	void (*fn)(struct reactor_last *l);
	struct reactor_last *next, **at; /* the reactor's own */
};
void reactor_last_add(struct reactor *r, struct reactor_last *l);
void reactor_last_remove(struct reactor_last *l); /* no effect when it was not added */

/* Memory for one read, shared by all connections: what was read there is used or copied before the
 * callback returns. */
#define REACTOR_SCRATCH (256u << 10)
uint8_t *reactor_scratch(struct reactor *r);

/* Blocking work (names, registry): fn(arg) on a thread of a small pool, then done(arg) on the main
 * thread. 0 or -errno. reactor_free() waits for what runs, without calling done. */
int reactor_work(struct reactor *r, void (*fn)(void *arg), void (*done)(void *arg), void *arg);

#endif
