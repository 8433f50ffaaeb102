/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader_egress.c -- the loader's part in what this host itself sends: the MSS that service addresses
 * announce, health checks that travel as traffic does, and the routes that a routing daemon announces
 * (see loader.h, bpf/egress.bpf.c).
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf/abi/gue.h"
#include "lib/log.h"
#include "user/agent/loader_int.h"

#define LOOPBACK_IFINDEX 1   /* in every network namespace */
#define ROUTE_KEPT_S	 120 /* no check takes longer than 60 s; after that its route may go */
#define DEFAULT_MTU	 1500
#define MSS_MIN		 536 /* RFC 9293 section 3.7.1 */
#define TCP_IP4		 40
#define TCP_IP6		 60

/* ---- the announced MSS ------------------------------------------------------------------------ */

static uint32_t smallest_mtu(struct loader *l)
{
	uint32_t smallest = 0;

	for (size_t i = 0; i < l->ntaken; i++) {
		uint32_t mtu = netlink_mtu(l->nl, l->taken[i]);

		if (mtu && (!smallest || mtu < smallest))
			smallest = mtu;
	}
	return smallest ? smallest : DEFAULT_MTU;
}

/* Who sends over IPv6 shows in where packets are taken from; IPIP needs less room than GUE. */
static uint32_t outer_room(const struct loader *l)
{
	for (size_t i = 0; i < l->nfrom; i++)
		if (l->from[i].addr.family == AF_INET6)
			return WEIR_ADDED_GUE6;
	return WEIR_ADDED_GUE4;
}

static uint16_t mss(int64_t bytes)
{
	return bytes < MSS_MIN ? MSS_MIN : bytes > UINT16_MAX ? UINT16_MAX : (uint16_t)bytes;
}

/* `weir rescue` takes the XDP programs first: what it takes then is not put back. */
static bool serves_still(const struct loader *l)
{
	uint32_t id;

	for (size_t i = 0; i < l->nserving; i++)
		if (!bpf_xdp_query_id((int)l->serving[i], 0, &id) && id)
			return true;
	return !l->nserving;
}

static void hang(struct loader *l, uint32_t ifindex)
{
	char name[IFNAMSIZ] = "";
	size_t i = 0;

	while (i < l->nclamped && l->clamped[i] != ifindex)
		i++;
	/* Who changes the queueing disciplines of an interface takes it away with them. */
	if (i < l->nclamped && (egress_is_there(ifindex) || !serves_still(l)))
		return;
	if_indextoname(ifindex, name);
	if (i < LOADER_CLAMPED_MAX && !egress_attach(l->egress, l->nl, name, ifindex)) {
		l->clamped[i] = ifindex;
		l->nclamped += i == l->nclamped;
		log_info("%s: service addresses announce an MSS of at most %u (IPv4), %u (IPv6)", name,
			 l->settings.mss4, l->settings.mss6);
	}
}

static bool has(const uint32_t *list, size_t n, uint32_t ifindex)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == ifindex)
			return true;
	return false;
}

/* Answers leave by interfaces that serve, and by those where packets are taken. */
static bool wants_program(const struct loader *l, uint32_t ifindex)
{
	return has(l->serving, l->nserving, ifindex) || has(l->taken, l->ntaken, ifindex);
}

/* With clsact, where nothing else is in it. */
static void take_away(struct loader *l, uint32_t ifindex)
{
	if (egress_is_there(ifindex))
		egress_remove(l->nl, ifindex);
}

