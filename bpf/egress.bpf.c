/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * egress.bpf.c -- what the host itself sends: a tc program (direct action, egress).
 *
 * On a backend's interfaces it bounds the MSS that service addresses announce, so that the segments
 * of clients leave room for the outer header (also where "too big" is lost on the way). On the
 * balancer's loopback interface it takes the packets of marked health checks for a service's address,
 * which a routing rule led there, and sends them to the one backend that is asked, encapsulated as
 * clients' packets are. Everything else goes to the next filter.
 */
#include "vmlinux.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/egress.h"
#include "bpf/abi/gue.h"
#include "bpf/abi/hash.h"
#include "bpf/abi/maps.h"

#ifndef NULL
#define NULL ((void *)0)
#endif

#include "bpf/maps.h"
#include "bpf/packet.h"
#include "bpf/checksum.h"
#include "bpf/prefix.h"

#define TC_ACT_UNSPEC	 (-1) /* to the next filter */
#define TC_ACT_SHOT	 2
#define LOOPBACK_IFINDEX 1 /* in every network namespace */
#define TCP_OPTIONS_MAX	 40
#define TCP_OPTION_NOP	 1 /* RFC 9293 section 3.1 */
#define TCP_OPTION_MSS	 2
#define FIRST_EPHEMERAL  49152 /* RFC 6335 section 6 */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_egress);
	__uint(max_entries, 1);
} egress SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct weir_target);
	__type(value, __u32);
	__uint(max_entries, WEIR_ANNOUNCES_MAX);
} egress_addrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u64);
	__type(value, struct weir_probe);
	__uint(max_entries, WEIR_PROBES_MAX);
} probes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 8);
} egress_counts SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int count(int action, __u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&egress_counts, &what);

	if (n)
		++*n;
	return action;
}

/* A TCP packet's addresses as map keys, where its headers begin, and what the outer header copies. */
struct headers {
	struct weir_target source, dest;        /* IPv4 as ::ffff:a.b.c.d */
	__u32 tcp;                              /* offset */
	__be16 dest_port;
	__u8 family, tos, flags, doff;          /* doff: in bytes */
};

static __always_inline void target4(struct weir_target *t, __be32 addr)
{
	t->addr[0] = t->addr[1] = 0;
	t->addr[2] = bpf_htonl(0xffff);
	t->addr[3] = addr;
}

static __always_inline bool read_tcp(struct headers *h, const struct tcphdr *tcp, const void *end)
{
	if ((const void *)(tcp + 1) > end)
		return false;
	h->dest_port = tcp->dest;
	h->flags = ((const __u8 *)tcp)[13];
	h->doff = tcp->doff * 4;
	return true;
}

/* False: not TCP, or not as we know it. Our own stack's packets have their headers in one piece. */
static __always_inline bool read_headers(struct __sk_buff *skb, struct headers *h)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct ethhdr *eth = data;
	const struct iphdr *ip = (const void *)(eth + 1);
	const struct ipv6hdr *ip6 = (const void *)(eth + 1);
	const struct tcphdr *tcp;

	if ((const void *)(ip + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		h->tcp = ETH_HLEN + bounded(ip->ihl * 4, 63);
		if (ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(IP_OFFSET))
			return false;
		h->family = WEIR_FAMILY_4;
		h->tos = ip->tos;
		target4(&h->source, ip->saddr);
		target4(&h->dest, ip->daddr);
		tcp = data + h->tcp;
		asm volatile("" : "+r"(tcp)); /* one pointer: what is checked is what is read */
		return read_tcp(h, tcp, end);
	}
	if (eth->h_proto != bpf_htons(ETH_P_IPV6) || (const void *)(ip6 + 1) > end ||
	    ip6->nexthdr != IPPROTO_TCP)
		return false;
	h->tcp = ETH_HLEN + sizeof(*ip6);
	h->family = WEIR_FAMILY_6;
	h->tos = ip6->priority << 4 | ip6->flow_lbl[0] >> 4;
	copy_address(h->source.addr, (const __be32 *)&ip6->saddr);
	copy_address(h->dest.addr, (const __be32 *)&ip6->daddr);
	return read_tcp(h, (const void *)(ip6 + 1), end);
}

/* ---- the announced MSS -------------------------------------------------------------------------- */

