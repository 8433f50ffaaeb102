/* SPDX-License-Identifier: Apache-2.0 */
/* Slots that move: rules 1 to 3 in the packet path, the pure rules of the agent, owners in GUE. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "skel/edge.skel.h"
#include "tests/bpf/edge.h"
#include "user/agent/maps.h"

#define CLIENT "192.0.2.1"
#define VIP    "198.18.1.100"
#define SELF   "198.18.1.1"

static struct frame f;
static struct outcome o;

static void packet(uint8_t proto, uint32_t flow, uint8_t flags)
{
	frame_eth(&f);
	frame_ip4(&f, CLIENT, VIP);
	((uint8_t *)f.data)[27] = (uint8_t)(flow >> 16);
	if (proto == IPPROTO_TCP)
		frame_tcp(&f, (uint16_t)flow, 80, flags);
	else
		frame_udp(&f, (uint16_t)flow, 80);
	frame_end(&f);
}

/* Which backend a TCP or UDP packet of a flow goes to. */
static int goes_to(uint8_t proto, uint32_t flow, uint8_t flags)
{
	packet(proto, flow, flags);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_FORWARDED);
	return o.data[5];
}

static int tcp_to(uint32_t flow, uint8_t flags)
{
	return goes_to(IPPROTO_TCP, flow, flags);
}

static int udp_to(uint32_t flow)
{
	return goes_to(IPPROTO_UDP, flow, 0);
}

static void move(uint16_t to)
{
	assert_true(slot_move(slot(0), to, true, maps_now()));
}

static int start(void **state)
{
	edge_reset(state);
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	for (uint16_t i = 1; i <= 6; i++) {
		char address[] = "198.18.1.10";

		address[10] = (char)('0' + i);
		put_backend(i, address, SELF, 0);
	}
	slot(0)->current = 1;
	return 0;
}

/* ---- rule 1 ---- */

static void steady_slot_notes_nothing(void **state)
{
	struct weir_flow key;

	(void)state;
	assert_int_equal(tcp_to(1, TCP_SYN), 1);
	assert_int_equal(bpf_map_get_next_key(bpf_map__fd(edge_skeleton()->maps.half_open), NULL, &key), -ENOENT);
	assert_int_equal(bpf_map_get_next_key(bpf_map__fd(edge_skeleton()->maps.notes), NULL, &key), -ENOENT);
}

static void syn_goes_to_current(void **state)
{
	(void)state;
	move(2);
	assert_int_equal(tcp_to(1, TCP_SYN), 2);
}

static void old_flow_stays_with_previous(void **state)
{
	(void)state;
	assert_int_equal(tcp_to(1, TCP_SYN), 1);
	move(2);
	assert_int_equal(tcp_to(1, TCP_ACK), 1);
}

static void syn_with_ack_is_no_new_connection(void **state)
{
	(void)state;
	move(2);
	assert_int_equal(tcp_to(1, TCP_SYN | TCP_ACK), 1);
}

static void new_flow_stays_with_current(void **state)
{
	(void)state;
	move(2);
	assert_int_equal(tcp_to(1, TCP_SYN), 2);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tcp_to(1, TCP_ACK), 2);
}

static void first_ack_promotes_the_note(void **state)
{
	struct weir_flow key;
	struct weir_note note;

	(void)state;
	move(2);
	tcp_to(1, TCP_SYN);
	assert_int_equal(bpf_map_get_next_key(bpf_map__fd(edge_skeleton()->maps.notes), NULL, &key), -ENOENT);
	tcp_to(1, TCP_ACK);
	assert_int_equal(bpf_map_get_next_key(bpf_map__fd(edge_skeleton()->maps.half_open), NULL, &key), -ENOENT);
	assert_int_equal(bpf_map_get_next_key(bpf_map__fd(edge_skeleton()->maps.notes), NULL, &key), 0);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(edge_skeleton()->maps.notes), &key, &note), 0);
	assert_int_equal(note.backend, 2);
	assert_int_equal(note.since, slot(0)->since);
}

static void syn_flood_evicts_no_established_flow(void **state)
{
	(void)state;
	move(2);
	for (uint32_t i = 1; i <= 50; i++) {
		tcp_to(i, TCP_SYN);
		tcp_to(i, TCP_ACK);
	}
	for (uint32_t i = 1000; i < 1000 + 3 * WEIR_HALF_OPEN_MAX; i++) {
		packet(IPPROTO_TCP, i, TCP_SYN);
		edge_run(&f, &o);
	}
	for (uint32_t i = 1; i <= 50; i++)
		assert_int_equal(tcp_to(i, TCP_ACK), 2);
}

