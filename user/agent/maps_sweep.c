// SPDX-License-Identifier: Apache-2.0
/*
 * maps_sweep.c -- how services, their addresses and backends leave the maps (see maps.h): one
 * tunnel by itself, or everything that was not set since the last sweep.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/agent/maps_int.h"

static bool in_scope(const struct maps *m, int service, enum maps_scope scope)
{
	return maps_is_tunnel(m, service) == (scope == MAPS_TUNNELS);
}

static bool listed(const struct weir_service_key *keys, size_t n,
		   const struct weir_service_key *key)
{
	for (size_t i = 0; i < n; i++) {
		struct weir_service_key echo = maps_echo_key(keys[i]);

		if (!memcmp(&keys[i], key, sizeof(*key)) || !memcmp(&echo, key, sizeof(*key)))
			return true;
	}
	return false;
}

/* ---- one service ------------------------------------------------------------------------------
 */

/* Deletes the key when it is still the service's: another may have taken it over. */
static int key_drop(struct maps *m, int number, const struct weir_service_key *key)
{
	struct weir_port_key port = maps_port_key(key);
	struct weir_service had;
	uint32_t owner;

	if (!bpf_map_lookup_elem(m->fds.services, key, &had) && had.number == (uint32_t)number &&
	    bpf_map_delete_elem(m->fds.services, key) && errno != ENOENT)
		return -errno;
	if (m->fds.tunnel_ports < 0 || !maps_is_tunnel(m, number))
		return 0;
	if (!bpf_map_lookup_elem(m->fds.tunnel_ports, &port, &owner) && owner == (uint32_t)number &&
	    bpf_map_delete_elem(m->fds.tunnel_ports, &port) && errno != ENOENT)
		return -errno;
	return 0;
}

int maps_keys_retire(struct maps *m, int number, const struct weir_service_key *keep, size_t n)
{
	const struct service_state *state = &m->state[number];
	int rc = 0, changed;

	for (size_t i = 0; !rc && i < state->nkeys; i++) {
		struct weir_service_key echo = maps_echo_key(state->keys[i]);

		if (!listed(keep, n, &state->keys[i]))
			rc = key_drop(m, number, &state->keys[i]);
		if (!rc && !listed(keep, n, &echo))
			rc = key_drop(m, number, &echo);
	}
	changed = mapset_services_changed(&m->fds);
	return rc ? rc : changed;
}

static void service_forget(struct maps *m, int number)
{
	memset(&m->info[number], 0, sizeof(m->info[number]));
	maps_state_free(&m->state[number]);
	maps_info_write(m, number);
	maps_quic_config(m, number, &(struct weir_quic){ 0 });
}

int maps_service_remove(struct maps *m, int service)
{
	int rc;

	if (!maps_service_ok(m, service))
		return maps_fail(m, -ENOENT, "there is no service number %d", service);
	rc = maps_keys_retire(m, service, NULL, 0);
	if (rc)
		return maps_fail(m, rc, "service %s cannot be removed: %s", m->info[service].name,
				 strerror(-rc));
	service_forget(m, service);
	for (uint32_t i = 1; !rc && i < m->backends_end; i++) {
		if (!m->backends[i].family || m->backends[i].service != service)
			continue;
		maps_quic_forget(m, i);
		memset(&m->backends[i], 0, sizeof(m->backends[i]));
		m->backend_set[i] = false;
		rc = maps_backend_write(m, i);
	}
	return rc;
}

/* ---- everything that was not set --------------------------------------------------------------
 */

/* `number` is whose it is in the map: nearly always the only one that has to be asked. */
static bool key_wanted(const struct maps *m, uint32_t number, const struct weir_service_key *key,
		       enum maps_scope scope)
{
	const struct service_state *state;

	if (number < m->max.services && maps_service_ok(m, (int)number)) {
		state = &m->state[number];
		if (!in_scope(m, (int)number, scope) ||
		    (state->set && listed(state->keys, state->nkeys, key)))
			return true;
	}
	for (int k = 0; k < (int)m->max.services; k++) {
		state = &m->state[k];
		if (state->set && listed(state->keys, state->nkeys, key))
			return true;
	}
	return false;
}

