/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reseal.c -- the thread that does what reseal/wish says, and what is under way; see reseal.h.
 */
#include "http/store/reseal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/store/endpoint.h"
#include "http/store/pace.h"
#include "lib/log.h"
#include "lib/reseal_ask.h"
#include "lib/sealing.h"

#define IDLE_MS	  3600000 /* a wish ends the wait */
#define REST_MS	  5    /* between pages: clients come first */
#define TELL_MS	  1000 /* so often it is told how far it is */
#define AGAIN_MS  1000 /* after a bucket that could not be walked through, or a silent registry */
#define FOLLOW_MS 5000 /* and then: has another bucket come here? */
#define FOLLOW_S  86400 /* so long after the wish */
#define SETTLE_MS 15000 /* a write whose outcome is not known may come to be for so long (NAMES_TIMEOUT_MS), and a little */

/* Uploads that began with a key. */
struct use {
	char kid[SEALING_KID_MAX];
	unsigned int n;
	int64_t last_ms; /* when the last one ended */
};

struct reseal {
	struct endpoint *ep;
	struct reg_watch *watch;
	pthread_t thread;
	bool runs;
	struct pace pace;
	pthread_mutex_t lock; /* wish, uses */
	struct reseal_wish wish; /* the newest; id "": none yet */
	struct use uses[SEALING_KEYS_MAX];
	/* the thread's own */
	struct reseal_wish doing;
	struct reseal_task task;
	struct {
		char id[33]; /* "": none */
		int64_t at;
		struct reseal_task task; /* when `doing` is another one */
		json_t *sealed;		 /* names of buckets */
		uint64_t came;		 /* names_came(), behind which all was sealed */
	} last; /* reseal */
	char newest[SEALING_KID_MAX]; /* "": not known */
	json_t *walked; /* names of buckets, for `doing` */
	bool done;	/* all that there was then */
	int64_t told_ms;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- what is under way ---- */

/* Held. A key's place; those of keys that nothing uses are given to others. */
static struct use *use_of(struct reseal *r, const char *kid)
{
	struct use *unused = NULL;

