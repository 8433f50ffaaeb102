/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_internal.h -- what store.c (memory), store_disk.c (LMDB) and store_lease.c share.
 *
 * `lock` is held for writing from the first look at a change until it is on disk, so that nobody
 * reads what may still be undone. `lease_lock` is inside it and never held across the disk.
 */
#ifndef WEIR_REGISTRY_STORE_INTERNAL_H
#define WEIR_REGISTRY_STORE_INTERNAL_H

#include <lmdb.h>
#include <pthread.h>

#include "http/registry/store.h"

struct lease {
	int64_t id, ttl;
	int64_t ends_ms; /* on the lease clock */
};

struct past {
	struct kv *kv;
	uint32_t sub; /* place within its revision */
};

struct disk {
	int lock_fd;
	MDB_env *env;
	MDB_dbi keys, history, leases, meta;
};

struct store {
	pthread_rwlock_t lock;
	struct kv **keys; /* in key order */
	size_t nkeys, room;
	uint64_t live; /* bytes of keys and values */
	int64_t revision;
	uint64_t cluster;
	struct past *history; /* ring of STORE_HISTORY_MAX */
	size_t first, nhistory;
	uint64_t history_bytes;
	int64_t oldest; /* the first revision that a watch can start at */
	struct disk disk;
	store_changed_fn *changed;
	void *changed_arg;

	pthread_mutex_t lease_lock;
	struct lease *leases;
	size_t nleases, lease_room;
	int64_t clock_ms;  /* of the leases, as the last tick left it … */
	int64_t ticked_ms; /* … at this CLOCK_MONOTONIC */
};

/* What one transaction changes. Revisions and versions are set. */
struct change {
	struct kv *old; /* or NULL */
	struct kv *now; /* version 0: deleted */
};
struct changes {
	struct change *list;
	size_t n, room;
	int64_t revision;
	const struct lease *lease_new;
	int64_t lease_gone; /* 0: none */
};

/* With the lock held for writing. Puts the changes on disk, then into the history, and drops their
 * old versions; when the disk fails it undoes them in memory. Frees changes->list. */
int store_commit(struct store *s, struct changes *changes);
/* With the lock held for writing: deletes the key in memory and notes it. */
int store_delete_at(struct store *s, struct changes *changes, size_t at);
void store_undo(struct store *s, struct changes *changes);
/* Tells the listener, with no lock held, unless revision is 0. Takes the references of list. */
void store_tell(struct store *s, struct kv **list, size_t n, int64_t revision);
struct kv **store_changed_list(const struct changes *changes);

struct past *store_past(struct store *s, size_t i);
int store_keys_insert(struct store *s, size_t at, struct kv *kv);
void store_history_add(struct store *s, struct kv *kv, uint32_t sub);
int store_lease_add(struct store *s, int64_t id, int64_t ttl);
bool store_lease_there(struct store *s, int64_t id);

/* ---- LMDB ---- */
int disk_open(struct store *s, const char *folder, char *err, size_t err_len);
void disk_close(struct disk *disk);
/* Stores the changes and forgets the oldest `forget` of the history. 0, -ENOSPC or -EIO. */
int disk_commit(struct store *s, const struct changes *changes, size_t forget);
int disk_compact(struct store *s, size_t forget, int64_t oldest);

#endif
