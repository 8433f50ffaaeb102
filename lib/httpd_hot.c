/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_hot.c -- threads in front of libmicrohttpd that send ready answers.
 *
 * With options.hot a server's sockets are accepted here. When a connection has something to read, its bytes are looked at
 * and not taken (MSG_PEEK). While they begin with whole heads of the plainest kind (httpd_hot_head.h) for which the
 * server's owner has an answer in memory, or a worker brings it there, such a head is taken and the answer sent by one call.
 * Anything else hands the connection over, for good and with every byte of that request still unread: libmicrohttpd knows
 * nothing of what was before.
 *
 * A thread has connections of its own, in one of four lists by what they wait for, each ordered by time: for their first
 * request, for another one, for room to send, or for a worker that makes their answer ready. While they wait for a worker
 * the request stays unread; afterwards its answer is asked for once more, and the connection handed over when there is
 * none. Nothing here waits, and nothing is shared but counts and what workers have done.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/httpd_hot_head.h"
#include "lib/httpd_impl.h"
#include "lib/load.h"
#include "lib/log.h"

#define EVENTS	 64
#define TICK_MS	 250
#define ACCEPTS	 64 /* at a time: who is connected has turns, too */

#define WARMING_MAX 256 /* of a server: more are handed over, and wait there */

enum wait { FOR_FIRST, FOR_NEXT, FOR_ROOM, FOR_WARM, WAITS };

/* Work for a connection. The worker touches no connection, which may end before the work does. */
struct warming {
	struct http_job job; /* first */
	struct http_hot *hot;
	struct hot_conn *conn; /* the thread's alone; NULL: it is gone */
	struct http_warm warm;
	struct warming *next; /* that is done */
};

struct hot_conn {
	struct hot_conn *next, *prev; /* of its list */
	int64_t since_ms;
	enum wait waits;
	int fd;
	socklen_t addr_len;
	struct sockaddr_storage addr;
	struct addr_port peer;
	/* What is being sent; NULL: nothing. */
	struct http_cached *answer;
	size_t sent, whole;
	size_t route;
	int64_t started_us;
	struct warming *warming;
	bool warmed; /* for the request that is read next: not again */
};

struct http_hot {
	struct httpd *server;
	struct httpd_socket *socket;
	struct http_hot *next; /* of the server */
	pthread_t thread;
	int epoll, wake;
	pthread_mutex_t accepting; /* guards fd */
	int fd;			   /* listens; the server's; -1: no more */
	bool full;		   /* the socket is left alone for a while */
	_Atomic bool quit;
	pthread_mutex_t done_lock; /* guards done, to which workers add; who adds the first one wakes the thread */
	struct warming *done;
	struct hot_conn lists[WAITS]; /* heads of rings */
	struct http_start start;
	char bytes[HTTP_HOT_HEAD_MAX], taken[HTTP_HOT_HEAD_MAX];
};

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- connections ---- */

static void conn_unlink(struct hot_conn *c)
{
	c->next->prev = c->prev;
	c->prev->next = c->next;
}

/* To the end of a list: it waits since now. */
static void conn_wait(struct http_hot *hot, struct hot_conn *c, enum wait waits, int64_t now_ms)
{
	struct hot_conn *list = &hot->lists[waits];

	c->waits = waits;
	c->since_ms = now_ms;
	c->prev = list->prev;
	c->next = list;
	list->prev->next = c;
	list->prev = c;
}

