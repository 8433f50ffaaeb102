/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lb_bench.c -- nanoseconds a packet of the edge program, net of an empty XDP_TX measured in the
 * same way, interleaved round by round with a minimal stateless forwarder: lb_bench OUT.json
 *
 * The statistic is the 5th percentile of many short rounds ("quiet": what it costs when nothing
 * disturbs), in each of which every program and every scene takes part. A second object, BEFORE.o, can
 * be measured in the same run. Every run's return codes are checked: a figure is
 * of packets that were really sent (or passed).
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
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
#include "tests/bench/lb_live.h"
#include "tests/bench/lb_wrap.h"
#include "tests/bpf/frame.h"
#include "user/agent/filterset.h"

#define ROUNDS	 240
#define REPEAT	 12000
#define SCENES_MAX 24
#define SLOTS	 4099
#define BACKENDS 16
#define LOOPBACK 1
#define VIP	 "198.18.1.100"

enum { FLOOR, EDGE, MINIMAL, BEFORE, PROGRAMS };

static struct lb_wrap *wrap;
static const struct bpf_object *edge_object, *before_object;
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

static void edge_switch(const struct bpf_object *o, uint32_t on)
{
	const struct weir_settings set = { .services_version = 1, .on = on }; /* as the agent has it */
	uint32_t zero = 0;

	put_in(o, "settings", &zero, &set);
}

static int map_fd(const struct bpf_object *o, const char *name)
{
	return bpf_map__fd(bpf_object__find_map_by_name(o, name));
}

/* A list of 1,000 networks, limits that nobody reaches, and decapsulation; all of it idle until it is
 * switched on, but decapsulation, which has no switch. */
static void edge_stages(const struct bpf_object *o)
{
	const struct filterset_fds fds = {
		map_fd(o, "settings"), map_fd(o, "filter4"), map_fd(o, "filter6"),
		map_fd(o, "filter_hints"), map_fd(o, "filter_limits"),
		map_fd(o, "filter_buckets"), map_fd(o, "filter_shared"),
	};
	const struct weir_limits limits = { .of = { { 1, 1000000000 }, { 1, 1000000000 } },
					    .bits4 = 24, .bits6 = 56 };
	const struct weir_prefix from = { .bits = 96 + 16, .addr = { 0, 0, htonl(0xffff), htonl(0xc6120000) } };
	const struct weir_target self = { .addr = { 0, 0, htonl(0xffff), htonl(0xc6120101) } };
	uint32_t one = 1, lo = LOOPBACK;
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
		die("filter");
	}
	filterset_close(fs);
	put_in(o, "decap_sources", &from, &one);
	put_in(o, "decap_targets", &self, &one);
	put_in(o, "decap_ifaces", &lo, &one);
}

