/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netlink.c -- rtnetlink(7) by hand: four questions and a subscription (see netlink.h); links are read in
 * netlink_links.c, what is changed in the kernel stands in netlink_routes.c.
 */
#include "user/agent/netlink_int.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NUD_USABLE   (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP)

void netlink_question(struct netlink_question *q, uint16_t type, uint16_t flags, size_t body)
{
	memset(q, 0, sizeof(*q));
	q->head.nlmsg_type = type;
	q->head.nlmsg_flags = NLM_F_REQUEST | flags;
	q->head.nlmsg_len = NLMSG_LENGTH(body);
}

void netlink_add(struct netlink_question *q, uint16_t type, const void *data, size_t len)
{
	struct rtattr *a = (void *)((char *)q + NLMSG_ALIGN(q->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
	q->head.nlmsg_len = NLMSG_ALIGN(q->head.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

size_t netlink_address_bytes(const struct addr *a)
{
	return a->family == AF_INET ? 4 : 16;
}

/* Reads one part of an answer; 1: more to come, 0: the end, or -errno from the kernel. */
static int answer_part(struct netlink *nl, bool dump, netlink_message_fn *fn, void *arg)
{
	ssize_t got = recv(nl->ask, nl->answer, sizeof(nl->answer), 0);
	const struct nlmsghdr *h = (const void *)nl->answer;
	size_t left;

	if (got < 0)
		return errno == EINTR ? 1 : -errno;
	left = (size_t)got;
	for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		if (h->nlmsg_seq != nl->sequence)
			continue;
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
		if (fn)
			fn(arg, h);
		if (!dump)
			return 0;
	}
	return 1;
}

int netlink_ask(struct netlink *nl, struct netlink_question *q, netlink_message_fn *fn, void *arg)
{
	bool dump = q->head.nlmsg_flags & NLM_F_DUMP;
	int rc;

	q->head.nlmsg_seq = ++nl->sequence;
	if (send(nl->ask, q, q->head.nlmsg_len, 0) < 0)
		return -errno;
	do {
		rc = answer_part(nl, dump, fn, arg);
	} while (rc == 1);
	return rc;
}

int netlink_open(struct netlink **out)
{
	struct sockaddr_nl groups = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_NEIGH | RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE |
			     RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_TC,
	};
	struct timeval patience = { .tv_sec = 2 };
	struct netlink *nl = calloc(1, sizeof(*nl));
	int err;

	if (!nl)
		return -ENOMEM;
	nl->ask = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	nl->events = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (nl->ask < 0 || nl->events < 0 ||
	    setsockopt(nl->ask, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    bind(nl->events, (struct sockaddr *)&groups, sizeof(groups))) {
		err = -errno;
		netlink_close(nl);
		return err;
	}
	*out = nl;
	return 0;
}

void netlink_close(struct netlink *nl)
{
	if (!nl)
		return;
	if (nl->ask >= 0)
		close(nl->ask);
	if (nl->events >= 0)
		close(nl->events);
	free(nl);
}

int netlink_fd(const struct netlink *nl)
{
	return nl->events;
}

void netlink_drain(struct netlink *nl)
{
	ssize_t got;

	/* What changed does not matter: everything is asked again. ENOBUFS (news were lost) is such
	 * a change too, and clears itself. */
	do {
		got = recv(nl->events, nl->answer, sizeof(nl->answer), MSG_DONTWAIT);
	} while (got > 0 || (got < 0 && (errno == EINTR || errno == ENOBUFS)));
}

/* ---- routes ---------------------------------------------------------------------------------- */

struct route {
	uint8_t type;
	uint32_t ifindex, mtu;
	struct addr hop, source; /* hop: AF_UNSPEC when the address is on the link */
};

static void route_metrics(struct route *r, const struct rtattr *nest)
{
	const struct rtattr *a = RTA_DATA(nest);
	int left = (int)RTA_PAYLOAD(nest);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == RTAX_MTU)
			memcpy(&r->mtu, RTA_DATA(a), sizeof(r->mtu));
}

void netlink_take_address(struct addr *to, int family, const struct rtattr *a)
{
	size_t len = family == AF_INET ? 4 : 16;

	if (RTA_PAYLOAD(a) < len)
		return;
	to->family = (uint8_t)family;
	memcpy(to->bytes, RTA_DATA(a), len);
}

/* RTA_VIA: a next hop of the other family (IPv4 over an IPv6 next hop, RFC 8950). */
static void take_via(struct addr *to, const struct rtattr *a)
{
	const struct rtvia *via = RTA_DATA(a);
	size_t len = RTA_PAYLOAD(a) - sizeof(*via);

	if (RTA_PAYLOAD(a) < sizeof(*via) || len < (via->rtvia_family == AF_INET ? 4u : 16u))
		return;
	to->family = (uint8_t)via->rtvia_family;
	memcpy(to->bytes, via->rtvia_addr, netlink_address_bytes(to));
}

static void route_read(void *arg, const struct nlmsghdr *head)
{
	const struct rtmsg *m = NLMSG_DATA(head);
	const struct rtattr *a = RTM_RTA(m);
	int left = (int)RTM_PAYLOAD(head);
	struct route *r = arg;

	if (head->nlmsg_type != RTM_NEWROUTE)
		return;
	r->type = m->rtm_type;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		switch (a->rta_type) {
		case RTA_OIF:
			memcpy(&r->ifindex, RTA_DATA(a), sizeof(r->ifindex));
			break;
		case RTA_GATEWAY:
			netlink_take_address(&r->hop, m->rtm_family, a);
			break;
		case RTA_VIA:
			take_via(&r->hop, a);
			break;
		case RTA_PREFSRC:
			netlink_take_address(&r->source, m->rtm_family, a);
			break;
		case RTA_METRICS:
			route_metrics(r, a);
			break;
		}
	}
}

static int route_get(struct netlink *nl, const struct addr *to, struct route *r)
{
	struct netlink_question q;

	memset(r, 0, sizeof(*r));
	netlink_question(&q, RTM_GETROUTE, 0, sizeof(q.route));
	q.route.rtm_family = to->family;
	q.route.rtm_dst_len = (unsigned char)(8 * netlink_address_bytes(to));
	netlink_add(&q, RTA_DST, to->bytes, netlink_address_bytes(to));
	return netlink_ask(nl, &q, route_read, r);
}

/* ---- neighbours ------------------------------------------------------------------------------ */

struct neighbour {
	uint16_t state;
	bool known;
	uint8_t mac[6];
};

static void neighbour_read(void *arg, const struct nlmsghdr *head)
{
	const struct ndmsg *m = NLMSG_DATA(head);
	const struct rtattr *a = (const void *)((const char *)m + NLMSG_ALIGN(sizeof(*m)));
	int left = (int)NLMSG_PAYLOAD(head, sizeof(*m));
	struct neighbour *n = arg;

	if (head->nlmsg_type != RTM_NEWNEIGH)
		return;
	n->state = m->ndm_state;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type != NDA_LLADDR || RTA_PAYLOAD(a) != sizeof(n->mac))
			continue;
		memcpy(n->mac, RTA_DATA(a), sizeof(n->mac));
		n->known = n->state & NUD_USABLE;
	}
}

