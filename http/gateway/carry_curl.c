/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry_curl.c -- the endpoint's side of what is carried: a thread with libcurl's multi interface (carry.h).
 *
 * A transfer waits in libcurl (paused) while a ring is empty or full; whoever fills or empties it tells the carrier. All
 * of libcurl is called on the carrier's thread alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/gateway/carry_int.h"
#include "lib/log.h"

#define CONNECT_MS  1000L
#define SEND_MS	    20000 /* an endpoint takes nothing of a body for so long: given up */
#define READ_MS	    15000 /* … says nothing to a GET or HEAD: another one is asked, or it is cut */
#define ANSWER_MS   120000 /* … to another request: copies of large objects take their time */
#define TICK_MS	    1000
#define BUFFER	    65536L /* of libcurl; at most half a ring */
#define KEPT_S	    20L	   /* shorter than the endpoints keep an idle connection */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- libcurl calls ---- */

/* Those that belong to a connection, or that the server says itself. */
static bool is_carried(const char *name)
{
	static const char *const not[] = { "Connection",	"Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Trailer",
					   "Upgrade",		"TE",	      "Content-Length",	  "Date",	       "Server",
					   "Proxy-Authenticate", "X-Request-Id" };

	for (size_t i = 0; i < sizeof(not) / sizeof(*not); i++)
		if (!strcasecmp(name, not[i]))
			return false;
	return true;
}

static void forget_head(struct carry *c)
{
	for (size_t i = 0; i < c->nheaders; i++) {
		free(c->names[i]);
		free(c->values[i]);
	}
	c->nheaders = 0;
	c->head_over = false;
}

static void keep_header(struct carry *c, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len), *value = colon ? colon + 1 : NULL;
	char *name;

	if (!colon || c->nheaders == CARRY_HEADERS)
		return;
	while (len && strchr("\r\n \t", line[len - 1]))
		len--;
	while (value < line + len && (*value == ' ' || *value == '\t'))
		value++;
	name = strndup(line, (size_t)(colon - line));
	if (name && is_carried(name)) {
		c->names[c->nheaders] = name;
		c->values[c->nheaders] = value < line + len ? strndup(value, (size_t)(line + len - value)) : strdup("");
		if (c->values[c->nheaders++])
			return;
		c->nheaders--;
	}
	free(name);
}

/* An answer before the body's end: libcurl looks at it no further while it waits for more of the body. */
static void look_past_body(struct carry *c)
{
	bool waits;

	pthread_mutex_lock(&c->lock);
	waits = c->in_paused;
	c->in_paused = false;
	pthread_mutex_unlock(&c->lock);
	if (waits)
		carry_tell(c);
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct carry *c = arg;
	size_t len = size * n;
	long status = 0;

	c->moved_ms = now_ms();
	if (len >= 5 && !strncmp(line, "HTTP/", 5)) {
		forget_head(c);
	} else if (!c->head_over && len && (line[0] == '\r' || line[0] == '\n')) {
		curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
		c->head_over = status >= 200;
		if (c->head_over && c->has_body)
			look_past_body(c);
	} else if (!c->head_over) {
		keep_header(c, line, len);
	}
	return len;
}

