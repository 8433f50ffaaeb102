/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coordinator_group.c -- the asset's plan (record.h): members who left are taken out, group_run() is asked, and what it
 * says becomes who is linked with whom; and the inputs of the sensing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/record.h"

#define CHEAP_N	   64	   /* so few are always grouped with every join */
#define CHEAP_S	   0.0005 /* … and more, when a run took no longer */
#define WITNESS_MS 5000
#define SLOPE_TAU  10.0 /* s: as far back as the prediction looks ahead */
#define SHARE_TAU  30.0

bool coordinator_group_cheap(const struct asset *a)
{
	return a->nmembers < CHEAP_N || (a->grouped_s < CHEAP_S && a->nmembers < 2000);
}

/* Those who left go; indices of helpers are moved along. */
static int compact(struct asset *a)
{
	uint32_t n = 0, *moved = malloc((a->nmembers + 1) * sizeof(*moved));

	if (!moved)
		return -1;
	for (uint32_t i = 0; i < a->nmembers; i++)
		moved[i] = a->members[i] ? n++ : GROUP_NONE;
	for (uint32_t i = 0; i < a->nmembers; i++) {
		struct group_viewer *g = &a->plan[i];
		uint8_t kept = 0;

		if (!a->members[i])
			continue;
		for (uint8_t h = 0; h < g->nhelpers; h++)
			if (g->helper[h] < a->nmembers && moved[g->helper[h]] != GROUP_NONE)
				g->helper[kept++] = moved[g->helper[h]];
		g->nhelpers = kept;
		a->members[moved[i]] = a->members[i];
		a->members[moved[i]]->at = moved[i];
		if (moved[i] != i)
			a->plan[moved[i]] = *g;
	}
	a->nmembers = n;
	free(moved);
	return 0;
}

static void edge_put(struct asset *a, uint32_t *fill, uint32_t from, uint32_t to)
{
	for (uint32_t e = a->edge_at[from]; e < fill[from]; e++)
		if (a->edges[e] == to)
			return;
	a->edges[fill[from]++] = to;
}

/* Who is to be linked with whom: one's own helpers first, then those whom one helps. */
static int link_up(struct asset *a)
{
	uint32_t n = a->nmembers, sum = 0, *at = realloc(a->edge_at, (n + 1) * sizeof(*at)), *fill, *edges;

	if (!at)
		return -1;
	a->edge_at = at;
	a->nedged = 0;
	memset(at, 0, (n + 1) * sizeof(*at));
	for (uint32_t i = 0; i < n; i++) {
		for (uint8_t h = 0; h < a->plan[i].nhelpers; h++) {
			at[i]++;
			at[a->plan[i].helper[h]]++;
		}
	}
	for (uint32_t i = 0; i <= n; i++) {
		uint32_t mine = at[i];

		at[i] = sum;
		sum += mine;
	}
	edges = realloc(a->edges, (sum + 1) * sizeof(*edges));
	fill = malloc((n + 1) * sizeof(*fill));
	if (!edges || !fill) {
		a->edges = edges ? edges : a->edges;
		free(fill);
		return -1;
	}
	a->edges = edges;
	memcpy(fill, at, (n + 1) * sizeof(*fill));
	for (uint32_t i = 0; i < n; i++)
		for (uint8_t h = 0; a->plan[i].role != GROUP_FIRST && h < a->plan[i].nhelpers; h++)
			edge_put(a, fill, i, a->plan[i].helper[h]);
	for (uint32_t i = 0; i < n; i++)
		for (uint8_t h = 0; h < a->plan[i].nhelpers; h++)
			edge_put(a, fill, a->plan[i].helper[h], i);
	for (uint32_t i = 0; i < n; i++)
		for (uint8_t h = 0; a->plan[i].role == GROUP_FIRST && h < a->plan[i].nhelpers; h++)
			edge_put(a, fill, i, a->plan[i].helper[h]);
	/* duplicates left holes at the ends: an edge to oneself is nobody's */
	for (uint32_t i = 0; i < n; i++)
		while (fill[i] < at[i + 1])
			a->edges[fill[i]++] = i;
	free(fill);
	a->nedged = n;
	return 0;
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

/* The groupings, as runs of a->order. */
static int list_groupings(struct asset *a)
{
	struct keyed *keys = malloc((a->nmembers + 1) * sizeof(*keys));
	uint32_t n = 0, *order = realloc(a->order, (a->nmembers + 1) * sizeof(*order));
	struct grouping *g = realloc(a->groupings, (a->nmembers + 1) * sizeof(*g));

	a->order = order ? order : a->order;
	a->groupings = g ? g : a->groupings;
	a->ngroupings = 0;
	if (!keys || !order || !g) {
		free(keys);
		return -1;
	}
	for (uint32_t i = 0; i < a->nmembers; i++)
		if (a->plan[i].grouping != GROUP_NONE)
			keys[n++] = (struct keyed){ a->plan[i].grouping, i };
	qsort(keys, n, sizeof(*keys), by_grouping);
	for (uint32_t i = 0; i < n; i++) {
		if (!i || keys[i].grouping != keys[i - 1].grouping)
			g[a->ngroupings++] = (struct grouping){ .number = keys[i].grouping, .first = i, .window = GROUP_NONE };
		order[i] = keys[i].member;
		g[a->ngroupings - 1].n++;
		g[a->ngroupings - 1].nfirst += a->plan[keys[i].member].role == GROUP_FIRST;
	}
	a->next_grouping = 0;
	free(keys);
	return 0;
}

/* What a member's place is, to see whether a run changed it. */
static uint64_t place_of(const struct asset *a, const struct group_viewer *g)
{
	uint64_t sum = (uint64_t)g->grouping * 4 + g->role;

	for (uint8_t h = 0; h < g->nhelpers; h++)
		sum = sum * 0x9e3779b97f4a7c15ull + a->plan[g->helper[h]].id;
	return sum;
}

void coordinator_group(struct coordinator *c, struct asset *a, int64_t now)
{
	double began = coordinator_clock();
	uint64_t *before;

	if (compact(a))
		return;
	before = malloc((a->nmembers + 1) * sizeof(*before));
	if (!before)
		return;
	for (uint32_t i = 0; i < a->nmembers; i++) {
		record_fill(c, a->members[i], &a->plan[i]);
		before[i] = place_of(a, &a->plan[i]);
	}
	if (!group_run(a->groups, a->plan, a->nmembers, &a->result) && !list_groupings(a)) {
		coordinator_supply(c, a);
		if (link_up(a))
			goto out;
		a->dirty = false;
		c->counts.regroups++;
		for (uint32_t i = 0; i < a->nmembers; i++) {
			if (before[i] == place_of(a, &a->plan[i]))
				continue;
			a->members[i]->stale = true;
			a->members[i]->matched_ms = 0;
		}
	}
out:
	free(before);
	a->grouped_ms = now;
	a->grouped_s = coordinator_clock() - began;
	c->counts.regroup_s = a->grouped_s;
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

/* What it wants of the server: what it plays, less what peers give it. */
static float wants(const struct viewer *v)
{
	float d = record_demand(v) - v->rate_peers;

	if (d < v->rate_server)
		d = v->rate_server;
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
			v->prefix->egress += v->last_server;
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
