/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways that the kernel's routes say: a veth pair in this network namespace with a known neighbour and an unknown one. And a
 * frame in front of which there is no room, by a program that eats it up (narrow.bpf.c).
 */
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

/* Out by a device, as an entry of `devices` says. */
static void route_device(uint8_t flags, uint16_t vlan, uint32_t below)
{
	const struct weir_device d = { .below = below, .vlan = vlan, .flags = flags };

	put_device(if_nametoindex("w0"), &d);
}

/* What was sent is `plain`, but with this tag. */
static void expect_tagged(uint32_t action, const struct outcome *plain, uint16_t proto, uint16_t vlan)
{
	const uint8_t tag[4] = { (uint8_t)(proto >> 8), (uint8_t)proto, (uint8_t)(vlan >> 8), (uint8_t)vlan };

	assert_int_equal(o.reason, plain->reason);
	assert_int_equal(o.action, action);
	assert_int_equal(o.len, plain->len + 4);
	assert_memory_equal(o.data, plain->data, 12);
	assert_memory_equal(o.data + 12, tag, 4);
	assert_memory_equal(o.data + 16, plain->data + 12, plain->len - 12);
}

static struct outcome plain;

static void route_by_a_vlan_device(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		edge_reset(state);
		send_to(VIP, is6 ? KNOWN6 : KNOWN, WEIR_ENCAP_GUE);
		plain = o;
		route_device(WEIR_DEVICE_VLAN, 300, INGRESS);
		edge_run(&f, &o);
		expect_tagged(XDP_TX, &plain, 0x8100, 300);
		route_device(WEIR_DEVICE_VLAN | WEIR_DEVICE_VLAN_AD, 4000, OTHER);
		edge_run(&f, &o);
		expect_tagged(XDP_REDIRECT, &plain, 0x88a8, 4000);
		put_backend_vlan(1, WEIR_BACKEND_VLAN, 9); /* the entry has no way: its VLAN does not count */
		edge_run(&f, &o);
		expect_tagged(XDP_REDIRECT, &plain, 0x88a8, 4000);
		route_device(WEIR_DEVICE_MAC, 0, 0);
		edge_run(&f, &o);
		assert_int_equal(o.len, plain.len);
		assert_memory_equal(o.data, plain.data, plain.len);
	}
}

/* Left to the host, encapsulated, to the link address that the frame came to. */
static void route_by_an_incapable_device(void **state)
{
	(void)state;
	route_device(WEIR_DEVICE_HOST, 0, 0);
	send_to(VIP, KNOWN, WEIR_ENCAP_GUE);
	assert_int_equal(o.reason, WEIR_REASON_NO_DEVICE);
	assert_int_equal(o.action, XDP_PASS);
	assert_int_equal(o.len, f.len + WEIR_ADDED_GUE4);
	assert_memory_equal(o.data, f.data, 6);
	assert_memory_equal(o.data + 14 + WEIR_ADDED_GUE4, f.data + 14, f.len - 14);
}

/* A connection that this node does not know, and one earlier owner. */
static void to_relay(bool is6, const char *owner)
{
	uint8_t gue[4] = { is6 ? WEIR_GUE_WORDS6 : WEIR_GUE_WORDS4, IPPROTO_IPIP }, private[4 * WEIR_GUE_WORDS6] = {
		WEIR_GUE_MAGIC, 1 }, address[16];

	address_bytes(address, owner);
	memcpy(private + 4, address, is6 ? 16 : 4);
	put_decap(is6 ? "2001:db8::" : "198.18.0.0", is6 ? 32 : 16, is6 ? "2001:db8::1" : SELF, true);
	frame_eth(&f);
	if (is6)
		frame_ip6(&f, "2001:db8::99", "2001:db8::1");
	else
		frame_ip4(&f, "198.18.0.99", SELF);
	frame_udp(&f, 50000, WEIR_GUE_PORT);
	frame_bytes(&f, gue, sizeof(gue));
	frame_bytes(&f, private, 4 * (is6 ? WEIR_GUE_WORDS6 : WEIR_GUE_WORDS4));
	frame_ip4(&f, CLIENT, VIP);
	frame_tcp(&f, 40000, 80, TCP_ACK);
	frame_bytes(&f, NULL, 20);
	frame_end(&f);
	if (!is6)
		memset(f.data + 14 + 20 + 6, 0, 2); /* as balancers send it */
	edge_run(&f, &o);
}

/* From this node to the owner, who is told that one was asked. */
static void expect_relayed(bool is6, const char *owner)
{
	static const uint8_t link[12] = { 2, 0, 0, 0, 0, 0xbb, 2, 0, 0, 0, 0, 0xaa };
	uint8_t self[16], to[16];
	uint32_t header = is6 ? 40 : 20, len = is6 ? 16 : 4;

	address_bytes(self, is6 ? "2001:db8::1" : SELF);
	address_bytes(to, owner);
	assert_int_equal(o.reason, WEIR_REASON_RELAYED);
	assert_int_equal(o.action, XDP_REDIRECT);
	assert_int_equal(o.len, f.len);
	assert_memory_equal(o.data, link, sizeof(link));
	assert_memory_equal(o.data + 14 + (is6 ? 8 : 12), self, len);
	assert_memory_equal(o.data + 14 + (is6 ? 8 : 12) + len, to, len);
	assert_int_equal(o.data[14 + header + 14], 1);
	if (is6)
		assert_true(transport_checksum_ok(o.data + 14));
	else
		assert_true(ip4_checksum_ok(o.data + 14));
	assert_memory_equal(o.data + 14 + header + 15, f.data + 14 + header + 15, f.len - 29 - header);
}

static void relay(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		const char *owner = is6 ? KNOWN6 : KNOWN;

		edge_reset(state);
		to_relay(is6, owner);
		expect_relayed(is6, owner);
		plain = o;
		route_device(WEIR_DEVICE_VLAN, 300, INGRESS);
		to_relay(is6, owner);
		expect_tagged(XDP_TX, &plain, 0x8100, 300);
		/* The host would refuse this node's own address as a source. */
		route_device(WEIR_DEVICE_HOST, 0, 0);
		to_relay(is6, owner);
		assert_int_equal(o.reason, WEIR_REASON_NO_DEVICE);
		assert_int_equal(o.action, XDP_PASS);
		assert_memory_equal(o.data, f.data, 14);
		assert_memory_equal(o.data + 14 + (is6 ? 8 : 12), f.data + 14 + (is6 ? 8 : 12), is6 ? 16 : 4);
		assert_memory_equal(o.data + 14 + (is6 ? 24 : 16), plain.data + 14 + (is6 ? 24 : 16), is6 ? 16 : 4);
	}
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
		T(route_by_a_vlan_device), T(route_by_an_incapable_device), T(relay),
		T(neighbour_unknown4), T(neighbour_unknown6), T(no_route), T(no_room),
	};

	return cmocka_run_group_tests_name("route", tests, edge_load, edge_unload);
}