/* The same, and is told of what it waits for. */
static void conn_turn(struct http_hot *hot, struct hot_conn *c, enum wait waits)
{
	static const uint32_t events[WAITS] = { EPOLLIN, EPOLLIN, EPOLLOUT, 0 /* but its end */ };
	struct epoll_event ev = { .events = events[waits], .data.ptr = c };

	conn_unlink(c);
	conn_wait(hot, c, waits, http_now_ms());
	epoll_ctl(hot->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

static void count_connection(struct httpd *server, const struct hot_conn *c, int change)
{
	server->connections += (unsigned int)change;
	http_address_count(server, &c->peer, change);
	if (server->opt.load)
		load_connections(server->opt.load, change);
}

/* It is out of the lists and of epoll. */
static void conn_free(struct http_hot *hot, struct hot_conn *c)
{
	count_connection(hot->server, c, -1);
	if (c->answer) {
		hot->server->in_flight--;
		http_cached_free(c->answer);
	}
	if (c->warming) {
		hot->server->in_flight--;
		c->warming->conn = NULL;
	}
	free(c);
}

static void conn_close(struct http_hot *hot, struct hot_conn *c)
{
	conn_unlink(c);
	close(c->fd);
	conn_free(hot, c);
}

static void hand_over(struct http_hot *hot, struct hot_conn *c)
{
	struct MHD_Daemon *mhd = hot->socket->mhd;
	int64_t head_ms = (int64_t)hot->server->opt.header_s * 1000;

	conn_unlink(c);
	epoll_ctl(hot->epoll, EPOLL_CTL_DEL, c->fd, NULL);
	/* The time for a first head began when the client came. */
	if (c->fd < HTTP_HANDED_MAX)
		hot->server->handed[c->fd] = (c->waits == FOR_FIRST ? c->since_ms : http_now_ms()) + head_ms;
	count_connection(hot->server, c, -1);
	if (MHD_add_connection(mhd, c->fd, (struct sockaddr *)&c->addr, c->addr_len) != MHD_YES)
		log_debug("%s: a connection could not be handed over: %m", hot->server->opt.name); /* it is closed */
	free(c);
}

/* ---- accepting ---- */

static bool is_full(struct httpd *server)
{
	unsigned int apart = server->apart, all = server->connections;

	return all >= apart && all - apart >= server->opt.connections_max;
}

static int conn_new(struct http_hot *hot, int fd, const struct sockaddr_storage *addr, socklen_t len)
{
	struct httpd *server = hot->server;
	struct hot_conn *c = calloc(1, sizeof(*c));
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	int on = 1;

	if (!c)
		return -ENOMEM;
	c->fd = fd;
	memcpy(&c->addr, addr, len);
	c->addr_len = len;
	if (addr->ss_family != AF_UNIX)
		addr_from_sockaddr(&c->peer, (const struct sockaddr *)addr);
	if (http_address_full(server, &c->peer) || epoll_ctl(hot->epoll, EPOLL_CTL_ADD, fd, &ev)) {
		free(c);
		return -EUSERS;
	}
	if (addr->ss_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	count_connection(server, c, 1);
	conn_wait(hot, c, FOR_FIRST, http_now_ms());
	return 0;
}

static void set_listening(struct http_hot *hot, bool on)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = hot };

	if (hot->fd >= 0)
		epoll_ctl(hot->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, hot->fd, &ev);
	hot->full = !on;
}

static void accept_some(struct http_hot *hot)
{
	struct httpd *server = hot->server;

	pthread_mutex_lock(&hot->accepting);
	for (int i = 0; i < ACCEPTS && hot->fd >= 0; i++) {
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr);
		int fd;

		/* Who comes waits in the kernel's queue, or is told to go when answers stand apart: as libmicrohttpd does. */
		if (is_full(server) && !server->opt.apart_max) {
			set_listening(hot, false);
			break;
		}
		fd = accept4(hot->fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
				set_listening(hot, false); /* no descriptor or memory: until the next tick */
			break;
		}
		if (is_full(server))
			http_count_refusal(server, "connections");
		if (is_full(server) || conn_new(hot, fd, &addr, len))
			close(fd);
	}
	pthread_mutex_unlock(&hot->accepting);
}

/* ---- answering ---- */

static void answered(struct http_hot *hot, struct hot_conn *c, bool whole)
{
	struct http_cached *a = c->answer;
	uint64_t took_us = (uint64_t)(now_us() - c->started_us);
	bool has_body = c->whole > http_start_len(a) + a->head_len;

	http_count_answer(hot->server, c->route, a->status, took_us, whole && has_body ? a->len : 0);
	if (hot->server->opt.load)
		load_passed(hot->server->opt.load, took_us);
	hot->server->in_flight--;
	http_cached_free(a);
	c->answer = NULL;
}

