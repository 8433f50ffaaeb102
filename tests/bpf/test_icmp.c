/* SPDX-License-Identifier: Apache-2.0 */
/* Echo, "too big", and errors that quote a flow of ours. */
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bpf/packets.h"

/* ---- echo ---- */

static void echo(bool is6, const char *dest, uint32_t payload)
{
	client_ip(is6, dest);
	((uint8_t *)frame_icmp(&f, is6 ? 128 : 8, 0))[5] = 7;   /* an identifier */
	frame_bytes(&f, NULL, payload);
	frame_end(&f);
}

static void expect_echo_reply(bool is6)
{
	uint32_t at = is6 ? 22 : 26, len = is6 ? 16 : 4, icmp = is6 ? 54 : 34;

	expect(XDP_TX, WEIR_REASON_ECHO);
	assert_int_equal(o.len, f.len);
	assert_memory_equal(o.data, f.data + 6, 6);
	assert_memory_equal(o.data + 6, f.data, 6);
	assert_memory_equal(o.data + at, f.data + at + len, len);
	assert_memory_equal(o.data + at + len, f.data + at, len);
	assert_int_equal(o.data[icmp], is6 ? 129 : 0);
	assert_memory_equal(o.data + icmp + 4, f.data + icmp + 4, f.len - icmp - 4);
	assert_true(transport_checksum_ok(o.data + 14));
	assert_true(is6 || ip4_checksum_ok(o.data + 14));
}

static void echo_is_answered(void **state)
{
	(void)state;
	for (uint32_t len = 0; len < 300; len += 37) {
		echo(false, VIP, len);
		expect_echo_reply(false);
	}
}

static void echo6_is_answered(void **state)
{
	(void)state;
	for (uint32_t len = 0; len < 300; len += 37) {
		echo(true, VIP6, len);
		expect_echo_reply(true);
	}
}

