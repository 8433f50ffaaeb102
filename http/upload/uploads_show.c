/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_show.c -- uploads as their uploaders (and stewards) see them, live events among it; and the table of all
 * routes of the service.
 */
#include <stdlib.h>
#include <string.h>

#include "http/upload/datasets.h"
#include "http/upload/uploads_int.h"

#define LISTENERS_MAX 64 /* of one upload */
#define LIST_MAX      1000

/* ---- lists ---- */

static int newest_first(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	json_int_t p = json_integer_value(json_object_get(x, "changed")), q = json_integer_value(json_object_get(y, "changed"));

	return p < q ? 1 : p > q ? -1 : 0;
}

/* Newest first, at most LIST_MAX. Takes the list. */
static json_t *sorted(json_t *list)
{
	size_t n = json_array_size(list);
	json_t **all = calloc(n + 1, sizeof(*all)), *out = json_array();

	for (size_t i = 0; all && i < n; i++)
		all[i] = json_array_get(list, i);
	if (all)
		qsort(all, n, sizeof(*all), newest_first);
	for (size_t i = 0; all && i < n && i < LIST_MAX; i++)
		json_array_append(out, all[i]);
	free(all);
	json_decref(list);
	return out;
}

static json_t *mine(struct uploads *u, const struct token_scope *who)
{
	json_t *list = json_array();

	pthread_mutex_lock(&u->lock);
	for (struct upload *up = u->list; up; up = up->next) {
		if (!upload_visible(u, who, up) || up->concat == TUS_PARTIAL)
			continue;
		pthread_mutex_lock(&up->lock);
		json_array_append_new(list, upload_json(up, false));
		pthread_mutex_unlock(&up->lock);
	}
	pthread_mutex_unlock(&u->lock);
	return list;
}

static void list_work(struct http_req *req, void *arg)
{
	struct uploads *u = arg;
	struct call *c = http_state(req);
	json_t *list = mine(u, &c->who);

	if (!http_query(req, "here")) /* the other gateways' too */
		forward_lists(c, list);
	http_reply_json(req, 200, json_pack("{s:o}", "uploads", sorted(list)));
}

static enum http_next list_begin(struct http_req *req, struct uploads *u)
{
	struct call *c;

	http_add_header(req, "Cache-Control", "no-store");
	c = call_signed(u, req);
	if (!c)
		return HTTP_ANSWERED;
	return http_work(req, list_work, u);
}

/* ---- one ---- */

enum http_next upload_of_path(struct http_req *req, struct uploads *u, struct call **out)
{
	enum http_next next;
	struct call *c = call_new(u, req);
	bool gone;

	*out = NULL;
	http_add_header(req, "Cache-Control", "no-store");
	if (!c)
		return http_reply_error(req, 503, "memory", "out of memory");
	if (!access_who(req, u->opt.users, &c->who))
		return HTTP_ANSWERED;
	if (forward_begin(u, req, http_param(req, "id"), &next))
		return next;
	c->up = uploads_find(u, http_param(req, "id"), &gone);
	if (c->up && upload_visible(u, &c->who, c->up)) {
		*out = c;
		return HTTP_CONTINUE;
	}
	if (gone)
		return http_reply_error(req, 410, "gone", "this upload expired, or was cancelled");
	return http_reply_error(req, 404, "no_upload", "there is no such upload");
}

static enum http_next one_begin(struct http_req *req, struct uploads *u)
{
	struct call *c;
	enum http_next next = upload_of_path(req, u, &c);
	char *text;
	json_t *o;

	if (!c)
		return next;
	if (http_method(req) == HTTP_DELETE)
		return uploads_cancel(c);
	if (http_query(req, "wait")) /* answered as a PUT of it would be, when it is over */
		return call_wait(c);
	pthread_mutex_lock(&c->up->lock);
	o = upload_json(c->up, true);
	text = o ? json_dumps(o, JSON_COMPACT) : NULL; /* what is in it may change */
	json_decref(o);
	pthread_mutex_unlock(&c->up->lock);
	if (!text)
		return http_reply_error(req, 503, "memory", "out of memory");
	return http_reply_owned(req, 200, "application/json", text, strlen(text));
}

/* Under the lock of the upload, so that nothing is lost or said twice between the replay and what follows. */
static enum http_next events_begin(struct http_req *req, struct uploads *u)
{
	struct call *c;
	enum http_next next = upload_of_path(req, u, &c);
	size_t len = 0;
	char *text;

	if (!c)
		return next;
	pthread_mutex_lock(&c->up->lock);
	if (!c->up->topic && u->server)
		c->up->topic = http_topic_new(u->server, LISTENERS_MAX);
	text = c->up->topic ? upload_replay(c->up, &len) : NULL;
	if (text)
		next = http_reply_events_from(req, c->up->topic, text, len);
	pthread_mutex_unlock(&c->up->lock);
	free(text);
	return text ? next : http_reply_error(req, 503, "memory", "out of memory");
}

/* What was not answered in the beginning is another gateway's. */
static enum http_next one_end(struct http_req *req, struct uploads *u)
{
	struct call *c = http_state(req);