/* Under the lock. */
static void take_status(struct carry *c)
{
	curl_off_t length = -1;
	long status = 0;

	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(c->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	c->status = (unsigned int)status;
	c->length = length < 0 ? UINT64_MAX : (uint64_t)length;
}

/* Under the lock: whoever waits for what changed goes on. */
static void wake_client(struct carry *c)
{
	if (!c->req)
		return;
	if (carry_may_reply(c) && (c->asked || c->held)) {
		c->held = false;
		carry_reply(c);
		http_resume(c->req);
	} else if (carry_may_reply(c)) { /* refused while the client sends, or holds back what it has */
		carry_reply(c);
		http_interrupt(c->req);
		http_resume(c->req);
	} else if (c->replied && (c->out_wanted || c->over)) {
		c->out_wanted = false;
		http_resume(c->req);
	}
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct carry *c = arg;
	size_t len = size * n, taken = 0;

	pthread_mutex_lock(&c->lock);
	c->moved_ms = now_ms();
	if (c->cancelled && !c->replied) {
		taken = CURL_WRITEFUNC_ERROR;
	} else if (c->out.len + len > CARRY_RING) {
		c->out_paused = true;
		taken = CURL_WRITEFUNC_PAUSE;
	} else {
		taken = ring_put(&c->out, data, len);
	}
	if (!c->ready && taken == len) {
		take_status(c);
		c->ready = c->length > CARRY_RING;
	}
	if (c->ready)
		wake_client(c);
	pthread_mutex_unlock(&c->lock);
	return taken;
}

static size_t on_read(char *buf, size_t size, size_t n, void *arg)
{
	struct carry *c = arg;
	size_t got;

	pthread_mutex_lock(&c->lock);
	if (c->held && c->req) {
		c->held = false;
		http_resume(c->req);
	}
	got = ring_get(&c->in, buf, size * n);
	if (got) {
		c->taken = true;
		c->moved_ms = now_ms();
	} else if (c->cancelled) {
		got = CURL_READFUNC_ABORT;
	} else if (!c->in_ended) {
		c->in_paused = true;
		got = CURL_READFUNC_PAUSE;
	}
	if (c->waits_room && c->req && c->in.len <= CARRY_RING / 2) {
		c->waits_room = false;
		http_resume(c->req);
	}
	pthread_mutex_unlock(&c->lock);
	return got;
}

static void set_blob(CURL *curl, CURLoption option, char *data, size_t len)
{
	struct curl_blob blob = { data, len, CURL_BLOB_NOCOPY };

	if (data)
		curl_easy_setopt(curl, option, &blob);
}

static void set_body(struct carry *c)
{
	if (c->is_head) {
		curl_easy_setopt(c->curl, CURLOPT_NOBODY, 1L);
	} else if (c->has_body || !strcmp(c->method, "PUT") || !strcmp(c->method, "POST")) {
		curl_easy_setopt(c->curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(c->curl, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(c->curl, CURLOPT_READDATA, c);
		curl_easy_setopt(c->curl, CURLOPT_INFILESIZE_LARGE, c->body_len == UINT64_MAX ? -1 : (curl_off_t)c->body_len);
	}
	curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, c->method);
	/* When a connection that was kept dies before a byte of the answer came, libcurl sends a request without a body once
	 * more, unasked: an endpoint killed at that moment may have done it, and a second delete marker or empty version
	 * would come to be. It does so on no new connection. */
	if (!c->is_head && strcmp(c->method, "GET") && (!c->has_body || !c->body_len))
		curl_easy_setopt(c->curl, CURLOPT_FRESH_CONNECT, 1L);
}

static void set_options(struct carry *c, const char *base)
{
	const struct carriers *all = c->by->all;
	CURL *curl = c->curl;

	curl_easy_setopt(curl, CURLOPT_URL, base);
	curl_easy_setopt(curl, CURLOPT_REQUEST_TARGET, c->target); /* byte by byte: it is signed */
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_MAXAGE_CONN, KEPT_S);
	curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, BUFFER);
	curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	set_blob(curl, CURLOPT_CAINFO_BLOB, all->ca, all->ca_len);
	set_blob(curl, CURLOPT_SSLCERT_BLOB, all->cert, all->cert_len);
	set_blob(curl, CURLOPT_SSLKEY_BLOB, all->key, all->key_len);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, c->sent);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, c);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, c->error);
	curl_easy_setopt(curl, CURLOPT_PRIVATE, c);
	set_body(c);
}

/* ---- one carry's way ---- */

static void give_up_curl(struct carry *c)
{
	struct carrier *by = c->by;

	if (!c->curl)
		return;
	curl_multi_remove_handle(by->multi, c->curl);
	curl_easy_reset(c->curl);
	if (by->nidle < sizeof(by->idle) / sizeof(*by->idle))
		by->idle[by->nidle++] = c->curl;
	else
		curl_easy_cleanup(c->curl);
	c->curl = NULL;
}

/* It is over, whole (CARRY_NONE and good) or not. */
static void end(struct carry *c, bool good, enum carry_fault fault)
{
	pthread_mutex_lock(&c->lock);
	if (good)
		take_status(c);
	else if (!c->cancelled && (c->ready || fault != CARRY_NONE))
		log_limited(LOG_LEVEL_WARN, 10, "carrying %s to endpoint %s: %s", c->method,
			    c->ntried ? c->tried[c->ntried - 1] : "(none)", *c->error ? c->error : "gave up");
	c->over = true;
	c->failed = !good;
	c->fault = fault;
	c->ready |= good;
	if (c->answered && good)
		c->answered(c->arg, c->status);
	wake_client(c);
	pthread_mutex_unlock(&c->lock);
	give_up_curl(c);
	if (c->link) {
		*c->link = c->next;
		if (c->next)
			c->next->link = c->link;
		c->link = NULL;
	}
	atomic_fetch_sub(&c->by->all->active, 1);
	carry_unref(c);
}

/* The next endpoint; false: there is none, and it is over. */
static bool try_next(struct carry *c)
{
	struct carrier *by = c->by;
	char base[256], node[64] = "";

	if (c->ntried == CARRY_TRIES || c->pick(c->arg, c->tried, c->ntried, base, node)) {
		end(c, false, c->ntried ? CARRY_UNREACHABLE : CARRY_NONE);
		return false;
	}
	pthread_mutex_lock(&c->lock);
	memcpy(c->tried[c->ntried++], node, sizeof(node));
	c->in_paused = c->out_paused = false;
	c->out.at = c->out.len = 0;
	pthread_mutex_unlock(&c->lock);
	forget_head(c);
	c->error[0] = '\0';
	c->moved_ms = now_ms();
	c->curl = by->nidle ? by->idle[--by->nidle] : curl_easy_init();
	if (!c->curl) {
		end(c, false, CARRY_MEMORY);
		return false;
	}
	set_options(c, base);
	if (curl_multi_add_handle(by->multi, c->curl)) {
		end(c, false, CARRY_MEMORY);
		return false;
	}
	return true;
}

