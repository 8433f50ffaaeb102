/* SPDX-License-Identifier: Apache-2.0 */
/* netlink_routes.c -- routes and rules that the loader makes, and takes away (see netlink.h). */
#include "user/agent/netlink_int.h"

#include <errno.h>
#include <linux/pkt_sched.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#define ROUTES_MAX 2048
#define PROBE_MTU  1280 /* RFC 8200 section 5: fits everywhere with any outer header */
#define RULES_MAX  64	/* that are taken away at once; ends a loop */

struct found {
	struct addr_prefix prefix;
	uint32_t table;
};

struct routes {
	enum netlink_routes kind;
	struct found found[ROUTES_MAX];
	size_t n;
};

static uint8_t route_type(enum netlink_routes kind, int family)
{
	if (kind == NETLINK_ANNOUNCE)
		return RTN_BLACKHOLE;
	/* IPv6 makes a plain route to the loopback interface an unreachable one. */
	return kind == NETLINK_PROBE && family == AF_INET ? RTN_UNICAST : RTN_LOCAL;
}

static uint32_t route_table(enum netlink_routes kind, uint32_t table)
{
	return kind == NETLINK_LOCAL ? RT_TABLE_LOCAL : kind == NETLINK_PROBE ? NETLINK_PROBE_TABLE : table;
}

static void route_found(void *arg, const struct nlmsghdr *head)
{
	const struct rtmsg *m = NLMSG_DATA(head);
	const struct rtattr *a = RTM_RTA(m);
	int left = (int)RTM_PAYLOAD(head);
	struct routes *all = arg;
	struct found f = { .prefix = { .len = m->rtm_dst_len }, .table = m->rtm_table };

	if (head->nlmsg_type != RTM_NEWROUTE || m->rtm_protocol != NETLINK_ROUTE_PROTOCOL ||
	    m->rtm_type != route_type(all->kind, m->rtm_family) || all->n == ROUTES_MAX)
		return;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == RTA_DST)
			netlink_take_address(&f.prefix.addr, m->rtm_family, a);
		else if (a->rta_type == RTA_TABLE)
			memcpy(&f.table, RTA_DATA(a), sizeof(f.table));
	}
	if (f.prefix.addr.family && (all->kind == NETLINK_ANNOUNCE || f.table == route_table(all->kind, 0)))
		all->found[all->n++] = f;
}

static int routes_list(struct netlink *nl, struct routes *all)
{
	const uint8_t families[] = { AF_INET, AF_INET6 };
	int rc = 0;

	for (size_t i = 0; !rc && i < sizeof(families); i++) {
		struct netlink_question q;

		netlink_question(&q, RTM_GETROUTE, NLM_F_DUMP, sizeof(q.route));
		q.route.rtm_family = families[i];
		rc = netlink_ask(nl, &q, route_found, all);
	}
	return rc;
}

int netlink_route(struct netlink *nl, enum netlink_routes kind, uint32_t table,
		  const struct addr_prefix *p, bool add)
{
	uint32_t lo = if_nametoindex("lo");
	uint8_t type = route_type(kind, p->addr.family);
	struct netlink_question q;
	int rc;

	table = route_table(kind, table);
	netlink_question(&q, add ? RTM_NEWROUTE : RTM_DELROUTE,
			 add ? NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL : NLM_F_ACK, sizeof(q.route));
	q.route.rtm_family = p->addr.family;
	q.route.rtm_dst_len = p->len;
	q.route.rtm_table = table < 256 ? (unsigned char)table : RT_TABLE_UNSPEC;
	q.route.rtm_protocol = NETLINK_ROUTE_PROTOCOL;
	q.route.rtm_type = type;
	if (p->addr.family == AF_INET)
		q.route.rtm_scope = type == RTN_LOCAL ? RT_SCOPE_HOST :
				    type == RTN_UNICAST ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	netlink_add(&q, RTA_DST, p->addr.bytes, netlink_address_bytes(&p->addr));
	netlink_add(&q, RTA_TABLE, &table, sizeof(table));
	if (type != RTN_BLACKHOLE)
		netlink_add(&q, RTA_OIF, &lo, sizeof(lo));
	if (kind == NETLINK_PROBE) {
		struct {
			struct rtattr head;
			uint32_t mtu;
		} metrics = { { RTA_LENGTH(sizeof(uint32_t)), RTAX_MTU }, PROBE_MTU };

		netlink_add(&q, RTA_METRICS, &metrics, sizeof(metrics));
	}
	rc = netlink_ask(nl, &q, NULL, NULL);
	return (add && rc == -EEXIST) || (!add && rc == -ESRCH) ? 0 : rc;
}

static bool prefix_listed(const struct addr_prefix *list, size_t n, const struct addr_prefix *p)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].len == p->len && addr_equal(&list[i].addr, &p->addr))
			return true;
	return false;
}