static void edge_fill(const struct bpf_object *o)
{
	struct weir_slot slot = { 0 };

	edge_stages(o);
	edge_switch(o, 0);
	edge_service(o, 80, IPPROTO_TCP, WEIR_ENCAP_IPIP);
	edge_service(o, 81, IPPROTO_TCP, WEIR_ENCAP_GUE);
	edge_service(o, 53, IPPROTO_UDP, WEIR_ENCAP_IPIP);
	for (uint32_t i = 0; i < SLOTS; i++) {
		slot.current = (uint16_t)(1 + i % BACKENDS);
		put_in(o, "slots", &i, &slot);
	}
	for (uint32_t i = 1; i <= BACKENDS; i++) {
		struct weir_backend b = { .ifindex = 1,
					  .service = 1,
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

#define ALL (WEIR_ON_BLOCK | WEIR_ON_LIMIT)

struct scene {
	const char *name, *dest;
	uint8_t proto;
	uint16_t port;
	uint32_t flows;
	uint8_t expect; /* XDP action of every packet */
	uint8_t flags;	/* of TCP; 0: ACK */
	uint32_t on;	/* switches */
	int base;	/* scene that differs in the switch alone; 0: none */
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

	if (which == EDGE || which == BEFORE)
		edge_switch(which == EDGE ? edge_object : before_object, s->on);
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
		frame_tcp(f, 40000, s->port, s->flags ? s->flags : TCP_ACK);
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

static json_t *report_feature(const struct scene *s, double on, double off)
{
	printf("%-14s %10.1f %10.1f %10.1f\n", s->name, off, on, on - off);
	return json_pack("{s:s, s:f, s:s, s:s, s:s, s:f, s:f}", "name", s->name, "value", on, "unit",
			 "ns net", "stat", "p5", "peer", "off", "peer_value", off, "ratio", on / off);
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
		if (!scenes[i].base)
			json_array_append_new(all, report(&scenes[i], cost[i]));
	puts("\nwhat a feature adds   off         on       adds   ns a packet");
	for (size_t i = 0; i < n; i++)
		if (scenes[i].base)
			json_array_append_new(all, report_feature(&scenes[i], quiet(cost[i][EDGE]) - quiet(cost[i][FLOOR]),
								  quiet(cost[scenes[i].base][EDGE]) -
									  quiet(cost[scenes[i].base][FLOOR])));
	return all;
}

static void edge_on(uint32_t bits)
{
	edge_switch(edge_object, bits);
}

/* Scenes that others are compared with: ONE_FLOW stands at 1, as 0 means none. */
enum { ONE_FLOW = 1, UDP = 4, NOT_OURS = 5 };

int main(int argc, char **argv)
{
	static const struct scene scenes[] = {
		{ "tcp4.flows100k", VIP, IPPROTO_TCP, 80, 100000, XDP_TX, .on = 0 },
		[ONE_FLOW] = { "tcp4.flows1", VIP, IPPROTO_TCP, 80, 1, XDP_TX, .on = 0 },
		{ "tcp4.flows1m", VIP, IPPROTO_TCP, 80, 1000000, XDP_TX, .on = 0 },
		{ "tcp4.new", VIP, IPPROTO_TCP, 80, 4000000, XDP_TX, .flags = TCP_SYN },
		[UDP] = { "udp4.new", VIP, IPPROTO_UDP, 53, 4000000, XDP_TX, .on = 0 },
		[NOT_OURS] = { "notours", "198.18.1.101", IPPROTO_TCP, 80, 1, XDP_PASS, .on = 0 },
		{ "gue.flows1", VIP, IPPROTO_TCP, 81, 1, XDP_TX, .on = 0 },
		{ "tcp4.allstages", VIP, IPPROTO_TCP, 80, 1, XDP_TX, .on = ALL },
		{ "syn4.allstages", VIP, IPPROTO_TCP, 80, 1, XDP_TX, .on = ALL, .flags = TCP_SYN },
		{ "on.block", VIP, IPPROTO_TCP, 80, 1, XDP_TX, .on = WEIR_ON_BLOCK, .base = ONE_FLOW },
		{ "on.limit", VIP, IPPROTO_TCP, 80, 1, XDP_TX, .on = WEIR_ON_LIMIT, .base = ONE_FLOW },
		{ "on.limit.udp", VIP, IPPROTO_UDP, 53, 4000000, XDP_TX, .on = WEIR_ON_LIMIT, .base = UDP },
		{ "on.flags", VIP, IPPROTO_TCP, 80, 1, XDP_TX, .on = WEIR_ON_FLAGS, .base = ONE_FLOW },
		{ "on.sample", VIP, IPPROTO_TCP, 80, 1, XDP_TX, .on = WEIR_ON_SAMPLE, .base = ONE_FLOW },
		{ "on.prefixes", "198.18.1.101", IPPROTO_TCP, 80, 1, XDP_PASS, .on = WEIR_ON_PREFIXES,
		  .base = NOT_OURS },
		{ "on.nat", "198.18.1.101", IPPROTO_TCP, 80, 1, XDP_PASS, .on = WEIR_ON_NAT, .base = NOT_OURS },
		{ "on.route", "198.18.1.101", IPPROTO_TCP, 80, 1, XDP_PASS, .on = WEIR_ON_ROUTE,
		  .base = NOT_OURS },
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
	edge_object = e->obj;
	edge_fill(e->obj);
	if (argc > 2) {
		before = bpf_object__open_file(argv[2], NULL);
		if (!before || bpf_object__load(before))
			die(argv[2]);
		before_object = before;
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
	live_measure(all, e, edge_on);
	if (json_dump_file(all, argv[1], JSON_INDENT(1) | JSON_REAL_PRECISION(4)))
		die(argv[1]);
	json_decref(all);
	bpf_object__close(before);
	edge__destroy(e);
	lb_minimal__destroy(m);
	lb_wrap__destroy(wrap);
	return 0;
}
