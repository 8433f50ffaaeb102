/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c -- see server.h. Bodies are gathered here, because a value of 1 MiB is 1.4 MiB in
 * base64.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http/registry/request.h"
#include "http/registry/server.h"
#include "http/registry/watch.h"
#include "lib/hash.h"
#include "lib/httpd.h"
#include "lib/log.h"

#define WATCH_BODY_MAX (32u << 10)

struct server {
	struct store *store;
	struct watches *watches;
	struct httpd *httpd;
	struct server_options options;
	uint8_t token_digest[32];
	uid_t uid; /* the daemons' user: ours */
	struct metric *requests, *seconds;
};

/* One request's own. */
struct call {
	struct server *server;
	enum request_kind kind; /* REQUEST_KINDS: a watch */
	enum request_power power;
	char *body;
	size_t len, room;
	unsigned int failed; /* a status: the body is read to its end, then refused */
	struct timespec began;
	struct watch *watch;
};

/* ---- who ---- */

/* Digests of equal length are compared, all bytes always. */
static bool token_matches(const struct server *s, const char *authorization)
{
	uint8_t digest[32], differ = 0;

	if (!s->options.token[0] || !authorization || strncasecmp(authorization, "Bearer ", 7))
		return false;
	sha256_once(authorization + 7, strlen(authorization + 7), digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		differ |= digest[i] ^ s->token_digest[i];
	return !differ;
}

static enum request_power power_of(const struct server *s, const struct http_req *req)
{
	int64_t uid = http_peer_uid(req);

	if (uid < 0)
		return token_matches(s, http_header(req, "Authorization")) ? POWER_ALL : POWER_NONE;
	if (!uid)
		return POWER_ALL;
	return (uid_t)uid == s->uid ? POWER_DAEMON : POWER_NONE;
}

static enum http_next refuse(struct server *s, struct http_req *req)
{
	int64_t uid = http_peer_uid(req);

	if (uid < 0) {
		log_limited(LOG_LEVEL_WARN, 6,
			    "a request over TCP came without the registry's token");
		http_add_header(req, "WWW-Authenticate", "Bearer");
		return http_reply_json(
			req, 401,
			request_error(16, "etcdserver: invalid auth token; send `Authorization: "
					  "Bearer` with the token of `registry_server: token`"));
	}
	log_limited(LOG_LEVEL_WARN, 6, "user %lld may not use the registry", (long long)uid);
	(void)s;
	return http_reply_json(req, 403,
			       request_error(7,
					     "etcdserver: permission denied; run as root or as the "
					     "daemons' user"));
}

/* ---- a request's way ---- */

static void count(struct call *c, unsigned int status)
{
	struct server *s = c->server;
	const char *kind = c->kind == REQUEST_KINDS ? "/v3/watch" : request_path(c->kind);
	struct timespec now;
	char text[8];

	if (!s->requests)
		return;
	snprintf(text, sizeof(text), "%u", status);
	metric_inc(metric_series(s->requests, kind, text, NULL), 1);
	if (c->kind == REQUEST_KINDS)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	metric_observe(metric_series(s->seconds, kind, NULL),
		       (double)(now.tv_sec - c->began.tv_sec) +
			       (double)(now.tv_nsec - c->began.tv_nsec) / 1e9);
}

static void run(struct http_req *req, void *arg)
{
	struct call *c = arg;
	json_t *answer = NULL;
	unsigned int status = request_run(c->server->store, c->kind, c->power,
					  c->body ? c->body : "", c->len, &answer);

	count(c, status);
	http_reply_json(req, status, answer);
}

static enum http_next on_begin(struct http_req *req, void *arg)
{
	struct server *s = arg;
	enum request_power power = power_of(s, req);
	struct call *c;

	if (power == POWER_NONE)
		return refuse(s, req);
	c = calloc(1, sizeof(*c));
	if (!c)
		return http_reply_json(req, 503,
				       request_error(8, "weir-registry is out of memory"));
	c->server = s;
	c->power = power;
	for (c->kind = 0; c->kind < REQUEST_KINDS; c->kind++)
		if (!strcmp(http_path(req), request_path(c->kind)))
			break;
	clock_gettime(CLOCK_MONOTONIC, &c->began);
	http_set_state(req, c);
	return HTTP_CONTINUE;
}

static enum http_next on_body(struct http_req *req, void *arg, const void *data, size_t len,
			      size_t *taken)
{
	struct call *c = http_state(req);

	(void)arg;
	*taken = len;
	if (c->len + len > REQUEST_BODY_MAX)
		c->failed = 413;
	if (c->failed)
		return HTTP_CONTINUE;
	if (c->len + len > c->room) {
		size_t room = c->len + len > 2 * c->room ? c->len + len : 2 * c->room;
		char *more = realloc(c->body, room);

		if (!more) {
			c->failed = 503;
			return HTTP_CONTINUE;
		}
		c->body = more;
		c->room = room;
	}
	memcpy(c->body + c->len, data, len);
	c->len += len;
	return HTTP_CONTINUE;
}

static enum http_next on_end(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);

	(void)arg;
	if (c->failed)
		return http_reply_json(req, c->failed,
				       request_error(c->failed == 413 ? 3 : 8,
						     c->failed == 413
							     ? "etcdserver: request is too large"
							     : "weir-registry is out of memory"));
	if (c->kind != REQUEST_KEEPALIVE)
		return http_work(req, run, c);
	run(req, c);
	return HTTP_ANSWERED;
}

static enum http_next on_watch(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	struct server *s = arg;
	struct request_watch wanted;
	json_t *answer = NULL;
	unsigned int status = request_watch_parse(&wanted, c->body ? c->body : "", c->len, &answer);

	count(c, status);
	if (status != 200)
		return http_reply_json(req, status, answer);
	return watches_reply(s->watches, req, &wanted, &c->watch);
}

