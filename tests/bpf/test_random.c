/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random and mutated packets under random settings, services, backends and slots: none is aborted, each is counted under one
 * reason, and what comes out is well formed and made of what came in (check.h).
 *
 * RANDOM_PACKETS (1,000,000), RANDOM_SEED (of the clock). A packet that fails is written in hexadecimal, with seed,
 * number and settings, to build/random-SEED-NUMBER.txt. The same seed gives the same packets and worlds.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bpf/abi/filter.h"
#include "bpf/abi/nat.h"
#include "bpf/abi/quic.h"
#include "skel/edge.skel.h"
#include "tests/bpf/check.h"
#include "user/agent/filterset.h"
#include "user/agent/maps.h"

#define WORLD	 8192		/* packets between two worlds */
#define SETTINGS 64		/* packets between two settings */
#define LONGEST	 3200		/* bytes: what the kernel's test run takes in one buffer */
#define NAT_PORT 2000		/* the first that translation takes */
#define FAULTS	 10		/* are told */

static uint64_t state;
static struct weir_settings settings;
static struct frame f;
static struct outcome o;
static unsigned long faults;

static uint64_t draw(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64_C(2685821657736338717);
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(((draw() >> 32) * n) >> 32);
}

static bool chance(uint32_t percent)
{
	return below(100) < percent;
}

/* ---- the world: what the maps hold ---- */

static const char *const vip[2][4] = {
	{ "198.18.1.100", "198.18.1.101", "198.18.1.102", "198.18.1.103" },
	{ "2001:db8:1::100", "2001:db8:1::101", "2001:db8:1::102", "2001:db8:1::103" },
};
static const char *const self[2] = { "198.18.1.1", "2001:db8:1::1" };
static const char *const way[2] = { "198.18.1.11", "2001:db8:1::11" };
static const char *const client[2] = { "192.0.2.1", "2001:db8:c::1" };
static const char *const nats[2] = { "198.18.2.1", "2001:db8:2::1" };
static struct filterset *filters;
static const uint16_t ports[] = { 0, 53, 80, 443 };
static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP };

static void random_settings(void)
{
	static const uint16_t mtus[] = { 0, 0, 0, 68, 576, 1280, 1500, 9000 };
	static const uint16_t gue[] = { 0, 0, 6080, 5555, 80 };

	memset(&settings, 0, sizeof(settings));
	settings.off = chance(50) ? 0 : below(32);
	settings.on = chance(30) ? 0 : below(256);
	settings.mtu = mtus[below(8)];
	settings.gue_port = gue[below(5)];
	settings.ttl = chance(80) ? 0 : (uint8_t)(1 + below(255));
	settings.udp_learn_s = (uint16_t)below(3);
	settings.sample = below(4);
	put_settings(&settings);
}

static void random_backends(void)
{
	for (uint16_t i = 1; i < 24; i++) {
		int family = (int)below(2);
		uint8_t flags = (uint8_t)((chance(12) ? WEIR_BACKEND_DOWN : 0) |
					  (chance(8) ? WEIR_BACKEND_LOCAL : 0));

		put_backend(i, way[family], chance(90) ? self[family] : NULL, flags);
		put_backend_way(i, chance(70) ? INGRESS : chance(50) ? OTHER : 0,
				chance(70) ? 0 : (uint16_t)(60 + below(1600)));
	}
}

static void random_slots(void)
{
	for (uint32_t i = 0; i < 512; i++) {
		struct weir_slot s = { .current = (uint16_t)below(26), .since = (uint16_t)draw() };

		if (chance(40))
			s.previous = (uint16_t)below(26);
		for (int k = 0; k < WEIR_OWNERS; k++)
			s.owners[k] = chance(60) ? (uint16_t)below(26) : 0;
		if (chance(50))
			s.since = (uint16_t)maps_now();
		*slot(i) = s;
	}
}

static void put(const struct bpf_map *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY)) {
		printf("Bail out! %s cannot be written\n", bpf_map__name(map));
		exit(1);
	}
}

static void random_nat(void)
{
	struct weir_nat nat = { .first = NAT_PORT, .ports = (uint16_t)(1 + below(40)), .cpus = 2, .tcp_s = 1 + below(100),
				.half_open_s = below(3), .closing_s = below(3), .reuse_s = below(3), .udp_s = below(3) };
	uint32_t zero = 0;

	for (uint32_t i = 0; i < 2; i++) {
		struct weir_nat_place *p = &nat.place[i];

		address_bytes((uint8_t *)p->addr, nats[i]);
		p->family = i ? WEIR_FAMILY_6 : WEIR_FAMILY_4;
		nat.list[i][0] = (uint8_t)i;
		nat.count[i] = 1;
		put(edge_skeleton()->maps.nat_addresses, p, &i);
	}
	put(edge_skeleton()->maps.nat_conf, &zero, &nat);
}

