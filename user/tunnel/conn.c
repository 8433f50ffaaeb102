// SPDX-License-Identifier: Apache-2.0
/*
 * conn.c -- the life of a stream of bytes and the events it tells.
 *
 * epoll's edges only set flags. run() then does what the flags allow, in one order: connect,
 * handshake, read, send, end. It runs from the reactor alone, so that no function that a user calls
 * ever calls that user back.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "user/tunnel/conn_impl.h"

/* One read: little to keep for a receiver that takes nothing, more for one that keeps up (5% less
 * CPU for a large download than with the first alone). And what one connection may read before the
 * others get their turn. */
#define READ_FIRST (64u << 10)
#define READ_MAX   (256u << 10)
#define TURN_MAX   (256u << 10)
_Static_assert(READ_MAX <= REACTOR_SCRATCH, "a read goes to the reactor's scratch memory");

/* What the kernel takes beyond what the path carries: a small answer does not wait behind megabytes
 * of a large one. */
#define UNSENT_MAX (256 << 10)

#define DIAL_MS	     3000
#define HANDSHAKE_MS 10000
#define CLOSE_MS     5000  /* for the peer's FIN behind ours */
#define UNSENT_MS    20000 /* of what waits nothing was taken: the kernel takes it in large pieces */
#define CLOSE_ALL_MS 300000 /* for all of what waits */
#define BACKLOG_MS   32	    /* between tries of a Unix socket whose queue is full */

static const struct conn_events nobody;

/* ---- ends ------------------------------------------------------------------------------------ */

void conn_work_soon(struct conn *c)
{
	if (c->state != CONN_OVER)
		reactor_defer(c->reactor, &c->work);
}

void conn_fail(struct conn *c, int err, const char *say)
{
	if (c->ended)
		return;
	c->ended = true;
	c->failed = err;
	if (say && !c->error)
		c->error = strdup(say);
	conn_work_soon(c);
}

static void reap(struct reactor_defer *d)
{
	struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, reap));

	SSL_free(c->ssl);
	conn_out_drop(c);
	free(c->kept.data);
	free(c->fed.data);
	free(c->local);
	free(c->alpn);
	free(c->error);
	free(c);
}

/* From here on nothing is told; the memory is freed after the batch. */
static void end_all(struct conn *c)
{
	c->state = CONN_OVER; /* `work` may be queued: it comes before `reap` and does nothing */
	reactor_timer_stop(c->reactor, &c->timer);
	reactor_last_remove(&c->last);
	if (c->watched)
		reactor_remove(c->reactor, &c->io);
	close(c->io.fd);
	c->io.fd = -1;
	reactor_defer(c->reactor, &c->reap);
}

static void tell_closed(struct conn *c)
{
	if (c->failed == -EPROTO) {
		conn_out_send(c); /* TLS's alert; unread bytes would make a reset of the close */
		if (recv(c->io.fd, reactor_scratch(c->reactor), REACTOR_SCRATCH, MSG_DONTWAIT) > 0)
			shutdown(c->io.fd, SHUT_WR);
	}
	end_all(c);
	if (c->on->closed)
		c->on->closed(c, c->arg, c->failed ? c->failed : c->write_failed);
}

void conn_abort(struct conn *c)
{
	struct linger reset = { .l_onoff = 1 };

	if (c->state == CONN_OVER)
		return;
	c->on = &nobody;
	setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	end_all(c);
}

static void on_last(struct reactor_last *l)
{
	end_all((struct conn *)((char *)l - offsetof(struct conn, last)));
}

/* ---- input ----------------------------------------------------------------------------------- */

