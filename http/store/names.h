/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h -- which version a key has: ordered by one primary per bucket, with a synced second copy.
 *
 * The registry's names/BUCKET says who orders a bucket: {"epoch","primary","secondary"}. A write is
 * numbered by the primary, written durably by the secondary, then by the primary, then answered.
 * Any endpoint may be asked: calls are routed to the primary. secondary is null when the
 * installation has registered a single endpoint; with more, writes wait for a synced second copy
 * and get -EAGAIN when none can be had.
 *
 * All calls are thread-safe and block (worker threads only), for at most NAMES_TIMEOUT_MS and a
 * little. They return 0 or:
 *   -EAGAIN     nothing was changed; the service is not available now (503)
 *   -ETIMEDOUT  unknown: it may have happened or may happen yet (504); put: the same version
 *               may be tried again
 *   -ENOENT     no such key
 *   -ECANCELED  If-Match or If-None-Match does not hold (412)
 *   -EINVAL     the bucket, the key or a field is not acceptable
 *   -ENOSPC     a disk of the primary or the secondary is full; nothing was changed
 * and then names_error() is a sentence for people. Nothing here reads a wall clock to order things:
 * `modified` is for display.
 */
#ifndef WEIR_STORE_NAMES_H
#define WEIR_STORE_NAMES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/httpc.h"
#include "lib/httpd.h"
#include "lib/registry.h"

#define NAMES_KEY_MAX	  512 /* bytes of UTF-8, without terminator */
#define NAMES_BUCKET_MAX  63
#define NAMES_HOLDERS_MAX 8
#define NAMES_TIMEOUT_MS  10000
#define NAMES_LIST_MAX	  1000 /* entries of one names_list() */

/* What a key names. Also a tombstone: then `deleted`, and only key, version (the deletion's own)
 * and modified mean something. */
struct name_entry {
	char key[NAMES_KEY_MAX + 1];
	char version[33]; /* 32 lower-case hex digits, made by the writer, never used twice */
	uint64_t size;	  /* bytes */
	uint8_t sha256[32];
	int64_t modified; /* unix seconds, by the primary's clock, when it was ordered */
	unsigned int nholders;
	char holders[NAMES_HOLDERS_MAX][CONF_NAME_MAX]; /* nodes that have the whole data on disk */
	bool deleted;
	uint64_t epoch, seq; /* where in the bucket's order */
};

struct names;

struct names_options {
	const char *dir; /* of the LMDB files; made when it is not there */
	const char *node, *site, *domain;
	struct registry *registry;
	struct httpc *httpc; /* with the installation's certificates: inside_client() */
	/* Removes all data of a version from this node. Idempotent; 0 also when there was nothing.
	 * Another result: told again later. Called on worker threads, several at once. */
	int (*forget)(void *arg, const char *version);
	/* Gets the data of entry->version from one of entry->holders and keeps it durably. 0 done
	 * (this node becomes a holder); -ENOENT: nobody has it, given up; else told again later.
	 * One at a time, may take its time. forget() of a version is never called while its fetch()
	 * runs. */
	int (*fetch)(void *arg, const char *bucket, const struct name_entry *entry);
	void *arg;
};

/* Opens the local index and starts the threads; works without a registry too (what was known is
 * served). 0 or -errno; logs what is wrong. Strings of options are copied. */
int names_open(struct names **out, const struct names_options *options);
/* The lease under which this node's members/endpoint/NODE was announced: a primary answers reads
 * from its own copy only while that lease is certain, and asks the secondary otherwise. Call after
 * registry_announce(). */
void names_set_lease(struct names *names, struct reg_lease *lease);
/* Waiting calls return -EAGAIN or -ETIMEDOUT, new ones -EAGAIN. Waits for a fetch() that runs: make
 * it end first. Call before the inside listener and the lease end. */
void names_stop(struct names *names);
/* After the inside listener has stopped. Accepts NULL. */
void names_close(struct names *names);

/* The inside listener's route: {1u << HTTP_POST, NAMES_ROUTE, NAMES_BODY_MAX, NULL, NULL, your_end,
 * NULL}, where your_end returns names_http(names, req). */
#define NAMES_ROUTE    "/i/names/:do"
#define NAMES_BODY_MAX (1u << 20)
enum http_next names_http(struct names *names, struct http_req *req);

/* A sentence about this thread's last failed call. */
const char *names_error(void);

/* entry: key, version, size, sha256 and holders (who has the data now) are read; modified, epoch
 * and seq are filled in on success. ideal: the nodes that should hold the data; those that are not
 * in holders are told to fetch it. if_match, if_none_match: the headers' values ("*", lists of
 * etags) or NULL. *replaced: there was an object before; its data is forgotten by every endpoint.
 * Trying the same version again is safe. */
int names_put(struct names *names, const char *bucket, struct name_entry *entry,
	      const char *const *ideal, size_t nideal, const char *if_match,
	      const char *if_none_match, bool *replaced);
/* -ENOENT also when the bucket is unknown. Never older than the last acknowledged write. */
int names_get(struct names *names, const char *bucket, const char *key, struct name_entry *entry);
/* The same from this node's own copy, if that is certain at this moment: never waits for another
 * node, so it may be called on a server's thread. -EWOULDBLOCK: ask names_get(). */
int names_get_now(struct names *names, const char *bucket, const char *key,
		  struct name_entry *entry);
/* After 0 no read finds it, and every endpoint that ever registered will be told to forget the
 * data. */
int names_delete(struct names *names, const char *bucket, const char *key, const char *if_match);

/* Calls fn for each entry in key order (bytes), at most limit (NAMES_LIST_MAX at most; 0: that),
 * after the key `after` (NULL or "": from the start), with the prefix (NULL or "": all). *more:
 * there are more after the last. fn returns 0 to go on. Each page is a consistent snapshot. */
typedef int names_entry_fn(void *arg, const char *bucket, const struct name_entry *entry);
int names_list(struct names *names, const char *bucket, const char *prefix, const char *after,
	       unsigned int limit, names_entry_fn *fn, void *arg, bool *more);

/* Objects with that hash, in this node's copies / in all live endpoints' copies (each once). A copy
 * may lag: check with names_get(), where the rights are checked too, before use. At most 64 are
 * told. */
int names_by_hash(struct names *names, const uint8_t sha256[32], names_entry_fn *fn, void *arg);
int names_by_hash_all(struct names *names, const uint8_t sha256[32], names_entry_fn *fn, void *arg);

/* Every current object of this node's copies (as primary or secondary), for scrubbing and
 * placement. fn is called without locks held; entries that change meanwhile may be told once, twice
 * or not at all. */
int names_each(struct names *names, names_entry_fn *fn, void *arg);

/* {"buckets":[{"name","role":"primary"|"secondary"|"none","epoch","primary","secondary","objects","bytes",
 * "writes":"ok" or why not}], "objects", "outbox":n, "note"?}: a new reference. objects counts the
 * buckets of which this node is primary. */
json_t *names_status(struct names *names);

/* ETag of an object: '"' + first 32 hex digits of its SHA-256 + '"'. */
char *names_etag(const uint8_t sha256[32], char out[35]);
/* 3–63 of a-z 0-9 - . starting with a letter or digit; 1–512 bytes of UTF-8 without control
 * characters. */
bool names_bucket_valid(const char *bucket);
bool names_key_valid(const char *key);

#endif
