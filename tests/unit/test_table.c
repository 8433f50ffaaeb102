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

/* A node that knows "b1" as 7, and has room for so many others, from 100. */
struct node {
	int asked, added, room;
};

static int node_known(void *arg, const struct table_backend *b)
{
	((struct node *)arg)->asked++;
	return strcmp(b->name, "b1") ? 0 : 7;
}

static int node_add(void *arg, const struct table_backend *b)
{
	struct node *node = arg;

	(void)b;
	node->added++;
	return node->added > node->room ? -ENOSPC : 99 + node->added;
}

/* What a broken sister says: so many backends, and every slot names five others of them. */
static struct table *many(size_t backends, uint32_t slots)
{
	struct table *t = table_alloc(slots);
	uint16_t place = 0;

	t->n = backends;
	t->backends = calloc(backends, sizeof(*t->backends));
	strcpy(t->backends[0].name, "b1");
	for (uint32_t i = 0; i < slots; i++) {
		uint16_t at[5];

		for (int k = 0; k < 5; k++)
			at[k] = (uint16_t)(place++ % backends + 1);
		t->slot[i] = (struct weir_slot){ .current = at[0], .previous = at[1], .owners = { at[2], at[3], at[4] } };
	}
	return t;
}

static void test_localize(void **state)
{
	struct table *t = many(65535, 2);
	struct node node = { .room = 100 };
	int failed = 1;

	(void)state;
	assert_int_equal(table_localize(t, &(struct table_names){ node_known, node_add, &node }, &failed), 0);
	assert_int_equal(failed, 0);
	assert_int_equal(node.asked, 10);       /* only those that a slot names */
	assert_int_equal(node.added, 9);
	same(&t->slot[0], (struct weir_slot){ 7, 100, { 101, 102, 103 }, 0, 0 });
	same(&t->slot[1], (struct weir_slot){ 104, 105, { 106, 107, 108 }, 0, 0 });
	table_free(t);
}

static void test_localize_full(void **state)
{
	struct table *t = many(1000, 200);
	struct node node = { .room = 2 };
	int failed = 0;

	(void)state;
	assert_int_equal(table_localize(t, &(struct table_names){ node_known, node_add, &node }, &failed), 0);
	assert_int_equal(failed, -ENOSPC);
	assert_int_equal(node.added, 3);        /* the first that failed is the last that was tried */
	same(&t->slot[0], (struct weir_slot){ 7, 100, { 101, 0, 0 }, 0, 0 });
	same(&t->slot[199], (struct weir_slot){ 0 });
	table_free(t);
}

static void test_localize_strangers(void **state)
{
	struct table *t = many(65535, 206);     /* names 1,030 of them */
	struct node node = { .room = 65535 };
	int failed;

	(void)state;
	assert_int_equal(table_localize(t, &(struct table_names){ node_known, node_add, &node }, &failed), -E2BIG);
	assert_int_equal(node.added, 0);
	assert_int_equal(t->slot[205].owners[2], 1030);
	table_free(t);
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
		cmocka_unit_test(test_localize),
		cmocka_unit_test(test_localize_full),
		cmocka_unit_test(test_localize_strangers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
