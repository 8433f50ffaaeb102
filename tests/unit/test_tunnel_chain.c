// SPDX-License-Identifier: Apache-2.0
/* The whole way of a request through a tunnel, all in one process: an HTTP/1.1 client, the edge's
 * server, an exchange, HTTP/2, the origin's exchange, an HTTP/1.1 client, the target's server. */
#include "tests/unit/tunnel_end.h"
#include "user/tunnel/exchange.h"
#include "user/tunnel/h1.h"
#include "user/tunnel/h2.h"

#define MIB (1u << 20)

struct accepting {
	struct reactor_io io;
	struct addr_port at;
	void (*fn)(int fd);
};

static struct accepting edge_listener, target_listener;
static struct h2 *edge_side, *origin_side; /* of the tunnel */
static struct h1_pool *clients, *targets;
static struct hear out, in; /* the client, and the target */
static unsigned int n_in, n_ended, n_closed;
static struct exchange_account accounts[64];
static void (*on_request)(struct hear *p);

static void on_accept(struct reactor_io *io, uint32_t events)
{
	struct accepting *a = (struct accepting *)io;
	int fd;

	(void)events;
	while ((fd = accept(io->fd, NULL, NULL)) >= 0) {
		io_nonblocking(fd);
		a->fn(fd);
	}
}

static void listen_for(struct accepting *a, void (*fn)(int fd))
{
	a->io.fd = io_listen(&a->at);
	a->io.fn = on_accept;
	a->fn = fn;
	io_nonblocking(a->io.fd);
	assert_int_equal(reactor_add(io_reactor, &a->io), 0);
}

/* ---- exchanges ---- */

static const char *failure(void *arg, struct exchange *x, enum end_why why, unsigned int status,
			   struct head *h)
{
	(void)arg, (void)x;
	assert_int_equal(head_set_status(h, status), 0);
	assert_int_equal(head_addf(h, "x-text", "%s", end_why_word(why)), 0);
	return "no such thing\n";
}

static void ended(void *arg, struct exchange *x, const struct exchange_account *a)
{
	(void)arg, (void)x;
	accounts[n_ended++ % 64] = *a;
}

static int open_tunnel(void *arg, struct exchange *x, unsigned int tries, struct end **back)
{
	(void)arg, (void)x, (void)tries;
	return edge_side ? h2_open(edge_side, back) : -ENOENT;
}

static int open_target(void *arg, struct exchange *x, unsigned int tries, struct end **back)
{
	(void)arg, (void)x, (void)tries;
	return h1_open(targets, back);
}

static void join(struct end *front, const struct head *h, bool last,
		 int (*open)(void *, struct exchange *, unsigned int, struct end **))
{
	struct exchange_options opt = { .reactor = io_reactor,
					.idle_ms = 5000,
					.open = open,
					.failure = failure,
					.ended = ended };

	assert_int_equal(exchange_start(NULL, front, head_copy(h), last, &opt), 0);
}

static void edge_request(void *arg, struct end *front, const struct head *h, bool last)
{
	(void)arg;
	join(front, h, last, open_tunnel);
}

static void origin_request(void *arg, struct end *front, const struct head *h, bool last)
{
	(void)arg;
	join(front, h, last, open_target);
}

static void target_request(void *arg, struct end *front, const struct head *h, bool last)
{
	(void)arg;
	n_in++;
	assert_null(in.end);
	hear(&in, front);
	head_free(in.head);
	in.head = head_copy(h);
	in.last = last;
	on_request(&in);
}

/* ---- all the parts ---- */

static void closed(void *arg)
{
	(void)arg;
	n_closed++;
}

static struct h1_server *servers[64]; /* to be ended by the test */
static unsigned int n_servers;

static void serve(int fd, void (*fn)(void *, struct end *, const struct head *, bool))
{
	struct h1_server_options opt = { .scheme = "http",
					 .header_bytes_max = 16384,
					 .head_ms = 5000,
					 .idle_ms = 60000,
					 .request = fn,
					 .closed = closed };
	struct conn *c;

	assert_int_equal(conn_accept(&c, io_reactor, fd, NULL, &io_events, NULL), 0);
	assert_int_equal(h1_server_new(&servers[n_servers++], c, &opt), 0);
}

static void edge_accept(int fd)
{
	serve(fd, edge_request);
}

static void target_accept(int fd)
{
	serve(fd, target_request);
}

static void tunnel_closed(void *arg, const char *why)
{
	(void)why;
	*(struct h2 **)arg = NULL;
}

static struct h2 *tunnel_end(int fd, struct h2 **at)
{
	struct h2_options opt = { .server = at == &origin_side,
				  .header_bytes_max = 16384,
				  .streams_max = 100,
				  .frame_max = 65536,
				  .request = origin_request,
				  .closed = tunnel_closed,
				  .arg = at };
	struct conn *c;

