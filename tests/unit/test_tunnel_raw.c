/* SPDX-License-Identifier: Apache-2.0 */
/* Connections without messages as ends of an exchange: heads, half-close, back pressure, time-outs.
 */
#include "tests/unit/tunnel_io.h"

#include "user/tunnel/raw.h"

/* What an end told. */
struct seen {
	struct end *end;
	unsigned int heads, status, lasts, rooms, gone;
	enum end_why why;
	size_t len;
	char got[64];
	bool take; /* at once */
	bool abort_in_data;
};

static struct seen front, back;
static struct io_end peer; /* the other side of the connection */

static void on_head(struct end *e, void *arg, const struct head *h, bool last)
{
	struct seen *s = arg;

	(void)e;
	s->heads++;
	s->status = h->status;
	assert_false(last);
}

static void on_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	struct seen *s = arg;

	for (size_t i = 0; i < len; i++) {
		if (s->len + i < sizeof(s->got))
			s->got[s->len + i] = ((const char *)data)[i];
	}
	s->len += len;
	s->lasts += last;
	if (s->abort_in_data) {
		e->ops->abort(e, END_CANCEL);
		s->end = NULL;
	} else if (s->take && len) {
		e->ops->taken(e, len);
	}
}

static void on_room(struct end *e, void *arg)
{
	(void)e;
	((struct seen *)arg)->rooms++;
}

static void on_gone(struct end *e, void *arg, enum end_why why)
{
	struct seen *s = arg;

	(void)e;
	s->gone++;
	s->why = why;
	s->end = NULL;
}

static const struct end_events events = {
	.head = on_head, .data = on_data, .room = on_room, .gone = on_gone
};

static int teardown(void **state)
{
	if (front.end)
		front.end->ops->abort(front.end, END_CANCEL);
	if (back.end)
		back.end->ops->abort(back.end, END_CANCEL);
	front = back = (struct seen){ 0 };
	io_end_free(&peer);
	return io_teardown(state);
}

static void make_front(unsigned int idle_ms)
{
	int fd[2];
	struct conn *c;

	io_pair(fd);
	assert_int_equal(conn_accept(&peer.conn, io_reactor, fd[0], NULL, &io_events, &peer), 0);
	assert_int_equal(conn_accept(&c, io_reactor, fd[1], NULL, &io_events, NULL), 0);
	assert_int_equal(raw_front(&front.end, c, idle_ms), 0);
	end_listen(front.end, &events, &front);
	front.take = true;
}

static void answer(struct end *e, unsigned int status, bool last)
{
	struct head h = { .status = status, .content_length = -1 };

	assert_int_equal(e->ops->head(e, &h, last), 0);
}

static void make_back(unsigned int idle_ms, const char *preface)
{
	struct conn_dial dial = { 0 };
	int listener = io_listen(&dial.to), fd;

	assert_int_equal(raw_dial(&back.end, io_reactor, &dial, idle_ms, preface, strlen(preface)),
			 0);
	end_listen(back.end, &events, &back);
	back.take = true;
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	close(listener);
	assert_int_equal(conn_accept(&peer.conn, io_reactor, fd, NULL, &io_events, &peer), 0);
}

static void front_both_ways_and_half_close(void **state)
{
	(void)state;
	make_front(0);
	assert_int_equal(conn_write(peer.conn, "hello", 5), 5);
	conn_finish(peer.conn);
	io_until(front.lasts);
	assert_memory_equal(front.got, "hello", 5);
	answer(front.end, 103, false);
	answer(front.end, 200, false);
	assert_int_equal(front.end->ops->data(front.end, "answer", 6, true), 6);
	io_until(front.gone && peer.closed);
	assert_int_equal(front.why, END_DONE);
	assert_int_equal(front.lasts, 1);
	assert_int_equal(peer.len, 6); /* heads leave no bytes */
	assert_int_equal(peer.err, 0);
}

static void front_refused_by_status(void **state)
{
	(void)state;
	make_front(0);
	answer(front.end, 502, false);
	assert_int_equal(front.gone, 0); /* not before the op returned */
	assert_int_equal(front.end->ops->data(front.end, "page", 4, true), 4);
	io_until(front.gone && peer.closed);
	assert_int_equal(front.why, END_CANCEL);
	assert_int_equal(peer.len, 0);
	assert_int_equal(peer.err, -ECONNRESET);
}