void loader_clamp(struct loader *l)
{
	bool on = l->egress && l->mss != CONF_MSS_OFF && l->nfrom && l->ntaken;
	bool automatic = l->mss == CONF_MSS_AUTO;
	int64_t room = on && automatic ? (int64_t)smallest_mtu(l) - outer_room(l) : 0;
	struct weir_egress want = l->settings;

	want.mss4 = !on ? 0 : mss(automatic ? room - TCP_IP4 : l->mss);
	want.mss6 = !on ? 0 : mss(automatic ? room - TCP_IP6 : l->mss);
	if (!l->egress)
		return;
	if (memcmp(&want, &l->settings, sizeof(want)) && !egress_set(l->egress, &want))
		l->settings = want;
	if (on) {
		for (size_t i = 0; i < l->nserving; i++)
			hang(l, l->serving[i]);
		for (size_t i = 0; i < l->ntaken; i++)
			hang(l, l->taken[i]);
	}
	for (size_t i = l->nclamped; i-- > 0;)
		if (!on || !wants_program(l, l->clamped[i])) {
			take_away(l, l->clamped[i]);
			l->clamped[i] = l->clamped[--l->nclamped];
		}
}

/* ---- probes ----------------------------------------------------------------------------------- */

static int set_mark(struct loader *l, uint32_t mark)
{
	struct weir_egress want = l->settings;
	int rc = l->settings.mark == mark ? 0 : netlink_probe_rule(l->nl, mark);

	if (rc || l->settings.mark == mark)
		return rc;
	want.mark = mark;
	rc = egress_set(l->egress, &want);
	if (!rc)
		l->settings = want;
	return rc;
}

/* The program hangs at the loopback interface, or is put there: tried once a second, as checks are many. */
static int hang_lo(struct loader *l)
{
	uint32_t now = maps_now();

	if (l->leads)
		return 0;
	if (l->lead_failed && l->lead_tried == now)
		return l->lead_failed;
	l->lead_tried = now;
	l->lead_failed = egress_attach(l->egress, l->nl, "lo", LOOPBACK_IFINDEX);
	l->leads = !l->lead_failed;
	return l->lead_failed;
}

/* The packets of marked sockets for this address reach the program on the loopback interface. */
static int lead(struct loader *l, const struct addr *service)
{
	struct addr_prefix p = { .addr = *service, .len = service->family == AF_INET ? 32 : 128 };
	size_t i = 0;
	int rc;

	while (i < l->nled && !addr_equal(&l->led[i].to, service))
		i++;
	if (i == LOADER_LED_MAX)
		return -ENOSPC;
	rc = hang_lo(l);
	if (rc)
		return rc;
	rc = set_mark(l, l->mark);
	if (!rc && i == l->nled)
		rc = netlink_route(l->nl, NETLINK_PROBE, 0, &p, true);
	if (rc)
		return rc;
	if (i == l->nled)
		l->led[l->nled++].to = *service;
	l->led[i].used = maps_now();
	return 0;
}

void loader_lead_again(struct loader *l)
{
	/* Without the program packets of checks end here. */
	if (!l->leads || egress_is_there(LOOPBACK_IFINDEX) || !serves_still(l))
		return;
	l->leads = false;
	hang_lo(l);
}

void loader_probe_tick(struct loader *l, uint32_t now)
{
	for (size_t i = 0; i < l->nled;) {
		struct addr_prefix p = { .addr = l->led[i].to,
					 .len = l->led[i].to.family == AF_INET ? 32 : 128 };

		if (now - l->led[i].used <= ROUTE_KEPT_S) {
			i++;
			continue;
		}
		netlink_route(l->nl, NETLINK_PROBE, 0, &p, false);
		l->led[i] = l->led[--l->nled];
		if (!l->nled) {
			set_mark(l, 0);
			take_away(l, LOOPBACK_IFINDEX);
			l->leads = false;
		}
	}
}

void loader_probes_clear(struct loader *l)
{
	if (!l->leads && !l->nled)
		return;
	/* The next agent's may have come already: it cleared ours. */
	if (egress_is_there(LOOPBACK_IFINDEX) && !egress_is_own(l->egress, LOOPBACK_IFINDEX))
		return;
	netlink_routes(l->nl, NETLINK_PROBE, 0, NULL, 0);
	netlink_probe_rule(l->nl, 0);
	take_away(l, LOOPBACK_IFINDEX);
}

