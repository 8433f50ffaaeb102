/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packets.h -- the packets that most cases send: a client's to a service with four backends, with a tag, options,
 * extension headers, in fragments, or quoted by an error; and what the program should do with them.
 *
 * Each maker fills the frame f from its start, or (add_...) changes it; expect() runs it and leaves what came out
 * in o. Addresses are text; dest NULL: the service's of that family.
 */
#ifndef WEIR_TESTS_PACKETS_H
#define WEIR_TESTS_PACKETS_H

#include "bpf/abi/hash.h"
#include "tests/bpf/edge.h"

#define CLIENT	"192.0.2.1"
#define CLIENT6 "2001:db8:c::1"
#define ROUTER	"192.0.2.254"
#define ROUTER6 "2001:db8:c::fe"
#define VIP	"198.18.1.100"
#define VIP6	"2001:db8:1::100"
#define SELF	"198.18.1.1"
#define SELF6	"2001:db8:1::1"
#define BACK	"198.18.1.11"
#define BACK6	"2001:db8:1::11"
#define SLOTS	4

/* IPv6 extension headers */
#define HOP	 0
#define ROUTING	 43
#define FRAGMENT 44
#define AUTH	 51
#define DEST	 60

struct bpf_map;

extern struct frame f;
extern struct outcome o;

/* A test's setup: service 1 on port 80 of VIP and VIP6, TCP and UDP by IPIP; slot i has backend i + 1, 198.18.1.11
 * and so on. */
int four_backends(void **state);
/* Service 1 on TCP port 80 with one slot, whose backend is 1. */
void one_backend(const char *vip, const char *backend, const char *source, uint8_t encap);

/* The client's flow to port 80, and its backend among the four. */
struct weir_flow flow_of(bool is6, uint8_t proto, uint16_t port);
unsigned int owner_of(bool is6, uint8_t proto, uint16_t port);
/* The hash of the TCP flow that f is of. */
uint32_t packet_hash(void);

void client_ip(bool is6, const char *dest);             /* the payload and frame_end() are left to the caller */
void client_segment(bool is6, const char *dest, uint16_t source, uint16_t port, uint8_t flags,
		    uint32_t payload);
void client_tcp(bool is6, const char *dest, uint16_t source, uint16_t port);    /* ACK, 20 bytes */
void add_tag(uint16_t proto, uint16_t tci);
/* n bytes of no-operation options behind the IPv4 header at 14. */
void add_options4(uint32_t n);
/* Puts a header of `bytes` before what the packet carries at 54; FRAGMENT: offset and flags. */
void add_extension(uint8_t type, uint32_t bytes, uint16_t offset);
/* A fragment of a UDP datagram to port 80; only the first has ports. offset and bytes: of the IP payload. */
void fragment4(uint16_t source, uint16_t id, uint32_t offset, bool more, uint32_t bytes);
void fragment6(uint16_t source, uint32_t offset, bool more, uint32_t bytes, uint8_t next);
/* An ICMP error about a packet that the service sent to the client; what is quoted behind its IP header follows. */
void error_about(bool is6, uint8_t type);

/* The client's TCP packet from that port over IPv4 is forwarded: which backend gets it. */
unsigned int tcp_to(uint16_t port, uint8_t flags);
/* How many flows a map notes. */
unsigned int flows_in(const struct bpf_map *map);

void expect(uint32_t action, int reason);
void expect_untouched(int reason);
/* Encapsulated by IPIP, the inner packet as it was; which of the four backends. */
unsigned int sent_to(int reason);
/* What came out is `added` bytes longer, to backend 1's link address, the inner packet untouched. */
void expect_sent(uint32_t added);
/* The outer IPv4 header at 14, from a to b. */
void expect_outer4(const char *a, const char *b, uint8_t proto, uint8_t tos, uint32_t len);

#endif
