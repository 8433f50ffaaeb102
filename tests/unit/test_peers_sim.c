/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peers_sim.c -- the simulator's physics, so that its figures can be believed: no upload above a cap, nothing comes
 * from who has it not, what is sent is what arrives, and a seed says everything. And supply.h, which it shares with nobody
 * yet but is pure.
 */
#include <errno.h>

#include "tests/unit/unit.h"

#include "http/peers/sim.h"
#include "http/peers/supply.h"

static void run(const struct sim_options *opt, struct sim_result *r, char **text)
{
	struct sim *s;

	assert_int_equal(sim_new(&s, opt), 0);
	while (sim_step(s))
		;
	sim_result(s, r);
	if (text) {
		json_t *all = sim_json(s);

		*text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
		json_decref(all);
	}
	sim_free(s);
}

static struct sim_options small(enum sim_policy policy)
{
	struct sim_options o;

	sim_defaults(&o);
	o.policy = policy;
	o.viewers = 200;
	o.warm_ms = 60000;
	o.outage_ms = 30000;
	o.check = true;
	return o;
}

static void physics_hold_for_every_policy(void **state)
{
	(void)state;
	for (int p = 0; p < SIM_POLICIES; p++)
		for (int live = 0; live < 2; live++) {
			struct sim_options o = small((enum sim_policy)p);
			struct sim_result r;

			o.live = live;
			o.storm = 0.2;
			run(&o, &r, NULL);
			assert_int_equal(r.broken[0], 0);
			assert_int_equal(r.broken[1], 0);
			assert_int_equal(r.broken[2], 0);
			assert_true(r.server_bytes > 0);
			assert_true(p == SIM_CLIENT_SERVER ? r.peer_bytes <= 0 : r.peer_bytes > 0);
			assert_true(r.watched > 150 && r.watched <= 200);
			assert_true(r.stallfree >= 0 && r.stallfree <= 1 && r.uplink_used <= 1.0001);
		}
}

static void a_seed_says_everything(void **state)
{
	(void)state;
	for (int p = 0; p < SIM_POLICIES; p++) {
		struct sim_options o = small((enum sim_policy)p);
		struct sim_result r;
		char *one, *again, *other;

		o.series = true;
		run(&o, &r, &one);
		run(&o, &r, &again);
		o.seed = 2;
		run(&o, &r, &other);
		assert_string_equal(one, again);
		assert_string_not_equal(one, other);
		free(one), free(again), free(other);
	}
}

/* Without peers a stall lasts as long as the outage less the buffer, and the retries of the player: known by hand. */
static void client_and_server_as_reckoned(void **state)
{
	struct sim_options o = small(SIM_CLIENT_SERVER);
	struct sim_result r;

	(void)state;
	o.outage_ms = 60000;
	o.churn = 1e-9;
	run(&o, &r, NULL);
	assert_true(r.stallfree < 0.05);
	assert_in_range(r.stall_ms[0], 60000 - 30000, 60000 - 26000 + 12000);
	assert_true(r.steady_rebuffer < 0.001);
	assert_true(r.server_before > 0.9 && r.server_before < 1.2);
}

static void no_outage_no_stall(void **state)
{
	struct sim_options o = small(SIM_WEIR);
	struct sim_result r;

	(void)state;
	o.capacity_left = 1;
	run(&o, &r, NULL);
	assert_true(r.stallfree > 0.99);
	assert_true(r.offload > 0.5);
}

/* Nothing new can be shared that nobody holds: a live stream stops for all, whatever the policy. */
static void live_stops_without_a_server(void **state)
{
	(void)state;
	for (int p = 0; p < SIM_POLICIES; p++) {
		struct sim_options o = small((enum sim_policy)p);
		struct sim_result r;

		o.live = true;
		run(&o, &r, NULL);
		assert_true(r.stallfree < 0.1);
	}
}

/* With a twentieth of the server there is something new to share: 1,000 viewers wait for 3.6 % of the time, 64 % without us. */
static void live_goes_on_with_little_of_a_server(void **state)
{
	struct sim_options o = small(SIM_WEIR);
	struct sim_result r, alone;

	(void)state;
	o.viewers = 600;
	o.live = true;
	o.warm_ms = o.outage_ms = 60000;
	o.capacity_left = 0.05;
	run(&o, &r, NULL);
	o.policy = SIM_CLIENT_SERVER;
	run(&o, &alone, NULL);
	assert_true(r.rebuffer < 0.12 && r.rebuffer < alone.rebuffer / 4);
	assert_true(r.steady_rebuffer < 0.002);
}

