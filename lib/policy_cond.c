/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_cond.c -- conditions of a policy's statements (Amazon: "IAM JSON policy elements: Condition operators").
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "lib/policy_impl.h"
#include "lib/token.h"

#define VALUE_MAX 1024 /* bytes of one value */

static const struct operator {
	const char *name;
	enum cond_kind kind;
	enum cond_order order;
	bool negated, ignore_case;
} operators[] = {
	{ "StringEquals", COND_STRING, ORDER_EQUAL, false, false },
	{ "StringNotEquals", COND_STRING, ORDER_EQUAL, true, false },
	{ "StringEqualsIgnoreCase", COND_STRING, ORDER_EQUAL, false, true },
	{ "StringNotEqualsIgnoreCase", COND_STRING, ORDER_EQUAL, true, true },
	{ "StringLike", COND_LIKE, ORDER_EQUAL, false, false },
	{ "StringNotLike", COND_LIKE, ORDER_EQUAL, true, false },
	{ "ArnEquals", COND_LIKE, ORDER_EQUAL, false, false },
	{ "ArnNotEquals", COND_LIKE, ORDER_EQUAL, true, false },
	{ "ArnLike", COND_LIKE, ORDER_EQUAL, false, false },
	{ "ArnNotLike", COND_LIKE, ORDER_EQUAL, true, false },
	{ "NumericEquals", COND_NUMBER, ORDER_EQUAL, false, false },
	{ "NumericNotEquals", COND_NUMBER, ORDER_EQUAL, true, false },
	{ "NumericLessThan", COND_NUMBER, ORDER_LESS, false, false },
	{ "NumericLessThanEquals", COND_NUMBER, ORDER_LESS_EQUAL, false, false },
	{ "NumericGreaterThan", COND_NUMBER, ORDER_GREATER, false, false },
	{ "NumericGreaterThanEquals", COND_NUMBER, ORDER_GREATER_EQUAL, false, false },
	{ "DateEquals", COND_DATE, ORDER_EQUAL, false, false },
	{ "DateNotEquals", COND_DATE, ORDER_EQUAL, true, false },
	{ "DateLessThan", COND_DATE, ORDER_LESS, false, false },
	{ "DateLessThanEquals", COND_DATE, ORDER_LESS_EQUAL, false, false },
	{ "DateGreaterThan", COND_DATE, ORDER_GREATER, false, false },
	{ "DateGreaterThanEquals", COND_DATE, ORDER_GREATER_EQUAL, false, false },
	{ "Bool", COND_BOOL, ORDER_EQUAL, false, false },
	{ "IpAddress", COND_IP, ORDER_EQUAL, false, false },
	{ "NotIpAddress", COND_IP, ORDER_EQUAL, true, false },
	{ "Null", COND_NULL, ORDER_EQUAL, false, false },
};

/* kinds: which of them can judge the key. Null can all. */
#define TEXT (1u << COND_STRING | 1u << COND_LIKE)
static const struct {
	const char *name;
	enum cond_key key;
	unsigned int kinds;
} keys_known[] = {
	{ "aws:SourceIp", KEY_SOURCE_IP, 1u << COND_IP },
	{ "aws:SecureTransport", KEY_SECURE_TRANSPORT, 1u << COND_BOOL | TEXT },
	{ "aws:UserAgent", KEY_USER_AGENT, TEXT },
	{ "aws:Referer", KEY_REFERER, TEXT },
	{ "aws:CurrentTime", KEY_CURRENT_TIME, 1u << COND_DATE },
	{ "aws:EpochTime", KEY_EPOCH_TIME, 1u << COND_DATE | 1u << COND_NUMBER },
	{ "aws:username", KEY_USERNAME, TEXT },
	{ "aws:userid", KEY_USERID, TEXT },
	{ "aws:PrincipalType", KEY_PRINCIPAL_TYPE, TEXT },
	{ "aws:PrincipalArn", KEY_PRINCIPAL_ARN, TEXT },
	{ "s3:authType", KEY_AUTH_TYPE, TEXT },
	{ "s3:signatureversion", KEY_SIGNATURE_VERSION, TEXT },
	{ "s3:signatureAge", KEY_SIGNATURE_AGE, 1u << COND_NUMBER },
	{ "s3:prefix", KEY_PREFIX, TEXT },
	{ "s3:delimiter", KEY_DELIMITER, TEXT },
	{ "s3:max-keys", KEY_MAX_KEYS, 1u << COND_NUMBER },
	{ "s3:VersionId", KEY_VERSION_ID, TEXT },
	{ "s3:x-amz-acl", KEY_ACL, TEXT },
	{ "s3:x-amz-server-side-encryption", KEY_ENCRYPTION, TEXT },
	{ "s3:x-amz-storage-class", KEY_STORAGE_CLASS, TEXT },
	{ "s3:x-amz-copy-source", KEY_COPY_SOURCE, TEXT },
	{ "s3:x-amz-metadata-directive", KEY_DIRECTIVE, TEXT },
	{ "s3:x-amz-content-sha256", KEY_CONTENT_SHA256, TEXT },
	{ "s3:if-match", KEY_IF_MATCH, TEXT },
	{ "s3:if-none-match", KEY_IF_NONE_MATCH, TEXT },
	{ "s3:ObjectCreationOperation", KEY_CREATION, 1u << COND_BOOL },
	{ "s3:ExistingObjectTag/", KEY_EXISTING_TAG, TEXT }, /* and the tag's key */
	{ "s3:RequestObjectTag/", KEY_REQUEST_TAG, TEXT },
};