static void conn_broke(struct http_hot *hot, struct hot_conn *c)
{
	answered(hot, c, false);
	conn_close(hot, c);
}

/* What is left of a piece; *sent: of it and of those behind it. */
static void add_piece(struct msghdr *msg, const char *text, size_t len, size_t *sent)
{
	size_t skip = *sent < len ? *sent : len;

	*sent -= skip;
	if (skip < len)
		msg->msg_iov[msg->msg_iovlen++] = (struct iovec){ (char *)text + skip, len - skip };
}

/* Sends what is left. 1: all of it, 0: some waits for room, or -errno. The first lines are not kept. */
static int send_rest(struct http_hot *hot, struct hot_conn *c)
{
	const struct http_cached *a = c->answer;
	size_t start = http_start_len(a), sent = c->sent;
	struct iovec iov[3];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t n;

	if (!c->sent)
		http_start_write(&hot->start, hot->server, a);
	add_piece(&msg, hot->start.text, start, &sent);
	add_piece(&msg, a->text + a->status_len, a->head_len, &sent);
	add_piece(&msg, a->data, c->whole - start - a->head_len, &sent);
	n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (c->sent + (size_t)n < start)
		return -EPIPE; /* less room than a line has: nobody reads so slowly in good faith */
	c->sent += (size_t)n;
	return c->sent == c->whole;
}

/* ---- making answers ready ---- */

static void warming_free(struct warming *w)
{
	w->hot->server->warming--;
	free(w->warm.what);
	free(w);
}

/* On a worker: they end before the thread's memory is freed. */
static void warm_run(struct http_job *job, bool drop)
{
	struct warming *w = (struct warming *)job;
	struct http_hot *hot = w->hot;
	uint64_t one = 1;
	bool first;

	(void)drop; /* not of these workers */
	w->warm.run(w->warm.what, hot->server->arg);
	pthread_mutex_lock(&hot->done_lock);
	first = !hot->done;
	w->next = hot->done;
	hot->done = w;
	pthread_mutex_unlock(&hot->done_lock);
	if (first && write(hot->wake, &one, sizeof(one)) < 0)
		log_debug("%s: %m", hot->server->opt.name); /* cannot be: the count is small */
}

/* Takes warm->what. False: the connection is to be handed over. */
static bool warm_begin(struct http_hot *hot, struct hot_conn *c, const struct http_warm *warm)
{
	struct httpd *server = hot->server;
	struct warming *w = c->warmed || server->warming >= WARMING_MAX ? NULL : calloc(1, sizeof(*w));

	if (!w) {
		free(warm->what);
		return false;
	}
	server->warming++;
	w->job.run = warm_run;
	w->hot = hot;
	w->conn = c;
	w->warm = *warm;
	if (!http_workers_add(&server->workers, &w->job, server->opt.queue_max)) {
		warming_free(w);
		return false;
	}
	server->in_flight++;
	c->warming = w;
	conn_turn(hot, c, FOR_WARM);
	return true;
}

/* ---- requests ---- */

