/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * nat.h -- flows to backends that run nothing of ours: which port of which NAT address is whose
 * (abi/nat.h), and both ways through. What is done to the bytes stands in rewrite.h.
 *
 * A flow keeps its backend as long as its entry lives, whatever its slot does. A port is taken for
 * a new flow from the CPU's own range: the first one free or expired of those next in turn, else of
 * some anywhere in it, else the least useful of these is taken away from its flow. Then
 *
 *  - the entry's generation differs, and who holds the old one finds nothing;
 *  - replies must come from the backend and port of the new flow;
 *  - where these are the old flow's, too: UDP ports are not taken, and of a TCP connection nothing
 *    is let through but an answer to the new client's own SYN, until the handshake is complete.
 */
#ifndef WEIR_BPF_NAT_H
#define WEIR_BPF_NAT_H

#include "bpf/abi/nat.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_nat);
	__uint(max_entries, 1);
} nat_conf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct weir_nat_place);
	__type(value, __u32);
	__uint(max_entries, WEIR_NAT_PLACES);
} nat_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct weir_nat_entry);
	__uint(max_entries, WEIR_NAT_PORTS_MAX);
} nat_ports SEC(".maps");

/* As large as nat_ports: each flow in it has an entry there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct weir_flow);
	__type(value, struct weir_nat_flow);
	__uint(max_entries, WEIR_NAT_PORTS_MAX);
} nat_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_nat_cursor);
	__uint(max_entries, 2);
} nat_cursors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct weir_fragment_key);
	__type(value, struct weir_nat_flow);
	__uint(max_entries, WEIR_NAT_FRAGMENTS_MAX);
} nat_fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_count);
	__uint(max_entries, 16);
} nat_counts SEC(".maps");

#include "bpf/rewrite.h"
#include "bpf/nat_tcp.h"

#define NAT_LOOKS      256 /* entries in a row that are looked at for a new flow, at most */
#define NAT_LOOKS_FAR  128 /* and then here and there: those in use for long lie close together */
#define NAT_LOOKS_FEW  16  /* and when a half-open or closing one was among them */

static __always_inline void nat_count(__u32 which)
{
	struct weir_count *c = bpf_map_lookup_elem(&nat_counts, &which);

	if (c)
		c->packets++;
}

static __always_inline __u32 nat_now(void)
{
	return bpf_ktime_get_coarse_ns() / NANOSECONDS;
}

static __always_inline bool flow_equal(const struct weir_flow *a, const struct weir_flow *b)
{
	const __u64 *x = (const void *)a, *y = (const void *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]));
}

/* The head and the flow of one and the same generation; false: it is changing. */
static __always_inline bool nat_read(struct weir_nat_entry *e, struct weir_flow *flow, __u64 *head)
{
	__u64 before = *(volatile __u64 *)&e->head;

	if (before & WEIR_NAT_BUSY)
		return false;
	*flow = e->flow;
	asm volatile("" : : : "memory");
	*head = before;
	/* An atomic operation is a full barrier on every machine. */
	return (__sync_fetch_and_add(&e->head, 0) ^ before) >> 32 == 0;
}

/* Notes a packet, unless the entry changed meanwhile: false. Most packets find nothing to write. */
static __always_inline bool nat_touch(struct weir_nat_entry *e, __u64 head, __u32 now, __u8 state, bool write)
{
	__u64 news = (head & ~0xffffffffULL) | (__u64)(now & 0xffffff) << 8 | state;

	return (news == head && !write) || __sync_val_compare_and_swap(&e->head, head, news) == head;
}

/* The same for a segment of TCP, and what was learned of its numbers. */
static __always_inline void nat_touch_tcp(struct weir_nat_entry *e, __u64 head, const struct nat_tcp *t)
{
	bool moved = t->next[0] != t->had[0] || t->next[1] != t->had[1];

	/* Numbers are written by who wrote the head last: another's FIN of this moment would be lost. */
	if (!nat_touch(e, head, nat_now(), t->state, moved))
		return;
	if (t->next[0] != t->had[0])
		e->next[0] = t->next[0];
	if (t->next[1] != t->had[1])
		e->next[1] = t->next[1];
}

/* ---- the way there --------------------------------------------------------------------------------- */
static __always_inline const struct weir_backend *nat_backend(const struct weir_nat_entry *e)
{
	__u32 index = e->backend;
	const struct weir_backend *backend = bpf_map_lookup_elem(&backends, &index);

	return backend && backend->family && (__u32)backend->id == e->id ? backend : NULL;
}

