/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a gateway's viewers: who enters, what the owner hears of it and in which order, caps, graces, exclusion. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "http/peers/home.h"

static unsigned int nleft;
static bool silent;	 /* does not write down what was told: */
static char heard[4096]; /* "J 1 facts;" … of what was told upwards */

static void up(void *arg, enum peers_up kind, const char *viewer, const char *asset, const char *text)
{
	char *at = heard + strlen(heard);

	(void)arg;
	assert_string_equal(asset, "films/big");
	nleft += kind == UP_LEAVE;
	if (silent)
		return;
	snprintf(at, sizeof(heard) - (size_t)(at - heard), "%c%c%s;", "JTRL"[kind], viewer[PEERS_VIEWER_LEN - 1], text);
}

#define hears(text)                                      \
	do {                                             \
		assert_string_equal(heard, text);        \
		heard[0] = '\0';                         \
	} while (0)

struct listener {
	struct home_stream stream; /* the first */
	char text[256];
	int ended;
};

static void push(struct home_stream *s, const char *text, size_t len)
{
	struct listener *l = (struct listener *)s;

	strncat(l->text, text, len);
}

static void end(struct home_stream *s)
{
	((struct listener *)s)->ended++;
}

#define LISTENER { .stream = { .push = push, .end = end } }

static struct viewer_token token[10];
static struct home *home;

static struct home_guest guest(int n, const char *client, int64_t now_ms)
{
	snprintf(token[n].viewer, sizeof(token[n].viewer), "000000000000000%d", n);
	snprintf(token[n].asset, sizeof(token[n].asset), "films/big");
	token[n].expires = 1000;
	return (struct home_guest){ .token = &token[n], .client = client, .facts = "{\"consent\":true}", .now_ms = now_ms };
}

static int begin(void **state)
{
	const struct home_options opt = { .up = up };

	(void)state;
	heard[0] = '\0';
	assert_int_equal(home_new(&home, &opt), 0);
	home_limits(home, 4, 2);
	return 0;
}

static int finish(void **state)
{
	(void)state;
	home_free(home);
	return 0;
}

static void test_order(void **state)
{
	struct home_guest g = guest(1, "198.51.100.1", 1000);
	struct home_socket *s, *second;

	(void)state;
	assert_int_equal(home_socket_new(home, &g, &s), 0);
	hears("J1{\"consent\":true};");
	home_socket_said(s, 1100, "hello");
	hears("T1hello;");
	assert_int_equal(home_socket_new(home, &g, &second), 0);
	assert_int_equal(home_report(home, &g, 1000, -1, "{}"), 0);
	hears("R1{};"); /* it is known already */
	home_socket_free(s);
	home_socket_free(second);
	home_sweep(home, 2000, 1);
	home_sweep(home, 2000 + HOME_GRACE_MS - 1000, 1);
	hears(""); /* it may come back */
	home_sweep(home, 2001 + HOME_GRACE_MS, 1);
	hears("L1;");
	home_sweep(home, 2001 + 5 * HOME_GRACE_MS, 1);
	hears("");
}

static void test_grace(void **state)
{
	struct home_guest g = guest(1, "198.51.100.1", 1000);
	struct home_socket *s;

	(void)state;
	assert_int_equal(home_socket_new(home, &g, &s), 0);
	home_sweep(home, 60000, 1); /* who is connected need not say anything */
	home_socket_free(s);
	g.now_ms = 60000 + HOME_GRACE_MS;
	assert_int_equal(home_socket_new(home, &g, &s), 0);
	home_sweep(home, 60001 + HOME_GRACE_MS, 1);
	home_socket_free(s);
	hears("J1{\"consent\":true};");
}

