/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * filter.h -- block and allow lists, and token buckets of sources' networks (abi/filter.h).
 *
 * Lists come right after parsing: filter_blocks() costs an ordinary packet a look at one bit of a table
 * (IPv6: two); the trie is asked only where an entry may cover the source. Limits come when the service is known and
 * before anything is remembered of the packet. An LRU table alone would be an open gate to a flood
 * of many sources, each new one with a full bucket: so new ones are limited as well, and what is
 * beyond shares one bucket.
 */
#ifndef WEIR_BPF_FILTER_H
#define WEIR_BPF_FILTER_H

#include "bpf/abi/filter.h"

/* Sizes, not types: clang 14 leaves out types that only an inner map's definition names. */
struct filter4_trie {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct weir_prefix4));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, WEIR_FILTER_MAX);
};

struct filter6_trie {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct weir_prefix));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, WEIR_FILTER_MAX);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
	__array(values, struct filter4_trie);
} filter4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
	__array(values, struct filter6_trie);
} filter6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, WEIR_HINT4_WORDS + WEIR_HINT6_WORDS);
} filter_hints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_limits);
	__uint(max_entries, 1);
} filter_limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct weir_bucket_key);
	__type(value, struct weir_bucket);
	__uint(max_entries, WEIR_BUCKETS_MAX);
} filter_buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_shared);
	__uint(max_entries, 1);
} filter_shared SEC(".maps");

/* ---- lists ------------------------------------------------------------------------------------ */

static __always_inline bool hint_is_set(__u32 bit)
{
	__u32 index = bit >> 6;
	const __u64 *word = bpf_map_lookup_elem(&filter_hints, &index);

	return word && *word >> (bit & 63) & 1;
}

/* May an entry cover the source? */
static __always_inline bool filter_may_know(const struct weir_flow *flow)
{
	__u32 first = bpf_ntohl(flow->source[0]);

	if (flow->family == WEIR_FAMILY_4)
		return hint_is_set(weir_hint4(first));
	return hint_is_set(weir_hint6(first, bpf_ntohl(flow->source[1]) >> 16)) ||
	       hint_is_set(weir_hint6(first, 0x10000));
}

/* What the lists say of the source: enum weir_verdict. */
__weak __noinline int stage_verdict(const struct packet *p)
{
	struct weir_prefix six = { .bits = 128 };
	struct weir_prefix4 four = { .bits = 32 };
	const __u32 *verdict = NULL;
	__u32 zero = 0;
	void *trie;

	if (!p)
		return WEIR_VERDICT_NONE;
	if (p->flow.family == WEIR_FAMILY_4) {
		four.addr = p->flow.source[0];
		trie = bpf_map_lookup_elem(&filter4, &zero);
		if (trie)
			verdict = bpf_map_lookup_elem(trie, &four);
	} else {
		copy_address(six.addr, p->flow.source);
		trie = bpf_map_lookup_elem(&filter6, &zero);
		if (trie)
			verdict = bpf_map_lookup_elem(trie, &six);
	}
	return verdict ? *verdict : WEIR_VERDICT_NONE;
}

static __always_inline bool filter_blocks(const struct packet *p, const struct weir_settings *set)
{
	return set->on & WEIR_ON_BLOCK && filter_may_know(&p->flow) &&
	       stage_verdict(p) == WEIR_VERDICT_BLOCK;
}

/* ---- limits ------------------------------------------------------------------------------------ */

/* Pays one packet from a bucket. Two CPUs at once may both pass with the last token: the excess is at
 * most a packet a CPU, and nobody waits. */
static __always_inline bool bucket_pay(__u64 *paid, const struct weir_limit *limit, __u64 now)
{
	__u64 until = *(volatile __u64 *)paid;

	if (until < now) {
		if (__sync_val_compare_and_swap(paid, until, now + limit->cost_ns) == until)
			return true;
		until = *(volatile __u64 *)paid;
	}
	if (until > now + limit->burst_ns)
		return false;
	__sync_fetch_and_add(paid, limit->cost_ns);
	return true;
}

