/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * encap.h -- the outer header: IPIP (RFC 2003, 2473, 4213) or GUE over UDP (abi/gue.h).
 *
 * DF is set and the id zero (RFC 6864: an atomic datagram); ToS is copied, ECN included (RFC 6040,
 * normal mode). GUE's source port, and with IPv6 the flow label, come from the flow's hash, so that
 * routers spread flows over equal paths. UDP's checksum is zero, also over IPv6 (RFC 6935, 6936):
 * the inner packet carries its own.
 */
#ifndef WEIR_BPF_ENCAP_H
#define WEIR_BPF_ENCAP_H

#define DEFAULT_MTU	     1500
#define FIRST_EPHEMERAL_PORT 49152 /* RFC 6335 section 6 */

/* The private data: what stage_owners() fills in. */
struct owners {
	struct weir_gue_private head;
	__be32 addr[WEIR_OWNERS][4];
};

struct outer { /* what is not in the backend's entry */
	__be32 source[4];
	__u8 mac[6];	 /* next hop */
	__u16 added;	 /* bytes */
	__be16 gue_port; /* 0: IPIP */
	__u8 ttl;
	__u8 zero;
};

/* The owners of the packet's slot but the one that it goes to, for the relay at the backend. */
__weak __noinline int stage_owners(const struct packet *p, struct owners *o)
{
	const struct weir_backend *to, *backend;
	const struct weir_slot *slot;
	__u32 index, used = 0;

	if (!p || !o)
		return 0;
	index = p->slot - 1;
	slot = bpf_map_lookup_elem(&slots, &index);
	index = p->backend;
	to = bpf_map_lookup_elem(&backends, &index);
	if (!slot || !to)
		return 0;
	for (int i = -1; i < WEIR_OWNERS; i++) {
		index = i < 0 ? slot->current : slot->owners[i];
		backend = bpf_map_lookup_elem(&backends, &index);
		if (!index || index == p->backend || !backend || backend->family != to->family ||
		    (backend->flags & WEIR_BACKEND_DOWN) || used >= WEIR_OWNERS)
			continue;
		if (p->asked && (backend->flags & WEIR_BACKEND_LOCAL))
			continue;
		copy_address(o->addr[used], backend->addr);
		used++;
	}
	o->head.count = used;
	return used;
}

/* Only a TCP packet that may belong to a connection of an earlier owner needs them. */
static __always_inline bool wants_owners(const struct packet *p)
{
	__u32 index = p->slot - 1;
	const struct weir_slot *slot;

	if (!p->slot || p->flow.proto != IPPROTO_TCP || p->quoted || is_new_connection(p))
		return false;
	slot = bpf_map_lookup_elem(&slots, &index);
	return slot && slot->owners[0];
}

static __always_inline void write_gue(void *at, const struct outer *out, const struct packet *p,
				      const struct owners *owners, const bool is4, __u16 bytes)
{
	struct udphdr *udp = at;
	struct weir_gue *gue = at + sizeof(*udp);
	struct weir_gue_private *head = (void *)(gue + 1);
	__be32 *addr = (void *)(head + 1);

	udp->source = bpf_htons(FIRST_EPHEMERAL_PORT | (p->hash & 0x3fff));
	udp->dest = out->gue_port;
	udp->len = bpf_htons(bytes);
	udp->check = 0;
	gue->word = is4 ? WEIR_GUE_WORDS4 : WEIR_GUE_WORDS6;
	gue->proto = p->flow.family == WEIR_FAMILY_4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	gue->flags = 0;
	*head = owners->head;
	for (int i = 0; i < WEIR_OWNERS; i++) {
		if (is4)
			addr[i] = owners->addr[i][0];
		else
			copy_address(addr + 4 * i, owners->addr[i]);
	}
}

