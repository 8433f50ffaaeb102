/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_send.c -- the bytes of an object to an S3 client: from this disk, or from an endpoint that has them.
 */
#include <errno.h>

#include "http/s3/range.h"
#include "http/store/answer.h"
#include "http/store/reader.h"
#include "http/store/repair.h"
#include "http/store/s3_ops.h"
#include "http/store/parts.h"

enum s3_error s3_part_range(struct s3 *s3, const struct name_entry *entry, unsigned int number, struct http_range *out)
{
	int rc;

	if (entry->nparts) {
		rc = parts_find(s3->ep, s3->bucket, entry, number, &out->first, &out->len);
		return rc == -ENOENT ? s3_fault(&s3->fault, S3_INVALID_PART_NUMBER, NULL) : rc ? s3_names_error(s3, rc, S3_INTERNAL) : S3_OK;
	}
	if (s3_range_part(out, number, NULL, 0, entry->size))
		return s3_fault(&s3->fault, S3_INVALID_PART_NUMBER, NULL);
	return S3_OK;
}

bool s3_is_hot(struct s3 *s3, const struct name_entry *entry)
{
	struct version v;
	struct held *held;
	bool hot;

	if (http_method(s3->req) == HTTP_HEAD)
		return !entry->nparts || !s3_query(s3, "partNumber"); /* names are asked for the parts */
	if (parts_needed(entry) || version_parse(&v, entry->version))
		return false;
	held = held_hot(s3->ep->held, &v);
	if (!held)
		return false;
	hot = told_body(held) || held_ready(held, 0, entry->size);
	if (hot)
		s3->held = held; /* s3_send() takes it */
	else
		held_put(held);
	return hot;
}

/* A small object's bytes are kept with its ready answer of the plain interface, checked. */
static struct http_cached *kept_body(struct s3 *s3, struct held *held, const struct name_entry *entry, const struct s3_piece *piece)
{
	struct http_cached *body = told_body(held);
	struct told told;

	if (piece->status != 200 || piece->len != entry->size || piece->len > TOLD_SMALL_MAX)
		return NULL;
	if (body)
		return body;
	told_fill(&told, s3->ep, s3->bucket, entry);
	return told_small(s3->ep, held, &told);
}

/* Of a lost key Amazon says 400, too (KMS.DisabledException, KMS.NotFoundException): clients try again after every 5xx, which for this
 * object never helps. The code is not one of those, because no KMS is asked here. */
enum http_next s3_send_refuse(void *arg, int rc, const char *sentence)
{
	enum s3_error error = rc == -EKEYREJECTED ? S3_ENCRYPTION_KEY_LOST : S3_SERVICE_UNAVAILABLE;
	struct s3 *s3 = arg;

	s3_fault(&s3->fault, error, "%s", sentence);
	s3_reply_error(s3, error);
	return HTTP_ANSWERED;
}

enum s3_error s3_send(struct s3 *s3, const struct name_entry *entry, const json_t *meta, const struct s3_piece *piece)
{
	struct reader_job job = { .status = piece->status,
				  .first = piece->first,
				  .len = piece->len,
				  .head = http_method(s3->req) == HTTP_HEAD,
				  .type = piece->type,
				  .holders = entry->holders,
				  .nholders = entry->nholders,
				  .kept = &s3->reader,
				  .refuse = s3_send_refuse,
				  .refuse_arg = s3 };
	struct http_cached *body;
	struct held *held = NULL;
	int rc;

	if (version_parse(&job.version, entry->version))
		return s3_fault(&s3->fault, S3_INTERNAL, NULL);
	s3_add_ids(s3);
	s3->answered = true;
	s3_seen_answer(s3, NULL, job.head ? 0 : job.len);
	if (job.head) {
		reader_reply_local(s3->ep, s3->req, NULL, &job);
		return S3_OK;
	}
	if (entry->nparts || s3_meta_text(meta, S3_META_KEY)) {
		parts_reply(s3->ep, s3->req, s3->bucket, entry, &job, &s3->parts);
		return S3_OK;
	}
	held = s3->held;
	s3->held = NULL;
	rc = held ? 0 : held_get(s3->ep->held, &job.version, &held);
	body = rc ? NULL : kept_body(s3, held, entry, piece);
	if (body) {
		http_reply_cached_body(s3->req, 200, piece->type, body);
		held_put(held);
		return S3_OK;
	}
	if (!rc) {
		reader_reply_local(s3->ep, s3->req, held, &job);
		held_put(held);
		return S3_OK;
	}
	if (rc == -EBADMSG)
		repair_queue(s3->ep->repair, &job.version);
	else if (rc == -ENOENT)
		repair_missing(s3->ep->repair, s3->bucket, entry);
	reader_reply_relay(s3->ep, s3->req, &job);
	return S3_OK;
}
