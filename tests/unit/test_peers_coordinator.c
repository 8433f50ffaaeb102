/* SPDX-License-Identifier: Apache-2.0 */
/* The owner's half, driven by ups and ticks on a clock of the test's: who meets whom. */
#include "tests/unit/peers_room.h"

static void two_meet_at_once(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 2);
	/* no tick: the second's first announce is served */
	assert_int_equal(room_heard(&r, 1, "offer", 2) + room_heard(&r, 2, "offer", 1), 1);
	room_react(&r);
	assert_int_equal(room_heard(&r, 1, "answer", 2) + room_heard(&r, 2, "answer", 1), 1);
	assert_int_equal(room_counts(&r).answers, 1);
	room_close(&r);
}

static void clients_are_answered_as_they_expect(void **state)
{
	struct room r;
	const json_t *j;

	(void)state;
	room_open(&r, NULL);
	room_join(&r, 1, 1);
	room_announce(&r, 1);
	assert_int_equal(r.nsaid, 1);
	j = r.said[0].json;
	assert_string_equal(text_of(j, "action"), "announce");
	assert_string_equal(text_of(j, "info_hash"), ROOM_SWARM);
	assert_in_range(json_integer_value(json_object_get(j, "interval")), 5, 60);
	room_up(&r, UP_TRACK, "g1", 1, "{\"action\":\"announce\"}");
	assert_true(strlen(text_of(r.said[1].json, "failure reason")) > 10);
	room_up(&r, UP_TRACK, "g1", 1, "{\"action\":\"scrape\"}");
	assert_int_equal(json_object_size(json_object_get(r.said[2].json, "files")), 1);
	/* whom nobody knows is not answered: its home is asked who that is */
	room_announce(&r, 77);
	assert_int_equal(r.nsaid, 4);
	assert_int_equal(r.said[3].kind, DOWN_AGAIN);
	assert_int_equal(room_counts(&r).dropped, 2);
	room_close(&r);
}

/* Every offer that was relayed is between two whom the record says to be linked. */
static void offers_stay_within_groupings(void **state)
{
	struct coordinator_options opt = { .group = { .size = 12 } };
	unsigned int grouping[61] = { 0 }, offers = 0;
	bool pair[61][61] = { { false } };
	struct room r;
	json_t *groups, *g, *v, *h;
	size_t i, k, m;

	(void)state;
	room_open(&r, &opt);
	room_fill(&r, 60);
	room_tick(&r, 1000);
	room_forget(&r);
	room_tick(&r, 8000);
	groups = coordinator_groups(r.c, ROOM_ASSET);
	assert_true(json_array_size(groups) >= 5);
	json_array_foreach (groups, i, g) {
		json_array_foreach (json_object_get(g, "viewers"), k, v) {
			unsigned int of = room_viewer_of(text_of(v, "viewer"));

			grouping[of] = (unsigned int)i + 1;
			json_array_foreach (json_object_get(v, "helpers"), m, h) {
				pair[of][room_viewer_of(json_string_value(h))] = true;
				pair[room_viewer_of(json_string_value(h))][of] = true;
			}
		}
	}
	json_decref(groups);
	for (i = 0; i < r.nsaid; i++) {
		unsigned int to = room_viewer_of(r.said[i].viewer), from;

		if (r.said[i].kind != DOWN_TRACK || !json_object_get(r.said[i].json, "offer"))
			continue;
		from = room_viewer_of(text_of(r.said[i].json, "peer_id"));
		assert_int_equal(grouping[from], grouping[to]);
		assert_true(pair[from][to]);
		offers++;
	}
	for (i = 1; i <= 60; i++)
		assert_true(grouping[i] > 0);
	/* who was linked in the first second is not linked again: what is left is little */
	assert_true(offers < 60 * 8);
	room_close(&r);
}

static void all_links_of_the_plan_come_to_be(void **state)
{
	struct room r;
	json_t *groups, *v, *h;
	size_t i, k;
	unsigned int missing = 0;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 30);
	room_react(&r);
	room_tick(&r, 20000);
	groups = coordinator_groups(r.c, ROOM_ASSET);
	json_array_foreach (json_object_get(json_array_get(groups, 0), "viewers"), i, v) {
		unsigned int of = room_viewer_of(text_of(v, "viewer"));

		json_array_foreach (json_object_get(v, "helpers"), k, h) {
			unsigned int with = room_viewer_of(json_string_value(h));

			missing += !room_heard(&r, of, "answer", with) && !room_heard(&r, with, "answer", of);
		}
	}
	json_decref(groups);
	assert_int_equal(missing, 0);
	room_close(&r);
}

