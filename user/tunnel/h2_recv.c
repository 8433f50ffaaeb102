// SPDX-License-Identifier: Apache-2.0
/*
 * h2_recv.c -- what comes over an HTTP/2 connection: libnghttp2's callbacks, heads gathered and
 * checked, data told in the memory of the read, and the limits for peers that waste our time.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "user/tunnel/h2_impl.h"

#define FLOOD_MS    10000
#define RESETS_MAX  200
#define FIELD_EXTRA 32 /* what a field counts beyond its text (RFC 9113 section 6.5.2) */

/* Frames that carry nothing (empty DATA, PRIORITY, PING, SETTINGS, unknown ones): so many beyond
 * what requests and each KiB of data excuse, since some clients measure the way all the time. */
#define USELESS_MAX 2000
#define USEFUL	    1024

static bool flooded(struct h2 *h, struct flood *f, unsigned int max)
{
	uint64_t now = reactor_now_ms(h->reactor);

	if (now - f->since_ms > FLOOD_MS) {
		f->since_ms = now;
		f->n = 0;
	}
	return ++f->n > max;
}

/* GOAWAY with the reason, and the end. */
static void calm_down(struct h2 *h, const char *why)
{
	if (h->lost != END_LOST)
		return;
	snprintf(h->why, sizeof(h->why), "%s", why);
	h->lost = END_PROTOCOL;
	nghttp2_session_terminate_session(h->ng, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* The beginning of a frame is no place to end the session: that is done at the end of what was
 * read. */
static void useless(struct h2 *h)
{
	if (flooded(h, &h->useless, USELESS_MAX))
		h->annoyed = true;
}

void recv_excuse(struct h2 *h, size_t bytes)
{
	unsigned int n = 1 + (unsigned int)(bytes / USEFUL);

	h->useless.n -= n < h->useless.n ? n : h->useless.n;
}

void recv_see_floods(struct h2 *h)
{
	if (h->annoyed)
		calm_down(h, "flooded with frames that carry nothing");
}

/* Callbacks end libnghttp2's reading when the receiver ended the connection. */
static int go_on(const struct h2 *h)
{
	return h->dead ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static struct stream *find(struct h2 *h, int32_t id)
{
	if (!h->last_found || h->last_found->id != id)
		h->last_found = nghttp2_session_get_stream_user_data(h->ng, id);
	return h->last_found;
}

/* ---- heads -------------------------------------------------------------------------------- */

static int begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct stream *s;

	if (frame->hd.type != NGHTTP2_HEADERS) /* pushed before our SETTINGS came there */
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	head_free(h->in);
	h->in = head_new();
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		s = stream_new(h, frame->hd.stream_id);
		if (s)
			nghttp2_session_set_stream_user_data(ng, frame->hd.stream_id, s);
	} else {
		s = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
	}
	h->in_stream = s;
	h->in_size = 0;
	h->in_bad = h->in_large = false;
	return s && h->in ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int add_field(struct h2 *h, const char *name, size_t name_len, const char *value,
		     size_t value_len)
{
	if (name_len == 7 && !memcmp(name, ":status", 7) && value_len == 3)
		return head_set_status(h->in,
				       (unsigned int)((value[0] - '0') * 100 +
						      (value[1] - '0') * 10 + value[2] - '0'));
	return head_add(h->in, name, name_len, value, value_len);
}

static int header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
		  size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct h2 *h = arg;
	int err;

	(void)ng, (void)frame, (void)flags;
	h->in_size += name_len + value_len + FIELD_EXTRA;
	if (h->opt.header_bytes_max && h->in_size > h->opt.header_bytes_max)
		h->in_large = true;
	if (h->in_large || h->in_bad || !h->in)
		return 0;
	err = add_field(h, (const char *)name, name_len, (const char *)value, value_len);
	if (err == -E2BIG)
		h->in_large = true;
	else if (err)
		h->in_bad = true;
	return 0;
}

static int invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
			  size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
			  void *arg)
{
	(void)ng, (void)frame, (void)name, (void)name_len, (void)value, (void)value_len,
		(void)flags;
	((struct h2 *)arg)->in_bad = true;
	return 0;
}

static void refuse(struct h2 *h, struct stream *s, unsigned int status, const char *why)
{
	stream_refuse(s, status,
		      h->opt.refused ? h->opt.refused(h->opt.arg, status, why) : NULL);
}

static void request_came(struct h2 *h, struct stream *s, struct head *head)
{
	const char *why = "malformed request";

	if (h->in_large) {
		refuse(h, s, 431, "request head too large");
		return;
	}
	if (h->in_bad || head_check_request(head, &why)) {
		refuse(h, s, 400, why);
		return;
	}
	if (h->opt.scheme && head->scheme && strcmp(h->opt.scheme, head->scheme)) {
		refuse(h, s, 400, "scheme of another kind of connection");
		return;
	}
	s->told = true;
	recv_excuse(h, 0);
	s->in_length = head->content_length;
	head_keep_method(s->method, sizeof(s->method), head->method);
	h->opt.request(h->opt.arg, &s->end, head, s->in_last);
}

