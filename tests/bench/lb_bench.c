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

#define ROUNDS	 21
#define REPEAT	 200000
#define SLOTS	 4099
#define BACKENDS 16
#define VIP	 "198.18.1.100"

enum { FLOOR, EDGE, MINIMAL };

static struct lb_wrap *wrap;

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

static void edge_service(struct edge *e, uint16_t port, uint8_t proto, uint8_t encap)
{
	struct weir_service_key key = { .port = htons(port),
					.proto = proto,
					.family = WEIR_FAMILY_4 };
	struct weir_service value = { .number = 1, .slots = SLOTS, .encap = encap };

	address_bytes((uint8_t *)key.addr, VIP);
	put(e->maps.services, &key, &value);
}

static struct edge *edge_fill(void)
{
	struct edge *e = edge__open_and_load();
	struct weir_slot slot = { 0 };

	if (!e)
		die("edge");
	edge_service(e, 80, IPPROTO_TCP, WEIR_ENCAP_IPIP);
	edge_service(e, 81, IPPROTO_TCP, WEIR_ENCAP_GUE);
	edge_service(e, 53, IPPROTO_UDP, WEIR_ENCAP_IPIP);
	for (uint32_t i = 0; i < SLOTS; i++) {
		slot.current = (uint16_t)(1 + i % BACKENDS);
		put(e->maps.slots, &i, &slot);
	}
	for (uint32_t i = 1; i <= BACKENDS; i++) {
		struct weir_backend b = { .ifindex = 1,
					  .family = WEIR_FAMILY_4,
					  .mac = { 2, [5] = (uint8_t)i } };

		address_bytes((uint8_t *)b.source, "198.18.1.1");
		b.addr[0] = htonl(0xc6120200 + i);
		put(e->maps.backends, &i, &b);
	}
	return e;
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

/* One run; ns a packet, the wrapper included. */
static double run(const struct frame *f, const struct scene *s, uint32_t which)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->len,
		    .repeat = REPEAT);
	struct lb_run r = { .which = which, .flows = s->flows, .len = f->len };
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
	return opts.duration;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), ascending);
	return v[n / 2];
}

static json_t *measure(const struct scene *s)
{
	double edge[ROUNDS], minimal[ROUNDS], ratio[ROUNDS], value, peer;
	struct frame f;

	frame_eth(&f);
	frame_ip4(&f, "10.0.0.1", s->dest);
	if (s->proto == IPPROTO_TCP)
		frame_tcp(&f, 40000, s->port, TCP_ACK);
	else
		frame_udp(&f, 40000, s->port);
	frame_bytes(&f, NULL, 64);
	frame_end(&f);
	run(&f, s, EDGE); /* warm */
	run(&f, s, MINIMAL);
	for (int i = 0; i < ROUNDS; i++) {
		double floor = run(&f, s, FLOOR);

		edge[i] = run(&f, s, EDGE) - floor;
		minimal[i] = run(&f, s, MINIMAL) - floor;
		ratio[i] = edge[i] / (minimal[i] > 1 ? minimal[i] : 1);
	}
	value = median(edge, ROUNDS);
	peer = median(minimal, ROUNDS);
	printf("%-14s %8u %10.1f %10.1f %8.2f\n", s->name, s->flows, value, peer,
	       median(ratio, ROUNDS));
	return json_pack("{s:s, s:f, s:s, s:s, s:s, s:f, s:f}", "name", s->name, "value", value,
			 "unit", "ns net", "stat", "median", "peer", "minimal", "peer_value", peer,
			 "ratio", median(ratio, ROUNDS));
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
	json_t *all = json_array();
	struct edge *e = edge_fill();
	struct lb_minimal *m = minimal_fill();
	uint32_t which[] = { FLOOR, EDGE, MINIMAL };
	int fd[3];

	wrap = lb_wrap__open_and_load();
	if (argc != 2 || !wrap || !all)
		die("lb_bench OUT.json");
	fd[FLOOR] = bpf_program__fd(wrap->progs.floor_tx);
	fd[EDGE] = bpf_program__fd(e->progs.edge);
	fd[MINIMAL] = bpf_program__fd(m->progs.minimal);
	for (int i = 0; i < 3; i++)
		put(wrap->maps.under_test, &which[i], &fd[i]);
	printf("%-14s %8s %10s %10s %8s   ns a packet, net of an empty XDP_TX\n", "", "flows",
	       "weir", "minimal", "ratio");
	for (size_t i = 0; i < sizeof(scenes) / sizeof(*scenes); i++)
		json_array_append_new(all, measure(&scenes[i]));
	if (json_dump_file(all, argv[1], JSON_INDENT(1) | JSON_REAL_PRECISION(4)))
		die(argv[1]);
	json_decref(all);
	edge__destroy(e);
	lb_minimal__destroy(m);
	lb_wrap__destroy(wrap);
	return 0;
}