/* Viewers of one network alone are fed by each other too. */
static void one_network_feeds_itself(void **state)
{
	unsigned int fed = 0;
	struct room r;

	(void)state;
	room_open(&r, NULL);
	for (unsigned int v = 1; v <= 12; v++) {
		room_join_as(&r, v, 7, v <= 6 ? "\"consent\":true" : "\"consent\":false");
		room_announce(&r, v);
	}
	room_tick(&r, 20000);
	for (unsigned int v = 7; v <= 12; v++) {
		const json_t *t = room_told(&r, v);

		assert_string_equal(text_of(t, "role"), "second");
		assert_true(json_array_size(json_object_get(t, "from")) >= 2);
		for (unsigned int h = 1; h <= 6; h++)
			fed += room_heard(&r, v, "answer", h) + room_heard(&r, h, "answer", v) > 0;
	}
	assert_true(fed >= 12);
	room_close(&r);
}

static void each_offer_goes_to_one_alone(void **state)
{
	struct room r;
	bool *seen;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 40);
	room_react(&r);
	room_tick(&r, 30000);
	seen = calloc(r.offers, sizeof(*seen));
	for (size_t i = 0; i < r.nsaid; i++) {
		unsigned int id;

		if (r.said[i].kind != DOWN_TRACK || !json_object_get(r.said[i].json, "offer"))
			continue;
		id = (unsigned int)strtoul(text_of(r.said[i].json, "offer_id"), NULL, 10);
		assert_false(seen[id]);
		seen[id] = true;
	}
	free(seen);
	room_close(&r);
}

static void nobody_meets_before_consent(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	/* 1 and 2 receive only, 3 refuses all, 4 consents */
	room_join_as(&r, 1, 11, "\"consent\":false");
	room_join_as(&r, 2, 12, "\"consent\":false,\"receive\":true");
	room_join_as(&r, 3, 13, "\"consent\":false,\"receive\":false");
	for (unsigned int i = 1; i <= 3; i++)
		room_announce(&r, i);
	room_tick(&r, 5000);
	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(room_heard(&r, i, "offer", -1), 0);
		assert_int_equal(json_array_size(json_object_get(room_told(&r, i), "from")), 0);
		assert_string_equal(text_of(room_told(&r, i), "role"), "alone");
	}
	assert_true(json_is_true(json_object_get(json_object_get(room_told(&r, 3), "settings"), "isP2PDisabled")));
	room_join(&r, 4, 14);
	room_announce(&r, 4);
	room_tick(&r, 5000);
	/* the receivers meet the helper alone, never each other; the third nobody */
	assert_int_equal(room_heard(&r, 1, "offer", 2) + room_heard(&r, 2, "offer", 1), 0);
	assert_true(room_heard(&r, 1, "offer", 4) + room_heard(&r, 4, "offer", 1) > 0);
	assert_true(room_heard(&r, 2, "offer", 4) + room_heard(&r, 4, "offer", 2) > 0);
	assert_int_equal(room_heard(&r, 3, "offer", -1) + room_heard(&r, 4, "offer", 3), 0);
	assert_string_equal(text_of(room_told(&r, 1), "role"), "second");
	assert_int_equal(json_array_size(json_object_get(room_told(&r, 1), "share")), 0);
	assert_int_equal(json_array_size(json_object_get(room_told(&r, 1), "from")), 1);
	assert_true(json_is_true(json_object_get(json_object_get(room_told(&r, 1), "settings"), "isP2PUploadDisabled")));
	/* consent that is taken back by a report ends it: nobody can feed the two any more */
	room_report(&r, 4, 0, 0, ",\"consent\":false");
	room_forget(&r);
	room_tick(&r, 20000);
	room_announce(&r, 4);
	room_announce(&r, 1);
	room_tick(&r, 20000);
	for (unsigned int i = 1; i <= 4; i++)
		assert_int_equal(room_heard(&r, i, "offer", -1), 0);
	room_close(&r);
}

