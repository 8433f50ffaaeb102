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

struct weir_gue_private {
	__u8  magic;                    /* WEIR_GUE_MAGIC */
	__u8  count;                    /* owners that follow and are meant, 0..3 */
	__u8  next;                     /* the first of them that was not asked yet */
	__u8  zero;
	/* then WEIR_OWNERS addresses of the outer family */
};
_Static_assert(sizeof(struct weir_gue_private) == 4, "gue private");

#define WEIR_GUE_WORDS4 ((sizeof(struct weir_gue_private) + WEIR_OWNERS * 4) / 4)       /* 4 */
#define WEIR_GUE_WORDS6 ((sizeof(struct weir_gue_private) + WEIR_OWNERS * 16) / 4)      /* 13 */

/* What encapsulation adds, in bytes. */
#define WEIR_ADDED_IPIP4 20
#define WEIR_ADDED_IPIP6 40
#define WEIR_ADDED_GUE4  (20 + 8 + 4 + 4 * WEIR_GUE_WORDS4)     /* 48 */
#define WEIR_ADDED_GUE6  (40 + 8 + 4 + 4 * WEIR_GUE_WORDS6)     /* 104 */

#endif
