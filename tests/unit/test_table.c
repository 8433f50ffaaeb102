/* SPDX-License-Identifier: Apache-2.0 */
/* table.c, slot.c: a slot table goes to JSON and back; broken ones are refused; what a slot takes over of a sister's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/agent/maps.h"
#include "user/agent/ring.h"
#include "user/agent/table.h"

static struct table *sample(void)
{
	struct table *t = table_alloc(3);

	t->generation = 7;
	t->n = 2;
	t->backends = calloc(2, sizeof(*t->backends));
	strcpy(t->backends[0].name, "b1");
	t->backends[0].id = ring_id("b1");
	assert_int_equal(addr_parse(&t->backends[0].address, "198.18.1.11"), 0);
	t->backends[0].up = true;
	t->backends[1].id = 0x00ff;
	assert_int_equal(addr_parse(&t->backends[1].address, "2001:db8::2"), 0);
	t->slot[0] = (struct weir_slot){ .current = 1 };
	t->slot[1] = (struct weir_slot){ 2, 1, { 1 }, 65535, UINT32_MAX };
	return t;
}

static void test_round_trip(void **state)
{
	struct table *t = sample(), *back = NULL;
	char *text = table_to_json(t, "files");

	(void)state;
	assert_non_null(text);
	assert_non_null(strstr(text, "\"table\":\"1;2,1,1,0,0,65535,4294967295;0\""));
	assert_int_equal(table_from_json(&back, text, strlen(text)), 0);
	assert_int_equal(back->generation, 7);
	assert_int_equal(back->slots, 3);
	assert_int_equal(back->n, 2);
	assert_string_equal(back->backends[0].name, "b1");
	assert_string_equal(back->backends[1].name, "");
	assert_int_equal(back->backends[1].id, 0x00ff);
	assert_true(back->backends[0].up);
	assert_false(back->backends[1].up);
	assert_true(addr_equal(&back->backends[1].address, &t->backends[1].address));
	assert_memory_equal(back->slot, t->slot, 3 * sizeof(*t->slot));
	free(text);
	table_free(back);
	table_free(t);
}

static void test_broken(void **state)
{
#define HEAD "{\"slots\":2,\"generation\":1,\"backends\":[{\"name\":\"\",\"id\":\"00000000000000ff\"," \
	     "\"address\":\"198.18.1.1\",\"up\":true}],\"table\":"
	static const char *const broken[] = {
		"", "[]", "{}",
		HEAD "\"1\"}", HEAD "\"1;1;1\"}", HEAD "\"1;\"}", HEAD "\";1\"}", HEAD "\"2;1\"}",
		HEAD "\"1;1 \"}", HEAD "\"1;-1\"}", HEAD "\"1;1,\"}", HEAD "\"1;1,0,0,0,0,65536\"}",
		HEAD "\"1;1,0,0,0,0,0,4294967296\"}", HEAD "\"1;1,0,0,0,0,0,0,0\"}", HEAD "\"1;99999999999999999999\"}",
		HEAD "7}",
		"{\"slots\":0,\"generation\":1,\"backends\":[],\"table\":\"\"}",
		"{\"slots\":1,\"generation\":-1,\"backends\":[],\"table\":\"0\"}",
		"{\"slots\":1,\"generation\":1,\"backends\":[{\"name\":\"b1\",\"id\":\"0000000000000001\","
		"\"address\":\"198.18.1.1\",\"up\":true}],\"table\":\"0\"}",
		"{\"slots\":1,\"generation\":1,\"backends\":[{\"name\":\"\",\"id\":\"1\","
		"\"address\":\"198.18.1.1\",\"up\":true}],\"table\":\"0\"}",
	};
	struct table *t = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
		assert_int_equal(table_from_json(&t, broken[i], strlen(broken[i])), -EINVAL);
		assert_null(t);
	}
	assert_int_equal(table_from_json(&t, HEAD "\"1;1,1\"}", strlen(HEAD "\"1;1,1\"}")), 0);
	table_free(t);
}

static void same(const struct weir_slot *a, struct weir_slot b)
{
	assert_memory_equal(a, &b, sizeof(b));
}

static void test_empty_takes_all(void **state)
{
	struct weir_slot s = { 0 }, theirs = { 3, 2, { 2, 1 }, 5, 9 };

	(void)state;
	assert_false(slot_copy(&s, &(struct weir_slot){ 0 }, false));
	assert_true(slot_copy(&s, &theirs, true));
	same(&s, theirs);
}

static void test_older_yields(void **state)
{
	struct weir_slot s = { 4, 0, { 5 }, 1, 1 }, theirs = { 3, 2, { 2, 1 }, 5, 9 };

	(void)state;
	assert_true(slot_copy(&s, &theirs, false));
	same(&s, (struct weir_slot){ 3, 2, { 2, 1, 4 }, 5, 9 });        /* its own is remembered last */
	s = (struct weir_slot){ 2, 0, { 5 }, 1, 1 };
	assert_true(slot_copy(&s, &theirs, false));
	same(&s, theirs);                                               /* named already */
}

static void test_serving_learns_owners(void **state)
{
	struct weir_slot s = { 4, 0, { 5 }, 1, 1 }, theirs = { 3, 2, { 2, 1 }, 5, 9 };

	(void)state;
	assert_true(slot_copy(&s, &theirs, true));
	same(&s, (struct weir_slot){ 4, 0, { 5, 3, 2 }, 1, 1 });
	assert_false(slot_copy(&s, &theirs, true));
}

static void test_transition_stays(void **state)
{
	struct weir_slot s = { 4, 5, { 5 }, 1, 1 }, theirs = { 3, 2, { 2, 1 }, 5, 9 };

	(void)state;
	assert_true(slot_copy(&s, &theirs, false));
	same(&s, (struct weir_slot){ 4, 5, { 5, 3, 2 }, 1, 1 });        /* notes of this transition count */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_empty_takes_all),
		cmocka_unit_test(test_older_yields),
		cmocka_unit_test(test_serving_learns_owners),
		cmocka_unit_test(test_transition_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
