/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_tus.c -- tus 1.0: creation (with upload, with deferred length), checksum, expiration, termination and
 * concatenation. Rights and limits are checked before a byte is taken; 204 means that the bytes are on stable storage.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/upload/uploads_int.h"

/* ---- headers ---- */

static void add_number(struct http_req *req, const char *name, uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	http_add_header(req, name, text);
}

/* Under the lock. */
static void add_expires(struct http_req *req, const struct upload *up)
{
	char date[32];

	if (up->state == UP_RECEIVING && up->expires)
		http_add_header(req, "Upload-Expires", tus_date((time_t)up->expires, date));
}

/* The method; clients that cannot send PATCH or DELETE say it in a header. */
static enum http_method method_of(const struct http_req *req)
{
	const char *said = http_header(req, "X-HTTP-Method-Override");

	if (!said || http_method(req) != HTTP_POST)
		return http_method(req);
	return !strcasecmp(said, "PATCH")    ? HTTP_PATCH
	       : !strcasecmp(said, "DELETE") ? HTTP_DELETE
	       : !strcasecmp(said, "HEAD")   ? HTTP_HEAD
					     : HTTP_POST;
}

/* Said twice, two readers on the way may take either. False: answered. */
static bool once_ok(struct http_req *req)
{
	static const char *const names[] = { "Upload-Offset",	"Upload-Length", "Upload-Defer-Length", "Upload-Metadata",
					     "Upload-Checksum", "Upload-Concat", "X-HTTP-Method-Override" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (http_header_repeated(req, names[i])) {
			http_reply_error(req, 400, "repeated", "%s stands twice in the request", names[i]);
			return false;
		}
	}
	return true;
}

/* Every answer says the version; requests must too. False: answered. */
static bool version_ok(struct http_req *req)
{
	const char *said = http_header(req, "Tus-Resumable");

	http_add_header(req, "Tus-Resumable", TUS_VERSION);
	http_add_header(req, "Cache-Control", "no-store");
	if (said && !strcmp(said, TUS_VERSION))
		return once_ok(req);
	http_add_header(req, "Tus-Version", TUS_VERSION);
	http_reply_error(req, 412, "version", "this server speaks tus %s (Tus-Resumable)", TUS_VERSION);
	return false;
}

/* Upload-Checksum into the call. False: answered. */
static bool checksum_ok(struct call *c)
{
	const char *header = http_header(c->req, "Upload-Checksum");
	int rc = header ? tus_checksum_parse(&c->checksum, header) : 0;

	if (!header)
		return true;
	if (!rc)
		c->digest = tus_digest_new(c->checksum.algorithm);
	if (c->digest)
		return true;
	http_reply_error(c->req, 400, "checksum", "Upload-Checksum should be one of %s, a blank, and base64",
			 TUS_CHECKSUMS);
	return false;
}

static enum http_next options(struct uploads *u, struct http_req *req)
{
	http_add_header(req, "Tus-Resumable", TUS_VERSION);
	http_add_header(req, "Tus-Version", TUS_VERSION);
	http_add_header(req, "Tus-Extension", TUS_EXTENSIONS);
	http_add_header(req, "Tus-Checksum-Algorithm", TUS_CHECKSUMS);
	add_number(req, "Tus-Max-Size", u->object_max);
	return http_reply(req, 204, NULL, NULL, 0);
}

/* ---- creation ---- */

static bool refuse(struct http_req *req, const char *code, const char *sentence)
{
	http_reply_error(req, 400, code, "%s", sentence);
	return false;
}

static bool read_length(struct http_req *req, struct tus_wish *w)
{
	const char *length = http_header(req, "Upload-Length"), *defer = http_header(req, "Upload-Defer-Length");

	w->size = UINT64_MAX;
	if (w->concat == TUS_FINAL)
		return length || defer ? refuse(req, "length", "a final upload has the length of its parts") : true;
	if (!length == !defer)
		return refuse(req, "length", "one of Upload-Length and Upload-Defer-Length is needed");
	if (defer && strcmp(defer, "1"))
		return refuse(req, "length", "Upload-Defer-Length can be 1 alone");
	if (length && tus_number(&w->size, length))
		return refuse(req, "length", "Upload-Length is no number of bytes");
	return true;
}

