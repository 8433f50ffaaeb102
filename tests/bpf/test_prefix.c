/* SPDX-License-Identifier: Apache-2.0 */
/* Services by prefix. */
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bpf/packets.h"

static struct weir_service prefix_service(uint32_t number)
{
	return (struct weir_service){ .number = number, .first = 16 * number, .slots = 1,
				      .encap = WEIR_ENCAP_IPIP };
}

/* Service n has one slot, whose backend is n. */
static void put_prefix_service(const char *address, uint8_t bits, uint16_t port, uint32_t number)
{
	struct weir_service s = prefix_service(number);

	slot(s.first)->current = (uint16_t)number;
	put_service_prefix(address, bits, port, IPPROTO_TCP, &s);
}

static void put_single_service(const char *address, uint16_t port, uint32_t number)
{
	put_service(address, port, IPPROTO_TCP, number, 16 * number, 1, WEIR_ENCAP_IPIP, 0);
	slot(16 * number)->current = (uint16_t)number;
}

static void prefixes_on(void)
{
	const struct weir_settings s = { .on = WEIR_ON_PREFIXES };

	put_settings(&s);
}

static void prefix_covers_its_addresses(void **state)
{
	static const char *const in4[] = { "198.18.64.0", "198.18.64.1", "198.18.79.255" },
				 *const out4[] = { "198.18.80.0", "198.18.63.255" };

	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 20, 443, 2);
	put_prefix_service("2001:db8:64::", 64, 0, 3);
	for (int i = 0; i < 3; i++) {
		client_tcp(false, in4[i], 40000, 443);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 2);
	}
	for (int i = 0; i < 2; i++) {
		client_tcp(false, out4[i], 40000, 443);
		expect_untouched(WEIR_REASON_NOT_OURS);
	}
	client_tcp(false, in4[1], 40000, 444);
	expect_untouched(WEIR_REASON_NOT_OURS);
	client_tcp(true, "2001:db8:64::abcd", 40000, 12345);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 3);
	client_tcp(true, "2001:db8:64:0:ffff:ffff:ffff:ffff", 40000, 1);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 3);
	client_tcp(true, "2001:db8:64:1::", 40000, 1);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void prefix_off_is_off(void **state)
{
	const struct weir_settings none = { 0 };

	(void)state;
	put_prefix_service("198.18.64.0", 20, 443, 2);
	client_tcp(false, "198.18.64.1", 40000, 443);
	expect_untouched(WEIR_REASON_NOT_OURS);
	prefixes_on();
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 2);
	put_settings(&none);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

/* Exact port, any port, prefix with port, prefix with any port; of two prefixes the longer. */
static void precedence(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 24, 0, 1);
	client_tcp(false, "198.18.64.1", 40000, 443);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 1);
	put_prefix_service("198.18.64.0", 20, 443, 2);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 2);
	put_single_service("198.18.64.1", 0, 3);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 3);
	put_single_service("198.18.64.1", 443, 4);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 4);
}

static void longer_prefix_wins(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 20, 443, 1);
	put_prefix_service("198.18.64.0", 30, 443, 2);
	client_tcp(false, "198.18.64.3", 40000, 443);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 2);
	client_tcp(false, "198.18.64.4", 40000, 443);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 1);
}

static void prefix_is_of_one_family_and_protocol(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 20, 443, 2);
	client_tcp(true, "c612:4001::", 40000, 443);   /* the same first bits */
	expect_untouched(WEIR_REASON_NOT_OURS);
	client_ip(false, "198.18.64.1");
	frame_udp(&f, 40000, 443);
	frame_end(&f);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void prefix_answers_echo(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 20, 443, 2);
	put_prefix_service("2001:db8:64::", 64, 443, 3);
	for (int is6 = 0; is6 < 2; is6++) {
		client_ip(is6, is6 ? "2001:db8:64::77" : "198.18.70.7");
		frame_icmp(&f, is6 ? 128 : 8, 0);
		frame_end(&f);
		expect(XDP_TX, WEIR_REASON_ECHO);
		assert_true(transport_checksum_ok(o.data + 14));
	}
	client_ip(false, "198.18.80.7");
	frame_icmp(&f, 8, 0);
	frame_end(&f);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void prefix_fragment_is_lost_not_passed(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.0.0", 16, 443, 2);
	fragment4(50000, 9, 64, false, 10);
	f.data[32] = 77;
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

static void quoted_of_a_prefix(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 20, 443, 2);
	put_prefix_service("2001:db8:64::", 64, 0, 3);
	frame_eth(&f);
	frame_ip4(&f, ROUTER, "198.18.70.7");
	frame_icmp(&f, 3, 4);
	frame_ip4(&f, "198.18.70.7", CLIENT);
	frame_tcp(&f, 443, 40000, TCP_ACK);
	frame_end(&f);
	assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), 2);
	frame_eth(&f);
	frame_ip6(&f, ROUTER6, "2001:db8:64::9");
	frame_icmp(&f, 2, 0);
	frame_ip6(&f, "2001:db8:64::9", CLIENT6);
	frame_tcp(&f, 7777, 40000, TCP_ACK);
	frame_end(&f);
	assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), 3);
}

#define CASE(name) cmocka_unit_test_setup(name, four_backends)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(prefix_covers_its_addresses),
		CASE(prefix_off_is_off),
		CASE(precedence),
		CASE(longer_prefix_wins),
		CASE(prefix_is_of_one_family_and_protocol),
		CASE(prefix_answers_echo),
		CASE(prefix_fragment_is_lost_not_passed),
		CASE(quoted_of_a_prefix),
	};

	return cmocka_run_group_tests_name("prefix", tests, edge_load, edge_unload);
}
