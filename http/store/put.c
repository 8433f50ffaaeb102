/* SPDX-License-Identifier: Apache-2.0 */
/*
 * put.c -- a plain PUT (put.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/meta.h"
#include "http/store/put.h"
#include "lib/bucket.h"
#include "lib/hash.h"
#include "lib/json_text.h"

struct put {
	struct endpoint *ep;
	char bucket[BUCKET_MAX];
	struct upload *upload;
	int rc; /* the first failure */
	/* kept encrypted: */
	struct sealer *sealer; /* NULL: is not */
	struct sha256 *sha;    /* of the plain text */
	uint64_t size;
	char sealed_key[UPLOAD_KEY_TEXT];
};

/* By hand: building a value first would cost as much as all else that an answer needs. */
static void reply_stored(struct endpoint *ep, struct http_req *req, const char *bucket,
			 const struct name_entry *entry, bool replaced)
{
	char key[JSON_TEXT_STRING(KEY_MAX)], nodes[NAMES_HOLDERS_MAX * (CONF_NAME_MAX + 3) + 1] = "";
	size_t key_len = json_text_put(key, entry->key, strlen(entry->key)), at = 0;
	char text[sizeof(key) + sizeof(nodes) + 1024], etag[35], sha[65];
	int len;

	for (unsigned int i = 0; i < entry->nholders; i++)
		at += (size_t)sprintf(nodes + at, "%s\"%s\"", i ? "," : "", entry->holders[i]);
	names_etag(entry->sha256, etag);
	len = snprintf(text, sizeof(text),
		       "{\"bucket\":\"%s\",\"key\":%.*s,\"version\":\"%s\",\"size\":%llu,\"sha256\":\"%s\","
		       "\"etag\":\"\\\"%.32s\\\"\",\"copies\":%u,\"endpoints\":[%s]",
		       bucket, (int)key_len, key, entry->version, (unsigned long long)entry->size,
		       hex_encode(entry->sha256, 32, sha), etag + 1, entry->nholders, nodes);
	if (entry->nholders == 1)
		len += snprintf(text + len, sizeof(text) - (size_t)len, ",\"note\":\"%s\"", endpoint_lone_note(ep));
	text[len++] = '}';
	http_add_header(req, "ETag", etag);
	http_add_header(req, "X-Weir-Sha256", sha);
	http_reply(req, replaced ? 200 : 201, "application/json", text, (size_t)len);
}

static enum http_next reply_not_stored(const struct upload *up, struct http_req *req, int rc)
{
	switch (rc) {
	case -ENOSPC:
		return http_reply_error(
			req, 507, "full",
			"The disk is full, but for its reserve; nothing was stored.");
	case -EDQUOT:
		return http_reply_error(req, 507, "quota", "%s", upload_why(up));
	case -EFBIG:
		return http_reply_error(req, 413, "size",
					"The object is larger than this endpoint takes.");
	case -EAGAIN:
		return http_reply_error(
			req, 503, "copies",
			"No second endpoint could take a copy (%s); nothing was stored, try again.",
			upload_why(up));
	default:
		return http_reply_error(req, 500, "disk",
					"The disk failed (%s); nothing was stored.", strerror(-rc));
	}
}

enum http_next put_refuse(struct put *put, struct http_req *req)
{
	upload_discard(put->upload);
	return reply_not_stored(put->upload, req, put->rc);
}

enum names_mode put_mode(struct endpoint *ep, const char *bucket)
{
	const struct bucket *config = users_bucket(ep->users, bucket);
	enum names_mode mode = NAMES_PLAIN;

	if (config && config->versioning != VERSIONING_OFF)
		mode = config->versioning == VERSIONING_ENABLED ? NAMES_VERSIONED : NAMES_SUSPENDED;
	bucket_put(config);
	return mode;
}

int put_new(struct put **out, struct endpoint *ep, const char *bucket, const char *key, uint64_t announced)
{
	const struct bucket *config = users_bucket(ep->users, bucket);
	bool encrypt = config && config->encrypt;
	struct put *put = calloc(1, sizeof(*put));
	int rc = put ? 0 : -ENOMEM;

	bucket_put(config);
	if (!rc) {
		put->ep = ep;
		snprintf(put->bucket, sizeof(put->bucket), "%s", bucket);
		rc = upload_new(&put->upload, ep, bucket, key,
				encrypt && announced != UINT64_MAX ? sealed_size(announced) : announced, NULL);
	}
	if (!rc && encrypt) {
		rc = upload_sealer(put->upload, &put->sealer, put->sealed_key);
		put->sha = sha256_new();
		if (!rc && !put->sha)
			rc = -ENOMEM;
	}
	if (rc) {
		put_free(put);
		return rc;
	}
	*out = put;
	return 0;
}

