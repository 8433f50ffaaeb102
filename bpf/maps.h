/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * maps.h -- the maps of the edge program. Who writes what stands in abi/maps.h; names stay below 16
 * characters, because the kernel keeps no more.
 */
#ifndef WEIR_BPF_MAPS_H
#define WEIR_BPF_MAPS_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_settings);
	__uint(max_entries, 1);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct weir_service_key);
	__type(value, struct weir_service);
	__uint(max_entries, WEIR_KEYS_MAX);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_prefix_key);
	__type(value, struct weir_service);
	__uint(max_entries, WEIR_PREFIXES_MAX);
} service_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_recent);
	__uint(max_entries, WEIR_RECENT_MAX);
} service_recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_service_info);
	__uint(max_entries, WEIR_SERVICES_MAX);
} service_info SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct weir_slot);
	__uint(max_entries, WEIR_SLOTS_MAX);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_backend);
	__uint(max_entries, WEIR_BACKENDS_MAX);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct weir_device);
	__uint(max_entries, WEIR_DEVICES_MAX);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct weir_flow);
	__type(value, struct weir_note);
	__uint(max_entries, WEIR_NOTES_MAX);
} notes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct weir_flow);
	__type(value, struct weir_note);
	__uint(max_entries, WEIR_HALF_OPEN_MAX);
} half_open SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct weir_flow);
	__type(value, struct weir_note);
	__uint(max_entries, WEIR_REPORTED_MAX);
} reported SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct weir_fragment_key);
	__type(value, struct weir_fragment);
	__uint(max_entries, WEIR_FRAGMENTS_MAX);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_prefix);
	__type(value, __u32);
	__uint(max_entries, 4096);
} decap_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 256);
} decap_ifaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct weir_target);
	__type(value, __u32);
	__uint(max_entries, 1024);
} decap_targets SEC(".maps");

#include "bpf/prefixes.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_count);
	__uint(max_entries, WEIR_REASONS_MAX);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_count);
	__uint(max_entries, WEIR_SERVICES_MAX);
} service_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_count);
	__uint(max_entries, WEIR_BACKENDS_MAX);
} backend_counts SEC(".maps");

#endif
