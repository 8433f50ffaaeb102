// SPDX-License-Identifier: Apache-2.0
/*
 * conn_out.c -- what waits to be sent: chunks from a free list, written in as few system calls as
 * possible, and the promises of conn_write().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "user/tunnel/budget.h"
#include "user/tunnel/conn_impl.h"

#define CHUNK	       (32u << 10) /* with its head */
#define CHUNK_DATA     (CHUNK - sizeof(struct conn_chunk))
#define FREE_MAX       128 /* chunks kept for the next writer: 4 MiB */
#define CONN_OUT_TIGHT (64u << 10)
#define IOV_COUNT      24 /* pieces of one sendmsg(): more than CONN_OUT_MAX */

/* So much waits until it is sent without waiting for the batch's end: it is still in the cache, and
 * a system call costs little beside it. */
#define SEND_AT (128u << 10)
/* Sent from where it lies when nothing waits; less is gathered. */
#define DIRECT_MIN (16u << 10)

static struct {
	struct conn_chunk *first;
	unsigned int n;
} spare; /* of the main thread, like everything here */

struct conn_chunk *conn_chunk_get(void)
{
	struct conn_chunk *chunk = spare.first;

	if (chunk) {
		spare.first = chunk->next;
		spare.n--;
	} else {
		chunk = malloc(CHUNK);
	}
	if (chunk) {
		budget_take(CHUNK);
		chunk->next = NULL;
		chunk->begin = chunk->end = 0;
	}
	return chunk;
}

void conn_chunk_put(struct conn_chunk *chunk)
{
	budget_give(CHUNK);
	if (spare.n >= FREE_MAX) {
		free(chunk);
		return;
	}
	chunk->next = spare.first;
	spare.first = chunk;
	spare.n++;
}

int conn_out_add(struct conn *c, const void *data, size_t len)
{
	const uint8_t *at = data;
	size_t part;

	while (len) {
		struct conn_chunk *chunk = c->end;

		if (!chunk || chunk->end == CHUNK_DATA) {
			chunk = conn_chunk_get();
			if (!chunk)
				return -ENOMEM;
			if (c->end)
				c->end->next = chunk;
			else
				c->first = chunk;
			c->end = chunk;
		}
		part = CHUNK_DATA - chunk->end;
		if (part > len)
			part = len;
		memcpy(chunk->data + chunk->end, at, part);
		chunk->end += (uint32_t)part;
		c->out += part;
		at += part;
		len -= part;
	}
	return 0;
}

void conn_out_drop(struct conn *c)
{
	struct conn_chunk *chunk;

	while ((chunk = c->first)) {
		c->first = chunk->next;
		conn_chunk_put(chunk);
	}
	c->end = NULL;
	c->out = 0;
	if (c->plain)
		conn_chunk_put(c->plain);
	c->plain = NULL;
	c->plain_len = 0;
}

/* n bytes went: chunks that are empty go back. */
static void sent(struct conn *c, size_t n)
{
	c->out -= n;
	c->moved_ms = reactor_now_ms(c->reactor);
	while (n) {
		struct conn_chunk *chunk = c->first;
		size_t part = chunk->end - chunk->begin;

		if (part > n) {
			chunk->begin += (uint32_t)n;
			return;
		}
		n -= part;
		c->first = chunk->next;
		if (!c->first)
			c->end = NULL;
		conn_chunk_put(chunk);
	}
}

static void send_failed(struct conn *c, int err)
{
	if (err == EAGAIN) {
		c->sock_writable = false;
		return;
	}
	/* An answer may have come before the peer closed: reading goes on until its end. */
	c->write_failed = -err;
	c->sock_readable = c->readable = c->hangup = true;
	conn_out_drop(c);
	conn_work_soon(c);
}

void conn_out_send(struct conn *c)
{
	while (c->first && c->sock_writable) {
		struct iovec iov[IOV_COUNT];
		struct msghdr msg = { .msg_iov = iov };
		size_t asked = 0;
		ssize_t n;

		for (struct conn_chunk *at = c->first; at && msg.msg_iovlen < IOV_COUNT;
		     at = at->next) {
			iov[msg.msg_iovlen++] =
				(struct iovec){ at->data + at->begin, at->end - at->begin };
			asked += at->end - at->begin;
		}
		n = sendmsg(c->io.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			send_failed(c, errno);
			return;
		}
		sent(c, (size_t)n);
		if ((size_t)n < asked)
			c->sock_writable = false;
	}
}

static size_t plain_write(struct conn *c, const uint8_t *data, size_t len)
{
	ssize_t n = 0;

	if (!c->first && len >= DIRECT_MIN && c->sock_writable && c->state == CONN_OPEN) {
		n = send(c->io.fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			send_failed(c, errno);
			if (c->write_failed)
				return len;
			n = 0;
		} else {
			c->moved_ms = reactor_now_ms(c->reactor);
			if ((size_t)n < len)
				c->sock_writable = false;
		}
	}
	if ((size_t)n < len && conn_out_add(c, data + n, len - (size_t)n) < 0)
		conn_fail(c, -ENOMEM, "out of memory");
	return len;
}

size_t conn_waiting(const struct conn *c)
{
	return c->out + c->plain_len;
}

/* Less when memory is short: every connection goes on, but none takes much of it. */
size_t conn_out_max(void)
{
	return budget_tight() ? CONN_OUT_TIGHT : CONN_OUT_MAX;
}

/* Before the handshake TLS takes what one record holds. */
static size_t room(const struct conn *c)
{
	size_t max = c->ssl && c->state != CONN_OPEN ? CONN_RECORD : conn_out_max();
	size_t used = c->ssl && c->state != CONN_OPEN ? c->plain_len : conn_waiting(c);

	return used < max ? max - used : 0;
}

bool conn_has_room(const struct conn *c)
{
	return room(c) > 0;
}

size_t conn_write(struct conn *c, const void *data, size_t len)
{
	size_t n = room(c);

	if (c->state == CONN_OVER || c->write_failed || c->failed || c->finish)
		return len; /* `closed` follows, or was asked for */
	if (n > len)
		n = len;
	if (n < len)
		c->want_room = true;
	if (!n)
		return 0;
	if (c->ssl)
		conn_tls_write(c, data, n);
	else
		plain_write(c, data, n);
	c->bytes_out += n;
	if (c->out >= SEND_AT && c->state == CONN_OPEN)
		conn_out_send(c);
	if (conn_waiting(c) || c->want_room)
		conn_work_soon(c);
	return n;
}

void conn_flush(struct conn *c)
{
	if (c->state != CONN_OPEN)
		return;
	if (c->plain_len)
		conn_tls_gathered(c);
	conn_out_send(c);
}
