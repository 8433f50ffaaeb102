// SPDX-License-Identifier: Apache-2.0
/*
 * gateway_back.c -- requests for the local gateway, and on to the endpoint that it names.
 *
 * The gateway answers a request for an object with a redirect (307) to an endpoint. Endpoints speak
 * HTTP; a client that came by HTTPS must not be sent there (its data and its token would go in the
 * clear), so that its redirect is followed here: the gateway is asked with the same head, the body
 * waits; after a 307 to an endpoint of the installation the same request goes there, with its body.
 * Whether the gateway wants the body itself is asked by Expect: 100-continue (RFC 9110
 * section 10.1.1).
 */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "lib/log.h"
#include "user/tunnel/gateway_back.h"

#define CONNECT_MS 2000
#define POOL_IDLE  256

/* A back that may change its way once. */
struct hop {
	struct end end; /* what the exchange holds */
	struct gateway *g;
	struct end *inner;     /* to the gateway, then to the endpoint */
	struct head *request;  /* as the exchange gave it; NULL: the way is decided */
	struct head *trailers; /* that came while the body waits */
	bool bodiless, expects;
	bool waits;	       /* the body: nobody said yet that it is wanted */
	bool asked;	       /* the exchange has offered data meanwhile */
	bool ended;	       /* … and the end of them */
	bool telling, aborted; /* on_100() runs; … and the exchange let go meanwhile */
};

static struct hop *hop_of(struct end *e)
{
	return (struct hop *)e;
}

static void hop_free(struct hop *h)
{
	head_free(h->request);
	head_free(h->trailers);
	free(h);
}

/* ---- from the exchange ----------------------------------------------------------------------- */

static int hop_head(struct end *e, const struct head *request, bool last)
{
	struct hop *h = hop_of(e);
	struct head *asked;
	int rc;

	h->request = head_copy(request);
	if (!h->request)
		return -ENOMEM;
	h->bodiless = last;
	h->expects = head_get(request, "expect") != NULL;
	h->waits = !last;
	if (last || h->expects)
		return h->inner->ops->head(h->inner, request, last);
	asked = head_copy(request);
	rc = asked ? head_add(asked, "expect", 6, "100-continue", 12) : -ENOMEM;
	if (!rc)
		rc = h->inner->ops->head(h->inner, asked, last);
	head_free(asked);
	return rc;
}

static size_t hop_data(struct end *e, const void *data, size_t len, bool last)
{
	struct hop *h = hop_of(e);

	if (!h->waits)
		return h->inner->ops->data(h->inner, data, len, last);
	h->asked = true;
	h->ended |= last && !len;
	return 0;
}

static int hop_trailers(struct end *e, const struct head *trailers)
{
	struct hop *h = hop_of(e);

	if (!h->waits)
		return h->inner->ops->trailers(h->inner, trailers);
	h->trailers = head_copy(trailers);
	return h->trailers ? 0 : -ENOMEM;
}

static void hop_taken(struct end *e, size_t len)
{
	struct hop *h = hop_of(e);

	h->inner->ops->taken(h->inner, len);
}

static void hop_abort(struct end *e, enum end_why why)
{
	struct hop *h = hop_of(e);

	h->inner->ops->abort(h->inner, why);
	h->aborted = true;
	if (!h->telling)
		hop_free(h);
}

static const struct end_ops hop_ops = { hop_head, hop_data, hop_trailers, hop_taken, hop_abort };

/* ---- the way --------------------------------------------------------------------------------- */

/* The body may go to inner now. The hop may be gone when it returns. */
static void release(struct hop *h)
{
	if (!h->waits)
		return;
	h->waits = false;
	if (h->trailers)
		h->inner->ops->trailers(h->inner, h->trailers);
	else if (h->ended)
		h->inner->ops->data(h->inner, NULL, 0, true);
	else if (h->asked)
		h->end.on->room(&h->end, h->end.arg);
}

static void drain_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	(void)arg, (void)data, (void)last;
	e->ops->taken(e, len);
}

static void drain_trailers(struct end *e, void *arg, const struct head *h)
{
	(void)e, (void)arg, (void)h;
}

static void drain_gone(struct end *e, void *arg, enum end_why why)
{
	(void)e, (void)arg, (void)why;
}

/* The short text of a redirect is read to its end, so that its connection is kept. */
static const struct end_events drain_events = { .data = drain_data,
						.trailers = drain_trailers,
						.gone = drain_gone };

static const struct end_events hop_events;

/* The request for the endpoint. What was for the gateway alone stays behind: the redirect carries a
 * token of its own. */
static struct head *request_for(const struct hop *h, const char *path, const char *authority)
{
	struct head *next = head_copy(h->request);

	if (next && (head_set(next, ":path", path) || head_set(next, ":authority", authority))) {
		head_free(next);
		return NULL;
	}
	if (next) {
		head_remove(next, "authorization");
		head_remove(next, "cookie");
	}
	return next;
}

