/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lb_bench.c -- nanoseconds a packet of the edge program, net of an empty XDP_TX measured in the
 * same way, interleaved round by round with a minimal stateless forwarder: lb_bench OUT.json
 *
 * The statistic is the 5th percentile of many short rounds ("quiet": what it costs when nothing
 * disturbs), in each of which every program and every scene takes part. A second object, BEFORE.o, can
 * be measured in the same run. Every run's return codes are checked: a figure is
 * of packets that were really sent (or passed).
 *
 * What a feature adds when off: the same packet with the feature off, less that through an object that
 * was compiled without it (lb_without.bpf.c), on the same maps. What it adds when on: a packet that needs
 * it, less one that does not.
 */
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

#include "bpf/abi/maps.h"
#include "skel/edge.skel.h"
#include "skel/lb_minimal.skel.h"
#include "skel/lb_wrap.skel.h"
#include "tests/bench/lb_fill.h"
#include "tests/bench/lb_live.h"
#include "tests/bench/lb_wrap.h"
#include "tests/bpf/edge.h"
#include "tests/bpf/frame.h"

#define ROUNDS	 240
#define REPEAT	 12000
#define ALL	 (WEIR_ON_BLOCK | WEIR_ON_LIMIT)

/* Compiled out, in the order of their programs, from WITHOUT on. */
#define OBJECTS(X) \
	X(block) X(limit) X(route) X(sample) X(prefixes) X(nat) X(checksum) X(flags) X(quic) X(two) X(affinity) \
	X(vlan) X(decap) X(all)

enum { FLOOR, EDGE, MINIMAL, BEFORE, WITHOUT };
enum {
#define NUMBER(name) WITHOUT_##name,
	OBJECTS(NUMBER)
#undef NUMBER
	OBJECTS_COUNT,
	WHOLE = -1 /* there is no object without it */
};
#define PROGRAMS (WITHOUT + OBJECTS_COUNT)

static const char *const objects[] = {
#define TEXT(name) #name,
	OBJECTS(TEXT)
#undef TEXT
};

/* How a scene's frame is made. */
enum frames { PLAIN, TAGGED, QUIC, IPIP_IN, GUE_IN };

struct scene {
	const char *name, *dest;
	uint8_t proto;
	uint16_t port;
	uint32_t flows;
	uint8_t expect; /* XDP action of every packet */
	uint8_t flags;	/* of TCP; 0: ACK */
	uint32_t on;	/* switches */
	enum frames frames;
	bool opens;	/* decapsulation is set up */
};

enum {
	FLOWS1, FLOWS100K, FLOWS1M, TCP_NEW, UDP_NEW, NOT_OURS, GUE1, ALLSTAGES, SYN_ALLSTAGES,
	REPORTED, /* those before are compared with the minimal forwarder, those behind with each other */
	UDP1 = REPORTED, GUE6, BLOCK, LIMIT, LIMIT_UDP, FLAGS, SAMPLE, PREFIXES, NAT_BACK, NAT, ROUTE, CHECKSUM,
	OWNERS, QUIC1, TWO, ADDRESSES, VLAN, IPIP_CLOSED, IPIP_OPENED, GUE_CLOSED, GUE_OPENED,
	SCENES
};