static void neighbour_question(struct netlink_question *q, uint16_t type, uint16_t flags, uint32_t ifindex,
			       const struct addr *hop)
{
	netlink_question(q, type, flags, sizeof(q->neighbour));
	q->neighbour.ndm_family = hop->family;
	q->neighbour.ndm_ifindex = (int)ifindex;
	netlink_add(q, NDA_DST, hop->bytes, netlink_address_bytes(hop));
}

/* NTF_USE is what a packet to the neighbour would do: resolve or confirm it. */
static int neighbour_use(struct netlink *nl, uint32_t ifindex, const struct addr *hop)
{
	struct netlink_question q;

	neighbour_question(&q, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE, ifindex, hop);
	q.neighbour.ndm_flags = NTF_USE;
	return netlink_ask(nl, &q, NULL, NULL);
}

static int neighbour_get(struct netlink *nl, uint32_t ifindex, const struct addr *hop,
			 struct neighbour *n)
{
	struct netlink_question q;
	int rc;

	memset(n, 0, sizeof(*n));
	neighbour_question(&q, RTM_GETNEIGH, 0, ifindex, hop);
	rc = netlink_ask(nl, &q, neighbour_read, n);
	if (rc == 0 && n->known)
		return 0;
	if (rc != 0 && rc != -ENOENT)
		return rc;
	neighbour_use(nl, ifindex, hop);
	return -EAGAIN;
}

