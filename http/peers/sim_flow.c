/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_flow.c -- bytes of one step: what each transfer gets, which segments arrive whole, which transfers die.
 *
 * A sender's rate is divided evenly among its transfers, so is a receiver's, and the smaller counts; what one end leaves
 * over is not given to another (somewhat less than TCP would move, never more than a link can). The server (and the pool
 * of the omniscient bound) is divided max-min fair: by a histogram of what transfers could take.
 */
#include <math.h>
#include <string.h>

#include "http/peers/sim_impl.h"

#define DEAD_P2P  8  /* steps without a byte: p2pNotReceivingBytesTimeoutMs 2000 */
#define DEAD_HTTP 12 /* httpNotReceivingBytesTimeoutMs 3000 */
#define BINS	  512

static struct sim_transfer *slot_free(struct sim_viewer *v)
{
	for (int k = 0; k < SIM_SLOTS; k++)
		if (v->t[k].from == SIM_FREE)
			return &v->t[k];
	return NULL;
}

bool sim_start(struct sim *s, uint32_t i, enum sim_slot slot, uint32_t segment, uint32_t from)
{
	static const uint8_t most[] = { SIM_HTTP, SIM_P2P, SIM_HOLD };
	struct sim_viewer *v = &s->v[i];
	struct sim_transfer *t = v->n[slot] < most[slot] ? slot_free(v) : NULL;

	if (!t)
		return false;
	*t = (struct sim_transfer){ .from = from, .left = s->bytes[v->rendition][segment], .segment = (uint16_t)segment,
				    .slot = (uint8_t)slot, .begun = s->step };
	if (v->part_left > 0 && v->part == segment && s->opt.policy != SIM_CLIENT_SERVER) {
		t->left = v->part_left;
		v->part_left = 0;
	}
	v->n[slot]++;
	sim_bit_set(sim_asked(s, i), segment);
	if (from == SIM_SERVER) {
		s->fetching[v->rendition][segment]++;
	} else if (from != SIM_POOL) {
		if (s->opt.check && !sim_bit(sim_have(s, from), segment))
			s->r.broken[1]++;
		t->gen = s->v[from].gen;
		s->v[from].nup++;
	}
	return true;
}

static void conn_free(struct sim_viewer *v, const struct sim_transfer *t, float rate)
{
	for (int k = 0; k < v->nconn; k++)
		if (v->c[k].peer == t->from && v->c[k].gen == t->gen) {
			v->c[k].busy = false;
			if (rate >= 0)
				v->c[k].rate = v->c[k].rate > 0 ? v->c[k].rate * 0.7f + rate * 0.3f : rate;
			return;
		}
}

/* rate: bytes/s that it had, negative when it failed. */
static void transfer_end(struct sim *s, uint32_t i, struct sim_transfer *t, float rate)
{
	struct sim_viewer *v = &s->v[i];

	sim_bit_clear(sim_asked(s, i), t->segment);
	v->n[t->slot]--;
	if (t->from == SIM_SERVER) {
		s->fetching[v->rendition][t->segment]--;
	} else if (t->from != SIM_POOL) {
		if (s->v[t->from].gen == t->gen && s->v[t->from].nup)
			s->v[t->from].nup--;
		conn_free(v, t, rate);
	}
	t->from = SIM_FREE;
}

void sim_abort(struct sim *s, uint32_t i, struct sim_transfer *t)
{
	struct sim_viewer *v = &s->v[i];

	if (t->segment == v->next || v->part_left <= 0) { /* one is remembered: rather the next to be played */
		v->part = t->segment;
		v->part_left = t->left;
	}
	transfer_end(s, i, t, -1);
}

void sim_abort_all(struct sim *s, uint32_t i)
{
	for (int k = 0; k < SIM_SLOTS; k++)
		if (s->v[i].t[k].from != SIM_FREE)
			sim_abort(s, i, &s->v[i].t[k]);
}

