/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * sample.h -- at the one way out: SYN, FIN and RST are counted, and packets that somebody looks for
 * are copied to a ring. While neither is switched on, seen() costs one bit test.
 *
 * A packet is looked for by its flow as it came and by the addresses that it leaves with, so that an
 * encapsulated one is found under the client's and under the backend's address.
 */
#ifndef WEIR_BPF_SAMPLE_H
#define WEIR_BPF_SAMPLE_H

#include "bpf/abi/sample.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WEIR_SAMPLE_RING);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_sample_filter);
	__uint(max_entries, WEIR_SAMPLE_FILTERS);
} sample_filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, WEIR_SAMPLE_COUNTS);
} sample_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_flag_count);
	__uint(max_entries, WEIR_SERVICES_MAX);
} flag_counts SEC(".maps");

static __always_inline void count_flags(const struct packet *p)
{
	__u32 index = p->service - 1;
	struct weir_flag_count *c = bpf_map_lookup_elem(&flag_counts, &index);

	if (!c)
		return;
	if ((p->tcp_flags & (TCP_FLAG_BYTE_SYN | TCP_FLAG_BYTE_ACK)) == TCP_FLAG_BYTE_SYN)
		c->syn++;
	if (p->tcp_flags & TCP_FLAG_BYTE_FIN)
		c->fin++;
	if (p->tcp_flags & TCP_FLAG_BYTE_RST)
		c->rst++;
}

static __always_inline void sample_count(enum weir_sample_count what)
{
	__u32 index = what;
	__u64 *count = bpf_map_lookup_elem(&sample_counts, &index);

	if (count)
		*count += 1;
}

/* Both ends of a packet, IPv4 mapped, as filters have it. */
struct ends {
	__be32 source[4], dest[4];
	__be16 source_port, dest_port;
	__u8 proto;
};

static __always_inline void ends_of_flow(struct ends *e, const struct weir_flow *flow)
{
	map_address(e->source, flow->source, flow->family);
	map_address(e->dest, flow->dest, flow->family);
	e->source_port = flow->source_port;
	e->dest_port = flow->dest_port;
	e->proto = flow->proto;
}

/* As the frame has them now, with a VLAN tag or without. Options and extension headers hide the ports. */
static __always_inline void ends_of_frame(struct ends *e, const struct xdp_md *ctx)
{
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	const struct ethhdr *eth = cursor_pull(&c, sizeof(*eth));
	const struct { __be16 tag, next; } *tag = NULL;
	__be16 type;
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;
	const __be16 *port;
	bool plain = true;

	if (!eth)
		return;
	type = eth->h_proto;
	if (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD))
		tag = cursor_pull(&c, sizeof(*tag));
	if (tag)
		type = tag->next;
	if (type == bpf_htons(ETH_P_IP) && (ip4 = cursor_pull(&c, sizeof(*ip4)))) {
		map_address(e->source, &ip4->saddr, WEIR_FAMILY_4);
		map_address(e->dest, &ip4->daddr, WEIR_FAMILY_4);
		e->proto = ip4->protocol;
		plain = ip4->ihl == sizeof(*ip4) / 4 && !(ip4->frag_off & bpf_htons(IP_OFFSET));
	} else if (type == bpf_htons(ETH_P_IPV6) && (ip6 = cursor_pull(&c, sizeof(*ip6)))) {
		copy_address(e->source, (const __be32 *)&ip6->saddr);
		copy_address(e->dest, (const __be32 *)&ip6->daddr);
		e->proto = ip6->nexthdr;
	}
	if (!plain || (e->proto != IPPROTO_TCP && e->proto != IPPROTO_UDP))
		return;
	port = cursor_pull(&c, 2 * sizeof(*port));
	if (port) {
		e->source_port = port[0];
		e->dest_port = port[1];
	}
}

static __always_inline bool in_prefix(const __be32 *a, const struct weir_sample_filter *f)
{
	return !(((a[0] ^ f->addr[0]) & f->mask[0]) | ((a[1] ^ f->addr[1]) & f->mask[1]) |
		 ((a[2] ^ f->addr[2]) & f->mask[2]) | ((a[3] ^ f->addr[3]) & f->mask[3]));
}

static __always_inline bool ends_match(const struct ends *e, const struct weir_sample_filter *f)
{
	if (f->proto && e->proto != f->proto)
		return false;
	if (f->port && e->source_port != f->port && e->dest_port != f->port)
		return false;
	return in_prefix(e->source, f) || in_prefix(e->dest, f);
}

struct looked_at {                      /* what filters are compared with */
	struct ends came, leaves;
};

#define SAMPLE_INNER (1 << 16)

/* Which filters may want the packet, by what needs no look at its addresses: most are wanted by none. */
__weak __noinline int stage_candidates(const struct packet *p, int reason)
{
	__u32 found = 0;

	if (!p)
		return 0;
	for (__u32 i = 0; i < WEIR_SAMPLE_FILTERS; i++) {
		__u32 key = i;
		const struct weir_sample_filter *f = bpf_map_lookup_elem(&sample_filters, &key);

		if (!f || !(f->reasons >> (reason & 63) & 1))
			continue;
		if ((!f->service || f->service == p->service) && (!f->backend || f->backend == p->backend))
			found |= 1 << i;
	}
	return found;
}

/* 0: filter number `index`, a candidate, does not want the packet; else how many bytes of it, and SAMPLE_INNER. A
 * function of its own, because the verifier would follow every combination of four filters. */
