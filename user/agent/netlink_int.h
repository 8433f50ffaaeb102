/* SPDX-License-Identifier: Apache-2.0 */
/* netlink_int.h -- what netlink.c (questions) and netlink_routes.c (changes) share: one message asked. */
#ifndef WEIR_NETLINK_INT_H
#define WEIR_NETLINK_INT_H

#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include "user/agent/netlink.h"

#define NETLINK_ANSWER_BYTES 32768 /* the kernel fills at most this for a dump's part */

struct netlink {
	int ask, events;
	uint32_t sequence;
	char answer[NETLINK_ANSWER_BYTES];
};

struct netlink_question {
	struct nlmsghdr head;
	union {
		struct rtmsg route;
		struct ndmsg neighbour;
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct fib_rule_hdr rule;
		struct tcmsg filter;
	};
	char attributes[64];
};

/* Called for each message of an answer. */
typedef void netlink_message_fn(void *arg, const struct nlmsghdr *head);

/* body: the size of the union's member that belongs to the type. */
void netlink_question(struct netlink_question *q, uint16_t type, uint16_t flags, size_t body);
void netlink_add(struct netlink_question *q, uint16_t type, const void *data, size_t len);
/* 0, or -errno as the kernel says. fn may be NULL. */
int netlink_ask(struct netlink *nl, struct netlink_question *q, netlink_message_fn *fn, void *arg);

/* ---- links (netlink_links.c) ---- */
enum link_kind {
	LINK_OTHER,
	LINK_VETH,
	LINK_VLAN,
	LINK_INCAPABLE, /* in native mode */
	LINK_HEADLESS,  /* packets there have no link header (tun, WireGuard, IPIP): no frame can be sent */
};

struct netlink_link {
	uint32_t ifindex, mtu, flags;
	enum link_kind kind;
	bool ethernet;
	uint8_t mac[6];
	uint32_t below;         /* of a VLAN device: the link that it is made on, 0: that is not here */
	uint16_t vlan;
	uint8_t tag;            /* WEIR_DEVICE_VLAN, _AD */
};
int netlink_link_get(struct netlink *nl, uint32_t ifindex, struct netlink_link *l);

size_t netlink_address_bytes(const struct addr *a);
void netlink_take_address(struct addr *to, int family, const struct rtattr *a);

#endif
