// SPDX-License-Identifier: Apache-2.0
/*
 * request_route.c -- for whom a request is, and whether this client may.
 *
 * The host name decides; what the connection already said (the address that it dialled, its SNI,
 * the certificate it showed) must agree with it, so that nobody reaches one tenant by way of
 * another.
 */
#include <string.h>

#include "user/tunnel/front_impl.h"

bool front_is_gateway(const struct front *f, const char *hostname)
{
	const struct conf_edge *conf = front_conf(f);

	for (size_t i = 0; f->gateway && i < conf->ngateway_hostnames; i++)
		if (!strcasecmp(conf->gateway_hostnames[i], hostname))
			return true;
	return false;
}

/* CONNECT is not for strangers: it would make the edge a proxy. WebSocket is (RFC 8441). TRACE would
 * show a script what browsers hide from it, and everybody what the edge adds. */
static bool method_offered(const struct head *h)
{
	if (!strcmp(h->method, "TRACE"))
		return false;
	return strcmp(h->method, "CONNECT") != 0 ||
	       (h->protocol && !strcmp(h->protocol, "websocket"));
}

static enum page_cause check_tunnel(struct client *c, const struct edge_tunnel *t,
				    const char *hostname)
{
	bool tls = c->tls;

	if (t->gone)
		return PAGE_NO_SITE;
	if (tunnel_mode_here(t, c->kind, c->local_port) != (tls ? TUNNEL_HTTPS : TUNNEL_HTTP))
		return PAGE_NO_SITE;
	if (tls && !client_serves_name(c, hostname))
		return PAGE_MISDIRECTED;
	if (!tunnel_admits(&t->t, &c->peer))
		return PAGE_FORBIDDEN;
	if (!t->t.client_ca)
		return PAGE_N;
	if (!tls)
		return PAGE_CERTIFICATE;
	/* It must have been asked for on this connection, for this tunnel as it is now. A browser
	 * that came by way of another name of the edge's certificate tries again on its own. */
	return c->shown == t && c->shown_generation == t->t.generation ? PAGE_N
								       : PAGE_MISDIRECTED;
}

enum page_cause request_route(struct client *c, const struct head *h, struct route *out)
{
	struct front *f = c->front;
	struct edge_tunnel *t;

	if (!h->authority || head_hostname(h->authority, out->hostname, sizeof(out->hostname)))
		return PAGE_NO_SITE;
	out->tunnel = NULL;
	if (!method_offered(h))
		return PAGE_METHOD;
	/* A tunnel that has the gateway's name in the registry does not get it, here nor there. */
	if (front_is_gateway(f, out->hostname))
		return !c->tunnel && client_serves_name(c, out->hostname) ? PAGE_N
									  : PAGE_MISDIRECTED;
	if (edge_is_stale(f->edge->tunnels))
		return PAGE_STALE;
	t = edge_tunnel_of_hostname(f->edge->tunnels, out->hostname);
	if (c->tunnel && t != c->tunnel)
		return PAGE_MISDIRECTED;
	if (!t)
		return PAGE_NO_SITE;
	out->tunnel = t;
	return check_tunnel(c, t, out->hostname);
}
