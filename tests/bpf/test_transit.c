/* SPDX-License-Identifier: Apache-2.0 */
/* What is not ours is forwarded by the kernel's routes (WEIR_ON_ROUTE), or left to the host untouched. */
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "skel/edge.skel.h"
#include "tests/bpf/edge.h"

#define OUT_MTU 1400

static struct frame f;
static struct outcome o;
static uint32_t out;

/* A namespace of its own: two interfaces, one of which the agent would have; the test run's ingress is
 * lo. */
static const char *const net[] = {
	"ip link set lo up",
	"ip link add out type veth peer name far",
	"ip link add alien type veth peer name alien1",
	"ip link set out address 06:00:00:00:00:01 mtu 1400",
	"echo 1 >/proc/sys/net/ipv6/conf/far/disable_ipv6", /* what it says by itself would be counted, too */
	"ip addr add 203.0.113.1/24 dev out",
	"ip addr add 2001:db8:9::1/64 dev out nodad",
	"ip addr add 198.51.100.1/24 dev alien",
	"for i in out far alien alien1; do ip link set $i up; done",
	"ip neigh add 203.0.113.2 lladdr 06:00:00:00:00:02 dev out",
	"ip neigh add 2001:db8:9::2 lladdr 06:00:00:00:00:02 dev out",
	"ip neigh add 198.51.100.2 lladdr 06:00:00:00:00:02 dev alien",
	"ip route add default via 203.0.113.2",
	"ip route add default via 2001:db8:9::2",
	"ip route add unreachable 192.0.2.128/25",
	"echo 1 > /proc/sys/net/ipv4/conf/all/forwarding",
	"echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
};

static int group_setup(void **state)
{
	if (unshare(CLONE_NEWNET) || edge_load(state))
		return -1;
	for (size_t i = 0; i < sizeof(net) / sizeof(*net); i++)
		if (system(net[i])) {
			fprintf(stderr, "# %s\n", net[i]);
			return -1;
		}
	out = if_nametoindex("out");
	return 0;
}

static void ports(bool open)
{
	int map = bpf_map__fd(edge_skeleton()->maps.tx_ports);

	if (open)
		assert_int_equal(bpf_map_update_elem(map, &out, &out, BPF_ANY), 0);
	else
		bpf_map_delete_elem(map, &out);
}

static int begin(void **state)
{
	struct weir_settings on = { .on = WEIR_ON_ROUTE };

	if (edge_reset(state))
		return -1;
	put_settings(&on);
	ports(true);
	return 0;
}

static void packet(const char *source, const char *dest, uint8_t ttl, uint32_t payload)
{
	frame_eth(&f);
	if (strchr(dest, ':'))
		((struct ip6_hdr *)frame_ip6(&f, source, dest))->ip6_hlim = ttl;
	else
		((struct iphdr *)frame_ip4(&f, source, dest))->ttl = ttl;
	frame_udp(&f, 4000, 5000);
	frame_bytes(&f, NULL, payload);
	frame_end(&f);
}

static void left(int reason)
{
	edge_run(&f, &o);
	assert_int_equal(o.reason, reason);
	assert_int_equal(o.action, XDP_PASS);
	assert_int_equal(o.len, f.len);
	assert_memory_equal(o.data, f.data, f.len);
}

/* Link addresses and TTL are new, the rest is as it came. */
static void routed_by(uint32_t action, uint32_t ttl_at)
{
	const uint8_t link[12] = { 6, 0, 0, 0, 0, 2, 6, 0, 0, 0, 0, 1 };

	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_ROUTED);
	assert_int_equal(o.action, action);
	assert_int_equal(o.len, f.len);
	assert_memory_equal(o.data, link, sizeof(link));
	assert_int_equal(o.data[ttl_at], f.data[ttl_at] - 1);
	memcpy(f.data, link, sizeof(link));
	f.data[ttl_at]--;
	if (ttl_at == 22) {
		assert_true(ip4_checksum_ok(o.data + 14));
		memcpy(f.data + 24, o.data + 24, 2);
	}
	assert_memory_equal(o.data, f.data, f.len);
}

