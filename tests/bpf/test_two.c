/* SPDX-License-Identifier: Apache-2.0 */
/* Two candidates at the SYN: the less loaded one, and the flow stays there. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bpf/abi/two.h"
#include "skel/edge.skel.h"
#include "tests/bpf/packets.h"
#include "user/agent/maps.h"

#define NSLOTS  8

static void loads(uint32_t b1, uint32_t b2)
{
	const uint32_t load[2] = { b1, b2 };

	for (uint32_t i = 0; i < 2; i++) {
		uint32_t index = i + 1;

		assert_int_equal(bpf_map_update_elem(bpf_map__fd(edge_skeleton()->maps.backend_loads),
						     &index, &load[i], 0), 0);
	}
}

static uint32_t slot_of(uint16_t port)
{
	struct weir_flow flow = flow_of(false, IPPROTO_TCP, port);

	return weir_flow_slot(weir_flow_hash(&flow), NSLOTS);
}

static uint32_t second_of(uint16_t port)
{
	struct weir_flow flow = flow_of(false, IPPROTO_TCP, port);

	return weir_second_slot(weir_flow_hash(&flow), NSLOTS);
}

/* A flow whose slot is backend 1's and whose second is 2's, with slots even: 1, odd: 2. */
static uint16_t flow_between(unsigned int nth)
{
	for (uint16_t port = 40000;; port++)
		if (slot_of(port) % 2 == 0 && second_of(port) % 2 == 1 && !nth--)
			return port;
}

static int start(void **state)
{
	edge_reset(state);
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, NSLOTS, WEIR_ENCAP_GUE, WEIR_SERVICE_TWO);
	put_backend(1, "198.18.1.11", SELF, 0);
	put_backend(2, "198.18.1.12", SELF, 0);
	put_backend(3, "198.18.1.13", SELF, 0);
	for (uint32_t i = 0; i < NSLOTS; i++)
		slot(i)->current = (uint16_t)(1 + i % 2);
	loads(50000, 20000);
	return 0;
}

static void clear(struct bpf_map *map)
{
	struct weir_flow key;

	while (!bpf_map_get_next_key(bpf_map__fd(map), NULL, &key))
		bpf_map_delete_elem(bpf_map__fd(map), &key);
}

static void the_less_loaded_one(void **state)
{
	uint16_t port = flow_between(0);

	(void)state;
	assert_int_equal(tcp_to(port, TCP_SYN), 2);
	assert_int_equal(tcp_to(port, TCP_ACK), 2);
	loads(20000, 50000);
	assert_int_equal(tcp_to(port, TCP_ACK), 2); /* and stays */
	assert_int_equal(tcp_to(flow_between(1), TCP_SYN), 1);
}

static void small_differences_do_not_count(void **state)
{
	(void)state;
	loads(22000, 20000);
	assert_int_equal(tcp_to(flow_between(0), TCP_SYN), 1);
	loads(22501, 20000);
	assert_int_equal(tcp_to(flow_between(0), TCP_SYN), 2);
}

static void unknown_loads_do_not_count(void **state)
{
	(void)state;
	loads(50000, 0);
	assert_int_equal(tcp_to(flow_between(0), TCP_SYN), 1);
	loads(0, 20000);
	assert_int_equal(tcp_to(flow_between(1), TCP_SYN), 1);
}

static void only_what_leaves_its_slot_is_noted(void **state)
{
	(void)state;
	loads(20000, 20000);
	for (unsigned int i = 0; i < 20; i++) {
		tcp_to(flow_between(i), TCP_SYN);
		tcp_to(flow_between(i), TCP_ACK);
	}
	assert_int_equal(flows_in(edge_skeleton()->maps.kept), 0);
	assert_int_equal(flows_in(edge_skeleton()->maps.kept_half), 0);
	loads(50000, 20000);
	tcp_to(flow_between(0), TCP_SYN);
	assert_int_equal(flows_in(edge_skeleton()->maps.kept_half), 1);
	assert_int_equal(flows_in(edge_skeleton()->maps.kept), 0);
	tcp_to(flow_between(0), TCP_ACK);
	assert_int_equal(flows_in(edge_skeleton()->maps.kept_half), 0);
	assert_int_equal(flows_in(edge_skeleton()->maps.kept), 1);
}

static void old_flow_is_not_led_away(void **state)
{
	(void)state;
	assert_int_equal(tcp_to(flow_between(0), TCP_ACK), 1);
}

static void syn_again_goes_to_the_same(void **state)
{
	uint16_t port = flow_between(0);

	(void)state;
	assert_int_equal(tcp_to(port, TCP_SYN), 2);
	loads(20000, 50000);
	assert_int_equal(tcp_to(port, TCP_SYN), 2);
}

