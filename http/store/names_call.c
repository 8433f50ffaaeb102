/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_call.c -- what callers ask: found out who orders the bucket, done here or asked there,
 * tried again while the installation rearranges itself and time is left.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"
#include "lib/hash.h"

#define TRY_MS 4000 /* one try at another node; a stopped one must not use up all the time */

struct pause {
	int64_t deadline, ms;
};

/* Waits a little before the next try; false: the time is over. */
static bool pause_next(struct names *n, struct pause *p)
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

static struct pause pause_begin(void)
{
	return (struct pause){ .deadline = now_ms() + NAMES_TIMEOUT_MS, .ms = 20 };
}

/* The bucket and its record; with create it is made when there is none. */
static int route(struct names *n, const char *name, bool create, struct bucket **b,
		 struct bucket_view *v)
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

/* Another node's refusal may tell who the primary is; the registry knows better. */
static void route_again(struct names *n, struct bucket *b, const json_t *answer)
{
	record_hear(n, b, answer);
	record_refresh(n, b);
}

/* ---- writes ---- */
struct sync_write {
	struct names *n;
	bool done;
};

static void sync_complete(struct write *w)
{
	struct sync_write *s = w->arg;

	pthread_mutex_lock(&s->n->lock);
	s->done = true;
	pthread_cond_broadcast(&s->n->changed);
	pthread_mutex_unlock(&s->n->lock);
}

int write_here(struct names *n, struct bucket *b, struct write *w)
{
	struct sync_write s = { .n = n };

	w->complete = sync_complete;
	w->arg = &s;
	w->maybe = false;
	bucket_enqueue(n, b, w);
	pthread_mutex_lock(&n->lock);
	while (!s.done) {
		bool stopping = n->stopping;

		names_wait(n, now_ms() + 500);
		if (s.done || !stopping)
			continue;
		pthread_mutex_unlock(&n->lock);
		bucket_expire(n, b, true); /* nobody else looks after the queue any more */
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	if (w->rc)
		names_fail("%s", w->why);
	return w->rc;
}

static json_t *write_encode(const struct bucket *b, const struct write *w, int64_t wait_ms)
{
	json_t *o, *ideal;

	if (w->kind == WRITE_DELETE)
		return json_pack("{s:s s:s s:s s:s? s:I}", "bucket", b->name, "key", w->entry.key,
				 "version", w->entry.version, "if_match", w->if_match, "wait_ms",
				 (json_int_t)wait_ms);
	ideal = json_array();
	for (unsigned int i = 0; i < w->nideal; i++)
		json_array_append_new(ideal, json_string(w->ideal[i]));
	o = json_pack("{s:s s:o s:o s:s? s:s? s:I}", "bucket", b->name, "entry",
		      names_entry_encode(&w->entry), "ideal", ideal, "if_match", w->if_match,
		      "if_none_match", w->if_none_match, "wait_ms", (json_int_t)wait_ms);
	return o;
}

/* One try at the primary. */
static int write_there(struct names *n, struct bucket *b, const char *primary, struct write *w)
{
	int64_t left = w->deadline - now_ms();
	int64_t wait = left < TRY_MS ? left : TRY_MS;
	struct name_entry e;
	json_t *answer;
	int rc;

	if (wait < 100)
		wait = 100;
	rc = node_post(n, primary, w->kind == WRITE_PUT ? "put" : "delete",
		       write_encode(b, w, wait - 50), &answer, (unsigned int)wait);
	if (!rc) {
		rc = names_entry_decode(&e, json_object_get(answer, "entry")) ? -EPROTO : 0;
		if (!rc) {
			w->entry = e;
			w->replaced = json_is_true(json_object_get(answer, "replaced"));
		}
	} else if (rc == -ESTALE || rc == -ENOTCONN || rc == -ETIMEDOUT) {
		route_again(n, b, answer);
	}
	json_decref(answer);
	return rc;
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

		rc = route(n, bucket, w->kind == WRITE_PUT, &b, &v);
		if (rc == -EAGAIN)
			continue;
		if (rc)
			return rc;
		if (!strcmp(v.record.primary, n->node))
			rc = write_here(n, b, w);
		else
			rc = write_there(n, b, v.record.primary, w);
		/* These were decided from the bucket's order, in which an earlier try would have
		 * been found by its version. A full disk was not. */
		if (!rc || rc == -ECANCELED || rc == -ENOENT || rc == -EINVAL)
			return rc;
		if (rc == -ENOSPC)
			return maybe ? -ETIMEDOUT : rc;
		/* Refused for certain, or not: then a later certain refusal says nothing about this
		 * try. */
		maybe |= rc != -EAGAIN && rc != -ENOTCONN;
		/* Nothing is begun after the caller's time, also when this program was stopped
		 * meanwhile. */
	} while (pause_next(n, &p) && now_ms() < p.deadline);
	return maybe ? -ETIMEDOUT : -EAGAIN;
}

