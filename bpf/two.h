/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * two.h -- of two candidates a SYN takes the less loaded (abi/two.h).
 *
 * A flow that leaves its slot's backend is noted and stays where it went, whatever the slot does, as
 * long as the note lives: the table is an LRU, and each packet of the flow renews it. When a note is
 * lost, or another balancer gets the flow, its packets come to the slot's backend, which does not know
 * the connection and passes it on: the second candidate is among the owners named in the GUE header.
 * That finds the flow unless the second slot has moved since.
 */
#ifndef WEIR_BPF_TWO_H
#define WEIR_BPF_TWO_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, WEIR_BACKENDS_MAX);
} backend_loads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct weir_flow);
	__type(value, struct weir_note);
	__uint(max_entries, WEIR_KEPT_MAX);
} kept SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct weir_flow);
	__type(value, struct weir_note);
	__uint(max_entries, WEIR_HALF_OPEN_MAX);
} kept_half SEC(".maps");

static __always_inline __u32 load_get(__u32 index)
{
	const __u32 *load = bpf_map_lookup_elem(&backend_loads, &index);

	return load ? *load : 0;
}

static __always_inline __u16 kept_find(void *map, const struct packet *p, const struct weir_flow *flow)
{
	const struct weir_note *note = bpf_map_lookup_elem(map, flow);

	if (!note || !backend_is_up(note->backend) || !backend_is_of(note->backend, p->service))
		return 0;
	return note->backend;
}

/* The second candidate, when it is the better one; else 0. */
static __always_inline __u16 two_better(const struct packet *p, __u32 own)
{
	__u32 index = p->other - 1;
	const struct weir_slot *slot = bpf_map_lookup_elem(&slots, &index);

	if (!slot || !slot->current || slot->current == own || !backend_is_up(slot->current))
		return 0;
	return weir_load_less(load_get(slot->current), load_get(own)) ? slot->current : 0;
}

static __always_inline int two_new(const struct packet *p, const struct weir_flow *flow, __u32 own)
{
	struct weir_note note = { .backend = kept_find(&kept_half, p, flow) };

	if (note.backend) /* the SYN again */
		return note.backend;
	/* An earlier connection from the same port has ended. */
	if (bpf_map_lookup_elem(&kept, flow))
		bpf_map_delete_elem(&kept, flow);
	note.backend = two_better(p, own);
	if (!note.backend)
		return own;
	/* A translation keeps its flow by itself. */
	if (p->encap != WEIR_ENCAP_NAT)
		bpf_map_update_elem(&kept_half, flow, &note, BPF_ANY);
	return note.backend;
}

/* Where a TCP packet goes whose slot says `own`. */
__weak __noinline int stage_two(const struct packet *p, int own)
{
	struct weir_note note = {};
	struct weir_flow flow;

	if (!p || p->flow.proto != IPPROTO_TCP)
		return own;
	flow = p->flow; /* 6.1 takes map keys from the stack, not from a function's argument */
	if (is_new_connection(p))
		return two_new(p, &flow, own);
	note.backend = kept_find(&kept, p, &flow);
	if (note.backend)
		return note.backend;
	note.backend = kept_find(&kept_half, p, &flow);
	if (!note.backend)
		return own;
	if (!p->quoted) {
		bpf_map_update_elem(&kept, &flow, &note, BPF_ANY);
		bpf_map_delete_elem(&kept_half, &flow);
	}
	return note.backend;
}

#endif
