/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_plan.c -- from groupings to instructions: what each helper holds (group_holders() over what is rare), from whom each
 * receives (its helpers, and who else of the first group has what it wants: supply.h), with which windows.
 */
#include <stdlib.h>
#include <string.h>

#include "http/peers/sim_weir.h"
#include "http/peers/supply.h"

#define FROM_MAX  GROUP_HELPERS_MAX	/* data channels that one receives over */
#define LIVE_AHEAD  3	/* segments */
#define LIVE_COPIES 6	/* of each segment, to begin with: it has seconds to reach all */
#define LIVE_DIRECT 2	/* … from the server: what one with 5 % of its capacity can give each grouping */
#define NEXT	   8	/* holders asked when those before them have as much to fetch as one instruction names */
#define HUNGRY_MS 16000 /* of buffer */
#define CONNECT_MS 3000 /* from one's choice until the channel is open, by far the most */

static int by_grouping(struct sim *s)
{
	struct sim_weir *w = s->weir;
	uint32_t most = 0, n = s->opt.viewers, sum = 0;

	for (uint32_t i = 0; i < n; i++)
		if (w->gv[i].grouping != GROUP_NONE && w->gv[i].grouping >= most)
			most = w->gv[i].grouping + 1;
	if (most + 2 > w->nstart) {
		uint32_t *more = realloc(w->start, (most + 2) * 2 * sizeof(*more));

		if (!more)
			return -ENOMEM;
		w->start = more;
		w->nstart = (most + 2) * 2;
	}
	memset(w->start, 0, (most + 2) * sizeof(*w->start));
	for (uint32_t i = 0; i < n; i++)
		if (w->gv[i].grouping != GROUP_NONE)
			w->start[w->gv[i].grouping + 1]++;
	for (uint32_t g = 0; g <= most; g++) {
		sum += w->start[g];
		w->start[g] = sum;
	}
	/* start[g] is where grouping g begins; filling moves it to its end, so that start[g - 1] is where g begins then. */
	for (uint32_t i = 0; i < n; i++)
		if (w->gv[i].grouping != GROUP_NONE)
			w->order[w->start[w->gv[i].grouping]++] = i;
	w->groupings = most;
	return (int)most;
}

struct plan {
	struct sim *s;
	const uint32_t *who; /* members: places */
	size_t n;
	struct supply_member m[SUPPLY_MEMBERS_MAX];
	struct sim_instruction out[SUPPLY_MEMBERS_MAX];
	uint64_t wanted[SUPPLY_MEMBERS_MAX][SUPPLY_WORDS_MAX]; /* portions that it shall get from peers */
};
static _Thread_local struct plan plan; /* 1 MB: not on the stack */

static uint32_t copies_of(const struct sim *s)
{
	return s->opt.live && s->opt.copies < LIVE_COPIES ? LIVE_COPIES : s->opt.copies;
}

static struct sim_windows windows(const struct sim *s, uint8_t role, enum sense_state state)
{
	/* Live, peers are given time until the last moment: a segment is on its way from one to the next. */
	struct sim_windows w = { .high = s->opt.live ? 2 : 8, .p2p = (uint16_t)(s->opt.window_ms / 1000), .server = true };

	if (role == GROUP_ALONE) {
		w.high = 30;
	} else if (state == SENSE_OUTAGE || (state == SENSE_STRAINED && role == GROUP_SECOND)) {
		w.high = 0;
		w.server = false;
	} else if (state == SENSE_STRAINED && s->opt.live) {
		w.high = 0; /* portions alone: all the first group at once would be too much for what is left */
	}
	return w;
}

/* Of those whom it was told to receive from, all or all but one are gone. */
static bool orphaned(const struct sim *s, uint32_t i)
{
	const struct sim_instruction *last = &s->weir->last[i];
	int alive = 0;

	for (int k = 0; k < last->nfrom; k++)
		alive += s->v[last->from[k].peer].gen == last->from[k].gen;
	return alive < last->nfrom && alive < 2;
}

static void members(struct plan *p)
{
	const struct sim *s = p->s;
	/* Of a live stream, who fetches what is not there yet is said before it is. */
	uint32_t edge = sim_edge(s) + (s->opt.live ? LIVE_AHEAD : 0);

	for (size_t k = 0; k < p->n; k++) {
		uint32_t i = p->who[k];
		const struct group_viewer *g = &s->weir->gv[i];
		uint32_t last = g->position + s->opt.ahead_ms / s->opt.segment_ms;

		p->m[k] = (struct supply_member){ .have = s->weir->told + (size_t)i * s->words, .as = g->as,
			.cap = g->role == GROUP_FIRST ? g->cap : 0, .demand = g->demand, .near = s->weir->sense.state == SENSE_CALM,
			.position = g->position, .last = last < edge ? last : edge };
		if (orphaned(s, i))
			s->weir->orphan[i] = s->step;
		p->out[k] = (struct sim_instruction){ .role = g->role, .state = (uint8_t)s->weir->sense.state,
			.w = windows(s, g->role, s->weir->sense.state), .cap = g->role == GROUP_FIRST ? g->cap : 0 };
		/* Nobody knows what it can: it is tried out, as if it could carry one; whom nobody asks is never measured. */
		if (g->role == GROUP_FIRST && !(g->flags & GROUP_MEASURED)) {
			p->out[k].cap = s->v[i].up * 0.8f;
			p->m[k].cap = g->cap > g->demand ? g->cap : g->demand;
		}
		memset(p->wanted[k], 0, s->words * sizeof(uint64_t));
		/* What it was told to hold, and to take from others, it still wants of them. */
		for (int h = 0; h < s->weir->last[i].nhold; h++) {
			uint32_t segment = s->weir->last[i].hold[h] & ~SIM_PEERS_FIRST;

			if (s->weir->last[i].hold[h] & SIM_PEERS_FIRST && !sim_bit(p->m[k].have, segment))
				sim_bit_set(p->wanted[k], segment);
		}
	}
}

