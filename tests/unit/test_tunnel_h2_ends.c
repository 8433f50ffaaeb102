// SPDX-License-Identifier: Apache-2.0
/* How streams of HTTP/2 and their connections end: aborts, losses, GOAWAY, idleness, limits. */
#include "tests/unit/tunnel_h2.h"

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
	assert_string_equal(head_get(out[0].head, "x-request-id"), "0123456789abcdef");
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
