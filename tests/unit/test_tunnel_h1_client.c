/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1's client on a real socket: requests, responses, reuse of connections, and how it ends. */
#include "tests/unit/tunnel_end.h"

#include "user/tunnel/h1.h"
#include "user/tunnel/h1_text.h"

static struct io_end target[2]; /* accepted connections */
static unsigned int accepted;
static int listener;
static struct h1_pool *pool;
static struct hear back;

static size_t preface(void *arg, struct end *e, uint8_t *out, size_t max)
{
	(void)arg, (void)e;
	assert_true(max >= 108);
	memcpy(out, "PROXY\r\n", 7);
	return 7;
}

static void make_pool(unsigned int answer_ms, unsigned int idle_ms, bool with_preface)
{
	struct h1_pool_options opt = { .answer_ms = answer_ms,
				       .idle_ms = idle_ms,
				       .preface = with_preface ? preface : NULL };

	accepted = 0;
	listener = io_listen(&opt.dial.to);
	io_nonblocking(listener);
	assert_int_equal(h1_pool_new(&pool, io_reactor, &opt), 0);
}

static int teardown(void **state)
{
	hear_free(&back);
	h1_pool_free(pool);
	pool = NULL;
	if (listener >= 0)
		close(listener);
	listener = -1;
	for (int i = 0; i < 2; i++)
		io_end_free(&target[i]);
	return io_teardown(state);
}

static void open_back(void)
{
	struct end *e;

	hear_free(&back);
	assert_int_equal(h1_open(pool, &e), 0);
	hear(&back, e);
}

static bool accept_one(void)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct io_end *t;

	if (fd < 0)
		return false;
	assert_true(accepted < 2);
	t = &target[accepted++];
	assert_int_equal(conn_accept(&t->conn, io_reactor, fd, NULL, &io_events, t), 0);
	return true;
}

/* What the target got, as a string; forgotten afterwards. */
static const char *got(struct io_end *t)
{
	static char text[8000];

	snprintf(text, sizeof(text), "%.*s", (int)t->len, t->got ? (char *)t->got : "");
	t->len = 0;
	return text;
}

static void reply(struct io_end *t, const char *text)
{
	assert_int_equal(conn_write(t->conn, text, strlen(text)), strlen(text));
}

#define GOT_GET	 "GET /a HTTP/1.1\r\nhost: app.example:443\r\n\r\n"
#define GOT_HEAD "HEAD /a HTTP/1.1\r\nhost: app.example:443\r\n\r\n"
#define OK	 "HTTP/1.1 200 OK\r\nX-Text: 1\r\n"

static void get_on(struct io_end *t, const char *method)
{
	open_back();
	say(&back, request(method, "/a"), true);
	if (!t->conn)
		io_until(accept_one());
	io_until(t->len);
}

static void kept_and_used_again(void **state)
{
	(void)state;
	make_pool(0, 0, false);
	for (int i = 0; i < 3; i++) {
		get_on(&target[0], "GET");
		assert_string_equal(got(&target[0]), GOT_GET);
		reply(&target[0], OK "Content-Length: 5\r\n\r\nhello");
		io_until(!back.end);
		assert_int_equal(back.why, END_DONE);
		assert_int_equal(back.head->status, 200);
		assert_string_equal(back.text, "hello");
		assert_true(back.last);
	}
	get_on(&target[0], "HEAD");
	assert_string_equal(got(&target[0]), GOT_HEAD);
	reply(&target[0], OK "Content-Length: 5\r\n\r\n");
	io_until(!back.end);
	assert_int_equal(back.head->content_length, 5);
	get_on(&target[0], "GET");
	reply(&target[0], OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
	io_until(!back.end);
	assert_string_equal(back.text, "abc");
	assert_string_equal(head_get(back.trailers, "x-sum"), "1");
	get_on(&target[0], "GET");
	reply(&target[0], "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
			  "HTTP/1.1 204 No Content\r\n\r\n");
	io_until(!back.end);
	assert_int_equal(back.infos, 1);
	assert_int_equal(back.head->status, 204);
	assert_int_equal(accepted, 1);
}

/* Two at once need two; afterwards the last used is the first taken. */
static void last_used_first(void **state)
{
	struct hear other = { 0 };
	struct end *e;

	(void)state;
	make_pool(0, 0, false);
	get_on(&target[0], "GET");
	assert_int_equal(h1_open(pool, &e), 0);
	hear(&other, e);
	say(&other, request("GET", "/b"), true);
	io_until(accept_one());
	io_until(target[1].len);
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end);
	reply(&target[1], OK "Content-Length: 0\r\n\r\n");
	io_until(!other.end);
	hear_free(&other);
	target[0].len = target[1].len = 0;
	open_back();
	say(&back, request("GET", "/a"), true);
	io_until(target[0].len || target[1].len);
	assert_int_equal(target[0].len, 0);
}

