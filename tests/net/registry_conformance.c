/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_conformance.c -- the same checks for every registry: weir-registry and real etcd.
 *
 * registry_conformance URL [-u USER -p PASSWORD_FILE] [-t TOKEN_FILE] [-c CA_FILE] -- SERVER ARG...
 *
 * Starts the server itself, because it also kills, stops and restarts it. Prints TAP. What lib/registry.h
 * offers is checked through it; what only the protocol shows is asked in plain JSON.
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

#include "lib/hash.h"
#include "lib/registry_internal.h"

#define ROOT "/weir/v1/test/"

static struct conf_registry conf = { .timeout_us = 1000000 };
static struct registry *reg;
static char **server_argv;
static pid_t server_pid;
static int checks, failures;

/* ---- helpers ---- */

static bool check(bool good, const char *fmt, ...)
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

static void nap(int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000l };

	nanosleep(&ts, NULL);
}

/* Polls until the condition holds or the time is over. */
#define wait_for(ms, condition)                                                          \
	({                                                                               \
		int64_t until_ = reg_now_ms() + (ms);                                    \
		while (!(condition) && reg_now_ms() < until_)                            \
			nap(10);                                                         \
		(condition);                                                             \
	})

static void server_start(void)
{
	server_pid = fork();
	if (!server_pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execvp(server_argv[0], server_argv);
		perror(server_argv[0]);
		_exit(127);
	}
}

static void server_kill(void)
{
	kill(server_pid, SIGKILL);
	waitpid(server_pid, NULL, 0);
}

static bool server_answers(void)
{
	struct reg_kv kv;
	int rc = registry_get(reg, ROOT "no such key", &kv);

	if (!rc)
		reg_kv_free(&kv);
	return !rc || rc == -ENOENT;
}

/* A request in JSON, keys and values in plain text: "@text" members are encoded. */
static json_t *encode(json_t *o)
{
	const char *name;
	json_t *value;
	void *next;
	size_t i;

	if (json_is_array(o))
		json_array_foreach(o, i, value)
			encode(value);
	json_object_foreach_safe(o, next, name, value) {
		if (json_is_string(value) && json_string_value(value)[0] == '@')
			reg_set_bytes(o, name, json_string_value(value) + 1, json_string_length(value) - 1);
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
static json_t *ask(const char *path, json_t *request)
{
	json_t *answer;

	if (raw(path, request, &answer))
		printf("# %s: %s\n", path, registry_error());
	return answer;
}

static int64_t revision_now(void)
{
	json_t *a = ask("/v3/kv/range", json_pack("{s:s}", "key", "@" ROOT "none"));
	int64_t revision = reg_i64(json_object_get(a, "header"), "revision");

	json_decref(a);
	return revision;
}

static bool has_value(const char *key, const char *value)
{
	struct reg_kv kv;
	bool same;

	if (registry_get(reg, key, &kv))
		return false;
	same = !strcmp(kv.value, value);
	reg_kv_free(&kv);
	return same;
}

static bool absent(const char *key)
{
	struct reg_kv kv;
	int rc = registry_get(reg, key, &kv);

	if (!rc)
		reg_kv_free(&kv);
	return rc == -ENOENT;
}

static bool refused(const char *path, json_t *request, const char *words)
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
	      !strcmp(one.value, "1") && one.value_len == 1, "what was put is read");
	check(one.version == 1 && one.create_revision == one.mod_revision && one.mod_revision == before + 1,
	      "a new key has version 1 and the next revision");
	check(!registry_put(reg, ROOT "a", "2", 0) && !registry_get(reg, ROOT "a", &two) && two.version == 2 &&
	      two.create_revision == one.create_revision && two.mod_revision == one.mod_revision + 1,
	      "a change raises version and revision, not the creation");
	check(!strncmp(two.key, ROOT "a", 20), "the answer names the key");
	reg_kv_free(&one);
	reg_kv_free(&two);
	check(!registry_delete(reg, ROOT "a") && absent(ROOT "a"), "a deleted key is gone");
	before = revision_now();
	check(registry_delete(reg, ROOT "a") == -ENOENT, "deleting it again is -ENOENT");
	check(revision_now() == before, "deleting nothing makes no revision");
	registry_put(reg, ROOT "a", "3", 0);
	check(!registry_get(reg, ROOT "a", &one) && one.version == 1, "a key made anew begins at version 1");
	reg_kv_free(&one);
	check(!registry_put(reg, ROOT "empty", "", 0) && has_value(ROOT "empty", ""), "an empty value is a value");
	check(!registry_delete_prefix(reg, ROOT, &deleted) && deleted == 2, "deleting a prefix counts");
}

