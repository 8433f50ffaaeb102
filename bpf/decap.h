/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * decap.h -- a backend's end of the tunnel, and the relay to earlier owners of a slot.
 *
 * Outer headers are removed only when interface, destination and source are all allowed; what comes
 * by another interface or for another destination is an ordinary packet. Other edges of tunnels may
 * send only what is for an address of tunnels.
 */
#ifndef WEIR_BPF_DECAP_H
#define WEIR_BPF_DECAP_H

struct inner {
	__u16 offset; /* of the inner IP header in the frame */
	__u8 family;
	__u8 private; /* bytes of GUE private data that are ours, else 0 */
};

/* CONTINUE: ours to open, *what (enum weir_decap) inside. NOT_OURS: ordinary. Else refused. */
static __always_inline int decap_allowed(const struct xdp_md *ctx, struct packet *p, __u32 *what)
{
	__u32 ifindex = ctx->ingress_ifindex;
	struct weir_prefix source = { .bits = 128 };
	struct weir_target target;
	const __u32 *found;

	if (!bpf_map_lookup_elem(&decap_ifaces, &ifindex))
		return WEIR_REASON_NOT_OURS;
	map_address(target.addr, p->flow.dest, p->flow.family);
	if (!bpf_map_lookup_elem(&decap_targets, &target))
		return WEIR_REASON_NOT_OURS;
	map_address(source.addr, p->flow.source, p->flow.family);
	found = bpf_map_lookup_elem(&decap_sources, &source);
	if (!found)
		return leave(p, XDP_DROP, WEIR_REASON_DECAP_SOURCE);
	*what = *found;
	return CONTINUE;
}

/* Is the packet at `offset` for an address of tunnels? */
__weak __noinline int stage_for_tunnel(struct xdp_md *ctx, int offset)
{
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	struct weir_prefix dest = { .bits = 128 };
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;

	if (offset < 0 || offset > 255 || !cursor_pull(&c, bounded(offset, 255)))
		return 0;
	ip4 = cursor_pull(&c, sizeof(*ip4));
	if (!ip4)
		return 0;
	if (ip4->version == 4) {
		map_address(dest.addr, &ip4->daddr, WEIR_FAMILY_4);
	} else {
		ip6 = (const void *)ip4;
		if ((const void *)(ip6 + 1) > c.end)
			return 0;
		copy_address(dest.addr, (const __be32 *)&ip6->daddr);
	}
	return bpf_map_lookup_elem(&tunnel_prefixes, &dest) != NULL;
}

/* Where the inner packet begins, and that it is one. */
static __always_inline bool inner_find(const struct xdp_md *ctx, const struct packet *p,
				       struct inner *in)
{
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	__u32 offset = bounded(p->transport, 255);
	__u8 proto = p->flow.proto;
	const __u8 *version;

	if (p->fragment || !cursor_pull(&c, offset))
		return false;
	if (proto == IPPROTO_UDP) {
		const struct weir_gue *gue;
		__u32 hlen;

		if (!cursor_pull(&c, sizeof(struct udphdr)))
			return false;
		gue = cursor_pull(&c, sizeof(*gue));
		if (!gue || gue->word & 0xe0 || gue->flags)
			return false;
		hlen = (gue->word & 0x1f) * 4;
		proto = gue->proto;
		in->private = hlen == 4 * (p->flow.family == WEIR_FAMILY_4 ? WEIR_GUE_WORDS4
									   : WEIR_GUE_WORDS6)
				      ? hlen
				      : 0;
		if (!cursor_pull(&c, hlen))
			return false;
		offset += sizeof(struct udphdr) + sizeof(*gue) + hlen;
	}
	version = cursor_pull(&c, sizeof(struct iphdr));
	if (!version)
		return false;
	in->offset = offset;
	in->family = *version >> 4;
	return (in->family == 4 && proto == IPPROTO_IPIP) ||
	       (in->family == 6 && proto == IPPROTO_IPV6);
}

/* Routes know the way to the next owner (forwarding is on): the frame goes there by `device`, or, while
 * the neighbour is not known (rc), or by a device that XDP cannot send by (0), to the host, which forwards
 * it and resolves. */
static __always_inline int relay_out(struct xdp_md *ctx, struct packet *p, struct ethhdr *eth,
				     const struct bpf_fib_lookup *fib, long rc, __u32 device)
{
	if (rc == BPF_FIB_LKUP_RET_NO_NEIGH)
		return leave(p, XDP_PASS, WEIR_REASON_NO_NEIGHBOUR);
	if (!device)
		return leave(p, XDP_PASS, WEIR_REASON_NO_DEVICE);
	__builtin_memcpy(eth->h_dest, fib->dmac, sizeof(eth->h_dest));
	__builtin_memcpy(eth->h_source, fib->smac, sizeof(eth->h_source));
	return leave(p, output(ctx, device), WEIR_REASON_RELAYED);
}

/* What the relay changes of what UDP's checksum over IPv6 covers: addresses, the head of the private
 * data and the first owner, taken out of the sum, or added. */
