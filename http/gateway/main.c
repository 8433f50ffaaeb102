/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c -- weir-gateway: redirects requests to endpoints, carries S3 to them, and shows the installation in a console.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/gateway/buckets.h"
#include "http/gateway/gateway.h"
#include "http/gateway/s3_gateway.h"
#include "lib/log.h"
#include "lib/media_type.h"

#define PUT (1u << HTTP_PUT)
#define GET (1u << HTTP_GET)
#define DEL (1u << HTTP_DELETE)
#define POST (1u << HTTP_POST)
#define OPTIONS (1u << HTTP_OPTIONS)

#define USERS_WAIT_MS 2000
#define SMALL 16384 /* bytes of a request that holds a few fields */

static enum http_next health(struct http_req *req, void *arg)
{
	return inside_health_begin(req, ((struct gateway *)arg)->load);
}

static enum http_next audit_inside(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;

	return audit_reply(req, gw->audit, gw->users);
}

/* For other gateways, which merge what all nodes know. */
static const struct http_route inside_routes[] = {
	{ .methods = GET, .path = "/_/audit", .begin = audit_inside },
	{ .path = NULL },
};

/* Of objects that are no dataset's a body is never taken: body_max only lets an announced one reach the redirect,
 * which looks at its size. */
static const struct http_route routes[] = {
	{ .methods = PUT | GET | DEL,
	  .path = "/b/:bucket/*key",
	  .body_max = UINT64_MAX,
	  .begin = object_begin,
	  .body = object_body,
	  .end = object_end,
	  .done = object_done },
	{ .methods = OPTIONS, .path = "/b/:bucket/*key", .begin = media_cors_preflight },
	{ .methods = (1u << HTTP_METHODS) - 1,
	  .path = "s3",
	  .body_max = UINT64_MAX - 1,
	  .begin = s3_begin,
	  .body = s3_body,
	  .end = s3_end,
	  .done = s3_done },
	{ .methods = GET, .path = "/o/:sha256", .begin = redirect_hash },
	{ .methods = GET, .path = "/", .begin = console_page },
	{ .methods = GET, .path = "/_/console/*file", .begin = console_file },
	{ .methods = GET, .path = "/_/player", .begin = player_page },
	{ .methods = GET, .path = "/_/player/*file", .begin = player_file },
	{ .methods = GET, .path = "/_/peers/shim.js", .begin = player_shim_file },
	{ .methods = GET, .path = "/_/status", .begin = console_status },
	{ .methods = GET, .path = "/_/events", .begin = console_events },
	{ .methods = POST, .path = "/_/token", .begin = console_token },
	{ .methods = GET, .path = "/_/login/start", .begin = signon_start },
	{ .methods = GET, .path = "/_/login/callback", .begin = signon_callback },
	{ .methods = POST, .path = "/_/login/password", .body_max = SMALL, .end = signon_password },
	{ .methods = POST, .path = "/_/login/device", .body_max = SMALL, .end = signon_device },
	{ .methods = POST, .path = "/_/login/device/token", .body_max = SMALL, .end = signon_device_token },
	{ .methods = POST, .path = "/_/logout", .body_max = SMALL, .end = signon_logout },
	{ .methods = GET, .path = "/_/session", .begin = signon_session },
	{ .methods = GET, .path = "/_/tokens", .begin = signon_tokens },
	{ .methods = POST, .path = "/_/tokens", .body_max = SMALL, .end = signon_tokens },
	{ .methods = DEL, .path = "/_/tokens/:id", .begin = signon_tokens },
	{ .methods = GET, .path = "/_/people", .begin = signon_people },
	{ .methods = POST, .path = "/_/people/:name", .body_max = SMALL, .end = signon_people },
	{ .methods = GET, .path = "/_/audit", .begin = signon_audit },
	{ .methods = GET, .path = "/_/buckets", .begin = buckets_list },
	{ .methods = GET, .path = "/_/buckets/:bucket", .begin = buckets_one },
	{ .methods = POST, .path = "/_/buckets/:bucket", .body_max = SMALL, .end = buckets_change },
	{ .methods = GET, .path = "/_/buckets/:bucket/objects", .begin = buckets_objects },
	{ .methods = GET, .path = "/_/keys", .begin = keys_list },
	{ .methods = GET, .path = "/_/health", .begin = health },
	{ .path = NULL },
};

static void collect(void *arg)
{
	struct gateway *gw = arg;

	metric_set(gw->counted[0], (double)gw->redirected);
	metric_set(gw->counted[1], (double)gw->refused);
	metric_set(gw->counted[2], (double)gw->no_endpoint);
	metric_set(gw->counted[3], (double)gw->carried);
	metric_set(gw->counted[4], (double)gw->broken);
}

