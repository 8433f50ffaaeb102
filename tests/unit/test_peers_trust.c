/* SPDX-License-Identifier: Apache-2.0 */
/* What forged reports can do, and what they cannot: the bounds that SECURITY.md states. */
#include "tests/unit/peers_room.h"

#define HONEST 20
#define FORGED 1000

static double uplink(struct room *r, unsigned int viewer)
{
	json_t *v = room_viewer_json(r, viewer);
	double up = json_number_value(json_object_get(v, "uplink"));

	json_decref(v);
	return up;
}

static void impossible_reports_are_refused(void **state)
{
	static const char *const impossible[] = {
		",\"down_server\":1e12", ",\"down_peers\":1e12", ",\"up\":1e12",
		",\"down_server\":99",			/* less than before */
		",\"up\":-1",
		",\"have\":[[0,0,150]]",		/* beyond the list */
		",\"have\":[[2,0,1]]",			/* no such rendition */
		",\"have\":[[0,5,4]]",
		",\"have\":[[0,5]]",
		",\"have\":[[0,-1,4]]",
		",\"stall_ms\":5000000",		/* more than the session and what was before it */
		",\"slow\":\"very\"",
		",\"from\":{\"-PM0203-000000000002\":1e12}", /* more than it had from all */
		",\"from\":{\"-PM0203-000000000002\":-5}",
		",\"from\":[]",
		",\"peers\":{}",
		",\"bad\":7",
	};
	struct room r;
	uint64_t refused = 0;

	(void)state;
	room_open(&r, NULL);
	room_join_all(&r, 1, 3, 100, false);
	room_tick(&r, 1000);
	room_report(&r, 1, 5, 12000, ",\"down_server\":100,\"down_peers\":100,\"up\":100");
	assert_int_equal(room_counts(&r).refused_reports, 0);
	for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
		room_tick(&r, 1000);
		room_report(&r, 1, 7, 8000, impossible[i]);
		if (room_counts(&r).refused_reports != ++refused)
			fail_msg("taken: %s", impossible[i]);
	}
	room_report(&r, 1, 152, 8000, "");  /* no such segment */
	room_report(&r, 1, 5, 700000, ""); /* a buffer of minutes */
	room_up(&r, UP_REPORT, "g1", 1, "[]");
	room_up(&r, UP_REPORT, "g1", 1, "nonsense");
	room_up(&r, UP_REPORT, "g1", 99, "{}");
	assert_int_equal(room_counts(&r).refused_reports, refused + 5);
	/* nothing of them counted */
	json_t *v = room_viewer_json(&r, 1);
	assert_int_equal(json_integer_value(json_object_get(v, "position")), 5);
	assert_true(json_number_value(json_object_get(v, "up")) == 100);
	json_decref(v);
	/* a long stall that is over is taken, and a player that began anew in the same session too, but as nothing new */
	room_tick(&r, 1000);
	room_report(&r, 1, 6, 8000, ",\"down_server\":5000100,\"stalls\":1,\"stall_ms\":15000");
	room_tick(&r, 1000);
	room_report(&r, 1, 6, 8000, ",\"down_server\":50,\"down_peers\":0,\"up\":0,\"stalls\":0,\"stall_ms\":0");
	assert_int_equal(room_counts(&r).refused_reports, refused + 5);
	assert_int_equal(room_counts(&r).bytes_server, 5000000);
	room_close(&r);
}

static double given, claimed;

/* One gives, as its receivers say; each says so every second. */
static void give_more(struct room *r, unsigned int giver, const unsigned int *receivers, unsigned int n, unsigned int seconds,
		      double rate, double claim)
{
	char more[256], peer[21];

	for (unsigned int s = 1; s <= seconds; s++) {
		given += rate;
		claimed += claim;
		for (unsigned int i = 0; i < n; i++) {
			snprintf(more, sizeof(more), ",\"down_peers\":%.0f,\"from\":{\"%s\":%.0f},\"peers\":[\"%s\"]", given,
				 room_peer(peer, giver), given, peer);
			room_report(r, receivers[i], s / 4, 12000, more);
		}
		snprintf(more, sizeof(more), ",\"up\":%.0f", claimed);
		room_report(r, giver, s / 4, 12000, more);
		room_tick(r, 1000);
	}
}

