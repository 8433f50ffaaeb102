/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of bytes over real sockets: plain and TLS, both directions, back pressure, every way to
 * end. */
#include "tests/unit/tunnel_io.h"

#include "user/tunnel/conn_impl.h"

static struct io_end a, b; /* the two ends of what a test looks at */

static void pair(void)
{
	int fd[2];

	io_pair(fd);
	assert_int_equal(conn_accept(&a.conn, io_reactor, fd[0], NULL, &io_events, &a), 0);
	assert_int_equal(conn_accept(&b.conn, io_reactor, fd[1], NULL, &io_events, &b), 0);
}

static int ends_free(void **state)
{
	io_end_free(&a);
	io_end_free(&b);
	return io_teardown(state);
}

static void plain_both_ways(void **state)
{
	(void)state;
	pair();
	assert_int_equal(conn_write(a.conn, "hello", 5), 5);
	assert_int_equal(conn_write(a.conn, " there", 6), 6);
	assert_int_equal(conn_write(b.conn, "yes", 3), 3);
	io_until(b.len == 11 && a.len == 3);
	assert_memory_equal(b.got, "hello there", 11);
	assert_memory_equal(a.got, "yes", 3);
	assert_int_equal(b.calls, 1); /* one batch, one packet */
	conn_finish(a.conn);
	io_until(b.eof);
	assert_int_equal(conn_write(b.conn, "late", 4), 4);
	conn_finish(b.conn);
	io_until(a.closed && b.closed);
	assert_int_equal(a.len, 7);
	assert_int_equal(a.err, 0);
	assert_int_equal(b.err, 0);
}

/* ---- amounts ---- */