static const struct scene scenes[SCENES] = {
	[FLOWS1] = { "tcp4.flows1", LB_VIP, IPPROTO_TCP, LB_IPIP, 1, XDP_TX, .on = 0 },
	[FLOWS100K] = { "tcp4.flows100k", LB_VIP, IPPROTO_TCP, LB_IPIP, 100000, XDP_TX, .on = 0 },
	[FLOWS1M] = { "tcp4.flows1m", LB_VIP, IPPROTO_TCP, LB_IPIP, 1000000, XDP_TX, .on = 0 },
	[TCP_NEW] = { "tcp4.new", LB_VIP, IPPROTO_TCP, LB_IPIP, 4000000, XDP_TX, .flags = TCP_SYN },
	[UDP_NEW] = { "udp4.new", LB_VIP, IPPROTO_UDP, LB_UDP, 4000000, XDP_TX, .on = 0 },
	[NOT_OURS] = { "notours", LB_OTHER, IPPROTO_TCP, LB_IPIP, 1, XDP_PASS, .on = 0 },
	[GUE1] = { "gue.flows1", LB_VIP, IPPROTO_TCP, LB_GUE, 1, XDP_TX, .on = 0 },
	[ALLSTAGES] = { "tcp4.allstages", LB_VIP, IPPROTO_TCP, LB_IPIP, 1, XDP_TX, .on = ALL, .opens = true },
	[SYN_ALLSTAGES] = { "syn4.allstages", LB_VIP, IPPROTO_TCP, LB_IPIP, 1, XDP_TX, .on = ALL, .opens = true,
			    .flags = TCP_SYN },
	[UDP1] = { "udp4.flows1", LB_VIP, IPPROTO_UDP, LB_UDP, 1, XDP_TX, .on = 0 },
	[GUE6] = { "gue6.flows1", LB_VIP6, IPPROTO_TCP, LB_GUE, 1, XDP_TX, .on = 0 },
	[BLOCK] = { "block", LB_VIP, IPPROTO_TCP, LB_IPIP, 1, XDP_TX, .on = WEIR_ON_BLOCK },
	[LIMIT] = { "limit", LB_VIP, IPPROTO_TCP, LB_IPIP, 1, XDP_TX, .on = WEIR_ON_LIMIT },
	[LIMIT_UDP] = { "limit.udp", LB_VIP, IPPROTO_UDP, LB_UDP, 4000000, XDP_TX, .on = WEIR_ON_LIMIT },
	[FLAGS] = { "flags", LB_VIP, IPPROTO_TCP, LB_IPIP, 1, XDP_TX, .on = WEIR_ON_FLAGS },
	[SAMPLE] = { "sample", LB_VIP, IPPROTO_TCP, LB_IPIP, 1, XDP_TX, .on = WEIR_ON_SAMPLE },
	[PREFIXES] = { "prefixes", LB_OTHER, IPPROTO_TCP, LB_IPIP, 1, XDP_PASS, .on = WEIR_ON_PREFIXES },
	[NAT_BACK] = { "nat.others", LB_OTHER, IPPROTO_TCP, LB_IPIP, 1, XDP_PASS, .on = WEIR_ON_NAT },
	[NAT] = { "nat", LB_VIP, IPPROTO_UDP, LB_NAT, 1, XDP_TX, .on = WEIR_ON_NAT },
	[ROUTE] = { "route", LB_OTHER, IPPROTO_TCP, LB_IPIP, 1, XDP_PASS, .on = WEIR_ON_ROUTE },
	[CHECKSUM] = { "checksum", LB_VIP6, IPPROTO_TCP, LB_GUE, 1, XDP_TX, .on = WEIR_ON_CHECKSUM },
	[OWNERS] = { "owners", LB_VIP, IPPROTO_TCP, LB_OWNERS, 1, XDP_TX, .on = 0 },
	[QUIC1] = { "quic", LB_VIP, IPPROTO_UDP, LB_QUIC, 1, XDP_TX, .frames = QUIC },
	[TWO] = { "two", LB_VIP, IPPROTO_TCP, LB_TWO, 1, XDP_TX, .on = 0 },
	[ADDRESSES] = { "affinity", LB_VIP, IPPROTO_TCP, LB_ADDRESSES, 1, XDP_TX, .on = 0 },
	[VLAN] = { "vlan", LB_VIP, IPPROTO_TCP, LB_IPIP, 1, XDP_TX, .frames = TAGGED },
	[IPIP_CLOSED] = { "ipip.closed", LB_SELF, IPPROTO_TCP, LB_IPIP, 1, XDP_PASS, .frames = IPIP_IN },
	[IPIP_OPENED] = { "decap.ipip", LB_SELF, IPPROTO_TCP, LB_IPIP, 1, XDP_PASS, .frames = IPIP_IN, .opens = true },
	[GUE_CLOSED] = { "gue.closed", LB_SELF, IPPROTO_TCP, LB_IPIP, 1, XDP_PASS, .frames = GUE_IN },
	[GUE_OPENED] = { "decap.gue", LB_SELF, IPPROTO_TCP, LB_IPIP, 1, XDP_PASS, .frames = GUE_IN, .opens = true },
};