/* What ends a connection after its response. */
static void not_kept(void **state)
{
	static const char *const replies[] = {
		OK "Content-Length: 5\r\nConnection: close\r\n\r\nhello",
		OK "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nX-Text: 1\r\nContent-Length: 5\r\n\r\nhello",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
		make_pool(0, 0, false);
		get_on(&target[0], "GET");
		reply(&target[0], replies[i]);
		io_until(!back.end);
		assert_int_equal(back.why, END_DONE);
		assert_string_equal(back.text, "hello");
		get_on(&target[1], "GET");
		assert_int_equal(accepted, 2);
		hear_free(&back);
		h1_pool_free(pool);
		close(listener);
		io_end_free(&target[0]);
		io_end_free(&target[1]);
	}
	make_pool(0, 0, false);
}

static void until_the_end(void **state)
{
	(void)state;
	make_pool(0, 0, false);
	get_on(&target[0], "GET");
	reply(&target[0], OK "\r\nhel");
	io_until(back.got == 3);
	assert_false(back.last);
	reply(&target[0], "lo");
	conn_finish(target[0].conn);
	io_until(!back.end);
	assert_int_equal(back.why, END_DONE);
	assert_string_equal(back.text, "hello");
	assert_true(back.last);
}

static void body_up(void **state)
{
	struct head *h;

	(void)state;
	make_pool(0, 0, false);
	open_back();
	h = request("POST", "/a");
	head_addf(h, "content-length", "%d", 5);
	say(&back, h, false);
	assert_int_equal(back.end->ops->data(back.end, "he", 2, false), 2);
	assert_int_equal(back.end->ops->data(back.end, "llo", 3, true), 3);
	io_until(accept_one());
	io_until(target[0].len && target[0].got[target[0].len - 1] == 'o');
	assert_string_equal(got(&target[0]), "POST /a HTTP/1.1\r\nhost: app.example:443\r\n"
					     "content-length: 5\r\n\r\nhello");
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end);
	open_back();
	say(&back, request("POST", "/a"), false);
	assert_int_equal(back.end->ops->data(back.end, "hello", 5, false), 5);
	assert_int_equal(back.end->ops->data(back.end, NULL, 0, true), 0);
	io_until(target[0].len > 5 && !memcmp(target[0].got + target[0].len - 5, "0\r\n\r\n", 5));
	assert_string_equal(got(&target[0]),
			    "POST /a HTTP/1.1\r\nhost: app.example:443\r\n"
			    "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end);
	open_back();
	say(&back, request("POST", "/a"), true);
	io_until(target[0].len);
	assert_string_equal(got(&target[0]), "POST /a HTTP/1.1\r\nhost: app.example:443\r\n"
					     "content-length: 0\r\n\r\n");
}

/* The answer comes, whole, while the request still goes: it counts, the connection does not. */
static void early_answer(void **state)
{
	(void)state;
	make_pool(0, 0, false);
	open_back();
	say(&back, request("POST", "/a"), false);
	assert_int_equal(back.end->ops->data(back.end, "hello", 5, false), 5);
	io_until(accept_one());
	io_until(target[0].len);
	reply(&target[0], "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
	io_until(!back.end);
	assert_int_equal(back.head->status, 413);
	assert_int_equal(back.why, END_DONE);
	io_until(target[0].closed);
}

/* 20 MB to a target that does not read for a while. */
static void slow_target(void **state)
{
	const size_t size = 20u << 20;
	struct head *h;

	(void)state;
	make_pool(0, 0, false);
	open_back();
	h = request("PUT", "/a");
	head_addf(h, "content-length", "%zu", size);
	say(&back, h, false);
	io_until(accept_one());
	conn_pause(target[0].conn);
	back.to_send = size;
	back.send_last = true;
	hear_send(&back);
	io_run_for(30);
	assert_true(back.sent < size);
	conn_resume(target[0].conn);
	io_until(target[0].len > size);
	assert_int_equal(target[0].got[target[0].len - 1], pattern_at(size - 1));
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end);
	assert_int_equal(back.why, END_DONE);
}

/* What was told is taken before more is read: the target feels it. */
static void slow_receiver(void **state)
{
	static char big[8 << 20];
	size_t sent = 0;

	(void)state;
	make_pool(0, 0, false);
	get_on(&target[0], "GET");
	back.hold = true;
	reply(&target[0], OK "Content-Length: 8388608\r\n\r\n");
	sent = conn_write(target[0].conn, big, sizeof(big));
	io_run_for(30);
	assert_true(back.got < 300000);
	hear_release(&back);
	while (back.end) {
		sent += conn_write(target[0].conn, big, sizeof(big) - sent);
		io_run_for(1);
	}
	assert_int_equal(back.got, sizeof(big));
	assert_int_equal(back.why, END_DONE);
}

