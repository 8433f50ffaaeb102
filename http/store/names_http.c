/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_http.c -- the messages' way in: /i/names/WHAT on the inside listener.
 *
 * Requests that wait for other nodes (writes, reads) never hold one of the listener's workers: the
 * workers answer primaries, which must not wait for a node that waits for them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"
#include "lib/hash.h"

/* entry: the delete marker that was met, or NULL. */
static enum http_next failure_reply(struct names *n, struct http_req *req, const char *bucket,
				    int rc, const struct name_entry *entry)
{
	struct bucket *b = rc == -ESTALE && *bucket ? bucket_find(n, bucket) : NULL;
	struct bucket_view v = { .known = false };
	char *record;
	json_t *o;

	if (b)
		bucket_view(n, b, &v);
	o = json_pack("{s:s s:s}", "error", rc == -ESTALE ? "moved" : "refused", "message",
		      names_error());
	/* A second copy's own idea of who is primary may be of a configuration that never came to
	 * be. */
	if (v.known && (v.mod_revision || !strcmp(v.record.primary, n->node))) {
		record = names_record_encode(&v.record);
		json_object_set_new(o, "record",
				    json_loads(record ? record : "null", JSON_DECODE_ANY, NULL));
		free(record);
	}
	if (entry)
		json_object_set_new(o, "entry", names_entry_encode(entry));
	return http_reply_json(req, (unsigned int)status_of(rc), o);
}

enum http_next reply_failure(struct names *n, struct http_req *req, const char *bucket, int rc)
{
	return failure_reply(n, req, bucket, rc, NULL);
}

/* A request that is answered from a thread of the names. */
struct job {
	struct names *n;
	struct http_req *req;
	json_t *body;
	void (*run)(struct job *j);
};

static void job_run(void *arg)
{
	struct job *j = arg;

	j->run(j);
	http_resume(j->req);
	json_decref(j->body);
	free(j);
}

/* ---- writes ---- */
struct asked {
	struct names *n;
	struct http_req *req;
	char bucket[NAMES_BUCKET_MAX + 1];
};

static void asked_complete(struct write *w)
{
	struct asked *a = w->arg;

	if (w->rc) {
		names_fail("%s", w->why);
		reply_failure(a->n, a->req, a->bucket, w->rc);
	} else {
		http_reply_json(a->req, 200, names_answer_encode(w));
	}
	http_resume(a->req);
	write_free(w);
	free(a);
}

static enum http_next write_begin(struct names *n, struct http_req *req, const json_t *body)
{
	struct asked *a = calloc(1, sizeof(*a));
	struct bucket_view v = { .known = false };
	struct bucket *b = NULL;
	struct write *w = NULL;
	int rc = a ? names_write_decode(body, a->bucket, &w) : -ENOMEM;

	names_fail("the request is not understood");
	if (!rc) {
		b = bucket_find(n, a->bucket);
		if (b)
			bucket_view(n, b, &v);
		rc = b ? 0 : -EAGAIN;
	}
	if (!rc && v.known && strcmp(v.record.primary, n->node)) {
		names_fail("%s is not the primary of bucket %s", n->node, a->bucket);
		rc = -ESTALE;
	}
	if (rc) {
		enum http_next next = reply_failure(n, req, a ? a->bucket : "", rc);

		write_free(w);
		free(a);
		return next;
	}
	a->n = n;
	a->req = req;
	w->complete = asked_complete;
	w->arg = a;
	bucket_enqueue(n, b, w);
	return HTTP_LATER;
}

/* ---- reads ---- */

/* A page on its way, as text: entries as objects, prefixes as strings. By way of values it would
 * take most of the time that a page takes. */
static void gathered_comma(struct json_text *page)
{
	if (page->len && page->text[page->len - 1] != '[')
		json_text_raw(page, ",", 1);
}

static int gathered_entry(void *arg, const char *bucket, const struct name_entry *e)
{
	struct json_text *page = arg;

	(void)bucket;
	gathered_comma(page);
	names_entry_write(page, e);
	return page->failed ? -ENOMEM : 0;
}

static int gathered_prefix(void *arg, const char *bucket, const char *prefix)
{
	struct json_text *page = arg;

	(void)bucket;
	gathered_comma(page);
	json_text_string(page, prefix);
	return page->failed ? -ENOMEM : 0;
}

static json_t *usage_encode(const struct names_usage *u)
{
	return json_pack("{s:{s:I s:I s:I s:I s:I s:I s:b}}", "usage", "objects",
			 (json_int_t)u->objects, "bytes", (json_int_t)u->bytes, "markers",
			 (json_int_t)u->markers, "uploads", (json_int_t)u->uploads, "parts",
			 (json_int_t)u->parts, "seq", (json_int_t)u->seq, "closed", u->closed);
}

#define RAW(json, text) json_text_raw(json, text, sizeof(text) - 1)

static void page_reply(struct job *j, const struct query *q, struct json_text *page)
{
	size_t len;
	char *text;

	RAW(page, "],\"more\":");
	json_text_bool(page, q->page.more);
	RAW(page, ",\"next\":");
	json_text_string(page, q->page.next);
	RAW(page, ",\"next_version\":");
	json_text_string(page, q->page.next_version);
	RAW(page, "}");
	text = json_text_take(page, &len);
	if (text)
		http_reply_owned(j->req, 200, "application/json", text, len);
	else
		reply_failure(j->n, j->req, q->bucket, -ENOMEM);
}