static void echo_to_a_stranger_passes(void **state)
{
	(void)state;
	echo(false, "198.18.1.101", 56);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void echo6_to_a_stranger_passes(void **state)
{
	(void)state;
	echo(true, "2001:db8:1::101", 56);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void echo_switched_off_passes(void **state)
{
	const struct weir_settings s = { .off = WEIR_OFF_ECHO };

	(void)state;
	put_settings(&s);
	echo(false, VIP, 56);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void fragment_of_an_echo_passes(void **state)
{
	(void)state;
	echo(false, VIP, 56);
	f.data[20] = 0x20;
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void echo_reply_passes(void **state)
{
	(void)state;
	echo(false, VIP, 56);
	f.data[34] = 0;
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void neighbour_solicitation_passes(void **state)
{
	(void)state;
	echo(true, VIP6, 24);
	f.data[54] = 135;
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void truncated_icmp(void **state)
{
	(void)state;
	echo(false, VIP, 0);
	f.len = 14 + 20 + 6;
	f.data[17] = 26;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

/* ---- too big ---- */

static void tcp(bool is6, uint32_t ip_bytes)
{
	client_segment(is6, NULL, 40000, 80, TCP_ACK, ip_bytes - (is6 ? 60 : 40));
}

static void too_big_is_told(void **state)
{
	(void)state;
	tcp(false, 1481);
	expect(XDP_TX, WEIR_REASON_TOO_BIG);
	assert_int_equal(o.len, 14 + 28 + 128);
	assert_memory_equal(o.data, f.data + 6, 6);
	assert_memory_equal(o.data + 6, f.data, 6);
	assert_memory_equal(o.data + 26, f.data + 30, 4);       /* from the service's address */
	assert_memory_equal(o.data + 30, f.data + 26, 4);
	assert_int_equal(o.data[23], IPPROTO_ICMP);
	assert_int_equal(o.data[34], 3);
	assert_int_equal(o.data[35], 4);
	assert_int_equal(o.data[40] << 8 | o.data[41], 1480);
	assert_memory_equal(o.data + 42, f.data + 14, 128);
	assert_true(ip4_checksum_ok(o.data + 14));
	assert_true(transport_checksum_ok(o.data + 14));
}

static void too_big6_is_told(void **state)
{
	(void)state;
	tcp(true, 1481);
	expect(XDP_TX, WEIR_REASON_TOO_BIG);
	assert_int_equal(o.len, 14 + 48 + 256);
	assert_memory_equal(o.data + 22, f.data + 38, 16);
	assert_memory_equal(o.data + 38, f.data + 22, 16);
	assert_int_equal(o.data[20], IPPROTO_ICMPV6);
	assert_int_equal(o.data[54], 2);
	assert_int_equal(o.data[60] << 8 | o.data[61], 1480);
	assert_memory_equal(o.data + 62, f.data + 14, 256);
	assert_true(transport_checksum_ok(o.data + 14));
}

static void exactly_the_mtu_is_sent(void **state)
{
	(void)state;
	tcp(false, 1480);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, 1514);
}

static void backend_has_its_own_mtu(void **state)
{
	(void)state;
	for (uint16_t i = 1; i <= 4; i++)
		put_backend_way(i, INGRESS, 1400);
	tcp(false, 1481);
	expect(XDP_TX, WEIR_REASON_TOO_BIG);
	assert_int_equal(o.data[40] << 8 | o.data[41], 1380);
}

static void settings_have_an_mtu(void **state)
{
	const struct weir_settings s = { .mtu = 9000 };

	(void)state;
	put_settings(&s);
	tcp(false, 1481);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
}

static void too_big_switched_off(void **state)
{
	const struct weir_settings s = { .off = WEIR_OFF_TOO_BIG };

	(void)state;
	put_settings(&s);
	tcp(false, 1481);
	expect(XDP_DROP, WEIR_REASON_TOO_BIG_QUIET);
}

/* ---- errors ---- */

/* From a router to the service, quoting a packet from `quoted` to the client's port. */
static void error4(const char *to, const char *quoted, uint16_t client_port)
{
	frame_eth(&f);
	frame_ip4(&f, ROUTER, to);
	frame_icmp(&f, 3, 4);
	frame_ip4(&f, quoted, CLIENT);
	frame_tcp(&f, 80, client_port, TCP_ACK);
	frame_end(&f);
}

static void error6(const char *to, const char *quoted, uint16_t client_port)
{
	frame_eth(&f);
	frame_ip6(&f, ROUTER6, to);
	frame_icmp(&f, 2, 0);
	frame_ip6(&f, quoted, CLIENT6);
	frame_tcp(&f, 80, client_port, TCP_ACK);
	frame_end(&f);
}

static void error_goes_to_the_flows_backend(void **state)
{
	(void)state;
	for (uint16_t port = 1000; port < 1020; port++) {
		unsigned int owner = owner_of(false, IPPROTO_TCP, port);

		error4(VIP, VIP, port);
		expect(XDP_TX, WEIR_REASON_ICMP_ERROR);
		assert_int_equal(o.data[5], owner);
		assert_memory_equal(o.data + 34, f.data + 14, f.len - 14);
	}
}

static void error6_goes_to_the_flows_backend(void **state)
{
	(void)state;
	for (uint16_t port = 1000; port < 1020; port++) {
		unsigned int owner = owner_of(true, IPPROTO_TCP, port);

		error6(VIP6, VIP6, port);
		expect(XDP_TX, WEIR_REASON_ICMP_ERROR);
		assert_int_equal(o.data[5], owner);
	}
}

static void error_follows_a_note(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < 4; i++) {
		slot(i)->previous = 1;
		slot(i)->current = 2;
		slot(i)->since = 7;
	}
	frame_eth(&f);
	frame_ip4(&f, CLIENT, VIP);
	frame_tcp(&f, 1000, 80, TCP_SYN);
	frame_end(&f);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	error4(VIP, VIP, 1000);
	expect(XDP_TX, WEIR_REASON_ICMP_ERROR);
	assert_int_equal(o.data[5], 2);
	error4(VIP, VIP, 1001);
	expect(XDP_TX, WEIR_REASON_ICMP_ERROR);
	assert_int_equal(o.data[5], 1);
}

static void error_that_quotes_another_source_passes(void **state)
{
	(void)state;
	error4("198.18.1.101", VIP, 1000);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void error_about_a_stranger_passes(void **state)
{
	(void)state;
	error4("198.18.1.101", "198.18.1.101", 1000);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void error6_about_a_stranger_passes(void **state)
{
	(void)state;
	error6(VIP6, "2001:db8:1::101", 1000);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void errors_switched_off(void **state)
{
	const struct weir_settings s = { .off = WEIR_OFF_ERRORS };

	(void)state;
	put_settings(&s);
	error4(VIP, VIP, 1000);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void error_with_half_a_quote(void **state)
{
	(void)state;
	error4(VIP, VIP, 1000);
	f.len = 14 + 20 + 8 + 12;
	f.data[17] = 40;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void error_is_never_answered_by_an_error(void **state)
{
	(void)state;
	error4(VIP, VIP, 1000);
	for (uint16_t i = 1; i <= 4; i++)
		put_backend_way(i, INGRESS, 68);
	expect(XDP_DROP, WEIR_REASON_TOO_BIG_QUIET);
}

#define T(name) cmocka_unit_test_setup(name, four_backends)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(echo_is_answered), T(echo6_is_answered), T(echo_to_a_stranger_passes),
		T(echo6_to_a_stranger_passes), T(echo_switched_off_passes),
		T(fragment_of_an_echo_passes), T(echo_reply_passes),
		T(neighbour_solicitation_passes), T(truncated_icmp), T(too_big_is_told),
		T(too_big6_is_told), T(exactly_the_mtu_is_sent), T(backend_has_its_own_mtu),
		T(settings_have_an_mtu), T(too_big_switched_off),
		T(error_goes_to_the_flows_backend), T(error6_goes_to_the_flows_backend),
		T(error_follows_a_note), T(error_that_quotes_another_source_passes),
		T(error_about_a_stranger_passes), T(error6_about_a_stranger_passes),
		T(errors_switched_off), T(error_with_half_a_quote),
		T(error_is_never_answered_by_an_error),
	};

	return cmocka_run_group_tests_name("icmp", tests, edge_load, edge_unload);
}
