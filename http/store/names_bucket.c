/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_bucket.c -- a node's work on one bucket, one thread at a time: be what the registry says,
 * keep a synced second copy, order the writes that wait.
 *
 * A batch of writes is evaluated against the local copy, written by the secondary, then here, then
 * answered. When the secondary's answer is missing the writes go back to the queue marked `maybe`:
 * once primary and secondary agree again, or another secondary is recorded, they are evaluated
 * anew, and those that had been written are found by their version.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/store/names_int.h"
#include "lib/hash.h"

/* A batch may take the thread that makes data durable for so long; on a slower disk both work side by side. */
#define HERE_MAX_US 2000

/* ---- writes ---- */

struct write *write_new(enum write_kind kind)
{
	struct write *w = calloc(1, sizeof(*w));

	if (w) {
		w->kind = kind;
		w->deadline = now_ms() + NAMES_TIMEOUT_MS;
	}
	return w;
}

void write_free(struct write *w)
{
	if (!w)
		return;
	free(w->if_match);
	free(w->if_none_match);
	free(w->list);
	free(w);
}

static void write_end(struct write *w, int rc, const char *why)
{
	w->rc = rc;
	snprintf(w->why, sizeof(w->why), "%s", why);
	w->complete(w);
}

static void enqueue(struct names *n, struct bucket *b, struct write *w, bool schedule)
{
	bool full;

	pthread_mutex_lock(&n->lock);
	full = b->nqueue >= NAMES_QUEUE_MAX || n->stopping;
	if (!full) {
		w->next = NULL;
		*b->queue_tail = w;
		b->queue_tail = &w->next;
		b->nqueue++;
		if (schedule)
			bucket_schedule_locked(n, b);
		else
			b->again = true; /* should the caller not come to it */
	}
	pthread_mutex_unlock(&n->lock);
	if (full)
		write_end(w, -EAGAIN, "too many writes wait for this bucket");
}

void bucket_enqueue(struct names *n, struct bucket *b, struct write *w)
{
	enqueue(n, b, w, true);
}

void bucket_enqueue_quiet(struct names *n, struct bucket *b, struct write *w)
{
	enqueue(n, b, w, false);
}

/* Takes the writes that match out of the queue. */
static struct write *queue_take(struct bucket *b,
				bool (*match)(const struct write *w, const void *arg),
				const void *arg, unsigned int max)
{
	struct write *taken = NULL, **end = &taken, **p = &b->queue;

	while (*p && max) {
		struct write *w = *p;

		if (!match(w, arg)) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		w->next = NULL;
		*end = w;
		end = &w->next;
		b->nqueue--;
		max--;
	}
	for (b->queue_tail = &b->queue; *b->queue_tail; b->queue_tail = &(*b->queue_tail)->next)
		;
	return taken;
}

static bool is_expired(const struct write *w, const void *arg)
{
	return w->deadline <= *(const int64_t *)arg;
}

static void end_all(struct write *list, int rc, const char *why)
{
	struct write *next;

	for (; list; list = next) {
		next = list->next;
		write_end(list, (rc == -EAGAIN || rc == -ENOSPC) && list->maybe ? -ETIMEDOUT : rc,
			  why);
	}
}

void bucket_expire(struct names *n, struct bucket *b, bool all)
{
	int64_t limit = all ? INT64_MAX : now_ms();
	char why[sizeof(b->why)];
	struct write *list;

	pthread_mutex_lock(&n->lock);
	list = queue_take(b, is_expired, &limit, UINT32_MAX);
	strcpy(why, b->why[0] ? b->why
		    : all     ? "this endpoint is stopping"
			      : "the write waited too long");
	pthread_mutex_unlock(&n->lock);
	end_all(list, -EAGAIN, why);
}

static bool is_any(const struct write *w, const void *arg)
{
	(void)w;
	(void)arg;
	return true;
}

/* This node does not order the bucket (any more): whoever asked looks again. */
static void bucket_refuse(struct names *n, struct bucket *b)
{
	struct write *list;

	pthread_mutex_lock(&n->lock);
	list = queue_take(b, is_any, NULL, UINT32_MAX);
	pthread_mutex_unlock(&n->lock);
	end_all(list, -ESTALE, "this endpoint is not the bucket's primary");
}

