/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * fragment.h -- later fragments carry no ports: they follow their first, which is remembered by
 * addresses, identification and, for IPv4, protocol (RFC 791; RFC 8200 section 4.5 leaves it out,
 * as a later fragment may name another next header).
 *
 * So fragments may come in any order after the first. One that comes before it is lost
 * (FRAGMENT_LOST), as no flow can be told from it and XDP cannot hold packets back; the sender
 * repeats the datagram. Only with `affinity: addresses` (WEIR_SERVICE_ADDRESSES) it is no matter:
 * the slot follows from what every fragment has.
 */
#ifndef WEIR_BPF_FRAGMENT_H
#define WEIR_BPF_FRAGMENT_H

static __always_inline void fragment_key(struct weir_fragment_key *key, const struct packet *p)
{
	key->id = p->fragment_id;
	key->proto = p->flow.family == WEIR_FAMILY_4 ? p->flow.proto : 0;
	key->family = p->flow.family;
	copy_address(key->source, p->flow.source);
	copy_address(key->dest, p->flow.dest);
}

/* Remembers where the first fragment went. */
static __always_inline void fragment_note(const struct packet *p)
{
	struct weir_fragment_key key = {};
	struct weir_fragment value = {
		.backend = p->backend,
		.encap = p->encap,
		.service = p->service,
	};

	fragment_key(&key, p);
	bpf_map_update_elem(&fragments, &key, &value, BPF_ANY);
}

/* The first is not known, but the slot is without it. While it moves, flows of one client may be at
 * two backends: then only the first fragment could tell. */
static __always_inline int fragment_by_addresses(struct packet *p,
						 const struct weir_service *service)
{
	const struct weir_slot *slot;
	union slot_head head;
	__u32 index;

	index = service->first + weir_flow_slot(weir_address_hash(&p->flow), service->slots);
	slot = service->slots ? bpf_map_lookup_elem(&slots, &index) : NULL;
	if (!slot)
		return leave(p, XDP_DROP, WEIR_REASON_NO_BACKEND);
	p->service = service->number + 1;
	p->encap = service->encap;
	head = slot_read(slot);
	p->backend = head.index[0];
	if (head.index[1])
		return leave(p, XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
	if (!backend_is_up(p->backend))
		p->backend = stage_rescue(slot);
	return p->backend ? CONTINUE : leave(p, XDP_DROP, WEIR_REASON_BACKEND_DOWN);
}

/* Later fragments: CONTINUE with p->backend set, or a reason. */
__weak __noinline int stage_fragment(struct packet *p)
{
	struct weir_fragment_key key = {};
	const struct weir_fragment *first;
	const struct weir_service *service;

	if (!p)
		return CONTINUE;
	p->hash = weir_flow_hash(&p->flow);
	fragment_key(&key, p);
	first = bpf_map_lookup_elem(&fragments, &key);
	if (first && backend_is_of(first->backend, first->service)) {
		p->service = first->service;
		if (!backend_is_up(first->backend)) /* no other has the first */
			return leave(p, XDP_DROP, WEIR_REASON_BACKEND_DOWN);
		p->backend = first->backend;
		p->encap = first->encap;
		return CONTINUE;
	}
	service = service_address(&p->flow);
	if (!service)
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	if (service->flags & WEIR_SERVICE_ADDRESSES)
		return fragment_by_addresses(p, service);
	return leave(p, XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

#endif
