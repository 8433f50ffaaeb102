/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c -- what a policy says to a question; actions, canned ACLs, patterns (policy.h).
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/policy_impl.h"
#include "lib/token.h"

/* ---- canned ACLs ----------------------------------------------------------------------------- */

static const char *const acls[] = { "private",		  "public-read",       "public-read-write",
				    "authenticated-read", "bucket-owner-read", "bucket-owner-full-control" };

int acl_parse(const char *text, enum canned_acl *out)
{
	for (size_t i = 0; i < sizeof(acls) / sizeof(*acls); i++)
		if (!strcmp(text, acls[i])) {
			*out = (enum canned_acl)i;
			return 0;
		}
	return -EINVAL;
}

const char *acl_text(enum canned_acl acl)
{
	return acls[acl];
}

/* ---- actions (Amazon: "Actions, resources, and condition keys for Amazon S3") ------------------ */

#define R RIGHT_READ
#define W RIGHT_WRITE
#define D RIGHT_DELETE
#define L RIGHT_LIST

const struct policy_action policy_actions[] = {
	{ "s3:GetObject", ASK_OBJECT, R }, /* what is asked most comes first */
	{ "s3:PutObject", ASK_OBJECT, W },
	{ "s3:ListBucket", ASK_BUCKET, L },
	{ "s3:DeleteObject", ASK_OBJECT, D },
	{ "s3:ListAllMyBuckets", ASK_SERVICE, 0 },
	{ "s3:CreateBucket", ASK_BUCKET, W },
	{ "s3:DeleteBucket", ASK_BUCKET, D },
	{ "s3:ListBucketVersions", ASK_BUCKET, L },
	{ "s3:ListBucketMultipartUploads", ASK_BUCKET, L },
	{ "s3:GetBucketLocation", ASK_BUCKET, L },
	{ "s3:GetBucketVersioning", ASK_BUCKET, L },
	{ "s3:GetLifecycleConfiguration", ASK_BUCKET, L },
	{ "s3:GetBucketCORS", ASK_BUCKET, L },
	{ "s3:GetBucketPolicyStatus", ASK_BUCKET, L },
	{ "s3:GetBucketAcl", ASK_BUCKET, L },
	{ "s3:GetBucketTagging", ASK_BUCKET, L },
	{ "s3:GetEncryptionConfiguration", ASK_BUCKET, L },
	{ "s3:GetBucketPublicAccessBlock", ASK_BUCKET, L },
	{ "s3:GetBucketOwnershipControls", ASK_BUCKET, L },
	{ "s3:GetBucketObjectLockConfiguration", ASK_BUCKET, L },
	{ "s3:GetBucketWebsite", ASK_BUCKET, L },
	{ "s3:GetReplicationConfiguration", ASK_BUCKET, L },
	{ "s3:GetBucketNotification", ASK_BUCKET, L },
	{ "s3:GetInventoryConfiguration", ASK_BUCKET, L },
	{ "s3:GetAccelerateConfiguration", ASK_BUCKET, L },
	{ "s3:GetBucketRequestPayment", ASK_BUCKET, L },
	{ "s3:GetBucketLogging", ASK_BUCKET, L },
	{ "s3:GetAnalyticsConfiguration", ASK_BUCKET, L },
	{ "s3:GetMetricsConfiguration", ASK_BUCKET, L },
	{ "s3:GetIntelligentTieringConfiguration", ASK_BUCKET, L },
	{ "s3:GetBucketPolicy", ASK_CONFIG, L },
	{ "s3:PutBucketPolicy", ASK_CONFIG, W },
	{ "s3:DeleteBucketPolicy", ASK_CONFIG, W },
	{ "s3:PutBucketVersioning", ASK_CONFIG, W },
	{ "s3:PutLifecycleConfiguration", ASK_CONFIG, W },
	{ "s3:PutBucketCORS", ASK_CONFIG, W },
	{ "s3:PutBucketAcl", ASK_CONFIG, W },
	{ "s3:PutBucketTagging", ASK_CONFIG, W },
	{ "s3:PutEncryptionConfiguration", ASK_CONFIG, W },
	{ "s3:PutBucketPublicAccessBlock", ASK_CONFIG, W },
	{ "s3:PutBucketOwnershipControls", ASK_CONFIG, W },
	{ "s3:PutBucketObjectLockConfiguration", ASK_CONFIG, W },
	{ "s3:PutBucketWebsite", ASK_CONFIG, W },
	{ "s3:DeleteBucketWebsite", ASK_CONFIG, W },
	{ "s3:PutReplicationConfiguration", ASK_CONFIG, W },
	{ "s3:PutBucketNotification", ASK_CONFIG, W },
	{ "s3:PutInventoryConfiguration", ASK_CONFIG, W },
	{ "s3:PutAccelerateConfiguration", ASK_CONFIG, W },
	{ "s3:PutBucketRequestPayment", ASK_CONFIG, W },
	{ "s3:PutBucketLogging", ASK_CONFIG, W },
	{ "s3:PutAnalyticsConfiguration", ASK_CONFIG, W },
	{ "s3:PutMetricsConfiguration", ASK_CONFIG, W },
	{ "s3:PutIntelligentTieringConfiguration", ASK_CONFIG, W },
	{ "s3:GetObjectVersion", ASK_OBJECT, R },
	{ "s3:GetObjectAttributes", ASK_OBJECT, R },
	{ "s3:GetObjectVersionAttributes", ASK_OBJECT, R },
	{ "s3:GetObjectTagging", ASK_OBJECT, R },
	{ "s3:GetObjectVersionTagging", ASK_OBJECT, R },
	{ "s3:GetObjectAcl", ASK_OBJECT, R },
	{ "s3:GetObjectVersionAcl", ASK_OBJECT, R },
	{ "s3:GetObjectTorrent", ASK_OBJECT, R },
	{ "s3:GetObjectVersionTorrent", ASK_OBJECT, R },
	{ "s3:GetObjectRetention", ASK_OBJECT, R },
	{ "s3:GetObjectLegalHold", ASK_OBJECT, R },
	{ "s3:PutObjectTagging", ASK_OBJECT, W },
	{ "s3:PutObjectVersionTagging", ASK_OBJECT, W },
	{ "s3:PutObjectAcl", ASK_OBJECT, W },
	{ "s3:PutObjectVersionAcl", ASK_OBJECT, W },
	{ "s3:PutObjectRetention", ASK_OBJECT, W },
	{ "s3:PutObjectLegalHold", ASK_OBJECT, W },
	{ "s3:DeleteObjectTagging", ASK_OBJECT, W },
	{ "s3:DeleteObjectVersionTagging", ASK_OBJECT, W },
	{ "s3:AbortMultipartUpload", ASK_OBJECT, W },
	{ "s3:ListMultipartUploadParts", ASK_OBJECT, W },
	{ "s3:RestoreObject", ASK_OBJECT, W },
	{ "s3:DeleteObjectVersion", ASK_OBJECT, D },
	{ "s3:BypassGovernanceRetention", ASK_OBJECT, D },
};
const size_t policy_nactions = sizeof(policy_actions) / sizeof(*policy_actions);

