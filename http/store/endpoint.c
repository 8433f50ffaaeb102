/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.c -- the program weir-endpoint: puts the parts together, and takes them apart
 * (endpoint.h).
 */
#include <errno.h>
#include <stdlib.h>

#include "http/s3/count.h"
#include "http/store/endpoint.h"
#include "http/store/hot.h"
#include "http/store/inside_api.h"
#include "http/store/lifecycle.h"
#include "http/store/object.h"
#include "http/store/orphans.h"
#include "http/store/presence.h"
#include "http/store/ready.h"
#include "http/store/repair.h"
#include "http/store/reseal.h"
#include "http/store/s3_choose.h"
#include "lib/log.h"

#define OPEN_VERSIONS 1024 /* descriptors of hot versions, and at most 64 KiB of memory each */
#define WORKERS	      64   /* requests that wait for disks, second copies and primaries */
#define SENDERS	      16
#define FIRST_WAIT_MS 3000 /* for the registry, at start */
#define GIVE_UP_MS    1000 /* copies that would end within this, when it stops, may */

static bool endpoint_enabled(const struct conf *conf)
{
	return conf->endpoint.enabled;
}

static int bind_public(struct endpoint *ep, const struct conf_endpoint *conf, uid_t uid)
{
	ep->nlisteners = conf->nlisten;
	ep->listeners = calloc(conf->nlisten + 1, sizeof(int));
	if (!ep->listeners)
		return -ENOMEM;
	return access_bind(conf->listen, conf->nlisten, uid, ep->listeners);
}

static int prepare_folder(struct endpoint *ep, const struct conf *conf,
			  const struct priv_user *user)
{
	int rc;

	conf_state_path(conf, "endpoint", ep->dir, sizeof(ep->dir));
	rc = priv_folder(conf->state, user, 0750);
	if (!rc)
		rc = priv_folder(ep->dir, user, 0700);
	if (rc)
		log_error("cannot make the folder %s: %s", ep->dir, strerror(-rc));
	return rc;
}

static int endpoint_prepare(struct daemon *d)
{
	struct endpoint *ep = calloc(1, sizeof(*ep));
	int rc;

	if (!ep)
		return -ENOMEM;
	d->state = ep;
	ep->daemon = d;
	ep->copies = d->conf->endpoint.copies ? d->conf->endpoint.copies : 1;
	ep->orphans_remove = d->conf->endpoint.orphans == CONF_ORPHANS_REMOVE;
	ep->object_max = d->conf->endpoint.limits.object;
	snprintf(ep->node, sizeof(ep->node), "%s", d->conf->node);
	/* Copies: a reload frees the configuration. */
	ep->s3_domain = d->conf->s3.domain ? strdup(d->conf->s3.domain) : NULL;
	ep->s3_region = strdup(d->conf->s3.region ? d->conf->s3.region : "us-east-1");
	if (!ep->s3_region || (d->conf->s3.domain && !ep->s3_domain))
		return -ENOMEM;
	priv_raise_descriptors(); /* also for hot versions and uploads */
	rc = prepare_folder(ep, d->conf, &d->user);
	if (!rc)
		rc = bind_public(ep, &d->conf->endpoint, d->user.uid);
	if (!rc)
		rc = inside_bind(&ep->inside, d->conf, &d->conf->endpoint.inside);
	if (!rc)
		rc = inside_client(&ep->httpc, d->conf, "weir-endpoint/" WEIR_VERSION);
	if (!rc)
		rc = load_new(&ep->load);
	return rc;
}

static int open_store(struct endpoint *ep)
{
	const struct conf_endpoint *conf = &ep->daemon->conf->endpoint;
	struct chunks_options options = { .dir = ep->dir };
	int rc;

	if (conf->reserve_fraction > 0)
		options.reserve_fraction = conf->reserve_fraction;
	else
		options.reserve_bytes = conf->reserve;
	rc = chunks_open(&ep->chunks, &options);
	if (rc == -EBUSY)
		log_error("%s: another endpoint runs in this folder", ep->dir);
	else if (rc)
		log_error("%s: cannot open the store: %s", ep->dir, strerror(-rc));
	if (!rc)
		rc = held_cache_new(&ep->held, ep->chunks, OPEN_VERSIONS);
	if (!rc)
		rc = inbound_new(&ep->inbound, ep->chunks);
	if (!rc)
		rc = buckets_new(&ep->buckets, ep->daemon->registry);
	return rc;
}

