// SPDX-License-Identifier: Apache-2.0
/*
 * group_plan.c -- one grouping: who is first, who is fed by whom, and what that asks of each. What stood in the last run
 * stays while it still is right.
 */
#include <string.h>

#include "http/peers/group_internal.h"

#define RANK_NONE UINT8_MAX
#define RANK_DONE (UINT8_MAX - 1)

/* Four at once, as every machine of today can; comparisons give all bits. */
typedef float floats __attribute__((vector_size(16)));
typedef uint32_t words __attribute__((vector_size(16)));
typedef int32_t truths __attribute__((vector_size(16)));
#define LANES ((uint32_t)(sizeof(floats) / sizeof(float)))

struct first {
	uint32_t i, prefix, as;
	float weight, per_weight; /* and its reciprocal */
	uint8_t tier;		  /* 0: stands; 1: suitable; 2: only when nobody else can */
};

union column {
	float f[GROUP_SIZE_MAX];
	uint32_t u[GROUP_SIZE_MAX];
	floats fs[GROUP_SIZE_MAX / sizeof(floats) * sizeof(float)];
	words us[GROUP_SIZE_MAX / sizeof(words) * sizeof(uint32_t)];
};

struct plan {
	struct groups *g;
	struct group_viewer *v;
	struct group_sums *sums;
	const uint32_t *member;
	uint32_t number, count, nfirst;
	double served;	/* bytes/s that peers carry */
	bool mixed;	/* the first are of more than one prefix */
	bool one_as;	/* … of one AS alone */
	struct first first[GROUP_SIZE_MAX]; /* candidates; the first nfirst of them are it */
	/* What choosing among them looks at, by columns, filled up to whole vectors with what nobody would choose. */
	union column spare; /* of the weight, not yet planned */
	union column base;  /* what makes it suit anybody: spare as a share, little delay */
	union column prefix, as, position;
};

static float delay(const struct group_viewer *v)
{
	return v->rtt_ms > 0 ? v->rtt_ms < 1000 ? v->rtt_ms : 1000 : 0;
}

/* All who may help, the most suitable first: by tier, then by score. How many. */
static uint32_t candidates(struct plan *p)
{
	const struct groups *g = p->g;
	uint64_t keys[GROUP_SIZE_MAX];
	uint32_t n = 0, at;

	for (uint32_t k = 0; k < p->count; k++) {
		uint32_t i = p->member[k], bits;
		const struct group_viewer *v = &p->v[i];
		float score = g->weight[i] * (v->flags & GROUP_MEASURED ? 1 : 0.5f) / (1 + delay(v) / 500);
		uint64_t key, tier = 1;

		if (g->weight[i] <= 0)
			continue;
		if (v->flags & GROUP_BATTERY_LOW)
			tier = 2;
		else if (group_stands(g, i) && g->seat[g->old_of[i]].role == GROUP_FIRST)
			tier = 0;
		memcpy(&bits, &score, sizeof(bits)); /* of numbers above 0 these sort as the numbers do */
		key = tier << 48 | (uint64_t)(UINT32_MAX - bits) << 8 | k;
		for (at = n++; at && keys[at - 1] > key; at--)
			keys[at] = keys[at - 1];
		keys[at] = key;
	}
	for (at = 0; at < n; at++) {
		uint32_t i = p->member[keys[at] & 0xff];
		const struct group_viewer *v = &p->v[i];

		p->first[at] = (struct first){ .i = i, .prefix = v->prefix, .as = v->as,
					       .weight = g->weight[i], .per_weight = 1 / g->weight[i],
					       .tier = (uint8_t)(keys[at] >> 48) };
	}
	return n;
}

/* What k of them, of that weight together, must carry with margin: all demand but what they hold themselves. */
static double need_of(const struct plan *p, double demand, uint32_t k)
{
	uint32_t own = k < p->g->o.copies ? k : p->g->o.copies;

	return p->g->o.first_margin * demand * (p->count - own) / p->count;
}

/* Somebody of another prefix among the first, when all are of one and such a candidate is there. */
static void mix_prefixes(struct plan *p, uint32_t n)
{
	struct first other;
	uint32_t at;

	for (uint32_t k = 1; k < p->nfirst; k++)
		if (p->first[k].prefix != p->first[0].prefix)
			return;
	for (at = p->nfirst; at < n && p->first[at].prefix == p->first[0].prefix; at++)
		;
	if (!p->nfirst || at == n)
		return;
	other = p->first[at];
	memmove(&p->first[p->nfirst + 1], &p->first[p->nfirst], (at - p->nfirst) * sizeof(other));
	p->first[p->nfirst++] = other;
}

