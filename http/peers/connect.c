/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.c -- GET /_/tracker: a viewer's WebSocket. Who it is was checked before the socket is taken over; what it says
 * goes to the owner of its asset as it came.
 */
#include <stdlib.h>
#include <time.h>

#include "http/peers/peers_int.h"

#define MESSAGE_MAX (192u << 10) /* ten offers of 16 KiB, and what is around them */
#define BACKLOG_MAX (256u << 10)
#define BURST	    256 /* messages at once: an answer to each offer that many others sent */

static void opened(void *arg, struct ws_conn *c)
{
	(void)arg;
	home_socket_opened(ws_user(c), c);
}

/* JSON has no control characters but these (RFC 8259 section 2), in strings none: what has others is no message, and would
 * grow six times on its way to another gateway. */
static bool is_text(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 && text[i] != '\n' && text[i] != '\r' && text[i] != '\t')
			return false;
	return true;
}

static void message(void *arg, struct ws_conn *c, const char *text, size_t len)
{
	(void)arg;
	if (!is_text(text, len)) {
		ws_close(c, 1008, "that is no JSON");
		return;
	}
	home_socket_said(ws_user(c), peers_now_ms(), text);
}

static void closed(void *arg, struct ws_conn *c)
{
	(void)arg;
	home_socket_free(ws_user(c));
}

static void refused(void *user)
{
	home_socket_free(user);
}

int connect_start(struct peers *p)
{
	struct ws_options opt = {
		.max = peers_connections(p->set.viewers),
		.message_max = MESSAGE_MAX,
		.backlog_max = BACKLOG_MAX,
		.burst = BURST,
		.opened = opened,
		.message = message,
		.closed = closed,
		.arg = p,
	};

	return ws_start(&p->ws, &opt);
}

void connect_stop(struct peers *p)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	while (p->entering) /* they do not block */
		nanosleep(&moment, NULL);
	ws_stop(p->ws);
}

static enum http_next enter(struct http_req *req, struct peers *p)
{
	char client[ADDR_PORT_STRLEN], *facts;
	struct viewer_token t;
	struct home_socket *s;
	struct home_guest g;
	int rc;

	if (!peers_token(req, p, &t))
		return HTTP_ANSWERED;
	facts = peers_facts(req, p, &t, client);
	if (!facts)
		return http_reply_error(req, 503, "memory", "there is no memory for another viewer");
	g = (struct home_guest){ .token = &t, .client = client, .facts = facts, .now_ms = peers_now_ms() };
	rc = home_socket_new(p->home, &g, &s);
	free(facts);
	return rc ? peers_no_room(req, rc) : ws_accept(p->ws, req, s, refused);
}

enum http_next peers_tracker(struct http_req *req, void *arg)
{
	struct peers *p = arg;
	enum http_next next;

	p->entering++; /* before it looks whether the service stops */
	next = enter(req, p);
	p->entering--;
	return next;
}
