/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * quic.h -- routing by connection IDs that servers make as QUIC-LB says
 * (draft-ietf-quic-load-balancers-21).
 *
 * Such an ID is one octet, the server ID, and a nonce. The first octet's upper three bits tell the
 * configuration, 0 to 6 (7: no balancer shall read it); the lower five are random, or the ID's
 * length less one. Lengths are the configuration's: a short header does not say how long its ID is.
 * Server ID and nonce may be encrypted (section 5.4), by the kernel's AES where it has BPF's crypto
 * functions (Linux 6.10, CONFIG_CRYPTO_ECB).
 */
#ifndef WEIR_ABI_QUIC_H
#define WEIR_ABI_QUIC_H

#include "bpf/abi/maps.h"

#define WEIR_QUIC_ID_MAX      15        /* bytes of a server ID (section 3.1 of the draft) */
#define WEIR_QUIC_NONCE_MIN   4
#define WEIR_QUIC_NONCE_MAX   18
#define WEIR_QUIC_CID_MAX     20        /* server ID and nonce have 19 together */
#define WEIR_QUIC_CONFIG_MAX  6
#define WEIR_QUIC_SERVERS_MAX WEIR_BACKENDS_MAX
#define WEIR_QUIC_FLOWS_MAX   32768u

/* quic_configs: array by the service's number. All zero: no configuration, everything goes by slots. */
struct weir_quic {
	__u8 config;                    /* configuration's number, 0..6 */
	__u8 server_id;                 /* bytes, 1..15; 0: none */
	__u8 nonce;                     /* bytes, 4..18 */
	__u8 encrypted;                 /* 1: by the service's cipher; without one all goes by slots */
};
_Static_assert(sizeof(struct weir_quic) == 4, "quic");

/* quic_ciphers: array by the service's number, of one pointer that the kernel keeps: user space reads
 * zeros, and takes a cipher away by writing any. The program quic_key (crypt.bpf.c) makes one; this is
 * its argument. It returns 0 or a negative errno, -EOPNOTSUPP where the kernel has no such functions. */
#define WEIR_QUIC_KEY 16                /* bytes: AES-128 */

struct weir_quic_secret {
	__u32 service;                  /* number */
	__u8  key[WEIR_QUIC_KEY];
};
_Static_assert(sizeof(struct weir_quic_secret) == 20, "quic secret");

/* quic_servers: hash, value __u32: the backend's index. */
struct weir_quic_key {
	__u32 service;                  /* number */
	__u8  id[WEIR_QUIC_ID_MAX];     /* zeros behind */
	__u8  len;
};
_Static_assert(sizeof(struct weir_quic_key) == 20, "quic key");

/* quic_flows: LRU hash, key struct weir_flow: flows that a server ID leads elsewhere than to their
 * slot's backend. ICMP errors quote no server's connection ID. */
struct weir_quic_flow {
	__u16 backend;                  /* index */
	__u16 last;                     /* monotonic seconds, low bits, of the last such packet */
};
_Static_assert(sizeof(struct weir_quic_flow) == 4, "quic flow");

#endif
