/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lifecycle.c -- one walk over a bucket's versions and uploads, page by page; see lifecycle.h.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/s3/lifecycle.h"
#include "http/s3/meta.h"
#include "http/store/endpoint.h"
#include "http/store/lifecycle.h"
#include "http/store/pace.h"
#include "lib/bucket.h"
#include "lib/log.h"
#include "lib/token.h"

#define PAGE	50 /* entries; each takes 11 KB here */
#define REST_MS 5  /* between pages: clients come first */

/* When a bucket was last looked through. */
struct seen {
	struct seen *next;
	char bucket[NAMES_BUCKET_MAX + 1];
	int64_t revision; /* of its record */
	time_t when;
};

struct lifecycle {
	struct endpoint *ep;
	pthread_t thread;
	struct pace pace;
	struct seen *seen; /* the thread's own */
};

/* One bucket's walk. */
struct walk {
	struct lifecycle *l; /* NULL: no rests */
	struct names *names;
	const struct lifecycle_task *task;
	const char *bucket;
	const struct s3_lifecycle *rules;
	int64_t now;
	/* a page */
	struct name_entry *entries;
	unsigned int count;
	struct names_page page;
	char after[NAMES_KEY_MAX + 1], after_version[NAMES_MARKER_MAX + 1];
	/* the entry before: what is decided of it may need the next one */
	struct name_entry before;
	bool has_before;
	int64_t before_since; /* when the next newer version of its key came; 0: it is current */
	unsigned int before_newer;
	unsigned long expired, removed, aborted;
};

static int take(void *arg, const char *bucket, const struct name_entry *e)
{
	struct walk *w = arg;

	(void)bucket;
	if (w->count < PAGE)
		w->entries[w->count++] = *e;
	return 0;
}

/* A walk may take hours. Whoever has taken a rule away, or keeps versions from now on, was told so. */
static bool holds(const struct walk *w)
{
	return !w->task->holds || w->task->holds(w->task->arg);
}

/* ---- objects ---- */

static enum s3_expiry look(struct walk *w, bool alone)
{
	const struct name_entry *e = &w->before;
	json_t *meta = e->meta_len ? s3_meta_read(e->meta) : NULL;
	struct s3_lifecycle_entry about = {
		.key = e->key,
		.tags = json_object_get(meta, S3_META_TAGS),
		.size = e->size,
		.modified = e->modified,
		.current = e->current,
		.marker = e->marker,
		.noncurrent_since = w->before_since,
		.noncurrent_newer = w->before_newer,
		.alone = alone,
	};
	enum s3_expiry what = s3_lifecycle_look(w->rules, &about, w->now);

	json_decref(meta);
	return what;
}

/* What the rules say of the entry before. next: the one behind it, NULL: none. 0, or why the walk
 * ends. */
static int decide(struct walk *w, const struct name_entry *next)
{
	const struct name_entry *e = &w->before;
	struct names_how how = { .mode = w->task->mode, .if_seq = e->seq };
	bool alone = !next || strcmp(next->key, e->key) != 0;
	const char *version = e->null_version ? "null" : e->version;
	enum s3_expiry what;
	int rc;

	if (!w->has_before)
		return 0;
	what = look(w, e->current && e->marker && alone);
	if (what == S3_KEEP)
		return 0;
	if (!holds(w))
		return -ESTALE;
	rc = names_delete_with(w->names, w->bucket, e->key, what == S3_EXPIRE ? NULL : version,
			       &how, NULL);
	if (!rc && what == S3_EXPIRE)
		w->expired++;
	else if (!rc)
		w->removed++;
	/* Somebody changed it meanwhile: the next round looks again. */
	return rc == -ECANCELED || rc == -ENOENT ? 0 : rc;
}

static void step(struct walk *w, const struct name_entry *next)
{
	bool same = w->has_before && !strcmp(w->before.key, next->key);

	w->before_newer = same ? w->before_newer + !w->before.current : 0;
	w->before_since = same ? w->before.modified : 0;
	w->before = *next;
	w->has_before = true;
}

static int walk_objects(struct walk *w)
{
	struct names_select s = {
		.after = w->after, .after_version = w->after_version, .limit = PAGE, .meta = true
	};
	int rc = 0;

	w->after[0] = w->after_version[0] = '\0';
	w->has_before = false;
	do {
		w->count = 0;
		rc = names_versions(w->names, w->bucket, &s, take, NULL, w, &w->page);
		strcpy(w->after, w->page.next);
		strcpy(w->after_version, w->page.next_version);
		for (unsigned int i = 0; i < w->count && !rc; i++) {
			rc = decide(w, &w->entries[i]);
			step(w, &w->entries[i]);
		}
		if (!rc && w->page.more && w->l && !pace_wait(&w->l->pace, REST_MS))
			rc = -EAGAIN;
	} while (!rc && w->page.more);
	return rc ? rc : decide(w, NULL);
}

/* ---- uploads ---- */

static int walk_uploads(struct walk *w)
{
	struct names_select s = { .after = w->after,
				  .after_version = w->after_version,
				  .limit = PAGE };
	int rc = 0;

	w->after[0] = w->after_version[0] = '\0';
	do {
		w->count = 0;
		rc = names_uploads(w->names, w->bucket, &s, take, NULL, w, &w->page);
		strcpy(w->after, w->page.next);
		strcpy(w->after_version, w->page.next_version);
		for (unsigned int i = 0; i < w->count && !rc; i++) {
			const struct name_entry *e = &w->entries[i];

			if (!s3_lifecycle_abort(w->rules, e->key, e->modified, w->now))
				continue;
			if (!holds(w))
				return -ESTALE;
			rc = names_upload_abort(w->names, w->bucket, e->key, e->version);
			w->aborted += !rc;
			rc = rc == -ENOENT ? 0 : rc;
		}
		if (!rc && w->page.more && w->l && !pace_wait(&w->l->pace, REST_MS))
			rc = -EAGAIN;
	} while (!rc && w->page.more);
	return rc;
}

