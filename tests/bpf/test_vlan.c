/* SPDX-License-Identifier: Apache-2.0 */
/* One VLAN tag: it is stepped over; who gets the packet has a VLAN of its own, or none; answers stay in the sender's. */
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bpf/packets.h"

/* The link header and, with proto, the tag at 12; then IPIP to the flow's backend, then the client's packet, which begins
 * at `inner` of f. */
static void expect_sent_in(uint32_t action, bool is6, uint16_t proto, uint16_t vlan, uint32_t inner)
{
	const uint8_t tag[4] = { (uint8_t)(proto >> 8), (uint8_t)proto, (uint8_t)(vlan >> 8), (uint8_t)vlan };
	const uint8_t link[12] = { 6, 0, 0, 0, 0, (uint8_t)owner_of(is6, IPPROTO_TCP, 40000), 4, 0, 0, 0, 0, 1 };
	uint32_t at = 14, bytes = f.len - inner + 20;

	expect(action, WEIR_REASON_FORWARDED);
	assert_memory_equal(o.data, link, sizeof(link));
	if (proto) {
		assert_memory_equal(o.data + 12, tag, sizeof(tag));
		at += 4;
	}
	assert_int_equal(o.data[at - 2] << 8 | o.data[at - 1], 0x0800);
	assert_int_equal(o.len, at + bytes);
	assert_int_equal(o.data[at] << 24 | o.data[at + 1] << 16 | o.data[at + 2] << 8 | o.data[at + 3], 0x45 << 24 | bytes);
	assert_int_equal(o.data[at + 9], is6 ? IPPROTO_IPV6 : IPPROTO_IPIP);
	assert_int_equal(o.data[at + 19], 10 + link[5]);
	assert_true(ip4_checksum_ok(o.data + at));
	assert_memory_equal(o.data + at + 20, f.data + inner, f.len - inner);
}

static void backends_are_in(uint8_t flags, uint16_t vlan)
{
	for (uint16_t i = 1; i <= SLOTS; i++)
		put_backend_vlan(i, flags, vlan);
}

/* The client's VLAN is no matter of the backend's. */
static void clients_tag_stays_behind(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		client_tcp(is6, NULL, 40000, 80);
		add_tag(0x8100, 0x6064);
		expect_sent_in(XDP_TX, is6, 0, 0, 18);
		client_tcp(is6, NULL, 40000, 80);
		add_tag(0x88a8, 100);
		expect_sent_in(XDP_TX, is6, 0, 0, 18);
	}
}

static void backend_in_a_vlan(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		backends_are_in(WEIR_BACKEND_VLAN, 4094);
		client_tcp(is6, NULL, 40000, 80);
		expect_sent_in(XDP_TX, is6, 0x8100, 4094, 14);
		client_tcp(is6, NULL, 40000, 80);
		add_tag(0x8100, 100);
		expect_sent_in(XDP_TX, is6, 0x8100, 4094, 18);
		backends_are_in(WEIR_BACKEND_VLAN | WEIR_BACKEND_VLAN_AD, 7);
		expect_sent_in(XDP_TX, is6, 0x88a8, 7, 18);
		backends_are_in(WEIR_BACKEND_VLAN, 0);          /* a priority tag */
		expect_sent_in(XDP_TX, is6, 0x8100, 0, 18);
	}
}

static void backend_in_a_vlan_of_another_interface(void **state)
{
	const struct weir_settings s = { .off = WEIR_OFF_TX };

	(void)state;
	put_settings(&s);       /* back by the same interface, but not to the sender */
	backends_are_in(WEIR_BACKEND_VLAN, 5);
	client_tcp(false, NULL, 40000, 80);
	expect_sent_in(XDP_REDIRECT, false, 0x8100, 5, 14);
	for (uint16_t i = 1; i <= SLOTS; i++)
		put_backend_way(i, OTHER, 0);
	expect_sent_in(XDP_REDIRECT, false, 0x8100, 5, 14);
	add_tag(0x8100, 100);
	expect_sent_in(XDP_REDIRECT, false, 0x8100, 5, 18);
}

