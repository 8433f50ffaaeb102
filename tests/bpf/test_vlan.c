/* SPDX-License-Identifier: Apache-2.0 */
/* One VLAN tag: it is stepped over, and comes out with the packet. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/bpf/packets.h"

static void expect_tagged_sent(bool is6, uint16_t proto)
{
	static const uint8_t link[12] = { 6, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 1 };
	unsigned int to = owner_of(is6, IPPROTO_TCP, 40000);
	uint64_t bytes = f.len;

	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, bytes + 20);
	assert_memory_equal(o.data, link, 5);
	assert_int_equal(o.data[5], to);
	assert_memory_equal(o.data + 6, link + 6, 6);
	assert_int_equal(o.data[12] << 8 | o.data[13], proto);
	assert_memory_equal(o.data + 14, f.data + 14, 2);
	assert_int_equal(o.data[16] << 8 | o.data[17], 0x0800);
	assert_int_equal(o.data[18], 0x45);
	assert_int_equal(o.data[37], 10 + to);
	assert_memory_equal(o.data + 38, f.data + 18, f.len - 18);
}

static void tag_is_put_back(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		client_tcp(is6, NULL, 40000, 80);
		add_tag(0x8100, 0x6064);
		expect_tagged_sent(is6, 0x8100);
		client_tcp(is6, NULL, 40000, 80);
		add_tag(0x88a8, 100);
		expect_tagged_sent(is6, 0x88a8);
	}
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

static void tag_stays_when_the_frame_is_redirected_back(void **state)
{
	const struct weir_settings s = { .off = WEIR_OFF_TX };

	(void)state;
	put_settings(&s);
	client_tcp(false, NULL, 40000, 80);
	add_tag(0x8100, 100);
	expect(XDP_REDIRECT, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, f.len + 20);
	assert_memory_equal(o.data + 12, f.data + 12, 4);
}

static void tag_goes_with_another_interface(void **state)
{
	(void)state;
	for (uint16_t i = 1; i <= SLOTS; i++)
		put_backend_way(i, OTHER, 0);
	client_tcp(false, NULL, 40000, 80);
	add_tag(0x8100, 100);
	expect(XDP_REDIRECT, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, f.len - 4 + 20);
	assert_int_equal(o.data[12] << 8 | o.data[13], 0x0800);
	assert_memory_equal(o.data + 34, f.data + 18, f.len - 18);
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
		CASE(tag_is_put_back),
		CASE(tagged_stranger_passes_with_its_tag),
		CASE(two_tags_are_the_hosts),
		CASE(tagged_arp_passes),
		CASE(truncated_tag),
		CASE(truncated_behind_a_tag),
		CASE(tagged_echo_is_answered_with_its_tag),
		CASE(tagged_too_big_is_told_with_its_tag),
		CASE(tag_stays_when_the_frame_is_redirected_back),
		CASE(tag_goes_with_another_interface),
		CASE(tagged_decapsulation),
		CASE(tagged_bytes_are_counted_as_received),
	};

	return cmocka_run_group_tests_name("vlan", tests, edge_load, edge_unload);
}
