/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reseal_walk.c -- one walk over a bucket's versions, the parts of those that are made of parts, and the parts of uploads, page by
 * page; see reseal.h.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/meta.h"
#include "http/store/reseal.h"
#include "http/store/sealed.h"
#include "lib/log.h"
#include "lib/sealing.h"

#define PAGE  50 /* entries; each takes 11 KB here */
#define TRIES 10 /* others change the same entry: an endpoint that fetched the data, a client its tags */

struct page {
	struct name_entry entries[PAGE];
	unsigned int n;
};

struct walk {
	struct reseal_task *task;
	json_t *keys;
	struct page *objects, *parts;
	struct names_page page;
	char after[NAMES_KEY_MAX + 1], after_version[NAMES_MARKER_MAX + 1];
	struct name_entry now; /* an entry that changed since it was listed */
	char meta[NAMES_META_MAX + 1];
};

static int take(void *arg, const char *bucket, const struct name_entry *e)
{
	struct page *p = arg;

	(void)bucket;
	if (p->n < PAGE)
		names_entry_copy(&p->entries[p->n++], e);
	return 0;
}

static int rest(struct walk *w)
{
	return !w->task->rest || w->task->rest(w->task->arg) ? 0 : -EAGAIN;
}

/* ---- one entry ---- */

/* May it have a sealed key? User metadata may look like it; who looks closely reads the meta. */
static bool may_be_sealed(const struct name_entry *e)
{
	return e->meta_len && strstr(e->meta, "\"" S3_META_KEY "\":");
}

static void count(json_t *keys, const char *kid, const char *what, json_int_t n, const char *where)
{
	json_t *one = json_object_get(keys, kid);

	if (!one) {
		one = json_pack("{s:i, s:i, s:i, s:i, s:s}", "objects", 0, "parts", 0, "lost", 0,
				"full", 0, "where", where);
		json_object_set_new(keys, kid, one);
	}
	json_object_set_new(one, what, json_integer(json_integer_value(json_object_get(one, what)) + n));
}

/* What becomes of a key. */
enum fate {
	FATE_GOOD,
	FATE_LOST, /* no sealing key that is here opens it */
	FATE_FULL, /* it opens, and the meta has no room for the newest one's name */
};

/* w->meta: with its key sealed by the newest, kid. Not FATE_GOOD: it stays as it is. Or -errno. */
static int seal_anew(struct walk *w, const struct name_entry *e, json_t *meta, char kid[SEALING_KID_MAX])
{
	char about[SEALED_ABOUT], text[SEALED_TEXT_MAX(SEALED_KEY)];
	struct version version;
	uint8_t key[SEALED_KEY];
	long n;
	int rc;

	if (version_parse(&version, e->version))
		return FATE_LOST;
	sealed_about(&version, about);
	n = users_unseal(w->task->users, about, s3_meta_text(meta, S3_META_KEY), key, sizeof(key));
	rc = n != sizeof(key)
		     ? FATE_LOST
		     : users_seal(w->task->users, about, key, sizeof(key), text, sizeof(text));
	OPENSSL_cleanse(key, sizeof(key));
	if (!rc)
		rc = sealing_kid(text, kid);
	if (!rc && json_object_set_new(meta, S3_META_KEY, json_string(text)))
		rc = -ENOMEM;
	if (!rc && s3_meta_write(meta, w->meta, sizeof(w->meta))) {
		log_limited(LOG_LEVEL_WARN, 10, "bucket %s: %s keeps its sealing key: its metadata leave no room for the newer one's name",
			    w->task->bucket, e->key);
		rc = FATE_FULL;
	}
	return rc;
}

/* kid: by which it is sealed in the end, "": by none. -ECANCELED: it has changed, look again. */
static int look_once(struct walk *w, const char *key, const struct name_entry *e,
		     char kid[SEALING_KID_MAX], enum fate *fate)
{
	json_t *meta = s3_meta_read(e->meta_len ? e->meta : "");
	const char *text = s3_meta_text(meta, S3_META_KEY);
	char anew[SEALING_KID_MAX];
	int rc = 0;

	kid[0] = '\0';
	*fate = FATE_GOOD;
	if (text && !strcmp(text, S3_META_KEY_PARTS)) {
		; /* its parts have keys */
	} else if (text && sealing_kid(text, kid)) {
		strcpy(kid, "?");
		*fate = FATE_LOST;
	} else if (*kid && strcmp(kid, w->task->newest) && w->task->change) {
		rc = seal_anew(w, e, meta, anew);
		*fate = rc > 0 ? (enum fate)rc : FATE_GOOD;
		if (!rc)
			rc = names_set_meta_here(w->task->names, w->task->bucket, key, e, w->meta);
		if (!rc) {
			w->task->resealed++;
			strcpy(kid, anew);
		}
		rc = rc == -ENOENT || rc > 0 ? 0 : rc;
	}
	json_decref(meta);
	return rc;
}