static void read_reply(struct job *j, const struct query *q, struct json_text *page, int rc)
{
	if (rc) {
		bool marker = rc == -ENOENT && q->kind == QUERY_GET && q->entry.marker;

		failure_reply(j->n, j->req, q->bucket, rc, marker ? &q->entry : NULL);
	} else if (q->kind == QUERY_USAGE) {
		http_reply_json(j->req, 200, usage_encode(&q->usage));
	} else if (q->kind >= QUERY_LIST) {
		page_reply(j, q, page);
	} else {
		http_reply_json(j->req, 200,
				json_pack("{s:o}", "entry", names_entry_encode(&q->entry)));
	}
}

static void read_begin(struct job *j)
{
	struct query *q = calloc(1, sizeof(*q));
	struct json_text page = { 0 };
	int rc = q ? query_decode(q, j->body) : -ENOMEM;

	names_fail("the request is not understood");
	if (!rc) {
		RAW(&page, "{\"entries\":[");
		q->fn = gathered_entry;
		q->prefix_fn = gathered_prefix;
		q->arg = &page;
		rc = query_local(j->n, q);
	} else if (q) {
		q->bucket[0] = '\0';
	}
	if (q)
		read_reply(j, q, &page, rc);
	else
		reply_failure(j->n, j->req, "", rc);
	json_text_drop(&page);
	free(q);
}

static int hash_append(void *arg, const char *bucket, const struct name_entry *e)
{
	return json_array_append_new(arg, json_pack("{s:s s:o}", "bucket", bucket, "entry",
						    names_entry_encode(e)))
		       ? -ENOMEM
		       : 0;
}

static void hash_run(struct job *j)
{
	json_t *entries = json_array();
	uint8_t sha256[32];
	char hex[65];
	int rc = -EINVAL;

	names_fail("the request is not understood");
	if (!names_json_text(j->body, "sha256", hex, sizeof(hex)) && strlen(hex) == 64 &&
	    !hex_decode(hex, sha256, 32))
		rc = names_by_hash(j->n, sha256, hash_append, entries);
	if (rc) {
		json_decref(entries);
		reply_failure(j->n, j->req, "", rc);
		return;
	}
	http_reply_json(j->req, 200, json_pack("{s:o}", "entries", entries));
}

/* ---- which is which ---- */

struct message {
	const char *what;
	void (*run)(struct job *j); /* on the names' own readers */
	void (*work)(struct names *n, struct http_req *req, const json_t *body); /* on a worker */
};

static const struct message messages[] = {
	{ "read", read_begin, NULL },	    { "hash", hash_run, NULL },
	{ "append", NULL, replica_append }, { "position", NULL, replica_position },
	{ "pull", NULL, replica_pull },	    { "begin", NULL, replica_begin },
	{ "page", NULL, replica_page },	    { "end", NULL, replica_end },
	{ "tasks", NULL, outbox_tasks },
};

static const struct message *message_find(const char *what)
{
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
		if (!strcmp(messages[i].what, what))
			return &messages[i];
	return NULL;
}

static json_t *body_parse(struct http_req *req)
{
	size_t len;
	const void *data = http_body(req, &len);
	json_t *body = data ? json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL) : NULL;

	if (!json_is_object(body)) {
		json_decref(body);
		return NULL;
	}
	return body;
}

static void message_work(struct http_req *req, void *arg)
{
	const struct message *m = message_find(http_param(req, "do"));
	json_t *body = body_parse(req);

	if (body)
		m->work(arg, req, body);
	else
		http_reply_error(req, 400, "malformed", "The body is not a JSON object.");
	json_decref(body);
}

static enum http_next job_begin(struct names *n, struct http_req *req, const struct message *m,
				json_t *body)
{
	struct job *j = malloc(sizeof(*j));
	int rc = -ENOMEM;

	if (j) {
		*j = (struct job){ .n = n, .req = req, .body = body, .run = m->run };
		pthread_mutex_lock(&n->lock);
		rc = n->stopping ? -EAGAIN : jobs_add(n->readers, job_run, j);
		pthread_mutex_unlock(&n->lock);
	}
	if (!rc)
		return HTTP_LATER;
	free(j);
	json_decref(body);
	return http_reply_error(req, 503, "busy", "Too many requests wait.");
}

enum http_next names_http(struct names *n, struct http_req *req)
{
	const char *what = http_param(req, "do");
	const struct message *m = message_find(what);
	enum http_next next;
	json_t *body;
	bool stopping;

	pthread_mutex_lock(&n->lock);
	stopping = n->stopping;
	pthread_mutex_unlock(&n->lock);
	if (stopping)
		return http_reply_error(req, 503, "stopping", "This endpoint is stopping.");
	if (m && m->work)
		return http_work(req, message_work, n);
	body = body_parse(req);
	if (!body)
		return http_reply_error(req, 400, "malformed", "The body is not a JSON object.");
	if (m)
		return job_begin(n, req, m, body);
	if (!strcmp(what, "write"))
		next = write_begin(n, req, body);
	else if (!strcmp(what, "confirm"))
		next = replica_confirm(n, req, body);
	else
		next = http_reply_error(req, 404, "unknown", "There is no such message.");
	json_decref(body);
	return next;
}
