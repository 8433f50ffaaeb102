/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * icmp.h -- ICMP (RFC 792) and ICMPv6 (RFC 4443) for service addresses: echo is answered here,
 * errors are led to the backend of the flow that they quote, and senders of packets that would not
 * fit when encapsulated are told (RFC 1191, RFC 8201).
 */
#ifndef WEIR_BPF_ICMP_H
#define WEIR_BPF_ICMP_H

#define QUOTE4 128 /* bytes of the packet that an error quotes; a multiple of 4 */
#define QUOTE6 256

struct icmp_head {
	__u8 type, code;
	__u16 check;
	__be32 rest;
};

/* Sends the frame back by the link that it came from. */
static __always_inline void swap_link_addresses(struct ethhdr *eth)
{
	__u8 mac[6];

	__builtin_memcpy(mac, eth->h_dest, 6);
	__builtin_memcpy(eth->h_dest, eth->h_source, 6);
	__builtin_memcpy(eth->h_source, mac, 6);
}

static __always_inline int echo4(struct iphdr *ip, struct icmp_head *icmp)
{
	__be32 source = ip->saddr;

	icmp->check = checksum_replace(icmp->check, bpf_htons(ICMP_ECHO_REQUEST << 8), 0);
	if (!icmp->check)
		icmp->check = 0xffff; /* the same in ones' complement; right, too, where all bytes are zero */
	icmp->type = 0;
	ip->saddr = ip->daddr;
	ip->daddr = source;
	ip->ttl = DEFAULT_TTL;
	ip->check = 0;
	ip->check = checksum_ip4(ip);
	return WEIR_REASON_ECHO;
}

static __always_inline int echo6(struct ipv6hdr *ip, struct icmp_head *icmp)
{
	struct in6_addr source = ip->saddr;

	icmp->check = checksum_replace(icmp->check, bpf_htons(ICMP6_ECHO_REQUEST << 8),
				       bpf_htons(ICMP6_ECHO_REPLY << 8));
	icmp->type = ICMP6_ECHO_REPLY;
	ip->saddr = ip->daddr;
	ip->daddr = source;
	ip->hop_limit = DEFAULT_TTL;
	return WEIR_REASON_ECHO;
}

/* The packet is a whole echo request; answered when the address is a service's. One with options or
 * extension headers is the host's: they would have to be answered, too. */
static __always_inline int echo_answer(struct xdp_md *ctx, struct packet *p)
{
	const struct weir_settings *set = settings_get();
	void *data = packet_data(ctx), *end = packet_end(ctx);

	if ((set && (set->off & WEIR_OFF_ECHO)) || p->fragment || !service_address(&p->flow))
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	if (p->flow.family == WEIR_FAMILY_4) {
		if (data + ETH_HLEN + sizeof(struct iphdr) + sizeof(struct icmp_head) > end ||
		    p->transport != ETH_HLEN + sizeof(struct iphdr))
			return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
		echo4(data + ETH_HLEN, data + ETH_HLEN + sizeof(struct iphdr));
	} else {
		if (data + ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct icmp_head) > end ||
		    p->transport != ETH_HLEN + sizeof(struct ipv6hdr))
			return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
		echo6(data + ETH_HLEN, data + ETH_HLEN + sizeof(struct ipv6hdr));
	}
	swap_link_addresses(data);
	return leave(p, output_back(ctx, p), WEIR_REASON_ECHO);
}

/* Ports of the quoted packet at the cursor: the other way round they are the client's flow's. */
static __always_inline int quote_ports(struct cursor *c, struct packet *p, struct weir_flow *flow)
{
	const __be16 *ports;

	if (flow->proto != IPPROTO_TCP && flow->proto != IPPROTO_UDP)
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	ports = cursor_pull(c, 4);
	if (!ports)
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	flow->dest_port = ports[0];
	flow->source_port = ports[1];
	p->flow = *flow;
	p->quoted = 1;
	return CONTINUE;
}

/* Reads a quoted packet (from a service to a client) and turns it into the client's flow. The
 * error must have been sent to the address that the quoted packet came from. Options and extension
 * headers of the quoted packet are stepped over; of its fragments the first alone has ports. */
static __always_inline int quote4(struct cursor *c, struct packet *p)
{
	const struct iphdr *ip = cursor_pull(c, sizeof(*ip));
	struct weir_flow flow = { .family = WEIR_FAMILY_4 };
	__u32 header;

	if (!ip)
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	header = ip->ihl * 4;
	if (ip->version != 4 || header < sizeof(*ip) || ip->saddr != p->flow.dest[0] ||
	    (ip->frag_off & bpf_htons(IP_OFFSET)))
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	flow.proto = ip->protocol;
	flow.dest[0] = ip->saddr;
	flow.source[0] = ip->daddr;
	if (header > sizeof(*ip) && !cursor_pull(c, bounded(header - sizeof(*ip), 63)))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	return quote_ports(c, p, &flow);
}

static __always_inline int quote6(struct cursor *c, struct packet *p)
{
	const struct ipv6hdr *ip = cursor_pull(c, sizeof(*ip));
	struct weir_flow flow = { .family = WEIR_FAMILY_6 };
	struct walk w = {};
	const __be32 *from;
	int rc;

	if (!ip)
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	from = (const __be32 *)&ip->saddr;
	if (ip->version != 6 || from[0] != p->flow.dest[0] || from[1] != p->flow.dest[1] ||
	    from[2] != p->flow.dest[2] || from[3] != p->flow.dest[3])
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	copy_address(flow.dest, from);
	copy_address(flow.source, (const __be32 *)&ip->daddr);
	w.proto = ip->nexthdr;
	rc = extensions_walk(c, &w);
	if (rc == WEIR_REASON_EXTENSIONS || w.fragment == FRAGMENT_LATER)
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	if (rc != CONTINUE)
		return leave(p, XDP_DROP, rc);
	flow.proto = w.proto;
	return quote_ports(c, p, &flow);
}