/* False: it has its hands full. */
static bool hold_add(struct plan *p, size_t k, uint32_t segment, bool peers_first)
{
	struct sim_instruction *o = &p->out[k];

	if (sim_bit(p->m[k].have, segment))
		return true;
	if (o->nhold >= SIM_HOLDS)
		return false;
	o->hold[o->nhold++] = (uint16_t)(segment | (peers_first ? SIM_PEERS_FIRST : 0));
	return true;
}

static size_t holders_of(const struct plan *p, struct group_holder *h, uint32_t *at)
{
	size_t n = 0;

	for (size_t k = 0; k < p->n; k++)
		if (supply_shares(&p->m[k])) {
			h[n] = (struct group_holder){ p->s->weir->gv[p->who[k]].id, p->m[k].cap };
			at[n++] = (uint32_t)k;
		}
	return n;
}

/*
 * Live, all play the same and wait for what is newest, so what counts is how many steps it takes to all: it begins with those
 * of the largest uplinks, each time the same, whom others are connected with already. By rendezvous, as films are dealt out,
 * each segment begins elsewhere, with uplinks on the way that take longer for it than it plays. (The daemon deals out lists
 * that are whole, films; of a live asset it does not know what will be there.)
 */
static size_t strongest(const struct group_holder *h, size_t n, size_t most, uint32_t *out)
{
	size_t got = 0, at;

	for (size_t i = 0; i < n; i++) {
		for (at = got; at && h[out[at - 1]].weight < h[i].weight; at--)
			if (at < most)
				out[at] = out[at - 1];
		if (at < most)
			out[at] = (uint32_t)i;
		got += got < most;
	}
	return got;
}

/* What is rare goes to those whose turn it is by rendezvous. The first of them takes what nobody has, and what those who
 * have it cannot carry, from the server (live, the first two); the others, from who has it. */
static void portions(struct plan *p, const uint64_t *rare, const uint64_t *none, const uint64_t *lacking)
{
	struct group_holder h[SUPPLY_MEMBERS_MAX];
	uint32_t at[SUPPLY_MEMBERS_MAX], got[16];
	uint64_t asset = p->s->weir->gv[p->who[0]].asset;
	bool live = p->s->opt.live;
	size_t n = holders_of(p, h, at), direct = live ? LIVE_DIRECT : 1;

	for (int pass = 0; pass < 3; pass++) /* the rarest first */
		for (uint32_t w = 0; n && w < p->s->words; w++) {
			uint64_t left = pass == 0 ? none[w] : pass == 1 ? lacking[w] & ~none[w] : rare[w] & ~lacking[w] & ~none[w];

			for (; left; left &= left - 1) {
				uint32_t segment = w * 64 + (uint32_t)__builtin_ctzll(left);
				/* Whose hands are full leaves it to the next. */
				size_t c = 0, copies, most = live ? strongest(h, n, copies_of(p->s), got)
								  : group_holders(h, n, asset, segment, copies_of(p->s) + NEXT, got);

				while (pass == 1 && c < most && sim_bit(p->m[at[got[c]]].have, segment))
					c++;
				copies = c;
				for (size_t first = c; c < most && copies < copies_of(p->s); c++)
					copies += hold_add(p, at[got[c]], segment, pass == 2 || copies >= first + direct);
			}
		}
}

static size_t member_of(const struct plan *p, uint32_t i)
{
	for (size_t k = 0; k < p->n; k++)
		if (p->who[k] == i)
			return k;
	return p->n;
}

/* It was told a moment ago whom to receive from, having lost others. */
static bool settles(const struct sim *s, uint32_t i)
{
	return s->weir->orphan[i] && s->step - s->weir->orphan[i] < SIM_STEPS(CONNECT_MS);
}

