/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.c -- services, backends and slots in the pinned maps (see maps.h).
 */
#include "user/agent/maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "user/agent/maps_int.h"
#include "user/agent/netlink.h"
#include "user/agent/ring.h"

int maps_fail(struct maps *m, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->error, sizeof(m->error), fmt, ap);
	va_end(ap);
	return err;
}

const char *maps_error(const struct maps *m)
{
	return m->error;
}

uint32_t maps_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint32_t)t.tv_sec;
}

/* ---- adoption ----------------------------------------------------------------------------------
 */

static int read_services(struct maps *m)
{
	for (uint32_t i = 0; i < m->max.services; i++) {
		if (bpf_map_lookup_elem(m->fds.service_info, &i, &m->info[i]))
			return -errno;
		m->info[i].name[WEIR_NAME_MAX - 1] = 0;
		if (m->info[i].first > m->max.slots ||
		    m->info[i].slots > m->max.slots - m->info[i].first)
			memset(&m->info[i], 0, sizeof(m->info[i]));
	}
	return 0;
}

static int read_backends(struct maps *m)
{
	for (uint32_t i = 1; i < m->max.backends; i++) {
		if (bpf_map_lookup_elem(m->fds.backends, &i, &m->backends[i]))
			return -errno;
		if (m->backends[i].family)
			m->backends_end = i + 1;
	}
	return 0;
}

/* Whose the addresses are, as an earlier process left them. */
static int read_keys(struct maps *m)
{
	struct weir_service_key key, *from = NULL;
	struct service_state *state;
	struct weir_service value;

	for (; !bpf_map_get_next_key(m->fds.services, from, &key); from = &key) {
		struct weir_service_key *keys;

		if (bpf_map_lookup_elem(m->fds.services, &key, &value))
			return -errno;
		if (value.number >= m->max.services || !m->info[value.number].name[0] ||
		    (!key.port && key.proto != IPPROTO_TCP && key.proto != IPPROTO_UDP))
			continue; /* the keys for echo follow from the others */
		state = &m->state[value.number];
		keys = realloc(state->keys, (state->nkeys + 1) * sizeof(*keys));
		if (!keys)
			return -ENOMEM;
		keys[state->nkeys++] = key;
		state->keys = keys;
		state->value = value;
	}
	return 0;
}

const struct maps_max *maps_max(const struct maps *m)
{
	return &m->max;
}

static int entries(int fd, uint32_t most, uint32_t *out)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*out = info.max_entries < most ? info.max_entries : most;
	return 0;
}

static int read_max(struct maps *m)
{
	int rc = entries(m->fds.service_info, UINT16_MAX + 1, &m->max.services);

	if (!rc)
		rc = entries(m->fds.services, UINT32_MAX, &m->max.addresses);
	if (!rc)
		rc = entries(m->fds.backends, UINT16_MAX + 1, &m->max.backends);
	if (!rc)
		rc = entries(m->fds.slots, UINT32_MAX, &m->max.slots);
	return rc;
}

int maps_open(struct maps **out, const struct maps_fds *fds)
{
	struct maps *m = calloc(1, sizeof(*m));
	int err = -ENOMEM;

	if (!m)
		return -ENOMEM;
	m->fds = *fds;
	m->backends_end = 1;
	m->cpus = libbpf_num_possible_cpus();
	err = read_max(m);
	if (err)
		goto out;
	err = -ENOMEM;
	m->info = calloc(m->max.services, sizeof(*m->info));
	m->state = calloc(m->max.services, sizeof(*m->state));
	m->backends = calloc(m->max.backends, sizeof(*m->backends));
	m->backend_set = calloc(m->max.backends, sizeof(*m->backend_set));
	m->quic = calloc(m->max.backends, sizeof(*m->quic));
	m->per_cpu = calloc(m->cpus > 0 ? (size_t)m->cpus : 1, sizeof(*m->per_cpu));
	if (!m->info || !m->state || !m->backends || !m->backend_set || !m->quic || !m->per_cpu)
		goto out;
	if (m->cpus <= 0) {
		err = m->cpus;
		goto out;
	}
	m->slots = mmap(NULL, m->max.slots * sizeof(*m->slots), PROT_READ | PROT_WRITE,
			MAP_SHARED, fds->slots, 0);
	if (m->slots == MAP_FAILED) {
		m->slots = NULL;
		err = -errno;
		goto out;
	}
	err = read_services(m);
	if (!err)
		err = read_backends(m);
	if (!err)
		err = read_keys(m);
	if (!err)
		err = maps_prefixes_read(m);
	if (!err)
		err = maps_quic_read(m);
	if (!err)
		err = mapset_services_changed(fds);
	if (err)
		goto out;
	*out = m;
	return 0;
out:
	maps_close(m);
	return err;
}

