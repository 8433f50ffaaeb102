/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_put.c -- PUT /b/DATASET/FILE and forms: one request brings the whole file and hears how it ended; and DELETE of
 * a dataset's file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "http/upload/datasets.h"
#include "http/upload/uploads_int.h"
#include "lib/form.h"

/* ---- the answer ---- */

static json_t *result_json(struct upload *up)
{
	json_t *o = upload_json(up, true);

	if (o)
		json_object_set(o, "upload", json_object_get(o, "id"));
	return o;
}

static void answer_rejected(struct http_req *req, struct upload *up)
{
	json_t *o = result_json(up);

	if (o) {
		json_object_set_new(o, "error", json_string("rejected"));
		json_object_set_new(o, "message", json_sprintf("%s does not keep the rules of %s: %llu findings", up->file,
							       up->dataset, (unsigned long long)up->nfindings));
		json_object_set_new(o, "request", json_string(http_id(req)));
	}
	http_reply_json(req, 422, o);
}

/* A form without a script goes to the page of its upload, whatever became of it. */
static bool wants_page(const struct call *c)
{
	const char *accept = http_header(c->req, "Accept");

	return !strcmp(c->up->how, "form") && accept && strstr(accept, "text/html");
}

void put_answer(struct call *c)
{
	struct upload *up = c->up;
	char location[96];

	if (c->answer) {
		file_answer(c);
		return;
	}
	snprintf(location, sizeof(location), "/#/uploads/%s", up->id);
	if (wants_page(c)) {
		http_add_header(c->req, "Location", location);
		http_reply(c->req, 303, NULL, NULL, 0);
	} else if (up->state == UP_ACCEPTED) {
		http_reply_json(c->req, up->replaced_earlier ? 200 : 201, result_json(up));
	} else if (up->state == UP_REJECTED) {
		answer_rejected(c->req, up);
	} else if (up->state == UP_STORING) {
		http_reply_json(c->req, 202, result_json(up));
	} else if (up->state == UP_CANCELLED) {
		http_reply_error(c->req, 410, "cancelled", "the upload was cancelled");
	} else if (!upload_over(up)) {
		http_reply_error(c->req, 503, "stopping", "the gateway stops; the upload goes on when it is back");
	} else if (strstr(up->why, "If-Match")) {
		http_reply_error(c->req, 412, "condition", "%s", up->why);
	} else {
		http_reply_error(c->req, 500, "failed", "%s", up->why);
	}
}

/* ---- PUT ---- */

/* Conditions are looked at before the body comes, and again when it is stored. */
static void put_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	const char *match = http_header(req, "If-Match"), *none = http_header(req, "If-None-Match");
	char from[ADDR_PORT_STRLEN];
	struct upload_begin b = { .dataset = http_param(req, "bucket"),
				  .file = http_param(req, "key"),
				  .by = c->who.user,
				  .from = access_client(req, from),
				  .how = "put",
				  .request = http_id(req),
				  .size = http_content_length(req),
				  .max_size = *(uint64_t *)arg,
				  .if_match = match,
				  .if_none_match = none };
	int rc = match || none ? datasets_condition(c->u, b.dataset, b.file, match, none) : 0;

	if (rc == -ECANCELED) {
		http_reply_error(req, 412, "condition", "If-Match or If-None-Match does not hold; nothing was changed");
		return;
	}
	if (!rc)
		rc = upload_new(&c->up, c->u, &b);
	c->made = !rc;
	if (!rc)
		rc = take_begin(c->up, c, 0);
	if (rc)
		take_refuse(req, rc, c->up);
}

/* To who may not even read it a dataset looks like any other bucket, also one that is not there. */
static bool put_refused(struct call *c, const char *dataset, const char *file)
{
	bool put = http_method(c->req) == HTTP_PUT;
	char on[320];

	if (users_allow(c->u->opt.users, &c->who, RIGHT_READ, dataset, file) ||
	    access_check(c->req, c->u->opt.users, put ? RIGHT_WRITE : RIGHT_DELETE, dataset, file, &c->who))
		return false;
	snprintf(on, sizeof(on), "%.63s/%.240s", dataset, file);
	uploads_audit(c->u, c->req, &c->who, put ? "upload" : "delete", on, "denied", NULL, 0);
	return true;
}

enum http_next uploads_put_begin(struct http_req *req, struct uploads *u)
{
	const char *dataset = http_param(req, "bucket"), *file = http_param(req, "key");
	struct call *c = call_new(u, req);
	uint64_t size = http_content_length(req);

	if (!c)
		return http_reply_error(req, 503, "memory", "out of memory");
	if (!access_who(req, u->opt.users, &c->who) || put_refused(c, dataset, file))
		return HTTP_ANSWERED;
	if (http_method(req) == HTTP_DELETE)
		return datasets_delete_file(c, dataset, file);
	if (!file_name_valid(file))
		return http_reply_error(req, 400, "filename",
					"a dataset's file has 1 to 240 bytes of UTF-8 without control characters, no empty, "
					". or .. between slashes, does not begin with .weir/ or derived/, and has no folder keys or versions within");
	if (!take_allowed(u, req, &c->who, dataset, file, &c->base))
		return HTTP_ANSWERED;
	if (size != UINT64_MAX && size > c->base)
		return http_reply_error(req, 413, "too_large", "the dataset takes files of at most %llu bytes",
					(unsigned long long)c->base);
	c->offset = c->base; /* max_size, until the upload is there */
	return http_work(req, put_work, &c->offset);
}

enum http_next uploads_put_body(struct http_req *req, struct uploads *u, const void *data, size_t len, size_t *taken)
{
	struct call *c = http_state(req);
	int rc = c->up ? take_some(c, data, len, taken) : -EPERM;

