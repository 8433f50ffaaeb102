/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1's pure part: what is let through as a message, however it was cut, and what is composed.
 */
#include <errno.h>

#include "tests/unit/unit.h"

#include "user/tunnel/h1_read.h"

#define HEADER_MAX 2048

/* What a message was read as. */
struct seen {
	unsigned int status; /* of a refusal; 0 */
	const char *why;
	bool head, ended, websocket, expects, keep_alive;
	size_t used, body_len;
	char body[256], text[1024]; /* text: the head composed anew */
	char trailers[256];
};

static void note_head(struct seen *s, const struct h1_read *r)
{
	struct h1_how how = { .framing = r->framing, .length = r->head->content_length };
	size_t n;

	if (r->response && (r->framing == H1_NONE || r->framing == H1_LENGTH))
		how.length = r->head->content_length;
	n = r->response ? h1_compose_response(s->text, sizeof(s->text) - 1, r->head, &how)
			: h1_compose_request(s->text, sizeof(s->text) - 1, r->head, &how);
	s->text[n] = '\0';
	s->head = true;
	s->websocket = r->websocket;
	s->expects = r->expects;
	s->keep_alive = r->keep_alive;
}

static void note(struct seen *s, const struct h1_read *r, enum h1_event event)
{
	size_t n;

	switch (event) {
	case H1_HEAD:
		note_head(s, r);
		break;
	case H1_DATA:
		for (size_t i = 0; i < r->len; i++)
			if (s->body_len + i < sizeof(s->body) - 1)
				s->body[s->body_len + i] = (char)r->data[i];
		s->body_len += r->len;
		break;
	case H1_TRAILERS:
		n = h1_compose_trailers(s->trailers, sizeof(s->trailers) - 1, r->head);
		s->trailers[n] = '\0';
		break;
	case H1_BAD:
		s->status = r->status;
		s->why = r->why;
		break;
	default:
		break;
	}
	s->ended = s->ended || (event != H1_MORE && event != H1_BAD && r->last) || event == H1_END;
}

/* Reads text in pieces of `cut` bytes; each lies in memory of its own, so that nobody can look
 * behind its end. */
static struct seen read_cut(struct h1_read *r, const char *text, size_t len, size_t cut)
{
	struct seen s = { 0 };

	for (size_t at = 0; at < len && !s.status && !s.ended;) {
		size_t n = len - at < cut ? len - at : cut, used = 0;
		uint8_t *piece = malloc(n);
		enum h1_event event;

		memcpy(piece, text + at, n);
		while (used < n && !s.status && !s.ended) {
			used += h1_read_take(r, piece + used, n - used, &event);
			note(&s, r, event);
		}
		at += used;
		s.used = at;
		free(piece);
	}
	h1_read_free(r);
	return s;
}

static bool same(const struct seen *a, const struct seen *b)
{
	return a->status == b->status && a->head == b->head && a->ended == b->ended &&
	       a->used == b->used && a->body_len == b->body_len && !strcmp(a->body, b->body) &&
	       !strcmp(a->text, b->text) && !strcmp(a->trailers, b->trailers);
}

static struct seen read_request(const char *text, size_t len)
{
	struct seen whole = read_cut(h1_read_request("http", HEADER_MAX), text, len, len);

	for (size_t cut = 1; cut < 8; cut++) {
		struct seen s = read_cut(h1_read_request("http", HEADER_MAX), text, len, cut);

		/* where a refusal was noticed may differ */
		if (s.status)
			s.used = whole.used;
		if (!same(&s, &whole))
			fail_msg("cut in pieces of %zu it is another: %s", cut, text);
	}
	return whole;
}

static struct seen read_response(const char *method, const char *text)
{
	size_t len = strlen(text);
	struct seen whole = read_cut(h1_read_response(method, HEADER_MAX), text, len, len);

	for (size_t cut = 1; cut < 8; cut++) {
		struct seen s = read_cut(h1_read_response(method, HEADER_MAX), text, len, cut);

		if (s.status)
			s.used = whole.used;
		if (!same(&s, &whole))
			fail_msg("cut in pieces of %zu it is another: %s", cut, text);
	}
	return whole;
}

