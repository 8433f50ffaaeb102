// SPDX-License-Identifier: Apache-2.0
/* limits.c -- which limit is the size of which maps (see limits.h). */
#include "user/agent/limits.h"

#include <stddef.h>

#define AT(field) offsetof(struct conf_agent, limits.field)

static const struct {
	const char *map;
	size_t limit; /* a uint32_t of struct conf_agent */
} sizes[] = {
	{ "service_info", AT(services) },
	{ "service_counts", AT(services) },
	{ "flag_counts", AT(services) },
	{ "quic_configs", AT(services) },
	{ "quic_ciphers", AT(services) },
	{ "services", AT(addresses) },
	{ "tunnel_ports", AT(addresses) },
	{ "backends", AT(backends) },
	{ "backend_counts", AT(backends) },
	{ "quic_servers", AT(backends) },
	{ "slots", AT(slots) },
	{ "notes", AT(notes) },
	{ "half_open", AT(half_open) },
	{ "kept", AT(notes) },
	{ "kept_half", AT(half_open) },
	{ "backend_loads", AT(backends) },
	{ "fragments", AT(fragments) },
	{ "nat_ports", AT(nat_ports) },
	{ "nat_flows", AT(nat_ports) },
};

int limits_apply(struct bpf_object *obj, const struct conf_agent *conf)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint32_t limit = *(const uint32_t *)((const char *)conf + sizes[i].limit);
		struct bpf_map *map = bpf_object__find_map_by_name(obj, sizes[i].map);
		int rc = map && limit ? bpf_map__set_max_entries(map, limit) : 0;

		if (rc)
			return rc;
	}
	return 0;
}
