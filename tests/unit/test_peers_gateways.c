/* SPDX-License-Identifier: Apache-2.0 */
/* The owner's half and the gateways that speak to it: those that die, come back, lie or are too many. */
#include "tests/unit/peers_room.h"

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
	room_fill(&r, 3);
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
	room_fill(&r, 500);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_go_to_the_gateway_of_the_offer),
		cmocka_unit_test(gateways_of_the_past_make_room),
		cmocka_unit_test(what_a_dead_gateway_had_is_said_again),
		cmocka_unit_test(no_room_is_no_asset),
		cmocka_unit_test(a_gateway_of_hundreds_dies),
		cmocka_unit_test(who_says_things_for_others_is_let_go),
		cmocka_unit_test(offers_of_a_gateway_go_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
