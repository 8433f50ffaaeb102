/* SPDX-License-Identifier: Apache-2.0 */
/* Frames from a stranger. The first byte says how the rest is cut: the events and the code must be the same as in one
 * piece, texts are terminated and valid, and a connection that ended owes nothing. */
#include <stdlib.h>
#include <string.h>

#include "http/peers/ws_frame.h"
#include "lib/hash.h"

#define MESSAGE_MAX 5000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool truth)
{
	if (!truth)
		abort();
}

struct said {
	uint64_t sum;
	unsigned int events;
	bool over;
};

static bool on_event(void *arg, enum ws_event event, const uint8_t *data, size_t len)
{
	struct said *s = arg;

	require(!s->over);
	if (event == WS_EVENT_TEXT) {
		require(len <= MESSAGE_MAX && data[len] == '\0');
		require(ws_utf8_valid(data, len));
	} else {
		require(len <= WS_CONTROL_MAX);
	}
	s->sum = hash64(len ? (const void *)data : "", len, s->sum + event);
	s->events++;
	s->over = event == WS_EVENT_CLOSE;
	return !s->over;
}

static unsigned int feed(struct said *s, struct ws_reader *r, const uint8_t *data, size_t size, size_t piece)
{
	struct ws_in in = { 0 };
	unsigned int code = 0;

	for (size_t at = 0; at < size && !code && !s->over; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		uint8_t *copy = malloc(n);

		memcpy(copy, data + at, n);
		code = ws_in_feed(&in, r, copy, n, on_event, s);
		free(copy);
	}
	ws_in_end(&in, r);
	require(r->lent == 0);
	return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct said whole = { 0 }, cut = { 0 };
	struct ws_reader r;
	unsigned int code;

	if (size < 2)
		return 0;
	require(ws_reader_init(&r, MESSAGE_MAX) == 0);
	code = feed(&whole, &r, data + 1, size - 1, size);
	require(feed(&cut, &r, data + 1, size - 1, data[0] + 1u) == code);
	require(whole.sum == cut.sum && whole.events == cut.events);
	ws_reader_end(&r);
	return 0;
}
