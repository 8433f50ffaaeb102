/* SPDX-License-Identifier: Apache-2.0 */
/* Fragments follow their first one; in services whose clients have one backend each they need not. */
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bpf/packets.h"

static void fragments_follow_their_first(void **state)
{
	(void)state;
	for (uint16_t port = 50000; port < 50008; port++) {
		unsigned int to = owner_of(false, IPPROTO_UDP, port);

		fragment4(port, port, 0, true, 64);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
		fragment4(port, port, 128, false, 10);          /* the last before the second */
		assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
		fragment4(port, port, 64, true, 64);
		assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
		fragment4(port, port, 96, true, 64);            /* overlaps: the host's to judge */
		assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
	}
}

static void fragments6_follow_their_first(void **state)
{
	(void)state;
	for (uint16_t port = 50000; port < 50008; port++) {
		unsigned int to = owner_of(true, IPPROTO_UDP, port);

		edge_reset(state);
		four_backends(state);
		fragment6(port, 0, true, 64, IPPROTO_UDP);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
		fragment6(port, 128, false, 10, IPPROTO_UDP);
		assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
		fragment6(port, 64, true, 64, DEST);            /* its next header says nothing */
		assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
	}
}

static void fragments_behind_extensions(void **state)
{
	unsigned int to = owner_of(true, IPPROTO_UDP, 50001);

	(void)state;
	fragment6(50001, 0, true, 64, IPPROTO_UDP);
	add_extension(HOP, 8, 0);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
	fragment6(50001, 64, false, 10, IPPROTO_UDP);
	add_extension(HOP, 8, 0);
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
}

static void last_fragment_first_is_lost(void **state)
{
	(void)state;
	fragment4(50000, 77, 64, false, 10);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
	fragment6(50000, 64, false, 10, IPPROTO_UDP);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

static void fragment_of_another_datagram_is_lost(void **state)
{
	(void)state;
	fragment4(50000, 77, 0, true, 64);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	fragment4(50000, 78, 64, false, 10);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

static void strangers_fragment_passes(void **state)
{
	(void)state;
	fragment4(50000, 77, 64, false, 10);
	f.data[33] = 101;
	expect_untouched(WEIR_REASON_NOT_OURS);
}

/* RFC 1858, RFC 7112: a first fragment must reach as far as the transport header. */
static void tiny_first_fragments(void **state)
{
	(void)state;
	client_tcp(false, NULL, 40000, 80);
	f.data[17] = 20 + 8;
	f.data[20] = 0x20;
	f.data[21] = 0;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
	client_tcp(true, NULL, 40000, 80);
	add_extension(FRAGMENT, 8, 1);
	f.data[19] = 8 + 8;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
	client_tcp(true, NULL, 40000, 80);
	add_extension(DEST, 16, 0);
	add_extension(FRAGMENT, 8, 1);
	f.data[19] = 8 + 8;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

/* RFC 6946: offset 0 and no more to come is a whole packet. */
static void atomic_fragment_is_none(void **state)
{
	(void)state;
	fragment6(50002, 0, false, 40, IPPROTO_UDP);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_of(true, IPPROTO_UDP, 50002));
	fragment6(50002, 64, false, 10, IPPROTO_UDP);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

/* ---- affinity: addresses ---- */

static unsigned int owner_by_addresses(bool is6)
{
	struct weir_flow flow = flow_of(is6, 0, 0);

	return weir_flow_slot(weir_address_hash(&flow), SLOTS) + 1;
}

static void by_addresses(void)
{
	const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };

	for (int i = 0; i < 2; i++) {
		put_service(VIP, 80, protos[i], 1, 0, SLOTS, WEIR_ENCAP_IPIP, WEIR_SERVICE_ADDRESSES);
		put_service(VIP6, 80, protos[i], 1, 0, SLOTS, WEIR_ENCAP_IPIP,
			    WEIR_SERVICE_ADDRESSES);
	}
}

static void a_client_has_one_backend(void **state)
{
	(void)state;
	by_addresses();
	for (int is6 = 0; is6 < 2; is6++)
		for (uint16_t port = 50000; port < 50010; port++) {
			client_tcp(is6, NULL, port, 80);
			assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_by_addresses(is6));
			if (is6)
				fragment6(port, 0, false, 40, 0);
			else
				fragment4(port, 1, 0, false, 40);
			assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_by_addresses(is6));
		}
}

static void by_addresses_fragments_come_in_any_order(void **state)
{
	(void)state;
	by_addresses();
	fragment4(50000, 9, 64, false, 10);
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), owner_by_addresses(false));
	fragment4(50000, 9, 0, true, 64);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_by_addresses(false));
	fragment6(50000, 64, false, 10, DEST);
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), owner_by_addresses(true));
	fragment6(50000, 0, true, 64, 0);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_by_addresses(true));
}