/* ---- a batch ---- */
struct round {
	struct names *n;
	struct bucket *b;
	struct write *writes;  /* in order */
	struct write *refused; /* by the copy here: rc set, not answered yet */
	struct names_batch batch;
	struct plan *plan;
	unsigned int room; /* for operations */
	struct names_meta meta;
	int64_t now_s;
};

static const char *refusal(int rc)
{
	return rc == -ECANCELED ? "the object is not what the condition asks for"
	       : rc == -ENOENT	? "there is no such object or upload"
				: strerror(-rc);
}

/* What the copy here says counts only if nobody had taken over by then: asked after it was read. */
static void round_refuse(struct round *r)
{
	int rc = r->refused ? read_certain(r->n, r->b) : 0;
	struct write *next;

	for (struct write *w = r->refused; w; w = next) {
		next = w->next;
		write_end(w, rc ? rc : w->rc, rc ? names_error() : w->refusal);
	}
	r->refused = NULL;
}

static int plan_txn(struct names_txn *t, void *arg)
{
	struct round *r = arg;
	struct write *keep = NULL, **end = &keep, **refused = &r->refused, *next;
	struct plan *p = r->plan;
	int rc = names_meta_get(t, r->b->name, &r->meta);

	if (rc)
		return rc;
	r->batch.prev_seq = r->meta.seq;
	r->batch.prev_epoch = r->meta.seq_epoch;
	p->t = t;
	p->meta = &r->meta;
	p->epoch = r->batch.epoch;
	p->seq = r->meta.seq + 1;
	p->now_s = r->now_s;
	p->ops = r->batch.ops;
	p->room = r->room;
	for (struct write *w = r->writes; w; w = next) {
		unsigned int before = p->n;

		next = w->next;
		w->next = NULL;
		w->maybe = false; /* what an earlier try had done is in this copy, or nowhere */
		p->w = w;
		rc = write_plan(p);
		/* "It is closed already" is a word on the present, too. */
		if (rc || (p->n == before && w->kind >= WRITE_OPEN)) {
			w->rc = rc;
			snprintf(w->refusal, sizeof(w->refusal), "%s",
				 *names_error() ? names_error() : refusal(rc));
			*refused = w;
			refused = &w->next;
		} else if (p->n == before) {
			write_end(w, 0, "");
		} else {
			*end = w;
			end = &w->next;
		}
	}
	r->batch.nops = p->n;
	r->writes = keep;
	return 0;
}

static int commit_txn(struct names_txn *t, void *arg)
{
	struct round *r = arg;
	struct names_meta meta;
	int rc = names_meta_get(t, r->b->name, &meta);

	if (rc)
		return rc;
	if (meta.state != NAMES_STATE_COMPLETE || meta.epoch != r->batch.epoch ||
	    strcmp(meta.primary, r->n->node) || meta.seq != r->batch.prev_seq)
		return -ESTALE;
	for (unsigned int i = 0; i < r->batch.nops && !rc; i++)
		rc = names_apply(t, &meta, &r->batch.ops[i], r->batch.targets, r->batch.ntargets);
	if (rc)
		return rc;
	r->meta = meta;
	return names_meta_put(t, r->b->name, &meta);
}

/* What a batch has so far. */
struct gather {
	uint64_t seen[NAMES_BATCH_MAX];
	unsigned int n;
	size_t bytes;
	bool full, meta, fetched;
};

/* At most one write of a key in a batch: its condition is evaluated against what is on disk. Those
 * that depend on more are a batch of their own. A new meta is written with the holders that are on
 * disk, so what changes these (of a version: its key is not known here) waits for another batch. */
