/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_dataset.c -- changes of a dataset's bucket by S3: files go through the upload service, which checks them, and not to an
 * endpoint. PutObject brings the file in its body. Of a multipart upload the parts wait at the endpoints, where nobody sees them
 * as an object; CompleteMultipartUpload gets them from there as one stream, has them checked, and removes them when the file was
 * accepted. DeleteObject and DeleteObjects remove a file with all that was made of it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/gateway/s3_dataset_int.h"
#include "http/s3/xml_in.h"
#include "http/s3/xml_out.h"

#define FORGET_TOKEN_S 60

static int new_file(struct s3_dataset *d)
{
	struct uploads_file_order order = { .who = &d->who,
					    .dataset = d->target.bucket,
					    .file = d->target.key,
					    .how = "s3",
					    .size = d->size,
					    .if_match = http_header(d->req, "If-Match"),
					    .if_none_match = http_header(d->req, "If-None-Match"),
					    .answer = s3_dataset_outcome,
					    .arg = d };

	return uploads_file_new(&d->file, d->gw->uploads, d->req, &order);
}

/* ---- PutObject ---- */

static void put_work(struct http_req *req, void *arg)
{
	struct s3_call *call = http_state(req);
	struct s3_dataset *d = call->dataset;
	int rc = new_file(d);

	(void)arg;
	if (rc)
		s3_dataset_reply(d, s3_dataset_error(d, rc));
}

static enum http_next put_begin(struct s3_dataset *d)
{
	if (d->size != UINT64_MAX && d->size > d->max)
		return s3_dataset_reply(d, s3_dataset_error(d, -EFBIG));
	return http_work(d->req, put_work, NULL);
}

static int put_bytes(void *arg, const void *data, size_t len)
{
	return uploads_file_bytes(arg, data, len);
}

static enum http_next put_end(struct s3_dataset *d)
{
	enum s3_error error = s3_digest_end(d->digest, d->etag, &d->fault);
	int rc;

	if (error)
		return s3_dataset_reply(d, error);
	rc = uploads_file_end(d->file);
	return rc ? s3_dataset_reply(d, s3_dataset_error(d, rc)) : HTTP_LATER;
}

/* ---- DeleteObject, DeleteObjects ---- */

/* version NULL: none said. */
static int delete_one(struct s3_dataset *d, const char *key, const char *version, const char *if_match)
{
	int rc;

	if (version && strcmp(version, "null"))
		return -ENOTSUP;
	rc = uploads_file_may(d->gw->uploads, d->req, &d->who, RIGHT_DELETE, d->target.bucket, key, NULL);

	if (!rc)
		rc = uploads_file_delete(d->gw->uploads, d->req, &d->who, d->target.bucket, key, if_match);
	else if (rc == -ENOENT)
		rc = -EACCES;
	return rc == -ENOENT ? 0 : rc; /* what is not there is deleted */
}

static void reply_deleted(struct s3_dataset *d)
{
	int rc = delete_one(d, d->target.key, s3_target_query(&d->target, "versionId"), http_header(d->req, "If-Match"));

	if (rc) {
		s3_dataset_reply(d, s3_dataset_error(d, rc));
		return;
	}
	http_add_header(d->req, "x-amz-request-id", http_id(d->req));
	http_reply(d->req, 204, NULL, NULL, 0);
}

static void reply_deleted_many(struct s3_dataset *d)
{
	struct s3_deletes list = { 0 };
	enum s3_error error = s3_in_delete(&list, d->text ? d->text : "", d->len, &d->fault);
	struct xml xml;
	size_t len = 0;
	char *text;

	if (error) {
		s3_dataset_reply(d, error);
		return;
	}
	s3_out_delete_begin(&xml);
	for (size_t i = 0; i < list.n; i++) {
		const struct s3_delete *item = &list.items[i];
		int rc = delete_one(d, item->key, *item->version ? item->version : NULL, *item->etag ? item->etag : NULL);

		d->fault.error = S3_OK;
		error = rc ? s3_dataset_error(d, rc) : S3_OK;
		if (rc)
			s3_out_delete_error(&xml, item->key, item->version, s3_error_code(error),
					    d->fault.error ? d->fault.message : s3_error_message(error));
		else if (!list.quiet)
			s3_out_deleted(&xml, item->key, item->version, false, NULL);
	}
	text = s3_out_delete_end(&xml, &len);
	s3_deletes_free(&list);
	http_add_header(d->req, "x-amz-request-id", http_id(d->req));
	if (text)
		http_reply_owned(d->req, 200, S3_XML_TYPE, text, len);
	else
		http_reply(d->req, 503, NULL, NULL, 0);
}

/* ---- CompleteMultipartUpload ---- */

/* What the endpoint sends: the parts as one stream, or why not, in S3's XML. */
static int on_parts(void *arg, const struct httpc_answer *head)
{
	struct s3_dataset *d = arg;

	if (head->status != 200)
		return 0;
	snprintf(d->etag, sizeof(d->etag), "%.*s", (int)strcspn(head->etag + 1, "\""), head->etag[0] ? head->etag + 1 : "");
	d->size = head->content_length;
	d->rc = new_file(d);
	return d->rc;
}

