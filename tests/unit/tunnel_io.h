/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_io.h -- a loop with a reactor for the tests of weir-tunnel's parts, sockets over loopback,
 * and an end of a conn that writes down what it was told.
 */
#ifndef WEIR_TESTS_TUNNEL_IO_H
#define WEIR_TESTS_TUNNEL_IO_H

#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "user/tunnel/conn.h"
#include "user/tunnel/reactor.h"

static struct loop *io_loop;
static struct reactor *io_reactor;

static inline int io_setup(void **state)
{
	(void)state;
	assert_int_equal(loop_new(&io_loop), 0);
	assert_int_equal(reactor_new(&io_reactor, io_loop), 0);
	return 0;
}

static inline int io_teardown(void **state)
{
	(void)state;
	reactor_free(io_reactor);
	loop_free(io_loop);
	return 0;
}

/* Runs the loop until what is waited for is so; the test fails after ten seconds. */
#define io_until(what)                                                                             \
	do {                                                                                       \
		uint64_t io_give_up = reactor_now_us() + 10000000;                                 \
		while (!(what)) {                                                                  \
			if (reactor_now_us() > io_give_up)                                         \
				fail_msg("waited in vain for: %s", #what);                         \
			assert_true(sd_event_run(loop_event(io_loop), 100000) >= 0);               \
		}                                                                                  \
	} while (0)

/* Lets everything happen that is due within ms. */
static inline void io_run_for(unsigned int ms)
{
	uint64_t end = reactor_now_us() + ms * 1000ull, now;

	while ((now = reactor_now_us()) < end)
		assert_true(sd_event_run(loop_event(io_loop), end - now) >= 0);
}

/* A listener on 127.0.0.1; its address in *to. */
static inline int io_listen(struct addr_port *to)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	addr_from_sockaddr(to, (struct sockaddr *)&in);
	return fd;
}

static inline void io_nonblocking(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

/* Two ends of a TCP connection over loopback: fd[0] dialled, fd[1] accepted; both non-blocking. */
static inline void io_pair(int fd[2])
{
	struct sockaddr_storage ss;
	struct addr_port to;
	int listener = io_listen(&to);
	socklen_t len = addr_port_sockaddr(&to, &ss);

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd[0], (struct sockaddr *)&ss, len), 0);
	fd[1] = accept(listener, NULL, NULL);
	assert_true(fd[1] >= 0);
	close(listener);
	io_nonblocking(fd[0]);
	io_nonblocking(fd[1]);
}

/* ---- an end that notes what it was told ---- */

struct io_end {
	struct conn *conn;
	uint8_t *got; /* everything that came */
	size_t len, size;
	unsigned int ready, eof, closed, writable, calls;
	int err;
	char error[200], alpn[64];
	size_t use_max; /* of each `data`; 0: all */
	bool abort_in_data, close_at_eof;
};

static inline void io_ready(struct conn *c, void *arg)
{
	struct io_end *e = arg;

	e->ready++;
	snprintf(e->alpn, sizeof(e->alpn), "%s", conn_alpn(c));
}

static inline size_t io_data(struct conn *c, void *arg, const uint8_t *data, size_t len)
{
	struct io_end *e = arg;

	e->calls++;
	assert_true(len > 0);
	if (e->use_max && len > e->use_max)
		len = e->use_max;
	if (e->len + len > e->size) {
		e->size = (e->len + len) * 2;
		e->got = realloc(e->got, e->size);
		assert_non_null(e->got);
	}
	memcpy(e->got + e->len, data, len);
	e->len += len;
	if (e->abort_in_data) {
		conn_abort(c);
		e->conn = NULL;
	}
	return len;
}

static inline void io_writable(struct conn *c, void *arg)
{
	(void)c;
	((struct io_end *)arg)->writable++;
}

static inline void io_eof(struct conn *c, void *arg)
{
	struct io_end *e = arg;

	e->eof++;
	if (e->close_at_eof)
		conn_finish(c);
}

static inline void io_closed(struct conn *c, void *arg, int err)
{
	struct io_end *e = arg;

	e->closed++;
	e->err = err;
	snprintf(e->error, sizeof(e->error), "%s", conn_error(c));
	e->conn = NULL;
}

static const struct conn_events io_events = { io_ready, io_data, io_writable, io_eof, io_closed };

static inline void io_end_free(struct io_end *e)
{
	if (e->conn)
		conn_abort(e->conn);
	free(e->got);
	*e = (struct io_end){ 0 };
}

#endif
