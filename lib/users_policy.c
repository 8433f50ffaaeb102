/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users_policy.c -- the one decision: grants, groups, roles and datasets (users_may.c) together with a bucket's policy,
 * canned ACL and `public` (token.h).
 */
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/users_internal.h"

#define DATASET_KEPT ".weir/"

/* The owner of a dataset is said by the dataset: its bucket was made by whoever uploaded first. "": nobody. */
static const char *owner_of(const struct users *u, const char *bucket)
{
	const json_t *dataset = json_object_get(u->known[DATASETS], bucket);
	const struct bucket *b = dataset ? NULL : users_bucket_held(u, bucket);

	return dataset ? users_text(dataset, "owner") : b ? b->owner : "";
}

/* A question with what its action means. */
struct question {
	struct policy_ask ask;
	const struct policy_action *action; /* NULL: asked by rights */
	unsigned int right;
	const char *key; /* what grants are compared with */
	const struct bucket *bucket;
	bool dataset;
};

static bool is_list(const struct policy_action *action)
{
	return !strncmp(action->name, "s3:ListBucket", 13);
}

/* False: nobody can be allowed what is not known. */
static bool understand(struct users *u, const struct policy_ask *ask, struct question *q)
{
	*q = (struct question){ .ask = *ask, .right = ask->right, .key = ask->key };
	if (ask->action) {
		q->action = policy_action(ask->action);
		if (!q->action)
			return false;
		q->ask.action = q->action->name;
		q->right |= q->action->right;
		if (q->action->kind != ASK_OBJECT && !is_list(q->action))
			q->key = q->ask.key = NULL;
	}
	if (ask->bucket) {
		q->bucket = users_bucket_held(u, ask->bucket);
		q->dataset = json_object_get(u->known[DATASETS], ask->bucket) != NULL;
	}
	if (q->bucket && q->bucket->policy && !ask->known && ask->look) {
		ask->look(&q->ask, ask->look_arg);
		q->ask.known = true;
	}
	return true;
}

/* The policy of the bucket; of several rights each must be allowed, and none denied. */
static enum policy_verdict verdict_of(const struct question *q, const struct policy_who *who)
{
	enum policy_verdict all = POLICY_ALLOW, one;
	struct policy_ask ask = q->ask;

	if (!q->bucket || !q->bucket->policy)
		return POLICY_SILENT;
	if (q->action)
		return policy_evaluate(q->bucket->policy, who, &ask);
	for (unsigned int right = 1; right <= q->right; right <<= 1) {
		if (!(q->right & right))
			continue;
		ask.action = policy_action_of(right);
		one = ask.action ? policy_evaluate(q->bucket->policy, who, &ask) : POLICY_SILENT;
		if (one == POLICY_DENY)
			return POLICY_DENY;
		if (one == POLICY_SILENT)
			all = POLICY_SILENT;
	}
	return q->right ? all : POLICY_SILENT;
}

/* What a dataset keeps for itself, and every change of it, are its own to give. */
static bool of_dataset_alone(const struct question *q)
{
	return q->dataset && ((q->right & ~(RIGHT_READ | RIGHT_LIST)) ||
			      (q->key && !strncmp(q->key, DATASET_KEPT, strlen(DATASET_KEPT))) || (!q->key && q->right != RIGHT_LIST));
}

/* Bucket: read is to list, write is to put and delete. Object: read is to read it. */
static bool acl_gives(const struct question *q, bool somebody)
{
	bool ignored = q->bucket && (q->bucket->no_acls || q->bucket->block & BLOCK_IGNORE);
	enum canned_acl acl = q->bucket && !ignored ? q->bucket->acl : ACL_PRIVATE, object = ignored ? ACL_PRIVATE : q->ask.object;
	bool lists = acl == ACL_PUBLIC_READ || acl == ACL_PUBLIC_READ_WRITE || (somebody && acl == ACL_AUTHENTICATED_READ);
	bool reads = q->ask.object_known && (object == ACL_PUBLIC_READ || object == ACL_PUBLIC_READ_WRITE ||
					     (somebody && object == ACL_AUTHENTICATED_READ));

	if (q->action && q->action->kind == ASK_BUCKET)
		return lists && is_list(q->action);
	if (q->action && strcmp(q->action->name, "s3:GetObject") && strcmp(q->action->name, "s3:GetObjectVersion") &&
	    strcmp(q->action->name, "s3:GetObjectAttributes") && strcmp(q->action->name, "s3:PutObject") &&
	    strcmp(q->action->name, "s3:DeleteObject") && strcmp(q->action->name, "s3:AbortMultipartUpload") &&
	    strcmp(q->action->name, "s3:ListMultipartUploadParts"))
		return false;
	if (q->right == RIGHT_LIST)
		return lists;
	if (q->right == RIGHT_READ)
		return reads;
	return acl == ACL_PUBLIC_READ_WRITE && q->key && (q->right == RIGHT_WRITE || q->right == RIGHT_DELETE);
}

