/* SPDX-License-Identifier: Apache-2.0 */
/* The frames of WebSockets, without sockets: what comes out is the same however the bytes are cut, and nothing of a
 * connection stays once its message is whole. */
#include "tests/unit/unit.h"

#include "http/peers/ws_frame.h"

#define MESSAGE_MAX 1000

struct said {
	char text[4096]; /* events, one a line */
	size_t len;
	unsigned int stop_after;
};

static bool on_event(void *arg, enum ws_event event, const uint8_t *data, size_t len)
{
	static const char *const names[] = { "fragment", "text", "ping", "pong", "close" };
	struct said *s = arg;

	s->len += (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "%s %zu %.*s\n", names[event], len,
				   (int)(len < 20 ? len : 20), len ? (const char *)data : "");
	return !(s->stop_after && !--s->stop_after);
}

/* A client's frame with the mask 1, 2, 3, 4; its length. */
static size_t frame(uint8_t *out, uint8_t first, const void *data, size_t len)
{
	static const uint8_t mask[4] = { 1, 2, 3, 4 };
	size_t n = ws_frame_head(out, 0, len);

	out[0] = first;
	out[1] |= 0x80;
	memcpy(out + n, mask, 4);
	n += 4;
	for (size_t i = 0; i < len; i++)
		out[n + i] = ((const uint8_t *)data)[i] ^ mask[i % 4];
	return n + len;
}

/* Feeds all of it in pieces of `piece` bytes; what a piece before has borrowed must be back at the end of all when
 * clean. */
static unsigned int feed(struct said *s, const uint8_t *data, size_t len, size_t piece, bool clean)
{
	struct ws_reader r;
	struct ws_in in = { 0 };
	unsigned int code = 0;

	memset(s, 0, offsetof(struct said, stop_after));
	assert_int_equal(ws_reader_init(&r, MESSAGE_MAX), 0);
	for (size_t at = 0; at < len && !code; at += piece) {
		size_t n = len - at < piece ? len - at : piece;
		uint8_t *copy = malloc(n); /* of its exact size, for the sanitizer */

		memcpy(copy, data + at, n);
		code = ws_in_feed(&in, &r, copy, n, on_event, s);
		free(copy);
	}
	if (clean && !code) {
		assert_int_equal(r.lent, 0);
		assert_null(in.frames);
		assert_null(in.message);
		assert_null(in.control);
		assert_non_null(r.spare);
	}
	ws_in_end(&in, &r);
	assert_int_equal(r.lent, 0);
	ws_reader_end(&r);
	return code;
}

static void test_pieces(void **state)
{
	static const char want[] = "fragment 0 \ntext 5 hello\nping 2 hi\npong 0 \ntext 0 \nfragment 0 \n"
				   "fragment 0 \nping 0 \ntext 900 aaaaaaaaaaaaaaaaaaaa\ntext 200 aaaaaaaaaaaaaaaaaaaa\n"
				   "close 5 \x03\xe8" "bye\n";
	uint8_t data[4096], big[1000];
	struct said s = { 0 };
	size_t n = 0;

	(void)state;
	memset(big, 'a', sizeof(big));
	n += frame(data + n, 0x01, "hel", 3);
	n += frame(data + n, 0x80, "lo", 2);
	n += frame(data + n, 0x89, "hi", 2);
	n += frame(data + n, 0x8a, "", 0);
	n += frame(data + n, 0x81, "", 0);
	n += frame(data + n, 0x01, big, 100);
	n += frame(data + n, 0x00, big, 700);
	n += frame(data + n, 0x89, "", 0); /* in the middle of a message */
	n += frame(data + n, 0x80, big, 100);
	n += frame(data + n, 0x81, big, 200);
	n += frame(data + n, 0x88, "\x03\xe8" "bye", 5);
	for (size_t piece = 1; piece <= n; piece++) {
		assert_int_equal(feed(&s, data, n, piece, true), 0);
		assert_string_equal(s.text, want);
	}
}

