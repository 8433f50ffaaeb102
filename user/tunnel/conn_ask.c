// SPDX-License-Identifier: Apache-2.0
/* conn_ask.c -- what can be asked about a conn. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "user/tunnel/conn_impl.h"

const struct addr_port *conn_peer(const struct conn *c)
{
	return &c->peer;
}

const struct addr_port *conn_local(const struct conn *c)
{
	static const struct addr_port unknown;
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	if (!c->local) {
		struct addr_port *local = calloc(1, sizeof(*local));

		if (!local)
			return &unknown;
		if (c->io.fd >= 0 && getsockname(c->io.fd, (struct sockaddr *)&ss, &len) == 0)
			addr_from_sockaddr(local, (struct sockaddr *)&ss);
		((struct conn *)c)->local = local;
	}
	return c->local;
}

SSL *conn_tls(const struct conn *c)
{
	return c->ssl;
}

const char *conn_alpn(const struct conn *c)
{
	return c->alpn ? c->alpn : "";
}

const char *conn_error(const struct conn *c)
{
	return c->error ? c->error : "closed";
}

uint64_t conn_bytes_in(const struct conn *c)
{
	return c->bytes_in;
}

uint64_t conn_bytes_out(const struct conn *c)
{
	return c->bytes_out;
}

bool conn_has_input(const struct conn *c)
{
	char byte;

	if (c->kept.data || c->fed.data || (c->ssl && SSL_has_pending(c->ssl)) || c->hangup)
		return true;
	return recv(c->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

uint64_t conn_idle_ms(const struct conn *c)
{
	uint64_t now = reactor_now_ms(c->reactor);

	return now > c->moved_ms ? now - c->moved_ms : 0;
}

struct reactor *conn_reactor(const struct conn *c)
{
	return c->reactor;
}