/* Bytes by their position, so that nothing may be lost, doubled or moved. */
static uint8_t pattern(size_t at)
{
	return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

static void assert_pattern(const struct io_end *e, size_t len)
{
	assert_int_equal(e->len, len);
	for (size_t at = 0; at < len; at++) {
		if (e->got[at] != pattern(at))
			fail_msg("byte %zu is wrong", at);
	}
}

struct sender {
	struct io_end end; /* first */
	size_t at, total, piece;
	bool finish;
};

static void send_more(struct sender *s)
{
	uint8_t piece[70000];

	while (s->at < s->total) {
		size_t len = s->total - s->at < s->piece ? s->total - s->at : s->piece, n;

		for (size_t i = 0; i < len; i++)
			piece[i] = pattern(s->at + i);
		n = conn_write(s->end.conn, piece, len);
		s->at += n;
		if (n < len)
			return;
	}
	if (s->finish)
		conn_finish(s->end.conn);
	s->finish = false;
}

static void on_room(struct conn *c, void *arg)
{
	io_writable(c, arg);
	send_more(arg);
}

static const struct conn_events sender_events = { io_ready, io_data, on_room, io_eof, io_closed };
static struct sender from;

static void start_sender(int fd, size_t total, size_t piece)
{
	from = (struct sender){ .total = total, .piece = piece, .finish = true };
	assert_int_equal(conn_accept(&from.end.conn, io_reactor, fd, NULL, &sender_events, &from),
			 0);
}

/* Every size of pieces; the receiver reads all, then its end comes last. */
static void every_size(void **state)
{
	static const size_t pieces[] = { 1, 100, 16383, 16384, 32768, 65536, 70000 };
	int fd[2];

	(void)state;
	for (size_t i = 0; i < 7; i++) {
		size_t total = pieces[i] == 1 ? 100000 : 5000000;

		io_pair(fd);
		start_sender(fd[0], total, pieces[i]);
		b.close_at_eof = true;
		assert_int_equal(conn_accept(&b.conn, io_reactor, fd[1], NULL, &io_events, &b), 0);
		send_more(&from);
		io_until(b.closed && from.end.closed);
		assert_pattern(&b, total);
		assert_int_equal(b.err, 0);
		assert_int_equal(from.end.err, 0);
		io_end_free(&b);
		io_end_free(&from.end);
	}
}

/* A receiver that pauses holds the sender back: what waits is bounded, and room is told once. */
static void back_pressure(void **state)
{
	int fd[2];
	size_t at;

	(void)state;
	io_pair(fd);
	start_sender(fd[0], 50000000, 65536);
	assert_int_equal(conn_accept(&b.conn, io_reactor, fd[1], NULL, &io_events, &b), 0);
	conn_pause(b.conn);
	send_more(&from);
	do {
		at = from.at;
		io_run_for(50);
	} while (from.at != at);
	assert_true(from.at < from.total);
	assert_int_equal(b.len, 0);
	assert_in_range(conn_waiting(from.end.conn), CONN_OUT_MAX / 4 + 1, CONN_OUT_MAX);
	conn_resume(b.conn);
	io_until(b.eof);
	assert_pattern(&b, from.total);
	assert_int_equal(conn_bytes_in(b.conn), from.total);
	assert_int_equal(conn_bytes_out(from.end.conn), from.total);
	/* Not once for each packet that went. */
	assert_true(from.end.writable <= from.total / (CONN_OUT_MAX / 4));
	io_end_free(&from.end);
}

/* What `data` does not use comes again, before what is new. */
static void what_is_not_used_is_kept(void **state)
{
	(void)state;
	pair();
	b.use_max = 3;
	assert_int_equal(conn_write(a.conn, "abcdefgh", 8), 8);
	io_until(b.len == 3);
	conn_write(a.conn, "ij", 2);
	conn_finish(a.conn);
	io_run_for(10);
	assert_int_equal(b.calls, 1);
	conn_resume(b.conn);
	io_until(b.len == 6);
	io_run_for(5);
	assert_int_equal(b.len, 6);
	assert_int_equal(b.eof, 0);
	conn_resume(b.conn); /* "gh" is all that is kept, "ij" comes from the socket */
	io_until(b.eof);
	assert_memory_equal(b.got, "abcdefghij", 10);
}

/* The first look at a connection: it uses nothing, hands over to another, and lets go on. */
static struct io_end second;

static size_t look(struct conn *c, void *arg, const uint8_t *data, size_t len)
{
	(void)arg, (void)data, (void)len;
	conn_handler(c, &io_events, &second);
	conn_resume(c);
	return 0;
}

static void a_first_look(void **state)
{
	static const struct conn_events looks = { .data = look };

	(void)state;
	pair();
	conn_handler(b.conn, &looks, NULL);
	conn_write(a.conn, "hello", 5);
	io_until(second.len == 5);
	assert_memory_equal(second.got, "hello", 5);
	io_end_free(&second);
}

static void read_before_accepted(void **state)
{
	int fd[2];

	(void)state;
	io_pair(fd);
	assert_int_equal(write(fd[0], "second", 6), 6);
	assert_int_equal(
		conn_accept_with(&b.conn, io_reactor, fd[1], NULL, &io_events, &b, "first ", 6), 0);
	io_until(b.len == 12);
	assert_memory_equal(b.got, "first second", 12);
	assert_int_equal(conn_bytes_in(b.conn), 12);
	close(fd[0]);
}

/* ---- ends ---- */

static void aborted_in_a_callback(void **state)
{
	(void)state;
	pair();
	b.abort_in_data = true;
	conn_write(a.conn, "x", 1);
	io_until(a.closed);
	assert_int_equal(a.err, -ECONNRESET);
	assert_int_equal(b.closed, 0);
}

/* Paused: the reset is told all the same, as nothing came before it. */
static void reset_while_paused(void **state)
{
	(void)state;
	pair();
	conn_pause(b.conn);
	io_run_for(5);
	conn_abort(a.conn);
	a.conn = NULL;
	io_until(b.closed);
	assert_int_equal(b.err, -ECONNRESET);
}

/* What came before the reset is told first. */
static void reset_after_data_while_paused(void **state)
{
	(void)state;
	pair();
	conn_pause(b.conn);
	conn_write(a.conn, "answer", 6);
	io_run_for(5);
	conn_abort(a.conn);
	a.conn = NULL;
	io_run_for(20);
	assert_int_equal(b.closed, 0);
	conn_resume(b.conn);
	io_until(b.closed);
	assert_int_equal(b.len, 6);
	assert_int_equal(b.err, -ECONNRESET);
}

/* The peer answered, closed and was then written to: its answer is still told. */
static void answer_before_a_broken_pipe(void **state)
{
	int fd[2];

	(void)state;
	io_pair(fd);
	assert_int_equal(write(fd[0], "413", 3), 3);
	assert_int_equal(conn_accept(&b.conn, io_reactor, fd[1], NULL, &io_events, &b), 0);
	conn_pause(b.conn);
	conn_write(b.conn, "body", 4);
	conn_flush(b.conn);
	io_run_for(5);
	conn_write(b.conn, "more", 4);
	close(fd[0]); /* with unread bytes: a reset */
	for (int i = 0; i < 3; i++) {
		conn_write(b.conn, "more", 4);
		io_run_for(5);
	}
	conn_resume(b.conn);
	io_until(b.closed);
	assert_int_equal(b.len, 3);
	assert_true(b.err == -ECONNRESET || b.err == -EPIPE);
}

/* Everything that was written arrives, although the peer went on sending what nobody reads. */
static void close_sends_everything(void **state)
{
	static uint8_t noise[200000];
	int fd[2];
	size_t total = CONN_OUT_MAX - 100;

	(void)state;
	io_pair(fd);
	start_sender(fd[0], total, 65536);
	assert_int_equal(conn_accept(&b.conn, io_reactor, fd[1], NULL, &io_events, &b), 0);
	conn_pause(b.conn);
	from.finish = false;
	send_more(&from);
	conn_close(from.end.conn);
	conn_write(b.conn, noise, sizeof(noise));
	io_run_for(20);
	conn_resume(b.conn);
	io_until(b.eof);
	assert_pattern(&b, total);
	assert_int_equal(from.end.closed, 0); /* the peer has not closed yet */
	conn_finish(b.conn);
	io_until(from.end.closed && b.closed);
	assert_int_equal(from.end.err, 0);
	assert_int_equal(from.end.len, 0); /* no `data` after conn_close() */
	assert_int_equal(b.err, 0);
}

/* A peer that never closes: `closed` comes all the same. The longest test here: 5 s. */
static void close_does_not_wait_for_ever(void **state)
{
	(void)state;
	pair();
	conn_write(a.conn, "bye", 3);
	conn_close(a.conn);
	io_until(b.eof);
	io_until(a.closed);
	assert_int_equal(a.err, 0);
	assert_int_equal(b.len, 3);
}

/* What waits has time to be taken, but not because the peer sends. */
static void close_of_one_who_takes_nothing(void **state)
{
	static uint8_t noise[20000];
	uint64_t moved;
	int fd[2];

	(void)state;
	io_pair(fd);
	start_sender(fd[0], 30000000, 65536);
	from.finish = false;
	send_more(&from);
	io_run_for(50);
	assert_true(conn_waiting(from.end.conn) > 0);
	conn_close(from.end.conn);
	from.end.conn->moved_ms -= 8000;
	moved = from.end.conn->moved_ms;
	reactor_timer_set(io_reactor, &from.end.conn->timer, 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(write(fd[1], noise, sizeof(noise)), sizeof(noise));
		io_run_for(10);
	}
	assert_false(from.end.closed);
	assert_int_equal(from.end.conn->moved_ms, moved);
	from.end.conn->moved_ms -= 12000;
	reactor_timer_set(io_reactor, &from.end.conn->timer, 0);
	io_until(from.end.closed);
	assert_int_equal(from.end.err, -ETIMEDOUT);
	close(fd[1]);
}

static void finish_twice_and_write_after(void **state)
{
	(void)state;
	pair();
	conn_write(a.conn, "x", 1);
	conn_finish(a.conn);
	conn_finish(a.conn);
	assert_int_equal(conn_write(a.conn, "lost", 4), 4);
	io_until(b.eof == 1);
	io_run_for(5);
	assert_int_equal(b.len, 1);
	assert_int_equal(b.eof, 1);
}

/* ---- dialling ---- */

static void dial_refused(void **state)
{
	struct conn_dial dial = { 0 };

	(void)state;
	close(io_listen(&dial.to));
	assert_int_equal(conn_dial(&a.conn, io_reactor, &dial, &io_events, &a), 0);
	assert_int_equal(conn_write(a.conn, "x", 1), 1);
	io_until(a.closed);
	assert_int_equal(a.err, -ECONNREFUSED);
	assert_int_equal(a.ready, 0);
	assert_string_equal(a.error, "Connection refused");
}

static void dial_and_names(void **state)
{
	struct conn_dial dial = { 0 };
	int listener = io_listen(&dial.to), fd;

	(void)state;
	assert_int_equal(conn_dial(&a.conn, io_reactor, &dial, &io_events, &a), 0);
	conn_write(a.conn, "early", 5);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	close(listener);
	assert_int_equal(conn_accept(&b.conn, io_reactor, fd, NULL, &io_events, &b), 0);
	io_until(a.ready == 1 && b.len == 5);
	assert_int_equal(b.ready, 0);
	assert_int_equal(conn_local(b.conn)->port, dial.to.port);
	assert_int_equal(conn_peer(a.conn)->port, dial.to.port);
	assert_int_equal(conn_peer(b.conn)->port, conn_local(a.conn)->port);
	assert_true(addr_is_loopback(&conn_peer(b.conn)->addr));
	assert_null(conn_tls(a.conn));
	assert_string_equal(conn_alpn(a.conn), "");
}

/* A listener whose queue is full takes no SYN: the dial ends by its time-out. */
static void dial_time_out(void **state)
{
	struct conn_dial dial = { .timeout_ms = 150 };
	int listener = io_listen(&dial.to), fill[8];
	struct sockaddr_storage ss;
	socklen_t len = addr_port_sockaddr(&dial.to, &ss);
	uint64_t began;

	(void)state;
	assert_int_equal(listen(listener, 0), 0);
	for (int i = 0; i < 8; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fill[i], (struct sockaddr *)&ss, len);
	}
	began = reactor_now_us();
	assert_int_equal(conn_dial(&a.conn, io_reactor, &dial, &io_events, &a), 0);
	io_until(a.closed);
	assert_int_equal(a.err, -ETIMEDOUT);
	assert_true(reactor_now_us() - began >= 149000);
	for (int i = 0; i < 8; i++)
		close(fill[i]);
	close(listener);
}

