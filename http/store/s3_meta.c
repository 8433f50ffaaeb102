/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_meta.c -- an object's metadata between a request's headers, the meta of its entry, and an answer's headers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/store/s3_ops.h"

#define TYPE_DEFAULT "binary/octet-stream" /* as Amazon's, when the client said none */

/* ---- of a request ---- */

/* Who may put an object need not be one who may publish or label it: that has an action of its own, by whatever way. */
static enum s3_error may_also(struct s3 *s3, const char *header, const char *action)
{
	if (s3_may(s3, action, s3->bucket, s3->key, NULL))
		return s3_fault(&s3->fault, S3_ACCESS_DENIED, "The header %s needs the right to %s, too.", header, action);
	return S3_OK;
}

static enum s3_error take_tags(struct s3 *s3, json_t *meta)
{
	const char *text = s3_header(s3, "x-amz-tagging");
	enum s3_error error;
	json_t *tags;

	if (!text || !*text)
		return S3_OK;
	error = may_also(s3, "x-amz-tagging", "s3:PutObjectTagging");
	if (!error)
		error = s3_tags_parse(&tags, text, &s3->fault);
	if (!error && json_object_size(tags))
		json_object_set_new(meta, S3_META_TAGS, tags);
	else if (!error)
		json_decref(tags);
	return error;
}

static enum s3_error take_acl(struct s3 *s3, json_t *meta)
{
	const char *text = s3_header(s3, "x-amz-acl"), *acl;
	enum s3_error error;

	if (!text)
		return S3_OK;
	error = s3_acl_parse(&acl, text, &s3->fault);
	if (error || !strcmp(acl, "private"))
		return error;
	error = may_also(s3, "x-amz-acl", "s3:PutObjectAcl");
	if (!error)
		error = s3_block_acl(s3, acl);
	if (!error)
		json_object_set_new(meta, S3_META_ACL, json_string(acl));
	return error;
}

static enum s3_error take_class(struct s3 *s3)
{
	const char *text = s3_header(s3, "x-amz-storage-class");

	if (text && strcmp(text, "STANDARD") && strcmp(text, "REDUCED_REDUNDANCY"))
		return s3_fault(&s3->fault, S3_INVALID_STORAGE_CLASS, NULL);
	return S3_OK;
}

enum s3_error s3_meta_of_request(struct s3 *s3, json_t **out)
{
	struct http_pair headers[HTTP_HEADERS_MAX];
	size_t n = http_headers(s3->req, headers, HTTP_HEADERS_MAX);
	json_t *meta = json_object();
	enum s3_error error;
	int rc = meta ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && !rc; i++)
		rc = s3_meta_take(meta, headers[i].name, headers[i].value);
	for (unsigned int i = 0; s3->sig.kind == SIGV4_QUERY && i < s3->target.nquery && !rc; i++)
		if (!strncasecmp(s3->target.query[i].name, "x-amz-meta-", 11))
			rc = s3_meta_take(meta, s3->target.query[i].name, s3->target.query[i].value);
	error = rc == -E2BIG ? s3_fault(&s3->fault, S3_METADATA_TOO_LARGE, NULL)
		: rc	     ? s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, NULL)
			     : S3_OK;
	if (!error)
		error = take_class(s3);
	if (!error)
		error = take_tags(s3, meta);
	if (!error)
		error = take_acl(s3, meta);
	if (error) {
		json_decref(meta);
		return error;
	}
	*out = meta;
	return S3_OK;
}

void s3_meta_checksum(const struct s3 *s3, json_t *meta)
{
	if (s3->body.has_kind)
		json_object_set_new(meta, S3_META_CHECKSUM,
				    json_pack("{s:s}", checksum_name(s3->body.kind), s3->body.checksum));
	if (s3->body.sealed_key[0])
		json_object_set_new(meta, S3_META_KEY, json_string(s3->body.sealed_key));
}

enum s3_error s3_meta_store(struct s3 *s3, const json_t *meta, struct name_entry *entry)
{
	if (!json_object_size(meta))
		return S3_OK;
	if (s3_meta_write(meta, entry->meta, sizeof(entry->meta)))
		return s3_fault(&s3->fault, S3_METADATA_TOO_LARGE, NULL);
	entry->meta_len = (unsigned int)strlen(entry->meta);
	return S3_OK;
}

/* ---- of an entry ---- */

json_t *s3_meta_of_entry(const struct name_entry *entry)
{
	return s3_meta_read(entry->meta_len ? entry->meta : "");
}

