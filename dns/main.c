/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c -- weir-ns: an authoritative name server that steers.
 *
 * Sockets are bound and zones read while privileged; then only sockets, threads, the state folder
 * and reading zone files remain. Workers answer; the main thread listens to the registry and swaps
 * views.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dns/publish.h"
#include "dns/report.h"
#include "lib/inside.h"
#include "lib/log.h"

#define LEASE_S 5

struct ns {
	struct server *server;
	struct publish *publish;
	struct report *report;
	struct inside *inside;
	struct load *load;
	struct reg_lease *lease;
};

static bool ns_enabled(const struct conf *conf)
{
	return conf->ns.enabled;
}

static int ns_prepare(struct daemon *d)
{
	struct ns *ns = calloc(1, sizeof(*ns));
	int rc;

	if (!ns)
		return -ENOMEM;
	d->state = ns;
	if (!d->conf->ns.nlisten) {
		log_error("%s: ns.listen: it is empty; name at least one address, for example "
			  "[\"198.18.1.10:53\"]",
			  d->conf->path);
		return -EINVAL;
	}
	rc = publish_new(&ns->publish, d->conf);
	if (!rc)
		rc = server_bind(&ns->server, &d->conf->ns);
	if (!rc)
		rc = inside_bind(&ns->inside, d->conf, &d->conf->ns.inside);
	if (!rc && load_new(&ns->load))
		log_warn("the load of this process cannot be read: /_/health does not report it");
	return rc;
}

/* The member key, leased: others see where this name server listens. */
static void announce(struct daemon *d, struct ns *ns)
{
	json_t *listen = json_array(), *extra = json_pack("{s:o}", "listen", listen);
	char text[ADDR_PORT_STRLEN], *json;

	for (size_t i = 0; i < d->conf->ns.nlisten; i++)
		json_array_append_new(listen, json_string(addr_port_format(&d->conf->ns.listen[i],
									   text, sizeof(text))));
	json = json_dumps(extra, JSON_COMPACT);
	if (registry_lease(d->registry, &ns->lease, LEASE_S, NULL, NULL))
		log_warn("no lease for this node's member key: it is not announced");
	else
		(void)registry_announce(ns->lease, d->conf, "ns", json);
	free(json);
	json_decref(extra);
}

static int ns_start(struct daemon *d)
{
	struct ns *ns = d->state;
	int rc = report_new(&ns->report, d->metrics, ns->server);

	if (!rc)
		rc = publish_start(ns->publish, d->loop, server_views(ns->server), d->registry,
				   d->metrics);
	if (!rc)
		rc = server_start(ns->server, report_latency(ns->report));
	if (!rc && ns->inside)
		rc = inside_serve(ns->inside, d, ns->load, NULL, NULL, NULL);
	if (rc) {
		log_error("cannot start: %s", strerror(-rc));
		return rc;
	}
	loop_notify_ready("answering");
	if (d->registry)
		announce(d, ns);
	return 0;
}

static void ns_stop(struct daemon *d)
{
	struct ns *ns = d->state;

	if (!ns)
		return;
	inside_stop(ns->inside);
	if (ns->lease)
		registry_lease_end(ns->lease, true);
	report_free(ns->report);
	publish_free(ns->publish);
	server_stop(ns->server);
	load_free(ns->load);
	free(ns);
}

static bool same_listeners(const struct conf_ns *a, const struct conf_ns *b)
{
	bool same = a->nlisten == b->nlisten && a->workers == b->workers;

	for (size_t i = 0; same && i < a->nlisten; i++)
		same = a->listen[i].port == b->listen[i].port &&
		       addr_equal(&a->listen[i].addr, &b->listen[i].addr);
	return same;
}

static int ns_reload(struct daemon *d, const struct conf *old)
{
	struct ns *ns = d->state;

	if (!same_listeners(&d->conf->ns, &old->ns))
		log_warn("%s: ns.listen or ns.workers changed: that takes a restart; the rest is "
			 "taken over",
			 d->conf->path);
	server_limits(ns->server, d->conf->ns.limits.tcp_connections,
		      d->conf->ns.limits.tcp_idle_us);
	return publish_reload(ns->publish, d->conf);
}

static void ns_status(struct daemon *d, json_t *answer)
{
	struct ns *ns = d->state;

	if (ns->publish)
		publish_status(ns->publish, answer);
	if (ns->report)
		report_status(ns->report, answer);
}

int main(int argc, char **argv)
{
	static const struct daemon_program program = {
		.name = "weir-ns",
		.role = "ns",
		.summary = "authoritative name server that steers by learned capacity",
		.enabled = ns_enabled,
		.check = publish_check,
		.profile = PRIV_NET_FILES,
		.prepare = ns_prepare,
		.start = ns_start,
		.stop = ns_stop,
		.reload = ns_reload,
		.status = ns_status,
	};

	return daemon_main(&program, argc, argv);
}