static bool read_metadata(struct http_req *req, struct tus_wish *w)
{
	const char *header = http_header(req, "Upload-Metadata");
	long dataset, file;

	if (header && tus_metadata_check(header))
		return refuse(req, "metadata", "Upload-Metadata is malformed");
	dataset = tus_metadata(header, "dataset", w->dataset, sizeof(w->dataset));
	file = tus_metadata(header, "filename", w->file, sizeof(w->file));
	if (w->concat == TUS_PARTIAL) { /* the final upload says them */
		if (dataset <= 0)
			w->dataset[0] = '\0';
		if (file <= 0)
			w->file[0] = '\0';
		return true;
	}
	if (dataset <= 0 || file <= 0)
		return refuse(req, "metadata", "Upload-Metadata needs dataset and filename, in base64");
	if (!file_name_valid(w->file))
		return refuse(req, "filename",
			      "a file's name has 1 to 240 bytes of UTF-8 without control characters, no empty, . or .. "
			      "between slashes, does not begin with .weir/ or derived/, and has no folder keys or versions within");
	return true;
}

static bool read_wish(struct http_req *req, struct tus_wish *w)
{
	const char *concat = http_header(req, "Upload-Concat");

	w->concat = TUS_WHOLE;
	if (concat && tus_concat_parse(&w->concat, &w->parts, concat))
		return refuse(req, "concat", "Upload-Concat should be partial, or final; and the addresses of the parts");
	return read_length(req, w) && read_metadata(req, w);
}

/* Parts are nobody's dataset yet: who may write one at all may bring them. */
static bool may_write_any(struct uploads *u, struct http_req *req, const struct token_scope *who)
{
	json_t *all = users_datasets(u->opt.users, who), *one;
	bool may = false;
	size_t i;

	json_array_foreach (all, i, one)
		may |= json_is_true(json_object_get(one, "write"));
	json_decref(all);
	if (!may)
		http_reply_error(req, 403, "forbidden", "%s may write no dataset", who->user);
	return may;
}

static bool wish_allowed(struct call *c, struct tus_wish *w)
{
	struct uploads *u = c->u;

	w->max_size = u->object_max;
	if (w->concat == TUS_PARTIAL && !w->dataset[0]) {
		if (!may_write_any(u, c->req, &c->who))
			return false;
	} else if (!take_allowed(u, c->req, &c->who, w->dataset, w->file, &w->max_size)) {
		return false;
	}
	if (w->size == UINT64_MAX || w->size <= w->max_size)
		return true;
	http_reply_error(c->req, 413, "too_large", "the dataset takes files of at most %llu bytes",
			 (unsigned long long)w->max_size);
	return false;
}

int tus_make(struct call *c, const struct tus_wish *w, uint64_t size)
{
	char from[ADDR_PORT_STRLEN];
	struct upload_begin b = { .dataset = w->dataset,
				  .file = w->file,
				  .by = c->who.user,
				  .from = access_client(c->req, from),
				  .how = "tus",
				  .request = http_id(c->req),
				  .metadata = http_header(c->req, "Upload-Metadata"),
				  .size = size,
				  .max_size = w->max_size,
				  .concat = w->concat };

	return upload_new(&c->up, c->u, &b);
}

/* On a worker thread, in begin: what is not answered here goes on with its body. */
static void create_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	struct tus_wish *w = c->own;
	int rc;

	(void)arg;
	if (w->concat == TUS_FINAL) {
		tus_join(c, w);
	} else {
		rc = tus_make(c, w, w->size);
		if (!rc)
			rc = take_begin(c->up, c, 0);
		c->created = !rc;
		if (rc)
			take_refuse(req, rc, c->up);
	}
}

static bool body_type_ok(struct http_req *req)
{
	const char *type = http_header(req, "Content-Type");

	if (type && !strcmp(type, TUS_TYPE))
		return true;
	http_reply_error(req, 415, "type", "the body's Content-Type should be " TUS_TYPE);
	return false;
}

