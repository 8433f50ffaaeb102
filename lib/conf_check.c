// SPDX-License-Identifier: Apache-2.0
/*
 * conf_check.c -- what the keys of weir.yaml mean together: doubles, halves, and what would be open
 * to strangers.
 *
 * Runs also when single keys were wrong, so that all faults come at once: a value that was refused
 * is unset here and is passed over.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/conf_table.h"

bool conf_is_set(const struct addr_port *ap)
{
	return ap->addr.family != AF_UNSPEC || ap->path[0];
}

bool conf_is_any(const struct addr *a)
{
	static const uint8_t zero[16];

	return a->family != AF_UNSPEC && !memcmp(a->bytes, zero, sizeof(zero));
}

/* ---- the registry and certificates ---- */

/* Is the host of http://HOST… this machine? */
static bool url_is_local(const char *url)
{
	const char *host = strstr(url, "//") + 2;
	struct addr_port ap;
	struct addr a;
	char text[80];
	size_t n = strcspn(host, "/");

	if (n >= sizeof(text) - 4)
		return false;
	memcpy(text, host, n);
	text[n] = '\0';
	if (!strncmp(text, "localhost", 9) && (!text[9] || text[9] == ':'))
		return true;
	if (!addr_port_parse(&ap, text))
		return addr_port_is_local(&ap);
	return !addr_parse(&a, text) && addr_is_loopback(&a);
}

static void check_registry(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_registry *r = &conf->registry;
	bool plain = r->url && !strncmp(r->url, "http://", 7);
	bool secret = r->password_file || r->token_file;

	if (plain && !url_is_local(r->url))
		conf_fault(faults, "registry.url",
			   "is plain HTTP to another machine%s; write https://, or "
			   "http:// with a loopback address",
			   secret ? " and would show the secret to anyone" : "");
	if (!!r->user != !!r->password_file)
		conf_fault(faults, r->user ? "registry.user" : "registry.password",
			   "stands alone; a user and a "
			   "password belong together");
	if (r->user && r->token_file)
		conf_fault(faults, "registry.token",
			   "stands beside a user; etcd takes user and password, "
			   "weir-registry takes a token: keep one");
	if (r->ca && r->url && strncmp(r->url, "https://", 8))
		conf_fault(faults, "registry.ca", "has no effect on %.40s; use it with https://",
			   r->url);
}

static void check_registry_server(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_registry_server *s = &conf->registry_server;
	char path[CONF_PATH_LEN], text[ADDR_PORT_STRLEN];

	for (size_t i = 0; i < s->nlisten; i++) {
		const struct addr_port *ap = &s->listen[i];

		conf_item(path, "registry_server.listen", i);
		if (!conf_is_set(ap) || ap->path[0])
			continue;
		if (!addr_port_is_local(ap))
			conf_fault(
				faults, path,
				"%s is not on this machine alone; weir-registry listens on unix: "
				"sockets and loopback, use etcd for several machines",
				addr_port_format(ap, text, sizeof(text)));
		else if (!s->token_file)
			conf_fault(faults, path,
				   "every user of this machine could write there; add "
				   "registry_server.token, or listen on a unix: socket");
	}
}

static void check_tls(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_tls *t = &conf->tls;
	const struct {
		const char *path;
		const char *file;
	} all[] = { { "tls.ca", t->ca }, { "tls.cert", t->cert }, { "tls.key", t->key } };

	if (!t->ca && !t->cert && !t->key)
		return;
	for (size_t i = 0; i < 3; i++)
		if (!all[i].file)
			conf_fault(faults, all[i].path,
				   "is missing; tls needs ca, cert and key (see weir ca)");
}

void conf_check_inside(const struct conf *conf, const char *path, const struct addr_port *ap,
		       struct conf_faults *faults)
{
	const struct conf_tls *t = &conf->tls;

	if (conf_is_set(ap) && !addr_port_is_local(ap) && !t->ca && !t->cert && !t->key)
		conf_fault(faults, path,
			   "is open to other machines without tls; add the section tls (see weir "
			   "ca), or listen on 127.0.0.1");
}

/* ---- listeners ---- */

struct listener {
	char path[CONF_PATH_LEN];
	const struct addr_port *ap;
};

struct listeners {
	struct listener list[256];
	size_t n;
	const struct conf *conf;
	struct conf_faults *faults;
};

