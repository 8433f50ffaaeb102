// SPDX-License-Identifier: Apache-2.0
/*
 * h2_stream.c -- a stream of an HTTP/2 connection as one end of an exchange.
 *
 * DATA are not copied: libnghttp2 asks stream_read() for a length while ops->data() runs, and
 * stream_send() writes the frame from the memory that ops->data() was given. What the windows or
 * the conn do not let through is refused, and `room` is told when libnghttp2 asks again (a window
 * opened) or the conn has taken what waited.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/h2_impl.h"
#include "user/tunnel/spare.h"

#define FRAME_MAX (256u << 10) /* larger ones bring nothing, and keep others waiting */
#define BURST	  (64u << 10)  /* bytes of one stream while others wait for the conn */

/* A stream's window begins small and grows as its receiver keeps up: what a hundred streams that
 * nobody reads may hold back is a hundred of these. */
#define WINDOW_FIRST (128u << 10)
#define WINDOW_MAX   (1u << 20)

#define NAMES_AGAIN 64 /* heads */

static const struct end_ops stream_ops;

static uint32_t stream_code(const struct stream *s, enum end_why why)
{
	switch (why) {
	case END_DONE:
		return s->h->opt.server && s->eof_sent ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL;
	case END_CANCEL:
	case END_TIMEOUT:
		return NGHTTP2_CANCEL;
	case END_REFUSED:
		return NGHTTP2_REFUSED_STREAM;
	case END_PROTOCOL:
		return NGHTTP2_PROTOCOL_ERROR;
	case END_LIMIT:
		return s->h->opt.server ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_CANCEL;
	case END_LOST:
	case END_ERROR:
		break;
	}
	return NGHTTP2_INTERNAL_ERROR;
}

/* ---- the list, and what waits to be told -------------------------------------------------- */

struct stream *stream_new(struct h2 *h, int32_t id)
{
	struct stream *s = spare_zero(sizeof(*s));

	if (!s)
		return NULL;
	s->end.ops = &stream_ops;
	s->h = h;
	s->id = id;
	s->in_length = -1;
	s->next = h->streams;
	s->at = &h->streams;
	if (s->next)
		s->next->at = &s->next;
	h->streams = s;
	h->n++;
	return s;
}

void stream_free(struct stream *s)
{
	if (s->h->last_found == s)
		s->h->last_found = NULL;
	*s->at = s->next;
	if (s->next)
		s->next->at = s->at;
	head_free(s->trailers);
	spare_put(s);
}

void stream_tell(struct stream *s)
{
	struct h2 *h = s->h;

	if (!s->queued) {
		s->queued = true;
		s->tell_next = NULL;
		*h->tell_end = s;
		h->tell_end = &s->tell_next;
	}
	h2_run_soon(h);
}

void stream_gone(struct stream *s, enum end_why why)
{
	if (!s->let_go && !s->tell_gone) {
		s->tell_gone = true;
		s->why = why;
	}
	stream_tell(s);
}

static void stream_wait(struct stream *s)
{
	h2_run_soon(s->h);
	if (s->in_waiting)
		return;
	s->in_waiting = true;
	s->wait_next = NULL;
	*s->h->waiting_end = s;
	s->h->waiting_end = &s->wait_next;
}

static void stream_wait_no_more(struct stream *s)
{
	struct stream **p = &s->h->waiting;

	while (*p != s)
		p = &(*p)->wait_next;
	*p = s->wait_next;
	if (!*p)
		s->h->waiting_end = p;
	s->in_waiting = false;
}

/* One after the other; who has more to send than a burst stands at the end again. */
void stream_room(struct h2 *h)
{
	struct stream *s;

	while ((s = h->waiting) && !h->rest_len && !h->dead) {
		stream_wait_no_more(s);
		s->tell_room = true;
		if (!s->queued)
			stream_told(s);
	}
}

void stream_closed(struct stream *s)
{
	if (s->closed)
		return;
	s->closed = true;
	s->h->n--;
	if (s->told || !s->h->opt.server)
		s->h->quiet_ms = reactor_now_ms(s->h->reactor);
	if (s->in_waiting)
		stream_wait_no_more(s);
}