/* `public`: for reading objects, not what is told about them, nor what they were. */
static bool public_gives(const struct question *q)
{
	return q->bucket && q->bucket->is_public && !(q->bucket->block & BLOCK_RESTRICT) && q->right == RIGHT_READ &&
	       (!q->action || !strcmp(q->action->name, "s3:GetObject") || !strcmp(q->action->name, "s3:GetObjectAttributes")) &&
	       !(q->dataset && q->key && !strncmp(q->key, DATASET_KEPT, strlen(DATASET_KEPT)));
}

/* What a public policy gives is for users alone where strangers are kept out. */
static bool policy_gives(const struct question *q, const struct policy_who *who)
{
	bool restricted = q->bucket && q->bucket->block & BLOCK_RESTRICT && !*who->user;

	return !(restricted && policy_is_public(q->bucket->policy)) && verdict_of(q, who) == POLICY_ALLOW;
}

/* Given to anybody at all, or (somebody) to every user. */
static bool given(const struct question *q, const struct policy_who *who)
{
	if (public_gives(q))
		return true;
	if (of_dataset_alone(q))
		return false;
	return acl_gives(q, *who->user != '\0') || policy_gives(q, who);
}

/* The policy is an administrator's and the owner's in any case: else a mistake in it could not be mended. */
static bool about_policy(const struct question *q)
{
	return q->action && (!strcmp(q->action->name, "s3:GetBucketPolicy") || !strcmp(q->action->name, "s3:PutBucketPolicy") ||
			     !strcmp(q->action->name, "s3:DeleteBucketPolicy"));
}

static bool may_config(const struct users *u, const struct token_scope *scope, const struct policy_who *who)
{
	return who->owner || users_role_held(u, scope, who->groups) == ROLE_ADMIN;
}

/* Held. who: as whom the policy sees the bearer. */
static bool may_bearer(const struct users *u, const struct token_scope *scope, const struct question *q,
		       const struct policy_who *who)
{
	bool config = q->action && q->action->kind == ASK_CONFIG;

	if (q->action && q->action->kind == ASK_SERVICE)
		return true; /* each sees what is theirs */
	if (!users_within(u, scope, q->right, q->ask.bucket, q->key))
		return false;
	if (config ? may_config(u, scope, who) : users_granted(u, scope, who->groups, q->right, q->ask.bucket, q->key))
		return true;
	return given(q, who);
}

/* ---- what was just decided ------------------------------------------------------------------- */

/* The same bearer asks for one object of a bucket after the other: when a grant on the whole bucket allowed it, the next is
 * allowed while nothing changed. By thread, so that it needs no lock. */
struct decided {
	uint64_t generation; /* 0: none */
	char user[64], id[17], access_key[TOKEN_ACCESS_KEY_MAX + 1], groups[512], bucket[64];
	bool provider;
	int64_t issued; /* what was issued later may no less */
	char action[48];
	unsigned int asked, right;
};
#define DECIDED 16
static __thread struct decided recent[DECIDED];

static struct decided *place_of(const struct token_scope *scope, const struct policy_ask *ask)
{
	return &recent[(hash64(scope->user, strlen(scope->user), ask->right) ^ hash64(ask->bucket, strlen(ask->bucket), 0)) % DECIDED];
}

static const char *action_text(const struct policy_ask *ask)
{
	return ask->action ? ask->action : "";
}

static bool recall(const struct users *u, const struct token_scope *scope, const struct policy_ask *ask)
{
	const struct decided *d;

	if (!ask->bucket)
		return false;
	d = place_of(scope, ask);
	return d->generation == u->generation && d->asked == ask->right && d->provider == scope->provider &&
	       d->issued <= scope->issued && !strcmp(d->action, action_text(ask)) && !strcmp(d->user, scope->user) &&
	       !strcmp(d->id, scope->id) && !strcmp(d->access_key, scope->access_key) && !strcmp(d->bucket, ask->bucket) &&
	       !strcmp(d->groups, scope->groups) && token_allows(scope, d->right, ask->bucket, ask->key);
}

/* Held: does the access key say more than who it is? */
static bool key_is_plain(const struct users *u, const struct token_scope *scope)
{
	const json_t *key = *scope->access_key ? users_key(u, scope->access_key, scope->user, 0, NULL) : NULL;

	return !*scope->access_key || (key && !json_object_get(key, "expires") && !json_object_get(key, "scopes"));
}

static void keep(const struct users *u, const struct token_scope *scope, const struct question *q, const struct policy_who *who,
		 const struct policy_ask *ask)
{
	struct decided *d;

	if (!q->bucket || q->bucket->policy || q->dataset || (q->action && q->action->kind != ASK_OBJECT) || !key_is_plain(u, scope) ||
	    !users_granted(u, scope, who->groups, q->right, ask->bucket, NULL))
		return;
	d = place_of(scope, ask);
	*d = (struct decided){ .generation = u->generation, .provider = scope->provider, .issued = scope->issued,
			       .asked = ask->right, .right = q->right };
	strcpy(d->action, action_text(ask)); /* a name of the table */
	strcpy(d->user, scope->user);
	strcpy(d->id, scope->id);
	strcpy(d->access_key, scope->access_key);
	strcpy(d->groups, scope->groups);
	strcpy(d->bucket, ask->bucket);
}

