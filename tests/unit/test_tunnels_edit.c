/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of tunnels in a real registry: names, hostnames and addresses are never two tunnels',
 * also when many are made at once; quarantine, change, removal, enrolment, revocation. */
#include "tests/unit/registry_here.h"

#include <errno.h>
#include <pthread.h>

#include "lib/tunnels.h"

#define CREATORS 8
#define EACH	 6

static struct registry_here here;
static struct addr_prefix prefix[2];
static struct tunnel_pool pool = { prefix, 2, 60 };
static char why[TUNNEL_WHY_MAX];

static int setup(void **state)
{
	(void)state;
	registry_here_start(&here);
	assert_int_equal(addr_prefix_parse(&prefix[0], "198.18.9.0/24"), 0);
	assert_int_equal(addr_prefix_parse(&prefix[1], "2001:db8:9::/64"), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	registry_here_stop(&here);
	return 0;
}

static int clean(void **state)
{
	(void)state;
	assert_int_equal(registry_delete_prefix(here.reg, REG_ROOT, NULL), 0);
	return 0;
}

static void name(struct tunnel *t, const char *n, const char *hostname)
{
	memset(t, 0, sizeof(*t));
	snprintf(t->name, sizeof(t->name), "%s", n);
	snprintf(t->hostnames[0], sizeof(t->hostnames[0]), "%s", hostname);
	t->nhostnames = 1;
}

static int create(struct tunnel *t, const char *n, const char *hostname)
{
	name(t, n, hostname);
	return tunnel_create(here.reg, t, &pool, why);
}

static char *value_of(const char *key)
{
	struct reg_kv kv;
	char *value;

	if (registry_get(here.reg, key, &kv))
		return NULL;
	value = strdup(kv.value);
	reg_kv_free(&kv);
	return value;
}

static void assert_value(const char *key, const char *want)
{
	char *got = value_of(key);

	if (want)
		assert_string_equal(got ? got : "(absent)", want);
	else
		assert_null(got);
	free(got);
}

static void assert_address(const struct addr *a, const char *want)
{
	char text[ADDR_STRLEN];

	assert_string_equal(addr_format(a, text, sizeof(text)), want);
}

static size_t count(const char *keys)
{
	struct reg_kv *kvs;
	size_t n;

	assert_int_equal(registry_list(here.reg, keys, &kvs, &n, NULL), 0);
	reg_kv_list_free(kvs, n);
	return n;
}

static void test_create(void **state)
{
	struct tunnel t, got;

	(void)state;
	assert_int_equal(create(&t, "app", "app.edge.example"), 0);
	assert_address(&t.address, "198.18.9.1");
	assert_address(&t.address6, "2001:db8:9::1");
	assert_int_equal(tunnel_port_mode(&t, 80), TUNNEL_HTTP);
	assert_int_equal(tunnel_port_mode(&t, 443), TUNNEL_HTTPS);
	assert_int_equal(tunnel_get(here.reg, "app", &got), 0);
	assert_true(tunnel_has_hostname(&got, "app.edge.example"));
	assert_true(addr_equal(&got.address, &t.address));
	assert_int_equal(got.generation, t.generation);
	assert_value(REG_HOSTNAMES "app.edge.example", "{\"tunnel\":\"app\"}");
	assert_value(REG_ADDRESSES "198.18.9.1", "{\"tunnel\":\"app\"}");
	assert_value(REG_ADDRESSES "2001:db8:9::1", "{\"tunnel\":\"app\"}");
	assert_int_equal(create(&t, "second", "second.edge.example"), 0);
	assert_address(&t.address, "198.18.9.2");
	assert_int_equal(tunnel_get(here.reg, "third", &got), -ENOENT);
	assert_int_equal(tunnel_get(here.reg, "../x", &got), -ENOENT);
}

/* Nothing is left of a creation that was refused. */
static void test_taken(void **state)
{
	struct tunnel t;

	(void)state;
	assert_int_equal(create(&t, "app", "app.edge.example"), 0);
	assert_int_equal(create(&t, "app", "other.edge.example"), -EEXIST);
	assert_string_equal(why, "there is a tunnel app already");
	assert_value(REG_HOSTNAMES "other.edge.example", NULL);
	assert_int_equal(create(&t, "thief", "app.edge.example"), -EADDRINUSE);
	assert_string_equal(why, "hostname app.edge.example belongs to another tunnel");
	assert_value(REG_TUNNELS "thief", NULL);
	assert_int_equal(count(REG_ADDRESSES), 2);
	assert_value(REG_HOSTNAMES "app.edge.example", "{\"tunnel\":\"app\"}");
}

static void test_wrong(void **state)
{
	struct tunnel_pool none = { NULL, 0, 60 };
	struct tunnel t;

	(void)state;
	assert_int_equal(create(&t, "App", "app.edge.example"), -EINVAL);
	assert_int_equal(create(&t, "app", "app"), -EINVAL);
	name(&t, "app", "app.edge.example");
	t.nhostnames = 0;
	assert_int_equal(tunnel_create(here.reg, &t, &pool, why), -EINVAL);
	name(&t, "app", "app.edge.example");
	t.ports[0] = (struct tunnel_port){ 22, TUNNEL_TCP };
	t.nports = 1;
	assert_int_equal(tunnel_create(here.reg, &t, &none, why), -EINVAL);
	assert_non_null(strstr(why, "prefix"));
	t.ports[1] = t.ports[0];
	t.nports = 2;
	assert_int_equal(tunnel_create(here.reg, &t, &pool, why), -EINVAL);
	name(&t, "app", "app.edge.example");
	t.client_ca = (char *)"pem";
	t.ports[0] = (struct tunnel_port){ 443, TUNNEL_TLS };
	t.nports = 1;
	assert_int_equal(tunnel_create(here.reg, &t, &pool, why), -EINVAL);
	assert_int_equal(count(REG_ROOT), 0);
	name(&t, "app", "app.edge.example");
	assert_int_equal(tunnel_create(here.reg, &t, &none, why), 0);
	assert_int_equal(t.address.family, AF_UNSPEC);
	assert_int_equal(count(REG_ADDRESSES), 0);
}

/* ---- at once --------------------------------------------------------------------------------- */

struct creator {
	pthread_t thread;
	int i;
	bool same; /* all want one hostname */
	int rc[EACH];
	struct addr got[EACH];
};

static void *creating(void *arg)
{
	struct conf_registry conf = { .url = here.url,
				      .token_file = here.token_file,
				      .timeout_us = 5000000 };
	struct creator *c = arg;
	char n[40], hostname[80], because[TUNNEL_WHY_MAX];
	struct registry *reg = NULL;

	if (registry_open(&reg, &conf))
		return NULL;
	for (int k = 0; k < EACH; k++) {
		struct tunnel t;

		snprintf(n, sizeof(n), "t-%d-%d", c->i, k);
		snprintf(hostname, sizeof(hostname), "h%d-%d.edge.example", c->same ? 0 : c->i, k);
		name(&t, n, hostname);
		c->rc[k] = tunnel_create(reg, &t, &pool, because);
		c->got[k] = t.address;
	}
	registry_close(reg);
	return NULL;
}

static void run_creators(struct creator *all, bool same)
{
	for (int i = 0; i < CREATORS; i++) {
		all[i] = (struct creator){ .i = i, .same = same };
		assert_int_equal(pthread_create(&all[i].thread, NULL, creating, &all[i]), 0);
	}
	for (int i = 0; i < CREATORS; i++)
		pthread_join(all[i].thread, NULL);
}

/* All get an address, no two the same, and they are the lowest ones. */
static void test_many_addresses(void **state)
{
	struct creator all[CREATORS];
	bool seen[256] = { false };

	(void)state;
	run_creators(all, false);
	for (int i = 0; i < CREATORS; i++)
		for (int k = 0; k < EACH; k++) {
			uint8_t last = all[i].got[k].bytes[3];

			assert_int_equal(all[i].rc[k], 0);
			assert_false(seen[last]);
			seen[last] = true;
			assert_in_range(last, 1, CREATORS * EACH);
		}
	assert_int_equal(count(REG_TUNNELS), CREATORS * EACH);
	assert_int_equal(count(REG_ADDRESSES), 2 * CREATORS * EACH);
}

/* Each hostname goes to exactly one of those who want it at once. */
static void test_one_hostname(void **state)
{
	struct creator all[CREATORS];

	(void)state;
	run_creators(all, true);
	for (int k = 0; k < EACH; k++) {
		int won = 0;

		for (int i = 0; i < CREATORS; i++) {
			won += !all[i].rc[k];
			assert_true(!all[i].rc[k] || all[i].rc[k] == -EADDRINUSE);
		}
		assert_int_equal(won, 1);
	}
	assert_int_equal(count(REG_TUNNELS), EACH);
	assert_int_equal(count(REG_ADDRESSES), 2 * EACH);
}

/* ---- its life -------------------------------------------------------------------------------- */

static void test_quarantine(void **state)
{
	struct tunnel t;
	uint64_t first;
	char *text;

	(void)state;
	assert_int_equal(create(&t, "app", "app.edge.example"), 0);
	first = t.generation;
	assert_int_equal(tunnel_remove(here.reg, "app", 60, why), 0);
	assert_int_equal(tunnel_remove(here.reg, "app", 60, why), -ENOENT);
	assert_value(REG_HOSTNAMES "app.edge.example", NULL);
	text = value_of(REG_ADDRESSES "198.18.9.1");
	assert_non_null(text);
	assert_non_null(strstr(text, "until"));
	free(text);
	assert_int_equal(create(&t, "app", "app.edge.example"), 0);
	assert_address(&t.address, "198.18.9.2");
	assert_true(t.generation > first);
	/* with the time over it is taken again */
	assert_int_equal(tunnel_remove(here.reg, "app", 0, why), 0);
	assert_int_equal(create(&t, "app", "app.edge.example"), 0);
	assert_address(&t.address, "198.18.9.2");
	assert_value(REG_ADDRESSES "198.18.9.2", "{\"tunnel\":\"app\"}");
}

static void test_full(void **state)
{
	struct addr_prefix two;
	struct tunnel_pool small = { &two, 1, 60 };
	struct tunnel t;

	(void)state;
	assert_int_equal(addr_prefix_parse(&two, "198.18.9.0/30"), 0);
	name(&t, "one", "one.edge.example");
	assert_int_equal(tunnel_create(here.reg, &t, &small, why), 0);
	name(&t, "two", "two.edge.example");
	assert_int_equal(tunnel_create(here.reg, &t, &small, why), 0);
	name(&t, "three", "three.edge.example");
	assert_int_equal(tunnel_create(here.reg, &t, &small, why), -ENOSPC);
	assert_int_equal(tunnel_remove(here.reg, "one", 60, why), 0);
	assert_int_equal(tunnel_create(here.reg, &t, &small, why), -ENOSPC);
}

static void test_change(void **state)
{
	struct tunnel t, other;
	uint64_t generation;

	(void)state;
	assert_int_equal(create(&other, "other", "other.edge.example"), 0);
	assert_int_equal(create(&t, "app", "app.edge.example"), 0);
	generation = t.generation;
	strcpy(t.hostnames[0], "new.edge.example");
	strcpy(t.hostnames[1], "too.edge.example");
	t.nhostnames = 2;
	t.ports[0] = (struct tunnel_port){ 5432, TUNNEL_TCP };
	t.nports = 1;
	assert_int_equal(tunnel_change(here.reg, &t, why), 0);
	assert_int_equal(t.generation, generation + 1);
	assert_value(REG_HOSTNAMES "app.edge.example", NULL);
	assert_value(REG_HOSTNAMES "new.edge.example", "{\"tunnel\":\"app\"}");
	assert_value(REG_HOSTNAMES "too.edge.example", "{\"tunnel\":\"app\"}");
	strcpy(t.hostnames[1], "other.edge.example");
	assert_int_equal(tunnel_change(here.reg, &t, why), -EADDRINUSE);
	assert_value(REG_HOSTNAMES "other.edge.example", "{\"tunnel\":\"other\"}");
	assert_value(REG_HOSTNAMES "too.edge.example", "{\"tunnel\":\"app\"}");
	t.nhostnames = 1;
	t.generation = generation;
	assert_int_equal(tunnel_change(here.reg, &t, why), -EAGAIN);
	name(&t, "absent", "absent.edge.example");
	assert_int_equal(tunnel_change(here.reg, &t, why), -ENOENT);
}

static void test_enrolment(void **state)
{
	char first[44], second[44];
	struct tunnel t, got;

	(void)state;
	assert_int_equal(create(&t, "app", "app.edge.example"), 0);
	assert_int_equal(tunnel_open_enrolment(here.reg, "absent", 60, first, why), -ENOENT);
	assert_int_equal(tunnel_open_enrolment(here.reg, "app", 60, first, why), 0);
	assert_int_equal(strlen(first), 43);
	assert_int_equal(tunnel_get(here.reg, "app", &got), 0);
	assert_int_equal(got.generation, t.generation);
	assert_int_equal(tunnel_check_secret(&got, first, time(NULL)), 0);
	assert_int_equal(tunnel_check_secret(&got, first, time(NULL) + 61), -ETIME);
	assert_int_equal(tunnel_open_enrolment(here.reg, "app", 60, second, why), 0);
	assert_int_equal(tunnel_get(here.reg, "app", &got), 0);
	assert_int_equal(tunnel_check_secret(&got, first, time(NULL)), -EACCES);
	assert_int_equal(tunnel_check_secret(&got, second, time(NULL)), 0);
	/* a change does not touch it */
	strcpy(got.owner, "ann");
	assert_int_equal(tunnel_change(here.reg, &got, why), 0);
	assert_int_equal(tunnel_get(here.reg, "app", &got), 0);
	assert_string_equal(got.owner, "ann");
	assert_int_equal(tunnel_check_secret(&got, second, time(NULL)), 0);
}

static void issue(const char *tunnel, int serial)
{
	char key[128];

	snprintf(key, sizeof(key), REG_ISSUED "%s/%016X", tunnel, serial);
	assert_int_equal(registry_put(here.reg, key, "{\"at\":5,\"until\":77}", 0), 0);
}

static void test_revoke(void **state)
{
	struct tunnel t;
	char *text;
	size_t n;

	(void)state;
	assert_int_equal(create(&t, "app", "app.edge.example"), 0);
	assert_int_equal(create(&t, "apple", "apple.edge.example"), 0);
	for (int i = 1; i <= 120; i++)
		issue("app", i);
	issue("apple", 1000);
	assert_int_equal(tunnel_revoke(here.reg, "app", "0000000000000007", &n, why), 0);
	assert_int_equal(n, 1);
	text = value_of(REG_REVOKED "0000000000000007");
	assert_non_null(text);
	assert_non_null(strstr(text, "\"tunnel\":\"app\""));
	assert_non_null(strstr(text, "\"until\":77"));
	free(text);
	assert_int_equal(tunnel_revoke(here.reg, "app", "0000000000000007", &n, why), -ENOENT);
	assert_int_equal(tunnel_revoke(here.reg, "app", "00000000000003E8", &n, why), -ENOENT);
	assert_int_equal(tunnel_revoke(here.reg, "app", NULL, &n, why), 0);
	assert_int_equal(n, 119);
	assert_int_equal(count(REG_REVOKED), 120);
	assert_int_equal(count(REG_ISSUED), 1);
	assert_int_equal(tunnel_remove(here.reg, "apple", 60, why), 0);
	assert_int_equal(count(REG_REVOKED), 121);
	assert_int_equal(count(REG_ISSUED), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_create, clean),
		cmocka_unit_test_setup(test_taken, clean),
		cmocka_unit_test_setup(test_wrong, clean),
		cmocka_unit_test_setup(test_many_addresses, clean),
		cmocka_unit_test_setup(test_one_hostname, clean),
		cmocka_unit_test_setup(test_quarantine, clean),
		cmocka_unit_test_setup(test_full, clean),
		cmocka_unit_test_setup(test_change, clean),
		cmocka_unit_test_setup(test_enrolment, clean),
		cmocka_unit_test_setup(test_revoke, clean),
	};

	return cmocka_run_group_tests_name("tunnels in the registry", tests, setup, teardown);
}