/* ICMP of both families: answered, CONTINUE with the quoted flow in p->flow, or left to the host.
 */
__weak __noinline int stage_icmp(struct xdp_md *ctx, struct packet *p)
{
	const struct weir_settings *set = settings_get();
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	const struct icmp_head *icmp;
	__u8 type;

	if (!p)
		return CONTINUE;
	if (!cursor_pull(&c, bounded(p->transport, 255)))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	icmp = cursor_pull(&c, sizeof(*icmp));
	if (!icmp)
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	type = icmp->type;
	if (p->flow.family == WEIR_FAMILY_4) {
		if (type == ICMP_ECHO_REQUEST)
			return echo_answer(ctx, p);
		if (type != ICMP_UNREACH && type != ICMP_TTL && type != ICMP_PARAMETER)
			return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	} else {
		if (type == ICMP6_ECHO_REQUEST)
			return echo_answer(ctx, p);
		if (type < ICMP6_UNREACH || type > ICMP6_PARAMETER)
			return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	}
	if ((set && (set->off & WEIR_OFF_ERRORS)) || p->fragment)
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	return p->flow.family == WEIR_FAMILY_4 ? quote4(&c, p) : quote6(&c, p);
}

/* Puts an ICMP error's room before the packet and cuts what is not quoted. The packet is longer
 * than the quote. */
static __always_inline int quote_make_room(struct xdp_md *ctx, __u32 headers, __u32 quote)
{
	struct ethhdr eth;
	void *data = packet_data(ctx);
	int cut;

	if (data + sizeof(eth) > packet_end(ctx))
		return -1;
	__builtin_memcpy(&eth, data, sizeof(eth));
	if (bpf_xdp_adjust_head(ctx, -(int)headers))
		return -1;
	cut = (int)(ETH_HLEN + headers + quote) - (int)(packet_end(ctx) - packet_data(ctx));
	if (cut > 0 || bpf_xdp_adjust_tail(ctx, cut))
		return -1;
	data = packet_data(ctx);
	if (data + sizeof(eth) > packet_end(ctx))
		return -1;
	swap_link_addresses(&eth);
	__builtin_memcpy(data, &eth, sizeof(eth));
	return 0;
}

static __always_inline int too_big4(struct xdp_md *ctx, const struct packet *p, __u16 mtu)
{
	const __u32 headers = sizeof(struct iphdr) + sizeof(struct icmp_head);
	struct icmp_head *icmp;
	struct iphdr *ip;

	if (quote_make_room(ctx, headers, QUOTE4))
		return -1;
	ip = packet_data(ctx) + ETH_HLEN;
	icmp = (void *)(ip + 1);
	if ((void *)icmp + sizeof(*icmp) + QUOTE4 > packet_end(ctx))
		return -1;
	write_ip4(ip, 0, headers + QUOTE4, DEFAULT_TTL, IPPROTO_ICMP, p->flow.dest[0],
		  p->flow.source[0]);
	*icmp = (struct icmp_head){ .type = ICMP_UNREACH, .code = ICMP_FRAG_NEEDED_CODE };
	icmp->rest = bpf_htonl(mtu);
	icmp->check =
		checksum_fold(bpf_csum_diff(NULL, 0, (void *)icmp, sizeof(*icmp) + QUOTE4, 0));
	return 0;
}

static __always_inline int too_big6(struct xdp_md *ctx, const struct packet *p, __u16 mtu)
{
	const __u32 bytes = sizeof(struct icmp_head) + QUOTE6;
	struct icmp_head *icmp;
	struct ipv6hdr *ip;
	__u64 sum;

	if (quote_make_room(ctx, sizeof(*ip) + sizeof(*icmp), QUOTE6))
		return -1;
	ip = packet_data(ctx) + ETH_HLEN;
	icmp = (void *)(ip + 1);
	if ((void *)icmp + bytes > packet_end(ctx))
		return -1;
	write_ip6(ip, 0, 0, bytes, DEFAULT_TTL, IPPROTO_ICMPV6, p->flow.dest, p->flow.source);
	*icmp = (struct icmp_head){ .type = ICMP6_TOO_BIG };
	icmp->rest = bpf_htonl(mtu);
	/* The pseudo-header (RFC 8200 section 8.1): both addresses, length, next header. */
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&ip->saddr, 32,
			    bpf_htonl(bytes) + bpf_htonl(IPPROTO_ICMPV6));
	icmp->check = checksum_fold(bpf_csum_diff(NULL, 0, (void *)icmp, bytes, sum));
	return 0;
}

/* Tells the sender the largest packet that fits. An error about an error is never sent. */
__weak __noinline int stage_too_big(struct xdp_md *ctx, struct packet *p, int mtu)
{
	const struct weir_settings *set = settings_get();
	int rc;

	if (!p)
		return WEIR_REASON_TOO_BIG_QUIET;
	if ((set && (set->off & WEIR_OFF_TOO_BIG)) || p->quoted || p->fragment == FRAGMENT_LATER)
		return leave(p, XDP_DROP, WEIR_REASON_TOO_BIG_QUIET);
	rc = p->flow.family == WEIR_FAMILY_4 ? too_big4(ctx, p, mtu) : too_big6(ctx, p, mtu);
	if (rc)
		return leave(p, XDP_DROP, WEIR_REASON_TOO_BIG_QUIET);
	return leave(p, output_back(ctx, p), WEIR_REASON_TOO_BIG);
}

#endif
