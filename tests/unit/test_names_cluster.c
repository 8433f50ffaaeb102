/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_names_cluster.c -- ordered names over a real registry and real sockets, with nodes that die,
 * stop and are cut off: one story each.
 */
#include "tests/unit/names_cluster.h"

#include <errno.h>
#include <signal.h>

#include "lib/hash.h"

static struct cluster cluster;

static int up1(void **s)
{
	(void)s;
	cluster_start(&cluster, 1);
	return 0;
}
static int up2(void **s)
{
	(void)s;
	cluster_start(&cluster, 2);
	return 0;
}
static int up3(void **s)
{
	(void)s;
	cluster_start(&cluster, 3);
	return 0;
}
static int down(void **s)
{
	(void)s;
	cluster_end(&cluster);
	return 0;
}

static json_t *put_json(const char *key, const char *version, const char *if_match,
			const char *if_none_match)
{
	return json_pack("{s:s s:s s:s s:s? s:s? s:[s] s:[]}", "bucket", "photos", "key", key,
			 "version", version, "if_match", if_match, "if_none_match", if_none_match,
			 "holders", "ep-0", "ideal");
}

/* A lone endpoint: everything works, with one copy. */
static void alone(void **state)
{
	struct cluster *c = &cluster;
	char v1[33], v2[33], v3[33], got[33], etag[35];
	uint8_t sha[32];
	json_t *a;

	(void)state;
	new_version(v1);
	new_version(v2);
	new_version(v3);
	assert_int_equal(get(c, 0, "photos", "cat", got), -ENOENT);
	assert_int_equal(ask(c, 0, "put", put_json("cat", v1, "*", NULL), NULL), -ECANCELED);
	assert_int_equal(ask(c, 0, "put", put_json("cat", v1, NULL, "*"), &a), 0);
	assert_true(json_is_false(json_object_get(a, "replaced")));
	json_decref(a);
	assert_int_equal(ask(c, 0, "put", put_json("cat", v2, NULL, "*"), NULL), -ECANCELED);
	/* The same version again is the same write, whatever its condition. */
	assert_int_equal(ask(c, 0, "put", put_json("cat", v1, NULL, "*"), &a), 0);
	assert_true(json_is_false(json_object_get(a, "replaced")));
	json_decref(a);
	data_make(c, 0, v1);
	sha256_once(v1, 32, sha);
	assert_int_equal(ask(c, 0, "put", put_json("cat", v2, names_etag(sha, etag), NULL), &a), 0);
	assert_true(json_is_true(json_object_get(a, "replaced")));
	json_decref(a);
	assert_int_equal(ask(c, 0, "put", put_json("cat", v3, etag, NULL), NULL), -ECANCELED);
	/* An old version tried again late does not come back. */
	assert_int_equal(ask(c, 0, "put", put_json("cat", v1, NULL, NULL), NULL), 0);
	assert_int_equal(get(c, 0, "photos", "cat", got), 0);
	assert_string_equal(got, v2);
	wait_until(5, !data_at(c, 0, v1));
	assert_int_equal(ask(c, 0, "hash", json_pack("{s:s}", "version", v2), &a), 0);
	assert_int_equal(json_array_size(json_object_get(a, "entries")), 1);
	json_decref(a);
	assert_int_equal(del(c, 0, "photos", "cat"), 0);
	assert_int_equal(del(c, 0, "photos", "cat"), -ENOENT);
	assert_int_equal(get(c, 0, "photos", "cat", got), -ENOENT);
	wait_until(5, outbox_of(c, 0) == 0);
	/* Killed and started: what was is. */
	assert_int_equal(put(c, 0, "photos", "dog", v3), 0);
	node_kill(c, 0);
	node_start(c, 0);
	assert_int_equal(get(c, 0, "photos", "dog", got), 0);
	assert_string_equal(got, v3);
	assert_int_equal(get(c, 0, "photos", "cat", got), -ENOENT);
	assert_int_equal(put(c, 0, "no", "dog", v3), -EINVAL);
	assert_int_equal(put(c, 0, "photos", "", v3), -EINVAL);
}

