/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_call.c -- what callers ask to be written: found out who orders the bucket, done here or
 * asked there, tried again while the installation rearranges itself and time is left.
 */
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/store/names_int.h"
#include "lib/clock.h"
#include "lib/hash.h"

bool pause_next(struct names *n, struct pause *p)
{
	int64_t until = now_ms() + p->ms;
	bool go;

	if (until > p->deadline)
		return false;
	p->ms = p->ms < 300 ? p->ms * 2 : 300;
	pthread_mutex_lock(&n->lock);
	while (!n->stopping && now_ms() < until)
		names_wait(n, until);
	go = !n->stopping;
	pthread_mutex_unlock(&n->lock);
	return go;
}

struct pause pause_begin(void)
{
	return (struct pause){ .deadline = now_ms() + NAMES_TIMEOUT_MS, .ms = 20 };
}

int route(struct names *n, const char *name, bool create, struct bucket **b, struct bucket_view *v)
{
	int rc = 0;

	*b = NULL;
	if (!names_bucket_valid(name)) {
		names_fail("%.80s is not a name for a bucket", name);
		return -EINVAL;
	}
	if (!create && !bucket_look(n, name)) {
		rc = record_exists(n, name);
		if (rc)
			return rc;
	}
	*b = bucket_find(n, name);
	if (!*b) {
		names_fail("this endpoint knows too many buckets");
		return -EAGAIN;
	}
	bucket_view(n, *b, v);
	if (!v->known) {
		rc = record_refresh(n, *b);
		if (rc == -ENOENT && create)
			rc = record_create(n, *b);
		bucket_view(n, *b, v);
		if (!rc && !v->known)
			rc = -EAGAIN;
	}
	return rc;
}

void route_again(struct names *n, struct bucket *b, const json_t *answer)
{
	record_hear(n, b, answer);
	record_refresh(n, b);
}

/* ---- writes ---- */
struct sync_write {
	sem_t done; /* its own: a condition shared by all writers would wake them all for each */
};

static void sync_complete(struct write *w)
{
	sem_post(&((struct sync_write *)w->arg)->done);
}

static bool sync_wait(struct sync_write *s, int64_t ms)
{
	struct timespec until = clock_in_ms(CLOCK_MONOTONIC, ms);

	while (sem_clockwait(&s->done, CLOCK_MONOTONIC, &until))
		if (errno != EINTR)
			return false;
	return true;
}

int write_here(struct names *n, struct bucket *b, struct write *w)
{
	struct sync_write s;

	sem_init(&s.done, 0, 0);
	w->complete = sync_complete;
	w->arg = &s;
	w->maybe = false;
	bucket_enqueue(n, b, w);
	while (!sync_wait(&s, 500)) {
		bool stopping;

		pthread_mutex_lock(&n->lock);
		stopping = n->stopping;
		pthread_mutex_unlock(&n->lock);
		if (stopping)
			bucket_expire(n, b, true); /* nobody else looks after the queue any more */
	}
	sem_destroy(&s.done);
	if (w->rc)
		names_fail("%s", w->why);
	return w->rc;
}

/* One try at the primary. */
static int write_there(struct names *n, struct bucket *b, const char *primary, struct write *w)
{
	int64_t left = w->deadline - now_ms();
	int64_t wait = left < TRY_MS ? left : TRY_MS;
	json_t *answer;
	int rc;

	if (wait < 100)
		wait = 100;
	rc = node_post(n, primary, "write", names_write_encode(b->name, w, wait - 50), &answer,
		       (unsigned int)wait);
	if (!rc) {
		rc = names_answer_decode(w, answer);
	} else if (rc == -ESTALE || rc == -ENOTCONN || rc == -ETIMEDOUT) {
		route_again(n, b, answer);
	}
	json_decref(answer);
	return rc;
}

/* Closing too: what is closed has a record that says so. */
static bool makes_bucket(const struct write *w)
{
	return w->kind == WRITE_PUT || w->kind == WRITE_UPLOAD || w->kind == WRITE_OPEN ||
	       w->kind == WRITE_CLOSE || (w->kind == WRITE_DELETE && w->mode && !*w->target);
}

/* These are decided from the bucket's order, in which an earlier try would have been found by its
 * id. */
static bool decided(int rc)
{
	return !rc || rc == -ECANCELED || rc == -ENOENT || rc == -EINVAL || rc == -ENOTEMPTY ||
	       rc == -EBADMSG || rc == -EMSGSIZE;
}

