/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feedback: what an owner reports of a relayed packet, byte by byte; what a balancer believes, of whom, and
 * where the flow's packets go then.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "skel/edge.skel.h"
#include "tests/bpf/packets.h"
#include "user/agent/maps.h"

#define HEADER 28u /* IPv4 and UDP */

static struct weir_gue_report report_of(uint16_t port)
{
	return (struct weir_gue_report){ .gue = { .word = WEIR_GUE_CONTROL, .proto = WEIR_GUE_REPORT },
					 .magic = WEIR_GUE_MAGIC,
					 .flow = flow_of(false, IPPROTO_TCP, port) };
}

static void datagram(const char *from, const struct weir_gue_report *r, uint32_t len)
{
	frame_eth(&f);
	frame_ip4(&f, from, SELF);
	frame_udp(&f, 40000, WEIR_GUE_PORT);
	frame_bytes(&f, r, len);
	frame_end(&f);
}

static int run(void)
{
	edge_run(&f, &o);
	assert_int_equal(o.action, XDP_DROP);
	return o.reason;
}

/* What becomes of the report of backend number `from`. */
static int report(int from, uint16_t port)
{
	struct weir_gue_report r = report_of(port);
	char address[] = "198.18.1.10";

	address[10] = (char)('0' + from);
	datagram(address, &r, sizeof(r));
	return run();
}

static void switch_feedback(bool on)
{
	const struct weir_settings s = { .on = on ? WEIR_ON_FEEDBACK : 0 };

	put_settings(&s);
}

/* Steady at 4; 3, 2 and 1 had it before. */
static int start(void **state)
{
	edge_reset(state);
	switch_feedback(true);
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_GUE, 0);
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_GUE, WEIR_SERVICE_UDP_STICKY);
	for (uint16_t i = 1; i <= 6; i++) {
		char address[] = "198.18.1.10";

		address[10] = (char)('0' + i);
		put_backend(i, address, SELF, 0);
	}
	*slot(0) = (struct weir_slot){ .current = 4, .owners = { 3, 2, 1 }, .since = 7 };
	put_decap("198.18.1.0", 24, SELF, true);
	return 0;
}

/* ---- the balancer ---- */

static void reported_flow_goes_to_the_reporter(void **state)
{
	(void)state;
	assert_int_equal(tcp_to(1000, TCP_ACK), 4);
	assert_int_equal(report(2, 1000), WEIR_REASON_FEEDBACK);
	assert_int_equal(o.len, f.len);
	assert_int_equal(tcp_to(1000, TCP_ACK), 2);
	assert_int_equal(tcp_to(1001, TCP_ACK), 4);
	assert_int_equal(tcp_to(1001, TCP_SYN), 4);
	assert_int_equal(tcp_to(1001, TCP_ACK), 4);
}

static void the_slot_is_in_a_transition_to_nowhere(void **state)
{
	uint32_t now = maps_now();

	(void)state;
	report(2, 1000);
	assert_int_equal(slot(0)->current, 4);
	assert_int_equal(slot(0)->previous, 4);
	assert_int_equal(slot(0)->owners[0], 3);
	assert_in_range(slot(0)->elsewhere, now - 1, now + 1);
	assert_int_equal(slot(0)->since, (uint16_t)slot(0)->elsewhere);
	assert_int_equal(flows_in(edge_skeleton()->maps.reported), 1);
	/* New flows need no note: whatever has none goes to the same backend. */
	tcp_to(1001, TCP_SYN);
	tcp_to(1001, TCP_ACK);
	assert_int_equal(flows_in(edge_skeleton()->maps.half_open), 0);
	assert_int_equal(flows_in(edge_skeleton()->maps.notes), 0);
}

static void it_ends_like_all(void **state)
{
	(void)state;
	report(2, 1000);
	slot(0)->elsewhere -= 311;
	assert_int_equal(tcp_to(1000, TCP_ACK), 2); /* stamps */
	assert_false(slot_settle(slot(0), maps_now(), 310));
	assert_true(slot_settle(slot(0), maps_now() + 312, 310));
	assert_int_equal(tcp_to(1000, TCP_ACK), 4);
	/* A later transition knows nothing of it. */
	assert_true(slot_move(slot(0), 5, true, maps_now() + 312));
	assert_int_equal(tcp_to(1000, TCP_ACK), 4);
}