static __always_inline __u8 outer_protocol(const struct outer *out, const struct packet *p)
{
	if (out->gue_port)
		return IPPROTO_UDP;
	return p->flow.family == WEIR_FAMILY_4 ? IPPROTO_IPIP : IPPROTO_IPV6;
}

/* Grows the frame at its head by a constant and writes link, IP and, with owners, GUE headers. */
static __always_inline int grow(struct xdp_md *ctx, struct packet *p, const struct outer *out,
				const struct weir_backend *to, const struct owners *owners,
				const __u32 ip_header, const __u32 added)
{
	const bool is4 = ip_header == sizeof(struct iphdr);
	struct ethhdr *eth;
	void *data;

	if (bpf_xdp_adjust_head(ctx, -(int)added))
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROOM);
	data = packet_data(ctx);
	if (data + ETH_HLEN + added > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROOM);
	eth = data;
	__builtin_memcpy(eth->h_dest, out->mac, sizeof(eth->h_dest));
	__builtin_memcpy(eth->h_source, to->source_mac, sizeof(eth->h_source));
	if (is4) {
		eth->h_proto = bpf_htons(ETH_P_IP);
		write_ip4(data + ETH_HLEN, p->tos, p->ip_bytes + added, out->ttl,
			  outer_protocol(out, p), out->source[0], to->addr[0]);
	} else {
		eth->h_proto = bpf_htons(ETH_P_IPV6);
		write_ip6(data + ETH_HLEN, p->tos, p->hash, p->ip_bytes + added - ip_header,
			  out->ttl, outer_protocol(out, p), out->source, to->addr);
	}
	if (owners)
		write_gue(data + ETH_HLEN + ip_header, out, p, owners, is4,
			  p->ip_bytes + added - ip_header);
	return CONTINUE;
}

/* In functions of their own: the outer IPv6 and GUE forms are long, and not every packet's. */
__weak __noinline int stage_gue4(struct xdp_md *ctx, struct packet *p, const struct outer *out,
				 const struct weir_backend *to)
{
	struct owners owners = { .head.magic = WEIR_GUE_MAGIC };

	if (!p || !out || !to)
		return WEIR_REASON_NO_ROUTE;
	if (wants_owners(p))
		stage_owners(p, &owners);
	return grow(ctx, p, out, to, &owners, sizeof(struct iphdr), WEIR_ADDED_GUE4);
}

__weak __noinline int stage_gue6(struct xdp_md *ctx, struct packet *p, const struct outer *out,
				 const struct weir_backend *to)
{
	struct owners owners = { .head.magic = WEIR_GUE_MAGIC };

	if (!p || !out || !to)
		return WEIR_REASON_NO_ROUTE;
	if (wants_owners(p))
		stage_owners(p, &owners);
	return grow(ctx, p, out, to, &owners, sizeof(struct ipv6hdr), WEIR_ADDED_GUE6);
}

__weak __noinline int stage_ipip6(struct xdp_md *ctx, struct packet *p, const struct outer *out,
				  const struct weir_backend *to)
{
	if (!p || !out || !to)
		return WEIR_REASON_NO_ROUTE;
	return grow(ctx, p, out, to, NULL, sizeof(struct ipv6hdr), WEIR_ADDED_IPIP6);
}

static __always_inline int outer_fill(const struct xdp_md *ctx, struct outer *out,
				      const struct packet *p, const struct weir_backend *backend)
{
	const struct weir_settings *set = settings_get();
	const struct ethhdr *eth = packet_data(ctx);

	if (!address_is_zero(backend->source))
		copy_address(out->source, backend->source);
	else if (backend->family == p->flow.family)
		copy_address(out->source, p->flow.dest);
	else
		return WEIR_REASON_NO_ROUTE;
	__builtin_memcpy(out->mac, backend->mac, sizeof(out->mac));
	/* Without a next hop the frame may go to the host, which takes what bears its own address.
	 */
	if (!backend->ifindex && eth + 1 <= (const struct ethhdr *)packet_end(ctx))
		__builtin_memcpy(out->mac, eth->h_dest, sizeof(out->mac));
	out->ttl = set && set->ttl ? set->ttl : DEFAULT_TTL;
	if (p->encap == WEIR_ENCAP_GUE) {
		out->gue_port = bpf_htons(set && set->gue_port ? set->gue_port : WEIR_GUE_PORT);
		out->added = backend->family == WEIR_FAMILY_4 ? WEIR_ADDED_GUE4 : WEIR_ADDED_GUE6;
	} else {
		out->added = backend->family == WEIR_FAMILY_4 ? WEIR_ADDED_IPIP4 : WEIR_ADDED_IPIP6;
	}
	return CONTINUE;
}

