/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * kernel.h -- the kernel's types, and of its crypto functions for BPF (6.10) what programs need of them: the machine
 * that builds may have an older kernel. The verifier compares these types by their names.
 */
#ifndef WEIR_BPF_KERNEL_H
#define WEIR_BPF_KERNEL_H

#define BPF_NO_KFUNC_PROTOTYPES
#define bpf_crypto_ctx	  bpf_crypto_ctx___kernel
#define bpf_crypto_params bpf_crypto_params___kernel
#include "vmlinux.h"
#undef bpf_crypto_ctx
#undef bpf_crypto_params

#include <bpf/bpf_helpers.h>

struct bpf_crypto_ctx {
	__u64 opaque;
};

/* include/linux/bpf_crypto.h and kernel/bpf/crypto.c */
struct bpf_crypto_params {
	char type[14];
	__u8 reserved[2];
	char algo[128];
	__u8 key[256];
	__u32 key_len;
	__u32 authsize;
};

#endif
