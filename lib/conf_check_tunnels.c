/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_check_tunnels.c -- what the keys of tunnels, edge, origin and authority mean together.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "lib/conf_table.h"
#include "lib/target.h"

#define PEM_LOOK (256u << 10) /* so far into a file for a certificate */

/* A file that can be read and holds no certificate. What cannot be read by this user says nothing.
 */
static bool lacks_certificate(const char *path)
{
	FILE *in = path ? fopen(path, "re") : NULL;
	char line[256];
	size_t seen = 0;
	bool found = false;

	if (!in)
		return false;
	while (!found && seen < PEM_LOOK && fgets(line, sizeof(line), in)) {
		seen += strlen(line);
		found = !strncmp(line, "-----BEGIN CERTIFICATE-----", 27) ||
			!strncmp(line, "-----BEGIN TRUSTED CERTIFICATE-----", 35);
	}
	fclose(in);
	return !found;
}

static bool overlap(const struct addr_prefix *a, const struct addr_prefix *b)
{
	return a->len <= b->len ? addr_prefix_contains(a, &b->addr)
				: addr_prefix_contains(b, &a->addr);
}

/* ---- tunnels ---- */

static void check_prefixes(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_tunnels *t = &conf->tunnels;
	char key[CONF_PATH_LEN];

	for (size_t i = 0; i < t->nprefix; i++) {
		const struct addr_prefix *p = &t->prefix[i];

		conf_item(key, "tunnels.prefix", i);
		if (!p->addr.family)
			continue;
		if (p->len < 8 || addr_is_loopback(&p->addr))
			conf_fault(
				faults, key,
				"is no network of yours alone; name one that routers send to the "
				"edges, such as 198.18.100.0/24");
		for (size_t k = 0; k < i; k++)
			if (t->prefix[k].addr.family && overlap(p, &t->prefix[k]))
				conf_fault(faults, key,
					   "overlaps with prefix[%zu]; name each network once", k);
	}
}

static void check_tunnels(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_tunnels *t = &conf->tunnels;

	if (!t->enabled)
		return;
	check_prefixes(conf, faults);
	if (t->ttl_us % 1000000)
		conf_fault(faults, "tunnels.ttl",
			   "is not a whole number of seconds; a TTL has no smaller unit");
	if (t->quarantine_us && t->ttl_us && t->quarantine_us <= t->ttl_us)
		conf_fault(
			faults, "tunnels.quarantine",
			"is not longer than ttl, so that names in caches would lead to another's "
			"tunnel; make it more than %" PRIu64 "s",
			t->ttl_us / 1000000);
}

/* ---- the edge ---- */

static void check_certificates(const struct conf_edge *e, struct conf_faults *faults)
{
	char path[CONF_PATH_LEN], key[CONF_PATH_LEN];

	for (size_t i = 0; i < e->ncertificates; i++) {
		const struct conf_certificate *c = &e->certificates[i];

		conf_item(path, "edge.certificates", i);
		if (lacks_certificate(c->cert))
			conf_fault(faults, conf_member(key, path, "cert"),
				   "%.180s holds no certificate; name a PEM file with a "
				   "certificate and "
				   "its chain",
				   c->cert);
	}
	if (e->nlisten_tls && !e->ncertificates && (!e->nattach || e->ngateway_hostnames))
		conf_fault(faults, "edge.listen_tls",
			   "has no certificate to show; add edge.certificates: [{cert: FILE, key: "
			   "FILE}]");
}