	(void)u;
	if (FORWARDED(c))
		return forward_end(c);
	return http_reply_error(req, 500, "no_answer", "nothing came of it");
}

/* ---- routes ---- */

/* The server's arg points to a pointer to the service. */
#define SERVICE(arg) (*(struct uploads **)(arg))
#define BEGIN(name, fn)                                                                                                     \
	static enum http_next name(struct http_req *req, void *arg)                                                         \
	{                                                                                                                   \
		return fn(req, SERVICE(arg));                                                                               \
	}
#define BODY(name, fn)                                                                                                      \
	static enum http_next name(struct http_req *req, void *arg, const void *data, size_t len, size_t *taken)            \
	{                                                                                                                   \
		return fn(req, SERVICE(arg), data, len, taken);                                                             \
	}
#define DONE(name, fn)                                                                                                      \
	static void name(struct http_req *req, void *arg)                                                                   \
	{                                                                                                                   \
		fn(req, SERVICE(arg));                                                                                      \
	}

BEGIN(r_tus, uploads_tus_begin)
BEGIN(r_tus_one, uploads_tus_one_begin)
BODY(r_tus_body, uploads_tus_body)
BEGIN(r_tus_end, uploads_tus_end)
BEGIN(r_form, uploads_form_begin)
BODY(r_form_body, uploads_form_body)
BEGIN(r_form_end, uploads_form_end)
BEGIN(r_list, list_begin)
BEGIN(r_one, one_begin)
BEGIN(r_one_end, one_end)
BEGIN(r_events, events_begin)
BEGIN(r_replace, replace_upload_begin)
BEGIN(r_replace_file, replace_file_begin)
BODY(r_replace_body, replace_body)
BEGIN(r_replace_end, replace_end)
BEGIN(r_data, forward_data)
BEGIN(r_datasets, datasets_begin)
BEGIN(r_datasets_end, datasets_end)
BEGIN(r_dataset, datasets_one_begin)
BEGIN(r_dataset_end, datasets_one_end)
BEGIN(r_files, datasets_files)
BEGIN(r_file, datasets_file)
BEGIN(r_catalogue, datasets_catalogue)
BEGIN(r_preview, datasets_preview_begin)
BEGIN(r_preview_end, datasets_preview_end)
DONE(r_done, uploads_call_done)
DONE(r_put_done, uploads_put_done)

#define M(method) (1u << HTTP_##method)
#define ANY	  UINT64_MAX
#define TEXT_MAX  (1u << 20)

/* What is of one upload; other gateways ask for it at the inside listener. */
#define ROUTES_OF_ONE                                                                                                       \
	{ M(GET) | M(HEAD) | M(PATCH) | M(DELETE) | M(POST) | M(OPTIONS), "/_/tus/:id", ANY, r_tus_one, r_tus_body,         \
	  r_tus_end, r_done, NULL },                                                                                              \
	{ M(OPTIONS) | M(POST), "/_/tus/", ANY, r_tus, r_tus_body, r_tus_end, r_done, NULL },                                     \
	{ M(GET), "/_/uploads", 0, r_list, NULL, NULL, r_done, NULL },                                                            \
	{ M(GET), "/_/uploads/:id/events", 0, r_events, NULL, r_one_end, r_done, NULL },                                               \
	{ M(POST), "/_/uploads/:id/replace", ANY, r_replace, r_replace_body, r_replace_end, r_put_done, NULL },                       \
	{ M(GET) | M(DELETE), "/_/uploads/:id", 0, r_one, NULL, r_one_end, r_done, NULL }

static const struct http_route routes[] = {
	ROUTES_OF_ONE,
	{ M(POST), "/_/upload/:dataset", ANY, r_form, r_form_body, r_form_end, r_put_done, NULL },
	{ M(GET) | M(POST), "/_/datasets", TEXT_MAX, r_datasets, NULL, r_datasets_end, r_done, NULL },
	{ M(GET), "/_/datasets/:name/files", 0, r_files, NULL, NULL, r_done, NULL },
	{ M(GET), "/_/datasets/:name/files/*file", 0, r_file, NULL, NULL, r_done, NULL },
	{ M(POST), "/_/datasets/:name/replace/*file", ANY, r_replace_file, r_replace_body, r_replace_end, r_put_done, NULL },
	{ M(GET) | M(PUT) | M(DELETE), "/_/datasets/:name", TEXT_MAX, r_dataset, NULL, r_dataset_end, r_done, NULL },
	{ M(GET), "/_/catalogue", 0, r_catalogue, NULL, NULL, r_done, NULL },
	{ M(POST), "/_/preview", TEXT_MAX, r_preview, NULL, r_preview_end, r_done, NULL },
	{ .path = NULL },
};

static const struct http_route inside[] = {
	ROUTES_OF_ONE,
	{ M(GET), "/_/uploads/:id/data", 0, r_data, NULL, NULL, r_done, NULL },
	{ .path = NULL },
};

const struct http_route *uploads_routes(void)
{
	return routes;
}

const struct http_route *uploads_inside_routes(void)
{
	return inside;
}

void uploads_node_digits(const char *node, char digits[9])
{
	spool_node_digits(node, digits);
}