/* GUE over both families: what is behind the tag is what is sent without one. */
static void gue_to_a_vlan(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		static struct outcome plain;

		one_backend(VIP, is6 ? BACK6 : BACK, is6 ? SELF6 : SELF, WEIR_ENCAP_GUE);
		client_tcp(false, NULL, 40000, 80);
		expect(XDP_TX, WEIR_REASON_FORWARDED);
		plain = o;
		put_backend_vlan(1, WEIR_BACKEND_VLAN, 5);
		expect(XDP_TX, WEIR_REASON_FORWARDED);
		assert_int_equal(o.len, plain.len + 4);
		assert_memory_equal(o.data, plain.data, 12);
		assert_memory_equal(o.data + 12, "\x81\0\0\5", 4);
		assert_memory_equal(o.data + 16, plain.data + 12, plain.len - 12);
	}
}

static void fragments_and_errors_to_a_vlan(void **state)
{
	(void)state;
	backends_are_in(WEIR_BACKEND_VLAN, 5);
	for (uint32_t offset = 0; offset < 128; offset += 64) {
		fragment4(40000, 77, offset, !offset, 64);
		expect(XDP_TX, offset ? WEIR_REASON_FRAGMENT : WEIR_REASON_FORWARDED);
		assert_memory_equal(o.data + 12, "\x81\0\0\5\x08\0", 6);
		assert_memory_equal(o.data + 38, f.data + 14, f.len - 14);
	}
	error_about(false, 3);
	frame_tcp(&f, 80, 40000, TCP_ACK);
	frame_end(&f);
	add_tag(0x8100, 100);
	expect(XDP_TX, WEIR_REASON_ICMP_ERROR);
	assert_memory_equal(o.data + 12, "\x81\0\0\5\x08\0", 6);
	assert_memory_equal(o.data + 38, f.data + 18, f.len - 18);
}

static void local_backend_leaves_the_tag(void **state)
{
	(void)state;
	backends_are_in(WEIR_BACKEND_LOCAL, 0);
	client_tcp(false, NULL, 40000, 80);
	add_tag(0x8100, 100);
	expect_untouched(WEIR_REASON_LOCAL);
}

/* The answer to the sender is in the sender's VLAN, not in the backend's. */
static void too_big_for_a_vlan(void **state)
{
	(void)state;
	backends_are_in(WEIR_BACKEND_VLAN, 5);
	client_segment(false, NULL, 40000, 80, TCP_ACK, 1460);
	expect(XDP_TX, WEIR_REASON_TOO_BIG);
	assert_int_equal(o.len, 14 + 28 + 128);
	assert_memory_equal(o.data + 12, f.data + 12, 2);
	assert_memory_equal(o.data + 42, f.data + 14, 128);
	add_tag(0x8100, 0x6007);
	expect(XDP_TX, WEIR_REASON_TOO_BIG);
	assert_int_equal(o.len, 18 + 28 + 128);
	assert_memory_equal(o.data + 12, f.data + 12, 6);
	assert_memory_equal(o.data + 46, f.data + 18, 128);
}