/* base: the packet that does without; on: the one that needs the feature, 0: there is none. */
static const struct feature {
	const char *name;
	int base, on, without;
} features[] = {
	{ "block", FLOWS1, BLOCK, WITHOUT_block },
	{ "limit", FLOWS1, LIMIT, WITHOUT_limit },
	{ "limit.udp", UDP_NEW, LIMIT_UDP, WITHOUT_limit },
	{ "flags", FLOWS1, FLAGS, WITHOUT_flags },
	{ "sample", FLOWS1, SAMPLE, WITHOUT_sample },
	{ "two", FLOWS1, TWO, WITHOUT_two },
	{ "affinity", FLOWS1, ADDRESSES, WITHOUT_affinity },
	{ "vlan", FLOWS1, VLAN, WITHOUT_vlan },
	{ "nat", UDP1, NAT, WITHOUT_nat },
	{ "quic", UDP1, QUIC1, WITHOUT_quic },
	{ "owners", GUE1, OWNERS, WHOLE },
	{ "checksum", GUE6, CHECKSUM, WITHOUT_checksum },
	{ "decap.ipip", IPIP_CLOSED, IPIP_OPENED, WITHOUT_decap },
	{ "decap.gue", GUE_CLOSED, GUE_OPENED, WITHOUT_decap },
	{ "decap.udp", UDP1, 0, WITHOUT_decap },
	{ "prefixes", NOT_OURS, PREFIXES, WITHOUT_prefixes },
	{ "nat.others", NOT_OURS, NAT_BACK, WITHOUT_nat },
	{ "route", NOT_OURS, ROUTE, WITHOUT_route },
	{ "all.tcp", FLOWS1, 0, WITHOUT_all },
	{ "all.udp", UDP1, 0, WITHOUT_all },
	{ "all.notours", NOT_OURS, 0, WITHOUT_all },
};
#define FEATURES (sizeof(features) / sizeof(*features))

static struct lb_wrap *wrap;
static struct bpf_object *edge_object, *before_object, *without[OBJECTS_COUNT];
static struct frame frame[SCENES];
static double cost[SCENES][BEFORE + 1][ROUNDS], cost_without[FEATURES][ROUNDS];

/* One run that begins at flow `at`; ns a packet, the wrapper included. */
static double run(int scene, uint32_t which, uint32_t at)
{
	const struct scene *s = &scenes[scene];
	const struct frame *f = &frame[scene];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->len,
		    .repeat = REPEAT);
	struct lb_run r = { .which = which, .flows = s->flows, .len = f->len, .at = at,
			    .last = REPEAT };
	uint8_t expect = which == FLOOR ? XDP_TX : s->expect;
	uint32_t zero = 0;

	if (which != FLOOR && which != MINIMAL) {
		lb_edge_switch(which == BEFORE ? before_object : edge_object, s->on);
		lb_edge_decap(which == BEFORE ? before_object : edge_object, s->opens);
	}
	memcpy(r.head, f->data, sizeof(r.head));
	lb_put(wrap->maps.run, &zero, &r);
	if (bpf_prog_test_run_opts(bpf_program__fd(wrap->progs.wrap), &opts))
		lb_die("run");
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

