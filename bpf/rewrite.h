/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * rewrite.h -- other addresses and ports in a packet, for NAT: checksums are changed by the
 * difference (RFC 1624), so that what was wrong stays wrong. An ICMP error is changed outside and,
 * the other way round, in what it quotes (RFC 5508 section 4).
 */
#ifndef WEIR_BPF_REWRITE_H
#define WEIR_BPF_REWRITE_H

struct nat_way {
	__be32 source[4], dest[4];
	__be16 source_port, dest_port;
};

static __always_inline bool address_equal(const __be32 *a, const __be32 *b)
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

/* Where the checksum of a transport header lies in it. */
static __always_inline __u32 checksum_offset(__u8 proto)
{
	return proto == IPPROTO_TCP ? 16 : 6;
}

/* A UDP checksum of zero is none (IPv4), one that comes out as zero is written as its twin. */
static __always_inline void checksum_change(__u16 *check, __u8 proto, __u64 sum)
{
	__u16 news;

	if (proto == IPPROTO_UDP && !*check)
		return;
	news = checksum_fold(sum + (__u16)~*check);
	*check = proto == IPPROTO_UDP && !news ? 0xffff : news;
}

/* Ports at the cursor, and the checksum behind them; sum: the difference of the addresses. What an ICMP
 * error quotes may end before the checksum: then only the ports are changed. */
static __always_inline void rewrite_transport(struct cursor *c, __u8 proto, __be16 source, __be16 dest,
					      __u64 sum)
{
	struct cursor at = *c;
	__be16 *port = cursor_pull(&at, 2 * sizeof(*port));
	__u16 *check;

	if (!port)
		return;
	sum += (__u64)(__u16)~port[0] + source + (__u16)~port[1] + dest;
	port[0] = source;
	port[1] = dest;
	at = *c;
	if (!cursor_pull(&at, checksum_offset(proto)))
		return;
	check = cursor_pull(&at, sizeof(*check));
	if (check)
		checksum_change(check, proto, sum);
}

static __always_inline __u64 sum_words(const __be32 *word, const __u32 n)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < n; i++)
		sum += word[i];
	return sum;
}

static __always_inline __u64 sum_not_words(const __be32 *word, const __u32 n)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < n; i++)
		sum += (__u32)~word[i];
	return sum;
}

/* Both return the difference that the addresses make in a sum. */
static __always_inline __u64 rewrite_ip4(struct iphdr *ip, const __be32 *source, const __be32 *dest)
{
	__u64 sum = (__u64)(__u32)~ip->saddr + (__u32)~ip->daddr + source[0] + dest[0];

	ip->saddr = source[0];
	ip->daddr = dest[0];
	ip->check = checksum_fold(sum + (__u16)~ip->check);
	return sum;
}

static __always_inline __u64 rewrite_ip6(struct ipv6hdr *ip, const __be32 *source, const __be32 *dest)
{
	__be32 *word = (__be32 *)&ip->saddr;
	__u64 sum = sum_not_words(word, 8) + sum_words(source, 4) + sum_words(dest, 4);

	copy_address(word, source);
	copy_address(word + 4, dest);
	return sum;
}

/* The packet that an ICMP error quotes went the other way. Its header and ports are summed before
 * and after: the ICMP checksum covers them. Returns the difference. */
static __always_inline __u64 rewrite_quoted4(struct cursor *c, const struct nat_way *way, __u8 proto)
{
	struct iphdr *ip = cursor_pull(c, sizeof(*ip));
	struct cursor at = *c;
	__be32 *ports = ip ? cursor_pull(&at, 8) : NULL;
	__u64 sum;

	if (!ports || ip->ihl != sizeof(*ip) / 4)
		return 0;
	/* The header's own sum does not change: its checksum makes up for the addresses. */
	sum = sum_not_words(ports, 2);
	rewrite_transport(c, proto, way->dest_port, way->source_port,
			  rewrite_ip4(ip, way->dest, way->source));
	return sum + sum_words(ports, 2);
}

