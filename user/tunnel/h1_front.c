// SPDX-License-Identifier: Apache-2.0
/*
 * h1_front.c -- the responses of HTTP/1's server: how each is framed, and whether the connection
 * goes on after it.
 */
#include <errno.h>
#include <time.h>

#include "user/tunnel/h1_front.h"

static struct h1_server *of(struct end *e)
{
	return (struct h1_server *)((char *)e - offsetof(struct h1_server, front));
}

const char *h1_date_now(void)
{
	static char text[H1_DATE];
	static time_t of_second;
	time_t now = time(NULL);

	if (now != of_second) {
		h1_date(now, text);
		of_second = now;
	}
	return text;
}

/* 100 comes from who takes the body (RFC 9110 section 10.1.1): a target that refuses it by its head
 * is not sent it. Once, and only to who asked. */
static int interim(struct h1_server *s, const struct head *h)
{
	struct h1_how how = { .framing = H1_NONE, .length = -1 };
	char *text = h1_out_text();
	size_t n;

	if (h->status == 101)
		return -EINVAL;
	if (s->read->http10 || (h->status == 100 && (!s->read->expects || s->continued)))
		return 0;
	s->continued |= h->status == 100;
	n = h1_compose_response(text, H1_HEAD_MAX, h, &how);
	return n ? h1_out_put(&s->out, text, n) : -E2BIG;
}

static void accept_tunnel(struct h1_server *s, struct h1_how *how, char accept[H1_WS_ACCEPT])
{
	s->raw = true;
	how->framing = H1_RAW;
	if (s->read->websocket) {
		h1_ws_accept(s->read->key, accept);
		how->connection = "upgrade";
		how->upgrade = "websocket";
		how->key = accept;
	}
}

/* How the body is framed, and whether the connection goes on. */
static int choose(struct h1_server *s, const struct head *h, bool last, struct h1_how *how)
{
	struct h1_read *r = s->read;

	how->length = h->content_length;
	if (s->is_head || h->status == 204 || h->status == 304) {
		how->framing = H1_NONE;
		if (h->status == 204)
			how->length = -1;
	} else if (last) {
		if (h->content_length > 0)
			return -EPROTO;
		how->framing = H1_NONE;
		how->length = 0;
	} else {
		how->framing = h->content_length >= 0 ? H1_LENGTH
			       : r->http10	      ? H1_CLOSE
						      : H1_CHUNKED;
	}
	s->close_after = !r->keep_alive || s->draining || s->eof || how->framing == H1_CLOSE ||
			 r->connect || (r->expects && !s->continued && !s->request_ended);
	if (s->close_after)
		how->connection = "close";
	else if (r->http10)
		how->connection = "keep-alive";
	return 0;
}

static void end_response(struct h1_server *s)
{
	s->response_ended = true;
	h1_server_check(s);
}

static int front_head(struct end *e, const struct head *h, bool last)
{
	struct h1_server *s = of(e);
	struct h1_how how = { .length = -1, .date = h1_date_now() };
	char accept[H1_WS_ACCEPT], *text = h1_out_text();
	size_t n;
	int rc;

	if (s->state != SERVER_RUN || !s->attached || s->response_begun)
		return -EPIPE;
	if (h->status < 200)
		return last ? -EINVAL : interim(s, h);
	if (s->tunnel && h->status < 300) {
		accept_tunnel(s, &how, accept);
	} else {
		s->request_ended = s->request_ended || s->tunnel;
		rc = choose(s, h, last, &how);
		if (rc)
			return rc;
	}
	n = h1_compose_response(text, H1_HEAD_MAX, h, &how);
	if (!n)
		return -E2BIG;
	s->response_begun = true;
	s->out.framing = how.framing;
	s->out.left = how.length;
	rc = h1_out_put(&s->out, text, n);
	if (rc)
		return rc;
	if (s->raw)
		h1_server_resume(s);
	if (last)
		end_response(s);
	return 0;
}

static size_t front_data(struct end *e, const void *data, size_t len, bool last)
{
	struct h1_server *s = of(e);
	long n;

	if (s->state != SERVER_RUN || !s->attached || !s->response_begun || s->response_ended)
		return 0;
	n = h1_out_body(&s->out, data, len, last);
	if (n < 0) {
		h1_server_kill(s, n == -EPROTO ? END_PROTOCOL : END_ERROR);
		return 0;
	}
	s->want_room = (size_t)n < len;
	if (last && (size_t)n == len)
		end_response(s);
	return (size_t)n;
}

static int front_trailers(struct end *e, const struct head *h)
{
	struct h1_server *s = of(e);
	int rc;

	if (s->state != SERVER_RUN || !s->attached || !s->response_begun || s->response_ended)
		return -EPIPE;
	rc = h1_out_end(&s->out, h);
	if (rc)
		h1_server_kill(s, rc == -EPROTO ? END_PROTOCOL : END_ERROR);
	else
		end_response(s);
	return rc;
}

static void front_taken(struct end *e, size_t len)
{
	struct h1_server *s = of(e);

	if (s->state != SERVER_RUN || !s->untaken)
		return;
	s->untaken -= len < s->untaken ? len : s->untaken;
	if (!s->untaken)
		h1_server_resume(s);
}

static void front_abort(struct end *e, enum end_why why)
{
	struct h1_server *s = of(e);

	s->attached = false;
	if (s->state != SERVER_RUN)
		return;
	if (!s->response_ended || (s->raw && why != END_DONE)) {
		h1_server_kill(s, why);
		return;
	}
	if (s->raw) /* what the client still sends is not wanted any more */
		s->request_ended = true;
	h1_server_check(s);
}

const struct end_ops h1_front_ops = {
	.head = front_head,
	.data = front_data,
	.trailers = front_trailers,
	.taken = front_taken,
	.abort = front_abort,
};