/* A client's stream is over because of what came on it. */
static void spoiled(struct stream *s, enum end_why why)
{
	stream_gone(s, why);
	s->reset = true;
}

static void response_came(struct h2 *h, struct stream *s, struct head *head)
{
	const char *why;

	if (h->in_large || h->in_bad || head_check_response(head, s->method, &why)) {
		spoiled(s, h->in_large ? END_LIMIT : END_PROTOCOL);
		return;
	}
	if (head->status >= 200) {
		s->in_final = true;
		if (head_response_has_body(head, s->method) && strcmp(s->method, "CONNECT"))
			s->in_length = head->content_length;
	}
	s->end.on->head(&s->end, s->end.arg, head, s->in_last);
}

static void trailers_came(struct h2 *h, struct stream *s, struct head *head)
{
	if (h->in_large || h->in_bad || head_check_trailers(head))
		spoiled(s, h->in_large ? END_LIMIT : END_PROTOCOL);
	else
		s->end.on->trailers(&s->end, s->end.arg, head);
}

static void headers_came(struct h2 *h, const nghttp2_frame *frame)
{
	struct stream *s = h->in_stream;
	struct head *head = h->in;

	h->in = NULL;
	h->in_stream = NULL;
	if (!s || !head || s->let_go || s->tell_gone) {
		head_free(head);
		return;
	}
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		s->in_last = true;
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		request_came(h, s, head);
	else if (!s->end.on)
		spoiled(s, END_ERROR);
	else if (!h->opt.server && !s->in_final)
		response_came(h, s, head);
	else
		trailers_came(h, s, head);
	head_free(head);
}

/* ---- data --------------------------------------------------------------------------------- */

static int begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *arg)
{
	struct h2 *h = arg;

	(void)ng;
	switch (hd->type) {
	case NGHTTP2_DATA:
		h->frame_left = hd->length;
		h->frame_plain = !(hd->flags & NGHTTP2_FLAG_PADDED);
		if (!hd->length && !(hd->flags & NGHTTP2_FLAG_END_STREAM))
			useless(h);
		break;
	case NGHTTP2_SETTINGS:
	case NGHTTP2_PING:
		if (!(hd->flags & NGHTTP2_FLAG_ACK))
			useless(h);
		break;
	case NGHTTP2_HEADERS:
	case NGHTTP2_RST_STREAM:
	case NGHTTP2_GOAWAY:
	case NGHTTP2_WINDOW_UPDATE:
	case NGHTTP2_CONTINUATION:
		break;
	default: /* PRIORITY, and what we do not know */
		useless(h);
	}
	return 0;
}

/* The end is told with the last bytes where libnghttp2 could not object to it any more. */
static int data_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
		      size_t len, void *arg)
{
	struct h2 *h = arg;
	struct stream *s = find(h, id);
	bool last;

	nghttp2_session_consume_connection(ng, len);
	h->frame_left -= len < h->frame_left ? len : h->frame_left;
	if (!s || s->let_go || s->tell_gone || !s->end.on)
		return 0;
	recv_excuse(h, len);
	s->in_bytes += (int64_t)len;
	last = h->frame_plain && !h->frame_left && (flags & NGHTTP2_FLAG_END_STREAM) &&
	       (s->in_length < 0 || s->in_length == s->in_bytes);
	s->in_last = last;
	s->end.on->data(&s->end, s->end.arg, data, len, last);
	return go_on(h);
}

static void data_came(struct h2 *h, const nghttp2_frame *frame)
{
	struct stream *s = find(h, frame->hd.stream_id);

	if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) || !s || s->in_last)
		return;
	s->in_last = true;
	if (!s->let_go && !s->tell_gone && s->end.on)
		s->end.on->data(&s->end, s->end.arg, NULL, 0, true);
}

/* ---- the rest ----------------------------------------------------------------------------- */

static void ping_came(struct h2 *h, const nghttp2_frame *frame)
{
	uint64_t sent, now = reactor_now_us();

	if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
		return;
	memcpy(&sent, frame->ping.opaque_data, sizeof(sent));
	if (!sent) {
		h2_drained(h);
	} else if (sent == h->ping_sent_us && now >= sent && now - sent < UINT32_MAX) {
		uint32_t rtt = now > sent ? (uint32_t)(now - sent) : 1;

		h->rtt_us = h->rtt_us ? h->rtt_us - h->rtt_us / 8 + rtt / 8 : rtt;
		h->ping_sent_us = 0;
	}
}

