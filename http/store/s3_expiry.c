/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_expiry.c -- what answers say of lifecycle rules: x-amz-expiration of an object, x-amz-abort-date of an upload. The rules are
 * compiled once for each change of the bucket's record.
 */
#include <stdlib.h>

#include "http/s3/lifecycle.h"
#include "http/store/s3.h"

static void *make_rules(const char *text, size_t len)
{
	json_t *json = json_loadb(text, len, 0, NULL);
	struct s3_lifecycle *rules = NULL;

	if (s3_lifecycle_compile(&rules, json))
		rules = NULL;
	json_decref(json);
	return rules;
}

static void drop_rules(void *rules)
{
	s3_lifecycle_free(rules);
}

static const struct s3_lifecycle *rules_of(const struct s3 *s3)
{
	if (!s3->config || !s3->config->part[BUCKET_LIFECYCLE])
		return NULL;
	return bucket_made(s3->config, BUCKET_LIFECYCLE, make_rules, drop_rules);
}

void s3_add_expiration(struct s3 *s3, const struct name_entry *entry, const json_t *meta)
{
	const struct s3_lifecycle *rules = rules_of(s3);
	struct s3_lifecycle_entry about = { .key = s3->key,
					    .tags = json_object_get(meta, S3_META_TAGS),
					    .size = entry->size,
					    .modified = entry->modified,
					    .current = true,
					    .marker = entry->marker };
	char text[400];

	if (rules && s3_lifecycle_header(text, rules, &about))
		s3_add_header(s3, "x-amz-expiration", text);
}

void s3_add_abort_date(struct s3 *s3, const struct name_entry *upload)
{
	const struct s3_lifecycle *rules = rules_of(s3);
	char id[256], date[30], *encoded;
	int64_t when;

	if (!rules || !s3_lifecycle_abort_date(&when, id, rules, s3->key, upload->modified))
		return;
	s3_date_format(date, when);
	encoded = http_percent_encode(id, false);
	s3_add_header(s3, "x-amz-abort-date", date);
	if (encoded)
		s3_add_header(s3, "x-amz-abort-rule-id", encoded);
	free(encoded);
}
