/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * parse.h -- reads link, network and transport header once and fills struct packet.
 *
 * IPv4 options are stepped over. What few packets have is read by functions of their own: IPv6's
 * extension headers (extensions.h) and one VLAN tag (vlan.h). Headers must lie in what IP says the
 * packet is, not in a frame's padding.
 */
#ifndef WEIR_BPF_PARSE_H
#define WEIR_BPF_PARSE_H

int stage_extensions(struct xdp_md *ctx, struct packet *p);
int stage_tagged(struct xdp_md *ctx, struct packet *p);

/* Ports and TCP flags at the cursor; p->transport says where that is. */
static __always_inline int parse_transport(struct cursor *c, struct packet *p)
{
	struct weir_flow *flow = &p->flow;

	if (flow->proto == IPPROTO_TCP) {
		const struct tcphdr *tcp = cursor_pull(c, sizeof(*tcp));

		if (!tcp || p->transport + sizeof(*tcp) > ETH_HLEN + p->ip_bytes)
			return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
		put_ports(flow, tcp);
		p->tcp_flags = ((const __u8 *)tcp)[13];
	} else if (flow->proto == IPPROTO_UDP) {
		const struct udphdr *udp = cursor_pull(c, sizeof(*udp));

		if (!udp || p->transport + sizeof(*udp) > ETH_HLEN + p->ip_bytes)
			return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
		put_ports(flow, udp);
	}
	return CONTINUE;
}

static __always_inline int parse_ip4(struct cursor *c, struct packet *p)
{
	const struct iphdr *ip = cursor_pull(c, sizeof(*ip));
	__u32 header;
	__u16 offset;

	if (!ip)
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	header = ip->ihl * 4;
	p->ip_bytes = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || p->ip_bytes < header)
		return leave(p, XDP_DROP, WEIR_REASON_MALFORMED);
	if (p->ip_bytes > p->bytes - ETH_HLEN)
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	p->flow.family = WEIR_FAMILY_4;
	p->flow.proto = ip->protocol;
	put_address4(p->flow.source, ip->saddr);
	put_address4(p->flow.dest, ip->daddr);
	p->tos = ip->tos;
	p->transport = ETH_HLEN + header;
	offset = bpf_ntohs(ip->frag_off);
	if (offset & (IP_MF | IP_OFFSET)) {
		p->fragment = offset & IP_OFFSET ? FRAGMENT_LATER : FRAGMENT_FIRST;
		p->fragment_id = (__be32)ip->id;
		if (p->fragment == FRAGMENT_LATER)
			return CONTINUE;
	}
	if (header > sizeof(*ip) && !cursor_pull(c, bounded(header - sizeof(*ip), 63)))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	return parse_transport(c, p);
}

/* Headers of IPv6 that stand before the transport's (extensions.h). */
static __always_inline bool is_extension(__u8 proto)
{
	const __u64 set = 1ULL << NEXTHDR_HOP | 1ULL << NEXTHDR_ROUTING | 1ULL << NEXTHDR_FRAGMENT |
			  1ULL << NEXTHDR_AUTH | 1ULL << NEXTHDR_DEST;

	return proto < 64 && (set >> proto & 1);
}

static __always_inline int parse_ip6(struct xdp_md *ctx, struct cursor *c, struct packet *p)
{
	const struct ipv6hdr *ip = cursor_pull(c, sizeof(*ip));

	if (!ip)
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	if (ip->version != 6)
		return leave(p, XDP_DROP, WEIR_REASON_MALFORMED);
	if (bpf_ntohs(ip->payload_len) + sizeof(*ip) > p->bytes - ETH_HLEN)
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	p->ip_bytes = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	p->flow.family = WEIR_FAMILY_6;
	p->flow.proto = ip->nexthdr;
	put_address6(p->flow.source, (const __be32 *)&ip->saddr);
	put_address6(p->flow.dest, (const __be32 *)&ip->daddr);
	p->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	p->transport = ETH_HLEN + sizeof(*ip);
	if (is_extension(p->flow.proto))
		return stage_extensions(ctx, p);
	return parse_transport(c, p);
}

/* Fills *p, which is zeroed, or leaves with a reason. tagged: a VLAN tag was taken off; a second one is
 * the host's. */
static __always_inline int parse(struct xdp_md *ctx, struct packet *p, bool tagged)
{
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	const struct ethhdr *eth;

	p->bytes = (__u32)(c.end - c.pos);
	eth = cursor_pull(&c, sizeof(*eth));
	if (!eth)
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return parse_ip4(&c, p);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return parse_ip6(ctx, &c, p);
	if (!tagged &&
	    (eth->h_proto == bpf_htons(ETH_P_8021Q) || eth->h_proto == bpf_htons(ETH_P_8021AD)))
		return stage_tagged(ctx, p);
	return leave(p, XDP_PASS, WEIR_REASON_NOT_IP);
}

#endif