/* Where the value of the MSS option lies, or 0. */
static __always_inline __u32 find_mss(struct __sk_buff *skb, const struct headers *h)
{
	__u32 at = sizeof(struct tcphdr);

	for (int i = 0; i < TCP_OPTIONS_MAX; i++) {
		__u8 option[2]; /* kind, length */

		if (at + 4 > h->doff || bpf_skb_load_bytes(skb, h->tcp + at, option, sizeof(option)))
			return 0;
		if (option[0] == TCP_OPTION_MSS)
			return option[1] == 4 ? h->tcp + at + 2 : 0;
		if (option[0] != TCP_OPTION_NOP && option[1] < 2) /* the end, or nonsense */
			return 0;
		at += option[0] == TCP_OPTION_NOP ? 1 : option[1];
	}
	return 0;
}

__weak __noinline int stage_clamp(struct __sk_buff *skb)
{
	struct headers h = {};
	const struct weir_egress *set;
	__be16 announced, limit;
	__u32 zero = 0, at;

	set = bpf_map_lookup_elem(&egress, &zero);
	if (!set || !read_headers(skb, &h) || !bpf_map_lookup_elem(&egress_addrs, &h.source))
		return TC_ACT_UNSPEC;
	limit = bpf_htons(h.family == WEIR_FAMILY_4 ? set->mss4 : set->mss6);
	at = limit ? find_mss(skb, &h) : 0;
	if (!at || bpf_skb_load_bytes(skb, at, &announced, sizeof(announced)) ||
	    bpf_ntohs(announced) <= bpf_ntohs(limit))
		return TC_ACT_UNSPEC;
	/* The option may lie at an odd offset: then its bytes are summed crosswise. The helper knows
	 * whether the sum is made later, by the device. */
	if ((at - h.tcp) & 1)
		bpf_l4_csum_replace(skb, h.tcp + offsetof(struct tcphdr, check),
				    __builtin_bswap16(announced), __builtin_bswap16(limit), 2);
	else
		bpf_l4_csum_replace(skb, h.tcp + offsetof(struct tcphdr, check), announced, limit, 2);
	bpf_skb_store_bytes(skb, at, &limit, sizeof(limit), 0);
	return count(TC_ACT_UNSPEC, WEIR_EGRESS_CLAMPED);
}

/* A glance for what nearly every packet is: no SYN. */
static __always_inline int clamp(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct ethhdr *eth = data;
	__u32 tcp;

	if (data + ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr) > end)
		return TC_ACT_UNSPEC;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip = data + ETH_HLEN;

		if (ip->protocol != IPPROTO_TCP)
			return TC_ACT_UNSPEC;
		tcp = ETH_HLEN + bounded(ip->ihl * 4, 63);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		tcp = ETH_HLEN + sizeof(struct ipv6hdr);
	} else {
		return TC_ACT_UNSPEC;
	}
	data += tcp;
	if (data + sizeof(struct tcphdr) > end || !(((const __u8 *)data)[13] & TCP_FLAG_BYTE_SYN))
		return TC_ACT_UNSPEC;
	return stage_clamp(skb);
}

/* ---- probes ------------------------------------------------------------------------------------- */

struct way {
	__be32 source[4], dest[4];
	__u8 mac[6], source_mac[6];
	__be16 gue_port; /* 0: IPIP */
	__u8 ttl;
	__u8 checksum;   /* UDP's over IPv6 is wanted; inner is then the sum of what is inside */
	__u32 hash;
	__u32 inner;
};

/* The same form as a packet of encap.h, without owners: a connection of our own needs no relay. */
struct outer4 {
	__u8 pad[2]; /* the stack wants words aligned */
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct weir_gue gue;
	__u8 private[4 * WEIR_GUE_WORDS4];
} __attribute__((packed, aligned(4)));

struct outer6 {
	__u8 pad[2];
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct udphdr udp;
	struct weir_gue gue;
	__u8 private[4 * WEIR_GUE_WORDS6];
} __attribute__((packed, aligned(4)));

static __always_inline void write_eth(struct ethhdr *eth, const struct way *way, __u16 proto)
{
	__builtin_memcpy(eth->h_dest, way->mac, sizeof(eth->h_dest));
	__builtin_memcpy(eth->h_source, way->source_mac, sizeof(eth->h_source));
	eth->h_proto = bpf_htons(proto);
}

