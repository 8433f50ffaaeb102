// SPDX-License-Identifier: Apache-2.0
/* HTTP/2 as ends: a client and a server over real sockets, every shape of an exchange and every way
 * to end one. */
#include "tests/unit/tunnel_end.h"
#include "user/tunnel/h2.h"

#define MIB (1u << 20)

static struct h2 *client, *server;
static struct hear in[64], out[64]; /* the server's, the client's */
static unsigned int n_in, goaways, refusals, client_closed, server_closed;
static unsigned int refused_status;
static int server_fd;
static char client_why[100], server_why[100];
static void (*on_request)(struct hear *p); /* answers at once */

static void request_came(void *arg, struct end *front, const struct head *h, bool last)
{
	struct hear *p = &in[n_in++ % 64];

	(void)arg;
	assert_null(p->end);
	hear(p, front);
	head_free(p->head);
	p->head = head_copy(h);
	p->last = last;
	if (on_request)
		on_request(p);
}

static void refused(void *arg, unsigned int status, const char *why)
{
	(void)arg;
	assert_non_null(why);
	refused_status = status;
	refusals++;
}

static void goaway(void *arg)
{
	(void)arg;
	goaways++;
}

static void closed(void *arg, const char *why)
{
	if (arg == &client) {
		client = NULL;
		client_closed++;
		snprintf(client_why, sizeof(client_why), "%s", why);
	} else {
		server = NULL;
		server_closed++;
		snprintf(server_why, sizeof(server_why), "%s", why);
	}
}

static const struct h2_options plain = { .header_bytes_max = 16384, .streams_max = 32 };

static struct h2 *begin(int fd, struct h2_options opt, struct h2 **arg)
{
	struct conn *c;
	struct h2 *h;

	opt.request = request_came;
	opt.refused = refused;
	opt.goaway = goaway;
	opt.closed = closed;
	opt.arg = arg;
	opt.server = arg == &server;
	assert_int_equal(conn_accept(&c, io_reactor, fd, NULL, &io_events, NULL), 0);
	assert_int_equal(h2_new(&h, c, &opt), 0);
	return h;
}

static void pair_of(struct h2_options c, struct h2_options s)
{
	int fd[2];

	io_pair(fd);
	client = begin(fd[0], c, &client);
	server = begin(fd[1], s, &server);
	server_fd = fd[1];
	io_until(h2_peer_connects(client)); /* SETTINGS came */
}

static void pair(void)
{
	pair_of(plain, plain);
}

static struct hear *ask(unsigned int i, struct head *h, bool last)
{
	struct end *e;

	assert_int_equal(h2_open(client, &e), 0);
	hear(&out[i], e);
	say(&out[i], h, last);
	return &out[i];
}

static int setup(void **state)
{
	n_in = goaways = refusals = client_closed = server_closed = 0;
	client = server = NULL;
	on_request = NULL;
	return io_setup(state);
}

static int teardown(void **state)
{
	for (int i = 0; i < 64; i++) {
		hear_free(&in[i]);
		hear_free(&out[i]);
	}
	if (client)
		h2_abort(client, "test over");
	if (server)
		h2_abort(server, "test over");
	io_run_for(1);
	return io_teardown(state);
}

static void small(void **state)
{
	struct hear *p;
	struct head *h;

	(void)state;
	pair();
	h = request("GET", "/a?b");
	assert_int_equal(head_addf(h, "cookie", "%s", "secret"), 0);
	p = ask(0, h, true);
	io_until(n_in == 1);
	assert_string_equal(in[0].head->method, "GET");
	assert_string_equal(in[0].head->path, "/a?b");
	assert_string_equal(in[0].head->authority, "app.example:443");
	assert_string_equal(head_get(in[0].head, "cookie"), "secret");
	assert_true(in[0].last);
	h = response(200);
	assert_int_equal(head_addf(h, "content-length", "%d", 5), 0);
	say(&in[0], h, false);
	in[0].to_send = 5;
	in[0].send_last = true;
	hear_send(&in[0]);
	io_until(p->gone && in[0].gone);
	assert_int_equal(p->why, END_DONE);
	assert_int_equal(in[0].why, END_DONE);
	assert_int_equal(p->head->status, 200);
	assert_int_equal(p->got, 5);
	assert_true(p->last);
	assert_int_equal(h2_streams(client), 0);
	assert_int_equal(h2_streams(server), 0);
}