static void test_faults(void **state)
{
	static const struct {
		const char *what;
		unsigned int code;
		uint8_t first;
		const char *data;
		size_t len;
	} cases[] = {
		{ "binary", 1003, 0x82, "x", 1 },
		{ "reserved bit", 1002, 0xc1, "x", 1 },
		{ "reserved opcode", 1002, 0x83, "x", 1 },
		{ "reserved control opcode", 1002, 0x8b, "x", 1 },
		{ "continuation of nothing", 1002, 0x80, "x", 1 },
		{ "fragmented ping", 1002, 0x09, "x", 1 },
		{ "close of one byte", 1002, 0x88, "\x03", 1 },
		{ "close with 1005", 1002, 0x88, "\x03\xed", 2 },
		{ "close with 999", 1002, 0x88, "\x03\xe7", 2 },
		{ "close with 2000", 1002, 0x88, "\x07\xd0", 2 },
		{ "close with bad UTF-8", 1007, 0x88, "\x03\xe8\xff", 3 },
		{ "overlong", 1007, 0x81, "\xc0\xaf", 2 },
		{ "surrogate", 1007, 0x81, "\xed\xa0\x80", 3 },
		{ "past Unicode", 1007, 0x81, "\xf4\x90\x80\x80", 4 },
		{ "cut character", 1007, 0x81, "abcdefg\xe2\x82", 9 },
		{ "lone continuation byte", 1007, 0x81, "abcdefghi\x80", 10 },
		{ "good close", 0, 0x88, "\x0b\xb8", 2 },
		{ "good UTF-8", 0, 0x81, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 and\0more", 18 },
	};
	uint8_t data[256];
	struct said s = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		size_t n = frame(data, cases[i].first, cases[i].data, cases[i].len);

		for (size_t piece = 1; piece <= n; piece += n - 1) {
			unsigned int code = feed(&s, data, n, piece, true);

			if (code != cases[i].code)
				fail_msg("%s: %u in place of %u", cases[i].what, code, cases[i].code);
		}
	}
	/* a new message inside one */
	assert_int_equal(feed(&s, data, frame(data, 0x01, "x", 1), 99, false), 0);
	assert_int_equal(feed(&s, data, frame(data, 0x01, "x", 1) + frame(data + 7, 0x81, "x", 1), 99, false), 1002);
	/* unmasked; a length that is longer than it need be; a ping of 126 bytes */
	assert_int_equal(feed(&s, (const uint8_t *)"\x81\x01x", 3, 3, false), 1002);
	assert_int_equal(feed(&s, (const uint8_t *)"\x81\xfe\x00\x01\0\0\0\0x", 9, 9, false), 1002);
	assert_int_equal(feed(&s, (const uint8_t *)"\x89\xfe\x00\x7e\0\0\0\0x", 9, 9, false), 1002);
}

static void test_size(void **state)
{
	uint8_t data[4096], big[MESSAGE_MAX + 1];
	struct said s = { 0 };
	size_t n;

	(void)state;
	memset(big, 'a', sizeof(big));
	n = frame(data, 0x81, big, MESSAGE_MAX);
	assert_int_equal(feed(&s, data, n, n, true), 0);
	assert_int_equal(feed(&s, data, n, 7, true), 0);
	n = frame(data, 0x81, big, MESSAGE_MAX + 1);
	assert_int_equal(feed(&s, data, 20, 20, false), 1009); /* its head is enough */
	n = frame(data, 0x01, big, MESSAGE_MAX);
	n += frame(data + n, 0x80, big, 1);
	assert_int_equal(feed(&s, data, n, n, false), 1009);
	/* 2^63 - 1 bytes */
	assert_int_equal(feed(&s, (const uint8_t *)"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0x", 15, 15, false), 1009);
}

static void test_stop(void **state)
{
	uint8_t data[64];
	struct said s = { .stop_after = 2 };
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 4; i++)
		n += frame(data + n, 0x81, "x", 1);
	assert_int_equal(feed(&s, data, n, n, false), 0);
	assert_string_equal(s.text, "text 1 x\ntext 1 x\n");
}

/* One reader serves many: what is incomplete of one does not hinder the next. */
static void test_many(void **state)
{
	struct ws_in in[50] = { 0 };
	struct ws_reader r;
	struct said s = { 0 };
	uint8_t data[256];
	size_t n = frame(data, 0x81, "hello, everybody", 16);

	(void)state;
	assert_int_equal(ws_reader_init(&r, MESSAGE_MAX), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(ws_in_feed(&in[i], &r, data, (size_t)(i % (int)n), on_event, &s), 0);
	assert_int_equal(s.len, 0);
	assert_true(r.lent > 0);
	for (int i = 0; i < 50; i++) {
		s.len = 0;
		assert_int_equal(ws_in_feed(&in[i], &r, data + i % (int)n, n - (size_t)(i % (int)n), on_event, &s), 0);
		assert_string_equal(s.text, "text 16 hello, everybody\n");
	}
	assert_int_equal(r.lent, 0);
	for (int i = 0; i < 50; i++)
		ws_in_end(&in[i], &r);
	ws_reader_end(&r);
}

static void test_out(void **state)
{
	uint8_t out[WS_CONTROL_MAX];
	char reason[200];

	(void)state;
	assert_int_equal(ws_frame_head(out, WSLAY_TEXT_FRAME, 125), 2);
	assert_memory_equal(out, "\x81\x7d", 2);
	assert_int_equal(ws_frame_head(out, WSLAY_TEXT_FRAME, 126), 4);
	assert_memory_equal(out, "\x81\x7e\x00\x7e", 4);
	assert_int_equal(ws_frame_head(out, WSLAY_TEXT_FRAME, 0x10000), 10);
	assert_memory_equal(out, "\x81\x7f\0\0\0\0\0\1\0\0", 10);
	assert_int_equal(ws_close_payload(out, 1001, NULL), 2);
	assert_memory_equal(out, "\x03\xe9", 2);
	memset(reason, 'r', sizeof(reason));
	reason[199] = '\0';
	memcpy(reason + 121, "\xe2\x82\xac", 3); /* would be cut after its second byte */
	assert_int_equal(ws_close_payload(out, 1001, reason), 2 + 121);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces), cmocka_unit_test(test_faults), cmocka_unit_test(test_size),
		cmocka_unit_test(test_stop),   cmocka_unit_test(test_many),   cmocka_unit_test(test_out),
	};

	return cmocka_run_group_tests_name("peers_ws", tests, NULL, NULL);
}