static bool fits(const struct write *w, const void *arg)
{
	struct gather *g = (struct gather *)arg;
	uint64_t h = 0;
	bool meta;

	if (g->full || (g->n && write_alone(w))) {
		g->full = true; /* what follows waits, too */
		return false;
	}
	meta = w->kind == WRITE_META || w->kind == WRITE_META_HERE;
	if ((meta && g->fetched) || (w->kind == WRITE_FETCHED && g->meta))
		return false;
	if (w->kind < WRITE_OPEN || w->kind == WRITE_META_HERE) {
		h = hash64(w->entry.key, strlen(w->entry.key),
			   w->kind == WRITE_PART || meta ? w->entry.part : 0);
		if (w->kind == WRITE_UPLOAD)
			h = hash64(w->entry.version, 32, 0);
		for (unsigned int i = 0; i < g->n; i++)
			if (g->seen[i] == h)
				return false;
	}
	g->bytes += names_entry_weight(&w->entry) + NAMES_HOLDERS_MAX * CONF_NAME_MAX;
	if (g->n && g->bytes > NAMES_BATCH_BYTES) {
		g->full = true;
		return false;
	}
	g->seen[g->n++] = h;
	g->full = write_alone(w);
	g->meta |= meta;
	g->fetched |= w->kind == WRITE_FETCHED;
	return true;
}

static void batch_targets(struct names *n, struct names_batch *batch)
{
	struct node *nodes;
	unsigned int count = nodes_copy(n, &nodes);

	batch->targets = calloc(count + 1, sizeof(*batch->targets));
	if (batch->targets) {
		strcpy(batch->targets[batch->ntargets++], n->node);
		for (unsigned int i = 0; i < count && batch->ntargets < NAMES_TARGETS_MAX; i++)
			if (nodes[i].registered && strcmp(nodes[i].name, n->node))
				strcpy(batch->targets[batch->ntargets++], nodes[i].name);
	}
	free(nodes);
}

/* Puts writes back in front; maybe: the secondary may have them. */
static void round_give_back(struct round *r, bool maybe)
{
	struct write *last = r->writes;

	if (!last)
		return;
	pthread_mutex_lock(&r->n->lock);
	last->maybe = maybe;
	while (last->next) {
		last = last->next;
		last->maybe = maybe;
	}
	for (struct write *w = r->writes; w; w = w->next)
		r->b->nqueue++;
	last->next = r->b->queue;
	if (!last->next)
		r->b->queue_tail = &last->next;
	r->b->queue = r->writes;
	r->writes = NULL;
	pthread_mutex_unlock(&r->n->lock);
}

static int round_write(struct round *r)
{
	struct bucket_view v;
	bool refused;
	int rc = 0;

	bucket_view(r->n, r->b, &v);
	if (v.meta.secondary[0])
		rc = second_append(r->n, r->b, &r->batch);
	refused = rc == -ENOTCONN || rc == -ESTALE || rc == -EINVAL;
	if (rc == -ENOSPC)
		return rc;
	if (!rc)
		rc = names_db_write(r->n->db, commit_txn, r);
	if (rc) {
		/* Without a second copy nobody has seen them: only here may it have failed. */
		if (v.meta.secondary[0]) {
			pthread_mutex_lock(&r->n->lock);
			r->b->ready = false;
			pthread_mutex_unlock(&r->n->lock);
			round_give_back(r, !refused);
			return -ERESTART;
		}
		names_fail("the names of bucket %s cannot be written: %s", r->b->name,
			   strerror(-rc));
		return rc == -ENOSPC ? rc : -EAGAIN;
	}
	bucket_meta_set(r->n, r->b, &r->meta);
	if (r->meta.tasks || r->meta.dropped)
		outbox_wake(r->n);
	return 0;
}

/* Everything is written: the writes say what is there now. */
static void round_told(struct round *r)
{
	for (struct write *w = r->writes; w; w = w->next)
		if (w->kind < WRITE_OPEN)
			names_entry_copy(&w->entry, &r->batch.ops[w->op].entry);
}

/* Takes what waits, orders it, answers. 0 something was done, -ENODATA nothing waits, -ERESTART the
 * secondary must be agreed with first. */
