/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * crypt.bpf.c -- makes a service's cipher of its key (abi/quic.h): the one thing that only a program run by the agent
 * may do. The edge program has the map; this one is loaded with it, run once, and gone. The key stays in the kernel's
 * cipher alone.
 */
#include "bpf/kernel.h"

#include "bpf/abi/maps.h"
#include "bpf/abi/quic.h"
#include "bpf/ciphers.h"

#ifndef NULL
#define NULL ((void *)0)
#endif

#define ENOENT	   2
#define EOPNOTSUPP 95

char LICENSE[] SEC("license") = "Dual BSD/GPL";

extern struct bpf_crypto_ctx *bpf_crypto_ctx_create(const struct bpf_crypto_params *params, __u32 bytes,
						    int *err) __ksym __weak;
extern void bpf_crypto_ctx_release(struct bpf_crypto_ctx *ctx) __ksym __weak;

SEC("syscall")
int quic_key(struct weir_quic_secret *secret)
{
	struct bpf_crypto_params params = {
		.type = "skcipher",
		.algo = "ecb(aes)",
		.key_len = WEIR_QUIC_KEY,
	};
	struct quic_cipher *cipher;
	struct bpf_crypto_ctx *with;
	__u32 service = secret->service;
	int err = 0;

	if (!bpf_crypto_ctx_create || !bpf_crypto_ctx_release)
		return -EOPNOTSUPP;
	cipher = bpf_map_lookup_elem(&quic_ciphers, &service);
	if (!cipher)
		return -ENOENT;
	for (__u32 i = 0; i < WEIR_QUIC_KEY; i++)
		params.key[i] = secret->key[i];
	with = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	if (!with)
		return err ? err : -EOPNOTSUPP;
	with = bpf_kptr_xchg(&cipher->with, with);
	if (with)
		bpf_crypto_ctx_release(with);
	return 0;
}