/* ---- bodies ---- */

static void answer_head_first(struct hear *p)
{
	say(p, response(200), false);
	hear_send(p);
}

static void big(struct h2_options c, struct h2_options s)
{
	struct hear *p;

	pair_of(c, s);
	in[0].to_send = 6 * MIB + 12345;
	in[0].send_last = true;
	on_request = answer_head_first; /* from within the callback: refused, then room */
	p = ask(0, request("POST", "/"), false);
	p->to_send = 5 * MIB + 1;
	p->send_last = true;
	hear_send(p);
	assert_true(p->sent < p->to_send); /* the conn takes no such heap */
	io_until(p->gone && in[0].gone);
	assert_int_equal(p->got, in[0].to_send);
	assert_int_equal(in[0].got, p->to_send);
	assert_int_equal(p->why, END_DONE);
	assert_int_equal(in[0].why, END_DONE);
}

static void big_bodies_both_ways(void **state)
{
	(void)state;
	big(plain, plain);
}

static void big_bodies_in_large_frames(void **state)
{
	struct h2_options o = plain;

	(void)state;
	o.frame_max = 256 << 10;
	o.stream_window = 4 * MIB;
	big(o, o);
}

static void big_bodies_in_small_windows(void **state)
{
	struct h2_options o = plain;

	(void)state;
	o.stream_window = 65535;
	o.connection_window = 65535;
	big(o, o);
}

static void a_slow_stream_slows_no_other(void **state)
{
	(void)state;
	pair();
	on_request = answer_head_first;
	for (int i = 0; i < 9; i++) {
		in[i].to_send = 4 * MIB;
		in[i].send_last = true;
		out[i].hold = i == 0;
		ask((unsigned int)i, request("GET", "/"), true);
	}
	for (int i = 1; i < 9; i++)
		io_until(out[i].gone);
	for (int i = 1; i < 9; i++)
		assert_int_equal(out[i].got, 4 * MIB);
	assert_false(out[0].last);
	assert_int_equal(out[0].got, 128 << 10); /* its window, and no more */
	hear_release(&out[0]);
	io_until(out[0].gone);
	assert_int_equal(out[0].got, 4 * MIB);
	assert_int_equal(out[0].why, END_DONE);
}

/* 1 MiB each with connection windows far smaller than all of them: nobody is forgotten. */
static void all_streams_get_their_share(void **state)
{
	struct h2_options o = plain;

	(void)state;
	o.connection_window = 256 << 10;
	pair_of(o, o);
	on_request = answer_head_first;
	for (int i = 0; i < 32; i++) {
		in[i].to_send = MIB;
		in[i].send_last = true;
		ask((unsigned int)i, request("GET", "/"), true);
	}
	for (int i = 0; i < 32; i++) {
		io_until(out[i].gone);
		assert_int_equal(out[i].got, MIB);
	}
}

/* Who keeps up gets a larger window, up to what was configured. */
static void windows_grow(void **state)
{
	struct h2_options o = plain;

	(void)state;
	o.stream_window = 512 << 10;
	pair_of(o, o);
	on_request = answer_head_first;
	in[0].to_send = 20 * MIB;
	in[0].send_last = true;
	ask(0, request("GET", "/"), true);
	io_until(out[0].got > 4 * MIB);
	out[0].hold = true;
	io_run_for(100);
	assert_true(out[0].held > 256 << 10);
	assert_true(out[0].held <= 512 << 10);
	hear_release(&out[0]);
	io_until(out[0].gone);
	assert_int_equal(out[0].got, 20 * MIB);
}