#undef R
#undef W
#undef D
#undef L

const struct policy_action *policy_action(const char *name)
{
	for (size_t i = 0; i < policy_nactions; i++)
		if (!strcmp(policy_actions[i].name, name) || !strcmp(policy_actions[i].name + 3, name))
			return &policy_actions[i];
	return NULL;
}

const char *policy_action_of(unsigned int right)
{
	switch (right) {
	case RIGHT_READ:
		return "s3:GetObject";
	case RIGHT_WRITE:
		return "s3:PutObject";
	case RIGHT_DELETE:
		return "s3:DeleteObject";
	case RIGHT_LIST:
		return "s3:ListBucket";
	default:
		return NULL;
	}
}

/* ---- patterns -------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	char becomes;
} variables_known[] = { { "aws:username", PATTERN_USER }, { "aws:userid", PATTERN_USER }, { "*", '*' }, { "?", '?' }, { "$", '$' } };

/* At "${": the byte that stands for it, 0: unknown. *len: of all of it. */
static char variable_at(const char *text, size_t *len)
{
	const char *end = strchr(text, '}');
	size_t n = end ? (size_t)(end - text) - 2 : 0;

	for (size_t i = 0; end && i < sizeof(variables_known) / sizeof(*variables_known); i++)
		if (strlen(variables_known[i].name) == n && !strncasecmp(text + 2, variables_known[i].name, n)) {
			*len = n + 3;
			return variables_known[i].becomes;
		}
	return 0;
}

char *wild_new(const char *text, bool wild, bool variables, char err[256])
{
	char *pattern = malloc(strlen(text) + 1), *at = pattern;
	size_t len;

	if (!pattern) {
		snprintf(err, 256, "out of memory");
		return NULL;
	}
	for (const char *t = text; *t; t += len) {
		len = 1;
		*at = wild && *t == '*' ? PATTERN_MANY : wild && *t == '?' ? PATTERN_ONE : *t;
		if (variables && t[0] == '$' && t[1] == '{')
			*at = variable_at(t, &len);
		if (!*at || (*t > 0 && *t <= PATTERN_USER)) {
			snprintf(err, 256, "\"%.100s\": %s", text,
				 *at ? "has a control character"
				     : "variables are ${aws:username}, ${aws:userid}, ${*}, ${?} and ${$}");
			free(pattern);
			return NULL;
		}
		at++;
	}
	*at = '\0';
	return pattern;
}

static bool same(char a, char b, bool ignore_case)
{
	return a == b || (ignore_case && tolower((unsigned char)a) == tolower((unsigned char)b));
}

