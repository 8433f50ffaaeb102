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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(small, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
