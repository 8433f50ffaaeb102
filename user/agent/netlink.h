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

#include "bpf/abi/maps.h"
#include "lib/addr.h"

struct netlink;

struct netlink_way {
	bool local;                     /* the address is this node's: nothing else is set */
	uint32_t ifindex;               /* 0: by a device that XDP cannot send by (VLANs on VLANs, tunnels) */
	bool incapable;                 /* by one that XDP in native mode cannot send by (a bridge, macvlan) */
	uint8_t tag;                    /* WEIR_BACKEND_VLAN and _AD: by a VLAN device, whose link below is ifindex */
	uint16_t vlan;
	uint8_t mac[6], source_mac[6];
	uint16_t mtu;
	struct addr source;             /* that the kernel would use; AF_UNSPEC when it names none */
};

int netlink_open(struct netlink **out);
void netlink_close(struct netlink *nl);         /* accepts NULL */

/* Readable when routes, neighbours, links, addresses or tc's filters changed; netlink_drain() reads the news
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

/* Its MTU, 0 when there is no such interface. */
uint32_t netlink_mtu(struct netlink *nl, uint32_t ifindex);
/* The device that routes to an address name, 0: none. Of a VLAN that is not the way's ifindex. */
uint32_t netlink_device(struct netlink *nl, const struct addr *to);
/* All devices of this network namespace that the packet path has to know of (abi/maps.h): VLAN devices; of
 * the `n` interfaces of own[] their link addresses; and, with `incapable`, what XDP in native mode cannot send
 * by. At most `max`; what is left out then is sent by as if it were an ordinary one. How many, or -errno. */
struct netlink_device {
	uint32_t ifindex;
	struct weir_device device;
};
int netlink_devices(struct netlink *nl, const uint32_t *own, size_t n, bool incapable,
		    struct netlink_device *out, size_t max);
/* The source that the kernel would use for an address (AF_UNSPEC: it names none). 1: the address is this
 * node's own, 0, or -errno. */
int netlink_source(struct netlink *nl, const struct addr *to, struct addr *source);

/* ---- what we put into the kernel's tables (netlink_routes.c) ------------------------------------- */
/* All of it is known by its protocol number, and so found again by another process. */
#define NETLINK_ROUTE_PROTOCOL 119 /* 'w'; numbers from 5 on are user space's to choose */
#define NETLINK_PROBE_TABLE    119 /* also the priority of the rule that leads there */

enum netlink_routes {
	NETLINK_LOCAL,          /* `local PREFIX dev lo`: the host takes such packets as its own */
	NETLINK_PROBE,          /* to the loopback interface, for health checks alone: NETLINK_PROBE_TABLE */
	NETLINK_ANNOUNCE,       /* `blackhole PREFIX` in a table that no rule uses, for a routing daemon to read */
};
/* Makes one, or takes it away; fine when it is, or was, so already. table: for NETLINK_ANNOUNCE. */
int netlink_route(struct netlink *nl, enum netlink_routes kind, uint32_t table,
		  const struct addr_prefix *prefix, bool add);
/* Makes these, and takes away what was made of the kind for others; of NETLINK_ANNOUNCE also in every other
 * table. */
int netlink_routes(struct netlink *nl, enum netlink_routes kind, uint32_t table,
		   const struct addr_prefix *prefix, size_t n);
/* The rule, for both families: packets of this mark look into NETLINK_PROBE_TABLE. Mark 0: none do. */
int netlink_probe_rule(struct netlink *nl, uint32_t mark);
/* The kind of the queueing discipline at ffff: ("clsact", "ingress"); empty: there is none. */
#define NETLINK_KIND_MAX 16
int netlink_qdisc(struct netlink *nl, uint32_t ifindex, char kind[NETLINK_KIND_MAX]);
/* How many tc filters, of anybody, the clsact of an interface has; -errno, also when it has none. */
int netlink_filters(struct netlink *nl, uint32_t ifindex);

/* Calls fn for each address of this network namespace, or each global one of an interface (ifindex not 0). */
typedef void netlink_address_fn(void *arg, const struct addr *address, unsigned int prefix_len);
int netlink_addresses(struct netlink *nl, uint32_t ifindex, netlink_address_fn *fn, void *arg);

#endif