int netlink_routes(struct netlink *nl, enum netlink_routes kind, uint32_t table,
		   const struct addr_prefix *prefix, size_t n)
{
	struct routes *all = malloc(sizeof(*all));
	int rc = all ? 0 : -ENOMEM;

	for (size_t i = 0; !rc && i < n; i++)
		rc = netlink_route(nl, kind, table, &prefix[i], true);
	if (!rc) {
		all->kind = kind;
		all->n = 0;
		rc = routes_list(nl, all);
	}
	for (size_t i = 0; !rc && i < all->n; i++)
		if (all->found[i].table != route_table(kind, table) ||
		    !prefix_listed(prefix, n, &all->found[i].prefix))
			rc = netlink_route(nl, kind, all->found[i].table, &all->found[i].prefix, false);
	free(all);
	return rc;
}

/* ---- the rule --------------------------------------------------------------------------------- */

static void rule_question(struct netlink_question *q, uint16_t type, uint16_t flags, uint8_t family)
{
	uint32_t priority = NETLINK_PROBE_TABLE;
	uint8_t protocol = NETLINK_ROUTE_PROTOCOL;

	netlink_question(q, type, flags, sizeof(q->rule));
	q->rule.family = family;
	q->rule.table = NETLINK_PROBE_TABLE;
	q->rule.action = FR_ACT_TO_TBL;
	netlink_add(q, FRA_PRIORITY, &priority, sizeof(priority));
	netlink_add(q, FRA_PROTOCOL, &protocol, sizeof(protocol));
}

int netlink_probe_rule(struct netlink *nl, uint32_t mark)
{
	const uint8_t families[] = { AF_INET, AF_INET6 };
	struct netlink_question q;
	int rc = 0;

	for (size_t i = 0; i < sizeof(families) && !rc; i++) {
		for (int n = 0; !rc && n < RULES_MAX; n++) {
			rule_question(&q, RTM_DELRULE, NLM_F_ACK, families[i]);
			rc = netlink_ask(nl, &q, NULL, NULL);
		}
		rc = rc == -ENOENT || rc == -EAFNOSUPPORT ? 0 : rc;
		if (rc || !mark)
			continue;
		rule_question(&q, RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, families[i]);
		netlink_add(&q, FRA_FWMARK, &mark, sizeof(mark));
		rc = netlink_ask(nl, &q, NULL, NULL);
		/* A host without IPv6 has no addresses of it to check either. */
		if (families[i] == AF_INET6 && (rc == -EAFNOSUPPORT || rc == -EOPNOTSUPP))
			rc = 0;
	}
	return rc;
}

/* ---- filters ---------------------------------------------------------------------------------- */

struct qdisc {
	int ifindex;
	char *kind;
};

static void qdisc_found(void *arg, const struct nlmsghdr *head)
{
	const struct tcmsg *m = NLMSG_DATA(head);
	const struct rtattr *a = TCA_RTA(m);
	int left = (int)TCA_PAYLOAD(head);
	const struct qdisc *q = arg;

	if (head->nlmsg_type != RTM_NEWQDISC || m->tcm_ifindex != q->ifindex || m->tcm_parent != TC_H_CLSACT)
		return;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == TCA_KIND && RTA_PAYLOAD(a) < NETLINK_KIND_MAX)
			memcpy(q->kind, RTA_DATA(a), RTA_PAYLOAD(a));
}

int netlink_qdisc(struct netlink *nl, uint32_t ifindex, char kind[NETLINK_KIND_MAX])
{
	struct qdisc found = { (int)ifindex, kind };
	struct netlink_question q;

	memset(kind, 0, NETLINK_KIND_MAX);
	/* The whole list: the kernel tells the answer for a single one to every listener, and 6.1 to them alone. */
	netlink_question(&q, RTM_GETQDISC, NLM_F_DUMP, sizeof(q.filter));
	return netlink_ask(nl, &q, qdisc_found, &found);
}

static void filter_found(void *arg, const struct nlmsghdr *head)
{
	*(int *)arg += head->nlmsg_type == RTM_NEWTFILTER;
}

int netlink_filters(struct netlink *nl, uint32_t ifindex)
{
	const uint32_t parents[] = { TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS),
				     TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS) };
	int n = 0, rc = 0;

	for (size_t i = 0; !rc && i < sizeof(parents) / sizeof(*parents); i++) {
		struct netlink_question q;

		netlink_question(&q, RTM_GETTFILTER, NLM_F_DUMP, sizeof(q.filter));
		q.filter.tcm_ifindex = (int)ifindex;
		q.filter.tcm_parent = parents[i];
		rc = netlink_ask(nl, &q, filter_found, &n);
	}
	return rc ? rc : n;
}
