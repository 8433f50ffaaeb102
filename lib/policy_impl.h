/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_impl.h -- a compiled policy: what policy_parse.c makes and policy.c asks. Nobody else includes it.
 */
#ifndef WEIR_POLICY_IMPL_H
#define WEIR_POLICY_IMPL_H

#include <jansson.h>

#include "lib/policy.h"

#define ARN_S3 "arn:aws:s3:::"

/* ---- patterns: text in which these bytes mean something (S3's keys may have them, patterns that do are refused) ---- */
enum { PATTERN_MANY = 1, PATTERN_ONE = 2, PATTERN_USER = 3 };

/* text → pattern, malloc'ed. wild: * and ? are such; variables: ${aws:username}, ${*}, ${?}, ${$} are. NULL and a sentence:
 * a variable that is none of these, a control character. */
char *wild_new(const char *text, bool wild, bool variables, char err[256]);
/* ignore_case: of ASCII letters. A pattern with PATTERN_USER never matches for nobody (user ""). */
bool wild_match(const char *pattern, const char *text, const char *user, bool ignore_case);

/* ---- conditions ---- */
enum cond_kind { COND_STRING, COND_LIKE, COND_NUMBER, COND_DATE, COND_BOOL, COND_IP, COND_NULL };
enum cond_order { ORDER_EQUAL, ORDER_LESS, ORDER_LESS_EQUAL, ORDER_GREATER, ORDER_GREATER_EQUAL };
enum cond_key {
	KEY_SOURCE_IP,
	KEY_SECURE_TRANSPORT,
	KEY_USER_AGENT,
	KEY_REFERER,
	KEY_AUTH_TYPE,
	KEY_SIGNATURE_VERSION,
	KEY_SIGNATURE_AGE,
	KEY_DELIMITER,
	KEY_MAX_KEYS,
	KEY_VERSION_ID,
	KEY_ACL,
	KEY_ENCRYPTION,
	KEY_STORAGE_CLASS,
	KEY_COPY_SOURCE,
	KEY_DIRECTIVE,
	KEY_CONTENT_SHA256,
	KEY_IF_MATCH,
	KEY_IF_NONE_MATCH,
	KEY_CREATION,
	KEY_LAST_OF_REQUEST = KEY_CREATION, /* those before are known when policy_ask.known */
	KEY_CURRENT_TIME,
	KEY_EPOCH_TIME,
	KEY_USERNAME,
	KEY_USERID,
	KEY_PRINCIPAL_TYPE,
	KEY_PRINCIPAL_ARN,
	KEY_PREFIX,
	KEY_EXISTING_TAG, /* these two with condition.tag */
	KEY_REQUEST_TAG,
};

struct cond_value {
	char *pattern;	/* COND_STRING, COND_LIKE */
	double number;	/* COND_NUMBER, COND_DATE (unix seconds), COND_BOOL, COND_NULL (0 or 1) */
	struct addr_prefix net;
};

struct condition {
	enum cond_kind kind;
	enum cond_order order;
	bool negated, if_exists, ignore_case;
	enum cond_key key;
	char *tag; /* the rest of the key's name, or NULL */
	size_t n;
	struct cond_value *values;
};

/* One operator's member "Operator": {"key": value or list, …}: appends to the list. 0 or -EINVAL, -ENOMEM. */
int condition_parse(struct condition **list, size_t *n, const char *operator, const json_t *keys, bool variables, char err[256]);
void conditions_free(struct condition *list, size_t n);
/* unknown: what is said of a circumstance that nobody looked at. */
bool condition_holds(const struct condition *c, const struct policy_who *who, const struct policy_ask *ask, bool unknown);

/* ---- statements ---- */
enum principal_kind { PRINCIPAL_ANY, PRINCIPAL_USER, PRINCIPAL_GROUP, PRINCIPAL_OWNER };
struct principal {
	enum principal_kind kind;
	char *name;
};

struct statement {
	bool deny, not_principal, not_action, not_resource;
	struct principal *principals;
	char **actions; /* patterns of "s3:…" */
	char **resources; /* patterns of what follows ARN_S3: "bucket", "bucket/key" */
	struct condition *conditions;
	size_t nprincipals, nactions, nresources, nconditions;
};

struct policy {
	struct statement *statements;
	size_t n;
};

extern const struct policy_action policy_actions[];
extern const size_t policy_nactions;

#endif
