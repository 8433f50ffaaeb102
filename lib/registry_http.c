/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_http.c -- one exchange with the registry: libcurl handles, login, errors as sentences.
 *
 * Handles are kept with their connections and used by one thread at a time. A token that the
 * registry no longer knows (etcd forgets its simple tokens at a restart) is fetched anew once for
 * each call.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/registry_internal.h"

#define ANSWER_MAX (64u << 20)

static _Thread_local char last_error[512];

struct text {
	char *data;
	size_t len, room;
};

void reg_error_set(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(last_error, sizeof(last_error), fmt, ap);
	va_end(ap);
}

const char *registry_error(void)
{
	return last_error[0] ? last_error : "no registry call failed in this thread";
}

int64_t reg_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct text *t = arg;
	size_t len = size * n;

	if (t->len + len > ANSWER_MAX)
		return 0;
	if (t->len + len + 1 > t->room) {
		size_t room = (t->len + len + 1) * 2;
		char *more = realloc(t->data, room);

		if (!more)
			return 0;
		t->data = more;
		t->room = room;
	}
	memcpy(t->data + t->len, data, len);
	t->len += len;
	t->data[t->len] = '\0';
	return len;
}

static CURL *handle_take(struct registry *reg)
{
	CURL *h = NULL;

	pthread_mutex_lock(&reg->lock);
	if (reg->nidle)
		h = reg->idle[--reg->nidle];
	pthread_mutex_unlock(&reg->lock);
	return h ? h : curl_easy_init();
}

static void handle_give(struct registry *reg, CURL *h)
{
	curl_easy_reset(h); /* keeps the connection */
	pthread_mutex_lock(&reg->lock);
	if (reg->nidle < REG_IDLE_MAX) {
		reg->idle[reg->nidle++] = h;
		h = NULL;
	}
	pthread_mutex_unlock(&reg->lock);
	if (h)
		curl_easy_cleanup(h);
}

/* What every request has in common. No proxy: the registry is near, or not at all. */
static void handle_prepare(struct registry *reg, CURL *h, const char *path)
{
	struct curl_blob ca = { .data = reg->ca, .flags = CURL_BLOB_NOCOPY };
	char url[1024];

	snprintf(url, sizeof(url), "%s%s", reg->base, path);
	curl_easy_setopt(h, CURLOPT_URL, url);
	if (reg->unix_path)
		curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, reg->unix_path);
	if (reg->ca) {
		ca.len = strlen(reg->ca);
		curl_easy_setopt(h, CURLOPT_CAINFO_BLOB, &ca);
	}
	curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, reg->timeout_ms);
	curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(h, CURLOPT_TCP_KEEPIDLE, 10L);
	curl_easy_setopt(h, CURLOPT_TCP_KEEPINTVL, 5L);
	curl_easy_setopt(h, CURLOPT_USERAGENT, "weir");
}

int reg_curl_failed(struct registry *reg, CURLcode rc)
{
	atomic_store(&reg->reachable, false);
	switch (rc) {
	case CURLE_OPERATION_TIMEDOUT:
		reg_error_set("the registry at %s did not answer within %ld ms; is it running, and "
			      "is the "
			      "path to it open?",
			      reg->shown, reg->timeout_ms);
		return -ETIMEDOUT;
	case CURLE_COULDNT_CONNECT:
		reg_error_set("nothing listens at %s, or this user may not connect; start "
			      "weir-registry or "
			      "etcd there, or correct `registry: url`",
			      reg->shown);
		return -ECONNREFUSED;
	case CURLE_COULDNT_RESOLVE_HOST:
		reg_error_set("the host in %s is not known; correct `registry: url`", reg->shown);
		return -EHOSTUNREACH;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CACERT_BADFILE:
		reg_error_set(
			"TLS with %s failed: %s; `registry: ca` must hold the CA that signed its "
			"certificate",
			reg->shown, curl_easy_strerror(rc));
		return -EPROTO;
	case CURLE_OUT_OF_MEMORY:
		reg_error_set("out of memory while asking the registry");
		return -ENOMEM;
	default:
		reg_error_set("the exchange with the registry at %s failed: %s", reg->shown,
			      curl_easy_strerror(rc));
		return -ECONNRESET;
	}
}

/* grpc/codes, as the gateway passes them on. */
static int code_errno(int code)
{
	switch (code) {
	case 3:
		return -EINVAL;
	case 4:
		return -ETIMEDOUT;
	case 5:
		return -ENOENT;
	case 6:
	case 9:
		return -EEXIST;
	case 7:
	case 16:
		return -EACCES;
	case 8:
		return -ENOSPC;
	case 11:
		return -ESTALE;
	case 14:
		return -EHOSTUNREACH;
	default:
		return -EPROTO;
	}
}

