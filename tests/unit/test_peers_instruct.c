/* SPDX-License-Identifier: Apache-2.0 */
/* The owner's half: who is told to hold, to share and to take from whom. */
#include "tests/unit/peers_room.h"

static void instructions_are_complete_and_in_order(void **state)
{
	struct room r;
	int64_t seq[7] = { 0 }, epoch;
	const json_t *t;

	(void)state;
	room_open(&r, NULL);
	room_fill(&r, 6);
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
	room_fill(&r, 10);
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
	room_fill(&r, 8);
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
	room_fill(&r, 10);
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
	room_fill(&r, 30);
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
	room_fill(&r, 8);
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
	room_fill(&r, 40);
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
	room_fill(&r, 4);
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
