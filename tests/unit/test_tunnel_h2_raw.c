// SPDX-License-Identifier: Apache-2.0
/* HTTP/2 against peers that write their frames by hand: floods, lies about lengths, malformed
 * heads, silence, GOAWAY in the middle. */
#include <arpa/inet.h>
#include <netinet/tcp.h>

#include "tests/unit/tunnel_end.h"
#include "user/tunnel/h2.h"

enum { DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION };
#define END_STREAM  1
#define ACK	    1
#define END_HEADERS 4
#define PADDED	    8

static struct h2 *h2;
static struct h2_options opt;
static int peer; /* the other end of its socket */
static struct hear in[400];
static unsigned int n_in, n_refused, n_closed, n_goaway, refused_status;
static char closed_why[100];
static void (*on_request)(struct hear *p);

/* What the peer was sent, by frame type. */
static struct {
	uint8_t buf[1 << 20];
	size_t len;
	bool eof, greeted;
	unsigned int count[16];
	uint32_t goaway, rst, status; /* the last codes */
} heard;

static void request_came(void *arg, struct end *front, const struct head *h, bool last)
{
	struct hear *p = &in[n_in++ % 400];

	(void)arg;
	hear(p, front);
	p->head = head_copy(h);
	p->last = last;
	if (on_request)
		on_request(p);
}

static const char *refused(void *arg, unsigned int status, const char *why)
{
	(void)arg, (void)why;
	n_refused++;
	refused_status = status;
	return NULL;
}

static void goaway(void *arg)
{
	(void)arg;
	n_goaway++;
}

static void closed(void *arg, const char *why)
{
	(void)arg;
	h2 = NULL;
	n_closed++;
	snprintf(closed_why, sizeof(closed_why), "%s", why);
}

/* ---- the peer ---- */

static void send_raw(const void *data, size_t len)
{
	const char *at = data;

	for (size_t done = 0; done < len;) {
		ssize_t n = send(peer, at + done, len - done, MSG_NOSIGNAL);

		if (n > 0)
			done += (size_t)n;
		else if (errno != EAGAIN)
			return; /* it was thrown out: the test looks at that */
		else
			io_run_for(1);
	}
}

static void frame_long(uint8_t type, uint8_t flags, uint32_t id, const void *data, size_t len)
{
	uint8_t f[9 + 20000] = { (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, type,
				 flags };
	uint32_t be = htonl(id);

	memcpy(f + 5, &be, 4);
	assert_true(len <= 20000);
	if (len)
		memcpy(f + 9, data, len);
	send_raw(f, 9 + len);
}

static void frame(uint8_t type, uint8_t flags, uint32_t id, const char *data)
{
	frame_long(type, flags, id, data, strlen(data));
}

static void frame_u32(uint8_t type, uint32_t id, uint32_t value)
{
	value = htonl(value);
	frame_long(type, 0, id, &value, 4);
}

#define GET                                                                                        \
	"\x82\x87\x84\x41\x01"                                                                     \
	"a" /* GET https / :authority a */
#define POST                                                                                       \
	"\x83\x87\x84\x41\x01"                                                                     \
	"a"
#define LENGTH5                                                                                    \
	"\x0f\x0d\x01"                                                                             \
	"5" /* content-length: 5 */

static void take_frame(const uint8_t *f, size_t len)
{
	uint32_t code = 0;

	heard.count[f[3] % 16]++;
	if (f[3] == HEADERS && len)
		heard.status = f[9]; /* the first byte of HPACK: 0x88 is 200 */
	if (f[3] == RST && len == 4) {
		memcpy(&code, f + 9, 4);
		heard.rst = ntohl(code);
	}
	if (f[3] == GOAWAY && len >= 8) {
		memcpy(&code, f + 13, 4);
		heard.goaway = ntohl(code);
	}
}

static void hear_peer(void)
{
	size_t at = 0;

	for (;;) {
		ssize_t n = recv(peer, heard.buf + heard.len, sizeof(heard.buf) - heard.len, 0);

		if (n == 0) {
			heard.eof = true;
			shutdown(peer, SHUT_WR); /* it need not wait for us */
		}
		if (n <= 0)
			break;
		heard.len += (size_t)n;
	}
	if (!opt.server && !heard.greeted && heard.len >= 24) {
		heard.greeted = true;
		at = 24;
	}
	while (heard.len - at >= 9) {
		const uint8_t *f = heard.buf + at;
		size_t len = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];

		if (heard.len - at < 9 + len)
			break;
		take_frame(f, len);
		at += 9 + len;
	}
	memmove(heard.buf, heard.buf + at, heard.len - at);
	heard.len -= at;
}

#define until(what) io_until((hear_peer(), (what)))

