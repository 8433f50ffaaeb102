/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.c -- the public routes of an endpoint (object.h).
 *
 * A handler checks on the server's thread what can be checked at once (form, rights, room), and
 * sends what is hot; the rest runs on a worker: the name is asked from the bucket's primary, which
 * may be another endpoint, and the disk may have to be read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "http/store/answer.h"
#include "http/store/dataset.h"
#include "http/store/list.h"
#include "http/store/object.h"
#include "http/store/parts.h"
#include "http/store/put.h"
#include "http/store/quota.h"
#include "http/store/reader.h"
#include "http/store/repair.h"
#include "http/store/s3_choose.h"
#include "lib/bucket.h"

/* One request. */
struct call {
	struct endpoint *ep;
	bool failed;
	struct put *put;
	struct reader *reader;
	struct parts_answer *parts; /* of an object of parts, or encrypted */
	struct token_scope who;
	uint64_t bytes; /* of the body */
};

static struct call *call_new(struct endpoint *ep, struct http_req *req)
{
	struct call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->ep = ep;
	http_set_state(req, call);
	return call;
}

static void call_done(struct http_req *req, void *arg)
{
	struct endpoint *ep = arg;
	struct call *call = http_state(req);

	if (!call)
		return;
	put_free(call->put);
	reader_detach(call->reader);
	parts_detach(call->parts);
	if (call->failed)
		atomic_fetch_add(&ep->counts.failed, 1);
	free(call);
}

static void call_failed(struct http_req *req)
{
	struct call *call = http_state(req);

	if (call)
		call->failed = true;
}

/* Who mistyped the bucket looks in vain for the object. */
static enum http_next reply_absent(struct http_req *req)
{
	const char *name = http_param(req, "bucket");
	const struct call *call = http_state(req);
	const struct bucket *bucket = name && call ? users_bucket(call->ep->users, name) : NULL;
	bool is_lost = name && call && !bucket;

	bucket_put(bucket);
	return is_lost ? http_reply_error(req, 404, "not-found", "There is no such object, and no bucket %.63s.", name) :
			 http_reply_error(req, 404, "not-found", "There is no such object.");
}

enum http_next endpoint_reply_names(struct http_req *req, int rc)
{
	switch (rc) {
	case -ENOENT:
		return reply_absent(req);
	case -ECANCELED:
		return http_reply_error(
			req, 412, "condition",
			"If-Match or If-None-Match does not hold; nothing was changed.");
	case -EINVAL:
		return http_reply_error(req, 400, "malformed", "%s", names_error());
	case -EAGAIN:
		call_failed(req);
		return http_reply_error(req, 503, "names", "%s Nothing was changed; try again.",
					names_error());
	case -ETIMEDOUT:
		call_failed(req);
		return http_reply_error(
			req, 504, "unknown",
			"It is not known whether it happened (%s); ask, or do it again.",
			names_error());
	case -ENOSPC:
		call_failed(req);
		return http_reply_error(req, 507, "full", "%s", names_error());
	default:
		call_failed(req);
		return http_reply_error(req, 500, "names", "%s", names_error());
	}
}

/* Bucket and key of the path, valid; false: answered. */
static bool valid_path(struct http_req *req, const char **bucket, const char **key)
{
	*bucket = http_param(req, "bucket");
	*key = http_param(req, "key");
	if (!*bucket || !names_bucket_valid(*bucket)) {
		http_reply_error(
			req, 400, "bucket",
			"A bucket has 3 to 63 of a-z 0-9 - . and begins with a letter or digit.");
		return false;
	}
	if (*key && **key && !names_key_plain(*key)) {
		http_reply_error(req, 400, "key",
				 "A key has 1 to 512 bytes of UTF-8 without control characters.");
		return false;
	}
	return true;
}

/* The call of a request whose path is valid. NULL: answered. */
static struct call *call_begin(struct endpoint *ep, struct http_req *req, const char **bucket, const char **key)
{
	struct call *call = call_new(ep, req);

	if (!call)
		http_reply_error(req, 503, "memory", "Out of memory; try again.");
	return call && valid_path(req, bucket, key) ? call : NULL;
}