static void listing(void **state)
{
	struct cluster *c = &cluster;
	char version[33], key[32], after[NAMES_KEY_MAX + 1] = "";
	unsigned int told = 0;
	bool more = true;

	(void)state;
	for (int i = 0; i < 30; i++) {
		new_version(version);
		snprintf(key, sizeof(key), "d%d/%03d", i % 2, i);
		assert_int_equal(put(c, (unsigned int)i % 3, "photos", key, version), 0);
	}
	while (more) {
		json_t *a, *e;
		size_t i;

		assert_int_equal(ask(c, told % 3, "list",
				     json_pack("{s:s s:s s:s s:i}", "bucket", "photos", "prefix",
					       "d1/", "after", after, "limit", 4),
				     &a),
				 0);
		json_array_foreach (json_object_get(a, "entries"), i, e) {
			snprintf(key, sizeof(key), "d1/%03d", told * 2 + 1);
			assert_string_equal(text_of(e, "key"), key);
			strcpy(after, key);
			told++;
		}
		more = json_is_true(json_object_get(a, "more"));
		json_decref(a);
	}
	assert_int_equal(told, 15);
	assert_int_equal(ask(c, 0, "list",
			     json_pack("{s:s s:s s:s s:i}", "bucket", "unknown", "prefix", "",
				       "after", "", "limit", 4),
			     NULL),
			 -ENOENT);
}

/* The primary dies: the second copy takes over with everything, and a third gets a copy. */
static void primary_dies(void **state)
{
	struct cluster *c = &cluster;
	char v[12][33], got[33], key[16];
	int primary, second, other;

	(void)state;
	for (int i = 0; i < 10; i++) {
		new_version(v[i]);
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(put(c, (unsigned int)i % 3, "photos", key, v[i]), 0);
	}
	assert_int_equal(del(c, 1, "photos", "k9"), 0);
	primary = role_of(c, 0, "photos", "primary");
	second = role_of(c, (unsigned int)primary, "photos", "secondary");
	assert_true(primary >= 0 && second >= 0);
	assert_string_not_equal(c->nodes[primary].site, c->nodes[second].site);
	other = 3 - primary - second;
	node_kill(c, (unsigned int)primary);
	new_version(v[10]);
	assert_int_equal(put(c, (unsigned int)other, "photos", "after", v[10]), 0);
	assert_int_equal(role_of(c, (unsigned int)second, "photos", "primary"), second);
	assert_int_equal(role_of(c, (unsigned int)second, "photos", "secondary"), other);
	for (int i = 0; i < 9; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(get(c, (unsigned int)other, "photos", key, got), 0);
		assert_string_equal(got, v[i]);
	}
	assert_int_equal(get(c, (unsigned int)second, "photos", "k9", got), -ENOENT);
	/* Deleted while one was away: it hears of it when it is back, and of nothing else. */
	data_make(c, (unsigned int)primary, v[3]);
	data_make(c, (unsigned int)primary, v[4]);
	assert_int_equal(del(c, (unsigned int)other, "photos", "k3"), 0);
	assert_true(outbox_of(c, (unsigned int)second) > 0);
	node_start(c, (unsigned int)primary);
	wait_until(10, !data_at(c, (unsigned int)primary, v[3]));
	assert_true(data_at(c, (unsigned int)primary, v[4]));
	wait_until(10, outbox_of(c, (unsigned int)second) == 0);
	assert_int_equal(get(c, (unsigned int)primary, "photos", "k3", got), -ENOENT);
	assert_int_equal(get(c, (unsigned int)primary, "photos", "after", got), 0);
}

/* A primary that was stopped longer than its lease must not answer from its old copy. */
static void stopped_primary_is_not_stale(void **state)
{
	struct cluster *c = &cluster;
	char v1[33], v2[33], got[33] = "";
	int primary;

	(void)state;
	new_version(v1);
	new_version(v2);
	assert_int_equal(put(c, 0, "photos", "k", v1), 0);
	primary = role_of(c, 0, "photos", "primary");
	kill(c->nodes[primary].pid, SIGSTOP);
	/* Not even the registry will tell it: what is left is to ask its secondary. */
	relay_cut(&c->nodes[primary].registry, true);
	assert_int_equal(put(c, (unsigned int)(primary + 1) % 3, "photos", "k", v2), 0);
	kill(c->nodes[primary].pid, SIGCONT);
	assert_int_equal(get(c, (unsigned int)primary, "photos", "k", got), 0);
	assert_string_equal(got, v2);
	relay_cut(&c->nodes[primary].registry, false);
	new_version(v1);
	assert_int_equal(put(c, (unsigned int)primary, "photos", "k", v1), 0);
	assert_int_equal(get(c, (unsigned int)(primary + 1) % 3, "photos", "k", got), 0);
	assert_string_equal(got, v1);
}

