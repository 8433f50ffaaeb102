/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp.c -- the TCP thread: epoll, one small buffer a connection, answers straight to the socket.
 *
 * Memory a client can hold: the buffer, and the answers to one buffer of questions while it does
 * not read them (no more is read from it until then). Time it can hold: the idle limit since its
 * last whole question or its last read answer.
 */
#include "dns/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/hash.h"

#define QUESTION_MAX                                                                               \
	4096u /* with any EDNS options that make sense; longer ones end the connection */
#define OUT_MAX	      (256u * 1024) /* answers gathered before a send */
#define EVENTS	      64
#define NETWORK_SHARE 4 /* one client network may hold a quarter of the connections */

struct connection {
	struct connection *prev, *next; /* by last activity, the oldest first */
	int fd;
	uint64_t active_ms;
	struct addr network; /* the address; for IPv6 its /64 */
	uint8_t *pending;    /* answers that the socket did not take; NULL: none */
	size_t pending_len, pending_sent;
	size_t have;
	uint8_t in[2 + QUESTION_MAX];
};

struct tcp {
	const int *fds;
	size_t nfds;
	struct views *views;
	struct view_reader *reader;
	int epoll, wake;
	bool started;
	pthread_t thread;
	uint32_t sequence;
	_Atomic unsigned int max;
	_Atomic uint64_t idle_ms;
	_Atomic bool stopping;
	struct connection first; /* list head */
	unsigned int n;
	struct tcp_counts counts;
	size_t out_len;
	uint8_t out[OUT_MAX];
};