/* All want to send more than the socket takes: none gets far ahead of the others. */
static void streams_take_turns(void **state)
{
	int small = 32 << 10;

	(void)state;
	pair();
	assert_int_equal(setsockopt(server_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	on_request = answer_head_first;
	for (int i = 0; i < 8; i++) {
		in[i].to_send = 4 * MIB;
		in[i].send_last = true;
		ask((unsigned int)i, request("GET", "/"), true);
	}
	io_until(n_in == 8);
	io_until(out[0].got > 2 * MIB);
	for (int i = 0; i < 8; i++) {
		assert_true(out[i].got > MIB);
		assert_true(out[i].got < 3 * MIB);
	}
	for (int i = 0; i < 8; i++)
		io_until(out[i].gone);
}

static struct head *trailers(void)
{
	struct head *h = head_new();

	assert_int_equal(head_addf(h, "grpc-status", "%d", 0), 0);
	return h;
}

static void trailers_both_ways(void **state)
{
	struct hear *p;

	(void)state;
	pair();
	in[0].to_send = 300000;
	in[0].send_trailers = trailers();
	on_request = answer_head_first;
	p = ask(0, request("POST", "/"), false);
	p->to_send = 2 * MIB;
	p->send_trailers = trailers();
	hear_send(p);
	io_until(p->gone && in[0].gone);
	assert_int_equal(p->got, 300000);
	assert_int_equal(in[0].got, 2 * MIB);
	assert_string_equal(head_get(p->trailers, "grpc-status"), "0");
	assert_string_equal(head_get(in[0].trailers, "grpc-status"), "0");
	assert_int_equal(p->why, END_DONE);
	assert_int_equal(in[0].why, END_DONE);
}

static void trailers_without_a_body(void **state)
{
	struct hear *p;

	(void)state;
	pair();
	in[0].send_trailers = trailers();
	on_request = answer_head_first;
	p = ask(0, request("GET", "/"), true);
	io_until(p->gone);
	assert_int_equal(p->got, 0);
	assert_non_null(p->trailers);
}

static void informational_heads_pass(void **state)
{
	struct hear *p;

	(void)state;
	pair();
	p = ask(0, request("GET", "/"), true);
	io_until(n_in == 1);
	say(&in[0], response(103), false);
	io_until(p->infos == 1);
	say(&in[0], response(103), false);
	say(&in[0], response(204), true);
	io_until(p->gone);
	assert_int_equal(p->infos, 2);
	assert_int_equal(p->head->status, 204);
}

static void answer_with_a_body(struct hear *p)
{
	struct head *h = response(p->head->method[0] == 'H' ? 200 : 304);

	assert_int_equal(head_addf(h, "content-length", "%d", 1000), 0);
	say(p, h, false);
	hear_send(p);
}

/* Whoever answers need not know: the end leaves out the body where none may be. */
static void no_body_where_none_may_be(void **state)
{
	(void)state;
	pair();
	on_request = answer_with_a_body;
	in[0].to_send = in[1].to_send = 1000;
	in[0].send_last = in[1].send_last = true;
	ask(0, request("HEAD", "/"), true);
	ask(1, request("GET", "/"), true);
	io_until(out[0].gone && out[1].gone && in[0].gone && in[1].gone);
	assert_int_equal(in[0].sent, 1000);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(out[i].got, 0);
		assert_true(out[i].last);
		assert_int_equal(out[i].why, END_DONE);
		assert_string_equal(head_get(out[i].head, "content-length"), "1000");
	}
}

/* ---- CONNECT ---- */

static void tunnel(struct head *h)
{
	struct hear *p = ask(0, h, false);

	io_until(n_in == 1);
	say(&in[0], response(200), false);
	io_until(p->heads);
	p->to_send = in[0].to_send = MIB;
	hear_send(p);
	hear_send(&in[0]);
	io_until(p->got == MIB && in[0].got == MIB);
	/* one direction ends, the other goes on */
	p->end->ops->data(p->end, NULL, 0, true);
	io_until(in[0].last);
	in[0].to_send += MIB;
	in[0].send_last = true;
	hear_send(&in[0]);
	io_until(p->gone && in[0].gone);
	assert_int_equal(p->got, 2 * MIB);
	assert_int_equal(p->why, END_DONE);
}

static void connect_is_a_pipe(void **state)
{
	(void)state;
	pair();
	tunnel(request("CONNECT", NULL));
	assert_string_equal(in[0].head->method, "CONNECT");
	assert_null(in[0].head->path);
}

static void extended_connect(void **state)
{
	struct head *h = request("CONNECT", NULL);

	(void)state;
	pair();
	head_free(h);
	h = head_new();
	assert_int_equal(head_add(h, ":method", 7, "CONNECT", 7), 0);
	assert_int_equal(head_add(h, ":protocol", 9, "websocket", 9), 0);
	assert_int_equal(head_add(h, ":scheme", 7, "https", 5), 0);
	assert_int_equal(head_add(h, ":path", 5, "/chat", 5), 0);
	assert_int_equal(head_add(h, ":authority", 10, "app.example", 11), 0);
	tunnel(h);
	assert_string_equal(in[0].head->protocol, "websocket");
	assert_string_equal(in[0].head->path, "/chat");
}

/* ---- early ends ---- */

static void aborts_say_why(void **state)
{
	static const struct {
		enum end_why told, heard;
	} cases[] = {
		{ END_CANCEL, END_CANCEL },   { END_TIMEOUT, END_CANCEL },
		{ END_REFUSED, END_REFUSED }, { END_PROTOCOL, END_PROTOCOL },
		{ END_LOST, END_LOST },	      { END_ERROR, END_LOST },
		{ END_LIMIT, END_LIMIT },
	};

	(void)state;
	pair();
	for (unsigned int i = 0; i < 7; i++) {
		ask(i, request("GET", "/"), true);
		io_until(n_in == i + 1);
		hear_drop(&in[i], cases[i].told);
		io_until(out[i].gone);
		assert_int_equal(out[i].why, cases[i].heard);
		assert_int_equal(out[i].heads, 0);
	}
	ask(7, request("POST", "/"), false);
	io_until(n_in == 8);
	hear_drop(&out[7], END_CANCEL);
	io_until(in[7].gone);
	assert_int_equal(in[7].why, END_CANCEL);
	/* before it even left */
	ask(8, request("GET", "/"), true);
	hear_drop(&out[8], END_CANCEL);
	ask(9, request("GET", "/"), true);
	io_until(in[n_in - 1].end != NULL && h2_streams(client) == 1);
	io_until(h2_streams(server) == 1);
}

static void an_open_stream_that_says_nothing(void **state)
{
	struct end *e;

	(void)state;
	pair();
	assert_int_equal(h2_open(client, &e), 0);
	assert_int_equal(h2_streams(client), 1);
	e->ops->abort(e, END_CANCEL);
	assert_int_equal(h2_streams(client), 0);
	io_run_for(1);
}

static void an_answer_before_the_end_of_the_request(void **state)
{
	struct hear *p;
	struct head *h = response(413);

	(void)state;
	pair();
	p = ask(0, request("POST", "/"), false);
	p->to_send = 100 * MIB;
	hear_send(p);
	in[0].hold = true;
	io_until(n_in == 1 && in[0].got > 0);
	say(&in[0], h, false);
	in[0].to_send = 100000;
	in[0].send_last = true;
	hear_send(&in[0]);
	hear_drop(&in[0], END_DONE);
	io_until(p->gone);
	assert_int_equal(p->head->status, 413);
	assert_int_equal(p->got, 100000);
	assert_true(p->last);
	assert_int_equal(p->why, END_DONE);
}

static void a_lost_connection_tells_streams_first(void **state)
{
	(void)state;
	pair();
	ask(0, request("GET", "/"), true);
	ask(1, request("POST", "/"), false);
	io_until(n_in == 2);
	assert_int_equal(shutdown(server_fd, SHUT_RDWR), 0);
	io_until(client_closed && server_closed);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(out[i].why, END_LOST);
		assert_int_equal(in[i].why, END_LOST);
		assert_int_equal(out[i].gone + in[i].gone, 2);
	}
}

