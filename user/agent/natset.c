/* SPDX-License-Identifier: Apache-2.0 */
/* natset.c -- see natset.h. */
#include "user/agent/natset.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "user/agent/maps.h"

/* Seconds that nobody needs to choose: a handshake's last try of Linux comes after 15; after the end
 * a late segment may follow for some seconds; TIME-WAIT of Linux is 60 s. */
#define HALF_OPEN_S 20
#define CLOSING_S   10
#define REUSE_S	    65

/* How many addresses there is room for. */
static int places(int map, uint32_t *n)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(map, &info, &len))
		return -errno;
	*n = info.max_entries / WEIR_NAT_PORTS;
	if (*n > WEIR_NAT_PLACES)
		*n = WEIR_NAT_PLACES;
	return 0;
}

static struct weir_nat_place place_of(const struct addr *a)
{
	struct weir_nat_place p = { .family = a->family == AF_INET ? WEIR_FAMILY_4 : WEIR_FAMILY_6 };

	memcpy(p.addr, a->bytes, a->family == AF_INET ? 4 : 16);
	return p;
}

static bool same(const struct weir_nat_place *a, const struct weir_nat_place *b)
{
	return a->family == b->family && !memcmp(a->addr, b->addr, sizeof(a->addr));
}

static bool wanted(const struct natset_want *want, const struct weir_nat_place *p)
{
	for (uint32_t i = 0; i < want->n; i++) {
		struct weir_nat_place w = place_of(&want->addr[i]);

		if (same(&w, p))
			return true;
	}
	return false;
}

static bool held(const struct weir_nat *nat, const struct weir_nat_place *p)
{
	for (uint32_t i = 0; i < WEIR_NAT_PLACES; i++)
		if (same(&nat->place[i], p))
			return true;
	return false;
}

/* Nobody finds the place's entries any more: their generation has passed. */
static int wipe(const struct natset_fds *fds, uint32_t place)
{
	for (uint32_t i = 0; i < WEIR_NAT_PORTS; i++) {
		uint32_t index = place * WEIR_NAT_PORTS + i;
		struct weir_nat_entry e, none = { 0 };

		if (bpf_map_lookup_elem(fds->ports, &index, &e))
			return -errno;
		if (!e.flow.proto)
			continue;
		none.head = ((e.head >> 32) + 1) << 32;
		if (bpf_map_update_elem(fds->ports, &index, &none, BPF_ANY))
			return -errno;
		bpf_map_delete_elem(fds->flows, &e.flow);
	}
	return 0;
}

static int conf_put(const struct natset_fds *fds, const struct weir_nat *nat)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(fds->conf, &zero, nat, BPF_ANY) ? -errno : 0;
}

/* The lists of places by family, from the places. */
static void lists(struct weir_nat *nat)
{
	memset(nat->count, 0, sizeof(nat->count));
	memset(nat->list, 0, sizeof(nat->list));
	for (uint8_t i = 0; i < WEIR_NAT_PLACES; i++) {
		int family = nat->place[i].family == WEIR_FAMILY_6;

		if (nat->place[i].family)
			nat->list[family][nat->count[family]++] = i;
	}
}

/* Also of places for which a smaller table has no room any more. */
static int drop_unwanted(const struct natset_fds *fds, struct weir_nat *nat,
			 const struct natset_want *want, uint32_t room)
{
	bool gone[WEIR_NAT_PLACES] = { false };
	int rc;

	for (uint32_t i = 0; i < WEIR_NAT_PLACES; i++) {
		if (!nat->place[i].family || (i < room && wanted(want, &nat->place[i])))
			continue;
		bpf_map_delete_elem(fds->addresses, &nat->place[i]);
		memset(&nat->place[i], 0, sizeof(nat->place[i]));
		gone[i] = i < room;
	}
	/* First nobody takes ports of these any more, then they are emptied. */
	lists(nat);
	rc = conf_put(fds, nat);
	for (uint32_t i = 0; !rc && i < WEIR_NAT_PLACES; i++)
		if (gone[i])
			rc = wipe(fds, i);
	return rc;
}