static void random_quic(void)
{
	for (uint32_t n = 0; n <= 60; n++) {
		struct weir_quic q = { .config = (uint8_t)below(7), .server_id = (uint8_t)below(4), .nonce = (uint8_t)(4 + below(5)) };
		struct weir_quic_key key = { .service = n, .id = { 8, 15, 22 }, .len = q.server_id };
		uint32_t index = below(26);

		memset(key.id + q.server_id, 0, sizeof(key.id) - q.server_id);
		if (chance(50))
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
		address_bytes(e[i].addr, chance(40) ? client[family] : chance(50) ? vip[family][i] : way[family]);
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

		put_service_prefix(vip[family][0], (uint8_t)(family ? 120 + below(8) : 24 + below(8)), ports[below(4)],
				   protocols[below(2)], &s);
	}
}

static void random_world(void)
{
	edge_reset(NULL);
	random_nat();
	random_quic();
	random_filter();
	random_prefixes();
	for (uint32_t n = 1; n <= 60; n++)
		put_service(vip[below(2)][below(4)], ports[below(4)], protocols[below(2)], n, below(500),
			    chance(95) ? 1 + below(12) : 0, (uint8_t)below(3), chance(40) ? 0 : (uint8_t)below(16));
	random_backends();
	random_slots();
	for (int i = 0; i < 2; i++) {
		put_decap(chance(80) ? way[i] : self[i], i ? 128 : 32, self[i], chance(80));
		if (chance(30))
			put_edge(i ? "2001:db8:c::1" : "192.0.2.1");
		if (chance(30))
			put_prefix(vip[i][0], i ? 126 : 30);
	}
}

/* ---- packets ---- */

static const char *pick(int family)
{
	uint32_t what = below(10);

	if (chance(5))
		return nats[family];
	if (what < 7)
		return vip[family][below(4)];
	return what < 8 ? self[family] : what < 9 ? way[family] : client[family];
}

static void add_ip(struct frame *p, int family, const char *from, const char *to)
{
	uint8_t *ip = family ? frame_ip6(p, from, to) : frame_ip4(p, from, to);

	if (chance(20))
		ip[1] ^= (uint8_t)draw();
	if (chance(5))
		ip[family ? 7 : 8] = (uint8_t)below(3);
}

static uint16_t port(void)
{
	if (chance(8))
		return (uint16_t)(NAT_PORT + below(80));
	return chance(80) ? ports[1 + below(3)] : (uint16_t)draw();
}

/* A client's, one of few, so that flows come again; or a service's, as in replies. */
static uint16_t source_port(void)
{
	return chance(40) ? (uint16_t)(40000 + below(50)) : chance(30) ? port() : (uint16_t)draw();
}

static void add_transport(struct frame *p)
{
	static const uint8_t flags[] = { TCP_SYN, TCP_ACK, TCP_SYN | TCP_ACK, TCP_RST, 0x11, 0x18 };
	uint8_t *at;

	switch (below(10)) {
	case 0:
		at = frame_icmp(p, (uint8_t)(chance(40) ? 8 : chance(50) ? 128 : below(20)), (uint8_t)below(5));
		at[6] = (uint8_t)draw();
		break;
	case 1:
	case 2:
	case 3:
		frame_udp(p, source_port(), port());
		break;
	default:
		frame_tcp(p, source_port(), port(), flags[below(6)]);
	}
}

static uint32_t payload(void)
{
	return chance(60) ? below(64) : chance(80) ? below(1500) : below(2600);
}

/* An error that quotes a packet of a service. */
static void add_error(struct frame *p, int family, const char *service)
{
	static const uint8_t types4[] = { 3, 11, 12 };
	struct frame quoted;

	frame_eth(&quoted);
	add_ip(&quoted, family, service, pick(family));
	add_transport(&quoted);
	frame_bytes(&quoted, NULL, below(100));
	frame_end(&quoted);
	frame_icmp(p, family ? (uint8_t)(1 + below(4)) : types4[below(3)], (uint8_t)below(5));
	frame_bytes(p, quoted.data + 14, chance(80) ? quoted.len - 14 : below(quoted.len - 14));
}