/* Told by the outbox of a bucket's primary. */
static int forget(void *arg, const char *version)
{
	struct endpoint *ep = arg;
	struct version v;
	int rc;

	if (version_parse(&v, version))
		return 0;
	inbound_forget(ep->inbound, &v);
	rc = chunks_forget(ep->chunks, &v);
	held_drop(ep->held, &v);
	return rc;
}

static void forget_many(void *arg, const char *const *versions, size_t n, int *rc)
{
	struct version *v = calloc(n + 1, sizeof(*v));
	struct endpoint *ep = arg;

	for (size_t i = 0; v && i < n; i++)
		if (!version_parse(&v[i], versions[i]))
			inbound_forget(ep->inbound, &v[i]);
	if (v)
		chunks_forget_many(ep->chunks, v, n, rc);
	for (size_t i = 0; i < n; i++) {
		if (v)
			held_drop(ep->held, &v[i]);
		else
			rc[i] = -ENOMEM;
	}
	free(v);
}

static int fetch(void *arg, const char *bucket, const struct name_entry *entry)
{
	struct endpoint *ep = arg;
	struct version v;

	(void)bucket;
	if (version_parse(&v, entry->version))
		return -ENOENT;
	if (chunks_has(ep->chunks, &v))
		return 1;
	return repair_fetch(ep, &v, entry->holders, entry->nholders);
}

static int open_audit(struct endpoint *ep)
{
	char folder[sizeof(ep->dir) + 8];
	struct audit_options options = { .folder = folder,
					 .node = ep->node,
					 .role = "endpoint",
					 .metrics = ep->daemon->metrics };
	int rc;

	snprintf(folder, sizeof(folder), "%s/audit", ep->dir);
	rc = audit_open(&ep->audit, &options);
	if (rc)
		log_error("cannot open the audit log in %s: %s", folder, strerror(-rc));
	return rc;
}

/* A round of data is durable, and its names have begun. */
static void run_names(void *arg)
{
	struct endpoint *ep = arg;

	names_later_run(ep->names);
}

static int open_names(struct endpoint *ep)
{
	const struct conf *conf = ep->daemon->conf;
	char dir[sizeof(ep->dir) + 8];
	struct names_options options = { .dir = dir,
					 .node = conf->node,
					 .site = conf->site,
					 .domain = conf->domain,
					 .registry = ep->daemon->registry,
					 .httpc = ep->httpc,
					 .forget = forget,
					 .forget_many = forget_many,
					 .fetch = fetch,
					 .arg = ep };
	int rc;

	snprintf(dir, sizeof(dir), "%s/names", ep->dir);
	rc = names_open(&ep->names, &options);
	if (!rc)
		segments_after(chunks_segments(ep->chunks), run_names, ep);
	return rc;
}

/* The first user exists: listeners off loopback open. */
static void listen_if_users(void *arg)
{
	struct endpoint *ep = arg;
	int rc;

	if (!ep->server || !users_count(ep->users))
		return;
	rc = httpd_listen(ep->server);
	if (rc)
		log_error("cannot listen: %s", strerror(-rc));
}

static void on_users(void *arg)
{
	struct endpoint *ep = arg;

	loop_post(ep->daemon->loop, listen_if_users, ep); /* the server begins and ends there */
}

static int serve_inside(struct endpoint *ep)
{
	struct httpd_options options = { .workers = WORKERS, .upload_chunk = 128 << 10, .connections_max = 1024,
					 .choose = s3_choose_inside, .refuse = s3_refuse_inside };

	return inside_serve(ep->inside, ep->daemon, ep->load, &options, inside_api_routes, ep);
}

