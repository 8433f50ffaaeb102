/* SPDX-License-Identifier: Apache-2.0 */
/* The owner's half, driven by ups and ticks on a clock of the test's: who meets whom, who is told what. */
#include "tests/unit/peers_room.h"

/* Viewers 1…n in networks of their own, all in the swarm. */
static void fill(struct room *r, unsigned int n)
{
	for (unsigned int i = 1; i <= n; i++) {
		room_join(r, i, 100 + i);
		room_announce(r, i);
	}
}

static void two_meet_at_once(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	fill(&r, 2);
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
	fill(&r, 60);
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
	fill(&r, 30);
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
	fill(&r, 40);
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
		fill(&r, 2);
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
	fill(&r, 4);
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
	fill(&r, 2);
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

/* One with several gateways' trackers: an answer goes to where its offer came in, for there alone the client waits. */
static void answers_go_to_the_gateway_of_the_offer(void **state)
{
	struct room r;
	char facts[] = "{\"prefix\":7,\"as\":1,\"consent\":true}";

	(void)state;
	room_open(&r, NULL);
	room_join(&r, 1, 101);
	room_up(&r, UP_JOIN, "g2", 1, facts);
	room_up(&r, UP_TRACK, "g2", 1,
		"{\"action\":\"announce\",\"info_hash\":\"" ROOM_SWARM "\",\"peer_id\":\"-PM0203-000000000001\",\"offers\":[{\"offer_id\":"
		"\"by-the-second-gatewa\",\"offer\":{\"type\":\"offer\",\"sdp\":\"x\"}}]}");
	room_announce_in(&r, 1, ROOM_SWARM, NULL, 0);
	room_join(&r, 2, 102);
	room_announce_in(&r, 2, ROOM_SWARM, NULL, 0);
	room_react(&r);
	assert_int_equal(room_heard(&r, 1, "answer", 2), 1);
	for (size_t i = 0; i < r.nsaid; i++)
		if (r.said[i].kind == DOWN_TRACK && json_object_get(r.said[i].json, "answer"))
			assert_string_equal(r.said[i].home, "g2");
	/* one of its two gateways goes, it stays; the other goes too, and it is gone */
	coordinator_home_gone(r.c, "g2");
	assert_int_equal(room_counts(&r).viewers, 2);
	coordinator_home_gone(r.c, "g1");
	assert_int_equal(room_counts(&r).viewers, 0);
	room_close(&r);
}

/* Gateways come and go under other names; only so many at a time count. */
static void gateways_of_the_past_make_room(void **state)
{
	char facts[] = "{\"prefix\":7,\"as\":1,\"consent\":true}", home[16];
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_join(&r, 1, 101);
	for (unsigned int i = 0; i < 200; i++) {
		snprintf(home, sizeof(home), "of-today-%u", i);
		room_up(&r, UP_JOIN, home, 2, facts);
		assert_int_equal(room_counts(&r).viewers, 2);
		coordinator_tick(r.c, r.now += 250);
		assert_string_equal(r.said[r.nsaid - 1].home, home);
		coordinator_home_gone(r.c, home);
		assert_int_equal(room_counts(&r).viewers, 1);
	}
	room_close(&r);
}

/* A gateway dies with an instruction that it has not passed on: it is said again by another, without being asked for. */
static void what_a_dead_gateway_had_is_said_again(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	fill(&r, 3);
	room_up(&r, UP_JOIN, "g2", 1, "{\"prefix\":101,\"as\":1,\"consent\":true}");
	room_report(&r, 1, 1, 8000, "");
	room_tick(&r, 2000);
	r.known = 3; /* an outage, of which it does not hear */
	room_tick(&r, 500);
	assert_string_equal(text_of(room_told(&r, 1), "state"), "outage");
	room_forget(&r);
	coordinator_home_gone(r.c, "g1");
	room_tick(&r, 250);
	assert_non_null(room_told(&r, 1));
	assert_string_equal(r.said[r.nsaid - 1].home, "g2");
	assert_string_equal(text_of(room_told(&r, 1), "state"), "outage");
	room_close(&r);
}

/* Who finds no room leaves nothing behind; who goes to another asset leaves the first. */
static void no_room_is_no_asset(void **state)
{
	struct coordinator_options opt = { .viewers_max = 1 };
	static const char facts[] = "{\"prefix\":101,\"as\":1,\"consent\":true}";
	struct room r;
	json_t *all;

	(void)state;
	room_open(&r, &opt);
	room_join(&r, 1, 101);
	for (int i = 2; i < 10; i++) {
		char id[17], asset[16];

		snprintf(asset, sizeof(asset), "films/%d", i);
		coordinator_up(r.c, r.now, UP_JOIN, "g1", room_id(id, (unsigned int)i), asset, facts);
	}
	all = coordinator_assets(r.c);
	assert_int_equal(json_array_size(json_object_get(all, "assets")), 1);
	json_decref(all);
	coordinator_up(r.c, r.now, UP_JOIN, "g1", "0000000000000001", "films/two", facts);
	assert_int_equal(room_counts(&r).viewers, 1);
	room_tick(&r, 62000);
	all = coordinator_assets(r.c);
	assert_int_equal(json_array_size(json_object_get(all, "assets")), 1);
	json_decref(all);
	room_close(&r);
}

/* Hundreds of viewers of a gateway that died, some of which are at another too. */
static void a_gateway_of_hundreds_dies(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	fill(&r, 500);
	for (unsigned int v = 1; v <= 500; v += 5)
		room_up(&r, UP_JOIN, "g2", v, "{\"prefix\":101,\"as\":1,\"consent\":true}");
	coordinator_home_gone(r.c, "g1");
	assert_int_equal(room_counts(&r).viewers, 100);
	room_join(&r, 1, 101);
	room_join(&r, 2, 102);
	coordinator_home_gone(r.c, "g2");
	assert_int_equal(room_counts(&r).viewers, 2);
	room_close(&r);
}

struct chatty {
	struct coordinator *c;
	unsigned int heard;
};

/* Each word leads to another. */
static void chatter(void *arg, const char *home, enum peers_down kind, const char *viewer, const char *text)
{
	struct chatty *x = arg;

	(void)text;
	if (kind == DOWN_TRACK && ++x->heard < 1000)
		coordinator_up(x->c, 1800000000000 + 1000 * x->heard, UP_TRACK, home, viewer, ROOM_ASSET, "{\"action\":\"scrape\"}");
}

/* A thread that says what others left is let go after some time; nothing is lost by that. */
static void who_says_things_for_others_is_let_go(void **state)
{
	struct chatty x = { 0 };
	struct coordinator_options opt = { .down = chatter, .arg = &x };

	(void)state;
	assert_int_equal(coordinator_new(&x.c, &opt), 0);
	coordinator_up(x.c, 1800000000000, UP_JOIN, "g1", "0000000000000001", ROOM_ASSET, "{\"prefix\":1,\"consent\":true}");
	coordinator_up(x.c, 1800000000000, UP_TRACK, "g1", "0000000000000001", ROOM_ASSET, "{\"action\":\"scrape\"}");
	assert_in_range(x.heard, 1, 100);
	for (int i = 0; i < 1000 && x.heard < 1000; i++)
		coordinator_tick(x.c, 1800001000000 + 250 * i);
	assert_int_equal(x.heard, 1000);
	coordinator_free(x.c);
}

/* What was kept of a gateway that has gone is not offered to anybody, and no answer goes there: nobody would hear it. */
static void offers_of_a_gateway_go_with_it(void **state)
{
	static const char announce[] = "{\"action\":\"announce\",\"info_hash\":\"" ROOM_SWARM "\",\"peer_id\":\"-PM0203-000000000001\","
		"\"offers\":[{\"offer_id\":\"by-the-second-gatewa\",\"offer\":{\"type\":\"offer\",\"sdp\":\"x\"}}]}";

	(void)state;
	for (int late = 0; late < 2; late++) {
		struct room r;

		room_open(&r, NULL);
		room_join(&r, 1, 101);
		room_up(&r, UP_JOIN, "g2", 1, "{\"prefix\":101,\"as\":1,\"consent\":true}");
		room_up(&r, UP_TRACK, "g2", 1, announce);
		room_join(&r, 2, 102);
		if (!late)
			coordinator_home_gone(r.c, "g2");
		room_announce_in(&r, 2, ROOM_SWARM, NULL, 0);
		assert_int_equal(room_heard(&r, 2, "offer", 1), late);
		if (late)
			coordinator_home_gone(r.c, "g2");
		room_react(&r);
		assert_int_equal(room_heard(&r, 1, "answer", 2), 0);
		room_close(&r);
	}
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
	fill(&r, 2);
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
	fill(&r, 12);
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
	fill(&r, 2);
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
	fill(&r, 4);
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
	fill(&r, 3);
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

static void instructions_are_complete_and_in_order(void **state)
{
	struct room r;
	int64_t seq[7] = { 0 }, epoch;
	const json_t *t;

	(void)state;
	room_open(&r, NULL);
	fill(&r, 6);
	room_tick(&r, 60000);
	for (size_t i = 0; i < r.nsaid; i++) {
		unsigned int v = room_viewer_of(r.said[i].viewer);

		if (r.said[i].kind != DOWN_INSTRUCT)
			continue;
		t = r.said[i].json;
		assert_int_equal(json_integer_value(json_object_get(t, "seq")), ++seq[v]);
		for (const char *const *k = (const char *const[]){ "v", "epoch", "viewer", "state", "role", "source", "group", "hold", "share",
								  "from", "cap", "until", "report", "settings", NULL }; *k; k++)
			assert_non_null(json_object_get(t, *k));
		assert_string_equal(text_of(t, "viewer"), r.said[i].viewer);
	}
	for (int v = 1; v <= 6; v++) {
		assert_true(seq[v] >= 2); /* the first, and one before it ended */
		assert_true(seq[v] <= 8);
		assert_true(json_integer_value(json_object_get(room_told(&r, v), "until")) > r.now);
	}
	/* asked for: at once, without a change */
	room_forget(&r);
	room_report(&r, 2, 0, 0, ",\"resync\":true");
	room_tick(&r, 250);
	assert_non_null(room_told(&r, 2));
	assert_int_equal(json_integer_value(json_object_get(room_told(&r, 2), "seq")), seq[2] + 1);
	epoch = json_integer_value(json_object_get(room_told(&r, 2), "epoch"));
	/* told again by its home (another owner was between): a later epoch */
	room_join(&r, 2, 102);
	room_tick(&r, 250);
	assert_true(json_integer_value(json_object_get(room_told(&r, 2), "epoch")) > epoch);
	assert_int_equal(json_integer_value(json_object_get(room_told(&r, 2), "seq")), 1);
	room_close(&r);
}

/* The first group holds, together, what will be played in the next minute, twice; the window moves along. */
static void holds_cover_what_comes(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	fill(&r, 10);
	for (unsigned int s = 20; s < 24; s++) {
		unsigned int copies[ROOM_SEGMENTS] = { 0 }, firsts = 0;

		for (unsigned int v = 1; v <= 10; v++)
			room_report(&r, v, s, 12000, "");
		room_tick(&r, 4000);
		for (unsigned int v = 1; v <= 10; v++) {
			const json_t *t = room_told(&r, v);
			json_t *h;
			size_t i;

			firsts += !strcmp(text_of(t, "role"), "first");
			if (strcmp(text_of(t, "role"), "first"))
				assert_int_equal(json_array_size(json_object_get(t, "hold")), 0);
			json_array_foreach (json_object_get(t, "hold"), i, h)
				for (json_int_t n = json_integer_value(json_array_get(h, 1)); n <= json_integer_value(json_array_get(h, 2)); n++)
					copies[n]++;
		}
		assert_true(firsts >= 2);
		for (unsigned int n = s; n <= s + 15; n++)
			assert_true(copies[n] >= 2);
	}
	room_close(&r);
}

/* The clock is set back by an hour: viewers who come meet as before, instructions go on, later than those before. */
static void a_clock_that_is_set_back(void **state)
{
	struct room r;
	json_int_t epoch;

	(void)state;
	room_open(&r, NULL);
	fill(&r, 8);
	room_tick(&r, 5000);
	epoch = json_integer_value(json_object_get(room_told(&r, 1), "epoch"));
	r.now -= 3600000;
	room_forget(&r);
	for (unsigned int i = 9; i <= 16; i++) {
		room_join(&r, i, 100 + i);
		room_announce(&r, i);
	}
	for (int i = 0; i < 75; i++) { /* more than a burst, at a rate that is allowed; and what was told ends */
		room_tick(&r, 1000);
		room_announce(&r, 1);
	}
	assert_int_equal(room_counts(&r).dropped, 0);
	assert_int_equal(room_counts(&r).alone, 0);
	assert_non_null(room_told(&r, 1));
	for (unsigned int i = 9; i <= 16; i++) {
		assert_true(room_heard(&r, i, "answer", -1) + room_heard(&r, i, "offer", -1) > 0);
		assert_true(json_integer_value(json_object_get(room_told(&r, i), "epoch")) >= epoch);
	}
	room_close(&r);
}

static void an_outage_changes_what_all_are_told(void **state)
{
	struct room r;
	const json_t *t;
	struct coordinator_counts n;

	(void)state;
	room_open(&r, NULL);
	r.alive = r.known = 3;
	fill(&r, 10);
	for (unsigned int v = 1; v <= 10; v++)
		room_report(&r, v, 5, 12000, "");
	room_tick(&r, 2000);
	t = room_told(&r, 1);
	assert_string_equal(text_of(t, "state"), "calm");
	assert_true(json_integer_value(json_object_get(json_object_get(t, "settings"), "simultaneousHttpDownloads")) > 0);
	r.alive = 0;
	room_tick(&r, 500);
	n = room_counts(&r);
	assert_int_equal(n.state[SENSE_OUTAGE], 1);
	for (unsigned int v = 1; v <= 10; v++) {
		t = room_told(&r, v);
		assert_string_equal(text_of(t, "state"), "outage");
		assert_string_equal(text_of(t, "source"), "peers");
		assert_int_equal(json_integer_value(json_object_get(json_object_get(t, "settings"), "simultaneousHttpDownloads")), 0);
		assert_true(json_integer_value(json_object_get(json_object_get(t, "settings"), "httpErrorRetries")) > 100);
	}
	room_close(&r);
}

static unsigned int helpers_of(struct room *r, unsigned int viewer, unsigned int out[GROUP_HELPERS_MAX])
{
	json_t *groups = coordinator_groups(r->c, ROOM_ASSET), *g, *v, *h;
	unsigned int n = 0;
	size_t i, k, m;

	json_array_foreach (groups, i, g)
		json_array_foreach (json_object_get(g, "viewers"), k, v)
			json_array_foreach (json_object_get(v, "helpers"), m, h)
				if (room_viewer_of(text_of(v, "viewer")) == viewer)
					out[n++] = room_viewer_of(json_string_value(h));
	json_decref(groups);
	return n;
}

#define VICTIM 15
/* When all are told something at once, those are first who lost whom they received from. */
static void orphans_are_told_first(void **state)
{
	unsigned int helpers[31][GROUP_HELPERS_MAX], n[31], lost = 0, others = 0;
	bool gone[31] = { false };
	struct room r;

	(void)state;
	room_open(&r, NULL);
	r.alive = r.known = 1;
	fill(&r, 30);
	room_tick(&r, 5000);
	for (unsigned int v = 1; v <= 30; v++)
		n[v] = helpers_of(&r, v, helpers[v]);
	assert_true(n[VICTIM] >= 2);
	for (unsigned int h = 0; h < n[VICTIM]; h++) {
		gone[helpers[VICTIM][h]] = true;
		room_up(&r, UP_LEAVE, "g1", helpers[VICTIM][h], "");
	}
	room_forget(&r);
	r.alive = 0;
	coordinator_tick(r.c, r.now += 250);
	for (size_t i = 0; i < r.nsaid; i++) {
		unsigned int v = room_viewer_of(r.said[i].viewer), left = 0;

		if (r.said[i].kind != DOWN_INSTRUCT)
			continue;
		assert_false(gone[v]);
		for (unsigned int h = 0; h < n[v]; h++)
			left += !gone[helpers[v][h]];
		lost += left < 2 && left < n[v];
		others += left >= 2;
		if (left < 2 && left < n[v])
			assert_int_equal(others, 0);
	}
	assert_true(lost > 0 && others > 0);
	room_close(&r);
}

/* Who was told to ask peers alone says nothing of the server by an empty buffer or a late segment. */
static void who_asks_peers_alone_is_no_witness(void **state)
{
	unsigned int fed = 0, seconds;
	char more[64];
	struct room r;

	(void)state;
	room_open(&r, NULL);
	fill(&r, 8);
	for (unsigned int v = 9; v <= 16; v++) { /* who only receives is fed */
		room_join_as(&r, v, 100 + v, "\"consent\":false");
		room_announce(&r, v);
	}
	for (unsigned int s = 1; s < 8; s++) {
		for (unsigned int v = 1; v <= 16; v++)
			room_report(&r, v, 5, 12000, "");
		room_tick(&r, 1000);
	}
	r.known = 3;
	room_tick(&r, 500);
	assert_int_equal(room_counts(&r).state[SENSE_OUTAGE], 1);
	r.alive = 3;
	for (seconds = 1; !room_counts(&r).state[SENSE_CALM] && seconds < 120; seconds++) {
		for (unsigned int v = 1; v <= 16; v++) {
			bool server = strcmp(text_of(room_told(&r, v), "source"), "peers");

			fed += !server && room_counts(&r).state[SENSE_STRAINED];
			snprintf(more, sizeof(more), ",\"down_server\":%u,\"slow\":%s", 10000 * seconds, server ? "0.1" : "9");
			room_report(&r, v, 5, server ? 12000 : 0, more);
		}
		room_tick(&r, 1000);
	}
	assert_true(fed > 10); /* else this says nothing */
	assert_in_range(seconds, 15, 60);
	/* those who are to ask it are */
	for (unsigned int s = 1; s < 4; s++) {
		for (unsigned int v = 1; v <= 16; v++) {
			snprintf(more, sizeof(more), ",\"down_server\":%u", 10000 * (seconds + s));
			room_report(&r, v, 5, 0, more);
		}
		room_tick(&r, 1000);
	}
	assert_int_equal(room_counts(&r).state[SENSE_STRAINED], 1);
	room_close(&r);
}

/* A reload that changes nothing moves nobody; one that changes the size of groupings groups anew. */
static void a_reload_moves_who_it_must(void **state)
{
	struct coordinator_options opt = { .media = room_media, .endpoints = room_endpoints, .down = room_down, .report_ms = 1000 };
	uint64_t told;
	struct room r;

	(void)state;
	room_open(&r, NULL);
	opt.arg = &r;
	memset(&opt.group, 0xff, sizeof(opt.group)); /* between its fields, too */
	opt.group.size = opt.group.helpers = opt.group.copies = opt.group.least = 0;
	opt.group.margin = opt.group.first_margin = opt.group.uplink_share = opt.group.unknown_uplink = 0;
	opt.group.cellular = false;
	fill(&r, 40);
	room_tick(&r, 60000);
	for (unsigned int v = 1; v <= 40; v++)
		room_announce_in(&r, v, ROOM_SWARM, NULL, 0);
	room_tick(&r, 5000);
	told = room_counts(&r).instructions;
	coordinator_configure(r.c, &opt);
	room_tick(&r, 500);
	assert_int_equal(room_counts(&r).instructions, told);
	assert_int_equal(room_counts(&r).groupings, 1);
	opt.group.size = 8;
	coordinator_configure(r.c, &opt);
	room_tick(&r, 2000);
	assert_true(room_counts(&r).groupings >= 5);
	room_close(&r);
}

static void the_switch_turns_all_off(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	coordinator_switch(r.c, ROOM_ASSET, SENSE_OFF); /* before anybody watches */
	fill(&r, 4);
	room_tick(&r, 2000);
	assert_int_equal(room_counts(&r).relayed, 0);
	assert_string_equal(text_of(room_told(&r, 1), "role"), "alone");
	coordinator_switch(r.c, ROOM_ASSET, SENSE_AUTO);
	for (unsigned int v = 1; v <= 4; v++)
		room_announce(&r, v);
	room_tick(&r, 2000);
	assert_true(room_counts(&r).relayed > 0);
	assert_string_not_equal(text_of(room_told(&r, 1), "role"), "alone");
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
		cmocka_unit_test(answers_go_to_the_gateway_of_the_offer),
		cmocka_unit_test(gateways_of_the_past_make_room),
		cmocka_unit_test(what_a_dead_gateway_had_is_said_again),
		cmocka_unit_test(no_room_is_no_asset),
		cmocka_unit_test(a_gateway_of_hundreds_dies),
		cmocka_unit_test(who_says_things_for_others_is_let_go),
		cmocka_unit_test(offers_of_a_gateway_go_with_it),
		cmocka_unit_test(offers_are_kept_a_while),
		cmocka_unit_test(floods_are_dropped_and_counted),
		cmocka_unit_test(who_leaves_is_gone),
		cmocka_unit_test(who_leaves_a_swarm_hears_it),
		cmocka_unit_test(who_falls_silent_leaves_its_grouping),
		cmocka_unit_test(a_word_a_minute_is_enough),
		cmocka_unit_test(instructions_are_complete_and_in_order),
		cmocka_unit_test(holds_cover_what_comes),
		cmocka_unit_test(a_clock_that_is_set_back),
		cmocka_unit_test(an_outage_changes_what_all_are_told),
		cmocka_unit_test(orphans_are_told_first),
		cmocka_unit_test(who_asks_peers_alone_is_no_witness),
		cmocka_unit_test(a_reload_moves_who_it_must),
		cmocka_unit_test(the_switch_turns_all_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
