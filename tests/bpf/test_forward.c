/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing, service lookup, steady slots, encapsulation byte by byte, fragments. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/abi/hash.h"
#include "tests/bpf/edge.h"

#define CLIENT  "192.0.2.1"
#define CLIENT6 "2001:db8:c::1"
#define VIP     "198.18.1.100"
#define VIP6    "2001:db8:1::100"
#define BACK    "198.18.1.11"
#define BACK6   "2001:db8:1::11"
#define SELF    "198.18.1.1"
#define SELF6   "2001:db8:1::1"

static struct frame f;
static struct outcome o;

static void tcp4(const char *dest, uint16_t port, uint8_t flags, uint32_t payload)
{
	frame_eth(&f);
	frame_ip4(&f, CLIENT, dest);
	frame_tcp(&f, 40000, port, flags);
	frame_bytes(&f, NULL, payload);
	frame_end(&f);
}

static void tcp6(const char *dest, uint16_t port, uint8_t flags, uint32_t payload)
{
	frame_eth(&f);
	frame_ip6(&f, CLIENT6, dest);
	frame_tcp(&f, 40000, port, flags);
	frame_bytes(&f, NULL, payload);
	frame_end(&f);
}

static void udp4(const char *dest, uint16_t port)
{
	frame_eth(&f);
	frame_ip4(&f, CLIENT, dest);
	frame_udp(&f, 40000, port);
	frame_bytes(&f, NULL, 30);
	frame_end(&f);
}

/* One service, one slot, one backend. */
static void simple(const char *vip, const char *backend, const char *source, uint8_t encap)
{
	put_service(vip, 80, IPPROTO_TCP, 1, 0, 1, encap, 0);
	put_backend(1, backend, source, 0);
	slot(0)->current = 1;
}

static void expect(uint32_t action, int reason)
{
	edge_run(&f, &o);
	assert_int_equal(o.reason, reason);
	assert_int_equal(o.action, action);
}

static void expect_untouched(int reason)
{
	expect(XDP_PASS, reason);
	assert_int_equal(o.len, f.len);
	assert_memory_equal(o.data, f.data, f.len);
}

/* What came out is `added` bytes longer, to the backend's link address, the inner packet untouched. */
static void expect_sent(uint32_t added)
{
	static const uint8_t link[12] = { 6, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 1 };

	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, f.len + added);
	assert_memory_equal(o.data, link, sizeof(link));
	assert_memory_equal(o.data + 14 + added, f.data + 14, f.len - 14);
}

static uint32_t hash_of(void)
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

/* The outer IPv4 header at 14, from a to b. */
static void expect_outer4(const char *a, const char *b, uint8_t proto, uint8_t tos, uint32_t len)
{
	uint8_t want[20] = { 0x45, tos, (uint8_t)(len >> 8), (uint8_t)len, 0, 0, 0x40, 0, 64, proto };

	inet_pton(AF_INET, a, want + 12);
	inet_pton(AF_INET, b, want + 16);
	memcpy(want + 10, o.data + 24, 2);
	assert_memory_equal(o.data + 14, want, sizeof(want));
	assert_true(ip4_checksum_ok(o.data + 14));
	assert_int_equal(o.data[12] << 8 | o.data[13], 0x0800);
}

static void expect_outer6(const char *a, const char *b, uint8_t proto, uint8_t class, uint32_t payload)
{
	uint32_t hash = hash_of();
	uint8_t want[40] = { (uint8_t)(0x60 | class >> 4), (uint8_t)(class << 4 | (hash >> 16 & 15)),
			     (uint8_t)(hash >> 8), (uint8_t)hash, (uint8_t)(payload >> 8),
			     (uint8_t)payload, proto, 64 };

	inet_pton(AF_INET6, a, want + 8);
	inet_pton(AF_INET6, b, want + 24);
	assert_memory_equal(o.data + 14, want, sizeof(want));
	assert_int_equal(o.data[12] << 8 | o.data[13], 0x86dd);
}

