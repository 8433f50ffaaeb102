/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_watch_ws.c -- see media_watch_ws.h.
 */
#include "tools/media_watch_ws.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wslay/wslay.h>

#include "lib/hash.h"

#define HEAD_MAX    8192
#define MESSAGE_MAX (256u << 10)
#define OPEN_MS	    5000

struct ws_client {
	CURL *curl;
	wslay_event_context_ptr ws;
	curl_socket_t fd;
	char head[HEAD_MAX + 1]; /* of the answer; what came behind it is read first */
	size_t len, at;
	bool over;
	ws_client_fn *message;
	void *arg;
};

/* ---- libwslay's callbacks -------------------------------------------------------------------- */

static ssize_t on_recv(wslay_event_context_ptr ws, uint8_t *buf, size_t len, int flags, void *user)
{
	struct ws_client *c = user;
	size_t n = c->len - c->at;
	CURLcode code;

	(void)flags;
	if (n) {
		n = n < len ? n : len;
		memcpy(buf, c->head + c->at, n);
		c->at += n;
		return (ssize_t)n;
	}
	code = curl_easy_recv(c->curl, buf, len, &n);
	if (code == CURLE_OK && n)
		return (ssize_t)n;
	if (code != CURLE_AGAIN)
		c->over = true;
	wslay_event_set_error(ws, code == CURLE_AGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static ssize_t on_send(wslay_event_context_ptr ws, const uint8_t *data, size_t len, int flags, void *user)
{
	struct ws_client *c = user;
	size_t n = 0;
	CURLcode code = curl_easy_send(c->curl, data, len, &n);

	(void)flags;
	if (code == CURLE_OK)
		return (ssize_t)n;
	if (code != CURLE_AGAIN)
		c->over = true;
	wslay_event_set_error(ws, code == CURLE_AGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static int on_mask(wslay_event_context_ptr ws, uint8_t *buf, size_t len, void *user)
{
	(void)ws, (void)user;
	random_bytes(buf, len);
	return 0;
}

static void on_message(wslay_event_context_ptr ws, const struct wslay_event_on_msg_recv_arg *m, void *user)
{
	struct ws_client *c = user;

	(void)ws;
	if (m->opcode == WSLAY_TEXT_FRAME && c->message)
		c->message(c->arg, (const char *)m->msg, m->msg_length);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* What the server must answer to this key (RFC 6455 section 4.2.2). */
static char *accept_of(const char *key)
{
	static const char *const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	char text[128];

	snprintf(text, sizeof(text), "%s%s", key, guid);
	if (!EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL))
		return NULL;
	return base64_encode(digest, len);
}

static int send_all(struct ws_client *c, const char *data, size_t len)
{
	while (len) {
		struct pollfd p = { .fd = c->fd, .events = POLLOUT };
		size_t n = 0;
		CURLcode code = curl_easy_send(c->curl, data, len, &n);

		if (code != CURLE_OK && code != CURLE_AGAIN)
			return -ECONNRESET;
		data += n;
		len -= n;
		if (len && poll(&p, 1, OPEN_MS) <= 0)
			return -ETIMEDOUT;
	}
	return 0;
}

/* The answer's head; c->at is behind it. */
static int read_head(struct ws_client *c)
{
	for (;;) {
		struct pollfd p = { .fd = c->fd, .events = POLLIN };
		size_t n = 0;
		char *end;
		CURLcode code = curl_easy_recv(c->curl, c->head + c->len, HEAD_MAX - c->len, &n);

		if (code == CURLE_AGAIN) {
			if (poll(&p, 1, OPEN_MS) <= 0)
				return -ETIMEDOUT;
			continue;
		}
		if (code != CURLE_OK || !n)
			return -ECONNRESET;
		c->len += n;
		c->head[c->len] = '\0';
		end = strstr(c->head, "\r\n\r\n");
		if (end) {
			c->at = (size_t)(end - c->head) + 4;
			return 0;
		}
		if (c->len == HEAD_MAX)
			return -EMSGSIZE;
	}
}

/* 101 with the right Sec-WebSocket-Accept? */
static int judge(const struct ws_client *c, const char *want, char why[200])
{
	const char *line = c->head, *end = c->head + c->at - 2;
	size_t len = strlen(want);

	if (strncmp(c->head, "HTTP/1.1 101", 12)) {
		snprintf(why, 200, "the tracker answered %.*s", (int)strcspn(c->head, "\r\n"), c->head);
		return strncmp(c->head, "HTTP/1.1 401", 12) && strncmp(c->head, "HTTP/1.1 403", 12) ? -EPROTO : -EACCES;
	}
	for (; line < end; line = strstr(line, "\r\n") + 2)
		if (!strncasecmp(line, "Sec-WebSocket-Accept:", 21)) {
			line += 21 + strspn(line + 21, " ");
			if (!strncmp(line, want, len) && line[len] == '\r')
				return 0;
		}
	snprintf(why, 200, "the tracker did not answer as a WebSocket does");
	return -EPROTO;
}

static int upgrade(struct ws_client *c, const char *url, char why[200])
{
	uint8_t nonce[16];
	char *key, *want = NULL, *request = NULL;
	const char *host = strstr(url, "://") + 3, *path = strchr(host, '/');
	int rc = -ENOMEM;

	random_bytes(nonce, sizeof(nonce));
	key = base64_encode(nonce, sizeof(nonce));
	want = key ? accept_of(key) : NULL;
	if (want && path &&
	    asprintf(&request,
		     "GET %s HTTP/1.1\r\nHost: %.*s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		     "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
		     path, (int)(path - host), host, key) < 0)
		request = NULL;
	if (request)
		rc = send_all(c, request, strlen(request));
	if (!rc)
		rc = read_head(c);
	if (rc)
		snprintf(why, 200, "the tracker says nothing: %s", strerror(-rc));
	else
		rc = judge(c, want, why);
	free(key);
	free(want);
	free(request);
	return rc;
}

static int connect_to(struct ws_client *c, const char *url, const char *ca, char why[200])
{
	char error[CURL_ERROR_SIZE] = "";
	CURLcode code;

	c->curl = curl_easy_init();
	if (!c->curl)
		return -ENOMEM;
	curl_easy_setopt(c->curl, CURLOPT_URL, url);
	curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c->curl, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)OPEN_MS);
	curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, error);
	if (ca)
		curl_easy_setopt(c->curl, CURLOPT_CAINFO, ca);
	code = curl_easy_perform(c->curl);
	curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, NULL);
	if (code == CURLE_OK && curl_easy_getinfo(c->curl, CURLINFO_ACTIVESOCKET, &c->fd) == CURLE_OK &&
	    c->fd != CURL_SOCKET_BAD)
		return 0;
	snprintf(why, 200, "%.190s", *error ? error : curl_easy_strerror(code));
	return -ECONNREFUSED;
}