/* Leaves the gateway, whose answer h was read. 0, or -errno: the way is as before. */
static int follow(struct hop *h, const char *location, bool last)
{
	const char *path, *authority;
	struct h1_pool *pool = endpoints_find(h->g->endpoints, location, &path, &authority);
	struct head *next = pool ? request_for(h, path, authority) : NULL;
	struct end *old = h->inner, *to = NULL;
	int rc = pool ? (next ? h1_open(pool, &to) : -ENOMEM) : -ENOENT;

	if (!rc) {
		rc = to->ops->head(to, next, h->bodiless);
		if (rc)
			to->ops->abort(to, END_CANCEL);
	}
	head_free(next);
	if (rc)
		return rc;
	h->inner = to;
	end_listen(to, &hop_events, h);
	if (h->bodiless && !last)
		end_listen(old, &drain_events, NULL);
	else
		old->ops->abort(old, h->bodiless ? END_DONE : END_CANCEL);
	return 0;
}

static bool leads_on(const struct hop *h, const struct head *answer)
{
	return h->request && (answer->status == 307 || answer->status == 308);
}

/* The gateway takes the body itself. The client hears of it when it had asked. */
static void on_100(struct hop *h, const struct head *answer)
{
	head_free(h->request);
	h->request = NULL;
	if (h->expects) {
		h->telling = true;
		h->end.on->head(&h->end, h->end.arg, answer, false);
		h->telling = false;
	}
	if (h->aborted)
		hop_free(h);
	else
		release(h);
}

/* A client that asked by HTTPS is not sent on by HTTP, least of all with a token in the URL: an
 * endpoint that is not known here yet is not reached. */
static bool leads_down(const struct head *answer)
{
	const char *location = answer->status / 100 == 3 ? head_get(answer, "location") : NULL;

	return location && !strncasecmp(location, "http:", 5);
}

static void refuse(struct hop *h)
{
	log_limited(LOG_LEVEL_WARN, 6,
		    "the gateway sends a client who came by HTTPS to a server of plain HTTP that "
		    "is no endpoint in the registry: refused");
	h->inner->ops->abort(h->inner, END_CANCEL);
	h->end.on->gone(&h->end, h->end.arg, END_PROTOCOL);
	hop_free(h);
}

static void on_head(struct end *e, void *arg, const struct head *answer, bool last)
{
	struct hop *h = arg;
	const char *location;

	(void)e;
	if (leads_on(h, answer) && (location = head_get(answer, "location")) &&
	    !follow(h, location, last)) {
		head_free(h->request);
		h->request = NULL;
		release(h);
		return;
	}
	if (answer->status == 100)
		on_100(h, answer);
	else if (leads_down(answer))
		refuse(h);
	else
		h->end.on->head(&h->end, h->end.arg, answer, last);
}

static void on_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	struct hop *h = arg;

	(void)e;
	h->end.on->data(&h->end, h->end.arg, data, len, last);
}

static void on_trailers(struct end *e, void *arg, const struct head *trailers)
{
	struct hop *h = arg;

	(void)e;
	h->end.on->trailers(&h->end, h->end.arg, trailers);
}

static void on_room(struct end *e, void *arg)
{
	struct hop *h = arg;

	(void)e;
	if (!h->waits)
		h->end.on->room(&h->end, h->end.arg);
}

static void on_gone(struct end *e, void *arg, enum end_why why)
{
	struct hop *h = arg;

	(void)e;
	h->end.on->gone(&h->end, h->end.arg, why);
	hop_free(h);
}

static const struct end_events hop_events = { on_head, on_data, on_trailers, on_room, on_gone };

/* ---- the gateway ----------------------------------------------------------------------------- */

int gateway_stream(struct gateway *g, bool secure, struct end **back)
{
	struct end *inner;
	struct hop *h;
	int rc = h1_open(g->pool, &inner);

	if (rc || !secure) {
		if (!rc)
			*back = inner;
		return rc;
	}
	h = calloc(1, sizeof(*h));
	if (!h) {
		inner->ops->abort(inner, END_CANCEL);
		return -ENOMEM;
	}
	h->end.ops = &hop_ops;
	h->g = g;
	h->inner = inner;
	end_listen(inner, &hop_events, h);
	*back = &h->end;
	return 0;
}

int gateway_open(struct gateway **out, struct front *f)
{
	const struct conf_edge *conf = front_conf(f);
	struct h1_pool_options opt = { .dial = { .to = conf->gateway, .timeout_ms = CONNECT_MS },
				       .idle_max = POOL_IDLE };
	struct gateway *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return -ENOMEM;
	g->front = f;
	rc = h1_pool_new(&g->pool, f->reactor, &opt);
	if (rc)
		free(g);
	else
		*out = g;
	return rc;
}

int gateway_start(struct gateway *g)
{
	return endpoints_open(&g->endpoints, g->front->edge);
}

void gateway_close(struct gateway *g)
{
	if (!g)
		return;
	endpoints_close(g->endpoints);
	h1_pool_free(g->pool);
	free(g);
}
