/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * prefix.h -- services whose addresses are prefixes (WEIR_ON_PREFIXES): asked when no service has the
 * address itself. A prefix with the port comes before one with any port, however long.
 */
#ifndef WEIR_BPF_PREFIX_H
#define WEIR_BPF_PREFIX_H

static __always_inline bool prefixes_on(const struct weir_settings *set)
{
	return set && (set->on & WEIR_ON_PREFIXES);
}

/* Not inlined, and not global: that could return no pointer. */
static __noinline const struct weir_service *prefix_find(const struct weir_flow *flow, __u32 proto,
							 __u32 port)
{
	struct weir_prefix_key key = {
		.bits = WEIR_PREFIX_HEAD + (flow->family == WEIR_FAMILY_4 ? 32 : 128),
		.proto = proto,
		.family = flow->family,
		.port = port,
	};
	const struct weir_service *service;

	copy_address(key.addr, flow->dest);
	service = bpf_map_lookup_elem(&service_prefixes, &key);
	if (service || !key.port)
		return service;
	key.port = 0;
	return bpf_map_lookup_elem(&service_prefixes, &key);
}

#endif
