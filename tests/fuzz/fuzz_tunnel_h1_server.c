/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole server on a socket pair: a stranger's bytes in any pieces, receivers that answer at
 * once or later, in full, in part or not at all, hold back, let go. Nothing crashes, every end is
 * told once that it is gone, and a connection never waits for nobody.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "user/tunnel/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct reactor *reactor;
static struct h1_server *server;
static struct end *front;
static size_t held;
static uint8_t how; /* the receivers do */
static bool ended;

static void require(int truth)
{
	if (!truth)
		abort();
}

static void answer(void)
{
	struct head *h = head_new();
	struct end *e = front;

	head_set_status(h, how & 1 ? 200 : 403);
	if (how & 2)
		head_addf(h, "content-length", "%d", how & 4 ? 5 : 4);
	if (how & 8)
		head_addf(h, "x-long", "%0300d", 1);
	if (!e->ops->head(e, h, !(how & 6)) && how & 6)
		e->ops->data(e, "hello", 5, !(how & 16));
	if (how & 32 && front) {
		front = NULL;
		e->ops->abort(e, how & 64 ? END_DONE : END_CANCEL);
	}
	head_free(h);
}

static void on_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	uint8_t sum = 0;

	(void)arg;
	require(e == front && !ended);
	for (size_t i = 0; i < len; i++)
		sum ^= ((const uint8_t *)data)[i];
	ended = last;
	held += len;
	if (!(sum & how)) {
		len = held;
		held = 0;
		e->ops->taken(e, len);
	}
	if (last && how & 128)
		answer();
}

static void on_trailers(struct end *e, void *arg, const struct head *h)
{
	(void)arg, (void)h;
	require(e == front && !ended);
	ended = true;
}

static void on_gone(struct end *e, void *arg, enum end_why why)
{
	(void)arg, (void)why;
	require(e == front);
	front = NULL;
}

static const struct end_events events = { .data = on_data,
					  .trailers = on_trailers,
					  .gone = on_gone };

static void on_request(void *arg, struct end *e, const struct head *h, bool last)
{
	(void)arg;
	require(!front && h->method && h->authority);
	front = e;
	held = 0;
	ended = last;
	end_listen(e, &events, NULL);
	if (!(how & 128))
		answer();
}

static void on_closed(void *arg)
{
	(void)arg;
	server = NULL;
}

static void run(void)
{
	for (int i = 0; i < 4; i++)
		sd_event_run(loop_event(loop), 0);
}

static void start(int fd)
{
	static const struct conn_events none;
	struct h1_server_options opt = { .scheme = "http",
					 .header_bytes_max = 1024,
					 .head_ms = 1000,
					 .idle_ms = 1000,
					 .request = on_request,
					 .closed = on_closed };
	struct conn *c;

	require(!conn_accept(&c, reactor, fd, NULL, &none, NULL));
	require(!h1_server_new(&server, c, &opt));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seed;
	int fd[2];

	if (size < 3)
		return 0;
	if (!loop) {
		require(!loop_new(&loop));
		require(!reactor_new(&reactor, loop));
	}
	how = data[0];
	seed = data[1];
	require(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd));
	start(fd[1]);
	for (size_t at = 2; at < size && server;) {
		size_t n = 1 + (seed >> 16) % 200;
		char sink[4096];

		n = n < size - at ? n : size - at;
		seed = seed * 1103515245 + 12345;
		if (send(fd[0], data + at, n, MSG_NOSIGNAL) < 0)
			break;
		at += n;
		run();
		if (front && seed & 0x10000) {
			size_t len = held;

			held = 0;
			front->ops->taken(front, len);
		}
		if (front && how & 128 && seed & 0x20000)
			answer();
		while (recv(fd[0], sink, sizeof(sink), 0) > 0)
			;
	}
	if (seed & 0x40000 && server)
		h1_server_drain(server, 10);
	close(fd[0]);
	run();
	if (server)
		h1_server_abort(server);
	run();
	require(!server && !front);
	return 0;
}
