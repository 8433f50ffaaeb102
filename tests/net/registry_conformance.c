/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_conformance.c -- the same checks for every registry: weir-registry and real etcd.
 *
 * registry_conformance URL [-u USER -p PASSWORD_FILE] [-t TOKEN_FILE] [-c CA_FILE] -- SERVER ARG...
 *
 * Starts the server itself, because it also kills, stops and restarts it. Prints TAP. What
 * lib/registry.h offers is checked through it; what only the protocol shows is asked in plain JSON.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/net/registry_conformance.h"

static struct conf_registry conf = { .timeout_us = 1000000 };
struct registry *reg;
static char **server_argv;
pid_t server_pid;
static int checks, failures;

/* ---- helpers ---- */

bool check(bool good, const char *fmt, ...)
{
	va_list ap;

	checks++;
	failures += !good;
	printf("%sok %d - ", good ? "" : "not ", checks);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	if (!good)
		printf("# last error: %s\n", registry_error());
	fflush(stdout);
	return good;
}

void nap(int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000l };

	nanosleep(&ts, NULL);
}

void server_start(void)
{
	server_pid = fork();
	if (!server_pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execvp(server_argv[0], server_argv);
		perror(server_argv[0]);
		_exit(127);
	}
}

void server_kill(void)
{
	kill(server_pid, SIGKILL);
	waitpid(server_pid, NULL, 0);
}

bool server_answers(void)
{
	struct reg_kv kv;
	int rc = registry_get(reg, ROOT "no such key", &kv);

	if (!rc)
		reg_kv_free(&kv);
	return !rc || rc == -ENOENT;
}

/* A request in JSON, keys and values in plain text: "@text" members are encoded. */
json_t *encode(json_t *o)
{
	const char *name;
	json_t *value;
	void *next;
	size_t i;

	if (json_is_array(o))
		json_array_foreach (o, i, value)
			encode(value);
	json_object_foreach_safe (o, next, name, value) {
		if (json_is_string(value) && json_string_value(value)[0] == '@')
			reg_set_bytes(o, name, json_string_value(value) + 1,
				      json_string_length(value) - 1);
		else
			encode(value);
	}
	return o;
}

static int raw(const char *path, json_t *request, json_t **answer)
{
	*answer = NULL;
	return reg_call(reg, path, encode(request), 0, answer);
}

/* A request that must succeed; its answer. */
json_t *ask(const char *path, json_t *request)
{
	json_t *answer;

	if (raw(path, request, &answer))
		printf("# %s: %s\n", path, registry_error());
	return answer;
}

int64_t revision_now(void)
{
	json_t *a = ask("/v3/kv/range", json_pack("{s:s}", "key", "@" ROOT "none"));
	int64_t revision = reg_i64(json_object_get(a, "header"), "revision");

	json_decref(a);
	return revision;
}

bool has_value(const char *key, const char *value)
{
	struct reg_kv kv;
	bool same;

	if (registry_get(reg, key, &kv))
		return false;
	same = !strcmp(kv.value, value);
	reg_kv_free(&kv);
	return same;
}

bool absent(const char *key)
{
	struct reg_kv kv;
	int rc = registry_get(reg, key, &kv);

	if (!rc)
		reg_kv_free(&kv);
	return rc == -ENOENT;
}

bool refused(const char *path, json_t *request, const char *words)
{
	json_t *answer;
	int rc = raw(path, request, &answer);

	json_decref(answer);
	return rc && strstr(registry_error(), words);
}

/* ---- keys ---- */

