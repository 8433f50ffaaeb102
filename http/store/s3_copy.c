/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_copy.c -- CopyObject: the bytes of another object, with its metadata or new ones, as a version of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/parts.h"
#include "http/store/s3_ops.h"
#include "lib/hash.h"

#define COPY_PIECE (256u << 10)

/* ---- where from ---- */

static enum s3_error source_conditions(struct s3 *s3, const struct name_entry *entry)
{
	struct s3_conditions asked = { s3_header(s3, "x-amz-copy-source-if-match"),
				       s3_header(s3, "x-amz-copy-source-if-none-match"),
				       s3_header(s3, "x-amz-copy-source-if-modified-since"),
				       s3_header(s3, "x-amz-copy-source-if-unmodified-since") };
	char etag[S3_ETAG_MAX];
	enum s3_error error = s3_conditions_copy(&asked, s3_etag(entry, etag), entry->modified);

	return error ? s3_fault(&s3->fault, error, NULL) : S3_OK;
}

static const char *read_action(const struct s3_source *source)
{
	return source->version[0] ? "s3:GetObjectVersion" : "s3:GetObject";
}

/* The bucket's policy speaks of tags, which are known now. */
static enum s3_error may_by_tags(struct s3 *s3, const struct s3_source *source, const char *version)
{
	json_t *meta = s3_meta_of_entry(&source->entry);
	enum s3_error error = meta ? s3_may_object(s3, read_action(source), source->bucket,
						   source->key, version, meta)
				   : s3_fault(&s3->fault, S3_INTERNAL, NULL);

	json_decref(meta);
	return error;
}

enum s3_error s3_source_find(struct s3 *s3, struct s3_source *out)
{
	const char *version;
	const struct bucket *config;
	enum s3_error error;

	error = s3_copy_source_parse(s3_header(s3, "x-amz-copy-source"), out->bucket, out->key, out->version, &s3->fault);
	if (error)
		return error;
	version = out->version[0] ? out->version : NULL;
	config = s3_bucket_find(s3, out->bucket);
	if (!config)
		return s3_fault(&s3->fault, S3_NO_SUCH_BUCKET, NULL);
	out->versioned = config->versioning != VERSIONING_OFF;
	s3->denied = s3_may(s3, read_action(out), out->bucket, out->key, version) != S3_OK;
	error = s3->denied && !s3->unsure ? s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL) : S3_OK;
	if (!error)
		error = s3_owner_expected(s3, config, "x-amz-source-expected-bucket-owner");
	bucket_put(config);
	if (!error)
		error = s3_find(s3, out->bucket, out->key, version, &out->entry);
	if (s3->denied)
		error = error ? s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL)
			      : may_by_tags(s3, out, version);
	s3->denied = false;
	if (error == S3_METHOD_NOT_ALLOWED)
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"The source of a copy request may not specifically refer to a delete marker by version id.");
	if (error)
		return error;
	if (out->versioned || !out->entry.null_version)
		http_add_header(s3->req, "x-amz-copy-source-version-id", s3_version_text(&out->entry));
	return source_conditions(s3, &out->entry);
}

/* ---- the metadata ---- */

static enum s3_error directive(struct s3 *s3, const char *name, bool *replace)
{
	const char *text = s3_header(s3, name);

	*replace = text && !strcmp(text, "REPLACE");
	if (text && !*replace && strcmp(text, "COPY"))
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Unknown %s", name);
	return S3_OK;
}

static enum s3_error refuse_same(struct s3 *s3, const struct s3_source *source, bool replace)
{
	if (replace || source->version[0] || strcmp(source->bucket, s3->bucket) || strcmp(source->key, s3->key) ||
	    s3_header(s3, "x-amz-server-side-encryption") || s3_header(s3, "x-amz-storage-class") ||
	    s3_header(s3, "x-amz-checksum-algorithm"))
		return S3_OK;
	return s3_fault(&s3->fault, S3_INVALID_REQUEST,
			"This copy request is illegal because it is trying to copy an object to itself without changing the "
			"object's metadata, storage class, website redirect location or encryption attributes.");
}

