/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of bytes over TLS: who is believed, what is agreed on, records, every way to end. */
#include "tests/unit/tunnel_tls.h"

#include "user/tunnel/conn_impl.h"

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

/* ---- amounts ---- */

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

struct flow { /* of one direction */
	struct io_end *end;
	size_t at, total, piece;
	bool finish;
};
static struct flow up, down;

static void flow_more(struct flow *f)
{
	static uint8_t piece[300000];

	while (f->at < f->total) {
		size_t len = f->total - f->at < f->piece ? f->total - f->at : f->piece, n;

		for (size_t i = 0; i < len; i++)
			piece[i] = pattern(f->at + i);
		n = conn_write(f->end->conn, piece, len);
		f->at += n;
		if (n < len)
			return;
	}
	if (f->finish)
		conn_finish(f->end->conn);
	f->finish = false;
}

static void on_room(struct conn *c, void *arg)
{
	io_writable(c, arg);
	flow_more(arg == &client ? &up : &down);
}

static const struct conn_events flow_events = { io_ready, io_data, on_room, io_eof, io_closed };

static void assert_pattern(const struct io_end *e, size_t len)
{
	assert_int_equal(e->len, len);
	for (size_t at = 0; at < len; at++) {
		if (e->got[at] != pattern(at))
			fail_msg("byte %zu is wrong", at);
	}
}

/* Both directions at once, in pieces of every size, each half closed by itself. */
static void bulk(void **state)
{
	static const size_t pieces[] = { 1, 9, 16375, 16384, 16393, 65536, 300000 };

	(void)state;
	for (size_t i = 0; i < 7; i++) {
		size_t total = pieces[i] < 10 ? 50000 : 3000000;

		pair(plain_client(), plain_server(), NULL);
		conn_handler(client.conn, &flow_events, &client);
		conn_handler(server.conn, &flow_events, &server);
		io_until(client.ready && server.ready);
		up = (struct flow){ &client, 0, total, pieces[i], true };
		down = (struct flow){ &server, 0, total / 2, pieces[(i + 3) % 7], true };
		flow_more(&up);
		flow_more(&down);
		io_until(client.closed && server.closed);
		assert_pattern(&server, total);
		assert_pattern(&client, total / 2);
		assert_int_equal(client.err, 0);
		assert_int_equal(server.err, 0);
		reset_ends();
	}
}

static void back_pressure(void **state)
{
	size_t at;

	(void)state;
	pair(plain_client(), plain_server(), NULL);
	conn_handler(client.conn, &flow_events, &client);
	io_until(client.ready && server.ready);
	conn_pause(server.conn);
	up = (struct flow){ &client, 0, 30000000, 65536, true };
	flow_more(&up);
	do {
		at = up.at;
		io_run_for(50);
	} while (up.at != at);
	assert_true(up.at < up.total);
	assert_in_range(conn_waiting(client.conn), CONN_OUT_MAX / 4 + 1, CONN_OUT_MAX + 20000);
	server.use_max = 10000; /* and what is not used of a read is kept */
	while (!server.eof) {
		if (server.conn->paused)
			conn_resume(server.conn);
		if (server.len > 1000000)
			server.use_max = 0;
		io_run_for(1);
	}
	assert_pattern(&server, up.total);
	assert_int_equal(conn_bytes_in(server.conn), up.total);
}

/* Before the handshake one record's worth is taken, and `writable` comes after it. */
static void written_early(void **state)
{
	static uint8_t much[20000];

	(void)state;
	pair(plain_client(), plain_server(), NULL);
	assert_int_equal(conn_write(client.conn, much, sizeof(much)), 16384);
	assert_false(conn_has_room(client.conn));
	conn_finish(server.conn);
	io_until(server.len == 16384 && client.writable == 1 && client.eof);
}

/* ---- who is believed ---- */

static void names(void **state)
{
	(void)state;
	pair(plain_client(), plain_server(), "a.example");
	assert_works();
	assert_string_equal(SSL_get_servername(conn_tls(server.conn), TLSEXT_NAMETYPE_host_name),
			    "a.example");
	reset_ends();
	pair(plain_client(), plain_server(), "127.0.0.1");
	assert_works();
	reset_ends();
	pair(plain_client(), plain_server(), NULL);
	assert_works();
	reset_ends();
	pair(plain_client(), plain_server(), "b.example");
	assert_refused("hostname mismatch", "certificate");
	pair(plain_client(), plain_server(), "127.0.0.2");
	assert_refused("IP address mismatch", "certificate");
}

static void authorities(void **state)
{
	(void)state;
	pair(plain_client(), server_of("stranger.pem", "stranger.key", NULL, false), "a.example");
	assert_refused("self-signed certificate in certificate chain", "unknown ca");
	pair(plain_client(), server_of("expired.pem", "expired.key", NULL, false), "a.example");
	assert_refused("certificate has expired", "certificate expired");
	/* Of our authority, but for clients. */
	pair(plain_client(), server_of("origin.pem", "origin.key", NULL, false), NULL);
	assert_refused("unsuitable certificate purpose", "certificate");
}

