/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_names_chaos.c -- random writes, deletions and reads through random nodes while nodes are
 * killed, stopped and cut off and the registry dies: every key stays linearizable, nothing
 * acknowledged is lost, nothing deleted comes back, every endpoint forgets what it has to, and both
 * copies end equal.
 *
 * CHAOS_SECONDS (20) and CHAOS_SEED say how long and which.
 */
#include "tests/unit/names_cluster.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "lib/hash.h"

#define NODES	4
#define KEYS	10
#define READERS 4
#define STATES	20000
#define READS	100000

static struct cluster cluster;
static _Atomic bool over, failed;
static char failure[256];

static void violated(const char *fmt, ...)
{
	va_list ap;

	if (atomic_exchange(&failed, true))
		return;
	va_start(ap, fmt);
	vsnprintf(failure, sizeof(failure), fmt, ap);
	va_end(ap);
}

/* What a key was, in the order of its only writer. version "" is deleted. */
struct was {
	char version[33];
	int64_t begun, done; /* of the write that made it so; done 0: not yet */
};

struct key {
	char bucket[16], key[16];
	pthread_t writer;
	unsigned int seed;
	struct was *was;
	_Atomic int nwas;
};

struct seen {
	int key;
	char version[33];
	int64_t begun, done;
};

static struct key keys[KEYS];
static struct seen *seen;
static _Atomic int nseen;
static _Atomic unsigned int writes_done, writes_failed, reads_failed;

static struct was *was_begin(struct key *k, const char *version)
{
	struct was *w = &k->was[k->nwas];

	strcpy(w->version, version);
	w->begun = clock_ms();
	w->done = 0;
	k->nwas++;
	return w;
}

/* Until it is certain that the version is there. */
static void write_key(struct key *k, unsigned int holder)
{
	char version[33];
	struct was *w;
	int rc;

	new_version(version);
	data_make(&cluster, holder, version);
	data_make(&cluster, (holder + 1) % NODES, version);
	w = was_begin(k, version);
	for (;;) {
		char a[8], b[8], ideal[8];
		unsigned int at = (unsigned int)rand_r(&k->seed) % NODES;

		snprintf(a, sizeof(a), "ep-%u", holder % NODES);
		snprintf(b, sizeof(b), "ep-%u", (holder + 1) % NODES);
		snprintf(ideal, sizeof(ideal), "ep-%u", (holder + 2) % NODES);
		rc = ask(&cluster, at, "put",
			 json_pack("{s:s s:s s:s s:[ss] s:[s]}", "bucket", k->bucket, "key", k->key,
				   "version", version, "holders", a, b, "ideal", ideal),
			 NULL);
		if (!rc || failed)
			break;
		writes_failed++;
		if (rc != -EAGAIN && rc != -ETIMEDOUT && rc != -ENOTCONN)
			violated("put of %s answers %d", k->key, rc);
		rest_ms(20);
	}
	w->done = clock_ms();
	writes_done++;
}

/* Until it is certain that this version is deleted: If-Match, so that a late try hits no later
 * version. */
static void write_delete(struct key *k, const char *version)
{
	bool unknown = false;
	char etag[35], old[33];
	uint8_t sha[32];
	struct was *w;
	int rc;

	strcpy(old, version);
	sha256_once(old, 32, sha);
	w = was_begin(k, "");
	for (;;) {
		rc = ask(&cluster, (unsigned int)rand_r(&k->seed) % NODES, "delete",
			 json_pack("{s:s s:s s:s}", "bucket", k->bucket, "key", k->key, "if_match",
				   names_etag(sha, etag)),
			 NULL);
		if (!rc || failed)
			break;
		if (rc == -ECANCELED) {
			if (!unknown)
				violated("the acknowledged %s of %s/%s is lost", old, k->bucket,
					 k->key);
			break;
		}
		writes_failed++;
		unknown |= rc != -EAGAIN;
		if (rc != -EAGAIN && rc != -ETIMEDOUT && rc != -ENOTCONN)
			violated("delete of %s answers %d", k->key, rc);
		rest_ms(20);
	}
	w->done = clock_ms();
	writes_done++;
}