/* IPIP or GUE to this node, with private data of ours or not. */
static void add_outer(struct frame *p, int family, int inside)
{
	uint8_t gue[64] = { 0, inside ? IPPROTO_IPV6 : IPPROTO_IPIP };
	uint32_t words = chance(80) ? (family ? WEIR_GUE_WORDS6 : WEIR_GUE_WORDS4) : below(14);

	add_ip(p, family, chance(90) ? way[family] : pick(family), chance(95) ? self[family] : pick(family));
	if (chance(40))
		return;
	frame_udp(p, (uint16_t)draw(), settings.gue_port ? settings.gue_port : WEIR_GUE_PORT);
	gue[0] = (uint8_t)words;
	gue[4] = chance(90) ? WEIR_GUE_MAGIC : (uint8_t)draw();
	gue[5] = (uint8_t)below(5);
	gue[6] = (uint8_t)below(5);
	for (int i = 0; i < WEIR_OWNERS; i++)
		address_bytes(gue + 8 + (family ? 16 : 4) * i, way[family]);
	frame_bytes(p, gue, 4 + words * 4);
}

static void make_fragment(struct frame *p, int family)
{
	uint32_t at = p->layer[p->layers - 1].at;
	uint8_t head[8] = { IPPROTO_UDP, 0, (uint8_t)(chance(50) ? 0 : draw()), (uint8_t)draw(), 0, 0, 0, (uint8_t)below(8) };

	if (family) {
		frame_bytes(p, head, 8);
		p->data[at + 6] = 44;
	} else {
		p->data[at + 5] = (uint8_t)below(8);
		p->data[at + 6] = (uint8_t)(0x20 | (chance(50) ? 0 : below(32)));
	}
	if (family)
		frame_bytes(p, NULL, 8 + below(200));
}

static void make_packet(struct frame *p)
{
	int family = (int)below(2), inside = (int)below(2);
	const char *to = pick(family);

	frame_eth(p);
	switch (below(12)) {
	case 0:
	case 1:
		add_outer(p, family, inside);
		add_ip(p, inside, pick(inside), pick(inside));
		add_transport(p);
		break;
	case 2:
		add_ip(p, family, pick(family), to);
		add_error(p, family, to);
		break;
	case 3:
		add_ip(p, family, pick(family), to);
		make_fragment(p, family);
		if (family)
			break;
		add_transport(p);
		break;
	default:
		add_ip(p, family, pick(family), to);
		add_transport(p);
	}
	frame_bytes(p, NULL, payload());
	frame_end(p);
}

/* Puts n bytes in at an offset: a tag, options, an extension header; IPv4's header or IPv6's length knows of them or not. */
static void insert(struct frame *p, uint32_t at, const uint8_t *bytes, uint32_t n)
{
	if (p->len < at || p->len + n > LONGEST)
		return;
	memmove(p->data + at + n, p->data + at, p->len - at);
	memcpy(p->data + at, bytes, n);
	p->len += n;
}

static void longer(struct frame *p, uint32_t n)
{
	uint32_t at = p->data[14] >> 4 == 4 ? 16 : 18, len = (uint32_t)(p->data[at] << 8 | p->data[at + 1]) + n;

	p->data[at] = (uint8_t)(len >> 8);
	p->data[at + 1] = (uint8_t)len;
}

static void add_options(struct frame *p)
{
	uint8_t bytes[40] = { 0 };
	uint32_t words = 1 + below(10);

	if (p->data[14] >> 4 == 4) {
		memset(bytes, 1, sizeof(bytes));
		p->data[14] = (uint8_t)(0x40 | (5 + words));
		longer(p, words * 4);
		insert(p, 34, bytes, words * 4);
		return;
	}
	for (uint32_t n = 1 + below(4); n--;) {
		static const uint8_t kinds[] = { 0, 43, 60, 51, 44, 135 };

		bytes[0] = p->data[20];
		bytes[1] = (uint8_t)below(3);
		p->data[20] = kinds[below(6)];
		longer(p, 8 + bytes[1] * 8u);
		insert(p, 54, bytes, 8 + bytes[1] * 8u);
	}
}

static void mutate(struct frame *p)
{
	static const uint8_t edge_values[] = { 0, 1, 4, 5, 6, 17, 41, 44, 58, 0x45, 0x46, 0x60, 0x7f, 0x80, 0xff };
	uint8_t tag[4] = { 0x81, 0, 0, 7 };

	if (chance(8))
		add_options(p);
	if (chance(8)) {
		tag[0] = chance(90) ? 0x81 : 0x88;
		tag[1] = chance(90) ? 0 : 0xa8;
		insert(p, 12, tag, 4);
	}
	if (chance(50))
		return;
	for (uint32_t n = 1 + below(4); n--;) {
		uint32_t reach = chance(70) ? 64 : 160, at = below(p->len < reach ? p->len : reach);

		switch (below(4)) {
		case 0:
			p->data[at] ^= (uint8_t)(1 << below(8));
			break;
		case 1:
			p->data[at] = edge_values[below(sizeof(edge_values))];
			break;
		default:
			p->data[at] = (uint8_t)draw();
		}
	}
	if (chance(15))
		p->len = 14 + below(p->len - 13);
	if (chance(10) && p->len + 64 < LONGEST)
		p->len += below(64);
}

