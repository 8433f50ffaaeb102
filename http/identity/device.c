/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.c -- the device flow (RFC 8628) for `weir login`, relayed: the command line knows neither the client's secret nor
 * the provider. The handle is what the gateway must know again, sealed: the device code never leaves it, and any gateway
 * can be asked. Each gateway asks the provider no more often than the provider wants for one handle.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/identity/identity_impl.h"
#include "lib/log.h"

#define PURPOSE	    "device"
#define GRANT	    "urn:ietf:params:oauth:grant-type:device_code"
#define INTERVAL_S  5 /* RFC 8628 section 3.2, when the provider says none */
#define SLOWER_S    5 /* section 3.5 */
#define EXPIRES_MAX 1800

struct ask {
	struct identity *id;
	json_t *handle; /* opened */
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

static int64_t now_ms(void)
{
	return (int64_t)time(NULL) * 1000;
}

static void ask_free(struct ask *a)
{
	json_decref(a->handle);
	free(a);
}

static void ask_end(struct ask *a)
{
	provider_leave(a->id->provider);
	ask_free(a);
}

static enum http_next run(struct http_req *req, http_work_fn *fn, struct ask *a)
{
	enum http_next next;

	if (!provider_enter(a->id->provider)) {
		ask_free(a);
		http_add_header(req, "Retry-After", "2");
		return http_reply_error(req, 503, "busy", "many people sign in at this moment, or the provider is slow; try again");
	}
	next = http_work(req, fn, a);
	if (next == HTTP_ANSWERED)
		ask_end(a);
	return next;
}

/* The provider, or NULL and answered. */
static json_t *document_of(struct http_req *req, struct identity *id)
{
	json_t *document;
	char why[256];

	http_add_header(req, "Cache-Control", "no-store");
	if (!id->provider) {
		http_reply_error(req, 404, "no_provider", "this installation has no OpenID provider: sign in with user and password");
		return NULL;
	}
	document = provider_document(id->provider, why);
	if (!document)
		http_reply_error(req, 503, "provider", "the provider of sign-in cannot be asked at the moment: %s", why);
	return document;
}

/* ---- POST /_/login/device -------------------------------------------------------------------- */

static json_t *begun(struct identity *id, const json_t *answer)
{
	json_int_t interval = json_integer_value(json_object_get(answer, "interval"));
	json_int_t expires = json_integer_value(json_object_get(answer, "expires_in"));
	const char *complete = json_string_value(json_object_get(answer, "verification_uri_complete"));
	char sealed[SEALED_MAX];
	json_t *handle;
	int rc;

	interval = interval > 0 && interval <= 60 ? interval : INTERVAL_S;
	expires = expires > 0 && expires <= EXPIRES_MAX ? expires : EXPIRES_MAX;
	handle = json_pack("{s:s, s:I}", "d", text_of(answer, "device_code"), "i", interval);
	rc = handle ? seal(sealed, id->users, PURPOSE, handle, time(NULL) + expires) : -ENOMEM;
	json_decref(handle);
	if (rc)
		return NULL;
	return json_pack("{s:s, s:s, s:s*, s:s, s:I, s:I}", "user_code", text_of(answer, "user_code"), "verification_uri",
			 text_of(answer, "verification_uri"), "verification_uri_complete", complete, "handle", sealed, "interval", interval,
			 "expires_in", expires);
}

static void begin_work(struct http_req *req, void *arg)
{
	struct ask *a = arg;
	char why[256] = "out of memory";
	json_t *document = provider_document(a->id->provider, why), *answer = NULL, *reply = NULL;
	char *scopes = provider_scopes(a->id, document);
	char *form = form_encode("client_id", a->id->client_secret ? a->id->client_id : NULL, "scope", scopes, NULL);
	long status = 0;

	if (document && form)
		answer = provider_post(a->id->provider, text_of(document, "device_authorization_endpoint"), form, &status, why);
	if (answer && status == 200 && *text_of(answer, "device_code"))
		reply = begun(a->id, answer);
	else if (answer)
		snprintf(why, sizeof(why), "it refused (%ld %.60s: %.120s)", status, text_of(answer, "error"),
			 text_of(answer, "error_description"));
	if (reply)
		http_reply_json(req, 200, reply);
	else
		http_reply_error(req, 502, "provider", "the provider began no sign-in for a device: %s", why);
	json_decref(answer);
	json_decref(document);
	free(scopes);
	free(form);
	ask_end(a);
}

enum http_next identity_device(struct http_req *req, struct identity *id)
{
	json_t *document = document_of(req, id), *body;
	char from[ADDR_PORT_STRLEN];
	struct ask *a;
	bool has;