static int on_bytes(void *arg, const void *data, size_t len)
{
	struct s3_dataset *d = arg;

	if (d->file) {
		s3_dataset_tick(d);
		return d->rc = uploads_file_bytes(d->file, data, len);
	}
	if (d->room - d->len < len) { /* the error's document */
		char *more = realloc(d->text, d->len + len + 1);

		if (!more)
			return -ENOMEM;
		d->text = more;
		d->room = d->len + len + 1;
	}
	memcpy(d->text + d->len, data, len);
	d->len += len;
	return 0;
}

/* The parts are no longer needed; what is left of them when this fails, the upload's expiry removes. */
static void forget_parts(struct s3_dataset *d)
{
	struct token_scope scope = { .rights = RIGHT_WRITE | RIGHT_DELETE, .exact = true, .via_gateway = true, .expires = time(NULL) + FORGET_TOKEN_S };
	char token[TOKEN_MAX], base[256], node[64], *url = NULL, *authorization = NULL, *key = http_percent_encode(d->target.key, true);
	struct httpc_answer answer = { 0 };

	memcpy(scope.user, d->who.user, sizeof(scope.user));
	snprintf(scope.bucket, sizeof(scope.bucket), "%s", d->target.bucket);
	snprintf(scope.prefix, sizeof(scope.prefix), "%s", d->target.key);
	if (key && !users_sign(d->gw->users, &scope, token) && !s3_pick(d->gw, NULL, 0, base, node) &&
	    asprintf(&authorization, "Authorization: Bearer %s", token) >= 0 &&
	    asprintf(&url, "%s" S3_INSIDE "/%s/%s?uploadId=%s", base, d->target.bucket, key, s3_target_query(&d->target, "uploadId")) >= 0) {
		const char *headers[] = { authorization, NULL };
		struct httpc_call call = { .method = "DELETE", .url = url, .headers = headers, .timeout_ms = 10000 };

		httpc_do(d->gw->client, &call, &answer);
		httpc_answer_free(&answer);
	}
	free(url);
	free(authorization);
	free(key);
}

static int get_parts(struct s3_dataset *d, struct httpc_answer *answer)
{
	char base[256], node[64], *url = NULL, *body = d->text;
	struct httpc_call call = { .method = "POST",
				   .headers = (const char *const *)d->lines,
				   .body = body ? body : "",
				   .body_len = d->len,
				   .on_head = on_parts,
				   .on_data = on_bytes,
				   .arg = d };
	int rc = s3_pick(d->gw, NULL, 0, base, node);

	d->text = NULL;
	d->len = d->room = 0;
	if (!rc && asprintf(&url, "%s" S3_INSIDE "%s", base, http_target(d->req)) < 0)
		rc = -ENOMEM;
	call.url = url;
	if (!rc)
		rc = httpc_do(d->gw->client, &call, answer);
	free(url);
	free(body);
	return rc;
}

static void reply_completed(struct s3_dataset *d)
{
	struct httpc_answer answer = { 0 };
	int rc = get_parts(d, &answer);
	long status = answer.status;

	httpc_answer_free(&answer);
	if (d->rc) {
		s3_dataset_reply(d, s3_dataset_error(d, d->rc));
	} else if (rc) {
		s3_dataset_say(d, S3_SERVICE_UNAVAILABLE, "The parts cannot be had from the endpoints at the moment; try again.");
	} else if (!d->file) { /* as the endpoint says it */
		s3_dataset_pass_on(d, (unsigned int)status, d->text, d->len);
		d->text = NULL;
	} else if ((rc = uploads_file_end(d->file))) {
		s3_dataset_reply(d, s3_dataset_error(d, rc));
	} else {
		s3_dataset_wait(d);
		if (d->accepted)
			forget_parts(d);
	}
}

/* ---- one request ---- */

static void dataset_free(struct s3_dataset *d)
{
	if (d->slow)
		atomic_fetch_sub(&d->gw->s3_slow, 1);
	uploads_file_drop(d->file);
	s3_digest_free(d->digest);
	s3_target_free(&d->target);
	s3_lines_free(d->lines);
	early_free(d->early);
	free(d->text);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->changed);
	free(d);
}

static bool is_ours(enum s3_op op)
{
	return op == S3_OP_PutObject || op == S3_OP_DeleteObject || op == S3_OP_DeleteObjects || op == S3_OP_CompleteMultipartUpload;
}

static bool parse(struct s3_dataset *d)
{
	const char *domains[] = { d->gw->s3_domain, NULL };
	struct s3_choice choice = { .copy_source = http_header(d->req, "x-amz-copy-source"), .content_type = http_header(d->req, "Content-Type") };
	struct s3_fault fault;

	return !s3_target_parse(&d->target, http_header(d->req, "Host"), http_target(d->req), domains, &fault) && *d->target.bucket &&
	       uploads_owns(d->gw->uploads, d->target.bucket) &&
	       !s3_operation_of(&d->op, http_method(d->req), &d->target, &choice, &fault) && is_ours(d->op->op);
}

