// SPDX-License-Identifier: Apache-2.0
/*
 * xml_rules.c -- bodies of PutBucketLifecycleConfiguration and PutBucketCors, into the JSON of a bucket's record.
 */
#include <stdio.h>
#include <string.h>

#include "http/s3/conditions.h"
#include "http/s3/text.h"
#include "http/s3/xml_in.h"
#include "http/s3/xml_tree.h"
#include "lib/httpd_text.h"

#define LIFECYCLE_RULES_MAX 1000
#define CORS_RULES_MAX	    100
#define ID_MAX		    255

static enum s3_error put_number(json_t *rule, const char *name, const struct xml_node *node, long long min,
				long long max, struct s3_fault *fault)
{
	enum s3_error error;
	long long n;

	if (!node)
		return S3_OK;
	error = xml_number(&n, node, min, max, S3_INVALID_ARGUMENT, fault);
	if (!error && json_object_set_new(rule, name, json_integer(n)))
		error = s3_fault(fault, S3_INTERNAL, NULL);
	return error;
}

static enum s3_error put_text(json_t *rule, const char *name, const char *text, struct s3_fault *fault)
{
	return json_object_set_new(rule, name, json_string(text)) ? s3_fault(fault, S3_INTERNAL, NULL) : S3_OK;
}

/* What stands in <Filter>, or in its <And>. */
static enum s3_error filter_read(json_t *rule, const struct xml_node *node, bool is_and, struct s3_fault *fault)
{
	const struct xml_node *prefix, *tag, *larger, *smaller, *and = NULL;
	const struct xml_field fields[] = {
		{ "Prefix", XML_OPTIONAL, &prefix },
		{ "Tag", is_and ? XML_MANY : XML_OPTIONAL, &tag },
		{ "ObjectSizeGreaterThan", XML_OPTIONAL, &larger },
		{ "ObjectSizeLessThan", XML_OPTIONAL, &smaller },
		{ is_and ? NULL : "And", XML_OPTIONAL, &and },
		{ NULL, 0, NULL },
	};
	enum s3_error error = xml_fields(node, fields, fault);
	unsigned int n = (prefix != NULL) + (tag != NULL) + (larger != NULL) + (smaller != NULL) + (and != NULL);
	json_t *tags;

	if (error)
		return error;
	if (!is_and && n > 1)
		return s3_fault(fault, S3_MALFORMED_XML, "<Filter> holds one condition; several stand in its <And>.");
	if (and)
		return filter_read(rule, and, true, fault);
	if (strlen(xml_text_of(prefix)) > S3_KEY_MAX)
		return s3_fault(fault, S3_INVALID_REQUEST, "The maximum size of a prefix is %d.", S3_KEY_MAX);
	error = put_text(rule, "prefix", xml_text_of(prefix), fault);
	if (!error)
		error = put_number(rule, "larger", larger, 0, (long long)S3_OBJECT_MAX, fault);
	if (!error)
		error = put_number(rule, "smaller", smaller, 1, (long long)S3_OBJECT_MAX, fault);
	if (!error && larger && smaller && s3_digits(smaller->text) <= s3_digits(larger->text))
		return s3_fault(fault, S3_INVALID_REQUEST,
				"'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.");
	if (error || !tag)
		return error;
	tags = json_object();
	if (json_object_set_new(rule, "tags", tags))
		return s3_fault(fault, S3_INTERNAL, NULL);
	for (; tag && !error; tag = xml_next(tag))
		error = s3_in_tag(tags, tag, fault);
	return error;
}

static enum s3_error expiration_read(json_t *rule, const struct xml_node *node, struct s3_fault *fault)
{
	const struct xml_node *days, *date, *marker;
	const struct xml_field fields[] = { { "Days", XML_OPTIONAL, &days },
					    { "Date", XML_OPTIONAL, &date },
					    { "ExpiredObjectDeleteMarker", XML_OPTIONAL, &marker },
					    { NULL, 0, NULL } };
	enum s3_error error = xml_fields(node, fields, fault);
	int64_t when;

