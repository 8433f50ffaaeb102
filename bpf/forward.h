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

static __always_inline enum xdp_action output_by(const struct xdp_md *ctx,
						 const struct weir_settings *set, __u32 ifindex)
{
	if (ifindex == ctx->ingress_ifindex) {
		if (!set || !(set->off & WEIR_OFF_TX))
			return XDP_TX;
	}
	return bpf_redirect(ifindex, 0);
}

static __always_inline enum xdp_action output(const struct xdp_md *ctx, __u32 ifindex)
{
	return output_by(ctx, settings_get(), ifindex);
}

/* To who sent the packet. */
static __always_inline enum xdp_action output_back(const struct xdp_md *ctx, struct packet *p)
{
	p->back = 1;
	return output(ctx, ctx->ingress_ifindex);
}

/* The packet goes on to the backend: in its VLAN. */
static __always_inline void way_tag(struct packet *p, const struct weir_backend *to)
{
	p->tagged |= to->flags & (WEIR_BACKEND_VLAN | WEIR_BACKEND_VLAN_AD);
	p->vlan = to->vlan;
}

/* By which device a frame leaves when routes name `ifindex`; 0: not from here. Sets the VLAN. */
static __always_inline __u32 way_device(struct packet *p, __u32 ifindex)
{
	const struct weir_device *device = bpf_map_lookup_elem(&devices, &ifindex);

	p->tagged &= TAG_CAME;
	if (likely(!device || !(device->flags & (WEIR_DEVICE_VLAN | WEIR_DEVICE_HOST))))
		return ifindex;
	if (device->flags & WEIR_DEVICE_HOST)
		return 0;
	p->tagged |= device->flags & (WEIR_DEVICE_VLAN | WEIR_DEVICE_VLAN_AD);
	p->vlan = device->vlan;
	return device->below;
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
 * p->action. Returns `reason`, or NO_ROUTE, NO_NEIGHBOUR or NO_DEVICE (then the kernel gets the packet). */
__weak __noinline int stage_route(struct xdp_md *ctx, struct packet *p, int reason)
{
	struct bpf_fib_lookup fib = {};
	void *data = packet_data(ctx), *end = packet_end(ctx);
	struct ethhdr *eth = data;
	__u32 device;
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
	device = way_device(p, fib.ifindex);
	if (!device)
		return leave(p, XDP_PASS, WEIR_REASON_NO_DEVICE);
	__builtin_memcpy(eth->h_dest, fib.dmac, sizeof(eth->h_dest));
	__builtin_memcpy(eth->h_source, fib.smac, sizeof(eth->h_source));
	return leave(p, output(ctx, device), reason);
}

#endif