/* The same of a request that changes an object, and may. */
static struct call *change_begin(struct endpoint *ep, struct http_req *req, unsigned int right, const char **bucket,
				 const char **key)
{
	struct call *call = call_begin(ep, req, bucket, key);

	if (!call)
		return NULL;
	if (*key && **key)
		return dataset_check(ep, req, right, *bucket, *key, &call->who) ? call : NULL;
	http_reply_error(req, 400, "key", "Name the object: %s /b/BUCKET/KEY.", http_method_name(http_method(req)));
	return NULL;
}

/* What was asked for in a dataset's bucket happened, or did not. */
static void note(struct http_req *req, const char *what, const char *key, bool happened,
		 uint64_t bytes)
{
	struct call *call = http_state(req);

	dataset_audit(call->ep, req, &call->who,
		      &(struct audit_object){ what, http_param(req, "bucket"), key,
					      happened ? "ok" : "failed", NULL, bytes });
}

/* ---- PUT ---- */

static enum http_next put_begin(struct http_req *req, void *arg)
{
	struct endpoint *ep = arg;
	const char *bucket, *key;
	char why[QUOTA_WHY];
	struct call *call;
	int rc;

	call = change_begin(ep, req, RIGHT_WRITE, &bucket, &key);
	if (!call)
		return HTTP_ANSWERED;
	if (http_content_length(req) != UINT64_MAX && quota_begin(ep, bucket, http_content_length(req), why)) {
		call_failed(req);
		return http_reply_error(req, 507, "quota", "%s", why);
	}
	rc = put_new(&call->put, ep, bucket, key, http_content_length(req));
	if (!rc)
		return HTTP_CONTINUE;
	call_failed(req);
	if (rc == -ENOSPC)
		return http_reply_error(
			req, 507, "full",
			"The disk is full, but for its reserve; nothing was stored.");
	if (rc == -ENOKEY)
		return http_reply_error(req, 503, "sealing", "The installation's sealing key is not here yet; try again.");
	return http_reply_error(req, 500, "disk", "The disk failed: %s.", strerror(-rc));
}

static enum http_next put_body(struct http_req *req, void *arg, const void *data, size_t len,
			       size_t *taken)
{
	struct call *call = http_state(req);

	(void)arg;
	*taken = len;
	call->bytes += len;
	if (!put_add(call->put, data, len))
		return HTTP_CONTINUE;
	/* The disk is full or failed: said when the client has sent the rest, or is cut. */
	call_failed(req);
	return put_refuse(call->put, req);
}

static void put_work(struct http_req *req, void *arg)
{
	struct endpoint *ep = arg;
	struct call *call = http_state(req);

	bool stored = put_finish(call->put, req, call->who.user);

	if (stored)
		atomic_fetch_add(&ep->counts.puts, 1);
	note(req, "object.put", http_param(req, "key"), stored, call->bytes);
}

static enum http_next put_then(struct http_req *req, void *arg)
{
	struct endpoint *ep = arg;
	struct call *call = http_state(req);
	int rc = put_later_end(call->put, req);

	if (rc == -EAGAIN)
		return http_work(req, put_work, arg);
	if (!rc)
		atomic_fetch_add(&ep->counts.puts, 1);
	return HTTP_ANSWERED;
}

static enum http_next put_end(struct http_req *req, void *arg)
{
	struct call *call = http_state(req);

	return put_later(call->put, req, put_then, arg) ? HTTP_LATER : http_work(req, put_work, arg);
}

/* ---- GET, HEAD ---- */

/* The range asked for. False: answered (416). */
static bool find_range(struct http_req *req, const struct name_entry *entry, const char *etag,
		       struct reader_job *job)
{
	const char *if_range = http_header(req, "If-Range");
	struct http_range range;
	char text[80];
	int rc = 0;

	/* RFC 9110 section 13.1.5: another version than the one the client has a part of goes
	 * whole. */
	if (!if_range || !strcmp(if_range, etag))
		rc = http_range_parse(&range, http_header(req, "Range"), entry->size);
	if (rc == -ERANGE) {
		snprintf(text, sizeof(text), "bytes */%" PRIu64, entry->size);
		http_add_header(req, "Content-Range", text);
		media_cors_add(req);
		http_reply_error(req, 416, "range", "The object has %" PRIu64 " bytes.",
				 entry->size);
		return false;
	}
	*job = (struct reader_job){ .status = 200,
				    .len = entry->size,
				    .holders = entry->holders,
				    .nholders = entry->nholders };
	if (rc == 1) {
		job->status = 206;
		job->first = range.first;
		job->len = range.len;
		snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range.first,
			 range.first + range.len - 1, entry->size);
		http_add_header(req, "Content-Range", text);
	}
	return true;
}

