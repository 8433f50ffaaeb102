/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h -- what weir-registry knows: keys in order with their revisions, leases, and the last
 * changes; in memory for reading, in LMDB for good.
 *
 * The model is etcd's: every change has the next revision; a key remembers the revisions of its
 * creation and last change and its version. A change is on stable storage before store_run()
 * returns and before anybody can read it; a change that cannot be stored changes nothing.
 * Thread-safe. Nothing here logs but what the expiry of leases meets.
 */
#ifndef WEIR_REGISTRY_STORE_H
#define WEIR_REGISTRY_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_KEY_MAX	    4096u
#define STORE_VALUE_MAX	    (1u << 20)
#define STORE_OPS_MAX	    128u
#define STORE_LEASES_MAX    65536u
#define STORE_LEASE_TTL_MAX 9000000000ll /* etcd's limit, seconds */
#define STORE_LIVE_MAX	    (256u << 20) /* bytes of keys and values */
#define STORE_HISTORY_MAX   32768u	 /* changes kept for watches */
#define STORE_HISTORY_BYTES (64u << 20)

struct store;

/* One version of a key, immutable. A deletion has version 0 and no value. */
struct kv {
	atomic_uint refs;
	uint32_t key_len, value_len;
	int64_t create_revision, mod_revision, version, lease;
	char data[]; /* key, value */
};
static inline const char *kv_key(const struct kv *kv)
{
	return kv->data;
}
static inline const char *kv_value(const struct kv *kv)
{
	return kv->data + kv->key_len;
}
struct kv *kv_new(const void *key, size_t key_len, const void *value, size_t value_len);
struct kv *kv_get(struct kv *kv);
void kv_put(struct kv *kv); /* accepts NULL */

/* Keys as etcd's requests name them: one key (end_len 0), from key to before end, or from key on
 * (end is one NUL byte). */
struct span {
	const char *key, *end;
	size_t key_len, end_len;
};
bool span_has(const struct span *span, const char *key, size_t key_len);
bool span_overlaps(const struct span *span, const char *from,
		   const char *to); /* text, to is excluded */

enum store_target { TARGET_VERSION, TARGET_CREATE, TARGET_MOD, TARGET_VALUE, TARGET_LEASE };
enum store_relation { RELATION_EQUAL, RELATION_GREATER, RELATION_LESS, RELATION_NOT_EQUAL };
struct store_compare {
	struct span span;
	enum store_target target;
	enum store_relation relation;
	int64_t number;
	const char *value; /* TARGET_VALUE */
	size_t value_len;
};

enum store_verb { OP_RANGE, OP_PUT, OP_DELETE };
struct store_op {
	enum store_verb verb;
	struct span span;
	const char *value; /* OP_PUT */
	size_t value_len;
	int64_t lease;
	bool want_prev;		    /* OP_PUT, OP_DELETE */
	bool keys_only, count_only; /* OP_RANGE */
	int64_t limit;		    /* OP_RANGE; 0: none */
	/* filled by store_run(), freed by store_ops_clear(): found keys, or previous versions */
	struct kv **kvs;
	size_t nkvs;
	int64_t count; /* keys in the range, or deleted */
	bool more;
};
void store_ops_clear(struct store_op *ops, size_t n);

struct store_txn {
	struct store_compare *compares;
	size_t ncompares;
	struct store_op *then, *otherwise;
	size_t nthen, notherwise;
	/* filled by store_run() */
	bool succeeded;
	int64_t revision;
};

/* Called after each change, with no lock held, on the thread that made it. */
typedef void store_changed_fn(void *arg, struct kv *const *changes, size_t n, int64_t revision);

/* Opens the folder, which must exist. 0 or -errno with a sentence in err (-EBUSY: another process
 * owns it). */
int store_open(struct store **out, const char *folder, char *err, size_t err_len);
void store_close(struct store *s); /* accepts NULL */
void store_on_change(struct store *s, store_changed_fn *fn, void *arg);

/* Runs one transaction. 0, -EEXIST (a key is changed twice), -ENOKEY (no such lease), -ENOSPC (the
 * disk or the store is full; nothing changed), -EIO, -ENOMEM. */
int store_run(struct store *s, struct store_txn *txn);

uint64_t store_cluster(const struct store *s);
int64_t store_revision(struct store *s);
struct store_counts {
	int64_t revision, oldest;
	size_t keys, leases, history;
	uint64_t bytes;
};
void store_counts(struct store *s, struct store_counts *out);

/* The changes in the span from revision *next on, oldest first, whole revisions, about bytes_max at
 * most; references that the caller drops. *next becomes the revision to go on at. -ESTALE: too old,
 * then *next is the oldest that can be had. */
int store_changes(struct store *s, const struct span *span, int64_t *next, size_t bytes_max,
		  struct kv ***out, size_t *n);
/* Forgets the changes before revision. 0, -ESTALE (already forgotten), -ERANGE (not yet made). */
int store_compact(struct store *s, int64_t revision);

/* ---- leases (store_lease.c). TTLs in seconds; id 0: one is made. ---- */
int store_lease_grant(struct store *s, int64_t *id, int64_t ttl); /* -EEXIST, -ENOSPC, -EIO */
int store_lease_revoke(struct store *s, int64_t id);		  /* -ENOKEY; deletes its keys */
int64_t store_lease_keep(struct store *s,
			 int64_t id); /* the TTL, or 0: no such lease. Never waits for the disk */
/* Lets elapsed_ms pass for the leases and revokes those that ended. The caller leaves out time in
 * which this process did not run: a registry that was silent ends no lease. */
void store_lease_tick(struct store *s, int64_t elapsed_ms);

#endif