/* ---- rule 2 ---- */

static void second_change_keeps_previous(void **state)
{
	(void)state;
	tcp_to(1, TCP_SYN);
	move(2);
	tcp_to(2, TCP_SYN);
	tcp_to(2, TCP_ACK);
	move(3);
	assert_int_equal(tcp_to(3, TCP_SYN), 3);
	assert_int_equal(tcp_to(1, TCP_ACK), 1);
	assert_int_equal(tcp_to(2, TCP_ACK), 2);
	assert_int_equal(tcp_to(3, TCP_ACK), 3);
}

static void half_open_flow_survives_a_change(void **state)
{
	(void)state;
	move(2);
	tcp_to(1, TCP_SYN);
	move(3);
	assert_int_equal(tcp_to(1, TCP_ACK), 2);
}

static void back_to_the_first_owner(void **state)
{
	(void)state;
	tcp_to(1, TCP_SYN);
	move(2);
	tcp_to(2, TCP_SYN);
	tcp_to(2, TCP_ACK);
	move(1);
	assert_int_equal(tcp_to(1, TCP_ACK), 1);
	assert_int_equal(tcp_to(2, TCP_ACK), 2);
	assert_int_equal(tcp_to(3, TCP_SYN), 1);
}

/* ---- rule 3 ---- */

static void going_elsewhere_is_stamped(void **state)
{
	(void)state;
	move(2);
	slot(0)->elsewhere = 5;
	assert_int_equal(tcp_to(1, TCP_ACK), 1);
	assert_in_range(slot(0)->elsewhere, maps_now() - 1, maps_now());
}

static void going_to_current_is_not_stamped(void **state)
{
	(void)state;
	move(2);
	slot(0)->elsewhere = 5;
	tcp_to(1, TCP_SYN);
	tcp_to(1, TCP_ACK);
	assert_int_equal(slot(0)->elsewhere, 5);
}

static void transition_ends_after_the_drain_time(void **state)
{
	struct weir_slot s = { .current = 2, .previous = 1, .owners = { 1 }, .elsewhere = 1000 };

	(void)state;
	assert_false(slot_settle(&s, 1000, 310));
	assert_false(slot_settle(&s, 1310, 310));
	assert_true(slot_settle(&s, 1311, 310));
	assert_int_equal(s.previous, 0);
	assert_int_equal(s.owners[0], 1);
	assert_false(slot_settle(&s, 5000, 310));
}

static void stamp_of_a_later_second_does_not_end_it(void **state)
{
	struct weir_slot s = { .current = 2, .previous = 1, .elsewhere = 1001 };

	(void)state;
	assert_false(slot_settle(&s, 1000, 310));
}

static void after_the_end_everything_goes_to_current(void **state)
{
	(void)state;
	move(2);
	slot(0)->previous = 0;
	assert_int_equal(tcp_to(1, TCP_ACK), 2);
}

static void note_of_an_earlier_transition_does_not_count(void **state)
{
	(void)state;
	move(2);
	tcp_to(1, TCP_SYN);
	tcp_to(1, TCP_ACK);
	slot(0)->previous = 0;          /* ended */
	slot(0)->current = 3;           /* steady: flow 1 was opened again here */
	move(4);
	slot(0)->since += 1;            /* a later second */
	assert_int_equal(tcp_to(1, TCP_ACK), 3);
}

/* ---- backends that are down ---- */

static void noted_backend_that_is_down(void **state)
{
	(void)state;
	move(2);
	tcp_to(1, TCP_SYN);
	tcp_to(1, TCP_ACK);
	move(3);
	put_backend(2, "198.18.1.12", SELF, WEIR_BACKEND_DOWN);
	assert_int_equal(tcp_to(1, TCP_ACK), 1);
}

static void previous_that_is_down(void **state)
{
	(void)state;
	move(2);
	put_backend(1, "198.18.1.11", SELF, WEIR_BACKEND_DOWN);
	assert_int_equal(tcp_to(1, TCP_ACK), 2);
}

/* ---- backends whose index is another service's ---- */

static void noted_index_of_another_service(void **state)
{
	(void)state;
	move(2);
	tcp_to(1, TCP_SYN);
	tcp_to(1, TCP_ACK);
	tcp_to(2, TCP_SYN);             /* half open */
	move(3);
	assert_int_equal(tcp_to(1, TCP_ACK), 2);
	put_backend_service(2, 9);
	assert_int_equal(tcp_to(1, TCP_ACK), 1);
	assert_int_equal(tcp_to(2, TCP_ACK), 1);
}