void sim_connect(struct sim *s, uint32_t i, uint32_t peer, uint32_t after_ms)
{
	struct sim_viewer *v = &s->v[i], *p = &s->v[peer];

	if (i == peer || v->nconn >= SIM_CONNS)
		return;
	for (int k = 0; k < v->nconn; k++)
		if (v->c[k].peer == peer && v->c[k].gen == p->gen)
			return;
	/* Offer and answer by the tracker, then ICE, DTLS, SCTP: nine round trips between them, and 200 ms of computing. */
	v->c[v->nconn++] = (struct sim_conn){ .peer = peer, .gen = p->gen,
		.ready = s->step + SIM_STEPS(after_ms + 200 + (uint32_t)(9 * (v->rtt_ms + p->rtt_ms) / 2)) };
}

bool sim_connected(const struct sim *s, const struct sim_conn *c)
{
	return c->ready <= s->step && s->v[c->peer].gen == c->gen;
}

void sim_disconnect(struct sim *s, uint32_t i, uint32_t k)
{
	struct sim_viewer *v = &s->v[i];

	for (int n = 0; v->c[k].busy && n < SIM_SLOTS; n++)
		if (v->t[n].from == v->c[k].peer && v->t[n].gen == v->c[k].gen)
			sim_abort(s, i, &v->t[n]);
	v->c[k] = v->c[--v->nconn];
}

static double share_down(const struct sim_viewer *v)
{
	unsigned int n = (unsigned int)v->n[0] + v->n[1] + v->n[2];

	return n ? v->down * (SIM_STEP_MS / 1000.0) / n : 0;
}

/* Max-min: the level at which all transfers from a common source together take what it can give in this step. */
static double level(const uint32_t count[BINS], const double sum[BINS], double can)
{
	uint64_t flows = 0;

	for (int b = 0; b < BINS; b++)
		flows += count[b];
	for (int b = 0; b < BINS && flows; b++) {
		if (!count[b])
			continue;
		if (sum[b] / count[b] * flows >= can) /* those of this bin and above share what is left */
			return can / flows;
		can -= sum[b];
		flows -= count[b];
	}
	return 1e18;
}

static void levels(struct sim *s, double server, double pool)
{
	static _Thread_local uint32_t count[2][BINS];
	static _Thread_local double sum[2][BINS];

	memset(count, 0, sizeof(count));
	memset(sum, 0, sizeof(sum));
	for (uint32_t i = 0; i < s->opt.viewers; i++) {
		const struct sim_viewer *v = &s->v[i];
		double can = share_down(v);
		int b = can > 1 ? (int)(log2(can) * 16) : 0;

		for (int k = 0; can > 0 && k < SIM_SLOTS; k++)
			if (v->t[k].from == SIM_SERVER || v->t[k].from == SIM_POOL) {
				int which = v->t[k].from == SIM_POOL;

				count[which][b < BINS ? b : BINS - 1]++;
				sum[which][b < BINS ? b : BINS - 1] += can;
			}
	}
	s->level_server = level(count[0], sum[0], server);
	s->level_pool = level(count[1], sum[1], pool);
}

static void received(struct sim *s, uint32_t i, const struct sim_transfer *t, double bytes)
{
	struct sim_viewer *v = &s->v[i];

	v->received += (float)bytes;
	if (t->from == SIM_SERVER) {
		s->server_bytes += bytes;
		s->now.server += (float)bytes;
		return;
	}
	s->peer_bytes += bytes;
	s->now.peers += (float)bytes;
	if (t->from == SIM_POOL) {
		s->up_bytes += bytes;
		s->as_want[v->as - 1] += bytes;
		return;
	}
	s->v[t->from].sent += (float)bytes;
	s->v[t->from].burst += (float)bytes;
	if (s->v[t->from].as != v->as) {
		s->cross_bytes += bytes;
		s->now.cross += (float)bytes;
	}
}

static void arrived(struct sim *s, uint32_t i, struct sim_transfer *t)
{
	struct sim_viewer *v = &s->v[i];
	uint32_t n = t->segment, from = t->from, steps = s->step + 1 - t->begun;
	float rate = s->bytes[v->rendition][n] / (float)(steps * SIM_STEP_MS / 1000.0);

	if (from == SIM_SERVER)
		v->http_fails = 0;
	transfer_end(s, i, t, rate);
	if (!sim_bit(sim_have(s, i), n)) {
		sim_bit_set(sim_have(s, i), n);
		if (v->uploads)
			s->holders[v->rendition][n]++;
	}
	while (v->next < s->segments && sim_bit(sim_have(s, i), v->next))
		v->next++;
	v->decide = s->step; /* what is free is used at once */
}