	(void)u;
	return rc ? take_refuse(req, rc, c->up) : HTTP_CONTINUE;
}

enum http_next uploads_put_end(struct http_req *req, struct uploads *u)
{
	struct call *c = http_state(req);
	int rc;

	(void)u;
	if (!c || !c->up)
		return http_reply_error(req, 500, "no_upload", "the upload did not begin");
	rc = take_end(c, false, true);
	if (rc)
		return take_refuse(req, rc, c->up);
	c->ended = true;
	return call_wait(c);
}

/* A PUT or form whose client went away in the middle is nothing that anybody can go on with. */
void uploads_put_done(struct http_req *req, struct uploads *u)
{
	struct call *c = http_state(req);

	(void)u;
	if (c && c->up && c->made && !c->ended) {
		pthread_mutex_lock(&c->up->lock);
		if (c->up->state == UP_RECEIVING) {
			check_cancel(c->up);
			upload_become(c->up, UP_CANCELLED, "the connection ended before the file");
		}
		pthread_mutex_unlock(&c->up->lock);
		uploads_kick(c->u);
	}
	call_free(c);
}

/* ---- forms ---- */

/* Browsers send a name, some a path: what is behind the last slash of either kind. */
static const char *base_name(const char *name)
{
	const char *slash = strrchr(name, '/'), *back = strrchr(name, '\\');

	if (back > slash)
		slash = back;
	return slash ? slash + 1 : name;
}

static int form_part(void *arg, const char *name, const char *filename)
{
	struct call *c = arg;
	char from[ADDR_PORT_STRLEN];
	struct upload_begin b = { .dataset = http_param(c->req, "dataset"),
				  .by = c->who.user,
				  .from = access_client(c->req, from),
				  .how = "form",
				  .request = http_id(c->req),
				  .size = UINT64_MAX };
	int rc;

	c->in_file = false;
	if (!filename) {
		c->ncsrf = strcmp(name, "csrf") ? sizeof(c->csrf) : 0;
		return 0;
	}
	if (strcmp(name, "file") || c->had_file || !*filename)
		return 0;
	/* The word comes before the file, or in the address. */
	if (!c->form_ok && !access_csrf_matches(c->u->opt.users, &c->who, c->csrf))
		return -EACCES;
	b.file = base_name(filename);
	b.max_size = c->base;
	if (!file_name_valid(b.file))
		return -EINVAL;
	rc = upload_new(&c->up, c->u, &b); /* two small files: short enough for this thread */
	c->made = !rc;
	if (!rc)
		rc = take_begin(c->up, c, 0);
	c->in_file = c->had_file = !rc;
	return rc;
}

static int form_data(void *arg, const void *data, size_t len)
{
	struct call *c = arg;

	if (c->in_file)
		return take_bytes(c, data, len);
	if (c->ncsrf + len < sizeof(c->csrf)) {
		memcpy(c->csrf + c->ncsrf, data, len);
		c->ncsrf += len;
		c->csrf[c->ncsrf] = '\0';
	}
	return 0;
}

static int form_part_end(void *arg)
{
	((struct call *)arg)->in_file = false;
	return 0;
}

static enum http_next form_refuse(struct call *c, int rc)
{
	switch (rc) {
	case -EACCES:
		return http_reply_error(c->req, 403, "csrf", "the form's word against forged requests is missing or old");
	case -EINVAL:
		return http_reply_error(c->req, 400, "filename", "the file's name cannot be taken; rename it");
	case -EBADMSG:
		return http_reply_error(c->req, 400, "form", "this is no form of multipart/form-data with a field file");
	default:
		return take_refuse(c->req, rc, c->up);
	}
}

enum http_next uploads_form_begin(struct http_req *req, struct uploads *u)
{
	struct call *c = call_new(u, req);
	struct form_sink sink = { form_part, form_data, form_part_end, c };
	int rc;

	if (!c)
		return http_reply_error(req, 503, "memory", "out of memory");
	if (!access_who_form(req, u->opt.users, &c->who))
		return HTTP_ANSWERED;
	c->form_ok = !access_is_cookie(req) || access_csrf_matches(u->opt.users, &c->who, http_query(req, "csrf")) ||
		     access_csrf_matches(u->opt.users, &c->who, http_header(req, "X-Weir-CSRF"));
	if (!take_allowed(u, req, &c->who, http_param(req, "dataset"), "", &c->base))
		return HTTP_ANSWERED;
	rc = form_new(&c->form, http_header(req, "Content-Type"), &sink);
	if (rc)
		return http_reply_error(req, 415, "type", "the body should be multipart/form-data");
	return HTTP_CONTINUE;
}

enum http_next uploads_form_body(struct http_req *req, struct uploads *u, const void *data, size_t len, size_t *taken)
{
	struct call *c = http_state(req);
	int rc;

	(void)req;
	(void)u;
	/* The few bytes around the file count as the file's. */
	*taken = c->in_file ? hold_room(c, len) : len;
	rc = *taken ? form_feed(c->form, data, *taken) : 0;
	return rc ? form_refuse(c, rc) : HTTP_CONTINUE;
}

enum http_next uploads_form_end(struct http_req *req, struct uploads *u)
{
	struct call *c = http_state(req);
	int rc = form_end(c->form);

	if (rc || !c->up)
		return form_refuse(c, -EBADMSG);
	rc = take_end(c, false, true);
	if (rc)
		return take_refuse(req, rc, c->up);
	c->ended = true;
	(void)u;
	if (wants_page(c)) { /* its page shows how it goes on */
		put_answer(c);
		return HTTP_ANSWERED;
	}
	return call_wait(c);
}