/* ---- parse ----------------------------------------------------------------------------------- */

static int parse_operator(struct condition *c, const char *name, char err[256])
{
	static const char suffix[] = "IfExists";
	size_t len = strlen(name), cut = sizeof(suffix) - 1;

	c->if_exists = len > cut && !strcmp(name + len - cut, suffix);
	len -= c->if_exists ? cut : 0;
	for (size_t i = 0; i < sizeof(operators) / sizeof(*operators); i++) {
		const struct operator *o = &operators[i];

		if (strlen(o->name) != len || strncmp(o->name, name, len) || (c->if_exists && o->kind == COND_NULL))
			continue;
		c->kind = o->kind;
		c->order = o->order;
		c->negated = o->negated;
		c->ignore_case = o->ignore_case;
		return 0;
	}
	snprintf(err, 256,
		 "Condition: \"%.60s\" is no operator known here (String…, Numeric…, Date…, Arn…, Bool, IpAddress, NotIpAddress, "
		 "Null, each but Null also with IfExists)",
		 name);
	return -EINVAL;
}

/* Is it this key? One that ends with a slash goes on with a tag's. */
static bool key_is(const char *known, const char *name)
{
	size_t len = strlen(known);

	return known[len - 1] == '/' ? !strncasecmp(known, name, len) && name[len]
				     : !strcasecmp(known, name);
}

static int parse_key(struct condition *c, const char *operator, const char *name, char err[256])
{
	for (size_t i = 0; i < sizeof(keys_known) / sizeof(*keys_known); i++) {
		const char *tag = strchr(keys_known[i].name, '/');

		if (!key_is(keys_known[i].name, name))
			continue;
		c->tag = tag ? strdup(name + (tag - keys_known[i].name) + 1) : NULL;
		if (tag && !c->tag)
			return -ENOMEM;
		c->key = keys_known[i].key;
		if (c->kind == COND_NULL || keys_known[i].kinds & 1u << c->kind)
			return 0;
		snprintf(err, 256, "Condition: %.60s does not fit %s", operator, keys_known[i].name);
		return -EINVAL;
	}
	snprintf(err, 256, "Condition: \"%.80s\" is no key known here (weir.1 lists them)", name);
	return -EINVAL;
}

/* "2026-01-27T12:00:00Z", "2026-01-27", or seconds since 1970. */
static bool parse_date(const char *text, double *out)
{
	static const char *const forms[] = { "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d" };
	const char *end;
	char *stop;

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		struct tm tm = { 0 };

		end = strptime(text, forms[i], &tm);
		if (end && !*end) {
			*out = (double)timegm(&tm);
			return true;
		}
	}
	if (strspn(text, "0123456789") != strlen(text) || !*text)
		return false;
	*out = strtod(text, &stop);
	return true;
}

static bool parse_number(const char *text, double *out)
{
	char *stop;

	if (!*text || strspn(text, "0123456789.-") != strlen(text))
		return false;
	*out = strtod(text, &stop);
	return !*stop && isfinite(*out);
}

static bool parse_net(const char *text, struct addr_prefix *out)
{
	struct addr addr;

	if (!addr_prefix_parse(out, text))
		return true;
	if (addr_parse(&addr, text))
		return false;
	*out = (struct addr_prefix){ addr, addr.family == AF_INET ? 32 : 128 };
	return true;
}

/* A value's text: JSON has true and 5 beside "true" and "5". */
static const char *value_text(const json_t *v, char buf[64])
{
	if (json_is_string(v))
		return strlen(json_string_value(v)) == json_string_length(v) && json_string_length(v) <= VALUE_MAX
			       ? json_string_value(v)
			       : NULL;
	if (json_is_boolean(v))
		return json_is_true(v) ? "true" : "false";
	if (!json_is_integer(v))
		return NULL;
	snprintf(buf, 64, "%lld", (long long)json_integer_value(v));
	return buf;
}

