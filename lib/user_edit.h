/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_edit.h -- making and changing users and groups in the registry, for the command line.
 *
 * Changes are compare-and-swap on the user's key: two administrators never overwrite each other.
 * All return 0, -EEXIST or -ENOENT as the name says, -EAGAIN when somebody else changed it
 * meanwhile, -EINVAL for a name that is none, or the registry's error (registry_error() has the
 * sentence).
 */
#ifndef WEIR_USER_EDIT_H
#define WEIR_USER_EDIT_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/registry.h"
#include "lib/token.h"

#define USER_KEY_ID_LEN 12 /* hex digits */
#define USER_SECRET_LEN 43 /* 256 random bits in base64url */

/* A key as its owner sees it, once. Wipe it after use. */
struct user_key {
	char id[USER_KEY_ID_LEN + 1];
	char secret[USER_SECRET_LEN + 1];
};

struct user_grant {
	const char *bucket, *prefix, *rights; /* "*", "" and letters */
};

/* What is kept of a secret: hex SHA-256 over salt and secret. A secret is 256 random bits, so that
 * a slow hash adds nothing. */
void user_key_hash(const char *salt, const char *secret, char hash[65]);

/* 1 to 63 of letters, digits, '.', '-', '_', '@'. */
bool user_name_valid(const char *name);

/* grant NULL: without rights (datasets and groups may give some). -ENOTUNIQ: a person of the provider
 * has the name, and would become this user. */
int user_add(struct registry *reg, const char *name, const struct user_grant *grant,
	     struct user_key *key);
int user_add_key(struct registry *reg, const char *name, struct user_key *key);
int user_set_disabled(struct registry *reg, const char *name, bool disabled);
/* The name stays in people/ with the moment: tokens of before are nobody's when it is given again, and
 * no person of a provider can take it. */
int user_remove(struct registry *reg, const char *name);
/* The user's groups from now on; -ENOKEY: one of them does not exist (*missing, may be NULL). */
int user_set_groups(struct registry *reg, const char *name, const char *const *groups, size_t n,
		    const char **missing);
/* NULL: none any more. -ERANGE: too short or too long (password.h). */
int user_set_password(struct registry *reg, const char *name, const char *password);
/* [{name, disabled, grants, groups, keys: [{id, created}], password: bool}]: no hashes; a new
 * reference, NULL on failure. */
json_t *user_list(struct registry *reg);

/* ---- groups (groups/NAME) ---- */
struct group_change {
	const char *role; /* one of role_names; NULL: as it is */
	const char *const
		*from; /* the provider's groups that are this one; nfrom 0: its own name */
	size_t nfrom;
	bool has_from; /* else as it is */
	const struct user_grant *grants;
	size_t ngrants;
	bool has_grants; /* else as they are */
};
int group_add(struct registry *reg, const char *name, const struct group_change *change);
int group_set(struct registry *reg, const char *name, const struct group_change *change);
int group_remove(struct registry *reg,
		 const char *name); /* users keep its name; it says nothing then */
/* [{name, role, from, grants}]; a new reference, NULL on failure. */
json_t *group_list(struct registry *reg);

/* Signs a token (with an id and a time of issue of its own) for a user that exists, with the newest
 * signing key of the registry (made when there is none). scope->user names the user. */
int user_token(struct registry *reg, const struct token_scope *scope, char out[TOKEN_MAX]);

#endif
