/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_player.c -- what a player asks for, and of whom.
 *
 * hls.js: one segment after the other from the server while the buffer is below 30 s (maxBufferLength). p2p-media-loader
 * (2.3): segments that begin within the urgent window come from the server, two at once, and from peers when it fails;
 * those within the peers' window from a connected peer who has them, three at once, one on each connection, the faster
 * peers more often; now and then one at random from the server that no connected peer has. A transfer without a byte
 * ends after 2 s (peer) or 3 s (server). With instructions it is the same player with other windows, and the shim's own
 * fetches of portions beside it.
 *
 * Left out, for all policies alike: changes of rendition, seeking, partial segments. A player that stalled goes on when it
 * has the segment; a live one does not jump ahead.
 */
#include <string.h>

#include "http/peers/sim_impl.h"

#define HLSJS_BUFFER_MS 30000

static void evict(struct sim *s, uint32_t i, struct sim_viewer *v)
{
	int64_t old = (v->pos_ms - 15000) / (int64_t)s->opt.segment_ms - 1;

	/* Live: p2p-media-loader drops what lies more than its urgent window behind. */
	for (int64_t n = old; s->opt.live && n >= 0 && n > old - 2; n--)
		if (sim_bit(sim_have(s, i), (uint32_t)n)) {
			sim_bit_clear(sim_have(s, i), (uint32_t)n);
			if (v->uploads)
				s->holders[v->rendition][n]--;
		}
}

static void play_one(struct sim *s, uint32_t i, struct sim_viewer *v)
{
	uint32_t buffer = sim_buffer_ms(s, v), played = 0;

	if (v->play == PLAY_GONE)
		return;
	if (v->play != PLAY_PLAYING && buffer > 0) {
		if (v->play == PLAY_STARTING && v->arrived >= s->from && v->arrived < s->until && s->step - v->arrived <= 40)
			s->began++;
		v->play = PLAY_PLAYING;
	}
	if (v->play == PLAY_PLAYING) {
		played = buffer < SIM_STEP_MS ? buffer : SIM_STEP_MS;
		v->pos_ms += (int32_t)played;
		if (played < SIM_STEP_MS && v->next < s->segments)
			v->play = PLAY_STALLED;
		evict(s, i, v);
	}
	s->played_ms += played;
	if (v->play == PLAY_STARTING)
		return;
	s->watched_all += SIM_STEP_MS;
	if (v->next < s->segments)
		s->stalled_all += SIM_STEP_MS - played;
	if (v->watched && s->step < s->window_end) {
		v->watched_ms += SIM_STEP_MS;
		v->stalled_ms += v->next < s->segments ? SIM_STEP_MS - played : 0;
	}
}

void sim_play(struct sim *s)
{
	for (uint32_t i = 0; i < s->opt.viewers; i++)
		play_one(s, i, &s->v[i]);
}

/* ---- p2p-media-loader ---- */

static bool server_now(const struct sim *s, const struct sim_viewer *v)
{
	return v->w.server && s->step >= v->http_after;
}

static void prune(struct sim *s, uint32_t i, struct sim_viewer *v)
{
	for (uint32_t k = 0; k < v->nconn;)
		if ((v->c[k].closing || s->v[v->c[k].peer].gen != v->c[k].gen) && !v->c[k].busy)
			sim_disconnect(s, i, k);
		else
			k++;
}

static bool gives(const struct sim *s, const struct sim_conn *c)
{
	return !c->closing && sim_connected(s, c) && s->v[c->peer].uploads && s->v[c->peer].cap > 0;
}

/* A connected peer who has it and whose channel is free: at random, weighted by the rate it gave before. */
static int choose(struct sim *s, const struct sim_viewer *v, uint32_t segment)
{
	float w[SIM_CONNS], fastest = 0, sum = 0, u;
	int n = 0, which[SIM_CONNS];

	for (int k = 0; k < v->nconn; k++) {
		const struct sim_conn *c = &v->c[k];

		if (c->busy || !gives(s, c) || !sim_bit(sim_have(s, c->peer), segment))
			continue;
		which[n++] = k;
		fastest = c->rate > fastest ? c->rate : fastest;
	}
	if (n < 2)
		return n ? which[0] : -1;
	for (int k = 0; k < n; k++) {
		float rate = v->c[which[k]].rate, base = fastest > 0 ? fastest * 0.1f : 1;

		sum += w[k] = rate > base ? rate : base;
	}
	u = (float)sim_unit(&s->rnd) * sum;
	for (int k = 0; k < n; k++)
		if ((u -= w[k]) < 0)
			return which[k];
	return which[n - 1];
}

