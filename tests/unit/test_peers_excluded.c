/* SPDX-License-Identifier: Apache-2.0 */
/* Who is excluded by others' accusations or barred, and who consents: it is known wherever the viewer is. */
#include "tests/unit/peers_room.h"

static void accuse(struct room *r, unsigned int by, unsigned int of)
{
	char more[128], peer[21];

	snprintf(more, sizeof(more), ",\"bad\":[\"%s\"]", room_peer(peer, of));
	room_report(r, by, 1, 12000, more);
}

static void a_poisoner_is_excluded(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_join_all(&r, 1, 5, 100, false);
	room_tick(&r, 20000);
	/* the plan of five links all with all */
	assert_true(room_linked(&r, 1, 2) && room_linked(&r, 1, 3));
	for (unsigned int v = 1; v <= 5; v++)
		room_report(&r, v, 1, 12000, "");
	room_up(&r, UP_JOIN, "g2", 1, "{\"prefix\":100,\"as\":26,\"consent\":true}");
	r.now += 1000;
	accuse(&r, 2, 1);
	assert_int_equal(room_counts(&r).excluded, 0);
	r.now += 1000;
	accuse(&r, 2, 1); /* one voice, however often */
	assert_int_equal(room_counts(&r).excluded, 0);
	accuse(&r, 3, 1);
	assert_int_equal(room_counts(&r).excluded, 1);
	assert_true(room_flagged(&r, 1, "excluded"));
	/* it hears why, at all gateways where it is, and nothing else; nobody hears of it */
	assert_int_equal(r.said[r.nsaid - 2].kind, DOWN_CLOSE);
	assert_string_equal(r.said[r.nsaid - 2].home, "g1");
	assert_int_equal(r.said[r.nsaid - 1].kind, DOWN_CLOSE);
	assert_string_equal(r.said[r.nsaid - 1].home, "g2");
	room_forget(&r);
	room_announce(&r, 1);
	room_tick(&r, 20000);
	assert_string_equal(text_of(room_told(&r, 1), "role"), "alone");
	assert_true(json_is_true(json_object_get(json_object_get(room_told(&r, 1), "settings"), "isP2PDisabled")));
	for (unsigned int v = 1; v <= 5; v++) {
		assert_int_equal(room_heard(&r, 1, "offer", v), 0);
		assert_int_equal(room_heard(&r, v, "offer", 1), 0);
	}
	room_close(&r);
}

/* Accusers of one network exclude nobody; k of several exclude at most k. */
static void forged_accusations_are_bounded(void **state)
{
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_join_all(&r, 1, 4, 100, false);
	room_join_all(&r, 11, 8, 7, true); /* the forgers */
	room_tick(&r, 30000);
	for (unsigned int k = 11; k <= 18; k++)
		room_report(&r, k, 1, 12000, "");
	r.now += 1000;
	for (unsigned int k = 11; k <= 18; k++) {
		for (unsigned int v = 1; v <= 4; v++) {
			r.now += 1000;
			accuse(&r, k, v);
		}
	}
	assert_int_equal(room_counts(&r).excluded, 0);
	room_close(&r);

	room_open(&r, NULL);
	room_join_all(&r, 1, 6, 100, false);
	room_tick(&r, 30000);
	for (unsigned int v = 1; v <= 6; v++)
		room_report(&r, v, 1, 12000, "");
	for (unsigned int k = 1; k <= 2; k++) { /* two forgers of two networks accuse all the others */
		for (unsigned int v = 3; v <= 6; v++) {
			r.now += 1000;
			accuse(&r, k, v);
		}
	}
	assert_in_range(room_counts(&r).excluded, 0, 2);
	room_close(&r);
}

/* The last of a kind that was said of one to a home; NULL: none. */
static const struct said *last_to(const struct room *r, const char *home, unsigned int viewer, enum peers_down kind)
{
	for (size_t i = r->nsaid; i-- > 0;)
		if (r->said[i].kind == kind && room_viewer_of(r->said[i].viewer) == viewer && !strcmp(r->said[i].home, home))
			return &r->said[i];
	return NULL;
}

