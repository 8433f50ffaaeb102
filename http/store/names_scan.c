/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_scan.c -- listings: objects, versions, uploads and parts in key order, by hash, the tasks
 * of a node.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/store/names_db_internal.h"
#include "lib/hash.h"

/* So much is told in one page: as JSON it fits into the answer that node_post() takes. A thousand
 * usual entries are below 1 MiB. What asks for more than any page has (completing an upload) gets
 * all. */
#define PAGE_BYTES (3u << 20)
/* Versions of a key that are stepped over before it is worth seeking behind them. */
#define STEPS 4

static int cursor_open(struct names_txn *t, enum names_table table, MDB_cursor **c)
{
	return names_errno(mdb_cursor_open(t->txn, names_table(t->db, table), c));
}

struct scan {
	const struct names_scan *o;
	struct names_txn *t;
	uint32_t id;
	const char *bucket, *prefix, *delimiter;
	size_t prefix_len, delimiter_len;
	unsigned int limit, told;
	size_t bytes;
	struct names_walk w;
	struct names_page *page;
	struct name_entry e;
	bool last; /* e was told last, not a prefix */
	/* versions: the key that the walk is at, and the order of its newest */
	char key[NAMES_KEY_MAX + 1];
	uint64_t current;
};

/* To the first key that does not begin with these bytes. */
static int seek_beyond(struct scan *s, const char *bytes, size_t len)
{
	char after[NAMES_KEY_MAX + 1];

	while (len && (unsigned char)bytes[len - 1] == 0xff)
		len--;
	if (!len)
		return -ENOENT;
	memcpy(after, bytes, len);
	after[len - 1]++;
	return names_walk_seek(&s->w, after, len);
}

/* Behind all versions of a key: no key has a byte below 1. */
static int seek_after(struct scan *s, const char *key)
{
	char after[NAMES_KEY_MAX + 2];
	size_t len = strlen(key);

	memcpy(after, key, len);
	after[len] = 1;
	return names_walk_seek(&s->w, after, len + 1);
}

/* The length of the common prefix that the key is told as, 0: it is told itself. */
static size_t common(const struct scan *s, const char *key)
{
	const char *at;

	if (!s->delimiter_len || strncmp(key, s->prefix, s->prefix_len))
		return 0;
	at = strstr(key + s->prefix_len, s->delimiter);
	return at ? (size_t)(at - key) + s->delimiter_len : 0;
}

/* A page's marker says the order; a client's is the version alone. -ENOENT: not known. */
static int marker_order(struct scan *s, const char *key, const char *marker, uint64_t *order)
{
	const char *dot = strchr(marker, '.');
	char *end;
	int rc;

	if (dot) {
		*order = strtoull(dot + 1, &end, 16);
		return *end ? -ENOENT : 0;
	}
	if (s->o->space == NAMES_OBJECTS)
		rc = names_row_version(s->t, s->id, key, marker, &s->e);
	else
		rc = names_row_of(s->t, s->id, s->o->space, marker, &s->e);
	*order = s->e.order;
	return rc || strcmp(s->e.key, key) ? -ENOENT : 0;
}

static int seek_marker(struct scan *s, const char *key, const char *marker)
{
	uint64_t order;
	int rc;

	if (marker_order(s, key, marker, &order))
		return names_walk_seek(&s->w, key, strlen(key));
	if (s->o->versions && !names_walk_current(&s->w, key)) {
		strcpy(s->key, key);
		s->current = s->w.order;
	}
	rc = names_walk_seek_order(&s->w, key, order);
	if (!rc && !strcmp(s->w.key, key) && s->w.order == order)
		rc = names_walk_next(&s->w);
	return rc;
}

static int scan_start(struct scan *s)
{
	const char *after = s->o->select.after, *marker = s->o->select.after_version;
	size_t len;

	if (!after || !*after || strcmp(after, s->prefix) < 0)
		return names_walk_seek(&s->w, s->prefix, s->prefix_len);
	len = common(s, after);
	if (len)
		return seek_beyond(s, after, len);
	if (marker && *marker)
		return seek_marker(s, after, marker);
	return seek_after(s, after);
}

/* Is there room for one more? */
static bool room(struct scan *s)
{
	if (s->told < s->limit && (s->bytes < PAGE_BYTES || s->limit > NAMES_PARTS_MAX))
		return true;
	s->page->more = true;
	return false;
}