static void serve_local(struct endpoint *ep, struct http_req *req, struct held *held,
			const struct reader_job *job, const struct told *told)
{
	struct http_cached *cached;

	if (job->status == 200 && job->len <= TOLD_SMALL_MAX) {
		cached = told_small(ep, held, told);
		if (cached) {
			http_reply_cached(req, cached);
			return;
		}
	}
	told_add(req, told);
	http_add_header(req, "X-Weir-From", ep->node);
	reader_reply_local(ep, req, held, job);
}

static void serve_unchanged(struct endpoint *ep, struct http_req *req, const struct name_entry *entry, const struct told *told)
{
	struct version v;
	struct held *held = version_parse(&v, entry->version) ? NULL : held_hot(ep->held, &v);
	struct http_cached *cached = held ? told_unchanged(held, told) : NULL;

	if (cached) {
		http_reply_cached(req, cached);
	} else {
		told_add(req, told);
		http_reply(req, 304, NULL, NULL, 0);
	}
	if (held)
		held_put(held);
}

/* Sends an open version, or (rc) what a holder has. */
static void serve_version(struct endpoint *ep, struct http_req *req, const char *bucket, const struct name_entry *entry,
			  const struct told *told, const struct version *version, struct held *held, int rc)
{
	struct call *call = http_state(req);
	struct reader_job job;

	if (!find_range(req, entry, told->etag, &job))
		return;
	job.head = http_method(req) == HTTP_HEAD;
	job.kept = &call->reader;
	job.type = told->media->type;
	job.version = *version;
	atomic_fetch_add(&ep->counts.gets, 1);
	dataset_audit(ep, req, &call->who,
		      &(struct audit_object){ "object.get", bucket, entry->key, "ok", NULL,
					      job.head ? 0 : job.len });
	if (parts_needed(entry)) {
		told_add(req, told);
		parts_reply(ep, req, bucket, entry, &job, &call->parts);
		return;
	}
	if (held) {
		serve_local(ep, req, held, &job, told);
		return;
	}
	if (rc == -EBADMSG)
		repair_queue(ep->repair, &job.version);
	else if (rc == -ENOENT)
		repair_missing(ep->repair, bucket, entry);
	told_add(req, told);
	reader_reply_relay(ep, req, &job);
}

/* Sends what a name stands for: from here, or from a holder. False, unless it is the last try: its data are not here, where
 * they should be, and nothing was answered. */
static bool serve(struct endpoint *ep, struct http_req *req, const char *bucket, const struct name_entry *entry, bool last)
{
	struct held *held = NULL;
	struct version version;
	struct told told;
	int rc;

	told_fill(&told, ep, bucket, entry);
	rc = http_conditions(req, told.etag);
	if (rc == 304) {
		serve_unchanged(ep, req, entry, &told);
		return true;
	}
	if (rc || version_parse(&version, entry->version)) {
		endpoint_reply_names(req, rc ? -ECANCELED : -EIO);
		return true;
	}
	rc = parts_needed(entry) ? 0 : held_get(ep->held, &version, &held);
	if (rc == -ENOENT && !last && told_here(ep, entry))
		return false;
	serve_version(ep, req, bucket, entry, &told, &version, held, rc);
	held_put(held);
	return true;
}

/* Data that are not here were overwritten and removed, as a rule, since the name was asked: then it stands for others. */
#define TRIES 3

static void get_work(struct http_req *req, void *arg)
{
	struct endpoint *ep = arg;
	const char *bucket = http_param(req, "bucket");
	struct name_entry entry;
	int rc = -ENOENT;

	for (int tries = 1; tries <= TRIES; tries++) {
		rc = names_get(ep->names, bucket, http_param(req, "key"), &entry);
		if (rc)
			break;
		if (serve(ep, req, bucket, &entry, tries == TRIES))
			return;
	}
	note(req, "object.get", http_param(req, "key"), false, 0);
	media_cors_add(req); /* a player should see that it is a 404, and not a broken connection */
	endpoint_reply_names(req, rc);
}