static void give(struct room *r, unsigned int giver, const unsigned int *receivers, unsigned int n, unsigned int seconds, double rate,
		 double claim)
{
	given = claimed = 0;
	give_more(r, giver, receivers, n, seconds, rate, claim);
}

static double told_cap(const struct room *r, unsigned int viewer)
{
	return json_number_value(json_object_get(room_told(r, viewer), "cap"));
}

/* A giver in a network of its own, and three receivers in three others, linked to it. */
static void open_of_three(struct room *r)
{
	room_open(r, NULL);
	room_join(r, 1, 100);
	room_announce(r, 1);
	room_join_all(r, 2, 3, 7, false);
	room_tick(r, 20000);
}

static void an_uplink_counts_as_its_receivers_confirm(void **state)
{
	struct room r;
	const unsigned int receivers[] = { 2, 3, 4 };

	(void)state;
	/* of one network: their words make nothing */
	room_open(&r, NULL);
	room_join(&r, 1, 100);
	room_announce(&r, 1);
	room_join_all(&r, 2, 3, 7, true);
	room_tick(&r, 20000);
	for (unsigned int i = 0; i < 3; i++)
		assert_true(room_linked(&r, 1, receivers[i]));
	give(&r, 1, receivers, 3, 30, 100000, 300000);
	assert_false(room_flagged(&r, 1, "measured"));
	assert_true(uplink(&r, 1) == 0);
	room_close(&r);

	/* of three networks */
	open_of_three(&r);
	give(&r, 1, receivers, 3, 40, 100000, 300000);
	assert_true(room_flagged(&r, 1, "measured"));
	assert_true(uplink(&r, 1) > 200000 && uplink(&r, 1) < 400000);
	room_close(&r);

	/* no more than a quarter above what it says itself */
	open_of_three(&r);
	give(&r, 1, receivers, 3, 40, 1000000, 80000);
	assert_true(uplink(&r, 1) <= 1.25 * 80000 + 1);
	room_close(&r);

	/* … which is nothing */
	open_of_three(&r);
	give(&r, 1, receivers, 3, 40, 1000000, 0);
	assert_false(room_flagged(&r, 1, "measured"));
	room_close(&r);

	/* little was asked for, of a film of a low rate: nothing is known of it still */
	open_of_three(&r);
	give(&r, 1, receivers, 3, 40, 1000, 3000);
	assert_false(room_flagged(&r, 1, "measured"));
	room_close(&r);

	/* its own claim is nothing */
	room_open(&r, NULL);
	room_join_all(&r, 1, 4, 7, false);
	room_tick(&r, 20000);
	give(&r, 1, receivers, 3, 30, 0, 5000000);
	assert_false(room_flagged(&r, 1, "measured"));
	room_close(&r);
}

/* Who was never measured gives as it can, else nobody would see what that is; then its cap is a share of that. One that gives
 * all that its cap lets through does not lose it by that; one of whom less is asked slowly does. */
static void caps_follow_what_was_seen(void **state)
{
	struct room r;
	const unsigned int receivers[] = { 2, 3, 4 };
	double up;

	(void)state;
	open_of_three(&r);
	assert_true(told_cap(&r, 1) > 1e8);
	give(&r, 1, receivers, 3, 60, 100000, 300000);
	up = uplink(&r, 1);
	assert_true(up > 250000 && up < 310000);
	assert_true(told_cap(&r, 1) > 0.7 * 0.8 * up && told_cap(&r, 1) < 1.3 * 0.8 * up);
	give_more(&r, 1, receivers, 3, 100, 0.8 * up / 3, 0.8 * up);
	assert_true(uplink(&r, 1) > 0.95 * up);
	for (unsigned int v = 1; v <= 4; v++)
		room_announce_in(&r, v, ROOM_SWARM, NULL, 0);
	give_more(&r, 1, receivers, 3, 100, 0.4 * up / 3, 0.4 * up);
	assert_true(uplink(&r, 1) < 0.85 * up);
	room_close(&r);

	/* who may not give has none */
	room_open(&r, NULL);
	room_join_all(&r, 1, 2, 100, false);
	room_join_as(&r, 3, 300, "\"consent\":false");
	room_announce(&r, 3);
	room_tick(&r, 2000);
	assert_true(told_cap(&r, 1) > 1e8);
	assert_true(told_cap(&r, 3) == 0);
	room_close(&r);
}

