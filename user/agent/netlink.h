/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netlink.h -- what the kernel knows about the way to an address: interface, next hop's link
 * address, source, MTU; this node's own addresses; and when any of that changes.
 *
 * Used by the loader alone (asking for a neighbour to be resolved needs CAP_NET_ADMIN). Blocking
 * questions to the kernel, answered in microseconds. Nothing here logs.
 */
#ifndef WEIR_NETLINK_H
#define WEIR_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

struct netlink;

struct netlink_way {
	bool local;                     /* the address is this node's: nothing else is set */
	uint32_t ifindex;
	uint8_t mac[6], source_mac[6];
	uint16_t mtu;
	struct addr source;             /* that the kernel would use; AF_UNSPEC when it names none */
};

int netlink_open(struct netlink **out);
void netlink_close(struct netlink *nl);         /* accepts NULL */

/* Readable when routes, neighbours, links or addresses changed; netlink_drain() reads the news
 * away. */
int netlink_fd(const struct netlink *nl);
void netlink_drain(struct netlink *nl);

/* 0, -ENETUNREACH (no route), -EAGAIN (the next hop's link address is not known yet; the kernel has
 * been asked to find it, ifindex and the rest but mac are set), or -errno. */
int netlink_way(struct netlink *nl, const struct addr *to, struct netlink_way *way);
/* Lets the kernel confirm an entry that it may think unused: XDP's packets do not refresh it. */
int netlink_confirm(struct netlink *nl, const struct addr *to);

/* Is the interface one end of a veth pair? */
bool netlink_is_veth(struct netlink *nl, uint32_t ifindex);

/* Makes the host take packets for these prefixes as its own (`local PREFIX dev lo`), and takes away what an
 * earlier call had made for others; the routes are known by their protocol number. */
#define NETLINK_ROUTE_PROTOCOL 119 /* 'w'; numbers from 5 on are user space's to choose */
int netlink_local_routes(struct netlink *nl, const struct addr_prefix *prefix, size_t n);

/* Calls fn for each address of this network namespace. */
typedef void netlink_address_fn(void *arg, const struct addr *address);
int netlink_addresses(struct netlink *nl, netlink_address_fn *fn, void *arg);

#endif