/* One request that lies unread in the socket. 1: answered, look for another; 0: not now; -1: the connection is gone. */
static int answer_one(struct http_hot *hot, struct hot_conn *c, const struct http_hot_head *head)
{
	struct httpd *server = hot->server;
	struct http_hot_ask ask = { head->is_head ? HTTP_HEAD : HTTP_GET, head->target, head->host, head->authorization,
				    head->if_none_match, head->origin, head->lines, head->nlines, &c->peer };
	const struct http_route *route = NULL;
	struct http_warm warm = { .run = NULL };
	int rc = -EPIPE;

	if (!c->warmed)
		c->started_us = now_us();
	c->answer = server->opt.hot(&ask, &route, &warm, server->arg);
	if (!c->answer && warm.run && warm_begin(hot, c, &warm))
		return 0;
	if (!c->answer) {
		hand_over(hot, c);
		return -1;
	}
	c->warmed = false;
	server->in_flight++;
	c->route = (size_t)(route - server->routes);
	c->sent = 0;
	c->whole = http_start_len(c->answer) + c->answer->head_len + (head->is_head ? 0 : c->answer->len);
	/* It is there: it was seen. */
	if (recv(c->fd, hot->taken, head->len, MSG_TRUNC | MSG_DONTWAIT) == (ssize_t)head->len)
		rc = send_rest(hot, c);
	if (rc > 0)
		answered(hot, c, true);
	else if (rc == 0)
		conn_turn(hot, c, FOR_ROOM);
	else
		conn_broke(hot, c);
	return rc;
}

static void read_requests(struct http_hot *hot, struct hot_conn *c)
{
	ssize_t n = recv(c->fd, hot->bytes, HTTP_HOT_HEAD_MAX, MSG_PEEK | MSG_DONTWAIT);
	struct http_hot_head head;
	size_t at = 0;

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			conn_close(hot, c);
		return;
	}
	for (; at < (size_t)n; at += head.len) {
		if (!http_hot_head_read(&head, hot->bytes + at, (size_t)n - at) || head.len > hot->server->opt.header_bytes_max)
			break; /* what is too long is told so there */
		if (answer_one(hot, c, &head) <= 0)
			return;
	}
	if (at == 0) { /* else what is left is looked at again from its beginning */
		hand_over(hot, c);
		return;
	}
	conn_unlink(c);
	conn_wait(hot, c, FOR_NEXT, http_now_ms());
}

static void conn_event(struct http_hot *hot, struct hot_conn *c, uint32_t events)
{
	int rc;

	if (c->warming) {
		if (events & (EPOLLERR | EPOLLHUP))
			conn_close(hot, c);
		return;
	}
	if (!c->answer) {
		read_requests(hot, c);
		return;
	}
	rc = events & (EPOLLERR | EPOLLHUP) ? -EPIPE : send_rest(hot, c);
	if (rc < 0) {
		conn_broke(hot, c);
	} else if (rc > 0) {
		answered(hot, c, true);
		conn_turn(hot, c, FOR_NEXT);
	} else {
		conn_unlink(c);
		conn_wait(hot, c, FOR_ROOM, http_now_ms());
	}
}

/* Workers have made answers ready, or could not. */
static void conns_warmed(struct http_hot *hot)
{
	struct warming *w, *next;
	uint64_t count;

	if (read(hot->wake, &count, sizeof(count)) < 0)
		log_debug("%s: %m", hot->server->opt.name); /* before the list is taken: who adds to an empty one writes again */
	pthread_mutex_lock(&hot->done_lock);
	w = hot->done;
	hot->done = NULL;
	pthread_mutex_unlock(&hot->done_lock);
	for (; w; w = next) {
		struct hot_conn *c = w->conn;

		next = w->next;
		warming_free(w);
		if (!c)
			continue;
		c->warming = NULL;
		c->warmed = true;
		conn_turn(hot, c, FOR_NEXT);
		read_requests(hot, c);
		hot->server->in_flight--; /* now: a server that stops waits until it is answered */
	}
}

/* ---- the thread ---- */

static void close_late(struct http_hot *hot)
{
	int64_t idle = (int64_t)hot->server->opt.idle_s * 1000, first = (int64_t)hot->server->opt.header_s * 1000;
	const int64_t limits[WAITS] = { first < idle ? first : idle, idle, idle, INT64_MAX /* it is not the client's time */ };
	int64_t now = http_now_ms();

	for (int w = 0; w < WAITS; w++) {
		struct hot_conn *list = &hot->lists[w];

		while (list->next != list && now - list->next->since_ms > limits[w]) {
			if (w == FOR_FIRST && first <= idle)
				http_count_refusal(hot->server, "slow");
			conn_close(hot, list->next);
		}
	}
	pthread_mutex_lock(&hot->accepting);
	if (hot->full && !is_full(hot->server))
		set_listening(hot, true);
	pthread_mutex_unlock(&hot->accepting);
}

