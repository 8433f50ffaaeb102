/* SPDX-License-Identifier: Apache-2.0 */
/* The registry's store without HTTP: order, revisions, history, leases, what a restart keeps, what
 * a refusal leaves. */
#include "tests/unit/unit.h"

#include <time.h>

#include <errno.h>
#include <jansson.h>
#include <sys/resource.h>
#include <signal.h>

#include "http/registry/request.h"
#include "http/registry/store.h"

static char folder[128];
static struct store *s;

static void reopen(void)
{
	char err[256];

	store_close(s);
	s = NULL;
	assert_int_equal(store_open(&s, folder, err, sizeof(err)), 0);
}

static int setup(void **state)
{
	(void)state;
	unit_folder(folder, sizeof(folder));
	reopen();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	store_close(s);
	s = NULL;
	unit_folder_remove(folder);
	return 0;
}

static int one(struct store_op *op, int64_t *revision)
{
	struct store_txn txn = { .then = op, .nthen = 1 };
	int rc = store_run(s, &txn);

	if (revision)
		*revision = txn.revision;
	return rc;
}

static int put(const char *key, const char *value, int64_t lease)
{
	struct store_op op = { .verb = OP_PUT,
			       .span = { key, "", strlen(key), 0 },
			       .value = value,
			       .value_len = strlen(value),
			       .lease = lease };

	return one(&op, NULL);
}

static int64_t drop(const char *key, const char *end)
{
	struct store_op op = { .verb = OP_DELETE, .span = { key, end, strlen(key), strlen(end) } };

	assert_int_equal(one(&op, NULL), 0);
	return op.count;
}

/* The keys from `key` to `end` as "key=value ". */
static const char *range(const char *key, const char *end)
{
	static char text[4096];
	struct store_op op = { .verb = OP_RANGE, .span = { key, end, strlen(key), strlen(end) } };
	size_t len = 0;

	assert_int_equal(one(&op, NULL), 0);
	text[0] = '\0';
	for (size_t i = 0; i < op.nkvs && len < sizeof(text); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s=%.*s ",
					(int)op.kvs[i]->key_len, kv_key(op.kvs[i]),
					(int)op.kvs[i]->value_len, kv_value(op.kvs[i]));
	store_ops_clear(&op, 1);
	return text;
}

/* Changes from a revision on, as "key=value " and "-key ". */
static const char *changes(int64_t from, int64_t *next)
{
	static char text[4096];
	struct span all = { "\0", "\0", 1, 1 };
	struct kv **kvs = NULL;
	size_t n = 0, len = 0;

	*next = from;
	text[0] = '\0';
	if (store_changes(s, &all, next, 1 << 20, &kvs, &n))
		return "too old";
	for (size_t i = 0; i < n; i++) {
		if (kvs[i]->version)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s=%.*s ",
						(int)kvs[i]->key_len, kv_key(kvs[i]),
						(int)kvs[i]->value_len, kv_value(kvs[i]));
		else
			len += (size_t)snprintf(text + len, sizeof(text) - len, "-%.*s ",
						(int)kvs[i]->key_len, kv_key(kvs[i]));
		kv_put(kvs[i]);
	}
	free(kvs);
	return text;
}

static void test_order_and_restart(void **state)
{
	uint64_t cluster = store_cluster(s);
	int64_t revision;

	(void)state;
	assert_int_equal(store_revision(s), 1);
	for (const char *c = "zmabyx"; *c; c++)
		assert_int_equal(put((char[]){ *c, 0 }, "1", 0), 0);
	assert_int_equal(put("ab", "2", 0), 0);
	assert_string_equal(range("a", "c"), "a=1 ab=2 b=1 ");
	assert_int_equal(drop("y", ""), 1);
	revision = store_revision(s);
	assert_int_equal(revision, 9);
	reopen();
	assert_int_equal(store_revision(s), revision);
	assert_true(store_cluster(s) == cluster);
	assert_string_equal(range("a", "zz"), "a=1 ab=2 b=1 m=1 x=1 z=1 ");
}

static void test_second_owner(void **state)
{
	struct store *other = NULL;
	char err[256] = "";

	(void)state;
	assert_int_equal(store_open(&other, folder, err, sizeof(err)), -EBUSY);
	assert_non_null(strstr(err, "another"));
}

static void test_history(void **state)
{
	int64_t first = store_revision(s) + 1, next;

	(void)state;
	put("a", "1", 0);
	put("a", "2", 0);
	drop("a", "");
	assert_string_equal(changes(first, &next), "a=1 a=2 -a ");
	assert_int_equal(next, store_revision(s) + 1);
	reopen();
	assert_string_equal(changes(first + 1, &next), "a=2 -a ");
	assert_int_equal(store_compact(s, first + 1), 0);
	assert_string_equal(changes(first, &next), "too old");
	assert_int_equal(next, first + 1);
	assert_string_equal(changes(first + 1, &next), "a=2 -a ");
	assert_int_equal(store_compact(s, first + 1), -ESTALE);
	assert_int_equal(store_compact(s, store_revision(s) + 1), -ERANGE);
	reopen();
	assert_string_equal(changes(first, &next), "too old");
	assert_string_equal(changes(store_revision(s) + 5, &next), "");
	assert_int_equal(next, store_revision(s) + 5);
}

