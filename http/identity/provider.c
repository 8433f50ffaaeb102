/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.c -- the OpenID provider: its discovery document (OpenID Connect Discovery 1.0 section 4) and key set, read
 * by a thread of its own every hour, and with growing pauses while it does not answer; and the calls to its endpoints.
 *
 * What was read last is kept while the provider is away. A token with an unknown key id makes the set be read anew once
 * (keys rotate), at most every few seconds, so that strangers cannot make us ask.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/identity/identity_impl.h"
#include "http/identity/jwt.h"
#include "lib/hash.h"
#include "lib/log.h"

#define EVERY_S	     3600
#define PAUSE_MAX_S  60
#define REFETCH_S    5 /* for unknown key ids */
#define CALL_MS	     5000
#define CALLS_MAX    6 /* at once, of the server's worker threads, when it is slow */
#define ANSWER_MAX   (256u << 10)
#define DISCOVERY    "/.well-known/openid-configuration"

struct provider {
	struct identity *id;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool started;
	_Atomic bool stopping; /* changed under the lock */
	json_t *document, *keys; /* never changed, only replaced */
	char why[256];		 /* there is no document yet */
	time_t keys_at;
	pthread_mutex_t fetching; /* of keys: one at a time */
	atomic_uint busy;
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* Secrets and codes go nowhere in the clear but to this machine itself. */
static bool url_good(const char *url)
{
	struct addr_port ap;
	char host[128];
	size_t len;

	if (!strncmp(url, "https://", 8))
		return url[8] != '\0';
	if (strncmp(url, "http://", 7))
		return false;
	len = strcspn(url + 7, "/?#");
	if (len >= sizeof(host) || memchr(url + 7, '@', len))
		return false;
	memcpy(host, url + 7, len);
	host[len] = '\0';
	if (!strcmp(host, "localhost") || !strncmp(host, "localhost:", 10))
		return true;
	if (!strchr(host, ':') || host[len - 1] == ']')
		snprintf(host + len, sizeof(host) - len, ":80");
	return !addr_port_parse(&ap, host) && addr_is_loopback(&ap.addr);
}

static json_t *call(struct provider *p, struct httpc_call *c, long *status, char why[256])
{
	struct httpc_answer answer = { 0 };
	json_t *o = NULL;
	int rc;

	c->timeout_ms = CALL_MS;
	c->body_max = ANSWER_MAX;
	rc = url_good(c->url) ? httpc_do(p->id->client, c, &answer) : -EINVAL;
	*status = answer.status;
	if (rc == -EINVAL)
		snprintf(why, 256, "%.150s is neither https:// nor on this machine", c->url);
	else if (rc)
		snprintf(why, 256, "%.120s does not answer: %.100s", c->url, *answer.error ? answer.error : strerror(-rc));
	else
		o = json_loadb(answer.body ? answer.body : "", answer.len, JSON_REJECT_DUPLICATES, NULL);
	if (!rc && !json_is_object(o)) {
		json_decref(o);
		o = NULL;
		snprintf(why, 256, "%.150s answered %ld without a JSON object", c->url, answer.status);
	}
	if (answer.body)
		OPENSSL_cleanse(answer.body, answer.len);
	httpc_answer_free(&answer);
	return o;
}

static json_t *get(struct provider *p, const char *url, char why[256])
{
	struct httpc_call c = { .url = url };
	long status = 0;
	json_t *o = call(p, &c, &status, why);

	if (o && status != 200) {
		snprintf(why, 256, "%.150s answered %ld", url, status);
		json_decref(o);
		o = NULL;
	}
	return o;
}

char *form_encode(const char *name, ...)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	va_list ap;
	bool first = true;

