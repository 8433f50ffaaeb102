/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * gue.h -- the GUE header (draft-ietf-intarea-gue, version 0) with weir's private data.
 *
 * The private data has a fixed size for each outer family, so that the room that encapsulation
 * takes is known beforehand. It lies inside hlen with no flag set: the kernel's fou accepts and
 * skips it (net/ipv4/fou.c, validate_gue_flags()).
 *
 * It names up to three backends that owned the packet's slot before. A backend that has neither a
 * connection nor a SYN cookie for a TCP packet sends it to owners[next] with next + 1; as next only
 * grows and no owner is named twice, a packet never comes twice to the same one.
 *
 * Feedback. A balancer that wants it sets ASKS. The first owner that passes the packet on puts the balancer's
 * address in owners[0], which was just asked (SENDER). A later one that has the connection reports the flow to
 * that address: a control message of its own, by UDP from its tunnel address to the GUE port. The balancer
 * sends the flow's next packets there when that address is one of the slot's owners': nobody can name another.
 */
#ifndef WEIR_ABI_GUE_H
#define WEIR_ABI_GUE_H

#include "bpf/abi/maps.h"

#define WEIR_GUE_PORT  6080
#define WEIR_GUE_MAGIC 0x57             /* 'W' */

struct weir_gue {
	__u8   word;                    /* version (2 bits, 0), control (1 bit, 0), hlen in 32-bit words (5 bits) */
	__u8   proto;                   /* 4 or 41: what is inside */
	__be16 flags;                   /* 0 */
};
_Static_assert(sizeof(struct weir_gue) == 4, "gue");

enum weir_gue_flag {
	WEIR_GUE_ASKS   = 1 << 0,       /* the balancer wants to be told who has the connection */
	WEIR_GUE_SENDER = 1 << 1,       /* owners[0] is the balancer's address by now */
};

struct weir_gue_private {
	__u8  magic;                    /* WEIR_GUE_MAGIC */
	__u8  count;                    /* owners that follow and are meant, 0..3 */
	__u8  next;                     /* the first of them that was not asked yet */
	__u8  flags;                    /* enum weir_gue_flag */
	/* then WEIR_OWNERS addresses of the outer family */
};
_Static_assert(sizeof(struct weir_gue_private) == 4, "gue private");

/* The report: all of what is behind the UDP header. The kernel's fou drops control messages. */
#define WEIR_GUE_CONTROL 0x20           /* weir_gue.word of a control message without more words */
#define WEIR_GUE_REPORT  0xd7           /* weir_gue.proto: its type; from 128 on they are the user's */

struct weir_gue_report {
	struct weir_gue gue;
	__u8  magic;                    /* WEIR_GUE_MAGIC */
	__u8  version;                  /* 0 */
	__u16 zero;
	struct weir_flow flow;          /* client to service, TCP */
};
_Static_assert(sizeof(struct weir_gue_report) == 48, "gue report");

#define WEIR_GUE_WORDS4 ((sizeof(struct weir_gue_private) + WEIR_OWNERS * 4) / 4)       /* 4 */
#define WEIR_GUE_WORDS6 ((sizeof(struct weir_gue_private) + WEIR_OWNERS * 16) / 4)      /* 13 */

/* What encapsulation adds, in bytes. */
#define WEIR_ADDED_IPIP4 20
#define WEIR_ADDED_IPIP6 40
#define WEIR_ADDED_GUE4  (20 + 8 + 4 + 4 * WEIR_GUE_WORDS4)     /* 48 */
#define WEIR_ADDED_GUE6  (40 + 8 + 4 + 4 * WEIR_GUE_WORDS6)     /* 104 */

#endif
