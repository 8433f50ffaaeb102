/* SPDX-License-Identifier: Apache-2.0 */
/* IPv4 options and IPv6 extension headers. */
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bpf/packets.h"

/* ---- IPv4 options ---- */

static void options_are_stepped_over(void **state)
{
	(void)state;
	for (uint32_t n = 4; n <= 40; n += 4) {
		client_tcp(false, NULL, 40001, 80);
		add_options4(n);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_of(false, IPPROTO_TCP, 40001));
		assert_int_equal(o.data[16] << 8 | o.data[17], f.len - 14 + 20);
	}
}

static void options_beyond_the_frame(void **state)
{
	(void)state;
	client_tcp(false, NULL, 40001, 80);
	f.len = 14 + 20 + 8;
	f.data[17] = 28;
	f.data[14] = 0x48;
	expect(XDP_DROP, WEIR_REASON_MALFORMED);
}

static void ports_in_the_padding_are_none(void **state)
{
	(void)state;
	client_tcp(false, NULL, 40001, 80);
	f.data[17] = 20 + 19;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
	client_tcp(true, NULL, 40001, 80);
	f.data[19] = 19;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void echo_with_options_is_the_hosts(void **state)
{
	(void)state;
	client_ip(false, NULL);
	frame_icmp(&f, 8, 0);
	frame_end(&f);
	add_options4(4);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

/* ---- IPv6 extension headers ---- */

static void each_extension_is_walked(void **state)
{
	static const struct { uint8_t type; uint32_t bytes; } one[] = {
		{ HOP, 8 }, { HOP, 192 }, { ROUTING, 24 }, { DEST, 8 }, { DEST, 64 },
		{ AUTH, 24 }, { AUTH, 12 }, { FRAGMENT, 8 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(one) / sizeof(*one); i++) {
		client_tcp(true, NULL, 40002, 80);
		add_extension(one[i].type, one[i].bytes, 0);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_of(true, IPPROTO_TCP, 40002));
	}
}

static void extensions_with_udp(void **state)
{
	(void)state;
	client_ip(true, NULL);
	frame_udp(&f, 40002, 80);
	frame_bytes(&f, NULL, 10);
	frame_end(&f);
	add_extension(DEST, 16, 0);
	add_extension(HOP, 8, 0);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_of(true, IPPROTO_UDP, 40002));
}

static void six_headers(const char *dest, int more)
{
	client_tcp(true, dest, 40002, 80);
	for (int i = 0; i < more; i++)
		add_extension(DEST, 8, 0);
	add_extension(AUTH, 24, 0);
	add_extension(FRAGMENT, 8, 0);
	add_extension(ROUTING, 24, 0);
	add_extension(DEST, 8, 0);
	add_extension(HOP, 8, 0);
}

static void six_extensions_are_walked(void **state)
{
	(void)state;
	six_headers(NULL, 1);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_of(true, IPPROTO_TCP, 40002));
}

static void seven_extensions_are_too_many(void **state)
{
	(void)state;
	six_headers(NULL, 2);
	expect(XDP_DROP, WEIR_REASON_EXTENSIONS);
}

static void seven_extensions_of_a_stranger_pass(void **state)
{
	(void)state;
	six_headers("2001:db8:1::101", 2);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void long_extensions_are_too_many(void **state)
{
	(void)state;
	client_tcp(true, NULL, 40002, 80);
	add_extension(HOP, 200, 0);
	expect(XDP_DROP, WEIR_REASON_EXTENSIONS);
	client_tcp(true, NULL, 40002, 80);
	add_extension(DEST, 104, 0);
	add_extension(HOP, 96, 0);
	expect(XDP_DROP, WEIR_REASON_EXTENSIONS);
}

static void truncated_extension(void **state)
{
	(void)state;
	client_tcp(true, NULL, 40002, 80);
	add_extension(HOP, 16, 0);
	f.len = 54 + 6;
	f.data[19] = 6;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
	client_tcp(true, NULL, 40002, 80);
	add_extension(HOP, 16, 0);
	f.len = 54 + 12;
	f.data[19] = 12;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void extension_in_the_padding(void **state)
{
	(void)state;
	client_tcp(true, NULL, 40002, 80);
	add_extension(HOP, 16, 0);
	f.data[19] = 8;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void unknown_headers_pass(void **state)
{
	static const uint8_t other[] = { 50, 59, 135, 139, 253 };

	(void)state;
	for (size_t i = 0; i < sizeof(other); i++) {
		client_tcp(true, NULL, 40002, 80);
		f.data[20] = other[i];
		expect_untouched(WEIR_REASON_NOT_OURS);
	}
	client_tcp(true, NULL, 40002, 80);
	f.data[20] = 50;
	add_extension(HOP, 8, 0);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void multicast_listener_report_passes(void **state)
{
	(void)state;
	client_ip(true, "ff02::16");
	frame_icmp(&f, 143, 0);
	frame_end(&f);
	add_extension(HOP, 8, 0);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void extensions_travel_by_gue(void **state)
{
	(void)state;
	put_service(VIP6, 80, IPPROTO_TCP, 1, 0, SLOTS, WEIR_ENCAP_GUE, 0);
	client_tcp(true, NULL, 40002, 80);
	add_extension(DEST, 24, 0);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, f.len + WEIR_ADDED_GUE4);
	assert_memory_equal(o.data + 14 + WEIR_ADDED_GUE4, f.data + 14, f.len - 14);
}

static void error_behind_extensions(void **state)
{
	(void)state;
	error_about(true, 2);
	frame_tcp(&f, 80, 40000, TCP_ACK);
	frame_end(&f);
	add_extension(DEST, 192, 0);
	assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), owner_of(true, IPPROTO_TCP, 40000));
}

static void echo_with_extensions_is_the_hosts(void **state)
{
	(void)state;
	client_ip(true, NULL);
	frame_icmp(&f, 128, 0);
	frame_end(&f);
	add_extension(DEST, 8, 0);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

#define CASE(name) cmocka_unit_test_setup(name, four_backends)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(options_are_stepped_over),
		CASE(options_beyond_the_frame),
		CASE(ports_in_the_padding_are_none),
		CASE(echo_with_options_is_the_hosts),
		CASE(each_extension_is_walked),
		CASE(extensions_with_udp),
		CASE(six_extensions_are_walked),
		CASE(seven_extensions_are_too_many),
		CASE(seven_extensions_of_a_stranger_pass),
		CASE(long_extensions_are_too_many),
		CASE(truncated_extension),
		CASE(extension_in_the_padding),
		CASE(unknown_headers_pass),
		CASE(multicast_listener_report_passes),
		CASE(extensions_travel_by_gue),
		CASE(error_behind_extensions),
		CASE(echo_with_extensions_is_the_hosts),
	};

	return cmocka_run_group_tests_name("headers", tests, edge_load, edge_unload);
}