/* UDP and GUE at `at`; len: of the UDP datagram. */
static void expect_gue(uint32_t at, uint8_t proto, uint32_t words, uint32_t len)
{
	uint16_t port = (uint16_t)(49152 | (hash_of() & 0x3fff));
	uint8_t want[16] = { (uint8_t)(port >> 8), (uint8_t)port, 6080 >> 8, 6080 & 255,
			     (uint8_t)(len >> 8), (uint8_t)len, 0, 0,
			     (uint8_t)words, proto, 0, 0, WEIR_GUE_MAGIC, 0, 0, 0 };

	assert_memory_equal(o.data + at, want, sizeof(want));
}

/* ---- parsing ---- */

static void other_ethertype_passes(void **state)
{
	(void)state;
	tcp4(VIP, 80, TCP_SYN, 0);
	f.data[12] = 0x08;
	f.data[13] = 0x06;
	expect_untouched(WEIR_REASON_NOT_IP);
}

static void truncated(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_SYN, 0);
	f.len = 14 + 10;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void truncated_tcp(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_SYN, 0);
	f.len = 14 + 20 + 12;
	f.data[17] = 32;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void truncated_udp(void **state)
{
	(void)state;
	udp4(VIP, 80);
	f.len = 14 + 20 + 6;
	f.data[17] = 26;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void length_beyond_the_frame(void **state)
{
	(void)state;
	tcp4(VIP, 80, TCP_SYN, 0);
	f.data[17] = 41;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void wrong_version(void **state)
{
	(void)state;
	tcp4(VIP, 80, TCP_SYN, 0);
	f.data[14] = 0x55;
	expect(XDP_DROP, WEIR_REASON_MALFORMED);
}

static void header_too_short(void **state)
{
	(void)state;
	tcp4(VIP, 80, TCP_SYN, 0);
	f.data[14] = 0x44;
	expect(XDP_DROP, WEIR_REASON_MALFORMED);
}

static void length_below_the_header(void **state)
{
	(void)state;
	tcp4(VIP, 80, TCP_SYN, 0);
	f.data[17] = 19;
	expect(XDP_DROP, WEIR_REASON_MALFORMED);
}

static void truncated6(void **state)
{
	(void)state;
	tcp6(VIP6, 80, TCP_SYN, 0);
	f.len = 14 + 30;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void length_beyond_the_frame6(void **state)
{
	(void)state;
	tcp6(VIP6, 80, TCP_SYN, 0);
	f.data[19] = 21;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void wrong_version6(void **state)
{
	(void)state;
	tcp6(VIP6, 80, TCP_SYN, 0);
	f.data[14] = 0x40;
	expect(XDP_DROP, WEIR_REASON_MALFORMED);
}

/* ---- services ---- */

static void stranger_passes(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4("198.18.1.101", 80, TCP_SYN, 10);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void stranger6_passes(void **state)
{
	(void)state;
	simple(VIP6, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp6("2001:db8:1::101", 80, TCP_SYN, 10);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void other_protocol_passes(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_SYN, 0);
	f.data[23] = IPPROTO_GRE;
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void other_port_passes(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 81, TCP_SYN, 0);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void udp_is_not_tcp(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	udp4(VIP, 80);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void port_0_is_any(void **state)
{
	(void)state;
	put_service(VIP, 0, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, BACK, SELF, 0);
	slot(0)->current = 1;
	tcp4(VIP, 12345, TCP_SYN, 0);
	expect_sent(WEIR_ADDED_IPIP4);
}

static void exact_port_comes_first(void **state)
{
	(void)state;
	put_service(VIP, 0, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_service(VIP, 80, IPPROTO_TCP, 2, 1, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, BACK, SELF, 0);
	put_backend(2, "198.18.1.12", SELF, 0);
	slot(0)->current = 1;
	slot(1)->current = 2;
	tcp4(VIP, 80, TCP_SYN, 0);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	expect_outer4(SELF, "198.18.1.12", IPPROTO_IPIP, 0, 60);
}

static void counted_by_service_and_backend(void **state)
{
	uint64_t service = service_packets(1), backend = backend_packets(1);

	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_SYN, 0);
	expect_sent(WEIR_ADDED_IPIP4);
	assert_int_equal(service_packets(1), service + 1);
	assert_int_equal(backend_packets(1), backend + 1);
}

/* ---- encapsulation ---- */

static void ipip_4_in_4(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_IPIP4);
	expect_outer4(SELF, BACK, IPPROTO_IPIP, 0, 20 + 140);
}

static void ipip_6_in_6(void **state)
{
	(void)state;
	simple(VIP6, BACK6, SELF6, WEIR_ENCAP_IPIP);
	tcp6(VIP6, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_IPIP6);
	expect_outer6(SELF6, BACK6, IPPROTO_IPV6, 0, 160);
}

static void ipip_4_in_6(void **state)
{
	(void)state;
	simple(VIP, BACK6, SELF6, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_IPIP6);
	expect_outer6(SELF6, BACK6, IPPROTO_IPIP, 0, 140);
}

static void ipip_6_in_4(void **state)
{
	(void)state;
	simple(VIP6, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp6(VIP6, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_IPIP4);
	expect_outer4(SELF, BACK, IPPROTO_IPV6, 0, 20 + 160);
}

static void gue_4_in_4(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_GUE);
	tcp4(VIP, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_GUE4);
	expect_outer4(SELF, BACK, IPPROTO_UDP, 0, WEIR_ADDED_GUE4 + 140);
	expect_gue(34, IPPROTO_IPIP, WEIR_GUE_WORDS4, WEIR_ADDED_GUE4 - 20 + 140);
}

static void gue_6_in_6(void **state)
{
	(void)state;
	simple(VIP6, BACK6, SELF6, WEIR_ENCAP_GUE);
	tcp6(VIP6, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_GUE6);
	expect_outer6(SELF6, BACK6, IPPROTO_UDP, 0, WEIR_ADDED_GUE6 - 40 + 160);
	expect_gue(54, IPPROTO_IPV6, WEIR_GUE_WORDS6, WEIR_ADDED_GUE6 - 40 + 160);
}

static void gue_4_in_6(void **state)
{
	(void)state;
	simple(VIP, BACK6, SELF6, WEIR_ENCAP_GUE);
	tcp4(VIP, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_GUE6);
	expect_gue(54, IPPROTO_IPIP, WEIR_GUE_WORDS6, WEIR_ADDED_GUE6 - 40 + 140);
}

static void gue_6_in_4(void **state)
{
	(void)state;
	simple(VIP6, BACK, SELF, WEIR_ENCAP_GUE);
	tcp6(VIP6, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_GUE4);
	expect_gue(34, IPPROTO_IPV6, WEIR_GUE_WORDS4, WEIR_ADDED_GUE4 - 20 + 160);
}

static void udp_is_sent(void **state)
{
	(void)state;
	put_service(VIP, 53, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, BACK, SELF, 0);
	slot(0)->current = 1;
	udp4(VIP, 53);
	expect_sent(WEIR_ADDED_IPIP4);
}

static void padding_does_not_count(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 0);
	f.len = 60;
	expect_sent(WEIR_ADDED_IPIP4);
	expect_outer4(SELF, BACK, IPPROTO_IPIP, 0, 60);
}

static void options_are_stepped_over(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 8);
	memmove(f.data + 42, f.data + 34, 20);
	memset(f.data + 34, 1, 8);
	f.data[14] = 0x47;
	expect_sent(WEIR_ADDED_IPIP4);
}

static void tos_is_copied(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 0);
	f.data[15] = 0xb9;
	expect_sent(WEIR_ADDED_IPIP4);
	expect_outer4(SELF, BACK, IPPROTO_IPIP, 0xb9, 60);
}

static void traffic_class_is_copied(void **state)
{
	(void)state;
	simple(VIP6, BACK6, SELF6, WEIR_ENCAP_IPIP);
	tcp6(VIP6, 80, TCP_ACK, 0);
	f.data[14] = 0x6b;
	f.data[15] = 0x90;
	expect_sent(WEIR_ADDED_IPIP6);
	expect_outer6(SELF6, BACK6, IPPROTO_IPV6, 0xb9, 60);
}

static void settings_change_ttl_and_port(void **state)
{
	const struct weir_settings s = { .ttl = 9, .gue_port = 5555 };

	(void)state;
	put_settings(&s);
	simple(VIP, BACK, SELF, WEIR_ENCAP_GUE);
	tcp4(VIP, 80, TCP_ACK, 0);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.data[22], 9);
	assert_int_equal(o.data[36] << 8 | o.data[37], 5555);
}

static void source_defaults_to_the_service(void **state)
{
	(void)state;
	simple(VIP, BACK, NULL, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 0);
	expect_sent(WEIR_ADDED_IPIP4);
	expect_outer4(VIP, BACK, IPPROTO_IPIP, 0, 60);
}

static void no_source_of_the_family(void **state)
{
	(void)state;
	simple(VIP, BACK6, NULL, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 0);
	expect(XDP_DROP, WEIR_REASON_NO_ROUTE);
}

static void no_way_and_no_route(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	put_backend_way(1, 0, 0);
	tcp4(VIP, 80, TCP_ACK, 0);
	expect(XDP_DROP, WEIR_REASON_NO_ROUTE);
}

static void other_interface_is_redirected(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	put_backend_way(1, OTHER, 0);
	tcp4(VIP, 80, TCP_ACK, 0);
	expect(XDP_REDIRECT, WEIR_REASON_FORWARDED);
}

/* ---- slots ---- */

static void flows_find_their_slot(void **state)
{
	(void)state;
	put_service(VIP, 80, IPPROTO_TCP, 1, 5, 16, WEIR_ENCAP_IPIP, 0);
	for (uint16_t i = 0; i < 16; i++) {
		char address[32];

		snprintf(address, sizeof(address), "198.18.1.%u", 11 + i);
		put_backend((uint16_t)(i + 1), address, SELF, 0);
		slot(5 + i)->current = (uint16_t)(i + 1);
	}
	for (uint16_t port = 1000; port < 1064; port++) {
		uint32_t want;

		frame_eth(&f);
		frame_ip4(&f, CLIENT, VIP);
		frame_tcp(&f, port, 80, TCP_ACK);
		frame_end(&f);
		want = weir_flow_slot(hash_of(), 16);
		expect(XDP_TX, WEIR_REASON_FORWARDED);
		assert_int_equal(o.data[5], want + 1);
	}
}

static void hash_spreads_evenly(void **state)
{
	uint32_t count[64] = { 0 };
	double square = 0;

	(void)state;
	for (uint32_t i = 0; i < 64000; i++) {
		struct weir_flow flow = { .source[0] = htonl(0x0a000000 + i / 16), .dest[0] = htonl(0xc6120164),
					  .source_port = htons((uint16_t)(40000 + i % 16)),
					  .dest_port = htons(80), .proto = IPPROTO_TCP, .family = 4 };

		count[weir_flow_slot(weir_flow_hash(&flow), 64)]++;
	}
	for (int i = 0; i < 64; i++)
		square += (count[i] - 1000.0) * (count[i] - 1000.0) / 1000.0;
	/* chi-squared with 63 degrees of freedom: 0.1% of the time above 104, below 32. */
	assert_true(square < 104);
}

static void service_without_slots(void **state)
{
	(void)state;
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, 0, WEIR_ENCAP_IPIP, 0);
	tcp4(VIP, 80, TCP_SYN, 0);
	expect(XDP_DROP, WEIR_REASON_NO_BACKEND);
}

static void slots_beyond_the_map(void **state)
{
	(void)state;
	put_service(VIP, 80, IPPROTO_TCP, 1, WEIR_SLOTS_MAX, 1, WEIR_ENCAP_IPIP, 0);
	tcp4(VIP, 80, TCP_SYN, 0);
	expect(XDP_DROP, WEIR_REASON_NO_BACKEND);
}

static void empty_slot(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	slot(0)->current = 0;
	tcp4(VIP, 80, TCP_SYN, 0);
	expect(XDP_DROP, WEIR_REASON_NO_BACKEND);
}

static void backend_that_is_not_there(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	slot(0)->current = 3;
	tcp4(VIP, 80, TCP_SYN, 0);
	expect(XDP_DROP, WEIR_REASON_NO_BACKEND);
}

static void down_and_alone(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	put_backend(1, BACK, SELF, WEIR_BACKEND_DOWN);
	tcp4(VIP, 80, TCP_SYN, 0);
	expect(XDP_DROP, WEIR_REASON_BACKEND_DOWN);
}

static void down_with_an_earlier_owner(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	put_backend(1, BACK, SELF, WEIR_BACKEND_DOWN);
	put_backend(2, "198.18.1.12", SELF, WEIR_BACKEND_DOWN);
	put_backend(3, "198.18.1.13", SELF, 0);
	slot(0)->owners[0] = 2;
	slot(0)->owners[1] = 3;
	tcp4(VIP, 80, TCP_SYN, 0);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.data[5], 3);
}

static void this_node_is_left_to_the_host(void **state)
{
	(void)state;
	simple(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	put_backend(1, BACK, SELF, WEIR_BACKEND_LOCAL);
	tcp4(VIP, 80, TCP_SYN, 0);
	expect_untouched(WEIR_REASON_LOCAL);
}

/* ---- fragments ---- */

static void fragment4(uint16_t offset, bool more, uint16_t id)
{
	udp4(VIP, 53);
	f.data[18] = (uint8_t)(id >> 8);
	f.data[19] = (uint8_t)id;
	f.data[20] = (uint8_t)((more ? 0x20 : 0) | offset >> 8);
	f.data[21] = (uint8_t)offset;
}

static void udp_service(void)
{
	put_service(VIP, 53, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, BACK, SELF, 0);
	slot(0)->current = 1;
}

static void later_fragment_follows_the_first(void **state)
{
	(void)state;
	udp_service();
	fragment4(0, true, 77);
	expect_sent(WEIR_ADDED_IPIP4);
	fragment4(100, false, 77);
	expect(XDP_TX, WEIR_REASON_FRAGMENT);
	expect_outer4(SELF, BACK, IPPROTO_IPIP, 0, f.len - 14 + 20);
}

static void later_fragment_to_a_backend_that_is_down(void **state)
{
	(void)state;
	udp_service();
	put_backend(2, "198.18.1.12", SELF, 0);
	slot(0)->owners[0] = 2;
	fragment4(0, true, 77);
	expect_sent(WEIR_ADDED_IPIP4);
	put_backend(1, BACK, SELF, WEIR_BACKEND_DOWN);
	fragment4(100, false, 77);
	expect(XDP_DROP, WEIR_REASON_BACKEND_DOWN);
}

static void later_fragment_whose_backend_is_gone(void **state)
{
	(void)state;
	udp_service();
	fragment4(0, true, 77);
	expect_sent(WEIR_ADDED_IPIP4);
	put_backend_service(1, 9);      /* the index is another service's */
	fragment4(100, false, 77);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

static void later_fragment_alone(void **state)
{
	(void)state;
	udp_service();
	fragment4(100, false, 78);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

static void later_fragment_of_a_stranger(void **state)
{
	(void)state;
	fragment4(100, false, 79);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void fragment6(uint16_t offset, bool more)
{
	const uint8_t header[8] = { IPPROTO_UDP, 0, (uint8_t)(offset >> 5),
				    (uint8_t)(offset << 3 | (more ? 1 : 0)), 1, 2, 3, 4 };
	const uint8_t udp[16] = { 0x9c, 0x40, 0, 53, 0, 16 };
	uint8_t *ip;

	frame_eth(&f);
	ip = frame_ip6(&f, CLIENT6, VIP6);
	frame_bytes(&f, header, sizeof(header));
	frame_bytes(&f, udp, sizeof(udp));
	frame_end(&f);
	ip[6] = 44;
}

static void later_fragment6_follows_the_first(void **state)
{
	(void)state;
	put_service(VIP6, 53, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, BACK, SELF, 0);
	slot(0)->current = 1;
	fragment6(100, false);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
	fragment6(0, true);
	expect_sent(WEIR_ADDED_IPIP4);
	fragment6(100, false);
	expect(XDP_TX, WEIR_REASON_FRAGMENT);
}

/* GUE over IPv6 with a checksum that is right, whatever the length. */
static void gue6_checksum(void **state)
{
	struct weir_settings set = { .on = WEIR_ON_CHECKSUM };

	(void)state;
	simple(VIP, BACK6, SELF6, WEIR_ENCAP_GUE);
	put_service(VIP6, 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_GUE, 0);
	put_settings(&set);
	for (uint32_t payload = 0; payload < 1330; payload += payload < 70 ? 1 : 83) {
		for (int six = 0; six < 2; six++) {
			if (six)
				tcp6(VIP6, 80, TCP_ACK, payload);
			else
				tcp4(VIP, 80, TCP_ACK, payload);
			expect(XDP_TX, WEIR_REASON_FORWARDED);
			assert_int_equal(o.len, f.len + WEIR_ADDED_GUE6);
			assert_true(o.data[60] || o.data[61]);
			assert_true(transport_checksum_ok(o.data + 14));
		}
	}
	/* Over IPv4 it stays zero. */
	simple(VIP, BACK, SELF, WEIR_ENCAP_GUE);
	tcp4(VIP, 80, TCP_ACK, 20);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.data[40] | o.data[41], 0);
}

#define T(name) cmocka_unit_test_setup(name, edge_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(other_ethertype_passes), T(truncated), T(truncated_tcp), T(truncated_udp),
		T(length_beyond_the_frame), T(wrong_version), T(header_too_short),
		T(length_below_the_header), T(truncated6), T(length_beyond_the_frame6),
		T(wrong_version6), T(stranger_passes), T(stranger6_passes),
		T(other_protocol_passes), T(other_port_passes), T(udp_is_not_tcp),
		T(port_0_is_any), T(exact_port_comes_first), T(counted_by_service_and_backend),
		T(ipip_4_in_4), T(ipip_6_in_6), T(ipip_4_in_6), T(ipip_6_in_4), T(gue_4_in_4),
		T(gue_6_in_6), T(gue_4_in_6), T(gue_6_in_4), T(udp_is_sent), T(gue6_checksum),
		T(padding_does_not_count), T(options_are_stepped_over), T(tos_is_copied),
		T(traffic_class_is_copied), T(settings_change_ttl_and_port),
		T(source_defaults_to_the_service), T(no_source_of_the_family),
		T(no_way_and_no_route), T(other_interface_is_redirected), T(flows_find_their_slot),
		T(hash_spreads_evenly), T(service_without_slots), T(slots_beyond_the_map),
		T(empty_slot), T(backend_that_is_not_there), T(down_and_alone),
		T(down_with_an_earlier_owner), T(this_node_is_left_to_the_host),
		T(later_fragment_follows_the_first), T(later_fragment_alone),
		T(later_fragment_to_a_backend_that_is_down), T(later_fragment_whose_backend_is_gone),
		T(later_fragment_of_a_stranger), T(later_fragment6_follows_the_first),
	};

	return cmocka_run_group_tests_name("forward", tests, edge_load, edge_unload);
}
