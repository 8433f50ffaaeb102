/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c -- weights in, rates out: shares made exact, moves kept within the budget (see publish.h).
 *
 * A tick makes a plan: the new share of each backend, first without the budget (what is gone or
 * failing gives its slots to the others in proportion), then as far towards the wanted shares as
 * the saved budget allows. The plan's rates start from the published ones times share / old share,
 * so that backends whose share only follows the others' keep their slots; then calibrate() corrects
 * those whose number of slots is out of tolerance, by as little as possible.
 */
#include "user/agent/publish.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX   60         /* of calibration; 1,000 backends with 65 slots each need about 15 */
#define RATE_TOP     4294967295.0
#define RATE_LOW     536870912.0        /* the largest rate is kept above: it is exact to 2^-29 */
#define BATCH_S      2.0        /* seconds of budget that a calm change waits for: fewer swaps */
#define DITHER       0.1        /* of a new backend's first rate, see first_rate() */

struct member {
	char name[PUBLISH_NAME_MAX];
	double rate, share;     /* share: intended, the sum is 1 or 0 */
	double want;            /* the sum is 1 or 0 */
	enum publish_urgency urgency;
	uint32_t count;
	uint32_t before;        /* index in the plan's predecessor, or RING_NONE */
};

struct plan {
	struct member *members; /* in the order of names */
	size_t n;
	uint32_t *owner;        /* [slots] index of members, or RING_NONE */
};

struct publish {
	uint32_t slots;
	uint64_t seed, generation;
	double budget, saved;   /* saved: slots that may move now */
	struct ring *ring;
	struct plan now;        /* owner NULL: nothing published yet */
	struct rates *rates;
	uint32_t moved;
};

double publish_tolerance(double slots)
{
	double few = fmin(4, 1 + slots / 20);

	return fmax(slots / 100, few);
}

static void plan_clear(struct plan *plan)
{
	free(plan->members);
	free(plan->owner);
	memset(plan, 0, sizeof(*plan));
}

int publish_new(struct publish **out, uint32_t slots, uint64_t seed, double budget)
{
	struct publish *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	err = ring_new(&p->ring, slots);
	if (err) {
		free(p);
		return err;
	}
	p->slots = slots;
	p->seed = seed & INT64_MAX;
	p->budget = budget;
	*out = p;
	return 0;
}

void publish_free(struct publish *p)
{
	if (!p)
		return;
	plan_clear(&p->now);
	rates_free(p->rates);
	ring_free(p->ring);
	free(p);
}

void publish_set_budget(struct publish *p, double budget)
{
	p->budget = budget;
}

const struct rates *publish_rates(const struct publish *p)
{
	return p->rates;
}

uint32_t publish_moved(const struct publish *p)
{
	return p->moved;
}

double publish_allowance(const struct publish *p)
{
	return fmax(0, p->saved);
}

