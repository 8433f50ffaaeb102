/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_file.c -- a dataset's file that comes by another protocol than ours: the way of uploads_put.c, for a caller that
 * reads the request and answers it by itself (uploads.h). A struct uploads_file is a struct call that is no request's state.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/datasets.h"
#include "http/upload/uploads_int.h"

static struct call *call_of(struct uploads_file *f)
{
	return (struct call *)f;
}

int uploads_file_may(struct uploads *u, struct http_req *req, const struct token_scope *who, unsigned int right, const char *dataset,
		     const char *file, uint64_t *max)
{
	char on[320];
	json_t *record;
	struct rules *rules;

	if (!users_dataset(u->opt.users, dataset) || !users_allow(u->opt.users, who, right, dataset, file)) {
		snprintf(on, sizeof(on), "%.63s/%.240s", dataset, file);
		uploads_audit(u, req, who, right == RIGHT_DELETE ? "delete" : "upload", on, "denied", NULL, 0);
		return users_dataset(u->opt.users, dataset) && users_allow(u->opt.users, who, RIGHT_READ, dataset, file) ? -EACCES : -ENOENT;
	}
	if (!file_name_valid(file))
		return -EINVAL;
	if (!max)
		return 0;
	record = users_dataset_record(u->opt.users, dataset);
	rules = record_rules(record);
	*max = rules && rules->max_size && rules->max_size < u->object_max ? rules->max_size : u->object_max;
	rules_free(rules);
	json_decref(record);
	return 0;
}

int uploads_file_new(struct uploads_file **out, struct uploads *u, struct http_req *req, const struct uploads_file_order *order)
{
	char from[ADDR_PORT_STRLEN];
	struct upload_begin b = { .dataset = order->dataset,
				  .file = order->file,
				  .by = order->who->user,
				  .from = access_client(req, from),
				  .how = order->how,
				  .request = http_id(req),
				  .size = order->size,
				  .if_match = order->if_match,
				  .if_none_match = order->if_none_match };
	struct call *c;
	int rc;

	rc = uploads_file_may(u, req, order->who, RIGHT_WRITE, order->dataset, order->file, &b.max_size);
	if (!rc && (order->if_match || order->if_none_match))
		rc = datasets_condition(u, order->dataset, order->file, order->if_match, order->if_none_match);
	if (rc)
		return rc;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->u = u;
	c->req = req;
	c->who = *order->who;
	c->answer = order->answer;
	c->answer_arg = order->arg;
	rc = upload_new(&c->up, u, &b);
	c->made = !rc;
	if (!rc)
		rc = take_begin(c->up, c, 0);
	*out = (struct uploads_file *)c;
	if (rc) {
		uploads_file_drop(*out);
		*out = NULL;
	}
	return rc;
}

size_t uploads_file_room(struct uploads_file *f, size_t len)
{
	return hold_room(call_of(f), len);
}

int uploads_file_bytes(struct uploads_file *f, const void *data, size_t len)
{
	return take_bytes(call_of(f), data, len);
}

int uploads_file_end(struct uploads_file *f)
{
	struct call *c = call_of(f);
	int rc = take_end(c, false, true);

	if (rc)
		return rc;
	c->ended = true;
	call_wait(c);
	return 0;
}

void uploads_file_leave(struct uploads_file *f)
{
	struct call *c = call_of(f);

	pthread_mutex_lock(&c->up->lock);
	c->req = NULL;
	pthread_mutex_unlock(&c->up->lock);
}

void uploads_file_drop(struct uploads_file *f)
{
	struct call *c = call_of(f);

	if (!c)
		return;
	if (c->up && c->made && !c->ended) {
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

/* "row 3, column id: The value is not a whole number." */
static void first_finding(const json_t *finding, char *out, size_t size)
{
	const char *message = json_string_value(json_object_get(finding, "message"));
	const char *column = json_string_value(json_object_get(finding, "column"));
	json_int_t row = json_integer_value(json_object_get(finding, "row"));
	int n = 0;

	if (message && row > 0)
		n = snprintf(out, size, "row %lld%s%.64s: ", (long long)row, column && *column ? ", column " : "", column ? column : "");
	if (message)
		snprintf(out + n, size - (size_t)n, "%s", message);
}

void file_answer(struct call *c)
{
	const struct upload *up = c->up;
	char first[512] = "";
	struct uploads_outcome o = { .what = UPLOAD_FAILED, .id = up->id, .why = up->why, .findings = up->nfindings, .first = first };

	first_finding(json_array_get(up->findings, 0), first, sizeof(first));
	if (up->state == UP_ACCEPTED)
		o.what = UPLOAD_ACCEPTED;
	else if (up->state == UP_REJECTED)
		o.what = UPLOAD_REJECTED;
	else if (up->state == UP_STORING)
		o.what = UPLOAD_STORING;
	else if (up->state == UP_CANCELLED)
		o.what = UPLOAD_CANCELLED;
	else if (!upload_over(up))
		o.what = UPLOAD_STOPPING;
	else if (strstr(up->why, "If-Match"))
		o.what = UPLOAD_CONDITION;
	c->answer(c->answer_arg, c->req, &o);
}

int uploads_file_delete(struct uploads *u, struct http_req *req, const struct token_scope *who, const char *dataset, const char *file,
			const char *if_match)
{
	return datasets_delete(u, req, who, dataset, file, if_match);
}