void maps_state_free(struct service_state *state)
{
	free(state->keys);
	free(state->prefixes);
	memset(state, 0, sizeof(*state));
}

void maps_close(struct maps *m)
{
	if (!m)
		return;
	if (m->slots)
		munmap(m->slots, m->max.slots * sizeof(*m->slots));
	for (uint32_t i = 0; m->state && i < m->max.services; i++)
		maps_state_free(&m->state[i]);
	free(m->info);
	free(m->state);
	free(m->backends);
	free(m->backend_set);
	free(m->quic);
	free(m->per_cpu);
	free(m);
}

/* ---- services
 * -------------------------------------------------------------------------------------- */

bool maps_service_ok(const struct maps *m, int service)
{
	return service >= 0 && service < (int)m->max.services && m->info[service].name[0];
}

static bool is_tunnel(const char *name)
{
	return !strncmp(name, WEIR_TUNNEL_NAME, strlen(WEIR_TUNNEL_NAME));
}

bool maps_is_tunnel(const struct maps *m, int service)
{
	return maps_service_ok(m, service) && is_tunnel(m->info[service].name);
}

static int service_number(struct maps *m, const char *name)
{
	int free_one = -ENOSPC;

	for (int i = (int)m->max.services - 1; i >= 0; i--) {
		if (!m->info[i].name[0])
			free_one = i;
		else if (!strcmp(m->info[i].name, name))
			return i;
	}
	return free_one;
}

/* Lowest place for n slots that nobody has. m->max.slots: none. */
static uint32_t slots_place(const struct maps *m, uint32_t n)
{
	uint32_t at = 0;
	bool moved = n <= m->max.slots;

	if (!moved)
		return m->max.slots;
	while (moved && at + n <= m->max.slots) {
		moved = false;
		for (uint32_t i = 0; i < m->max.services; i++) {
			const uint32_t used[2][2] = {
				{ m->info[i].first, m->info[i].slots },
				{ m->state[i].pending_first, m->state[i].pending_slots },
			};

			for (int k = 0; k < 2; k++) {
				if (!used[k][1] || at >= used[k][0] + used[k][1] ||
				    at + n <= used[k][0])
					continue;
				at = used[k][0] + used[k][1];
				moved = true;
			}
		}
	}
	return at + n <= m->max.slots ? at : m->max.slots;
}

static uint32_t slots_left(const struct maps *m)
{
	uint32_t used = 0;

	for (uint32_t i = 0; i < m->max.services; i++)
		used += m->info[i].slots + m->state[i].pending_slots;
	return used < m->max.slots ? m->max.slots - used : 0;
}

int maps_info_write(struct maps *m, int number)
{
	uint32_t key = (uint32_t)number;

	return bpf_map_update_elem(m->fds.service_info, &key, &m->info[number], BPF_ANY) ? -errno
											 : 0;
}

static int count_clear(struct maps *m, int map, uint32_t index)
{
	memset(m->per_cpu, 0, (size_t)m->cpus * sizeof(*m->per_cpu));
	return bpf_map_update_elem(map, &index, m->per_cpu, BPF_ANY) ? -errno : 0;
}

/* Gives the service its slots: as they are, new ones, or pending ones beside the old. */
static int service_slots(struct maps *m, int number, const struct maps_service *s)
{
	struct weir_service_info *info = &m->info[number];
	struct service_state *state = &m->state[number];
	uint32_t first;

	state->pending_slots = 0;
	if (info->slots == s->slots)
		return 0;
	first = slots_place(m, s->slots);
	if (first == m->max.slots)
		return maps_fail(m, -ENOSPC,
				 "service %s needs %u slots, %u of %u are left%s: raise "
				 "agent.limits.slots and restart weir-agent",
				 s->name, s->slots, slots_left(m), m->max.slots,
				 slots_left(m) < s->slots ? "" : ", but not in one piece");
	memset(m->slots + first, 0, s->slots * sizeof(*m->slots));
	if (info->slots) {
		state->pending_first = first;
		state->pending_slots = s->slots;
		return 0;
	}
	info->first = first;
	info->slots = s->slots;
	return 0;
}

