/* SPDX-License-Identifier: Apache-2.0 */
/* From whom viewers receive: who holds what they want, of however many; and plans that are made while viewers come and go. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/peers_room.h"

#define MANY 7000

/* One of eight holds what half of all want. */
static const char *holds(unsigned int viewer)
{
	return viewer % 8 == 0 ? ",\"have\":[[0,5,30]]" : viewer % 2 ? ",\"have\":[[0,5,6]]" : ",\"have\":[[0,20,30]]";
}

static void sources_are_who_holds_what_is_wanted(void **state)
{
	struct coordinator_options opt = { .viewers_max = MANY + 1, .group = { .unknown_uplink = 1e6f } };
	unsigned int want = 0, served = 0;
	json_t *groups, *g, *v, *h;
	size_t i, k, m;
	struct room r;

	(void)state;
	room_open(&r, &opt);
	for (unsigned int n = 1; n <= MANY; n++) {
		room_join(&r, n, 100 + n / 4);
		room_announce_in(&r, n, ROOM_SWARM, NULL, 0);
		room_report(&r, n, n % 2 ? 5 : 20, 20000, holds(n));
		room_forget(&r);
	}
	for (int n = 0; n < 16; n++) {
		r.now += 250;
		coordinator_tick(r.c, r.now);
		room_forget(&r);
	}
	groups = coordinator_groups(r.c, ROOM_ASSET);
	json_array_foreach (groups, i, g) {
		unsigned int holders = 0;

		json_array_foreach (json_object_get(g, "viewers"), k, v)
			holders += room_viewer_of(text_of(v, "viewer")) % 8 == 0 && !strcmp(text_of(v, "role"), "first");
		json_array_foreach (json_object_get(g, "viewers"), k, v) {
			bool has = false;

			if (room_viewer_of(text_of(v, "viewer")) % 2 == 0 || !holders)
				continue;
			json_array_foreach (json_object_get(v, "helpers"), m, h)
				has |= room_viewer_of(json_string_value(h)) % 8 == 0;
			want++;
			served += has;
		}
	}
	json_decref(groups);
	room_close(&r);
	assert_true(want > MANY / 3);
	assert_true(served > want * 95 / 100);
}

/* The helpers of viewer n, as bits of viewers below 64; 0: it has none. */
static uint64_t helpers_of(struct room *r, unsigned int n)
{
	json_t *groups = coordinator_groups(r->c, ROOM_ASSET), *g, *v, *h;
	uint64_t set = 0;
	size_t i, k, m;

	json_array_foreach (groups, i, g)
		json_array_foreach (json_object_get(g, "viewers"), k, v)
			json_array_foreach (json_object_get(v, "helpers"), m, h)
				if (room_viewer_of(text_of(v, "viewer")) == n)
					set |= 1ull << room_viewer_of(json_string_value(h));
	json_decref(groups);
	return set;
}

static void step(struct room *r)
{
	r->now += 250;
	coordinator_tick(r->c, r->now);
	room_forget(r);
}

