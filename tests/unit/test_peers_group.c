// SPDX-License-Identifier: Apache-2.0
/*
 * group: what must hold of every plan, over populations by chance (several seeds); what a departure and an arrival change
 * and what they do not; portions: shares by weight, a departure moves what the departed held and nothing else.
 */
#include <math.h>

#include "http/peers/group.h"
#include "tests/unit/unit.h"

static uint64_t state;

static uint64_t chance(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static double unit(void)
{
	return (double)(chance() >> 11) * 0x1p-53;
}

static uint64_t last_id;

static struct group_viewer good(uint32_t as, uint32_t prefix, float uplink)
{
	return (struct group_viewer){ .id = ++last_id * 0x9e3779b97f4a7c15u, .asset = 1, .as = as, .prefix = prefix,
				      .flags = GROUP_CONSENT | GROUP_MEASURED, .uplink = uplink, .demand = 300e3f,
				      .stability = 1, .rtt_ms = 20, .position = 100 };
}

static struct group_viewer any(unsigned int assets, unsigned int networks)
{
	uint32_t as = (uint32_t)(unit() * unit() * networks);
	struct group_viewer v = good(as ? 64500 + as : 0, as * 1000 + (uint32_t)(chance() % 9) + 1,
				     unit() < 0.1 ? 0 : (float)(2e6 * unit()));

	v.asset = 1 + chance() % assets;
	v.stability = (float)unit();
	v.position = (uint32_t)(chance() % 500);
	v.rtt_ms = (float)(200 * unit());
	v.flags = unit() < 0.75 ? GROUP_CONSENT : 0;
	v.flags |= unit() < 0.9 ? GROUP_MEASURED : 0;
	v.flags |= unit() < 0.05 ? GROUP_METERED : 0;
	v.flags |= unit() < 0.15 ? GROUP_CELLULAR : 0;
	v.flags |= unit() < 0.1 ? GROUP_BATTERY_LOW : 0;
	v.flags |= unit() < 0.05 ? GROUP_UNREACHABLE : 0;
	v.flags |= unit() < 0.01 ? GROUP_EXCLUDED : 0;
	return v;
}

static bool helps(const struct group_viewer *v)
{
	return v->flags & GROUP_CONSENT &&
	       !(v->flags & (GROUP_METERED | GROUP_CELLULAR | GROUP_UNREACHABLE | GROUP_EXCLUDED));
}

static void check_viewer(const struct group_viewer *v, size_t n, size_t i)
{
	const struct group_viewer *me = &v[i];

	if (me->flags & GROUP_EXCLUDED)
		assert_int_equal(me->grouping, GROUP_NONE);
	else
		assert_int_not_equal(me->grouping, GROUP_NONE);
	if (!helps(me)) {
		assert_true(me->cap <= 0 && me->load <= 0);
		assert_int_not_equal(me->role, GROUP_FIRST);
	}
	assert_true(me->load <= me->cap * 1.0001f);
	assert_true(me->role == GROUP_FIRST || me->load <= 0);
	assert_true(me->nhelpers <= GROUP_HELPERS_MAX);
	if (me->role == GROUP_ALONE)
		assert_int_equal(me->nhelpers, 0);
	if (me->role == GROUP_SECOND)
		assert_true(me->nhelpers >= 1);
	for (unsigned int h = 0; h < me->nhelpers; h++) {
		assert_true(me->helper[h] < n && me->helper[h] != i);
		assert_int_equal(v[me->helper[h]].role, GROUP_FIRST);
		assert_int_equal(v[me->helper[h]].grouping, me->grouping);
		for (unsigned int o = 0; o < h; o++)
			assert_int_not_equal(me->helper[o], me->helper[h]);
	}
}

/* At least two helpers, of two prefixes, where there are such in the first group. */
static void check_helpers(const struct group_viewer *v, const uint32_t *first, const bool *mixed, size_t i)
{
	const struct group_viewer *me = &v[i];
	unsigned int others = 0;

	if (me->role != GROUP_SECOND)
		return;
	if (first[me->grouping] >= 2)
		assert_true(me->nhelpers >= 2);
	for (unsigned int h = 1; h < me->nhelpers; h++)
		others += v[me->helper[h]].prefix != v[me->helper[0]].prefix;
	if (mixed[me->grouping])
		assert_true(others > 0);
}

static void check(const struct group_viewer *v, size_t n, unsigned int size, const struct group_result *r)
{
	uint32_t *count = calloc(n + 64, sizeof(*count)), *first = calloc(n + 64, sizeof(*first));
	uint32_t *prefix = calloc(n + 64, sizeof(*prefix)), roles[3] = { 0 }, live = 0;
	uint64_t *asset = calloc(n + 64, sizeof(*asset));
	bool *mixed = calloc(n + 64, sizeof(*mixed));

	for (size_t i = 0; i < n; i++) {
		uint32_t g = v[i].grouping;

		check_viewer(v, n, i);
		roles[v[i].role]++;
		if (g == GROUP_NONE)
			continue;
		assert_true(g < n + 64);
		assert_true(!count[g] || asset[g] == v[i].asset);
		asset[g] = v[i].asset;
		live += !count[g]++;
		if (v[i].role != GROUP_FIRST)
			continue;
		mixed[g] |= first[g] && prefix[g] != v[i].prefix;
		prefix[g] = v[i].prefix;
		first[g]++;
	}
	for (size_t i = 0; i < n; i++) {
		if (v[i].grouping != GROUP_NONE) {
			assert_true(count[v[i].grouping] <= size);
			assert_true(v[i].role != GROUP_ALONE || !first[v[i].grouping]);
		}
		check_helpers(v, first, mixed, i);
	}
	assert_int_equal(r->groupings, live);
	assert_int_equal(r->alone, roles[GROUP_ALONE]);
	assert_int_equal(r->first, roles[GROUP_FIRST]);
	assert_int_equal(r->second, roles[GROUP_SECOND]);
	free(count), free(first), free(prefix), free(asset), free(mixed);
}

/* When nothing changes, next to nothing is changed, and soon nothing at all (also where uplink is short everywhere). */
static void settle(struct groups *g, struct group_viewer *v, size_t n, unsigned int size)
{
	struct group_result r = { .moved = 1 };

	for (unsigned int run = 0; r.moved; run++) {
		assert_true(run < 6);
		assert_int_equal(group_run(g, v, n, &r), 0);
		check(v, n, size, &r);
		assert_true(r.moved <= n / 3);
	}
}

/* Ten runs of coming, going and changing, for each seed; and a run in which nothing changed changes nothing. */
static void invariants(void **unused)
{
	(void)unused;
	for (unsigned int seed = 1; seed <= 12; seed++) {
		struct group_options o = { .size = seed % 3 ? 0 : 8 + seed };
		size_t n = 50u << seed % 7, max = 2 * n;
		struct group_viewer *v = calloc(max, sizeof(*v));
		struct groups *g = groups_new(&o);
		struct group_result r;

		state = seed;
		for (size_t i = 0; i < n; i++)
			v[i] = any(1 + seed % 4, 20);
		for (unsigned int run = 0; run < 10; run++) {
			size_t kept = 0;

			assert_int_equal(group_run(g, v, n, &r), 0);
			check(v, n, o.size ? o.size : 48, &r);
			settle(g, v, n, o.size ? o.size : 48);
			for (size_t i = 0; i < n; i++) {
				if (unit() < 0.02)
					v[i].flags ^= GROUP_UNREACHABLE;
				if (unit() < 0.05)
					v[i].uplink = (float)(2e6 * unit());
				if (unit() < 0.01)
					v[i].asset = 1 + chance() % 4;
				if (unit() < (run == 7 ? 0.8 : 0.05))
					continue;
				v[kept++] = v[i];
			}
			for (n = kept; n < max && unit() < (run == 8 ? 0.999 : 0.9);)
				v[n++] = any(1 + seed % 4, 20);
			for (size_t k = 0; k < n / 10; k++) { /* the order is the caller's affair */
				size_t a = chance() % n, b = chance() % n;
				struct group_viewer w = v[a];

				v[a] = v[b];
				v[b] = w;
			}
		}
		groups_free(g);
		free(v);
	}
}

static void plenty(struct group_viewer *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		v[i] = good(64500 + (uint32_t)(i % 5), (uint32_t)(i % 40) + 1, i % 4 ? 1.5e6f : 0);
	for (size_t i = 0; i < n; i += 4)
		v[i].flags = 0;
}

/* A population with enough of it: each grouping has the margin, AS stay apart, the first group is no larger than needed. */
static void capacity(void **unused)
{
	static struct group_viewer v[2000];
	struct groups *g = groups_new(&(struct group_options){ .first_margin = 1.3f });
	struct group_result r;

	(void)unused;
	plenty(v, 2000);
	assert_int_equal(group_run(g, v, 2000, &r), 0);
	check(v, 2000, 48, &r);
	assert_true(r.capacity >= 1.29f);
	assert_true(r.cross_share < 0.05f);
	assert_int_equal(r.moved, 2000);
	/* 1.3 × 300 kB/s for all but two of 40, by 1.2 MB/s each: 13 of 40. */
	assert_in_range(r.first, 2000 * 10 / 40, 2000 * 15 / 40);
	for (size_t i = 0; i < 2000; i++)
		assert_true(v[i].role != GROUP_SECOND || v[i].nhelpers == 3);
	groups_free(g);
}

/* An AS in which nobody may upload borrows from its neighbours. */
static void borrowing(void **unused)
{
	static struct group_viewer v[400];
	struct groups *g = groups_new(NULL);
	struct group_result r;

	(void)unused;
	for (size_t i = 0; i < 400; i++) {
		v[i] = good(i < 80 ? 64501 : 64502, (uint32_t)i + 1, 2e6f);
		if (i < 80)
			v[i].flags |= GROUP_CELLULAR;
	}
	assert_int_equal(group_run(g, v, 400, &r), 0);
	check(v, 400, 48, &r);
	assert_int_equal(r.alone, 0);
	assert_true(r.capacity >= 1.29f);
	groups_free(g);
}

static void deterministic(void **unused)
{
	static struct group_viewer a[1000], b[1000];
	struct groups *ga = groups_new(NULL), *gb = groups_new(NULL);
	struct group_result ra, rb;

	(void)unused;
	state = 99;
	for (size_t i = 0; i < 1000; i++)
		a[i] = any(3, 10);
	memcpy(b, a, sizeof(a));
	for (size_t run = 0; run < 3; run++) {
		size_t n = 1000 - 100 * run;

		assert_int_equal(group_run(ga, a, n, &ra), 0);
		assert_int_equal(group_run(gb, b, n, &rb), 0);
		assert_memory_equal(a, b, sizeof(a));
		assert_memory_equal(&ra, &rb, sizeof(ra));
	}
	groups_free(ga);
	groups_free(gb);
}

static bool fed_by(const struct group_viewer *v, size_t i, size_t helper)
{
	for (unsigned int h = 0; h < v[i].nhelpers; h++)
		if (v[i].helper[h] == helper)
			return true;
	return false;
}

/* Same but for what `gone`, who stood at the end of the array before, had to do with it. */
static size_t changes(const struct group_viewer *was, const struct group_viewer *v, size_t n, size_t gone, size_t *touched)
{
	size_t changed = 0;

	*touched = 0;
	for (size_t i = 0; i < n; i++) {
		bool same = was[i].grouping == v[i].grouping && was[i].role == v[i].role && was[i].nhelpers == v[i].nhelpers;

		for (unsigned int h = 0; h < v[i].nhelpers && same; h++)
			same = was[i].helper[h] == v[i].helper[h];
		changed += !same;
		*touched += fed_by(was, i, gone);
		/* One more helper may have become first in its stead: it alone changes beside those it fed. */
		if (!same && !fed_by(was, i, gone) && !(was[i].role == GROUP_SECOND && v[i].role == GROUP_FIRST))
			fail_msg("viewer %zu changed and had nothing to do with who left", i);
	}
	return changed;
}

static void departures(void **unused)
{
	static struct group_viewer v[2000], was[2000], last;
	struct groups *g = groups_new(NULL);
	struct group_result r;
	size_t n = 2000, touched, changed, at;

	(void)unused;
	plenty(v, n);
	assert_int_equal(group_run(g, v, n, &r), 0);
	assert_int_equal(group_run(g, v, n, &r), 0);
	assert_int_equal(r.moved, 0);
	for (unsigned int k = 0; k < 20; k++) {
		/* A helper to the end, then away. */
		for (at = k * 37; v[at].role != GROUP_FIRST; at++)
			;
		last = v[at];
		v[at] = v[n - 1];
		v[n - 1] = last;
		assert_int_equal(group_run(g, v, n, &r), 0);
		assert_int_equal(r.moved, 0);
		memcpy(was, v, sizeof(v));
		n--;
		assert_int_equal(group_run(g, v, n, &r), 0);
		check(v, n, 48, &r);
		changed = changes(was, v, n, n, &touched);
		assert_int_equal(changed, r.moved);
		assert_true(changed >= touched && changed <= touched + 2);
	}
	/* One who is fed leaves: nobody else changes. */
	for (at = 0; v[at].role != GROUP_SECOND; at++)
		;
	v[at] = v[n - 1];
	n--;
	assert_int_equal(group_run(g, v, n, &r), 0);
	assert_int_equal(r.moved, 0);
	groups_free(g);
}

static void arrivals(void **unused)
{
	static struct group_viewer v[2010];
	struct groups *g = groups_new(NULL);
	struct group_result r;

	(void)unused;
	plenty(v, 2000);
	assert_int_equal(group_run(g, v, 2000, &r), 0);
	for (size_t n = 2000; n < 2010; n++) {
		v[n] = good(64500 + (uint32_t)n % 5, 7, 1.5e6f);
		assert_int_equal(group_run(g, v, n + 1, &r), 0);
		check(v, n + 1, 48, &r);
		assert_true(r.moved >= 1 && r.moved <= 2); /* and a fed one may become first */
		assert_int_equal(v[n].standing, 0);
		/* Among its own. */
		for (size_t i = 0; i < 2000; i++)
			if (v[i].grouping == v[n].grouping)
				assert_int_equal(v[i].as, v[n].as);
	}
	groups_free(g);
}

/* They come one by one, as people do: nobody waits alone, no grouping is too large, and AS come together. */
static void one_by_one(void **unused)
{
	static struct group_viewer v[600];
	struct groups *g = groups_new(NULL);
	struct group_result r;
	uint64_t moved = 0;

	(void)unused;
	for (size_t n = 1; n <= 600; n++) {
		v[n - 1] = good(64500 + (uint32_t)n % 4, (uint32_t)n % 50, 1.5e6f);
		assert_int_equal(group_run(g, v, n, &r), 0);
		check(v, n, 48, &r);
		assert_int_equal(r.alone, n == 1);
		moved += r.moved;
	}
	assert_true(r.cross_share < 0.15f);
	assert_true(r.groupings <= 30);
	assert_true(moved < 600 * 12);
	groups_free(g);
}

static void few(void **unused)
{
	struct group_viewer v[4] = { good(1, 1, 1e6f), good(2, 2, 1e6f), good(3, 3, 0), good(3, 3, 1e6f) };
	struct groups *g = groups_new(NULL);
	struct group_result r;

	(void)unused;
	v[2].flags = 0;
	v[3].flags |= GROUP_BATTERY_LOW;
	assert_int_equal(group_run(g, v, 0, &r), 0);
	assert_int_equal(r.groupings, 0);
	assert_int_equal(group_run(g, v, 1, &r), 0);
	assert_int_equal(v[0].role, GROUP_ALONE);
	assert_int_equal(group_run(g, v, 2, &r), 0);
	assert_true(v[0].role == GROUP_FIRST && v[1].role == GROUP_FIRST);
	assert_true(v[0].nhelpers == 1 && v[0].helper[0] == 1);
	assert_int_equal(group_run(g, v, 4, &r), 0);
	assert_true(v[0].role == GROUP_FIRST && v[1].role == GROUP_FIRST && v[2].role == GROUP_SECOND);
	assert_int_equal(v[2].nhelpers, 2);
	assert_int_equal(v[3].role, GROUP_SECOND); /* it rests its battery: two others do */
	/* The other two can no more: it is asked after all. */
	v[0].flags |= GROUP_UNREACHABLE;
	v[1].flags &= ~GROUP_CONSENT;
	assert_int_equal(group_run(g, v, 4, &r), 0);
	assert_int_equal(v[3].role, GROUP_FIRST);
	assert_int_equal(r.first, 1);
	v[3].flags = 0;
	assert_int_equal(group_run(g, v, 4, &r), 0);
	assert_int_equal(r.alone, 4);
	groups_free(g);
}

/* All of one /24, as in a hall or behind one address: there is no other prefix to have a helper of, so one is enough. */
static void one_prefix(void **unused)
{
	static struct group_viewer v[100];
	struct groups *g = groups_new(NULL);
	struct group_result r;

	(void)unused;
	for (size_t n = 2; n <= 100; n += 7) {
		for (size_t i = 0; i < n; i++)
			v[i] = good(64500, 7, i % 2 ? 0 : 2e6f);
		for (size_t i = 1; i < n; i += 2)
			v[i].flags = 0;
		assert_int_equal(group_run(g, v, n, &r), 0);
		check(v, n, 48, &r);
		assert_int_equal(r.alone, 0);
		for (size_t i = 0; i < n; i++)
			if (v[i].role == GROUP_SECOND)
				assert_true(v[i].nhelpers >= (n < 4 ? 1 : 2));
	}
	/* one of another comes: who is fed has it too */
	v[99] = good(64500, 8, 2e6f);
	assert_int_equal(group_run(g, v, 100, &r), 0);
	check(v, 100, 48, &r);
	groups_free(g);
}

/* A claim that nobody confirmed is worth what is assumed of everybody. */
static void claims(void **unused)
{
	struct group_viewer v[2] = { good(1, 1, 1e9f), good(1, 2, 1e6f) };
	struct group_options o = { .unknown_uplink = 50e3f, .uplink_share = 0.5f };
	struct groups *g = groups_new(&o);
	struct group_result r;

	(void)unused;
	v[0].flags = GROUP_CONSENT;
	assert_int_equal(group_run(g, v, 2, &r), 0);
	assert_true(fabsf(v[0].cap - 25e3f) < 1);
	assert_true(fabsf(v[1].cap - 500e3f) < 1);
	groups_free(g);
}

#define HOLDERS	 12
#define SEGMENTS 4000

static bool in_ranges(const struct group_range *r, size_t n, uint32_t segment)
{
	for (size_t k = 0; k < n; k++)
		if (segment >= r[k].first && segment <= r[k].last)
			return true;
	return false;
}

/* Every segment in two places; shares in proportion to weight; who leaves moves only what it held. */
static void portions(void **unused)
{
	struct group_holder h[HOLDERS];
	static uint32_t best[SEGMENTS][2];
	uint32_t held[HOLDERS] = { 0 }, now[2], first = 0;
	double sum = 0;

	(void)unused;
	for (uint32_t i = 0; i < HOLDERS; i++) {
		h[i] = (struct group_holder){ .id = 1000 + i, .weight = 1 + i % 3 };
		sum += (double)h[i].weight;
	}
	for (uint32_t s = 0; s < SEGMENTS; s++) {
		assert_int_equal(group_holders(h, HOLDERS, 5, s, 2, best[s]), 2);
		assert_int_not_equal(best[s][0], best[s][1]);
		held[best[s][0]]++;
	}
	for (uint32_t i = 0; i < HOLDERS; i++)
		assert_true(fabs(held[i] / (double)SEGMENTS - (double)h[i].weight / sum) < 0.02);
	/* The last leaves: indices stay, so that sets compare exactly. */
	for (uint32_t s = 0; s < SEGMENTS; s++) {
		bool had = best[s][0] == HOLDERS - 1 || best[s][1] == HOLDERS - 1;

		assert_int_equal(group_holders(h, HOLDERS - 1, 5, s, 2, now), 2);
		if (!had)
			assert_memory_equal(now, best[s], sizeof(now));
		else
			assert_int_equal(now[0], best[s][0] == HOLDERS - 1 ? best[s][1] : best[s][0]);
		first += had;
	}
	assert_in_range(first, 1, SEGMENTS / 2);
	assert_int_equal(group_holders(h, 1, 5, 0, 2, now), 1);
	assert_int_equal(group_holders(h, 0, 5, 0, 2, now), 0);
}

static void ranges(void **unused)
{
	struct group_holder h[HOLDERS];
	struct group_range r[300];
	uint16_t have[200];
	uint32_t best[3], scarce = 0;
	size_t n;

	(void)unused;
	for (uint32_t i = 0; i < HOLDERS; i++)
		h[i] = (struct group_holder){ .id = 77 + i, .weight = 10 };
	for (uint32_t who = 0; who < HOLDERS; who++) {
		n = group_portion(h, HOLDERS, who, 5, 100, 299, 2, NULL, r, 300);
		for (size_t k = 1; k < n; k++)
			assert_true(r[k].first > r[k - 1].last + 1); /* merged, in order */
		for (uint32_t s = 100; s < 300; s++) {
			group_holders(h, HOLDERS, 5, s, 2, best);
			assert_int_equal(in_ranges(r, n, s), best[0] == who || best[1] == who);
		}
	}
	/* With have: what is rare has one place more, and comes first. */
	for (uint32_t s = 0; s < 200; s++)
		have[s] = s % 10 == 3 ? 0 : s % 10 == 4 ? 1 : 5;
	for (uint32_t who = 0; who < HOLDERS; who++) {
		unsigned int level = 0;

		n = group_portion(h, HOLDERS, who, 5, 100, 299, 2, have, r, 300);
		for (size_t k = 0; k < n; k++) {
			unsigned int mine = have[r[k].first - 100] < 2 ? have[r[k].first - 100] : 2;

			assert_true(mine >= level);
			level = mine;
		}
		for (uint32_t s = 100; s < 300; s++) {
			bool rare = have[s - 100] < 2;

			group_holders(h, HOLDERS, 5, s, 3, best);
			scarce += rare && best[2] == who;
			assert_int_equal(in_ranges(r, n, s), best[0] == who || best[1] == who || (rare && best[2] == who));
		}
	}
	assert_int_equal(scarce, 40);
	/* Cut; and ends of the numbers. */
	assert_int_equal(group_portion(h, 2, 0, 5, 0, 9, 2, NULL, r, 300), 1);
	assert_true(r[0].first == 0 && r[0].last == 9);
	assert_int_equal(group_portion(h, HOLDERS, 3, 5, 100, 299, 2, NULL, r, 2), 2);
	assert_int_equal(group_portion(h, 2, 1, 5, UINT32_MAX - 1, UINT32_MAX, 2, NULL, r, 300), 1);
	assert_true(r[0].first == UINT32_MAX - 1 && r[0].last == UINT32_MAX);
	assert_int_equal(group_portion(h, 2, 2, 5, 0, 9, 2, NULL, r, 300), 0);
	assert_int_equal(group_portion(h, 2, 0, 5, 9, 8, 2, NULL, r, 300), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(invariants),	 cmocka_unit_test(capacity),   cmocka_unit_test(borrowing),
		cmocka_unit_test(deterministic), cmocka_unit_test(departures), cmocka_unit_test(arrivals),
		cmocka_unit_test(one_by_one),	 cmocka_unit_test(few),	       cmocka_unit_test(claims),
		cmocka_unit_test(one_prefix),
		cmocka_unit_test(portions),	 cmocka_unit_test(ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