	if (!out)
		return NULL;
	va_start(ap, name);
	for (; name; name = va_arg(ap, const char *)) {
		const char *value = va_arg(ap, const char *);
		char *encoded = value ? http_percent_encode(value, false) : NULL;

		if (encoded)
			fprintf(out, "%s%s=%s", first ? "" : "&", name, encoded);
		first = encoded ? false : first;
		free(encoded);
	}
	va_end(ap);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

/* RFC 6749 section 2.3.1. malloc'ed. */
static char *basic(const struct identity *id)
{
	char *user = http_percent_encode(id->client_id, false), *secret = http_percent_encode(id->client_secret, false);
	char *pair = NULL, *encoded = NULL, *line = NULL;

	if (user && secret && asprintf(&pair, "%s:%s", user, secret) >= 0)
		encoded = base64_encode(pair, strlen(pair));
	if (encoded && asprintf(&line, "Authorization: Basic %s", encoded) < 0)
		line = NULL;
	if (pair)
		OPENSSL_cleanse(pair, strlen(pair));
	free(user);
	free(secret);
	free(pair);
	free(encoded);
	return line;
}

/* Does the provider want the secret in the form (client_secret_post) and nothing else? Default: basic. */
static bool wants_post(const json_t *document)
{
	const json_t *methods = json_object_get(document, "token_endpoint_auth_methods_supported"), *m;
	bool basic_there = !json_array_size(methods), post = false;
	size_t i;

	json_array_foreach (methods, i, m) {
		const char *name = json_string_value(m);

		basic_there |= name && !strcmp(name, "client_secret_basic");
		post |= name && !strcmp(name, "client_secret_post");
	}
	return post && !basic_there;
}

json_t *provider_post(struct provider *p, const char *url, const char *form, long *status, char why[256])
{
	json_t *document = provider_document(p, why), *o = NULL;
	const struct identity *id = p->id;
	bool post = wants_post(document), secret = id->client_secret && !post;
	char *client = document ? form_encode("client_id", secret ? NULL : id->client_id, "client_secret",
					      id->client_secret && post ? id->client_secret : NULL, NULL) : NULL;
	char *line = secret ? basic(id) : NULL, *body = NULL;

	if (client && (line || !secret) && asprintf(&body, "%s%s%s", form, *client ? "&" : "", client) >= 0) {
		const char *const headers[] = { "Content-Type: application/x-www-form-urlencoded", "Accept: application/json", line, NULL };
		struct httpc_call c = { .method = "POST", .url = url, .headers = headers, .body = body, .body_len = strlen(body) };

		o = call(p, &c, status, why);
		OPENSSL_cleanse(body, strlen(body));
		free(body);
	}
	if (line)
		OPENSSL_cleanse(line, strlen(line));
	if (client)
		OPENSSL_cleanse(client, strlen(client));
	free(line);
	free(client);
	json_decref(document);
	return o;
}

json_t *provider_userinfo(struct provider *p, const char *access_token)
{
	char why[256], line[4096];
	json_t *document = provider_document(p, why), *o = NULL;
	const char *url = text_of(document, "userinfo_endpoint");
	const char *const headers[] = { line, NULL };
	struct httpc_call c = { .url = url, .headers = headers };
	long status = 0;

	if (*url && snprintf(line, sizeof(line), "Authorization: Bearer %s", access_token) < (int)sizeof(line))
		o = call(p, &c, &status, why);
	if (o && status != 200) {
		json_decref(o);
		o = NULL;
	}
	if (*url && !o)
		log_limited(LOG_LEVEL_WARN, 6, "the provider's userinfo gave nothing (%ld)", status);
	json_decref(document);
	OPENSSL_cleanse(line, sizeof(line));
	return o;
}

/* ---- the document and the keys --------------------------------------------------------------- */

static json_t *keys_of(struct provider *p)
{
	json_t *keys;

	pthread_mutex_lock(&p->lock);
	keys = json_incref(p->keys);
	pthread_mutex_unlock(&p->lock);
	return keys;
}

static int fetch_keys(struct provider *p, const json_t *document, char why[256])
{
	json_t *keys = get(p, text_of(document, "jwks_uri"), why);

	if (!keys || !json_is_array(json_object_get(keys, "keys"))) {
		if (keys)
			snprintf(why, 256, "%.150s is no set of keys (JWK set)", text_of(document, "jwks_uri"));
		json_decref(keys);
		return -EIO;
	}
	pthread_mutex_lock(&p->lock);
	json_decref(p->keys);
	p->keys = keys;
	p->keys_at = time(NULL);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

/* The provider is who we were told, and has what we need. */
static int check_document(const struct identity *id, const json_t *document, char why[256])
{
	static const char *const needed[] = { "authorization_endpoint", "token_endpoint", "jwks_uri" };

	if (strcmp(text_of(document, "issuer"), id->issuer)) {
		snprintf(why, 256, "its document says issuer %.80s, identity.issuer says %.80s: they must be the same to the letter",
			 text_of(document, "issuer"), id->issuer);
		return -EINVAL;
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
		if (url_good(text_of(document, needed[i])))
			continue;
		snprintf(why, 256, "its document names no usable %s (https://, or http:// on this machine)", needed[i]);
		return -EINVAL;
	}
	return 0;
}

static int fetch(struct provider *p, char why[256])
{
	size_t len = strlen(p->id->issuer);
	char url[1024];
	json_t *document;
	int rc;

	while (len && p->id->issuer[len - 1] == '/')
		len--;
	if (snprintf(url, sizeof(url), "%.*s" DISCOVERY, (int)len, p->id->issuer) >= (int)sizeof(url))
		return -ENAMETOOLONG;
	document = get(p, url, why);
	rc = document ? check_document(p->id, document, why) : -EIO;
	if (!rc && p->stopping)
		rc = -ECANCELED;
	if (!rc)
		rc = fetch_keys(p, document, why);
	if (rc) {
		json_decref(document);
		return rc;
	}
	pthread_mutex_lock(&p->lock);
	json_decref(p->document);
	p->document = document;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static void pause_s(struct provider *p, unsigned int seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	while (!p->stopping && !pthread_cond_timedwait(&p->wake, &p->lock, &until))
		;
}

static void *keep_known(void *arg)
{
	struct provider *p = arg;
	unsigned int wait_s = 1, failures = 0;

	pthread_mutex_lock(&p->lock);
	while (!p->stopping) {
		char why[256] = "out of memory";
		int rc;

		pthread_mutex_unlock(&p->lock);
		rc = fetch(p, why);
		if (rc && !failures++)
			log_warn("the OpenID provider %s cannot be asked: %s; trying again", p->id->issuer, why);
		else if (!rc && failures)
			log_info("the OpenID provider %s answers", p->id->issuer);
		pthread_mutex_lock(&p->lock);
		snprintf(p->why, sizeof(p->why), "%s", rc ? why : "");
		failures = rc ? failures : 0;
		pause_s(p, rc ? wait_s : EVERY_S);
		wait_s = !rc ? 1 : wait_s * 2 < PAUSE_MAX_S ? wait_s * 2 : PAUSE_MAX_S;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

bool provider_enter(struct provider *p)
{
	if (++p->busy <= CALLS_MAX)
		return true;
	p->busy--;
	return false;
}

void provider_leave(struct provider *p)
{
	p->busy--;
}

/* Providers refuse scopes that they do not know. */
char *provider_scopes(const struct identity *id, const json_t *document)
{
	const json_t *known = json_object_get(document, "scopes_supported"), *one;
	bool groups = !json_is_array(known);
	size_t i;

	json_array_foreach (known, i, one)
		groups |= json_is_string(one) && !strcmp(json_string_value(one), "groups");
	return strdup(id->scopes ? id->scopes : groups ? "openid profile email groups" : "openid profile email");
}

json_t *provider_document(struct provider *p, char why[256])
{
	json_t *document;

	pthread_mutex_lock(&p->lock);
	document = json_incref(p->document);
	if (!document)
		snprintf(why, 256, "%s", *p->why ? p->why : "it was not asked yet");
	pthread_mutex_unlock(&p->lock);
	return document;
}

/* For a key id that is not known; false when the set was read a moment ago. */
static bool refetch(struct provider *p, char why[256])
{
	json_t *document = provider_document(p, why);
	bool fresh, done = false;

	pthread_mutex_lock(&p->fetching);
	pthread_mutex_lock(&p->lock);
	fresh = time(NULL) - p->keys_at < REFETCH_S;
	p->keys_at = time(NULL); /* also when it fails: not at once again */
	pthread_mutex_unlock(&p->lock);
	if (document && !fresh)
		done = !fetch_keys(p, document, why);
	pthread_mutex_unlock(&p->fetching);
	json_decref(document);
	return done;
}

int provider_verify(struct provider *p, json_t **claims, const char *token, const char *nonce, char why[256])
{
	struct jwt_expect expect = { .issuer = p->id->issuer,
				     .audience = p->id->audience,
				     .nonce = nonce,
				     .now = time(NULL),
				     .skew_s = p->id->skew_s };
	json_t *keys = keys_of(p), *before = keys;
	char about[160] = "", unused[256];
	int rc = jwt_verify(claims, token, keys, &expect, about);

	if (rc == -ENOKEY) {
		refetch(p, unused);
		keys = keys_of(p); /* also what another thread has read meanwhile */
		rc = jwt_verify(claims, token, keys, &expect, about);
		json_decref(before);
	}
	json_decref(keys);
	if (rc)
		snprintf(why, 256, "the provider's ID token %s", about);
	return rc;
}

/* ---- start and stop -------------------------------------------------------------------------- */

int provider_open(struct provider **out, struct identity *id)
{
	struct provider *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->id = id;
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->fetching, NULL);
	pthread_cond_init(&p->wake, NULL);
	*out = p;
	return 0;
}

int provider_start(struct provider *p)
{
	int rc = -pthread_create(&p->thread, NULL, keep_known, p);

	p->started = rc == 0;
	return rc;
}

void provider_stop(struct provider *p)
{
	if (!p || !p->started)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	p->started = false;
}

void provider_free(struct provider *p)
{
	if (!p)
		return;
	json_decref(p->document);
	json_decref(p->keys);
	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->fetching);
	pthread_cond_destroy(&p->wake);
	free(p);
}