	if (error)
		return error;
	if ((days != NULL) + (date != NULL) + (marker != NULL) != 1)
		return s3_fault(fault, S3_MALFORMED_XML, "<Expiration> holds one of <Days>, <Date>, <ExpiredObjectDeleteMarker>.");
	if (days)
		return put_number(rule, "days", days, 1, INT32_MAX, fault);
	if (marker) {
		if (strcmp(marker->text, "true") && strcmp(marker->text, "false"))
			return s3_fault(fault, S3_MALFORMED_XML, "<ExpiredObjectDeleteMarker> must be true or false.");
		return json_object_set_new(rule, "marker", json_boolean(marker->text[0] == 't')) ?
			       s3_fault(fault, S3_INTERNAL, NULL) :
			       S3_OK;
	}
	when = s3_date_parse(date->text);
	if (when < 0)
		return s3_fault(fault, S3_MALFORMED_XML, "<Date> must be a date of ISO 8601.");
	if (when % 86400)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "'Date' must be at midnight GMT");
	return json_object_set_new(rule, "date", json_integer(when)) ? s3_fault(fault, S3_INTERNAL, NULL) : S3_OK;
}

static enum s3_error noncurrent_read(json_t *rule, const struct xml_node *node, struct s3_fault *fault)
{
	const struct xml_node *days, *keep;
	const struct xml_field fields[] = { { "NoncurrentDays", XML_ONE, &days },
					    { "NewerNoncurrentVersions", XML_OPTIONAL, &keep },
					    { NULL, 0, NULL } };
	enum s3_error error = xml_fields(node, fields, fault);

	if (!error)
		error = put_number(rule, "noncurrent_days", days, 1, INT32_MAX, fault);
	return error ? error : put_number(rule, "noncurrent_keep", keep, 1, 100, fault);
}

static enum s3_error abort_read(json_t *rule, const struct xml_node *node, struct s3_fault *fault)
{
	const struct xml_node *days;
	const struct xml_field fields[] = { { "DaysAfterInitiation", XML_ONE, &days }, { NULL, 0, NULL } };
	enum s3_error error = xml_fields(node, fields, fault);

	if (!error)
		error = put_number(rule, "abort_days", days, 1, INT32_MAX, fault);
	if (!error && (json_object_get(rule, "tags") || json_object_get(rule, "larger") || json_object_get(rule, "smaller")))
		return s3_fault(fault, S3_INVALID_REQUEST,
				"AbortIncompleteMultipartUpload cannot be specified with tags or sizes.");
	return error;
}

struct lifecycle_nodes {
	const struct xml_node *id, *prefix, *filter, *status, *expiration, *noncurrent, *abort, *transition, *other;
};

static enum s3_error lifecycle_actions(json_t *rule, const struct lifecycle_nodes *n, struct s3_fault *fault)
{
	enum s3_error error = S3_OK;

	if (n->transition || n->other)
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "Transitions are not implemented: there is one storage class.");
	if (!n->expiration && !n->noncurrent && !n->abort)
		return s3_fault(fault, S3_INVALID_REQUEST, "At least one action needs to be specified in a rule.");
	if (n->expiration)
		error = expiration_read(rule, n->expiration, fault);
	if (!error && json_object_get(rule, "marker") && json_object_get(rule, "tags"))
		return s3_fault(fault, S3_INVALID_REQUEST, "ExpiredObjectDeleteMarker cannot be specified with Tags.");
	if (!error && n->noncurrent)
		error = noncurrent_read(rule, n->noncurrent, fault);
	if (!error && n->abort)
		error = abort_read(rule, n->abort, fault);
	return error;
}

static enum s3_error lifecycle_rule(json_t *rule, const struct xml_node *node, size_t number, struct s3_fault *fault)
{
	struct lifecycle_nodes n;
	const struct xml_field fields[] = {
		{ "ID", XML_OPTIONAL, &n.id },
		{ "Prefix", XML_OPTIONAL, &n.prefix },
		{ "Filter", XML_OPTIONAL, &n.filter },
		{ "Status", XML_ONE, &n.status },
		{ "Expiration", XML_OPTIONAL, &n.expiration },
		{ "NoncurrentVersionExpiration", XML_OPTIONAL, &n.noncurrent },
		{ "AbortIncompleteMultipartUpload", XML_OPTIONAL, &n.abort },
		{ "Transition", XML_MANY, &n.transition },
		{ "NoncurrentVersionTransition", XML_MANY, &n.other },
		{ NULL, 0, NULL },
	};
	enum s3_error error = xml_fields(node, fields, fault);
	char made[32];