static void *hot_run(void *arg)
{
	struct http_hot *hot = arg;
	struct epoll_event events[EVENTS];
	int64_t ticked = http_now_ms();

	while (!hot->quit) {
		int n = epoll_wait(hot->epoll, events, EVENTS, TICK_MS);
		bool woken = false;

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == hot)
				accept_some(hot);
			else if (events[i].data.ptr)
				conn_event(hot, events[i].data.ptr, events[i].events);
			else
				woken = true;
		}
		if (woken) /* last: it may end connections that the events are of */
			conns_warmed(hot);
		if (http_now_ms() - ticked >= TICK_MS) {
			close_late(hot);
			ticked = http_now_ms();
		}
	}
	return NULL;
}

/* Its workers have ended, too. */
static void hot_free(struct http_hot *hot)
{
	for (struct warming *w = hot->done, *next; w; w = next) {
		next = w->next;
		warming_free(w);
	}
	if (hot->epoll >= 0)
		close(hot->epoll);
	if (hot->wake >= 0)
		close(hot->wake);
	pthread_mutex_destroy(&hot->accepting);
	pthread_mutex_destroy(&hot->done_lock);
	free(hot);
}

static int hot_start(struct httpd *server, struct httpd_socket *s)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct http_hot *hot = calloc(1, sizeof(*hot));
	int rc = 0;

	if (!hot)
		return -ENOMEM;
	hot->server = server;
	hot->socket = s;
	hot->fd = s->fd;
	for (int w = 0; w < WAITS; w++)
		hot->lists[w].next = hot->lists[w].prev = &hot->lists[w];
	pthread_mutex_init(&hot->accepting, NULL);
	pthread_mutex_init(&hot->done_lock, NULL);
	hot->epoll = epoll_create1(EPOLL_CLOEXEC);
	hot->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (hot->epoll < 0 || hot->wake < 0 || epoll_ctl(hot->epoll, EPOLL_CTL_ADD, hot->wake, &ev))
		rc = -errno;
	if (!rc) {
		set_listening(hot, true);
		rc = -pthread_create(&hot->thread, NULL, hot_run, hot);
	}
	if (rc) {
		hot_free(hot);
		return rc;
	}
	hot->next = server->hot;
	server->hot = hot;
	return 0;
}

int http_hot_start(struct httpd *server, struct httpd_socket *s)
{
	int flags = fcntl(s->fd, F_GETFL), rc = 0;

	/* Several threads wait for the same connection, and one gets it. */
	if (flags < 0 || fcntl(s->fd, F_SETFL, flags | O_NONBLOCK))
		return -errno;
	for (unsigned int i = 0; i < server->threads_each && !rc; i++)
		rc = hot_start(server, s);
	return rc;
}

void http_hot_stop_accepting(struct httpd *server)
{
	for (struct http_hot *hot = server->hot; hot; hot = hot->next) {
		pthread_mutex_lock(&hot->accepting);
		if (!hot->full)
			set_listening(hot, false);
		hot->full = false;
		hot->fd = -1;
		pthread_mutex_unlock(&hot->accepting);
	}
}

void http_hot_stop(struct httpd *server)
{
	struct http_hot *hot;
	uint64_t one = 1;

	while ((hot = server->hot)) {
		server->hot = hot->next;
		hot->quit = true;
		if (write(hot->wake, &one, sizeof(one)) < 0)
			log_debug("%s: %m", server->opt.name); /* a tick ends the wait, too */
		pthread_join(hot->thread, NULL);
		for (int w = 0; w < WAITS; w++)
			while (hot->lists[w].next != &hot->lists[w])
				conn_close(hot, hot->lists[w].next);
		hot_free(hot);
	}
}
