/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_record.c -- names/BUCKET in the registry: who orders a bucket. Every change is a
 * compare-and-swap that raises the epoch; the local copy follows once the outcome is certain.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"

struct key_text {
	char text[160];
};

static struct key_text names_key(const char *bucket)
{
	struct key_text k;

	snprintf(k.text, sizeof(k.text), REG_NAMES "%s", bucket);
	return k;
}

static struct key_text member_key(const char *node)
{
	struct key_text k;

	snprintf(k.text, sizeof(k.text), REG_MEMBERS "endpoint/%s", node);
	return k;
}

static bool same_record(const struct names_record *a, const struct names_record *b)
{
	return a->epoch == b->epoch && !strcmp(a->primary, b->primary) &&
	       !strcmp(a->secondary, b->secondary);
}

/* mod_revision 0: another node's word, good for finding the primary. Older news change nothing. */
void record_learn(struct names *n, struct bucket *b, const struct names_record *r,
		  int64_t mod_revision)
{
	bool newer, mine;

	pthread_mutex_lock(&n->lock);
	mine = b->known && !strcmp(b->record.primary, n->node);
	/* What was only heard yields to anything that the registry says. */
	newer = mod_revision ? mod_revision >= b->mod_revision
			     : !b->known || r->epoch > b->record.epoch;
	if (newer) {
		if (!b->known || r->epoch != b->record.epoch) {
			b->ready = false;
			b->failing_since = 0;
			b->not_before = 0;
		}
		b->record = *r;
		b->known = true;
		b->absent = false;
		/* Without a revision of its own a record cannot be swapped: the next change reads
		 * it first. */
		b->mod_revision = mod_revision;
		if (!mine && !strcmp(r->primary, n->node))
			atomic_fetch_add(&n->came, 1);
	}
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

void record_hear(struct names *n, struct bucket *b, const json_t *answer)
{
	const json_t *o = json_object_get(answer, "record");
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	struct names_record r;

	if (text && !names_record_decode(&r, text, strlen(text)))
		record_learn(n, b, &r, 0);
	free(text);
}

int record_exists(struct names *n, const char *bucket)
{
	struct key_text key = names_key(bucket);
	struct reg_kv kv;
	int rc = registry_get(n->registry, key.text, &kv);

	if (!rc)
		reg_kv_free(&kv);
	else if (rc == -ENOENT)
		names_fail("there is no bucket %s", bucket);
	else
		names_fail("the registry does not answer (%s)", registry_error());
	return rc && rc != -ENOENT ? -EAGAIN : rc;
}

int record_refresh(struct names *n, struct bucket *b)
{
	struct key_text key = names_key(b->name);
	struct names_record r;
	struct reg_kv kv;
	int rc = registry_get(n->registry, key.text, &kv);

	if (rc == -ENOENT) {
		pthread_mutex_lock(&n->lock);
		b->known = false;
		b->absent = true;
		b->mod_revision = 0;
		pthread_mutex_unlock(&n->lock);
		names_fail("there is no bucket %s", b->name);
		return rc;
	}
	if (rc) {
		names_fail("the registry does not answer (%s)", registry_error());
		return -EAGAIN;
	}
	rc = names_record_decode(&r, kv.value, kv.value_len);
	if (rc) {
		log_limited(LOG_LEVEL_ERROR, 2, "the registry's %s is not understood: %s", key.text,
			    kv.value);
		names_fail("the registry's record of bucket %s is damaged", b->name);
		rc = -EAGAIN;
	} else {
		record_learn(n, b, &r, kv.mod_revision);
	}
	reg_kv_free(&kv);
	return rc;
}

/* ---- the local copy follows ---- */
struct become {
	const char *bucket, *node;
	struct names_record record;
	struct names_meta meta;
};

static int become_txn(struct names_txn *t, void *arg)
{
	struct become *c = arg;
	int rc = names_meta_get(t, c->bucket, &c->meta);

	if (rc == -ENOENT) {
		memset(&c->meta, 0, sizeof(c->meta));
		if (c->record.epoch != 1)
			return -ESTALE; /* the bucket has a past that is not here */
		c->meta.state = NAMES_STATE_COMPLETE;
		rc = 0;
	}
	if (rc)
		return rc;
	if (c->meta.state != NAMES_STATE_COMPLETE || c->meta.epoch > c->record.epoch ||
	    c->meta.epoch + 1 < c->record.epoch ||
	    (c->meta.epoch == c->record.epoch && strcmp(c->meta.primary, c->node)))
		return -ESTALE;
	c->meta.epoch = c->record.epoch;
	strcpy(c->meta.primary, c->record.primary);
	strcpy(c->meta.secondary, c->record.secondary);
	return names_meta_put(t, c->bucket, &c->meta);
}

int record_become(struct names *n, struct bucket *b)
{
	struct become c = { .bucket = b->name, .node = n->node };
	int rc;

	pthread_mutex_lock(&n->lock);
	c.record = b->record;
	pthread_mutex_unlock(&n->lock);
	rc = names_db_write(n->db, become_txn, &c);
	if (rc) {
		names_fail("node %s is recorded as primary of bucket %s but its copy is not usable",
			   n->node, b->name);
		return rc;
	}
	bucket_meta_set(n, b, &c.meta);
	log_info("bucket %s: primary in epoch %llu, second copy at %s", b->name,
		 (unsigned long long)c.record.epoch,
		 c.record.secondary[0] ? c.record.secondary : "nobody");
	return 0;
}

/* ---- compare and swap ---- */

/* Tries to make the record `r`. 0 it is r, -ESTALE it is something else, -EINPROGRESS unknown.
 * gone: only while that node has no membership. */
static int record_swap(struct names *n, struct bucket *b, const struct names_record *r,
		       const char *gone)
{
	struct key_text key = names_key(b->name), member = member_key(gone ? gone : "");
	struct reg_cond conds[2] = { { .key = key.text }, { .key = member.text } };
	struct reg_change change = { .key = key.text };
	char *value = names_record_encode(r);
	struct bucket_view v;
	int64_t revision;
	int rc;

	if (!value)
		return -ENOMEM;
	bucket_view(n, b, &v);
	/* Only what it was derived from may be replaced: not what somebody else made of that
	 * meanwhile. */
	if (v.known && (v.record.epoch >= r->epoch || r->epoch - v.record.epoch > 1)) {
		free(value);
		return same_record(&v.record, r) ? 0 : -ESTALE;
	}
	conds[0].mod_revision = v.mod_revision;
	change.value = value;
	rc = registry_txn(n->registry, conds, gone ? 2 : 1, &change, 1, &revision);
	free(value);
	if (!rc) {
		record_learn(n, b, r, revision);
		return 0;
	}
	names_fail("the registry did not take the change of bucket %s: %s", b->name,
		   registry_error());
	if (rc != -EAGAIN)
		return -EINPROGRESS;
	/* Refused: or was it our own earlier try that changed it? */
	rc = record_refresh(n, b);
	if (rc)
		return rc == -ENOENT ? -ESTALE : -EINPROGRESS;
	bucket_view(n, b, &v);
	return same_record(&v.record, r) ? 0 : -ESTALE;
}

/* A record's own revision, for the comparison. */
static int need_revision(struct names *n, struct bucket *b)
{
	struct bucket_view v;

	bucket_view(n, b, &v);
	return v.known && v.mod_revision ? 0 : record_refresh(n, b);
}

int record_create(struct names *n, struct bucket *b)
{
	struct names_record r = { 0 };
	struct bucket_view v;
	bool heard;
	int rc;

	/* Who else is there decides whether a copy exists already and whether one is enough. */
	pthread_mutex_lock(&n->lock);
	heard = n->endpoints_synced && n->members_synced;
	pthread_mutex_unlock(&n->lock);
	if (!heard) {
		names_fail("the registry has not told yet which endpoints there are");
		return -EAGAIN;
	}
	bucket_view(n, b, &v);
	/* A registry that lost its data: whoever has the newest copy goes on, behind its numbers.
	 */
	if (v.has_meta && v.meta.state == NAMES_STATE_COMPLETE)
		r.epoch = v.meta.epoch;
	strcpy(r.primary, n->node);
	second_newest(n, b, r.primary, &r.epoch);
	r.epoch++;
	rc = record_swap(n, b, &r, NULL);
	if (rc == -EINPROGRESS)
		return -EAGAIN;
	return rc == -ESTALE ? 0 : rc; /* somebody else made it */
}

int record_resolve(struct names *n, struct bucket *b)
{
	struct names_record r;
	int rc;

	pthread_mutex_lock(&n->lock);
	r = b->proposed;
	pthread_mutex_unlock(&n->lock);
	rc = record_swap(n, b, &r, NULL);
	if (rc == -EINPROGRESS)
		return rc;
	pthread_mutex_lock(&n->lock);
	b->unsure = false;
	pthread_mutex_unlock(&n->lock);
	return rc ? rc : record_become(n, b);
}

int record_change_second(struct names *n, struct bucket *b, const char *second)
{
	struct bucket_view v;
	int rc = need_revision(n, b);

	if (rc)
		return rc;
	bucket_view(n, b, &v);
	if (strcmp(v.record.primary, n->node) || v.record.epoch != v.meta.epoch)
		return -ESTALE;
	pthread_mutex_lock(&n->lock);
	b->proposed.epoch = v.record.epoch + 1;
	strcpy(b->proposed.primary, n->node);
	strcpy(b->proposed.secondary, second);
	b->unsure = true;
	pthread_mutex_unlock(&n->lock);
	return record_resolve(n, b);
}

/* The primary's membership is gone and this node has the second copy. */
int record_take_over(struct names *n, struct bucket *b)
{
	struct names_record r = { 0 };
	struct bucket_view v;
	int rc = need_revision(n, b);

	if (rc)
		return rc;
	pthread_mutex_lock(&b->change);
	rc = bucket_meta_load(n, b);
	bucket_view(n, b, &v);
	if (rc || strcmp(v.record.secondary, n->node) || v.meta.state != NAMES_STATE_COMPLETE ||
	    v.meta.epoch != v.record.epoch || strcmp(v.meta.primary, v.record.primary)) {
		pthread_mutex_unlock(&b->change);
		return -ESTALE;
	}
	pthread_mutex_lock(&n->lock);
	b->taking = true;
	pthread_mutex_unlock(&n->lock);
	r.epoch = v.record.epoch + 1;
	strcpy(r.primary, n->node);
	rc = record_swap(n, b, &r, v.record.primary);
	if (!rc) {
		log_warn("bucket %s: %s is gone, this node takes over", b->name, v.record.primary);
		rc = record_become(n, b);
	}
	if (rc != -EINPROGRESS) {
		pthread_mutex_lock(&n->lock);
		b->taking = false;
		pthread_mutex_unlock(&n->lock);
	}
	pthread_mutex_unlock(&b->change);
	return rc;
}

/* Recorded as primary without a usable copy (the disk was replaced): the secondary has everything.
 */
int record_abdicate(struct names *n, struct bucket *b)
{
	struct names_record r = { 0 };
	struct bucket_view v;
	int rc = need_revision(n, b);

	if (rc)
		return rc;
	bucket_view(n, b, &v);
	if (strcmp(v.record.primary, n->node) || !v.record.secondary[0]) {
		bucket_why(n, b,
			   "this node is recorded as the only one with the names of bucket %s, and "
			   "has no copy of them",
			   b->name);
		log_limited(LOG_LEVEL_ERROR, 1,
			    "bucket %s: recorded as the only copy, but %s has none: restore its "
			    "state folder",
			    b->name, n->node);
		return -EAGAIN;
	}
	r.epoch = v.record.epoch + 1;
	strcpy(r.primary, v.record.secondary);
	log_warn("bucket %s: this node's copy is not usable, handing over to %s", b->name,
		 r.primary);
	rc = record_swap(n, b, &r, NULL);
	return rc == -EINPROGRESS ? -EAGAIN : rc;
}