ssize_t conn_receive(struct conn *c, void *buf, size_t len)
{
	ssize_t n;

	if (c->fed.data) {
		n = (ssize_t)(c->fed.len - c->fed.at < len ? c->fed.len - c->fed.at : len);
		memcpy(buf, c->fed.data + c->fed.at, (size_t)n);
		c->fed.at += (size_t)n;
		if (c->fed.at == c->fed.len) {
			free(c->fed.data);
			c->fed = (struct conn_bytes){ 0 };
		}
		return n;
	}
	if (!c->sock_readable)
		return -EAGAIN;
	do {
		n = recv(c->io.fd, buf, len, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return -errno;
	/* A short read emptied the socket: epoll tells when there is more. A FIN that came with it
	 * was told already. */
	if (n < 0 || ((size_t)n < len && !c->hangup))
		c->sock_readable = false;
	if (n > 0)
		c->moved_ms = reactor_now_ms(c->reactor);
	return n < 0 ? -EAGAIN : n;
}

static ssize_t pull(struct conn *c, uint8_t *buf, size_t len)
{
	ssize_t n = c->ssl ? conn_tls_read(c, buf, len) : conn_receive(c, buf, len);

	if (!c->ssl)
		c->readable = c->sock_readable;
	if (n > 0)
		c->bytes_in += (uint64_t)n;
	return n;
}

static void keep(struct conn *c, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len);

	if (!copy) {
		conn_fail(c, -ENOMEM, "out of memory");
		return;
	}
	memcpy(copy, data, len);
	free(c->kept.data);
	c->kept = (struct conn_bytes){ copy, 0, len };
}

/* Tells bytes; those that were not used are kept (from_kept: they are there). */
static void tell_data(struct conn *c, const uint8_t *data, size_t len, bool from_kept)
{
	size_t used;

	c->resumed = false;
	used = c->on->data ? c->on->data(c, c->arg, data, len) : len;
	if (c->state == CONN_OVER || c->closing)
		return;
	if (used < len) {
		c->paused = !c->resumed;
		if (c->resumed)
			conn_work_soon(c);
	}
	if (from_kept) {
		c->kept.at += used;
		if (used == len) {
			free(c->kept.data);
			c->kept = (struct conn_bytes){ 0 };
		}
	} else if (used < len) {
		keep(c, data + used, len - used);
	}
}

static void read_failed(struct conn *c, int err)
{
	if (c->closing && c->fin_sent)
		err = 0; /* everything was sent: how the peer left is its own affair */
	conn_fail(c, err, err ? strerror(-err) : NULL);
}

/* After conn_close(): nobody wants it, but unread bytes would turn our FIN into a reset, which
 * takes the end of an answer away from the peer. */
static void discard(struct conn *c)
{
	uint8_t *scratch = reactor_scratch(c->reactor);
	uint64_t moved = c->moved_ms;

	for (unsigned int i = 0; i < 4 && c->sock_readable && !c->read_ended; i++) {
		ssize_t n = conn_receive(c, scratch, REACTOR_SCRATCH);

		c->moved_ms = moved; /* who sends and takes nothing does not keep it */
		if (n == 0)
			c->read_ended = true;
		else if (n < 0 && n != -EAGAIN)
			read_failed(c, (int)n);
		if (c->ended)
			return;
	}
	if (c->sock_readable && !c->read_ended)
		conn_work_soon(c);
}

static void tell_eof(struct conn *c)
{
	c->read_ended = true;
	if (c->on->eof)
		c->on->eof(c, c->arg);
}

/* TLS's own answers (to KeyUpdate) are written whatever waits already: who asks for more and more
 * of them without taking any is not read. */
static bool is_choked(const struct conn *c)
{
	return c->ssl && c->out > CONN_OUT_MAX + CONN_OUT_MAX / 2;
}

static bool may_read(const struct conn *c)
{
	return c->state == CONN_OPEN && !c->ended && !c->paused && !c->closing &&
	       (c->kept.data || (c->readable && !c->read_ended && !is_choked(c)));
}

static void read_turn(struct conn *c)
{
	uint8_t *scratch = reactor_scratch(c->reactor);
	size_t turn = 0;

	while (may_read(c) && turn < TURN_MAX) {
		ssize_t n;

		if (c->kept.data) {
			n = (ssize_t)(c->kept.len - c->kept.at);
			tell_data(c, c->kept.data + c->kept.at, (size_t)n, true);
			if (c->resumed)
				break;
			continue;
		}
		n = pull(c, scratch, c->keeps_up ? READ_MAX : READ_FIRST);
		if (n == -EAGAIN)
			break;
		if (n > 0) {
			tell_data(c, scratch, (size_t)n, false);
			c->keeps_up = !c->paused && (c->keeps_up || n == READ_FIRST);
		} else if (n == 0) {
			tell_eof(c);
		} else {
			read_failed(c, (int)n);
		}
		turn += n > 0 ? (size_t)n : 0;
	}
	if (may_read(c))
		conn_work_soon(c);
}

/* ---- connecting ------------------------------------------------------------------------------ */

/* Connected: TLS, or open. */
static void connected(struct conn *c)
{
	c->state = c->ssl ? CONN_SHAKING : CONN_OPEN;
	c->ready_owed = !c->ssl;
	if (!c->ssl)
		reactor_timer_stop(c->reactor, &c->timer);
}

static void connect_check(struct conn *c)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (!c->sock_writable && !c->hangup)
		return;
	getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (!err && c->sock_writable) {
		connected(c);
		return;
	}
	err = err ? err : ECONNREFUSED;
	conn_fail(c, -err, strerror(err));
}

