/* SPDX-License-Identifier: Apache-2.0 */
/* Encapsulation byte by byte. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/bpf/packets.h"

static void tcp4(const char *dest, uint16_t port, uint8_t flags, uint32_t payload)
{
	client_segment(false, dest, 40000, port, flags, payload);
}

static void tcp6(const char *dest, uint16_t port, uint8_t flags, uint32_t payload)
{
	client_segment(true, dest, 40000, port, flags, payload);
}

static void udp4(const char *dest, uint16_t port)
{
	client_ip(false, dest);
	frame_udp(&f, 40000, port);
	frame_bytes(&f, NULL, 30);
	frame_end(&f);
}

static void expect_outer6(const char *a, const char *b, uint8_t proto, uint8_t class, uint32_t payload)
{
	uint32_t hash = packet_hash();
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
	uint16_t port = (uint16_t)(49152 | (packet_hash() & 0x3fff));
	uint8_t want[16] = { (uint8_t)(port >> 8), (uint8_t)port, 6080 >> 8, 6080 & 255,
			     (uint8_t)(len >> 8), (uint8_t)len, 0, 0,
			     (uint8_t)words, proto, 0, 0, WEIR_GUE_MAGIC, 0, 0, 0 };

	assert_memory_equal(o.data + at, want, sizeof(want));
}

static void ipip_4_in_4(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_IPIP4);
	expect_outer4(SELF, BACK, IPPROTO_IPIP, 0, 20 + 140);
}

static void ipip_6_in_6(void **state)
{
	(void)state;
	one_backend(VIP6, BACK6, SELF6, WEIR_ENCAP_IPIP);
	tcp6(VIP6, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_IPIP6);
	expect_outer6(SELF6, BACK6, IPPROTO_IPV6, 0, 160);
}

static void ipip_4_in_6(void **state)
{
	(void)state;
	one_backend(VIP, BACK6, SELF6, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_IPIP6);
	expect_outer6(SELF6, BACK6, IPPROTO_IPIP, 0, 140);
}

static void ipip_6_in_4(void **state)
{
	(void)state;
	one_backend(VIP6, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp6(VIP6, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_IPIP4);
	expect_outer4(SELF, BACK, IPPROTO_IPV6, 0, 20 + 160);
}

static void gue_4_in_4(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_GUE);
	tcp4(VIP, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_GUE4);
	expect_outer4(SELF, BACK, IPPROTO_UDP, 0, WEIR_ADDED_GUE4 + 140);
	expect_gue(34, IPPROTO_IPIP, WEIR_GUE_WORDS4, WEIR_ADDED_GUE4 - 20 + 140);
}

static void gue_6_in_6(void **state)
{
	(void)state;
	one_backend(VIP6, BACK6, SELF6, WEIR_ENCAP_GUE);
	tcp6(VIP6, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_GUE6);
	expect_outer6(SELF6, BACK6, IPPROTO_UDP, 0, WEIR_ADDED_GUE6 - 40 + 160);
	expect_gue(54, IPPROTO_IPV6, WEIR_GUE_WORDS6, WEIR_ADDED_GUE6 - 40 + 160);
}

static void gue_4_in_6(void **state)
{
	(void)state;
	one_backend(VIP, BACK6, SELF6, WEIR_ENCAP_GUE);
	tcp4(VIP, 80, TCP_ACK, 100);
	expect_sent(WEIR_ADDED_GUE6);
	expect_gue(54, IPPROTO_IPIP, WEIR_GUE_WORDS6, WEIR_ADDED_GUE6 - 40 + 140);
}

static void gue_6_in_4(void **state)
{
	(void)state;
	one_backend(VIP6, BACK, SELF, WEIR_ENCAP_GUE);
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
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 0);
	f.len = 60;
	expect_sent(WEIR_ADDED_IPIP4);
	expect_outer4(SELF, BACK, IPPROTO_IPIP, 0, 60);
}

static void options_are_stepped_over(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 8);
	memmove(f.data + 42, f.data + 34, 20);
	memset(f.data + 34, 1, 8);
	f.data[14] = 0x47;
	expect_sent(WEIR_ADDED_IPIP4);
}

static void tos_is_copied(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 0);
	f.data[15] = 0xb9;
	expect_sent(WEIR_ADDED_IPIP4);
	expect_outer4(SELF, BACK, IPPROTO_IPIP, 0xb9, 60);
}

static void traffic_class_is_copied(void **state)
{
	(void)state;
	one_backend(VIP6, BACK6, SELF6, WEIR_ENCAP_IPIP);
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
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_GUE);
	tcp4(VIP, 80, TCP_ACK, 0);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.data[22], 9);
	assert_int_equal(o.data[36] << 8 | o.data[37], 5555);
}

static void source_defaults_to_the_service(void **state)
{
	(void)state;
	one_backend(VIP, BACK, NULL, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 0);
	expect_sent(WEIR_ADDED_IPIP4);
	expect_outer4(VIP, BACK, IPPROTO_IPIP, 0, 60);
}

static void no_source_of_the_family(void **state)
{
	(void)state;
	one_backend(VIP, BACK6, NULL, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_ACK, 0);
	expect(XDP_DROP, WEIR_REASON_NO_ROUTE);
}

static void no_way_and_no_route(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	put_backend_way(1, 0, 0);
	tcp4(VIP, 80, TCP_ACK, 0);
	expect(XDP_DROP, WEIR_REASON_NO_ROUTE);
}

static void other_interface_is_redirected(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	put_backend_way(1, OTHER, 0);
	tcp4(VIP, 80, TCP_ACK, 0);
	expect(XDP_REDIRECT, WEIR_REASON_FORWARDED);
}

/* GUE over IPv6 with a checksum that is right, whatever the length. */
static void gue6_checksum(void **state)
{
	struct weir_settings set = { .on = WEIR_ON_CHECKSUM };

	(void)state;
	one_backend(VIP, BACK6, SELF6, WEIR_ENCAP_GUE);
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
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_GUE);
	tcp4(VIP, 80, TCP_ACK, 20);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.data[40] | o.data[41], 0);
}

#define T(name) cmocka_unit_test_setup(name, edge_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ipip_4_in_4),
		T(ipip_6_in_6),
		T(ipip_4_in_6),
		T(ipip_6_in_4),
		T(gue_4_in_4),
		T(gue_6_in_6),
		T(gue_4_in_6),
		T(gue_6_in_4),
		T(udp_is_sent),
		T(padding_does_not_count),
		T(options_are_stepped_over),
		T(tos_is_copied),
		T(traffic_class_is_copied),
		T(settings_change_ttl_and_port),
		T(source_defaults_to_the_service),
		T(no_source_of_the_family),
		T(no_way_and_no_route),
		T(other_interface_is_redirected),
		T(gue6_checksum),
	};

	return cmocka_run_group_tests_name("encap", tests, edge_load, edge_unload);
}
