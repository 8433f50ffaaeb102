/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login.c -- the authorization code flow with PKCE (RFC 6749 section 4.1, RFC 7636, OpenID Connect Core section 3.1).
 *
 * What must be known again when the browser comes back (state, nonce, verifier, where it wanted to go) travels in a
 * sealed cookie: any gateway can take the browser back, none has to remember it. Each state is good once; a second use of
 * the same answer finds neither the cookie nor, at this gateway, the state, and the provider takes a code once.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/identity/identity_impl.h"
#include "lib/hash.h"
#include "lib/log.h"

#define COOKIE	   "weir-login"
#define PURPOSE	   "login"
#define RANDOM	   32
#define RANDOM_LEN 43 /* of them in base64url */
#define CODE_MAX   2048

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

static void random_text(char out[RANDOM_LEN + 1])
{
	uint8_t bytes[RANDOM];

	random_bytes(bytes, sizeof(bytes));
	base64url_encode(bytes, sizeof(bytes), out);
}

static int64_t now_ms(void)
{
	return (int64_t)time(NULL) * 1000;
}

/* ---- to the provider ------------------------------------------------------------------------- */

/* The provider's address with what we ask. malloc'ed. */
static char *authorize_url(struct identity *id, const json_t *document, const char *back, const char *state, const char *nonce,
			   const char *verifier)
{
	const char *at = text_of(document, "authorization_endpoint");
	char challenge[RANDOM_LEN + 1], *form, *url = NULL, *scopes = provider_scopes(id, document);
	uint8_t digest[32];

	sha256_once(verifier, strlen(verifier), digest);
	base64url_encode(digest, sizeof(digest), challenge);
	form = form_encode("response_type", "code", "client_id", id->client_id, "redirect_uri", back, "scope", scopes, "state", state,
			   "nonce", nonce, "code_challenge", challenge, "code_challenge_method", "S256", NULL);
	if (form && asprintf(&url, "%s%c%s", at, strchr(at, '?') ? '&' : '?', form) < 0)
		url = NULL;
	free(scopes);
	free(form);
	return url;
}

static int remember(struct http_req *req, struct identity *id, const char *state, const char *nonce, const char *verifier,
		    const char *to, const char *back)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "s", state, "n", nonce, "v", verifier, "r", to, "b", back);
	char sealed[SEALED_MAX];
	int rc = o ? seal(sealed, id->users, PURPOSE, o, time(NULL) + SIGN_IN_S) : -ENOMEM;

	json_decref(o);
	return rc ? rc : access_set_cookie(req, COOKIE, sealed, SIGN_IN_S, session_is_secure(req, id));
}

enum http_next identity_login_start(struct http_req *req, struct identity *id)
{
	char why[256], state[RANDOM_LEN + 1], nonce[RANDOM_LEN + 1], verifier[RANDOM_LEN + 1], *base, *back = NULL, *url = NULL;
	const char *to = http_query(req, "return");
	enum http_next next;
	json_t *document;

	if (!id->provider)
		return page_fault(req, 404, "no_provider", "This installation has no OpenID provider: sign in with user and password.");
	document = provider_document(id->provider, why);
	if (!document) {
		http_add_header(req, "Retry-After", "5");
		return page_fault(req, 503, "provider", "The provider of sign-in cannot be asked at the moment: %s. Who is signed in stays so.",
				  why);
	}
	base = session_base(req, id);
	random_text(state);
	random_text(nonce);
	random_text(verifier);
	if (base && asprintf(&back, "%s/_/login/callback", base) >= 0)
		url = authorize_url(id, document, back, state, nonce, verifier);
	if (!url) {
		next = page_fault(req, 400, "bad_host", "The request names no usable host to come back to.");
	} else if (remember(req, id, state, nonce, verifier, to && session_path_local(to) ? to : "/", back)) {
		next = page_fault(req, 503, "no_signing_key", "The registry gave no key to sign with yet; try again.");
	} else {
		http_add_header(req, "Cache-Control", "no-store");
		http_add_header(req, "Location", url);
		next = http_reply(req, 303, "text/plain; charset=utf-8", "to the provider\n", 16);
	}
	json_decref(document);
	OPENSSL_cleanse(verifier, sizeof(verifier));
	free(base);
	free(back);
	free(url);
	return next;
}

/* ---- and back -------------------------------------------------------------------------------- */

struct arrival {
	struct identity *id;
	json_t *known; /* what was sealed */
	char code[CODE_MAX];
};

static void arrival_free(struct arrival *a)
{
	json_decref(a->known);
	OPENSSL_cleanse(a->code, sizeof(a->code));
	free(a);
}

/* The code for tokens; NULL: why says. */
static json_t *redeem(struct arrival *a, unsigned int *status, char why[256])
{
	json_t *document = provider_document(a->id->provider, why), *answer = NULL;
	char *form = document ? form_encode("grant_type", "authorization_code", "code", a->code, "redirect_uri", text_of(a->known, "b"),
					    "code_verifier", text_of(a->known, "v"), NULL) : NULL;
	long got = 0;

	*status = 502;
	if (form)
		answer = provider_post(a->id->provider, text_of(document, "token_endpoint"), form, &got, why);
	if (answer && got != 200) {
		const char *error = text_of(answer, "error");

		if (!strcmp(error, "invalid_grant")) {
			*status = 400;
			snprintf(why, 256, "the provider does not take this answer: it was used already, or is too old");
		} else {
			snprintf(why, 256, "the provider refused (%ld %.60s: %.120s)", got, error, text_of(answer, "error_description"));
		}
		json_decref(answer);
		answer = NULL;
	}
	json_decref(document);
	if (form)
		OPENSSL_cleanse(form, strlen(form));
	free(form);
	return answer;
}

