/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buckets.c -- buckets and their listings as JSON (buckets.h).
 */
#include "http/gateway/buckets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bucket.h"
#include "lib/hash.h"
#include "lib/policy.h"

#define TRIES	  3
#define PAGE_MAX  ((size_t)16 << 20)
#define LIMIT_MAX "1000"

/* What a worker needs of a request. */
struct asked {
	struct gateway *gw;
	struct token_scope who;
	bool browse;
};

static enum http_next work(struct http_req *req, http_work_fn *fn, struct gateway *gw, const struct token_scope *who, bool browse)
{
	struct asked *asked = calloc(1, sizeof(*asked));
	enum http_next next;

	if (!asked)
		return http_reply_error(req, 503, "memory", "out of memory; try again");
	*asked = (struct asked){ gw, *who, browse };
	http_add_header(req, "Cache-Control", "no-store");
	next = http_work(req, fn, asked);
	if (next == HTTP_ANSWERED)
		free(asked);
	return next;
}

/* ---- buckets ---- */

static void add_config(json_t *row, struct gateway *gw, const char *name)
{
	static const char *const versioning[] = { "off", "enabled", "suspended" };
	const struct bucket *b = users_bucket(gw->users, name);

	json_object_set_new(row, "dataset", json_boolean(users_dataset(gw->users, name)));
	if (!b)
		return;
	json_object_set_new(row, "public", json_boolean(b->is_public));
	json_object_set_new(row, "browse", json_boolean(b->browse));
	json_object_set_new(row, "versioning", json_string(versioning[b->versioning]));
	json_object_set_new(row, "acl", json_string(b->part[BUCKET_ACL] ? b->part[BUCKET_ACL] : "private"));
	json_object_set_new(row, "encrypted", json_boolean(b->encrypt));
	json_object_set_new(row, "policy", json_boolean(b->policy != NULL));
	json_object_set_new(row, "quota", json_pack("{s:I, s:I}", "bytes", (json_int_t)b->quota.bytes, "objects",
						    (json_int_t)b->quota.objects));
	bucket_put(b);
}

/* What the primaries count: {"NAME": {"objects","bytes","uploads"}}. */
static json_t *usage(struct gateway *gw)
{
	json_t *overview = console_overview(gw->console), *all = json_object(), *member, *bucket;
	size_t i, k;

	json_array_foreach (json_object_get(overview, "members"), i, member)
		json_array_foreach (json_object_get(json_object_get(member, "status"), "buckets"), k, bucket) {
			const char *role = json_string_value(json_object_get(bucket, "role"));

			if (role && !strcmp(role, "primary"))
				json_object_set(all, json_string_value(json_object_get(bucket, "name")), bucket);
		}
	json_decref(overview);
	return all;
}

static void add_usage(json_t *row, const json_t *all)
{
	static const char *const counts[] = { "objects", "bytes", "uploads" };
	const json_t *bucket = json_object_get(all, json_string_value(json_object_get(row, "name")));

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		json_t *count = json_object_get(bucket, counts[i]);

		if (count)
			json_object_set(row, counts[i], count);
		else
			json_object_set_new(row, counts[i], json_null());
	}
}

static void list_work(struct http_req *req, void *arg)
{
	struct asked *asked = arg;
	json_t *rows = users_buckets(asked->gw->users, &asked->who), *all = usage(asked->gw), *row;
	size_t i;

	json_array_foreach (rows, i, row) {
		add_config(row, asked->gw, json_string_value(json_object_get(row, "name")));
		add_usage(row, all);
	}
	json_decref(all);
	if (rows)
		http_reply_json(req, 200, json_pack("{s:o}", "buckets", rows));
	else
		http_reply_error(req, 503, "memory", "out of memory; try again");
	free(asked);
}

enum http_next buckets_list(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;
	struct token_scope who;

	if (!access_who(req, gw->users, &who))
		return HTTP_ANSWERED;
	return work(req, list_work, gw, &who, false);
}

static json_t *bucket_row(struct gateway *gw, const char *name)
{
	const struct bucket *b = users_bucket(gw->users, name);
	json_t *row = b ? json_pack("{s:s, s:s, s:I}", "name", b->name, "owner", b->owner, "created",
				    (json_int_t)b->created) :
			  NULL;

	bucket_put(b);
	if (row)
		add_config(row, gw, name);
	return row;
}

static enum http_next no_bucket(struct http_req *req, const char *name)
{
	return http_reply_error(req, 404, "not-found", "there is no bucket \"%.63s\"", name);
}

