/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redirect.c -- a request for an object becomes a 307 to an endpoint (RFC 9110 section 15.4.8:
 * method and body stay).
 *
 * The target is composed anew from the decoded bucket and key, never from received bytes, and
 * carries a token that allows this method on this object for a short time. The answer is queued
 * before a body is read, so that a client that waits for 100 (Expect) sends its body once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/gateway/buckets.h"
#include "http/gateway/gateway.h"
#include "lib/hash.h"
#include "lib/media_type.h"

static const char curl_hint[] = "This gateway does not carry data: it redirects to an endpoint. "
				"Follow the redirect (curl -L).\n";

static unsigned int right_of(enum http_method method, bool listing)
{
	if (method == HTTP_PUT)
		return RIGHT_WRITE;
	if (method == HTTP_DELETE)
		return RIGHT_DELETE;
	return listing ? RIGHT_LIST : RIGHT_READ;
}

/* A number in [0, 1). */
static double draw(void)
{
	uint32_t n;

	random_bytes(&n, sizeof(n));
	return (double)n / 4294967296.0;
}

int redirect_token(struct gateway *gw, const struct token_scope *who,
		   const struct token_scope *want, char token[TOKEN_MAX])
{
	struct token_scope scope = *want;
	int64_t now = time(NULL);

	token[0] = '\0';
	if (!who->user[0])
		return 0;
	memcpy(scope.user, who->user, sizeof(scope.user));
	/* the endpoint asks again what the user may, and whether the sign-in was ended */
	memcpy(scope.groups, who->groups, sizeof(scope.groups));
	memcpy(scope.id, who->id, sizeof(scope.id));
	memcpy(scope.access_key, who->access_key, sizeof(scope.access_key));
	scope.provider = who->provider;
	scope.issued = who->issued;
	scope.expires = now + gw->token_ttl_s;
	if (who->expires && who->expires < scope.expires)
		scope.expires = who->expires;
	return users_sign(gw->users, &scope, token);
}

/* The outage that peers help through: what a player begins with is here. */
static enum http_next no_endpoint(struct http_req *req, struct gateway *gw)
{
	const char *bucket = http_param(req, "bucket"), *key = http_param(req, "key");

	if (bucket && key && peers_media_reply(gw->peers, req, bucket, key))
		return HTTP_ANSWERED;
	gw->no_endpoint++;
	http_add_header(req, "Retry-After", "1");
	return http_reply_error(req, 503, "no_endpoint", "no endpoint is alive at the moment; try again");
}

/* path: begins with '/', percent-encoded; query: "" or "name=value&…", encoded. */
static enum http_next answer(struct http_req *req, struct gateway *gw, const char *path,
			     const char *query, const char *token)
{
	char url[256], node[64], *location = NULL;
	enum http_next next;

	if (view_pick(gw->view, draw(), url, node))
		return no_endpoint(req, gw);
	if (asprintf(&location, "%s%s%s%s%s%s", url, path, *query || *token ? "?" : "", query,
		     *token ? (*query ? "&t=" : "t=") : "", token) < 0)
		return http_reply_error(req, 500, "memory", "out of memory");
	http_add_header(req, "Location", location);
	/* Also of public buckets: a browser that kept a redirect would go on asking an endpoint that died or is drained, and a
	 * segment is asked for once, so that it would save nothing. What is behind it is cached by the endpoint's word. */
	http_add_header(req, "Cache-Control", "no-store");
	http_add_header(req, "X-Weir-Endpoint", node);
	free(location);
	gw->redirected++;
	next = http_reply(req, 307, "text/plain; charset=utf-8", curl_hint, sizeof(curl_hint) - 1);
	return next;
}

/* "prefix=…&after=…&limit=…" of what the request has. */
static char *list_query(const struct http_req *req)
{
	static const char *const names[] = { "prefix", "after", "limit" };
	char *query = strdup("");

	for (size_t i = 0; query && i < 3; i++) {
		const char *value = http_query(req, names[i]);
		char *encoded = value ? http_percent_encode(value, false) : NULL, *longer = NULL;

		if (encoded && asprintf(&longer, "%s%s%s=%s", query, *query ? "&" : "", names[i],
					encoded) >= 0) {
			free(query);
			query = longer;
		}
		free(encoded);
	}
	return query;
}

/* A line when the object is a dataset's: endpoints have one of their own for what they sent. Strangers who are refused are
 * not written down: they could fill the log. */