/* Does the answer mean that a new login would help? */
static bool login_stale(long status, const char *message)
{
	return status == 401 || strstr(message, "invalid auth token") ||
	       strstr(message, "revision of auth store is old") ||
	       strstr(message, "user name is empty");
}

/* What this thread's last exchange was made with: a refusal of it says nothing of a newer one. */
static __thread char token_used[REG_AUTH_MAX];

static void login_forget(struct registry *reg)
{
	pthread_mutex_lock(&reg->lock);
	if (reg->auth_token && !strcmp(reg->auth_token, token_used)) {
		free(reg->auth_token);
		reg->auth_token = NULL;
	}
	pthread_mutex_unlock(&reg->lock);
}

int reg_refused(struct registry *reg, const char *path, long status, const char *body, size_t len)
{
	json_t *root = body ? json_loadb(body, len, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	json_t *inner = json_object_get(root, "error");
	const json_t *holder = json_is_object(inner) ? inner : root; /* streams wrap it */
	const char *message = json_string_value(json_object_get(holder, "message"));
	json_t *code = json_object_get(holder, json_is_object(inner) ? "grpc_code" : "code");
	int err = -EPROTO;

	if (!message)
		message = json_is_string(inner) ? json_string_value(inner) : "no reason given";
	if (json_is_integer(code))
		err = code_errno((int)json_integer_value(code));
	if (status == 401 || status == 403)
		err = -EACCES;
	if (login_stale(status, message)) {
		login_forget(reg);
		err = -EACCES;
	}
	reg_error_set(
		"the registry at %s refused %s (status %ld): %s%s", reg->shown, path, status,
		message,
		err == -EACCES
			? "; check `registry: user`, `password` and `token`, or run as root or "
			  "as the daemons' user"
			: "");
	json_decref(root);
	return err;
}

/* One POST. 0 when there was an answer, whatever its status. */
static int post(struct registry *reg, const char *path, const char *body, const char *auth,
		unsigned int flags, struct text *out, long *status)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	CURL *h = handle_take(reg);
	CURLcode rc;

	headers = curl_slist_append(headers, "Expect:");
	if (auth)
		headers = curl_slist_append(headers, auth);
	if (!h || !headers) {
		curl_slist_free_all(headers);
		curl_easy_cleanup(h);
		return reg_curl_failed(reg, CURLE_OUT_OF_MEMORY);
	}
	handle_prepare(reg, h, path);
	curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, reg->timeout_ms);
	curl_easy_setopt(h, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, out);
	if (flags & REG_FRESH) {
		curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L);
		curl_easy_setopt(h, CURLOPT_FORBID_REUSE, 1L);
	}
	rc = curl_easy_perform(h);
	curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, status);
	handle_give(reg, h);
	curl_slist_free_all(headers);
	if (rc)
		return reg_curl_failed(reg, rc);
	atomic_store(&reg->reachable, true);
	return 0;
}

/* Name and password for a token. */
static int login(struct registry *reg)
{
	json_t *request = json_pack("{s:s,s:s}", "name", reg->user, "password", reg->password);
	char *body = request ? json_dumps(request, JSON_COMPACT) : NULL;
	struct text out = { 0 };
	json_t *answer = NULL;
	const char *token;
	long status = 0;
	int rc = body ? post(reg, "/v3/auth/authenticate", body, NULL, 0, &out, &status) : -ENOMEM;

	if (!rc && status != 200)
		rc = reg_refused(reg, "/v3/auth/authenticate", status, out.data, out.len);
	if (!rc) {
		answer = out.data ? json_loadb(out.data, out.len, 0, NULL) : NULL;
		token = json_string_value(json_object_get(answer, "token"));
		rc = token && strlen(token) < REG_AUTH_MAX - 32 ? 0 : -EPROTO;
	}
	if (!rc) {
		pthread_mutex_lock(&reg->lock);
		free(reg->auth_token);
		reg->auth_token = strdup(token);
		pthread_mutex_unlock(&reg->lock);
	}
	if (body)
		explicit_bzero(body, strlen(body));
	free(body);
	free(out.data);
	json_decref(request);
	json_decref(answer);
	return rc;
}

/* One login for all threads that want one at a time, its failure too: etcd takes a tenth of a second of CPU for
 * each (bcrypt). */