/* How many bytes of the text match this one of the pattern; 0: they do not. */
static size_t step(char p, const char *text, const char *user, bool ignore_case)
{
	size_t len = strlen(user);

	if (p == PATTERN_USER)
		return len && !strncmp(text, user, len) ? len : 0;
	if (!*text)
		return 0;
	if (p != PATTERN_ONE)
		return same(p, *text, ignore_case);
	for (len = 1; ((unsigned char)text[len] & 0xc0) == 0x80; len++) /* one character of UTF-8 */
		;
	return len;
}

/* What follows the last * is tried ever further on; earlier ones need no second look. At most |pattern| × |text| steps. */
bool wild_match(const char *pattern, const char *text, const char *user, bool ignore_case)
{
	const char *star = NULL, *retry = NULL;
	size_t len;

	for (;;) {
		if (*pattern == PATTERN_MANY) {
			star = ++pattern;
			retry = text;
			continue;
		}
		if (!*pattern && !*text)
			return true;
		len = *pattern ? step(*pattern, text, user, ignore_case) : 0;
		if (len) {
			pattern++;
			text += len;
		} else if (star && *retry) {
			pattern = star;
			text = ++retry;
		} else {
			return false;
		}
	}
}

/* ---- questions ------------------------------------------------------------------------------- */

static bool principal_is(const struct principal *p, const struct policy_who *who)
{
	switch (p->kind) {
	case PRINCIPAL_ANY:
		return true;
	case PRINCIPAL_USER:
		return !strcmp(p->name, who->user);
	case PRINCIPAL_GROUP:
		return token_groups_have(who->groups, p->name);
	case PRINCIPAL_OWNER:
		return who->owner;
	}
	return false;
}

static bool principal_matches(const struct statement *s, const struct policy_who *who)
{
	for (size_t i = 0; i < s->nprincipals; i++)
		if (principal_is(&s->principals[i], who))
			return !s->not_principal;
	return s->not_principal;
}

static bool any_matches(char *const *patterns, size_t n, const char *text, const char *user, bool ignore_case)
{
	for (size_t i = 0; i < n; i++)
		if (wild_match(patterns[i], text, user, ignore_case))
			return true;
	return false;
}

static bool conditions_hold(const struct statement *s, const struct policy_who *who, const struct policy_ask *ask)
{
	for (size_t i = 0; i < s->nconditions; i++)
		if (!condition_holds(&s->conditions[i], who, ask, s->deny))
			return false;
	return true;
}

enum policy_verdict policy_evaluate(const struct policy *p, const struct policy_who *who, const struct policy_ask *ask)
{
	const struct policy_action *action = p && ask->action && ask->bucket ? policy_action(ask->action) : NULL;
	enum policy_verdict verdict = POLICY_SILENT;
	char resource[64 + 1 + 1024 + 1];
	int len;

	if (!action)
		return POLICY_SILENT;
	len = action->kind == ASK_OBJECT ? snprintf(resource, sizeof(resource), "%s/%s", ask->bucket, ask->key ? ask->key : "")
					 : snprintf(resource, sizeof(resource), "%s", ask->bucket);
	if (len < 0 || (size_t)len >= sizeof(resource))
		return POLICY_DENY; /* no key is that long */
	for (size_t i = 0; i < p->n; i++) {
		const struct statement *s = &p->statements[i];

		if (!s->deny && verdict == POLICY_ALLOW)
			continue;
		if (!principal_matches(s, who) ||
		    any_matches(s->actions, s->nactions, action->name, who->user, true) == s->not_action ||
		    any_matches(s->resources, s->nresources, resource, who->user, false) == s->not_resource ||
		    !conditions_hold(s, who, ask))
			continue;
		if (s->deny)
			return POLICY_DENY;
		verdict = POLICY_ALLOW;
	}
	return verdict;
}

/* Does the condition leave few enough that nobody would call it public? Fixed users, or networks of at most 2^24 addresses
 * (IPv6: /32). */
static bool narrows(const struct condition *c)
{
	if (c->negated || c->if_exists)
		return false;
	if (c->kind == COND_STRING && (c->key == KEY_USERNAME || c->key == KEY_USERID || c->key == KEY_PRINCIPAL_ARN))
		return true;
	if (c->kind != COND_IP)
		return false;
	for (size_t i = 0; i < c->n; i++)
		if (c->values[i].net.len < (c->values[i].net.addr.family == AF_INET ? 8 : 32))
			return false;
	return true;
}

static bool statement_is_public(const struct statement *s)
{
	const struct policy_who nobody = { "", "", false };

	if (s->deny || !principal_matches(s, &nobody))
		return false;
	for (size_t i = 0; i < s->nconditions; i++)
		if (narrows(&s->conditions[i]))
			return false;
	return true;
}

bool policy_is_public(const struct policy *p)
{
	for (size_t i = 0; p && i < p->n; i++)
		if (statement_is_public(&p->statements[i]))
			return true;
	return false;
}
