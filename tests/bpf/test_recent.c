/* SPDX-License-Identifier: Apache-2.0 */
/* What a CPU remembers of services (settings.services_version): for a moment, until told. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "skel/edge.skel.h"
#include "tests/bpf/edge.h"

#define VIP   "198.18.1.100"
#define VIP6  "2001:db8:1::100"
#define OTHER_PORT 81

static struct frame f;
static struct outcome o;
static uint32_t version = 1;

/* A new version for each test; on one CPU, because each remembers by itself. */
static int begin(void **state)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	return edge_reset(state) || sched_setaffinity(0, sizeof(one), &one) ? -1 : 0;
}

static void changed(void)
{
	struct weir_settings set = { .services_version = ++version };

	put_settings(&set);
}

static int tcp(const char *dest, uint16_t port)
{
	frame_eth(&f);
	if (strchr(dest, ':'))
		frame_ip6(&f, "2001:db8:c::1", dest);
	else
		frame_ip4(&f, "192.0.2.1", dest);
	frame_tcp(&f, 40000, port, TCP_ACK);
	frame_end(&f);
	edge_run(&f, &o);
	return o.reason;
}

static void service(const char *address, uint16_t port)
{
	put_service(address, port, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, "198.18.1.11", "198.18.1.1", 0);
	slot(0)->current = 1;
}

static void service_gone(const char *address, uint16_t port)
{
	struct weir_service_key key = { .port = htons(port), .proto = IPPROTO_TCP };

	key.family = strchr(address, ':') ? WEIR_FAMILY_6 : WEIR_FAMILY_4;
	address_bytes((uint8_t *)key.addr, address);
	assert_int_equal(bpf_map_delete_elem(bpf_map__fd(edge_skeleton()->maps.services), &key), 0);
}

static void without_a_version_nothing_is_remembered(void **state)
{
	(void)state;
	assert_int_equal(tcp(VIP, 80), WEIR_REASON_NOT_OURS);
	service(VIP, 80);
	assert_int_equal(tcp(VIP, 80), WEIR_REASON_FORWARDED);
	service_gone(VIP, 80);
	assert_int_equal(tcp(VIP, 80), WEIR_REASON_NOT_OURS);
}

static void a_new_version_forgets(void **state)
{
	(void)state;
	for (int six = 0; six < 2; six++) {
		const char *vip = six ? VIP6 : VIP;

		service(vip, 80);
		changed();
		assert_int_equal(tcp(vip, 80), WEIR_REASON_FORWARDED);
		service_gone(vip, 80);
		changed();
		assert_int_equal(tcp(vip, 80), WEIR_REASON_NOT_OURS);
		service(vip, 80);
		changed();
		assert_int_equal(tcp(vip, 80), WEIR_REASON_FORWARDED);
	}
}

/* Every key that was asked for is one of its own: what falls on the same place pushes out. */
static void keys_are_not_mistaken(void **state)
{
	(void)state;
	service(VIP, 80);
	service(VIP6, 0);
	changed();
	for (int round = 0; round < 2; round++) {
		for (uint16_t port = 1; port < 2000; port++)
			assert_int_equal(tcp(VIP, port), port == 80 ? WEIR_REASON_FORWARDED
								    : WEIR_REASON_NOT_OURS);
		assert_int_equal(tcp(VIP6, OTHER_PORT), WEIR_REASON_FORWARDED);
		assert_int_equal(tcp("2001:db8:1::101", OTHER_PORT), WEIR_REASON_NOT_OURS);
	}
}

/* Somebody changes services by hand and tells nobody. */
static void forgotten_in_time(void **state)
{
	const struct timespec tick = { .tv_nsec = 10000000 };
	int waited = 0;

	(void)state;
	service(VIP, 80);
	changed();
	assert_int_equal(tcp(VIP, 80), WEIR_REASON_FORWARDED);
	service_gone(VIP, 80);
	while (tcp(VIP, 80) != WEIR_REASON_NOT_OURS && ++waited < 500)
		nanosleep(&tick, NULL);
	assert_in_range(waited, 0, 300);
}

#define T(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_a_version_nothing_is_remembered), T(a_new_version_forgets),
		T(keys_are_not_mistaken), T(forgotten_in_time),
	};

	return cmocka_run_group_tests_name("recent", tests, edge_load, edge_unload);
}