/* Did the endpoint hear nothing of it? */
static bool is_unheard(const struct carry *c, CURLcode code)
{
	curl_off_t began = 0;

	switch (code) {
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
		return true;
	case CURLE_OPERATION_TIMEDOUT:
		curl_easy_getinfo(c->curl, CURLINFO_PRETRANSFER_TIME_T, &began);
		return began == 0;
	default:
		return false;
	}
}

static bool is_read(const struct carry *c)
{
	return !c->has_body && (c->is_head || !strcmp(c->method, "GET"));
}

static bool may_retry(struct carry *c, CURLcode code)
{
	bool told;

	pthread_mutex_lock(&c->lock);
	told = c->ready || c->replied || c->cancelled;
	pthread_mutex_unlock(&c->lock);
	if (told || c->ntried == CARRY_TRIES)
		return false;
	if (is_read(c))
		return true;
	return !c->taken && is_unheard(c, code);
}

static void ended(struct carry *c, CURLcode code)
{
	bool retry = code != CURLE_OK && may_retry(c, code);
	enum carry_fault fault = code == CURLE_OPERATION_TIMEDOUT ? CARRY_SLOW : is_unheard(c, code) ? CARRY_UNREACHABLE : CARRY_LOST;

	if (code != CURLE_OK && !*c->error)
		snprintf(c->error, sizeof(c->error), "%s", curl_easy_strerror(code));
	if (!retry) {
		end(c, code == CURLE_OK, fault);
		return;
	}
	log_limited(LOG_LEVEL_WARN, 10, "endpoint %s: %s; another one is asked", c->tried[c->ntried - 1], c->error);
	give_up_curl(c);
	try_next(c);
}

/* Somebody told: it is new, goes on, or is no longer wanted. */
static void look_at(struct carry *c)
{
	bool over, cancelled;

	pthread_mutex_lock(&c->lock);
	over = c->over;
	/* A stream whose client went away is cancelled; one that ended with its answer is over already. */
	cancelled = c->cancelled;
	pthread_mutex_unlock(&c->lock);
	if (over)
		return;
	if (!c->started) {
		c->started = true;
		c->next = c->by->first;
		c->link = &c->by->first;
		if (c->next)
			c->next->link = &c->next;
		c->by->first = c;
		if (!cancelled) {
			try_next(c);
			return;
		}
	}
	if (cancelled) {
		snprintf(c->error, sizeof(c->error), "the client went away");
		end(c, false, CARRY_LOST);
	} else {
		curl_easy_pause(c->curl, CURLPAUSE_CONT);
	}
}

/* False: the carrier is to end. */
static bool take_inbox(struct carrier *by)
{
	struct carry *list, *next, *turned = NULL;
	bool quit;

	pthread_mutex_lock(&by->lock);
	list = by->inbox;
	by->inbox = NULL;
	for (; list; list = next) { /* first come, first served */
		next = list->inbox_next;
		list->inbox_next = turned;
		turned = list;
	}
	quit = by->quit;
	pthread_mutex_unlock(&by->lock);
	for (; turned; turned = next) {
		pthread_mutex_lock(&by->lock);
		next = turned->inbox_next;
		turned->told = false;
		pthread_mutex_unlock(&by->lock);
		look_at(turned);
		carry_unref(turned);
	}
	return !quit;
}

static bool is_stalled(struct carry *c, int64_t now)
{
	int64_t limit;
	bool waits;

	pthread_mutex_lock(&c->lock);
	waits = c->in_paused || c->out_paused; /* for the client */
	limit = c->has_body && !c->in_ended ? SEND_MS : is_read(c) ? READ_MS : ANSWER_MS;
	pthread_mutex_unlock(&c->lock);
	if (waits)
		c->moved_ms = now;
	return now - c->moved_ms > limit;
}

static void drop_stalled(struct carrier *by)
{
	int64_t now = now_ms();
	struct carry *next;

	for (struct carry *c = by->first; c; c = next) {
		next = c->next;
		if (!is_stalled(c, now))
			continue;
		snprintf(c->error, sizeof(c->error), "silent for too long");
		ended(c, CURLE_OPERATION_TIMEDOUT);
	}
}

static void take_ended(struct carrier *by)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(by->multi, &left))) {
		CURLcode code = msg->data.result;
		struct carry *c = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&c);
		ended(c, code);
	}
}

void *carrier_run(void *arg)
{
	struct carrier *by = arg;
	int64_t ticked = now_ms();
	int running;

	for (;;) {
		curl_multi_perform(by->multi, &running);
		take_ended(by);
		if (!take_inbox(by))
			break;
		if (now_ms() - ticked >= TICK_MS) {
			drop_stalled(by);
			ticked = now_ms();
		}
		curl_multi_poll(by->multi, NULL, 0, TICK_MS, NULL);
	}
	while (by->first) {
		snprintf(by->first->error, sizeof(by->first->error), "the gateway stops");
		end(by->first, false, CARRY_LOST);
	}
	while (by->nidle)
		curl_easy_cleanup(by->idle[--by->nidle]);
	return NULL;
}
