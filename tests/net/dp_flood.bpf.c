/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * dp_flood.bpf.c -- the generator's end of a flood: run with live frames, it writes a SYN from a source of
 * its own into each frame and sends it into an interface. `drop` is what a flood that is dropped at once
 * meets.
 */
#include "vmlinux.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 ifindex;           /* where to */
const volatile __u32 networks = 256;    /* 10.NET.NET.0/24, at most 65536 */
const volatile __u32 ip_sum, tcp_sum;   /* of the headers without source address and port */
__u64 sent;

struct headers {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

/* The frame as it is, but for what differs: an earlier run's reader may have written into it. */
__u8 frame[sizeof(struct headers)];

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

SEC("xdp")
int flood(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct headers *h = data;
	__u32 random = bpf_get_prandom_u32(), network = sent++ % networks, source;
	__u16 port = 1024 + (random >> 16) % 60000;

	if (data + sizeof(*h) > end)
		return XDP_ABORTED;
	__builtin_memcpy(h, frame, sizeof(*h));
	source = 10u << 24 | network << 8 | (random & 255);
	h->ip.saddr = bpf_htonl(source);
	h->tcp.source = bpf_htons(port);
	h->tcp.seq = random;
	h->ip.check = bpf_htons(fold(ip_sum + (source >> 16) + (source & 0xffff)));
	h->tcp.check = bpf_htons(fold(tcp_sum + (source >> 16) + (source & 0xffff) + port +
				      bpf_ntohs(random & 0xffff) + bpf_ntohs(random >> 16)));
	return bpf_redirect(ifindex, 0);
}

SEC("xdp")
int drop(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}