static void abort_is_not_told_but_to_streams(void **state)
{
	(void)state;
	pair();
	ask(0, request("GET", "/"), true);
	io_until(n_in == 1);
	h2_abort(server, "enough");
	server = NULL;
	io_until(client_closed && in[0].gone);
	assert_int_equal(in[0].why, END_LOST);
	assert_int_equal(server_closed, 0);
	assert_int_equal(out[0].why, END_LOST);
}

/* The client ends it, as an edge that has heard of a revocation. */
static void the_end_says_why(void **state)
{
	struct hear *c;

	(void)state;
	pair();
	c = ask(0, request("POST", "/a"), false);
	io_until(n_in == 1);
	h2_end(client, "the certificate was revoked");
	client = NULL;
	io_until(c->gone && server_closed);
	assert_int_equal(c->why, END_LOST);
	assert_int_equal(client_closed, 0);
	assert_int_equal(goaways, 1);
	assert_string_equal(server_why, H2_PEER_SAYS "the certificate was revoked");
	io_until(in[0].gone);
}

static void abort_server(struct hear *p)
{
	(void)p;
	h2_abort(server, "in the callback");
	server = NULL;
}

static void abort_from_within(void **state)
{
	(void)state;
	pair();
	on_request = abort_server;
	for (unsigned int i = 0; i < 4; i++)
		ask(i, request("GET", "/"), true);
	io_until(client_closed);
	assert_int_equal(n_in, 1);
	assert_int_equal(in[0].gone, 1);
}

