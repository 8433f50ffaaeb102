/* SPDX-License-Identifier: Apache-2.0 */
/* world.c -- see world.h. */
#include "tests/bpf/world.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/abi/filter.h"
#include "bpf/abi/nat.h"
#include "bpf/abi/quic.h"
#include "bpf/abi/sample.h"
#include "bpf/abi/two.h"
#include "skel/edge.skel.h"
#include "tests/bpf/edge.h"
#include "user/agent/filterset.h"
#include "user/agent/maps.h"

#define BACKENDS 26 /* indexes that are named; from 24 on there is none */
#define SERVICES 90

const char *const world_vip[2][4] = {
	{ "198.18.1.100", "198.18.1.101", "198.18.1.102", "198.18.1.103" },
	{ "2001:db8:1::100", "2001:db8:1::101", "2001:db8:1::102", "2001:db8:1::103" },
};
const char *const world_self[2] = { "198.18.1.1", "2001:db8:1::1" };
const char *const world_way[2] = { "198.18.1.11", "2001:db8:1::11" };
const char *const world_client[2] = { "192.0.2.1", "2001:db8:c::1" };
const char *const world_nat[2] = { "198.18.2.1", "2001:db8:2::1" };
const uint16_t world_ports[4] = { 0, 53, 80, 443 };
struct weir_settings world_settings;

static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP };
static struct filterset *filters;
static struct ring_buffer *ring;
static uint64_t state;

void world_seed(uint64_t seed)
{
	state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

uint64_t draw(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64_C(2685821657736338717);
}

uint32_t below(uint32_t n)
{
	return (uint32_t)(((draw() >> 32) * n) >> 32);
}

bool chance(uint32_t percent)
{
	return below(100) < percent;
}

static _Noreturn void bail(const char *what)
{
	printf("Bail out! %s\n", what);
	exit(1);
}

static void put(const struct bpf_map *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY))
		bail(bpf_map__name(map));
}

void world_random_settings(void)
{
	static const uint16_t mtus[] = { 0, 0, 0, 68, 576, 1280, 1500, 9000 };
	static const uint16_t gue[] = { 0, 0, 6080, 5555, 80 };
	struct weir_settings *s = &world_settings;

	memset(s, 0, sizeof(*s));
	s->off = chance(50) ? 0 : below(32);
	s->on = chance(30) ? 0 : below(1024);
	if (chance(40))
		s->on |= WEIR_ON_NAT;
	s->mtu = mtus[below(8)];
	s->gue_port = gue[below(5)];
	s->ttl = chance(80) ? 0 : (uint8_t)(1 + below(255));
	s->udp_learn_s = (uint16_t)below(3);
	s->sample = below(4);
	s->services_version = chance(50) ? (uint32_t)draw() : 0;
	put_settings(s);
}

/* Half of them are the first service's, which has most of the packets: what is remembered of flows
 * counts for backends of the service alone. */
static void random_backends(void)
{
	for (uint16_t i = 1; i < 24; i++) {
		int family = (int)below(2);
		uint32_t load = below(WEIR_LOAD_FULL), index = i;
		uint8_t flags = (uint8_t)((chance(12) ? WEIR_BACKEND_DOWN : 0) |
					  (chance(8) ? WEIR_BACKEND_LOCAL : 0));

		put_backend(i, world_way[family], chance(90) ? world_self[family] : NULL, flags);
		put_backend_way(i, chance(70) ? INGRESS : chance(50) ? OTHER : 0,
				chance(70) ? 0 : (uint16_t)(60 + below(1600)));
		put_backend_service(i, chance(80) ? 1 : (uint16_t)below(SERVICES));
		if (chance(15))
			put_backend_vlan(i, flags | WEIR_BACKEND_VLAN | (chance(30) ? WEIR_BACKEND_VLAN_AD : 0), (uint16_t)below(4096));
		put(edge_skeleton()->maps.backend_loads, &index, &load);
	}
}

