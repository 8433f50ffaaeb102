/* SPDX-License-Identifier: Apache-2.0 */
/*
 * services.c -- the services that the gateway composes: uploads, sign-on, peers; their routes beside its own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/gateway/gateway.h"
#include "lib/hash.h"
#include "lib/log.h"

/* ---- /b/BUCKET/KEY: a dataset's files are changed by the upload service, all else is redirected ---- */

enum http_next object_begin(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;
	bool changes = http_method(req) == HTTP_PUT || http_method(req) == HTTP_DELETE;

	if (changes && *http_param(req, "key") && uploads_owns(gw->uploads, http_param(req, "bucket")))
		return uploads_put_begin(req, gw->uploads);
	return redirect_object(req, arg);
}

enum http_next object_body(struct http_req *req, void *arg, const void *data, size_t len, size_t *taken)
{
	return uploads_put_body(req, ((struct gateway *)arg)->uploads, data, len, taken);
}

enum http_next object_end(struct http_req *req, void *arg)
{
	return uploads_put_end(req, ((struct gateway *)arg)->uploads);
}

void object_done(struct http_req *req, void *arg)
{
	uploads_put_done(req, ((struct gateway *)arg)->uploads);
}

/* ---- what the upload service asks ---- */

static int pick(void *arg, char url[256])
{
	struct gateway *gw = arg;
	char node[64];
	uint32_t n;

	random_bytes(&n, sizeof(n));
	return view_pick(gw->view, (double)n / 4294967296.0, url, node);
}

/* A member's inside address; false: it is no gateway, or has none. */
static bool inside_of(const json_t *member, char url[256])
{
	const char *role = json_string_value(json_object_get(member, "role"));
	const char *at = json_string_value(json_object_get(member, "inside"));

	if (!role || !at || strcmp(role, "gateway"))
		return false;
	snprintf(url, 256, "%s://%s", json_is_true(json_object_get(member, "tls")) ? "https" : "http", at);
	return true;
}

static int gateway_of(void *arg, const char *digits, char url[256])
{
	struct gateway *gw = arg;
	json_t *members = view_members(gw->view), *member;
	int rc = -ENOENT;
	size_t i;

	json_array_foreach (members, i, member) {
		const char *node = json_string_value(json_object_get(member, "node"));
		char theirs[9];

		if (!node || rc == 0)
			continue;
		uploads_node_digits(node, theirs);
		if (!strcmp(theirs, digits) && inside_of(member, url))
			rc = 0;
	}
	json_decref(members);
	return rc;
}

static size_t other_gateways(void *arg, char (*urls)[256], size_t max)
{
	struct gateway *gw = arg;
	json_t *members = view_members(gw->view), *member;
	size_t n = 0, i;

	json_array_foreach (members, i, member) {
		const char *node = json_string_value(json_object_get(member, "node"));

		if (node && strcmp(node, gw->node) && n < max && inside_of(member, urls[n]))
			n++;
	}
	json_decref(members);
	return n;
}

/* ---- what the peers service asks ---- */

static void endpoints_of(void *arg, unsigned int *alive, unsigned int *known)
{
	struct gateway *gw = arg;

	neighbours_endpoints(gw->neighbours, gw->view, alive, known);
}

static json_t *gateways_of(void *arg)
{
	return neighbours_gateways(((struct gateway *)arg)->view);
}

/* ---- all routes ---- */

struct table {
	const struct http_route *routes; /* ended by a NULL path */
	void *arg;			 /* of each; NULL: the server's */
};

/* One table of several; NULL without memory. */
static struct http_route *join(const struct table *tables, size_t ntables)
{
	size_t n = 0, k = 0;
	struct http_route *all;

	for (size_t i = 0; i < ntables; i++)
		for (const struct http_route *r = tables[i].routes; r->path; r++)
			n++;
	all = calloc(n + 1, sizeof(*all));
	for (size_t i = 0; all && i < ntables; i++)
		for (const struct http_route *r = tables[i].routes; r->path; r++) {
			all[k] = *r;
			all[k++].arg = tables[i].arg;
		}
	return all;
}

