/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coordinator_group.c -- the asset's plan (record.h): a new one is made beside the old, without those who left, while
 * others have the lock; then they change places. And the inputs of the sensing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/record.h"

#define CHEAP_N	   64	   /* so few are always grouped with every join */
#define CHEAP_S	   0.0005 /* … and more, when a run took no longer */
#define FILL_SLICE 2048	   /* members whose facts are taken at a time */
#define WITNESS_MS 5000
#define TIMES_MAX  16	 /* of what it plays, that one viewer counts for */
#define SLOPE_TAU  10.0 /* s: as far back as the prediction looks ahead */
#define SHARE_TAU  30.0

bool coordinator_group_cheap(const struct asset *a)
{
	return a->nmembers < CHEAP_N || (a->grouped_s < CHEAP_S && a->nmembers < 2000);
}

/* ---- the plan ---- */
static void pass_free(struct pass *p)
{
	free(p->who);
	free(p->place);
	free(p->old);
	free(p->plan);
	free(p->edge_at);
	free(p->edges);
	free(p->order);
	free(p->groupings);
}

void pass_let_in(struct coordinator *c, const struct pass *p)
{
	if (p->open)
		coordinator_let_in(c);
}

void pass_go_on(struct coordinator *c, const struct pass *p)
{
	if (p->open)
		coordinator_go_on(c);
}

/* Of its helpers, all or all but one are gone. */
static bool orphaned(const struct asset *a, const struct group_viewer *g)
{
	uint8_t there = 0;

	for (uint8_t h = 0; h < g->nhelpers; h++)
		there += g->helper[h] < a->nmembers && a->members[g->helper[h]];
	return there < g->nhelpers && there < 2;
}

/* Who is there, and what is known of them. Whoever comes later is of the next pass. */
static int pass_begin(struct coordinator *c, struct asset *a, struct pass *p, int64_t now)
{
	uint32_t members = a->nmembers;

	p->who = malloc((members + 1) * sizeof(*p->who));
	p->place = malloc((members + 1) * sizeof(*p->place));
	p->old = malloc((members + 1) * sizeof(*p->old));
	p->plan = malloc((members + 1) * sizeof(*p->plan));
	if (!p->who || !p->place || !p->old || !p->plan)
		return -1;
	p->members = members;
	a->dirty = false;
	for (uint32_t i = 0; i < members; i++) {
		p->place[i] = a->members[i] ? p->n : GROUP_NONE;
		if (a->members[i]) {
			struct group_viewer *g = &p->plan[p->n];
			struct viewer *v = a->members[i];

			*g = a->plan[i];
			if (orphaned(a, g)) {
				v->orphan = true;
				v->orphan_ms = now;
			}
			p->old[p->n] = (struct pass_old){ .role = g->role, .sure = g->sure < g->nhelpers ? g->sure : g->nhelpers,
							  .settles = v->orphan_ms && now - v->orphan_ms < SETTLE_MS };
			memcpy(p->old[p->n].helper, g->helper, sizeof(g->helper));
			record_fill(c, v, g);
			p->who[p->n++] = i;
		}
		if (i % FILL_SLICE == FILL_SLICE - 1) {
			pass_let_in(c, p);
			pass_go_on(c, p);
		}
	}
	return 0;
}

static void edge_put(struct pass *p, uint32_t *fill, uint32_t from, uint32_t to)
{
	for (uint32_t e = p->edge_at[from]; e < fill[from]; e++)
		if (p->edges[e] == to)
			return;
	p->edges[fill[from]++] = to;
}

/* Who is to be linked with whom: one's own helpers first, then those whom one helps. */
static int link_up(struct pass *p)
{
	uint32_t n = p->n, sum = 0, *fill;

	p->edge_at = calloc(n + 1, sizeof(*p->edge_at));
	fill = malloc((n + 1) * sizeof(*fill));
	if (!p->edge_at || !fill)
		goto full;
	for (uint32_t i = 0; i < n; i++) {
		for (uint8_t h = 0; h < p->plan[i].nhelpers; h++) {
			p->edge_at[i]++;
			p->edge_at[p->plan[i].helper[h]]++;
		}
	}
	for (uint32_t i = 0; i <= n; i++) {
		uint32_t mine = p->edge_at[i];

		p->edge_at[i] = sum;
		sum += mine;
	}
	p->edges = malloc((sum + 1) * sizeof(*p->edges));
	if (!p->edges)
		goto full;
	memcpy(fill, p->edge_at, (n + 1) * sizeof(*fill));
	for (uint32_t i = 0; i < n; i++)
		for (uint8_t h = 0; p->plan[i].role != GROUP_FIRST && h < p->plan[i].nhelpers; h++)
			edge_put(p, fill, i, p->plan[i].helper[h]);
	for (uint32_t i = 0; i < n; i++)
		for (uint8_t h = 0; h < p->plan[i].nhelpers; h++)
			edge_put(p, fill, p->plan[i].helper[h], i);
	for (uint32_t i = 0; i < n; i++)
		for (uint8_t h = 0; p->plan[i].role == GROUP_FIRST && h < p->plan[i].nhelpers; h++)
			edge_put(p, fill, i, p->plan[i].helper[h]);
	/* duplicates left holes at the ends: an edge to oneself is nobody's */
	for (uint32_t i = 0; i < n; i++)
		while (fill[i] < p->edge_at[i + 1])
			p->edges[fill[i]++] = i;
	free(fill);
	return 0;
full:
	free(fill);
	return -1;
}

