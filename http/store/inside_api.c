/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inside_api.c -- chunks in, data out, for other endpoints (inside_api.h). Everything is served
 * from this disk alone.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "http/store/inside_api.h"
#include "http/store/reader.h"
#include "http/store/repair.h"
#include "lib/log.h"

/* A chunk on its way in. */
struct arrival {
	struct endpoint *ep;
	struct version version;
	uint64_t number;
	struct staged *staged; /* lent by inbound; NULL once given back */
	uint8_t sha256[32];
	int rc; /* the first failure: the rest of the body is read and dropped */
};

static enum http_next reply_failure(struct http_req *req, int rc)
{
	switch (rc) {
	case -ENOSPC:
		return http_reply_error(req, 507, "full", "The disk of this endpoint is full.");
	case -ENOENT:
		return http_reply_error(req, 404, "unknown",
					"This endpoint does not hold that version.");
	case -EBUSY:
	case -ESTALE:
	case -EINVAL:
		return http_reply_error(req, 409, "order",
					"That chunk does not follow; begin with chunk 0.");
	case -EFBIG:
		return http_reply_error(req, 413, "size", "A chunk has at most 8 MiB.");
	case -EBADMSG:
		return http_reply_error(req, 500, "damaged",
					"The data do not have the hash they should.");
	case -EAGAIN:
	case -ENOMEM:
	case -EMFILE:
		return http_reply_error(req, 503, "busy", "Too many uploads at once; try again.");
	default:
		return http_reply_error(req, 500, "disk", "The disk failed: %s.", strerror(-rc));
	}
}

static bool number_parse(const char *text, uint64_t *out)
{
	char *end;

	if (!text || *text < '0' || *text > '9' || strlen(text) > 8)
		return false;
	*out = strtoull(text, &end, 10);
	return !*end;
}

static enum http_next chunk_begin(struct http_req *req, void *arg)
{
	const char *sha = http_header(req, "X-Weir-Sha256"),
		   *from = http_header(req, "X-Weir-From");
	struct endpoint *ep = arg;
	struct arrival *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return reply_failure(req, -ENOMEM);
	a->ep = ep;
	http_set_state(req, a);
	if (version_parse(&a->version, http_param(req, "version")) ||
	    !number_parse(http_param(req, "number"), &a->number) || !sha || strlen(sha) != 64 ||
	    hex_decode(sha, a->sha256, 32))
		return http_reply_error(req, 400, "malformed",
					"Wanted: /i/chunk/VERSION/NUMBER and X-Weir-Sha256.");
	rc = chunks_room(ep->chunks, http_content_length(req) == UINT64_MAX
					     ? CHUNK_SIZE
					     : http_content_length(req));
	if (!rc)
		rc = inbound_take(ep->inbound, &a->version, from ? from : "", a->number,
				  &a->staged);
	if (!rc)
		rc = staged_chunk_begin(a->staged, a->number);
	return rc ? reply_failure(req, rc) : HTTP_CONTINUE;
}

static enum http_next chunk_body(struct http_req *req, void *arg, const void *data, size_t len,
				 size_t *taken)
{
	struct arrival *a = http_state(req);

	(void)arg;
	if (!a->rc)
		a->rc = staged_chunk_add(a->staged, data, len);
	*taken = len;
	return HTTP_CONTINUE;
}

/* The last chunk is there: the whole version goes to stable storage. */
static void commit_work(struct http_req *req, void *arg)
{
	const char *text = http_header(req, "X-Weir-Manifest");
	struct arrival *a = http_state(req);
	struct endpoint *ep = arg;
	struct manifest m;
	int rc;

	rc = manifest_decode(&m, text, strlen(text));
	if (!rc && !version_equal(&m.version, &a->version))
		rc = -EBADMSG;
	if (!rc)
		rc = staged_finish(a->staged, &m);
	if (!rc) {
		staged_commit_begin(a->staged);
		rc = staged_commit_wait(a->staged);
	}
	/* Deleted while it was on its way to the disk: nobody would tell this endpoint again. */
	if (inbound_give(ep->inbound, &a->version, false) && !rc)
		rc = chunks_forget(ep->chunks, &a->version) ? -EIO : -ENOENT;
	a->staged = NULL;
	held_drop(ep->held, &a->version);
	if (rc)
		reply_failure(req, rc);
	else
		http_reply_json(req, 201, json_pack("{s:b}", "stored", 1));
}

static enum http_next chunk_end(struct http_req *req, void *arg)
{
	struct arrival *a = http_state(req);
	uint8_t sha256[32];

	if (!a->rc)
		a->rc = staged_chunk_end(a->staged, sha256);
	if (!a->rc && memcmp(sha256, a->sha256, 32))
		a->rc = -EBADMSG;
	if (a->rc)
		return reply_failure(req, a->rc);
	if (http_header(req, "X-Weir-Manifest"))
		return http_work(req, commit_work, arg);
	return http_reply_json(req, 200,
			       json_pack("{s:I}", "chunks", (json_int_t)staged_chunks(a->staged)));
}

