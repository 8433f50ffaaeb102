/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws_frame.h -- bytes of one client in, events out: frames (RFC 6455 section 5) of a server's side, without sockets,
 * clocks or threads.
 *
 * A frame context of libwslay holds a buffer of 4 KiB. Thousands of clients that are silent must not have one each: it
 * is lent to a connection while a frame of it is incomplete, and all connections of a thread share one (struct
 * ws_reader) for frames that come whole. In the same way a message that comes whole is put together in the reader's
 * room, and only what is left of an incomplete one becomes the connection's.
 */
#ifndef WEIR_WS_FRAME_H
#define WEIR_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wslay/wslay.h>

#define WS_CONTROL_MAX 125 /* payload bytes of a control frame, section 5.5 */
#define WS_HEAD_MAX    10  /* bytes of a server's frame head */

enum ws_event {
	WS_EVENT_FRAGMENT, /* a frame of a message that is not over */
	WS_EVENT_TEXT,	   /* a message: terminated, valid UTF-8 */
	WS_EVENT_PING,
	WS_EVENT_PONG,
	WS_EVENT_CLOSE /* data: the payload, checked: empty, or a code and a reason */
};
/* data is valid during the call. False: nothing more is to be read of this client, ever. */
typedef bool ws_event_fn(void *arg, enum ws_event event, const uint8_t *data, size_t len);

/* A thread's. */
struct ws_reader {
	wslay_frame_context_ptr spare; /* at the start of a frame; NULL: lent */
	const uint8_t *data;	       /* what is being read */
	size_t left;
	char *room; /* message_max + 1 bytes */
	size_t message_max;
	unsigned int lent; /* contexts and buffers that connections hold, for tests */
};
int ws_reader_init(struct ws_reader *r, size_t message_max); /* 0 or -ENOMEM */
void ws_reader_end(struct ws_reader *r);		     /* after ws_in_end() of all */

/* A connection's; zeroed at first. */
struct ws_in {
	wslay_frame_context_ptr frames; /* NULL: between frames */
	char *message;			/* of an incomplete message, or NULL */
	uint8_t *control;		/* payload of an incomplete control frame, or NULL */
	uint64_t frame_left;		/* payload bytes to come */
	uint32_t len, size;		/* of message */
	uint32_t held;			/* bytes of a head that frames holds */
	uint8_t opcode, control_len;
	bool in_frame, fin, in_message;
};
/* Reads all of data. 0, or the code to close with (1002, 1003, 1007, 1009, 1011): then, and after an event function
 * said false, the stream is not to be read again. */
unsigned int ws_in_feed(struct ws_in *in, struct ws_reader *r, const void *data, size_t len, ws_event_fn *event,
			void *arg);
void ws_in_end(struct ws_in *in, struct ws_reader *r);

/* The head of an unmasked, final frame; its length. */
size_t ws_frame_head(uint8_t out[WS_HEAD_MAX], uint8_t opcode, size_t len);
/* Payload of a close frame: code and as much of the reason as fits, in whole characters; its length. */
size_t ws_close_payload(uint8_t out[WS_CONTROL_MAX], uint16_t code, const char *reason);
bool ws_utf8_valid(const uint8_t *text, size_t len); /* RFC 3629 */

#endif