/* unix(7): connect() says EAGAIN when the queue is full; the dial waits for a place. */
static void unix_dial_waits_for_a_place(void **state)
{
	struct conn_dial dial = { 0 };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char folder[80];
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;

	(void)state;
	unit_folder(folder, sizeof(folder));
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", folder);
	snprintf(dial.to.path, sizeof(dial.to.path), "%s/s", folder);
	/* Nobody there yet. */
	assert_int_equal(conn_dial(&a.conn, io_reactor, &dial, &io_events, &a), 0);
	io_until(a.closed);
	assert_int_equal(a.err, -ENOENT);
	assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(listener, 0), 0);
	a = (struct io_end){ 0 };
	assert_int_equal(conn_dial(&b.conn, io_reactor, &dial, &io_events, &b), 0);
	io_until(b.ready);
	assert_int_equal(conn_dial(&a.conn, io_reactor, &dial, &io_events, &a), 0);
	io_run_for(100);
	assert_int_equal(a.ready + a.closed, 0);
	fd = accept(listener, NULL, NULL);
	io_until(a.ready);
	close(fd);
	close(listener);
	unit_folder_remove(folder);
}

/* Ten of them at once, of which the first reads more than its turn: the others are not starved. */
static void turns(void **state)
{
	enum { N = 10 };
	static struct io_end many[N];
	static struct sender senders[N];
	int fd[2];

	(void)state;
	for (int i = 0; i < N; i++) {
		io_pair(fd);
		senders[i] = (struct sender){ .total = 3000000, .piece = 65536 };
		assert_int_equal(conn_accept(&senders[i].end.conn, io_reactor, fd[0], NULL,
					     &sender_events, &senders[i]),
				 0);
		assert_int_equal(
			conn_accept(&many[i].conn, io_reactor, fd[1], NULL, &io_events, &many[i]),
			0);
		send_more(&senders[i]);
	}
	io_until(many[0].len == 3000000);
	for (int i = 0; i < N; i++)
		assert_true(many[i].len > 500000);
	for (int i = 0; i < N; i++) {
		io_until(many[i].len == 3000000);
		assert_pattern(&many[i], 3000000);
		io_end_free(&many[i]);
		io_end_free(&senders[i].end);
	}
}