static void check_keys(void)
{
	struct reg_kv one = { 0 }, two = { 0 };
	int64_t before = revision_now(), deleted = 0;

	check(absent(ROOT "a"), "a key that is not there is -ENOENT");
	check(!registry_put(reg, ROOT "a", "1", 0) && !registry_get(reg, ROOT "a", &one) &&
		      !strcmp(one.value, "1") && one.value_len == 1,
	      "what was put is read");
	check(one.version == 1 && one.create_revision == one.mod_revision &&
		      one.mod_revision == before + 1,
	      "a new key has version 1 and the next revision");
	check(!registry_put(reg, ROOT "a", "2", 0) && !registry_get(reg, ROOT "a", &two) &&
		      two.version == 2 && two.create_revision == one.create_revision &&
		      two.mod_revision == one.mod_revision + 1,
	      "a change raises version and revision, not the creation");
	check(!strncmp(two.key, ROOT "a", 20), "the answer names the key");
	reg_kv_free(&one);
	reg_kv_free(&two);
	check(!registry_delete(reg, ROOT "a") && absent(ROOT "a"), "a deleted key is gone");
	before = revision_now();
	check(registry_delete(reg, ROOT "a") == -ENOENT, "deleting it again is -ENOENT");
	check(revision_now() == before, "deleting nothing makes no revision");
	registry_put(reg, ROOT "a", "3", 0);
	check(!registry_get(reg, ROOT "a", &one) && one.version == 1,
	      "a key made anew begins at version 1");
	reg_kv_free(&one);
	check(!registry_put(reg, ROOT "empty", "", 0) && has_value(ROOT "empty", ""),
	      "an empty value is a value");
	check(!registry_delete_prefix(reg, ROOT, &deleted) && deleted == 2,
	      "deleting a prefix counts");
}

static void check_ranges(void)
{
	static const char *const keys[] = { ROOT "p",	ROOT "p.",  ROOT "p/",
					    ROOT "p/a", ROOT "p/b", ROOT "p0" };
	struct reg_kv *kvs = NULL;
	int64_t revision = 0;
	size_t n = 0;
	json_t *a;

	for (size_t i = 0; i < 6; i++)
		registry_put(reg, keys[5 - i], "v", 0);
	check(!registry_list(reg, ROOT "p/", &kvs, &n, &revision) && n == 3 &&
		      !strcmp(kvs[0].key, ROOT "p/") && !strcmp(kvs[1].key, ROOT "p/a") &&
		      !strcmp(kvs[2].key, ROOT "p/b"),
	      "a prefix holds its keys in order and no neighbour");
	check(revision == revision_now(), "a listing says its revision");
	reg_kv_list_free(kvs, n);
	check(!registry_list(reg, ROOT "q", &kvs, &n, NULL) && !n,
	      "a prefix without keys is an empty list");
	reg_kv_list_free(kvs, n);
	a = ask("/v3/kv/range", json_pack("{s:s,s:s,s:s}", "key", "@" ROOT "p", "range_end",
					  "@" ROOT "p0", "limit", "2"));
	check(json_array_size(json_object_get(a, "kvs")) == 2 &&
		      json_is_true(json_object_get(a, "more")) && reg_i64(a, "count") == 5,
	      "limit says that there is more, and how many");
	json_decref(a);
	a = ask("/v3/kv/range", json_pack("{s:s,s:s,s:b}", "key", "@" ROOT "p", "range_end",
					  "@" ROOT "p0", "keys_only", 1));
	check(json_array_size(json_object_get(a, "kvs")) == 5 &&
		      !json_object_get(json_array_get(json_object_get(a, "kvs"), 0), "value"),
	      "keys_only leaves the values out");
	json_decref(a);
	a = ask("/v3/kv/range", json_pack("{s:s,s:s,s:b}", "key", "@" ROOT "p", "rangeEnd",
					  "@" ROOT "p0", "countOnly", 1));
	check(!json_object_get(a, "kvs") && reg_i64(a, "count") == 5,
	      "count_only counts; camelCase names are read");
	json_decref(a);
	a = ask("/v3/kv/range",
		json_pack("{s:s,s:s}", "key", "@" ROOT "p0", "range_end", "@" ROOT "p"));
	check(a && !json_object_get(a, "kvs"), "a range that ends before it begins is empty");
	json_decref(a);
	a = ask("/v3/kv/put",
		json_pack("{s:s,s:s,s:b}", "key", "@" ROOT "p", "value", "@w", "prev_kv", 1));
	check(reg_i64(json_object_get(a, "prev_kv"), "version") == 1,
	      "put tells the previous value when asked");
	json_decref(a);
	a = ask("/v3/kv/deleterange", json_pack("{s:s,s:s,s:b}", "key", "@" ROOT "p", "range_end",
						"@" ROOT "q", "prev_kv", 1));
	check(reg_i64(a, "deleted") == 6 && json_array_size(json_object_get(a, "prev_kvs")) == 6,
	      "deleterange tells what it deleted when asked");
	json_decref(a);
}