static void begin(bool server)
{
	struct conn *c;
	int fd[2], one = 1;

	io_pair(fd);
	peer = fd[1];
	setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	opt.server = server;
	opt.request = request_came;
	opt.refused = refused;
	opt.goaway = goaway;
	opt.closed = closed;
	assert_int_equal(conn_accept(&c, io_reactor, fd[0], NULL, &io_events, NULL), 0);
	assert_int_equal(h2_new(&h2, c, &opt), 0);
	if (server)
		send_raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	frame(SETTINGS, 0, 0, "");
	frame(SETTINGS, ACK, 0, "");
	until(heard.count[SETTINGS] == 2); /* theirs, and the answer to ours */
}

static int setup(void **state)
{
	n_in = n_refused = n_closed = n_goaway = refused_status = 0;
	memset(&heard, 0, sizeof(heard));
	on_request = NULL;
	opt = (struct h2_options){ .header_bytes_max = 8192,
				   .streams_max = 300,
				   .scheme = "https" };
	return io_setup(state);
}

static int teardown(void **state)
{
	for (int i = 0; i < 400; i++)
		hear_free(&in[i]);
	if (h2)
		h2_abort(h2, "test over");
	h2 = NULL;
	io_run_for(1);
	close(peer);
	return io_teardown(state);
}

static void thrown_out(uint32_t code)
{
	until(n_closed == 1 && heard.eof);
	assert_int_equal(heard.count[GOAWAY], 1);
	assert_int_equal(heard.goaway, code);
	for (unsigned int i = 0; i < n_in && i < 400; i++)
		assert_null(in[i].end);
}

/* ---- floods ---- */

static void rapid_reset(void **state)
{
	(void)state;
	begin(true);
	for (uint32_t i = 0; i < 201; i++) {
		frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, GET);
		frame_u32(RST, 2 * i + 1, 8);
	}
	thrown_out(0xb);
	assert_int_equal(n_in, 201);
	assert_non_null(strstr(closed_why, "reset"));
}

/* The server itself resets, since the peer breaks rules (CVE-2025-8671). */
static void made_to_reset(void **state)
{
	(void)state;
	begin(true);
	for (uint32_t i = 0; i < 201 && !n_closed; i++) {
		frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, GET);
		frame_u32(WINDOW, 2 * i + 1, 0x7fffffff); /* over the top */
		io_run_for(1);
	}
	until(n_closed == 1);
	assert_int_equal(heard.goaway, 0xb);
}

/* Streams that were answered may be reset as often as one likes. */
static void say_ok(struct hear *p)
{
	say(p, response(200), false);
}

static void resets_after_an_answer(void **state)
{
	(void)state;
	begin(true);
	on_request = say_ok;
	for (uint32_t i = 0; i < 390; i++) {
		frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, GET);
		until(heard.count[HEADERS] == i + 1);
		frame_u32(RST, 2 * i + 1, 8);
	}
	until(!h2_streams(h2));
	assert_int_equal(n_closed, 0);
}

static void flood(uint8_t type, uint8_t flags, uint32_t id, const char *data, size_t len)
{
	begin(true);
	frame(HEADERS, END_HEADERS, 1, POST);
	for (int i = 0; i < 2100 && !n_closed; i++) {
		frame_long(type, flags, id, data, len);
		if (i % 200 == 0)
			io_run_for(2);
	}
	until(n_closed == 1);

	assert_int_equal(heard.goaway, 0xb);
}

static void empty_data(void **state)
{
	(void)state;
	flood(DATA, 0, 1, "", 0);
}

static void priorities(void **state)
{
	(void)state;
	flood(PRIORITY, 0, 5, "\0\0\0\3\10", 5);
}

static void pings(void **state)
{
	(void)state;
	flood(PING, 0, 0, "12345678", 8);
}

static void settings(void **state)
{
	(void)state;
	flood(SETTINGS, 0, 0, "\0\4\0\1\0\0", 6);
}

/* Clients that measure the way with each piece of data are no flood. */
static void pings_among_data(void **state)
{
	static const uint8_t data[1024];

	(void)state;
	begin(true);
	on_request = say_ok;
	frame(HEADERS, END_HEADERS, 1,
	      POST "\x10\x06"
		   "x-text"
		   "\x01"
		   "1");
	for (int i = 0; i < 4000 && !n_closed; i++) {
		frame(PING, 0, 0, "12345678");
		frame_long(DATA, 0, 1, data, sizeof(data));
		if (i % 64 == 0)
			until(n_closed || in[0].got == 1024 * (size_t)(i + 1));
	}
	until(heard.count[PING] == 4000);
	assert_int_equal(n_closed, 0);
}

