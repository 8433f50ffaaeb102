/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * vlan.h -- one VLAN tag (802.1Q or 802.1ad): taken off when the frame is parsed, kept in struct
 * packet, and put back when the frame is left to the host or answers who sent it (p->back). What goes on
 * to somebody else has the tag of the way there, or none: a backend's own, and that of the VLAN device
 * which routes name (`devices`). With two tags frames are the host's.
 */
#ifndef WEIR_BPF_VLAN_H
#define WEIR_BPF_VLAN_H

#define ETH_ALEN 6

struct tagged_header {
	__u8 mac[2 * ETH_ALEN];
	__be16 tag_proto, tag, proto;
};

/* Takes the tag off and parses what it was before. */
__weak __noinline int stage_tagged(struct xdp_md *ctx, struct packet *p)
{
	const struct tagged_header *with = packet_data(ctx);
	__u8 mac[2 * ETH_ALEN];
	void *data;

	if (!p)
		return WEIR_REASON_NOT_IP;
	if ((const void *)(with + 1) > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	if (with->proto != bpf_htons(ETH_P_IP) && with->proto != bpf_htons(ETH_P_IPV6))
		return leave(p, XDP_PASS, WEIR_REASON_NOT_IP);
	__builtin_memcpy(mac, with->mac, sizeof(mac));
	p->tag_proto = with->tag_proto;
	p->tag = with->tag;
	p->tagged |= TAG_CAME;
	if (bpf_xdp_adjust_head(ctx, VLAN_HLEN))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	data = packet_data(ctx);
	if (data + sizeof(mac) > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	__builtin_memcpy(data, mac, sizeof(mac));
	return parse(ctx, p, true);
}

/* With which tag the frame leaves: in p->tag_proto, 0 for none, and p->tag. */
static __always_inline void tag_choose(struct packet *p)
{
	if (p->action == XDP_PASS || p->back)
		return;
	if (p->action == XDP_DROP || !(p->tagged & WEIR_BACKEND_VLAN)) {
		p->tag_proto = 0;
		return;
	}
	p->tag_proto = p->tagged & WEIR_BACKEND_VLAN_AD ? bpf_htons(ETH_P_8021AD) : bpf_htons(ETH_P_8021Q);
	p->tag = bpf_htons(p->vlan);
}

/* On the way out, after p->action was decided: writes the tag, or none. */
__weak __noinline int stage_retag(struct xdp_md *ctx, struct packet *p, int reason)
{
	struct tagged_header *with;
	__u8 mac[2 * ETH_ALEN];
	void *data = packet_data(ctx);

	if (!p)
		return reason;
	if (p->tagged & TAG_CAME)
		p->bytes += VLAN_HLEN;
	tag_choose(p);
	if (!p->tag_proto)
		return reason;
	if (data + sizeof(mac) > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	__builtin_memcpy(mac, data, sizeof(mac));
	if (bpf_xdp_adjust_head(ctx, -VLAN_HLEN))
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROOM);
	with = packet_data(ctx);
	if ((void *)(with + 1) > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROOM);
	__builtin_memcpy(with->mac, mac, sizeof(mac));
	with->tag_proto = p->tag_proto;
	with->tag = p->tag;
	return reason;
}

#endif
