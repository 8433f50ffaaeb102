/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing, service lookup, steady slots. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

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
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_SYN, 0);
	f.len = 14 + 10;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void truncated_tcp(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
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
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4("198.18.1.101", 80, TCP_SYN, 10);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void stranger6_passes(void **state)
{
	(void)state;
	one_backend(VIP6, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp6("2001:db8:1::101", 80, TCP_SYN, 10);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void other_protocol_passes(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_SYN, 0);
	f.data[23] = IPPROTO_GRE;
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void other_port_passes(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 81, TCP_SYN, 0);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void udp_is_not_tcp(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
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
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	tcp4(VIP, 80, TCP_SYN, 0);
	expect_sent(WEIR_ADDED_IPIP4);
	assert_int_equal(service_packets(1), service + 1);
	assert_int_equal(backend_packets(1), backend + 1);
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
		want = weir_flow_slot(packet_hash(), 16);
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
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	slot(0)->current = 0;
	tcp4(VIP, 80, TCP_SYN, 0);
	expect(XDP_DROP, WEIR_REASON_NO_BACKEND);
}

static void backend_that_is_not_there(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	slot(0)->current = 3;
	tcp4(VIP, 80, TCP_SYN, 0);
	expect(XDP_DROP, WEIR_REASON_NO_BACKEND);
}

static void down_and_alone(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	put_backend(1, BACK, SELF, WEIR_BACKEND_DOWN);
	tcp4(VIP, 80, TCP_SYN, 0);
	expect(XDP_DROP, WEIR_REASON_BACKEND_DOWN);
}

static void down_with_an_earlier_owner(void **state)
{
	(void)state;
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
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
	one_backend(VIP, BACK, SELF, WEIR_ENCAP_IPIP);
	put_backend(1, BACK, SELF, WEIR_BACKEND_LOCAL);
	tcp4(VIP, 80, TCP_SYN, 0);
	expect_untouched(WEIR_REASON_LOCAL);
}

#define T(name) cmocka_unit_test_setup(name, edge_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(other_ethertype_passes),
		T(truncated),
		T(truncated_tcp),
		T(truncated_udp),
		T(length_beyond_the_frame),
		T(wrong_version),
		T(header_too_short),
		T(length_below_the_header),
		T(truncated6),
		T(length_beyond_the_frame6),
		T(wrong_version6),
		T(stranger_passes),
		T(stranger6_passes),
		T(other_protocol_passes),
		T(other_port_passes),
		T(udp_is_not_tcp),
		T(port_0_is_any),
		T(exact_port_comes_first),
		T(counted_by_service_and_backend),
		T(flows_find_their_slot),
		T(hash_spreads_evenly),
		T(service_without_slots),
		T(slots_beyond_the_map),
		T(empty_slot),
		T(backend_that_is_not_there),
		T(down_and_alone),
		T(down_with_an_earlier_owner),
		T(this_node_is_left_to_the_host),
	};

	return cmocka_run_group_tests_name("forward", tests, edge_load, edge_unload);
}
