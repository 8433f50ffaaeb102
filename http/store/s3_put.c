/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_put.c -- PutObject, and how any object gets its name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/s3.h"
#include "http/store/s3_ops.h"

/* ---- naming ---- */

enum names_mode s3_names_mode(const struct s3 *s3)
{
	switch (s3->config ? s3->config->versioning : VERSIONING_OFF) {
	case VERSIONING_ENABLED:
		return NAMES_VERSIONED;
	case VERSIONING_SUSPENDED:
		return NAMES_SUSPENDED;
	default:
		return NAMES_PLAIN;
	}
}

enum s3_error s3_names_how(struct s3 *s3, struct names_how *how)
{
	struct s3_conditions asked = { .if_match = s3_header(s3, "If-Match"),
				       .if_none_match = s3_header(s3, "If-None-Match") };
	enum s3_error error = s3_conditions_write_valid(&asked, &s3->fault);

	*how = (struct names_how){ .mode = s3_names_mode(s3),
				   .if_match = asked.if_match,
				   .if_none_match = asked.if_none_match };
	return error;
}

static bool is_there(struct s3 *s3)
{
	struct name_entry *entry = malloc(sizeof(*entry));
	bool there = !entry || names_get(s3->ep->names, s3->bucket, s3->key, entry) != -ENOENT;

	free(entry);
	return there;
}

enum s3_error s3_put_refused(struct s3 *s3, int rc, const struct names_how *how,
			     enum s3_error missing)
{
	if (rc == -ECANCELED && how->if_match && !is_there(s3))
		rc = -ENOENT;
	return s3_names_error(s3, rc, how->if_match ? S3_NO_SUCH_KEY : missing);
}

enum s3_error s3_put_entry(struct s3 *s3, struct name_entry *entry, json_t *meta, const struct names_how *how)
{
	struct names_how with = *how;
	struct upload_nodes ideal;
	enum s3_error error;
	int rc;

	s3_meta_checksum(s3, meta);
	error = s3_meta_store(s3, meta, entry);
	if (error)
		return error;
	strcpy(entry->etag, s3->body.etag);
	rc = upload_store(s3->body.upload);
	if (rc)
		return s3_store_error(s3, rc);
	upload_entry(s3->body.upload, entry);
	entry->size = s3->body.size;
	memcpy(entry->sha256, s3->body.sha256, sizeof(entry->sha256));
	with.nideal = upload_ideal(s3->body.upload, &ideal);
	with.ideal = ideal.names;
	rc = names_put_with(s3->ep->names, s3->bucket, entry, &with, NULL);
	/* Closed, but there is a record: its removal was cut off, or `weir bucket` made it anew. */
	if (rc == -ENOENT && !buckets_open(s3->ep->buckets, s3->ep->names, s3->bucket))
		rc = names_put_with(s3->ep->names, s3->bucket, entry, &with, NULL);
	upload_named(s3->body.upload, rc);
	if (!rc) {
		atomic_fetch_add(&s3->ep->counts.puts, 1);
		return S3_OK;
	}
	return s3_put_refused(s3, rc, how, S3_NO_SUCH_BUCKET); /* it went meanwhile */
}

/* ---- PutObject ---- */

struct put {
	json_t *meta;
	struct names_how how;
};

static void put_free(void *own)
{
	struct put *put = own;

	json_decref(put->meta);
	free(put);
}

enum s3_error s3_put_begin(struct s3 *s3)
{
	struct put *put = calloc(1, sizeof(*put));
	enum s3_error error;

	if (!put)
		return S3_SERVICE_UNAVAILABLE;
	s3->own = put;
	s3->free_own = put_free;
	s3->encrypt = s3_encryption_asked(s3);
	s3_body_choose(s3, CHECKSUM_CRC64NVME); /* as Amazon: a few per cent of what MD5 costs */
	error = s3_meta_of_request(s3, &put->meta);
	if (!error)
		error = s3_names_how(s3, &put->how);
	if (!error)
		error = s3_body_store(s3, NULL);
	return error;
}

void s3_put_run(struct s3 *s3)
{
	struct name_entry *entry = calloc(1, sizeof(*entry));
	struct put *put = s3->own;
	enum s3_error error = entry ? S3_OK : S3_SERVICE_UNAVAILABLE;
	char etag[S3_ETAG_MAX];

	if (!error)
		error = s3_put_entry(s3, entry, put->meta, &put->how);
	if (error) {
		s3_reply_error(s3, error);
	} else {
		http_add_header(s3->req, "ETag", s3_etag(entry, etag));
		s3_add_version(s3, entry);
		s3_add_checksum(s3, put->meta);
		s3_add_expiration(s3, entry, put->meta);
		s3_add_encryption(s3, put->meta);
		s3_reply_empty(s3, 200);
	}
	free(entry);
}