static struct weir_service_key key_of(const struct maps_address *a)
{
	struct weir_service_key key = {
		.port = htons(a->port),
		.proto = a->proto,
		.family = a->addr.family == AF_INET ? WEIR_FAMILY_4 : WEIR_FAMILY_6,
	};

	memcpy(key.addr, a->addr.bytes, a->addr.family == AF_INET ? 4 : 16);
	return key;
}

struct weir_service_key maps_echo_key(struct weir_service_key key)
{
	key.port = 0;
	key.proto = key.family == WEIR_FAMILY_4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	return key;
}

struct weir_port_key maps_port_key(const struct weir_service_key *key)
{
	struct weir_port_key port = { .port = key->port, .family = key->family };

	memcpy(port.addr, key->addr, sizeof(port.addr));
	return port;
}

/* An address that another service of the same configuration has is refused; one that only an
 * adopted, no longer configured service has is taken. A tunnel takes none from a configured one. */
static int address_refused(struct maps *m, int number, bool tunnel, const struct maps_address *a)
{
	struct weir_service_key key = key_of(a);
	struct weir_service had;
	char text[ADDR_STRLEN];

	if (bpf_map_lookup_elem(m->fds.services, &key, &had) || had.number == (uint32_t)number ||
	    had.number >= m->max.services ||
	    (!m->state[had.number].set && (!tunnel || maps_is_tunnel(m, (int)had.number) ||
					   !maps_service_ok(m, (int)had.number))))
		return 0;
	return maps_fail(m, -EADDRINUSE, "%s port %u already belongs to service %s",
			 addr_format(&a->addr, text, sizeof(text)), a->port,
			 m->info[had.number].name);
}

/* The first service of an address has its echo key, and keeps it fresh: fragments are led by it. */
static int echo_write(struct maps *m, const struct weir_service_key *echo,
		      const struct weir_service *value)
{
	struct weir_service had;

	if (!bpf_map_lookup_elem(m->fds.services, echo, &had) && had.number != value->number)
		return 0;
	return bpf_map_update_elem(m->fds.services, echo, value, BPF_ANY);
}

static int keys_write(struct maps *m, int number)
{
	struct service_state *state = &m->state[number];
	uint32_t own = (uint32_t)number;

	for (size_t i = 0; i < state->nkeys; i++) {
		struct weir_service_key echo = maps_echo_key(state->keys[i]);
		struct weir_port_key port = maps_port_key(&state->keys[i]);

		if (bpf_map_update_elem(m->fds.services, &state->keys[i], &state->value, BPF_ANY))
			return -errno;
		if (echo_write(m, &echo, &state->value))
			return -errno;
		if (m->fds.tunnel_ports < 0 || !maps_is_tunnel(m, number))
			continue;
		if (bpf_map_update_elem(m->fds.tunnel_ports, &port, &own, BPF_ANY))
			return -errno;
	}
	return maps_prefixes_write(m, number);
}

int maps_keys_write(struct maps *m, int number)
{
	int rc = keys_write(m, number), changed = mapset_services_changed(&m->fds);

	return rc ? rc : changed;
}