	assert_int_equal(conn_accept(&c, io_reactor, fd, NULL, &io_events, NULL), 0);
	assert_int_equal(h2_new(at, c, &opt), 0);
	return *at;
}

static struct h1_pool *pool(const struct addr_port *to)
{
	struct h1_pool_options opt = { .dial.to = *to };
	struct h1_pool *p;

	assert_int_equal(h1_pool_new(&p, io_reactor, &opt), 0);
	return p;
}

static int setup(void **state)
{
	int fd[2];

	io_setup(state);
	n_in = n_ended = n_closed = n_servers = 0;
	listen_for(&edge_listener, edge_accept);
	listen_for(&target_listener, target_accept);
	io_pair(fd);
	tunnel_end(fd[0], &edge_side);
	tunnel_end(fd[1], &origin_side);
	clients = pool(&edge_listener.at);
	targets = pool(&target_listener.at);
	io_until(h2_peer_connects(edge_side));
	return 0;
}

static int teardown(void **state)
{
	hear_free(&in);
	hear_free(&out);
	if (edge_side)
		h2_abort(edge_side, "over");
	if (origin_side)
		h2_abort(origin_side, "over");
	edge_side = origin_side = NULL;
	h1_pool_free(clients);
	h1_pool_free(targets);
	io_until(n_closed == n_servers); /* the clients closed */
	reactor_remove(io_reactor, &edge_listener.io);
	reactor_remove(io_reactor, &target_listener.io);
	close(edge_listener.io.fd);
	close(target_listener.io.fd);
	return io_teardown(state);
}

static void ask(struct head *h, bool last)
{
	struct end *e;

	hear_free(&out);
	assert_int_equal(h1_open(clients, &e), 0);
	hear(&out, e);
	say(&out, h, last);
}

/* ---- what the target says ---- */

static void with_length(struct hear *p)
{
	struct head *h = response(200);

	p->sent = 0;
	assert_int_equal(head_addf(h, "content-length", "%zu", p->to_send), 0);
	say(p, h, p->to_send == 0);
	if (p->to_send)
		hear_send(p);
}

static void chunked(struct hear *p)
{
	p->sent = 0;
	say(p, response(200), false);
	hear_send(p);
}

static void nothing(struct hear *p)
{
	(void)p;
}

static void all_gone(void)
{
	io_until(out.gone && !in.end && n_ended % 2 == 0 && n_ended >= 2 &&
		 !h2_streams(edge_side) && !h2_streams(origin_side));
}

/* ---- tests ---- */

static void gets(void **state)
{
	static const size_t sizes[] = { 0, 1, 5000, 65536, 3 * MIB };

	(void)state;
	in.send_last = true;
	for (unsigned int i = 0; i < 10; i++) {
		on_request = i % 2 ? chunked : with_length;
		in.to_send = sizes[i / 2];
		in.send_last = true;
		ask(request("GET", "/thing"), true);
		all_gone();
		assert_int_equal(out.why, END_DONE);
		assert_int_equal(out.head->status, 200);
		assert_int_equal(out.got, sizes[i / 2]);
		assert_string_equal(in.head->path, "/thing");
	}
	assert_int_equal(n_ended, 20);
	assert_int_equal(n_servers, 2); /* both connections were kept all the time */
	for (int i = 0; i < 20; i++)
		assert_int_equal(accounts[i].why, END_DONE);
}

static void posts(void **state)
{
	(void)state;
	on_request = nothing;
	in.on_last = chunked;
	for (unsigned int i = 0; i < 3; i++) {
		in.got = 0;
		in.to_send = 2 * MIB;
		in.send_last = true;
		ask(request("POST", "/"), false);
		out.to_send = 3 * MIB + i;
		out.send_last = true;
		hear_send(&out);
		all_gone();
		assert_int_equal(in.got, 3 * MIB + i);
		assert_int_equal(out.got, 2 * MIB);
		assert_int_equal(out.why, END_DONE);
	}
	assert_int_equal(n_servers, 2);
}

static void with_trailers(void **state)
{
	struct head *t = head_new(), *h = request("POST", "/");

	(void)state;
	assert_int_equal(head_addf(h, "te", "%s", "trailers"), 0);
	assert_int_equal(head_addf(t, "x-sum", "%d", 5), 0);
	on_request = chunked;
	in.to_send = 100;
	in.send_trailers = t;
	ask(h, true);
	all_gone();
	assert_int_equal(out.got, 100);
	assert_string_equal(head_get(out.trailers, "x-sum"), "5");
}

static struct head *websocket(void)
{
	struct head *h = head_new();

