/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpc.c -- see httpc.h.
 *
 * libcurl's easy handles are kept in a stack: the one that was used last has the warmest
 * connections. A handle belongs to one call at a time, so that nothing but the stack needs a lock.
 * Certificates are kept in memory, so that a daemon that gave up its privileges can still open
 * connections.
 */
#include "lib/httpc.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define FILE_MAX     (1u << 20) /* of a certificate or key */
#define BODY_DEFAULT (1u << 20)

struct blob {
	char *data;
	size_t len;
};

struct httpc {
	pthread_mutex_t lock;
	CURL **idle;
	size_t nidle, idle_max;
	long connect_ms, stall_ms;
	struct blob ca, cert, key;
	char *user_agent;
};

/* One call on its way. */
struct run {
	CURL *curl;
	const struct httpc_call *call;
	struct httpc_answer *answer;
	size_t body_max;
	bool head_told;
	int rc; /* of a callback that aborted, or -EMSGSIZE */
};

static int read_blob(struct blob *out, const char *path)
{
	int fd, rc = 0;
	ssize_t n;

	if (!path)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	out->data = malloc(FILE_MAX + 1);
	n = out->data ? read(fd, out->data, FILE_MAX) : -1;
	if (n < 0)
		rc = out->data ? -errno : -ENOMEM;
	else
		out->len = (size_t)n;
	close(fd);
	return rc;
}

static void free_blob(struct blob *blob)
{
	if (blob->data)
		OPENSSL_cleanse(blob->data, blob->len);
	free(blob->data);
}

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_ALL);
}

int httpc_new(struct httpc **out, const struct httpc_options *opt)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct httpc *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	pthread_once(&once, init_curl);
	pthread_mutex_init(&c->lock, NULL);
	c->idle_max = opt->idle_max ? opt->idle_max : 32;
	c->connect_ms = opt->connect_ms ? (long)opt->connect_ms : 1000;
	c->stall_ms = opt->stall_ms ? (long)opt->stall_ms : 10000;
	c->idle = calloc(c->idle_max, sizeof(CURL *));
	c->user_agent = strdup(opt->user_agent ? opt->user_agent : "weir");
	rc = c->idle && c->user_agent ? read_blob(&c->ca, opt->ca) : -ENOMEM;
	if (!rc)
		rc = read_blob(&c->cert, opt->cert);
	if (!rc)
		rc = read_blob(&c->key, opt->key);
	if (rc) {
		httpc_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void httpc_free(struct httpc *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->nidle; i++)
		curl_easy_cleanup(c->idle[i]);
	free(c->idle);
	free_blob(&c->ca);
	free_blob(&c->cert);
	free_blob(&c->key);
	free(c->user_agent);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static CURL *take_handle(struct httpc *c)
{
	CURL *curl = NULL;

	pthread_mutex_lock(&c->lock);
	if (c->nidle)
		curl = c->idle[--c->nidle];
	pthread_mutex_unlock(&c->lock);
	return curl ? curl : curl_easy_init();
}

static void give_handle(struct httpc *c, CURL *curl)
{
	curl_easy_reset(curl); /* keeps connections */
	pthread_mutex_lock(&c->lock);
	if (c->nidle < c->idle_max) {
		c->idle[c->nidle++] = curl;
		curl = NULL;
	}
	pthread_mutex_unlock(&c->lock);
	if (curl)
		curl_easy_cleanup(curl);
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static bool tell_head(struct run *r)
{
	curl_off_t length = -1;

	if (r->head_told)
		return true;
	r->head_told = true;
	curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &r->answer->status);
	curl_easy_getinfo(r->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	r->answer->content_length = length < 0 ? UINT64_MAX : (uint64_t)length;
	if (r->call->on_head)
		r->rc = r->call->on_head(r->call->arg, r->answer);
	return r->rc == 0;
}

/* "Name: value CR LF" to whoever wants to hear of it; lines that are too long for anybody are left out. */
static void tell_header(const struct run *r, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	char copy[8192];
	size_t at;

	if (!colon || len >= sizeof(copy))
		return;
	while (len && strchr("\r\n ", line[len - 1]))
		len--;
	memcpy(copy, line, len);
	copy[len] = copy[colon - line] = '\0';
	for (at = (size_t)(colon - line) + 1; copy[at] == ' ';)
		at++;
	r->call->on_header(r->call->arg, copy, copy + at);
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct run *r = arg;
	size_t len = size * n, at = 5;

	if (r->call->on_header)
		tell_header(r, line, len);
	if (len > 5 && !strncasecmp(line, "ETag:", 5)) {
		while (at < len && line[at] == ' ')
			at++;
		while (len > at &&
		       (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' '))
			len--;
		snprintf(r->answer->etag, sizeof(r->answer->etag), "%.*s", (int)(len - at),
			 line + at);
	}
	return size * n;
}

static int gather(struct run *r, const char *data, size_t len)
{
	struct httpc_answer *a = r->answer;
	char *more;

	if (a->len + len > r->body_max)
		return -EMSGSIZE;
	more = realloc(a->body, a->len + len + 1);
	if (!more)
		return -ENOMEM;
	a->body = more;
	memcpy(more + a->len, data, len);
	a->len += len;
	more[a->len] = '\0';
	return 0;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct run *r = arg;
	size_t len = size * n;

	if (!tell_head(r))
		return CURL_WRITEFUNC_ERROR;
	r->rc = r->call->on_data ? r->call->on_data(r->call->arg, data, len) : gather(r, data, len);
	return r->rc ? CURL_WRITEFUNC_ERROR : len;
}

static size_t on_read(char *buf, size_t size, size_t n, void *arg)
{
	struct run *r = arg;
	ssize_t got = r->call->read(r->call->arg, buf, size * n);

	if (got >= 0)
		return (size_t)got;
	r->rc = (int)got;
	return CURL_READFUNC_ABORT;
}

static int on_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
	struct run *r = arg;

	(void)dltotal, (void)dlnow, (void)ultotal, (void)ulnow;
	if (*r->call->stop)
		r->rc = -ECANCELED;
	return r->rc != 0;
}

/* ---- one call -------------------------------------------------------------------------------- */

static int errno_of(CURLcode code, CURL *curl)
{
	long os = 0;

	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &os);
		return os ? -(int)os : -ECONNREFUSED;
	case CURLE_COULDNT_RESOLVE_HOST:
		return -EHOSTUNREACH;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CIPHER:
		return -EPROTO;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
		return -ECONNRESET;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return -EINVAL;
	default:
		return -EIO;
	}
}

