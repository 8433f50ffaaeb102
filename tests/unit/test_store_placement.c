/* SPDX-License-Identifier: Apache-2.0 */
/* Placement: balanced by weight, spread over sites and domains, minimal movement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "http/store/placement.h"

static void name_nodes(struct placement_node *nodes, size_t n, unsigned int sites,
		       unsigned int domains)
{
	memset(nodes, 0, n * sizeof(*nodes));
	for (size_t i = 0; i < n; i++) {
		snprintf(nodes[i].name, sizeof(nodes[i].name), "ep-%zu", i);
		snprintf(nodes[i].site, sizeof(nodes[i].site), "site-%zu", i % sites);
		snprintf(nodes[i].domain, sizeof(nodes[i].domain), "rack-%zu", i / sites % domains);
		nodes[i].weight = 1;
	}
}

static void test_group_is_stable_and_covers_all(void **state)
{
	bool seen[PLACEMENT_GROUPS] = { false };
	struct version v = { { 0 } };
	unsigned int n = 0;

	(void)state;
	for (unsigned int i = 0; i < 65536; i++) {
		v.id[0] = (uint8_t)(i >> 8);
		v.id[1] = (uint8_t)i;
		assert_true(placement_group(&v) < PLACEMENT_GROUPS);
		n += !seen[placement_group(&v)];
		seen[placement_group(&v)] = true;
	}
	assert_int_equal(n, PLACEMENT_GROUPS);
}

static void test_balance_follows_weights(void **state)
{
	struct placement_node nodes[6];
	unsigned int count[6] = { 0 };
	size_t pick;

	(void)state;
	name_nodes(nodes, 6, 2, 3);
	nodes[0].weight = 3;
	for (unsigned int g = 0; g < PLACEMENT_GROUPS; g++) {
		assert_int_equal(placement_choose(nodes, 6, g, NULL, 0, &pick, 1), 1);
		count[pick]++;
	}
	/* 3/8 and 1/8 of 1,024, within four standard deviations (15.5 and 10.6). */
	assert_in_range(count[0], 384 - 62, 384 + 62);
	for (int i = 1; i < 6; i++)
		assert_in_range(count[i], 128 - 43, 128 + 43);
}

static void test_spread(void **state)
{
	struct placement_node nodes[8];
	size_t picks[8];

	(void)state;
	name_nodes(nodes, 8, 2, 2);
	for (unsigned int g = 0; g < PLACEMENT_GROUPS; g++) {
		assert_int_equal(placement_choose(nodes, 8, g, NULL, 0, picks, 4), 4);
		assert_string_not_equal(nodes[picks[0]].site, nodes[picks[1]].site);
		/* Two sites with two domains each: four picks are four domains. */
		for (int a = 0; a < 4; a++)
			for (int b = 0; b < a; b++)
				assert_true(strcmp(nodes[picks[a]].site, nodes[picks[b]].site) ||
					    strcmp(nodes[picks[a]].domain, nodes[picks[b]].domain));
	}
}

static void test_same_domain_is_the_last_resort(void **state)
{
	struct placement_node nodes[3];
	const struct placement_node *taken = &nodes[0];
	size_t pick;

	(void)state;
	name_nodes(nodes, 3, 1, 1);
	assert_int_equal(placement_choose(nodes, 3, 5, &taken, 1, &pick, 1), 1);
	assert_int_not_equal(pick, 0);
	snprintf(nodes[2].domain, sizeof(nodes[2].domain), "other");
	for (unsigned int g = 0; g < 64; g++) {
		assert_int_equal(placement_choose(nodes, 3, g, &taken, 1, &pick, 1), 1);
		assert_int_equal(pick, 2);
	}
	nodes[2].weight = 0;
	assert_int_equal(placement_choose(nodes, 3, 5, &taken, 1, &pick, 1), 1);
	assert_int_equal(pick, 1);
	/* Nobody but the holder itself. */
	assert_int_equal(placement_choose(nodes, 1, 5, &taken, 1, &pick, 1), 0);
	assert_int_equal(placement_choose(nodes, 0, 5, NULL, 0, &pick, 1), 0);
}

/* Removing one of ten nodes moves only the groups that it held. */
static void test_minimal_movement(void **state)
{
	struct placement_node nodes[10], fewer[9];
	unsigned int moved = 0, held = 0;
	size_t a, b;

	(void)state;
	name_nodes(nodes, 10, 1, 10);
	memcpy(fewer, nodes, sizeof(fewer)); /* without the last */
	for (unsigned int g = 0; g < PLACEMENT_GROUPS; g++) {
		placement_choose(nodes, 10, g, NULL, 0, &a, 1);
		placement_choose(fewer, 9, g, NULL, 0, &b, 1);
		held += a == 9;
		moved += a != b;
	}
	assert_int_equal(moved, held);
	assert_in_range(held, 102 - 39, 102 + 39);
	/* The order in which nodes are listed does not matter. */
	struct placement_node turned[10];

	for (int i = 0; i < 10; i++)
		turned[i] = nodes[9 - i];
	for (unsigned int g = 0; g < PLACEMENT_GROUPS; g++) {
		placement_choose(nodes, 10, g, NULL, 0, &a, 1);
		placement_choose(turned, 10, g, NULL, 0, &b, 1);
		assert_string_equal(nodes[a].name, turned[b].name);
	}
}

static void test_more_weight_only_attracts(void **state)
{
	struct placement_node nodes[10];
	size_t before[PLACEMENT_GROUPS], after;

	(void)state;
	name_nodes(nodes, 10, 1, 10);
	for (unsigned int g = 0; g < PLACEMENT_GROUPS; g++)
		placement_choose(nodes, 10, g, NULL, 0, &before[g], 1);
	nodes[4].weight = 2;
	for (unsigned int g = 0; g < PLACEMENT_GROUPS; g++) {
		placement_choose(nodes, 10, g, NULL, 0, &after, 1);
		assert_true(after == before[g] || after == 4);
	}
}

/* 64 in a row begin alike and differ behind it; the groups fill alike all the same. */
static void test_alike_by_turns(void **state)
{
	unsigned int count[PLACEMENT_GROUPS] = { 0 }, beginnings = 0;
	struct placement_alike alike = { .n = 0 };
	struct version v, drawn, last = { { 0 } };

	(void)state;
	for (unsigned int i = 0; i < 64 * 64 * PLACEMENT_GROUPS; i++) {
		random_bytes(drawn.id, VERSION_BYTES);
		v = drawn;
		placement_alike(&alike, &v);
		if (i % 64 == 0)
			assert_true(version_equal(&v, &drawn));
		else
			assert_memory_equal(v.id, last.id, 4);
		assert_memory_equal(v.id + 4, drawn.id + 4, VERSION_BYTES - 4);
		beginnings += memcmp(v.id, last.id, 4) != 0;
		count[placement_group(&v)]++;
		last = v;
	}
	assert_in_range(beginnings, 64 * PLACEMENT_GROUPS - 8, 64 * PLACEMENT_GROUPS);
	for (unsigned int g = 0; g < PLACEMENT_GROUPS; g++) /* 64 beginnings each, and eight deviations */
		assert_in_range(count[g], 64, 128 * 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_group_is_stable_and_covers_all),
		cmocka_unit_test(test_balance_follows_weights),
		cmocka_unit_test(test_spread),
		cmocka_unit_test(test_same_domain_is_the_last_resort),
		cmocka_unit_test(test_minimal_movement),
		cmocka_unit_test(test_more_weight_only_attracts),
		cmocka_unit_test(test_alike_by_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
