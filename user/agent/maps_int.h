/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps_int.h -- what maps.c (services), maps_backends.c, maps_slots.c, maps_prefix.c, maps_quic.c and
 * maps_sweep.c (what ends) share.
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
	struct weir_prefix_key *prefixes; /* networks beside the addresses of keys */
	size_t nprefixes;
};

struct quic_id {
	uint8_t id[WEIR_QUIC_ID_MAX];
	uint8_t len; /* 0: none */
};

struct maps {
	struct maps_fds fds;
	struct maps_max max;
	struct weir_slot *slots; /* the map itself */
	struct weir_service_info *info;
	struct service_state *state;
	struct weir_backend *backends;
	bool *backend_set;
	struct quic_id *quic;  /* by backend, as in quic_servers */
	uint32_t backends_end; /* one past the highest in use */
	int cpus;
	struct weir_count *per_cpu;
	char error[256];
};

int maps_fail(struct maps *m, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool maps_service_ok(const struct maps *m, int service); /* is there one of that number */
struct weir_service_key maps_echo_key(struct weir_service_key key);
struct weir_port_key maps_port_key(const struct weir_service_key *key);
void maps_state_free(struct service_state *state); /* leaves zeros */
int maps_info_write(struct maps *m, int number);
int maps_keys_write(struct maps *m, int number);
/* A backend or service that gets a number begins to count at 0; map: its per-CPU counters. */
int maps_count_clear(struct maps *m, int map, uint32_t index);
int maps_backend_write(struct maps *m, uint32_t index);
/* Services by networks (maps_prefix.c): as an earlier process left them; of a configuration (0, -ENOMEM,
 * -EADDRINUSE), which writes nothing; into the map; out of it, when nobody set them. */
int maps_prefixes_read(struct maps *m);
int maps_prefixes_set(struct maps *m, int number, const struct maps_address *a, size_t n);
int maps_prefixes_write(struct maps *m, int number);
int maps_prefixes_sweep(struct maps *m);
/* QUIC (maps_quic.c): likewise; what a backend or a service had goes with it. */
int maps_quic_read(struct maps *m);
/* Without `encrypted` the service's cipher goes. */
int maps_quic_config(struct maps *m, int number, const struct weir_quic *quic);
void maps_quic_forget(struct maps *m, uint32_t index);
/* Takes away what the service had in the maps but `keep` (n keys). */
int maps_keys_retire(struct maps *m, int number, const struct weir_service_key *keep, size_t n);

#endif
