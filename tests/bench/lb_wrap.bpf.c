/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * lb_wrap.bpf.c -- runs another XDP program many times on the same packet, fairly.
 *
 * BPF_PROG_TEST_RUN does not put the packet back between repetitions, so from the second one on an
 * encapsulating program would see its own output. The wrapper tail-calls the program under test
 * from a subprogram (control comes back here), counts what it returned, restores head, tail and
 * the first bytes, and gives the next run another flow (source address and port) when there are many.
 */
#include "vmlinux.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/context.h"
#include "tests/bench/lb_wrap.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 32);
} under_test SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct lb_run);
	__uint(max_entries, 1);
} run SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __noinline int call(struct xdp_md *ctx)
{
	volatile int back = LB_NO_CALL;
	__u32 zero = 0;
	struct lb_run *r = bpf_map_lookup_elem(&run, &zero);

	if (!r)
		return back;
	bpf_tail_call(ctx, &under_test, r->which);
	return back;
}

static __always_inline int put_back(struct xdp_md *ctx, const struct lb_run *r)
{
	long off = (long)packet_end(ctx) - (long)packet_data(ctx) - (long)r->len;
	void *data;

	/* What was added or taken was so at the head; the tail is where it was. */
	if (off && bpf_xdp_adjust_head(ctx, (int)off))
		return -1;
	data = packet_data(ctx);
	if (data + LB_HEAD > packet_end(ctx))
		return -1;
	__builtin_memcpy(data, r->head, LB_HEAD);
	return 0;
}

SEC("xdp")
int wrap(struct xdp_md *ctx)
{
	__u32 zero = 0, rc, flow;
	struct lb_run *r = bpf_map_lookup_elem(&run, &zero);
	void *data;

	if (!r || put_back(ctx, r))
		return XDP_ABORTED;
	data = packet_data(ctx);
	if (data + LB_HEAD > packet_end(ctx))
		return XDP_ABORTED;
	r->packets++;
	if (r->packets == 1)
		r->began = bpf_ktime_get_ns();
	if (r->packets == r->last)
		r->ended = bpf_ktime_get_ns();
	/* A stride that is coprime to the number of flows: neighbours in time are not neighbours.
	 */
	if (r->flows > 1) {
		r->at += 7919;
		if (r->at >= r->flows)
			r->at %= r->flows;
		flow = r->at;
		*(__be32 *)(data + 26) = bpf_htonl(0x0a000000 + (flow >> 4));
		*(__be16 *)(data + 34) = bpf_htons(32768 + (flow & 15) * 2000);
	}
	rc = call(ctx);
	if (rc < 8)
		r->returned[rc]++;
	else
		r->failed++;
	return XDP_PASS;
}

SEC("xdp")
int floor_tx(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_TX;
}
