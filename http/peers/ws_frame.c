/* SPDX-License-Identifier: Apache-2.0 */
/* ws_frame.c -- see ws_frame.h. libwslay takes frames apart and unmasks; what they mean together is decided here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/ws_frame.h"
#include "lib/utf8.h"

#define FIRST_SIZE 1024 /* of an incomplete message's buffer, which doubles */

/* ---- the reader ------------------------------------------------------------------------------ */

static ssize_t pull(uint8_t *buf, size_t len, int flags, void *arg)
{
	struct ws_reader *r = arg;
	size_t n = len < r->left ? len : r->left;

	(void)flags;
	if (!n)
		return -1;
	memcpy(buf, r->data, n);
	r->data += n;
	r->left -= n;
	return (ssize_t)n;
}

static wslay_frame_context_ptr context_new(struct ws_reader *r)
{
	static const struct wslay_frame_callbacks calls = { .recv_callback = pull };
	wslay_frame_context_ptr ctx;

	return wslay_frame_context_init(&ctx, &calls, r) ? NULL : ctx;
}

int ws_reader_init(struct ws_reader *r, size_t message_max)
{
	memset(r, 0, sizeof(*r));
	r->message_max = message_max;
	r->room = malloc(message_max + 1);
	r->spare = context_new(r);
	if (r->room && r->spare)
		return 0;
	ws_reader_end(r);
	return -ENOMEM;
}

void ws_reader_end(struct ws_reader *r)
{
	if (r->spare)
		wslay_frame_context_free(r->spare);
	free(r->room);
	memset(r, 0, sizeof(*r));
}

/* ---- text ------------------------------------------------------------------------------------ */

bool ws_utf8_valid(const uint8_t *text, size_t len)
{
	uint64_t eight;

	for (size_t i = 0, n; i < len; i += n) {
		n = 8;
		if (len - i >= n && (memcpy(&eight, text + i, n), !(eight & 0x8080808080808080u)))
			continue;
		n = utf8_char((const char *)text + i, len - i);
		if (!n)
			return false;
	}
	return true;
}

/* ---- frames out ------------------------------------------------------------------------------ */

size_t ws_frame_head(uint8_t out[WS_HEAD_MAX], uint8_t opcode, size_t len)
{
	size_t bytes = len <= 125 ? 0 : len <= 0xffff ? 2 : 8;

	out[0] = 0x80 | opcode;
	out[1] = (uint8_t)(bytes == 0 ? len : bytes == 2 ? 126 : 127);
	for (size_t i = 0; i < bytes; i++) /* network byte order */
		out[2 + i] = (uint8_t)((uint64_t)len >> (8 * (bytes - 1 - i)));
	return 2 + bytes;
}

size_t ws_close_payload(uint8_t out[WS_CONTROL_MAX], uint16_t code, const char *reason)
{
	size_t len = reason ? strlen(reason) : 0;

	if (len > WS_CONTROL_MAX - 2)
		len = WS_CONTROL_MAX - 2;
	while (len && !ws_utf8_valid((const uint8_t *)reason, len))
		len--;
	out[0] = (uint8_t)(code >> 8);
	out[1] = (uint8_t)code;
	if (len)
		memcpy(out + 2, reason, len);
	return 2 + len;
}

/* ---- frames in ------------------------------------------------------------------------------- */

/* Section 7.4: those that may stand in a frame. */
static bool close_code_ok(unsigned int code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
	       (code >= 3000 && code <= 4999);
}

static unsigned int check_close(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	if (len == 1 || !close_code_ok((unsigned int)data[0] << 8 | data[1]))
		return WSLAY_CODE_PROTOCOL_ERROR;
	return ws_utf8_valid(data + 2, len - 2) ? 0 : WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA;
}

/* A frame's head was read: may it stand here? */
static unsigned int frame_begin(struct ws_in *in, const struct ws_reader *r, const struct wslay_frame_iocb *f)
{
	if (f->rsv || !f->mask) /* no extension was agreed on; section 5.1 */
		return WSLAY_CODE_PROTOCOL_ERROR;
	in->frame_left = f->payload_length;
	in->opcode = f->opcode;
	in->fin = f->fin;
	in->in_frame = true;
	switch (f->opcode) {
	case WSLAY_PING:
	case WSLAY_PONG:
	case WSLAY_CONNECTION_CLOSE: /* libwslay has checked their length and that they are whole */
		in->control_len = 0;
		in->control = f->payload_length ? malloc(WS_CONTROL_MAX) : NULL;
		return f->payload_length && !in->control ? WSLAY_CODE_INTERNAL_SERVER_ERROR : 0;
	case WSLAY_TEXT_FRAME:
		if (in->in_message)
			return WSLAY_CODE_PROTOCOL_ERROR;
		break;
	case WSLAY_CONTINUATION_FRAME:
		if (!in->in_message)
			return WSLAY_CODE_PROTOCOL_ERROR;
		break;
	case WSLAY_BINARY_FRAME:
		return in->in_message ? WSLAY_CODE_PROTOCOL_ERROR : WSLAY_CODE_UNSUPPORTED_DATA;
	default:
		return WSLAY_CODE_PROTOCOL_ERROR;
	}
	in->in_message = true;
	return f->payload_length > r->message_max - in->len ? WSLAY_CODE_MESSAGE_TOO_BIG : 0;
}

/* Room for len more bytes and a NUL in the connection's own buffer; true without one, which is the reader's room. */
static bool grow(struct ws_in *in, size_t len)
{
	size_t need = in->len + len + 1, size = in->size;
	char *grown;

	if (!in->message || need <= size)
		return true;
	while (size < need)
		size *= 2;
	grown = realloc(in->message, size);
	if (!grown)
		return false;
	in->message = grown;
	in->size = (uint32_t)size;
	return true;
}