static int tell_prefix(struct scan *s, size_t len)
{
	char prefix[NAMES_KEY_MAX + 1];
	int rc;

	if (!room(s))
		return 1;
	memcpy(prefix, s->w.key, len);
	prefix[len] = '\0';
	s->told++;
	s->last = false;
	strcpy(s->page->next, prefix);
	rc = s->o->prefix_fn ? s->o->prefix_fn(s->o->arg, s->bucket, prefix) : 0;
	return rc ? rc : seek_beyond(s, prefix, len);
}

static int tell_entry(struct scan *s, bool current)
{
	int rc;

	if (!room(s))
		return 1;
	rc = names_row_get(s->t, s->id, s->o->space, s->w.seq, &s->e);
	if (rc)
		return rc == -ENOENT ? -EIO : rc;
	s->e.current = current;
	if (!s->o->select.meta) {
		s->e.meta_len = 0;
		s->e.meta[0] = '\0';
	}
	s->bytes += names_entry_weight(&s->e);
	s->told++;
	s->last = true;
	return s->o->fn(s->o->arg, s->bucket, &s->e);
}

/* The walk is at the newest of a key: to the next key. */
static int next_key(struct scan *s)
{
	char key[NAMES_KEY_MAX + 1];
	int rc = 0;

	memcpy(key, s->w.key, s->w.len + 1);
	for (int i = 0; i < STEPS; i++) {
		rc = names_walk_next(&s->w);
		if (rc || strcmp(s->w.key, key))
			return rc;
	}
	return seek_after(s, key);
}

/* One entry of the index that is no tombstone; then the walk is at the next. -ENOENT or 1: the end.
 */
static int scan_one(struct scan *s)
{
	size_t len = common(s, s->w.key);
	bool current = true;
	int rc;

	if (!s->o->versions && s->o->space == NAMES_OBJECTS && s->w.flags & INDEX_MARKER)
		return next_key(s);
	if (len)
		return tell_prefix(s, len);
	if (s->o->versions) {
		if (strcmp(s->key, s->w.key)) {
			memcpy(s->key, s->w.key, s->w.len + 1);
			s->current = s->w.order;
		}
		current = s->w.order == s->current;
	}
	rc = tell_entry(s, current);
	if (rc)
		return rc;
	return s->o->versions || s->o->space != NAMES_OBJECTS ? names_walk_next(&s->w)
							      : next_key(s);
}

/* Where the next page goes on. */
static void page_mark(const struct scan *s)
{
	struct names_page *page = s->page;

	if (!s->last)
		return;
	strcpy(page->next, s->e.key);
	snprintf(page->next_version, sizeof(page->next_version), "%s.%llx",
		 s->e.null_version && s->o->space == NAMES_OBJECTS ? "null" : s->e.version,
		 (unsigned long long)s->e.order);
}

int names_scan(struct names_txn *t, uint32_t id, const char *bucket, const struct names_scan *o,
	       struct names_page *page)
{
	struct scan *s = calloc(1, sizeof(*s));
	int rc;

	memset(page, 0, sizeof(*page));
	if (!s)
		return -ENOMEM;
	s->o = o;
	s->t = t;
	s->id = id;
	s->bucket = bucket;
	s->prefix = o->select.prefix ? o->select.prefix : "";
	s->delimiter = o->select.delimiter ? o->select.delimiter : "";
	s->prefix_len = strlen(s->prefix);
	s->delimiter_len = strlen(s->delimiter);
	s->limit = o->select.limit;
	s->page = page;
	rc = names_walk_open(&s->w, t, names_space_id(id, o->space));
	if (rc) {
		free(s);
		return rc;
	}
	rc = scan_start(s);
	while (!rc && !strncmp(s->w.key, s->prefix, s->prefix_len))
		rc = s->w.flags & INDEX_DELETED ? names_walk_next(&s->w) : scan_one(s);
	page_mark(s);
	names_walk_close(&s->w);
	free(s);
	return rc == -ENOENT || rc == 1 ? 0 : rc;
}

int names_scan_parts(struct names_txn *t, uint32_t id, const char *bucket, const char *group,
		     unsigned int after, unsigned int limit, bool meta, names_entry_fn *fn,
		     void *arg, bool *more)
{
	char prefix[40], from[NAMES_KEY_MAX + 1] = "";
	struct names_scan o = {
		.space = NAMES_PARTS,
		.select = { .prefix = prefix, .after = from, .limit = limit, .meta = meta },
		.fn = fn,
		.arg = arg,
	};
	struct names_page page;
	int rc;

	snprintf(prefix, sizeof(prefix), "%.32s/", group);
	if (after)
		names_part_key(from, group, after);
	rc = names_scan(t, id, bucket, &o, &page);
	*more = page.more;
	return rc;
}

