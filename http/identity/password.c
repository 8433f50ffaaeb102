/* SPDX-License-Identifier: Apache-2.0 */
/*
 * password.c -- POST /_/login/password: local users. Hashing takes 32 MiB and a tenth of a second by design, so it runs
 * on worker threads, few at once, and who guesses soon has to wait. Users that do not exist take as long as those
 * that do.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/identity/identity_impl.h"

#define HASHING_MAX 3 /* of the server's worker threads, so that others go on */
#define PASSWORD_MAX 1024
#define BOTH_MAX     (ADDR_PORT_STRLEN + 64)

struct attempt {
	struct identity *id;
	char user[64], password[PASSWORD_MAX + 1], from[ADDR_PORT_STRLEN];
	bool token; /* wanted instead of a cookie */
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static const char *both_of(const struct attempt *a, char out[BOTH_MAX])
{
	snprintf(out, BOTH_MAX, "%s %s", a->from, a->user);
	return out;
}

/* It was no wrong password. */
static void give_back(struct identity *id, const struct attempt *a, int64_t now)
{
	char both[BOTH_MAX];

	limits_give(id->by_address, a->from, now);
	limits_give(id->by_both, both_of(a, both), now);
	limits_give(id->by_user, a->user, now);
}

static void answer(struct http_req *req, struct attempt *a, struct token_scope *scope)
{
	struct identity *id = a->id;
	char token[TOKEN_MAX];

	if (session_issue(id, scope, token)) {
		session_audit(id, req, a->user, "login", "", "failed", "no signing key");
		http_reply_error(req, 503, "no_signing_key", "the registry gave no key to sign with yet; try again");
		return;
	}
	session_audit(id, req, scope->user, "login", "", "ok", "password");
	if (!a->token) {
		session_set_cookie(req, id, token);
		http_reply_json(req, 200, session_json(id, scope));
	} else {
		http_add_header(req, "Cache-Control", "no-store");
		http_reply_json(req, 200, json_pack("{s:s, s:s, s:I}", "token", token, "user", scope->user, "expires",
						    (json_int_t)scope->expires));
	}
	OPENSSL_cleanse(token, sizeof(token));
}

static void check_work(struct http_req *req, void *arg)
{
	struct attempt *a = arg;
	struct identity *id = a->id;
	struct token_scope scope = { .user = "" };
	int rc = users_password(id->users, a->user, a->password, &scope);

	id->hashing--;
	OPENSSL_cleanse(a->password, sizeof(a->password));
	if (rc) {
		session_audit(id, req, a->user, "login", "", "denied", "wrong user or password");
		http_reply_error(req, 401, "wrong", "user or password is wrong");
	} else {
		give_back(id, a, now_ms());
		answer(req, a, &scope);
	}
	free(a);
}

/* 0 may try; else answered. */
static int may_try(struct http_req *req, struct identity *id, const struct attempt *a)
{
	char both[BOTH_MAX];
	int64_t now = now_ms();

	if (!limits_take(id->by_address, a->from, now) || !limits_take(id->by_both, both_of(a, both), now) ||
	    !limits_take(id->by_user, a->user, now)) {
		session_audit_stranger(id, req, a->user, "login", "denied", "too many attempts");
		http_add_header(req, "Retry-After", "10");
		http_reply_error(req, 429, "slow_down", "too many attempts to sign in; wait a little and try again");
		return -EAGAIN;
	}
	if (++id->hashing > HASHING_MAX) {
		id->hashing--;
		give_back(id, a, now);
		http_add_header(req, "Retry-After", "1");
		http_reply_error(req, 429, "busy", "many people sign in at this moment; try again in a second");
		return -EAGAIN;
	}
	return 0;
}

static bool take(char *out, size_t size, const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_string(v) || json_string_length(v) >= size || strlen(json_string_value(v)) != json_string_length(v))
		return false;
	memcpy(out, json_string_value(v), json_string_length(v) + 1);
	return true;
}

enum http_next identity_login_password(struct http_req *req, struct identity *id)
{
	json_t *o = session_body(req);
	struct attempt *a;
	enum http_next next;
	bool good;

	if (!o)
		return HTTP_ANSWERED;
	a = calloc(1, sizeof(*a));
	good = a && access_origin_own(req) && take(a->user, sizeof(a->user), o, "user") &&
	       take(a->password, sizeof(a->password), o, "password");
	if (a)
		a->token = json_is_true(json_object_get(o, "token"));
	if (json_is_string(json_object_get(o, "password")))
		OPENSSL_cleanse((char *)(uintptr_t)json_string_value(json_object_get(o, "password")),
				json_string_length(json_object_get(o, "password")));
	json_decref(o);
	if (!good) {
		free(a);
		return http_reply_error(req, 400, "bad_login", "send {\"user\": …, \"password\": …} from a page of this host");
	}
	a->id = id;
	session_from(req, a->from);
	if (may_try(req, id, a)) {
		free(a);
		return HTTP_ANSWERED;
	}
	next = http_work(req, check_work, a);
	if (next == HTTP_ANSWERED) {
		id->hashing--;
		free(a);
	}
	return next;
}