static __always_inline void write_udp(struct udphdr *udp, const struct way *way, __u16 bytes)
{
	udp->source = bpf_htons(FIRST_EPHEMERAL | (way->hash & 0x3fff));
	udp->dest = way->gue_port;
	udp->len = bpf_htons(bytes);
}

static __always_inline __u8 inner_protocol(const struct headers *h)
{
	return h->family == WEIR_FAMILY_4 ? IPPROTO_IPIP : IPPROTO_IPV6;
}

static __always_inline int encapsulate4(struct __sk_buff *skb, const struct headers *h,
					const struct way *way, const bool gue)
{
	const __u32 added = gue ? WEIR_ADDED_GUE4 : WEIR_ADDED_IPIP4;
	__u16 bytes = skb->len - ETH_HLEN + added;
	struct outer4 o = {};

	write_eth(&o.eth, way, ETH_P_IP);
	write_ip4(&o.ip, h->tos, bytes, way->ttl, gue ? IPPROTO_UDP : inner_protocol(h),
		  way->source[0], way->dest[0]);
	if (gue) {
		write_udp(&o.udp, way, bytes - sizeof(o.ip));
		o.gue.word = WEIR_GUE_WORDS4;
		o.gue.proto = inner_protocol(h);
		o.private[0] = WEIR_GUE_MAGIC;
	}
	if (bpf_skb_adjust_room(skb, added, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | (gue ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : 0)) ||
	    bpf_skb_store_bytes(skb, 0, &o.eth, ETH_HLEN + added, 0))
		return -1;
	return 0;
}

/* RFC 768, RFC 8200 section 8.1. */
static __always_inline __u16 outer_checksum(const struct outer6 *o, const struct way *way)
{
	const __u32 headers = sizeof(o->udp) + sizeof(o->gue) + sizeof(o->private);
	__s64 sum = bpf_csum_diff(NULL, 0, (__be32 *)&o->ip.saddr, 32, (__u32)o->udp.len + bpf_htons(IPPROTO_UDP));
	__u16 check;

	sum = bpf_csum_diff(NULL, 0, (__be32 *)&o->udp, headers, sum);
	check = checksum_fold((__u64)(__u32)sum + way->inner);
	return check ? check : 0xffff;
}

static __always_inline int encapsulate6(struct __sk_buff *skb, const struct headers *h,
					const struct way *way, const bool gue)
{
	const __u32 added = gue ? WEIR_ADDED_GUE6 : WEIR_ADDED_IPIP6;
	__u16 payload = skb->len - ETH_HLEN + added - sizeof(struct ipv6hdr);
	struct outer6 o = {};

	write_eth(&o.eth, way, ETH_P_IPV6);
	write_ip6(&o.ip, h->tos, way->hash, payload, way->ttl,
		  gue ? IPPROTO_UDP : inner_protocol(h), way->source, way->dest);
	if (gue) {
		write_udp(&o.udp, way, payload);
		o.gue.word = WEIR_GUE_WORDS6;
		o.gue.proto = inner_protocol(h);
		o.private[0] = WEIR_GUE_MAGIC;
		if (way->checksum)
			o.udp.check = outer_checksum(&o, way);
	}
	if (bpf_skb_adjust_room(skb, added, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | (gue ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : 0)) ||
	    bpf_skb_store_bytes(skb, 0, &o.eth, ETH_HLEN + added, 0))
		return -1;
	return 0;
}

/* The sum of the packet that goes inside, from its headers alone: a TCP segment, whose checksum is right or is
 * made right later by the device, sums up to the complement of its pseudo-header (RFC 1071), and so does an
 * IPv4 header to nothing. */
static __always_inline bool sum_inner(struct __sk_buff *skb, const struct headers *h, struct way *way)
{
	__u64 pseudo = (__u64)bpf_htons(IPPROTO_TCP) + bpf_htons(skb->len - h->tcp), sum = 0;
	__be32 word[2]; /* of an IPv6 header before its addresses, which cancel out */

	if (h->family == WEIR_FAMILY_4) {
		pseudo += (__u64)h->source.addr[3] + h->dest.addr[3];
	} else {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, word, sizeof(word)))
			return false;
		sum = (__u64)word[0] + word[1];
	}
	sum += checksum_fold(pseudo);
	way->inner = (__u16)~checksum_fold(sum);
	return true;
}

