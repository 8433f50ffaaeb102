/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mapset.c -- counters, and the maps that are sets: what may be decapsulated (see maps.h).
 *
 * A set is replaced without a gap: first the new members are written, then the others removed.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/agent/maps.h"

int mapset_count(int map, uint32_t index, struct weir_count *out)
{
	int cpus = libbpf_num_possible_cpus(), rc = 0;
	struct weir_count *per_cpu, sum = { 0 };

	if (cpus <= 0)
		return cpus ? cpus : -EINVAL;
	per_cpu = calloc((size_t)cpus, sizeof(*per_cpu));
	if (!per_cpu)
		return -ENOMEM;
	if (bpf_map_lookup_elem(map, &index, per_cpu))
		rc = -errno;
	for (int i = 0; !rc && i < cpus; i++) {
		sum.packets += per_cpu[i].packets;
		sum.bytes += per_cpu[i].bytes;
	}
	free(per_cpu);
	if (!rc)
		*out = sum;
	return rc;
}

int mapset_off(const struct maps_fds *fds, uint32_t off, uint32_t on)
{
	struct weir_settings s;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(fds->settings, &zero, &s))
		return -errno;
	s.off = (s.off | off) & ~on;
	return bpf_map_update_elem(fds->settings, &zero, &s, BPF_ANY) ? -errno : 0;
}

int mapset_services_changed(const struct maps_fds *fds)
{
	struct weir_settings s;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(fds->settings, &zero, &s))
		return -errno;
	s.services_version++;
	if (!s.services_version)
		s.services_version = 1;
	return bpf_map_update_elem(fds->settings, &zero, &s, BPF_ANY) ? -errno : 0;
}

int mapset_on(int settings, uint32_t on, uint32_t off)
{
	struct weir_settings s;
	uint32_t zero = 0, before;

	if (bpf_map_lookup_elem(settings, &zero, &s))
		return -errno;
	before = s.on;
	s.on = (s.on | on) & ~off;
	if (s.on == before)
		return 0;
	return bpf_map_update_elem(settings, &zero, &s, BPF_ANY) ? -errno : 0;
}

static bool member(const void *keys, size_t n, size_t size, const void *key)
{
	for (size_t i = 0; i < n; i++)
		if (!memcmp((const char *)keys + i * size, key, size))
			return true;
	return false;
}

/* keys: n of `size` bytes, at most 64 each. Only members with this value are replaced. */
static int set_replace(int map, const void *keys, size_t n, size_t size, uint32_t value)
{
	char key[64], kept[64], *from = NULL;
	uint32_t had;

	for (size_t i = 0; i < n; i++)
		if (bpf_map_update_elem(map, (const char *)keys + i * size, &value, BPF_ANY))
			return -errno;
	while (!bpf_map_get_next_key(map, from, key)) {
		if (bpf_map_lookup_elem(map, key, &had))
			return -errno;
		if (had != value || member(keys, n, size, key)) {
			memcpy(kept, key, size);
			from = kept;
		} else if (bpf_map_delete_elem(map, key)) {
			return -errno;
		}
	}
	return 0;
}

/* IPv4 as ::ffff:a.b.c.d. */
static void map_address(__be32 to[4], const struct addr *a)
{
	const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	if (a->family == AF_INET6) {
		memcpy(to, a->bytes, 16);
		return;
	}
	memcpy(to, prefix, sizeof(prefix));
	memcpy(&to[3], a->bytes, 4);
}

static struct weir_prefix prefix_key(const struct addr_prefix *p)
{
	struct weir_prefix key = { .bits = p->len + (p->addr.family == AF_INET ? 96u : 0u) };

	map_address(key.addr, &p->addr);
	return key;
}

static bool covered(const struct addr_prefix *by, size_t n, const struct addr_prefix *p)
{
	for (size_t i = 0; i < n; i++)
		if (by[i].len <= p->len && addr_prefix_contains(&by[i], &p->addr))
			return true;
	return false;
}

int mapset_decap_sources(const struct maps_fds *fds, const struct addr_prefix *from, size_t n,
			 enum weir_decap value, const struct addr_prefix * not, size_t m)
{
	struct weir_prefix *keys = calloc(n ? n : 1, sizeof(*keys));
	size_t used = 0;
	int rc;

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (!covered(not, m, &from[i]))
			keys[used++] = prefix_key(&from[i]);
	rc = set_replace(fds->decap_sources, keys, used, sizeof(*keys), value);
	free(keys);
	return rc;
}

int mapset_tunnel_prefixes(const struct maps_fds *fds, const struct addr_prefix *prefix, size_t n)
{
	struct weir_prefix *keys = calloc(n ? n : 1, sizeof(*keys));
	int rc;

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		keys[i] = prefix_key(&prefix[i]);
	rc = set_replace(fds->tunnel_prefixes, keys, n, sizeof(*keys), 1);
	free(keys);
	return rc;
}

int mapset_decap_ifaces(const struct maps_fds *fds, const uint32_t *ifindex, size_t n)
{
	return set_replace(fds->decap_ifaces, ifindex, n, sizeof(*ifindex), 1);
}

int mapset_tx_ports(const struct maps_fds *fds, const uint32_t *ifindex, size_t n)
{
	uint32_t key, kept, *from = NULL;

	for (size_t i = 0; i < n; i++)
		if (bpf_map_update_elem(fds->tx_ports, &ifindex[i], &ifindex[i], BPF_ANY))
			return -errno;
	while (!bpf_map_get_next_key(fds->tx_ports, from, &key)) {
		if (member(ifindex, n, sizeof(key), &key)) {
			kept = key;
			from = &kept;
		} else if (bpf_map_delete_elem(fds->tx_ports, &key)) {
			return -errno;
		}
	}
	return 0;
}

int mapset_targets(int map, const struct addr *own, size_t n)
{
	struct weir_target *keys = calloc(n ? n : 1, sizeof(*keys));
	int rc;

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		map_address(keys[i].addr, &own[i]);
	rc = set_replace(map, keys, n, sizeof(*keys), 1);
	free(keys);
	return rc;
}

int mapset_decap_targets(const struct maps_fds *fds, const struct addr *own, size_t n)
{
	return mapset_targets(fds->decap_targets, own, n);
}
