/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1's server on a real socket: one request after the other, bodies both ways, tunnels, ends.
 */
#include "tests/unit/tunnel_end.h"

#include "user/tunnel/h1.h"

static struct io_end client;
static struct hear front;
static struct h1_server *server;
static unsigned int requests, refused, closed;
static unsigned int answer_status; /* at once, without a body; 0: the test answers */
static char why_refused[100];

static void on_request(void *arg, struct end *e, const struct head *h, bool last)
{
	(void)arg;
	requests++;
	assert_null(front.end);
	head_free(front.head);
	front.head = head_copy(h);
	front.got = 0;
	front.last = last;
	memset(front.text, 0, sizeof(front.text));
	hear(&front, e);
	if (answer_status)
		say(&front, response(answer_status), true);
}

static const char *refused_id; /* of the next */

static const char *on_refused(void *arg, unsigned int status, const char *why)
{
	(void)arg;
	refused = status;
	snprintf(why_refused, sizeof(why_refused), "%s", why);
	return refused_id;
}

static void on_closed(void *arg)
{
	(void)arg;
	closed++;
	server = NULL;
}

static void make(unsigned int head_ms, unsigned int idle_ms)
{
	struct h1_server_options opt = { .scheme = "http",
					 .header_bytes_max = 4096,
					 .head_ms = head_ms,
					 .idle_ms = idle_ms,
					 .request = on_request,
					 .refused = on_refused,
					 .closed = on_closed };
	struct conn *c;
	int fd[2];

	requests = refused = closed = answer_status = 0;
	io_pair(fd);
	assert_int_equal(conn_accept(&client.conn, io_reactor, fd[0], NULL, &io_events, &client),
			 0);
	assert_int_equal(conn_accept(&c, io_reactor, fd[1], NULL, &io_events, NULL), 0);
	assert_int_equal(h1_server_new(&server, c, &opt), 0);
}

static int teardown(void **state)
{
	hear_free(&front);
	if (server)
		h1_server_abort(server);
	io_end_free(&client);
	return io_teardown(state);
}

static void type(const char *text)
{
	assert_int_equal(conn_write(client.conn, text, strlen(text)), strlen(text));
}

/* What came, as a string without its date; forgotten afterwards. */
static const char *heard(void)
{
	static char text[8192];
	char *date;

	snprintf(text, sizeof(text), "%.*s", (int)client.len, client.got ? (char *)client.got : "");
	while ((date = strstr(text, "date: ")))
		memmove(date, strstr(date, "\r\n") + 2, strlen(strstr(date, "\r\n") + 2) + 1);
	client.len = 0;
	return text;
}

#define GET  "GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"
#define OK   "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define POST "POST /a HTTP/1.1\r\nHost: a.example\r\nX-Text: 1\r\n"

static void one_after_the_other(void **state)
{
	(void)state;
	make(1000, 1000);
	answer_status = 200;
	for (unsigned int i = 1; i <= 3; i++) {
		type(GET);
		io_until(client.len && !front.end);
		assert_string_equal(heard(), OK);
		assert_int_equal(requests, i);
		assert_int_equal(front.why, END_DONE);
		assert_string_equal(front.head->path, "/a");
		assert_string_equal(front.head->authority, "a.example");
	}
	assert_false(closed);
}

