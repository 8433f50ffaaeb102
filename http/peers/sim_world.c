/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_world.c -- the people of the simulation: who comes, from which network, over which link, how long they stay.
 *
 * Links are lognormal. Uplink: median 12 Mbit/s, sigma 1, so a mean near 19 Mbit/s after the bounds of 0.5 and 100;
 * Ookla's fixed-line mean for the United States was 32.9 Mbit/s up and 95.3 down already in the third quarter of 2018, with
 * cable far below fibre: the heavy tail is why a median says more than that mean. Downlink: median 60, sigma 0.8, at
 * least 1.5 times the rendition, since a player chooses a rendition that fits. A quarter uploads nothing.
 *
 * Networks: 100 ASes by a Zipf law with exponent 1.2 (the first has 28 % of the viewers, the first ten 69 %: a country
 * with its few large providers), prefixes inside each with exponent 0.8, about 12 viewers a prefix.
 *
 * Films: viewers arrive as a Poisson process at the beginning and stay an exponential time (mean 1 / churn), so that the
 * positions of those who are there are exponential too, cut at the film's end; who was there before the run has all that
 * he watched, as p2p-media-loader keeps it (4 GiB). Live: all are hold_back segments behind the edge.
 *
 * A place in the array is taken again at once by the next to arrive; ids are never used again.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/sim_impl.h"

#define MBIT 125000.0 /* bytes/s */
#define ASES 100

/* splitmix64 (Steele, Lea, Flood 2014): one word of state. */
uint64_t sim_random64(struct sim_random *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

double sim_unit(struct sim_random *r)
{
	return (double)(sim_random64(r) >> 11) * 0x1p-53;
}

uint32_t sim_below(struct sim_random *r, uint32_t n)
{
	return (uint32_t)((unsigned __int128)sim_random64(r) * n >> 64);
}

double sim_normal(struct sim_random *r)
{
	double u = 1 - sim_unit(r), w = sim_unit(r);

	return sqrt(-2 * log(u)) * cos(2 * M_PI * w);
}

double sim_exponential(struct sim_random *r, double mean)
{
	return -log(1 - sim_unit(r)) * mean;
}

static double link_draw(struct sim *s, double median, double sigma, double low, double high)
{
	double bits = median * exp(sigma * sim_normal(&s->rnd)) / 8;

	return bits < low ? low : bits > high ? high : bits;
}

static int networks_new(struct sim *s)
{
	double sum = 0;

	s->nas = ASES;
	s->as_cdf = calloc(ASES, sizeof(*s->as_cdf));
	s->as_up = calloc(ASES, sizeof(*s->as_up));
	s->as_want = calloc(ASES, sizeof(*s->as_want));
	s->as_prefix = calloc(ASES + 1, sizeof(*s->as_prefix));
	if (!s->as_cdf || !s->as_up || !s->as_want || !s->as_prefix)
		return -ENOMEM;
	for (uint32_t a = 0; a < ASES; a++)
		s->as_cdf[a] = sum += pow(a + 1, -1.2);
	for (uint32_t a = 0; a < ASES; a++) {
		double share = (s->as_cdf[a] - (a ? s->as_cdf[a - 1] : 0)) / sum;

		s->as_prefix[a + 1] = s->as_prefix[a] + 2 + (uint32_t)(share * s->opt.viewers / 12);
	}
	for (uint32_t a = 0; a < ASES; a++)
		s->as_cdf[a] /= sum;
	s->nprefix = s->as_prefix[ASES];
	return 0;
}

/* Of n, by Zipf with exponent 0.8: the inverse of the continuous law, which is near enough here. */
static uint32_t zipf_prefix(struct sim *s, uint32_t n)
{
	double u = sim_unit(&s->rnd), k = pow((pow(n + 1.0, 0.2) - 1) * u + 1, 5);
	uint32_t i = (uint32_t)k - 1;

	return i < n ? i : n - 1;
}

static void network_draw(struct sim *s, struct sim_viewer *v)
{
	double u = sim_unit(&s->rnd);
	uint32_t a = 0;

	while (a + 1 < s->nas && s->as_cdf[a] < u)
		a++;
	v->as = a + 1;
	v->prefix = s->as_prefix[a] + zipf_prefix(s, s->as_prefix[a + 1] - s->as_prefix[a]);
}

static void link_draw_all(struct sim *s, struct sim_viewer *v)
{
	const struct sim_options *o = &s->opt;
	double rate = s->bytes[v->rendition][0] / (o->segment_ms / 1000.0), who = sim_unit(&s->rnd);

	v->flags = GROUP_CONSENT;
	if (who < o->without_uplink) /* a third each: refused, cellular, nobody reaches them */
		v->flags = who < o->without_uplink / 3     ? 0
			   : who < o->without_uplink * 2 / 3 ? GROUP_CONSENT | GROUP_CELLULAR
							     : GROUP_CONSENT | GROUP_UNREACHABLE;
	v->uploads = v->flags == GROUP_CONSENT;
	v->up = (float)link_draw(s, o->uplink, o->uplink_sigma, 0.5 * MBIT, 100 * MBIT);
	v->down = (float)link_draw(s, o->downlink, o->downlink_sigma, 1.5 * rate, 500 * MBIT);
	v->rtt_ms = (float)(30 * exp(0.5 * sim_normal(&s->rnd)));
	v->cap = v->uploads ? v->up : 0;
}

/* Seconds that a standing viewer has been there: exponential, cut at the film's length. */
static double stood_ms(struct sim *s)
{
	double mean = 1000 / s->opt.churn, most = s->opt.asset_ms - 60000.0;
	double u = sim_unit(&s->rnd) * (1 - exp(-most / mean));

	return -mean * log(1 - u);
}

/* He has what he watched, and a full buffer. */
static void stand(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];
	uint32_t ms = s->opt.segment_ms, first = 0;

	if (s->opt.live) {
		v->pos_ms = (int32_t)sim_below(&s->rnd, ms);
		v->next = (uint16_t)(s->opt.live_hold_back + 1);
	} else {
		v->pos_ms = (int32_t)stood_ms(s);
		v->next = (uint16_t)((uint32_t)(v->pos_ms + 30000) / ms);
	}
	for (uint32_t n = first; n < v->next; n++) {
		sim_bit_set(sim_have(s, i), n);
		if (v->uploads)
			s->holders[v->rendition][n]++;
	}
	v->play = PLAY_PLAYING;
	v->early = false;
}

