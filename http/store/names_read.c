/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_read.c -- what callers ask to know: read here, when this node orders the bucket and is
 * certain of it, or asked at the bucket's primary.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"

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
	uint64_t term = 0;
	bool certain, alone, recorded;

	pthread_mutex_lock(&n->lock);
	*epoch = b->meta.epoch;
	certain = b->known && b->has_meta && b->meta.state == NAMES_STATE_COMPLETE && b->meta.epoch == b->record.epoch &&
		  !strcmp(b->record.primary, n->node) && !strcmp(b->meta.primary, n->node);
	alone = !b->record.secondary[0] && !b->unsure;
	recorded = b->mod_revision != 0;
	pthread_mutex_unlock(&n->lock);
	if (!certain || (alone && (recorded || !nodes_others(n))))
		return certain;
	pthread_mutex_lock(&n->lock);
	certain = n->lease && registry_lease_certain(n->lease, &term) && b->verified_term == term;
	pthread_mutex_unlock(&n->lock);
	return certain;
}

/* ---- here ---- */
struct read {
	struct names *n;
	struct query *q;
	bool told;
};

static int tell_entry(void *arg, const char *bucket, const struct name_entry *e)
{
	struct read *r = arg;

	r->told = true;
	return r->q->fn(r->q->arg, bucket, e);
}

static int tell_prefix(void *arg, const char *bucket, const char *prefix)
{
	struct read *r = arg;

	r->told = true;
	return r->q->prefix_fn ? r->q->prefix_fn(r->q->arg, bucket, prefix) : 0;
}

static bool is_listing(const struct query *q)
{
	return q->kind >= QUERY_LIST && q->kind <= QUERY_PARTS;
}

static int read_listing(struct names_txn *t, uint32_t id, struct read *r)
{
	struct query *q = r->q;
	struct names_scan o = {
		.space = q->kind == QUERY_UPLOADS ? NAMES_UPLOADS : NAMES_OBJECTS,
		.versions = q->kind == QUERY_VERSIONS,
		.select = { .prefix = q->prefix,
			    .delimiter = q->delimiter,
			    .after = q->key,
			    .after_version = q->version,
			    .limit = q->limit,
			    .meta = q->meta },
		.fn = tell_entry,
		.prefix_fn = tell_prefix,
		.arg = r,
	};

	if (q->kind == QUERY_PARTS)
		return names_scan_parts(t, id, q->bucket, q->version, q->part, q->limit, q->meta,
					tell_entry, r, &q->page.more);
	return names_scan(t, id, q->bucket, &o, &q->page);
}

static int read_get(struct names_txn *t, uint32_t id, struct query *q)
{
	int rc;

	if (*q->version)
		return names_row_version(t, id, q->key, q->version, &q->entry);
	rc = names_row_find(t, id, q->key, &q->entry);
	return !rc && q->entry.marker ? -ENOENT : rc;
}

static int read_one(struct names_txn *t, const struct names_meta *meta, struct query *q)
{
	enum names_space space;
	bool replaced;
	uint64_t seq;
	int rc;

	switch (q->kind) {
	case QUERY_GET:
		return read_get(t, meta->id, q);
	case QUERY_FIND:
		return names_row_data(t, meta->id, q->version, &space, &q->entry);
	case QUERY_USED:
		rc = names_row_data(t, meta->id, q->version, &space, &q->entry);
		if (rc == -ENOENT)
			rc = names_version_find(t, meta->id, q->version, &seq, &replaced);
		if (!rc && !*q->entry.key) { /* nothing has it any more */
			strcpy(q->entry.key, "-");
			memcpy(q->entry.version, q->version, sizeof(q->entry.version));
		}
		return rc;
	case QUERY_UPLOAD:
		rc = names_row_of(t, meta->id, NAMES_UPLOADS, q->version, &q->entry);
		return !rc && strcmp(q->entry.key, q->key) ? -ENOENT : rc;
	case QUERY_USAGE:
		q->usage = (struct names_usage){
			.objects = meta->objects,
			.bytes = meta->bytes,
			.markers = meta->markers,
			.uploads = meta->uploads,
			.parts = meta->parts,
			.seq = meta->seq,
			.closed = meta->closed,
		};
		return 0;
	default:
		return -EINVAL;
	}
}

