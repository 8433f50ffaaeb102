/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c -- sessions: issued, told, ended; and the small things that the routes of the sign-on share.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/identity/identity_impl.h"
#include "lib/log.h"
#include "lib/token_issue.h"

/* ---- shared ---------------------------------------------------------------------------------- */

char *session_from(const struct http_req *req, char out[ADDR_PORT_STRLEN])
{
	struct addr a;

	if (addr_parse(&a, access_client(req, out)) || a.family != AF_INET6)
		return out;
	memset(a.bytes + 8, 0, 8);
	return addr_format(&a, out, ADDR_PORT_STRLEN);
}

static void count(struct identity *id, const char *what, const char *result)
{
	if (!strcmp(what, "login") || !strcmp(what, "device"))
		metric_inc(metric_series(id->sign_ins, what, result, NULL), 1);
}

void session_audit(struct identity *id, struct http_req *req, const char *who, const char *what, const char *on, const char *result,
		   const char *why)
{
	char from[ADDR_PORT_STRLEN];

	audit_write(id->audit, &(struct audit_entry){ .who = who, .what = what, .on = on, .result = result, .why = why,
						      .from = access_client(req, from), .request = http_id(req) });
	count(id, what, result);
}

void session_audit_stranger(struct identity *id, struct http_req *req, const char *who, const char *what, const char *result,
			    const char *why)
{
	int64_t now = (int64_t)time(NULL) * 1000;
	char from[ADDR_PORT_STRLEN];

	if (limits_take(id->noted, session_from(req, from), now) && limits_take(id->noted_all, "everybody", now))
		session_audit(id, req, who, what, "", result, why);
	else
		count(id, what, result);
}

/* Only as application/json, which no page of another site can send without being asked first (CORS). */
json_t *session_body(struct http_req *req)
{
	const char *type = http_header(req, "Content-Type");
	size_t len = 0;
	const void *body = http_body(req, &len);
	json_t *o;

	if (len && (!type || strncasecmp(type, "application/json", 16))) {
		http_reply_error(req, 415, "type", "send the request's body as Content-Type: application/json");
		return NULL;
	}
	o = json_loadb(len ? body : "{}", len ? len : 2, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(o))
		return o;
	json_decref(o);
	http_reply_error(req, 400, "bad_json", "the request's body is no JSON object");
	return NULL;
}

bool session_is_secure(const struct http_req *req, const struct identity *id)
{
	return access_is_https(req) || (id->url && !strncmp(id->url, "https://", 8));
}

/* What may stand in a Host header that becomes a part of a URL. */
static bool host_good(const char *host)
{
	return *host && strlen(host) < 256 && strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]_") == strlen(host);
}

char *session_base(struct http_req *req, const struct identity *id)
{
	const char *host = http_header(req, "Host");
	char *base = NULL;

	if (id->url) {
		base = strdup(id->url);
		for (size_t len = base ? strlen(base) : 0; len && base[len - 1] == '/'; len--)
			base[len - 1] = '\0';
		return base;
	}
	if (!host || !host_good(host))
		return NULL;
	return asprintf(&base, "%s://%s", access_is_https(req) ? "https" : "http", host) < 0 ? NULL : base;
}

bool session_path_local(const char *path)
{
	if (path[0] != '/' || path[1] == '/' || path[1] == '\\' || strlen(path) > 1024)
		return false;
	for (; *path; path++)
		if ((unsigned char)*path <= ' ' || (unsigned char)*path >= 0x7f || *path == '\\')
			return false;
	return true;
}

/* ---- issuing --------------------------------------------------------------------------------- */

int session_issue(struct identity *id, struct token_scope *scope, char token[TOKEN_MAX])
{
	scope->issued = time(NULL);
	scope->expires = scope->issued + id->session_s;
	token_id_new(scope->id, false);
	return users_sign(id->users, scope, token);
}

int session_set_cookie(struct http_req *req, struct identity *id, const char *token)
{
	http_add_header(req, "Cache-Control", "no-store");
	return access_set_cookie(req, ACCESS_COOKIE, token, id->session_s, session_is_secure(req, id));
}

/* Both names: the one that is not there does no harm. */
static void forget_cookie(struct http_req *req)
{
	access_set_cookie(req, ACCESS_COOKIE, "", 0, false);
	access_set_cookie(req, ACCESS_COOKIE, "", 0, true);
}