static void client_certificates(void **state)
{
	(void)state;
	for (int require = 0; require < 2; require++) {
		pair(client_of("origin.pem", "origin.key"),
		     server_of("node.pem", "node.key", "ours.pem", require), NULL);
		assert_works();
		assert_non_null(SSL_get0_peer_certificate(conn_tls(server.conn)));
		reset_ends();
		pair(client_of("stranger.pem", "stranger.key"),
		     server_of("node.pem", "node.key", "ours.pem", require), NULL);
		assert_refused("alert", "self-signed certificate");
		pair(client_of("node.pem", "node.key"),
		     server_of("node.pem", "node.key", "ours.pem", require), NULL);
		assert_refused("alert", "unsuitable certificate purpose");
	}
	pair(plain_client(), server_of("node.pem", "node.key", "ours.pem", true), NULL);
	assert_refused("certificate required", "peer did not return a certificate");
	pair(plain_client(), server_of("node.pem", "node.key", "ours.pem", false), NULL);
	assert_works();
	assert_null(SSL_get0_peer_certificate(conn_tls(server.conn)));
}

/* ---- what is agreed on ---- */

static void alpn(void **state)
{
	static const char *const ours[] = { "h2", "http/1.1", NULL };
	static const char *const reversed[] = { "http/1.1", "h2", NULL };
	static const char *const other[] = { "weir-tunnel/1", NULL };

	(void)state;
	pair(with_alpn(false, reversed), with_alpn(true, ours), NULL);
	assert_works();
	assert_string_equal(client.alpn, "h2"); /* the server's order */
	assert_string_equal(server.alpn, "h2");
	reset_ends();
	pair(with_alpn(false, other), with_alpn(true, ours), NULL);
	assert_refused("no application protocol", "no application protocol");
	pair(plain_client(), with_alpn(true, ours), NULL);
	assert_works();
	assert_string_equal(server.alpn, "");
	reset_ends();
	pair(with_alpn(false, ours), plain_server(), NULL);
	assert_works();
	assert_string_equal(client.alpn, "");
}

static void versions(void **state)
{
	SSL_CTX *old = plain_client(), *new;

	(void)state;
	SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
	pair(old, plain_server(), "a.example");
	assert_works();
	assert_string_equal(SSL_get_version(conn_tls(server.conn)), "TLSv1.2");
	assert_non_null(strstr(SSL_get_cipher(conn_tls(server.conn)), "ECDHE-ECDSA-AES128-GCM"));
	SSL_CTX_up_ref(old);
	reset_ends();
	new = context(&(struct conn_tls_files){ .cert = in_folder("node.pem"),
						.key = in_folder("node.key"),
						.server = true,
						.tls13_only = true });
	pair(old, new, NULL);
	assert_refused("protocol version", "unsupported protocol");
	/* What is weaker is not spoken. */
	old = plain_client();
	SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(old, "ECDHE-ECDSA-AES128-SHA256:AES128-GCM-SHA256");
	pair(old, plain_server(), NULL);
	assert_refused("handshake failure", "no shared cipher");
}

static void keys_change(void **state)
{
	(void)state;
	pair(plain_client(), plain_server(), NULL);
	assert_works();
	assert_int_equal(SSL_key_update(conn_tls(client.conn), SSL_KEY_UPDATE_REQUESTED), 1);
	conn_write(client.conn, "more", 4);
	io_until(server.len == 7);
	conn_write(server.conn, "again", 5);
	io_until(client.len == 9);
	assert_int_equal(client.closed + server.closed, 0);
}

static void ask_for_keys(unsigned int n)
{
	while (n--) {
		assert_int_equal(SSL_key_update(conn_tls(client.conn), SSL_KEY_UPDATE_REQUESTED),
				 1);
		assert_int_equal(SSL_do_handshake(conn_tls(client.conn)), 1);
	}
}

static void keys_change_for_nothing(void **state)
{
	(void)state;
	pair(plain_client(), plain_server(), NULL);
	assert_works();
	ask_for_keys(32);
	conn_write(client.conn, "more", 4);
	io_until(server.len == 7);
	ask_for_keys(33);
	conn_flush(client.conn);
	io_until(server.closed);
	assert_string_equal(server.error, "TLS read: too many key updates");
}