static void a_move_keeps_what_was_reported(void **state)
{
	(void)state;
	report(2, 1000);
	slot(0)->elsewhere -= 300;
	assert_true(slot_move(slot(0), 5, true, maps_now()));
	assert_false(slot_settle(slot(0), maps_now() + 300, 310));
	assert_int_equal(tcp_to(1000, TCP_ACK), 2);
	assert_int_equal(tcp_to(1001, TCP_ACK), 4); /* of the owner that is left */
	assert_int_equal(tcp_to(1002, TCP_SYN), 5);
	assert_int_equal(tcp_to(1002, TCP_ACK), 5);
}

static void a_new_connection_is_not_led(void **state)
{
	(void)state;
	report(2, 1000);
	assert_int_equal(tcp_to(1000, TCP_SYN), 4);
	assert_int_equal(tcp_to(1000, TCP_ACK), 4);
	assert_int_equal(flows_in(edge_skeleton()->maps.reported), 0);
}

static void in_a_transition(void **state)
{
	(void)state;
	assert_true(slot_move(slot(0), 5, true, maps_now()));
	assert_int_equal(tcp_to(1000, TCP_ACK), 4);
	assert_int_equal(report(3, 1000), WEIR_REASON_FEEDBACK);
	assert_int_equal(slot(0)->previous, 4);
	assert_int_equal(tcp_to(1000, TCP_ACK), 3);
	/* A wrong note is corrected where it is. */
	assert_int_equal(tcp_to(1001, TCP_SYN), 5);
	assert_int_equal(tcp_to(1001, TCP_ACK), 5);
	assert_int_equal(report(3, 1001), WEIR_REASON_FEEDBACK);
	assert_int_equal(tcp_to(1001, TCP_ACK), 3);
	assert_int_equal(flows_in(edge_skeleton()->maps.reported), 1);
}

static void again(void **state)
{
	struct weir_slot before;

	(void)state;
	report(2, 1000);
	before = *slot(0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(report(2, 1000), WEIR_REASON_FEEDBACK);
	assert_int_equal(flows_in(edge_skeleton()->maps.reported), 1);
	assert_memory_equal(&before, slot(0), sizeof(before));
	assert_int_equal(report(3, 1000), WEIR_REASON_FEEDBACK);
	assert_int_equal(flows_in(edge_skeleton()->maps.reported), 1);
	assert_int_equal(tcp_to(1000, TCP_ACK), 3);
}

static void the_present_owner_changes_nothing(void **state)
{
	const struct weir_slot before = *slot(0);

	(void)state;
	assert_int_equal(report(4, 1000), WEIR_REASON_FEEDBACK);
	assert_memory_equal(&before, slot(0), sizeof(before));
	assert_int_equal(flows_in(edge_skeleton()->maps.reported), 0);
}

static void the_table_has_a_bound(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 2 * WEIR_REPORTED_MAX; i++) {
		struct weir_gue_report r = report_of((uint16_t)i);

		r.flow.source[0] += htonl(i >> 16 << 8);
		datagram("198.18.1.12", &r, sizeof(r));
		edge_run_next(&f, &o);
	}
	assert_in_range(flows_in(edge_skeleton()->maps.reported), 1, WEIR_REPORTED_MAX);
	assert_int_equal(flows_in(edge_skeleton()->maps.notes), 0);
}

static void ipv6(void **state)
{
	struct weir_gue_report r = report_of(1000);

	(void)state;
	put_service("2001:db8:1::100", 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_GUE, 0);
	put_backend(2, "2001:db8:1::12", "2001:db8:1::1", 0);
	put_decap("2001:db8:1::", 48, "2001:db8:1::1", true);
	r.flow.family = WEIR_FAMILY_6;
	address_bytes((uint8_t *)r.flow.source, "2001:db8:c::1");
	address_bytes((uint8_t *)r.flow.dest, "2001:db8:1::100");
	frame_eth(&f);
	frame_ip6(&f, "2001:db8:1::12", "2001:db8:1::1");
	frame_udp(&f, 40000, WEIR_GUE_PORT);
	frame_bytes(&f, &r, sizeof(r));
	frame_end(&f);
	assert_int_equal(run(), WEIR_REASON_FEEDBACK);
	frame_eth(&f);
	frame_ip6(&f, "2001:db8:c::1", "2001:db8:1::100");
	frame_tcp(&f, 1000, 80, TCP_ACK);
	frame_end(&f);
	edge_run(&f, &o);
	assert_int_equal(o.data[5], 2);
}