/* ---- UDP ---- */

static void stateless_udp_follows_current(void **state)
{
	(void)state;
	assert_int_equal(udp_to(1), 1);
	move(2);
	assert_int_equal(udp_to(1), 2);
}

static void sticky_udp_stays(void **state)
{
	(void)state;
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, WEIR_SERVICE_UDP_STICKY);
	assert_int_equal(udp_to(1), 1);
	move(2);
	assert_int_equal(udp_to(1), 1);
	slot(0)->since -= 100;          /* learning is over, but its note is of another transition */
	assert_int_equal(udp_to(2), 2);
	assert_int_equal(udp_to(2), 2);
}

/* The slot moved in a second that the program's clock, a tick late, has not reached. */
static void sticky_udp_stays_from_the_first_moment(void **state)
{
	(void)state;
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, WEIR_SERVICE_UDP_STICKY);
	move(2);
	slot(0)->since = (uint16_t)(maps_now() + 1);
	assert_int_equal(udp_to(1), 1);
}

static void sticky_udp_is_noted(void **state)
{
	const struct weir_settings s = { .udp_learn_s = 1 };

	(void)state;
	put_settings(&s);
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, WEIR_SERVICE_UDP_STICKY);
	move(2);
	slot(0)->since = (uint16_t)(maps_now() - 50);
	assert_int_equal(udp_to(7), 2);
	assert_true(slot_move(slot(0), 3, true, maps_now()));
	assert_int_equal(udp_to(7), 2);
	assert_int_equal(udp_to(8), 3);
}

/* There and back again, or a report: the slot is in a transition whose previous is its current. Flows seen
 * then are old ones when it moves on. */
static void sticky_udp_is_noted_where_nothing_moves(void **state)
{
	(void)state;
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, WEIR_SERVICE_UDP_STICKY);
	move(2);
	assert_true(slot_move(slot(0), 1, true, maps_now()));
	assert_int_equal(slot(0)->previous, slot(0)->current);
	slot(0)->since = (uint16_t)(maps_now() - 100);
	assert_int_equal(udp_to(7), 1);
	assert_true(slot_move(slot(0), 3, true, maps_now()));
	assert_int_equal(udp_to(7), 1);
	assert_int_equal(udp_to(8), 3);
}

/* ---- slot_move(), pure ---- */

static void moving_to_the_same_is_nothing(void **state)
{
	struct weir_slot s = { .current = 4 }, before = s;

	(void)state;
	assert_false(slot_move(&s, 4, true, 9));
	assert_memory_equal(&s, &before, sizeof(s));
}

static void first_owner_needs_no_transition(void **state)
{
	struct weir_slot s = { 0 };

	(void)state;
	assert_true(slot_move(&s, 4, false, 9));
	assert_int_equal(s.current, 4);
	assert_int_equal(s.previous, 0);
	assert_int_equal(s.owners[0], 0);
}

static void dead_owner_needs_no_transition(void **state)
{
	struct weir_slot s = { .current = 4 };

	(void)state;
	assert_true(slot_move(&s, 5, false, 9));
	assert_int_equal(s.previous, 0);
	assert_int_equal(s.owners[0], 4);
}

static void three_owners_are_kept(void **state)
{
	struct weir_slot s = { .current = 1 };
	const uint16_t want[WEIR_OWNERS] = { 4, 3, 2 };

	(void)state;
	for (uint16_t i = 2; i <= 5; i++)
		slot_move(&s, i, true, 9);
	assert_memory_equal(s.owners, want, sizeof(want));
	assert_int_equal(s.previous, 1);
}

static void no_owner_is_kept_twice(void **state)
{
	struct weir_slot s = { .current = 1 };
	const uint16_t want[WEIR_OWNERS] = { 3, 1, 0 };

	(void)state;
	slot_move(&s, 2, true, 9);
	slot_move(&s, 1, true, 9);
	slot_move(&s, 3, true, 9);
	slot_move(&s, 2, true, 9);
	assert_memory_equal(s.owners, want, sizeof(want));
}

static void emptied_slot_keeps_its_owner_in_mind(void **state)
{
	struct weir_slot s = { .current = 1 };

	(void)state;
	slot_move(&s, 0, true, 9);
	assert_int_equal(s.previous, 0);
	assert_int_equal(s.owners[0], 1);
	slot_move(&s, 1, true, 10);
	assert_int_equal(s.owners[0], 0);
}