struct keyed {
	uint32_t grouping, member;
};

static int by_grouping(const void *x, const void *y)
{
	const struct keyed *a = x, *b = y;

	if (a->grouping != b->grouping)
		return a->grouping < b->grouping ? -1 : 1;
	return a->member < b->member ? -1 : a->member > b->member;
}

/* The groupings, as runs of order. */
static int list_groupings(struct pass *p)
{
	struct keyed *keys = malloc((p->n + 1) * sizeof(*keys));
	struct grouping *g = p->groupings = malloc((p->n + 1) * sizeof(*g));
	uint32_t n = 0;

	p->order = malloc((p->n + 1) * sizeof(*p->order));
	if (!keys || !p->order || !g) {
		free(keys);
		return -1;
	}
	for (uint32_t i = 0; i < p->n; i++)
		if (p->plan[i].grouping != GROUP_NONE)
			keys[n++] = (struct keyed){ p->plan[i].grouping, i };
	qsort(keys, n, sizeof(*keys), by_grouping);
	for (uint32_t i = 0; i < n; i++) {
		if (!i || keys[i].grouping != keys[i - 1].grouping)
			g[p->ngroupings++] = (struct grouping){ .number = keys[i].grouping, .first = i, .window = GROUP_NONE };
		p->order[i] = keys[i].member;
		g[p->ngroupings - 1].n++;
		g[p->ngroupings - 1].nfirst += p->plan[keys[i].member].role == GROUP_FIRST;
	}
	free(keys);
	return 0;
}

/* Whether its place is another than in the old plan. */
static bool moved(const struct asset *a, const struct pass *p, uint32_t i)
{
	const struct group_viewer *now = &p->plan[i], *was = &a->plan[p->who[i]];

	if (now->grouping != was->grouping || now->role != was->role || now->nhelpers != was->nhelpers)
		return true;
	for (uint8_t h = 0; h < now->nhelpers; h++)
		if (p->who[now->helper[h]] != was->helper[h])
			return true;
	return false;
}

/* The new plan takes the old one's place. Who came meanwhile is behind the others, in no grouping yet. */
static int pass_end(struct asset *a, struct pass *p)
{
	uint32_t n = p->n + a->nmembers - p->members;
	struct viewer **members = malloc((n + 1) * sizeof(struct viewer *));
	struct group_viewer *plan = members ? realloc(p->plan, (n + 1) * sizeof(*plan)) : NULL;

	if (!plan) {
		free(members);
		return -1;
	}
	p->plan = plan;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t was = i < p->n ? p->who[i] : p->members + i - p->n;
		struct viewer *v = members[i] = a->members[was];

		if (i >= p->n)
			plan[i] = a->plan[was];
		if (v && was != i)
			v->at = i;
		if (v && i < p->n && moved(a, p, i)) {
			v->stale = true;
			v->matched_ms = 0;
		}
	}
	free(a->members), a->members = members;
	free(a->plan), a->plan = p->plan, p->plan = NULL;
	free(a->edge_at), a->edge_at = p->edge_at, p->edge_at = NULL;
	free(a->edges), a->edges = p->edges, p->edges = NULL;
	free(a->order), a->order = p->order, p->order = NULL;
	free(a->groupings), a->groupings = p->groupings, p->groupings = NULL;
	a->nmembers = n;
	a->members_room = n + 1;
	a->nedged = p->n;
	a->ngroupings = p->ngroupings;
	a->result = p->result;
	return 0;
}

/* Groups are made with their options: after a reload they are made anew. */
static void groups_anew(struct coordinator *c, struct asset *a)
{
	struct groups *g = groups_new(&c->opt.group);

	if (!g)
		return;
	groups_free(a->groups);
	a->groups = g;
	a->other_options = false;
	a->dirty = true;
}

void coordinator_group(struct coordinator *c, struct asset *a, int64_t now, bool open)
{
	struct pass p = { .open = open };
	double began = coordinator_clock(), cpu = coordinator_cpu();
	bool more = false;

	if (a->passing)
		return;
	a->passing = true;
	if (a->other_options)
		groups_anew(c, a);
	if (pass_begin(c, a, &p, now))
		goto out;
	pass_let_in(c, &p);
	p.made = !group_run(a->groups, p.plan, p.n, &p.result) && !list_groupings(&p);
	if (p.made)
		more = supply_pass(c, a, &p, now);
	p.made = p.made && !link_up(&p);
	pass_go_on(c, &p);
	p.made = p.made && !pass_end(a, &p);
	if (p.made)
		c->counts.regroups++;
out:
	a->dirty |= !p.made || more;
	a->passing = false;
	pass_free(&p);
	a->grouped_ms = now;
	a->grouped_s = coordinator_cpu() - cpu;
	c->counts.regroup_s = coordinator_clock() - began;
}

