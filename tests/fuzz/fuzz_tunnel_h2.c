/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stranger sends as HTTP/2, to a server and to a client: every stream that somebody was told
 * of is told of its end, once; nothing is told after an end; a body is never longer than it said,
 * and never called whole when it is shorter.
 *
 * The first byte chooses the role and how the bytes are cut; the client's preface is added here.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "user/tunnel/exchange.h"
#include "user/tunnel/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct side { /* who listens to a stream */
	struct end *end;
	int64_t length; /* -1: not said */
	uint64_t got;
	bool last, heard; /* heard: a final head */
	bool echo;
};

static struct loop *loop;
static struct reactor *reactor;
static unsigned int open_sides;
static bool closed;

static void require(int truth)
{
	if (!truth)
		abort();
}

static void tell_last(struct side *s, bool last)
{
	require(!s->last);
	s->last = last;
	require(!last || s->length < 0 || s->got == (uint64_t)s->length);
}

static void on_head(struct end *e, void *arg, const struct head *h, bool last)
{
	struct side *s = arg;

	require(e == s->end && !s->heard);
	require(h->status >= 100 && h->status < 600);
	if (h->status < 200) {
		require(!last);
		return;
	}
	s->heard = true;
	s->length = h->content_length;
	if (last)
		s->length = -1; /* of HEAD's kind */
	tell_last(s, last);
}

static void on_body(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	struct side *s = arg;
	uint8_t sum = 0;

	require(e == s->end && s->heard);
	for (size_t i = 0; i < len; i++)
		sum ^= ((const uint8_t *)data)[i]; /* it can be read */
	s->got += len;
	require(s->length < 0 || s->got <= (uint64_t)s->length);
	tell_last(s, last);
	if (s->echo)
		e->ops->data(e, data, len, last && sum);
	e->ops->taken(e, len);
}

static void on_trailers(struct end *e, void *arg, const struct head *h)
{
	struct side *s = arg;

	require(e == s->end && s->heard && !h->status && !h->method);
	tell_last(s, true);
}

static void on_room(struct end *e, void *arg)
{
	require(e == ((struct side *)arg)->end);
}

static void on_gone(struct end *e, void *arg, enum end_why why)
{
	struct side *s = arg;

	require(e == s->end);
	require(why != END_DONE || s->last);
	open_sides--;
	free(s);
}

static const struct end_events events = {
	.head = on_head,
	.data = on_body,
	.trailers = on_trailers,
	.room = on_room,
	.gone = on_gone,
};

static struct side *listen_to(struct end *e)
{
	struct side *s = calloc(1, sizeof(*s));

	require(s != NULL);
	s->end = e;
	s->length = -1;
	end_listen(e, &events, s);
	open_sides++;
	return s;
}

/* The path's length chooses what becomes of a request. */
static void on_request(void *arg, struct end *front, const struct head *h, bool last)
{
	struct head *answer;
	struct side *s;

	(void)arg;
	require(h->method && h->authority && !h->status);
	require(h->path || !strcmp(h->method, "CONNECT"));
	if (h->path && strlen(h->path) % 4 == 1) {
		exchange_answer(reactor, front, 404, "text/plain", "no\n", NULL);
		return;
	}
	s = listen_to(front);
	s->heard = true;
	s->length = h->content_length;
	tell_last(s, last);
	if (h->path && strlen(h->path) % 4 == 2) {
		front->ops->abort(front, END_CANCEL);
		open_sides--;
		free(s);
		return;
	}
	s->echo = true;
	answer = head_new();
	require(answer && !head_set_status(answer, 200));
	front->ops->head(front, answer, false);
	head_free(answer);
}

static void on_closed(void *arg, const char *why)
{
	(void)arg;
	require(why != NULL);
	closed = true;
}

static void turn(void)
{
	for (int i = 0; i < 8 && sd_event_run(loop_event(loop), 0) > 0; i++)
		;
}

static void drain(int fd)
{
	char buf[16384];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

static void ask(struct h2 *h, const char *method)
{
	struct head *head = head_new();
	struct end *e;

	require(head && !head_add(head, ":method", 7, method, strlen(method)));
	require(!head_add(head, ":scheme", 7, "https", 5));
	require(!head_add(head, ":path", 5, "/", 1));
	require(!head_add(head, ":authority", 10, "a", 1));
	if (!h2_open(h, &e)) {
		listen_to(e);
		e->ops->head(e, head, true);
	}
	head_free(head);
}

static struct h2 *begin(int fd, bool server)
{
	static const struct conn_events nobody;
	struct h2_options opt = { .server = server,
				  .header_bytes_max = 2000,
				  .streams_max = 20,
				  .resets_max = 5,
				  .request = on_request,
				  .closed = on_closed };
	struct conn *c;
	struct h2 *h;

	require(!conn_accept(&c, reactor, fd, NULL, &nobody, NULL));
	require(!h2_new(&h, c, &opt));
	turn();
	if (!server) {
		ask(h, "GET");
		ask(h, "HEAD");
		ask(h, "GET");
	}
	return h;
}

static void feed(int fd, const uint8_t *data, size_t size, size_t cut)
{
	for (size_t at = 0; at < size && !closed;) {
		size_t len = cut && size - at > cut ? cut : size - at;
		ssize_t n = send(fd, data + at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n <= 0)
			return;
		at += (size_t)n;
		turn();
		drain(fd);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char preface[] =
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0";
	bool server = !size || data[0] % 2;
	struct h2 *h;
	int fd[2];

	if (!loop) {
		require(!loop_new(&loop));
		require(!reactor_new(&reactor, loop));
	}
	if (!size || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd))
		return 0;
	closed = false;
	open_sides = 0;
	h = begin(fd[0], server);
	feed(fd[1], (const uint8_t *)preface + (server ? 0 : 24), 42 - (server ? 0 : 24), 0);
	feed(fd[1], data + 1, size - 1, data[0] / 2);
	if (!closed)
		h2_abort(h, "enough");
	close(fd[1]);
	turn();
	turn();
	require(open_sides == 0);
	return 0;
}
