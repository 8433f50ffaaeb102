/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token.h -- signed, scoped, expiring tokens, and what a user may do.
 *
 * A token is "weir1." PAYLOAD "." MAC (base64url, no padding), MAC = HMAC-SHA256 over all before
 * it. Verification is pure: token, keys and the time in, scope out. Nothing here logs; secrets are
 * compared in constant time and wiped when freed.
 */
#ifndef WEIR_TOKEN_H
#define WEIR_TOKEN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_MAX	2048 /* text, with terminator */
#define TOKEN_KEY_BYTES 32

enum right {
	RIGHT_READ = 1 << 0,   /* 'r' */
	RIGHT_WRITE = 1 << 1,  /* 'w' */
	RIGHT_DELETE = 1 << 2, /* 'd' */
	RIGHT_LIST = 1 << 3,   /* 'l' */
	RIGHT_ADMIN = 1 << 4,  /* 'a': status and console of everything */
};
unsigned int rights_parse(const char *letters); /* 0 when a letter is unknown */
char *rights_format(unsigned int rights, char buf[8]);

struct token_scope {
	char user[64];
	char bucket[64];  /* "*": any */
	char prefix[513]; /* key prefix, or the exact key when exact */
	bool exact;
	unsigned int rights;
	int64_t expires; /* unix seconds */
	int64_t issued;	 /* unix seconds; 0: not said (redirects) */
	char id[17];	 /* hex, by which it can be ended; "" : cannot */
	/* People of a provider are not in the table of users: their groups travel in the token, comma-separated
	 * names of weir's own groups. Users of the table have theirs there, and "" here. */
	bool provider;
	char groups[512];
	/* Signed by a gateway after it had checked the rights (writes to a dataset's bucket): the token alone decides, the
	 * user is named for the audit log. Endpoints take changes of a dataset's bucket only with such a token. */
	bool via_gateway;
};

struct token_key {
	char kid[17];
	uint8_t secret[TOKEN_KEY_BYTES];
};

/* Writes the token's text. 0 or -EINVAL (a field too long or not UTF-8). */
int token_sign(char out[TOKEN_MAX], const struct token_scope *scope, const struct token_key *key);
/* 0, -EINVAL malformed, -ENOKEY unknown key, -EBADMSG wrong signature, -ETIME expired. */
int token_verify(struct token_scope *out, const char *token, const struct token_key *keys,
		 size_t nkeys, int64_t now);
bool token_allows(const struct token_scope *scope, unsigned int right, const char *bucket,
		  const char *key);

/* ---- users: the table under users/, kept in memory by a watch ---- */
struct registry;
struct users;
/* Watches users and signing keys; makes the first signing key when there is none. on_change may be
 * NULL; called on the watch's thread. */
int users_open(struct users **out, struct registry *reg, void (*on_change)(void *arg), void *arg);
void users_close(struct users *users);
size_t users_count(const struct users *users);

/* Who asks? authorization: the header's value ("Bearer weir1.…" or "Basic …" with key id:secret),
 * may be NULL. 0 and the scope (token's ∩ the user's rights), -ENOENT nothing given, else as
 * token_verify() or -EACCES (user unknown, disabled, wrong key). */
int users_authorize(struct users *users, const char *authorization, int64_t now,
		    struct token_scope *out);
/* May this scope do that? Checks the token's scope and, for the user, the rights table and public
 * buckets. */
bool users_allow(struct users *users, const struct token_scope *scope, unsigned int right,
		 const char *bucket, const char *key);
/* What somebody may do beside data: read the audit log (AUDITOR), make datasets (STEWARD), all (ADMIN). Roles come with
 * groups (groups/NAME), the highest counts; the right a on everything is ADMIN. */
enum role { ROLE_MEMBER, ROLE_AUDITOR, ROLE_STEWARD, ROLE_ADMIN };
extern const char *const role_names[4];
enum role users_role(struct users *users, const struct token_scope *scope);
/* The groups of a scope's user: provider's from the token, else from the table. Comma-separated. */
void users_groups(struct users *users, const struct token_scope *scope, char out[512]);
/* Is the bucket a dataset's (datasets/NAME)? users_allow() then also knows owner, readers and writers: read and list for all
 * three, write for owner and writers, delete for the owner. */
bool users_dataset(struct users *users, const char *bucket);
/* The dataset's record, a new reference; NULL: none. */
json_t *users_dataset_record(struct users *users, const char *bucket);
/* All names of datasets that the scope may read or write, [{"name","read":bool,"write":bool,"own":bool,"record":{…}}]. */
json_t *users_datasets(struct users *users, const struct token_scope *scope);
/* A local user's password (scrypt): 0, -EACCES, -ENOENT (takes as long). Blocking, 50 ms and more: worker threads. */
int users_password(struct users *users, const char *name, const char *password, struct token_scope *out);
/* Is the bucket public for reading without a token? */
bool users_bucket_public(struct users *users, const char *bucket);
/* Signs with the newest key / verifies a redirect token. */
int users_sign(struct users *users, const struct token_scope *scope, char out[TOKEN_MAX]);
int users_verify(struct users *users, const char *token, int64_t now, struct token_scope *out);

#endif
