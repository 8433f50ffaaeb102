/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit_http.c -- the audit log of one node, asked over HTTP (see audit.h).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/access.h"
#include "lib/audit.h"

struct question {
	struct audit *audit;
	struct audit_query query;
	char user[64];
};

static int read_number(struct http_req *req, const char *name, int64_t *out)
{
	const char *text = http_query(req, name);
	char *end;
	long long value;

	if (!text || !*text)
		return 0;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno || *end || value < 0 || value > (1ll << 40)) {
		http_reply_error(req, 400, "bad_query", "%s=%.40s is no number; since and until are seconds since 1970, "
				 "max is a count of lines", name, text);
		return -EINVAL;
	}
	*out = value;
	return 0;
}

static const char *given(struct http_req *req, const char *name)
{
	const char *text = http_query(req, name);

	return text && *text ? text : NULL;
}

int audit_query_read(struct http_req *req, struct audit_query *q)
{
	int64_t max = 0;

	memset(q, 0, sizeof(*q));
	q->who = given(req, "who");
	q->what = given(req, "what");
	q->on = given(req, "on");
	q->result = given(req, "result");
	q->text = given(req, "text");
	q->before = given(req, "before");
	if (read_number(req, "since", &q->since) || read_number(req, "until", &q->until) || read_number(req, "max", &max))
		return -EINVAL;
	q->max = max > 1000 ? 1000 : (size_t)max;
	return 0;
}

static void search_work(struct http_req *req, void *arg)
{
	struct question *q = arg;
	json_t *lines = audit_search(q->audit, &q->query);

	if (lines)
		http_reply_json(req, 200, lines);
	else
		http_reply_error(req, 500, "memory", "out of memory");
	free(q);
}

bool audit_may_read(struct http_req *req, const struct token_scope *who)
{
	if (token_allows(who, RIGHT_READ, NULL, NULL))
		return true;
	http_reply_error(req, 403, "forbidden", "the audit log is read by who signed in, or by a token with the right r on every bucket");
	return false;
}

enum http_next audit_reply(struct http_req *req, struct audit *a, struct users *users)
{
	struct token_scope who;
	struct question *q;
	enum http_next next;

	if (!access_who(req, users, &who))
		return HTTP_ANSWERED;
	q = calloc(1, sizeof(*q));
	if (!q)
		return http_reply_error(req, 500, "memory", "out of memory");
	if (audit_query_read(req, &q->query)) {
		free(q);
		return HTTP_ANSWERED;
	}
	q->audit = a;
	if (!audit_may_read(req, &who)) {
		free(q);
		return HTTP_ANSWERED;
	}
	if (users_role(users, &who) < ROLE_AUDITOR) {
		memcpy(q->user, who.user, sizeof(q->user));
		q->query.who = q->user;
	}
	next = http_work(req, search_work, q);
	if (next == HTTP_ANSWERED)
		free(q);
	return next;
}

void audit_object(struct audit *a, const struct http_req *req, const struct token_scope *who,
		  const struct audit_object *o)
{
	char from[ADDR_PORT_STRLEN], on[64 + 1 + 513];
	struct audit_entry e = { .who = who->user, .what = o->what, .on = on, .result = o->result,
				 .why = o->why, .from = from, .request = http_id(req), .bytes = o->bytes };

	access_client(req, from);
	snprintf(on, sizeof(on), "%.63s/%.512s", o->bucket, o->key ? o->key : "");
	audit_write(a, &e);
}