static void sources(struct plan *p, size_t k, uint64_t *lacking)
{
	struct sim *s = p->s;
	uint32_t i = p->who[k], out[SIM_CONNS], now[SIM_CONNS + GROUP_HELPERS_MAX];
	const struct group_viewer *g = &s->weir->gv[i];
	const struct sim_instruction *last = &s->weir->last[i];
	size_t n = 0, nnow = 0;
	uint32_t to = g->position + s->opt.ahead_ms / s->opt.segment_ms;
	uint64_t mine[SUPPLY_WORDS_MAX];
	bool firm = settles(s, i);

	/* Live: whoever had the last ones will have the next, and all want the same. */
	for (uint32_t seg = g->position; s->opt.live && seg + 4 > g->position && seg > 0; seg--)
		sim_bit_set(p->wanted[k], seg);
	for (uint32_t seg = g->position; !s->opt.live && seg <= to && seg <= sim_edge(s); seg++)
		if (!sim_bit(p->m[k].have, seg))
			sim_bit_set(p->wanted[k], seg);
	for (int c = 0; c < last->nfrom; c++)
		if (s->v[last->from[c].peer].gen == last->from[c].gen)
			now[nnow++] = (uint32_t)member_of(p, last->from[c].peer) | (firm ? SUPPLY_FIRM : 0);
	for (int h = 0; h < g->nhelpers; h++)
		now[nnow++] = (uint32_t)member_of(p, g->helper[h]);
	n = supply_sources(p->m, p->n, k, p->wanted[k], s->words, now, nnow, out, FROM_MAX, mine);
	if (s->opt.helpers_only)
		for (n = 0; n < g->nhelpers; n++)
			out[n] = (uint32_t)member_of(p, g->helper[n]) < p->n ? (uint32_t)member_of(p, g->helper[n]) : (uint32_t)k;
	for (uint32_t w = 0; w < s->words; w++)
		lacking[w] |= s->opt.live ? 0 : mine[w];
	for (size_t c = 0; c < n; c++) {
		uint32_t peer = p->who[out[c]];

		p->out[k].from[c].peer = peer;
		p->out[k].from[c].gen = s->v[peer].gen;
	}
	p->out[k].nfrom = (uint8_t)n;
}

/* Who lost those it received from chooses first, and again until it can be connected with whom it got; then whose buffer
 * runs low, then who is farthest: he has the fewest to choose from. */
static uint32_t turn(const struct plan *p, size_t k)
{
	uint32_t i = p->who[k], position = p->m[k].position;

	if (settles(p->s, i))
		return UINT32_MAX / 4 * 3 + position;
	return position + (p->s->weir->gv[i].buffer_ms < HUNGRY_MS ? UINT32_MAX / 2 : 0);
}

/* Insertion: groupings are small, and nearly sorted. */
static void in_turn(const struct plan *p, uint16_t *order)
{
	for (size_t k = 0; k < p->n; k++) {
		size_t at = k;

		for (; at && turn(p, order[at - 1]) < turn(p, k); at--)
			order[at] = order[at - 1];
		order[at] = (uint16_t)k;
	}
}

static void plan_one(struct sim *s, const uint32_t *who, size_t n)
{
	struct plan *p = &plan;
	static _Thread_local uint16_t order[SUPPLY_MEMBERS_MAX];
	uint64_t rare[SUPPLY_WORDS_MAX], none[SUPPLY_WORDS_MAX], lacking[SUPPLY_WORDS_MAX];

	p->s = s;
	p->who = who;
	p->n = n < SUPPLY_MEMBERS_MAX ? n : SUPPLY_MEMBERS_MAX;
	members(p);
	in_turn(p, order);
	supply_rare(p->m, p->n, s->words, copies_of(s), rare, none);
	memset(lacking, 0, s->words * sizeof(*lacking));
	for (size_t k = 0; k < p->n; k++)
		sources(p, order[k], lacking);
	portions(p, rare, none, lacking);
	for (size_t k = 0; k < p->n; k++) {
		uint32_t i = who[order[k]];

		sim_instruct(s, i, &p->out[order[k]]);
	}
}

/* A grouping is planned every four seconds (two, when the server is not well), and at once when somebody of it moved. */
static bool moved(const struct sim *s, const uint32_t *who, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		const struct group_viewer *g = &s->weir->gv[who[k]];

		if (g->role != s->weir->last[who[k]].role)
			return true;
		for (int h = 0; h < s->weir->last[who[k]].nfrom; h++)
			if (s->v[s->weir->last[who[k]].from[h].peer].gen != s->weir->last[who[k]].from[h].gen)
				return true;
	}
	return false;
}

void sim_plan(struct sim *s)
{
	struct sim_weir *w = s->weir;
	int most = by_grouping(s);
	uint32_t every = w->sense.state == SENSE_CALM && !s->opt.live ? 4 : 2;

	for (uint32_t g = 0; g < (uint32_t)most; g++) {
		uint32_t first = g ? w->start[g - 1] : 0, n = w->start[g] - first;

		if (n && (w->changed || (g + s->step / 4) % every == 0 || moved(s, w->order + first, n)))
			plan_one(s, w->order + first, n);
	}
	/* Who is in no grouping plays as if we were not there. */
	for (uint32_t i = 0; i < s->opt.viewers; i++) {
		struct sim_instruction alone = { .role = GROUP_ALONE, .w = windows(s, GROUP_ALONE, w->sense.state) };

		if (w->gv[i].id != s->v[i].id || w->gv[i].grouping != GROUP_NONE || (w->last[i].role == GROUP_ALONE && w->last[i].w.p2p))
			continue;
		sim_instruct(s, i, &alone);
	}
}