void sim_viewer_arrive(struct sim *s, uint32_t i, bool standing)
{
	struct sim_viewer *v = &s->v[i];
	uint32_t gen = v->gen + 1;
	double stay;

	memset(v, 0, sizeof(*v));
	memset(sim_have(s, i), 0, s->words * sizeof(uint64_t));
	memset(sim_asked(s, i), 0, s->words * sizeof(uint64_t));
	v->gen = gen;
	v->id = ++s->next_id * 0x9e3779b97f4a7c15ull | 1;
	v->rendition = (uint8_t)(i % SIM_RENDITIONS);
	v->arrived = s->step;
	v->early = true;
	for (int k = 0; k < SIM_SLOTS; k++)
		v->t[k].from = SIM_FREE;
	network_draw(s, v);
	link_draw_all(s, v);
	stay = sim_exponential(&s->rnd, 1000 / s->opt.churn);
	v->leave = s->step + 1 + (stay < 1e8 ? SIM_STEPS((uint32_t)stay) : UINT32_MAX / 2);
	v->silent = sim_unit(&s->rnd) < s->opt.silent;
	v->report = s->step + 1 + sim_below(&s->rnd, SIM_STEPS(s->opt.report_ms));
	v->decide = s->step + 1 + sim_below(&s->rnd, 2);
	v->random_http = s->step + sim_below(&s->rnd, 12);
	if (standing)
		stand(s, i);
	else if (s->opt.live) {
		v->next = (uint16_t)(sim_edge(s) - s->opt.live_hold_back);
		v->pos_ms = (int32_t)(v->next * s->opt.segment_ms);
	}
	if (sim_outage(s) && !standing)
		s->arrivals++;
	if (s->opt.policy == SIM_WEIR)
		sim_weir_arrive(s, i);
	else
		sim_swarm_arrive(s, i);
}

void sim_viewer_leave(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];

	sim_measure_leave(s, i);
	sim_abort_all(s, i);
	for (uint32_t n = 0; v->uploads && n < s->segments; n++)
		if (sim_bit(sim_have(s, i), n))
			s->holders[v->rendition][n]--;
	if (s->opt.policy == SIM_WEIR && !v->silent)
		sim_weir_leave(s, i);
}

/* A fifth (say) leaves at once. */
static void storm(struct sim *s)
{
	for (uint32_t i = 0; i < s->opt.viewers; i++)
		if (sim_unit(&s->rnd) < s->opt.storm) {
			s->v[i].silent = false;
			s->v[i].leave = s->step;
		}
	sim_storm_begin(s);
}

void sim_world_churn(struct sim *s)
{
	if (s->opt.storm > 0 && s->step == s->from / 2)
		storm(s);
	for (uint32_t i = 0; i < s->opt.viewers; i++) {
		struct sim_viewer *v = &s->v[i];

		if (v->leave > s->step && (s->opt.live || v->pos_ms < (int32_t)s->opt.asset_ms))
			continue;
		if (v->play != PLAY_GONE)
			sim_viewer_leave(s, i);
		if (v->silent && v->play != PLAY_GONE) {
			v->play = PLAY_GONE;
			v->gen++;
			v->pos_ms = 0;
			v->uploads = false;
			v->leave = s->step + SIM_STEPS(SIM_SILENCE_MS);
			continue;
		}
		sim_viewer_arrive(s, i, false);
	}
}

int sim_world_new(struct sim *s)
{
	static const double bits[SIM_RENDITIONS] = { 2.5e6, 5e6 };
	int ret = networks_new(s);

	if (ret)
		return ret;
	for (int r = 0; r < SIM_RENDITIONS; r++) {
		s->holders[r] = calloc(s->segments, sizeof(uint32_t));
		s->fetching[r] = calloc(s->segments, sizeof(uint32_t));
		s->bytes[r] = calloc(s->segments, sizeof(float));
		if (!s->holders[r] || !s->fetching[r] || !s->bytes[r])
			return -ENOMEM;
		/* An encoder's rate wanders: 0.75 to 1.25 of the mean. */
		for (uint32_t n = 0; n < s->segments; n++)
			s->bytes[r][n] = (float)(bits[r] / 8 * s->opt.segment_ms / 1000 *
						 (n ? 0.75 + 0.5 * sim_unit(&s->rnd) : 1));
		s->demand += bits[r] / 8 * s->opt.viewers / SIM_RENDITIONS;
	}
	s->capacity = s->demand * s->opt.headroom;
	return 0;
}
