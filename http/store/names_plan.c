/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_plan.c -- what a write does to the bucket as it is now: operations to be logged, nothing,
 * or a refusal. Runs in a read transaction of the primary; the rules of versions, markers and
 * uploads are here and nowhere else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"
#include "lib/hash.h"

static struct names_op *op_new(struct plan *p, enum names_op_kind kind, enum names_space space)
{
	struct names_op *op = &p->ops[p->n];

	memset(op, 0, offsetof(struct names_op, entry));
	names_entry_clear(&op->entry);
	op->kind = kind;
	op->space = space;
	op->epoch = p->epoch;
	op->seq = p->seq + p->n;
	p->n++;
	return op;
}

/* The operation's entry is e, changed. The write itself stays as it was asked for: it may have to
 * be planned again. */
static void op_again(struct names_op *op, const struct name_entry *e)
{
	names_entry_copy(&op->entry, e);
	op->entry.current = false;
	op->entry.epoch = op->epoch;
	op->entry.seq = op->seq;
}

/* … is e, for the first time. */
static void op_first(struct plan *p, struct names_op *op, const struct name_entry *e)
{
	op_again(op, e);
	op->entry.order = op->seq;
	op->entry.modified = p->now_s;
}

/* `e` is gone; id: the deletion's own. */
static void op_tombstone(struct plan *p, struct names_op *op, const struct name_entry *e,
			 const char *id)
{
	strcpy(op->id, id);
	strcpy(op->forget, e->version);
	strcpy(op->entry.key, e->key);
	strcpy(op->entry.version, id);
	op->entry.deleted = true;
	op->entry.null_version = e->null_version;
	op->entry.part = e->part;
	op->entry.order = e->order;
	op->entry.modified = p->now_s;
	op->entry.epoch = op->epoch;
	op->entry.seq = op->seq;
}

static void op_fetch(const struct write *w, struct names_op *op)
{
	for (unsigned int i = 0; i < w->nideal; i++) {
		bool holds = false;

		for (unsigned int k = 0; k < w->entry.nholders; k++)
			holds |= !strcmp(w->ideal[i], w->entry.holders[k]);
		for (unsigned int k = 0; k < op->nfetch; k++)
			holds |= !strcmp(w->ideal[i], op->fetch[k]);
		if (!holds)
			strcpy(op->fetch[op->nfetch++], w->ideal[i]);
	}
}

/* Already done, by an earlier try that lost its answer, or so long ago that the history has
 * forgotten it (its data must stay)? Then *row is its row, when it still is there. */
static int done_before(struct plan *p, const char *id, enum names_space space, const char *version)
{
	struct write *w = p->w;
	uint64_t seq;
	int rc = names_version_find(p->t, p->meta->id, id, &seq, &w->replaced);

	if (rc && rc != -ENOENT)
		return rc;
	if (!rc)
		w->entry.seq = seq;
	if (*version && !names_row_of(p->t, p->meta->id, space, version, &p->row)) {
		w->entry = p->row;
		return 1;
	}
	return !rc;
}

/* p->row: the key's newest version; *live: it names an object. And the conditions. */
static int now(struct plan *p, bool *there, bool *live)
{
	int rc = names_row_find(p->t, p->meta->id, p->w->entry.key, &p->row);

	if (rc && rc != -ENOENT)
		return rc;
	*there = !rc;
	*live = !rc && !p->row.marker;
	return names_conditions(p->w->if_match, p->w->if_none_match, *live ? &p->row : NULL);
}

/* What the null version's slot loses when it is written anew. */
static int null_forget(struct plan *p, bool there, struct names_op *op)
{
	int rc = 0;

	if (!there)
		return 0;
	if (!p->row.null_version)
		rc = names_row_version(p->t, p->meta->id, p->w->entry.key, "null", &p->row);
	if (!rc && !p->row.marker)
		strcpy(op->forget, p->row.version);
	return rc == -ENOENT ? 0 : rc;
}

/* ---- objects ---- */

static int plan_put(struct plan *p)
{
	struct write *w = p->w;
	struct names_op *op;
	bool there, live;
	int rc = done_before(p, w->entry.version, NAMES_OBJECTS, w->entry.version);

	if (rc)
		return rc < 0 ? rc : 0;
	rc = now(p, &there, &live);
	if (rc)
		return rc;
	w->replaced = live;
	op = op_new(p, NAMES_OP_PUT, NAMES_OBJECTS);
	strcpy(op->id, w->entry.version);
	op->replaced = live;
	op_first(p, op, &w->entry);
	op->entry.null_version = w->mode != NAMES_VERSIONED;
	op_fetch(w, op);
	return op->entry.null_version ? null_forget(p, there, op) : 0;
}