static int read_txn(struct names_txn *t, void *arg)
{
	struct read *r = arg;
	struct names_meta meta;
	int rc = names_meta_get(t, r->q->bucket, &meta);

	if (rc || meta.state != NAMES_STATE_COMPLETE || strcmp(meta.primary, r->n->node))
		return rc && rc != -ENOENT ? rc : -ESTALE;
	r->q->entry.marker = false;
	return is_listing(r->q) ? read_listing(t, meta.id, r) : read_one(t, &meta, r->q);
}

/* Reads, then makes sure that nobody had taken over by then: the other way round, a program that
 * was stopped in between would answer from the past. A listing is checked before too, because what
 * it told cannot be taken back. */
static int read_run(struct read *r)
{
	struct bucket *b = bucket_find(r->n, r->q->bucket);
	struct bucket_view before, after;
	int rc = b ? 0 : -EAGAIN, certain;

	if (!rc && is_listing(r->q))
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
		names_fail("%s is not the primary of bucket %s", r->n->node, r->q->bucket);
	return rc;
}

int query_local(struct names *n, struct query *q)
{
	struct read r = { .n = n, .q = q };

	return read_run(&r);
}

/* ---- there ---- */

static const char *const query_names[QUERY_KINDS] = {
	[QUERY_GET] = "get",	 [QUERY_FIND] = "find",		[QUERY_USED] = "used",
	[QUERY_UPLOAD] = "upload",
	[QUERY_LIST] = "list",	 [QUERY_VERSIONS] = "versions", [QUERY_UPLOADS] = "uploads",
	[QUERY_PARTS] = "parts", [QUERY_USAGE] = "usage",
};

json_t *query_encode(const struct query *q)
{
	return json_pack("{s:s s:s s:s s:s s:s s:s s:i s:i s:b}", "bucket", q->bucket, "query",
			 query_names[q->kind], "key", q->key, "version", q->version, "prefix",
			 q->prefix, "delimiter", q->delimiter, "limit", (int)q->limit, "part",
			 (int)q->part, "meta", q->meta);
}

int query_decode(struct query *q, const json_t *body)
{
	const json_t *meta = json_object_get(body, "meta");
	uint64_t limit, part;
	char word[16];

	if (names_json_text(body, "bucket", q->bucket, sizeof(q->bucket)) ||
	    !names_bucket_valid(q->bucket) || names_json_text(body, "query", word, sizeof(word)) ||
	    names_json_text(body, "key", q->key, sizeof(q->key)) ||
	    names_json_text(body, "version", q->version, sizeof(q->version)) ||
	    names_json_text(body, "prefix", q->prefix, sizeof(q->prefix)) ||
	    names_json_text(body, "delimiter", q->delimiter, sizeof(q->delimiter)) ||
	    names_json_u64(body, "limit", &limit) || limit < 1 || limit > NAMES_LIST_MAX ||
	    names_json_u64(body, "part", &part) || part > NAMES_PARTS_MAX || !json_is_boolean(meta))
		return -EINVAL;
	q->limit = (unsigned int)limit;
	q->part = (unsigned int)part;
	q->meta = json_is_true(meta);
	for (int k = 0; k < QUERY_KINDS; k++)
		if (!strcmp(word, query_names[k])) {
			q->kind = (enum query_kind)k;
			return q->kind != QUERY_GET || names_key_valid(q->key) ? 0 : -EINVAL;
		}
	return -EINVAL;
}

/* Entries are objects, prefixes are strings. */
static int listing_tell(struct read *r, const json_t *list)
{
	const json_t *value;
	struct name_entry *e = malloc(sizeof(*e));
	int rc = e ? 0 : -ENOMEM;
	size_t i;

	json_array_foreach (list, i, value) {
		if (rc)
			break;
		if (json_is_string(value)) {
			rc = tell_prefix(r, r->q->bucket, json_string_value(value));
			continue;
		}
		rc = names_entry_decode(e, value);
		if (!rc)
			rc = tell_entry(r, r->q->bucket, e);
	}
	free(e);
	return rc;
}