/* The same for what a write is told: "there is no such object" is as much a word on the present as
 * a read is, and so is a condition that does not hold. */
static void stopped_primary_refuses_nothing_stale(void **state)
{
	struct cluster *c = &cluster;
	char v1[33], v2[33], v3[33];
	unsigned int primary;

	(void)state;
	new_version(v1);
	new_version(v2);
	new_version(v3);
	assert_int_equal(put(c, 0, "photos", "k", v1), 0);
	primary = (unsigned int)role_of(c, 0, "photos", "primary");
	relay_cut(&c->nodes[primary].inside, true); /* a late message would tell it too */
	kill(c->nodes[primary].pid, SIGSTOP);
	relay_cut(&c->nodes[primary].registry, true);
	assert_int_equal(put(c, (primary + 1) % 3, "photos", "k", v2), 0);
	assert_int_equal(put(c, (primary + 1) % 3, "photos", "new", v3), 0);
	kill(c->nodes[primary].pid, SIGCONT);
	assert_int_equal(del(c, primary, "photos", "new"), 0);
	relay_cut(&c->nodes[primary].registry, false);
	relay_cut(&c->nodes[primary].inside, false);
}

/* Nobody reaches the registry: reads and writes go on as recorded. */
static void silent_registry(void **state)
{
	struct cluster *c = &cluster;
	char v[33], got[33] = "";

	(void)state;
	new_version(v);
	assert_int_equal(put(c, 0, "photos", "k", v), 0);
	for (unsigned int i = 0; i < 3; i++) {
		relay_cut(&c->nodes[i].registry, true);
		assert_int_equal(get(c, i, "photos", "k", got), 0);
	}
	rest_ms((LEASE_S + 1) *
		1000); /* until no lease is certain: nothing else marks that moment */
	for (unsigned int i = 0; i < 3; i++) {
		new_version(v);
		assert_int_equal(put(c, i, "photos", "k", v), 0);
		assert_int_equal(get(c, (i + 1) % 3, "photos", "k", got), 0);
		assert_string_equal(got, v);
	}
	/* Also when the primary starts anew meanwhile. */
	{
		int primary = role_of(c, 0, "photos", "primary");

		node_kill(c, (unsigned int)primary);
		node_start(c, (unsigned int)primary);
		assert_int_equal(get(c, (unsigned int)primary, "photos", "k", got), 0);
		assert_string_equal(got, v);
		new_version(v);
		assert_int_equal(put(c, (unsigned int)primary, "photos", "k", v), 0);
	}
	for (unsigned int i = 0; i < 3; i++)
		relay_cut(&c->nodes[i].registry, false);
	assert_int_equal(get(c, 1, "photos", "k", got), 0);
	assert_string_equal(got, v);
}

/* Two registered, one alive: reads, but no writes on one copy. */
static void no_second_copy_no_write(void **state)
{
	struct cluster *c = &cluster;
	char v1[33], v2[33], got[33];
	int primary, second;

	(void)state;
	new_version(v1);
	new_version(v2);
	assert_int_equal(put(c, 0, "photos", "k", v1), 0);
	primary = role_of(c, 0, "photos", "primary");
	second = 1 - primary;
	node_kill(c, (unsigned int)second);
	/* The first may have been on its way to the dead one: unknown. The next is refused for
	 * certain. */
	assert_int_not_equal(put(c, (unsigned int)primary, "photos", "j", v2), 0);
	assert_int_equal(put(c, (unsigned int)primary, "photos", "k", v2), -EAGAIN);
	assert_int_equal(get(c, (unsigned int)primary, "photos", "k", got), 0);
	assert_string_equal(got, v1);
	new_version(v2);
	node_start(c, (unsigned int)second);
	assert_int_equal(put(c, (unsigned int)second, "photos", "k", v2), 0);
	/* The same when the primary is the dead one. */
	primary = role_of(c, 0, "photos", "primary");
	second = 1 - primary;
	node_kill(c, (unsigned int)primary);
	assert_int_equal(get(c, (unsigned int)second, "photos", "k", got), 0);
	assert_string_equal(got, v2);
	assert_int_equal(put(c, (unsigned int)second, "photos", "k", v1), -EAGAIN);
	node_start(c, (unsigned int)primary);
	new_version(v1);
	assert_int_equal(put(c, (unsigned int)primary, "photos", "k", v1), 0);
	assert_int_equal(get(c, (unsigned int)second, "photos", "k", got), 0);
	assert_string_equal(got, v1);
}