static int member_order(const void *a, const void *b)
{
	return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static struct member *find(const struct plan *plan, const char *name)
{
	struct member key;

	if (!plan->n || strlen(name) >= sizeof(key.name))
		return NULL;
	strcpy(key.name, name);
	return bsearch(&key, plan->members, plan->n, sizeof(key), member_order);
}

uint32_t publish_count(const struct publish *p, const char *name)
{
	const struct member *member = find(&p->now, name);

	return member ? member->count : 0;
}

/* Builds the ring of the members' rates and counts their slots. */
static int build(struct publish *p, struct plan *plan)
{
	struct ring_backend *set = malloc((plan->n ? plan->n : 1) * sizeof(*set));
	int err = set ? 0 : -ENOMEM;

	for (size_t i = 0; err == 0 && i < plan->n; i++) {
		set[i].id = ring_id(plan->members[i].name);
		set[i].rate = (uint32_t)llround(plan->members[i].rate);
		plan->members[i].count = 0;
	}
	if (err == 0)
		err = ring_build(p->ring, set, plan->n, p->seed, plan->owner);
	for (uint32_t slot = 0; err == 0 && slot < p->slots; slot++)
		if (plan->owner[slot] != RING_NONE)
			plan->members[plan->owner[slot]].count++;
	free(set);
	return err;
}

/* Multiplies all rates by a power of two (which changes no ring but for rounding) so that they fit. */
static void fit_rates(struct plan *plan)
{
	double top = 0, scale = 1;

	for (size_t i = 0; i < plan->n; i++)
		top = fmax(top, plan->members[i].rate);
	if (top == 0)
		return;
	while (top * scale > RATE_TOP)
		scale /= 2;
	while (top * scale < RATE_LOW)
		scale *= 2;
	for (size_t i = 0; i < plan->n; i++) {
		struct member *member = &plan->members[i];

		if (member->rate > 0)
			member->rate = fmax(1, member->rate * scale);
	}
}

/* Corrects those rates whose counts are out of tolerance, to half the tolerance: no slot moves that
 * need not. The ring and the counts are those of the rates at the end. */
static int calibrate(struct publish *p, struct plan *plan)
{
	fit_rates(plan);
	for (int round = 0;; round++) {
		/* Two that swing are damped; then the others yield a little too. */
		double step = round < ROUNDS_MAX / 3 ? 1 : 0.5;
		bool all = round > 2 * ROUNDS_MAX / 3;
		bool wrong = false;
		int err = build(p, plan);

		if (err || round == ROUNDS_MAX)
			return err;
		for (size_t i = 0; i < plan->n; i++) {
			struct member *member = &plan->members[i];
			double aim = member->share * p->slots, off = member->count - aim;
			double tolerance = publish_tolerance(aim);

			wrong |= member->rate > 0 && fabs(off) > tolerance;
			if (member->rate == 0 || fabs(off) <= (all ? tolerance / 4 : tolerance))
				continue;
			aim += copysign(tolerance / (all ? 8 : 2), off);
			member->rate *= pow(fmin(2, fmax(0.5, (aim + 0.5) / (member->count + 0.5))), step);
		}
		if (!wrong)
			return 0;
		fit_rates(plan);
	}
}

/* The wanted set in the order of names, shares normalised; current shares and rates are carried over. */
static int plan_new(const struct publish *p, struct plan *plan, const struct publish_want *want, size_t n)
{
	double sum = 0;

	memset(plan, 0, sizeof(*plan));
	plan->members = calloc(n ? n : 1, sizeof(*plan->members));
	plan->owner = malloc(p->slots * sizeof(*plan->owner));
	if (!plan->members || !plan->owner)
		return -ENOMEM;
	plan->n = n;
	for (size_t i = 0; i < n; i++) {
		struct member *member = &plan->members[i];
		size_t len = strlen(want[i].name);

		if (len == 0 || len >= sizeof(member->name))
			return -EINVAL;
		memcpy(member->name, want[i].name, len + 1);
		member->urgency = want[i].urgency;
		if (want[i].urgency != PUBLISH_GONE && isfinite(want[i].weight))
			member->want = fmax(0, want[i].weight);
		sum += member->want;
	}
	qsort(plan->members, n, sizeof(*plan->members), member_order);
	for (size_t i = 0; i < n; i++) {
		struct member *member = &plan->members[i], *old = find(&p->now, member->name);

		if (i && member_order(member - 1, member) == 0)
			return -EINVAL;
		member->want = sum > 0 ? member->want / sum : 0;
		member->before = old ? (uint32_t)(old - p->now.members) : RING_NONE;
		member->share = old ? old->share : 0;
		member->rate = old ? old->rate : 0;
	}
	return 0;
}

/* What must leave at once leaves: the others take its share in proportion to theirs. Says whether
 * any share changed. */
static bool apply_urgent(const struct publish *p, struct plan *plan)
{
	double calm = 0, left = 1;
	bool changed = false;

	for (size_t i = 0; i < plan->n; i++) {
		struct member *member = &plan->members[i];
		double over = (member->share - member->want) * p->slots;

		if (member->urgency == PUBLISH_FAILING &&
		    over <= publish_tolerance(member->want * p->slots))
			member->urgency = PUBLISH_CALM;
		if (member->urgency == PUBLISH_CALM) {
			calm += member->share;
			continue;
		}
		changed |= member->share != member->want;
		member->share = member->want;
		left -= member->share;
	}
	for (size_t i = 0; i < plan->n; i++) {
		struct member *member = &plan->members[i];
		double share = member->share;

		if (calm <= 0)          /* nobody to take over in proportion: straight to what is wanted */
			member->share = member->want;
		else if (member->urgency == PUBLISH_CALM)
			member->share *= left / calm;
		changed |= fabs(member->share - share) > 1e-9;
	}
	return changed;
}

/* Goes from the current shares towards the wanted ones as far as the budget allows. */
static bool apply_calm(const struct publish *p, struct plan *plan)
{
	double moves = 0, part;
	bool needed = false;

	for (size_t i = 0; i < plan->n; i++) {
		const struct member *member = &plan->members[i];
		double off = fabs(member->want - member->share) * p->slots;

		moves += off / 2;
		needed |= off > publish_tolerance(member->want * p->slots) / 2;
	}
	if (!needed || p->saved < fmin(moves, fmax(1, BATCH_S * p->budget * p->slots)))
		return false;
	part = fmin(1, p->saved / moves);
	for (size_t i = 0; i < plan->n; i++) {
		struct member *member = &plan->members[i];

		member->share += part * (member->want - member->share);
	}
	return true;
}

/* Backends of equal rates claim at equal times: a rate that is the least bit larger then wins every
 * tie, and no number of slots between the two can be had. Rates that differ a little from the
 * beginning have no such steps; calibration brings the shares right. */
static double first_rate(const struct member *member, double per_share)
{
	double unit = (double)(ring_id(member->name) >> 11) / 9007199254740992.0;

	return per_share * (1 + DITHER * (unit - 0.5));
}

/* Rates for the planned shares: a backend keeps its own correction (rate per share). */
static void plan_rates(const struct publish *p, struct plan *plan)
{
	double rates = 0, shares = 0;

	for (size_t i = 0; i < p->now.n; i++) {
		rates += p->now.members[i].rate;
		shares += p->now.members[i].share;
	}
	for (size_t i = 0; i < plan->n; i++) {
		struct member *member = &plan->members[i];
		double per_share = first_rate(member, shares > 0 && rates > 0 ? rates / shares : RATE_LOW);

		if (member->before != RING_NONE) {
			const struct member *old = &p->now.members[member->before];

			if (old->share > 0 && old->rate > 0)
				per_share = old->rate / old->share;
		}
		member->rate = member->share > 0 ? per_share * member->share : 0;
	}
}

/* Counts the moves, and of them those that the budget pays for. */
static uint32_t count_moves(const struct publish *p, const struct plan *plan, uint32_t *paid)
{
	uint32_t *after = malloc((p->now.n ? p->now.n : 1) * sizeof(*after)), moved = 0;

	*paid = 0;
	if (!after)
		return 0;
	for (size_t i = 0; i < p->now.n; i++)
		after[i] = RING_NONE;
	for (uint32_t i = 0; i < plan->n; i++)
		if (plan->members[i].before != RING_NONE)
			after[plan->members[i].before] = i;
	for (uint32_t slot = 0; slot < p->slots; slot++) {
		uint32_t old = p->now.owner[slot];
		uint32_t was = old == RING_NONE ? RING_NONE : after[old];

		if (old != RING_NONE && was == plan->owner[slot])
			continue;
		if (old == RING_NONE && plan->owner[slot] == RING_NONE)
			continue;
		moved++;
		if (was != RING_NONE && plan->members[was].urgency == PUBLISH_CALM)
			(*paid)++;
	}
	free(after);
	return moved;
}

static int make_rates(const struct publish *p, const struct plan *plan, struct rates **out)
{
	struct rates *rates = calloc(1, sizeof(*rates));

	if (!rates)
		return -ENOMEM;
	rates->entries = calloc(plan->n ? plan->n : 1, sizeof(*rates->entries));
	if (!rates->entries) {
		free(rates);
		return -ENOMEM;
	}
	rates->slots = p->slots;
	rates->seed = p->seed;
	rates->generation = p->generation + 1;
	rates->n = plan->n;
	for (size_t i = 0; i < plan->n; i++) {
		strcpy(rates->entries[i].name, plan->members[i].name);
		rates->entries[i].rate = (uint32_t)llround(plan->members[i].rate);
	}
	*out = rates;
	return 0;
}

static int commit(struct publish *p, struct plan *plan, uint32_t moved, uint32_t paid)
{
	struct rates *rates;
	int err = make_rates(p, plan, &rates);

	if (err)
		return err;
	/* What was published is what counts: the next plan starts from the rounded rates. */
	for (size_t i = 0; i < plan->n; i++)
		plan->members[i].rate = rates->entries[i].rate;
	plan_clear(&p->now);
	p->now = *plan;
	memset(plan, 0, sizeof(*plan));
	rates_free(p->rates);
	p->rates = rates;
	p->generation = rates->generation;
	p->moved = moved;
	p->saved -= paid;
	return 1;
}

static void save_budget(struct publish *p, double dt)
{
	double most = fmax(1, p->budget * p->slots * PUBLISH_BURST_S);

	p->saved = fmin(most, p->saved + p->budget * p->slots * fmax(0, dt));
}

static bool same_set(const struct publish *p, const struct plan *plan)
{
	if (plan->n != p->now.n)
		return false;
	for (size_t i = 0; i < plan->n; i++)
		if (plan->members[i].before == RING_NONE)
			return false;
	return true;
}

int publish_tick(struct publish *p, const struct publish_want *want, size_t n, double dt)
{
	struct plan plan;
	uint32_t moved = p->slots, paid = 0;
	int err = n > RING_BACKENDS_MAX ? -EINVAL : plan_new(p, &plan, want, n);
	bool changed = true;

	if (n > RING_BACKENDS_MAX)
		return err;
	save_budget(p, dt);
	if (err == 0 && p->now.owner) {
		changed = apply_urgent(p, &plan);
		changed |= apply_calm(p, &plan);
		changed |= !same_set(p, &plan);
	} else {
		for (size_t i = 0; i < plan.n; i++)
			plan.members[i].share = plan.members[i].want;
	}
	if (err == 0 && changed) {
		plan_rates(p, &plan);
		err = calibrate(p, &plan);
		if (err == 0 && p->now.owner)
			moved = count_moves(p, &plan, &paid);
		if (err == 0)
			err = commit(p, &plan, moved, paid);
	}
	plan_clear(&plan);
	return err;
}

int publish_adopt(struct publish *p, const struct rates *rates)
{
	struct plan plan = { .n = rates->n };
	struct rates *copy = NULL;
	int err = 0;

	p->generation = rates->generation;
	if (rates->slots != p->slots || rates->seed != p->seed) {
		plan_clear(&p->now);
		return 0;
	}
	plan.members = calloc(rates->n ? rates->n : 1, sizeof(*plan.members));
	plan.owner = malloc(p->slots * sizeof(*plan.owner));
	if (!plan.members || !plan.owner)
		err = -ENOMEM;
	for (size_t i = 0; err == 0 && i < rates->n; i++) {
		strcpy(plan.members[i].name, rates->entries[i].name);
		plan.members[i].rate = rates->entries[i].rate;
		plan.members[i].before = RING_NONE;
	}
	if (err == 0)
		err = build(p, &plan);
	if (err == 0)
		err = rates_copy(&copy, rates);
	if (err) {
		plan_clear(&plan);
		return err;
	}
	for (size_t i = 0; i < rates->n; i++)
		plan.members[i].share = (double)plan.members[i].count / p->slots;
	plan_clear(&p->now);
	p->now = plan;
	rates_free(p->rates);
	p->rates = copy;
	return 0;
}
