/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps_backends.c -- backends in the pinned maps (see maps.h): who has which index, and the way there.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "user/agent/maps_int.h"
#include "user/agent/netlink.h"
#include "user/agent/ring.h"

uint32_t maps_backends_end(const struct maps *m)
{
	return m->backends_end;
}

const struct weir_backend *maps_backend(const struct maps *m, uint32_t index)
{
	return index < m->backends_end && m->backends[index].family ? &m->backends[index] : NULL;
}

int maps_backend_write(struct maps *m, uint32_t index)
{
	return bpf_map_update_elem(m->fds.backends, &index, &m->backends[index], BPF_ANY) ? -errno
											  : 0;
}

/* The load of who had the index before says nothing of who has it now. */
static void load_clear(const struct maps *m, uint32_t index)
{
	const uint32_t unknown = 0;

	bpf_map_update_elem(m->fds.backend_loads, &index, &unknown, BPF_ANY);
}

/* Its index, found or given out below `end`; *found says which. */
static int backend_place(struct maps *m, int service, uint64_t id, const struct addr *address,
			 uint32_t end, bool *found)
{
	struct weir_backend new = {
		.id = id,
		.service = (uint16_t)service,
		.family = address->family == AF_INET ? WEIR_FAMILY_4 : WEIR_FAMILY_6,
	};
	uint32_t index, place = 0;
	const struct weir_backend *b;

	if (!maps_service_ok(m, service))
		return maps_fail(m, -ENOENT, "there is no service number %d", service);
	if (address->family != AF_INET && address->family != AF_INET6)
		return maps_fail(m, -EINVAL, "a backend of %s has no address",
				 m->info[service].name);
	memcpy(new.addr, address->bytes, address->family == AF_INET ? 4 : 16);
	for (index = 1; index < m->backends_end; index++) {
		b = &m->backends[index];
		if (!b->family && !place)
			place = index;
		if (b->family == new.family && b->id == new.id && b->service == new.service &&
		    !memcmp(b->addr, new.addr, sizeof(new.addr)))
			break;
	}
	*found = index < m->backends_end;
	if (!*found) {
		index = place ? place : m->backends_end;
		if (index >= end && end < m->max.backends)
			return maps_fail(m, -ENOSPC,
					 "former owners leave room for backends that are configured: raise "
					 "agent.limits.backends, now %u, and restart weir-agent",
					 m->max.backends);
		if (index >= end)
			return maps_fail(m, -ENOSPC,
					 "there is room for %u backends, all of it is taken: raise "
					 "agent.limits.backends and restart weir-agent",
					 m->max.backends - 1);
		m->backends[index] = new;
		maps_count_clear(m, m->fds.backend_counts, index);
		load_clear(m, index);
		if (index == m->backends_end)
			m->backends_end++;
	}
	return (int)index;
}

int maps_backend_set(struct maps *m, int service, const char *name, const struct addr *address,
		     bool up)
{
	struct weir_backend *b;
	bool found;
	int rc, index = backend_place(m, service, ring_id(name), address, m->max.backends, &found);

	if (index < 0)
		return index;
	b = &m->backends[index];
	b->flags = (uint8_t)((b->flags & ~WEIR_BACKEND_DOWN) | (up ? 0 : WEIR_BACKEND_DOWN));
	m->backend_set[index] = true;
	rc = maps_backend_write(m, (uint32_t)index);
	return rc ? maps_fail(m, rc, "backend %s cannot be written: %s", name, strerror(-rc))
		  : index;
}

int maps_owner_set(struct maps *m, int service, uint64_t id, const struct addr *address, bool up)
{
	uint32_t end = m->max.backends - m->max.backends / 4;
	bool found;
	int rc, index = backend_place(m, service, id, address, end, &found);

	if (index < 0 || found)
		return index;
	m->backends[index].flags = up ? 0 : WEIR_BACKEND_DOWN;
	rc = maps_backend_write(m, (uint32_t)index);
	return rc ? maps_fail(m, rc, "a former owner of slots cannot be written: %s", strerror(-rc))
		  : index;
}

int maps_backend_way(struct maps *m, uint32_t index, const struct netlink_way *way)
{
	struct weir_backend *b = &m->backends[index], old = *b;

	b->flags &= (uint8_t)~(WEIR_BACKEND_LOCAL | WEIR_BACKEND_VLAN | WEIR_BACKEND_VLAN_AD);
	b->flags |= way->local ? WEIR_BACKEND_LOCAL : way->ifindex ? way->tag : 0;
	b->vlan = way->ifindex ? way->vlan : 0;
	b->ifindex = way->ifindex;
	memcpy(b->mac, way->mac, sizeof(b->mac));
	memcpy(b->source_mac, way->source_mac, sizeof(b->source_mac));
	b->mtu = way->mtu;
	memset(b->source, 0, sizeof(b->source));
	if (way->source.family == (b->family == WEIR_FAMILY_4 ? AF_INET : AF_INET6))
		memcpy(b->source, way->source.bytes, b->family == WEIR_FAMILY_4 ? 4 : 16);
	if (!memcmp(b, &old, sizeof(old)))
		return 0;
	return maps_backend_write(m, index);
}