	for (size_t i = 0; i < SEALING_KEYS_MAX; i++) {
		if (!strcmp(r->uses[i].kid, kid))
			return &r->uses[i];
		if (!r->uses[i].n && (!unused || r->uses[i].last_ms < unused->last_ms))
			unused = &r->uses[i];
	}
	if (unused) {
		*unused = (struct use){ .n = 0 };
		strcpy(unused->kid, kid);
	}
	return unused;
}

int reseal_begin(struct reseal *r, const char *about, const void *key, size_t len, char *text, size_t size, char kid[SEALING_KID_MAX])
{
	struct use *use;
	int rc;

	/* Sealed with the lock, so that whoever was told of none under way finds that later ones take the newest key. */
	pthread_mutex_lock(&r->lock);
	rc = users_seal(r->ep->users, about, key, len, text, size);
	if (!rc)
		rc = sealing_kid(text, kid);
	use = rc ? NULL : use_of(r, kid);
	if (use)
		use->n++;
	else if (!rc)
		rc = -EAGAIN; /* there are never so many keys in use */
	pthread_mutex_unlock(&r->lock);
	return rc;
}

void reseal_end(struct reseal *r, const char *kid)
{
	struct use *use;

	pthread_mutex_lock(&r->lock);
	use = use_of(r, kid);
	use->n--;
	use->last_ms = now_ms();
	pthread_mutex_unlock(&r->lock);
}

/* {KID: how many} of keys that are not the newest. */
static json_t *busy(struct reseal *r)
{
	json_t *out = json_object();
	int64_t now = now_ms();

	pthread_mutex_lock(&r->lock);
	if (users_sealing_kid(r->ep->users, r->newest))
		*r->newest = '\0';
	for (size_t i = 0; i < SEALING_KEYS_MAX; i++) {
		const struct use *use = &r->uses[i];

		if (*use->kid && strcmp(use->kid, r->newest) && (use->n || now < use->last_ms + SETTLE_MS))
			json_object_set_new(out, use->kid, json_integer(use->n ? use->n : 1));
	}
	pthread_mutex_unlock(&r->lock);
	return out;
}

/* ---- telling ---- */

/* why: what it waits for, or NULL. */
static int tell(struct reseal *r, bool done, const char *why)
{
	char path[sizeof(REG_RESEAL_TOLD) + CONF_NAME_MAX];
	json_t *uses = busy(r), *told;
	char *text;
	int rc;

	told = json_pack("{s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:o, s:O}", "id", r->doing.id, "what", r->doing.what, "done", (int)done,
			 "newest", r->newest, "buckets", (json_int_t)json_object_size(r->walked), "looked", (json_int_t)r->task.looked, "resealed",
			 (json_int_t)r->task.resealed, "at", (json_int_t)time(NULL), "busy", uses, "keys", r->task.keys);
	if (told && why)
		json_object_set_new(told, "why", json_string(why));
	text = told ? json_dumps(told, JSON_COMPACT) : NULL;
	snprintf(path, sizeof(path), REG_RESEAL_TOLD "%s", r->ep->node);
	rc = text ? registry_put(r->ep->daemon->registry, path, text, 0) : -ENOMEM;
	free(text);
	json_decref(told);
	r->told_ms = now_ms();
	return rc;
}

/* ---- doing ---- */

/* Waits; false: this endpoint stops, or somebody wants something else. */
static bool rest(struct reseal *r, int64_t ms)
{
	bool same;

	if (!pace_wait(&r->pace, ms))
		return false;
	pthread_mutex_lock(&r->lock);
	same = !strcmp(r->wish.id, r->doing.id);
	pthread_mutex_unlock(&r->lock);
	return same;
}

static bool rest_page(void *arg)
{
	struct reseal *r = arg;

	if (now_ms() >= r->told_ms + TELL_MS)
		tell(r, false, NULL);
	return rest(r, REST_MS);
}

/* What was asked for last is done and told; this is of before. */
static bool rest_quiet(void *arg)
{
	return rest(arg, REST_MS);
}

static void bucket_done(struct reseal *r, const struct reseal_task *task)
{
	if (task == &r->task)
		json_object_set_new(r->walked, task->bucket, json_true());
	if (task->change)
		json_object_set_new(r->last.sealed, task->bucket, json_true());
}

/* As long as it takes: a bucket may be without its secondary. False: it ends here. */
static bool do_bucket(struct reseal *r, struct reseal_task *task, const char *bucket)
{
	int rc;

	task->bucket = bucket;
	while (names_is_primary(r->ep->names, bucket)) {
		rc = reseal_walk(task);
		if (!rc) {
			bucket_done(r, task);
			return true;
		}
		if (!rest(r, 0))
			return false;
		log_limited(LOG_LEVEL_WARN, 10, "bucket %s: sealing keys: stopped, again soon: %s", bucket, names_error());
		if (task == &r->task)
			tell(r, false, *names_error() ? names_error() : strerror(-rc));
		if (!rest(r, AGAIN_MS))
			return false;
	}
	return true;
}

/* Those that are not in `done`. */
static bool do_buckets(struct reseal *r, struct reseal_task *task, const json_t *done)
{
	uint64_t came = names_came(r->ep->names); /* before the list */
	json_t *status = names_status(r->ep->names);
	const json_t *line;
	bool go = true;
	size_t i;

	json_array_foreach (json_object_get(status, "buckets"), i, line) {
		const char *name = json_string_value(json_object_get(line, "name"));

		if (go && name && !json_object_get(done, name))
			go = do_bucket(r, task, name) && rest(r, 0);
	}
	json_decref(status);
	if (go && task->change)
		r->last.came = came;
	return go;
}

static void task_begin(struct reseal *r, struct reseal_task *task, bool change, bool (*pause)(void *arg))
{
	json_decref(task->keys);
	*task = (struct reseal_task){ .names = r->ep->names, .users = r->ep->users, .newest = r->newest, .change = change, .rest = pause, .arg = r };
	task->keys = json_object();
}

static void do_wish(struct reseal *r)
{
	task_begin(r, &r->task, !strcmp(r->doing.what, RESEAL_RESEAL), rest_page);
	json_object_clear(r->walked);
	r->done = false;
	tell(r, false, NULL);
	while (!*r->newest && rest(r, AGAIN_MS))
		tell(r, false, "the sealing keys are not here yet");
	if (!*r->newest || (strcmp(r->doing.what, RESEAL_STILL) && !do_buckets(r, &r->task, r->walked)))
		return;
	r->done = true;
	while (tell(r, true, NULL) && rest(r, AGAIN_MS))
		;
	if (r->task.resealed)
		log_info("sealed the keys of %llu objects and parts anew, by the sealing key %s", (unsigned long long)r->task.resealed, r->newest);
}

/* Buckets change hands, also from an endpoint that was killed in the middle: who has got one behind its own end does it, too. And what
 * another wish interrupted goes on behind that. */
static bool follows(const struct reseal *r)
{
	return r->done && *r->last.id && time(NULL) < r->last.at + FOLLOW_S;
}

static void follow(struct reseal *r)
{
	size_t before = json_object_size(r->walked);
	bool same = !strcmp(r->last.id, r->doing.id);

	/* The list of all buckets is long; most of the time none has come. */
	if (names_came(r->ep->names) == r->last.came)
		return;
	if (!same)
		task_begin(r, &r->last.task, true, rest_quiet);
	if (!do_buckets(r, same ? &r->task : &r->last.task, r->last.sealed))
		return;
	if (json_object_size(r->walked) > before)
		tell(r, true, NULL);
	if (!same && r->last.task.resealed)
		log_info("sealed the keys of %llu more objects and parts anew", (unsigned long long)r->last.task.resealed);
}

/* What it told last, before this program started, was the end of that wish. */
static bool was_done(struct reseal *r)
{
	char path[sizeof(REG_RESEAL_TOLD) + CONF_NAME_MAX];
	struct reg_kv kv;
	json_t *told;
	bool done;

	snprintf(path, sizeof(path), REG_RESEAL_TOLD "%s", r->ep->node);
	if (registry_get(r->ep->daemon->registry, path, &kv))
		return false;
	told = json_loadb(kv.value, kv.value_len, 0, NULL);
	done = json_is_true(json_object_get(told, "done")) &&
	       !strcmp(json_string_value(json_object_get(told, "id")) ?: "", r->doing.id);
	json_decref(told);
	reg_kv_free(&kv);
	return done;
}

/* Is there one that was not begun? */
static bool take_wish(struct reseal *r)
{
	bool taken;

	pthread_mutex_lock(&r->lock);
	taken = strcmp(r->wish.id, r->doing.id) != 0;
	r->doing = r->wish;
	pthread_mutex_unlock(&r->lock);
	if (*r->doing.reseal && strcmp(r->doing.reseal, r->last.id)) {
		strcpy(r->last.id, r->doing.reseal);
		r->last.at = r->doing.reseal_at;
		r->last.came = UINT64_MAX; /* nothing yet */
		json_object_clear(r->last.sealed);
	}
	return taken;
}

static void *run(void *arg)
{
	struct reseal *r = arg;
	bool first = true;

	while (pace_wait_early(&r->pace, follows(r) ? FOLLOW_MS : IDLE_MS)) {
		while (!r->pace.stop && take_wish(r)) {
			/* A fresh one is gone through again after a start: buckets may have come meanwhile. */
			if (!first || time(NULL) < r->doing.at + FOLLOW_S || !was_done(r))
				do_wish(r);
			first = false;
		}
		if (follows(r))
			follow(r);
	}
	return NULL;
}

static void on_wish(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct reseal *r = arg;
	struct reseal_wish wish;

	if (event != REG_PUT || reseal_wish_parse(kv->value, kv->value_len, &wish))
		return;
	pthread_mutex_lock(&r->lock);
	r->wish = wish;
	pthread_mutex_unlock(&r->lock);
	pace_now(&r->pace);
}

int reseal_new(struct reseal **out, struct endpoint *ep)
{
	struct reseal *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	r->ep = ep;
	pthread_mutex_init(&r->lock, NULL);
	pace_init(&r->pace);
	r->walked = json_object();
	r->last.sealed = json_object();
	rc = -pthread_create(&r->thread, NULL, run, r);
	r->runs = !rc;
	if (!rc)
		rc = registry_watch(ep->daemon->registry, &r->watch, REG_RESEAL_WISH, on_wish, r);
	if (rc) {
		reseal_stop(r);
		reseal_free(r);
		return rc;
	}
	*out = r;
	return 0;
}

void reseal_stop(struct reseal *r)
{
	if (!r)
		return;
	pace_stop(&r->pace);
	if (r->runs)
		pthread_join(r->thread, NULL);
	r->runs = false;
	registry_unwatch(r->watch);
	r->watch = NULL;
}

void reseal_free(struct reseal *r)
{
	if (!r)
		return;
	json_decref(r->task.keys);
	json_decref(r->walked);
	json_decref(r->last.task.keys);
	json_decref(r->last.sealed);
	pace_destroy(&r->pace);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