/* An answer without a body reads no page: a condition that fails, or a HEAD. One for a small object goes to a worker once,
 * which makes the answer that is kept. */
static bool is_bodyless(struct endpoint *ep, struct http_req *req, const char *bucket, const struct name_entry *entry)
{
	struct told told;

	if (!http_header(req, "If-None-Match") && !http_header(req, "If-Match"))
		return http_method(req) == HTTP_HEAD && entry->size > TOLD_SMALL_MAX;
	told_fill(&told, ep, bucket, entry);
	return http_conditions(req, told.etag) != 0;
}

/* What is hot is answered at once, without a worker: the name is certain here, the version is open,
 * and its answer is ready or its pages are checked and in memory. */
static bool get_hot(struct endpoint *ep, struct http_req *req, const char *bucket, const char *key)
{
	struct name_entry entry;
	struct version v;
	struct held *held;
	bool hot;

	if (names_get_now(ep->names, bucket, key, &entry) || version_parse(&v, entry.version))
		return false;
	held = held_hot(ep->held, &v);
	if (!held)
		return false;
	hot = !parts_needed(&entry) &&
	      (held_attached(held) || held_ready(held, 0, entry.size) || is_bodyless(ep, req, bucket, &entry));
	if (hot)
		hot = serve(ep, req, bucket, &entry, false);
	held_put(held);
	return hot;
}

/* ---- listing ---- */

static void list_work(struct http_req *req, void *arg)
{
	struct call *call = http_state(req);
	struct endpoint *ep = arg;
	int rc;

	note(req, "object.list", http_query(req, "prefix"), true, 0);
	rc = list_reply(ep, req, dataset_hides(ep, &call->who, http_param(req, "bucket")));
	if (rc)
		endpoint_reply_names(req, rc);
	else
		atomic_fetch_add(&ep->counts.lists, 1);
}

static enum http_next get_begin(struct http_req *req, void *arg)
{
	struct endpoint *ep = arg;
	const char *bucket, *key;
	struct call *call;
	bool list;

	call = call_begin(ep, req, &bucket, &key);
	if (!call)
		return HTTP_ANSWERED;
	list = !key || !*key;
	if (!dataset_check(ep, req, list ? RIGHT_LIST : RIGHT_READ, bucket,
			   list ? http_query(req, "prefix") : key, &call->who))
		return HTTP_ANSWERED;
	if (list && !list_check(ep, req, &call->who))
		return HTTP_ANSWERED;
	if (!list && get_hot(ep, req, bucket, key))
		return HTTP_ANSWERED;
	return http_work(req, list ? list_work : get_work, ep);
}

/* ---- by hash ---- */

#define BY_HASH_MAX 64

struct by_hash {
	char bucket[BY_HASH_MAX][BUCKET_MAX];
	struct name_entry entry[BY_HASH_MAX];
	unsigned int n;
};

static int found_hash(void *arg, const char *bucket, const struct name_entry *entry)
{
	struct by_hash *found = arg;

	if (strlen(bucket) >= BUCKET_MAX || found->n == BY_HASH_MAX)
		return 0;
	strcpy(found->bucket[found->n], bucket);
	found->entry[found->n++] = *entry;
	return 0;
}

/* The first of those found that the caller may read and that its name still stands for. */
static int pick_by_hash(struct endpoint *ep, const struct call *call, const struct by_hash *found,
			struct name_entry *out, const char **bucket)
{
	int rc = -ENOENT;

	for (unsigned int i = 0; i < found->n; i++) {
		int got;

		if (!users_allow(ep->users, &call->who, RIGHT_READ, found->bucket[i],
				 found->entry[i].key))
			continue;
		got = names_get(ep->names, found->bucket[i], found->entry[i].key, out);
		*bucket = found->bucket[i];
		if (!got && !memcmp(out->sha256, found->entry[i].sha256, 32))
			return 0;
		if (got && got != -ENOENT)
			rc = got;
	}
	return rc;
}

