/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h -- for test_random: numbers by chance, the same for the same seed, and maps filled with them.
 *
 * There are few addresses and ports, so that packets often meet a service, a backend, a note, a port of
 * translation.
 */
#ifndef WEIR_TESTS_WORLD_H
#define WEIR_TESTS_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/abi/maps.h"

#define WORLD_NAT_PORT 2000 /* the first that translation takes */

void world_seed(uint64_t seed);
uint64_t draw(void);
uint32_t below(uint32_t n); /* 0 to n - 1 */
bool chance(uint32_t percent);

/* Addresses by family, 0 IPv4, 1 IPv6: services, this node, backends, clients, those of translation. */
extern const char *const world_vip[2][4], *const world_self[2], *const world_way[2], *const world_client[2],
	*const world_nat[2];
extern const uint16_t world_ports[4]; /* of services */
extern struct weir_settings world_settings; /* as they are now */

/* Neighbours and routes in a network namespace of its own, the filter's maps; ends the program when that fails. */
void world_open(void);
void world_random(void); /* everything anew but the settings */
void world_random_settings(void);
void world_drain(void); /* takes the samples out of their ring */

#endif
