/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_replica.c -- answers to a bucket's primary, from the node that has (or shall have) the
 * second copy. What a message may do is decided in the transaction that does it, from the copy's
 * own epoch: a primary that was replaced changes nothing here.
 */
#include <errno.h>
#include <string.h>

#include "http/store/names_int.h"

/* What every message of a primary begins with. */
struct hello {
	char bucket[NAMES_BUCKET_MAX + 1];
	char primary[CONF_NAME_MAX];
	uint64_t epoch;
	struct bucket *b;
};

static int hello_read(struct names *n, const json_t *body, struct hello *h)
{
	if (names_json_text(body, "bucket", h->bucket, sizeof(h->bucket)) ||
	    !names_bucket_valid(h->bucket) ||
	    names_json_text(body, "primary", h->primary, sizeof(h->primary)) ||
	    !names_node_valid(h->primary) || names_json_u64(body, "epoch", &h->epoch) ||
	    h->epoch < 1) {
		names_fail("the message is not understood");
		return -EINVAL;
	}
	h->b = bucket_find(n, h->bucket);
	if (!h->b) {
		names_fail("too many buckets");
		return -EAGAIN;
	}
	return 0;
}

static void reply_ok(struct http_req *req)
{
	http_reply_json(req, 200, json_object());
}

static void reply(struct names *n, struct http_req *req, const struct hello *h, int rc)
{
	if (rc)
		reply_failure(n, req, h->bucket, rc);
	else
		reply_ok(req);
}

/* Is the copy one that takes orders from this primary in this epoch? */
static int orders(const struct names_meta *meta, const char *primary, uint64_t epoch)
{
	return meta->state == NAMES_STATE_COMPLETE && meta->epoch == epoch &&
			       !strcmp(meta->primary, primary)
		       ? 0
		       : -ESTALE;
}

/* ---- reads of the primary ---- */

struct meta_read {
	const char *bucket;
	struct names_meta meta;
};

static int meta_read_txn(struct names_txn *t, void *arg)
{
	struct meta_read *r = arg;

	return names_meta_get(t, r->bucket, &r->meta);
}

/* "Nobody has taken over from you": this node could, and has not tried. */
enum http_next replica_confirm(struct names *n, struct http_req *req, const json_t *body)
{
	struct hello h = { .bucket = "" };
	struct meta_read r = { .bucket = h.bucket };
	int rc = hello_read(n, body, &h);
	bool taking = false;

	if (!rc)
		rc = names_db_read(n->db, meta_read_txn, &r);
	if (rc == -ENOENT)
		rc = -ESTALE;
	if (!rc) {
		pthread_mutex_lock(&n->lock);
		taking = h.b->taking;
		pthread_mutex_unlock(&n->lock);
		rc = taking ? -ESTALE : orders(&r.meta, h.primary, h.epoch);
	}
	if (rc) {
		if (rc == -ESTALE)
			names_fail("%s is not the primary of bucket %s in epoch %llu any more",
				   h.primary, h.bucket, (unsigned long long)h.epoch);
		return reply_failure(n, req, h.bucket, rc);
	}
	return http_reply_json(req, 200, json_object());
}

/* ---- operations ---- */
struct append {
	const struct names_batch *batch;
	struct names_meta meta;
};

static int append_txn(struct names_txn *t, void *arg)
{
	struct append *a = arg;
	const struct names_batch *batch = a->batch;
	int rc = names_meta_get(t, batch->bucket, &a->meta);

	if (rc == -ENOENT)
		return -ESTALE;
	if (!rc)
		rc = orders(&a->meta, batch->primary, batch->epoch);
	if (!rc && (a->meta.seq != batch->prev_seq || a->meta.seq_epoch != batch->prev_epoch))
		rc = -ESTALE;
	for (unsigned int i = 0; i < batch->nops && !rc; i++)
		rc = names_apply(t, &a->meta, &batch->ops[i], batch->targets, batch->ntargets);
	return rc ? rc : names_meta_put(t, batch->bucket, &a->meta);
}