	if (error)
		return error;
	if (!n.prefix == !n.filter)
		return s3_fault(fault, S3_MALFORMED_XML, "A <Rule> holds either <Filter> or <Prefix>.");
	if (s3_utf8_count(xml_text_of(n.id)) > ID_MAX)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "ID length should not exceed allowed limit of %d", ID_MAX);
	if (strcmp(n.status->text, "Enabled") && strcmp(n.status->text, "Disabled"))
		return s3_fault(fault, S3_MALFORMED_XML, "<Status> must be Enabled or Disabled.");
	snprintf(made, sizeof(made), "rule-%zu", number);
	error = put_text(rule, "id", *xml_text_of(n.id) ? n.id->text : made, fault);
	if (!error && json_object_set_new(rule, "enabled", json_boolean(n.status->text[0] == 'E')))
		error = s3_fault(fault, S3_INTERNAL, NULL);
	if (!error && n.filter) {
		error = filter_read(rule, n.filter, false, fault);
	} else if (!error) {
		error = put_text(rule, "prefix", n.prefix->text, fault);
		json_object_set_new(rule, "old", json_true());
	}
	return error ? error : lifecycle_actions(rule, &n, fault);
}

static bool id_taken(const json_t *rules, const json_t *rule)
{
	const char *id = json_string_value(json_object_get(rule, "id"));
	json_t *other;
	size_t i;

	json_array_foreach(rules, i, other)
		if (other != rule && !strcmp(json_string_value(json_object_get(other, "id")), id))
			return true;
	return false;
}

/* The rules of one document: a new rule is read by `one` into its JSON. */
static enum s3_error rules_read(json_t **out, const char *root, const char *name, size_t max, const void *body, size_t len,
				enum s3_error (*one)(json_t *rule, const struct xml_node *node, size_t number,
						     struct s3_fault *fault),
				struct s3_fault *fault)
{
	const struct xml_node *node = NULL;
	const struct xml_field fields[] = { { name, XML_MANY, &node }, { NULL, 0, NULL } };
	struct xml_tree *tree = NULL;
	json_t *rules = json_array(), *rule;
	enum s3_error error = rules ? xml_tree_parse(&tree, root, body, len, fault) : s3_fault(fault, S3_INTERNAL, NULL);

	if (!error)
		error = xml_fields(xml_tree_root(tree), fields, fault);
	if (!error && !node)
		error = s3_fault(fault, S3_MALFORMED_XML, "<%s> has no <%s>.", root, name);
	for (; node && !error; node = xml_next(node)) {
		if (json_array_size(rules) == max) {
			error = s3_fault(fault, S3_MALFORMED_XML, "<%s> has more than %zu rules.", root, max);
			break;
		}
		rule = json_object();
		if (json_array_append_new(rules, rule))
			error = s3_fault(fault, S3_INTERNAL, NULL);
		else
			error = one(rule, node, json_array_size(rules), fault);
		if (!error && json_object_get(rule, "id") && id_taken(rules, rule))
			error = s3_fault(fault, S3_INVALID_ARGUMENT, "Rule ID must be unique. Found same ID for more than one rule");
	}
	xml_tree_free(tree);
	if (!error)
		*out = json_pack("{s:O}", "rules", rules);
	if (!error && !*out)
		error = s3_fault(fault, S3_INTERNAL, NULL);
	json_decref(rules);
	return error;
}

enum s3_error s3_in_lifecycle(json_t **out, const void *body, size_t len, struct s3_fault *fault)
{
	return rules_read(out, "LifecycleConfiguration", "Rule", LIFECYCLE_RULES_MAX, body, len, lifecycle_rule, fault);
}