void put_free(struct put *put)
{
	if (!put)
		return;
	upload_end(put->upload);
	sealer_free(put->sealer);
	sha256_drop(put->sha);
	free(put);
}

static int keep_sealed(void *upload, const void *data, size_t len)
{
	return upload_add(upload, data, len);
}

int put_add(struct put *put, const void *data, size_t len)
{
	if (put->sealer) {
		sha256_add(put->sha, data, len);
		put->size += len;
		put->rc = sealer_add(put->sealer, data, len, keep_sealed, put->upload);
	} else {
		put->rc = upload_add(put->upload, data, len);
	}
	return put->rc;
}

int put_later_end(struct put *put, struct http_req *req)
{
	struct name_entry entry;
	bool replaced, stored;
	int rc;

	names_entry_clear(&entry);
	rc = upload_put_end(put->upload, &entry, &replaced, &stored);
	if (!rc)
		reply_stored(put->ep, req, put->bucket, &entry, replaced);
	else if (!stored)
		reply_not_stored(put->upload, req, rc);
	else if (rc != -EAGAIN)
		endpoint_reply_names(req, rc);
	return stored || rc != -EAGAIN ? rc : -EIO;
}

static int store(struct put *put, struct name_entry *entry)
{
	int rc = put->rc;

	if (!rc && put->sealer)
		rc = sealer_end(put->sealer, keep_sealed, put->upload);
	if (!rc)
		rc = upload_store(put->upload);
	if (rc)
		return rc;
	upload_entry(put->upload, entry);
	if (!put->sealer)
		return 0;
	entry->size = put->size;
	sha256_end(put->sha, entry->sha256);
	put->sha = NULL;
	entry->meta_len = (unsigned int)snprintf(entry->meta, sizeof(entry->meta), "{\"" S3_META_KEY "\":\"%s\"}",
						 put->sealed_key);
	return 0;
}

bool put_later(struct put *put, struct http_req *req, http_then_fn *then, void *arg)
{
	struct upload_nodes ideal;
	struct names_how how = { .mode = put_mode(put->ep, put->bucket),
				 .if_match = http_header(req, "If-Match"),
				 .if_none_match = http_header(req, "If-None-Match") };
	struct name_entry entry;
	uint64_t size;

	if (put->rc || put->sealer || !buckets_known(put->ep->buckets, put->bucket) || users_dataset(put->ep->users, put->bucket) ||
	    upload_seal(put->upload, &size, entry.sha256))
		return false;
	names_entry_clear(&entry);
	upload_entry(put->upload, &entry);
	how.nideal = upload_ideal(put->upload, &ideal);
	how.ideal = ideal.names;
	return upload_put_later(put->upload, &entry, &how, req, then, arg);
}

static int give_name(struct put *put, struct http_req *req, const char *owner, struct name_entry *entry, bool *replaced)
{
	struct upload_nodes ideal;
	struct names_how how = { .mode = put_mode(put->ep, put->bucket),
				 .if_match = http_header(req, "If-Match"),
				 .if_none_match = http_header(req, "If-None-Match") };
	int rc;

	how.nideal = upload_ideal(put->upload, &ideal);
	how.ideal = ideal.names;
	rc = buckets_ensure(put->ep->buckets, put->bucket, owner);
	if (!rc)
		rc = names_put_with(put->ep->names, put->bucket, entry, &how, replaced);
	if (rc != -ENOENT)
		return rc;
	/* The bucket was removed by S3: a plain PUT makes it anew, as it made it at first. */
	buckets_forget(put->ep->buckets, put->bucket);
	rc = buckets_ensure(put->ep->buckets, put->bucket, owner);
	if (!rc)
		rc = buckets_open(put->ep->buckets, put->ep->names, put->bucket);
	return rc ? rc : names_put_with(put->ep->names, put->bucket, entry, &how, replaced);
}

bool put_finish(struct put *put, struct http_req *req, const char *owner)
{
	struct name_entry entry = { 0 };
	bool replaced = false;
	int rc;

	rc = store(put, &entry);
	if (rc) {
		reply_not_stored(put->upload, req, rc);
		return false;
	}
	rc = give_name(put, req, owner, &entry, &replaced);
	upload_named(put->upload, rc);
	if (rc) {
		endpoint_reply_names(req, rc);
		return false;
	}
	reply_stored(put->ep, req, put->bucket, &entry, replaced);
	return true;
}