static void continuations(void **state)
{
	(void)state;
	begin(true);
	frame(HEADERS, 0, 1, GET);
	for (int i = 0; i < 1000 && !n_closed; i++) {
		frame(CONTINUATION, 0, 1,
		      "\x10\x01"
		      "b"
		      "\x01"
		      "c");
		io_run_for(1);
	}
	until(n_closed == 1);
	assert_int_equal(n_in, 0);
}

/* 4,000 bytes in the table, named 4,000 times by one byte each: 16 MB of head in one frame. */
static void a_bomb_of_fields(void **state)
{
	uint8_t block[8200] = GET;
	size_t at = sizeof(GET) - 1;
	uint64_t from;

	(void)state;
	begin(true);
	memcpy(block + at,
	       "\x40\x01"
	       "x"
	       "\x7f\x81\x1e",
	       6); /* indexed; 3,968 bytes */
	at += 6;
	memset(block + at, 'v', 3968);
	at += 3968;
	memset(block + at, 0xbe, 4000);
	at += 4000;
	from = reactor_now_us();
	frame_long(HEADERS, END_STREAM | END_HEADERS, 1, block, at);
	until(heard.count[HEADERS] == 1);
	assert_true(reactor_now_us() - from < 1000000);
	assert_int_equal(refused_status, 431);
	assert_int_equal(n_in, 0);
	frame(HEADERS, END_STREAM | END_HEADERS, 3, GET); /* the connection lives */
	until(n_in == 1);
}

/* A head that never ends is no use of the connection. */
static void a_head_that_never_ends(void **state)
{
	(void)state;
	opt.idle_ms = 100;
	begin(true);
	frame(HEADERS, 0, 1, GET);
	until(n_closed == 1);
	assert_int_equal(n_in, 0);
	assert_string_equal(closed_why, "idle");
}

static void more_streams_than_allowed(void **state)
{
	(void)state;
	opt.streams_max = 2;
	begin(true);
	for (uint32_t i = 0; i < 3; i++)
		frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, GET);
	until(n_in == 2 && heard.count[RST] + heard.count[GOAWAY] == 1);
	assert_int_equal(n_in, 2);
}

/* ---- lies and malformed things ---- */

static void not_http2(void **state)
{
	struct conn *c;
	int fd[2];

	(void)state;
	io_pair(fd);
	peer = fd[1];
	opt.server = true;
	opt.request = request_came;
	opt.closed = closed;
	assert_int_equal(conn_accept(&c, io_reactor, fd[0], NULL, &io_events, NULL), 0);
	assert_int_equal(h2_new(&h2, c, &opt), 0);
	send_raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 26);
	io_until(n_closed == 1);
}

/* A body shorter than it said never looks whole: that would be how requests are smuggled. */
static void shorter_than_said(void **state)
{
	(void)state;
	begin(true);
	frame(HEADERS, END_HEADERS, 1, POST LENGTH5);
	frame_long(DATA, END_STREAM, 1, "\0\x1f\x3e", 3);
	until(n_in == 1 && in[0].gone);
	assert_int_equal(in[0].got, 3);
	assert_false(in[0].last);
	assert_int_equal(in[0].why, END_PROTOCOL);
}

static void longer_than_said(void **state)
{
	(void)state;
	begin(true);
	frame(HEADERS, END_HEADERS, 1, POST LENGTH5);
	frame_long(DATA, 0, 1, "\0\x1f\x3e\x5d\x7c\x9b\xba", 7);
	until(n_in == 1 && in[0].gone);
	assert_false(in[0].last);
	assert_int_equal(in[0].got, 0);
	assert_int_equal(in[0].why, END_PROTOCOL);
}

static void exactly_as_said(void **state)
{
	(void)state;
	begin(true);
	frame(HEADERS, END_HEADERS, 1, POST LENGTH5);
	frame_long(DATA, PADDED | END_STREAM, 1, "\3\0\x1f\x3e\x5d\x7c\0\0\0", 9);
	frame(HEADERS, END_HEADERS, 3, POST LENGTH5);
	frame_long(DATA, END_STREAM, 3, "\0\x1f\x3e\x5d\x7c", 5);
	until(n_in == 2 && in[0].last && in[1].last);
	assert_int_equal(in[0].got, 5);
	assert_int_equal(in[1].got, 5);
}

