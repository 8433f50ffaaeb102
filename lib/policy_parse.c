/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_parse.c -- a policy's JSON → statements (Amazon: "Grammar of the IAM JSON policy language"). What is not known is
 * refused, with the statement and the member in the sentence.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy_impl.h"
#include "lib/token.h"

#define STATEMENTS_MAX 500
#define ARN_USER       "arn:aws:iam::weir:"
#define ARN_USER_SHORT "arn:aws:iam:::"

struct parse {
	const char *bucket;
	bool variables; /* Version 2012-10-17 */
	char *err;
	size_t at; /* statement, from 1 */
};

static int fault(const struct parse *p, const char *member, const char *text, const char *right)
{
	char what[200] = "";

	if (text)
		snprintf(what, sizeof(what), " \"%.80s\"", text);
	if (p->at)
		snprintf(p->err, 256, "statement %zu: %s%s %s", p->at, member, what, right);
	else
		snprintf(p->err, 256, "%s%s %s", member, what, right);
	return -EINVAL;
}

/* ---- lists of texts: one, or an array ---------------------------------------------------------- */

static size_t list_size(const json_t *v)
{
	return json_is_array(v) ? json_array_size(v) : 1;
}

/* NULL: no text, or one with a NUL in it. */
static const char *list_text(const json_t *v, size_t i)
{
	const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
	const char *text = json_string_value(one);

	return text && strlen(text) == json_string_length(one) ? text : NULL;
}

