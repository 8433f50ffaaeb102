/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * nat.h -- translation for backends that run nothing of ours: the one copy for the kernel and for
 * user space.
 *
 * A flow of a service with `encap: nat` gets one port of one of this node's NAT addresses. The
 * backend sees that address and port as its client and answers there, so replies come back through
 * this node and find their flow by one array look-up.
 *
 * Each NAT address has a place; entry (place << 16 | port) of nat_ports belongs to it. Each CPU
 * takes ports from a range of its own in every address, so that no two ever want the same one.
 * An entry is expired when nothing passed for as long as its state allows (weir_nat_life()); it
 * then stays as it is until its port is taken for another flow.
 */
#ifndef WEIR_ABI_NAT_H
#define WEIR_ABI_NAT_H

#include "bpf/abi/maps.h"

#define WEIR_NAT_PLACES     16u         /* NAT addresses at most */
#define WEIR_NAT_PORTS      65536u      /* entries of each place */
#define WEIR_NAT_PORTS_MAX  (2 * WEIR_NAT_PORTS)        /* size of nat_ports unless told otherwise */
#define WEIR_NAT_FIRST_PORT 1024u       /* none below is used */
#define WEIR_NAT_FRAGMENTS_MAX 4096u

/* ---- nat_conf: array of one ------------------------------------------------------------------ */
struct weir_nat_place {
	__be32 addr[4];
	__u32  family;                  /* WEIR_FAMILY_4, _6; 0: free */
};
_Static_assert(sizeof(struct weir_nat_place) == 20, "NAT place");

struct weir_nat {
	__u16 first;                    /* ports of an address are [first, first + cpus * ports) */
	__u16 ports;                    /* of each CPU's range; 0: NAT is not set up */
	__u16 cpus;
	__u16 count[2];                 /* places of IPv4, IPv6 */
	__u16 zero;
	__u32 tcp_s;                    /* seconds without a packet after which an entry is expired: */
	__u32 half_open_s;              /* established, before that, after both FINs or a reset, */
	__u32 closing_s;                /* the same for a new flow to the same port of the same backend, */
	__u32 reuse_s;                  /* which may hold TIME-WAIT; UDP */
	__u32 udp_s;
	__u8  list[2][WEIR_NAT_PLACES]; /* which places */
	struct weir_nat_place place[WEIR_NAT_PLACES];
};
_Static_assert(sizeof(struct weir_nat) == 384, "NAT");

/* nat_addresses: hash, struct weir_nat_place to __u32 place. nat_cursors: per-CPU array, by family
 * (0: IPv4, 1: IPv6): where the CPU looks for a port next. */
struct weir_nat_cursor {
	__u16 address;                  /* index of list */
	__u16 offset;                   /* in the CPU's range */
};

/* ---- nat_ports: array, mapped by the agent --------------------------------------------------- */
enum weir_nat_state {                   /* the low byte of an entry's head */
	WEIR_NAT_OFFERED     = 1 << 0,  /* the backend sent SYN-ACK */
	WEIR_NAT_OPEN        = 1 << 1,  /* and the client acknowledged it */
	WEIR_NAT_FIN_CLIENT  = 1 << 2,  /* sent a FIN that is believed */
	WEIR_NAT_FIN_BACKEND = 1 << 3,
	WEIR_NAT_RESET       = 1 << 4,  /* a RST of either that is believed */
	WEIR_NAT_END_CLIENT  = 1 << 5,  /* its end is not believed yet: a FIN, with the bit above a RST */
	WEIR_NAT_END_BACKEND = 1 << 6,
	WEIR_NAT_BUSY        = 1 << 7,  /* being given to another flow: not to be read */
};

/* `head` is exchanged as one word: generation (32 bits), monotonic seconds of the last packet (24),
 * enum weir_nat_state (8). The generation grows each time that the port is given to another flow:
 * who finds it changed after reading the rest has read two flows mixed. */
struct weir_nat_entry {
	struct weir_flow flow;          /* as the client's packets have it; proto 0: never used */
	__u64  head;
	__u32  next[2];                 /* TCP, in the client's numbers and in the backend's: the initial
					   one; when open what the other side acknowledged, to within
					   16 KiB; or with WEIR_NAT_END_* where the side says it ended */
	__u16  backend;
	__be16 port;                    /* (be) of the backend */
	__u32  id;                      /* low bits of the backend's id: its index may get a new owner */
};
_Static_assert(sizeof(struct weir_nat_entry) == 64, "NAT entry");

/* nat_flows: hash, struct weir_flow to where its entry is. */
struct weir_nat_flow {
	__u32 index;                    /* of nat_ports */
	__u32 generation;
};

/* nat_fragments: LRU hash, struct weir_fragment_key to struct weir_nat_flow. */

/* ---- nat_counts: per-CPU array of struct weir_count, packets alone ---------------------------- */
#define WEIR_NAT_COUNTS(X)                                                                         \
	X(OPENED, "flows that were given a port")                                                  \
	X(EVICTED, "of these, with a port that another flow still used")                           \
	X(FULL, "flows for which no port was left")                                                \
	X(STRANGE, "replies that did not fit the flow of their port")

enum weir_nat_count {
#define WEIR_NAT_NUMBER(name, meaning) WEIR_NAT_COUNT_##name,
	WEIR_NAT_COUNTS(WEIR_NAT_NUMBER)
#undef WEIR_NAT_NUMBER
	WEIR_NAT_COUNT
};

static inline __attribute__((always_inline)) __u32 weir_nat_idle(__u64 head, __u32 now)
{
	__u32 idle = (now - (__u32)(head >> 8)) & 0xffffff;

	/* Another CPU's coarse clock may be a second ahead: not idle for half a year, but not at all. */
	return idle >= 0xffff00 ? 0 : idle;
}

static inline __attribute__((always_inline)) int weir_nat_closing(__u64 head)
{
	__u32 both = WEIR_NAT_FIN_CLIENT | WEIR_NAT_FIN_BACKEND;
	__u32 ends = WEIR_NAT_END_CLIENT | WEIR_NAT_END_BACKEND;

	return (head & (both | ends)) == both || (head & WEIR_NAT_RESET);
}

/* Seconds that an entry lives without a packet. */
static inline __attribute__((always_inline)) __u32 weir_nat_life(const struct weir_nat *nat,
								  __u8 proto, __u64 head)
{
	if (proto != 6)                 /* IPPROTO_TCP */
		return nat->udp_s;
	if (weir_nat_closing(head))
		return nat->closing_s;
	return head & WEIR_NAT_OPEN ? nat->tcp_s : nat->half_open_s;
}

#endif