static int usage_decode(struct names_usage *u, const json_t *o)
{
	u->closed = json_is_true(json_object_get(o, "closed"));
	return names_json_u64(o, "objects", &u->objects) || names_json_u64(o, "bytes", &u->bytes) ||
			       names_json_u64(o, "markers", &u->markers) ||
			       names_json_u64(o, "uploads", &u->uploads) ||
			       names_json_u64(o, "parts", &u->parts) ||
			       names_json_u64(o, "seq", &u->seq)
		       ? -EPROTO
		       : 0;
}

static int answer_decode(struct read *r, const json_t *answer)
{
	struct query *q = r->q;

	if (q->kind == QUERY_USAGE)
		return usage_decode(&q->usage, json_object_get(answer, "usage"));
	if (!is_listing(q))
		return names_entry_decode(&q->entry, json_object_get(answer, "entry")) ? -EPROTO
										       : 0;
	if (!json_is_array(json_object_get(answer, "entries")) ||
	    names_json_text(answer, "next", q->page.next, sizeof(q->page.next)) ||
	    names_json_text(answer, "next_version", q->page.next_version,
			    sizeof(q->page.next_version)))
		return -EPROTO;
	q->page.more = json_is_true(json_object_get(answer, "more"));
	r->told = true; /* fn sees something: the page cannot be asked for again */
	return listing_tell(r, json_object_get(answer, "entries"));
}

static int query_there(struct read *r, struct bucket *b, const char *primary)
{
	json_t *answer;
	int rc = node_post(r->n, primary, "read", query_encode(r->q), &answer, TRY_MS);

	r->q->entry.marker = false;
	if (!rc)
		rc = answer_decode(r, answer);
	else if (rc == -ENOENT && r->q->kind == QUERY_GET && json_object_get(answer, "entry") &&
		 names_entry_decode(&r->q->entry, json_object_get(answer, "entry")))
		rc = -EPROTO;
	else if (rc == -ESTALE || rc == -ENOTCONN || rc == -ETIMEDOUT)
		route_again(r->n, b, answer);
	json_decref(answer);
	return rc;
}

static int query_run(struct names *n, struct query *q)
{
	struct pause p = pause_begin();
	struct read r = { .n = n, .q = q };
	int rc;

	do {
		struct bucket_view v;
		struct bucket *b;

		rc = route(n, q->bucket, false, &b, &v);
		if (rc == -EAGAIN)
			continue;
		if (rc)
			return rc;
		if (!strcmp(v.record.primary, n->node))
			rc = read_run(&r);
		else
			rc = query_there(&r, b, v.record.primary);
		if (r.told)
			return rc == -ESTALE ? -EAGAIN : rc;
		if (!rc || rc == -ENOENT || rc == -EINVAL)
			return rc;
	} while (pause_next(n, &p));
	return -EAGAIN;
}

/* ---- the calls ---- */

/* A text that may be NULL into its place; false: too long. */
static bool text_fits(char *out, size_t room, const char *text)
{
	size_t len = text ? strnlen(text, room) : 0;

	if (len >= room)
		return false;
	memcpy(out, text ? text : "", len);
	out[len] = '\0';
	return true;
}

/* NULL: no memory or not acceptable, *rc says which. */
static struct query *query_new(enum query_kind kind, const char *bucket, const char *key,
			       const char *version, int *rc)
{
	struct query *q = malloc(sizeof(*q));

	*rc = -ENOMEM;
	if (!q)
		return NULL;
	memset(q, 0, offsetof(struct query, entry));
	memset(&q->page, 0, sizeof(q->page));
	memset(&q->usage, 0, sizeof(q->usage));
	names_entry_clear(&q->entry);
	q->kind = kind;
	q->limit = 1;
	*rc = 0;
	if (!names_bucket_valid(bucket) || !text_fits(q->bucket, sizeof(q->bucket), bucket)) {
		names_fail("%.80s is not a name for a bucket", bucket);
		*rc = -EINVAL;
	} else if (!text_fits(q->key, sizeof(q->key), key)) {
		names_fail("a name for an object is at most %d bytes long", NAMES_KEY_MAX);
		*rc = -EINVAL;
	} else if (!text_fits(q->version, sizeof(q->version), version)) {
		names_fail("there is no such version");
		*rc = -ENOENT;
	}
	if (!*rc)
		return q;
	free(q);
	return NULL;
}