/* From the NAT address and port of entry `index` to the backend. */
static __always_inline bool nat_way_out(struct nat_way *way, const struct weir_nat_entry *e,
					__u32 index, const struct weir_backend *backend)
{
	__u32 zero = 0, place = index >> 16 & (WEIR_NAT_PLACES - 1);
	const struct weir_nat *nat = bpf_map_lookup_elem(&nat_conf, &zero);

	if (!nat || nat->place[place].family != backend->family)
		return false;
	copy_address(way->source, nat->place[place].addr);
	copy_address(way->dest, backend->addr);
	way->source_port = bpf_htons(index & 0xffff);
	way->dest_port = e->port;
	return true;
}

/* Where the first fragment of a packet went, for the later ones. */
__weak __noinline int stage_nat_note(const struct packet *p, int index, int generation)
{
	struct weir_nat_flow value = { .index = index, .generation = generation };
	struct weir_fragment_key key = {};

	if (!p)
		return 0;
	fragment_key(&key, p);
	return bpf_map_update_elem(&nat_fragments, &key, &value, BPF_ANY);
}

/* Finds the entry of a client's packet: sets *way and p->backend and returns 1, or 0. What begins
 * anew (a SYN, any datagram) does not find one whose backend is down. */
__weak __noinline int stage_nat_find(struct xdp_md *ctx, struct packet *p, struct nat_way *way)
{
	const struct weir_backend *backend;
	const struct weir_nat_flow *at;
	struct weir_nat_entry *e;
	struct weir_flow flow, had;
	struct nat_tcp t;
	__u32 index, generation;
	__u64 head;

	if (!p || !way)
		return 0;
	flow = p->flow;
	at = bpf_map_lookup_elem(&nat_flows, &flow);
	if (!at)
		return 0;
	index = at->index;
	generation = at->generation;
	e = bpf_map_lookup_elem(&nat_ports, &index);
	if (!e || !nat_read(e, &had, &head) || head >> 32 != generation || !flow_equal(&had, &flow))
		return 0;
	backend = nat_backend(e);
	if (!backend || !nat_way_out(way, e, index, backend))
		return 0;
	if ((backend->flags & WEIR_BACKEND_DOWN) && !p->quoted &&
	    (flow.proto == IPPROTO_UDP || is_new_connection(p)))
		return 0;
	p->backend = e->backend;
	if (p->quoted)
		return 1;
	if (flow.proto == IPPROTO_TCP) {
		if (!nat_tcp_read(ctx, p, e, head, &t))
			return 0;
		nat_track_client(&t, head);
		nat_touch_tcp(e, head, &t);
	} else {
		nat_touch(e, head, nat_now(), (__u8)head, false);
	}
	if (p->fragment == FRAGMENT_FIRST)
		stage_nat_note(p, index, generation);
	return 1;
}

/* The same for a later fragment, of either direction: the way of its first one is not turned. */
static __always_inline struct weir_nat_entry *nat_fragment(const struct packet *p, __u32 *index)
{
	struct weir_fragment_key key = {};
	const struct weir_nat_flow *first;
	struct weir_nat_entry *e;

	fragment_key(&key, p);
	first = bpf_map_lookup_elem(&nat_fragments, &key);
	if (!first)
		return NULL;
	*index = first->index;
	e = bpf_map_lookup_elem(&nat_ports, index);
	return e && e->head >> 32 == first->generation ? e : NULL;
}

__weak __noinline int stage_nat_later(struct packet *p, struct nat_way *way)
{
	const struct weir_backend *backend;
	struct weir_nat_entry *e;
	__u32 index;

	if (!p || !way)
		return 0;
	e = nat_fragment(p, &index);
	if (!e)
		return 0;
	backend = nat_backend(e);
	if (!backend || !nat_way_out(way, e, index, backend))
		return 0;
	p->backend = e->backend;
	return 1;
}

/* ---- a port for a new flow ---------------------------------------------------------------------------- */
struct nat_search {
	__u32 now, id;
	__u16 backend, address, offset; /* where it looks */
	__be16 port;
	__u16 base;		        /* first port of the CPU's range */
	__u8 family;			/* 0: IPv4, 1: IPv6 */
	__u8 proto;
	__u32 score;			/* of the best so far; 0: none */
	__u32 best;			/* its index, and where to look on after it */
	__u16 next_address, next_offset;
};

