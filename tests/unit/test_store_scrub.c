/* SPDX-License-Identifier: Apache-2.0 */
/* What the scrubber takes for replaced: after a restored index of names, what is newer than its name
 * stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "http/store/scrub.h"

#define DAY 86400

static bool replaced(int64_t created, int64_t stored, int64_t modified, bool null_version, bool same)
{
	struct manifest *m = calloc(1, sizeof(*m));
	struct name_entry *e = calloc(1, sizeof(*e));
	bool is;

	assert_true(m && e);
	assert_int_equal(version_parse(&m->version, "00112233445566778899aabbccddeef1"), 0);
	strcpy(e->version, same ? "00112233445566778899aabbccddeef1" : "ff112233445566778899aabbccddeef1");
	m->created = created;
	e->modified = modified;
	e->null_version = null_version;
	is = scrub_replaced(m, stored, e);
	free(m);
	free(e);
	return is;
}

static void older_ones_are_replaced(void **state)
{
	(void)state;
	assert_true(replaced(1000 * DAY, 1000 * DAY, 1001 * DAY, true, false));
	assert_false(replaced(1000 * DAY, 1000 * DAY, 1001 * DAY, true, true));
}

/* The names are of day 1000, the data of after. */
static void newer_ones_stay(void **state)
{
	(void)state;
	assert_false(replaced(1001 * DAY, 1001 * DAY, 1000 * DAY, true, false));
	/* Clocks differ. */
	assert_false(replaced(1000 * DAY - 5, 1000 * DAY - 5, 1000 * DAY, true, false));
	/* Begun before and finished after. */
	assert_false(replaced(999 * DAY, 1000 * DAY + 5, 1000 * DAY, true, false));
	/* Fetched as a second copy later: not known when it was named. */
	assert_false(replaced(1001 * DAY, 999 * DAY, 1000 * DAY, true, false));
}

/* What was put into a bucket that keeps versions replaced nothing. */
static void versions_stay(void **state)
{
	(void)state;
	assert_false(replaced(1000 * DAY, 1000 * DAY, 1001 * DAY, false, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(older_ones_are_replaced),
		cmocka_unit_test(newer_ones_stay),
		cmocka_unit_test(versions_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