static void chunk_done(struct http_req *req, void *arg)
{
	struct arrival *a = http_state(req);

	(void)arg;
	if (!a)
		return;
	if (a->staged) {
		staged_chunk_drop(a->staged);
		inbound_give(a->ep->inbound, &a->version, a->rc == 0);
	}
	free(a);
}

static void forget_work(struct http_req *req, void *arg)
{
	struct endpoint *ep = arg;
	struct version v;
	int rc;

	if (version_parse(&v, http_param(req, "version"))) {
		reply_failure(req, -ENOENT);
		return;
	}
	inbound_forget(ep->inbound, &v);
	rc = chunks_forget(ep->chunks, &v);
	held_drop(ep->held, &v);
	if (rc)
		reply_failure(req, rc);
	else
		http_reply(req, 204, NULL, NULL, 0);
}

static enum http_next forget_begin(struct http_req *req, void *arg)
{
	return http_work(req, forget_work, arg);
}

static void restarted_work(struct http_req *req, void *arg)
{
	inbound_forget_from(((struct endpoint *)arg)->inbound, http_param(req, "node"));
	http_reply(req, 204, NULL, NULL, 0);
}

static enum http_next restarted_begin(struct http_req *req, void *arg)
{
	return http_work(req, restarted_work, arg);
}

/* Opens a version for a request; false: answered. */
static bool open_version(struct endpoint *ep, struct http_req *req, struct version *v,
			 struct held **held)
{
	int rc = version_parse(v, http_param(req, "version")) ? -ENOENT
							      : held_get(ep->held, v, held);

	if (rc == -EBADMSG)
		repair_queue(ep->repair, v);
	if (rc)
		reply_failure(req, rc);
	return !rc;
}

static void manifest_work(struct http_req *req, void *arg)
{
	struct held *held;
	struct version v;
	size_t len;
	char *text;

	if (!open_version(arg, req, &v, &held))
		return;
	text = manifest_encode(held_manifest(held), &len);
	held_put(held);
	if (text)
		http_reply_owned(req, 200, "application/json", text, len);
	else
		reply_failure(req, -ENOMEM);
}

static enum http_next manifest_begin(struct http_req *req, void *arg)
{
	return http_work(req, manifest_work, arg);
}

static void data_work(struct http_req *req, void *arg)
{
	struct reader_job job = { .status = 200 };
	struct http_range range;
	char content_range[80];
	struct held *held;
	uint64_t size;
	int rc;

	if (!open_version(arg, req, &job.version, &held))
		return;
	size = held_manifest(held)->size;
	job.len = size;
	job.head = http_method(req) == HTTP_HEAD;
	rc = http_range_parse(&range, http_header(req, "Range"), size);
	if (rc == -ERANGE) {
		http_reply_error(req, 416, "range", "The version has %" PRIu64 " bytes.", size);
	} else {
		if (rc == 1) {
			job.status = 206;
			job.first = range.first;
			job.len = range.len;
			snprintf(content_range, sizeof(content_range),
				 "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range.first,
				 range.first + range.len - 1, size);
			http_add_header(req, "Content-Range", content_range);
		}
		reader_reply_local(arg, req, held, &job);
	}
	held_put(held);
}

static enum http_next data_begin(struct http_req *req, void *arg)
{
	return http_work(req, data_work, arg);
}

static enum http_next names_end(struct http_req *req, void *arg)
{
	return names_http(((struct endpoint *)arg)->names, req);
}

/* For gateways, which merge what all nodes know. */
static enum http_next audit_begin(struct http_req *req, void *arg)
{
	struct endpoint *ep = arg;

	return audit_reply(req, ep->audit, ep->users);
}

const struct http_route inside_api_routes[] = {
	{ 1u << HTTP_PUT, "/i/chunk/:version/:number", CHUNK_SIZE, chunk_begin, chunk_body,
	  chunk_end, chunk_done, NULL },
	{ 1u << HTTP_DELETE, "/i/version/:version", 0, forget_begin, NULL, NULL, NULL, NULL },
	{ 1u << HTTP_DELETE, "/i/from/:node", 0, restarted_begin, NULL, NULL, NULL, NULL },
	{ 1u << HTTP_GET, "/i/manifest/:version", 0, manifest_begin, NULL, NULL, NULL, NULL },
	{ 1u << HTTP_GET, "/i/data/:version", 0, data_begin, NULL, NULL, NULL, NULL },
	{ 1u << HTTP_GET, "/_/audit", 0, audit_begin, NULL, NULL, NULL, NULL },
	{ 1u << HTTP_POST, NAMES_ROUTE, NAMES_BODY_MAX, NULL, NULL, names_end, NULL, NULL },
	{ 0, NULL, 0, NULL, NULL, NULL, NULL, NULL },
};
