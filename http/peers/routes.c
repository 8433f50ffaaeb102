/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routes.c -- the service's routes, public and inside, and the few handlers that only hand on.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "http/peers/peers_int.h"

#define GET	(1u << HTTP_GET)
#define POST	(1u << HTTP_POST)
#define OPTIONS (1u << HTTP_OPTIONS)

#define SESSION_BODY  4096
#define REPORT_BODY   16384
#define SWITCH_BODY   4096
#define LIST_BODY     (3u << 20) /* two hours of four renditions are 1 MiB */
#define EXCHANGE_BODY (4u << 20) /* exchange_link.c puts 700 KiB of text into one, which JSON may double */

static enum http_next media_list(struct http_req *req, void *arg)
{
	return media_list_begin(req, ((struct peers *)arg)->media);
}

/* Rights come before so long a body. */
static enum http_next media_may(struct http_req *req, void *arg)
{
	return media_sign_begin(req, ((struct peers *)arg)->media);
}

static enum http_next media_sign(struct http_req *req, void *arg)
{
	return media_sign_end(req, ((struct peers *)arg)->media);
}

bool peers_media_reply(struct peers *p, struct http_req *req, const char *bucket, const char *key)
{
	return p && media_reply(req, p->media, bucket, key);
}

static const struct http_route public[] = {
	{ .methods = POST, .path = "/_/peers/session", .body_max = SESSION_BODY, .end = peers_session },
	{ .methods = OPTIONS, .path = "/_/peers/session", .begin = peers_preflight },
	{ .methods = GET, .path = "/_/tracker", .begin = peers_tracker },
	{ .methods = GET, .path = "/_/peers/events", .begin = peers_events, .done = peers_events_done },
	{ .methods = POST, .path = "/_/peers/report", .body_max = REPORT_BODY, .end = peers_report },
	{ .methods = OPTIONS, .path = "/_/peers/report", .begin = peers_preflight_token },
	{ .methods = GET, .path = "/_/peers", .begin = peers_show },
	{ .methods = GET, .path = "/_/peers/groups", .begin = peers_show_groups },
	{ .methods = GET, .path = "/_/peers/top", .begin = peers_show_top },
	{ .methods = POST, .path = "/_/peers/switch", .body_max = SWITCH_BODY, .end = peers_switch },
	{ .methods = GET, .path = "/_/media", .begin = media_list },
	{ .methods = POST, .path = "/_/media/:bucket/*asset", .body_max = LIST_BODY, .begin = media_may, .end = media_sign },
	{ .path = NULL },
};

/* ---- of other gateways ---- */

/* Inside listeners on loopback are plain, and anybody of the machine reaches them: a batch says by its MAC that it is a
 * gateway's. */
static enum http_next take(struct http_req *req, struct peers *p, const char *way, int (*fn)(struct exchange *x, const char *body, size_t len))
{
	const char *said = http_header(req, "X-Weir-Peers"), *body;
	char right[45];
	size_t len;
	int rc;

	if (!peers_serves(req, p))
		return HTTP_ANSWERED;
	body = http_body(req, &len);
	body = body ? body : "";
	exchange_mac(right, &p->secret, way, body, len);
	if (!said || strlen(said) != strlen(right) || CRYPTO_memcmp(said, right, strlen(right)))
		return http_reply_error(req, 403, "gateway", "this is for gateways of this installation");
	rc = fn(p->exchange, body, len);
	if (!rc)
		return http_reply(req, 204, NULL, NULL, 0);
	if (rc == -ESTALE)
		return http_reply_error(req, 409, "stale", "this batch is not for this gateway, not of now, or not the next: gateway %s's log says "
					"which; if it goes on, compare the clocks of both machines", p->node);
	return http_reply_error(req, 400, "messages", "that is no batch of messages of a gateway");
}

static enum http_next take_up(struct http_req *req, void *arg)
{
	return take(req, arg, "up", exchange_take_up);
}

static enum http_next take_down(struct http_req *req, void *arg)
{
	return take(req, arg, "down", exchange_take_down);
}

static const struct http_route inside[] = {
	{ .methods = POST, .path = "/_/peers/up", .body_max = EXCHANGE_BODY, .end = take_up },
	{ .methods = POST, .path = "/_/peers/down", .body_max = EXCHANGE_BODY, .end = take_down },
	{ .methods = GET, .path = "/_/peers", .begin = peers_inside_show },
	{ .methods = GET, .path = "/_/peers/groups", .begin = peers_inside_groups },
	{ .methods = GET, .path = "/_/peers/top", .begin = peers_inside_top },
	{ .path = NULL },
};

const struct http_route *peers_routes(void)
{
	return public;
}

const struct http_route *peers_inside_routes(void)
{
	return inside;
}