static int add_wanted(const struct natset_fds *fds, struct weir_nat *nat,
		      const struct natset_want *want, uint32_t room)
{
	for (uint32_t i = 0; i < want->n; i++) {
		struct weir_nat_place p = place_of(&want->addr[i]);
		uint32_t at = 0;

		if (held(nat, &p))
			continue;
		while (at < room && nat->place[at].family)
			at++;
		if (at >= room)
			return -ENOSPC;
		nat->place[at] = p;
	}
	for (uint32_t i = 0; i < WEIR_NAT_PLACES; i++)
		if (nat->place[i].family &&
		    bpf_map_update_elem(fds->addresses, &nat->place[i], &i, BPF_ANY))
			return -errno;
	lists(nat);
	return conf_put(fds, nat);
}

int natset_write(const struct natset_fds *fds, const struct natset_want *want)
{
	int cpus = libbpf_num_possible_cpus(), rc;
	uint32_t zero = 0, room;
	struct weir_nat nat;

	if (cpus <= 0)
		return cpus ? cpus : -EINVAL;
	if (bpf_map_lookup_elem(fds->conf, &zero, &nat))
		return -errno;
	rc = places(fds->ports, &room);
	if (!rc && want->n > room)
		rc = -ENOSPC;
	if (rc)
		return rc;
	nat.first = WEIR_NAT_FIRST_PORT;
	nat.cpus = (uint16_t)cpus;
	nat.ports = (uint16_t)((WEIR_NAT_PORTS - WEIR_NAT_FIRST_PORT) / (uint32_t)cpus);
	nat.tcp_s = want->tcp_s;
	nat.udp_s = want->udp_s;
	nat.half_open_s = HALF_OPEN_S;
	nat.closing_s = CLOSING_S;
	nat.reuse_s = REUSE_S;
	rc = drop_unwanted(fds, &nat, want, room);
	if (!rc)
		rc = add_wanted(fds, &nat, want, room);
	if (rc)
		return rc;
	return mapset_on(fds->settings, want->n > 0 ? WEIR_ON_NAT : 0, want->n > 0 ? 0 : WEIR_ON_NAT);
}

int natset_state(const struct natset_fds *fds, uint32_t now, struct natset_state *out)
{
	const struct weir_nat_entry *entry;
	struct natset_state s = { 0 };
	uint32_t zero = 0, room;
	struct weir_nat nat;
	int rc = places(fds->ports, &room);

	for (uint32_t i = 0; !rc && i < WEIR_NAT_COUNT; i++) {
		struct weir_count c;

		rc = mapset_count(fds->counts, i, &c);
		s.count[i] = c.packets;
	}
	if (rc)
		return rc;
	if (bpf_map_lookup_elem(fds->conf, &zero, &nat))
		return -errno;
	s.addresses = (uint32_t)nat.count[0] + nat.count[1];
	s.ports = s.addresses * nat.ports * nat.cpus;
	if (!s.addresses || !room) {
		*out = s;
		return 0;
	}
	entry = mmap(NULL, (size_t)room * WEIR_NAT_PORTS * sizeof(*entry), PROT_READ, MAP_SHARED,
		     fds->ports, 0);
	if (entry == MAP_FAILED)
		return -errno;
	for (uint32_t i = 0; i < room * WEIR_NAT_PORTS; i++) {
		uint64_t head = entry[i].head;
		uint8_t proto = entry[i].flow.proto;

		if (!proto || weir_nat_idle(head, now) >= weir_nat_life(&nat, proto, head))
			continue;
		s.used++;
		s.open += proto == IPPROTO_TCP && (head & WEIR_NAT_OPEN) && !weir_nat_closing(head);
	}
	munmap((void *)entry, (size_t)room * WEIR_NAT_PORTS * sizeof(*entry));
	*out = s;
	return 0;
}