static void connect_start(struct conn *c)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_port_sockaddr(&c->peer, &ss);
	int err = 0;

	if (connect(c->io.fd, (struct sockaddr *)&ss, len) < 0)
		err = errno;
	if (err == EAGAIN && c->peer.path[0]) { /* unix(7): its queue is full */
		reactor_timer_set(c->reactor, &c->timer, BACKLOG_MS);
		return;
	}
	if (!err || err == EINPROGRESS) {
		uint64_t now = reactor_now_ms(c->reactor);

		reactor_timer_set(c->reactor, &c->timer,
				  c->deadline_ms > now ? c->deadline_ms - now : 0);
		err = -reactor_add(c->reactor, &c->io);
		c->watched = !err;
	}
	if (err)
		conn_fail(c, -err, strerror(err));
}

/* ---- the order of things --------------------------------------------------------------------- */

static void send_all(struct conn *c)
{
	if (c->plain_len && c->state == CONN_OPEN)
		conn_tls_gathered(c);
	conn_out_send(c);
	if (c->want_room && c->state == CONN_OPEN && conn_waiting(c) <= conn_out_max() / 4 &&
	    !c->write_failed) {
		c->want_room = false;
		if (c->on->writable)
			c->on->writable(c, c->arg);
	}
	if (may_read(c)) /* it was choked */
		conn_work_soon(c);
}

/* Whether anything came that was not told yet. */
static bool input_waits(const struct conn *c)
{
	int n = 0;

	return c->kept.data || c->fed.data || (c->ssl && SSL_has_pending(c->ssl)) ||
	       (ioctl(c->io.fd, FIONREAD, &n) == 0 && n > 0);
}

static void finish_turn(struct conn *c)
{
	if (c->finish && !c->fin_sent) {
		if (c->ssl && !c->notified && !c->plain_len) {
			c->notified = true;
			conn_tls_notify(c);
			conn_out_send(c);
		}
		if (!conn_waiting(c)) {
			shutdown(c->io.fd, SHUT_WR);
			c->fin_sent = true;
			if (c->closing)
				reactor_timer_set(c->reactor, &c->timer, CLOSE_MS);
		}
	}
	if (c->fin_sent && c->read_ended)
		conn_fail(c, 0, NULL);
	/* Nothing can be sent, nothing more is to be read or wanted. */
	if (c->write_failed && (c->read_ended || c->closing || (c->paused && !input_waits(c))))
		conn_fail(c, c->write_failed, strerror(-c->write_failed));
}

static void shake(struct conn *c)
{
	int done = conn_tls_shake(c);

	conn_out_send(c); /* an alert too */
	if (done <= 0)
		return;
	reactor_timer_stop(c->reactor, &c->timer);
	c->state = CONN_OPEN;
	c->ready_owed = true;
	c->readable = true;
}

/* sending: at the end of the batch. */
static void run(struct conn *c, bool sending)
{
	if (c->state == CONN_CONNECTING && !c->ended)
		connect_check(c);
	if (c->state == CONN_SHAKING && !c->ended)
		shake(c);
	if (c->ready_owed && !c->ended && !c->closing) {
		c->ready_owed = false;
		if (c->on->ready)
			c->on->ready(c, c->arg);
	}
	if (c->closing && c->state == CONN_OPEN)
		discard(c);
	else
		read_turn(c);
	if (sending && c->state != CONN_OVER && c->state != CONN_CONNECTING && !c->ended)
		send_all(c);
	if (c->state == CONN_OPEN && !c->ended)
		finish_turn(c);
	if (c->ended && c->state != CONN_OVER)
		tell_closed(c);
}

static void on_work(struct reactor_defer *d)
{
	struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, work));

	if (c->state != CONN_OVER)
		run(c, true);
}

static void on_io(struct reactor_io *io, uint32_t events)
{
	struct conn *c = (struct conn *)io;

	if (events & EPOLLOUT)
		c->sock_writable = true;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->sock_readable = c->readable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->hangup = true;
	/* A reset is told although reading is paused, unless something came before it. */
	if (events & EPOLLERR && c->state == CONN_OPEN && c->paused && !input_waits(c)) {
		int err = 0;
		socklen_t len = sizeof(err);

		getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &err, &len);
		err = err ? err : ECONNRESET;
		conn_fail(c, -err, strerror(err));
	}
	run(c, false);
	if (c->state != CONN_OVER && (conn_waiting(c) || c->want_room))
		conn_work_soon(c);
}

static void on_timer(struct reactor_timer *t)
{
	struct conn *c = (struct conn *)((char *)t - offsetof(struct conn, timer));
	uint64_t now = reactor_now_ms(c->reactor);

	if (c->closing) {
		uint64_t quiet = now - c->moved_ms;

		if (!c->fin_sent && quiet < UNSENT_MS && now < c->deadline_ms) {
			reactor_timer_set(c->reactor, t, CLOSE_MS);
			return;
		}
		conn_fail(c, c->fin_sent ? 0 : -ETIMEDOUT, "the peer took no more");
	} else if (c->state == CONN_CONNECTING && !c->watched && now < c->deadline_ms) {
		connect_start(c);
	} else if (c->state == CONN_CONNECTING) {
		conn_fail(c, -ETIMEDOUT, "no connection in time");
	} else if (c->state == CONN_SHAKING) {
		conn_fail(c, -ETIMEDOUT, "no TLS handshake in time");
	}
}

