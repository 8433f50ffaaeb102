/* SPDX-License-Identifier: Apache-2.0 */
/* Decapsulation: what is opened, what is refused, what is an ordinary packet. */
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/bpf/edge.h"

#define EDGE   "198.18.1.1"
#define NODE   "198.18.1.11"
#define EDGE6  "2001:db8:1::1"
#define NODE6  "2001:db8:1::11"
#define CLIENT "192.0.2.1"
#define VIP    "198.18.1.100"

static struct frame f;
static struct outcome o;
static uint32_t inner_at;               /* in the frame */

static void inner(bool is6)
{
	inner_at = f.len;
	if (is6)
		frame_ip6(&f, "2001:db8:c::1", "2001:db8:1::100");
	else
		frame_ip4(&f, CLIENT, VIP);
	frame_tcp(&f, 40000, 80, TCP_ACK);
	frame_bytes(&f, NULL, 64);
	frame_end(&f);
}

static void outer(bool is6)
{
	frame_eth(&f);
	if (is6)
		frame_ip6(&f, EDGE6, NODE6);
	else
		frame_ip4(&f, EDGE, NODE);
}

static void ipip(bool outer6, bool inner6)
{
	outer(outer6);
	inner(inner6);
}

/* words of private data, the first of them weir's with so many owners. */
static void gue(bool outer6, bool inner6, uint8_t word, uint8_t words, uint8_t owners)
{
	uint8_t header[4 + 124] = { word | words, inner6 ? IPPROTO_IPV6 : IPPROTO_IPIP, 0, 0,
				    WEIR_GUE_MAGIC, owners };

	outer(outer6);
	frame_udp(&f, 50000, WEIR_GUE_PORT);
	frame_bytes(&f, header, 4u + 4u * words);
	inner(inner6);
}

static void expect(uint32_t action, int reason)
{
	edge_run(&f, &o);
	assert_int_equal(o.reason, reason);
	assert_int_equal(o.action, action);
}

/* The inner packet, whole, behind the outer one's link addresses. */
static void expect_opened(bool inner6)
{
	expect(XDP_PASS, WEIR_REASON_DECAPSULATED);
	assert_int_equal(o.len, f.len - inner_at + 14);
	assert_memory_equal(o.data, f.data, 12);
	assert_int_equal(o.data[12] << 8 | o.data[13], inner6 ? 0x86dd : 0x0800);
	assert_memory_equal(o.data + 14, f.data + inner_at, f.len - inner_at);
}

/* The frame f says what should have come out of the run before. */
static void expect_opened_as(bool inner6)
{
	assert_int_equal(o.reason, WEIR_REASON_DECAPSULATED);
	assert_int_equal(o.data[12] << 8 | o.data[13], inner6 ? 0x86dd : 0x0800);
	assert_int_equal(o.len, f.len - inner_at + 14);
	assert_memory_equal(o.data + 14, f.data + inner_at, f.len - inner_at);
}

static void expect_ordinary(void)
{
	expect(XDP_PASS, WEIR_REASON_NOT_OURS);
	assert_int_equal(o.len, f.len);
	assert_memory_equal(o.data, f.data, f.len);
}

static int start(void **state)
{
	edge_reset(state);
	put_decap("198.18.0.0", 16, NODE, true);
	put_decap("2001:db8:1::", 48, NODE6, true);
	return 0;
}

#define OPENED(name, make, inner6)                                                                 \
	static void name(void **state)                                                             \
	{                                                                                          \
		(void)state;                                                                       \
		make;                                                                              \
		expect_opened(inner6);                                                             \
	}

OPENED(ipip_4_in_4, ipip(false, false), false)
OPENED(ipip_6_in_4, ipip(false, true), true)
OPENED(ipip_4_in_6, ipip(true, false), false)
OPENED(ipip_6_in_6, ipip(true, true), true)
OPENED(gue_4_in_4, gue(false, false, 0, WEIR_GUE_WORDS4, 0), false)
OPENED(gue_6_in_4, gue(false, true, 0, WEIR_GUE_WORDS4, 0), true)
OPENED(gue_4_in_6, gue(true, false, 0, WEIR_GUE_WORDS6, 0), false)
OPENED(gue_6_in_6, gue(true, true, 0, WEIR_GUE_WORDS6, 0), true)
OPENED(gue_without_private_data, gue(false, false, 0, 0, 0), false)
OPENED(gue_with_strange_private_data, gue(false, false, 0, 31, 0), false)
/* No route in this namespace: the relay gives up, and the host answers. */
OPENED(owners_without_a_way_to_them, gue(false, false, 0, WEIR_GUE_WORDS4, 2), false)

static void source_refused(void **state)
{
	(void)state;
	ipip(false, false);
	f.data[26] = 203;
	expect(XDP_DROP, WEIR_REASON_DECAP_SOURCE);
}