static void choose_first(struct plan *p, double demand)
{
	uint32_t n = candidates(p), least, k, standing = 0;
	double weight = 0;

	for (k = 0; k < n && p->first[k].tier == 0; k++)
		weight += p->first[k].weight;
	standing = k;
	least = n < 2 ? n : 2;
	if (p->count <= GROUP_SMALL) /* all who may; those low on battery when there are not two others */
		for (least = 0; least < n && (least < 2 || p->first[least].tier < 2); least++)
			;
	/* The standing stay, unless half of them would do. */
	for (k = standing; k > least && weight > 1.5 * need_of(p, demand, k) &&
			   weight - p->first[k - 1].weight > 1.2 * need_of(p, demand, k - 1); k--)
		weight -= p->first[k - 1].weight;
	for (; k < n && (k < least || weight < need_of(p, demand, k)); k++)
		weight += p->first[k].weight;
	p->nfirst = k;
	mix_prefixes(p, n);
}

static void fill_columns(struct plan *p, float spare)
{
	for (uint32_t k = 0; k < p->nfirst; k++) {
		const struct first *f = &p->first[k];
		const struct group_viewer *v = &p->v[f->i];

		p->spare.f[k] = f->weight * spare;
		p->base.f[k] = spare - delay(v) / 2000;
		p->prefix.u[k] = f->prefix;
		p->as.u[k] = f->as ? f->as : GROUP_AS_REST; /* unknown is like nobody's */
		p->position.u[k] = v->position;
		p->mixed |= f->prefix != p->first[0].prefix;
	}
	for (uint32_t k = p->nfirst; k % LANES; k++) {
		p->spare.f[k] = 0;
		p->base.f[k] = -1e9f;
		p->prefix.u[k] = p->as.u[k] = p->position.u[k] = 0;
	}
}

/* Of the weight of the first, how much is of another AS than f's. */
static double foreign_of(const struct plan *p, const struct first *f)
{
	double foreign = 0;

	for (uint32_t j = 0; j < p->nfirst && f->as; j++)
		foreign += p->first[j].as && p->first[j].as != f->as ? p->first[j].weight : 0;
	return foreign;
}

/* What the first bring each other: all but their portions, from all in proportion to their weight. */
static void feed_first(struct plan *p)
{
	double weight = 0, asked = 0;

	p->one_as = true;
	for (uint32_t k = 0; k < p->nfirst; k++) {
		weight += p->first[k].weight;
		p->one_as = p->one_as && p->first[k].as == p->first[0].as;
	}
	for (uint32_t k = 0; k < p->nfirst && p->nfirst > 1; k++) {
		const struct first *f = &p->first[k];
		double gets = 1 - p->g->o.copies * (double)f->weight / weight;

		if (gets <= 0)
			continue;
		gets *= p->v[f->i].demand;
		asked += gets;
		p->sums->bytes += gets;
		if (!p->one_as)
			p->sums->crossing += gets * foreign_of(p, f) / (weight - f->weight);
	}
	p->served += asked;
	fill_columns(p, (float)(1 - (asked < weight ? asked / weight : 1)));
}

/* How well each of the first suits that viewer, who asks for a share of which per_share is the reciprocal (0: for
 * nothing): spare, the same AS and prefix, not behind it, not far ahead. */
static void suits(const struct plan *p, const struct group_viewer *v, float per_share, union column *score)
{
	floats one = { 1, 1, 1, 1 }, always = one * (per_share > 0 ? 0.0f : 1.0f), quarter = one * 0.25f;

	for (uint32_t k = 0; k * LANES < p->nfirst; k++) {
		floats can = p->spare.fs[k] * per_share + always;
		words ahead = p->position.us[k] - v->position;
		truths less = can < one, near = ahead < 64, far = ahead < (uint32_t)1 << 31;
		truths as = p->as.us[k] == v->as, prefix = p->prefix.us[k] == v->prefix;

		can = (floats)(((truths)can & less) | ((truths)one & ~less));
		score->fs[k] = p->base.fs[k] + can + can + (floats)((truths)one & as) +
			       (floats)((truths)quarter & prefix) + (floats)((truths)quarter & far) +
			       (floats)((truths)quarter & near);
	}
}

static bool one_prefix(const struct plan *p, const uint32_t *helper, uint32_t n)
{
	for (uint32_t h = 1; h < n; h++)
		if (p->prefix.u[helper[h]] != p->prefix.u[helper[0]])
			return false;
	return n > 0;
}

/* The scores for `self`, who asks for that share; those of helper[0…n) and its own are too low to be chosen. */
static void score_all(const struct plan *p, uint32_t self, const uint32_t *helper, uint32_t n, float share, union column *score)
{
	suits(p, &p->v[self], share > 0 ? 1 / share : 0, score);
	for (uint32_t h = 0; h < n; h++)
		score->f[helper[h]] = -1e9f;
	if (p->g->rank[self] < p->nfirst)
		score->f[p->g->rank[self]] = -1e9f;
}

