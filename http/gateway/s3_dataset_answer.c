/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_dataset_answer.c -- what a client of S3 is told of its change of a dataset: at the end, or, when an upload that is completed is
 * checked for long, as an answer that begins with blanks (early.h), in whose body the verdict comes, as Amazon says of
 * CompleteMultipartUpload.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/gateway/s3_dataset_int.h"
#include "http/s3/count.h"
#include "http/s3/xml_out.h"
#include "lib/clock.h"

#define RETRY_S "5" /* a check that takes seconds has ended then, and one that takes minutes is asked for not too often */
#define TICK_MS 200 /* between looks whether a blank is due */

static const char declaration[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

enum http_next s3_dataset_say(struct s3_dataset *d, enum s3_error error, const char *message)
{
	size_t len = 0;
	char *text;

	if (!d->early) {
		if (error == S3_SLOW_DOWN)
			http_add_header(d->req, "Retry-After", RETRY_S);
		return s3_reply_error(d->gw, d->req, error, message);
	}
	text = s3_error_xml(error, message, NULL, d->id, d->gw->node, NULL, &len);
	s3_counts_add(d->gw->s3_counts, &(struct s3_counted){ .code = s3_error_code(error), .sent = len });
	early_say(d->early, text, len);
	return HTTP_ANSWERED;
}

enum http_next s3_dataset_reply(struct s3_dataset *d, enum s3_error error)
{
	return s3_dataset_say(d, error, d->fault.error == error ? d->fault.message : NULL);
}

void s3_dataset_pass_on(struct s3_dataset *d, unsigned int status, char *text, size_t len)
{
	if (d->early) {
		early_say(d->early, text, len);
		return;
	}
	http_add_header(d->req, "x-amz-request-id", http_id(d->req));
	if (text)
		http_reply_owned(d->req, status, S3_XML_TYPE, text, len);
	else
		http_reply(d->req, status, S3_XML_TYPE, "", 0);
}

enum s3_error s3_dataset_error(struct s3_dataset *d, int rc)
{
	switch (rc) {
	case -EACCES:
		return s3_fault(&d->fault, S3_ACCESS_DENIED, "%s may read the dataset %s, not change it.", d->who.user, d->target.bucket);
	case -ENOENT:
		return S3_ACCESS_DENIED;
	case -EINVAL:
		return s3_fault(&d->fault, S3_INVALID_ARGUMENT,
				"A dataset's file has 1 to 240 bytes of UTF-8 without control characters, no empty, . or .. between slashes, "
				"does not begin with .weir/ or derived/, and has no folder keys or versions within.");
	case -ENOTSUP:
		return s3_fault(&d->fault, S3_NOT_IMPLEMENTED,
				"%s is a dataset, whose files have no versions of their own to delete; nothing was deleted. Without a version "
				"id the file is deleted, with what was made of it.",
				d->target.bucket);
	case -EFBIG:
		return s3_fault(&d->fault, S3_ENTITY_TOO_LARGE, "The dataset takes files of at most %llu bytes.", (unsigned long long)d->max);
	case -EMSGSIZE:
		return S3_INCOMPLETE_BODY;
	case -ECANCELED:
		return S3_PRECONDITION_FAILED;
	case -EDQUOT:
		return s3_fault(&d->fault, S3_SLOW_DOWN, "You have too many unfinished uploads; end or cancel some.");
	case -ENOSPC:
		return s3_fault(&d->fault, S3_SLOW_DOWN, "There is no room for so many bytes of unfinished uploads; try later.");
	case -EPERM:
		return s3_fault(&d->fault, S3_OPERATION_ABORTED, "The upload was cancelled.");
	case -EAGAIN:
		return s3_fault(&d->fault, S3_SERVICE_UNAVAILABLE, "No endpoint can be reached at the moment; try again.");
	default:
		return s3_fault(&d->fault, S3_INTERNAL, "The bytes could not be kept: %s", strerror(-rc));
	}
}

static char *completed_xml(struct s3_dataset *d, const char *quoted, size_t *len)
{
	char *location = NULL, *encoded = http_percent_encode(d->target.key, true), *text = NULL;

	if (encoded && asprintf(&location, "%s://%s/%s/%s", d->is_https ? "https" : "http", d->host, d->target.bucket, encoded) >= 0)
		text = s3_out_upload_complete(location, d->target.bucket, d->target.key, quoted, &(struct s3_checksum_text){ .algorithm = "" }, len);
	free(location);
	free(encoded);
	return text;
}

/* What an answer says of the request: it may be over when that is wanted. */
static void keep_request(struct s3_dataset *d)
{
	const char *host = http_header(d->req, "Host");

	snprintf(d->host, sizeof(d->host), "%s", host ? host : "");
	snprintf(d->id, sizeof(d->id), "%s", http_id(d->req));
	d->is_https = access_is_https(d->req);
}

static void reply_accepted(struct s3_dataset *d, const struct uploads_outcome *o)
{
	char quoted[84], *text;
	size_t len = 0;

	snprintf(quoted, sizeof(quoted), "\"%s\"", d->etag);
	if (d->early) {
		text = completed_xml(d, quoted, &len);
		early_say(d->early, text, len);
		return;
	}
	http_add_header(d->req, "X-Weir-Upload", o->id);
	http_add_header(d->req, "x-amz-request-id", http_id(d->req));
	http_add_header(d->req, "x-amz-id-2", d->gw->node);
	if (d->op->op == S3_OP_PutObject) {
		http_add_header(d->req, "ETag", quoted);
		http_reply(d->req, 200, NULL, NULL, 0);
		return;
	}
	keep_request(d);
	text = completed_xml(d, quoted, &len);
	if (text)
		http_reply_owned(d->req, 200, S3_XML_TYPE, text, len);
	else
		http_reply(d->req, 503, NULL, NULL, 0);
}

static void reply_rejected(struct s3_dataset *d, const struct uploads_outcome *o)
{
	char message[1024], *text;
	size_t len = 0;

	snprintf(message, sizeof(message), "%s does not keep the rules of %s: %llu findings, the first: %s See /#/uploads/%s.", d->target.key,
		 d->target.bucket, o->findings, o->first, o->id);
	if (d->early) {
		text = s3_code_xml("UploadRejected", message, d->id, d->gw->node, &len);
		early_say(d->early, text, len);
		return;
	}
	http_add_header(d->req, "X-Weir-Upload", o->id);
	s3_reply_code(d->gw, d->req, 422, "UploadRejected", message);
}

static void reply_outcome(struct s3_dataset *d, const struct uploads_outcome *o)
{
	switch (o->what) {
	case UPLOAD_ACCEPTED:
	case UPLOAD_STORING:
		reply_accepted(d, o);
		break;
	case UPLOAD_REJECTED:
		reply_rejected(d, o);
		break;
	case UPLOAD_CONDITION:
		s3_dataset_reply(d, S3_PRECONDITION_FAILED);
		break;
	case UPLOAD_CANCELLED:
		s3_dataset_reply(d, s3_dataset_error(d, -EPERM));
		break;
	case UPLOAD_STOPPING:
		s3_dataset_say(d, S3_SERVICE_UNAVAILABLE, "The gateway stops; the upload goes on when it is back.");
		break;
	default:
		s3_dataset_say(d, S3_INTERNAL, o->why);
	}
}

/* Under the upload's lock, on any thread. */
void s3_dataset_outcome(void *arg, struct http_req *req, const struct uploads_outcome *o)
{
	struct s3_dataset *d = arg;

	(void)req;
	pthread_mutex_lock(&d->lock);
	reply_outcome(d, o);
	d->answered = true;
	d->accepted = o->what == UPLOAD_ACCEPTED || o->what == UPLOAD_STORING;
	pthread_cond_signal(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

/* ---- an answer that begins before the end ---- */

static void begin(struct s3_dataset *d)
{
	struct early *early = early_new(declaration);
	struct http_req *req = d->req;

	if (!early)
		return; /* it is answered at the end */
	if (d->file)
		uploads_file_leave(d->file);
	pthread_mutex_lock(&d->lock);
	if (d->answered) {
		early_free(early);
	} else {
		keep_request(d);
		http_add_header(req, "x-amz-request-id", d->id);
		http_add_header(req, "x-amz-id-2", d->gw->node);
		d->early = early;
		d->req = NULL;
		early_begin(early, req, S3_XML_TYPE);
	}
	pthread_mutex_unlock(&d->lock);
}

/* A client that goes away ends nothing: what it completes is checked all the same, as it was before the answer began. */
void s3_dataset_tick(struct s3_dataset *d)
{
	if (!early_is_due(&d->due_ms))
		return;
	if (d->early)
		early_blank(d->early);
	else
		begin(d);
}

void s3_dataset_wait(struct s3_dataset *d)
{
	bool answered = false;

	while (!answered) {
		struct timespec until = clock_in_ms(CLOCK_MONOTONIC, TICK_MS);

		pthread_mutex_lock(&d->lock);
		while (!d->answered && !pthread_cond_timedwait(&d->changed, &d->lock, &until))
			;
		answered = d->answered;
		pthread_mutex_unlock(&d->lock);
		if (!answered)
			s3_dataset_tick(d);
	}
}