/* Its debug data are for people (RFC 9113 section 6.8): why the peer ends this. */
static void goaway_came(struct h2 *h, const nghttp2_goaway *frame)
{
	char text[sizeof(h->why)];
	size_t n = 0;

	h->goaway = true;
	for (size_t i = 0; !*h->why && i < frame->opaque_data_len && n < sizeof(text) - 1; i++)
		if (frame->opaque_data[i] >= ' ' && frame->opaque_data[i] < 0x7f)
			text[n++] = (char)frame->opaque_data[i];
	text[n] = '\0';
	if (n)
		snprintf(h->why, sizeof(h->why), H2_PEER_SAYS "%.*s", 160, text);
	if (h->goaway_told)
		return;
	h->goaway_told = true;
	if (h->opt.goaway)
		h->opt.goaway(h->opt.arg);
}

static int frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;

	(void)ng;
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		headers_came(h, frame);
		break;
	case NGHTTP2_DATA:
		data_came(h, frame);
		break;
	case NGHTTP2_PING:
		ping_came(h, frame);
		break;
	case NGHTTP2_GOAWAY:
		goaway_came(h, &frame->goaway);
		break;
	case NGHTTP2_SETTINGS:
		h->settled |= !(frame->hd.flags & NGHTTP2_FLAG_ACK);
		break;
	default:
		break;
	}
	return go_on(h);
}

static enum end_why why_of(const struct h2 *h, const struct stream *s, uint32_t code)
{
	switch (code) {
	case NGHTTP2_NO_ERROR:
		/* the answer is whole: a server need not hear the request to its end */
		return s->in_last && (s->eof_sent || !h->opt.server) ? END_DONE : END_LOST;
	case NGHTTP2_REFUSED_STREAM:
		return END_REFUSED;
	case NGHTTP2_CANCEL:
		return END_CANCEL;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return END_LIMIT;
	case NGHTTP2_INTERNAL_ERROR:
	case NGHTTP2_CONNECT_ERROR:
		return END_LOST;
	default:
		return END_PROTOCOL;
	}
}

/* Rapid reset: streams that made work for us, and were then ended by the peer's RST_STREAM or by
 * its breaking the rules (CVE-2023-44487, CVE-2025-8671). */
static void count_reset(struct h2 *h, const struct stream *s, uint32_t code)
{
	unsigned int max = h->opt.resets_max ? h->opt.resets_max : RESETS_MAX;

	if (h->opt.server && code != NGHTTP2_NO_ERROR && !s->out_final && !s->let_go &&
	    flooded(h, &h->resets, max))
		calm_down(h, "flooded with streams that were reset");
}

static int stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
	struct h2 *h = arg;
	struct stream *s = nghttp2_session_get_stream_user_data(ng, id);

	if (!s)
		return 0;
	if (h->in_stream == s)
		h->in_stream = NULL;
	stream_closed(s);
	count_reset(h, s, code);
	if (h->opt.server && !s->told && !s->let_go) {
		s->let_go = true;
		if (h->opt.refused)
			h->opt.refused(h->opt.arg, 400, "malformed request");
	}
	stream_gone(s, why_of(h, s, code));
	return 0;
}

static int frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;

	(void)ng;
	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
		h->lost = frame->goaway.error_code == NGHTTP2_INTERNAL_ERROR ? END_ERROR
									     : END_PROTOCOL;
	return 0;
}

static int not_sent(nghttp2_session *ng, const nghttp2_frame *frame, int err, void *arg)
{
	struct h2 *h = arg;
	struct stream *s;

	if (frame->hd.type != NGHTTP2_HEADERS || err != NGHTTP2_ERR_FRAME_SIZE_ERROR)
		return 0;
	s = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
	if (s)
		stream_gone(s, END_LIMIT);
	if (h->opt.server)
		nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
					  NGHTTP2_INTERNAL_ERROR);
	return 0;
}

static int said(nghttp2_session *ng, int code, const char *msg, size_t len, void *arg)
{
	struct h2 *h = arg;

	(void)ng, (void)code;
	if (!h->why[0])
		snprintf(h->why, sizeof(h->why), "%.*s", (int)len, msg);
	return 0;
}

static ssize_t send_control(nghttp2_session *ng, const uint8_t *data, size_t len, int flags,
			    void *arg)
{
	struct h2 *h = arg;
	size_t n;

	(void)ng, (void)flags;
	if (!h->conn || h->rest_len)
		return NGHTTP2_ERR_WOULDBLOCK;
	n = conn_write(h->conn, data, len);
	return n ? (ssize_t)n : NGHTTP2_ERR_WOULDBLOCK;
}

void recv_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_send_callback(cb, send_control);
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(cb, invalid_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, frame_sent);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, not_sent);
	nghttp2_session_callbacks_set_error_callback2(cb, said);
}
