/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packets.c -- the packets that most cases send (see packets.h).
 */
#include "tests/bpf/packets.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct frame f;
struct outcome o;

/* ---- what is there ---- */

int four_backends(void **state)
{
	edge_reset(state);
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, SLOTS, WEIR_ENCAP_IPIP, 0);
	put_service(VIP6, 80, IPPROTO_TCP, 1, 0, SLOTS, WEIR_ENCAP_IPIP, 0);
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, SLOTS, WEIR_ENCAP_IPIP, 0);
	put_service(VIP6, 80, IPPROTO_UDP, 1, 0, SLOTS, WEIR_ENCAP_IPIP, 0);
	for (uint16_t i = 0; i < SLOTS; i++) {
		char address[] = "198.18.1.11";

		address[10] = (char)('1' + i);
		put_backend((uint16_t)(i + 1), address, SELF, 0);
		slot(i)->current = (uint16_t)(i + 1);
	}
	return 0;
}

/* One service, one slot, one backend. */
void one_backend(const char *vip, const char *backend, const char *source, uint8_t encap)
{
	put_service(vip, 80, IPPROTO_TCP, 1, 0, 1, encap, 0);
	put_backend(1, backend, source, 0);
	slot(0)->current = 1;
}

/* ---- flows ---- */

struct weir_flow flow_of(bool is6, uint8_t proto, uint16_t port)
{
	struct weir_flow flow = { .proto = proto,
				  .family = is6 ? WEIR_FAMILY_6 : WEIR_FAMILY_4,
				  .source_port = htons(port),
				  .dest_port = htons(80) };

	address_bytes((uint8_t *)flow.source, is6 ? CLIENT6 : CLIENT);
	address_bytes((uint8_t *)flow.dest, is6 ? VIP6 : VIP);
	return flow;
}

/* The backend of the client's flow from that port. */
unsigned int owner_of(bool is6, uint8_t proto, uint16_t port)
{
	struct weir_flow flow = flow_of(is6, proto, port);

	return weir_flow_slot(weir_flow_hash(&flow), SLOTS) + 1;
}

uint32_t packet_hash(void)
{
	struct weir_flow flow = { .proto = IPPROTO_TCP, .family = f.data[14] >> 4 };
	uint32_t ports = 14 + (flow.family == 4 ? 20 : 40);

	if (flow.family == 4) {
		memcpy(flow.source, f.data + 26, 4);
		memcpy(flow.dest, f.data + 30, 4);
	} else {
		memcpy(flow.source, f.data + 22, 16);
		memcpy(flow.dest, f.data + 38, 16);
	}
	memcpy(&flow.source_port, f.data + ports, 2);
	memcpy(&flow.dest_port, f.data + ports + 2, 2);
	return weir_flow_hash(&flow);
}

/* ---- packets ---- */

void client_ip(bool is6, const char *dest)
{
	frame_eth(&f);
	if (is6)
		frame_ip6(&f, CLIENT6, dest ? dest : VIP6);
	else
		frame_ip4(&f, CLIENT, dest ? dest : VIP);
}

void client_segment(bool is6, const char *dest, uint16_t source, uint16_t port, uint8_t flags,
		    uint32_t payload)
{
	client_ip(is6, dest);
	frame_tcp(&f, source, port, flags);
	frame_bytes(&f, NULL, payload);
	frame_end(&f);
}

void client_tcp(bool is6, const char *dest, uint16_t source, uint16_t port)
{
	client_segment(is6, dest, source, port, TCP_ACK, 20);
}

void add_tag(uint16_t proto, uint16_t tci)
{
	const uint8_t t[4] = { (uint8_t)(proto >> 8), (uint8_t)proto, (uint8_t)(tci >> 8),
			       (uint8_t)tci };

	memmove(f.data + 16, f.data + 12, f.len - 12);
	memcpy(f.data + 12, t, 4);
	f.len += 4;
}

/* n bytes of no-operation options behind the IPv4 header at 14. */
void add_options4(uint32_t n)
{
	memmove(f.data + 34 + n, f.data + 34, f.len - 34);
	memset(f.data + 34, 1, n);
	f.len += n;
	f.data[14] = (uint8_t)(0x45 + n / 4);
	f.data[16] = (uint8_t)((f.len - 14) >> 8);
	f.data[17] = (uint8_t)(f.len - 14);
}

