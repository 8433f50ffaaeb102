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

#define TOKEN_MAX	3072 /* text, with terminator */
#define TOKEN_KEY_BYTES 32
#define TOKEN_ACCESS_KEY_MAX 24 /* characters of an access key's id */

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
	char prefix[1025]; /* key prefix, or the exact key when exact */
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
	/* The access key by which the bearer came, "": by something else. users_allow() asks each time whether that key is
	 * still there and what its scopes are, also of tokens that were made with it. */
	char access_key[TOKEN_ACCESS_KEY_MAX + 1];
	bool scoped; /* that key is for some buckets or prefixes: it may nothing that is about no bucket (said by the table, not by a
			token) */
};

/* Names of users and groups: 1 to 63 of letters, digits, '.', '-', '_', '@'. Ids of tokens: 1 to 16 hex digits. Groups: names
 * with commas between. */
bool token_name_valid(const char *name);
bool token_id_valid(const char *id);
bool token_groups_valid(const char *groups);
bool token_groups_have(const char *groups, const char *name);

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
/* Watches users, people, groups, datasets, ended tokens and signing keys; makes the first signing key when there is
 * none. on_change may be NULL; called on a watch's thread. */
int users_open(struct users **out, struct registry *reg, void (*on_change)(void *arg), void *arg);
void users_close(struct users *users);
/* Waits, at most so long, until all that the registry has was heard once: a server that listens before refuses whom it does
 * not know yet. False: the registry is silent. */
bool users_wait(struct users *users, unsigned int ms);
/* Another number after each change of what is known, and never the same again: what was decided after it was taken is right
 * while it stays, but for what ends by the clock. */
uint64_t users_generation(const struct users *users);
/* Users of the table and people of a provider: is there anybody whom a server would serve? */
size_t users_count(const struct users *users);
/* Endpoints alone take tokens that a gateway signed for a change that it had checked (via_gateway); everywhere else they
 * are nobody's (-EACCES), so that one that leaked cannot be used to ask a gateway. Once, after users_open(). */
void users_take_via_gateway(struct users *users);

/* Who asks? authorization: the header's value ("Bearer weir1.…" or "Basic …" with key id:secret), may be NULL. 0 and the
 * scope (what the token says; users_allow() knows what the user may), -ENOENT nothing given, else as token_verify(),
 * -EACCES (user unknown, disabled, wrong key), or -EKEYREVOKED (the token was ended: logged out, revoked, or issued
 * before its user was signed out everywhere). People of a provider need not be known here (people/ may come late),
 * but one who bears the name of a user of the table is refused: a provider cannot make tokens of such users. */
int users_authorize(struct users *users, const char *authorization, int64_t now,
		    struct token_scope *out);
/* May this scope do that? Within what the token says: by public buckets, by the user's grants and those of the user's
 * groups, by the role ADMIN (everything), by the rights on a dataset (below). A token via_gateway decides alone, for the
 * one bucket that it names. */
bool users_allow(struct users *users, const struct token_scope *scope, unsigned int right,
		 const char *bucket, const char *key);
/* Is the token, and the access key behind it, for all of the bucket with this right, whatever the user may? */
bool users_covers(struct users *users, const struct token_scope *scope, unsigned int right, const char *bucket);
/* What somebody may do beside data: read the audit log (AUDITOR), make datasets (STEWARD), all (ADMIN). Roles come with
 * groups (groups/NAME), the highest counts; all rights (rwdla) on everything are ADMIN too, the right a alone sees the console. A token gives a role only when it is for
 * every bucket and key, and has the right r (AUDITOR), w (STEWARD), a (ADMIN): an API token made for one thing is no
 * administrator's. */
enum role { ROLE_MEMBER, ROLE_AUDITOR, ROLE_STEWARD, ROLE_ADMIN };
extern const char *const role_names[4];
enum role role_parse(const char *name); /* ROLE_MEMBER when it is none */
enum role users_role(struct users *users, const struct token_scope *scope);
/* The groups of a scope's user that exist in groups/: provider's from the token, else from the table. Comma-separated; those that
 * no longer fit are left out. */
void users_groups(struct users *users, const struct token_scope *scope, char out[512]);
/* Which of weir's groups are those of a provider's claim (an array of names, or one name)? By `from` of groups/NAME; a group
 * without `from` is the provider's group of its own name. Comma-separated; how many. */
size_t users_groups_from(struct users *users, const json_t *claim, char out[512]);
/* Is the bucket a dataset's (datasets/NAME)? users_allow() then also knows owner, readers and writers: read and list for all
 * three, write for owner and writers, delete for the owner; keys below ".weir/" are read by who may write. */
