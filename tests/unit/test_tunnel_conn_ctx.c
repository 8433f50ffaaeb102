/* SPDX-License-Identifier: Apache-2.0 */
/* TLS contexts: a first look before TLS, broken files, what an idle connection costs. */
#include "tests/unit/tunnel_tls.h"

#include <malloc.h>
#include <sys/wait.h>

/* ---- the first bytes were read by somebody else ---- */

static void read_before_accepted(void **state)
{
	(void)state;
	for (size_t part = 1; part < 600; part = part * 3 + 4) {
		struct conn_dial dial = { .server_name = "a.example" };
		int listener = io_listen(&dial.to), fd;
		uint8_t hello[1000];
		ssize_t n = -1;

		client_ctx = dial.tls = plain_client();
		server_ctx = plain_server();
		assert_int_equal(conn_dial(&client.conn, io_reactor, &dial, &io_events, &client),
				 0);
		conn_write(client.conn, "ask", 3);
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		close(listener);
		io_until((n = recv(fd, hello, part, 0)) > 0);
		assert_int_equal(conn_accept_with(&server.conn, io_reactor, fd, server_ctx,
						  &io_events, &server, hello, (size_t)n),
				 0);
		io_until(server.len == 3);
		reset_ends();
	}
}

/* ---- files ---- */

static void assert_no_context(const struct conn_tls_files *f, const char *words)
{
	char why[300] = "";
	SSL_CTX *ctx = NULL;

	assert_int_equal(conn_tls_new(&ctx, f, why, sizeof(why)), -EINVAL);
	assert_null(ctx);
	if (!strstr(why, words))
		fail_msg("the reason is: %s", why);
}

static void files(void **state)
{
	const char *cert = in_folder("node.pem"), *other = in_folder("origin.key");

	(void)state;
	assert_no_context(&(struct conn_tls_files){ .cert = "/nowhere.pem", .server = true },
			  "certificate /nowhere.pem: ");
	assert_no_context(
		&(struct conn_tls_files){ .cert = cert, .key = "/nowhere.key", .server = true },
		"key /nowhere.key: ");
	assert_no_context(&(struct conn_tls_files){ .cert = cert, .key = other, .server = true },
			  "origin.key: key values mismatch");
	assert_no_context(&(struct conn_tls_files){ .ca = other }, "authority ");
	assert_no_context(&(struct conn_tls_files){ .ca = "/nowhere.pem" }, "/nowhere.pem: ");
	assert_no_context(&(struct conn_tls_files){ .server = true, .require_client = true },
			  "no authority is named");
}

/* Every part of a ticket's keys changes. */
static void tickets(void **state)
{
	SSL_CTX *ctx = plain_server();
	uint8_t before[80], after[80];

	(void)state;
	assert_int_equal(SSL_CTX_get_tlsext_ticket_keys(ctx, before, sizeof(before)), 1);
	conn_tls_new_tickets(ctx);
	assert_int_equal(SSL_CTX_get_tlsext_ticket_keys(ctx, after, sizeof(after)), 1);
	for (size_t at = 0; at < sizeof(after); at += 16)
		assert_memory_not_equal(before + at, after + at, 16);
	SSL_CTX_free(ctx);
}

/* ---- what an idle connection costs ---- */

#define IDLE_N 200

/* In a process of its own: so many clients that say a byte each, until *end is closed. */
static void idle_clients(const struct addr_port *to, int end)
{
	static struct io_end ends[IDLE_N];
	struct conn_dial dial = { .to = *to, .tls = plain_client(), .timeout_ms = 20000 };
	char c;

	io_setup(NULL);
	for (int i = 0; i < IDLE_N; i++) {
		assert_int_equal(conn_dial(&ends[i].conn, io_reactor, &dial, &io_events, &ends[i]),
				 0);
		conn_write(ends[i].conn, "x", 1);
		io_until(ends[i].ready);
	}
	io_run_for(1);
	_exit(read(end, &c, 1) == 0 ? 0 : 1);
}

static void idle_memory(void **state)
{
	static struct io_end ends[IDLE_N];
	struct addr_port to;
	int listener = io_listen(&to), end[2], fd;
	size_t before = 0, each;

	(void)state;
#ifdef __SANITIZE_ADDRESS__
	close(listener);
	skip(); /* it counts otherwise */
#endif
	server_ctx = plain_server();
	assert_int_equal(pipe2(end, O_CLOEXEC), 0);
	if (fork() == 0) {
		close(end[1]);
		idle_clients(&to, end[0]);
	}
	for (int i = 0; i < IDLE_N; i++) {
		if (i == 1) /* what is made once */
			before = mallinfo2().uordblks + mallinfo2().hblkhd;
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		assert_int_equal(conn_accept(&ends[i].conn, io_reactor, fd, server_ctx, &io_events,
					     &ends[i]),
				 0);
		io_until(ends[i].len == 1);
	}
	io_run_for(20);
	each = (mallinfo2().uordblks + mallinfo2().hblkhd - before) / (IDLE_N - 1);
	print_message("# %zu bytes for an idle TLS connection\n", each);
	assert_true(each < 15000);
	for (int i = 0; i < IDLE_N; i++)
		io_end_free(&ends[i]);
	close(end[0]);
	close(end[1]);
	close(listener);
	assert_true(wait(NULL) > 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, io_setup, ends_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(read_before_accepted),
		T(files),
		T(tickets),
		T(idle_memory),
	};

	return cmocka_run_group_tests(tests, certificates, folder_remove);
}
