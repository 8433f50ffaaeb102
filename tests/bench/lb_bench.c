/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lb_bench.c -- nanoseconds a packet of the edge program, net of an empty XDP_TX measured in the
 * same way, interleaved round by round with a minimal stateless forwarder: lb_bench OUT.json
 *
 * The statistic is the median over the rounds of (program - floor), both taken within the round;
 * the ratio is the median of the rounds' ratios. Every run's return codes are checked: a figure is
 * of packets that were really sent (or passed).
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <jansson.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bpf/abi/maps.h"
#include "skel/edge.skel.h"
#include "skel/lb_minimal.skel.h"
#include "skel/lb_wrap.skel.h"
#include "tests/bench/lb_wrap.h"
#include "tests/bpf/frame.h"

#define ROUNDS	 240
#define REPEAT	 12000
#define SCENES_MAX 16
#define SLOTS	 4099
#define BACKENDS 16
#define LOOPBACK 1
#define VIP	 "198.18.1.100"

enum { FLOOR, EDGE, MINIMAL, BEFORE, PROGRAMS };

static struct lb_wrap *wrap;
static uint32_t programs = BEFORE;

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static void put(const struct bpf_map *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY))
		die(bpf_map__name(map));
}

static void put_in(const struct bpf_object *o, const char *map, const void *key, const void *value)
{
	put(bpf_object__find_map_by_name(o, map), key, value);
}

static void edge_service(const struct bpf_object *o, uint16_t port, uint8_t proto, uint8_t encap)
{
	struct weir_service_key key = { .port = htons(port),
					.proto = proto,
					.family = WEIR_FAMILY_4 };
	struct weir_service value = { .number = 1, .slots = SLOTS, .encap = encap };

	address_bytes((uint8_t *)key.addr, VIP);
	put_in(o, "services", &key, &value);
}

static void edge_fill(const struct bpf_object *o)
{
	const struct weir_settings set = { .services_version = 1 }; /* as the agent has it */
	struct weir_slot slot = { 0 };
	uint32_t zero = 0;

	put_in(o, "settings", &zero, &set);
	edge_service(o, 80, IPPROTO_TCP, WEIR_ENCAP_IPIP);
	edge_service(o, 81, IPPROTO_TCP, WEIR_ENCAP_GUE);
	edge_service(o, 53, IPPROTO_UDP, WEIR_ENCAP_IPIP);
	for (uint32_t i = 0; i < SLOTS; i++) {
		slot.current = (uint16_t)(1 + i % BACKENDS);
		put_in(o, "slots", &i, &slot);
	}
	for (uint32_t i = 1; i <= BACKENDS; i++) {
		struct weir_backend b = { .ifindex = 1,
					  .family = WEIR_FAMILY_4,
					  .mac = { 2, [5] = (uint8_t)i } };

		address_bytes((uint8_t *)b.source, "198.18.1.1");
		b.addr[0] = htonl(0xc6120200 + i);
		put_in(o, "backends", &i, &b);
	}
}

static struct lb_minimal *minimal_fill(void)
{
	struct lb_minimal *m = lb_minimal__open_and_load();
	const uint16_t port[] = { 80, 81, 53 };

	if (!m)
		die("minimal");
	for (int i = 0; i < 3; i++) {
		struct {
			__be32 addr;
			__be16 port;
			uint16_t proto;
		} key = { inet_addr(VIP), htons(port[i]),
			  port[i] == 53 ? IPPROTO_UDP : IPPROTO_TCP };
		uint32_t one = 1;

		put(m->maps.minimal_services, &key, &one);
	}
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint32_t backend = 1 + i % BACKENDS;

		put(m->maps.minimal_slots, &i, &backend);
	}
	for (uint32_t i = 1; i <= BACKENDS; i++) {
		struct {
			__be32 addr, source;
			uint8_t mac[12];
		} way = { htonl(0xc6120200 + i), inet_addr("198.18.1.1"), { 2 } };

		put(m->maps.minimal_ways, &i, &way);
	}
	return m;
}

struct scene {
	const char *name, *dest;
	uint8_t proto;
	uint16_t port;
	uint32_t flows;
	uint8_t expect; /* XDP action of every packet */
};

/* One run that begins at flow `at`; ns a packet, the wrapper included. */
static double run(const struct frame *f, const struct scene *s, uint32_t which, uint32_t at)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->len,
		    .repeat = REPEAT);
	struct lb_run r = { .which = which, .flows = s->flows, .len = f->len, .at = at,
			    .last = REPEAT };
	uint8_t expect = which == FLOOR ? XDP_TX : s->expect;
	uint32_t zero = 0;

	memcpy(r.head, f->data, sizeof(r.head));
	put(wrap->maps.run, &zero, &r);
	if (bpf_prog_test_run_opts(bpf_program__fd(wrap->progs.wrap), &opts))
		die("run");
	bpf_map_lookup_elem(bpf_map__fd(wrap->maps.run), &zero, &r);
	if (r.returned[expect] != REPEAT || r.failed) {
		fprintf(stderr, "%s: %llu of %d packets ended as they should (program %u)\n",
			s->name, (unsigned long long)r.returned[expect], REPEAT, which);
		exit(1);
	}
	/* The kernel's own figure has no fractions of a nanosecond. */
	return (double)(r.ended - r.began) / (REPEAT - 1);
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* What a round costs when nothing disturbs it. */
static double quiet(double *v)
{
	qsort(v, ROUNDS, sizeof(*v), ascending);
	return v[ROUNDS / 20];
}