static void check_ranges(void)
{
	static const char *const keys[] = { ROOT "p", ROOT "p.", ROOT "p/", ROOT "p/a", ROOT "p/b", ROOT "p0" };
	struct reg_kv *kvs = NULL;
	int64_t revision = 0;
	size_t n = 0;
	json_t *a;

	for (size_t i = 0; i < 6; i++)
		registry_put(reg, keys[5 - i], "v", 0);
	check(!registry_list(reg, ROOT "p/", &kvs, &n, &revision) && n == 3 && !strcmp(kvs[0].key, ROOT "p/") &&
	      !strcmp(kvs[1].key, ROOT "p/a") && !strcmp(kvs[2].key, ROOT "p/b"),
	      "a prefix holds its keys in order and no neighbour");
	check(revision == revision_now(), "a listing says its revision");
	reg_kv_list_free(kvs, n);
	check(!registry_list(reg, ROOT "q", &kvs, &n, NULL) && !n, "a prefix without keys is an empty list");
	reg_kv_list_free(kvs, n);
	a = ask("/v3/kv/range", json_pack("{s:s,s:s,s:s}", "key", "@" ROOT "p", "range_end", "@" ROOT "p0", "limit", "2"));
	check(json_array_size(json_object_get(a, "kvs")) == 2 && json_is_true(json_object_get(a, "more")) &&
	      reg_i64(a, "count") == 5, "limit says that there is more, and how many");
	json_decref(a);
	a = ask("/v3/kv/range", json_pack("{s:s,s:s,s:b}", "key", "@" ROOT "p", "range_end", "@" ROOT "p0", "keys_only", 1));
	check(json_array_size(json_object_get(a, "kvs")) == 5 &&
	      !json_object_get(json_array_get(json_object_get(a, "kvs"), 0), "value"), "keys_only leaves the values out");
	json_decref(a);
	a = ask("/v3/kv/range", json_pack("{s:s,s:s,s:b}", "key", "@" ROOT "p", "rangeEnd", "@" ROOT "p0", "countOnly", 1));
	check(!json_object_get(a, "kvs") && reg_i64(a, "count") == 5, "count_only counts; camelCase names are read");
	json_decref(a);
	a = ask("/v3/kv/range", json_pack("{s:s,s:s}", "key", "@" ROOT "p0", "range_end", "@" ROOT "p"));
	check(a && !json_object_get(a, "kvs"), "a range that ends before it begins is empty");
	json_decref(a);
	a = ask("/v3/kv/put", json_pack("{s:s,s:s,s:b}", "key", "@" ROOT "p", "value", "@w", "prev_kv", 1));
	check(reg_i64(json_object_get(a, "prev_kv"), "version") == 1, "put tells the previous value when asked");
	json_decref(a);
	a = ask("/v3/kv/deleterange", json_pack("{s:s,s:s,s:b}", "key", "@" ROOT "p", "range_end", "@" ROOT "q", "prev_kv", 1));
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
	check(!registry_list(reg, ROOT "page/", &kvs, &n, NULL) && n == 1150, "1,150 keys come in pages");
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
	static const char *const odd[] = { ROOT "odd/ space \"quoted\" \\", ROOT "odd/über/日本", ROOT "odd/%2F?x=1#",
					   ROOT "odd/\xff\xfe", ROOT "odd/\x01" };
	char *big = malloc(4200), *value = malloc((1u << 20) + 1);
	struct reg_kv kv = { 0 }, *kvs = NULL;
	json_t *a, *o;
	size_t n = 0;
	int good = 0;

	for (size_t i = 0; i < 5; i++)
		good += !registry_put(reg, odd[i], odd[i], 0) && has_value(odd[i], odd[i]);
	check(good == 5, "spaces, quotes, UTF-8, bytes that are no UTF-8, control bytes in keys and values");
	check(!registry_list(reg, ROOT "odd/\xff", &kvs, &n, NULL) && n == 1, "a prefix that ends in 0xff");
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
	check(!registry_list(reg, ROOT "nul", &kvs, &n, NULL) && !n, "a key with a NUL byte is kept, but nobody's here");
	reg_kv_list_free(kvs, n);
	memset(value, 'v', 1u << 20);
	value[1u << 20] = '\0';
	check(!registry_put(reg, ROOT "big", value, 0) && !registry_get(reg, ROOT "big", &kv) &&
	      kv.value_len == 1u << 20 && !strcmp(kv.value, value), "a value of 1 MiB");
	reg_kv_free(&kv);
	free(value);
	value = malloc((2u << 20) + 1);
	memset(value, 'v', 2u << 20);
	value[2u << 20] = '\0';
	check(registry_put(reg, ROOT "bigger", value, 0) && absent(ROOT "bigger"), "a value of 2 MiB is refused");
	free(value);
	free(big);
	registry_delete_prefix(reg, ROOT, NULL);
}