/* ---- the run ---- */

static void tell(const char *what, uint64_t seed, unsigned long number)
{
	char path[128];
	FILE *out;

	printf("# packet %lu of seed %llu: %s (action %u, reason %d)\n", number, (unsigned long long)seed, what, o.action, o.reason);
	snprintf(path, sizeof(path), "build/random-%llu-%lu.txt", (unsigned long long)seed, number);
	out = fopen(path, "w");
	if (!out)
		return;
	fprintf(out, "# %s; seed %llu, packet %lu, action %u, reason %d\nsettings ", what, (unsigned long long)seed, number,
		o.action, o.reason);
	for (size_t i = 0; i < sizeof(settings); i++)
		fprintf(out, "%02x", ((uint8_t *)&settings)[i]);
	fprintf(out, "\nin ");
	for (uint32_t i = 0; i < f.len; i++)
		fprintf(out, "%02x", f.data[i]);
	fprintf(out, "\nout ");
	for (uint32_t i = 0; i < o.len; i++)
		fprintf(out, "%02x", o.data[i]);
	fprintf(out, "\n");
	fclose(out);
}

static void run(uint64_t seed, unsigned long n, unsigned long *met)
{
	for (unsigned long i = 0; i < n && faults < FAULTS; i++) {
		const char *fault;

		if (i % WORLD == 0)
			random_world();
		if (i % SETTINGS == 0)
			random_settings();
		make_packet(&f);
		mutate(&f);
		if (f.len > LONGEST)
			f.len = LONGEST;
		edge_run_next(&f, &o);
		if (o.reason >= 0)
			met[o.reason]++;
		fault = check_outcome(&f, &o);
		if (fault) {
			faults++;
			tell(fault, seed, i);
		}
	}
}

/* Neighbours that packets may be sent to by the kernel's routes; without them less is met. And the lists' maps. */
static void open_ways(void)
{
	static const char commands[] =
		"exec >/dev/null 2>&1; ip link add w0 address 02:00:00:00:00:0a type veth peer name w1;"
		"ip link set w0 up; ip link set w1 up; echo 1 >/proc/sys/net/ipv4/conf/all/forwarding;"
		"echo 1 >/proc/sys/net/ipv6/conf/all/forwarding;"
		"ip addr add 192.0.2.254/24 dev w0; ip addr add 2001:db8:c::fe/64 dev w0 nodad;"
		"ip addr add 198.18.1.1/24 dev w0; ip addr add 2001:db8:1::1/64 dev w0 nodad;"
		"for a in 192.0.2.1 2001:db8:c::1 198.18.1.11; do ip neigh add $a lladdr 02:00:00:00:00:0b dev w0; done";
	const struct edge *s = edge_skeleton();
	const struct filterset_fds fds = {
		.settings = bpf_map__fd(s->maps.settings), .filter4 = bpf_map__fd(s->maps.filter4),
		.filter6 = bpf_map__fd(s->maps.filter6), .hints = bpf_map__fd(s->maps.filter_hints),
		.limits = bpf_map__fd(s->maps.filter_limits), .buckets = bpf_map__fd(s->maps.filter_buckets),
		.shared = bpf_map__fd(s->maps.filter_shared),
	};

	if (unshare(CLONE_NEWNET) || system(commands))
		printf("# without routes\n");
	if (filterset_open(&filters, &fds)) {
		printf("Bail out! the lists cannot be opened\n");
		exit(1);
	}
}

static unsigned long number_of(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 10) : otherwise;
}

int main(void)
{
	static const char *const names[] = {
#define NAME(name, fate, meaning) #name,
		WEIR_REASONS(NAME)
	};
	unsigned long n = number_of("RANDOM_PACKETS", 1000000), met[WEIR_REASONS_MAX] = { 0 }, kinds = 0;
	uint64_t seed = number_of("RANDOM_SEED", (unsigned long)time(NULL));
	struct timespec a, b;

	state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
	edge_load(NULL);
	open_ways();
	clock_gettime(CLOCK_MONOTONIC, &a);
	run(seed, n, met);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("#");
	for (int i = 0; i < WEIR_REASON_COUNT; i++) {
		kinds += met[i] != 0;
		if (met[i])
			printf(" %s=%lu", names[i], met[i]);
	}
	printf("\n# %.0f packets a second\n", (double)n / ((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9));
	printf("%s 1 - %lu random packets of seed %llu: none aborted, all that came out well formed\n", faults ? "not ok" : "ok", n,
	       (unsigned long long)seed);
	printf("%s 2 - they met %lu reasons\n1..2\n", kinds >= 16 ? "ok" : "not ok", kinds);
	edge_unload(NULL);
	return faults || kinds < 16;
}