/* The outer headers of what comes encapsulated. */
static void outer(struct frame *f, const struct scene *s)
{
	const uint8_t gue[4 + WEIR_GUE_WORDS4 * 4] = { WEIR_GUE_WORDS4, IPPROTO_IPIP, [4] = WEIR_GUE_MAGIC };

	frame_ip4(f, "10.0.0.1", s->dest);
	if (s->frames == IPIP_IN)
		return;
	frame_udp(f, 40000, WEIR_GUE_PORT);
	frame_bytes(f, gue, sizeof(gue));
}

static void scene_frame(struct frame *f, const struct scene *s)
{
	static const uint8_t tag[4] = { 0x81, 0, 0, 7 }, id[] = { 0x40, 0, LB_QUIC_SERVER, 1, 2, 3, 4 };
	bool encapsulated = s->frames == IPIP_IN || s->frames == GUE_IN, six = strchr(s->dest, ':');

	frame_eth(f);
	if (encapsulated)
		outer(f, s);
	if (six)
		frame_ip6(f, "2001:db8:c::1", s->dest);
	else
		frame_ip4(f, "10.0.0.1", encapsulated ? LB_VIP : s->dest);
	if (s->proto == IPPROTO_TCP)
		frame_tcp(f, 40000, s->port, s->flags ? s->flags : TCP_ACK);
	else
		frame_udp(f, 40000, s->port);
	if (s->frames == QUIC)
		frame_bytes(f, id, sizeof(id));
	frame_bytes(f, NULL, 64 - (s->frames == QUIC ? sizeof(id) : 0));
	frame_end(f);
	if (s->frames != TAGGED)
		return;
	memmove(f->data + 12 + sizeof(tag), f->data + 12, f->len - 12);
	memcpy(f->data + 12, tag, sizeof(tag));
	f->len += sizeof(tag);
}

static json_t *row(const char *prefix, const char *name, double value, const char *peer, double peer_value)
{
	return json_pack("{s:s+, s:f, s:s, s:s, s:s, s:f, s:f}", "name", prefix, name, "value", value, "unit",
			 "ns net", "stat", "p5", "peer", peer, "peer_value", peer_value, "ratio", value / peer_value);
}

static void report(json_t *all, int i)
{
	double value = quiet(cost[i][EDGE]) - quiet(cost[i][FLOOR]);
	double peer = quiet(cost[i][MINIMAL]) - quiet(cost[i][FLOOR]);

	printf("%-14s %8u %10.1f %10.1f %8.2f", scenes[i].name, scenes[i].flows, value, peer, value / peer);
	if (before_object)
		printf("%10.1f", quiet(cost[i][BEFORE]) - quiet(cost[i][FLOOR]));
	puts("");
	json_array_append_new(all, row("", scenes[i].name, value, "minimal", peer));
}

static void report_feature(json_t *all, size_t i)
{
	const struct feature *f = &features[i];
	double floor = quiet(cost[f->base][FLOOR]), off = quiet(cost[f->base][EDGE]) - floor;
	double none = quiet(cost_without[i]) - floor;
	double on = f->on ? quiet(cost[f->on][EDGE]) - quiet(cost[f->on][FLOOR]) : 0;
	char text[3][16] = { "-", "-", "-" };

	if (f->without >= 0) {
		snprintf(text[0], sizeof(*text), "%.1f", none);
		snprintf(text[1], sizeof(*text), "%+.1f", off - none);
		json_array_append_new(all, row("off.", f->name, off, "without", none));
	}
	if (f->on) {
		snprintf(text[2], sizeof(*text), "%+.1f", on - off);
		json_array_append_new(all, row("on.", f->name, on, "off", off));
	}
	printf("%-14s %-15s %8s %8.1f %8s %8s\n", f->name, scenes[f->base].name, text[0], off, text[1], text[2]);
}