static void note(struct gateway *gw, struct http_req *req, const struct token_scope *who,
		 const struct token_scope *want, const char *result)
{
	const char *what = want->rights == RIGHT_WRITE	  ? "upload"
			   : want->rights == RIGHT_DELETE ? "delete"
			   : want->rights == RIGHT_LIST	  ? "list"
							  : "download";

	if (users_dataset(gw->users, want->bucket) && (who->user[0] || !strcmp(result, "ok")))
		audit_object(gw->audit, req, who,
			     &(struct audit_object){ .what = what, .bucket = want->bucket,
						     .key = want->prefix, .result = result });
}

enum http_next redirect_object(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;
	const char *bucket = http_param(req, "bucket"), *key = http_param(req, "key");
	bool listing = http_method(req) <= HTTP_HEAD && !*key;
	const char *prefix = listing && http_query(req, "prefix") ? http_query(req, "prefix") : key;
	struct token_scope who, want = { .exact = !listing };
	char token[TOKEN_MAX], *path = NULL, *encoded, *query, *encoded_bucket;
	enum http_next next;

	want.rights = right_of(http_method(req), listing);
	if (!*key && !listing)
		return http_reply_error(req, 400, "no_key",
					"the path ends after the bucket; it should be /b/%.63s/KEY",
					bucket);
	if (http_content_length(req) != UINT64_MAX && http_content_length(req) > gw->object_max)
		return http_reply_error(req, 413, "too_large", "an object may have %llu bytes",
					(unsigned long long)gw->object_max);
	if (strlen(bucket) >= sizeof(want.bucket) || strlen(prefix) >= sizeof(want.prefix))
		return http_reply_error(req, 400, "name_too_long",
					"a bucket has at most 63 bytes, a key 512");
	memcpy(want.bucket, bucket, strlen(bucket));
	memcpy(want.prefix, prefix, strlen(prefix));
	if (!access_check(req, gw->users, want.rights, bucket, prefix, &who)) {
		gw->refused++;
		note(gw, req, &who, &want, "denied");
		return HTTP_ANSWERED;
	}
	note(gw, req, &who, &want, "ok");
	if (listing && browse_reply(gw, req, &who, &next))
		return next;
	/* A page of another gateway, or of another site, may follow. Without credentials: what anybody may read, or whoever has the
	 * address with its token, as at endpoints. */
	if (want.rights == RIGHT_READ && (users_bucket_public(gw->users, bucket) || http_query(req, "t")))
		media_cors_add(req);
	if (redirect_token(gw, &who, &want, token))
		return http_reply_error(req, 503, "no_signing_key",
					"the registry gave no key to sign with yet; try again");
	encoded_bucket = http_percent_encode(bucket, false);
	encoded = http_percent_encode(key, true);
	query = listing ? list_query(req) : strdup("");
	if (!encoded_bucket || !encoded || !query ||
	    asprintf(&path, "/b/%s/%s", encoded_bucket, encoded) < 0)
		next = http_reply_error(req, 500, "memory", "out of memory");
	else
		next = answer(req, gw, path, query, token);
	free(path);
	free(encoded_bucket);
	free(encoded);
	free(query);
	return next;
}

/* By hash the key is not known yet: the endpoint checks the user's own rights when it has found the
 * name. */
enum http_next redirect_hash(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;
	const char *sha = http_param(req, "sha256");
	struct token_scope who, want = { 0 };
	char token[TOKEN_MAX], path[80];
	uint8_t digest[32];

	if (hex_decode(sha, digest, sizeof(digest)))
		return http_reply_error(
			req, 400, "not_a_hash",
			"the path should be /o/ and the 64 hexadecimal digits of a SHA-256");
	if (!access_who(req, gw->users, &who)) {
		gw->refused++;
		return HTTP_ANSWERED;
	}
	want = who;
	want.rights &= RIGHT_READ; /* what a narrow token does not allow, the one in the redirect
				      must not */
	if (!want.rights) {
		gw->refused++;
		return http_reply_error(req, 403, "forbidden", "%s has not the right r here (to read)",
					who.user);
	}
	if (redirect_token(gw, &who, &want, token))
		return http_reply_error(req, 503, "no_signing_key",
					"the registry gave no key to sign with yet; try again");
	snprintf(path, sizeof(path), "/o/%s", sha);
	return answer(req, gw, path, "", token);
}