static void one_work(struct http_req *req, void *arg)
{
	struct asked *asked = arg;
	json_t *row = bucket_row(asked->gw, http_param(req, "bucket")), *all;

	if (row) {
		all = usage(asked->gw);
		add_usage(row, all);
		json_decref(all);
		http_reply_json(req, 200, row);
	} else {
		no_bucket(req, http_param(req, "bucket"));
	}
	free(asked);
}

enum http_next buckets_one(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;
	struct token_scope who;

	if (!access_check(req, gw->users, RIGHT_LIST, http_param(req, "bucket"), "", &who))
		return HTTP_ANSWERED;
	return work(req, one_work, gw, &who, false);
}

static void change_work(struct http_req *req, void *arg)
{
	struct asked *asked = arg;
	const char *name = http_param(req, "bucket");
	char err[256] = "";
	int rc = bucket_edit_part(asked->gw->daemon->registry, name, BUCKET_BROWSE, asked->browse ? "true" : NULL, err);

	audit_object(asked->gw->audit, req, &asked->who,
		     &(struct audit_object){ .what = "bucket.change", .bucket = name, .result = rc ? "failed" : "ok",
					     .why = asked->browse ? "may be browsed" : "may not be browsed" });
	if (rc == -ENOENT)
		no_bucket(req, name);
	else if (rc == -EINVAL)
		http_reply_error(req, 400, "malformed", "%s", err);
	else if (rc)
		http_reply_error(req, 503, "registry", "the registry does not answer; try again");
	else
		http_reply_json(req, 200, json_pack("{s:s, s:b}", "name", name, "browse", asked->browse));
	free(asked);
}

/* As S3 asks for what is told about a bucket: its owner and administrators, or by its policy. */
static bool may_change(struct gateway *gw, const struct token_scope *who, const char *bucket)
{
	return users_may(gw->users, who, &(struct policy_ask){ .action = "s3:PutBucketAcl", .bucket = bucket });
}

enum http_next buckets_change(struct http_req *req, void *arg)
{
	const char *name = http_param(req, "bucket");
	struct gateway *gw = arg;
	struct token_scope who;
	json_t *o, *browse;
	const void *body;
	enum http_next next;
	size_t len;

	if (!access_who(req, gw->users, &who))
		return HTTP_ANSWERED;
	if (!may_change(gw, &who, name))
		return http_reply_error(req, 403, "forbidden", "%s does not own the bucket %.63s and is no administrator",
					who.user, name);
	body = http_body(req, &len);
	o = body ? json_loadb(body, len, 0, NULL) : NULL;
	browse = json_object_get(o, "browse");
	if (json_object_size(o) == 1 && json_is_boolean(browse))
		next = work(req, change_work, gw, &who, json_is_true(browse));
	else
		next = http_reply_error(req, 400, "malformed", "the body should be {\"browse\": true} or {\"browse\": false}");
	json_decref(o);
	return next;
}

/* ---- objects and versions ---- */

struct query {
	char *text;
	bool failed;
};

static void query_add(struct query *q, const char *name, const char *value)
{
	char *encoded = value ? http_percent_encode(value, false) : NULL, *longer = NULL;

	if (!value || q->failed)
		return;
	if (!encoded || asprintf(&longer, "%s%s%s=%s", q->text ? q->text : "", q->text ? "&" : "?", name, encoded) < 0) {
		q->failed = true;
	} else {
		free(q->text);
		q->text = longer;
	}
	free(encoded);
}

static char *list_query(const struct listing_ask *ask)
{
	struct query q = { 0 };

	query_add(&q, "limit", ask->limit ? ask->limit : LIMIT_MAX);
	query_add(&q, "prefix", ask->prefix);
	query_add(&q, "delimiter", ask->delimiter);
	query_add(&q, "after", ask->after);
	query_add(&q, "after_version", ask->after_version);
	query_add(&q, "versions", ask->versions ? "1" : NULL);
	if (!q.failed)
		return q.text;
	free(q.text);
	return NULL;
}

