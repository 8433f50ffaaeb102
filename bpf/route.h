/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * route.h -- a router's work (WEIR_ON_ROUTE): what is neither for a service nor for this host goes on
 * as the kernel's routes and neighbours say, without the rest of the kernel's path.
 *
 * Only the plain case is taken, and only to interfaces in tx_ports, which are the agent's. Whatever needs
 * thought is left to the host, which forwards or answers it: TTL at its end, a next hop that is not
 * resolved, packets larger than the way's MTU, options, tags, multicast, frames for another link address
 * than the interface's own, addresses of one link, and service addresses by ports of no service: where no
 * interface has the address, the default route would lead such a packet back to the router that it came
 * from, until its TTL ends. Firewall rules of the host do not see what is forwarded here.
 */
#ifndef WEIR_BPF_ROUTE_H
#define WEIR_BPF_ROUTE_H

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__type(key, __u32); /* ifindex */
	__type(value, __u32);
	__uint(max_entries, WEIR_PORTS_MAX);
} tx_ports SEC(".maps");

/* May these addresses cross a router? Host order, the first 32 bits. */
static __always_inline bool routable4(__u32 source, __u32 dest)
{
	const __u32 loopback = 127, link_local = 0xa9fe; /* 127.0.0.0/8, 169.254.0.0/16 */

	if (source >> 24 == 0 || source >> 24 == loopback || source >> 28 >= 0xe)
		return false;
	return dest >> 28 < 0xe && source >> 16 != link_local && dest >> 16 != link_local;
}

static __always_inline bool routable6(__u32 source, __u32 dest)
{
	if (source >> 24 == 0xff || dest >> 24 == 0xff || source >> 22 == 0xfe80 >> 6 || !source)
		return false;
	return dest >> 22 != 0xfe80 >> 6; /* RFC 4291 section 2.5.6 */
}

/* Is the IP header one that may be sent on? Fills *fib, and *ttl. */
static __always_inline bool route_ask(struct bpf_fib_lookup *fib, void *data, void *end, __u8 *ttl)
{
	const struct ethhdr *eth = data;
	const struct ipv6hdr *ip6 = data + ETH_HLEN;
	const struct iphdr *ip4 = data + ETH_HLEN;

	if (data + ETH_HLEN + sizeof(*ip4) > end || eth->h_dest[0] & 1)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if (ip4->ihl != sizeof(*ip4) / 4 ||
		    !routable4(bpf_ntohl(ip4->saddr), bpf_ntohl(ip4->daddr)))
			return false;
		fib_fill4(fib, ip4);
		*ttl = ip4->ttl;
		return true;
	}
	if (eth->h_proto != bpf_htons(ETH_P_IPV6) || data + ETH_HLEN + sizeof(*ip6) > end)
		return false;
	fib_fill6(fib, ip6);
	*ttl = ip6->hop_limit;
	return ip6->nexthdr != NEXTHDR_HOP &&
	       routable6(bpf_ntohl(fib->ipv6_src[0]), bpf_ntohl(fib->ipv6_dst[0]));
}

/* RFC 1624: the TTL is the high byte of its word. */
static __always_inline void ttl_decrement(struct iphdr *ip)
{
	__u16 from = *(__u16 *)&ip->ttl;

	ip->ttl--;
	ip->check = checksum_replace(ip->check, from, *(__u16 *)&ip->ttl);
}

/* A switch that does not know an address floods, and an interface may be promiscuous or carry other devices
 * with addresses of their own (macvlan, VRRP): frames for others are none to forward. Not known: they are. */
static __always_inline bool sent_to_us(const struct ethhdr *eth, __u32 ifindex)
{
	const struct weir_device *own = bpf_map_lookup_elem(&devices, &ifindex);

	if (!own || !(own->flags & WEIR_DEVICE_MAC))
		return true;
	return !(((*(const __u16 *)&own->mac[0] ^ *(const __u16 *)&eth->h_dest[0]) |
		  (*(const __u16 *)&own->mac[2] ^ *(const __u16 *)&eth->h_dest[2]) |
		  (*(const __u16 *)&own->mac[4] ^ *(const __u16 *)&eth->h_dest[4])));
}

/* The packet is for no service: sent on, or still NOT_OURS. */
__weak __noinline int stage_transit(struct xdp_md *ctx, struct packet *p)
{
	void *data = packet_data(ctx), *end = packet_end(ctx);
	struct bpf_fib_lookup fib = {};
	struct ethhdr *eth = data;
	__u32 port = ctx->ingress_ifindex;
	__u8 ttl;
	long rc;

	if (!p || p->tagged || !route_ask(&fib, data, end, &ttl) || !sent_to_us(eth, port) ||
	    service_address(&p->flow))
		return WEIR_REASON_NOT_OURS;
	fib.ifindex = port;
	rc = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (rc == BPF_FIB_LKUP_RET_NO_NEIGH)
		return leave(p, XDP_PASS, WEIR_REASON_NO_NEIGHBOUR);
	port = fib.ifindex;
	if (rc != BPF_FIB_LKUP_RET_SUCCESS || !bpf_map_lookup_elem(&tx_ports, &port))
		return WEIR_REASON_NOT_OURS;
	if (ttl <= 1)
		return leave(p, XDP_PASS, WEIR_REASON_TTL_EXPIRED);
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		ttl_decrement(data + ETH_HLEN);
	else if (data + ETH_HLEN + sizeof(struct ipv6hdr) <= end)
		((struct ipv6hdr *)(data + ETH_HLEN))->hop_limit--;
	__builtin_memcpy(eth->h_dest, fib.dmac, sizeof(eth->h_dest));
	__builtin_memcpy(eth->h_source, fib.smac, sizeof(eth->h_source));
	if (port == ctx->ingress_ifindex)
		return leave(p, output(ctx, port), WEIR_REASON_ROUTED);
	return leave(p, bpf_redirect_map(&tx_ports, port, 0), WEIR_REASON_ROUTED);
}

#endif