/* The history is bounded by bytes; the keys are not touched by that. */
static void test_history_bound(void **state)
{
	char *big = malloc(STORE_VALUE_MAX + 1);
	struct store_counts counts;
	int64_t next;

	(void)state;
	memset(big, 'b', STORE_VALUE_MAX);
	big[STORE_VALUE_MAX] = '\0';
	for (int i = 0; i < 70; i++)
		assert_int_equal(put("big", big, 0), 0);
	store_counts(s, &counts);
	assert_true(counts.history <= 64);
	assert_true(counts.oldest > 2);
	assert_string_equal(changes(2, &next), "too old");
	reopen();
	store_counts(s, &counts);
	assert_true(counts.history <= 64 && counts.keys == 1 &&
		    counts.bytes == STORE_VALUE_MAX + 3);
	free(big);
}

static void test_leases(void **state)
{
	int64_t id = 0, other = 77, revision;

	(void)state;
	assert_int_equal(store_lease_grant(s, &id, 5), 0);
	assert_int_equal(store_lease_grant(s, &other, 5), 0);
	assert_int_equal(store_lease_grant(s, &other, 5), -EEXIST);
	assert_int_equal(put("a", "1", id), 0);
	assert_int_equal(put("b", "1", id), 0);
	assert_int_equal(put("c", "1", other), 0);
	assert_int_equal(put("d", "1", 4711), -ENOKEY);
	store_lease_tick(s, 4900);
	assert_int_equal(store_lease_keep(s, other), 5);
	revision = store_revision(s);
	store_lease_tick(s, 1200); /* what passed before the grant, at most a second, is given */
	assert_string_equal(range("a", "z"), "c=1 ");
	assert_int_equal(store_revision(s), revision + 1);
	assert_int_equal(store_lease_keep(s, id), 0);
	reopen(); /* its whole time again */
	store_lease_tick(s, 4900);
	assert_string_equal(range("a", "z"), "c=1 ");
	store_lease_tick(s, 1200);
	assert_string_equal(range("a", "z"), "");
	assert_int_equal(store_lease_revoke(s, other), -ENOKEY);
}

static int64_t monotonic_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Who kept a lease just before a tick still has its whole TTL: holders rely on it. */
static void test_lease_never_early(void **state)
{
	int64_t id = 0, began;

	(void)state;
	assert_int_equal(store_lease_grant(s, &id, 5), 0);
	assert_int_equal(put("a", "1", id), 0);
	store_lease_tick(s, 0);
	for (began = monotonic_ms(); monotonic_ms() - began < 100;)
		;
	assert_int_equal(store_lease_keep(s, id), 5);
	store_lease_tick(s, 100);
	store_lease_tick(s, 4960);
	assert_string_equal(range("a", "z"), "a=1 ");
	store_lease_tick(s, 1200);
	assert_string_equal(range("a", "z"), "");
}

static void test_refused_txn_undone(void **state)
{
	struct store_op ops[3] = {
		{ .verb = OP_PUT, .span = { "a", "", 1, 0 }, .value = "9", .value_len = 1 },
		{ .verb = OP_DELETE, .span = { "b", "z", 1, 1 } },
		{ .verb = OP_PUT,
		  .span = { "0", "", 1, 0 },
		  .value = "9",
		  .value_len = 1,
		  .lease = 4711 },
	};
	struct store_txn txn = { .then = ops, .nthen = 3 };
	int64_t revision, next;

	(void)state;
	put("a", "1", 0);
	put("b", "1", 0);
	put("c", "1", 0);
	revision = store_revision(s);
	assert_int_equal(store_run(s, &txn), -ENOKEY);
	assert_string_equal(range("0", "z"), "a=1 b=1 c=1 ");
	assert_int_equal(store_revision(s), revision);
	assert_string_equal(changes(revision + 1, &next), "");
	reopen();
	assert_string_equal(range("0", "z"), "a=1 b=1 c=1 ");
}

