/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * narrow.bpf.c -- hands a frame of NARROW_FRAME bytes on to another program with almost no room in front of it, as some drivers
 * and programs before ours leave it.
 */
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>

#include "bpf/context.h"

#define NARROW_EATEN 200 /* of 256 bytes, of which the kernel keeps 40 */
#define NARROW_FRAME 94	 /* Ethernet, IPv4, TCP and 40 bytes */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} then SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("xdp")
int narrow(struct xdp_md *ctx)
{
	__u8 frame[NARROW_FRAME + 2];

	if (bpf_xdp_load_bytes(ctx, 0, frame, NARROW_FRAME) || bpf_xdp_adjust_head(ctx, -NARROW_EATEN) ||
	    bpf_xdp_store_bytes(ctx, 0, frame, NARROW_FRAME) || bpf_xdp_adjust_tail(ctx, -NARROW_EATEN))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &then, 0);
	return XDP_ABORTED;
}
