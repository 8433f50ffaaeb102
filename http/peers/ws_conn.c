/* SPDX-License-Identifier: Apache-2.0 */
/* ws_conn.c -- one WebSocket: reads, answers, sends, keeps what the socket does not take, closes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "http/peers/ws_impl.h"

/* ---- out: under c->lock ---------------------------------------------------------------------- */

static void want_out(struct ws_conn *c, bool on)
{
	struct epoll_event ev = { .events = EPOLLIN | (on ? EPOLLOUT : 0), .data.ptr = c };

	if (c->wants_out == on)
		return;
	c->wants_out = on;
	/* Before its thread took the socket there is nothing to change: the thread looks at wants_out then. */
	epoll_ctl(c->thread->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

static void unqueue(struct ws_conn *c)
{
	struct ws_out *out = c->out;

	c->out = out->next;
	if (!c->out)
		c->out_tail = &c->out;
	c->out_bytes -= out->len;
	c->thread->held -= out->len;
	free(out);
}

/* Nobody is there to send to. Its thread must be told. */
static void set_broken(struct ws_conn *c)
{
	if (!c->close_code)
		c->close_code = WSLAY_CODE_ABNORMAL_CLOSURE;
	c->broken = true;
	while (c->out)
		unqueue(c);
}

/* At the end of those that wait. */
static int enqueue(struct ws_conn *c, const uint8_t *head, size_t head_len, const void *data, size_t len)
{
	struct ws_out *out = malloc(sizeof(*out) + head_len + len);

	if (!out)
		return -ENOMEM;
	out->next = NULL;
	out->len = (uint32_t)(head_len + len);
	out->sent = 0;
	out->begun = false;
	if (head_len)
		memcpy(out->data, head, head_len);
	if (len)
		memcpy(out->data + head_len, data, len);
	*c->out_tail = out;
	c->out_tail = &out->next;
	c->out_bytes += out->len;
	c->thread->held += out->len;
	want_out(c, true);
	return 0;
}

/* What the socket takes at once; 0 when others wait already. -EPIPE: it is gone. */
static ssize_t send_now(struct ws_conn *c, struct iovec *iov)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (c->out)
		return 0;
	do {
		n = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n >= 0 ? n : errno == EAGAIN ? 0 : -EPIPE;
}

/* A whole frame, now or later. On failure the connection is broken: a frame may be cut in its middle. */
static int send_frame(struct ws_conn *c, uint8_t opcode, const void *data, size_t len)
{
	uint8_t head[WS_HEAD_MAX];
	size_t head_len = ws_frame_head(head, opcode, len), sent;
	struct iovec iov[2] = { { head, head_len }, { (void *)data, len } };
	ssize_t n = send_now(c, iov);
	int rc = n < 0 ? (int)n : 0;

	sent = n < 0 ? 0 : (size_t)n;
	if (!rc && sent < head_len)
		rc = enqueue(c, head + sent, head_len - sent, data, len);
	else if (!rc && sent < head_len + len)
		rc = enqueue(c, NULL, 0, (const uint8_t *)data + (sent - head_len), head_len + len - sent);
	if (rc)
		set_broken(c);
	else if (sent && c->out)
		c->out->begun = true; /* sent: nobody waited, it is the first */
	return rc;
}

/* All was said: the client sees the end, and ends its side too. */
static void end_out(struct ws_conn *c)
{
	if (c->close_code && !c->broken && !c->out)
		shutdown(c->fd, SHUT_WR);
}

/* A close frame, after what is on its way already; other frames that wait are dropped. */
static void close_with(struct ws_conn *c, uint16_t code, const void *payload, size_t len)
{
	struct ws_out *cut = NULL;

	if (c->close_code)
		return;
	c->close_code = code;
	if (c->out && c->out->begun) {
		cut = c->out;
		c->out = cut->next;
	}
	while (c->out)
		unqueue(c);
	if (cut) {
		cut->next = NULL;
		c->out = cut;
		c->out_tail = &cut->next;
	}
	send_frame(c, WSLAY_CONNECTION_CLOSE, payload, len);
	end_out(c);
}

static void close_saying(struct ws_conn *c, uint16_t code, const char *reason)
{
	uint8_t payload[WS_CONTROL_MAX];

	close_with(c, code, payload, ws_close_payload(payload, code, reason));
}

static int send_any(struct ws_conn *c, uint8_t opcode, const void *data, size_t len)
{
	bool closing;
	int rc;

	pthread_mutex_lock(&c->lock);
	if (c->close_code) {
		pthread_mutex_unlock(&c->lock);
		return -EPIPE;
	}
	if (len > c->thread->server->opt.backlog_max || c->out_bytes > c->thread->server->opt.backlog_max - len) {
		rc = -ENOBUFS;
		close_saying(c, WS_CODE_TRY_LATER, "too much waits to be read");
	} else {
		rc = send_frame(c, opcode, data, len);
	}
	closing = c->close_code != 0;
	pthread_mutex_unlock(&c->lock);
	if (closing)
		ws_conn_tell(c);
	return rc;
}

int ws_send(struct ws_conn *c, const char *text, size_t len)
{
	return send_any(c, WSLAY_TEXT_FRAME, text, len);
}

void ws_close(struct ws_conn *c, uint16_t code, const char *reason)
{
	bool news;

	pthread_mutex_lock(&c->lock);
	news = !c->close_code;
	if (news)
		close_saying(c, code, reason);
	pthread_mutex_unlock(&c->lock);
	if (news)
		ws_conn_tell(c);
}

void ws_cut(struct ws_conn *c, uint16_t code, const char *reason)
{
	pthread_mutex_lock(&c->lock);
	close_saying(c, code, reason);
	set_broken(c);
	pthread_mutex_unlock(&c->lock);
	ws_conn_tell(c);
}

void ws_conn_ping(struct ws_conn *c)
{
	send_any(c, WSLAY_PING, NULL, 0);
}

void ws_conn_break(struct ws_conn *c)
{
	pthread_mutex_lock(&c->lock);
	set_broken(c);
	pthread_mutex_unlock(&c->lock);
	ws_conn_tell(c);
}

void ws_conn_writable(struct ws_conn *c)
{
	bool broken;

	pthread_mutex_lock(&c->lock);
	while (c->out) {
		struct ws_out *out = c->out;
		ssize_t n = send(c->fd, out->data + out->sent, out->len - out->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			set_broken(c);
		if (n < 0)
			break;
		out->sent += (uint32_t)n;
		out->begun |= n > 0;
		if (out->sent == out->len)
			unqueue(c);
	}
	if (!c->out) {
		want_out(c, false);
		end_out(c);
	}
	broken = c->broken;
	pthread_mutex_unlock(&c->lock);
	if (broken)
		ws_conn_tell(c);
}

/* ---- in: on its thread ----------------------------------------------------------------------- */

static bool is_closing(struct ws_conn *c)
{
	bool closing;

	pthread_mutex_lock(&c->lock);
	closing = c->close_code != 0;
	pthread_mutex_unlock(&c->lock);
	return closing;
}

/* Takes from the bucket, which fills by `rate` messages a second; in thousandths of a fragment. */
static bool pay(struct ws_conn *c, unsigned int cost)
{
	const struct ws_options *opt = &c->thread->server->opt;
	uint32_t now = (uint32_t)ws_now_ms();
	uint64_t full = (uint64_t)opt->burst * WS_MESSAGE_COST * 1000;
	uint64_t tokens = c->tokens + (uint64_t)(now - c->tokens_ms) * opt->rate * WS_MESSAGE_COST;

	c->tokens_ms = now;
	if (tokens > full)
		tokens = full;
	if (tokens < cost * 1000) {
		c->tokens = (uint32_t)tokens;
		return false;
	}
	c->tokens = (uint32_t)(tokens - cost * 1000);
	return true;
}

/* Its code comes back to the client, as section 5.5.1 asks for. */
static void answer_close(struct ws_conn *c, const uint8_t *payload, size_t len)
{
	pthread_mutex_lock(&c->lock);
	close_with(c, len ? (uint16_t)(payload[0] << 8 | payload[1]) : WSLAY_CODE_NO_STATUS_RCVD, payload,
		   len ? 2 : 0);
	pthread_mutex_unlock(&c->lock);
	ws_conn_tell(c);
}

static bool on_event(void *arg, enum ws_event event, const uint8_t *data, size_t len)
{
	struct ws_conn *c = arg;
	const struct ws_options *opt = &c->thread->server->opt;

	if (event == WS_EVENT_CLOSE) {
		answer_close(c, data, len);
		return false;
	}
	if (!pay(c, event == WS_EVENT_FRAGMENT ? 1 : WS_MESSAGE_COST)) {
		ws_close(c, WSLAY_CODE_POLICY_VIOLATION, "too many messages");
		return false;
	}
	if (event == WS_EVENT_TEXT)
		opt->message(opt->arg, c, (const char *)data, len);
	else if (event == WS_EVENT_PING)
		send_any(c, WSLAY_PONG, data, len);
	return !is_closing(c);
}

static const char *reason_of(unsigned int code)
{
	switch (code) {
	case WSLAY_CODE_UNSUPPORTED_DATA:
		return "messages are text";
	case WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA:
		return "text is not UTF-8";
	case WSLAY_CODE_MESSAGE_TOO_BIG:
		return "the message is too long";
	case WSLAY_CODE_INTERNAL_SERVER_ERROR:
		return "there is no memory";
	default:
		return "a frame is malformed";
	}
}

void ws_conn_feed(struct ws_conn *c, const void *data, size_t len)
{
	unsigned int code;

	if (is_closing(c))
		return;
	code = ws_in_feed(&c->in, &c->thread->reader, data, len, on_event, c);
	if (code)
		ws_close(c, (uint16_t)code, reason_of(code));
}

void ws_conn_readable(struct ws_conn *c)
{
	ssize_t n = recv(c->fd, c->thread->buf, WS_READ_ONCE, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ws_conn_break(c);
		return;
	}
	c->heard_s = (uint32_t)(ws_now_ms() / 1000);
	ws_conn_feed(c, c->thread->buf, (size_t)n);
}

void ws_conn_free(struct ws_conn *c)
{
	struct ws_server *s = c->thread->server;

	ws_in_end(&c->in, &c->thread->reader);
	while (c->out)
		unqueue(c);
	pthread_mutex_lock(&c->lock); /* who closed it may still be leaving the lock */
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_destroy(&c->lock);
	/* The HTTP server may still hold its duplicate: close() alone would leave the socket in the epoll. */
	epoll_ctl(c->thread->epoll, EPOLL_CTL_DEL, c->fd, NULL);
	close(c->fd);
	free(c);
	s->count--;
}
