/* SPDX-License-Identifier: Apache-2.0 */
/* httpd_ask.c -- what a request says, for its handlers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/httpd_impl.h"

enum http_method http_method(const struct http_req *req)
{
	return req->method;
}

const char *http_target(const struct http_req *req)
{
	struct http_req *own = (struct http_req *)req;
	const struct http_target *t = &req->target;

	if (!t->authority || t->path == t->authority + t->authority_len)
		return t->path;
	/* "http://host?query": the path is a literal of the parser's */
	if (!own->target_text && asprintf(&own->target_text, "/%s%s", t->query ? "?" : "", t->query ? t->query : "") < 0)
		own->target_text = NULL;
	return own->target_text;
}

struct pairs {
	struct http_pair *out;
	size_t n, max;
};

static enum MHD_Result take_pair(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct pairs *pairs = arg;

	(void)kind;
	if (pairs->n == pairs->max)
		return MHD_NO;
	pairs->out[pairs->n++] = (struct http_pair){ name, value ? value : "" };
	return MHD_YES;
}

size_t http_headers(const struct http_req *req, struct http_pair *out, size_t max)
{
	struct pairs pairs = { out, 0, max };

	MHD_get_connection_values(req->mhd, MHD_HEADER_KIND, take_pair, &pairs);
	return pairs.n;
}

const char *http_path(const struct http_req *req)
{
	struct http_req *own = (struct http_req *)req; /* made at first use */

	if (!own->path)
		own->path = strndup(req->target.path, req->target.path_len);
	return own->path;
}

const char *http_param(const struct http_req *req, const char *name)
{
	struct http_req *own = (struct http_req *)req;
	size_t len = strlen(name);

	for (int i = 0; i < req->nparams; i++) {
		const struct http_param_at *at = &req->param[i];

		if (at->name_len != len || memcmp(at->name, name, len) != 0)
			continue;
		if (!own->param_value[i]) {
			own->param_value[i] = malloc(at->len + 1);
			if (own->param_value[i]) /* the target's escapes were checked */
				http_percent_decode(at->text, at->len, own->param_value[i], false);
		}
		return own->param_value[i];
	}
	return NULL;
}

/* Decodes the query into name NUL value NUL …; pairs with broken escapes are left out. */
static void parse_query(struct http_req *req)
{
	const char *at = req->target.query;
	char *out;

	if (!at)
		return;
	req->query_copy = out = malloc(strlen(at) * 2 + 3);
	while (out && *at) {
		size_t len = strcspn(at, "&"), name_len = strcspn(at, "&=");
		char *start = out;
		long n = http_percent_decode(at, name_len, out, true), m = -1;

		if (n >= 0) {
			out += n + 1;
			m = name_len < len ? http_percent_decode(at + name_len + 1,
								 len - name_len - 1, out, true)
					   : http_percent_decode("", 0, out, true);
			out += m + 1;
		}
		if (n < 0 || m < 0)
			out = start;
		at += len + (at[len] == '&');
	}
	req->query_len = out ? (size_t)(out - req->query_copy) : 0;
}

const char *http_query(const struct http_req *req, const char *name)
{
	if (!req->query_copy)
		parse_query((struct http_req *)req);
	for (const char *at = req->query_copy; at && at < req->query_copy + req->query_len;) {
		const char *value = at + strlen(at) + 1;

		if (!strcmp(at, name))
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

const char *http_header(const struct http_req *req, const char *name)
{
	return MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, name);
}

struct named {
	const char *name;
	unsigned int count;
	char *joined;
};

static enum MHD_Result count_named(void *arg, enum MHD_ValueKind kind, const char *name,
				   const char *value)
{
	struct named *named = arg;

	(void)kind;
	(void)value;
	named->count += !strcasecmp(name, named->name);
	return MHD_YES;
}

bool http_header_repeated(const struct http_req *req, const char *name)
{
	struct named named = { .name = name };

	MHD_get_connection_values(req->mhd, MHD_HEADER_KIND, count_named, &named);
	return named.count > 1;
}

uint64_t http_content_length(const struct http_req *req)
{
	return req->content_length;
}

const char *http_peer_name(const struct http_req *req)
{
	return req->conn->peer_name[0] ? req->conn->peer_name : NULL;
}

const struct addr_port *http_peer(const struct http_req *req)
{
	return &req->conn->peer;
}

int64_t http_peer_uid(const struct http_req *req)
{
	return req->conn->uid;
}

const char *http_id(const struct http_req *req)
{
	return req->id;
}

bool http_is_local(const struct http_req *req)
{
	return req->conn->local;
}

const void *http_body(const struct http_req *req, size_t *len)
{
	*len = req->gathered_len;
	return req->gathered ? req->gathered : "";
}

void http_set_state(struct http_req *req, void *state)
{
	req->state = state;
}

void *http_state(const struct http_req *req)
{
	return req->state;
}

static enum MHD_Result join_named(void *arg, enum MHD_ValueKind kind, const char *name,
				  const char *value)
{
	struct named *named = arg;
	size_t len = named->joined ? strlen(named->joined) : 0;
	char *grown;

	(void)kind;
	if (strcasecmp(name, named->name) != 0)
		return MHD_YES;
	grown = realloc(named->joined, len + strlen(value ? value : "") + 3);
	if (!grown)
		return MHD_NO;
	if (!named->joined)
		*grown = '\0';
	else
		strcat(grown, ", ");
	strcat(grown, value ? value : "");
	named->joined = grown;
	return MHD_YES;
}

int http_conditions(const struct http_req *req, const char *etag)
{
	struct named match = { .name = "If-Match" }, none = { .name = "If-None-Match" };
	int status;

	MHD_get_connection_values(req->mhd, MHD_HEADER_KIND, join_named, &match);
	MHD_get_connection_values(req->mhd, MHD_HEADER_KIND, join_named, &none);
	status = http_conditions_eval(match.joined, none.joined, etag,
				      req->method == HTTP_GET || req->method == HTTP_HEAD);
	free(match.joined);
	free(none.joined);
	return status;
}