static int parse_value(const struct condition *c, struct cond_value *out, const json_t *v, bool variables, char err[256])
{
	char buf[64];
	const char *text = value_text(v, buf);
	bool good = text != NULL;

	switch (c->kind) {
	case COND_STRING:
	case COND_LIKE:
		if (text) {
			out->pattern = wild_new(text, c->kind == COND_LIKE, variables, err);
			return out->pattern ? 0 : -EINVAL;
		}
		break;
	case COND_NUMBER:
		good = good && parse_number(text, &out->number);
		break;
	case COND_DATE:
		good = good && parse_date(text, &out->number);
		break;
	case COND_BOOL:
	case COND_NULL:
		good = good && (!strcasecmp(text, "true") || !strcasecmp(text, "false"));
		out->number = good && !strcasecmp(text, "true");
		break;
	case COND_IP:
		good = good && parse_net(text, &out->net);
		break;
	}
	if (!good)
		snprintf(err, 256, "Condition: \"%.80s\" is not a value of its operator (numbers, dates as 2026-01-27T12:00:00Z, true or "
				   "false, addresses as 198.51.100.0/24)",
			 text ? text : "…");
	return good ? 0 : -EINVAL;
}

static int parse_values(struct condition *c, const json_t *value, bool variables, char err[256])
{
	size_t n = json_is_array(value) ? json_array_size(value) : 1;
	int rc = 0;

	if (!n) {
		snprintf(err, 256, "Condition: an empty list of values never holds");
		return -EINVAL;
	}
	c->values = calloc(n, sizeof(*c->values));
	if (!c->values)
		return -ENOMEM;
	for (c->n = 0; c->n < n && !rc; c->n++)
		rc = parse_value(c, &c->values[c->n], json_is_array(value) ? json_array_get(value, c->n) : value, variables, err);
	return rc;
}

int condition_parse(struct condition **list, size_t *n, const char *operator, const json_t *keys, bool variables, char err[256])
{
	struct condition *more;
	const char *name;
	json_t *value;
	int rc = 0;

	if (!json_is_object(keys) || !json_object_size(keys)) {
		snprintf(err, 256, "Condition: %.60s wants an object of keys and values", operator);
		return -EINVAL;
	}
	json_object_foreach ((json_t *)keys, name, value) {
		more = reallocarray(*list, *n + 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		*list = more;
		more += *n;
		memset(more, 0, sizeof(*more));
		++*n;
		rc = parse_operator(more, operator, err);
		if (!rc)
			rc = parse_key(more, operator, name, err);
		if (!rc)
			rc = parse_values(more, value, variables, err);
		if (rc)
			return rc;
	}
	return 0;
}

void conditions_free(struct condition *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < list[i].n; k++)
			free(list[i].values[k].pattern);
		free(list[i].values);
		free(list[i].tag);
	}
	free(list);
}

/* ---- ask ------------------------------------------------------------------------------------- */

