/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c -- the store in memory: the ordered keys, transactions with undo, the history.
 *
 * The keys are a sorted array of pointers: a registry holds thousands of keys, and moving some
 * hundred KiB of pointers costs less than the disk write that follows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/registry/store_internal.h"

/* ---- versions of keys ---- */

struct kv *kv_new(const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct kv *kv = calloc(1, sizeof(*kv) + key_len + value_len);

	if (!kv)
		return NULL;
	atomic_init(&kv->refs, 1);
	kv->key_len = (uint32_t)key_len;
	kv->value_len = (uint32_t)value_len;
	memcpy(kv->data, key, key_len);
	if (value_len)
		memcpy(kv->data + key_len, value, value_len);
	return kv;
}

struct kv *kv_get(struct kv *kv)
{
	atomic_fetch_add_explicit(&kv->refs, 1, memory_order_relaxed);
	return kv;
}

void kv_put(struct kv *kv)
{
	if (!kv || atomic_fetch_sub(&kv->refs, 1) != 1)
		return;
	explicit_bzero(kv->data + kv->key_len, kv->value_len); /* it may be a signing key */
	free(kv);
}

static uint64_t kv_bytes(const struct kv *kv)
{
	return (uint64_t)kv->key_len + kv->value_len;
}

/* ---- spans ---- */

static int key_order(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order ? order : (a_len > b_len) - (a_len < b_len);
}

static bool span_open(const struct span *span)
{
	return span->end_len == 1 && !span->end[0];
}

bool span_has(const struct span *span, const char *key, size_t key_len)
{
	int from = key_order(key, key_len, span->key, span->key_len);

	if (!span->end_len)
		return !from;
	return from >= 0 &&
	       (span_open(span) || key_order(key, key_len, span->end, span->end_len) < 0);
}

bool span_overlaps(const struct span *span, const char *from, const char *to)
{
	size_t from_len = strlen(from), to_len = strlen(to);

	if (key_order(span->key, span->key_len, to, to_len) >= 0)
		return false;
	if (!span->end_len)
		return key_order(span->key, span->key_len, from, from_len) >= 0;
	return span_open(span) || key_order(span->end, span->end_len, from, from_len) > 0;
}

/* ---- the ordered keys ---- */

