/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * two.h -- two candidates at the SYN (WEIR_SERVICE_TWO): maps and the second slot.
 *
 * backend_loads: array by index of a backend, __u32: how loaded it is, WEIR_LOAD_FULL is full, 0 not
 * known. kept, kept_half: LRU hashes, struct weir_flow to struct weir_note (`since` unused): flows that
 * went to another backend than their slot's, and where; kept_half holds them until the handshake is
 * complete, so that a SYN flood forgets no established one.
 */
#ifndef WEIR_ABI_TWO_H
#define WEIR_ABI_TWO_H

#include "bpf/abi/hash.h"

#define WEIR_LOAD_FULL 65536u
#define WEIR_KEPT_MAX  131072u

/* The service's slot whose backend is the second candidate, from the hash that leads to the first. */
static inline __attribute__((always_inline)) __u32 weir_second_slot(__u32 hash, __u32 slots)
{
	return weir_flow_slot((__u32)weir_hash_mix(0x74776f00ULL, hash), slots);
}

/* Worth leaving the slot's own backend: clearly less loaded, so that small differences, which are as
 * old as the last check, do not send everybody across. */
static inline __attribute__((always_inline)) int weir_load_less(__u32 other, __u32 own)
{
	return other && own && other + other / 8 < own;
}

#endif
