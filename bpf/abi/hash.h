/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * hash.h -- from a flow to its slot; the same in every balancer, or flows would break when routers
 * move them from one to another.
 *
 * Each 64-bit word is multiplied in by the golden ratio and its high half folded down; multiply and
 * shift then gives slots without a division (D. Lemire, "Fast Random Integer Generation", 2019).
 */
#ifndef WEIR_ABI_HASH_H
#define WEIR_ABI_HASH_H

#include "bpf/abi/maps.h"

static inline __attribute__((always_inline)) __u64 weir_hash_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 32);
}

static inline __attribute__((always_inline)) __u32 weir_flow_hash(const struct weir_flow *f)
{
	__u64 hash = 0x5765697200000000ULL | f->proto;

	hash = weir_hash_mix(hash, f->source[0] | (__u64)f->dest[0] << 32);
	if (f->family == WEIR_FAMILY_6) {
		hash = weir_hash_mix(hash, f->source[1] | (__u64)f->dest[1] << 32);
		hash = weir_hash_mix(hash, f->source[2] | (__u64)f->dest[2] << 32);
		hash = weir_hash_mix(hash, f->source[3] | (__u64)f->dest[3] << 32);
	}
	hash = weir_hash_mix(hash, f->source_port | (__u64)f->dest_port << 16);
	return (__u32)weir_hash_mix(hash, hash >> 29);
}

/* The same without ports and protocol, for services with WEIR_SERVICE_ADDRESSES. */
static inline __attribute__((always_inline)) __u32 weir_address_hash(const struct weir_flow *f)
{
	struct weir_flow bare = *f;

	bare.source_port = 0;
	bare.dest_port = 0;
	bare.proto = 0;
	return weir_flow_hash(&bare);
}

/* Which of a service's slots, counted from its first. */
static inline __attribute__((always_inline)) __u32 weir_flow_slot(__u32 hash, __u32 slots)
{
	return (__u32)(((__u64)hash * slots) >> 32);
}

#endif