static bool take_payload(struct ws_in *in, struct ws_reader *r, const struct wslay_frame_iocb *f)
{
	size_t len = f->data_length;

	if (wslay_is_ctrl_frame(in->opcode)) {
		if (len)
			memcpy(in->control + in->control_len, f->data, len);
		in->control_len = (uint8_t)(in->control_len + len);
	} else {
		if (!grow(in, len))
			return false;
		if (len)
			memcpy((in->message ? in->message : r->room) + in->len, f->data, len);
		in->len += (uint32_t)len;
	}
	in->frame_left -= len;
	return true;
}

static unsigned int message_end(struct ws_in *in, struct ws_reader *r, ws_event_fn *event, void *arg, bool *on)
{
	char *text = in->message ? in->message : r->room;
	size_t len = in->len;

	text[len] = '\0';
	if (!ws_utf8_valid((uint8_t *)text, len))
		return WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA;
	in->in_message = false;
	in->len = in->size = 0;
	if (in->message)
		r->lent--;
	in->message = NULL;
	*on = event(arg, WS_EVENT_TEXT, (uint8_t *)text, len);
	if (text != r->room)
		free(text);
	return 0;
}

static unsigned int frame_end(struct ws_in *in, struct ws_reader *r, ws_event_fn *event, void *arg, bool *on)
{
	uint8_t *control = in->control;
	unsigned int code = 0;

	in->in_frame = false;
	if (!wslay_is_ctrl_frame(in->opcode)) {
		if (in->fin)
			return message_end(in, r, event, arg, on);
		*on = event(arg, WS_EVENT_FRAGMENT, NULL, 0);
		return 0;
	}
	in->control = NULL;
	if (in->opcode == WSLAY_CONNECTION_CLOSE)
		code = check_close(control, in->control_len);
	if (!code)
		*on = event(arg,
			    in->opcode == WSLAY_PING   ? WS_EVENT_PING
			    : in->opcode == WSLAY_PONG ? WS_EVENT_PONG
						       : WS_EVENT_CLOSE,
			    control, in->control_len);
	free(control);
	return code;
}

/* Bytes of a client's frame head: two, the longer lengths, the mask. */
static size_t head_bytes(uint64_t payload)
{
	return 6 + (payload <= 125 ? 0 : payload <= 0xffff ? 2 : 8);
}

/* Reads frames until the data is used up; *used: bytes of them that libwslay does not hold back. */
static unsigned int read_frames(struct ws_in *in, struct ws_reader *r, size_t *used, ws_event_fn *event, void *arg,
				bool *on)
{
	unsigned int code = 0;

	while (*on && !code) {
		struct wslay_frame_iocb f = { 0 };
		ssize_t n = wslay_frame_recv(in->frames, &f);

		if (n == WSLAY_ERR_WANT_READ && !r->left)
			break;
		if (n == WSLAY_ERR_WANT_READ)
			continue;
		if (n < 0)
			return WSLAY_CODE_PROTOCOL_ERROR;
		if (!in->in_frame) {
			code = frame_begin(in, r, &f);
			*used += head_bytes(f.payload_length);
		}
		if (!code && !take_payload(in, r, &f))
			code = WSLAY_CODE_INTERNAL_SERVER_ERROR;
		*used += f.data_length;
		if (!code && !in->frame_left)
			code = frame_end(in, r, event, arg, on);
	}
	return code;
}

/* What is left of an incomplete message becomes the connection's own. */
static bool keep_message(struct ws_in *in, struct ws_reader *r)
{
	size_t size = FIRST_SIZE;

	if (!in->len || in->message)
		return true;
	while (size <= in->len)
		size *= 2;
	in->message = malloc(size);
	if (!in->message)
		return false;
	memcpy(in->message, r->room, in->len);
	in->size = (uint32_t)size;
	r->lent++;
	return true;
}

/* Between frames, with nothing held back, the context is as good as new: it serves the next connection. */
static void give_back(struct ws_in *in, struct ws_reader *r)
{
	if (r->spare)
		wslay_frame_context_free(in->frames);
	else
		r->spare = in->frames;
	in->frames = NULL;
}

unsigned int ws_in_feed(struct ws_in *in, struct ws_reader *r, const void *data, size_t len, ws_event_fn *event,
			void *arg)
{
	bool on = true;
	size_t used = 0;
	unsigned int code;

	if (in->frames) {
		r->lent--;
	} else {
		in->frames = r->spare ? r->spare : context_new(r);
		r->spare = NULL;
		if (!in->frames)
			return WSLAY_CODE_INTERNAL_SERVER_ERROR;
	}
	r->data = data;
	r->left = len;
	code = read_frames(in, r, &used, event, arg, &on);
	in->held = (uint32_t)(in->held + len - used); /* at most a head, unless reading is over */
	r->data = NULL;
	r->left = 0;
	if (!code && !keep_message(in, r))
		code = WSLAY_CODE_INTERNAL_SERVER_ERROR;
	if (!code && on && !in->in_frame && !in->held)
		give_back(in, r);
	else
		r->lent++;
	return code;
}

void ws_in_end(struct ws_in *in, struct ws_reader *r)
{
	if (in->frames) {
		wslay_frame_context_free(in->frames);
		r->lent--;
	}
	if (in->message) {
		free(in->message);
		r->lent--;
	}
	free(in->control);
	memset(in, 0, sizeof(*in));
}
