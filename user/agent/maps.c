/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.c -- the pinned maps as an earlier process left them, and services (see maps.h).
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

/* ---- adoption ---- */

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

/* ---- services ---- */

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

int maps_count_clear(struct maps *m, int map, uint32_t index)
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
		maps_count_clear(m, m->fds.service_counts, (uint32_t)number);
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
