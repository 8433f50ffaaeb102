/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws_loop.c -- a thread of the WebSockets: waits for sockets, takes new ones, looks at those of which it was told, and
 * at those whose time has come. It alone frees connections, and never in the middle of a round of events.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "http/peers/ws_impl.h"
#include "lib/log.h"

#define EVENTS	   256
#define TICK_MS	   1000
#define TRIM_ABOVE (8 << 20) /* bytes that once waited: what they held goes back to the system */

static __thread struct ws_thread *self;

void ws_thread_wake(struct ws_thread *t)
{
	uint64_t one = 1;

	if (t != self && write(t->wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_limited(LOG_LEVEL_ERROR, 10, "WebSockets: cannot wake a thread: %m");
}

void ws_conn_tell(struct ws_conn *c)
{
	struct ws_thread *t = c->thread;
	bool first;

	pthread_mutex_lock(&t->lock);
	first = !c->told;
	if (first) {
		c->told = true;
		c->next_told = t->told;
		t->told = c;
	}
	pthread_mutex_unlock(&t->lock);
	if (first)
		ws_thread_wake(t);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static uint32_t now_s(void)
{
	return (uint32_t)(ws_now_ms() / 1000);
}

static void line_add(struct ws_line *line, struct ws_conn *c, uint32_t due_s)
{
	c->due_s = due_s;
	c->next = NULL;
	c->prev = line->last;
	if (line->last)
		line->last->next = c;
	else
		line->first = c;
	line->last = c;
}

static void line_remove(struct ws_line *line, struct ws_conn *c)
{
	if (c->next)
		c->next->prev = c->prev;
	else
		line->last = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		line->first = c->next;
}

/* All in a line wait equally long. Twice in ping_s, so that a ping goes out before so long a silence: an edge before us
 * ends what moves nothing for a minute. */
static uint32_t look_every(const struct ws_thread *t)
{
	return t->server->opt.ping_s > 1 ? t->server->opt.ping_s / 2 : 1;
}

/* Takes the first whose time has come; NULL: there is none. */
static struct ws_conn *line_due(struct ws_line *line, uint32_t now)
{
	struct ws_conn *c = line->first;

	if (!c || (int32_t)(now - c->due_s) < 0)
		return NULL;
	line_remove(line, c);
	return c;
}

/* ---- what is to be done ---------------------------------------------------------------------- */

static void adopt(struct ws_thread *t, struct ws_conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	struct ws_out *extra = c->extra;

	c->extra = NULL;
	c->heard_s = now_s();
	line_add(&t->open, c, c->heard_s + look_every(t));
	if (t->server->opt.opened)
		t->server->opt.opened(t->server->opt.arg, c);
	/* Nobody knew of it before, but `opened` may have told: what it sent waits for the socket here. */
	pthread_mutex_lock(&c->lock);
	ev.events |= c->wants_out ? EPOLLOUT : 0;
	if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, c->fd, &ev))
		ev.events = 0;
	pthread_mutex_unlock(&c->lock);
	if (!ev.events)
		ws_conn_break(c);
	else if (extra)
		ws_conn_feed(c, extra->data, extra->len);
	free(extra);
}

static void adopt_fresh(struct ws_thread *t)
{
	struct ws_conn *c, *next;

	pthread_mutex_lock(&t->lock);
	c = t->fresh;
	t->fresh = NULL;
	pthread_mutex_unlock(&t->lock);
	for (; c; c = next) {
		next = c->next;
		adopt(t, c);
	}
}

/* Another thread may have told of it again before `closed` returned, the last that it can have done: then it is looked at,
 * and freed, by that. */
static bool is_told(struct ws_thread *t, const struct ws_conn *c)
{
	bool told;

	pthread_mutex_lock(&t->lock);
	told = c->told;
	pthread_mutex_unlock(&t->lock);
	return told;
}

static void look_at(struct ws_thread *t, struct ws_conn *c)
{
	bool closing, broken;

	pthread_mutex_lock(&c->lock);
	closing = c->close_code != 0;
	broken = c->broken;
	pthread_mutex_unlock(&c->lock);
	if (closing && !c->ending) {
		c->ending = true;
		line_remove(&t->open, c);
		line_add(&t->ending, c, now_s() + WS_CLOSE_S);
		t->server->opt.closed(t->server->opt.arg, c);
	}
	if (broken && !is_told(t, c)) {
		line_remove(&t->ending, c);
		ws_conn_free(c);
	}
}

static void look_at_told(struct ws_thread *t)
{
	for (;;) {
		struct ws_conn *c;

		pthread_mutex_lock(&t->lock);
		c = t->told;
		if (c) {
			t->told = c->next_told;
			c->told = false;
		}
		pthread_mutex_unlock(&t->lock);
		if (!c)
			return;
		look_at(t, c);
	}
}

/* Pings who was silent, gives up who stayed so, cuts who does not end. */
static void look_at_clock(struct ws_thread *t)
{
	uint32_t now = now_s(), ping_s = t->server->opt.ping_s, look_s = look_every(t);
	struct ws_conn *c;

	while ((c = line_due(&t->open, now))) {
		line_add(&t->open, c, now + look_s);
		if (now - c->heard_s >= 2 * ping_s)
			ws_close(c, WSLAY_CODE_GOING_AWAY, "no ping was answered");
		else if (now - c->heard_s >= look_s)
			ws_conn_ping(c);
	}
	while ((c = line_due(&t->ending, now))) {
		line_add(&t->ending, c, now + WS_CLOSE_S);
		ws_conn_break(c);
	}
}

/* After slow readers held much, malloc() keeps it: small pieces of thousands leave nothing free at the heap's end. */
static void give_back(struct ws_thread *t)
{
	int64_t held = t->held;

	if (held > t->held_most)
		t->held_most = held;
	if (t->held_most < TRIM_ABOVE || held > t->held_most / 4)
		return;
	t->held_most = held;
	malloc_trim(0);
}

static void handle(struct ws_thread *t, const struct epoll_event *ev)
{
	struct ws_conn *c = ev->data.ptr;
	uint64_t count;

	if (!c) {
		if (read(t->wake, &count, sizeof(count)) < 0)
			log_debug("WebSockets: wake: %m");
		return;
	}
	if (ev->events & EPOLLOUT)
		ws_conn_writable(c);
	if (ev->events & ~(uint32_t)EPOLLOUT)
		ws_conn_readable(c);
}

static void round_of_events(struct ws_thread *t, int timeout_ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(t->epoll, events, EVENTS, timeout_ms);

	for (int i = 0; i < n; i++)
		handle(t, &events[i]);
	adopt_fresh(t);
	look_at_told(t);
}

/* 1001 to all; those that did not end in time are cut. */
static void end_all(struct ws_thread *t)
{
	int64_t until = ws_now_ms() + WS_STOP_MS, left;

	for (struct ws_conn *c = t->open.first; c; c = c->next)
		ws_close(c, WSLAY_CODE_GOING_AWAY, "the server stops");
	look_at_told(t);
	while (t->ending.first && (left = until - ws_now_ms()) > 0)
		round_of_events(t, (int)left);
	for (struct ws_conn *c = t->ending.first; c; c = c->next)
		ws_conn_break(c);
	look_at_told(t);
}

void *ws_thread_run(void *arg)
{
	struct ws_thread *t = arg;
	int64_t tick = ws_now_ms() + TICK_MS;

	self = t;
	while (!t->server->quit) {
		int64_t now = ws_now_ms();

		round_of_events(t, now < tick ? (int)(tick - now) : 0);
		now = ws_now_ms();
		if (now < tick)
			continue;
		tick = now + TICK_MS;
		look_at_clock(t);
		look_at_told(t);
		give_back(t);
	}
	adopt_fresh(t); /* the gate is shut: these are the last */
	end_all(t);
	return NULL;
}