static void second_candidate(void **state)
{
	const struct weir_service two = { .number = 1, .slots = 64, .flags = WEIR_SERVICE_TWO };
	const struct weir_service_key key = { .addr = { flow_of(false, IPPROTO_TCP, 0).dest[0] }, .port = htons(80),
					      .proto = IPPROTO_TCP, .family = WEIR_FAMILY_4 };
	struct edge *skel = edge_skeleton();

	(void)state;
	bpf_map_update_elem(bpf_map__fd(skel->maps.services), &key, &two, BPF_ANY);
	for (uint32_t i = 0; i < 64; i++)
		*slot(i) = (struct weir_slot){ .current = 5 };
	/* Where the flow's second candidate is, the first is not: all others are 5's. */
	for (uint32_t i = 0; i < 64; i++) {
		int said;

		slot(i)->current = 6;
		said = report(6, 1000);
		if (said == WEIR_REASON_FEEDBACK && tcp_to(1000, TCP_ACK) == 6 && slot(i)->previous == 0) {
			assert_int_equal(report(1, 1000), WEIR_REASON_FEEDBACK_REFUSED);
			return;
		}
		*slot(i) = (struct weir_slot){ .current = 5 };
	}
	fail_msg("no slot is the second candidate");
}

/* ---- refused ---- */

static void nobody_else_is_believed(void **state)
{
	const struct weir_slot before = *slot(0);
	struct weir_gue_report r = report_of(1000);

	(void)state;
	assert_int_equal(report(5, 1000), WEIR_REASON_FEEDBACK_REFUSED); /* a backend, never of this slot */
	assert_int_equal(report(9, 1000), WEIR_REASON_FEEDBACK_REFUSED); /* an allowed source, no backend */
	put_backend(2, "198.18.1.12", SELF, WEIR_BACKEND_DOWN);
	assert_int_equal(report(2, 1000), WEIR_REASON_FEEDBACK_REFUSED);
	put_backend_service(3, 2);
	assert_int_equal(report(3, 1000), WEIR_REASON_FEEDBACK_REFUSED);
	put_backend(1, "203.0.113.1", SELF, 0);
	datagram("203.0.113.1", &r, sizeof(r));
	assert_int_equal(run(), WEIR_REASON_DECAP_SOURCE); /* an owner, but no allowed source */
	assert_memory_equal(&before, slot(0), sizeof(before));
	assert_int_equal(flows_in(edge_skeleton()->maps.reported), 0);
}

static void other_services_are_refused(void **state)
{
	(void)state;
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_NAT, 0);
	assert_int_equal(report(2, 1000), WEIR_REASON_FEEDBACK_REFUSED);
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, 0, WEIR_ENCAP_GUE, 0);
	assert_int_equal(report(2, 1000), WEIR_REASON_FEEDBACK_REFUSED);
	edge_reset(state);
	switch_feedback(true);
	put_decap("198.18.1.0", 24, SELF, true);
	assert_int_equal(report(2, 1000), WEIR_REASON_FEEDBACK_REFUSED);
}

static void of_other_edges_for_tunnels_alone(void **state)
{
	(void)state;
	put_edge("198.18.1.12");
	assert_int_equal(report(2, 1000), WEIR_REASON_DECAP_INNER);
	put_prefix("198.18.1.96", 28);
	assert_int_equal(report(2, 1000), WEIR_REASON_FEEDBACK);
}

static void off(void **state)
{
	const struct weir_slot before = *slot(0);

	(void)state;
	switch_feedback(false);
	assert_int_equal(report(2, 1000), WEIR_REASON_DECAP_UNKNOWN);
	assert_memory_equal(&before, slot(0), sizeof(before));
}