/* False: traffic could not be sent there now either. */
static __always_inline bool find_way(struct __sk_buff *skb, const struct headers *h,
				     const struct weir_backend *to, __u8 encap, struct way *way)
{
	const struct weir_settings *set = settings_get();

	if (!to->family || !to->ifindex || to->flags & WEIR_BACKEND_LOCAL)
		return false;
	if (!address_is_zero(to->source))
		copy_address(way->source, to->source);
	else if (to->family != h->family)
		return false;
	else if (h->family == WEIR_FAMILY_4)
		way->source[0] = h->dest.addr[3];
	else
		copy_address(way->source, h->dest.addr);
	copy_address(way->dest, to->addr);
	__builtin_memcpy(way->mac, to->mac, sizeof(way->mac));
	__builtin_memcpy(way->source_mac, to->source_mac, sizeof(way->source_mac));
	way->ttl = set && set->ttl ? set->ttl : DEFAULT_TTL;
	way->hash = bpf_get_hash_recalc(skb);
	if (encap != WEIR_ENCAP_GUE)
		return true;
	way->gue_port = bpf_htons(set && set->gue_port ? set->gue_port : WEIR_GUE_PORT);
	/* Of several segments in one (no check sends so much) each would need its own. */
	if (set && set->on & WEIR_ON_CHECKSUM && to->family == WEIR_FAMILY_6 && skb->gso_segs <= 1)
		way->checksum = sum_inner(skb, h, way);
	return true;
}

/* By its port or as any port; or else by a prefix. */
static __always_inline bool is_service(const struct headers *h)
{
	struct weir_service_key key = { .port = h->dest_port, .proto = IPPROTO_TCP, .family = h->family };
	struct weir_flow flow = { .family = h->family };

	if (h->family == WEIR_FAMILY_4)
		flow.dest[0] = h->dest.addr[3];
	else
		copy_address(flow.dest, h->dest.addr);
	copy_address(key.addr, flow.dest);
	if (bpf_map_lookup_elem(&services, &key))
		return true;
	key.port = 0;
	if (bpf_map_lookup_elem(&services, &key))
		return true;
	return prefixes_on(settings_get()) && prefix_find(&flow, IPPROTO_TCP, h->dest_port);
}

/* The backend's VLAN; the device writes it into the frame, or the kernel before that. */
static __always_inline int push_tag(struct __sk_buff *skb, const struct weir_backend *to)
{
	__u16 proto = to->flags & WEIR_BACKEND_VLAN_AD ? ETH_P_8021AD : ETH_P_8021Q;

	return to->flags & WEIR_BACKEND_VLAN ? bpf_skb_vlan_push(skb, bpf_htons(proto), to->vlan) : 0;
}

__weak __noinline int stage_probe(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	const struct weir_probe *probe = bpf_map_lookup_elem(&probes, &cookie);
	const struct weir_backend *to;
	struct headers h = {};
	struct way way = {};
	__u32 index;
	int rc;

	if (!read_headers(skb, &h))
		return TC_ACT_UNSPEC;
	/* The kernel answers for a socket that is closed without a cookie; on the loopback interface
	 * it would come back to us. */
	if (!probe)
		return is_service(&h) ? count(TC_ACT_SHOT, WEIR_EGRESS_STRAY) : TC_ACT_UNSPEC;
	index = probe->backend;
	to = bpf_map_lookup_elem(&backends, &index);
	if (!to || !find_way(skb, &h, to, probe->encap, &way))
		return count(TC_ACT_SHOT, WEIR_EGRESS_NO_WAY);
	index = to->ifindex;
	if (to->family == WEIR_FAMILY_4)
		rc = way.gue_port ? encapsulate4(skb, &h, &way, true)
				  : encapsulate4(skb, &h, &way, false);
	else
		rc = way.gue_port ? encapsulate6(skb, &h, &way, true)
				  : encapsulate6(skb, &h, &way, false);
	if (rc || push_tag(skb, to))
		return count(TC_ACT_SHOT, WEIR_EGRESS_NO_ROOM);
	return count(bpf_redirect(index, 0), WEIR_EGRESS_PROBED);
}

SEC("tc")
int weir_egress(struct __sk_buff *skb)
{
	const struct weir_egress *set;
	__u32 zero = 0;

	if (skb->ifindex != LOOPBACK_IFINDEX)
		return clamp(skb);
	set = bpf_map_lookup_elem(&egress, &zero);
	return set && set->mark && skb->mark == set->mark ? stage_probe(skb) : TC_ACT_UNSPEC;
}
