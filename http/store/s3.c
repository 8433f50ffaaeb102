/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3.c -- S3 requests of an endpoint: which are S3's, and their way (s3.h).
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/store/object.h"
#include "http/store/reader.h"
#include "http/store/s3_ops.h"
#include "http/store/s3_choose.h"
#include "http/store/parts.h"

/* ---- which requests ---- */

static bool is_s3(struct endpoint *ep, struct http_req *req)
{
	return s3_request_is(http_target(req), http_header(req, "Authorization"), http_header(req, "Host"), ep->s3_domain);
}

static bool is_carried(struct http_req *req)
{
	const char *target = http_target(req);

	return target && !strncmp(target, S3_INSIDE_PATH "/", strlen(S3_INSIDE_PATH) + 1);
}

const struct http_route *s3_choose(struct http_req *req, void *arg)
{
	struct endpoint *ep = arg;

	return is_s3(ep, req) ? object_routes(ep) : NULL;
}

const struct http_route *s3_choose_inside(struct http_req *req, void *arg)
{
	(void)arg;
	return is_carried(req) ? &s3_inside_route : NULL;
}

/* Before begin there is no struct s3 yet, nor anything of the request to tell but what was wrong. */
static bool refuse(struct http_req *req, struct endpoint *ep, unsigned int status, const char *code, const char *sentence)
{
	struct s3 *s3 = http_state(req), none = { .ep = ep, .req = req, .bucket = "", .key = "" };
	enum s3_error error = s3_error_of_refusal(status, code);

	s3 = s3 ? s3 : &none;
	if (s3->answered)
		return false;
	s3_fault(&s3->fault, error, "%s", sentence);
	s3_reply_error(s3, error);
	return true;
}

bool s3_refuse(struct http_req *req, void *arg, unsigned int status, const char *code, const char *sentence)
{
	return is_s3(arg, req) && refuse(req, arg, status, code, sentence);
}

bool s3_refuse_inside(struct http_req *req, void *arg, unsigned int status, const char *code, const char *sentence)
{
	return is_carried(req) && refuse(req, arg, status, code, sentence);
}

/* ---- one request ---- */

/* The last one that ended, for the next: malloc() keeps nothing so large at hand. */
static _Atomic(struct s3 *) spare;

static struct s3 *s3_new(void)
{
	struct s3 *s3 = atomic_exchange(&spare, NULL);

	if (!s3)
		return calloc(1, sizeof(*s3));
	memset(s3, 0, sizeof(*s3));
	return s3;
}

static void s3_free(struct s3 *s3)
{
	OPENSSL_cleanse(s3->signing, sizeof(s3->signing));
	free(atomic_exchange(&spare, s3));
}

static enum s3_error read_target(struct s3 *s3)
{
	const char *raw = http_target(s3->req), *host = http_header(s3->req, "Host");
	const char *domains[2] = { s3->ep->s3_domain, NULL };
	struct s3_choice choice = { .copy_source = http_header(s3->req, "x-amz-copy-source"),
				    .content_type = http_header(s3->req, "Content-Type") };
	enum s3_error error;

	if (s3->inside) {
		raw += strlen(S3_INSIDE_PATH);
		host = http_header(s3->req, "X-Weir-S3-Host");
	}
	error = s3_target_parse(&s3->target, host, raw, domains, &s3->fault);
	s3->bucket = s3->target.bucket;
	s3->key = s3->target.key ? s3->target.key : "";
	if (error)
		return error;
	error = s3_operation_of(&s3->op, http_method(s3->req), &s3->target, &choice, &s3->fault);
	if (error && error != S3_NOT_IMPLEMENTED)
		return error;
	s3->version = s3_query(s3, "versionId");
	s3->handler = &s3_handlers[s3->op->op];
	if (error || (!s3->handler->begin && !s3->handler->run)) /* said to who may ask at all */
		s3->handler = NULL;
	return S3_OK;
}

/* Amazon's parameters and headers for what is not there are refused, and not taken for something else. */
static const char *header_of(void *arg, const char *name)
{
	return s3_header(arg, name);
}

/* Who reads does not choose it, nor does a part: its upload was begun with it. */
static enum s3_error check_encryption(struct s3 *s3, const char *asked)
{
	enum s3_op op = s3->op->op;

	if (asked && (op == S3_OP_GetObject || op == S3_OP_HeadObject || op == S3_OP_UploadPart ||
		      op == S3_OP_UploadPartCopy))
		return s3_fault(
			&s3->fault, S3_INVALID_ARGUMENT,
			"x-amz-server-side-encryption header is not supported for this operation.");
	if (asked && strcmp(asked, "AES256") != 0)
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT,
				"The encryption method specified is not supported");
	return S3_OK;
}

static enum s3_error check_rest(struct s3 *s3)
{
	const char *unsupported = s3->asks_more ? s3_header_unsupported(header_of, s3) : NULL;
	enum s3_error error = S3_OK;

	if (unsupported)
		return s3_fault(&s3->fault, S3_NOT_IMPLEMENTED, "What the header %s asks for is not implemented here.",
				unsupported);
	if (s3->asks_more)
		error = check_encryption(s3, s3_header(s3, "x-amz-server-side-encryption"));
	if (error)
		return error;
	if (s3->version && !*s3->version)
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Version id cannot be the empty string");
	/* A version that nothing would be done with must not be one that rights are told by. */
	if (s3->version && s3->op->action && !s3->op->action_version)
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "This operation does not accept a version-id.");
	return s3_owner_expected(s3, s3->config, "x-amz-expected-bucket-owner");
}

/* Rights and body; the bucket's record is known. */
static enum s3_error make_ready(struct s3 *s3)
{
	enum s3_error error = S3_OK;