/* The first key that is not before the one given. */
static size_t keys_at(const struct store *s, const char *key, size_t key_len)
{
	size_t low = 0, high = s->nkeys;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (key_order(s->keys[mid]->data, s->keys[mid]->key_len, key, key_len) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct kv *keys_find(const struct store *s, const char *key, size_t key_len)
{
	size_t at = keys_at(s, key, key_len);

	if (at < s->nkeys && !key_order(s->keys[at]->data, s->keys[at]->key_len, key, key_len))
		return s->keys[at];
	return NULL;
}

static void span_bounds(const struct store *s, const struct span *span, size_t *from, size_t *to)
{
	*from = keys_at(s, span->key, span->key_len);
	if (!span->end_len)
		*to = *from + (*from < s->nkeys &&
			       span_has(span, s->keys[*from]->data, s->keys[*from]->key_len));
	else
		*to = span_open(span) ? s->nkeys : keys_at(s, span->end, span->end_len);
	if (*to < *from)
		*to = *from;
}

int store_keys_insert(struct store *s, size_t at, struct kv *kv)
{
	if (s->nkeys == s->room) {
		size_t room = s->room ? s->room * 2 : 256;
		struct kv **more = reallocarray(s->keys, room, sizeof(struct kv *));

		if (!more)
			return -ENOMEM;
		s->keys = more;
		s->room = room;
	}
	memmove(&s->keys[at + 1], &s->keys[at], (s->nkeys - at) * sizeof(struct kv *));
	s->keys[at] = kv;
	s->nkeys++;
	s->live += kv_bytes(kv);
	return 0;
}

static void keys_remove(struct store *s, size_t at)
{
	s->live -= kv_bytes(s->keys[at]);
	s->nkeys--;
	memmove(&s->keys[at], &s->keys[at + 1], (s->nkeys - at) * sizeof(struct kv *));
}

/* ---- history ---- */

struct past *store_past(struct store *s, size_t i)
{
	return &s->history[(s->first + i) % STORE_HISTORY_MAX];
}

static void history_forget(struct store *s, size_t n)
{
	for (; n; n--) {
		struct kv *kv = store_past(s, 0)->kv;

		s->history_bytes -= kv_bytes(kv);
		if (s->oldest <= kv->mod_revision)
			s->oldest = kv->mod_revision + 1;
		kv_put(kv);
		s->first = (s->first + 1) % STORE_HISTORY_MAX;
		s->nhistory--;
	}
}

void store_history_add(struct store *s, struct kv *kv, uint32_t sub)
{
	*store_past(s, s->nhistory) = (struct past){ kv_get(kv), sub };
	s->nhistory++;
	s->history_bytes += kv_bytes(kv);
}

/* How many of the oldest must go so that more fits: whole revisions. */
static size_t history_excess(struct store *s, size_t more, uint64_t more_bytes)
{
	uint64_t bytes = s->history_bytes + more_bytes;
	size_t n = 0;

	while (n < s->nhistory &&
	       (s->nhistory - n + more > STORE_HISTORY_MAX || bytes > STORE_HISTORY_BYTES))
		bytes -= kv_bytes(store_past(s, n++)->kv);
	while (n && n < s->nhistory &&
	       store_past(s, n)->kv->mod_revision == store_past(s, n - 1)->kv->mod_revision)
		n++;
	return n;
}

/* ---- changing, with undo ---- */

static int changes_add(struct changes *c, struct kv *old, struct kv *now)
{
	if (c->n == c->room) {
		size_t room = c->room ? c->room * 2 : 8;
		struct change *more = reallocarray(c->list, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		c->list = more;
		c->room = room;
	}
	c->list[c->n++] = (struct change){ old, now };
	return 0;
}

int store_delete_at(struct store *s, struct changes *changes, size_t at)
{
	struct kv *old = s->keys[at], *gone = kv_new(old->data, old->key_len, NULL, 0);

	if (!gone)
		return -ENOMEM;
	gone->mod_revision = changes->revision;
	if (changes_add(changes, old, gone)) {
		kv_put(gone);
		return -ENOMEM;
	}
	keys_remove(s, at);
	return 0;
}

static int put_key(struct store *s, struct changes *changes, const struct store_op *op)
{
	size_t at = keys_at(s, op->span.key, op->span.key_len);
	struct kv *old = keys_find(s, op->span.key, op->span.key_len);
	struct kv *now = kv_new(op->span.key, op->span.key_len, op->value, op->value_len);
	int rc = now ? 0 : -ENOMEM;

	if (!rc) {
		now->create_revision = old ? old->create_revision : changes->revision;
		now->version = old ? old->version + 1 : 1;
		now->mod_revision = changes->revision;
		now->lease = op->lease;
		rc = changes_add(changes, old, now);
	}
	if (rc) {
		kv_put(now);
		return rc;
	}
	if (old)
		s->keys[at] = now, s->live += kv_bytes(now) - kv_bytes(old);
	else
		rc = store_keys_insert(s, at, now);
	if (rc) {
		changes->n--;
		kv_put(now);
	}
	return rc;
}

/* Puts memory back as it was. Inserting cannot fail: the array was as large before. */
void store_undo(struct store *s, struct changes *changes)
{
	while (changes->n) {
		struct change *c = &changes->list[--changes->n];
		size_t at = keys_at(s, c->now->data, c->now->key_len);

		if (c->now->version)
			keys_remove(s, at);
		if (c->old)
			store_keys_insert(s, at, c->old);
		kv_put(c->now);
	}
	free(changes->list);
	changes->list = NULL;
}

int store_commit(struct store *s, struct changes *changes)
{
	uint64_t bytes = 0;
	size_t forget;
	int rc;

	for (size_t i = 0; i < changes->n; i++)
		bytes += kv_bytes(changes->list[i].now);
	forget = history_excess(s, changes->n, bytes);
	rc = s->live > STORE_LIVE_MAX && changes->n ? -ENOSPC : disk_commit(s, changes, forget);
	if (rc) {
		store_undo(s, changes);
		return rc;
	}
	history_forget(s, forget);
	for (size_t i = 0; i < changes->n; i++) {
		struct change *c = &changes->list[i];

		/* more than the history holds in one revision: it is too old at once */
		if (changes->n <= STORE_HISTORY_MAX)
			store_history_add(s, c->now, (uint32_t)i);
		else
			s->oldest = changes->revision + 1;
		kv_put(c->old);
		if (!c->now->version)
			kv_put(c->now);
	}
	if (changes->n)
		s->revision = changes->revision;
	free(changes->list);
	changes->list = NULL;
	return 0;
}

/* ---- transactions ---- */

static int64_t target_of(const struct kv *kv, enum store_target target)
{
	switch (target) {
	case TARGET_VERSION:
		return kv ? kv->version : 0;
	case TARGET_CREATE:
		return kv ? kv->create_revision : 0;
	case TARGET_MOD:
		return kv ? kv->mod_revision : 0;
	default:
		return kv ? kv->lease : 0;
	}
}

static bool compare_one(const struct store_compare *c, const struct kv *kv)
{
	int64_t have = target_of(kv, c->target);
	int order = (have > c->number) - (have < c->number);

	if (c->target == TARGET_VALUE) {
		if (!kv)
			return false; /* as in etcd: an absent key has no value to compare */
		order = key_order(kv_value(kv), kv->value_len, c->value, c->value_len);
	}
	switch (c->relation) {
	case RELATION_EQUAL:
		return !order;
	case RELATION_NOT_EQUAL:
		return order != 0;
	case RELATION_GREATER:
		return order > 0;
	default:
		return order < 0;
	}
}

/* A range holds when all its keys do; without any, as an absent key would. */
static bool compare_holds(const struct store *s, const struct store_compare *c)
{
	size_t from, to;

	span_bounds(s, &c->span, &from, &to);
	if (from == to)
		return compare_one(c, NULL);
	for (size_t i = from; i < to; i++)
		if (!compare_one(c, s->keys[i]))
			return false;
	return true;
}

static int op_keep(struct store_op *op, size_t from, size_t to, const struct store *s)
{
	if (from == to)
		return 0;
	op->kvs = calloc(to - from, sizeof(struct kv *));
	if (!op->kvs)
		return -ENOMEM;
	for (size_t i = from; i < to; i++)
		op->kvs[op->nkvs++] = kv_get(s->keys[i]);
	return 0;
}

static int op_delete(struct store *s, struct store_op *op, struct changes *changes, size_t from,
		     size_t to)
{
	int rc = op->want_prev ? op_keep(op, from, to, s) : 0;

	op->count = (int64_t)(to - from);
	for (size_t i = from; i < to && !rc; i++)
		rc = store_delete_at(s, changes, from);
	return rc;
}

static int op_run(struct store *s, struct store_op *op, struct changes *changes)
{
	size_t from, to;
	int rc;

	span_bounds(s, &op->span, &from, &to);
	switch (op->verb) {
	case OP_RANGE:
		op->count = (int64_t)(to - from);
		if (op->count_only)
			return 0;
		op->more = op->limit > 0 && op->limit < op->count;
		return op_keep(op, from, op->more ? from + (size_t)op->limit : to, s);
	case OP_PUT:
		if (op->lease && !store_lease_there(s, op->lease))
			return -ENOKEY;
		rc = op->want_prev ? op_keep(op, from, to, s) : 0;
		return rc ? rc : put_key(s, changes, op);
	default:
		return op_delete(s, op, changes, from, to);
	}
}

/* etcd refuses a transaction that puts a key twice, or puts and deletes it. */
static bool changed_twice(const struct store_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n && ops[i].verb == OP_PUT; j++)
			if (i != j && ops[j].verb != OP_RANGE &&
			    span_has(&ops[j].span, ops[i].span.key, ops[i].span.key_len))
				return true;
	return false;
}

static bool has_change(const struct store_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ops[i].verb != OP_RANGE)
			return true;
	return false;
}

struct kv **store_changed_list(const struct changes *changes)
{
	struct kv **list = calloc(changes->n ? changes->n : 1, sizeof(struct kv *));

	for (size_t i = 0; list && i < changes->n; i++)
		list[i] = kv_get(changes->list[i].now);
	return list;
}

void store_tell(struct store *s, struct kv **list, size_t n, int64_t revision)
{
	if (revision && n && list && s->changed)
		s->changed(s->changed_arg, list, n, revision);
	for (size_t i = 0; list && i < n; i++)
		kv_put(list[i]);
	free(list);
}

/* With the lock held, for writing when the transaction may change something. */
static int run_locked(struct store *s, struct store_txn *txn, struct changes *changes,
		      struct kv ***told, size_t *ntold)
{
	struct store_op *ops;
	size_t n;
	int rc = 0;

	txn->succeeded = true;
	for (size_t i = 0; i < txn->ncompares && txn->succeeded; i++)
		txn->succeeded = compare_holds(s, &txn->compares[i]);
	ops = txn->succeeded ? txn->then : txn->otherwise;
	n = txn->succeeded ? txn->nthen : txn->notherwise;
	changes->revision = s->revision + 1;
	for (size_t i = 0; i < n && !rc; i++)
		rc = op_run(s, &ops[i], changes);
	if (rc)
		store_undo(s, changes);
	if (!rc && changes->n) {
		*told = store_changed_list(changes);
		*ntold = changes->n;
		rc = store_commit(s, changes);
	}
	if (rc)
		store_ops_clear(ops, n);
	txn->revision = s->revision;
	return rc;
}

int store_run(struct store *s, struct store_txn *txn)
{
	struct changes changes = { 0 };
	struct kv **told = NULL;
	size_t ntold = 0;
	int rc;

	if (changed_twice(txn->then, txn->nthen) || changed_twice(txn->otherwise, txn->notherwise))
		return -EEXIST;
	if (has_change(txn->then, txn->nthen) || has_change(txn->otherwise, txn->notherwise))
		pthread_rwlock_wrlock(&s->lock);
	else
		pthread_rwlock_rdlock(&s->lock);
	rc = run_locked(s, txn, &changes, &told, &ntold);
	pthread_rwlock_unlock(&s->lock);
	store_tell(s, told, ntold, rc ? 0 : txn->revision);
	return rc;
}

void store_ops_clear(struct store_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < ops[i].nkvs; k++)
			kv_put(ops[i].kvs[k]);
		free(ops[i].kvs);
		ops[i].kvs = NULL;
		ops[i].nkvs = 0;
	}
}