/* Tags that come along are read there and written here. New ones: s3_meta_of_request() has asked. */
static enum s3_error may_copy_tags(struct s3 *s3, const struct s3_source *source, const json_t *old)
{
	const char *version = source->version[0] ? source->version : NULL;
	enum s3_error error;

	if (!json_object_size(json_object_get(old, S3_META_TAGS)))
		return S3_OK;
	error = s3_may_object(s3, version ? "s3:GetObjectVersionTagging" : "s3:GetObjectTagging",
			      source->bucket, source->key, version, old);
	return error ? error : s3_may(s3, "s3:PutObjectTagging", s3->bucket, s3->key, NULL);
}

/* Metadata and tags of the source where they are not replaced; the ACL is never copied. */
static enum s3_error compose_meta(struct s3 *s3, const struct s3_source *source, const json_t *old, json_t **out)
{
	bool replace_meta, replace_tags;
	enum s3_error error;
	json_t *meta, *tags;

	error = directive(s3, "x-amz-metadata-directive", &replace_meta);
	if (!error)
		error = directive(s3, "x-amz-tagging-directive", &replace_tags);
	if (!error)
		error = refuse_same(s3, source, replace_meta || replace_tags);
	if (!error && !replace_tags)
		error = may_copy_tags(s3, source, old);
	if (!error)
		error = s3_meta_of_request(s3, &meta);
	if (error)
		return error;
	tags = json_object_get(replace_tags ? meta : old, S3_META_TAGS);
	json_incref(tags);
	if (!replace_meta) {
		json_t *acl = json_incref(json_object_get(meta, S3_META_ACL));

		json_object_clear(meta);
		json_object_update(meta, (json_t *)old);
		json_object_del(meta, S3_META_ACL);
		json_object_del(meta, S3_META_KEY);
		json_object_del(meta, S3_META_CHECKSUM);
		json_object_del(meta, S3_META_KIND);
		if (acl)
			json_object_set_new(meta, S3_META_ACL, acl);
	}
	if (tags)
		json_object_set_new(meta, S3_META_TAGS, tags);
	else
		json_object_del(meta, S3_META_TAGS);
	*out = meta;
	return S3_OK;
}

/* ---- the bytes ---- */

/* Which checksum the copy gets: the one that is asked for, else the source's, else the common one (a part: none). */
static enum s3_error choose_kind(struct s3 *s3, const json_t *old)
{
	const char *asked = s3_header(s3, "x-amz-checksum-algorithm");
	struct s3_checksum_text has = s3_meta_checksum_text(old);
	const char *name = asked ? asked : has.algorithm;

	if (!*name) {
		if (s3->op->op == S3_OP_CopyObject)
			s3_body_choose(s3, CHECKSUM_CRC64NVME);
		return S3_OK;
	}
	if (!checksum_by_name(&s3->body.kind, name))
		return s3_fault(&s3->fault, S3_INVALID_REQUEST, "Checksum algorithm provided is unsupported.");
	s3->body.has_kind = true;
	return S3_OK;
}

static enum s3_error copy_bytes(struct s3 *s3, const struct s3_source *source, uint64_t first, uint64_t len)
{
	enum s3_error error = S3_OK;
	struct parts *parts;
	ssize_t n = 0;
	char *buf;
	int rc;

	rc = parts_open(&parts, s3->ep, source->bucket, &source->entry, first, len, NULL, NULL);
	if (rc == -EKEYREJECTED)
		return s3_fault(&s3->fault, S3_ENCRYPTION_KEY_LOST, "%s", PARTS_KEY_LOST);
	if (rc == -ENOMEM)
		return s3_fault(&s3->fault, S3_INTERNAL, NULL);
	if (rc)
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE,
				"No endpoint that holds the source can be reached now; try again.");
	buf = malloc(COPY_PIECE);
	while (buf && !error && (n = parts_read(parts, buf, COPY_PIECE)) > 0) {
		error = s3_body_take(s3, buf, (size_t)n);
		if (!error && !s3_early_tick(s3))
			error = s3_early_stops(s3->ep)
					? s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, "This endpoint stops; nothing was copied, try again.")
					: s3_fault(&s3->fault, S3_REQUEST_TIMEOUT, "The client went away; nothing was copied.");
	}
	free(buf);
	parts_free(parts);
	if (!error && (!buf || n != HTTP_READ_END || s3->body.got != len))
		error = s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, "The source could not be read to its end; try again.");
	return error;
}