#define NAT_FREE      (1u << 31)
#define NAT_CLOSING   (1u << 27)
#define NAT_HALF_OPEN (1u << 26)

/* How well an entry can be missed: NAT_FREE, or a score that grows with its idle time, 0: not at
 * all. */
static __always_inline __u32 nat_score(const struct weir_nat *nat, const struct nat_search *s,
				       struct weir_nat_entry *e)
{
	bool same = e->backend == s->backend && e->port == s->port && e->id == s->id &&
		    e->flow.proto == s->proto;
	__u64 head = e->head;
	__u32 idle = weir_nat_idle(head, s->now);
	__u32 life = weir_nat_life(nat, e->flow.proto, head);

	if (!e->flow.proto)
		return NAT_FREE;
	if (e->flow.proto != IPPROTO_TCP)
		return idle >= life ? NAT_FREE : same ? 0 : idle + 1;
	if (weir_nat_closing(head)) {
		if (idle >= (same ? nat->reuse_s : life))
			return NAT_FREE;
		return NAT_CLOSING + idle;
	}
	if (idle >= life)
		return NAT_FREE;
	if (!(head & WEIR_NAT_OPEN))
		return NAT_HALF_OPEN + idle;
	/* Anybody can send datagrams in any number and name: they end no connection. */
	return s->proto == IPPROTO_TCP ? idle + 1 : 0;
}

/* On its own: the verifier goes through the search's step until nothing is new in it. */
__weak __noinline int stage_nat_score(const struct nat_search *s, int at)
{
	__u32 zero = 0, index = at;
	const struct weir_nat *nat = bpf_map_lookup_elem(&nat_conf, &zero);
	struct weir_nat_entry *e = bpf_map_lookup_elem(&nat_ports, &index);

	return s && nat && e ? (int)nat_score(nat, s, e) : 0;
}

/* The next look is at any entry of the range. */
static __always_inline void nat_far(const struct weir_nat *nat, struct nat_search *s)
{
	__u32 any = bpf_get_prandom_u32();

	s->address = (any >> 16) % (s->family ? nat->count[1] : nat->count[0]);
	s->offset = (any & 0xffff) % nat->ports;
}

/* A step of the search; 1 ends it. */
static long nat_look(__u32 i, void *data)
{
	__u32 zero = 0, index, score, at;
	const struct weir_nat *nat = bpf_map_lookup_elem(&nat_conf, &zero);
	struct nat_search *s = data;

	if (!nat)
		return 1;
	if (i >= NAT_LOOKS)
		nat_far(nat, s);
	at = s->address & (WEIR_NAT_PLACES - 1);
	at = s->family ? nat->list[1][at] : nat->list[0][at];
	index = at << 16 | (__u16)(s->base + s->offset);
	s->offset++;
	if (s->offset >= nat->ports) {
		s->offset = 0;
		s->address++;
		if (s->address >= (s->family ? nat->count[1] : nat->count[0]))
			s->address = 0;
	}
	score = stage_nat_score(s, index);
	if (score > s->score) {
		s->score = score;
		s->best = index;
		s->next_address = s->address;
		s->next_offset = s->offset;
	}
	return s->score >= NAT_FREE || (i >= NAT_LOOKS_FEW && s->score > NAT_HALF_OPEN);
}

/* Sets s->best and s->score, and moves the CPU's cursor behind it. */
static __always_inline bool nat_search_port(struct nat_search *s)
{
	__u32 zero = 0, family = s->family & 1, total;
	const struct weir_nat *nat = bpf_map_lookup_elem(&nat_conf, &zero);
	struct weir_nat_cursor *cursor = bpf_map_lookup_elem(&nat_cursors, &family);

	if (!nat || !cursor || !nat->ports || !nat->cpus)
		return false;
	total = nat->ports * (family ? nat->count[1] : nat->count[0]);
	s->base = nat->first + bpf_get_smp_processor_id() % nat->cpus * nat->ports;
	s->address = cursor->address;
	s->offset = cursor->offset;
	if (s->address >= (family ? nat->count[1] : nat->count[0]) || s->offset >= nat->ports)
		s->address = s->offset = 0; /* the configuration changed */
	bpf_loop(total <= NAT_LOOKS ? total : NAT_LOOKS + NAT_LOOKS_FAR, nat_look, s, 0);
	if (!s->score)
		return false;
	/* Behind a free one there may be others; where there was none the search need not return. */
	cursor->address = s->score == NAT_FREE ? s->next_address : s->address;
	cursor->offset = s->score == NAT_FREE ? s->next_offset : s->offset;
	return true;
}

