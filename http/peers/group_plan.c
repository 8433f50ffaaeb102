// SPDX-License-Identifier: Apache-2.0
/*
 * group_plan.c -- one grouping: who is first, who is fed by whom, and what that asks of each. What stood in the last run
 * stays while it still is right.
 */
#include <string.h>

#include "http/peers/group_internal.h"

#define RANK_NONE UINT8_MAX
#define RANK_DONE (UINT8_MAX - 1)

struct first {
	uint32_t i, prefix, as, position;
	float weight, score, rtt;
	float spare; /* of the weight, not yet planned */
	uint8_t tier; /* 0: stands; 1: suitable; 2: only when nobody else can */
};

struct plan {
	struct groups *g;
	struct group_viewer *v;
	struct group_sums *sums;
	const uint32_t *member;
	uint32_t number, count, nfirst;
	double served; /* bytes/s that peers carry */
	struct first first[GROUP_SIZE_MAX]; /* candidates; the first nfirst of them are it */
};

static uint32_t candidates(struct plan *p)
{
	const struct groups *g = p->g;
	uint32_t n = 0;

	for (uint32_t k = 0; k < p->count; k++) {
		uint32_t i = p->member[k], at;
		const struct group_viewer *v = &p->v[i];
		struct first f = { .i = i, .prefix = v->prefix, .as = v->as, .position = v->position,
				   .weight = g->weight[i], .rtt = v->rtt_ms < 1000 ? v->rtt_ms : 1000 };

		if (f.weight <= 0)
			continue;
		f.score = f.weight * (v->flags & GROUP_MEASURED ? 1 : 0.5f) / (1 + f.rtt / 500);
		f.tier = v->flags & GROUP_BATTERY_LOW			  ? 2 :
			 group_stands(g, i) && g->seat[g->old_of[i]].role == GROUP_FIRST ? 0 : 1;
		for (at = n++; at; at--) {
			const struct first *o = &p->first[at - 1];

			if (o->tier < f.tier || (o->tier == f.tier && o->score >= f.score))
				break;
			p->first[at] = *o;
		}
		p->first[at] = f;
	}
	return n;
}