static void on_done(struct http_req *req, void *arg)
{
	struct server *s = arg;
	struct call *c = http_state(req);

	if (!c)
		return;
	watches_detach(s->watches, &c->watch);
	if (c->body)
		explicit_bzero(c->body, c->len);
	free(c->body);
	free(c);
}

static enum http_next on_health(struct http_req *req, void *arg)
{
	(void)arg;
	return http_reply(req, 200, "application/json", "{\"health\":\"true\"}", 17);
}

static enum http_next on_metrics(struct http_req *req, void *arg)
{
	struct server *s = arg;
	size_t len;
	char *page;

	if (power_of(s, req) == POWER_NONE)
		return refuse(s, req);
	page = s->options.metrics ? metrics_render(s->options.metrics, &len) : NULL;
	if (!page)
		return http_reply_error(req, 503, "no_metrics", "there are no metrics");
	return http_reply_owned(req, 200, "text/plain; version=0.0.4", page, len);
}

#define POST_ROUTE(path_, max_, end_)                                                              \
	{                                                                                          \
		.methods = 1u << HTTP_POST, .path = (path_), .body_max = (max_),                   \
		.begin = on_begin, .body = on_body, .end = (end_), .done = on_done                 \
	}

static const struct http_route routes[] = {
	POST_ROUTE("/v3/kv/range", REQUEST_BODY_MAX, on_end),
	POST_ROUTE("/v3/kv/put", REQUEST_BODY_MAX, on_end),
	POST_ROUTE("/v3/kv/deleterange", REQUEST_BODY_MAX, on_end),
	POST_ROUTE("/v3/kv/txn", REQUEST_BODY_MAX, on_end),
	POST_ROUTE("/v3/kv/compaction", REQUEST_BODY_MAX, on_end),
	POST_ROUTE("/v3/lease/grant", REQUEST_BODY_MAX, on_end),
	POST_ROUTE("/v3/lease/revoke", REQUEST_BODY_MAX, on_end),
	POST_ROUTE("/v3/lease/keepalive", REQUEST_BODY_MAX, on_end),
	POST_ROUTE("/v3/watch", WATCH_BODY_MAX, on_watch),
	{ .methods = 1u << HTTP_GET, .path = "/health", .begin = on_health },
	{ .methods = 1u << HTTP_GET, .path = "/_/health", .begin = on_health },
	{ .methods = 1u << HTTP_GET, .path = "/_/metrics", .begin = on_metrics },
	{ .path = NULL },
};

/* ---- metrics ---- */

struct gauges {
	struct server *server;
	struct metric_series *revision, *keys, *bytes, *leases, *watches;
};

static void collect(void *arg)
{
	struct gauges *g = arg;
	struct store_counts counts;

	store_counts(g->server->store, &counts);
	metric_set(g->revision, (double)counts.revision);
	metric_set(g->keys, (double)counts.keys);
	metric_set(g->bytes, (double)counts.bytes);
	metric_set(g->leases, (double)counts.leases);
	metric_set(g->watches, (double)server_watches(g->server));
}

static struct metric_series *gauge(struct metrics *m, const char *name, const char *help)
{
	return metric_series(metric_add(m, METRIC_GAUGE, name, help, NULL), NULL);
}

static int add_metrics(struct server *s)
{
	static struct gauges g; /* one server a process has metrics */
	static const double bounds[] = { .0005, .001, .0025, .005, .01, .025,
					 .05,	.1,   .25,   .5,   1,	2.5 };
	struct metrics *m = s->options.metrics;

	if (!m)
		return 0;
	s->requests = metric_add(m, METRIC_COUNTER, "registry_requests_total",
				 "Requests by path and HTTP status.", "path,status");
	s->seconds = metric_add(m, METRIC_HISTOGRAM, "registry_request_seconds",
				"Time from a request's headers to its answer, by path.", "path");
	if (!s->requests || !s->seconds)
		return -ENOMEM;
	metric_buckets(s->seconds, bounds, sizeof(bounds) / sizeof(bounds[0]));
	g.server = s;
	g.revision = gauge(m, "registry_revision", "Revision of the last change.");
	g.keys = gauge(m, "registry_keys", "Keys present.");
	g.bytes = gauge(m, "registry_bytes", "Bytes of keys and values present.");
	g.leases = gauge(m, "registry_leases", "Leases alive.");
	g.watches = gauge(m, "registry_watches", "Watches open.");
	return metrics_on_collect(m, collect, &g);
}

/* ---- public ---- */

int server_start(struct server **out, struct store *store, const int *fds, size_t nfds,
		 const struct server_options *options)
{
	struct server *s = calloc(1, sizeof(*s));
	struct httpd_options http = {
		.name = "registry", .threads = 2, .workers = 8, .idle_s = 300
	};
	int rc;

	if (!s)
		return -ENOMEM;
	s->store = store;
	s->options = *options;
	s->uid = geteuid();
	sha256_once(options->token, strlen(options->token), s->token_digest);
	http.metrics = options->metrics;
	rc = watches_new(&s->watches, store);
	if (!rc)
		rc = add_metrics(s);
	if (!rc)
		rc = httpd_start(&s->httpd, &http, fds, nfds, routes, s);
	if (rc) {
		watches_free(s->watches);
		free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void server_stop(struct server *server, unsigned int grace_ms)
{
	if (!server)
		return;
	watches_stop(server->watches);
	httpd_stop(server->httpd, grace_ms);
	watches_free(server->watches);
	explicit_bzero(server, sizeof(*server));
	free(server);
}

void server_progress(struct server *server)
{
	watches_progress(server->watches);
}

size_t server_watches(struct server *server)
{
	return watches_count(server->watches);
}