/* The primary comes back with an empty disk: the second copy is the bucket. */
static void primary_lost_its_disk(void **state)
{
	struct cluster *c = &cluster;
	char v[33], got[33], path[128];
	int primary;

	(void)state;
	new_version(v);
	assert_int_equal(put(c, 0, "photos", "k", v), 0);
	primary = role_of(c, 0, "photos", "primary");
	node_kill(c, (unsigned int)primary);
	snprintf(path, sizeof(path), "%.64s/ep-%u/names", c->top, (unsigned int)primary & 3);
	unit_folder_remove(path);
	node_start(c, (unsigned int)primary);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(get(c, i, "photos", "k", got), 0);
		assert_string_equal(got, v);
	}
	new_version(v);
	assert_int_equal(put(c, (unsigned int)primary, "photos", "k", v), 0);
}

/* ---- everything that a bucket keeps ---- */
struct upload {
	char key[8], id[33];
	unsigned int parts;
};

static void random_write(struct cluster *c, struct upload *u, unsigned int *seed)
{
	unsigned int at = (unsigned int)rand_r(seed) % 3, mode = (unsigned int)rand_r(seed) % 3,
		     number = 1 + (unsigned int)rand_r(seed) % 3;
	char key[8], version[33];
	json_t *a, *list;

	snprintf(key, sizeof(key), "k%d", rand_r(seed) % 5);
	new_version(version);
	version[31] = '1';
	switch (rand_r(seed) % 8) {
	case 0:
	case 1:
		ask(c, at, "put",
		    json_pack("{s:s s:s s:s s:i s:s s:[]}", "bucket", "photos", "key", key,
			      "version", version, "mode", mode, "meta", "{\"a\":1}", "holders"),
		    NULL);
		break;
	case 2:
		ask(c, at, "delete",
		    json_pack("{s:s s:s s:i}", "bucket", "photos", "key", key, "mode", mode), NULL);
		break;
	case 3:
		ask(c, at, "delete",
		    json_pack("{s:s s:s s:s s:i}", "bucket", "photos", "key", key, "version",
			      "null", "mode", mode),
		    NULL);
		break;
	case 4:
		ask(c, at, "meta",
		    json_pack("{s:s s:s s:s}", "bucket", "photos", "key", key, "meta", version),
		    NULL);
		break;
	case 5:
		if (u->id[0])
			break;
		strcpy(u->key, key);
		u->parts = 0;
		if (!ask(c, at, "upload", json_pack("{s:s s:s}", "bucket", "photos", "key", key),
			 &a))
			strcpy(u->id, text_of(a, "id"));
		json_decref(a);
		break;
	case 6:
		if (!u->id[0] || names_part_version(u->id, number, (uint16_t)rand_r(seed), version))
			break;
		if (!ask(c, at, "part",
			 json_pack("{s:s s:s s:s s:s s:i s:[s]}", "bucket", "photos", "key", u->key,
				   "id", u->id, "version", version, "number", (int)number,
				   "holders", "ep-0"),
			 NULL))
			u->parts |= 1u << number;
		break;
	case 7:
		if (!u->parts)
			break;
		list = json_array();
		for (int i = 1; i <= 3; i++)
			if (u->parts >> i & 1 && (rand_r(seed) % 4 || !json_array_size(list)))
				json_array_append_new(list, json_integer(i));
		ask(c, at, rand_r(seed) % 4 ? "complete" : "abort",
		    json_pack("{s:s s:s s:s s:i s:o}", "bucket", "photos", "key", u->key, "id",
			      u->id, "mode", mode, "parts", list),
		    NULL);
		memset(u, 0, sizeof(*u));
		break;
	}
}

static bool settled(struct cluster *c)
{
	int primary = role_of(c, 0, "photos", "primary"), second;

	if (primary < 0 || outbox_of(c, (unsigned int)primary))
		return false;
	second = role_of(c, (unsigned int)primary, "photos", "secondary");
	return second >= 0 && copies_same(c, (unsigned int)primary, (unsigned int)second, "photos");
}

/* Versions, markers, meta, uploads and parts are the same in the second copy, after it took over,
 * and in a copy that was made anew. */