/* ---- the connection ---- */

static void drained_by_the_server(void **state)
{
	struct end *e;

	(void)state;
	pair();
	ask(0, request("GET", "/"), true);
	io_until(n_in == 1);
	h2_drain(server);
	ask(1, request("GET", "/"), true); /* on its way when GOAWAY comes: still served */
	io_until(goaways == 1 && n_in == 2);
	assert_int_equal(h2_open(client, &e), -EAGAIN);
	assert_false(h2_can_open(client));
	say(&in[1], response(204), true);
	io_until(out[1].gone);
	assert_int_equal(client_closed + server_closed, 0);
	say(&in[0], response(200), false);
	in[0].to_send = 5 * MIB;
	in[0].send_last = true;
	hear_send(&in[0]);
	io_until(client_closed && server_closed);
	assert_int_equal(out[0].why, END_DONE);
	assert_int_equal(out[0].got, 5 * MIB);
	assert_int_equal(out[1].why, END_DONE);
	assert_int_equal(goaways, 1);
}

static void drained_by_the_client(void **state)
{
	struct end *e;

	(void)state;
	pair();
	ask(0, request("GET", "/"), true);
	io_until(n_in == 1);
	h2_drain(client);
	assert_int_equal(h2_open(client, &e), -EAGAIN);
	io_until(goaways == 1);
	say(&in[0], response(200), false);
	in[0].to_send = 100;
	in[0].send_last = true;
	hear_send(&in[0]);
	io_until(client_closed && server_closed);
	assert_int_equal(out[0].why, END_DONE);
	assert_int_equal(out[0].got, 100);
}

static void idle_ones_end(void **state)
{
	struct h2_options o = plain;
	uint64_t begin_us = reactor_now_us();

	(void)state;
	o.idle_ms = 200;
	pair_of(o, plain);
	ask(0, request("GET", "/"), true);
	io_until(n_in == 1);
	io_run_for(300); /* a stream is open: not idle */
	assert_int_equal(client_closed, 0);
	say(&in[0], response(204), true);
	io_until(client_closed && server_closed);
	assert_true(reactor_now_us() - begin_us > 400000);
	assert_int_equal(out[0].why, END_DONE);
}