/* A player's counters go on when two are linked anew: what was credited by the first link is not by the second. */
static void bytes_count_once(void **state)
{
	struct room r;
	const unsigned int receivers[] = { 2, 3, 4 };
	double up;

	(void)state;
	open_of_three(&r);
	give(&r, 1, receivers, 3, 40, 100000, 5000000);
	up = uplink(&r, 1);
	assert_true(up > 250000 && up < 310000);
	room_announce_in(&r, 1, ROOM_SWARM, "stopped", 0);
	room_announce(&r, 1);
	room_tick(&r, 10000);
	give_more(&r, 1, receivers, 3, 20, 100000, 5000000);
	assert_true(uplink(&r, 1) > 250000 && uplink(&r, 1) < 310000);
	room_close(&r);
}

/* Bytes from one to whom the tracker never linked it are not credited. */
static void strangers_are_not_credited(void **state)
{
	char more[256], peer[21];
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_join_all(&r, 1, 6, 500, false); /* offers were sent, but nobody answers */
	room_peer(peer, 1);
	for (unsigned int s = 1; s <= 30; s++) {
		r.now += 1000;
		coordinator_tick(r.c, r.now);
		for (unsigned int v = 2; v <= 6; v++) {
			snprintf(more, sizeof(more), ",\"down_peers\":%u,\"from\":{\"%s\":%u}", 100000 * s, peer, 100000 * s);
			room_report(&r, v, s / 4, 12000, more);
		}
	}
	assert_true(room_counts(&r).relayed > 0);
	assert_int_equal(room_counts(&r).refused_reports, 0);
	assert_false(room_flagged(&r, 1, "measured"));
	room_close(&r);
}

static void honest_and_forged(struct room *r, const struct coordinator_options *opt)
{
	room_open(r, opt);
	r->alive = r->known = 3;
	room_join_all(r, 1, HONEST, 100, false);
	room_join_all(r, 1001, FORGED, 7, true);
	room_tick(r, 2000);
}

static void honest_report(struct room *r, unsigned int s, unsigned int failing)
{
	char more[128];

	for (unsigned int v = 1; v <= HONEST; v++) {
		snprintf(more, sizeof(more), ",\"down_server\":%u,\"failed\":%u", 125000 * s, v <= failing ? s : 0);
		room_report(r, v, s / 4, 12000, more);
	}
}

static void assert_calm(struct room *r)
{
	json_t *all = coordinator_assets(r->c), *a = json_array_get(json_object_get(all, "assets"), 0);

	if (strcmp(text_of(a, "state"), "calm"))
		fail_msg("%s: %s", text_of(a, "state"), text_of(a, "why"));
	json_decref(all);
}

static void one_network_does_not_move_the_trigger(void **state)
{
	struct coordinator_options opt = { .capacity = 6e6 }; /* the honest want 2.5 MB/s */
	struct room r;
	char more[200];

	(void)state;
	honest_and_forged(&r, &opt);
	for (unsigned int s = 1; s <= 12; s++) {
		honest_report(&r, s, 0);
		for (unsigned int v = 1001; v < 1001 + FORGED; v++) {
			snprintf(more, sizeof(more), ",\"down_server\":%u,\"failed\":%u,\"slow\":9,\"stalls\":%u", 100000000 * s, s, s);
			room_report(&r, v, s / 4, s < 3 ? 12000 : 0, more);
		}
		room_tick(&r, 1000);
		assert_calm(&r);
	}
	/* three honest networks do */
	for (unsigned int s = 13; s <= 15; s++) {
		honest_report(&r, s, 3);
		room_tick(&r, 1000);
	}
	assert_int_equal(room_counts(&r).state[SENSE_CALM], 0);
	room_close(&r);
}

/* Two of two networks who say that they take a gigabit each do not make a strain of it. */
static void a_few_do_not_use_up_the_capacity(void **state)
{
	struct coordinator_options opt = { .capacity = 20e6 }; /* the honest want 2.5 MB/s */
	struct room r;
	char more[64];

	(void)state;
	room_open(&r, &opt);
	r.alive = r.known = 3;
	room_join_all(&r, 1, HONEST, 100, false);
	room_join_all(&r, 1001, 2, 7, false);
	for (unsigned int s = 1; s <= 30; s++) {
		honest_report(&r, s, 0);
		for (unsigned int v = 1001; v <= 1002; v++) {
			snprintf(more, sizeof(more), ",\"down_server\":%.0f", 120e6 * s);
			room_report(&r, v, s / 4, 12000, more);
		}
		room_tick(&r, 1000);
		assert_calm(&r);
	}
	assert_int_equal(room_counts(&r).refused_reports, 0);
	room_close(&r);
}

