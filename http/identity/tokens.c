/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokens.c -- API tokens: for programs, made by who is signed in, at most with the rights of who makes them, for at most
 * a year. An API token makes no further ones, so that one that leaked ends when it is revoked; nor does a token that was
 * made for less than everything (by `weir token`, or by a gateway for a redirect, which stands in an address for five
 * minutes). Neither sees or ends the tokens of its user: it ends itself.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/identity/identity_impl.h"
#include "lib/token_issue.h"

#define TTL_DEFAULT (30 * 86400)
#define NOTE_MAX    200
#define TOKENS_MAX  100 /* of one user at a time: each is a key and a lease of the registry */

struct wish {
	struct identity *id;
	struct token_scope who, want;
	char note[NOTE_MAX + 1];
};

/* Somebody who signed in, or showed a key: no token that was made for one thing. */
static bool is_sign_in(const struct token_scope *who)
{
	const unsigned int all = RIGHT_READ | RIGHT_WRITE | RIGHT_DELETE | RIGHT_LIST;

	return !token_id_is_api(who->id) && !who->exact && !who->via_gateway && token_allows(who, all, NULL, NULL);
}

static enum http_next registry_away(struct http_req *req)
{
	return http_reply_error(req, 503, "registry", "the registry does not answer; try again");
}

static enum http_next run(struct http_req *req, http_work_fn *fn, struct wish *w)
{
	enum http_next next = http_work(req, fn, w);

	if (next == HTTP_ANSWERED)
		free(w);
	return next;
}

/* ---- GET ------------------------------------------------------------------------------------- */

static void list_work(struct http_req *req, void *arg)
{
	struct wish *w = arg;
	json_t *list = NULL;

	if (token_list(w->id->reg, w->who.user, &list))
		registry_away(req);
	else
		http_reply_json(req, 200, json_pack("{s:o}", "tokens", list));
	free(w);
}

/* ---- POST ------------------------------------------------------------------------------------ */

static void issue_work(struct http_req *req, void *arg)
{
	struct wish *w = arg;
	char token[TOKEN_MAX] = "";
	json_t *list = NULL;
	int rc = token_list(w->id->reg, w->who.user, &list);

	if (!rc && json_array_size(list) >= TOKENS_MAX)
		rc = -EDQUOT;
	json_decref(list);
	if (!rc)
		rc = users_sign(w->id->users, &w->want, token);
	if (!rc)
		rc = token_issued(w->id->reg, &w->want, w->note);
	session_audit(w->id, req, w->who.user, "token.create", w->want.id, rc ? "failed" : "ok", w->note);
	if (rc == -EDQUOT)
		http_reply_error(req, 422, "too_many", "%s has %d API tokens, which is the most; end some that are not used any more",
				 w->who.user, TOKENS_MAX);
	else if (rc)
		registry_away(req);
	else
		http_reply_json(req, 200, json_pack("{s:s, s:s, s:I}", "token", token, "id", w->want.id, "expires",
						    (json_int_t)w->want.expires));
	OPENSSL_cleanse(token, sizeof(token));
	free(w);
}

static bool take(char *out, size_t size, const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (!v || json_is_null(v))
		return true;
	if (!json_is_string(v) || json_string_length(v) >= size || strlen(json_string_value(v)) != json_string_length(v))
		return false;
	memcpy(out, json_string_value(v), json_string_length(v) + 1);
	return true;
}