static int add_metrics(struct gateway *gw)
{
	static const char *const results[] = { "redirected", "refused", "no_endpoint", "carried", "broken" };
	struct metric *m = metric_add(gw->daemon->metrics, METRIC_COUNTER, "gateway_requests_total",
				      "Requests for objects: sent on to an endpoint, refused for "
				      "lack of rights, without an endpoint alive, carried to an endpoint (S3), or "
				      "carried and lost with it.",
				      "result");

	for (size_t i = 0; m && i < sizeof(results) / sizeof(*results); i++)
		gw->counted[i] = metric_series(m, results[i], NULL);
	return m ? metrics_on_collect(gw->daemon->metrics, collect, gw) : -ENOMEM;
}

static bool enabled(const struct conf *conf)
{
	return conf->gateway.enabled;
}

/* What a reload may change. */
static void take_limits(struct gateway *gw, const struct conf_gateway *conf)
{
	gw->token_ttl_s = (long long)(conf->redirect.token_ttl_us / 1000000);
	gw->object_max = conf->limits.object;
}

static int prepare_folder(struct gateway *gw, const struct daemon *d)
{
	int rc;

	conf_state_path(d->conf, "gateway", gw->folder, sizeof(gw->folder));
	rc = priv_folder(d->conf->state, &d->user, 0750);
	if (!rc)
		rc = priv_folder(gw->folder, &d->user, 0700);
	if (rc)
		log_error("cannot make the folder %s: %s", gw->folder, strerror(-rc));
	return rc;
}

static int open_audit(struct gateway *gw, const struct daemon *d)
{
	char folder[sizeof(gw->folder) + 8];
	struct audit_options opt = {
		.folder = folder, .node = d->conf->node, .role = "gateway", .metrics = d->metrics
	};
	int rc;

	snprintf(folder, sizeof(folder), "%s/audit", gw->folder);
	rc = audit_open(&gw->audit, &opt);
	if (rc)
		log_error("cannot open the audit log in %s: %s", folder, strerror(-rc));
	return rc;
}

static int prepare(struct daemon *d)
{
	const struct conf_gateway *conf = &d->conf->gateway;
	struct gateway *gw = calloc(1, sizeof(*gw));
	struct httpc *client = NULL;
	int rc;

	if (!gw)
		return -ENOMEM;
	d->state = gw;
	gw->daemon = d;
	priv_raise_descriptors();
	if (conf->nlisten > GATEWAY_LISTEN_MAX) {
		log_error("%s: gateway.listen: %zu addresses; at most %d", d->conf->path,
			  conf->nlisten, GATEWAY_LISTEN_MAX);
		return -EINVAL;
	}
	memset(gw->fds, 0xff, sizeof(gw->fds));
	gw->player = player_open();
	take_limits(gw, conf);
	rc = access_bind(conf->listen, conf->nlisten, d->user.uid, gw->fds);
	if (!rc)
		rc = prepare_folder(gw, d);
	if (!rc)
		rc = inside_bind(&gw->inside, d->conf, &conf->inside);
	if (!rc)
		rc = inside_client(&client, d->conf, "weir-gateway/" WEIR_VERSION);
	if (!rc)
		rc = load_new(&gw->load);
	if (!rc)
		rc = add_metrics(gw);
	if (!rc)
		rc = console_open(&gw->console, gw, client);
	if (!rc)
		rc = identity_open(&gw->identity, d->conf);
	if (!rc)
		rc = services_prepare(gw, d);
	if (!rc)
		rc = s3_prepare(gw, d->conf);
	return rc;
}

/* On the main thread: the first user, or a provider of them, makes the sockets off loopback listen. */
static void listen_if_users(void *arg)
{
	struct gateway *gw = arg;
	bool provider = gw->daemon->conf->identity.enabled; /* everybody's sign-in begins here */
	int rc;

	if (gw->listening || !gw->server || (!provider && !users_count(gw->users)))
		return;
	rc = httpd_listen(gw->server);
	if (rc) {
		log_error("cannot listen off loopback: %s", strerror(-rc));
		return;
	}
	gw->listening = true;
	log_info("there %s: listening on every address of gateway.listen",
		 provider ? "is a provider of identities" : "are users");
}

static void users_changed(void *arg)
{
	struct gateway *gw = arg;

	loop_post(gw->daemon->loop, listen_if_users, gw);
}

static void announce(struct gateway *gw, const struct conf *conf)
{
	char *more = neighbours_announcement(conf);

	registry_announce(gw->lease, conf, "gateway", more);
	free(more);
}