/* A thousand of one network, who praise each other, are grouped with each other: the honest are not fed by them at all. */
static void a_thousand_of_one_network_feed_themselves(void **state)
{
	unsigned int forged = 0, helpers = 0;
	struct room r;
	char more[400], peer[21];
	json_t *v, *h;
	size_t i;

	(void)state;
	honest_and_forged(&r, NULL);
	for (unsigned int s = 1; s <= 12; s++) {
		honest_report(&r, s, 0);
		for (unsigned int k = 1001; k < 1001 + FORGED; k++) { /* they praise each other */
			snprintf(more, sizeof(more), ",\"up\":%u,\"down_peers\":%u,\"from\":{\"%s\":%u}", 10000000 * s, 1000000 * s,
				 room_peer(peer, k == 1001 ? 1002 : k - 1), 1000000 * s);
			room_report(&r, k, s / 4, 12000, more);
		}
		room_tick(&r, 1000);
	}
	for (unsigned int k = 1; k <= HONEST; k++) {
		unsigned int of = 0, mine = 0;

		v = room_viewer_json(&r, k);
		json_array_foreach (json_object_get(v, "helpers"), i, h) {
			of++;
			mine += room_viewer_of(json_string_value(h)) > 1000;
		}
		if (!strcmp(text_of(v, "role"), "second") && of > 1)
			assert_true(mine < of);
		json_decref(v);
		helpers += of;
		forged += mine;
	}
	print_message("forged helpers of the honest: %u of %u\n", forged, helpers);
	assert_true(helpers >= HONEST);
	assert_true(3 * forged <= 2 * helpers);
	room_close(&r);
}

/*
 * In one grouping, where the honest who give are few, the forged were first and are neighbours: the bound is that of the
 * plan, at least two prefixes for each who is fed. With three helpers one network has at most two of the three, never all.
 */
static void one_network_is_not_all_that_one_is_fed_by(void **state)
{
	unsigned int forged = 0, helpers = 0, seconds = 0;
	struct room r;
	json_t *v, *h;
	size_t i;

	(void)state;
	room_open(&r, NULL);
	room_join_all(&r, 1001, 12, 110, true); /* first, and neighbours of some of the honest, who are preferred */
	for (unsigned int k = 1; k <= 20; k++) {
		room_join_as(&r, k, 100 + k, k <= 6 ? "\"consent\":true" : "\"consent\":false");
		room_announce(&r, k);
	}
	room_tick(&r, 5000);
	for (unsigned int k = 1; k <= 20; k++) {
		unsigned int of = 0, mine = 0;

		v = room_viewer_json(&r, k);
		json_array_foreach (json_object_get(v, "helpers"), i, h) {
			of++;
			mine += room_viewer_of(json_string_value(h)) > 1000;
		}
		if (!strcmp(text_of(v, "role"), "second")) {
			seconds++;
			helpers += of;
			forged += mine;
			if (of > 1)
				assert_true(mine < of);
		}
		json_decref(v);
	}
	print_message("forged helpers of the honest who are fed: %u of %u\n", forged, helpers);
	assert_true(seconds >= 14);
	assert_true(forged > 0); /* else this says nothing */
	assert_true(3 * forged <= 2 * helpers);
	room_close(&r);
}