static void *writer_run(void *arg)
{
	struct key *k = arg;

	while (!over && !failed && k->nwas < STATES - 1) {
		const char *now = k->was[k->nwas - 1].version;

		if (*now && rand_r(&k->seed) % 3 == 0)
			write_delete(k, now);
		else
			write_key(k, (unsigned int)rand_r(&k->seed) % NODES);
		rest_ms(rand_r(&k->seed) % 20);
	}
	return NULL;
}

/* ---- uploads in parts: what was acknowledged is there for the next call, wherever it is made ----
 */
#define UPLOADERS 3
static _Atomic unsigned int uploads_done;

/* Asks any node until it is certain; -ENOENT is told when nothing else was possible before. */
static int certainly(unsigned int *seed, const char *what, const json_t *q, json_t **answer,
		     bool *unknown)
{
	for (;;) {
		int rc = ask(&cluster, (unsigned int)rand_r(seed) % NODES, what, json_deep_copy(q),
			     answer);

		if (!rc || failed || (rc != -EAGAIN && rc != -ETIMEDOUT && rc != -ENOTCONN))
			return rc;
		*unknown |= rc != -EAGAIN;
		if (answer)
			json_decref(*answer);
		rest_ms(20);
	}
}

static void upload_once(unsigned int *seed, unsigned int number)
{
	char key[16], id[33] = "", version[33];
	bool unknown = false, late = false;
	json_t *q, *a;
	int rc;

	snprintf(key, sizeof(key), "upload-%u", number);
	q = json_pack("{s:s s:s}", "bucket", "bucket-0", "key", key);
	rc = certainly(seed, "upload", q, &a, &unknown);
	if (!rc)
		strcpy(id, text_of(a, "id"));
	json_decref(a);
	if (rc || failed) {
		json_decref(q);
		return;
	}
	names_part_version(id, 1, (uint16_t)rand_r(seed), version);
	json_object_set_new(q, "id", json_string(id));
	json_object_set_new(q, "version", json_string(version));
	json_object_set_new(q, "number", json_integer(1));
	json_object_set_new(q, "holders", json_pack("[s]", "ep-0"));
	json_object_set_new(q, "parts", json_pack("[i]", 1));
	rc = certainly(seed, "upload_get", q, NULL, &late);
	if (rc && !failed)
		violated("the acknowledged upload %s is not found: %d", id, rc);
	rc = certainly(seed, "part", q, NULL, &late);
	if (rc && !failed)
		violated("a part of the acknowledged upload %s answers %d", id, rc);
	rc = certainly(seed, "complete", q, NULL, &late);
	if (rc && !failed)
		violated("completing the acknowledged upload %s answers %d", id, rc);
	uploads_done++;
	json_decref(q);
}

static void *uploader_run(void *arg)
{
	unsigned int seed = *(unsigned int *)arg, number = seed;

	while (!over && !failed)
		upload_once(&seed, number);
	return NULL;
}

static void *reader_run(void *arg)
{
	unsigned int seed = *(unsigned int *)arg;

	while (!over && !failed) {
		int i = rand_r(&seed) % KEYS, at;
		struct seen s = { .key = i, .begun = clock_ms() };
		int rc = get(&cluster, (unsigned int)rand_r(&seed) % NODES, keys[i].bucket,
			     keys[i].key, s.version);

		s.done = clock_ms();
		if (rc == -ENOENT)
			s.version[0] = '\0';
		if (rc && rc != -ENOENT) {
			reads_failed++;
			rest_ms(20);
			continue;
		}
		at = nseen++;
		if (at < READS)
			seen[at] = s;
	}
	return NULL;
}

/* ---- trouble ---- */