static void a_storm_is_regrouped(void **state)
{
	struct sim_options o = small(SIM_WEIR);
	struct sim_result r;

	(void)state;
	o.viewers = 600;
	run(&o, &r, NULL);
	assert_true(r.lost == 0 && r.regroup_ms[0] < 0 && r.restock_ms[0] < 0); /* there was none */
	o.storm = 0.2;
	run(&o, &r, NULL);
	assert_in_range(r.lost, 100, 480);
	assert_true(r.lost_portions > 0);
	/* a channel takes 200 ms of computing and nine half round trips of two people: it cannot be at once */
	assert_true(r.regroup_ms[0] >= 500 && r.regroup_ms[0] <= 2000 && r.regroup_ms[1] >= r.regroup_ms[0]);
	assert_true(r.restock_ms[0] >= 500);
}

static void wrong_options_are_refused(void **state)
{
	struct sim_options o = small(SIM_WEIR);
	struct sim *s = NULL;

	(void)state;
	o.capacity_left = 2;
	assert_int_equal(sim_new(&s, &o), -EINVAL);
	o = small(SIM_WEIR);
	o.viewers = 1;
	assert_int_equal(sim_new(&s, &o), -EINVAL);
	assert_null(s);
}

/* ---- supply ---- */

static void rare_is_what_too_few_hold(void **state)
{
	uint64_t a = 0x0f, b = 0x03, none = 0, rare, nobody;
	struct supply_member m[] = {
		{ .have = &a, .cap = 10, .demand = 1, .position = 0, .last = 5 },
		{ .have = &b, .cap = 10, .demand = 1, .position = 1, .last = 3 },
		{ .have = &none, .cap = 0, .demand = 1, .position = 9, .last = 8 },
		{ .have = &a, .cap = 0.5f, .demand = 1, .position = 9, .last = 8 }, /* too slow to count */
	};

	(void)state;
	supply_rare(m, 4, 1, 2, &rare, &nobody);
	assert_int_equal(rare, 0x3c);
	assert_int_equal(nobody, 0x30);
	supply_rare(m, 4, 1, 1, &rare, &nobody);
	assert_int_equal(rare, 0x30);
}

static void sources_cover_what_is_wanted(void **state)
{
	uint64_t a = 0x0f, b = 0xf0, c = 0xff, mine = 0, want = 0x1ff, lacking;
	struct supply_member m[] = {
		{ .have = &mine, .cap = 0, .demand = 1, .as = 1 },
		{ .have = &a, .cap = 5, .demand = 1, .as = 1 },
		{ .have = &b, .cap = 5, .demand = 1, .as = 1 },
		{ .have = &c, .cap = 5, .demand = 1, .as = 2 },
	};
	uint32_t out[4];
	size_t n = supply_sources(m, 4, 0, &want, 1, NULL, 0, out, 4, &lacking);

	(void)state;
	assert_int_equal(n, 3);
	assert_int_not_equal(out[0], 3); /* its own network first, though the stranger has all */
	assert_int_not_equal(out[1], 3);
	assert_int_equal(lacking, 0x100); /* nobody has it */
	assert_true(m[1].load > 0 && m[2].load > 0);
	/* Who has nothing left still is asked, when nobody else has it; and it is said to be lacking. */
	m[1].load = 5;
	m[2].cap = m[3].cap = 0;
	n = supply_sources(m, 4, 0, &want, 1, NULL, 0, out, 4, &lacking);
	assert_int_equal(n, 1);
	assert_int_equal(out[0], 1);
	assert_int_equal(lacking, 0x1ff);
}

static void who_was_just_told_is_not_told_otherwise(void **state)
{
	uint64_t all = 0xff, mine = 0, lacking;
	struct supply_member m[] = {
		{ .have = &mine, .cap = 0, .demand = 1, .as = 1 },
		{ .have = &all, .cap = 5, .demand = 1, .load = 5, .as = 2 }, /* the worse in all: far away, and busy */
		{ .have = &all, .cap = 5, .demand = 1, .as = 1 },
		{ .have = &all, .cap = 5, .demand = 1, .as = 1 },
	};
	uint32_t out[4], now = 1, firm = 1 | SUPPLY_FIRM;

	(void)state;
	assert_true(supply_sources(m, 4, 0, &all, 1, &now, 1, out, 1, &lacking) == 1 && out[0] != 1);
	assert_true(supply_sources(m, 4, 0, &all, 1, &firm, 1, out, 1, &lacking) == 1 && out[0] == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(physics_hold_for_every_policy), cmocka_unit_test(a_seed_says_everything),
		cmocka_unit_test(client_and_server_as_reckoned), cmocka_unit_test(no_outage_no_stall),
		cmocka_unit_test(live_stops_without_a_server),	 cmocka_unit_test(wrong_options_are_refused),
		cmocka_unit_test(a_storm_is_regrouped),		 cmocka_unit_test(live_goes_on_with_little_of_a_server),
		cmocka_unit_test(rare_is_what_too_few_hold),	 cmocka_unit_test(sources_cover_what_is_wanted),
		cmocka_unit_test(who_was_just_told_is_not_told_otherwise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
