/* SPDX-License-Identifier: Apache-2.0 */
/* lb_live.c -- see lb_live.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bpf/abi/maps.h"
#include "skel/edge.skel.h"
#include "skel/lb_live.skel.h"
#include "tests/bench/lb_live.h"
#include "tests/bpf/frame.h"

#define FRAMES 200000
#define ROUNDS 15
#define TRIES	 20 /* a round in which another program kept frames from being taken is none */

/* lbg0 → lbg1, where the program is; what it forwards goes by lbf0 → lbf1. */
static const char *const net[] = {
	"ip link add lbg0 type veth peer name lbg1 && ip link add lbf0 type veth peer name lbf1",
	"for i in lbg0 lbg1 lbf0 lbf1; do ip link set $i up; done",
	"ip addr add 203.0.114.1/24 dev lbf0",
	"ip neigh add 203.0.114.9 lladdr 02:00:00:00:00:09 dev lbf0",
	"echo 1 > /proc/sys/net/ipv4/conf/all/forwarding",
};

struct live {
	const char *name, *source, *dest;
	uint32_t on;
	int peer;	/* index of its yardstick */
	bool comes;	/* out again, to a sink */
	double mpps[ROUNDS];
};

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static void attach(const char *name, int program)
{
	if (bpf_xdp_attach((int)if_nametoindex(name), program, XDP_FLAGS_DRV_MODE, NULL))
		die(name);
}

/* Mpps, or 0: fewer than 99 in 100 frames came out again. */
static double run_once(struct lb_live *l, const struct live *s)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .repeat = FRAMES, .batch_size = 64,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
	struct timespec a, b;
	struct frame f;

	frame_eth(&f);
	frame_ip4(&f, s->source, s->dest);
	frame_tcp(&f, 40000, 80, TCP_ACK);
	frame_bytes(&f, NULL, 64);
	frame_end(&f);
	memcpy(l->bss->live_head, f.data, sizeof(l->bss->live_head));
	l->bss->live_arrived = 0;
	opts.data_in = f.data;
	opts.data_size_in = f.len;
	clock_gettime(CLOCK_MONOTONIC, &a);
	if (bpf_prog_test_run_opts(bpf_program__fd(l->progs.generate), &opts))
		die("live frames");
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (s->comes && l->bss->live_arrived < FRAMES * 99 / 100)
		return 0;
	return FRAMES / ((double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) / 1e3);
}

static double run(struct lb_live *l, const struct live *s)
{
	double mpps = 0;

	for (int i = 0; i < TRIES && mpps <= 0; i++)
		mpps = run_once(l, s);
	if (mpps > 0)
		return mpps;
	fprintf(stderr, "%s: %llu of %d frames arrived\n", s->name, (unsigned long long)l->bss->live_arrived, FRAMES);
	exit(1);
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void edge_ways(struct edge *e)
{
	uint32_t in = if_nametoindex("lbg1"), out = if_nametoindex("lbf0");
	struct weir_backend b;

	for (uint32_t i = 1; !bpf_map_lookup_elem(bpf_map__fd(e->maps.backends), &i, &b) && b.family; i++) {
		b.ifindex = in;
		bpf_map_update_elem(bpf_map__fd(e->maps.backends), &i, &b, BPF_ANY);
	}
	if (bpf_map_update_elem(bpf_map__fd(e->maps.tx_ports), &out, &out, BPF_ANY))
		die("tx_ports");
}

void live_measure(json_t *all, struct edge *e, void (*on)(uint32_t bits))
{
	struct lb_live *l = lb_live__open_and_load();
	struct live s[] = {
		{ .name = "empty", .source = "10.0.0.1", .dest = "198.18.1.100", .peer = 0 },
		{ .name = "reflector", .source = "10.0.0.1", .dest = "198.18.1.100", .peer = 1, .comes = true },
		{ .name = "live.drop", .source = "203.0.0.1", .dest = "198.18.1.100", .on = WEIR_ON_BLOCK, .peer = 0 },
		{ .name = "live.balance", .source = "10.0.0.1", .dest = "198.18.1.100", .peer = 1, .comes = true },
		{ .name = "live.forward", .source = "10.0.0.1", .dest = "203.0.114.9", .on = WEIR_ON_ROUTE, .peer = 1,
		  .comes = true },
	};
	const int n = sizeof(s) / sizeof(*s);

	for (size_t i = 0; i < sizeof(net) / sizeof(*net); i++)
		if (system(net[i]))
			die(net[i]);
	if (!l)
		die("lb_live");
	l->bss->live_port = if_nametoindex("lbg0");
	edge_ways(e);
	attach("lbg0", bpf_program__fd(l->progs.sink));
	attach("lbf1", bpf_program__fd(l->progs.sink));
	attach("lbf0", bpf_program__fd(l->progs.sink));
	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < n; i++) {
			on(s[i].on);
			attach("lbg1", i == 0	? bpf_program__fd(l->progs.empty)
				       : i == 1 ? bpf_program__fd(l->progs.reflector)
						: bpf_program__fd(e->progs.edge));
			s[i].mpps[round] = run(l, &s[i]);
		}
	for (int i = 0; i < n; i++)
		qsort(s[i].mpps, ROUNDS, sizeof(double), ascending);
	puts("\nlive frames       Mpps       peer, one core that also makes and takes them");
	for (int i = 0; i < n; i++) {
		double value = s[i].mpps[ROUNDS - 2], peer = s[s[i].peer].mpps[ROUNDS - 2];

		printf("%-14s %7.2f %10.2f %s\n", s[i].name, value, peer, s[s[i].peer].name);
		if (i < 2)
			continue;
		json_array_append_new(all, json_pack("{s:s, s:f, s:s, s:s, s:s, s:f, s:f}", "name", s[i].name,
						     "value", value, "unit", "Mpps", "stat", "p95", "peer",
						     s[s[i].peer].name, "peer_value", peer, "ratio",
						     value / peer));
	}
	lb_live__destroy(l);
}
