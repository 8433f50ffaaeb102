/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_replace.c -- a part of a file is sent again: the new upload is made of what was before it, the request's body,
 * and what was behind it, and is checked whole.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/upload/datasets.h"
#include "http/upload/objects.h"
#include "http/upload/uploads_int.h"

/* What the request asks for, and the file that it is about. */
struct part {
	int fd; /* the file as it was */
	uint64_t size, first, len; /* bytes replaced */
	uint64_t version;
	bool by_rows;
	uint64_t row_first, row_last;
	char dataset[64], file[FILE_NAME_MAX + 1], how[16];
	const char *as; /* the new upload's name: a copy of the whole file, no part of it; else NULL */
	json_t *rules;
	uint64_t max_size;
};

static bool read_range(const char *text, uint64_t *a, uint64_t *b)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*a = *b = strtoull(text, &end, 10);
	if (*end == '-' && end[1] >= '0' && end[1] <= '9')
		*b = strtoull(end + 1, &end, 10);
	return !*end && !errno && *b >= *a && *b < INT64_MAX;
}

/* False: answered. */
static bool read_part(struct http_req *req, struct part *p)
{
	const char *rows = http_query(req, "rows"), *bytes = http_query(req, "bytes");

	p->by_rows = rows != NULL;
	if (!rows == !bytes || (rows && (!read_range(rows, &p->row_first, &p->row_last) || !p->row_first))) {
		http_reply_error(req, 400, "range", "one of ?rows=A-B (data rows from 1) and ?bytes=A-B (from 0) is needed, "
				 "both ends among them");
		return false;
	}
	if (bytes && !read_range(bytes, &p->first, &p->len)) {
		http_reply_error(req, 400, "range", "?bytes=A-B: both are numbers from 0, B not before A");
		return false;
	}
	if (bytes)
		p->len = p->len - p->first + 1;
	return true;
}

/* Where the part is. 0, or answered. */
static int locate(struct call *c, struct part *p)
{
	int rc = 0;

	if (p->by_rows)
		rc = worker_locate(c->u->nursery, p->rules, p->fd, p->row_first, p->row_last, &p->first, &p->len);
	/* A worker's word is no better than a client's. */
	if (!rc && (p->first > p->size || p->len > p->size - p->first))
		rc = -ENOENT;
	if (rc == -ENOTSUP)
		http_reply_error(c->req, 422, "packed", "rows of a packed file cannot be replaced: send ?bytes=A-B, or the whole "
				 "file");
	else if (rc == -ENOENT)
		http_reply_error(c->req, 416, "range", "the file has no such part");
	else if (rc)
		http_reply_error(c->req, 503, "locate", "the rows could not be found (%s); try again", strerror(-rc));
	return rc;
}

/* The new upload, with what is before the part: then it takes the body. Blocks. */
static void begin_new(struct call *c, struct part *p)
{
	char from[ADDR_PORT_STRLEN];
	struct upload_begin b = { .dataset = p->dataset,
				  .file = p->file,
				  .by = c->who.user,
				  .from = access_client(c->req, from),
				  .how = "replace",
				  .metadata = http_header(c->req, "Upload-Metadata"), /* a sender finds it by this */
				  .request = http_id(c->req),
				  .size = UINT64_MAX,
				  .max_size = p->max_size };
	int rc = locate(c, p);

	if (!rc) {
		b.replaced = p->as ? NULL : json_pack("{s:I, s:[I,I]}", "version", (json_int_t)p->version, "bytes", (json_int_t)p->first,
				       (json_int_t)(p->first + p->len - 1));
		if (p->as)
			b.file = p->as;
		rc = upload_new(&c->up, c->u, &b);
		c->made = !rc;
		if (!rc)
			rc = upload_reserve(c->up, p->size);
		if (!rc)
			rc = spool_copy(p->fd, 0, p->first, c->up->fd, 0);
		if (!rc) {
			pthread_mutex_lock(&c->up->lock);
			c->up->received = p->first;
			pthread_mutex_unlock(&c->up->lock);
			rc = take_begin(c->up, c, p->first);
		}
		if (rc)
			take_refuse(c->req, rc, c->up);
	}
	json_decref(b.replaced);
}

static void part_free(void *own)
{
	struct part *p = own;

	if (p->fd >= 0)
		close(p->fd);
	json_decref(p->rules);
	free(p);
}

static struct part *part_new(struct call *c)
{
	struct part *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->fd = -1;
	c->own = p;
	c->own_free = part_free;
	return p;
}

/* ---- an upload's part ---- */

static void upload_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	struct part *p = c->own;
	struct upload *up = arg;
	struct stat st;
	int rc = 0;

	p->fd = spool_file(c->u->spool, up->id, "data", SPOOL_READ);
	if (p->fd < 0 || fstat(p->fd, &st))
		rc = -EIO;
	if (rc) {
		http_reply_error(req, 409, "gone", "this upload's bytes are no longer here");
	} else {
		p->size = (uint64_t)st.st_size;
		begin_new(c, p);
	}
	if (c->up)
		upload_drop(up);
	else
		c->up = up; /* dropped with the call */
}

enum http_next replace_upload_begin(struct http_req *req, struct uploads *u)
{
	struct call *c;
	enum http_next next = upload_of_path(req, u, &c);
	struct upload *up;
	struct part *p;
	bool rejected;