/* What k of them, of that weight together, must carry with margin: all demand but what they hold themselves. */
static double need_of(const struct plan *p, double demand, uint32_t k)
{
	uint32_t own = k < p->g->o.copies ? k : p->g->o.copies;

	return p->g->o.margin * demand * (p->count - own) / p->count;
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

/* What the first bring each other: all but their portions, from all in proportion to their weight. */
static void feed_first(struct plan *p)
{
	double weight = 0, asked = 0;

	for (uint32_t k = 0; k < p->nfirst; k++)
		weight += p->first[k].weight;
	for (uint32_t k = 0; k < p->nfirst; k++) {
		const struct first *f = &p->first[k];
		double holds = p->g->o.copies * (double)f->weight / weight, foreign = 0, from;

		if (holds >= 1 || p->nfirst == 1)
			continue;
		holds = (1 - holds) * p->v[f->i].demand;
		asked += holds;
		from = weight - f->weight;
		for (uint32_t j = 0; j < p->nfirst; j++)
			if (f->as && p->first[j].as && p->first[j].as != f->as)
				foreign += p->first[j].weight;
		p->sums->bytes += holds;
		p->sums->crossing += holds * foreign / from;
	}
	p->served += asked;
	asked = asked < weight ? asked / weight : 1;
	for (uint32_t k = 0; k < p->nfirst; k++)
		p->first[k].spare = p->first[k].weight * (float)(1 - asked);
}

static float suits(const struct first *f, const struct group_viewer *v, float share)
{
	float score = f->spare >= share ? 2 : share > 0 ? 2 * f->spare / share : 2;

	score += f->spare / f->weight;
	score += v->as && f->as == v->as ? 1.0f : 0;
	score += f->prefix == v->prefix ? 0.25f : 0;
	score += f->position >= v->position ? (f->position - v->position < 64 ? 0.5f : 0.25f) : 0;
	return score - f->rtt / 2000;
}

static bool chosen(const uint32_t *helper, uint32_t n, uint32_t k)
{
	for (uint32_t h = 0; h < n; h++)
		if (helper[h] == k)
			return true;
	return false;
}

static bool one_prefix(const struct plan *p, const uint32_t *helper, uint32_t n)
{
	for (uint32_t h = 1; h < n; h++)
		if (p->first[helper[h]].prefix != p->first[helper[0]].prefix)
			return false;
	return n > 0;
}

/* The best of the first who is not `self` and not chosen; not_prefix: of the prefix of helper[0] nobody. */
static uint32_t best_first(const struct plan *p, uint32_t self, const uint32_t *helper, uint32_t n, bool not_prefix,
			   float share)
{
	uint32_t best = GROUP_NONE;
	float best_score = 0;

	for (uint32_t k = 0; k < p->nfirst; k++) {
		float score;

		if (p->first[k].i == self || chosen(helper, n, k) ||
		    (not_prefix && p->first[k].prefix == p->first[helper[0]].prefix))
			continue;
		score = suits(&p->first[k], &p->v[self], share);
		if (best == GROUP_NONE || score > best_score) {
			best = k;
			best_score = score;
		}
	}
	return best;
}

/* Those of the last run who are first still, as indices of p->first. One who cannot carry its share is let go when
 * another can. */
static uint32_t keep_helpers(const struct plan *p, uint32_t i, uint32_t *helper, float share)
{
	const struct groups *g = p->g;
	const struct group_seat *seat;
	uint32_t n = 0, other;

	if (!group_stands(g, i))
		return 0;
	seat = &g->seat[g->old_of[i]];
	for (uint32_t h = 0; h < seat->nhelpers && n < GROUP_HELPERS_MAX; h++) {
		uint32_t at = g->new_of[seat->helper[h]];

		if (at == GROUP_NONE || at == i || g->place[at] != p->number || g->rank[at] >= p->nfirst ||
		    p->first[g->rank[at]].i != at)
			continue;
		helper[n++] = g->rank[at];
		if (p->first[g->rank[at]].spare >= 0.5f * share)
			continue;
		other = best_first(p, i, helper, n, false, share);
		n -= other != GROUP_NONE && p->first[other].spare >= share;
	}
	return n;
}

/* Fills up to `want`, at least one of another prefix when there is one; how many. */
static uint32_t fill_helpers(const struct plan *p, uint32_t self, uint32_t *helper, uint32_t n, uint32_t want, float share)
{
	uint32_t k;

	n = n < want ? n : want;
	if (n == want && want >= 2 && one_prefix(p, helper, n)) {
		k = best_first(p, self, helper, n, true, share);
		if (k != GROUP_NONE)
			helper[n - 1] = k;
	}
	while (n < want) {
		k = n && n + 1 == want && one_prefix(p, helper, n) ? best_first(p, self, helper, n, true, share) :
								    GROUP_NONE;
		if (k == GROUP_NONE)
			k = best_first(p, self, helper, n, false, share);
		if (k == GROUP_NONE)
			break;
		helper[n++] = k;
	}
	return n;
}

/* Shares the demand among the helpers as far as they have spare; more helpers when these have not enough. */
static uint32_t feed(struct plan *p, uint32_t i, uint32_t *helper, uint32_t n)
{
	float left = p->v[i].demand;

	for (uint32_t round = 0, h = 0; left > 0 && round < 2; round++)
		for (h = 0; h < n && left > 0; h++) {
			struct first *f = &p->first[helper[h]];
			float give = round ? left : p->v[i].demand / (float)n;

			give = give < f->spare ? give : f->spare;
			give = give < left ? give : left;
			f->spare -= give;
			left -= give;
			p->sums->bytes += give;
			if (f->as && p->v[i].as && f->as != p->v[i].as)
				p->sums->crossing += give;
		}
	while (left > 0.001f * p->v[i].demand && n < GROUP_HELPERS_MAX && n < p->nfirst) {
		uint32_t k = best_first(p, i, helper, n, false, left);
		struct first *f = k == GROUP_NONE ? NULL : &p->first[k];
		float give = !f ? 0 : left < f->spare ? left : f->spare;

		if (give <= 0)
			break;
		f->spare -= give;
		left -= give;
		helper[n++] = k;
		p->sums->bytes += give;
		if (f->as && p->v[i].as && f->as != p->v[i].as)
			p->sums->crossing += give;
	}
	p->served += p->v[i].demand;
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

static void finish_first(struct plan *p)
{
	uint32_t want = p->g->o.helpers < p->nfirst - 1 ? p->g->o.helpers : p->nfirst - 1;

	for (uint32_t k = 0; k < p->nfirst; k++) {
		uint32_t i = p->first[k].i, helper[GROUP_HELPERS_MAX], n;

		n = keep_helpers(p, i, helper, 0);
		n = fill_helpers(p, i, helper, n, n > want ? n : want, 0);
		write_out(p, i, GROUP_FIRST, helper, n);
		p->v[i].load = p->first[k].weight - p->first[k].spare;
	}
}

void group_plan(struct groups *g, struct group_viewer *v, uint32_t slot, struct group_sums *sums)
{
	struct group_slot *s = &g->slot[slot];
	struct plan p = { .g = g, .v = v, .sums = sums, .member = g->member + s->start, .number = slot, .count = s->count };
	double demand = 0, weight = 0;

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