static void check_pages(void)
{
	struct reg_kv *kvs = NULL;
	char key[64], last[64] = "";
	bool ordered = true;
	size_t n = 0;

	for (int i = 0; i < 1150; i += 50) {
		struct reg_change changes[50];
		static char names[50][64];

		for (int k = 0; k < 50; k++) {
			snprintf(names[k], sizeof(names[k]), ROOT "page/%d", i + k);
			changes[k] = (struct reg_change){ names[k], "x", 0 };
		}
		registry_txn(reg, NULL, 0, changes, 50, NULL);
	}
	check(!registry_list(reg, ROOT "page/", &kvs, &n, NULL) && n == 1150,
	      "1,150 keys come in pages");
	for (size_t i = 0; i < n; i++) {
		ordered &= strcmp(last, kvs[i].key) < 0;
		snprintf(last, sizeof(last), "%s", kvs[i].key);
	}
	check(ordered, "in key order, none twice");
	reg_kv_list_free(kvs, n);
	snprintf(key, sizeof(key), ROOT "page/");
	registry_delete_prefix(reg, key, NULL);
}

static void check_odd_keys(void)
{
	static const char *const odd[] = { ROOT "odd/ space \"quoted\" \\", ROOT "odd/über/日本",
					   ROOT "odd/%2F?x=1#", ROOT "odd/\xff\xfe",
					   ROOT "odd/\x01" };
	char *big = malloc(4200), *value = malloc((1u << 20) + 1);
	struct reg_kv kv = { 0 }, *kvs = NULL;
	json_t *a, *o;
	size_t n = 0;
	int good = 0;

	for (size_t i = 0; i < 5; i++)
		good += !registry_put(reg, odd[i], odd[i], 0) && has_value(odd[i], odd[i]);
	check(good == 5,
	      "spaces, quotes, UTF-8, bytes that are no UTF-8, control bytes in keys and values");
	check(!registry_list(reg, ROOT "odd/\xff", &kvs, &n, NULL) && n == 1,
	      "a prefix that ends in 0xff");
	reg_kv_list_free(kvs, n);
	for (size_t len = 511; len <= 4095; len += 512) {
		memset(big, 'k', len);
		memcpy(big, ROOT, strlen(ROOT));
		big[len] = '\0';
		good += !registry_put(reg, big, "long", 0) && has_value(big, "long");
	}
	check(good == 13, "keys of 511 to 4,095 bytes");
	o = json_object();
	reg_set_bytes(o, "key", ROOT "nul\0x", strlen(ROOT) + 5);
	reg_set_bytes(o, "value", "a\0b", 3);
	a = ask("/v3/kv/put", o);
	json_decref(a);
	check(!registry_list(reg, ROOT "nul", &kvs, &n, NULL) && !n,
	      "a key with a NUL byte is kept, but nobody's here");
	reg_kv_list_free(kvs, n);
	memset(value, 'v', 1u << 20);
	value[1u << 20] = '\0';
	check(!registry_put(reg, ROOT "big", value, 0) && !registry_get(reg, ROOT "big", &kv) &&
		      kv.value_len == 1u << 20 && !strcmp(kv.value, value),
	      "a value of 1 MiB");
	reg_kv_free(&kv);
	free(value);
	value = malloc((2u << 20) + 1);
	memset(value, 'v', 2u << 20);
	value[2u << 20] = '\0';
	check(registry_put(reg, ROOT "bigger", value, 0) && absent(ROOT "bigger"),
	      "a value of 2 MiB is refused");
	free(value);
	free(big);
	registry_delete_prefix(reg, ROOT, NULL);
}