/* Each asks for an answer of the same size, and none is taken. */
static void keys_change_without_end(void **state)
{
	static char junk[65536];
	size_t sent = 3;
	int small = 4096, large = 1 << 20;

	(void)state;
	pair(plain_client(), plain_server(), NULL);
	assert_works();
	setsockopt(client.conn->io.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(server.conn->io.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	conn_pause(client.conn);
	for (unsigned int i = 0; i < 2000; i++) {
		ask_for_keys(20);
		assert_int_equal(SSL_write(conn_tls(client.conn), "x", 1), 1);
		conn_flush(client.conn);
		sent++;
	}
	io_until(conn_waiting(server.conn) > 3 * CONN_OUT_MAX / 2);
	io_run_for(300);
	assert_true(conn_waiting(server.conn) < 2 * CONN_OUT_MAX);
	assert_true(server.len < sent);
	/* It goes on where it stood, when they are taken. */
	setsockopt(client.conn->io.fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	setsockopt(server.conn->io.fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	for (uint64_t end = reactor_now_us() + 10000000; server.len < sent;) {
		while (recv(client.conn->io.fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
			;
		io_run_for(1);
		assert_true(reactor_now_us() < end);
	}
	assert_int_equal(client.closed + server.closed, 0);
}

static void no_renegotiation(void **state)
{
	SSL_CTX *old = plain_client();

	(void)state;
	SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
	SSL_CTX_clear_options(old, SSL_OP_NO_RENEGOTIATION);
	pair(old, plain_server(), NULL);
	assert_works();
	SSL_renegotiate(conn_tls(client.conn));
	SSL_do_handshake(conn_tls(client.conn));
	conn_flush(client.conn);
	io_until(client.closed);
	assert_non_null(strstr(client.error, "no renegotiation"));
}

/* ---- every way to end ---- */

static int raw_client(struct addr_port *to)
{
	int listener = io_listen(to), fd;
	struct sockaddr_storage ss;
	socklen_t len = addr_port_sockaddr(to, &ss);
	int raw = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(raw, (struct sockaddr *)&ss, len), 0);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	close(listener);
	server_ctx = plain_server();
	assert_int_equal(conn_accept(&server.conn, io_reactor, fd, server_ctx, &io_events, &server),
			 0);
	return raw;
}

static void not_tls(void **state)
{
	struct addr_port to;
	int raw = raw_client(&to);
	char alert[64];

	(void)state;
	assert_int_equal(write(raw, "GET / HTTP/1.1\r\n\r\n", 18), 18);
	io_until(server.closed);
	assert_int_equal(server.err, -EPROTO);
	assert_string_equal(server.error, "TLS handshake: http request");
	assert_true(read(raw, alert, sizeof(alert)) >= 0);
	close(raw);
}

static void silence_and_a_half_hello(void **state)
{
	struct addr_port to;
	int raw = raw_client(&to);
	uint64_t began = reactor_now_us();

	(void)state;
	conn_set_handshake_ms(server.conn, 150);
	assert_int_equal(write(raw, "\x16\x03\x01", 3), 3);
	io_until(server.closed);
	assert_int_equal(server.err, -ETIMEDOUT);
	assert_true(reactor_now_us() - began >= 149000);
	close(raw);
	reset_ends();
	raw = raw_client(&to);
	assert_int_equal(write(raw, "\x16\x03\x01", 3), 3);
	close(raw);
	io_until(server.closed);
	assert_int_equal(server.err, -ECONNRESET);
	assert_string_equal(server.error, "TLS handshake: the peer closed without close_notify");
}

/* A FIN alone may be the work of somebody between: the stream was cut. */
static void cut_off(void **state)
{
	(void)state;
	pair(plain_client(), plain_server(), NULL);
	assert_works();
	shutdown(client.conn->io.fd, SHUT_WR);
	io_until(server.closed);
	assert_int_equal(server.eof, 0);
	assert_int_equal(server.err, -ECONNRESET);
	assert_string_equal(server.error, "TLS read: the peer closed without close_notify");
}

static void garbled(void **state)
{
	uint8_t junk[40] = { 0x17, 0x03, 0x03, 0x00, 0x23 };

	(void)state;
	pair(plain_client(), plain_server(), NULL);
	assert_works();
	assert_int_equal(send(client.conn->io.fd, junk, sizeof(junk), 0), sizeof(junk));
	io_until(server.closed && client.closed);
	assert_int_equal(server.err, -EPROTO);
	assert_int_equal(server.len, 3);
	assert_non_null(strstr(client.error, "bad record mac")); /* the alert came */
}

static void aborted_in_data_and_close(void **state)
{
	(void)state;
	pair(plain_client(), plain_server(), NULL);
	assert_works();
	server.abort_in_data = true;
	conn_write(client.conn, "x", 1);
	io_until(client.closed);
	assert_int_equal(client.err, -ECONNRESET);
	reset_ends();
	pair(plain_client(), plain_server(), NULL);
	assert_works();
	conn_write(server.conn, "last words", 10);
	conn_close(server.conn);
	io_until(client.eof);
	assert_int_equal(client.len, 14);
	conn_close(client.conn);
	io_until(client.closed && server.closed);
	assert_int_equal(client.err, 0);
	assert_int_equal(server.err, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, io_setup, ends_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(both_ways),
		T(bulk),
		T(back_pressure),
		T(written_early),
		T(names),
		T(authorities),
		T(client_certificates),
		T(alpn),
		T(versions),
		T(keys_change),
		T(keys_change_for_nothing),
		T(keys_change_without_end),
		T(no_renegotiation),
		T(not_tls),
		T(silence_and_a_half_hello),
		T(cut_off),
		T(garbled),
		T(aborted_in_data_and_close),
	};

	return cmocka_run_group_tests(tests, certificates, folder_remove);
}