static void check_refusals(void)
{
	json_t *ops = json_array(), *twice = json_array();

	check(refused("/v3/kv/put", json_pack("{s:s}", "value", "@x"), "key is not provided"), "a put without a key is refused");
	check(refused("/v3/kv/put", json_pack("{s:s}", "key", "no base64!"), ""), "a key that is no base64 is refused");
	check(refused("/v3/kv/put", json_pack("{s:s,s:s}", "key", "@" ROOT "x", "lease", "77"), "lease not found"),
	      "a lease that is not there is refused");
	for (int i = 0; i < 129; i++)
		json_array_append_new(ops, json_pack("{s:{s:s}}", "request_range", "key", "@" ROOT "x"));
	check(refused("/v3/kv/txn", json_pack("{s:o}", "success", ops), "too many operations"), "129 operations are refused");
	for (int i = 0; i < 2; i++)
		json_array_append_new(twice, json_pack("{s:{s:s}}", "request_put", "key", "@" ROOT "x"));
	check(refused("/v3/kv/txn", json_pack("{s:o}", "success", twice), "duplicate key"), "a key put twice is refused");
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
	      !registry_get(reg, ROOT "t2", &b) && a.mod_revision == b.mod_revision && a.mod_revision == revision,
	      "two keys in one transaction have one revision");
	check(registry_txn(reg, &no, 1, swap, 2, NULL) == -EAGAIN && has_value(ROOT "t2", "1"),
	      "a condition that fails changes nothing");
	check(!registry_txn(reg, &(struct reg_cond){ ROOT "t1", revision }, 1, swap, 2, NULL) && absent(ROOT "t1") &&
	      has_value(ROOT "t2", "2"), "a transaction may put and delete");
	reg_kv_free(&a);
	reg_kv_free(&b);
	answer = ask("/v3/kv/txn", json_pack("{s:[{s:s,s:s,s:s,s:s}],s:[{s:{s:s,s:s}},{s:{s:s}}],s:[{s:{s:s}}]}",
		     "compare", "target", "VALUE", "result", "EQUAL", "key", "@" ROOT "t2", "value", "@2",
		     "success", "request_put", "key", "@" ROOT "t3", "value", "@3", "request_range", "key", "@" ROOT "t3",
		     "failure", "request_range", "key", "@" ROOT "t2"));
	response = json_object_get(json_array_get(json_object_get(answer, "responses"), 1), "response_range");
	check(json_is_true(json_object_get(answer, "succeeded")) && json_array_size(json_object_get(response, "kvs")) == 1,
	      "a value is compared; a range in a transaction sees what it put before");
	json_decref(answer);
	answer = ask("/v3/kv/txn", json_pack("{s:[{s:s,s:s,s:s,s:s}],s:[{s:{s:s}}],s:[{s:{s:s}}]}",
		     "compare", "target", "VERSION", "result", "GREATER", "key", "@" ROOT "t2", "version", "2",
		     "success", "request_delete_range", "key", "@" ROOT "t2",
		     "failure", "request_range", "key", "@" ROOT "t2"));
	check(!json_object_get(answer, "succeeded") && has_value(ROOT "t2", "2"), "GREATER that does not hold runs the failure part");
	json_decref(answer);
	answer = ask("/v3/kv/txn", json_pack("{s:[{s:s,s:s,s:s},{s:s,s:s,s:s,s:s},{s:s,s:s,s:s,s:s}]}", "compare",
		     "target", "CREATE", "result", "LESS", "key", "@" ROOT "none",
		     "target", "LEASE", "result", "EQUAL", "key", "@" ROOT "t2", "lease", "0",
		     "target", "MOD", "result", "NOT_EQUAL", "key", "@" ROOT "t2", "mod_revision", "1"));
	check(answer && !json_is_true(json_object_get(answer, "succeeded")), "all conditions must hold");
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
		rc = registry_txn(reg, &cond, 1, &(struct reg_change){ ROOT "counter", text, 0 }, 1, NULL);
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
	check(!failed && has_value(ROOT "counter", text), "8 threads swap a counter: none is lost (%ld lost races)", sum);
	registry_delete_prefix(reg, ROOT, NULL);
}