static void protocol_errors(void **state)
{
	static const char *const replies[] = {
		OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		OK "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"<html>\r\n\r\n",
		("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
		 "upgrade\r\n\r\n"),
	};

	(void)state;
	make_pool(0, 0, false);
	for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
		accepted = 0;
		get_on(&target[0], "GET");
		reply(&target[0], replies[i]);
		io_until(!back.end);
		assert_int_equal(back.why, END_PROTOCOL);
		io_until(target[0].closed);
		io_end_free(&target[0]);
	}
}

/* A kept connection that turns out to be closed: the request may be sent again. */
static void closed_while_kept(void **state)
{
	(void)state;
	make_pool(0, 0, false);
	get_on(&target[0], "GET");
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end);
	target[0].len = 0;
	get_on(&target[0], "GET"); /* the second on it */
	conn_abort(target[0].conn);
	target[0].conn = NULL;
	io_until(!back.end);
	assert_int_equal(back.why, END_REFUSED);
	/* the first on a new one was seen by the target: it may have done something */
	accepted = 0;
	get_on(&target[0], "GET");
	conn_close(target[0].conn);
	io_until(!back.end);
	assert_int_equal(back.why, END_LOST);
}

/* What is not safe may have been done; but not when the end was there before it was sent. */
static void post_on_a_kept_one(void **state)
{
	(void)state;
	make_pool(0, 0, false);
	get_on(&target[0], "GET");
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end);
	target[0].len = 0;
	get_on(&target[0], "POST");
	conn_abort(target[0].conn);
	target[0].conn = NULL;
	io_until(!back.end);
	assert_int_equal(back.why, END_LOST);
	accepted = 0;
	get_on(&target[0], "GET");
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end);
	open_back();
	conn_abort(target[0].conn);
	target[0].conn = NULL;
	say(&back, request("POST", "/a"), true);
	io_until(!back.end);
	assert_int_equal(back.why, END_REFUSED);
}

static void lost_in_the_middle(void **state)
{
	(void)state;
	make_pool(0, 0, false);
	get_on(&target[0], "GET");
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end);
	target[0].len = 0;
	get_on(&target[0], "GET");
	reply(&target[0], OK "Content-Length: 10\r\n\r\nhello");
	conn_close(target[0].conn);
	io_until(!back.end);
	assert_int_equal(back.why, END_LOST);
	assert_false(back.last);
}

static void no_connection(void **state)
{
	struct h1_pool_options opt = { 0 };

	(void)state;
	make_pool(0, 0, false);
	h1_pool_free(pool);
	close(listener);
	listener = -1;
	opt.dial.to.addr.family = AF_INET;
	memcpy(opt.dial.to.addr.bytes, "\x7f\0\0\1", 4);
	opt.dial.to.port = 1;
	assert_int_equal(h1_pool_new(&pool, io_reactor, &opt), 0);
	open_back();
	say(&back, request("GET", "/a"), true);
	io_until(!back.end);
	assert_int_equal(back.why, END_REFUSED);
}

static void no_answer_in_time(void **state)
{
	(void)state;
	make_pool(100, 0, false);
	get_on(&target[0], "GET");
	io_until(!back.end);
	assert_int_equal(back.why, END_TIMEOUT);
	assert_int_equal(back.heads, 0);
}

static void idle_ones_end(void **state)
{
	(void)state;
	make_pool(0, 50, false);
	get_on(&target[0], "GET");
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end);
	io_until(target[0].eof);
}

static void pool_freed_while_running(void **state)
{
	(void)state;
	make_pool(0, 0, false);
	get_on(&target[0], "GET");
	h1_pool_free(pool);
	pool = NULL;
	reply(&target[0], OK "Content-Length: 5\r\n\r\nhello");
	io_until(!back.end);
	assert_int_equal(back.why, END_DONE);
	io_until(target[0].eof);
}

static void with_preface(void **state)
{
	(void)state;
	make_pool(0, 0, true);
	get_on(&target[0], "GET");
	assert_string_equal(got(&target[0]), "PROXY\r\n" GOT_GET);
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end && target[0].eof); /* it speaks of one client alone */
}

/* The value of a field that the target got. */
static void field(const char *text, const char *name, char *out, size_t len)
{
	const char *at = strstr(text, name);

	assert_non_null(at);
	at += strlen(name);
	snprintf(out, len, "%.*s", (int)strcspn(at, "\r"), at);
}