static bool collide(const struct addr_port *a, const struct addr_port *b)
{
	if (a->path[0] || b->path[0])
		return !strcmp(a->path, b->path);
	if (a->port != b->port || a->addr.family != b->addr.family || !a->port)
		return false;
	return addr_equal(&a->addr, &b->addr) || conf_is_any(&a->addr) || conf_is_any(&b->addr);
}

/* Is it RUN/ROLE.sock, which the role's daemon makes for itself? */
static bool is_ctl(const struct conf *conf, const struct addr_port *ap)
{
	static const char *const roles[] = { "agent",	 "ns",	      "gateway",
					     "endpoint", "registry",  "edge",
					     "origin",	 "authority", "agent-listener", "agent-trace" };
	char path[sizeof(ap->path)];

	for (size_t i = 0; conf->run && ap->path[0] && i < sizeof(roles) / sizeof(*roles); i++)
		if (!strcmp(conf_ctl_path(conf, roles[i], path, sizeof(path)), ap->path))
			return true;
	return false;
}

static void listener_add(struct listeners *all, const char *path, const struct addr_port *ap)
{
	if (conf_is_set(ap) && is_ctl(all->conf, ap)) {
		conf_fault(all->faults, path,
			   "is a control socket of weir itself; take another name, such as "
			   "registry.socket");
		return;
	}
	if (!conf_is_set(ap) || all->n == sizeof(all->list) / sizeof(all->list[0]))
		return;
	for (size_t i = 0; i < all->n; i++) {
		if (!collide(ap, all->list[i].ap))
			continue;
		conf_fault(all->faults, path,
			   "listens where %s listens already; give each its own address or port",
			   all->list[i].path);
		return;
	}
	snprintf(all->list[all->n].path, CONF_PATH_LEN, "%s", path);
	all->list[all->n++].ap = ap;
}

static void listeners_add(struct listeners *all, const char *path, const struct addr_port *list,
			  size_t n)
{
	char buf[CONF_PATH_LEN];

	for (size_t i = 0; i < n; i++)
		listener_add(all, conf_item(buf, path, i), &list[i]);
}

static void check_listeners(const struct conf *conf, struct conf_faults *faults)
{
	struct listeners *all = calloc(1, sizeof(*all));

	if (!all)
		return; /* bind(2) will say it later */
	all->conf = conf;
	all->faults = faults;
	listeners_add(all, "registry_server.listen", conf->registry_server.listen,
		      conf->registry_server.nlisten);
	listener_add(all, "agent.inside", &conf->agent.inside);
	listeners_add(all, "ns.listen", conf->ns.listen, conf->ns.nlisten);
	listener_add(all, "ns.inside", &conf->ns.inside);
	listeners_add(all, "gateway.listen", conf->gateway.listen, conf->gateway.nlisten);
	listener_add(all, "gateway.inside", &conf->gateway.inside);
	listeners_add(all, "endpoint.listen", conf->endpoint.listen, conf->endpoint.nlisten);
	listener_add(all, "endpoint.inside", &conf->endpoint.inside);
	listeners_add(all, "edge.listen", conf->edge.listen, conf->edge.nlisten);
	listeners_add(all, "edge.listen_tls", conf->edge.listen_tls, conf->edge.nlisten_tls);
	listeners_add(all, "edge.attach", conf->edge.attach, conf->edge.nattach);
	listener_add(all, "edge.inside", &conf->edge.inside);
	listener_add(all, "origin.inside", &conf->origin.inside);
	free(all);
}

/* ---- the agent ---- */

static void check_backend(const struct conf_service *s, const char *service_path, size_t i,
			  struct conf_faults *faults)
{
	const struct conf_backend *b = &s->backends[i];
	char list[CONF_PATH_LEN], path[CONF_PATH_LEN], key[CONF_PATH_LEN];

	conf_item(path, conf_member(list, service_path, "backends"), i);
	for (size_t k = 0; k < i; k++) {
		const struct conf_backend *other = &s->backends[k];

		if (*b->name && !strcmp(b->name, other->name)) {
			conf_fault(faults, conf_member(key, path, "name"),
				   "\"%s\" is the name of backends[%zu] too; give "
				   "each backend its own",
				   b->name, k);
			return;
		}
		if (b->address.family && addr_equal(&b->address, &other->address)) {
			conf_fault(faults, conf_member(key, path, "address"),
				   "is the address of backends[%zu] too; give each backend its own",
				   k);
			return;
		}
	}
}

