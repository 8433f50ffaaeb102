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

/* RFC 1624, equation 3: one 16-bit word of the sum changed. */
static __always_inline __u16 checksum_replace(__u16 check, __u16 from, __u16 to)
{
	return checksum_fold((__u64)(__u16)~check + (__u16)~from + to);
}

#endif