int maps_service_set(struct maps *m, const struct maps_service *s, const struct maps_address *a)
{
	int number = service_number(m, s->name), rc;
	struct weir_service_key *keys;
	struct service_state *state;
	size_t nkeys = 0;
	bool fresh;

	if (!s->name[0] || !s->slots)
		return maps_fail(m, -EINVAL, "a service needs a name and slots");
	if (number < 0)
		return maps_fail(m, number,
				 "service %s is one too many: there is room for %u services and "
				 "tunnels; raise agent.limits.services and restart weir-agent",
				 s->name, m->max.services);
	for (size_t i = 0; i < s->naddresses; i++)
		if (!a[i].prefix && address_refused(m, number, is_tunnel(s->name), &a[i]))
			return -EADDRINUSE;
	rc = maps_prefixes_set(m, number, a, s->naddresses);
	if (rc)
		return rc;
	keys = calloc(s->naddresses ? s->naddresses : 1, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < s->naddresses; i++)
		if (!a[i].prefix)
			keys[nkeys++] = key_of(&a[i]);

	state = &m->state[number];
	fresh = !m->info[number].name[0];
	rc = service_slots(m, number, s);
	if (rc) {
		free(keys);
		return rc;
	}
	if (fresh) {
		memcpy(m->info[number].name, s->name, sizeof(m->info[number].name));
		count_clear(m, m->fds.service_counts, (uint32_t)number);
	}
	/* A configured service's old addresses wait for the sweep: another may take them over
	 * before. */
	if (maps_is_tunnel(m, number)) {
		rc = maps_keys_retire(m, number, keys, nkeys);
		if (rc) {
			free(keys);
			return maps_fail(m, rc, "old addresses of %s cannot be removed: %s",
					 s->name, strerror(-rc));
		}
	}
	free(state->keys);
	state->keys = keys;
	state->nkeys = nkeys;
	state->set = true;
	state->value = (struct weir_service){
		.number = (uint32_t)number,
		.first = m->info[number].first,
		.slots = m->info[number].slots,
		.encap = s->encap,
		.flags = s->flags,
		.port = htons(s->port),
	};
	rc = maps_info_write(m, number);
	if (!rc)
		rc = maps_quic_config(m, number, &s->quic);
	if (!rc)
		rc = maps_keys_write(m, number);
	if (rc == -E2BIG)
		return maps_fail(m, -ENOSPC,
				 "no room for the addresses of service %s: all services together "
				 "have %u; raise agent.limits.addresses and restart weir-agent",
				 s->name, m->max.addresses);
	return rc ? maps_fail(m, rc, "service %s cannot be written: %s", s->name, strerror(-rc))
		  : number;
}

/* ---- backends
 * ----------------------------------------------------------------------------------------- */

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

/* Its index, found or given out; *found says which. */
static int backend_place(struct maps *m, int service, uint64_t id, const struct addr *address,
			 bool *found)
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
		if (index >= m->max.backends)
			return maps_fail(m, -ENOSPC,
					 "there is room for %u backends, all of it is taken: raise "
					 "agent.limits.backends and restart weir-agent",
					 m->max.backends - 1);
		m->backends[index] = new;
		count_clear(m, m->fds.backend_counts, index);
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
	int rc, index = backend_place(m, service, ring_id(name), address, &found);

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
	bool found;
	int rc, index = backend_place(m, service, id, address, &found);

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

	b->flags =
		(uint8_t)((b->flags & ~WEIR_BACKEND_LOCAL) | (way->local ? WEIR_BACKEND_LOCAL : 0));
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

/* ---- slots
 * ---------------------------------------------------------------------------------------------- */

struct weir_slot *maps_slots(struct maps *m, int service, uint32_t *n)
{
	const struct service_state *state;

	if (!maps_service_ok(m, service))
		return NULL;
	state = &m->state[service];
	*n = state->pending_slots ? state->pending_slots : m->info[service].slots;
	return m->slots + (state->pending_slots ? state->pending_first : m->info[service].first);
}

/* The second half first: when the packet path sees `previous`, the stamps are there. */
static void slot_store(struct weir_slot *to, const struct weir_slot *from)
{
	uint64_t head;

	to->owners[2] = from->owners[2];
	to->since = from->since;
	to->elsewhere = from->elsewhere;
	memcpy(&head, from, sizeof(head));
	__atomic_store_n((uint64_t *)to, head, __ATOMIC_RELEASE);
}

static bool backend_up(const struct maps *m, uint32_t index)
{
	return index < m->backends_end && m->backends[index].family &&
	       !(m->backends[index].flags & WEIR_BACKEND_DOWN);
}

/* Pending slots are complete now: all addresses point at them. */
static int slots_replace(struct maps *m, int service)
{
	struct service_state *state = &m->state[service];
	struct weir_service_info *info = &m->info[service];

	info->first = state->pending_first;
	info->slots = state->pending_slots;
	state->pending_slots = 0;
	state->value.first = info->first;
	state->value.slots = info->slots;
	return maps_keys_write(m, service);
}

