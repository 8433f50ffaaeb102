/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * connection.h -- is a packet of a connection that this node has? Asked before one is given to an
 * earlier owner of its slot.
 */
#ifndef WEIR_BPF_CONNECTION_H
#define WEIR_BPF_CONNECTION_H

#define TCP_LISTEN_STATE 10 /* include/net/tcp_states.h */

enum known { KNOWN_NOT, KNOWN_MAYBE, KNOWN };

/* Does this node know the TCP connection of the packet at the cursor, by a socket or by a SYN
 * cookie? Says MAYBE to whatever it cannot judge. */
static __always_inline enum known connection_known4(struct xdp_md *ctx, struct cursor *c)
{
	struct bpf_sock_tuple tuple = {};
	struct iphdr *ip = cursor_pull(c, sizeof(*ip));
	struct tcphdr *tcp;
	struct bpf_sock *sk;
	bool known;

	if (!ip || ip->ihl != sizeof(*ip) / 4 || ip->protocol != IPPROTO_TCP ||
	    (ip->frag_off & bpf_htons(IP_OFFSET)))
		return KNOWN_MAYBE;
	tcp = cursor_pull(c, sizeof(*tcp));
	if (!tcp || (tcp->syn && !tcp->ack))
		return KNOWN_MAYBE;
	tuple.ipv4.saddr = ip->saddr;
	tuple.ipv4.daddr = ip->daddr;
	tuple.ipv4.sport = tcp->source;
	tuple.ipv4.dport = tcp->dest;
	sk = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return KNOWN_NOT;
	known = sk->state != TCP_LISTEN_STATE ||
		(tcp->ack && !bpf_tcp_check_syncookie(sk, ip, sizeof(*ip), tcp, sizeof(*tcp)));
	bpf_sk_release(sk);
	return known ? KNOWN : KNOWN_NOT;
}

static __always_inline enum known connection_known6(struct xdp_md *ctx, struct cursor *c)
{
	struct bpf_sock_tuple tuple = {};
	struct ipv6hdr *ip = cursor_pull(c, sizeof(*ip));
	struct tcphdr *tcp;
	struct bpf_sock *sk;
	bool known;

	if (!ip || ip->nexthdr != IPPROTO_TCP)
		return KNOWN_MAYBE;
	tcp = cursor_pull(c, sizeof(*tcp));
	if (!tcp || (tcp->syn && !tcp->ack))
		return KNOWN_MAYBE;
	copy_address(tuple.ipv6.saddr, (const __be32 *)&ip->saddr);
	copy_address(tuple.ipv6.daddr, (const __be32 *)&ip->daddr);
	tuple.ipv6.sport = tcp->source;
	tuple.ipv6.dport = tcp->dest;
	sk = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return KNOWN_NOT;
	known = sk->state != TCP_LISTEN_STATE ||
		(tcp->ack && !bpf_tcp_check_syncookie(sk, ip, sizeof(*ip), tcp, sizeof(*tcp)));
	bpf_sk_release(sk);
	return known ? KNOWN : KNOWN_NOT;
}

/* The same for the IP packet at `offset` of the frame: enum known. */
__weak __noinline int stage_known(struct xdp_md *ctx, int offset)
{
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	const __u8 *version;

	if (offset < 0 || offset > 255 || !cursor_pull(&c, bounded(offset, 255)))
		return KNOWN_MAYBE;
	version = c.pos;
	if ((void *)(version + 1) > c.end)
		return KNOWN_MAYBE;
	return *version >> 4 == 4 ? connection_known4(ctx, &c) : connection_known6(ctx, &c);
}

#endif
