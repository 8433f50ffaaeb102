/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_measure.c -- what came of it.
 */
#include <stdlib.h>
#include <string.h>

#include "http/peers/sim_impl.h"

#define STEADY_MS 60000

static void viewer_counted(struct sim *s, struct sim_viewer *v)
{
	if (!v->watched)
		return;
	v->watched = false;
	s->counted++;
	s->playing_all += v->watched_ms;
	s->r.rebuffer += v->stalled_ms;
	/* Less than a step is the grid's own rounding. */
	if (v->stalled_ms < SIM_STEP_MS) {
		s->free_of_stalls++;
		return;
	}
	if (s->nstalls < s->stalls_max)
		s->stalls[s->nstalls++] = v->stalled_ms;
}

void sim_measure_leave(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];
	double unplayed = 0;
	uint32_t first = (uint32_t)v->pos_ms / s->opt.segment_ms + 1;

	viewer_counted(s, v);
	if (!v->early && v->received <= 0)
		return;
	for (uint32_t n = first; n < s->segments; n++)
		if (sim_bit(sim_have(s, i), n))
			unplayed += s->bytes[v->rendition][n];
	if (unplayed > v->received)
		unplayed = v->received;
	s->left_received += v->received;
	s->left_wasted += unplayed;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static float quantile(const uint32_t bins[SIM_BUFFER_BINS], uint32_t n, double q)
{
	uint32_t before = 0;

	for (uint32_t b = 0; b < SIM_BUFFER_BINS; b++)
		if ((before += bins[b]) > q * n)
			return (float)b;
	return SIM_BUFFER_BINS;
}

static void series_row(struct sim *s)
{
	uint32_t bins[SIM_BUFFER_BINS] = { 0 }, n = 0, stalled = 0;
	static const double q[] = { 0.05, 0.5, 0.95 };

	for (uint32_t i = 0; i < s->opt.viewers; i++) {
		const struct sim_viewer *v = &s->v[i];
		uint32_t b = sim_buffer_ms(s, v) / 1000;

		if (v->play == PLAY_STARTING || v->play == PLAY_GONE)
			continue;
		n++;
		stalled += v->play == PLAY_STALLED;
		bins[b < SIM_BUFFER_BINS ? b : SIM_BUFFER_BINS - 1]++;
	}
	for (int k = 0; k < 3; k++)
		s->now.buffer[k] = quantile(bins, n, q[k]);
	s->now.stalled = n ? (float)stalled / (float)n : 0;
	s->series[s->nseries++] = s->now;
	memset(&s->now, 0, sizeof(s->now));
}

static void outage_begins(struct sim *s)
{
	struct sim_result *r = &s->r;
	double server = s->server_bytes - s->base[0], peers = s->peer_bytes - s->base[1];
	double rate = s->demand / s->opt.viewers / 1000; /* bytes/ms of one, mean of renditions */

	for (uint32_t i = 0; i < s->opt.viewers; i++)
		s->v[i].watched = s->v[i].play == PLAY_PLAYING;
	r->offload = server + peers > 0 ? peers / (server + peers) : 0;
	r->server_before = server / ((s->played_ms - s->base[2]) * rate);
	r->steady_rebuffer = (s->stalled_all - s->base[3]) / (s->watched_all - s->outage_base[2]);
	s->outage_base[0] = s->server_bytes;
	s->outage_base[1] = s->peer_bytes;
}

void sim_measure(struct sim *s)
{
	uint32_t steady = s->from > SIM_STEPS(STEADY_MS) ? s->from - SIM_STEPS(STEADY_MS) : 0;

	if (s->step == steady) {
		s->base[0] = s->server_bytes;
		s->base[1] = s->peer_bytes;
		s->base[2] = s->played_ms;
		s->base[3] = s->stalled_all;
		s->outage_base[2] = s->watched_all;
	}
	if (s->step == s->from)
		outage_begins(s);
	if (sim_outage(s))
		s->outage_up += s->pool;
	if (s->step + 1 == s->until) {
		double server = s->server_bytes - s->outage_base[0], peers = s->peer_bytes - s->outage_base[1];

		s->r.offload_outage = server + peers > 0 ? peers / (server + peers) : 0;
		s->r.uplink_used = s->outage_up > 0 ? peers / s->outage_up : 0;
	}
	sim_storm_progress(s);
	if (s->opt.series && s->step % 4 == 3)
		series_row(s);
}

void sim_measure_end(struct sim *s)
{
	struct sim_result *r = &s->r;
	double diff = s->peer_bytes - s->up_bytes;

	for (uint32_t i = 0; i < s->opt.viewers; i++)
		viewer_counted(s, &s->v[i]);
	qsort(s->stalls, s->nstalls, sizeof(*s->stalls), by_number);
	r->watched = s->counted;
	r->stallfree = s->counted ? (double)s->free_of_stalls / s->counted : 1;
	r->rebuffer = s->playing_all > 0 ? r->rebuffer / s->playing_all : 0;
	for (int k = 0; k < 3 && s->nstalls; k++)
		r->stall_ms[k] = s->stalls[k == 0 ? s->nstalls / 2 : k == 1 ? (uint32_t)(s->nstalls * 0.95) : s->nstalls - 1];
	r->arrivals = s->arrivals;
	r->began = s->arrivals ? (double)s->began / s->arrivals : 1;
	r->cross = s->peer_bytes > 0 ? s->cross_bytes / s->peer_bytes : 0;
	r->waste = s->left_received > 0 ? s->left_wasted / s->left_received : 0;
	r->server_bytes = s->server_bytes;
	r->peer_bytes = s->peer_bytes;
	r->up_bytes = s->up_bytes;
	if (diff > 1e-6 * s->peer_bytes + 1 || -diff > 1e-6 * s->peer_bytes + 1)
		r->broken[2]++;
}