static void routed(uint32_t ttl_at)
{
	routed_by(XDP_REDIRECT, ttl_at);
}

static void forwards4(void **state)
{
	(void)state;
	for (int ttl = 2; ttl < 256; ttl++) {
		packet("192.0.2.1", "8.8.8.8", (uint8_t)ttl, (uint32_t)ttl);
		routed(22);
	}
}

static void forwards6(void **state)
{
	(void)state;
	packet("2001:db8:c::1", "2001:db8:d::1", 64, 30);
	routed(21);
}

static void switched_off(void **state)
{
	struct weir_settings off = { 0 };

	(void)state;
	put_settings(&off);
	packet("192.0.2.1", "8.8.8.8", 64, 30);
	left(WEIR_REASON_NOT_OURS);
}

static void services_come_first(void **state)
{
	(void)state;
	put_service("198.18.1.100", 5000, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, "198.18.1.11", "198.18.1.1", 0);
	slot(0)->current = 1;
	packet("192.0.2.1", "198.18.1.100", 1, 30);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_FORWARDED);
}

/* The default route would lead it back to where it came from. */
static void other_ports_of_a_service_address_stay(void **state)
{
	(void)state;
	put_service("198.18.1.100", 5001, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_service("2001:db8:1::100", 5001, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	packet("192.0.2.1", "198.18.1.100", 64, 30);
	left(WEIR_REASON_NOT_OURS);
	packet("2001:db8:c::1", "2001:db8:1::100", 64, 30);
	left(WEIR_REASON_NOT_OURS);
	packet("192.0.2.1", "198.18.1.101", 64, 30);
	routed(22);
}

static void ttl_at_its_end(void **state)
{
	(void)state;
	for (uint8_t ttl = 0; ttl < 2; ttl++) {
		packet("192.0.2.1", "8.8.8.8", ttl, 30);
		left(WEIR_REASON_TTL_EXPIRED);
		packet("2001:db8:c::1", "2001:db8:d::1", ttl, 30);
		left(WEIR_REASON_TTL_EXPIRED);
	}
}

static void neighbour_not_known(void **state)
{
	(void)state;
	packet("192.0.2.1", "203.0.113.77", 64, 30);
	left(WEIR_REASON_NO_NEIGHBOUR);
	packet("2001:db8:c::1", "2001:db8:9::77", 64, 30);
	left(WEIR_REASON_NO_NEIGHBOUR);
}

static void larger_than_the_way(void **state)
{
	(void)state;
	packet("192.0.2.1", "8.8.8.8", 64, OUT_MTU - 28);
	routed(22);
	packet("192.0.2.1", "8.8.8.8", 64, OUT_MTU - 27);
	left(WEIR_REASON_NOT_OURS);
	packet("2001:db8:c::1", "2001:db8:d::1", 64, OUT_MTU - 47);
	left(WEIR_REASON_NOT_OURS);
}

static void interface_of_others(void **state)
{
	(void)state;
	packet("192.0.2.1", "198.51.100.2", 64, 30);
	left(WEIR_REASON_NOT_OURS);
	ports(false);
	packet("192.0.2.1", "8.8.8.8", 64, 30);
	left(WEIR_REASON_NOT_OURS);
}

static void addresses_that_stay(void **state)
{
	static const char *const pair[][2] = {
		{ "192.0.2.1", "203.0.113.1" },      { "192.0.2.1", "203.0.113.255" },
		{ "192.0.2.1", "224.0.0.5" },	     { "192.0.2.1", "255.255.255.255" },
		{ "192.0.2.1", "169.254.1.1" },	     { "127.0.0.1", "8.8.8.8" },
		{ "0.0.0.0", "8.8.8.8" },	     { "224.0.0.1", "8.8.8.8" },
		{ "169.254.1.1", "8.8.8.8" },	     { "192.0.2.1", "192.0.2.200" },
		{ "2001:db8:c::1", "2001:db8:9::1" }, { "2001:db8:c::1", "ff02::5" },
		{ "2001:db8:c::1", "fe80::5" },	     { "fe80::1", "2001:db8:d::1" },
		{ "::", "2001:db8:d::1" },	     { "ff02::1", "2001:db8:d::1" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pair) / sizeof(*pair); i++) {
		packet(pair[i][0], pair[i][1], 64, 30);
		left(WEIR_REASON_NOT_OURS);
	}
}

static void link_broadcast_stays(void **state)
{
	(void)state;
	packet("192.0.2.1", "8.8.8.8", 64, 30);
	f.data[0] = 0xff;
	left(WEIR_REASON_NOT_OURS);
}

/* A frame for another link address than the interface's own is the host's, that knows of macvlan, VRRP and bridges. */
static void frame_for_another_stays(void **state)
{
	struct weir_device own = { .flags = WEIR_DEVICE_MAC };

	(void)state;
	packet("192.0.2.1", "8.8.8.8", 64, 30);
	memcpy(own.mac, f.data, 6);
	put_device(INGRESS, &own);
	routed(22);
	for (int i = 0; i < 6; i++) {
		packet("192.0.2.1", "8.8.8.8", 64, 30);
		f.data[i] ^= 2;
		left(WEIR_REASON_NOT_OURS);
	}
	own.flags = 0;
	put_device(INGRESS, &own);
	routed(22);
}

static void other_protocols_too(void **state)
{
	(void)state;
	frame_eth(&f);
	frame_ip4(&f, "192.0.2.1", "8.8.8.8");
	frame_icmp(&f, 8, 0);
	frame_bytes(&f, NULL, 40);
	frame_end(&f);
	routed(22);
}

/* A router on a stick. The interface has a program, without which the test run takes nothing from it. */
static int begin_in(void **state)
{
	int rc = begin(state);

	edge_run_in(out);
	return rc ? rc : bpf_xdp_attach((int)out, bpf_program__fd(edge_skeleton()->progs.edge), XDP_FLAGS_DRV_MODE, NULL);
}

static int end_in(void **state)
{
	(void)state;
	edge_run_in(0);
	return bpf_xdp_detach((int)out, XDP_FLAGS_DRV_MODE, NULL);
}

static void back_by_the_same_interface(void **state)
{
	(void)state;
	for (uint8_t ttl = 255; ttl > 1; ttl -= 2) {
		packet("192.0.2.1", "8.8.8.8", ttl, ttl);
		routed_by(XDP_TX, 22);
		packet("2001:db8:c::1", "2001:db8:d::1", ttl, ttl);
		routed_by(XDP_TX, 21);
	}
}

/* veth hands on what is redirected, also where the peer has no program. */
static void back_by_redirect(void **state)
{
	struct weir_settings redirect = { .on = WEIR_ON_ROUTE, .off = WEIR_OFF_TX };

	(void)state;
	put_settings(&redirect);
	packet("192.0.2.1", "8.8.8.8", 64, 30);
	routed_by(XDP_REDIRECT, 22);
	packet("2001:db8:c::1", "2001:db8:d::1", 64, 30);
	routed_by(XDP_REDIRECT, 21);
}

static void back_by_one_that_is_not_ours(void **state)
{
	(void)state;
	ports(false);
	packet("192.0.2.1", "8.8.8.8", 64, 30);
	left(WEIR_REASON_NOT_OURS);
}

#define T(name)	   cmocka_unit_test_setup(name, begin)
#define T_IN(name) cmocka_unit_test_setup_teardown(name, begin_in, end_in)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(forwards4), T(forwards6), T(switched_off), T(services_come_first),
		T(other_ports_of_a_service_address_stay),
		T(ttl_at_its_end), T(neighbour_not_known), T(larger_than_the_way),
		T(interface_of_others), T(addresses_that_stay), T(link_broadcast_stays),
		T(other_protocols_too), T(frame_for_another_stays),
		T_IN(back_by_the_same_interface), T_IN(back_by_redirect), T_IN(back_by_one_that_is_not_ours),
	};

	return cmocka_run_group_tests_name("transit", tests, group_setup, edge_unload);
}