/* ---- sensing ---- */

/* Of one prefix at most twice what the second largest has, so that forged viewers in one network weigh little. */
static void sums(struct asset *a, double *demand, double *egress)
{
	float most[2] = { 0, 0 }, emost[2] = { 0, 0 };

	*demand = *egress = 0;
	for (uint32_t i = 0; i < a->nprefixes; i++) {
		const struct prefix *p = a->prefix_list[i];

		*demand += p->demand;
		*egress += p->egress;
		if (p->demand > most[0]) {
			most[1] = most[0];
			most[0] = p->demand;
		} else if (p->demand > most[1]) {
			most[1] = p->demand;
		}
		if (p->egress > emost[0]) {
			emost[1] = emost[0];
			emost[0] = p->egress;
		} else if (p->egress > emost[1]) {
			emost[1] = p->egress;
		}
	}
	if (a->nprefixes > 1 && most[0] > 2 * most[1])
		*demand -= most[0] - 2 * most[1];
	if (a->nprefixes > 1 && emost[0] > 2 * emost[1])
		*egress -= emost[0] - 2 * emost[1];
}

/* What it says that the server gives it, as far as a player that fills its buffer by a good line takes. */
static float believed(const struct viewer *v, float rate)
{
	float most = TIMES_MAX * record_demand(v);

	return rate < most ? rate : most;
}

/* What it wants of the server: what it plays, less what peers give it. */
static float wants(const struct viewer *v)
{
	float d = record_demand(v) - v->rate_peers, got = believed(v, v->rate_server);

	if (d < got)
		d = got;
	return d > 0 ? d : 0;
}

/* While it is calm the demand is what is seen; else what it would be: the share of the calm before. */
static void demand_take(struct asset *a, int64_t now, double seconds)
{
	bool calm = a->sense.state == SENSE_CALM;
	double demand, egress, wanted = 0, played = 0;

	for (uint32_t i = 0; i < a->nprefixes; i++)
		a->prefix_list[i]->demand = a->prefix_list[i]->egress = 0;
	a->p2p = 0;
	for (uint32_t i = 0; i < a->nviewers; i++) {
		const struct viewer *v = a->viewers[i];

		if (!v->reported_ms && !v->presents)
			continue;
		wanted += wants(v);
		played += record_demand(v);
		v->prefix->demand += calm ? wants(v) : (float)a->server_share * record_demand(v);
		if (now - v->reported_ms <= 2 * (int64_t)a->report_ms)
			v->prefix->egress += believed(v, v->last_server);
		a->p2p += v->rate_peers;
	}
	sums(a, &demand, &egress);
	if (seconds > 0 && a->demand > 0) { /* the first viewers are no slope */
		double alpha = 1 - exp(-seconds / SLOPE_TAU);

		a->slope += alpha * ((demand - a->demand) / seconds - a->slope);
		if (calm && played > 0)
			a->server_share += (1 - exp(-seconds / SHARE_TAU)) * (wanted / played - a->server_share);
	}
	a->demand = demand;
	a->egress = egress;
}

void coordinator_sense(struct coordinator *c, struct asset *a, int64_t now)
{
	struct sense_input in = { .now_ms = now, .viewers = a->nviewers, .prefixes = a->nprefixes, .capacity = c->opt.capacity };

	int64_t asked = 2 * (int64_t)a->report_ms > WITNESS_MS ? 2 * (int64_t)a->report_ms : WITNESS_MS;

	demand_take(a, now, (double)(now - a->sensed_ms) / 1000);
	a->sensed_ms = now;
	for (uint32_t i = 0; i < a->nprefixes; i++) {
		const struct prefix *p = a->prefix_list[i];

		in.asking += p->asked_ms && now - p->asked_ms <= asked;
		in.failing += p->failing_ms && now - p->failing_ms <= WITNESS_MS;
		in.slow += p->slow_ms && now - p->slow_ms <= WITNESS_MS;
		in.starving += p->starving_ms && now - p->starving_ms <= WITNESS_MS;
	}
	in.demand = a->demand;
	in.egress = a->egress;
	in.demand_slope = a->slope;
	if (c->opt.endpoints)
		c->opt.endpoints(c->opt.arg, &in.endpoints_alive, &in.endpoints_known);
	if (sense_tick(&a->sense, &c->opt.sense, &in))
		for (uint32_t i = 0; i < a->nviewers; i++)
			a->viewers[i]->stale = true;
}