static __always_inline void bucket_key(struct weir_bucket_key *key, const struct weir_flow *flow,
				       const struct weir_limits *limits)
{
	__u64 mask, high;

	key->family = flow->family;
	if (flow->family == WEIR_FAMILY_4) {
		mask = ~0ULL << (32 - (limits->bits4 & 31));
		if (limits->bits4 >= 32)
			mask = ~0ULL;
		key->addr[0] = flow->source[0] & bpf_htonl((__u32)mask);
		return;
	}
	high = (__u64)bpf_ntohl(flow->source[0]) << 32 | bpf_ntohl(flow->source[1]);
	mask = ~(~0ULL >> (limits->bits6 & 63));
	if (limits->bits6 >= 64)
		mask = ~0ULL;
	high &= mask;
	key->addr[0] = bpf_htonl((__u32)(high >> 32));
	key->addr[1] = bpf_htonl((__u32)high);
}

static __always_inline bool bucket_take(struct weir_bucket *b, __u32 class,
					const struct weir_limit *limit, __u64 now)
{
	if (bucket_pay(&b->paid[class], limit, now))
		return true;
	__sync_fetch_and_add(&b->dropped[class], 1);
	return false;
}

/* A prefix without an entry: makes one, full but for this packet, or sends it to the strangers. */
static __always_inline bool bucket_make(const struct weir_bucket_key *key, __u32 class,
					const struct weir_limits *limits, __u64 now)
{
	struct weir_bucket fresh = {};
	struct weir_shared *shared;
	__u32 zero = 0;

	shared = bpf_map_lookup_elem(&filter_shared, &zero);
	if (!shared)
		return true;
	if (limits->fresh.cost_ns && !bucket_pay(&shared->fresh, &limits->fresh, now))
		return bucket_take(&shared->strangers, class, &limits->of[class], now);
	fresh.paid[class] = now + limits->of[class].cost_ns;
	bpf_map_update_elem(&filter_buckets, key, &fresh, BPF_NOEXIST);
	__sync_fetch_and_add(&shared->made, 1);
	return true;
}

/* A packet for a service: is there a token for it? CONTINUE, or dropped. */
__weak __noinline int stage_limit(struct packet *p)
{
	__u32 zero = 0, class = WEIR_CLASS_SYN;
	const struct weir_limits *limits = bpf_map_lookup_elem(&filter_limits, &zero);
	struct weir_bucket_key key = {};
	struct weir_bucket *bucket;
	bool fine;
	__u64 now;

	if (!p || !limits)
		return CONTINUE;
	if (p->flow.proto == IPPROTO_UDP) {
		class = WEIR_CLASS_UDP;
		if (p->flow.dest_port == bpf_htons(53) && limits->of[WEIR_CLASS_DNS].cost_ns)
			class = WEIR_CLASS_DNS;
	}
	if (!limits->of[class].cost_ns)
		return CONTINUE;
	/* Without lists the bits are clear: this costs next to nothing. */
	if (filter_may_know(&p->flow) && stage_verdict(p) == WEIR_VERDICT_ALLOW)
		return CONTINUE;
	now = bpf_ktime_get_coarse_ns();
	bucket_key(&key, &p->flow, limits);
	bucket = bpf_map_lookup_elem(&filter_buckets, &key);
	fine = bucket ? bucket_take(bucket, class, &limits->of[class], now)
		      : bucket_make(&key, class, limits, now);
	if (fine)
		return CONTINUE;
	return leave(p, XDP_DROP,
		     class == WEIR_CLASS_SYN   ? WEIR_REASON_LIMITED_SYN
		     : class == WEIR_CLASS_UDP ? WEIR_REASON_LIMITED_UDP
					       : WEIR_REASON_LIMITED_DNS);
}

/* What a limit may be about. */
static __always_inline bool filter_counts(const struct packet *p)
{
	if (p->flow.proto == IPPROTO_UDP)
		return !p->quoted;
	return p->flow.proto == IPPROTO_TCP && !p->quoted && p->fragment != FRAGMENT_LATER &&
	       (p->tcp_flags & (TCP_FLAG_BYTE_SYN | TCP_FLAG_BYTE_ACK)) == TCP_FLAG_BYTE_SYN;
}

/* For a packet that has its service: CONTINUE, or dropped. */
static __always_inline int filter_limit(struct packet *p, const struct weir_settings *set)
{
	return set->on & WEIR_ON_LIMIT && filter_counts(p) ? stage_limit(p) : CONTINUE;
}

#endif
