/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_watch.c -- watching a prefix: list, then follow; after a gap tell the difference only.
 *
 * A thread for each watch keeps a sorted table of what its user was told (key, revision, hash of
 * the value). When the connection breaks it resumes at the next revision. When that is compacted
 * away, or when what answers is another or an older store, it lists again and tells what differs
 * from the table. While nothing answers, nothing is told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/registry_internal.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 5000
#define LINE_MAX_BYTES (64u << 20)

struct known {
	int64_t mod_revision;
	uint64_t hash;
	char key[];
};

struct reg_watch {
	struct registry *reg;
	struct reg_watch *next_watch;
	char *prefix;
	reg_watch_fn *fn;
	void *arg;
	pthread_t thread;
	CURLM *multi;
	atomic_bool stop;

	/* the thread's own */
	struct known **known; /* sorted by key */
	size_t nknown, room;
	bool synced;
	uint64_t cluster;
	int64_t next; /* revision to resume at; 0: list first */

	/* the present stream */
	bool created, broken;
	char *line;
	size_t line_len, line_room;
};

/* ---- the table of what was told ---- */

/* Where the key is, or would be. */
static size_t known_find(const struct reg_watch *w, const char *key, bool *found)
{
	size_t low = 0, high = w->nknown;

	*found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(w->known[mid]->key, key);

		if (!order) {
			*found = true;
			return mid;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int known_insert(struct reg_watch *w, size_t at, const char *key)
{
	size_t len = strlen(key) + 1;
	struct known *k = calloc(1, sizeof(*k) + len);

	if (k && w->nknown == w->room) {
		size_t room = w->room ? w->room * 2 : 64;
		struct known **more = reallocarray(w->known, room, sizeof(struct known *));

		if (more) {
			w->known = more;
			w->room = room;
		}
	}
	if (!k || w->nknown == w->room) {
		free(k);
		return -ENOMEM;
	}
	memcpy(k->key, key, len);
	memmove(&w->known[at + 1], &w->known[at], (w->nknown - at) * sizeof(struct known *));
	w->known[at] = k;
	w->nknown++;
	return 0;
}

static void known_remove(struct reg_watch *w, size_t at)
{
	free(w->known[at]);
	w->nknown--;
	memmove(&w->known[at], &w->known[at + 1], (w->nknown - at) * sizeof(struct known *));
}

/* Tells a PUT and notes it. */
static int tell_put(struct reg_watch *w, const struct reg_kv *kv)
{
	bool found;
	size_t at = known_find(w, kv->key, &found);

	if (!found && known_insert(w, at, kv->key))
		return -ENOMEM;
	w->known[at]->mod_revision = kv->mod_revision;
	w->known[at]->hash = hash64(kv->value, kv->value_len, 0);
	w->fn(w->arg, REG_PUT, kv);
	return 0;
}

static void tell_delete(struct reg_watch *w, size_t at, int64_t revision)
{
	struct known *k = w->known[at];
	struct reg_kv kv = { .key = k->key, .mod_revision = revision ? revision : k->mod_revision };

	w->fn(w->arg, REG_DELETE, &kv);
	known_remove(w, at);
}

/* ---- listing ---- */

/* Both lists are in key order: what is only in the table was deleted, what is new or other is put.
 */
static int tell_difference(struct reg_watch *w, const struct reg_kv *kvs, size_t n,
			   int64_t revision)
{
	size_t at = 0;
	int rc = 0;

	for (size_t i = 0; i < n && !rc; i++) {
		while (at < w->nknown && strcmp(w->known[at]->key, kvs[i].key) < 0)
			tell_delete(w, at, revision);
		if (at < w->nknown && !strcmp(w->known[at]->key, kvs[i].key) &&
		    w->known[at]->mod_revision == kvs[i].mod_revision &&
		    w->known[at]->hash == hash64(kvs[i].value, kvs[i].value_len, 0)) {
			at++;
			continue;
		}
		rc = tell_put(w, &kvs[i]);
		at++;
	}
	while (!rc && at < w->nknown)
		tell_delete(w, at, revision);
	return rc;
}

static int watch_list(struct reg_watch *w)
{
	struct reg_kv *kvs;
	int64_t revision;
	uint64_t cluster;
	size_t n;
	int rc = reg_list(w->reg, w->prefix, &kvs, &n, &revision, &cluster);

	if (rc)
		return rc;
	rc = tell_difference(w, kvs, n, revision);
	reg_kv_list_free(kvs, n);
	if (rc)
		return rc;
	w->cluster = cluster;
	w->next = revision + 1;
	if (!w->synced) {
		w->synced = true;
		w->fn(w->arg, REG_SYNCED, NULL);
	}
	return 0;
}

/* ---- the stream ---- */

static int on_event(struct reg_watch *w, const json_t *event)
{
	const char *type = json_string_value(json_object_get(event, "type"));
	struct reg_kv kv;
	bool found;
	size_t at;
	int rc = reg_kv_parse(&kv, json_object_get(event, "kv"));

	if (rc)
		return rc == -EPROTO ? 0 : rc; /* a key with NUL bytes is nobody's here */
	at = known_find(w, kv.key, &found);
	if (found && w->known[at]->mod_revision >= kv.mod_revision)
		rc = 0; /* the listing had it already */
	else if (!type || strcmp(type, "DELETE"))
		rc = tell_put(w, &kv);
	else if (found)
		tell_delete(w, at, kv.mod_revision);
	if (kv.mod_revision >= w->next)
		w->next = kv.mod_revision + 1;
	reg_kv_free(&kv);
	return rc;
}

/* The stream cannot be followed: list again. */
static int watch_restart(struct reg_watch *w)
{
	w->next = 0;
	return -ESTALE;
}

static int on_created(struct reg_watch *w, uint64_t cluster, int64_t revision)
{
	/* another store, or an older copy of ours: revisions mean nothing any more */
	if (cluster != w->cluster || revision < w->next - 1)
		return watch_restart(w);
	w->created = true;
	atomic_store(&w->reg->reachable, true);
	return 0;
}

/* etcd answers so when it does not know our token any more; taking it for that costs one login. */
static int on_canceled(struct reg_watch *w, const json_t *result)
{
	json_t *error = json_pack("{s:O?,s:i}", "message", json_object_get(result, "cancel_reason"),
				  "code", 16);
	char *text = error ? json_dumps(error, JSON_COMPACT) : NULL;
	int rc = reg_refused(w->reg, "/v3/watch", 401, text, text ? strlen(text) : 0);

	free(text);
	json_decref(error);
	return rc;
}

static int on_result(struct reg_watch *w, const json_t *result)
{
	const json_t *header = json_object_get(result, "header");
	const json_t *events = json_object_get(result, "events"), *event;
	int64_t revision = reg_i64(header, "revision");
	size_t i;
	int rc = 0;

	if (reg_i64(result, "compact_revision"))
		return watch_restart(w);
	if (json_is_true(json_object_get(result, "canceled")))
		return on_canceled(w, result);
	if (json_is_true(json_object_get(result, "created")))
		rc = on_created(w, reg_u64(header, "cluster_id"), revision);
	else if (!json_array_size(events) && revision >= w->next)
		w->next = revision + 1; /* progress: nothing up to there was ours */
	json_array_foreach (events, i, event) {
		if (rc || atomic_load(&w->stop))
			break;
		rc = on_event(w, event);
	}
	return rc;
}

static int on_line(struct reg_watch *w, const char *line, size_t len)
{
	json_t *root = json_loadb(line, len, 0, NULL);
	const json_t *result = json_object_get(root, "result");
	int rc;

	if (result)
		rc = on_result(w, result);
	else
		rc = reg_refused(w->reg, "/v3/watch", 500, line, len);
	json_decref(root);
	return rc;
}

static size_t on_stream(char *data, size_t size, size_t n, void *arg)
{
	struct reg_watch *w = arg;
	size_t len = size * n;
	char *end;

	if (w->line_len + len + 1 > w->line_room) {
		size_t room = (w->line_len + len + 1) * 2;
		char *more = room <= LINE_MAX_BYTES ? realloc(w->line, room) : NULL;

		if (!more) {
			watch_restart(w); /* too much at once: a listing comes in pages */
			return 0;
		}
		w->line = more;
		w->line_room = room;
	}
	memcpy(w->line + w->line_len, data, len);
	w->line_len += len;
	while ((end = memchr(w->line, '\n', w->line_len))) {
		size_t used = (size_t)(end - w->line) + 1;

		if (used > 1 && on_line(w, w->line, used - 1)) {
			w->broken = true;
			return 0;
		}
		w->line_len -= used;
		memmove(w->line, end + 1, w->line_len);
	}
	return len;
}

static char *watch_request(const struct reg_watch *w)
{
	json_t *create = json_object(), *request = json_object();
	char *text;

	reg_set_prefix(create, w->prefix);
	reg_set_i64(create, "start_revision", w->next);
	json_object_set_new(create, "progress_notify", json_true());
	json_object_set_new(request, "create_request", create);
	text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	return text;
}

/* Runs the transfer until it ends, fails, or the watch stops. */
static CURLcode stream_run(struct reg_watch *w, CURL *h)
{
	int64_t until = reg_now_ms() + w->reg->timeout_ms;
	CURLcode rc = CURLE_OK;
	CURLMsg *msg;
	int running = 1, left;

	while (running && !atomic_load(&w->stop)) {
		if (curl_multi_perform(w->multi, &running))
			break;
		if (running && !w->created && reg_now_ms() >= until)
			return CURLE_OPERATION_TIMEDOUT;
		if (running)
			curl_multi_poll(w->multi, NULL, 0, w->created ? 60000 : 100, NULL);
	}
	while ((msg = curl_multi_info_read(w->multi, &left)))
		if (msg->msg == CURLMSG_DONE && msg->easy_handle == h)
			rc = msg->data.result;
	return rc;
}

/* Follows the prefix from w->next; returns when the stream is over. */
static void watch_stream(struct reg_watch *w)
{
	struct curl_slist *headers = NULL;
	char *body = watch_request(w);
	CURL *h = body ? reg_stream_new(w->reg, "/v3/watch", body, &headers) : NULL;
	long status = 0;
	CURLcode rc;

	w->created = w->broken = false;
	w->line_len = 0;
	if (h) {
		curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_stream);
		curl_easy_setopt(h, CURLOPT_WRITEDATA, w);
		curl_multi_add_handle(w->multi, h);
		rc = stream_run(w, h);
		curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
		curl_multi_remove_handle(w->multi, h);
		if (status && status != 200)
			reg_refused(w->reg, "/v3/watch", status, w->line, w->line_len);
		else if (!w->broken && !atomic_load(&w->stop))
			reg_curl_failed(w->reg, rc ? rc : CURLE_GOT_NOTHING);
	}
	curl_easy_cleanup(h);
	curl_slist_free_all(headers);
	free(body);
}

/* Sleeps, unless the watch stops: curl_multi_wakeup() ends the wait. */
static void watch_pause(struct reg_watch *w, unsigned int ms)
{
	int64_t until = reg_now_ms() + ms, left;

	while (!atomic_load(&w->stop) && (left = until - reg_now_ms()) > 0)
		curl_multi_poll(w->multi, NULL, 0, (int)left, NULL);
}

static void *watch_run(void *arg)
{
	struct reg_watch *w = arg;
	unsigned int pause = BACKOFF_MIN_MS, jitter;

	while (!atomic_load(&w->stop)) {
		bool listed = w->next || !watch_list(w);

		w->created = false;
		if (listed)
			watch_stream(w);
		pause = w->created || (listed && !w->next) ? BACKOFF_MIN_MS : pause * 2;
		if (pause > BACKOFF_MAX_MS)
			pause = BACKOFF_MAX_MS;
		random_bytes(&jitter, sizeof(jitter));
		watch_pause(w, pause + jitter % pause);
	}
	return NULL;
}

/* ---- public ---- */

static void watch_free(struct reg_watch *w)
{
	while (w->nknown)
		free(w->known[--w->nknown]);
	free(w->known);
	free(w->line);
	free(w->prefix);
	if (w->multi)
		curl_multi_cleanup(w->multi);
	free(w);
}

int registry_watch(struct registry *reg, struct reg_watch **out, const char *prefix,
		   reg_watch_fn *fn, void *arg)
{
	struct reg_watch *w = calloc(1, sizeof(*w));
	int rc = -ENOMEM;

	if (!w)
		return rc;
	w->reg = reg;
	w->fn = fn;
	w->arg = arg;
	w->prefix = strdup(prefix);
	w->multi = curl_multi_init();
	if (w->prefix && w->multi)
		rc = -pthread_create(&w->thread, NULL, watch_run, w);
	if (rc) {
		watch_free(w);
		return rc;
	}
	pthread_mutex_lock(&reg->lock);
	w->next_watch = reg->watches;
	reg->watches = w;
	pthread_mutex_unlock(&reg->lock);
	*out = w;
	return 0;
}

void registry_unwatch(struct reg_watch *watch)
{
	struct reg_watch **at;

	if (!watch)
		return;
	atomic_store(&watch->stop, true);
	curl_multi_wakeup(watch->multi);
	pthread_join(watch->thread, NULL);
	pthread_mutex_lock(&watch->reg->lock);
	for (at = &watch->reg->watches; *at && *at != watch; at = &(*at)->next_watch)
		;
	if (*at)
		*at = watch->next_watch;
	pthread_mutex_unlock(&watch->reg->lock);
	watch_free(watch);
}