static int write_conditions(struct write *w, const char *if_match, const char *if_none_match)
{
	if ((if_match && !(w->if_match = strdup(if_match))) ||
	    (if_none_match && !(w->if_none_match = strdup(if_none_match))))
		return -ENOMEM;
	return 0;
}

int names_put(struct names *n, const char *bucket, struct name_entry *entry,
	      const char *const *ideal, size_t nideal, const char *if_match,
	      const char *if_none_match, bool *replaced)
{
	struct write *w = write_new(WRITE_PUT);
	int rc = w ? write_conditions(w, if_match, if_none_match) : -ENOMEM;

	if (!rc && (names_entry_check(entry) || nideal > NAMES_HOLDERS_MAX)) {
		names_fail("the object's name, version or holders are not acceptable");
		rc = -EINVAL;
	}
	for (size_t i = 0; i < nideal && !rc; i++) {
		if (names_node_valid(ideal[i]))
			strcpy(w->ideal[w->nideal++], ideal[i]);
		else
			rc = -EINVAL;
	}
	if (!rc) {
		w->entry = *entry;
		w->entry.deleted = false;
		rc = write_route(n, bucket, w);
	}
	if (!rc) {
		*entry = w->entry;
		*replaced = w->replaced;
	}
	write_free(w);
	return rc;
}

int names_delete(struct names *n, const char *bucket, const char *key, const char *if_match)
{
	struct write *w = write_new(WRITE_DELETE);
	uint8_t version[16];
	int rc = w ? write_conditions(w, if_match, NULL) : -ENOMEM;

	if (!rc && !names_key_valid(key)) {
		names_fail("this is not a name for an object");
		rc = -EINVAL;
	}
	if (!rc) {
		random_bytes(version, sizeof(version));
		hex_encode(version, sizeof(version), w->entry.version);
		strcpy(w->entry.key, key);
		rc = write_route(n, bucket, w);
	}
	write_free(w);
	return rc;
}

/* ---- reads ---- */

/* The lease that is now certain may be a new one: others may have taken over while it was lost.
 * Reads the membership first: while it is there nobody can take over, so the record read after it
 * is the present one. */
static int read_verify(struct names *n, struct bucket *b, uint64_t term, uint64_t epoch)
{
	char key[160];
	struct bucket_view v;
	struct reg_kv kv;
	int rc;

	snprintf(key, sizeof(key), REG_MEMBERS "endpoint/%s", n->node);
	rc = registry_get(n->registry, key, &kv);
	if (rc)
		return -EAGAIN;
	reg_kv_free(&kv);
	rc = record_refresh(n, b);
	if (rc)
		return rc == -ENOENT ? -ESTALE : rc;
	bucket_view(n, b, &v);
	if (strcmp(v.record.primary, n->node) || v.record.epoch != epoch)
		return -ESTALE;
	pthread_mutex_lock(&n->lock);
	b->verified_term = term;
	pthread_mutex_unlock(&n->lock);
	return 0;
}

int read_certain(struct names *n, struct bucket *b)
{
	struct bucket_view v;
	uint64_t term = 0, verified;
	bool certain;
	int rc;

	bucket_view(n, b, &v);
	if (!v.known || strcmp(v.record.primary, n->node))
		return -ESTALE;
	if (!v.has_meta || v.meta.state != NAMES_STATE_COMPLETE || v.meta.epoch != v.record.epoch ||
	    strcmp(v.meta.primary, n->node)) {
		bucket_schedule(n, b);
		names_fail("bucket %s is being opened", b->name);
		return -EAGAIN;
	}
	/* Nobody else has a copy that could take over. */
	if (!v.record.secondary[0] && !v.unsure && (v.mod_revision || !nodes_others(n)))
		return 0;
	pthread_mutex_lock(&n->lock);
	certain = n->lease && registry_lease_certain(n->lease, &term);
	verified = b->verified_term;
	pthread_mutex_unlock(&n->lock);
	if (certain && verified == term)
		return 0;
	if (certain) {
		rc = read_verify(n, b, term, v.record.epoch);
		if (rc != -EAGAIN)
			return rc;
	}
	names_fail("the registry is silent, and a change of bucket %s was under way", b->name);
	if (v.unsure || !v.record.secondary[0])
		return -EAGAIN;
	rc = second_confirm(n, b, v.record.secondary, v.record.epoch);
	if (rc == -ESTALE) {
		record_refresh(n, b);
		return rc;
	}
	if (rc)
		names_fail("neither the registry nor %s can be asked who orders bucket %s",
			   v.record.secondary, b->name);
	return rc ? -EAGAIN : 0;
}