	s3_cors_add(s3);
	if (s3->op->op == S3_OP_HeadBucket || s3->op->op == S3_OP_ListObjects ||
	    s3->op->op == S3_OP_ListObjectsV2)
		http_add_header(s3->req, "x-amz-bucket-region",
				s3->ep->s3_region); /* clients learn it from refusals, too */
	if (!s3->handler && !s3->who.user[0])
		return s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL);
	if (!s3->handler)
		return s3->fault.error == S3_NOT_IMPLEMENTED
			       ? S3_NOT_IMPLEMENTED
			       : s3_fault(&s3->fault, S3_NOT_IMPLEMENTED, "%s is not implemented here.", s3->op->name);
	if (!s3->handler->asks && s3->op->action)
		error = s3_may(s3, NULL, s3->bucket, s3->key, s3->version);
	if (error && s3->handler->looks && s3->unsure) {
		s3->denied = true;
		error = S3_OK;
	}
	if (!error)
		error = check_rest(s3);
	if (!error)
		error = s3_body_expect(s3, s3->ep->object_max < S3_PART_MAX ? s3->ep->object_max : S3_PART_MAX);
	if (!error && s3->handler->begin)
		error = s3->handler->begin(s3);
	return error;
}

static bool wants_bucket(const struct s3 *s3)
{
	return s3->op->level != S3_SERVICE && s3->op->op != S3_OP_CreateBucket;
}

/* The bucket came a moment ago, or there is none: the registry knows. Or begin asks names. */
static void begin_work(struct http_req *req, void *arg)
{
	struct s3 *s3 = http_state(req);
	enum s3_error error = S3_OK;

	(void)arg;
	/* A dataset has its bucket from the first day, the bucket its record from the first file on. */
	if (!s3->config && users_dataset(s3->ep->users, s3->bucket))
		buckets_ensure(s3->ep->buckets, s3->bucket, s3->who.user);
	if (!s3->config)
		s3->config = s3_bucket_find(s3, s3->bucket);
	if (!s3->config)
		error = S3_NO_SUCH_BUCKET;
	if (!error)
		error = make_ready(s3);
	if (error && !s3->answered)
		s3_reply_error(s3, error);
}

static enum http_next begin(struct http_req *req, void *arg, bool inside)
{
	struct s3 *s3 = s3_new();
	enum s3_error error;

	if (!s3)
		return http_reply_error(req, 503, "memory", "Out of memory; try again.");
	s3->ep = arg;
	s3->req = req;
	s3->inside = inside;
	s3->bucket = s3->key = "";
	s3_seen_begin(s3);
	http_set_state(req, s3);
	error = read_target(s3);
	if (!error)
		error = s3_identify(s3);
	if (!error && !s3->answered && *s3->bucket) {
		s3->config = users_bucket(s3->ep->users, s3->bucket);
		if (wants_bucket(s3) && (!s3->config || (s3->handler && s3->handler->waits)))
			return http_work(req, begin_work, NULL);
	}
	if (!error && !s3->answered)
		error = make_ready(s3);
	if (error && !s3->answered)
		s3_reply_error(s3, error);
	return s3->answered ? HTTP_ANSWERED : HTTP_CONTINUE;
}

static enum http_next begin_public(struct http_req *req, void *arg)
{
	return begin(req, arg, false);
}

static enum http_next begin_inside(struct http_req *req, void *arg)
{
	return begin(req, arg, true);
}

static enum http_next take_body(struct http_req *req, void *arg, const void *data, size_t len, size_t *taken)
{
	struct s3 *s3 = http_state(req);
	enum s3_error error;

	(void)arg;
	*taken = len;
	error = s3_body_add(s3, data, len);
	if (!error)
		return HTTP_CONTINUE;
	if (s3->body.upload)
		upload_discard(s3->body.upload); /* the client may take its time to hear it */
	if (!s3->answered)
		s3_reply_error(s3, error);
	return HTTP_ANSWERED;
}

/* The end of it, when neither the request nor a worker has it any more. */
static void s3_end(struct s3 *s3)
{
	s3_seen_done(s3);
	s3_body_free(s3);
	reader_detach(s3->reader);
	held_put(s3->held);
	parts_detach(s3->parts);
	if (s3->free_own)
		s3->free_own(s3->own);
	if (s3->failed)
		atomic_fetch_add(&s3->ep->counts.failed, 1);
	bucket_put(s3->config);
	s3_target_free(&s3->target);
	json_decref(s3->new_tags);
	free(s3->copy_source);
	s3_early_free(s3->early);
	s3_free(s3);
}

static void run_work(struct http_req *req, void *arg)
{
	struct s3 *s3 = http_state(req);
	enum s3_error error = s3_body_check(s3);

	(void)arg;
	if (!error && !s3->answered)
		s3->handler->run(s3);
	else if (!s3->answered)
		s3_reply_error(s3, error);
	if (!s3->answered)
		s3_reply_error(s3, S3_INTERNAL);
	if (s3->early && s3_early_leave(s3->early, true))
		s3_end(s3);
}

static enum http_next end(struct http_req *req, void *arg)
{
	return http_work(req, run_work, arg);
}

static void done(struct http_req *req, void *arg)
{
	struct s3 *s3 = http_state(req);

	(void)arg;
	if (s3 && (!s3->early || s3_early_leave(s3->early, false)))
		s3_end(s3);
}

#define ALL_METHODS ((1u << HTTP_METHODS) - 1)

/* What is too large is told in S3's own words: s3_body_expect(). */
const struct http_route s3_route = { ALL_METHODS, "s3", UINT64_MAX - 1, begin_public, take_body, end, done, NULL };
const struct http_route s3_inside_route = { ALL_METHODS, "i/s3", UINT64_MAX - 1, begin_inside, take_body, end, done, NULL };