static bool decide(struct users *u, const struct token_scope *scope, const struct policy_ask *ask)
{
	struct policy_who who = { "", "", false }, nobody = who;
	char groups[512];
	struct question q;
	bool bearer;

	if (*scope->user && !scope->via_gateway && recall(u, scope, ask))
		return true;
	if (!understand(u, ask, &q))
		return false;
	/* A gateway has asked already, and the token is for one bucket. */
	if (scope->via_gateway)
		return users_within(u, scope, q.right, ask->bucket, q.key) && !users_bearer(u, scope) && ask->bucket &&
		       !strcmp(scope->bucket, ask->bucket);
	bearer = *scope->user && !users_bearer(u, scope);
	if (bearer) {
		users_groups_held(u, scope, groups);
		who = (struct policy_who){ scope->user, groups, ask->bucket && !strcmp(owner_of(u, ask->bucket), scope->user) };
	}
	if (bearer && about_policy(&q) && may_config(u, scope, &who))
		return users_within(u, scope, q.right, ask->bucket, NULL);
	if (verdict_of(&q, &who) == POLICY_DENY)
		return false;
	/* what nobody in particular may, everybody may, however narrow their token is; but a policy is never a stranger's (Amazon:
	 * PutBucketPolicy wants an identity of the owner's account, whatever the policy allows) */
	if (!about_policy(&q) && given(&q, &nobody))
		return true;
	if (!bearer || !may_bearer(u, scope, &q, &who))
		return false;
	keep(u, scope, &q, &who, ask);
	return true;
}

bool users_may(struct users *u, const struct token_scope *scope, const struct policy_ask *ask)
{
	bool allowed;

	pthread_rwlock_rdlock(&u->lock);
	allowed = decide(u, scope, ask);
	pthread_rwlock_unlock(&u->lock);
	return allowed;
}

bool users_allow(struct users *u, const struct token_scope *scope, unsigned int right, const char *bucket, const char *key)
{
	struct policy_ask ask = { .right = right, .bucket = bucket, .key = key };

	return users_may(u, scope, &ask);
}

/* ---- buckets --------------------------------------------------------------------------------- */

const struct bucket *users_bucket(struct users *u, const char *name)
{
	const struct bucket *b;

	pthread_rwlock_rdlock(&u->lock);
	b = users_bucket_held(u, name);
	if (b)
		bucket_hold(b);
	pthread_rwlock_unlock(&u->lock);
	return b;
}

bool users_bucket_public(struct users *u, const char *bucket)
{
	const struct bucket *b;
	bool is_public;

	pthread_rwlock_rdlock(&u->lock);
	b = users_bucket_held(u, bucket);
	is_public = b && b->is_public && !(b->block & BLOCK_RESTRICT) && !b->policy; /* a policy may have more to say */
	pthread_rwlock_unlock(&u->lock);
	return is_public;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

json_t *users_buckets(struct users *u, const struct token_scope *scope)
{
	json_t *list = json_array(), *value;
	const char **names, *name;
	size_t n = 0;

	pthread_rwlock_rdlock(&u->lock);
	names = calloc(json_object_size(u->known[BUCKETS]) + 1, sizeof(*names));
	json_object_foreach (u->known[BUCKETS], name, value)
		if (names && users_sees(u, scope, name))
			names[n++] = name;
	if (names)
		qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n; i++) {
		const struct bucket *b = users_bucket_held(u, names[i]);

		if (b)
			json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "name", b->name, "created",
							      (json_int_t)b->created, "owner", owner_of(u, names[i])));
	}
	pthread_rwlock_unlock(&u->lock);
	free(names);
	return list;
}

/* ---- quotas ---------------------------------------------------------------------------------- */

static uint64_t number_of(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

bool users_limits(struct users *u, const char *bucket, struct users_limits *out)
{
	const struct bucket *b;
	const char *owner;
	const json_t *quota;

	memset(out, 0, sizeof(*out));
	pthread_rwlock_rdlock(&u->lock);
	b = users_bucket_held(u, bucket);
	if (b) {
		owner = owner_of(u, bucket);
		quota = json_object_get(json_object_get(u->known[USERS], owner), "quota");
		out->bucket = b->quota;
		out->owner = (struct bucket_quota){ number_of(quota, "bytes"), number_of(quota, "objects") };
		if (strlen(owner) < sizeof(out->user))
			strcpy(out->user, owner);
	}
	pthread_rwlock_unlock(&u->lock);
	return out->bucket.bytes || out->bucket.objects || out->owner.bytes || out->owner.objects;
}

char (*users_owned(struct users *u, const char *user, size_t *n))[64]
{
	char (*names)[64];
	const char *name;
	json_t *value;

	*n = 0;
	pthread_rwlock_rdlock(&u->lock);
	names = calloc(json_object_size(u->known[BUCKETS]) + 1, sizeof(*names));
	json_object_foreach (u->known[BUCKETS], name, value)
		if (names && strlen(name) < sizeof(*names) && !strcmp(owner_of(u, name), user))
			strcpy(names[(*n)++], name);
	pthread_rwlock_unlock(&u->lock);
	return names;
}
