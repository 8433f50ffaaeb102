/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* lb_wrap.h -- what lb_bench.c and lb_wrap.bpf.c share. */
#ifndef WEIR_BENCH_LB_WRAP_H
#define WEIR_BENCH_LB_WRAP_H

#define LB_HEAD    64   /* bytes of the frame that are restored; outer headers overwrite fewer */
#define LB_NO_CALL 99   /* the tail call failed */

struct lb_run {
	__u32 which;            /* program of the array */
	__u32 flows;
	__u32 at;
	__u32 len;              /* of the frame */
	__u32 packets;          /* so far */
	__u32 last;             /* packets of this run */
	__u64 began, ended;     /* nanoseconds: before the first, before the last */
	__u64 returned[8];      /* by XDP action */
	__u64 failed;
	__u8 head[LB_HEAD];
};

#endif