/* key: the object's. */
static int look(struct walk *w, const char *key, const struct name_entry *e)
{
	char kid[SEALING_KID_MAX], where[NAMES_BUCKET_MAX + NAMES_KEY_MAX + 2];
	enum fate fate = FATE_GOOD;
	int rc = 0;

	w->task->looked++;
	if (!may_be_sealed(e))
		return 0;
	for (int i = 0; i < TRIES; i++) {
		rc = look_once(w, key, e, kid, &fate);
		if (rc != -ECANCELED && rc != -ETIMEDOUT)
			break;
		rc = names_find(w->task->names, w->task->bucket, e->version, &w->now);
		if (rc == -ENOENT || (!rc && !w->now.meta_len))
			return 0; /* it is gone */
		if (rc)
			break;
		e = &w->now;
		rc = -EAGAIN;
	}
	snprintf(where, sizeof(where), "%s/%s", w->task->bucket, key);
	if (!rc && *kid)
		count(w->keys, kid, e->part ? "parts" : "objects", 1, where);
	if (!rc && fate)
		count(w->keys, kid, fate == FATE_LOST ? "lost" : "full", 1, where);
	return rc;
}

/* ---- the walk ---- */

/* Of an upload, or of the object that it became. */
static int walk_parts(struct walk *w, const char *key, const char *id)
{
	unsigned int after = 0;
	bool more = true;
	int rc = 0;

	while (!rc && more) {
		w->parts->n = 0;
		rc = names_parts(w->task->names, w->task->bucket, id, after, PAGE, true, take, w->parts, &more);
		for (unsigned int i = 0; i < w->parts->n && !rc; i++)
			rc = look(w, key, &w->parts->entries[i]);
		more &= w->parts->n > 0;
		if (more)
			after = w->parts->entries[w->parts->n - 1].part;
		if (!rc && more)
			rc = rest(w);
	}
	return rc;
}

static int walk_page(struct walk *w, bool uploads)
{
	int rc = 0;

	for (unsigned int i = 0; i < w->objects->n && !rc; i++) {
		const struct name_entry *e = &w->objects->entries[i];

		if (uploads || e->nparts) /* each part says of itself what it is (parts.c) */
			rc = walk_parts(w, e->key, e->version);
		else if (!e->marker)
			rc = look(w, e->key, e);
	}
	return rc;
}

static int walk(struct walk *w, bool uploads)
{
	struct names_select s = { .after = w->after, .after_version = w->after_version, .limit = PAGE, .meta = true };
	int rc = 0;

	w->after[0] = w->after_version[0] = '\0';
	w->page.more = true;
	while (!rc && w->page.more) {
		w->objects->n = 0;
		rc = (uploads ? names_uploads : names_versions)(w->task->names, w->task->bucket, &s, take, NULL, w->objects, &w->page);
		strcpy(w->after, w->page.next);
		strcpy(w->after_version, w->page.next_version);
		if (!rc)
			rc = walk_page(w, uploads);
		if (!rc && w->page.more)
			rc = rest(w);
	}
	return rc;
}

static void add_keys(json_t *to, const json_t *from)
{
	const char *kid, *what;
	json_t *one, *n;

	json_object_foreach ((json_t *)from, kid, one)
		json_object_foreach (one, what, n)
			if (json_is_integer(n))
				count(to, kid, what, json_integer_value(n), json_string_value(json_object_get(one, "where")));
}

int reseal_walk(struct reseal_task *task)
{
	struct walk *w = calloc(1, sizeof(*w));
	int rc = w ? 0 : -ENOMEM;

	if (!rc) {
		w->task = task;
		w->keys = json_object();
		w->objects = malloc(sizeof(*w->objects));
		w->parts = malloc(sizeof(*w->parts));
		rc = w->keys && w->objects && w->parts ? 0 : -ENOMEM;
	}
	/* A write that changes nothing, and no closed bucket: behind it, nothing comes to light that a secondary alone has. */
	if (!rc)
		rc = names_bucket_open_if(task->names, task->bucket, INT64_MAX);
	if (!rc)
		rc = walk(w, true); /* uploads first: what is completed meanwhile is an object then */
	if (!rc)
		rc = walk(w, false);
	if (!rc)
		add_keys(task->keys, w->keys);
	if (w) {
		json_decref(w->keys);
		free(w->objects);
		free(w->parts);
	}
	free(w);
	return rc == -ECANCELED || rc == -ENOENT ? 0 : rc; /* closed: there is nothing in it */
}