/* A transfer that gets nothing: its sender is gone, or the server is. */
static void starved(struct sim *s, uint32_t i, struct sim_transfer *t)
{
	struct sim_viewer *v = &s->v[i];
	bool peer = t->from != SIM_SERVER && t->from != SIM_POOL;

	if (++t->idle < (peer ? DEAD_P2P : DEAD_HTTP))
		return;
	if (t->from == SIM_SERVER) {
		/* httpErrorRetries 3; after that the player's own loader tries again, each time later (hls.js: 1 to 8 s). */
		v->http_fails += v->http_fails < 8;
		v->http_after = s->step + (v->http_fails < 3 ? 1u : v->http_fails < 6 ? 8u : 32u);
		if (v->report > s->step + 1)
			v->report = s->step + 1; /* a failure is told at once */
	}
	sim_abort(s, i, t);
	v->decide = s->step;
}

static void transfer_move(struct sim *s, uint32_t i, struct sim_transfer *t, double down)
{
	double can = down;

	if (t->begun == s->step) /* a round trip until the first byte */
		return;
	if (t->from == SIM_SERVER) {
		can = fmin(can, s->level_server);
	} else if (t->from == SIM_POOL) {
		can = fmin(can, s->level_pool);
	} else if (s->v[t->from].gen != t->gen) {
		/* Closed: known at once. A sender who went without a word: when nothing came for two seconds. */
		if (t->idle == 0 && s->v[t->from].play != PLAY_GONE)
			t->idle = DEAD_P2P;
		can = 0;
	} else {
		can = fmin(can, s->share[t->from]);
	}
	if (can < 1) {
		starved(s, i, t);
		return;
	}
	t->idle = 0;
	if (can >= t->left) {
		received(s, i, t, t->left);
		arrived(s, i, t);
	} else {
		t->left -= (float)can;
		received(s, i, t, can);
	}
}

static void senders(struct sim *s)
{
	const double dt = SIM_STEP_MS / 1000.0;

	s->pool = 0;
	for (uint32_t i = 0; i < s->opt.viewers; i++) {
		struct sim_viewer *v = &s->v[i];

		s->share[i] = v->nup ? (float)(v->cap * dt / v->nup) : 0;
		v->burst = 0;
		if (v->uploads)
			s->pool += v->up * dt;
	}
}

/* Bytes of the pool that had to cross: what an AS wanted above what it has. */
static void pool_cross(struct sim *s)
{
	memset(s->as_up, 0, s->nas * sizeof(*s->as_up));
	for (uint32_t i = 0; i < s->opt.viewers; i++)
		if (s->v[i].uploads)
			s->as_up[s->v[i].as - 1] += s->v[i].up * (SIM_STEP_MS / 1000.0);
	for (uint32_t a = 0; a < s->nas; a++) {
		double over = fmax(0, s->as_want[a] - s->as_up[a]);

		s->cross_bytes += over;
		s->now.cross += (float)over;
		s->as_want[a] = 0;
	}
}

static void settle(struct sim *s)
{
	for (uint32_t i = 0; i < s->opt.viewers; i++) {
		const struct sim_viewer *v = &s->v[i];

		s->up_bytes += v->burst;
		if (s->opt.check && v->burst > v->cap * (SIM_STEP_MS / 1000.0) * 1.001 + 1)
			s->r.broken[0]++;
	}
	if (s->opt.policy == SIM_OMNISCIENT)
		pool_cross(s);
}

void sim_flow(struct sim *s)
{
	const double dt = SIM_STEP_MS / 1000.0;

	senders(s);
	levels(s, s->capacity * (sim_outage(s) ? s->opt.capacity_left : 1) * dt, s->pool);
	for (uint32_t i = 0; i < s->opt.viewers; i++) {
		struct sim_viewer *v = &s->v[i];
		double down = share_down(v);

		for (int k = 0; down > 0 && k < SIM_SLOTS; k++)
			if (v->t[k].from != SIM_FREE)
				transfer_move(s, i, &v->t[k], down);
	}
	settle(s);
}