static void everything_is_copied(void **state)
{
	struct cluster *c = &cluster;
	struct upload u = { .parts = 0 };
	unsigned int seed = (unsigned int)getpid(), primary;
	char v[33];

	(void)state;
	printf("# seed %u\n", seed);
	new_version(v);
	assert_int_equal(put(c, 0, "photos", "k", v), 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 120; i++)
			random_write(c, &u, &seed);
		wait_until(20, settled(c));
		primary = (unsigned int)role_of(c, 0, "photos", "primary");
		if (round == 1) { /* a second copy made of nothing */
			char path[160];
			unsigned int second =
				(unsigned int)role_of(c, primary, "photos", "secondary") %
				NODES_MAX;

			node_kill(c, second);
			snprintf(path, sizeof(path), "%.64s/ep-%u/names", c->top, second);
			unit_folder_remove(path);
			node_start(c, second);
		} else {
			node_kill(c, primary);
			wait_until(20, role_of(c, (primary + 1) % 3, "photos", "primary") !=
					       (int)primary);
			random_write(c, &u, &seed);
			node_start(c, primary);
		}
		/* A primary notices with the next write that its second copy was lost. */
		new_version(v);
		assert_int_equal(put(c, primary, "photos", "k", v), 0);
		wait_until(20, settled(c));
	}
}

/* A primary's word to fetch, as it would come from the network. */
static const char *told_to_fetch(struct cluster *c, unsigned int node, const char *version)
{
	static char word[16];
	struct httpc_call call = { .method = "POST", .body_max = 65536, .timeout_ms = 5000 };
	struct name_entry e = { .key = "k", .nholders = 1, .holders = { "ep-0" } };
	struct httpc_answer a = { 0 };
	char url[64], *text;
	json_t *o;

	strcpy(e.version, version);
	o = json_pack("{s:{s:s s:o}}", "fetch", "bucket", "photos", "entry", names_entry_encode(&e));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/i/names/tasks", c->nodes[node].inside.port);
	call.url = url;
	call.body = text;
	call.body_len = strlen(text);
	assert_int_equal(httpc_do(c->httpc, &call, &a), 0);
	o = json_loadb(a.body, a.len, 0, NULL);
	snprintf(word, sizeof(word), "%s", text_of(o, "fetch"));
	json_decref(o);
	httpc_answer_free(&a);
	free(text);
	return word;
}

/* A word to fetch that waited until the version was replaced and forgotten brings nothing back,
 * although another node has not forgotten it yet. */
static void late_fetch_is_not_kept(void **state)
{
	struct cluster *c = &cluster;
	char old[33], now[33];

	(void)state;
	new_version(old);
	new_version(now);
	assert_int_equal(put(c, 0, "photos", "k", old), 0);
	assert_int_equal(put(c, 0, "photos", "k", now), 0);
	wait_until(10, !outbox_of(c, 0)); /* its primary: all have forgotten */
	data_make(c, 0, old);
	data_make(c, 0, now);
	wait_until(10, !strcmp(told_to_fetch(c, 2, now), "done"));
	wait_until(10, !strcmp(told_to_fetch(c, 2, old), "gone"));
	assert_false(data_at(c, 2, old));
	assert_true(data_at(c, 2, now));
	/* What was there before the word came stays, although names do not know it. */
	new_version(old);
	data_make(c, 0, old);
	data_make(c, 2, old);
	wait_until(10, !strcmp(told_to_fetch(c, 2, old), "gone"));
	assert_true(data_at(c, 2, old));
}

/* The number that a node of this process uses in a run of its own, and its key. */
static unsigned int number_in_a_run(const struct cluster *c, const char *url, struct registry *reg, const char *says, char key[32])
{
	static struct child node;
	struct reg_kv kv;
	char version[33], digits[3];

	child_open(&node, "ep-9", "a", c->top, url, 0, NULL);
	assert_int_equal(names_part_attempt(node.names, "aaaaaaaaaaaaaaaaaaaaaaaa00000000", 1, 0, version), 0);
	child_close(&node);
	snprintf(digits, sizeof(digits), "%.2s", version + 28);
	snprintf(key, 32, REG_NUMBERS "%03lu", strtoul(digits, NULL, 16));
	assert_int_equal(registry_get(reg, key, &kv), 0);
	assert_string_equal(kv.value, says);
	reg_kv_free(&kv);
	return (unsigned int)strtoul(digits, NULL, 16);
}

