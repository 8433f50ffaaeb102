/* SPDX-License-Identifier: Apache-2.0 */
/*
 * put.c -- the end of a plain PUT (put.h).
 */
#include <errno.h>
#include <string.h>

#include "http/store/put.h"

static void reply_stored(struct endpoint *ep, struct http_req *req, const char *bucket,
			 const struct name_entry *entry, bool replaced)
{
	char etag[35], sha[65];
	json_t *nodes = json_array(), *root;

	for (unsigned int i = 0; i < entry->nholders; i++)
		json_array_append_new(nodes, json_string(entry->holders[i]));
	names_etag(entry->sha256, etag);
	root = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:i, s:o}", "bucket", bucket, "key",
			 entry->key, "version", entry->version, "size", (json_int_t)entry->size,
			 "sha256", hex_encode(entry->sha256, 32, sha), "etag", etag, "copies",
			 (int)entry->nholders, "endpoints", nodes);
	if (entry->nholders == 1)
		json_object_set_new(root, "note", json_string(endpoint_lone_note(ep)));
	http_add_header(req, "ETag", etag);
	http_add_header(req, "X-Weir-Sha256", sha);
	http_reply_json(req, replaced ? 200 : 201, root);
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

enum http_next put_refuse(struct upload *up, struct http_req *req)
{
	upload_discard(up);
	return reply_not_stored(up, req, upload_failure(up));
}

enum names_mode put_mode(struct endpoint *ep, const char *bucket)
{
	const struct bucket *b = users_bucket(ep->users, bucket);
	enum bucket_versioning versioning = b ? b->versioning : VERSIONING_OFF;

	bucket_put(b);
	return versioning == VERSIONING_ENABLED	    ? NAMES_VERSIONED
	       : versioning == VERSIONING_SUSPENDED ? NAMES_SUSPENDED
						    : NAMES_PLAIN;
}

bool put_finish(struct endpoint *ep, struct upload *up, struct http_req *req, const char *bucket,
		const char *owner)
{
	struct upload_nodes ideal;
	struct name_entry entry = { 0 };
	bool replaced = false;
	size_t n;
	int rc;

	rc = upload_store(up);
	if (rc) {
		reply_not_stored(up, req, rc);
		return false;
	}
	upload_entry(up, &entry);
	n = upload_ideal(up, &ideal);
	rc = buckets_ensure(ep->buckets, bucket, owner);
	if (!rc)
		rc = names_put_with(ep->names, bucket, &entry,
				    &(struct names_how){ .mode = put_mode(ep, bucket),
							 .if_match = http_header(req, "If-Match"),
							 .if_none_match = http_header(req, "If-None-Match"),
							 .ideal = ideal.names,
							 .nideal = n },
				    &replaced);
	upload_named(up, rc);
	if (rc) {
		endpoint_reply_names(req, rc);
		return false;
	}
	reply_stored(ep, req, bucket, &entry, replaced);
	return true;
}
