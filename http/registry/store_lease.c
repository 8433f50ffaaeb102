/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_lease.c -- leases of the store, and what is left of it: opening, closing, reading changes.
 *
 * Leases end on a clock of their own, which the caller moves: time in which the registry did not
 * run does not count against those who could not reach it. At a start every lease gets its whole
 * TTL again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/registry/store_internal.h"
#include "lib/hash.h"
#include "lib/log.h"

#define TICK_REVOKES 256  /* leases that one tick looks at */
#define TICK_LATE_MS 1000 /* a tick never counts more than this */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the table; lease_lock held ---- */

static struct lease *lease_find(struct store *s, int64_t id)
{
	for (size_t i = 0; i < s->nleases; i++)
		if (s->leases[i].id == id)
			return &s->leases[i];
	return NULL;
}

static void lease_remove(struct store *s, int64_t id)
{
	struct lease *lease = lease_find(s, id);

	if (lease)
		*lease = s->leases[--s->nleases];
}

/* Never early: the next tick counts also what has passed since the last one, before this lease. */
static int64_t lease_end_ms(const struct store *s, int64_t ttl)
{
	int64_t since = now_ms() - s->ticked_ms;

	if (since > TICK_LATE_MS)
		since = TICK_LATE_MS;
	return s->clock_ms + since + ttl * 1000;
}

int store_lease_add(struct store *s, int64_t id, int64_t ttl)
{
	int rc = 0;

	pthread_mutex_lock(&s->lease_lock);
	if (s->nleases == s->lease_room) {
		size_t room = s->lease_room ? s->lease_room * 2 : 64;
		struct lease *more = reallocarray(s->leases, room, sizeof(*more));

		if (more) {
			s->leases = more;
			s->lease_room = room;
		} else {
			rc = -ENOMEM;
		}
	}
	if (!rc)
		s->leases[s->nleases++] = (struct lease){ id, ttl, lease_end_ms(s, ttl) };
	pthread_mutex_unlock(&s->lease_lock);
	return rc;
}

bool store_lease_there(struct store *s, int64_t id)
{
	bool there;

	pthread_mutex_lock(&s->lease_lock);
	there = lease_find(s, id) != NULL;
	pthread_mutex_unlock(&s->lease_lock);
	return there;
}

/* ---- public ---- */

int store_lease_grant(struct store *s, int64_t *id, int64_t ttl)
{
	struct lease fresh = { *id, ttl < 1 ? 1 : ttl, 0 };
	struct changes changes = { .lease_new = &fresh };
	int rc;

	pthread_rwlock_wrlock(&s->lock);
	while (!fresh.id || (!*id && store_lease_there(s, fresh.id))) {
		random_bytes(&fresh.id, sizeof(fresh.id));
		fresh.id &= INT64_MAX;
	}
	if (store_lease_there(s, fresh.id))
		rc = -EEXIST;
	else if (s->nleases >= STORE_LEASES_MAX)
		rc = -ENOSPC;
	else
		rc = store_commit(s, &changes);
	if (!rc)
		rc = store_lease_add(s, fresh.id, fresh.ttl);
	pthread_rwlock_unlock(&s->lock);
	if (!rc)
		*id = fresh.id;
	return rc;
}

/* With the lock held for writing. */
static int revoke_locked(struct store *s, int64_t id, struct changes *changes, struct kv ***told,
			 size_t *ntold)
{
	int rc = 0;

	changes->revision = s->revision + 1;
	changes->lease_gone = id;
	for (size_t i = 0; i < s->nkeys && !rc;) {
		if (s->keys[i]->lease == id)
			rc = store_delete_at(s, changes, i);
		else
			i++;
	}
	if (rc) {
		store_undo(s, changes);
		return rc;
	}
	*told = store_changed_list(changes);
	*ntold = changes->n;
	rc = store_commit(s, changes);
	if (rc)
		return rc;
	pthread_mutex_lock(&s->lease_lock);
	lease_remove(s, id);
	pthread_mutex_unlock(&s->lease_lock);
	return 0;
}

/* ended_only: leave it when it was kept alive meanwhile. */
static int revoke(struct store *s, int64_t id, bool ended_only)
{
	struct changes changes = { 0 };
	const struct lease *lease;
	struct kv **told = NULL;
	int64_t revision;
	size_t ntold = 0;
	int rc = 0;

	pthread_rwlock_wrlock(&s->lock);
	pthread_mutex_lock(&s->lease_lock);
	lease = lease_find(s, id);
	if (!lease || (ended_only && lease->ends_ms > s->clock_ms))
		rc = -ENOKEY;
	pthread_mutex_unlock(&s->lease_lock);
	if (!rc)
		rc = revoke_locked(s, id, &changes, &told, &ntold);
	revision = s->revision;
	pthread_rwlock_unlock(&s->lock);
	store_tell(s, told, ntold, rc ? 0 : revision);
	return rc;
}

int store_lease_revoke(struct store *s, int64_t id)
{
	return revoke(s, id, false);
}

int64_t store_lease_keep(struct store *s, int64_t id)
{
	struct lease *lease;
	int64_t ttl = 0;

	pthread_mutex_lock(&s->lease_lock);
	lease = lease_find(s, id);
	if (lease) {
		lease->ends_ms = lease_end_ms(s, lease->ttl);
		ttl = lease->ttl;
	}
	pthread_mutex_unlock(&s->lease_lock);
	return ttl;
}