struct bucket_of {
	uint32_t id;
	char name[NAMES_BUCKET_MAX + 1];
	bool complete;
};

static int bucket_match(void *arg, const char *bucket, const struct names_meta *meta)
{
	struct bucket_of *b = arg;

	if (meta->id == b->id) {
		strcpy(b->name, bucket);
		b->complete = meta->state == NAMES_STATE_COMPLETE;
	}
	return 0;
}

int names_scan_hash(struct names_txn *t, const uint8_t sha256[32], unsigned int limit,
		    names_entry_fn *fn, void *arg)
{
	MDB_val k = { 32, (void *)sha256 }, v;
	MDB_cursor *c;
	int rc = cursor_open(t, T_HASHES, &c);

	if (rc)
		return rc;
	rc = names_errno(mdb_cursor_get(c, &k, &v, MDB_SET_KEY));
	while (!rc && limit > 0 && v.mv_size == 12) {
		struct bucket_of b = { .id = get_u32(v.mv_data) };
		struct name_entry e;

		rc = names_meta_each(t, bucket_match, &b);
		if (!rc)
			rc = names_row_get(t, b.id, NAMES_OBJECTS, get_u64((char *)v.mv_data + 4),
					   &e);
		if (!rc && b.complete) {
			limit--;
			rc = fn(arg, b.name, &e);
		}
		if (!rc)
			rc = names_errno(mdb_cursor_get(c, &k, &v, MDB_NEXT_DUP));
	}
	mdb_cursor_close(c);
	return rc == -ENOENT ? 0 : rc;
}

/* ---- tasks ---- */

static int task_unpack(struct names_task *task, const MDB_val *k, const MDB_val *v)
{
	const char *node = (char *)k->mv_data + 5;
	size_t len = strnlen(node, k->mv_size - 5);

	if (len >= CONF_NAME_MAX || k->mv_size != 5 + len + 1 + 8 || v->mv_size != 16)
		return -EIO;
	memset(task, 0, sizeof(*task));
	task->kind = ((unsigned char *)k->mv_data)[4];
	memcpy(task->node, node, len);
	task->seq = get_u64(node + len + 1);
	hex_encode(v->mv_data, 16, task->version);
	return 0;
}

int names_tasks_of(struct names_txn *t, uint32_t id, enum names_task_kind kind, const char *node,
		   struct names_task *out, unsigned int max)
{
	struct keybuf from;
	MDB_cursor *c;
	MDB_val k, v;
	unsigned int n = 0;
	int rc = cursor_open(t, T_TASKS, &c);

	if (rc)
		return rc;
	kb_task(&from, id, kind, node);
	k = kb_val(&from);
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	while (!rc && n < max && k.mv_size == from.len + 8 &&
	       !memcmp(k.mv_data, from.bytes, from.len)) {
		rc = task_unpack(&out[n++], &k, &v);
		if (!rc)
			rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		return rc == -EIO ? rc : names_errno(rc);
	return (int)n;
}

int names_tasks_nodes(struct names_txn *t, uint32_t id, enum names_task_kind kind,
		      char (*out)[CONF_NAME_MAX], unsigned int max)
{
	struct keybuf from = { .len = 0 };
	struct names_task task;
	unsigned char b = (unsigned char)kind;
	MDB_cursor *c;
	MDB_val k, v;
	unsigned int n = 0;
	int rc = cursor_open(t, T_TASKS, &c);

	if (rc)
		return rc;
	kb_u32(&from, id);
	kb_add(&from, &b, 1);
	k = kb_val(&from);
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	while (!rc && n < max && k.mv_size > 5 && !memcmp(k.mv_data, from.bytes, 5)) {
		struct keybuf next;

		rc = task_unpack(&task, &k, &v);
		if (rc)
			break;
		strcpy(out[n++], task.node);
		kb_task(&next, id, kind, task.node); /* behind all of this node's */
		kb_u64(&next, UINT64_MAX);
		k = kb_val(&next);
		rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	}
	mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		return rc == -EIO ? rc : names_errno(rc);
	return (int)n;
}