/* Where origins dial in: who they are, and who we are to them. */
static void check_attach(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_edge *e = &conf->edge;
	char key[CONF_PATH_LEN];

	if (lacks_certificate(e->origins))
		conf_fault(faults, "edge.origins",
			   "%.180s holds no certificate; name origins.pem of `weir ca init`",
			   e->origins);
	if (!e->nattach)
		return;
	if (!conf->tls.ca && !conf->tls.cert && !conf->tls.key)
		conf_fault(faults, "edge.attach",
			   "needs the section tls: origins know this edge by its certificate; make "
			   "one "
			   "with weir ca issue");
	if (!e->origins)
		conf_fault(
			faults, "edge.attach",
			"lets nobody in without edge.origins; name origins.pem of `weir ca init`");
	if (!conf->tunnels.enabled)
		conf_fault(
			faults, "edge.attach",
			"has no use without the section tunnels; add it, such as tunnels: {zone: "
			"edge.example}");
	for (size_t i = 0; i < e->nattach; i++)
		if (e->attach[i].path[0])
			conf_fault(
				faults, conf_item(key, "edge.attach", i),
				"is a Unix socket, which no origin can dial; write ADDRESS:PORT");
}

static void check_edge_addresses(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_edge *e = &conf->edge;

	if (e->address.family == AF_INET6)
		conf_fault(faults, "edge.address", "is an IPv6 address; write it as address6");
	if (e->address6.family == AF_INET)
		conf_fault(faults, "edge.address6", "is an IPv4 address; write it as address");
	if (!e->address.family && !e->address6.family && conf->tunnels.nprefix && e->nattach &&
	    conf_is_any(&e->attach[0].addr))
		conf_fault(
			faults, "edge.attach[0]",
			"is every address of this node, and edge.address is not said; name the one "
			"to which other edges shall send packets");
}

static void check_gateway_hostnames(const struct conf_edge *e, struct conf_faults *faults)
{
	char key[CONF_PATH_LEN];

	if (e->ngateway_hostnames && !conf_is_set(&e->gateway))
		conf_fault(
			faults, "edge.gateway_hostnames",
			"lead nowhere; add edge.gateway, such as \"unix:/run/weir/gateway.http\"");
	if (!e->ngateway_hostnames && conf_is_set(&e->gateway))
		conf_fault(faults, "edge.gateway",
			   "gets no request; add edge.gateway_hostnames: [files.edge.example]");
	for (size_t i = 0; i < e->ngateway_hostnames; i++)
		for (size_t k = 0; k < i; k++)
			if (e->gateway_hostnames[i] && e->gateway_hostnames[k] &&
			    !strcasecmp(e->gateway_hostnames[i], e->gateway_hostnames[k]))
				conf_fault(faults, conf_item(key, "edge.gateway_hostnames", i),
					   "%.80s is named twice; keep one",
					   e->gateway_hostnames[i]);
}

static void check_edge_limits(const struct conf_edge *e, struct conf_faults *faults)
{
	if (e->limits.request_us > e->limits.idle_us)
		conf_fault(faults, "edge.limits.request",
			   "is longer than idle, which would end the connection first; make it at "
			   "most "
			   "%" PRIu64 "s",
			   e->limits.idle_us / 1000000);
	if (e->limits.total_us && e->limits.total_us < e->limits.request_us)
		conf_fault(faults, "edge.limits.total",
			   "is shorter than request, the time for the head alone; make it at least "
			   "%" PRIu64 "s",
			   e->limits.request_us / 1000000);
	if (e->limits.per_address > e->limits.connections)
		conf_fault(faults, "edge.limits.per_address",
			   "is more than all connections; make it at most %u",
			   e->limits.connections);
}

static void check_edge(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_edge *e = &conf->edge;
	char key[CONF_PATH_LEN];

	if (!e->enabled)
		return;
	conf_check_inside(conf, "edge.inside", &e->inside, faults);
	if (!e->nlisten && !e->nlisten_tls && !e->nattach)
		conf_fault(faults, "edge",
			   "listens nowhere; add listen, listen_tls or attach, such as listen: "
			   "[\"0.0.0.0:80\"]");
	check_certificates(e, faults);
	check_attach(conf, faults);
	check_edge_addresses(conf, faults);
	check_gateway_hostnames(e, faults);
	check_edge_limits(e, faults);
	for (size_t i = 0; i < e->nproxy_from; i++)
		if (e->proxy_from[i].addr.family && !e->proxy_from[i].len)
			conf_fault(faults, conf_item(key, "edge.proxy_from", i),
				   "is everybody: anyone could take another's address; name the "
				   "networks "
				   "of the balancers");
}

