/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.h -- the loader's view of the pinned maps: services, backends, slots, decapsulation, counters.
 *
 * What the maps hold is the state; this module keeps only a copy for searching and marks for the
 * sweep, so that a new loader that adopts the maps knows what the old one knew. Every function
 * returns 0 (or a number) or -errno and may leave a sentence in maps_error(). Nothing here logs. slot_move()
 * and slot_settle() are pure: they are the transition rules.
 */
#ifndef WEIR_MAPS_H
#define WEIR_MAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/abi/maps.h"
#include "bpf/abi/quic.h"
#include "lib/addr.h"

struct maps;
struct netlink;

/* File descriptors of the maps; the caller keeps them open. */
struct maps_fds {
	int tx_ports, devices;
	int settings, services, service_info, slots, backends;
	int decap_sources, decap_ifaces, decap_targets;
	int reasons, service_counts, backend_counts;
	int tunnel_prefixes;
	int service_prefixes, quic_configs, quic_servers, quic_ciphers;
	int samples, sample_filters, sample_counts, flag_counts;        /* bpf/abi/sample.h */
	int filter4, filter6, filter_hints, filter_limits, filter_buckets, filter_shared;
	int notes, half_open, kept, backend_loads, reports;
	int nat_conf, nat_addresses, nat_ports, nat_flows, nat_counts;
	int tunnel_ports, listeners, listen_counts;     /* -1: no tunnels here */
};

/* How many entries the maps have (agent.limits). */
struct maps_max {
	uint32_t services, addresses, backends, slots;
};
const struct maps_max *maps_max(const struct maps *m);
int maps_open(struct maps **out, const struct maps_fds *fds);
void maps_close(struct maps *m);                /* accepts NULL */
const char *maps_error(const struct maps *m);

struct maps_address {
	struct addr addr;
	uint16_t port;                  /* host order */
	uint8_t proto;
	uint8_t prefix;                 /* bits of a network; 0: one address */
};

struct maps_service {
	char name[WEIR_NAME_MAX];
	uint32_t slots;
	uint8_t encap, flags;           /* as in struct weir_service */
	uint16_t naddresses;
	uint16_t port;                  /* of backends behind NAT, host order; 0: the address's own */
	struct weir_quic quic;          /* with WEIR_SERVICE_QUIC */
};

/* See dataplane.h for what these promise. */
int maps_service_set(struct maps *m, const struct maps_service *s, const struct maps_address *a);
int maps_backend_set(struct maps *m, int service, const char *name, const struct addr *address,
		     bool up);
/* The same for a former owner of slots that this configuration does not name: known by its name's id
 * (ring_id()). One that is there already stays as it is. A quarter of the room is left for backends that are configured. */
int maps_owner_set(struct maps *m, int service, uint64_t id, const struct addr *address, bool up);
/* The server ID of a service's backend (maps_quic.c); len 0: none. What another backend of the service
 * had is taken from it. */
int maps_backend_quic(struct maps *m, int service, uint32_t index, const uint8_t *id, uint8_t len);
/* Removes a service, its addresses and its backends at once. */
int maps_service_remove(struct maps *m, int service);
enum maps_scope { MAPS_CONFIGURED, MAPS_TUNNELS };
int maps_sweep(struct maps *m, enum maps_scope scope);
bool maps_is_tunnel(const struct maps *m, int service);
/* One past the highest index in use, and an entry of it (NULL: free). */
uint32_t maps_backends_end(const struct maps *m);
const struct weir_backend *maps_backend(const struct maps *m, uint32_t index);
struct netlink_way;
/* Writes what netlink knows about the way to a backend, when it is news. */
int maps_backend_way(struct maps *m, uint32_t index, const struct netlink_way *way);

/* The slots that a service has or, when their number was changed, will have. */
struct weir_slot *maps_slots(struct maps *m, int service, uint32_t *n);
int maps_slots_set(struct maps *m, int service, const uint16_t *owner, uint32_t n,
		   uint32_t generation, uint32_t now);
/* Copies of slots offset … offset + n - 1 (at most the service's; returns how many it has in all), and back
 * (slot_copy(); returns how many changed). In them `since` and `elsewhere` are seconds ago, 0 where the slot is
 * steady: that is what other machines understand. */
int maps_table_get(const struct maps *m, int service, uint32_t offset, struct weir_slot *out,
		   uint32_t n, uint32_t now);
int maps_table_put(struct maps *m, int service, uint32_t offset, const struct weir_slot *in,
		   uint32_t n, bool serving, uint32_t now);
uint32_t maps_generation(const struct maps *m, int service);
/* Ends the transitions that are due; returns how many slots are still in one. */
uint32_t maps_settle(struct maps *m, uint32_t now, uint32_t drain_s);
uint32_t maps_in_transition(const struct maps *m, int service);
/* Marks in live[65536] when transitions that go on began (`since`); returns how many slots are in one. */
uint32_t maps_transitions(const struct maps *m, uint8_t *live);

/* ---- without state (mapset.c) ---- */
/* Sums an entry of a per-CPU counter map. */
int mapset_count(int map, uint32_t index, struct weir_count *out);
/* Switches features off and on (enum weir_off), leaving other settings as they are. */
int mapset_off(const struct maps_fds *fds, uint32_t off, uint32_t on);
/* The same for what is off by default (enum weir_on); settings: the map. */
int mapset_on(int settings, uint32_t on, uint32_t off);
/* To be called after each change of services or service_prefixes, and before slots that were a service's
 * are used otherwise: the program remembers services (settings.services_version). */
int mapset_services_changed(const struct maps_fds *fds);
/* Replace what the maps hold by these. */
/* Those that may send this (value); where `not` (m prefixes) covers one already it is left out. */
int mapset_decap_sources(const struct maps_fds *fds, const struct addr_prefix *from, size_t n,
			 enum weir_decap value, const struct addr_prefix *not, size_t m);
int mapset_tunnel_prefixes(const struct maps_fds *fds, const struct addr_prefix *prefix, size_t n);
int mapset_decap_ifaces(const struct maps_fds *fds, const uint32_t *ifindex, size_t n);
/* Of any map whose keys are struct weir_target. */
int mapset_targets(int map, const struct addr *own, size_t n);
int mapset_tx_ports(const struct maps_fds *fds, const uint32_t *ifindex, size_t n);
int mapset_decap_targets(const struct maps_fds *fds, const struct addr *own, size_t n);

/* ---- the transition rules (slot.c) ---- */
/* Rules 1 and 2: gives *slot to the backend `to`. Returns false when it has it already. */
bool slot_move(struct weir_slot *slot, uint16_t to, bool old_is_up, uint32_t now);
/* Rule 3. Returns true when the transition ends now. */
bool slot_settle(struct weir_slot *slot, uint32_t now, uint32_t drain_s);

/* Takes over what a sister knows of the same slot, theirs, in this node's indexes and time. An empty slot
 * takes all; a steady one of another backend too, unless packets went through it meanwhile (serving):
 * its connections are where it says; one in transition, whose notes count, and any other learn earlier
 * owners alone. Returns whether anything changed. */
bool slot_copy(struct weir_slot *slot, const struct weir_slot *theirs, bool serving);

/* Monotonic seconds as the packet path counts them. */
uint32_t maps_now(void);

#endif