/* Texts of the same name as an array; at most so many stars in each. */
static enum s3_error texts_read(json_t *rule, const char *name, const struct xml_node *node, int stars,
				struct s3_fault *fault)
{
	json_t *list;

	if (!node)
		return S3_OK;
	list = json_array();
	if (json_object_set_new(rule, name, list))
		return s3_fault(fault, S3_INTERNAL, NULL);
	for (; node; node = xml_next(node)) {
		const char *star = strchr(node->text, '*');

		if (star && !stars)
			return s3_fault(fault, S3_INVALID_REQUEST, "%s \"%.80s\" contains wildcard. We currently do not support wildcard for %s",
					node->name, node->text, node->name);
		if (star && strchr(star + 1, '*'))
			return s3_fault(fault, S3_INVALID_REQUEST, "%s \"%.80s\" can not have more than one wildcard.",
					node->name, node->text);
		if (!*node->text || strpbrk(node->text, "\r\n"))
			return s3_fault(fault, S3_MALFORMED_XML, "<%s> is empty, or has a line's end in it.", node->name);
		if (json_array_append_new(list, json_string(node->text)))
			return s3_fault(fault, S3_INTERNAL, NULL);
	}
	return S3_OK;
}

static enum s3_error methods_check(const struct xml_node *node, struct s3_fault *fault)
{
	static const char *const known[] = { "GET", "PUT", "POST", "DELETE", "HEAD" };

	for (; node; node = xml_next(node)) {
		bool found = false;

		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			found |= !strcmp(known[i], node->text);
		if (!found)
			return s3_fault(fault, S3_INVALID_REQUEST,
					"Found unsupported HTTP method in CORS config. Unsupported method is %.40s", node->text);
	}
	return S3_OK;
}

static enum s3_error headers_check(const struct xml_node *node, struct s3_fault *fault)
{
	for (; node; node = xml_next(node))
		if (*node->text && !http_is_token(node->text, strlen(node->text)))
			return s3_fault(fault, S3_INVALID_REQUEST,
					"%s \"%.80s\" contains invalid character.", node->name,
					node->text);
	return S3_OK;
}

static enum s3_error cors_rule(json_t *rule, const struct xml_node *node, size_t number, struct s3_fault *fault)
{
	const struct xml_node *id, *origin, *method, *header, *expose, *age;
	const struct xml_field fields[] = {
		{ "ID", XML_OPTIONAL, &id },	       { "AllowedOrigin", XML_MANY, &origin },
		{ "AllowedMethod", XML_MANY, &method }, { "AllowedHeader", XML_MANY, &header },
		{ "ExposeHeader", XML_MANY, &expose }, { "MaxAgeSeconds", XML_OPTIONAL, &age },
		{ NULL, 0, NULL },
	};
	enum s3_error error = xml_fields(node, fields, fault);

	(void)number;
	if (error)
		return error;
	if (!origin || !method)
		return s3_fault(fault, S3_MALFORMED_XML, "A <CORSRule> holds at least one <AllowedOrigin> and one <AllowedMethod>.");
	if (s3_utf8_count(xml_text_of(id)) > ID_MAX)
		return s3_fault(fault, S3_INVALID_REQUEST, "ID length should not exceed allowed limit of %d", ID_MAX);
	if (*xml_text_of(id))
		error = put_text(rule, "id", id->text, fault);
	if (!error)
		error = methods_check(method, fault);
	if (!error)
		error = headers_check(header, fault);
	if (!error)
		error = headers_check(expose, fault);
	if (!error)
		error = texts_read(rule, "origins", origin, 1, fault);
	if (!error)
		error = texts_read(rule, "methods", method, 0, fault);
	if (!error)
		error = texts_read(rule, "headers", header, 1, fault);
	if (!error)
		error = texts_read(rule, "expose", expose, 0, fault);
	return error ? error : put_number(rule, "max_age", age, 0, INT32_MAX, fault);
}

enum s3_error s3_in_cors(json_t **out, const void *body, size_t len, struct s3_fault *fault)
{
	return rules_read(out, "CORSConfiguration", "CORSRule", CORS_RULES_MAX, body, len, cors_rule, fault);
}
