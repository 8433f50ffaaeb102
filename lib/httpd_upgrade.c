/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_upgrade.c -- sockets that leave the server (101 Switching Protocols).
 *
 * libmicrohttpd keeps the whole connection (its pool of tens of KiB) while an upgraded socket lives. So the taker gets
 * a duplicate, and libmicrohttpd is told at once that the upgraded connection is over: it closes its own descriptor,
 * without a shutdown() of the socket that both share, and frees everything.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "lib/httpd_impl.h"
#include "lib/log.h"

struct http_upgrade {
	http_take_fn *take; /* NULL: it was called */
	void *ctx;
};

static int duplicate(int fd)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0), flags = own < 0 ? -1 : fcntl(own, F_GETFL);

	if (own < 0)
		log_limited(LOG_LEVEL_ERROR, 10, "cannot keep an upgraded connection: %m (see RLIMIT_NOFILE)");
	else if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(own, F_SETFL, flags | O_NONBLOCK);
	return own;
}

/* The answer was sent. libmicrohttpd has suspended the connection; what it had read beyond the head is extra. */
static void on_upgrade(void *arg, struct MHD_Connection *mhd, void *slot, const char *extra, size_t len,
		       MHD_socket fd, struct MHD_UpgradeResponseHandle *handle)
{
	struct http_upgrade *up = arg;
	http_take_fn *take = up->take;
	int own = duplicate(fd);

	(void)mhd;
	(void)slot;
	up->take = NULL;
	take(up->ctx, own, own < 0 ? NULL : extra, own < 0 ? 0 : len);
	MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
}

void http_upgrade_drop(struct http_upgrade *up)
{
	if (up && up->take)
		up->take(up->ctx, -1, NULL, 0);
	free(up);
}

static enum http_next refuse(struct http_req *req, http_take_fn *take, void *ctx, unsigned int status,
			     const char *sentence)
{
	take(ctx, -1, NULL, 0);
	return http_reply_error(req, status, "upgrade", "%s", sentence);
}

enum http_next http_reply_upgrade(struct http_req *req, const char *protocol, http_take_fn *take, void *ctx)
{
	struct http_upgrade *up;
	struct MHD_Response *response;

	if (req->server->opt.tls_cert)
		return refuse(req, take, ctx, 501,
			      "this listener speaks TLS and cannot upgrade; connect through an edge, or to a plain listener");
	if (req->method != HTTP_GET || !req->http11 || req->has_body)
		return refuse(req, take, ctx, 400, "only a GET by HTTP/1.1 without a body can be upgraded");
	up = calloc(1, sizeof(*up));
	response = up ? MHD_create_response_for_upgrade(on_upgrade, up) : NULL;
	if (!response || req->answered || http_add_header(req, "Upgrade", protocol)) {
		if (response)
			MHD_destroy_response(response);
		free(up);
		return refuse(req, take, ctx, 503, "there is no memory for the connection");
	}
	up->take = take;
	up->ctx = ctx;
	req->upgrade = up;
	return http_answer(req, 101, NULL, response, 0);
}