int services_prepare(struct gateway *gw, const struct daemon *d)
{
	int rc = inside_client(&gw->client, d->conf, "weir-gateway/" WEIR_VERSION);
	const char *folder = gw->spool;

	snprintf(gw->node, sizeof(gw->node), "%s", d->conf->node);
	snprintf(gw->spool, sizeof(gw->spool), "%s/uploads", gw->folder);
	snprintf(gw->peers_folder, sizeof(gw->peers_folder), "%s/peers", gw->folder);
	if (!rc)
		rc = priv_folder(gw->spool, &d->user, 0700);
	if (!rc) {
		folder = gw->peers_folder;
		rc = priv_folder(gw->peers_folder, &d->user, 0700);
	}
	if (rc)
		log_error("cannot make the folder %s: %s", folder, strerror(-rc));
	if (!rc)
		rc = neighbours_new(&gw->neighbours);
	if (!rc)
		rc = uploads_prepare(&gw->uploads, d->conf, &d->user);
	if (!rc)
		rc = peers_prepare(&gw->peers, d->conf);
	return rc;
}

static int start_uploads(struct gateway *gw)
{
	struct uploads_options opt = {
		.folder = gw->spool,
		.users = gw->users,
		.registry = gw->daemon->registry,
		.audit = gw->audit,
		.client = gw->client,
		.metrics = gw->daemon->metrics,
		.pick = pick,
		.gateway = gateway_of,
		.gateways = other_gateways,
		.arg = gw,
	};
	int rc = uploads_start(gw->uploads, &opt);

	if (rc)
		log_error("cannot begin to take uploads in %s: %s", gw->spool, strerror(-rc));
	return rc;
}

static int start_peers(struct gateway *gw)
{
	struct peers_options opt = {
		.folder = gw->peers_folder,
		.node = gw->node,
		.users = gw->users,
		.registry = gw->daemon->registry,
		.audit = gw->audit,
		.client = gw->client,
		.metrics = gw->daemon->metrics,
		.pick = pick,
		.endpoints = endpoints_of,
		.gateways = gateways_of,
		.arg = gw,
	};
	int rc = peers_start(gw->peers, &opt);

	if (rc)
		log_error("cannot begin to group viewers: %s", strerror(-rc));
	return rc;
}

int services_start(struct gateway *gw, const struct http_route *own, const struct http_route *own_inside)
{
	const struct table public[] = { { own, NULL }, { uploads_routes(), NULL }, { peers_routes(), gw->peers } };
	const struct table inside[] = { { own_inside, NULL }, { uploads_inside_routes(), NULL }, { peers_inside_routes(), gw->peers } };
	int rc = start_uploads(gw);

	if (!rc)
		rc = start_peers(gw);
	gw->routes = join(public, sizeof(public) / sizeof(*public));
	gw->inside_routes = join(inside, sizeof(inside) / sizeof(*inside));
	return rc ? rc : gw->routes && gw->inside_routes ? 0 : -ENOMEM;
}

int services_serve(struct gateway *gw)
{
	int rc = uploads_serve(gw->uploads, gw->server);

	return rc ? rc : peers_serve(gw->peers, gw->server);
}

void services_configure(struct gateway *gw, const struct conf *conf)
{
	uploads_configure(gw->uploads, conf);
	peers_configure(gw->peers, conf);
}

void services_stop(struct gateway *gw)
{
	peers_stop(gw->peers);
	uploads_stop(gw->uploads);
}

void services_free(struct gateway *gw)
{
	peers_free(gw->peers);
	uploads_free(gw->uploads);
	neighbours_free(gw->neighbours);
	httpc_free(gw->client);
	free(gw->routes);
	free(gw->inside_routes);
}