static int get(struct names *n, enum query_kind kind, const char *bucket, const char *key,
	       const char *version, struct name_entry *entry)
{
	int rc;
	struct query *q = query_new(kind, bucket, key, version, &rc);

	entry->marker = false;
	if (q && kind == QUERY_GET && !names_key_valid(key)) {
		names_fail("this is not a name for an object");
		rc = -EINVAL;
	}
	if (!rc)
		rc = query_run(n, q);
	if (!rc || (rc == -ENOENT && q && q->entry.marker))
		names_entry_copy(entry, &q->entry);
	free(q);
	return rc;
}

/* For a server's thread: straight into the caller's entry, without a query in between. */
struct now {
	const char *node, *bucket, *key, *version;
	struct name_entry *entry;
};

static int now_txn(struct names_txn *t, void *arg)
{
	const struct now *g = arg;
	struct names_meta meta;
	int rc = names_meta_get(t, g->bucket, &meta);

	if (rc || meta.state != NAMES_STATE_COMPLETE || strcmp(meta.primary, g->node))
		return -ESTALE;
	if (g->version)
		return names_row_version(t, meta.id, g->key, g->version, g->entry);
	rc = names_row_find(t, meta.id, g->key, g->entry);
	return !rc && g->entry->marker ? -ENOENT : rc;
}

int names_get(struct names *names, const char *bucket, const char *key, struct name_entry *entry)
{
	return get(names, QUERY_GET, bucket, key, NULL, entry);
}

int names_get_now(struct names *names, const char *bucket, const char *key,
		  struct name_entry *entry)
{
	return names_get_version_now(names, bucket, key, NULL, entry);
}

int names_get_version(struct names *names, const char *bucket, const char *key, const char *version,
		      struct name_entry *entry)
{
	return get(names, QUERY_GET, bucket, key, version, entry);
}

int names_get_version_now(struct names *names, const char *bucket, const char *key,
			  const char *version, struct name_entry *entry)
{
	struct now g = { names->node, bucket, key, version, entry };
	uint64_t before, after;
	struct bucket *b;
	int rc;

	entry->marker = false;
	if (!names_bucket_valid(bucket) || !names_key_valid(key))
		return -EWOULDBLOCK;
	b = bucket_look(names, bucket);
	if (!b || !certain_now(names, b, &before))
		return -EWOULDBLOCK;
	rc = names_db_read(names->db, now_txn, &g);
	if (!certain_now(names, b, &after) || after != before)
		return -EWOULDBLOCK; /* stopped in between, see read_run() */
	if (rc == -ENOENT)
		names_fail("there is no such object");
	return !rc || rc == -ENOENT ? rc : -EWOULDBLOCK;
}

bool names_moment(struct names *names, const char *bucket, struct names_moment *moment)
{
	moment->bucket = bucket_look(names, bucket);
	moment->commits = names_db_commits(names->db);
	return moment->bucket && certain_now(names, moment->bucket, &moment->epoch);
}

/* Buckets stay in memory as long as the names do. First the number, then who orders: see read_run(). */
bool names_moment_lasts(struct names *names, const struct names_moment *moment)
{
	uint64_t epoch;

	return names_db_commits(names->db) == moment->commits && certain_now(names, moment->bucket, &epoch) &&
	       epoch == moment->epoch;
}

int names_find(struct names *names, const char *bucket, const char *version,
	       struct name_entry *entry)
{
	return get(names, QUERY_FIND, bucket, NULL, version, entry);
}