/* Every program with every scene in each round: what disturbs the machine disturbs all alike. */
static json_t *measure(void)
{
	json_t *all = json_array();

	for (int i = 0; i < SCENES; i++)
		scene_frame(&frame[i], &scenes[i]);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < SCENES; i++)
			for (uint32_t which = FLOOR; which <= (i >= REPORTED ? EDGE : before_object ? BEFORE : MINIMAL); which++)
				cost[i][which][round] = run(i, which, round * 104729 % scenes[i].flows);
		for (size_t i = 0; i < FEATURES; i++)
			if (features[i].without >= 0)
				cost_without[i][round] = run(features[i].base, WITHOUT + (uint32_t)features[i].without,
							     round * 104729 % scenes[features[i].base].flows);
	}
	for (int i = 0; i < REPORTED; i++)
		report(all, i);
	printf("\n%-14s %-15s %8s %8s %8s %8s   ns a packet\n%-14s %-15s %8s %8s %8s %8s\n", "what a feature", "a packet",
	       "compiled", "there,", "so off", "and on", "adds", "", "without", "off", "it adds", "it adds");
	for (size_t i = 0; i < FEATURES; i++)
		report_feature(all, i);
	return all;
}

static void edge_on(uint32_t bits)
{
	lb_edge_switch(edge_object, bits);
	lb_edge_decap(edge_object, true);
}

/* path: an object like ours; with `shared` on our maps. */
static struct bpf_object *load(const char *path, bool shared)
{
	struct bpf_object *o = bpf_object__open_file(path, NULL);
	struct bpf_map *map, *own;

	if (!o)
		lb_die(path);
	bpf_object__for_each_map(map, o) {
		own = shared ? bpf_object__find_map_by_name(edge_object, bpf_map__name(map)) : NULL;
		if (own && bpf_map__reuse_fd(map, bpf_map__fd(own)))
			lb_die(bpf_map__name(map));
	}
	if (bpf_object__load(o))
		lb_die(path);
	return o;
}

static void under_test(uint32_t which, const struct bpf_program *p)
{
	int fd = bpf_program__fd(p);

	lb_put(wrap->maps.under_test, &which, &fd);
}

int main(int argc, char **argv)
{
	struct edge *e = edge__open_and_load();
	struct lb_minimal *m = lb_minimal_fill();
	char path[64];
	json_t *all;

	wrap = lb_wrap__open_and_load();
	if (argc < 2 || !wrap || !e)
		lb_die("lb_bench OUT.json [BEFORE.o]");
	edge_object = e->obj;
	lb_edge_fill(e->obj);
	under_test(FLOOR, wrap->progs.floor_tx);
	under_test(EDGE, e->progs.edge);
	under_test(MINIMAL, m->progs.minimal);
	if (argc > 2) {
		before_object = load(argv[2], false);
		lb_edge_fill(before_object);
		under_test(BEFORE, bpf_object__find_program_by_name(before_object, "edge"));
	}
	for (uint32_t i = 0; i < OBJECTS_COUNT; i++) {
		snprintf(path, sizeof(path), "build/bpf/lb_without_%s.bpf.o", objects[i]);
		without[i] = load(path, true);
		under_test(WITHOUT + i, bpf_object__find_program_by_name(without[i], "edge"));
	}
	/* While a program is attached anywhere, a test run need not patch the kernel's XDP
	 * dispatcher twice, which takes 16 ms: rounds can be short and many. */
	if (bpf_xdp_attach(LB_LOOPBACK, bpf_program__fd(wrap->progs.wrap), XDP_FLAGS_SKB_MODE, NULL))
		lb_die("lo");
	printf("%-14s %8s %10s %10s %8s   ns a packet, net of an empty XDP_TX\n", "", "flows",
	       "weir", "minimal", "ratio");
	all = measure();
	live_measure(all, e, edge_on);
	if (json_dump_file(all, argv[1], JSON_INDENT(1) | JSON_REAL_PRECISION(4)))
		lb_die(argv[1]);
	json_decref(all);
	for (uint32_t i = 0; i < OBJECTS_COUNT; i++)
		bpf_object__close(without[i]);
	bpf_object__close(before_object);
	edge__destroy(e);
	lb_minimal__destroy(m);
	lb_wrap__destroy(wrap);
	return 0;
}