void store_lease_tick(struct store *s, int64_t elapsed_ms)
{
	int64_t ended[TICK_REVOKES];
	size_t n = 0;
	int rc;

	pthread_mutex_lock(&s->lease_lock);
	s->clock_ms += elapsed_ms;
	s->ticked_ms = now_ms();
	for (size_t i = 0; i < s->nleases && n < TICK_REVOKES; i++)
		if (s->leases[i].ends_ms <= s->clock_ms)
			ended[n++] = s->leases[i].id;
	pthread_mutex_unlock(&s->lease_lock);
	for (size_t i = 0; i < n; i++) {
		rc = revoke(s, ended[i], true);
		if (rc && rc != -ENOKEY)
			log_limited(LOG_LEVEL_ERROR, 6,
				    "a lease that ended cannot be removed: %s; its keys stay "
				    "until that is mended",
				    strerror(-rc));
	}
}

/* ---- reading changes ---- */

/* The first entry of the history at or after the revision. */
static size_t history_at(struct store *s, int64_t revision)
{
	size_t low = 0, high = s->nhistory;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (store_past(s, mid)->kv->mod_revision < revision)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int collect(struct store *s, const struct span *span, int64_t *next, size_t bytes_max,
		   struct kv ***out, size_t *n)
{
	struct kv **list = NULL, **more;
	size_t bytes = 0, count = 0, room = 0;
	int64_t last = s->revision;

	for (size_t i = history_at(s, *next); i < s->nhistory; i++) {
		struct kv *kv = store_past(s, i)->kv;

		if (bytes >= bytes_max && count &&
		    list[count - 1]->mod_revision != kv->mod_revision) {
			last = kv->mod_revision - 1;
			break;
		}
		if (!span_has(span, kv->data, kv->key_len))
			continue;
		if (count == room) {
			room = room ? room * 2 : 16;
			more = reallocarray(list, room, sizeof(struct kv *));
			if (!more)
				goto failed;
			list = more;
		}
		list[count++] = kv_get(kv);
		bytes += kv->key_len + kv->value_len;
	}
	*out = list;
	*n = count;
	if (last >= *next)
		*next = last + 1;
	return 0;
failed:
	while (count)
		kv_put(list[--count]);
	free(list);
	return -ENOMEM;
}

int store_changes(struct store *s, const struct span *span, int64_t *next, size_t bytes_max,
		  struct kv ***out, size_t *n)
{
	int rc;

	pthread_rwlock_rdlock(&s->lock);
	if (*next < s->oldest) {
		*next = s->oldest;
		rc = -ESTALE;
	} else {
		rc = collect(s, span, next, bytes_max, out, n);
	}
	pthread_rwlock_unlock(&s->lock);
	return rc;
}

int store_compact(struct store *s, int64_t revision)
{
	size_t forget;
	int rc;

	pthread_rwlock_wrlock(&s->lock);
	if (revision > s->revision) {
		rc = -ERANGE;
	} else if (revision <= s->oldest && s->oldest > 1) {
		rc = -ESTALE;
	} else {
		forget = history_at(s, revision);
		rc = disk_compact(s, forget, revision);
		for (; !rc && forget; forget--) {
			s->history_bytes -=
				store_past(s, 0)->kv->key_len + store_past(s, 0)->kv->value_len;
			kv_put(store_past(s, 0)->kv);
			s->first = (s->first + 1) % STORE_HISTORY_MAX;
			s->nhistory--;
		}
		if (!rc)
			s->oldest = revision;
	}
	pthread_rwlock_unlock(&s->lock);
	return rc;
}

/* ---- opening ---- */

int store_open(struct store **out, const char *folder, char *err, size_t err_len)
{
	struct store *s = calloc(1, sizeof(*s));
	pthread_rwlockattr_t attr;
	int rc = -ENOMEM;

	if (!s)
		return rc;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&s->lease_lock, NULL);
	s->disk.lock_fd = -1;
	s->history = calloc(STORE_HISTORY_MAX, sizeof(*s->history));
	if (s->history)
		rc = disk_open(s, folder, err, err_len);
	if (rc) {
		store_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	disk_close(&s->disk);
	for (size_t i = 0; i < s->nkeys; i++)
		kv_put(s->keys[i]);
	for (size_t i = 0; i < s->nhistory; i++)
		kv_put(store_past(s, i)->kv);
	free(s->keys);
	free(s->history);
	free(s->leases);
	pthread_rwlock_destroy(&s->lock);
	pthread_mutex_destroy(&s->lease_lock);
	free(s);
}

void store_on_change(struct store *s, store_changed_fn *fn, void *arg)
{
	s->changed = fn;
	s->changed_arg = arg;
}

uint64_t store_cluster(const struct store *s)
{
	return s->cluster;
}

int64_t store_revision(struct store *s)
{
	int64_t revision;

	pthread_rwlock_rdlock(&s->lock);
	revision = s->revision;
	pthread_rwlock_unlock(&s->lock);
	return revision;
}

void store_counts(struct store *s, struct store_counts *out)
{
	pthread_rwlock_rdlock(&s->lock);
	*out = (struct store_counts){ s->revision, s->oldest,	s->nkeys,
				      s->nleases,  s->nhistory, s->live };
	pthread_rwlock_unlock(&s->lock);
}
