/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netlink_links.c -- what the kernel says of links: addresses, MTU, and by which of them the packet path
 * cannot send as it is (see netlink.h).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>

#include "user/agent/netlink_int.h"

/* Kinds without ndo_xdp_xmit: what is redirected there in native mode is lost. (Network cards have no kind;
 * those that cannot are told by their drivers alone.) */
static bool kind_is_incapable(const char *kind, size_t len)
{
	static const char *const kinds[] = { "bridge",	"dummy",     "macvlan", "macvtap", "ipvlan", "ipvtap",
					     "wireguard", "vxlan",   "geneve",	"gretap",  "ip6gretap",
					     "ifb",	"vrf",	     "team",	"batadv",  "hsr",
					     "macsec",	"erspan",    "ip6erspan" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strlen(kinds[i]) == len && !memcmp(kinds[i], kind, len))
			return true;
	return false;
}

static void vlan_read(struct netlink_link *l, const struct rtattr *nest)
{
	const struct rtattr *a = RTA_DATA(nest);
	int left = (int)RTA_PAYLOAD(nest);
	uint16_t proto = htons(ETH_P_8021Q);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == IFLA_VLAN_ID && RTA_PAYLOAD(a) == sizeof(l->vlan))
			memcpy(&l->vlan, RTA_DATA(a), sizeof(l->vlan));
		else if (a->rta_type == IFLA_VLAN_PROTOCOL && RTA_PAYLOAD(a) == sizeof(proto))
			memcpy(&proto, RTA_DATA(a), sizeof(proto));
	}
	l->tag = WEIR_DEVICE_VLAN | (proto == htons(ETH_P_8021AD) ? WEIR_DEVICE_VLAN_AD : 0);
}

static void kind_read(struct netlink_link *l, const struct rtattr *nest)
{
	const struct rtattr *a = RTA_DATA(nest), *data = NULL;
	int left = (int)RTA_PAYLOAD(nest);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		const char *kind = RTA_DATA(a);
		size_t len = strnlen(kind, RTA_PAYLOAD(a));

		if (a->rta_type == IFLA_INFO_DATA)
			data = a;
		if (a->rta_type != IFLA_INFO_KIND)
			continue;
		if (len == 4 && !memcmp(kind, "veth", 4))
			l->kind = LINK_VETH;
		else if (len == 4 && !memcmp(kind, "vlan", 4))
			l->kind = LINK_VLAN;
		else if (kind_is_incapable(kind, len))
			l->kind = LINK_INCAPABLE;
	}
	if (l->kind == LINK_VLAN && data)
		vlan_read(l, data);
}

static void link_read(void *arg, const struct nlmsghdr *head)
{
	const struct ifinfomsg *m = NLMSG_DATA(head);
	const struct rtattr *a = IFLA_RTA(m);
	int left = (int)IFLA_PAYLOAD(head);
	struct netlink_link *l = arg;
	bool elsewhere = false;

	if (head->nlmsg_type != RTM_NEWLINK)
		return;
	l->ifindex = (uint32_t)m->ifi_index;
	l->flags = m->ifi_flags;
	l->ethernet = m->ifi_type == ARPHRD_ETHER;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == IFLA_ADDRESS && RTA_PAYLOAD(a) == sizeof(l->mac))
			memcpy(l->mac, RTA_DATA(a), sizeof(l->mac));
		else if (a->rta_type == IFLA_MTU)
			memcpy(&l->mtu, RTA_DATA(a), sizeof(l->mtu));
		else if (a->rta_type == IFLA_LINK && RTA_PAYLOAD(a) == sizeof(l->below))
			memcpy(&l->below, RTA_DATA(a), sizeof(l->below));
		else if (a->rta_type == IFLA_LINK_NETNSID)
			elsewhere = true; /* `below` is a number of another network namespace */
		else if (a->rta_type == IFLA_LINKINFO)
			kind_read(l, a);
	}
	if (elsewhere)
		l->below = 0;
	if (!l->ethernet && m->ifi_type != ARPHRD_LOOPBACK)
		l->kind = LINK_HEADLESS;
}

