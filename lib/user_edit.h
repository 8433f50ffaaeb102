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

#define USER_KEY_ID_LEN 20 /* "WEIR" and 16 of A-Z 2-7; ids made before have 12 hex digits */
#define USER_SECRET_LEN 40 /* 240 random bits in base64url, as long as clients of S3 expect */
#define USER_SECRET_MAX 64 /* of any that was ever made */
#define USER_KEYS_MAX	64 /* of one user */
#define USER_NOTE_MAX	200 /* bytes */
#define USER_KEY_ABOUT_MAX 40

/* A key as its owner sees it, once. Wipe it after use. */
struct user_key {
	char id[USER_KEY_ID_LEN + 1];
	char secret[USER_SECRET_LEN + 1];
};

struct user_grant {
	const char *bucket, *prefix, *rights; /* "*", "" and letters */
};

/* What is kept of a secret: hex SHA-256 over salt and secret. A secret is 240 random bits, so that
 * a slow hash adds nothing. Beside it stands the secret sealed (sealing.h), to check S3's signatures, bound to
 * user_key_about(). */
void user_key_hash(const char *salt, const char *secret, char hash[65]);
const char *user_key_about(const char *id, char out[USER_KEY_ABOUT_MAX]);

/* "RIGHTS:BUCKET[/PREFIX]" in place: "rl:data/2026/", "r:*". */
bool user_grant_parse(char *text, struct user_grant *out);

/* 1 to 63 of letters, digits, '.', '-', '_', '@'. */
bool user_name_valid(const char *name);

/* grant NULL: without rights (datasets and groups may give some). -ENOTUNIQ: a person of the provider
 * has the name, and would become this user. */
int user_add(struct registry *reg, const char *name, const struct user_grant *grant,
	     struct user_key *key);

/* ---- access keys (users/NAME.keys) ---- */
struct user_key_options {
	const struct user_grant *scopes; /* the key may this at most; none: all that its user may */
	size_t nscopes;
	int64_t expires;  /* unix seconds; 0: never */
	const char *note; /* the owner's words, may be NULL */
};
/* -EDQUOT: USER_KEYS_MAX; options may be NULL. */
int user_key_add(struct registry *reg, const char *name, const struct user_key_options *opt, struct user_key *key);
/* A new key with the scopes and the note of the old one, which stays good until then (now or before: it is gone at once);
 * expires: of the new one, 0 never. -ENOKEY: the user has no key of that id. */
int user_key_rotate(struct registry *reg, const char *name, const char *id, int64_t until, int64_t expires,
		    struct user_key *key);
/* Nobody signs with it any more, and tokens that were made with it end. -ENOKEY as above. */
int user_key_revoke(struct registry *reg, const char *name, const char *id);
int user_key_set_disabled(struct registry *reg, const char *name, const char *id, bool disabled);
/* A new sealing key (sealing.h) for the installation, and the secrets of all access keys under it, each user by compare-and-swap;
 * nobody need stop. When somebody was interrupted at that, it goes on with the key that is there. The older keys stay: the keys of
 * encrypted objects name them. */
struct user_reseal {
	char kid[17];		  /* of the newest */
	bool made;		  /* now */
	unsigned int done, users; /* secrets sealed anew, of so many users */
	unsigned int lost;	  /* secrets that no key opens: those access keys cannot sign */
	unsigned int older;	  /* keys beside the newest */
};
/* -EDQUOT: SEALING_KEYS_MAX; else the registry's error, and what was done stays done. */
int users_reseal(struct registry *reg, struct user_reseal *out);
/* [{user, id, created, expires, disabled, scopes, note, s3: bool}] of one user, or of all (NULL); a new reference, NULL on
 * failure. s3: can it sign requests? */
json_t *user_keys(struct registry *reg, const char *name);

int user_set_disabled(struct registry *reg, const char *name, bool disabled);
/* The name stays in people/ with the moment: tokens of before are nobody's when it is given again, and
 * no person of a provider can take it. */
int user_remove(struct registry *reg, const char *name);
/* The user's groups from now on; -ENOKEY: one of them does not exist (*missing, may be NULL). */
int user_set_groups(struct registry *reg, const char *name, const char *const *groups, size_t n,
		    const char **missing);
/* NULL: none any more. -ERANGE: too short or too long (password.h). */
int user_set_password(struct registry *reg, const char *name, const char *password);
/* For all buckets that the user owns together; both 0: no limit any more. */
int user_set_quota(struct registry *reg, const char *name, const struct bucket_quota *quota);
/* [{name, disabled, grants, groups, keys: [{id, created, s3}], password: bool}]: no hashes, no secrets; a new
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