/* ---- leases ---- */

static int64_t grant(int ttl)
{
	json_t *a = ask("/v3/lease/grant", json_pack("{s:i}", "TTL", ttl));
	int64_t id = reg_i64(a, "ID");

	json_decref(a);
	return id;
}

static void lease_revoke(int64_t id)
{
	json_t *o = json_object(), *a;

	reg_set_i64(o, "ID", id);
	a = ask("/v3/lease/revoke", o);
	json_decref(a);
}

static void check_leases(void)
{
	int64_t id = grant(2), other, before;

	check(id != 0, "a lease is granted");
	check(!registry_put(reg, ROOT "leased", "x", id) && has_value(ROOT "leased", "x"), "a key takes the lease");
	registry_put(reg, ROOT "loose", "x", id);
	registry_put(reg, ROOT "loose", "y", 0);
	before = reg_now_ms();
	check(wait_for(8000, absent(ROOT "leased")) && reg_now_ms() - before > 1000,
	      "its key goes when the lease ends, and not before");
	check(has_value(ROOT "loose", "y"), "a key put again without a lease stays");
	other = grant(60);
	registry_put(reg, ROOT "leased", "x", other);
	before = revision_now();
	lease_revoke(other);
	check(absent(ROOT "leased") && revision_now() == before + 1, "revoking deletes its keys in one revision");
	check(refused("/v3/lease/revoke", json_pack("{s:s}", "ID", "424242"), "lease not found"),
	      "revoking what is not there is refused");
	registry_delete_prefix(reg, ROOT, NULL);
}