static __always_inline __u64 rewrite_quoted6(struct cursor *c, const struct nat_way *way, __u8 proto)
{
	struct ipv6hdr *ip = cursor_pull(c, sizeof(*ip));
	struct cursor at = *c;
	__be32 *ports = ip ? cursor_pull(&at, 8) : NULL;
	__u64 sum, delta;

	/* Behind other headers the ports are not here: such a quote stays as it is. */
	if (!ports || ip->nexthdr != proto)
		return 0;
	delta = rewrite_ip6(ip, way->dest, way->source);
	sum = delta + sum_not_words(ports, 2);
	rewrite_transport(c, proto, way->dest_port, way->source_port, delta);
	return sum + sum_words(ports, 2);
}

/* In a TCP header the checksum lies behind the eight bytes that the functions above sum. */
static __always_inline __u16 quoted_tcp_check(const struct cursor *icmp, __u32 header, __u8 proto)
{
	struct cursor at = *icmp;
	const __u16 *check;

	if (proto != IPPROTO_TCP || !cursor_pull(&at, sizeof(struct icmp_head) + header + 16))
		return 0;
	check = cursor_pull(&at, sizeof(*check));
	return check ? *check : 0;
}

/* ICMP at the cursor; sum: what the outer addresses change in its checksum (ICMPv6). */
static __always_inline int rewrite_icmp(struct cursor *c, const struct packet *p,
					const struct nat_way *way, __u64 sum)
{
	const bool is4 = p->flow.family == WEIR_FAMILY_4;
	const __u32 header = is4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	struct cursor start = *c;
	struct icmp_head *icmp = cursor_pull(c, sizeof(*icmp));
	__u16 before;

	if (!icmp)
		return -1;
	before = quoted_tcp_check(&start, header, p->flow.proto);
	if (is4)
		sum = rewrite_quoted4(c, way, p->flow.proto);
	else
		sum += rewrite_quoted6(c, way, p->flow.proto);
	sum += (__u64)(__u16)~before + quoted_tcp_check(&start, header, p->flow.proto);
	icmp->check = checksum_fold(sum + (__u16)~icmp->check);
	return 0;
}

/* Gives the packet the addresses and ports of *way and takes one off its time to live: CONTINUE, or
 * a reason. */
__weak __noinline int stage_rewrite(struct xdp_md *ctx, struct packet *p, const struct nat_way *way)
{
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	struct iphdr *ip4;
	struct ipv6hdr *ip6;
	__u64 sum;

	if (!p || !way)
		return WEIR_REASON_TRUNCATED;
	if (!cursor_pull(&c, ETH_HLEN))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	ip4 = c.pos;
	ip6 = c.pos;
	if (p->flow.family == WEIR_FAMILY_4) {
		if ((void *)(ip4 + 1) > c.end)
			return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
		if (ip4->ttl <= 1)
			return leave(p, XDP_PASS, WEIR_REASON_TTL_EXPIRED);
		ip4->check = checksum_replace(ip4->check, bpf_htons(0x0100), 0);
		ip4->ttl--;
		sum = rewrite_ip4(ip4, way->source, way->dest);
	} else {
		if ((void *)(ip6 + 1) > c.end)
			return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
		if (ip6->hop_limit <= 1)
			return leave(p, XDP_PASS, WEIR_REASON_TTL_EXPIRED);
		ip6->hop_limit--;
		sum = rewrite_ip6(ip6, way->source, way->dest);
	}
	if (p->fragment == FRAGMENT_LATER)
		return CONTINUE;
	c.pos = packet_data(ctx);
	if (!cursor_pull(&c, bounded(p->transport, 255)))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	if (p->quoted)
		rewrite_icmp(&c, p, way, sum);
	else
		rewrite_transport(&c, p->flow.proto, way->source_port, way->dest_port, sum);
	return CONTINUE;
}

#endif