static bool ask_peer(struct sim *s, uint32_t i, uint32_t segment, enum sim_slot slot)
{
	struct sim_viewer *v = &s->v[i];
	int k = choose(s, v, segment);

	if (k < 0 || !sim_start(s, i, slot, segment, v->c[k].peer))
		return false;
	v->c[k].busy = true;
	return true;
}

/* Urgent, and a peer is at it: the player takes it from the server instead when it can. */
static void switch_to_server(struct sim *s, uint32_t i, uint32_t segment)
{
	struct sim_viewer *v = &s->v[i];

	if (!server_now(s, v) || v->http_fails >= 3 || v->n[SLOT_HTTP] >= SIM_HTTP)
		return;
	for (int k = 0; k < SIM_SLOTS; k++)
		if (v->t[k].from < SIM_FREE && v->t[k].segment == segment && v->t[k].slot == SLOT_P2P) {
			sim_abort(s, i, &v->t[k]);
			sim_start(s, i, SLOT_HTTP, segment, SIM_SERVER);
			return;
		}
}

static uint32_t window_end(const struct sim *s, const struct sim_viewer *v, uint32_t seconds)
{
	uint64_t n = ((uint64_t)v->pos_ms + seconds * 1000ull) / s->opt.segment_ms;

	return n < sim_edge(s) ? (uint32_t)n : sim_edge(s);
}

static void urgent(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];
	uint32_t last = window_end(s, v, v->w.high);

	if (!v->w.high && v->play != PLAY_STARTING)
		return;
	for (uint32_t n = v->next; n <= last && n < s->segments; n++) {
		if (sim_bit(sim_have(s, i), n))
			continue;
		if (sim_bit(sim_asked(s, i), n)) {
			switch_to_server(s, i, n);
			continue;
		}
		if (server_now(s, v) && v->http_fails < 3 && sim_start(s, i, SLOT_HTTP, n, SIM_SERVER))
			continue;
		if (ask_peer(s, i, n, SLOT_P2P))
			continue;
		if (server_now(s, v))
			sim_start(s, i, SLOT_HTTP, n, SIM_SERVER);
	}
}

/* What the connected have; idle: only whose channel is free. */
static bool available(const struct sim *s, const struct sim_viewer *v, uint32_t first, uint32_t last, bool idle, uint64_t *out)
{
	bool any = false;

	memset(out + first, 0, (last - first + 1) * sizeof(*out));
	for (int k = 0; k < v->nconn; k++) {
		const uint64_t *have = sim_have(s, v->c[k].peer);

		if (!gives(s, &v->c[k]) || (idle && v->c[k].busy))
			continue;
		any = true;
		for (uint32_t w = first; w <= last; w++)
			out[w] |= have[w];
	}
	return any;
}

/* Bits of word w that lie within first…last. */
static uint64_t word_mask(uint32_t w, uint32_t first, uint32_t last)
{
	uint64_t mask = ~0ull;

	if (w == first / 64)
		mask &= ~0ull << (first % 64);
	if (w == last / 64)
		mask &= ~0ull >> (63 - last % 64);
	return mask;
}

static void from_peers(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];
	uint32_t first = v->next, last = window_end(s, v, v->w.p2p);
	uint64_t can[64];

	if (v->n[SLOT_P2P] >= SIM_P2P || first > last || !v->nconn || !available(s, v, first / 64, last / 64, true, can))
		return;
	for (uint32_t w = first / 64; w <= last / 64; w++) {
		uint64_t want = can[w] & ~sim_have(s, i)[w] & ~sim_asked(s, i)[w] & word_mask(w, first, last);

		for (; want && v->n[SLOT_P2P] < SIM_P2P; want &= want - 1)
			ask_peer(s, i, w * 64 + (uint32_t)__builtin_ctzll(want), SLOT_P2P);
	}
}