static void count_lost(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static int64_t lease_of(const char *key)
{
	struct reg_kv kv;
	int64_t id;

	if (registry_get(reg, key, &kv))
		return 0;
	id = kv.lease;
	reg_kv_free(&kv);
	return id;
}

static void check_kept_leases(void)
{
	struct reg_lease *mine = NULL, *theirs = NULL;
	atomic_int lost = 0;
	uint64_t term = 0, later = 0;
	int64_t id;

	registry_lease(reg, &mine, 3, count_lost, &lost);
	registry_lease(reg, &theirs, 3, NULL, NULL);
	check(!registry_lease_put(mine, ROOT "member", "m"), "a kept lease puts its key");
	check(registry_lease_certain(mine, &term) && term == 1, "and is certain");
	check(!registry_lease_claim(mine, ROOT "lock", "me") && registry_lease_holds(mine, ROOT "lock"), "a lock is claimed");
	check(registry_lease_claim(theirs, ROOT "lock", "they") == -EAGAIN && !registry_lease_holds(theirs, ROOT "lock"),
	      "another's claim is -EAGAIN");
	check(!registry_lease_claim(mine, ROOT "lock", "me"), "one's own claim again is fine");
	nap(5000);
	check(has_value(ROOT "member", "m") && registry_lease_holds(mine, ROOT "lock") && !atomic_load(&lost),
	      "it is kept alive longer than its time");
	id = lease_of(ROOT "member");
	lease_revoke(id);
	check(wait_for(5000, has_value(ROOT "member", "m")) && lease_of(ROOT "member") != id,
	      "a lease that was lost is made anew with its keys");
	check(wait_for(1000, atomic_load(&lost) == 1), "and its owner is told");
	check(!registry_lease_holds(mine, ROOT "lock") && absent(ROOT "lock"), "its lock is not taken again");
	check(registry_lease_certain(mine, &later) && later == term + 1, "and the term has grown");
	check(!registry_lease_claim(theirs, ROOT "lock", "they") && registry_lease_holds(theirs, ROOT "lock"),
	      "so another can claim it");
	registry_lease_end(theirs, true);
	check(absent(ROOT "lock") && !registry_lease_claim(mine, ROOT "lock", "me"), "a lease that is ended frees its lock at once");
	registry_lease_end(mine, true);
	check(absent(ROOT "member"), "and deletes its keys");
}

/* ---- watches ---- */

struct seen {
	pthread_mutex_t lock;
	char text[8192];        /* "+key=value " and "-key " and "! " */
};

static void see(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct seen *s = arg;
	size_t len;

	pthread_mutex_lock(&s->lock);
	len = strlen(s->text);
	if (event == REG_SYNCED)
		snprintf(s->text + len, sizeof(s->text) - len, "! ");
	else if (event == REG_PUT)
		snprintf(s->text + len, sizeof(s->text) - len, "+%s=%s ", strrchr(kv->key, '/') + 1, kv->value);
	else
		snprintf(s->text + len, sizeof(s->text) - len, "-%s ", strrchr(kv->key, '/') + 1);
	pthread_mutex_unlock(&s->lock);
}

static size_t seen_length(struct seen *s)
{
	size_t len;

	pthread_mutex_lock(&s->lock);
	len = strlen(s->text);
	pthread_mutex_unlock(&s->lock);
	return len;
}

/* Has exactly this, or the same in the other order, been seen? Waits for so much, then clears. */
static bool saw_either(struct seen *s, const char *text, const char *other)
{
	bool same;

	wait_for(8000, seen_length(s) >= strlen(text));
	pthread_mutex_lock(&s->lock);
	same = !strcmp(s->text, text) || !strcmp(s->text, other);
	if (!same)
		printf("# expected \"%s\", saw \"%s\"\n", text, s->text);
	s->text[0] = '\0';
	pthread_mutex_unlock(&s->lock);
	return same;
}

static bool saw(struct seen *s, const char *text)
{
	return saw_either(s, text, text);
}

static void check_watch(void)
{
	static struct seen s = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct reg_change three[3] = { { ROOT "w/c", "3", 0 }, { ROOT "w/b", NULL, 0 }, { ROOT "v/z", "no", 0 } };
	struct reg_watch *w = NULL;
	int64_t id;

	registry_put(reg, ROOT "w/b", "2", 0);
	registry_put(reg, ROOT "w/a", "1", 0);
	registry_put(reg, ROOT "w0", "no", 0);
	check(!registry_watch(reg, &w, ROOT "w/", see, &s) && saw(&s, "+a=1 +b=2 ! "),
	      "a watch tells what is there, then that it is all");
	registry_put(reg, ROOT "w/a", "x", 0);
	registry_put(reg, ROOT "w", "no", 0);
	registry_put(reg, ROOT "w0", "no", 0);
	registry_delete(reg, ROOT "w/a");
	check(saw(&s, "+a=x -a "), "then changes in order, and none of its neighbours");
	registry_txn(reg, NULL, 0, three, 3, NULL);
	check(saw_either(&s, "+c=3 -b ", "-b +c=3 "), "of a transaction all that is its own");
	id = grant(60);
	registry_put(reg, ROOT "w/l", "1", id);
	lease_revoke(id);
	check(saw(&s, "+l=1 -l "), "and the keys of a lease that ends");
	registry_unwatch(w);
	registry_put(reg, ROOT "w/a", "y", 0);
	nap(200);
	check(saw(&s, ""), "after the end nothing more");
	registry_delete_prefix(reg, ROOT, NULL);
}

static void count_events(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	(void)event, (void)kv;
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void check_many_watches(void)
{
	struct reg_watch *w[20];
	atomic_int n[20] = { 0 };
	char key[64];
	int good = 0;

	for (int i = 0; i < 20; i++)
		registry_watch(reg, &w[i], ROOT "many/", count_events, &n[i]);
	for (int i = 0; i < 20; i++)
		wait_for(3000, atomic_load(&n[i]) == 1);
	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), ROOT "many/%d", i);
		registry_put(reg, key, "x", 0);
	}
	for (int i = 0; i < 20; i++)
		good += wait_for(5000, atomic_load(&n[i]) == 101);
	check(good == 20, "20 watches each see 100 changes (%d do)", good);
	for (int i = 0; i < 20; i++)
		registry_unwatch(w[i]);
	registry_delete_prefix(reg, ROOT, NULL);
}