	if (!c)
		return next;
	up = c->up;
	p = part_new(c);
	if (!p)
		return http_reply_error(req, 503, "memory", "out of memory");
	if (!read_part(req, p) || !take_allowed(u, req, &c->who, up->dataset, up->file, &p->max_size))
		return HTTP_ANSWERED;
	pthread_mutex_lock(&up->lock);
	rejected = up->state == UP_REJECTED;
	p->rules = up->rules ? json_incref(up->rules) : NULL;
	pthread_mutex_unlock(&up->lock);
	if (!rejected)
		return http_reply_error(req, 409, "state",
					"only a rejected upload is mended here; an accepted file by "
					"/_/datasets/%s/replace/FILE",
					up->dataset);
	snprintf(p->dataset, sizeof(p->dataset), "%s", up->dataset);
	snprintf(p->file, sizeof(p->file), "%s", up->file);
	c->up = NULL; /* its place is the new one's; upload_work has the reference */
	return http_work(req, upload_work, up);
}

/* ---- a file's part ---- */

static int fetch(struct call *c, struct part *p)
{
	struct object_at at = { p->dataset, p->file, c->who.user };
	json_t *manifest = NULL, *record;
	int rc = dataset_manifest(c->u, p->dataset, p->file, c->who.user, &manifest);

	if (rc)
		return rc;
	p->version = (uint64_t)json_integer_value(json_object_get(manifest, "version"));
	json_decref(manifest);
	record = users_dataset_record(c->u->opt.users, p->dataset);
	p->rules = record ? json_incref(json_object_get(record, "rules")) : NULL;
	json_decref(record);
	p->fd = spool_temporary(c->u->spool);
	return p->fd < 0 ? p->fd : objects_get_file(c->u, &at, p->fd, &p->size, NULL);
}

static void file_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	struct part *p = c->own;
	int rc = fetch(c, p);

	(void)arg;
	if (rc == -ENOENT)
		http_reply_error(req, 404, "no_file", "there is no such file");
	else if (rc)
		http_reply_error(req, 503, "endpoint", "the file could not be read (%s); try again", objects_error());
	else
		begin_new(c, p);
}

enum http_next replace_file_begin(struct http_req *req, struct uploads *u)
{
	const char *dataset = http_param(req, "name"), *file = http_param(req, "file"), *as = http_query(req, "as");
	struct call *c = call_new(u, req);
	struct part *p;

	if (!c || !(p = part_new(c)))
		return http_reply_error(req, 503, "memory", "out of memory");
	if (!access_who(req, u->opt.users, &c->who) || (!as && !read_part(req, p)) ||
	    !take_allowed(u, req, &c->who, dataset, as ? as : file, &p->max_size))
		return HTTP_ANSWERED;
	if (as && (!file_name_valid(as) || http_content_length(req)))
		return http_reply_error(req, 400, "filename", "?as=NAME copies the file: a valid name, and no body");
	p->as = as;
	if (!file_name_valid(file) || (as && !users_allow(u->opt.users, &c->who, RIGHT_READ, dataset, file)))
		return http_reply_error(req, 404, "no_file", "there is no such file");
	snprintf(p->dataset, sizeof(p->dataset), "%s", dataset);
	snprintf(p->file, sizeof(p->file), "%s", file);
	return http_work(req, file_work, NULL);
}

/* ---- the body, and what is behind it ---- */

enum http_next replace_body(struct http_req *req, struct uploads *u, const void *data, size_t len, size_t *taken)
{
	struct call *c = http_state(req);
	int rc;

	(void)u;
	if (FORWARDED(c))
		return forward_body(c, data, len, taken);
	rc = c->up ? take_bytes(c, data, len) : -EPERM;
	return rc ? take_refuse(req, rc, c->up) : HTTP_CONTINUE;
}

static int append_rest(struct call *c, struct part *p)
{
	struct upload *up = c->up;
	uint64_t from = p->first + p->len, rest = p->size - from;
	int rc = 0;

	pthread_mutex_lock(&up->lock);
	if (up->max_size && c->offset + rest > up->max_size)
		rc = -EFBIG;
	else
		rc = upload_reserve(up, c->offset + rest);
	pthread_mutex_unlock(&up->lock);
	if (!rc)
		rc = spool_copy(p->fd, from, rest, up->fd, c->offset);
	if (rc)
		return rc;
	pthread_mutex_lock(&up->lock);
	c->offset += rest;
	up->received = c->offset;
	pthread_mutex_unlock(&up->lock);
	return take_end(c, true, true);
}

static void end_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	int rc = c->up ? append_rest(c, c->own) : -EPERM;

	(void)arg;
	c->ended = true;
	if (rc && c->up) /* its worker may run */
		upload_cancel(c->up, "its end could not be kept");
	if (!rc)
		http_reply_json(req, 201, json_pack("{s:s}", "id", c->up->id));
	else
		take_refuse(req, rc, c->up);
}

enum http_next replace_end(struct http_req *req, struct uploads *u)
{
	struct call *c = http_state(req);

	(void)u;
	if (FORWARDED(c))
		return forward_end(c);
	return http_work(req, end_work, NULL);
}