static void tagged_stranger_passes_with_its_tag(void **state)
{
	(void)state;
	client_tcp(false, "198.18.1.101", 40000, 80);
	add_tag(0x8100, 100);
	expect_untouched(WEIR_REASON_NOT_OURS);
	client_tcp(true, "2001:db8:1::101", 40000, 80);
	add_tag(0x8100, 100);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void two_tags_are_the_hosts(void **state)
{
	(void)state;
	client_tcp(false, NULL, 40000, 80);
	add_tag(0x8100, 100);
	add_tag(0x88a8, 200);
	expect_untouched(WEIR_REASON_NOT_IP);
}

static void tagged_arp_passes(void **state)
{
	(void)state;
	client_tcp(false, NULL, 40000, 80);
	f.data[13] = 6;
	add_tag(0x8100, 100);
	expect_untouched(WEIR_REASON_NOT_IP);
}

static void truncated_tag(void **state)
{
	(void)state;
	client_tcp(false, NULL, 40000, 80);
	add_tag(0x8100, 100);
	f.len = 17;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void truncated_behind_a_tag(void **state)
{
	(void)state;
	client_tcp(false, NULL, 40000, 80);
	add_tag(0x8100, 100);
	f.len = 18 + 30;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void tagged_echo_is_answered_with_its_tag(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		client_ip(is6, NULL);
		frame_icmp(&f, is6 ? 128 : 8, 0);
		frame_bytes(&f, NULL, 40);
		frame_end(&f);
		add_tag(0x8100, 7);
		expect(XDP_TX, WEIR_REASON_ECHO);
		assert_int_equal(o.len, f.len);
		assert_memory_equal(o.data, f.data + 6, 6);
		assert_memory_equal(o.data + 6, f.data, 6);
		assert_memory_equal(o.data + 12, f.data + 12, 6);
		assert_int_equal(o.data[is6 ? 58 : 38], is6 ? 129 : 0);
		assert_true(transport_checksum_ok(o.data + 18));
	}
}

static void tagged_too_big_is_told_with_its_tag(void **state)
{
	(void)state;
	client_ip(false, NULL);
	frame_tcp(&f, 40000, 80, TCP_ACK);
	frame_bytes(&f, NULL, 1460);
	frame_end(&f);
	add_tag(0x8100, 7);
	expect(XDP_TX, WEIR_REASON_TOO_BIG);
	assert_int_equal(o.len, 18 + 28 + 128);
	assert_memory_equal(o.data, f.data + 6, 6);
	assert_memory_equal(o.data + 12, f.data + 12, 6);
	assert_memory_equal(o.data + 46, f.data + 18, 128);
	assert_int_equal(o.data[44] << 8 | o.data[45], 1480);
	assert_true(transport_checksum_ok(o.data + 18));
}

static void echo_is_redirected_back_with_its_tag(void **state)
{
	const struct weir_settings s = { .off = WEIR_OFF_TX };

	(void)state;
	put_settings(&s);
	client_ip(false, NULL);
	frame_icmp(&f, 8, 0);
	frame_end(&f);
	add_tag(0x8100, 7);
	expect(XDP_REDIRECT, WEIR_REASON_ECHO);
	assert_int_equal(o.len, f.len);
	assert_memory_equal(o.data + 12, f.data + 12, 6);
}

static void tagged_decapsulation(void **state)
{
	(void)state;
	put_decap("198.18.0.0", 16, SELF, true);
	frame_eth(&f);
	frame_ip4(&f, "198.18.1.2", SELF);
	frame_ip4(&f, CLIENT, VIP);
	frame_tcp(&f, 40000, 80, TCP_ACK);
	frame_end(&f);
	add_tag(0x8100, 100);
	expect(XDP_PASS, WEIR_REASON_DECAPSULATED);
	assert_int_equal(o.len, f.len - 20);
	assert_memory_equal(o.data, f.data, 18);
	assert_memory_equal(o.data + 18, f.data + 38, f.len - 38);
}

static void tagged_bytes_are_counted_as_received(void **state)
{
	struct weir_count before, after;

	(void)state;
	before = service_count(1);
	client_tcp(false, NULL, 40000, 80);
	add_tag(0x8100, 100);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	after = service_count(1);
	assert_int_equal(after.bytes - before.bytes, f.len);
}

#define CASE(name) cmocka_unit_test_setup(name, four_backends)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(clients_tag_stays_behind),
		CASE(backend_in_a_vlan),
		CASE(backend_in_a_vlan_of_another_interface),
		CASE(gue_to_a_vlan),
		CASE(fragments_and_errors_to_a_vlan),
		CASE(local_backend_leaves_the_tag),
		CASE(too_big_for_a_vlan),
		CASE(tagged_stranger_passes_with_its_tag),
		CASE(two_tags_are_the_hosts),
		CASE(tagged_arp_passes),
		CASE(truncated_tag),
		CASE(truncated_behind_a_tag),
		CASE(tagged_echo_is_answered_with_its_tag),
		CASE(tagged_too_big_is_told_with_its_tag),
		CASE(echo_is_redirected_back_with_its_tag),
		CASE(tagged_decapsulation),
		CASE(tagged_bytes_are_counted_as_received),
	};

	return cmocka_run_group_tests_name("vlan", tests, edge_load, edge_unload);
}
