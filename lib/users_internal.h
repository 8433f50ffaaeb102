/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users_internal.h -- what the files of users_*.c share.
 */
#ifndef WEIR_USERS_INTERNAL_H
#define WEIR_USERS_INTERNAL_H

#include <pthread.h>

#include "lib/bucket.h"
#include "lib/token.h"
#include "lib/token_cache.h"

#define KEYS_MAX 64 /* signing keys; the oldest go */

#define S3_CACHED 256 /* derived keys, each in the place of its hash */
#define LOST_MAX  16  /* sealing keys that objects name and that are not here */

enum { USERS, SIGNING, BUCKETS, GROUPS, PEOPLE, DATASETS, ENDED, SEALING, PREFIXES };

#define SYNCED_ALL ((1u << PREFIXES) - 1)

struct source {
	struct users *users;
	int which;
	struct reg_watch *watch;
};

/* Newest first, so that all daemons use the same one. */
struct keyring {
	struct token_key keys[KEYS_MAX];
	int64_t created[KEYS_MAX];
	size_t n;
	bool synced;
};

/* A derived key and whose it is, good while nothing changed since (users.generation). */
struct s3_cached {
	uint64_t generation; /* 0: none */
	char id[TOKEN_ACCESS_KEY_MAX + 1], date[9], region[33];
	uint8_t key[32];
	struct token_scope scope;
};

/* What the registry said of a sealing key that is not here, believed until then (monotonic). */
struct missing {
	char kid[SEALING_KID_MAX];
	bool lost; /* else it is there, and on its way */
	int64_t until_ms;
};

struct users {
	pthread_rwlock_t lock;
	_Atomic uint64_t generation; /* another one after each change, never used twice in a process */
	struct registry *reg;
	json_t *known[PREFIXES]; /* rest of the key → value; none for signing and sealing keys */
	void *buckets;		 /* a tsearch(3) tree of struct bucket, each with one reference */
	json_t *ids;		 /* key id → user's name */
	struct keyring signing, sealing;
	pthread_mutex_t s3_lock; /* of the cache; taken within the other */
	struct s3_cached s3[S3_CACHED];
	/* Also with s3_lock: one asks at a time, and nobody before silent_until_ms, since it did not answer. */
	struct missing missing[LOST_MAX];
	bool asks;
	int64_t silent_until_ms;
	unsigned int synced; /* a bit for each watch that told all that was there */
	struct token_cache *tokens; /* those verified with a key of `signing` */
	bool via_gateway; /* tokens that a gateway signed for a change are taken */
	struct source sources[PREFIXES];
	void (*on_change)(void *arg);
	void *arg;
};

/* All below are called with the lock held. */

/* "" when it is absent or no text. */
const char *users_text(const json_t *o, const char *key);
/* The user of the table when it exists and is not disabled. */
const json_t *users_active(const struct users *u, const char *name);
/* Does the scope's bearer still exist, and is the token not ended? 0, -EACCES, -EKEYREVOKED. */
int users_bearer(const struct users *u, const struct token_scope *scope);
/* The record of an access key that is good now, of that user (NULL: of anybody's, whose name goes to *owner). */
const json_t *users_key(const struct users *u, const char *id, const char *name, int64_t now, const char **owner);
/* token_allows(), and the scopes of the access key by which the bearer came. */
bool users_within(const struct users *u, const struct token_scope *scope, unsigned int right, const char *bucket,
		  const char *key);
/* The scope of a user of the table who has proved now to be it, by that access key (NULL: by something else): 0 or
 * -EACCES. */
int users_scope(const struct users *u, const char *name, const json_t *key, int64_t now, struct token_scope *out);
/* By grants, groups (users_groups_held), role and datasets, whatever the token says and whether it is still good. */
bool users_granted(const struct users *u, const struct token_scope *scope, const char *groups, unsigned int right,
		   const char *bucket, const char *key);
enum role users_role_held(const struct users *u, const struct token_scope *scope, const char *groups);
/* Does the user own the bucket, or have any right in it? */
bool users_sees(const struct users *u, const struct token_scope *scope, const char *bucket);
/* The bucket compiled, NULL: not there. */
const struct bucket *users_bucket_held(const struct users *u, const char *name);
void users_s3_forget(struct users *u); /* held for writing: what was derived */
void users_groups_held(const struct users *u, const struct token_scope *scope, char out[512]);
/* What a user may at most anywhere: the rights of a key, or of a session. */
unsigned int users_most(const struct users *u, const struct token_scope *scope);

#endif