/* A number that is kept is looked for in the registry: put back when it is gone, given up when it is another's. */
static void number_is_its_own(void **state)
{
	static const char says[] = "{\"node\":\"ep-9\"}";
	struct cluster *c = &cluster;
	struct conf_registry conf = { .timeout_us = 1000000 };
	struct registry *reg;
	char *url, key[32];
	unsigned int first;

	(void)state;
	assert_true(asprintf(&url, "unix:%s", c->socket) > 0);
	conf.url = url;
	assert_int_equal(registry_open(&reg, &conf), 0);
	first = number_in_a_run(c, url, reg, says, key);
	assert_int_equal(registry_delete(reg, key), 0);
	assert_int_equal(number_in_a_run(c, url, reg, says, key), first);
	assert_int_equal(registry_put(reg, key, "{\"node\":\"ep-8\"}", 0), 0);
	assert_int_not_equal(number_in_a_run(c, url, reg, says, key), first);
	registry_close(reg);
	free(url);
}

/* Who should hold the data and does not is told to get it, and is then a holder. */
static void ideal_holder_fetches(void **state)
{
	struct cluster *c = &cluster;
	char v[33];
	json_t *a;
	size_t holders = 0;

	(void)state;
	new_version(v);
	data_make(c, 0, v);
	data_make(c, 1, v);
	assert_int_equal(
		ask(c, 0, "put",
		    json_pack("{s:s s:s s:s s:[ss] s:[ss]}", "bucket", "photos", "key", "k",
			      "version", v, "holders", "ep-0", "ep-1", "ideal", "ep-0", "ep-2"),
		    NULL),
		0);
	wait_until(10, data_at(c, 2, v));
	for (int64_t until = clock_ms() + 10000; holders != 3 && clock_ms() < until; rest_ms(20)) {
		assert_int_equal(ask(c, 1, "get",
				     json_pack("{s:s s:s}", "bucket", "photos", "key", "k"), &a),
				 0);
		holders = json_array_size(json_object_get(json_object_get(a, "entry"), "holders"));
		json_decref(a);
	}
	assert_int_equal(holders, 3);
	assert_int_equal(del(c, 2, "photos", "k"), 0);
	for (unsigned int i = 0; i < 3; i++)
		wait_until(10, !data_at(c, i, v));
}

/* Many at once create the same key: one of them. */
struct racer {
	unsigned int i;
	char version[33];
	int rc;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	r->rc = ask(&cluster, r->i % 3, "put", put_json("lock", r->version, NULL, "*"), NULL);
	return NULL;
}

static void one_creates(void **state)
{
	struct racer racers[12];
	pthread_t threads[12];
	char got[33];
	int winners = 0;

	(void)state;
	for (unsigned int i = 0; i < 12; i++) {
		racers[i].i = i;
		new_version(racers[i].version);
		pthread_create(&threads[i], NULL, race, &racers[i]);
	}
	for (unsigned int i = 0; i < 12; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(get(&cluster, 0, "photos", "lock", got), 0);
	for (unsigned int i = 0; i < 12; i++) {
		assert_true(racers[i].rc == 0 || racers[i].rc == -ECANCELED);
		if (!racers[i].rc) {
			winners++;
			assert_string_equal(got, racers[i].version);
		}
	}
	assert_int_equal(winners, 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(alone, up1, down),
		cmocka_unit_test_setup_teardown(listing, up3, down),
		cmocka_unit_test_setup_teardown(one_creates, up3, down),
		cmocka_unit_test_setup_teardown(ideal_holder_fetches, up3, down),
		cmocka_unit_test_setup_teardown(late_fetch_is_not_kept, up3, down),
		cmocka_unit_test_setup_teardown(number_is_its_own, up1, down),
		cmocka_unit_test_setup_teardown(primary_dies, up3, down),
		cmocka_unit_test_setup_teardown(stopped_primary_is_not_stale, up3, down),
		cmocka_unit_test_setup_teardown(stopped_primary_refuses_nothing_stale, up3, down),
		cmocka_unit_test_setup_teardown(silent_registry, up3, down),
		cmocka_unit_test_setup_teardown(no_second_copy_no_write, up2, down),
		cmocka_unit_test_setup_teardown(primary_lost_its_disk, up3, down),
		cmocka_unit_test_setup_teardown(everything_is_copied, up3, down),
	};

	if (argc == 7 && !strcmp(argv[1], "node"))
		return child_main(argv);
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
