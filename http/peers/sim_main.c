/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_main.c -- `weir-gateway --peers-simulate`: one run of the simulator, for people and for bench-peers.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/peers.h"
#include "http/peers/sim.h"

static const char usage[] =
	"usage: weir-gateway --peers-simulate [options]\n"
	"  --viewers N        of one asset (1000)\n"
	"  --outage S         seconds that the server is away (60)\n"
	"  --capacity SHARE   of the server's capacity that is left meanwhile, 0 to 1 (0)\n"
	"  --live, --vod      a live stream, or a film on demand (--vod)\n"
	"  --policy NAME      weir, client-server, swarm, swarm-bounded, omniscient (weir)\n"
	"  --seed N           the same seed gives the same result (1)\n"
	"  --storm SHARE      of the viewers leaves at once, half way to the outage (0)\n"
	"  --warm S           simulated seconds before the outage (120)\n"
	"  --hold-back N      segments that a live player stays behind the edge (3)\n"
	"  --no-uplink SHARE  of viewers who upload nothing (0.25)\n"
	"  --uplink MBIT      median of the uplinks (12)\n"
	"  --group-size N, --ahead S, --window S, --copies N, --margin X   of the policy weir\n"
	"  --helpers-only     … with the helpers of the grouping alone, whatever they hold\n"
	"  --json             everything as JSON; --series: with a row for every second\n"
	"  --check            counts broken invariants as it goes\n"
	"\nexample: weir peers simulate --viewers 500 --outage 60 --json\n";

struct wish {
	struct sim_options opt;
	bool json;
};

static int fault(const char *name, const char *value, const char *right)
{
	fprintf(stderr, "weir-gateway --peers-simulate: --%s %s: must be %s\n", name, value, right);
	return 2;
}

enum { O_VIEWERS = 1, O_OUTAGE, O_CAPACITY, O_LIVE, O_VOD, O_POLICY, O_SEED, O_STORM, O_WARM, O_HOLD_BACK, O_NO_UPLINK, O_UPLINK,
       O_SIZE, O_AHEAD, O_WINDOW, O_COPIES, O_MARGIN, O_HELPERS, O_JSON, O_SERIES, O_CHECK, O_HELP };
static const struct option options[] = {
	{ "viewers", 1, NULL, O_VIEWERS },     { "outage", 1, NULL, O_OUTAGE },	  { "capacity", 1, NULL, O_CAPACITY },
	{ "live", 0, NULL, O_LIVE },	       { "vod", 0, NULL, O_VOD },	  { "policy", 1, NULL, O_POLICY },
	{ "seed", 1, NULL, O_SEED },	       { "storm", 1, NULL, O_STORM },	  { "warm", 1, NULL, O_WARM },
	{ "hold-back", 1, NULL, O_HOLD_BACK }, { "no-uplink", 1, NULL, O_NO_UPLINK }, { "uplink", 1, NULL, O_UPLINK },
	{ "group-size", 1, NULL, O_SIZE },     { "ahead", 1, NULL, O_AHEAD },	  { "window", 1, NULL, O_WINDOW },
	{ "copies", 1, NULL, O_COPIES },       { "margin", 1, NULL, O_MARGIN },	  { "json", 0, NULL, O_JSON },	  { "series", 0, NULL, O_SERIES },
	{ "helpers-only", 0, NULL, O_HELPERS }, { "check", 0, NULL, O_CHECK },	       { "help", 0, NULL, O_HELP },	  { 0 },
};
/* What a number must be. */
static const struct {
	double low, high;
	const char *right;
} bounds[O_HELP + 1] = {
	[O_VIEWERS] = { 2, 10000000, "a number from 2 to 10000000" }, [O_OUTAGE] = { 0, 3600, "seconds from 0 to 3600" },
	[O_CAPACITY] = { 0, 1, "a share from 0 to 1" },		      [O_SEED] = { 0, 1e15, "a whole number" },
	[O_STORM] = { 0, 0.9, "a share from 0 to 0.9" },	      [O_WARM] = { 10, 3600, "seconds from 10 to 3600" },
	[O_HOLD_BACK] = { 1, 50, "segments from 1 to 50" },	      [O_NO_UPLINK] = { 0, 1, "a share from 0 to 1" },
	[O_UPLINK] = { 0.1, 1000, "Mbit/s from 0.1 to 1000" },	      [O_SIZE] = { 2, 1000, "members from 2 to 1000" },
	[O_AHEAD] = { 0, 600, "seconds from 0 to 600" },	      [O_WINDOW] = { 10, 600, "seconds from 10 to 600" },
	[O_COPIES] = { 1, 8, "a number from 1 to 8" },		      [O_MARGIN] = { 1, 10, "a factor from 1 to 10" },
};

static void set_number(struct sim_options *o, int which, double x)
{
	switch (which) {
	case O_VIEWERS: o->viewers = (uint32_t)x; break;
	case O_OUTAGE: o->outage_ms = (uint32_t)(x * 1000); break;
	case O_CAPACITY: o->capacity_left = x; break;
	case O_SEED: o->seed = (uint64_t)x; break;
	case O_STORM: o->storm = x; break;
	case O_WARM: o->warm_ms = (uint32_t)(x * 1000); break;
	case O_HOLD_BACK: o->live_hold_back = (uint32_t)x; break;
	case O_NO_UPLINK: o->without_uplink = x; break;
	case O_UPLINK: o->uplink = x * 1e6; break;
	case O_SIZE: o->group.size = (unsigned int)x; break;
	case O_AHEAD: o->ahead_ms = (uint32_t)(x * 1000); break;
	case O_WINDOW: o->window_ms = (uint32_t)(x * 1000); break;
	case O_MARGIN: o->group.margin = (float)x; break;
	case O_COPIES: o->copies = (uint32_t)x; break;
	}
}