	assert_int_equal(head_add(h, ":method", 7, "CONNECT", 7), 0);
	assert_int_equal(head_add(h, ":protocol", 9, "websocket", 9), 0);
	assert_int_equal(head_add(h, ":scheme", 7, "http", 4), 0);
	assert_int_equal(head_add(h, ":path", 5, "/chat", 5), 0);
	assert_int_equal(head_add(h, ":authority", 10, "app.example", 11), 0);
	return h;
}

static void a_websocket(void **state)
{
	(void)state;
	on_request = chunked;
	in.to_send = MIB;
	ask(websocket(), false);
	out.to_send = MIB;
	io_until(out.heads);
	assert_int_equal(out.head->status, 200);
	hear_send(&out);
	io_until(out.got == MIB && in.got == MIB);
	assert_string_equal(in.head->protocol, "websocket");
	out.end->ops->data(out.end, NULL, 0, true);
	io_until(in.last);
	assert_false(out.last);
	in.end->ops->data(in.end, NULL, 0, true);
	all_gone();
	assert_int_equal(out.why, END_DONE);
}

/* One side alone, both at once, in either order. */
static void both_ways_at_once(void **state)
{
	(void)state;
	on_request = chunked;
	in.to_send = 2 * MIB;
	ask(request("POST", "/"), false);
	out.to_send = 2 * MIB;
	hear_send(&out);
	io_until(out.got == 2 * MIB && in.got == 2 * MIB);
	in.end->ops->data(in.end, NULL, 0, true);
	io_until(out.last);
	io_until(out.gone && n_ended == 2);
}

static void the_client_leaves(void **state)
{
	(void)state;
	on_request = chunked;
	in.to_send = 200 * MIB;
	ask(request("GET", "/"), true);
	io_until(out.got > MIB);
	hear_drop(&out, END_CANCEL);
	io_until(in.gone && n_ended == 2);
	assert_true(in.sent < 20 * MIB);
	assert_int_equal(accounts[0].why != END_DONE, 1);
	io_until(!h2_streams(edge_side) && !h2_streams(origin_side));
}

static void the_target_breaks_off(void **state)
{
	(void)state;
	on_request = chunked;
	in.to_send = MIB;
	ask(request("GET", "/"), true);
	io_until(out.got == MIB);
	hear_drop(&in, END_ERROR);
	io_until(out.gone && n_ended == 2);
	assert_false(out.last);
	assert_int_equal(out.why != END_DONE, 1);
}

static void the_target_breaks_off_before_an_answer(void **state)
{
	(void)state;
	on_request = nothing;
	ask(request("POST", "/"), true);
	io_until(n_in == 1);
	hear_drop(&in, END_ERROR);
	io_until(out.gone && n_ended == 2);
	assert_int_equal(out.head->status, 502);
	assert_true(out.last);
	assert_string_equal(out.text, "no such thing\n");
	assert_int_equal(out.why, END_DONE);
}

/* Safe ones are tried again, where the answer comes from is nobody's business. */
static void a_safe_request_is_tried_again(void **state)
{
	(void)state;
	on_request = nothing;
	ask(request("GET", "/"), true);
	io_until(n_in == 1);
	on_request = with_length;
	in.to_send = 10;
	in.send_last = true;
	hear_drop(&in, END_ERROR);
	io_until(out.gone && n_ended == 2);
	assert_int_equal(n_in, 2);
	assert_int_equal(out.head->status, 200);
	assert_int_equal(out.got, 10);
}

static void the_tunnel_breaks(void **state)
{
	(void)state;
	on_request = chunked;
	in.to_send = MIB;
	ask(request("GET", "/"), true);
	io_until(out.got == MIB);
	h2_abort(origin_side, "test");
	origin_side = NULL;
	io_until(out.gone && in.gone && n_ended == 2 && !edge_side);
	assert_false(out.last);
	/* and then there is none */
	ask(request("GET", "/"), true);
	io_until(out.gone);
	assert_int_equal(out.head->status, 502);
}

static void an_early_answer(void **state)
{
	(void)state;
	on_request = with_length;
	in.to_send = 1000;
	in.send_last = true;
	ask(request("POST", "/"), false);
	out.to_send = 300 * MIB;
	hear_send(&out);
	io_until(out.last);
	assert_int_equal(out.head->status, 200);
	assert_int_equal(out.got, 1000);
	io_until(out.gone && n_ended == 2);
	assert_int_equal(out.why, END_DONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(gets),
		TEST(posts),
		TEST(with_trailers),
		TEST(a_websocket),
		TEST(both_ways_at_once),
		TEST(the_client_leaves),
		TEST(the_target_breaks_off),
		TEST(the_target_breaks_off_before_an_answer),
		TEST(a_safe_request_is_tried_again),
		TEST(the_tunnel_breaks),
		TEST(an_early_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
