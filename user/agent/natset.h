/* SPDX-License-Identifier: Apache-2.0 */
/*
 * natset.h -- the loader's hold of NAT's maps (bpf/abi/nat.h): which addresses it has, how long
 * entries live, and how full it is.
 *
 * An address keeps its place as long as it is configured, so that a restart or a reload breaks no
 * flow of it. One that goes takes its flows along. Functions return 0 or -errno; nothing here logs.
 */
#ifndef WEIR_NATSET_H
#define WEIR_NATSET_H

#include <stddef.h>
#include <stdint.h>

#include "bpf/abi/nat.h"
#include "lib/addr.h"

struct natset_fds {
	int settings, conf, addresses, ports, flows, counts;
};

struct natset_want {
	uint32_t n;                     /* 0: no NAT, the stage is switched off */
	uint32_t tcp_s, udp_s;
	struct addr addr[WEIR_NAT_PLACES];
};

/* -ENOSPC: nat_ports has no place for so many addresses. */
int natset_write(const struct natset_fds *fds, const struct natset_want *want);

struct natset_state {
	uint32_t addresses;
	uint32_t ports;                 /* that can be given out, of all addresses together */
	uint32_t used;                  /* by entries that are not expired */
	uint32_t open;                  /* of these, established TCP connections */
	uint64_t count[WEIR_NAT_COUNT];
};

/* Walks through all entries: some milliseconds. now: monotonic seconds. */
int natset_state(const struct natset_fds *fds, uint32_t now, struct natset_state *out);

#endif
