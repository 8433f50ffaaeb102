/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * balance.h -- from a flow to a backend: service, slot, and the rules for slots that move.
 *
 * A steady slot costs one hash of the flow and two array look-ups: nothing is remembered, so a
 * flood has nothing to fill. A slot in transition has a previous owner; then:
 *
 *  - a note decides, if it was made in this transition and its backend is up;
 *  - a SYN goes to current and is noted as half open; the first packet of the flow that is not a
 *    SYN moves the note to the table of established flows;
 *  - with WEIR_ON_FEEDBACK, what has no note, but an owner reported as its own, goes there (feedback.h);
 *  - whatever else has no note goes to previous;
 *  - what goes to another than current is stamped on the slot: the agent ends the transition when
 *    that stamp is older than the drain time.
 */
#ifndef WEIR_BPF_BALANCE_H
#define WEIR_BPF_BALANCE_H

#define NANOSECONDS	  1000000000ULL
#define UDP_LEARN_SECONDS 60
#define RECENT_SHIFT	  8	/* 256 ticks of the kernel: 0.26 to 2.6 s */

/* A service's key in the widths in which the hash reads it (put_address4() says why). */
union service_find {
	struct weir_service_key key;
	__u64 address[2];
	__u32 word[5];
} __attribute__((aligned(8)));

static __always_inline void service_key(union service_find *find, const struct weir_flow *flow)
{
	find->address[0] = ((const __u64 *)flow->dest)[0];
	find->address[1] = ((const __u64 *)flow->dest)[1];
	find->word[4] = flow->dest_port | bpf_htonl(flow->proto << 8 | flow->family);
}

/* The flow's port, or else any port; or else a prefix. */
static __always_inline const struct weir_service *service_find(const struct weir_flow *flow,
							      const struct weir_settings *set)
{
	const struct weir_service *service;
	union service_find find;

	service_key(&find, flow);
	service = bpf_map_lookup_elem(&services, &find);
	if (service)
		return service;
	if (flow->dest_port) {
		find.key.port = 0;
		service = bpf_map_lookup_elem(&services, &find);
	}
	return service || !prefixes_on(set) ? service
					    : prefix_find(flow, flow->proto, flow->dest_port);
}

static __always_inline struct weir_recent *recent_place(const union service_find *find)
{
	__u64 mixed = find->address[0] ^ find->address[1] ^ (__u64)find->word[4] << 32;
	__u32 index = mixed * 0x9e3779b97f4a7c15ULL >> 32;

	index >>= 24;
	_Static_assert(WEIR_RECENT_MAX == 1 << 8, "eight bits");
	return bpf_map_lookup_elem(&service_recent, &index);
}

/* Not remembered: looks the service up and remembers it, or that there is none. */
__weak __noinline int stage_service(const struct packet *p)
{
	const struct weir_settings *set = settings_get();
	const struct weir_service *service;
	struct weir_recent *recent;
	union service_find find;

	if (!p || !set)
		return 0;
	service_key(&find, &p->flow);
	recent = recent_place(&find);
	if (!recent)
		return 0;
	recent->key = find.key;
	recent->version = set->services_version;
	recent->since = bpf_jiffies64() >> RECENT_SHIFT;
	service = service_find(&p->flow, set);
	if (service)
		recent->service = *service;
	recent->found = service != NULL;
	return 0;
}

/* The packet's service, or NULL. The look-up in the hash, two for what is not ours, was a third of a
 * packet's cost: 12 of 40 ns, 27 with two. What a CPU found lately lies in its first-level cache. It is
 * forgotten when services change; and after a moment, for people who change them by hand and do not
 * say so. */
static __always_inline const struct weir_service *service_recall(const struct packet *p,
								const struct weir_settings *set)
{
	struct weir_recent *recent;
	union service_find find;

	service_key(&find, &p->flow);
	recent = recent_place(&find);
	if (!recent)
		return NULL;
	if (unlikely(!set->services_version || recent->version != set->services_version ||
		     *(__u64 *)&recent->key.addr[0] != find.address[0] ||
		     *(__u64 *)&recent->key.addr[2] != find.address[1] ||
		     *(__u32 *)&recent->key.port != find.word[4] ||
		     recent->since != (__u32)(bpf_jiffies64() >> RECENT_SHIFT)))
		stage_service(p);
	return recent->found ? &recent->service : NULL;
}