/* Whatever is open or closing when the reactor ends: nothing is left (the sanitizer looks). */
static void reactor_ends_first(void **state)
{
	struct reactor *r;
	int fd[2];

	(void)state;
	assert_int_equal(reactor_new(&r, io_loop), 0);
	io_pair(fd);
	assert_int_equal(conn_accept(&a.conn, r, fd[0], NULL, &io_events, &a), 0);
	assert_int_equal(conn_accept(&b.conn, r, fd[1], NULL, &io_events, &b), 0);
	conn_write(a.conn, "x", 1);
	conn_close(a.conn);
	conn_abort(b.conn);
	a.conn = b.conn = NULL;
	reactor_free(r);
	assert_int_equal(a.closed + b.closed, 0);
}

static int sender_free(void **state)
{
	io_end_free(&from.end);
	return ends_free(state);
}

#define T(f) cmocka_unit_test_setup_teardown(f, io_setup, sender_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(plain_both_ways),
		T(every_size),
		T(back_pressure),
		T(what_is_not_used_is_kept),
		T(a_first_look),
		T(read_before_accepted),
		T(aborted_in_a_callback),
		T(reset_while_paused),
		T(reset_after_data_while_paused),
		T(answer_before_a_broken_pipe),
		T(close_sends_everything),
		T(close_does_not_wait_for_ever),
		T(close_of_one_who_takes_nothing),
		T(finish_twice_and_write_after),
		T(dial_refused),
		T(dial_and_names),
		T(dial_time_out),
		T(unix_dial_waits_for_a_place),
		T(turns),
		T(reactor_ends_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