int maps_slots_set(struct maps *m, int service, const uint16_t *owner, uint32_t n,
		   uint32_t generation, uint32_t now)
{
	uint32_t have = 0, moved = 0;
	struct weir_slot *slot = maps_slots(m, service, &have);
	int rc;

	if (!slot)
		return maps_fail(m, -ENOENT, "there is no service number %d", service);
	if (n != have)
		return maps_fail(m, -EINVAL, "service %s has %u slots, not %u",
				 m->info[service].name, have, n);
	for (uint32_t i = 0; i < n; i++) {
		struct weir_slot s = slot[i];

		if (owner[i] && !maps_backend(m, owner[i]))
			return maps_fail(m, -EINVAL, "slot %u: there is no backend %u", i,
					 owner[i]);
		if (!slot_move(&s, owner[i], backend_up(m, s.current), now))
			continue;
		slot_store(&slot[i], &s);
		moved++;
	}
	if (m->state[service].pending_slots) {
		rc = slots_replace(m, service);
		if (rc)
			return rc;
	}
	m->info[service].generation = generation;
	rc = maps_info_write(m, service);
	return rc ? rc : (int)moved;
}

int maps_table_get(const struct maps *m, int service, uint32_t offset, struct weir_slot *out,
		   uint32_t n, uint32_t now)
{
	const struct weir_service_info *info = &m->info[maps_service_ok(m, service) ? service : 0];

	if (!maps_service_ok(m, service) || offset > info->slots)
		return -ENOENT;
	for (uint32_t i = 0; i < n && offset + i < info->slots; i++) {
		out[i] = m->slots[info->first + offset + i];
		out[i].since = out[i].previous ? (uint16_t)(now - out[i].since) : 0;
		out[i].elsewhere = out[i].previous && (int32_t)(now - out[i].elsewhere) > 0
					   ? now - out[i].elsewhere
					   : 0;
	}
	return (int)info->slots;
}

/* Only what is a backend of ours; a slot without an owner learns nothing. */
static void owners_check(const struct maps *m, struct weir_slot *slot)
{
	unsigned int used = 0;

	slot->current = maps_backend(m, slot->current) ? slot->current : 0;
	slot->previous = maps_backend(m, slot->previous) ? slot->previous : 0;
	for (unsigned int i = 0; i < WEIR_OWNERS; i++)
		if (maps_backend(m, slot->owners[i]))
			slot->owners[used++] = slot->owners[i];
	while (used < WEIR_OWNERS)
		slot->owners[used++] = 0;
}

int maps_table_put(struct maps *m, int service, uint32_t offset, const struct weir_slot *in,
		   uint32_t n, bool serving, uint32_t now)
{
	uint32_t have = 0;
	struct weir_slot *slot = maps_slots(m, service, &have);
	int changed = 0;

	if (!slot || offset > have || n > have - offset)
		return maps_fail(m, -EINVAL, "service %d has %u slots", service, have);
	for (uint32_t i = 0; i < n; i++) {
		struct weir_slot mine = slot[offset + i], theirs = in[i];

		theirs.since = (uint16_t)(now - theirs.since);
		theirs.elsewhere = now - theirs.elsewhere;
		owners_check(m, &theirs);
		if (!slot_copy(&mine, &theirs, serving))
			continue;
		slot_store(&slot[offset + i], &mine);
		changed++;
	}
	return changed;
}

uint32_t maps_generation(const struct maps *m, int service)
{
	return maps_service_ok(m, service) ? m->info[service].generation : 0;
}

uint32_t maps_settle(struct maps *m, uint32_t now, uint32_t drain_s)
{
	uint32_t still = 0;

	for (int k = 0; k < (int)m->max.services; k++) {
		struct weir_slot *slot = m->slots + m->info[k].first;

		for (uint32_t i = 0; maps_service_ok(m, k) && i < m->info[k].slots; i++) {
			struct weir_slot s = slot[i];

			if (!s.previous)
				continue;
			if (slot_settle(&s, now, drain_s))
				slot_store(&slot[i], &s);
			else
				still++;
		}
	}
	return still;
}

uint32_t maps_transitions(const struct maps *m, uint8_t *live)
{
	uint32_t n = 0;

	for (int k = 0; k < (int)m->max.services; k++)
		for (uint32_t i = 0; maps_service_ok(m, k) && i < m->info[k].slots; i++) {
			const struct weir_slot *slot = &m->slots[m->info[k].first + i];

			if (!slot->previous)
				continue;
			live[slot->since] = 1;
			n++;
		}
	return n;
}

uint32_t maps_in_transition(const struct maps *m, int service)
{
	uint32_t n = 0;

	for (uint32_t i = 0; maps_service_ok(m, service) && i < m->info[service].slots; i++)
		n += m->slots[m->info[service].first + i].previous != 0;
	return n;
}