struct choice {
	int family;
	struct addr addr;
};

static void take_first(void *arg, const struct addr *a, unsigned int prefix_len)
{
	struct choice *c = arg;

	(void)prefix_len;
	if (a->family == c->family && !c->addr.family)
		c->addr = *a;
}

/* Where the backend's answer shall go: this node's address on the way to it, of the service's family. */
static int choose_source(struct loader *l, const struct weir_backend *b, const struct addr *service,
			 struct addr *source)
{
	struct addr to = loader_backend_address(b);
	struct choice c = { .family = service->family };
	int rc = netlink_source(l->nl, service, &c.addr);
	uint32_t device = netlink_device(l->nl, &to); /* of a VLAN it is not the backend's ifindex */

	if (rc == 1)
		return -EADDRINUSE;
	memset(&c.addr, 0, sizeof(c.addr));
	if (to.family == service->family)
		rc = netlink_source(l->nl, &to, &c.addr);
	else
		rc = device ? netlink_addresses(l->nl, device, take_first, &c) : -ENETUNREACH;
	*source = c.addr;
	return rc < 0 || source->family != service->family ? -EADDRNOTAVAIL : 0;
}

static int bind_to(int fd, const struct addr *source)
{
	struct addr_port ap = { .addr = *source };
	struct sockaddr_storage ss;
	socklen_t len = addr_port_sockaddr(&ap, &ss);
	int one = 1;

	/* The port is chosen when it is connected: more fit. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&ss, len) ? -errno : 0;
}

static int prepare_socket(struct loader *l, int fd, const struct loader_probe *p, uint16_t backend,
			  const struct addr *source)
{
	socklen_t len = sizeof(uint64_t);
	uint64_t cookie;
	int rc;

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len))
		return -errno;
	rc = bind_to(fd, source);
	if (!rc)
		rc = lead(l, &p->service);
	return rc ? rc : egress_probe(l->egress, cookie, backend, p->encap);
}

/* Why a check cannot travel as traffic does; NULL: it can. */
static const char *obstacle(struct loader *l, const struct weir_backend *b, const struct loader_probe *p,
			    struct addr *source)
{
	if (!l->egress)
		return "the tc program cannot be used on this kernel";
	if (b->flags & WEIR_BACKEND_LOCAL)
		return "the backend is this node";
	switch (choose_source(l, b, &p->service, source)) {
	case 0:
		return NULL;
	case -EADDRINUSE:
		return "the service's address is also this node's own";
	default:
		return "this node has no address of the service's family on the way";
	}
}

int loader_do_probe(struct loader *l)
{
	const struct weir_backend *b;
	struct loader_probe p;
	struct addr source;
	const char *why;
	int fd, rc;

	if (l->in.len != sizeof(p) || !l->in.number || l->in.number >= maps_backends_end(l->maps))
		return -EBADMSG;
	memcpy(&p, l->in.body, sizeof(p));
	b = maps_backend(l->maps, l->in.number);
	if (!b || (p.service.family != AF_INET && p.service.family != AF_INET6) ||
	    (p.encap != WEIR_ENCAP_GUE && p.encap != WEIR_ENCAP_IPIP))
		return -EBADMSG;
	why = obstacle(l, b, &p, &source);
	if (why) {
		loader_answer_error(l, 0, "%s", why);
		return 1;
	}
	fd = loader_socket(l, p.service.family);
	if (fd < 0)
		return fd;
	rc = prepare_socket(l, fd, &p, (uint16_t)l->in.number, &source);
	if (rc) {
		/* Of the backend this says nothing: it is checked by its own address. */
		close(fd);
		if (rc == -ENOSPC)
			loader_answer_error(l, 0, "no more than %d service addresses can be checked so",
					    LOADER_LED_MAX);
		else
			loader_answer_error(l, 0, "a check cannot be led to the backend: %s", strerror(-rc));
		return 1;
	}
	l->send_fd = fd;
	return 0;
}

int loader_do_egress_counts(struct loader *l)
{
	int rc = l->egress ? egress_counts(l->egress, (uint64_t *)l->out.body) : -EOPNOTSUPP;

	l->out.len = rc ? 0 : WEIR_EGRESS_COUNT * sizeof(uint64_t);
	return rc;
}

/* ---- announced addresses ---------------------------------------------------------------------- */

_Static_assert(CONF_ANNOUNCE_MAX * sizeof(struct addr_prefix) <= LOADER_BODY_MAX, "one message");
_Static_assert(NETLINK_PROBE_TABLE == CONF_CHECKS_TABLE, "the table that the configuration's check refuses");

int loader_do_announce(struct loader *l)
{
	const struct addr_prefix *p = (const void *)l->in.body;
	uint32_t n = l->in.len / sizeof(*p), table = l->in.number;
	int rc;

	if (n > CONF_ANNOUNCE_MAX || l->in.len != n * sizeof(*p) || (n && !table))
		return -EBADMSG;
	for (uint32_t i = 0; i < n; i++)
		if ((p[i].addr.family != AF_INET && p[i].addr.family != AF_INET6) ||
		    p[i].len > (p[i].addr.family == AF_INET ? 32 : 128))
			return -EBADMSG;
	/* Not the tables by which this host itself routes. */
	if (table == RT_TABLE_MAIN || table == RT_TABLE_LOCAL || table == RT_TABLE_DEFAULT ||
	    table == NETLINK_PROBE_TABLE)
		return loader_answer_error(l, -EINVAL, "agent.announce: table %u is in use", table);
	/* In all other tables there are none then, whoever of us put them there. */
	rc = netlink_routes(l->nl, NETLINK_ANNOUNCE, table, p, n);
	return rc ? loader_answer_error(l, rc, "the routes of table %u cannot be set: %s", table, strerror(-rc)) :
		    0;
}

/* ---- start ------------------------------------------------------------------------------------ */

/* What an earlier process hung where this one shall not, also on interfaces that no list names any more. */
static void detach_others(struct loader *l, bool none)
{
	struct if_nameindex *all = if_nameindex();

	for (const struct if_nameindex *i = all; i && i->if_index; i++)
		if (none || !wants_program(l, i->if_index))
			take_away(l, i->if_index);
	if_freenameindex(all);
}

int loader_start_egress(struct loader *l, const struct conf_agent *conf)
{
	struct weir_egress none = { 0 };
	int rc = egress_open(&l->egress, conf->pin, &l->fds), cleared;

	for (size_t i = 0; i < conf->ninterfaces && l->nserving < LOADER_CLAMPED_MAX / 2; i++)
		l->serving[l->nserving++] = if_nametoindex(conf->interfaces[i]);
	/* Otherwise what an earlier process announced stays until the agent knows better. */
	if (!conf->announce)
		netlink_routes(l->nl, NETLINK_ANNOUNCE, 0, NULL, 0);
	if (!rc)
		rc = egress_set(l->egress, &none);
	/* What an earlier process led somewhere; its sockets are gone. */
	cleared = netlink_routes(l->nl, NETLINK_PROBE, 0, NULL, 0);
	if (!cleared)
		cleared = netlink_probe_rule(l->nl, 0);
	take_away(l, LOOPBACK_IFINDEX);
	detach_others(l, rc || l->mss == CONF_MSS_OFF || !conf->decap.nfrom);
	if (rc) {
		log_warn("the tc program cannot be loaded (%s): service addresses announce any MSS, and "
			 "checks go to backends' own addresses",
			 strerror(-rc));
		egress_close(l->egress);
		l->egress = NULL;
		return 0;
	}
	return cleared;
}