int netlink_link_get(struct netlink *nl, uint32_t ifindex, struct netlink_link *l)
{
	struct netlink_question q;

	memset(l, 0, sizeof(*l));
	netlink_question(&q, RTM_GETLINK, 0, sizeof(q.link));
	q.link.ifi_index = (int)ifindex;
	return netlink_ask(nl, &q, link_read, l);
}

bool netlink_is_veth(struct netlink *nl, uint32_t ifindex)
{
	struct netlink_link l;

	return !netlink_link_get(nl, ifindex, &l) && l.kind == LINK_VETH;
}

uint32_t netlink_mtu(struct netlink *nl, uint32_t ifindex)
{
	struct netlink_link l;

	return netlink_link_get(nl, ifindex, &l) ? 0 : l.mtu;
}

/* ---- all of them -------------------------------------------------------------------------------- */

struct links {
	struct netlink_link *link;
	size_t n, room;
	bool failed;
};

static void links_add(void *arg, const struct nlmsghdr *head)
{
	struct links *all = arg;
	struct netlink_link *more;

	if (head->nlmsg_type != RTM_NEWLINK || all->failed)
		return;
	if (all->n == all->room) {
		more = realloc(all->link, 2 * (all->room + 8) * sizeof(*more));
		all->failed = !more;
		if (!more)
			return;
		all->link = more;
		all->room = 2 * (all->room + 8);
	}
	memset(&all->link[all->n], 0, sizeof(*all->link));
	link_read(&all->link[all->n++], head);
}

static enum link_kind kind_of(const struct links *all, uint32_t ifindex)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->link[i].ifindex == ifindex)
			return all->link[i].kind;
	return LINK_OTHER;
}

/* What the packet path has to know of the link: false, nothing. */
static bool device_of(const struct links *all, const struct netlink_link *l, bool own, bool incapable,
		      struct weir_device *d)
{
	enum link_kind below = l->kind == LINK_VLAN && l->below ? kind_of(all, l->below) : LINK_INCAPABLE;

	memset(d, 0, sizeof(*d));
	if (own && l->ethernet) {
		d->flags = WEIR_DEVICE_MAC;
		memcpy(d->mac, l->mac, sizeof(d->mac));
	}
	if (l->kind == LINK_HEADLESS) {
		d->flags |= WEIR_DEVICE_HOST;
	} else if (l->kind == LINK_VLAN && below != LINK_VLAN && (below != LINK_INCAPABLE || (l->below && !incapable))) {
		d->flags |= l->tag;
		d->vlan = l->vlan;
		d->below = l->below;
	} else if (incapable && (l->kind == LINK_VLAN || l->kind == LINK_INCAPABLE)) {
		d->flags |= WEIR_DEVICE_HOST;
	}
	return d->flags;
}

int netlink_devices(struct netlink *nl, const uint32_t *own, size_t n, bool incapable,
		    struct netlink_device *out, size_t max)
{
	struct netlink_question q;
	struct links all = { 0 };
	size_t used = 0;
	int rc;

	netlink_question(&q, RTM_GETLINK, NLM_F_DUMP, sizeof(q.link));
	rc = netlink_ask(nl, &q, links_add, &all);
	if (!rc && all.failed)
		rc = -ENOMEM;
	for (size_t i = 0; !rc && i < all.n && used < max; i++) {
		bool ours = false;

		for (size_t k = 0; k < n; k++)
			ours |= own[k] == all.link[i].ifindex;
		out[used].ifindex = all.link[i].ifindex;
		used += device_of(&all, &all.link[i], ours, incapable, &out[used].device);
	}
	free(all.link);
	return rc ? rc : (int)used;
}