int names_version_used(struct names *names, const char *bucket, const char *version)
{
	struct name_entry *e = malloc(sizeof(*e));
	int rc = e ? get(names, QUERY_USED, bucket, NULL, version, e) : -ENOMEM;

	free(e);
	return rc;
}

int names_upload_get(struct names *names, const char *bucket, const char *key, const char *id,
		     struct name_entry *entry)
{
	return get(names, QUERY_UPLOAD, bucket, key, id, entry);
}

static bool text_is_utf8(const char *text)
{
	return names_text_valid(text, strlen(text));
}

static unsigned int limit_of(unsigned int limit)
{
	return limit && limit < NAMES_LIST_MAX ? limit : NAMES_LIST_MAX;
}

static int list(struct names *n, enum query_kind kind, const char *bucket,
		const struct names_select *s, names_entry_fn *fn, names_prefix_fn *prefix_fn,
		void *arg, struct names_page *page)
{
	int rc;
	struct query *q = query_new(kind, bucket, s->after, s->after_version, &rc);

	memset(page, 0, sizeof(*page));
	if (q && (!text_fits(q->prefix, sizeof(q->prefix), s->prefix) ||
		  !text_fits(q->delimiter, sizeof(q->delimiter), s->delimiter))) {
		names_fail("prefix, delimiter and after are at most %d bytes long", NAMES_KEY_MAX);
		rc = -EINVAL;
	}
	/* A delimiter that is none would cut keys inside of a character: such a page cannot be told. */
	if (!rc &&
	    !(text_is_utf8(q->key) && text_is_utf8(q->prefix) && text_is_utf8(q->delimiter))) {
		names_fail("prefix, delimiter and after are UTF-8, as keys are");
		rc = -EINVAL;
	}
	if (rc) {
		free(q);
		return rc;
	}
	q->limit = limit_of(s->limit);
	q->meta = s->meta;
	q->fn = fn;
	q->prefix_fn = prefix_fn;
	q->arg = arg;
	rc = query_run(n, q);
	*page = q->page;
	free(q);
	return rc;
}

int names_list_with(struct names *names, const char *bucket, const struct names_select *select,
		    names_entry_fn *fn, names_prefix_fn *prefix_fn, void *arg,
		    struct names_page *page)
{
	return list(names, QUERY_LIST, bucket, select, fn, prefix_fn, arg, page);
}

int names_versions(struct names *names, const char *bucket, const struct names_select *select,
		   names_entry_fn *fn, names_prefix_fn *prefix_fn, void *arg,
		   struct names_page *page)
{
	return list(names, QUERY_VERSIONS, bucket, select, fn, prefix_fn, arg, page);
}

int names_uploads(struct names *names, const char *bucket, const struct names_select *select,
		  names_entry_fn *fn, names_prefix_fn *prefix_fn, void *arg,
		  struct names_page *page)
{
	return list(names, QUERY_UPLOADS, bucket, select, fn, prefix_fn, arg, page);
}

int names_parts(struct names *names, const char *bucket, const char *id, unsigned int after,
		unsigned int limit, bool meta, names_entry_fn *fn, void *arg, bool *more)
{
	int rc;
	struct query *q = query_new(QUERY_PARTS, bucket, NULL, id, &rc);

	*more = false;
	if (q && after <= NAMES_PARTS_MAX) {
		q->limit = limit_of(limit);
		q->part = after;
		q->meta = meta;
		q->fn = fn;
		q->arg = arg;
		rc = query_run(names, q);
		*more = q->page.more;
	}
	free(q);
	return rc == -ENOENT ? 0 : rc;
}

int names_usage(struct names *names, const char *bucket, struct names_usage *out)
{
	int rc;
	struct query *q = query_new(QUERY_USAGE, bucket, NULL, NULL, &rc);

	memset(out, 0, sizeof(*out));
	if (q)
		rc = query_run(names, q);
	if (!rc)
		*out = q->usage;
	free(q);
	return rc == -ENOENT ? 0 : rc;
}
