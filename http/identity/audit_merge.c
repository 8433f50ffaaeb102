/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit_merge.c -- GET /_/audit: the lines of all gateways and endpoints, newest first. Each is asked on its inside
 * listener with the caller's own credentials and decides by itself what the caller may see. Members that do not answer
 * are named.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/identity/identity_impl.h"

#define ASK_MS	   1500
#define ALL_S	   8 /* for all that are silent together: a worker of the server waits here */
#define ANSWER_MAX (8u << 20)
#define MAX_DEFAULT 100
#define HUNTS_MAX   4 /* of the server's worker threads: a search reads up to a gigabyte at each member */

struct hunt {
	struct identity *id;
	struct audit_query query;
	char user[64];
	char *credentials; /* a header line, for the others */
	json_t *lines, *silent;
	time_t begun;
};

static void hunt_free(struct hunt *h)
{
	h->id->hunting--;
	free(h->credentials);
	json_decref(h->lines);
	json_decref(h->silent);
	free(h);
}

static char *query_text(const struct audit_query *q)
{
	char since[24], until[24], max[24];

	snprintf(since, sizeof(since), "%lld", (long long)q->since);
	snprintf(until, sizeof(until), "%lld", (long long)q->until);
	snprintf(max, sizeof(max), "%zu", q->max);
	return form_encode("who", q->who, "what", q->what, "on", q->on, "result", q->result, "text", q->text, "before", q->before, "since",
			   q->since ? since : NULL, "until", q->until ? until : NULL, "max", max, NULL);
}

static void ask(struct hunt *h, const json_t *member, const char *query)
{
	const char *inside = json_string_value(json_object_get(member, "inside"));
	const char *const headers[] = { h->credentials, NULL };
	bool late = time(NULL) - h->begun > ALL_S;
	struct httpc_call call = { .headers = headers, .timeout_ms = ASK_MS, .body_max = ANSWER_MAX };
	struct httpc_answer answer = { 0 };
	json_t *lines = NULL;
	char *url = NULL;

	if (inside && !late && asprintf(&url, "%s://%s/_/audit?%s", json_is_true(json_object_get(member, "tls")) ? "https" : "http", inside, query) >= 0) {
		call.url = url;
		if (!httpc_do(h->id->members, &call, &answer) && answer.status == 200)
			lines = json_loadb(answer.body ? answer.body : "", answer.len, 0, NULL);
	}
	if (json_is_array(lines))
		json_array_extend(h->lines, lines);
	else
		json_array_append_new(h->silent, json_pack("{s:O*, s:O*, s:s}", "node", json_object_get(member, "node"), "role",
							   json_object_get(member, "role"), "why",
							   !inside ? "it has no inside listener (inside:)" :
							   late ? "others took too long to answer" : *answer.error ? answer.error : "no lines"));
	json_decref(lines);
	httpc_answer_free(&answer);
	free(url);
}

/* All members of a role but this process. */
static void ask_role(struct hunt *h, const char *role, const char *query)
{
	struct reg_kv *kvs = NULL;
	char prefix[128];
	size_t n = 0;

	snprintf(prefix, sizeof(prefix), REG_MEMBERS "%s/", role);
	if (registry_list(h->id->reg, prefix, &kvs, &n, NULL)) {
		json_array_append_new(h->silent, json_pack("{s:s, s:s}", "role", role, "why", "the registry does not say who there is"));
		return;
	}
	for (size_t i = 0; i < n; i++) {
		json_t *member = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);
		const char *node = json_string_value(json_object_get(member, "node"));

		if (node && (strcmp(role, "gateway") || strcmp(node, h->id->node)))
			ask(h, member, query);
		json_decref(member);
	}
	reg_kv_list_free(kvs, n);
}

static const char *id_of(const json_t *line)
{
	const char *id = json_string_value(json_object_get(line, "id"));

	return id ? id : "";
}

static int newest_first(const void *a, const void *b)
{
	return strcmp(id_of(*(json_t *const *)b), id_of(*(json_t *const *)a));
}

/* The newest `max` of all. */
static json_t *sorted(const json_t *lines, size_t max)
{
	size_t n = json_array_size(lines);
	json_t **all = calloc(n + 1, sizeof(json_t *)), *out = json_array();

	for (size_t i = 0; all && i < n; i++)
		all[i] = json_array_get(lines, i);
	if (all && n)
		qsort(all, n, sizeof(json_t *), newest_first);
	for (size_t i = 0; all && i < n && i < max; i++)
		json_array_append(out, all[i]);
	free(all);
	return out;
}

static void hunt_work(struct http_req *req, void *arg)
{
	struct hunt *h = arg;
	char *query = query_text(&h->query);
	json_t *lines;
	size_t n;

	h->lines = audit_search(h->id->audit, &h->query);
	h->silent = json_array();
	h->begun = time(NULL);
	if (query && h->lines) {
		ask_role(h, "gateway", query);
		ask_role(h, "endpoint", query);
	}
	lines = sorted(h->lines, h->query.max);
	n = json_array_size(lines);
	http_reply_json(req, 200, json_pack("{s:o, s:O, s:s?}", "lines", lines, "silent", h->silent, "next",
					    n && n == h->query.max ? id_of(json_array_get(lines, n - 1)) : NULL));
	free(query);
	hunt_free(h);
}

enum http_next identity_audit(struct http_req *req, struct identity *id)
{
	struct token_scope who;
	enum http_next next;
	struct hunt *h;

	http_add_header(req, "Cache-Control", "no-store");
	if (!access_who(req, id->users, &who) || !audit_may_read(req, &who))
		return HTTP_ANSWERED;
	h = calloc(1, sizeof(*h));
	if (!h)
		return http_reply_error(req, 500, "memory", "out of memory");
	h->id = id;
	if (++id->hunting > HUNTS_MAX) {
		hunt_free(h);
		http_add_header(req, "Retry-After", "1");
		return http_reply_error(req, 503, "busy", "others search the audit log at this moment; try again");
	}
	if (audit_query_read(req, &h->query)) {
		hunt_free(h);
		return HTTP_ANSWERED;
	}
	h->query.max = h->query.max ? h->query.max : MAX_DEFAULT;
	if (users_role(id->users, &who) < ROLE_AUDITOR) {
		memcpy(h->user, who.user, sizeof(h->user));
		h->query.who = h->user;
	}
	h->credentials = access_credentials(req);
	next = http_work(req, hunt_work, h);
	if (next == HTTP_ANSWERED)
		hunt_free(h);
	return next;
}