static void trouble(unsigned int *seed)
{
	unsigned int i = (unsigned int)rand_r(seed) % NODES,
		     k = (i + 1 + (unsigned int)rand_r(seed) % (NODES - 1)) % NODES;
	int ms = rand_r(seed) % 4000;

	switch (rand_r(seed) % 7) {
	case 0:
		node_kill(&cluster, i);
		rest_ms(ms);
		node_start(&cluster, i);
		break;
	case 1:
		node_kill(&cluster, i);
		node_start(&cluster, i);
		break;
	case 2:
		kill(cluster.nodes[i].pid, SIGSTOP);
		rest_ms(ms);
		kill(cluster.nodes[i].pid, SIGCONT);
		break;
	case 3:
		relay_cut(&cluster.nodes[i].inside, true);
		rest_ms(ms);
		relay_cut(&cluster.nodes[i].inside, false);
		break;
	case 4:
		relay_cut(&cluster.nodes[i].registry, true);
		rest_ms(ms);
		relay_cut(&cluster.nodes[i].registry, false);
		break;
	case 5:
		kill(cluster.registry, SIGKILL);
		waitpid(cluster.registry, NULL, 0);
		rest_ms(ms / 2);
		registry_start(&cluster);
		break;
	case 6:
		node_kill(&cluster, i);
		relay_cut(&cluster.nodes[k].registry, true);
		rest_ms(ms);
		node_kill(&cluster, k);
		node_start(&cluster, i);
		relay_cut(&cluster.nodes[k].registry, false);
		node_start(&cluster, k);
		break;
	}
}

/* ---- judging ---- */

static int by_end(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return x->done < y->done ? -1 : x->done > y->done;
}

/* Is there an order in which every read sees the key's state of that moment? The earliest possible
 * state of each read is taken; a read that begins after another ended sees the same or a later one.
 */
static void check_key(int key, int n)
{
	struct key *k = &keys[key];
	int *chosen = calloc((size_t)n + 1, sizeof(int));

	for (int i = 0; i < n; i++) {
		struct seen *s = &seen[i];
		int low = 0, high = 0, j;

		chosen[i] = -1;
		if (s->key != key)
			continue;
		for (j = 0; j < k->nwas; j++) {
			if (k->was[j].done && k->was[j].done < s->begun)
				low = j;
			if (k->was[j].begun <= s->done)
				high = j;
		}
		for (j = i - 1; j >= 0; j--)
			if (chosen[j] > low && seen[j].done < s->begun)
				low = chosen[j];
		for (j = low; j <= high && strcmp(k->was[j].version, s->version); j++)
			;
		if (j > high) {
			violated("%s/%s: a read of [%lld, %lld] saw \"%s\", states %d to %d were "
				 "possible, \"%s\" to \"%s\"",
				 k->bucket, k->key, (long long)s->begun, (long long)s->done,
				 s->version, low, high, k->was[low].version, k->was[high].version);
			break;
		}
		chosen[i] = j;
	}
	free(chosen);
}

static json_t *copy_of(unsigned int node, const char *bucket)
{
	json_t *a, *e, *out = json_object();
	size_t i;

	ask(&cluster, node, "each", json_object(), &a);
	json_array_foreach (json_object_get(a, "entries"), i, e)
		if (!strcmp(text_of(e, "bucket"), bucket))
			json_object_set(out, text_of(e, "key"), e);
	json_decref(a);
	return out;
}

static bool copies_equal(const char *bucket)
{
	int primary = role_of(&cluster, 0, bucket, "primary");
	int second =
		primary < 0 ? -1 : role_of(&cluster, (unsigned int)primary, bucket, "secondary");
	json_t *a, *b;
	bool same;

	if (second < 0)
		return false;
	a = copy_of((unsigned int)primary, bucket);
	b = copy_of((unsigned int)second, bucket);
	same = json_equal(a, b);
	json_decref(a);
	json_decref(b);
	return same;
}

