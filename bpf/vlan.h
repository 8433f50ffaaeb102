/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * vlan.h -- one VLAN tag (802.1Q or 802.1ad): taken off when the frame is parsed, kept in struct
 * packet, and put back when the frame leaves to the host or by the interface that it came by.
 * Frames that leave by another interface go without; with two tags they are the host's. So backends
 * behind a VLAN device are reached when clients' packets come by the same VLAN.
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
	if (bpf_xdp_adjust_head(ctx, VLAN_HLEN))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	data = packet_data(ctx);
	if (data + sizeof(mac) > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	__builtin_memcpy(data, mac, sizeof(mac));
	return parse(ctx, p, true);
}

/* On the way out, after p->action was decided: puts the tag back where it belongs. */
__weak __noinline int stage_retag(struct xdp_md *ctx, struct packet *p, int reason)
{
	struct tagged_header *with;
	__u8 mac[2 * ETH_ALEN];
	void *data = packet_data(ctx);

	if (!p)
		return reason;
	p->bytes += VLAN_HLEN;
	if (p->action == XDP_DROP || (p->action == XDP_REDIRECT && !p->back))
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