static void open_websocket(char key[64])
{
	struct head *h = request("CONNECT", "/ws");
	char text[8192];

	open_back();
	assert_int_equal(head_set(h, ":protocol", "websocket"), 0);
	head_addf(h, "sec-websocket-protocol", "chat");
	say(&back, h, false);
	assert_int_equal(back.end->ops->data(back.end, "early", 5, false), 0);
	accepted = 0;
	io_until(accept_one());
	io_until(target[0].len);
	snprintf(text, sizeof(text), "%s", got(&target[0]));
	assert_non_null(strstr(text, "GET /ws HTTP/1.1\r\n"));
	assert_non_null(strstr(text, "connection: upgrade\r\nupgrade: websocket\r\n"));
	assert_non_null(strstr(text, "sec-websocket-version: 13\r\n"));
	assert_non_null(strstr(text, "sec-websocket-protocol: chat\r\n"));
	field(text, "sec-websocket-key: ", key, 64);
	assert_true(h1_ws_key_valid(key));
}

static void websocket(void **state)
{
	char key[64], accept[H1_WS_ACCEPT], text[512];

	(void)state;
	make_pool(0, 0, false);
	open_websocket(key);
	h1_ws_accept(key, accept);
	snprintf(text, sizeof(text),
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "X-Text: 1\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: chat\r\n\r\nhi",
		 accept);
	reply(&target[0], text);
	io_until(back.got == 2);
	assert_int_equal(back.head->status, 200);
	assert_string_equal(head_get(back.head, "sec-websocket-protocol"), "chat");
	assert_null(head_get(back.head, "sec-websocket-accept"));
	assert_int_equal(back.end->ops->data(back.end, "hello", 5, true), 5);
	io_until(target[0].eof);
	assert_string_equal(got(&target[0]), "hello");
	reply(&target[0], "bye");
	conn_finish(target[0].conn);
	io_until(!back.end);
	assert_string_equal(back.text, "hibye");
	assert_int_equal(back.why, END_DONE);
}

/* The client's end came before the target's yes. */
static void websocket_ended_early(void **state)
{
	char key[64], accept[H1_WS_ACCEPT], text[512];

	(void)state;
	make_pool(0, 0, false);
	open_websocket(key);
	assert_int_equal(back.end->ops->data(back.end, NULL, 0, true), 0);
	h1_ws_accept(key, accept);
	snprintf(text, sizeof(text),
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "X-Text: 1\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		 accept);
	reply(&target[0], text);
	io_until(target[0].eof);
	conn_finish(target[0].conn);
	io_until(!back.end);
	assert_int_equal(back.why, END_DONE);
}

static void websocket_refused(void **state)
{
	char key[64];

	(void)state;
	make_pool(0, 0, false);
	open_websocket(key);
	reply(&target[0], "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
	io_until(!back.end);
	assert_int_equal(back.head->status, 403);
	assert_int_equal(back.why, END_DONE);
	target[0].len = 0;
	get_on(&target[0], "GET"); /* on the same connection */
	hear_free(&back);
	/* a 2xx would be taken for an open tunnel, a wrong key for another's answer */
	io_until(target[0].closed);
	io_end_free(&target[0]);
	open_websocket(key);
	reply(&target[0], OK "Content-Length: 0\r\n\r\n");
	io_until(!back.end);
	assert_int_equal(back.why, END_PROTOCOL);
	io_until(target[0].closed);
	io_end_free(&target[0]);
	open_websocket(key);
	reply(&target[0], "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
			  "Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
	io_until(!back.end);
	assert_int_equal(back.why, END_PROTOCOL);
}

/* Letting go of what is whole keeps the connection; of what is not, breaks it. */
static void let_go(void **state)
{
	(void)state;
	make_pool(0, 0, false);
	get_on(&target[0], "GET");
	hear_drop(&back, END_CANCEL);
	io_until(target[0].closed);
	assert_int_equal(target[0].err, -ECONNRESET);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, io_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(kept_and_used_again),
		TEST(last_used_first),
		TEST(not_kept),
		TEST(until_the_end),
		TEST(body_up),
		TEST(early_answer),
		TEST(slow_target),
		TEST(slow_receiver),
		TEST(protocol_errors),
		TEST(closed_while_kept),
		TEST(post_on_a_kept_one),
		TEST(lost_in_the_middle),
		TEST(no_connection),
		TEST(no_answer_in_time),
		TEST(idle_ones_end),
		TEST(pool_freed_while_running),
		TEST(with_preface),
		TEST(websocket),
		TEST(websocket_ended_early),
		TEST(websocket_refused),
		TEST(let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
