// SPDX-License-Identifier: Apache-2.0
/* user/agent/notes.c: the alarm comes before the notes of flows are full, is told once, and ends when there is room again. */
#include <errno.h>

#include "lib/log.h"
#include "tests/unit/unit.h"
#include "user/agent/agent.h"

#define ROOM 131072u

/* What notes.c asks others for; these stand in their place. */
static uint64_t now_us = 1;
static struct dataplane_notes counted = { .room = ROOM };
static unsigned int asked;
static int refuses;

uint64_t agent_now_us(void)
{
	return now_us;
}

int dataplane_notes(struct dataplane *dp, struct dataplane_notes *out)
{
	(void)dp;
	asked++;
	if (refuses)
		return refuses;
	*out = counted;
	return 0;
}

int dataplane_loads(struct dataplane *dp, const struct dataplane_load *load, size_t n)
{
	(void)dp;
	(void)load;
	(void)n;
	return 0;
}

static struct agent agent;
static char said[4096];

/* The next look at the table, with so many notes in it; what was logged is in `said`. */
static bool look(uint32_t notes)
{
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	ssize_t got;

	assert_non_null(file);
	counted.notes = notes;
	now_us += 15000000;
	dup2(fileno(file), STDERR_FILENO);
	notes_tick(&agent);
	dup2(saved, STDERR_FILENO);
	close(saved);
	got = pread(fileno(file), said, sizeof(said) - 1, 0);
	fclose(file);
	assert_true(got >= 0);
	said[got] = '\0';
	return agent.notes_alarm;
}

static bool status_says(void)
{
	json_t *j = notes_json(&agent);
	bool alarm = json_is_true(json_object_get(j, "alarm"));

	assert_int_equal(json_integer_value(json_object_get(j, "notes")), counted.notes);
	assert_int_equal(json_integer_value(json_object_get(j, "room")), ROOM);
	json_decref(j);
	return alarm;
}

static int start(void **state)
{
	(void)state;
	memset(&agent, 0, sizeof(agent));
	refuses = 0;
	return 0;
}

/* One flow after another would be slow; a step is a thousandth of the room. */
static void before_it_is_full(void **state)
{
	uint32_t first = 0, times = 0;

	(void)state;
	for (uint32_t n = 0; n <= ROOM; n += ROOM / 1024) {
		bool alarm = look(n);

		assert_int_equal(alarm, status_says());
		times += strstr(said, "warning") != NULL;
		if (alarm && !first) {
			char numbers[80];

			first = n;
			snprintf(numbers, sizeof(numbers), "%u flows of %u", n, ROOM);
			assert_non_null(strstr(said, numbers));
			assert_non_null(strstr(said, "agent.limits.notes"));
		}
		assert_int_equal(alarm, first != 0);
	}
	assert_in_range(first, ROOM / 2, ROOM * 4 / 5); /* in time to do something, but not in ordinary days */
	assert_int_equal(times, 1);
}

static void ends_with_room(void **state)
{
	(void)state;
	assert_true(look(ROOM));
	assert_true(look(ROOM * 7 / 10)); /* no coming and going */
	assert_string_equal(said, "");
	assert_false(look(ROOM / 2));
	assert_non_null(strstr(said, "there is room again"));
	assert_false(look(ROOM * 7 / 10));
	assert_true(look(ROOM * 9 / 10));
	assert_non_null(strstr(said, "warning"));
}

static void asks_each_quarter_of_a_minute(void **state)
{
	unsigned int before;

	(void)state;
	look(0);
	before = asked;
	for (int s = 0; s < 60; s++) {
		now_us += 1000000;
		notes_tick(&agent);
	}
	assert_int_equal(asked - before, 4);
}

static void a_loader_that_is_away(void **state)
{
	(void)state;
	assert_true(look(ROOM));
	refuses = -EPIPE;
	assert_true(look(0)); /* what is not known changes nothing */
	assert_string_equal(said, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(before_it_is_full, start),
		cmocka_unit_test_setup(ends_with_room, start),
		cmocka_unit_test_setup(asks_each_quarter_of_a_minute, start),
		cmocka_unit_test_setup(a_loader_that_is_away, start),
	};

	log_open("weir-agent", LOG_LEVEL_INFO);
	return cmocka_run_group_tests_name("notes", tests, NULL, NULL);
}