static void by_addresses_a_moving_slot_needs_the_first(void **state)
{
	unsigned int at = owner_by_addresses(false) - 1;

	(void)state;
	by_addresses();
	slot(at)->previous = (uint16_t)((at + 1) % SLOTS + 1);
	fragment4(50000, 9, 64, false, 10);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
	fragment4(50000, 9, 0, true, 64);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), at + 1);
	fragment4(50000, 9, 64, false, 10);
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), at + 1);
}

static void by_addresses_down(void **state)
{
	unsigned int at = owner_by_addresses(false) - 1, other = (at + 1) % SLOTS + 1;
	char address[] = "198.18.1.11";

	(void)state;
	by_addresses();
	address[10] = (char)('1' + at);
	put_backend((uint16_t)(at + 1), address, SELF, WEIR_BACKEND_DOWN);
	fragment4(50000, 9, 64, false, 10);
	expect(XDP_DROP, WEIR_REASON_BACKEND_DOWN);
	slot(at)->owners[0] = (uint16_t)other;
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), other);
}

static void quoted_by_addresses(void **state)
{
	(void)state;
	by_addresses();
	for (int is6 = 0; is6 < 2; is6++)
		for (uint16_t port = 50000; port < 50004; port++) {
			error_about(is6, is6 ? 2 : 3);
			frame_udp(&f, 80, port);
			frame_end(&f);
			assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), owner_by_addresses(is6));
		}
}

/* ---- one backend ---- */

static void udp_service(void)
{
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, BACK, SELF, 0);
	slot(0)->current = 1;
}

static void later_fragment_follows_the_first(void **state)
{
	(void)state;
	udp_service();
	fragment4(40000, 77, 0, true, 40);
	expect_sent(WEIR_ADDED_IPIP4);
	fragment4(40000, 77, 800, false, 40);
	expect(XDP_TX, WEIR_REASON_FRAGMENT);
	expect_outer4(SELF, BACK, IPPROTO_IPIP, 0, f.len - 14 + 20);
}

static void later_fragment_to_a_backend_that_is_down(void **state)
{
	(void)state;
	udp_service();
	put_backend(2, "198.18.1.12", SELF, 0);
	slot(0)->owners[0] = 2;
	fragment4(40000, 77, 0, true, 40);
	expect_sent(WEIR_ADDED_IPIP4);
	put_backend(1, BACK, SELF, WEIR_BACKEND_DOWN);
	fragment4(40000, 77, 800, false, 40);
	expect(XDP_DROP, WEIR_REASON_BACKEND_DOWN);
}

static void later_fragment_whose_backend_is_gone(void **state)
{
	(void)state;
	udp_service();
	fragment4(40000, 77, 0, true, 40);
	expect_sent(WEIR_ADDED_IPIP4);
	put_backend_service(1, 9);      /* the index is another service's */
	fragment4(40000, 77, 800, false, 40);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

static void later_fragment_alone(void **state)
{
	(void)state;
	udp_service();
	fragment4(40000, 78, 800, false, 40);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

static void later_fragment_of_a_stranger(void **state)
{
	edge_reset(state);
	fragment4(40000, 79, 800, false, 40);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void later_fragment6_follows_the_first(void **state)
{
	(void)state;
	put_service(VIP6, 80, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, BACK, SELF, 0);
	slot(0)->current = 1;
	fragment6(40000, 800, false, 40, IPPROTO_UDP);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
	fragment6(40000, 0, true, 40, 0);
	expect_sent(WEIR_ADDED_IPIP4);
	fragment6(40000, 800, false, 40, IPPROTO_UDP);
	expect(XDP_TX, WEIR_REASON_FRAGMENT);
}

#define CASE(name) cmocka_unit_test_setup(name, four_backends)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(fragments_follow_their_first),
		CASE(fragments6_follow_their_first),
		CASE(fragments_behind_extensions),
		CASE(last_fragment_first_is_lost),
		CASE(fragment_of_another_datagram_is_lost),
		CASE(strangers_fragment_passes),
		CASE(tiny_first_fragments),
		CASE(atomic_fragment_is_none),
		CASE(a_client_has_one_backend),
		CASE(by_addresses_fragments_come_in_any_order),
		CASE(by_addresses_a_moving_slot_needs_the_first),
		CASE(by_addresses_down),
		CASE(quoted_by_addresses),
		CASE(later_fragment_follows_the_first),
		CASE(later_fragment_to_a_backend_that_is_down),
		CASE(later_fragment_whose_backend_is_gone),
		CASE(later_fragment_alone),
		CASE(later_fragment_of_a_stranger),
		CASE(later_fragment6_follows_the_first),
	};

	return cmocka_run_group_tests_name("fragments", tests, edge_load, edge_unload);
}