/* A service that has the destination as an address, whatever the protocol, or NULL. */
static __always_inline const struct weir_service *service_address(const struct weir_flow *flow)
{
	struct weir_service_key key = {
		.proto = flow->family == WEIR_FAMILY_4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.family = flow->family,
	};
	const struct weir_service *service;

	copy_address(key.addr, flow->dest);
	service = bpf_map_lookup_elem(&services, &key);
	return service || !prefixes_on(settings_get()) ? service : prefix_find(flow, key.proto, 0);
}

static __always_inline bool backend_is_up(__u32 index)
{
	const struct weir_backend *backend = bpf_map_lookup_elem(&backends, &index);

	return backend && backend->family && !(backend->flags & WEIR_BACKEND_DOWN);
}

/* What was remembered may outlive a backend, whose index is then another service's. service: number + 1. */
static __always_inline bool backend_is_of(__u32 index, __u32 service)
{
	const struct weir_backend *backend = bpf_map_lookup_elem(&backends, &index);

	return backend && backend->family && backend->service + 1 == service;
}

static __always_inline __u16 note_find(void *map, const struct packet *p,
				       const struct weir_flow *flow, __u16 since)
{
	const struct weir_note *note = bpf_map_lookup_elem(map, flow);

	if (!note || note->since != since || !backend_is_up(note->backend) ||
	    !backend_is_of(note->backend, p->service))
		return 0;
	return note->backend;
}

static __always_inline bool is_new_connection(const struct packet *p)
{
	return p->flow.proto == IPPROTO_TCP && !p->quoted &&
	       (p->tcp_flags & (TCP_FLAG_BYTE_SYN | TCP_FLAG_BYTE_ACK)) == TCP_FLAG_BYTE_SYN;
}

/* Sticky UDP has no SYN: flows first seen soon after the slot moved are taken for old ones, later
 * ones for new; each is noted. */
static __always_inline __u16 transition_udp(const struct packet *p, const struct weir_flow *flow,
					    const struct weir_slot *slot, __u32 now)
{
	const struct weir_settings *set = settings_get();
	__u16 learn = set && set->udp_learn_s ? set->udp_learn_s : UDP_LEARN_SECONDS;
	struct weir_note note = { .since = slot->since };
	__u16 noted = note_find(&notes, p, flow, slot->since);

	if (noted)
		return noted;
	/* The program's clock is a tick behind the agent's: `since` may be a second ahead of it. */
	if ((__u16)(now - slot->since + 1) <= learn && backend_is_up(slot->previous))
		note.backend = slot->previous;
	else
		note.backend = slot->current;
	if (!p->quoted)
		bpf_map_update_elem(&notes, flow, &note, BPF_ANY);
	return note.backend;
}

static __always_inline __u16 reported_find(const struct packet *p, const struct weir_flow *flow, __u16 since)
{
	const struct weir_settings *set = settings_get();

	return set && (set->on & WEIR_ON_FEEDBACK) ? note_find(&reported, p, flow, since) : 0;
}

/* A SYN is noted, but where it goes without a note, too. An earlier connection from its port has ended. */
static __always_inline __u16 transition_new(const struct packet *p, const struct weir_flow *flow,
					    const struct weir_slot *slot)
{
	struct weir_note note = { .backend = slot->current, .since = slot->since };

	if (reported_find(p, flow, slot->since))
		bpf_map_delete_elem(&reported, flow);
	if (slot->previous != slot->current)
		bpf_map_update_elem(&half_open, flow, &note, BPF_ANY);
	return note.backend;
}

static __always_inline __u16 transition_tcp(const struct packet *p, const struct weir_flow *flow,
					    const struct weir_slot *slot)
{
	struct weir_note note = { .since = slot->since };

	note.backend = note_find(&notes, p, flow, slot->since);
	if (note.backend)
		return note.backend;
	if (is_new_connection(p))
		return transition_new(p, flow, slot);
	note.backend = note_find(&half_open, p, flow, slot->since);
	if (!note.backend)
		note.backend = reported_find(p, flow, slot->since);
	else if (!p->quoted) {
		bpf_map_update_elem(&notes, flow, &note, BPF_ANY);
		bpf_map_delete_elem(&half_open, flow);
	}
	if (!note.backend)
		return backend_is_up(slot->previous) ? slot->previous : slot->current;
	return note.backend;
}