static void back_connects_and_sends_a_preface(void **state)
{
	(void)state;
	make_back(0, "PROXY ");
	assert_int_equal(back.end->ops->data(back.end, "first", 5, false),
			 5); /* before connected */
	io_until(back.heads);
	assert_int_equal(back.status, 200);
	io_until(peer.len == 11);
	assert_memory_equal(peer.got, "PROXY first", 11);
	assert_int_equal(conn_write(peer.conn, "bytes", 5), 5);
	conn_finish(peer.conn);
	io_until(back.lasts);
	assert_memory_equal(back.got, "bytes", 5);
	assert_int_equal(back.gone, 0); /* ours goes on */
	assert_int_equal(back.end->ops->data(back.end, "end", 3, true), 3);
	io_until(back.gone);
	assert_int_equal(back.why, END_DONE);
}

static void back_refused(void **state)
{
	struct conn_dial dial = { 0 };

	(void)state;
	close(io_listen(&dial.to)); /* nobody listens there any more */
	assert_int_equal(raw_dial(&back.end, io_reactor, &dial, 0, NULL, 0), 0);
	end_listen(back.end, &events, &back);
	io_until(back.gone);
	assert_int_equal(back.why, END_REFUSED);
	assert_int_equal(back.heads, 0);
}

static void back_lost(void **state)
{
	(void)state;
	make_back(0, "");
	io_until(back.heads);
	conn_abort(peer.conn);
	peer.conn = NULL;
	io_until(back.gone);
	assert_int_equal(back.why, END_LOST);
}

/* What was not taken stops the reading: the peer's bytes stay in the sockets and with the peer. */
static void back_pressure(void **state)
{
	static uint8_t much[CONN_OUT_MAX];
	size_t given = 0, told, before;

	(void)state;
	make_back(0, "");
	back.take = false;
	io_until(back.heads);
	for (;;) { /* until nothing moves for a while */
		before = given + back.len;
		while (conn_has_room(peer.conn))
			given += conn_write(peer.conn, much, sizeof(much));
		io_run_for(50);
		if (given + back.len == before)
			break;
	}
	assert_true(back.len > 0);
	assert_true(back.len < given);
	told = back.len;
	back.end->ops->taken(back.end, told - 1);
	io_run_for(50);
	assert_int_equal(back.len, told);
	back.take = true;
	back.end->ops->taken(back.end, 1);
	io_until(back.len == given);
}

static void room_is_told(void **state)
{
	static uint8_t much[CONN_OUT_MAX + 1];

	(void)state;
	make_back(0, "");
	conn_pause(peer.conn);
	io_until(back.heads);
	while (back.end->ops->data(back.end, much, sizeof(much), false) == sizeof(much))
		io_run_for(1);
	assert_int_equal(back.rooms, 0);
	conn_resume(peer.conn);
	io_until(back.rooms == 1);
}

static void idle_time_out(void **state)
{
	uint64_t began = reactor_now_us();

	(void)state;
	make_back(200, "");
	io_until(back.heads);
	io_until(back.gone);
	assert_int_equal(back.why, END_TIMEOUT);
	assert_true(reactor_now_us() - began >= 200000);
	io_until(peer.closed);
	assert_int_equal(peer.err, -ECONNRESET);
}

static void aborted_within_its_event(void **state)
{
	(void)state;
	make_front(1000);
	front.abort_in_data = true;
	assert_int_equal(conn_write(peer.conn, "x", 1), 1);
	io_until(peer.closed);
	assert_int_equal(peer.err, -ECONNRESET);
	assert_int_equal(front.gone, 0);
}

/* Both directions are whole, but the last bytes wait for the peer: an end in order sends them. */
static void done_sends_what_waits(void **state)
{
	static uint8_t much[CONN_OUT_MAX];
	size_t given = 0, n;

	(void)state;
	make_front(0);
	conn_pause(peer.conn);
	do {
		n = front.end->ops->data(front.end, much, sizeof(much), false);
		given += n;
		io_run_for(1);
	} while (n == sizeof(much));
	front.end->ops->abort(front.end, END_DONE);
	front.end = NULL;
	conn_resume(peer.conn);
	io_until(peer.eof);
	assert_int_equal(peer.len, given);
	assert_int_equal(front.gone, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, io_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(front_both_ways_and_half_close),
		T(front_refused_by_status),
		T(back_connects_and_sends_a_preface),
		T(back_refused),
		T(back_lost),
		T(back_pressure),
		T(room_is_told),
		T(idle_time_out),
		T(aborted_within_its_event),
		T(done_sends_what_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