static void as_many_streams_as_the_peer_allows(void **state)
{
	struct h2_options o = plain;
	struct end *e;

	(void)state;
	o.streams_max = 3;
	pair_of(plain, o);
	for (unsigned int i = 0; i < 3; i++)
		ask(i, request("GET", "/"), true);
	assert_int_equal(h2_open(client, &e), -EAGAIN);
	io_until(n_in == 3);
	say(&in[1], response(204), true);
	io_until(out[1].gone);
	assert_true(h2_can_open(client));
}

static void pings_measure_the_way(void **state)
{
	struct h2_options o = plain;

	(void)state;
	o.ping_ms = 50;
	o.dead_ms = 200;
	pair_of(o, plain);
	io_until(h2_rtt_us(client) > 0);
	assert_true(h2_rtt_us(client) < 1000000);
	assert_int_equal(h2_rtt_us(server), 0);
	io_run_for(500);
	assert_int_equal(client_closed, 0);
}

static void heads_too_large(void **state)
{
	struct h2_options o = plain;
	struct head *h = request("GET", "/");

	(void)state;
	o.header_bytes_max = 2000;
	pair_of(o, o);
	assert_int_equal(head_addf(h, "x-long", "%02000d", 1), 0);
	ask(0, h, true);
	io_until(out[0].gone);
	assert_int_equal(out[0].head->status, 431);
	assert_int_equal(out[0].why, END_DONE);
	assert_int_equal(refused_status, 431);
	assert_int_equal(n_in, 0);
	ask(1, request("GET", "/"), true);
	io_until(n_in == 1);
	h = response(200);
	assert_int_equal(head_addf(h, "x-long", "%02000d", 1), 0);
	say(&in[0], h, true);
	io_until(out[1].gone);
	assert_int_equal(out[1].heads, 0);
	assert_int_equal(out[1].why, END_LIMIT);
	io_until(h2_streams(client) + h2_streams(server) == 0);
}

/* Client and server in one: HTTP/2 through HTTP/2 over many requests leaves nothing behind. */
static void many_small(void **state)
{
	(void)state;
	pair();
	on_request = answer_head_first;
	for (unsigned int i = 0; i < 3000; i++) {
		unsigned int at = i % 32;

		io_until(h2_can_open(client) && !out[at].end && !in[at].end);
		n_in = at;
		in[at].sent = 0;
		in[at].to_send = i % 700;
		in[at].send_last = true;
		hear_free(&out[at]);
		ask(at, request("GET", "/"), true);
		io_until(out[at].gone && !in[at].end);
		assert_int_equal(out[at].got, i % 700);
		assert_int_equal(out[at].why, END_DONE);
	}
	io_until(!h2_streams(client) && !h2_streams(server));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(small),
		TEST(big_bodies_both_ways),
		TEST(big_bodies_in_large_frames),
		TEST(big_bodies_in_small_windows),
		TEST(a_slow_stream_slows_no_other),
		TEST(all_streams_get_their_share),
		TEST(windows_grow),
		TEST(streams_take_turns),
		TEST(trailers_both_ways),
		TEST(trailers_without_a_body),
		TEST(informational_heads_pass),
		TEST(no_body_where_none_may_be),
		TEST(connect_is_a_pipe),
		TEST(extended_connect),
		TEST(aborts_say_why),
		TEST(an_open_stream_that_says_nothing),
		TEST(an_answer_before_the_end_of_the_request),
		TEST(a_lost_connection_tells_streams_first),
		TEST(abort_is_not_told_but_to_streams),
		TEST(the_end_says_why),
		TEST(abort_from_within),
		TEST(drained_by_the_server),
		TEST(drained_by_the_client),
		TEST(idle_ones_end),
		TEST(as_many_streams_as_the_peer_allows),
		TEST(pings_measure_the_way),
		TEST(heads_too_large),
		TEST(many_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