static __always_inline __u32 relayed_sum(const struct ipv6hdr *ip, const void *head, __u32 sum,
					 const bool add)
{
	__be32 *addresses = (__be32 *)&ip->saddr;

	if (add) {
		sum = bpf_csum_diff(NULL, 0, addresses, 32, sum);
		return bpf_csum_diff(NULL, 0, (__be32 *)head, 20, sum);
	}
	sum = bpf_csum_diff(addresses, 32, NULL, 0, sum);
	return bpf_csum_diff((__be32 *)head, 20, NULL, 0, sum);
}

/* The next earlier owner takes the place of this node in the outer header. Without a route the
 * packet stays as it is, for the host. The host would refuse its own address as a source. */
static __always_inline int relay4(struct xdp_md *ctx, struct packet *p)
{
	struct bpf_fib_lookup fib = {};
	void *data = packet_data(ctx);
	struct iphdr *ip = data + ETH_HLEN;
	struct weir_gue_private *head =
		(void *)(ip + 1) + sizeof(struct udphdr) + sizeof(struct weir_gue);
	struct ethhdr *eth = data;
	__be32 *owner = (void *)(head + 1);
	__be32 self, to;
	__u32 next, device;
	long rc;

	if (data + ETH_HLEN + WEIR_ADDED_GUE4 > packet_end(ctx) ||
	    p->transport != ETH_HLEN + sizeof(*ip))
		return CONTINUE;
	next = head->next;
	if (head->magic != WEIR_GUE_MAGIC || next >= head->count || next >= WEIR_OWNERS)
		return CONTINUE;
	fib_fill4(&fib, ip);
	self = ip->daddr;
	to = next == 0 ? owner[0] : next == 1 ? owner[1] : owner[2];
	fib.ipv4_src = self;
	fib.ipv4_dst = to;
	fib.ifindex = ctx->ingress_ifindex;
	rc = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return CONTINUE;
	device = rc == BPF_FIB_LKUP_RET_SUCCESS ? way_device(p, fib.ifindex) : 0;
	head->next = next + 1;
	if (next == 0 && head->flags & WEIR_GUE_ASKS) {
		owner[0] = ip->saddr;
		head->flags |= WEIR_GUE_SENDER;
	}
	if (device)
		ip->saddr = self;
	ip->daddr = to;
	ip->ttl = DEFAULT_TTL;
	ip->check = 0;
	ip->check = checksum_ip4(ip);
	((struct udphdr *)(ip + 1))->check = 0; /* RFC 768: none; ours has none either */
	return relay_out(ctx, p, eth, &fib, rc, device);
}