int ws_client_open(struct ws_client **out, const char *url, const char *ca, char why[200])
{
	static const struct wslay_event_callbacks callbacks = { .recv_callback = on_recv,
								.send_callback = on_send,
								.genmask_callback = on_mask,
								.on_msg_recv_callback = on_message };
	struct ws_client *c = calloc(1, sizeof(*c));
	int rc = c ? connect_to(c, url, ca, why) : -ENOMEM;

	if (!rc)
		rc = upgrade(c, url, why);
	if (!rc && wslay_event_context_client_init(&c->ws, &callbacks, c))
		rc = -ENOMEM;
	if (rc) {
		ws_client_close(c);
		return rc;
	}
	wslay_event_config_set_max_recv_msg_length(c->ws, MESSAGE_MAX);
	*out = c;
	return 0;
}

/* ---- in use ---------------------------------------------------------------------------------- */

void ws_client_close(struct ws_client *c)
{
	if (!c)
		return;
	if (c->ws && !c->over && !wslay_event_queue_close(c->ws, WSLAY_CODE_GOING_AWAY, NULL, 0))
		wslay_event_send(c->ws);
	if (c->ws)
		wslay_event_context_free(c->ws);
	if (c->curl)
		curl_easy_cleanup(c->curl);
	free(c);
}

int ws_client_send(struct ws_client *c, const char *text, size_t len)
{
	struct wslay_event_msg m = { .opcode = WSLAY_TEXT_FRAME, .msg = (const uint8_t *)text, .msg_length = len };

	return wslay_event_queue_msg(c->ws, &m) ? -ENOMEM : 0;
}

static int step(struct ws_client *c)
{
	if (wslay_event_recv(c->ws) || wslay_event_send(c->ws) || c->over || wslay_event_get_close_received(c->ws))
		return -ECONNRESET;
	return wslay_event_want_read(c->ws) ? 0 : -ECONNRESET;
}

int ws_client_run(struct ws_client *c, int wake, int timeout_ms, ws_client_fn *message, void *arg)
{
	struct pollfd p[2] = { { .fd = c->fd, .events = POLLIN }, { .fd = wake, .events = POLLIN } };
	int rc;

	c->message = message;
	c->arg = arg;
	rc = step(c); /* also what TLS or the answer's head already has */
	if (rc)
		return rc;
	if (wslay_event_want_write(c->ws))
		p[0].events |= POLLOUT;
	if (poll(p, 2, timeout_ms) < 0 && errno != EINTR)
		return -ECONNRESET;
	return p[0].revents ? step(c) : 0;
}
