/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * lb_minimal.bpf.c -- the least that a stateless IPv4 balancer can do: one service in a hash, one
 * hash of the flow, one array of backends, IPIP, out by the same interface. No IPv6, no counters
 * but one, no transitions, no fragments, no ICMP, no checks beyond the verifier's. The yardstick of
 * bench-lb.
 */
#include "vmlinux.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SLOTS 4099

struct service {
	__be32 addr;
	__be16 port;
	__u16 proto;
};
struct way {
	__be32 addr, source;
	__u8 mac[6], source_mac[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct service);
	__type(value, __u32);
	__uint(max_entries, 64);
} minimal_services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, SLOTS);
} minimal_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct way);
	__uint(max_entries, 64);
} minimal_ways SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} minimal_count SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int encapsulate(struct xdp_md *ctx, const struct way *way, __u16 bytes)
{
	const int added = sizeof(struct iphdr);
	struct ethhdr *eth;
	__be32 *word;
	__u64 sum;

	if (bpf_xdp_adjust_head(ctx, -added))
		return XDP_DROP;
	eth = (void *)(long)ctx->data;
	word = (void *)(eth + 1);
	if ((void *)(word + 5) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	__builtin_memcpy(eth->h_dest, way->mac, 6);
	__builtin_memcpy(eth->h_source, way->source_mac, 6);
	eth->h_proto = bpf_htons(0x0800);
	word[0] = bpf_htonl(0x45000000 | (bytes + added));
	word[1] = bpf_htonl(0x4000);
	word[2] = bpf_htonl(64 << 24 | IPPROTO_IPIP << 16);
	word[3] = way->source;
	word[4] = way->addr;
	sum = (__u64)word[0] + word[1] + word[2] + word[3] + word[4];
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	((__u16 *)word)[5] = ~(__u16)((sum & 0xffff) + (sum >> 16));
	return XDP_TX;
}

SEC("xdp")
int minimal(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *ports = (void *)(ip + 1);
	struct service key = {};
	__u32 zero = 0, index, *slot, *service;
	struct way *way;
	__u64 hash, *n;

	if ((void *)(ports + 1) > end || eth->h_proto != bpf_htons(0x0800) || ip->ihl != 5)
		return XDP_PASS;
	key.addr = ip->daddr;
	key.port = ports->dest;
	key.proto = ip->protocol;
	service = bpf_map_lookup_elem(&minimal_services, &key);
	if (!service)
		return XDP_PASS;
	hash = (ip->saddr ^ (__u64)ports->source << 32 ^ ports->dest) * 0x9e3779b97f4a7c15ULL;
	index = ((hash >> 32) * SLOTS) >> 32;
	slot = bpf_map_lookup_elem(&minimal_slots, &index);
	if (!slot)
		return XDP_DROP;
	way = bpf_map_lookup_elem(&minimal_ways, slot);
	if (!way)
		return XDP_DROP;
	n = bpf_map_lookup_elem(&minimal_count, &zero);
	if (n)
		(*n)++;
	return encapsulate(ctx, way, bpf_ntohs(ip->tot_len));
}
