/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * sample.h -- packets that are copied for people to look at: what is asked for, and what comes out
 * of the ring. And SYN, FIN, RST counted by service. See maps.h for the conventions.
 */
#ifndef WEIR_ABI_SAMPLE_H
#define WEIR_ABI_SAMPLE_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#include "bpf/abi/maps.h"

#define WEIR_SAMPLE_FILTERS 4           /* looked for at the same time */
#define WEIR_SAMPLE_SNAP    256         /* bytes of a packet, at most */
#define WEIR_SAMPLE_RING    (1u << 20)  /* bytes of `samples`; what finds no room is counted as lost */

/* sample_filters: array of WEIR_SAMPLE_FILTERS. A packet is copied when all that is given agrees. Address
 * and ports are looked for at both ends of the packet, as it came and as it leaves. */
struct weir_sample_filter {
	__u64  reasons;                 /* 1 << enum weir_reason; 0: nothing, the filter is off */
	__u64  until;                   /* CLOCK_MONOTONIC in ns: off afterwards, whatever became of who asked */
	__be32 addr[4];                 /* IPv4 as ::ffff:a.b.c.d */
	__be32 mask[4];                 /* zero: any */
	__be16 port;                    /* (be); 0: any */
	__u8   proto;                   /* IPPROTO_*; 0: any */
	__u8   inner;                   /* 1: without the outer header that was put on */
	__u16  snap;                    /* bytes to copy; 0: WEIR_SAMPLE_SNAP */
	__u16  backend;                 /* index; 0: any */
	__u32  service;                 /* number + 1; 0: any */
	__u32  one_of;                  /* one of so many of these, by chance; 0, 1: each */
};
_Static_assert(sizeof(struct weir_sample_filter) == 64, "sample filter");
_Static_assert(WEIR_REASONS_MAX <= 64, "a bit a reason");

/* samples: ring buffer. One record a packet, whatever the number of filters that it passed: the copy is as
 * long as the longest snap of these, and without the outer header when one of these wants that. */
struct weir_sample {
	__u64  time;                    /* CLOCK_MONOTONIC in ns */
	struct weir_flow flow;          /* as it came; of an encapsulated packet that arrived, the outer one */
	__u8   reason;                  /* enum weir_reason */
	__u8   action;                  /* XDP_* */
	__u8   filters;                 /* bit by bit, which of the filters it passed */
	__u8   tcp_flags;
	__u16  backend;                 /* index; 0: none */
	__u16  came;                    /* bytes of the frame as received */
	__u32  service;                 /* number + 1; 0: none */
	__u32  slot;                    /* index in all slots + 1; 0: none */
	__u32  hash;                    /* of the flow; 0: not needed */
	__u32  ifindex;                 /* where it came in */
	__u32  cpu;
	__u16  length;                  /* of the packet that is copied here, as it leaves */
	__u16  captured;                /* so many bytes of it follow */
};
_Static_assert(sizeof(struct weir_sample) == 80, "sample");

struct weir_sample_record {             /* in the ring */
	struct weir_sample head;
	__u8 data[WEIR_SAMPLE_SNAP];
};

/* sample_counts: per-CPU array of __u64. */
enum weir_sample_count { WEIR_SAMPLES_TAKEN, WEIR_SAMPLES_LOST, WEIR_SAMPLE_COUNTS };

/* flag_counts: per-CPU array by service number. */
struct weir_flag_count {
	__u64 syn;                      /* without ACK: connections that begin */
	__u64 fin, rst;
};
_Static_assert(sizeof(struct weir_flag_count) == 24, "flag count");

#endif