static int parse_patterns(const struct parse *p, const char *member, const json_t *v, char ***out, size_t *n,
			  const char *(*take)(const struct parse *p, const char *member, const char *text))
{
	size_t size = list_size(v);
	char err[256] = "";
	const char *text;

	if (!size)
		return fault(p, member, NULL, "is an empty list");
	*out = calloc(size, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	for (size_t i = 0; i < size; i++) {
		text = list_text(v, i);
		if (!text)
			return fault(p, member, NULL, "wants a text or a list of texts");
		text = take(p, member, text);
		if (!text)
			return -EINVAL;
		(*out)[i] = wild_new(text, true, p->variables, err);
		if (!(*out)[i])
			return fault(p, member, NULL, err);
		++*n;
	}
	return 0;
}

/* ---- who ------------------------------------------------------------------------------------- */

static int parse_principal(const struct parse *p, const char *member, const char *text, struct principal *out)
{
	size_t cut = !strncmp(text, ARN_USER, strlen(ARN_USER))		     ? strlen(ARN_USER)
		     : !strncmp(text, ARN_USER_SHORT, strlen(ARN_USER_SHORT)) ? strlen(ARN_USER_SHORT)
									      : 0;
	const char *rest = text + cut, *name = NULL;

	if (!strcmp(text, "*")) {
		out->kind = PRINCIPAL_ANY;
		return 0;
	}
	if (cut && !strcmp(rest, "root")) {
		out->kind = PRINCIPAL_OWNER;
		return 0;
	}
	if (cut && !strncmp(rest, "user/", 5)) {
		out->kind = PRINCIPAL_USER;
		name = rest + 5;
	} else if (cut && !strncmp(rest, "group/", 6)) {
		out->kind = PRINCIPAL_GROUP;
		name = rest + 6;
	}
	if (!name || !token_name_valid(name))
		return fault(p, member, text, "must be *, " ARN_USER "user/NAME, " ARN_USER "group/NAME or " ARN_USER "root");
	out->name = strdup(name);
	return out->name ? 0 : -ENOMEM;
}

static int parse_principals(const struct parse *p, const char *member, const json_t *v, struct statement *s)
{
	const json_t *list = json_is_object(v) ? json_object_get(v, "AWS") : v;
	size_t size = list_size(list);
	const char *text;
	int rc = 0;

	if (json_is_object(v) ? !list || json_object_size(v) != 1 : !json_is_string(v) || strcmp(json_string_value(v), "*"))
		return fault(p, member, NULL, "must be \"*\" or {\"AWS\": …}");
	if (!size)
		return fault(p, member, NULL, "is an empty list");
	s->principals = calloc(size, sizeof(*s->principals));
	if (!s->principals)
		return -ENOMEM;
	for (size_t i = 0; i < size && !rc; i++) {
		text = list_text(list, i);
		rc = text ? parse_principal(p, member, text, &s->principals[i]) : fault(p, member, NULL, "wants texts");
		s->nprincipals = i + 1;
	}
	return rc;
}

/* ---- what, on what --------------------------------------------------------------------------- */

/* At least one of S3's actions must be meant. */
static const char *take_action(const struct parse *p, const char *member, const char *text)
{
	char err[256], *pattern = wild_new(text, true, false, err);
	bool known = false;

	for (size_t i = 0; pattern && i < policy_nactions && !known; i++)
		known = wild_match(pattern, policy_actions[i].name, "", true);
	free(pattern);
	if (known)
		return text;
	fault(p, member, text, "is none of S3's actions");
	return NULL;
}

/* → what follows the ARN's head; "*": everything in the bucket. Any bucket is meant as this one. */
static const char *take_resource(const struct parse *p, const char *member, const char *text)
{
	size_t len = strlen(p->bucket), head = strlen(ARN_S3);
	const char *rest;

	if (!strcmp(text, "*"))
		return text;
	if (!strncmp(text, ARN_S3, head)) {
		rest = text + head;
		if (*rest == '*' && (!rest[1] || rest[1] == '/'))
			return rest;
		if (!strncmp(rest, p->bucket, len) &&
		    (!rest[len] || rest[len] == '/' || rest[len] == '*'))
			return rest;
	}
	fault(p, member, text, "must be of this bucket: " ARN_S3 "BUCKET, or " ARN_S3 "BUCKET/KEY");
	return NULL;
}

/* Could the resource be an object, or the bucket itself? */
static bool resource_fits(const char *pattern, size_t len, bool object)
{
	if (*pattern == PATTERN_MANY)
		return true;
	return object ? pattern[len] != '\0' : pattern[len] != '/';
}

/* An action that no resource of its statement can have is a mistake of who wrote it. */
static int check_fit(const struct parse *p, const struct statement *s)
{
	size_t len = strlen(p->bucket);

	for (size_t i = 0; !s->not_action && !s->not_resource && i < s->nactions; i++) {
		bool fits = false;

		for (size_t a = 0; a < policy_nactions && !fits; a++)
			for (size_t r = 0; r < s->nresources && !fits; r++)
				fits = wild_match(s->actions[i], policy_actions[a].name, "", true) &&
				       resource_fits(s->resources[r], len, policy_actions[a].kind == ASK_OBJECT);
		if (!fits)
			return fault(p, "Action", NULL,
				     "does not fit any Resource: actions on objects need " ARN_S3 "BUCKET/*, those on buckets " ARN_S3
				     "BUCKET");
	}
	return 0;
}

/* ---- statements ------------------------------------------------------------------------------ */

static int parse_effect(const struct parse *p, const json_t *v, struct statement *s)
{
	const char *text = json_string_value(v);

	if (!text || (strcmp(text, "Allow") && strcmp(text, "Deny")))
		return fault(p, "Effect", text, "must be Allow or Deny");
	s->deny = !strcmp(text, "Deny");
	return 0;
}

static int parse_conditions(const struct parse *p, const json_t *v, struct statement *s)
{
	char err[256] = "";
	const char *operator;
	json_t *keys;
	int rc;

	if (!json_is_object(v))
		return fault(p, "Condition", NULL, "wants an object of operators");
	json_object_foreach ((json_t *)v, operator, keys) {
		rc = condition_parse(&s->conditions, &s->nconditions, operator, keys, p->variables, err);
		if (rc)
			return rc == -EINVAL ? fault(p, err, NULL, "") : rc;
	}
	return 0;
}

static int parse_member(const struct parse *p, const char *name, const json_t *v, struct statement *s)
{
	bool inverted = !strncmp(name, "Not", 3);
	const char *plain = inverted ? name + 3 : name;

	if (!strcmp(name, "Effect"))
		return parse_effect(p, v, s);
	if (!strcmp(name, "Sid"))
		return json_is_string(v) ? 0 : fault(p, name, NULL, "must be a text");
	if (!strcmp(name, "Condition"))
		return parse_conditions(p, v, s);
	if (!strcmp(plain, "Principal") && !s->principals) {
		s->not_principal = inverted;
		return parse_principals(p, name, v, s);
	}
	if (!strcmp(plain, "Action") && !s->actions) {
		s->not_action = inverted;
		return parse_patterns(p, name, v, &s->actions, &s->nactions, take_action);
	}
	if (!strcmp(plain, "Resource") && !s->resources) {
		s->not_resource = inverted;
		return parse_patterns(p, name, v, &s->resources, &s->nresources, take_resource);
	}
	return fault(p, "member", name, "is not known, or stands beside its opposite");
}

static int parse_statement(const struct parse *p, const json_t *v, struct statement *s)
{
	const char *name;
	json_t *value;
	int rc;

	if (!json_is_object(v))
		return fault(p, "it", NULL, "must be an object");
	json_object_foreach ((json_t *)v, name, value) {
		rc = parse_member(p, name, value, s);
		if (rc)
			return rc;
	}
	if (!json_object_get(v, "Effect"))
		return fault(p, "Effect", NULL, "is missing");
	if (!s->principals)
		return fault(p, "Principal", NULL, "is missing");
	if (!s->actions)
		return fault(p, "Action", NULL, "is missing");
	if (!s->resources)
		return fault(p, "Resource", NULL, "is missing");
	return check_fit(p, s);
}

static int parse_statements(struct parse *p, const json_t *v, struct policy *out)
{
	size_t size = v ? list_size(v) : 0;
	int rc = 0;

	if (!size || size > STATEMENTS_MAX || (!json_is_array(v) && !json_is_object(v)))
		return fault(p, "Statement", NULL, "must be an object or a list of 1 to 500 of them");
	out->statements = calloc(size, sizeof(*out->statements));
	if (!out->statements)
		return -ENOMEM;
	for (size_t i = 0; i < size && !rc; i++) {
		p->at = out->n = i + 1;
		rc = parse_statement(p, json_is_array(v) ? json_array_get(v, i) : v, &out->statements[i]);
	}
	return rc;
}

static int parse_root(struct parse *p, const json_t *root, struct policy *out)
{
	const char *name, *version = "2008-10-17";
	json_t *v;

	json_object_foreach ((json_t *)root, name, v) {
		if (!strcmp(name, "Version"))
			version = json_string_value(v) ?: "";
		else if (!strcmp(name, "Id") ? !json_is_string(v) : strcmp(name, "Statement") != 0)
			return fault(p, "member", name, "is not known; a policy has Version, Id and Statement");
	}
	if (strcmp(version, "2012-10-17") && strcmp(version, "2008-10-17"))
		return fault(p, "Version", version, "must be 2012-10-17 or 2008-10-17");
	p->variables = !strcmp(version, "2012-10-17");
	return parse_statements(p, json_object_get(root, "Statement"), out);
}

int policy_parse(struct policy **out, const char *text, size_t len, const char *bucket, char err[256])
{
	struct parse p = { .bucket = bucket, .err = err };
	struct policy *policy;
	json_error_t where;
	json_t *root;
	int rc;

	err[0] = '\0';
	if (len > POLICY_MAX) {
		snprintf(err, 256, "the policy has more than %d bytes", POLICY_MAX);
		return -E2BIG;
	}
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	if (!json_is_object(root)) {
		snprintf(err, 256, root ? "a policy is a JSON object" : "line %d: not JSON: %.180s", where.line, where.text);
		json_decref(root);
		return -EINVAL;
	}
	policy = calloc(1, sizeof(*policy));
	rc = policy ? parse_root(&p, root, policy) : -ENOMEM;
	json_decref(root);
	if (rc) {
		policy_free(policy);
		return rc;
	}
	*out = policy;
	return 0;
}

static void free_texts(char **texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(texts[i]);
	free(texts);
}

void policy_free(struct policy *p)
{
	for (size_t i = 0; p && i < p->n; i++) {
		struct statement *s = &p->statements[i];

		for (size_t k = 0; k < s->nprincipals; k++)
			free(s->principals[k].name);
		free(s->principals);
		free_texts(s->actions, s->nactions);
		free_texts(s->resources, s->nresources);
		conditions_free(s->conditions, s->nconditions);
	}
	if (p)
		free(p->statements);
	free(p);
}
