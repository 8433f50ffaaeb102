/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.c -- the run: options, one step after the other, the result as JSON.
 */
#include <errno.h>
#include <stdlib.h>

#include "http/peers/sim_impl.h"

const char *const sim_policy_names[SIM_POLICIES] = { "client-server", "swarm", "swarm-bounded", "weir", "omniscient" };

void sim_defaults(struct sim_options *opt)
{
	*opt = (struct sim_options){ .policy = SIM_WEIR, .seed = 1, .viewers = 1000, .warm_ms = 120000, .outage_ms = 60000,
		.after_ms = 40000, .headroom = 1.3, .without_uplink = 0.25, .churn = 0.001, .silent = 0.2, .segment_ms = 4000,
		.asset_ms = 2400000, .live_hold_back = 3, .uplink = 12e6, .uplink_sigma = 1, .downlink = 60e6,
		.downlink_sigma = 0.8, .report_ms = 4000, .ahead_ms = 90000, .window_ms = 75000, .copies = 1, .group = { .size = 72, .margin = 1.5f } };
}

static bool options_good(const struct sim_options *o)
{
	uint64_t most = o->live ? o->warm_ms + (uint64_t)o->outage_ms + o->after_ms : o->asset_ms;

	return o->viewers >= 2 && o->viewers <= 10000000 && o->segment_ms >= SIM_STEP_MS && most / o->segment_ms < 4000 &&
	       o->policy < SIM_POLICIES && o->churn > 0 && o->capacity_left >= 0 && o->capacity_left <= 1 &&
	       o->warm_ms + (uint64_t)o->outage_ms + o->after_ms <= 24 * 3600000 && o->report_ms >= SIM_STEP_MS &&
	       o->live_hold_back >= 1 && (o->live || o->asset_ms > 120000) && o->headroom > 0;
}

static int arrays_new(struct sim *s)
{
	size_t n = s->opt.viewers;

	s->v = calloc(n, sizeof(*s->v));
	s->have = calloc(n * s->words, sizeof(uint64_t));
	s->asked = calloc(n * s->words, sizeof(uint64_t));
	s->share = calloc(n, sizeof(float));
	s->stalls_max = s->opt.viewers;
	s->stalls = calloc(n, sizeof(uint32_t));
	s->series = calloc(s->steps / 4 + 2, sizeof(*s->series));
	return s->v && s->have && s->asked && s->share && s->stalls && s->series ? 0 : -ENOMEM;
}

int sim_new(struct sim **out, const struct sim_options *opt)
{
	struct sim *s;
	int ret;

	if (!options_good(opt))
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->opt = *opt;
	s->rnd.state = opt->seed * 0xd1342543de82ef95ull + 1;
	s->from = SIM_STEPS(opt->warm_ms);
	s->until = s->from + SIM_STEPS(opt->outage_ms);
	s->window_end = s->until + SIM_STEPS(10000);
	s->steps = s->until + SIM_STEPS(opt->after_ms);
	s->segments = opt->live ? s->steps * SIM_STEP_MS / opt->segment_ms + opt->live_hold_back + 4 : opt->asset_ms / opt->segment_ms;
	s->words = (s->segments + 63) / 64;
	s->r.sensed_ms = s->r.regroup_ms[0] = s->r.regroup_ms[1] = s->r.restock_ms[0] = s->r.restock_ms[1] = -1;
	ret = arrays_new(s);
	if (!ret)
		ret = sim_world_new(s);
	if (!ret && opt->policy == SIM_WEIR)
		ret = sim_weir_new(s);
	if (ret) {
		sim_free(s);
		return ret;
	}
	for (uint32_t i = 0; i < opt->viewers; i++)
		sim_viewer_arrive(s, i, true);
	*out = s;
	return 0;
}

void sim_free(struct sim *s)
{
	if (!s)
		return;
	sim_weir_free(s);
	for (int r = 0; r < SIM_RENDITIONS; r++) {
		free(s->holders[r]);
		free(s->fetching[r]);
		free(s->bytes[r]);
	}
	free(s->as_cdf);
	free(s->as_up);
	free(s->as_want);
	free(s->as_prefix);
	free(s->v);
	free(s->have);
	free(s->asked);
	free(s->share);
	free(s->stalls);
	free(s->series);
	free(s->portions);
	free(s);
}

bool sim_step(struct sim *s)
{
	if (s->step >= s->steps)
		return false;
	sim_flow(s);
	sim_play(s);
	sim_world_churn(s);
	sim_swarm(s);
	if (s->opt.policy == SIM_WEIR)
		sim_weir(s);
	sim_decide(s);
	sim_measure(s);
	if (++s->step < s->steps)
		return true;
	sim_measure_end(s);
	return false;
}

void sim_result(const struct sim *s, struct sim_result *out)
{
	*out = s->r;
}

static json_t *series_json(const struct sim *s)
{
	json_t *list = json_array();

	for (uint32_t k = 0; k < s->nseries; k++) {
		const struct sim_series *r = &s->series[k];
		double all = r->server + r->peers;

		json_array_append_new(list, json_pack("{si,sf,sf,sf,sf,sf,sf,sf,sf}", "t", (int)k + 1, "buffer_p05",
			(double)r->buffer[0], "buffer_p50", (double)r->buffer[1], "buffer_p95", (double)r->buffer[2],
			"stalled", (double)r->stalled, "server", (double)r->server, "peers", (double)r->peers,
			"offload", all > 0 ? r->peers / all : 0, "state", (double)r->state));
	}
	return list;
}

json_t *sim_json(const struct sim *s)
{
	const struct sim_options *o = &s->opt;
	const struct sim_result *r = &s->r;
	json_t *out = json_pack("{ss,si,sI,ss,sf,sf}", "policy", sim_policy_names[o->policy], "viewers", (int)o->viewers, "seed",
				(json_int_t)o->seed, "kind", o->live ? "live" : "vod", "outage_s", o->outage_ms / 1000.0,
				"capacity_left", o->capacity_left);
	json_t *more = json_pack("{si,sf,sf,s[f,f,f],si,sf,sf,sf,sf,sf,sf,sf}", "watched", (int)r->watched, "stallfree",
				 r->stallfree, "rebuffer", r->rebuffer, "stall_ms", r->stall_ms[0], r->stall_ms[1],
				 r->stall_ms[2], "arrivals", (int)r->arrivals, "began", r->began, "steady_rebuffer",
				 r->steady_rebuffer, "offload", r->offload, "offload_outage", r->offload_outage, "cross",
				 r->cross, "uplink_used", r->uplink_used, "waste", r->waste);
	json_t *last = json_pack("{sf,sf,sf,sf,s[f,f],s[f,f],s[i,i],si,si,si,si,s[I,I,I]}", "server_bytes", r->server_bytes, "peer_bytes",
				 r->peer_bytes, "server_before", r->server_before, "sensed_ms", r->sensed_ms, "regroup_ms",
				 r->regroup_ms[0], r->regroup_ms[1], "restock_ms", r->restock_ms[0], r->restock_ms[1], "storm_lost",
				 (int)r->lost, (int)r->lost_portions, "first", (int)r->first, "second", (int)r->second, "alone",
				 (int)r->alone, "groupings", (int)r->groupings, "broken", (json_int_t)r->broken[0],
				 (json_int_t)r->broken[1], (json_int_t)r->broken[2]);

	json_object_update(out, more);
	json_object_update(out, last);
	json_decref(more);
	json_decref(last);
	if (o->series)
		json_object_set_new(out, "series", series_json(s));
	return out;
}
