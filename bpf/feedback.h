/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * feedback.h -- "mine": who has a relayed connection tells the balancer, whose next packets of that flow go
 * there directly (abi/gue.h). Off but with WEIR_ON_FEEDBACK, on both sides.
 *
 * The owner's side: XDP cannot send a second packet, so the flow goes to a ring, and the loader sends the
 * report. At most one a second for a flow, and only for a packet that came encapsulated from an allowed
 * source and was passed on: no report is larger or more often than what asked for it.
 *
 * The balancer's side: a report counts where decapsulation would be allowed, and when its source is the
 * address of an owner of the flow's slot that is up. It can lead that flow to that owner, nothing else; an
 * owner that lies gets a packet that it passes on like any. What is remembered has a bound (reported).
 */
#ifndef WEIR_BPF_FEEDBACK_H
#define WEIR_BPF_FEEDBACK_H

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct weir_flow);
	__type(value, __u64);
	__uint(max_entries, WEIR_TOLD_MAX);
} told SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WEIR_REPORTS_RING);
} reports SEC(".maps");

static __always_inline bool feedback_on(void)
{
	const struct weir_settings *set = settings_get();

	return set && set->on & WEIR_ON_FEEDBACK;
}

/* ---- the owner -------------------------------------------------------------------------------------- */
/* The flow of the TCP packet at the cursor, which connection_known4() or _6() has judged: no options, no
 * extension headers. */
static __always_inline bool flow_of_inner(struct cursor *c, struct weir_flow *flow)
{
	const struct iphdr *ip4 = c->pos;
	const struct ipv6hdr *ip6;
	const __be32 *ports;

	if ((const void *)(ip4 + 1) > c->end)
		return false;
	if (ip4->version == 4) {
		flow->family = WEIR_FAMILY_4;
		flow->source[0] = ip4->saddr;
		flow->dest[0] = ip4->daddr;
		cursor_pull(c, sizeof(*ip4));
	} else {
		ip6 = cursor_pull(c, sizeof(*ip6));
		if (!ip6)
			return false;
		flow->family = WEIR_FAMILY_6;
		copy_address(flow->source, (const __be32 *)&ip6->saddr);
		copy_address(flow->dest, (const __be32 *)&ip6->daddr);
	}
	ports = cursor_pull(c, sizeof(*ports));
	if (!ports)
		return false;
	put_ports(flow, ports);
	flow->proto = IPPROTO_TCP;
	return true;
}

/* The inner packet at `offset` is of a connection that this node has, and was passed on: the loader is to
 * tell the balancer, whose address stands in the private data. */
__weak __noinline int stage_report(struct xdp_md *ctx, const struct packet *p, int offset)
{
	const __u32 head = sizeof(struct udphdr) + sizeof(struct weir_gue) + sizeof(struct weir_gue_private);
	struct cursor c = { packet_data(ctx), packet_end(ctx) }, inner = c;
	__u64 now = bpf_ktime_get_coarse_ns();
	struct weir_flow flow = {};
	struct weir_report *report;
	const __be32 *balancer;
	const __u64 *last;

	if (!p || !feedback_on() || offset < 0 || offset > 255)
		return 0;
	if (!cursor_pull(&inner, bounded(offset, 255)) || !flow_of_inner(&inner, &flow))
		return 0;
	if (!cursor_pull(&c, bounded(p->transport, 255) + head))
		return 0;
	balancer = cursor_pull(&c, WEIR_OWNERS * sizeof(*balancer)); /* of IPv6 it has four words */
	if (!balancer || (void *)(balancer + 4) > c.end)
		return 0;
	last = bpf_map_lookup_elem(&told, &flow);
	if (last && now - *last < NANOSECONDS)
		return 0;
	bpf_map_update_elem(&told, &flow, &now, BPF_ANY);
	report = bpf_ringbuf_reserve(&reports, sizeof(*report), 0);
	if (!report)
		return 0;
	report->flow = flow;
	copy_address(report->own, p->flow.dest);
	__builtin_memset(report->balancer, 0, sizeof(report->balancer));
	report->balancer[0] = balancer[0];
	if (p->flow.family == WEIR_FAMILY_6)
		copy_address(report->balancer, balancer);
	report->family = p->flow.family;
	__builtin_memset(report->zero, 0, sizeof(report->zero));
	bpf_ringbuf_submit(report, 0);
	return 1;
}

/* ---- the balancer ----------------------------------------------------------------------------------- */
/* Is the backend the one whose tunnel's end the report came from? */
static __always_inline bool is_reporter(const struct packet *p, __u32 index, __u32 service)
{
	const struct weir_backend *backend = bpf_map_lookup_elem(&backends, &index);

	return index && backend && backend->family == p->flow.family && backend->service == service &&
	       !(backend->flags & WEIR_BACKEND_DOWN) && address_equal(backend->addr, p->flow.source);
}

/* Which owner of the slot sent the report in *p, or 0. */
__weak __noinline int stage_reporter(const struct packet *p, __u32 index, __u32 service)
{
	const struct weir_slot *slot = bpf_map_lookup_elem(&slots, &index);

	if (!p || !slot)
		return 0;
	if (is_reporter(p, slot->current, service))
		return slot->current;
	if (is_reporter(p, slot->previous, service))
		return slot->previous;
	for (int i = 0; i < WEIR_OWNERS; i++)
		if (is_reporter(p, slot->owners[i], service))
			return slot->owners[i];
	return 0;
}

/* The same for the other candidate's slot, whose present owner alone gets the flow. */
__weak __noinline int stage_candidate(const struct packet *p, __u32 index, __u32 service)
{
	const struct weir_slot *slot = bpf_map_lookup_elem(&slots, &index);

	return p && slot && is_reporter(p, slot->current, service) ? slot->current : 0;
}