/* Is this node the primary (then *epoch), by a term that was verified already? Asks nobody. */
static bool certain_now(struct names *n, struct bucket *b, uint64_t *epoch)
{
	struct bucket_view v;
	uint64_t term = 0;
	bool certain;

	bucket_view(n, b, &v);
	*epoch = v.meta.epoch;
	if (!v.known || !v.has_meta || v.meta.state != NAMES_STATE_COMPLETE ||
	    v.meta.epoch != v.record.epoch || strcmp(v.record.primary, n->node) ||
	    strcmp(v.meta.primary, n->node))
		return false;
	if (!v.record.secondary[0] && !v.unsure && (v.mod_revision || !nodes_others(n)))
		return true;
	pthread_mutex_lock(&n->lock);
	certain = n->lease && registry_lease_certain(n->lease, &term) && b->verified_term == term;
	pthread_mutex_unlock(&n->lock);
	return certain;
}

struct read {
	struct names *n;
	const char *bucket, *key;
	struct name_entry *entry;
	const struct listing *list;
	names_entry_fn *fn;
	void *arg;
	bool *more;
};

static int read_txn(struct names_txn *t, void *arg)
{
	struct read *r = arg;
	struct names_meta meta;
	int rc = names_meta_get(t, r->bucket, &meta);

	if (rc || meta.state != NAMES_STATE_COMPLETE || strcmp(meta.primary, r->n->node))
		return rc && rc != -ENOENT ? rc : -ESTALE;
	if (r->list)
		return names_scan(t, meta.id, r->bucket, r->list->prefix, r->list->after,
				  r->list->limit, r->fn, r->arg, r->more);
	rc = names_row_find(t, meta.id, r->key, r->entry);
	return !rc && r->entry->deleted ? -ENOENT : rc;
}

/* Reads, then makes sure that nobody had taken over by then: the other way round, a program that was
 * stopped in between would answer from the past. A listing is checked before too, because what it
 * told cannot be taken back. */
static int read_run(struct read *r)
{
	struct bucket *b = bucket_find(r->n, r->bucket);
	struct bucket_view before, after;
	int rc = b ? 0 : -EAGAIN, certain;

	if (!rc && r->list)
		rc = read_certain(r->n, b);
	if (!rc) {
		bucket_view(r->n, b, &before);
		rc = names_db_read(r->n->db, read_txn, r);
		certain = read_certain(r->n, b);
		bucket_view(r->n, b, &after);
		if (certain)
			rc = certain;
		else if (after.meta.epoch != before.meta.epoch)
			rc = -EAGAIN;
	}
	if (rc == -ENOENT)
		names_fail("there is no such object");
	else if (rc == -ESTALE)
		names_fail("%s is not the primary of bucket %s", r->n->node, r->bucket);
	return rc;
}

int read_local(struct names *n, const char *bucket, const char *key, struct name_entry *entry)
{
	struct read r = { .n = n, .bucket = bucket, .key = key, .entry = entry };

	return read_run(&r);
}

int list_local(struct names *n, const char *bucket, const struct listing *l, names_entry_fn *fn,
	       void *arg, bool *more)
{
	struct read r = { .n = n, .bucket = bucket, .list = l, .fn = fn, .arg = arg, .more = more };

	return read_run(&r);
}

static int get_there(struct names *n, struct bucket *b, const char *primary, const char *key,
		     struct name_entry *entry)
{
	json_t *answer;
	int rc = node_post(n, primary, "get", json_pack("{s:s s:s}", "bucket", b->name, "key", key),
			   &answer, TRY_MS);

	if (!rc && names_entry_decode(entry, json_object_get(answer, "entry")))
		rc = -EPROTO;
	if (rc == -ESTALE || rc == -ENOTCONN || rc == -ETIMEDOUT)
		route_again(n, b, answer);
	json_decref(answer);
	return rc;
}