static int start(struct daemon *d)
{
	const struct conf_gateway *conf = &d->conf->gateway;
	struct gateway *gw = d->state;
	struct httpd_options opt = {
		.name = "gateway",
		.connections_max = conf->limits.connections,
		.apart_max = peers_connections(conf->peers.viewers),
		.workers = 16, /* passwords are hashed and the provider is asked there */
		.slow_workers = S3_SLOW_MAX,
		.metrics = d->metrics,
		.load = gw->load,
		.choose = s3_choose,
		.refuse = s3_refuse,
		.header_bytes_max = conf->limits.header_bytes,
		.idle_s = (unsigned int)(conf->limits.idle_us / 1000000),
		.header_s = (unsigned int)(conf->limits.request_us / 1000000),
	};
	int rc = open_audit(gw, d);

	if (!rc)
		rc = users_open(&gw->users, d->registry, users_changed, gw);
	if (!rc)
		rc = identity_start(gw->identity, gw->users, d->registry, gw->audit, d->metrics);
	if (!rc)
		rc = view_open(&gw->view, d->registry, d->conf);
	if (!rc && !users_wait(gw->users, USERS_WAIT_MS))
		log_warn("the registry is silent: who may is not known yet");
	if (!rc)
		rc = services_start(gw, routes, inside_routes);
	if (!rc)
		rc = s3_start(gw);
	if (!rc)
		rc = access_listen_local(conf->listen, conf->nlisten, gw->fds);
	if (!rc)
		rc = httpd_start(&gw->server, &opt, gw->fds, conf->nlisten, gw->routes, gw);
	if (!rc)
		rc = services_serve(gw);
	if (!rc)
		rc = console_start(gw->console);
	if (!rc)
		rc = inside_serve(gw->inside, d, gw->load, NULL, gw->inside_routes, gw);
	if (!rc)
		rc = registry_lease(d->registry, &gw->lease, 5, NULL, NULL);
	if (rc) {
		log_error("cannot start: %s", strerror(-rc));
		return rc;
	}
	announce(gw, d->conf);
	listen_if_users(gw);
	if (!gw->listening)
		log_info("no user yet: only loopback is served (weir user add NAME)");
	loop_notify_ready("redirecting");
	return 0;
}

static void stop(struct daemon *d)
{
	struct gateway *gw = d->state;

	if (!gw)
		return;
	registry_lease_end(gw->lease, true);
	console_stop(gw->console);
	services_stop(gw);
	s3_stop(gw);
	httpd_stop(gw->server, 5000);
	identity_stop(gw->identity);
	inside_stop(gw->inside);
	console_free(gw->console);
	services_free(gw);
	s3_free(gw);
	view_close(gw->view);
	identity_free(gw->identity);
	users_close(gw->users);
	audit_close(gw->audit);
	load_free(gw->load);
	player_close(gw->player);
	free(gw);
	d->state = NULL;
}

static int reload(struct daemon *d, const struct conf *old)
{
	struct gateway *gw = d->state;

	if (old->gateway.nlisten != d->conf->gateway.nlisten ||
	    memcmp(old->gateway.listen, d->conf->gateway.listen,
		   old->gateway.nlisten * sizeof(*old->gateway.listen)))
		log_warn("gateway.listen changed: it takes a restart to listen elsewhere");
	if ((gw->s3_domain || d->conf->s3.domain) &&
	    (!gw->s3_domain || !d->conf->s3.domain || strcmp(gw->s3_domain, d->conf->s3.domain)))
		log_warn("s3.domain changed: it takes a restart to listen to the new one");
	identity_reload(old, d->conf);
	take_limits(gw, &d->conf->gateway);
	services_configure(gw, d->conf);
	view_configure(gw->view, d->conf);
	announce(gw, d->conf); /* its URLs may be others */
	return 0;
}

static void status(struct daemon *d, json_t *answer)
{
	struct gateway *gw = d->state;

	json_object_set_new(answer, "requests",
			    json_pack("{s:I, s:I, s:I, s:I}", "redirected", (json_int_t)gw->redirected,
				      "refused", (json_int_t)gw->refused, "no_endpoint",
				      (json_int_t)gw->no_endpoint, "carried", (json_int_t)gw->carried));
	json_object_set_new(answer, "users", json_integer((json_int_t)users_count(gw->users)));
	json_object_set_new(
		answer, "listening",
		json_string(gw->listening ? "everywhere" : "loopback only: no user yet"));
	json_object_set_new(answer, "endpoints", view_endpoints(gw->view));
	json_object_set_new(answer, "s3", json_pack("{s:I}", "active", (json_int_t)carriers_active(gw->carriers)));
	json_object_set_new(answer, "uploads", uploads_status(gw->uploads));
	json_object_set_new(answer, "peers", peers_status(gw->peers));
}

int main(int argc, char **argv)
{
	static const struct daemon_program program = {
		.name = "weir-gateway",
		.role = "gateway",
		.summary = "redirects requests for objects to endpoints; web console",
		.enabled = enabled,
		.profile = PRIV_NET_FILES,
		.prepare = prepare,
		.start = start,
		.stop = stop,
		.reload = reload,
		.status = status,
	};

	int code = uploads_modes(argc, argv);

	if (code < 0)
		code = peers_modes(argc, argv);
	if (code >= 0)
		return code;
	if (argc == 2 && !strcmp(argv[1], "--routes")) {
		http_routes_print(routes, stdout);
		http_routes_print(uploads_routes(), stdout);
		http_routes_print(peers_routes(), stdout);
		return 0;
	}
	return daemon_main(&program, argc, argv);
}