void replica_append(struct names *n, struct http_req *req, const json_t *body)
{
	struct names_batch batch;
	struct append a = { .batch = &batch };
	struct bucket *b;
	int rc = names_batch_decode(&batch, body);

	if (rc) {
		names_fail("the operations are not understood");
		reply_failure(n, req, "", rc);
		return;
	}
	b = bucket_find(n, batch.bucket);
	if (!b) {
		names_fail("too many buckets");
		rc = -EAGAIN;
	} else if (names_db_room(n->db) < NAMES_ROOM_MIN) {
		names_fail("the disk of %s is full", n->node);
		rc = -ENOSPC;
	} else {
		rc = names_db_write(n->db, append_txn, &a);
		if (rc == -ESTALE)
			names_fail("the copy of bucket %s at %s does not follow %s in epoch %llu",
				   batch.bucket, n->node, batch.primary,
				   (unsigned long long)batch.epoch);
		else if (rc)
			names_fail("%s cannot write its names: %s", n->node, strerror(-rc));
	}
	if (!rc)
		bucket_meta_set(n, b, &a.meta);
	if (rc)
		reply_failure(n, req, batch.bucket, rc);
	else
		reply_ok(req);
	names_batch_free(&batch);
}

/* ---- where this copy is ---- */

void replica_position(struct names *n, struct http_req *req, const json_t *body)
{
	struct hello h = { .bucket = "" };
	struct meta_read r = { .bucket = h.bucket };
	int rc = hello_read(n, body, &h);

	if (!rc)
		rc = names_db_read(n->db, meta_read_txn, &r);
	if (rc == -ENOENT)
		rc = 0;
	if (rc) {
		reply(n, req, &h, rc);
		return;
	}
	http_reply_json(req, 200,
			json_pack("{s:I s:I s:I s:I s:s}", "state", (json_int_t)r.meta.state,
				  "epoch", (json_int_t)r.meta.epoch, "seq", (json_int_t)r.meta.seq,
				  "seq_epoch", (json_int_t)r.meta.seq_epoch, "primary",
				  r.meta.primary));
}

struct pull {
	struct hello h;
	uint64_t from;
	char cursor[NAMES_CURSOR_MAX];
	json_t *page;
	bool last;
};

static int pull_txn(struct names_txn *t, void *arg)
{
	struct pull *p = arg;
	struct names_meta meta;
	int rc = names_meta_get(t, p->h.bucket, &meta);

	if (rc == -ENOENT)
		rc = -ESTALE;
	if (!rc)
		rc = orders(&meta, p->h.primary, p->h.epoch);
	return rc ? rc : names_export(t, &meta, p->from, p->cursor, &p->page, &p->last);
}

void replica_pull(struct names *n, struct http_req *req, const json_t *body)
{
	struct pull p = { .from = 0 };
	int rc = hello_read(n, body, &p.h);

	if (!rc && (names_json_u64(body, "from", &p.from) ||
		    names_json_text(body, "cursor", p.cursor, sizeof(p.cursor)))) {
		names_fail("the message is not understood");
		rc = -EINVAL;
	}
	if (!rc)
		rc = names_db_read(n->db, pull_txn, &p);
	if (rc)
		reply(n, req, &p.h, rc);
	else
		http_reply_json(req, 200,
				json_pack("{s:s s:b s:o}", "cursor", p.cursor, "last", p.last,
					  "page", p.page));
}

/* ---- receiving a copy ---- */
struct copy {
	struct hello h;
	uint64_t from, session, seq, seq_epoch;
	const json_t *page;
	bool begin;
	struct names_meta meta;
};

static int copy_txn(struct names_txn *t, void *arg)
{
	struct copy *c = arg;
	struct names_meta *meta = &c->meta;
	int rc = names_meta_get(t, c->h.bucket, meta);

	if (rc == -ENOENT && c->begin) {
		memset(meta, 0, sizeof(*meta));
		rc = names_meta_put(t, c->h.bucket, meta);
	}
	if (rc)
		return rc;
	if (c->begin) {
		if (meta->epoch > c->h.epoch ||
		    (c->from && (meta->state != NAMES_STATE_COMPLETE || meta->seq != c->from)))
			return -ESTALE;
		rc = names_import_begin(t, meta, c->from);
		meta->state = NAMES_STATE_SYNCING;
		meta->epoch = c->h.epoch;
		strcpy(meta->primary, c->h.primary);
		meta->secondary[0] = '\0';
	} else {
		if (meta->state != NAMES_STATE_SYNCING || meta->epoch != c->h.epoch ||
		    strcmp(meta->primary, c->h.primary))
			return -ESTALE;
		if (c->page) {
			rc = names_import(t, meta, c->page);
		} else {
			meta->state = NAMES_STATE_COMPLETE;
			meta->seq = c->seq;
			meta->seq_epoch = c->seq_epoch;
		}
	}
	return rc ? rc : names_meta_put(t, c->h.bucket, meta);
}

