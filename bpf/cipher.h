/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * cipher.h -- encrypted connection IDs of QUIC-LB (draft-ietf-quic-load-balancers-21 section 5.4): server ID and nonce
 * are one block of AES-128-ECB when they have 16 bytes, else a Feistel network of four rounds whose function is AES.
 *
 * The kernel's functions are weak: where it has none (before 6.10) libbpf leaves zeros and the verifier goes past them.
 * They want map memory to work on, hence a block for each CPU.
 */
#ifndef WEIR_BPF_CIPHER_H
#define WEIR_BPF_CIPHER_H

#include "bpf/ciphers.h"

extern int bpf_crypto_encrypt(struct bpf_crypto_ctx *ctx, const struct bpf_dynptr *from, const struct bpf_dynptr *to,
			      const struct bpf_dynptr *iv) __ksym __weak;
extern int bpf_crypto_decrypt(struct bpf_crypto_ctx *ctx, const struct bpf_dynptr *from, const struct bpf_dynptr *to,
			      const struct bpf_dynptr *iv) __ksym __weak;

#define AES_BLOCK      16
#define QUIC_HALF_MAX  10 /* bytes of half an ID, rounded up */
#define QUIC_ID_PLACES 32 /* two halves, the second one anywhere in the first 16 */

struct quic_block {
	__u64 from[2], to[2];	    /* AES */
	__u64 left[2], right[2];    /* halves of the ID */
	__u8 id[QUIC_ID_PLACES];    /* without its first octet; decrypted in place */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct quic_block);
	__uint(max_entries, 1);
} quic_block SEC(".maps");

/* Which bits of the halves of n bytes are theirs. An odd n divides the byte in the middle: its upper bits are the
 * left half's last ones, its lower bits the right half's first ones. */
struct quic_masks {
	__u64 left[2], right[2];
};

static __always_inline void quic_masks_of(struct quic_masks *m, __u32 n, __u32 half)
{
	__u64 first = half >= 8 ? ~0ULL : (1ULL << 8 * half) - 1;
	__u64 second = half > 8 ? (1ULL << 8 * (half - 8)) - 1 : 0;
	__u64 lower = 0x0fULL << 8 * ((half - 1) & 7);

	m->left[0] = m->right[0] = first;
	m->left[1] = m->right[1] = second;
	if (!(n & 1))
		return;
	if (half > 8)
		m->left[1] &= ~lower;
	else
		m->left[0] &= ~lower;
	m->right[0] &= ~0xf0ULL;
}

/* The half `to` of one round before: with AES of the other half, the ID's length and the round. */
static __always_inline int quic_round(struct quic_block *b, struct bpf_crypto_ctx *with, const struct bpf_dynptr *d,
				      const __u64 *by, __u64 *to, const __u64 *mask, __u64 n, __u64 round)
{
	b->from[0] = by[0];
	b->from[1] = by[1] | n << 48 | round << 56;
	if (bpf_crypto_encrypt(with, &d[0], &d[1], &d[2]))
		return -1;
	to[0] ^= b->to[0] & mask[0];
	to[1] ^= b->to[1] & mask[1];
	return 0;
}

/* b->left and b->right from b->id, and back. */
static __always_inline void quic_split(struct quic_block *b, const struct quic_masks *m, __u32 second)
{
	__u8 *left = (__u8 *)b->left, *right = (__u8 *)b->right;

	b->left[1] = b->right[1] = 0;
	for (__u32 i = 0; i < QUIC_HALF_MAX; i++) {
		left[i] = b->id[i];
		right[i] = b->id[(second + i) & (QUIC_ID_PLACES - 1)];
	}
	for (__u32 i = 0; i < 2; i++) {
		b->left[i] &= m->left[i];
		b->right[i] &= m->right[i];
	}
}

static __always_inline void quic_join(struct quic_block *b, __u32 n, __u32 half)
{
	const __u8 *left = (const __u8 *)b->left, *right = (const __u8 *)b->right;

	for (__u32 i = 0; i < QUIC_HALF_MAX; i++)
		b->id[i] = left[i];
	if (n & 1) /* the byte in the middle is both's */
		b->id[(half - 1) & 15] |= right[0];
	else
		b->id[half & 15] = right[0];
	for (__u32 i = 1; i < QUIC_HALF_MAX; i++)
		b->id[(n - half + i) & (QUIC_ID_PLACES - 1)] = right[i];
}

static __always_inline int quic_four_rounds(struct quic_block *b, struct bpf_crypto_ctx *with,
					    const struct bpf_dynptr *d, __u32 n)
{
	__u32 half = (n + 1) / 2;
	struct quic_masks m;

	quic_masks_of(&m, n, half);
	quic_split(b, &m, n - half);
	if (quic_round(b, with, d, b->right, b->left, m.left, n, 4) ||
	    quic_round(b, with, d, b->left, b->right, m.right, n, 3) ||
	    quic_round(b, with, d, b->right, b->left, m.left, n, 2) ||
	    quic_round(b, with, d, b->left, b->right, m.right, n, 1))
		return -1;
	quic_join(b, n, half);
	return 0;
}

/* Decrypts the ID in this CPU's block, of so many bytes: 0, or there is no cipher. */
__weak __noinline int stage_quic_decrypt(int service, int server_id, int nonce)
{
	__u32 zero = 0, key = service, n = (server_id + nonce) & 31;
	struct quic_block *b = bpf_map_lookup_elem(&quic_block, &zero);
	const struct quic_cipher *cipher = bpf_map_lookup_elem(&quic_ciphers, &key);
	struct bpf_crypto_ctx *with;
	struct bpf_dynptr d[3];

	if (!bpf_crypto_encrypt || !bpf_crypto_decrypt)
		return -1;
	if (!b || !cipher || n < 5 || n > WEIR_QUIC_CID_MAX - 1)
		return -1;
	with = cipher->with;
	if (!with)
		return -1;
	bpf_dynptr_from_mem(b->from, AES_BLOCK, 0, &d[0]);
	bpf_dynptr_from_mem(b->to, AES_BLOCK, 0, &d[1]);
	bpf_dynptr_from_mem(b->to, 0, 0, &d[2]); /* ECB has no initialization vector; 6.10 wants one of no bytes */
	if (n != AES_BLOCK)
		return quic_four_rounds(b, with, d, n);
	__builtin_memcpy(b->from, b->id, AES_BLOCK);
	if (bpf_crypto_decrypt(with, &d[0], &d[1], &d[2]))
		return -1;
	__builtin_memcpy(b->id, b->to, AES_BLOCK);
	return 0;
}

#endif
