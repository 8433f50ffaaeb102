// SPDX-License-Identifier: Apache-2.0
/*
 * lifecycle.c -- a bucket's lifecycle rules, compiled, and what they say about an object, a version, an upload.
 */
#include "http/s3/lifecycle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/conditions.h"
#include "lib/httpd.h"

#define DAY 86400

struct rule {
	char *id, *prefix;
	json_t *tags;
	bool enabled, marker;
	/* -1: not said */
	int64_t larger, smaller; /* bytes: more than, less than */
	int64_t days, date, noncurrent_days, abort_days;
	unsigned int noncurrent_keep;
};

struct s3_lifecycle {
	size_t n;
	struct rule rules[];
};

static int64_t number_of(const json_t *rule, const char *name)
{
	const json_t *value = json_object_get(rule, name);

	return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : -1;
}

static int rule_compile(struct rule *out, const json_t *rule)
{
	const char *id = json_string_value(json_object_get(rule, "id"));
	const char *prefix = json_string_value(json_object_get(rule, "prefix"));
	int64_t keep;

	if (!json_is_object(rule))
		return -EINVAL;
	out->id = strdup(id ? id : "");
	out->prefix = strdup(prefix ? prefix : "");
	out->tags = json_incref(json_object_get(rule, "tags"));
	out->enabled = json_is_true(json_object_get(rule, "enabled"));
	out->marker = json_is_true(json_object_get(rule, "marker"));
	out->larger = number_of(rule, "larger");
	out->smaller = number_of(rule, "smaller");
	out->days = number_of(rule, "days");
	out->date = number_of(rule, "date");
	out->noncurrent_days = number_of(rule, "noncurrent_days");
	out->abort_days = number_of(rule, "abort_days");
	keep = number_of(rule, "noncurrent_keep");
	out->noncurrent_keep = keep > 0 ? (unsigned int)keep : 0;
	return out->id && out->prefix ? 0 : -ENOMEM;
}

int s3_lifecycle_compile(struct s3_lifecycle **out, const json_t *lifecycle)
{
	const json_t *rules = json_object_get(lifecycle, "rules");
	struct s3_lifecycle *made;
	json_t *rule;
	size_t i;
	int rc;

	if (!lifecycle || json_is_null(lifecycle)) {
		*out = NULL;
		return 0;
	}
	if (!json_is_array(rules))
		return -EINVAL;
	made = calloc(1, sizeof(*made) + json_array_size(rules) * sizeof(made->rules[0]));
	if (!made)
		return -ENOMEM;
	json_array_foreach(rules, i, rule) {
		made->n++;
		rc = rule_compile(&made->rules[i], rule);
		if (rc) {
			s3_lifecycle_free(made);
			return rc;
		}
	}
	*out = made;
	return 0;
}

void s3_lifecycle_free(struct s3_lifecycle *lifecycle)
{
	if (!lifecycle)
		return;
	for (size_t i = 0; i < lifecycle->n; i++) {
		free(lifecycle->rules[i].id);
		free(lifecycle->rules[i].prefix);
		json_decref(lifecycle->rules[i].tags);
	}
	free(lifecycle);
}

bool s3_lifecycle_objects(const struct s3_lifecycle *lifecycle)
{
	for (size_t i = 0; lifecycle && i < lifecycle->n; i++) {
		const struct rule *rule = &lifecycle->rules[i];

		if (rule->enabled && (rule->days >= 0 || rule->date >= 0 || rule->marker))
			return true;
	}
	return false;
}

bool s3_lifecycle_versions(const struct s3_lifecycle *lifecycle)
{
	for (size_t i = 0; lifecycle && i < lifecycle->n; i++) {
		const struct rule *rule = &lifecycle->rules[i];

		if (rule->enabled && (rule->noncurrent_days >= 0 || rule->marker || rule->days >= 0))
			return true;
	}
	return false;
}

bool s3_lifecycle_uploads(const struct s3_lifecycle *lifecycle)
{
	for (size_t i = 0; lifecycle && i < lifecycle->n; i++)
		if (lifecycle->rules[i].enabled && lifecycle->rules[i].abort_days >= 0)
			return true;
	return false;
}

/* The midnight after a moment plus days. */
static int64_t due(int64_t from, int64_t days)
{
	return (from / DAY + days + 1) * DAY;
}

