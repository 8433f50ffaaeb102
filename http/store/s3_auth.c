/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_auth.c -- who sends an S3 request, and may they?
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/store/dataset.h"
#include "http/store/s3_ops.h"

#define SEEN_TRIES 200 /* for a record that the registry has, until the watch has brought it: of 10 ms */

/* What is wrong with the key itself. */
static enum s3_error refuse_key(struct s3 *s3, int rc)
{
	switch (rc) {
	case -ENOENT:
		return s3_fault(&s3->fault, S3_INVALID_ACCESS_KEY, NULL);
	case -EACCES:
		return s3_fault(&s3->fault, S3_INVALID_ACCESS_KEY, "The access key, or its user, is disabled.");
	case -EKEYEXPIRED:
		return s3_fault(&s3->fault, S3_INVALID_ACCESS_KEY, "The access key has expired.");
	case -ENOKEY:
		return s3_fault(&s3->fault, S3_INVALID_ACCESS_KEY,
				"The access key cannot sign: it was made for the plain interface. Make one with "
				"weir user key add.");
	case -EAGAIN:
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, "The users are not known here yet; try again.");
	default:
		return s3_fault(&s3->fault, S3_INTERNAL, NULL);
	}
}

static enum s3_error identify_signed(struct s3 *s3, const struct sigv4_request *request)
{
	struct users_s3 key;
	enum s3_error error;
	int rc;

	rc = users_s3_key(s3->ep->users, s3->sig.id, s3->sig.date, s3->sig.region, time(NULL), &key);
	if (rc)
		return refuse_key(s3, rc);
	error = sigv4_check(&s3->sig, request, key.key);
	memcpy(s3->signing, key.key, sizeof(s3->signing));
	explicit_bzero(key.key, sizeof(key.key));
	if (error)
		return s3_fault(&s3->fault, error, NULL);
	s3->who = key.scope;
	return S3_OK;
}

/* By the platform's own means (Bearer, Basic), or a stranger. */
static enum s3_error identify_other(struct s3 *s3)
{
	struct token_scope scope = { .bucket = "" };
	const char *scheme = http_header(s3->req, "Authorization");
	int rc = access_identify(s3->req, s3->ep->users, &scope);

	if (scheme && *scheme && strncasecmp(scheme, "Bearer ", 7) &&
	    strncasecmp(scheme, "Basic ", 6))
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Unsupported Authorization Type");
	if (!rc)
		s3->who = scope;
	if (!rc || rc == -ENOENT)
		return S3_OK;
	return s3_fault(&s3->fault, rc == -ETIME ? S3_INVALID_TOKEN : S3_ACCESS_DENIED,
			rc == -ETIME ? "The token has expired; get a new one."
				     : "What stands in Authorization is no valid token or key of this installation.");
}

/* Of most requests none: then none is looked for, one by one. */
static bool asks_more(const struct http_pair *headers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strncasecmp(headers[i].name, "x-amz-", 6) && strcasecmp(headers[i].name + 6, "date") &&
		    strcasecmp(headers[i].name + 6, "content-sha256"))
			return true;
	return false;
}

enum s3_error s3_identify(struct s3 *s3)
{
	struct http_pair headers[HTTP_HEADERS_MAX];
	struct sigv4_request request = { .method = http_method_name(http_method(s3->req)),
					 .target = http_target(s3->req),
					 .headers = headers };
	enum s3_error error;

	if (s3->inside) {
		request.target += strlen(S3_INSIDE_PATH);
		request.host = s3_header(s3, "X-Weir-S3-Host");
	}
	request.nheaders = http_headers(s3->req, headers, HTTP_HEADERS_MAX);
	s3->asks_more = asks_more(headers, request.nheaders);
	error = sigv4_read(&s3->sig, &request, time(NULL), &s3->fault);
	if (error)
		return error;
	s3->asks_more |= s3->sig.kind == SIGV4_QUERY; /* may be parameters, too */
	return s3->sig.kind == SIGV4_NONE ? identify_other(s3) : identify_signed(s3, &request);
}

/* ---- rights ---- */

bool s3_is_https(const struct s3 *s3)
{
	const char *proto = s3->inside ? s3_header(s3, "X-Weir-S3-Proto") : NULL;

	return s3->inside ? proto && !strcmp(proto, "https") : access_is_https(s3->req);
}

