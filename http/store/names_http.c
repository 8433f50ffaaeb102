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

enum http_next reply_failure(struct names *n, struct http_req *req, const char *bucket, int rc)
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
	return http_reply_json(req, (unsigned int)status_of(rc), o);
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
		http_reply_json(a->req, 200,
				json_pack("{s:o s:b}", "entry", names_entry_encode(&w->entry),
					  "replaced", w->replaced));
	}
	http_resume(a->req);
	write_free(w);
	free(a);
}

static int optional_text(const json_t *body, const char *member, char **out)
{
	const json_t *v = json_object_get(body, member);

	if (json_is_null(v))
		return 0;
	if (!json_is_string(v) || json_string_length(v) > 4096)
		return -EINVAL;
	*out = strdup(json_string_value(v));
	return *out ? 0 : -ENOMEM;
}

static int put_decode(const json_t *body, struct write *w)
{
	const json_t *ideal = json_object_get(body, "ideal"), *value;
	size_t i;

	if (names_entry_decode(&w->entry, json_object_get(body, "entry")) || w->entry.deleted ||
	    optional_text(body, "if_none_match", &w->if_none_match) || !json_is_array(ideal) ||
	    json_array_size(ideal) > NAMES_HOLDERS_MAX)
		return -EINVAL;
	json_array_foreach (ideal, i, value) {
		if (!json_is_string(value) || !names_node_valid(json_string_value(value)))
			return -EINVAL;
		strcpy(w->ideal[w->nideal++], json_string_value(value));
	}
	return 0;
}

static int delete_decode(const json_t *body, struct write *w)
{
	uint8_t version[16];

	if (names_json_text(body, "key", w->entry.key, sizeof(w->entry.key)) ||
	    !names_key_valid(w->entry.key) ||
	    names_json_text(body, "version", w->entry.version, sizeof(w->entry.version)) ||
	    names_version_pack(version, w->entry.version))
		return -EINVAL;
	return 0;
}

/* The fuzzer calls it too. */
int names_write_decode(const json_t *body, bool put, char bucket[NAMES_BUCKET_MAX + 1],
		       struct write **w)
{
	uint64_t wait_ms;
	int rc;

	*w = write_new(put ? WRITE_PUT : WRITE_DELETE);
	if (!*w)
		return -ENOMEM;
	rc = names_json_text(body, "bucket", bucket, NAMES_BUCKET_MAX + 1) ||
			     !names_bucket_valid(bucket) ||
			     names_json_u64(body, "wait_ms", &wait_ms) ||
			     optional_text(body, "if_match", &(*w)->if_match)
		     ? -EINVAL
	     : put ? put_decode(body, *w)
		   : delete_decode(body, *w);
	if (rc) {
		write_free(*w);
		*w = NULL;
		return rc;
	}
	(*w)->deadline =
		now_ms() + (int64_t)(wait_ms < NAMES_TIMEOUT_MS ? wait_ms : NAMES_TIMEOUT_MS);
	return 0;
}

static enum http_next write_begin(struct names *n, struct http_req *req, const json_t *body,
				  bool put)
{
	struct asked *a = calloc(1, sizeof(*a));
	struct bucket_view v = { .known = false };
	struct bucket *b = NULL;
	struct write *w = NULL;
	int rc = a ? names_write_decode(body, put, a->bucket, &w) : -ENOMEM;

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

static void get_run(struct job *j)
{
	char bucket[NAMES_BUCKET_MAX + 1], key[NAMES_KEY_MAX + 1];
	struct name_entry e;
	int rc = -EINVAL;

	names_fail("the request is not understood");
	if (!names_json_text(j->body, "bucket", bucket, sizeof(bucket)) &&
	    names_bucket_valid(bucket) && !names_json_text(j->body, "key", key, sizeof(key)) &&
	    names_key_valid(key))
		rc = read_local(j->n, bucket, key, &e);
	else
		bucket[0] = '\0';
	if (rc)
		reply_failure(j->n, j->req, bucket, rc);
	else
		http_reply_json(j->req, 200, json_pack("{s:o}", "entry", names_entry_encode(&e)));
}

static int entry_append(void *arg, const char *bucket, const struct name_entry *e)
{
	(void)bucket;
	return json_array_append_new(arg, names_entry_encode(e)) ? -ENOMEM : 0;
}

static void list_run(struct job *j)
{
	char bucket[NAMES_BUCKET_MAX + 1] = "";
	json_t *entries = json_array();
	struct listing l;
	uint64_t limit;
	bool more = false;
	int rc = -EINVAL;

	names_fail("the request is not understood");
	if (!names_json_text(j->body, "bucket", bucket, sizeof(bucket)) &&
	    names_bucket_valid(bucket) &&
	    !names_json_text(j->body, "prefix", l.prefix, sizeof(l.prefix)) &&
	    !names_json_text(j->body, "after", l.after, sizeof(l.after)) &&
	    !names_json_u64(j->body, "limit", &limit) && limit >= 1 && limit <= NAMES_LIST_MAX) {
		l.limit = (unsigned int)limit;
		rc = list_local(j->n, bucket, &l, entry_append, entries, &more);
	}
	if (rc) {
		json_decref(entries);
		reply_failure(j->n, j->req, names_bucket_valid(bucket) ? bucket : "", rc);
		return;
	}
	http_reply_json(j->req, 200, json_pack("{s:o s:b}", "entries", entries, "more", more));
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
	{ "get", get_run, NULL },
	{ "list", list_run, NULL },
	{ "hash", hash_run, NULL },
	{ "append", NULL, replica_append },
	{ "position", NULL, replica_position },
	{ "pull", NULL, replica_pull },
	{ "begin", NULL, replica_begin },
	{ "page", NULL, replica_page },
	{ "end", NULL, replica_end },
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
	if (!strcmp(what, "put") || !strcmp(what, "delete"))
		next = write_begin(n, req, body, *what == 'p');
	else if (!strcmp(what, "confirm"))
		next = replica_confirm(n, req, body);
	else
		next = http_reply_error(req, 404, "unknown", "There is no such message.");
	json_decref(body);
	return next;
}