static void stream_reset(struct stream *s)
{
	/* RST_STREAM must not overtake the end of an answer that the window holds back */
	if (s->why == END_DONE && s->out_last && !s->eof_sent)
		return;
	s->reset = false;
	nghttp2_submit_rst_stream(s->h->ng, NGHTTP2_FLAG_NONE, s->id, stream_code(s, s->why));
}

void stream_told(struct stream *s)
{
	const struct end_events *on = s->end.on;

	s->queued = false;
	if (s->reset && !s->closed && !s->h->dead)
		stream_reset(s);
	if (s->tell_room && !s->let_go && !s->tell_gone) {
		bool wanted = s->wants_room;

		s->tell_room = s->wants_room = false;
		s->burst = 0;
		if (wanted && on)
			on->room(&s->end, s->end.arg);
	}
	if (s->tell_gone && !s->let_go) {
		s->let_go = true;
		if (on)
			on->gone(&s->end, s->end.arg, s->why);
	}
	if (s->let_go && s->closed && !s->queued)
		stream_free(s);
}

/* ---- heads that leave --------------------------------------------------------------------- */

struct nv {
	nghttp2_nv nv[HEAD_FIELDS_MAX + 6];
	size_t n;
	char status[4];
};

static void nv_add(struct nv *l, const char *name, size_t name_len, const char *value,
		   size_t value_len, uint8_t flags)
{
	l->nv[l->n++] =
		(nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, name_len, value_len, flags };
}

