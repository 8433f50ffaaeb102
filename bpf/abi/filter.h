/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * filter.h -- the maps of the filter: whose packets are dropped, whose are never limited, and how much
 * a source's network may send. Fixed widths as in maps.h; all zero means that nothing is filtered.
 *
 * Lists (settings.on, WEIR_ON_BLOCK) look at the outermost source of every IP packet, fragments and
 * encapsulated ones too. Limits (WEIR_ON_LIMIT) count packets for a service alone, by the source of
 * the client: what a balancer encapsulates for this node is for no service, and is not limited.
 */
#ifndef WEIR_ABI_FILTER_H
#define WEIR_ABI_FILTER_H

#include "bpf/abi/maps.h"

/* ---- lists: filter4, filter6: arrays of one, each with an LPM trie -------------------------------- */
/* A new list is a new trie that takes the place of the old one. The longest prefix decides, so an
 * entry to block that lies inside one to allow must not be there: the agent leaves it out. */
#define WEIR_FILTER_MAX 4194304u        /* entries of a trie; the loader makes them as large as needed */

struct weir_prefix4 {
	__u32  bits;
	__be32 addr;
};
_Static_assert(sizeof(struct weir_prefix4) == 8, "prefix4");
/* IPv6: struct weir_prefix. The value of both, __u32: */
enum weir_verdict {
	WEIR_VERDICT_NONE  = 0,
	WEIR_VERDICT_BLOCK = 1,         /* dropped */
	WEIR_VERDICT_ALLOW = 2,         /* never blocked, never limited */
};

/* filter_hints: array of __u64, mapped by the loader. A bit that is not set says that no entry covers
 * the address: most packets need no look into the trie. IPv4: a bit for each /24. IPv6: a bit by the
 * hash of the first 48 bits and one by the first 32 for shorter entries; entries shorter than
 * WEIR_HINT6_SHORT set them all. Bits may be set needlessly, never missing: set first, then swap. */
#define WEIR_HINT4_WORDS (1u << 18)     /* 2^24 bits */
#define WEIR_HINT6_WORDS (1u << 16)     /* 2^22 bits, behind those of IPv4 */
#define WEIR_HINT6_SHORT 20             /* bits */

static inline __attribute__((always_inline)) __u32 weir_hint4(__u32 addr /* host order */)
{
	return addr >> 8;
}

/* first: the address's first 32 bits; next: the 16 behind them, 0x10000 for "not looked at". */
static inline __attribute__((always_inline)) __u32 weir_hint6(__u32 first, __u32 next)
{
	__u64 hash = (((__u64)next << 32) | first) * 0x9e3779b97f4a7c15ULL;

	return (WEIR_HINT4_WORDS << 6) + (__u32)(hash >> 42);
}

/* ---- limits: filter_limits: array of one ---------------------------------------------------------- */
enum weir_class {
	WEIR_CLASS_SYN,                 /* TCP with SYN and without ACK */
	WEIR_CLASS_UDP,                 /* UDP, and its later fragments */
	WEIR_CLASS_DNS,                 /* UDP to port 53, when limited by itself */
	WEIR_CLASSES,
};

/* A token bucket as one number (GCRA, ITU-T I.371): the time until which the bucket is paid for. A packet
 * passes when that lies at most `burst_ns` ahead, and pays cost_ns more. All times are monotonic. */
struct weir_limit {
	__u64 cost_ns;                  /* a second by the rate; 0: not limited */
	__u64 burst_ns;                 /* (burst - 1) times cost_ns */
};
_Static_assert(sizeof(struct weir_limit) == 16, "limit");

struct weir_limits {
	struct weir_limit of[WEIR_CLASSES]; /* of a prefix */
	struct weir_limit fresh;        /* prefixes that come into the table */
	__u8 bits4, bits6;              /* of a prefix: 0 to 32, 0 to 64 */
	__u8 zero[14];
};
_Static_assert(sizeof(struct weir_limits) == 80, "limits");

/* ---- buckets: filter_buckets: LRU hash -------------------------------------------------------------- */
#define WEIR_BUCKETS_MAX 131072u        /* prefixes */

struct weir_bucket_key {
	__be32 addr[2];                 /* IPv4 in the first; bits behind the prefix are zero */
	__u32  family;                  /* WEIR_FAMILY_4, _6 */
};
_Static_assert(sizeof(struct weir_bucket_key) == 12, "bucket key");

struct weir_bucket {
	__u64 paid[WEIR_CLASSES];       /* until when, ns; changed by atomic operations alone */
	__u64 dropped[WEIR_CLASSES];    /* packets, since the prefix came into the table */
};
_Static_assert(sizeof(struct weir_bucket) == 48, "bucket");

/* filter_shared: array of one. Prefixes that are new beyond limits.fresh get no entry (they would push
 * out those that behave) and no bucket of their own, but share these. */
struct weir_shared {
	__u64 fresh;                    /* paid until, of limits.fresh */
	struct weir_bucket strangers;   /* the bucket of all that have none */
	__u64 made;                     /* entries that were ever made in filter_buckets */
};
_Static_assert(sizeof(struct weir_shared) == 64, "shared");

#endif