/* Consent that a report took back stays so: in a report that is impossible else, in one that comes at once after another,
 * and when another gateway tells what the session began with. */
static void withdrawn_consent_stays_withdrawn(void **state)
{
	static const char *const last[] = { ",\"consent\":false,\"have\":[[9,0,1]]", ",\"consent\":false" };
	struct room r;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		room_open(&r, NULL);
		room_fill(&r, 2);
		room_tick(&r, 2000);
		room_report(&r, 2, 0, 8000, "");
		room_report(&r, 2, 0, 8000, last[i]);
		room_tick(&r, 2000);
		assert_true(json_is_true(json_object_get(json_object_get(room_told(&r, 2), "settings"), "isP2PUploadDisabled")));
		room_up(&r, UP_JOIN, "g2", 2, "{\"prefix\":102,\"as\":1,\"consent\":true}");
		room_tick(&r, 2000);
		assert_true(json_is_true(json_object_get(json_object_get(room_told(&r, 2), "settings"), "isP2PUploadDisabled")));
		/* only itself gives it again */
		room_report(&r, 2, 0, 8000, ",\"consent\":true");
		room_tick(&r, 2000);
		assert_true(json_is_false(json_object_get(json_object_get(room_told(&r, 2), "settings"), "isP2PUploadDisabled")));
		room_close(&r);
	}
}

/* A peer_id is one viewer's as long as it is there: what is said of another who took it would count for the first. */
static void a_peer_id_is_of_one_alone(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 4);
	room_react(&r);
	room_join(&r, 9, 999);
	room_up(&r, UP_TRACK, "g1", 9,
		"{\"action\":\"announce\",\"info_hash\":\"" ROOM_SWARM "\",\"peer_id\":\"-PM0203-000000000001\",\"offers\":[]}");
	assert_int_equal(room_counts(&r).dropped, 1);
	assert_int_equal(room_heard(&r, 9, "interval", -1), 1); /* and comes again */
	room_tick(&r, 2000);
	assert_int_equal(room_counts(&r).alone, 1);
	/* whose it was has gone */
	room_up(&r, UP_LEAVE, "g1", 1, "");
	room_up(&r, UP_TRACK, "g1", 9,
		"{\"action\":\"announce\",\"info_hash\":\"" ROOM_SWARM "\",\"peer_id\":\"-PM0203-000000000001\",\"offers\":[]}");
	assert_int_equal(room_counts(&r).dropped, 1);
	room_tick(&r, 2000);
	assert_int_equal(room_counts(&r).alone, 0);
	room_close(&r);
}

static void answers_come_only_from_whom_was_asked(void **state)
{
	char text[512], peer[21];
	struct room r;
	const char *offer = NULL;
	unsigned int from = 0, to = 0;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 2);
	room_join(&r, 9, 99);
	for (size_t i = 0; i < r.nsaid; i++) {
		if (r.said[i].kind == DOWN_TRACK && json_object_get(r.said[i].json, "offer")) {
			offer = text_of(r.said[i].json, "offer_id");
			from = room_viewer_of(text_of(r.said[i].json, "peer_id"));
			to = room_viewer_of(r.said[i].viewer);
		}
	}
	assert_non_null(offer);
#define ANSWER "{\"action\":\"announce\",\"info_hash\":\"" ROOM_SWARM "\",\"peer_id\":\"-PM0203-%012u\",\"to_peer_id\":\"%s\",\"offer_id\":\"%s\"," \
	       "\"answer\":{\"type\":\"answer\",\"sdp\":\"x\"}}"
	/* a stranger; the right one in another's name; the right one with another's offer */
	snprintf(text, sizeof(text), ANSWER, 9, room_peer(peer, from), offer);
	room_up(&r, UP_TRACK, "g1", 9, text);
	snprintf(text, sizeof(text), ANSWER, 9, room_peer(peer, from), offer);
	room_up(&r, UP_TRACK, "g1", to, text);
	snprintf(text, sizeof(text), ANSWER, to, room_peer(peer, from), "xxxxxxxxxxxxxxxxxxxx");
	room_up(&r, UP_TRACK, "g1", to, text);
	assert_int_equal(room_counts(&r).answers, 0);
	assert_int_equal(room_heard(&r, from, "answer", -1), 0);
	snprintf(text, sizeof(text), ANSWER, to, room_peer(peer, from), offer);
	room_up(&r, UP_TRACK, "g1", to, text);
	assert_int_equal(room_heard(&r, from, "answer", to), 1);
	/* once */
	room_up(&r, UP_TRACK, "g1", to, text);
	assert_int_equal(room_heard(&r, from, "answer", to), 1);
	room_close(&r);
}