static void scene_frame(struct frame *f, const struct scene *s)
{
	frame_eth(f);
	frame_ip4(f, "10.0.0.1", s->dest);
	if (s->proto == IPPROTO_TCP)
		frame_tcp(f, 40000, s->port, TCP_ACK);
	else
		frame_udp(f, 40000, s->port);
	frame_bytes(f, NULL, 64);
	frame_end(f);
}

static json_t *report(const struct scene *s, double cost[][ROUNDS])
{
	double floor = quiet(cost[FLOOR]);
	double value = quiet(cost[EDGE]) - floor;
	double peer = quiet(cost[MINIMAL]) - floor;

	printf("%-14s %8u %10.1f %10.1f %8.2f", s->name, s->flows, value, peer, value / peer);
	if (programs > BEFORE)
		printf("%10.1f", quiet(cost[BEFORE]) - floor);
	puts("");
	return json_pack("{s:s, s:f, s:s, s:s, s:s, s:f, s:f}", "name", s->name, "value", value,
			 "unit", "ns net", "stat", "p5", "peer", "minimal", "peer_value", peer,
			 "ratio", value / peer);
}

/* Every program with every scene in each round: what disturbs the machine disturbs all alike. */
static json_t *measure(const struct scene *scenes, size_t n)
{
	static double cost[SCENES_MAX][PROGRAMS][ROUNDS];
	struct frame f[SCENES_MAX];
	json_t *all = json_array();

	for (size_t i = 0; i < n; i++)
		scene_frame(&f[i], &scenes[i]);
	for (uint32_t round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < n; i++)
			for (uint32_t which = FLOOR; which < programs; which++)
				cost[i][which][round] = run(&f[i], &scenes[i], which,
							    round * 104729 % scenes[i].flows);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(all, report(&scenes[i], cost[i]));
	return all;
}

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "tcp4.flows1", VIP, IPPROTO_TCP, 80, 1, XDP_TX },
		{ "tcp4.flows100k", VIP, IPPROTO_TCP, 80, 100000, XDP_TX },
		{ "tcp4.flows1m", VIP, IPPROTO_TCP, 80, 1000000, XDP_TX },
		{ "udp4.new", VIP, IPPROTO_UDP, 53, 4000000, XDP_TX },
		{ "notours", "198.18.1.101", IPPROTO_TCP, 80, 1, XDP_PASS },
		{ "gue.flows1", VIP, IPPROTO_TCP, 81, 1, XDP_TX },
	};
	json_t *all;
	struct edge *e = edge__open_and_load();
	struct lb_minimal *m = minimal_fill();
	uint32_t which[] = { FLOOR, EDGE, MINIMAL, BEFORE };
	struct bpf_object *before = NULL;
	int fd[PROGRAMS];

	wrap = lb_wrap__open_and_load();
	if (argc < 2 || !wrap || !e)
		die("lb_bench OUT.json [BEFORE.o]");
	edge_fill(e->obj);
	if (argc > 2) {
		before = bpf_object__open_file(argv[2], NULL);
		if (!before || bpf_object__load(before))
			die(argv[2]);
		edge_fill(before);
		fd[BEFORE] = bpf_program__fd(bpf_object__find_program_by_name(before, "edge"));
		programs = PROGRAMS;
	}
	fd[FLOOR] = bpf_program__fd(wrap->progs.floor_tx);
	fd[EDGE] = bpf_program__fd(e->progs.edge);
	fd[MINIMAL] = bpf_program__fd(m->progs.minimal);
	for (uint32_t i = 0; i < programs; i++)
		put(wrap->maps.under_test, &which[i], &fd[i]);
	/* While a program is attached anywhere, a test run need not patch the kernel's XDP
	 * dispatcher twice, which takes 16 ms: rounds can be short and many. */
	if (bpf_xdp_attach(LOOPBACK, bpf_program__fd(wrap->progs.wrap), XDP_FLAGS_SKB_MODE, NULL))
		die("lo");
	printf("%-14s %8s %10s %10s %8s   ns a packet, net of an empty XDP_TX\n", "", "flows",
	       "weir", "minimal", "ratio");
	all = measure(scenes, sizeof(scenes) / sizeof(*scenes));
	if (json_dump_file(all, argv[1], JSON_INDENT(1) | JSON_REAL_PRECISION(4)))
		die(argv[1]);
	json_decref(all);
	bpf_object__close(before);
	edge__destroy(e);
	lb_minimal__destroy(m);
	lb_wrap__destroy(wrap);
	return 0;
}