/* The `more` best of the first, not the viewer itself and none of helper[0…n), behind those; how many there are then. */
static uint32_t add_best(const struct plan *p, uint32_t self, uint32_t *helper, uint32_t n, uint32_t more, float share)
{
	float best[GROUP_HELPERS_MAX], floor = -1e6f;
	union column score;
	uint32_t got = 0, at;

	score_all(p, self, helper, n, share, &score);
	for (uint32_t k = 0; k < p->nfirst; k++) {
		if (score.f[k] <= floor)
			continue;
		for (at = got < more ? got++ : got - 1; at && best[at - 1] < score.f[k]; at--) {
			best[at] = best[at - 1];
			helper[n + at] = helper[n + at - 1];
		}
		best[at] = score.f[k];
		helper[n + at] = k;
		floor = got == more ? best[got - 1] : floor;
	}
	return n + got;
}

/* The best of another prefix than helper[0]'s; GROUP_NONE. */
static uint32_t best_other(const struct plan *p, uint32_t self, const uint32_t *helper, uint32_t n, float share)
{
	uint32_t best = GROUP_NONE;
	float floor = -1e6f;
	union column score;

	score_all(p, self, helper, n, share, &score);
	for (uint32_t k = 0; k < p->nfirst; k++)
		if (score.f[k] > floor && p->prefix.u[k] != p->prefix.u[helper[0]]) {
			best = k;
			floor = score.f[k];
		}
	return best;
}

/* Those of the last run who are first still, as indices of p->first. One who cannot carry its share is let go when
 * another can. */
static uint32_t keep_helpers(const struct plan *p, uint32_t i, uint32_t *helper, float share)
{
	const struct groups *g = p->g;
	const struct group_seat *seat;
	uint32_t n = 0;

	if (!group_stands(g, i))
		return 0;
	seat = &g->seat[g->old_of[i]];
	for (uint32_t h = 0; h < seat->nhelpers && n < GROUP_HELPERS_MAX; h++) {
		uint32_t at = g->new_of[seat->helper[h]];

		if (at == GROUP_NONE || at == i || g->place[at] != p->number || g->rank[at] >= p->nfirst ||
		    p->first[g->rank[at]].i != at)
			continue;
		helper[n++] = g->rank[at];
		if (p->spare.f[g->rank[at]] >= 0.5f * share)
			continue;
		if (n < GROUP_HELPERS_MAX && add_best(p, i, helper, n, 1, share) > n &&
		    p->spare.f[helper[n]] >= share)
			n--;
	}
	return n;
}

/* Fills up to `want`, at least one of another prefix when there is one; how many. */
static uint32_t fill_helpers(const struct plan *p, uint32_t self, uint32_t *helper, uint32_t n, uint32_t want, float share)
{
	uint32_t other;

	if (n < want)
		n = add_best(p, self, helper, n, want - n, share);
	if (p->mixed && n >= 2 && one_prefix(p, helper, n)) {
		other = best_other(p, self, helper, n, share);
		if (other != GROUP_NONE)
			helper[n - 1] = other;
	}
	return n;
}

/* That much of a first one's spare goes to i, or what there is of it; how much. */
static float give(struct plan *p, uint32_t k, uint32_t i, float bytes)
{
	const struct first *f = &p->first[k];
	uint32_t as = p->v[i].as;

	bytes = bytes < p->spare.f[k] ? bytes : p->spare.f[k];
	p->spare.f[k] -= bytes;
	p->base.f[k] -= bytes * f->per_weight;
	p->sums->bytes += bytes;
	if (f->as && as && f->as != as)
		p->sums->crossing += bytes;
	return bytes;
}

/* Shares the demand among the helpers as far as they have spare; more helpers when these have not enough. */
static uint32_t feed(struct plan *p, uint32_t i, uint32_t *helper, uint32_t n)
{
	float demand = p->v[i].demand, left = demand;

	for (uint32_t h = 0; h < n; h++) {
		float share = demand / (float)n;

		left -= give(p, helper[h], i, share < left ? share : left);
	}
	for (uint32_t h = 0; h < n && left > 0; h++)
		left -= give(p, helper[h], i, left);
	while (left > 0.001f * demand && n < GROUP_HELPERS_MAX && add_best(p, i, helper, n, 1, left) > n &&
	       p->spare.f[helper[n]] > 0)
		left -= give(p, helper[n++], i, left);
	p->served += demand;
	return n;
}