static void other_interface_is_ordinary(void **state)
{
	struct weir_gue_report r = report_of(1000);

	(void)state;
	edge_reset(state);
	switch_feedback(true);
	put_decap("198.18.1.0", 24, SELF, false);
	datagram("198.18.1.12", &r, sizeof(r));
	edge_run(&f, &o);
	assert_int_equal(o.action, XDP_PASS);
	assert_int_equal(o.reason, WEIR_REASON_NOT_OURS);
}

/* Each byte of what is fixed, and each length. */
static void malformed(void **state)
{
	static const uint8_t at[] = { 0, 1, 2, 3, 4, 5, 6, 7, 12, 23, 28, 39, 44, 45, 46, 47 };
	struct weir_gue_report r, longer[2] = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(at); i++) {
		r = report_of(1000);
		((uint8_t *)&r)[at[i]] ^= 0x40;
		datagram("198.18.1.12", &r, sizeof(r));
		assert_int_equal(run(), WEIR_REASON_DECAP_UNKNOWN);
	}
	r = report_of(1000);
	longer[0] = r;
	for (uint32_t len = 0; len <= sizeof(longer); len++) {
		if (len == sizeof(r))
			continue;
		datagram("198.18.1.12", longer, len);
		assert_int_equal(run(), WEIR_REASON_DECAP_UNKNOWN);
	}
	datagram("198.18.1.12", &r, sizeof(r));
	f.len -= 4; /* IP says more than there is */
	assert_int_equal(run(), WEIR_REASON_TRUNCATED);
	datagram("198.18.1.12", &r, sizeof(r));
	f.data[20] = 0x20; /* a first fragment */
	assert_int_equal(run(), WEIR_REASON_DECAP_UNKNOWN);
	assert_int_equal(flows_in(edge_skeleton()->maps.reported), 0);
}

/* ---- what balancers ask ---- */

static const struct weir_gue_private *private_of(void)
{
	return (const void *)(o.data + 14 + HEADER + sizeof(struct weir_gue));
}

static void balancers_ask(void **state)
{
	(void)state;
	tcp_to(1000, TCP_ACK);
	assert_int_equal(private_of()->count, 3);
	assert_int_equal(private_of()->flags, WEIR_GUE_ASKS);
	tcp_to(1000, TCP_SYN);
	assert_int_equal(private_of()->flags, 0);
	switch_feedback(false);
	tcp_to(1000, TCP_ACK);
	assert_int_equal(private_of()->count, 3);
	assert_int_equal(private_of()->flags, 0);
	/* No address of its own that a report could come to. */
	switch_feedback(true);
	put_backend(4, "198.18.1.14", NULL, 0);
	tcp_to(1000, TCP_ACK);
	assert_int_equal(private_of()->count, 3);
	assert_int_equal(private_of()->flags, 0);
}

/* ---- the owner ---- */

static struct weir_report got;
static int ngot;

static int take(void *arg, void *data, size_t len)
{
	(void)arg;
	assert_int_equal(len, sizeof(got));
	memcpy(&got, data, sizeof(got));
	ngot++;
	return 0;
}

static struct {
	int listener, client, server;
	struct sockaddr_in from, to;
	struct ring_buffer *ring;
} c;

/* A connection over loopback, as the client's end sees it. */
static int connect_one(void **state)
{
	socklen_t len = sizeof(c.to);

	start(state);
	c.listener = socket(AF_INET, SOCK_STREAM, 0);
	c.client = socket(AF_INET, SOCK_STREAM, 0);
	c.to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_false(bind(c.listener, (struct sockaddr *)&c.to, sizeof(c.to)));
	assert_false(listen(c.listener, 1));
	assert_false(getsockname(c.listener, (struct sockaddr *)&c.to, &len));
	assert_false(connect(c.client, (struct sockaddr *)&c.to, sizeof(c.to)));
	assert_false(getsockname(c.client, (struct sockaddr *)&c.from, &len));
	c.server = accept(c.listener, NULL, NULL);
	assert_true(c.server >= 0);
	c.ring = ring_buffer__new(bpf_map__fd(edge_skeleton()->maps.reports), take, NULL, NULL);
	assert_non_null(c.ring);
	ring_buffer__consume(c.ring);
	ngot = 0;
	return 0;
}

