/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_delete.c -- DeleteObject, DeleteObjects.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "http/store/s3_ops.h"

/* When deletions failed for so long nobody can order this bucket's names: each other would wait, too. */
#define LOST_S 5

/* One key or version. *out: what became of it. */
static enum s3_error delete(struct s3 *s3, const char *key, const char *version, const char *if_match,
			    struct names_deleted *out)
{
	struct names_how how = { .mode = s3_names_mode(s3), .if_match = if_match };
	struct version v;
	int rc;

	*out = (struct names_deleted){ .version = "" };
	if (version && strcmp(version, "null") && version_parse(&v, version))
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Invalid version id specified");
	rc = names_delete_with(s3->ep->names, s3->bucket, key, version, &how, out);
	if (rc == -ENOENT && !if_match) /* it is not there: what was wanted */
		rc = 0;
	if (rc)
		return s3_names_error(s3, rc, S3_NO_SUCH_KEY);
	atomic_fetch_add(&s3->ep->counts.deletes, 1);
	return S3_OK;
}

static const char *deleted_version(const struct names_deleted *d)
{
	return d->null_version ? "null" : d->version;
}

static bool is_versioned(const struct s3 *s3)
{
	return s3_names_mode(s3) != NAMES_PLAIN;
}

void s3_delete_run(struct s3 *s3)
{
	struct names_deleted gone;
	enum s3_error error = delete(s3, s3->key, s3->version, s3_header(s3, "If-Match"), &gone);

	if (error) {
		s3_reply_error(s3, error);
		return;
	}
	if (gone.marker)
		http_add_header(s3->req, "x-amz-delete-marker", "true");
	if (s3->version)
		http_add_header(s3->req, "x-amz-version-id", s3->version);
	else if (is_versioned(s3) && gone.version[0])
		http_add_header(s3->req, "x-amz-version-id", deleted_version(&gone));
	s3_reply_empty(s3, 204);
}

/* ---- DeleteObjects ---- */

/* What is asked of each key stands in the body: whom nothing can allow it is not worth the memory of one. */
enum s3_error s3_delete_many_begin(struct s3 *s3)
{
	if (s3->who.user[0] || s3->config->policy || s3->config->acl == ACL_PUBLIC_READ_WRITE)
		return S3_OK;
	return s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL);
}

static enum s3_error delete_item(struct s3 *s3, const struct s3_delete *item, struct names_deleted *gone)
{
	const char *version = item->version[0] ? item->version : NULL;
	struct version v;
	enum s3_error error;

	if (!names_key_valid(item->key))
		return s3_fault(&s3->fault, S3_KEY_TOO_LONG, NULL);
	if (version && strcmp(version, "null") && version_parse(&v, version))
		return s3_fault(&s3->fault, S3_NO_SUCH_VERSION,
				NULL); /* DeleteObject has another word for it, as Amazon's */
	error = s3_may(s3, version ? "s3:DeleteObjectVersion" : "s3:DeleteObject", s3->bucket, item->key, version);
	return error ? error : delete(s3, item->key, version, item->etag[0] ? item->etag : NULL, gone);
}

static int64_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* The same, while *lost_s, the time that went by in vain, allows it. */
static enum s3_error try_item(struct s3 *s3, const struct s3_delete *item, struct names_deleted *gone,
			      int64_t *lost_s)
{
	int64_t begun = now_s();
	enum s3_error error;

	if (*lost_s >= LOST_S)
		return s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE,
				"Not tried: keys before it could not be deleted; try again.");
	error = delete_item(s3, item, gone);
	if (error && s3_error_status(error) >= 500)
		*lost_s += now_s() - begun;
	return error;
}

static void tell_item(struct s3 *s3, struct xml *xml, const struct s3_delete *item, enum s3_error error,
		      const struct names_deleted *gone, bool quiet)
{
	const char *version = item->version[0] ? item->version : NULL;

	if (error)
		s3_out_delete_error(xml, item->key, version, s3_error_code(error),
				    s3->fault.message[0] ? s3->fault.message : s3_error_message(error));
	else if (!quiet)
		s3_out_deleted(xml, item->key, version, gone->marker,
			       gone->marker ? deleted_version(gone) : NULL);
}

void s3_delete_many_run(struct s3 *s3)
{
	struct names_deleted gone = { .version = "" };
	struct s3_deletes list;
	enum s3_error error;
	int64_t lost_s = 0;
	struct xml xml;
	size_t len;
	char *text;

	if (!s3->body.has_md5 && !s3->body.has_kind) {
		s3_fault(&s3->fault, S3_INVALID_REQUEST, "Missing required header for this request: Content-MD5");
		s3_reply_error(s3, S3_INVALID_REQUEST);
		return;
	}
	error = s3_in_delete(&list, s3->body.text ? s3->body.text : "", s3->body.len, &s3->fault);
	if (error) {
		s3_reply_error(s3, error);
		return;
	}
	s3_out_delete_begin(&xml);
	for (size_t i = 0; i < list.n; i++) {
		s3->fault.message[0] = '\0';
		error = try_item(s3, &list.items[i], &gone, &lost_s);
		s3_seen_deleted(s3, list.items[i].key, error ? s3_error_code(error) : NULL);
		tell_item(s3, &xml, &list.items[i], error, &gone, list.quiet);
	}
	s3_deletes_free(&list);
	text = s3_out_delete_end(&xml, &len);
	s3_reply_xml(s3, 200, text, len);
}
