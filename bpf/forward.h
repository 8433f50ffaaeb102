/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * forward.h -- out of the machine: to the link address that the agent keeps fresh in the backend's
 * entry, or to what the kernel's routes say.
 */
#ifndef WEIR_BPF_FORWARD_H
#define WEIR_BPF_FORWARD_H

#define DEFAULT_MTU 1500

/* The largest IP packet that may leave for the backend. */
static __always_inline __u16 way_mtu(const struct weir_settings *set, const struct weir_backend *to)
{
	if (to->mtu)
		return to->mtu;
	return set && set->mtu ? set->mtu : DEFAULT_MTU;
}

static __always_inline enum xdp_action output_by(const struct xdp_md *ctx, struct packet *p,
						 const struct weir_settings *set, __u32 ifindex)
{
	if (ifindex == ctx->ingress_ifindex) {
		if (!set || !(set->off & WEIR_OFF_TX))
			return XDP_TX;
		p->back = 1;
	}
	return bpf_redirect(ifindex, 0);
}

static __always_inline enum xdp_action output(const struct xdp_md *ctx, struct packet *p,
					      __u32 ifindex)
{
	return output_by(ctx, p, settings_get(), ifindex);
}

static __always_inline void fib_fill4(struct bpf_fib_lookup *fib, const struct iphdr *ip)
{
	fib->family = AF_INET;
	fib->tos = ip->tos;
	fib->l4_protocol = ip->protocol;
	fib->tot_len = bpf_ntohs(ip->tot_len);
	fib->ipv4_src = ip->saddr;
	fib->ipv4_dst = ip->daddr;
}

static __always_inline void fib_fill6(struct bpf_fib_lookup *fib, const struct ipv6hdr *ip)
{
	fib->family = AF_INET6;
	fib->l4_protocol = ip->nexthdr;
	fib->tot_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	copy_address(fib->ipv6_src, (const __be32 *)&ip->saddr);
	copy_address(fib->ipv6_dst, (const __be32 *)&ip->daddr);
}

/* Asks the kernel's routes about the outermost IP header in the frame, sets the link addresses and
 * p->action. Returns `reason`, or NO_ROUTE or NO_NEIGHBOUR (then the kernel gets the packet). */
__weak __noinline int stage_route(struct xdp_md *ctx, struct packet *p, int reason)
{
	struct bpf_fib_lookup fib = {};
	void *data = packet_data(ctx), *end = packet_end(ctx);
	struct ethhdr *eth = data;
	long rc;

	if (!p || data + ETH_HLEN + sizeof(struct iphdr) > end)
		return WEIR_REASON_NO_ROUTE;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		fib_fill4(&fib, data + ETH_HLEN);
	else if (data + ETH_HLEN + sizeof(struct ipv6hdr) <= end)
		fib_fill6(&fib, data + ETH_HLEN);
	fib.ifindex = ctx->ingress_ifindex;
	rc = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (rc == BPF_FIB_LKUP_RET_NO_NEIGH)
		return leave(p, XDP_PASS, WEIR_REASON_NO_NEIGHBOUR);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS)
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROUTE);
	__builtin_memcpy(eth->h_dest, fib.dmac, sizeof(eth->h_dest));
	__builtin_memcpy(eth->h_source, fib.smac, sizeof(eth->h_source));
	return leave(p, output(ctx, p, fib.ifindex), reason);
}

#endif