static enum http_next create(struct call *c)
{
	struct http_req *req = c->req;
	enum http_next next = HTTP_ANSWERED;
	struct tus_wish *w = c->own = calloc(1, sizeof(*w));

	if (!w)
		return http_reply_error(req, 503, "memory", "out of memory");
	if (read_wish(req, w) && (!http_content_length(req) || body_type_ok(req)) && checksum_ok(c)) {
		if (w->concat == TUS_FINAL && forward_begin(c->u, req, w->parts.id[0], &next))
			return next;
		if (wish_allowed(c, w))
			return http_work(req, create_work, NULL);
	}
	return next;
}

enum http_next uploads_tus_begin(struct http_req *req, struct uploads *u)
{
	struct call *c;

	if (http_method(req) == HTTP_OPTIONS)
		return options(u, req);
	if (!version_ok(req))
		return HTTP_ANSWERED;
	c = call_signed(u, req);
	if (!c)
		return HTTP_ANSWERED;
	return create(c);
}

/* ---- one upload ---- */

/* The upload of the path, hers: else 404 or 410. */
static bool find_hers(struct call *c)
{
	bool gone;

	c->up = uploads_find(c->u, http_param(c->req, "id"), &gone);
	if (c->up && upload_visible(c->u, &c->who, c->up))
		return true;
	if (gone)
		http_reply_error(c->req, 410, "gone", "this upload expired, or was cancelled");
	else
		http_reply_error(c->req, 404, "no_upload", "there is no such upload");
	return false;
}

static enum http_next head(struct call *c)
{
	struct upload *up = c->up;

	pthread_mutex_lock(&up->lock);
	if (up->state == UP_CANCELLED) {
		pthread_mutex_unlock(&up->lock);
		return http_reply_error(c->req, 410, "gone", "this upload was cancelled");
	}
	add_number(c->req, "Upload-Offset", up->received);
	if (up->size != UINT64_MAX)
		add_number(c->req, "Upload-Length", up->size);
	else
		http_add_header(c->req, "Upload-Defer-Length", "1");
	if (*up->metadata)
		http_add_header(c->req, "Upload-Metadata", up->metadata);
	if (up->concat != TUS_WHOLE)
		http_add_header(c->req, "Upload-Concat", up->concat == TUS_PARTIAL ? "partial" : "final");
	add_expires(c->req, up);
	pthread_mutex_unlock(&up->lock);
	return http_reply(c->req, 200, NULL, NULL, 0);
}

/* Upload-Length of an upload that began without. False: answered. */
static bool late_length(struct call *c)
{
	const char *header = http_header(c->req, "Upload-Length");
	struct upload *up = c->up;
	uint64_t size;
	int rc = 0;

	if (!header)
		return true;
	if (tus_number(&size, header))
		return refuse(c->req, "length", "Upload-Length is no number of bytes");
	pthread_mutex_lock(&up->lock);
	if (up->size != UINT64_MAX && up->size != size)
		rc = -EINVAL;
	else if (up->max_size && size > up->max_size)
		rc = -EFBIG;
	else if (size < up->received)
		rc = -EINVAL;
	else if (up->size == UINT64_MAX)
		rc = upload_reserve(up, size);
	if (!rc)
		up->size = size;
	pthread_mutex_unlock(&up->lock);
	if (rc == -EINVAL)
		return refuse(c->req, "length", "the upload has another length");
	if (!rc)
		rc = upload_save(up);
	if (rc)
		take_refuse(c->req, rc, up);
	return !rc;
}

static void patch_begin_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	uint64_t length = http_content_length(req);
	int rc;

	if (!late_length(c))
		return;
	if (strcmp(c->up->how, "tus")) { /* one request brings it */
		take_refuse(req, -EPERM, c->up);
		return;
	}
	rc = take_begin(c->up, c, *(uint64_t *)arg);
	if (rc == -EALREADY && !length) { /* all was there already */
		c->ended = true;
		return;
	}
	if (!rc && length != UINT64_MAX && c->up->size != UINT64_MAX && c->base + length > c->up->size) {
		take_drop(c);
		rc = -EMSGSIZE;
	}
	if (rc)
		take_refuse(req, rc == -EALREADY ? -EPERM : rc, c->up);
}