/* ---- owners in GUE ---- */

static const uint8_t *private_of(uint8_t flags)
{
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_GUE, 0);
	assert_int_not_equal(tcp_to(1, flags), 0);
	return o.data + 14 + 20 + 8 + 4;
}

static void owners_travel_with_the_packet(void **state)
{
	const uint8_t want[16] = { WEIR_GUE_MAGIC, 2, 0, 0, 198, 18, 1, 12, 198, 18, 1, 11 };

	(void)state;
	move(2);
	move(3);
	slot(0)->previous = 0;
	assert_memory_equal(private_of(TCP_ACK), want, sizeof(want));
}

static void owners_leave_out_who_gets_it(void **state)
{
	const uint8_t want[16] = { WEIR_GUE_MAGIC, 1, 0, 0, 198, 18, 1, 12 };

	(void)state;
	move(2);
	assert_memory_equal(private_of(TCP_ACK), want, sizeof(want));
	assert_int_equal(o.data[5], 1);
}

static void owners_leave_out_who_is_down(void **state)
{
	const uint8_t want[16] = { WEIR_GUE_MAGIC, 1, 0, 0, 198, 18, 1, 11 };

	(void)state;
	move(2);
	move(3);
	slot(0)->previous = 0;
	put_backend(2, "198.18.1.12", SELF, WEIR_BACKEND_DOWN);
	assert_memory_equal(private_of(TCP_ACK), want, sizeof(want));
}

static void syn_names_no_owners(void **state)
{
	const uint8_t want[16] = { WEIR_GUE_MAGIC };

	(void)state;
	move(2);
	assert_memory_equal(private_of(TCP_SYN), want, sizeof(want));
}

/* The agent warns from three quarters of the room on (user/agent/notes.c): until then an LRU table, whose CPUs keep
 * places for themselves, must have forgotten nobody. */
static void nothing_is_forgotten_before_the_alarm(void **state)
{
	int notes = bpf_map__fd(edge_skeleton()->maps.notes);
	struct weir_note note = { .backend = 1 };
	struct weir_flow flow = { .proto = IPPROTO_TCP, .family = WEIR_FAMILY_4 };
	const uint32_t n = WEIR_NOTES_MAX / 4 * 3;
	uint32_t there = 0;

	(void)state;
	for (flow.source[0] = 1; flow.source[0] <= n; flow.source[0]++)
		assert_int_equal(bpf_map_update_elem(notes, &flow, &note, BPF_NOEXIST), 0);
	for (flow.source[0] = 1; flow.source[0] <= n; flow.source[0]++)
		there += !bpf_map_lookup_elem(notes, &flow, &note);
	assert_int_equal(there, n);
	for (flow.source[0] = 1; flow.source[0] <= n; flow.source[0]++)
		bpf_map_delete_elem(notes, &flow);
}

#define T(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(steady_slot_notes_nothing), T(syn_goes_to_current),
		T(old_flow_stays_with_previous), T(syn_with_ack_is_no_new_connection),
		T(new_flow_stays_with_current), T(first_ack_promotes_the_note),
		T(syn_flood_evicts_no_established_flow), T(second_change_keeps_previous),
		T(half_open_flow_survives_a_change), T(back_to_the_first_owner),
		T(going_elsewhere_is_stamped), T(going_to_current_is_not_stamped),
		T(transition_ends_after_the_drain_time),
		T(stamp_of_a_later_second_does_not_end_it),
		T(after_the_end_everything_goes_to_current),
		T(note_of_an_earlier_transition_does_not_count), T(noted_backend_that_is_down),
		T(previous_that_is_down), T(stateless_udp_follows_current), T(sticky_udp_stays),
		T(sticky_udp_stays_from_the_first_moment), T(noted_index_of_another_service),
		T(sticky_udp_is_noted), T(sticky_udp_is_noted_where_nothing_moves),
		T(moving_to_the_same_is_nothing),
		T(first_owner_needs_no_transition), T(dead_owner_needs_no_transition),
		T(three_owners_are_kept), T(no_owner_is_kept_twice),
		T(emptied_slot_keeps_its_owner_in_mind), T(owners_travel_with_the_packet),
		T(owners_leave_out_who_gets_it), T(owners_leave_out_who_is_down),
		T(syn_names_no_owners), T(nothing_is_forgotten_before_the_alarm),
	};

	return cmocka_run_group_tests_name("transition", tests, edge_load, edge_unload);
}
