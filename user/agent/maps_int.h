/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps_int.h -- what maps.c (services, backends, slots) and maps_sweep.c (what ends) share.
 *
 * Two kinds of services live side by side: the configured ones, which are all set again by each
 * start and reload and swept then, and tunnels ("t:NAME"), which come and go one by one.
 */
#ifndef WEIR_MAPS_INT_H
#define WEIR_MAPS_INT_H

#include "user/agent/maps.h"

struct service_state {
	bool set;			       /* since the last sweep */
	uint32_t pending_first, pending_slots; /* slots that will replace those of info */
	struct weir_service value;	       /* as written for each address */
	struct weir_service_key *keys;
	size_t nkeys;
};

struct maps {
	struct maps_fds fds;
	struct maps_max max;
	struct weir_slot *slots; /* the map itself */
	struct weir_service_info *info;
	struct service_state *state;
	struct weir_backend *backends;
	bool *backend_set;
	uint32_t backends_end; /* one past the highest in use */
	int cpus;
	struct weir_count *per_cpu;
	char error[256];
};

int maps_fail(struct maps *m, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool maps_service_ok(const struct maps *m, int service); /* is there one of that number */
struct weir_service_key maps_echo_key(struct weir_service_key key);
struct weir_port_key maps_port_key(const struct weir_service_key *key);
int maps_info_write(struct maps *m, int number);
int maps_keys_write(struct maps *m, int number);
int maps_backend_write(struct maps *m, uint32_t index);
/* Takes away what the service had in the maps but `keep` (n keys). */
int maps_keys_retire(struct maps *m, int number, const struct weir_service_key *keep, size_t n);

#endif