/* The flow that had the entry forgets it. */
static __always_inline void nat_forget(struct weir_nat_entry *e, __u32 index)
{
	const struct weir_nat_flow *at;
	struct weir_flow had = e->flow;

	at = bpf_map_lookup_elem(&nat_flows, &had);
	if (at && at->index == index)
		bpf_map_delete_elem(&nat_flows, &had);
}

/* Gives the flow of *p, which goes to p->backend, a port: 0, or a reason. */
__weak __noinline int stage_nat_take(struct packet *p)
{
	struct nat_search s = {};
	struct weir_nat_flow at;
	struct weir_nat_entry *e;
	const struct weir_backend *backend;
	const struct weir_service *service;
	struct weir_flow flow;
	__u32 index;

	if (!p)
		return WEIR_REASON_NAT_FULL;
	index = p->backend;
	backend = bpf_map_lookup_elem(&backends, &index);
	service = service_find(&p->flow, settings_get());
	if (!backend || !service || backend->family != p->flow.family)
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROUTE);
	s.now = nat_now();
	s.backend = p->backend;
	s.id = (__u32)backend->id;
	s.port = service->port ? service->port : p->flow.dest_port;
	s.proto = p->flow.proto;
	s.family = p->flow.family == WEIR_FAMILY_6;
	e = nat_search_port(&s) ? bpf_map_lookup_elem(&nat_ports, &s.best) : NULL;
	if (!e) {
		nat_count(WEIR_NAT_COUNT_FULL);
		return leave(p, XDP_DROP, WEIR_REASON_NAT_FULL);
	}
	if (e->flow.proto)
		nat_forget(e, s.best);
	at.index = s.best;
	at.generation = (__u32)(e->head >> 32) + 1;
	/* Nobody else takes from this CPU's range; others may read meanwhile. */
	__sync_lock_test_and_set(&e->head, (__u64)at.generation << 32 | WEIR_NAT_BUSY);
	flow = p->flow;
	e->flow = flow;
	e->backend = s.backend;
	e->id = s.id;
	e->port = s.port;
	e->next[0] = e->next[1] = 0;
	__sync_lock_test_and_set(&e->head, (__u64)at.generation << 32 | (__u64)(s.now & 0xffffff) << 8);
	if (bpf_map_update_elem(&nat_flows, &flow, &at, BPF_ANY)) {
		nat_count(WEIR_NAT_COUNT_FULL);
		return leave(p, XDP_DROP, WEIR_REASON_NAT_FULL);
	}
	nat_count(WEIR_NAT_COUNT_OPENED);
	if (s.score < NAT_FREE)
		nat_count(WEIR_NAT_COUNT_EVICTED);
	return 0;
}

/* ---- both ways ------------------------------------------------------------------------------------------ */
static __always_inline bool nat_opens(const struct packet *p)
{
	if (p->quoted || p->fragment == FRAGMENT_LATER)
		return false;
	return p->flow.proto == IPPROTO_UDP || is_new_connection(p);
}