static int round_run(struct names *n, struct bucket *b)
{
	struct round r = { .n = n, .b = b, .now_s = time(NULL) };
	struct gather g = { .n = 0 };
	int rc;

	bucket_expire(n, b, false); /* this program may have been stopped for long */
	pthread_mutex_lock(&n->lock);
	r.writes = queue_take(b, fits, &g, NAMES_BATCH_MAX);
	r.batch.epoch = b->meta.epoch;
	b->why[0] = '\0';
	pthread_mutex_unlock(&n->lock);
	if (!r.writes)
		return -ENODATA;
	strcpy(r.batch.bucket, b->name);
	strcpy(r.batch.primary, n->node);
	r.room = r.writes->kind == WRITE_DROP ? NAMES_BATCH_MAX : g.n;
	r.batch.ops = malloc(r.room * sizeof(*r.batch.ops));
	r.plan = calloc(1, sizeof(*r.plan));
	batch_targets(n, &r.batch);
	names_fail("the disk of %s is full", n->node);
	rc = names_db_room(n->db) < NAMES_ROOM_MIN ? -ENOSPC : 0;
	if (!rc && (!r.batch.ops || !r.batch.targets || !r.plan)) {
		names_fail("no memory");
		rc = -EAGAIN;
	}
	if (!rc)
		rc = names_db_read(n->db, plan_txn, &r);
	round_refuse(&r);
	if (!rc && r.batch.nops)
		rc = round_write(&r);
	if (!rc)
		round_told(&r);
	if (rc != -ERESTART)
		end_all(r.writes, rc, rc ? names_error() : "");
	names_batch_free(&r.batch);
	free(r.plan);
	return rc == -ERESTART ? rc : 0;
}

/* ---- being what the registry says ---- */

/* A synced second copy before any write, or the right to go without: 0, -EAGAIN later, -ESTALE look
 * again. */
static int primary_prepare(struct names *n, struct bucket *b)
{
	struct bucket_view v;
	int64_t since;
	int rc;

	bucket_view(n, b, &v);
	if (!v.meta.secondary[0])
		return nodes_others(n) ? second_find(n, b, "") : 0;
	if (v.ready && !node_gone(n, v.meta.secondary))
		return 0;
	names_fail("%s, which has the second copy of the names of bucket %s, is gone",
		   v.meta.secondary, b->name);
	rc = node_gone(n, v.meta.secondary) ? -ENOTCONN : second_agree(n, b);
	if (!rc) {
		pthread_mutex_lock(&n->lock);
		b->ready = true;
		b->failing_since = 0;
		pthread_mutex_unlock(&n->lock);
		return 0;
	}
	if (rc == -ESTALE)
		return rc;
	pthread_mutex_lock(&n->lock);
	b->ready = false;
	if (!b->failing_since)
		b->failing_since = now_ms();
	since = b->failing_since;
	pthread_mutex_unlock(&n->lock);
	if (now_ms() - since < NAMES_SECOND_MS) /* it may just be starting, like this node */
		return -EAGAIN;
	return second_find(n, b, v.meta.secondary);
}

/* Tries again in a while; what waits keeps waiting, and is told why when its time is over. */
static void bucket_later(struct names *n, struct bucket *b, int64_t ms)
{
	bucket_why(n, b, "%s", names_error());
	pthread_mutex_lock(&n->lock);
	b->not_before = now_ms() + ms;
	b->again = true;
	pthread_mutex_unlock(&n->lock);
}

static void primary_run(struct names *n, struct bucket *b)
{
	int rc = 0;

	for (int rounds = 0; rounds < 64 && !rc; rounds++) {
		rc = primary_prepare(n, b);
		if (rc) {
			if (rc == -ESTALE)
				record_refresh(n, b);
			bucket_later(n, b, NAMES_TICK_MS);
			return;
		}
		pthread_mutex_lock(&n->lock);
		b->ready = true;
		pthread_mutex_unlock(&n->lock);
		rc = round_run(n, b);
		if (rc == -ENODATA)
			return;
		if (rc == -ERESTART)
			rc = 0;
	}
	pthread_mutex_lock(&n->lock);
	b->again = true; /* others' turn */
	pthread_mutex_unlock(&n->lock);
}

/* Does the copy here belong to this node as primary of the recorded configuration? Makes it so when
 * it may. */
