/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways that the kernel's routes say: a veth pair in this network namespace with a known neighbour and an unknown one. And a
 * frame in front of which there is no room, by a program that eats it up (narrow.bpf.c).
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "skel/edge.skel.h"
#include "skel/narrow.skel.h"
#include "tests/bpf/edge.h"

#define CLIENT	 "192.0.2.1"
#define VIP	 "198.18.100.1"
#define SELF	 "198.18.0.1"
#define KNOWN	 "198.18.0.11"
#define UNKNOWN	 "198.18.0.12"
#define VIP6	 "2001:db8:100::1"
#define KNOWN6	 "2001:db8::11"
#define UNKNOWN6 "2001:db8::12"

static struct frame f;
static struct outcome o;

static void command(const char *line)
{
	if (system(line))
		skip(); /* no iproute2, or no such device here */
}

static int ways(void **state)
{
	edge_reset(state);
	if (if_nametoindex("w0"))
		return 0;
	command("ip link add w0 address 02:00:00:00:00:aa type veth peer name w1");
	command("ip link set w0 up && ip link set w1 up");
	command("ip addr add 198.18.0.1/24 dev w0 && ip addr add 2001:db8::1/64 dev w0 nodad");
	command("ip neigh add 198.18.0.11 lladdr 02:00:00:00:00:bb dev w0 nud permanent");
	command("ip -6 neigh add 2001:db8::11 lladdr 02:00:00:00:00:bb dev w0 nud permanent");
	command("echo 1 > /proc/sys/net/ipv4/conf/all/forwarding && echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
	return 0;
}

static void send_to(const char *vip, const char *backend, uint8_t encap)
{
	put_service(vip, 80, IPPROTO_TCP, 1, 0, 1, encap, 0);
	put_backend(1, backend, strchr(backend, ':') ? "2001:db8::1" : SELF, 0);
	put_backend_way(1, 0, 0);
	slot(0)->current = 1;
	frame_eth(&f);
	if (strchr(vip, ':'))
		frame_ip6(&f, "2001:db8:c::1", vip);
	else
		frame_ip4(&f, CLIENT, vip);
	frame_tcp(&f, 40000, 80, TCP_SYN);
	frame_bytes(&f, NULL, 40);
	frame_end(&f);
	edge_run(&f, &o);
}

/* Out by the route's interface, with the neighbour's link address and the interface's own. */
static void expect_way(uint32_t added)
{
	static const uint8_t link[12] = { 2, 0, 0, 0, 0, 0xbb, 2, 0, 0, 0, 0, 0xaa };

	assert_int_equal(o.reason, WEIR_REASON_FORWARDED);
	assert_int_equal(o.action, XDP_REDIRECT);
	assert_int_equal(o.len, f.len + added);
	assert_memory_equal(o.data, link, sizeof(link));
	assert_memory_equal(o.data + 14 + added, f.data + 14, f.len - 14);
}

/* Left to the host, which resolves the neighbour: encapsulated, to the link address that the frame came to. */
static void expect_left(uint32_t added)
{
	assert_int_equal(o.reason, WEIR_REASON_NO_NEIGHBOUR);
	assert_int_equal(o.action, XDP_PASS);
	assert_int_equal(o.len, f.len + added);
	assert_memory_equal(o.data, f.data, 6);
	assert_memory_equal(o.data + 14 + added, f.data + 14, f.len - 14);
}

static void route4(void **state)
{
	(void)state;
	send_to(VIP, KNOWN, WEIR_ENCAP_IPIP);
	expect_way(WEIR_ADDED_IPIP4);
}

static void route4_gue(void **state)
{
	(void)state;
	send_to(VIP, KNOWN, WEIR_ENCAP_GUE);
	expect_way(WEIR_ADDED_GUE4);
}

static void route6(void **state)
{
	(void)state;
	send_to(VIP6, KNOWN6, WEIR_ENCAP_IPIP);
	expect_way(WEIR_ADDED_IPIP6);
}

static void route6_gue(void **state)
{
	(void)state;
	send_to(VIP6, KNOWN6, WEIR_ENCAP_GUE);
	expect_way(WEIR_ADDED_GUE6);
}

static void route_4_in_6(void **state)
{
	(void)state;
	send_to(VIP, KNOWN6, WEIR_ENCAP_GUE);
	expect_way(WEIR_ADDED_GUE6);
}

static void route_6_in_4(void **state)
{
	(void)state;
	send_to(VIP6, KNOWN, WEIR_ENCAP_IPIP);
	expect_way(WEIR_ADDED_IPIP4);
}

static void neighbour_unknown4(void **state)
{
	(void)state;
	send_to(VIP, UNKNOWN, WEIR_ENCAP_GUE);
	expect_left(WEIR_ADDED_GUE4);
}

static void neighbour_unknown6(void **state)
{
	(void)state;
	send_to(VIP6, UNKNOWN6, WEIR_ENCAP_IPIP);
	expect_left(WEIR_ADDED_IPIP6);
}

static void no_route(void **state)
{
	(void)state;
	send_to(VIP, "203.0.113.77", WEIR_ENCAP_IPIP);
	assert_int_equal(o.reason, WEIR_REASON_NO_ROUTE);
	assert_int_equal(o.action, XDP_DROP);
}

static void no_room(void **state)
{
	struct narrow *n = narrow__open_and_load();
	uint32_t zero = 0;
	int edge = bpf_program__fd(edge_skeleton()->progs.edge);

	(void)state;
	assert_non_null(n);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(n->maps.then), &zero, &edge, BPF_ANY), 0);
	edge_run_by(bpf_program__fd(n->progs.narrow));
	send_to(VIP, KNOWN, WEIR_ENCAP_GUE);
	edge_run_by(0);
	narrow__destroy(n);
	assert_int_equal(o.reason, WEIR_REASON_NO_ROOM);
	assert_int_equal(o.action, XDP_DROP);
}

#define T(name) cmocka_unit_test_setup(name, ways)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(route4), T(route4_gue), T(route6), T(route6_gue), T(route_4_in_6), T(route_6_in_4),
		T(neighbour_unknown4), T(neighbour_unknown6), T(no_route), T(no_room),
	};

	return cmocka_run_group_tests_name("route", tests, edge_load, edge_unload);
}