/* ---- buckets ---- */

/* The files of a dataset are the upload service's. A bucket may have had rules before it became one. */
static bool is_datasets(const struct walk *w)
{
	return w->l && users_dataset(w->l->ep->users, w->bucket);
}

static int walk(struct walk *w)
{
	int rc = 0;

	if (is_datasets(w))
		;
	else if (s3_lifecycle_objects(w->rules) || s3_lifecycle_versions(w->rules))
		rc = walk_objects(w);
	if (!rc && s3_lifecycle_uploads(w->rules))
		rc = walk_uploads(w);
	if (w->expired || w->removed || w->aborted)
		log_info("bucket %s: lifecycle: %lu objects expired, %lu versions removed, %lu "
			 "uploads aborted",
			 w->bucket, w->expired, w->removed, w->aborted);
	if (rc == -ESTALE)
		log_info("bucket %s: lifecycle: the bucket's rules or versioning changed; it begins anew", w->bucket);
	else if (rc)
		log_limited(LOG_LEVEL_WARN, 10, "bucket %s: lifecycle: stopped, later again: %s",
			    w->bucket, names_error());
	return rc;
}

int lifecycle_walk(struct lifecycle *l, struct names *names, const struct lifecycle_task *task)
{
	json_t *json = json_loads(task->rules, 0, NULL);
	struct walk *w = calloc(1, sizeof(*w));
	struct s3_lifecycle *compiled = NULL;
	int rc = !w ? -ENOMEM : !json ? -EINVAL : s3_lifecycle_compile(&compiled, json);

	if (rc == -EINVAL)
		log_limited(LOG_LEVEL_ERROR, 10,
			    "bucket %s: its lifecycle rules are not understood", task->bucket);
	if (!rc && compiled) {
		w->l = l;
		w->names = names;
		w->task = task;
		w->bucket = task->bucket;
		w->rules = compiled;
		w->now = task->now;
		w->entries = malloc(PAGE * sizeof(*w->entries));
		rc = w->entries ? walk(w) : -ENOMEM;
		free(w->entries);
	}
	json_decref(json);
	s3_lifecycle_free(compiled);
	free(w);
	return rc;
}

static enum names_mode mode_of(const struct bucket *b)
{
	return b->versioning == VERSIONING_ENABLED     ? NAMES_VERSIONED
	       : b->versioning == VERSIONING_SUSPENDED ? NAMES_SUSPENDED
						       : NAMES_PLAIN;
}

static struct seen *seen_of(struct lifecycle *l, const char *bucket)
{
	struct seen *s = l->seen;

	while (s && strcmp(s->bucket, bucket))
		s = s->next;
	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	strcpy(s->bucket, bucket);
	s->next = l->seen;
	l->seen = s;
	return s;
}

/* What the walk of one record is by. */
struct record {
	struct users *users;
	const struct bucket *bucket;
};

static bool record_holds(void *arg)
{
	const struct record *r = arg;
	const struct bucket *b = users_bucket(r->users, r->bucket->name);
	bool same = b && b->revision == r->bucket->revision;

	bucket_put(b);
	return same;
}

static void bucket_look(struct lifecycle *l, const struct bucket *b)
{
	time_t now = time(NULL);
	struct record record = { l->ep->users, b };
	struct lifecycle_task task = { .bucket = b->name,
				       .mode = mode_of(b),
				       .rules = b->part[BUCKET_LIFECYCLE],
				       .now = now,
				       .holds = record_holds,
				       .arg = &record };
	struct seen *s;
	int rc;

	if (!b->part[BUCKET_LIFECYCLE] || !names_is_primary(l->ep->names, b->name))
		return;
	s = seen_of(l, b->name);
	if (!s ||
	    (s->revision == b->revision && now - s->when < LIFECYCLE_ROUND_S && now >= s->when))
		return;
	rc = lifecycle_walk(l, l->ep->names, &task);
	if (rc && rc != -EINVAL)
		return; /* the next tick tries again */
	s->revision = b->revision;
	s->when = now;
}

static void *run(void *arg)
{
	struct lifecycle *l = arg;

	while (pace_wait(&l->pace, LIFECYCLE_TICK_S * 1000)) {
		json_t *status = names_status(l->ep->names);
		const json_t *line;
		size_t i;

		json_array_foreach (json_object_get(status, "buckets"), i, line) {
			const struct bucket *b = users_bucket(
				l->ep->users, json_string_value(json_object_get(line, "name")));

			if (b)
				bucket_look(l, b);
			bucket_put(b);
		}
		json_decref(status);
	}
	return NULL;
}

int lifecycle_new(struct lifecycle **out, struct endpoint *ep)
{
	struct lifecycle *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return -ENOMEM;
	l->ep = ep;
	pace_init(&l->pace);
	rc = -pthread_create(&l->thread, NULL, run, l);
	if (rc)
		free(l);
	else
		*out = l;
	return rc;
}

void lifecycle_free(struct lifecycle *l)
{
	struct seen *next;

	if (!l)
		return;
	pace_stop(&l->pace);
	pthread_join(l->thread, NULL);
	for (; l->seen; l->seen = next) {
		next = l->seen->next;
		free(l->seen);
	}
	pace_destroy(&l->pace);
	free(l);
}