/* Writes what was planned for i, and counts it when it is not as it was. */
static void write_out(struct plan *p, uint32_t i, enum group_role role, const uint32_t *helper, uint32_t n)
{
	struct group_viewer *v = &p->v[i];
	const struct groups *g = p->g;
	const struct group_seat *seat = group_stands(g, i) ? &g->seat[g->old_of[i]] : NULL;
	bool same = seat && seat->role == role && seat->nhelpers == n;

	v->grouping = p->number;
	v->role = role;
	v->nhelpers = (uint8_t)n;
	v->standing = seat != NULL;
	v->load = 0;
	for (uint32_t h = 0; h < GROUP_HELPERS_MAX; h++) {
		v->helper[h] = h < n ? p->first[helper[h]].i : GROUP_NONE;
		same = same && (h >= n || g->new_of[seat->helper[h]] == v->helper[h]);
	}
	p->sums->moved += !same;
	p->sums->first += role == GROUP_FIRST;
	p->sums->second += role == GROUP_SECOND;
	p->sums->alone += role == GROUP_ALONE;
}

static void feed_one(struct plan *p, uint32_t i, uint32_t want, bool whole)
{
	const struct groups *g = p->g;
	uint32_t helper[GROUP_HELPERS_MAX], n;
	float share = p->v[i].demand / (float)want;

	n = keep_helpers(p, i, helper, share);
	if (whole && (n < want || n < g->seat[g->old_of[i]].nhelpers))
		return;
	n = fill_helpers(p, i, helper, n, n > want ? n : want, share);
	n = feed(p, i, helper, n);
	write_out(p, i, GROUP_SECOND, helper, n);
	p->g->rank[i] = RANK_DONE;
}

/* First who lost nobody, so that those who did take nobody's place. */
static void feed_second(struct plan *p)
{
	uint32_t want = p->g->o.helpers < p->nfirst ? p->g->o.helpers : p->nfirst;

	for (uint32_t k = 0; k < p->count; k++)
		if (p->g->rank[p->member[k]] == RANK_NONE && group_stands(p->g, p->member[k]))
			feed_one(p, p->member[k], want, true);
	for (uint32_t k = 0; k < p->count; k++)
		if (p->g->rank[p->member[k]] == RANK_NONE)
			feed_one(p, p->member[k], want, false);
}

/* Fellows who are as good as each other: those behind it on a ring, so that all are asked alike. */
static uint32_t add_ring(const struct plan *p, uint32_t self, uint32_t *helper, uint32_t n, uint32_t want)
{
	for (uint32_t far = 1; far < p->nfirst && n < want; far++) {
		uint32_t k = self + far < p->nfirst ? self + far : self + far - p->nfirst, h;

		for (h = 0; h < n && helper[h] != k; h++)
			;
		if (h == n)
			helper[n++] = k;
	}
	return n;
}

static void finish_first(struct plan *p)
{
	uint32_t want = p->g->o.helpers < p->nfirst - 1 ? p->g->o.helpers : p->nfirst - 1;

	for (uint32_t k = 0; k < p->nfirst; k++) {
		uint32_t i = p->first[k].i, helper[GROUP_HELPERS_MAX], n;

		n = keep_helpers(p, i, helper, 0);
		if (p->one_as)
			n = add_ring(p, k, helper, n, want);
		n = fill_helpers(p, i, helper, n, n > want ? n : want, 0);
		write_out(p, i, GROUP_FIRST, helper, n);
		p->v[i].load = p->first[k].weight - p->spare.f[k];
	}
}

void group_plan(struct groups *g, struct group_viewer *v, uint32_t slot, struct group_sums *sums)
{
	struct group_slot *s = &g->slot[slot];
	double demand = 0, weight = 0;
	struct plan p; /* not cleared: what is not set here, choose_first() sets */

	p.g = g, p.v = v, p.sums = sums;
	p.member = g->member + s->start;
	p.number = slot;
	p.count = s->count;
	p.nfirst = 0;
	p.served = 0;
	p.mixed = false;

	for (uint32_t k = 0; k < p.count; k++) {
		g->rank[p.member[k]] = RANK_NONE;
		demand += v[p.member[k]].demand;
	}
	if (p.count > 1)
		choose_first(&p, demand);
	if (!p.nfirst) {
		for (uint32_t k = 0; k < p.count; k++)
			write_out(&p, p.member[k], GROUP_ALONE, NULL, 0);
		return;
	}
	for (uint32_t k = 0; k < p.nfirst; k++) {
		g->rank[p.first[k].i] = (uint8_t)k;
		weight += p.first[k].weight;
	}
	feed_first(&p);
	feed_second(&p);
	finish_first(&p);
	if (p.served > 0 && (!sums->worst || weight / p.served < sums->worst))
		sums->worst = (float)(weight / p.served);
}