static void random_server(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];
	uint32_t first = v->next, last = window_end(s, v, v->w.http), n = 0, list[2 * (SIM_CONNS + 1)];
	uint32_t most = SIM_HTTP * (v->nconn + 1u);
	uint64_t can[64];
	double chance;

	if (s->step < v->random_http)
		return;
	v->random_http = s->step + 4 + sim_below(&s->rnd, 4u * v->nconn + 1);
	if (!v->nconn || first > last || !server_now(s, v) || v->n[SLOT_HTTP] >= SIM_HTTP)
		return;
	available(s, v, first / 64, last / 64, false, can);
	for (uint32_t w = first / 64; w <= last / 64; w++) {
		uint64_t want = ~can[w] & ~sim_have(s, i)[w] & ~sim_asked(s, i)[w] & word_mask(w, first, last);

		for (; want && n < most; want &= want - 1)
			list[n++] = w * 64 + (uint32_t)__builtin_ctzll(want);
	}
	chance = (double)n / (v->nconn + 1);
	for (; n && chance > 0 && v->n[SLOT_HTTP] < SIM_HTTP; chance -= 1) {
		uint32_t k = sim_below(&s->rnd, n);

		if (chance >= 1 || sim_unit(&s->rnd) <= chance)
			sim_start(s, i, SLOT_HTTP, list[k], SIM_SERVER);
		list[k] = list[--n];
	}
}

/* The shim's own fetches: what the instruction says that this one shall hold, in that order. */
static void portions(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];

	for (uint32_t k = 0; k < v->nhold && v->n[SLOT_HOLD] < SIM_HOLD; k++) {
		uint32_t n = v->hold[k] & ~SIM_PEERS_FIRST;

		if (n > sim_edge(s) || sim_bit(sim_have(s, i), n) || sim_bit(sim_asked(s, i), n))
			continue;
		if (!ask_peer(s, i, n, SLOT_HOLD) && !(v->hold[k] & SIM_PEERS_FIRST) && server_now(s, v))
			sim_start(s, i, SLOT_HOLD, n, SIM_SERVER);
	}
}

static void decide_hlsjs(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];

	if (!v->n[SLOT_HTTP] && sim_buffer_ms(s, v) < HLSJS_BUFFER_MS && v->next <= sim_edge(s) && v->next < s->segments &&
	    s->step >= v->http_after)
		sim_start(s, i, SLOT_HTTP, v->next, SIM_SERVER);
}

static void decide_omniscient(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];
	bool soon = s->opt.outage_ms && s->step + SIM_STEPS(60000) >= s->from && s->step < s->until;
	uint32_t last = window_end(s, v, HLSJS_BUFFER_MS / 1000 + (soon ? s->opt.outage_ms / 1000 : 0));

	for (uint32_t n = v->next; n <= last && n < s->segments; n++) {
		if (sim_bit(sim_have(s, i), n) || sim_bit(sim_asked(s, i), n))
			continue;
		if (s->holders[v->rendition][n])
			sim_start(s, i, SLOT_P2P, n, SIM_POOL);
		else if ((s->opt.live ? s->fetching[v->rendition][n] < 4 && v->uploads && v->down > 2e6f :
					!s->fetching[v->rendition][n] || n < v->next + 2u) && s->step >= v->http_after)
			sim_start(s, i, SLOT_HTTP, n, SIM_SERVER);
	}
}

static void decide_one(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];

	if (s->opt.policy == SIM_CLIENT_SERVER) {
		decide_hlsjs(s, i);
		return;
	}
	if (s->opt.policy == SIM_OMNISCIENT) {
		decide_omniscient(s, i);
		return;
	}
	prune(s, i, v);
	urgent(s, i);
	from_peers(s, i);
	if (v->w.http)
		random_server(s, i);
	if (v->nhold)
		portions(s, i);
}

/* At every event of its own, and twice a second (announcements of others, the position). */
void sim_decide(struct sim *s)
{
	for (uint32_t i = 0; i < s->opt.viewers; i++)
		if (s->v[i].decide <= s->step && s->v[i].play != PLAY_GONE) {
			s->v[i].decide = s->step + 2;
			decide_one(s, i);
		}
}
