/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of bytes over TLS: who is believed, what is agreed on, records, every way to end. */
#include "tests/unit/tunnel_certs.h"
#include "tests/unit/tunnel_io.h"

static char folder[80];
static struct io_end client, server;
static SSL_CTX *client_ctx, *server_ctx;

static const char *in_folder(const char *name)
{
	static char path[4][200];
	static unsigned int i;

	snprintf(path[++i % 4], sizeof(path[0]), "%s/%s", folder, name);
	return path[i % 4];
}

static SSL_CTX *context(const struct conn_tls_files *f)
{
	SSL_CTX *ctx = NULL;
	char why[200] = "";

	if (conn_tls_new(&ctx, f, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	return ctx;
}

static SSL_CTX *plain_server(void)
{
	return context(&(struct conn_tls_files){
		.cert = in_folder("node.pem"), .key = in_folder("node.key"), .server = true });
}

static SSL_CTX *plain_client(void)
{
	return context(&(struct conn_tls_files){ .ca = in_folder("ours.pem") });
}

/* Dials itself with these contexts; both are freed at the test's end. */
static void pair(SSL_CTX *c, SSL_CTX *s, const char *name)
{
	struct conn_dial dial = { .tls = c, .server_name = name };
	int listener = io_listen(&dial.to), fd;

	client_ctx = c;
	server_ctx = s;
	assert_int_equal(conn_dial(&client.conn, io_reactor, &dial, &io_events, &client), 0);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	close(listener);
	assert_int_equal(conn_accept(&server.conn, io_reactor, fd, s, &io_events, &server), 0);
}

static int ends_free(void **state)
{
	io_end_free(&client);
	io_end_free(&server);
	SSL_CTX_free(client_ctx);
	SSL_CTX_free(server_ctx);
	client_ctx = server_ctx = NULL;
	return io_teardown(state);
}

static void both_ways(void **state)
{
	(void)state;
	pair(plain_client(), plain_server(), "a.example");
	assert_int_equal(conn_write(client.conn, "early", 5), 5);
	io_until(client.ready && server.ready && server.len == 5);
	assert_memory_equal(server.got, "early", 5);
	assert_int_equal(conn_write(server.conn, "one", 3), 3);
	assert_int_equal(conn_write(server.conn, "two", 3), 3);
	io_until(client.len == 6);
	assert_int_equal(client.calls, 1);
	conn_finish(client.conn);
	io_until(server.eof);
	assert_int_equal(conn_write(server.conn, "late", 4), 4);
	conn_finish(server.conn);
	io_until(client.closed && server.closed);
	assert_int_equal(client.len, 10);
	assert_int_equal(client.err, 0);
	assert_int_equal(server.err, 0);
}

static int certificates(void **state)
{
	struct certs_ca ours, theirs;

	(void)state;
	unit_folder(folder, sizeof(folder));
	certs_ca(&ours, folder, "ours");
	certs_ca(&theirs, folder, "theirs");
	certs_issue(&ours, folder, "node", "DNS:a.example,IP:127.0.0.1", "serverAuth");
	certs_issue(&ours, folder, "origin", "DNS:o.example", "clientAuth");
	certs_issue(&theirs, folder, "stranger", "DNS:a.example", "serverAuth,clientAuth");
	certs_issue_for(&ours, folder, "expired", "DNS:a.example", NULL, -7200, -3600);
	certs_ca_free(&ours);
	certs_ca_free(&theirs);
	return 0;
}

static int folder_remove(void **state)
{
	(void)state;
	unit_folder_remove(folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_ways, io_setup, ends_free),
	};

	return cmocka_run_group_tests(tests, certificates, folder_remove);
}