static void test_caps(void **state)
{
	struct home_guest g[6] = { guest(0, "198.51.100.1", 1000), guest(1, "198.51.100.1", 1000), guest(2, "198.51.100.1", 1000),
				   guest(3, "2001:db8:0:1::1", 1000), guest(4, "2001:db8:0:1::2", 1000), guest(5, "203.0.113.1", 1000) };
	struct home_counts c;

	(void)state;
	assert_int_equal(home_report(home, &g[0], 1, -1, "{}"), 0);
	assert_int_equal(home_report(home, &g[1], 1, -1, "{}"), 0);
	assert_int_equal(home_room(home, "198.51.100.1"), -EUSERS);
	assert_int_equal(home_report(home, &g[2], 1, -1, "{}"), -EUSERS);
	assert_int_equal(home_report(home, &g[3], 1, -1, "{}"), 0);
	assert_int_equal(home_report(home, &g[4], 1, -1, "{}"), 0);
	assert_int_equal(home_room(home, "2001:db8:0:1::3"), -ENOSPC);
	assert_int_equal(home_report(home, &g[5], 1, -1, "{}"), -ENOSPC);
	home_limits(home, 100, 2);
	assert_int_equal(home_room(home, "2001:db8:0:1::3"), -EUSERS); /* one /64 is one subscriber */
	assert_int_equal(home_room(home, "2001:db8:0:2::3"), 0);
	home_counts(home, &c);
	assert_int_equal(c.viewers, 4);
	home_sweep(home, 1001 + HOME_GRACE_MS, 1);
	assert_int_equal(home_room(home, "198.51.100.1"), 0);
}

static void test_reports(void **state)
{
	struct home_guest g = guest(1, "198.51.100.1", 1000);

	(void)state;
	assert_int_equal(home_report(home, &g, 1000, -1, "{\"n\":1}"), 0);
	g.now_ms = 1999;
	assert_int_equal(home_report(home, &g, 1000, -1, "{\"n\":2}"), -EBUSY);
	g.now_ms = 2000;
	assert_int_equal(home_report(home, &g, 1000, 0, "{\"n\":3}"), 0);
	hears("J1{\"consent\":true};R1{\"n\":1};R1{\"n\":3};");
	home_retell(home, 100000); /* to a new owner: with the consent as it is now */
	hears("J1{\"consent\":false,\"said\":true};R1{\"n\":3};");
}

/* What it said of its consent at another home: this one tells no other any more, nor a report that may. */
static void test_consent_said_elsewhere(void **state)
{
	struct home_guest g = guest(1, "198.51.100.1", 1000);

	(void)state;
	assert_int_equal(home_report(home, &g, 1000, 1, "{\"consent\":true}"), 0);
	heard[0] = '\0';
	home_consent(home, token[1].viewer, false);
	home_retell(home, 100000);
	hears("J1{\"consent\":false,\"said\":true};");
	home_consent(home, token[1].viewer, true);
	home_retell(home, 100000);
	hears("J1{\"consent\":true,\"said\":true};");
}

static void test_streams(void **state)
{
	struct home_guest g = guest(1, "198.51.100.1", 1000);
	struct listener first = LISTENER, second = LISTENER;

	(void)state;
	assert_int_equal(home_stream_add(home, &g, &first.stream), 0);
	hears("J1{\"consent\":true};");
	home_instruct(home, token[1].viewer, 1, "one;", 4);
	home_instruct(home, token[1].viewer, 1, "two;", 4);
	home_instruct(home, "0000000000000009", 1, "none;", 5);
	assert_string_equal(first.text, "one;two;");
	assert_int_equal(home_stream_add(home, &g, &second.stream), 0);
	assert_int_equal(first.ended, 1);
	assert_string_equal(second.text, "two;"); /* the last first */
	home_stream_remove(home, &first.stream);
	home_instruct(home, token[1].viewer, 1, "three;", 6);
	assert_string_equal(second.text, "two;three;");
	home_end(home);
	assert_int_equal(second.ended, 1);
	home_stream_remove(home, &second.stream);
}

/* What a new owner is told: the epoch that the viewer knows, the last report, the last announce of each swarm without offers. */
static void test_told_again(void **state)
{
	struct home_guest g = guest(1, "198.51.100.1", 1000);
	struct home_socket *s;

	(void)state;
	assert_int_equal(home_socket_new(home, &g, &s), 0);
	assert_int_equal(home_report(home, &g, 1000, -1, "{}"), 0);
	home_socket_said(s, 1000, "{\"action\":\"announce\", \"offers\":[{\"offer_id\":\"o\",\"offer\":{\"sdp\":\"\\\"peer_id\\\":\\\"x}\"}}],"
				  " \"info_hash\" : \"A\\u0001\",\"event\":\"started\",\"peer_id\":\"p1\"}");
	home_socket_said(s, 1000, "{\"action\":\"announce\",\"info_hash\":\"B\",\"peer_id\":\"p1\"}");
	home_socket_said(s, 1000, "{\"action\":\"announce\",\"info_hash\":\"A\\u0001\",\"peer_id\":\"p2\",\"left\":1.5}");
	home_socket_said(s, 1000, "{\"action\":\"announce\",\"info_hash\":\"C\",\"peer_id\":\"p1\",\"to_peer_id\":\"p3\",\"answer\":{}}");
	home_socket_said(s, 1000, "{\"action\":\"announce\",\"info_hash\":\"B\",\"peer_id\":\"p1\",\"event\":\"stopped\"}");
	home_socket_said(s, 1000, "{\"action\":\"announce\",\"info_hash\":");
	home_instruct(home, token[1].viewer, 77, "x", 1);
	heard[0] = '\0';
	home_again(home, token[1].viewer);
	home_retell_asked(home, 5000);
	hears("J1{\"consent\":true,\"epoch\":77};R1{};T1{\"action\":\"announce\",\"info_hash\":\"A\\u0001\",\"peer_id\":\"p2\",\"offers\":[]};");
	home_again(home, token[1].viewer); /* by one who has no room for it */
	home_retell_asked(home, 6000);
	hears("");
	home_socket_free(s);
}