static void random_slots(void)
{
	for (uint32_t i = 0; i < 512; i++) {
		struct weir_slot s = { .current = (uint16_t)below(BACKENDS), .since = (uint16_t)draw() };

		if (chance(40))
			s.previous = (uint16_t)below(BACKENDS);
		for (int k = 0; k < WEIR_OWNERS; k++)
			s.owners[k] = chance(60) ? (uint16_t)below(BACKENDS) : 0;
		if (chance(50))
			s.since = (uint16_t)maps_now();
		*slot(i) = s;
	}
}

static void random_nat(void)
{
	struct weir_nat nat = { .first = WORLD_NAT_PORT, .ports = (uint16_t)(1 + (chance(70) ? below(40) : below(2))), .cpus = 2, .tcp_s = 1 + below(100),
				.half_open_s = below(3), .closing_s = below(3), .reuse_s = below(3), .udp_s = below(3) };
	uint32_t zero = 0;

	for (uint32_t i = 0; i < 2; i++) {
		struct weir_nat_place *p = &nat.place[i];

		address_bytes((uint8_t *)p->addr, world_nat[i]);
		p->family = i ? WEIR_FAMILY_6 : WEIR_FAMILY_4;
		nat.list[i][0] = (uint8_t)i;
		nat.count[i] = 1;
		put(edge_skeleton()->maps.nat_addresses, p, &i);
	}
	put(edge_skeleton()->maps.nat_conf, &zero, &nat);
}

/* The server IDs are what frame_bytes() has behind its first byte. */
static void random_quic(void)
{
	for (uint32_t n = 0; n <= SERVICES; n++) {
		struct weir_quic q = { .config = (uint8_t)below(7), .server_id = (uint8_t)below(4), .nonce = (uint8_t)(4 + below(5)) };
		struct weir_quic_key key = { .service = n, .id = { 8, 15, 22 }, .len = q.server_id };
		uint32_t index = below(BACKENDS);

		memset(key.id + q.server_id, 0, sizeof(key.id) - q.server_id);
		if (chance(60))
			q.config = 0;
		if (chance(30))
			q = (struct weir_quic){ 0 };
		put(edge_skeleton()->maps.quic_configs, &n, &q);
		put(edge_skeleton()->maps.quic_servers, &key, &index);
	}
}

static void random_filter(void)
{
	struct weir_limits l = { .of = { { 1000000000, below(9) * 1000000000ull }, { 100000000, 0 }, { 1000000000, 0 } },
				 .bits4 = (uint8_t)below(33), .bits6 = (uint8_t)below(65) };
	struct filterset_entry e[4];
	uint32_t zero = 0;

	for (int i = 0; i < 4; i++) {
		int family = (int)below(2);

		e[i] = (struct filterset_entry){ .family = family ? WEIR_FAMILY_6 : WEIR_FAMILY_4, .len = (uint8_t)(family ? 128 : 32),
						 .verdict = chance(60) ? WEIR_VERDICT_BLOCK : WEIR_VERDICT_ALLOW };
		address_bytes(e[i].addr, chance(40)   ? world_client[family]
					 : chance(50) ? world_vip[family][i]
						      : world_way[family]);
	}
	if (filterset_begin(filters) || filterset_put(filters, e, below(5)) || filterset_commit(filters))
		printf("# the lists could not be set\n");
	put(edge_skeleton()->maps.filter_limits, &zero, &l);
}

static void random_prefixes(void)
{
	for (uint32_t n = 50; n < 54; n++) {
		struct weir_service s = { .number = n, .first = below(500), .slots = 1 + below(12), .encap = (uint8_t)below(3),
					  .flags = (uint8_t)below(16) };
		int family = (int)below(2);

		put_service_prefix(world_vip[family][0], (uint8_t)(family ? 120 + below(8) : 24 + below(8)),
				   world_ports[below(4)], protocols[below(2)], &s);
	}
}

static void random_samples(void)
{
	for (uint32_t i = 0; i < WEIR_SAMPLE_FILTERS; i++) {
		struct weir_sample_filter s = { .reasons = chance(50) ? draw() : 0, .until = ~UINT64_C(0), .inner = (uint8_t)below(2),
						.snap = (uint16_t)(chance(50) ? 0 : below(WEIR_SAMPLE_SNAP)), .one_of = below(3) };

		if (chance(30))
			s.port = htons(world_ports[1 + below(3)]);
		if (chance(30))
			s.backend = (uint16_t)below(BACKENDS);
		put(edge_skeleton()->maps.sample_filters, &i, &s);
	}
}

