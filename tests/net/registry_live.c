/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_live.c -- the conformance checks of what moves: leases, watches, and a registry that is
 * killed, started again, stopped and continued.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/net/registry_conformance.h"

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
	check(!registry_put(reg, ROOT "leased", "x", id) && has_value(ROOT "leased", "x"),
	      "a key takes the lease");
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
	check(absent(ROOT "leased") && revision_now() == before + 1,
	      "revoking deletes its keys in one revision");
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
	check(!registry_lease_put(mine, ROOT "guest", "g") && has_value(ROOT "guest", "g") &&
		      !registry_lease_withdraw(mine, ROOT "guest") && absent(ROOT "guest") &&
		      !registry_lease_withdraw(mine, ROOT "guest"),
	      "a key that is withdrawn goes, and once more is fine");
	check(!registry_lease_claim(mine, ROOT "lock", "me") &&
		      registry_lease_holds(mine, ROOT "lock"),
	      "a lock is claimed");
	check(registry_lease_claim(theirs, ROOT "lock", "they") == -EAGAIN &&
		      !registry_lease_holds(theirs, ROOT "lock"),
	      "another's claim is -EAGAIN");
	check(!registry_lease_claim(mine, ROOT "lock", "me"), "one's own claim again is fine");
	nap(5000);
	check(has_value(ROOT "member", "m") && registry_lease_holds(mine, ROOT "lock") &&
		      !atomic_load(&lost),
	      "it is kept alive longer than its time");
	id = lease_of(ROOT "member");
	lease_revoke(id);
	check(wait_for(5000, has_value(ROOT "member", "m")) && lease_of(ROOT "member") != id,
	      "a lease that was lost is made anew with its keys");
	check(absent(ROOT "guest"), "but without what was withdrawn");
	check(wait_for(1000, atomic_load(&lost) == 1), "and its owner is told");
	check(!registry_lease_holds(mine, ROOT "lock") && absent(ROOT "lock"),
	      "its lock is not taken again");
	check(registry_lease_certain(mine, &later) && later == term + 1, "and the term has grown");
	check(!registry_lease_claim(theirs, ROOT "lock", "they") &&
		      registry_lease_holds(theirs, ROOT "lock"),
	      "so another can claim it");
	registry_lease_end(theirs, true);
	check(absent(ROOT "lock") && !registry_lease_claim(mine, ROOT "lock", "me"),
	      "a lease that is ended frees its lock at once");
	registry_lease_end(mine, true);
	check(absent(ROOT "member"), "and deletes its keys");
}

/* ---- watches ---- */

struct seen {
	pthread_mutex_t lock;
	char text[8192]; /* "+key=value " and "-key " and "! " */
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
		snprintf(s->text + len, sizeof(s->text) - len, "+%s=%s ", strrchr(kv->key, '/') + 1,
			 kv->value);
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
	struct reg_change three[3] = { { ROOT "w/c", "3", 0 },
				       { ROOT "w/b", NULL, 0 },
				       { ROOT "v/z", "no", 0 } };
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
	check(strstr(text, "\"created\":true") && strstr(text, "\"b25l\"") &&
		      strstr(text, "\"dHdv\"") &&
		      strstr(text, "\"b25l\"") < strstr(text, "\"dHdv\"") &&
		      !strstr(text, "\"bm8=\""),
	      "a watch from an old revision is told every change since");
	text = stream(watch_from(first + 2), "DELETE");
	check(strstr(text, "\"dHdv\"") && !strstr(text, "\"b25l\""), "and none before it");
	at = compact();
	text = stream(watch_from(first), "compact_revision");
	check(strstr(text, "\"canceled\":true") && strstr(text, "\"compact_revision\""),
	      "after a compaction it is told that this is too old");
	check(refused("/v3/kv/compaction", json_pack("{s:I}", "revision", (json_int_t)at),
		      "compacted"),
	      "compacting twice at one revision is refused");
	check(refused("/v3/kv/compaction", json_pack("{s:I}", "revision", (json_int_t)at + 1000),
		      "future revision"),
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
	check(saw_either(&s, "+changes=2 +new=1 -goes ", "+changes=2 -goes +new=1 "),
	      "the watch hears the real changes");
	registry_put(reg, ROOT "k/last", "1", 0);
	check(saw(&s, "+last=1 "), "and goes on");
	check(wait_for(12000, registry_lease_certain(lease, NULL)) &&
		      has_value(ROOT "leased", "x") && !atomic_load(&lost) &&
		      registry_lease_holds(lease, ROOT "lock"),
	      "leases and locks outlive the restart");
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
	nap(300); /* it holds this one in its hand; whatever follows it misses */
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
	check(saw(&g.seen, "+a=2 +b=3 -c +d=1 "),
	      "after a gap and a compaction only the difference is told");
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
	check(saw(&s, "+a=1 ! ") && registry_reachable(reg),
	      "a watch before the registry is stopped");
	kill(server_pid, SIGSTOP);
	began = reg_now_ms();
	rc = registry_put(reg, ROOT "s/a", "2", 0);
	check(rc == -ETIMEDOUT && reg_now_ms() - began < 1600,
	      "a silent registry is -ETIMEDOUT in time (%lld ms): %s",
	      (long long)(reg_now_ms() - began), registry_error());
	check(!registry_reachable(reg), "it counts as not reachable");
	check(wait_for(5000, !registry_lease_holds(lease, ROOT "lock")),
	      "a lock is not held when that is not certain any more");
	check(saw(&s, ""), "watches hear nothing of it");
	kill(server_pid, SIGCONT);
	check(wait_for(10000, server_answers()) && registry_reachable(reg), "it speaks again");
	registry_put(reg, ROOT "s/b", "1", 0);
	check(wait_for(4000, seen_length(&s) >= 5 && strstr(s.text, "b=1 ")) &&
		      saw_either(&s, "+b=1 ", "+a=2 +b=1 "),
	      "watches hear what changed, no more");
	registry_unwatch(w);
	registry_lease_end(lease, true);
	registry_delete_prefix(reg, ROOT, NULL);
}

void check_live(void)
{
	check_leases();
	check_kept_leases();
	check_watch();
	check_many_watches();
	check_history();
	check_kill();
	check_gap();
	check_silence();
}