static bool prefix_fits(const struct rule *rule, const char *key)
{
	return rule->enabled && !strncmp(key, rule->prefix, strlen(rule->prefix));
}

static bool tags_fit(const struct rule *rule, const json_t *tags)
{
	const char *key;
	json_t *value;

	json_object_foreach(rule->tags, key, value)
		if (!json_equal(value, json_object_get(tags, key)))
			return false;
	return true;
}

static bool rule_fits(const struct rule *rule, const struct s3_lifecycle_entry *entry)
{
	if (!prefix_fits(rule, entry->key))
		return false;
	if (entry->marker) /* has neither tags nor a size */
		return rule->larger < 0 && rule->smaller < 0 && !json_object_size(rule->tags);
	if ((rule->larger >= 0 && entry->size <= (uint64_t)rule->larger) ||
	    (rule->smaller >= 0 && entry->size >= (uint64_t)rule->smaller))
		return false;
	return tags_fit(rule, entry->tags);
}

/* When the rule ends a current object or a marker that stands alone; -1: it does not. */
static int64_t current_due(const struct rule *rule, const struct s3_lifecycle_entry *entry)
{
	if (rule->date >= 0)
		return rule->date;
	return rule->days >= 0 ? due(entry->modified, rule->days) : -1;
}

static bool noncurrent_is_due(const struct rule *rule, const struct s3_lifecycle_entry *entry, int64_t now)
{
	return rule->noncurrent_days >= 0 && entry->noncurrent_newer >= rule->noncurrent_keep &&
	       due(entry->noncurrent_since, rule->noncurrent_days) <= now;
}

enum s3_expiry s3_lifecycle_look(const struct s3_lifecycle *lifecycle, const struct s3_lifecycle_entry *entry, int64_t now)
{
	for (size_t i = 0; lifecycle && i < lifecycle->n; i++) {
		const struct rule *rule = &lifecycle->rules[i];
		int64_t when;

		if (!rule_fits(rule, entry))
			continue;
		if (!entry->current) {
			if (noncurrent_is_due(rule, entry, now))
				return S3_EXPIRE_VERSION;
			continue;
		}
		when = current_due(rule, entry);
		if (entry->marker) {
			if (entry->alone && (rule->marker || (when >= 0 && when <= now)))
				return S3_EXPIRE_VERSION;
		} else if (when >= 0 && when <= now) {
			return S3_EXPIRE;
		}
	}
	return S3_KEEP;
}

bool s3_lifecycle_abort_date(int64_t *when, char id[256], const struct s3_lifecycle *lifecycle, const char *key, int64_t begun)
{
	bool found = false;

	for (size_t i = 0; lifecycle && i < lifecycle->n; i++) {
		const struct rule *rule = &lifecycle->rules[i];
		int64_t at = due(begun, rule->abort_days);

		if (rule->abort_days < 0 || !prefix_fits(rule, key) || (found && at >= *when))
			continue;
		*when = at;
		snprintf(id, 256, "%s", rule->id);
		found = true;
	}
	return found;
}

bool s3_lifecycle_abort(const struct s3_lifecycle *lifecycle, const char *key, int64_t begun, int64_t now)
{
	int64_t when;
	char id[256];

	return s3_lifecycle_abort_date(&when, id, lifecycle, key, begun) && when <= now;
}

bool s3_lifecycle_header(char out[400], const struct s3_lifecycle *lifecycle, const struct s3_lifecycle_entry *entry)
{
	const struct rule *first = NULL;
	int64_t when = 0;
	char date[30], *id;

	for (size_t i = 0; lifecycle && i < lifecycle->n; i++) {
		int64_t at = current_due(&lifecycle->rules[i], entry);

		if (at < 0 || !rule_fits(&lifecycle->rules[i], entry) || (first && at >= when))
			continue;
		first = &lifecycle->rules[i];
		when = at;
	}
	if (!first || !entry->current || entry->marker)
		return false;
	id = http_percent_encode(first->id, false);
	if (!id)
		return false;
	s3_date_format(date, when);
	snprintf(out, 400, "expiry-date=\"%s\", rule-id=\"%.340s\"", date, id);
	free(id);
	return true;
}