/* ---- what users call ------------------------------------------------------------------------- */

static struct conn *conn_make(struct reactor *r, int fd, const struct conn_events *on, void *arg)
{
	struct conn *c = calloc(1, sizeof(*c));
	int one = 1, unsent = UNSENT_MAX;

	if (!c)
		return NULL;
	*c = (struct conn){ .io = { .fd = fd, .fn = on_io },
			    .reactor = r,
			    .on = on,
			    .arg = arg,
			    .work.fn = on_work,
			    .reap.fn = reap,
			    .timer.fn = on_timer,
			    .last.fn = on_last,
			    .moved_ms = reactor_now_ms(r) };
	/* A Unix socket refuses both. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	return c;
}

int conn_accept_with(struct conn **out, struct reactor *r, int fd, SSL_CTX *tls,
		     const struct conn_events *on, void *arg, const void *read, size_t len)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t ss_len = sizeof(ss);
	struct conn *c = conn_make(r, fd, on, arg);
	int err = c ? 0 : -ENOMEM;

	if (c && getpeername(fd, (struct sockaddr *)&ss, &ss_len) == 0)
		addr_from_sockaddr(&c->peer, (struct sockaddr *)&ss);
	if (!err && tls)
		err = conn_tls_begin(c, tls, NULL, true);
	if (!err && len) {
		keep(c, read, len);
		err = c->kept.data ? 0 : -ENOMEM;
	}
	if (!err)
		err = reactor_add(r, &c->io);
	if (err) {
		close(fd);
		if (c)
			reap(&c->reap);
		return err;
	}
	c->watched = true;
	c->state = tls ? CONN_SHAKING : CONN_OPEN;
	if (tls) {
		c->fed = c->kept;
		c->kept = (struct conn_bytes){ 0 };
		reactor_timer_set(r, &c->timer, HANDSHAKE_MS);
	} else {
		c->bytes_in = len;
	}
	*out = c;
	return 0;
}

int conn_accept(struct conn **out, struct reactor *r, int fd, SSL_CTX *tls,
		const struct conn_events *on, void *arg)
{
	return conn_accept_with(out, r, fd, tls, on, arg, NULL, 0);
}

void conn_set_handshake_ms(struct conn *c, unsigned int ms)
{
	if (c->state == CONN_SHAKING)
		reactor_timer_set(c->reactor, &c->timer, ms);
}

int conn_dial(struct conn **out, struct reactor *r, const struct conn_dial *dial,
	      const struct conn_events *on, void *arg)
{
	int family = dial->to.path[0] ? AF_UNIX : dial->to.addr.family;
	unsigned int ms = dial->timeout_ms ? dial->timeout_ms : DIAL_MS;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err = 0;
	struct conn *c;

	if (fd < 0)
		return -errno;
	c = conn_make(r, fd, on, arg);
	if (!c)
		err = -ENOMEM;
	else if (dial->tls)
		err = conn_tls_begin(c, dial->tls, dial->server_name, false);
	if (err) {
		close(fd);
		if (c)
			reap(&c->reap);
		return err;
	}
	c->peer = dial->to;
	c->state = CONN_CONNECTING;
	c->deadline_ms = reactor_now_ms(r) + ms;
	connect_start(c);
	*out = c;
	return 0;
}

void conn_handler(struct conn *c, const struct conn_events *on, void *arg)
{
	c->on = on;
	c->arg = arg;
}

void conn_pause(struct conn *c)
{
	c->paused = true;
	c->resumed = false;
}

void conn_resume(struct conn *c)
{
	c->resumed = true;
	if (!c->paused)
		return;
	c->paused = false;
	conn_work_soon(c);
}

void conn_finish(struct conn *c)
{
	c->finish = true;
	conn_work_soon(c);
}

void conn_close(struct conn *c)
{
	if (c->state == CONN_OVER || c->closing)
		return;
	c->closing = c->finish = true;
	reactor_last_add(c->reactor, &c->last);
	c->deadline_ms = reactor_now_ms(c->reactor) + CLOSE_ALL_MS;
	if (c->state != CONN_OPEN)
		conn_fail(c, 0, NULL);
	else
		reactor_timer_set(c->reactor, &c->timer, CLOSE_MS);
	conn_work_soon(c);
}

void conn_ack_now(struct conn *c)
{
	int one = 1;

	if (c->peer.addr.family != AF_UNSPEC)
		setsockopt(c->io.fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
}
