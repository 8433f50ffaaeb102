// SPDX-License-Identifier: Apache-2.0
/* HTTP/2 as ends: a client and a server over real sockets, every shape of an exchange. */
#include "tests/unit/tunnel_h2.h"

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
	int small = 128 << 10;

	(void)state;
	pair();
	assert_int_equal(setsockopt(server_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	on_request = answer_head_first;
	for (int i = 0; i < 8; i++) {
		in[i].to_send = 2 * MIB;
		in[i].send_last = true;
		ask((unsigned int)i, request("GET", "/"), true);
	}
	io_until(n_in == 8);
	io_until(out[0].got > MIB);
	for (int i = 0; i < 8; i++) {
		assert_true(out[i].got > MIB / 2);
		assert_true(out[i].got < 3 * MIB / 2);
	}
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