static void fill_source(const struct s3 *s3, struct policy_ask *ask)
{
	const char *client = s3->inside ? s3_header(s3, "X-Weir-S3-Client") : NULL;

	if (client)
		addr_parse(&ask->source, client);
	else if (!s3->inside)
		ask->source = http_peer(s3->req)->addr;
	ask->https = s3_is_https(s3);
}

/* What the request makes the object's tags. Those of PutObjectTagging stand in its body:
 * s3_tagging.c. */
static void find_new_tags(struct s3 *s3)
{
	const char *text = s3_header(s3, "x-amz-tagging");

	if (s3->new_tags_known || s3->op->op == S3_OP_PutObjectTagging)
		return;
	s3->new_tags_known = !text || !*text || !s3_tags_parse(&s3->new_tags, text, NULL);
}

/* As it is done and not as it was written: one object has many spellings. */
static const char *find_copy_source(struct s3 *s3)
{
	const char *text = s3_header(s3, "x-amz-copy-source");
	struct s3_source *source = text && !s3->copy_source ? calloc(1, sizeof(*source)) : NULL;

	if (source &&
	    !s3_copy_source_parse(text, source->bucket, source->key, source->version, NULL) &&
	    asprintf(&s3->copy_source, "%s/%s", source->bucket, source->key) < 0)
		s3->copy_source = NULL;
	free(source);
	return s3->copy_source;
}

static void fill_tags(struct s3 *s3, struct policy_ask *ask, const json_t *meta)
{
	find_new_tags(s3);
	ask->new_tags = s3->new_tags;
	ask->new_tags_known = s3->new_tags_known;
	ask->tags = json_object_get(meta, S3_META_TAGS);
	ask->tags_known = meta != NULL;
	s3->unsure = false;
	ask->unsure = &s3->unsure;
}

/* A presigned request that says nothing has UNSIGNED-PAYLOAD in what is signed; Amazon names this key as the way to refuse uploads
 * by presigned URLs ("Signature Version 4 authentication specific policy keys"). */
static const char *find_payload(const struct s3 *s3)
{
	const char *text = s3_header(s3, "x-amz-content-sha256");

	return text || s3->sig.kind != SIGV4_QUERY ? text : "UNSIGNED-PAYLOAD";
}

/* version: of the object that is asked about, which need not be the query's. */
static void fill_ask(struct s3 *s3, struct policy_ask *ask, const char *action, const char *version)
{
	enum s3_op op = s3->op->op;

	ask->action = action ? action : s3_operation_action(s3->op, &s3->target);
	ask->known = true;
	ask->now = time(NULL);
	fill_source(s3, ask);
	ask->presigned = s3->sig.kind == SIGV4_QUERY;
	ask->sigv4 = s3->sig.kind != SIGV4_NONE;
	if (ask->sigv4)
		ask->signature_age_ms = (ask->now - s3->sig.when) * 1000;
	ask->agent = s3_header(s3, "User-Agent");
	ask->referer = s3_header(s3, "Referer");
	ask->delimiter = s3_query(s3, "delimiter");
	ask->max_keys = s3_query(s3, "max-keys");
	ask->version_id = version;
	ask->acl = s3_header(s3, "x-amz-acl");
	ask->encryption = s3_header(s3, "x-amz-server-side-encryption");
	ask->content_sha256 = find_payload(s3);
	ask->if_match = s3_header(s3, "If-Match");
	ask->if_none_match = s3_header(s3, "If-None-Match");
	ask->staged = op == S3_OP_CreateMultipartUpload || op == S3_OP_UploadPart ||
		      op == S3_OP_UploadPartCopy;
	if (!s3->asks_more)
		return;
	ask->storage_class = s3_header(s3, "x-amz-storage-class");
	ask->directive = s3_header(s3, "x-amz-metadata-directive");
	ask->copy_source = find_copy_source(s3);
}

/* Clients say it when they begin an upload, and not again. */
static bool is_begun(const struct s3 *s3)
{
	enum s3_op op = s3->op->op;

	return op == S3_OP_UploadPart || op == S3_OP_UploadPartCopy || op == S3_OP_CompleteMultipartUpload;
}

/* meta: of the upload; NULL: not known. */
static void fill_begun(struct policy_ask *ask, const json_t *meta)
{
	ask->begun_unknown = !meta;
	ask->acl = s3_meta_text(meta, S3_META_ACL);
	ask->encryption = s3_meta_text(meta, S3_META_KEY) ? "AES256" : NULL;
	ask->new_tags = json_object_get(meta, S3_META_TAGS);
	ask->new_tags_known = meta != NULL;
}

