// SPDX-License-Identifier: Apache-2.0
/*
 * maps_prefix.c -- services whose addresses are networks, in the map service_prefixes (see maps.h).
 *
 * A look-up in an LPM trie finds the longest prefix that covers the key, not the key: who has a
 * network is asked of our own lists, and the map only where a walk gave the key.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/agent/maps_int.h"

static struct weir_prefix_key key_of(const struct maps_address *a)
{
	struct weir_prefix_key key = {
		.bits = WEIR_PREFIX_HEAD + a->prefix,
		.port = htons(a->port),
		.proto = a->proto,
		.family = a->addr.family == AF_INET ? WEIR_FAMILY_4 : WEIR_FAMILY_6,
	};

	memcpy(key.addr, a->addr.bytes, a->addr.family == AF_INET ? 4 : 16);
	return key;
}

static struct weir_prefix_key echo_of(struct weir_prefix_key key)
{
	key.port = 0;
	key.proto = key.family == WEIR_FAMILY_4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	return key;
}

static bool is_echo(const struct weir_prefix_key *key)
{
	return key->proto == IPPROTO_ICMP || key->proto == IPPROTO_ICMPV6;
}

static bool listed(const struct service_state *state, const struct weir_prefix_key *key)
{
	for (size_t i = 0; i < state->nprefixes; i++) {
		struct weir_prefix_key echo = echo_of(state->prefixes[i]);

		if (!memcmp(&state->prefixes[i], key, sizeof(*key)) ||
		    !memcmp(&echo, key, sizeof(*key)))
			return true;
	}
	return false;
}

int maps_prefixes_read(struct maps *m)
{
	struct weir_prefix_key key, *from = NULL;
	struct service_state *state;
	struct weir_service value;

	for (; !bpf_map_get_next_key(m->fds.service_prefixes, from, &key); from = &key) {
		struct weir_prefix_key *more;

		if (bpf_map_lookup_elem(m->fds.service_prefixes, &key, &value))
			return -errno;
		if (value.number >= m->max.services || !m->info[value.number].name[0] ||
		    is_echo(&key))
			continue;
		state = &m->state[value.number];
		more = realloc(state->prefixes, (state->nprefixes + 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		more[state->nprefixes++] = key;
		state->prefixes = more;
		state->value = value;
	}
	return 0;
}

/* The configured service that has the network, or -1. */
static int owner_of(const struct maps *m, int but, const struct weir_prefix_key *key)
{
	for (int k = 0; k < (int)m->max.services; k++)
		if (k != but && m->state[k].set && m->state[k].nprefixes && !is_echo(key) &&
		    listed(&m->state[k], key))
			return k;
	return -1;
}

int maps_prefixes_set(struct maps *m, int number, const struct maps_address *a, size_t n)
{
	struct service_state *state = &m->state[number];
	struct weir_prefix_key *keys = calloc(n ? n : 1, sizeof(*keys));
	char text[ADDR_STRLEN];
	size_t used = 0;
	int other;

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (!a[i].prefix)
			continue;
		keys[used] = key_of(&a[i]);
		other = owner_of(m, number, &keys[used++]);
		if (other < 0)
			continue;
		free(keys);
		return maps_fail(m, -EADDRINUSE, "%s/%u port %u already belongs to service %s",
				 addr_format(&a[i].addr, text, sizeof(text)), a[i].prefix, a[i].port,
				 m->info[other].name);
	}
	free(state->prefixes);
	state->prefixes = keys;
	state->nprefixes = used;
	return 0;
}

int maps_prefixes_write(struct maps *m, int number)
{
	const struct service_state *state = &m->state[number];

	for (size_t i = 0; i < state->nprefixes; i++) {
		struct weir_prefix_key echo = echo_of(state->prefixes[i]);

		if (bpf_map_update_elem(m->fds.service_prefixes, &state->prefixes[i], &state->value,
					BPF_ANY) ||
		    bpf_map_update_elem(m->fds.service_prefixes, &echo, &state->value, BPF_ANY))
			return -errno;
	}
	return state->nprefixes ? mapset_on(m->fds.settings, WEIR_ON_PREFIXES, 0) : 0;
}

/* As sweep_keys() of maps_sweep.c; the switch goes off with the last of them. */
int maps_prefixes_sweep(struct maps *m)
{
	struct weir_prefix_key kept, key, *from = NULL;
	bool changed = false;
	int rc;

	while (!bpf_map_get_next_key(m->fds.service_prefixes, from, &key)) {
		bool wanted = false;

		for (int k = 0; !wanted && k < (int)m->max.services; k++)
			wanted = m->state[k].set && m->state[k].nprefixes &&
				 listed(&m->state[k], &key);
		if (wanted) {
			kept = key;
			from = &kept;
			continue;
		}
		if (bpf_map_delete_elem(m->fds.service_prefixes, &key))
			return -errno;
		changed = true;
	}
	rc = from ? 0 : mapset_on(m->fds.settings, 0, WEIR_ON_PREFIXES);
	return rc || !changed ? rc : mapset_services_changed(&m->fds);
}