/* XDP takes no frame for a VLAN device, but the link below does, with the tag (bpf/vlan.h). */
static void way_by_vlan(struct netlink *nl, struct netlink_way *way, const struct netlink_link *l)
{
	struct netlink_link below;

	way->ifindex = 0;
	if (!l->below || netlink_link_get(nl, l->below, &below) || below.kind == LINK_VLAN)
		return;
	way->incapable = below.kind == LINK_INCAPABLE;
	way->ifindex = l->below;
	way->vlan = l->vlan;
	way->tag = l->tag;
}

int netlink_way(struct netlink *nl, const struct addr *to, struct netlink_way *way)
{
	struct neighbour n;
	struct route r;
	struct netlink_link l;
	int rc = route_get(nl, to, &r);

	memset(way, 0, sizeof(*way));
	if (rc)
		return rc == -EHOSTUNREACH || rc == -ENETUNREACH ? -ENETUNREACH : rc;
	if (r.type == RTN_LOCAL) {
		way->local = true;
		return 0;
	}
	if (r.type != RTN_UNICAST || !r.ifindex)
		return -ENETUNREACH;
	rc = netlink_link_get(nl, r.ifindex, &l);
	if (rc)
		return rc;
	way->ifindex = l.kind == LINK_HEADLESS ? 0 : r.ifindex;
	way->incapable = l.kind == LINK_INCAPABLE;
	if (l.kind == LINK_VLAN)
		way_by_vlan(nl, way, &l);
	way->source = r.source;
	memcpy(way->source_mac, l.mac, sizeof(way->source_mac));
	if (r.mtu && r.mtu < l.mtu)
		l.mtu = r.mtu;
	way->mtu = l.mtu > UINT16_MAX ? UINT16_MAX : (uint16_t)l.mtu;
	if (l.flags & IFF_NOARP)
		return 0;
	rc = neighbour_get(nl, r.ifindex, r.hop.family ? &r.hop : to, &n);
	memcpy(way->mac, n.mac, sizeof(way->mac));
	return rc;
}

int netlink_source(struct netlink *nl, const struct addr *to, struct addr *source)
{
	struct route r;
	int rc = route_get(nl, to, &r);

	if (rc)
		return rc;
	*source = r.source;
	return r.type == RTN_LOCAL;
}

uint32_t netlink_device(struct netlink *nl, const struct addr *to)
{
	struct route r;

	return route_get(nl, to, &r) ? 0 : r.ifindex;
}

int netlink_confirm(struct netlink *nl, const struct addr *to)
{
	struct route r;
	int rc = route_get(nl, to, &r);

	if (rc)
		return rc;
	if (r.type != RTN_UNICAST || !r.ifindex)
		return 0;
	return neighbour_use(nl, r.ifindex, r.hop.family ? &r.hop : to);
}

/* ---- own addresses
 * ------------------------------------------------------------------------------- */

struct address_walk {
	uint32_t ifindex; /* 0: any */
	netlink_address_fn *fn;
	void *arg;
};

static void address_read(void *arg, const struct nlmsghdr *head)
{
	const struct ifaddrmsg *m = NLMSG_DATA(head);
	const struct rtattr *a = IFA_RTA(m);
	int left = (int)IFA_PAYLOAD(head);
	struct address_walk *walk = arg;
	struct addr found = { 0 };

	if (head->nlmsg_type != RTM_NEWADDR ||
	    (m->ifa_family != AF_INET && m->ifa_family != AF_INET6))
		return;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		/* On a point-to-point link IFA_ADDRESS is the other end; IFA_LOCAL, when there, is
		 * ours. */
		if (a->rta_type == IFA_LOCAL || (a->rta_type == IFA_ADDRESS && !found.family))
			netlink_take_address(&found, m->ifa_family, a);
	}
	if (found.family && (!walk->ifindex || (m->ifa_index == walk->ifindex &&
						m->ifa_scope == RT_SCOPE_UNIVERSE)))
		walk->fn(walk->arg, &found, m->ifa_prefixlen);
}

int netlink_addresses(struct netlink *nl, uint32_t ifindex, netlink_address_fn *fn, void *arg)
{
	struct address_walk walk = { ifindex, fn, arg };
	struct netlink_question q;

	netlink_question(&q, RTM_GETADDR, NLM_F_DUMP, sizeof(q.address));
	return netlink_ask(nl, &q, address_read, &walk);
}