struct s3_checksum_text s3_meta_checksum_text(const json_t *meta)
{
	struct s3_checksum_text out = { .algorithm = "" };
	const char *name, *kind = s3_meta_text(meta, S3_META_KIND);
	json_t *value;

	json_object_foreach(json_object_get(meta, S3_META_CHECKSUM), name, value) {
		out.algorithm = name;
		out.value = json_string_value(value);
		out.type = kind ? kind : "FULL_OBJECT";
	}
	return out;
}

void s3_add_version(struct s3 *s3, const struct name_entry *entry)
{
	if (!entry->null_version || (s3->config && s3->config->versioning != VERSIONING_OFF))
		s3_add_header(s3, "x-amz-version-id", s3_version_text(entry));
}

void s3_add_modified(struct s3 *s3, const struct name_entry *entry)
{
	char text[30];

	s3_date_format(text, entry->modified);
	s3_add_header(s3, "Last-Modified", text);
}

void s3_add_encryption(struct s3 *s3, const json_t *meta)
{
	if (json_object_get(meta, S3_META_KEY))
		s3_add_header(s3, "x-amz-server-side-encryption", "AES256");
}

bool s3_encryption_asked(struct s3 *s3)
{
	return s3_header(s3, "x-amz-server-side-encryption") || (s3->config && s3->config->encrypt);
}

void s3_add_checksum(struct s3 *s3, const json_t *meta)
{
	struct s3_checksum_text sum = s3_meta_checksum_text(meta);
	enum checksum_kind kind;

	if (!sum.algorithm[0] || !sum.value || !checksum_by_name(&kind, sum.algorithm))
		return;
	s3_add_header(s3, checksum_header(kind), sum.value);
	s3_add_header(s3, "x-amz-checksum-type", sum.type);
}

static void add_user(struct s3 *s3, const json_t *meta)
{
	char name[S3_META_USER_MAX + 16];
	const char *key;
	json_t *value;

	json_object_foreach(json_object_get(meta, S3_META_USER), key, value) {
		snprintf(name, sizeof(name), "x-amz-meta-%s", key);
		s3_add_header(s3, name, json_string_value(value));
	}
}

/* response-content-type and the like: of who is known alone. */
static const struct {
	const char *header, *query;
} overrides[] = {
	{ "Content-Type", "response-content-type" },
	{ "Cache-Control", "response-cache-control" },
	{ "Content-Disposition", "response-content-disposition" },
	{ "Content-Encoding", "response-content-encoding" },
	{ "Content-Language", "response-content-language" },
	{ "Expires", "response-expires" },
};
#define NOVERRIDES (sizeof(overrides) / sizeof(overrides[0]))

static const char *override_of(const struct s3 *s3, const char *header)
{
	for (size_t i = 0; s3->target.nquery && i < NOVERRIDES; i++)
		if (!strcmp(overrides[i].header, header))
			return s3_query(s3, overrides[i].query);
	return NULL;
}

static bool is_override(const char *query)
{
	for (size_t i = 0; i < NOVERRIDES; i++)
		if (!strcmp(overrides[i].query, query))
			return true;
	return false;
}

const char *s3_override_unknown(const struct s3 *s3)
{
	for (unsigned int i = 0; i < s3->target.nquery; i++)
		if (!strncmp(s3->target.query[i].name, "response-", 9) &&
		    !is_override(s3->target.query[i].name))
			return s3->target.query[i].name;
	return NULL;
}

const char *s3_meta_answer(struct s3 *s3, const struct name_entry *entry, const json_t *meta, bool whole)
{
	const char *type = NULL, *value;
	char text[30];

	for (const struct s3_meta_header *h = s3_meta_headers; h->header; h++) {
		value = override_of(s3, h->header);
		if (!value)
			value = s3_meta_text(meta, h->member);
		if (!value)
			continue;
		if (!strcmp(h->member, S3_META_TYPE))
			type = value;
		else
			s3_add_header(s3, h->header, value);
	}
	add_user(s3, meta);
	s3_add_modified(s3, entry);
	s3_add_version(s3, entry);
	if (whole && s3_header_is(s3, "x-amz-checksum-mode", "ENABLED"))
		s3_add_checksum(s3, meta);
	if (json_object_get(meta, S3_META_TAGS)) {
		snprintf(text, sizeof(text), "%zu", json_object_size(json_object_get(meta, S3_META_TAGS)));
		s3_add_header(s3, "x-amz-tagging-count", text);
	}
	s3_add_encryption(s3, meta);
	return type ? type : TYPE_DEFAULT;
}