/* One raw stream: lines are gathered until `until` appears or the time is over. */
struct stream {
	char text[65536];
	size_t len;
	const char *until;
};

static size_t on_text(char *data, size_t size, size_t n, void *arg)
{
	struct stream *s = arg;
	size_t len = size * n;

	if (s->len + len >= sizeof(s->text))
		return 0;
	memcpy(s->text + s->len, data, len);
	s->len += len;
	s->text[s->len] = '\0';
	return strstr(s->text, s->until) ? 0 : len;
}

static const char *stream(json_t *request, const char *until)
{
	static struct stream s;
	struct curl_slist *headers = NULL;
	char *body = json_dumps(encode(request), 0);
	CURL *h = reg_stream_new(reg, "/v3/watch", body, &headers);

	s.len = 0;
	s.text[0] = '\0';
	s.until = until;
	curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, 3000L);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_text);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, &s);
	curl_easy_perform(h);
	curl_easy_cleanup(h);
	curl_slist_free_all(headers);
	json_decref(request);
	free(body);
	return strstr(s.text, until) ? s.text : "";
}

static int64_t compact(void)
{
	int64_t revision = revision_now();
	json_t *o = json_object(), *a;

	reg_set_i64(o, "revision", revision);
	json_object_set_new(o, "physical", json_true());
	a = ask("/v3/kv/compaction", o);
	json_decref(a);
	return revision;
}

static json_t *watch_from(int64_t revision)
{
	json_t *create = json_pack("{s:s,s:s}", "key", "@" ROOT "h/", "range_end", "@" ROOT "h0");

	reg_set_i64(create, "start_revision", revision);
	return json_pack("{s:o}", "create_request", create);
}