static void hash_work(struct http_req *req, void *arg)
{
	struct by_hash *found = calloc(1, sizeof(*found));
	struct call *call = http_state(req);
	struct endpoint *ep = arg;
	struct name_entry entry;
	const char *bucket = NULL;
	uint8_t sha256[32];
	int rc;

	rc = found ? hex_decode(http_param(req, "sha256"), sha256, 32) : -ENOMEM;
	if (!rc)
		rc = names_by_hash_all(ep->names, sha256, found_hash, found);
	if (!rc)
		rc = pick_by_hash(ep, call, found, &entry, &bucket);
	/* Nobody in particular is asked for a token; what exists stays unsaid. */
	if (rc == -ENOENT && !call->who.user[0] &&
	    !access_check(req, ep->users, RIGHT_READ, NULL, NULL, &call->who))
		rc = 0; /* answered */
	else if (rc)
		endpoint_reply_names(req, rc);
	else
		serve(ep, req, bucket, &entry, true);
	free(found);
}

static enum http_next hash_begin(struct http_req *req, void *arg)
{
	const char *sha = http_param(req, "sha256");
	struct endpoint *ep = arg;
	struct call *call;

	call = call_new(ep, req);
	if (!call)
		return http_reply_error(req, 503, "memory", "Out of memory; try again.");
	if (!sha || strlen(sha) != 64 || strspn(sha, "0123456789abcdef") != 64)
		return http_reply_error(req, 400, "hash",
					"Wanted: /o/ and 64 lower-case hex digits.");
	/* Whose object it is comes out later: here it counts who asks. Without a word: nobody. */
	if ((http_header(req, "Authorization") || http_query(req, "t")) &&
	    !access_who(req, ep->users, &call->who))
		return HTTP_ANSWERED;
	return http_work(req, hash_work, ep);
}

/* ---- DELETE ---- */

static void delete_work(struct http_req *req, void *arg)
{
	struct endpoint *ep = arg;
	const char *bucket = http_param(req, "bucket");
	struct names_how how = { .mode = put_mode(ep, bucket), .if_match = http_header(req, "If-Match") };
	int rc = names_delete_with(ep->names, bucket, http_param(req, "key"), NULL, &how, NULL);

	note(req, "object.delete", http_param(req, "key"), !rc, 0);
	if (rc) {
		endpoint_reply_names(req, rc);
		return;
	}
	atomic_fetch_add(&ep->counts.deletes, 1);
	http_reply(req, 204, NULL, NULL, 0);
}

static enum http_next delete_begin(struct http_req *req, void *arg)
{
	const char *bucket, *key;

	return change_begin(arg, req, RIGHT_DELETE, &bucket, &key) ? http_work(req, delete_work, arg) : HTTP_ANSWERED;
}

static enum http_next health_begin(struct http_req *req, void *arg)
{
	return inside_health_begin(req, ((struct endpoint *)arg)->load);
}

static struct http_route routes[] = {
	{ 0, "s3", 0, NULL, NULL, NULL, NULL, NULL }, /* chosen by s3_choose() */
	{ 1u << HTTP_PUT, "/b/:bucket/*key", 0, put_begin, put_body, put_end, call_done, NULL },
	{ 1u << HTTP_GET, "/b/:bucket/*key", 0, get_begin, NULL, NULL, call_done, NULL },
	{ 1u << HTTP_GET, "/b/:bucket", 0, get_begin, NULL, NULL, call_done, NULL },
	{ 1u << HTTP_OPTIONS, "/b/:bucket/*key", 0, media_cors_preflight, NULL, NULL, NULL, NULL },
	{ 1u << HTTP_DELETE, "/b/:bucket/*key", 0, delete_begin, NULL, NULL, call_done, NULL },
	{ 1u << HTTP_GET, "/o/:sha256", 0, hash_begin, NULL, NULL, call_done, NULL },
	{ 1u << HTTP_GET, "/_/health", 0, health_begin, NULL, NULL, NULL, NULL },
	{ 0, NULL, 0, NULL, NULL, NULL, NULL, NULL },
};

const struct http_route *object_routes(const struct endpoint *ep)
{
	routes[0] = s3_route;
	routes[1].body_max = ep->object_max;
	return routes;
}

const struct http_route *object_route_s3(void)
{
	return &routes[0];
}

const struct http_route *object_route_get(void)
{
	return &routes[2];
}