/* Puts a header of `bytes` before what the packet carries at 54; FRAGMENT: offset and flags. */
void add_extension(uint8_t type, uint32_t bytes, uint16_t offset)
{
	uint8_t *at = f.data + 54;

	memmove(at + bytes, at, f.len - 54);
	memset(at, 0, bytes);
	f.len += bytes;
	at[0] = f.data[20];
	f.data[20] = type;
	if (type == FRAGMENT) {
		at[2] = (uint8_t)(offset >> 8);
		at[3] = (uint8_t)offset;
		memcpy(at + 4, "\x12\x34\x56\x78", 4);
	} else {
		at[1] = (uint8_t)(type == AUTH ? bytes / 4 - 2 : bytes / 8 - 1);
	}
	f.data[18] = (uint8_t)((f.len - 54) >> 8);
	f.data[19] = (uint8_t)(f.len - 54);
}

/* IPv4: a fragment of a UDP datagram; only the first has ports. */
void fragment4(uint16_t source, uint16_t id, uint32_t offset, bool more, uint32_t bytes)
{
	client_ip(false, NULL);
	if (!offset) {
		frame_udp(&f, source, 80);
		bytes -= 8;
	}
	frame_bytes(&f, NULL, bytes);
	frame_end(&f);
	f.data[18] = (uint8_t)(id >> 8);
	f.data[19] = (uint8_t)id;
	f.data[20] = (uint8_t)((more ? 0x20 : 0) | offset / 8 >> 8);
	f.data[21] = (uint8_t)(offset / 8);
	f.data[23] = IPPROTO_UDP;
}

void fragment6(uint16_t source, uint32_t offset, bool more, uint32_t bytes, uint8_t next)
{
	client_ip(true, NULL);
	if (!offset) {
		frame_udp(&f, source, 80);
		bytes -= 8;
	}
	frame_bytes(&f, NULL, bytes);
	frame_end(&f);
	if (offset)
		f.data[20] = next;
	add_extension(FRAGMENT, 8, (uint16_t)(offset | more));
}

/* An error about a packet that the service sent to the client; what is quoted follows. */
void error_about(bool is6, uint8_t type)
{
	frame_eth(&f);
	if (is6)
		frame_ip6(&f, ROUTER6, VIP6);
	else
		frame_ip4(&f, ROUTER, VIP);
	frame_icmp(&f, type, 0);
	if (is6)
		frame_ip6(&f, VIP6, CLIENT6);
	else
		frame_ip4(&f, VIP, CLIENT);
}

unsigned int tcp_to(uint16_t port, uint8_t flags)
{
	frame_eth(&f);
	frame_ip4(&f, CLIENT, VIP);
	frame_tcp(&f, port, 80, flags);
	frame_end(&f);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_FORWARDED);
	return o.data[5]; /* the link address says which */
}

/* ---- what is expected ---- */

unsigned int flows_in(const struct bpf_map *map)
{
	struct weir_flow key, *from = NULL;
	unsigned int n = 0;

	for (; !bpf_map_get_next_key(bpf_map__fd(map), from, &key); from = &key)
		n++;
	return n;
}

void expect(uint32_t action, int reason)
{
	edge_run(&f, &o);
	assert_int_equal(o.reason, reason);
	assert_int_equal(o.action, action);
}

void expect_untouched(int reason)
{
	expect(XDP_PASS, reason);
	assert_int_equal(o.len, f.len);
	assert_memory_equal(o.data, f.data, f.len);
}

/* Encapsulated by IPIP, the inner packet as it was; the backend by its outer address. */
unsigned int sent_to(int reason)
{
	expect(XDP_TX, reason);
	assert_int_equal(o.len, f.len + 20);
	assert_memory_equal(o.data + 34, f.data + 14, f.len - 14);
	assert_true(ip4_checksum_ok(o.data + 14));
	return o.data[33] - 10u;
}

/* What came out is `added` bytes longer, to the backend's link address, the inner packet untouched. */
void expect_sent(uint32_t added)
{
	static const uint8_t link[12] = { 6, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 1 };

	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, f.len + added);
	assert_memory_equal(o.data, link, sizeof(link));
	assert_memory_equal(o.data + 14 + added, f.data + 14, f.len - 14);
}

/* The outer IPv4 header at 14, from a to b. */
void expect_outer4(const char *a, const char *b, uint8_t proto, uint8_t tos, uint32_t len)
{
	uint8_t want[20] = { 0x45, tos, (uint8_t)(len >> 8), (uint8_t)len, 0, 0, 0x40, 0, 64, proto };

	inet_pton(AF_INET, a, want + 12);
	inet_pton(AF_INET, b, want + 16);
	memcpy(want + 10, o.data + 24, 2);
	assert_memory_equal(o.data + 14, want, sizeof(want));
	assert_true(ip4_checksum_ok(o.data + 14));
	assert_int_equal(o.data[12] << 8 | o.data[13], 0x0800);
}