enum s3_error s3_source_copy(struct s3 *s3, const struct s3_source *source, const json_t *old, uint64_t first, uint64_t len,
			     const struct version *version)
{
	struct s3_payload *body = &s3->body;
	enum s3_error error;

	body->want = body->max = len;
	body->got = 0;
	body->has_md5 = false;
	s3->sig.payload = SIGV4_UNSIGNED; /* the request's own body was looked at before */
	awschunked_free(body->chunked);
	body->chunked = NULL;
	error = choose_kind(s3, old);
	if (error)
		return error;
	body->kinds = 1u << CHECKSUM_MD5 | (body->has_kind ? 1u << body->kind : 0);
	error = s3_body_store(s3, version);
	if (error)
		return error;
	checksums_free(body->sums);
	body->sums = checksums_new(body->kinds);
	if (!body->sums)
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, NULL);
	error = copy_bytes(s3, source, first, len);
	if (error)
		return error;
	return s3_body_check(s3);
}

/* ---- the operation ---- */

/* The conditions, which are looked at when the request may be over (s3_early.c): copies, to be freed. */
static enum s3_error conditions_take(struct s3 *s3, struct names_how *how)
{
	enum s3_error error = s3_names_how(s3, how);
	const char **texts[] = { &how->if_match, &how->if_none_match };
	bool good = true;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *text = *texts[i];

		*texts[i] = text ? strdup(text) : NULL;
		good = good && (!text || *texts[i]);
	}
	return error ? error : good ? S3_OK : S3_SERVICE_UNAVAILABLE;
}

static enum s3_error copy(struct s3 *s3, struct s3_source *source, struct name_entry *entry, json_t **meta)
{
	struct names_how how;
	enum s3_error error;
	json_t *old;

	error = s3_source_find(s3, source);
	if (error)
		return error;
	if (source->entry.size > S3_PART_MAX)
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"The specified copy source is larger than the maximum allowable size for a copy source: %llu",
				(unsigned long long)S3_PART_MAX);
	old = s3_meta_of_entry(&source->entry);
	if (!old)
		return s3_fault(&s3->fault, S3_INTERNAL, NULL);
	s3->encrypt = s3_encryption_asked(s3);
	error = conditions_take(s3, &how);
	if (!error)
		error = compose_meta(s3, source, old, meta);
	if (!error)
		error = s3_source_copy(s3, source, old, 0, source->entry.size, NULL);
	if (!error)
		error = s3_put_entry(s3, entry, *meta, &how);
	free((char *)how.if_match);
	free((char *)how.if_none_match);
	json_decref(old);
	return error;
}

void s3_copy_run(struct s3 *s3)
{
	struct s3_source *source = calloc(1, sizeof(*source));
	struct name_entry *entry = calloc(1, sizeof(*entry));
	struct s3_checksum_text sum;
	enum s3_error error = source && entry ? S3_OK : S3_SERVICE_UNAVAILABLE;
	char etag[S3_ETAG_MAX];
	json_t *meta = NULL;
	size_t len;
	char *text;

	if (!error)
		error = copy(s3, source, entry, &meta);
	if (error) {
		s3_reply_error(s3, error);
	} else {
		sum = s3_meta_checksum_text(meta);
		text = s3_out_copy("CopyObjectResult", s3_etag(entry, etag), entry->modified, &sum, &len);
		if (s3->req) { /* else the head was sent */
			s3_add_version(s3, entry);
			s3_add_expiration(s3, entry, meta);
			s3_add_encryption(s3, meta);
		}
		s3_reply_xml(s3, 200, text, len);
	}
	json_decref(meta);
	free(entry);
	free(source);
}
