/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * egress.h -- keys and values of the maps of egress.bpf.c, the program behind the host's own stack.
 *
 * The loader alone writes them, and writes them anew at each start: nothing in them outlives it. It
 * uses them beside `services`, `backends` and `settings` of the edge program.
 */
#ifndef WEIR_ABI_EGRESS_H
#define WEIR_ABI_EGRESS_H

#include "bpf/abi/maps.h"

#define WEIR_PROBES_MAX    16384u       /* sockets of health checks; the least recently used give way */
#define WEIR_ANNOUNCES_MAX 1024u        /* addresses whose SYNs are looked at */

/* egress: array of one. All zero: nothing is done. */
struct weir_egress {
	__u32 mark;                     /* of probes that travel as traffic does; 0: none do */
	__u16 mss4, mss6;               /* largest MSS that may be announced; 0: any */
};
_Static_assert(sizeof(struct weir_egress) == 8, "egress");

/* egress_addrs: hash of struct weir_target, value __u32 1: sources of SYN and SYN-ACK whose MSS is bounded. */

/* probes: LRU hash by the socket's cookie (__u64, SO_COOKIE). */
struct weir_probe {
	__u16 backend;                  /* index in `backends` */
	__u8  encap;                    /* enum weir_encap */
	__u8  zero1;
	__u32 zero2;
};
_Static_assert(sizeof(struct weir_probe) == 8, "probe");

/* egress_counts: per-CPU array of __u64. X(NAME, meaning) */
#define WEIR_EGRESS_COUNTS(X)                                                                      \
	X(CLAMPED, "SYN and SYN-ACK whose announced MSS was lowered")                              \
	X(PROBED, "packets of health checks that were encapsulated to a backend")                  \
	X(NO_WAY, "of health checks, dropped: the backend's next hop is not known")                \
	X(STRAY, "of health checks that are over, dropped")                                        \
	X(NO_ROOM, "dropped: no room for the outer header")

enum weir_egress_count {
#define WEIR_EGRESS_NUMBER(name, meaning) WEIR_EGRESS_##name,
	WEIR_EGRESS_COUNTS(WEIR_EGRESS_NUMBER)
#undef WEIR_EGRESS_NUMBER
	WEIR_EGRESS_COUNT
};

#endif
