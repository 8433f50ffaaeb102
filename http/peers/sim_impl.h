/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_impl.h -- what the parts of the simulator share: sim_world.c (people and links), sim_flow.c (bytes), sim_player.c
 * (what a player asks for), sim_swarm.c (whom it meets without us), sim_weir.c and sim_plan.c (… with us), sim_measure.c.
 */
#ifndef WEIR_SIM_IMPL_H
#define WEIR_SIM_IMPL_H

#include <stddef.h>

#include "http/peers/sim.h"

#define SIM_STEP_MS   250
#define SIM_STEPS(ms) (((ms) + SIM_STEP_MS - 1) / SIM_STEP_MS)
#define SIM_HTTP      2 /* simultaneousHttpDownloads */
#define SIM_P2P	      3 /* simultaneousP2PDownloads */
#define SIM_HOLD      2 /* fetches of portions at once, by the shim */
#define SIM_SLOTS     (SIM_HTTP + SIM_P2P + SIM_HOLD)
#define SIM_CONNS     16 /* data channels to receive over */
#define SIM_HOLDS     24 /* segments of a portion that one instruction names */
#define SIM_PEERS_FIRST 0x8000u
#define SIM_SILENCE_MS 10000 /* until who says nothing counts as gone */
#define SIM_SERVER    UINT32_MAX
#define SIM_POOL      (UINT32_MAX - 1)
#define SIM_FREE      (UINT32_MAX - 2)
#define SIM_RENDITIONS 2
#define SIM_BUFFER_BINS 160 /* of a second, for quantiles */

enum sim_slot { SLOT_HTTP, SLOT_P2P, SLOT_HOLD };
enum sim_play { PLAY_STARTING, PLAY_PLAYING, PLAY_STALLED, PLAY_GONE /* without a word; its place is not yet taken again */ };

struct sim_random {
	uint64_t state;
};
uint64_t sim_random64(struct sim_random *r);
double sim_unit(struct sim_random *r);			   /* [0, 1) */
uint32_t sim_below(struct sim_random *r, uint32_t n);	   /* [0, n) */
double sim_normal(struct sim_random *r);
double sim_exponential(struct sim_random *r, double mean);

struct sim_transfer {
	uint32_t from; /* a viewer's index, SIM_SERVER, SIM_POOL; SIM_FREE */
	uint32_t gen;  /* of the sender: another one sits on its place now when they differ */
	float left;    /* bytes */
	uint16_t segment;
	uint8_t idle; /* steps without a byte */
	uint8_t slot; /* enum sim_slot */
	uint32_t begun; /* step */
};

struct sim_conn {
	uint32_t peer, gen;
	uint32_t ready; /* the step from which it carries bytes */
	float rate;	/* bytes/s that it gave, smoothed: the player prefers the fast */
	bool busy;	/* one segment at a time */
	bool closing; /* no longer to be asked; goes when what it brings is whole */
};

/* What the player was told, or comes with: seconds ahead of the position. */
struct sim_windows {
	uint16_t high, http, p2p; /* urgent (server first); taken from the server at random; taken from peers */
	bool server;		  /* may ask it at all */
};

struct sim_viewer {
	uint64_t id;
	uint32_t gen, prefix, as, flags;
	float up, down; /* bytes/s of its links */
	float cap;	/* bytes/s that it may send now */
	float rtt_ms;
	uint32_t leave, report, decide; /* steps */
	uint32_t arrived, reannounce, random_http;
	int32_t pos_ms;
	uint16_t next; /* the first segment from the position on that it has not */
	uint16_t nup;  /* transfers from it */
	uint8_t rendition, play, nconn, n[3] /* transfers by enum sim_slot */;
	bool silent, uploads, early;
	uint8_t http_fails;
	uint32_t http_after; /* step before which it asks the server for nothing */
	struct sim_windows w;
	struct sim_transfer t[SIM_SLOTS];
	struct sim_conn c[SIM_CONNS];
	uint16_t hold[SIM_HOLDS]; /* portions to fetch, in this order; SIM_PEERS_FIRST: another fetches it from the server */
	uint8_t nhold;
	uint16_t part; /* segment of which a broken transfer left something: the next goes on from there */
	float part_left;
	/* measured */
	bool watched; /* was playing when the outage began */
	uint8_t lost; /* data channels that it had before the storm, until it has them (or two) again */
	uint32_t stalled_ms, watched_ms; /* in the window of the outage */
	float received, sent, burst /* sent in this step */;
	float uplink_seen; /* bytes/s that receivers confirmed */
	float sent_reported;
};

struct sim_series {
	float buffer[3]; /* 5th percentile, median, 95th: s */
	float stalled;	 /* share of viewers */
	float server, peers, cross; /* bytes */
	float state;
};

struct sim_weir;
struct sim_lost;