/* Of two who think that they own an asset the later one is obeyed. */
static void test_former_owner(void **state)
{
	struct home_guest g = guest(1, "198.51.100.1", 1000);
	struct listener l = LISTENER;

	(void)state;
	assert_int_equal(home_stream_add(home, &g, &l.stream), 0);
	home_instruct(home, token[1].viewer, 5, "a;", 2);
	home_instruct(home, token[1].viewer, 7, "b;", 2);
	home_instruct(home, token[1].viewer, 5, "c;", 2);
	home_instruct(home, token[1].viewer, 7, "d;", 2);
	assert_string_equal(l.text, "a;b;d;");
	home_stream_remove(home, &l.stream);
}

static void test_expiry(void **state)
{
	struct home_guest g = guest(1, "198.51.100.1", 1000);
	struct listener l = LISTENER;

	(void)state;
	assert_int_equal(home_stream_add(home, &g, &l.stream), 0);
	home_sweep(home, 2000, 999);
	assert_int_equal(l.ended, 0);
	home_sweep(home, 3000, 1000);
	assert_int_equal(l.ended, 1);
	home_sweep(home, 3001 + HOME_GRACE_MS, 1010);
	hears("J1{\"consent\":true};L1;");
}

/* One whose session was over comes with a token that is good: it is kept, until that one ends. */
static void test_renewed(void **state)
{
	struct home_guest g = guest(1, "198.51.100.1", 1000);
	struct listener first = LISTENER, second = LISTENER;

	(void)state;
	assert_int_equal(home_stream_add(home, &g, &first.stream), 0);
	home_sweep(home, 2000, 1000);
	assert_int_equal(first.ended, 1);
	token[1].expires = 2000;
	g.now_ms = 3000;
	assert_int_equal(home_stream_add(home, &g, &second.stream), 0);
	home_sweep(home, 4000, 1002);
	home_sweep(home, 4001 + HOME_GRACE_MS, 1012);
	assert_int_equal(second.ended, 0);
	hears("J1{\"consent\":true};");
	home_sweep(home, 5000 + HOME_GRACE_MS, 2000);
	assert_int_equal(second.ended, 1);
	home_stream_remove(home, &second.stream);
}

/* However many leave at once: they are gone after one sweep. */
static void test_all_leave(void **state)
{
	struct home_counts c;

	(void)state;
	home_limits(home, 10000, 10000);
	for (int i = 0; i < 3000; i++) {
		struct home_guest g = guest(1, "198.51.100.1", 1000);

		snprintf(token[1].viewer, sizeof(token[1].viewer), "%016d", i);
		assert_int_equal(home_report(home, &g, 1, -1, "{}"), 0);
		heard[0] = '\0';
	}
	silent = true;
	nleft = 0;
	home_sweep(home, 1001 + HOME_GRACE_MS, 1);
	silent = false;
	assert_int_equal(nleft, 3000);
	home_counts(home, &c);
	assert_int_equal(c.viewers, 0);
}

/* The same token is refused until its end, however long it stays away. */
static void test_excluded(void **state)
{
	struct home_guest g = guest(1, "198.51.100.1", 1000);
	struct home_socket *s, *again;

	(void)state;
	assert_int_equal(home_socket_new(home, &g, &s), 0);
	home_close(home, token[1].viewer, 1000, "poison");
	home_socket_said(s, 1100, "still here");
	home_socket_free(s);
	assert_int_equal(home_socket_new(home, &g, &again), -EACCES);
	home_sweep(home, 500000, 999);
	assert_int_equal(home_report(home, &g, 1, -1, "{}"), -EACCES);
	hears("J1{\"consent\":true};");
	home_retell(home, 100000); /* a new owner hears that, and nothing else of it */
	hears("J1{\"consent\":true,\"excluded\":true};");
	home_sweep(home, 600000, 1001);
	hears("L1;");
}