static void nv_pseudo(struct nv *l, const char *name, const char *value)
{
	if (value)
		nv_add(l, name, strlen(name), value, strlen(value), NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

static void nv_status(struct nv *l, unsigned int status)
{
	for (int i = 2; i >= 0; i--, status /= 10)
		l->status[i] = (char)('0' + status % 10);
	l->status[3] = '\0';
	nv_pseudo(l, ":status", l->status);
}

/* Fields that differ with each message or client would only push others out of HPACK's table. In
 * one of NAMES_AGAIN they go there nevertheless, so that the others find their names. */
static bool nv_unique(const struct head_field *f)
{
	return (f->name_len == 12 && !memcmp(f->name, "x-request-id", 12)) ||
	       (f->name_len == 11 && !memcmp(f->name, "traceparent", 11)) ||
	       (f->name_len == 13 && !memcmp(f->name, "x-weir-client", 13));
}

/* Host says what :authority says already (RFC 9113 section 8.3.1). */
static void nv_of(struct nv *l, struct h2 *to, const struct head *h)
{
	bool names_again = to->heads++ % NAMES_AGAIN == 0;

	l->n = 0;
	if (h->status) {
		nv_status(l, h->status);
	} else {
		nv_pseudo(l, ":method", h->method);
		nv_pseudo(l, ":protocol", h->protocol);
		nv_pseudo(l, ":scheme", h->scheme);
		nv_pseudo(l, ":authority", h->authority);
		nv_pseudo(l, ":path", h->path);
	}
	for (size_t i = 0; i < h->n && i < HEAD_FIELDS_MAX; i++) {
		const struct head_field *f = &h->fields[i];

		if (h->authority && f->name_len == 4 && !memcmp(f->name, "host", 4))
			continue;
		nv_add(l, f->name, f->name_len, f->value, f->value_len,
		       f->secret || (!names_again && nv_unique(f)) ? NGHTTP2_NV_FLAG_NO_INDEX
								   : NGHTTP2_NV_FLAG_NONE);
	}
}

static ssize_t stream_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len,
			   uint32_t *flags, nghttp2_data_source *source, void *arg);

static int stream_request(struct stream *s, const struct head *head, const struct nv *l, bool last)
{
	nghttp2_data_provider body = { { .ptr = s }, stream_read };
	int32_t id;

	if (s->id)
		return -EINVAL;
	if (s->h->goaway || s->h->draining)
		return -EAGAIN;
	id = nghttp2_submit_request(s->h->ng, NULL, l->nv, l->n, last ? NULL : &body, s);
	if (id < 0)
		return id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EAGAIN;
	s->id = id;
	head_keep_method(s->method, sizeof(s->method), head->method);
	return 0;
}

/* An answer that cannot have a body ends with its head; what is given as its body goes nowhere. */
static int stream_response(struct stream *s, const struct head *head, const struct nv *l, bool last)
{
	nghttp2_data_provider body = { { .ptr = s }, stream_read };
	int err;

	if (s->out_final)
		return -EINVAL;
	if (head->status >= 200 && !last && !head_response_has_body(head, s->method)) {
		s->no_body = last = true;
		s->eof_sent = true;
	}
	if (head->status < 200)
		err = nghttp2_submit_headers(s->h->ng, NGHTTP2_FLAG_NONE, s->id, NULL, l->nv, l->n,
					     NULL);
	else
		err = nghttp2_submit_response(s->h->ng, s->id, l->nv, l->n, last ? NULL : &body);
	if (err < 0)
		return err == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPIPE;
	s->out_final = head->status >= 200;
	return 0;
}

static int stream_head(struct end *e, const struct head *head, bool last)
{
	struct stream *s = (struct stream *)e;
	struct nv l;
	int err;

	if (s->closed || s->let_go || s->tell_gone || s->h->dead || s->h->closing)
		return -EPIPE;
	nv_of(&l, s->h, head);
	err = s->h->opt.server ? stream_response(s, head, &l, last)
			       : stream_request(s, head, &l, last);
	if (err)
		return err;
	if (last)
		s->out_last = s->eof_sent = true;
	h2_run_soon(s->h);
	return 0;
}

void stream_refuse(struct stream *s, unsigned int status, const char *id)
{
	struct nv l = { .n = 0 };

	nv_status(&l, status);
	nv_pseudo(&l, "content-length", "0");
	nv_pseudo(&l, "x-request-id", id);
	nghttp2_submit_response(s->h->ng, s->id, l.nv, l.n, NULL);
	s->out_final = s->out_last = s->eof_sent = s->let_go = true;
	s->reset = !s->in_last;
	s->why = END_DONE;
	stream_tell(s);
}

/* ---- data that leave ---------------------------------------------------------------------- */

static ssize_t stream_read_end(struct stream *s, uint32_t *flags)
{
	struct nv l;

	*flags |= NGHTTP2_DATA_FLAG_EOF;
	s->eof_sent = true;
	if (s->trailers) {
		nv_of(&l, s->h, s->trailers);
		if (!nghttp2_submit_trailer(s->h->ng, s->id, l.nv, l.n))
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		head_free(s->trailers);
		s->trailers = NULL;
	}
	if (s->reset)
		stream_tell(s);
	return 0;
}

/* libnghttp2 asks how much to send: now, when ops->data() runs, or because a window opened. */
static ssize_t stream_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len,
			   uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct stream *s = source->ptr;

	(void)ng, (void)id, (void)buf, (void)arg;
	if (s->span_len && !s->h->rest_len) {
		if (len > s->span_len)
			len = s->span_len;
		if (len == s->span_len && s->span_last) {
			*flags |= NGHTTP2_DATA_FLAG_EOF;
			s->eof_sent = true;
		}
		*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
		return (ssize_t)len;
	}
	if (!s->span_len && s->out_last)
		return stream_read_end(s, flags);
	s->deferred = true;
	if (s->h->rest_len) {
		stream_wait(s);
	} else if (s->wants_room) {
		s->tell_room = true;
		stream_tell(s);
	}
	return NGHTTP2_ERR_DEFERRED;
}

static int stream_send(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t len,
		       nghttp2_data_source *source, void *arg)
{
	struct stream *s = source->ptr;

	(void)ng, (void)frame, (void)arg;
	if (len > s->span_len || h2_write(s->h, head, 9) || h2_write(s->h, s->span, len))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	s->span += len;
	s->span_len -= len;
	recv_excuse(s->h, len);
	return 0;
}

/* As large as the peer takes, when there is so much. */
static ssize_t stream_frame_max(nghttp2_session *ng, uint8_t type, int32_t id, int32_t conn_window,
				int32_t window, uint32_t frame_max, void *arg)
{
	const struct h2 *h = arg;
	size_t max = frame_max < FRAME_MAX ? frame_max : FRAME_MAX;

	(void)ng, (void)type, (void)conn_window, (void)window;
	if (!h->sending || h->sending->id != id || h->sending->span_len < 16384)
		return 16384;
	return (ssize_t)(h->sending->span_len < max ? h->sending->span_len : max);
}

