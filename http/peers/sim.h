/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h -- a simulator of the viewers of one asset through an outage of the server: the same pure grouping, portions and
 * sensing as the daemon (group.h, sense.h), and baselines under the same physics.
 *
 * Flows on a step of 250 ms. An uploader's rate is divided evenly among its transfers, a downloader's among its own; a
 * transfer gets the smaller share. The server's capacity is divided max-min fair. Nothing is shared that was not received
 * whole before. The same options give the same result, byte for byte: one generator of random numbers, no clock.
 *
 * What is modelled on which source, and what is left out, stands in sim_world.c (people, links, networks) and
 * sim_player.c (players).
 */
#ifndef WEIR_SIM_H
#define WEIR_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "http/peers/group.h"
#include "http/peers/sense.h"

enum sim_policy {
	SIM_CLIENT_SERVER, /* hls.js alone */
	SIM_SWARM,	   /* p2p-media-loader as it comes: five random peers, windows of 6,000 s (peers) and 3,000 s (server) */
	SIM_SWARM_BOUNDED, /* … windows of 60 s and 30 s */
	SIM_WEIR,
	SIM_OMNISCIENT, /* a bound: all uplinks are one pool, all know where everything is and when the outage comes */
	SIM_POLICIES
};
extern const char *const sim_policy_names[SIM_POLICIES];

struct sim_options { /* sim_defaults() fills it */
	enum sim_policy policy;
	uint64_t seed;
	uint32_t viewers;
	bool live;
	uint32_t warm_ms, outage_ms, after_ms; /* simulated time before, of, and after the outage */
	double capacity_left;		       /* share of the server's capacity in the outage */
	double headroom;		       /* the server's capacity over the demand of all viewers, when it is well */
	double without_uplink;		       /* share of viewers who upload nothing: refused, cellular, unreachable */
	double churn;			       /* share that leaves and is replaced, per second */
	double silent;			       /* share of those who leave without a word */
	double storm;			       /* share of all that leaves at once, half way through the warm-up; 0: none */
	uint32_t segment_ms, asset_ms;
	uint32_t live_hold_back; /* segments that a live player stays behind the edge (hls.js: 3) */
	double uplink, uplink_sigma, downlink, downlink_sigma; /* lognormal: median in bit/s, sigma of the logarithm */
	uint32_t report_ms;	 /* between a viewer's reports */
	uint32_t ahead_ms;	 /* weir: of media beyond each viewer that its grouping holds together */
	uint32_t window_ms;	 /* weir: what each fetches ahead for itself, from peers */
	uint32_t copies;	 /* weir: of each segment, in a grouping */
	bool helpers_only;	 /* weir: receives from the helpers that group_run() chose, who do not know what is held */
	struct group_options group;
	struct sense_options sense;
	bool series; /* one row a second in the result */
	bool check;  /* count broken invariants as it goes (slower) */
};
void sim_defaults(struct sim_options *opt);

struct sim;
int sim_new(struct sim **out, const struct sim_options *opt); /* 0, -ENOMEM, -EINVAL */
void sim_free(struct sim *s);				      /* accepts NULL */
bool sim_step(struct sim *s);				      /* 250 ms; false when the run is over */

struct sim_result {
	uint32_t watched;	/* viewers who were playing when the outage began */
	double stallfree;	/* share of them without a stall from then until 10 s after its end */
	double rebuffer;	/* time stalled over time that they watched, in the same window */
	double stall_ms[3];	/* of those who stalled: median, 95th percentile, most */
	double arrivals, began; /* who came during the outage; share of them who began to play within 10 s */
	double steady_rebuffer; /* in the 60 s before the outage */
	double offload;		/* bytes from peers over all bytes, in the 60 s before the outage */
	double offload_outage;
	double cross;		/* share of peers' bytes that crossed into another AS, all the run */
	double uplink_used;	/* bytes sent over what those who consent could have sent, in the outage */
	double waste;		/* bytes received by those who left and never played, over what they received */
	double server_bytes, peer_bytes, up_bytes; /* all the run; the last as counted by senders */
	double server_before;	/* server's bytes over bytes played, in the 60 s before the outage */
	double sensed_ms;	/* from the outage until the state left calm; -1: never */
	double regroup_ms[2];	/* after the storm, until 99 % and all of viewers and portions were regrouped (sim_storm.c); -1: no storm, or never */
	double restock_ms[2];	/* … until 99 % and all of the segments that it left with too few copies had them again, byte for byte */
	uint32_t lost, lost_portions; /* viewers and portions that the storm left without */
	uint32_t first, second, alone, groupings; /* weir: before the outage */
	double group_s;		/* seconds of this machine's CPU in group_run(), mean of a run (not part of what is repeatable) */
	uint64_t broken[3];	/* invariants: an upload above its cap, a segment from one who had it not, bytes that differ */
};
void sim_result(const struct sim *s, struct sim_result *out);
/* Everything as JSON, with the series when it was asked for: a new reference. */
json_t *sim_json(const struct sim *s);

#endif