/* Walks by "next after the last kept", because deleting restarts a hash's walk. */
static int sweep_keys(struct maps *m, enum maps_scope scope)
{
	struct weir_service_key kept, key, *from = NULL;
	struct weir_service value;

	while (!bpf_map_get_next_key(m->fds.services, from, &key)) {
		if (bpf_map_lookup_elem(m->fds.services, &key, &value))
			return -errno;
		if (!key_wanted(m, value.number, &key, scope)) {
			if (bpf_map_delete_elem(m->fds.services, &key))
				return -errno;
			continue;
		}
		kept = key;
		from = &kept;
	}
	return mapset_services_changed(&m->fds);
}

/* Ports of tunnels that are gone. */
static int sweep_ports(struct maps *m)
{
	struct weir_port_key kept, key, *from = NULL;
	uint32_t number;

	while (m->fds.tunnel_ports >= 0 && !bpf_map_get_next_key(m->fds.tunnel_ports, from, &key)) {
		struct weir_service_key service = { .port = key.port,
						    .proto = IPPROTO_TCP,
						    .family = key.family };

		memcpy(service.addr, key.addr, sizeof(service.addr));
		if (bpf_map_lookup_elem(m->fds.tunnel_ports, &key, &number))
			return -errno;
		if (number < m->max.services && maps_is_tunnel(m, (int)number) &&
		    listed(m->state[number].keys, m->state[number].nkeys, &service)) {
			kept = key;
			from = &kept;
		} else if (bpf_map_delete_elem(m->fds.tunnel_ports, &key)) {
			return -errno;
		}
	}
	return 0;
}

static void sweep_services(struct maps *m, enum maps_scope scope)
{
	for (int k = 0; k < (int)m->max.services; k++)
		if (maps_service_ok(m, k) && in_scope(m, k, scope) && !m->state[k].set)
			service_forget(m, k);
}

static void mark_used(bool *used, const struct weir_slot *s)
{
	used[s->current] = true;
	used[s->previous] = true;
	for (int i = 0; i < WEIR_OWNERS; i++)
		used[s->owners[i]] = true;
}

static int sweep_backends(struct maps *m, enum maps_scope scope)
{
	bool *used = calloc(UINT16_MAX + 1, sizeof(*used));

	if (!used)
		return -ENOMEM;
	for (int k = 0; k < (int)m->max.services; k++)
		for (uint32_t i = 0; maps_service_ok(m, k) && i < m->info[k].slots; i++)
			mark_used(used, &m->slots[m->info[k].first + i]);
	for (uint32_t i = 1; i < m->backends_end; i++) {
		struct weir_backend *b = &m->backends[i];

		if (!b->family || m->backend_set[i] || used[i] ||
		    (maps_service_ok(m, b->service) && !in_scope(m, b->service, scope)))
			continue;
		maps_quic_forget(m, i);
		memset(b, 0, sizeof(*b));
		maps_backend_write(m, i);
	}
	free(used);
	return 0;
}

int maps_sweep(struct maps *m, enum maps_scope scope)
{
	int rc = sweep_keys(m, scope);

	if (!rc && scope == MAPS_CONFIGURED)
		rc = maps_prefixes_sweep(m);
	sweep_services(m, scope);
	if (!rc && scope == MAPS_TUNNELS)
		rc = sweep_ports(m);
	/* Echo keys that a removed service had written for an address that others still have. */
	for (int k = 0; !rc && k < (int)m->max.services; k++)
		if (m->state[k].set && in_scope(m, k, scope))
			rc = maps_keys_write(m, k);
	if (!rc)
		rc = sweep_backends(m, scope);
	for (int k = 0; k < (int)m->max.services; k++)
		if (in_scope(m, k, scope))
			m->state[k].set = false;
	for (uint32_t i = 1; i < m->backends_end; i++)
		if (in_scope(m, m->backends[i].service, scope))
			m->backend_set[i] = false;
	return rc ? maps_fail(m, rc, "old entries cannot be removed: %s", strerror(-rc)) : 0;
}