bool users_dataset(struct users *users, const char *bucket);
/* The dataset's record, a new reference to a copy; NULL: none. */
json_t *users_dataset_record(struct users *users, const char *bucket);
/* Is it the scope's user who owns the dataset, or an admin? May change and remove it. The token needs the right w there. */
bool users_dataset_owned(struct users *users, const struct token_scope *scope, const char *bucket);
/* All names of datasets that the scope may read or write, [{"name","read":bool,"write":bool,"own":bool,"record":{…}}], by name. */
json_t *users_datasets(struct users *users, const struct token_scope *scope);
/* A local user's password (scrypt): 0, -EACCES, -ENOENT (takes as long). Blocking, 50 ms and more: worker threads.
 * *out: every bucket, what the user may at most; expires, issued and id are the caller's to set. */
int users_password(struct users *users, const char *name, const char *password, struct token_scope *out);
/* Is the bucket public for reading without a token? */
bool users_bucket_public(struct users *users, const char *bucket);
/* The bucket as it is told to be (lib/bucket.h): a counted reference, given back with bucket_put(). NULL: the registry has no such
 * record. A search, no more. */
struct bucket;
const struct bucket *users_bucket(struct users *users, const char *name);
/* All that the scope's user owns or may list, by name: [{"name","created","owner"}], a new reference. */
json_t *users_buckets(struct users *users, const struct token_scope *scope);
/* users_allow() with all that a policy may want to know: S3's action, the client's address (lib/policy.h). In this order: a Deny of the
 * bucket's policy; what the token or the access key says is a limit; then any of grants, groups, role, dataset, policy, canned ACL,
 * `public`. The policy itself is always an administrator's and the owner's to read and change. */
struct policy_ask;
bool users_may(struct users *users, const struct token_scope *scope, const struct policy_ask *ask);

/* ---- S3: access keys whose secret can be had back, to check signatures -------------------------- */
struct users_s3 {
	uint8_t key[32]; /* HMAC chain of "AWS4" + secret, date, region, "s3", "aws4_request" (SigV4); wipe it after use */
	struct token_scope scope; /* for users_allow(), users_may() */
};
/* The signing key of the access key id for a day ("20260127") and region; cached. 0; -ENOENT (no such id: InvalidAccessKeyId);
 * -EACCES (the user or the key is disabled), -EKEYEXPIRED (the key's own expiry), -ENOKEY (made before keys could sign: `weir user key
 * add` makes one that can), -EAGAIN (the registry's users or sealing keys are not here yet). *out is filled when 0 alone. */
int users_s3_key(struct users *users, const char *id, const char *date, const char *region, int64_t now, struct users_s3 *out);

/* ---- sealing: AES-256-GCM with the installation's key (registry: sealing/KID) ------------------- */
#define SEALED_TEXT_MAX(len) (17 + 1 + ((len) + 12 + 16 + 2) / 3 * 4 + 1)
/* "KID.BASE64URL" of at most len bytes of data, bound to `about` (say what it is and whose: "sse bucket/key/version"). 0,
 * -ENOKEY (no sealing key yet: the first who needs one makes it; try again) or -EINVAL. For objects' keys (SSE) and secrets. */
int users_seal(struct users *users, const char *about, const void *data, size_t len, char *out, size_t size);
/* The count of bytes, -EBADMSG (changed, or of another `about`), -ENOKEY (sealed with a key that is not there), -EINVAL. */
long users_unseal(struct users *users, const char *about, const char *text, void *out, size_t max);
/* The id of the key that users_seal() takes now. 0, or -ENOKEY as there. */
#define SEALING_KID_MAX 17 /* with terminator */
int users_sealing_kid(struct users *users, char out[SEALING_KID_MAX]);
/* After users_unseal() said -ENOKEY: is the key lost for certain? The registry is asked, so it blocks: one caller at a time, and none for
 * a second after it did not answer. False also when it cannot be said now: the key may come. */
bool users_sealing_lost(struct users *users, const char *text);

/* ---- quotas: of a bucket (buckets/NAME.quota), of all that a user owns (users/NAME.quota) ------------ */
struct bucket_quota {
	uint64_t bytes, objects; /* 0: no limit */
};
struct users_limits {
	struct bucket_quota bucket, owner;
	char user[64]; /* the owner */
};
/* False: there is no limit (all is zero then). */
bool users_limits(struct users *users, const char *bucket, struct users_limits *out);
/* The names of the buckets that a user owns, *n of 64 bytes; the caller frees. NULL without memory. */
char (*users_owned(struct users *users, const char *user, size_t *n))[64];

/* Signs with the newest key / verifies a token by itself (of a redirect, of a cookie), as users_authorize() does. */
int users_sign(struct users *users, const struct token_scope *scope, char out[TOKEN_MAX]);
int users_verify(struct users *users, const char *token, int64_t now, struct token_scope *out);

#endif