static int write_route(struct names *n, const char *bucket, struct write *w)
{
	struct pause p = pause_begin();
	bool maybe = false;
	int rc;

	w->deadline = p.deadline;
	do {
		struct bucket_view v;
		struct bucket *b;

		rc = route(n, bucket, makes_bucket(w), &b, &v);
		if (rc == -EAGAIN)
			continue;
		if (rc)
			return rc;
		if (!strcmp(v.record.primary, n->node))
			rc = write_here(n, b, w);
		else
			rc = write_there(n, b, v.record.primary, w);
		if (decided(rc))
			return rc;
		if (rc == -ENOSPC) /* this was not */
			return maybe ? -ETIMEDOUT : rc;
		/* Refused for certain, or not: then a later certain refusal says nothing about this
		 * try. */
		maybe |= rc != -EAGAIN && rc != -ENOTCONN;
		/* Nothing is begun after the caller's time, also when this program was stopped
		 * meanwhile. */
	} while (pause_next(n, &p) && now_ms() < p.deadline);
	return maybe ? -ETIMEDOUT : -EAGAIN;
}

static int write_how(struct write *w, const struct names_how *how)
{
	if (how->nideal > NAMES_HOLDERS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < how->nideal; i++) {
		if (!names_node_valid(how->ideal[i]))
			return -EINVAL;
		strcpy(w->ideal[w->nideal++], how->ideal[i]);
	}
	w->mode = how->mode;
	w->if_seq = how->if_seq;
	if ((how->if_match && !(w->if_match = strdup(how->if_match))) ||
	    (how->if_none_match && !(w->if_none_match = strdup(how->if_none_match))))
		return -ENOMEM;
	return 0;
}

void version_random(char out[33])
{
	uint8_t version[16];

	random_bytes(version, sizeof(version));
	version[15] |= 1; /* not a group */
	hex_encode(version, sizeof(version), out);
}

/* A write that has no data of its own: the operation's id in the version's place. */
static struct write *write_about(enum write_kind kind, const char *key, const char *target)
{
	struct write *w = write_new(kind);

	if (!w)
		return NULL;
	version_random(w->entry.version);
	/* What is too long is refused as not valid. */
	strncpy(w->entry.key, key, sizeof(w->entry.key) - 1);
	if (strlen(key) > NAMES_KEY_MAX)
		w->entry.key[0] = '\0';
	if (target)
		strncpy(w->target, target, sizeof(w->target) - 1);
	return w;
}

/* Runs it and frees it; 0: *entry (may be NULL) is what it says then. rc: why it is not to be run.
 */
static int write_do(struct names *n, const char *bucket, struct write *w, int rc,
		    struct name_entry *entry, bool *replaced)
{
	if (!rc && (!w || names_entry_check(&w->entry))) {
		names_fail("the object's name, version, holders or meta are not acceptable");
		rc = w ? -EINVAL : -ENOMEM;
	}
	if (!rc)
		rc = write_route(n, bucket, w);
	if (!rc && entry)
		names_entry_copy(entry, &w->entry);
	if (!rc && replaced)
		*replaced = w->replaced;
	write_free(w);
	return rc;
}

int write_put(struct write **out, const struct name_entry *entry, const struct names_how *how)
{
	struct write *w = write_new(WRITE_PUT);
	int rc = w ? write_how(w, how) : -ENOMEM;

	*out = w;
	if (rc)
		return rc;
	if (names_entry_check(entry)) {
		names_fail("the object's name, version, holders or meta are not acceptable");
		return -EINVAL;
	}
	names_entry_copy(&w->entry, entry);
	w->entry.deleted = w->entry.marker = false;
	w->entry.nparts = w->entry.part = 0;
	return 0;
}

int names_put_with(struct names *n, const char *bucket, struct name_entry *entry,
		   const struct names_how *how, bool *replaced)
{
	struct write *w;
	int rc = write_put(&w, entry, how);

	return write_do(n, bucket, w, rc, entry, replaced);
}

/* -ENOENT: nothing has a version that is none. */
static bool version_like(const char *version)
{
	uint8_t packed[16];

	return !version || !strcmp(version, "null") || !names_version_pack(packed, version);
}

int names_delete_with(struct names *n, const char *bucket, const char *key, const char *version,
		      const struct names_how *how, struct names_deleted *out)
{
	struct write *w = write_about(WRITE_DELETE, key, version);
	int rc = !w ? -ENOMEM : !version_like(version) ? -ENOENT : write_how(w, how);

	if (!rc && names_entry_check(&w->entry)) {
		names_fail("this is not a name for an object");
		rc = -EINVAL;
	}
	if (!rc)
		rc = write_route(n, bucket, w);
	if (!rc && out)
		*out = w->deleted;
	write_free(w);
	return rc;
}

int names_set_meta(struct names *n, const char *bucket, const char *key, const char *version,
		   uint64_t if_seq, const char *meta, struct name_entry *entry)
{
	struct write *w = write_about(WRITE_META, key, version);
	size_t len = strlen(meta);
	int rc = !w ? -ENOMEM : !version_like(version) ? -ENOENT : 0;

	if (!rc && len <= NAMES_META_MAX) {
		memcpy(w->entry.meta, meta, len + 1);
		w->entry.meta_len = (unsigned int)len;
		w->if_seq = if_seq;
	} else if (!rc) {
		names_fail("the meta is at most %d bytes long", NAMES_META_MAX);
		rc = -EINVAL;
	}
	return write_do(n, bucket, w, rc, entry, NULL);
}