static unsigned int status_of(int rc)
{
	switch (rc) {
	case -EEXIST:
	case -EACCES:
	case -EINVAL:
		return 403;
	case -EBADMSG:
	case -ENOKEY:
	case -ETIME:
		return 502;
	default:
		return 503;
	}
}

static void arrive_work(struct http_req *req, void *arg)
{
	struct arrival *a = arg;
	struct identity *id = a->id;
	struct token_scope scope = { .user = "" };
	char token[TOKEN_MAX], why[256] = "out of memory";
	unsigned int status = 502;
	json_t *answer = redeem(a, &status, why);
	bool redeemed = answer != NULL;
	int rc = redeemed ? person_sign_in(id, answer, text_of(a->known, "n"), &scope, token, why) : -EIO;

	provider_leave(id->provider);
	json_decref(answer);
	session_audit(id, req, scope.user, "login", "", !rc ? "ok" : rc == -EACCES || rc == -EEXIST ? "denied" : "failed", rc ? why : "provider");
	if (rc) {
		log_limited(LOG_LEVEL_WARN, 12, "a sign-in failed: %s", why);
		page_fault(req, redeemed ? status_of(rc) : status, "sign_in", "Signing in did not succeed: %s.", why);
	} else {
		session_set_cookie(req, id, token);
		http_add_header(req, "Location", text_of(a->known, "r"));
		http_reply(req, 303, "text/plain; charset=utf-8", "signed in\n", 10);
	}
	OPENSSL_cleanse(token, sizeof(token));
	arrival_free(a);
}

static bool same(const char *a, const char *b)
{
	return strlen(a) == strlen(b) && !CRYPTO_memcmp(a, b, strlen(a));
}

/* Is the answer one to what this browser asked? NULL, or the sentence why not. */
static const char *judge(struct http_req *req, struct identity *id, const json_t *known)
{
	const char *state = http_query(req, "state"), *iss = http_query(req, "iss");
	json_t *document;
	bool needed;
	char why[256];

	if (!known)
		return "it was not begun in this browser, or more than ten minutes ago, or is over already";
	if (!state || !same(state, text_of(known, "s")))
		return "the answer belongs to another sign-in (state)";
	/* RFC 9207: the answer of another provider */
	document = provider_document(id->provider, why);
	needed = json_is_true(json_object_get(document, "authorization_response_iss_parameter_supported"));
	json_decref(document);
	if (iss ? strcmp(iss, id->issuer) != 0 : needed)
		return "the answer is of another provider (iss)";
	if (!seen_first(id->states, state, now_ms(), now_ms() + SIGN_IN_S * 1000ll))
		return "the answer was used already";
	return NULL;
}

static enum http_next refused(struct http_req *req, struct identity *id, json_t *known, unsigned int status, const char *why)
{
	session_audit_stranger(id, req, "", "login", status == 403 ? "denied" : "failed", why);
	json_decref(known);
	return page_fault(req, status, status == 403 ? "denied" : "sign_in", "Signing in did not succeed: %s.", why);
}

enum http_next identity_login_callback(struct http_req *req, struct identity *id)
{
	const char *error = http_query(req, "error"), *code = http_query(req, "code"), *why, *said = http_query(req, "error_description");
	bool there = id->provider != NULL, had;
	char sealed[SEALED_MAX], sentence[256];
	struct arrival *a;
	enum http_next next;
	json_t *known;

	if (!there)
		return page_fault(req, 404, "no_provider", "This installation has no OpenID provider.");
	had = access_cookie(req, COOKIE, sealed, sizeof(sealed));
	known = had ? unseal(id->users, PURPOSE, sealed, time(NULL)) : NULL;
	why = judge(req, id, known);
	if (why)
		return refused(req, id, known, 400, why);
	access_set_cookie(req, COOKIE, "", 0, session_is_secure(req, id)); /* over, whatever comes of it */
	if (error) {
		snprintf(sentence, sizeof(sentence), "the provider says: %.60s %.150s", error, said ? said : "");
		return refused(req, id, known, 403, sentence);
	}
	if (!code || strlen(code) >= CODE_MAX)
		return refused(req, id, known, 400, "the provider's answer has no code");
	a = calloc(1, sizeof(*a));
	if (!a) {
		json_decref(known);
		return http_reply_error(req, 500, "memory", "out of memory");
	}
	a->id = id;
	a->known = known;
	snprintf(a->code, sizeof(a->code), "%s", code);
	if (!provider_enter(id->provider)) {
		arrival_free(a);
		return page_fault(req, 503, "busy", "Many people sign in at this moment, or the provider is slow; try again.");
	}
	next = http_work(req, arrive_work, a);
	if (next == HTTP_ANSWERED) {
		provider_leave(id->provider);
		arrival_free(a);
	}
	return next;
}