/* What routes lead to: a device to send by, one that XDP cannot send by, or a VLAN on another. */
static void random_devices(void)
{
	struct weir_device d = { .below = chance(70) ? INGRESS : OTHER, .vlan = (uint16_t)below(4096) };
	uint32_t route = if_nametoindex("w0");

	if (chance(50))
		d.flags |= WEIR_DEVICE_HOST;
	else if (chance(60))
		d.flags |= WEIR_DEVICE_VLAN | (chance(30) ? WEIR_DEVICE_VLAN_AD : 0);
	if (route && chance(60))
		put_device(route, &d);
}

void world_random(void)
{
	edge_reset(NULL);
	random_devices();
	random_nat();
	random_quic();
	random_filter();
	random_prefixes();
	random_samples();
	for (uint32_t n = 1; n <= SERVICES; n++)
		put_service(world_vip[below(2)][below(4)], world_ports[below(4)], protocols[below(2)], chance(60) ? 1 : n,
			    below(500), chance(95) ? 1 + below(12) : 0, (uint8_t)below(3), chance(40) ? 0 : (uint8_t)below(16));
	random_backends();
	random_slots();
	for (int i = 0; i < 2; i++) {
		put_decap(chance(80) ? world_way[i] : world_self[i], i ? 128 : 32, world_self[i], chance(80));
		if (chance(30))
			put_edge(world_client[i]);
		if (chance(30))
			put_prefix(world_vip[i][0], i ? 126 : 30);
	}
}

static int taken(void *arg, void *data, size_t len)
{
	const struct weir_sample *s = data;

	(void)arg;
	if (len != sizeof(struct weir_sample_record) || s->captured > WEIR_SAMPLE_SNAP || s->reason >= WEIR_REASON_COUNT)
		bail("a sample is not well formed");
	return 0;
}

void world_drain(void)
{
	ring_buffer__consume(ring);
}

static void open_neighbours(void)
{
	static const char commands[] =
		"exec >/dev/null 2>&1; ip link add w0 address 02:00:00:00:00:0a type veth peer name w1;"
		"ip link set w0 up; ip link set w1 up; echo 1 >/proc/sys/net/ipv4/conf/all/forwarding;"
		"echo 1 >/proc/sys/net/ipv6/conf/all/forwarding;"
		"ip addr add 192.0.2.254/24 dev w0; ip addr add 2001:db8:c::fe/64 dev w0 nodad;"
		"ip addr add 198.18.1.1/24 dev w0; ip addr add 2001:db8:1::1/64 dev w0 nodad;"
		"for a in 192.0.2.1 2001:db8:c::1 198.18.1.11; do ip neigh add $a lladdr 02:00:00:00:00:0b dev w0; done";
	uint32_t port;

	if (unshare(CLONE_NEWNET) || system(commands))
		printf("# without routes\n");
	port = if_nametoindex("w0");
	if (port)
		put(edge_skeleton()->maps.tx_ports, &port, &port);
}

void world_open(void)
{
	const struct edge *s = edge_skeleton();
	const struct filterset_fds fds = {
		.settings = bpf_map__fd(s->maps.settings), .filter4 = bpf_map__fd(s->maps.filter4),
		.filter6 = bpf_map__fd(s->maps.filter6), .hints = bpf_map__fd(s->maps.filter_hints),
		.limits = bpf_map__fd(s->maps.filter_limits), .buckets = bpf_map__fd(s->maps.filter_buckets),
		.shared = bpf_map__fd(s->maps.filter_shared),
	};

	open_neighbours();
	if (filterset_open(&filters, &fds))
		bail("the lists cannot be opened");
	ring = ring_buffer__new(bpf_map__fd(s->maps.samples), taken, NULL, NULL);
	if (!ring)
		bail("the samples cannot be read");
}