static void told_deleted(struct write *w, const struct name_entry *e)
{
	w->deleted.marker = e->marker;
	w->deleted.null_version = e->null_version;
	strcpy(w->deleted.version, e->version);
}

static int plan_marker(struct plan *p, bool there, bool live, bool null_version)
{
	struct write *w = p->w;
	struct names_op *op = op_new(p, NAMES_OP_PUT, NAMES_OBJECTS);

	strcpy(op->id, w->entry.version);
	op->replaced = live;
	op_first(p, op, &w->entry);
	op->entry.marker = true;
	op->entry.null_version = null_version;
	told_deleted(w, &op->entry);
	return null_version ? null_forget(p, there, op) : 0;
}

/* A version for good. p->row: it. */
static int plan_remove(struct plan *p, bool replaced)
{
	struct write *w = p->w;
	struct names_op *op = op_new(p, NAMES_OP_DELETE, NAMES_OBJECTS);

	op->replaced = replaced;
	op_tombstone(p, op, &p->row, w->entry.version);
	told_deleted(w, &p->row);
	return 0;
}

/* Has the key anything but its newest version? */
static bool has_older(struct plan *p)
{
	struct names_walk *w = malloc(sizeof(*w));
	bool older = false;

	if (!w || names_walk_open(w, p->t, p->meta->id)) {
		free(w);
		return true;
	}
	if (!names_walk_current(w, p->row.key))
		while (!older && !names_walk_next(w) && !strcmp(w->key, p->row.key))
			older = !(w->flags & INDEX_DELETED);
	names_walk_close(w);
	free(w);
	return older;
}

static int plan_delete(struct plan *p)
{
	struct write *w = p->w;
	bool there, live;
	int rc = done_before(p, w->entry.version, NAMES_OBJECTS, w->entry.version);

	if (rc) {
		if (rc > 0 && !*w->target)
			told_deleted(w, &w->entry);
		return rc < 0 ? rc : 0;
	}
	rc = now(p, &there, &live);
	if (rc)
		return rc;
	w->replaced = live;
	if (*w->target) {
		rc = names_row_version(p->t, p->meta->id, w->entry.key, w->target, &p->row);
		if (!rc && w->if_seq && w->if_seq != p->row.seq)
			rc = -ECANCELED;
		return rc ? rc : plan_remove(p, live && p->row.current);
	}
	if (w->if_seq && (!there || w->if_seq != p->row.seq))
		return -ECANCELED;
	if (w->mode != NAMES_PLAIN)
		return plan_marker(p, there, live, w->mode == NAMES_SUSPENDED);
	if (!live)
		return -ENOENT;
	/* Versions that were kept must not come to light by this. */
	if (!p->row.null_version || has_older(p))
		return plan_marker(p, there, live, true);
	return plan_remove(p, true);
}

static int plan_meta(struct plan *p)
{
	struct write *w = p->w;
	struct names_op *op;
	uint64_t seq;
	bool replaced;
	int rc;

	if (*w->target)
		rc = names_row_version(p->t, p->meta->id, w->entry.key, w->target, &p->row);
	else
		rc = names_row_find(p->t, p->meta->id, w->entry.key, &p->row);
	if (rc || p->row.marker)
		return rc ? rc : -ENOENT;
	if (!names_version_find(p->t, p->meta->id, w->entry.version, &seq, &replaced)) {
		w->entry = p->row;
		return 0;
	}
	if (w->if_seq && p->row.seq != w->if_seq)
		return -ECANCELED;
	op = op_new(p, NAMES_OP_PUT, NAMES_OBJECTS);
	strcpy(op->id, w->entry.version);
	op_again(op, &p->row);
	op->entry.meta_len = w->entry.meta_len;
	memcpy(op->entry.meta, w->entry.meta, w->entry.meta_len + 1);
	return 0;
}

/* The row goes to another place in the order with another meta: to who copies it, that is a write like others. */
static int plan_meta_here(struct plan *p)
{
	struct write *w = p->w;
	enum names_space space;
	struct names_op *op;
	int rc = names_row_data(p->t, p->meta->id, w->target, &space, &p->row);

	if (rc || p->row.marker || p->row.deleted)
		return rc ? rc : -ENOENT;
	if (p->row.seq != w->if_seq)
		return -ECANCELED;
	op = op_new(p, NAMES_OP_PUT, space);
	strcpy(op->id, w->entry.version);
	op_again(op, &p->row);
	op->entry.meta_len = w->entry.meta_len;
	memcpy(op->entry.meta, w->entry.meta, w->entry.meta_len + 1);
	return 0;
}

