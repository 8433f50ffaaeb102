/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_contract.c -- what http/store/names.h promises, as one table of functions that any
 * engine of names can be put into: objects, versions and delete markers, meta, listings, uploads in
 * parts, closing of buckets. Each promise is tested at a lone node, at the primary of two, and at
 * the node that has to ask the primary.
 */
#include "tests/unit/store_contract.h"

static struct cluster cluster; /* for its registry alone */
static unsigned int bucket_number;

static void up(unsigned int count, unsigned int at)
{
	char url[160];

	if (!cluster.registry)
		cluster_start(&cluster, 0);
	snprintf(url, sizeof(url), "unix:%s", cluster.socket);
	for (nnodes = 0; nnodes < count; nnodes++) {
		char name[16], top[64];

		snprintf(name, sizeof(name), "n%u-%u", count, nnodes);
		snprintf(top, sizeof(top), "%s", cluster.top);
		child_open(&nodes[nnodes], name, nnodes ? "b" : "a", top, url, 0, NULL);
	}
	names = nodes[at].names;
}

static int down(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < nnodes; i++) {
		char key[600];

		/* The next ones are another installation. */
		snprintf(key, sizeof(key), REG_ENDPOINTS "%s", nodes[i].name);
		registry_delete(nodes[i].registry, key);
		child_close(&nodes[i]);
	}
	return 0;
}

static int up_lone(void **state)
{
	(void)state;
	up(1, 0);
	return 0;
}

static int up_two(void **state)
{
	(void)state;
	up(2, 0);
	return 0;
}

/* Every test has a bucket of its own, of which nodes[0] is the primary. */
static int fresh(void **state)
{
	(void)state;
	snprintf(bucket, sizeof(bucket), "bucket-%u", bucket_number++);
	names = nodes[0].names;
	if (nnodes == 2) /* its primary is who is asked first */
		wait_until(10, names_bucket_open(names, bucket) == 0);
	return 0;
}

static int fresh_asked(void **state)
{
	fresh(state);
	names = nodes[1].names;
	return 0;
}

#define CONTRACT(setup)                                                                            \
	cmocka_unit_test_setup(plain_replaces, setup),                                             \
		cmocka_unit_test_setup(etag_and_meta, setup),                                      \
		cmocka_unit_test_setup(versions_are_kept, setup),                                  \
		cmocka_unit_test_setup(suspended_replaces_null, setup),                            \
		cmocka_unit_test_setup(delimiters, setup),                                         \
		cmocka_unit_test_setup(longest_keys, setup),                                       \
		cmocka_unit_test_setup(pages_of_versions, setup),                                  \
		cmocka_unit_test_setup(greatest_entries, setup),                                   \
		cmocka_unit_test_setup(uploads_become_objects, setup),                             \
		cmocka_unit_test_setup(versions_used, setup),                                      \
		cmocka_unit_test_setup(tries_are_told_apart, setup),                               \
		cmocka_unit_test_setup(uploads_end, setup),                                        \
		cmocka_unit_test_setup(opened_as_seen, setup)

int main(void)
{
	const struct CMUnitTest lone[] = {
		CONTRACT(fresh),
		cmocka_unit_test_setup(closed_buckets, fresh),
		cmocka_unit_test_setup(many_parts_dropped, fresh),
		cmocka_unit_test_setup(fetched_and_meta, fresh),
		cmocka_unit_test_setup(removed_while_written, fresh),
	};
	const struct CMUnitTest two[] = { CONTRACT(fresh) };
	const struct CMUnitTest asked[] = { CONTRACT(fresh_asked) };
	int failed;

	log_open("test", getenv("NAMES_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	failed = cmocka_run_group_tests_name("a lone node", lone, up_lone, down);
	failed += cmocka_run_group_tests_name("the primary of two", two, up_two, down);
	failed += cmocka_run_group_tests_name("the other of two", asked, up_two, down);
	cluster_end(&cluster);
	return failed;
}