/* A report or an announce of one who is not known: its home is asked for it. One who is told again, by a home that knows an epoch
 * of the former owner's, hears of a later one, when the other homes have had time; so does one who says that it knows a later. */
static void who_is_not_known_is_asked_for(void **state)
{
	struct room r;
	char facts[96];
	json_int_t ahead;
	size_t n;

	(void)state;
	room_open(&r, NULL);
	ahead = r.now + 5000;
	room_up(&r, UP_REPORT, "g1", 1, "{}");
	assert_int_equal(r.nsaid, 1);
	assert_int_equal(r.said[0].kind, DOWN_AGAIN);
	assert_string_equal(r.said[0].home, "g1");
	snprintf(facts, sizeof(facts), "{\"prefix\":7,\"as\":1,\"consent\":true,\"epoch\":%lld}", (long long)ahead);
	room_up(&r, UP_JOIN, "g1", 1, facts);
	coordinator_tick(r.c, r.now + 1000);
	assert_int_equal(r.nsaid, 1);
	coordinator_tick(r.c, r.now + 2000);
	assert_int_equal(r.nsaid, 2);
	assert_true(json_integer_value(json_object_get(r.said[1].json, "epoch")) > ahead);
	/* from another home it is said again, there */
	room_up(&r, UP_JOIN, "g2", 1, "{\"prefix\":7,\"as\":1,\"consent\":true}");
	coordinator_tick(r.c, r.now + 2250);
	n = r.nsaid;
	snprintf(facts, sizeof(facts), "{\"resync\":true,\"epoch\":%lld}", (long long)ahead + 1000);
	room_up(&r, UP_REPORT, "g2", 1, facts);
	coordinator_tick(r.c, r.now + 2500);
	assert_int_equal(r.nsaid, n + 1);
	assert_string_equal(r.said[n].home, "g2");
	assert_int_equal(json_integer_value(json_object_get(r.said[n].json, "epoch")), ahead + 1001);
	room_close(&r);
}

/* Kept offers: one who comes later meets those who announced before, until clients have forgotten their offers. */
static void offers_are_kept_a_while(void **state)
{
	struct coordinator_options opt = { .offers_bytes = 2000 };
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_join(&r, 1, 101);
	room_announce(&r, 1);
	r.now += 39000;
	room_join(&r, 2, 102);
	room_announce_in(&r, 2, ROOM_SWARM, NULL, 0);
	assert_int_equal(room_heard(&r, 2, "offer", 1), 1);
	room_close(&r);

	room_open(&r, NULL);
	room_join(&r, 1, 101);
	room_announce(&r, 1);
	r.now += 41000;
	coordinator_tick(r.c, r.now);
	room_join(&r, 2, 102);
	room_announce_in(&r, 2, ROOM_SWARM, NULL, 0);
	assert_int_equal(room_heard(&r, 2, "offer", 1), 0);
	/* then one of the two is asked for an announce at once */
	room_tick(&r, 4000);
	assert_int_equal(room_heard(&r, 2, "offer", 1) + room_heard(&r, 1, "offer", 2), 1);
	room_close(&r);

	/* all together within a bound: the oldest goes first */
	room_open(&r, &opt);
	for (unsigned int i = 0; i < 100; i++) {
		room_join_as(&r, 1000 + i, i, "\"consent\":true");
		room_announce(&r, 1000 + i);
	}
	assert_true(room_counts(&r).viewers == 100);
	room_close(&r);
}

static void floods_are_dropped_and_counted(void **state)
{
	struct room r;
	uint64_t dropped;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 2);
	for (int i = 0; i < 500; i++)
		room_announce(&r, 1);
	dropped = room_counts(&r).dropped;
	assert_in_range(dropped, 470, 490);
	assert_true(room_counts(&r).relayed <= 1);
	/* the other is not touched by it, and after a while the first neither */
	room_announce(&r, 2);
	r.now += 5000;
	room_announce(&r, 1);
	assert_int_equal(room_counts(&r).dropped, dropped);
	room_close(&r);
}