int names_set_meta_here(struct names *n, const char *bucket, const char *key, const struct name_entry *entry, const char *meta)
{
	struct write *w = write_about(WRITE_META_HERE, key, entry->version);
	struct bucket *b = bucket_look(n, bucket);
	int rc = !w ? -ENOMEM : !b ? -ENOENT : strlen(meta) > NAMES_META_MAX ? -EINVAL : 0;

	if (!rc && !names_is_primary(n, bucket))
		rc = -EAGAIN;
	if (!rc) {
		w->entry.part = entry->part;
		w->if_seq = entry->seq;
		w->entry.meta_len = (unsigned int)strlen(meta);
		memcpy(w->entry.meta, meta, w->entry.meta_len + 1);
		rc = names_entry_check(&w->entry);
	}
	if (!rc)
		rc = write_here(n, b, w);
	write_free(w);
	return rc == -ESTALE ? -EAGAIN : rc; /* it has moved meanwhile */
}

/* ---- uploads ---- */

int names_upload_create(struct names *n, const char *bucket, struct name_entry *entry)
{
	struct write *w = write_new(WRITE_UPLOAD);

	if (w) {
		names_entry_copy(&w->entry, entry);
		w->entry.deleted = w->entry.marker = w->entry.null_version = false;
		w->entry.size = w->entry.nparts = w->entry.part = w->entry.nholders = 0;
		version_random(w->entry.version);
		strcpy(w->entry.version + 24, "00000000");
	}
	return write_do(n, bucket, w, w ? 0 : -ENOMEM, entry, NULL);
}

static int upload_check(const char *id)
{
	uint8_t packed[16];

	if (names_is_group(id) && !names_version_pack(packed, id))
		return 0;
	names_fail("there is no such upload");
	return -ENOENT;
}

int names_part_put(struct names *n, const char *bucket, const char *key, const char *id,
		   unsigned int number, struct name_entry *part, const struct names_how *how)
{
	struct write *w = write_about(WRITE_PART, key, id);
	int rc = !w ? -ENOMEM : upload_check(id);

	if (!rc) {
		char name[NAMES_KEY_MAX + 1];

		strcpy(name, w->entry.key);
		names_entry_copy(&w->entry, part);
		strcpy(w->entry.key, name);
		w->entry.deleted = w->entry.marker = false;
		w->entry.nparts = 0;
		w->entry.part = number;
		rc = write_how(w, how);
		if (!rc && (number < 1 || number > NAMES_PARTS_MAX ||
			    strncmp(part->version, id, 24) || names_is_group(part->version)))
			rc = -EINVAL;
	}
	return write_do(n, bucket, w, rc, part, NULL);
}

int names_upload_complete(struct names *n, const char *bucket, const char *key, const char *id,
			  const struct names_part *list, size_t nlist, uint64_t part_min,
			  struct name_entry *entry, const struct names_how *how, bool *replaced)
{
	struct write *w = write_about(WRITE_COMPLETE, key, id);
	int rc = !w ? -ENOMEM : upload_check(id);

	if (!rc && (nlist < 1 || nlist > NAMES_PARTS_MAX))
		rc = -EINVAL;
	for (size_t i = 0; i < nlist && !rc; i++)
		if (list[i].number < 1 || list[i].number > NAMES_PARTS_MAX ||
		    (i && list[i].number <= list[i - 1].number)) {
			names_fail("the parts are not in the order of their numbers");
			rc = -EINVAL;
		}
	if (!rc) {
		w->list = malloc(nlist * sizeof(*list));
		rc = w->list ? write_how(w, how) : -ENOMEM;
	}
	if (!rc) {
		memcpy(w->list, list, nlist * sizeof(*list));
		w->nlist = nlist;
		w->part_min = part_min;
		memcpy(w->entry.sha256, entry->sha256, sizeof(entry->sha256));
		strcpy(w->entry.etag, entry->etag);
		w->entry.meta_len = entry->meta_len;
		memcpy(w->entry.meta, entry->meta, entry->meta_len + 1);
	}
	return write_do(n, bucket, w, rc, entry, replaced);
}

int names_upload_abort(struct names *n, const char *bucket, const char *key, const char *id)
{
	struct write *w = write_about(WRITE_ABORT, key, id);

	return write_do(n, bucket, w, w ? upload_check(id) : -ENOMEM, NULL, NULL);
}

/* ---- buckets ---- */

int names_bucket_open_if(struct names *n, const char *bucket, uint64_t seq)
{
	struct write *w = write_about(WRITE_OPEN, "-", NULL);

	if (w)
		w->if_seq = seq;
	return write_do(n, bucket, w, 0, NULL, NULL);
}

int names_bucket_open(struct names *n, const char *bucket)
{
	return names_bucket_open_if(n, bucket, 0);
}

int names_bucket_close(struct names *n, const char *bucket)
{
	return write_do(n, bucket, write_about(WRITE_CLOSE, "-", NULL), 0, NULL, NULL);
}
