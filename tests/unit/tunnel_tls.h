/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_tls.h -- a client and a server over TLS on one loop, their contexts, and certificates in a
 * folder: node (for servers), origin (for clients), stranger (of another authority), expired.
 */
#ifndef WEIR_TESTS_TUNNEL_TLS_H
#define WEIR_TESTS_TUNNEL_TLS_H

#include "tests/unit/tunnel_certs.h"
#include "tests/unit/tunnel_io.h"

static char folder[80];
static struct io_end client, server;
static SSL_CTX *client_ctx, *server_ctx;

static inline const char *in_folder(const char *name)
{
	static char path[4][200];
	static unsigned int i;

	snprintf(path[++i % 4], sizeof(path[0]), "%s/%s", folder, name);
	return path[i % 4];
}

static inline SSL_CTX *context(const struct conn_tls_files *f)
{
	SSL_CTX *ctx = NULL;
	char why[200] = "";

	if (conn_tls_new(&ctx, f, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	return ctx;
}

static inline SSL_CTX *server_of(const char *cert, const char *key, const char *ca, bool require)
{
	return context(&(struct conn_tls_files){ .cert = in_folder(cert),
						 .key = in_folder(key),
						 .ca = ca ? in_folder(ca) : NULL,
						 .require_client = require,
						 .server = true });
}

static inline SSL_CTX *plain_server(void)
{
	return server_of("node.pem", "node.key", NULL, false);
}

static inline SSL_CTX *client_of(const char *cert, const char *key)
{
	return context(&(struct conn_tls_files){ .cert = cert ? in_folder(cert) : NULL,
						 .key = key ? in_folder(key) : NULL,
						 .ca = in_folder("ours.pem") });
}

static inline SSL_CTX *plain_client(void)
{
	return client_of(NULL, NULL);
}

static inline SSL_CTX *with_alpn(bool serves, const char *const *alpn)
{
	return context(&(struct conn_tls_files){ .cert = serves ? in_folder("node.pem") : NULL,
						 .key = serves ? in_folder("node.key") : NULL,
						 .ca = serves ? NULL : in_folder("ours.pem"),
						 .server = serves,
						 .alpn = alpn });
}

/* Dials itself with these contexts; both are freed at the test's end. */
static inline void pair(SSL_CTX *c, SSL_CTX *s, const char *name)
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

static inline void reset_ends(void)
{
	io_end_free(&client);
	io_end_free(&server);
	SSL_CTX_free(client_ctx);
	SSL_CTX_free(server_ctx);
	client_ctx = server_ctx = NULL;
}

static inline int ends_free(void **state)
{
	reset_ends();
	return io_teardown(state);
}

/* The handshake succeeds and bytes go through. */
static inline void assert_works(void)
{
	conn_write(client.conn, "ask", 3);
	io_until(server.len == 3);
	conn_write(server.conn, "tell", 4);
	io_until(client.len == 4);
	assert_int_equal(client.ready, 1);
	assert_int_equal(server.ready, 1);
	assert_int_equal(client.closed + server.closed, 0);
}

/* Both are told, the client with these words. With TLS 1.3 a client is ready before the server has
 * looked at its certificate: its refusal comes by reading. */
static inline void assert_refused(const char *by_client, const char *by_server)
{
	io_until(client.closed && server.closed);
	assert_int_equal(client.len + server.len, 0);
	if (!strstr(client.error, by_client))
		fail_msg("the client says: %s", client.error);
	if (!strstr(server.error, by_server))
		fail_msg("the server says: %s", server.error);
	assert_int_equal(client.err, -EPROTO);
	assert_int_equal(server.err, -EPROTO);
	assert_int_equal(server.ready, 0);
	reset_ends();
}

static inline int certificates(void **state)
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

static inline int folder_remove(void **state)
{
	(void)state;
	unit_folder_remove(folder);
	return 0;
}

#endif