static void new_connection_from_the_same_port(void **state)
{
	uint16_t port = flow_between(0);

	(void)state;
	tcp_to(port, TCP_SYN);
	assert_int_equal(tcp_to(port, TCP_ACK), 2);
	loads(20000, 50000);
	assert_int_equal(tcp_to(port, TCP_SYN), 1);
	assert_int_equal(tcp_to(port, TCP_ACK), 1);
}

static void slots_that_move_take_no_flow_along(void **state)
{
	uint16_t port = flow_between(0);

	(void)state;
	tcp_to(port, TCP_SYN);
	tcp_to(port, TCP_ACK);
	for (uint32_t i = 0; i < NSLOTS; i++) {
		slot(i)->previous = slot(i)->owners[0] = slot(i)->current;
		slot(i)->current = 3;
	}
	assert_int_equal(tcp_to(port, TCP_ACK), 2);
	for (uint32_t i = 0; i < NSLOTS; i++)
		slot(i)->previous = 0;
	assert_int_equal(tcp_to(port, TCP_ACK), 2);
}

static void candidate_that_is_down(void **state)
{
	uint16_t port = flow_between(0);

	(void)state;
	put_backend(2, "198.18.1.12", SELF, WEIR_BACKEND_DOWN);
	assert_int_equal(tcp_to(port, TCP_SYN), 1);
	put_backend(2, "198.18.1.12", SELF, 0);
	port = flow_between(1);
	assert_int_equal(tcp_to(port, TCP_SYN), 2);
	tcp_to(port, TCP_ACK);
	put_backend(2, "198.18.1.12", SELF, WEIR_BACKEND_DOWN);
	assert_int_equal(tcp_to(port, TCP_ACK), 1);
}

/* Without its note a flow comes to the slot's backend, which is told whom to ask. */
static void second_candidate_is_among_the_owners(void **state)
{
	const struct weir_gue_private *head = (const void *)(o.data + 14 + 20 + 8 + 4);
	uint16_t port = flow_between(0);

	(void)state;
	tcp_to(port, TCP_SYN);
	tcp_to(port, TCP_ACK);
	clear(edge_skeleton()->maps.kept);
	assert_int_equal(tcp_to(port, TCP_ACK), 1);
	assert_int_equal(head->count, 1);
	assert_memory_equal(head + 1, "\xc6\x12\x01\x0c", 4);
	/* Beside three earlier owners it has the last place. */
	for (uint16_t i = 4; i < 7; i++) {
		char address[] = "198.18.1.10";

		address[10] = (char)('0' + i);
		put_backend(i, address, SELF, 0);
		slot(slot_of(port))->owners[i - 4] = i;
	}
	assert_int_equal(tcp_to(port, TCP_ACK), 1);
	assert_int_equal(head->count, 3);
	assert_memory_equal(head + 1, "\xc6\x12\x01\x0e\xc6\x12\x01\x0f\xc6\x12\x01\x0c", 12);
}

/* It may be an earlier owner of the first slot as well. */
static void no_owner_is_named_twice(void **state)
{
	const struct weir_gue_private *head = (const void *)(o.data + 14 + 20 + 8 + 4);
	uint16_t port = flow_between(0);

	(void)state;
	put_backend(4, "198.18.1.14", SELF, 0);
	slot(slot_of(port))->owners[0] = 4;
	slot(slot_of(port))->owners[1] = 2;
	assert_int_equal(tcp_to(port, TCP_ACK), 1);
	assert_int_equal(head->count, 2);
	assert_memory_equal(head + 1, "\xc6\x12\x01\x0e\xc6\x12\x01\x0c", 8);
}

static void no_owner_is_named_twice6(void **state)
{
	const struct weir_gue_private *head = (const void *)(o.data + 14 + 40 + 8 + 4);
	uint16_t port = flow_between(0);

	(void)state;
	put_backend(1, "2001:db8:1::11", "2001:db8:1::1", 0);
	put_backend(2, "2001:db8:1::12", "2001:db8:1::1", 0);
	put_backend(4, "2001:db8:1::14", "2001:db8:1::1", 0);
	slot(slot_of(port))->owners[0] = 4;
	slot(slot_of(port))->owners[1] = 3; /* of the other family */
	slot(slot_of(port))->owners[2] = 2;
	assert_int_equal(tcp_to(port, TCP_ACK), 1);
	assert_int_equal(head->count, 2);
	assert_int_equal(((const uint8_t *)(head + 1))[15], 0x14);
	assert_int_equal(((const uint8_t *)(head + 1))[31], 0x12);
}

