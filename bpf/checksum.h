/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* checksum.h -- the Internet checksum (RFC 1071) over what we write ourselves. */
#ifndef WEIR_BPF_CHECKSUM_H
#define WEIR_BPF_CHECKSUM_H

static __always_inline __u16 checksum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* Of an IPv4 header without options whose check field is zero. */
static __always_inline __u16 checksum_ip4(const struct iphdr *ip)
{
	const __u32 *word = (const void *)ip;

	return checksum_fold((__u64)word[0] + word[1] + word[2] + word[3] + word[4]);
}

/* A whole IPv4 header as five words, which compilers do better than field by field: DF set, id zero
 * (RFC 6864: an atomic datagram). Addresses are in network order. */
static __always_inline void write_ip4(void *at, __u8 tos, __u16 bytes, __u8 ttl, __u8 proto,
				      __be32 source, __be32 dest)
{
	__be32 *word = at;

	word[0] = bpf_htonl(4u << 28 | (sizeof(struct iphdr) / 4) << 24 | (__u32)tos << 16 | bytes);
	word[1] = bpf_htonl(IP_DF);
	word[2] = bpf_htonl((__u32)ttl << 24 | (__u32)proto << 16);
	word[3] = source;
	word[4] = dest;
	((__u16 *)at)[5] = checksum_ip4(at);
}

/* And an IPv6 header. label: 20 bits. */
static __always_inline void write_ip6(void *at, __u8 class, __u32 label, __u16 payload, __u8 ttl,
				      __u8 proto, const __be32 *source, const __be32 *dest)
{
	__be32 *word = at;

	word[0] = bpf_htonl(6u << 28 | (__u32)class << 20 | (label & 0xfffff));
	word[1] = bpf_htonl((__u32)payload << 16 | (__u32)proto << 8 | ttl);
	copy_address(word + 2, source);
	copy_address(word + 6, dest);
}

/* RFC 1624, equation 3: one 16-bit word of the sum changed. */
static __always_inline __u16 checksum_replace(__u16 check, __u16 from, __u16 to)
{
	return checksum_fold((__u64)(__u16)~check + (__u16)~from + to);
}

#endif