static void check_history(void)
{
	int64_t first = revision_now() + 1, at;
	const char *text;

	registry_put(reg, ROOT "h/1", "one", 0);
	registry_put(reg, ROOT "x", "no", 0);
	registry_put(reg, ROOT "h/1", "two", 0);
	registry_delete(reg, ROOT "h/1");
	text = stream(watch_from(first), "DELETE");
	check(strstr(text, "\"created\":true") && strstr(text, "\"b25l\"") && strstr(text, "\"dHdv\"") &&
	      strstr(text, "\"b25l\"") < strstr(text, "\"dHdv\"") && !strstr(text, "\"bm8=\""),
	      "a watch from an old revision is told every change since");
	text = stream(watch_from(first + 2), "DELETE");
	check(strstr(text, "\"dHdv\"") && !strstr(text, "\"b25l\""), "and none before it");
	at = compact();
	text = stream(watch_from(first), "compact_revision");
	check(strstr(text, "\"canceled\":true") && strstr(text, "\"compact_revision\""), "after a compaction it is told that this is too old");
	check(refused("/v3/kv/compaction", json_pack("{s:I}", "revision", (json_int_t)at), "compacted"),
	      "compacting twice at one revision is refused");
	check(refused("/v3/kv/compaction", json_pack("{s:I}", "revision", (json_int_t)at + 1000), "future revision"),
	      "compacting the future is refused");
	registry_delete_prefix(reg, ROOT, NULL);
}

/* ---- a registry that dies, or is silent ---- */

static void check_kill(void)
{
	static struct seen s = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct reg_watch *w = NULL;
	struct reg_lease *lease = NULL;
	atomic_int lost = 0;
	int64_t before;
	char text[16];
	int i;

	registry_lease(reg, &lease, 30, count_lost, &lost);
	registry_lease_put(lease, ROOT "leased", "x");
	registry_lease_claim(lease, ROOT "lock", "x");
	registry_put(reg, ROOT "k/stays", "1", 0);
	registry_put(reg, ROOT "k/changes", "1", 0);
	registry_put(reg, ROOT "k/goes", "1", 0);
	registry_watch(reg, &w, ROOT "k/", see, &s);
	check(saw(&s, "+changes=1 +goes=1 +stays=1 ! "), "a watch before the registry is killed");
	for (i = 0; i < 50; i++) {
		snprintf(text, sizeof(text), "%d", i);
		if (registry_put(reg, ROOT "durable", text, 0))
			break;
	}
	before = revision_now();
	server_kill();
	check(registry_put(reg, ROOT "durable", "x", 0) < 0 && strstr(registry_error(), "registry"),
	      "a dead registry is an error with a sentence: %s", registry_error());
	nap(1500);
	check(saw(&s, ""), "while it is dead the watch hears nothing");
	server_start();
	check(wait_for(15000, server_answers()), "it starts again");
	check(revision_now() == before, "at its last revision");
	check(i == 50 && has_value(ROOT "durable", "49"), "with all that was acknowledged");
	/* changes and a compaction that the watch may or may not be there for */
	registry_put(reg, ROOT "k/changes", "2", 0);
	registry_put(reg, ROOT "k/new", "1", 0);
	registry_delete(reg, ROOT "k/goes");
	compact();
	check(saw_either(&s, "+changes=2 +new=1 -goes ", "+changes=2 -goes +new=1 "), "the watch hears the real changes");
	registry_put(reg, ROOT "k/last", "1", 0);
	check(saw(&s, "+last=1 "), "and goes on");
	check(wait_for(12000, registry_lease_certain(lease, NULL)) && has_value(ROOT "leased", "x") && !atomic_load(&lost) &&
	      registry_lease_holds(lease, ROOT "lock"), "leases and locks outlive the restart");
	registry_unwatch(w);
	registry_lease_end(lease, true);
	registry_delete_prefix(reg, ROOT, NULL);
}