static void malformed_heads(void **state)
{
	static const char *const heads[] = {
		GET "\x10\x01"
		    "X"
		    "\x01"
		    "y", /* upper case */
		GET "\x10\x0a"
		    "connection"
		    "\x05"
		    "close", /* HTTP/1's */
		GET "\x10\x11"
		    "transfer-encoding"
		    "\x07"
		    "chunked",
		GET "\x10\x01"
		    "x"
		    "\x03"
		    "a\nb", /* a line of its own */
		"\x82\x87\x41\x01"
		"a",	    /* no :path */
		GET "\x84", /* :path twice */
		"\x82\x86\x84\x41\x01"
		"a", /* http over TLS */
		GET "\x10\x04"
		    "host"
		    "\x01"
		    "b", /* another host */
		POST LENGTH5 "\x0f\x0d\x01"
			     "6",
	};
	uint32_t n = sizeof(heads) / sizeof(*heads);

	(void)state;
	begin(true);
	for (uint32_t i = 0; i < n; i++) {
		unsigned int before = heard.count[HEADERS] + heard.count[RST];

		frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1, heads[i]);
		until(heard.count[HEADERS] + heard.count[RST] > before);
		if (n_in)
			fail_msg("accepted: number %u", i);
		assert_int_equal(n_refused, i + 1);
		assert_int_equal(refused_status, 400);
	}
	frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, GET);
	until(n_in == 1);
	assert_int_equal(h2_streams(h2), 1);
}

static void trailers_with_what_belongs_in_heads(void **state)
{
	(void)state;
	begin(true);
	frame(HEADERS, END_HEADERS, 1, POST);
	frame(HEADERS, END_HEADERS | END_STREAM, 1,
	      "\x10\x04"
	      "host"
	      "\x01"
	      "b");
	until(n_in == 1 && in[0].gone);
	assert_null(in[0].trailers);
	assert_int_equal(in[0].why, END_PROTOCOL);
}

static void a_frame_too_large(void **state)
{
	static uint8_t big[16385];

	(void)state;
	begin(true);
	frame(HEADERS, END_HEADERS, 1, POST);
	frame_long(DATA, 0, 1, big, sizeof(big));
	thrown_out(6);
	assert_int_equal(in[0].why, END_PROTOCOL);
}

/* ---- as a client ---- */

static struct end *ask(struct hear *p)
{
	struct end *e;

	assert_int_equal(h2_open(h2, &e), 0);
	hear(p, e);
	say(p, request("GET", "/"), true);
	return e;
}

static void goaway_refuses_what_came_after(void **state)
{
	(void)state;
	begin(false);
	ask(&in[0]);
	ask(&in[1]);
	until(heard.count[HEADERS] == 2);
	frame_long(GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0", 8);
	until(in[1].gone);
	assert_int_equal(in[1].why, END_REFUSED);
	assert_int_equal(n_goaway, 1);
	assert_false(h2_can_open(h2));
	assert_int_equal(in[0].gone, 0);
	frame(HEADERS, END_STREAM | END_HEADERS, 1, "\x88");
	until(n_closed == 1);
	assert_int_equal(in[0].head->status, 200);
	assert_int_equal(in[0].why, END_DONE);
}

static void pushed_things(void **state)
{
	(void)state;
	begin(false);
	ask(&in[0]);
	until(heard.count[HEADERS] == 1);
	frame(PUSH, END_HEADERS, 1, "\x01\x01\x01\x02" GET);
	until(n_closed == 1);
	assert_int_equal(heard.goaway, 1);
	assert_int_equal(in[0].why, END_PROTOCOL);
}

static void a_response_cut_by_no_error(void **state)
{
	(void)state;
	begin(false);
	ask(&in[0]);
	until(heard.count[HEADERS] == 1);
	frame(HEADERS, END_HEADERS, 1, "\x88");
	frame_u32(RST, 1, 0);
	until(in[0].gone);
	assert_false(in[0].last);
	assert_int_equal(in[0].why, END_LOST);
}

static void silence(void **state)
{
	uint64_t from = reactor_now_us();

	(void)state;
	opt.ping_ms = 100;
	opt.dead_ms = 400;
	begin(false);
	ask(&in[0]);
	until(n_closed == 1);
	assert_int_equal(in[0].why, END_LOST);
	assert_string_equal(closed_why, "no answer to PING");
	assert_true(reactor_now_us() - from >= 390000);
	assert_true(heard.count[PING] >= 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(rapid_reset),
		TEST(made_to_reset),
		TEST(resets_after_an_answer),
		TEST(empty_data),
		TEST(priorities),
		TEST(pings),
		TEST(settings),
		TEST(pings_among_data),
		TEST(continuations),
		TEST(a_head_that_never_ends),
		TEST(a_bomb_of_fields),
		TEST(more_streams_than_allowed),
		TEST(not_http2),
		TEST(shorter_than_said),
		TEST(longer_than_said),
		TEST(exactly_as_said),
		TEST(malformed_heads),
		TEST(trailers_with_what_belongs_in_heads),
		TEST(a_frame_too_large),
		TEST(goaway_refuses_what_came_after),
		TEST(pushed_things),
		TEST(a_response_cut_by_no_error),
		TEST(silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
