/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* prefixes.h -- the map that edge.bpf.c and listen.bpf.c share: where tunnels have addresses. */
#ifndef WEIR_BPF_PREFIXES_H
#define WEIR_BPF_PREFIXES_H

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_prefix);
	__type(value, __u32);
	__uint(max_entries, 256);
} tunnel_prefixes SEC(".maps");

#endif