static void check_probe(const struct conf_service *s, const char *path, struct conf_faults *faults)
{
	char check[CONF_PATH_LEN], key[CONF_PATH_LEN];

	conf_member(check, path, "check");
	if (s->check.type == CONF_CHECK_NONE)
		return;
	if (!s->check.port && !(s->naddresses && s->addresses[0].port))
		conf_fault(faults, conf_member(key, check, "port"),
			   "is missing, and the service has no port to take; add "
			   "the port that backends answer checks on, or type: none");
	if (s->check.timeout_us > s->check.interval_us)
		conf_fault(faults, conf_member(key, check, "timeout"),
			   "is longer than the interval; make it at most "
			   "%" PRIu64 "ms",
			   s->check.interval_us / 1000);
	if (s->check.type == CONF_CHECK_HTTP && s->check.path && *s->check.path != '/')
		conf_fault(faults, conf_member(key, check, "path"),
			   "does not begin with \"/\"; write it like /_/health");
}

/* Another service that has the address already, or this one twice. */
static void check_addresses(const struct conf_agent *a, size_t n, const char *path,
			    struct conf_faults *faults)
{
	const struct conf_service *s = &a->services[n];
	char list[CONF_PATH_LEN], key[CONF_PATH_LEN];

	conf_member(list, path, "addresses");
	for (size_t i = 0; i < s->naddresses; i++) {
		if (conf_is_any(&s->addresses[i].addr) || addr_is_loopback(&s->addresses[i].addr))
			conf_fault(faults, conf_item(key, list, i),
				   "is no address that clients send to; write the "
				   "virtual address itself");
		for (size_t k = 0; k <= n; k++)
			for (size_t j = 0; j < (k == n ? i : a->services[k].naddresses); j++) {
				const struct addr_port *x = &s->addresses[i],
						       *y = &a->services[k].addresses[j];

				if (!conf_is_set(x) || !addr_equal(&x->addr, &y->addr) ||
				    x->port != y->port || x->proto != y->proto ||
				    x->prefix != y->prefix)
					continue;
				conf_fault(faults, conf_item(key, list, i),
					   "belongs to service \"%s\" already; give "
					   "each service its own address or port",
					   a->services[k].name);
			}
	}
}

static void check_service(const struct conf_agent *a, size_t n, struct conf_faults *faults)
{
	const struct conf_service *s = &a->services[n];
	char path[CONF_PATH_LEN], key[CONF_PATH_LEN];

	conf_item(path, "agent.services", n);
	for (size_t k = 0; k < n; k++)
		if (*s->name && !strcmp(s->name, a->services[k].name))
			conf_fault(faults, conf_member(key, path, "name"),
				   "\"%s\" is the name of services[%zu] too; give "
				   "each service its own",
				   s->name, k);
	check_addresses(a, n, path, faults);
	conf_check_options(a, n, path, faults);
	check_probe(s, path, faults);
	if (s->slots && s->nbackends > s->slots)
		conf_fault(faults, conf_member(key, path, "slots"),
			   "are fewer than the %zu backends; use about a hundred "
			   "a backend",
			   s->nbackends);
	for (size_t i = 0; i < s->nbackends; i++)
		check_backend(s, path, i, faults);
}

static void check_interfaces(const char *path, char *const *list, size_t n,
			     struct conf_faults *faults)
{
	char key[CONF_PATH_LEN];

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (list[i] && list[k] && !strcmp(list[i], list[k]))
				conf_fault(faults, conf_item(key, path, i),
					   "%s is named twice; keep one", list[i]);
}

/* Does a service's network have the tunnels' within it? */
static bool covers(const struct addr_port *a, const struct addr_prefix *tunnels)
{
	const struct addr_prefix network = { .addr = a->addr, .len = a->prefix };

	return a->prefix && addr_prefix_contains(&network, &tunnels->addr);
}