static bool is_primary(struct names *n, struct bucket *b)
{
	struct bucket_view v;
	int rc;

	bucket_view(n, b, &v);
	if (strcmp(v.record.primary, n->node))
		return false;
	if (v.has_meta && v.meta.state == NAMES_STATE_COMPLETE && v.meta.epoch == v.record.epoch &&
	    !strcmp(v.meta.primary, n->node))
		return true;
	/* Only the registry's own word makes a primary. */
	if (!v.mod_revision && record_refresh(n, b)) {
		bucket_later(n, b, 5 * NAMES_TICK_MS);
		return false;
	}
	bucket_view(n, b, &v);
	if (strcmp(v.record.primary, n->node))
		return false;
	pthread_mutex_lock(&b->change);
	rc = record_become(n, b);
	pthread_mutex_unlock(&b->change);
	if (rc == -ESTALE && record_abdicate(n, b))
		bucket_later(n, b, 1000);
	return !rc;
}

static void bucket_step(struct names *n, struct bucket *b)
{
	struct bucket_view v;

	bucket_view(n, b, &v);
	if (!v.known && !v.absent)
		record_refresh(n, b);
	if (v.unsure && record_resolve(n, b) == -EINPROGRESS) {
		bucket_later(n, b, NAMES_TICK_MS);
		return;
	}
	bucket_view(n, b, &v);
	if (v.known &&
	    (v.taking ||
	     (!strcmp(v.record.secondary, n->node) && node_gone(n, v.record.primary))) &&
	    record_take_over(n, b))
		bucket_later(n, b, 5 * NAMES_TICK_MS);
	bucket_view(n, b, &v);
	if (v.known && is_primary(n, b))
		primary_run(n, b);
	else
		bucket_refuse(n, b);
}

struct step {
	struct names *n;
	struct bucket *b;
};

static void turn_over(struct names *n, struct bucket *b)
{
	pthread_mutex_lock(&n->lock);
	b->running = false;
	if (b->again)
		bucket_schedule_locked(n, b);
	pthread_mutex_unlock(&n->lock);
}

static void bucket_job(void *arg)
{
	struct step s = *(struct step *)arg;

	free(arg);
	bucket_step(s.n, s.b);
	turn_over(s.n, s.b);
}

/* Lock held. As is_primary() and primary_prepare() would find, without asking anybody. */
static bool mine_alone(const struct names *n, const struct bucket *b)
{
	return b->known && b->ready && !b->unsure && !b->taking && b->has_meta && !strcmp(b->record.primary, n->node) &&
	       b->meta.state == NAMES_STATE_COMPLETE && b->meta.epoch == b->record.epoch &&
	       !strcmp(b->meta.primary, n->node) && !b->record.secondary[0] && !b->meta.secondary[0];
}

bool bucket_is_mine_alone(struct names *n, struct bucket *b)
{
	bool alone = !nodes_others(n);

	pthread_mutex_lock(&n->lock);
	alone = alone && mine_alone(n, b);
	pthread_mutex_unlock(&n->lock);
	return alone;
}

void bucket_run_here(struct names *n, struct bucket *b)
{
	bool here = !nodes_others(n) && n->here_us < HERE_MAX_US;
	int64_t begun;

	pthread_mutex_lock(&n->lock);
	here = here && !b->running && !n->stopping && now_ms() >= b->not_before && mine_alone(n, b);
	if (here) {
		b->running = true;
		b->again = false;
	} else {
		bucket_schedule_locked(n, b);
		n->here_us /= 2; /* the disk may have become faster */
	}
	pthread_mutex_unlock(&n->lock);
	if (!here)
		return;
	begun = now_us();
	round_run(n, b);
	n->here_us = now_us() - begun;
	pthread_mutex_lock(&n->lock);
	b->again |= b->queue != NULL;
	pthread_mutex_unlock(&n->lock);
	turn_over(n, b);
}

void bucket_schedule_locked(struct names *n, struct bucket *b)
{
	struct step *s;

	if (b->running || n->stopping || now_ms() < b->not_before) {
		b->again = true;
		return;
	}
	s = malloc(sizeof(*s));
	b->again = false;
	b->running = true;
	if (s)
		*s = (struct step){ n, b };
	if (!s || jobs_add(n->writers, bucket_job, s)) {
		b->running = false;
		b->again = true; /* the tick tries again */
		free(s);
	}
}

void bucket_schedule(struct names *n, struct bucket *b)
{
	pthread_mutex_lock(&n->lock);
	bucket_schedule_locked(n, b);
	pthread_mutex_unlock(&n->lock);
}
