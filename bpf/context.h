/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* context.h -- where the packet begins and ends, in a way that every compiler and verifier accepts. */
#ifndef WEIR_BPF_CONTEXT_H
#define WEIR_BPF_CONTEXT_H

#ifndef offsetof
#define offsetof(type, field) __builtin_offsetof(type, field)
#endif

/* In assembly, because compilers merge such loads into one with a computed offset, which the
 * verifier refuses. */
#define CONTEXT_LOAD(ctx, field)                                                                   \
	({                                                                                         \
		void *at_;                                                                         \
		asm volatile("%[at] = *(u32 *)(%[base] + %[offset])"                               \
			     : [at] "=r"(at_)                                                      \
			     : [base] "r"(ctx), [offset] "i"(offsetof(struct xdp_md, field)));     \
		at_;                                                                               \
	})

static __always_inline void *packet_data(const struct xdp_md *ctx)
{
	return CONTEXT_LOAD(ctx, data);
}

static __always_inline void *packet_end(const struct xdp_md *ctx)
{
	return CONTEXT_LOAD(ctx, data_end);
}

#endif