struct sim {
	struct sim_options opt;
	struct sim_random rnd;
	uint32_t step, steps, from, until, window_end; /* outage: [from, until); measured until window_end */
	uint32_t segments, words;
	uint64_t next_id;
	double capacity, level_server, level_pool, pool; /* bytes/s; levels: max-min fair share of a transfer, bytes a step */
	double demand;
	struct sim_viewer *v;
	uint64_t *have, *asked; /* [viewer][words]: held; being fetched */
	float *share;		/* [viewer]: bytes of this step for each transfer from it */
	uint32_t *holders[SIM_RENDITIONS], *fetching[SIM_RENDITIONS]; /* by segment: uploaders who have it; fetches from the server */
	float *bytes[SIM_RENDITIONS];
	double *as_cdf, *as_up, *as_want; /* networks */
	uint32_t nas, *as_prefix, nprefix; /* first prefix of an AS */
	struct sim_weir *weir;
	/* measured */
	struct sim_result r;
	struct sim_series *series, now;
	uint32_t nseries;
	double server_bytes, peer_bytes, up_bytes, cross_bytes, played_ms;
	double base[4];  /* server, peers, played, stalled when the steady window began */
	double outage_base[3], outage_up; /* server, peers, up */
	double stalled_all, watched_all, playing_all;
	double left_received, left_wasted;
	uint32_t *stalls; /* ms, of who stalled in the window */
	uint32_t nstalls, stalls_max, counted, free_of_stalls, arrivals, began;
	uint32_t storm_step, lost;
	struct sim_lost *portions;
	uint32_t nportions, portions_lost;
};

static inline uint64_t *sim_have(const struct sim *s, uint32_t i)
{
	return s->have + (size_t)i * s->words;
}
static inline uint64_t *sim_asked(const struct sim *s, uint32_t i)
{
	return s->asked + (size_t)i * s->words;
}
static inline bool sim_bit(const uint64_t *set, uint32_t n)
{
	return set[n / 64] >> (n % 64) & 1;
}
static inline void sim_bit_set(uint64_t *set, uint32_t n)
{
	set[n / 64] |= 1ull << (n % 64);
}
static inline void sim_bit_clear(uint64_t *set, uint32_t n)
{
	set[n / 64] &= ~(1ull << (n % 64));
}
static inline int64_t sim_now_ms(const struct sim *s)
{
	return (int64_t)s->step * SIM_STEP_MS;
}
/* The last segment that exists: all of a film; of a live stream, the one that was finished last. */
static inline uint32_t sim_edge(const struct sim *s)
{
	return s->opt.live ? (uint32_t)(sim_now_ms(s) / s->opt.segment_ms) + s->opt.live_hold_back + 1 : s->segments - 1;
}
static inline uint32_t sim_buffer_ms(const struct sim *s, const struct sim_viewer *v)
{
	int64_t ms = (int64_t)v->next * s->opt.segment_ms - v->pos_ms;

	return ms > 0 ? (uint32_t)ms : 0;
}
static inline bool sim_outage(const struct sim *s)
{
	return s->step >= s->from && s->step < s->until;
}

/* sim_world.c */
int sim_world_new(struct sim *s);
void sim_viewer_arrive(struct sim *s, uint32_t i, bool standing); /* standing: was there before the run began */
void sim_viewer_leave(struct sim *s, uint32_t i);
void sim_world_churn(struct sim *s);

/* sim_flow.c */
void sim_flow(struct sim *s); /* moves the bytes of one step */
bool sim_start(struct sim *s, uint32_t i, enum sim_slot slot, uint32_t segment, uint32_t from);
void sim_abort(struct sim *s, uint32_t i, struct sim_transfer *t);
void sim_abort_all(struct sim *s, uint32_t i);
void sim_connect(struct sim *s, uint32_t i, uint32_t peer, uint32_t after_ms);
bool sim_connected(const struct sim *s, const struct sim_conn *c); /* carries bytes, and the same one is there */
void sim_disconnect(struct sim *s, uint32_t i, uint32_t k);

/* sim_player.c */
void sim_play(struct sim *s); /* positions go on, or stall */
void sim_decide(struct sim *s);

/* sim_swarm.c */
void sim_swarm(struct sim *s);
void sim_swarm_arrive(struct sim *s, uint32_t i);

/* sim_weir.c */
int sim_weir_new(struct sim *s);
void sim_weir_free(struct sim *s);
void sim_weir_arrive(struct sim *s, uint32_t i);
void sim_weir_leave(struct sim *s, uint32_t i);
void sim_weir(struct sim *s);
bool sim_weir_settled(const struct sim *s, uint32_t i); /* connected with two of those whom it was last told to receive from, or with the one; or told to take from the server */

/* sim_storm.c */
void sim_storm_begin(struct sim *s); /* who goes is marked, and still there */
void sim_storm_progress(struct sim *s);

/* sim_measure.c */
void sim_measure(struct sim *s);
void sim_measure_leave(struct sim *s, uint32_t i);
void sim_measure_end(struct sim *s);

#endif