static int serve_public(struct endpoint *ep)
{
	const struct conf_endpoint *conf = &ep->daemon->conf->endpoint;
	struct httpd_options options = {
		.name = "endpoint",
		.connections_max = conf->limits.connections,
		.header_bytes_max = (size_t)conf->limits.header_bytes,
		.idle_s = (unsigned int)(conf->limits.idle_us / 1000000),
		.header_s = (unsigned int)(conf->limits.request_us / 1000000),
		.workers = WORKERS,
		.metrics = ep->daemon->metrics,
		.load = ep->load,
		.choose = s3_choose,
		.hot = hot_answer,
		.refuse = s3_refuse,
	};
	struct httpd *server = NULL;
	int rc;

	rc = access_listen_local(conf->listen, conf->nlisten, ep->listeners);
	if (!rc)
		rc = httpd_start(&server, &options, ep->listeners, ep->nlisteners,
				 object_routes(ep), ep);
	if (rc)
		log_error("cannot serve: %s", strerror(-rc));
	ep->server = server;
	return rc;
}

static int endpoint_start(struct daemon *d)
{
	struct endpoint *ep = d->state;
	int rc;

	rc = open_store(ep);
	if (!rc)
		rc = ready_cache_new(&ep->ready);
	if (!rc)
		rc = open_audit(ep);
	if (!rc)
		rc = peers_open(&ep->peers, d->registry, d->conf);
	if (!rc)
		rc = relays_new(&ep->relays, ep->httpc, ep->peers);
	if (!rc)
		rc = jobs_new(&ep->senders, "sender", SENDERS);
	if (!rc)
		rc = open_names(ep);
	if (!rc)
		rc = repair_new(&ep->repair, ep);
	if (!rc)
		rc = endpoint_metrics(ep);
	if (!rc)
		rc = users_open(&ep->users, d->registry, on_users, ep);
	if (!rc)
		users_take_via_gateway(ep->users);
	if (!rc)
		rc = lifecycle_new(&ep->lifecycle, ep);
	if (!rc)
		rc = reseal_new(&ep->reseal, ep);
	if (!rc)
		rc = serve_inside(ep);
	if (!rc)
		rc = presence_new(&ep->presence, ep, FIRST_WAIT_MS);
	if (!rc)
		rc = serve_public(ep);
	if (rc) {
		log_error("cannot start: %s", strerror(-rc));
		return rc;
	}
	listen_if_users(ep); /* they may have been there before the server was */
	loop_notify_ready("serving objects");
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void endpoint_stop(struct daemon *d)
{
	struct endpoint *ep = d->state;

	if (!ep)
		return;
	ep->give_up_ms = now_ms() + GIVE_UP_MS;
	/* From outside inwards; the lease ends before the names close, so that others see it gone.
	 */
	httpd_stop(ep->server, 5000);
	if (ep->names)
		names_stop(ep->names);
	lifecycle_free(ep->lifecycle);
	reseal_stop(ep->reseal);
	inside_stop(ep->inside);
	presence_free(ep->presence);
	jobs_free(ep->senders);
	relays_free(ep->relays);
	repair_free(ep->repair);
	names_close(ep->names);
	users_close(ep->users);
	audit_close(ep->audit);
	peers_close(ep->peers);
	inbound_free(ep->inbound);
	ready_cache_free(ep->ready);
	held_cache_free(ep->held);
	chunks_close(ep->chunks);
	reseal_free(ep->reseal); /* the last upload has ended */
	httpc_free(ep->httpc);
	load_free(ep->load);
	buckets_free(ep->buckets);
	free(ep->listeners);
	free(ep->s3_domain);
	free(ep->s3_region);
	free(ep->exported);
	s3_counts_free(ep->s3_counts);
	free(ep);
	d->state = NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static int endpoint_reload(struct daemon *d, const struct conf *old)
{
	struct endpoint *ep = d->state;

	if (strcmp(d->conf->node, old->node) || strcmp(d->conf->state, old->state)) {
		log_error("reload: node and state of an endpoint change only by a restart");
		return -EINVAL;
	}
	if (!same_text(d->conf->s3.domain, old->s3.domain) || !same_text(d->conf->s3.region, old->s3.region)) {
		log_error("reload: s3.domain and s3.region of an endpoint change only by a restart");
		return -EINVAL;
	}
	ep->copies = d->conf->endpoint.copies ? d->conf->endpoint.copies : 1;
	ep->orphans_remove = d->conf->endpoint.orphans == CONF_ORPHANS_REMOVE;
	presence_configure(ep->presence, d->conf);
	return 0;
}

/* Sum of a member over the buckets of which this node is primary. */
static json_int_t primary_bytes(const json_t *buckets)
{
	json_int_t sum = 0;

	for (size_t i = 0; i < json_array_size(buckets); i++) {
		const json_t *b = json_array_get(buckets, i);
		const char *role = json_string_value(json_object_get(b, "role"));

		if (role && !strcmp(role, "primary"))
			sum += json_integer_value(json_object_get(b, "bytes"));
	}
	return sum;
}

static void endpoint_status(struct daemon *d, json_t *answer)
{
	struct chunks_space space = { 0 };
	struct endpoint *ep = d->state;
	json_t *names;
	bool lone;

	if (!ep || !ep->names)
		return;
	lone = ep->copies == 1 || peers_registered(ep->peers) == 1;
	chunks_space(ep->chunks, &space);
	names = names_status(ep->names);
	json_object_set(answer, "objects", json_object_get(names, "objects"));
	json_object_set_new(answer, "bytes",
			    json_integer(primary_bytes(json_object_get(names, "buckets"))));
	json_object_set_new(answer, "free", json_integer((json_int_t)space.free));
	json_object_set_new(answer, "reserve", json_integer((json_int_t)space.reserve));
	json_object_set_new(answer, "copies", json_integer(lone ? 1 : ep->copies));
	json_object_set_new(answer, "endpoints",
			    json_integer((json_int_t)peers_registered(ep->peers)));
	if (lone)
		json_object_set_new(answer, "note", json_string(endpoint_lone_note(ep)));
	else if (json_object_get(names, "note"))
		json_object_set(answer, "note", json_object_get(names, "note"));
	json_object_set(answer, "buckets", json_object_get(names, "buckets"));
	json_object_set(answer, "outbox", json_object_get(names, "outbox"));
	json_object_set_new(answer, "scrub", repair_status(ep->repair));
	json_decref(names);
}

/* {"start": false}: only how far it is; {"orphans": true}: the names that there are are the right ones (orphans.h). */
static json_t *command_scrub(void *arg, const json_t *request, char *err, size_t err_len)
{
	struct endpoint *ep = ((struct daemon *)arg)->state;
	json_t *status;

	if (json_is_true(json_object_get(request, "orphans"))) {
		int rc = orphans_allow(repair_orphans(ep->repair));

		if (rc) {
			snprintf(err, err_len, "%s", rc == -EBUSY ? "other endpoints belong to this installation: data without a name are kept"
								  : strerror(-rc));
			return NULL;
		}
		log_warn("the operator says that these names are the right ones: data that have none in them are orphans");
	}
	status = repair_status(ep->repair);
	json_object_set_new(status, "damaged",
			    json_integer((json_int_t)atomic_load(&ep->counts.damaged)));
	json_object_set_new(status, "repaired",
			    json_integer((json_int_t)atomic_load(&ep->counts.repaired)));
	if (!json_is_false(json_object_get(request, "start")))
		repair_scrub(ep->repair);
	return status;
}

static const struct ctl_command endpoint_commands[] = {
	{ "scrub", command_scrub },
	{ NULL, NULL },
};

const struct daemon_program endpoint_program = {
	.name = "weir-endpoint",
	.role = "endpoint",
	.summary = "stores and serves objects",
	.enabled = endpoint_enabled,
	.profile = PRIV_NET_FILES,
	.prepare = endpoint_prepare,
	.start = endpoint_start,
	.stop = endpoint_stop,
	.reload = endpoint_reload,
	.status = endpoint_status,
	.commands = endpoint_commands,
	.also = "\n"
		"weir-endpoint fsck             check what is stored, while the endpoint does not run\n"
		"weir-endpoint backup-names     copy the index of names, also while it runs; -h says more of both\n",
};

const char *endpoint_lone_note(const struct endpoint *ep)
{
	return ep->copies == 1 ? "one copy: this endpoint is configured to keep one (copies: 1)"
			       : "one copy: this installation has a single endpoint";
}
