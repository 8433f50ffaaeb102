/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users_internal.h -- what users.c, users_who.c and users_may.c share.
 */
#ifndef WEIR_USERS_INTERNAL_H
#define WEIR_USERS_INTERNAL_H

#include <pthread.h>

#include "lib/token.h"

#define KEYS_MAX 64 /* signing keys; the oldest go */

enum { USERS, SIGNING, BUCKETS, GROUPS, PEOPLE, DATASETS, ENDED, PREFIXES };

#define SYNCED_ALL ((1u << PREFIXES) - 1)

struct source {
	struct users *users;
	int which;
	struct reg_watch *watch;
};

struct users {
	pthread_rwlock_t lock;
	struct registry *reg;
	json_t *known[PREFIXES]; /* rest of the key → value; none for signing keys, which are kept
				    in `keys` */
	json_t *ids;		 /* key id → user's name */
	struct token_key keys[KEYS_MAX];
	int64_t created[KEYS_MAX];
	size_t nkeys; /* newest first */
	bool signing_synced;
	unsigned int synced; /* a bit for each watch that told all that was there */
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
void users_groups_held(const struct users *u, const struct token_scope *scope, char out[512]);
/* What a user may at most anywhere: the rights of a key, or of a session. */
unsigned int users_most(const struct users *u, const struct token_scope *scope);

#endif
