/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_storm.c -- when a storm of departures is over. It is, when each who lost somebody has again helpers, and each portion
 * again its copies:
 *
 *  - a viewer who had channels to some of those who left is regrouped when channels are open to two living of those whom the
 *    last instruction names (to the one, when it names but one; to none, when it sends him to the server); without
 *    instructions, when he has as many as before;
 *  - a segment that somebody of a grouping who stays will play, that helpers held or fetched in enough copies, and that those
 *    who stay do not, is regrouped when as many helpers hold it or have received the instruction to fetch it (one who had
 *    gone without a word before the storm counts until his silence is noticed). When the bytes are there is counted apart
 *    (restock_ms): that is the uplinks' and the server's time.
 */
#include <stdlib.h>

#include "http/peers/sim_weir.h"

struct sim_lost {
	uint32_t grouping;
	uint16_t segment;
	bool told; /* who shall fetch it has heard so */
};

static uint8_t alive(const struct sim *s, const struct sim_viewer *v)
{
	uint8_t n = 0;

	for (int k = 0; k < v->nconn; k++)
		n += !v->c[k].closing && sim_connected(s, &v->c[k]);
	return n;
}

static bool shares(const struct group_viewer *g)
{
	return g->role == GROUP_FIRST && g->cap > 0 && (g->cap >= g->demand || !(g->flags & GROUP_MEASURED));
}

static bool fetches(const struct sim_viewer *v, uint32_t segment)
{
	for (int k = 0; k < v->nhold; k++)
		if ((v->hold[k] & ~SIM_PEERS_FIRST) == segment)
			return true;
	return false;
}

struct copies {
	uint32_t held, fetched, wanted; /* … by so many who stay */
	uint32_t leaving;		/* held or fetched by those who go now */
	uint32_t ghosts;		/* … by who went without a word before: nobody knows it yet */
};

static struct copies count(const struct sim *s, uint32_t grouping, uint32_t segment)
{
	const struct sim_weir *w = s->weir;
	uint32_t first = grouping ? w->start[grouping - 1] : 0;
	struct copies c = { 0 };

	for (uint32_t k = first; k < w->start[grouping]; k++) {
		uint32_t i = w->order[k];
		const struct group_viewer *g = &w->gv[i];
		const struct sim_viewer *v = &s->v[i];
		bool has, will, ghost = v->play == PLAY_GONE, gone = v->leave <= s->step || ghost;

		if (g->id != v->id || g->grouping != grouping)
			continue;
		has = shares(g) && sim_bit(sim_have(s, i), segment);
		will = shares(g) && !has && fetches(v, segment);
		c.held += has && !gone;
		c.fetched += will && !gone;
		c.leaving += (has || will) && gone && !ghost;
		c.ghosts += (has || will) && ghost;
		c.wanted += !gone && segment >= g->position && segment <= g->position + s->opt.ahead_ms / s->opt.segment_ms;
	}
	return c;
}

static void lose(struct sim *s, uint32_t grouping, uint32_t segment)
{
	struct sim_lost *more;

	if (!(s->nportions & (s->nportions - 1))) {
		more = realloc(s->portions, (s->nportions ? 2 * s->nportions : 1) * sizeof(*more));
		if (!more)
			return;
		s->portions = more;
	}
	s->portions[s->nportions++] = (struct sim_lost){ .grouping = grouping, .segment = (uint16_t)segment };
}

/* Before they go. */
void sim_storm_begin(struct sim *s)
{
	const struct sim_weir *w = s->weir;

	for (uint32_t i = 0; i < s->opt.viewers; i++)
		s->v[i].lost = s->v[i].play == PLAY_PLAYING ? alive(s, &s->v[i]) : 0;
	s->storm_step = s->step;
	for (uint32_t g = 0; w && !s->opt.live && g < w->groupings; g++)
		for (uint32_t n = 0; w->start[g] > (g ? w->start[g - 1] : 0) && n < s->segments; n++) {
			struct copies c = count(s, g, n);
			uint32_t now = c.held + c.fetched + c.ghosts;

			if (c.wanted && now < s->opt.copies && now + c.leaving >= s->opt.copies)
				lose(s, g, n);
		}
	s->portions_lost = s->r.lost_portions = s->nportions;
}

static uint32_t viewers_left(struct sim *s)
{
	uint32_t left = 0;

	for (uint32_t i = 0; i < s->opt.viewers; i++) {
		struct sim_viewer *v = &s->v[i];
		bool good;

		if (!v->lost)
			continue;
		good = s->opt.policy == SIM_WEIR && s->step > s->storm_step ? sim_weir_settled(s, i) : alive(s, v) >= v->lost;
		if (good)
			v->lost = 0;
		left += !good;
	}
	return left;
}

/* Those not told of; restock: those not there. */
static uint32_t portions_left(struct sim *s, uint32_t *restock)
{
	uint32_t left = 0;

	for (uint32_t k = 0; k < s->nportions;) {
		struct sim_lost *p = &s->portions[k];
		struct copies c = p->grouping < s->weir->groupings ? count(s, p->grouping, p->segment) : (struct copies){ 0 };

		p->told |= !c.wanted || c.held + c.fetched + c.ghosts >= s->opt.copies;
		if (!c.wanted || c.held >= s->opt.copies) {
			*p = s->portions[--s->nportions];
			continue;
		}
		left += !p->told;
		k++;
	}
	*restock = s->nportions;
	return left;
}

static void note(double ms[2], bool most, bool all, double now)
{
	if (ms[0] < 0 && most)
		ms[0] = now;
	if (ms[1] < 0 && all)
		ms[1] = now;
}

void sim_storm_progress(struct sim *s)
{
	double now = (double)(s->step - s->storm_step) * SIM_STEP_MS;
	uint32_t restock = 0, left, untold;

	if (!s->storm_step || (s->r.regroup_ms[1] >= 0 && s->r.restock_ms[1] >= 0))
		return;
	left = viewers_left(s);
	untold = portions_left(s, &restock);
	if (s->step == s->storm_step)
		s->lost = s->r.lost = left;
	note(s->r.regroup_ms, left <= s->lost / 100 && untold <= s->portions_lost / 100, !left && !untold, now);
	note(s->r.restock_ms, restock <= s->portions_lost / 100, !restock, now);
}