/* Those who lost all they received from get others at once, and keep them while they connect, whoever reports what meanwhile. */
static void who_lost_its_sources_keeps_the_next(void **state)
{
	struct coordinator_options opt = { .group = { .size = 63, .unknown_uplink = 3e5f } };
	unsigned int orphans = 0, changed = 0;
	uint64_t before[64], after[64];
	struct room r;

	(void)state;
	room_open(&r, &opt);
	for (unsigned int n = 1; n <= 60; n++) {
		room_join_as(&r, n, n, n <= 30 ? "\"consent\":true" : "\"consent\":false,\"receive\":true");
		room_announce_in(&r, n, ROOM_SWARM, NULL, 0);
		room_report(&r, n, 5, 20000, n <= 30 ? ",\"have\":[[0,5,40]]" : ",\"have\":[[0,5,5]]");
	}
	for (int i = 0; i < 24; i++)
		step(&r);
	for (unsigned int n = 31; n <= 60; n++)
		before[n] = helpers_of(&r, n);
	for (unsigned int n = 1; n <= 20; n++)
		room_up(&r, UP_LEAVE, "g1", n, "");
	step(&r);
	for (unsigned int n = 31; n <= 60; n++)
		after[n] = helpers_of(&r, n);
	/* those who are left tell of less: without what was said a moment ago, others would be better */
	for (unsigned int n = 21; n <= 30; n++)
		room_report(&r, n, 5, 20000, n % 2 ? ",\"have\":[[0,5,20]]" : ",\"have\":[[0,5,40]]");
	room_join_as(&r, 61, 61, "\"consent\":false,\"receive\":true"); /* the grouping is looked at anew */
	room_announce_in(&r, 61, ROOM_SWARM, NULL, 0);
	room_report(&r, 61, 5, 20000, "");
	for (int i = 0; i < 9; i++)
		step(&r);
	for (unsigned int n = 31; n <= 60; n++) {
		bool orphan = !(before[n] & ~0x1fffffull) || !((before[n] & ~0x1fffffull) & ((before[n] & ~0x1fffffull) - 1));

		assert_int_equal(after[n] & 0x1fffff, 0);
		if (!orphan)
			continue;
		orphans++;
		changed += helpers_of(&r, n) != after[n];
	}
	room_close(&r);
	printf("%u lost their sources, %u of them were told others again\n", orphans, changed);
	assert_true(orphans >= 8);
	assert_int_equal(changed, 0);
}

/* Whose helper left, and who is the last: it stays so for a while, and has another one when somebody comes. */
static void the_last_one_waits_for_the_next(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	for (unsigned int n = 1; n <= 2; n++) {
		room_join(&r, n, n);
		room_announce_in(&r, n, ROOM_SWARM, NULL, 0);
		room_report(&r, n, n == 1 ? 9 : 5, 20000, n == 1 ? ",\"have\":[[0,5,30]]" : "");
	}
	for (int i = 0; i < 20; i++)
		step(&r);
	assert_int_equal(helpers_of(&r, 2), 1 << 1);
	room_up(&r, UP_LEAVE, "g1", 1, "");
	for (int i = 0; i < 40; i++)
		step(&r);
	assert_int_equal(helpers_of(&r, 2), 0);
	room_join(&r, 3, 3);
	room_announce_in(&r, 3, ROOM_SWARM, NULL, 0);
	room_report(&r, 3, 9, 20000, ",\"have\":[[0,5,30]]");
	for (int i = 0; i < 20; i++)
		step(&r);
	assert_int_equal(helpers_of(&r, 2), 1 << 3);
	room_close(&r);
}

/* One who is hours away, or says so, does not keep the others from those who hold what they want. */
static void one_far_away_is_in_nobodys_way(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	r.no_media = true; /* places are taken as they are said */
	for (unsigned int n = 1; n <= 8; n++) {
		char more[64];

		room_join(&r, n, n);
		room_announce_in(&r, n, ROOM_SWARM, NULL, 0);
		snprintf(more, sizeof(more), ",\"have\":[[0,%u,%u]]", 90000, n == 7 ? 90100 : 90000);
		room_report(&r, n, n == 8 ? 3 : 90000, 20000, n == 8 ? "" : more);
	}
	for (int i = 0; i < 20; i++)
		step(&r);
	for (unsigned int n = 1; n <= 6; n++)
		assert_true(helpers_of(&r, n) & 1 << 7);
	room_close(&r);
}

/* A helper's answers are as many as the offers that others sent it: here those of 60, in two swarms at once. */
static void answers_to_offers_are_no_flood(void **state)
{
	struct coordinator_options opt = { .group = { .size = 200, .unknown_uplink = 1e8f } };
	unsigned int offers;
	struct room r;

	(void)state;
	room_open(&r, &opt);
	room_join(&r, 1, 1);
	room_join(&r, 2, 2);
	for (unsigned int n = 3; n <= 62; n++)
		room_join_as(&r, n, n, "\"consent\":false,\"receive\":true");
	for (unsigned int n = 1; n <= 62; n++)
		for (int swarm = 0; swarm < 2; swarm++)
			room_announce_in(&r, n, swarm ? "swarm-of-rendition-1" : ROOM_SWARM, NULL, n > 2 ? 5 : 0);
	r.now += 250;
	coordinator_tick(r.c, r.now);
	offers = room_heard(&r, 1, "offer", -1);
	assert_true(offers > 100);
	room_react(&r);
	assert_int_equal(room_counts(&r).answers, offers + room_heard(&r, 2, "offer", -1));
	room_close(&r);
}