/* Addresses of tunnels are given out; a service's own must not be among them. */
static void check_not_tunnels(const struct conf *conf, size_t at, struct conf_faults *faults)
{
	const struct conf_service *s = &conf->agent.services[at];
	char key[CONF_PATH_LEN], list[CONF_PATH_LEN];

	snprintf(list, sizeof(list), "agent.services[%zu].addresses", at);
	for (size_t i = 0; i < s->naddresses; i++)
		for (size_t k = 0; k < conf->tunnels.nprefix; k++)
			if (addr_prefix_contains(&conf->tunnels.prefix[k], &s->addresses[i].addr) ||
			    covers(&s->addresses[i], &conf->tunnels.prefix[k]))
				conf_fault(faults, conf_item(key, list, i),
					   "lies in tunnels.prefix, whose addresses belong to "
					   "tunnels; "
					   "give the service one outside of it");
}

static void check_agent(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_agent *a = &conf->agent;
	char key[CONF_PATH_LEN];
	size_t balanced = 0;

	if (!a->enabled)
		return;
	conf_check_inside(conf, "agent.inside", &a->inside, faults);
	check_interfaces("agent.interfaces", a->interfaces, a->ninterfaces, faults);
	check_interfaces("agent.decap.interfaces", a->decap.interfaces, a->decap.ninterfaces,
			 faults);
	for (size_t i = 0; i < a->nservices; i++) {
		check_service(a, i, faults);
		check_not_tunnels(conf, i, faults);
		balanced += a->services[i].naddresses > 0;
	}
	if (balanced && !a->ninterfaces)
		conf_fault(faults, "agent.interfaces",
			   "is missing, but services have addresses; name the interfaces "
			   "on which their packets arrive");
	conf_check_announce(a, faults);
	conf_check_nat(conf, faults);
	if (a->decap.nfrom && !a->decap.ninterfaces)
		conf_fault(faults, "agent.decap.interfaces",
			   "is missing; name the interfaces on which encapsulated "
			   "packets are taken");
	if (a->feedback && !(a->decap.nfrom && a->decap.ninterfaces))
		conf_fault(faults, "agent.feedback",
			   "needs agent.decap on both ends; name agent.decap.interfaces and .from");
	if (a->decap.ninterfaces && !a->decap.nfrom && !conf->tunnels.enabled)
		conf_fault(faults, "agent.decap.from",
			   "is missing; name the networks of the balancers, all others "
			   "are dropped");
	for (size_t i = 0; i < a->decap.nfrom; i++)
		if (a->decap.from[i].addr.family != AF_UNSPEC && !a->decap.from[i].len)
			conf_fault(faults, conf_item(key, "agent.decap.from", i),
				   "is everybody: anyone could send packets "
				   "in another's name; name the networks of the balancers");
}

/* ---- the name server ---- */

/* Is name the zone's origin or below it? Without regard to case (RFC 4343). */
static bool in_zone(const char *name, const char *zone)
{
	size_t n = strlen(name), z = strlen(zone);

	if (!strcmp(zone, "."))
		return true;
	return n >= z && !strcasecmp(name + n - z, zone) && (n == z || name[n - z - 1] == '.');
}

static void check_steer(const struct conf *conf, size_t n, struct conf_faults *faults)
{
	const struct conf_steer *s = &conf->ns.steer[n];
	char path[CONF_PATH_LEN], list[CONF_PATH_LEN], key[CONF_PATH_LEN];
	bool inside = false;

	conf_item(path, "ns.steer", n);
	for (size_t i = 0; s->name && i < conf->ns.nzones; i++)
		inside = inside || !conf->ns.zones[i].name ||
			 in_zone(s->name, conf->ns.zones[i].name);
	if (s->name && conf->ns.nzones && !inside)
		conf_fault(faults, conf_member(key, path, "name"),
			   "\"%.80s\" is in none of the zones; steer a name below "
			   "%.80s",
			   s->name, conf->ns.zones[0].name);
	for (size_t i = 0; s->name && i < n; i++)
		if (conf->ns.steer[i].name && !strcasecmp(s->name, conf->ns.steer[i].name))
			conf_fault(faults, conf_member(key, path, "name"),
				   "is steered by steer[%zu] already; name all "
				   "services there",
				   i);
	if (s->ttl_us % 1000000)
		conf_fault(faults, conf_member(key, path, "ttl"),
			   "is not a whole number of seconds; a TTL has no smaller "
			   "unit");
	conf_member(list, path, "services");
	for (size_t i = 0; i < s->nservices; i++) {
		for (size_t k = 0; k < i; k++)
			if (s->services[i] && s->services[k] &&
			    !strcmp(s->services[i], s->services[k]))
				conf_fault(faults, conf_item(key, list, i),
					   "%s is named twice; keep one", s->services[i]);
		/* Other sites' services are known to the registry only; this node's own are known
		 * here. */
		for (size_t k = 0; k < conf->agent.nservices; k++)
			if (s->services[i] &&
			    !strcmp(s->services[i], conf->agent.services[k].name) &&
			    !conf->agent.services[k].naddresses)
				conf_fault(faults, conf_item(key, list, i),
					   "%s has no addresses to answer with; add them to "
					   "agent.services[%zu]",
					   s->services[i], k);
	}
}