static void check_refusals(void)
{
	json_t *ops = json_array(), *twice = json_array();

	check(refused("/v3/kv/put", json_pack("{s:s}", "value", "@x"), "key is not provided"),
	      "a put without a key is refused");
	check(refused("/v3/kv/put", json_pack("{s:s}", "key", "no base64!"), ""),
	      "a key that is no base64 is refused");
	check(refused("/v3/kv/put", json_pack("{s:s,s:s}", "key", "@" ROOT "x", "lease", "77"),
		      "lease not found"),
	      "a lease that is not there is refused");
	for (int i = 0; i < 129; i++)
		json_array_append_new(ops,
				      json_pack("{s:{s:s}}", "request_range", "key", "@" ROOT "x"));
	check(refused("/v3/kv/txn", json_pack("{s:o}", "success", ops), "too many operations"),
	      "129 operations are refused");
	for (int i = 0; i < 2; i++)
		json_array_append_new(twice,
				      json_pack("{s:{s:s}}", "request_put", "key", "@" ROOT "x"));
	check(refused("/v3/kv/txn", json_pack("{s:o}", "success", twice), "duplicate key"),
	      "a key put twice is refused");
	check(absent(ROOT "x"), "what was refused changed nothing");
}

/* ---- transactions ---- */

static void check_txn(void)
{
	struct reg_cond no = { ROOT "t1", 0 };
	struct reg_change two[2] = { { ROOT "t1", "1", 0 }, { ROOT "t2", "1", 0 } };
	struct reg_change swap[2] = { { ROOT "t1", NULL, 0 }, { ROOT "t2", "2", 0 } };
	struct reg_kv a = { 0 }, b = { 0 };
	int64_t revision = 0;
	json_t *answer, *response;

	check(!registry_txn(reg, &no, 1, two, 2, &revision) && !registry_get(reg, ROOT "t1", &a) &&
		      !registry_get(reg, ROOT "t2", &b) && a.mod_revision == b.mod_revision &&
		      a.mod_revision == revision,
	      "two keys in one transaction have one revision");
	check(registry_txn(reg, &no, 1, swap, 2, NULL) == -EAGAIN && has_value(ROOT "t2", "1"),
	      "a condition that fails changes nothing");
	check(!registry_txn(reg, &(struct reg_cond){ ROOT "t1", revision }, 1, swap, 2, NULL) &&
		      absent(ROOT "t1") && has_value(ROOT "t2", "2"),
	      "a transaction may put and delete");
	reg_kv_free(&a);
	reg_kv_free(&b);
	answer = ask("/v3/kv/txn",
		     json_pack("{s:[{s:s,s:s,s:s,s:s}],s:[{s:{s:s,s:s}},{s:{s:s}}],s:[{s:{s:s}}]}",
			       "compare", "target", "VALUE", "result", "EQUAL", "key",
			       "@" ROOT "t2", "value", "@2", "success", "request_put", "key",
			       "@" ROOT "t3", "value", "@3", "request_range", "key", "@" ROOT "t3",
			       "failure", "request_range", "key", "@" ROOT "t2"));
	response = json_object_get(json_array_get(json_object_get(answer, "responses"), 1),
				   "response_range");
	check(json_is_true(json_object_get(answer, "succeeded")) &&
		      json_array_size(json_object_get(response, "kvs")) == 1,
	      "a value is compared; a range in a transaction sees what it put before");
	json_decref(answer);
	answer = ask("/v3/kv/txn",
		     json_pack("{s:[{s:s,s:s,s:s,s:s}],s:[{s:{s:s}}],s:[{s:{s:s}}]}", "compare",
			       "target", "VERSION", "result", "GREATER", "key", "@" ROOT "t2",
			       "version", "2", "success", "request_delete_range", "key",
			       "@" ROOT "t2", "failure", "request_range", "key", "@" ROOT "t2"));
	check(!json_object_get(answer, "succeeded") && has_value(ROOT "t2", "2"),
	      "GREATER that does not hold runs the failure part");
	json_decref(answer);
	answer = ask("/v3/kv/txn",
		     json_pack("{s:[{s:s,s:s,s:s},{s:s,s:s,s:s,s:s},{s:s,s:s,s:s,s:s}]}", "compare",
			       "target", "CREATE", "result", "LESS", "key", "@" ROOT "none",
			       "target", "LEASE", "result", "EQUAL", "key", "@" ROOT "t2", "lease",
			       "0", "target", "MOD", "result", "NOT_EQUAL", "key", "@" ROOT "t2",
			       "mod_revision", "1"));
	check(answer && !json_is_true(json_object_get(answer, "succeeded")),
	      "all conditions must hold");
	json_decref(answer);
	registry_delete_prefix(reg, ROOT, NULL);
}