static void bump(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void unlink_connection(struct connection *c)
{
	c->prev->next = c->next;
	c->next->prev = c->prev;
}

static void touch(struct tcp *t, struct connection *c)
{
	unlink_connection(c);
	c->active_ms = now_ms();
	c->prev = t->first.prev;
	c->next = &t->first;
	c->prev->next = c;
	t->first.prev = c;
}

static void close_connection(struct tcp *t, struct connection *c)
{
	unlink_connection(c);
	close(c->fd);
	free(c->pending);
	free(c);
	t->n--;
	atomic_store(&t->counts.open, t->n);
}

/* ---- answers ------------------------------------------------------------------------- */

static int watch(struct tcp *t, struct connection *c, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };

	return epoll_ctl(t->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

/* Hands t->out to the socket; what it does not take waits, and so does the next question. */
static int flush(struct tcp *t, struct connection *c)
{
	ssize_t sent = 0;
	size_t rest;

	if (!t->out_len)
		return 0;
	if (!c->pending) {
		sent = send(c->fd, t->out, t->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		sent = sent < 0 ? 0 : sent;
	}
	rest = t->out_len - (size_t)sent;
	if (rest) {
		uint8_t *more = realloc(c->pending, c->pending_len + rest);

		if (!more)
			return -ENOMEM;
		memcpy(more + c->pending_len, t->out + sent, rest);
		c->pending = more;
		c->pending_len += rest;
		if (watch(t, c, EPOLLOUT))
			return -errno;
	}
	t->out_len = 0;
	return 0;
}

static int answer_one(struct tcp *t, struct connection *c, const struct dns_view *view,
		      const uint8_t *question, size_t len)
{
	struct dns_answered what;
	uint8_t *at;
	size_t got;

	if (OUT_MAX - t->out_len < 2 + DNS_TCP_MAX) {
		int rc = flush(t, c);

		/* It does not read: the rest of its questions waits in the buffer. */
		if (rc || c->pending)
			return rc ? rc : -EAGAIN;
	}
	at = t->out + t->out_len;
	memcpy(at + 2, question, len);
	got = dns_answer(view, at + 2, len, DNS_TCP_MAX, DNS_TCP, &t->sequence, &what);
	if (!got) {
		bump(&t->counts.answers.ignored);
		return -EPROTO; /* an answer, or less than a header: not a DNS client */
	}
	server_count_answer(&t->counts.answers, &what);
	dns_put16(at, (unsigned int)got);
	t->out_len += 2 + got;
	return 0;
}

/* All whole questions of the buffer, in order; the rest moves to its front. */
static int answer_buffer(struct tcp *t, struct connection *c)
{
	const struct dns_view *view = view_hold(t->views, t->reader);
	size_t at = 0;
	int rc = 0;

	t->out_len = 0;
	while (c->have - at >= 2) {
		size_t len = dns_get16(c->in + at);

		if (len > QUESTION_MAX)
			rc = -EMSGSIZE;
		if (rc || c->have - at < 2 + len)
			break;
		rc = answer_one(t, c, view, c->in + at + 2, len);
		if (rc)
			break;
		at += 2 + len;
	}
	rc = rc == -EAGAIN ? 0 : rc;
	view_drop(t->reader);
	if (at)
		touch(t, c);
	memmove(c->in, c->in + at, c->have - at);
	c->have -= at;
	/* What was asked before the fault is still answered. */
	if (t->out_len) {
		int sent = flush(t, c); /* at most OUT_MAX waits */

		rc = rc ? rc : sent;
	}
	return rc;
}

static int on_readable(struct tcp *t, struct connection *c)
{
	ssize_t n = recv(c->fd, c->in + c->have, sizeof(c->in) - c->have, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	c->have += (size_t)n;
	return answer_buffer(t, c);
}

static int on_writable(struct tcp *t, struct connection *c)
{
	ssize_t n = send(c->fd, c->pending + c->pending_sent, c->pending_len - c->pending_sent,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	c->pending_sent += (size_t)n;
	touch(t, c);
	if (c->pending_sent < c->pending_len)
		return 0;
	free(c->pending);
	c->pending = NULL;
	c->pending_len = c->pending_sent = 0;
	if (watch(t, c, EPOLLIN))
		return -errno;
	return answer_buffer(t, c);
}

/* ---- connections --------------------------------------------------------------------- */

static struct addr network_of(const struct sockaddr_storage *peer)
{
	struct addr_port ap = { 0 };

	addr_from_sockaddr(&ap, (const struct sockaddr *)peer);
	if (ap.addr.family == AF_INET6)
		memset(ap.addr.bytes + 8, 0, 8);
	return ap.addr;
}

static unsigned int held_by(const struct tcp *t, const struct addr *network)
{
	unsigned int n = 0;

	for (const struct connection *c = t->first.next; c != &t->first; c = c->next)
		n += addr_equal(&c->network, network);
	return n;
}

static void add_connection(struct tcp *t, int fd, const struct sockaddr_storage *peer)
{
	unsigned int max = atomic_load(&t->max),
		     share = max / NETWORK_SHARE ? max / NETWORK_SHARE : 1;
	struct addr network = network_of(peer);
	struct epoll_event ev = { .events = EPOLLIN };
	struct connection *c;
	int on = 1;

	if (held_by(t, &network) >= share) {
		bump(&t->counts.refused);
		close(fd);
		return;
	}
	/* Full: the longest silent one makes room (RFC 7766 section 6.2.3 lets a server close idle
	 * ones). */
	while (t->n >= max && t->n) {
		bump(&t->counts.evicted);
		close_connection(t, t->first.next);
	}
	c = calloc(1, sizeof(*c));
	ev.data.ptr = c;
	if (!c || epoll_ctl(t->epoll, EPOLL_CTL_ADD, fd, &ev)) {
		free(c);
		close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->fd = fd;
	c->network = network;
	c->prev = c->next = c;
	touch(t, c);
	t->n++;
	atomic_store(&t->counts.open, t->n);
}

/* Takes all that wait, before any connection of this round is touched: eviction frees some. */
static void accept_all(struct tcp *t, int listener)
{
	for (;;) {
		struct sockaddr_storage peer;
		socklen_t len = sizeof(peer);
		int fd = accept4(listener, (struct sockaddr *)&peer, &len,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		add_connection(t, fd, &peer);
	}
}

static void close_idle(struct tcp *t)
{
	uint64_t now = now_ms(), idle = atomic_load(&t->idle_ms);

	while (t->first.next != &t->first && now - t->first.next->active_ms >= idle) {
		bump(&t->counts.idle);
		close_connection(t, t->first.next);
	}
}

static int next_timeout(const struct tcp *t)
{
	uint64_t now = now_ms(), due = t->first.next->active_ms + atomic_load(&t->idle_ms);

	if (t->first.next == &t->first)
		return -1;
	return due > now ? (int)(due - now) : 0;
}

/* Listeners and the wake-up descriptor carry a pointer into t->fds or to t->wake. */
static bool is_listener(const struct tcp *t, const void *ptr)
{
	return (const int *)ptr >= t->fds && (const int *)ptr < t->fds + t->nfds;
}

static void *tcp_loop(void *arg)
{
	struct tcp *t = arg;

	while (!atomic_load(&t->stopping)) {
		struct epoll_event ev[EVENTS];
		int n = epoll_wait(t->epoll, ev, EVENTS, next_timeout(t));

		for (int i = 0; i < n; i++) {
			struct connection *c = ev[i].data.ptr;
			int rc;

			if (ev[i].data.ptr == &t->wake || is_listener(t, ev[i].data.ptr))
				continue;
			rc = c->pending ? on_writable(t, c) : on_readable(t, c);
			if (rc)
				close_connection(t, c);
		}
		for (int i = 0; i < n; i++)
			if (is_listener(t, ev[i].data.ptr))
				accept_all(t, *(const int *)ev[i].data.ptr);
		close_idle(t);
	}
	return NULL;
}

int tcp_start(struct tcp **out, const int *fds, size_t nfds, struct views *views,
	      struct view_reader *reader)
{
	struct tcp *t = calloc(1, sizeof(*t));
	struct epoll_event ev = { .events = EPOLLIN };
	int rc = 0;

	if (!t || !reader) {
		free(t);
		return -ENOMEM;
	}
	t->fds = fds;
	t->nfds = nfds;
	t->views = views;
	t->reader = reader;
	t->first.prev = t->first.next = &t->first;
	random_bytes(&t->sequence, sizeof(t->sequence));
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->epoll < 0 || t->wake < 0)
		rc = -errno;
	ev.data.ptr = &t->wake;
	if (!rc && epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->wake, &ev))
		rc = -errno;
	for (size_t i = 0; i < nfds && !rc; i++) {
		ev.data.ptr = (void *)(uintptr_t)&fds[i];
		if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, fds[i], &ev))
			rc = -errno;
	}
	tcp_limits(t, 256, 10000000);
	if (!rc)
		rc = -pthread_create(&t->thread, NULL, tcp_loop, t);
	t->started = !rc;
	if (rc)
		tcp_stop(t);
	else
		*out = t;
	return rc;
}

void tcp_limits(struct tcp *t, unsigned int connections, uint64_t idle_us)
{
	atomic_store(&t->max, connections ? connections : 1);
	atomic_store(&t->idle_ms, idle_us / 1000 ? idle_us / 1000 : 1);
}

const struct tcp_counts *tcp_counts(const struct tcp *t)
{
	return &t->counts;
}

void tcp_stop(struct tcp *t)
{
	uint64_t one = 1;

	if (!t)
		return;
	atomic_store(&t->stopping, true);
	if (t->started && write(t->wake, &one, sizeof(one)) == (ssize_t)sizeof(one))
		pthread_join(t->thread, NULL);
	while (t->first.next != &t->first)
		close_connection(t, t->first.next);
	if (t->epoll >= 0)
		close(t->epoll);
	if (t->wake >= 0)
		close(t->wake);
	free(t);
}