/* The slot is this node's, which does not know the connection: its note was lost. */
static void this_node_asks_the_second_candidate(void **state)
{
	uint16_t port = flow_between(0);

	(void)state;
	put_backend(1, "198.18.1.11", SELF, WEIR_BACKEND_LOCAL);
	frame_eth(&f);
	frame_ip4(&f, CLIENT, VIP);
	frame_tcp(&f, port, 80, TCP_ACK);
	frame_end(&f);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_RELAYED);
	assert_int_equal(o.data[5], 2);
	put_backend(2, "198.18.1.12", SELF, WEIR_BACKEND_DOWN);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_LOCAL);
}

/* The noted backend is gone and its index another service's. */
static void index_of_another_service(void **state)
{
	uint16_t port = flow_between(0);

	(void)state;
	tcp_to(port, TCP_SYN);
	assert_int_equal(tcp_to(port, TCP_ACK), 2);
	put_backend_service(2, 9);
	assert_int_equal(tcp_to(port, TCP_ACK), 1);
	put_backend_service(2, 1);
	port = flow_between(1);
	assert_int_equal(tcp_to(port, TCP_SYN), 2); /* half open */
	put_backend_service(2, 9);
	assert_int_equal(tcp_to(port, TCP_ACK), 1);
}

/* A backend that the agent adds has no load, whoever had its index before. */
static void new_backend_has_no_load(void **state)
{
	const struct edge *s = edge_skeleton();
	const struct maps_fds fds = {
		.settings = bpf_map__fd(s->maps.settings),
		.services = bpf_map__fd(s->maps.services),
		.service_info = bpf_map__fd(s->maps.service_info),
		.service_prefixes = bpf_map__fd(s->maps.service_prefixes),
		.slots = bpf_map__fd(s->maps.slots),
		.backends = bpf_map__fd(s->maps.backends),
		.backend_counts = bpf_map__fd(s->maps.backend_counts),
		.backend_loads = bpf_map__fd(s->maps.backend_loads),
		.quic_configs = bpf_map__fd(s->maps.quic_configs),
		.quic_servers = bpf_map__fd(s->maps.quic_servers),
	};
	struct weir_service_info info = { .name = "web", .slots = NSLOTS };
	const struct addr address = { .family = AF_INET, .bytes = { 198, 18, 1, 14 } };
	uint32_t number = 1, index = 4, load = 50000;
	struct maps *m;

	(void)state;
	bpf_map_update_elem(fds.service_info, &number, &info, BPF_ANY);
	assert_int_equal(bpf_map_update_elem(fds.backend_loads, &index, &load, BPF_ANY), 0);
	assert_int_equal(maps_open(&m, &fds), 0);
	assert_int_equal(maps_backend_set(m, 1, "b4", &address, true), 4);
	maps_close(m);
	info = (struct weir_service_info){ 0 };
	bpf_map_update_elem(fds.service_info, &number, &info, BPF_ANY);
	assert_int_equal(bpf_map_lookup_elem(fds.backend_loads, &index, &load), 0);
	assert_int_equal(load, 0);
}

static void udp_has_one_candidate(void **state)
{
	(void)state;
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, NSLOTS, WEIR_ENCAP_GUE, WEIR_SERVICE_TWO);
	for (uint16_t port = 40000; port < 40050; port++) {
		struct weir_flow flow = flow_of(false, IPPROTO_TCP, port);

		flow.proto = IPPROTO_UDP;
		frame_eth(&f);
		frame_ip4(&f, CLIENT, VIP);
		frame_udp(&f, port, 80);
		frame_end(&f);
		edge_run(&f, &o);
		assert_int_equal(o.data[5], 1 + weir_flow_slot(weir_flow_hash(&flow), NSLOTS) % 2);
	}
}

/* A thousand flows, both loaded alike: nothing changes hands; one full: half of its flows leave it. */
static void half_of_the_flows_can_leave(void **state)
{
	int to[3] = { 0 };

	(void)state;
	for (uint16_t port = 30000; port < 31000; port++)
		to[tcp_to(port, TCP_SYN)]++;
	assert_in_range(to[2], 700, 800);
	assert_int_equal(to[1] + to[2], 1000);
}

#define T(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_less_loaded_one), T(small_differences_do_not_count),
		T(unknown_loads_do_not_count), T(only_what_leaves_its_slot_is_noted),
		T(old_flow_is_not_led_away), T(syn_again_goes_to_the_same),
		T(new_connection_from_the_same_port), T(slots_that_move_take_no_flow_along),
		T(candidate_that_is_down), T(second_candidate_is_among_the_owners),
		T(no_owner_is_named_twice), T(no_owner_is_named_twice6),
		T(this_node_asks_the_second_candidate), T(index_of_another_service),
		T(new_backend_has_no_load), T(udp_has_one_candidate), T(half_of_the_flows_can_leave),
	};

	return cmocka_run_group_tests_name("two", tests, edge_load, edge_unload);
}
