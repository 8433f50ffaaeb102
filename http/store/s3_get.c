/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_get.c -- GetObject, HeadObject: which version, conditions, range; the bytes are s3_send.c's.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/range.h"
#include "http/store/s3_ops.h"
#include "lib/media_type.h"

/* ---- which version ---- */

static bool version_text_valid(const char *version)
{
	struct version v;

	return !version || !strcmp(version, "null") || !version_parse(&v, version);
}

/* Who may not list is not told whether it is there (as Amazon). */
static enum s3_error not_there(struct s3 *s3, const char *bucket, enum s3_error missing)
{
	if (s3_may(s3, "s3:ListBucket", bucket, NULL, NULL))
		return s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL);
	return s3_fault(&s3->fault, missing, NULL);
}

enum s3_error s3_find(struct s3 *s3, const char *bucket, const char *key, const char *version, struct name_entry *entry)
{
	int rc;

	entry->marker = false;
	if (!version_text_valid(version))
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Invalid version id specified");
	rc = names_get_version(s3->ep->names, bucket, key, version, entry);
	if (rc && rc != -ENOENT)
		return s3_names_error(s3, rc, S3_NO_SUCH_KEY);
	if (!rc && !entry->marker)
		return S3_OK;
	if (rc && version)
		return not_there(s3, bucket, S3_NO_SUCH_VERSION);
	if (!entry->marker)
		return not_there(s3, bucket, S3_NO_SUCH_KEY);
	if (s3->denied) /* nor whether it was */
		return s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL);
	http_add_header(s3->req, "x-amz-delete-marker", "true");
	http_add_header(s3->req, "x-amz-version-id", s3_version_text(entry));
	if (!version)
		return s3_fault(&s3->fault, S3_NO_SUCH_KEY, NULL);
	s3_add_modified(s3, entry);
	http_add_header(s3->req, "Allow", "DELETE");
	return s3_fault(&s3->fault, S3_METHOD_NOT_ALLOWED, NULL);
}

/* ---- the answer ---- */

static enum s3_error find_range(struct s3 *s3, const struct name_entry *entry, const char *etag, struct s3_piece *piece)
{
	const char *range = s3_header(s3, "Range"), *if_range = s3_header(s3, "If-Range");
	struct http_range found;
	char text[80];
	int ranged = 0;

	*piece = (struct s3_piece){ .status = 200, .len = entry->size, .whole = true };
	if (!range || (if_range && strcmp(if_range, etag)))
		return S3_OK;
	if (s3_range_read(&found, &ranged, range, entry->size)) {
		snprintf(text, sizeof(text), "bytes */%" PRIu64, entry->size);
		http_add_header(s3->req, "Content-Range", text);
		return s3_fault(&s3->fault, S3_INVALID_RANGE, NULL);
	}
	if (!ranged)
		return S3_OK;
	*piece = (struct s3_piece){ .status = 206, .first = found.first, .len = found.len };
	return S3_OK;
}

struct part_sum {
	struct s3 *s3;
	unsigned int number;
};

static int take_part_sum(void *arg, const char *bucket, const struct name_entry *part)
{
	const struct part_sum *p = arg;
	json_t *meta = part->part == p->number ? s3_meta_of_entry(part) : NULL;

	(void)bucket;
	if (meta)
		s3_add_checksum(p->s3, meta);
	json_decref(meta);
	return 1;
}

/* The checksum of a part is kept with it. */
static enum s3_error add_part_checksum(struct s3 *s3, const struct name_entry *entry,
				       unsigned int number)
{
	struct part_sum p = { s3, number };
	bool more;
	int rc = names_parts(s3->ep->names, s3->bucket, entry->version, number - 1, 1, true,
			     take_part_sum, &p, &more);

	return rc < 0 ? s3_names_error(s3, rc, S3_INTERNAL) : S3_OK;
}

/* partNumber=N: the bytes of that part, and how many there are. */
static enum s3_error find_part(struct s3 *s3, const struct name_entry *entry, struct s3_piece *piece)
{
	const char *text = s3_query(s3, "partNumber");
	struct http_range range;
	unsigned int number;
	char count[12];
	enum s3_error error;

	if (s3_header(s3, "Range"))
		return s3_fault(&s3->fault, S3_INVALID_REQUEST, "Cannot specify both Range header and partNumber query parameter");
	error = s3_number_parse(&number, text, 1, S3_PARTS_MAX, "partNumber", &s3->fault);
	if (!error)
		error = s3_part_range(s3, entry, number, &range);
	if (error)
		return error;
	*piece = (struct s3_piece){ .status = entry->size ? 206 : 200,
				    .first = range.first,
				    .len = range.len,
				    .whole = !entry->nparts };
	if (!entry->nparts)
		return S3_OK;
	snprintf(count, sizeof(count), "%u", entry->nparts);
	http_add_header(s3->req, "x-amz-mp-parts-count", count);
	return s3_header_is(s3, "x-amz-checksum-mode", "ENABLED")
		       ? add_part_checksum(s3, entry, number)
		       : S3_OK;
}