__weak __noinline int stage_wanted(const struct looked_at *l, __u32 index)
{
	const struct weir_sample_filter *f = bpf_map_lookup_elem(&sample_filters, &index);
	__u32 snap;

	if (!l || !f)
		return 0;
	if (!ends_match(&l->came, f) && !ends_match(&l->leaves, f))
		return 0;
	if (f->until < bpf_ktime_get_ns())
		return 0;
	if (f->one_of > 1 && bpf_get_prandom_u32() % f->one_of)
		return 0;
	snap = f->snap && f->snap < WEIR_SAMPLE_SNAP ? f->snap : WEIR_SAMPLE_SNAP;
	return f->inner ? snap | SAMPLE_INNER : snap;
}

static __always_inline void sample_head(struct weir_sample *s, const struct xdp_md *ctx,
					const struct packet *p, int reason, __u8 filters)
{
	s->time = bpf_ktime_get_ns();
	s->flow = p->flow;
	s->reason = reason;
	s->action = p->action;
	s->filters = filters;
	s->tcp_flags = p->tcp_flags;
	s->backend = p->backend;
	s->came = p->bytes;
	s->service = p->service;
	s->slot = p->slot;
	s->hash = p->hash;
	s->ifindex = ctx->ingress_ifindex;
	s->cpu = bpf_get_smp_processor_id();
}

/* The packet behind the outer header that was put on, with a link header of its own type and no tag. What
 * was put on is what the frame grew by. */
static __always_inline __u32 sample_strip(struct weir_sample_record *r, const struct packet *p,
					  __u32 length)
{
	__u32 grew = length - p->bytes + (p->tagged & TAG_CAME ? sizeof(__be32) : 0);

	if (length <= p->bytes || grew >= length - ETH_HLEN)
		return 0;
	r->data[12] = p->flow.family == WEIR_FAMILY_6 ? ETH_P_IPV6 >> 8 : ETH_P_IP >> 8;
	r->data[13] = p->flow.family == WEIR_FAMILY_6 ? ETH_P_IPV6 & 0xff : ETH_P_IP & 0xff;
	return grew;
}

static __always_inline void sample_copy(struct xdp_md *ctx, struct weir_sample_record *r,
					const struct packet *p, __u32 snap, bool inner)
{
	__u32 length = packet_end(ctx) - packet_data(ctx), skip = 0, len;

	r->head.captured = 0;
	r->head.length = length;
	if (length < ETH_HLEN || bpf_xdp_load_bytes(ctx, 0, r->data, ETH_HLEN))
		return;
	if (inner)
		skip = sample_strip(r, p, length);
	length -= skip;
	r->head.length = length;
	len = length < snap ? length : snap;
	if (len <= ETH_HLEN) {
		r->head.captured = len;
		return;
	}
	/* At least 1 and at most SNAP - ETH_HLEN, in a way that 6.1's verifier sees, too. */
	len = bounded(len - ETH_HLEN - 1, WEIR_SAMPLE_SNAP - 1);
	if (len >= WEIR_SAMPLE_SNAP - ETH_HLEN)
		return;
	len++;
	if (!bpf_xdp_load_bytes(ctx, ETH_HLEN + skip, r->data + ETH_HLEN, len))
		r->head.captured = ETH_HLEN + len;
}

static __always_inline void sample_take(struct xdp_md *ctx, const struct packet *p, int reason,
					__u32 filters, __u32 snap)
{
	struct weir_sample_record *record = bpf_ringbuf_reserve(&samples, sizeof(*record), 0);

	if (!record) {
		sample_count(WEIR_SAMPLES_LOST);
		return;
	}
	sample_head(&record->head, ctx, p, reason, filters);
	sample_copy(ctx, record, p, snap & ~SAMPLE_INNER, snap & SAMPLE_INNER);
	bpf_ringbuf_submit(record, 0);
	sample_count(WEIR_SAMPLES_TAKEN);
}

/* Copies the packet when a filter wants it. */
__weak __noinline int stage_sample(struct xdp_md *ctx, const struct packet *p, int reason)
{
	__u32 filters = 0, snap = 0, inner = 0, candidates;
	struct looked_at l = {};

	if (!p)
		return 0;
	candidates = stage_candidates(p, reason);
	if (!candidates)
		return 0;
	ends_of_flow(&l.came, &p->flow);
	ends_of_frame(&l.leaves, ctx);
	for (__u32 i = 0; i < WEIR_SAMPLE_FILTERS; i++) {
		__u32 want, bytes;

		if (!(candidates >> i & 1))
			continue;
		want = stage_wanted(&l, i);
		bytes = want & ~SAMPLE_INNER;
		filters |= (want != 0) << i;
		inner |= want & SAMPLE_INNER;
		snap = bytes > snap ? bytes : snap;
	}
	if (filters)
		sample_take(ctx, p, reason, filters, snap | inner);
	return 0;
}

/* For the one way out: nothing while neither switch is on. */
static __always_inline void seen(struct xdp_md *ctx, const struct packet *p,
				 const struct weir_settings *set, int reason)
{
	if (likely(!(set->on & (WEIR_ON_SAMPLE | WEIR_ON_FLAGS))))
		return;
	if ((set->on & WEIR_ON_FLAGS) && p->service && !p->quoted &&
	    (p->tcp_flags & (TCP_FLAG_BYTE_SYN | TCP_FLAG_BYTE_FIN | TCP_FLAG_BYTE_RST)))
		count_flags(p);
	if ((set->on & WEIR_ON_SAMPLE) && (set->sample <= 1 || bpf_get_prandom_u32() % set->sample == 0))
		stage_sample(ctx, p, reason);
}

#endif