/* The largest IP packet that may leave for the backend. */
static __always_inline __u16 way_mtu(const struct weir_backend *backend)
{
	const struct weir_settings *set = settings_get();

	if (backend->mtu)
		return backend->mtu;
	return set && set->mtu ? set->mtu : DEFAULT_MTU;
}

/* The slot is this node's now, but had earlier owners: a TCP packet of a connection that this node
 * does not know belongs to one of them. Returns the newest that is up, or 0: it is this node's. */
__weak __noinline int stage_earlier(struct xdp_md *ctx, const struct packet *p)
{
	const struct weir_settings *set = settings_get();
	const struct weir_backend *backend;
	const struct weir_slot *slot;
	__u32 index;

	if (!p || (set && (set->off & WEIR_OFF_RELAY)) || stage_known(ctx, ETH_HLEN))
		return 0;
	index = p->slot - 1;
	slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return 0;
	for (int i = 0; i < WEIR_OWNERS; i++) {
		index = slot->owners[i];
		backend = bpf_map_lookup_elem(&backends, &index);
		if (index && backend && backend->family &&
		    !(backend->flags & (WEIR_BACKEND_DOWN | WEIR_BACKEND_LOCAL)))
			return index;
	}
	return 0;
}

/* To p->backend, encapsulated. */
static __always_inline int forward(struct xdp_md *ctx, struct packet *p, enum weir_reason reason)
{
	__u32 index = p->backend;
	const struct weir_backend *backend = bpf_map_lookup_elem(&backends, &index);
	struct outer out = {};
	__u16 mtu;
	int rc;

	if (p->encap == WEIR_ENCAP_NAT)
		return stage_nat(ctx, p, reason);
	if (!backend || !backend->family)
		return leave(p, XDP_DROP, WEIR_REASON_NO_BACKEND);
	if (backend->flags & WEIR_BACKEND_LOCAL) {
		index = wants_owners(p) ? stage_earlier(ctx, p) : 0;
		if (!index)
			return leave(p, XDP_PASS, WEIR_REASON_LOCAL);
		p->asked = 1;
		p->backend = index;
		reason = WEIR_REASON_RELAYED;
		backend = bpf_map_lookup_elem(&backends, &index);
		if (!backend || !backend->family)
			return leave(p, XDP_DROP, WEIR_REASON_NO_BACKEND);
	}
	if (outer_fill(ctx, &out, p, backend) != CONTINUE)
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROUTE);
	mtu = way_mtu(backend);
	if (p->ip_bytes + out.added > mtu)
		return stage_too_big(ctx, p, mtu - out.added);

	if (backend->family == WEIR_FAMILY_4)
		rc = out.gue_port ? stage_gue4(ctx, p, &out, backend)
				  : grow(ctx, p, &out, backend, NULL, sizeof(struct iphdr),
					 WEIR_ADDED_IPIP4);
	else
		rc = out.gue_port ? stage_gue6(ctx, p, &out, backend)
				  : stage_ipip6(ctx, p, &out, backend);
	if (rc != CONTINUE)
		return rc;
	if (!backend->ifindex)
		return stage_route(ctx, p, reason);
	return leave(p, output(ctx, p, backend->ifindex), reason);
}

#endif