/* Nor when they say that they have everything that the others want, so that they are the best to ask. */
static void claims_draw_no_one_wholly(void **state)
{
	unsigned int fed = 0, drawn = 0;
	struct room r;
	json_t *v, *h;
	size_t i;

	(void)state;
	room_open(&r, NULL);
	room_join_all(&r, 1001, 30, 110, true);
	for (unsigned int k = 1; k <= 14; k++) {
		room_join_as(&r, k, 100 + k, k <= 6 ? "\"consent\":true" : "\"consent\":false");
		room_announce(&r, k);
	}
	for (unsigned int s = 0; s < 20; s++) {
		for (unsigned int k = 1; k <= 14; k++)
			room_report(&r, k, 20, 12000, k <= 6 ? ",\"have\":[[0,0,19]]" : "");
		for (unsigned int k = 1001; k <= 1030; k++)
			room_report(&r, k, 20, 12000, ",\"have\":[[0,0,149]]");
		room_tick(&r, 1000);
	}
	for (unsigned int k = 7; k <= 14; k++) {
		unsigned int of = 0, mine = 0;

		v = room_viewer_json(&r, k);
		assert_string_equal(text_of(v, "role"), "second");
		json_array_foreach (json_object_get(v, "helpers"), i, h) {
			of++;
			mine += room_viewer_of(json_string_value(h)) > 1000;
		}
		json_decref(v);
		assert_true(of >= 2 && mine < of);
		fed++;
		drawn += mine;
	}
	print_message("forged helpers of %u honest: %u\n", fed, drawn);
	assert_true(drawn > 0); /* else this says nothing */
	room_close(&r);
}

/* Who says that they have everything keep nobody else from holding it: one however often it says so, two of one network. */
static void claims_of_one_network_leave_holds(void **state)
{
	static const char *const has[] = { "[0,0,149],[0,0,149],[0,3,149]", "[0,0,149]" };

	(void)state;
	for (unsigned int liars = 1; liars <= 2; liars++) {
		unsigned int held = 0;
		struct room r;
		char more[100];

		room_open(&r, NULL);
		room_join_all(&r, 1, 8, 100, false);
		room_join_all(&r, 1001, liars, 7, true);
		for (unsigned int s = 20; s < 24; s++) {
			for (unsigned int v = 1; v <= 8; v++)
				room_report(&r, v, s, 12000, "");
			snprintf(more, sizeof(more), ",\"have\":[%s]", has[liars - 1]);
			for (unsigned int v = 1001; v < 1001 + liars; v++)
				room_report(&r, v, s, 12000, more);
			room_tick(&r, 4000);
		}
		assert_int_equal(room_counts(&r).refused_reports, 0);
		assert_int_equal(room_counts(&r).first, 8 + liars);
		for (unsigned int v = 1; v <= 8; v++)
			held += json_array_size(json_object_get(room_told(&r, v), "hold")) > 0;
		assert_true(held >= 6);
		room_close(&r);
	}
}

/* Which rendition a swarm is of say those who are in it and report, one voice each: who announces a hundred times more often
 * does not divide those who report nothing from the others. */
static void announces_are_no_votes(void **state)
{
	json_t *groups;
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_join_all(&r, 1, 6, 100, false);
	for (unsigned int v = 1; v <= 6; v++)
		room_report(&r, v, 1, 12000, "");
	for (unsigned int v = 1; v <= 6; v++)
		room_announce_in(&r, v, ROOM_SWARM, NULL, 0);
	room_join(&r, 1001, 7); /* it says that it plays another */
	room_up(&r, UP_REPORT, "g1", 1001, "{\"r\":1,\"n\":1,\"pos\":4,\"buffer\":8000}");
	for (int i = 0; i < 100; i++) {
		room_announce_in(&r, 1001, ROOM_SWARM, NULL, 0);
		r.now += 500;
	}
	room_join_all(&r, 11, 6, 200, false); /* unmodified players */
	room_tick(&r, 3000);
	groups = coordinator_groups(r.c, ROOM_ASSET);
	assert_int_equal(json_array_size(groups), 2);
	assert_int_equal(json_array_size(json_object_get(json_array_get(groups, 0), "viewers")) +
				 json_array_size(json_object_get(json_array_get(groups, 1), "viewers")), 13);
	assert_int_equal(room_counts(&r).alone, 1);
	json_decref(groups);
	room_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(impossible_reports_are_refused),
		cmocka_unit_test(an_uplink_counts_as_its_receivers_confirm),
		cmocka_unit_test(caps_follow_what_was_seen),
		cmocka_unit_test(bytes_count_once),
		cmocka_unit_test(strangers_are_not_credited),
		cmocka_unit_test(one_network_does_not_move_the_trigger),
		cmocka_unit_test(a_few_do_not_use_up_the_capacity),
		cmocka_unit_test(a_thousand_of_one_network_feed_themselves),
		cmocka_unit_test(one_network_is_not_all_that_one_is_fed_by),
		cmocka_unit_test(claims_draw_no_one_wholly),
		cmocka_unit_test(claims_of_one_network_leave_holds),
		cmocka_unit_test(announces_are_no_votes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