static int login_once(struct registry *reg)
{
	unsigned int seen = atomic_load(&reg->logins);
	bool there;
	int rc = 0;

	pthread_mutex_lock(&reg->login_lock);
	pthread_mutex_lock(&reg->lock);
	there = reg->auth_token != NULL;
	pthread_mutex_unlock(&reg->lock);
	if (!there && seen != atomic_load(&reg->logins)) {
		rc = reg->login_rc;
		if (rc)
			reg_error_set("%s", reg->login_why);
	}
	if (!there && !rc) {
		rc = login(reg);
		reg->login_rc = rc;
		snprintf(reg->login_why, sizeof(reg->login_why), "%s", rc ? registry_error() : "");
		atomic_fetch_add(&reg->logins, 1);
	}
	pthread_mutex_unlock(&reg->login_lock);
	return rc;
}

/* The Authorization header into buf; *auth is buf, or NULL when none is wanted. etcd takes its own
 * token bare, weir-registry's is a bearer token (RFC 6750 section 2.1). */
static int login_header(struct registry *reg, char buf[REG_AUTH_MAX], const char **auth)
{
	int rc;

	*auth = NULL;
	if (reg->bearer) {
		snprintf(buf, REG_AUTH_MAX, "Authorization: Bearer %s", reg->bearer);
		*auth = buf;
		return 0;
	}
	if (!reg->user)
		return 0;
	rc = login_once(reg);
	if (rc)
		return rc;
	pthread_mutex_lock(&reg->lock);
	if (reg->auth_token) {
		snprintf(buf, REG_AUTH_MAX, "Authorization: %s", reg->auth_token);
		snprintf(token_used, sizeof(token_used), "%s", reg->auth_token);
		*auth = buf;
	}
	pthread_mutex_unlock(&reg->lock);
	return 0;
}

static int call_once(struct registry *reg, const char *path, const char *body, unsigned int flags,
		     json_t **answer)
{
	char header[REG_AUTH_MAX];
	struct text out = { 0 };
	const char *auth;
	long status = 0;
	int rc = login_header(reg, header, &auth);

	if (!rc)
		rc = post(reg, path, body, auth, flags, &out, &status);
	if (!rc && status != 200)
		rc = reg_refused(reg, path, status, out.data, out.len);
	if (!rc) {
		/* keepalive answers a stream of one object, so more may follow the first */
		*answer = out.data ? json_loadb(out.data, out.len, JSON_DISABLE_EOF_CHECK, NULL)
				   : NULL;
		if (!json_is_object(*answer)) {
			json_decref(*answer);
			reg_error_set("what answers at %s is no registry (no JSON object for %s); "
				      "correct "
				      "`registry: url`",
				      reg->shown, path);
			rc = -EPROTO;
		}
	}
	free(out.data);
	explicit_bzero(header, sizeof(header));
	return rc;
}

int reg_call(struct registry *reg, const char *path, json_t *request, unsigned int flags,
	     json_t **answer)
{
	char *body = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_t *got = NULL;
	bool had_token;
	int rc;

	json_decref(request);
	if (!body) {
		reg_error_set("out of memory while asking the registry");
		return -ENOMEM;
	}
	pthread_mutex_lock(&reg->lock);
	had_token = reg->auth_token != NULL;
	pthread_mutex_unlock(&reg->lock);
	rc = call_once(reg, path, body, flags, &got);
	if (rc == -EACCES && had_token) {
		pthread_mutex_lock(&reg->lock);
		had_token = reg->auth_token != NULL;
		pthread_mutex_unlock(&reg->lock);
		if (!had_token) /* it was refused and forgotten: log in again */
			rc = call_once(reg, path, body, flags, &got);
	}
	explicit_bzero(body, strlen(body)); /* it may be a signing key */
	free(body);
	if (!rc)
		*answer = got;
	return rc;
}

CURL *reg_stream_new(struct registry *reg, const char *path, const char *body,
		     struct curl_slist **headers)
{
	char header[REG_AUTH_MAX];
	struct curl_slist *list;
	const char *auth;
	CURL *h;

	if (login_header(reg, header, &auth))
		return NULL;
	h = curl_easy_init();
	if (!h)
		return NULL;
	list = curl_slist_append(NULL, "Content-Type: application/json");
	list = curl_slist_append(list, "Expect:");
	if (auth)
		list = curl_slist_append(list, auth);
	explicit_bzero(header, sizeof(header));
	handle_prepare(reg, h, path);
	curl_easy_setopt(h, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, list);
	*headers = list;
	return h;
}