static void set_blob(CURL *curl, CURLoption option, const struct blob *blob)
{
	struct curl_blob b = { blob->data, blob->len, CURL_BLOB_NOCOPY };

	if (blob->data)
		curl_easy_setopt(curl, option, &b);
}

/* "unix:/path:/target": the socket, and a URL whose host is not looked at. */
static int set_url(CURL *curl, const char *url)
{
	const char *colon;
	char path[128], target[2048];

	if (strncmp(url, "unix:", 5))
		return curl_easy_setopt(curl, CURLOPT_URL, url) ? -ENOMEM : 0;
	colon = strchr(url + 5, ':');
	if (!colon || (size_t)(colon - url - 5) >= sizeof(path))
		return -EINVAL;
	snprintf(path, sizeof(path), "%.*s", (int)(colon - url - 5), url + 5);
	if (snprintf(target, sizeof(target), "http://localhost%s", colon + 1) >=
	    (int)sizeof(target))
		return -EINVAL;
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, path);
	return curl_easy_setopt(curl, CURLOPT_URL, target) ? -ENOMEM : 0;
}

static void set_body(CURL *curl, const struct httpc_call *call, struct run *r)
{
	const char *method = call->method ? call->method : "GET";

	if (call->read) {
		curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(curl, CURLOPT_READDATA, r);
		curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
				 call->read_len == UINT64_MAX ? (curl_off_t)-1
							      : (curl_off_t)call->read_len);
	} else if (call->body || !strcmp(method, "POST") || !strcmp(method, "PUT")) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body ? call->body : "");
	} else if (!strcmp(method, "HEAD")) {
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
}

static bool has_type(const struct httpc_call *call)
{
	for (size_t i = 0; call->headers && call->headers[i]; i++)
		if (!strncasecmp(call->headers[i], "Content-Type:", 13))
			return true;
	return false;
}

static struct curl_slist *set_headers(CURL *curl, const struct httpc_call *call)
{
	struct curl_slist *list = curl_slist_append(NULL, "Expect:"); /* no pause before a body */

	if (!call->read && !has_type(call)) /* libcurl's own for POSTFIELDS would be a form */
		list = curl_slist_append(list, "Content-Type: application/json");
	for (size_t i = 0; call->headers && call->headers[i]; i++)
		list = curl_slist_append(list, call->headers[i]);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
	return list;
}

static void set_options(struct httpc *c, CURL *curl, const struct httpc_call *call, struct run *r)
{
	long stall_s = (c->stall_ms + 999) / 1000;

	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L); /* the key "a/../b" is not "b" */
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, c->user_agent);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, c->connect_ms);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, stall_s);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	set_blob(curl, CURLOPT_CAINFO_BLOB, &c->ca);
	set_blob(curl, CURLOPT_SSLCERT_BLOB, &c->cert);
	set_blob(curl, CURLOPT_SSLKEY_BLOB, &c->key);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, r);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, r->answer->error);
	if (call->stop) {
		curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
		curl_easy_setopt(curl, CURLOPT_XFERINFODATA, r);
		curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	}
}

int httpc_do(struct httpc *c, const struct httpc_call *call, struct httpc_answer *answer)
{
	struct run r = { .call = call,
			 .answer = answer,
			 .body_max = call->body_max ? call->body_max : BODY_DEFAULT };
	struct curl_slist *headers;
	CURLcode code;
	int rc;

	memset(answer, 0, sizeof(*answer));
	answer->content_length = UINT64_MAX;
	r.curl = take_handle(c);
	if (!r.curl)
		return -ENOMEM;
	set_options(c, r.curl, call, &r);
	set_body(r.curl, call, &r);
	headers = set_headers(r.curl, call);
	rc = set_url(r.curl, call->url);
	if (!rc) {
		code = curl_easy_perform(r.curl);
		if (code == CURLE_OK && !tell_head(&r))
			code = CURLE_WRITE_ERROR;
		if (code != CURLE_OK && !*answer->error)
			snprintf(answer->error, sizeof(answer->error), "%s",
				 curl_easy_strerror(code));
		rc = r.rc ? r.rc == -EMSGSIZE ? -EMSGSIZE : -ECANCELED : errno_of(code, r.curl);
	} else {
		snprintf(answer->error, sizeof(answer->error), "%s is not a URL that can be used",
			 call->url);
	}
	if (rc == -EMSGSIZE)
		snprintf(answer->error, sizeof(answer->error),
			 "the answer is longer than %zu bytes", r.body_max);
	if (!rc)
		answer->error[0] = '\0';
	else
		answer->status = r.head_told ? answer->status : 0;
	give_handle(c, r.curl);
	curl_slist_free_all(headers);
	return rc;
}

void httpc_answer_free(struct httpc_answer *answer)
{
	free(answer->body);
	answer->body = NULL;
	answer->len = 0;
}