/* ---- uploads ---- */

static int plan_upload(struct plan *p)
{
	struct write *w = p->w;
	struct names_op *op;
	char id[33];
	int rc;

	/* Not the upload's own id: that is the operation that completes it. No part has this one.
	 */
	memcpy(id, w->entry.version, 24);
	strcpy(id + 24, "00000001");
	rc = done_before(p, id, NAMES_UPLOADS, w->entry.version);
	if (rc)
		return rc < 0 ? rc : 0;
	op = op_new(p, NAMES_OP_PUT, NAMES_UPLOADS);
	strcpy(op->id, id);
	op_first(p, op, &w->entry);
	return 0;
}

/* p->row: the upload. */
static int upload_find(struct plan *p)
{
	int rc = names_row_of(p->t, p->meta->id, NAMES_UPLOADS, p->w->target, &p->row);

	return !rc && strcmp(p->row.key, p->w->entry.key) ? -ENOENT : rc;
}

static int plan_part(struct plan *p)
{
	struct write *w = p->w;
	char key[NAMES_KEY_MAX + 1];
	struct names_op *op;
	int rc = done_before(p, w->entry.version, NAMES_PARTS, w->entry.version);

	if (rc)
		return rc < 0 ? rc : 0;
	rc = upload_find(p);
	if (rc)
		return rc;
	names_part_key(key, w->target, w->entry.part);
	op = op_new(p, NAMES_OP_PUT, NAMES_PARTS);
	strcpy(op->id, w->entry.version);
	op_first(p, op, &w->entry);
	op->entry.null_version = true;
	strcpy(op->entry.key, key);
	op_fetch(w, op);
	rc = names_row_slot(p->t, p->meta->id, NAMES_PARTS, &op->entry, &p->row);
	if (!rc && !p->row.deleted) {
		strcpy(op->forget, p->row.version);
		op->replaced = w->replaced = true;
	}
	return rc == -ENOENT ? 0 : rc;
}

struct completing {
	struct plan *p;
	size_t at; /* the next of the list */
	uint64_t size;
	bool leaves; /* some parts out */
	uint8_t keep[NAMES_KEEP_BYTES];
};

static int complete_part(void *arg, const char *bucket, const struct name_entry *part)
{
	struct completing *c = arg;
	const struct write *w = c->p->w;
	const struct names_part *wanted = &w->list[c->at];

	(void)bucket;
	if (c->at < w->nlist && wanted->number < part->part) {
		names_fail("part %u is not there", wanted->number);
		return -EBADMSG;
	}
	if (c->at < w->nlist && wanted->number == part->part) {
		if (*wanted->etag && strcmp(wanted->etag, part->etag)) {
			names_fail("part %u has the ETag %s", part->part, part->etag);
			return -EBADMSG;
		}
		c->at++;
		c->keep[part->part / 8] |= (uint8_t)(1u << part->part % 8);
		if (c->at < w->nlist && part->size < w->part_min) {
			names_fail("part %u has %llu bytes, only the last may have less than %llu",
				   part->part, (unsigned long long)part->size,
				   (unsigned long long)w->part_min);
			return -EMSGSIZE;
		}
		c->size += part->size;
		return c->size > INT64_MAX ? -EINVAL : 0;
	}
	c->leaves = true;
	return 0;
}

static int plan_complete(struct plan *p)
{
	struct write *w = p->w;
	struct completing c = { .p = p };
	struct names_op *op;
	bool there, live, more;
	int rc = done_before(p, w->target, NAMES_OBJECTS, w->target);

	if (rc)
		return rc < 0 ? rc : 0;
	rc = upload_find(p);
	if (!rc)
		rc = now(p, &there, &live);
	if (rc)
		return rc;
	rc = names_scan_parts(p->t, p->meta->id, "", w->target, 0, UINT32_MAX, false, complete_part,
			      &c, &more);
	if (!rc && c.at < w->nlist) {
		names_fail("part %u is not there", w->list[c.at].number);
		rc = -EBADMSG;
	}
	if (rc)
		return rc;
	w->replaced = live;
	op = op_new(p, c.leaves ? NAMES_OP_COMPLETE : NAMES_OP_PUT, NAMES_OBJECTS);
	memcpy(op->keep, c.keep, sizeof(op->keep));
	strcpy(op->id, w->target);
	op->replaced = live;
	op_first(p, op, &w->entry);
	strcpy(op->entry.version, w->target);
	op->entry.null_version = w->mode != NAMES_VERSIONED;
	op->entry.size = c.size;
	op->entry.nparts = (unsigned int)w->nlist;
	op->entry.nholders = 0;
	return op->entry.null_version ? null_forget(p, there, op) : 0;
}