#define RACERS 8
#define ROUNDS 15

static void *race(void *arg)
{
	long *lost = arg;

	for (int won = 0; won < ROUNDS;) {
		struct reg_cond cond = { ROOT "counter", 0 };
		struct reg_kv kv = { 0 };
		char text[16];
		int rc = registry_get(reg, ROOT "counter", &kv);

		if (rc && rc != -ENOENT)
			return (void *)1;
		snprintf(text, sizeof(text), "%d", rc ? 1 : atoi(kv.value) + 1);
		cond.mod_revision = rc ? 0 : kv.mod_revision;
		reg_kv_free(&kv);
		rc = registry_txn(reg, &cond, 1, &(struct reg_change){ ROOT "counter", text, 0 }, 1,
				  NULL);
		if (!rc)
			won++;
		else if (rc != -EAGAIN)
			return (void *)1;
		else
			(*lost)++;
	}
	return NULL;
}

static void check_race(void)
{
	pthread_t threads[RACERS];
	long lost[RACERS] = { 0 }, sum = 0;
	bool failed = false;
	char text[16];

	for (int i = 0; i < RACERS; i++)
		pthread_create(&threads[i], NULL, race, &lost[i]);
	for (int i = 0; i < RACERS; i++) {
		void *rc;

		pthread_join(threads[i], &rc);
		failed |= rc != NULL;
		sum += lost[i];
	}
	snprintf(text, sizeof(text), "%d", RACERS * ROUNDS);
	check(!failed && has_value(ROOT "counter", text),
	      "8 threads swap a counter: none is lost (%ld lost races)", sum);
	registry_delete_prefix(reg, ROOT, NULL);
}

/* ---- */

static bool options(int argc, char **argv)
{
	int c;

	if (argc < 2)
		return false;
	conf.url = argv[1];
	optind = 2;
	while ((c = getopt(argc, argv, "+u:p:t:c:")) != -1)
		switch (c) {
		case 'u':
			conf.user = optarg;
			break;
		case 'p':
			conf.password_file = optarg;
			break;
		case 't':
			conf.token_file = optarg;
			break;
		case 'c':
			conf.ca = optarg;
			break;
		default:
			return false;
		}
	server_argv = argv + optind;
	return optind < argc;
}

int main(int argc, char **argv)
{
	if (!options(argc, argv)) {
		fprintf(stderr, "usage: registry_conformance URL [-u USER -p FILE] [-t FILE] [-c "
				"FILE] -- SERVER ARG...\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (registry_open(&reg, &conf)) {
		fprintf(stderr, "%s\n", registry_error());
		return 1;
	}
	server_start();
	if (!check(wait_for(15000, server_answers()), "the server starts"))
		goto out;
	registry_delete_prefix(reg, ROOT, NULL);
	check_keys();
	check_ranges();
	check_pages();
	check_odd_keys();
	check_refusals();
	check_txn();
	check_race();
	check_live();
out:
	registry_close(reg);
	server_kill();
	printf("1..%d\n", checks);
	return failures != 0;
}