/* Returns the backend of a flow whose slot is in transition. */
__weak __noinline int stage_transition(const struct packet *p, struct weir_slot *slot)
{
	__u32 now = bpf_ktime_get_coarse_ns() / NANOSECONDS;
	struct weir_flow flow;
	__u16 backend;

	if (!p || !slot)
		return 0;
	flow = p->flow; /* 6.1 takes map keys from the stack, not from a function's argument */
	if (p->encap == WEIR_ENCAP_NAT) /* the translation keeps flows where they are */
		return slot->current;
	if (p->flow.proto == IPPROTO_TCP)
		backend = transition_tcp(p, &flow, slot);
	else if (p->service_flags & WEIR_SERVICE_UDP_STICKY)
		backend = transition_udp(p, &flow, slot, now);
	else
		return slot->current;
	if (backend != slot->current && slot->elsewhere != now)
		slot->elsewhere = now;
	return backend;
}

/* The slot's backend is down: another of its owners, newest first, or 0. */
__weak __noinline int stage_rescue(const struct weir_slot *slot)
{
	if (!slot)
		return 0;
	if (backend_is_up(slot->current))
		return slot->current;
	for (int i = 0; i < WEIR_OWNERS; i++)
		if (slot->owners[i] && backend_is_up(slot->owners[i]))
			return slot->owners[i];
	return 0;
}

/* What leads to the slot; p->hash is the flow's all the same, for the outer header. */
static __always_inline __u32 slot_hash(const struct packet *p)
{
	return p->service_flags & WEIR_SERVICE_ADDRESSES ? weir_address_hash(&p->flow) : p->hash;
}

/* Current, previous and the two newest earlier owners as they were at one moment: the agent writes them
 * in one 64-bit store. */
union slot_head {
	__u64 word;
	__u16 index[4];
};

static __always_inline union slot_head slot_read(const struct weir_slot *slot)
{
	return (union slot_head){ .word = *(const volatile __u64 *)slot };
}

__weak __noinline int stage_two(const struct packet *p, int own);

/* Sets p->service, p->slot, p->backend and *to, its entry, or leaves. */
static __always_inline int balance(struct packet *p, const struct weir_settings *set,
				   const struct weir_backend **to)
{
	const struct weir_service *service = service_recall(p, set);
	const struct weir_backend *backend;
	struct weir_slot *slot;
	union slot_head head;
	__u32 index;
	int rc;

	if (!service)
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	p->service = service->number + 1;
	p->service_flags = service->flags;
	p->encap = service->encap;
	rc = filter_limit(p, set);
	if (rc != CONTINUE)
		return rc;
	p->hash = weir_flow_hash(&p->flow);
	index = service->first + weir_flow_slot(slot_hash(p), service->slots);
	slot = service->slots ? bpf_map_lookup_elem(&slots, &index) : NULL;
	if (!slot)
		return leave(p, XDP_DROP, WEIR_REASON_NO_BACKEND);
	p->slot = index + 1;
	head = slot_read(slot);
	index = head.index[0];
	if (unlikely(head.index[1]))
		index = stage_transition(p, slot) & 0xffff;
	p->owned = head.index[2] != 0;
	if (unlikely(p->service_flags & WEIR_SERVICE_TWO)) {
		p->other = 1 + service->first + weir_second_slot(slot_hash(p), service->slots);
		p->owned = 1;
		index = stage_two(p, index) & 0xffff;
	}
	backend = bpf_map_lookup_elem(&backends, &index);
	if (!index || !backend || !backend->family)
		return leave(p, XDP_DROP, WEIR_REASON_NO_BACKEND);
	if (unlikely(backend->flags & WEIR_BACKEND_DOWN)) {
		index = stage_rescue(slot) & 0xffff;
		backend = bpf_map_lookup_elem(&backends, &index);
		if (!index || !backend)
			return leave(p, XDP_DROP, WEIR_REASON_BACKEND_DOWN);
	}
	p->backend = index;
	*to = backend;
	return CONTINUE;
}

#endif
