/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * packet.h -- what the stages know about a packet, the cursor that reads headers, and the numbers
 * of the protocols (vmlinux.h has types, no macros).
 */
#ifndef WEIR_BPF_PACKET_H
#define WEIR_BPF_PACKET_H

#include "bpf/context.h"

#define ETH_P_IP        0x0800
#define ETH_P_IPV6      0x86dd
#define ETH_P_8021Q     0x8100
#define ETH_P_8021AD    0x88a8
#define ETH_HLEN        14
#define VLAN_HLEN       4
#define IP_DF           0x4000
#define IP_MF           0x2000
#define IP_OFFSET       0x1fff
#define AF_INET         2
#define AF_INET6        10
#define DEFAULT_TTL     64              /* RFC 1700 */
#define IPPROTO_ICMPV6  58              /* not in enum: user space has it elsewhere */
#define NEXTHDR_HOP     0               /* RFC 8200 section 4; no macros in vmlinux.h */
#define NEXTHDR_ROUTING 43
#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_AUTH    51
#define NEXTHDR_DEST    60
#define TCP_FLAG_BYTE_FIN 0x01
#define TCP_FLAG_BYTE_SYN 0x02
#define TCP_FLAG_BYTE_RST 0x04
#define TCP_FLAG_BYTE_ACK 0x10
#define ICMP_UNREACH    3
#define ICMP_FRAG_NEEDED_CODE 4
#define ICMP_ECHO_REQUEST 8
#define ICMP_TTL        11
#define ICMP_PARAMETER  12
#define ICMP6_UNREACH   1
#define ICMP6_TOO_BIG   2
#define ICMP6_PARAMETER 4
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY   129

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* A stage that neither sends, passes nor drops. */
#define CONTINUE (-1)

/* p->tagged: of the bits of struct weir_device and weir_backend, and this one. */
#define TAG_CAME 1 /* the frame came with a tag, which was taken off */

enum fragment_kind { FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER };

struct packet {
	/* client → service; of the quoted packet for ICMP errors */
	struct weir_flow flow __attribute__((aligned(8)));
	__u32 hash;                     /* of the flow */
	__u32 bytes;                    /* of the frame as received (while parsed: without tag) */
	__be32 fragment_id;
	__u32 service;                  /* number + 1; 0: not for a service */
	__u32 slot;                     /* index + 1; 0: not by a slot */
	__u32 other;                    /* the same of the second candidate; 0: there is none */
	__u16 backend;                  /* index; 0: none */
	__u16 ip_bytes;                 /* IP header and payload */
	__u16 transport;                /* offset of the transport header in the frame */
	__u8 service_flags, encap;      /* of the service */
	__u8 tos;                       /* or traffic class */
	__u8 tcp_flags;
	__u8 fragment;                  /* enum fragment_kind */
	__u8 quoted;                    /* the flow was read from an ICMP error */
	__u8 action;                    /* XDP_*, as the stage that ended it decided */
	__u8 asked;                     /* this node owns the slot, but does not know the connection */
	__u8 owned;                     /* the slot had earlier owners */
	__u8 back;                      /* an answer to who sent it: in the VLAN that it came in */
	__u8 tagged;                    /* TAG_CAME, WEIR_BACKEND_VLAN, _AD: what stage_retag has to look at */
	__be16 tag_proto, tag;          /* of the VLAN tag that was taken off; proto 0: none. After
					   stage_retag: of the one with which it leaves */
	__u16 vlan;                     /* with WEIR_BACKEND_VLAN: in which it goes on */
};

/* Where the reader is; `pos` moves only when a pull worked. */
struct cursor {
	void *pos, *end;
};

/* A failed pull returns NULL and moves nothing. */
static __always_inline void *cursor_pull(struct cursor *c, __u32 len)
{
	void *header = c->pos;

	if (header + len > c->end)
		return NULL;
	c->pos = header + len;
	return header;
}

/* A length that the verifier sees is at most `mask` (a power of two less one); without the empty
 * assembly the compiler would drop a mask that it thinks needless. */
static __always_inline __u32 bounded(__u32 len, __u32 mask)
{
	asm volatile("" : "+r"(len));
	return len & mask;
}

/* The way out of a stage: what is done and why. */
static __always_inline int leave(struct packet *p, enum xdp_action action, enum weir_reason reason)
{
	p->action = action;
	return reason;
}

static __always_inline void copy_address(__be32 *to, const __be32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

/* IPv4 as ::ffff:a.b.c.d. */
static __always_inline void map_address(__be32 *to, const __be32 *from, __u8 family)
{
	if (family == WEIR_FAMILY_6) {
		copy_address(to, from);
		return;
	}
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = from[0];
}

/* An address and two ports are written and read with the same widths: a processor that reads eight
 * bytes of which it wrote four a moment ago waits until all is in its cache (about 5 ns each time). */
static __always_inline void put_address4(__be32 *to, __be32 from)
{
	*(__u64 *)to = from;
}

static __always_inline void put_address6(__be32 *to, const __be32 *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

static __always_inline void put_ports(struct weir_flow *flow, const void *transport)
{
	*(__be32 *)&flow->source_port = *(const __be32 *)transport;
}

static __always_inline bool address_is_zero(const __be32 *a)
{
	return !(a[0] | a[1] | a[2] | a[3]);
}

static __always_inline const struct weir_settings *settings_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

#endif