static int drop_part(void *arg, const char *bucket, const struct name_entry *part)
{
	struct plan *p = arg;
	char id[33];

	(void)bucket;
	version_random(id);
	op_tombstone(p, op_new(p, NAMES_OP_DELETE, NAMES_DROPPED), part, id);
	return p->n == p->room;
}

/* What objects left out, as much as fits into one batch. */
static int plan_drop(struct plan *p)
{
	struct names_page *page = malloc(sizeof(*page));
	struct names_scan scan = { .space = NAMES_DROPPED,
				   .select = { .limit = NAMES_BATCH_MAX },
				   .fn = drop_part,
				   .arg = p };
	int rc = page ? names_scan(p->t, p->meta->id, "", &scan, page) : -ENOMEM;

	free(page);
	return rc < 0 ? rc : 0;
}

static int plan_abort(struct plan *p)
{
	struct write *w = p->w;
	int rc = done_before(p, w->entry.version, NAMES_UPLOADS, "");

	if (rc)
		return rc < 0 ? rc : 0;
	rc = upload_find(p);
	if (rc)
		return rc;
	op_tombstone(p, op_new(p, NAMES_OP_DELETE, NAMES_UPLOADS), &p->row, w->entry.version);
	return 0;
}

/* ---- all ---- */

static int plan_open(struct plan *p)
{
	bool close = p->w->kind == WRITE_CLOSE;

	/* Closing what is closed is an operation, too: who looked before and would open it now is
	 * refused by its seq. */
	if (!close && !p->meta->closed)
		return 0;
	if (!close && p->w->if_seq && p->w->if_seq != p->meta->seq)
		return -ECANCELED;
	if (close && (p->meta->objects || p->meta->markers || p->meta->uploads)) {
		names_fail("the bucket has %llu versions, %llu delete markers and %llu uploads",
			   (unsigned long long)p->meta->objects,
			   (unsigned long long)p->meta->markers,
			   (unsigned long long)p->meta->uploads);
		return -ENOTEMPTY;
	}
	op_new(p, close ? NAMES_OP_CLOSE : NAMES_OP_OPEN, NAMES_OBJECTS);
	return 0;
}

static int plan_done(struct plan *p)
{
	struct names_op *op = op_new(p, p->w->done->kind, NAMES_OBJECTS);
	uint64_t epoch = op->epoch, seq = op->seq;

	*op = *p->w->done;
	op->epoch = epoch;
	op->seq = seq;
	return 0;
}

bool write_alone(const struct write *w)
{
	return w->kind == WRITE_COMPLETE || w->kind == WRITE_ABORT || w->kind == WRITE_OPEN ||
	       w->kind == WRITE_CLOSE || w->kind == WRITE_DROP ||
	       (w->kind == WRITE_META_HERE && w->entry.part); /* its object's end ends it, too */
}

int write_plan(struct plan *p)
{
	static int (*const plans[])(struct plan *) = {
		[WRITE_PUT] = plan_put,	     [WRITE_DELETE] = plan_delete,
		[WRITE_META] = plan_meta,    [WRITE_UPLOAD] = plan_upload,
		[WRITE_PART] = plan_part,    [WRITE_COMPLETE] = plan_complete,
		[WRITE_ABORT] = plan_abort,  [WRITE_OPEN] = plan_open,
		[WRITE_CLOSE] = plan_open,   [WRITE_FORGOTTEN] = plan_done,
		[WRITE_FETCHED] = plan_done, [WRITE_DROP] = plan_drop,
		[WRITE_META_HERE] = plan_meta_here,
	};
	enum write_kind kind = p->w->kind;
	unsigned int before = p->n;
	int rc;

	if (p->meta->closed && kind < WRITE_OPEN) {
		names_fail("there is no such bucket");
		return -ENOENT;
	}
	names_fail("%s", "");
	rc = plans[kind](p);
	if (rc)
		p->n = before;
	if (p->n > before)
		p->w->op = p->n - 1;
	return rc;
}
