/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* lb_live.bpf.c -- for live frames through veth: a generator, who takes them at the end, and the yardsticks. */
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>

#include "bpf/context.h"

#define HEAD 64

__u8 live_head[HEAD];
__u32 live_port;
__u64 live_arrived;

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Frames are used again after they were changed: each gets its head anew. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	void *data = packet_data(ctx);

	if (data + HEAD > packet_end(ctx))
		return XDP_ABORTED;
	__builtin_memcpy(data, live_head, HEAD);
	return bpf_redirect(live_port, 0);
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	(void)ctx;
	live_arrived++;
	return XDP_DROP;
}

SEC("xdp")
int empty(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}

SEC("xdp")
int reflector(struct xdp_md *ctx)
{
	void *data = packet_data(ctx);
	__u8 mac[6];

	if (data + 12 > packet_end(ctx))
		return XDP_DROP;
	__builtin_memcpy(mac, data, 6);
	__builtin_memcpy(data, data + 6, 6);
	__builtin_memcpy(data + 6, mac, 6);
	return XDP_TX;
}