	if (!document)
		return HTTP_ANSWERED;
	has = *text_of(document, "device_authorization_endpoint") != '\0';
	json_decref(document);
	if (!has)
		return http_reply_error(req, 404, "no_device_flow", "the provider offers no sign-in for devices; make an API token in the "
					"console (who am I, tokens) and use that");
	body = session_body(req); /* nothing in it is needed; a form of another site is refused */
	json_decref(body);
	if (!body)
		return HTTP_ANSWERED;
	if (!limits_take(id->devices, session_from(req, from), now_ms()) || !limits_take(id->devices, "everybody", now_ms())) {
		http_add_header(req, "Retry-After", "10");
		return http_reply_error(req, 429, "slow_down", "too many sign-ins were begun; wait a little and try again");
	}
	a = calloc(1, sizeof(*a));
	if (!a)
		return http_reply_error(req, 500, "memory", "out of memory");
	a->id = id;
	return run(req, begin_work, a);
}

/* ---- POST /_/login/device/token -------------------------------------------------------------- */

static void pending(struct http_req *req, const char *error, json_int_t interval)
{
	http_reply_json(req, 202, json_pack("{s:s, s:I}", "error", error, "interval", interval));
}

/* What the provider says while there is no token (RFC 8628 section 3.5). */
static void not_yet(struct http_req *req, struct ask *a, long status, const json_t *answer)
{
	const char *error = text_of(answer, "error");
	json_int_t interval = json_integer_value(json_object_get(a->handle, "i"));

	if (!strcmp(error, "authorization_pending")) {
		pending(req, "pending", interval);
	} else if (!strcmp(error, "slow_down")) {
		pending(req, "slow_down", interval + SLOWER_S);
	} else if (!strcmp(error, "access_denied")) {
		session_audit_stranger(a->id, req, "", "device", "denied", "refused at the provider");
		http_reply_error(req, 403, "denied", "the sign-in was refused at the provider");
	} else if (!strcmp(error, "expired_token") || !strcmp(error, "invalid_grant")) {
		http_reply_error(req, 410, "expired", "this sign-in has expired or was used already; begin again (weir login)");
	} else {
		http_reply_error(req, 502, "provider", "the provider refused (%ld %.60s: %.120s)", status, error,
				 text_of(answer, "error_description"));
	}
}

static void signed_in(struct http_req *req, struct ask *a, const json_t *answer)
{
	struct token_scope scope = { .user = "" };
	char token[TOKEN_MAX], why[256] = "";
	int rc = person_sign_in(a->id, answer, NULL, &scope, token, why);

	session_audit(a->id, req, scope.user, "device", "", !rc ? "ok" : rc == -EACCES || rc == -EEXIST ? "denied" : "failed", rc ? why : NULL);
	if (rc)
		http_reply_error(req, rc == -EACCES || rc == -EEXIST || rc == -EINVAL ? 403 : 502, "sign_in", "signing in did not succeed: %s", why);
	else
		http_reply_json(req, 200, json_pack("{s:s, s:s, s:I}", "token", token, "user", scope.user, "expires",
						    (json_int_t)scope.expires));
	OPENSSL_cleanse(token, sizeof(token));
}

static void poll_work(struct http_req *req, void *arg)
{
	struct ask *a = arg;
	char why[256] = "out of memory";
	json_t *document = provider_document(a->id->provider, why), *answer = NULL;
	char *form = form_encode("grant_type", GRANT, "device_code", text_of(a->handle, "d"), NULL);
	long status = 0;

	if (document && form)
		answer = provider_post(a->id->provider, text_of(document, "token_endpoint"), form, &status, why);
	if (!answer)
		http_reply_error(req, 503, "provider", "the provider of sign-in cannot be asked at the moment: %s", why);
	else if (status == 200)
		signed_in(req, a, answer);
	else
		not_yet(req, a, status, answer);
	json_decref(answer);
	json_decref(document);
	free(form);
	ask_end(a);
}

enum http_next identity_device_token(struct http_req *req, struct identity *id)
{
	json_t *document = document_of(req, id), *body;
	json_int_t interval;
	struct ask *a;

	json_decref(document);
	if (!document)
		return HTTP_ANSWERED;
	body = session_body(req);
	if (!body)
		return HTTP_ANSWERED;
	a = calloc(1, sizeof(*a));
	if (a)
		a->handle = unseal(id->users, PURPOSE, text_of(body, "handle"), time(NULL));
	json_decref(body);
	if (!a)
		return http_reply_error(req, 500, "memory", "out of memory");
	if (!a->handle) {
		ask_free(a);
		return http_reply_error(req, 410, "expired", "this handle has expired, or none was given out like it; begin again (weir login)");
	}
	a->id = id;
	interval = json_integer_value(json_object_get(a->handle, "i"));
	if (!seen_pace(id->polls, text_of(a->handle, "d"), now_ms(), (interval - 1) * 1000, now_ms() + EXPIRES_MAX * 1000ll)) {
		ask_free(a);
		pending(req, "slow_down", interval);
		return HTTP_ANSWERED;
	}
	return run(req, poll_work, a);
}