static void check_ns(const struct conf *conf, struct conf_faults *faults)
{
	char path[CONF_PATH_LEN], key[CONF_PATH_LEN];

	conf_check_inside(conf, "ns.inside", &conf->ns.inside, faults);
	for (size_t i = 0; i < conf->ns.nlisten; i++)
		if (conf->ns.listen[i].path[0])
			conf_fault(faults, conf_item(path, "ns.listen", i),
				   "is a Unix socket; DNS needs an address such as "
				   "198.18.1.10:53");
	for (size_t i = 0; i < conf->ns.nzones; i++)
		for (size_t k = 0; k < i; k++)
			if (conf->ns.zones[i].name && conf->ns.zones[k].name &&
			    !strcasecmp(conf->ns.zones[i].name, conf->ns.zones[k].name))
				conf_fault(faults,
					   conf_member(key, conf_item(path, "ns.zones", i), "name"),
					   "is zones[%zu] already; keep one", k);
	for (size_t i = 0; i < conf->ns.nsteer; i++)
		check_steer(conf, i, faults);
}

/* ---- gateway and endpoint ---- */

static void check_limits(const char *path, const struct conf_limits *limits,
			 struct conf_faults *faults)
{
	char key[CONF_PATH_LEN];

	if (limits->request_us > limits->idle_us)
		conf_fault(faults, conf_member(key, path, "request"),
			   "is longer than idle, which would end the "
			   "connection first; make it at most %" PRIu64 "s",
			   limits->idle_us / 1000000);
}

/* Where clients are sent to; url may be NULL. */
static void check_origin(const char *key, const char *url, struct conf_faults *faults)
{
	const char *rest = url ? strstr(url, "//") : NULL;

	if (url && !rest)
		conf_fault(faults, key, "is a Unix socket, which clients cannot reach; write http://HOST:PORT");
	else if (url && strpbrk(rest + 2, "/?#@"))
		conf_fault(faults, key, "has more than host and port; write it like http://198.18.1.21:8080");
}

static void check_http(const struct conf *conf, struct conf_faults *faults)
{
	const struct conf_endpoint *e = &conf->endpoint;
	char key[CONF_PATH_LEN];

	conf_check_inside(conf, "gateway.inside", &conf->gateway.inside, faults);
	conf_check_inside(conf, "endpoint.inside", &e->inside, faults);
	check_limits("gateway.limits", &conf->gateway.limits, faults);
	check_limits("endpoint.limits", &e->limits, faults);
	for (size_t i = 0; i < conf->gateway.redirect.nservices; i++)
		for (size_t k = 0; k < i; k++)
			if (conf->gateway.redirect.services[i] &&
			    conf->gateway.redirect.services[k] &&
			    !strcmp(conf->gateway.redirect.services[i],
				    conf->gateway.redirect.services[k]))
				conf_fault(faults, conf_item(key, "gateway.redirect.services", i),
					   "%s is named twice; keep "
					   "one",
					   conf->gateway.redirect.services[i]);
	for (size_t i = 0; i < conf->gateway.peers.nurls; i++)
		check_origin(conf_item(key, "gateway.peers.urls", i), conf->gateway.peers.urls[i], faults);
	check_origin("endpoint.url", e->url, faults);
}

void conf_check(const struct conf *conf, struct conf_faults *faults)
{
	if (conf->state && conf->run && !strcmp(conf->state, conf->run))
		conf_fault(faults, "state",
			   "is the same folder as run, which is emptied at boot; give it its own");
	check_registry(conf, faults);
	check_registry_server(conf, faults);
	check_tls(conf, faults);
	check_listeners(conf, faults);
	check_agent(conf, faults);
	check_ns(conf, faults);
	check_http(conf, faults);
	conf_check_tunnels(conf, faults);
}