/* A write that the disk refuses changes nothing, in memory or after a restart. */
static void test_disk_refuses(void **state)
{
	struct rlimit small = { 64 << 10, RLIM_INFINITY }, before;
	char *big = malloc(600001);
	int64_t revision;
	int rc;

	(void)state;
	memset(big, 'b', 600000);
	big[600000] = '\0';
	assert_int_equal(put("a", "1", 0), 0);
	revision = store_revision(s);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	rc = put("b", big, 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_true(rc == -EIO || rc == -ENOSPC);
	assert_string_equal(range("0", "z"), "a=1 ");
	assert_int_equal(store_revision(s), revision);
	reopen();
	assert_string_equal(range("0", "z"), "a=1 ");
	assert_int_equal(put("b", "2", 0), 0);
	assert_string_equal(range("0", "z"), "a=1 b=2 ");
	free(big);
}

static unsigned int ask(enum request_kind kind, enum request_power power, const char *body)
{
	json_t *answer = NULL;
	unsigned int status = request_run(s, kind, power, body, strlen(body), &answer);

	assert_non_null(answer);
	if (status != 200)
		assert_true(json_is_string(json_object_get(answer, "message")));
	json_decref(answer);
	return status;
}

static void test_requests(void **state)
{
	static const struct {
		enum request_kind kind;
		const char *body;
		unsigned int status;
	} cases[] = {
		{ REQUEST_PUT, "{\"key\":\"YQ==\",\"value\":\"YQ==\"}", 200 },
		{ REQUEST_PUT, "{\"key\":\"YQ==\",\"value\":null}", 200 },
		{ REQUEST_PUT, "{}", 400 },
		{ REQUEST_PUT, "", 400 },
		{ REQUEST_PUT, "[]", 400 },
		{ REQUEST_PUT, "{\"key\":\"YQ\"}", 400 },
		{ REQUEST_PUT, "{\"key\":1}", 400 },
		{ REQUEST_PUT, "{\"key\":\"YQ==\",\"lease\":\"x\"}", 400 },
		{ REQUEST_PUT, "{\"key\":\"YQ==\",\"lease\":\"99999999999999999999\"}", 400 },
		{ REQUEST_PUT, "{\"key\":\"YQ==\",\"lease\":\"5\"}", 404 },
		{ REQUEST_PUT, "{\"key\":\"YQ==\",\"prev_kv\":1}", 400 },
		{ REQUEST_PUT, "{\"key\":\"YQ==\",\"ignore_lease\":true}", 501 },
		{ REQUEST_RANGE, "{\"key\":\"YQ==\",\"limit\":3,\"sort_order\":\"ASCEND\"}", 200 },
		{ REQUEST_RANGE, "{\"key\":\"YQ==\",\"sort_order\":\"DESCEND\"}", 400 },
		{ REQUEST_RANGE, "{\"key\":\"YQ==\",\"limit\":1.5}", 400 },
		{ REQUEST_DELETE,
		  "{\"key\":\"L3dlaXIvdjEvdXNlcnMv\",\"rangeEnd\":\"L3dlaXIvdjEvdXNlcnMw\"}", 403 },
		{ REQUEST_DELETE, "{\"key\":\"AA==\",\"range_end\":\"AA==\"}", 403 },
		{ REQUEST_DELETE, "{\"key\":\"YQ==\"}", 200 },
		{ REQUEST_TXN, "{}", 200 },
		{ REQUEST_TXN, "{\"compare\":{}}", 400 },
		{ REQUEST_TXN, "{\"compare\":[1]}", 400 },
		{ REQUEST_TXN, "{\"compare\":[{\"key\":\"YQ==\",\"target\":\"AGE\"}]}", 400 },
		{ REQUEST_TXN, "{\"success\":[{}]}", 400 },
		{ REQUEST_TXN, "{\"success\":[{\"request_txn\":{}}]}", 501 },
		{ REQUEST_TXN,
		  "{\"compare\":[{\"key\":\"YQ==\",\"target\":0,\"result\":3,\"version\":\"5\"}]}",
		  200 },
		{ REQUEST_GRANT, "{\"TTL\":0}", 400 },
		{ REQUEST_GRANT, "{\"TTL\":\"9000000001\"}", 400 },
		{ REQUEST_GRANT, "{\"TTL\":5,\"ID\":-1}", 400 },
		{ REQUEST_GRANT, "{\"TTL\":5,\"ID\":\"9\"}", 200 },
		{ REQUEST_GRANT, "{\"TTL\":5,\"ID\":\"9\"}", 412 },
		{ REQUEST_KEEPALIVE, "{\"ID\":9}", 200 },
		{ REQUEST_REVOKE, "{\"ID\":9}", 200 },
		{ REQUEST_REVOKE, "{\"ID\":9}", 404 },
		{ REQUEST_COMPACT, "{\"revision\":\"100000\"}", 400 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (ask(cases[i].kind, POWER_DAEMON, cases[i].body) != cases[i].status)
			fail_msg("%s", cases[i].body);
	assert_int_equal(ask(REQUEST_RANGE, POWER_NONE, "{\"key\":\"YQ==\"}"), 403);
	assert_int_equal(ask(REQUEST_PUT, POWER_ALL, "{\"key\":\"L3dlaXIvdjEvdXNlcnMvYQ==\"}"),
			 200);
	assert_int_equal(ask(REQUEST_PUT, POWER_DAEMON, "{\"key\":\"L3dlaXIvdjEvdXNlcnMvYQ==\"}"),
			 403);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order_and_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_second_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(test_history, setup, teardown),
		cmocka_unit_test_setup_teardown(test_history_bound, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leases, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lease_never_early, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused_txn_undone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
	};

	return cmocka_run_group_tests_name("registry store", tests, NULL, NULL);
}
