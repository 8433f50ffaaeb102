/* SPDX-License-Identifier: Apache-2.0 */
/* lb_fill.c -- see lb_fill.h. */
#include "tests/bench/lb_fill.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/abi/maps.h"
#include "bpf/abi/nat.h"
#include "bpf/abi/quic.h"
#include "skel/lb_minimal.skel.h"
#include "tests/bpf/frame.h"
#include "user/agent/filterset.h"

#define SLOTS	  4099
#define SLOTS6	  61
#define BACKENDS  16
#define BACKENDS6 4 /* after those */
#define NUMBER	  1 /* of every service but QUIC's */

_Noreturn void lb_die(const char *what)
{
	perror(what);
	exit(1);
}

void lb_put(const struct bpf_map *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY))
		lb_die(bpf_map__name(map));
}

/* An older object, measured beside this one, may not have the map. */
static void put_in(const struct bpf_object *o, const char *name, const void *key, const void *value)
{
	const struct bpf_map *map = bpf_object__find_map_by_name(o, name);

	if (map)
		lb_put(map, key, value);
}

static int map_fd(const struct bpf_object *o, const char *name)
{
	return bpf_map__fd(bpf_object__find_map_by_name(o, name));
}

void lb_edge_switch(const struct bpf_object *o, uint32_t on)
{
	const struct weir_settings set = { .services_version = 1, .on = on }; /* as the agent has it */
	uint32_t zero = 0;

	put_in(o, "settings", &zero, &set);
}

static void service(const struct bpf_object *o, const char *address, uint16_t port, uint8_t proto,
		    const struct weir_service *value)
{
	struct weir_service_key key = { .port = htons(port), .proto = proto,
					.family = strchr(address, ':') ? WEIR_FAMILY_6 : WEIR_FAMILY_4 };

	address_bytes((uint8_t *)key.addr, address);
	put_in(o, "services", &key, value);
}

static void services(const struct bpf_object *o)
{
	const struct weir_service six = { NUMBER, 2 * SLOTS, SLOTS6, WEIR_ENCAP_GUE, 0, 0 };
	static const struct {
		uint16_t port;
		uint8_t proto, encap, flags;
		uint32_t first, number;
	} all[] = {
		{ LB_IPIP, IPPROTO_TCP, WEIR_ENCAP_IPIP, 0, 0, NUMBER },
		{ LB_GUE, IPPROTO_TCP, WEIR_ENCAP_GUE, 0, 0, NUMBER },
		{ LB_OWNERS, IPPROTO_TCP, WEIR_ENCAP_GUE, 0, SLOTS, NUMBER },
		{ LB_TWO, IPPROTO_TCP, WEIR_ENCAP_IPIP, WEIR_SERVICE_TWO, 0, NUMBER },
		{ LB_ADDRESSES, IPPROTO_TCP, WEIR_ENCAP_IPIP, WEIR_SERVICE_ADDRESSES, 0, NUMBER },
		{ LB_UDP, IPPROTO_UDP, WEIR_ENCAP_IPIP, 0, 0, NUMBER },
		{ LB_NAT, IPPROTO_UDP, WEIR_ENCAP_NAT, 0, 0, NUMBER },
		{ LB_QUIC, IPPROTO_UDP, WEIR_ENCAP_IPIP, WEIR_SERVICE_QUIC, 0, NUMBER + 1 },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		const struct weir_service value = { all[i].number, all[i].first, SLOTS, all[i].encap, all[i].flags, 0 };

		service(o, LB_VIP, all[i].port, all[i].proto, &value);
	}
	service(o, LB_VIP6, LB_GUE, IPPROTO_TCP, &six);
}

/* The first half has had one owner only, the second three more; the last are for IPv6. */
static void slots(const struct bpf_object *o)
{
	for (uint32_t i = 0; i < 2 * SLOTS + SLOTS6; i++) {
		struct weir_slot slot = { .current = (uint16_t)(1 + i % BACKENDS) };

		if (i >= 2 * SLOTS)
			slot.current = (uint16_t)(1 + BACKENDS + i % BACKENDS6);
		for (uint32_t k = 0; k < WEIR_OWNERS && i >= SLOTS && i < 2 * SLOTS; k++)
			slot.owners[k] = (uint16_t)(1 + (i + k + 1) % BACKENDS);
		put_in(o, "slots", &i, &slot);
	}
}

static void backends(const struct bpf_object *o)
{
	for (uint32_t i = 1; i <= BACKENDS + BACKENDS6; i++) {
		struct weir_backend b = { .ifindex = LB_LOOPBACK, .service = NUMBER, .id = i, .family = WEIR_FAMILY_4,
					  .mac = { 2, [5] = (uint8_t)i } };
		char address[32];

		snprintf(address, sizeof(address), i <= BACKENDS ? "198.18.2.%u" : "2001:db8:2::%u", i);
		address_bytes((uint8_t *)b.addr, address);
		address_bytes((uint8_t *)b.source, i <= BACKENDS ? LB_SELF : "2001:db8:1::1");
		if (i > BACKENDS)
			b.family = WEIR_FAMILY_6;
		put_in(o, "backends", &i, &b);
	}
}

