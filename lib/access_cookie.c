/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_cookie.c -- a session's cookie, and what keeps other sites from using it (see access.h).
 *
 * Two walls against requests that another site makes in the name of who is signed in (CSRF): SameSite=Lax, which
 * browsers keep, and a word that only a page of our own can read (RFC 6265bis section 5.6.7; OWASP's "signed double
 * submit"): a hash that only a holder of the signing key can make of the session's id.
 */
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/access.h"
#include "lib/access_impl.h"
#include "lib/hash.h"

#define COOKIES_MAX (16u << 10)

static atomic_bool cookies_taken;

void access_cookies(bool taken)
{
	cookies_taken = taken;
}

bool access_is_https(const struct http_req *req)
{
	const char *proto = http_peer_uid(req) >= 0 ? http_header(req, "X-Forwarded-Proto") : NULL;

	return proto && !strcmp(proto, "https");
}

char *access_client(const struct http_req *req, char out[ADDR_PORT_STRLEN])
{
	const char *forwarded = http_peer_uid(req) >= 0 ? http_header(req, "X-Forwarded-For") : NULL;
	const struct addr_port *peer = http_peer(req);
	struct addr a;

	if (forwarded && !addr_parse(&a, forwarded))
		return addr_format(&a, out, ADDR_PORT_STRLEN);
	if (*peer->path || peer->addr.family == AF_UNSPEC)
		return strcpy(out, "local");
	return addr_format(&peer->addr, out, ADDR_PORT_STRLEN);
}

/* RFC 6265 section 4.2.1: NAME=VALUE; NAME=VALUE. The first of that name counts. */
static bool cookie_value(const char *text, const char *name, char *out, size_t size)
{
	size_t name_len = strlen(name);

	while (text && *text) {
		size_t len;

		text += strspn(text, " ;");
		len = strcspn(text, ";");
		if (len > name_len && !strncmp(text, name, name_len) && text[name_len] == '=') {
			len -= name_len + 1;
			if (len >= size)
				return false;
			memcpy(out, text + name_len + 1, len);
			out[len] = '\0';
			return true;
		}
		text += len;
	}
	return false;
}

bool access_cookie(const struct http_req *req, const char *name, char *out, size_t size)
{
	const char *text = http_header(req, "Cookie");
	char secure[96];

	if (!text || strlen(text) > COOKIES_MAX || http_header_repeated(req, "Cookie"))
		return false;
	snprintf(secure, sizeof(secure), "__Host-%s", name);
	if (cookie_value(text, secure, out, size))
		return true;
	/* The short name can be set by a neighbour of our hostname: never over HTTPS. */
	return !access_is_https(req) && cookie_value(text, name, out, size);
}

char *access_credentials(const struct http_req *req)
{
	const char *header = http_header(req, "Authorization"), *token = http_query(req, "t");
	char cookie[TOKEN_MAX], *line = NULL;
	int n;

	if (header)
		n = asprintf(&line, "Authorization: %s", header);
	else if (token)
		n = asprintf(&line, "Authorization: Bearer %s", token);
	else
		n = access_cookie(req, ACCESS_COOKIE, cookie, sizeof(cookie)) ? asprintf(&line, "Authorization: Bearer %s", cookie) : -1;
	return n < 0 ? NULL : line;
}

int access_set_cookie(struct http_req *req, const char *name, const char *value, int64_t seconds, bool secure)
{
	char line[4096];
	int n = snprintf(line, sizeof(line), "%s%s=%s; Path=/; Max-Age=%lld; HttpOnly; SameSite=Lax%s", secure ? "__Host-" : "",
			 name, value, (long long)seconds, secure ? "; Secure" : "");

	return n < (int)sizeof(line) ? http_add_header(req, "Set-Cookie", line) : -1;
}

bool access_session_cookie(const struct http_req *req, char token[TOKEN_MAX])
{
	return cookies_taken && access_cookie(req, ACCESS_COOKIE, token, TOKEN_MAX) && *token;
}

bool access_is_cookie(const struct http_req *req)
{
	char token[TOKEN_MAX];

	return !http_header(req, "Authorization") && !http_query(req, "t") && access_session_cookie(req, token);
}

void access_csrf(struct users *users, const struct token_scope *scope, char out[65])
{
	/* What would be signed here can be presented nowhere: it has expired, and only its hash is shown. */
	struct token_scope word = { .expires = 1 };
	char signed_word[TOKEN_MAX];
	uint8_t digest[32];

	snprintf(word.user, sizeof(word.user), "%s", scope->user);
	snprintf(word.prefix, sizeof(word.prefix), "csrf %s %lld", scope->id, (long long)scope->expires);
	memset(digest, 0, sizeof(digest));
	out[0] = '\0';
	if (users_sign(users, &word, signed_word))
		return; /* no key yet: matches nothing */
	sha256_once(signed_word, strlen(signed_word), digest);
	hex_encode(digest, sizeof(digest), out);
	OPENSSL_cleanse(signed_word, sizeof(signed_word));
}

bool access_csrf_matches(struct users *users, const struct token_scope *scope, const char *sent)
{
	char right[65];

	access_csrf(users, scope, right);
	return sent && strlen(right) == 64 && strlen(sent) == 64 && !CRYPTO_memcmp(sent, right, 64);
}

/* The authority of an origin, or of Host. */
bool access_origin_own(const struct http_req *req)
{
	const char *origin = http_header(req, "Origin"), *host = http_header(req, "Host"), *site = http_header(req, "Sec-Fetch-Site");
	const char *forwarded = http_peer_uid(req) >= 0 ? http_header(req, "X-Forwarded-Host") : NULL;

	if (site && !strcmp(site, "cross-site"))
		return false;
	if (!origin)
		return true;
	if (http_header_repeated(req, "Origin"))
		return false;
	origin = !strncmp(origin, "https://", 8) ? origin + 8 : !strncmp(origin, "http://", 7) ? origin + 7 : NULL;
	return origin && ((host && !strcasecmp(origin, host)) || (forwarded && !strcasecmp(origin, forwarded)));
}

static bool changes(const struct http_req *req)
{
	enum http_method m = http_method(req);

	return m != HTTP_GET && m != HTTP_HEAD && m != HTTP_OPTIONS;
}

bool access_csrf_fine(const struct http_req *req, struct users *users, const struct token_scope *who)
{
	return !changes(req) ||
	       (access_origin_own(req) && access_csrf_matches(users, who, http_header(req, "X-Weir-CSRF")));
}