static int set_policy(struct sim_options *o, const char *name)
{
	for (int p = 0; p < SIM_POLICIES; p++)
		if (!strcmp(name, sim_policy_names[p])) {
			o->policy = (enum sim_policy)p;
			return 0;
		}
	return fault("policy", name, "weir, client-server, swarm, swarm-bounded or omniscient");
}

/* 0, or the exit code; help: -1. */
static int parse(struct wish *w, int argc, char **argv)
{
	int c, at;

	optind = 2;
	opterr = 1;
	while ((c = getopt_long(argc, argv, "", options, &at)) != -1) {
		char *end;
		double x;

		if (c == O_LIVE || c == O_VOD)
			w->opt.live = c == O_LIVE;
		else if (c == O_JSON)
			w->json = true;
		else if (c == O_SERIES)
			w->opt.series = w->json = true;
		else if (c == O_HELPERS)
			w->opt.helpers_only = true;
		else if (c == O_CHECK)
			w->opt.check = true;
		else if (c == O_HELP)
			return -1;
		else if (c == O_POLICY) {
			if (set_policy(&w->opt, optarg))
				return 2;
		} else if (c == '?') {
			return 2;
		} else {
			x = strtod(optarg, &end);
			if (end == optarg || *end || !(x >= bounds[c].low && x <= bounds[c].high))
				return fault(options[at].name, optarg, bounds[c].right);
			set_number(&w->opt, c, x);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "weir-gateway --peers-simulate: %s: is no option; see --help\n", argv[optind]);
		return 2;
	}
	return 0;
}

static void print_text(const struct sim_options *o, const struct sim_result *r)
{
	printf("%s, %" PRIu32 " viewers, %s, outage %g s with %g %% of the server's capacity, seed %" PRIu64 "\n",
	       sim_policy_names[o->policy], o->viewers, o->live ? "live" : "on demand", o->outage_ms / 1000.0,
	       o->capacity_left * 100, o->seed);
	printf("  without a stall       %8.3f %% of %" PRIu32 "\n", r->stallfree * 100, r->watched);
	printf("  rebuffer ratio        %8.3f %%, before the outage %.3f %%\n", r->rebuffer * 100, r->steady_rebuffer * 100);
	printf("  of those who stalled  %8.1f s median, %.1f s 95th percentile, %.1f s most\n", r->stall_ms[0] / 1000,
	       r->stall_ms[1] / 1000, r->stall_ms[2] / 1000);
	printf("  began in the outage   %8.1f %% of %.0f who came\n", r->began * 100, r->arrivals);
	printf("  from peers            %8.1f %% before the outage, %.1f %% in it\n", r->offload * 100, r->offload_outage * 100);
	printf("  server, before        %8.3f bytes for each byte played\n", r->server_before);
	printf("  into other networks   %8.1f %% of the peers' bytes\n", r->cross * 100);
	printf("  uplink used           %8.1f %% in the outage\n", r->uplink_used * 100);
	printf("  received, not played  %8.1f %% of those who left\n", r->waste * 100);
	if (r->regroup_ms[0] >= 0)
		printf("  regrouped             %8.0f ms for 99 %%, %.0f ms for all of %" PRIu32 " who lost helpers and %" PRIu32
		       " segments that lost copies; those were there again after %.0f and %.0f ms\n",
		       r->regroup_ms[0], r->regroup_ms[1], r->lost, r->lost_portions, r->restock_ms[0], r->restock_ms[1]);
	if (o->policy == SIM_WEIR)
		printf("  groupings             %8" PRIu32 ": %" PRIu32 " first, %" PRIu32 " second, %" PRIu32
		       " alone; the outage was sensed after %.0f ms; a regrouping took %.1f ms of CPU\n",
		       r->groupings, r->first, r->second, r->alone, r->sensed_ms, r->group_s * 1000);
	if (r->broken[0] || r->broken[1] || r->broken[2])
		printf("  BROKEN: %" PRIu64 " uploads above their cap, %" PRIu64 " segments from who had them not, %" PRIu64 " sums\n",
		       r->broken[0], r->broken[1], r->broken[2]);
}

static int run(const struct wish *w)
{
	struct sim_result r;
	struct sim *s;
	int ret = sim_new(&s, &w->opt);

	if (ret) {
		fprintf(stderr, "weir-gateway --peers-simulate: %s\n",
			ret == -EINVAL ? "the options do not go together (a run may have 4,000 segments)" : strerror(-ret));
		return 1;
	}
	while (sim_step(s))
		;
	sim_result(s, &r);
	if (w->json) {
		json_t *all = sim_json(s);

		json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
		putchar('\n');
		json_decref(all);
	} else {
		print_text(&w->opt, &r);
	}
	sim_free(s);
	return r.broken[0] || r.broken[1] || r.broken[2];
}

int peers_modes(int argc, char **argv)
{
	struct wish w = { 0 };
	int ret;

	if (argc < 2 || strcmp(argv[1], "--peers-simulate") != 0)
		return -1;
	sim_defaults(&w.opt);
	ret = parse(&w, argc, argv);
	if (ret < 0) {
		fputs(usage, stdout);
		return 0;
	}
	return ret ? ret : run(&w);
}
