/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_h2.h -- for tests: a client and a server of HTTP/2 over a real socket in one process, and
 * who listens to their streams.
 */
#ifndef WEIR_TESTS_TUNNEL_H2_H
#define WEIR_TESTS_TUNNEL_H2_H

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

static inline void request_came(void *arg, struct end *front, const struct head *h, bool last)
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

static inline const char *refused(void *arg, unsigned int status, const char *why)
{
	(void)arg;
	assert_non_null(why);
	refused_status = status;
	refusals++;
	return "0123456789abcdef";
}

static inline void goaway(void *arg)
{
	(void)arg;
	goaways++;
}

static inline void closed(void *arg, const char *why)
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

static inline struct h2 *begin(int fd, struct h2_options opt, struct h2 **arg)
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

static inline void pair_of(struct h2_options c, struct h2_options s)
{
	int fd[2];

	io_pair(fd);
	client = begin(fd[0], c, &client);
	server = begin(fd[1], s, &server);
	server_fd = fd[1];
	io_until(h2_peer_connects(client)); /* SETTINGS came */
}

static inline void pair(void)
{
	pair_of(plain, plain);
}

static inline struct hear *ask(unsigned int i, struct head *h, bool last)
{
	struct end *e;

	assert_int_equal(h2_open(client, &e), 0);
	hear(&out[i], e);
	say(&out[i], h, last);
	return &out[i];
}

static inline int setup(void **state)
{
	n_in = goaways = refusals = client_closed = server_closed = 0;
	client = server = NULL;
	on_request = NULL;
	return io_setup(state);
}

static inline int teardown(void **state)
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

static inline void answer_head_first(struct hear *p)
{
	say(p, response(200), false);
	hear_send(p);
}

#endif