static void stream_resume(struct stream *s)
{
	if (!s->deferred)
		return;
	s->deferred = false;
	nghttp2_session_resume_data(s->h->ng, s->id);
}

static size_t stream_data(struct end *e, const void *data, size_t len, bool last)
{
	struct stream *s = (struct stream *)e;
	struct h2 *h = s->h;
	size_t left;

	if (s->no_body) {
		s->out_last |= last;
		return len;
	}
	if (s->closed || s->let_go || s->tell_gone || s->out_last || h->dead || h->closing)
		return 0;
	if (!len) {
		if (last) {
			s->out_last = true;
			stream_resume(s);
			h2_run_soon(h);
		}
		return 0;
	}
	if (!h->waiting)
		s->burst = 0;
	if (h->inside || h->rest_len || s->burst >= BURST) {
		s->wants_room = true;
		stream_wait(s);
		return 0;
	}
	s->span = data;
	s->span_len = len;
	s->span_last = last;
	stream_resume(s);
	h->sending = s;
	h2_send(h);
	h->sending = NULL;
	left = s->span_len;
	s->burst += len - left;
	s->span = NULL;
	s->span_len = 0;
	s->span_last = false;
	if (left)
		s->wants_room = true;
	else
		s->out_last = last;
	return len - left;
}

static int stream_trailers(struct end *e, const struct head *head)
{
	struct stream *s = (struct stream *)e;

	if (s->closed || s->let_go || s->tell_gone || s->out_last || s->h->dead)
		return -EPIPE;
	if (head->n && !s->no_body) {
		s->trailers = head_copy(head);
		if (!s->trailers)
			return -ENOMEM;
	}
	s->out_last = true;
	stream_resume(s);
	h2_run_soon(s->h);
	return 0;
}

void stream_settings(const struct h2_options *o, uint32_t *first, uint32_t *max)
{
	*max = o->stream_window ? o->stream_window : WINDOW_MAX;
	*first = *max < WINDOW_FIRST ? *max : WINDOW_FIRST;
}

/* A window's worth was taken, and little of it lies here: the receiver could take more. */
static void stream_grow(struct stream *s)
{
	uint32_t first, max;

	stream_settings(&s->h->opt, &first, &max);
	if (!s->window)
		s->window = first;
	if (s->window >= max || s->in_taken - s->grown_at < s->window ||
	    s->in_bytes - s->in_taken > s->window / 2)
		return;
	s->grown_at = s->in_taken;
	s->window = s->window > max / 2 ? max : s->window * 2;
	nghttp2_session_set_local_window_size(s->h->ng, NGHTTP2_FLAG_NONE, s->id,
					      (int32_t)s->window);
}

static void stream_taken(struct end *e, size_t len)
{
	struct stream *s = (struct stream *)e;
	struct h2 *h = s->h;

	if (s->in_last || s->closed || h->dead || h->closing)
		return;
	s->in_taken += (int64_t)len;
	nghttp2_session_consume_stream(h->ng, s->id, len);
	stream_grow(s);
	if (!h->inside && nghttp2_session_want_write(h->ng))
		h2_run_soon(h);
}

static void stream_abort(struct end *e, enum end_why why)
{
	struct stream *s = (struct stream *)e;

	if (s->let_go)
		return;
	s->let_go = true;
	s->why = why;
	if (!s->id)
		stream_closed(s);
	s->reset = !s->closed && !(why == END_DONE && s->in_last && s->out_last);
	if (s->closed || s->reset)
		stream_tell(s);
}

static const struct end_ops stream_ops = {
	.head = stream_head,
	.data = stream_data,
	.trailers = stream_trailers,
	.taken = stream_taken,
	.abort = stream_abort,
};

void stream_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_send_data_callback(cb, stream_send);
	nghttp2_session_callbacks_set_data_source_read_length_callback(cb, stream_frame_max);
}