static __always_inline int relay6(struct xdp_md *ctx, struct packet *p)
{
	struct bpf_fib_lookup fib = {};
	void *data = packet_data(ctx);
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct weir_gue_private *head =
		(void *)(ip + 1) + sizeof(struct udphdr) + sizeof(struct weir_gue);
	struct ethhdr *eth = data;
	__be32 *owner = (void *)(head + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__be32 self[4], to[4];
	__u32 next, sum, device;
	long rc;

	if (data + ETH_HLEN + WEIR_ADDED_GUE6 > packet_end(ctx) ||
	    p->transport != ETH_HLEN + sizeof(*ip))
		return CONTINUE;
	next = head->next;
	if (head->magic != WEIR_GUE_MAGIC || next >= head->count || next >= WEIR_OWNERS)
		return CONTINUE;
	fib_fill6(&fib, ip);
	copy_address(self, (const __be32 *)&ip->daddr);
	copy_address(to, next == 0 ? owner : next == 1 ? owner + 4 : owner + 8);
	copy_address(fib.ipv6_src, self);
	copy_address(fib.ipv6_dst, to);
	fib.ifindex = ctx->ingress_ifindex;
	rc = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return CONTINUE;
	sum = relayed_sum(ip, head, (__u16)~udp->check, false);
	device = rc == BPF_FIB_LKUP_RET_SUCCESS ? way_device(p, fib.ifindex) : 0;
	head->next = next + 1;
	if (next == 0 && head->flags & WEIR_GUE_ASKS) {
		copy_address(owner, (const __be32 *)&ip->saddr);
		head->flags |= WEIR_GUE_SENDER;
	}
	if (device)
		copy_address((__be32 *)&ip->saddr, self);
	copy_address((__be32 *)&ip->daddr, to);
	ip->hop_limit = DEFAULT_TTL;
	if (udp->check) {
		udp->check = checksum_fold(relayed_sum(ip, head, sum, true));
		if (!udp->check) /* RFC 768: zero would be none */
			udp->check = 0xffff;
	}
	return relay_out(ctx, p, eth, &fib, rc, device);
}

/* Beside CONTINUE and reasons; what is to be done is called from above, for the stack's depth. */
#define TO_BE_TOLD    (CONTINUE - 1)	      /* of stage_relay(): ours, by way of another (feedback.h) */
#define CONTROL(what) (CONTINUE - 1 - (what)) /* of stage_decap(): no packet inside, from whom (enum weir_decap) */

/* A TCP packet that this node knows nothing of goes to an earlier owner of its slot, if one is
 * named. If it is known and was passed on by another, the balancer is to be told. */
__weak __noinline int stage_relay(struct xdp_md *ctx, struct packet *p, int offset)
{
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	const struct weir_gue_private *head;
	bool named, relayed;
	int known;

	if (!p || p->transport > 255 || offset < (int)sizeof(*head) || offset > 255)
		return CONTINUE;
	if (!cursor_pull(&c, bounded(p->transport, 255) + sizeof(struct udphdr) +
				     sizeof(struct weir_gue)))
		return CONTINUE;
	head = cursor_pull(&c, sizeof(*head));
	if (!head || head->magic != WEIR_GUE_MAGIC)
		return CONTINUE;
	named = head->next < head->count;
	relayed = head->next && head->flags & WEIR_GUE_SENDER;
	if (!named && !(relayed && feedback_on()))
		return CONTINUE;
	known = stage_known(ctx, offset);
	if (known == KNOWN && relayed)
		return TO_BE_TOLD;
	if (known || !named)
		return CONTINUE;
	return p->flow.family == WEIR_FAMILY_4 ? relay4(ctx, p) : relay6(ctx, p);
}

#define ECN_MASK 3 /* RFC 3168: 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced */
#define ECN_ECT1 1
#define ECN_CE	 3

/* RFC 6040 section 4.2: what routers marked outside (not 0) is told inside: congestion, and ECT(1) over
 * ECT(0). Congestion on a packet that cannot carry the mark is told by dropping it: false. */
static __always_inline bool ecn_to_inner(const struct xdp_md *ctx, __u8 outer)
{
	void *data = packet_data(ctx);
	struct iphdr *ip = data + ETH_HLEN; /* or IPv6: its class begins four bits later */
	__u8 shift, inner;
	__u16 from;

	if (data + ETH_HLEN + sizeof(*ip) > packet_end(ctx))
		return false;
	shift = ip->version == 4 ? 0 : 4;
	inner = ip->tos >> shift & ECN_MASK;
	if (!inner || inner == ECN_CE)
		return inner || outer != ECN_CE;
	if (outer != ECN_CE && outer != ECN_ECT1)
		return true;
	from = *(__u16 *)ip;
	ip->tos |= outer << shift; /* ECT(0) | 1 would be CE: */
	if (outer == ECN_ECT1)
		ip->tos &= ~(2 << shift);
	if (!shift)
		ip->check = checksum_replace(ip->check, from, *(__u16 *)ip);
	return true;
}

/* Opens an encapsulated packet: CONTINUE when it is an ordinary one, or CONTROL(). */
__weak __noinline int stage_decap(struct xdp_md *ctx, struct packet *p)
{
	const struct weir_settings *set = settings_get();
	struct inner in = {};
	struct ethhdr eth;
	__u32 what = 0;
	void *data;
	int rc;

	if (!p)
		return CONTINUE;
	rc = decap_allowed(ctx, p, &what);
	if (rc != CONTINUE)
		return rc == WEIR_REASON_NOT_OURS ? CONTINUE : rc;
	if (!inner_find(ctx, p, &in))
		return CONTROL(what);
	if (what == WEIR_DECAP_TUNNELS && !stage_for_tunnel(ctx, in.offset))
		return leave(p, XDP_DROP, WEIR_REASON_DECAP_INNER);
	if (in.private && !(set && (set->off & WEIR_OFF_RELAY))) {
		rc = stage_relay(ctx, p, in.offset);
		if (rc == TO_BE_TOLD)
			stage_report(ctx, p, in.offset);
		else if (rc != CONTINUE)
			return rc;
	}
	data = packet_data(ctx);
	if (data + sizeof(eth) > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	__builtin_memcpy(&eth, data, sizeof(eth));
	eth.h_proto = in.family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	if (bpf_xdp_adjust_head(ctx, in.offset - ETH_HLEN))
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROOM);
	data = packet_data(ctx);
	if (data + sizeof(eth) > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	__builtin_memcpy(data, &eth, sizeof(eth));
	if (unlikely(p->tos & ECN_MASK) && !ecn_to_inner(ctx, p->tos & ECN_MASK))
		return leave(p, XDP_DROP, WEIR_REASON_ECN_INVALID);
	return leave(p, XDP_PASS, WEIR_REASON_DECAPSULATED);
}

/* A glance that keeps ordinary packets out of the stage. */
static __always_inline bool may_be_encapsulated(const struct packet *p,
						const struct weir_settings *set)
{
	__u16 port;

	if (p->flow.proto == IPPROTO_IPIP || p->flow.proto == IPPROTO_IPV6)
		return true;
	if (p->flow.proto != IPPROTO_UDP || p->fragment == FRAGMENT_LATER)
		return false;
	port = set->gue_port ? set->gue_port : WEIR_GUE_PORT;
	return p->flow.dest_port == bpf_htons(port);
}

#endif