static bool is_change(const struct s3 *s3)
{
	return s3->op->right & (RIGHT_WRITE | RIGHT_DELETE);
}

/* Parts of a file that gateways have checked when all are there: nobody sees them before (s3_multipart.c). */
static bool is_staged(const struct s3 *s3)
{
	enum s3_op op = s3->op->op;

	return s3->inside && (op == S3_OP_CreateMultipartUpload || op == S3_OP_UploadPart || op == S3_OP_UploadPartCopy ||
			      op == S3_OP_CompleteMultipartUpload || op == S3_OP_AbortMultipartUpload || op == S3_OP_ListParts);
}

static enum s3_error may(struct s3 *s3, struct policy_ask *ask)
{
	if (!users_may(s3->ep->users, &s3->who, ask))
		return s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL);
	if (!s3->who.via_gateway && is_change(s3) && !is_staged(s3) && ask->bucket && !strcmp(ask->bucket, s3->bucket) &&
	    users_dataset(s3->ep->users, ask->bucket))
		return s3_fault(&s3->fault, S3_ACCESS_DENIED,
				s3->inside ? "%s is a dataset, whose files come by PutObject or in parts and are checked: they are not "
					     "copied into it, tagged or given ACLs."
					   : "%s is a dataset, whose files are checked: put and delete them at a gateway.",
				ask->bucket);
	return S3_OK;
}

/* Listings are asked with their prefix. */
static const char *key_of(const struct s3 *s3, const char *key)
{
	if (key && *key)
		return key;
	return s3->op->level == S3_BUCKET ? s3_query(s3, "prefix") : NULL;
}

enum s3_error s3_may(struct s3 *s3, const char *action, const char *bucket, const char *key, const char *version)
{
	struct policy_ask ask = { .bucket = bucket && *bucket ? bucket : NULL, .key = key_of(s3, key) };

	fill_ask(s3, &ask, action, version);
	fill_tags(s3, &ask, NULL);
	if (!action && is_begun(s3))
		fill_begun(&ask, NULL);
	return may(s3, &ask);
}

enum s3_error s3_may_part(struct s3 *s3, const json_t *meta)
{
	struct policy_ask ask = { .bucket = s3->bucket, .key = s3->key };

	fill_ask(s3, &ask, NULL, s3->version);
	fill_tags(s3, &ask, NULL);
	fill_begun(&ask, meta);
	return may(s3, &ask);
}

enum s3_error s3_may_object(struct s3 *s3, const char *action, const char *bucket, const char *key,
			    const char *version, const json_t *meta)
{
	struct policy_ask ask = { .bucket = bucket, .key = key };
	const char *acl = s3_meta_text(meta, S3_META_ACL);

	ask.object_known = acl && !acl_parse(acl, &ask.object);
	fill_ask(s3, &ask, action, version);
	fill_tags(s3, &ask, meta);
	return may(s3, &ask);
}

enum s3_error s3_owner_expected(struct s3 *s3, const struct bucket *config, const char *header)
{
	const char *expected = s3_header(s3, header);

	if (!expected || !config || !strcmp(expected, s3_owner_of(config)))
		return S3_OK;
	return s3_fault(&s3->fault, S3_ACCESS_DENIED, "The bucket's owner is another than %s says.", header);
}

/* ---- the bucket's record ---- */

/* Whoever wants could load the registry with names that are nobody's. What users are told must hold at once, also at an endpoint
 * that has refused the name a moment ago, so misses are not remembered. */
static bool may_ask_registry(const struct s3 *s3, const char *bucket)
{
	return s3->who.user[0] || users_dataset(s3->ep->users, bucket);
}

const struct bucket *s3_bucket_find(const struct s3 *s3, const char *bucket)
{
	char key[sizeof(REG_BUCKETS) + S3_BUCKET_MAX + 1];
	struct endpoint *ep = s3->ep;
	const struct bucket *config = users_bucket(ep->users, bucket);
	struct reg_kv kv;

	if (config || !may_ask_registry(s3, bucket))
		return config;
	snprintf(key, sizeof(key), REG_BUCKETS "%s", bucket);
	if (registry_get(ep->daemon->registry, key, &kv))
		return NULL;
	reg_kv_free(&kv);
	/* It is there: the watch brings it in a moment, and rights are told by what it brought. */
	for (int i = 0; i < SEEN_TRIES && !config; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		config = users_bucket(ep->users, bucket);
	}
	return config;
}