static void source6_refused(void **state)
{
	(void)state;
	gue(true, true, 0, 0, 0);
	f.data[27] = 0x99;
	expect(XDP_DROP, WEIR_REASON_DECAP_SOURCE);
}

static void mapped_source_is_not_ipv6(void **state)
{
	(void)state;
	ipip(true, false);
	memset(f.data + 22, 0, 16);
	memcpy(f.data + 34, (uint8_t[]){ 198, 18, 0, 1 }, 4);
	expect(XDP_DROP, WEIR_REASON_DECAP_SOURCE);
}

static void other_interface_is_ordinary(void **state)
{
	edge_reset(state);
	put_decap("198.18.0.0", 16, NODE, false);
	ipip(false, false);
	expect_ordinary();
}

static void other_destination_is_ordinary(void **state)
{
	(void)state;
	ipip(false, false);
	f.data[33] = 99;
	expect_ordinary();
}

static void other_port_is_ordinary(void **state)
{
	const struct weir_settings s = { .gue_port = 5555 };

	(void)state;
	put_settings(&s);
	gue(false, false, 0, 0, 0);
	expect_ordinary();
}

#define REFUSED(name, make)                                                                        \
	static void name(void **state)                                                             \
	{                                                                                          \
		(void)state;                                                                       \
		make;                                                                              \
		expect(XDP_DROP, WEIR_REASON_DECAP_UNKNOWN);                                       \
	}

REFUSED(gue_version_1, gue(false, false, 0x40, 0, 0))
REFUSED(gue_control, gue(false, false, 0x20, 0, 0))
REFUSED(gue_flags, (gue(false, false, 0, 0, 0), f.data[14 + 20 + 8 + 2] = 0x80))
REFUSED(gue_other_content, (gue(false, false, 0, 0, 0), f.data[14 + 20 + 8 + 1] = 47))
REFUSED(gue_header_past_the_end, (gue(false, false, 0, 31, 0), f.len = 14 + 20 + 8 + 60, f.data[16] = 0, f.data[17] = 88))
REFUSED(content_of_the_other_version, (ipip(false, false), f.data[inner_at] = 0x65))
REFUSED(no_inner_header, (ipip(false, false), f.len = inner_at + 12, f.data[17] = 32))
REFUSED(fragment_of_a_tunnel, (ipip(false, false), f.data[20] = 0x20))

static void service_packets_are_not_decapsulated(void **state)
{
	(void)state;
	put_service(NODE, WEIR_GUE_PORT, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, "198.18.1.12", EDGE, 0);
	slot(0)->current = 1;
	frame_eth(&f);
	frame_ip4(&f, EDGE, NODE);
	frame_tcp(&f, 50000, WEIR_GUE_PORT, TCP_SYN);
	frame_end(&f);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
}

/* RFC 6040, figure 4: outer, inner → inner; -1: dropped. */
static void ecn(void **state)
{
	static const int8_t becomes[4][4] = { /* [inner][outer]; 1 is ECT(1), 2 ECT(0), 3 CE */
		{ 0, 0, 0, -1 }, { 1, 1, 1, 3 }, { 2, 1, 2, 3 }, { 3, 3, 3, 3 } };

	(void)state;
	for (int i = 0; i < 64; i++) {
		bool outer6 = i & 16, inner6 = i & 32;
		uint8_t in = i & 3, out = i >> 2 & 3, *tos;
		int want = becomes[in][out];

		ipip(outer6, inner6);
		f.data[15] |= (uint8_t)(outer6 ? out << 4 : out);
		tos = f.data + inner_at + 1;
		*tos |= (uint8_t)(inner6 ? in << 4 : in);
		frame_end(&f);
		if (want < 0) {
			expect(XDP_DROP, WEIR_REASON_ECN_INVALID);
			continue;
		}
		edge_run(&f, &o);
		*tos &= (uint8_t)~(inner6 ? 3 << 4 : 3);
		*tos |= (uint8_t)(inner6 ? want << 4 : want);
		frame_end(&f);
		expect_opened_as(inner6);
	}
}

#define T(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ecn), T(ipip_4_in_4), T(ipip_6_in_4), T(ipip_4_in_6), T(ipip_6_in_6), T(gue_4_in_4),
		T(gue_6_in_4), T(gue_4_in_6), T(gue_6_in_6), T(gue_without_private_data),
		T(gue_with_strange_private_data), T(owners_without_a_way_to_them), T(source_refused),
		T(source6_refused), T(mapped_source_is_not_ipv6), T(other_interface_is_ordinary),
		T(other_destination_is_ordinary), T(other_port_is_ordinary), T(gue_version_1),
		T(gue_control), T(gue_flags), T(gue_other_content), T(gue_header_past_the_end),
		T(content_of_the_other_version), T(no_inner_header), T(fragment_of_a_tunnel),
		T(service_packets_are_not_decapsulated),
	};

	return cmocka_run_group_tests_name("decap", tests, edge_load, edge_unload);
}