/* The second half first, as the agent does: a steady slot begins a transition to nowhere, for what is
 * reported. When the agent moves the slot at this very moment, its move stays. */
static __always_inline void slot_mark(struct weir_slot *slot)
{
	__u32 now = bpf_ktime_get_coarse_ns() / NANOSECONDS;
	union slot_head head = slot_read(slot), marked = head;

	if (head.index[1])
		return;
	marked.index[1] = head.index[0];
	slot->since = now;
	slot->elsewhere = now;
	__sync_val_compare_and_swap((__u64 *)slot, head.word, marked.word);
}

/* Is the flow one whose SYN was noted in this transition, and that no other packet followed yet? */
static __always_inline bool half_opened(const struct weir_flow *flow, __u16 since)
{
	const struct weir_note *note = bpf_map_lookup_elem(&half_open, flow);

	return note && note->since == since;
}

/* The flow's next packets go to the backend, unless they would without more. A note of the flow is
 * corrected in its place. */
__weak __noinline int stage_believe(const struct weir_gue_report *report, __u32 index, int backend)
{
	struct weir_slot *slot = bpf_map_lookup_elem(&slots, &index);
	struct weir_note note = { .backend = backend }, *had;
	struct weir_flow flow;

	if (!report || !slot)
		return 0;
	flow = report->flow;
	if (!slot->previous) {
		if (backend == slot->current)
			return 0;
		slot_mark(slot);
	}
	note.since = slot->since;
	had = bpf_map_lookup_elem(&notes, &flow);
	/* Who answered this connection's SYN has it. */
	if ((!had || had->since != note.since) && half_opened(&flow, note.since))
		return 0;
	if (!had || had->since != note.since)
		had = bpf_map_lookup_elem(&reported, &flow);
	if (had && had->since == note.since)
		had->backend = backend;
	else
		bpf_map_update_elem(&reported, &flow, &note, BPF_ANY);
	return 1;
}

static __always_inline bool report_valid(const struct weir_gue_report *r)
{
	const struct weir_flow *flow = &r->flow;

	if (r->gue.word != WEIR_GUE_CONTROL || r->gue.proto != WEIR_GUE_REPORT || r->gue.flags ||
	    r->magic != WEIR_GUE_MAGIC || r->version || r->zero || flow->zero || flow->proto != IPPROTO_TCP)
		return false;
	if (flow->family == WEIR_FAMILY_6)
		return true;
	return flow->family == WEIR_FAMILY_4 && !(flow->source[1] | flow->source[2] | flow->source[3] |
						  flow->dest[1] | flow->dest[2] | flow->dest[3]);
}

/* The index of the flow's slot at that service; second: of the other candidate's. */
static __always_inline __u32 report_slot(const struct weir_service *service, const struct weir_flow *flow,
					 const bool second)
{
	__u32 hash = service->flags & WEIR_SERVICE_ADDRESSES ? weir_address_hash(flow) : weir_flow_hash(flow);

	return service->first + (second ? weir_second_slot(hash, service->slots)
					: weir_flow_slot(hash, service->slots));
}

/* By whom the packet *p was sent and about what flow: noted, or refused. */
__weak __noinline int stage_feedback(const struct packet *p, const struct weir_gue_report *report)
{
	const struct weir_settings *set = settings_get();
	const struct weir_service *service;
	struct weir_flow flow;
	__u32 index;
	int backend;

	if (!p || !report || !set)
		return 0;
	flow = report->flow;
	service = service_find(&flow, set);
	if (!service || !service->slots || service->encap != WEIR_ENCAP_GUE)
		return 0;
	index = report_slot(service, &flow, false);
	backend = stage_reporter(p, index, service->number) & 0xffff;
	if (!backend && service->flags & WEIR_SERVICE_TWO)
		backend = stage_candidate(p, report_slot(service, &flow, true), service->number) & 0xffff;
	if (!backend)
		return 0;
	stage_believe(report, index, backend);
	return 1; /* also what changes nothing */
}

/* What is allowed to be opened, but has no packet inside: a report, or nothing that is known. what: enum
 * weir_decap. */
__weak __noinline int stage_control(struct xdp_md *ctx, struct packet *p, int what)
{
	const __u32 bytes = sizeof(struct udphdr) + sizeof(struct weir_gue_report);
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	struct weir_prefix dest = { .bits = 128 };
	struct weir_gue_report report;
	const struct udphdr *udp;

	if (!p)
		return WEIR_REASON_DECAP_UNKNOWN;
	p->action = XDP_DROP;
	if (!feedback_on() || p->flow.proto != IPPROTO_UDP || p->fragment ||
	    p->transport - ETH_HLEN + bytes != p->ip_bytes || !cursor_pull(&c, bounded(p->transport, 255)))
		return WEIR_REASON_DECAP_UNKNOWN;
	udp = cursor_pull(&c, bytes);
	if (!udp || udp->len != bpf_htons(bytes))
		return WEIR_REASON_DECAP_UNKNOWN;
	__builtin_memcpy(&report, udp + 1, sizeof(report));
	if (!report_valid(&report))
		return WEIR_REASON_DECAP_UNKNOWN;
	map_address(dest.addr, report.flow.dest, report.flow.family);
	if (what == WEIR_DECAP_TUNNELS && !bpf_map_lookup_elem(&tunnel_prefixes, &dest))
		return WEIR_REASON_DECAP_INNER;
	return stage_feedback(p, &report) ? WEIR_REASON_FEEDBACK : WEIR_REASON_FEEDBACK_REFUSED;
}

#endif