int names_get_now(struct names *n, const char *bucket, const char *key, struct name_entry *entry)
{
	struct read r = { .n = n, .bucket = bucket, .key = key, .entry = entry };
	uint64_t before, after;
	struct bucket *b;
	int rc;

	if (!names_bucket_valid(bucket) || !names_key_valid(key))
		return -EWOULDBLOCK;
	b = bucket_look(n, bucket);
	if (!b || !certain_now(n, b, &before))
		return -EWOULDBLOCK;
	rc = names_db_read(n->db, read_txn, &r);
	if (!certain_now(n, b, &after) || after != before)
		return -EWOULDBLOCK; /* stopped in between, see read_run() */
	if (rc == -ENOENT)
		names_fail("there is no such object");
	return !rc || rc == -ENOENT ? rc : -EWOULDBLOCK;
}

int names_get(struct names *n, const char *bucket, const char *key, struct name_entry *entry)
{
	struct pause p = pause_begin();
	int rc;

	if (!names_key_valid(key)) {
		names_fail("this is not a name for an object");
		return -EINVAL;
	}
	do {
		struct bucket_view v;
		struct bucket *b;

		rc = route(n, bucket, false, &b, &v);
		if (rc == -EAGAIN)
			continue;
		if (rc)
			return rc;
		if (!strcmp(v.record.primary, n->node))
			rc = read_local(n, bucket, key, entry);
		else
			rc = get_there(n, b, v.record.primary, key, entry);
		if (!rc || rc == -ENOENT || rc == -EINVAL)
			return rc;
	} while (pause_next(n, &p));
	return -EAGAIN;
}

/* ---- listings ---- */

static int entries_tell(const json_t *list, const char *bucket, names_entry_fn *fn, void *arg)
{
	const json_t *value;
	size_t i;

	json_array_foreach (list, i, value) {
		struct name_entry e;
		int rc = names_entry_decode(&e, value);

		if (!rc)
			rc = fn(arg, bucket, &e);
		if (rc)
			return rc;
	}
	return 0;
}

/* *told: fn saw something, so the page cannot be asked for again. */
static int list_there(struct names *n, struct bucket *b, const char *primary,
		      const struct listing *l, names_entry_fn *fn, void *arg, bool *more,
		      bool *told)
{
	json_t *answer, *o = json_pack("{s:s s:s s:s s:I}", "bucket", b->name, "prefix", l->prefix,
				       "after", l->after, "limit", (json_int_t)l->limit);
	int rc = node_post(n, primary, "list", o, &answer, TRY_MS);

	if (!rc && !json_is_array(json_object_get(answer, "entries")))
		rc = -EPROTO;
	if (!rc) {
		*told = true;
		*more = json_is_true(json_object_get(answer, "more"));
		rc = entries_tell(json_object_get(answer, "entries"), b->name, fn, arg);
	} else if (rc == -ESTALE || rc == -ENOTCONN || rc == -ETIMEDOUT) {
		route_again(n, b, answer);
	}
	json_decref(answer);
	return rc;
}

struct tell {
	names_entry_fn *fn;
	void *arg;
	bool told;
};

static int tell_one(void *arg, const char *bucket, const struct name_entry *e)
{
	struct tell *t = arg;

	t->told = true;
	return t->fn(t->arg, bucket, e);
}

int names_list(struct names *n, const char *bucket, const char *prefix, const char *after,
	       unsigned int limit, names_entry_fn *fn, void *arg, bool *more)
{
	struct pause p = pause_begin();
	struct tell t = { .fn = fn, .arg = arg };
	struct listing l = { .limit = limit && limit < NAMES_LIST_MAX ? limit : NAMES_LIST_MAX };
	int rc;

	*more = false;
	if ((prefix && strlen(prefix) > NAMES_KEY_MAX) ||
	    (after && strlen(after) > NAMES_KEY_MAX)) {
		names_fail("prefix and after are at most %d bytes long", NAMES_KEY_MAX);
		return -EINVAL;
	}
	strcpy(l.prefix, prefix ? prefix : "");
	strcpy(l.after, after ? after : "");
	do {
		struct bucket_view v;
		struct bucket *b;

		rc = route(n, bucket, false, &b, &v);
		if (rc == -EAGAIN)
			continue;
		if (rc)
			return rc;
		if (!strcmp(v.record.primary, n->node))
			rc = list_local(n, bucket, &l, tell_one, &t, more);
		else
			rc = list_there(n, b, v.record.primary, &l, fn, arg, more, &t.told);
		if (!rc || t.told || rc == -EINVAL || rc == -ENOENT)
			return rc == -ESTALE ? -EAGAIN : rc;
	} while (pause_next(n, &p));
	return -EAGAIN;
}
