/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.c -- the ordered names of this endpoint: opening and closing, the buckets in memory, time,
 * status.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/store/names_int.h"
#include "lib/clock.h"
#include "lib/hash.h"

#define READERS_CHECK_MS 60000

static _Thread_local char last_error[320] = "nothing failed";

const char *names_error(void)
{
	return last_error;
}

void names_fail(const char *fmt, ...)
{
	char text[sizeof(last_error)];
	va_list ap;

	/* The arguments may be the last error itself. */
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	strcpy(last_error, text);
}

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void names_wait(struct names *n, int64_t until_ms)
{
	int64_t ms = until_ms - now_ms();
	struct timespec until = clock_in_ms(CLOCK_MONOTONIC, ms < 1 ? 1 : ms);

	pthread_cond_timedwait(&n->changed, &n->lock, &until);
}

void names_visit(struct names *n, int by)
{
	pthread_mutex_lock(&n->lock);
	n->visitors += (unsigned int)by;
	if (n->stopping && !n->visitors)
		pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

/* ---- buckets in memory ---- */

static struct bucket **bucket_place(struct names *n, const char *name)
{
	return &n->buckets[hash64(name, strlen(name), 0) % BUCKET_HASH];
}

/* With the lock held. */
static struct bucket *bucket_among(struct bucket *b, const char *name)
{
	while (b && strcmp(b->name, name))
		b = b->next;
	return b;
}

struct bucket *bucket_look(struct names *n, const char *name)
{
	struct bucket **place = bucket_place(n, name), *b;

	pthread_mutex_lock(&n->lock);
	b = bucket_among(*place, name);
	pthread_mutex_unlock(&n->lock);
	return b;
}

struct bucket *bucket_find(struct names *n, const char *name)
{
	struct bucket **place = bucket_place(n, name), *b;

	pthread_mutex_lock(&n->lock);
	b = bucket_among(*place, name);
	if (!b && n->nbuckets < NAMES_BUCKETS_MAX && names_bucket_valid(name)) {
		b = calloc(1, sizeof(*b));
		if (b) {
			strcpy(b->name, name);
			b->queue_tail = &b->queue;
			pthread_mutex_init(&b->change, NULL);
			b->next = *place;
			*place = b;
			n->nbuckets++;
		}
	}
	pthread_mutex_unlock(&n->lock);
	return b;
}

/* Calls fn for each bucket that was there when asked; buckets are never freed while names are open.
 */
void buckets_each(struct names *n, void (*fn)(struct names *n, struct bucket *b, void *arg),
		  void *arg)
{
	struct bucket **all;
	unsigned int count = 0;

	pthread_mutex_lock(&n->lock);
	all = calloc(n->nbuckets + 1, sizeof(struct bucket *));
	for (unsigned int i = 0; all && i < BUCKET_HASH; i++)
		for (struct bucket *b = n->buckets[i]; b; b = b->next)
			all[count++] = b;
	pthread_mutex_unlock(&n->lock);
	for (unsigned int i = 0; i < count; i++)
		fn(n, all[i], arg);
	free(all);
}

void bucket_view(struct names *n, struct bucket *b, struct bucket_view *v)
{
	pthread_mutex_lock(&n->lock);
	*v = (struct bucket_view){
		.known = b->known,
		.absent = b->absent,
		.has_meta = b->has_meta,
		.ready = b->ready,
		.unsure = b->unsure,
		.taking = b->taking,
		.record = b->record,
		.meta = b->meta,
		.mod_revision = b->mod_revision,
	};
	pthread_mutex_unlock(&n->lock);
}

void bucket_why(struct names *n, struct bucket *b, const char *fmt, ...)
{
	char text[sizeof(b->why)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&n->lock);
	strcpy(b->why, text);
	pthread_mutex_unlock(&n->lock);
}

/* Writers finish in the order of the database, but may come here in another: the newest stays. */
void bucket_meta_set(struct names *n, struct bucket *b, const struct names_meta *meta)
{
	pthread_mutex_lock(&n->lock);
	if (!b->has_meta || meta->epoch > b->meta.epoch ||
	    (meta->epoch == b->meta.epoch &&
	     (meta->seq >= b->meta.seq || meta->state != b->meta.state)))
		b->meta = *meta;
	b->has_meta = true;
	pthread_mutex_unlock(&n->lock);
}

struct load_meta {
	const char *bucket;
	struct names_meta meta;
};

static int load_txn(struct names_txn *t, void *arg)
{
	struct load_meta *l = arg;

	return names_meta_get(t, l->bucket, &l->meta);
}

int bucket_meta_load(struct names *n, struct bucket *b)
{
	struct load_meta l = { .bucket = b->name };
	int rc = names_db_read(n->db, load_txn, &l);

	if (rc)
		return rc;
	pthread_mutex_lock(&n->lock);
	b->meta = l.meta;
	b->has_meta = true;
	pthread_mutex_unlock(&n->lock);
	return 0;
}

/* What the database knows holds until the registry says more. */
static int stored_bucket(void *arg, const char *name, const struct names_meta *meta)
{
	struct names *n = arg;
	struct bucket *b = bucket_find(n, name);

	if (!b)
		return 0;
	b->meta = *meta;
	b->has_meta = true;
	if (meta->state == NAMES_STATE_COMPLETE && meta->epoch && meta->primary[0]) {
		b->record.epoch = meta->epoch;
		strcpy(b->record.primary, meta->primary);
		strcpy(b->record.secondary, meta->secondary);
		b->known = true;
	}
	return 0;
}

static int stored_txn(struct names_txn *t, void *arg)
{
	return names_meta_each(t, stored_bucket, arg);
}

static void on_record(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct names *n = arg;
	struct names_record r;
	struct bucket *b;

	if (event == REG_SYNCED)
		return;
	b = bucket_find(n, kv->key + strlen(REG_NAMES));
	if (!b)
		return;
	if (event == REG_DELETE) {
		pthread_mutex_lock(&n->lock);
		b->known = false;
		b->mod_revision = 0;
		pthread_mutex_unlock(&n->lock);
		return;
	}
	if (names_record_decode(&r, kv->value, kv->value_len)) {
		log_limited(LOG_LEVEL_ERROR, 2, "the registry's %s is not understood: %s", kv->key,
			    kv->value);
		return;
	}
	record_learn(n, b, &r, kv->mod_revision);
	if (!strcmp(r.primary, n->node) || !strcmp(r.secondary, n->node))
		bucket_schedule(n, b);
}

/* ---- time ---- */

static void bucket_tick(struct names *n, struct bucket *b, void *arg)
{
	bool mine, second, work;
	struct bucket_view v;

	(void)arg;
	bucket_expire(n, b, false);
	bucket_view(n, b, &v);
	mine = v.known && !strcmp(v.record.primary, n->node);
	second = v.known && !strcmp(v.record.secondary, n->node);
	pthread_mutex_lock(&n->lock);
	work = b->again || b->queue || v.unsure || v.taking;
	pthread_mutex_unlock(&n->lock);
	if (second && node_gone(n, v.record.primary))
		work = true;
	if (mine && (!v.ready ||
		     (v.meta.secondary[0] ? node_gone(n, v.meta.secondary) : nodes_others(n) > 0)))
		work = true;
	if (!work)
		return;
	pthread_mutex_lock(&n->lock);
	if (!n->stopping && !b->running && now_ms() >= b->not_before)
		bucket_schedule_locked(n, b);
	pthread_mutex_unlock(&n->lock);
}

static void *tick_run(void *arg)
{
	struct names *n = arg;
	int64_t check = 0;

	pthread_mutex_lock(&n->lock);
	while (!n->stopping) {
		int64_t next = now_ms() + NAMES_TICK_MS;

		pthread_mutex_unlock(&n->lock);
		buckets_each(n, bucket_tick, NULL);
		if (now_ms() >= check) {
			names_db_readers_check(n->db);
			check = now_ms() + READERS_CHECK_MS;
		}
		pthread_mutex_lock(&n->lock);
		while (!n->stopping && now_ms() < next)
			names_wait(n, next);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* ---- opening and closing ---- */

static int threads_start(struct names *n)
{
	int rc = jobs_new(&n->writers, "names-write", 8);

	if (!rc)
		rc = jobs_new(&n->readers, "names-read", 8);
	if (!rc)
		rc = nodes_open(n);
	if (!rc)
		rc = registry_watch(n->registry, &n->watch_names, REG_NAMES, on_record, n);
	if (!rc) {
		rc = -pthread_create(&n->tick, NULL, tick_run, n);
		n->tick_runs = !rc;
	}
	return rc ? rc : outbox_open(n);
}

int names_open(struct names **out, const struct names_options *o)
{
	struct names *n = calloc(1, sizeof(*n));
	pthread_condattr_t attr;
	int rc;

	if (!n)
		return -ENOMEM;
	n->node = strdup(o->node);
	n->site = strdup(o->site);
	n->domain = strdup(o->domain);
	n->number = -1;
	n->registry = o->registry;
	n->httpc = o->httpc;
	n->forget = o->forget;
	n->forget_many = o->forget_many;
	n->fetch = o->fetch;
	n->arg = o->arg;
	pthread_mutex_init(&n->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&n->changed, &attr);
	pthread_cond_init(&n->outbox_wake, &attr);
	pthread_cond_init(&n->inbox_wake, &attr);
	pthread_condattr_destroy(&attr);
	rc = n->node && n->site && n->domain ? names_db_open(&n->db, o->dir) : -ENOMEM;
	if (!rc)
		rc = names_db_read(n->db, stored_txn, n);
	if (!rc)
		rc = threads_start(n);
	if (rc) {
		log_error("the names in %s cannot be opened: %s", o->dir,
			  rc == -EPROTO ? "they were written by a newer weir; run that one, or restore a "
					  "backup"
					: strerror(-rc));
		names_stop(n);
		names_close(n);
		return rc;
	}
	*out = n;
	return 0;
}

struct names_db *names_files(struct names *names)
{
	return names->db;
}

void names_set_lease(struct names *n, struct reg_lease *lease)
{
	pthread_mutex_lock(&n->lock);
	n->lease = lease;
	pthread_mutex_unlock(&n->lock);
}

static void bucket_stop(struct names *n, struct bucket *b, void *arg)
{
	(void)arg;
	bucket_expire(n, b, true);
}

void names_stop(struct names *n)
{
	pthread_mutex_lock(&n->lock);
	n->stopping = true;
	n->lease = NULL;
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
	outbox_close(n);
	if (n->tick_runs)
		pthread_join(n->tick, NULL);
	n->tick_runs = false;
	jobs_free(n->readers);
	jobs_free(n->writers);
	n->readers = n->writers = NULL;
	buckets_each(n, bucket_stop, NULL);
	/* The requests that they came with are over, so no other comes. */
	pthread_mutex_lock(&n->lock);
	while (n->visitors)
		pthread_cond_wait(&n->changed, &n->lock);
	pthread_mutex_unlock(&n->lock);
	registry_unwatch(n->watch_names);
	n->watch_names = NULL;
}

void names_close(struct names *n)
{
	if (!n)
		return;
	nodes_close(n);
	for (unsigned int i = 0; i < BUCKET_HASH; i++)
		for (struct bucket *b = n->buckets[i], *next; b; b = next) {
			next = b->next;
			pthread_mutex_destroy(&b->change);
			free(b);
		}
	names_db_close(n->db);
	pthread_mutex_destroy(&n->lock);
	pthread_cond_destroy(&n->changed);
	pthread_cond_destroy(&n->outbox_wake);
	pthread_cond_destroy(&n->inbox_wake);
	free(n->node);
	free(n->site);
	free(n->domain);
	free(n);
}

/* ---- status ---- */

struct status {
	json_t *list;
	uint64_t objects, outbox;
	bool lone;
};

static void bucket_status(struct names *n, struct bucket *b, void *arg)
{
	struct status *s = arg;
	struct bucket_view v;
	const char *role = "none";
	char why[sizeof(b->why)];

	bucket_view(n, b, &v);
	if (!v.known)
		return;
	pthread_mutex_lock(&n->lock);
	strcpy(why, b->why);
	pthread_mutex_unlock(&n->lock);
	if (!strcmp(v.record.primary, n->node)) {
		role = "primary";
		s->objects += v.meta.objects;
		s->outbox += v.meta.tasks + v.meta.dropped; /* the latter are tasks to be */
		s->lone |= !v.record.secondary[0];
	} else if (!strcmp(v.record.secondary, n->node)) {
		role = "secondary";
	}
	json_array_append_new(s->list,
			      json_pack("{s:s s:s s:I s:s s:s? s:I s:I s:I s:s}", "name", b->name,
					"role", role, "epoch", (json_int_t)v.record.epoch,
					"primary", v.record.primary, "secondary",
					v.record.secondary[0] ? v.record.secondary : NULL,
					"objects", (json_int_t)(*role == 'n' ? 0 : v.meta.objects),
					"bytes", (json_int_t)(*role == 'n' ? 0 : v.meta.bytes),
					"uploads", (json_int_t)(*role == 'n' ? 0 : v.meta.uploads),
					"writes", why[0] ? why : "ok"));
}

bool names_is_primary(struct names *n, const char *bucket)
{
	struct bucket *b = bucket_look(n, bucket);
	struct bucket_view v = { .known = false };

	if (b)
		bucket_view(n, b, &v);
	return v.known && !strcmp(v.record.primary, n->node);
}

uint64_t names_came(struct names *n)
{
	return atomic_load(&n->came);
}

json_t *names_status(struct names *n)
{
	struct status s = { .list = json_array() };
	json_t *o;

	buckets_each(n, bucket_status, &s);
	o = json_pack("{s:o s:I s:I}", "buckets", s.list, "objects", (json_int_t)s.objects,
		      "outbox", (json_int_t)s.outbox);
	if (s.lone)
		json_object_set_new(o, "note",
				    json_string("names of some buckets have no second copy"));
	return o;
}

/* ---- all of this node's copies ---- */
#define WALK_PAGE 64

struct walk_page {
	const char *bucket;
	enum names_space space;
	struct names_page page;
	char after[NAMES_KEY_MAX + 1], after_version[NAMES_MARKER_MAX + 1];
	unsigned int count;
	struct name_entry entries[WALK_PAGE];
};

/* Those that have data of their own. */
static int walk_keep(void *arg, const char *bucket, const struct name_entry *e)
{
	struct walk_page *p = arg;

	(void)bucket;
	if (!e->marker && !e->nparts)
		names_entry_copy(&p->entries[p->count++], e);
	return 0;
}

static int walk_txn(struct names_txn *t, void *arg)
{
	struct walk_page *p = arg;
	struct names_scan o = { .space = p->space,
				.versions = true,
				.select = { .after = p->after,
					    .after_version = p->after_version,
					    .limit = WALK_PAGE },
				.fn = walk_keep,
				.arg = p };
	struct names_meta meta;
	int rc = names_meta_get(t, p->bucket, &meta);

	if (rc || meta.state != NAMES_STATE_COMPLETE)
		return rc == -ENOENT ? 0 : rc;
	return names_scan(t, meta.id, p->bucket, &o, &p->page);
}

struct walk_all {
	names_entry_fn *fn;
	void *arg;
	int rc;
};

static void walk_space(struct names *n, struct walk_page *p, struct walk_all *w)
{
	p->after[0] = p->after_version[0] = '\0';
	do {
		p->count = 0;
		memset(&p->page, 0, sizeof(p->page));
		w->rc = names_db_read(n->db, walk_txn, p);
		strcpy(p->after, p->page.next);
		strcpy(p->after_version, p->page.next_version);
		for (unsigned int i = 0; i < p->count && !w->rc; i++)
			w->rc = w->fn(w->arg, p->bucket, &p->entries[i]);
	} while (!w->rc && p->page.more);
}

static void walk_bucket(struct names *n, struct bucket *b, void *arg)
{
	struct walk_all *w = arg;
	struct walk_page *p;

	if (w->rc)
		return;
	p = malloc(sizeof(*p));
	if (!p) {
		w->rc = -ENOMEM;
		return;
	}
	p->bucket = b->name;
	p->space = NAMES_OBJECTS;
	walk_space(n, p, w);
	p->space = NAMES_PARTS;
	if (!w->rc)
		walk_space(n, p, w);
	free(p);
}

int names_each(struct names *n, names_entry_fn *fn, void *arg)
{
	struct walk_all w = { .fn = fn, .arg = arg };

	buckets_each(n, walk_bucket, &w);
	return w.rc;
}