#define HOST "Host: a.example\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST
#define WS   "GET /ws HTTP/1.1\r\n" HOST "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
#define KEY  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static const struct {
	const char *text;
	unsigned int status;
} refused[] = {
	/* lines */
	{ "GET / HTTP/1.1\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a.example\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "\n", 400 },
	{ "GET / HTTP/1.1\r" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "A: b\rC: d\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "A: b\r\n\tc\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n A: b\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "A\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "A(: b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "A: \x01\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "A: \x7f\r\n\r\n", 400 },
	/* the first line */
	{ "GET  / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /  HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1 \r\n" HOST "\r\n", 400 },
	{ "GET /a b HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET\t/ HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET / http/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\r\n" HOST "\r\n", 400 },
	{ "GET /\r\n\r\n", 400 },
	{ "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/2.0\r\n" HOST "\r\n", 505 },
	{ "GET / HTTP/3.0\r\n" HOST "\r\n", 505 },
	{ "GET / HTTP/0.9\r\n" HOST "\r\n", 505 },
	{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
	{ "GET / RTSP/1.0\r\n" HOST "\r\n", 400 },
	{ "BREW / HTTP/1.1\r\n" HOST "\r\n", 501 },
	{ "GET a HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET * HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /a#b HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", 400 },
	/* whom */
	{ "GET / HTTP/1.1\r\n\r\n", 400 },
	{ "GET / HTTP/1.0\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: \r\n\r\n", 400 },
	{ "GET http://a.example/ HTTP/1.1\r\n\r\n", 400 },
	{ "GET http://b.example/ HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET http://u@a.example/ HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET http://a.example?q HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET https://a.example/ HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET http:///a HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "CONNECT / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "CONNECT a.example HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "CONNECT a.example:22 HTTP/1.1\r\nHost: b.example:22\r\n\r\n", 400 },
	{ "CONNECT a.example:22 HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nabcd", 400 },
	/* how long */
	{ POST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
	{ POST "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400 },
	{ POST "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", 400 },
	{ POST "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", 400 },
	{ POST "Content-Length: 4, 4\r\n\r\nabcd", 400 },
	{ POST "Content-Length: +4\r\n\r\nabcd", 400 },
	{ POST "Content-Length: 0x4\r\n\r\nabcd", 400 },
	{ POST "Content-Length: \r\n\r\n", 400 },
	{ POST "Content-Length: 99999999999999999999\r\n\r\n", 400 },
	{ POST "Content-Length: 4 4\r\n\r\nabcd", 400 },
	{ POST "Transfer-Encoding: gzip\r\n\r\n", 501 },
	{ POST "Transfer-Encoding: identity\r\n\r\n", 501 },
	{ POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501 },
	{ POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400 },
	{ POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400 },
	{ POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400 },
	{ POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
	{ POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400 },
	{ POST "Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400 },
	{ "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
	/* what else */
	{ POST "Expect: tea\r\n\r\n", 417 },
	{ POST "Expect: 100-continue\r\nExpect: tea\r\n\r\n", 417 },
	{ WS KEY "Sec-WebSocket-Version: 8\r\n\r\n", 426 },
	{ WS KEY "\r\n", 426 },
	{ WS "Sec-WebSocket-Version: 13\r\n\r\n", 400 },
	{ WS "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", 400 },
	{ WS KEY "Sec-WebSocket-Version: 13\r\nContent-Length: 1\r\n\r\na", 400 },
};

static void requests_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		struct seen s = read_request(refused[i].text, strlen(refused[i].text));

		if (s.status != refused[i].status || !s.why)
			fail_msg("%s: %u (%s)", refused[i].text, s.status, s.why ? s.why : "");
	}
}

/* A NUL ends no string here. */
static void nul_bytes(void **state)
{
	static const char value[] = "GET / HTTP/1.1\r\n" HOST "A: b\0c\r\n\r\n";
	static const char name[] = "GET / HTTP/1.1\r\n" HOST "A\0: b\r\n\r\n";
	static const char target[] = "GET /\0 HTTP/1.1\r\n" HOST "\r\n";

	(void)state;
	assert_int_equal(read_request(value, sizeof(value) - 1).status, 400);
	assert_int_equal(read_request(name, sizeof(name) - 1).status, 400);
	assert_int_equal(read_request(target, sizeof(target) - 1).status, 400);
}

static void chunks_refused(void **state)
{
	static const char *const cases[] = {
		"5\nhello\r\n0\r\n\r\n",
		"5\r\nhello\n0\r\n\r\n",
		"5\r\nhelloo\r\n0\r\n\r\n",
		"5\r\nhello0\r\n\r\n",
		"0x5\r\nhello\r\n0\r\n\r\n",
		"-5\r\n",
		" 5\r\nhello\r\n0\r\n\r\n",
		"5 \r\nhello\r\n0\r\n\r\n",
		"\r\nhello\r\n",
		"g\r\n",
		";a=b\r\nhello\r\n0\r\n\r\n",
		"1000000000000000\r\n",
		"ffffffffffffffffff\r\n",
		"5\rhello\r\n",
		"5;a=\nb\r\nhello\r\n0\r\n\r\n",
		"5\r\nhello\r\n0\r\nA: b\n\r\n",
		"5\r\nhello\r\n0\r\nA : b\r\n\r\n",
		"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
		"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
		"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"5\r\nhello\r\n0\r\nHost: b.example\r\n\r\n",
		"5\r\nhello\r\n0\r\nAuthorization: x\r\n\r\n",
		"5\r\nhello\r\n0\r\n\rx",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[512];
		struct seen s;

		snprintf(text, sizeof(text), POST "Transfer-Encoding: chunked\r\n\r\n%s", cases[i]);
		s = read_request(text, strlen(text));
		if (s.status != 400)
			fail_msg("%s: %u", cases[i], s.status);
	}
}

/* Chunk extensions are passed over, but not without end; neither are heads and trailers. */
static void limits(void **state)
{
	char text[8192];
	int n;

	(void)state;
	n = snprintf(text, sizeof(text),
		     POST "Transfer-Encoding: chunked\r\n\r\n5;a=%0*d\r\nhello\r\n0\r\n\r\n", 200,
		     1);
	assert_int_equal(read_request(text, (size_t)n).status, 0);
	n = snprintf(text, sizeof(text),
		     POST "Transfer-Encoding: chunked\r\n\r\n5;a=%0*d\r\nhello\r\n0\r\n\r\n", 300,
		     1);
	assert_int_equal(read_request(text, (size_t)n).status, 400);
	n = snprintf(text, sizeof(text), POST "A: %0*d\r\n\r\n", 1900, 1);
	assert_int_equal(read_request(text, (size_t)n).status, 0);
	n = snprintf(text, sizeof(text), POST "A: %0*d\r\n\r\n", 2100, 1);
	assert_int_equal(read_request(text, (size_t)n).status, 431);
	n = snprintf(text, sizeof(text), "GET /%0*d HTTP/1.1\r\n" HOST "\r\n", 2100, 1);
	assert_int_equal(read_request(text, (size_t)n).status, 431);
	n = snprintf(text, sizeof(text),
		     POST "Transfer-Encoding: chunked\r\n\r\n0\r\nA: %0*d\r\n\r\n", 2100, 1);
	assert_int_equal(read_request(text, (size_t)n).status, 431);
	n = snprintf(text, sizeof(text), POST);
	for (int i = 0; i < HEAD_FIELDS_MAX; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "a:b\r\n");
	n += snprintf(text + n, sizeof(text) - (size_t)n, "\r\n");
	assert_int_equal(read_request(text, (size_t)n).status, 431);
}

/* What is let through, and as what it goes on. */
static void requests_taken(void **state)
{
	static const struct {
		const char *text, *composed, *body;
		size_t rest; /* bytes behind the message */
	} cases[] = {
		{ "GET / HTTP/1.1\r\n" HOST "\r\n", "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n", "",
		  0 },
		{ "\r\nGET / HTTP/1.1\r\n" HOST "\r\nGET",
		  "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n", "", 3 },
		{ "GET /a?b=c&d=%20 HTTP/1.0\r\nHOST:a.example:80\t \r\nX:y\r\n\r\n",
		  "GET /a?b=c&d=%20 HTTP/1.1\r\nhost: a.example:80\r\nx: y\r\n\r\n", "", 0 },
		{ "GET http://a.example:80/b HTTP/1.1\r\n" HOST "\r\n",
		  "GET /b HTTP/1.1\r\nhost: a.example:80\r\n\r\n", "", 0 },
		{ "GET http://a.example HTTP/1.1\r\n" HOST "\r\n",
		  "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n", "", 0 },
		{ "OPTIONS * HTTP/1.1\r\n" HOST "\r\n",
		  "OPTIONS * HTTP/1.1\r\nhost: a.example\r\n\r\n", "", 0 },
		{ "OPTIONS http://a.example HTTP/1.1\r\n" HOST "\r\n",
		  "OPTIONS * HTTP/1.1\r\nhost: a.example\r\n\r\n", "", 0 },
		{ "CONNECT a.example:22 HTTP/1.1\r\nHost: a.example:22\r\n\r\nraw",
		  "CONNECT a.example:22 HTTP/1.1\r\nhost: a.example:22\r\n\r\n", "", 3 },
		{ "GET / HTTP/1.1\r\n" HOST
		  "Connection: Upgrade, HTTP2-Settings, X\r\nUpgrade: h2c\r\nHTTP2-Settings: "
		  "AAMAAABkAAQAAP__\r\nX: 1\r\nKeep-Alive: 5\r\n\r\n",
		  "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n", "", 0 },
		{ POST "Content-Length: 5\r\n\r\nhelloX",
		  "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\n", "hello", 1 },
		{ POST "Content-Length: 0\r\n\r\nX",
		  "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n", "", 1 },
		{ POST "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00006;x=y\r\n "
		       "world\r\n000\r\n\r\nX",
		  "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n",
		  "hello world", 1 },
		{ POST "Transfer-Encoding: chunked\r\nTE: trailers\r\n\r\n0\r\n\r\nX",
		  "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n", "",
		  1 },
		{ POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\nX",
		  "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n", "abc",
		  1 },
		{ "GET / HTTP/1.1\r\n" HOST "Cookie: a=b\r\nX: y\r\nCookie: c=d\r\n\r\n",
		  "GET / HTTP/1.1\r\nhost: a.example\r\ncookie: a=b; c=d\r\nx: y\r\n\r\n", "", 0 },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: host, content-length\r\n\r\n",
		  "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n", "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		size_t len = strlen(cases[i].text);
		struct seen s = read_request(cases[i].text, len);

		if (s.status || !s.head || !s.ended || s.used != len - cases[i].rest ||
		    strcmp(s.body, cases[i].body) != 0 || strcmp(s.text, cases[i].composed) != 0)
			fail_msg("%s: %u (%s) %s\n%s%s, used %zu of %zu", cases[i].text, s.status,
				 s.why ? s.why : "", s.ended ? "whole" : "not whole", s.text,
				 s.body, s.used, len);
	}
}

static void trailers(void **state)
{
	static const char text[] = POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
					"X-Sum: 1\r\nY:\r\n\r\n";

	(void)state;
	assert_string_equal(read_request(text, sizeof(text) - 1).trailers,
			    "0\r\nx-sum: 1\r\ny: \r\n\r\n");
}

static void keep_alive(void **state)
{
	static const struct {
		const char *text;
		bool keep;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n" HOST "\r\n", true },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: x, Close\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\n" HOST "\r\n", false },
		{ "GET / HTTP/1.0\r\n" HOST "Connection: Keep-Alive\r\n\r\n", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(read_request(cases[i].text, strlen(cases[i].text)).keep_alive,
				 cases[i].keep);
}

static void websocket(void **state)
{
	static const char text[] = WS KEY "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: "
					  "chat\r\n\r\nframe";
	struct h1_read *r = h1_read_request("http", HEADER_MAX);
	enum h1_event event;
	char accept[H1_WS_ACCEPT];
	size_t n = h1_read_take(r, (const uint8_t *)text, sizeof(text) - 1, &event);

	(void)state;
	assert_int_equal(event, H1_HEAD);
	assert_int_equal(n, sizeof(text) - 1 - 5);
	assert_true(r->websocket && r->last);
	assert_string_equal(r->head->method, "CONNECT");
	assert_string_equal(r->head->protocol, "websocket");
	assert_string_equal(r->head->path, "/ws");
	assert_null(head_get(r->head, "sec-websocket-key"));
	assert_null(head_get(r->head, "upgrade"));
	assert_string_equal(head_get(r->head, "sec-websocket-protocol"), "chat");
	assert_string_equal(head_get(r->head, "sec-websocket-version"), "13");
	/* RFC 6455 section 1.3 */
	h1_ws_accept(r->key, accept);
	assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	h1_read_free(r);
}

static void responses(void **state)
{
	static const struct {
		const char *method, *text;
		unsigned int status;
		bool ended;
		const char *body;
		size_t rest;
	} cases[] = {
		{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloX", 0, true, "hello",
		  1 },
		{ "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\nX", 0, true, "", 1 },
		{ "GET", "HTTP/1.1 200 \xc3\xa4\r\nContent-Length: 0\r\n\r\n", 0, true, "", 0 },
		{ "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0, true, "", 5 },
		{ "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5", 0, true, "",
		  1 },
		{ "GET", "HTTP/1.1 204 No Content\r\n\r\nX", 0, true, "", 1 },
		{ "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nX", 0, true, "",
		  1 },
		{ "GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nX", 0, true, "", 1 },
		{ "GET", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nX", 0,
		  true, "", 1 },
		{ "GET", "HTTP/1.1 200 OK\r\n\r\nhello", 0, false, "hello", 0 },
		{ "GET", "HTTP/1.0 200 OK\r\n\r\nhello", 0, false, "hello", 0 },
		{ "GET",
		  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nX",
		  0, true, "hello", 1 },
		{ "GET",
		  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 1,
		  false, "", 0 },
		{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 1,
		  false, "", 0 },
		{ "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 1, false,
		  "", 0 },
		{ "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1, false,
		  "", 0 },
		{ "GET", "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n", 1, false, "", 0 },
		{ "GET", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", 1, false, "", 0 },
		{ "GET", "HTTP/1.1 20 OK\r\n\r\n", 1, false, "", 0 },
		{ "GET", "HTTP/1.1 2000 OK\r\n\r\n", 1, false, "", 0 },
		{ "GET", "HTTP/1.1 099 OK\r\n\r\n", 1, false, "", 0 },
		{ "GET", "HTTP/1.1 600 OK\r\n\r\n", 1, false, "", 0 },
		{ "GET", "HTTP/2.0 200 OK\r\n\r\n", 1, false, "", 0 },
		{ "GET", "ICY 200 OK\r\n\r\n", 1, false, "", 0 },
		{ "GET", "\r\nHTTP/1.1 200 OK\r\n\r\n", 1, false, "", 0 },
		{ "GET", "<html>\r\n\r\n", 1, false, "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct seen s = read_response(cases[i].method, cases[i].text);

		if (!s.status != !cases[i].status || s.ended != cases[i].ended ||
		    (!s.status && s.used != strlen(cases[i].text) - cases[i].rest) ||
		    strcmp(s.body, cases[i].body) != 0)
			fail_msg("%s: %u (%s) %s, body '%s', used %zu", cases[i].text, s.status,
				 s.why ? s.why : "", s.ended ? "whole" : "not whole", s.body,
				 s.used);
	}
}

static void until_the_end(void **state)
{
	static const char text[] = "HTTP/1.1 200 OK\r\n\r\nhello",
			  cut[] = "HTTP/1.1 200 OK\r\n"
				  "Content-Length: 9\r\n\r\nhello";
	struct h1_read *r = h1_read_response("GET", HEADER_MAX);
	enum h1_event event;
	size_t n;

	(void)state;
	n = h1_read_take(r, (const uint8_t *)text, sizeof(text) - 1, &event);
	assert_int_equal(event, H1_HEAD);
	assert_int_equal(h1_read_take(r, (const uint8_t *)text + n, sizeof(text) - 1 - n, &event),
			 5);
	assert_int_equal(event, H1_DATA);
	assert_false(r->last);
	assert_int_equal(h1_read_eof(r), H1_END);
	h1_read_free(r);
	r = h1_read_response("GET", HEADER_MAX);
	n = h1_read_take(r, (const uint8_t *)cut, sizeof(cut) - 1, &event);
	h1_read_take(r, (const uint8_t *)cut + n, sizeof(cut) - 1 - n, &event);
	assert_int_equal(h1_read_eof(r), H1_BAD);
	h1_read_free(r);
}

/* The last data of a chunked body are told as the last when its end lies behind them. */
static void end_with_data(void **state)
{
	static const char text[] =
		POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nX";
	struct h1_read *r = h1_read_request("http", HEADER_MAX);
	enum h1_event event;
	size_t n = h1_read_take(r, (const uint8_t *)text, sizeof(text) - 1, &event);

	(void)state;
	n += h1_read_take(r, (const uint8_t *)text + n, sizeof(text) - 1 - n, &event);
	assert_int_equal(event, H1_DATA);
	assert_int_equal(r->len, 5);
	assert_true(r->last);
	assert_int_equal(n, sizeof(text) - 2);
	h1_read_free(r);
}

static void composing(void **state)
{
	struct head *h = head_new();
	struct h1_how how = { .framing = H1_CHUNKED,
			      .length = -1,
			      .connection = "close",
			      .date = "Sun, 06 Nov 1994 08:49:37 GMT" };
	char out[512], line[H1_CHUNK_LINE], date[H1_DATE];
	size_t n;

	(void)state;
	head_set_status(h, 404);
	head_addf(h, "Set-Cookie", "a=b");
	head_addf(h, "set-cookie", "c=d");
	head_addf(h, "connection", "keep-alive");
	head_addf(h, "transfer-encoding", "gzip");
	n = h1_compose_response(out, sizeof(out) - 1, h, &how);
	out[n] = '\0';
	assert_string_equal(out,
			    "HTTP/1.1 404 Not Found\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n"
			    "date: Sun, 06 Nov 1994 08:49:37 GMT\r\ntransfer-encoding: chunked\r\n"
			    "connection: close\r\n\r\n");
	for (size_t max = 0; max < n; max++)
		assert_int_equal(h1_compose_response(out, max, h, &how), 0);
	assert_int_equal(h1_compose_response(out, n, h, &how), n);
	head_free(h);
	assert_string_equal(h1_date(784111777, date), "Sun, 06 Nov 1994 08:49:37 GMT");
	assert_int_equal(h1_chunk_line(line, 0x1f40a), 7);
	assert_memory_equal(line, "1f40a\r\n", 7);
	assert_int_equal(h1_chunk_line(line, SIZE_MAX), 18);
	assert_string_equal(h1_reason(299), "");
}

/* The shape looks at eight bytes at a time: each byte at each place of a value. */
static void every_byte_in_a_value(void **state)
{
	(void)state;
	for (unsigned int c = 0; c < 256; c++) {
		bool good = c == '\t' || (c >= 0x20 && c != 0x7f);

		for (size_t at = 0; at < 20; at++) {
			char text[] = "HTTP/1.1 200 OK\r\na:~~~~~~~~~~~~~~~~~~~~\r\n\r\n";
			struct h1_shape s;
			long n;

			if (c == '\r') /* ends of lines are looked at elsewhere */
				continue;
			text[19 + at] = (char)c;
			h1_shape_begin(&s, true, HEADER_MAX);
			n = h1_shape_take(&s, (const uint8_t *)text, sizeof(text) - 1);
			assert_int_equal(n, good ? (long)sizeof(text) - 1 : -EBADMSG);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_refused),
		cmocka_unit_test(nul_bytes),
		cmocka_unit_test(chunks_refused),
		cmocka_unit_test(limits),
		cmocka_unit_test(requests_taken),
		cmocka_unit_test(trailers),
		cmocka_unit_test(keep_alive),
		cmocka_unit_test(websocket),
		cmocka_unit_test(responses),
		cmocka_unit_test(until_the_end),
		cmocka_unit_test(end_with_data),
		cmocka_unit_test(composing),
		cmocka_unit_test(every_byte_in_a_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