static void add_content_range(struct s3 *s3, const struct name_entry *entry, const struct s3_piece *piece)
{
	char text[80];

	if (piece->status != 206)
		return;
	snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, piece->first,
		 piece->first + piece->len - 1, entry->size);
	http_add_header(s3->req, "Content-Range", text);
}

const char *s3_get_tell(struct s3 *s3, const struct name_entry *entry, const json_t *meta, const char *etag, bool whole)
{
	const char *type;

	s3_add_header(s3, "ETag", etag);
	s3_add_header(s3, "Accept-Ranges", "bytes");
	type = s3_meta_answer(s3, entry, meta, whole);
	if (entry->current || !s3->version)
		s3_add_expiration(s3, entry, meta);
	/* By path the host is the gateways', whose console a script of an object would be part of. */
	if (!s3->target.virtual_host && !media_type_is_inert(type))
		s3_add_header(s3, "Content-Security-Policy", MEDIA_TYPE_SANDBOX);
	return type;
}

static enum s3_error serve(struct s3 *s3, const struct name_entry *entry, const json_t *meta)
{
	struct s3_conditions asked = { s3_header(s3, "If-Match"), s3_header(s3, "If-None-Match"),
				       s3_header(s3, "If-Modified-Since"), s3_header(s3, "If-Unmodified-Since") };
	struct s3_piece piece;
	char etag[S3_ETAG_MAX];
	enum s3_error error;

	s3_etag(entry, etag);
	error = s3_conditions_read(&asked, etag, entry->modified);
	if (error == S3_NOT_MODIFIED) {
		http_add_header(s3->req, "ETag", etag);
		s3_add_modified(s3, entry);
		s3_add_version(s3, entry);
	}
	if (error)
		return s3_fault(&s3->fault, error, NULL);
	error = s3_query(s3, "partNumber") ? find_part(s3, entry, &piece) : find_range(s3, entry, etag, &piece);
	if (error)
		return error;
	add_content_range(s3, entry, &piece);
	piece.type = s3_get_tell(s3, entry, meta, etag, piece.whole);
	atomic_fetch_add(&s3->ep->counts.gets, 1);
	return s3_send(s3, entry, meta, &piece);
}

static enum s3_error serve_entry(struct s3 *s3, const struct name_entry *entry)
{
	json_t *meta = s3_meta_of_entry(entry);
	enum s3_error error = meta ? S3_OK : S3_INTERNAL;

	if (!error && s3->denied)
		error = s3_may_object(s3, NULL, s3->bucket, s3->key, s3->version, meta);
	if (!error)
		error = serve(s3, entry, meta);
	json_decref(meta);
	return error;
}

/* ---- the operation ---- */

/* What is hot is answered at once, without a worker. */
static enum s3_error serve_hot(struct s3 *s3)
{
	struct name_entry entry;

	if (!version_text_valid(s3->version) ||
	    names_get_version_now(s3->ep->names, s3->bucket, s3->key, s3->version, &entry) || entry.marker ||
	    !s3_is_hot(s3, &entry))
		return S3_OK;
	return serve_entry(s3, &entry);
}

static bool has_override(const struct s3 *s3)
{
	for (unsigned int i = 0; i < s3->target.nquery; i++)
		if (!strncmp(s3->target.query[i].name, "response-", 9))
			return true;
	return false;
}

enum s3_error s3_get_begin(struct s3 *s3)
{
	const char *unknown = s3_override_unknown(s3);

	/* The object's own ACL may allow what nothing else does: that is seen when it was found. */
	s3->denied = s3_may(s3, NULL, s3->bucket, s3->key, s3->version) != S3_OK;
	if (has_override(s3) && s3->sig.kind == SIGV4_NONE && !s3->who.user[0])
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"Request specific response headers cannot be used for anonymous GET requests.");
	if (unknown)
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT,
				"%.80s is not in the set of overridable response headers.",
				unknown);
	return s3->denied ? S3_OK : serve_hot(s3);
}

void s3_get_run(struct s3 *s3)
{
	struct name_entry *entry = malloc(sizeof(*entry));
	enum s3_error error = entry ? S3_OK : S3_SERVICE_UNAVAILABLE;

	if (!error)
		error = s3_find(s3, s3->bucket, s3->key, s3->version, entry);
	/* That a key is not there is told to who may list the bucket (s3_find), and it. */
	if (error && s3->denied &&
	    (error != S3_NO_SUCH_KEY || s3_may(s3, "s3:ListBucket", s3->bucket, s3->key, NULL)))
		error = s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL);
	if (!error)
		error = serve_entry(s3, entry);
	if (error && !s3->answered)
		s3_reply_error(s3, error);
	free(entry);
}