/* 1,000 networks, and limits that nobody reaches. */
static void filter(const struct bpf_object *o)
{
	const struct filterset_fds fds = {
		map_fd(o, "settings"), map_fd(o, "filter4"), map_fd(o, "filter6"),
		map_fd(o, "filter_hints"), map_fd(o, "filter_limits"),
		map_fd(o, "filter_buckets"), map_fd(o, "filter_shared"),
	};
	const struct weir_limits limits = { .of = { { 1, 1000000000 }, { 1, 1000000000 } }, .bits4 = 24, .bits6 = 56 };
	struct filterset_entry e = { .family = WEIR_FAMILY_4, .len = 24, .verdict = WEIR_VERDICT_BLOCK };
	struct filterset *fs;
	int rc = filterset_open(&fs, &fds);

	if (!rc)
		rc = filterset_begin(fs);
	for (uint32_t i = 0; !rc && i < 1000; i++) {
		memcpy(e.addr, (const uint8_t[4]){ 203, (uint8_t)(i >> 8), (uint8_t)i }, 4);
		rc = filterset_put(fs, &e, 1);
	}
	if (!rc)
		rc = filterset_commit(fs);
	if (!rc)
		rc = filterset_limits(fs, &limits);
	if (rc) {
		errno = -rc;
		lb_die("filter");
	}
	filterset_close(fs);
}

/* What comes from 10/8 or 198.18/16 to LB_SELF is opened. */
static void decap(const struct bpf_object *o)
{
	const struct weir_prefix from[] = { { 96 + 16, { 0, 0, htonl(0xffff), htonl(0xc6120000) } },
					    { 96 + 8, { 0, 0, htonl(0xffff), htonl(0x0a000000) } } };
	const struct weir_target self = { { 0, 0, htonl(0xffff), inet_addr(LB_SELF) } };
	uint32_t one = 1;

	put_in(o, "decap_sources", &from[0], &one);
	put_in(o, "decap_sources", &from[1], &one);
	put_in(o, "decap_targets", &self, &one);
}

void lb_edge_decap(const struct bpf_object *o, bool open)
{
	uint32_t one = 1, lo = LB_LOOPBACK;

	if (open)
		put_in(o, "decap_ifaces", &lo, &one);
	else
		bpf_map_delete_elem(map_fd(o, "decap_ifaces"), &lo); /* it may not be there */
}

static void quic(const struct bpf_object *o)
{
	const struct weir_quic conf = { .server_id = 1, .nonce = WEIR_QUIC_NONCE_MIN };
	const struct weir_quic_key key = { .service = NUMBER + 1, .id = { LB_QUIC_SERVER }, .len = 1 };
	uint32_t number = NUMBER + 1, backend = LB_QUIC_SERVER;

	put_in(o, "quic_configs", &number, &conf);
	put_in(o, "quic_servers", &key, &backend);
}

static void nat(const struct bpf_object *o)
{
	struct weir_nat conf = { .first = 2000, .ports = 4000, .cpus = 8, .count = { 1, 0 }, .tcp_s = 3600,
				 .half_open_s = 60, .closing_s = 10, .reuse_s = 65, .udp_s = 3600 };
	uint32_t zero = 0;

	conf.place[0].family = WEIR_FAMILY_4;
	address_bytes((uint8_t *)conf.place[0].addr, "198.18.3.1");
	put_in(o, "nat_addresses", &conf.place[0], &zero);
	put_in(o, "nat_conf", &zero, &conf);
}

void lb_edge_fill(const struct bpf_object *o)
{
	filter(o);
	decap(o);
	lb_edge_decap(o, true);
	quic(o);
	nat(o);
	lb_edge_switch(o, 0);
	services(o);
	slots(o);
	backends(o);
}

struct lb_minimal *lb_minimal_fill(void)
{
	struct lb_minimal *m = lb_minimal__open_and_load();
	const uint16_t port[] = { LB_IPIP, LB_GUE, LB_UDP };

	if (!m)
		lb_die("minimal");
	for (int i = 0; i < 3; i++) {
		struct {
			__be32 addr;
			__be16 port;
			uint16_t proto;
		} key = { inet_addr(LB_VIP), htons(port[i]), port[i] == LB_UDP ? IPPROTO_UDP : IPPROTO_TCP };
		uint32_t one = 1;

		lb_put(m->maps.minimal_services, &key, &one);
	}
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint32_t backend = 1 + i % BACKENDS;

		lb_put(m->maps.minimal_slots, &i, &backend);
	}
	for (uint32_t i = 1; i <= BACKENDS; i++) {
		struct {
			__be32 addr, source;
			uint8_t mac[12];
		} way = { htonl(0xc6120200 + i), inet_addr(LB_SELF), { 2 } };

		lb_put(m->maps.minimal_ways, &i, &way);
	}
	return m;
}