static enum http_next begin(struct s3_dataset *d, struct s3_asked *a)
{
	const char *sha256 = http_header(d->req, "x-amz-content-sha256");
	enum s3_error error;
	int rc = 0;

	d->who = a->key.scope;
	/* A session's cookie is the console's: browsers send it with what other pages ask, and no client of S3 has one. What is
	 * carried to endpoints never takes it either. */
	if (a->sig.kind == SIGV4_NONE && (access_is_cookie(d->req) || access_identify(d->req, d->gw->users, &d->who)))
		memset(&d->who, 0, sizeof(d->who)); /* a stranger */
	if (!d->who.user[0])
		return s3_dataset_reply(d, S3_ACCESS_DENIED);
	if (d->op->op == S3_OP_PutObject || d->op->op == S3_OP_CompleteMultipartUpload)
		rc = uploads_file_may(d->gw->uploads, d->req, &d->who, RIGHT_WRITE, d->target.bucket, d->target.key, &d->max);
	if (rc)
		return s3_dataset_reply(d, s3_dataset_error(d, rc));
	/* A stream of unsigned chunks needs no signature. */
	if (a->sig.kind == SIGV4_NONE && sha256 && !strcmp(sha256, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"))
		a->sig.payload = SIGV4_STREAM_UNSIGNED_TRAILER;
	error = s3_digest_new(&d->digest, d->req, &a->sig, a->key.key, d->op->op == S3_OP_CompleteMultipartUpload, &d->size,
			      &d->fault);
	if (error)
		return s3_dataset_reply(d, error);
	if (d->op->op == S3_OP_PutObject)
		return put_begin(d);
	d->lines = s3_compose(d->req, a);
	return d->lines ? HTTP_CONTINUE : s3_dataset_reply(d, S3_SERVICE_UNAVAILABLE);
}

bool s3_dataset_begin(struct gateway *gw, struct http_req *req, struct s3_asked *a, struct s3_call *call, enum http_next *next)
{
	enum http_method method = http_method(req);
	pthread_condattr_t monotonic;
	struct s3_dataset *d;

	if (method != HTTP_PUT && method != HTTP_POST && method != HTTP_DELETE)
		return false;
	d = calloc(1, sizeof(*d));
	if (!d)
		return false;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&d->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	d->gw = gw;
	d->req = req;
	if (!parse(d)) {
		s3_dataset_done(d);
		return false;
	}
	call->dataset = d;
	*next = begin(d, a);
	return true;
}

static int gather(void *arg, const void *data, size_t len)
{
	struct s3_dataset *d = arg;

	if (d->len + len > S3_XML_MAX)
		return -E2BIG;
	if (d->room - d->len < len + 1) {
		size_t room = (d->len + len + 1) * 2;
		char *more = realloc(d->text, room);

		if (!more)
			return -ENOMEM;
		d->text = more;
		d->room = room;
	}
	memcpy(d->text + d->len, data, len);
	d->len += len;
	d->text[d->len] = '\0';
	return 0;
}

enum http_next s3_dataset_body(struct s3_dataset *d, const void *data, size_t len, size_t *taken)
{
	enum s3_error error;
	int rc;

	*taken = d->file ? uploads_file_room(d->file, len) : len;
	error = s3_digest_take(d->digest, data, *taken, d->file ? put_bytes : gather, d->file ? (void *)d->file : d, &rc);
	if (error)
		return s3_dataset_reply(d, error);
	if (rc == -E2BIG)
		return s3_dataset_reply(d, S3_MAX_MESSAGE_LENGTH);
	return rc ? s3_dataset_reply(d, s3_dataset_error(d, rc)) : HTTP_CONTINUE;
}

static void end_work(struct http_req *req, void *arg)
{
	struct s3_call *call = http_state(req);
	struct s3_dataset *d = call->dataset;

	(void)arg;
	if (d->op->op == S3_OP_DeleteObject)
		reply_deleted(d);
	else if (d->op->op == S3_OP_DeleteObjects)
		reply_deleted_many(d);
	else
		reply_completed(d);
	if (d->early && early_leave(d->early, true))
		dataset_free(d);
}

enum http_next s3_dataset_end(struct s3_dataset *d)
{
	enum s3_error error;

	if (d->op->op == S3_OP_PutObject)
		return put_end(d);
	error = s3_digest_end(d->digest, d->etag, &d->fault);
	if (error)
		return s3_dataset_reply(d, error);
	if (d->op->op == S3_OP_DeleteObject)
		return http_work(d->req, end_work, NULL);
	d->slow = true;
	if (atomic_fetch_add(&d->gw->s3_slow, 1) >= S3_SLOW_MAX)
		return s3_dataset_reply(d, S3_SLOW_DOWN);
	return http_work_slow(d->req, end_work, NULL);
}

/* While the worker still has it, it is the worker's to free. */
void s3_dataset_done(struct s3_dataset *d)
{
	if (d && (!d->early || early_leave(d->early, false)))
		dataset_free(d);
}