/* ---- the origin ---- */

/* NAME:PORT, ADDRESS:PORT or [ADDRESS]:PORT */
static bool is_edge(const char *text)
{
	const char *colon = strrchr(text, ':');
	struct addr_port ap;
	char host[256], *end;
	unsigned long port;
	size_t n = colon ? (size_t)(colon - text) : 0;

	if (!addr_port_parse(&ap, text))
		return !ap.path[0] && ap.port;
	if (!n || n >= sizeof(host) || colon[1] < '0' || colon[1] > '9')
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	port = strtoul(colon + 1, &end, 10);
	return !*end && port && port <= 65535 &&
	       strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
		       n &&
	       host[0] != '-' && host[0] != '.' && strspn(host, "0123456789.") != n;
}

static void check_origin_edges(const struct conf_origin *o, struct conf_faults *faults)
{
	char key[CONF_PATH_LEN];

	for (size_t i = 0; i < o->nedges; i++) {
		if (!o->edges[i])
			continue;
		conf_item(key, "origin.edges", i);
		if (!is_edge(o->edges[i]))
			conf_fault(
				faults, key,
				"\"%.80s\" is not HOST:PORT; write it like edges.edge.example:7400",
				o->edges[i]);
		for (size_t k = 0; k < i; k++)
			if (o->edges[k] && !strcasecmp(o->edges[i], o->edges[k]))
				conf_fault(faults, key, "%.80s is named twice; keep one",
					   o->edges[i]);
	}
}

static void check_target(const struct conf_origin *o, size_t i, struct conf_faults *faults)
{
	const struct conf_target *t = &o->targets[i];
	char path[CONF_PATH_LEN], key[CONF_PATH_LEN], name[16], why[TARGET_WHY_MAX];
	struct target_spec spec;
	size_t n;

	conf_item(path, "origin.targets", i);
	/* "KEY: sentence"; a target without `to` was a fault before */
	if (t->to && target_check(t, &spec, why)) {
		n = strcspn(why, ":");
		snprintf(name, sizeof(name), "%.*s", (int)n, why);
		conf_fault(faults, conf_member(key, path, name), "%s",
			   why + n + (why[n] == ':' ? 2 : 0));
	}
	for (size_t k = 0; k < i; k++)
		if (t->hostname && o->targets[k].hostname && t->port == o->targets[k].port &&
		    !strcmp(t->hostname, o->targets[k].hostname)) {
			conf_fault(faults, path,
				   "is for the same requests as targets[%zu]; give them different "
				   "hostnames or ports",
				   k);
			return;
		}
}

static void check_origin(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_origin *o = &conf->origin;

	if (!o->enabled)
		return;
	conf_check_inside(conf, "origin.inside", &o->inside, faults);
	check_origin_edges(o, faults);
	for (size_t i = 0; i < o->ntargets; i++)
		check_target(o, i, faults);
}

/* ---- the authority ---- */

static void check_authority(const struct conf *conf, struct conf_faults *faults)
{
	const char *folder = conf->authority.folder;
	char path[PATH_MAX];
	struct stat st;

	if (!conf->authority.enabled || !folder)
		return;
	snprintf(path, sizeof(path), "%s/origins.pem", folder);
	/* Only what is certain is a fault: a folder closed to this user says nothing. */
	if (stat(path, &st) && (errno == ENOENT || errno == ENOTDIR))
		conf_fault(faults, "authority.folder",
			   "there is no %.160s; make it with `weir ca init %.80s`", path, folder);
}

void conf_check_tunnels(const struct conf *conf, struct conf_faults *faults)
{
	check_tunnels(conf, faults);
	check_edge(conf, faults);
	check_origin(conf, faults);
	check_authority(conf, faults);
}
