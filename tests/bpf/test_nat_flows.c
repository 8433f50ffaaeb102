/* SPDX-License-Identifier: Apache-2.0 */
/* Translation: whose port is whose, generations, the handshake. */
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bpf/abi/nat.h"
#include "skel/edge.skel.h"
#include "tests/bpf/edge.h"
#include "tests/bpf/nat.h"

/* ---- whose port is whose ---- */

static void flows_have_ports_of_their_own(void **state)
{
	uint16_t a = syn(40000), b = syn(40001), c = syn_from(OTHER4, 40000);

	(void)state;
	assert_int_not_equal(a, b);
	assert_int_not_equal(a, c);
	assert_int_not_equal(b, c);
	assert_int_equal(syn(40001), b);
}

static void each_cpu_has_ports_of_its_own(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < PORTS; i++)
		assert_in_range(syn((uint16_t)(40000 + i)), FIRST, FIRST + PORTS - 1);
	on_cpu(1);
	for (uint16_t i = 0; i < PORTS; i++)
		assert_in_range(syn((uint16_t)(41000 + i)), FIRST + PORTS, FIRST + 2 * PORTS - 1);
	/* A flow that comes by another CPU keeps its port. */
	assert_in_range(syn(40000), FIRST, FIRST + PORTS - 1);
}

static void second_address_when_the_first_is_full(void **state)
{
	(void)state;
	nat.count[0] = nat.count[1] = 0;
	place(0, NAT);
	place(1, NATB);
	for (uint16_t i = 0; i < 2 * PORTS; i++) {
		uint16_t port = syn((uint16_t)(40000 + i));

		assert_int_equal(o.data[14 + 15], i < PORTS ? 1 : 2);
		assert_in_range(port, FIRST, FIRST + PORTS - 1);
	}
	/* And a reply to the second finds its flow. */
	tcp(&f, B1, 80, NATB, FIRST, TCP_SYN | TCP_ACK, 5000, 1001, 0, 61);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	tcp(&want, VIP, 80, CLIENT, 40000 + PORTS, TCP_SYN | TCP_ACK, 5000, 1001, 0, 60);
	link_to(&want, 0x0b, 2, 0x0a);
	expect_frame();
}

static void slot_that_moves_takes_no_flow_along(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	slot(0)->owners[0] = slot(0)->previous = 1;
	slot(0)->current = 2;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(backend(), 11);
	assert_int_equal(nat_port(), port);
	syn(40001);
	assert_int_equal(backend(), 12);
	slot(0)->previous = 0;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(backend(), 11);
}

static void backend_down(void **state)
{
	(void)state;
	connect_from(CLIENT, 40000);
	put_backend(1, B1, NULL, WEIR_BACKEND_DOWN);
	slot(0)->current = 2;
	/* The check may err: what is open goes on trying. */
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(backend(), 11);
	/* New ones go elsewhere, also from the same port. */
	syn(40001);
	assert_int_equal(backend(), 12);
	syn(40000);
	assert_int_equal(backend(), 12);
}

static void udp_leaves_a_backend_that_is_down(void **state)
{
	uint16_t port;

	(void)state;
	udp(&f, CLIENT, 40000, VIP, 53, 5, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	port = nat_port();
	put_backend(1, B1, NULL, WEIR_BACKEND_DOWN);
	slot(0)->current = 2;
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(backend(), 12);
	assert_int_not_equal(nat_port(), port);
}

static void index_with_another_backend(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);
	struct weir_backend b = { .family = WEIR_FAMILY_4, .ifindex = INGRESS, .id = 5 };
	uint32_t one = 1;

	(void)state;
	address_bytes((uint8_t *)b.addr, B1);
	bpf_map_update_elem(fd(edge_skeleton()->maps.backends), &one, &b, 0);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect_untouched();
}

static void segment_of_no_flow(void **state)
{
	(void)state;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
}

static void reply_of_another_backend(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	answer_from(B2, port, TCP_ACK, 5001, 1001, 10);
	expect_untouched();
	udp(&f, B1, 80, NAT, port, 10, 61); /* the other protocol */
	expect_untouched();
	answer((uint16_t)(port + 1), TCP_ACK, 5001, 1001, 10);
	expect_untouched();
}

/* ---- generations ---- */

static void flow_with_an_older_generation(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	entry(port)->head += 1ULL << 32;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
}

static void entry_of_another_flow(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	entry(port)->flow.source_port = htons(40001);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
}

static void entry_that_is_being_written(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	entry(port)->head |= WEIR_NAT_BUSY;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect_untouched();
}

/* ---- the handshake decides what passes ---- */

static void answer_to_another_syn(void **state)
{
	uint64_t strange = counted(WEIR_NAT_COUNT_STRANGE);
	uint16_t port = syn(40000);

	(void)state;
	answer(port, TCP_SYN | TCP_ACK, 5000, 999, 0);
	expect_untouched();
	answer(port, TCP_ACK, 5000, 999, 10); /* data of the connection before */
	expect_untouched();
	answer(port, TCP_ACK | 1, 5000, 999, 0);
	expect_untouched();
	answer(port, TCP_RST | TCP_ACK, 0, 999, 0);
	expect_untouched();
	assert_int_equal(counted(WEIR_NAT_COUNT_STRANGE) - strange, 4);
	/* What a backend in TIME-WAIT says to the SYN: the client's reset then clears the way. */
	answer(port, TCP_ACK, 5000, 999, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	answer(port, TCP_RST | TCP_ACK, 0, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
}

static void established_by_the_clients_acknowledgement(void **state)
{
	uint16_t port = syn(40000);

	(void)state;
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 15);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 15);
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 4999, 0, 61); /* a guess */
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 15);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
}

/* Who did not get the SYN-ACK knows nothing of its number: a few guesses must not do. */
static void established_by_no_guess(void **state)
{
	uint16_t port = syn(40000);

	(void)state;
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	for (uint32_t i = 0; i < 16; i++) {
		tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001 + 0x10000 + (i << 28), 0, 61);
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
		assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 15);
	}
	/* Of one who got data already, the first acknowledgement was lost. */
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001 + 0xffff, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
}

/* A SYN that comes once more after the SYN-ACK passed takes nothing back. */
static void repeated_syn(void **state)
{
	uint16_t port = syn(40000);

	(void)state;
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	assert_int_equal(syn(40000), port);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
}

/* What the backend says first passes also when the client's acknowledgement was not seen here. */
static void data_before_the_acknowledgement(void **state)
{
	uint16_t port = syn(40000);

	(void)state;
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	answer(port, TCP_ACK, 5001, 1001 + 5000, 10); /* of another connection */
	expect_untouched();
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 15);
}

static void syn_in_an_open_connection_changes_nothing(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_SYN, 777, 0, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(nat_port(), port);
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(flows_have_ports_of_their_own), T(each_cpu_has_ports_of_its_own),
		T(second_address_when_the_first_is_full), T(slot_that_moves_takes_no_flow_along),
		T(backend_down), T(udp_leaves_a_backend_that_is_down),
		T(index_with_another_backend), T(segment_of_no_flow), T(reply_of_another_backend),
		T(flow_with_an_older_generation), T(entry_of_another_flow),
		T(entry_that_is_being_written),
		T(answer_to_another_syn), T(established_by_the_clients_acknowledgement),
		T(established_by_no_guess), T(repeated_syn), T(data_before_the_acknowledgement),
		T(syn_in_an_open_connection_changes_nothing),
	};

	return cmocka_run_group_tests_name("nat_flows", tests, open_net, edge_unload);
}
