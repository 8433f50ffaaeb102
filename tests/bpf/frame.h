/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h -- makes Ethernet frames for tests, layer by layer, and looks at them.
 *
 * Layers are added from the outside in; frame_end() then sets lengths and checksums of every IP and
 * transport header that was added. Addresses are text. A mistake in a test aborts.
 */
#ifndef WEIR_TESTS_FRAME_H
#define WEIR_TESTS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX    4096
#define FRAME_LAYERS 8

struct frame {
	uint8_t data[FRAME_MAX];
	uint32_t len;
	struct { uint8_t kind; uint32_t at; } layer[FRAME_LAYERS];
	unsigned int layers;
};

void frame_eth(struct frame *f);                /* type is set by the next layer */
void *frame_ip4(struct frame *f, const char *source, const char *dest);
void *frame_ip6(struct frame *f, const char *source, const char *dest);
void *frame_tcp(struct frame *f, uint16_t source, uint16_t dest, uint8_t flags);
void *frame_udp(struct frame *f, uint16_t source, uint16_t dest);
void *frame_icmp(struct frame *f, uint8_t type, uint8_t code);  /* of the family below */
void *frame_bytes(struct frame *f, const void *data, uint32_t len);     /* data NULL: a pattern */
void frame_end(struct frame *f);

/* The address as 16 bytes: IPv4 in the first four. */
void address_bytes(uint8_t out[16], const char *text);
/* Sums of a header that carries its checksum: true when right. */
bool ip4_checksum_ok(const void *ip);
/* Of the transport payload of an IP packet of either family at `ip`. */
bool transport_checksum_ok(const void *ip);

#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#endif