/* The registry decides who may overwrite a copy: the present primary, for its present or next
 * configuration. */
static int copy_allowed(struct names *n, const struct copy *c)
{
	struct bucket_view v;
	int rc = record_refresh(n, c->h.b);

	if (rc)
		return rc == -ENOENT ? -ESTALE : rc;
	bucket_view(n, c->h.b, &v);
	if (v.taking || strcmp(v.record.primary, c->h.primary) ||
	    (c->h.epoch != v.record.epoch + 1 &&
	     (c->h.epoch != v.record.epoch || strcmp(v.record.secondary, n->node)))) {
		names_fail(
			"the registry does not name %s as the primary of bucket %s for epoch %llu",
			c->h.primary, c->h.bucket, (unsigned long long)c->h.epoch);
		return -ESTALE;
	}
	return 0;
}

/* Reads what begin, page and end have in common; -EINVAL. */
static int copy_read(struct names *n, const json_t *body, struct copy *c)
{
	int rc = hello_read(n, body, &c->h);

	if (!rc && (names_json_u64(body, "session", &c->session) || c->session < 1)) {
		names_fail("the message is not understood");
		rc = -EINVAL;
	}
	return rc;
}

static int copy_run(struct names *n, struct copy *c)
{
	int rc;

	if (names_db_room(n->db) < NAMES_ROOM_MIN) {
		names_fail("the disk of %s is full", n->node);
		return -ENOSPC;
	}
	rc = names_db_write(n->db, copy_txn, c);
	if (!rc)
		bucket_meta_set(n, c->h.b, &c->meta);
	else
		names_fail("%s cannot take the copy of bucket %s: %s", n->node, c->h.bucket,
			   strerror(-rc));
	return rc;
}

void replica_begin(struct names *n, struct http_req *req, const json_t *body)
{
	struct copy c = { .begin = true };
	int rc = copy_read(n, body, &c);

	if (!rc)
		rc = names_json_u64(body, "from", &c.from);
	if (rc) {
		reply(n, req, &c.h, rc);
		return;
	}
	pthread_mutex_lock(&c.h.b->change);
	rc = copy_allowed(n, &c);
	if (!rc)
		rc = copy_run(n, &c);
	if (!rc) {
		pthread_mutex_lock(&n->lock);
		c.h.b->session = c.session;
		pthread_mutex_unlock(&n->lock);
	}
	pthread_mutex_unlock(&c.h.b->change);
	reply(n, req, &c.h, rc);
}

/* Pages come one after the other in one session: a page of an older one, or after a restart, is
 * refused. */
static void copy_go_on(struct names *n, struct http_req *req, struct copy *c)
{
	bool current;
	int rc;

	pthread_mutex_lock(&c->h.b->change);
	pthread_mutex_lock(&n->lock);
	current = c->h.b->session == c->session;
	if (!c->page)
		c->h.b->session = 0;
	pthread_mutex_unlock(&n->lock);
	if (current) {
		rc = copy_run(n, c);
	} else {
		names_fail("the copy of bucket %s was begun anew", c->h.bucket);
		rc = -ESTALE;
	}
	pthread_mutex_unlock(&c->h.b->change);
	reply(n, req, &c->h, rc);
}

void replica_page(struct names *n, struct http_req *req, const json_t *body)
{
	struct copy c = { .page = json_object_get(body, "page") };
	int rc = copy_read(n, body, &c);

	if (!rc && !json_is_object(c.page))
		rc = -EINVAL;
	if (rc)
		reply(n, req, &c.h, rc);
	else
		copy_go_on(n, req, &c);
}

void replica_end(struct names *n, struct http_req *req, const json_t *body)
{
	struct copy c = { .page = NULL };
	int rc = copy_read(n, body, &c);

	if (!rc && (names_json_u64(body, "seq", &c.seq) ||
		    names_json_u64(body, "seq_epoch", &c.seq_epoch)))
		rc = -EINVAL;
	if (rc)
		reply(n, req, &c.h, rc);
	else
		copy_go_on(n, req, &c);
}