/* What is asked for, within what the caller's own token says. NULL, or the sentence why not. */
static const char *wanted(struct wish *w, const json_t *o)
{
	const json_t *ttl = json_object_get(o, "ttl");
	char rights[16] = "rl";
	int64_t seconds = ttl ? json_integer_value(ttl) : TTL_DEFAULT;

	w->want = w->who;
	if (!take(w->note, sizeof(w->note), o, "note") || !take(rights, sizeof(rights), o, "rights") ||
	    !take(w->want.bucket, sizeof(w->want.bucket), o, "bucket") || !take(w->want.prefix, sizeof(w->want.prefix), o, "prefix"))
		return "note, bucket, prefix or rights is no text, or too long";
	if ((ttl && !json_is_integer(ttl)) || seconds < 1 || seconds > TOKEN_TTL_MAX)
		return "ttl must be a number of seconds, at most 366 days";
	w->want.rights = rights_parse(rights);
	if (!w->want.rights)
		return "rights are letters of rwdla";
	if ((w->want.rights & w->who.rights) != w->want.rights)
		return "rights has letters that the caller's own token lacks";
	if (strcmp(w->who.bucket, "*") && strcmp(w->who.bucket, w->want.bucket))
		return "the caller's own token is for another bucket";
	if (strncmp(w->want.prefix, w->who.prefix, strlen(w->who.prefix)))
		return "prefix must begin with that of the caller's own token";
	if (*w->want.prefix && !strcmp(w->want.bucket, "*"))
		return "a prefix needs a bucket";
	w->want.issued = time(NULL);
	w->want.expires = w->want.issued + seconds;
	token_id_new(w->want.id, true);
	return NULL;
}

static enum http_next issue(struct http_req *req, struct wish *w)
{
	json_t *o = session_body(req);
	const char *why = NULL;

	if (o && !is_sign_in(&w->who)) {
		session_audit(w->id, req, w->who.user, "token.create", "", "denied", "by an API token");
		http_reply_error(req, 403, "forbidden", "an API token, or one for less than everything, cannot make further ones: sign in");
	} else if (o && (why = wanted(w, o))) {
		session_audit(w->id, req, w->who.user, "token.create", "", "denied", why);
		http_reply_error(req, 422, "bad_token", "%s", why);
	} else if (o) {
		json_decref(o);
		return run(req, issue_work, w);
	}
	json_decref(o);
	free(w);
	return HTTP_ANSWERED;
}

/* ---- DELETE ---------------------------------------------------------------------------------- */

static void revoke_work(struct http_req *req, void *arg)
{
	struct wish *w = arg;
	int rc = token_revoke(w->id->reg, w->who.user, w->want.id);

	session_audit(w->id, req, w->who.user, "token.end", w->want.id, rc ? "failed" : "ok", NULL);
	if (rc == -ENOENT)
		http_reply_error(req, 404, "no_such_token", "%s has no token %s", w->who.user, w->want.id);
	else if (rc)
		registry_away(req);
	else
		http_reply_json(req, 200, json_pack("{s:s}", "ended", w->want.id));
	free(w);
}

static enum http_next revoke(struct http_req *req, struct wish *w)
{
	const char *which = http_param(req, "id");

	if (!which || !token_id_valid(which)) {
		free(w);
		return http_reply_error(req, 404, "no_such_token", "this is no id of a token");
	}
	if (!is_sign_in(&w->who) && strcmp(which, w->who.id)) {
		free(w);
		return http_reply_error(req, 403, "forbidden", "an API token, or one for less than everything, ends none but itself: sign in");
	}
	snprintf(w->want.id, sizeof(w->want.id), "%s", which);
	return run(req, revoke_work, w);
}

enum http_next identity_tokens(struct http_req *req, struct identity *id)
{
	struct token_scope who;
	struct wish *w;

	http_add_header(req, "Cache-Control", "no-store");
	if (!access_who(req, id->users, &who))
		return HTTP_ANSWERED;
	w = calloc(1, sizeof(*w));
	if (!w)
		return http_reply_error(req, 500, "memory", "out of memory");
	w->id = id;
	w->who = who;
	switch (http_method(req)) {
	case HTTP_POST:
		return issue(req, w);
	case HTTP_DELETE:
		return revoke(req, w);
	default:
		if (!is_sign_in(&who)) {
			free(w);
			return http_reply_error(req, 403, "forbidden",
						"an API token, or one for less than everything, does not see the others: sign in");
		}
		return run(req, list_work, w);
	}
}