/* One try at one endpoint; -EAGAIN: another may do better. */
static int ask_endpoint(struct gateway *gw, const char *path, const char *bearer, json_t **out, unsigned int *status, char err[256])
{
	const char *const headers[] = { bearer, NULL };
	struct httpc_answer answer = { 0 };
	struct httpc_call call = { .timeout_ms = 15000, .body_max = PAGE_MAX, .headers = *bearer ? headers : NULL };
	char base[256], node[64], *url = NULL;
	uint32_t random;
	int rc = -EAGAIN;

	random_bytes(&random, sizeof(random));
	if (view_pick(gw->view, (double)random / 4294967296.0, base, node)) {
		snprintf(err, 256, "no endpoint is alive at the moment");
		return -EAGAIN;
	}
	if (asprintf(&url, "%s%s", base, path) < 0)
		return -ENOMEM;
	call.url = url;
	if (httpc_do(gw->client, &call, &answer)) {
		snprintf(err, 256, "%s: %.180s", node, answer.error);
	} else {
		*status = (unsigned int)answer.status;
		*out = answer.body ? json_loadb(answer.body, answer.len, 0, NULL) : NULL;
		rc = answer.status == 200 && json_is_object(*out) ? 0 : answer.status >= 500 ? -EAGAIN : -EACCES;
		if (rc) {
			const char *message = json_string_value(json_object_get(*out, "message"));

			snprintf(err, 256, "%s", message ? message : "the endpoint's answer is not understood");
			json_decref(*out);
			*out = NULL;
		}
	}
	httpc_answer_free(&answer);
	free(url);
	return rc;
}

int buckets_page(struct gateway *gw, const struct token_scope *who, const struct listing_ask *ask, json_t **out,
		 unsigned int *status, char err[256])
{
	struct token_scope want = { .rights = RIGHT_LIST };
	char token[TOKEN_MAX], bearer[TOKEN_MAX + 32] = "";
	char *query = list_query(ask), *bucket = http_percent_encode(ask->bucket, false), *path = NULL;
	int rc = -ENOMEM;

	*status = 0;
	snprintf(err, 256, "out of memory");
	snprintf(want.bucket, sizeof(want.bucket), "%s", ask->bucket);
	snprintf(want.prefix, sizeof(want.prefix), "%s", ask->prefix ? ask->prefix : "");
	if (query && bucket && asprintf(&path, "/b/%s/%s", bucket, query) >= 0)
		rc = redirect_token(gw, who, &want, token);
	if (rc && path)
		snprintf(err, 256, "the registry gave no key to sign with yet");
	if (!rc && *token)
		snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s", token);
	for (int try = 0; !rc && try < TRIES; try++) {
		rc = ask_endpoint(gw, path, bearer, out, status, err);
		if (rc != -EAGAIN)
			break;
		rc = try + 1 < TRIES ? 0 : -EAGAIN;
	}
	memset(token, 0, sizeof(token));
	memset(bearer, 0, sizeof(bearer));
	free(query);
	free(bucket);
	free(path);
	return rc;
}

static bool wants_versions(struct http_req *req)
{
	const char *versions = http_query(req, "versions");

	return versions && !strcmp(versions, "1");
}

static void objects_work(struct http_req *req, void *arg)
{
	struct asked *asked = arg;
	struct listing_ask ask = { .bucket = http_param(req, "bucket"),
				   .prefix = http_query(req, "prefix"),
				   .delimiter = http_query(req, "delimiter"),
				   .after = http_query(req, "after"),
				   .after_version = http_query(req, "after_version"),
				   .limit = http_query(req, "limit"),
				   .versions = wants_versions(req) };
	unsigned int status = 0;
	json_t *page = NULL;
	char err[256];
	int rc = buckets_page(asked->gw, &asked->who, &ask, &page, &status, err);

	if (!rc)
		http_reply_json(req, 200, page);
	else
		http_reply_error(req, status >= 400 && status < 500 ? status : 503, "listing", "%s", err);
	free(asked);
}

enum http_next buckets_objects(struct http_req *req, void *arg)
{
	const char *bucket = http_param(req, "bucket"), *prefix = http_query(req, "prefix");
	struct gateway *gw = arg;
	struct token_scope who;

	if (strlen(bucket) > BUCKET_NAME_MAX || (prefix && strlen(prefix) >= sizeof(who.prefix)))
		return http_reply_error(req, 400, "name_too_long", "a bucket has at most 63 bytes, a prefix 1,024");
	if (!access_check(req, gw->users, RIGHT_LIST, bucket, prefix ? prefix : "", &who))
		return HTTP_ANSWERED;
	if (wants_versions(req) && !access_check_action(req, gw->users, "s3:ListBucketVersions", bucket, prefix ? prefix : "", &who))
		return HTTP_ANSWERED;
	return work(req, objects_work, gw, &who, false);
}