static const char *time_text(const struct policy_ask *ask, enum cond_key key, char buf[160])
{
	time_t now = ask->now ? (time_t)ask->now : time(NULL);
	struct tm tm;

	if (key == KEY_EPOCH_TIME)
		snprintf(buf, 160, "%lld", (long long)now);
	else if (gmtime_r(&now, &tm))
		strftime(buf, 160, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return buf;
}

static const char *who_text(const struct policy_who *who, enum cond_key key, char buf[160])
{
	if (key == KEY_PRINCIPAL_TYPE)
		return *who->user ? "User" : "Anonymous";
	if (!*who->user)
		return NULL;
	if (key != KEY_PRINCIPAL_ARN)
		return who->user;
	snprintf(buf, 160, "arn:aws:iam::weir:user/%s", who->user);
	return buf;
}

/* The circumstance as text; NULL: the request has no such. */
static const char *key_text(enum cond_key key, const struct policy_who *who, const struct policy_ask *ask, char buf[160])
{
	const struct policy_action *action;

	switch (key) {
	case KEY_SOURCE_IP:
		return ask->source.family ? addr_format(&ask->source, buf, 160) : NULL;
	case KEY_SECURE_TRANSPORT:
		return ask->https ? "true" : "false";
	case KEY_USER_AGENT:
		return ask->agent;
	case KEY_REFERER:
		return ask->referer;
	case KEY_AUTH_TYPE:
		return !ask->sigv4 ? NULL : ask->presigned ? "REST-QUERY-STRING" : "REST-HEADER";
	case KEY_SIGNATURE_VERSION:
		return ask->sigv4 ? "AWS4-HMAC-SHA256" : NULL;
	case KEY_SIGNATURE_AGE:
		snprintf(buf, 160, "%lld", (long long)ask->signature_age_ms);
		return ask->sigv4 ? buf : NULL;
	case KEY_DELIMITER:
		return ask->delimiter;
	case KEY_MAX_KEYS:
		return ask->max_keys;
	case KEY_VERSION_ID:
		return ask->version_id;
	case KEY_ACL:
		return ask->acl;
	case KEY_ENCRYPTION:
		return ask->encryption;
	case KEY_STORAGE_CLASS:
		return ask->storage_class;
	case KEY_COPY_SOURCE:
		return ask->copy_source;
	case KEY_DIRECTIVE:
		return ask->directive;
	case KEY_CONTENT_SHA256:
		return ask->content_sha256;
	case KEY_IF_MATCH:
		return ask->if_match;
	case KEY_IF_NONE_MATCH:
		return ask->if_none_match;
	case KEY_CREATION:
		return strcmp(ask->action, "s3:PutObject") ? NULL : ask->staged ? "false" : "true";
	case KEY_CURRENT_TIME:
	case KEY_EPOCH_TIME:
		return time_text(ask, key, buf);
	case KEY_PREFIX:
		action = policy_action(ask->action);
		return action && action->kind == ASK_BUCKET ? ask->key : NULL;
	default:
		return who_text(who, key, buf);
	}
}

/* Actions of which Amazon tells the tags of an object, and those that send some. */
static bool action_has_tags(const char *action, enum cond_key key)
{
	bool tagging = strstr(action, "Object") && strstr(action, "Tagging");

	if (key == KEY_REQUEST_TAG)
		return !strcmp(action, "s3:PutObject") || !strcmp(action, "s3:PutObjectTagging") ||
		       !strcmp(action, "s3:PutObjectVersionTagging");
	return tagging || !strncmp(action, "s3:GetObject", 12) ||
	       !strcmp(action, "s3:PutObjectAcl") || !strcmp(action, "s3:PutObjectVersionAcl");
}

/* False: they are not known, though they should be. *out NULL: there is no such tag. */
static bool tag_text(const struct condition *c, const struct policy_ask *ask, const char **out)
{
	bool existing = c->key == KEY_EXISTING_TAG;
	const struct policy_action *action = policy_action(ask->action);

	*out = NULL;
	if (!action || !action_has_tags(action->name, c->key))
		return true;
	*out = json_string_value(json_object_get(existing ? ask->tags : ask->new_tags, c->tag));
	return existing ? ask->tags_known : ask->new_tags_known;
}

static bool in_order(double is, enum cond_order order, double limit)
{
	switch (order) {
	case ORDER_LESS:
		return is < limit;
	case ORDER_LESS_EQUAL:
		return is <= limit;
	case ORDER_GREATER:
		return is > limit;
	case ORDER_GREATER_EQUAL:
		return is >= limit;
	default:
		return is == limit;
	}
}

static bool value_holds(const struct condition *c, const struct cond_value *v, const char *text, const struct policy_who *who,
			const struct policy_ask *ask)
{
	double number;

	switch (c->kind) {
	case COND_STRING:
	case COND_LIKE:
		return wild_match(v->pattern, text, who->user, c->ignore_case);
	case COND_NUMBER:
		return parse_number(text, &number) && in_order(number, c->order, v->number);
	case COND_DATE:
		return parse_date(text, &number) && in_order(number, c->order, v->number);
	case COND_BOOL:
		return !strcmp(text, "true") == (v->number == 1);
	case COND_IP:
		return addr_prefix_contains(&v->net, &ask->source);
	default:
		return false;
	}
}

/* The circumstance, as key_text(). False: it is not known, though it should be. */
static bool cond_text(const struct condition *c, const struct policy_who *who, const struct policy_ask *ask, char buf[160],
		      const char **out)
{
	if (c->tag)
		return tag_text(c, ask, out);
	*out = key_text(c->key, who, ask, buf);
	return !ask->begun_unknown || (c->key != KEY_ACL && c->key != KEY_ENCRYPTION);
}

bool condition_holds(const struct condition *c, const struct policy_who *who, const struct policy_ask *ask, bool unknown)
{
	char buf[160];
	const char *text;

	if (c->key <= KEY_LAST_OF_REQUEST && !ask->known)
		return unknown;
	if (!cond_text(c, who, ask, buf, &text)) {
		if (ask->unsure)
			*ask->unsure = true;
		return unknown;
	}
	if (c->kind == COND_NULL) {
		for (size_t i = 0; i < c->n; i++)
			if ((c->values[i].number == 1) == (text == NULL))
				return true;
		return false;
	}
	if (!text)
		return c->if_exists || c->negated;
	for (size_t i = 0; i < c->n; i++)
		if (value_holds(c, &c->values[i], text, who, ask))
			return !c->negated;
	return c->negated;
}