/* Two of one address were excluded: its new viewers help nobody for ten minutes. Others may. */
static void test_an_address_of_the_excluded(void **state)
{
	struct home_guest g[4] = { guest(1, "198.51.100.1", 1000), guest(2, "198.51.100.1", 2000), guest(3, "198.51.100.1", 3000),
				   guest(4, "198.51.100.2", 3000) };
	struct home_socket *s;

	(void)state;
	home_limits(home, 100, 100);
	assert_int_equal(home_report(home, &g[0], 1, -1, "{}"), 0);
	home_close(home, token[1].viewer, 1500, "poison");
	home_close(home, token[1].viewer, 1600, "poison"); /* once more is nothing new */
	assert_int_equal(home_report(home, &g[1], 1, -1, "{}"), 0);
	hears("J1{\"consent\":true};R1{};J2{\"consent\":true};R2{};");
	home_close(home, token[2].viewer, 2500, "poison");
	assert_int_equal(home_socket_new(home, &g[2], &s), 0);
	assert_int_equal(home_report(home, &g[3], 1, -1, "{}"), 0);
	hears("J3{\"consent\":true,\"barred\":true};J4{\"consent\":true};R4{};");
	/* … and then it may, as if it came now */
	home_sweep(home, 2499 + HOME_BARRED_MS, 1);
	home_retell_asked(home, 2499 + HOME_BARRED_MS);
	hears("L4;");
	home_sweep(home, 2500 + HOME_BARRED_MS, 1);
	home_retell_asked(home, 2500 + HOME_BARRED_MS);
	hears("J3{\"consent\":true};");
	g[3] = guest(4, "198.51.100.1", 2500 + HOME_BARRED_MS);
	assert_int_equal(home_report(home, &g[3], 1, -1, "{}"), 0);
	hears("J4{\"consent\":true};R4{};");
	home_socket_free(s);
}

/* More addresses than are remembered: the eldest are forgotten, the last are known. */
static void test_addresses_are_bounded(void **state)
{
	char client[32];

	(void)state;
	home_limits(home, 10000, 100);
	for (int i = 0; i < 2000; i++) {
		for (int n = 1; n <= 2; n++) {
			struct home_guest g = guest(n, client, 1000 + i);

			snprintf(client, sizeof(client), "10.0.%d.%d", i / 200, i % 200);
			snprintf(token[n].viewer, sizeof(token[n].viewer), "%015d%d", i, n);
			assert_int_equal(home_report(home, &g, 1, -1, "{}"), 0);
			home_close(home, token[n].viewer, 1000 + i, "poison");
		}
		heard[0] = '\0';
	}
	for (int i = 0; i < 2; i++) {
		struct home_guest g = guest(3 + i, i ? client : "10.0.0.0", 4000);

		assert_int_equal(home_report(home, &g, 1, -1, "{}"), 0);
	}
	hears("J3{\"consent\":true};R3{};J4{\"consent\":true,\"barred\":true};R4{};");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, begin, finish),   cmocka_unit_test_setup_teardown(test_grace, begin, finish),
		cmocka_unit_test_setup_teardown(test_caps, begin, finish),    cmocka_unit_test_setup_teardown(test_reports, begin, finish),
		cmocka_unit_test_setup_teardown(test_streams, begin, finish), cmocka_unit_test_setup_teardown(test_told_again, begin, finish),
		cmocka_unit_test_setup_teardown(test_former_owner, begin, finish),
		cmocka_unit_test_setup_teardown(test_expiry, begin, finish),
		cmocka_unit_test_setup_teardown(test_renewed, begin, finish),
		cmocka_unit_test_setup_teardown(test_excluded, begin, finish),
		cmocka_unit_test_setup_teardown(test_all_leave, begin, finish),
		cmocka_unit_test_setup_teardown(test_consent_said_elsewhere, begin, finish),
		cmocka_unit_test_setup_teardown(test_an_address_of_the_excluded, begin, finish),
		cmocka_unit_test_setup_teardown(test_addresses_are_bounded, begin, finish),
	};

	return cmocka_run_group_tests_name("peers_home", tests, NULL, NULL);
}