static void check_end(void)
{
	char got[33];

	for (int i = 0; i < KEYS; i++)
		for (unsigned int at = 0; at < NODES; at++) {
			const char *want = keys[i].was[keys[i].nwas - 1].version;

			got[0] = '\0';
			wait_until(30, (get(&cluster, at, keys[i].bucket, keys[i].key, got) == 0) ==
					       (*want != '\0'));
			assert_string_equal(got, want);
		}
	for (unsigned int at = 0; at < NODES; at++)
		wait_until(60, outbox_of(&cluster, at) == 0);
	for (int i = 0; i < KEYS; i++)
		for (int j = 0; j < keys[i].nwas; j++)
			for (unsigned int at = 0; at < NODES && keys[i].was[j].version[0]; at++)
				if (j != keys[i].nwas - 1 &&
				    data_at(&cluster, at, keys[i].was[j].version))
					violated("ep-%u still has %s of %s", at,
						 keys[i].was[j].version, keys[i].key);
	wait_until(20, copies_equal("bucket-0"));
	wait_until(20, copies_equal("bucket-1"));
}

static void chaos(void **state)
{
	const char *seconds = getenv("CHAOS_SECONDS"), *wanted = getenv("CHAOS_SEED");
	unsigned int seed = wanted ? (unsigned int)atoi(wanted) : (unsigned int)getpid(),
		     seeds[READERS], upload_seeds[UPLOADERS];
	int64_t until = clock_ms() + (seconds ? atoi(seconds) : 20) * 1000;
	pthread_t readers[READERS], uploaders[UPLOADERS];
	int n, troubles = 0;

	(void)state;
	printf("# seed %u\n", seed);
	fflush(stdout);
	seen = calloc(READS, sizeof(*seen));
	for (int i = 0; i < KEYS; i++) {
		snprintf(keys[i].bucket, sizeof(keys[i].bucket), "bucket-%d", i % 2);
		snprintf(keys[i].key, sizeof(keys[i].key), "key-%d", i);
		keys[i].seed = seed + (unsigned int)i;
		keys[i].was = calloc(STATES, sizeof(struct was));
		keys[i].nwas = 1; /* not there */
		keys[i].was[0].done = 1;
		pthread_create(&keys[i].writer, NULL, writer_run, &keys[i]);
	}
	for (int i = 0; i < READERS; i++) {
		seeds[i] = seed + 100 + (unsigned int)i;
		pthread_create(&readers[i], NULL, reader_run, &seeds[i]);
	}
	for (int i = 0; i < UPLOADERS; i++) {
		upload_seeds[i] = seed + 200 + (unsigned int)i;
		pthread_create(&uploaders[i], NULL, uploader_run, &upload_seeds[i]);
	}
	for (; clock_ms() < until && !failed; troubles++) {
		rest_ms(300);
		trouble(&seed);
	}
	over = true;
	for (int i = 0; i < KEYS; i++)
		pthread_join(keys[i].writer, NULL);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	for (int i = 0; i < UPLOADERS; i++)
		pthread_join(uploaders[i], NULL);
	if (!failed)
		check_end();
	n = nseen < READS ? nseen : READS;
	qsort(seen, (size_t)n, sizeof(*seen), by_end);
	for (int i = 0; i < KEYS && !failed; i++)
		check_key(i, n);
	printf("# %d troubles, %u writes (%u tries failed), %d reads (%u failed), %u uploads\n",
	       troubles, writes_done, writes_failed, n, reads_failed, uploads_done);
	if (failed)
		fail_msg("%s", failure);
	assert_true(writes_done > 50 && n > 100);
	for (int i = 0; i < KEYS; i++)
		free(keys[i].was);
	free(seen);
}

static int up(void **s)
{
	(void)s;
	cluster_start(&cluster, NODES);
	return 0;
}
static int down(void **s)
{
	(void)s;
	cluster_end(&cluster);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(chaos, up, down) };

	if (argc == 7 && !strcmp(argv[1], "node"))
		return child_main(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