static enum http_next patch(struct call *c)
{
	const char *offset = http_header(c->req, "Upload-Offset");
	uint64_t max;

	if (!body_type_ok(c->req))
		return HTTP_ANSWERED;
	if (tus_number(&c->base, offset))
		return http_reply_error(c->req, 400, "offset", "Upload-Offset is missing, or no number of bytes");
	if (!checksum_ok(c))
		return HTTP_ANSWERED;
	/* A right that was taken away meanwhile counts. */
	if (c->up->dataset[0] && !take_allowed(c->u, c->req, &c->who, c->up->dataset, c->up->file, &max))
		return HTTP_ANSWERED;
	return http_work(c->req, patch_begin_work, &c->base);
}

static void cancel_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	struct upload *up = c->up;

	(void)arg;
	if (!upload_cancel(up, NULL)) {
		http_reply_error(req, 409, "storing", "the file is being stored just now");
		return;
	}
	pthread_mutex_lock(&up->lock);
	if (up->state != UP_CANCELLED)
		up->expires = 1; /* what is over is forgotten; objects stay */
	pthread_mutex_unlock(&up->lock);
	upload_save(up);
	uploads_kick(up->u);
	http_reply(req, 204, NULL, NULL, 0);
}

enum http_next uploads_cancel(struct call *c)
{
	return http_work(c->req, cancel_work, NULL);
}

enum http_next uploads_tus_one_begin(struct http_req *req, struct uploads *u)
{
	enum http_next next;
	struct call *c;

	if (http_method(req) == HTTP_OPTIONS)
		return options(u, req);
	if (!version_ok(req))
		return HTTP_ANSWERED;
	c = call_signed(u, req);
	if (!c)
		return HTTP_ANSWERED;
	if (forward_begin(u, req, http_param(req, "id"), &next))
		return next;
	if (!find_hers(c))
		return HTTP_ANSWERED;
	switch (method_of(req)) {
	case HTTP_HEAD:
	case HTTP_GET:
		return head(c);
	case HTTP_PATCH:
		return patch(c);
	case HTTP_DELETE:
		return uploads_cancel(c);
	default:
		return http_reply_error(req, 405, "method", "an upload takes HEAD, PATCH and DELETE");
	}
}

/* ---- bytes, for both ---- */

enum http_next uploads_tus_body(struct http_req *req, struct uploads *u, const void *data, size_t len, size_t *taken)
{
	struct call *c = http_state(req);
	int rc;

	(void)u;
	if (FORWARDED(c))
		return forward_body(c, data, len, taken);
	rc = c->up ? take_some(c, data, len, taken) : -EPERM;
	return rc ? take_refuse(req, rc, c->up) : HTTP_CONTINUE;
}

static void end_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	struct upload *up = c->up;
	char location[80];
	int rc = c->ended || up->concat == TUS_FINAL ? 0 : take_end(c, true, false);

	(void)arg;
	if (rc) {
		take_refuse(req, rc, up);
		return;
	}
	pthread_mutex_lock(&up->lock);
	add_number(req, "Upload-Offset", up->received);
	add_expires(req, up);
	pthread_mutex_unlock(&up->lock);
	if (c->created) {
		snprintf(location, sizeof(location), "/_/tus/%s", up->id);
		http_add_header(req, "Location", location);
	}
	http_reply(req, c->created ? 201 : 204, NULL, NULL, 0);
}

enum http_next uploads_tus_end(struct http_req *req, struct uploads *u)
{
	struct call *c = http_state(req);

	(void)u;
	if (FORWARDED(c))
		return forward_end(c);
	return http_work(req, end_work, NULL);
}

void uploads_call_done(struct http_req *req, struct uploads *u)
{
	(void)u;
	call_free(http_state(req));
}
