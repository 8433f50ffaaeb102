/* SPDX-License-Identifier: Apache-2.0 */
/* Translation: what a new flow gets when its CPU's ports are all taken. */
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

/* ---- full ---- */

static void fill_open(uint16_t first[PORTS])
{
	for (uint16_t i = 0; i < PORTS; i++) {
		first[i] = connect_from(CLIENT, (uint16_t)(40000 + i));
		idle(first[i], (uint32_t)(100 - i));
	}
}

static void oldest_is_evicted(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	idle(had[5], 500);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED), evicted);
	assert_int_equal(syn(50000), had[5]);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED) - evicted, 1);
	/* Whose it was finds nothing, and gets nothing. */
	tcp(&f, CLIENT, 40005, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
	answer(had[5], TCP_ACK, 5001, 1001, 10); /* the old connection's data: not for the new client */
	expect_untouched();
}

static void half_open_ones_go_first(void **state)
{
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	entry(had[3])->head &= ~0xffULL; /* idle for 97 s: now for 7 */
	idle(had[3], (uint32_t)-90);
	idle(had[1], 1000);
	assert_int_equal(syn(50000), had[3]);
}

static void closing_ones_go_before_them(void **state)
{
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	entry(had[3])->head &= ~0xffULL;
	idle(had[3], (uint32_t)-90);
	tcp(&f, CLIENT, 40006, VIP, 80, TCP_RST, 1001, 0, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(syn(50000), had[6]);
}

static void expired_one_is_no_eviction(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	idle(had[4], 3600);
	assert_int_equal(syn(50000), had[4]);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED), evicted);
}

/* Stamped by a CPU whose clock is ahead: it is the one used last, not one of last year. */
static void stamped_in_the_future(void **state)
{
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	idle(had[4], (uint32_t)-(100 - 4 + 2));
	assert_int_not_equal(weir_nat_idle(entry(had[3])->head, 0), 0);
	assert_int_equal(syn(50000), had[0]);
	assert_int_equal(weir_nat_idle(101ULL << 8, 100), 0);
	assert_int_equal(weir_nat_idle(0xffffffULL << 8, 0), 1);
}

/* After a reset the port is free for another backend soon, for the same one when TIME-WAIT is over. */
static void port_of_a_closed_connection(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	for (uint16_t i = 2; i < 4; i++) {
		answer(had[i], TCP_RST, 5001, 0, 0);
		expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
		idle(had[i], 10);
	}
	idle(had[2], 60);
	assert_int_equal(syn(50000), had[2]); /* the same backend */
	slot(0)->current = 2;
	assert_int_equal(syn(50001), had[3]); /* another */
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED), evicted);
}

/* Nothing in a datagram tells whose it is: a late reply would reach the new client. */
static void udp_port_is_not_taken_for_the_same_backend(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED), full = counted(WEIR_NAT_COUNT_FULL);

	(void)state;
	for (uint16_t i = 0; i < PORTS; i++) {
		udp(&f, CLIENT, (uint16_t)(40000 + i), VIP, 53, 5, 61);
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
	}
	udp(&f, CLIENT, 50000, VIP, 53, 5, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_FULL);
	assert_int_equal(counted(WEIR_NAT_COUNT_FULL) - full, 1);
	slot(0)->current = 2; /* for another it is */
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED) - evicted, 1);
	/* And what the first backend still sends does not reach the new client. */
	udp(&f, B1, 53, NAT, nat_port(), 5, 61);
	expect_untouched();
}

/* Whoever sends datagrams names any sender: connections that are complete are not for them. */
static void udp_ends_no_connection(void **state)
{
	uint64_t full = counted(WEIR_NAT_COUNT_FULL);
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	idle(had[5], 500);
	udp(&f, CLIENT, 50000, VIP, 53, 5, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_FULL);
	assert_int_equal(counted(WEIR_NAT_COUNT_FULL) - full, 1);
	tcp(&f, CLIENT, 40005, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	/* A half-open one is. */
	entry(had[3])->head &= ~0xffULL;
	idle(had[3], (uint32_t)-90);
	udp(&f, CLIENT, 50000, VIP, 53, 5, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(nat_port(), had[3]);
}

static void udp_expires(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);

	(void)state;
	for (uint16_t i = 0; i < PORTS; i++) {
		udp(&f, CLIENT, (uint16_t)(40000 + i), VIP, 53, 5, 61);
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
	}
	idle(FIRST + 2, 60);
	udp(&f, CLIENT, 50000, VIP, 53, 5, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(nat_port(), FIRST + 2);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED), evicted);
}

/* Those in use lie in a row, longer than what is looked at in turn: none ends while any is free. */
static void row_of_busy_ones(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);

	(void)state;
	nat.ports = 600;
	nat_write();
	for (uint16_t i = 0; i < 300; i++)
		assert_int_equal(connect_from(CLIENT, (uint16_t)(40000 + i)), FIRST + i);
	for (uint16_t i = 0; i < 20; i++) {
		rewind_cursors();
		assert_in_range(connect_from(CLIENT, (uint16_t)(50000 + i)), FIRST + 300, FIRST + 599);
	}
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED), evicted);
}

/* Not all are looked at each time, but the only one that is free is found soon. */
static void not_all_are_looked_at(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);
	uint32_t tries = 0;

	(void)state;
	nat.ports = 400;
	nat_write();
	for (uint16_t i = 0; i < 400; i++)
		assert_int_equal(connect_from(CLIENT, (uint16_t)(40000 + i)), FIRST + i);
	idle(FIRST + 300, 3600);
	while (connect_from(CLIENT, (uint16_t)(50000 + tries)) != FIRST + 300)
		assert_true(++tries < 60);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED) - evicted, tries);
}

static void flows_map_holds_what_the_ports_hold(void **state)
{
	struct weir_flow key, *from = NULL;
	uint32_t n = 0;

	(void)state;
	for (uint16_t i = 0; i < 5 * PORTS; i++)
		connect_from(CLIENT, (uint16_t)(40000 + i));
	while (!bpf_map_get_next_key(fd(edge_skeleton()->maps.nat_flows), from, &key)) {
		from = &key;
		n++;
	}
	assert_int_equal(n, PORTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(oldest_is_evicted), T(half_open_ones_go_first), T(closing_ones_go_before_them),
		T(expired_one_is_no_eviction), T(stamped_in_the_future),
		T(port_of_a_closed_connection), T(udp_port_is_not_taken_for_the_same_backend),
		T(udp_ends_no_connection), T(udp_expires), T(row_of_busy_ones),
		T(not_all_are_looked_at), T(flows_map_holds_what_the_ports_hold),
	};

	return cmocka_run_group_tests_name("nat_full", tests, open_net, edge_unload);
}