/* The second is not even looked at before the first was answered. */
static void pipelined(void **state)
{
	(void)state;
	make(1000, 1000);
	type(GET GET "GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
	io_until(requests == 1);
	io_run_for(20);
	assert_int_equal(requests, 1);
	say(&front, response(200), true);
	io_until(requests == 2);
	answer_status = 204;
	say(&front, response(200), true);
	io_until(client.eof);
	assert_string_equal(heard(), OK OK "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
	assert_int_equal(requests, 3);
}

/* All of a response was given away, its end waits for a client that takes nothing. */
static void end_that_is_not_taken(void **state)
{
	static char body[60000];
	const struct end_ops *ops;
	size_t waiting;

	(void)state;
	make(1000, 300);
	type(GET);
	io_until(requests == 1);
	conn_pause(client.conn);
	say(&front, response(200), false);
	ops = front.end->ops;
	do {
		waiting = conn_waiting(h1_server_conn(server));
		assert_int_equal(ops->data(front.end, body, sizeof(body), false), sizeof(body));
	} while (conn_waiting(h1_server_conn(server)) < CONN_OUT_MAX - sizeof(body) || !waiting);
	assert_int_equal(ops->data(front.end, body, sizeof(body), true), sizeof(body));
	assert_false(conn_has_room(h1_server_conn(server)));
	ops->abort(front.end, END_DONE);
	front.end = NULL;
	io_until(closed);
}

static void body_up(void **state)
{
	(void)state;
	make(1000, 1000);
	type(POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhel");
	io_until(front.got == 3);
	front.hold = true;
	type("lo\r\n3\r\nabc");
	io_until(front.got == 8);
	type("\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n");
	io_run_for(30);
	assert_int_equal(front.got, 8); /* what was told was not taken: no more is read */
	hear_release(&front);
	io_until(front.last);
	assert_string_equal(front.text, "helloabcde");
	assert_string_equal(head_get(front.trailers, "x-sum"), "1");
	say(&front, response(200), true);
	io_until(!front.end && client.len);
	assert_string_equal(heard(), OK);
}

static void body_down(void **state)
{
	struct head *h;

	(void)state;
	make(1000, 1000);
	type(GET);
	io_until(front.end);
	h = response(200);
	head_addf(h, "content-length", "%d", 5);
	say(&front, h, false);
	assert_int_equal(front.end->ops->data(front.end, "he", 2, false), 2);
	assert_int_equal(front.end->ops->data(front.end, "llo", 3, true), 3);
	io_until(!front.end);
	type(GET);
	io_until(front.end);
	say(&front, response(103), false);
	say(&front, response(200), false);
	assert_int_equal(front.end->ops->data(front.end, "hello", 5, false), 5);
	assert_int_equal(front.end->ops->data(front.end, "abc", 3, true), 3);
	io_until(!front.end);
	type(GET);
	io_until(front.end);
	say(&front, response(200), false);
	assert_int_equal(front.end->ops->data(front.end, "x", 1, false), 1);
	h = head_new();
	head_addf(h, "x-sum", "1");
	assert_int_equal(front.end->ops->trailers(front.end, h), 0);
	head_free(h);
	io_until(!front.end);
	type("HEAD /a HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n");
	io_until(front.end);
	h = response(200);
	head_addf(h, "content-length", "%d", 5);
	say(&front, h, true);
	io_until(!front.end);
	type("GET /a HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n");
	io_until(front.end);
	say(&front, response(103), false); /* not for HTTP/1.0 */
	say(&front, response(200), false);
	assert_int_equal(front.end->ops->data(front.end, "abc", 3, true), 3);
	io_until(client.eof);
	assert_string_equal(heard(),
			    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
			    "HTTP/1.1 103 Early Hints\r\n\r\n"
			    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
			    "5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n"
			    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
			    "1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n"
			    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n"
			    "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc");
}

/* 20 MB to a client that does not read for a while: the end takes what there is room for. */
static void slow_reader(void **state)
{
	const size_t size = 20u << 20;
	struct head *h;

	(void)state;
	make(1000, 1000);
	type(GET);
	io_until(front.end);
	conn_pause(client.conn);
	h = response(200);
	head_addf(h, "content-length", "%zu", size);
	say(&front, h, false);
	front.sent = 0;
	front.to_send = size;
	front.send_last = true;
	hear_send(&front);
	io_run_for(30);
	assert_true(front.sent < size);
	assert_true(conn_waiting(h1_server_conn(server)) <= CONN_OUT_MAX);
	conn_resume(client.conn);
	io_until(client.len > size && !front.end);
	assert_int_equal(front.why, END_DONE);
	assert_int_equal(client.got[client.len - 1], pattern_at(size - 1));
}

/* The same in chunks, which may be cut by what the socket takes. */
static void slow_reader_chunks(void **state)
{
	const size_t size = 10u << 20;
	size_t at, got = 0;

	(void)state;
	make(1000, 1000);
	type(GET);
	io_until(front.end);
	conn_pause(client.conn);
	say(&front, response(200), false);
	front.sent = 0;
	front.to_send = size;
	front.send_last = true;
	hear_send(&front);
	io_run_for(30);
	assert_true(front.sent < size);
	conn_resume(client.conn);
	io_until(client.len > size && !front.end);
	at = (size_t)((uint8_t *)memmem(client.got, client.len, "\r\n\r\n", 4) - client.got) + 4;
	for (;;) {
		char *end;
		size_t len = strtoul((char *)client.got + at, &end, 16);

		at = (size_t)((uint8_t *)end - client.got);
		assert_memory_equal(client.got + at, "\r\n", 2);
		at += 2;
		if (!len)
			break;
		for (size_t i = 0; i < len; i++)
			if (client.got[at + i] != pattern_at(got + i))
				fail_msg("byte %zu is another", got + i);
		got += len;
		at += len;
		assert_memory_equal(client.got + at, "\r\n", 2);
		at += 2;
	}
	assert_int_equal(got, size);
	assert_int_equal(at + 2, client.len);
}

static void expect_continue(void **state)
{
	(void)state;
	make(1000, 1000);
	type(POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	io_until(requests == 1);
	assert_string_equal(head_get(front.head, "expect"), "100-continue");
	assert_int_equal(client.len, 0); /* who takes the body says so */
	say(&front, response(100), false);
	say(&front, response(100), false);
	io_until(client.len);
	assert_string_equal(heard(), "HTTP/1.1 100 Continue\r\n\r\n");
	type("ab");
	io_until(front.last);
	say(&front, response(200), true);
	io_until(!front.end && client.len);
	assert_string_equal(heard(), OK);
	/* answered without it: the body may or may not come, so that the connection ends */
	answer_status = 403;
	type(POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	io_until(client.eof);
	assert_string_equal(heard(), "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n"
				     "connection: close\r\n\r\n");
}

/* The response ended before the request: what is left of it is read, if it is little. */
static void early_response(void **state)
{
	static char big[2 << 20];
	size_t sent = 0;

	(void)state;
	make(1000, 1000);
	answer_status = 413;
	type(POST "Content-Length: 10\r\n\r\nhello");
	io_until(client.len && !front.end);
	type("world" GET);
	io_until(requests == 2 && !front.end);
	assert_false(client.eof);
	client.len = 0;
	type(POST "Content-Length: 100000000\r\n\r\n");
	while (!client.eof) {
		sent += conn_write(client.conn, big, sizeof(big));
		io_run_for(1);
	}
	assert_true(sent < 100000000);
	assert_string_equal(heard(), "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n");
	assert_int_equal(front.why, END_DONE);
}

static void bad_requests(void **state)
{
	(void)state;
	make(1000, 1000);
	type("GET / HTTP/1.1\r\n\r\n");
	io_until(client.eof);
	assert_int_equal(refused, 400);
	assert_string_equal(why_refused, "no Host");
	assert_string_equal(heard(), "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n"
				     "content-length: 25\r\nconnection: close\r\n\r\n"
				     "400 Bad Request: no Host\n");
	conn_finish(client.conn);
	io_until(closed);
	assert_int_equal(requests, 0);
}

static void id_of_bad_request(void **state)
{
	(void)state;
	make(1000, 1000);
	refused_id = "0123456789abcdef";
	type("GET / HTTP/1.1\r\n\r\n");
	io_until(client.eof);
	refused_id = NULL;
	assert_string_equal(heard(), "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n"
				     "x-request-id: 0123456789abcdef\r\ncontent-length: 50\r\n"
				     "connection: close\r\n\r\n400 Bad Request: no Host\n"
				     "request 0123456789abcdef\n");
}

static void bad_body(void **state)
{
	(void)state;
	make(1000, 1000);
	type(POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
	io_until(front.got == 5);
	type("xyz\r\n");
	io_until(client.eof);
	assert_int_equal(refused, 400);
	assert_null(front.end);
	assert_int_equal(front.why, END_PROTOCOL);
}

static void timeouts(void **state)
{
	(void)state;
	make(100, 10000);
	type("GET / HT");
	io_until(client.eof);
	assert_int_equal(refused, 408);
	conn_finish(client.conn);
	io_until(closed);
	io_end_free(&client);
	make(10000, 100);
	io_until(client.eof);
	assert_int_equal(client.len, 0);
	assert_int_equal(refused, 0);
}

static void websocket(void **state)
{
	(void)state;
	make(1000, 1000);
	type("GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	     "X-Text: 1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	     "Sec-WebSocket-Version: 13\r\n\r\nearly");
	io_until(front.end);
	assert_string_equal(front.head->method, "CONNECT");
	assert_string_equal(front.head->protocol, "websocket");
	assert_false(front.last);
	io_run_for(20);
	assert_int_equal(front.got, 0); /* not before it was accepted */
	say(&front, response(200), false);
	io_until(front.got == 5);
	assert_string_equal(front.text, "early");
	assert_int_equal(front.end->ops->data(front.end, "hello", 5, false), 5);
	io_until(client.len > 5 && !memcmp(client.got + client.len - 5, "hello", 5));
	assert_string_equal(heard(), "HTTP/1.1 101 Switching Protocols\r\n"
				     "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
				     "connection: upgrade\r\nupgrade: websocket\r\n\r\nhello");
	conn_finish(client.conn);
	io_until(front.last);
	assert_non_null(front.end); /* half closed */
	assert_int_equal(front.end->ops->data(front.end, "bye", 3, true), 3);
	io_until(client.eof && closed);
	assert_string_equal(heard(), "bye");
	assert_int_equal(front.why, END_DONE);
}

static void websocket_refused(void **state)
{
	(void)state;
	make(1000, 1000);
	answer_status = 403;
	type("GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
	io_until(client.len && !front.end);
	assert_string_equal(heard(), "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
	answer_status = 200;
	type(GET);
	io_until(client.len && !front.end);
	assert_string_equal(heard(), OK);
}

static void connect_method(void **state)
{
	(void)state;
	make(1000, 1000);
	type("CONNECT a.example:22 HTTP/1.1\r\nHost: a.example:22\r\nX-Text: 1\r\n\r\n");
	io_until(front.end);
	assert_string_equal(front.head->authority, "a.example:22");
	say(&front, response(200), false);
	type("ssh");
	io_until(front.got == 3);
	assert_string_equal(heard(), "HTTP/1.1 200 OK\r\n\r\n");
	hear_drop(&front, END_CANCEL);
	io_until(client.closed && closed);
}

/* The client left: its receiver is told. */
static void client_gone(void **state)
{
	(void)state;
	make(1000, 1000);
	type(POST "Content-Length: 10\r\n\r\nhello");
	io_until(front.got == 5);
	conn_abort(client.conn);
	client.conn = NULL;
	io_until(closed);
	assert_null(front.end);
	assert_int_equal(front.why, END_CANCEL);
}

/* After its last request a client may close its side: it is answered. */
static void half_closed(void **state)
{
	(void)state;
	make(1000, 1000);
	type(GET);
	conn_finish(client.conn);
	io_until(front.end);
	io_run_for(20);
	assert_non_null(front.end);
	say(&front, response(200), true);
	io_until(client.closed && closed);
	assert_string_equal(heard(),
			    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}

/* A body that is not as long as was said breaks the connection: no client takes it for whole. */
static void wrong_length(void **state)
{
	struct head *h;

	(void)state;
	make(1000, 1000);
	type(GET);
	io_until(front.end);
	h = response(200);
	head_addf(h, "content-length", "%d", 5);
	say(&front, h, false);
	assert_int_equal(front.end->ops->data(front.end, "hell", 4, true), 0);
	io_until(client.closed && closed);
	assert_int_equal(client.err, -ECONNRESET);
	assert_int_equal(front.why, END_PROTOCOL);
}

static void aborted(void **state)
{
	(void)state;
	make(1000, 1000);
	type(GET);
	io_until(front.end);
	say(&front, response(200), false);
	assert_int_equal(front.end->ops->data(front.end, "hell", 4, false), 4);
	hear_drop(&front, END_LOST);
	io_until(client.closed && closed);
	assert_int_equal(client.err, -ECONNRESET);
}

static void drain(void **state)
{
	(void)state;
	make(1000, 10000);
	type(GET);
	io_until(front.end);
	h1_server_drain(server, 100);
	say(&front, response(200), true);
	io_until(client.eof);
	assert_string_equal(heard(),
			    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
	conn_finish(client.conn);
	io_until(closed);
	io_end_free(&client);
	/* idle: a moment for the request that is on its way */
	make(1000, 10000);
	h1_server_drain(server, 200);
	answer_status = 200;
	type(GET);
	io_until(client.eof);
	assert_string_equal(heard(),
			    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
	conn_finish(client.conn);
	io_until(closed);
	io_end_free(&client);
	make(1000, 10000);
	h1_server_drain(server, 50);
	io_until(client.eof);
}

/* Letting go of a message that is whole leaves the connection for the next one. */
static void let_go(void **state)
{
	(void)state;
	make(1000, 1000);
	for (int i = 0; i < 2; i++) {
		type(GET);
		io_until(front.end);
		say(&front, response(200), true);
		hear_drop(&front, END_DONE);
		io_until(client.len);
		assert_string_equal(heard(), OK);
	}
	assert_false(client.eof);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, io_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_after_the_other),
		TEST(pipelined),
		TEST(end_that_is_not_taken),
		TEST(body_up),
		TEST(body_down),
		TEST(slow_reader),
		TEST(slow_reader_chunks),
		TEST(expect_continue),
		TEST(early_response),
		TEST(bad_requests),
		TEST(id_of_bad_request),
		TEST(bad_body),
		TEST(timeouts),
		TEST(websocket),
		TEST(websocket_refused),
		TEST(connect_method),
		TEST(client_gone),
		TEST(half_closed),
		TEST(wrong_length),
		TEST(aborted),
		TEST(drain),
		TEST(let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