json_t *session_groups(const char *groups)
{
	json_t *list = json_array();

	while (*groups) {
		size_t len = strcspn(groups, ",");

		if (len)
			json_array_append_new(list, json_stringn(groups, len));
		groups += len + (groups[len] == ',');
	}
	return list;
}

json_t *session_json(struct identity *id, const struct token_scope *scope)
{
	char groups[512] = "", csrf[65];

	users_groups(id->users, scope, groups);
	access_csrf(id->users, scope, csrf);
	return json_pack("{s:s, s:s, s:o, s:s, s:s, s:I, s:b}", "user", scope->user, "name", scope->user, "groups",
			 session_groups(groups), "role", role_names[users_role(id->users, scope)], "csrf", csrf, "expires",
			 (json_int_t)scope->expires, "provider", scope->provider);
}

/* ---- GET /_/session -------------------------------------------------------------------------- */

enum http_next identity_session(struct http_req *req, struct identity *id)
{
	struct token_scope who;
	int rc = access_identify(req, id->users, &who);

	http_add_header(req, "Cache-Control", "no-store");
	if (!rc)
		return http_reply_json(req, 200, session_json(id, &who));
	if (rc != -ENOENT && access_is_cookie(req))
		forget_cookie(req);
	else if (rc != -ENOENT)
		return access_refuse(req, rc);
	return http_reply_json(req, 200, json_pack("{s:n, s:b, s:b}", "user", "provider", id->has_provider, "passwords", true));
}

/* ---- POST /_/logout -------------------------------------------------------------------------- */

struct ending {
	struct identity *id;
	struct token_scope who;
	char *url; /* end_session; NULL: none */
};

/* OpenID Connect RP-Initiated Logout 1.0 section 2. */
static char *end_session_url(struct http_req *req, struct identity *id)
{
	char why[256], *base = session_base(req, id), *back = NULL, *form = NULL, *url = NULL;
	json_t *document = id->provider ? provider_document(id->provider, why) : NULL;
	const char *at = json_string_value(json_object_get(document, "end_session_endpoint"));

	if (at && base && asprintf(&back, "%s/", base) >= 0)
		form = form_encode("client_id", id->client_id, "post_logout_redirect_uri", back, NULL);
	if (form && asprintf(&url, "%s%c%s", at, strchr(at, '?') ? '&' : '?', form) < 0)
		url = NULL;
	json_decref(document);
	free(base);
	free(back);
	free(form);
	return url;
}

static void end_work(struct http_req *req, void *arg)
{
	struct ending *e = arg;
	struct identity *id = e->id;
	int rc = *e->who.id ? token_end(id->reg, e->who.id, e->who.user, e->who.expires) : 0;

	session_audit(id, req, e->who.user, "logout", "", rc ? "failed" : "ok", rc ? registry_error() : NULL);
	if (rc) {
		log_limited(LOG_LEVEL_WARN, 6, "a token of %s could not be ended: %s", e->who.user, registry_error());
		http_reply_error(req, 503, "registry",
				 "this browser is signed out, but the registry does not answer: whoever has a copy of the session can "
				 "use it until it expires; sign out again later");
	} else {
		http_reply_json(req, 200, json_pack("{s:s?}", "end_session", e->url));
	}
	free(e->url);
	free(e);
}

enum http_next identity_logout(struct http_req *req, struct identity *id)
{
	struct token_scope who;
	struct ending *e;
	enum http_next next;
	int rc;

	http_add_header(req, "Cache-Control", "no-store");
	rc = access_identify(req, id->users, &who);
	if (rc == -ENOENT || (rc && access_is_cookie(req))) { /* it is over anyway */
		if (rc != -ENOENT)
			forget_cookie(req);
		return http_reply_json(req, 200, json_pack("{s:n}", "end_session"));
	}
	if (!access_who(req, id->users, &who))
		return HTTP_ANSWERED;
	e = calloc(1, sizeof(*e));
	if (!e)
		return http_reply_error(req, 500, "memory", "out of memory");
	e->id = id;
	e->who = who;
	e->url = who.provider && access_is_cookie(req) ? end_session_url(req, id) : NULL;
	if (access_is_cookie(req))
		forget_cookie(req);
	next = http_work(req, end_work, e);
	if (next == HTTP_ANSWERED) {
		free(e->url);
		free(e);
	}
	return next;
}