static int disconnect(void **state)
{
	(void)state;
	ring_buffer__free(c.ring);
	close(c.server);
	close(c.client);
	close(c.listener);
	return 0;
}

/* A packet of that connection (of another: port + 1), passed on by an owner: how many reports came. */
static int relayed(uint8_t flags, uint8_t next, uint16_t other)
{
	struct {
		struct weir_gue gue;
		struct weir_gue_private head;
		uint8_t owner[WEIR_OWNERS][4];
	} gue = { { WEIR_GUE_WORDS4, IPPROTO_IPIP, 0 },
		  { WEIR_GUE_MAGIC, 2, next, flags },
		  { { 198, 18, 1, 99 }, { 198, 18, 1, 1 }, { 0 } } };
	char lo[] = "127.0.0.1";

	frame_eth(&f);
	frame_ip4(&f, "198.18.1.12", SELF);
	frame_udp(&f, 50000, WEIR_GUE_PORT);
	frame_bytes(&f, &gue, sizeof(gue));
	frame_ip4(&f, lo, lo);
	frame_tcp(&f, (uint16_t)(ntohs(c.from.sin_port) + other), ntohs(c.to.sin_port), TCP_ACK);
	frame_end(&f);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_DECAPSULATED);
	ngot = 0;
	ring_buffer__consume(c.ring);
	return ngot;
}

#define BOTH (WEIR_GUE_ASKS | WEIR_GUE_SENDER)

static void the_owner_reports(void **state)
{
	struct weir_report want = { .family = WEIR_FAMILY_4 };

	(void)state;
	address_bytes((uint8_t *)want.own, SELF);
	address_bytes((uint8_t *)want.balancer, "198.18.1.99");
	want.flow = (struct weir_flow){ .source = { c.from.sin_addr.s_addr }, .dest = { c.to.sin_addr.s_addr },
					.source_port = c.from.sin_port, .dest_port = c.to.sin_port,
					.proto = IPPROTO_TCP, .family = WEIR_FAMILY_4 };
	assert_int_equal(relayed(BOTH, 1, 0), 1);
	assert_memory_equal(&got, &want, sizeof(want));
	/* Once a second. */
	for (int i = 0; i < 10; i++)
		assert_int_equal(relayed(BOTH, 1, 0), 0);
	want.flow.zero = 0;
	assert_false(bpf_map_update_elem(bpf_map__fd(edge_skeleton()->maps.told), &want.flow,
					 &(uint64_t){ 1 }, BPF_ANY));
	assert_int_equal(relayed(BOTH, 2, 0), 1); /* the last one, too */
}

static void the_owner_is_silent(void **state)
{
	(void)state;
	assert_int_equal(relayed(0, 1, 0), 0);
	assert_int_equal(relayed(WEIR_GUE_ASKS, 1, 0), 0); /* by a relay that knows nothing of this */
	assert_int_equal(relayed(BOTH, 0, 0), 0);	   /* not passed on */
	assert_int_equal(relayed(BOTH, 2, 1), 0);	   /* no connection of this node */
	switch_feedback(false);
	assert_int_equal(relayed(BOTH, 1, 0), 0);
	assert_int_equal(relayed(BOTH, 2, 0), 0);
}

#define T(name) cmocka_unit_test_setup(name, start)
#define C(name) cmocka_unit_test_setup_teardown(name, connect_one, disconnect)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reported_flow_goes_to_the_reporter), T(the_slot_is_in_a_transition_to_nowhere),
		T(it_ends_like_all), T(a_move_keeps_what_was_reported), T(a_new_connection_is_not_led),
		T(in_a_transition), T(again), T(the_present_owner_changes_nothing), T(the_table_has_a_bound),
		T(ipv6), T(second_candidate), T(nobody_else_is_believed), T(other_services_are_refused),
		T(of_other_edges_for_tunnels_alone), T(off), T(other_interface_is_ordinary), T(malformed),
		T(balancers_ask), C(the_owner_reports), C(the_owner_is_silent),
	};

	return cmocka_run_group_tests_name("feedback", tests, edge_load, edge_unload);
}