/* The watch is held up (its callback blocks) while the server is killed, changed and compacted. */
struct gate {
	struct seen seen;
	pthread_mutex_t gate;
};

static void see_gated(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct gate *g = arg;

	pthread_mutex_lock(&g->gate);
	pthread_mutex_unlock(&g->gate);
	see(&g->seen, event, kv);
}

static void check_gap(void)
{
	static struct gate g = { { .lock = PTHREAD_MUTEX_INITIALIZER }, PTHREAD_MUTEX_INITIALIZER };
	struct reg_watch *w = NULL;

	registry_put(reg, ROOT "g/a", "1", 0);
	registry_put(reg, ROOT "g/b", "1", 0);
	registry_put(reg, ROOT "g/c", "1", 0);
	registry_watch(reg, &w, ROOT "g/", see_gated, &g);
	check(saw(&g.seen, "+a=1 +b=1 +c=1 ! "), "a watch before the gap");
	pthread_mutex_lock(&g.gate);
	registry_put(reg, ROOT "g/a", "2", 0);
	nap(300);                       /* it holds this one in its hand; whatever follows it misses */
	server_kill();
	server_start();
	wait_for(15000, server_answers());
	registry_put(reg, ROOT "g/b", "2", 0);
	registry_put(reg, ROOT "g/b", "3", 0);
	registry_delete(reg, ROOT "g/c");
	registry_put(reg, ROOT "g/d", "1", 0);
	registry_put(reg, ROOT "g/e", "1", 0);
	registry_delete(reg, ROOT "g/e");
	compact();
	pthread_mutex_unlock(&g.gate);
	check(saw(&g.seen, "+a=2 +b=3 -c +d=1 "), "after a gap and a compaction only the difference is told");
	registry_unwatch(w);
	registry_delete_prefix(reg, ROOT, NULL);
}

static void check_silence(void)
{
	static struct seen s = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct reg_watch *w = NULL;
	struct reg_lease *lease = NULL;
	int64_t began;
	int rc;

	registry_put(reg, ROOT "s/a", "1", 0);
	registry_lease(reg, &lease, 3, NULL, NULL);
	registry_lease_claim(lease, ROOT "lock", "x");
	registry_watch(reg, &w, ROOT "s/", see, &s);
	check(saw(&s, "+a=1 ! ") && registry_reachable(reg), "a watch before the registry is stopped");
	kill(server_pid, SIGSTOP);
	began = reg_now_ms();
	rc = registry_put(reg, ROOT "s/a", "2", 0);
	check(rc == -ETIMEDOUT && reg_now_ms() - began < 1600, "a silent registry is -ETIMEDOUT in time (%lld ms): %s",
	      (long long)(reg_now_ms() - began), registry_error());
	check(!registry_reachable(reg), "it counts as not reachable");
	check(wait_for(5000, !registry_lease_holds(lease, ROOT "lock")), "a lock is not held when that is not certain any more");
	check(saw(&s, ""), "watches hear nothing of it");
	kill(server_pid, SIGCONT);
	check(wait_for(10000, server_answers()) && registry_reachable(reg), "it speaks again");
	registry_put(reg, ROOT "s/b", "1", 0);
	check(wait_for(4000, seen_length(&s) >= 5 && strstr(s.text, "b=1 ")) && saw_either(&s, "+b=1 ", "+a=2 +b=1 "),
	      "watches hear what changed, no more");
	registry_unwatch(w);
	registry_lease_end(lease, true);
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
		fprintf(stderr, "usage: registry_conformance URL [-u USER -p FILE] [-t FILE] [-c FILE] -- SERVER ARG...\n");
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
	check_leases();
	check_kept_leases();
	check_watch();
	check_many_watches();
	check_history();
	check_kill();
	check_gap();
	check_silence();
out:
	registry_close(reg);
	server_kill();
	printf("1..%d\n", checks);
	return failures != 0;
}