static void who_leaves_is_gone(void **state)
{
	struct room r;
	char peer[21];
	const json_t *told;
	size_t i;
	json_t *p;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 12);
	room_react(&r);
	room_tick(&r, 3000);
	room_up(&r, UP_LEAVE, "g1", 5, "");
	room_forget(&r);
	assert_int_equal(room_counts(&r).viewers, 11);
	room_tick(&r, 1000);
	for (unsigned int v = 1; v <= 12; v++) {
		assert_int_equal(room_heard(&r, v, "offer", 5), 0);
		told = room_told(&r, v);
		room_peer(peer, 5);
		json_array_foreach (json_object_get(told, "share"), i, p)
			assert_string_not_equal(json_string_value(p), peer);
		json_array_foreach (json_object_get(told, "from"), i, p)
			assert_string_not_equal(json_string_value(p), peer);
	}
	assert_int_equal(room_heard(&r, 5, "offer", -1), 0);
	room_close(&r);
}

/* Who leaves one of its swarms hears a list without those whom it met there. */
static void who_leaves_a_swarm_hears_it(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 2);
	for (unsigned int v = 1; v <= 2; v++)
		room_announce_in(&r, v, "swarm-of-rendition-1", NULL, 5);
	room_tick(&r, 1000);
	assert_int_equal(json_array_size(json_object_get(room_told(&r, 1), "from")), 2);
	room_announce_in(&r, 1, "swarm-of-rendition-1", "stopped", 0);
	room_tick(&r, 250);
	assert_int_equal(json_array_size(json_object_get(room_told(&r, 1), "from")), 1);
	assert_int_equal(json_array_size(json_object_get(room_told(&r, 2), "from")), 1);
	room_close(&r);
}

static void who_falls_silent_leaves_its_grouping(void **state)
{
	struct room r;
	struct coordinator_counts n;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 4);
	for (unsigned int s = 0; s < 70; s++) {
		for (unsigned int v = 1; v <= 4; v++)
			if (v != 3 || s < 2)
				room_report(&r, v, s / 4, 12000, "");
		room_tick(&r, 1000);
	}
	n = room_counts(&r);
	assert_int_equal(n.viewers, 4);
	assert_int_equal(n.alone, 1);
	/* it speaks again, and is back */
	room_announce(&r, 3);
	room_tick(&r, 1000);
	assert_int_equal(room_counts(&r).alone, 0);
	room_close(&r);
}

/* A page in the background, whose timers go once a minute, keeps its place. */
static void a_word_a_minute_is_enough(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 3);
	for (unsigned int s = 0; s < 250; s += 2) {
		for (unsigned int v = 1; v <= 3; v++) {
			if (v < 3 || s % 62 == 0)
				room_report(&r, v, 5, 12000, "");
			if (s % 62 == 0)
				room_announce_in(&r, v, ROOM_SWARM, NULL, 0);
		}
		room_tick(&r, 2000);
		assert_int_equal(room_counts(&r).alone, 0);
	}
	room_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_meet_at_once),
		cmocka_unit_test(clients_are_answered_as_they_expect),
		cmocka_unit_test(offers_stay_within_groupings),
		cmocka_unit_test(all_links_of_the_plan_come_to_be),
		cmocka_unit_test(one_network_feeds_itself),
		cmocka_unit_test(each_offer_goes_to_one_alone),
		cmocka_unit_test(nobody_meets_before_consent),
		cmocka_unit_test(withdrawn_consent_stays_withdrawn),
		cmocka_unit_test(a_peer_id_is_of_one_alone),
		cmocka_unit_test(answers_come_only_from_whom_was_asked),
		cmocka_unit_test(who_is_not_known_is_asked_for),
		cmocka_unit_test(offers_are_kept_a_while),
		cmocka_unit_test(floods_are_dropped_and_counted),
		cmocka_unit_test(who_leaves_is_gone),
		cmocka_unit_test(who_leaves_a_swarm_hears_it),
		cmocka_unit_test(who_falls_silent_leaves_its_grouping),
		cmocka_unit_test(a_word_a_minute_is_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