/* One home of a viewer knows that it is excluded: so does the owner, be it a new one, and each other home of it. */
static void an_exclusion_reaches_a_new_owner(void **state)
{
	static const char facts[] = "{\"prefix\":100,\"as\":1,\"consent\":true}";
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_join_all(&r, 1, 5, 100, false);
	room_up(&r, UP_JOIN, "g2", 1, "{\"prefix\":100,\"as\":1,\"consent\":true,\"epoch\":7,\"excluded\":true}");
	assert_true(room_flagged(&r, 1, "excluded"));
	assert_non_null(last_to(&r, "g1", 1, DOWN_CLOSE));
	assert_null(last_to(&r, "g2", 1, DOWN_CLOSE));
	room_tick(&r, 20000);
	for (unsigned int v = 2; v <= 5; v++)
		assert_false(room_linked(&r, 1, v));
	/* it goes on to a third with its token */
	room_up(&r, UP_JOIN, "g3", 1, facts);
	assert_true(room_flagged(&r, 1, "excluded"));
	assert_non_null(last_to(&r, "g3", 1, DOWN_CLOSE));
	assert_int_equal(room_counts(&r).excluded, 0); /* it was counted where it was excluded */
	room_close(&r);
}

/* Of an address of others who were excluded: it receives, but gives nothing, whatever it says. */
static void one_who_is_barred_gives_nothing(void **state)
{
	unsigned int first = 0;
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_join_as(&r, 1, 100, "\"consent\":true,\"barred\":true");
	room_announce(&r, 1);
	room_join_all(&r, 2, 5, 101, false);
	for (unsigned int s = 0; s < 20; s++) {
		for (unsigned int v = 1; v <= 6; v++)
			room_report(&r, v, s / 4, 12000, v == 1 ? ",\"consent\":true" : "");
		room_tick(&r, 1000);
		first += !strcmp(text_of(room_told(&r, 1), "role"), "first");
	}
	assert_int_equal(first, 0);
	assert_true(room_flagged(&r, 1, "barred") && room_flagged(&r, 1, "consent"));
	assert_true(json_is_true(json_object_get(json_object_get(room_told(&r, 1), "settings"), "isP2PUploadDisabled")));
	assert_string_equal(text_of(room_told(&r, 1), "role"), "second");
	/* it is over */
	room_join(&r, 1, 100);
	room_tick(&r, 4000);
	assert_true(json_is_false(json_object_get(json_object_get(room_told(&r, 1), "settings"), "isP2PUploadDisabled")));
	room_close(&r);
}

/* What it says of its consent at one gateway is known at its others, and to a new owner in whatever order these tell. */
static void consent_is_told_to_every_home(void **state)
{
	static const char token[] = "{\"prefix\":100,\"as\":1,\"consent\":true}", said[] = "{\"prefix\":100,\"as\":1,\"consent\":false,\"said\":true}";
	struct room r;

	(void)state;
	room_open(&r, NULL);
	room_join_all(&r, 1, 3, 100, false);
	room_up(&r, UP_JOIN, "g2", 1, token);
	room_report(&r, 1, 1, 12000, ",\"consent\":false");
	assert_true(json_is_false(json_object_get(last_to(&r, "g2", 1, DOWN_CONSENT)->json, "consent")));
	assert_null(last_to(&r, "g1", 1, DOWN_CONSENT));
	room_up(&r, UP_JOIN, "g3", 1, token);
	assert_false(room_flagged(&r, 1, "consent"));
	assert_true(json_is_false(json_object_get(last_to(&r, "g3", 1, DOWN_CONSENT)->json, "consent")));
	r.now += 1000;
	room_report(&r, 1, 1, 12000, ",\"consent\":true");
	assert_true(room_flagged(&r, 1, "consent"));
	assert_true(json_is_true(json_object_get(last_to(&r, "g2", 1, DOWN_CONSENT)->json, "consent")));
	assert_true(json_is_true(json_object_get(last_to(&r, "g3", 1, DOWN_CONSENT)->json, "consent")));
	room_close(&r);

	for (int order = 0; order < 2; order++) {
		room_open(&r, NULL);
		room_up(&r, UP_JOIN, "g1", 1, order ? said : token);
		room_up(&r, UP_JOIN, "g2", 1, order ? token : said);
		room_announce(&r, 1);
		assert_false(room_flagged(&r, 1, "consent"));
		assert_non_null(last_to(&r, order ? "g2" : "g1", 1, DOWN_CONSENT));
		room_close(&r);
	}
	/* a session that began without consent, which was given since */
	room_open(&r, NULL);
	room_up(&r, UP_JOIN, "g1", 1, "{\"prefix\":100,\"as\":1,\"consent\":false}");
	room_up(&r, UP_JOIN, "g2", 1, "{\"prefix\":100,\"as\":1,\"consent\":true,\"said\":true}");
	assert_true(room_flagged(&r, 1, "consent"));
	room_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_poisoner_is_excluded),
		cmocka_unit_test(forged_accusations_are_bounded),
		cmocka_unit_test(an_exclusion_reaches_a_new_owner),
		cmocka_unit_test(one_who_is_barred_gives_nothing),
		cmocka_unit_test(consent_is_told_to_every_home),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