/* ---- others have the lock while a plan is made ---- */
#define CROWD 3000

static atomic_bool done;
static atomic_llong clock_ms;

static void hear(void *arg, const char *home, enum peers_down kind, const char *viewer, const char *text)
{
	atomic_ulong *said = arg;

	(void)home;
	(void)kind;
	(void)viewer;
	*said += strlen(text);
}

static void *ticks(void *arg)
{
	while (!done)
		coordinator_tick(arg, clock_ms);
	return NULL;
}

static void one(struct coordinator *c, enum peers_up kind, unsigned int viewer, const char *text)
{
	char id[17];

	coordinator_up(c, clock_ms, kind, "g1", room_id(id, viewer), ROOM_ASSET, text);
}

static void enter(struct coordinator *c, unsigned int viewer)
{
	char facts[128], announce[256], peer[21];

	snprintf(facts, sizeof(facts), "{\"prefix\":%u,\"as\":%u,\"home\":\"g1\",\"consent\":true}", viewer / 3, viewer / 50);
	one(c, UP_JOIN, viewer, facts);
	snprintf(announce, sizeof(announce), "{\"action\":\"announce\",\"info_hash\":\"%s\",\"peer_id\":\"%s\",\"numwant\":0,\"offers\":[]}",
		 ROOM_SWARM, room_peer(peer, viewer));
	one(c, UP_TRACK, viewer, announce);
}

static void plans_are_made_while_viewers_come_and_go(void **state)
{
	static bool here[CROWD];
	atomic_ulong said = 0;
	struct coordinator_options opt = { .viewers_max = CROWD, .down = hear, .arg = &said, .group = { .size = 24 } };
	unsigned int seed = 7, there = 0, grouped = 0;
	struct coordinator *c;
	json_t *groups, *g, *v;
	pthread_t ticker;
	size_t i, k;

	(void)state;
	clock_ms = 1800000000000;
	assert_int_equal(coordinator_new(&c, &opt), 0);
	assert_int_equal(pthread_create(&ticker, NULL, ticks, c), 0);
	for (int n = 0; n < 30000; n++) {
		unsigned int viewer = (unsigned int)rand_r(&seed) % CROWD;

		clock_ms++;
		if (!here[viewer])
			enter(c, viewer);
		else
			one(c, UP_LEAVE, viewer, "");
		here[viewer] = !here[viewer];
		if (n % 1000 == 999)
			json_decref(coordinator_groups(c, ROOM_ASSET));
		if (n % 5000 == 4999) { /* a reload in the middle of it */
			opt.group.size ^= 8;
			coordinator_configure(c, &opt);
		}
	}
	done = true;
	pthread_join(ticker, NULL);
	for (int n = 1; n < 40; n++)
		coordinator_tick(c, clock_ms + n * 1000);
	groups = coordinator_groups(c, ROOM_ASSET);
	json_array_foreach (groups, i, g)
		json_array_foreach (json_object_get(g, "viewers"), k, v) {
			assert_true(here[room_viewer_of(text_of(v, "viewer"))]);
			grouped += !json_is_null(json_object_get(g, "grouping"));
		}
	for (unsigned int n = 0; n < CROWD; n++)
		there += here[n];
	assert_int_equal(grouped, there);
	json_decref(groups);
	coordinator_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sources_are_who_holds_what_is_wanted),
		cmocka_unit_test(who_lost_its_sources_keeps_the_next),
		cmocka_unit_test(the_last_one_waits_for_the_next),
		cmocka_unit_test(one_far_away_is_in_nobodys_way),
		cmocka_unit_test(answers_to_offers_are_no_flood),
		cmocka_unit_test(plans_are_made_while_viewers_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
