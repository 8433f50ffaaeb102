/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ciphers.h -- the map of services' ciphers (abi/quic.h), which the edge program and quic_key share. */
#ifndef WEIR_BPF_CIPHERS_H
#define WEIR_BPF_CIPHERS_H

/* By a second name: clang 14 forgets the tag of a pointer to a structure itself. */
typedef struct bpf_crypto_ctx cipher;

/* Value of quic_ciphers (abi/quic.h). */
struct quic_cipher {
	cipher __attribute__((btf_type_tag("kptr"))) *with;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct quic_cipher);
	__uint(max_entries, WEIR_SERVICES_MAX);
} quic_ciphers SEC(".maps");

#endif