/* Sets *way for the client's packet, whose slot says p->backend: CONTINUE, or a reason. */
static __always_inline int nat_prepare(struct xdp_md *ctx, struct packet *p, struct nat_way *way)
{
	int found, rc;

	found = p->fragment == FRAGMENT_LATER ? stage_nat_later(p, way) : stage_nat_find(ctx, p, way);
	if (found)
		return CONTINUE;
	if (!nat_opens(p))
		return leave(p, XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
	rc = stage_nat_take(p);
	if (rc)
		return rc;
	if (!stage_nat_find(ctx, p, way))
		return leave(p, XDP_DROP, WEIR_REASON_NAT_FULL);
	return CONTINUE;
}

/* A client's packet to a backend behind NAT. */
__weak __noinline int stage_nat(struct xdp_md *ctx, struct packet *p, int reason)
{
	const struct weir_backend *backend;
	struct nat_way way = {};
	struct ethhdr *eth;
	__u32 index;
	__u16 mtu;
	int rc;

	if (!p)
		return WEIR_REASON_NAT_FULL;
	index = p->backend;
	backend = bpf_map_lookup_elem(&backends, &index);
	if (backend && (backend->flags & WEIR_BACKEND_LOCAL))
		return leave(p, XDP_PASS, WEIR_REASON_LOCAL);
	rc = nat_prepare(ctx, p, &way);
	if (rc != CONTINUE)
		return rc;
	index = p->backend;
	backend = bpf_map_lookup_elem(&backends, &index);
	if (!backend)
		return leave(p, XDP_DROP, WEIR_REASON_NO_BACKEND);
	mtu = way_mtu(settings_get(), backend);
	if (p->ip_bytes > mtu)
		return stage_too_big(ctx, p, mtu);
	rc = stage_rewrite(ctx, p, &way);
	if (rc != CONTINUE)
		return rc;
	if (reason == WEIR_REASON_FORWARDED)
		reason = WEIR_REASON_TRANSLATED;
	if (!backend->ifindex)
		return stage_route(ctx, p, reason);
	eth = packet_data(ctx);
	if ((void *)(eth + 1) > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_TRUNCATED);
	__builtin_memcpy(eth->h_dest, backend->mac, sizeof(eth->h_dest));
	__builtin_memcpy(eth->h_source, backend->source_mac, sizeof(eth->h_source));
	way_tag(p, backend);
	return leave(p, output(ctx, backend->ifindex), reason);
}

/* The entry that a packet to a NAT address is for, when it comes from the entry's backend. */
static __always_inline struct weir_nat_entry *nat_entry_of(const struct packet *p, __u32 place,
							   __u32 *index)
{
	const struct weir_backend *backend;
	struct weir_nat_entry *e;

	if (p->fragment == FRAGMENT_LATER)
		return nat_fragment(p, index);
	*index = place << 16 | bpf_ntohs(p->flow.dest_port);
	e = bpf_map_lookup_elem(&nat_ports, index);
	if (!e || e->flow.proto != p->flow.proto || e->port != p->flow.source_port)
		return NULL;
	backend = nat_backend(e);
	if (!backend || !address_equal(backend->addr, p->flow.source))
		return NULL;
	return e;
}

/* What a backend, or a router on the way to it, sent to a NAT address: sets *way to the client. 1,
 * or 0: not for a flow that is known. */
__weak __noinline int stage_nat_back(struct xdp_md *ctx, struct packet *p, struct nat_way *way)
{
	struct weir_nat_place key = {};
	struct weir_nat_entry *e;
	struct weir_flow flow;
	struct nat_tcp t;
	const __u32 *place;
	__u32 index;
	__u64 head;

	if (!p || !way)
		return 0;
	copy_address(key.addr, p->flow.dest);
	key.family = p->flow.family;
	place = bpf_map_lookup_elem(&nat_addresses, &key);
	e = place ? nat_entry_of(p, *place, &index) : NULL;
	if (!e || !nat_read(e, &flow, &head))
		return 0;
	if (flow.proto == IPPROTO_TCP && !p->quoted && p->fragment != FRAGMENT_LATER) {
		if (!nat_tcp_read(ctx, p, e, head, &t))
			return 0;
		if (!nat_track_backend(&t)) {
			nat_count(WEIR_NAT_COUNT_STRANGE);
			return 0;
		}
		nat_touch_tcp(e, head, &t);
	} else if (!p->quoted) {
		nat_touch(e, head, nat_now(), (__u8)head, false);
	}
	if (p->fragment == FRAGMENT_FIRST && !p->quoted)
		stage_nat_note(p, index, head >> 32);
	copy_address(way->source, flow.dest);
	copy_address(way->dest, flow.source);
	way->source_port = flow.dest_port;
	way->dest_port = flow.source_port;
	return 1;
}

__weak __noinline int stage_returned(struct xdp_md *ctx, struct packet *p)
{
	struct nat_way way = {};
	int rc;

	if (!p)
		return WEIR_REASON_NOT_OURS;
	if (!stage_nat_back(ctx, p, &way))
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	rc = stage_rewrite(ctx, p, &way);
	return rc == CONTINUE ? stage_route(ctx, p, WEIR_REASON_RETURNED) : rc;
}

/* Whatever is no service's may be a reply to a NAT address. */
static __always_inline int returned(struct xdp_md *ctx, struct packet *p,
				    const struct weir_settings *set, int reason)
{
	if (reason != WEIR_REASON_NOT_OURS || !(set->on & WEIR_ON_NAT))
		return reason;
	return stage_returned(ctx, p);
}

#endif
