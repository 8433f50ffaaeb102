// SPDX-License-Identifier: Apache-2.0
/* Exchanges between ends that the test plays: every order of events, back pressure, early answers.
 */
#include "tests/unit/tunnel_fake.h"

/* ---- in order ---- */

static void in_order(void **state)
{
	(void)state;
	start("POST", false);
	assert_string_equal(back[0].head->method, "POST");
	tell(&front, 1000, false);
	tell(&front, 100000, true);
	assert_int_equal(back[0].got, 101000);
	assert_true(back[0].last);
	assert_int_equal(front.taken, 101000);
	answer(&back[0], 103, false);
	assert_int_equal(front.infos, 1);
	answer(&back[0], 200, false);
	tell(&back[0], 5000, false);
	tell(&back[0], 70000, false);
	assert_int_equal(back[0].taken, 75000);
	tell_trailers(&back[0]);
	assert_non_null(front.trailers);
	over(END_DONE, 200);
	assert_int_equal(account.bytes_up, 101000);
	assert_int_equal(account.bytes_down, 75000);
	assert_int_equal(account.tries, 1);
	assert_true(account.began_us <= account.first_us && account.first_us <= account.ended_us);
	assert_int_equal(front.why, END_DONE);
	assert_int_equal(back[0].why, END_DONE);
}

static void without_bodies(void **state)
{
	(void)state;
	start("GET", true);
	assert_true(back[0].last);
	answer(&back[0], 204, true);
	assert_true(front.last);
	over(END_DONE, 204);
}

static void set_field(void *arg, struct exchange *ex, struct head *h)
{
	(void)arg, (void)ex;
	assert_int_equal(head_addf(h, "x-edge", "%s", "a"), 0);
}

static void responses_may_be_changed(void **state)
{
	(void)state;
	opt.response = set_field;
	start("GET", true);
	answer(&back[0], 200, true);
	assert_string_equal(head_get(front.head, "x-edge"), "a");
	over(END_DONE, 200);
}

static void request_trailers(void **state)
{
	(void)state;
	back[0].window = 0;
	start("POST", false);
	tell(&front, 10, false);
	tell_trailers(&front);
	assert_null(back[0].trailers);
	room(&back[0], SIZE_MAX);
	assert_int_equal(back[0].got, 10);
	assert_non_null(back[0].trailers);
	answer(&back[0], 200, true);
	over(END_DONE, 200);
}

static void slow_front(void **state)
{
	(void)state;
	start("GET", true);
	answer(&back[0], 200, false);
	front.window = 1000;
	tell(&back[0], 30000, false);
	assert_int_equal(front.got, 1000);
	assert_int_equal(back[0].taken, 1000);
	tell(&back[0], 30000, true);
	assert_int_equal(back[0].taken, 1000);
	room(&front, 40000);
	assert_int_equal(back[0].taken, 41000);
	tell_gone(&back[0], END_DONE); /* what waits is still passed on */
	assert_int_equal(n_ended, 0);
	room(&front, SIZE_MAX);
	assert_int_equal(front.got, 60000);
	assert_true(front.last);
	over(END_DONE, 200);
	assert_int_equal(n_failures, 0);
}

static void slow_back(void **state)
{
	(void)state;
	back[0].window = 100000;
	start("PUT", false);
	for (int i = 0; i < 20; i++)
		tell(&front, 10000, i == 19);
	assert_int_equal(back[0].got, 100000);
	assert_int_equal(front.taken, 100000);
	room(&back[0], 50000);
	assert_int_equal(front.taken, 150000);
	room(&back[0], SIZE_MAX);
	assert_int_equal(back[0].got, 200000);
	assert_int_equal(front.taken, 200000);
	assert_true(back[0].last);
	answer(&back[0], 201, true);
	over(END_DONE, 201);
}

static void an_end_alone(void **state)
{
	(void)state;
	start("POST", false);
	tell(&front, 500, false);
	tell(&front, 0, true);
	assert_true(back[0].last);
	answer(&back[0], 200, false);
	tell(&back[0], 500, false);
	tell(&back[0], 0, true);
	assert_true(front.last);
	over(END_DONE, 200);
}

static void connect_goes_both_ways_to_the_end(void **state)
{
	(void)state;
	start("CONNECT", false);
	answer(&back[0], 200, false);
	tell(&back[0], 100, true);
	assert_true(front.last);
	tell(&front, 70000, false);
	tell(&front, 70000, true);
	assert_int_equal(back[0].got, 140000);
	assert_true(back[0].last);
	over(END_DONE, 200);
}

static void connect_refused(void **state)
{
	(void)state;
	start("CONNECT", false);
	answer(&back[0], 403, true);
	assert_int_equal(back[0].why, END_DONE);
	tell(&front, 0, true);
	over(END_DONE, 403);
}

/* ---- early answers ---- */

static void answer_before_the_request_ended(void **state)
{
	(void)state;
	start("POST", false);
	tell(&front, 100000, false);
	answer(&back[0], 403, true);
	assert_true(front.last);
	assert_int_equal(back[0].aborts, 1);
	assert_int_equal(back[0].why, END_DONE);
	assert_int_equal(front.aborts, 0);
	tell(&front, 100000, false);
	assert_int_equal(front.taken, 200000); /* read, for nobody */
	tell(&front, 0, true);
	over(END_DONE, 403);
	assert_int_equal(front.why, END_DONE);
}

static void answer_to_an_endless_request(void **state)
{
	(void)state;
	start("POST", false);
	answer(&back[0], 403, true);
	for (int i = 0; i < 20 && !front.aborts; i++)
		tell(&front, 100000, false);
	over(END_DONE, 403);
	assert_int_equal(front.why, END_DONE);
	assert_true(front.taken <= 1 << 20);
}

static void answer_while_the_back_takes_nothing(void **state)
{
	(void)state;
	back[0].window = 10;
	start("POST", false);
	tell(&front, 1000, false);
	answer(&back[0], 413, true);
	assert_int_equal(front.taken, 1000);
	tell(&front, 1000, true);
	over(END_DONE, 413);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(in_order),
		TEST(without_bodies),
		TEST(responses_may_be_changed),
		TEST(request_trailers),
		TEST(slow_front),
		TEST(slow_back),
		TEST(an_end_alone),
		TEST(connect_goes_both_ways_to_the_end),
		TEST(connect_refused),
		TEST(answer_before_the_request_ended),
		TEST(answer_to_an_endless_request),
		TEST(answer_while_the_back_takes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
